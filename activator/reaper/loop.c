/* SPDX-License-Identifier: MIT */
#include "reaper/loop.h"

#include <errno.h>
#include <limits.h>
#include <time.h>
#include <unistd.h>

uint64_t loop_now(void)
{
    struct timespec t = {0};

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

int loop_init(struct loop *l)
{
    *l = (struct loop){.epoll = epoll_create1(EPOLL_CLOEXEC)};
    return l->epoll < 0 ? -errno : 0;
}

int loop_add(struct loop *l, struct loop_source *s, int fd, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.ptr = s};

    if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &e) < 0)
        return -errno;
    s->fd = fd;
    return 0;
}

void loop_change(struct loop *l, struct loop_source *s, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.ptr = s};

    if (s->fd >= 0)
        epoll_ctl(l->epoll, EPOLL_CTL_MOD, s->fd, &e);
}

void loop_remove(struct loop *l, struct loop_source *s)
{
    if (s->fd >= 0)
        epoll_ctl(l->epoll, EPOLL_CTL_DEL, s->fd, NULL);
    s->fd = -1;
}

void loop_close(struct loop *l, struct loop_source *s)
{
    int fd = s->fd;

    loop_remove(l, s);
    if (fd >= 0)
        close(fd);
}

void loop_arm(struct loop *l, struct loop_timer *t, uint64_t ms)
{
    loop_disarm(l, t);
    t->at = loop_now() + ms;
    t->next = l->timers;
    l->timers = t;
}

void loop_disarm(struct loop *l, struct loop_timer *t)
{
    for (struct loop_timer **at = &l->timers; *at; at = &(*at)->next) {
        if (*at == t) {
            *at = t->next;
            break;
        }
    }
    t->at = 0;
    t->next = NULL;
}

/* Fires one timer that is due; the handler may arm or disarm any. True when there was one. */
static bool fire(struct loop *l)
{
    uint64_t now = loop_now();

    for (struct loop_timer *t = l->timers; t; t = t->next) {
        if (t->at <= now) {
            loop_disarm(l, t);
            t->fired(t->data);
            return true;
        }
    }
    return false;
}

static int wait_time(const struct loop *l)
{
    uint64_t first = UINT64_MAX;
    uint64_t now = loop_now();

    for (const struct loop_timer *t = l->timers; t; t = t->next) {
        if (t->at < first)
            first = t->at;
    }
    if (first == UINT64_MAX)
        return -1;
    if (first <= now)
        return 0;
    return first - now > INT_MAX ? INT_MAX : (int)(first - now);
}

int loop_run(struct loop *l)
{
    while (!l->over) {
        /* One event a turn: a handler may close any source without leaving a stale one behind
         * in a batch, and the kernel itself goes round the ready descriptors. */
        struct epoll_event e = {0};
        int n = epoll_wait(l->epoll, &e, 1, wait_time(l));
        if (n < 0 && errno != EINTR) {
            /* Cannot happen with a valid descriptor; if it does, do not spin. */
            nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
        }
        if (n > 0) {
            struct loop_source *s = e.data.ptr;
            s->ready(s->data, e.events);
        }
        if (!l->over && l->timers)
            fire(l);
    }
    return l->status;
}

void loop_end(struct loop *l, int status)
{
    l->over = true;
    l->status = status;
}
