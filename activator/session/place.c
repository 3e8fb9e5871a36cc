/* SPDX-License-Identifier: MIT */
#include "session/session.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* What is put behind the runtime directory, at most: "/dbus-activator/", the 32 digits of the
 * bus's id, "/" and the name of a socket of the activator. */
#define LONGEST_SUFFIX 60

/* Joins and checks; no path of ours may be cut silently. */
static bool join(char *out, size_t size, const char *folder, const char *name)
{
    int n = snprintf(out, size, "%s/%s", folder, name);

    return n > 0 && (size_t)n < size;
}

static const char *runtime_fault(const char *path)
{
    struct stat info;

    if (!path || !*path)
        return "XDG_RUNTIME_DIR is not set";
    if (path[0] != '/')
        return "it is not an absolute path";
    if (stat(path, &info) < 0)
        return strerror(errno);
    if (!S_ISDIR(info.st_mode))
        return "it is not a directory";
    if (info.st_uid != geteuid())
        return "it belongs to another user";
    if (info.st_mode & (S_IWGRP | S_IWOTH))
        return "others may write to it";
    if (access(path, W_OK | X_OK) < 0)
        return strerror(errno);
    if (strlen(path) + LONGEST_SUFFIX > sizeof(((struct sockaddr_un *)0)->sun_path))
        return "it is too long for sockets in it (a socket's path has 108 bytes at most)";
    return NULL;
}

static bool make_private(struct place *p)
{
    snprintf(p->runtime, sizeof p->runtime, "/tmp/dbus-activator-XXXXXX");
    if (!mkdtemp(p->runtime)) {
        say("cannot make a private runtime directory %s: %s; make /tmp writable or set "
            "XDG_RUNTIME_DIR to a directory of yours with mode 0700",
            p->runtime, strerror(errno));
        return false;
    }
    p->private_runtime = true;
    return true;
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *where)
{
    (void)info;
    (void)where;
    if (type == FTW_DP || type == FTW_D || type == FTW_DNR)
        rmdir(path);
    else
        unlink(path);
    return 0;
}

/* Stays on one file system: what somebody mounted below is not ours to empty. */
static void remove_tree(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

static bool is_id(const char *text)
{
    return strspn(text, "0123456789abcdef") >= 32;
}

/* The activator has a folder named after the bus's id, and a link to it named after the guid of
 * the address, which is what the noted address tells. */
static void remove_activator(const char *parent, const char *folder)
{
    char path[PATH_MAX];
    char text[PATH_MAX + 64] = "";
    char target[64];

    FILE *file = join(path, sizeof path, folder, "address") ? fopen(path, "re") : NULL;
    if (!file)
        return;
    if (!fgets(text, sizeof text, file))
        text[0] = '\0';
    fclose(file);
    char *guid = strstr(text, "guid=");
    if (!guid || !is_id(guid + 5))
        return;
    guid[5 + 32] = '\0';
    if (!join(path, sizeof path, parent, guid + 5))
        return;
    ssize_t n = readlink(path, target, sizeof target - 1);
    if (n < 0)
        return;
    target[n] = '\0';
    unlink(path);
    if (n == 32 && is_id(target) && join(path, sizeof path, parent, target))
        remove_tree(path);
}

/* Removes the folders of sessions whose wrapper and keeper were both killed: nobody holds
 * their lock. The caller holds the lock of the parent, so that no session is half made. */
static void sweep(const char *parent)
{
    DIR *d = opendir(parent);

    if (!d)
        return;
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        char folder[PATH_MAX];
        char lock[PATH_MAX];
        if (strncmp(e->d_name, "session-", 8) != 0 ||
            !join(folder, sizeof folder, parent, e->d_name) ||
            !join(lock, sizeof lock, folder, "lock"))
            continue;
        int fd = open(lock, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0 ? errno == ENOENT : flock(fd, LOCK_EX | LOCK_NB) == 0) {
            remove_activator(parent, folder);
            remove_tree(folder);
        }
        if (fd >= 0)
            close(fd);
    }
    closedir(d);
}

/* Opens the parent and locks it. A session that ends removes an empty parent under the same
 * lock: one that was removed while we waited for the lock has no link any more. */
static int lock_parent(const char *parent, bool create)
{
    for (int attempt = 0; attempt < 100; attempt++) {
        struct stat info;
        if (create && mkdir(parent, 0700) < 0 && errno != EEXIST)
            return -errno;
        int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0 && create && errno == ENOENT)
            continue;
        if (fd < 0)
            return -errno;
        while (flock(fd, LOCK_EX) < 0 && errno == EINTR)
            ;
        if (fstat(fd, &info) == 0 && info.st_nlink > 0) {
            if (info.st_uid == geteuid() && (info.st_mode & (S_IWGRP | S_IWOTH)) == 0)
                return fd;
            close(fd);
            return -EPERM;
        }
        close(fd);
        if (!create)
            return -ENOENT;
    }
    return -EAGAIN;
}

static int make_folder(struct place *p)
{
    char path[PATH_MAX];
    int result = 0;

    if (!join(p->parent, sizeof p->parent, p->runtime, "dbus-activator") ||
        !join(p->folder, sizeof p->folder, p->parent, "session-XXXXXX"))
        return -ENAMETOOLONG;
    int parent = lock_parent(p->parent, true);
    if (parent < 0)
        return parent;
    sweep(p->parent);
    if (!mkdtemp(p->folder)) {
        result = -errno;
        close(parent);
        return result;
    }
    if (!join(path, sizeof path, p->folder, "lock") ||
        !join(p->config, sizeof p->config, p->folder, "bus.conf") ||
        !join(p->services, sizeof p->services, p->folder, "services"))
        result = -ENAMETOOLONG;
    p->lock = result < 0 ? -1 : open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (result == 0 &&
        (p->lock < 0 || flock(p->lock, LOCK_EX | LOCK_NB) < 0 || mkdir(p->services, 0700) < 0))
        result = -errno;
    if (result < 0)
        remove_tree(p->folder);
    close(parent);
    return result;
}

/* An address keeps letters, digits and a few signs; all other bytes are escaped. */
static bool make_address(struct place *p)
{
    char socket_path[PATH_MAX];
    size_t n = 0;

    if (!join(socket_path, sizeof socket_path, p->folder, "bus") ||
        strlen(socket_path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
        return false;
    n = (size_t)snprintf(p->address, sizeof p->address, "unix:path=");
    for (const char *c = socket_path; *c; c++) {
        bool plain = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
                     (*c >= '0' && *c <= '9') || strchr("-_/.\\*", *c);
        n += (size_t)snprintf(p->address + n, sizeof p->address - n, plain ? "%c" : "%%%02x",
                              (unsigned char)*c);
    }
    return true;
}

bool place_make(struct place *p)
{
    const char *given = getenv("XDG_RUNTIME_DIR");
    const char *fault = runtime_fault(given);
    int result = 0;

    p->lock = -1;
    if (!fault) {
        snprintf(p->runtime, sizeof p->runtime, "%s", given);
        result = make_folder(p);
        if (result < 0)
            fault = strerror(-result);
    }
    if (fault) {
        if (given && *given)
            say("XDG_RUNTIME_DIR=%s cannot be used: %s; using a private directory instead", given,
                fault);
        if (!make_private(p))
            return false;
        result = make_folder(p);
        if (result < 0) {
            say("cannot make a folder in %s: %s", p->runtime, strerror(-result));
            rmdir(p->runtime);
            return false;
        }
    }
    if (!make_address(p)) {
        say("the path of the bus's socket %s/bus is too long (108 bytes at most); set "
            "XDG_RUNTIME_DIR to a shorter path",
            p->folder);
        place_remove(p);
        return false;
    }
    return true;
}

static void put_xml(FILE *file, const char *text)
{
    for (; *text; text++) {
        switch (*text) {
        case '&':
            fputs("&amp;", file);
            break;
        case '<':
            fputs("&lt;", file);
            break;
        case '>':
            fputs("&gt;", file);
            break;
        default:
            fputc(*text, file);
        }
    }
}

bool place_write_config(struct place *p, const char *include)
{
    FILE *file = fopen(p->config, "wxe");

    if (!file) {
        say("cannot write %s: %s", p->config, strerror(errno));
        return false;
    }
    fputs("<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\"\n"
          " \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n"
          "<!-- Written by dbus-activator-session; it vanishes with the session. -->\n"
          "<busconfig>\n  <type>session</type>\n  <listen>",
          file);
    put_xml(file, p->address);
    /* dbus-daemon takes a service from the first directory that has it. */
    fputs("</listen>\n  <servicedir>", file);
    put_xml(file, p->services);
    fputs("</servicedir>\n  <include>", file);
    put_xml(file, include);
    fputs("</include>\n</busconfig>\n", file);
    bool good = !ferror(file);
    if (fclose(file) != 0 || !good) {
        say("cannot write %s: %s", p->config, strerror(errno));
        return false;
    }
    return true;
}

void place_note_address(const struct place *p, const char *address)
{
    char path[PATH_MAX];
    FILE *file = join(path, sizeof path, p->folder, "address") ? fopen(path, "we") : NULL;

    if (!file)
        return;
    fprintf(file, "%s\n", address);
    fclose(file);
}

void place_remove(struct place *p)
{
    int parent = lock_parent(p->parent, false);

    remove_activator(p->parent, p->folder);
    remove_tree(p->folder);
    rmdir(p->parent);
    if (parent >= 0)
        close(parent);
    if (p->private_runtime)
        remove_tree(p->runtime);
    if (p->lock >= 0)
        close(p->lock);
    p->lock = -1;
}
