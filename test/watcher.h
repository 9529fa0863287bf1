/* test/watcher.h - members that keep the list of who is there as phoenix.js does: for the wire
 * tests of presence. */
#pragma once

#include <jansson.h>

#include "test/client.h"

typedef struct watcher {
    client_t *client; /* the case's own */
    json_t *view;     /* key -> phx_ref -> meta; NULL: no state yet */
    bool v2;
    bool joined;
    unsigned joins, leaves; /* metas in diffs so far */
} watcher_t;

/* The client, which came in by this target, asks to join the topic under the key. */
watcher_t watcher_begin(client_t *client, const char *target, const char *topic, const char *key);
/* The next frame. */
void watcher_take(watcher_t *watcher);
void watcher_await_state(watcher_t *watcher);
/* Reads until the list is as wanted, keys and how many metas they have: {'alice':2}. What does not
 * come fails the case. */
void watcher_expect(watcher_t *watcher, const char *wanted);
/* Whether it is so now. */
bool watcher_sees(const watcher_t *watcher, const char *wanted);
/* A state, or the joins of a diff, as a list like `view`. To be freed. */
json_t *watcher_by_refs(const json_t *presences);
/* Frees the list. */
void watcher_forget(watcher_t *watcher);
