/* SPDX-License-Identifier: MIT */
/* What this activator knows of runs of its predecessors: from the history. */
#include "daemon/reapers.h"

void run_recall(struct run *run)
{
    const struct history_record *r = history_find(run->a->history, run->id);
    struct service *s = run->service;

    s->run_id = MAX(s->run_id, run->id);
    if (s->run_id == run->id) {
        s->requested = run->requested;
        g_free(s->file);
        s->file = g_strdup(run->file);
        g_strfreev(s->command);
        s->command = g_strdupv(run->command);
        g_free(s->user);
        s->user = g_strdup(run->user);
    }
    if (!r)
        return;
    run->spawned = r->spawned;
    /* A reaper would say it again; a top reaper does not know it. */
    if (s->run_id == run->id && r->spawned)
        s->started = r->spawned;
    run->connected = r->connected;
    run->owned = r->owned;
    run->named_pid = (pid_t)r->main_pid;
    run->settled = r->result == HISTORY_STARTED;
    run->failed = r->result == HISTORY_FAILED;
    run->error_name = g_strdup(r->error_name);
    run->error_message = g_strdup(r->error_message);
    if (r->ended) {
        run->main_end = (struct ending){.known = TRUE,
                                        .pid = run->named_pid,
                                        .how = r->how,
                                        .status = r->status,
                                        .time = r->ended};
    } else {
        run->main_pid = run->named_pid;
    }
    if (s->run_id == run->id && run->requested && run->owned >= run->requested)
        s->latency = run->owned - run->requested;
}

static void recall(const struct history_record *r, void *data)
{
    struct service *s = service_get(data, r->name);
    const struct ending end = {.how = r->how, .status = r->status};
    gboolean failed = r->result == HISTORY_FAILED;

    s->activations++;
    s->run_id = r->run;
    s->requested = r->requested;
    s->started = r->spawned;
    s->latency = r->owned >= r->requested && r->requested ? r->owned - r->requested : 0;
    s->exit_known = r->ended != 0;
    s->exited = r->ended;
    s->exit_how = r->how;
    s->exit_status = r->status;
    g_free(s->error_name);
    g_free(s->error_message);
    s->error_name = failed ? g_strdup(r->error_name) : NULL;
    s->error_message = failed ? g_strdup(r->error_message) : NULL;
    s->end_failed =
        !r->stopped && (failed || (r->ended && ending_is_bad(&end) && end.how != END_UNKNOWN));
    service_update(s);
}

void services_recall(struct activator *a)
{
    history_foreach(a->history, 0, recall, a);
}
