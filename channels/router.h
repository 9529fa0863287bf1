/* channels/router.h - private: which channel handles a topic, most specific first.
 *
 * Made once from everything that a hub and its included hubs declared, then immutable and counted:
 * members hold on to it. Finding the channel of a topic does not slow down with the number of
 * patterns: a trie over the tokens of all patterns leaves the few that can match, tried in the
 * order of specificity; PCRE2 runs on those alone. What the trie cannot tell apart are constraints:
 * n of them at one place, with the same text behind, cost n matches. Any thread may match, each
 * with its own scratch. */
#pragma once

#include "channels/pattern.h"

#define HUB__ROUTER_PATTERNS_MAX 1000

typedef struct hub__router hub__router_t;

/* One declared channel under one chain of include prefixes. */
typedef struct hub__route_source {
    hub_str_t prefix;  /* all include prefixes from the root down, concatenated; may be absent */
    hub_str_t pattern; /* as the hub declared it */
    bool has_priority; /* settles a conflict of specificity, and only that: higher goes first */
    int priority;      /* without has_priority it counts as 0 */
    void *target;      /* returned by a match, never looked into */
} hub__route_source_t;

typedef struct hub__route {
    const hub__pattern_t *pattern;
    void *target;
    size_t index; /* within the order of specificity */
} hub__route_t;

/* Compiles `count` sources (copied, any order: the result is the same). HUB_ECONFLICT names both
 * patterns: two constraints at one place that no different priorities settle, the same pattern
 * twice (whatever the priorities: the second could never match), or priorities that contradict the
 * order of specificity. Errors of a pattern name it and the offset. HUB_ELIMIT past
 * HUB__ROUTER_PATTERNS_MAX. The reference count starts at one. No sources make a router that finds
 * nothing. */
HUB_MUST_USE hub_status_t hub__router_create(const hub__route_source_t *sources, size_t count,
                                             hub__router_t **ret_router, hub_error_t *error);
hub__router_t *hub__router_retain(hub__router_t *router);
/* NULL is allowed. */
void hub__router_release(hub__router_t *router);

/* The most specific pattern that matches. `topic` is valid UTF-8: the caller has checked it.
 * HUB_ENOTFOUND: none; HUB_ELIMIT: a candidate's match failed, or the topic is longer than
 * HUB__TOPIC_BYTES_MAX; the join must be denied. */
HUB_MUST_USE hub_status_t hub__router_match(const hub__router_t *router, hub_str_t topic,
                                            hub__match_scratch_t *scratch,
                                            const hub__route_t **ret_route,
                                            hub__captures_t *ret_captures);

/* In the order of specificity, for logs and tests. */
size_t hub__router_count(const hub__router_t *router);
const hub__route_t *hub__router_at(const hub__router_t *router, size_t index);
