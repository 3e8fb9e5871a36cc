/* SPDX-License-Identifier: MIT */
/* One thread, descriptors and timers. Nothing wakes up while nothing happens. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

struct loop_source {
    int fd; /* -1: not watched */
    void (*ready)(void *data, uint32_t events);
    void *data;
};

struct loop_timer {
    uint64_t at; /* ms of CLOCK_MONOTONIC, 0: not armed */
    void (*fired)(void *data);
    void *data;
    struct loop_timer *next;
};

struct loop {
    int epoll;
    bool over;
    int status;
    struct loop_timer *timers;
};

/* Returns 0 or a negative errno. */
int loop_init(struct loop *l);

/* Watches fd (level-triggered); the source keeps its ready and data. 0 or a negative errno. */
int loop_add(struct loop *l, struct loop_source *s, int fd, uint32_t events);
void loop_change(struct loop *l, struct loop_source *s, uint32_t events);
/* Stops watching; the descriptor stays open. Must come before close(): our descriptors are
 * shared with other processes, and epoll goes on reporting a file that somebody has open. */
void loop_remove(struct loop *l, struct loop_source *s);
/* loop_remove() and close(). */
void loop_close(struct loop *l, struct loop_source *s);

/* (Re)arms the timer, ms from now. 0 means in the next turn. */
void loop_arm(struct loop *l, struct loop_timer *t, uint64_t ms);
void loop_disarm(struct loop *l, struct loop_timer *t);

/* Runs until loop_end(); returns its status. */
int loop_run(struct loop *l);
void loop_end(struct loop *l, int status);

/* ms of CLOCK_MONOTONIC. */
uint64_t loop_now(void);
