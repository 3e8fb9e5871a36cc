/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdint.h>
#include <sys/types.h>

/* In client.c. */
uint64_t now_ns(void);
_Noreturn void give_up(const char *what, const char *detail);

pid_t parent_of(pid_t pid);

/* Kills the children of this parent except one, which have to be count; answers how long it took
 * until the parent had waited for all of them. */
uint64_t end_orphans(pid_t parent, pid_t except, int count);

uint64_t bare_reap(int count);
