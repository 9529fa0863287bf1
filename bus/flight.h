/* bus/flight.h - private: what the backend has taken, until the broker has answered, and, of what
 * is to come back before it is delivered here, until it has come back.
 *
 * Bounded by number and by bytes: those lie in the backend's queue as long as the broker takes
 * none. So a publish whose time is up, and whose outcome was told as unknown, stays here and counts
 * until it is answered after all or the connection ends. What is to come back waits in a queue of
 * its topic, in the order of its numbers: what comes proves that those before it are lost.
 *
 * All under one lock of the owner's; what there is to tell goes out of it as an outcome. */
#pragma once

#include "bus/bus.h"
#include "bus/table.h"

#define HUB__FLIGHT_MAX (64 * 1024)

typedef struct hub__pending hub__pending_t;

/* What became of a publish. */
typedef struct hub__outcome {
    bool tell;          /* it is known now: set `status`, if there is an `ack` */
    hub_bus_ack_t *ack; /* the receiver's to release; may be NULL */
    hub_status_t status;
    uint64_t hash; /* of its topic */
} hub__outcome_t;

typedef struct hub__pending_list {
    hub__pending_t *first;
    hub__pending_t *last;
} hub__pending_list_t;

typedef struct hub__flight {
    hub__table_t tokens;     /* of those that are not answered */
    hub__pending_list_t due; /* nothing was told yet; who is due first is first */
    hub__pending_list_t late;
    size_t count;
    size_t bytes;
    size_t bytes_max;
} hub__flight_t;

/* With nothing in flight. */
void hub__flight_dispose(hub__flight_t *flight);

/* `ack` is retained, and may be NULL. HUB_ELIMIT: too many or too much is in flight; alone, one of
 * any size is taken. HUB_ENOMEM. */
hub_status_t hub__flight_begin(hub__flight_t *flight, uint64_t token, size_t bytes, uint64_t hash,
                               uint64_t deadline_ms, hub_bus_ack_t *ack);
/* It is to come back as that number, the highest in `queue`. Nothing where it has ended already. */
void hub__flight_await(hub__flight_t *flight, uint64_t token, hub__pending_list_t *queue,
                       uint64_t incarnation, uint64_t seq);
/* It never left: there is nothing to tell, and its caller still has a hold of the ack. */
void hub__flight_abandon(hub__flight_t *flight, uint64_t token);

/* What the broker said. False: nothing is known of the token. */
bool hub__flight_answer(hub__flight_t *flight, uint64_t token, hub_status_t status,
                        hub__outcome_t *ret_outcome);
/* That number has come back. False: it was not waited for; else the `ack` is given out in any case,
 * because what delivers it may count. */
bool hub__flight_return(hub__flight_t *flight, hub__pending_list_t *queue, uint64_t incarnation,
                        uint64_t seq, hub__outcome_t *ret_outcome);
/* One that was lost: its number is before that one. False: none is left. */
bool hub__flight_overtaken(hub__flight_t *flight, hub__pending_list_t *queue, uint64_t incarnation,
                           uint64_t seq, hub__outcome_t *ret_outcome);
/* One that will not come back because nobody listens any more. False: none is left. */
bool hub__flight_unheard(hub__flight_t *flight, hub__pending_list_t *queue,
                         hub__outcome_t *ret_outcome);
/* One whose time is up. False: none. */
bool hub__flight_expire(hub__flight_t *flight, uint64_t now_ms, hub__outcome_t *ret_outcome);
/* One that the end of the connection leaves unknown. False: nothing is in flight any more. */
bool hub__flight_lose(hub__flight_t *flight, hub__outcome_t *ret_outcome);

/* UINT64_MAX: nothing is. */
uint64_t hub__flight_due_ms(const hub__flight_t *flight);
