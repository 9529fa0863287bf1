/* hub/peer.h - private: the other owners (workers of this process and of other nodes) as a tracker
 * knows them: when each was heard, and what it told of at each venue.
 *
 * One that is silent for too long is gone: what it told of is cleared, and it is kept for a while,
 * so that it is known when it speaks again and can be asked for everything. Pure. Loop thread. */
#pragma once

#include "hub/tracker.h"

#define HUB__PEERS_MAX 4096 /* of a tracker: workers of all nodes, and those that were */

struct hub__peer {
    hub__peer_t *next; /* of its tracker */
    uint64_t owner;
    uint64_t since_ms, heard_ms;
    uint64_t back_ms;    /* when it was heard again after it had missed a beat */
    uint64_t heard_beat; /* of ours */
    bool gone;           /* silent for too long; kept for a while, to know it again */
    hub__share_t *shares;
};

hub__peer_t *hub__peer_find(const hub__tracker_t *tracker, uint64_t owner); /* NULL: unknown */
/* A sign of life. NULL: no memory for another one, or there are too many. */
hub__peer_t *hub__peer_hear(hub__tracker_t *tracker, uint64_t owner);
/* It is gone, and all that it told of. */
void hub__peer_remove(hub__tracker_t *tracker, hub__peer_t *peer);
/* Who is silent for too long, at a beat of ours at which we have listened, is cleared. */
void hub__peers_look_after(hub__tracker_t *tracker, uint64_t now_ms);

/* What it has at a venue, made where there is nothing. NULL: no memory. */
hub__share_t *hub__peer_share(hub__venue_t *venue, hub__peer_t *peer);
/* Unlinks a share from its peer, if it has one, and destroys it. */
void hub__peer_drop_share(hub__share_t *share);
