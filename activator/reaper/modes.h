/* SPDX-License-Identifier: MIT */
/* The three lives of this program. Each returns an exit status. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define PASS_MAX 16

struct options {
    const char *folder;   /* --spare */
    const char *run_name; /* --run */
    bool top;
    int lifeline; /* -1: none */
    bool foreground;
    bool keep_detached;
    unsigned stop_timeout; /* ms */
    int pass[PASS_MAX];
    size_t npass;
    char **command; /* after "--" */
};

int spare_main(const struct options *o);
int top_main(const struct options *o);
int run_one_main(const struct options *o);
