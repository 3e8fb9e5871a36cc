/* SPDX-License-Identifier: MIT */
#include "reaper/privileges.h"

#include <errno.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef PR_CAP_AMBIENT
#define PR_CAP_AMBIENT           47
#define PR_CAP_AMBIENT_CLEAR_ALL 4
#endif

/* On architectures with 16-bit calls of the old name the 32-bit ones are meant. */
#ifdef SYS_setgroups32
#define CALL_SETGROUPS SYS_setgroups32
#define CALL_SETRESGID SYS_setresgid32
#define CALL_SETRESUID SYS_setresuid32
#else
#define CALL_SETGROUPS SYS_setgroups
#define CALL_SETRESGID SYS_setresgid
#define CALL_SETRESUID SYS_setresuid
#endif

static int caps_get(struct __user_cap_data_struct data[2])
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};

    return syscall(SYS_capget, &header, data) < 0 ? -errno : 0;
}

static int caps_set(const struct __user_cap_data_struct data[2])
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};

    return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

int privileges_become(uint32_t uid, uint32_t gid, const gid_t *groups, uint32_t ngroups)
{
    struct __user_cap_data_struct caps[2];

    /* Ambient capabilities are a subset of the inheritable ones, so clearing these clears both;
     * asked for as well, as a kernel before 4.3 answers EINVAL and has none. */
    syscall(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0UL, 0UL, 0UL);
    int result = caps_get(caps);
    if (result == 0) {
        caps[0].inheritable = caps[1].inheritable = 0;
        result = caps_set(caps);
    }
    if (result < 0)
        return result;
    if (syscall(CALL_SETGROUPS, (unsigned long)ngroups, groups) < 0)
        return -errno;
    if (syscall(CALL_SETRESGID, gid, gid, gid) < 0)
        return -errno;
    if (syscall(CALL_SETRESUID, uid, uid, uid) < 0)
        return -errno;
    /* Securebits inherited from who started us could have kept them. */
    if (uid != 0) {
        memset(caps, 0, sizeof caps);
        result = caps_set(caps);
    }
    return result;
}

void privileges_keep_kill(void)
{
    struct __user_cap_data_struct caps[2];

    syscall(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0UL, 0UL, 0UL);
    if (caps_get(caps) == 0) {
        caps[0].permitted &= 1u << CAP_KILL;
        caps[0].effective = caps[0].permitted;
        caps[1].permitted = caps[1].effective = 0;
        caps[0].inheritable = caps[1].inheritable = 0;
        caps_set(caps);
    }
    prctl(PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL);
}
