/* SPDX-License-Identifier: MIT */
/* Blocks of bytes that are too large for a message travel as sealed memfds. Libc only. */
#pragma once

#include <stddef.h>

/* A sealed, close-on-exec memfd that holds the bytes. Returns the descriptor (the caller owns
 * it) or a negative errno. */
int block_to_memfd(const void *data, size_t length);

/* Maps such a descriptor for reading: it has to be sealed against every change (else whoever
 * sent it could change it after it was checked) and of exactly `length` bytes, unless length is
 * 0: then *size gets what it has, at most max. Returns the memory (munmap() it) or NULL with
 * errno set. */
const void *block_map(int fd, size_t length, size_t max, size_t *size);
