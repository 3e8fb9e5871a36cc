/* SPDX-License-Identifier: MIT */
/* Who a service's User= is, asked in a short-lived child: a directory service that hangs holds
 * up the one service that asks for it and nothing else. */
#pragma once

#include <glib.h>
#include <sys/types.h>

struct user_info {
    guint32 uid;
    guint32 gid;
    guint32 *groups; /* supplementary ones, the primary among them */
    guint ngroups;
    char *home; /* of the user; "" when there is none */
};

struct user_lookup;

/* Looks the user up by name (a number is a name too, as for getpwnam()). done is called once,
 * from the main loop: with info (borrowed), or with NULL and a text for people that says why.
 * Returns a handle, valid until done is called or it is cancelled. Several that ask for the same
 * user at the same time share one child. */
struct user_lookup *
user_lookup(const char *user,
            void (*done)(void *data, const struct user_info *info, const char *error), void *data);

/* The same at once and without a child: the last answer, when it came from local files (passwd
 * and group, no directory service) that have not changed since. NULL: it has to be looked up.
 * Borrowed, until the main loop runs again. */
const struct user_info *user_lookup_known(const char *user);

/* done will not be called. Ends the child when nobody waits for it any more. Accepts NULL. */
void user_lookup_cancel(struct user_lookup *lookup);
