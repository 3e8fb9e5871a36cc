/* SPDX-License-Identifier: MIT */
/*
 * The plain start of the session helper; early.h says what that is. As in
 * launch-helper-session.c nothing here is a boundary; the same owner and mode are asked for.
 */
#include "helper/early-calls.h"

#include <sys/un.h>

#define GUID_LENGTH 32
#define PATH_LENGTH 512
#define REQUEST_MAX (MESSAGE_INLINE + 8192)

bool early_asked;
int early_fd;

EARLY_ENTRY;

/* The value of an environment variable; name with its '='. */
static const char *value_of(char **environment, const char *name)
{
    for (; *environment; environment++) {
        const char *at = *environment;
        const char *wanted = name;
        while (*wanted && *at == *wanted) {
            at++;
            wanted++;
        }
        if (!*wanted)
            return at;
    }
    return NULL;
}

/* The guid in an address; NULL unless it is one. */
static const char *guid_of(const char *address)
{
    static const char key[] = "guid=";
    int length = 0;

    for (; *address; address++) {
        int i = 0;
        while (key[i] && address[i] == key[i])
            i++;
        if (!key[i])
            break;
    }
    if (!*address)
        return NULL;
    address += sizeof key - 1;
    while ((address[length] >= '0' && address[length] <= '9') ||
           (address[length] >= 'a' && address[length] <= 'f') ||
           (address[length] >= 'A' && address[length] <= 'F'))
        length++;
    return length == GUID_LENGTH ? address : NULL;
}

static unsigned long length_of(const char *text)
{
    unsigned long length = 0;

    while (text[length])
        length++;
    return length;
}

/* The directory of the activator of this bus, see find_directory() there. */
// NOLINTNEXTLINE(readability-non-const-parameter): it is written to by way of r
static bool find_directory(char path[PATH_LENGTH], char **environment)
{
    const char *base = value_of(environment, "XDG_RUNTIME_DIR=");
    const char *address = value_of(environment, "DBUS_STARTER_ADDRESS=");
    const char *guid = address ? guid_of(address) : NULL;
    struct early_request r = {(unsigned char *)path, (unsigned char *)path + PATH_LENGTH};

    if (!base || *base != '/' || !guid)
        return false;
    early_put(&r, base, length_of(base));
    early_put(&r, "/dbus-activator/", sizeof "/dbus-activator/" - 1);
    early_put(&r, guid, GUID_LENGTH);
    early_put(&r, "", 1);
    return r.at != NULL;
}

/* Returns a connection to the activator or -1. */
static int connect_activator(const char *path)
{
    static const char before[] = "/proc/self/fd/";
    static const char after[] = "/requests";
    struct sockaddr_un address;
    struct early_request r = {(unsigned char *)address.sun_path, (unsigned char *)(&address + 1)};
    struct stat status;
    uid_t user = (uid_t)early_call(SYS_geteuid, 0, 0, 0, 0);
    int dir = early_open(AT_FDCWD, path, O_PATH | O_DIRECTORY);
    int fd = -1;

    /* One digit; more are for main(). */
    if (dir < 0)
        return -1;
    const char digit = (char)('0' + dir);
    status.st_uid = user + 1;
    status.st_mode = 0;
    address.sun_family = AF_UNIX;
    early_put(&r, before, sizeof before - 1);
    early_put(&r, &digit, 1);
    early_put(&r, after, sizeof after);
    if (dir < 10 && early_call(SYS_fstat, dir, (long)&status, 0, 0) == 0 && status.st_uid == user &&
        (status.st_mode & 022) == 0)
        fd = early_connect((const char *)&address, (unsigned)(r.at - (unsigned char *)&address),
                           user);
    early_close(dir);
    return fd;
}

static void put_environment(struct early_request *r, char **environment)
{
    uint32_t length = 0;

    for (char **entry = environment; *entry; entry++)
        length += (uint32_t)length_of(*entry) + 1;
    if (length > MESSAGE_INLINE) {
        r->at = NULL;
        return;
    }
    early_put(r, &length, sizeof length);
    for (char **entry = environment; *entry; entry++)
        early_put(r, *entry, length_of(*entry) + 1);
    early_put(r, "", 1);
}

void early(const long *stack)
{
    static unsigned char buffer[REQUEST_MAX];
    const long count = stack[0];
    char **arguments = (char **)(stack + 1);
    char **environment = arguments + count + 1;
    char path[PATH_LENGTH];
    struct early_request r;

    if ((count != 3 && count != 4) || (count == 3 && !find_directory(path, environment)) ||
        (count == 4 && *arguments[3] != '/'))
        return;
    early_begin(&r, buffer, sizeof buffer, 1);
    early_put_string(&r, arguments[1]);
    early_put_string(&r, arguments[2]);
    put_environment(&r, environment);
    if (!r.at)
        return;
    int fd = connect_activator(count == 4 ? arguments[3] : path);
    if (fd < 0)
        return;
    early_asked = early_ask(fd, buffer, &r);
    early_fd = fd;
}
