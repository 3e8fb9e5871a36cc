/* SPDX-License-Identifier: MIT */
/* dbus-activatorctl stop */
#include "ctl/bus.h"
#include "ctl/query.h"

static int stop_one(struct ctl *ctl, const char *name)
{
    g_autoptr(DBusMessage) reply = NULL;
    g_autofree char *progress = g_strdup_printf("Stopping %s", name);
    DBusMessage *call = query_call("StopService", name);

    if (!call)
        return CTL_NO_SERVICE;
    return bus_call_report(ctl, call, progress, NULL, &reply);
}

static int stop_all(struct ctl *ctl)
{
    g_autoptr(DBusMessage) reply = NULL;
    char **survivors = NULL;
    int length = 0;
    int code =
        bus_call_report(ctl, bus_activator_call("StopAll"), "Stopping all services", NULL, &reply);

    if (code != CTL_DONE)
        return code;
    if (!dbus_message_get_args(reply, NULL, DBUS_TYPE_ARRAY, DBUS_TYPE_STRING, &survivors, &length,
                               DBUS_TYPE_INVALID))
        return CTL_DONE;
    for (int i = 0; i < length; i++)
        ctl_complain("still running: %s", survivors[i]);
    dbus_free_string_array(survivors);
    return length > 0 ? CTL_FAILED : CTL_DONE;
}

int cmd_stop(struct ctl *ctl, const struct command *command, char **argv)
{
    gboolean all = FALSE;
    const GOptionEntry options[] = {
        {"all", 'a', 0, G_OPTION_ARG_NONE, &all, "Stop every service of the activator", NULL},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    int code = ctl_parse(ctl, command, options, &argv, 0, -1);
    int worst = CTL_DONE;

    if (code != CTL_DONE)
        return code;
    if (all == (argv[1] != NULL)) {
        ctl_complain("stop: either names or --all");
        return CTL_USAGE;
    }
    code = bus_open(ctl);
    if (code != CTL_DONE)
        return code;
    if (all)
        return stop_all(ctl);
    for (char **name = argv + 1; *name; name++) {
        code = stop_one(ctl, *name);
        worst = MAX(worst, code);
        if (code == CTL_NO_ACTIVATOR)
            break;
    }
    return worst;
}
