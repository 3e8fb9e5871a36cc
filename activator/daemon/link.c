/* SPDX-License-Identifier: MIT */
#include "daemon/link.h"

#include "daemon/fd-watch.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define QUEUE_MAX (4u << 20)
/* Messages read in one turn of the loop, so that one busy peer does not keep others waiting. */
#define READ_TURN 64
/* When there was no memory for a message: the socket is ready all the time, so asking it would
 * be a loop without a pause. */
#define AGAIN_MS 50

struct queued {
    gsize length;
    int fds[MESSAGE_MAX_FDS];
    gsize nfds;
    unsigned char data[];
};

static void queued_free(gpointer data)
{
    struct queued *q = data;

    for (gsize i = 0; i < q->nfds; i++)
        close(q->fds[i]);
    g_free(q);
}

static void drop_source(GSource **source)
{
    if (!*source)
        return;
    g_source_destroy(*source);
    g_clear_pointer(source, g_source_unref);
}

static void link_destroy(struct link *l)
{
    g_clear_pointer(&l->in, fd_watch_free);
    drop_source(&l->pause);
    drop_source(&l->out);
    g_queue_free_full(l->queue, queued_free);
    if (l->fd >= 0)
        close(l->fd);
    g_free(l);
}

void link_free(struct link *l)
{
    if (!l)
        return;
    if (l->in_handler) {
        l->doomed = TRUE;
        return;
    }
    link_destroy(l);
}

/* Tells the owner that the link is over and frees it. */
static void link_close(struct link *l, const char *why)
{
    g_clear_pointer(&l->in, fd_watch_free);
    drop_source(&l->pause);
    drop_source(&l->out);
    l->in_handler = TRUE;
    if (!l->doomed)
        l->handler->closed(l, why, l->data);
    link_destroy(l);
}

/* Hands one datagram to the owner. Returns why the link has to be closed, or NULL. */
static const char *take_datagram(struct link *l, const void *data, gsize length,
                                 int fds[MESSAGE_MAX_FDS])
{
    static char text[160];
    struct message_reader r;
    int result = message_read_begin(&r, data, length);

    if (result == -EPROTONOSUPPORT) {
        struct message m;
        g_snprintf(text, sizeof text, "it speaks version %u of the protocol, this one speaks %u",
                   r.version, (unsigned)message_version);
        message_begin(&m, MESSAGE_REFUSED);
        message_put_string(&m, text);
        message_send(l->fd, &m, NULL, 0);
        return text;
    }
    if (result < 0)
        return "it sent what is no message";
    l->version = r.version;
    l->handler->message(l, &r, fds, l->data);
    return l->doomed || !r.bad ? NULL : "it sent a malformed message";
}

static gboolean is_passing(int result)
{
    return result == -ENOBUFS || result == -ENOMEM || result == -ETOOMANYREFS;
}

static void on_readable(int fd, uint32_t events, void *data);

static gboolean on_read_again(gpointer data)
{
    struct link *l = data;

    drop_source(&l->pause);
    l->in = fd_watch_new(l->fd, on_readable, l);
    return G_SOURCE_REMOVE;
}

/* There was no memory for what has arrived: it is still there in a moment. */
static void pause_reading(struct link *l)
{
    g_clear_pointer(&l->in, fd_watch_free);
    drop_source(&l->pause);
    l->pause = g_timeout_source_new(AGAIN_MS);
    g_source_set_callback(l->pause, on_read_again, l, NULL);
    g_source_attach(l->pause, NULL);
}

static void read_turns(struct link *l, guint turns, unsigned char *buffer)
{
    const char *why = NULL;
    gboolean over = FALSE;

    l->in_handler = TRUE;
    for (guint turn = 0; turn < turns && !why && !over && !l->doomed; turn++) {
        int fds[MESSAGE_MAX_FDS];
        long length = message_receive(l->fd, buffer, fds);
        if (length == -EAGAIN)
            break;
        if (is_passing((int)length)) {
            pause_reading(l);
            break;
        }
        if (length > 0)
            why = take_datagram(l, buffer, (gsize)length, fds);
        else if (length == -EMSGSIZE)
            why = "it sent too much";
        else
            over = TRUE;
        for (gsize i = 0; i < MESSAGE_MAX_FDS; i++) {
            if (fds[i] >= 0)
                close(fds[i]);
        }
    }
    l->in_handler = FALSE;
    if (l->doomed)
        link_destroy(l);
    else if (why || over)
        link_close(l, why);
}

static void on_readable(int fd, uint32_t events, void *data)
{
    /* Too large for the stack of a callback, and there is one thread. */
    static unsigned char buffer[MESSAGE_MAX];

    (void)fd;
    (void)events;
    read_turns(data, READ_TURN, buffer);
}

void link_drain(struct link *l)
{
    /* Not the one above: a message of another link lies in it just now. */
    static unsigned char buffer[MESSAGE_MAX];

    if (!l->in_handler)
        read_turns(l, G_MAXUINT, buffer);
}

struct link *link_new(int fd, const struct link_handler *handler, void *data)
{
    struct link *l = g_new0(struct link, 1);
    struct ucred peer = {0};
    socklen_t size = sizeof peer;

    l->fd = fd;
    l->version = message_version;
    l->handler = handler;
    l->data = data;
    l->queue = g_queue_new();
    l->uid = (uid_t)-1;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0) {
        l->pid = peer.pid;
        l->uid = peer.uid;
    }
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    l->in = fd_watch_new(fd, on_readable, l);
    return l;
}

static gboolean on_broken(gpointer data)
{
    struct link *l = data;

    link_close(l, l->broken);
    return G_SOURCE_REMOVE;
}

/* What the peer should have got it will never get: closed is called from the main loop. */
static void link_break(struct link *l, const char *why)
{
    if (l->broken)
        return;
    l->broken = why;
    g_clear_pointer(&l->in, fd_watch_free);
    drop_source(&l->pause);
    drop_source(&l->out);
    l->out = g_idle_source_new();
    g_source_set_callback(l->out, on_broken, l, NULL);
    g_source_attach(l->out, NULL);
}

/* The reading side tells when the connection is over. */
static gboolean is_over(int result)
{
    return result == -EPIPE || result == -ECONNRESET || result == -ENOTCONN ||
           result == -ECONNREFUSED;
}

static void send_queued(struct link *l);

static gboolean on_send_again(gpointer data)
{
    struct link *l = data;

    drop_source(&l->out);
    send_queued(l);
    return G_SOURCE_REMOVE;
}

static gboolean on_writable(gint fd, GIOCondition condition, gpointer data)
{
    struct link *l = data;

    (void)fd;
    (void)condition;
    drop_source(&l->out);
    send_queued(l);
    return G_SOURCE_REMOVE;
}

/* Goes on when the socket has room, or in a moment. */
static void watch_out(struct link *l, int result)
{
    drop_source(&l->out);
    if (is_passing(result)) {
        l->out = g_timeout_source_new(AGAIN_MS);
        g_source_set_callback(l->out, on_send_again, l, NULL);
    } else {
        l->out = g_unix_fd_source_new(l->fd, G_IO_OUT);
        g_source_set_callback(l->out, G_SOURCE_FUNC(on_writable), l, NULL);
    }
    g_source_attach(l->out, NULL);
}

static void send_queued(struct link *l)
{
    while (!g_queue_is_empty(l->queue)) {
        static struct message m;
        struct queued *q = g_queue_peek_head(l->queue);
        m.length = q->length;
        m.overflow = false;
        memcpy(m.data, q->data, q->length);
        int result = message_send(l->fd, &m, q->fds, q->nfds);
        if (result == -EAGAIN || is_passing(result)) {
            watch_out(l, result);
            return;
        }
        if (result < 0 && !is_over(result)) {
            link_break(l, g_strerror(-result));
            return;
        }
        l->queued_bytes -= q->length;
        queued_free(g_queue_pop_head(l->queue));
    }
}

static void link_queue(struct link *l, const struct message *m, const int *fds, gsize nfds,
                       int result)
{
    struct queued *q = g_malloc(sizeof *q + m->length);

    q->length = m->length;
    q->nfds = 0;
    memcpy(q->data, m->data, m->length);
    for (gsize i = 0; i < nfds; i++) {
        int copy = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
        if (copy >= 0)
            q->fds[q->nfds++] = copy;
    }
    g_queue_push_tail(l->queue, q);
    l->queued_bytes += m->length;
    if (l->queued_bytes > QUEUE_MAX)
        link_break(l, "it does not read");
    else if (!l->out)
        watch_out(l, result);
}

void link_send(struct link *l, struct message *m, const int *fds, gsize nfds)
{
    int result = -EAGAIN;

    if (!l || l->doomed || l->broken)
        return;
    message_set_version(m, l->version);
    if (g_queue_is_empty(l->queue))
        result = message_send(l->fd, m, fds, nfds);
    if (result == -EAGAIN || is_passing(result))
        link_queue(l, m, fds, nfds, result);
    else if (result < 0 && !is_over(result))
        link_break(l, g_strerror(-result));
}

/* --- listening -------------------------------------------------------------------------- */

struct listener {
    int fd;
    char *path;
    struct fd_watch *watch;
    guint retry;
    gboolean complained;
    void (*accepted)(int fd, void *data);
    void *data;
};

static void listener_watch(struct listener *l);

static gboolean on_retry(gpointer data)
{
    struct listener *l = data;

    l->retry = 0;
    listener_watch(l);
    return G_SOURCE_REMOVE;
}

static void on_connection(int fd, uint32_t events, void *data)
{
    struct listener *l = data;

    (void)events;
    int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (peer >= 0) {
        l->complained = FALSE;
        l->accepted(peer, l->data);
        return;
    }
    if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
        /* The connection stays in the backlog and the socket readable: look away for a moment
         * instead of spinning. */
        if (!l->complained)
            g_warning("cannot accept connections for now: %s", g_strerror(errno));
        l->complained = TRUE;
        g_clear_pointer(&l->watch, fd_watch_free);
        l->retry = g_timeout_add(200, on_retry, l);
    }
}

static void listener_watch(struct listener *l)
{
    l->watch = fd_watch_new(l->fd, on_connection, l);
}

struct listener *listener_new(const char *path, void (*accepted)(int fd, void *data), void *data,
                              GError **error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = -1;

    /* Bound under another name and moved into place when it listens: a reaper that waits for
     * the path never finds a socket that refuses it. */
    char *fresh = g_strconcat(path, "~", NULL);
    if (strlen(fresh) >= sizeof address.sun_path) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NAMETOOLONG,
                    "the path of socket %s is longer than %zu bytes; choose a shorter "
                    "--runtime-dir",
                    path, sizeof address.sun_path - 2);
        g_free(fresh);
        return NULL;
    }
    g_strlcpy(address.sun_path, fresh, sizeof address.sun_path);
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    unlink(fresh);
    mode_t old = umask(0177);
    int result = fd < 0 ? -1 : bind(fd, (struct sockaddr *)&address, sizeof address);
    umask(old);
    if (result == 0)
        result = listen(fd, 4096) < 0 ? -1 : rename(fresh, path);
    g_free(fresh);
    if (result < 0) {
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno), "cannot listen on %s: %s",
                    path, g_strerror(errno));
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    struct listener *l = g_new0(struct listener, 1);
    l->fd = fd;
    l->path = g_strdup(path);
    l->accepted = accepted;
    l->data = data;
    listener_watch(l);
    return l;
}

void listener_free(struct listener *l, gboolean keep)
{
    if (!l)
        return;
    fd_watch_free(l->watch);
    if (l->retry)
        g_source_remove(l->retry);
    close(l->fd);
    if (!keep)
        unlink(l->path);
    g_free(l->path);
    g_free(l);
}
