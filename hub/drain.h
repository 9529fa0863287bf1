/* hub/drain.h - private: the pace at which a server that stops sends its connections away.
 *
 * Everybody at once would come back at once, to whoever serves them next. So `batch` of them, over
 * all workers, may be told within each `batch_ms`; what one worker does not take another may, what
 * nobody takes is not saved up. Time is passed in. Any thread. */
#pragma once

#include <stdatomic.h>

#include "hub/limits.h"

typedef struct hub__drain {
    size_t batch; /* HUB_OFF: no bound */
    uint64_t batch_ms;
    _Atomic uint64_t began_ms; /* 0: not yet */
    _Atomic uint64_t logged_ms;
    _Atomic uint64_t told; /* which batch this is, and how many were told in it */
} hub__drain_t;

void hub__drain_init(hub__drain_t *drain, size_t batch, uint64_t batch_ms);
/* Returns true to the first who says so. Before everything else. */
bool hub__drain_begin(hub__drain_t *drain, uint64_t now_ms);
/* How many of `wanted` connections may be told now; they count as told. */
size_t hub__drain_take(hub__drain_t *drain, size_t wanted, uint64_t now_ms);
/* When the next batch begins. */
uint64_t hub__drain_next(const hub__drain_t *drain, uint64_t now_ms);
/* Whether to log how far it is: once a second, for one of those who ask. */
bool hub__drain_may_log(hub__drain_t *drain, uint64_t now_ms);

/* "restart retry_ms=3271": the reason of close 1012, with less than `within_ms` by chance. Returns
 * the absent string where that is HUB_OFF. */
#define HUB__RESTART_REASON 48
hub_str_t hub__restart_reason(size_t within_ms, char buffer[HUB__RESTART_REASON]);
