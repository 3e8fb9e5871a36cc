/* SPDX-License-Identifier: MIT */
#include "common/parse/read-file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int open_regular(const char *path, struct stat *st, int *fd_out, struct parse_error *error)
{
    int r;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (fd < 0) {
        r = errno;
        if (r == ENOMEM || r == EMFILE || r == ENFILE)
            return -r;
        parse_error_set(error, 0, "%s", strerror(r));
        return r == ENOENT || r == ENOTDIR ? READ_FILE_E_MISSING : READ_FILE_E_UNREADABLE;
    }
    if (fstat(fd, st) < 0) {
        parse_error_set(error, 0, "%s", strerror(errno));
        close(fd);
        return READ_FILE_E_UNREADABLE;
    }
    if (!S_ISREG(st->st_mode)) {
        parse_error_set(error, 0, "not a regular file");
        close(fd);
        return READ_FILE_E_UNREADABLE;
    }
    *fd_out = fd;
    return 0;
}

/* Reads until the end or until buffer is full. */
static int read_all(int fd, char *buffer, size_t size, size_t *length_out)
{
    size_t length = 0;

    while (length < size) {
        ssize_t n = read(fd, buffer + length, size - length);

        if (n == 0)
            break;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        length += (size_t)n;
    }
    *length_out = length;
    return 0;
}

int read_file(const char *path, size_t limit, char **text_out, size_t *length_out,
              struct parse_error *error)
{
    struct stat st;
    size_t length = 0, room;
    char *text = NULL;
    int fd = -1;
    int r = open_regular(path, &st, &fd, error);

    if (r)
        return r;
    if ((unsigned long long)st.st_size > limit) {
        r = READ_FILE_E_TOO_LARGE;
        goto out;
    }
    /* One byte more than it had: a file that grows meanwhile is read whole or refused, never
     * cut. The size of files in /proc and the like is no guide, so they get all the room. */
    room = st.st_size > 0 ? (size_t)st.st_size + 1 : limit + 1;
    for (;;) {
        free(text);
        text = malloc(room + 1);
        if (!text) {
            r = -ENOMEM;
            goto out;
        }
        r = lseek(fd, 0, SEEK_SET) < 0 ? -errno : read_all(fd, text, room, &length);
        if (r < 0) {
            parse_error_set(error, 0, "%s", strerror(-r));
            r = READ_FILE_E_UNREADABLE;
            goto out;
        }
        if (length < room || room > limit)
            break;
        room = limit + 1;
    }
    if (length > limit) {
        r = READ_FILE_E_TOO_LARGE;
        goto out;
    }
    text[length] = '\0';
    *text_out = text;
    *length_out = length;
    text = NULL;
out:
    if (r == READ_FILE_E_TOO_LARGE)
        parse_error_set(error, 0, "larger than %zu bytes", limit);
    free(text);
    close(fd);
    return r;
}
