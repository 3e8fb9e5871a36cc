/* SPDX-License-Identifier: MIT */
/* dbus-activatorctl kill */
#include "ctl/bus.h"
#include "ctl/output.h"
#include "ctl/query.h"

#include <signal.h>

static int kill_one(struct ctl *ctl, const char *name, dbus_int32_t number)
{
    g_autoptr(DBusMessage) reply = NULL;
    DBusMessage *call = query_call("KillService", name);

    if (!call)
        return CTL_NO_SERVICE;
    dbus_message_append_args(call, DBUS_TYPE_INT32, &number, DBUS_TYPE_INVALID);
    return bus_call_report(ctl, call, NULL, NULL, &reply);
}

int cmd_kill(struct ctl *ctl, const struct command *command, char **argv)
{
    g_autofree char *signal_name = NULL;
    const GOptionEntry options[] = {
        {"signal", 's', 0, G_OPTION_ARG_FILENAME, &signal_name,
         "The signal: a name with or without SIG, or a number (TERM)", "SIGNAL"},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    int number = SIGTERM;
    int worst = CTL_DONE;
    int code = ctl_parse(ctl, command, options, &argv, 1, -1);

    if (code != CTL_DONE)
        return code;
    if (signal_name)
        number = output_signal_number(signal_name);
    if (number < 0) {
        ctl_complain("kill: “%s” is no signal", signal_name);
        return CTL_USAGE;
    }
    code = bus_open(ctl);
    if (code != CTL_DONE)
        return code;
    for (char **name = argv + 1; *name; name++) {
        code = kill_one(ctl, *name, number);
        worst = MAX(worst, code);
        if (code == CTL_NO_ACTIVATOR)
            break;
    }
    return worst;
}
