/* SPDX-License-Identifier: MIT */
#include "daemon/rooms/user-lookup.h"

#include "daemon/rooms/user-files.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_S 20
#define GROUPS_MAX 65536
#define ANSWER_MAX (GROUPS_MAX * sizeof(guint32) + 65536)
/* Where the child has its end of the pipe. */
#define ANSWER_FD 3

/* What the child writes: this, then the groups, then the home directory without its NUL. Both
 * ends are the same program. */
struct answer {
    gint32 error; /* errno, or NO_SUCH_USER; 0: what follows counts */
    guint32 uid, gid;
    guint32 ngroups;
    guint32 home_length;
};
#define NO_SUCH_USER (-1)

/* One child and those who wait for it. */
struct inquiry {
    char *user;
    struct user_files files; /* before the child was asked */
    GQueue waiting;          /* struct user_lookup *, owned */
    pid_t pid;               /* 0: none, or waited for */
    int pidfd;
    int pipe; /* -1: none */
    GByteArray *bytes;
    GSource *answer; /* on the pipe, or an idle source when there is no child */
    GSource *end;    /* of the child */
    GSource *patience;
    char *failure; /* why there is no child */
    bool delivering;
    bool over; /* answered, or nobody waits any more */
};

struct user_lookup {
    struct inquiry *inquiry;
    void (*done)(void *data, const struct user_info *info, const char *error);
    void *data;
};

/* user -> struct inquiry * under way, so that several may join. The one thing here that is not
 * somebody's: a lookup belongs to no service. */
static GHashTable *inquiries;

/* What a child has answered and the files it had it from. */
struct memory {
    struct user_files files;
    struct user_info info;
};

/* user -> struct memory. */
static GHashTable *memories;

/* ---- the child ---------------------------------------------------------------------------- */

static void write_all(const void *data, size_t length)
{
    const char *at = data;

    while (length > 0) {
        ssize_t n = write(ANSWER_FD, at, length);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            _exit(1);
        at += n;
        length -= (size_t)n;
    }
}

static void write_failure(int error)
{
    struct answer answer = {.error = error};

    write_all(&answer, sizeof answer);
}

static void look_up(const char *user)
{
    static gid_t groups[GROUPS_MAX];
    int ngroups = GROUPS_MAX;
    struct passwd *pw;
    struct answer answer = {0};

    errno = 0;
    pw = getpwnam(user);
    if (!pw) {
        /* getpwnam(3) lists these as ways of saying that there is none. */
        bool none =
            errno == 0 || errno == ENOENT || errno == ESRCH || errno == EBADF || errno == EPERM;

        write_failure(none ? NO_SUCH_USER : errno);
        return;
    }
    if (getgrouplist(pw->pw_name, pw->pw_gid, groups, &ngroups) < 0) {
        write_failure(E2BIG);
        return;
    }
    answer.uid = pw->pw_uid;
    answer.gid = pw->pw_gid;
    answer.ngroups = (guint32)ngroups;
    answer.home_length = pw->pw_dir ? (guint32)strnlen(pw->pw_dir, 4096) : 0;
    write_all(&answer, sizeof answer);
    G_STATIC_ASSERT(sizeof groups[0] == sizeof(guint32));
    write_all(groups, (size_t)ngroups * sizeof groups[0]);
    write_all(pw->pw_dir, answer.home_length);
}

static void close_from(int first)
{
#ifdef SYS_close_range
    if (syscall(SYS_close_range, (unsigned)first, ~0u, 0u) == 0)
        return;
#endif
    for (int fd = first, max = (int)sysconf(_SC_OPEN_MAX); fd < max; fd++)
        close(fd);
}

/* Nothing of the daemon's may stay open or in force in a child that may hang for a while: its
 * lock, its sockets (their peers wait for the end), its signal handlers. */
G_GNUC_NORETURN static void be_child(const char *user, int fd, pid_t parent)
{
    sigset_t none;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    prctl(PR_SET_NAME, "user-lookup");
    if (dup2(fd, ANSWER_FD) < 0)
        _exit(1);
    close_from(ANSWER_FD + 1);
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    look_up(user);
    _exit(0);
}

/* ---- the parent --------------------------------------------------------------------------- */

static void drop_source(GSource **source)
{
    if (!*source)
        return;
    g_source_destroy(*source);
    g_clear_pointer(source, g_source_unref);
}

static void inquiry_free(struct inquiry *q)
{
    drop_source(&q->answer);
    drop_source(&q->end);
    drop_source(&q->patience);
    if (q->pidfd >= 0)
        close(q->pidfd);
    if (q->pipe >= 0)
        close(q->pipe);
    g_byte_array_unref(q->bytes);
    g_free(q->failure);
    g_free(q->user);
    g_free(q);
}

/* Nobody may join any more; the child ends, and the inquiry with it. */
static void end_inquiry(struct inquiry *q)
{
    if (q->over)
        return;
    q->over = true;
    if (g_hash_table_lookup(inquiries, q->user) == q)
        g_hash_table_remove(inquiries, q->user);
    drop_source(&q->answer);
    drop_source(&q->patience);
    /* Not waited for yet, so the number is still its own. */
    if (q->pid > 0)
        kill(q->pid, SIGKILL);
    else
        inquiry_free(q);
}

/* Calls everybody who waits. They may cancel each other, or ask anew. */
static void deliver(struct inquiry *q, const struct user_info *info, const char *error)
{
    struct user_lookup *lookup;

    if (g_hash_table_lookup(inquiries, q->user) == q)
        g_hash_table_remove(inquiries, q->user);
    q->delivering = true;
    while ((lookup = g_queue_pop_head(&q->waiting))) {
        lookup->done(lookup->data, info, error);
        g_free(lookup);
    }
    end_inquiry(q);
}

static void fail(struct inquiry *q, const char *why)
{
    char *text = g_strdup_printf("The user \"%s\" could not be looked up: %s", q->user, why);

    deliver(q, NULL, text);
    g_free(text);
}

static void memory_free(gpointer data)
{
    struct memory *m = data;

    g_free(m->info.groups);
    g_free(m->info.home);
    g_free(m);
}

static void remember(const struct inquiry *q, const struct user_info *info)
{
    if (!q->files.alone)
        return;
    struct memory *m = g_new0(struct memory, 1);
    m->files = q->files;
    m->info = *info;
    m->info.groups = g_memdup2(info->groups, info->ngroups * sizeof *info->groups);
    m->info.home = g_strdup(info->home);
    if (!memories)
        memories = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, memory_free);
    g_hash_table_replace(memories, g_strdup(q->user), m);
}

const struct user_info *user_lookup_known(const char *user)
{
    struct memory *m = memories ? g_hash_table_lookup(memories, user) : NULL;
    struct user_files now;

    if (!m)
        return NULL;
    user_files_look(&now, "");
    if (user_files_same(&m->files, &now))
        return &m->info;
    g_hash_table_remove(memories, user);
    return NULL;
}

/* Reads the child's answer and tells it to everybody. */
static void conclude(struct inquiry *q)
{
    struct answer answer;
    struct user_info info = {0};
    gsize groups_size;
    char *text;

    if (q->bytes->len < sizeof answer) {
        fail(q, "the lookup died");
        return;
    }
    memcpy(&answer, q->bytes->data, sizeof answer);
    if (answer.error == NO_SUCH_USER) {
        text = g_strdup_printf("There is no user \"%s\"", q->user);
        deliver(q, NULL, text);
        g_free(text);
        return;
    }
    if (answer.error != 0) {
        fail(q, g_strerror(answer.error));
        return;
    }
    groups_size = (gsize)answer.ngroups * sizeof(guint32);
    if (q->bytes->len != sizeof answer + groups_size + answer.home_length) {
        fail(q, "the lookup died");
        return;
    }
    info.uid = answer.uid;
    info.gid = answer.gid;
    info.ngroups = answer.ngroups;
    info.groups = g_memdup2(q->bytes->data + sizeof answer, groups_size);
    info.home = g_strndup((char *)q->bytes->data + sizeof answer + groups_size, answer.home_length);
    remember(q, &info);
    deliver(q, &info, NULL);
    g_free(info.groups);
    g_free(info.home);
}

/* Takes what the pipe has. True while more may come. */
static bool read_some(struct inquiry *q, int fd)
{
    guint8 buffer[4096];

    for (;;) {
        ssize_t n = read(fd, buffer, sizeof buffer);

        if (n > 0)
            g_byte_array_append(q->bytes, buffer, (guint)n);
        if (n == 0 || q->bytes->len > ANSWER_MAX)
            return false;
        if (n < 0 && errno != EINTR)
            return errno == EAGAIN;
    }
}

static gboolean on_answer(int fd, GIOCondition condition, gpointer data)
{
    (void)condition;
    if (read_some(data, fd))
        return G_SOURCE_CONTINUE;
    conclude(data);
    return G_SOURCE_CONTINUE;
}

static gboolean on_patience(gpointer data)
{
    char *why = g_strdup_printf("no answer within %d s", PATIENCE_S);

    fail(data, why);
    g_free(why);
    return G_SOURCE_REMOVE;
}

static gboolean on_failure(gpointer data)
{
    struct inquiry *q = data;

    fail(q, q->failure);
    return G_SOURCE_REMOVE;
}

/* The child ended and has been waited for. All it had to say is in the pipe, even if something
 * that it left behind keeps that open. */
static void child_over(struct inquiry *q)
{
    q->pid = 0;
    drop_source(&q->end);
    if (q->over) {
        inquiry_free(q);
        return;
    }
    read_some(q, q->pipe);
    conclude(q);
}

static gboolean on_pidfd(int fd, GIOCondition condition, gpointer data)
{
    struct inquiry *q = data;

    (void)fd;
    (void)condition;
    if (waitpid(q->pid, NULL, WNOHANG) == 0)
        return G_SOURCE_CONTINUE;
    child_over(q);
    return G_SOURCE_REMOVE;
}

static void on_child(GPid pid, int status, gpointer data)
{
    (void)pid;
    (void)status;
    child_over(data);
}

static GSource *attach(GSource *source, GSourceFunc callback, struct inquiry *q)
{
    g_source_set_callback(source, callback, q, NULL);
    g_source_attach(source, NULL);
    return source;
}

/* Watches the child's end: by its pidfd where the kernel has them. */
static void watch_child(struct inquiry *q)
{
#ifdef SYS_pidfd_open
    q->pidfd = (int)syscall(SYS_pidfd_open, q->pid, 0u);
#endif
    if (q->pidfd >= 0)
        q->end = attach(g_unix_fd_source_new(q->pidfd, G_IO_IN), G_SOURCE_FUNC(on_pidfd), q);
    else
        q->end = attach(g_child_watch_source_new(q->pid), G_SOURCE_FUNC(on_child), q);
}

static void begin_failed(struct inquiry *q, const char *what)
{
    q->failure = g_strdup_printf("%s: %s", what, g_strerror(errno));
    q->answer = attach(g_idle_source_new(), on_failure, q);
}

static void begin(struct inquiry *q)
{
    pid_t parent = getpid();
    sigset_t all, before;
    int ends[2];
    int saved;

    user_files_look(&q->files, "");
    if (pipe2(ends, O_CLOEXEC) < 0) {
        begin_failed(q, "no pipe");
        return;
    }
    /* A handler of ours that ran in the child would write into our own wake-up descriptor. */
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    q->pid = fork();
    if (q->pid == 0)
        be_child(q->user, ends[1], parent);
    saved = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    errno = saved;
    if (q->pid < 0) {
        begin_failed(q, "no process");
        q->pid = 0;
        close(ends[0]);
        close(ends[1]);
        return;
    }
    close(ends[1]);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    q->pipe = ends[0];
    q->answer =
        attach(g_unix_fd_source_new(q->pipe, G_IO_IN | G_IO_HUP), G_SOURCE_FUNC(on_answer), q);
    q->patience = attach(g_timeout_source_new_seconds(PATIENCE_S), on_patience, q);
    watch_child(q);
}

static struct inquiry *inquiry_for(const char *user)
{
    struct inquiry *q;

    if (!inquiries)
        inquiries = g_hash_table_new(g_str_hash, g_str_equal);
    q = g_hash_table_lookup(inquiries, user);
    if (q)
        return q;
    q = g_new0(struct inquiry, 1);
    q->user = g_strdup(user);
    q->pidfd = q->pipe = -1;
    q->bytes = g_byte_array_new();
    g_queue_init(&q->waiting);
    g_hash_table_insert(inquiries, q->user, q);
    begin(q);
    return q;
}

struct user_lookup *
user_lookup(const char *user,
            void (*done)(void *data, const struct user_info *info, const char *error), void *data)
{
    struct user_lookup *lookup = g_new0(struct user_lookup, 1);

    lookup->inquiry = inquiry_for(user);
    lookup->done = done;
    lookup->data = data;
    g_queue_push_tail(&lookup->inquiry->waiting, lookup);
    return lookup;
}

void user_lookup_cancel(struct user_lookup *lookup)
{
    struct inquiry *q;

    if (!lookup)
        return;
    q = lookup->inquiry;
    g_queue_remove(&q->waiting, lookup);
    g_free(lookup);
    if (g_queue_is_empty(&q->waiting) && !q->delivering)
        end_inquiry(q);
}
