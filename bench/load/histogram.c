/* SPDX-License-Identifier: MIT */
/* Averages hide what users feel. Millions of latencies can't be kept, so they are counted by size.
 */
#include "bench/load/histogram.h"

#include <math.h>

uint64_t histogram_upper(size_t bucket)
{
    unsigned shift;

    if (bucket < 128)
        return bucket;
    shift = (unsigned)(bucket / 64) - 1;
    return ((uint64_t)(bucket - 64 * (size_t)shift) << shift) + ((1ull << shift) - 1);
}

uint64_t histogram_percentile(const histogram_t *histogram, double share)
{
    uint64_t wanted = (uint64_t)ceil(share * (double)histogram->count), seen = 0;

    if (histogram->count == 0)
        return 0;
    for (size_t i = 0; i != HISTOGRAM_BUCKETS; ++i) {
        seen += histogram->buckets[i];
        if (seen >= wanted && seen != 0)
            return histogram_upper(i) < histogram->max ? histogram_upper(i) : histogram->max;
    }
    return histogram->max;
}

void histogram_merge(histogram_t *into, const histogram_t *from)
{
    for (size_t i = 0; i != HISTOGRAM_BUCKETS; ++i)
        into->buckets[i] += from->buckets[i];
    into->count += from->count;
    if (from->max > into->max)
        into->max = from->max;
}
