/* SPDX-License-Identifier: MIT */
#include "ctl/plot.h"

#include "ctl/output.h"

#include <string.h>

#define WIDTH      1200.0
#define NAMES      330.0 /* columns of pixels left of the bars */
#define BARS       740.0
#define TOP        84.0
#define ROW        20.0
#define BAR        12.0
#define NAME_CHARS 42
#define TICK       90.0

/* Both schemes have the same lightness order of the phases, so that they also differ for those
 * who do not see the hues. */
static const char style[] =
    "<style>\n"
    "svg{font:12px sans-serif}.page{fill:#fff}\n"
    "text{fill:#222}.dim{fill:#666}.title{font-size:16px;font-weight:bold}\n"
    ".zebra{fill:#808080;fill-opacity:.09}.grid{stroke:#d5d8dc}.cut{stroke:#888;stroke-dasharray:2 "
    "3}\n"
    ".spawn{fill:#f2b134}.connect{fill:#3a7fc1}.own{fill:#1d5c3f}.wait{fill:#9aa0a6}\n"
    ".failed{fill:#c8283c}.cross{stroke:#c8283c;stroke-width:2.5}text.bad{fill:#b01c30}\n"
    "@media (prefers-color-scheme:dark){\n"
    ".page{fill:#16191d}text{fill:#e4e6e8}.dim{fill:#9aa3ad}\n"
    ".grid{stroke:#363d45}.cut{stroke:#7b858f}\n"
    ".spawn{fill:#f5c563}.connect{fill:#5b9fe0}.own{fill:#46b07c}.wait{fill:#6b747d}\n"
    ".failed{fill:#ef5c6e}.cross{stroke:#ef5c6e}text.bad{fill:#ff8896}}\n"
    "</style>\n";

static void put(GString *svg, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* printf with numbers as XML wants them: no decimal comma of the locale, one decimal place. Use
 * %s with number() for what is not an integer. */
static void put(GString *svg, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    g_string_append_vprintf(svg, format, arguments);
    va_end(arguments);
}

struct number {
    char text[G_ASCII_DTOSTR_BUF_SIZE];
};

static struct number number(double value)
{
    struct number n;

    g_ascii_formatd(n.text, sizeof(n.text), "%.1f", value);
    return n;
}

/* Text for XML: harmless, cut to so many columns, escaped. */
static char *xml(const char *text, unsigned columns)
{
    g_autofree char *fitted = output_fitted(text, columns);

    return g_markup_escape_text(fitted, -1);
}

static char *milliseconds(uint64_t usec)
{
    struct number n = number((double)usec / 1000.0);

    if (usec >= 100000)
        return g_strdup_printf("%" G_GUINT64_FORMAT " ms", (usec + 500) / 1000);
    return g_strdup_printf("%s ms", n.text);
}

static void draw_bar(GString *svg, const char *class, double x, double width, double y)
{
    put(svg, "<rect class=\"%s\" x=\"%s\" y=\"%s\" width=\"%s\" height=\"%d\"/>\n", class,
        number(x).text, number(y + (ROW - BAR) / 2).text, number(MAX(width, 0.8)).text, (int)BAR);
}

static void draw_phases(GString *svg, const struct plot_scale *scale, const struct plot_run *run,
                        double y)
{
    static const char *const classes[] = {"spawn", "connect", "own"};
    uint64_t moments[3] = {run->spawned, run->connected, run->owned};
    uint64_t from = run->requested;
    uint64_t end = plot_end_of(run);

    for (size_t i = 0; i < 3; i++) {
        if (moments[i] <= from)
            continue;
        draw_bar(svg, classes[i], plot_scale_x(scale, from),
                 plot_scale_x(scale, moments[i]) - plot_scale_x(scale, from), y);
        from = moments[i];
    }
    if (!run->owned)
        draw_bar(svg, run->failed ? "failed" : "wait", plot_scale_x(scale, from),
                 plot_scale_x(scale, end) - plot_scale_x(scale, from), y);
}

static void draw_cross(GString *svg, double x, double y)
{
    struct number left = number(x + 3);
    struct number right = number(x + 11);
    struct number upper = number(y + ROW / 2 - 4);
    struct number lower = number(y + ROW / 2 + 4);

    put(svg, "<path class=\"cross\" d=\"M%s %sL%s %sM%s %sL%s %s\"/>\n", left.text, upper.text,
        right.text, lower.text, left.text, lower.text, right.text, upper.text);
}

static void append_moment(GString *text, const char *what, uint64_t from, uint64_t to)
{
    g_autofree char *duration = NULL;

    if (!to || to < from)
        return;
    duration = milliseconds(to - from);
    g_string_append_printf(text, "\n%s after %s", what, duration);
}

/* What a pointer that rests on the row is told. */
static char *tooltip(const struct plot_run *run)
{
    GString *text = g_string_new(NULL);
    g_autofree char *name = xml(run->name, 256);
    g_autofree char *error = run->error ? xml(run->error, 300) : NULL;

    g_string_append(text, name);
    append_moment(text, "spawned", run->requested, run->spawned);
    append_moment(text, "connected", run->requested, run->connected);
    append_moment(text, "name owned", run->requested, run->owned);
    if (run->failed)
        append_moment(text, "failed", run->requested, run->ended);
    if (error)
        g_string_append_printf(text, "\n%s", error);
    return g_string_free(text, FALSE);
}

static void draw_run(GString *svg, const struct plot_scale *scale, const struct plot_run *run,
                     guint index)
{
    double y = TOP + index * ROW;
    double end = plot_scale_x(scale, plot_end_of(run));
    g_autofree char *name = xml(run->name, NAME_CHARS);
    g_autofree char *title = tooltip(run);
    g_autofree char *duration = milliseconds(plot_end_of(run) - run->requested);
    struct number base = number(y + ROW / 2 + 4);

    put(svg, "<g><title>%s</title>\n", title);
    if (index % 2)
        put(svg, "<rect class=\"zebra\" x=\"0\" y=\"%s\" width=\"%d\" height=\"%d\"/>\n",
            number(y).text, (int)WIDTH, (int)ROW);
    put(svg, "<text%s x=\"%d\" y=\"%s\" text-anchor=\"end\">%s</text>\n",
        run->failed ? " class=\"bad\"" : "", (int)NAMES - 10, base.text, name);
    draw_phases(svg, scale, run, y);
    if (run->failed)
        draw_cross(svg, end, y);
    put(svg, "<text class=\"%s\" x=\"%s\" y=\"%s\">%s%s</text></g>\n", run->failed ? "bad" : "dim",
        number(end + (run->failed ? 16 : 5)).text, base.text, run->failed ? "failed, " : "",
        run->owned || run->failed ? duration : "still starting");
}

static void draw_tick(GString *svg, double x, double bottom, const char *class)
{
    struct number at = number(x);

    put(svg, "<line class=\"%s\" x1=\"%s\" y1=\"%d\" x2=\"%s\" y2=\"%s\"/>\n", class, at.text,
        (int)TOP - 4, at.text, number(bottom).text);
}

static void draw_label(GString *svg, double x, double bottom, const char *text, double *taken)
{
    double width = 7.0 * (double)strlen(text);

    if (x - width / 2 < *taken)
        return;
    /* Above and below: a long plot does not fit a screen. */
    put(svg, "<text class=\"dim\" x=\"%s\" y=\"%d\" text-anchor=\"middle\">%s</text>\n",
        number(x).text, (int)TOP - 10, text);
    put(svg, "<text class=\"dim\" x=\"%s\" y=\"%s\" text-anchor=\"middle\">%s</text>\n",
        number(x).text, number(bottom + 16).text, text);
    *taken = x + width / 2 + 6;
}

/* In each burst the first mark says how long after the first request it lies, the others how
 * long after that mark. */
static void draw_axis(GString *svg, const struct plot_scale *scale, double bottom)
{
    uint64_t step = plot_scale_step(scale, TICK);
    uint64_t zero = g_array_index(scale->bursts, struct plot_burst, 0).begin;
    double taken = 0;

    for (guint i = 0; i < scale->bursts->len; i++) {
        const struct plot_burst *burst = &g_array_index(scale->bursts, struct plot_burst, i);

        if (i > 0)
            draw_tick(svg, burst->x - scale->gap / 2, bottom, "cut");
        for (uint64_t at = burst->begin; at <= burst->end; at += step) {
            bool first = at == burst->begin;
            g_autofree char *text = g_strdup_printf("%s%" G_GUINT64_FORMAT " ms", first ? "" : "+",
                                                    (at - (first ? zero : burst->begin)) / 1000);

            draw_tick(svg, plot_scale_x(scale, at), bottom, "grid");
            draw_label(svg, plot_scale_x(scale, at), bottom, text, &taken);
        }
    }
}

static void draw_legend(GString *svg)
{
    static const struct {
        const char *class;
        const char *text;
    } entries[] = {{"spawn", "asked → spawned"},
                   {"connect", "→ connected to the bus"},
                   {"own", "→ name owned"},
                   {"failed", "failed"},
                   {"cut", "¦ idle time cut out"}};
    int x = (int)NAMES;

    for (size_t i = 0; i < G_N_ELEMENTS(entries); i++) {
        bool mark = strcmp(entries[i].class, "cut") != 0;

        if (mark)
            put(svg, "<rect class=\"%s\" x=\"%d\" y=\"38\" width=\"12\" height=\"12\"/>\n",
                entries[i].class, x);
        put(svg, "<text class=\"dim\" x=\"%d\" y=\"48\">%s</text>\n", x + (mark ? 18 : 0),
            entries[i].text);
        x += 50 + 7 * (int)g_utf8_strlen(entries[i].text, -1);
    }
}

static guint count_failed(const GPtrArray *runs)
{
    guint failed = 0;

    for (guint i = 0; i < runs->len; i++)
        failed += ((const struct plot_run *)g_ptr_array_index(runs, i))->failed;
    return failed;
}

char *plot_draw(const GPtrArray *runs)
{
    GString *svg = g_string_new("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    struct plot_scale *scale = plot_scale_new(runs, NAMES, BARS);
    double bottom = TOP + MAX(runs->len, 1) * ROW;
    guint failed = count_failed(runs);

    put(svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
        "viewBox=\"0 0 %d %d\">\n%s"
        "<rect class=\"page\" width=\"100%%\" height=\"100%%\"/>\n",
        (int)WIDTH, (int)bottom + 28, (int)WIDTH, (int)bottom + 28, style);
    put(svg, "<text class=\"title\" x=\"16\" y=\"24\">%u activation%s", runs->len,
        runs->len == 1 ? "" : "s");
    if (failed)
        put(svg, ", %u failed,", failed);
    if (runs->len > 0) {
        g_autofree char *time =
            output_time(((const struct plot_run *)g_ptr_array_index(runs, 0))->requested);
        g_autofree char *safe_time = xml(time, 60);

        put(svg, " since %s", safe_time);
    }
    put(svg, "</text>\n");
    draw_legend(svg);
    if (runs->len > 0)
        draw_axis(svg, scale, bottom);
    for (guint i = 0; i < runs->len; i++)
        draw_run(svg, scale, g_ptr_array_index(runs, i), i);
    put(svg, "</svg>\n");
    plot_scale_free(scale);
    return g_string_free(svg, FALSE);
}
