/* SPDX-License-Identifier: MIT */
/* What /proc tells about the process of the bus. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

struct bus_process {
    char *config_file; /* that it was started with, absolute; or NULL */
    bool says_session; /* started with --session */
    bool says_system;
    GStrv environment; /* that it was started with; NULL when it cannot be read */
};

/* A pid of 0, or one that tells nothing, leaves all of it empty. */
void bus_process_read(pid_t pid, struct bus_process *out);
void bus_process_clear(struct bus_process *process);

/* Takes config_file and the two flags from a command line: length bytes, each argument with its
 * NUL. cwd (or NULL) is what a relative path counts from. */
void bus_process_take_command(struct bus_process *out, const char *command, gsize length,
                              const char *cwd);
