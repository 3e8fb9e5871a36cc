/* SPDX-License-Identifier: MIT */
/* Which process of a run is the main one, when it ended, and the run's record in the history. */
#include "daemon/reapers.h"

#include "common/process-tree.h"

#include <glib-unix.h>
#include <sys/syscall.h>
#include <unistd.h>

/* How long the reaper's report may come after the pidfd said that the process is over. */
#define REPORT_MS 1000

void run_watch_over(struct run *run)
{
    if (run->main_watch) {
        g_source_destroy(run->main_watch);
        g_clear_pointer(&run->main_watch, g_source_unref);
    }
    if (run->main_fd > 0)
        close(run->main_fd);
    run->main_fd = 0;
}

static gboolean on_no_report(gpointer data)
{
    struct run *run = data;
    struct ending end = {
        .known = TRUE, .pid = run->named_pid, .how = END_UNKNOWN, .time = now_usec()};

    run_main_ended(run, &end);
    run_record(run);
    service_update(run->service);
    return G_SOURCE_REMOVE;
}

static gboolean on_main_end(gint fd, GIOCondition condition, gpointer data)
{
    struct run *run = data;

    (void)fd;
    (void)condition;
    /* Its parent within the run may wait for it: then nobody tells how it ended. Or it was
     * adopted meanwhile and the reaper's report is on its way. */
    run_watch_over(run);
    run->main_watch = g_timeout_source_new(REPORT_MS);
    g_source_set_callback(run->main_watch, on_no_report, run, NULL);
    g_source_attach(run->main_watch, NULL);
    return G_SOURCE_REMOVE;
}

void run_set_main(struct run *run, pid_t pid)
{
    /* Known, also its end: the bus's word that it owns the name may be older than that. */
    if (run->main_pid == pid || (run->named_pid == pid && run->main_end.known))
        return;
    run_watch_over(run);
    run->main_pid = pid;
    run->named_pid = pid;
    /* A run may see several owners one after the other; the report is of the last. */
    run->main_end.known = FALSE;
    for (guint i = 0; i < MIN(run->n_gone, RUN_REMEMBERED); i++) {
        if (run->gone[i].pid != pid)
            continue;
        run_main_ended(run, &run->gone[i]);
        return;
    }
    if (run->reaper_pid && process_parent(pid, NULL, NULL) == run->reaper_pid)
        return;
    run->main_fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (run->main_fd <= 0)
        return;
    run->main_watch = g_unix_fd_source_new(run->main_fd, G_IO_IN);
    g_source_set_callback(run->main_watch, G_SOURCE_FUNC(on_main_end), run, NULL);
    g_source_attach(run->main_watch, NULL);
}

/* --- whose process is it? --------------------------------------------------------------- */

static gboolean run_knew(const struct run *run, pid_t pid)
{
    if (run->spawned_pid == pid || run->named_pid == pid)
        return TRUE;
    for (guint i = 0; i < MIN(run->n_gone, RUN_REMEMBERED); i++) {
        if (run->gone[i].pid == pid)
            return TRUE;
    }
    return FALSE;
}

/* Climbs the parents, to a reaper or to a child of the top that is known. *broken: a parent died
 * under the climb, so that it says nothing. */
static struct run *climb(struct activator *a, pid_t pid, gboolean *broken, gboolean *at_top)
{
    pid_t top = a->top ? a->top->pid : getppid();

    *broken = *at_top = FALSE;
    for (int depth = 0; pid > 1 && depth < 65536; depth++) {
        struct run *run = g_hash_table_lookup(a->by_pid, GINT_TO_POINTER(pid));
        if (!run)
            run = top_orphan_run(a, pid);
        if (run)
            return run;
        if (pid == top) {
            *at_top = TRUE;
            return NULL;
        }
        pid = process_parent(pid, NULL, NULL);
        if (pid <= 0)
            *broken = TRUE;
    }
    return NULL;
}

struct run *run_of_pid(struct activator *a, pid_t pid, struct service *hint)
{
    GHashTableIter iter;
    gpointer value = NULL;
    gboolean broken = FALSE;
    gboolean at_top = FALSE;

    for (int turn = 0; turn < 16; turn++) {
        struct run *run = climb(a, pid, &broken, &at_top);
        if (run)
            return run;
        if (!broken || process_parent(pid, NULL, NULL) == 0)
            break;
    }
    for (guint i = hint ? hint->runs->len : 0; i > 0; i--) {
        struct run *run = g_ptr_array_index(hint->runs, i - 1);
        if (run_knew(run, pid) || (at_top && run->at_top))
            return run;
    }
    g_hash_table_iter_init(&iter, a->runs);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        if (run_knew(value, pid))
            return value;
    }
    return NULL;
}

/* --- the history ------------------------------------------------------------------------ */

void run_record(struct run *run)
{
    struct history_record r = {.run = run->id,
                               .name = run->service->name,
                               .requested = run->requested,
                               .spawned = run->spawned,
                               .connected = run->connected,
                               .owned = run->owned,
                               .main_pid = (guint32)run->named_pid,
                               .error_name = run->error_name,
                               .error_message = run->error_message};

    if (run->main_end.known) {
        r.ended = run->main_end.time;
        r.how = run->main_end.how;
        r.status = run->main_end.status;
    }
    r.result = run->failed ? HISTORY_FAILED : (run->settled ? HISTORY_STARTED : HISTORY_STARTING);
    r.stopped = run->stop_asked;
    history_put(run->a->history, &r);
}
