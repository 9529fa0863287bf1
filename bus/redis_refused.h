/* bus/redis_refused.h - private: subscriptions that the broker refused, and that are asked for
 * again, those first that were refused first. Whoever joins chooses their names and their number,
 * so one is found among them without a walk. */
#pragma once

#include "bus/courier.h"
#include "bus/table.h"

typedef struct hub__refusal hub__refusal_t;

typedef struct hub__redis_refused {
    hub__table_t by_topic;
    hub__refusal_t *first;
    hub__refusal_t **last;
} hub__redis_refused_t;

void hub__redis_refused_init(hub__redis_refused_t *refused);
/* Takes the order on true. False: no memory. */
bool hub__redis_refused_add(hub__redis_refused_t *refused, hub__order_t *order);
/* Drops the order for `topic`, if there is one. */
void hub__redis_refused_forget(hub__redis_refused_t *refused, hub_str_t topic);
bool hub__redis_refused_is_empty(const hub__redis_refused_t *refused);
/* The one that was refused first; the caller frees it with free(). NULL: empty. */
hub__order_t *hub__redis_refused_take(hub__redis_refused_t *refused);
/* Drops all. */
void hub__redis_refused_clear(hub__redis_refused_t *refused);
