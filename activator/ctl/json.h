/* SPDX-License-Identifier: MIT */
/* A writer of JSON. Strings may hold anything: what is not UTF-8 becomes U+FFFD, and everything
 * that a terminal could take for a command is escaped. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct json {
    GString *text;
    unsigned depth;
    bool pretty;  /* one member a line, indented; else all in one line */
    bool started; /* something stands in the innermost container already */
    bool keyed;   /* a key has been written and waits for its value */
};

void json_begin(struct json *json, bool pretty);
/* bracket is '{' or '['; closed with '}' or ']'. */
void json_open(struct json *json, char bracket);
void json_close(struct json *json, char bracket);
void json_key(struct json *json, const char *key);
void json_string(struct json *json, const char *value);
void json_unsigned(struct json *json, uint64_t value);
void json_signed(struct json *json, int64_t value);
void json_bool(struct json *json, bool value);
/* key and value in one; a NULL string writes nothing. */
void json_string_member(struct json *json, const char *key, const char *value);
void json_unsigned_member(struct json *json, const char *key, uint64_t value);
/* Writes the document and a newline to stdout, flushes and frees it. Returns an enum ctl_exit. */
int json_print(struct json *json);
