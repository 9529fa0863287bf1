/* bench/load/metrics.h - counters that a server publishes in Prometheus' text format. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define METRICS_BYTES 262144u

/* Counters as they were at one moment. */
typedef struct metrics {
    char *text; /* NULL: nobody asked */
} metrics_t;

/* GET of an http:// address, which takes 5 s at most. What goes wrong ends the program. Owned by
 * the caller (metrics_dispose). */
metrics_t metrics_fetch(const char *url);
void metrics_dispose(metrics_t *metrics);
/* The sum of a counter's values over its labels; false: there is no such counter. */
bool metrics_value(const metrics_t *metrics, const char *name, double *ret_value);
