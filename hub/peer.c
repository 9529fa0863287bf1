/* SPDX-License-Identifier: MIT */
/* The others as one of them sees them: who is heard, who is silent and so gone, and what each of
 * them told of. */
#include "hub/peer.h"

#include <stdlib.h>

#include "hub/query.h"
#include "hub/session.h"

#define SILENT_BEATS 4  /* then it is gone */
#define OUTAGE_BEATS 60 /* so long nobody is, while nobody can be heard */
#define FORGET_BEATS 120
_Static_assert((SILENT_BEATS + 1) * HUB__TRACKER_BEAT_MS <= 60000,
               "a node that died is cleared within a minute: looked for at each beat");

hub__peer_t *hub__peer_find(const hub__tracker_t *tracker, uint64_t owner)
{
    hub__peer_t *peer = tracker->peers;

    while (peer != NULL && peer->owner != owner)
        peer = peer->next;
    return peer;
}

hub__share_t *hub__peer_share(hub__venue_t *venue, hub__peer_t *peer)
{
    hub__share_t *share = hub__roster_share(venue->roster, peer->owner);

    if (share != NULL || (share = hub__share_create(venue->roster, peer->owner)) == NULL)
        return share;
    share->venue = venue;
    share->peer_next = peer->shares;
    share->peer_prev = &peer->shares;
    if (peer->shares != NULL)
        peer->shares->peer_prev = &share->peer_next;
    peer->shares = share;
    return share;
}

void hub__peer_drop_share(hub__share_t *share)
{
    if (share->peer_prev != NULL && (*share->peer_prev = share->peer_next) != NULL)
        share->peer_next->peer_prev = share->peer_prev;
    hub__share_destroy(share);
}

/* Everything it told of has left. */
static void clear_peer(hub__peer_t *peer)
{
    while (peer->shares != NULL) {
        hub__venue_t *venue = peer->shares->venue;

        hub__peer_drop_share(peer->shares);
        hub__venue_wake(venue);
    }
}

void hub__peer_remove(hub__tracker_t *tracker, hub__peer_t *peer)
{
    hub__peer_t **link = &tracker->peers;

    clear_peer(peer);
    while (*link != peer)
        link = &(*link)->next;
    *link = peer->next;
    --tracker->peer_count;
    free(peer);
}

/* At once, but as many as a turn has room for. */
static void check_venue(hub__table_node_t *node, void *user)
{
    hub__venue_t *venue = HUB__CONTAINER(node, hub__venue_t, node);

    (void)user;
    hub__query_expect(venue, 0);
    hub__venue_wake(venue);
}

/* Who is gone is only kept so that it is known again. */
static bool make_room(hub__tracker_t *tracker)
{
    hub__peer_t *peer = tracker->peers;

    if (tracker->peer_count < HUB__PEERS_MAX)
        return true;
    while (peer != NULL && !peer->gone)
        peer = peer->next;
    if (peer != NULL)
        hub__peer_remove(tracker, peer);
    return peer != NULL;
}

static hub__peer_t *create_peer(hub__tracker_t *tracker, uint64_t owner)
{
    hub__peer_t *peer = make_room(tracker) ? calloc(1, sizeof(*peer)) : NULL;

    if (peer == NULL) {
        tracker->turned_away = true;
        return NULL;
    }
    peer->owner = owner;
    peer->since_ms = *tracker->now_ms;
    peer->gone = tracker->turned_away; /* what it said so far may have been passed over */
    peer->next = tracker->peers;
    tracker->peers = peer;
    ++tracker->peer_count;
    return peer;
}

hub__peer_t *hub__peer_hear(hub__tracker_t *tracker, uint64_t owner)
{
    hub__peer_t *peer = hub__peer_find(tracker, owner);

    if (peer == NULL && (peer = create_peer(tracker, owner)) == NULL)
        return NULL;
    if (*tracker->now_ms - peer->heard_ms >= 2 * (uint64_t)tracker->beat_ms)
        peer->back_ms = *tracker->now_ms;
    peer->heard_ms = *tracker->now_ms;
    peer->heard_beat = tracker->beats;
    if (peer->gone) {
        peer->gone = false;
        hub__table_foreach(&tracker->venues, check_venue, NULL);
    }
    return peer;
}

/* A broker that is away looks like the end of all others: what counts is the time in which they
 * could be heard, until what is shown of them is too old to be of use. */
static bool is_silent(const hub__tracker_t *tracker, const hub__peer_t *peer, uint64_t silent_ms)
{
    return tracker->beats - peer->heard_beat > SILENT_BEATS ||
           silent_ms >= (uint64_t)OUTAGE_BEATS * tracker->beat_ms;
}

void hub__peers_look_after(hub__tracker_t *tracker, uint64_t now_ms)
{
    hub__peer_t *next;

    tracker->turned_away = tracker->turned_away && tracker->peer_count == HUB__PEERS_MAX;
    for (hub__peer_t *peer = tracker->peers; peer != NULL; peer = next) {
        uint64_t silent_ms = now_ms - peer->heard_ms;

        next = peer->next;
        if (silent_ms >= (uint64_t)FORGET_BEATS * tracker->beat_ms) {
            hub__peer_remove(tracker, peer);
        } else if (!peer->gone && is_silent(tracker, peer, silent_ms)) {
            peer->gone = true;
            hub_log_peer(HUB_LOG_WARN, "presence.peer_gone", "owner=%012llx silent_ms=%llu",
                         (unsigned long long)peer->owner, (unsigned long long)silent_ms);
            HUB__STAT(tracker->stats, presence_peers_gone_total);
            clear_peer(peer);
        }
    }
}
