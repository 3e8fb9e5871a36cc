/* SPDX-License-Identifier: MIT */
#include "daemon/reapers.h"

#include "common/process-tree.h"

#include <string.h>

static const char inactive[] = "inactive";
static const char starting[] = "starting";
static const char running[] = "running";
static const char stopping[] = "stopping";
static const char failed[] = "failed";

struct service *service_find(struct activator *a, const char *name)
{
    return g_hash_table_lookup(a->services, name);
}

struct service *service_get(struct activator *a, const char *name)
{
    struct service *s = service_find(a, name);

    if (s)
        return s;
    s = g_new0(struct service, 1);
    s->a = a;
    s->name = g_strdup(name);
    s->state = inactive;
    s->runs = g_ptr_array_new();
    s->requests = g_queue_new();
    s->failures = g_array_new(FALSE, FALSE, sizeof(guint64));
    g_hash_table_insert(a->services, s->name, s);
    return s;
}

void request_free(struct request *request)
{
    if (request->peer)
        request->peer->asked = NULL;
    g_free(request->unit);
    g_strfreev(request->env);
    g_free(request);
}

void service_free(gpointer data)
{
    struct service *s = data;

    g_queue_free_full(s->requests, (GDestroyNotify)request_free);
    g_ptr_array_unref(s->runs);
    g_array_unref(s->failures);
    g_strfreev(s->command);
    g_free(s->file);
    g_free(s->user);
    g_free(s->owner);
    g_free(s->error_name);
    g_free(s->error_message);
    g_free(s->limit_error);
    g_free(s->limit_message);
    g_free(s->name);
    g_free(s);
}

static void add_name(struct catalogue_entry *entry, void *data)
{
    g_ptr_array_add(data, g_strdup(entry->name));
}

static gint by_name(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

gboolean service_is_known(struct service *s)
{
    return catalogue_lookup(s->a->catalogue, s->name) || s->runs->len > 0 || s->owner ||
           !g_queue_is_empty(s->requests);
}

GPtrArray *service_list(struct activator *a)
{
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    GHashTableIter iter;
    gpointer value = NULL;

    catalogue_foreach(a->catalogue, add_name, names);
    g_hash_table_iter_init(&iter, a->services);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        struct service *s = value;
        if (service_is_known(s) && !catalogue_lookup(a->catalogue, s->name))
            g_ptr_array_add(names, g_strdup(s->name));
    }
    g_ptr_array_sort(names, by_name);
    return names;
}

/* --- state ------------------------------------------------------------------------------ */

static const char *derive(struct service *s)
{
    struct run *run = s->runs->len ? g_ptr_array_index(s->runs, s->runs->len - 1) : NULL;

    gboolean owned = s->owner && !s->owner_dying;

    if (run && run->failed && !run->stop_asked && !owned)
        return failed; /* also while what is left of it is being ended */
    if (run && run->stopping && !run->failed && !run->empty)
        return stopping;
    if (owned)
        return running;
    if (run && !run->failed && !run->settled && !(run->empty && run->stop_asked))
        return starting;
    if (run && !run->empty)
        return running;
    return s->end_failed ? failed : inactive;
}

void services_forget_run(struct activator *a, struct run *run)
{
    GHashTableIter iter;
    gpointer value = NULL;

    g_hash_table_iter_init(&iter, a->services);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        struct service *s = value;
        if (s->owner_run != run)
            continue;
        s->owner_run = NULL;
        /* Unless it is out of our hands: top reaper and reaper were killed one after the other. */
        s->owner_dying = !s->owner_pid || process_parent(s->owner_pid, NULL, NULL) == 0;
        if (s != run->service)
            service_update(s);
    }
}

void service_update(struct service *s)
{
    const char *before = s->state;
    const char *name = s->name;

    s->state = derive(s);
    if (s->state == before)
        return;
    if (s->state == running)
        s->a->n_running++;
    if (before == running)
        s->a->n_running--;
    /* What a predecessor left is found, not changed. */
    if (!s->a->serving)
        return;
    interface_emit(s->a, "ServiceStateChanged", DBUS_TYPE_STRING, &name, DBUS_TYPE_STRING, &before,
                   DBUS_TYPE_STRING, &s->state, DBUS_TYPE_INVALID);
}

/* --- verdicts --------------------------------------------------------------------------- */

static void answer(struct activator *a, struct request *request, const struct verdict_text *v)
{
    if (request->door == REQUEST_SIGNAL) {
        if (v->code != VERDICT_OWNED)
            door_signal_fail(a, request->unit, v->error_name, v->message);
    } else {
        door_helper_verdict(request, v);
    }
    request_free(request);
}

static void answer_all(struct service *s, const struct verdict_text *v)
{
    struct request *request = NULL;

    while ((request = g_queue_pop_head(s->requests)))
        answer(s->a, request, v);
}

static void settle_starting(struct service *s)
{
    for (guint i = 0; i < s->runs->len; i++) {
        struct run *run = g_ptr_array_index(s->runs, i);
        if (run->failed)
            continue;
        run->settled = TRUE;
        g_clear_handle_id(&run->start_timer, g_source_remove);
        g_clear_handle_id(&run->grace_timer, g_source_remove);
    }
}

/* Runs that were empty and waited for this have to go, and those that still wait for a reaper are
 * not wanted any more: started later, their process could find the name free again. They are
 * listed first, since each takes itself off the array. */
static void sweep_empty(struct service *s)
{
    GPtrArray *over = g_ptr_array_new();

    for (guint i = 0; i < s->runs->len; i++) {
        struct run *run = g_ptr_array_index(s->runs, i);
        if (run->unborn)
            start_abandon(run);
        if (run->empty && !run->deciding)
            g_ptr_array_add(over, run);
    }
    for (guint i = 0; i < over->len; i++) {
        struct run *run = g_ptr_array_index(over, i);
        run_record(run);
        run_over(run);
    }
    g_ptr_array_unref(over);
}

void service_owned(struct service *s)
{
    static const struct verdict_text served = {
        .code = VERDICT_OWNED, .error_name = "", .message = ""};

    g_clear_pointer(&s->error_name, g_free);
    g_clear_pointer(&s->error_message, g_free);
    s->end_failed = FALSE;
    settle_starting(s);
    answer_all(s, &served);
    sweep_empty(s);
    if (s->a->serving)
        spares_want(s->a);
}

static void prune_failures(struct service *s)
{
    guint64 limit = (guint64)s->a->options->limit_seconds * G_USEC_PER_SEC;
    guint64 now = (guint64)g_get_monotonic_time();

    while (s->failures->len > 0 && now - g_array_index(s->failures, guint64, 0) > limit)
        g_array_remove_index(s->failures, 0);
}

void count_failure(struct service *s, const struct verdict_text *v)
{
    guint64 now = (guint64)g_get_monotonic_time();

    if (s->a->options->limit_burst == 0)
        return;
    prune_failures(s);
    if (s->failures->len == 0) {
        g_free(s->limit_error);
        g_free(s->limit_message);
        s->limit_error = g_strdup(v->error_name);
        s->limit_message = g_strdup(v->message);
        s->limit_code = v->code;
        s->limit_how = v->how;
        s->limit_status = v->status;
    }
    g_array_append_val(s->failures, now);
}

void service_fail(struct service *s, const struct verdict_text *v)
{
    const char *name = s->name;

    g_warning("%s: %s", name, v->message);
    g_free(s->error_name);
    g_free(s->error_message);
    s->error_name = g_strdup(v->error_name);
    s->error_message = bus_text(v->message);
    s->end_failed = !v->stopped;
    interface_emit(s->a, "ActivationFailed", DBUS_TYPE_STRING, &name, DBUS_TYPE_STRING,
                   &s->error_name, DBUS_TYPE_STRING, &s->error_message, DBUS_TYPE_INVALID);
    answer_all(s, v);
    service_update(s);
}

/* --- requests --------------------------------------------------------------------------- */

static gboolean limit_reached(struct service *s)
{
    struct options *o = s->a->options;

    if (o->limit_burst == 0)
        return FALSE;
    prune_failures(s);
    if (s->failures->len < o->limit_burst)
        return FALSE;
    char *message = g_strdup_printf("%s (failed %u times within %u s; not tried again before that "
                                    "time is over)",
                                    s->limit_message, s->failures->len, o->limit_seconds);
    struct verdict_text v = {.code = s->limit_code,
                             .how = s->limit_how,
                             .status = s->limit_status,
                             .error_name = s->limit_error,
                             .message = message};
    service_fail(s, &v);
    g_free(message);
    return TRUE;
}

/* The helper whose start failed while there was no activator asks again: it gets that verdict,
 * once, and does not start the service a second time. */
static gboolean answer_again(struct service *s, struct request *request)
{
    struct verdict_text v = {.code = s->lost_code,
                             .how = s->lost_how,
                             .status = s->lost_status,
                             .error_name = s->error_name,
                             .message = s->error_message};

    if (request->door != REQUEST_HELPER || !s->error_name)
        return FALSE;
    gboolean fresh = s->lost_until ? g_get_monotonic_time() < s->lost_until
                                   : service_was_asked_by(s, request->peer->pid);
    s->lost_until = 0;
    s->recalled_id = 0;
    if (fresh)
        answer(s->a, request, &v);
    return fresh;
}

void service_request(struct service *s, struct request *request)
{
    struct activator *a = s->a;
    struct run *run = s->runs->len ? g_ptr_array_index(s->runs, s->runs->len - 1) : NULL;
    static const struct verdict_text served = {
        .code = VERDICT_OWNED, .error_name = "", .message = ""};

    s->activations++;
    g_info("%s: requested", s->name);
    if (a->leaving && !a->hand_over) {
        struct verdict_text v = {.code = VERDICT_SHUTTING_DOWN,
                                 .error_name = ERROR_PREFIX "Failed",
                                 .message = "the activator of this bus is leaving"};
        answer(a, request, &v);
        return;
    }
    if (s->owner) {
        answer(a, request, &served);
        return;
    }
    if (answer_again(s, request))
        return;
    g_queue_push_tail(s->requests, request);
    if (run && !run->settled && !run->failed && !run->stopping && !run->stop_asked) {
        run_arm_start_timer(run);
        return;
    }
    if (!limit_reached(s))
        service_start(s, g_steal_pointer(&request->env), request->time);
}

void service_forget_peer(struct activator *a, struct peer *peer)
{
    struct service *s = peer->asked;
    struct run *run = NULL;

    if (!s)
        return;
    for (GList *at = s->requests->head; at; at = at->next) {
        struct request *request = at->data;
        if (request->peer != peer)
            continue;
        g_queue_delete_link(s->requests, at);
        request_free(request);
        break;
    }
    peer->asked = NULL;
    run = s->runs->len ? g_ptr_array_index(s->runs, s->runs->len - 1) : NULL;
    if (!a->leaving && g_queue_is_empty(s->requests) && run && !run->settled && !run->failed)
        run_timed_out(run);
}
