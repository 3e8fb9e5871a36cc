/* SPDX-License-Identifier: MIT */
/* Signals as a descriptor of the main loop. GLib's own sources for them would start a thread. */
#include "daemon/activator.h"
#include "daemon/fd-watch.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

static void reload_set(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGHUP);
    sigaddset(set, SIGUSR1);
}

void signals_hold(gboolean ends_too)
{
    sigset_t set;

    reload_set(&set);
    if (ends_too) {
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
    }
    sigprocmask(SIG_SETMASK, &set, NULL);
}

static void on_signal(int fd, uint32_t events, void *data)
{
    struct activator *a = data;
    struct signalfd_siginfo info;

    (void)events;
    while (read(fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGHUP) {
            activator_reload(a, NULL, NULL);
        } else if (info.ssi_signo == SIGUSR1) {
            if (!a->answer_timer)
                g_message("another activator takes over");
            a->replaced = TRUE;
            activator_leave(a, LEAVE_HAND_OVER);
        } else {
            activator_leave(a, a->system ? LEAVE_HAND_OVER : LEAVE_STOP_ALL);
        }
    }
}

gboolean signals_watch(struct activator *a, GError **error)
{
    sigset_t set;

    signals_hold(TRUE);
    sigprocmask(SIG_SETMASK, NULL, &set);
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0) {
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno),
                    "cannot receive signals: %s", g_strerror(errno));
        return FALSE;
    }
    a->signals = fd_watch_new(fd, on_signal, a);
    return TRUE;
}
