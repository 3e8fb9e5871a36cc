/* SPDX-License-Identifier: MIT */
/* The reaper of one run, from the moment it waits as a spare. Its rooms: run.c (life),
 * run-link.c (what is said to and by the activator). */
#pragma once

#include "reaper/events.h"
#include "reaper/lifeline.h"
#include "reaper/link.h"
#include "reaper/log.h"
#include "reaper/loop.h"
#include "reaper/modes.h"
#include "reaper/process.h"
#include "reaper/spawn.h"
#include "reaper/stop.h"

#define ANSWERS_MAX 8

/* What is known of the run and was told on no connection yet, or has to be told again. */
struct answer {
    uint32_t cookie;
    uint32_t signalled;
    uint32_t left;
};

struct run {
    struct loop loop;
    struct link link;
    struct lifeline lifeline;
    struct stop stop;
    struct loop_source signals;
    struct loop_source pipe;
    struct loop_timer again; /* more to reap, or a full queue has room again */
    struct spawn_ready ready;
    int kind;       /* enum child_reaper_kind */
    int folder;     /* the runtime directory */
    uint64_t start; /* of this process, as /proc/PID/stat has it */

    uint64_t id;  /* 0: a spare */
    bool is_copy; /* of a mould, which has announced it */
    bool is_mould;
    pid_t pid; /* of the spawned process, 0: it could not be spawned */
    uint64_t time;
    struct spawn_failure failure;
    bool spawn_told;  /* MESSAGE_SPAWNED went out */
    bool failed_told; /* on this connection */
    bool replaying;   /* MESSAGE_REPLAYED has to follow */
    bool empty;       /* no child is left */
    bool system;
    uint64_t kill_until; /* ms: see KILL_AGAIN */
    size_t nanswers;
    struct answer answers[ANSWERS_MAX];
    struct events events;
    /* From here on it gets large: what is used of it lies at the beginning. */
    struct log log;
    char note[SPAWN_NOTE_MAX + 1];
};

/* run-link.c */
extern const struct link_handler run_link_handler;
/* Tells the activator what it does not know yet, as far as the socket takes it. */
void run_tell(struct run *r);

/* copy.c: the activator asked for one more spare: this process makes one of itself. Returns in
 * both; the link is another one in the copy. */
void spare_copy(struct run *r);

/* run.c */
/* Loop, signals, log pipe and lifeline (-1: none) of a process that is about to wait as a spare.
 * 0 or a negative errno. */
int run_get_ready(struct run *r, const int log[2], int lifeline);
/* Last: touches the memory that the start will need. Each page that is written for the first time
 * costs microseconds (most in a virtual machine), and nobody waits for them yet. */
void run_warm(struct run *r);
void run_begin(struct run *r, const struct spawn_request *q);
void run_acknowledge(struct run *r, uint64_t seq);
void run_signal_all(void *data, int signal, bool and_continue, struct signalled *count);
/* Ends the process when there is nothing left to do for it. */
void run_leave_if_done(struct run *r);
