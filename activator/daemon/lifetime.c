/* SPDX-License-Identifier: MIT */
/* Leaving, and the loss of the bus. */
#include "daemon/fd-watch.h"
#include "daemon/reapers.h"

#include <string.h>
#include <unistd.h>

/* How long runs that still wait for a reaper may keep a hand-over. */
#define HAND_OVER_TRIES 500
/* How long stops and signals that somebody waits for may keep one, with a top reaper, under which
 * all goes on as ever, and without, when nothing new can be started. Only we know who waits, and
 * when a SIGKILL is due. */
#define ANSWERS_MS       15000
#define ANSWERS_ALONE_MS 7000

static gboolean on_quit(gpointer data)
{
    struct activator *a = data;

    g_main_loop_quit(a->loop);
    return G_SOURCE_REMOVE;
}

static void quit(struct activator *a)
{
    if (!a->crashed_before)
        runtime_dir_mark(a, FALSE);
    if (a->bus && !a->bus->is_lost)
        dbus_connection_flush(a->bus->connection);
    g_idle_add(on_quit, a);
}

/* --- handing over --------------------------------------------------------------------------- */

static void on_door_closed(struct activator *a);

static gboolean on_hand_over(gpointer data)
{
    struct activator *a = data;
    GHashTableIter iter;
    gpointer value = NULL;
    gboolean unborn = FALSE;

    g_hash_table_iter_init(&iter, a->runs);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        unborn = unborn || ((struct run *)value)->unborn;
    if (unborn && a->hand_over_tries++ < HAND_OVER_TRIES)
        return G_SOURCE_CONTINUE;
    quit(a);
    return G_SOURCE_REMOVE;
}

static gboolean on_verdicts(gpointer data)
{
    struct activator *a = data;
    GHashTableIter iter;
    gpointer value = NULL;
    gboolean deciding = FALSE;

    g_hash_table_iter_init(&iter, a->runs);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        deciding = deciding || ((struct run *)value)->deciding;
    if (deciding && a->serving && a->bus && a->hand_over_tries++ < HAND_OVER_TRIES)
        return G_SOURCE_CONTINUE;
    door_signal_close(a, on_door_closed);
    return G_SOURCE_REMOVE;
}

/* What has ended and has a receipt is known here alone: its verdict goes out while the bus still
 * believes us. */
static void give_verdicts(struct activator *a)
{
    GPtrArray *over = g_ptr_array_new();
    GHashTableIter iter;
    gpointer value = NULL;

    g_hash_table_iter_init(&iter, a->runs);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        struct run *run = value;
        if (run->empty && run->grace_timer)
            g_ptr_array_add(over, run);
    }
    for (guint i = 0; i < over->len; i++)
        run_timed_out(g_ptr_array_index(over, i));
    g_ptr_array_unref(over);
    g_timeout_add(2, on_verdicts, a);
}

static void on_door_closed(struct activator *a)
{
    /* What was asked for until the name was gone has to have a reaper: it lives on there. */
    g_timeout_add(10, on_hand_over, a);
}

/* --- stopping everything -------------------------------------------------------------------- */

void activator_stop_all(struct activator *a, void (*done)(GPtrArray *survivors, void *data),
                        void *data)
{
    GPtrArray *runs = g_ptr_array_new();
    GHashTableIter iter;
    gpointer value = NULL;

    g_hash_table_iter_init(&iter, a->runs);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        g_ptr_array_add(runs, value);
    stop_runs(a, runs, done, data);
    g_ptr_array_unref(runs);
}

static void on_last_door(struct activator *a)
{
    quit(a);
}

static void on_all_stopped(GPtrArray *survivors, void *data)
{
    struct activator *a = data;

    for (guint i = 0; i < survivors->len; i++)
        g_warning("still running after SIGKILL: %s", (const char *)g_ptr_array_index(survivors, i));
    top_tell(a, MESSAGE_TOP_STOP_ALL);
    door_signal_close(a, on_last_door);
}

static void fail_requests(struct activator *a)
{
    GHashTableIter iter;
    gpointer value = NULL;
    struct verdict_text v = {.code = VERDICT_SHUTTING_DOWN,
                             .error_name = ERROR_PREFIX "Failed",
                             .message = "the activator of this bus is leaving"};

    g_hash_table_iter_init(&iter, a->services);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        struct service *s = value;
        if (!g_queue_is_empty(s->requests))
            service_fail(s, &v);
    }
}

static void on_withdrawn(DBusMessage *reply, void *data)
{
    struct activator *a = data;

    (void)reply;
    if (a->generated)
        generated_remove(a->generated);
    fail_requests(a);
    activator_stop_all(a, on_all_stopped, a);
}

static void stop_session(struct activator *a)
{
    gboolean spoiled = FALSE;

    /* The wrapper's bus goes down with this session, and its directory with both. */
    if (a->options->generated_dir && a->options->lifeline_fd >= 0)
        g_clear_pointer(&a->generated, generated_free);
    /* Buses of one user share the directory: the last activator takes the files along. */
    if (a->generated && !a->options->generated_dir && runtime_dir_has_neighbour(a))
        g_clear_pointer(&a->generated, generated_free);
    spoiled = a->generated && generated_spoil(a->generated);

    if (spoiled && a->bus && !a->bus->is_lost)
        bus_call_driver(a->bus, "ReloadConfig", on_withdrawn, a, DBUS_TYPE_INVALID);
    else
        on_withdrawn(NULL, a);
}

static gboolean owes_answers(struct activator *a)
{
    return a->bus && (a->stops || g_hash_table_size(a->kills) > 0);
}

static gboolean on_no_answer(gpointer data);

static void leave(struct activator *a)
{
    a->leaving = TRUE;
    a->hand_over = a->leave_how != LEAVE_STOP_ALL;
    a->reexec = a->leave_how == LEAVE_REEXEC;
    g_clear_handle_id(&a->start_wait, g_source_remove);
    /* What comes now is for the program that we become. */
    if (a->reexec)
        g_clear_pointer(&a->signals, fd_watch_free);
    if (!a->hand_over)
        stop_session(a);
    else if (!a->top && owes_answers(a))
        a->answer_timer = g_timeout_add(ANSWERS_ALONE_MS, on_no_answer, a);
    else
        give_verdicts(a);
}

static void go_on(struct activator *a)
{
    g_clear_handle_id(&a->answer_timer, g_source_remove);
    if (a->leaving)
        give_verdicts(a);
    else
        leave(a);
}

static gboolean on_no_answer(gpointer data)
{
    struct activator *a = data;

    a->answer_timer = 0;
    go_on(a);
    return G_SOURCE_REMOVE;
}

static gboolean on_answered(gpointer data)
{
    struct activator *a = data;

    if (a->answer_timer && !owes_answers(a))
        go_on(a);
    return G_SOURCE_REMOVE;
}

void activator_leave_on(struct activator *a)
{
    /* Later: the end of a run may be on its way. */
    if (a->answer_timer && !owes_answers(a))
        g_idle_add(on_answered, a);
}

void activator_leave(struct activator *a, enum leave_how how)
{
    if (a->leaving)
        return;
    a->leave_how = how;
    /* Not every service is known yet. */
    if (how == LEAVE_STOP_ALL && !a->serving && a->bus) {
        a->leave_asked = TRUE;
        return;
    }
    if (how == LEAVE_STOP_ALL || !a->top || !owes_answers(a)) {
        g_clear_handle_id(&a->answer_timer, g_source_remove);
        leave(a);
    } else if (!a->answer_timer) {
        g_message("leaving when the stops that somebody waits for are over");
        a->answer_timer = g_timeout_add(ANSWERS_MS, on_no_answer, a);
    }
}

static gboolean on_bus_over(gpointer data)
{
    struct activator *a = data;
    struct bus *bus = a->bus;

    if (!bus)
        return G_SOURCE_REMOVE;
    a->has_systemd_door = FALSE;
    a->bus = NULL;
    bus_free(bus);
    if (a->leaving)
        return G_SOURCE_REMOVE;
    if (a->system) {
        g_warning("the bus is gone; its services stay, waiting for the next");
        a->await_bus = TRUE;
        activator_leave(a, LEAVE_REEXEC);
    } else {
        g_warning("the bus is gone; the session is over");
        activator_leave(a, LEAVE_STOP_ALL);
    }
    return G_SOURCE_REMOVE;
}

void activator_bus_lost(void *data)
{
    g_idle_add(on_bus_over, data);
}
