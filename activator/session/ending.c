/* SPDX-License-Identifier: MIT */
/*
 * The end of a session: first the command, then the services (the activator stops them and
 * withdraws its service files while there is a bus), then the bus, then whatever else is below
 * us. Each step sends SIGTERM once, SIGKILL after STOP_MS and again until none is left, and
 * gives up GIVE_UP_MS later; what is left then meets the last step.
 */
#include "session/session.h"

#include "common/process-tree.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOK_AGAIN_MS 30
/* The activator gives its services STOP_MS itself, with a report for each; it is only
 * interrupted when that did not help. */
#define ACTIVATOR_EXTRA_MS 2000

enum { EVERYTHING = PARTS };

/* The live processes of a part, its reaper (or what was adopted for it) included. EVERYTHING:
 * all below us but what is spared. */
static void collect(const struct session *s, int kind, struct process_tree *tree)
{
    pid_t *skip = NULL;
    size_t nskip = 0;

    memset(tree, 0, sizeof *tree);
    if (kind != EVERYTHING) {
        if (s->parts[kind].pid)
            process_tree_add(tree, s->parts[kind].pid);
        for (size_t i = 0; i < s->nfosters; i++) {
            if ((int)s->fosters[i].owner == kind && !s->fosters[i].spared)
                process_tree_add(tree, s->fosters[i].pid);
        }
        return;
    }
    skip = calloc(s->nfosters + 1, sizeof *skip);
    for (size_t i = 0; skip && i < s->nfosters; i++) {
        if (s->fosters[i].spared)
            skip[nskip++] = s->fosters[i].pid;
    }
    process_tree_read(tree, getpid(), skip, nskip);
    free(skip);
}

/* The reaper of a part stays until what it holds is gone: it waits for it and knows its status. */
static bool is_reaper(const struct session *s, int kind, pid_t pid)
{
    return kind != EVERYTHING && pid == s->parts[kind].pid && !s->parts[kind].adopted;
}

static void signal_all(const struct session *s, int kind, const struct process_tree *tree,
                       const int *signals, bool reaper_too)
{
    for (size_t i = 0; i < tree->count; i++) {
        pid_t pid = tree->list[i].pid;
        if (tree->list[i].zombie || (is_reaper(s, kind, pid) && !reaper_too))
            continue;
        for (const int *number = signals; *number; number++)
            process_signal_below(pid, getpid(), *number);
    }
}

static void ask(const struct session *s, int kind)
{
    static const int hang_up[] = {SIGHUP, SIGTERM, SIGCONT, 0};
    static const int terminate[] = {SIGTERM, SIGCONT, 0};
    struct process_tree tree;

    if (kind == PART_ACTIVATOR && s->parts[kind].pid) {
        /* It does the rest, in order. */
        kill(s->parts[kind].pid, SIGTERM);
        kill(s->parts[kind].pid, SIGCONT);
        return;
    }
    collect(s, kind, &tree);
    signal_all(s, kind, &tree, kind == PART_COMMAND ? hang_up : terminate, false);
    process_tree_clear(&tree);
}

/* How many processes of the part remain; zombies of others' count while their parent lives. */
static size_t count(struct session *s, int kind, struct process_tree *tree)
{
    children_reap(s);
    collect(s, kind, tree);
    return tree->count;
}

static void stop_step(struct session *s, int kind)
{
    static const int kill_now[] = {SIGKILL, 0};
    int64_t kill_at = now_ms() + STOP_MS;
    struct process_tree tree;

    if (kind == PART_ACTIVATOR)
        kill_at += ACTIVATOR_EXTRA_MS;
    int64_t end = kill_at + GIVE_UP_MS;
    bool has_left = !s->parts[PART_ACTIVATOR].pid;
    ask(s, kind);
    for (int pause = 1; count(s, kind, &tree) > 0; pause += pause < LOOK_AGAIN_MS) {
        int64_t now = now_ms();
        if (now >= end)
            break;
        /* The activator has left and something is there that it did not stop. */
        if (kind == PART_ACTIVATOR && !has_left && !s->parts[kind].pid) {
            has_left = true;
            ask(s, kind);
        }
        /* A reaper that holds nothing any more leaves by itself; it has a second for that. */
        if (now >= kill_at)
            signal_all(s, kind, &tree, kill_now, now >= kill_at + 1000);
        process_tree_clear(&tree);
        session_wait(s, -1, pause);
    }
    process_tree_clear(&tree);
}

static bool name_survivors(struct session *s)
{
    struct process_tree tree;
    bool none = count(s, EVERYTHING, &tree) == 0;

    for (size_t i = 0; i < tree.count; i++) {
        char name[32];
        char state = 0;
        process_name(tree.list[i].pid, name);
        process_parent(tree.list[i].pid, NULL, &state);
        say("process %d (%s, state %c) could not be stopped and is left", (int)tree.list[i].pid,
            name, state ? state : '?');
    }
    process_tree_clear(&tree);
    return none;
}

bool session_end(struct session *s)
{
    s->ending = true;
    stop_step(s, PART_COMMAND);
    stop_step(s, PART_ACTIVATOR);
    stop_step(s, PART_BUS);
    stop_step(s, EVERYTHING);
    return name_survivors(s);
}
