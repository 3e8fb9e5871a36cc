/* SPDX-License-Identifier: MIT */
#include "reaper/stop.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#define GIVE_UP    5000
#define FIRST_LOOK 20
#define LAST_LOOK  250
#define KILL_WALKS 10

static void signal_one(const struct tree_process *p, int number, bool and_continue,
                       struct signalled *count)
{
    int result = p->zombie ? -ESRCH : 0;

    if (result == 0 && number != 0)
        result = process_signal_seen(p, number, and_continue);
    if (result == -ESRCH)
        return;
    count->live++;
    if (result == 0 && number != 0)
        count->sent++;
}

void tree_signal(const struct process_tree *tree, int number, bool and_continue,
                 struct signalled *count)
{
    for (size_t i = 0; i < tree->count; i++)
        signal_one(&tree->list[i], number, and_continue, count);
}

static int by_pid(const void *a, const void *b)
{
    const struct tree_process *left = a;
    const struct tree_process *right = b;

    return (left->pid > right->pid) - (left->pid < right->pid);
}

void tree_signal_read(int (*read)(void *data, struct process_tree *tree), void *data, int number,
                      bool and_continue, struct signalled *count)
{
    struct process_tree before = {0};
    bool more = true;

    for (int walk = 0; walk < KILL_WALKS && more; walk++) {
        struct process_tree tree;
        more = false;
        if (read(data, &tree) < 0)
            count->live++;
        for (size_t i = 0; i < tree.count; i++) {
            const struct tree_process *p = &tree.list[i];
            const struct tree_process *old = NULL;
            if (before.count > 0)
                old = bsearch(p, before.list, before.count, sizeof *p, by_pid);
            if (p->zombie || (old && old->start == p->start))
                continue;
            signal_one(p, number, and_continue, count);
            more = number == SIGKILL;
        }
        if (more)
            qsort(tree.list, tree.count, sizeof *tree.list, by_pid);
        process_tree_clear(&before);
        before = tree;
    }
    process_tree_clear(&before);
}

static void finish(struct stop *s, uint32_t left)
{
    stop_cancel(s);
    s->done(s->data, left);
}

/* Each look walks the tree again: what forked while the last signals went out is found. */
static void look(void *data)
{
    struct stop *s = data;
    struct signalled count = {0};
    uint64_t now = loop_now();

    if (!s->killing && now >= s->until) {
        s->killing = true;
        s->until = now + GIVE_UP;
        s->wait = FIRST_LOOK;
    }
    s->send(s->data, s->killing ? SIGKILL : 0, false, &count);
    if (count.live == 0) {
        finish(s, 0);
    } else if (s->killing && now >= s->until) {
        finish(s, count.live);
    } else {
        uint64_t wait = s->wait;
        if (now < s->until && s->until - now < wait)
            wait = s->until - now;
        s->wait = s->wait * 2 > LAST_LOOK ? LAST_LOOK : s->wait * 2;
        loop_arm(s->loop, &s->timer, wait);
    }
}

void stop_begin(struct stop *s, bool hang_up)
{
    struct signalled count = {0};

    if (s->active)
        return;
    s->active = true;
    s->killing = false;
    s->until = loop_now() + s->timeout;
    s->wait = FIRST_LOOK;
    s->timer.fired = look;
    s->timer.data = s;
    if (hang_up)
        s->send(s->data, SIGHUP, false, &count);
    s->send(s->data, SIGTERM, true, &count);
    loop_arm(s->loop, &s->timer, count.live == 0 ? 0 : s->wait);
}

void stop_look(struct stop *s)
{
    if (s->active)
        loop_arm(s->loop, &s->timer, 0);
}

void stop_cancel(struct stop *s)
{
    loop_disarm(s->loop, &s->timer);
    s->active = false;
}
