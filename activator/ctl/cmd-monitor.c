/* SPDX-License-Identifier: MIT */
/* dbus-activatorctl monitor */
#include "ctl/bus.h"
#include "ctl/follow.h"
#include "ctl/output.h"
#include "ctl/value.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* One event, whichever: what does not belong to its kind is NULL or 0. */
struct event {
    const char *kind;
    const char *name;
    const char *old_state;
    const char *new_state;
    const char *error_name;
    const char *error_message;
    const char *how;
    dbus_uint64_t run;
    dbus_uint32_t pid;
    dbus_int32_t status;
    dbus_bool_t adopted;
};

static bool read_event(DBusMessage *message, struct event *e)
{
    const char *kind = dbus_message_get_member(message);

    *e = (struct event){.kind = kind};
    if (strcmp(kind, "ServiceStateChanged") == 0)
        return dbus_message_get_args(message, NULL, DBUS_TYPE_STRING, &e->name, DBUS_TYPE_STRING,
                                     &e->old_state, DBUS_TYPE_STRING, &e->new_state,
                                     DBUS_TYPE_INVALID);
    if (strcmp(kind, "ServiceExited") == 0)
        return dbus_message_get_args(message, NULL, DBUS_TYPE_STRING, &e->name, DBUS_TYPE_UINT64,
                                     &e->run, DBUS_TYPE_UINT32, &e->pid, DBUS_TYPE_STRING, &e->how,
                                     DBUS_TYPE_INT32, &e->status, DBUS_TYPE_INVALID);
    if (strcmp(kind, "ProcessExited") == 0)
        return dbus_message_get_args(message, NULL, DBUS_TYPE_STRING, &e->name, DBUS_TYPE_UINT64,
                                     &e->run, DBUS_TYPE_UINT32, &e->pid, DBUS_TYPE_STRING, &e->how,
                                     DBUS_TYPE_INT32, &e->status, DBUS_TYPE_BOOLEAN, &e->adopted,
                                     DBUS_TYPE_INVALID);
    if (strcmp(kind, "ActivationFailed") == 0)
        return dbus_message_get_args(message, NULL, DBUS_TYPE_STRING, &e->name, DBUS_TYPE_STRING,
                                     &e->error_name, DBUS_TYPE_STRING, &e->error_message,
                                     DBUS_TYPE_INVALID);
    return false;
}

static void print_json(const struct event *e)
{
    struct json json;

    json_begin(&json, false);
    json_open(&json, '{');
    json_string_member(&json, "event", e->kind);
    json_unsigned_member(&json, "time_usec", (uint64_t)g_get_real_time());
    json_string_member(&json, "name", e->name);
    json_string_member(&json, "old_state", e->old_state);
    json_string_member(&json, "new_state", e->new_state);
    if (e->how) {
        json_unsigned_member(&json, "run", e->run);
        json_unsigned_member(&json, "pid", e->pid);
        json_string_member(&json, "how", e->how);
        json_key(&json, "status");
        json_signed(&json, e->status);
    }
    if (strcmp(e->kind, "ProcessExited") == 0) {
        json_key(&json, "adopted");
        json_bool(&json, e->adopted);
    }
    json_string_member(&json, "error_name", e->error_name);
    json_string_member(&json, "error_message", e->error_message);
    json_close(&json, '}');
    json_print(&json);
}

static char *describe(const struct event *e)
{
    g_autofree char *end = e->how ? output_end_of_process(e->how, e->status) : NULL;

    if (e->new_state)
        return g_strdup_printf("%s, was %s", e->new_state, e->old_state);
    if (e->error_name)
        return g_strdup_printf("activation failed: %s (%s)", e->error_message, e->error_name);
    if (strcmp(e->kind, "ServiceExited") == 0)
        return g_strdup_printf("main process %u %s", e->pid, end);
    return g_strdup_printf("process %u %s%s", e->pid, end, e->adopted ? " (adopted)" : "");
}

static enum colour colour_of(const struct event *e)
{
    if (e->new_state)
        return output_state_colour(e->new_state);
    if (e->error_name)
        return COLOUR_RED;
    return strcmp(e->how, "exited") == 0 && e->status == 0 ? COLOUR_NONE : COLOUR_YELLOW;
}

static void print_line(const struct event *e)
{
    g_autofree char *time = output_time_of_day((uint64_t)g_get_real_time());
    g_autofree char *name = output_fitted(e->name, 0);
    g_autofree char *text = describe(e);
    g_autofree char *safe_text = output_fitted(text, 0);
    g_autofree char *coloured = output_coloured(colour_of(e), safe_text);

    printf("%s %s: %s\n", time, name, coloured);
}

int cmd_monitor(struct ctl *ctl, const struct command *command, char **argv)
{
    struct follow follow = {.signals = -1};
    DBusMessage *message = NULL;
    int code = ctl_parse(ctl, command, NULL, &argv, 0, 0);

    if (code == CTL_DONE)
        code = bus_open(ctl);
    if (code == CTL_DONE)
        code = follow_begin(&follow, ctl, true);
    while (code == CTL_DONE) {
        struct event event;

        if (follow_wait(&follow, -1, -1, &message) == FOLLOW_END) {
            code = follow.code;
            break;
        }
        if (!message)
            continue;
        if (read_event(message, &event)) {
            if (ctl->json)
                print_json(&event);
            else
                print_line(&event);
        }
        dbus_message_unref(message);
        message = NULL;
        code = output_flush();
        if (ferror(stdout))
            break;
    }
    follow_end(&follow);
    return code;
}
