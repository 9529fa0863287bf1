/* SPDX-License-Identifier: MIT */
/* The count of a batch and its number are one word, so that workers share a batch without a lock.
 */
#include "hub/drain.h"

#include <sodium.h>
#include <stdio.h>

#define COUNT_BITS 32
#define COUNT_MASK ((UINT64_C(1) << COUNT_BITS) - 1)
#define LOG_MS 1000

void hub__drain_init(hub__drain_t *drain, size_t batch, uint64_t batch_ms)
{
    *drain = (hub__drain_t){.batch = batch, .batch_ms = batch_ms};
}

bool hub__drain_begin(hub__drain_t *drain, uint64_t now_ms)
{
    uint64_t never = 0;

    if (!atomic_compare_exchange_strong(&drain->began_ms, &never, now_ms))
        return false;
    atomic_store(&drain->logged_ms, now_ms);
    return true;
}

/* Each worker has a clock of its own, which may have been read before the drain began. */
static uint64_t batch_at(const hub__drain_t *drain, uint64_t now_ms)
{
    uint64_t began_ms = atomic_load(&drain->began_ms);

    return now_ms > began_ms ? (now_ms - began_ms) / drain->batch_ms : 0;
}

size_t hub__drain_take(hub__drain_t *drain, size_t wanted, uint64_t now_ms)
{
    uint64_t told = atomic_load(&drain->told), next, number = batch_at(drain, now_ms);
    size_t granted;

    if (drain->batch == HUB_OFF)
        return wanted;
    do {
        /* a slow clock has its share of the batch that others are at */
        if (told >> COUNT_BITS >= number)
            next = told;
        else
            next = number << COUNT_BITS;
        granted = drain->batch - (size_t)(next & COUNT_MASK);
        if (granted > wanted)
            granted = wanted;
        next += granted;
    } while (!atomic_compare_exchange_weak(&drain->told, &told, next));
    return granted;
}

uint64_t hub__drain_next(const hub__drain_t *drain, uint64_t now_ms)
{
    return atomic_load(&drain->began_ms) + (batch_at(drain, now_ms) + 1) * drain->batch_ms;
}

bool hub__drain_may_log(hub__drain_t *drain, uint64_t now_ms)
{
    uint64_t logged_ms = atomic_load(&drain->logged_ms);

    return now_ms >= logged_ms + LOG_MS &&
           atomic_compare_exchange_strong(&drain->logged_ms, &logged_ms, now_ms);
}

hub_str_t hub__restart_reason(size_t within_ms, char buffer[HUB__RESTART_REASON])
{
    int len;

    if (within_ms == HUB_OFF)
        return (hub_str_t){0};
    len = snprintf(buffer, HUB__RESTART_REASON, "restart retry_ms=%u",
                   (unsigned)randombytes_uniform((uint32_t)within_ms));
    return hub_str_n(buffer, (size_t)len);
}
