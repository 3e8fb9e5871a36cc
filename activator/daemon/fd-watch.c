/* SPDX-License-Identifier: MIT */
#include "daemon/fd-watch.h"

#include <glib-unix.h>
#include <sys/epoll.h>
#include <unistd.h>

_Static_assert((int)EPOLLIN == (int)G_IO_IN && (int)EPOLLHUP == (int)G_IO_HUP &&
                   (int)EPOLLERR == (int)G_IO_ERR,
               "the bits of poll(2) and epoll(7)");

/* Events of one turn of the main loop, so that timers and what else it has come to their right. */
#define TURN 64

struct fd_watch {
    int fd;
    void (*ready)(int fd, uint32_t events, void *data);
    void *data;
    GSource *source; /* instead of the epoll, where the kernel had no room */
};

/* There is one main loop; nobody owns it, so nobody could own this. */
static int epoll_fd = -1;

static gboolean on_ready(gint fd, GIOCondition condition, gpointer data)
{
    (void)condition;
    (void)data;
    /* One at a time: a handler may free any watch, and none is left in a batch. The kernel goes
     * round the ready ones. */
    for (int n = 0; n < TURN; n++) {
        struct epoll_event e = {0};
        if (epoll_wait(fd, &e, 1, 0) <= 0)
            break;
        struct fd_watch *w = e.data.ptr;
        w->ready(w->fd, e.events, w->data);
    }
    return G_SOURCE_CONTINUE;
}

static gboolean on_alone(gint fd, GIOCondition condition, gpointer data)
{
    struct fd_watch *w = data;

    w->ready(fd, (uint32_t)condition, w->data);
    return G_SOURCE_CONTINUE;
}

static gboolean get_ready(void)
{
    if (epoll_fd >= 0)
        return TRUE;
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0)
        return FALSE;
    GSource *source = g_unix_fd_source_new(epoll_fd, G_IO_IN);
    g_source_set_callback(source, G_SOURCE_FUNC(on_ready), NULL, NULL);
    /* No handler runs a loop of its own, so it never does; but GLib takes a source that must not
     * out of its poll and puts it back for each dispatch, which costs four system calls. */
    g_source_set_can_recurse(source, TRUE);
    g_source_attach(source, NULL);
    g_source_unref(source);
    return TRUE;
}

struct fd_watch *fd_watch_new(int fd, void (*ready)(int fd, uint32_t events, void *data),
                              void *data)
{
    struct fd_watch *w = g_new0(struct fd_watch, 1);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = w};

    w->fd = fd;
    w->ready = ready;
    w->data = data;
    if (get_ready() && epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e) == 0)
        return w;
    w->source = g_unix_fd_source_new(fd, G_IO_IN | G_IO_HUP | G_IO_ERR);
    g_source_set_callback(w->source, G_SOURCE_FUNC(on_alone), w, NULL);
    g_source_attach(w->source, NULL);
    return w;
}

void fd_watch_free(struct fd_watch *w)
{
    if (!w)
        return;
    if (w->source) {
        g_source_destroy(w->source);
        g_source_unref(w->source);
    } else {
        epoll_ctl(epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
    }
    g_free(w);
}
