/* bus/nats_session.h - private: what is said over one connection to a NATS server: from up to
 * down, what comes in, and what becomes of the stream that orders. What goes out, and its
 * confirmation, is in nats_lane.h. On the courier's thread. */
#pragma once

#include "bus/backend.h"
#include "bus/nats_lane.h"
#include "bus/nats_link.h"
#include "bus/nats_order.h"
#include "bus/nats_taken.h"
#include "bus/table.h"

struct hub__nats_session {
    hub_bus_t *bus;
    hub__courier_t *courier;
    hub__nats_link_t *link;
    hub__nats_order_t *order;
    natsConnection *nc;
    hub__table_t subjects;
    hub__nats_lane_t plain;
    hub__nats_lane_t ordered; /* by way of the stream */
    hub__nats_taken_t taken;
    natsSubscription *own;
    const char *name;   /* of the bus */
    uint64_t random;    /* in all subjects of this connection's own */
    uint64_t questions; /* for the stream; the number of the last is in the subject of its answer */
    char fence_subject[HUB__NATS_OWN_BYTES];
    bool fence_away;
    bool suspect;           /* the server has refused something on this connection */
    size_t subject_max;     /* bytes: a longer one is refused here */
    size_t subject_longest; /* of those sent */
};

/* All are borrowed; `link` is connected. */
void hub__nats_session_init(hub__nats_session_t *session, hub_bus_t *bus, const char *name,
                            hub__courier_t *courier, hub__nats_link_t *link,
                            hub__nats_order_t *order, size_t subject_max);
/* From hub_bus_remote_up() to hub_bus_remote_down(): until the connection is broken, is to be
 * replaced, or the thread is to end, which is true. */
bool hub__nats_session_run(hub__nats_session_t *session);
/* When the link was dropped: its subscriptions are not taken back one by one. */
void hub__nats_session_dispose(hub__nats_session_t *session);
