/* SPDX-License-Identifier: MIT */
#include "session/session.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

bool session_take_signals(struct session *s)
{
    sigset_t awaited;
    sigset_t terminal;

    /* SIGINT and SIGQUIT are awaited too: before the command runs they end the start, after
     * that they are passed over. So their disposition stays what the command is to find. */
    sigemptyset(&awaited);
    sigaddset(&awaited, SIGCHLD);
    sigaddset(&awaited, SIGTERM);
    sigaddset(&awaited, SIGHUP);
    sigaddset(&awaited, SIGINT);
    sigaddset(&awaited, SIGQUIT);
    sigprocmask(SIG_BLOCK, &awaited, NULL);
    /* Ctrl-Z is the command's affair as well. Stopped by it at once, the wrapper would let the
     * caller's shell continue the session while the reaper, of which the command's stop has to
     * be learnt, has not seen it yet: it would stop what has just been continued. */
    sigemptyset(&terminal);
    sigaddset(&terminal, SIGTSTP);
    sigaddset(&terminal, SIGTTIN);
    sigaddset(&terminal, SIGTTOU);
    sigprocmask(SIG_BLOCK, &terminal, NULL);
    s->signals = signalfd(-1, &awaited, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s->signals < 0)
        say("signalfd: %s", strerror(errno));
    return s->signals >= 0;
}

void session_clear_up(struct session *s)
{
    mounts_clean(&s->mounts);
    place_remove(&s->place);
}

static bool start(struct session *s)
{
    if (!place_write_config(&s->place, s->options.config_file) || !part_start_bus(s) ||
        !part_start_activator(s, true))
        return false;
    if (s->options.print_address) {
        printf("%s\n", s->address);
        fflush(stdout);
    }
    return part_start_command(s);
}

/* Waits for the end of the session and says why it ended, unless it was the command's. */
static void watch(struct session *s)
{
    while (!s->stop_signal && !s->parts[PART_COMMAND].ended && !s->parts[PART_BUS].ended &&
           !s->parts[PART_ACTIVATOR].ended) {
        int64_t left = s->top_due ? s->top_due - now_ms() : -1;
        if (s->top_due && left <= 0)
            activator_look(s);
        else
            session_wait(s, -1, (int)left);
    }
    if (s->parts[PART_COMMAND].ended)
        return;
    if (s->stop_signal)
        say("%s; ending the session",
            s->wrapper_gone ? "the wrapper was killed" : strsignal(s->stop_signal));
    else if (s->parts[PART_BUS].ended)
        say("the bus has ended (status %d); ending the session", s->parts[PART_BUS].status);
    else
        say("the activator has ended (status %d); ending the session",
            s->parts[PART_ACTIVATOR].status);
}

int keeper_run(struct session *s)
{
    bool started = start(s);

    if (started) {
        s->running = true;
        watch(s);
    }
    bool clean = session_end(s);
    if (s->wrapper_gone)
        session_clear_up(s);
    if (!started)
        return s->stop_signal ? 128 + s->stop_signal : 1;
    return clean ? s->parts[PART_COMMAND].status : 1;
}
