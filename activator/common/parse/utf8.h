/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Whether the bytes are UTF-8 as RFC 3629 has it (no surrogates, nothing overlong, nothing above
 * U+10FFFF) without NUL. *bad (may be NULL) gets the offset of the first wrong sequence. */
bool utf8_is_valid(const char *text, size_t length, size_t *bad);
