/* SPDX-License-Identifier: MIT */
/* Where a bus keeps its service files, and what else its configuration says to an activator.
 * Read once; a new one is made when the configuration has to be read again. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

struct bus_dir {
    char *path;
    bool transient; /* of the session's runtime directory: file names must match */
};

struct bus_place {
    GPtrArray *dirs; /* struct bus_dir *, first wins */
    guint start_timeout_ms;
    bool system;
    bool has_servicehelper;
    char *type;          /* "session", "system", another word, or NULL */
    char *config_file;   /* the one that was read; NULL when there was none to be read */
    GStrv environment;   /* of the bus process, or NULL: not readable, or a system bus */
    GPtrArray *problems; /* char *, sentences: why a configuration is not used */
};

/* Finds out about the bus whose daemon is bus_pid (0: not known). config_file_option, the
 * activator's own --config-file, comes before what the daemon was started with; extra_dirs
 * (NULL-terminated, may be NULL) come before all other directories.
 *
 * On the system bus no environment variable counts, and a configuration that the daemon names
 * counts only beside the installed one or in /etc/dbus-1, while nobody but root can change it.
 *
 * A configuration that cannot be read yields the standard directories and an entry in `problems`;
 * NULL with error set only when config_file_option itself cannot be read. */
struct bus_place *bus_place_new(pid_t bus_pid, bool system, const char *config_file_option,
                                const char *const *extra_dirs, GError **error);

/* Accepts NULL. */
void bus_place_free(struct bus_place *place);

/* The value of a variable in the bus's environment, or in our own when that is unknown. */
const char *bus_place_getenv(const struct bus_place *place, const char *name);
