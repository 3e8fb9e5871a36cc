/* SPDX-License-Identifier: MIT */
#include "daemon/activator.h"

#include "common/parse/bus-name.h"
#include "common/process-tree.h"
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* How long --replace waits for the other one to leave. */
#define REPLACE_TRIES 400
#define REPLACE_USEC  50000
/* The one that is asked may be executing itself just then and have another pid when it holds the
 * lock again: it is asked again after so many tries. */
#define REPLACE_ASK 10
/* How often a top reaper without an activator is waited for, and after which try it is asked to
 * start one: one that is just leaving is gone by then. */
#define TOP_TRIES 20
#define TOP_ASK   3

char *runtime_dir_path(struct activator *a, const char *name)
{
    return g_strdup_printf("%s/%s", a->runtime_dir, name);
}

static gboolean fail(GError **error, const char *what, const char *path)
{
    g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno), "%s %s: %s", what, path,
                g_strerror(errno));
    return FALSE;
}

/* Makes one directory if it is not there; what is there has to be ours and nobody else's to
 * write, and no link. */
static gboolean make_own(const char *path, mode_t mode, GError **error)
{
    struct stat status;

    if (mkdir(path, mode) < 0 && errno != EEXIST)
        return fail(error, "cannot make the runtime directory", path);
    if (lstat(path, &status) < 0)
        return fail(error, "cannot look at", path);
    if (!S_ISDIR(status.st_mode) || status.st_uid != geteuid() || (status.st_mode & 022)) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_PERM,
                    "%s has to be a directory of user %u that nobody else can write to; remove it "
                    "or choose another --runtime-dir",
                    path, geteuid());
        return FALSE;
    }
    return TRUE;
}

/* Below XDG_RUNTIME_DIR when that is usable, as session buses expect it. */
static char *session_base(GError **error)
{
    const char *base = g_getenv("XDG_RUNTIME_DIR");
    struct stat status;

    if (!base || *base != '/') {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOENT,
                    "XDG_RUNTIME_DIR is not set; set it or use --runtime-dir");
        return NULL;
    }
    if (stat(base, &status) < 0) {
        fail(error, "cannot use XDG_RUNTIME_DIR", base);
        return NULL;
    }
    if (!S_ISDIR(status.st_mode) || status.st_uid != geteuid() || (status.st_mode & 022)) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_PERM,
                    "XDG_RUNTIME_DIR %s is not a directory of user %u alone; use --runtime-dir",
                    base, geteuid());
        return NULL;
    }
    return g_strdup_printf("%s/dbus-activator", base);
}

static gboolean choose(struct activator *a, GError **error)
{
    mode_t mode = a->system ? 0755 : 0700;
    char *parent = NULL;
    gboolean made = FALSE;

    if (a->options->runtime_dir) {
        a->runtime_dir = g_strdup(a->options->runtime_dir);
        if (*a->runtime_dir != '/') {
            g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                        "--runtime-dir %s is not an absolute path", a->runtime_dir);
            return FALSE;
        }
        g_mkdir_with_parents(a->runtime_dir, mode);
        return make_own(a->runtime_dir, mode, error);
    }
    if (a->system)
        parent = g_path_get_dirname(SYSTEM_RUNTIME_DIR);
    else
        parent = session_base(error);
    if (!parent)
        return FALSE;
    a->runtime_dir =
        a->system ? g_strdup(SYSTEM_RUNTIME_DIR) : g_strdup_printf("%s/%s", parent, a->bus_id);
    made = make_own(parent, mode, error) && make_own(a->runtime_dir, mode, error);
    g_free(parent);
    return made;
}

static void ask_to_leave(int fd)
{
    char text[32] = "";
    char name[32] = "";
    ssize_t length = pread(fd, text, sizeof text - 1, 0);
    long pid = length > 0 ? strtol(text, NULL, 10) : 0;
    char *path = g_strdup_printf("/proc/%ld/comm", pid);
    FILE *file = pid > 1 ? fopen(path, "re") : NULL;

    /* Exactly: the pid may belong to a top reaper by now, which has no business with this. */
    if (file && fgets(name, sizeof name, file) && strcmp(name, "dbus-activatord\n") == 0)
        kill((pid_t)pid, SIGUSR1);
    if (file)
        fclose(file);
    g_free(path);
}

/* The top reaper that the last holder of the lock has written down, when it lives and is not ours:
 * it will start the next activator, and it holds what its dead reapers left. 0: there is none. */
static pid_t other_top(int fd, pid_t own)
{
    char text[96] = "";
    ssize_t length = pread(fd, text, sizeof text - 1, 0);
    const char *second = length > 0 ? strchr(text, '\n') : NULL;
    char *rest = NULL;
    long pid = second ? strtol(second + 1, &rest, 10) : 0;
    struct process_stat s;

    if (pid <= 1 || pid == own || *rest != '.' || !process_stat_read((pid_t)pid, &s) || s.zombie)
        return 0;
    return g_ascii_strtoull(rest + 1, NULL, 10) == s.start ? (pid_t)pid : 0;
}

/* For those who come after us: who holds the lock, and "<pid>.<start time>" of the top reaper. */
static void sign_lock(int fd, pid_t top)
{
    char text[96];
    struct process_stat s;
    int length = snprintf(text, sizeof text, "%d\n", (int)getpid());

    if (top > 1 && process_stat_read(top, &s))
        length += snprintf(text + length, sizeof text - (size_t)length,
                           "%d.%" G_GUINT64_FORMAT "\n", (int)top, (guint64)s.start);
    /* In this order it is never empty: who reads an old one meets the same top reaper, mostly. */
    if (pwrite(fd, text, (size_t)length, 0) < 0 || ftruncate(fd, length) < 0)
        g_debug("the lock does not name this process: %s", g_strerror(errno));
}

/* Waits until the lock is free, and no top reaper but ours is about to give it to an activator of
 * its own. FALSE when another activator keeps it. */
static gboolean wait_for_lock(int fd, gboolean replace, pid_t own_top)
{
    /* Even without --replace one that is just leaving, or dying, gets a moment. */
    int tries = replace ? REPLACE_TRIES : 20;
    int without = 0;

    for (int i = 0;; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
            if (i >= tries)
                return FALSE;
            if (replace && i % REPLACE_ASK == 0)
                ask_to_leave(fd);
        } else {
            pid_t top = other_top(fd, own_top);
            if (top && without == TOP_TRIES)
                g_warning("the top reaper %d of this bus starts no activator; going on without it",
                          (int)top);
            if (!top || without == TOP_TRIES)
                return TRUE;
            flock(fd, LOCK_UN);
            if (++without == TOP_ASK)
                kill(top, SIGHUP);
        }
        g_usleep(REPLACE_USEC);
    }
}

static gboolean take_lock(struct activator *a, pid_t own_top, GError **error)
{
    char *path = runtime_dir_path(a, "lock");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    g_free(path);
    if (fd < 0)
        return fail(error, "cannot open the lock in", a->runtime_dir);
    if (!wait_for_lock(fd, a->options->replace, own_top)) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_EXIST,
                    "another dbus-activatord serves this bus already (runtime directory %s); "
                    "use --replace to take over from it",
                    a->runtime_dir);
        close(fd);
        return FALSE;
    }
    sign_lock(fd, own_top);
    a->lock_fd = fd;
    return TRUE;
}

gboolean runtime_dir_open(struct activator *a, pid_t own_top, GError **error)
{
    static const char *const below[] = {"log", "runs"};

    if (!choose(a, error) || !take_lock(a, own_top, error))
        return FALSE;
    for (gsize i = 0; i < G_N_ELEMENTS(below); i++) {
        char *path = runtime_dir_path(a, below[i]);
        gboolean made = make_own(path, i == 0 ? 0700 : 0755, error);
        g_free(path);
        if (!made)
            return FALSE;
    }
    char *mark = runtime_dir_path(a, "asked");
    a->crashed_before = access(mark, F_OK) == 0;
    g_free(mark);
    return TRUE;
}

gboolean runtime_dir_has_neighbour(struct activator *a)
{
    char *parent = g_path_get_dirname(a->runtime_dir);
    char *own = g_path_get_basename(a->runtime_dir);
    GDir *folder = a->options->runtime_dir ? NULL : g_dir_open(parent, 0, NULL);
    const char *name = NULL;
    gboolean found = FALSE;

    while (folder && !found && (name = g_dir_read_name(folder))) {
        char *path = g_build_filename(parent, name, NULL);
        char *lock = g_build_filename(path, "lock", NULL);
        /* Links of guids lead to directories that come by their own name as well. */
        if (strcmp(name, own) != 0 && !g_file_test(path, G_FILE_TEST_IS_SYMLINK)) {
            int fd = open(lock, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
            found = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
            if (fd >= 0)
                close(fd);
        }
        g_free(lock);
        g_free(path);
    }
    if (folder)
        g_dir_close(folder);
    g_free(own);
    g_free(parent);
    return found;
}

void runtime_dir_mark(struct activator *a, gboolean on)
{
    char *path = runtime_dir_path(a, "asked");

    if (!on) {
        unlink(path);
    } else {
        int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
        if (fd >= 0)
            close(fd);
    }
    g_free(path);
}

void runtime_dir_link(struct activator *a, const char *guid)
{
    char *parent = NULL;
    char *path = NULL;

    if (a->system || a->options->runtime_dir || !*guid || strcmp(guid, a->bus_id) == 0 ||
        strspn(guid, "0123456789abcdefABCDEF") != strlen(guid))
        return;
    parent = g_path_get_dirname(a->runtime_dir);
    path = g_strdup_printf("%s/%s", parent, guid);
    char *fresh = g_strconcat(path, "~", NULL);
    unlink(fresh);
    /* Renamed into place: a stale one of a bus that is gone gives way without a moment in which
     * there is none. */
    if (symlink(a->bus_id, fresh) == 0 && rename(fresh, path) == 0)
        g_ptr_array_add(a->guid_links, g_strdup(path));
    else
        g_warning("cannot make %s: %s; launch helpers will not find this activator", path,
                  g_strerror(errno));
    g_free(fresh);
    g_free(path);
    g_free(parent);
}

static void remove_below(const char *path)
{
    GDir *folder = g_dir_open(path, 0, NULL);
    const char *name = NULL;

    while (folder && (name = g_dir_read_name(folder))) {
        char *file = g_build_filename(path, name, NULL);
        unlink(file);
        g_free(file);
    }
    if (folder)
        g_dir_close(folder);
    rmdir(path);
}

void runtime_dir_close(struct activator *a, gboolean all)
{
    static const char *const files[] = {"asked",   "environment", "history",
                                        "reapers", "requests",    "lock"};

    if (a->lock_fd < 0)
        return;
    if (all) {
        char *logs = runtime_dir_path(a, "log");
        char *runs = runtime_dir_path(a, "runs");
        for (guint i = 0; i < a->guid_links->len; i++)
            unlink(g_ptr_array_index(a->guid_links, i));
        remove_below(logs);
        remove_below(runs);
        g_free(logs);
        g_free(runs);
        for (gsize i = 0; i < G_N_ELEMENTS(files); i++) {
            char *path = runtime_dir_path(a, files[i]);
            unlink(path);
            g_free(path);
        }
        rmdir(a->runtime_dir);
    }
    close(a->lock_fd);
    a->lock_fd = -1;
}
