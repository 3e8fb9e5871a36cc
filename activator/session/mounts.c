/* SPDX-License-Identifier: MIT */
#include "session/session.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

/* Undoes the octal escapes of mountinfo in place. */
static void unescape(char *text)
{
    char *out = text;

    for (const char *in = text; *in; out++) {
        if (in[0] == '\\' && in[1] >= '0' && in[1] <= '3' && in[2] >= '0' && in[2] <= '7' &&
            in[3] >= '0' && in[3] <= '7') {
            *out = (char)((in[1] - '0') * 64 + (in[2] - '0') * 8 + (in[3] - '0'));
            in += 4;
        } else {
            *out = *in++;
        }
    }
    *out = '\0';
}

/* Whether the line is a FUSE mount that this user made; cuts the line up. */
static bool own_fuse(char *line, int *id, char **path)
{
    char want[32];
    char *save = NULL;
    char *rest = strstr(line, " - ");
    char *end = NULL;

    if (!rest)
        return false;
    *rest = '\0';
    rest += 3;
    if (strncmp(rest, "fuse", 4) != 0 || strncmp(rest, "fusectl", 7) == 0)
        return false;
    snprintf(want, sizeof want, "user_id=%u", (unsigned)getuid());
    char *found = strstr(rest, want);
    if (!found || (found[strlen(want)] >= '0' && found[strlen(want)] <= '9'))
        return false;
    char *field = strtok_r(line, " ", &save);
    for (int i = 0; field; field = strtok_r(NULL, " ", &save), i++) {
        if (i == 0)
            *id = (int)strtol(field, &end, 10);
        if (i == 4) {
            unescape(field);
            *path = field;
            return true;
        }
    }
    return false;
}

void mounts_read(struct mount_list *m)
{
    char *line = NULL;
    size_t room = 0;
    FILE *file = fopen("/proc/self/mountinfo", "re");

    memset(m, 0, sizeof *m);
    if (!file)
        return;
    while (getline(&line, &room, file) > 0) {
        int id = 0;
        char *path = NULL;
        if (!own_fuse(line, &id, &path))
            continue;
        struct mount_entry *list = reallocarray(m->list, m->count + 1, sizeof *list);
        if (!list)
            break;
        m->list = list;
        m->list[m->count] = (struct mount_entry){.id = id, .path = strdup(path)};
        if (m->list[m->count].path)
            m->count++;
    }
    free(line);
    fclose(file);
}

void mounts_clear(struct mount_list *m)
{
    for (size_t i = 0; i < m->count; i++)
        free(m->list[i].path);
    free(m->list);
    memset(m, 0, sizeof *m);
}

static bool mounts_has(const struct mount_list *m, const struct mount_entry *e)
{
    for (size_t i = 0; i < m->count; i++) {
        if (m->list[i].id == e->id && strcmp(m->list[i].path, e->path) == 0)
            return true;
    }
    return false;
}

/* In a child of its own, for a server that is alive and hangs makes statfs() hang. */
static _Noreturn void unmount_in_child(const char *path)
{
    struct statfs info;
    int null = open("/dev/null", O_RDWR);

    alarm(10);
    if (statfs(path, &info) == 0 || errno != ENOTCONN)
        _exit(1);
    if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
        _exit(0);
    if (null >= 0) {
        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
    }
    execlp("fusermount3", "fusermount3", "-u", "-z", "--", path, (char *)NULL);
    execlp("fusermount", "fusermount", "-u", "-z", "--", path, (char *)NULL);
    _exit(1);
}

static bool unmount_dead(const char *path)
{
    int status = 0;
    sigset_t none;
    pid_t pid = fork();

    if (pid < 0)
        return false;
    if (pid == 0) {
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        unmount_in_child(path);
    }
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            return false;
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

size_t mounts_clean(const struct mount_list *before)
{
    struct mount_list now;
    size_t left = 0;

    mounts_read(&now);
    /* The youngest first: one may lie inside another. */
    for (size_t i = now.count; i-- > 0;) {
        if (!mounts_has(before, &now.list[i]) && !unmount_dead(now.list[i].path))
            left++;
    }
    mounts_clear(&now);
    return left;
}
