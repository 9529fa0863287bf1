/* bus/nats_session.h - private: what is said over one connection to a NATS server: the courier's
 * orders, their confirmation, and messages. On the courier's thread. */
#pragma once

#include "bus/backend.h"
#include "bus/nats_link.h"
#include "bus/subject.h"
#include "bus/table.h"

#define HUB__NATS_OWN_BYTES (HUB__SUBJECT_NAME_BYTES + 32) /* "<name>.barrier.<16 hex>" */

typedef struct hub__nats_orders {
    hub__order_t *first;
    hub__order_t **last;
} hub__nats_orders_t;

typedef struct hub__nats_session {
    hub_bus_t *bus;
    hub__courier_t *courier;
    hub__nats_link_t *link;
    natsConnection *nc;
    hub__table_t subjects;
    hub__nats_orders_t waiting; /* not sent yet */
    hub__nats_orders_t sent;    /* since the barrier under way */
    hub__nats_orders_t covered; /* by the barrier under way */
    natsSubscription *barrier;
    const char *name; /* of the bus */
    char barrier_subject[HUB__NATS_OWN_BYTES];
    char fence_subject[HUB__NATS_OWN_BYTES];
    uint64_t barrier_number;
    bool barrier_away;
    bool fence_away;    /* the barrier is back; the library has still to tell what was refused */
    size_t subject_max; /* bytes: a longer one is refused here */
    size_t subject_longest; /* of those sent */
} hub__nats_session_t;

/* All are borrowed; `link` is connected. */
void hub__nats_session_init(hub__nats_session_t *session, hub_bus_t *bus, const char *name,
                            hub__courier_t *courier, hub__nats_link_t *link, size_t subject_max);
/* From hub_bus_remote_up() to hub_bus_remote_down(): until the connection is broken, is to be
 * replaced, or the thread is to end, which is true. */
bool hub__nats_session_run(hub__nats_session_t *session);
/* When the link was dropped: its subscriptions are not taken back one by one. */
void hub__nats_session_dispose(hub__nats_session_t *session);
