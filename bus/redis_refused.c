/* SPDX-License-Identifier: MIT */
#include "bus/redis_refused.h"

#include <stdlib.h>

struct hub__refusal {
    hub__table_node_t node;
    hub__refusal_t *next;
    hub__refusal_t **prev;
    hub__order_t *order;
};

void hub__redis_refused_init(hub__redis_refused_t *refused)
{
    *refused = (hub__redis_refused_t){0};
    refused->last = &refused->first;
}

bool hub__redis_refused_is_empty(const hub__redis_refused_t *refused)
{
    return refused->first == NULL;
}

static hub__refusal_t *find(const hub__redis_refused_t *refused, hub_str_t topic)
{
    uint64_t hash = hub__hash(topic);
    hub__table_node_t *node = hub__table_chain(&refused->by_topic, hash);

    for (; node != NULL; node = node->next) {
        hub__refusal_t *refusal = HUB__CONTAINER(node, hub__refusal_t, node);

        if (node->hash == hash && hub_str_equals(refusal->order->topic, topic))
            return refusal;
    }
    return NULL;
}

bool hub__redis_refused_add(hub__redis_refused_t *refused, hub__order_t *order)
{
    hub__refusal_t *refusal = malloc(sizeof(*refusal));

    if (refusal == NULL)
        return false;
    *refusal = (hub__refusal_t){
        .node = {.hash = hub__hash(order->topic)}, .prev = refused->last, .order = order};
    *refused->last = refusal;
    refused->last = &refusal->next;
    hub__table_insert(&refused->by_topic, &refusal->node);
    return true;
}

static hub__order_t *take(hub__redis_refused_t *refused, hub__refusal_t *refusal)
{
    hub__order_t *order = refusal->order;

    hub__table_remove(&refused->by_topic, &refusal->node);
    *refusal->prev = refusal->next;
    if (refusal->next != NULL)
        refusal->next->prev = refusal->prev;
    else
        refused->last = refusal->prev;
    free(refusal);
    return order;
}

void hub__redis_refused_forget(hub__redis_refused_t *refused, hub_str_t topic)
{
    hub__refusal_t *refusal = find(refused, topic);

    if (refusal != NULL)
        free(take(refused, refusal));
}

hub__order_t *hub__redis_refused_take(hub__redis_refused_t *refused)
{
    return refused->first == NULL ? NULL : take(refused, refused->first);
}

void hub__redis_refused_clear(hub__redis_refused_t *refused)
{
    hub__order_t *order;

    while ((order = hub__redis_refused_take(refused)) != NULL)
        free(order);
    hub__table_dispose(&refused->by_topic);
    hub__redis_refused_init(refused);
}
