/* SPDX-License-Identifier: MIT */
/* News of service files, by inotify: of directories that exist, of those that do not exist yet,
 * and of links on the way to them that are switched over. */
#pragma once

#include <glib.h>
#include <stdbool.h>

struct dir_watch;

/* news is called from the main loop whenever dir_watch_take() would say true. complete: a file is
 * there, written to its end or moved to its place (else one was begun or went, and more may
 * follow). Without inotify (limits of the user) nothing is ever called, and the log says so. */
struct dir_watch *dir_watch_new(void (*news)(bool complete, void *data), void *data);
void dir_watch_free(struct dir_watch *w);

/* From now on these (absolute paths, copied) and no others. */
void dir_watch_set(struct dir_watch *w, const GPtrArray *dirs);

/* True when *.service files in the directories may have changed since the last call. To be
 * called before reading them: what changes from then on is news again. */
bool dir_watch_take(struct dir_watch *w);

/* True when nothing can happen in the directories without news (of file systems that have news at
 * all: not those of the network). */
bool dir_watch_is_complete(const struct dir_watch *w);
