/* SPDX-License-Identifier: MIT */
/* Whether accounts come from local files alone, and whether those are still what they were: only
 * then may the answer to who a user is be remembered. */
#pragma once

#include <glib.h>
#include <sys/types.h>

struct user_files {
    /* Accounts come from these files alone, and none of them was written just now. */
    gboolean alone;
    struct {
        guint64 device, inode, size;
        gint64 changed; /* ns since the epoch */
    } file[3];
};

/* Looks at root's (in use: "") /etc/nsswitch.conf, /etc/passwd and /etc/group. */
void user_files_look(struct user_files *f, const char *root);

/* Both looks found them alone and the same. */
gboolean user_files_same(const struct user_files *a, const struct user_files *b);
