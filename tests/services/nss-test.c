/* SPDX-License-Identifier: MIT */
/* A name service module whose users are as bad as a directory service can be: "dba-hangs" is
 * looked up for ever, "dba-slow" until the file /run/nss-go is there. It knows nobody else. */
#include <errno.h>
#include <grp.h>
#include <nss.h>
#include <pwd.h>
#include <string.h>
#include <unistd.h>

#define SLOW_UID 4242
#define SLOW_GID 4243
#define GO       "/run/nss-go"

/* glibc looks them up by these names. */
enum nss_status _nss_dbatest_getpwnam_r(const char *name, struct passwd *entry, char *buffer,
                                        size_t size, int *error);
enum nss_status _nss_dbatest_getpwuid_r(uid_t uid, struct passwd *entry, char *buffer, size_t size,
                                        int *error);
enum nss_status _nss_dbatest_initgroups_dyn(const char *name, gid_t group, long *count, long *size,
                                            gid_t **groups, long limit, int *error);

static enum nss_status nobody(int *error)
{
    *error = ENOENT;
    return NSS_STATUS_NOTFOUND;
}

static enum nss_status slow(struct passwd *entry, char *buffer, size_t size, int *error)
{
    static const char text[] = "dba-slow\0/";

    if (size < sizeof text) {
        *error = ERANGE;
        return NSS_STATUS_TRYAGAIN;
    }
    memcpy(buffer, text, sizeof text);
    *entry = (struct passwd){.pw_name = buffer,
                             .pw_passwd = buffer + strlen(text),
                             .pw_gecos = buffer + strlen(text),
                             .pw_shell = buffer + strlen(text),
                             .pw_dir = buffer + sizeof text - 2,
                             .pw_uid = SLOW_UID,
                             .pw_gid = SLOW_GID};
    return NSS_STATUS_SUCCESS;
}

enum nss_status _nss_dbatest_getpwnam_r(const char *name, struct passwd *entry, char *buffer,
                                        size_t size, int *error)
{
    while (strcmp(name, "dba-hangs") == 0)
        pause();
    if (strcmp(name, "dba-slow") != 0)
        return nobody(error);
    while (access(GO, F_OK) < 0)
        usleep(10000);
    return slow(entry, buffer, size, error);
}

/* What dbus-daemon asks, itself, about who connects: at once. */
enum nss_status _nss_dbatest_getpwuid_r(uid_t uid, struct passwd *entry, char *buffer, size_t size,
                                        int *error)
{
    return uid == SLOW_UID ? slow(entry, buffer, size, error) : nobody(error);
}

/* One more group for dba-slow; glibc has made room for some. */
// NOLINTNEXTLINE(readability-non-const-parameter): it is glibc that says so
enum nss_status _nss_dbatest_initgroups_dyn(const char *name, gid_t group, long *count, long *size,
                                            gid_t **groups, long limit, int *error)
{
    (void)group;
    (void)limit;
    if (strcmp(name, "dba-slow") != 0 || *count >= *size)
        return nobody(error);
    (*groups)[(*count)++] = SLOW_GID + 1;
    return NSS_STATUS_SUCCESS;
}
