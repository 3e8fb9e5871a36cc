/* SPDX-License-Identifier: MIT */
/* The read end of a pipe that nobody writes to: its end says that the session is over. */
#pragma once

#include "reaper/loop.h"

struct lifeline {
    struct loop *loop;
    struct loop_source source;
    void (*over)(void *data); /* called once */
    void *data;
};

/* fd -1: none, nothing is ever called. Returns 0 or a negative errno. */
int lifeline_watch(struct lifeline *l, struct loop *loop, int fd, void (*over)(void *data),
                   void *data);
