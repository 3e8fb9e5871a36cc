/* SPDX-License-Identifier: MIT */
/* Where this project's other programs lie: beside each other in a build folder when the
 * calling program itself runs from one, else where they are installed. Libc only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Environment of a spare reaper: one variable of so many bytes, room for the title that it writes
 * over its arguments and environment (the longest bus name and what stands before it). */
#define SPARE_TITLE_ROOM 328

enum program {
    PROGRAM_ACTIVATORD,
    PROGRAM_REAPER,
    PROGRAM_LAUNCH_HELPER_SESSION,
    PROGRAM_SESSION,
    PROGRAM_CTL,
};

/* Writes the absolute path of a program to path[size]. A caller whose own executable lies in a
 * folder activator/<role>/ of a build folder (it holds build.ninja two levels up) gets the one of
 * that build, anybody else the installed one. Not for a setuid program: what a build folder
 * holds is its owner's. Returns 0, -ENAMETOOLONG, or a negative errno of reading
 * /proc/self/exe. */
int program_path(enum program which, char *path, size_t size);
