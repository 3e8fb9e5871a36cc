/* SPDX-License-Identifier: MIT */
#include "common/parse/utf8.h"

/* Length of the sequence at s, 0 when it is wrong. */
static size_t sequence(const unsigned char *s, size_t left)
{
    size_t length = 0;
    unsigned value = 0;
    static const unsigned least[] = {0, 0, 0x80, 0x800, 0x10000};

    if (*s < 0x80)
        return *s ? 1 : 0;
    if ((*s & 0xe0) == 0xc0) {
        length = 2;
        value = *s & 0x1f;
    } else if ((*s & 0xf0) == 0xe0) {
        length = 3;
        value = *s & 0x0f;
    } else if ((*s & 0xf8) == 0xf0) {
        length = 4;
        value = *s & 0x07;
    }
    if (length == 0 || length > left)
        return 0;
    for (size_t i = 1; i < length; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        value = value << 6 | (s[i] & 0x3f);
    }
    if (value < least[length] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
        return 0;
    return length;
}

bool utf8_is_valid(const char *text, size_t length, size_t *bad)
{
    for (size_t i = 0; i < length;) {
        size_t size = sequence((const unsigned char *)text + i, length - i);
        if (size == 0) {
            if (bad)
                *bad = i;
            return false;
        }
        i += size;
    }
    return true;
}
