/* SPDX-License-Identifier: MIT */
/*
 * The plain start of the setuid helper; early.h says what that is. It trusts what launch-helper.c
 * trusts, whose head says what that is, and checks the same: real and effective uid, the name,
 * every directory on the way to the socket, the socket, its listener. Of what the caller hands
 * down it uses nothing: no environment, no descriptor (all are closed), no umask (it creates
 * nothing), no working directory, no signal (it raises and handles none); limits and priorities
 * can make it fail or be slow, for their owner alone, and it fails by leaving it to main(), which
 * sets all of them anew before it starts an activator.
 */
#include "helper/early-calls.h"

#include "common/parse/bus-name.h"

#include "config.h"

#define PASSWD_MAX 8192

bool early_asked;
int early_fd = EARLY_FD;

EARLY_ENTRY;

/* Whether /etc/passwd gives this number to the bus user. Only what stands in its first bytes and
 * is well formed is understood; main() decides about the rest. */
static bool is_bus_user(uid_t uid)
{
    static const char wanted[] = BUS_USER ":";
    static char text[PASSWD_MAX];
    int fd = early_open(AT_FDCWD, "/etc/passwd", O_RDONLY);
    long length = fd < 0 ? 0 : early_call(SYS_read, fd, (long)text, sizeof text, 0);
    long at = 0, i = 0;
    unsigned long number = 0;

    if (fd >= 0)
        early_close(fd);
    /* The first entry counts. */
    for (; at < length; at++) {
        for (i = 0; at + i < length && i < (long)sizeof wanted - 1 && text[at + i] == wanted[i];)
            i++;
        if (i == (long)sizeof wanted - 1)
            break;
        while (at < length && text[at] != '\n')
            at++;
    }
    for (at += i; at < length && text[at] != ':' && text[at] != '\n';)
        at++;
    if (at >= length || text[at++] != ':')
        return false;
    long digits = at;
    for (; at < length && at - digits < 10 && text[at] >= '0' && text[at] <= '9'; at++)
        number = number * 10 + (unsigned long)(text[at] - '0');
    return at < length && at > digits && text[at] == ':' && number == uid;
}

/* Of root, and nobody else may change it. */
static bool is_roots(int dir, const char *name, int flags, mode_t type)
{
    struct stat status;

    status.st_uid = (uid_t)-1;
    status.st_mode = 0;
    return early_call(SYS_newfstatat, dir, (long)name, (long)&status, flags) == 0 &&
           status.st_uid == 0 && (status.st_mode & 022) == 0 && (status.st_mode & S_IFMT) == type;
}

/* Opens the activator's directory, going down from the root by directories that only root can
 * change. Returns the descriptor or -1. */
static int open_directory(void)
{
    const int flags = O_PATH | O_DIRECTORY | O_NOFOLLOW;
    char path[sizeof SYSTEM_RUNTIME_DIR];
    struct early_request copy = {(unsigned char *)path, (unsigned char *)path + sizeof path};
    char *part = path;
    int dir = early_open(AT_FDCWD, "/", flags);

    early_put(&copy, SYSTEM_RUNTIME_DIR, sizeof path);
    while (dir >= 0 && *part) {
        if (*part == '/') {
            part++;
            continue;
        }
        char *end = part;
        while (*end && *end != '/')
            end++;
        bool last = *end == '\0';
        *end = '\0';
        int next = is_roots(dir, "", AT_EMPTY_PATH, S_IFDIR) ? early_open(dir, part, flags) : -1;
        early_close(dir);
        dir = next;
        part = last ? end : end + 1;
    }
    if (dir >= 0 && !is_roots(dir, "", AT_EMPTY_PATH, S_IFDIR)) {
        early_close(dir);
        dir = -1;
    }
    return dir;
}

/* Returns a connection to the activator or -1. */
static int connect_activator(void)
{
    /* Relative: what has been checked is what is connected to. */
    static const struct {
        unsigned short family;
        char path[sizeof "requests"];
    } address = {AF_UNIX, "requests"};
    int dir = open_directory();
    int fd = -1;

    if (dir < 0)
        return -1;
    if (is_roots(dir, "requests", AT_SYMLINK_NOFOLLOW, S_IFSOCK) &&
        early_call(SYS_fchdir, dir, 0, 0, 0) == 0)
        fd = early_connect((const char *)&address, sizeof address, 0);
    early_close(dir);
    if (early_call(SYS_chdir, (long)"/", 0, 0, 0) == 0 || fd < 0)
        return fd;
    early_close(fd);
    return -1;
}

void early(const long *stack)
{
    unsigned char buffer[MESSAGE_HEADER + 1 + 4 + BUS_NAME_MAX + 1 + 5 + 5];
    const char *name = (const char *)stack[2];
    uid_t caller = (uid_t)early_call(SYS_getuid, 0, 0, 0, 0);
    struct early_request r;

    if (stack[0] != 2 || early_call(SYS_geteuid, 0, 0, 0, 0) != 0 || !bus_name_is_well_known(name))
        return;
    if (early_call(SYS_close_range, 3, ~0u, 0, 0) < 0 || (caller != 0 && !is_bus_user(caller)))
        return;
    int fd = connect_activator();
    if (fd < 0)
        return;
    early_begin(&r, buffer, sizeof buffer, 0);
    early_put_string(&r, name);
    early_put_string(&r, "");
    early_put_string(&r, "");
    if (!early_ask(fd, buffer, &r))
        return;
    /* main() closes all others, whatever their number. */
    early_asked = fd == EARLY_FD || early_call(SYS_dup3, fd, EARLY_FD, O_CLOEXEC, 0) == EARLY_FD;
    if (fd != EARLY_FD)
        early_close(fd);
}
