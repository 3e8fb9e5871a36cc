/* SPDX-License-Identifier: MIT */
/* Reading a small configuration file that somebody else may have put there.
 *
 * Returns, here and in every header of this folder: negative = fatal, to be forwarded (-ENOMEM,
 * -EMFILE, -ENFILE); 0 = done; positive = one of the named results, for the caller to handle. */
#pragma once

#include "common/parse/parse-error.h"

#include <stddef.h>

enum {
    READ_FILE_E_MISSING = 1, /* ENOENT or ENOTDIR */
    READ_FILE_E_UNREADABLE,  /* no permission, not a regular file, I/O error */
    READ_FILE_E_TOO_LARGE,   /* more than limit bytes */
};

/* Reads the regular file path, following symlinks, into *text_out (owned by the caller, free();
 * a NUL that *length_out does not count stands behind it). Never blocks on a FIFO or a
 * device and never makes a terminal ours. error (may be NULL) is set for positive results. */
int read_file(const char *path, size_t limit, char **text_out, size_t *length_out,
              struct parse_error *error);
