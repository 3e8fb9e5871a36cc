/* SPDX-License-Identifier: MIT */
#include "daemon/reapers.h"
#include "daemon/rooms/user-lookup.h"

#include "common/parse/bus-name.h"

#include <string.h>

/* Receipts that are held back at most: fewer than a reaper has room for. */
#define HELD_MAX 1024

static void cancel_timer(guint *timer)
{
    if (*timer)
        g_source_remove(*timer);
    *timer = 0;
}

guint64 run_next_id(struct activator *a)
{
    a->last_run_id = MAX(a->last_run_id + 1, now_usec());
    return a->last_run_id;
}

struct run *run_new(struct activator *a, struct service *service, guint64 id)
{
    struct run *run = g_new0(struct run, 1);

    run->a = a;
    run->service = service;
    run->id = id ? id : run_next_id(a);
    a->last_run_id = MAX(a->last_run_id, run->id);
    g_hash_table_insert(a->runs, &run->id, run);
    g_ptr_array_add(service->runs, run);
    return run;
}

struct run *run_find(struct activator *a, guint64 id)
{
    return g_hash_table_lookup(a->runs, &id);
}

void run_free(struct run *run)
{
    struct activator *a = run->a;

    cancel_timer(&run->start_timer);
    cancel_timer(&run->grace_timer);
    cancel_timer(&run->stop_timer);
    cancel_timer(&run->word_timer);
    run_signals_over(run);
    run_watch_over(run);
    if (run->lookup)
        user_lookup_cancel(run->lookup);
    if (run->at_top)
        top_orphans_forget(run);
    if (g_hash_table_lookup(a->by_pid, GINT_TO_POINTER(run->reaper_pid)) == run)
        g_hash_table_remove(a->by_pid, GINT_TO_POINTER(run->reaper_pid));
    g_queue_remove(a->waiting, run);
    g_ptr_array_remove(run->service->runs, run);
    g_hash_table_remove(a->runs, &run->id);
    g_free(run->file);
    g_free(run->user);
    g_free(run->home);
    g_free(run->words);
    g_free(run->groups);
    g_free(run->told);
    g_free(run->error_name);
    g_free(run->error_message);
    g_strfreev(run->command);
    g_strfreev(run->env);
    g_free(run);
}

/* --- the note --------------------------------------------------------------------------- */

char *run_note(const struct run *run)
{
    GString *note = g_string_new("1");
    char *file = g_strescape(run->file ? run->file : "", NULL);

    g_string_append_printf(note, "\t%s\t%" G_GUINT64_FORMAT "\t%s\t%s", run->service->name,
                           run->requested, file, run->user ? run->user : "");
    for (char **word = run->command; word && *word; word++) {
        char *text = g_strescape(*word, NULL);
        if (note->len + strlen(text) < 4000)
            g_string_append_printf(note, "\t%s", text);
        g_free(text);
    }
    g_free(file);
    return g_string_free(note, FALSE);
}

struct run *run_from_note(struct activator *a, guint64 id, const char *note)
{
    struct run *run = run_find(a, id);
    char **part = NULL;

    if (run)
        return run;
    part = g_strsplit(note, "\t", -1);
    if (g_strv_length(part) < 5 || strcmp(part[0], "1") != 0 || !bus_name_is_well_known(part[1])) {
        g_strfreev(part);
        return NULL;
    }
    run = run_new(a, service_get(a, part[1]), id);
    run->recovered = TRUE;
    run->requested = g_ascii_strtoull(part[2], NULL, 10);
    run->file = g_strcompress(part[3]);
    run->user = *part[4] ? g_strdup(part[4]) : NULL;
    GPtrArray *words = g_ptr_array_new();
    for (char **word = part + 5; *word; word++)
        g_ptr_array_add(words, g_strcompress(*word));
    g_ptr_array_add(words, NULL);
    run->command = (char **)g_ptr_array_free(words, FALSE);
    g_strfreev(part);
    run_recall(run);
    return run;
}

/* --- reports ---------------------------------------------------------------------------- */

struct link *run_link(struct run *run)
{
    if (run->peer)
        return run->peer->link;
    return run->at_top ? run->a->top : NULL;
}

static struct link *teller(struct run *run, guint64 seq)
{
    if (seq >= MESSAGE_TOP_SEQ)
        return run->a->top;
    return run->peer ? run->peer->link : NULL;
}

void run_ack(struct link *l, guint64 id, guint64 seq)
{
    static struct message m;

    message_begin(&m, MESSAGE_ACK);
    message_put_u64(&m, id);
    message_put_u64(&m, seq);
    link_send(l, &m, NULL, 0);
}

static gboolean is_open(const struct run *run)
{
    const struct service *s = run->service;

    if (run->failed || run->named_pid)
        return FALSE;
    return !run->settled || (s->owner && !s->owner_pid);
}

void run_receipts(struct run *run, gboolean over)
{
    if (run->n_held == 0 || (!over && is_open(run)))
        return;
    if (run->held_seq)
        run_ack(teller(run, run->held_seq), run->id, run->held_seq);
    if (run->held_top_seq)
        run_ack(teller(run, run->held_top_seq), run->id, run->held_top_seq);
    run->n_held = 0;
    run->held_seq = run->held_top_seq = 0;
}

static void give_receipt(struct run *run, guint64 seq)
{
    *(seq >= MESSAGE_TOP_SEQ ? &run->held_top_seq : &run->held_seq) = seq;
    /* The reaper has no room for any number of them. */
    run_receipts(run, ++run->n_held >= HELD_MAX);
}

void run_spawned(struct run *run, pid_t pid, guint64 time)
{
    run->spawned_pid = pid;
    start_spawned(run);
    if (time)
        run->spawned = time;
    if (!run->service->started || run->service->run_id == run->id)
        run->service->started = run->spawned;
    service_update(run->service);
}

void run_spawn_failed(struct run *run, guint8 stage, gint32 number, guint64 time)
{
    start_spawned(run);
    run->spawn_stage = stage;
    run->spawn_errno = number;
    run->last = (struct ending){.known = FALSE, .time = time};
    run_judge(run);
}

/* False when this number was seen before: the reaper repeats what it has no receipt for. */
static gboolean is_new(struct run *run, guint64 seq)
{
    guint64 *seen = seq >= MESSAGE_TOP_SEQ ? &run->top_seq : &run->seq;

    if (seq <= *seen)
        return FALSE;
    *seen = seq;
    return TRUE;
}

/* What a reaper has told and was killed before it waited for, the top reaper tells as well; if the
 * reaper's own word was still on its way, the top is the first. Told by the top: as negative. */
static gboolean is_told(struct run *run, const struct run_exit *e)
{
    gboolean by_top = e->seq >= MESSAGE_TOP_SEQ;
    pid_t other = by_top ? e->end.pid : -e->end.pid;

    if (by_top && !e->left)
        return FALSE;
    for (guint i = 0; run->at_top && i < MIN(run->n_told, MESSAGE_KEPT_MAX); i++) {
        if (run->told[i] == other)
            return TRUE;
    }
    if (!run->told)
        run->told = g_new(pid_t, MESSAGE_KEPT_MAX);
    run->told[run->n_told++ % MESSAGE_KEPT_MAX] = -other;
    return FALSE;
}

const char *end_how_text(guint8 how)
{
    switch (how) {
    case END_EXITED:
        return "exited";
    case END_KILLED:
        return "killed";
    case END_DUMPED:
        return "dumped";
    default:
        return "unknown";
    }
}

char *ending_text(const struct ending *end)
{
    if (end->how == END_EXITED)
        return g_strdup_printf("exited with status %d", end->status);
    if (end->how == END_UNKNOWN)
        return g_strdup("ended");
    const char *name = sigabbrev_np(end->status);
    return g_strdup_printf("was killed by signal %d%s%s%s%s", end->status, name ? " (SIG" : "",
                           name ? name : "", name ? ")" : "",
                           end->how == END_DUMPED ? ", core dumped" : "");
}

/* Once a run, when its main process ends. */
void run_main_ended(struct run *run, const struct ending *end)
{
    struct service *s = run->service;
    const char *name = s->name;
    const char *how = end_how_text(end->how);
    dbus_uint64_t id = run->id;
    dbus_uint32_t pid = (dbus_uint32_t)end->pid;
    dbus_int32_t status = end->status;

    run_watch_over(run);
    if (run->main_end.known)
        return;
    run->main_end = *end;
    run->main_pid = 0;
    if (s->run_id == run->id) {
        s->exited = end->time;
        s->exit_how = end->how;
        s->exit_status = end->status;
        s->exit_known = TRUE;
    }
    interface_emit(run->a, "ServiceExited", DBUS_TYPE_STRING, &name, DBUS_TYPE_UINT64, &id,
                   DBUS_TYPE_UINT32, &pid, DBUS_TYPE_STRING, &how, DBUS_TYPE_INT32, &status,
                   DBUS_TYPE_INVALID);
    char *text = ending_text(end);
    g_info("%s: main process %u %s", name, pid, text);
    g_free(text);
}

static void emit_process_exited(struct run *run, const struct run_exit *e)
{
    const char *name = run->service->name;
    const char *how = end_how_text(e->end.how);
    dbus_uint64_t id = run->id;
    dbus_uint32_t pid = (dbus_uint32_t)e->end.pid;
    dbus_int32_t status = e->end.status;
    dbus_bool_t adopted = e->adopted;

    interface_emit_private(run->a, "ProcessExited", DBUS_TYPE_STRING, &name, DBUS_TYPE_UINT64, &id,
                           DBUS_TYPE_UINT32, &pid, DBUS_TYPE_STRING, &how, DBUS_TYPE_INT32, &status,
                           DBUS_TYPE_BOOLEAN, &adopted, DBUS_TYPE_INVALID);
}

gboolean ending_is_bad(const struct ending *end)
{
    return end->how != END_EXITED || end->status != 0;
}

void run_exited(struct run *run, const struct run_exit *e)
{
    if (!is_new(run, e->seq)) {
        give_receipt(run, MAX(e->seq, e->seq >= MESSAGE_TOP_SEQ ? run->top_seq : run->seq));
        return;
    }
    if (run->at_top)
        top_orphan_ended(run, e->end.pid);
    if (is_told(run, e)) {
        give_receipt(run, e->seq);
        return;
    }
    gboolean first = e->first || (e->left && !run->first.known && e->end.pid == run->spawned_pid);
    run->last = e->end;
    run->gone[run->n_gone++ % RUN_REMEMBERED] = e->end;
    if (e->adopted)
        run->n_adopted++;
    if (first)
        run->first = e->end;
    /* What a stop does to the rest says nothing of the service. */
    if (ending_is_bad(&e->end) && !run->stopping) {
        run->bad = e->end;
        if (*e->words) {
            g_free(run->words);
            run->words = g_strdup(e->words);
        }
    }
    emit_process_exited(run, e);
    if (run->named_pid == e->end.pid && !run->main_end.known) {
        run_main_ended(run, &e->end);
        run_record(run);
        service_update(run->service);
    }
    run_judge(run);
    give_receipt(run, e->seq);
}

/* What is known of the end of a run whose main process was never seen to end by itself: it
 * never had one (no name was taken), or that end was told to somebody else. */
static void end_without_main(struct run *run, guint64 time)
{
    struct ending end = run->first.known ? run->first : run->last;

    if (run->main_end.known)
        return;
    if (run->named_pid) {
        end = (struct ending){.known = TRUE, .pid = run->named_pid, .how = END_UNKNOWN};
    } else if (run->bad.known && !ending_is_bad(&end)) {
        end = run->bad;
    } else if (!end.known) {
        /* Nothing ever ran (or its reaper took the knowledge along). */
        if (!run->spawned_pid)
            return;
        end = (struct ending){.known = TRUE, .pid = run->spawned_pid, .how = END_UNKNOWN};
    }
    end.time = end.time ? end.time : time;
    run_main_ended(run, &end);
}

void run_emptied(struct run *run, guint64 seq, guint64 time)
{
    struct service *s = run->service;

    if (!is_new(run, seq) || run->empty) {
        give_receipt(run, seq);
        return;
    }
    run->empty = TRUE;
    run->ended = time;
    end_without_main(run, time);
    cancel_timer(&run->stop_timer);
    run_judge(run);
    if (!run->empty) {
        /* It begins anew. The top reaper would not hear of its next reaper before this. */
        run_ack(teller(run, seq), run->id, seq);
        return;
    }
    run_record(run);
    give_receipt(run, seq);
    stop_note(run);
    if (s->run_id == run->id)
        s->end_failed =
            run->failed || (!run->stop_asked && run->main_end.known &&
                            ending_is_bad(&run->main_end) && run->main_end.how != END_UNKNOWN);
    run_over(run);
}

/* The last of it: frees the run unless a verdict is still to come (grace, or the bus is being
 * asked), which does it then. */
void run_over(struct run *run)
{
    struct service *s = run->service;

    if (!run->empty || run->grace_timer || run->deciding)
        return;
    run_receipts(run, TRUE);
    run_signals_over(run);
    services_forget_run(run->a, run);
    run_free(run);
    service_update(s);
}

void run_reaper_gone(struct run *run)
{
    struct activator *a = run->a;
    guint64 id = run->id;
    struct peer *peer = run->peer;

    g_hash_table_remove(a->by_pid, GINT_TO_POINTER(run->reaper_pid));
    run->at_top = TRUE;
    run->peer = NULL;
    run->reaper_pid = 0;
    /* What it has waited for and told before it died is known to nobody else. */
    if (peer)
        link_drain(peer->link);
    run = run_find(a, id);
    if (!run)
        return;
    run_signals_over(run);
    if (run->stopping)
        run_stop(run);
    /* Somebody may have taken the name while nobody knew whose child it was. */
    names_recheck(a);
    service_update(run->service);
}
