/* SPDX-License-Identifier: MIT */
/* What became of the last 512 runs, in memory and in a text file that survives the activator.
 *
 * A line of the file is
 *     dba1 run how result status main_pid requested spawned connected owned ended name
 *          error_name error_message .
 * separated by tabs, the point a field too (a line that was cut off lacks it),
 * numbers in decimal, texts with \t \n \r \\ and \xNN (other control bytes)
 * escaped, "-" for no text ("\x2d" for a text that is "-"). Of several lines with the same run
 * the last counts. What does not parse is skipped. */
#pragma once

#include <glib.h>
#include <stdbool.h>

#define HISTORY_KEEP 512

struct history_record {
    guint64 run; /* never 0 */
    char *name;
    guint64 requested, spawned, connected, owned, ended; /* µs since the epoch, 0 unknown */
    guint32 main_pid;                                    /* 0 unknown */
    guint8 how;                                          /* enum end_how */
    gint32 status;
    char *error_name, *error_message; /* or NULL */
    guint8 result;                    /* enum history_result */
    bool stopped;                     /* somebody asked for its end */
};

enum history_result {
    HISTORY_STARTING = 0,
    HISTORY_STARTED = 1,
    HISTORY_FAILED = 2,
};

struct history;

/* Loads the file at path; a missing one is an empty history. Returns NULL with error set when
 * there is something that is not a regular file, or it cannot be read. */
struct history *history_open(const char *path, GError **error);

/* Writes nothing. Accepts NULL. */
void history_free(struct history *h);

/* Inserts the record, or replaces the one with the same run; the texts are copied. Appends one
 * line to the file with a single write, so that a crash leaves at most one truncated line. */
void history_put(struct history *h, const struct history_record *record);

/* The record or NULL; borrowed until the next history_put(). */
const struct history_record *history_find(struct history *h, guint64 run);

/* The newest n records (0: all), the oldest of them first. Order of runs, not of writing. each
 * must not call history_put(). */
void history_foreach(struct history *h, guint n,
                     void (*each)(const struct history_record *record, void *data), void *data);

/* The highest run id that was ever recorded here, 0 for none. */
guint64 history_last_run_id(const struct history *h);

/* Parses one line (without its newline). On success the record owns its texts:
 * history_record_clear(). On failure false, and nothing is to be freed. */
bool history_parse_line(const char *line, gsize length, struct history_record *record);
void history_record_clear(struct history_record *record);

/* The line for a record, with its newline; g_free(). */
char *history_format_line(const struct history_record *record);
