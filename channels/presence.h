/* channels/presence.h - who is on a topic: keys, and under each key one meta for every tracking.
 *
 * A channel has presence where its options name one of these; what a member does with it is in
 * hub/presence.h. Members of the topic get what clients of Phoenix 1.8 know (its Presence class
 * keeps such a list in step):
 *
 *     presence_state  {"alice":{"metas":[{"phx_ref":"…", …}, …]}, …}
 *     presence_diff   {"joins":{…},"leaves":{…}}
 *
 * Every tracking has a meta of its own, oldest first, with a phx_ref that is its own for ever. An
 * update is a leave of the old meta and a join of the new one, which names the old in phx_ref_prev.
 *
 * Every worker and node owns what its members track and tells the others; each derives from what it
 * knows what its own members are told. So the state and the diffs behind it always agree, join and
 * leave of one member come in their order, and whoever is gone (hub_options_t.presence_beat_ms) is
 * cleared. A worker keeps a copy of each topic on which it has members: about 300 bytes a tracking
 * beside its key and meta. */
#pragma once

#include "bus/message.h"

#ifdef __cplusplus
extern "C" {
#endif

#define HUB_PRESENCE_AT_ONCE UINT32_MAX

/* One key of a diff or state that is being made. */
typedef struct hub_presence_row {
    hub_str_t key;
    hub_str_t extra; /* absent; set to a JSON object, its members stand beside "metas". Borrowed
                        until the callback is called again on the same thread */
} hub_presence_row_t;

/* Adds what is known of the keys elsewhere (names, pictures): called once per diff, once per state
 * and once per list, then from within hub_presence_list(), with all of their keys. `topic` is the
 * full one. Must not block, nor call the hub. On the loop of each worker that has members there. */
typedef void (*hub_presence_on_fetch_cb)(hub_str_t topic, hub_presence_row_t *rows, size_t count,
                                         void *user);

/* All zero is a sensible default. Copied with the channel's options. */
typedef struct hub_presence_options {
    uint32_t diff_ms;  /* a topic's changes are told at the end of the turn, but at most every so
                          often, what comes between is gathered; 0 means 50;
                          HUB_PRESENCE_AT_ONCE: each change is a diff of its own, and goes out, like
                          a state, within the call that makes it, in which on_fetch runs then;
                          other workers tell as one what reaches them in one turn */
    uint32_t grace_ms; /* the leave of a member whose connection ended, that failed or that joined
                          anew is kept back for so long: tracked again on the same worker with the
                          same meta nobody notices, with another one it is an update; tracked on
                          another worker, the old meta goes behind the new. 0: not kept back. A
                          leave that was asked for never is */
    uint32_t keys_max; /* with more keys than this members are told counts and a sample: key "*" has
                          one meta {"keys":…,"metas":…,"sample":…} instead of the rest, in the state
                          as in the diffs. A new state says so when it begins (and when, with a
                          tenth less, it ends). 0 means 1,000 */
    uint32_t state_bytes; /* likewise when a state would have more bytes than this, what on_fetch
                             adds left out. The sample then has less than a third of it, and none
                             of the keys that would take a sixteenth each. Keep it well below the
                             limit outbox_bytes. 0 means 262,144 */
    uint32_t sample_keys; /* how many of them at most, the oldest; 0 means 100, at most keys_max */
    uint32_t meta_bytes;  /* of one meta, else HUB_ETOOLARGE; 0 means 4,096, at most 65,536 */
    uint32_t keys_per_member;          /* tracked at once, else HUB_ELIMIT; 0 means 16 */
    hub_presence_on_fetch_cb on_fetch; /* may be NULL */
    void *user;                        /* of on_fetch */
} hub_presence_options_t;

#ifdef __cplusplus
}
#endif
