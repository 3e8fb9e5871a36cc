/* SPDX-License-Identifier: MIT */
/*
 * What the rooms of the daemon share. One activator serves one bus; one thread, one main loop.
 *
 *   main.c        options; putting itself under the top reaper
 *   startup.c     from the options to serving; reload
 *   lifetime.c    leaving, reexec, loss of the bus
 *   signals.c     SIGTERM and others
 *   runtime-dir.c the runtime directory, its lock and links
 *   bus.c         libdbus in the main loop          link.c   messages with our other programs
 *   reapers.c     connections of reapers            top.c    the link to the top reaper
 *   spares.c      warm reapers
 *   run.c         one run and its ends              stop.c   stopping runs
 *   service.c     states, requests and verdicts     start.c  from a request to a spawned run
 *   names.c       who owns which name
 *   door-signal.c, door-helper.c                    the front doors
 *   interface.c, calls.c, fields.c                  org.dbusactivator.Activator1
 *   judge.c       when a start failed               run-main.c  which process is the main one
 *   journal.c     the daemon's own words            await.c  waiting for a bus to return
 *   fd-watch.c    readable descriptors in the main loop
 *   rooms/        service files, generated files, history, logs, users, where the bus is
 */
#pragma once

#include "common/place/bus-place.h"
#include "daemon/bus.h"
#include "daemon/link.h"
#include "daemon/rooms/catalogue.h"
#include "daemon/rooms/generate.h"
#include "daemon/rooms/history.h"

#include <glib.h>
#include <sys/resource.h>

#define ACTIVATOR_NAME "org.dbusactivator.Activator1"
#define ACTIVATOR_PATH "/org/dbusactivator/Activator1"
#define SYSTEMD_NAME   "org.freedesktop.systemd1"
#define ERROR_PREFIX   "org.freedesktop.DBus.Error."
#define OWN_ERROR      "org.dbusactivator.Error."
/* Exit statuses: 0 left in good order, 1 could not serve, 2 usage. */

enum door_choice { DOOR_AUTO, DOOR_SIGNAL, DOOR_HELPER };

struct options {
    gboolean session;
    gboolean system;
    char *address;
    char *config_file;
    char **service_dirs;
    char *runtime_dir;
    char *generated_dir;
    char *door_text;
    enum door_choice door;
    gboolean replace;
    int ready_fd;
    int lifeline_fd;
    char *log_level;
    double start_timeout; /* seconds; negative: the bus configuration's */
    double stop_timeout;
    double handover_grace;
    char *start_limit_text;
    guint limit_burst;
    guint limit_seconds;
    int log_max;               /* bytes of one log file */
    char **argv;               /* to execute itself again */
    struct rlimit descriptors; /* as they were: for whatever is executed */
};

struct request;
struct run;
struct service;

enum leave_how {
    LEAVE_STOP_ALL,  /* the session ends: stop every service first */
    LEAVE_HAND_OVER, /* services stay; exit */
    LEAVE_REEXEC,    /* services stay; execute the installed program */
};

struct activator {
    struct options *options;
    GMainLoop *loop;
    int exit_status;

    struct bus *bus;
    char *address;
    char *bus_id;
    gboolean system;
    gboolean has_systemd_door; /* the bus has --systemd-activation and the name is ours */
    gboolean bus_asks_systemd; /* the bus has --systemd-activation */
    GHashTable *connected;     /* unique name -> GUINT time of its appearance (guint64 *) */

    char *runtime_dir;
    int lock_fd;
    GPtrArray *guid_links;

    struct bus_place *place;
    struct catalogue *catalogue;
    struct generated *generated;
    struct history *history;
    GHashTable *environment;     /* what services get on a session bus: name -> value */
    GHashTable *environment_set; /* those of it that clients of the bus have set */

    GHashTable *services; /* name -> struct service */
    GHashTable *runs;     /* id -> struct run, those with processes or reports to come */
    GHashTable *by_pid;   /* pid of a reaper -> struct run */
    guint64 last_run_id;
    GList *stops; /* struct stop * in progress */

    struct link *top;
    struct listener *reapers;
    struct listener *requests;
    GHashTable *peers;         /* struct peer * of reapers.c and door-helper.c, as a set */
    GQueue *idle_spares;       /* struct peer * ready */
    GHashTable *spares_coming; /* pid -> struct coming of spares.c */
    guint spares_asked;        /* of the top, not answered yet */
    guint spares_late;         /* timer of these */
    struct peer *mould;        /* a spare that makes the others; not among the idle */
    guint copies_asked;        /* of it, not answered yet */
    guint mould_late;          /* timer of these */
    gboolean no_copies;        /* it cannot */
    guint spares_failed;
    guint spares_retry;
    gboolean spares_complained;
    GQueue *waiting;      /* struct run * without a reaper yet */
    int kind;             /* enum child_reaper_kind of the reapers */
    int top_kind;         /* of the top reaper */
    gboolean top_late;    /* it did not answer in time */
    GHashTable *expected; /* pid of run reapers that have not spoken yet */
    GQueue *held_calls;   /* DBusMessage *, calls that came before it served */
    GQueue *early_calls;  /* and before it knew who has just taken a name */
    guint pids_asked;
    GHashTable *kills; /* cookie -> struct kill */
    guint32 last_cookie;
    GHashTable *orphans; /* pid -> struct orphan: children of the top, of runs */

    char *starter_address; /* with its guid, for services */
    char *generated_path;
    gboolean reload_asked; /* while it was starting */
    gboolean await_bus;    /* the next one waits for the bus to come back */
    guint hand_over_tries;
    GList *held_verdicts;    /* of judge.c, reached before it served */
    GHashTable *owned_names; /* all well-known names that have an owner */
    guint owners_asked;
    guint replace_timer;
    gboolean hand_over; /* leaving, but services and runs stay */
    gboolean serving;
    guint64 begun; /* when this activator was */
    gboolean leaving;
    gboolean again;    /* not the first one below this top reaper */
    gboolean replaced; /* the next one is there already */
    enum leave_how leave_how;
    gboolean leave_asked; /* before it served */
    guint answer_timer;   /* a hand-over waits for the ends of stops */
    struct fd_watch *signals;
    gboolean reexec;
    gboolean crashed_before; /* a predecessor left without giving its names back */
    guint start_wait;
    guint n_running;
};

/* µs since the epoch. */
guint64 now_usec(void);

/* startup.c. Returns FALSE with error set when it cannot serve. */
gboolean activator_start(struct activator *a, GError **error);
/* The service files changed or SIGHUP came: read them again, tell the bus. done (may be NULL) is
 * called when the bus has read its configuration again: from then on what was on disk is
 * served. */
void activator_reload(struct activator *a, void (*done)(void *data), void *data);
/* The catalogue noticed by itself. */
void activator_catalogue_changed(struct activator *a);
/* Called by reapers.c and top.c whenever one that start-up waits for has spoken or gone. */
void activator_start_step(struct activator *a);
/* Generated files as the catalogue says; reloads the bus when one changed. */
void activator_publish(struct activator *a, void (*done)(void *data), void *data);

/* lifetime.c */
void activator_leave(struct activator *a, enum leave_how how);
/* A stop or a signal has been answered: goes on with a hand-over that waited for it. */
void activator_leave_on(struct activator *a);
void activator_bus_lost(void *data);
/* Calls when nothing is left to be stopped. */
void activator_stop_all(struct activator *a, void (*done)(GPtrArray *survivors, void *data),
                        void *data);

/* runtime-dir.c. Creates the directory, takes the lock and writes into it who holds it, and under
 * which top reaper. FALSE with error set when another activator holds it (code
 * G_FILE_ERROR_EXIST), or is started by another top reaper instead of us. */
gboolean runtime_dir_open(struct activator *a, pid_t own_top, GError **error);
/* A link for each guid that the bus's addresses carry. */
void runtime_dir_link(struct activator *a, const char *guid);
/* Removes what only a serving activator has there; all of it when `all`. */
void runtime_dir_close(struct activator *a, gboolean all);
/* Whether another activator of this user serves another bus. */
gboolean runtime_dir_has_neighbour(struct activator *a);
/* signals.c: from here on SIGHUP and SIGUSR1, and with ends_too SIGTERM and SIGINT, wait until they
 * are watched for. They go on waiting when this process executes itself. */
void signals_hold(gboolean ends_too);
/* Serves them from the main loop. FALSE with error set without a descriptor for it. */
gboolean signals_watch(struct activator *a, GError **error);
/* environment.c: what this process was started with, but what is between it and its top reaper. */
void environment_init(struct activator *a);
/* What clients had a predecessor set; after the runtime directory is open. */
void environment_recall(struct activator *a);
/* Clients have set these, KEY=VALUE; kept for a successor. What has no key is left out. */
void environment_set(struct activator *a, char **pairs);

/* A path in the runtime directory; g_free(). */
char *runtime_dir_path(struct activator *a, const char *name);
/* The mark of a served signal door: left behind by a crash alone. */
void runtime_dir_mark(struct activator *a, gboolean on);
