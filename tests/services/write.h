/* SPDX-License-Identifier: MIT */
/* Things that services write to their stderr. */
#pragma once

#include <stddef.h>

/* Everything; exits with 70 when it cannot: a service that gets EPIPE or a full log is what the
 * tests look for. */
void write_all(int fd, const void *data, size_t length);
void write_text(const char *text); /* with a newline */
void write_lines(size_t bytes);    /* numbered lines, about that many bytes */
void write_one_line(size_t bytes); /* without any newline before the end */
void write_binary(size_t bytes);   /* all byte values in turn */
