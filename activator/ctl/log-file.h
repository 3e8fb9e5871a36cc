/* SPDX-License-Identifier: MIT */
/* Reading a service's log file as it grows. The file may not exist yet, and its writer renames it
 * to FILE.1 and begins a new one when it is full. */
#pragma once

#include <stddef.h>

struct log_file;

typedef void (*log_line_fn)(const char *line, size_t length, void *data);

/* Begins so that the first log_file_read() hands out the newest `lines` lines. NULL when the file
 * or its folder is not ours to read. */
struct log_file *log_file_open(const char *path, unsigned lines);
/* Accepts NULL. */
void log_file_free(struct log_file *file);
/* Hands out every whole line that was not handed out before. */
void log_file_read(struct log_file *file, log_line_fn line, void *data);
/* Readable when there may be something new (log_file_read() empties it); -1: ask again after
 * log_file_timeout() ms. */
int log_file_descriptor(const struct log_file *file);
int log_file_timeout(const struct log_file *file);
