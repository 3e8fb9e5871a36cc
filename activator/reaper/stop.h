/* SPDX-License-Identifier: MIT */
/* Signals to whole trees, and stopping one: SIGTERM with SIGCONT, after a time SIGKILL, again
 * until nothing is left or 5 s have shown that something cannot be killed. */
#pragma once

#include "common/process-tree.h"
#include "reaper/loop.h"

#define STOP_TIMEOUT 5000 /* ms, when nobody said otherwise */

struct signalled {
    uint32_t sent;
    uint32_t live; /* found alive in the walk, whether they could be signalled or not; one more
                    * when the walk failed, so that nobody takes it for the end of all */
};

/* Sends to every process of a tree that was just read (0: only counts); adds to *count. */
void tree_signal(const struct process_tree *tree, int signal, bool and_continue,
                 struct signalled *count);

/* Reads a tree by read() and sends to all of it. What forks, or finds another parent, under the
 * walk is missed: for SIGKILL it is read again until nothing new shows up. Not for others: a
 * process forked by a signal's handler shall not get the same signal. */
void tree_signal_read(int (*read)(void *data, struct process_tree *tree), void *data, int signal,
                      bool and_continue, struct signalled *count);

/* ms: after a SIGKILL to all, what shows up within this time was forked by one of the killed and
 * changed parents under the walk. It is killed as well, whenever one of them is waited for. */
#define KILL_AGAIN 5000

struct stop {
    struct loop *loop;
    struct loop_timer timer;
    bool active;
    bool killing;
    uint64_t until; /* ms: of the phase */
    uint64_t wait;  /* ms: to the next look */
    unsigned timeout;
    /* Sends to all that has to go (0: only counts); the number alive goes to *count. */
    void (*send)(void *data, int signal, bool and_continue, struct signalled *count);
    /* Nothing is left, or (left > 0) that many would not die. Called once. */
    void (*done)(void *data, uint32_t left);
    void *data;
};

/* Begins. hang_up: SIGHUP before SIGTERM. Does nothing when it is active already. done may be
 * called from within. */
void stop_begin(struct stop *s, bool hang_up);
/* Something ended: looks at once whether that was all. */
void stop_look(struct stop *s);
void stop_cancel(struct stop *s);
