/* SPDX-License-Identifier: MIT */
#include "daemon/rooms/read-end.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

int read_end_open(const char *path)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;

    if (fd < 0)
        return -1;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        return fd;
    close(fd);
    errno = EINVAL;
    return -1;
}

char *read_end(int fd, gsize most, gsize *length, bool *whole)
{
    struct stat st;
    gsize want, got = 0;
    char *buffer;

    if (fstat(fd, &st) < 0)
        return NULL;
    want = MIN((gsize)st.st_size, most);
    buffer = g_malloc(want + 1);
    while (got < want) {
        ssize_t n = pread(fd, buffer + got, want - got, st.st_size - (off_t)(want - got));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            g_free(buffer);
            return NULL;
        }
        /* It shrank meanwhile. */
        if (n == 0)
            break;
        got += (gsize)n;
    }
    buffer[got] = '\0';
    *length = got;
    if (whole)
        *whole = want == (gsize)st.st_size;
    return buffer;
}
