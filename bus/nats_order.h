/* bus/nats_order.h - private: where one order comes from on NATS.
 *
 * A nats-server hands each connection's messages out on a thread of that connection, so two nodes
 * hear two publishers differently. A JetStream stream has one sequencer. So what is to have one
 * order is published to a subject that only a stream takes, which keeps none of it and republishes
 * each to the subject that nodes are subscribed to. Here is how a node finds the stream of its bus
 * or makes it: what is asked, what the answer means, when to ask again. Nothing here waits. */
#pragma once

#include <stdatomic.h>

#include "bus/buffer.h"
#include "bus/subject.h"

#define HUB__NATS_STREAM_BYTES (sizeof("sockethub-") + HUB__SUBJECT_NAME_BYTES)
#define HUB__NATS_REQUEST_BYTES (sizeof("$JS.API.STREAM.CREATE.") + HUB__NATS_STREAM_BYTES)

typedef enum hub__nats_order_state {
    HUB__NATS_ORDER_IDLE,    /* not asked on this connection */
    HUB__NATS_ORDER_LOOKING, /* whether there is a stream */
    HUB__NATS_ORDER_MAKING,
    HUB__NATS_ORDER_STANDS,
    HUB__NATS_ORDER_REFUSED, /* asked again after a while */
} hub__nats_order_state_t;

typedef struct hub__nats_order {
    atomic_bool wanted;  /* any thread */
    atomic_bool refused; /* since the last time that it stood; any thread */
    /* the backend's thread: */
    hub__nats_order_state_t state;
    bool asked;      /* the question of this state is under way */
    uint64_t due_ms; /* of its answer, or of the next question */
    const char *name;
    char stream[HUB__NATS_STREAM_BYTES];
    char request[HUB__NATS_REQUEST_BYTES]; /* the subject of the question */
    char reason[240];                      /* each is told once */
    bool doubted; /* it stood, and did not take what it was sent: that it stands proves nothing */
    const char *how; /* it came to stand; static */
} hub__nats_order_t;

/* `name` of the bus, borrowed. */
void hub__nats_order_init(hub__nats_order_t *order, const char *name);
/* There is a new connection. */
void hub__nats_order_begin(hub__nats_order_t *order);
/* Whether there is something to ask now: `order->request`, with `ret_body` (to be disposed of). */
bool hub__nats_order_ask(hub__nats_order_t *order, uint64_t now_ms, hub__buffer_t *ret_body);
/* `nobody`: the server said that no one answers such questions. */
void hub__nats_order_answer(hub__nats_order_t *order, hub_str_t answer, bool nobody,
                            uint64_t now_ms);
void hub__nats_order_refuse(hub__nats_order_t *order, const char *why, uint64_t now_ms);
/* The stream did not take what it was sent: it is looked for anew, at once. */
void hub__nats_order_lose(hub__nats_order_t *order, const char *why);
/* Why the stream did not take a message, if this says so; else the absent string. */
hub_str_t hub__nats_order_ack_error(hub_str_t answer);
/* Whether this stream, and no other, says that it took one. */
bool hub__nats_order_is_ack(const hub__nats_order_t *order, hub_str_t answer);
/* It has taken a barrier: what was wrong is over. */
void hub__nats_order_prove(hub__nats_order_t *order);
/* When there is something to do, if nothing comes; UINT64_MAX: never. */
uint64_t hub__nats_order_due_ms(const hub__nats_order_t *order);
