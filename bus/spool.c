/* SPDX-License-Identifier: MIT */
/* What waits for the broker: a list with a sum of its bytes. */
#include "bus/spool.h"

#include <stdlib.h>

/* What it holds in memory, near enough. */
static size_t size_of(const hub_message_t *msg)
{
    return sizeof(hub__spooled_t) + sizeof(*msg) + msg->topic.len + msg->event.len +
           msg->payload.bytes.len;
}

hub_status_t hub__spool_put(hub__spool_t *spool, uint64_t hash, const hub_message_t *msg,
                            hub_bus_ack_t *ack, bool heard, uint64_t deadline_ms)
{
    size_t bytes = size_of(msg);
    hub__spooled_t *spooled;

    if (bytes > spool->bytes_max - spool->bytes)
        return HUB_ELIMIT;
    spooled = malloc(sizeof(*spooled));
    if (spooled == NULL)
        return HUB_ENOMEM;
    *spooled = (hub__spooled_t){.hash = hash,
                                .deadline_ms = deadline_ms,
                                .bytes = bytes,
                                .msg = hub_message_retain(msg),
                                .ack = hub_bus_ack_retain(ack),
                                .heard = heard};
    *(spool->last == NULL ? &spool->first : &spool->last->next) = spooled;
    spool->last = spooled;
    spool->bytes += bytes;
    atomic_store_explicit(&spool->not_empty, true, memory_order_release);
    return HUB_OK;
}

hub__spooled_t *hub__spool_take(hub__spool_t *spool)
{
    hub__spooled_t *spooled = spool->first;

    spool->first = spooled->next;
    spool->bytes -= spooled->bytes;
    if (spool->first == NULL) {
        spool->last = NULL;
        atomic_store_explicit(&spool->not_empty, false, memory_order_release);
    }
    return spooled;
}

void hub__spooled_free(hub__spooled_t *spooled)
{
    if (spooled == NULL)
        return;
    hub_bus_ack_release(spooled->ack);
    hub_message_release(spooled->msg);
    free(spooled);
}
