/* SPDX-License-Identifier: MIT */
/* Giving up what is not needed. Only raw calls: used between clone and exec. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

/* In the child: becomes the user with no inheritable and no ambient capability; the bounding
 * set is untouched, so a service of root is root. Returns 0 or a negative errno. */
int privileges_become(uint32_t uid, uint32_t gid, const gid_t *groups, uint32_t ngroups);

/* In a reaper of the system bus: keeps CAP_KILL and nothing else. */
void privileges_keep_kill(void);
