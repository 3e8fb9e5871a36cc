/* SPDX-License-Identifier: MIT */
/* Where the daemon's own words go: stderr, or syslog on a system bus without a terminal. Neither
 * is ever waited for: what does not fit at once is dropped. */
#pragma once

#include <glib.h>

/* level: error, warning, info, debug. FALSE when it is none of these. */
gboolean journal_open(gboolean system, const char *level);
