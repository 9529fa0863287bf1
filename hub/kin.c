/* SPDX-License-Identifier: MIT */
/* Connections of one identity. The lock is held for a few pointers and, where one is displaced, for
 * a post to its worker: while it is in the table it has not ended, so its worker is there. */
#include "hub/kin.h"

#include <assert.h>
#include <stdlib.h>

#include "hub/internal.h"

typedef struct hub__kin_group {
    hub__table_node_t node;
    hub__kin_t *oldest, *newest;
    size_t count;
    size_t len;
    char identity[];
} hub__kin_group_t;

void hub__kin_table_init(hub__kin_table_t *table, struct hub *root, size_t limit)
{
    *table = (hub__kin_table_t){.root = root, .limit = limit};
    pthread_mutex_init(&table->lock, NULL);
}

void hub__kin_table_dispose(hub__kin_table_t *table)
{
    assert(table->groups.count == 0);
    hub__table_dispose(&table->groups);
    pthread_mutex_destroy(&table->lock);
}

static hub__kin_group_t *find_group(hub__kin_table_t *table, hub_str_t identity, uint64_t hash)
{
    for (hub__table_node_t *node = hub__table_chain(&table->groups, hash); node != NULL;
         node = node->next) {
        hub__kin_group_t *group = HUB__CONTAINER(node, hub__kin_group_t, node);

        if (node->hash == hash && hub_str_equals(hub_str_n(group->identity, group->len), identity))
            return group;
    }
    return NULL;
}

/* NULL: no memory. */
static hub__kin_group_t *find_or_make_group(hub__kin_table_t *table, hub_str_t identity)
{
    uint64_t hash = hub__hash(identity);
    hub__kin_group_t *group = find_group(table, identity, hash);

    if (group != NULL || (group = hub__peer_alloc_zeroed(sizeof(*group) + identity.len)) == NULL)
        return group;
    group->node.hash = hash;
    group->len = identity.len;
    memcpy(group->identity, identity.base, identity.len);
    hub__table_insert(&table->groups, &group->node);
    return group;
}

static void append(hub__kin_group_t *group, hub__kin_t *kin)
{
    kin->group = group;
    kin->newer = NULL;
    kin->older = group->newest;
    if (group->newest != NULL)
        group->newest->newer = kin;
    else
        group->oldest = kin;
    group->newest = kin;
    ++group->count;
}

static void take_out(hub__kin_t *kin)
{
    hub__kin_group_t *group = kin->group;

    if (kin->older != NULL)
        kin->older->newer = kin->newer;
    else
        group->oldest = kin->newer;
    if (kin->newer != NULL)
        kin->newer->older = kin->older;
    else
        group->newest = kin->older;
    --group->count;
    kin->group = NULL;
}

/* False: it cannot be told. */
static bool displace_oldest(hub__kin_table_t *table, hub__kin_group_t *group)
{
    hub__kin_t *oldest = group->oldest;

    if (hub__errand_displace(table->root, oldest->worker, oldest->local) == HUB_ENOMEM)
        return false;
    take_out(oldest);
    return true;
}

hub_status_t hub__kin_enter(hub__kin_table_t *table, hub__kin_t *kin, hub_str_t identity)
{
    hub__kin_group_t *group;
    hub_status_t err = HUB_OK;

    if (table->limit == HUB_OFF)
        return HUB_OK;
    pthread_mutex_lock(&table->lock);
    group = find_or_make_group(table, identity);
    if (group == NULL || (group->count >= table->limit && !displace_oldest(table, group)))
        err = HUB_ENOMEM;
    else
        append(group, kin);
    pthread_mutex_unlock(&table->lock);
    return err;
}

void hub__kin_leave(hub__kin_table_t *table, hub__kin_t *kin)
{
    hub__kin_group_t *group;

    if (table->limit == HUB_OFF)
        return;
    pthread_mutex_lock(&table->lock);
    if ((group = kin->group) != NULL) {
        take_out(kin);
        if (group->count == 0) {
            hub__table_remove(&table->groups, &group->node);
            hub__peer_free(group);
        }
    }
    pthread_mutex_unlock(&table->lock);
}
