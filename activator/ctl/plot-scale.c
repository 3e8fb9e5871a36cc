/* SPDX-License-Identifier: MIT */
#include "ctl/plot.h"

/* Idle time that is cut: the larger of this and a part of the busy time. */
#define CUT_USEC  100000
#define CUT_PART  4
#define GAP       28.0
#define GAPS_MOST 0.3 /* of the width, for all cuts together */
#define MARGIN    500 /* µs behind the end of a burst */

uint64_t plot_end_of(const struct plot_run *run)
{
    uint64_t end = run->requested;

    end = MAX(end, run->spawned);
    end = MAX(end, run->connected);
    return MAX(end, run->owned ? run->owned : run->ended);
}

/* The sum of all time in which something was being started. */
static uint64_t busy_time(const GPtrArray *runs)
{
    uint64_t until = 0;
    uint64_t sum = 0;

    for (guint i = 0; i < runs->len; i++) {
        const struct plot_run *run = g_ptr_array_index(runs, i);
        uint64_t from = MAX(run->requested, until);
        uint64_t end = plot_end_of(run);

        if (end > from)
            sum += end - from;
        until = MAX(until, end);
    }
    return sum;
}

static void find_bursts(struct plot_scale *scale, const GPtrArray *runs)
{
    uint64_t cut = MAX((uint64_t)CUT_USEC, busy_time(runs) / CUT_PART);

    for (guint i = 0; i < runs->len; i++) {
        const struct plot_run *run = g_ptr_array_index(runs, i);
        uint64_t end = plot_end_of(run) + MARGIN;
        struct plot_burst *last =
            scale->bursts->len
                ? &g_array_index(scale->bursts, struct plot_burst, scale->bursts->len - 1)
                : NULL;

        if (last && run->requested < last->end + cut) {
            last->end = MAX(last->end, end);
        } else {
            struct plot_burst burst = {run->requested, end, 0};

            g_array_append_val(scale->bursts, burst);
        }
    }
}

struct plot_scale *plot_scale_new(const GPtrArray *runs, double x, double width)
{
    struct plot_scale *scale = g_new0(struct plot_scale, 1);
    double shown = 0;
    guint cuts;

    scale->bursts = g_array_new(FALSE, TRUE, sizeof(struct plot_burst));
    find_bursts(scale, runs);
    for (guint i = 0; i < scale->bursts->len; i++) {
        const struct plot_burst *burst = &g_array_index(scale->bursts, struct plot_burst, i);

        shown += (double)(burst->end - burst->begin);
    }
    cuts = scale->bursts->len > 1 ? scale->bursts->len - 1 : 0;
    scale->gap = cuts ? MIN(GAP, width * GAPS_MOST / cuts) : 0;
    scale->pixels_per_usec = shown > 0 ? (width - scale->gap * cuts) / shown : 1;
    for (guint i = 0; i < scale->bursts->len; i++) {
        struct plot_burst *burst = &g_array_index(scale->bursts, struct plot_burst, i);

        burst->x = x;
        x += (double)(burst->end - burst->begin) * scale->pixels_per_usec + scale->gap;
    }
    return scale;
}

void plot_scale_free(struct plot_scale *scale)
{
    g_array_free(scale->bursts, TRUE);
    g_free(scale);
}

double plot_scale_x(const struct plot_scale *scale, uint64_t time)
{
    double x = 0;

    for (guint i = 0; i < scale->bursts->len; i++) {
        const struct plot_burst *burst = &g_array_index(scale->bursts, struct plot_burst, i);

        if (i > 0 && time < burst->begin)
            break;
        time = time < burst->begin ? burst->begin : time;
        x = burst->x + (double)(MIN(time, burst->end) - burst->begin) * scale->pixels_per_usec;
    }
    return x;
}

uint64_t plot_scale_step(const struct plot_scale *scale, double pixels)
{
    static const unsigned factors[] = {1, 2, 5};

    for (uint64_t unit = 1000; unit < UINT64_C(10000000000); unit *= 10) {
        for (size_t i = 0; i < G_N_ELEMENTS(factors); i++) {
            if ((double)(unit * factors[i]) * scale->pixels_per_usec >= pixels)
                return unit * factors[i];
        }
    }
    return UINT64_C(10000000000);
}
