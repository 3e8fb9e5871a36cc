/* SPDX-License-Identifier: MIT */
/* Descriptors that the main loop waits for to become readable. All of them are one source of
 * GLib's: it would look at each of a thousand connections in every turn, and go round once more
 * whenever a source comes, goes or is dispatched. */
#pragma once

#include <glib.h>
#include <stdint.h>

struct fd_watch;

/* Calls ready from the main loop while fd is readable or over; events as of epoll_wait(2). ready
 * may free any watch, its own too. fd stays the caller's and has to be open until the watch is
 * freed; no two watches for one fd. Never NULL. */
struct fd_watch *fd_watch_new(int fd, void (*ready)(int fd, uint32_t events, void *data),
                              void *data);

/* Accepts NULL. */
void fd_watch_free(struct fd_watch *w);
