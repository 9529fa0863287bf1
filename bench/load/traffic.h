/* bench/load/traffic.h - publishes at a pace, until all of them have come everywhere. */
#pragma once

#include <stdint.h>

#include "bench/load/load.h"

/* Who publishes what, and where. */
typedef struct traffic {
    load_t *load;
    say_t say;
    /* Picks the next publish; `after` is the lane of one that is over and makes room for it, NULL:
     * there is none. */
    lane_t *(*next)(struct traffic *traffic, const lane_t *after, talk_t **ret_talk);
    /* Called once a turn; says in how many ns it wants to be called again. NULL: nothing else
     * happens. `last` when everything is over: what goes on beside it is to end, and true comes
     * back when it has. */
    bool (*beside)(struct traffic *traffic, uint64_t now_ns, bool last, uint64_t *ret_wait_ns);
    /* Called around each run, outside of what is measured; NULL: nothing to do. */
    void (*before)(struct traffic *traffic);
    void (*after)(struct traffic *traffic);
    uint64_t count; /* publishes, ever */
} traffic_t;

/* `publishes` of them, or as many as fit into `duration_ns` where that is zero, under --window or
 * --rate; then waits for the deliveries. False: nothing came for --lost-ms, and what was missing is
 * lost. */
bool traffic_run(traffic_t *traffic, uint64_t duration_ns, uint64_t publishes);

/* Warm-up and runs, each with its figures. */
void traffic_measure(traffic_t *traffic);

/* The `next` of a fan-out: a walk over topics and publishers at once. */
lane_t *fanout_next(traffic_t *traffic, const lane_t *after, talk_t **ret_talk);
