/* bus/nats_session.h - private: what is said over one connection to a NATS server: the courier's
 * orders, their confirmation, and messages. On the courier's thread. */
#pragma once

#include "bus/backend.h"
#include "bus/nats_link.h"
#include "bus/table.h"

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
    char barrier_subject[40];
    uint64_t barrier_number;
    bool barrier_away;
    bool suspect; /* the barrier under way is the second one of its orders */
} hub__nats_session_t;

/* All three are borrowed; `link` is connected. */
void hub__nats_session_init(hub__nats_session_t *session, hub_bus_t *bus, hub__courier_t *courier,
                            hub__nats_link_t *link);
/* From hub_bus_remote_up() to hub_bus_remote_down(): until the connection is broken, is to be
 * replaced, or the thread is to end, which is true. */
bool hub__nats_session_run(hub__nats_session_t *session);
/* When the link was dropped: its subscriptions are not taken back one by one. */
void hub__nats_session_dispose(hub__nats_session_t *session);
