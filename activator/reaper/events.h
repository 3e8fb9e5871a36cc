/* SPDX-License-Identifier: MIT */
/* What happened in one run and the activator has not yet acknowledged. */
#pragma once

#include "common/message.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EVENTS_MAX   4096
#define EVENTS_WORDS 32

enum event_flags {
    EVENT_EMPTY = 1 << 0,
    EVENT_ADOPTED = 1 << 1,
    EVENT_FIRST = 1 << 2,
    EVENT_LEFT = 1 << 3, /* it had ended before its own reaper died, which may have told it */
};

struct event {
    uint64_t time;
    uint32_t pid;
    uint32_t status;
    uint8_t how;
    uint8_t flags;
    uint8_t words; /* 1 + index into the store's words, 0: none */
};

/* Large, and touched only as far as it is used. */
struct event_store {
    struct event ring[EVENTS_MAX];
    char words[EVENTS_WORDS][LAST_WORDS_MAX + 1];
};

struct events {
    uint64_t run;
    uint64_t next; /* sequence number of the next event */
    struct event_store *store;
    size_t head;
    size_t count;
    size_t sent; /* how many of them this connection was told */
    /* The ends in here were looked at and not waited for: each is a zombie until its receipt
     * comes. If this process is killed, whoever adopts them learns how they ended. */
    bool keeping;
    uint32_t words_used; /* bits: which of the store's words */
};

/* Numbers start at first. The store is the caller's. */
void events_init(struct events *e, uint64_t run, uint64_t first, struct event_store *store);
/* The last place is kept for the end of all. */
bool events_full(const struct events *e);
/* An end, as waitid() told it. words "" = none. Not when full. */
void events_exit(struct events *e, const siginfo_t *info, uint8_t flags, const char *words);
void events_empty(struct events *e);
/* Whether the end of pid is among them. */
bool events_know(const struct events *e, pid_t pid);
/* How many ends are among them. */
size_t events_ends(const struct events *e);
/* Waits for the zombies that are kept, and keeps none any more. */
void events_let_go(struct events *e);
/* Everything up to seq may be forgotten, and is waited for. */
void events_ack(struct events *e, uint64_t seq);
/* A new connection: all of it has to be told again. */
void events_rewind(struct events *e);
/* Sends what was not sent, at most `most` messages. 0: all told, 1: more to send, or a negative
 * errno of the socket (-EAGAIN: full). */
int events_send(struct events *e, int socket, unsigned most);

/* The words of the protocol for what waitid() said. */
uint8_t end_how(const siginfo_t *info);
