/* SPDX-License-Identifier: MIT */
/* The end of a service's log. */
#pragma once

#include <glib.h>

/* The last `lines` lines of path and, before it, of its predecessor path.1 (as the reaper rotates
 * them), oldest first. At most max_bytes of the files are read, from their ends; the first line
 * is dropped when the bound cut it. Never waits: only regular files are read.
 *
 * The lines are fit for D-Bus: valid UTF-8, bytes that are not become U+FFFD; control characters
 * except the tab are written \xNN.
 *
 * Returns an array that owns its strings; empty when there is nothing. g_ptr_array_unref(). */
GPtrArray *log_tail(const char *path, guint lines, gsize max_bytes);
