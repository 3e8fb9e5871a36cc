/* SPDX-License-Identifier: MIT */
/* Warm reapers. Each is a child of the top reaper from the start, so that a restart of the
 * activator changes nothing in the tree, and says hello when it is ready. It is cloned as a sibling
 * (CLONE_PARENT), or forked by the top where the kernel has lineage: there the creator counts, and
 * only what the reaper above forks itself can be told from all the others for ever. Without
 * lineage the first one is a mould: it makes the others, as copies of itself. */
#include "daemon/fd-watch.h"
#include "daemon/reapers.h"

#include "common/child-reaper.h"
#include "common/process-tree.h"
#include "common/programs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Spares under way at once when a burst of requests waits for them. */
#define COMING_MAX 8
/* A top reaper that has not answered for so long is held or very busy: it holds up nobody. */
#define TOP_LATE_MS 1000
/* The same for the spare that makes the others; it takes a thousandth of that. */
#define MOULD_LATE_MS 1000
/* A copy is ready long before. */
#define UNREADY_USEC G_USEC_PER_SEC
/* How long a reaper may take for its hello before it is looked at. */
#define HELLO_MS 1000

struct spawn {
    char *path;
    char **argv;
    char **envp;
    int lifeline;
    const struct rlimit *descriptors;
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
    setrlimit(RLIMIT_NOFILE, s->descriptors);
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
    guint timer;
    guint patience; /* ms */
};

static void coming_free(gpointer data)
{
    struct coming *c = data;

    fd_watch_free(c->watch);
    g_source_remove(c->timer);
    if (c->fd >= 0)
        close(c->fd);
    g_free(c);
}

/* Stopped by a signal; not one that a debugger holds. */
static gboolean process_is_held(pid_t pid)
{
    struct process_stat s;

    return process_stat_read(pid, &s) && s.state == 'T';
}

static guint under_way(struct activator *a)
{
    return a->spares_asked + a->copies_asked +
           (a->spares_coming ? g_hash_table_size(a->spares_coming) : 0);
}

/* One died on its way: the runs that wait get another chance, a bounded number of times. */
void spares_died(struct activator *a)
{
    if (++a->spares_failed < 3) {
        spares_want(a);
    } else if (a->mould) {
        g_warning("copies of a reaper die at once: each is executed from now on");
        a->spares_failed = 0;
        a->no_copies = TRUE;
        peer_free(a->mould);
        spares_want(a);
    } else if (under_way(a) == 0) {
        a->spares_failed = 0;
        g_warning("reapers die before they are ready");
        start_without_spare(a, ECHILD);
    }
}

static void on_coming_end(int fd, uint32_t events, void *data)
{
    struct coming *c = data;
    struct activator *a = c->a;

    (void)fd;
    (void)events;
    g_hash_table_remove(a->spares_coming, GINT_TO_POINTER(c->pid));
    spares_died(a);
}

/* One that is held would be waited for as long as it is. */
static gboolean on_no_hello(gpointer data)
{
    struct coming *c = data;

    c->patience *= 2;
    c->timer = g_timeout_add(c->patience, on_no_hello, c);
    if (c->fd >= 0 && process_is_held(c->pid)) {
        g_warning("reaper %d is held before it is ready: killed", (int)c->pid);
        syscall(SYS_pidfd_send_signal, c->fd, SIGKILL, NULL, 0);
    }
    return G_SOURCE_REMOVE;
}

/* 0 or a negative errno, -ESRCH when it is dead already. */
static int coming_watch(struct activator *a, pid_t pid)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    int number = errno;

    if (fd < 0 && number != ENOSYS) {
        /* Nobody would notice its death, and its connection would not be accepted either. */
        if (number != ESRCH)
            kill(pid, SIGKILL);
        return -number;
    }
    struct coming *c = g_new0(struct coming, 1);
    c->a = a;
    c->pid = pid;
    c->fd = fd;
    if (fd >= 0)
        c->watch = fd_watch_new(fd, on_coming_end, c);
    c->patience = HELLO_MS;
    c->timer = g_timeout_add(c->patience, on_no_hello, c);
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

static void cannot_start(struct activator *a, int number)
{
    if (!a->spares_complained)
        g_warning("cannot start a reaper: %s", g_strerror(number));
    a->spares_complained = TRUE;
    /* Nobody is left waiting without an answer; a warm one is tried for again later. */
    if (g_queue_is_empty(a->idle_spares) && under_way(a) == 0) {
        start_without_spare(a, number);
        if (!a->spares_retry)
            a->spares_retry = g_timeout_add_seconds(2, on_retry, a);
    }
}

/* --- by the top reaper ------------------------------------------------------------------- */

static gboolean founds_lineages(const struct activator *a)
{
    return a->top && a->top_kind == CHILD_REAPER_PATCHED && !a->top_late;
}

static gboolean on_late(gpointer data)
{
    struct activator *a = data;

    a->spares_late = 0;
    a->spares_asked = 0;
    a->top_late = TRUE;
    spares_want(a);
    return G_SOURCE_REMOVE;
}

static int ask_top(struct activator *a, const char *path)
{
    if (access(path, X_OK) < 0)
        return -errno;
    top_ask_spare(a, path);
    a->spares_asked++;
    if (!a->spares_late)
        a->spares_late = g_timeout_add(TOP_LATE_MS, on_late, a);
    return 0;
}

static gboolean is_peer(struct activator *a, pid_t pid)
{
    GHashTableIter iter;
    gpointer value = NULL;

    g_hash_table_iter_init(&iter, a->peers);
    while (g_hash_table_iter_next(&iter, &value, NULL)) {
        const struct peer *p = value;
        if (p->pid == pid && (p->kind == PEER_SPARE || p->kind == PEER_RUN))
            return TRUE;
    }
    return FALSE;
}

void spares_answered(struct activator *a, pid_t pid, int number)
{
    a->top_late = FALSE;
    if (a->spares_asked > 0)
        a->spares_asked--;
    if (a->spares_asked == 0)
        g_clear_handle_id(&a->spares_late, g_source_remove);
    if (a->leaving)
        return;
    if (pid <= 0) {
        cannot_start(a, number);
        return;
    }
    a->spares_complained = FALSE;
    /* Its hello comes by another socket and may have been first. */
    if (is_peer(a, pid))
        return;
    int result = coming_watch(a, pid);
    if (result == -ESRCH)
        spares_died(a);
    else if (result < 0)
        cannot_start(a, -result);
}

/* --- by a mould --------------------------------------------------------------------------- */

static gboolean take_mould(struct activator *a, struct peer *p)
{
    if (a->mould || a->no_copies || a->leaving || founds_lineages(a))
        return FALSE;
    a->mould = p;
    spares_want(a);
    return TRUE;
}

void spares_forget_mould(struct activator *a, const struct peer *p)
{
    if (a->mould != p)
        return;
    a->mould = NULL;
    a->copies_asked = 0;
    g_clear_handle_id(&a->mould_late, g_source_remove);
}

/* Somebody has stopped it: those who wait get a reaper that is executed. */
static gboolean on_mould_late(gpointer data)
{
    struct activator *a = data;

    a->mould_late = 0;
    g_warning("the reaper that makes spares does not answer: another one is started");
    /* It would not see that nobody wants it any more. */
    reaper_end_held(a->mould->link);
    peer_free(a->mould);
    spares_want(a);
    return G_SOURCE_REMOVE;
}

static void ask_mould(struct activator *a)
{
    static struct message m;

    message_begin(&m, MESSAGE_COPY);
    link_send(a->mould->link, &m, NULL, 0);
    a->copies_asked++;
    if (!a->mould_late)
        a->mould_late = g_timeout_add(MOULD_LATE_MS, on_mould_late, a);
}

void spares_copied(struct activator *a, int number)
{
    struct peer *mould = a->mould;

    g_clear_handle_id(&a->mould_late, g_source_remove);
    if (a->copies_asked > 0)
        a->copies_asked--;
    if (a->copies_asked > 0)
        a->mould_late = g_timeout_add(MOULD_LATE_MS, on_mould_late, a);
    if (number == 0) {
        a->spares_complained = FALSE;
    } else if (number == ENOSYS || number == EPERM || number == EINVAL) {
        /* An old kernel, a container or valgrind: each is executed then. */
        g_info("no copies of reapers: %s", g_strerror(number));
        a->no_copies = TRUE;
        spares_forget_mould(a, mould);
        g_queue_push_tail(a->idle_spares, mould);
        start_with_spare(a);
    } else {
        cannot_start(a, number);
    }
}

/* ------------------------------------------------------------------------------------------- */

static int spare_start(struct activator *a)
{
    char path[PATH_MAX];
    char lifeline[16];
    char room[SPARE_TITLE_ROOM];
    char *argv[] = {path, (char *)"--spare", a->runtime_dir, NULL, NULL, NULL};
    char *envp[] = {room, NULL};
    struct spawn s = {.path = path,
                      .argv = argv,
                      .envp = envp,
                      .lifeline = a->options->lifeline_fd,
                      .descriptors = &a->options->descriptors,
                      .has_top = a->top != NULL};
    int result = program_path(PROGRAM_REAPER, path, sizeof path);

    if (result < 0)
        return result;
    if (founds_lineages(a)) {
        ask_top(a, path);
        return 0;
    }
    snprintf(room, sizeof room, "TITLE=%*s", (int)sizeof room - 7, "");
    if (s.lifeline >= 0) {
        snprintf(lifeline, sizeof lifeline, "%d", s.lifeline);
        argv[3] = (char *)"--lifeline";
        argv[4] = lifeline;
    }
    pid_t pid = spare_clone(&s);
    if (pid < 0)
        return pid;
    return coming_watch(a, pid);
}

void spares_want(struct activator *a)
{
    guint waiting = g_queue_get_length(a->waiting);
    guint wanted = MIN(MAX(waiting, 1), COMING_MAX);
    guint have = g_queue_get_length(a->idle_spares) + under_way(a);

    /* What waits is not to wait for the next look at whether there is room again. */
    if (a->spares_retry && waiting > 0)
        g_clear_handle_id(&a->spares_retry, g_source_remove);
    if (a->leaving || a->spares_retry || !a->reapers)
        return;
    for (; have < wanted; have++) {
        if (a->mould && !founds_lineages(a)) {
            ask_mould(a);
            continue;
        }
        int result = spare_start(a);
        if (result < 0) {
            cannot_start(a, -result);
            return;
        }
        /* One that was asked for is not there yet. */
        if (a->spares_asked == 0)
            a->spares_complained = FALSE;
    }
}

gboolean reaper_end_held(struct link *l)
{
    struct pollfd end = {.fd = l->fd};

    if (l->pid <= 1 || !process_is_held(l->pid))
        return FALSE;
    int fd = (int)syscall(SYS_pidfd_open, l->pid, 0);
    if (fd < 0)
        return FALSE;
    /* As long as the connection stands the number is its. */
    gboolean done =
        poll(&end, 1, 0) == 0 && syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0) == 0;
    close(fd);
    return done;
}

gboolean spares_is_ours(struct activator *a, pid_t pid)
{
    pid_t parent = process_parent(pid, NULL, NULL);

    return parent == getpid() || (a->top && parent == a->top->pid);
}

void spares_came(struct activator *a, struct peer *p)
{
    if (a->spares_coming)
        g_hash_table_remove(a->spares_coming, GINT_TO_POINTER(p->pid));
    if (take_mould(a, p))
        return;
    a->spares_failed = 0;
    g_queue_push_tail(a->idle_spares, p);
    start_with_spare(a);
}

gboolean spares_lost(struct activator *a, const struct peer *p)
{
    gboolean coming =
        a->spares_coming && g_hash_table_remove(a->spares_coming, GINT_TO_POINTER(p->pid));

    /* A copy says nothing before it has a run and has spawned it; one that ends so soon was never
     * ready. Without a limit the mould would make the next one for ever. */
    gboolean unready = p->copied && g_get_monotonic_time() - p->copied < UNREADY_USEC;

    return coming || unready || (a->mould == p && a->copies_asked > 0);
}

void spares_close(struct activator *a)
{
    struct peer *p = NULL;

    g_clear_handle_id(&a->spares_retry, g_source_remove);
    g_clear_handle_id(&a->spares_late, g_source_remove);
    a->spares_asked = 0;
    g_clear_pointer(&a->spares_coming, g_hash_table_destroy);
    /* A spare leaves when its connection closes. */
    while ((p = g_queue_peek_head(a->idle_spares)))
        peer_free(p);
    if (a->mould)
        peer_free(a->mould);
}
