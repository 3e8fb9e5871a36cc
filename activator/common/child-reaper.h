/* SPDX-License-Identifier: MIT */
/*
 * Becoming a child reaper: the process that orphans below it are re-parented to.
 * The numbers of this project's kernel series (kernel/) are its public contract; stock kernels
 * answer EINVAL for them. The numbers 35 and 36 of the 2011 patch are PR_SET_MM and
 * PR_SET_CHILD_SUBREAPER today and are never used under their old meaning.
 */
#pragma once

#define PR_SET_CHILD_REAPER 0x53435250 /* "SCRP" */
#define PR_GET_CHILD_REAPER 0x47435250 /* "GCRP" */

enum child_reaper_kind {
    CHILD_REAPER_NONE = 0,
    CHILD_REAPER_SUBREAPER = 1, /* PR_SET_CHILD_SUBREAPER, Linux 3.4 */
    CHILD_REAPER_PATCHED = 2,   /* PR_SET_CHILD_REAPER of kernel/ */
};

/* Makes the calling process a child reaper by the best interface the running kernel has and
 * reads the attribute back. Returns the kind (> 0) or a negative errno when the kernel offers
 * neither. */
int child_reaper_become(void);

/* What to say, with strerror() of it, when that fails. */
#define CHILD_REAPER_NONE_TEXT                                                                     \
    "cannot become a child reaper, neither by PR_SET_CHILD_REAPER nor by PR_SET_CHILD_SUBREAPER "  \
    "(the kernel is older than 3.4, or a seccomp filter forbids it): %s"

/* "child-reaper", "child-subreaper" or "none". */
const char *child_reaper_kind_name(int kind);
