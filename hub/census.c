/* SPDX-License-Identifier: MIT */
/* The pace of an address is one number: when it will have its full burst again. A connection moves
 * that on by its share of a second, and is refused where it would then be further off than a burst
 * takes. */
#include "hub/census.h"

#include <pthread.h>
#include <stdlib.h>

#include "bus/buffer.h"
#include "bus/table.h"

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)
#define FORGOTTEN_AT_ONCE 4 /* looked at with each that comes, so that the list gets shorter */

struct hub__resident {
    hub__table_node_t node;
    hub__census_t *census;
    hub__resident_t *idle_next, **idle_prev; /* in order of leaving; prev NULL: not in the list */
    uint64_t full_at_ns;
    uint32_t conns;
    hub__address_t address;
};

struct hub__census {
    pthread_mutex_t lock;
    hub__table_t residents;
    hub__resident_t *idle_first, **idle_last; /* those without a connection */
    size_t idle_count;
    size_t conns;
    uint64_t interval_ns; /* 0: they may come as fast as they like */
    uint64_t burst_ns;
};

hub__census_t *hub__census_create(size_t conns, size_t connects_per_s, size_t burst)
{
    hub__census_t *census = hub__alloc_zeroed(sizeof(*census));

    pthread_mutex_init(&census->lock, NULL);
    census->idle_last = &census->idle_first;
    census->conns = conns;
    if (connects_per_s != HUB_OFF) {
        census->interval_ns = NS_PER_S / connects_per_s;
        census->burst_ns = burst * census->interval_ns;
    }
    return census;
}

/* ---- the list of those without a connection ---- */

static void leave_idle(hub__resident_t *resident)
{
    hub__census_t *census = resident->census;

    if (resident->idle_prev == NULL)
        return;
    if ((*resident->idle_prev = resident->idle_next) != NULL)
        resident->idle_next->idle_prev = resident->idle_prev;
    else
        census->idle_last = resident->idle_prev;
    resident->idle_prev = NULL;
    --census->idle_count;
}

static void forget(hub__resident_t *resident)
{
    leave_idle(resident);
    hub__table_remove(&resident->census->residents, &resident->node);
    free(resident);
}

static void join_idle(hub__resident_t *resident)
{
    hub__census_t *census = resident->census;

    if (census->idle_count == HUB__CENSUS_IDLE)
        forget(census->idle_first);
    resident->idle_next = NULL;
    resident->idle_prev = census->idle_last;
    *census->idle_last = resident;
    census->idle_last = &resident->idle_next;
    ++census->idle_count;
}

static void forget_some(hub__census_t *census, uint64_t now_ns)
{
    for (int i = 0; i != FORGOTTEN_AT_ONCE; ++i) {
        if (census->idle_first == NULL || census->idle_first->full_at_ns > now_ns)
            return;
        forget(census->idle_first);
    }
}

void hub__census_destroy(hub__census_t *census)
{
    if (census == NULL)
        return;
    while (census->idle_first != NULL)
        forget(census->idle_first);
    hub__table_dispose(&census->residents);
    pthread_mutex_destroy(&census->lock);
    free(census);
}

/* ---- coming and going ---- */

static hub__resident_t *find(hub__census_t *census, const hub__address_t *block, uint64_t hash)
{
    for (hub__table_node_t *node = hub__table_chain(&census->residents, hash); node != NULL;
         node = node->next) {
        hub__resident_t *resident = HUB__CONTAINER(node, hub__resident_t, node);

        if (node->hash == hash && memcmp(&resident->address, block, sizeof(*block)) == 0)
            return resident;
    }
    return NULL;
}

/* NULL: no memory. */
static hub__resident_t *find_or_make(hub__census_t *census, const hub__address_t *address)
{
    hub__address_t block = hub__address_block(address);
    uint64_t hash = hub__hash(hub_str_n((const char *)block.bytes, sizeof(block.bytes)));
    hub__resident_t *resident = find(census, &block, hash);

    if (resident != NULL || (resident = calloc(1, sizeof(*resident))) == NULL)
        return resident;
    resident->census = census;
    resident->address = block;
    resident->node.hash = hash;
    hub__table_insert(&census->residents, &resident->node);
    join_idle(resident);
    return resident;
}

static hub__admission_t admit(hub__resident_t *resident, bool is_new, uint64_t now_ns)
{
    const hub__census_t *census = resident->census;
    uint64_t full_at_ns = resident->full_at_ns > now_ns ? resident->full_at_ns : now_ns;

    if (resident->conns >= census->conns)
        return HUB__TOO_MANY;
    if (is_new && census->interval_ns != 0) {
        if (full_at_ns + census->interval_ns > now_ns + census->burst_ns)
            return HUB__TOO_FAST;
        resident->full_at_ns = full_at_ns + census->interval_ns;
    }
    ++resident->conns;
    leave_idle(resident);
    return HUB__ADMITTED;
}

hub__admission_t hub__census_enter(hub__census_t *census, const hub__address_t *address,
                                   bool is_new, uint64_t now_ms, hub__resident_t **ret_resident)
{
    hub__admission_t admission = HUB__TOO_MANY;
    hub__resident_t *resident;

    pthread_mutex_lock(&census->lock);
    forget_some(census, now_ms * NS_PER_MS);
    if ((resident = find_or_make(census, address)) != NULL)
        admission = admit(resident, is_new, now_ms * NS_PER_MS);
    pthread_mutex_unlock(&census->lock);
    if (admission == HUB__ADMITTED)
        *ret_resident = resident;
    return admission;
}

void hub__census_leave(hub__resident_t *resident)
{
    hub__census_t *census;

    if (resident == NULL)
        return;
    census = resident->census;
    pthread_mutex_lock(&census->lock);
    if (--resident->conns == 0) {
        join_idle(resident);
        if (census->interval_ns == 0)
            forget(resident);
    }
    pthread_mutex_unlock(&census->lock);
}

size_t hub__census_size(hub__census_t *census)
{
    size_t size;

    pthread_mutex_lock(&census->lock);
    size = census->residents.count;
    pthread_mutex_unlock(&census->lock);
    return size;
}
