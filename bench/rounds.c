/* SPDX-License-Identifier: MIT */
/* A round is long enough that looking at the clock does not count, and short enough that many fit
 * in before the machine thinks of something else. */
#include "bench/rounds.h"

#include <stdbool.h>
#include <stdlib.h>

#include "bench/report.h"

#define ROUND_S 1e-4
#define ROUNDS_MIN 5u
#define ROUNDS_MAX 2000u

static double time_of(const contender_t *contender)
{
    double began_s = bench_now_s();

    for (size_t i = 0; i != contender->repeats; ++i)
        contender->once(contender->user);
    return bench_now_s() - began_s;
}

/* Warms it up as well. */
static void find_repeats(contender_t *contender)
{
    for (contender->repeats = 1; time_of(contender) < ROUND_S; contender->repeats *= 2)
        continue;
}

static int by_size(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;

    return (left > right) - (left < right);
}

static double median_of(double *values, size_t count)
{
    qsort(values, count, sizeof(*values), by_size);
    return values[count / 2];
}

void rounds_take(contender_t *contenders, size_t count, double seconds)
{
    double *times = calloc(count * ROUNDS_MAX, sizeof(*times)), until;
    size_t rounds = 0;

    if (times == NULL)
        bench_fail("out of memory");
    for (size_t i = 0; i != count; ++i)
        find_repeats(&contenders[i]);
    until = bench_now_s() + seconds;
    for (; rounds != ROUNDS_MAX && (rounds < ROUNDS_MIN || bench_now_s() < until); ++rounds) {
        for (size_t i = 0; i != count; ++i) {
            size_t turn = (i + rounds) % count; /* nobody always follows the same one */

            times[turn * ROUNDS_MAX + rounds] = time_of(&contenders[turn]);
        }
    }
    for (size_t i = 0; i != count; ++i)
        contenders[i].ns = median_of(&times[i * ROUNDS_MAX], rounds) * 1e9 /
                           (double)(contenders[i].repeats * contenders[i].ops);
    free(times);
}
