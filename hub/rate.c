/* SPDX-License-Identifier: MIT */
/* Token buckets: how a rate becomes whole numbers of 32 bits, and what is done with them. */
#include "hub/rate.h"

#include "hub/limits.h"

#define LIMIT_MAX 4000000000u /* what a charge adds beyond it still fits */
#define OVER_GAP_MS 1000u
#define OVER_MAX_MS 5000u

hub__rate_t hub__rate_of(size_t per_s, size_t burst)
{
    uint64_t cost = 1000, per_ms; /* per_s tokens a second are per_s thousandths a millisecond */

    if (per_s == HUB_OFF || burst == HUB_OFF)
        return (hub__rate_t){0};
    while (burst * cost > LIMIT_MAX && cost > 1)
        cost /= 10;
    per_ms = per_s * cost / 1000;
    return (hub__rate_t){
        .cost = (uint32_t)cost,
        .limit = (uint32_t)(burst * cost),
        .per_ms = per_ms != 0 ? (uint32_t)per_ms : 1,
    };
}

void hub__rate_charge(uint32_t *debt, const hub__rate_t *rate, size_t tokens)
{
    uint64_t after;

    if (rate->cost == 0)
        return;
    after = tokens > UINT32_MAX ? UINT32_MAX : *debt + (uint64_t)tokens * rate->cost;
    *debt = after > UINT32_MAX ? UINT32_MAX : (uint32_t)after;
}

void hub__rate_credit(uint32_t *debt, const hub__rate_t *rate)
{
    *debt = *debt > rate->cost ? *debt - rate->cost : 0;
}

uint32_t hub__rate_wait_ms(uint32_t debt, const hub__rate_t *rate, size_t tokens)
{
    uint64_t after = debt + (uint64_t)tokens * rate->cost;

    if (after <= rate->limit || rate->per_ms == 0)
        return 0;
    return (uint32_t)((after - rate->limit + rate->per_ms - 1) / rate->per_ms);
}

static void pay(uint32_t *debt, const hub__rate_t *rate, uint32_t elapsed_ms)
{
    uint64_t paid = (uint64_t)rate->per_ms * elapsed_ms;

    *debt = paid < *debt ? *debt - (uint32_t)paid : 0;
}

void hub__debts_pay(hub__debts_t *debts, const hub__rates_t *rates, uint32_t elapsed_ms)
{
    pay(&debts->messages, &rates->messages, elapsed_ms);
    pay(&debts->bytes, &rates->bytes, elapsed_ms);
    pay(&debts->joins, &rates->joins, elapsed_ms);
    pay(&debts->controls, &rates->controls, elapsed_ms);
}

hub__over_verdict_t hub__over_add(hub__over_t *over, uint64_t now_ms)
{
    bool begins = over->last_ms == 0 || now_ms - over->last_ms > OVER_GAP_MS;

    over->last_ms = now_ms;
    if (begins) {
        over->since_ms = now_ms;
        return HUB__OVER_BEGINS;
    }
    return now_ms - over->since_ms >= OVER_MAX_MS ? HUB__OVER_TOO_LONG : HUB__OVER_GOES_ON;
}
