/* SPDX-License-Identifier: MIT */
#include "write.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void write_all(int fd, const void *data, size_t length)
{
    const char *p = data;

    while (length > 0) {
        ssize_t n = write(fd, p, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            _exit(70);
        p += n;
        length -= (size_t)n;
    }
}

void write_text(const char *text)
{
    write_all(STDERR_FILENO, text, strlen(text));
    write_all(STDERR_FILENO, "\n", 1);
}

void write_lines(size_t bytes)
{
    static char block[65536];
    size_t number = 0;

    while (bytes > 0) {
        size_t used = 0;
        while (used + 100 < sizeof block && bytes > 0) {
            int n = snprintf(block + used, sizeof block - used,
                             "line %zu of a service that has much to say\n", number++);
            used += (size_t)n;
            bytes -= (size_t)n < bytes ? (size_t)n : bytes;
        }
        write_all(STDERR_FILENO, block, used);
    }
}

void write_one_line(size_t bytes)
{
    static char block[65536];

    memset(block, 'x', sizeof block);
    for (size_t n; bytes > 0; bytes -= n) {
        n = bytes < sizeof block ? bytes : sizeof block;
        write_all(STDERR_FILENO, block, n);
    }
    write_all(STDERR_FILENO, "\n", 1);
}

void write_binary(size_t bytes)
{
    static unsigned char block[65536];

    for (size_t i = 0; i < sizeof block; i++)
        block[i] = (unsigned char)i;
    for (size_t n; bytes > 0; bytes -= n) {
        n = bytes < sizeof block ? bytes : sizeof block;
        write_all(STDERR_FILENO, block, n);
    }
}
