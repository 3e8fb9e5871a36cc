/* SPDX-License-Identifier: MIT */
/* dbus-activatorctl start: a start like any client's, through the bus. */
#include "ctl/bus.h"
#include "ctl/output.h"
#include "ctl/value.h"

#include <stdio.h>
#include <string.h>

/* Longest wait for the activator to look at the disk. */
#define LOOK_MS         2000
#define ALREADY_RUNNING 2 /* DBUS_START_REPLY_ALREADY_RUNNING */

static int report_failure(const struct ctl *ctl, const char *name, const DBusError *error)
{
    if (dbus_error_has_name(error, DBUS_ERROR_SERVICE_UNKNOWN)) {
        ctl_complain("There is no service “%s”: no service file has this name", name);
        return CTL_NO_SERVICE;
    }
    if (dbus_error_has_name(error, DBUS_ERROR_DISCONNECTED))
        return bus_report(ctl, error);
    if (strstr(error->message, name))
        ctl_complain("%s (%s)", error->message, error->name);
    else
        ctl_complain("%s: %s (%s)", name, error->message, error->name);
    return CTL_FAILED;
}

static void report_success(const struct ctl *ctl, const char *name, dbus_uint32_t result,
                           gint64 elapsed)
{
    g_autofree char *safe_name = output_fitted(name, 0);
    g_autofree char *duration = output_duration((uint64_t)elapsed);

    if (ctl->json)
        return;
    if (result == ALREADY_RUNNING)
        printf("%s: already running\n", safe_name);
    else
        printf("%s: started in %s\n", safe_name, duration);
}

/* An activator that is asked for a service tells the bus of files that came just now: else the bus
 * could start the service itself. There need not be an activator, nor need it answer. */
static void have_it_look(struct ctl *ctl, const char *name)
{
    DBusMessage *call = bus_activator_call("GetService");
    DBusMessage *reply = NULL;

    bus_append_string(call, name);
    reply = dbus_connection_send_with_reply_and_block(ctl->bus, call, LOOK_MS, NULL);
    if (reply)
        dbus_message_unref(reply);
    dbus_message_unref(call);
}

static int start_one(struct ctl *ctl, const char *name)
{
    DBusMessage *call = bus_driver_call("StartServiceByName");
    DBusError error = DBUS_ERROR_INIT;
    g_autoptr(DBusMessage) reply = NULL;
    g_autofree char *progress = g_strdup_printf("Starting %s", name);
    gint64 began = 0;
    dbus_uint32_t result = 0;
    int code;

    if (!bus_append_string(call, name)) {
        dbus_message_unref(call);
        ctl_complain("There is no service “%s”: it is not UTF-8", name);
        return CTL_NO_SERVICE;
    }
    dbus_message_append_args(call, DBUS_TYPE_UINT32, &result, DBUS_TYPE_INVALID);
    have_it_look(ctl, name);
    began = g_get_monotonic_time();
    reply = bus_call(ctl, call, progress, &error);
    if (!reply) {
        code = report_failure(ctl, name, &error);
        dbus_error_free(&error);
        return code;
    }
    dbus_message_get_args(reply, NULL, DBUS_TYPE_UINT32, &result, DBUS_TYPE_INVALID);
    report_success(ctl, name, result, g_get_monotonic_time() - began);
    return CTL_DONE;
}

int cmd_start(struct ctl *ctl, const struct command *command, char **argv)
{
    int code = ctl_parse(ctl, command, NULL, &argv, 1, -1);
    int worst = CTL_DONE;

    if (code == CTL_DONE)
        code = bus_open(ctl);
    if (code != CTL_DONE)
        return code;
    for (char **name = argv + 1; *name; name++) {
        code = start_one(ctl, *name);
        worst = MAX(worst, code);
        if (code == CTL_NO_ACTIVATOR)
            break;
    }
    return worst;
}
