/* SPDX-License-Identifier: MIT */
/* A service: the name, its state, who asked for it, what became of the last start. */
#pragma once

#include "daemon/run.h"

enum request_door { REQUEST_SIGNAL, REQUEST_HELPER };

/* Somebody who waits for a verdict. */
struct request {
    enum request_door door;
    char *unit;        /* signal door */
    struct peer *peer; /* helper door: the helper's connection */
    char **env;        /* helper door on a session bus */
    guint64 time;
};

struct verdict_text {
    guint8 code; /* enum verdict */
    guint8 how;
    gint32 status;
    const char *error_name;
    const char *message;
    gboolean stopped; /* somebody wanted it: no failure */
};

struct service {
    struct activator *a;
    char *name;
    const char *state;
    char *owner;      /* unique name, NULL: the bus name is free */
    pid_t owner_pid;  /* 0: not known (yet) */
    guint64 owned_at; /* when the owner took it */
    struct run *owner_run;
    gboolean owner_dying; /* its run is over; the bus has not said so yet */
    GPtrArray *runs;      /* struct run * with processes, oldest first */
    GQueue *requests;     /* struct request * */
    guint activations;
    /* of the newest run, kept when it is over */
    guint64 run_id;
    guint64 refused_id; /* of starts that were not even tried; 0: the last one was */
    guint64 requested, started, latency, exited;
    guint8 exit_how;
    gint32 exit_status;
    gboolean exit_known;
    gboolean end_failed;
    char *error_name, *error_message;
    char **command;
    char *file;
    char *user;
    /* A verdict whose caller, a launch helper, asks again after a crash of the activator */
    gint64 lost_until;   /* monotonic; 0: none */
    guint64 recalled_id; /* or the failed run of the history that it was reached for */
    guint8 lost_code, lost_how;
    gint32 lost_status;
    /* start limit */
    GArray *failures; /* guint64 times */
    guint8 limit_code, limit_how;
    gint32 limit_status;
    char *limit_error, *limit_message;
};

struct service *service_find(struct activator *a, const char *name);
/* Finds or makes it. */
struct service *service_get(struct activator *a, const char *name);
void service_free(gpointer service);
/* Whether anybody is told of it: it has a file, or something of it is there still. What is over is
 * left to the history. */
gboolean service_is_known(struct service *s);
/* Sorted names of all services that are known. g_ptr_array_unref(). */
GPtrArray *service_list(struct activator *a);

/* Somebody asks for it. Takes the request. */
void service_request(struct service *s, struct request *request);
/* A requester went away. */
void service_forget_peer(struct activator *a, struct peer *peer);
void request_free(struct request *request);

/* recall.c: the last run of each service that the history knows, before anything is served. */
void services_recall(struct activator *a);
/* Whether this launch helper was there before us, and before the last run, which failed, was asked
 * for: that was for it. */
gboolean service_was_asked_by(struct service *s, pid_t helper);
/* A run is over: no name counts as owned by it any more. */
void services_forget_run(struct activator *a, struct run *run);
/* Says what state follows from runs and owner, and tells the bus when it changed. */
void service_update(struct service *s);
/* The name is owned: everybody who waits is served. */
void service_owned(struct service *s);
/* A failed start: asks the bus for the owner first, then gives the verdict. The texts are
 * copied. */
void run_fail(struct run *run, const struct verdict_text *v);
/* Counts for the start limit. */
void count_failure(struct service *s, const struct verdict_text *v);
/* The verdict without asking (there is no run, or the bus is gone). */
void service_fail(struct service *s, const struct verdict_text *v);
/* Judges a starting run after something ended in it. */
void run_judge(struct run *run);
/* Verdicts that were reached before anything was served. */
void verdicts_give_held(struct activator *a);
/* A timer or the last caller ended the start. */
void run_timed_out(struct run *run);

/* start.c: begins a run for the service. env is taken (may be NULL). */
void service_start(struct service *s, char **env, guint64 requested);
/* The run has no reaper yet and is to end: it is over at once. */
void start_cancel(struct run *run);
/* The program was spawned, or could not be. */
void start_spawned(struct run *run);
/* The run's reaper is gone and nothing of the run was ever there: another reaper gets it. FALSE
 * when that is not to be done (any more). */
gboolean start_again(struct run *run);
/* A run that no reaper ever had is over without processes; no verdict yet. */
void start_abandon(struct run *run);
/* A spare is ready, or none can be had. */
void start_with_spare(struct activator *a);
void start_without_spare(struct activator *a, int number);
void run_arm_start_timer(struct run *run);

/* names.c */
gboolean names_watch(struct activator *a, GError **error);
void service_set_owner(struct service *s, const char *owner);
/* Asks for the owner of every known service in one go. */
gboolean names_ask_all(struct activator *a, GError **error);
/* Service files came: their names may have owners already. */
void names_of_catalogue(struct activator *a);
/* A reaper spoke: owners that belonged to no run may belong to its. */
void names_recheck(struct activator *a);

/* door-signal.c */
gboolean door_signal_open(struct activator *a, GError **error);
void door_signal_fail(struct activator *a, const char *unit, const char *error_name,
                      const char *message);
/* Fails every unit that nothing is under way for: requests that died with a predecessor. */
void door_signal_sweep(struct activator *a);
/* Gives the name back and calls done when no request can come any more. */
void door_signal_close(struct activator *a, void (*done)(struct activator *a));

/* door-helper.c */
gboolean door_helper_open(struct activator *a, GError **error);
void door_helper_close(struct activator *a);
void door_helper_verdict(struct request *request, const struct verdict_text *v);
void door_helper_serve_held(struct activator *a);

/* interface.c */
gboolean interface_open(struct activator *a, GError **error);
void interface_emit(struct activator *a, const char *member, int first_type, ...);
void interface_emit_private(struct activator *a, const char *member, int first_type, ...);
void interface_serve_held(struct activator *a);

/* fields.c */
guint32 service_main_pid(struct service *s);
void fields_service(struct service *s, DBusMessageIter *dict, gboolean all);
void fields_history(const struct history_record *r, DBusMessageIter *dict);
void fields_processes(struct service *s, DBusMessageIter *array, gboolean all);
/* What "PID COMMAND" texts survivors of a run have. */
void fields_survivors(struct run *run, GPtrArray *out);
