/* SPDX-License-Identifier: MIT */
#include "common/parse/bus-name.h"

#include <stddef.h>
#include <string.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Not isalpha(): that one depends on the locale. */
static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* Elements separated by dots; the 255 bytes count what precedes them too. */
static bool elements_are_valid(const char *elements, size_t before, bool hyphen, bool leading_digit)
{
    unsigned dots = 0;
    bool at_start = true;
    size_t length = strnlen(elements, BUS_NAME_MAX + 1);

    if (length + before > BUS_NAME_MAX)
        return false;
    for (size_t i = 0; i < length; i++) {
        char c = elements[i];

        if (c == '.') {
            if (at_start)
                return false;
            at_start = true;
            dots++;
            continue;
        }
        if (!is_letter(c) && !(hyphen && c == '-') &&
            !(is_digit(c) && (leading_digit || !at_start)))
            return false;
        at_start = false;
    }
    return dots > 0 && !at_start;
}

bool bus_name_is_well_known(const char *name)
{
    return name && elements_are_valid(name, 0, true, false);
}

bool bus_name_is_unique(const char *name)
{
    return name && name[0] == ':' && elements_are_valid(name + 1, 1, true, true);
}

bool bus_name_is_valid(const char *name)
{
    return bus_name_is_unique(name) || bus_name_is_well_known(name);
}

bool error_name_is_valid(const char *name)
{
    return name && elements_are_valid(name, 0, false, false);
}
