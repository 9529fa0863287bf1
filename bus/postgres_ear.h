/* bus/postgres_ear.h - private: the connection that listens, and fetches what it heard of.
 *
 * Topics share 256 channels, and what is heard of other topics is passed over. A channel for each
 * topic would be no help: the server shows every notice to every session that listens at all, which
 * compares its channel with those it listens on, one by one. */
#pragma once

#include "bus/backend.h"
#include "bus/postgres_schema.h"
#include "bus/table.h"

typedef struct hub__postgres_bucket {
    unsigned topics;
    bool listening;        /* the server has taken it */
    bool asked;            /* LISTEN is on its way */
    hub__order_t *waiting; /* to be confirmed then; in any order */
} hub__postgres_bucket_t;

typedef struct hub__postgres_ear {
    hub__postgres_link_t link;
    hub_bus_t *bus;
    size_t largest; /* bodies above it are not fetched */
    hub__table_t topics;
    hub__postgres_bucket_t buckets[HUB__POSTGRES_BUCKETS];
    bool unsettled; /* a bucket's topics and `listening` do not fit */
    enum { HUB__EAR_IDLE, HUB__EAR_LISTENING, HUB__EAR_FETCHING } doing;
    bool listened_last;
    int64_t *heard; /* numbers to fetch, in order */
    size_t heard_capacity;
    size_t heard_first;
    size_t heard_count;
    size_t fetching; /* asked for, and not come yet */
} hub__postgres_ear_t;

/* Behind hub__postgres_link_open(). */
bool hub__postgres_ear_prepare(hub__postgres_ear_t *ear, hub__courier_t *courier,
                               uint64_t deadline_ms, hub_error_t *error);
/* Takes the order. */
bool hub__postgres_ear_take(hub__postgres_ear_t *ear, hub__order_t *order, hub_error_t *error);
/* Handles what has come, then asks for what is next. Calls the core. */
bool hub__postgres_ear_proceed(hub__postgres_ear_t *ear, hub_error_t *error);
/* Closes, and forgets all topics. */
void hub__postgres_ear_close(hub__postgres_ear_t *ear);
