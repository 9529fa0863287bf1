/* channels/roster.h - private: who is on one topic, as one worker knows it, and what of it its
 * members have been told.
 *
 * Trackings of all owners (an owner is a worker of some node) lie under their keys, oldest first. A
 * tracking that comes and goes between two diffs is never told; one that was told leaves its trace
 * until the next diff. What members see may be less than what is here: beyond the budget it is a
 * sample of the keys, and counts. Pure. One thread. */
#pragma once

#include "bus/buffer.h"
#include "bus/table.h"
#include "channels/presence.h"

/* 48 bits of owner and of number, in base64url. */
#define HUB__PRESENCE_REF_BYTES 16
#define HUB__PRESENCE_KEY_MAX 255
#define HUB__PRESENCE_NUMBER_MAX ((UINT64_C(1) << 48) - 1)
/* The key under which counts are told; no program's. */
#define HUB__PRESENCE_COUNTS "*"

typedef struct hub__roster hub__roster_t;
typedef struct hub__roster_key hub__roster_key_t;
typedef struct hub__tracking hub__tracking_t;

/* What one owner has on this topic. */
typedef struct hub__share {
    struct hub__share *next; /* in its roster */
    hub__roster_t *roster;
    uint64_t owner;
    hub__tracking_t *first, *last; /* in the order they came */
    size_t count;
    uint32_t generation; /* of the newest state; what is older is not confirmed yet */

    /* of the replication: */
    void *venue;
    struct hub__share *peer_next, **peer_prev;
    uint64_t clock; /* of the last delta that is in it */
    uint64_t asked_ms;
    uint64_t stale_ms; /* since when something is missing */
    bool stale;        /* something is */
    bool receiving;    /* a state is coming in */
} hub__share_t;

struct hub__tracking {
    hub__table_node_t node; /* in its roster, by owner and number */
    hub__roster_key_t *key;
    hub__tracking_t *newer, *older;
    hub__share_t *share; /* NULL: it has left */
    hub__tracking_t *next, *prev;
    uint64_t owner, number;
    uint64_t previous; /* number of the one it replaced; 0: none */
    uint64_t stamp_us;
    uint32_t generation;
    uint32_t meta_len;
    bool told;    /* members know it, or would if it were in their sample */
    bool shown;   /* somebody was given it without a diff */
    bool is_sent; /* the other owners know it */
    char meta[];  /* the members of the object, without its braces */
};

typedef struct hub__roster_stats {
    size_t keys, trackings;
} hub__roster_stats_t;

/* `topic` and `options` are borrowed as long as the roster; options resolved. NULL: no memory. */
hub__roster_t *hub__roster_create(hub_str_t topic, const hub_presence_options_t *options);
/* Frees everything in it. NULL is allowed. */
void hub__roster_destroy(hub__roster_t *roster);
hub_str_t hub__roster_topic(const hub__roster_t *roster);
const hub_presence_options_t *hub__roster_options(const hub__roster_t *roster);
hub__roster_stats_t hub__roster_stats(const hub__roster_t *roster);

hub__share_t *hub__roster_share(const hub__roster_t *roster, uint64_t owner); /* NULL: none */
hub__share_t *hub__roster_shares(const hub__roster_t *roster);                /* the first */
hub__share_t *hub__share_create(hub__roster_t *roster, uint64_t owner);       /* NULL: no memory */
/* All that it has leaves. */
void hub__share_destroy(hub__share_t *share);

/* The meta of a payload as a tracking keeps it: without white space around, phx_ref and
 * phx_ref_prev. HUB_EPAYLOAD: no JSON object. */
HUB_MUST_USE hub_status_t hub__roster_meta(hub_payload_t payload, hub__buffer_t *ret_meta);

/* What a tracking is made of. Borrowed. */
typedef struct hub__tracking_facts {
    uint64_t number; /* 1 to HUB__PRESENCE_NUMBER_MAX */
    uint64_t previous;
    uint64_t stamp_us;
    hub_str_t key;
    hub_str_t meta; /* as hub__roster_meta() made it */
} hub__tracking_facts_t;

/* One that is there already is confirmed. NULL: no memory. */
hub__tracking_t *hub__share_join(hub__share_t *share, const hub__tracking_facts_t *facts);
void hub__share_leave(hub__tracking_t *tracking);
hub__tracking_t *hub__share_find(const hub__share_t *share, uint64_t number); /* NULL: none */
/* The oldest under a key, the others follow by `newer`; NULL: none. */
hub__tracking_t *hub__roster_oldest(const hub__roster_t *roster, hub_str_t key);
hub_str_t hub__tracking_key(const hub__tracking_t *tracking);
/* A pointer that each key has for those who hold trackings under it; NULL at first. */
void **hub__tracking_slot(const hub__tracking_t *tracking);
hub_str_t hub__tracking_meta(const hub__tracking_t *tracking);

/* Whether there is something that has not been told. */
bool hub__roster_has_news(const hub__roster_t *roster);
/* What has changed in one share since the last hub__roster_tell(): calls on_join for each tracking
 * that came and on_leave for each that went; those that others never heard of are left out. */
void hub__roster_changes(hub__roster_t *roster, const hub__share_t *share,
                         void (*on_join)(hub__tracking_t *tracking, void *user),
                         void (*on_leave)(uint64_t number, void *user), void *user);

typedef enum hub__roster_news {
    HUB__ROSTER_NOTHING,
    HUB__ROSTER_DIFF,
    HUB__ROSTER_STATE, /* everything anew: what is told became a sample, or is none any more */
} hub__roster_news_t;

/* Writes what members are to be told, and takes it as told. */
hub__roster_news_t hub__roster_tell(hub__roster_t *roster, hub__buffer_t *ret_payload);
/* Writes what there is to be seen now. */
void hub__roster_state(hub__roster_t *roster, hub__buffer_t *ret_payload);

/* Replaces zeros by defaults. HUB_EINVAL names the option. */
HUB_MUST_USE hub_status_t hub__presence_options_resolve(hub_presence_options_t *options,
                                                        hub_error_t *error);
