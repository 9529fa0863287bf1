/* bus/postgres_mouth.h - private: the connection that publishes, and clears old rows.
 *
 * What waits goes as one transaction, sent in one go. Where the server refuses one of its messages
 * all of it is undone, nobody has heard of any, and they are tried again in smaller transactions,
 * down to one: so only what is refused fails. */
#pragma once

#include "bus/backend.h"
#include "bus/postgres_schema.h"

typedef struct hub__postgres_mouth {
    hub__postgres_link_t link;
    hub_bus_t *bus;
    unsigned keep_seconds;
    hub__orders_t waiting;
    hub__orders_t sent;
    size_t sent_count;
    size_t most; /* in one transaction: 256, but less behind a refusal */
    enum { HUB__MOUTH_IDLE, HUB__MOUTH_PUBLISHING, HUB__MOUTH_UNDOING, HUB__MOUTH_CLEARING } doing;
    bool cleared_last;
    bool refused;       /* the server refused what is sent */
    hub_error_t why;    /* and said this */
    bool clears;        /* this role may */
    uint64_t clear_ms;  /* when it is due; 0: at once, there are more */
    int64_t clear_from; /* no row up to this number was there the last time */
    unsigned clear_round;
} hub__postgres_mouth_t;

/* Behind hub__postgres_link_open(): makes the schema, if it must. */
bool hub__postgres_mouth_prepare(hub__postgres_mouth_t *mouth, hub__courier_t *courier,
                                 uint64_t deadline_ms, hub_error_t *error);
/* Takes the order. */
void hub__postgres_mouth_take(hub__postgres_mouth_t *mouth, hub__order_t *order);
/* Handles what has come, then sends what waits. Calls the core. */
bool hub__postgres_mouth_proceed(hub__postgres_mouth_t *mouth, hub_error_t *error);
/* Closes, and forgets what waits. */
void hub__postgres_mouth_close(hub__postgres_mouth_t *mouth);
