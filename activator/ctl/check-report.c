/* SPDX-License-Identifier: MIT */
/* What `check` found, as lines for tools, as paragraphs for a terminal, as JSON. */
#include "ctl/json.h"
#include "ctl/lint.h"
#include "ctl/output.h"

#include <stdio.h>
#include <string.h>

#define INDENT 6

static int print_json(const GPtrArray *findings)
{
    struct json json;

    json_begin(&json, true);
    json_open(&json, '[');
    for (guint i = 0; i < findings->len; i++) {
        const struct finding *finding = g_ptr_array_index(findings, i);

        json_open(&json, '{');
        json_string_member(&json, "file", finding->file);
        json_unsigned_member(&json, "line", finding->line);
        json_string_member(&json, "severity", severity_name(finding->severity));
        json_string_member(&json, "code", finding->code);
        json_string_member(&json, "message", finding->message);
        json_close(&json, '}');
    }
    json_close(&json, ']');
    return json_print(&json);
}

static enum colour colour_of(enum severity severity)
{
    static const enum colour colours[] = {COLOUR_RED, COLOUR_YELLOW, COLOUR_DIM};

    return colours[severity];
}

/* One line each, as compilers do it: editors and grep know it. */
static void print_line(const struct finding *finding)
{
    g_autofree char *file = output_fitted(finding->file, 0);
    g_autofree char *message = output_fitted(finding->message, 0);
    const char *severity = severity_name(finding->severity);

    if (finding->line)
        printf("%s:%u: %s: %s [%s]\n", file, finding->line, severity, message, finding->code);
    else
        printf("%s: %s: %s [%s]\n", file, severity, message, finding->code);
}

/* The same where the lines have to fit: the file once, then its findings. */
static void print_paragraph(const struct finding *finding, const struct finding *before)
{
    g_autofree char *file = output_fitted(finding->file, 0);
    g_autofree char *severity =
        output_coloured(colour_of(finding->severity), severity_name(finding->severity));
    g_autofree char *text = g_strdup_printf("%s [%s]", finding->message, finding->code);
    g_autofree char *wrapped = output_wrapped(
        text, INDENT, INDENT + (unsigned)strlen(severity_name(finding->severity)) + 2);

    if (!before || strcmp(before->file, finding->file) != 0)
        printf("%s%s%s\n", output_colour(COLOUR_BOLD), file, output_colour(COLOUR_NONE));
    if (finding->line)
        printf("%4u: %s: %s\n", finding->line, severity, wrapped);
    else
        printf("%*s%s: %s\n", INDENT, "", severity, wrapped);
}

static void print_count(unsigned number, const char *what, const char *end)
{
    printf("%u %s%s%s", number, what, number == 1 ? "" : "s", end);
}

int check_report(const struct ctl *ctl, const GPtrArray *findings, unsigned files)
{
    unsigned number[3] = {0};
    int code = CTL_DONE;

    for (guint i = 0; i < findings->len; i++)
        number[((const struct finding *)g_ptr_array_index(findings, i))->severity]++;
    if (ctl->json)
        code = print_json(findings);
    for (guint i = 0; i < findings->len && !ctl->json; i++) {
        if (output_width())
            print_paragraph(g_ptr_array_index(findings, i),
                            i ? g_ptr_array_index(findings, i - 1) : NULL);
        else
            print_line(g_ptr_array_index(findings, i));
    }
    if (!ctl->json) {
        print_count(files, "file", ": ");
        print_count(number[SEVERITY_ERROR], "error", ", ");
        print_count(number[SEVERITY_WARNING], "warning", ", ");
        print_count(number[SEVERITY_NOTE], "note", "\n");
    }
    return number[SEVERITY_ERROR] ? CTL_FAILED : code;
}
