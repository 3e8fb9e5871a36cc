/* SPDX-License-Identifier: MIT */
#include "ctl/log-file.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdbool.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

/* A line of the log is at most a few kB (log.h of the reaper); a file of another kind must not
 * fill the memory. */
#define LINE_LIMIT          65536
#define NO_INOTIFY_INTERVAL 250

struct log_file {
    char *path;
    int fd;
    int inotify;
    dev_t device;
    ino_t inode;
    GString *partial;
    GQueue *first; /* the newest lines at the beginning, GString * */
};

static int open_for_reading(const char *path)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);

    if (fd < 0)
        return -1;
    if (fstat(fd, &info) < 0 || !S_ISREG(info.st_mode)) {
        close(fd);
        errno = EINVAL;
        return -1;
    }
    return fd;
}

static void take(struct log_file *file, const char *data, size_t length, log_line_fn line,
                 void *user)
{
    while (length > 0) {
        const char *end = memchr(data, '\n', length);
        size_t part = end ? (size_t)(end - data) : length;

        g_string_append_len(file->partial, data, (gssize)part);
        if (end || file->partial->len >= LINE_LIMIT) {
            line(file->partial->str, file->partial->len, user);
            g_string_truncate(file->partial, 0);
        }
        data += part + (end != NULL);
        length -= part + (end != NULL);
    }
}

static void read_rest(struct log_file *file, int fd, log_line_fn line, void *user)
{
    char buffer[16384];
    ssize_t got;

    while ((got = read(fd, buffer, sizeof(buffer))) > 0 || (got < 0 && errno == EINTR)) {
        if (got > 0)
            take(file, buffer, (size_t)got, line, user);
    }
}

static void remember(struct log_file *file, int fd)
{
    struct stat info;

    file->fd = fd;
    if (fd >= 0 && fstat(fd, &info) == 0) {
        file->device = info.st_dev;
        file->inode = info.st_ino;
    }
}

struct newest {
    struct log_file *file;
    unsigned lines;
};

static void keep_newest(const char *line, size_t length, void *data)
{
    struct newest *newest = data;

    g_queue_push_tail(newest->file->first, g_string_new_len(line, (gssize)length));
    if (g_queue_get_length(newest->file->first) > newest->lines)
        g_string_free(g_queue_pop_head(newest->file->first), TRUE);
}

static int watch_folder(const char *path)
{
    g_autofree char *folder = g_path_get_dirname(path);
    int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

    if (fd >= 0 &&
        inotify_add_watch(fd, folder, IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

struct log_file *log_file_open(const char *path, unsigned lines)
{
    g_autofree char *old_path = g_strconcat(path, ".1", NULL);
    g_autofree char *folder = g_path_get_dirname(path);
    struct log_file *file;
    struct newest newest;
    int old;
    int fd;

    if (access(folder, R_OK | X_OK) != 0)
        return NULL;
    file = g_new0(struct log_file, 1);
    file->path = g_strdup(path);
    file->partial = g_string_new(NULL);
    file->first = g_queue_new();
    file->inotify = watch_folder(path);
    newest = (struct newest){file, lines};
    old = open_for_reading(old_path);
    fd = open_for_reading(path);
    if (fd < 0 && errno != ENOENT) {
        if (old >= 0)
            close(old);
        file->fd = -1;
        log_file_free(file);
        return NULL;
    }
    if (old >= 0) {
        read_rest(file, old, keep_newest, &newest);
        g_string_truncate(file->partial, 0);
        close(old);
    }
    remember(file, fd);
    if (fd >= 0)
        read_rest(file, fd, keep_newest, &newest);
    return file;
}

void log_file_free(struct log_file *file)
{
    GString *line;

    if (!file)
        return;
    while ((line = g_queue_pop_head(file->first)) != NULL)
        g_string_free(line, TRUE);
    g_queue_free(file->first);
    g_string_free(file->partial, TRUE);
    if (file->fd >= 0)
        close(file->fd);
    if (file->inotify >= 0)
        close(file->inotify);
    g_free(file->path);
    g_free(file);
}

static bool is_still_the_file(const struct log_file *file)
{
    struct stat info;

    return file->fd >= 0 && stat(file->path, &info) == 0 && info.st_dev == file->device &&
           info.st_ino == file->inode;
}

static void forget_events(const struct log_file *file)
{
    char buffer[4096];

    while (file->inotify >= 0 && read(file->inotify, buffer, sizeof(buffer)) > 0)
        ;
}

void log_file_read(struct log_file *file, log_line_fn line, void *data)
{
    GString *kept;
    struct stat info;

    /* Before reading: what is written meanwhile raises a new event. */
    forget_events(file);
    while ((kept = g_queue_pop_head(file->first)) != NULL) {
        line(kept->str, kept->len, data);
        g_string_free(kept, TRUE);
    }
    /* A writer that could not rename its file has emptied it. */
    if (file->fd >= 0 && fstat(file->fd, &info) == 0 && info.st_size < lseek(file->fd, 0, SEEK_CUR))
        lseek(file->fd, 0, SEEK_SET);
    if (file->fd >= 0)
        read_rest(file, file->fd, line, data);
    if (is_still_the_file(file))
        return;
    /* Renamed: its last lines were written before the new file appeared, and have been read. */
    int fd = open_for_reading(file->path);

    if (fd < 0)
        return;
    if (file->fd >= 0) {
        read_rest(file, file->fd, line, data);
        close(file->fd);
    }
    remember(file, fd);
    read_rest(file, fd, line, data);
}

int log_file_descriptor(const struct log_file *file)
{
    return file->inotify;
}

int log_file_timeout(const struct log_file *file)
{
    return file->inotify >= 0 ? -1 : NO_INOTIFY_INTERVAL;
}
