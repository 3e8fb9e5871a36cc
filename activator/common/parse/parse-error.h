/* SPDX-License-Identifier: MIT */
/* Where and why a text was refused; shared by all parsers of this folder. */
#pragma once

struct parse_error {
    unsigned line;     /* 1 is the first; 0 when no line is to blame (size, missing key, I/O) */
    char message[256]; /* the reason in one line, without the line number; bus-config.h says
                          what it adds */
};

/* Sets *error (may be NULL). A message that is too long is cut; control characters, which can
 * come from a hostile file, become '?'. */
void parse_error_set(struct parse_error *error, unsigned line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
