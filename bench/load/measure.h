/* bench/load/measure.h - what happened between two moments, as figures of a run. */
#pragma once

#include <stdint.h>

#include "bench/load/load.h"
#include "bench/load/metrics.h"

typedef struct mark {
    uint64_t ns, own_ns, deliveries, publishes, reads, joins;
    process_cpu_t server;
    metrics_t metrics;
    bool has_peak; /* of the server's memory since then */
} mark_t;

/* The server's counters are read outside of what lies between the two, its CPU on the edge. */
void measure_begin(load_t *load, mark_t *ret_mark);
/* Adds the figures of a run with deliveries. */
void measure_end(load_t *load, mark_t *mark);
/* Adds those of `conns` connections that have entered. */
void measure_end_of_entering(load_t *load, mark_t *mark, uint64_t conns);
/* What the figures of all runs do not say: who was the bottleneck. */
void measure_note_bottleneck(load_t *load);
/* Waits until the server has nothing to do any more, so that what was before is not counted. */
void measure_await_quiet(load_t *load);
