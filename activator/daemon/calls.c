/* SPDX-License-Identifier: MIT */
#include "daemon/calls.h"
#include "daemon/reapers.h"
#include "daemon/rooms/log-tail.h"

#include <signal.h>
#include <string.h>

/* A reply of GetLog stays far below what a bus lets through. */
#define LOG_BYTES (4u << 20)

static void reply_empty(struct activator *a, DBusMessage *call)
{
    if (!dbus_message_get_no_reply(call))
        bus_send(a->bus, dbus_message_new_method_return(call));
}

/* Who is told of a service is to know that its start leads to us. What a look at the disk has
 * found is published here: the bus takes our messages one after the other, so it has read the
 * generated file before it passes the answer on. */
static void publish_found(struct activator *a)
{
    if (catalogue_take_untold(a->catalogue))
        activator_catalogue_changed(a);
}

static GPtrArray *list_published(struct activator *a)
{
    publish_found(a);
    return service_list(a);
}

/* The service that the first argument names, or NULL after an error was sent. */
static struct service *named(struct activator *a, DBusMessage *call)
{
    DBusMessageIter iter;
    const char *name = NULL;

    dbus_message_iter_init(call, &iter);
    dbus_message_iter_get_basic(&iter, &name);
    struct service *s = service_find(a, name);
    gboolean has_file = catalogue_lookup(a->catalogue, name) != NULL ||
                        catalogue_lookup_fresh(a->catalogue, name) != NULL;
    publish_found(a);
    if (has_file)
        return service_get(a, name);
    if (s && service_is_known(s))
        return s;
    char *text = g_strdup_printf("There is no service “%s”", name);
    bus_send_error(a->bus, call, OWN_ERROR "NoSuchService", text);
    g_free(text);
    return NULL;
}

static void reply_begin(DBusMessage *call, DBusMessage **reply, DBusMessageIter *iter,
                        DBusMessageIter *array, const char *contains)
{
    *reply = dbus_message_new_method_return(call);
    if (!*reply)
        g_error("out of memory");
    dbus_message_iter_init_append(*reply, iter);
    dbus_message_iter_open_container(iter, DBUS_TYPE_ARRAY, contains, array);
}

static void reply_end(struct activator *a, DBusMessage *reply, DBusMessageIter *iter,
                      DBusMessageIter *array)
{
    dbus_message_iter_close_container(iter, array);
    bus_send(a->bus, reply);
}

void call_list_services(struct activator *a, DBusMessage *call, gboolean all)
{
    DBusMessage *reply = NULL;
    DBusMessageIter iter;
    DBusMessageIter array;
    DBusMessageIter item;
    GPtrArray *names = list_published(a);

    (void)all;
    reply_begin(call, &reply, &iter, &array, "(ssu)");
    for (guint i = 0; i < names->len; i++) {
        const char *name = g_ptr_array_index(names, i);
        struct service *s = service_find(a, name);
        const char *state = s ? s->state : "inactive";
        dbus_uint32_t pid = s ? service_main_pid(s) : 0;
        dbus_message_iter_open_container(&array, DBUS_TYPE_STRUCT, NULL, &item);
        dbus_message_iter_append_basic(&item, DBUS_TYPE_STRING, &name);
        dbus_message_iter_append_basic(&item, DBUS_TYPE_STRING, &state);
        dbus_message_iter_append_basic(&item, DBUS_TYPE_UINT32, &pid);
        dbus_message_iter_close_container(&array, &item);
    }
    reply_end(a, reply, &iter, &array);
    g_ptr_array_unref(names);
}

static void on_looked(gboolean reached, void *data)
{
    struct run *run = data;

    (void)reached;
    run->looking = FALSE;
}

/* An orphan that comes to the top reaper makes no noise. Signal 0 has it look, and tell what it
 * finds: who asks again has that, and nobody waits for a top reaper that is held. */
static void look_again(struct service *s)
{
    for (guint i = 0; i < s->runs->len; i++) {
        struct run *run = g_ptr_array_index(s->runs, i);
        if (!run->at_top || run->empty || run->looking)
            continue;
        run->looking = TRUE;
        run_signal(run, 0, on_looked, run);
    }
}

void call_get_service(struct activator *a, DBusMessage *call, gboolean all)
{
    DBusMessage *reply = NULL;
    DBusMessageIter iter;
    DBusMessageIter dict;
    struct service *s = named(a, call);

    if (!s)
        return;
    reply_begin(call, &reply, &iter, &dict, "{sv}");
    fields_service(s, &dict, all);
    reply_end(a, reply, &iter, &dict);
    look_again(s);
}

void call_describe_services(struct activator *a, DBusMessage *call, gboolean all)
{
    DBusMessage *reply = NULL;
    DBusMessageIter iter;
    DBusMessageIter array;
    DBusMessageIter dict;
    GPtrArray *names = list_published(a);

    reply_begin(call, &reply, &iter, &array, "a{sv}");
    for (guint i = 0; i < names->len; i++) {
        dbus_message_iter_open_container(&array, DBUS_TYPE_ARRAY, "{sv}", &dict);
        fields_service(service_get(a, g_ptr_array_index(names, i)), &dict, all);
        dbus_message_iter_close_container(&array, &dict);
    }
    reply_end(a, reply, &iter, &array);
    g_ptr_array_unref(names);
}

void call_list_processes(struct activator *a, DBusMessage *call, gboolean all)
{
    DBusMessage *reply = NULL;
    DBusMessageIter iter;
    DBusMessageIter array;
    struct service *s = named(a, call);

    if (!s)
        return;
    reply_begin(call, &reply, &iter, &array, "(uusb)");
    fields_processes(s, &array, all);
    reply_end(a, reply, &iter, &array);
    look_again(s);
}

struct listing {
    DBusMessageIter *array;
    gboolean all;
};

static void list_record(const struct history_record *r, void *data)
{
    struct listing *l = data;
    struct history_record shown = *r;
    DBusMessageIter dict;

    if (!l->all)
        shown.error_message = NULL;
    dbus_message_iter_open_container(l->array, DBUS_TYPE_ARRAY, "{sv}", &dict);
    fields_history(&shown, &dict);
    dbus_message_iter_close_container(l->array, &dict);
}

void call_list_activations(struct activator *a, DBusMessage *call, gboolean all)
{
    DBusMessage *reply = NULL;
    DBusMessageIter iter;
    DBusMessageIter array;
    struct listing l = {&array, all};
    dbus_uint32_t newest = 0;

    dbus_message_get_args(call, NULL, DBUS_TYPE_UINT32, &newest, DBUS_TYPE_INVALID);
    reply_begin(call, &reply, &iter, &array, "a{sv}");
    history_foreach(a->history, newest, list_record, &l);
    reply_end(a, reply, &iter, &array);
}

void call_get_log(struct activator *a, DBusMessage *call, gboolean all)
{
    DBusMessage *reply = NULL;
    DBusMessageIter iter;
    DBusMessageIter array;
    struct service *s = named(a, call);
    dbus_uint32_t lines = 0;
    const char *name = NULL;

    (void)all;
    if (!s)
        return;
    dbus_message_get_args(call, NULL, DBUS_TYPE_STRING, &name, DBUS_TYPE_UINT32, &lines,
                          DBUS_TYPE_INVALID);
    char *path = log_path(a, s->name);
    GPtrArray *tail = log_tail(path, lines, LOG_BYTES);
    reply_begin(call, &reply, &iter, &array, "s");
    for (guint i = 0; i < tail->len; i++) {
        const char *text = g_ptr_array_index(tail, i);
        dbus_message_iter_append_basic(&array, DBUS_TYPE_STRING, &text);
    }
    reply_end(a, reply, &iter, &array);
    g_ptr_array_unref(tail);
    g_free(path);
}

/* --- stopping --------------------------------------------------------------------------- */

struct stopping {
    struct activator *a;
    DBusMessage *call;
    char *name;
};

static void on_stopped(GPtrArray *survivors, void *data)
{
    struct stopping *w = data;

    if (w->a->bus && survivors->len == 0) {
        reply_empty(w->a, w->call);
    } else if (w->a->bus) {
        g_ptr_array_add(survivors, NULL);
        char *list = g_strjoinv(", ", (char **)survivors->pdata);
        char *text = g_strdup_printf("%s: still running after SIGKILL: %s", w->name, list);
        g_ptr_array_remove_index(survivors, survivors->len - 1);
        bus_send_error(w->a->bus, w->call, OWN_ERROR "StillRunning", text);
        g_free(list);
        g_free(text);
    }
    dbus_message_unref(w->call);
    g_free(w->name);
    g_free(w);
}

/* What a stop or a signal is for: the service's runs and the one whose process has its name. */
static GPtrArray *targets(struct service *s)
{
    GPtrArray *runs = g_ptr_array_new();

    for (guint i = 0; i < s->runs->len; i++) {
        struct run *run = g_ptr_array_index(s->runs, i);
        if (!run->empty || run->grace_timer)
            g_ptr_array_add(runs, run);
    }
    if (s->owner_run && !s->owner_run->empty && !g_ptr_array_find(runs, s->owner_run, NULL))
        g_ptr_array_add(runs, s->owner_run);
    return runs;
}

static void not_running(struct activator *a, DBusMessage *call, struct service *s)
{
    char *text = g_strdup_printf(
        s->owner ? "%s was not started by this activator" : "%s is not running", s->name);

    bus_send_error(a->bus, call, OWN_ERROR "NotRunning", text);
    g_free(text);
}

void call_stop_service(struct activator *a, DBusMessage *call, gboolean all)
{
    struct service *s = named(a, call);

    (void)all;
    if (!s)
        return;
    GPtrArray *runs = targets(s);
    if (runs->len == 0) {
        not_running(a, call, s);
    } else {
        struct stopping *w = g_new0(struct stopping, 1);
        w->a = a;
        w->call = dbus_message_ref(call);
        w->name = g_strdup(s->name);
        /* A run that left without its name and waits out the grace has nothing to stop. */
        for (guint i = 0; i < runs->len; i++) {
            struct run *run = g_ptr_array_index(runs, i);
            if (run->empty)
                run_timed_out(run);
        }
        stop_runs(a, runs, on_stopped, w);
    }
    g_ptr_array_unref(runs);
}

static void on_all_stopped(GPtrArray *survivors, void *data)
{
    struct stopping *w = data;
    DBusMessage *reply = NULL;
    DBusMessageIter iter;
    DBusMessageIter array;

    if (w->a->bus) {
        reply_begin(w->call, &reply, &iter, &array, "s");
        for (guint i = 0; i < survivors->len; i++) {
            char *text = bus_text(g_ptr_array_index(survivors, i));
            dbus_message_iter_append_basic(&array, DBUS_TYPE_STRING, &text);
            g_free(text);
        }
        reply_end(w->a, reply, &iter, &array);
    }
    dbus_message_unref(w->call);
    g_free(w);
}

void call_stop_all(struct activator *a, DBusMessage *call, gboolean all)
{
    struct stopping *w = g_new0(struct stopping, 1);

    (void)all;
    w->a = a;
    w->call = dbus_message_ref(call);
    activator_stop_all(a, on_all_stopped, w);
}

/* --- signals ---------------------------------------------------------------------------- */

struct killing {
    struct activator *a;
    DBusMessage *call;
    struct service *s;
    guint waiting;
    gboolean reached;
};

static void killing_step(struct killing *k)
{
    if (--k->waiting > 0)
        return;
    if (k->a->bus && k->reached)
        reply_empty(k->a, k->call);
    else if (k->a->bus)
        not_running(k->a, k->call, k->s);
    dbus_message_unref(k->call);
    g_free(k);
}

static void on_killed(gboolean reached, void *data)
{
    struct killing *k = data;

    k->reached = k->reached || reached;
    killing_step(k);
}

void call_kill_service(struct activator *a, DBusMessage *call, gboolean all)
{
    struct service *s = named(a, call);
    const char *name = NULL;
    dbus_int32_t number = 0;

    (void)all;
    if (!s)
        return;
    dbus_message_get_args(call, NULL, DBUS_TYPE_STRING, &name, DBUS_TYPE_INT32, &number,
                          DBUS_TYPE_INVALID);
    if (number < 1 || number > SIGRTMAX) {
        char *text = g_strdup_printf("%d is no signal; they go from 1 to %d", number, SIGRTMAX);
        bus_send_error(a->bus, call, DBUS_ERROR_INVALID_ARGS, text);
        g_free(text);
        return;
    }
    struct killing *k = g_new0(struct killing, 1);
    k->a = a;
    k->call = dbus_message_ref(call);
    k->s = s;
    GPtrArray *runs = targets(s);
    k->waiting = runs->len + 1;
    for (guint i = 0; i < runs->len; i++)
        run_signal(g_ptr_array_index(runs, i), number, on_killed, k);
    g_ptr_array_unref(runs);
    killing_step(k);
}

struct reloading {
    struct activator *a;
    DBusMessage *call;
};

static void on_reloaded(void *data)
{
    struct reloading *r = data;

    if (r->a->bus)
        reply_empty(r->a, r->call);
    dbus_message_unref(r->call);
    g_free(r);
}

void call_reload(struct activator *a, DBusMessage *call, gboolean all)
{
    struct reloading *r = g_new0(struct reloading, 1);

    (void)all;
    r->a = a;
    r->call = dbus_message_ref(call);
    activator_reload(a, on_reloaded, r);
}

void call_reexec(struct activator *a, DBusMessage *call, gboolean all)
{
    (void)all;
    reply_empty(a, call);
    activator_leave(a, LEAVE_REEXEC);
}
