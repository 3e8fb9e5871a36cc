/* SPDX-License-Identifier: MIT */
/* dbus-activatorctl list */
#include "ctl/bus.h"
#include "ctl/output.h"
#include "ctl/query.h"

#include <stdio.h>
#include <string.h>

/* Dot, name, state, pid: what is not the name takes 22 columns. */
static void print_row(const struct listed_service *row, unsigned name_columns)
{
    g_autofree char *name = output_fitted(row->name, name_columns);
    g_autofree char *state = output_fitted(row->state, 12);
    enum colour colour = output_state_colour(row->state);
    g_autofree char *dot = output_coloured(colour, output_signs()->dot);
    int gap = (int)name_columns - (int)output_columns(name);
    bool inactive = strcmp(row->state, "inactive") == 0;

    printf("%s %s%*s  %s%s%s", inactive ? " " : dot, name, MAX(gap, 0), "",
           colour ? output_colour(colour) : "", state, colour ? output_colour(COLOUR_NONE) : "");
    if (row->pid)
        printf("%*s  %7u", MAX(8 - (int)output_columns(state), 0), "", row->pid);
    putchar('\n');
}

static void print_rows(const GArray *rows)
{
    unsigned widest = 4;
    unsigned running = 0;

    for (guint i = 0; i < rows->len; i++) {
        const struct listed_service *row = &g_array_index(rows, struct listed_service, i);
        g_autofree char *name = output_fitted(row->name, 0);

        widest = MAX(widest, output_columns(name));
        running += strcmp(row->state, "running") == 0;
    }
    if (output_width())
        widest = MIN(widest, output_width() - MIN(output_width() - 16, 22));
    /* For people: a program that reads this gets rows alone. */
    if (output_width())
        printf("%s  %-*s  %-8s  %7s%s\n", output_colour(COLOUR_DIM), (int)widest, "name", "state",
               "pid", output_colour(COLOUR_NONE));
    for (guint i = 0; i < rows->len; i++)
        print_row(&g_array_index(rows, struct listed_service, i), widest);
    if (output_width())
        printf("%s%u services, %u running%s\n", output_colour(COLOUR_DIM), rows->len, running,
               output_colour(COLOUR_NONE));
}

static void print_names(const GArray *rows)
{
    for (guint i = 0; i < rows->len; i++) {
        g_autofree char *name =
            output_fitted(g_array_index(rows, struct listed_service, i).name, 0);

        puts(name);
    }
}

/* An activator without DescribeServices: one call for each service. Services that vanish
 * meanwhile are left out. */
static int describe_each(struct ctl *ctl, struct json *json)
{
    g_autoptr(GArray) rows = NULL;
    int code = query_services(ctl, &rows);

    if (code != CTL_DONE)
        return code;
    for (guint i = 0; i < rows->len; i++) {
        DBusMessage *call = bus_activator_call("GetService");
        DBusError error = DBUS_ERROR_INIT;
        g_autoptr(DBusMessage) reply = NULL;
        g_autoptr(Dict) dict = NULL;
        DBusMessageIter iter;

        bus_append_string(call, g_array_index(rows, struct listed_service, i).name);
        reply = bus_call(ctl, call, NULL, &error);
        if (!reply && dbus_error_has_name(&error, ERROR_NO_SUCH_SERVICE)) {
            dbus_error_free(&error);
            continue;
        }
        if (!reply) {
            code = bus_report(ctl, &error);
            dbus_error_free(&error);
            return code;
        }
        if (!dbus_message_has_signature(reply, "a{sv}"))
            continue;
        dbus_message_iter_init(reply, &iter);
        dict = dict_read(&iter);
        dict_json(dict, json);
    }
    return CTL_DONE;
}

static int describe_all(struct ctl *ctl, struct json *json)
{
    DBusError error = DBUS_ERROR_INIT;
    g_autoptr(DBusMessage) reply =
        bus_call(ctl, bus_activator_call("DescribeServices"), NULL, &error);
    g_autoptr(GPtrArray) all = NULL;
    int code;

    if (!reply && dbus_error_has_name(&error, DBUS_ERROR_UNKNOWN_METHOD)) {
        dbus_error_free(&error);
        return describe_each(ctl, json);
    }
    if (!reply) {
        code = bus_report(ctl, &error);
        dbus_error_free(&error);
        return code;
    }
    if (!dbus_message_has_signature(reply, "aa{sv}"))
        return describe_each(ctl, json);
    all = dict_read_all(reply);
    for (guint i = 0; i < all->len; i++)
        dict_json(g_ptr_array_index(all, i), json);
    return CTL_DONE;
}

static int list_json(struct ctl *ctl)
{
    struct json json;
    int code;

    json_begin(&json, true);
    json_open(&json, '[');
    code = describe_all(ctl, &json);
    json_close(&json, ']');
    if (code == CTL_DONE)
        return json_print(&json);
    g_string_free(json.text, TRUE);
    return code;
}

int cmd_list(struct ctl *ctl, const struct command *command, char **argv)
{
    gboolean names = FALSE;
    const GOptionEntry options[] = {
        {"names", 0, 0, G_OPTION_ARG_NONE, &names, "Print the bus names alone", NULL},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    g_autoptr(GArray) rows = NULL;
    int code = ctl_parse(ctl, command, options, &argv, 0, 0);

    if (code == CTL_DONE && names && ctl->json) {
        ctl_complain("list: --names and --json exclude each other");
        return CTL_USAGE;
    }
    if (code == CTL_DONE)
        code = bus_open(ctl);
    if (code != CTL_DONE)
        return code;
    if (ctl->json)
        return list_json(ctl);
    code = query_services(ctl, &rows);
    if (code != CTL_DONE)
        return code;
    if (names) {
        print_names(rows);
    } else {
        output_pager_begin(ctl);
        print_rows(rows);
    }
    return CTL_DONE;
}
