/* SPDX-License-Identifier: MIT */
#include "reaper/process.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NAME "dbus-activator-reaper"

void complain(const char *format, ...)
{
    char text[512] = NAME ": ";
    size_t length = sizeof NAME ": " - 1;
    struct pollfd out = {.fd = 2, .events = POLLOUT};
    va_list list;

    va_start(list, format);
    int added = vsnprintf(text + length, sizeof text - length - 1, format, list);
    va_end(list);
    if (added < 0)
        return;
    length += (size_t)added;
    if (length > sizeof text - 2)
        length = sizeof text - 2;
    text[length++] = '\n';
    /* A pipe that polls writable takes PIPE_BUF bytes at once. */
    if (poll(&out, 1, 0) == 1 && (out.revents & POLLOUT)) {
        ssize_t written = write(2, text, length);
        (void)written;
    }
}

static bool is_kept(int fd, const int *keep, size_t nkeep)
{
    for (size_t i = 0; i < nkeep; i++) {
        if (keep[i] == fd)
            return true;
    }
    return false;
}

void descriptors_clean(const int *keep, size_t nkeep)
{
    int fd = -1;
    int last = 2;

    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= 2);
    if (fd >= 0)
        close(fd);
    for (size_t i = 0; i < nkeep; i++)
        last = keep[i] > last ? keep[i] : last;
    for (fd = 3; fd <= last; fd++) {
        if (!is_kept(fd, keep, nkeep))
            close(fd);
    }
    if (syscall(SYS_close_range, (unsigned)last + 1, ~0u, 0) == 0)
        return;
    long most = sysconf(_SC_OPEN_MAX);
    for (fd = last + 1; fd < most; fd++)
        close(fd);
}

int signals_take(sigset_t *found)
{
    sigset_t all;
    sigset_t wanted;

    signal(SIGCHLD, SIG_DFL);
    sigfillset(&all);
    /* A fault in this program itself has to end it. */
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGFPE);
    sigdelset(&all, SIGILL);
    sigdelset(&all, SIGABRT);
    if (sigprocmask(SIG_SETMASK, &all, found) < 0)
        return -errno;
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGCHLD);
    sigaddset(&wanted, SIGTERM);
    sigaddset(&wanted, SIGHUP);
    sigaddset(&wanted, SIGINT);
    sigaddset(&wanted, SIGQUIT);
    sigaddset(&wanted, SIGCONT);
    int fd = signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

void signals_default(bool plain)
{
    /* Zeros are SIG_DFL with no flag on every architecture. By the raw call, as libc keeps two
     * numbers for itself, and an inherited "ignored" on them would be passed on. */
    unsigned long zero[8] = {0};

    for (int n = 1; n <= 64; n++)
        syscall(SYS_rt_sigaction, n, zero, NULL, 8UL);
    if (!plain)
        signal(SIGPIPE, SIG_IGN);
}

/* The title is a property of the process, hence of this file. */
static struct {
    char *start;
    size_t size;      /* what may be overwritten */
    size_t arguments; /* of which the kernel calls arguments */
} title;

static char *nothing[] = {NULL};

void title_init(int argc, char **argv, bool whole)
{
    char *end = NULL;

    if (argc < 1 || !argv[0])
        return;
    title.start = argv[0];
    end = argv[0];
    /* Only as far as the strings lie one after the other, as the kernel puts them. */
    for (int i = 0; i < argc && argv[i] == end; i++)
        end += strlen(argv[i]) + 1;
    title.arguments = (size_t)(end - title.start);
    for (char **e = environ; whole && *e && *e == end; e++)
        end += strlen(*e) + 1;
    title.size = (size_t)(end - title.start);
    if (whole)
        environ = nothing;
}

void title_set(const char *what)
{
    char text[512];

    int length = snprintf(text, sizeof text, NAME ": %s", what);
    prctl(PR_SET_NAME, text, 0UL, 0UL, 0UL);
    if (!title.start || length < 0 || title.size < 2)
        return;
    size_t size = (size_t)length < sizeof text ? (size_t)length : sizeof text - 1;
    if (size > title.size - 1)
        size = title.size - 1;
    memset(title.start, 0, title.size);
    memcpy(title.start, text, size);
    /* A kernel that finds the last byte of the arguments overwritten shows what is there up to
     * the first NUL, else all of it with the padding. */
    if (size + 2 <= title.arguments)
        title.start[title.arguments - 1] = '.';
}

uint64_t time_now(void)
{
    struct timespec t = {0};

    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

int descriptor_own(int fd)
{
    return fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ? -errno : 0;
}
