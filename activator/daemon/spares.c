/* SPDX-License-Identifier: MIT */
/* Warm reapers. Each is cloned as a sibling (CLONE_PARENT: a child of the top reaper from the
 * start, so that a restart of the activator changes nothing in the tree) and says hello when it
 * is ready. */
#include "daemon/fd-watch.h"
#include "daemon/reapers.h"

#include "common/programs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Spares under way at once when a burst of requests waits for them. */
#define COMING_MAX 8
/* Room for the reaper to write its title into: the longest bus name and its prefix. */
#define TITLE_ROOM 320

struct spawn {
    char *path;
    char **argv;
    char **envp;
    int lifeline;
    gboolean has_top;
    sigset_t mask;
    int error;
};

static int spare_child(void *data)
{
    struct spawn *s = data;

    /* Memory is shared with the daemon, which waits until the exec: nothing but system calls.
     * Handlers of the daemon must not run here: signals stay blocked until the reaper, which
     * blocks what it handles itself, has been executed. */
    if (s->lifeline >= 0)
        fcntl(s->lifeline, F_SETFD, 0);
    execve(s->path, s->argv, s->envp);
    s->error = errno;
    _exit(127);
}

/* Runs spare_child with vfork semantics. Returns the pid or a negative errno. */
static pid_t spare_clone(struct spawn *s)
{
    static _Alignas(16) char stack[65536];
    sigset_t all;
    int flags = CLONE_VM | CLONE_VFORK;

    /* Without a top reaper above there is no parent that would want it. */
    if (s->has_top)
        flags |= CLONE_PARENT;
    else
        flags |= SIGCHLD;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &s->mask);
    pid_t pid = clone(spare_child, stack + sizeof stack, flags, s);
    int number = errno;
    sigprocmask(SIG_SETMASK, &s->mask, NULL);
    if (s->lifeline >= 0)
        fcntl(s->lifeline, F_SETFD, FD_CLOEXEC);
    if (pid < 0)
        return -number;
    return s->error ? -s->error : pid;
}

/* A spare that was cloned and has not said hello. */
struct coming {
    struct activator *a;
    pid_t pid;
    int fd;
    struct fd_watch *watch;
};

static void coming_free(gpointer data)
{
    struct coming *c = data;

    fd_watch_free(c->watch);
    if (c->fd >= 0)
        close(c->fd);
    g_free(c);
}

/* It died on its way: the runs that wait get another chance, a bounded number of times. */
static void on_coming_end(int fd, uint32_t events, void *data)
{
    struct coming *c = data;
    struct activator *a = c->a;

    (void)fd;
    (void)events;
    g_hash_table_remove(a->spares_coming, GINT_TO_POINTER(c->pid));
    if (++a->spares_failed < 3) {
        spares_want(a);
    } else if (g_hash_table_size(a->spares_coming) == 0) {
        a->spares_failed = 0;
        g_warning("reapers die before they are ready");
        start_without_spare(a, ECHILD);
    }
}

static int spare_start(struct activator *a)
{
    char path[PATH_MAX];
    char lifeline[16];
    char room[TITLE_ROOM + 8];
    char *argv[] = {path, (char *)"--spare", a->runtime_dir, NULL, NULL, NULL};
    char *envp[] = {room, NULL};
    struct spawn s = {.path = path,
                      .argv = argv,
                      .envp = envp,
                      .lifeline = a->options->lifeline_fd,
                      .has_top = a->top != NULL};
    int result = program_path(PROGRAM_REAPER, path, sizeof path);

    if (result < 0)
        return result;
    memset(room, ' ', sizeof room);
    memcpy(room, "TITLE=", 6);
    room[sizeof room - 1] = '\0';
    if (s.lifeline >= 0) {
        snprintf(lifeline, sizeof lifeline, "%d", s.lifeline);
        argv[3] = (char *)"--lifeline";
        argv[4] = lifeline;
    }
    pid_t pid = spare_clone(&s);
    if (pid < 0)
        return pid;
    struct coming *c = g_new0(struct coming, 1);
    c->a = a;
    c->pid = pid;
    c->fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (c->fd >= 0)
        c->watch = fd_watch_new(c->fd, on_coming_end, c);
    if (!a->spares_coming)
        a->spares_coming = g_hash_table_new_full(NULL, NULL, NULL, coming_free);
    g_hash_table_insert(a->spares_coming, GINT_TO_POINTER(pid), c);
    return 0;
}

static gboolean on_retry(gpointer data)
{
    struct activator *a = data;

    a->spares_retry = 0;
    spares_want(a);
    return G_SOURCE_REMOVE;
}

void spares_want(struct activator *a)
{
    guint waiting = g_queue_get_length(a->waiting);
    guint wanted = MIN(MAX(waiting, 1), COMING_MAX);
    guint have = g_queue_get_length(a->idle_spares);

    if (a->leaving || a->spares_retry || !a->reapers)
        return;
    if (a->spares_coming)
        have += g_hash_table_size(a->spares_coming);
    for (; have < wanted; have++) {
        int result = spare_start(a);
        if (result == 0) {
            a->spares_complained = FALSE;
            continue;
        }
        if (!a->spares_complained)
            g_warning("cannot start a reaper: %s", g_strerror(-result));
        a->spares_complained = TRUE;
        /* Nobody is left waiting without an answer; a warm one is tried for again later. */
        if (have == 0) {
            start_without_spare(a, -result);
            a->spares_retry = g_timeout_add_seconds(2, on_retry, a);
        }
        return;
    }
}

void spares_came(struct activator *a, pid_t pid)
{
    a->spares_failed = 0;
    if (a->spares_coming)
        g_hash_table_remove(a->spares_coming, GINT_TO_POINTER(pid));
}

void spares_close(struct activator *a)
{
    struct peer *p = NULL;

    if (a->spares_retry)
        g_source_remove(a->spares_retry);
    a->spares_retry = 0;
    g_clear_pointer(&a->spares_coming, g_hash_table_destroy);
    /* A spare leaves when its connection closes. */
    while ((p = g_queue_peek_head(a->idle_spares)))
        peer_free(p);
}
