/* SPDX-License-Identifier: MIT */
#include "reaper/spawn.h"

#include "reaper/privileges.h"
#include "reaper/process.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define FEW_STRINGS 1024
#define STRINGS_MAX (1u << 20)
#define CHILD_STACK 16384

/* --- the message ------------------------------------------------------------------------ */

static struct {
    char **strings; /* few, or a mapping of strings_size */
    size_t strings_size;
    void *block; /* mapping of the memfd */
    size_t block_size;
} memory;

/* Used once in a life: whole pages, which are given back after that. */
static _Alignas(4096) char *few[FEW_STRINGS];
static _Alignas(4096) gid_t groups[SPAWN_GROUPS_MAX];
static _Alignas(4096) char stack[CHILD_STACK];

void spawn_forget(void)
{
    if (memory.block)
        munmap(memory.block, memory.block_size);
    if (memory.strings_size)
        munmap(memory.strings, memory.strings_size);
    memset(&memory, 0, sizeof memory);
    madvise(few, sizeof few, MADV_DONTNEED);
    madvise(groups, sizeof groups, MADV_DONTNEED);
    madvise(stack, sizeof stack, MADV_DONTNEED);
}

/* Maps the strings of a memfd. It has to be sealed: one that the sender could still shorten
 * would be a SIGBUS in here. */
static const char *map_block(int memfd, uint32_t bytes)
{
    struct stat s;
    int seals = memfd < 0 ? -1 : fcntl(memfd, F_GET_SEALS);

    if (seals < 0 || (seals & (F_SEAL_SHRINK | F_SEAL_WRITE)) != (F_SEAL_SHRINK | F_SEAL_WRITE) ||
        fstat(memfd, &s) < 0 || s.st_size < (off_t)bytes || bytes == 0)
        return NULL;
    void *at = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, memfd, 0);
    if (at == MAP_FAILED)
        return NULL;
    memory.block = at;
    memory.block_size = bytes;
    return at;
}

static char **strings_room(size_t count)
{
    if (count <= FEW_STRINGS) {
        memory.strings = few;
        return memory.strings;
    }
    void *at = mmap(NULL, count * sizeof(char *), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return NULL;
    memory.strings = at;
    memory.strings_size = count * sizeof(char *);
    return memory.strings;
}

/* Splits the block into argv and envp; it must hold exactly that many strings. */
static int split_block(struct spawn_request *q, const char *block, uint32_t bytes, uint32_t argc,
                       uint32_t envc)
{
    const char *end = block + bytes;
    char **strings = NULL;
    size_t total = (size_t)argc + envc;

    if (argc == 0 || argc > STRINGS_MAX || envc > STRINGS_MAX || total > bytes)
        return -EBADMSG;
    strings = strings_room(total + 2);
    if (!strings)
        return -ENOMEM;
    for (size_t i = 0; i < total; i++) {
        const char *nul = block < end ? memchr(block, '\0', (size_t)(end - block)) : NULL;
        if (!nul)
            return -EBADMSG;
        /* execve() does not write to them whatever its prototype says. */
        strings[i < argc ? i : i + 1] = (char *)(uintptr_t)block;
        block = nul + 1;
    }
    strings[argc] = NULL;
    strings[total + 1] = NULL;
    q->argv = strings;
    q->envp = strings + argc + 1;
    return block == end ? 0 : -EBADMSG;
}

int spawn_read(struct spawn_request *q, struct message_reader *r, int memfd)
{
    size_t inlined = 0;

    memset(q, 0, sizeof *q);
    q->run = message_get_u64(r);
    q->name = message_get_string(r);
    q->note = message_get_string(r);
    q->flags = message_get_u32(r);
    q->uid = message_get_u32(r);
    q->gid = message_get_u32(r);
    q->ngroups = message_get_u32(r);
    if (q->ngroups > SPAWN_GROUPS_MAX)
        return -EBADMSG;
    for (uint32_t i = 0; i < q->ngroups && !r->bad; i++)
        groups[i] = message_get_u32(r);
    q->groups = groups;
    q->umask = message_get_u32(r);
    q->cwd = message_get_string(r);
    q->log_path = message_get_string(r);
    q->log_limit = message_get_u32(r);
    q->stop_timeout = message_get_u32(r);
    uint32_t argc = message_get_u32(r);
    uint32_t envc = message_get_u32(r);
    uint32_t bytes = message_get_u32(r);
    const char *block = message_get_bytes(r, &inlined);
    if (!message_read_end(r) || q->run == 0 || strlen(q->note) > SPAWN_NOTE_MAX)
        return -EBADMSG;
    if (inlined == 0)
        block = map_block(memfd, bytes);
    else if (inlined != bytes)
        block = NULL;
    return block ? split_block(q, block, bytes, argc, envc) : -EBADMSG;
}

/* Seen by a child that shares all memory. One that becomes another user shares a page only, and
 * only root has such. */
static struct spawn_failure own_failure;

/* --- the child -------------------------------------------------------------------------- */

struct child {
    const struct spawn_request *q;
    const struct spawn_ready *s;
};

static void close_all(void)
{
    if (syscall(SYS_close_range, 3u, ~0u, 0u) == 0)
        return;
    /* Before Linux 5.9. Everything that this program opens is close-on-exec, and what it was
     * started with has been closed: this is the second wall. */
    for (int fd = 3; fd < 1024; fd++)
        close(fd);
}

static int child_setup(const struct child *c)
{
    if (setsid() < 0)
        return -errno;
    if (c->s->reset_oom) {
        /* Now, as after the change of user /proc/self is root's. */
        int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
        /* Left open for the exec, or the end of this process, to close. */
        if (fd >= 0 && write(fd, "0", 1) < 0 && errno != EACCES)
            return -errno; // cppcheck-suppress resourceLeak
    }
    if (dup2(c->s->null, 0) < 0 || dup2(c->s->log_write, 1) < 0 || dup2(c->s->log_write, 2) < 0)
        return -errno;
    close_all();
    if (c->q->umask != SPAWN_KEEP_UMASK)
        umask((mode_t)c->q->umask & 0777);
    return 0;
}

static int child_user(const struct child *c)
{
    if (!(c->q->flags & SPAWN_SYSTEM))
        return 0;
    int result = privileges_become(c->q->uid, c->q->gid, c->q->groups, c->q->ngroups);
    /* Anonymous and new: services shall not share one. A kernel without keys is fine. */
    if (result == 0)
        syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
    return result;
}

static int child_main(void *data)
{
    const struct child *c = data;
    uint32_t stage = SPAWN_STAGE_SETUP;
    sigset_t none;

    /* Dispositions are right already: see signals_default(). */
    int result = child_setup(c);
    if (result == 0) {
        stage = SPAWN_STAGE_USER;
        result = child_user(c);
    }
    if (result == 0) {
        stage = SPAWN_STAGE_EXEC;
        if ((c->q->cwd[0] == '\0' || chdir(c->q->cwd) < 0) && chdir("/") < 0)
            result = -errno;
    }
    if (result == 0) {
        sigemptyset(&none);
        if (sigprocmask(SIG_SETMASK, &none, NULL) < 0) {
            stage = SPAWN_STAGE_SETUP;
            result = -errno;
        }
    }
    if (result == 0) {
        execve(c->q->argv[0], c->q->argv, c->q->envp);
        result = -errno;
    }
    c->s->failure->stage = stage;
    c->s->failure->error = (uint32_t)-result;
    _exit(127);
}

/* --- the parent ------------------------------------------------------------------------- */

static int share_failure(struct spawn_ready *s)
{
    s->failure =
        mmap(NULL, sizeof *s->failure, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return s->failure == MAP_FAILED ? -errno : 0;
}

int spawn_prepare(struct spawn_ready *s)
{
    char text[16] = "";

    s->null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (s->null < 0)
        return -errno;
    int fd = open("/proc/self/oom_score_adj", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t length = read(fd, text, sizeof text - 1);
        close(fd);
        s->reset_oom = length > 0 && text[0] == '-';
    }
    return share_failure(s);
}

int spawn_prepare_copy(struct spawn_ready *s)
{
    munmap(s->failure, sizeof *s->failure);
    return share_failure(s);
}

void spawn_warm(const struct spawn_ready *s)
{
    page_touch(few);
    page_touch(groups);
    page_touch(stack + sizeof stack - 1);
    page_touch(s->failure);
}

/* Starts child_main() and returns when it has executed the program or ended. The reaper has no
 * signal handler and one thread, and stands still meanwhile, so sharing its memory is safe; it
 * is not shared with a child that becomes another user, whom somebody else with that uid may
 * trace (fs.suid_dumpable). */
static pid_t start(struct child *c)
{
    int flags = CLONE_VFORK | SIGCHLD;

    if (!(c->q->flags & SPAWN_SYSTEM) || c->q->uid == geteuid() || c->s->failure == &own_failure)
        flags |= CLONE_VM;
    return clone(child_main, stack + sizeof stack, flags, c);
}

pid_t spawn_program(const struct spawn_request *q, const struct spawn_ready *s,
                    struct spawn_failure *failure)
{
    struct child c = {.q = q, .s = s};

    *s->failure = (struct spawn_failure){0};
    *failure = (struct spawn_failure){0};
    if (q->flags & SPAWN_SYSTEM) {
        /* The service may open /dev/stderr again: it is a link to this pipe. */
        if (fchown(s->log_write, q->uid, (gid_t)-1) < 0 || fchmod(s->log_write, 0600) < 0) {
            *failure = (struct spawn_failure){SPAWN_STAGE_USER, (uint32_t)errno};
            return 0;
        }
    }
    pid_t pid = start(&c);
    if (pid < 0) {
        *failure = (struct spawn_failure){SPAWN_STAGE_FORK, (uint32_t)errno};
        return 0;
    }
    *failure = *s->failure;
    if (failure->stage == 0)
        return pid;
    /* Its end is no event of the run: it never was the program. */
    while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
        continue;
    return 0;
}
