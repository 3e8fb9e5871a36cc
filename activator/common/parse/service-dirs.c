/* SPDX-License-Identifier: MIT */
#include "common/parse/service-dirs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SUFFIX "/dbus-1/services"

int service_dirs_add(struct service_dirs *dirs, const char *path, bool transient)
{
    for (size_t i = 0; i < dirs->count; i++) {
        if (strcmp(dirs->list[i].path, path) == 0) {
            dirs->list[i].transient = dirs->list[i].transient && transient;
            return 0;
        }
    }
    struct service_dir *list = reallocarray(dirs->list, dirs->count + 1, sizeof *list);
    if (!list)
        return -ENOMEM;
    dirs->list = list;
    list[dirs->count].path = strdup(path);
    list[dirs->count].transient = transient;
    if (!list[dirs->count].path)
        return -ENOMEM;
    dirs->count++;
    return 0;
}

/* Joins the length bytes of base with below, which begins with '/'; an empty base adds nothing.
 * One '/' at the end of base is the one that joins, others stay: duplicates are found by the text
 * that dbus-daemon would compare. */
static int add_below(struct service_dirs *dirs, const char *base, size_t length, const char *below,
                     bool transient)
{
    char *path = NULL;
    int result = 0;

    if (length == 0)
        return 0;
    if (base[length - 1] == '/')
        length--;
    if (asprintf(&path, "%.*s%s", (int)length, base, below) < 0)
        return -ENOMEM;
    result = service_dirs_add(dirs, path, transient);
    free(path);
    return result;
}

/* A colon-separated list; blanks around an element do not count. */
static int add_list(struct service_dirs *dirs, const char *list)
{
    static const char blanks[] = " \t\n\r\f\v";

    for (;;) {
        size_t length = strcspn(list, ":");
        size_t first = strspn(list, blanks);
        size_t last = length;
        int result = 0;

        while (last > first && strchr(blanks, list[last - 1]))
            last--;
        if (last > first)
            result = add_below(dirs, list + first, last - first, SUFFIX, false);
        if (result || !list[length])
            return result;
        list += length + 1;
    }
}

static bool is_private_dir(const char *path, uid_t uid)
{
    struct stat status;

    return stat(path, &status) == 0 && S_ISDIR(status.st_mode) && status.st_uid == uid &&
           (status.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

/* dbus-daemon makes the two lower levels when they are not there, so that they may be missing. */
static int add_transient(struct service_dirs *dirs, const char *runtime)
{
    static const char *const below[] = {"", "/dbus-1", SUFFIX};
    size_t length = strlen(runtime);
    bool good = length > 0;

    for (size_t i = 0; i < sizeof below / sizeof *below && good; i++) {
        char *path = NULL;

        if (asprintf(&path, "%s%s", runtime, below[i]) < 0)
            return -ENOMEM;
        good = is_private_dir(path, geteuid()) || (i > 0 && access(path, F_OK) < 0);
        free(path);
    }
    return good ? add_below(dirs, runtime, length, SUFFIX, true) : 0;
}

int service_dirs_add_session(struct service_dirs *dirs, service_dirs_getenv get, void *data)
{
    const char *value = get("XDG_RUNTIME_DIR", data);
    int result = value ? add_transient(dirs, value) : 0;

    if (result)
        return result;
    value = get("XDG_DATA_HOME", data);
    if (value) {
        result = add_list(dirs, value);
    } else {
        value = get("HOME", data);
        if (value)
            result = add_below(dirs, value, strlen(value), "/.local/share" SUFFIX, false);
    }
    if (result)
        return result;
    value = get("XDG_DATA_DIRS", data);
    result = add_list(dirs, value ? value : "/usr/local/share:/usr/share");
    return result ? result : add_list(dirs, "/usr/share");
}

int service_dirs_add_system(struct service_dirs *dirs)
{
    static const char *const paths[] = {"/usr/local/share/dbus-1/system-services",
                                        "/usr/share/dbus-1/system-services",
                                        "/lib/dbus-1/system-services"};
    int result = 0;

    for (size_t i = 0; i < sizeof paths / sizeof *paths && result == 0; i++)
        result = service_dirs_add(dirs, paths[i], false);
    return result;
}

void service_dirs_clear(struct service_dirs *dirs)
{
    for (size_t i = 0; i < dirs->count; i++)
        free(dirs->list[i].path);
    free(dirs->list);
    memset(dirs, 0, sizeof *dirs);
}
