/* SPDX-License-Identifier: MIT */
/* dbus-activatorctl reload and reexec */
#include "ctl/bus.h"
#include "ctl/output.h"
#include "ctl/value.h"

#include <stdio.h>
#include <string.h>

/* How long the successor may take to own the name. */
#define SUCCESSOR_WAIT ((gint64)15 * G_USEC_PER_SEC)

int cmd_reload(struct ctl *ctl, const struct command *command, char **argv)
{
    g_autoptr(DBusMessage) reply = NULL;
    int code = ctl_parse(ctl, command, NULL, &argv, 0, 0);

    if (code == CTL_DONE)
        code = bus_open(ctl);
    if (code != CTL_DONE)
        return code;
    return bus_call_report(ctl, bus_activator_call("Reload"), "Reloading", NULL, &reply);
}

static int await_successor(struct ctl *ctl, const char *before)
{
    gint64 began = g_get_monotonic_time();
    gint64 gone = 0;

    while (gone < SUCCESSOR_WAIT) {
        g_autofree char *owner = bus_activator_owner(ctl);

        if (owner && strcmp(owner, before) != 0)
            break;
        if (!dbus_connection_get_is_connected(ctl->bus)) {
            ctl_complain("the bus (%s) is gone", bus_title(ctl));
            return CTL_NO_ACTIVATOR;
        }
        g_usleep(20000);
        gone = g_get_monotonic_time() - began;
        output_progress("Waiting for the new activator", gone);
    }
    output_progress_end();
    if (gone < SUCCESSOR_WAIT)
        return CTL_DONE;
    ctl_complain("no new activator has taken over within %d s",
                 (int)(SUCCESSOR_WAIT / G_USEC_PER_SEC));
    return CTL_FAILED;
}

int cmd_reexec(struct ctl *ctl, const struct command *command, char **argv)
{
    g_autoptr(DBusMessage) reply = NULL;
    g_autofree char *before = NULL;
    DBusError error = DBUS_ERROR_INIT;
    int code = ctl_parse(ctl, command, NULL, &argv, 0, 0);

    if (code == CTL_DONE)
        code = bus_open(ctl);
    if (code != CTL_DONE)
        return code;
    before = bus_activator_owner(ctl);
    reply = bus_call(ctl, bus_activator_call("Reexec"), NULL, &error);
    /* It may leave the bus before its answer is out: then only the successor tells. */
    if (!reply && !(before && dbus_error_has_name(&error, DBUS_ERROR_NO_REPLY))) {
        code = bus_report(ctl, &error);
        dbus_error_free(&error);
        return code;
    }
    dbus_error_free(&error);
    return await_successor(ctl, before ? before : "");
}
