/* SPDX-License-Identifier: MIT */
/* dbus-activatorctl log */
#include "ctl/bus.h"
#include "ctl/follow.h"
#include "ctl/log-file.h"
#include "ctl/output.h"
#include "ctl/query.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FOLLOW_LINES 10
/* How often an activator whose log file is not ours to read is asked, in ms; and how many lines
 * it is asked for. */
#define ASK_INTERVAL 500
#define ASK_LINES    2000

static void print_line(struct ctl *ctl, const char *line, size_t length)
{
    g_autofree char *safe = output_safe_line(line, length);

    if (ctl->json) {
        struct json json;

        json_begin(&json, false);
        json_string(&json, safe);
        json_print(&json);
    } else {
        puts(safe);
    }
}

static int print_all(struct ctl *ctl, char **lines)
{
    struct json json;

    if (!ctl->json) {
        output_pager_begin(ctl);
        if (!*lines)
            output_nothing("no output");
        for (; *lines; lines++)
            print_line(ctl, *lines, strlen(*lines));
        return CTL_DONE;
    }
    json_begin(&json, true);
    json_open(&json, '[');
    for (; *lines; lines++)
        json_string(&json, *lines);
    json_close(&json, ']');
    return json_print(&json);
}

static void print_from_file(const char *line, size_t length, void *data)
{
    print_line(data, line, length);
}

static int follow_file(struct follow *follow, struct log_file *file)
{
    while (!ferror(stdout)) {
        DBusMessage *message = NULL;

        log_file_read(file, print_from_file, follow->ctl);
        if (output_flush() != CTL_DONE)
            return CTL_FAILED;
        if (follow_wait(follow, log_file_descriptor(file), log_file_timeout(file), &message) ==
            FOLLOW_END)
            return follow->code;
        if (message)
            dbus_message_unref(message);
    }
    return CTL_DONE;
}

/* How many lines of `now` were in `before` already: the longest end of before that is a
 * beginning of now's, wherever before's lines start in now. */
static size_t lines_known(char **before, char **now)
{
    size_t old_count = g_strv_length(before);
    size_t new_count = g_strv_length(now);

    for (size_t known = MIN(old_count, new_count); known > 0; known--) {
        size_t i = 0;

        while (i < known && strcmp(before[old_count - known + i], now[i]) == 0)
            i++;
        if (i == known)
            return known;
    }
    return 0;
}

/* Lines bear stamps of a microsecond, so that an overlap is one. */
static int follow_by_asking(struct follow *follow, const char *name, unsigned lines)
{
    g_auto(GStrv) before = NULL;
    int code = query_log(follow->ctl, name, ASK_LINES, &before);
    size_t count;

    if (code != CTL_DONE)
        return code;
    count = g_strv_length(before);
    for (size_t i = count - MIN(count, lines); i < count; i++)
        print_line(follow->ctl, before[i], strlen(before[i]));
    while (output_flush() == CTL_DONE && !ferror(stdout)) {
        g_auto(GStrv) now = NULL;
        DBusMessage *message = NULL;

        if (follow_wait(follow, -1, ASK_INTERVAL, &message) == FOLLOW_END)
            return follow->code;
        if (message)
            dbus_message_unref(message);
        code = query_log(follow->ctl, name, ASK_LINES, &now);
        if (code != CTL_DONE)
            return code;
        for (char **line = now + lines_known(before, now); *line; line++)
            print_line(follow->ctl, *line, strlen(*line));
        g_strfreev(before);
        before = g_steal_pointer(&now);
    }
    return CTL_DONE;
}

static int follow_log(struct ctl *ctl, const char *name, const struct dict *service, unsigned lines)
{
    const char *path = dict_string(service, "LogFile");
    struct follow follow = {.signals = -1};
    struct log_file *file = NULL;
    int code = follow_begin(&follow, ctl, false);

    if (code == CTL_DONE) {
        file = path ? log_file_open(path, lines) : NULL;
        code = file ? follow_file(&follow, file) : follow_by_asking(&follow, name, lines);
    }
    log_file_free(file);
    follow_end(&follow);
    return code;
}

int cmd_log(struct ctl *ctl, const struct command *command, char **argv)
{
    g_autofree char *count = NULL;
    gboolean follow = FALSE;
    const GOptionEntry options[] = {
        {"lines", 'n', 0, G_OPTION_ARG_FILENAME, &count, "The newest LINES (all; with --follow 10)",
         "LINES"},
        {"follow", 'f', 0, G_OPTION_ARG_NONE, &follow, "Go on with what is written", NULL},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    g_autoptr(Dict) service = NULL;
    g_auto(GStrv) lines = NULL;
    unsigned newest = G_MAXUINT32;
    int code = ctl_parse(ctl, command, options, &argv, 1, 1);

    if (code != CTL_DONE)
        return code;
    if (follow)
        newest = FOLLOW_LINES;
    if (count && !ctl_parse_count(count, &newest)) {
        ctl_complain("log: “%s” is no number of lines", count);
        return CTL_USAGE;
    }
    code = bus_open(ctl);
    if (code == CTL_DONE)
        code = query_service(ctl, argv[1], &service);
    if (code != CTL_DONE)
        return code;
    if (follow)
        return follow_log(ctl, argv[1], service, newest);
    code = query_log(ctl, argv[1], newest, &lines);
    return code == CTL_DONE ? print_all(ctl, lines) : code;
}
