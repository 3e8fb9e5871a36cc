/* SPDX-License-Identifier: MIT */
/* One connection to another of our programs (reaper, top reaper, launch helper): whole messages
 * in and out in the main loop, nothing ever waited for. */
#pragma once

#include "common/message.h"

#include <glib.h>
#include <sys/types.h>

struct fd_watch;
struct link;

struct link_handler {
    /* One message. fds as of message_receive(); the handler may take them by setting them to
     * -1, the rest is closed after it. May call link_free() on this link. */
    void (*message)(struct link *l, struct message_reader *r, int fds[MESSAGE_MAX_FDS], void *data);
    /* The peer is gone, or sent what is no message of ours (`why` says so, NULL for an ordinary
     * end). The link is freed after it. */
    void (*closed)(struct link *l, const char *why, void *data);
};

struct link {
    int fd;
    pid_t pid; /* of the peer, by SO_PEERCRED at the connect; 0 unknown */
    uid_t uid;
    const struct link_handler *handler;
    void *data;
    struct fd_watch *in;
    GSource *pause; /* instead of in, when there was no memory */
    GSource *out;
    guint16 version; /* of the protocol, that the peer speaks */
    GQueue *queue;   /* struct queued *, what the socket had no room for */
    gsize queued_bytes;
    gboolean in_handler;
    gboolean doomed;
    const char *broken; /* why nothing more is sent; it is closed for that in a moment */
};

/* Takes over fd (set non-blocking). Returns the link, never NULL. */
struct link *link_new(int fd, const struct link_handler *handler, void *data);

/* Closes and frees; safe inside the link's own handlers. Accepts NULL. */
void link_free(struct link *l);

/* Reads what has arrived by now, all of it; the link may be gone afterwards. Does nothing inside
 * the link's own handlers. */
void link_drain(struct link *l);

/* Sends in the version that the peer spoke last, or queues when the peer does not read or there is
 * no memory for it now. A peer that lets more than 4 MB pile up, or that a message cannot be sent
 * to, is dropped (closed is called from the main loop). fds are copied (nfds > 0 only). */
void link_send(struct link *l, struct message *m, const int *fds, gsize nfds);

/* A listening socket: SEQPACKET, mode 0600, at path (an old one is removed first). accepted gets
 * each new connection's descriptor (owned). Returns its source, or NULL with error set. */
struct listener;
struct listener *listener_new(const char *path, void (*accepted)(int fd, void *data), void *data,
                              GError **error);
/* Closes and unlinks the path. Accepts NULL. */
/* Accepts NULL. keep: the socket stays, refusing, for the next one to put its own in its place. */
void listener_free(struct listener *l, gboolean keep);
