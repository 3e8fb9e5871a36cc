/* SPDX-License-Identifier: MIT */
/* A timeline of activations as SVG: one bar a run with its phases. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct plot_run {
    char *name;
    char *error;        /* of a failed one, or NULL */
    uint64_t requested; /* µs since the epoch; the others are 0 when unknown */
    uint64_t spawned;
    uint64_t connected;
    uint64_t owned;
    uint64_t ended; /* end of the bar when the name was never owned */
    bool failed;
};

/* Draws the runs (struct plot_run *, sorted by `requested`). Newly allocated. */
char *plot_draw(const GPtrArray *runs);

/* --- the axis: time to columns of pixels ---------------------------------------------------- */

/* Stretches of time in which nothing was being started are cut out: a session lasts hours, its
 * starts take milliseconds. What is left between two cuts is a burst. */
struct plot_burst {
    uint64_t begin, end;
    double x; /* of begin */
};

struct plot_scale {
    GArray *bursts;
    double pixels_per_usec;
    double gap; /* pixels of one cut */
};

uint64_t plot_end_of(const struct plot_run *run);
struct plot_scale *plot_scale_new(const GPtrArray *runs, double x, double width);
void plot_scale_free(struct plot_scale *scale);
double plot_scale_x(const struct plot_scale *scale, uint64_t time);
/* A round number of µs that takes at least `pixels` pixels. */
uint64_t plot_scale_step(const struct plot_scale *scale, double pixels);
