/* SPDX-License-Identifier: MIT */
/* --run: the reaper over the bus or over the command of a session. When its program ends, what
 * that left is stopped, and it exits as the program did. */
#include "common/child-reaper.h"
#include "reaper/lifeline.h"
#include "reaper/modes.h"
#include "reaper/process.h"
#include "reaper/stop.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

struct one {
    const struct options *options;
    struct loop loop;
    struct lifeline lifeline;
    struct stop stop;
    struct loop_source signals;
    sigset_t mask; /* as it was found */
    pid_t main;    /* 0: ended */
    int status;
    bool over; /* the session is: nobody is spared */
    pid_t session_start;
    pid_t session_end; /* of main when it ended */
};

/* With --keep-detached those in sessions of their own are spared, unless the session is over. */
static bool is_spared(const struct one *o, const struct tree_process *p)
{
    return o->options->keep_detached && !o->over && p->session != o->session_start &&
           p->session != o->session_end;
}

static void send_all(void *data, int number, bool and_continue, struct signalled *count)
{
    struct one *o = data;
    struct process_tree tree;
    size_t kept = 0;

    if (process_tree_read(&tree, getpid(), NULL, 0) < 0)
        count->live++;
    for (size_t i = 0; i < tree.count; i++) {
        if (!is_spared(o, &tree.list[i]))
            tree.list[kept++] = tree.list[i];
    }
    tree.count = kept;
    tree_signal(&tree, number, and_continue, count);
    process_tree_clear(&tree);
}

static void on_session_over(void *data)
{
    struct one *o = data;

    o->over = true;
    /* Begun already for the sake of the command's end: what was spared goes as well now. */
    stop_cancel(&o->stop);
    stop_begin(&o->stop, true);
}

static void main_ended(struct one *o, const siginfo_t *info)
{
    o->main = 0;
    o->status = info->si_code == CLD_EXITED ? info->si_status : 128 + info->si_status;
    if (!o->over)
        stop_begin(&o->stop, false);
}

/* Our shell, or the wrapper above, has to see the stop; whoever continues us means the command. */
static void stop_with_main(const struct one *o)
{
    struct process_stat s;

    /* Continued again by now: then who stopped it has thought better of it. */
    if (!process_stat_read(o->main, &s) || s.state != 'T')
        return;
    /* A command that has given the terminal to a process group of its own (an interactive shell
     * that suspends itself) finds it given to this one's when it is continued, by the caller's
     * shell, which knows of no other. */
    pid_t group = tcgetpgrp(STDIN_FILENO);
    bool had_terminal = group > 0 && group == getpgid(o->main) && group != getpgrp();

    kill(getpid(), SIGSTOP);
    if (had_terminal && tcgetpgrp(STDIN_FILENO) == getpgrp())
        tcsetpgrp(STDIN_FILENO, group);
    if (o->main > 0)
        kill(o->main, SIGCONT);
}

static void reap(struct one *o)
{
    int options = WEXITED | WNOHANG | WNOWAIT | __WALL;

    if (o->options->foreground)
        options |= WSTOPPED;
    for (;;) {
        siginfo_t info = {0};
        /* Looked at first: the session of a process can be asked for as long as it was not
         * waited for. */
        if (waitid(P_ALL, 0, &info, options) < 0) {
            if (errno == EINTR)
                continue;
            break;
        }
        if (info.si_pid == 0)
            break;
        bool stopped = info.si_code == CLD_STOPPED || info.si_code == CLD_TRAPPED;
        if (info.si_pid == o->main && !stopped)
            o->session_end = getsid(info.si_pid);
        waitid(P_PID, (id_t)info.si_pid, &(siginfo_t){0},
               (stopped ? WSTOPPED : WEXITED) | WNOHANG | __WALL);
        if (info.si_pid == o->main && stopped)
            stop_with_main(o);
        else if (info.si_pid == o->main)
            main_ended(o, &info);
    }
    stop_look(&o->stop);
}

static void on_stopped(void *data, uint32_t left)
{
    struct one *o = data;

    if (left > 0)
        complain("%s: %u processes would not die", o->options->run_name, left);
    /* Dead, but perhaps not waited for yet: its status is ours. */
    reap(o);
    loop_end(&o->loop, o->status);
}

static void on_signal(void *data, uint32_t events)
{
    struct one *o = data;
    struct signalfd_siginfo info;
    bool child = false;

    (void)events;
    while (read(o->signals.fd, &info, sizeof info) == (ssize_t)sizeof info) {
        int number = (int)info.ssi_signo;
        child |= number == SIGCHLD;
        /* What the terminal sends, the command gets from it as well: only what was meant for us
         * is passed on. SIGINT and SIGQUIT are its own affair. */
        if ((number == SIGTERM || number == SIGHUP) && info.ssi_code != SI_KERNEL && o->main > 0)
            kill(o->main, number);
        if (number == SIGCONT && o->options->foreground && info.ssi_code != SI_KERNEL &&
            o->main > 0 && info.ssi_pid != (uint32_t)o->main)
            kill(o->main, SIGCONT);
    }
    if (child)
        reap(o);
}

/* execvp() says EACCES also when only a folder of the path was closed to us: for whoever typed
 * the command that is "not found". */
static bool is_in_path(const char *command)
{
    char path[PATH_MAX];
    const char *folder = getenv("PATH");

    if (strchr(command, '/') || !folder)
        return true;
    for (const char *end = NULL; folder; folder = end ? end + 1 : NULL) {
        end = strchr(folder, ':');
        int length = end ? (int)(end - folder) : (int)strlen(folder);
        int written = snprintf(path, sizeof path, "%.*s/%s", length, folder, command);
        if (written > 0 && (size_t)written < sizeof path && access(path, F_OK) == 0)
            return true;
    }
    return false;
}

static void child_exec(const struct one *o)
{
    char **command = o->options->command;

    sigprocmask(SIG_SETMASK, &o->mask, NULL);
    execvp(command[0], command);
    int number = errno;
    if (number == EACCES && !is_in_path(command[0]))
        number = ENOENT;
    complain(number == ENOENT ? "%s: not found" : "%s: cannot be executed: %s", command[0],
             strerror(number));
    _exit(number == ENOENT ? 127 : 126);
}

static int get_ready(struct one *o)
{
    int result = loop_init(&o->loop);
    int fd = signals_take(&o->mask);

    process_tree_reserve();
    if (result == 0)
        result = fd < 0 ? fd : loop_add(&o->loop, &o->signals, fd, EPOLLIN);
    if (result == 0)
        result = lifeline_watch(&o->lifeline, &o->loop, o->options->lifeline, on_session_over, o);
    return result;
}

int run_one_main(const struct options *options)
{
    static struct one one;
    struct one *o = &one;

    one = (struct one){.options = options,
                       .signals = {.fd = -1, .ready = on_signal, .data = o},
                       .stop = {.loop = &o->loop,
                                .timeout = options->stop_timeout,
                                .send = send_all,
                                .done = on_stopped,
                                .data = o}};
    title_set(options->run_name);
    int kind = child_reaper_become();
    if (kind < 0) {
        complain(CHILD_REAPER_NONE_TEXT, strerror(-kind));
        return EXIT_SYSTEM;
    }
    /* Fails when we lead a process group already: then the caller's session has to do. */
    if (!options->foreground)
        setsid();
    int result = get_ready(o);
    if (result < 0) {
        complain("cannot get ready: %s", strerror(-result));
        return EXIT_SYSTEM;
    }
    o->session_start = o->session_end = getsid(0);
    o->main = fork();
    if (o->main == 0)
        child_exec(o);
    if (o->main < 0) {
        complain("cannot start %s: %s", options->command[0], strerror(errno));
        return EXIT_SYSTEM;
    }
    return loop_run(&o->loop);
}
