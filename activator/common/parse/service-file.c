/* SPDX-License-Identifier: MIT */
#include "common/parse/service-file.h"

#include "common/parse/read-file.h"
#include "common/parse/utf8.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define GROUP "D-BUS Service"

struct parser {
    const char *at;
    const char *end;
    const char *blank_until; /* nothing but blanks from at to here; NULL: not known */
    unsigned line;
    bool in_group;   /* any */
    bool in_service; /* the first D-BUS Service */
    bool seen_service;
    struct service_file *out;
    struct parse_error *error;
    service_file_key each;
    void *data;
};

static int refuse(struct parser *p, const char *reason)
{
    parse_error_set(p->error, p->line, "%s", reason);
    return SERVICE_FILE_E_INVALID;
}

/* The next line without its end, and moves on. False at the end of the text. */
static bool next_line(struct parser *p, const char **line, size_t *length)
{
    const char *at = p->at;

    if (at >= p->end)
        return false;
    while (at < p->end && *at != '\n' && *at != '\r')
        at++;
    *line = p->at;
    *length = (size_t)(at - p->at);
    if (at < p->end)
        at += *at == '\r' && at + 1 < p->end && at[1] == '\n' ? 2 : 1;
    p->at = at;
    p->line++;
    return true;
}

/* dbus-daemon looks for blanks up to the next LF, while its lines end at a lone CR too: a blank
 * line that ends in a lone CR with more text behind is an error to it (is_blank_line). What was
 * found blank is remembered, or a file of CRs would take quadratic time. */
static bool is_blank(struct parser *p)
{
    const char *c = p->at;

    if (p->blank_until && c < p->blank_until)
        return true;
    while (c < p->end && (*c == ' ' || *c == '\t' || *c == '\r' || *c == '\f'))
        c++;
    if (c < p->end && *c != '\n')
        return false;
    p->blank_until = c;
    return true;
}

static int parse_group(struct parser *p, const char *line, size_t length)
{
    if (length < 2 || line[length - 1] != ']')
        return refuse(p, "a group header does not end with ']'");
    line++;
    length -= 2;
    if (length == 0)
        return refuse(p, "a group has no name");
    for (size_t i = 0; i < length; i++) {
        if (line[i] < 0x20 || line[i] > 0x7e || line[i] == '[' || line[i] == ']')
            return refuse(p, "the name of a group has a character that is not allowed");
    }
    p->in_group = true;
    p->in_service = length == strlen(GROUP) && memcmp(line, GROUP, length) == 0 && !p->seen_service;
    p->seen_service = p->seen_service || p->in_service;
    return 0;
}

/* Undoes the escapes. Returns a string to be freed, or NULL with *result set. */
static char *unescape(struct parser *p, const char *value, size_t length, int *result)
{
    static const char from[] = "stnr\\";
    static const char to[] = " \t\n\r\\";
    char *text = malloc(length + 1);
    size_t out = 0;

    if (!text) {
        *result = -ENOMEM;
        return NULL;
    }
    for (size_t i = 0; i < length; i++) {
        if (value[i] != '\\') {
            text[out++] = value[i];
            continue;
        }
        const char *which = i + 1 < length ? strchr(from, value[i + 1]) : NULL;
        if (!which || !*which) {
            *result =
                refuse(p, i + 1 < length ? "a value has an escape other than \\s \\t \\n \\r \\\\"
                                         : "a value ends with a single backslash");
            free(text);
            return NULL;
        }
        text[out++] = to[which - from];
        i++;
    }
    text[out] = '\0';
    return text;
}

/* Where a key of the service group goes; NULL when nobody wants it. */
static char **place_of(struct parser *p, const char *key, unsigned **line)
{
    static unsigned nowhere;

    *line = &nowhere;
    if (strcmp(key, "Name") == 0) {
        *line = &p->out->name_line;
        return &p->out->name;
    }
    if (strcmp(key, "Exec") == 0) {
        *line = &p->out->exec_line;
        return &p->out->exec;
    }
    if (strcmp(key, "User") == 0) {
        *line = &p->out->user_line;
        return &p->out->user;
    }
    if (strcmp(key, "SystemdService") == 0) {
        *line = &p->out->unit_line;
        return &p->out->systemd_service;
    }
    return strcmp(key, "AssumedAppArmorLabel") == 0 ? &p->out->apparmor_label : NULL;
}

static int store(struct parser *p, const char *key, char *value)
{
    unsigned *line = NULL;
    char **place = NULL;

    if (p->in_service) {
        if (p->each)
            p->each(key, p->line, p->data);
        place = place_of(p, key, &line);
    }
    if (!place || *place) {
        free(value);
        return 0;
    }
    *place = value;
    *line = p->line;
    return 0;
}

static size_t key_length(const char *line, size_t length)
{
    size_t i = 0;

    while (i < length &&
           ((line[i] >= 'A' && line[i] <= 'Z') || (line[i] >= 'a' && line[i] <= 'z') ||
            (line[i] >= '0' && line[i] <= '9') || line[i] == '-'))
        i++;
    return i;
}

static int parse_key(struct parser *p, const char *line, size_t length)
{
    size_t i = key_length(line, length);
    int result = 0;

    if (!p->in_group)
        return refuse(p, "a key comes before any group");
    if (i == 0)
        return refuse(p, "a line is no comment, group or key; keys are of A-Z a-z 0-9 and '-', and "
                         "begin in the first column");
    if (i < length && line[i] == '[')
        return 0;
    char *key = strndup(line, i);
    if (!key)
        return -ENOMEM;
    while (i < length && line[i] == ' ')
        i++;
    if (i == length || line[i] != '=') {
        result = refuse(p, "a key is not followed by '='");
    } else {
        i++;
        while (i < length && line[i] == ' ')
            i++;
        char *value = unescape(p, line + i, length - i, &result);
        if (value)
            result = store(p, key, value);
    }
    free(key);
    return result;
}

static int parse_lines(struct parser *p)
{
    const char *line = NULL;
    size_t length = 0;
    int result = 0;

    for (;;) {
        bool blank = is_blank(p);

        if (result || !next_line(p, &line, &length))
            return result;
        if (blank || *line == '#')
            continue;
        result = *line == '[' ? parse_group(p, line, length) : parse_key(p, line, length);
    }
}

int service_file_parse(const char *text, size_t length, struct service_file *out,
                       struct parse_error *error, service_file_key each, void *data)
{
    struct parser p = {.at = text,
                       .end = length ? text + length : text,
                       .out = out,
                       .error = error,
                       .each = each,
                       .data = data};
    size_t bad = 0;
    int result = 0;

    memset(out, 0, sizeof *out);
    if (length > SERVICE_FILE_MAX) {
        result = refuse(&p, "larger than 131072 bytes");
    } else if (!utf8_is_valid(text, length, &bad)) {
        p.line = 1;
        for (size_t i = 0; i < bad; i++)
            p.line += text[i] == '\n' || (text[i] == '\r' && text[i + 1] != '\n');
        result = refuse(&p, "not valid UTF-8, or has a NUL");
    } else {
        result = parse_lines(&p);
    }
    p.line = 0;
    if (result == 0 && !p.seen_service)
        result = refuse(&p, "there is no group [" GROUP "]");
    else if (result == 0 && !out->name)
        result = refuse(&p, "there is no Name=");
    else if (result == 0 && !out->exec)
        result = refuse(&p, "there is no Exec=");
    if (result)
        service_file_clear(out);
    return result;
}

int service_file_load(const char *path, struct service_file *out, struct parse_error *error)
{
    char *text = NULL;
    size_t length = 0;
    int result = read_file(path, SERVICE_FILE_MAX, &text, &length, error);

    memset(out, 0, sizeof *out);
    if (result < 0)
        return result;
    if (result == READ_FILE_E_MISSING)
        return SERVICE_FILE_E_MISSING;
    if (result == READ_FILE_E_TOO_LARGE)
        return SERVICE_FILE_E_INVALID;
    if (result)
        return SERVICE_FILE_E_UNREADABLE;
    result = service_file_parse(text, length, out, error, NULL, NULL);
    free(text);
    return result;
}

void service_file_clear(struct service_file *file)
{
    free(file->name);
    free(file->exec);
    free(file->user);
    free(file->systemd_service);
    free(file->apparmor_label);
    memset(file, 0, sizeof *file);
}
