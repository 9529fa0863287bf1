/* bus/spool.h - private: publishes that wait for the broker to come back, bounded by bytes.
 *
 * First in, first out, over all topics: so what one thread said on one topic goes out in its order.
 * All under one lock of the owner's, but for hub__spool_is_empty(): who finds it empty may go past
 * it. Hence what is being sent stays in it until the backend has it. */
#pragma once

#include <stdatomic.h>

#include "bus/bus.h"

typedef struct hub__spooled {
    struct hub__spooled *next;
    uint64_t hash; /* of the topic */
    uint64_t deadline_ms;
    size_t bytes;
    hub_message_t *msg;
    hub_bus_ack_t *ack; /* may be NULL */
    bool heard;         /* by this node's own */
} hub__spooled_t;

typedef struct hub__spool {
    hub__spooled_t *first;
    hub__spooled_t *last;
    size_t bytes;
    size_t bytes_max;      /* 0: nothing waits */
    uint64_t pause_ms;     /* not before then: the backend took no more */
    atomic_bool not_empty; /* changes under the lock */
} hub__spool_t;

static inline bool hub__spool_is_empty(hub__spool_t *spool)
{
    return !atomic_load_explicit(&spool->not_empty, memory_order_acquire);
}

/* Message and ack are retained. HUB_ELIMIT: it does not fit. HUB_ENOMEM. */
hub_status_t hub__spool_put(hub__spool_t *spool, uint64_t hash, const hub_message_t *msg,
                            hub_bus_ack_t *ack, bool heard, uint64_t deadline_ms);
/* Takes the first one out, which must be there. */
hub__spooled_t *hub__spool_take(hub__spool_t *spool);
void hub__spooled_free(hub__spooled_t *spooled); /* NULL is allowed. */
