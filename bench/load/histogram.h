/* bench/load/histogram.h - durations counted in buckets that are as wide as they may be: exact
 * below 128 ns, at most 1/64 (1.6 %) of their value above.
 *
 * All zero is an empty one. A bucket is named by its upper edge, so that no percentile is told too
 * small. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_BUCKETS 3776u /* 128 exact ones, 64 for each further power of two */

typedef struct histogram {
    uint64_t count, max;
    uint64_t buckets[HISTOGRAM_BUCKETS];
} histogram_t;

static inline size_t histogram_bucket(uint64_t value)
{
    unsigned shift;

    if (value < 128)
        return (size_t)value;
    shift = 57u - (unsigned)__builtin_clzll(value);
    return 64 * (size_t)shift + (size_t)(value >> shift);
}

static inline void histogram_add(histogram_t *histogram, uint64_t value)
{
    ++histogram->buckets[histogram_bucket(value)];
    ++histogram->count;
    if (value > histogram->max)
        histogram->max = value;
}

/* The largest value that falls into it. */
uint64_t histogram_upper(size_t bucket);
/* At least `share` (0 to 1) of all values are not larger; 0 where there are none. */
uint64_t histogram_percentile(const histogram_t *histogram, double share);
void histogram_merge(histogram_t *into, const histogram_t *from);
