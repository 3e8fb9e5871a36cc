/* SPDX-License-Identifier: MIT */
#include "daemon/rooms/log-tail.h"

#include "daemon/rooms/read-end.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The start of the last `lines` lines of text. *found is how many there are. A newline at the
 * very end begins no line. */
static const char *last_lines(const char *text, gsize length, guint lines, guint *found)
{
    const char *at = text + length;

    *found = 0;
    if (length == 0)
        return text;
    if (at[-1] == '\n')
        at--;
    for (;;) {
        const char *newline = memrchr(text, '\n', (gsize)(at - text));

        (*found)++;
        if (!newline)
            return text;
        if (*found == lines)
            return newline + 1;
        at = newline;
    }
}

static bool is_control(gunichar c)
{
    return (c < 0x20 && c != '\t') || (c >= 0x7f && c < 0xa0);
}

static char *clean_line(const char *line, gsize length)
{
    GString *text = g_string_sized_new(length + 8);
    const char *end = line + length;

    while (line < end) {
        gunichar c = g_utf8_get_char_validated(line, end - line);

        /* GLib takes a NUL for the end of the text. */
        if (*line == '\0')
            c = 0;
        if (c == (gunichar)-1 || c == (gunichar)-2) {
            g_string_append(text, "\xef\xbf\xbd");
            line++;
            continue;
        }
        if (is_control(c))
            g_string_append_printf(text, "\\x%02x", c);
        else
            g_string_append_unichar(text, c);
        line += *line == '\0' ? 1 : g_utf8_skip[(guchar)*line];
    }
    return g_string_free(text, FALSE);
}

static void split(GPtrArray *lines, const char *text, const char *end)
{
    while (text < end) {
        const char *newline = memchr(text, '\n', (gsize)(end - text));
        const char *stop = newline ? newline : end;

        g_ptr_array_add(lines, clean_line(text, (gsize)(stop - text)));
        text = stop + 1;
    }
}

/* The end of the file; *whole unless it was cut. NULL when there is no such file, or when it is
 * the one that `other` has open (it was rotated between the two looks). */
static char *file_end(const char *path, int other, gsize most, gsize *length, bool *whole)
{
    int fd = read_end_open(path);
    struct stat a, b;
    char *text = NULL;

    *length = 0;
    *whole = true;
    if (fd < 0)
        return NULL;
    if (other < 0 || fstat(fd, &a) < 0 || fstat(other, &b) < 0 || a.st_ino != b.st_ino ||
        a.st_dev != b.st_dev)
        text = read_end(fd, most, length, whole);
    close(fd);
    return text;
}

/* The ends of path.1 and path as one text (a line may lie in both). */
static GString *joined_end(const char *path, guint lines, gsize most, bool *whole)
{
    int fd = read_end_open(path);
    GString *text = g_string_new(NULL);
    gsize length = 0;
    guint found = 0;
    char *end = fd >= 0 ? read_end(fd, most, &length, whole) : NULL;

    if (end)
        g_string_append_len(text, end, (gssize)length);
    else
        *whole = true;
    g_free(end);
    last_lines(text->str, text->len, lines, &found);
    /* One line less: the first one may have begun in the older file. */
    if (*whole && found <= lines && text->len < most) {
        char *older = g_strconcat(path, ".1", NULL);

        end = file_end(older, fd, most - text->len, &length, whole);
        if (end)
            g_string_prepend_len(text, end, (gssize)length);
        g_free(end);
        g_free(older);
    }
    if (fd >= 0)
        close(fd);
    return text;
}

GPtrArray *log_tail(const char *path, guint lines, gsize max_bytes)
{
    GPtrArray *result = g_ptr_array_new_with_free_func(g_free);
    bool whole = true;
    GString *text;
    const char *start;
    guint found;

    if (lines == 0)
        return result;
    text = joined_end(path, lines, max_bytes, &whole);
    start = last_lines(text->str, text->len, lines, &found);
    /* The bound may have cut into the first line. */
    if (!whole && start == text->str) {
        const char *newline = memchr(start, '\n', text->len);

        start = newline ? newline + 1 : text->str + text->len;
    }
    split(result, start, text->str + text->len);
    g_string_free(text, TRUE);
    return result;
}
