/* SPDX-License-Identifier: MIT */
/* Whether a start failed. Exits and NameOwnerChanged come by different sockets in any order, so
 * the bus is asked for the owner before every verdict of failure. */
#include "daemon/reapers.h"
#include "daemon/rooms/log-tail.h"

#include <string.h>

/* How long a launch helper may take to ask again after the activator was killed. */
#define LOST_USEC (5 * G_USEC_PER_SEC)

static void run_verdict(struct run *run);

/* The run is gone, or something else decided meanwhile, when the answer comes: found by id. */
struct owner_query {
    struct activator *a;
    guint64 id;
};

static void on_owner(DBusMessage *reply, void *data)
{
    struct owner_query *q = data;
    struct run *run = run_find(q->a, q->id);
    const char *owner = bus_reply_string(reply);

    g_free(q);
    if (!run || !run->deciding)
        return;
    /* Deciding keeps the run from being freed under this. */
    if (owner && !run->service->owner)
        service_set_owner(run->service, owner);
    run->deciding = FALSE;
    if (run->settled || run->service->owner) {
        run->settled = TRUE;
        run_record(run);
        run_receipts(run, FALSE);
        run_over(run);
        return;
    }
    run_verdict(run);
}

static gboolean on_no_bus(gpointer data)
{
    on_owner(NULL, data);
    return G_SOURCE_REMOVE;
}

static void ask_owner(struct owner_query *q)
{
    struct run *run = run_find(q->a, q->id);

    if (!q->a->bus || !run)
        g_idle_add(on_no_bus, q);
    else
        bus_call_driver(q->a->bus, "GetNameOwner", on_owner, q, DBUS_TYPE_STRING,
                        &run->service->name, DBUS_TYPE_INVALID);
}

void run_fail(struct run *run, const struct verdict_text *v)
{
    struct activator *a = run->a;

    if (run->failed || run->settled || run->deciding)
        return;
    run->deciding = TRUE;
    run->code = v->code;
    run->fail_how = v->how;
    run->fail_status = v->status;
    run->error_name = g_strdup(v->error_name);
    run->error_message = g_strdup(v->message);
    g_clear_handle_id(&run->grace_timer, g_source_remove);
    struct owner_query *q = g_new0(struct owner_query, 1);
    q->a = a;
    q->id = run->id;
    if (!a->serving && !a->leaving) {
        /* Whoever waits for the verdict can only be told once the doors are open. */
        a->held_verdicts = g_list_append(a->held_verdicts, q);
        return;
    }
    ask_owner(q);
}

void verdicts_give_held(struct activator *a)
{
    GList *held = g_steal_pointer(&a->held_verdicts);

    for (GList *at = held; at; at = at->next)
        ask_owner(at->data);
    g_list_free(held);
}

/* The requests that this run was started for came to a predecessor; the bus still waits. */
static void fail_lost_requests(struct run *run, const struct verdict_text *v)
{
    struct activator *a = run->a;
    const char *name = run->service->name;
    struct catalogue_entry *entry = catalogue_lookup(a->catalogue, name);
    char *unit = g_strconcat(name, ".service", NULL);

    door_signal_fail(a, unit, v->error_name, v->message);
    if (entry && entry->unit && strcmp(entry->unit, unit) != 0)
        door_signal_fail(a, entry->unit, v->error_name, v->message);
    g_free(unit);
}

static void run_verdict(struct run *run)
{
    struct service *s = run->service;
    struct verdict_text v = {.code = run->code,
                             .how = run->fail_how,
                             .status = run->fail_status,
                             .error_name = run->error_name,
                             .message = run->error_message,
                             .stopped = run->stop_asked};

    run->failed = TRUE;
    g_clear_handle_id(&run->start_timer, g_source_remove);
    /* The end is told with the failure, not only when the last of the run is gone. */
    if (run->fail_end.known)
        run_main_ended(run, &run->fail_end);
    run_record(run);
    run_receipts(run, FALSE);
    /* An older run that fails beside a newer one is nobody's answer. */
    if (s->run_id == run->id) {
        if (!run->stop_asked)
            count_failure(s, &v);
        if (run->recovered)
            fail_lost_requests(run, &v);
        if (run->recovered && g_queue_is_empty(s->requests)) {
            s->lost_until = g_get_monotonic_time() + LOST_USEC;
            s->lost_code = v.code;
            s->lost_how = v.how;
            s->lost_status = v.status;
        }
        service_fail(s, &v);
    }
    spares_want(run->a);
    if (run->empty) {
        run_over(run);
        return;
    }
    run_stop(run);
}

/* The log's last line when this run wrote it, without its stamp; g_free(). NULL: none. */
static char *words_of_log(struct run *run)
{
    char *path = log_path(run->a, run->service->name);
    GPtrArray *tail = log_tail(path, 1, 8192);
    GDateTime *since = g_date_time_new_from_unix_utc((gint64)(run->requested / G_USEC_PER_SEC));
    char *stamp = since ? g_date_time_format(since, "%Y-%m-%dT%H:%M:%S") : NULL;
    const char *line = tail->len ? g_ptr_array_index(tail, 0) : "";
    const char *blank = strchr(line, ' ');
    char *words = NULL;

    if (stamp && blank && blank[1] && strncmp(line, stamp, strlen(stamp)) >= 0)
        words = g_strndup(blank + 1, LAST_WORDS_MAX);
    g_free(stamp);
    if (since)
        g_date_time_unref(since);
    g_ptr_array_unref(tail);
    g_free(path);
    return words;
}

static void add_words(struct run *run, GString *text)
{
    /* What a system service writes is for root alone to read. */
    if (run->a->system)
        return;
    if (!run->words)
        run->words = words_of_log(run);
    if (run->words)
        g_string_append_printf(text, "; its last words: %s", run->words);
}

static void fail_by_end(struct run *run, const struct ending *end, const char *what)
{
    GString *text = g_string_new(NULL);
    char *how = ending_text(end);
    gboolean exited = end->how == END_EXITED || end->how == END_UNKNOWN;

    if (run->recovered && end->time && end->time < run->a->begun)
        what = "while there was no activator to see whether it had taken its name";
    g_string_printf(text, "Service %s %s %s", run->service->name, how, what);
    add_words(run, text);
    struct verdict_text v = {.code = exited ? VERDICT_CHILD_EXITED : VERDICT_CHILD_SIGNALED,
                             .how = end->how,
                             .status = end->status,
                             .error_name = exited ? ERROR_PREFIX "Spawn.ChildExited"
                                                  : ERROR_PREFIX "Spawn.ChildSignaled",
                             .message = text->str};
    if (!run->deciding && ending_is_bad(end))
        run->fail_end = *end;
    run_fail(run, &v);
    g_free(how);
    g_string_free(text, TRUE);
}

static void fail_by_spawn(struct run *run)
{
    const char *program = run->command && run->command[0] ? run->command[0] : "";
    char *text = NULL;
    struct verdict_text v = {0};

    switch (run->spawn_stage) {
    case SPAWN_STAGE_EXEC:
        v.code = VERDICT_EXEC_FAILED;
        v.error_name = ERROR_PREFIX "Spawn.ExecFailed";
        text = g_strdup_printf("Failed to execute program %s for service %s: %s", program,
                               run->service->name, g_strerror(run->spawn_errno));
        break;
    case SPAWN_STAGE_FORK:
        v.code = VERDICT_FORK_FAILED;
        v.error_name = ERROR_PREFIX "Spawn.ForkFailed";
        text = g_strdup_printf("Failed to fork a process for service %s: %s", run->service->name,
                               g_strerror(run->spawn_errno));
        break;
    default:
        v.code = VERDICT_SETUP_FAILED;
        v.error_name = ERROR_PREFIX "Spawn.FailedToSetup";
        text = g_strdup_printf("Failed to set up %s for service %s: %s",
                               run->spawn_stage == SPAWN_STAGE_USER ? "the user" : "the process",
                               run->service->name, g_strerror(run->spawn_errno));
        break;
    }
    v.message = text;
    run_fail(run, &v);
    g_free(text);
}

static gboolean on_grace(gpointer data)
{
    struct run *run = data;

    run->grace_timer = 0;
    fail_by_end(run, &run->last, "and left without taking its name");
    return G_SOURCE_REMOVE;
}

/* Stopped on request before it had its name. */
static void fail_by_request(struct run *run)
{
    char *text =
        g_strdup_printf("Service %s was stopped before it took its name", run->service->name);
    struct verdict_text v = {.code = VERDICT_CHILD_EXITED,
                             .how = END_EXITED,
                             .error_name = ERROR_PREFIX "Spawn.ChildExited",
                             .message = text};

    run_fail(run, &v);
    g_free(text);
}

void run_judge(struct run *run)
{
    if (run->settled || run->failed || run->deciding)
        return;
    if (run->spawn_stage) {
        fail_by_spawn(run);
        return;
    }
    if (run->stop_asked) {
        if (run->empty)
            fail_by_request(run);
        return;
    }
    if (run->first.known && ending_is_bad(&run->first)) {
        fail_by_end(run, &run->first, "before it took its name");
        return;
    }
    if (!run->empty)
        return;
    if (run->bad.known) {
        fail_by_end(run, ending_is_bad(&run->last) ? &run->last : &run->bad,
                    "before it took its name");
        return;
    }
    if (!run->last.known && !run->first.known) {
        if (start_again(run))
            return;
        struct ending lost = {.how = END_UNKNOWN};
        fail_by_end(run, &lost, "before it took its name, and its reaper with it");
        return;
    }
    /* Another process may be about to take the name: an instance it handed over to, or a
     * daemon that it asked somebody else to start. */
    if (!run->grace_timer)
        run->grace_timer =
            g_timeout_add((guint)(run->a->options->handover_grace * 1000), on_grace, run);
}

void run_timed_out(struct run *run)
{
    struct service *s = run->service;
    guint64 now = now_usec();
    char *within = now > run->requested ? g_strdup_printf("within %" G_GUINT64_FORMAT " ms",
                                                          (now - run->requested) / 1000)
                                        : g_strdup("in time"); /* the clock was set back */
    char *text = g_strdup_printf("Service %s did not take its name %s", s->name, within);
    struct verdict_text v = {
        .code = VERDICT_TIMED_OUT, .error_name = ERROR_PREFIX "TimedOut", .message = text};

    if (run->unborn)
        start_abandon(run);
    run_fail(run, &v);
    g_free(text);
    g_free(within);
}
