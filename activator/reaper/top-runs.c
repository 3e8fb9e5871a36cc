/* SPDX-License-Identifier: MIT */
/* The tables of the top reaper. */
#include "reaper/top.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOG_TURN (64u * 1024)

/* --- reapers ---------------------------------------------------------------------------- */

struct top_reaper *top_reaper_find(const struct top *t, pid_t pid)
{
    for (struct top_reaper *r = t->reapers; r; r = r->next) {
        if (r->pid == pid)
            return r;
    }
    return NULL;
}

struct top_reaper *top_reaper_get(struct top *t, pid_t pid)
{
    struct top_reaper *r = top_reaper_find(t, pid);

    if (r)
        return r;
    r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->pid = pid;
    r->log_pipe = r->watch.fd = -1;
    r->next = t->reapers;
    t->reapers = r;
    return r;
}

void top_reaper_forget(struct top *t, struct top_reaper *r)
{
    for (struct top_reaper **at = &t->reapers; *at; at = &(*at)->next) {
        if (*at == r) {
            *at = r->next;
            break;
        }
    }
    if (r->log_pipe >= 0)
        close(r->log_pipe);
    loop_close(&t->loop, &r->watch);
    free(r->name);
    free(r->note);
    free(r->log_path);
    free(r);
}

/* --- runs ------------------------------------------------------------------------------- */

struct top_run *top_run_find(const struct top *t, uint64_t id)
{
    for (struct top_run *run = t->runs; run && id != 0; run = run->next) {
        if (run->id == id)
            return run;
    }
    return NULL;
}

struct top_run *top_run_nameless(const struct top *t, pid_t reaper)
{
    for (struct top_run *run = t->runs; run; run = run->next) {
        if (run->id == 0 && run->reaper == reaper)
            return run;
    }
    return NULL;
}

static void on_pipe(void *data, uint32_t events)
{
    struct top_run *run = data;

    (void)events;
    log_drain(run->log, LOG_TURN);
    if (run->log->pipe >= 0)
        return;
    loop_close(&run->top->loop, &run->pipe);
    if (run->foreign)
        loop_arm(&run->top->loop, &run->top->again, 0);
}

void top_run_log_catch_up(struct top_run *run)
{
    if (!run->log)
        return;
    log_drain(run->log, 2 * LOG_TURN);
    log_flush(run->log);
    if (run->log->pipe < 0)
        loop_close(&run->top->loop, &run->pipe);
}

static void take_log(struct top_run *run, struct top_reaper *r)
{
    run->pipe = (struct loop_source){.fd = -1, .ready = on_pipe, .data = run};
    if (r->log_pipe < 0)
        return;
    run->log = malloc(sizeof *run->log);
    if (!run->log)
        return;
    log_init(run->log);
    log_target(run->log, r->name ? r->name : "", r->log_path ? r->log_path : "", r->log_limit,
               r->log_to_syslog);
    if (loop_add(&run->top->loop, &run->pipe, r->log_pipe, EPOLLIN) < 0)
        return;
    run->log->pipe = r->log_pipe;
    r->log_pipe = -1;
}

void top_run_name(struct top_run *run, struct top_reaper *r)
{
    run->id = run->events.run = r->run;
    free(run->note);
    run->note = r->note;
    r->note = NULL;
    run->gone_told = false;
    if (run->log)
        log_target(run->log, r->name ? r->name : "", r->log_path ? r->log_path : "", r->log_limit,
                   r->log_to_syslog);
}

struct top_run *top_run_new(struct top *t, struct top_reaper *r)
{
    struct top_run *run = calloc(1, sizeof *run);
    struct top_run **last = &t->runs;

    if (!run)
        return NULL;
    run->store = malloc(sizeof *run->store);
    if (!run->store) {
        free(run);
        return NULL;
    }
    run->top = t;
    run->id = r->run;
    run->reaper = r->pid;
    run->reaper_end = r->end;
    run->foreign = r->end.si_pid != r->pid;
    run->note = r->note;
    r->note = NULL;
    run->fresh = true;
    events_init(&run->events, run->id, MESSAGE_TOP_SEQ + 1, run->store);
    take_log(run, r);
    while (*last)
        last = &(*last)->next;
    *last = run;
    return run;
}

void top_run_forget(struct top *t, struct top_run *run)
{
    size_t kept = 0;

    if (run->foreign && run->pipe.fd >= 0) {
        run->id = 0;
        run->reaper = 0;
        return;
    }
    for (struct top_run **at = &t->runs; *at; at = &(*at)->next) {
        if (*at == run) {
            *at = run->next;
            break;
        }
    }
    for (size_t i = 0; i < t->nknown; i++) {
        if (t->known[i].run == run && !t->known[i].child)
            continue;
        if (t->known[i].run == run)
            t->known[i].run = NULL;
        t->known[kept++] = t->known[i];
    }
    t->nknown = kept;
    if (run->log) {
        top_run_log_catch_up(run);
        log_close(run->log);
        free(run->log);
    }
    loop_close(&t->loop, &run->pipe);
    free(run->store);
    free(run->note);
    free(run);
}

int top_run_tree(const struct top *t, const struct top_run *run, struct process_tree *tree)
{
    int result = 0;

    memset(tree, 0, sizeof *tree);
    for (size_t i = 0; i < t->nknown && result == 0; i++) {
        if (t->known[i].run == run && t->known[i].child)
            result = process_tree_add(tree, t->known[i].pid);
    }
    return result;
}

/* --- known processes -------------------------------------------------------------------- */

/* Where pid is or belongs. */
static size_t place(const struct top *t, pid_t pid)
{
    size_t low = 0;
    size_t high = t->nknown;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (t->known[middle].pid < pid)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct top_known *top_known_find(const struct top *t, pid_t pid)
{
    size_t at = place(t, pid);

    return at < t->nknown && t->known[at].pid == pid ? &t->known[at] : NULL;
}

bool top_known_add(struct top *t, const struct top_known *new)
{
    top_known_remove(t, new->pid);
    if (t->nknown == t->known_room) {
        size_t room = t->known_room ? t->known_room * 2 : 32;
        struct top_known *list = reallocarray(t->known, room, sizeof *list);
        if (!list)
            return false;
        t->known = list;
        t->known_room = room;
    }
    size_t at = place(t, new->pid);
    memmove(t->known + at + 1, t->known + at, (t->nknown - at) * sizeof *t->known);
    t->known[at] = *new;
    t->nknown++;
    if (new->child &&new->run) {
        new->run->nchildren++;
        new->run->news = true;
    }
    return true;
}

void top_known_remove(struct top *t, pid_t pid)
{
    size_t at = place(t, pid);

    if (at >= t->nknown || t->known[at].pid != pid)
        return;
    if (t->known[at].child && t->known[at].run)
        t->known[at].run->nchildren--;
    t->nknown--;
    memmove(t->known + at, t->known + at + 1, (t->nknown - at) * sizeof *t->known);
}
