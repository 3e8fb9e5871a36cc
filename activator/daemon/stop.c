/* SPDX-License-Identifier: MIT */
/* Stopping runs and sending signals: the reaper of a run (or the top reaper, when that one died)
 * walks the processes and signals them; here is only when and what. */
#include "daemon/reapers.h"

#include <signal.h>

/* Between two rounds of SIGKILL, and how many before it is given up: in which none of the run's
 * processes ended although the last signal has gone out to all, and at all. Thousands take their
 * time, and each walk over them takes time too: while they end, they are signalled in every fourth
 * round only. */
#define ROUND_MS    250
#define ROUNDS      20
#define ROUNDS_MOST (12 * ROUNDS)
#define SELDOM      4

struct stop {
    GPtrArray *ids; /* guint64 *, runs not over yet */
    GPtrArray *survivors;
    stop_done done;
    void *data;
};

static void send_signal(struct run *run, int number, guint32 cookie, gboolean and_continue)
{
    static struct message m;
    struct link *l = run_link(run);

    if (!l)
        return;
    message_begin(&m, MESSAGE_SIGNAL);
    message_put_u64(&m, run->id);
    message_put_u32(&m, cookie);
    message_put_u32(&m, (guint32)number);
    message_put_u8(&m, and_continue ? 1 : 0);
    link_send(l, &m, NULL, 0);
    if (!cookie)
        run->stop_open++;
}

static gboolean on_round(gpointer data)
{
    struct run *run = data;

    gboolean moves = run->stop_rounds > 0 && run->n_gone != run->stop_gone;

    run->stop_timer = 0;
    if (run->stop_idle > ROUNDS || run->stop_rounds > ROUNDS_MOST) {
        run->gave_up = TRUE;
        stop_note(run);
        return G_SOURCE_REMOVE;
    }
    run->stop_gone = run->n_gone;
    run->stop_rounds++;
    run->stop_idle += !moves && !run->stop_open;
    /* A reaper that somebody stopped could not do its part. */
    if (run->peer)
        kill(run->reaper_pid, SIGCONT);
    if (!run->stop_open && (!moves || run->stop_rounds % SELDOM == 0))
        send_signal(run, SIGKILL, 0, FALSE);
    run->stop_timer = g_timeout_add(ROUND_MS, on_round, run);
    return G_SOURCE_REMOVE;
}

void run_stop(struct run *run)
{
    struct activator *a = run->a;

    run->stopping = TRUE;
    run->gave_up = FALSE;
    run->stop_rounds = run->stop_idle = run->stop_open = 0;
    if (run->empty)
        return;
    if (run->stop_timer)
        g_source_remove(run->stop_timer);
    run->stop_timer = g_timeout_add((guint)(a->options->stop_timeout * 1000) + 1, on_round, run);
    send_signal(run, SIGTERM, 0, TRUE);
    service_update(run->service);
}

/* --- stops that somebody waits for -------------------------------------------------------- */

static void stop_finish(struct activator *a, struct stop *stop)
{
    a->stops = g_list_remove(a->stops, stop);
    stop->done(stop->survivors, stop->data);
    g_ptr_array_unref(stop->ids);
    g_ptr_array_unref(stop->survivors);
    g_free(stop);
    activator_leave_on(a);
}

void stop_note(struct run *run)
{
    struct activator *a = run->a;
    GList *next = NULL;

    for (GList *at = a->stops; at; at = next) {
        struct stop *stop = at->data;
        next = at->next;
        for (guint i = 0; i < stop->ids->len; i++) {
            if (*(guint64 *)g_ptr_array_index(stop->ids, i) != run->id)
                continue;
            if (!run->empty)
                fields_survivors(run, stop->survivors);
            g_ptr_array_remove_index_fast(stop->ids, i);
            break;
        }
        if (stop->ids->len == 0)
            stop_finish(a, stop);
    }
}

void stop_runs(struct activator *a, GPtrArray *runs, stop_done done, void *data)
{
    struct stop *stop = g_new0(struct stop, 1);
    GArray *ids = g_array_new(FALSE, FALSE, sizeof(guint64));

    stop->ids = g_ptr_array_new_with_free_func(g_free);
    stop->survivors = g_ptr_array_new_with_free_func(g_free);
    stop->done = done;
    stop->data = data;
    for (guint i = 0; i < runs->len; i++) {
        struct run *run = g_ptr_array_index(runs, i);
        if (run->empty)
            continue;
        g_ptr_array_add(stop->ids, g_memdup2(&run->id, sizeof run->id));
        g_array_append_val(ids, run->id);
    }
    a->stops = g_list_append(a->stops, stop);
    if (ids->len == 0)
        stop_finish(a, stop);
    /* Stopping one may end it (and this stop) at once. */
    for (guint i = 0; i < ids->len; i++) {
        struct run *run = run_find(a, g_array_index(ids, guint64, i));
        if (!run)
            continue;
        run->stop_asked = TRUE;
        /* Should we be killed, the next one goes on with it. */
        if (run->spawned)
            run_record(run);
        if (run->unborn)
            start_cancel(run);
        else if (!run->stopping || run->gave_up)
            run_stop(run);
    }
    g_array_unref(ids);
}

/* --- signals ---------------------------------------------------------------------------- */

struct kill {
    guint64 run;
    void (*done)(gboolean reached, void *data);
    void *data;
};

void run_signal(struct run *run, int number, void (*done)(gboolean reached, void *data), void *data)
{
    struct activator *a = run->a;
    struct kill *k = g_new0(struct kill, 1);

    if (!run_link(run)) {
        g_free(k);
        done(FALSE, data);
        return;
    }
    k->run = run->id;
    k->done = done;
    k->data = data;
    if (++a->last_cookie == 0)
        a->last_cookie = 1;
    g_hash_table_insert(a->kills, GUINT_TO_POINTER(a->last_cookie), k);
    send_signal(run, number, a->last_cookie, FALSE);
}

void run_signalled(struct activator *a, guint64 id, guint32 cookie, guint32 signalled)
{
    struct run *run = run_find(a, id);
    struct kill *k = g_hash_table_lookup(a->kills, GUINT_TO_POINTER(cookie));

    if (!cookie && run && run->stop_open > 0)
        run->stop_open--;
    if (!cookie || !k)
        return;
    g_hash_table_steal(a->kills, GUINT_TO_POINTER(cookie));
    k->done(signalled > 0, k->data);
    g_free(k);
    activator_leave_on(a);
}

void run_signals_over(struct run *run)
{
    GHashTableIter iter;
    gpointer value = NULL;
    GPtrArray *over = g_ptr_array_new();

    g_hash_table_iter_init(&iter, run->a->kills);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        struct kill *k = value;
        if (k->run != run->id)
            continue;
        g_hash_table_iter_steal(&iter);
        g_ptr_array_add(over, k);
    }
    for (guint i = 0; i < over->len; i++) {
        struct kill *k = g_ptr_array_index(over, i);
        k->done(FALSE, k->data);
        g_free(k);
    }
    g_ptr_array_unref(over);
    activator_leave_on(run->a);
}
