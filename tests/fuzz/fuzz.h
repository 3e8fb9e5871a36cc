/* SPDX-License-Identifier: MIT */
/* What each fuzzer offers to libFuzzer, or to fuzz-replay.c where there is none. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Not assert(): NDEBUG must not take it away. */
static inline void must(int truth)
{
    if (!truth)
        abort();
}
