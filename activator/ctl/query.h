/* SPDX-License-Identifier: MIT */
/* Questions that several commands ask the activator. Each reports what goes wrong and returns
 * an enum ctl_exit. */
#pragma once

#include "ctl/value.h"

#include "ctl/ctl.h"

struct listed_service {
    char *name;
    char *state;
    dbus_uint32_t pid; /* of the main process, 0: none */
};

struct listed_process {
    dbus_uint32_t pid;
    dbus_uint32_t parent;
    char *command;
    bool adopted;
};

/* A call to the activator whose first argument is a bus name; NULL after a message (the name is
 * not even text: CTL_NO_SERVICE). */
DBusMessage *query_call(const char *method, const char *name);
/* An array of struct listed_service, sorted by name: one call, however many there are. */
int query_services(struct ctl *ctl, GArray **services);
int query_service(struct ctl *ctl, const char *name, struct dict **service);
/* An array of struct listed_process. */
int query_processes(struct ctl *ctl, const char *name, GArray **processes);
/* The newest lines, at most `newest`; NULL-terminated, for g_strfreev(). */
int query_log(struct ctl *ctl, const char *name, unsigned newest, char ***lines);
/* The newest activations, oldest first: struct dict *. name (may be NULL) picks one service's. */
int query_history(struct ctl *ctl, const char *name, unsigned newest, GPtrArray **activations);

/* Draws the processes as a tree, one line each, every line behind `indent` blanks and cut to
 * `width` columns (0: not at all). Whatever the pids and parents say (also loops), each process
 * appears exactly once. Newly allocated. */
char *tree_draw(const GArray *processes, unsigned indent, unsigned width);
