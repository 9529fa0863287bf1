/* SPDX-License-Identifier: MIT */
/* What is in flight, as a table by token and lists by time and by topic. A publish leaves when
 * nothing more is to come for it: no answer, and no return. */
#include "bus/flight.h"

#include <stdlib.h>

struct hub__pending {
    hub__table_node_t node; /* its hash is the token: they are the core's, and count up */
    hub__pending_t *next;
    hub__pending_t *prev;
    hub__pending_list_t *queue; /* of its topic; NULL: it is not to come back */
    hub__pending_t *behind;     /* there */
    hub__pending_t *before;
    uint64_t incarnation;
    uint64_t seq;
    uint64_t hash; /* of its topic */
    uint64_t deadline_ms;
    size_t bytes;
    hub_bus_ack_t *ack; /* until told */
    bool answered;      /* HUB_OK, and not in the table any more */
    bool told;
};

static void append(hub__pending_list_t *list, hub__pending_t *pending)
{
    pending->next = NULL;
    pending->prev = list->last;
    *(list->last == NULL ? &list->first : &list->last->next) = pending;
    list->last = pending;
}

static void unlink_pending(hub__pending_list_t *list, hub__pending_t *pending)
{
    *(pending->prev == NULL ? &list->first : &pending->prev->next) = pending->next;
    *(pending->next == NULL ? &list->last : &pending->next->prev) = pending->prev;
}

static void leave_queue(hub__pending_t *pending)
{
    hub__pending_list_t *queue = pending->queue;

    if (queue == NULL)
        return;
    *(pending->before == NULL ? &queue->first : &pending->before->behind) = pending->behind;
    *(pending->behind == NULL ? &queue->last : &pending->behind->before) = pending->before;
    pending->queue = NULL;
}

static hub__pending_t *find(const hub__flight_t *flight, uint64_t token)
{
    hub__table_node_t *node = hub__table_chain(&flight->tokens, token);

    while (node != NULL && node->hash != token)
        node = node->next;
    return node == NULL ? NULL : HUB__CONTAINER(node, hub__pending_t, node);
}

/* Out of everything; the ack is the caller's. */
static void end(hub__flight_t *flight, hub__pending_t *pending)
{
    leave_queue(pending);
    unlink_pending(pending->told ? &flight->late : &flight->due, pending);
    if (!pending->answered)
        hub__table_remove(&flight->tokens, &pending->node);
    flight->count--;
    flight->bytes -= pending->bytes;
    free(pending);
}

static hub__outcome_t end_with(hub__flight_t *flight, hub__pending_t *pending, hub_status_t status)
{
    hub__outcome_t outcome = {
        .tell = !pending->told, .ack = pending->ack, .status = status, .hash = pending->hash};

    end(flight, pending);
    return outcome;
}

/* Unknown to its publisher, while the answer may still come. A return would find nobody waiting. */
static hub__outcome_t give_up(hub__flight_t *flight, hub__pending_t *pending)
{
    hub__outcome_t outcome = {
        .tell = true, .ack = pending->ack, .status = HUB_EUNKNOWN, .hash = pending->hash};

    if (pending->answered)
        return end_with(flight, pending, HUB_EUNKNOWN);
    leave_queue(pending);
    unlink_pending(&flight->due, pending);
    append(&flight->late, pending);
    pending->ack = NULL;
    pending->told = true;
    return outcome;
}

void hub__flight_dispose(hub__flight_t *flight)
{
    hub__table_dispose(&flight->tokens);
}

/* ---- out ---- */

hub_status_t hub__flight_begin(hub__flight_t *flight, uint64_t token, size_t bytes, uint64_t hash,
                               uint64_t deadline_ms, hub_bus_ack_t *ack)
{
    hub__pending_t *pending;

    if (flight->count >= HUB__FLIGHT_MAX)
        return HUB_ELIMIT;
    if (flight->count != 0 &&
        (flight->bytes > flight->bytes_max || bytes > flight->bytes_max - flight->bytes))
        return HUB_ELIMIT;
    pending = malloc(sizeof(*pending));
    if (pending == NULL)
        return HUB_ENOMEM;
    pending->node.hash = token;
    pending->queue = NULL; /* so its links there are not read */
    pending->bytes = bytes;
    pending->hash = hash;
    pending->deadline_ms = deadline_ms;
    pending->ack = hub_bus_ack_retain(ack);
    pending->answered = pending->told = false;
    hub__table_insert(&flight->tokens, &pending->node);
    append(&flight->due, pending);
    flight->count++;
    flight->bytes += bytes;
    return HUB_OK;
}

void hub__flight_await(hub__flight_t *flight, uint64_t token, hub__pending_list_t *queue,
                       uint64_t incarnation, uint64_t seq)
{
    hub__pending_t *pending = find(flight, token);

    if (pending == NULL || pending->told)
        return;
    pending->queue = queue;
    pending->incarnation = incarnation;
    pending->seq = seq;
    pending->behind = NULL;
    pending->before = queue->last;
    *(queue->last == NULL ? &queue->first : &queue->last->behind) = pending;
    queue->last = pending;
}

void hub__flight_abandon(hub__flight_t *flight, uint64_t token)
{
    hub__pending_t *pending = find(flight, token);
    hub_bus_ack_t *ack = pending == NULL ? NULL : pending->ack;

    if (pending != NULL)
        end(flight, pending);
    hub_bus_ack_release(ack);
}

/* ---- back ---- */

bool hub__flight_answer(hub__flight_t *flight, uint64_t token, hub_status_t status,
                        hub__outcome_t *ret_outcome)
{
    hub__pending_t *pending = find(flight, token);

    if (pending == NULL)
        return false;
    if (status == HUB_OK && pending->queue != NULL) {
        hub__table_remove(&flight->tokens, &pending->node);
        pending->answered = true;
        *ret_outcome = (hub__outcome_t){0};
    } else {
        *ret_outcome = end_with(flight, pending, status);
    }
    return true;
}

/* It does not come back any more, or has. Its answer may still be to come. */
static hub__outcome_t settle(hub__flight_t *flight, hub__pending_t *pending)
{
    if (pending->answered)
        return end_with(flight, pending, HUB_OK);
    leave_queue(pending);
    return (hub__outcome_t){.ack = hub_bus_ack_retain(pending->ack)};
}

static bool is_before(const hub__pending_t *pending, uint64_t incarnation, uint64_t seq)
{
    return pending->incarnation < incarnation ||
           (pending->incarnation == incarnation && pending->seq < seq);
}

bool hub__flight_return(hub__flight_t *flight, hub__pending_list_t *queue, uint64_t incarnation,
                        uint64_t seq, hub__outcome_t *ret_outcome)
{
    hub__pending_t *first = queue->first;

    if (first == NULL || first->incarnation != incarnation || first->seq != seq)
        return false;
    *ret_outcome = settle(flight, first);
    return true;
}

bool hub__flight_overtaken(hub__flight_t *flight, hub__pending_list_t *queue, uint64_t incarnation,
                           uint64_t seq, hub__outcome_t *ret_outcome)
{
    if (queue->first == NULL || !is_before(queue->first, incarnation, seq))
        return false;
    *ret_outcome = give_up(flight, queue->first);
    return true;
}

bool hub__flight_unheard(hub__flight_t *flight, hub__pending_list_t *queue,
                         hub__outcome_t *ret_outcome)
{
    if (queue->first == NULL)
        return false;
    *ret_outcome = settle(flight, queue->first);
    return true;
}

bool hub__flight_expire(hub__flight_t *flight, uint64_t now_ms, hub__outcome_t *ret_outcome)
{
    if (flight->due.first == NULL || flight->due.first->deadline_ms > now_ms)
        return false;
    *ret_outcome = give_up(flight, flight->due.first);
    return true;
}

bool hub__flight_lose(hub__flight_t *flight, hub__outcome_t *ret_outcome)
{
    hub__pending_t *pending = flight->due.first;

    if (pending == NULL)
        pending = flight->late.first;
    if (pending == NULL)
        return false;
    *ret_outcome = end_with(flight, pending, HUB_EUNKNOWN);
    return true;
}

uint64_t hub__flight_due_ms(const hub__flight_t *flight)
{
    return flight->due.first == NULL ? UINT64_MAX : flight->due.first->deadline_ms;
}
