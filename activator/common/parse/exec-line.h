/* SPDX-License-Identifier: MIT */
/* The Exec= line of a service file, split into arguments as dbus-daemon 1.14 splits it.
 *
 * The dialect is that of _dbus_shell_parse_argv (dbus/dbus-shell.c), observed to differ from
 * g_shell_parse_argv in this: a blank at the end adds an empty argument; an empty or blank line
 * gives one empty argument; every unquoted newline ends an argument, an empty one too; an
 * unquoted '#' begins a comment anywhere, even inside a word, and the newline that ends the
 * comment ends no argument; a '#' as last byte is an error. Quoting is the shell's: '...' is
 * literal; in "..." a backslash escapes $ ` " \ and newline; outside, a backslash escapes any
 * byte and removes a newline. Nothing is expanded, and nothing is looked up in PATH.
 *
 * Negative returns are fatal (-ENOMEM), positive ones are named here; see read-file.h. */
#pragma once

#include "common/parse/parse-error.h"

#include <stddef.h>

enum {
    EXEC_LINE_E_UNCLOSED = 1, /* quote, backslash or empty comment at the end of the line */
};

/* Splits line into *argv_out, NULL-terminated and owned by the caller, who frees it with
 * exec_argv_free(); *argc_out (may be NULL) is at least 1. On failure neither is touched, and
 * error (may be NULL) says which quote is open, with line 0: the line is the caller's. Takes time
 * linear in the length. */
int exec_line_parse(const char *line, char ***argv_out, size_t *argc_out,
                    struct parse_error *error);

/* Frees an argv of exec_line_parse(). Takes and ignores NULL. */
void exec_argv_free(char **argv);
