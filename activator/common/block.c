/* SPDX-License-Identifier: MIT */
#include "common/block.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

int block_to_memfd(const void *data, size_t length)
{
    const char *at = data;
    int fd = memfd_create("dbus-activator", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0)
        return -errno;
    while (length > 0) {
        ssize_t written = write(fd, at, length);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            goto failed;
        at += written;
        length -= (size_t)written;
    }
    if (fcntl(fd, F_ADD_SEALS, SEALS) == 0)
        return fd;
failed:;
    int number = errno ? errno : EIO;
    close(fd);
    return -number;
}

const void *block_map(int fd, size_t length, size_t max, size_t *size)
{
    struct stat status;
    int seals = fcntl(fd, F_GET_SEALS);

    if (seals < 0 || (seals & SEALS) != SEALS) {
        errno = EPERM;
        return NULL;
    }
    if (fstat(fd, &status) < 0)
        return NULL;
    if (status.st_size <= 0 || (size_t)status.st_size > max ||
        (length && (size_t)status.st_size != length)) {
        errno = EMSGSIZE;
        return NULL;
    }
    void *memory = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (memory == MAP_FAILED)
        return NULL;
    *size = (size_t)status.st_size;
    return memory;
}
