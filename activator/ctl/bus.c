/* SPDX-License-Identifier: MIT */
#include "ctl/bus.h"

#include "ctl/output.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *bus_title(const struct ctl *ctl)
{
    if (ctl->address)
        return ctl->address;
    return ctl->session ? "session" : "system";
}

static DBusConnection *open_address(const char *address, DBusError *error)
{
    DBusConnection *bus = dbus_connection_open_private(address, error);

    if (!bus)
        return NULL;
    dbus_connection_set_exit_on_disconnect(bus, FALSE);
    if (!dbus_bus_register(bus, error)) {
        dbus_connection_close(bus);
        dbus_connection_unref(bus);
        return NULL;
    }
    return bus;
}

/* libdbus would start a new bus by itself (autolaunch) when no address is set; a client that
 * asks what is going on must not do that. */
static char *session_address(void)
{
    const char *set = getenv("DBUS_SESSION_BUS_ADDRESS");
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    g_autofree char *path = NULL;
    g_autofree char *escaped = NULL;

    if (set && *set)
        return g_strdup(set);
    if (!runtime || *runtime != '/')
        return NULL;
    path = g_build_filename(runtime, "bus", NULL);
    if (access(path, F_OK) != 0)
        return NULL;
    escaped = dbus_address_escape_value(path);
    return g_strdup_printf("unix:path=%s", escaped);
}

static DBusConnection *open_session(DBusError *error)
{
    g_autofree char *address = session_address();

    if (!address) {
        dbus_set_error_const(error, DBUS_ERROR_NO_SERVER,
                             "DBUS_SESSION_BUS_ADDRESS is not set and "
                             "$XDG_RUNTIME_DIR/bus does not exist");
        return NULL;
    }
    return open_address(address, error);
}

static DBusConnection *open_system(DBusError *error)
{
    DBusConnection *bus = dbus_bus_get_private(DBUS_BUS_SYSTEM, error);

    if (bus)
        dbus_connection_set_exit_on_disconnect(bus, FALSE);
    return bus;
}

static void open_bus(struct ctl *ctl, DBusError *error)
{
    const char *set = getenv("DBUS_SESSION_BUS_ADDRESS");

    if (!ctl->session && !ctl->system && !ctl->address) {
        ctl->session = set && *set;
        ctl->system = !ctl->session;
    }
    if (ctl->address)
        ctl->bus = open_address(ctl->address, error);
    else if (ctl->session)
        ctl->bus = open_session(error);
    else
        ctl->bus = open_system(error);
}

int bus_open(struct ctl *ctl)
{
    DBusError error = DBUS_ERROR_INIT;

    open_bus(ctl, &error);
    if (!ctl->bus) {
        ctl_complain("cannot reach the bus (%s): %s", bus_title(ctl), error.message);
        dbus_error_free(&error);
        return CTL_NO_ACTIVATOR;
    }
    return CTL_DONE;
}

void bus_close(struct ctl *ctl)
{
    if (!ctl->bus)
        return;
    dbus_connection_close(ctl->bus);
    dbus_connection_unref(ctl->bus);
    ctl->bus = NULL;
}

dbus_uint32_t bus_daemon_pid(struct ctl *ctl)
{
    DBusError error = DBUS_ERROR_INIT;
    DBusMessage *call = bus_driver_call("GetConnectionUnixProcessID");
    DBusMessage *reply;
    dbus_uint32_t pid = 0;

    bus_append_string(call, DBUS_SERVICE_DBUS);
    reply = bus_call(ctl, call, NULL, &error);
    dbus_error_free(&error);
    if (!reply)
        return 0;
    dbus_message_get_args(reply, NULL, DBUS_TYPE_UINT32, &pid, DBUS_TYPE_INVALID);
    dbus_message_unref(reply);
    return pid;
}

dbus_uint32_t bus_peek_daemon_pid(struct ctl *ctl)
{
    DBusError error = DBUS_ERROR_INIT;
    dbus_uint32_t pid = 0;

    open_bus(ctl, &error);
    dbus_error_free(&error);
    if (ctl->bus)
        pid = bus_daemon_pid(ctl);
    bus_close(ctl);
    return pid;
}

DBusMessage *bus_activator_call(const char *method)
{
    DBusMessage *call =
        dbus_message_new_method_call(ACTIVATOR_NAME, ACTIVATOR_PATH, ACTIVATOR_INTERFACE, method);

    g_assert(call);
    dbus_message_set_auto_start(call, FALSE);
    return call;
}

DBusMessage *bus_driver_call(const char *method)
{
    DBusMessage *call = dbus_message_new_method_call(DBUS_SERVICE_DBUS, DBUS_PATH_DBUS,
                                                     DBUS_INTERFACE_DBUS, method);

    g_assert(call);
    return call;
}

bool bus_append_string(DBusMessage *call, const char *text)
{
    /* libdbus takes a string that is not UTF-8 for a bug of its caller and aborts. */
    if (!g_utf8_validate(text, -1, NULL))
        return false;
    return dbus_message_append_args(call, DBUS_TYPE_STRING, &text, DBUS_TYPE_INVALID);
}

static DBusMessage *steal_reply(DBusPendingCall *pending, DBusError *error)
{
    DBusMessage *reply = dbus_pending_call_steal_reply(pending);

    if (!reply) {
        dbus_set_error_const(error, DBUS_ERROR_DISCONNECTED, "the bus closed the connection");
        return NULL;
    }
    if (dbus_set_error_from_message(error, reply)) {
        dbus_message_unref(reply);
        return NULL;
    }
    return reply;
}

DBusMessage *bus_call(struct ctl *ctl, DBusMessage *call, const char *progress, DBusError *error)
{
    DBusPendingCall *pending = NULL;
    DBusMessage *reply;
    gint64 began = g_get_monotonic_time();

    if (!dbus_connection_send_with_reply(ctl->bus, call, &pending, DBUS_TIMEOUT_INFINITE) ||
        !pending) {
        dbus_message_unref(call);
        dbus_set_error_const(error, DBUS_ERROR_DISCONNECTED, "the bus closed the connection");
        return NULL;
    }
    dbus_message_unref(call);
    while (!dbus_pending_call_get_completed(pending)) {
        if (!dbus_connection_read_write_dispatch(ctl->bus, progress ? 200 : -1))
            break;
        output_progress(progress, g_get_monotonic_time() - began);
    }
    output_progress_end();
    if (!dbus_pending_call_get_completed(pending)) {
        dbus_pending_call_cancel(pending);
        dbus_set_error_const(error, DBUS_ERROR_DISCONNECTED, "the bus closed the connection");
        reply = NULL;
    } else {
        reply = steal_reply(pending, error);
    }
    dbus_pending_call_unref(pending);
    return reply;
}

int bus_report(const struct ctl *ctl, const DBusError *error)
{
    static const char *const no_activator[] = {DBUS_ERROR_NAME_HAS_NO_OWNER,
                                               DBUS_ERROR_SERVICE_UNKNOWN};
    static const char *const no_bus[] = {DBUS_ERROR_DISCONNECTED, DBUS_ERROR_NO_SERVER};
    static const char *const said_enough[] = {ERROR_NO_SUCH_SERVICE, ERROR_NOT_RUNNING,
                                              ERROR_STILL_RUNNING};

    for (size_t i = 0; i < G_N_ELEMENTS(no_activator); i++) {
        if (strcmp(error->name, no_activator[i]) == 0) {
            ctl_complain("no activator serves this bus (%s): nobody owns %s", bus_title(ctl),
                         ACTIVATOR_NAME);
            return CTL_NO_ACTIVATOR;
        }
    }
    for (size_t i = 0; i < G_N_ELEMENTS(no_bus); i++) {
        if (strcmp(error->name, no_bus[i]) == 0) {
            ctl_complain("the bus (%s) is gone: %s", bus_title(ctl), error->message);
            return CTL_NO_ACTIVATOR;
        }
    }
    for (size_t i = 0; i < G_N_ELEMENTS(said_enough); i++) {
        if (strcmp(error->name, said_enough[i]) == 0) {
            ctl_complain("%s", error->message);
            return i == 0 ? CTL_NO_SERVICE : CTL_FAILED;
        }
    }
    /* The bus tells at length which of its rules it was; what helps is who may. */
    if (strcmp(error->name, DBUS_ERROR_ACCESS_DENIED) == 0 && ctl->system) {
        ctl_complain("permission denied: on the system bus this is root's (%s)", error->name);
        return CTL_FAILED;
    }
    ctl_complain("%s (%s)", error->message, error->name);
    return CTL_FAILED;
}

int bus_call_report(struct ctl *ctl, DBusMessage *call, const char *progress, const char *signature,
                    DBusMessage **reply)
{
    DBusError error = DBUS_ERROR_INIT;
    g_autofree char *method = g_strdup(dbus_message_get_member(call));
    int code;

    *reply = bus_call(ctl, call, progress, &error);
    if (!*reply) {
        code = bus_report(ctl, &error);
        dbus_error_free(&error);
        return code;
    }
    if (signature && !dbus_message_has_signature(*reply, signature)) {
        ctl_complain(
            "the activator answers %s with “%s” instead of “%s”; is it of another version?", method,
            dbus_message_get_signature(*reply), signature);
        dbus_message_unref(*reply);
        *reply = NULL;
        return CTL_FAILED;
    }
    return CTL_DONE;
}

char *bus_activator_owner(struct ctl *ctl)
{
    DBusError error = DBUS_ERROR_INIT;
    DBusMessage *call = bus_driver_call("GetNameOwner");
    DBusMessage *reply;
    const char *owner;
    char *copy = NULL;

    bus_append_string(call, ACTIVATOR_NAME);
    reply = bus_call(ctl, call, NULL, &error);
    if (!reply) {
        dbus_error_free(&error);
        return NULL;
    }
    if (dbus_message_get_args(reply, NULL, DBUS_TYPE_STRING, &owner, DBUS_TYPE_INVALID))
        copy = g_strdup(owner);
    dbus_message_unref(reply);
    return copy;
}
