/* SPDX-License-Identifier: MIT */
/* Service files (.service) in the dialect of dbus-daemon 1.14 (bus/desktop-file.c): UTF-8 without
 * NUL or BOM, 131072 bytes at most; lines end with LF, CRLF or CR; '#' in column 0 is a comment;
 * a group header fills its line; keys are [A-Za-z0-9-]+ in column 0; only U+0020 is skipped around
 * '='; blanks at the end of a value stay; escapes are \s \t \n \r \\ and no others; `Key[` is
 * ignored to the end of its line; a blank line counts as blank only if everything up to the next LF
 * is; of two equal keys or groups the first counts. An error anywhere
 * refuses the file. Name and Exec of the group "D-BUS Service" are required.
 *
 * Negative returns are fatal (-ENOMEM), positive ones are named here; see read-file.h. */
#pragma once

#include "common/parse/parse-error.h"

#include <stddef.h>

#define SERVICE_FILE_MAX 131072

enum {
    SERVICE_FILE_E_MISSING = 1, /* there is no such file */
    SERVICE_FILE_E_UNREADABLE,
    SERVICE_FILE_E_INVALID, /* it does not parse, or lacks Name or Exec */
};

struct service_file {
    char *name;
    char *exec;
    char *user; /* these three: NULL when absent */
    char *systemd_service;
    char *apparmor_label;
    unsigned name_line, exec_line, user_line, unit_line; /* 0 when absent */
};

/* Told of each key of the group "D-BUS Service", also of those that do not count (duplicates,
 * keys that nobody knows); key lives during the call. */
typedef void (*service_file_key)(const char *key, unsigned line, void *data);

/* Parses length bytes of text (no NUL behind them needed). On success out owns its strings:
 * service_file_clear(). On failure out is empty and error (may be NULL) is set. each may be
 * NULL. */
int service_file_parse(const char *text, size_t length, struct service_file *out,
                       struct parse_error *error, service_file_key each, void *data);

/* The same for a file. */
int service_file_load(const char *path, struct service_file *out, struct parse_error *error);

/* Frees what file owns, not file, and empties it. */
void service_file_clear(struct service_file *file);
