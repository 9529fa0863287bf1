/* SPDX-License-Identifier: MIT */
/* A completion: everybody who still has something to say about a publish has a hold (the publisher
 * while it fans out, each mailbox that took the message, the backend until it answered), and when
 * the last hold is gone the result goes to the publisher's executor. Whoever comes first, that or
 * the end of the bus, fires it; the other one finds it fired. */
#include <stdlib.h>

#include "bus/internal.h"

static void drop_ref(hub_bus_ack_t *ack)
{
    hub_bus_t *bus = ack->bus;

    if (atomic_fetch_sub_explicit(&ack->refs, 1, memory_order_acq_rel) != 1)
        return;
    hub__executor_release(ack->options.executor);
    free(ack);
    hub__bus_release(bus);
}

static void run_completion(hub_task_t *task)
{
    hub_bus_ack_t *ack = HUB__CONTAINER(task, hub_bus_ack_t, task);
    hub_publish_result_t result = {
        .status = (hub_status_t)atomic_load(&ack->status),
        .level = (hub_bus_level_t)atomic_load(&ack->level),
        .counts =
            {
                .members = atomic_load(&ack->members),
                .queued = atomic_load(&ack->queued),
                .dropped = atomic_load(&ack->dropped),
                .skipped = atomic_load(&ack->skipped),
            },
    };

    ack->options.on_published(&result, ack->options.user);
    drop_ref(ack);
}

static void discard_completion(hub_task_t *task)
{
    drop_ref(HUB__CONTAINER(task, hub_bus_ack_t, task));
}

/* Whether the caller is the first to end it. */
static bool begin_firing(hub_bus_ack_t *ack)
{
    hub_bus_t *bus = ack->bus;

    if (atomic_exchange(&ack->fired, true))
        return false;
    pthread_mutex_lock(&bus->acks_lock);
    *ack->prev = ack->next;
    if (ack->next != NULL)
        ack->next->prev = ack->prev;
    pthread_mutex_unlock(&bus->acks_lock);
    return true;
}

static void complete(hub_bus_ack_t *ack)
{
    hub_executor_t *executor = ack->options.executor;

    if (executor->post(executor, &ack->task, true) != HUB_OK)
        drop_ref(ack); /* it has ended: there is no thread left to call on */
}

hub_bus_ack_t *hub__ack_create(hub_bus_t *bus, const hub_bus_publish_options_t *options)
{
    hub_bus_ack_t *ack = calloc(1, sizeof(*ack));

    if (ack == NULL)
        return NULL;
    atomic_init(&ack->holds, 1);
    atomic_init(&ack->refs, 2);
    atomic_init(&ack->status, HUB_OK);
    atomic_init(&ack->level, HUB_LEVEL_LOCAL);
    ack->bus = bus;
    ack->options = *options;
    hub__executor_retain(options->executor);
    ack->task = (hub_task_t){.run = run_completion, .discard = discard_completion};
    hub__bus_retain(bus);
    pthread_mutex_lock(&bus->acks_lock);
    ack->next = bus->acks;
    ack->prev = &bus->acks;
    if (ack->next != NULL)
        ack->next->prev = &ack->next;
    bus->acks = ack;
    pthread_mutex_unlock(&bus->acks_lock);
    return ack;
}

void hub__ack_abandon(hub_bus_ack_t *ack)
{
    if (ack == NULL)
        return;
    if (begin_firing(ack))
        drop_ref(ack);
    hub_bus_ack_release(ack);
}

void hub__ack_set(hub_bus_ack_t *ack, hub_status_t status, hub_bus_level_t level)
{
    if (ack == NULL)
        return;
    atomic_store(&ack->status, status);
    atomic_store(&ack->level, level);
}

void hub__bus_cancel_acks(hub_bus_t *bus)
{
    for (;;) {
        hub_bus_ack_t *ack;

        pthread_mutex_lock(&bus->acks_lock);
        ack = bus->acks;
        /* the last hold may go at this moment: then that thread fires it, and waits for the lock */
        while (ack != NULL && atomic_exchange(&ack->fired, true))
            ack = ack->next;
        if (ack != NULL) {
            *ack->prev = ack->next;
            if (ack->next != NULL)
                ack->next->prev = ack->prev;
        }
        pthread_mutex_unlock(&bus->acks_lock);
        if (ack == NULL)
            return;
        hub__ack_set(ack, HUB_ECANCELLED, HUB_LEVEL_LOCAL);
        complete(ack);
    }
}

void hub_bus_ack_add(hub_bus_ack_t *ack, const hub_publish_counts_t *counts)
{
    atomic_fetch_add_explicit(&ack->members, counts->members, memory_order_relaxed);
    atomic_fetch_add_explicit(&ack->queued, counts->queued, memory_order_relaxed);
    atomic_fetch_add_explicit(&ack->dropped, counts->dropped, memory_order_relaxed);
    atomic_fetch_add_explicit(&ack->skipped, counts->skipped, memory_order_relaxed);
}

hub_bus_ack_t *hub_bus_ack_retain(hub_bus_ack_t *ack)
{
    if (ack != NULL)
        atomic_fetch_add_explicit(&ack->holds, 1, memory_order_relaxed);
    return ack;
}

void hub_bus_ack_release(hub_bus_ack_t *ack)
{
    if (ack == NULL)
        return;
    if (atomic_fetch_sub_explicit(&ack->holds, 1, memory_order_acq_rel) != 1)
        return;
    if (begin_firing(ack))
        complete(ack);
    drop_ref(ack);
}
