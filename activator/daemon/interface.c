/* SPDX-License-Identifier: MIT */
/* org.dbusactivator.Activator1: who calls what. The caller's credentials on the bus decide; on a
 * session bus all callers are the bus's user. */
#include "daemon/calls.h"
#include "daemon/introspection.h"
#include "daemon/reapers.h"

#include "common/child-reaper.h"
#include "config.h"

#include <stdarg.h>
#include <string.h>
#include <unistd.h>

static const struct method {
    const char *name;
    const char *signature;
    gboolean root; /* on the system bus for root alone */
    gboolean asks; /* the answer depends on who asks */
    void (*serve)(struct activator *a, DBusMessage *call, gboolean all);
} methods[] = {
    {"ListServices", "", FALSE, FALSE, call_list_services},
    {"GetService", "s", FALSE, TRUE, call_get_service},
    {"DescribeServices", "", FALSE, TRUE, call_describe_services},
    {"ListProcesses", "s", FALSE, TRUE, call_list_processes},
    {"ListActivations", "u", FALSE, TRUE, call_list_activations},
    {"GetLog", "su", TRUE, FALSE, call_get_log},
    {"StopService", "s", TRUE, FALSE, call_stop_service},
    {"StopAll", "", TRUE, FALSE, call_stop_all},
    {"KillService", "si", TRUE, FALSE, call_kill_service},
    {"Reload", "", TRUE, FALSE, call_reload},
    {"Reexec", "", TRUE, FALSE, call_reexec},
};

/* --- signals ---------------------------------------------------------------------------- */

static void emit(struct activator *a, const char *member, int first_type, va_list list)
{
    DBusMessage *m = dbus_message_new_signal(ACTIVATOR_PATH, ACTIVATOR_NAME, member);

    if (!m || !dbus_message_append_args_valist(m, first_type, list))
        g_error("out of memory");
    bus_send(a->bus, m);
}

void interface_emit(struct activator *a, const char *member, int first_type, ...)
{
    va_list list;

    if (!a->bus || a->bus->is_lost)
        return;
    va_start(list, first_type);
    emit(a, member, first_type, list);
    va_end(list);
}

void interface_emit_private(struct activator *a, const char *member, int first_type, ...)
{
    va_list list;

    /* Who receives it on the system bus is the policy file's business: root alone. Without that
     * file nobody but root may own the name either. */
    if (!a->bus || a->bus->is_lost)
        return;
    va_start(list, first_type);
    emit(a, member, first_type, list);
    va_end(list);
}

/* --- properties ------------------------------------------------------------------------- */

static void append_variant(DBusMessageIter *iter, int type, const void *value)
{
    DBusMessageIter variant;
    const char signature[] = {(char)type, '\0'};

    if (!dbus_message_iter_open_container(iter, DBUS_TYPE_VARIANT, signature, &variant) ||
        !dbus_message_iter_append_basic(&variant, type, value) ||
        !dbus_message_iter_close_container(iter, &variant))
        g_error("out of memory");
}

static const char *const properties[] = {"Version", "BusType", "ReaperKind", "NServices",
                                         "NRunning"};

static gboolean append_property(struct activator *a, DBusMessageIter *iter, const char *name)
{
    const char *text = NULL;
    dbus_uint32_t number = 0;

    if (strcmp(name, "Version") == 0) {
        text = VERSION;
    } else if (strcmp(name, "BusType") == 0) {
        text = a->system ? "system" : "session";
    } else if (strcmp(name, "ReaperKind") == 0) {
        text = child_reaper_kind_name(a->kind);
    } else if (strcmp(name, "NServices") == 0) {
        GPtrArray *names = service_list(a);
        number = names->len;
        g_ptr_array_unref(names);
    } else if (strcmp(name, "NRunning") == 0) {
        number = a->n_running;
    } else {
        return FALSE;
    }
    append_variant(iter, text ? DBUS_TYPE_STRING : DBUS_TYPE_UINT32,
                   text ? (const void *)&text : (const void *)&number);
    return TRUE;
}

static void append_all(struct activator *a, DBusMessageIter *iter)
{
    DBusMessageIter array;
    DBusMessageIter entry;

    dbus_message_iter_open_container(iter, DBUS_TYPE_ARRAY, "{sv}", &array);
    for (gsize i = 0; i < G_N_ELEMENTS(properties); i++) {
        dbus_message_iter_open_container(&array, DBUS_TYPE_DICT_ENTRY, NULL, &entry);
        dbus_message_iter_append_basic(&entry, DBUS_TYPE_STRING, &properties[i]);
        append_property(a, &entry, properties[i]);
        dbus_message_iter_close_container(&array, &entry);
    }
    dbus_message_iter_close_container(iter, &array);
}

static void on_properties(struct activator *a, DBusMessage *call)
{
    const char *member = dbus_message_get_member(call);
    const char *interface = NULL;
    const char *name = NULL;
    DBusMessageIter iter;
    gboolean one = strcmp(member, "Get") == 0 && dbus_message_has_signature(call, "ss");
    gboolean all = strcmp(member, "GetAll") == 0 && dbus_message_has_signature(call, "s");

    if (strcmp(member, "Set") == 0 && dbus_message_has_signature(call, "ssv")) {
        bus_send_error(a->bus, call, DBUS_ERROR_PROPERTY_READ_ONLY, "No property can be set");
        return;
    }
    if (!one && !all) {
        bus_send_error(a->bus, call, DBUS_ERROR_INVALID_ARGS,
                       "Properties takes Get(ss), GetAll(s)");
        return;
    }
    dbus_message_get_args(call, NULL, DBUS_TYPE_STRING, &interface,
                          one ? DBUS_TYPE_STRING : DBUS_TYPE_INVALID, &name, DBUS_TYPE_INVALID);
    if (*interface && strcmp(interface, ACTIVATOR_NAME) != 0) {
        bus_send_error(a->bus, call, DBUS_ERROR_UNKNOWN_INTERFACE,
                       "Properties are those of " ACTIVATOR_NAME);
        return;
    }
    DBusMessage *reply = dbus_message_new_method_return(call);
    dbus_message_iter_init_append(reply, &iter);
    if (all) {
        append_all(a, &iter);
    } else if (!append_property(a, &iter, name)) {
        dbus_message_unref(reply);
        bus_send_error(a->bus, call, DBUS_ERROR_UNKNOWN_PROPERTY, "There is no such property");
        return;
    }
    bus_send(a->bus, reply);
}

/* --- who may ---------------------------------------------------------------------------- */

struct pending {
    struct activator *a;
    DBusMessage *call;
    const struct method *method;
};

static void on_caller(DBusMessage *reply, void *data)
{
    struct pending *p = data;
    dbus_uint32_t uid = G_MAXUINT32;

    if (reply)
        dbus_message_get_args(reply, NULL, DBUS_TYPE_UINT32, &uid, DBUS_TYPE_INVALID);
    if (reply && p->method->root && uid != 0)
        bus_send_error(p->a->bus, p->call, DBUS_ERROR_ACCESS_DENIED,
                       "Only root may call this on the system bus");
    else if (reply)
        p->method->serve(p->a, p->call, uid == 0);
    dbus_message_unref(p->call);
    g_free(p);
}

static void serve(struct activator *a, DBusMessage *call, const struct method *method)
{
    const char *sender = dbus_message_get_sender(call);

    if (!dbus_message_has_signature(call, method->signature)) {
        char *text = g_strdup_printf("%s takes (%s), not (%s)", method->name, method->signature,
                                     dbus_message_get_signature(call));
        bus_send_error(a->bus, call, DBUS_ERROR_INVALID_ARGS, text);
        g_free(text);
        return;
    }
    if (!a->system || (!method->root && !method->asks)) {
        method->serve(a, call, TRUE);
        return;
    }
    struct pending *p = g_new0(struct pending, 1);
    p->a = a;
    p->call = dbus_message_ref(call);
    p->method = method;
    bus_call_driver(a->bus, "GetConnectionUnixUser", on_caller, p, DBUS_TYPE_STRING, &sender,
                    DBUS_TYPE_INVALID);
}

static void dispatch(struct activator *a, DBusMessage *call)
{
    const char *member = dbus_message_get_member(call);

    for (gsize i = 0; i < G_N_ELEMENTS(methods); i++) {
        if (strcmp(methods[i].name, member) == 0) {
            serve(a, call, &methods[i]);
            return;
        }
    }
    char *text = g_strdup_printf("%s has no method %s", ACTIVATOR_NAME, member);
    bus_send_error(a->bus, call, DBUS_ERROR_UNKNOWN_METHOD, text);
    g_free(text);
}

/* --- the filter ------------------------------------------------------------------------- */

static void introspect(struct activator *a, DBusMessage *call, const char *text)
{
    DBusMessage *reply = dbus_message_new_method_return(call);

    if (!reply || !dbus_message_append_args(reply, DBUS_TYPE_STRING, &text, DBUS_TYPE_INVALID))
        g_error("out of memory");
    bus_send(a->bus, reply);
}

static gboolean on_parent(struct activator *a, DBusMessage *call, const char *path)
{
    const char *child = strcmp(path, "/") == 0                    ? "org"
                        : strcmp(path, "/org") == 0               ? "dbusactivator"
                        : strcmp(path, "/org/dbusactivator") == 0 ? "Activator1"
                                                                  : NULL;

    if (!child || !dbus_message_is_method_call(call, DBUS_INTERFACE_INTROSPECTABLE, "Introspect"))
        return FALSE;
    char *text = g_strdup_printf("<node><node name=\"%s\"/></node>", child);
    introspect(a, call, text);
    g_free(text);
    return TRUE;
}

static void on_call(struct activator *a, DBusMessage *call)
{
    const char *path = dbus_message_get_path(call);
    const char *interface = dbus_message_get_interface(call);

    if (on_parent(a, call, path))
        return;
    if (strcmp(path, ACTIVATOR_PATH) != 0) {
        char *text =
            g_strdup_printf("There is no object %s; the activator is " ACTIVATOR_PATH, path);
        bus_send_error(a->bus, call, DBUS_ERROR_UNKNOWN_OBJECT, text);
        g_free(text);
    } else if (dbus_message_is_method_call(call, DBUS_INTERFACE_INTROSPECTABLE, "Introspect")) {
        introspect(a, call, introspection_xml);
    } else if (g_strcmp0(interface, DBUS_INTERFACE_PROPERTIES) == 0) {
        on_properties(a, call);
    } else if (!interface || strcmp(interface, ACTIVATOR_NAME) == 0) {
        dispatch(a, call);
    } else {
        char *text = g_strdup_printf("There is no interface %s here", interface);
        bus_send_error(a->bus, call, DBUS_ERROR_UNKNOWN_METHOD, text);
        g_free(text);
    }
}

/* The bus answers in order: what had been asked before has been answered. */
static void on_known(DBusMessage *reply, void *data)
{
    struct activator *a = data;
    DBusMessage *call = g_queue_pop_head(a->early_calls);

    if (!call)
        return;
    if (reply && a->bus)
        on_call(a, call);
    dbus_message_unref(call);
}

static DBusHandlerResult on_message(DBusConnection *connection, DBusMessage *message, void *data)
{
    struct activator *a = data;

    (void)connection;
    if (dbus_message_get_type(message) != DBUS_MESSAGE_TYPE_METHOD_CALL ||
        dbus_message_has_interface(message, DBUS_INTERFACE_PEER))
        return DBUS_HANDLER_RESULT_NOT_YET_HANDLED;
    /* Not before the requests that died with a predecessor are failed: whoever asks again because
     * it has an answer is not told so a second time. Nor before those that came earlier. */
    if (!a->serving || !g_queue_is_empty(a->held_calls) || (a->crashed_before && !a->leaving)) {
        g_queue_push_tail(a->held_calls, dbus_message_ref(message));
    } else if (a->pids_asked > 0 || !g_queue_is_empty(a->early_calls)) {
        /* Somebody has just taken a name; whose process that is comes in a moment, and whoever
         * waited for that name before asking is not to be told that nobody knows. */
        g_queue_push_tail(a->early_calls, dbus_message_ref(message));
        bus_call_driver(a->bus, "GetId", on_known, a, DBUS_TYPE_INVALID);
    } else {
        on_call(a, message);
    }
    return DBUS_HANDLER_RESULT_HANDLED;
}

void interface_serve_held(struct activator *a)
{
    DBusMessage *call = NULL;

    while ((call = g_queue_pop_head(a->held_calls))) {
        on_call(a, call);
        dbus_message_unref(call);
    }
}

gboolean interface_open(struct activator *a, GError **error)
{
    const char *name = ACTIVATOR_NAME;
    dbus_uint32_t flags = DBUS_NAME_FLAG_ALLOW_REPLACEMENT;

    flags = a->options->replace ? DBUS_NAME_FLAG_REPLACE_EXISTING : 0;
    if (!dbus_connection_add_filter(a->bus->connection, on_message, a, NULL))
        g_error("out of memory");
    DBusMessage *reply = bus_ask(a->bus, "RequestName", error, DBUS_TYPE_STRING, &name,
                                 DBUS_TYPE_UINT32, &flags, DBUS_TYPE_INVALID);
    if (!reply)
        return FALSE;
    dbus_message_unref(reply);
    return TRUE;
}
