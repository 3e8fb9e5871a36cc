/* SPDX-License-Identifier: MIT */
#include "ctl/output.h"
#include "ctl/query.h"

struct drawing {
    const GArray *processes;
    bool *drawn;
    unsigned indent;
    unsigned width;
    GString *text;
};

static const struct listed_process *at(const struct drawing *d, guint i)
{
    return &g_array_index(d->processes, struct listed_process, i);
}

static bool is_root(const struct drawing *d, guint index)
{
    for (guint i = 0; i < d->processes->len; i++) {
        if (i != index && at(d, i)->pid == at(d, index)->parent)
            return false;
    }
    return true;
}

static void draw_line(struct drawing *d, const struct listed_process *process, const char *lead,
                      bool last)
{
    const char *branch = last ? output_signs()->last_branch : output_signs()->branch;
    const char *mark = process->adopted ? " (adopted)" : "";
    g_autofree char *head = g_strdup_printf("%s%s%u ", lead, branch, process->pid);
    unsigned taken = d->indent + output_columns(head) + output_columns(mark);
    g_autofree char *command = NULL;

    /* A deep tree leaves no room: then the line may be too long rather than empty. */
    command = output_fitted(*process->command ? process->command : "(command line not shown)",
                            d->width ? MAX(d->width, taken + 12) - taken : 0);
    g_string_append_printf(d->text, "%*s%s%s%s%s%s\n", (int)d->indent, "", head, command,
                           output_colour(COLOUR_YELLOW), mark, output_colour(COLOUR_NONE));
}

static void draw_children(struct drawing *d, dbus_uint32_t parent, const char *lead);

static void draw_process(struct drawing *d, guint index, const char *lead, bool last)
{
    g_autofree char *below = g_strconcat(lead, last ? "  " : output_signs()->pipe, NULL);

    d->drawn[index] = true;
    draw_line(d, at(d, index), lead, last);
    draw_children(d, at(d, index)->pid, below);
}

static void draw_children(struct drawing *d, dbus_uint32_t parent, const char *lead)
{
    for (guint i = 0; i < d->processes->len; i++) {
        bool last = true;

        if (d->drawn[i] || at(d, i)->parent != parent)
            continue;
        for (guint j = i + 1; j < d->processes->len && last; j++)
            last = d->drawn[j] || at(d, j)->parent != parent;
        draw_process(d, i, lead, last);
    }
}

char *tree_draw(const GArray *processes, unsigned indent, unsigned width)
{
    bool *drawn = g_malloc0(processes->len + 1);
    bool *roots = g_malloc0(processes->len + 1);
    struct drawing d = {processes, drawn, indent, width, g_string_new(NULL)};
    guint last_root = 0;

    for (guint i = 0; i < processes->len; i++) {
        roots[i] = is_root(&d, i);
        if (roots[i])
            last_root = i;
    }
    for (guint i = 0; i < processes->len; i++) {
        if (roots[i] && !drawn[i])
            draw_process(&d, i, "", i == last_root);
    }
    /* What is left stands in a loop of parents: a pid was used again while the list was made. */
    for (guint i = 0; i < processes->len; i++) {
        if (!drawn[i])
            draw_process(&d, i, "", true);
    }
    g_free(drawn);
    g_free(roots);
    return g_string_free(d.text, FALSE);
}
