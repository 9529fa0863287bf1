/* hub/memory.h - private: what peers make us hold, counted as it is allocated, and what a server
 * does when that becomes too much. */
#pragma once

#include <stdatomic.h>

#include "bus/base.h"

/* ---- one thread's count ---- */

/* Of the calling thread. What ends on another thread than it began on makes it negative there: only
 * the sum over the threads of a server means anything. */
typedef struct hub__account {
    int64_t bytes;  /* of everything below */
    int64_t queued; /* of those, in frames that wait or are shared by some that wait */
} hub__account_t;

/* It is looked at for each frame: no call to find it. */
extern _Thread_local hub__account_t hub__account __attribute__((tls_model("initial-exec")));

/* As malloc() and its kin, for what a peer makes us allocate: NULL is an answer, not the end.
 * Freed by hub__peer_free() alone, on any thread that counts. */
void *hub__peer_alloc(size_t size);
void *hub__peer_alloc_zeroed(size_t size);
void *hub__peer_realloc(void *block, size_t size);
void hub__peer_free(void *block); /* NULL is allowed. */
/* The same for what queues are made of. */
void *hub__queue_alloc(size_t size);
void *hub__queue_realloc(void *block, size_t size);
void hub__queue_free(void *block);

/* ---- a server's budget ---- */

typedef enum hub__memory_level {
    HUB__MEMORY_EASY,
    HUB__MEMORY_TIGHT, /* 80 % of the budget: nobody new, until it is below 75 % */
    HUB__MEMORY_SHORT, /* 90 % of it, or too much in queues: the largest queues go */
} hub__memory_level_t;

typedef struct hub__budget {
    uint64_t bytes;  /* 0: no bound */
    uint64_t queued; /* 0: no bound */
    _Atomic int64_t used_bytes, used_queued;
    _Atomic int level;
} hub__budget_t;

/* `bytes` and `queued` as in the server's limits: 0 is half of what the machine or its cgroup has,
 * and a quarter of that; HUB_OFF is no bound. */
void hub__budget_init(hub__budget_t *budget, size_t bytes, size_t queued);
/* Adds what one thread holds more than it said before, and judges. `others` is held outside all
 * accounts. Returns the level; `*ret_changed` tells that this call changed it. Any thread. */
hub__memory_level_t hub__budget_add(hub__budget_t *budget, int64_t bytes, int64_t queued,
                                    size_t others, bool *ret_changed);
/* What would have to go to be at ease again. Any thread. */
uint64_t hub__budget_excess(hub__budget_t *budget, size_t others);
/* Differences smaller than this are not worth telling. */
int64_t hub__budget_grain(const hub__budget_t *budget);

/* The smallest of what the machine has, RLIMIT_AS and what the process' cgroups allow, version 1 or
 * 2. `root` is "" but in tests. */
uint64_t hub__memory_of_machine(const char *root);
