/* bus/nats_lane.h - private: what waits for a NATS server's word, in order. There are two lanes:
 * plain, and ordered by way of the stream (nats_order.h).
 *
 * The library can say that the server has read everything (PING and PONG) only to somebody who
 * waits for it. So a barrier does: a message to ourselves, on a subject that no topic can have,
 * sent behind what is to be confirmed. The server takes what a connection sends in order, so when
 * the barrier is back all of that is done: subscriptions stand, publishes are on their way. One is
 * under way at a time; what is sent meanwhile waits for the next. What goes by way of the stream
 * has a barrier of its own: a message to the stream, which acknowledges it as it does each of them
 * (nats_taken.h). Where the server has refused something, a fence behind the barrier lets the
 * library say what. */
#pragma once

#include "bus/courier.h"
#include "bus/subject.h"

/* "<name>.own.<16 hex>.stream-<number>", and a NUL */
#define HUB__NATS_OWN_BYTES (HUB__SUBJECT_NAME_BYTES + 56)
/* behind "<name>.own.<16 hex>." */
#define HUB__NATS_OWN_BARRIER "barrier"
#define HUB__NATS_OWN_STREAM "stream-" /* what is said of the stream */
#define HUB__NATS_OWN_TAKEN "taken-"   /* what the stream says to a barrier */
#define HUB__NATS_OWN_SAID "said-"     /* what it says to a message */

typedef struct hub__nats_session hub__nats_session_t; /* nats_session.h */

/* What goes one way, until a barrier behind it is back. */
typedef struct hub__nats_lane {
    hub__orders_t waiting;                 /* not sent yet */
    hub__orders_t sent;                    /* since the barrier under way */
    hub__orders_t covered;                 /* by the barrier under way */
    char barrier_out[HUB__NATS_OWN_BYTES]; /* its subject */
    uint64_t barrier_number;
    uint64_t barrier_due_ms; /* 0: any time */
    bool barrier_away;
    bool unfenced; /* the barrier is back; the library has still to tell what was refused */
    bool fenced;   /* the fence under way was put behind that */
} hub__nats_lane_t;

void hub__nats_lanes_init(hub__nats_session_t *session);
/* The subjects that the server knows as well; orders are dropped untold. */
void hub__nats_lanes_dispose(hub__nats_session_t *session);
/* Takes them, each to the end of its lane. */
void hub__nats_lanes_put(hub__nats_session_t *session, hub__order_t *orders);
/* Sends what waits, while the library has room, and barriers behind it; what is ordered only where
 * the stream stands. */
void hub__nats_lanes_carry(hub__nats_session_t *session);
/* Whether hub__nats_lanes_carry() has still something to send. */
bool hub__nats_lanes_have_waiting(const hub__nats_session_t *session);
/* The plain barrier came, if it has the `number` that is waited for. */
void hub__nats_lanes_on_barrier(hub__nats_session_t *session, hub_str_t number);
/* The barrier of this lane is back: what is before it is confirmed, behind a fence if need be. */
void hub__nats_lane_take_barrier(hub__nats_session_t *session, hub__nats_lane_t *lane);
/* The library has told all that was refused before the fence. */
void hub__nats_lanes_on_fence(hub__nats_session_t *session);
/* The stream is not what it was: what was sent to it gets what is known, what waits goes on
 * waiting. */
void hub__nats_lanes_drop_ordered(hub__nats_session_t *session);
/* There is no stream: what waits for it fails. */
void hub__nats_lanes_refuse_ordered(hub__nats_session_t *session);
/* A subject of this connection, for answers: `what` is one of HUB__NATS_OWN_. */
void hub__nats_own_subject(const hub__nats_session_t *session, const char *what, uint64_t number,
                           char ret_subject[HUB__NATS_OWN_BYTES]);
