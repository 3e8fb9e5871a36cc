/* SPDX-License-Identifier: MIT */
#include "ctl/query.h"

#include "ctl/bus.h"

#include <string.h>

DBusMessage *query_call(const char *method, const char *name)
{
    DBusMessage *call = bus_activator_call(method);

    if (bus_append_string(call, name))
        return call;
    dbus_message_unref(call);
    ctl_complain("%s: no such service", name);
    return NULL;
}

static int query(struct ctl *ctl, DBusMessage *call, const char *signature, DBusMessage **reply)
{
    if (!call)
        return CTL_NO_SERVICE;
    return bus_call_report(ctl, call, NULL, signature, reply);
}

static void service_clear(void *data)
{
    struct listed_service *service = data;

    g_free(service->name);
    g_free(service->state);
}

int query_services(struct ctl *ctl, GArray **services)
{
    g_autoptr(DBusMessage) reply = NULL;
    DBusMessageIter arguments;
    DBusMessageIter item;
    int code = query(ctl, bus_activator_call("ListServices"), "a(ssu)", &reply);

    if (code != CTL_DONE)
        return code;
    *services = g_array_new(FALSE, TRUE, sizeof(struct listed_service));
    g_array_set_clear_func(*services, service_clear);
    dbus_message_iter_init(reply, &arguments);
    dbus_message_iter_recurse(&arguments, &item);
    while (dbus_message_iter_get_arg_type(&item) == DBUS_TYPE_STRUCT) {
        DBusMessageIter field;
        struct listed_service service = {0};
        const char *text;

        dbus_message_iter_recurse(&item, &field);
        dbus_message_iter_get_basic(&field, &text);
        service.name = g_strdup(text);
        dbus_message_iter_next(&field);
        dbus_message_iter_get_basic(&field, &text);
        service.state = g_strdup(text);
        dbus_message_iter_next(&field);
        dbus_message_iter_get_basic(&field, &service.pid);
        g_array_append_val(*services, service);
        dbus_message_iter_next(&item);
    }
    return CTL_DONE;
}

int query_service(struct ctl *ctl, const char *name, struct dict **service)
{
    g_autoptr(DBusMessage) reply = NULL;
    DBusMessageIter iter;
    int code = query(ctl, query_call("GetService", name), "a{sv}", &reply);

    if (code != CTL_DONE)
        return code;
    dbus_message_iter_init(reply, &iter);
    *service = dict_read(&iter);
    return CTL_DONE;
}

static void process_clear(void *process)
{
    g_free(((struct listed_process *)process)->command);
}

int query_processes(struct ctl *ctl, const char *name, GArray **processes)
{
    g_autoptr(DBusMessage) reply = NULL;
    DBusMessageIter arguments;
    DBusMessageIter item;
    int code = query(ctl, query_call("ListProcesses", name), "a(uusb)", &reply);

    if (code != CTL_DONE)
        return code;
    *processes = g_array_new(FALSE, TRUE, sizeof(struct listed_process));
    g_array_set_clear_func(*processes, process_clear);
    dbus_message_iter_init(reply, &arguments);
    dbus_message_iter_recurse(&arguments, &item);
    while (dbus_message_iter_get_arg_type(&item) == DBUS_TYPE_STRUCT) {
        struct listed_process process = {0};
        DBusMessageIter field;
        const char *text;
        dbus_bool_t adopted;

        dbus_message_iter_recurse(&item, &field);
        dbus_message_iter_get_basic(&field, &process.pid);
        dbus_message_iter_next(&field);
        dbus_message_iter_get_basic(&field, &process.parent);
        dbus_message_iter_next(&field);
        dbus_message_iter_get_basic(&field, &text);
        process.command = g_strdup(text);
        dbus_message_iter_next(&field);
        dbus_message_iter_get_basic(&field, &adopted);
        process.adopted = adopted;
        g_array_append_val(*processes, process);
        dbus_message_iter_next(&item);
    }
    return CTL_DONE;
}

int query_log(struct ctl *ctl, const char *name, unsigned newest, char ***lines)
{
    g_autoptr(DBusMessage) reply = NULL;
    DBusMessage *call = query_call("GetLog", name);
    dbus_uint32_t number = newest;
    char **strings;
    int length;
    int code;

    if (call)
        dbus_message_append_args(call, DBUS_TYPE_UINT32, &number, DBUS_TYPE_INVALID);
    code = query(ctl, call, "as", &reply);
    if (code != CTL_DONE)
        return code;
    dbus_message_get_args(reply, NULL, DBUS_TYPE_ARRAY, DBUS_TYPE_STRING, &strings, &length,
                          DBUS_TYPE_INVALID);
    *lines = g_strdupv(strings);
    dbus_free_string_array(strings);
    return CTL_DONE;
}

int query_history(struct ctl *ctl, const char *name, unsigned newest, GPtrArray **activations)
{
    g_autoptr(DBusMessage) reply = NULL;
    DBusMessage *call = bus_activator_call("ListActivations");
    /* Those of one service are picked here: all have to come. */
    dbus_uint32_t number = name ? G_MAXUINT32 : newest;
    int code;

    dbus_message_append_args(call, DBUS_TYPE_UINT32, &number, DBUS_TYPE_INVALID);
    code = query(ctl, call, "aa{sv}", &reply);
    if (code != CTL_DONE)
        return code;
    *activations = dict_read_all(reply);
    if (!name)
        return CTL_DONE;
    for (guint i = (*activations)->len; i-- > 0;) {
        const char *of = dict_string(g_ptr_array_index(*activations, i), "Name");

        if (!of || strcmp(of, name) != 0)
            g_ptr_array_remove_index(*activations, i);
    }
    if ((*activations)->len > newest)
        g_ptr_array_remove_range(*activations, 0, (*activations)->len - newest);
    /* A name that was mistyped is no service without a past. */
    if ((*activations)->len == 0 && newest > 0) {
        g_autoptr(Dict) service = NULL;

        return query_service(ctl, name, &service);
    }
    return CTL_DONE;
}
