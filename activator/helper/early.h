/* SPDX-License-Identifier: MIT */
/*
 * What a launch helper does before libc has set itself up: the plain start, in which an activator
 * listens, takes the request and says that the name is owned. That is a dozen system calls, and
 * libc's own beginning (dozens of page faults, and CPUID, which a virtual machine traps) takes
 * several times as long; the caller waits for it. Whatever is not plain is left to main():
 * early() returns, libc's _start runs as if it had been the first, and the same is done again
 * by the code that knows what to say about it.
 *
 * So the rules of these files: no function of libc (its variants are chosen by relocations that
 * have not been applied), no errno, no stack protector (both are thread-local), no table of
 * addresses. They are compiled freestanding, and a test sees to it that they refer to nothing
 * outside. x86-64 only: elsewhere, and in builds with a sanitizer, main() does all of it.
 */
#pragma once

#include <stdbool.h>

/* True: early_fd is a connection to the activator, checked, over which the request has been sent;
 * the first message has not been taken from it yet. For the setuid helper it is EARLY_FD. */
#define EARLY_FD 3
#ifdef EARLY
extern bool early_asked;
extern int early_fd;
#else
enum { early_asked = false, early_fd = -1 };
#endif

/* Called with the stack as the kernel made it: argc, argv, NULL, environment, NULL. Returns when
 * main() has to do it, with no other descriptor left open than that; else it ends the process. */
__attribute__((used)) void early(const long *stack);
