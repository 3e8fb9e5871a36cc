/* SPDX-License-Identifier: MIT */
#include "reap.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

pid_t parent_of(pid_t pid)
{
    char path[64], text[1024];
    int parent = 0;

    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n <= 0)
        give_up(path, strerror(errno));
    close(fd);
    text[n] = 0;
    const char *end = strrchr(text, ')');
    if (end == NULL || sscanf(end, ") %*c %d", &parent) != 1)
        give_up(path, "no parent");
    return parent;
}

static FILE *open_children(pid_t parent)
{
    char path[96];

    snprintf(path, sizeof path, "/proc/%d/task/%d/children", parent, parent);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        give_up(path, strerror(errno));
    return f;
}

/* Whether there are more than this number of children; looks at the first few only. */
static int has_more(pid_t parent, int number)
{
    FILE *f = open_children(parent);
    int pid, n = 0;

    while (n <= number && fscanf(f, "%d", &pid) == 1)
        n++;
    fclose(f);
    return n > number;
}

uint64_t end_orphans(pid_t parent, pid_t except, int count)
{
    pid_t *pids = calloc((size_t)count + 16, sizeof *pids);
    FILE *f = open_children(parent);
    int pid, n = 0, kept = 0;

    if (pids == NULL)
        give_up("memory", NULL);
    while (n < count + 16 && fscanf(f, "%d", &pid) == 1) {
        if (pid == except)
            kept = 1;
        else
            pids[n++] = pid;
    }
    fclose(f);
    if (n != count)
        give_up("children", "are not as many as they should be");
    uint64_t start = now_ns();
    for (int i = 0; i < n; i++)
        kill(pids[i], SIGKILL);
    while (has_more(parent, kept))
        usleep(500);
    free(pids);
    return now_ns() - start;
}

static _Noreturn void bare_parent(int count, int ready)
{
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    pid_t maker = fork();
    if (maker == 0) {
        for (int i = 0; i < count; i++) {
            pid_t pid = fork();
            if (pid < 0)
                _exit(1);
            if (pid == 0) {
                close(ready);
                setsid();
                for (;;)
                    pause();
            }
        }
        _exit(0);
    }
    int status;
    if (maker < 0 || waitpid(maker, &status, 0) != maker || status != 0)
        _exit(1);
    close(ready);
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
        ;
    /* Stays, so that its list of children can be read to the end. */
    for (;;)
        pause();
}

uint64_t bare_reap(int count)
{
    int gate[2];
    char byte;

    if (pipe2(gate, O_CLOEXEC) < 0)
        give_up("pipe", strerror(errno));
    pid_t parent = fork();
    if (parent == 0) {
        close(gate[0]);
        bare_parent(count, gate[1]);
    }
    close(gate[1]);
    while (read(gate[0], &byte, 1) < 0 && errno == EINTR)
        ;
    uint64_t took = end_orphans(parent, 0, count);
    kill(parent, SIGKILL);
    waitpid(parent, NULL, 0);
    return took;
}
