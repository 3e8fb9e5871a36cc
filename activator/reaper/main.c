/* SPDX-License-Identifier: MIT */
/* dbus-activator-reaper: argv only. */
#include "config.h"
#include "reaper/modes.h"
#include "reaper/process.h"
#include "reaper/stop.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
    "Usage: dbus-activator-reaper --spare DIR [--lifeline FD]\n"
    "       dbus-activator-reaper --top [--lifeline FD] [--pass-fd N]... -- PROGRAM [ARG...]\n"
    "       dbus-activator-reaper --run NAME [--lifeline FD] [--foreground] [--keep-detached]\n"
    "                             [--stop-timeout MS] -- PROGRAM [ARG...]\n"
    "Owns processes: adopts whatever is left behind below it and waits for all of it.\n"
    "Started by dbus-activatord and dbus-activator-session.\n"
    "\n"
    "  --spare DIR        wait for a service to run; DIR is the activator's runtime directory\n"
    "  --top              run the activator PROGRAM, again when it is killed\n"
    "  --run NAME         run PROGRAM; when it ends, stop what it left and exit as it did\n"
    "  --lifeline FD      stop everything when this pipe ends\n"
    "  --pass-fd N        PROGRAM inherits descriptor N; closed here once it serves\n"
    "  --foreground       stay in the caller's session, stop and continue with PROGRAM\n"
    "  --keep-detached    spare what PROGRAM left in sessions of its own\n"
    "  --stop-timeout MS  from SIGTERM to SIGKILL (5000)\n"
    "  --help, --version\n";

enum {
    OPT_SPARE = 256,
    OPT_TOP,
    OPT_RUN,
    OPT_LIFELINE,
    OPT_PASS,
    OPT_FOREGROUND,
    OPT_DETACHED,
    OPT_TIMEOUT,
    OPT_HELP,
    OPT_VERSION
};

static const struct option known[] = {
    {"spare", required_argument, NULL, OPT_SPARE},
    {"top", no_argument, NULL, OPT_TOP},
    {"run", required_argument, NULL, OPT_RUN},
    {"lifeline", required_argument, NULL, OPT_LIFELINE},
    {"pass-fd", required_argument, NULL, OPT_PASS},
    {"foreground", no_argument, NULL, OPT_FOREGROUND},
    {"keep-detached", no_argument, NULL, OPT_DETACHED},
    {"stop-timeout", required_argument, NULL, OPT_TIMEOUT},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {NULL, 0, NULL, 0},
};

static bool number(const char *text, long most, long *value)
{
    char *end = NULL;

    errno = 0;
    *value = strtol(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && *value >= 0 && *value <= most;
}

static bool descriptor(const char *option, const char *text, int *fd)
{
    long value = 0;

    if (!number(text, INT_MAX, &value)) {
        complain("%s: '%s' is no descriptor number", option, text);
        return false;
    }
    *fd = (int)value;
    /* Also keeps what is opened next from taking its number. */
    if (value > 2 && descriptor_own(*fd) == 0)
        return true;
    complain("%s: descriptor %d is not open", option, *fd);
    return false;
}

static bool take_option(struct options *o, int code)
{
    long value = 0;

    switch (code) {
    case OPT_SPARE:
        o->folder = optarg;
        return true;
    case OPT_TOP:
        o->top = true;
        return true;
    case OPT_RUN:
        o->run_name = optarg;
        return true;
    case OPT_LIFELINE:
        return descriptor("--lifeline", optarg, &o->lifeline);
    case OPT_PASS:
        if (o->npass == PASS_MAX) {
            complain("--pass-fd: at most %d of them", PASS_MAX);
            return false;
        }
        return descriptor("--pass-fd", optarg, &o->pass[o->npass++]);
    case OPT_FOREGROUND:
        o->foreground = true;
        return true;
    case OPT_DETACHED:
        o->keep_detached = true;
        return true;
    case OPT_TIMEOUT:
        if (!number(optarg, INT_MAX, &value)) {
            complain("--stop-timeout: '%s' is no number of milliseconds", optarg);
            return false;
        }
        o->stop_timeout = (unsigned)value;
        return true;
    default:
        return false;
    }
}

static bool say(const char *text)
{
    return fputs(text, stdout) >= 0 && fflush(stdout) == 0;
}

/* Which combination was asked for, and does it make sense? */
static bool check(const struct options *o)
{
    int modes = (o->folder != NULL) + o->top + (o->run_name != NULL);

    if (modes != 1) {
        complain("exactly one of --spare, --top and --run is needed; try --help");
        return false;
    }
    if (!o->folder && !o->command[0]) {
        complain("no program to run; try --help");
        return false;
    }
    if (o->folder && o->command[0]) {
        complain("--spare takes no program; try --help");
        return false;
    }
    if ((o->foreground || o->keep_detached) && !o->run_name) {
        complain("--foreground and --keep-detached go with --run; try --help");
        return false;
    }
    if (o->npass > 0 && !o->top) {
        complain("--pass-fd goes with --top; try --help");
        return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    static struct options o = {.lifeline = -1, .stop_timeout = STOP_TIMEOUT};
    int code = 0;

    opterr = 0;
    while ((code = getopt_long(argc, argv, "+", known, NULL)) != -1) {
        if (code == OPT_HELP)
            return say(help) ? 0 : EXIT_SYSTEM;
        if (code == OPT_VERSION)
            return say("dbus-activator-reaper " VERSION "\n") ? 0 : EXIT_SYSTEM;
        if (code == '?') {
            complain("unknown option or missing value: %s; try --help", argv[optind - 1]);
            return EXIT_USER;
        }
        if (!take_option(&o, code))
            return EXIT_USER;
    }
    o.command = argv + optind;
    if (!check(&o))
        return EXIT_USER;
    if (o.folder) {
        /* The environment is only room for the title; the folder is remembered by itself. */
        static _Alignas(4096) char folder[PATH_MAX];
        snprintf(folder, sizeof folder, "%s", o.folder);
        o.folder = folder;
        title_init(argc, argv, true);
        return spare_main(&o);
    }
    /* The command is executed later, from a copy: the title takes the place of the original. */
    char **copy = calloc((size_t)(argc - optind) + 1, sizeof *copy);
    const char *name = o.run_name ? strdup(o.run_name) : NULL;
    for (int i = optind; copy && i < argc; i++) {
        copy[i - optind] = strdup(argv[i]);
        if (!copy[i - optind])
            copy = NULL;
    }
    if (!copy || (o.run_name && !name)) {
        /* What was had ends with the process. */
        complain("out of memory"); // NOLINT(clang-analyzer-unix.Malloc)
        return EXIT_SYSTEM;
    }
    o.command = copy;
    o.run_name = name;
    title_init(argc, argv, false);
    return o.top ? top_main(&o) : run_one_main(&o);
}
