/* SPDX-License-Identifier: MIT */
#include "reaper/lifeline.h"

#include <errno.h>
#include <unistd.h>

static void on_lifeline(void *data, uint32_t events)
{
    struct lifeline *l = data;
    char room[64];
    ssize_t got = 1;

    /* Bytes mean nothing; without EPOLLIN the read would be the end as well. The descriptor may
     * be blocking (it is shared): read only what is announced. */
    if (events & EPOLLIN)
        got = read(l->source.fd, room, sizeof room);
    else if (events & (EPOLLHUP | EPOLLERR))
        got = 0;
    if (got > 0 || (got < 0 && (errno == EINTR || errno == EAGAIN)))
        return;
    loop_close(l->loop, &l->source);
    l->over(l->data);
}

int lifeline_watch(struct lifeline *l, struct loop *loop, int fd, void (*over)(void *data),
                   void *data)
{
    *l = (struct lifeline){.loop = loop, .over = over, .data = data};
    l->source = (struct loop_source){.fd = -1, .ready = on_lifeline, .data = l};
    return fd < 0 ? 0 : loop_add(loop, &l->source, fd, EPOLLIN);
}
