/* SPDX-License-Identifier: MIT */
/* --top: above the activator and all run reapers. Its rooms: top.c (life, the activator),
 * top-link.c (the activator's words), top-runs.c (who is who), top-orphans.c (what dead reapers
 * left). */
#pragma once

#include "reaper/events.h"
#include "reaper/lifeline.h"
#include "reaper/link.h"
#include "reaper/log.h"
#include "reaper/loop.h"
#include "reaper/modes.h"
#include "reaper/process.h"
#include "reaper/stop.h"

#include <sys/resource.h>

struct top;

/* A living run reaper or spare, as the activator announced it. */
struct top_reaper {
    struct top_reaper *next;
    pid_t pid;
    uint64_t run; /* 0: a spare */
    char *name;
    char *note;
    char *log_path;
    uint32_t log_limit;
    bool log_to_syslog;
    int log_pipe; /* read end, so that nothing gets EPIPE when the reaper dies; -1 */
    bool dead;    /* seen so; it is waited for after its orphans were found */
    bool taken;   /* what it left has been taken over */
    siginfo_t end;
    /* A pidfd, when it is no child of ours (its top reaper was killed): its end is told by nobody
     * else. */
    struct loop_source watch;
};

/* A run whose reaper died: we are its reaper now. id 0: it died before we heard which run it had
 * been given; the activator tells it when it sees the end of the reaper's connection. */
struct top_run {
    struct top_run *next;
    struct top *top;
    uint64_t id;
    pid_t reaper;
    siginfo_t reaper_end;
    uint32_t left; /* processes that it left */
    char *note;
    bool fresh;     /* its reaper's death is being handled */
    bool foreign;   /* its reaper was no child of ours: what it left is not seen here */
    bool gone_told; /* on this connection */
    bool news;      /* it may have children that were not told on this connection */
    bool empty;
    size_t nchildren;    /* of it, that are our children */
    unsigned waited;     /* looks at undecided children before it is said to be empty */
    uint64_t kill_until; /* ms: see KILL_AGAIN */
    struct loop_source pipe;
    struct events events;
    struct log *log;
    struct event_store *store;
};

/* A process that was looked at: a child of ours, or seen below one. */
struct top_known {
    pid_t pid;
    pid_t session;
    pid_t group;
    bool child;
    bool left; /* it had ended when it became ours */
    bool told; /* to the activator, on this connection */
    uint64_t start;
    struct top_run *run; /* NULL: of no run */
    pid_t reaper;        /* it was seen below this living one; 0: none */
};

struct top {
    const struct options *options;
    struct loop loop;
    struct link link;
    struct lifeline lifeline;
    struct stop stop;
    struct loop_source signals;
    struct loop_timer again;
    struct loop_timer restart;
    int kind;

    pid_t activator;  /* 0: none runs */
    uint64_t started; /* ms */
    uint64_t backoff; /* ms */
    bool restarted;   /* it is not the first activator */
    bool serving;
    bool told_to_end; /* a signal to end was passed on */
    bool stop_all;
    bool session_bus; /* as the activator's reapers say: its end is the end of what it started */
    bool session_over;
    bool stopped; /* all that could be */
    int status;
    uint64_t only_reapers;     /* ms: since when nothing else is left of a stop */
    struct rlimit descriptors; /* as they were */
    sigset_t mask;

    struct top_reaper *reapers;
    struct top_run *runs;
    struct top_known *known; /* sorted by pid */
    size_t nknown;
    size_t known_room;
    uint64_t snapshot; /* ms: of the last */
    bool replaying;
    bool looked_below; /* since the activator's end */
    bool trouble;      /* the last top_scan() could not see all */
    bool scanning;     /* top_scan() reads the activator's words */
    size_t undecided;  /* children that may be spares, or programs of a dead reaper before exec */
    uint64_t unclear;  /* ms: since when there are some of the latter; 0: there are none */
    size_t nanswers;
    struct {
        uint64_t run;
        uint32_t cookie;
        struct signalled count;
    } answers[16];
    size_t nspared;
    pid_t spared[16]; /* answers to MESSAGE_TOP_SPARE: pid or a negative errno */
};

/* top.c */
void top_activator_ended(struct top *t, const siginfo_t *info);
/* Something ended or may have: orphans are found, children waited for, the activator told. */
void top_work(struct top *t);
/* Starts a spare as a child of ours and records it. Its pid or a negative errno; that it cannot
 * be executed is its exit status 127. */
pid_t top_spare(struct top *t, const char *program, const char *folder);

/* top-link.c */
extern const struct link_handler top_link_handler;
void top_tell(struct top *t);

/* top-runs.c */
struct top_reaper *top_reaper_find(const struct top *t, pid_t pid);
/* Finds or makes. NULL: out of memory. */
struct top_reaper *top_reaper_get(struct top *t, pid_t pid);
void top_reaper_forget(struct top *t, struct top_reaper *r);
struct top_run *top_run_find(const struct top *t, uint64_t id);
/* That of a dead reaper whose run is not known, or NULL. */
struct top_run *top_run_nameless(const struct top *t, pid_t reaper);
/* The run of a dead reaper, whose log it takes over. NULL: out of memory. */
struct top_run *top_run_new(struct top *t, struct top_reaper *r);
/* Which run it is, as the activator announced r; takes r's note. */
void top_run_name(struct top_run *run, struct top_reaper *r);
/* Of a foreign one the log goes on until its last writer has left. */
void top_run_forget(struct top *t, struct top_run *run);
void top_run_log_catch_up(struct top_run *run);
struct top_known *top_known_find(const struct top *t, pid_t pid);
bool top_known_add(struct top *t, const struct top_known *new);
void top_known_remove(struct top *t, pid_t pid);
/* Every process of the run. Clear the tree after use. 0 or a negative errno. */
int top_run_tree(const struct top *t, const struct top_run *run, struct process_tree *tree);

/* top-orphans.c */
/* True when the process of this reaper is no more (it may not have been waited for yet); what
 * waitid() says of its end is in r->end then, as far as it is known. */
bool top_reaper_has_died(struct top *t, struct top_reaper *r);
/* Finds dead reapers and gives the children that nobody knows to runs. False: not all could be
 * seen, for lack of descriptors or memory. Then nothing that depends on it (what has ended, what is
 * left of a run) may be said; top_work() is called again. */
bool top_scan(struct top *t);
/* Remembers who is below whom, so that a later orphan's run can be told. */
void top_snapshot(struct top *t);
