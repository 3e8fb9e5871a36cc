/* SPDX-License-Identifier: MIT */
/* dbus-activatorctl processes */
#include "ctl/bus.h"
#include "ctl/output.h"
#include "ctl/query.h"

#include <stdio.h>

static int print_json(const GArray *processes)
{
    struct json json;

    json_begin(&json, true);
    json_open(&json, '[');
    for (guint i = 0; i < processes->len; i++) {
        const struct listed_process *p = &g_array_index(processes, struct listed_process, i);

        json_open(&json, '{');
        json_unsigned_member(&json, "pid", p->pid);
        json_unsigned_member(&json, "ppid", p->parent);
        json_string_member(&json, "command", p->command);
        json_key(&json, "adopted");
        json_bool(&json, p->adopted);
        json_close(&json, '}');
    }
    json_close(&json, ']');
    return json_print(&json);
}

int cmd_processes(struct ctl *ctl, const struct command *command, char **argv)
{
    g_autoptr(GArray) processes = NULL;
    g_autofree char *tree = NULL;
    int code = ctl_parse(ctl, command, NULL, &argv, 1, 1);

    if (code == CTL_DONE)
        code = bus_open(ctl);
    if (code == CTL_DONE)
        code = query_processes(ctl, argv[1], &processes);
    if (code != CTL_DONE)
        return code;
    if (ctl->json)
        return print_json(processes);
    if (processes->len == 0)
        output_nothing("no processes");
    tree = tree_draw(processes, 0, output_width());
    fputs(tree, stdout);
    return CTL_DONE;
}
