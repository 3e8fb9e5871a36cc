/* SPDX-License-Identifier: MIT */
/* Who owns which bus name, and since when each connection is there. */
#include "daemon/service.h"

#include <string.h>

/* Connections whose time of appearance is kept; beyond it phases are unknown, not wrong. */
#define CONNECTED_MAX 16384

struct pid_query {
    struct activator *a;
    char *name;
    char *owner;
};

static void pid_query_free(struct pid_query *q)
{
    g_free(q->name);
    g_free(q->owner);
    g_free(q);
}

/* Who the main process is has become known, or that it never will. */
static void service_receipts(struct service *s)
{
    for (guint i = 0; i < s->runs->len; i++)
        run_receipts(g_ptr_array_index(s->runs, i), FALSE);
}

/* Finds the run whose process owns the name and makes it the main process there. */
static void settle_owner(struct service *s)
{
    struct run *run = run_of_pid(s->a, s->owner_pid, s);

    s->owner_run = run;
    if (!run) {
        service_receipts(s);
        return;
    }
    if (!run->owned || run->service == s) {
        run_set_main(run, s->owner_pid);
        guint64 *since = g_hash_table_lookup(s->a->connected, s->owner);
        if (since && !run->connected)
            run->connected = *since;
        if (!run->owned)
            run->owned = s->owned_at;
    }
    run->settled = TRUE;
    if (run->service == s && run->id == s->run_id && run->requested &&
        run->owned >= run->requested && !run->recovered)
        s->latency = run->owned - run->requested;
    run_record(run);
    service_receipts(run->service);
    if (run->service != s)
        service_receipts(s);
    if (s->owner)
        service_update(run->service);
}

static void on_pid(DBusMessage *reply, void *data)
{
    struct pid_query *q = data;
    struct activator *a = q->a;
    struct service *s = service_find(a, q->name);
    guint32 pid = bus_reply_uint(reply);

    a->pids_asked--;
    /* The name may have changed hands under the question. */
    if (s && s->owner && strcmp(s->owner, q->owner) == 0 && pid) {
        s->owner_pid = (pid_t)pid;
        settle_owner(s);
        service_update(s);
    }
    pid_query_free(q);
}

void service_set_owner(struct service *s, const char *owner)
{
    struct activator *a = s->a;
    struct run *before = s->owner_run;

    if (owner && !*owner)
        owner = NULL;
    if (g_strcmp0(s->owner, owner) == 0)
        return;
    g_free(s->owner);
    s->owner = g_strdup(owner);
    s->owner_pid = 0;
    s->owner_run = NULL;
    s->owner_dying = FALSE;
    if (before && before->main_pid && before->service == s)
        before->main_pid = 0;
    if (owner) {
        struct pid_query *q = g_new0(struct pid_query, 1);
        s->owned_at = now_usec();
        a->pids_asked++;
        q->a = a;
        q->name = g_strdup(s->name);
        q->owner = g_strdup(owner);
        bus_call_driver(a->bus, "GetConnectionUnixProcessID", on_pid, q, DBUS_TYPE_STRING,
                        &q->owner, DBUS_TYPE_INVALID);
        service_owned(s);
    }
    service_receipts(s);
    service_update(s);
}

void names_recheck(struct activator *a)
{
    GHashTableIter iter;
    gpointer value = NULL;

    g_hash_table_iter_init(&iter, a->services);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        struct service *s = value;
        if (s->owner && s->owner_pid && !s->owner_run) {
            settle_owner(s);
            service_update(s);
        }
    }
}

static void note_connection(struct activator *a, const char *name, const char *owner)
{
    if (!*owner) {
        g_hash_table_remove(a->connected, name);
    } else if (g_hash_table_size(a->connected) < CONNECTED_MAX) {
        guint64 now = now_usec();
        g_hash_table_insert(a->connected, g_strdup(name), g_memdup2(&now, sizeof now));
    }
}

static DBusHandlerResult on_message(DBusConnection *connection, DBusMessage *message, void *data)
{
    struct activator *a = data;
    const char *name = NULL;
    const char *old = NULL;
    const char *owner = NULL;

    (void)connection;
    if (!dbus_message_is_signal(message, DBUS_INTERFACE_DBUS, "NameOwnerChanged") ||
        !dbus_message_has_sender(message, DBUS_NAME_OF_BUS) ||
        !dbus_message_get_args(message, NULL, DBUS_TYPE_STRING, &name, DBUS_TYPE_STRING, &old,
                               DBUS_TYPE_STRING, &owner, DBUS_TYPE_INVALID))
        return DBUS_HANDLER_RESULT_NOT_YET_HANDLED;
    if (*name == ':') {
        note_connection(a, name, owner);
        return DBUS_HANDLER_RESULT_HANDLED;
    }
    if (*owner)
        g_hash_table_add(a->owned_names, g_strdup(name));
    else
        g_hash_table_remove(a->owned_names, name);
    struct service *s = service_find(a, name);
    if (!s && *owner && catalogue_lookup(a->catalogue, name))
        s = service_get(a, name);
    if (s)
        service_set_owner(s, owner);
    return DBUS_HANDLER_RESULT_HANDLED;
}

gboolean names_watch(struct activator *a, GError **error)
{
    const char *rule = "type='signal',sender='org.freedesktop.DBus',"
                       "interface='org.freedesktop.DBus',member='NameOwnerChanged'";

    if (!dbus_connection_add_filter(a->bus->connection, on_message, a, NULL))
        g_error("out of memory");
    DBusMessage *reply =
        bus_ask(a->bus, "AddMatch", error, DBUS_TYPE_STRING, &rule, DBUS_TYPE_INVALID);
    if (!reply)
        return FALSE;
    dbus_message_unref(reply);
    return TRUE;
}

struct owner_query {
    struct activator *a;
    char *name;
};

static void on_owner(DBusMessage *reply, void *data)
{
    struct owner_query *q = data;
    const char *owner = bus_reply_string(reply);
    struct service *s = service_find(q->a, q->name);

    if (s && owner && !s->owner)
        service_set_owner(s, owner);
    q->a->owners_asked--;
    g_free(q->name);
    activator_start_step(q->a);
    g_free(q);
}

static void ask_owner(struct activator *a, const char *name)
{
    struct owner_query *q = g_new0(struct owner_query, 1);

    q->a = a;
    q->name = g_strdup(name);
    a->owners_asked++;
    service_get(a, name);
    bus_call_driver(a->bus, "GetNameOwner", on_owner, q, DBUS_TYPE_STRING, &q->name,
                    DBUS_TYPE_INVALID);
}

gboolean names_ask_all(struct activator *a, GError **error)
{
    DBusMessage *reply = bus_ask(a->bus, "ListNames", error, DBUS_TYPE_INVALID);
    char **names = NULL;
    int count = 0;

    if (!reply)
        return FALSE;
    if (dbus_message_get_args(reply, NULL, DBUS_TYPE_ARRAY, DBUS_TYPE_STRING, &names, &count,
                              DBUS_TYPE_INVALID)) {
        for (int i = 0; i < count; i++) {
            if (*names[i] == ':')
                continue;
            g_hash_table_add(a->owned_names, g_strdup(names[i]));
            if ((service_find(a, names[i]) || catalogue_lookup(a->catalogue, names[i])))
                ask_owner(a, names[i]);
        }
        dbus_free_string_array(names);
    }
    dbus_message_unref(reply);
    return TRUE;
}

static void ask_new(struct catalogue_entry *entry, void *data)
{
    struct activator *a = data;
    struct service *s = service_find(a, entry->name);

    if ((!s || !s->owner) && g_hash_table_contains(a->owned_names, entry->name))
        ask_owner(a, entry->name);
}

void names_of_catalogue(struct activator *a)
{
    catalogue_foreach(a->catalogue, ask_new, a);
}
