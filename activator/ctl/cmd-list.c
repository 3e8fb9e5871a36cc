/* SPDX-License-Identifier: MIT */
/* dbus-activatorctl list */
#include "ctl/bus.h"
#include "ctl/output.h"
#include "ctl/value.h"

#include <stdio.h>
#include <string.h>

struct row {
    char *name;
    char *state;
    dbus_uint32_t pid;
};

static void row_clear(void *data)
{
    struct row *row = data;

    g_free(row->name);
    g_free(row->state);
}

static GArray *read_rows(DBusMessage *reply)
{
    GArray *rows = g_array_new(FALSE, TRUE, sizeof(struct row));
    DBusMessageIter arguments;
    DBusMessageIter item;

    g_array_set_clear_func(rows, row_clear);
    dbus_message_iter_init(reply, &arguments);
    dbus_message_iter_recurse(&arguments, &item);
    while (dbus_message_iter_get_arg_type(&item) == DBUS_TYPE_STRUCT) {
        DBusMessageIter field;
        struct row row = {0};
        const char *text;

        dbus_message_iter_recurse(&item, &field);
        dbus_message_iter_get_basic(&field, &text);
        row.name = g_strdup(text);
        dbus_message_iter_next(&field);
        dbus_message_iter_get_basic(&field, &text);
        row.state = g_strdup(text);
        dbus_message_iter_next(&field);
        dbus_message_iter_get_basic(&field, &row.pid);
        g_array_append_val(rows, row);
        dbus_message_iter_next(&item);
    }
    return rows;
}

/* Dot, name, state, pid: what is not the name takes 22 columns. */
static void print_row(const struct row *row, unsigned name_columns)
{
    g_autofree char *name = output_fitted(row->name, name_columns);
    g_autofree char *state = output_fitted(row->state, 12);
    enum colour colour = output_state_colour(row->state);
    g_autofree char *dot = output_coloured(colour, output_signs()->dot);
    int gap = (int)name_columns - (int)output_columns(name);
    bool inactive = strcmp(row->state, "inactive") == 0;

    printf("%s %s%*s  %s%-8s%s", inactive ? " " : dot, name, MAX(gap, 0), "",
           colour ? output_colour(colour) : "", state, colour ? output_colour(COLOUR_NONE) : "");
    if (row->pid)
        printf("  %7u", row->pid);
    putchar('\n');
}

static void print_rows(const GArray *rows)
{
    unsigned widest = 4;
    unsigned running = 0;

    for (guint i = 0; i < rows->len; i++) {
        const struct row *row = &g_array_index(rows, struct row, i);
        g_autofree char *name = output_fitted(row->name, 0);

        widest = MAX(widest, output_columns(name));
        running += strcmp(row->state, "running") == 0;
    }
    if (output_width())
        widest = MIN(widest, output_width() - MIN(output_width() - 16, 22));
    for (guint i = 0; i < rows->len; i++)
        print_row(&g_array_index(rows, struct row, i), widest);
    if (output_width())
        printf("%s%u services, %u running%s\n", output_colour(COLOUR_DIM), rows->len, running,
               output_colour(COLOUR_NONE));
}

static void print_names(const GArray *rows)
{
    for (guint i = 0; i < rows->len; i++) {
        g_autofree char *name = output_fitted(g_array_index(rows, struct row, i).name, 0);

        puts(name);
    }
}

/* An activator without DescribeServices: one call for each service. Services that vanish
 * meanwhile are left out. */
static int describe_each(struct ctl *ctl, struct json *json)
{
    g_autoptr(DBusMessage) list = NULL;
    g_autoptr(GArray) rows = NULL;
    int code = bus_call_report(ctl, bus_activator_call("ListServices"), NULL, "a(ssu)", &list);

    if (code != CTL_DONE)
        return code;
    rows = read_rows(list);
    for (guint i = 0; i < rows->len; i++) {
        DBusMessage *call = bus_activator_call("GetService");
        DBusError error = DBUS_ERROR_INIT;
        g_autoptr(DBusMessage) reply = NULL;
        g_autoptr(Dict) dict = NULL;
        DBusMessageIter iter;

        bus_append_string(call, g_array_index(rows, struct row, i).name);
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
    g_autoptr(DBusMessage) reply = NULL;
    g_autoptr(GArray) rows = NULL;
    int code = ctl_parse(ctl, command, options, &argv, 0, 0);

    if (code == CTL_DONE)
        code = bus_open(ctl);
    if (code != CTL_DONE)
        return code;
    if (ctl->json)
        return list_json(ctl);
    code = bus_call_report(ctl, bus_activator_call("ListServices"), NULL, "a(ssu)", &reply);
    if (code != CTL_DONE)
        return code;
    rows = read_rows(reply);
    if (names) {
        print_names(rows);
    } else {
        output_pager_begin(ctl);
        print_rows(rows);
    }
    return CTL_DONE;
}
