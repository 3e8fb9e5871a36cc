/* SPDX-License-Identifier: MIT */
/* What this activator knows of runs of its predecessors: from the history. */
#include "daemon/reapers.h"

#include "common/process-tree.h"

#include <time.h>
#include <unistd.h>

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
    /* Of a start that failed, and of a stop, the rest is still to be ended. */
    run->stop_asked = r->stopped;
    run->stopping = r->stopped || r->result == HISTORY_FAILED;
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

/* The code that goes with an error's name, for a launch helper. */
static guint8 code_of(const char *error_name)
{
    static const struct {
        const char *end;
        guint8 code;
    } known[] = {{".ExecFailed", VERDICT_EXEC_FAILED},       {".ForkFailed", VERDICT_FORK_FAILED},
                 {".FailedToSetup", VERDICT_SETUP_FAILED},   {".TimedOut", VERDICT_TIMED_OUT},
                 {".ChildSignaled", VERDICT_CHILD_SIGNALED}, {".InvalidArgs", VERDICT_INVALID_ARGS},
                 {".FileInvalid", VERDICT_FILE_INVALID}};

    for (gsize i = 0; error_name && i < G_N_ELEMENTS(known); i++) {
        if (g_str_has_suffix(error_name, known[i].end))
            return known[i].code;
    }
    return VERDICT_CHILD_EXITED;
}

gboolean service_was_asked_by(struct service *s, pid_t helper)
{
    struct process_stat it;
    struct process_stat own;
    struct timespec up;

    if (!s->recalled_id || s->recalled_id != s->run_id || !process_stat_read(helper, &it) ||
        !process_stat_read(getpid(), &own) || it.start > own.start)
        return FALSE;
    clock_gettime(CLOCK_BOOTTIME, &up);
    guint64 age = (guint64)up.tv_sec * G_USEC_PER_SEC + (guint64)up.tv_nsec / 1000 -
                  it.start * G_USEC_PER_SEC / (guint64)sysconf(_SC_CLK_TCK);
    return s->requested + age >= now_usec();
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
    s->recalled_id = failed && !r->stopped ? r->run : 0;
    s->lost_code = code_of(r->error_name);
    s->lost_how = r->how;
    s->lost_status = r->status;
    service_update(s);
}

void services_recall(struct activator *a)
{
    history_foreach(a->history, 0, recall, a);
}
