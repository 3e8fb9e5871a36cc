/* SPDX-License-Identifier: MIT */
/* The connection to the activator: over its socket DIR/reapers, made again whenever that
 * appears, or over a descriptor that was handed over (top reaper). */
#pragma once

#include "common/message.h"
#include "reaper/loop.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/un.h>

struct link_handler {
    /* A new connection stands: say hello. */
    void (*up)(void *data);
    /* One message. fds as of message_receive(): may be taken by setting them to -1. */
    void (*message)(void *data, struct message_reader *r, int fds[MESSAGE_MAX_FDS]);
    /* The socket has room again. */
    void (*writable)(void *data);
    /* The connection is over. */
    void (*down)(void *data);
    void *data;
};

struct link {
    struct loop *loop;
    const struct link_handler *handler;
    struct loop_source socket;
    struct loop_source watch; /* inotify */
    struct loop_timer retry;
    struct loop_timer send_again;
    uint64_t backoff; /* ms */
    uint64_t since;   /* ms: this connection */
    bool persistent;  /* connect again */
    bool refused;     /* by the activator that listens now */
    bool wants_out;
    struct sockaddr_un address;
    char folder[sizeof((struct sockaddr_un *)0)->sun_path];
};

/* For DIR/reapers (folder NULL: only for link_attach()). -ENAMETOOLONG when its path does not fit
 * a socket address. */
int link_init(struct link *l, struct loop *loop, const struct link_handler *handler,
              const char *folder);
/* One attempt to connect; up() is called on success. 0 or a negative errno. */
int link_connect(struct link *l);
/* From now on: connect whenever it is possible (when not connected, at once). */
void link_persist(struct link *l);
/* Takes over a connected descriptor; up() is called. */
int link_attach(struct link *l, int fd);
/* Closes; down() is called, and a persistent link tries again. */
void link_drop(struct link *l);
/* The activator does not want us: not again before a new socket appears. */
void link_refuse(struct link *l);

static inline bool link_is_up(const struct link *l)
{
    return l->socket.fd >= 0;
}

/* Sends. 0 or a negative errno: not sent. */
int link_send(struct link *l, const struct message *m, const int *fds, size_t nfds);
/* After a round of sending: result is 0 when all is said, 1 when that was enough for a turn, or
 * the error that ended it. writable() will be called when it can go on; not when the connection
 * is over, which shows on the reading side. */
void link_proceed(struct link *l, int result);
/* Handles messages that have arrived, at most `most`. */
void link_read(struct link *l, unsigned most);
/* Where messages are built, one at a time: they are large, and one is enough for one thread. */
struct message *link_message(void);
/* The buffer for messages is given back to the system: after a large one. */
void link_trim(void);
/* Touches what the next message and the next answer need. */
void link_warm(void);
