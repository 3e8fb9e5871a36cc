/* SPDX-License-Identifier: MIT */
/* dbus-activatorctl history */
#include "ctl/bus.h"
#include "ctl/output.h"
#include "ctl/query.h"

#include <stdio.h>
#include <string.h>

static gint slower_first(gconstpointer a, gconstpointer b)
{
    uint64_t of_a = dict_count(*(struct dict *const *)a, "LatencyUSec");
    uint64_t of_b = dict_count(*(struct dict *const *)b, "LatencyUSec");

    return of_a < of_b ? 1 : of_a > of_b ? -1 : 0;
}

static void reverse(GPtrArray *array)
{
    for (guint i = 0; i < array->len / 2; i++) {
        gpointer other = array->pdata[array->len - 1 - i];

        array->pdata[array->len - 1 - i] = array->pdata[i];
        array->pdata[i] = other;
    }
}

/* "+1.2 ms" for the step between two moments, "" when one of them is unknown. */
static char *step(const struct dict *run, const char *from, const char *to)
{
    uint64_t begin;
    uint64_t end;

    if (!dict_number(run, from, &begin) || !dict_number(run, to, &end) || end < begin)
        return g_strdup("-");
    return output_duration(end - begin);
}

/* Of runs that are all of today the time is enough. */
static bool are_of_today(const GPtrArray *runs)
{
    g_autoptr(GDateTime) now = g_date_time_new_now_local();

    for (guint i = 0; i < runs->len; i++) {
        uint64_t usec = dict_count(g_ptr_array_index(runs, i), "RequestedUSec");
        g_autoptr(GDateTime) then =
            g_date_time_new_from_unix_local((gint64)(usec / G_USEC_PER_SEC));

        if (!then || g_date_time_get_day_of_year(then) != g_date_time_get_day_of_year(now) ||
            g_date_time_get_year(then) != g_date_time_get_year(now))
            return false;
    }
    return true;
}

static void print_run(const struct dict *run, unsigned name_columns, bool today)
{
    const char *result = dict_string(run, "Result");
    const char *name = dict_string(run, "Name");
    const char *message = dict_string(run, "ErrorMessage");
    bool failed = result && strcmp(result, "failed") == 0;
    bool connected = dict_count(run, "ConnectedUSec") != 0;
    uint64_t latency;
    uint64_t asked = dict_count(run, "RequestedUSec");
    g_autofree char *time = today ? output_time_of_day(asked) : output_date(asked);
    g_autofree char *shown = output_fitted(name ? name : "?", name_columns);
    g_autofree char *total =
        dict_number(run, "LatencyUSec", &latency) ? output_duration(latency) : g_strdup("-");
    g_autofree char *spawn = step(run, "RequestedUSec", "SpawnedUSec");
    g_autofree char *connect = step(run, "SpawnedUSec", "ConnectedUSec");
    g_autofree char *own = step(run, connected ? "ConnectedUSec" : "SpawnedUSec", "OwnedUSec");
    int gap = (int)name_columns - (int)output_columns(shown);

    printf("%s %s%s%s%*s %9s %8s %8s %8s\n", time, failed ? output_colour(COLOUR_RED) : "", shown,
           failed ? output_colour(COLOUR_NONE) : "", MAX(gap, 0), "", failed ? "failed" : total,
           spawn, connect, own);
    if (failed && message) {
        unsigned indent = output_columns(time) + 1;
        g_autofree char *text = output_wrapped(message, indent, indent);

        printf("%*s%s\n", (int)indent, "", text);
    }
}

static void print_runs(const GPtrArray *runs)
{
    unsigned widest = 4;
    bool today = are_of_today(runs);
    unsigned before = today ? 8 : 15;
    unsigned limit = output_width() ? MAX(output_width(), 60) - 38 - before : 0;

    if (runs->len == 0) {
        output_nothing("no activations");
        return;
    }

    for (guint i = 0; i < runs->len; i++) {
        const char *name = dict_string(g_ptr_array_index(runs, i), "Name");
        g_autofree char *shown = output_fitted(name ? name : "?", limit);

        widest = MAX(widest, output_columns(shown));
    }
    printf("%s%-*s %-*s %9s %8s %8s %8s%s\n", output_colour(COLOUR_DIM), (int)before, "asked",
           (int)widest, "name", "total", "spawn", "connect", "own", output_colour(COLOUR_NONE));
    for (guint i = 0; i < runs->len; i++)
        print_run(g_ptr_array_index(runs, i), widest, today);
}

int cmd_history(struct ctl *ctl, const struct command *command, char **argv)
{
    gboolean slowest = FALSE;
    g_autofree char *number = NULL;
    unsigned newest = G_MAXUINT32;
    const GOptionEntry options[] = {
        {"slowest", 0, 0, G_OPTION_ARG_NONE, &slowest, "The slowest first, not the newest", NULL},
        {"number", 'n', 0, G_OPTION_ARG_FILENAME, &number, "Show N activations (all)", "N"},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    g_autoptr(GPtrArray) runs = NULL;
    struct json json;
    int code = ctl_parse(ctl, command, options, &argv, 0, 1);

    if (code != CTL_DONE)
        return code;
    if (number && !ctl_parse_count(number, &newest)) {
        ctl_complain("history: “%s” is no number of activations", number);
        return CTL_USAGE;
    }
    code = bus_open(ctl);
    if (code == CTL_DONE)
        code = query_history(ctl, argv[1], slowest ? G_MAXUINT32 : newest, &runs);
    if (code != CTL_DONE)
        return code;
    reverse(runs);
    if (slowest)
        g_ptr_array_sort(runs, slower_first);
    if (runs->len > newest)
        g_ptr_array_set_size(runs, (gint)newest);
    if (!ctl->json) {
        output_pager_begin(ctl);
        print_runs(runs);
        return CTL_DONE;
    }
    json_begin(&json, true);
    json_open(&json, '[');
    for (guint i = 0; i < runs->len; i++)
        dict_json(g_ptr_array_index(runs, i), &json);
    json_close(&json, ']');
    return json_print(&json);
}
