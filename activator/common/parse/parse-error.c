/* SPDX-License-Identifier: MIT */
#include "common/parse/parse-error.h"

#include <stdarg.h>
#include <stdio.h>

void parse_error_set(struct parse_error *error, unsigned line, const char *format, ...)
{
    va_list args;

    if (!error)
        return;
    error->line = line;
    va_start(args, format);
    /* The analyzer does not see va_start() above. */
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized) */
    if (vsnprintf(error->message, sizeof(error->message), format, args) < 0)
        error->message[0] = '\0';
    va_end(args);
    for (char *c = error->message; *c; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    }
}
