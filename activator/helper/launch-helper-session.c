/* SPDX-License-Identifier: MIT */
/*
 * dbus-activator-launch-helper-session: what a session dbus-daemon executes for a generated
 * service file: Exec=<this> <bus name> <path of the original> [<runtime directory>]. It hands
 * the name and its own environment (the bus's activation environment) to the activator of that
 * bus and ends as the service ended; when no activator serves the bus, it becomes the service
 * that the original file names, as if it had never been there.
 *
 * Not setuid, and no boundary: everything it uses is its user's. The checks of owner and mode
 * keep another user from playing the activator in a directory that many can write to.
 */
#include "common/block.h"
#include "common/message.h"
#include "common/parse/bus-name.h"
#include "common/parse/exec-line.h"
#include "common/parse/service-file.h"
#include "common/process-tree.h"

#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define PROGRAM     "dbus-activator-launch-helper-session"
#define SOCKET_NAME "requests"
#define GUID_LENGTH 32
#define FAILED      1
/* How long a vanished activator is waited for once it had the request; while a top reaper lives
 * that starts the next one (less than the 25 s of most callers); and one of which nothing is known,
 * but that nobody listens. */
#define RETRY_MS   60000
#define TOP_MS     20000
#define REFUSED_MS 600

enum { ASK_AGAIN = -1, ASK_NOT_SERVED = -2 };

/* One line to stderr, control characters masked: the words of a service may be in it. */
static __attribute__((format(printf, 1, 2))) void say(const char *format, ...)
{
    char line[4096];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    for (char *at = line; *at; at++) {
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            *at = '?';
    }
    fprintf(stderr, PROGRAM ": %s\n", line);
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* --- finding the activator of this bus -------------------------------------------------- */

/* The directory of the activator of this bus: the third argument where the generated file has
 * one, else the one named after the guid of the address that dbus-daemon says it started us
 * from. DBUS_ACTIVATOR_RUNTIME_DIR and the like are not asked: what the activation environment
 * holds comes from any client of the bus. False when there can be none. */
static bool find_directory(const char *given, char *path, size_t size)
{
    const char *base = getenv("XDG_RUNTIME_DIR");
    const char *address = getenv("DBUS_STARTER_ADDRESS");
    const char *guid = address ? strstr(address, "guid=") : NULL;
    int length = 0;

    if (given) {
        length = snprintf(path, size, "%s", given);
    } else {
        if (!base || *base != '/' || !guid)
            return false;
        guid += strlen("guid=");
        if (strspn(guid, "0123456789abcdefABCDEF") != GUID_LENGTH)
            return false;
        length = snprintf(path, size, "%s/dbus-activator/%.*s", base, GUID_LENGTH, guid);
    }
    return *path == '/' && length > 0 && (size_t)length < size;
}

/* Returns a connection to the activator, or a negative errno: -ENOTDIR and -ENOENT when there is
 * no such directory or socket, -ECONNREFUSED when nobody listens, -EPERM when it is somebody
 * else's (said). */
static int connect_activator(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct ucred peer = {.uid = (uid_t)-1};
    socklen_t size = sizeof peer;
    struct stat status;
    int result = 0;
    int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (dir < 0)
        return errno == ENOENT ? -ENOTDIR : -errno;
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    /* Through the descriptor: what has been checked is what is connected to, however long its
     * path is. */
    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/" SOCKET_NAME, dir);
    if (fd < 0 || fstat(dir, &status) < 0)
        result = -errno;
    else if (status.st_uid != geteuid() || (status.st_mode & 022) != 0)
        result = -EPERM;
    else if (connect(fd, (const struct sockaddr *)&address, sizeof address) < 0)
        result = -errno;
    else if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 || peer.uid != geteuid())
        result = -EPERM;
    close(dir);
    if (result == 0)
        return fd;
    if (result == -EPERM)
        say("%s is not a directory, or its listener not a process, of this user: not used", path);
    if (fd >= 0)
        close(fd);
    return result;
}

/* Whether the top reaper lives that the last activator wrote into its lock: "<its own pid>\n<pid of
 * the top reaper>.<start time>\n". The directory has been found to be this user's. */
static bool top_lives(const char *directory)
{
    char path[PATH_MAX + 8];
    char text[96] = "";
    struct process_stat top;
    char *rest = NULL;

    snprintf(path, sizeof path, "%s/lock", directory);
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    if (length <= 0)
        return false;
    strtol(text, &rest, 10);
    long pid = strtol(rest, &rest, 10);
    return pid > 1 && *rest == '.' && process_stat_read((pid_t)pid, &top) && !top.zombie &&
           top.start == strtoull(rest + 1, NULL, 10);
}

/* --- without an activator --------------------------------------------------------------- */

/* Becomes the service of the original file, with what dbus-daemon gave to us. Returns the exit
 * code when that fails. */
static int exec_original(const char *name, const char *file)
{
    struct service_file original;
    struct parse_error error = {.message = "out of memory"};
    char **arguments = NULL;

    if (service_file_load(file, &original, &error) != 0) {
        say("[%s] %s:%u: %s", name, file, error.line, error.message);
        return FAILED;
    }
    if (strcmp(original.name, name) != 0) {
        say("[%s] %s is for another name now: %s", name, file, original.name);
        return FAILED;
    }
    if (exec_line_parse(original.exec, &arguments, NULL, &error) != 0) {
        say("[%s] %s:%u: Exec: %s", name, file, original.exec_line, error.message);
        return FAILED;
    }
    execv(arguments[0], arguments);
    say("[%s] cannot execute %s: %s", name, arguments[0], strerror(errno));
    return errno == ENOENT ? 127 : 126;
}

/* --- request and verdict ---------------------------------------------------------------- */

/* The environment as one block of NUL-terminated strings; NULL without memory. */
static char *environment_block(size_t *length)
{
    char *block = NULL;
    char *at = NULL;

    *length = 0;
    for (char **entry = environ; entry && *entry; entry++)
        *length += strlen(*entry) + 1;
    block = malloc(*length + 1);
    at = block;
    for (char **entry = environ; block && entry && *entry; entry++)
        at = stpcpy(at, *entry) + 1;
    return block;
}

/* Returns 0 or a negative errno. */
static int send_request(int fd, const char *name, const char *file)
{
    static struct message request;
    size_t length = 0;
    char *block = environment_block(&length);
    int memory = -1;
    int result = block ? 0 : -ENOMEM;

    message_begin(&request, MESSAGE_REQUEST);
    message_put_u8(&request, 1);
    message_put_string(&request, name);
    message_put_string(&request, file);
    if (block && length > MESSAGE_INLINE) {
        memory = block_to_memfd(block, length);
        result = memory < 0 ? memory : 0;
    }
    message_put_bytes(&request, block ? block : "", block && memory < 0 ? length : 0);
    if (result == 0)
        result = message_send(fd, &request, &memory, memory < 0 ? 0 : 1);
    if (memory >= 0)
        close(memory);
    free(block);
    return result;
}

/* Ends as the service ended. Returns when the signal does not kill. */
static void end_by_signal(int number)
{
    const struct rlimit none = {0, 0};
    sigset_t set;

    /* The service has dumped its core if it wanted to; ours would hide it. */
    setrlimit(RLIMIT_CORE, &none);
    signal(number, SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, number);
    raise(number);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

/* dbus-daemon answers its caller itself, and kills us. Without it nobody waits any more. */
static void await_the_end(void)
{
    pid_t parent = getppid();

    while (getppid() == parent)
        poll(NULL, 0, 2000);
}

/* Returns the exit code for the message, or ASK_NOT_SERVED. */
static int judge(struct message_reader *r, const char *name)
{
    uint8_t verdict = message_get_u8(r);
    uint8_t how = message_get_u8(r);
    uint32_t status = message_get_u32(r);
    const char *error = message_get_string(r);
    const char *text = message_get_string(r);

    if (!message_read_end(r)) {
        say("[%s] junk instead of a verdict", name);
        return FAILED;
    }
    if (verdict == VERDICT_OWNED)
        return 0;
    if (verdict == VERDICT_NOT_SERVED)
        return ASK_NOT_SERVED;
    if (verdict == VERDICT_TIMED_OUT)
        await_the_end();
    say("[%s] %s: %s", name, error, text);
    /* Only these are about the end of the service; a start limit repeats the first failure. */
    if (verdict != VERDICT_CHILD_EXITED && verdict != VERDICT_CHILD_SIGNALED &&
        verdict != VERDICT_START_LIMIT)
        return FAILED;
    if ((how == END_KILLED || how == END_DUMPED) && status > 0 && status < NSIG)
        end_by_signal((int)status);
    return how == END_EXITED && status > 0 && status < 256 ? (int)status : FAILED;
}

/* Waits for the verdict, however long: dbus-daemon has the limit and kills us at its end. When
 * dbus-daemon itself is gone nobody waits any more. */
static long receive(int fd, void *buffer)
{
    struct pollfd activator = {.fd = fd, .events = POLLIN};
    int fds[MESSAGE_MAX_FDS];
    pid_t parent = getppid();

    while (poll(&activator, 1, 2000) <= 0) {
        if (getppid() != parent)
            _exit(FAILED);
    }
    long length = message_receive(fd, buffer, fds);
    for (int i = 0; i < MESSAGE_MAX_FDS; i++) {
        if (fds[i] >= 0)
            close(fds[i]); /* none belongs to a verdict */
    }
    return length;
}

/* Returns the exit code, ASK_AGAIN when the connection broke before the verdict, or
 * ASK_NOT_SERVED. */
static int ask(int fd, const char *name, const char *file)
{
    static unsigned char buffer[MESSAGE_MAX];
    struct message_reader r;
    long length = send_request(fd, name, file);

    if (length == 0)
        length = receive(fd, buffer);
    if (length == 0 || length == -EPIPE || length == -ECONNRESET)
        return ASK_AGAIN;
    int known = length < 0 ? (int)length : message_read_begin(&r, buffer, (size_t)length);
    if (known == 0 && r.type == MESSAGE_VERDICT)
        return judge(&r, name);
    if (known == 0 && r.type == MESSAGE_REFUSED)
        say("[%s] the activator refused: %s", name, message_get_string(&r));
    else
        say("[%s] no answer that this version understands (%s)", name,
            known < 0 ? strerror(-known) : "another message");
    return FAILED;
}

/* Asks until there is a verdict; the exit code, or ASK_NOT_SERVED when there is none to ask. */
static int serve(const char *name, const char *file, const char *directory)
{
    pid_t parent = getppid();
    int64_t begin = now_ms();
    bool asked = false;
    int delay = 10;

    for (;;) {
        int fd = connect_activator(directory);
        if (fd >= 0) {
            int answer = ask(fd, name, file);
            close(fd);
            if (answer != ASK_AGAIN)
                return answer;
            if (!asked)
                begin = now_ms();
            asked = true;
        } else if (fd != -ECONNREFUSED && (fd != -ENOENT || (!asked && !top_lives(directory)))) {
            /* No directory: the activator has left for good. No socket: somebody may be about to
             * listen, but only if somebody ever did, or is there to do it. */
            return ASK_NOT_SERVED;
        }
        int64_t waited = now_ms() - begin;
        if (getppid() != parent)
            return FAILED; /* nobody waits any more */
        if (asked ? waited > RETRY_MS
                  : waited > TOP_MS || (waited > REFUSED_MS && !top_lives(directory))) {
            say("[%s] the activator %s", name, asked ? "did not come back" : "does not listen");
            return asked ? FAILED : ASK_NOT_SERVED;
        }
        poll(NULL, 0, delay);
        delay = delay < 320 ? delay * 2 : 500;
    }
}

int main(int argc, char **argv)
{
    char directory[PATH_MAX];

    if (argc == 2 && strcmp(argv[1], "--version") == 0)
        return puts(PROGRAM " " VERSION) < 0;
    if ((argc != 3 && argc != 4) || !bus_name_is_well_known(argv[1])) {
        fputs("usage: " PROGRAM " BUS-NAME SERVICE-FILE [RUNTIME-DIRECTORY]\n"
              "Executed by dbus-daemon for the service files that dbus-activatord generates.\n",
              stderr);
        return argc == 2 && strcmp(argv[1], "--help") == 0 ? 0 : FAILED;
    }
    if (find_directory(argc == 4 ? argv[3] : NULL, directory, sizeof directory)) {
        int code = serve(argv[1], argv[2], directory);
        if (code >= 0)
            return code;
    }
    return exec_original(argv[1], argv[2]);
}
