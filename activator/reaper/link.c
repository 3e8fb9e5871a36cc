/* SPDX-License-Identifier: MIT */
#include "reaper/link.h"

#include "reaper/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKOFF_FIRST 100
#define BACKOFF_LAST  10000
/* A connection that lasted this long was a good one: the next may be tried at once. */
#define GOOD_AFTER 1000
#define READ_TURN  32
#define SEND_AGAIN 100
#define SOCKET     "reapers"

/* Large things are aligned to pages, so that the linker puts them apart from the small ones and
 * what is not used of them stays untouched. */
static _Alignas(4096) unsigned char buffer[MESSAGE_MAX];
static _Alignas(4096) struct message out;

struct message *link_message(void)
{
    return &out;
}

void link_trim(void)
{
    madvise(buffer, sizeof buffer, MADV_DONTNEED);
}

void link_warm(void)
{
    page_touch(buffer);
    page_touch(&out);
}

static void retry_soon(struct link *l);

static void close_descriptors(int fds[MESSAGE_MAX_FDS])
{
    for (size_t i = 0; i < MESSAGE_MAX_FDS; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
    }
}

enum taken { TAKEN, NOTHING, OVER };

/* One datagram. OVER: the connection is, or has to be. */
static enum taken take_message(struct link *l)
{
    struct message_reader r;
    int fds[MESSAGE_MAX_FDS];

    long length = message_receive(l->socket.fd, buffer, fds);
    if (length == -EAGAIN)
        return NOTHING;
    if (length <= 0) {
        if (length == -EMSGSIZE)
            complain("the activator sent too much; connection closed");
        return OVER;
    }
    int result = message_read_begin(&r, buffer, (size_t)length);
    if (result == 0)
        l->handler->message(l->handler->data, &r, fds);
    close_descriptors(fds);
    if (result == -EPROTONOSUPPORT) {
        complain("the activator speaks version %u of the protocol, this reaper speaks %u",
                 r.version, (unsigned)message_version);
        l->refused = true;
    } else if (result < 0 || r.bad) {
        complain("the activator sent what is no message; connection closed");
    }
    return result == 0 && !r.bad ? TAKEN : OVER;
}

void link_read(struct link *l, unsigned most)
{
    enum taken taken = TAKEN;

    while (taken == TAKEN && most-- > 0 && link_is_up(l))
        taken = take_message(l);
    if (taken == OVER)
        link_drop(l);
}

static void on_socket(void *data, uint32_t events)
{
    struct link *l = data;

    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        link_read(l, READ_TURN);
    if (link_is_up(l) && (events & EPOLLOUT))
        l->handler->writable(l->handler->data);
}

int link_attach(struct link *l, int fd)
{
    l->wants_out = false;
    l->socket.ready = on_socket;
    l->socket.data = l;
    int result = loop_add(l->loop, &l->socket, fd, EPOLLIN);
    if (result < 0) {
        close(fd);
        return result;
    }
    l->since = loop_now();
    l->handler->up(l->handler->data);
    return 0;
}

int link_init(struct link *l, struct loop *loop, const struct link_handler *handler,
              const char *folder)
{
    memset(l, 0, sizeof *l);
    l->loop = loop;
    l->handler = handler;
    l->socket.fd = l->watch.fd = -1;
    l->backoff = BACKOFF_FIRST;
    if (!folder)
        return 0;
    l->address.sun_family = AF_UNIX;
    int length = snprintf(l->address.sun_path, sizeof l->address.sun_path, "%s/" SOCKET, folder);
    if (length < 0 || (size_t)length >= sizeof l->address.sun_path)
        return -ENAMETOOLONG;
    snprintf(l->folder, sizeof l->folder, "%s", folder);
    return 0;
}

/* The one at the other end decides what is executed here: it has to be ourselves or root. */
static int check_peer(int fd)
{
    struct ucred peer = {0};
    socklen_t size = sizeof peer;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
        return -errno;
    if (peer.uid != geteuid() && peer.uid != 0) {
        complain("the socket belongs to user %u; not used", (unsigned)peer.uid);
        return -EPERM;
    }
    return 0;
}

int link_connect(struct link *l)
{
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int result = 0;

    if (fd < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *)&l->address, sizeof l->address) < 0)
        result = -errno;
    if (result == 0)
        result = check_peer(fd);
    if (result < 0) {
        close(fd);
        return result;
    }
    l->refused = false;
    return link_attach(l, fd);
}

/* --- again and again -------------------------------------------------------------------- */

static void try_again(struct link *l)
{
    if (link_is_up(l))
        return;
    loop_disarm(l->loop, &l->retry);
    int result = link_connect(l);
    if ((result == -EMFILE || result == -ENFILE) && l->watch.fd >= 0) {
        /* The last descriptor is better used. */
        loop_close(l->loop, &l->watch);
        result = link_connect(l);
    }
    /* Nobody there: the folder's watch will tell. Somebody who does not take us yet (between
     * bind and listen, full backlog) or an old socket: no event comes, so look again. */
    if (result < 0 && (result != -ENOENT || l->watch.fd < 0))
        retry_soon(l);
}

static void on_retry(void *data)
{
    try_again(data);
}

static void retry_soon(struct link *l)
{
    l->retry.fired = on_retry;
    l->retry.data = l;
    loop_arm(l->loop, &l->retry, l->backoff);
    l->backoff = l->backoff * 2 > BACKOFF_LAST ? BACKOFF_LAST : l->backoff * 2;
}

static void on_watch(void *data, uint32_t events)
{
    struct link *l = data;
    _Alignas(struct inotify_event) char room[4096];
    bool appeared = false;
    bool gone = false;

    (void)events;
    ssize_t length = read(l->watch.fd, room, sizeof room);
    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    for (ssize_t at = 0; at < length;) {
        const struct inotify_event *e = (const void *)(room + at);
        at += (ssize_t)(sizeof *e + e->len);
        appeared |= e->len > 0 && strcmp(e->name, SOCKET) == 0;
        appeared |= (e->mask & IN_Q_OVERFLOW) != 0;
        gone |= (e->mask & IN_IGNORED) != 0;
    }
    if (length <= 0 || gone)
        loop_close(l->loop, &l->watch);
    if (appeared) {
        l->refused = false;
        l->backoff = BACKOFF_FIRST;
        try_again(l);
    } else if (l->watch.fd < 0 && !link_is_up(l)) {
        retry_soon(l);
    }
}

static void watch_folder(struct link *l)
{
    int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

    if (fd < 0)
        return;
    l->watch.ready = on_watch;
    l->watch.data = l;
    if (inotify_add_watch(fd, l->folder, IN_CREATE | IN_MOVED_TO | IN_ONLYDIR) < 0 ||
        loop_add(l->loop, &l->watch, fd, EPOLLIN) < 0)
        close(fd);
}

static void reconnect(struct link *l, bool at_once)
{
    if (l->watch.fd < 0)
        watch_folder(l);
    if (l->refused && l->watch.fd >= 0)
        return;
    if (at_once) {
        l->backoff = BACKOFF_FIRST;
        try_again(l);
    } else {
        retry_soon(l);
    }
}

void link_persist(struct link *l)
{
    l->persistent = true;
    if (!link_is_up(l))
        reconnect(l, true);
}

void link_drop(struct link *l)
{
    if (!link_is_up(l))
        return;
    loop_close(l->loop, &l->socket);
    loop_disarm(l->loop, &l->send_again);
    l->wants_out = false;
    l->handler->down(l->handler->data);
    if (l->persistent && !link_is_up(l))
        reconnect(l, loop_now() - l->since >= GOOD_AFTER);
}

void link_refuse(struct link *l)
{
    l->refused = true;
    link_drop(l);
}

/* --- out -------------------------------------------------------------------------------- */

static void want_out(struct link *l, bool wanted)
{
    if (wanted == l->wants_out)
        return;
    l->wants_out = wanted;
    loop_change(l->loop, &l->socket, wanted ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void on_send_again(void *data)
{
    struct link *l = data;

    if (link_is_up(l))
        l->handler->writable(l->handler->data);
}

void link_proceed(struct link *l, int result)
{
    loop_disarm(l->loop, &l->send_again);
    want_out(l, result == 1 || result == -EAGAIN);
    if (result >= 0 || result == -EAGAIN)
        return;
    /* Lack of memory and the like: the socket has room all the time, so asking it would be a
     * loop without a pause. (When the connection is over the reading side tells before that.) */
    l->send_again.fired = on_send_again;
    l->send_again.data = l;
    loop_arm(l->loop, &l->send_again, SEND_AGAIN);
}

int link_send(struct link *l, const struct message *m, const int *fds, size_t nfds)
{
    return link_is_up(l) ? message_send(l->socket.fd, m, fds, nfds) : -ENOTCONN;
}
