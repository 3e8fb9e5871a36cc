/* SPDX-License-Identifier: MIT */
/* The processes below one process, as /proc shows them, and signals to them. Libc only: the
 * reapers, the session wrapper and the activator use it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What /proc/PID/stat says. A pid and its start time (clock ticks since boot) together name a
 * process for ever. */
struct process_stat {
    pid_t pid;
    pid_t parent;
    pid_t group;
    pid_t session;
    char state;
    /* Ended and not waited for. A process whose first thread has ended and others run shows
     * state Z too, and is none. */
    bool zombie;
    unsigned threads;
    uint64_t start;
};

/* Keeps descriptors back, so that all of this can look at processes also when there are no more to
 * be had; again in a copy of the process. For reapers: nobody else sees to what they own. */
void process_tree_reserve(void);

/* The first bytes of /proc/PID/NAME, with a NUL after them. Their number or a negative errno. */
long process_file_read(pid_t pid, const char *name, char *text, size_t size);

/* This errno says that something is lacking here (descriptors, memory), and nothing of the process
 * that was to be looked at: look again later, and until then it is as it was. */
bool process_trouble(int number);

/* False when there is no such process that we may see (errno is ESRCH then), or when it cannot be
 * read now (process_trouble(errno)). */
bool process_stat_read(pid_t pid, struct process_stat *s);

struct tree_process {
    pid_t pid;
    pid_t parent;
    pid_t session;
    bool zombie;
    bool threaded;
    uint64_t start;
};

struct process_tree {
    struct tree_process *list; /* parents before children */
    size_t count;
    size_t room;
};

/* Fills tree with every process below root (root itself excluded), in one walk over
 * /proc/PID/task/TID/children where the kernel has it (CONFIG_PROC_CHILDREN), else over all of
 * /proc. skip[nskip] names direct children of root to leave out with what is below them.
 * What forks during the walk may be missing: callers that must have all walk again until
 * nothing is left. Returns 0 or a negative errno; the tree holds then what was found. Free with
 * process_tree_clear(). */
int process_tree_read(struct process_tree *tree, pid_t root, const pid_t *skip, size_t nskip);

/* Adds one process and all below it. As process_tree_read(). */
int process_tree_add(struct process_tree *tree, pid_t pid);

/* Adds the direct children of this process (of one thread) only, and of those only the ones that
 * known() does not know. It is asked before anything is read of them; where the kernel has no lists
 * of children also about others' children. As process_tree_read(). */
int process_tree_children(struct process_tree *tree, bool (*known)(pid_t pid, void *data),
                          void *data);

void process_tree_clear(struct process_tree *tree);

/* The parent of pid, 0 when it is gone, -1 when that cannot be told now. *start (may be NULL) gets
 * its start time in clock ticks since boot: pid and start together name a process for ever. *state
 * (may be NULL) its state letter. */
pid_t process_parent(pid_t pid, uint64_t *start, char *state);

/* True when pid is root or below it, by climbing the parents. */
bool process_is_below(pid_t pid, pid_t root);

/* Sends signal through a pidfd, after the process was found below root still. Returns 0, -ESRCH
 * when it is gone or not below root, or a negative errno. */
int process_signal_below(pid_t pid, pid_t root, int signal);

/* Sends signal (0: only looks) through a pidfd to the very process that a walk has seen, however
 * deep it lies: the start time is compared, no parents are climbed. What was below a living child
 * reaper once is so for ever, so for the reaper's own walks this is as good as
 * process_signal_below(). and_continue: SIGCONT after it. Returns 0, -ESRCH when it is gone or a
 * zombie, or a negative errno. */
int process_signal_seen(const struct tree_process *seen, int signal, bool and_continue);
