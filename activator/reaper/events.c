/* SPDX-License-Identifier: MIT */
#include "reaper/events.h"

#include "reaper/link.h"
#include "reaper/process.h"

#include <string.h>
#include <sys/wait.h>

void events_init(struct events *e, uint64_t run, uint64_t first, struct event_store *store)
{
    e->run = run;
    e->next = first;
    e->store = store;
    e->head = e->count = e->sent = 0;
    e->words_used = 0;
    e->keeping = false;
}

bool events_full(const struct events *e)
{
    return e->count >= EVENTS_MAX - 1;
}

static struct event *at(const struct events *e, size_t index)
{
    return &e->store->ring[(e->head + index) % EVENTS_MAX];
}

static struct event *append(struct events *e)
{
    struct event *new = at(e, e->count++);

    e->next++;
    memset(new, 0, sizeof *new);
    new->time = time_now();
    return new;
}

uint8_t end_how(const siginfo_t *info)
{
    switch (info->si_code) {
    case CLD_EXITED:
        return END_EXITED;
    case CLD_KILLED:
        return END_KILLED;
    case CLD_DUMPED:
        return END_DUMPED;
    default:
        return END_UNKNOWN;
    }
}

/* There are few places: a storm of bad ends keeps the words of its first ones. */
static uint8_t keep_words(struct events *e, const char *words)
{
    for (uint8_t i = 0; i < EVENTS_WORDS; i++) {
        if (e->words_used & (1u << i))
            continue;
        e->words_used |= 1u << i;
        strncpy(e->store->words[i], words, LAST_WORDS_MAX);
        e->store->words[i][LAST_WORDS_MAX] = '\0';
        return (uint8_t)(i + 1);
    }
    return 0;
}

void events_exit(struct events *e, const siginfo_t *info, uint8_t flags, const char *words)
{
    if (e->count >= EVENTS_MAX)
        return;
    struct event *new = append(e);
    new->pid = (uint32_t)info->si_pid;
    new->status = (uint32_t)info->si_status;
    new->how = end_how(info);
    new->flags = flags;
    if (words[0] != '\0')
        new->words = keep_words(e, words);
}

void events_empty(struct events *e)
{
    if (e->count < EVENTS_MAX)
        append(e)->flags = EVENT_EMPTY;
}

bool events_know(const struct events *e, pid_t pid)
{
    for (size_t i = 0; i < e->count; i++) {
        if (!(at(e, i)->flags & EVENT_EMPTY) && at(e, i)->pid == (uint32_t)pid)
            return true;
    }
    return false;
}

size_t events_ends(const struct events *e)
{
    size_t ends = 0;

    for (size_t i = 0; i < e->count; i++)
        ends += !(at(e, i)->flags & EVENT_EMPTY);
    return ends;
}

static void wait_for(const struct event *event)
{
    if (!(event->flags & EVENT_EMPTY))
        waitid(P_PID, event->pid, &(siginfo_t){0}, WEXITED | WNOHANG | __WALL);
}

void events_let_go(struct events *e)
{
    for (size_t i = 0; e->keeping && i < e->count; i++)
        wait_for(at(e, i));
    e->keeping = false;
}

void events_ack(struct events *e, uint64_t seq)
{
    while (e->count > 0 && e->next - e->count <= seq) {
        const struct event *old = at(e, 0);
        if (old->words)
            e->words_used &= ~(1u << (old->words - 1));
        if (e->keeping)
            wait_for(old);
        e->head = (e->head + 1) % EVENTS_MAX;
        e->count--;
        if (e->sent > 0)
            e->sent--;
    }
}

void events_rewind(struct events *e)
{
    e->sent = 0;
}

static int send_one(const struct events *e, size_t index, int socket)
{
    struct message *m = link_message();
    const struct event *event = at(e, index);
    uint64_t seq = e->next - e->count + index;

    if (event->flags & EVENT_EMPTY) {
        message_begin(m, MESSAGE_EMPTY);
        message_put_u64(m, e->run);
        message_put_u64(m, seq);
        message_put_u64(m, event->time);
        return message_send(socket, m, NULL, 0);
    }
    message_begin(m, MESSAGE_EXIT);
    message_put_u64(m, e->run);
    message_put_u64(m, seq);
    message_put_u32(m, event->pid);
    message_put_u8(m, event->how);
    message_put_u32(m, event->status);
    message_put_u8(m, (event->flags & EVENT_ADOPTED ? EXIT_ADOPTED : 0) |
                          (event->flags & EVENT_LEFT ? EXIT_LEFT : 0));
    message_put_u8(m, (event->flags & EVENT_FIRST) != 0);
    message_put_u64(m, event->time);
    message_put_string(m, event->words ? e->store->words[event->words - 1] : "");
    return message_send(socket, m, NULL, 0);
}

int events_send(struct events *e, int socket, unsigned most)
{
    for (; e->sent < e->count; e->sent++) {
        if (most-- == 0)
            return 1;
        int result = send_one(e, e->sent, socket);
        if (result < 0)
            return result;
    }
    return 0;
}
