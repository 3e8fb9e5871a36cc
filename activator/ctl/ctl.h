/* SPDX-License-Identifier: MIT */
/* What every command of dbus-activatorctl shares: its options, its exit codes and the table. */
#pragma once

#include <dbus/dbus.h>
#include <glib.h>
#include <stdbool.h>

/* The public exit codes (dbus-activatorctl(1)). */
enum ctl_exit {
    CTL_DONE = 0,
    CTL_FAILED = 1,
    CTL_USAGE = 2,
    CTL_NOT_RUNNING = 3, /* `status NAME` only */
    CTL_NO_SERVICE = 4,
    CTL_NO_ACTIVATOR = 5,
};

struct ctl {
    gboolean session;
    gboolean system;
    char *address;
    gboolean json;
    gboolean no_pager;
    DBusConnection *bus; /* NULL until bus_open() */
    char **words;        /* what the command parses, to the end of the process */
};

struct command {
    const char *name;
    const char *arguments; /* as the usage line shows them */
    const char *summary;
    int (*run)(struct ctl *ctl, const struct command *command, char **argv);
};

/* Parses what follows the command's name: the command's own options and the general ones, which
 * are welcome behind the command too. A value may follow a short option in the same word ("-n3"),
 * as getopt() has it; words of argv are cut for that. argv[0] is the command's name; what remains
 * in argv are the arguments, of which there must be at least min and, unless max < 0, at most max.
 * Answers
 * `--help` itself and leaves. Returns CTL_DONE, or CTL_USAGE after a message. */
int ctl_parse(struct ctl *ctl, const struct command *command, const GOptionEntry *options,
              char ***argv, int min, int max);

/* A number of lines and the like, without a sign. */
bool ctl_parse_count(const char *text, unsigned *number);

/* One line to stderr: "dbus-activatorctl: text", made safe for a terminal. */
void ctl_complain(const char *format, ...) G_GNUC_PRINTF(1, 2);

int cmd_list(struct ctl *ctl, const struct command *command, char **argv);
int cmd_status(struct ctl *ctl, const struct command *command, char **argv);
int cmd_processes(struct ctl *ctl, const struct command *command, char **argv);
int cmd_start(struct ctl *ctl, const struct command *command, char **argv);
int cmd_stop(struct ctl *ctl, const struct command *command, char **argv);
int cmd_kill(struct ctl *ctl, const struct command *command, char **argv);
int cmd_log(struct ctl *ctl, const struct command *command, char **argv);
int cmd_monitor(struct ctl *ctl, const struct command *command, char **argv);
int cmd_history(struct ctl *ctl, const struct command *command, char **argv);
int cmd_plot(struct ctl *ctl, const struct command *command, char **argv);
int cmd_reexec(struct ctl *ctl, const struct command *command, char **argv);
int cmd_reload(struct ctl *ctl, const struct command *command, char **argv);
int cmd_check(struct ctl *ctl, const struct command *command, char **argv);
