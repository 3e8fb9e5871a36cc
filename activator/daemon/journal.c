/* SPDX-License-Identifier: MIT */
#include "daemon/journal.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

static int log_socket = -1;
static GLogLevelFlags shown;

static void to_syslog(int priority, const char *text)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/dev/log"};
    char line[1200];
    int length = snprintf(line, sizeof line, "<%d>dbus-activatord[%d]: %s", LOG_DAEMON | priority,
                          (int)getpid(), text);

    if (log_socket < 0)
        log_socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (log_socket >= 0)
        sendto(log_socket, line, MIN((size_t)length, sizeof line - 1), MSG_NOSIGNAL,
               (struct sockaddr *)&address, sizeof address);
}

static void to_stderr(const char *text)
{
    struct pollfd room = {.fd = STDERR_FILENO, .events = POLLOUT};
    char line[1200];
    int length = snprintf(line, sizeof line, "dbus-activatord: %s\n", text);

    if (length >= (int)sizeof line) {
        length = (int)sizeof line - 1;
        line[length - 1] = '\n';
    }
    /* A pipe with room takes up to PIPE_BUF bytes at once. */
    if (poll(&room, 1, 0) == 1 && (room.revents & POLLOUT) &&
        write(STDERR_FILENO, line, (size_t)length) < 0)
        return;
}

static GLogWriterOutput writer(GLogLevelFlags level, const GLogField *fields, gsize n,
                               gpointer data)
{
    gboolean syslog_wanted = GPOINTER_TO_INT(data);
    const char *text = "";
    int priority = LOG_INFO;

    if (!(level & shown) && !(level & G_LOG_FLAG_FATAL))
        return G_LOG_WRITER_HANDLED;
    for (gsize i = 0; i < n; i++) {
        if (strcmp(fields[i].key, "MESSAGE") == 0)
            text = fields[i].value;
    }
    if (level & (G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL))
        priority = LOG_ERR;
    else if (level & G_LOG_LEVEL_WARNING)
        priority = LOG_WARNING;
    else if (level & G_LOG_LEVEL_DEBUG)
        priority = LOG_DEBUG;
    if (syslog_wanted)
        to_syslog(priority, text);
    else
        to_stderr(text);
    return G_LOG_WRITER_HANDLED;
}

gboolean journal_open(gboolean system, const char *level)
{
    shown = G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL;
    if (strcmp(level, "error") != 0) {
        shown |= G_LOG_LEVEL_WARNING;
        if (strcmp(level, "warning") != 0) {
            shown |= G_LOG_LEVEL_INFO | G_LOG_LEVEL_MESSAGE;
            if (strcmp(level, "debug") == 0)
                shown |= G_LOG_LEVEL_DEBUG;
            else if (strcmp(level, "info") != 0)
                return FALSE;
        }
    }
    g_log_set_writer_func(writer, GINT_TO_POINTER(system && !isatty(STDERR_FILENO)), NULL);
    return TRUE;
}
