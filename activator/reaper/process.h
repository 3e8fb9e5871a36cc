/* SPDX-License-Identifier: MIT */
/* What all modes do to the reaper's own process: descriptors, signals, title, words on stderr. */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXIT_USER   100 /* wrong use */
#define EXIT_SYSTEM 111 /* the system refused what cannot be done without */
#define EXIT_NO_RUN 112 /* a warm reaper left before it had a run */

/* One line on stderr, dropped when stderr would block: nobody who does not read it may stop a
 * reaper. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Opens /dev/null on those of 0 to 2 that are closed, closes everything from 3 on but keep[]. */
void descriptors_clean(const int *keep, size_t nkeep);

/* Blocks every signal that can be, SIGCHLD set to its default (an inherited "ignored" would
 * make the kernel throw all exit statuses away). *found gets the mask as it was. Returns a
 * non-blocking signalfd for SIGCHLD, SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGCONT or a negative
 * errno. */
int signals_take(sigset_t *found);

/* All dispositions to the default, SIGPIPE ignored: no handler exists in this program, so what
 * it spawns needs nothing reset. plain: SIGPIPE to its default as well. */
void signals_default(bool plain);

/* Where the title is written: over the arguments, and with `whole` over the environment too,
 * which is gone after that. Copies nothing: who needs the arguments copies them first. */
void title_init(int argc, char **argv, bool whole);
/* "dbus-activator-reaper: WHAT", in ps and in comm. */
void title_set(const char *what);

/* Makes the page that holds this byte one of our own, as writing to it would; the byte stays. */
static inline void page_touch(void *byte)
{
    volatile char *at = byte;
    char held = *at;

    *at = held;
}

/* µs since the epoch. */
uint64_t time_now(void);

/* Closes on exec from now on. Returns 0, or a negative errno when fd is not open. */
int descriptor_own(int fd);
