/* SPDX-License-Identifier: MIT */
/* Reading the end of a file without ever waiting for it. */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* Opens a regular file that path itself names (no link), for reading. Returns the descriptor or
 * -1 with errno set; EINVAL when it is no regular file. */
int read_end_open(const char *path);

/* The last `most` bytes of the file, or all of it; g_free(). *whole (may be NULL) says whether
 * that is all of it. NULL with errno set on failure. */
char *read_end(int fd, gsize most, gsize *length, bool *whole);
