/* SPDX-License-Identifier: MIT */
#include "common/programs.h"

#include "config.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct {
    const char *folder;
    const char *name;
    const char *installed;
} programs[] = {
    [PROGRAM_ACTIVATORD] = {"daemon", "dbus-activatord", LIBEXECDIR},
    [PROGRAM_REAPER] = {"reaper", "dbus-activator-reaper", LIBEXECDIR},
    [PROGRAM_LAUNCH_HELPER_SESSION] = {"helper", "dbus-activator-launch-helper-session",
                                       LIBEXECDIR},
    [PROGRAM_SESSION] = {"session", "dbus-activator-session", BINDIR},
    [PROGRAM_CTL] = {"ctl", "dbus-activatorctl", BINDIR},
};

/* Cuts the last component off path. False when there is none left to cut. */
static bool cut(char *path)
{
    char *slash = strrchr(path, '/');

    if (!slash || slash == path)
        return false;
    *slash = '\0';
    return true;
}

int program_path(enum program which, char *path, size_t size)
{
    char own[PATH_MAX];
    char probe[PATH_MAX + 16];
    ssize_t length = readlink("/proc/self/exe", own, sizeof own - 1);
    int written = 0;

    if (length < 0)
        return -errno;
    own[length] = '\0';
    bool has_folders = cut(own);
    has_folders = has_folders && cut(own);
    if (has_folders && strlen(own) > 10 && strcmp(own + strlen(own) - 10, "/activator") == 0) {
        snprintf(probe, sizeof probe, "%.*s/build.ninja", (int)strlen(own) - 10, own);
        if (access(probe, F_OK) == 0) {
            written =
                snprintf(path, size, "%s/%s/%s", own, programs[which].folder, programs[which].name);
            return written < 0 || (size_t)written >= size ? -ENAMETOOLONG : 0;
        }
    }
    written = snprintf(path, size, "%s/%s", programs[which].installed, programs[which].name);
    return written < 0 || (size_t)written >= size ? -ENAMETOOLONG : 0;
}
