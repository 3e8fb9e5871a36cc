/* SPDX-License-Identifier: MIT */
#include "session/session.h"

#include "common/process-tree.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LOOK_MS INT64_C(2000)

int64_t now_ms(void)
{
    struct timespec t = {0};

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void process_name(pid_t pid, char name[32])
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, name, 31);
    if (fd >= 0)
        close(fd);
    name[n > 0 ? n : 0] = '\0';
    name[strcspn(name, "\n")] = '\0';
}

static bool is_known(const struct session *s, pid_t pid)
{
    for (size_t i = 0; i < PARTS; i++) {
        if (s->parts[i].pid == pid)
            return true;
    }
    for (size_t i = 0; i < s->nfosters; i++) {
        if (s->fosters[i].pid == pid)
            return true;
    }
    return false;
}

static void foster_add(struct session *s, pid_t pid, enum part_kind owner)
{
    if (s->nfosters == s->foster_room) {
        size_t room = s->foster_room ? s->foster_room * 2 : 16;
        struct foster *list = reallocarray(s->fosters, room, sizeof *list);
        /* Not listed it is stopped all the same at the end, only later. */
        if (!list)
            return;
        s->fosters = list;
        s->foster_room = room;
    }
    s->fosters[s->nfosters++] = (struct foster){.pid = pid, .owner = owner};
}

/* Where the dead child belonged to, its former children belong to as well. Called as soon as it
 * has been waited for: the kernel gave them to us before it told of the death. */
static void fosters_take(struct session *s, enum part_kind owner)
{
    struct process_tree tree;

    process_tree_read(&tree, getpid(), NULL, 0);
    for (size_t i = 0; i < tree.count; i++) {
        if (tree.list[i].parent == getpid() && !is_known(s, tree.list[i].pid))
            foster_add(s, tree.list[i].pid, owner);
    }
    process_tree_clear(&tree);
}

static void foster_drop(struct session *s, size_t i)
{
    s->fosters[i] = s->fosters[--s->nfosters];
}

/* The eldest of what the command's dead reaper left is the command itself: what it had adopted
 * was started by the command. */
static pid_t eldest_foster(const struct session *s, enum part_kind owner)
{
    uint64_t best = 0;
    pid_t pid = 0;

    for (size_t i = 0; i < s->nfosters; i++) {
        uint64_t start = 0;
        const struct foster *f = &s->fosters[i];
        if (f->owner != owner || process_parent(f->pid, &start, NULL) == 0)
            continue;
        if (!pid || start < best || (start == best && f->pid < pid)) {
            best = start;
            pid = f->pid;
        }
    }
    return pid;
}

/* An activator whose top reaper died executes itself again and becomes the top reaper of the
 * next one: its pid stays. */
static pid_t activator_foster(const struct session *s)
{
    for (size_t i = 0; i < s->nfosters; i++) {
        char name[32];
        process_name(s->fosters[i].pid, name);
        if (s->fosters[i].owner == PART_ACTIVATOR && strcmp(name, "dbus-activatord") == 0)
            return s->fosters[i].pid;
    }
    /* Already executed: it has the activator as child. */
    struct process_tree tree;
    pid_t found = 0;
    process_tree_read(&tree, getpid(), NULL, 0);
    for (size_t i = 0; i < tree.count && !found; i++) {
        char name[32];
        process_name(tree.list[i].pid, name);
        if (strcmp(name, "dbus-activatord") != 0)
            continue;
        for (size_t j = 0; j < s->nfosters; j++) {
            if (s->fosters[j].pid == tree.list[i].parent)
                found = s->fosters[j].pid;
        }
    }
    process_tree_clear(&tree);
    return found;
}

static bool foster_promote(struct session *s, enum part_kind kind, pid_t pid)
{
    for (size_t i = 0; i < s->nfosters; i++) {
        if (pid > 0 && s->fosters[i].pid == pid) {
            foster_drop(s, i);
            s->parts[kind].pid = pid;
            s->parts[kind].adopted = true;
            return true;
        }
    }
    return false;
}

/* What the command left in sessions of its own, when it ended by itself. */
static void fosters_spare(struct session *s)
{
    for (size_t i = 0; i < s->nfosters; i++) {
        struct foster *f = &s->fosters[i];
        if (f->owner == PART_COMMAND && getsid(f->pid) != getsid(0))
            f->spared = true;
    }
}

static void part_ended(struct session *s, enum part_kind kind, const siginfo_t *info)
{
    struct part *p = &s->parts[kind];
    bool killed = info->si_code != CLD_EXITED;
    bool reaper_killed = killed && !p->adopted;

    p->pid = 0;
    p->status = killed ? 128 + info->si_status : info->si_status;
    fosters_take(s, kind);
    switch (kind) {
    case PART_ACTIVATOR:
        if (!killed)
            break;
        /* Services live on. Whoever is left to serve them is found now or a little later. */
        if (!foster_promote(s, kind, activator_foster(s)) && !s->ending && s->running)
            s->top_due = now_ms() + LOOK_MS;
        if (s->running)
            return;
        break;
    case PART_BUS:
        if (reaper_killed && foster_promote(s, kind, s->bus_pid))
            return;
        break;
    case PART_COMMAND:
        if (reaper_killed && foster_promote(s, kind, eldest_foster(s, kind)))
            return;
        if (s->options.keep_detached && !s->ending)
            fosters_spare(s);
        break;
    case PARTS:
    default:
        break;
    }
    p->ended = true;
}

void activator_look(struct session *s)
{
    s->top_due = 0;
    if (s->ending || s->parts[PART_ACTIVATOR].pid)
        return;
    fosters_take(s, PART_ACTIVATOR);
    if (foster_promote(s, PART_ACTIVATOR, activator_foster(s)))
        return;
    say("the activator and its top reaper were killed; starting another");
    if (!part_start_activator(s, false))
        s->top_due = now_ms() + 10 * LOOK_MS;
}

/* The command is stopped (Ctrl-Z, `suspend`): so are we, for the caller's shell waits for us. A
 * stop that is over already is not mirrored: when the shell continues the whole process group,
 * we may run before the reaper does. */
void mirror_stop(pid_t pid)
{
    struct timespec moment = {.tv_nsec = 20000000L};
    char state = 0;

    nanosleep(&moment, NULL);
    process_parent(pid, NULL, &state);
    if (state != 'T')
        return;
    kill(getpid(), SIGSTOP);
    kill(pid, SIGCONT);
}

void children_reap(struct session *s)
{
    for (;;) {
        siginfo_t info = {0};
        if (waitid(P_ALL, 0, &info, WEXITED | WSTOPPED | WNOHANG) < 0 || info.si_pid == 0)
            return;
        pid_t pid = info.si_pid;
        if (info.si_code == CLD_STOPPED || info.si_code == CLD_TRAPPED) {
            if (pid == s->parts[PART_COMMAND].pid && !s->ending)
                mirror_stop(pid);
            continue;
        }
        enum part_kind owner = PART_ACTIVATOR;
        bool is_part = false;
        for (int k = 0; k < PARTS; k++) {
            if (s->parts[k].pid == pid) {
                part_ended(s, (enum part_kind)k, &info);
                is_part = true;
                break;
            }
        }
        if (is_part)
            continue;
        for (size_t i = 0; i < s->nfosters; i++) {
            if (s->fosters[i].pid == pid) {
                owner = s->fosters[i].owner;
                foster_drop(s, i);
                break;
            }
        }
        fosters_take(s, owner);
    }
}

static void take_signals(struct session *s)
{
    struct signalfd_siginfo info[8];
    ssize_t n = 0;

    while ((n = read(s->signals, info, sizeof info)) > 0) {
        for (size_t i = 0; i < (size_t)n / sizeof info[0]; i++) {
            int number = (int)info[i].ssi_signo;
            /* Ctrl-C and Ctrl-\ are for the command once there is one. */
            if (number == SIGTERM || number == SIGHUP || (number != SIGCHLD && !s->running))
                s->stop_signal = number;
        }
    }
}

bool session_wait(struct session *s, int fd, int timeout)
{
    /* poll() passes over negative descriptors. */
    struct pollfd list[3] = {{.fd = s->signals, .events = POLLIN},
                             {.fd = s->leash, .events = POLLIN},
                             {.fd = fd, .events = POLLIN}};

    int n = poll(list, 3, timeout);
    if (n > 0 && list[0].revents)
        take_signals(s);
    if (n > 0 && list[1].revents) {
        s->leash = -1;
        s->wrapper_gone = true;
        s->stop_signal = SIGKILL;
    }
    children_reap(s);
    return n > 0 && list[2].revents;
}
