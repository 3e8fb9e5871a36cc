/* SPDX-License-Identifier: MIT */
/* One run of a service: a reaper, the processes below it, and how they ended. */
#pragma once

#include "daemon/activator.h"

struct ending {
    gboolean known;
    pid_t pid;
    guint8 how; /* enum end_how */
    gint32 status;
    guint64 time;
};

/* Ends that a run remembers, to recognise an owner that is gone already. */
#define RUN_REMEMBERED 32

struct run {
    struct activator *a;
    struct service *service; /* borrowed; outlives the run */
    guint64 id;
    char *file;
    char *user;
    char **command;
    struct peer *peer; /* its reaper's connection; NULL: none at the moment */
    pid_t reaper_pid;
    gboolean at_top;  /* its reaper died, the top reaper has the processes */
    gboolean looking; /* the top has been asked to look for more of them */
    pid_t spawned_pid;
    pid_t main_pid;      /* the last process that owned the name; 0 none yet or gone */
    pid_t named_pid;     /* the same, kept after its end */
    GSource *main_watch; /* pidfd of a main process that is no child of the reaper */
    int main_fd;
    struct ending main_end;
    struct ending first; /* the process that was spawned */
    struct ending bad;   /* the last that ended badly */
    struct ending last;
    struct ending gone[RUN_REMEMBERED];
    guint n_gone;
    pid_t *told; /* ring: see is_told(); NULL: none */
    guint n_told;
    guint n_adopted;
    guint64 seq;                    /* highest number of the reaper's seen */
    guint64 top_seq;                /* highest number of the top's seen */
    guint64 held_seq, held_top_seq; /* receipts that wait: see run_receipts() */
    guint n_held;
    guint64 requested, spawned, connected, owned, ended;
    guint8 spawn_stage; /* of a spawn that failed */
    gint32 spawn_errno;
    char *words;       /* last words beside the last bad end, or NULL */
    gboolean settled;  /* the name got an owner: no verdict of failure any more */
    gboolean failed;   /* the start failed: verdict given */
    gboolean deciding; /* the bus is being asked for the owner before a verdict */
    gboolean gave_up;  /* stopping it was given up once */
    gboolean stopping;
    gboolean stop_asked; /* stopped on request: its end is no failure */
    gboolean empty;
    gboolean recovered; /* from a predecessor's time */
    guint start_timer;
    guint grace_timer;
    guint stop_timer;
    guint stop_rounds, stop_idle; /* of SIGKILL; those of them in which nothing ended */
    guint stop_gone;              /* n_gone at the last round */
    guint stop_open;              /* signals of the stop that the reaper has not answered */
    gboolean unborn;  /* no reaper has it yet: its user is looked up, or it waits for one */
    guint reapers;    /* to which it was given so far */
    guint word_timer; /* the reaper has not said yet that it spawned anything */
    guint word_ms;
    struct user_lookup *lookup;
    guint32 uid, gid;
    guint n_groups;
    guint32 *groups;
    char *home;
    char **env;             /* what it is spawned with; NULL when it has been */
    struct ending fail_end; /* the end that the failure is about */
    guint8 code;            /* enum verdict of the failure */
    guint8 fail_how;
    gint32 fail_status;
    char *error_name, *error_message;
};

/* The id of a run. Never the same twice, also not in the life of the next activator and when the
 * clock was set back: the time is only where the counting goes on from. */
guint64 run_next_id(struct activator *a);
/* A run that is about to be started (id 0: a new one). Owned by a->runs. */
struct run *run_new(struct activator *a, struct service *service, guint64 id);
struct run *run_find(struct activator *a, guint64 id);
/* Takes it off every list and frees it. */
void run_free(struct run *run);

/* The note that travels with the run through its reaper and back to the next activator. */
char *run_note(const struct run *run);
/* Makes or finds the run that a reaper speaks of; NULL when the note is none of ours. */
struct run *run_from_note(struct activator *a, guint64 id, const char *note);

/* What a reaper (or the top) reports. Each emits its signals and moves the service on. */
void run_spawned(struct run *run, pid_t pid, guint64 time);
void run_spawn_failed(struct run *run, guint8 stage, gint32 number, guint64 time);
struct run_exit {
    guint64 seq;
    struct ending end;
    gboolean adopted;
    gboolean left; /* by a reaper that was killed, as ended: it may have told it */
    gboolean first;
    const char *words;
};
void run_exited(struct run *run, const struct run_exit *e);
void run_emptied(struct run *run, guint64 seq, guint64 time);
void run_reaper_gone(struct run *run);
/* Gives the receipts that were held back, unless it is still open what the ends mean: a reaper
 * tells what it has no receipt for to the next activator, which is the only one to know when this
 * one is killed before the verdict, or before it knows who the main process was. Called whenever
 * one of the two becomes known; over: the run is. */
void run_receipts(struct run *run, gboolean over);
/* The receipt for what was told up to seq; l may be NULL. */
void run_ack(struct link *l, guint64 id, guint64 seq);

/* Frees a run that is over and waits for no verdict. Called wherever one of the two becomes
 * true; run may be gone afterwards. */
void run_over(struct run *run);

/* run-main.c: the name's owner is a process of this run. */
void run_set_main(struct run *run, pid_t pid);
/* The main process ended: reported once a run. */
void run_main_ended(struct run *run, const struct ending *end);
void run_watch_over(struct run *run);
/* The run that pid belongs or belonged to, or NULL. hint: a service whose runs come first. */
struct run *run_of_pid(struct activator *a, pid_t pid, struct service *hint);
/* Writes the run's record into the history. */
void run_record(struct run *run);
/* recall.c: fills a run of a predecessor's time from there. */
void run_recall(struct run *run);
gboolean ending_is_bad(const struct ending *end);
/* A word about its end for people: "exited with status 3", "was killed by signal 9 (KILL)". */
char *ending_text(const struct ending *end);
const char *end_how_text(guint8 how);

/* The link that serves the run's processes: its reaper's, or the top's; NULL when neither. */
struct link *run_link(struct run *run);

/* stop.c: ends the run's processes: TERM and CONT, KILL later, gives up at last. */
void run_stop(struct run *run);
/* Forgets timers of a stop when the run is empty. */
void run_stop_over(struct run *run);

typedef void (*stop_done)(GPtrArray *survivors, void *data);
/* Stops runs (array of struct run *, borrowed) and calls done when none is left or it was given
 * up: survivors then holds "PID COMMAND" texts, else it is empty. */
void stop_runs(struct activator *a, GPtrArray *runs, stop_done done, void *data);
/* A run ended or was given up: stops that wait for it go on. */
void stop_note(struct run *run);
/* Sends a signal to every process of the run; done(FALSE) when nothing could be reached. */
void run_signal(struct run *run, int number, void (*done)(gboolean reached, void *data),
                void *data);
/* The answer to a signal. Cookie 0: it was one of a stop. */
void run_signalled(struct activator *a, guint64 id, guint32 cookie, guint32 signalled);
/* Ends the kills that a vanished run will not answer. */
void run_signals_over(struct run *run);
