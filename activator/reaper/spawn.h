/* SPDX-License-Identifier: MIT */
/* From MESSAGE_SPAWN to a running program. No allocation in here but for an argument list of
 * unusual size. */
#pragma once

#include "common/message.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define SPAWN_NOTE_MAX   4096
#define SPAWN_GROUPS_MAX (MESSAGE_MAX / sizeof(uint32_t))

struct spawn_request {
    uint64_t run;
    const char *name;
    const char *note;
    uint32_t flags;
    uint32_t uid;
    uint32_t gid;
    uint32_t ngroups;
    const gid_t *groups;
    uint32_t umask;
    const char *cwd;
    const char *log_path;
    uint32_t log_limit;
    uint32_t stop_timeout;
    char **argv;
    char **envp;
};

/* What the reaper prepared while it had nothing to do. */
struct spawn_ready {
    int null;                      /* /dev/null */
    int log_write;                 /* write end of the log pipe */
    bool reset_oom;                /* its own oom_score_adj is negative */
    struct spawn_failure *failure; /* a page shared with the child */
};

struct spawn_failure {
    uint32_t stage; /* enum spawn_stage, 0: none */
    uint32_t error;
};

/* Reads the message; what it points to lives in the message's bytes, in the memfd's mapping and
 * in static memory, until spawn_forget(). Returns 0 or -EBADMSG and the like for junk. */
int spawn_read(struct spawn_request *q, struct message_reader *r, int memfd);
void spawn_forget(void);

/* Gets ready. 0 or a negative errno. */
int spawn_prepare(struct spawn_ready *s);
/* The same in a copy of a process that has: what must not be shared is made anew. */
int spawn_prepare_copy(struct spawn_ready *s);
/* Touches the memory that a start of ordinary size needs. */
void spawn_warm(const struct spawn_ready *s);
/* Returns the pid of the program, which runs by then, or 0 with *failure filled. */
pid_t spawn_program(const struct spawn_request *q, const struct spawn_ready *s,
                    struct spawn_failure *failure);
