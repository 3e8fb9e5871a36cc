/* SPDX-License-Identifier: MIT */
#include "ctl/json.h"

#include "ctl/output.h"

#include <stdio.h>
#include <string.h>

void json_begin(struct json *json, bool pretty)
{
    *json = (struct json){.text = g_string_new(NULL), .pretty = pretty};
}

static void new_line(struct json *json)
{
    if (!json->pretty)
        return;
    g_string_append_c(json->text, '\n');
    for (unsigned i = 0; i < json->depth; i++)
        g_string_append(json->text, "  ");
}

/* What must stand before a value or a key: nothing after a key, else a comma and a new line. */
static void before_value(struct json *json)
{
    if (json->keyed) {
        json->keyed = false;
        return;
    }
    if (json->started)
        g_string_append_c(json->text, ',');
    if (json->depth > 0)
        new_line(json);
    json->started = true;
}

void json_open(struct json *json, char bracket)
{
    before_value(json);
    g_string_append_c(json->text, bracket);
    json->depth++;
    json->started = false;
}

void json_close(struct json *json, char bracket)
{
    bool empty = !json->started;

    json->depth--;
    if (!empty)
        new_line(json);
    g_string_append_c(json->text, bracket);
    json->started = true;
}

static void append_character(GString *text, gunichar c)
{
    switch (c) {
    case '"':
        g_string_append(text, "\\\"");
        return;
    case '\\':
        g_string_append(text, "\\\\");
        return;
    case '\n':
        g_string_append(text, "\\n");
        return;
    case '\t':
        g_string_append(text, "\\t");
        return;
    default:
        break;
    }
    if (output_character_is_safe(c))
        g_string_append_unichar(text, c);
    else if (c < 0x10000)
        g_string_append_printf(text, "\\u%04x", c);
    else
        g_string_append_printf(text, "\\u%04x\\u%04x", 0xd800 + ((c - 0x10000) >> 10),
                               0xdc00 + ((c - 0x10000) & 0x3ff));
}

static void append_string(GString *text, const char *value)
{
    const char *end = value + strlen(value);

    g_string_append_c(text, '"');
    while (value < end) {
        gunichar c = g_utf8_get_char_validated(value, end - value);

        if (c == (gunichar)-1 || c == (gunichar)-2) {
            g_string_append(text, "\xef\xbf\xbd");
            value++;
        } else {
            append_character(text, c);
            value = g_utf8_next_char(value);
        }
    }
    g_string_append_c(text, '"');
}

void json_key(struct json *json, const char *key)
{
    before_value(json);
    append_string(json->text, key);
    g_string_append(json->text, json->pretty ? ": " : ":");
    json->keyed = true;
}

void json_string(struct json *json, const char *value)
{
    before_value(json);
    append_string(json->text, value);
}

void json_unsigned(struct json *json, uint64_t value)
{
    before_value(json);
    g_string_append_printf(json->text, "%" G_GUINT64_FORMAT, value);
}

void json_signed(struct json *json, int64_t value)
{
    before_value(json);
    g_string_append_printf(json->text, "%" G_GINT64_FORMAT, value);
}

void json_bool(struct json *json, bool value)
{
    before_value(json);
    g_string_append(json->text, value ? "true" : "false");
}

void json_string_member(struct json *json, const char *key, const char *value)
{
    if (!value)
        return;
    json_key(json, key);
    json_string(json, value);
}

void json_unsigned_member(struct json *json, const char *key, uint64_t value)
{
    json_key(json, key);
    json_unsigned(json, value);
}

int json_print(struct json *json)
{
    g_string_append_c(json->text, '\n');
    fwrite(json->text->str, 1, json->text->len, stdout);
    g_string_free(json->text, TRUE);
    json->text = NULL;
    return output_flush();
}
