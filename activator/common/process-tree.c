/* SPDX-License-Identifier: MIT */
#include "common/process-tree.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* No stdio and no DIR in here: a reaper lives for months in a few pages, and each of those
 * would dirty several more on the first walk. */

/* --- descriptors for /proc --------------------------------------------------------------- */

/* As many as a walk has open at once: a folder of threads, one's list of children, a process. */
#define RESERVED 3

static int reserve[RESERVED] = {-1, -1, -1};
static bool reserving;

/* Files of their own, not copies: a system that has no more of them is helped by one closed. */
static void reserve_fill(void)
{
    for (int i = 0; i < RESERVED; i++) {
        if (reserve[i] < 0)
            reserve[i] = open("/", O_PATH | O_CLOEXEC);
    }
}

void process_tree_reserve(void)
{
    for (int i = 0; i < RESERVED; i++) {
        if (reserve[i] >= 0)
            close(reserve[i]);
        reserve[i] = -1;
    }
    reserving = true;
    reserve_fill();
}

bool process_trouble(int number)
{
    return number == EMFILE || number == ENFILE || number == ENOMEM;
}

static int proc_open(const char *path, int flags)
{
    int fd = open(path, flags | O_RDONLY | O_CLOEXEC);

    for (int i = 0; i < RESERVED && fd < 0 && (errno == EMFILE || errno == ENFILE); i++) {
        if (reserve[i] < 0)
            continue;
        close(reserve[i]);
        reserve[i] = -1;
        fd = open(path, flags | O_RDONLY | O_CLOEXEC);
    }
    return fd;
}

static void proc_close(int fd)
{
    int held = errno;

    close(fd);
    if (reserving)
        reserve_fill();
    errno = held;
}

/* Of a list of children or processes: that of one that is gone is empty. */
static int list_error(int number)
{
    return number == ENOENT || number == ESRCH ? 0 : -number;
}

/* Of one process: what is not lack of something says that it is gone, or hidden from us, which is
 * the same. */
static int stat_error(int number)
{
    return process_trouble(number) ? -number : 0;
}

long process_file_read(pid_t pid, const char *name, char *text, size_t size)
{
    char path[48];

    snprintf(path, sizeof path, "/proc/%d/%.16s", (int)pid, name);
    int fd = proc_open(path, 0);
    if (fd < 0)
        return -errno;
    ssize_t length = read(fd, text, size - 1);
    if (length < 0)
        length = -errno;
    proc_close(fd);
    text[length < 0 ? 0 : length] = '\0';
    return length;
}

/* --- the tree ---------------------------------------------------------------------------- */

static int tree_append(struct process_tree *tree, const struct process_stat *s)
{
    if (tree->count == tree->room) {
        size_t room = tree->room ? tree->room * 2 : 16;
        struct tree_process *list = reallocarray(tree->list, room, sizeof *list);
        if (!list)
            return -ENOMEM;
        tree->list = list;
        tree->room = room;
    }
    tree->list[tree->count++] = (struct tree_process){.pid = s->pid,
                                                      .parent = s->parent,
                                                      .session = s->session,
                                                      .zombie = s->zombie,
                                                      .threaded = s->threads != 1,
                                                      .start = s->start};
    return 0;
}

void process_tree_clear(struct process_tree *tree)
{
    free(tree->list);
    memset(tree, 0, sizeof *tree);
}

/* Splits what follows the name in /proc/PID/stat. The numbers are those of proc(5). */
static bool parse_stat(const char *rest, struct process_stat *s)
{
    unsigned long long field[23] = {0};
    char *end = NULL;

    while (*rest == ' ')
        rest++;
    s->state = *rest;
    if (*rest == '\0')
        return false;
    rest++;
    for (int n = 4; n <= 22; n++) {
        field[n] = strtoull(rest, &end, 10);
        if (end == rest)
            return false;
        rest = end;
    }
    s->parent = (pid_t)field[4];
    s->group = (pid_t)field[5];
    s->session = (pid_t)field[6];
    s->threads = (unsigned)field[20];
    s->start = field[22];
    s->zombie = (s->state == 'Z' && s->threads <= 1) || s->state == 'X';
    return true;
}

bool process_stat_read(pid_t pid, struct process_stat *s)
{
    char text[1024];

    memset(s, 0, sizeof *s);
    s->pid = pid;
    long length = process_file_read(pid, "stat", text, sizeof text);
    /* The name in parentheses may hold anything, also blanks and parentheses: what follows the
     * last one is safe to split. */
    const char *rest = length > 0 ? strrchr(text, ')') : NULL;
    if (rest && parse_stat(rest + 1, s))
        return true;
    errno = length < 0 && process_trouble((int)-length) ? (int)-length : ESRCH;
    return false;
}

pid_t process_parent(pid_t pid, uint64_t *start, char *state)
{
    struct process_stat s;

    if (!process_stat_read(pid, &s))
        return process_trouble(errno) ? -1 : 0;
    if (start)
        *start = s.start;
    if (state)
        *state = s.state;
    return s.parent;
}

/* The children of one process are being added. */
struct walk {
    struct process_tree *tree;
    pid_t parent;
    bool (*skip)(pid_t pid, void *data); /* NULL: none */
    void *data;
};

/* A process named by the kernel as a child. It may be gone again by now: not an error. */
static int append_child(const struct walk *w, pid_t pid)
{
    struct process_stat s;

    if (pid <= 0 || (w->skip && w->skip(pid, w->data)))
        return 0;
    return process_stat_read(pid, &s) ? tree_append(w->tree, &s) : stat_error(errno);
}

/* Appends the children that one thread of `parent` has. */
static int children_of_thread(const struct walk *w, const char *thread)
{
    char path[80];
    char text[1024];
    ssize_t length = 0;
    pid_t pid = 0;
    int result = 0;

    snprintf(path, sizeof path, "/proc/%d/task/%.16s/children", (int)w->parent, thread);
    int fd = proc_open(path, 0);
    if (fd < 0)
        return list_error(errno);
    /* Numbers with a blank after each; one may be cut in two by the buffer's end. */
    while (result == 0 && (length = read(fd, text, sizeof text)) > 0) {
        for (ssize_t i = 0; i < length && result == 0; i++) {
            if (isdigit((unsigned char)text[i])) {
                pid = pid * 10 + (text[i] - '0');
                continue;
            }
            result = append_child(w, pid);
            pid = 0;
        }
    }
    if (result == 0)
        result = length < 0 ? list_error(errno) : append_child(w, pid);
    proc_close(fd);
    return result;
}

/* Calls each() for every numeric name in a folder of /proc. */
static int each_number(const char *path, int (*each)(const char *name, void *data), void *data)
{
    _Alignas(struct dirent64) char room[2048];
    ssize_t length = 0;
    int result = 0;

    int fd = proc_open(path, O_DIRECTORY);
    if (fd < 0)
        return list_error(errno);
    while (result == 0 && (length = getdents64(fd, room, sizeof room)) > 0) {
        for (ssize_t at = 0; at < length && result == 0;) {
            const struct dirent64 *e = (const void *)(room + at);
            at += e->d_reclen;
            if (isdigit((unsigned char)e->d_name[0]))
                result = each(e->d_name, data);
        }
    }
    if (result == 0 && length < 0)
        result = list_error(errno);
    proc_close(fd);
    return result;
}

static int each_thread(const char *name, void *data)
{
    return children_of_thread(data, name);
}

static int each_process(const char *name, void *data)
{
    struct walk *w = data;
    struct process_stat s;
    pid_t pid = (pid_t)strtol(name, NULL, 10);

    if (w->skip && w->skip(pid, w->data))
        return 0;
    if (!process_stat_read(pid, &s))
        return stat_error(errno);
    return s.parent == w->parent ? tree_append(w->tree, &s) : 0;
}

static int children_of(struct walk *w, bool threaded)
{
    char text[32];

    static int has_children = -1; /* a property of the kernel: asked once */

    if (has_children < 0)
        has_children = access("/proc/thread-self/children", F_OK) == 0;
    /* Kernels without CONFIG_PROC_CHILDREN: every process of the machine, once per parent. */
    if (!has_children)
        return each_number("/proc", each_process, w);
    if (!threaded) {
        snprintf(text, sizeof text, "%d", (int)w->parent);
        return children_of_thread(w, text);
    }
    snprintf(text, sizeof text, "/proc/%d/task", (int)w->parent);
    return each_number(text, each_thread, w);
}

/* Appends what lies below the entries from `from` on. */
static int grow(struct process_tree *tree, size_t from)
{
    int result = 0;

    for (size_t i = from; i < tree->count && result == 0; i++) {
        struct walk w = {.tree = tree, .parent = tree->list[i].pid};
        if (!tree->list[i].zombie)
            result = children_of(&w, tree->list[i].threaded);
    }
    return result;
}

struct skip_list {
    const pid_t *list;
    size_t count;
};

static bool is_listed(pid_t pid, void *data)
{
    const struct skip_list *skip = data;

    for (size_t i = 0; i < skip->count; i++) {
        if (skip->list[i] == pid)
            return true;
    }
    return false;
}

int process_tree_read(struct process_tree *tree, pid_t root, const pid_t *skip, size_t nskip)
{
    struct skip_list listed = {skip, nskip};
    struct walk w = {.tree = tree, .parent = root, .skip = is_listed, .data = &listed};

    memset(tree, 0, sizeof *tree);
    int result = children_of(&w, true);
    return result < 0 ? result : grow(tree, 0);
}

int process_tree_add(struct process_tree *tree, pid_t pid)
{
    struct process_stat s;
    size_t from = tree->count;

    if (!process_stat_read(pid, &s))
        return stat_error(errno);
    int result = tree_append(tree, &s);
    return result < 0 ? result : grow(tree, from);
}

int process_tree_children(struct process_tree *tree, bool (*known)(pid_t pid, void *data),
                          void *data)
{
    struct walk w = {.tree = tree, .parent = getpid(), .skip = known, .data = data};

    return children_of(&w, false);
}

bool process_is_below(pid_t pid, pid_t root)
{
    /* A chain of parents is as long as somebody made it; one that changes under the climb
     * (adoption) only gets shorter. */
    for (int depth = 0; pid > 1 && depth < 1 << 16; depth++) {
        if (pid == root)
            return true;
        pid = process_parent(pid, NULL, NULL);
    }
    return pid == root;
}

/* By descriptor when there is one, else (a kernel before 5.3) by number. */
static int signal_pinned(int fd, pid_t pid, int number)
{
    if (fd >= 0)
        return syscall(SYS_pidfd_send_signal, fd, number, NULL, 0) < 0 ? -errno : 0;
    return kill(pid, number) < 0 ? -errno : 0;
}

int process_signal_below(pid_t pid, pid_t root, int number)
{
    int result = -ESRCH;
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);

    if (fd < 0 && errno != ENOSYS)
        return -errno;
    /* The descriptor pins the process; only now is it looked at. */
    if (process_is_below(pid, root))
        result = signal_pinned(fd, pid, number);
    if (fd >= 0)
        close(fd);
    return result;
}

int process_signal_seen(const struct tree_process *seen, int number, bool and_continue)
{
    struct process_stat s;
    int result = -ESRCH;

    if (seen->zombie || seen->pid <= 0)
        return -ESRCH;
    int fd = (int)syscall(SYS_pidfd_open, seen->pid, 0);
    /* Out of descriptors or a kernel without them: the comparison below leaves a window of
     * microseconds, better than a process that cannot be stopped. */
    if (fd < 0 && errno == ESRCH)
        return -ESRCH;
    if (!process_stat_read(seen->pid, &s))
        result = process_trouble(errno) ? -errno : -ESRCH;
    else if (s.start == seen->start && !s.zombie)
        result = signal_pinned(fd, seen->pid, number);
    if (result == 0 && and_continue)
        signal_pinned(fd, seen->pid, SIGCONT);
    if (fd >= 0)
        close(fd);
    return result;
}
