/* SPDX-License-Identifier: MIT */
/*
 * dbus-activator-session: a private session bus, an activator that serves it and one command.
 *
 *   main.c      options; the wrapper
 *   keeper.c    the session from its start to its end
 *   place.c     the runtime directory, the session's own folder in it, the bus configuration
 *   parts.c     starting bus, activator and command
 *   children.c  what the kernel reports about processes below us, and whose they are
 *   ending.c    stopping everything
 *   mounts.c    FUSE mounts whose server is dead
 *
 * Two processes of this program stand above the parts, both of them child reapers:
 *
 *     wrapper           what the caller started; waits for the keeper and clears up after it
 *      └─ keeper        starts the parts, watches and stops them
 *          ├─ dbus-activator-reaper: bus        dbus-daemon
 *          ├─ dbus-activator-reaper: activator  dbus-activatord and the services
 *          └─ dbus-activator-reaper: command    the command
 *
 * So each process has three reapers above it, any two of which may be killed:
 *   - a part's reaper: what it held lands on the keeper, which goes on with it;
 *   - the wrapper: the keeper sees the end of the leash (a pipe), stops all and clears up;
 *   - the keeper: what it held lands on the wrapper, which stops all and clears up. The parts
 *     see the end of the lifeline, whose only write end the keeper had, and stop as well;
 *   - wrapper and keeper: each part stops its own tree at the end of the lifeline. The folder
 *     that is left is swept by the next session.
 */
#pragma once

#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define STOP_MS       INT64_C(5000) /* from SIGTERM to SIGKILL */
#define GIVE_UP_MS    INT64_C(5000) /* from SIGKILL to naming the survivors */
#define START_SECONDS INT64_C(120)

struct options {
    const char *config_file; /* absolute, readable */
    char dbus_daemon[PATH_MAX];
    bool print_address;
    bool keep_detached;
    char **command;
};

/* Where the session keeps its files. */
struct place {
    char runtime[PATH_MAX];  /* what stands for XDG_RUNTIME_DIR */
    bool private_runtime;    /* we made it; only bus and activator are told of it */
    char parent[PATH_MAX];   /* runtime/dbus-activator */
    char folder[PATH_MAX];   /* parent/session-XXXXXX */
    char config[PATH_MAX];   /* folder/bus.conf */
    char services[PATH_MAX]; /* folder/services: generated service files */
    char address[PATH_MAX];  /* unix:path=folder/bus */
    int lock;                /* held as long as wrapper or keeper lives */
};

enum part_kind {
    PART_BUS,
    PART_ACTIVATOR,
    PART_COMMAND,
    PARTS,
};

struct part {
    pid_t pid;    /* our child: the part's reaper, or what we adopted in its stead; 0: none */
    bool adopted; /* pid is the program itself, its reaper was killed */
    bool ended;
    int status; /* as an exit status: 128 + n for signal n */
};

/* A direct child that is not a part: it came to us when the process above it died. */
struct foster {
    pid_t pid;
    enum part_kind owner;
    bool spared; /* --keep-detached */
};

struct mount_list {
    struct mount_entry {
        int id;
        char *path;
    } * list;
    size_t count;
};

struct session {
    struct options options;
    struct place place;
    struct mount_list mounts; /* the FUSE mounts that were there before us */
    int lifeline[2];
    int signals;         /* signalfd */
    sigset_t old_mask;   /* what the command gets */
    bool pipe_was_fatal; /* SIGPIPE had its default action */
    char *address;       /* with guid, as the bus printed it */
    pid_t bus_pid;       /* dbus-daemon itself */
    int leash;           /* keeper: hangs up when the wrapper is gone; -1 after that */
    struct part parts[PARTS];
    struct foster *fosters;
    size_t nfosters;
    size_t foster_room;
    bool wrapper_gone;
    int64_t top_due; /* when to look for an activator after its top reaper died; 0: not due */
    bool running;    /* the command has been started */
    bool ending;
    int stop_signal; /* SIGTERM, SIGHUP; SIGINT and SIGQUIT before the command runs */
};

/* Writes one line to standard error, with the program's name before it. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Milliseconds of the monotonic clock. */
int64_t now_ms(void);

/* place.c. Both say what is wrong; false then. */
bool place_make(struct place *p);
bool place_write_config(struct place *p, const char *include);
/* Notes the bus's address, by which the activator's own folder is found again. */
void place_note_address(const struct place *p, const char *address);
/* Removes what the session has in the file system, also the activator's folder where a killed
 * activator has left it. */
void place_remove(struct place *p);

/* parts.c. Each says what is wrong and answers false. */
bool part_start_bus(struct session *s);
bool part_start_activator(struct session *s, bool wait);
bool part_start_command(struct session *s);
/* Finds a program as execvp() would; false when there is none. */
bool find_in_path(const char *name, char *found, size_t size);

/* children.c */
/* Waits until something happened (signal, child, input or hang-up on fd unless -1), at most
 * timeout milliseconds (-1: for ever), and takes it in. True when fd is readable. */
bool session_wait(struct session *s, int fd, int timeout);
/* Collects what has ended without waiting. */
void children_reap(struct session *s);
/* Stops this process as its child has stopped, and continues the child afterwards. */
void mirror_stop(pid_t pid);
/* Looks for the activator after its top reaper was killed; starts one when there is none. */
void activator_look(struct session *s);
/* The short name of a process, "" when it is gone. */
void process_name(pid_t pid, char name[32]);

/* ending.c: stops everything below us, in order. True when nothing is left. */
bool session_end(struct session *s);

/* mounts.c */
void mounts_read(struct mount_list *m);
void mounts_clear(struct mount_list *m);
/* Unmounts the FUSE mounts of this user that are not in `before` and whose server is dead.
 * Answers the number of those (not in before) that remain with a living server or for another
 * reason. */
size_t mounts_clean(const struct mount_list *before);

/* keeper.c. The session from start to end; the exit status. Clears up when the wrapper is
 * gone. */
int keeper_run(struct session *s);
/* Blocks the signals that are awaited and opens s->signals. */
bool session_take_signals(struct session *s);
/* Unmounts and removes what the session leaves. */
void session_clear_up(struct session *s);
