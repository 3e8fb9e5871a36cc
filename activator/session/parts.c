/* SPDX-License-Identifier: MIT */
#include "session/session.h"

#include "common/programs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct start {
    const char *const *argv;
    const int *keep; /* descriptors that the program gets, ended by -1 */
    bool foreground; /* terminal, process group and signal mask of the caller */
};

bool find_in_path(const char *name, char *found, size_t size)
{
    const char *path = getenv("PATH");

    if (strchr(name, '/')) {
        snprintf(found, size, "%s", name);
        return access(found, X_OK) == 0;
    }
    if (!path)
        path = "/usr/local/bin:/usr/bin:/bin";
    while (*path) {
        size_t n = strcspn(path, ":");
        int written = snprintf(found, size, "%.*s/%s", n ? (int)n : 1, n ? path : ".", name);
        if (written > 0 && (size_t)written < size && access(found, X_OK) == 0)
            return true;
        path += n;
        if (*path == ':')
            path++;
    }
    return false;
}

static _Noreturn void in_child(const struct session *s, const struct start *start)
{
    sigset_t none;

    sigemptyset(&none);
    if (s->pipe_was_fatal)
        signal(SIGPIPE, SIG_DFL);
    if (!start->foreground) {
        setsid();
        /* Nothing but the command reads the caller's input and writes to its output. */
        int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (null >= 0)
            dup2(null, STDIN_FILENO);
        dup2(STDERR_FILENO, STDOUT_FILENO);
        signal(SIGINT, SIG_DFL);
        signal(SIGQUIT, SIG_DFL);
        signal(SIGHUP, SIG_DFL);
    }
    for (const int *fd = start->keep; *fd >= 0; fd++)
        fcntl(*fd, F_SETFD, 0);
    /* The mask comes last: a signal that came meanwhile ends the child now. */
    sigprocmask(SIG_SETMASK, start->foreground ? &s->old_mask : &none, NULL);
    execv(start->argv[0], (char *const *)start->argv);
    int code = errno;
    say("cannot execute %s: %s; is the installation complete?", start->argv[0], strerror(code));
    _exit(code == ENOENT ? 127 : 126);
}

static bool launch(struct session *s, enum part_kind kind, const struct start *start)
{
    pid_t pid = fork();

    if (pid < 0) {
        say("cannot start %s: %s", start->argv[0], strerror(errno));
        return false;
    }
    if (pid == 0)
        in_child(s, start);
    s->parts[kind] = (struct part){.pid = pid};
    return true;
}

/* Environment of the parts. It is set in this process, where nothing else reads it, in the order
 * bus, activator, command. */
static void clear_bus_environment(void)
{
    unsetenv("DBUS_SESSION_BUS_ADDRESS");
    unsetenv("DBUS_SESSION_BUS_PID");
    unsetenv("DBUS_SESSION_BUS_WINDOWID");
    unsetenv("DBUS_STARTER_ADDRESS");
    unsetenv("DBUS_STARTER_BUS_TYPE");
}

/* Puts the private runtime directory into the environment around the start of a part that may
 * know it, and the caller's value back after it. */
static char *runtime_enter(const struct session *s)
{
    const char *value = getenv("XDG_RUNTIME_DIR");
    char *old = value ? strdup(value) : NULL;

    if (s->place.private_runtime)
        setenv("XDG_RUNTIME_DIR", s->place.runtime, 1);
    return old;
}

static void runtime_leave(char *old)
{
    if (old)
        setenv("XDG_RUNTIME_DIR", old, 1);
    else
        unsetenv("XDG_RUNTIME_DIR");
    free(old);
}

static bool reaper_path(char *path)
{
    int result = program_path(PROGRAM_REAPER, path, PATH_MAX);

    if (result < 0)
        say("cannot tell where dbus-activator-reaper is: %s", strerror(-result));
    return result == 0;
}

/* Reads a line from a part that is starting. False when the part has ended, a signal asks us to
 * stop or time is up. */
static bool read_line(struct session *s, enum part_kind kind, int fd, char *line, size_t size)
{
    int64_t end = now_ms() + START_SECONDS * 1000;
    size_t have = 0;

    while (have + 1 < size && !s->stop_signal) {
        int64_t left = end - now_ms();
        if (left <= 0) {
            say("%s did not start within %d s", kind == PART_BUS ? "the bus" : "the activator",
                (int)START_SECONDS);
            return false;
        }
        if (!session_wait(s, fd, (int)left)) {
            if (s->parts[kind].ended)
                return false;
            continue;
        }
        ssize_t n = read(fd, line + have, size - 1 - have);
        if (n <= 0)
            return false;
        have += (size_t)n;
        line[have] = '\0';
        char *newline = strchr(line, '\n');
        if (newline) {
            *newline = '\0';
            return true;
        }
    }
    return false;
}

static bool bus_is_up(struct session *s, int address_fd, int pid_fd)
{
    char line[PATH_MAX];
    char number[32];

    if (read_line(s, PART_BUS, address_fd, line, sizeof line) &&
        read_line(s, PART_BUS, pid_fd, number, sizeof number)) {
        s->address = strdup(line);
        s->bus_pid = (pid_t)strtol(number, NULL, 10);
        place_note_address(&s->place, line);
        return s->address != NULL;
    }
    if (!s->stop_signal)
        say("the bus did not start: %s --config-file=%s said why above", s->options.dbus_daemon,
            s->place.config);
    return false;
}

bool part_start_bus(struct session *s)
{
    char reaper[PATH_MAX];
    char lifeline[16];
    char config[PATH_MAX + 32];
    char address[PATH_MAX + 32];
    char print_address[40];
    char print_pid[40];
    int address_pipe[2];
    int pid_pipe[2];

    if (!reaper_path(reaper))
        return false;
    if (pipe2(address_pipe, O_CLOEXEC) < 0 || pipe2(pid_pipe, O_CLOEXEC) < 0) {
        say("cannot make a pipe: %s", strerror(errno));
        return false;
    }
    snprintf(lifeline, sizeof lifeline, "%d", s->lifeline[0]);
    snprintf(config, sizeof config, "--config-file=%s", s->place.config);
    /* The configuration that ours includes has <listen> elements too, and dbus-daemon listens on
     * all of them; this option comes in the place of all. */
    snprintf(address, sizeof address, "--address=%s", s->place.address);
    snprintf(print_address, sizeof print_address, "--print-address=%d", address_pipe[1]);
    snprintf(print_pid, sizeof print_pid, "--print-pid=%d", pid_pipe[1]);
    const char *argv[] = {reaper,
                          "--run",
                          "bus",
                          "--lifeline",
                          lifeline,
                          "--",
                          s->options.dbus_daemon,
                          "--nofork",
                          "--nopidfile",
                          "--systemd-activation",
                          config,
                          address,
                          print_address,
                          print_pid,
                          NULL};
    int keep[] = {s->lifeline[0], address_pipe[1], pid_pipe[1], -1};
    clear_bus_environment();
    char *old = runtime_enter(s);
    bool good = launch(s, PART_BUS, &(struct start){.argv = argv, .keep = keep});
    runtime_leave(old);
    close(address_pipe[1]);
    close(pid_pipe[1]);
    good = good && bus_is_up(s, address_pipe[0], pid_pipe[0]);
    close(address_pipe[0]);
    close(pid_pipe[0]);
    return good;
}

static bool activator_is_up(struct session *s, int fd)
{
    char line[8];

    if (read_line(s, PART_ACTIVATOR, fd, line, sizeof line))
        return true;
    if (!s->stop_signal)
        say("the activator did not start; what it wrote above says why "
            "(dbus-run-session gives a session without one)");
    return false;
}

bool part_start_activator(struct session *s, bool wait)
{
    char activator[PATH_MAX];
    char lifeline[16];
    char ready[16];
    char runtime[PATH_MAX];
    const char *runtime_option = NULL;
    int pipe_fds[2];
    int result = program_path(PROGRAM_ACTIVATORD, activator, sizeof activator);

    if (result < 0 || access(activator, X_OK) < 0) {
        say("the activator %s cannot be executed: %s; is the installation complete?", activator,
            strerror(result < 0 ? -result : errno));
        return false;
    }
    if (pipe2(pipe_fds, O_CLOEXEC) < 0) {
        say("cannot make a pipe: %s", strerror(errno));
        return false;
    }
    snprintf(lifeline, sizeof lifeline, "%d", s->lifeline[0]);
    snprintf(ready, sizeof ready, "%d", pipe_fds[1]);
    /* What the activator has in its environment its services get, and they share folders with the
     * command: the private runtime directory is not told that way. */
    if (s->place.private_runtime) {
        runtime_option = "--runtime-dir";
        snprintf(runtime, sizeof runtime, "%.4000s/activator", s->place.folder);
    }
    const char *argv[] = {
        activator, "--address",  s->address, "--generated-dir", s->place.services, "--lifeline",
        lifeline,  "--ready-fd", ready,      runtime_option,    runtime,           NULL};
    int keep[] = {s->lifeline[0], pipe_fds[1], -1};
    setenv("DBUS_SESSION_BUS_ADDRESS", s->address, 1);
    bool good = launch(s, PART_ACTIVATOR, &(struct start){.argv = argv, .keep = keep});
    close(pipe_fds[1]);
    if (good && wait)
        good = activator_is_up(s, pipe_fds[0]);
    close(pipe_fds[0]);
    return good;
}

bool part_start_command(struct session *s)
{
    char reaper[PATH_MAX];
    char lifeline[16];
    size_t n = 0;
    size_t used = 0;

    if (!reaper_path(reaper))
        return false;
    while (s->options.command[n])
        n++;
    const char **argv = calloc(n + 9, sizeof *argv);
    if (!argv) {
        say("out of memory");
        return false;
    }
    snprintf(lifeline, sizeof lifeline, "%d", s->lifeline[0]);
    argv[used++] = reaper;
    argv[used++] = "--run";
    argv[used++] = "command";
    argv[used++] = "--foreground";
    if (s->options.keep_detached)
        argv[used++] = "--keep-detached";
    argv[used++] = "--lifeline";
    argv[used++] = lifeline;
    argv[used++] = "--";
    memcpy(argv + used, s->options.command, n * sizeof *argv);
    int keep[] = {s->lifeline[0], -1};
    setenv("DBUS_SESSION_BUS_ADDRESS", s->address, 1);
    bool good =
        launch(s, PART_COMMAND, &(struct start){.argv = argv, .keep = keep, .foreground = true});
    free(argv);
    return good;
}
