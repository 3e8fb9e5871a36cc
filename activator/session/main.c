/* SPDX-License-Identifier: MIT */
#include "config.h"
#include "session/session.h"

#include "common/child-reaper.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define NAME "dbus-activator-session"

static const char usage_text[] =
    "Usage: " NAME " [OPTION]... [--] COMMAND [ARGUMENT]...\n"
    "Runs COMMAND with a session bus of its own, whose services are owned by an activator.\n"
    "When COMMAND, the bus or this program ends, nothing of it all is left.\n"
    "\n"
    "  --config-file FILE  the configuration of the bus (default: the system's session.conf)\n"
    "  --dbus-daemon PATH  the bus daemon (default: dbus-daemon in PATH)\n"
    "  --print-address     write the address of the bus to standard output first\n"
    "  --keep-detached     spare what COMMAND left in sessions of its own (tmux, nohup, setsid)\n"
    "                      when it ends by itself\n"
    "  --help, --version\n"
    "\n"
    "Exit status: COMMAND's; 128 + n when signal n killed it, 127 when it was not found, 126\n"
    "when it could not be executed; 1 when the session could not be had; 2 for wrong usage.\n";

void say(const char *format, ...)
{
    char text[2 * PATH_MAX];
    va_list list;

    va_start(list, format);
    /* The analyzer does not see va_start() above. */
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized) */
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    fprintf(stderr, NAME ": %s\n", text);
}

static _Noreturn void usage_error(void)
{
    fprintf(stderr, "Try '" NAME " --help'.\n");
    exit(2);
}

static void read_options(struct options *o, int argc, char **argv, const char **daemon)
{
    static const struct option known[] = {
        {"config-file", required_argument, NULL, 'c'},
        {"dbus-daemon", required_argument, NULL, 'd'},
        {"print-address", no_argument, NULL, 'p'},
        {"keep-detached", no_argument, NULL, 'k'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'v'},
        {NULL, 0, NULL, 0},
    };
    int option = 0;

    while ((option = getopt_long(argc, argv, "+", known, NULL)) != -1) {
        switch (option) {
        case 'c':
            o->config_file = optarg;
            break;
        case 'd':
            *daemon = optarg;
            break;
        case 'p':
            o->print_address = true;
            break;
        case 'k':
            o->keep_detached = true;
            break;
        case 'h':
            fputs(usage_text, stdout);
            exit(fflush(stdout) == 0 ? 0 : 1);
        case 'v':
            puts(NAME " " VERSION);
            exit(fflush(stdout) == 0 ? 0 : 1);
        default:
            usage_error();
        }
    }
    if (optind == argc) {
        fprintf(stderr, NAME ": no command given\n");
        usage_error();
    }
    o->command = argv + optind;
}

static bool find_config(struct options *o)
{
    static const char *const standard[] = {"/usr/share/dbus-1/session.conf",
                                           "/etc/dbus-1/session.conf"};
    const char *given = o->config_file;

    for (size_t i = 0; !given && i < 2; i++) {
        if (access(standard[i], R_OK) == 0)
            given = standard[i];
    }
    if (!given) {
        say("no configuration of a session bus: neither %s nor %s can be read; install dbus's "
            "(Debian: package dbus-session-bus-common) or name one with --config-file",
            standard[0], standard[1]);
        return false;
    }
    /* The bus would look for a relative one beside the file that includes it. */
    o->config_file = realpath(given, NULL);
    if (!o->config_file || access(o->config_file, R_OK) < 0) {
        say("cannot read the bus configuration %s: %s", given, strerror(errno));
        return false;
    }
    return true;
}

static bool find_daemon(struct options *o, const char *given)
{
    if (given) {
        if (find_in_path(given, o->dbus_daemon, sizeof o->dbus_daemon))
            return true;
        say("cannot execute the bus daemon %s: %s", given, strerror(errno));
        return false;
    }
    if (find_in_path("dbus-daemon", o->dbus_daemon, sizeof o->dbus_daemon) ||
        find_in_path("/usr/bin/dbus-daemon", o->dbus_daemon, sizeof o->dbus_daemon))
        return true;
    say("dbus-daemon is not installed (Debian: package dbus-daemon; elsewhere: dbus); install it "
        "or name it with --dbus-daemon");
    return false;
}

/* The keeper's line in ps. The command's words lie in the same place: they are copied first. */
static void set_title(struct options *o, int argc, char **argv)
{
    static const char title[] = NAME ": keeper";
    size_t n = 0;
    size_t room = (size_t)(argv[argc - 1] + strlen(argv[argc - 1]) + 1 - argv[0]);

    while (o->command[n])
        n++;
    char **copy = calloc(n + 1, sizeof *copy);
    for (size_t i = 0; copy && i < n; i++) {
        copy[i] = strdup(o->command[i]);
        if (!copy[i])
            return;
    }
    if (!copy)
        return;
    o->command = copy;
    memset(argv[0], 0, room);
    memcpy(argv[0], title, room < sizeof title ? room - 1 : sizeof title - 1);
}

/* What the wrapper does while the keeper lives. Returns how that ended. */
static siginfo_t wait_for_keeper(struct session *s, pid_t keeper)
{
    sigset_t awaited;
    siginfo_t info = {0};
    int number = 0;

    sigemptyset(&awaited);
    sigaddset(&awaited, SIGCHLD);
    sigaddset(&awaited, SIGTERM);
    sigaddset(&awaited, SIGHUP);
    (void)s;
    for (;;) {
        memset(&info, 0, sizeof info);
        if (waitid(P_ALL, 0, &info, WEXITED | WSTOPPED | WNOHANG) == 0 && info.si_pid != 0) {
            bool stopped = info.si_code == CLD_STOPPED || info.si_code == CLD_TRAPPED;
            if (info.si_pid == keeper && stopped)
                mirror_stop(keeper);
            if (info.si_pid == keeper && !stopped)
                return info;
            continue;
        }
        number = sigwaitinfo(&awaited, NULL);
        if (number == SIGTERM || number == SIGHUP) {
            kill(keeper, number);
            kill(keeper, SIGCONT);
        }
    }
}

static int wrapper_run(struct session *s, pid_t keeper)
{
    siginfo_t info = wait_for_keeper(s, keeper);
    int status = info.si_status;

    if (info.si_code != CLD_EXITED) {
        say("the session's keeper was killed (%s); ending the session", strsignal(status));
        status += 128;
        session_end(s);
    }
    session_clear_up(s);
    return status;
}

static bool prepare(struct session *s)
{
    int kind = child_reaper_become();

    if (kind < 0) {
        say(CHILD_REAPER_NONE_TEXT, strerror(-kind));
        return false;
    }
    /* Inherited as ignored it would hide the ends of children. */
    signal(SIGCHLD, SIG_DFL);
    s->pipe_was_fatal = signal(SIGPIPE, SIG_IGN) == SIG_DFL;
    sigprocmask(SIG_SETMASK, NULL, &s->old_mask);
    return session_take_signals(s);
}

static int run(struct session *s, int argc, char **argv)
{
    int leash[2];

    if (pipe2(leash, O_CLOEXEC) < 0 || pipe2(s->lifeline, O_CLOEXEC) < 0) {
        say("cannot make a pipe: %s", strerror(errno));
        return 1;
    }
    mounts_read(&s->mounts);
    if (!place_make(&s->place))
        return 1;
    fflush(NULL);
    pid_t keeper = fork();
    if (keeper < 0) {
        say("cannot start: %s", strerror(errno));
        place_remove(&s->place);
        return 1;
    }
    if (keeper == 0) {
        close(leash[1]);
        close(s->signals);
        s->leash = leash[0];
        set_title(&s->options, argc, argv);
        /* Being a child reaper is not inherited. */
        _exit(child_reaper_become() > 0 && session_take_signals(s) ? keeper_run(s) : 1);
    }
    close(leash[0]);
    close(s->lifeline[0]);
    close(s->lifeline[1]);
    return wrapper_run(s, keeper);
}

int main(int argc, char **argv)
{
    static struct session session = {.signals = -1, .leash = -1};
    const char *daemon = NULL;

    read_options(&session.options, argc, argv, &daemon);
    if (!find_config(&session.options) || !find_daemon(&session.options, daemon) ||
        !prepare(&session))
        return 1;
    return run(&session, argc, argv);
}
