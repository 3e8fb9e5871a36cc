/* SPDX-License-Identifier: MIT */
#include "daemon/await.h"

#include <glib.h>
#include <poll.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static gboolean answers(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    gboolean good = FALSE;

    g_strlcpy(address.sun_path, path, sizeof address.sun_path);
    good = fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
    if (fd >= 0)
        close(fd);
    return good;
}

void await_bus_at(const char *address)
{
    const char *prefix = "unix:path=";
    char events[4096];
    int wait_ms = 100;

    if (!g_str_has_prefix(address, prefix))
        return;
    char *path = g_strndup(address + strlen(prefix), strcspn(address + strlen(prefix), ",;"));
    char *folder = g_path_get_dirname(path);
    int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    gboolean watched =
        fd >= 0 && inotify_add_watch(fd, folder, IN_CREATE | IN_MOVED_TO | IN_ATTRIB) >= 0;

    while (!answers(path)) {
        struct pollfd news = {.fd = fd, .events = POLLIN};
        /* Without a watch (the directory is gone too) there is only looking again. A watched
         * socket may listen a moment after it appeared: look again a few times then. */
        int count = poll(&news, watched ? 1 : 0, watched && wait_ms >= 6400 ? -1 : wait_ms);
        if (count > 0 && read(fd, events, sizeof events) > 0)
            wait_ms = 50;
        else if (wait_ms < 6400)
            wait_ms *= 2;
    }
    close(fd);
    g_free(folder);
    g_free(path);
}
