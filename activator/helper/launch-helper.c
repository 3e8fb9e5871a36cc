/* SPDX-License-Identifier: MIT */
/*
 * dbus-activator-launch-helper: what the system dbus-daemon executes (<servicehelper>) to have a
 * service started. Setuid root, mode 4750, group of the bus user. It hands one bus name to the
 * activator and exits with the verdict; when no activator listens it starts one first.
 *
 * It trusts:
 *   - root: files and directories that only root can write, /etc/passwd, a listening process of
 *     uid 0, and the program LIBEXECDIR/dbus-activatord;
 *   - the bus user and root, as real uid, for one thing only: to ask for a service by its name.
 *     Which services exist, and as whom they run, is the activator's knowledge, read from files
 *     of root; the request carries nothing else.
 * It trusts nothing that the caller hands it by inheritance: environment, descriptors, limits,
 * umask and working directory are set anew before anything else happens; signals, scheduling and
 * timers, which can only end or delay the asking, before anything is started. The one argument
 * has to be a valid bus name. There is no option, no configuration file, no allocation whose size
 * the caller chooses, no library but libc, and no name service switch: the bus user is looked up
 * in /etc/passwd itself, so that neither a module nor a slow directory service runs inside a
 * setuid program.
 *
 * The real uid stays the caller's, or dbus-daemon could not kill the helper when its own limit
 * is over. So the bus user can stop or kill this process at each step; whatever must not be left
 * half done that way happens in a child all of whose ids are root's (see starter()).
 *
 * Exit codes are dbus-daemon's (bus/activation-exit-codes.h there; data/verdicts.md here).
 */
#include "common/child-reaper.h"
#include "common/message.h"
#include "common/parse/bus-name.h"

#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <poll.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/file.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROGRAM      "dbus-activator-launch-helper"
#define SOCKET_NAME  "requests"
#define LOCK_NAME    "start.lock"
#define ACTIVATOR    LIBEXECDIR "/dbus-activatord"
#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define CHILD_EXITED 1 /* no code of dbus says "it ended": "unknown return code 1" is nearest */
/* How often a request is repeated when activators die under it, how often one is started for
 * it, and how many refusals in a row (0.6 s) an activator that is being restarted is granted. */
#define ATTEMPTS 50
#define STARTS   5
#define PATIENCE 5

enum start_result { STARTED = 0, START_IMPOSSIBLE = 1, START_LEFT = 2 };

static uid_t caller;             /* the real uid this program began with */
static struct rlimit core_found; /* given back to the activator: services may dump core */

/* Writes to stderr with the caller's own rights, as a descriptor it handed over may be anything;
 * never waits for a reader. */
static void write_as_caller(const char *text, size_t length)
{
    struct pollfd standard_error = {.fd = STDERR_FILENO, .events = POLLOUT};
    bool lower = caller != 0 && geteuid() == 0;

    if (poll(&standard_error, 1, 0) != 1 || !(standard_error.revents & POLLOUT))
        return;
    if (lower && seteuid(caller) < 0)
        return;
    (void)!write(STDERR_FILENO, text, length); /* syslog has the line too */
    if (lower && seteuid(0) < 0)
        _exit(VERDICT_SETUP_FAILED);
}

/* One line to stderr and to syslog (daemon.err), control characters masked. Not libc's syslog():
 * that one waits for a log daemon that does not read. */
static __attribute__((format(printf, 1, 2))) void say(const char *format, ...)
{
    const struct sockaddr_un log = {.sun_family = AF_UNIX, .sun_path = "/dev/log"};
    char line[1024];
    const size_t priority = strlen("<27>");
    size_t used = (size_t)snprintf(line, sizeof line, "<27>" PROGRAM "[%d]: ", (int)getpid());
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(line + used, sizeof line - used - 1, format, arguments);
    va_end(arguments);
    size_t length = strlen(line);
    for (size_t i = used; i < length; i++) {
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
            line[i] = '?';
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        sendto(fd, line, length, MSG_DONTWAIT | MSG_NOSIGNAL, (const void *)&log, sizeof log);
        close(fd);
    }
    line[length] = '\n';
    write_as_caller(line + priority, length + 1 - priority);
}

/* --- nothing is inherited --------------------------------------------------------------- */

static void reset_signals(void)
{
    const unsigned long normal[8] = {0}; /* whatever the kernel's struct is: SIG_DFL, no flags */
    sigset_t none;

    /* With SIGCHLD ignored waitpid() would know no status. Not by libc: it refuses the two that
     * it uses itself, which a caller can ignore all the same. */
    for (int s = 1; s < _NSIG; s++)
        syscall(SYS_rt_sigaction, s, normal, NULL, _NSIG / 8);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* No limit stays below what PID 1 has: a daemon that init starts would begin with that, and
 * what is inherited here may have been lowered on purpose (files of 0 bytes, 3 descriptors).
 * The number of open files is not raised beyond the usual soft limit: services inherit it. */
static void reset_limits(void)
{
    for (int resource = 0; resource < RLIMIT_NLIMITS; resource++) {
        struct rlimit found = {0, 0};
        struct rlimit floor = {RLIM_INFINITY, RLIM_INFINITY};

        if (prlimit(0, resource, NULL, &found) < 0)
            continue;
        if (resource == RLIMIT_CORE) {
            core_found = found;
            floor = (struct rlimit){0, found.rlim_max};
            found.rlim_cur = 0;
        } else if (resource == RLIMIT_NOFILE) {
            floor = (struct rlimit){1024, 4096};
        } else if (resource == RLIMIT_STACK) {
            floor.rlim_cur = 8 << 20;
            found.rlim_cur = 0; /* exactly the usual one: an unlimited one weakens ASLR */
        } else {
            (void)prlimit(1, resource, NULL, &floor); /* or it stays without limit */
        }
        struct rlimit wanted = {found.rlim_cur > floor.rlim_cur ? found.rlim_cur : floor.rlim_cur,
                                found.rlim_max > floor.rlim_max ? found.rlim_max : floor.rlim_max};
        if (prlimit(0, resource, &wanted, NULL) == 0)
            continue;
        /* No CAP_SYS_RESOURCE (a container): as far as the hard limit allows. */
        wanted.rlim_max = found.rlim_max;
        wanted.rlim_cur = wanted.rlim_cur < found.rlim_max ? wanted.rlim_cur : found.rlim_max;
        (void)prlimit(0, resource, &wanted, NULL);
    }
}

static void reset_descriptors(void)
{
    /* The lowest free number is the one that is missing. */
    for (int fd = 0; fd < 3; fd++) {
        // cppcheck-suppress leakReturnValNotUsed
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR | O_NOCTTY) != fd)
            _exit(VERDICT_SETUP_FAILED);
    }
    if (syscall(SYS_close_range, 3U, ~0U, 0U) == 0)
        return;
    /* Before Linux 5.9. No code here reads from what may lie above. */
    for (int fd = 3; fd < 65536; fd++)
        close(fd);
}

/* What else passes through execve() of a setuid program; best effort: not every kernel has it. */
static void reset_attributes(void)
{
    const struct sched_param normal = {.sched_priority = 0};
    const unsigned long never[8] = {0}; /* whatever the kernel's struct is */
    cpu_set_t cpus;
    int persona = personality(0xffffffff);
    int bits = prctl(PR_GET_SECUREBITS, 0, 0, 0, 0);

    for (int timer = 0; timer < 3; timer++)
        syscall(SYS_setitimer, timer, never, NULL);
    prctl(PR_SET_TSC, PR_TSC_ENABLE, 0, 0, 0); /* or reading the clock would be fatal */
    prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0); /* or the activator would come back to us */
    prctl(PR_SET_CHILD_REAPER, 0, 0, 0, 0);
    prctl(PR_SET_TIMERSLACK, 50000, 0, 0, 0);
    prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
    prctl(PR_MCE_KILL, PR_MCE_KILL_CLEAR, 0, 0, 0);
    if (bits > 0)
        prctl(PR_SET_SECUREBITS, bits & 0xff, 0, 0, 0); /* the rest anybody may set for himself */
    if (persona > 0)
        personality((persona & 0xff) == PER_LINUX32 ? PER_LINUX32 : PER_LINUX);
    syscall(SYS_sched_setscheduler, 0, SCHED_OTHER, &normal); /* musl's does nothing */
    setpriority(PRIO_PROCESS, 0, 0);
    if (sched_getaffinity(1, sizeof cpus, &cpus) == 0)
        sched_setaffinity(0, sizeof cpus, &cpus);
    syscall(SYS_ioprio_set, 1 /* a process */, 0, 0 /* by its nice value */);
    syscall(SYS_set_mempolicy, 0 /* MPOL_DEFAULT */, NULL, 0UL);
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        (void)!write(fd, "0", 1);
        close(fd);
    }
}

static bool is_bus_user(uid_t uid)
{
    struct passwd *entry = NULL;
    FILE *file = fopen("/etc/passwd", "re");

    /* The first entry counts, as it does for libc. */
    while (file && (entry = fgetpwent(file)) && strcmp(entry->pw_name, BUS_USER) != 0)
        ;
    bool same = entry && entry->pw_uid == uid;
    if (file)
        fclose(file);
    return same;
}

/* --- the activator's socket ------------------------------------------------------------- */

/* Opens a directory (O_PATH) going down from the root one component at a time: each must be a
 * directory, not a link, owned by root and writable by nobody else, so that nobody else can
 * change what the rest of the path means. With create, what is missing is made (0755).
 * Returns the descriptor, -ENOENT, or another negative errno after saying why. */
static int open_trusted(const char *path, bool create)
{
    const int flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    char parts[PATH_MAX];
    char *rest = NULL;
    struct stat status;
    int dir = open("/", flags);

    snprintf(parts, sizeof parts, "./%s", path); /* the root itself is the first one checked */
    for (char *part = strtok_r(parts, "/", &rest); part; part = strtok_r(NULL, "/", &rest)) {
        if (create && mkdirat(dir, part, 0755) < 0 && errno != EEXIST)
            say("cannot make %s (at \"%s\"): %s", path, part, strerror(errno));
        int next = openat(dir, part, flags);
        int reason = next < 0 ? errno : 0;
        close(dir);
        dir = next;
        if (reason == 0 &&
            (fstat(dir, &status) < 0 || status.st_uid != 0 || (status.st_mode & 022) != 0)) {
            close(dir);
            reason = EPERM;
        }
        if (reason == ENOENT)
            return -ENOENT;
        if (reason != 0) {
            say("%s (at \"%s\") is not a directory that only root can change: %s", path, part,
                strerror(reason));
            return -reason;
        }
    }
    return dir;
}

/* Returns a connection to the activator, -ENOENT or -ECONNREFUSED when nobody listens, or
 * another negative errno after saying why. */
static int connect_activator(void)
{
    const struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = SOCKET_NAME};
    struct stat status;
    struct ucred peer = {.uid = (uid_t)-1};
    socklen_t size = sizeof peer;
    int result = 0;
    int dir = open_trusted(SYSTEM_RUNTIME_DIR, false);

    if (dir < 0)
        return dir;
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    /* By way of the working directory: what has been checked is what is connected to. */
    if (fd < 0 || fstatat(dir, SOCKET_NAME, &status, AT_SYMLINK_NOFOLLOW) < 0 || fchdir(dir) < 0)
        result = -errno;
    else if (!S_ISSOCK(status.st_mode) || status.st_uid != 0 || (status.st_mode & 022) != 0)
        result = -EPERM;
    else if (connect(fd, (const struct sockaddr *)&address, sizeof address) < 0)
        result = -errno;
    else if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 || peer.uid != 0)
        result = -EACCES;
    close(dir);
    if (chdir("/") < 0)
        result = -errno;
    if (result == 0)
        return fd;
    if (result == -EPERM)
        say("%s is not a socket of root alone: not used", SYSTEM_RUNTIME_DIR "/" SOCKET_NAME);
    else if (result != -ENOENT && result != -ECONNREFUSED)
        say("%s: %s", SYSTEM_RUNTIME_DIR "/" SOCKET_NAME, strerror(-result));
    if (fd >= 0)
        close(fd);
    return result;
}

/* --- starting the activator ------------------------------------------------------------- */

/* From here on a process of root in every respect: ids, groups, keyring, capabilities that
 * would be handed down. */
static bool become_root(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[2];
    uid_t uids[3];
    gid_t gids[3];

    if (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0 ||
        getresuid(&uids[0], &uids[1], &uids[2]) < 0 || getresgid(&gids[0], &gids[1], &gids[2]) < 0)
        return false;
    for (int i = 0; i < 3; i++) {
        if (uids[i] != 0 || gids[i] != 0)
            return false;
    }
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (syscall(SYS_capget, &header, sets) == 0) {
        sets[0].inheritable = sets[1].inheritable = 0;
        syscall(SYS_capset, &header, sets);
    }
    syscall(SYS_keyctl, 1 /* KEYCTL_JOIN_SESSION_KEYRING */, NULL);
    return true;
}

/* Becomes the activator. Only returns to write to `ready` why it could not: 'e' and the errno. */
static void run_activator(int ready)
{
    char number[16];
    char *environment[] = {(char *)"PATH=" DEFAULT_PATH, NULL};
    char *arguments[] = {(char *)ACTIVATOR, (char *)"--system", (char *)"--ready-fd", number, NULL};
    unsigned char failure[1 + sizeof(int)] = {'e'};
    snprintf(number, sizeof number, "%d", ready);
    signal(SIGPIPE, SIG_DFL);
    prlimit(0, RLIMIT_CORE, &core_found, NULL);
    if (setsid() >= 0 && fcntl(ready, F_SETFD, 0) == 0)
        execve(ACTIVATOR, arguments, environment);
    memcpy(failure + 1, &errno, sizeof errno);
    (void)!write(ready, failure, sizeof failure);
}

/* Waits until the activator says that it serves. */
static enum start_result await_ready(int ready, pid_t activator)
{
    unsigned char answer[1 + sizeof(int)] = {0};
    int reason = 0, status = 0;
    ssize_t got = read(ready, answer, sizeof answer); /* no handler: no EINTR */

    if (got > 0 && answer[0] == '\n')
        return STARTED;
    if (got == (ssize_t)sizeof answer && answer[0] == 'e') {
        memcpy(&reason, answer + 1, sizeof reason);
        say("cannot execute %s: %s", ACTIVATOR, strerror(reason));
        return START_IMPOSSIBLE;
    }
    /* It closed the descriptor, so it is leaving or has left; in a moment that can be told. */
    poll(NULL, 0, 100);
    if (waitpid(activator, &status, WNOHANG) != activator)
        say("%s gave up before it was ready", ACTIVATOR);
    else
        say("%s %s %d before it was ready", ACTIVATOR,
            WIFEXITED(status) ? "left with status" : "was killed by signal",
            WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    return START_LEFT;
}

/* The process that starts the activator, for any number of helpers at once: the lock lets one
 * pass, the others find its activator listening. It is root's in every respect, so that the bus
 * user cannot stop it while it holds the lock, nor end it half way; nor does it write to a
 * descriptor of his (in a file system of his that would wait for him). While it waits for the lock
 * it goes when its helper is killed; afterwards it stays until the activator is ready or has
 * failed, or the next helper would start another one beside it. */
static enum start_result starter(pid_t helper)
{
    char parent[] = SYSTEM_RUNTIME_DIR;
    int ready[2];

    setsid();
    if (!become_root()) {
        say("cannot become root: %s", strerror(errno));
        return START_IMPOSSIBLE;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != helper)
        return START_IMPOSSIBLE;
    for (int fd = 0; fd < 3; fd++)
        close(fd);
    reset_descriptors();
    *strrchr(parent, '/') = '\0';
    int dir = open_trusted(parent, true);
    int lock =
        dir < 0 ? -1 : openat(dir, LOCK_NAME, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (lock < 0 || flock(lock, LOCK_EX) < 0) {
        say("cannot lock %s/%s: %s", parent, LOCK_NAME, strerror(dir < 0 ? -dir : errno));
        return START_IMPOSSIBLE;
    }
    prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
    int other = connect_activator();
    if (other >= 0)
        return STARTED;
    if (other != -ENOENT && other != -ECONNREFUSED)
        return START_IMPOSSIBLE;
    pid_t activator = pipe2(ready, O_CLOEXEC) < 0 ? -1 : fork();
    if (activator < 0) {
        say("cannot start %s: %s", ACTIVATOR, strerror(errno));
        return START_IMPOSSIBLE;
    }
    if (activator == 0) {
        run_activator(ready[1]);
        _exit(127);
    }
    close(ready[1]);
    return await_ready(ready[0], activator);
}

static enum start_result start_activator(void)
{
    pid_t self = getpid();
    int status = 0;

    reset_signals();
    reset_attributes();
    pid_t child = fork();
    if (child == 0)
        _exit(starter(self));
    if (child < 0) {
        say("cannot fork: %s", strerror(errno));
        return START_IMPOSSIBLE;
    }
    return waitpid(child, &status, 0) == child && WIFEXITED(status)
               ? (enum start_result)WEXITSTATUS(status)
               : START_IMPOSSIBLE;
}

/* --- request and verdict ---------------------------------------------------------------- */

/* The code that makes dbus-daemon give the caller the true error name or the nearest one. */
static int exit_code(uint8_t verdict, uint8_t how, const char *error)
{
    const char *last = strrchr(error, '.') ? strrchr(error, '.') + 1 : error;

    if (verdict == VERDICT_OWNED ||
        (verdict >= VERDICT_NO_MEMORY && verdict <= VERDICT_CHILD_SIGNALED))
        return verdict;
    if (verdict == VERDICT_NOT_SERVED)
        return VERDICT_NOT_FOUND;
    /* dbus has the error Spawn.ForkFailed but no code for it. fork() fails for lack of memory or
     * of room for processes: "out of memory" is nearer than "failed to set up". */
    if (verdict == VERDICT_FORK_FAILED)
        return VERDICT_NO_MEMORY;
    if (verdict != VERDICT_CHILD_EXITED && verdict != VERDICT_START_LIMIT)
        return VERDICT_SETUP_FAILED; /* shutting down, or a verdict of a later version */
    /* A start limit repeats the first failure; its error name tells which that was. */
    if (how == END_KILLED || how == END_DUMPED)
        return VERDICT_CHILD_SIGNALED;
    if (strcmp(last, "ExecFailed") == 0)
        return VERDICT_EXEC_FAILED;
    if (strcmp(last, "FailedToSetup") == 0)
        return VERDICT_SETUP_FAILED;
    return strcmp(last, "ForkFailed") == 0 ? VERDICT_NO_MEMORY : CHILD_EXITED;
}

/* Waits for the next message of the activator, however long: dbus-daemon has the limit, and its
 * way to say that it is over is SIGKILL. Ends when what started us is gone; fd -1: only then. */
static long receive(int fd, void *buffer, pid_t parent)
{
    struct pollfd activator = {.fd = fd, .events = POLLIN};
    int fds[MESSAGE_MAX_FDS];

    while (poll(&activator, 1, 2000) <= 0) {
        if (getppid() != parent)
            _exit(CHILD_EXITED);
    }
    long length = message_receive(fd, buffer, fds);
    for (int i = 0; i < MESSAGE_MAX_FDS; i++)
        close(fds[i]); /* none belongs to a verdict; -1 does no harm */
    return length;
}

/* Asks the connected activator. Returns the exit code, or -1 when the connection broke before
 * the verdict. */
static int ask(int fd, const char *name, pid_t parent)
{
    static struct message request;
    static unsigned char buffer[MESSAGE_MAX];
    struct message_reader r;

    message_begin(&request, MESSAGE_REQUEST);
    message_put_u8(&request, 0);
    message_put_string(&request, name);
    message_put_string(&request, "");
    message_put_string(&request, "");
    long length = message_send(fd, &request, NULL, 0);
    if (length == 0)
        length = receive(fd, buffer, parent);
    if (length == 0 || length == -EPIPE || length == -ECONNRESET || length == -ENOTCONN)
        return -1;
    int known = length < 0 ? (int)length : message_read_begin(&r, buffer, (size_t)length);
    if (known < 0 || r.type != MESSAGE_VERDICT) {
        say("[%s] no verdict: %s", name,
            known < 0                   ? strerror(-known)
            : r.type == MESSAGE_REFUSED ? message_get_string(&r)
                                        : "a message of another kind");
        return VERDICT_SETUP_FAILED;
    }
    uint8_t verdict = message_get_u8(&r), how = message_get_u8(&r);
    message_get_u32(&r);
    const char *error = message_get_string(&r), *text = message_get_string(&r);
    if (!message_read_end(&r)) {
        say("[%s] junk instead of a verdict", name);
        return VERDICT_SETUP_FAILED;
    }
    if (verdict == VERDICT_TIMED_OUT)
        receive(-1, buffer, parent); /* never returns: dbus-daemon itself answers its caller */
    if (verdict != VERDICT_OWNED)
        say("[%s] %s: %s", name, error, text);
    return exit_code(verdict, how, error);
}

/* Asks until there is a verdict. A socket that refuses belongs to an activator that died, whose
 * top reaper is probably starting the next one: it gets a moment. So does the one that probably
 * holds the bus already when what was started here has left before it was ready. */
static int serve(const char *name)
{
    pid_t parent = getppid();
    unsigned misses = 0, starts = 0;
    bool left = false;

    for (unsigned attempt = 0; attempt < ATTEMPTS; attempt++) {
        int fd = connect_activator();
        if (fd >= 0) {
            int code = ask(fd, name, parent);
            close(fd);
            if (code >= 0)
                return code;
            misses = 0;
            left = false;
        } else if (fd != -ENOENT && fd != -ECONNREFUSED) {
            return VERDICT_SETUP_FAILED;
        } else if (misses >= PATIENCE || (fd == -ENOENT && !left)) {
            enum start_result result = START_LEFT;
            if (!left && starts++ < STARTS)
                result = start_activator();
            if (result == START_IMPOSSIBLE || (left && misses >= PATIENCE) || starts > STARTS) {
                say("[%s] no activator to ask (why is in syslog)", name);
                return VERDICT_SETUP_FAILED;
            }
            misses = 0;
            left = result == START_LEFT;
            if (!left)
                continue;
        }
        poll(NULL, 0, attempt < 5 ? 20 << attempt : 500);
        misses++;
    }
    say("[%s] %d activators went away before their verdict", name, ATTEMPTS);
    return VERDICT_SETUP_FAILED;
}

int main(int argc, char **argv)
{
    caller = getuid();
    clearenv();
    umask(022);
    signal(SIGPIPE, SIG_IGN);
    reset_limits();
    reset_descriptors();
    if (chdir("/") < 0)
        return VERDICT_SETUP_FAILED;
    /* Only for people who run it with no more rights than they have. */
    if (argc == 2 && getauxval(AT_SECURE) == 0 &&
        (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "--help") == 0))
        return puts(PROGRAM " " VERSION ", the <servicehelper> of the system dbus-daemon\n"
                            "usage: " PROGRAM " BUS-NAME") < 0;
    if (geteuid() != 0) {
        say("has to be setuid root (and not under no_new_privs)");
        return VERDICT_PERMISSIONS;
    }
    if (caller != 0 && !is_bus_user(caller)) {
        say("refused to uid %u: only root and " BUS_USER " (/etc/passwd) may ask", caller);
        return VERDICT_PERMISSIONS;
    }
    if (argc != 2) {
        say("usage: " PROGRAM " BUS-NAME (exactly one argument, not %d)", argc - 1);
        return VERDICT_INVALID_ARGS;
    }
    if (!bus_name_is_well_known(argv[1])) {
        /* Not repeated: what it holds is the caller's choice, and so is who reads it. */
        say("the argument is not a well-known bus name");
        return VERDICT_INVALID_ARGS;
    }
    return serve(argv[1]);
}
