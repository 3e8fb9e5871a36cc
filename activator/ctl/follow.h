/* SPDX-License-Identifier: MIT */
/* Waiting for more: what `monitor` and `log -f` sleep on. They end in good order (CTL_DONE) on
 * SIGINT, SIGTERM, SIGHUP and when nobody reads their output any more, and with a message and
 * CTL_NO_ACTIVATOR when the activator or the bus is gone. */
#pragma once

#include "ctl/ctl.h"

enum follow_event {
    FOLLOW_MESSAGE, /* *message is a signal of the activator; the caller unrefs it */
    FOLLOW_OTHER,   /* the other descriptor is readable, or the time is over */
    FOLLOW_END,     /* leave with follow->code */
};

struct follow {
    struct ctl *ctl;
    int signals;
    int code;
    char *owner; /* unique name of the activator that is followed */
};

/* Blocks the signals and watches the activator's name and, if asked, its signals. Returns an
 * enum ctl_exit. */
int follow_begin(struct follow *follow, struct ctl *ctl, bool with_signals);
/* Waits. other (-1: none) is a second descriptor, timeout in ms (-1: none). */
enum follow_event follow_wait(struct follow *follow, int other, int timeout, DBusMessage **message);
void follow_end(struct follow *follow);
