/* SPDX-License-Identifier: MIT */
/* What waits for one member of a channel with a policy for slow readers. Each message stands alone,
 * so that any of them can go; what went is counted where it is missing, and told there. */
#include "hub/backlog.h"

#include <assert.h>

#include "hub/memory.h"

#define SMALL_RUN 512u /* not worth another copy */

static bool is_fixed(const hub__backlog_item_t *item)
{
    return item->node.hash == HUB__KEY_FIXED;
}

static bool has_key(const hub__backlog_item_t *item)
{
    return item->node.hash != HUB__KEY_NONE && item->node.hash != HUB__KEY_FIXED;
}

void hub__backlog_item_free(hub__backlog_item_t *item)
{
    hub__run_release(item->run);
    hub__queue_free(item);
}

/* ---- in and out of the line ---- */

static void count(hub__backlog_t *backlog, const hub__backlog_item_t *item, bool in)
{
    uint32_t size = item->end - item->start;

    *(is_fixed(item) ? &backlog->fixed_bytes : &backlog->bytes) += in ? size : -(size_t)size;
    *(is_fixed(item) ? &backlog->fixed_count : &backlog->count) += in ? 1u : -1u;
}

static void link_last(hub__backlog_t *backlog, hub__backlog_item_t *item)
{
    if (backlog->last == NULL)
        backlog->last = &backlog->first;
    item->missed = backlog->missed_last;
    backlog->missed_last = 0;
    item->next = NULL;
    item->prev = backlog->last;
    *backlog->last = item;
    backlog->last = &item->next;
    if (has_key(item))
        hub__table_insert(&backlog->keys, &item->node);
    count(backlog, item, true);
}

static void unlink(hub__backlog_t *backlog, hub__backlog_item_t *item)
{
    if ((*item->prev = item->next) != NULL)
        item->next->prev = item->prev;
    else
        backlog->last = item->prev;
    if (has_key(item))
        hub__table_remove(&backlog->keys, &item->node);
    count(backlog, item, false);
}

/* One of those that wait. Under the policies that drop the old, what is missing is told once,
 * before all that is left. */
static void drop(hub__backlog_t *backlog, hub__backlog_item_t *item, hub__backlog_drop_cb on_drop,
                 void *user)
{
    unlink(backlog, item);
    backlog->missed_first += item->missed + 1;
    on_drop(item->run, user);
    hub__backlog_item_free(item);
}

static hub__backlog_item_t *oldest(const hub__backlog_t *backlog)
{
    hub__backlog_item_t *item = backlog->first;

    while (item != NULL && is_fixed(item))
        item = item->next;
    return item;
}

/* ---- the policies ---- */

static bool is_older(const hub__backlog_item_t *item, const hub__backlog_limits_t *limits,
                     uint32_t now_ms)
{
    return limits->age_ms != UINT32_MAX && now_ms - item->since_ms > limits->age_ms;
}

static bool fits(const hub__backlog_t *backlog, const hub__backlog_limits_t *limits, uint32_t size)
{
    return backlog->count == 0 ||
           (backlog->bytes + size <= limits->bytes && backlog->count < limits->messages);
}

static bool drops_old(const hub__backlog_limits_t *limits)
{
    return limits->policy == HUB_SLOW_DROP_OLD || limits->policy == HUB_SLOW_LATEST;
}

void hub__backlog_expire(hub__backlog_t *backlog, const hub__backlog_limits_t *limits,
                         uint32_t now_ms, hub__backlog_drop_cb on_drop, void *user)
{
    hub__backlog_item_t *item;

    if (!drops_old(limits))
        return;
    while ((item = oldest(backlog)) != NULL && is_older(item, limits, now_ms))
        drop(backlog, item, on_drop, user);
}

/* Of one key only the newest waits. */
static void drop_same_key(hub__backlog_t *backlog, uint64_t key, hub__backlog_drop_cb on_drop,
                          void *user)
{
    hub__table_node_t *node = hub__table_chain(&backlog->keys, key);

    while (node != NULL && node->hash != key)
        node = node->next;
    if (node != NULL)
        drop(backlog, HUB__CONTAINER(node, hub__backlog_item_t, node), on_drop, user);
}

/* How many of the oldest stand in the way of so many bytes more. */
static uint32_t count_excess(const hub__backlog_t *backlog, const hub__backlog_limits_t *limits,
                             uint32_t size)
{
    const hub__backlog_item_t *item = backlog->first;
    hub__backlog_t left = *backlog;

    for (; !fits(&left, limits, size); item = item->next)
        if (!is_fixed(item)) {
            left.bytes -= item->end - item->start;
            --left.count;
        }
    return backlog->count - left.count;
}

/* Counted before: who is told of a drop may add another one each time. */
static void make_room(hub__backlog_t *backlog, const hub__backlog_limits_t *limits, uint32_t size,
                      hub__backlog_drop_cb on_drop, void *user)
{
    uint32_t excess = count_excess(backlog, limits, size);
    hub__backlog_item_t *item;

    for (; excess != 0 && (item = oldest(backlog)) != NULL; --excess)
        drop(backlog, item, on_drop, user);
}

static bool has_room(const hub__backlog_t *backlog, const hub__backlog_limits_t *limits,
                     uint32_t size, uint32_t now_ms)
{
    const hub__backlog_item_t *item = oldest(backlog);

    return fits(backlog, limits, size) && (item == NULL || !is_older(item, limits, now_ms));
}

static bool fixed_fits(const hub__backlog_t *backlog, const hub__backlog_limits_t *limits,
                       uint32_t size)
{
    return backlog->fixed_count == 0 || (backlog->fixed_bytes + size <= limits->bytes &&
                                         backlog->fixed_count < limits->messages);
}

/* ---- adding ---- */

/* The run itself, or a copy of the piece where that would pin much more than it needs. */
static bool take_frame(hub__backlog_item_t *item, hub__run_t *run, uint32_t start, uint32_t end)
{
    uint32_t size = end - start;

    if (run->note == NULL && run->capacity > SMALL_RUN && size < run->capacity / 2) {
        if ((item->run = hub__run_create(size)) == NULL)
            return false;
        memcpy(item->run->base, run->base + start, size);
        item->run->len = item->end = size;
        item->run->messages = 1;
        return true;
    }
    ++run->refs;
    item->run = run;
    item->start = start;
    item->end = end;
    return true;
}

static hub__backlog_verdict_t keep(hub__backlog_t *backlog, hub__run_t *run, uint32_t start,
                                   uint32_t end, uint64_t key, uint32_t now_ms)
{
    hub__backlog_item_t *item = hub__queue_alloc(sizeof(*item));

    if (item != NULL)
        *item = (hub__backlog_item_t){.node.hash = key, .since_ms = now_ms};
    if (item == NULL || !take_frame(item, run, start, end)) {
        hub__queue_free(item);
        return HUB__BACKLOG_NO_MEMORY;
    }
    link_last(backlog, item);
    return HUB__BACKLOG_KEPT;
}

hub__backlog_verdict_t hub__backlog_add(hub__backlog_t *backlog,
                                        const hub__backlog_limits_t *limits, hub__run_t *run,
                                        uint32_t start, uint32_t end, uint64_t key, uint32_t now_ms,
                                        hub__backlog_drop_cb on_drop, void *user)
{
    uint32_t size = end - start;

    if (key == HUB__KEY_FIXED) {
        if (!fixed_fits(backlog, limits, size))
            return HUB__BACKLOG_FULL;
    } else if (drops_old(limits)) {
        if (key != HUB__KEY_NONE)
            drop_same_key(backlog, key, on_drop, user);
        hub__backlog_expire(backlog, limits, now_ms, on_drop, user);
        make_room(backlog, limits, size, on_drop, user);
    } else if (!has_room(backlog, limits, size, now_ms)) {
        if (limits->policy == HUB_SLOW_CLOSE)
            return HUB__BACKLOG_FULL;
        ++backlog->missed_last;
        on_drop(run, user);
        return HUB__BACKLOG_DROPPED;
    }
    return keep(backlog, run, start, end, key, now_ms);
}

/* ---- taking out ---- */

hub__backlog_item_t *hub__backlog_next(hub__backlog_t *backlog, uint32_t *ret_missed)
{
    hub__backlog_item_t *item = backlog->first;

    *ret_missed = backlog->missed_first;
    backlog->missed_first = 0;
    if (item == NULL) {
        *ret_missed += backlog->missed_last;
        backlog->missed_last = 0;
        return NULL;
    }
    *ret_missed += item->missed;
    unlink(backlog, item);
    return item;
}

void hub__backlog_drop(hub__backlog_t *backlog, hub__backlog_drop_cb on_drop, void *user)
{
    hub__backlog_item_t *item;

    while ((item = oldest(backlog)) != NULL)
        drop(backlog, item, on_drop, user);
}

void hub__backlog_dispose(hub__backlog_t *backlog, hub__backlog_drop_cb on_drop, void *user)
{
    while (backlog->first != NULL)
        drop(backlog, backlog->first, on_drop, user);
    hub__table_dispose(&backlog->keys);
    *backlog = (hub__backlog_t){0};
}
