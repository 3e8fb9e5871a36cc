/* SPDX-License-Identifier: MIT */
#include "reaper/run.h"

#include "common/child-reaper.h"
#include "reaper/privileges.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define REAP_TURN 128
/* Children that are looked at one by one, which costs so many system calls for an end. */
#define LOOK_MAX 1024
/* ms: waiting for children failed, and no signal will tell of them again. */
#define REAP_AGAIN 100
#define LOG_TURN   (64u * 1024)
/* Before an end is told: what the dead may have left in the pipe, and not more when others go
 * on writing. */
#define LOG_WORDS (128u * 1024)

/* In .bss, of which only what is used becomes memory. */
static _Alignas(4096) struct event_store store;
static struct run the_run;

/* --- the record for the next activator --------------------------------------------------- */

static void record_name(const struct run *r, char name[40])
{
    snprintf(name, 40, "runs/%llu", (unsigned long long)r->id);
}

static void record_write(const struct run *r)
{
    char name[40];
    /* Room that has been used before, for the sake of the pages. */
    char *target = (char *)link_message()->data;

    record_name(r, name);
    /* With the note: it has to be known what ran here if nobody lives who could say it. */
    int length = snprintf(target, PATH_MAX, "%d.%llu %s", (int)getpid(),
                          (unsigned long long)r->start, r->note);
    if (length >= PATH_MAX)
        snprintf(target, PATH_MAX, "%d.%llu", (int)getpid(), (unsigned long long)r->start);
    /* Without it the activator does not know to wait for us; it takes us all the same. */
    int result = symlinkat(target, r->folder, name);
    (void)result;
}

static void record_remove(const struct run *r)
{
    char name[40];

    record_name(r, name);
    unlinkat(r->folder, name, 0);
}

/* --- the end ----------------------------------------------------------------------------- */

static void leave(struct run *r)
{
    if (r->id == 0) {
        /* A run may have been on its way to us: the top reaper has to know that we never had
         * it. */
        loop_end(&r->loop, EXIT_NO_RUN);
        return;
    }
    /* Who has ours does not know that they are told. */
    events_let_go(&r->events);
    log_close(&r->log);
    record_remove(r);
    loop_end(&r->loop, 0);
}

void run_leave_if_done(struct run *r)
{
    if (r->id == 0 || !r->empty)
        return;
    /* Acknowledged to the end; or whoever serves the bus now does not want to know. */
    if (r->events.count == 0 || (r->link.refused && !link_is_up(&r->link)))
        leave(r);
}

static void on_session_over(void *data)
{
    struct run *r = data;

    if (r->id == 0 || r->empty)
        leave(r);
    else
        stop_begin(&r->stop, false);
}

static int read_all(void *data, struct process_tree *tree)
{
    (void)data;
    return process_tree_read(tree, getpid(), NULL, 0);
}

void run_signal_all(void *data, int number, bool and_continue, struct signalled *count)
{
    tree_signal_read(read_all, data, number, and_continue, count);
}

/* --- the log ----------------------------------------------------------------------------- */

static void pipe_ended(struct run *r)
{
    /* Stays open: the last writer may have left for good, but closing it is no gain. */
    loop_remove(&r->loop, &r->pipe);
}

static void on_pipe(void *data, uint32_t events)
{
    struct run *r = data;

    (void)events;
    log_drain(&r->log, LOG_TURN);
    if (r->log.pipe < 0)
        pipe_ended(r);
}

/* What the dead has written, before its end is told. */
static void log_catch_up(struct run *r)
{
    log_drain(&r->log, LOG_WORDS);
    log_flush(&r->log);
    if (r->log.pipe < 0)
        pipe_ended(r);
}

/* --- reaping ----------------------------------------------------------------------------- */

static void nothing_left(struct run *r)
{
    if (r->empty)
        return;
    r->empty = true;
    log_catch_up(r);
    events_empty(&r->events);
    if (r->stop.active) {
        stop_cancel(&r->stop);
        run_tell(r);
        leave(r);
    }
}

static void ended(struct run *r, const siginfo_t *info)
{
    bool bad = info->si_code != CLD_EXITED || info->si_status != 0;
    uint8_t flags = info->si_pid == r->pid ? EVENT_FIRST : EVENT_ADOPTED;

    log_catch_up(r);
    events_exit(&r->events, info, flags, bad ? r->log.words : "");
}

struct look {
    struct run *run;
    unsigned seen;
    unsigned found;
    unsigned kept;
    bool living;
    bool more;
};

/* "Known" to the walk: whatever is to be done about it has been done then. */
static bool look_at(pid_t pid, void *data)
{
    struct look *l = data;
    siginfo_t info = {0};

    l->more |= l->found == REAP_TURN || l->seen > LOOK_MAX;
    if (l->more || waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0)
        return true;
    l->seen++;
    l->living |= info.si_pid == 0;
    if (info.si_pid == 0)
        return true;
    l->kept++;
    if (events_know(&l->run->events, pid))
        return true;
    l->found++;
    ended(l->run, &info);
    return true;
}

/* Looks at all children, as those that are kept hide the others from waitid(P_ALL). True: there is
 * more to do at once. */
static bool look_around(struct run *r)
{
    struct look l = {.run = r};
    struct process_tree none = {0};

    int result = process_tree_children(&none, look_at, &l);
    /* A list that lacks what is there can neither say who has ended nor that nobody is left. */
    bool complete = result == 0 && (l.more || l.kept == events_ends(&r->events));
    if (complete && !l.more && !l.living)
        nothing_left(r);
    /* Others need the pids, and the ends of thousands are not to cost us thousands of looks each:
     * these are waited for at once, until the activator has the last of them. Killed now as well,
     * we take them along. */
    if (complete && r->events.count <= MESSAGE_KEPT_MAX - REAP_TURN && l.seen <= LOOK_MAX)
        return l.more;
    events_let_go(&r->events);
    return true;
}

/* Takes note of what has ended, and leaves it a zombie until that has reached the activator: when
 * we are killed before, the top reaper has them with their status. True: there is more to do at
 * once. */
static bool reap_keeping(struct run *r)
{
    siginfo_t info = {0};

    if (r->events.count > 0)
        return look_around(r);
    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0) {
        if (errno == ECHILD)
            nothing_left(r);
        else
            loop_arm(&r->loop, &r->again, REAP_AGAIN);
        return false;
    }
    if (info.si_pid == 0)
        return false;
    ended(r, &info);
    /* Nobody waits for the others' sake. */
    run_tell(r);
    return look_around(r);
}

/* Waits for what has ended. Children that are not waited for as the queue is full stay zombies:
 * the kernel keeps their status for us. True: there is more to do at once. */
static bool reap_all(struct run *r)
{
    for (int n = 0; n < REAP_TURN && !events_full(&r->events); n++) {
        siginfo_t info = {0};
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | __WALL) < 0) {
            if (errno == EINTR)
                continue;
            if (errno == ECHILD && r->id != 0)
                nothing_left(r);
            else if (errno != ECHILD)
                loop_arm(&r->loop, &r->again, REAP_AGAIN);
            return false;
        }
        if (info.si_pid == 0)
            return false;
        if (r->id != 0)
            ended(r, &info);
    }
    return !events_full(&r->events);
}

static void reap(struct run *r)
{
    bool more = r->events.keeping ? reap_keeping(r) : reap_all(r);

    if (more)
        loop_arm(&r->loop, &r->again, 0);
    /* Not between thousands that have ended and are only to be waited for. */
    bool all = !more && !events_full(&r->events);
    if (!r->empty && all && r->kill_until > 0 && loop_now() < r->kill_until)
        run_signal_all(r, SIGKILL, false, &(struct signalled){0});
    run_tell(r);
    run_leave_if_done(r);
}

static void on_stopped(void *data, uint32_t left)
{
    struct run *r = data;

    if (left > 0)
        complain("%s: %u processes would not die", r->log.name, left);
    /* The last ends are told if there is somebody to hear them. */
    reap(r);
    if (!r->loop.over)
        leave(r);
}

static void on_again(void *data)
{
    reap(data);
}

void run_acknowledge(struct run *r, uint64_t seq)
{
    bool full = events_full(&r->events);

    events_ack(&r->events, seq);
    if (r->events.count == 0)
        r->events.keeping = true;
    if (full && !r->empty)
        loop_arm(&r->loop, &r->again, 0);
    run_leave_if_done(r);
}

static void on_signal(void *data, uint32_t events)
{
    struct run *r = data;
    struct signalfd_siginfo info;
    bool child = false;

    (void)events;
    while (read(r->signals.fd, &info, sizeof info) == (ssize_t)sizeof info) {
        child |= info.ssi_signo == SIGCHLD;
        if (info.ssi_signo != SIGTERM)
            continue;
        if (r->id == 0)
            leave(r);
        else
            complain("%s: SIGTERM from process %u ignored; the activator stops services",
                     r->log.name, info.ssi_pid);
    }
    if (child)
        reap(r);
}

/* --- from spare to run ------------------------------------------------------------------- */

void run_begin(struct run *r, const struct spawn_request *q)
{
    r->id = q->run;
    r->system = (q->flags & SPAWN_SYSTEM) != 0;
    r->stop.timeout = q->stop_timeout ? q->stop_timeout : STOP_TIMEOUT;
    strcpy(r->note, q->note);
    events_init(&r->events, q->run, 1, &store);
    r->events.keeping = true;
    /* First: when all of us are killed, it has to be known what runs here. */
    record_write(r);
    r->pid = spawn_program(q, &r->ready, &r->failure);
    r->time = time_now();
    close(r->ready.log_write);
    close(r->ready.null);
    /* Only now: somebody waits for the program, nobody for these. The session tells the top reaper
     * what is on its way to it, and what of a run. */
    setsid();
    title_set(q->name);
    if (log_target(&r->log, q->name, q->log_path, q->log_limit, (q->flags & SPAWN_SYSLOG) != 0) < 0)
        complain("run %llu: name or log path is too long; it has no log",
                 (unsigned long long)q->run);
    if (r->system)
        privileges_keep_kill();
    link_persist(&r->link);
    /* A program that could not be started leaves no child: that is the end of the run. */
    if (r->pid == 0)
        loop_arm(&r->loop, &r->again, 0);
    run_tell(r);
}

void run_warm(struct run *r)
{
    char name[40];

    record_name(r, name);
    page_touch(r->note);
    link_warm();
    spawn_warm(&r->ready);
}

int run_get_ready(struct run *r, const int log[2], int lifeline)
{
    sigset_t found;
    int result = loop_init(&r->loop);

    if (result < 0)
        return result;
    process_tree_reserve();
    process_parent(getpid(), &r->start, NULL);
    int fd = signals_take(&found);
    r->signals.data = r;
    r->signals.ready = on_signal;
    result = fd < 0 ? fd : loop_add(&r->loop, &r->signals, fd, EPOLLIN);
    if (result < 0)
        return result;
    /* Reading never blocks; the service's own end is an ordinary blocking one. */
    r->log.pipe = log[0];
    r->ready.log_write = log[1];
    if (fcntl(log[0], F_SETFL, O_NONBLOCK) < 0)
        return -errno;
    r->pipe.data = r;
    r->pipe.ready = on_pipe;
    result = loop_add(&r->loop, &r->pipe, log[0], EPOLLIN);
    return result < 0 ? result
                      : lifeline_watch(&r->lifeline, &r->loop, lifeline, on_session_over, r);
}

static int get_ready(struct run *r, const struct options *o)
{
    int log[2];

    signals_default(false);
    if (o->lifeline >= 0)
        descriptor_own(o->lifeline);
    r->folder = open(o->folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (r->folder < 0 || pipe2(log, O_CLOEXEC) < 0)
        return -errno;
    int result = run_get_ready(r, log, o->lifeline);
    return result < 0 ? result : spawn_prepare(&r->ready);
}

int spare_main(const struct options *o)
{
    struct run *r = &the_run;

    descriptors_clean(&o->lifeline, o->lifeline >= 0);
    title_set("spare");
    r->kind = child_reaper_become();
    if (r->kind < 0) {
        complain(CHILD_REAPER_NONE_TEXT, strerror(-r->kind));
        return EXIT_SYSTEM;
    }
    log_init(&r->log);
    r->again.fired = on_again;
    r->again.data = r;
    int result = get_ready(r, o);
    if (result < 0) {
        complain("cannot get ready in %s: %s", o->folder, strerror(-result));
        return EXIT_SYSTEM;
    }
    r->stop = (struct stop){.loop = &r->loop,
                            .timeout = STOP_TIMEOUT,
                            .send = run_signal_all,
                            .done = on_stopped,
                            .data = r};
    static struct link_handler handler;
    handler = run_link_handler;
    handler.data = r;
    result = link_init(&r->link, &r->loop, &handler, o->folder);
    if (result == 0)
        result = link_connect(&r->link);
    if (result < 0) {
        complain("cannot connect to %s/reapers: %s", o->folder, strerror(-result));
        return EXIT_SYSTEM;
    }
    run_warm(r);
    return loop_run(&r->loop);
}
