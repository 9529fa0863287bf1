/* SPDX-License-Identifier: MIT */
/* The router. All patterns are sorted by specificity once; a trie over their tokens then answers
 * which of them can match a topic at all, and hub__pattern_match() decides, in the order of
 * specificity.
 *
 * A pattern that the trie leaves out can't match, so leaving it out is no way around the rule that
 * a failed match denies the join. */
#include "channels/router.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "bus/buffer.h"
#include "channels/trie.h"

_Static_assert(HUB__ROUTER_PATTERNS_MAX <= HUB__TRIE_PATTERNS_MAX, "a trie takes them all");

struct entry {
    hub__route_t route;
    hub__pattern_t *pattern; /* owned */
    int priority;
};

struct hub__router {
    atomic_uint count;
    size_t entry_count;
    struct entry *entries; /* in the order of specificity */
    hub__trie_t *trie;
};

/* Negative: `left` goes first. Zero: nothing decides. */
static int entry_order(const struct entry *left, const struct entry *right)
{
    bool conflict;
    int order = hub__pattern_compare(left->pattern, right->pattern, &conflict);

    if (!conflict)
        return order;
    return (left->priority < right->priority) - (left->priority > right->priority);
}

/* Total wherever a pair has an order at all, so that one set of sources gives one order. */
static int sort_order(const void *left, const void *right)
{
    const struct entry *one = left, *other = right;
    int order = entry_order(one, other);
    hub_str_t source, other_source;

    if (order != 0)
        return order;
    source = hub__pattern_source(one->pattern);
    other_source = hub__pattern_source(other->pattern);
    order = memcmp(source.base, other_source.base,
                   source.len < other_source.len ? source.len : other_source.len);
    return order != 0 ? order : (source.len > other_source.len) - (source.len < other_source.len);
}

static hub_status_t fail_conflict(hub_error_t *error, const struct entry *left,
                                  const struct entry *right, const char *what)
{
    char one[HUB__PATTERN_QUOTED], other[HUB__PATTERN_QUOTED];

    return hub_error_set(error, HUB_ECONFLICT, 0, "%s and %s %s",
                         hub__pattern_quote(hub__pattern_source(left->pattern), one),
                         hub__pattern_quote(hub__pattern_source(right->pattern), other), what);
}

/* Each goes before the next one, and nothing but specificity says so: then it goes before all that
 * follow, as specificity alone runs in no circle. */
static bool is_in_order(const hub__router_t *router)
{
    for (size_t i = 1; i < router->entry_count; i++) {
        const struct entry *left = &router->entries[i - 1], *right = &router->entries[i];

        if (left->priority != right->priority || entry_order(left, right) >= 0)
            return false;
    }
    return true;
}

/* Priorities can run in a circle with specificity, and no order of a circle is right for each of
 * its pairs: so that every pair is right proves that there is none. */
static hub_status_t check_order(const hub__router_t *router, hub_error_t *error)
{
    if (is_in_order(router))
        return HUB_OK;
    for (size_t i = 0; i < router->entry_count; i++) {
        const struct entry *left = &router->entries[i];

        for (size_t j = i + 1; j < router->entry_count; j++) {
            const struct entry *right = &router->entries[j];
            int order = entry_order(left, right);

            if (hub__pattern_equals(left->pattern, right->pattern))
                return fail_conflict(error, left, right, "are the same pattern");
            if (order == 0)
                return fail_conflict(error, left, right,
                                     "conflict: their constraints differ, so only a .priority can "
                                     "say which goes first");
            if (order > 0)
                return fail_conflict(error, left, right,
                                     "are in contradiction: specificity and priorities run in a "
                                     "circle");
        }
    }
    return HUB_OK;
}

static hub_status_t compile_entries(hub__router_t *router, const hub__route_source_t *sources,
                                    size_t count, hub_error_t *error)
{
    router->entries = hub__alloc_zeroed(count * sizeof(router->entries[0]));
    for (; router->entry_count < count; router->entry_count++) {
        const hub__route_source_t *source = &sources[router->entry_count];
        struct entry *entry = &router->entries[router->entry_count];
        hub_status_t status =
            hub__pattern_compile(source->prefix, source->pattern, &entry->pattern, error);

        if (status != HUB_OK)
            return status;
        entry->priority = source->has_priority ? source->priority : 0;
        entry->route.pattern = entry->pattern;
        entry->route.target = source->target;
    }
    qsort(router->entries, count, sizeof(router->entries[0]), sort_order);
    for (size_t i = 0; i < count; i++)
        router->entries[i].route.index = i;
    return check_order(router, error);
}

static void make_trie(hub__router_t *router)
{
    const hub__pattern_t **patterns = hub__alloc_zeroed(router->entry_count * sizeof(patterns[0]));

    for (size_t i = 0; i < router->entry_count; i++)
        patterns[i] = router->entries[i].pattern;
    router->trie = hub__trie_create(patterns, router->entry_count);
    free(patterns);
}

hub_status_t hub__router_create(const hub__route_source_t *sources, size_t count,
                                hub__router_t **ret_router, hub_error_t *error)
{
    hub__router_t *router;
    hub_status_t status;

    if (count > HUB__ROUTER_PATTERNS_MAX)
        return hub_error_set(error, HUB_ELIMIT, 0, "%zu patterns: a hub takes at most %d", count,
                             HUB__ROUTER_PATTERNS_MAX);
    router = hub__alloc_zeroed(sizeof(*router));
    atomic_init(&router->count, 1);
    status = compile_entries(router, sources, count, error);
    if (status != HUB_OK) {
        hub__router_release(router);
        return status;
    }
    make_trie(router);
    *ret_router = router;
    return HUB_OK;
}

hub__router_t *hub__router_retain(hub__router_t *router)
{
    atomic_fetch_add_explicit(&router->count, 1, memory_order_relaxed);
    return router;
}

void hub__router_release(hub__router_t *router)
{
    if (router == NULL || atomic_fetch_sub_explicit(&router->count, 1, memory_order_acq_rel) > 1)
        return;
    for (size_t i = 0; i < router->entry_count; i++)
        hub__pattern_destroy(router->entries[i].pattern);
    hub__trie_destroy(router->trie);
    free(router->entries);
    free(router);
}

hub_status_t hub__router_match(const hub__router_t *router, hub_str_t topic,
                               hub__match_scratch_t *scratch, const hub__route_t **ret_route,
                               hub__captures_t *ret_captures)
{
    hub__trie_found_t found;

    if (topic.len > HUB__TOPIC_BYTES_MAX)
        return HUB_ELIMIT;
    hub__trie_find(router->trie, topic, &found);
    for (size_t i = hub__trie_next(router->trie, &found, 0); i != SIZE_MAX;
         i = hub__trie_next(router->trie, &found, i + 1)) {
        const hub__route_t *route = &router->entries[i].route;
        hub_status_t status = hub__pattern_match(route->pattern, topic, scratch, ret_captures);

        if (status == HUB_ENOTFOUND)
            continue;
        if (status == HUB_OK)
            *ret_route = route;
        return status;
    }
    return HUB_ENOTFOUND;
}

size_t hub__router_count(const hub__router_t *router)
{
    return router->entry_count;
}

const hub__route_t *hub__router_at(const hub__router_t *router, size_t index)
{
    return &router->entries[index].route;
}
