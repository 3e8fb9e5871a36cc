/* SPDX-License-Identifier: MIT */
/* dbus-activatorctl: argv, the table of commands, nothing else. */
#include "config.h"

#include "ctl/bus.h"
#include "ctl/output.h"

#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROGRAM "dbus-activatorctl"

static const struct command commands[] = {
    {"list", "", "Show every service: state, name, main process", cmd_list},
    {"status", "[NAME]", "Show one service, or the activator itself", cmd_status},
    {"processes", "NAME", "Show the tree of a service's processes", cmd_processes},
    {"start", "NAME…", "Start a service through the bus and wait", cmd_start},
    {"stop", "NAME…", "Stop a service (--all: every one) and wait", cmd_stop},
    {"kill", "NAME…", "Send a signal to every process of a service", cmd_kill},
    {"log", "NAME", "Show what a service has written", cmd_log},
    {"monitor", "", "Show events as they happen", cmd_monitor},
    {"history", "[NAME]", "Show activations and where their time went", cmd_history},
    {"plot", "[NAME]", "Draw a timeline of the activations as SVG", cmd_plot},
    {"reload", "", "Have the activator read the service files again", cmd_reload},
    {"reexec", "", "Have the installed activator replace the running one", cmd_reexec},
    {"check", "[FILE…]", "Look for mistakes in the service files a bus reads", cmd_check},
};

void ctl_complain(const char *format, ...)
{
    va_list arguments;
    g_autofree char *text = NULL;
    g_autofree char *safe = NULL;

    va_start(arguments, format);
    text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    safe = output_safe(text);
    fprintf(stderr, PROGRAM ": %s\n", safe);
}

static void general_options(struct ctl *ctl, GOptionEntry entries[6])
{
    const GOptionEntry filled[6] = {
        {"session", 0, 0, G_OPTION_ARG_NONE, &ctl->session, "Use the session bus", NULL},
        {"system", 0, 0, G_OPTION_ARG_NONE, &ctl->system, "Use the system bus", NULL},
        {"address", 0, 0, G_OPTION_ARG_FILENAME, &ctl->address, "Use the bus at ADDRESS",
         "ADDRESS"},
        {"json", 0, 0, G_OPTION_ARG_NONE, &ctl->json, "Print JSON", NULL},
        {"no-pager", 0, 0, G_OPTION_ARG_NONE, &ctl->no_pager, "Do not use a pager", NULL},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };

    memcpy(entries, filled, sizeof(filled));
}

static int usage(const char *text, const char *command)
{
    ctl_complain("%s; see “" PROGRAM "%s%s --help”", text, command ? " " : "",
                 command ? command : "");
    return CTL_USAGE;
}

/* NULL: there is no such option, or it is another's. */
static const GOptionEntry *find_option(const GOptionEntry *options, const char *name, char letter)
{
    for (; options && options->long_name; options++) {
        if (name ? strcmp(options->long_name, name) == 0 : options->short_name == letter)
            return options;
    }
    return NULL;
}

static bool takes_value(const GOptionEntry *option)
{
    return option && option->arg != G_OPTION_ARG_NONE;
}

/* Where in a word of short options the value of the last one begins; 0: none of them has one. */
static size_t value_at(const GOptionEntry *options, const char *word)
{
    for (size_t i = 1; word[i]; i++) {
        const GOptionEntry *option = find_option(options, NULL, word[i]);

        if (!option)
            return 0;
        if (takes_value(option))
            return i + 1;
    }
    return 0;
}

/* The words with “-n3” as “-n 3”, which is what GLib understands. The array is the caller's; the
 * words of argv are in it. */
static char **values_apart(const GOptionEntry *options, const GOptionEntry *general, char **argv)
{
    GPtrArray *words = g_ptr_array_new();
    bool ended = false;

    for (; *argv; argv++) {
        char *word = *argv;
        bool value_follows = false;

        g_ptr_array_add(words, word);
        ended = ended || strcmp(word, "--") == 0;
        if (!ended && g_str_has_prefix(word, "--")) {
            value_follows = takes_value(find_option(options, word + 2, '\0')) ||
                            takes_value(find_option(general, word + 2, '\0'));
        } else if (!ended && *word == '-') {
            size_t at = value_at(options, word);

            value_follows = at > 0 && !word[at];
            if (at > 0 && word[at]) {
                g_ptr_array_add(words, g_strdup(word + at));
                word[at] = '\0';
            }
        }
        if (value_follows && argv[1])
            g_ptr_array_add(words, *++argv);
    }
    g_ptr_array_add(words, NULL);
    return (char **)g_ptr_array_free(words, FALSE);
}

int ctl_parse(struct ctl *ctl, const struct command *command, const GOptionEntry *options,
              char ***argv, int min, int max)
{
    g_autofree char *parameter = g_strconcat(command->name, " ", command->arguments, NULL);
    g_autoptr(GOptionContext) context = g_option_context_new(parameter);
    g_autoptr(GError) error = NULL;
    GOptionGroup *general =
        g_option_group_new("general", "General options:", "Show the general options", NULL, NULL);
    GOptionEntry entries[6];
    int count;

    general_options(ctl, entries);
    g_option_group_add_entries(general, entries);
    g_option_context_set_summary(context, command->summary);
    if (options)
        g_option_context_add_main_entries(context, options, NULL);
    g_option_context_add_group(context, general);
    *argv = ctl->words = values_apart(options, entries, *argv);
    if (!g_option_context_parse_strv(context, argv, &error))
        return usage(error->message, command->name);
    /* GLib leaves the "--" that ends the options where it stands. */
    if ((*argv)[0] && (*argv)[1] && strcmp((*argv)[1], "--") == 0) {
        g_free((*argv)[1]);
        memmove(*argv + 1, *argv + 2, sizeof(char *) * g_strv_length(*argv + 2) + sizeof(char *));
    }
    count = (int)g_strv_length(*argv) - 1;
    if (count < min)
        return usage("an argument is missing", command->name);
    if (max >= 0 && count > max) {
        g_autofree char *text = g_strdup_printf("“%s” is one argument too many", (*argv)[1 + max]);

        return usage(text, command->name);
    }
    if (ctl->address && !*ctl->address)
        return usage("--address is empty", command->name);
    if (ctl->session + ctl->system + (ctl->address != NULL) > 1)
        return usage("--session, --system and --address exclude each other", command->name);
    return CTL_DONE;
}

bool ctl_parse_count(const char *text, unsigned *number)
{
    guint64 value;

    if (!g_ascii_string_to_unsigned(text, 10, 0, G_MAXUINT32, &value, NULL))
        return false;
    *number = (unsigned)value;
    return true;
}

static char *list_of_commands(void)
{
    GString *text = g_string_new("Commands:\n");

    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        g_autofree char *left = g_strconcat(commands[i].name, " ", commands[i].arguments, NULL);
        int gap = 20 - (int)g_utf8_strlen(left, -1);

        g_string_append_printf(text, "  %s%*s%s\n", left, MAX(gap, 1), "", commands[i].summary);
    }
    g_string_append(text, "\nExit status: 0 done, 1 failed, 2 usage, 3 not running (status),\n"
                          "4 no such service, 5 no activator on that bus.\n"
                          "“" PROGRAM " COMMAND --help” shows a command's options.");
    return g_string_free(text, FALSE);
}

/* The options before the command. What follows it is left alone (strict POSIX). */
static int parse_general(struct ctl *ctl, char ***argv)
{
    g_autoptr(GOptionContext) context = g_option_context_new("COMMAND …");
    g_autoptr(GError) error = NULL;
    g_autofree char *list = list_of_commands();
    gboolean version = FALSE;
    GOptionEntry entries[6];
    const GOptionEntry own[] = {
        {"version", 0, 0, G_OPTION_ARG_NONE, &version, "Print the version", NULL},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };

    general_options(ctl, entries);
    g_option_context_set_strict_posix(context, TRUE);
    g_option_context_set_summary(context, "Shows and controls the services of a message bus.");
    g_option_context_set_description(context, list);
    g_option_context_add_main_entries(context, entries, NULL);
    g_option_context_add_main_entries(context, own, NULL);
    if (!g_option_context_parse_strv(context, argv, &error))
        return usage(error->message, NULL);
    if (version) {
        puts(PROGRAM " " VERSION);
        exit(output_flush());
    }
    return CTL_DONE;
}

static int run(struct ctl *ctl, char **argv)
{
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        if (strcmp(commands[i].name, argv[0]) == 0)
            return commands[i].run(ctl, &commands[i], argv);
    }
    g_autofree char *text = g_strdup_printf("unknown command “%s”", argv[0]);

    return usage(text, NULL);
}

int main(int argc, char **argv)
{
    struct ctl ctl = {0};
    /* Both are left to the end of the process: options point into them. */
    char **arguments = g_new0(char *, (gsize)argc + 1);
    int code;

    setlocale(LC_ALL, "");
    g_set_prgname(PROGRAM);
    output_init();
    for (int i = 0; i < argc; i++)
        arguments[i] = g_strdup(argv[i]);
    code = parse_general(&ctl, &arguments);
    if (code == CTL_DONE && arguments[0] && arguments[1] && strcmp(arguments[1], "--") == 0)
        arguments++;
    if (code == CTL_DONE && (!arguments[0] || !arguments[1]))
        code = usage("a command is missing", NULL);
    if (code == CTL_DONE)
        code = run(&ctl, arguments + 1);
    bus_close(&ctl);
    if (output_end() != CTL_DONE && code == CTL_DONE)
        code = CTL_FAILED;
    return code;
}
