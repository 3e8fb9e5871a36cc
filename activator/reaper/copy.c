/* SPDX-License-Identifier: MIT */
/* A spare that makes spares: a copy of a process that is warm costs a third of what executing the
 * program anew does, and most of its memory is the mould's as well. */
#include "common/child-reaper.h"
#include "reaper/run.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A sibling, as whoever started this process made it its own sibling. Raw, since fork() cannot;
 * of what libc would do in the child nothing concerns a program with one thread and no handler. */
static pid_t make_sibling(void)
{
#ifdef SYS_clone3
    struct {
        uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
    } how = {.flags = CLONE_PARENT};
    long pid = syscall(SYS_clone3, &how, sizeof how);
    return pid < 0 ? -errno : (pid_t)pid;
#else
    return -ENOSYS;
#endif
}

/* In the copy: nothing is left of the mould's but what is the same for all. */
static int become_spare(struct run *r, int socket, const int log[2])
{
    int lifeline = r->lifeline.source.fd;

    close(r->loop.epoll);
    close(r->signals.fd);
    close(r->link.socket.fd);
    close(r->log.pipe);
    close(r->ready.log_write);
    r->link.socket.fd = r->signals.fd = r->pipe.fd = -1;
    r->is_copy = true;
    r->is_mould = false;
    title_set("spare");
    int result = child_reaper_become();
    if (result >= 0)
        result = run_get_ready(r, log, lifeline);
    if (result >= 0)
        result = spawn_prepare_copy(&r->ready);
    if (result >= 0)
        result = link_attach(&r->link, socket);
    if (result >= 0)
        run_warm(r);
    return result;
}

static int tell(struct run *r, pid_t pid, const int fds[2])
{
    message_begin(link_message(), MESSAGE_COPIED);
    message_put_u32(link_message(), pid < 0 ? 0 : (uint32_t)pid);
    message_put_u32(link_message(), pid < 0 ? (uint32_t)-pid : 0);
    return link_send(&r->link, link_message(), fds, pid < 0 ? 0 : 2);
}

void spare_copy(struct run *r)
{
    int ends[2] = {-1, -1};
    int log[2] = {-1, -1};
    pid_t pid = 0;

    if (!r->is_mould) {
        r->is_mould = true;
        title_set("mould");
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0 ||
        pipe2(log, O_CLOEXEC) < 0)
        pid = -errno;
    else
        pid = make_sibling();
    if (pid == 0) {
        close(ends[0]);
        int result = become_spare(r, ends[1], log);
        if (result == 0)
            return;
        complain("a copy cannot get ready: %s", strerror(-result));
        _exit(EXIT_SYSTEM);
    }
    /* An activator that never hears of the answer would wait for it. */
    if (tell(r, pid, (int[]){ends[0], log[0]}) < 0)
        loop_end(&r->loop, EXIT_SYSTEM);
    for (int i = 0; i < 2; i++) {
        if (ends[i] >= 0)
            close(ends[i]);
        if (log[i] >= 0)
            close(log[i]);
    }
}
