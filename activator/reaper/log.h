/* SPDX-License-Identifier: MIT */
/* The log of one run: takes what the service writes into its pipe and stamps it into a bounded
 * file. Never waits: not for the service, not for the disk, not for syslog, not for the pipe's
 * end (others hold ends of it). */
#pragma once

#include "common/message.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define LOG_LINE_MAX 4096
#define LOG_ROOM     8192
#define LOG_LIMIT    (256u * 1024)

struct log {
    int pipe; /* read end, borrowed; -1 after its end */
    int file;
    int syslog;
    uint32_t limit;
    bool to_syslog;
    bool open_failed;     /* said so once */
    bool continued;       /* the next line goes on where a long one was split */
    bool has_line;        /* out[complete..used) is the beginning of a line */
    uint64_t syslog_next; /* ms: no attempt to connect before */
    int64_t stamp_second; /* of stamp */
    size_t complete;      /* out[0..complete) are whole lines */
    size_t used;
    size_t text; /* where the text of the line begun starts */
    char stamp[24];
    char words[LAST_WORDS_MAX + 1]; /* of the last line that is not blank */
    char name[256];
    char path[PATH_MAX];
    char out[LOG_ROOM];
};

/* No file, no pipe. */
void log_init(struct log *log);
/* Where it goes. path "" = nowhere, limit 0 = LOG_LIMIT. A name or path that is too long is
 * refused with -ENAMETOOLONG. */
int log_target(struct log *log, const char *name, const char *path, uint32_t limit, bool syslog);

/* Takes what lies in the pipe, at most about `most` bytes. True when there may be more. */
bool log_drain(struct log *log, size_t most);
/* Ends the line that was begun, if any, and writes all out. */
void log_flush(struct log *log);
/* Flushes and closes file and syslog (not the pipe). */
void log_close(struct log *log);

/* How many of the first `most` bytes of text[length] may be taken without cutting a UTF-8
 * sequence in two. */
size_t utf8_cut(const char *text, size_t length, size_t most);
