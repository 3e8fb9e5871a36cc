/* SPDX-License-Identifier: MIT */
/* The top reaper: the activator is its service. */
#include "reaper/top.h"

#include "common/child-reaper.h"
#include "common/programs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define BACKOFF_FIRST 100
#define BACKOFF_LAST  10000
#define GOOD_AFTER    1000
#define REAP_TURN     256
#define READ_TURN     1024
#define LOOKS         100
#define LOOK_MS       10
/* When all else is gone, reapers may still write down what their services said last. */
#define REAPER_GRACE 300

static void inherit(int fd)
{
    fcntl(fd, F_SETFD, 0);
}

/* In the child, a copy of ours: anything may be called. */
static void child_exec(const struct top *t, int fd)
{
    char text[16];
    char **command = t->options->command;

    snprintf(text, sizeof text, "%d", fd);
    setenv("DBUS_ACTIVATOR_TOP_FD", text, 1);
    snprintf(text, sizeof text, "%u", (unsigned)message_version);
    setenv("DBUS_ACTIVATOR_TOP_VERSION", text, 1);
    if (t->restarted)
        setenv("DBUS_ACTIVATOR_TOP_AGAIN", "1", 1);
    inherit(fd);
    for (size_t i = 0; i < t->options->npass; i++)
        inherit(t->options->pass[i]);
    if (t->options->lifeline >= 0)
        inherit(t->options->lifeline);
    setrlimit(RLIMIT_NOFILE, &t->descriptors);
    signals_default(true);
    /* These it watches for; they must not kill it before it does: services would stay. */
    static const int requests[] = {SIGHUP, SIGUSR1, SIGTERM, SIGINT};
    sigset_t held;
    sigemptyset(&held);
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++)
        sigaddset(&held, requests[i]);
    sigprocmask(SIG_SETMASK, &held, NULL);
    execvp(command[0], command);
    int number = errno;
    complain("cannot execute %s: %s", command[0], strerror(number));
    /* It may be on its way: a package is being replaced. */
    if (t->restarted)
        _exit(ACTIVATOR_LATER);
    _exit(number == ENOENT ? 127 : 126);
}

static void spare_exec(const struct top *t, const char *program, const char *folder)
{
    static char room[SPARE_TITLE_ROOM];
    char lifeline[16];
    const char *argv[] = {program, "--spare", folder, NULL, NULL, NULL};
    char *envp[] = {room, NULL};

    snprintf(room, sizeof room, "TITLE=%*s", (int)sizeof room - 7, "");
    if (t->options->lifeline >= 0) {
        inherit(t->options->lifeline);
        snprintf(lifeline, sizeof lifeline, "%d", t->options->lifeline);
        argv[3] = "--lifeline";
        argv[4] = lifeline;
    }
    setrlimit(RLIMIT_NOFILE, &t->descriptors);
    execve(program, (char **)argv, envp);
    complain("cannot execute %s: %s", program, strerror(errno));
    _exit(127);
}

pid_t top_spare(struct top *t, const char *program, const char *folder)
{
    pid_t pid = fork();

    if (pid == 0)
        spare_exec(t, program, folder);
    if (pid < 0)
        return -errno;
    /* Recorded now: it is nobody's orphan even if it ends before it has said a word. */
    top_known_remove(t, pid);
    if (!top_reaper_get(t, pid))
        complain("out of memory: the spare reaper %d is not recorded", (int)pid);
    return pid;
}

static void retry(struct top *t)
{
    loop_arm(&t->loop, &t->restart, t->backoff);
    t->backoff = t->backoff * 2 > BACKOFF_LAST ? BACKOFF_LAST : t->backoff * 2;
}

static void start(struct top *t)
{
    int fds[2];

    link_drop(&t->link);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0) {
        complain("cannot make a socket for the activator: %s", strerror(errno));
        retry(t);
        return;
    }
    t->serving = false;
    t->restarted = t->started != 0;
    t->started = loop_now();
    t->activator = fork();
    if (t->activator == 0)
        child_exec(t, fds[1]);
    close(fds[1]);
    if (t->activator < 0) {
        complain("cannot start the activator: %s", strerror(errno));
        t->activator = 0;
        close(fds[0]);
        retry(t);
        return;
    }
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    if (link_attach(&t->link, fds[0]) < 0)
        complain("no memory for the activator's connection");
}

static void on_restart(void *data)
{
    start(data);
}

/* --- the end ---------------------------------------------------------------------------- */

/* SIGTERM is not for reapers (they would only say that they ignore it), and when the session is
 * over they know it and stop what is theirs themselves: the same signal twice is an order to
 * hurry for many a program. */
static void send_all(void *data, int number, bool and_continue, struct signalled *count)
{
    struct top *t = data;
    struct process_tree tree;
    struct process_tree reapers = {0};
    size_t kept = 0;

    if (process_tree_read(&tree, getpid(), NULL, 0) < 0)
        count->live++;
    reapers.list = calloc(tree.count + 1, sizeof *reapers.list);
    for (size_t i = 0; i < tree.count; i++) {
        if (reapers.list && top_reaper_find(t, tree.list[i].pid))
            reapers.list[reapers.count++] = tree.list[i];
        else
            tree.list[kept++] = tree.list[i];
    }
    tree.count = kept;
    if (number != SIGTERM || !t->session_over) {
        tree_signal(&tree, number, and_continue, count);
    } else {
        if (t->activator > 0)
            kill(t->activator, SIGTERM);
        for (const struct top_run *run = t->runs; run; run = run->next) {
            struct process_tree orphans;
            top_run_tree(t, run, &orphans);
            tree_signal(&orphans, number, and_continue, &(struct signalled){0});
            process_tree_clear(&orphans);
        }
    }
    if (count->live > 0 || number != 0)
        t->only_reapers = 0;
    else if (t->only_reapers == 0)
        t->only_reapers = loop_now();
    bool late = t->only_reapers && loop_now() - t->only_reapers >= REAPER_GRACE;
    tree_signal(&reapers, number == SIGKILL || late ? SIGKILL : 0, false, count);
    process_tree_clear(&reapers);
    process_tree_clear(&tree);
}

static void on_stopped(void *data, uint32_t left)
{
    struct top *t = data;

    if (left > 0)
        complain("%u processes would not die", left);
    /* The activator may be dead and not waited for yet: its status is ours. */
    t->stopped = true;
    top_work(t);
    loop_end(&t->loop, t->status);
}

static void on_session_over(void *data)
{
    struct top *t = data;

    t->session_over = true;
    loop_disarm(&t->loop, &t->restart);
    stop_begin(&t->stop, false);
}

static void finish(struct top *t, int status)
{
    t->status = status;
    if (t->stop.active || t->stopped)
        return;
    if (t->stop_all)
        stop_begin(&t->stop, false);
    else
        loop_end(&t->loop, status);
}

/* We have been told to end, and there is no activator (any more) that would see to what a session
 * has started. */
static void end_alone(struct top *t, int status)
{
    if (t->options->lifeline >= 0 || t->session_bus)
        t->stop_all = true;
    finish(t, status);
}

void top_activator_ended(struct top *t, const siginfo_t *info)
{
    bool killed = info->si_code != CLD_EXITED;
    int status = killed ? 128 + info->si_status : info->si_status;
    bool later = !killed && status == ACTIVATOR_LATER;

    t->activator = 0;
    /* What it said last still counts. */
    link_read(&t->link, READ_TURN);
    link_drop(&t->link);
    if ((killed || later) && t->told_to_end) {
        end_alone(t, later ? 1 : status);
        return;
    }
    if ((!killed && !later) || t->stop_all || t->stop.active || t->stopped) {
        finish(t, status);
        return;
    }
    if (t->serving && loop_now() - t->started >= GOOD_AFTER)
        t->backoff = BACKOFF_FIRST;
    complain("the activator %s %d; the next one starts in %u ms",
             later ? "cannot serve now, status" : "was killed by signal", info->si_status,
             (unsigned)t->backoff);
    retry(t);
}

/* --- children --------------------------------------------------------------------------- */

static void member_ended(struct top *t, const siginfo_t *info)
{
    bool bad = info->si_code != CLD_EXITED || info->si_status != 0;
    const struct top_known *known = top_known_find(t, info->si_pid);
    struct top_run *run = known && known->child ? known->run : NULL;
    uint8_t flags = EVENT_ADOPTED | (known && known->left ? EVENT_LEFT : 0);

    top_known_remove(t, info->si_pid);
    if (!run)
        return;
    top_run_log_catch_up(run);
    /* Nobody took the events of thousands: the others are lost, the end is told. */
    if (!events_full(&run->events))
        events_exit(&run->events, info, flags, bad && run->log ? run->log->words : "");
}

/* Waits for one child. False when there is none that has ended. */
static bool reap_one(struct top *t)
{
    siginfo_t info = {0};
    siginfo_t taken = {0};

    /* Looked at before it is taken: what it was is still to be found out. */
    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0)
        return errno == EINTR;
    if (info.si_pid == 0)
        return false;
    struct top_reaper *r = top_reaper_find(t, info.si_pid);
    const struct top_known *known = top_known_find(t, info.si_pid);
    if (info.si_pid != t->activator && (r ? !r->dead : !known || !known->child)) {
        if (!top_scan(t))
            return false;
        r = top_reaper_find(t, info.si_pid);
    }
    waitid(P_PID, (id_t)info.si_pid, &taken, WEXITED | WNOHANG | __WALL);
    if (info.si_pid == t->activator) {
        top_activator_ended(t, &info);
    } else if (r) {
        top_reaper_forget(t, r);
    } else {
        member_ended(t, &info);
    }
    return true;
}

/* What others are cannot be found out now. */
static void reap_activator(struct top *t)
{
    siginfo_t info = {0};

    if (t->activator > 0 &&
        waitid(P_PID, (id_t)t->activator, &info, WEXITED | WNOHANG | __WALL) == 0 &&
        info.si_pid == t->activator)
        top_activator_ended(t, &info);
}

static void look_after(struct top *t, struct top_run *run)
{
    if (run->empty)
        return;
    /* A reaper that was killed between fork and exec of the program has left a child that looks
     * like a reaper still. It is as good as there. */
    if (run->nchildren == 0 && t->undecided > 0 && run->waited < LOOKS) {
        run->waited++;
        loop_arm(&t->loop, &t->again, LOOK_MS);
    } else if (run->nchildren == 0) {
        run->empty = true;
        top_run_log_catch_up(run);
        events_empty(&run->events);
    } else if (run->kill_until > 0 && loop_now() < run->kill_until) {
        struct process_tree tree;
        top_run_tree(t, run, &tree);
        tree_signal(&tree, SIGKILL, false, &(struct signalled){0});
        process_tree_clear(&tree);
    }
}

void top_work(struct top *t)
{
    bool more = true;

    /* Every reaper that holds a run was announced before it was given one: with what has
     * arrived read, none is unknown. */
    link_read(&t->link, READ_TURN);
    top_scan(t);
    for (int n = 0; n < REAP_TURN && more && !t->loop.over && !t->trouble; n++)
        more = reap_one(t);
    /* The last one of a run may have left children, which are ours since. */
    if (t->trouble || !top_scan(t)) {
        reap_activator(t);
        top_tell(t);
        stop_look(&t->stop);
        return;
    }
    for (struct top_run *run = t->runs, *next = NULL; run && !more; run = next) {
        next = run->next;
        look_after(t, run);
        /* Nobody knows it: nobody will ask for it. */
        if (run->empty && run->id == 0)
            top_run_forget(t, run);
    }
    if (more)
        loop_arm(&t->loop, &t->again, 0);
    top_snapshot(t);
    top_tell(t);
    stop_look(&t->stop);
}

static void on_again(void *data)
{
    top_work(data);
}

static void pass_signal(struct top *t, int number)
{
    bool to_end = number == SIGTERM || number == SIGINT;

    t->told_to_end |= to_end;
    if (t->activator > 0) {
        kill(t->activator, number);
        return;
    }
    if (t->stop.active || t->stopped)
        return;
    loop_disarm(&t->loop, &t->restart);
    if (to_end)
        end_alone(t, 128 + number);
    else
        start(t); /* somebody needs it now */
}

static void on_signal(void *data, uint32_t events)
{
    struct top *t = data;
    struct signalfd_siginfo info;
    bool child = false;

    (void)events;
    while (read(t->signals.fd, &info, sizeof info) == (ssize_t)sizeof info) {
        int number = (int)info.ssi_signo;
        child |= number == SIGCHLD;
        if (number == SIGTERM || number == SIGINT || number == SIGHUP)
            pass_signal(t, number);
    }
    if (child)
        top_work(t);
}

/* --- beginning -------------------------------------------------------------------------- */

/* A pipe is kept for every run there is. */
static void raise_descriptors(struct top *t)
{
    getrlimit(RLIMIT_NOFILE, &t->descriptors);
    struct rlimit more = {t->descriptors.rlim_max, t->descriptors.rlim_max};
    setrlimit(RLIMIT_NOFILE, &more);
}

static int get_ready(struct top *t)
{
    static struct link_handler handler;
    int keep[PASS_MAX + 1];
    size_t nkeep = 0;

    for (; nkeep < t->options->npass; nkeep++)
        keep[nkeep] = t->options->pass[nkeep];
    if (t->options->lifeline >= 0)
        keep[nkeep++] = t->options->lifeline;
    descriptors_clean(keep, nkeep);
    raise_descriptors(t);
    process_tree_reserve();
    int result = loop_init(&t->loop);
    int fd = signals_take(&t->mask);
    if (result == 0)
        result = fd < 0 ? fd : loop_add(&t->loop, &t->signals, fd, EPOLLIN);
    if (result == 0)
        result = lifeline_watch(&t->lifeline, &t->loop, t->options->lifeline, on_session_over, t);
    handler = top_link_handler;
    handler.data = t;
    link_init(&t->link, &t->loop, &handler, NULL);
    return result;
}

int top_main(const struct options *options)
{
    static struct top top;
    struct top *t = &top;

    t->options = options;
    t->backoff = BACKOFF_FIRST;
    t->signals = (struct loop_source){.fd = -1, .ready = on_signal, .data = t};
    t->again = (struct loop_timer){.fired = on_again, .data = t};
    t->restart = (struct loop_timer){.fired = on_restart, .data = t};
    t->stop = (struct stop){
        .loop = &t->loop, .timeout = STOP_TIMEOUT, .send = send_all, .done = on_stopped, .data = t};
    title_set("activator");
    t->kind = child_reaper_become();
    if (t->kind < 0) {
        complain(CHILD_REAPER_NONE_TEXT, strerror(-t->kind));
        return EXIT_SYSTEM;
    }
    int result = get_ready(t);
    if (result < 0) {
        complain("cannot get ready: %s", strerror(-result));
        return EXIT_SYSTEM;
    }
    start(t);
    return loop_run(&t->loop);
}
