/* SPDX-License-Identifier: MIT */
/* dbus-activatorctl status */
#include "ctl/bus.h"
#include "ctl/output.h"
#include "ctl/query.h"

#include <stdio.h>
#include <string.h>

#define LABEL     "%11s: "
#define INDENT    13
#define LOG_LINES 10
#define LOG_ASKED 50 /* blank ones among them */

static void field(const char *label, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* "      Label: value", the value made safe and cut to the width. */
static void field(const char *label, const char *format, ...)
{
    va_list arguments;
    g_autofree char *text = NULL;
    g_autofree char *fitted = NULL;

    va_start(arguments, format);
    text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    fitted = output_fitted(text, output_width() > INDENT ? output_width() - INDENT : 0);
    printf(LABEL "%s\n", label, fitted);
}

static void print_state(const struct dict *service)
{
    const char *state = dict_string(service, "State");
    enum colour colour = output_state_colour(state);
    uint64_t since = 0;
    g_autofree char *shown = output_fitted(state ? state : "unknown", 20);
    g_autofree char *coloured = output_coloured(colour, shown);

    printf(LABEL "%s", "State", coloured);
    if (!state || strcmp(state, "running") == 0)
        dict_number(service, "StartedUSec", &since);
    else if (strcmp(state, "starting") == 0)
        dict_number(service, "RequestedUSec", &since);
    else
        dict_number(service, "ExitUSec", &since);
    if (since) {
        g_autofree char *time = output_time(since);
        g_autofree char *ago = output_ago(since);
        g_autofree char *text = g_strdup_printf(" since %s; %s", time, ago);
        unsigned taken = INDENT + output_columns(shown);
        g_autofree char *fitted =
            output_fitted(text, output_width() > taken ? output_width() - taken : 0);

        fputs(fitted, stdout);
    }
    putchar('\n');
}

static void print_main_process(const struct dict *service, const GArray *processes)
{
    uint64_t pid = dict_count(service, "MainPID");
    const char *owner = dict_string(service, "Owner");

    for (guint i = 0; pid && processes && i < processes->len; i++) {
        const struct listed_process *p = &g_array_index(processes, struct listed_process, i);
        g_autofree char *program = g_strndup(p->command, strcspn(p->command, " "));
        g_autofree char *base = *program ? g_path_get_basename(program) : NULL;

        if (p->pid == pid && base) {
            field("Main PID", "%" G_GUINT64_FORMAT " (%s)%s%s", pid, base, owner ? ", owner " : "",
                  owner ? owner : "");
            return;
        }
    }
    if (pid)
        field("Main PID", "%" G_GUINT64_FORMAT "%s%s", pid, owner ? ", owner " : "",
              owner ? owner : "");
    else if (dict_count(service, "NProcesses"))
        field("Main PID", "none: processes remain without the name");
}

static void print_last_exit(const struct dict *service)
{
    const char *how = dict_string(service, "ExitHow");
    const char *name = dict_string(service, "ErrorName");
    const char *message = dict_string(service, "ErrorMessage");
    uint64_t when;

    if (how) {
        g_autofree char *end =
            output_end_of_process(how, (int64_t)dict_count(service, "ExitStatus"));

        if (dict_number(service, "ExitUSec", &when)) {
            g_autofree char *time = output_time(when);

            field("Last exit", "%s at %s", end, time);
        } else {
            field("Last exit", "%s", end);
        }
    }
    if (name && *name) {
        g_autofree char *text =
            message && *message ? g_strdup_printf("%s (%s)", message, name) : g_strdup(name);
        g_autofree char *wrapped = output_wrapped(text, INDENT, INDENT);

        /* Its end, a service's last words, is what is looked for: it may not be cut off. */
        printf(LABEL "%s\n", "Error", wrapped);
    }
}

/* The Exec line of services that only systemd can start. */
static bool is_false(const char *const *command)
{
    return command[0] && !command[1] &&
           (strcmp(command[0], "/bin/false") == 0 || strcmp(command[0], "/usr/bin/false") == 0);
}

static void print_start(const struct dict *service)
{
    const char *const *command = dict_strings(service, "Command");
    const char *user = dict_string(service, "User");
    uint64_t latency;

    if (command) {
        g_autofree char *line = g_strjoinv(" ", (char **)command);

        field("Command", "%s%s", line, is_false(command) ? " (only systemd can start it)" : "");
    }
    if (user)
        field("User", "%s", user);
    if (dict_number(service, "StartLatencyUSec", &latency)) {
        g_autofree char *text = output_duration(latency);

        field("Started in", "%s", text);
    }
    if (dict_count(service, "ActivationCount"))
        field("Activations", "%" G_GUINT64_FORMAT, dict_count(service, "ActivationCount"));
}

static void print_processes(const struct dict *service, const GArray *processes)
{
    uint64_t count = dict_count(service, "NProcesses");
    uint64_t adopted = dict_count(service, "NAdopted");
    uint64_t reaper = dict_count(service, "ReaperPID");
    g_autofree char *tree = NULL;
    GString *line = g_string_new(NULL);

    g_string_printf(line, "%" G_GUINT64_FORMAT, count);
    if (adopted)
        g_string_append_printf(line, " (%" G_GUINT64_FORMAT " adopted)", adopted);
    if (reaper)
        g_string_append_printf(line, ", reaper %" G_GUINT64_FORMAT, reaper);
    if (dict_count(service, "NRuns") > 1)
        g_string_append_printf(line, ", %" G_GUINT64_FORMAT " runs", dict_count(service, "NRuns"));
    if (count || reaper)
        field("Processes", "%s", line->str);
    g_string_free(line, TRUE);
    if (!processes || processes->len == 0)
        return;
    tree = tree_draw(processes, INDENT, output_width());
    fputs(tree, stdout);
}

/* The newest lines that say something. Their stamps are for machines; here a short local one leaves
 * more room for the words. */
static void print_log(char **lines)
{
    g_autoptr(GPtrArray) shown = g_ptr_array_new_with_free_func(g_free);

    for (; lines && *lines; lines++) {
        const char *text = NULL;
        g_autofree char *time = output_log_time(*lines, &text);
        g_autofree char *blank = g_strstrip(g_strdup(text));

        if (*blank)
            g_ptr_array_add(shown, g_strconcat(time, text, NULL));
    }
    if (shown->len > 0)
        putchar('\n');
    for (guint i = shown->len - MIN(shown->len, LOG_LINES); i < shown->len; i++) {
        g_autofree char *line = output_fitted(g_ptr_array_index(shown, i), output_width());

        puts(line);
    }
}

/* A question that may be refused to this caller (on the system bus) or come too late: then its
 * part is left out. */
static void ask_quietly(struct ctl *ctl, const char *name, GArray **processes, char ***lines)
{
    DBusError error = DBUS_ERROR_INIT;
    DBusMessage *call = query_call("ListProcesses", name);
    DBusMessage *reply = bus_call(ctl, call, NULL, &error);

    if (reply) {
        dbus_message_unref(reply);
        query_processes(ctl, name, processes);
    }
    dbus_error_free(&error);
    call = query_call("GetLog", name);
    dbus_message_append_args(call, DBUS_TYPE_UINT32, &(dbus_uint32_t){1}, DBUS_TYPE_INVALID);
    reply = bus_call(ctl, call, NULL, &error);
    if (reply) {
        dbus_message_unref(reply);
        query_log(ctl, name, LOG_ASKED, lines);
    }
    dbus_error_free(&error);
}

static void print_service(struct ctl *ctl, const char *name, const struct dict *service)
{
    const char *state = dict_string(service, "State");
    const char *file = dict_string(service, "ServiceFile");
    g_autofree char *dot = output_coloured(output_state_colour(state), output_signs()->dot);
    g_autofree char *title = output_fitted(name, output_width() > 2 ? output_width() - 2 : 0);
    g_autoptr(GArray) processes = NULL;
    g_auto(GStrv) lines = NULL;

    ask_quietly(ctl, name, &processes, &lines);
    printf("%s %s%s%s\n", dot, output_colour(COLOUR_BOLD), title, output_colour(COLOUR_NONE));
    field("Loaded", "%s", file ? file : "no service file");
    print_state(service);
    if (!dict_bool(service, "Managed") && dict_count(service, "MainPID"))
        field("Managed", "no: it was not started by this activator");
    print_main_process(service, processes);
    print_start(service);
    print_last_exit(service);
    print_processes(service, processes);
    print_log(lines);
}

static int status_of_service(struct ctl *ctl, const char *name)
{
    g_autoptr(Dict) service = NULL;
    const char *state;
    bool running;
    int code = query_service(ctl, name, &service);

    if (code != CTL_DONE)
        return code;
    state = dict_string(service, "State");
    running = state && strcmp(state, "running") == 0;
    if (ctl->json) {
        struct json json;

        json_begin(&json, true);
        dict_json(service, &json);
        code = json_print(&json);
    } else {
        output_pager_begin(ctl);
        print_service(ctl, name, service);
    }
    return code == CTL_DONE && !running ? CTL_NOT_RUNNING : code;
}

static uint64_t activator_pid(struct ctl *ctl)
{
    DBusError error = DBUS_ERROR_INIT;
    DBusMessage *call = bus_driver_call("GetConnectionUnixProcessID");
    g_autoptr(DBusMessage) reply = NULL;
    dbus_uint32_t pid = 0;

    bus_append_string(call, ACTIVATOR_NAME);
    reply = bus_call(ctl, call, NULL, &error);
    dbus_error_free(&error);
    if (reply)
        dbus_message_get_args(reply, NULL, DBUS_TYPE_UINT32, &pid, DBUS_TYPE_INVALID);
    return pid;
}

/* Which services failed: what somebody who asks for the whole wants to know first. */
static void print_failed(struct ctl *ctl)
{
    g_autoptr(GArray) services = NULL;
    g_autoptr(GString) names = g_string_new(NULL);

    if (query_services(ctl, &services) != CTL_DONE)
        return;
    for (guint i = 0; i < services->len; i++) {
        const struct listed_service *service = &g_array_index(services, struct listed_service, i);

        if (strcmp(service->state, "failed") == 0)
            g_string_append_printf(names, "%s%s", names->len ? " " : "", service->name);
    }
    if (names->len > 0) {
        g_autofree char *wrapped = output_wrapped(names->str, INDENT, INDENT);

        printf(LABEL "%s%s%s\n", "Failed", output_colour(COLOUR_RED), wrapped,
               output_colour(COLOUR_NONE));
    }
}

static void print_activator(struct ctl *ctl, const struct dict *properties)
{
    const char *version = dict_string(properties, "Version");
    const char *type = dict_string(properties, "BusType");
    const char *reaper = dict_string(properties, "ReaperKind");
    g_autofree char *dot = output_coloured(COLOUR_GREEN, output_signs()->dot);
    g_autofree char *safe_version = output_fitted(version ? version : "of unknown version", 40);
    uint64_t pid = activator_pid(ctl);

    printf("%s %sdbus-activator%s %s\n", dot, output_colour(COLOUR_BOLD),
           output_colour(COLOUR_NONE), safe_version);
    field("Bus", "%s%s%s", type ? type : "unknown", ctl->address ? ", " : "",
          ctl->address ? ctl->address : "");
    if (pid)
        field("Main PID", "%" G_GUINT64_FORMAT, pid);
    field("Reaper", "%s", reaper ? reaper : "unknown");
    field("Services", "%" G_GUINT64_FORMAT ", %" G_GUINT64_FORMAT " running",
          dict_count(properties, "NServices"), dict_count(properties, "NRunning"));
    print_failed(ctl);
}

static int status_of_activator(struct ctl *ctl)
{
    DBusMessage *call = dbus_message_new_method_call(ACTIVATOR_NAME, ACTIVATOR_PATH,
                                                     DBUS_INTERFACE_PROPERTIES, "GetAll");
    g_autoptr(DBusMessage) reply = NULL;
    g_autoptr(Dict) properties = NULL;
    DBusMessageIter iter;
    struct json json;
    int code;

    dbus_message_set_auto_start(call, FALSE);
    bus_append_string(call, ACTIVATOR_INTERFACE);
    code = bus_call_report(ctl, call, NULL, "a{sv}", &reply);
    if (code != CTL_DONE)
        return code;
    dbus_message_iter_init(reply, &iter);
    properties = dict_read(&iter);
    if (!ctl->json) {
        print_activator(ctl, properties);
        return CTL_DONE;
    }
    json_begin(&json, true);
    json_open(&json, '{');
    dict_json_members(properties, &json);
    if (activator_pid(ctl))
        json_unsigned_member(&json, "MainPID", activator_pid(ctl));
    json_close(&json, '}');
    return json_print(&json);
}

int cmd_status(struct ctl *ctl, const struct command *command, char **argv)
{
    int code = ctl_parse(ctl, command, NULL, &argv, 0, 1);

    if (code == CTL_DONE)
        code = bus_open(ctl);
    if (code != CTL_DONE)
        return code;
    return argv[1] ? status_of_service(ctl, argv[1]) : status_of_activator(ctl);
}
