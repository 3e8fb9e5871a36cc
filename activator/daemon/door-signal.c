/* SPDX-License-Identifier: MIT */
/* The front door of dbus-daemon --systemd-activation: ActivationRequest in, ActivationFailure
 * out, under the name org.freedesktop.systemd1. */
#include "daemon/service.h"

#include "common/parse/bus-name.h"

#include <string.h>
#include <unistd.h>

#define ACTIVATOR_INTERFACE "org.freedesktop.systemd1.Activator"
#define MANAGER_INTERFACE   "org.freedesktop.systemd1.Manager"
#define SYSTEMD_PATH        "/org/freedesktop/systemd1"

void door_signal_fail(struct activator *a, const char *unit, const char *error_name,
                      const char *message)
{
    /* A name that is no error name, or fewer than three strings, crashes the stock daemon. */
    const char *name = error_name_is_valid(error_name) ? error_name : ERROR_PREFIX "Failed";
    char *unit_text = bus_text(unit);
    char *text = bus_text(message);

    if (a->bus && a->has_systemd_door) {
        DBusMessage *m =
            dbus_message_new_signal(SYSTEMD_PATH, ACTIVATOR_INTERFACE, "ActivationFailure");
        if (!m || !dbus_message_set_destination(m, DBUS_NAME_OF_BUS) ||
            !dbus_message_append_args(m, DBUS_TYPE_STRING, &unit_text, DBUS_TYPE_STRING, &name,
                                      DBUS_TYPE_STRING, &text, DBUS_TYPE_INVALID))
            g_error("out of memory");
        bus_send(a->bus, m);
    }
    g_free(unit_text);
    g_free(text);
}

/* --- requests --------------------------------------------------------------------------- */

static void request_name(struct activator *a, const char *name, const char *unit)
{
    struct request *request = g_new0(struct request, 1);

    request->door = REQUEST_SIGNAL;
    request->unit = g_strdup(unit);
    request->time = now_usec();
    service_request(service_get(a, name), request);
}

static void on_request(struct activator *a, DBusMessage *message)
{
    const char *unit = NULL;

    if (!dbus_message_get_args(message, NULL, DBUS_TYPE_STRING, &unit, DBUS_TYPE_INVALID))
        return;
    char *own_unit = g_strdup(unit);
    char *name = generated_unit_to_name(unit);
    const GPtrArray *entries = NULL;

    if (name && (catalogue_lookup(a->catalogue, name) ||
                 (service_find(a, name) && service_find(a, name)->run_id))) {
        request_name(a, name, own_unit);
    } else if ((entries = catalogue_by_unit(a->catalogue, unit))) {
        /* The bus asks once for each name, without saying which: the same request twice starts
         * nothing twice. */
        GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
        for (guint i = 0; i < entries->len; i++) {
            struct catalogue_entry *entry = g_ptr_array_index(entries, i);
            g_ptr_array_add(names, g_strdup(entry->name));
        }
        for (guint i = 0; i < names->len; i++)
            request_name(a, g_ptr_array_index(names, i), own_unit);
        g_ptr_array_unref(names);
    } else if (name) {
        /* A file that came this moment: the start looks at the disk. */
        request_name(a, name, own_unit);
    } else {
        char *text = g_strdup_printf("Unit %s belongs to no service file", own_unit);
        door_signal_fail(a, own_unit, ERROR_PREFIX "ServiceUnknown", text);
        g_free(text);
    }
    g_free(name);
    g_free(own_unit);
}

/* --- SetEnvironment --------------------------------------------------------------------- */

static void set_environment(struct activator *a, DBusMessage *message)
{
    char **pairs = NULL;
    int count = 0;

    if (!dbus_message_get_args(message, NULL, DBUS_TYPE_ARRAY, DBUS_TYPE_STRING, &pairs, &count,
                               DBUS_TYPE_INVALID)) {
        bus_send_error(a->bus, message, DBUS_ERROR_INVALID_ARGS,
                       "SetEnvironment takes an array of strings KEY=VALUE");
        return;
    }
    environment_set(a, pairs);
    dbus_free_string_array(pairs);
    if (!dbus_message_get_no_reply(message))
        bus_send(a->bus, dbus_message_new_method_return(message));
}

struct set_query {
    struct activator *a;
    DBusMessage *message;
};

static void on_user(DBusMessage *reply, void *data)
{
    struct set_query *q = data;
    guint32 uid = G_MAXUINT32;

    if (reply && dbus_message_get_args(reply, NULL, DBUS_TYPE_UINT32, &uid, DBUS_TYPE_INVALID) &&
        uid == geteuid())
        set_environment(q->a, q->message);
    else if (q->a->bus && reply)
        bus_send_error(q->a->bus, q->message, DBUS_ERROR_ACCESS_DENIED,
                       "Only the bus and its own user set the environment of services");
    dbus_message_unref(q->message);
    g_free(q);
}

static void on_set_environment(struct activator *a, DBusMessage *message)
{
    const char *sender = dbus_message_get_sender(message);

    if (dbus_message_has_sender(message, DBUS_NAME_OF_BUS) && !a->system) {
        set_environment(a, message);
        return;
    }
    if (a->system || !sender) {
        bus_send_error(a->bus, message, DBUS_ERROR_ACCESS_DENIED,
                       "Services of the system bus have a fixed environment");
        return;
    }
    struct set_query *q = g_new0(struct set_query, 1);
    q->a = a;
    q->message = dbus_message_ref(message);
    bus_call_driver(a->bus, "GetConnectionUnixUser", on_user, q, DBUS_TYPE_STRING, &sender,
                    DBUS_TYPE_INVALID);
}

/* --- the filter --------------------------------------------------------------------------- */

static gboolean is_for_systemd(DBusMessage *message)
{
    return dbus_message_has_destination(message, SYSTEMD_NAME) ||
           dbus_message_has_path(message, SYSTEMD_PATH) ||
           (dbus_message_get_path(message) &&
            g_str_has_prefix(dbus_message_get_path(message), SYSTEMD_PATH "/"));
}

static DBusHandlerResult on_message(DBusConnection *connection, DBusMessage *message, void *data)
{
    struct activator *a = data;

    (void)connection;
    if (dbus_message_is_signal(message, ACTIVATOR_INTERFACE, "ActivationRequest")) {
        if (dbus_message_has_sender(message, DBUS_NAME_OF_BUS))
            on_request(a, message);
        else
            g_info("ignored a forged ActivationRequest from %s", dbus_message_get_sender(message));
        return DBUS_HANDLER_RESULT_HANDLED;
    }
    if (dbus_message_get_type(message) != DBUS_MESSAGE_TYPE_METHOD_CALL || !is_for_systemd(message))
        return DBUS_HANDLER_RESULT_NOT_YET_HANDLED;
    if (dbus_message_is_method_call(message, MANAGER_INTERFACE, "SetEnvironment"))
        on_set_environment(a, message);
    else if (dbus_message_has_interface(message, DBUS_INTERFACE_PEER))
        return DBUS_HANDLER_RESULT_NOT_YET_HANDLED;
    else
        bus_send_error(a->bus, message, DBUS_ERROR_UNKNOWN_METHOD,
                       "This is dbus-activator; there is no systemd on this bus");
    return DBUS_HANDLER_RESULT_HANDLED;
}

/* --- opening and closing -------------------------------------------------------------------- */

static gboolean has_feature(struct activator *a)
{
    DBusMessage *call = dbus_message_new_method_call(DBUS_NAME_OF_BUS, DBUS_PATH_DBUS,
                                                     DBUS_INTERFACE_PROPERTIES, "Get");
    const char *interface = DBUS_INTERFACE_DBUS;
    const char *property = "Features";
    DBusMessageIter iter;
    DBusMessageIter variant;
    DBusMessageIter list;
    gboolean found = FALSE;

    if (!call || !dbus_message_append_args(call, DBUS_TYPE_STRING, &interface, DBUS_TYPE_STRING,
                                           &property, DBUS_TYPE_INVALID))
        g_error("out of memory");
    DBusMessage *reply =
        dbus_connection_send_with_reply_and_block(a->bus->connection, call, 30000, NULL);
    dbus_message_unref(call);
    if (!reply)
        return FALSE;
    if (dbus_message_has_signature(reply, "v") && dbus_message_iter_init(reply, &iter)) {
        dbus_message_iter_recurse(&iter, &variant);
        if (dbus_message_iter_get_arg_type(&variant) == DBUS_TYPE_ARRAY &&
            dbus_message_iter_get_element_type(&variant) == DBUS_TYPE_STRING) {
            dbus_message_iter_recurse(&variant, &list);
            for (; dbus_message_iter_get_arg_type(&list) == DBUS_TYPE_STRING;
                 dbus_message_iter_next(&list)) {
                const char *text = NULL;
                dbus_message_iter_get_basic(&list, &text);
                found = found || strcmp(text, "SystemdActivation") == 0;
            }
        }
    }
    dbus_message_unref(reply);
    return found;
}

gboolean door_signal_open(struct activator *a, GError **error)
{
    const char *name = SYSTEMD_NAME;
    dbus_uint32_t flags = DBUS_NAME_FLAG_DO_NOT_QUEUE;
    gboolean feature = has_feature(a);

    a->bus_asks_systemd = feature;
    if (a->options->door == DOOR_HELPER)
        return TRUE;
    if (!feature && a->options->door == DOOR_AUTO)
        return TRUE;
    if (!feature)
        g_warning("the bus was started without --systemd-activation: it will send no requests "
                  "through the signal door");
    /* Handlers stand before the name is asked for: queued requests come before the reply. */
    if (!dbus_connection_add_filter(a->bus->connection, on_message, a, NULL))
        g_error("out of memory");
    a->has_systemd_door = TRUE;
    DBusMessage *reply = bus_ask(a->bus, "RequestName", error, DBUS_TYPE_STRING, &name,
                                 DBUS_TYPE_UINT32, &flags, DBUS_TYPE_INVALID);
    guint32 result = bus_reply_uint(reply);
    if (reply)
        dbus_message_unref(reply);
    if (result == DBUS_REQUEST_NAME_REPLY_PRIMARY_OWNER) {
        g_clear_error(error);
        return TRUE;
    }
    a->has_systemd_door = FALSE;
    dbus_connection_remove_filter(a->bus->connection, on_message, a);
    if (a->options->door == DOOR_SIGNAL) {
        if (error && !*error)
            g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_EXIST,
                        "%s is owned by somebody else on this bus (a real systemd?); use "
                        "--door helper",
                        SYSTEMD_NAME);
        return FALSE;
    }
    g_clear_error(error);
    g_warning("%s is owned by somebody else on this bus; using the helper door", SYSTEMD_NAME);
    return TRUE;
}

struct sweep {
    struct activator *a;
    GHashTable *busy; /* units of which one name at least is owned, starting or asked for */
    GHashTable *idle;
};

static void sweep_entry(struct catalogue_entry *entry, void *data)
{
    struct sweep *sweep = data;
    struct service *s = service_find(sweep->a, entry->name);
    gboolean busy = s && (s->owner || s->runs->len || !g_queue_is_empty(s->requests));
    GHashTable *units = busy ? sweep->busy : sweep->idle;

    g_hash_table_add(units, g_strconcat(entry->name, ".service", NULL));
    if (entry->unit)
        g_hash_table_add(units, g_strdup(entry->unit));
}

void door_signal_sweep(struct activator *a)
{
    struct sweep sweep = {a, g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL),
                          g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL)};
    GHashTableIter iter;
    gpointer unit = NULL;

    if (a->has_systemd_door)
        catalogue_foreach(a->catalogue, sweep_entry, &sweep);
    /* A unit may stand for several names: only all of them together say that it is idle. */
    g_hash_table_iter_init(&iter, sweep.idle);
    while (g_hash_table_iter_next(&iter, &unit, NULL)) {
        if (!g_hash_table_contains(sweep.busy, unit))
            door_signal_fail(a, unit, ERROR_PREFIX "Failed",
                             "The activator was restarted; this request died with its predecessor");
    }
    g_hash_table_destroy(sweep.busy);
    g_hash_table_destroy(sweep.idle);
}

struct close {
    struct activator *a;
    void (*done)(struct activator *a);
};

static void on_released(DBusMessage *reply, void *data)
{
    struct close *c = data;

    (void)reply;
    c->done(c->a);
    g_free(c);
}

void door_signal_close(struct activator *a, void (*done)(struct activator *a))
{
    const char *name = SYSTEMD_NAME;

    if (!a->bus || !a->has_systemd_door) {
        done(a);
        return;
    }
    struct close *c = g_new0(struct close, 1);
    c->a = a;
    c->done = done;
    bus_call_driver(a->bus, "ReleaseName", on_released, c, DBUS_TYPE_STRING, &name,
                    DBUS_TYPE_INVALID);
}
