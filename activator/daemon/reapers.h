/* SPDX-License-Identifier: MIT */
/* Connections of reapers, the link to the top reaper, and spares. */
#pragma once

#include "daemon/service.h"

enum peer_kind { PEER_NEW, PEER_SPARE, PEER_RUN, PEER_HELPER };

struct peer {
    struct activator *a;
    struct link *link;
    enum peer_kind kind;
    pid_t pid;
    guint64 run_id; /* of a run's reaper; the run may be over */
    /* helper door */
    struct service *asked;
    gboolean held;
    char *held_name, *held_file;
    char **held_env;
    gint64 copied; /* when the mould made it, monotonic; 0: it was executed, or has spawned */
    guint silence; /* timer: a peer that says nothing is dropped */
};

struct peer *peer_new(struct activator *a, int fd, const struct link_handler *handler,
                      enum peer_kind kind);
void peer_free(struct peer *p);

gboolean reapers_open(struct activator *a, GError **error);
void reapers_close(struct activator *a);
/* A report of a run, from its reaper or from the top. FALSE: malformed. */
gboolean reapers_report(struct activator *a, struct run *run, struct message_reader *r);
/* Which run this reaper has; the answer is MESSAGE_REAPER_GONE when it is dead. pipe_fd: the read
 * end of its log pipe, borrowed, or -1. */
void reapers_tell_top(struct run *run, pid_t reaper, int pipe_fd);
/* Sends MESSAGE_SPAWN to an idle spare; the run has it then, or has failed and has none. */
void reapers_dispatch(struct peer *spare, struct run *run);
/* Kills the reaper at the other end of a link with SIGKILL if it is held (SIGSTOP): it would do
 * what it was told whenever it is continued, long after somebody else has done it. */
gboolean reaper_end_held(struct link *l);

/* top.c */
gboolean top_open(struct activator *a, int fd, GError **error);
void top_tell_reaper(struct activator *a, pid_t pid, struct run *run, const char *note,
                     const char *log, int pipe_fd);
void top_tell(struct activator *a, enum message_type type);
/* What a dead reaper left, as the top tells it. Adds all of the run's that live, and what is below
 * them. */
struct process_tree;
void top_orphans_tree(struct run *run, struct process_tree *tree);
/* The run that this child of the top is of, or NULL. */
struct run *top_orphan_run(struct activator *a, pid_t pid);
void top_orphan_ended(struct run *run, pid_t pid);
void top_orphans_forget(struct run *run);
/* Asks the top for a spare; spares_answered() follows. */
void top_ask_spare(struct activator *a, const char *program);

/* spares.c */
void spares_want(struct activator *a);
/* Whether pid is a child of the top reaper, as each spare is (without one, of ours). */
gboolean spares_is_ours(struct activator *a, pid_t pid);
/* A spare has said hello. */
void spares_came(struct activator *a, struct peer *p);
/* The top has forked the spare pid, or could not (pid 0, errno). */
void spares_answered(struct activator *a, pid_t pid, int number);
/* The mould has made one (number 0), or could not (errno). */
void spares_copied(struct activator *a, int number);
/* The connection of this peer is over. TRUE: a spare that was wanted will not come, call
 * spares_died() when the peer is freed. */
gboolean spares_lost(struct activator *a, const struct peer *p);
void spares_died(struct activator *a);
/* The peer goes; does nothing when it was not the mould. */
void spares_forget_mould(struct activator *a, const struct peer *p);
void spares_close(struct activator *a);
/* Where a service's log lies; g_free(). */
char *log_path(struct activator *a, const char *name);
