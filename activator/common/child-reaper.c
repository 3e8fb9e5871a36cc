/* SPDX-License-Identifier: MIT */
#include "common/child-reaper.h"

#include <errno.h>
#include <sys/prctl.h>

int child_reaper_become(void)
{
    int on = 0;

    /* A seccomp filter may answer EPERM or ENOSYS where the kernel would say EINVAL; each of
     * them only means that this interface is not to be had. Reading back guards against a
     * filter or a kernel that says yes and does nothing. */
    if (prctl(PR_SET_CHILD_REAPER, 1UL, 0UL, 0UL, 0UL) == 0 &&
        prctl(PR_GET_CHILD_REAPER, &on, 0UL, 0UL, 0UL) == 0 && on == 1)
        return CHILD_REAPER_PATCHED;
    on = 0;
    if (prctl(PR_SET_CHILD_SUBREAPER, 1UL, 0UL, 0UL, 0UL) != 0)
        return -errno;
    if (prctl(PR_GET_CHILD_SUBREAPER, &on, 0UL, 0UL, 0UL) != 0)
        return -errno;
    return on ? CHILD_REAPER_SUBREAPER : -ENOSYS;
}

const char *child_reaper_kind_name(int kind)
{
    switch (kind) {
    case CHILD_REAPER_PATCHED:
        return "child-reaper";
    case CHILD_REAPER_SUBREAPER:
        return "child-subreaper";
    default:
        return "none";
    }
}
