/* SPDX-License-Identifier: MIT */
/* The standard directories of service files, as dbus-daemon 1.14 finds them
 * (dbus/dbus-sysdeps-unix.c and -util-unix.c). Returns: see read-file.h. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct service_dir {
    char *path;
    bool transient; /* $XDG_RUNTIME_DIR/dbus-1/services: names of files must match */
};

struct service_dirs {
    struct service_dir *list;
    size_t count;
};

/* The value of a variable of the bus daemon's environment, or NULL when it is not set; a set but
 * empty one means "none" here, not the default. For HOME dbus-daemon takes the home directory in
 * the user database and ignores the variable (observed, 1.14.10): give that. */
typedef const char *(*service_dirs_getenv)(const char *name, void *data);

/* Appends the standard ones of a session bus: of XDG_RUNTIME_DIR (only when usable: it, and the two
 * levels below if they exist, are ours and not writable by others), XDG_DATA_HOME or HOME,
 * XDG_DATA_DIRS, and the compiled-in /usr/share. Blanks around an element do not count. A path
 * that is on the list already, by string compare, is not added again, and stays transient only if
 * it is so both times. After an error dirs may hold some of them. */
int service_dirs_add_session(struct service_dirs *dirs, service_dirs_getenv get, void *data);
/* Appends those of a system bus. */
int service_dirs_add_system(struct service_dirs *dirs);
/* Appends a copy of one. */
int service_dirs_add(struct service_dirs *dirs, const char *path, bool transient);
/* Frees what dirs owns, not dirs, and empties it. */
void service_dirs_clear(struct service_dirs *dirs);
