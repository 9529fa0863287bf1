/* channels/replica.h - private: what workers and nodes tell each other of who is on a topic, as
 * JSON payloads of bus messages.
 *
 *     hello  {"fresh":true}                           I begin with this topic: who is there?
 *     hello  {"to":"00f3…"} or {}                     I missed something: one, or everybody, again
 *     hello  {"again":true,"have":["00f3…",…]}        of all others I have heard nothing
 *     delta  {"from":4,"clock":7,"joins":[…],"leaves":[12,…],"end":true}
 *     state  {"clock":7,"first":true,"last":true,"joins":[…]}     in one or more parts
 *     beat   {}                                       I live
 *     bye    {}                                       all that I told of has left
 *
 * A join is [number, microseconds since 1970, "key", {meta}, number it replaces or 0]. The clock of
 * an owner goes on over all of its topics; `from` is what it was at the delta before of this topic,
 * 0 at the first, so a missing one shows. Pure. */
#pragma once

#include "channels/roster.h"

typedef enum hub__replica_kind {
    HUB__REPLICA_HELLO,
    HUB__REPLICA_DELTA,
    HUB__REPLICA_STATE,
    HUB__REPLICA_BEAT,
    HUB__REPLICA_BYE,
    HUB__REPLICA_COUNT,
} hub__replica_kind_t;

/* The event of its message. */
hub_str_t hub__replica_event(hub__replica_kind_t kind);
/* HUB__REPLICA_COUNT: none of these. */
hub__replica_kind_t hub__replica_kind(hub_str_t event);

typedef struct hub__replica {
    uint64_t to; /* an owner; 0: everybody */
    uint64_t from, clock;
    bool fresh, again, first, last, end;
    hub_str_t joins, leaves, have; /* JSON arrays; absent: none. Borrowed */
} hub__replica_t;

/* `payload` is valid JSON. HUB_EPROTOCOL: not what it should be. Unknown members are ignored. */
HUB_MUST_USE hub_status_t hub__replica_decode(hub_str_t payload, hub__replica_t *ret_replica);
/* Calls `on_join` for each row until it returns false. HUB_EPROTOCOL: a row is none; those before
 * it were called for. `meta` is scratch for the facts. */
HUB_MUST_USE hub_status_t hub__replica_joins(hub_str_t joins, hub__buffer_t *meta,
                                             bool (*on_join)(const hub__tracking_facts_t *facts,
                                                             void *user),
                                             void *user);
HUB_MUST_USE hub_status_t hub__replica_leaves(hub_str_t leaves,
                                              void (*on_leave)(uint64_t number, void *user),
                                              void *user);

/* Whether an owner is in `have`. */
bool hub__replica_has_owner(hub_str_t have, uint64_t owner);

void hub__replica_encode(const hub__replica_t *replica, hub__buffer_t *out);
/* A row of this key with a meta of so many bytes is at most so long. */
size_t hub__replica_row_bound(hub_str_t key, size_t meta_len);
/* Append a row to what becomes `joins`, `leaves` or `have`, without brackets. */
void hub__replica_append_join(hub__buffer_t *joins, const hub__tracking_t *tracking);
void hub__replica_append_leave(hub__buffer_t *leaves, uint64_t number);
void hub__replica_append_owner(hub__buffer_t *have, uint64_t owner);
