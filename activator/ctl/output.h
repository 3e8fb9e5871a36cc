/* SPDX-License-Identifier: MIT */
/* What people see: colours, widths, times, the pager, and services' own words made harmless. */
#pragma once

#include "ctl/ctl.h"

#include <stddef.h>
#include <stdint.h>

enum colour {
    COLOUR_NONE,
    COLOUR_BOLD,
    COLOUR_DIM,
    COLOUR_GREEN,
    COLOUR_YELLOW,
    COLOUR_RED,
};

/* The signs that lists and trees are drawn with: ASCII where the locale's character set has no
 * others. */
struct signs {
    const char *dot;
    const char *branch;
    const char *last_branch;
    const char *pipe;
    const char *ellipsis;
};

/* Looks at the terminal, NO_COLOR and the locale. Before any other function here. */
void output_init(void);
const struct signs *output_signs(void);
/* text between the colour's escape sequences on a terminal, else as it is; newly allocated. */
char *output_coloured(enum colour colour, const char *text);
/* The escape sequence that begins the colour (COLOUR_NONE: ends all), "" off a terminal. */
const char *output_colour(enum colour colour);
/* The colour that a service's state is shown in. */
enum colour output_state_colour(const char *state);

/* Columns that a line may have: $COLUMNS, or the terminal's; 0 where nobody set a limit. */
unsigned output_width(void);

/* False for what must not reach a terminal as it is: control characters (C0, DEL, C1),
 * invisible ones that turn the direction of the text, line and paragraph separators. */
bool output_character_is_safe(gunichar c);
/* The text with everything unsafe and every byte that is not UTF-8 made visible: \x1b, \u0085;
 * a tab stays, or becomes a blank when it would break columns. Newly allocated. */
char *output_safe(const char *text);
char *output_safe_line(const char *text, size_t length);
/* As output_safe() without tabs, cut to `columns` (0: as long as it is) with an ellipsis. */
char *output_fitted(const char *text, unsigned columns);
/* As output_fitted(), but broken at blanks into lines that fit the terminal; those after the first
 * stand behind `indent` blanks, the first behind `first` columns that are there already. */
char *output_wrapped(const char *text, unsigned indent, unsigned first);
/* The columns that safe text takes on a terminal. */
unsigned output_columns(const char *text);

/* "Sat 2026-11-28 05:25:23 UTC", "3min 2s", "12.3 ms"; newly allocated. */
char *output_time(uint64_t usec);
char *output_time_of_day(uint64_t usec);
/* "Nov 28 05:25:23"; as all of these in local time. */
char *output_date(uint64_t usec);
char *output_ago(uint64_t usec);
/* "Nov 28 05:25:23 " in local time for the stamp that a line of a log begins with, and where its
 * text begins; "" and the whole line when it has none. Newly allocated. */
char *output_log_time(const char *line, const char **text);
char *output_duration(uint64_t usec);
/* "status 3", "signal 11 (SEGV), core dumped": how a process ended; newly allocated. */
char *output_end_of_process(const char *how, int64_t status);
/* The number of a signal by its name (with or without SIG, RTMIN+1 too) or number; -1. */
int output_signal_number(const char *name);

/* From here on stdout goes through $PAGER when it is a terminal and --no-pager is not given. */
void output_pager_begin(const struct ctl *ctl);
/* Flushes stdout and waits for the pager. Returns CTL_DONE, or CTL_FAILED with a message when
 * something could not be written. */
int output_end(void);
/* Flushes stdout. As output_end(). */
int output_flush(void);

/* A dim line in parentheses where there is a terminal: that nothing is there to be shown. */
void output_nothing(const char *text);

/* Shows or renews the line "text (3 s)" on a terminal's stderr once a second has gone by. */
void output_progress(const char *text, gint64 elapsed_usec);
void output_progress_end(void);
