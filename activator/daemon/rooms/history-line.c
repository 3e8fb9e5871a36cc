/* SPDX-License-Identifier: MIT */
/* One line of the history's file, in both directions. */
#include "daemon/rooms/history.h"

#include <string.h>

#define TAG "dba1"
#define END "."
/* Added to the result of a run that was stopped. */
#define STOPPED (HISTORY_FAILED + 1)

/* What is left of a line. */
struct rest {
    const char *at;
    const char *end;
    bool over; /* the last field has been taken */
    bool bad;
};

/* The next field's bytes; sets bad when there is none. */
static const char *next_field(struct rest *rest, gsize *length)
{
    const char *start = rest->at;
    const char *tab;

    *length = 0;
    if (rest->over || rest->bad) {
        rest->bad = true;
        return start;
    }
    tab = memchr(start, '\t', (gsize)(rest->end - start));
    *length = (gsize)((tab ? tab : rest->end) - start);
    rest->over = !tab;
    rest->at = tab ? tab + 1 : rest->end;
    return start;
}

static guint64 next_number(struct rest *rest, guint64 max)
{
    gsize length;
    const char *digits = next_field(rest, &length);
    guint64 value = 0;

    if (length == 0)
        rest->bad = true;
    for (gsize i = 0; i < length && !rest->bad; i++) {
        guint digit = (guint)(guchar)digits[i] - '0';

        if (digit > 9 || digit > max || value > (max - digit) / 10)
            rest->bad = true;
        else
            value = value * 10 + digit;
    }
    return rest->bad ? 0 : value;
}

static gint32 next_signed(struct rest *rest)
{
    if (!rest->over && rest->at < rest->end && *rest->at == '-') {
        rest->at++;
        return (gint32) - (gint64)next_number(rest, (guint64)G_MAXINT32 + 1);
    }
    return (gint32)next_number(rest, G_MAXINT32);
}

/* The byte that the escape at *at (behind its backslash) stands for, or -1. */
static int unescape(const char **at, const char *end)
{
    int high, low;

    if (*at == end)
        return -1;
    switch (*(*at)++) {
    case 't':
        return '\t';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case '\\':
        return '\\';
    case 'x':
        break;
    default:
        return -1;
    }
    if (end - *at < 2)
        return -1;
    high = g_ascii_xdigit_value((*at)[0]);
    low = g_ascii_xdigit_value((*at)[1]);
    *at += 2;
    /* No text has a NUL in it. */
    return high < 0 || low < 0 || (high == 0 && low == 0) ? -1 : high * 16 + low;
}

static char *next_text(struct rest *rest)
{
    gsize length;
    const char *at = next_field(rest, &length);
    const char *end = at + length;
    GString *text;
    char *valid;

    if (rest->bad || (length == 1 && *at == '-'))
        return NULL;
    text = g_string_sized_new(length);
    while (at < end && !rest->bad) {
        int byte = (guchar)*at++;

        if (byte == '\\')
            byte = unescape(&at, end);
        else if (byte < 0x20 || byte == 0x7f)
            byte = -1;
        if (byte < 0)
            rest->bad = true;
        else
            g_string_append_c(text, (char)byte);
    }
    valid = rest->bad ? NULL : g_utf8_make_valid(text->str, (gssize)text->len);
    g_string_free(text, TRUE);
    return valid;
}

bool history_parse_line(const char *line, gsize length, struct history_record *record)
{
    struct rest rest = {line, line + length, false, false};
    gsize tag_length, end_length;
    const char *tag = next_field(&rest, &tag_length);
    const char *end;

    memset(record, 0, sizeof *record);
    if (tag_length != strlen(TAG) || memcmp(tag, TAG, tag_length) != 0)
        return false;
    /* The highest run ever seen is counted on from: leave room. */
    record->run = next_number(&rest, G_MAXINT64);
    record->how = (guint8)next_number(&rest, G_MAXUINT8);
    record->result = (guint8)next_number(&rest, STOPPED + HISTORY_FAILED);
    record->stopped = record->result >= STOPPED;
    record->result %= STOPPED;
    record->status = next_signed(&rest);
    record->main_pid = (guint32)next_number(&rest, G_MAXUINT32);
    record->requested = next_number(&rest, G_MAXUINT64);
    record->spawned = next_number(&rest, G_MAXUINT64);
    record->connected = next_number(&rest, G_MAXUINT64);
    record->owned = next_number(&rest, G_MAXUINT64);
    record->ended = next_number(&rest, G_MAXUINT64);
    record->name = next_text(&rest);
    record->error_name = next_text(&rest);
    record->error_message = next_text(&rest);
    end = next_field(&rest, &end_length);
    if (rest.bad || !rest.over || end_length != strlen(END) || *end != *END || record->run == 0 ||
        !record->name || !*record->name) {
        history_record_clear(record);
        return false;
    }
    return true;
}

void history_record_clear(struct history_record *record)
{
    g_clear_pointer(&record->name, g_free);
    g_clear_pointer(&record->error_name, g_free);
    g_clear_pointer(&record->error_message, g_free);
}

static void put_text(GString *line, const char *text)
{
    g_string_append_c(line, '\t');
    if (!text) {
        g_string_append_c(line, '-');
        return;
    }
    if (strcmp(text, "-") == 0) {
        g_string_append(line, "\\x2d");
        return;
    }
    for (; *text; text++) {
        guchar byte = (guchar)*text;

        if (byte == '\t')
            g_string_append(line, "\\t");
        else if (byte == '\n')
            g_string_append(line, "\\n");
        else if (byte == '\r')
            g_string_append(line, "\\r");
        else if (byte == '\\')
            g_string_append(line, "\\\\");
        else if (byte < 0x20 || byte == 0x7f)
            g_string_append_printf(line, "\\x%02x", byte);
        else
            g_string_append_c(line, (char)byte);
    }
}

char *history_format_line(const struct history_record *r)
{
    GString *line = g_string_new(TAG);

    g_string_append_printf(line, "\t%" G_GUINT64_FORMAT "\t%u\t%u\t%d\t%u", r->run, r->how,
                           (guint)r->result + (r->stopped ? STOPPED : 0u), r->status, r->main_pid);
    g_string_append_printf(line, "\t%" G_GUINT64_FORMAT "\t%" G_GUINT64_FORMAT, r->requested,
                           r->spawned);
    g_string_append_printf(line,
                           "\t%" G_GUINT64_FORMAT "\t%" G_GUINT64_FORMAT "\t%" G_GUINT64_FORMAT,
                           r->connected, r->owned, r->ended);
    put_text(line, r->name);
    put_text(line, r->error_name);
    put_text(line, r->error_message);
    g_string_append(line, "\t" END "\n");
    return g_string_free(line, FALSE);
}
