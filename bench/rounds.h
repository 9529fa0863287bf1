/* bench/rounds.h - things that are compared take turns, so that a machine which changes its speed
 * changes it for all of them.
 *
 * A round calls one of them for a while; its figure is the median of its rounds. No hub code. */
#pragma once

#include <stddef.h>

typedef struct contender {
    void (*once)(void *user);
    void *user;
    size_t ops;     /* operations, or bytes, in one call */
    double ns;      /* set: the median time of one of those */
    size_t repeats; /* set: calls in a round */
} contender_t;

/* Rounds of all, for about so long; at least five of each. */
void rounds_take(contender_t *contenders, size_t count, double seconds);
