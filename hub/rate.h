/* hub/rate.h - private: token buckets in whole numbers. Pure.
 *
 * A bucket is one number, its debt: what was taken and has not been given back by time yet. Time is
 * paid in for all buckets of a connection at once, as the milliseconds since it was last heard, so
 * no bucket has a clock of its own, and none can be confused by one that wraps. */
#pragma once

#include "bus/base.h"

/* How fast a debt is paid, and how much of it may stand. Zeroed: no limit. */
typedef struct hub__rate {
    uint32_t cost;   /* of a token, in the units of the debt */
    uint32_t limit;  /* a token is refused that would make the debt larger */
    uint32_t per_ms; /* paid back */
} hub__rate_t;

/* At most `burst` at once and `per_s` a second in the long run; either may be HUB_OFF: no limit.
 * Exact up to a burst of 4,000,000; past that, per_s is kept to what is whole in a finer or coarser
 * unit of the debt, at least one unit a millisecond. */
hub__rate_t hub__rate_of(size_t per_s, size_t burst);

/* False: there is none, and none was taken. */
static inline bool hub__rate_take(uint32_t *debt, const hub__rate_t *rate)
{
    if (*debt + rate->cost > rate->limit)
        return false;
    *debt += rate->cost;
    return true;
}

/* Takes whether there is enough or not. */
void hub__rate_charge(uint32_t *debt, const hub__rate_t *rate, size_t tokens);
/* Gives one back. */
void hub__rate_credit(uint32_t *debt, const hub__rate_t *rate);
/* Until so many more can be taken; 0: now. */
uint32_t hub__rate_wait_ms(uint32_t debt, const hub__rate_t *rate, size_t tokens);

/* ---- of a connection ---- */

typedef struct hub__rates {
    hub__rate_t messages, bytes, joins, controls;
} hub__rates_t;

typedef struct hub__debts {
    uint32_t messages, bytes, joins, controls;
} hub__debts_t;

void hub__debts_pay(hub__debts_t *debts, const hub__rates_t *rates, uint32_t elapsed_ms);

/* ---- who goes on ---- */

/* Refusals of one kind to one connection. An episode begins with one and ends when none follows
 * within a second. */
typedef struct hub__over {
    uint64_t since_ms, last_ms; /* 0, 0: there was none */
} hub__over_t;

typedef enum hub__over_verdict {
    HUB__OVER_BEGINS,
    HUB__OVER_GOES_ON,
    HUB__OVER_TOO_LONG, /* for five seconds */
} hub__over_verdict_t;

/* One more. `now_ms` is not 0. */
hub__over_verdict_t hub__over_add(hub__over_t *over, uint64_t now_ms);
