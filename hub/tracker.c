/* SPDX-License-Identifier: MIT */
/* The replication of presence: each owner tells its deltas in order, gives its state to who asks,
 * and is believed about its own trackings alone. Who falls silent is cleared, and asked for
 * everything when it speaks again. */
#include "hub/tracker.h"

#include <assert.h>
#include <stdlib.h>

#include "hub/peer.h"
#include "hub/query.h"
#include "hub/session.h"

#define CHUNK_BYTES (48u * 1024)
#define AROUND_ROWS 256    /* bytes of a message, at most */
#define ROWS_PER_TURN 2000 /* of a state */
#define ASKING_MAX 256

uint64_t hub__tracker_next_try_ms(hub__venue_t *venue)
{
    uint32_t pause_ms = venue->pause_ms == 0 ? HUB__TRACKER_FIRST_PAUSE_MS : 2 * venue->pause_ms;

    venue->pause_ms = pause_ms < HUB__TRACKER_RETRY_MS ? pause_ms : HUB__TRACKER_RETRY_MS;
    return *venue->tracker->now_ms + venue->pause_ms;
}

hub_status_t hub__tracker_publish(hub__tracker_t *tracker, hub__venue_t *venue,
                                  hub__replica_kind_t kind, const hub__replica_t *replica,
                                  hub__query_t *query)
{
    hub__replica_encode(replica, &tracker->payload);
    return tracker->io->publish(tracker, venue, kind, hub__buffer_str(&tracker->payload), query);
}

/* ---- life ---- */

static void on_beat(hub__timer_t *timer, uint64_t now_ms)
{
    hub__tracker_t *tracker = HUB__CONTAINER(timer, hub__tracker_t, beat);

    (void)hub__tracker_publish(tracker, NULL, HUB__REPLICA_BEAT, &(hub__replica_t){0}, NULL);
    /* who was away itself has not listened: what the others said may still lie in its mailbox */
    if (now_ms - timer->due_ms < tracker->beat_ms) {
        tracker->beats += tracker->io->hears(tracker);
        hub__peers_look_after(tracker, now_ms);
    }
    tracker->io->timer_arm(tracker, timer, now_ms + tracker->beat_ms);
}

hub__tracker_t *hub__tracker_create(const hub__tracker_options_t *options)
{
    hub__tracker_t *tracker = hub__alloc_zeroed(sizeof(*tracker));

    tracker->io = options->io;
    tracker->user = options->user;
    tracker->now_ms = options->now_ms;
    tracker->stats = options->stats;
    tracker->owner = options->owner;
    tracker->beat_ms = options->beat_ms != 0 ? options->beat_ms : HUB__TRACKER_BEAT_MS;
    tracker->chunk_bytes =
        options->largest_bytes / 4 < CHUNK_BYTES ? options->largest_bytes / 4 : CHUNK_BYTES;
    tracker->row_bytes = options->largest_bytes > tracker->chunk_bytes + AROUND_ROWS
                             ? options->largest_bytes - tracker->chunk_bytes - AROUND_ROWS
                             : 0;
    tracker->alone = options->alone;
    tracker->remote = options->remote;
    tracker->due_last = &tracker->due_first;
    tracker->beat.on_due = on_beat;
    tracker->asks_last = &tracker->asks_first;
    tracker->asking_max = options->asking_max != 0 ? options->asking_max : ASKING_MAX;
    tracker->ask_timer.on_due = hub__query_on_timer;
    return tracker;
}

void hub__tracker_begin(hub__tracker_t *tracker)
{
    if (tracker->beating || tracker->io->subscribe(tracker, NULL) != HUB_OK)
        return;
    tracker->beating = true;
    tracker->io->timer_arm(tracker, &tracker->beat, *tracker->now_ms + tracker->beat_ms);
}

static void forget_state(hub__table_node_t *node, void *user)
{
    (void)user;
    hub__tracker_forget_state(HUB__CONTAINER(node, hub__venue_t, node));
}

void hub__tracker_stop(hub__tracker_t *tracker)
{
    if (tracker->stopped)
        return;
    tracker->stopped = true;
    hub__table_foreach(&tracker->venues, forget_state, NULL); /* or others wait for the answers */
    tracker->io->timer_disarm(tracker, &tracker->beat);
    if (tracker->beating)
        (void)hub__tracker_publish(tracker, NULL, HUB__REPLICA_BYE, &(hub__replica_t){0}, NULL);
}

static void destroy_venue(hub__table_node_t *node, void *user)
{
    (void)user;
    hub__venue_destroy(HUB__CONTAINER(node, hub__venue_t, node));
}

void hub__tracker_close(hub__tracker_t *tracker)
{
    hub__tracker_stop(tracker);
    hub__table_foreach(&tracker->venues, destroy_venue, NULL);
    hub__table_dispose(&tracker->venues);
    tracker->io->timer_disarm(tracker, &tracker->ask_timer);
    tracker->due_first = NULL;
    tracker->due_last = &tracker->due_first;
    while (tracker->peers != NULL) {
        hub__peer_t *peer = tracker->peers;

        tracker->peers = peer->next;
        free(peer);
    }
    if (tracker->beating)
        tracker->io->unsubscribe(tracker, NULL);
    tracker->beating = false;
    hub__buffer_dispose(&tracker->payload);
    hub__buffer_dispose(&tracker->joins);
    hub__buffer_dispose(&tracker->leaves);
    hub__buffer_dispose(&tracker->meta);
    hub__buffer_dispose(&tracker->news);
}

void hub__tracker_destroy(hub__tracker_t *tracker)
{
    if (tracker == NULL)
        return;
    while (tracker->queries != NULL) {
        hub__query_t *query = tracker->queries;

        tracker->queries = query->next;
        free(query);
    }
    free(tracker);
}

/* The rest, first in line for the next turn. */
static void put_back(hub__tracker_t *tracker, hub__venue_t *first, hub__venue_t **last)
{
    *last = tracker->due_first;
    if (tracker->due_first == NULL)
        tracker->due_last = last;
    tracker->due_first = first;
    if (!tracker->scheduled)
        tracker->io->schedule(tracker);
    tracker->scheduled = true;
}

void hub__tracker_settle(hub__tracker_t *tracker)
{
    hub__venue_t *venue = tracker->due_first, *next, **last = tracker->due_last;
    bool is_first = true;

    tracker->scheduled = false;
    tracker->due_first = NULL;
    tracker->due_last = &tracker->due_first;
    for (; venue != NULL; venue = next) {
        if (!is_first && !tracker->stopped && tracker->io->is_late(tracker)) {
            put_back(tracker, venue, last);
            return;
        }
        is_first = false;
        next = venue->due_next;
        if (!tracker->stopped)
            hub__venue_run(venue);
    }
}

/* ---- what we tell ---- */

static void send_delta(hub__venue_t *venue, bool end)
{
    hub__tracker_t *tracker = venue->tracker;
    hub__replica_t replica = {
        .from = venue->own->clock,
        .clock = ++tracker->clock,
        .end = end,
        .joins = hub__buffer_str(&tracker->joins),
        .leaves = hub__buffer_str(&tracker->leaves),
    };

    /* also where it fails: then the next one shows that something is missing */
    venue->own->clock = tracker->clock;
    if (hub__tracker_publish(tracker, venue, HUB__REPLICA_DELTA, &replica, NULL) != HUB_OK) {
        venue->owes_state = true;
        venue->retry_ms = hub__tracker_next_try_ms(venue);
    }
    tracker->joins.len = 0;
    tracker->leaves.len = 0;
}

static void make_room(hub__venue_t *venue)
{
    hub__tracker_t *tracker = venue->tracker;

    if (tracker->joins.len + tracker->leaves.len > tracker->chunk_bytes)
        send_delta(venue, false);
}

static void on_own_join(hub__tracking_t *tracking, void *venue)
{
    hub__replica_append_join(&((hub__venue_t *)venue)->tracker->joins, tracking);
    tracking->is_sent = true;
    make_room(venue);
}

static void on_own_leave(uint64_t number, void *venue)
{
    hub__replica_append_leave(&((hub__venue_t *)venue)->tracker->leaves, number);
    make_room(venue);
}

void hub__tracker_send_changes(hub__venue_t *venue, bool end)
{
    hub__tracker_t *tracker = venue->tracker;

    tracker->joins.len = 0;
    tracker->leaves.len = 0;
    hub__roster_changes(venue->roster, venue->own, on_own_join, on_own_leave, venue);
    if (tracker->joins.len != 0 || tracker->leaves.len != 0 || (end && venue->own->clock != 0))
        send_delta(venue, end);
}

static void release_acks(hub__venue_t *venue)
{
    hub__tracker_t *tracker = venue->tracker;

    for (size_t i = 0; i != venue->ack_count; ++i)
        tracker->io->release_ack(venue->acks[i]);
    venue->ack_count = 0;
}

void hub__tracker_forget_state(hub__venue_t *venue)
{
    venue->sending = false;
    venue->owes_state = false;
    venue->cursor = NULL;
    release_acks(venue);
}

/* One part. False: it is not to be had now. */
static bool send_part(hub__venue_t *venue, size_t *rows)
{
    hub__tracker_t *tracker = venue->tracker;
    hub__replica_t replica = {.clock = venue->own->clock, .first = venue->is_first};

    tracker->joins.len = 0;
    for (; venue->cursor != NULL && tracker->joins.len <= tracker->chunk_bytes;
         venue->cursor = venue->cursor->next) {
        if (!venue->cursor->is_sent)
            continue; /* a delta brings it */
        hub__replica_append_join(&tracker->joins, venue->cursor);
        ++*rows;
    }
    venue->is_first = false;
    replica.last = venue->cursor == NULL;
    replica.joins = hub__buffer_str(&tracker->joins);
    return hub__tracker_publish(tracker, venue, HUB__REPLICA_STATE, &replica, NULL) == HUB_OK;
}

/* Who asks while a state is under way gets the next one, and all who asked wait for that. */
void hub__tracker_send_state(hub__venue_t *venue)
{
    uint64_t now_ms = *venue->tracker->now_ms;
    size_t rows = 0;

    venue->retry_ms = 0;
    if (!venue->sending) {
        venue->owes_state = false;
        venue->sending = venue->is_first = true;
        venue->cursor = venue->own->first;
    }
    while (venue->sending && rows < ROWS_PER_TURN) {
        if (!send_part(venue, &rows)) {
            hub__tracker_forget_state(venue);
            venue->owes_state = true;
            venue->retry_ms = hub__tracker_next_try_ms(venue);
        } else if (venue->cursor == NULL) {
            venue->sending = false;
        }
    }
    if (venue->sending)
        venue->retry_ms = now_ms + 1; /* the rest in a later turn */
    else if (!venue->owes_state)
        release_acks(venue);
}

/* ---- what others tell ---- */

static void count_bad(hub__tracker_t *tracker, uint64_t owner)
{
    HUB__STAT(tracker->stats, presence_bad_total);
    hub_log_peer(HUB_LOG_WARN, "presence.bad_message", "owner=%012llx", (unsigned long long)owner);
}

void hub__tracker_gap(hub__venue_t *venue)
{
    uint64_t now_ms = *venue->tracker->now_ms;

    if (venue->tracker->stopped)
        return;
    hub__query_mark_stale(venue);
    if (venue->gap_ms != 0 && now_ms - venue->gap_ms < HUB__TRACKER_RETRY_MS) {
        /* the answers to each would be the next to find a full mailbox */
        venue->unreached = true;
        venue->ask_ms = venue->gap_ms + HUB__TRACKER_RETRY_MS;
    } else {
        venue->gap_ms = now_ms;
        venue->pause_ms = 0;
        hub__query_line_up(venue);
    }
    hub__venue_wake(venue);
}

void hub__tracker_ready(hub__venue_t *venue)
{
    if (!venue->tracker->stopped)
        hub__query_ask(venue, 0, venue->own->clock == 0);
}

typedef struct hub__incoming {
    hub__venue_t *venue;
    hub__share_t *share;
    bool lacks; /* there was no memory for some of it, or it could not be read */
} hub__incoming_t;

/* As long as nobody here has a state yet, what comes from others is part of the first one, and no
 * news besides. */
static bool on_peer_join(const hub__tracking_facts_t *facts, void *user)
{
    hub__incoming_t *incoming = user;
    size_t before = incoming->share->count;
    hub__tracking_t *tracking;

    if (facts->key.len == 1 && facts->key.base[0] == '*')
        return true;
    if ((tracking = hub__share_join(incoming->share, facts)) == NULL) {
        incoming->lacks = true;
        return true;
    }
    if (!incoming->venue->synced)
        tracking->told = true;
    if (incoming->share->count != before && facts->previous == 0)
        hub__venue_met(incoming->venue, facts->key);
    return true;
}

static void peer_leaves(const hub__venue_t *venue, hub__tracking_t *tracking)
{
    if (!venue->synced)
        tracking->told = false;
    hub__share_leave(tracking);
}

static void on_peer_leave(uint64_t number, void *user)
{
    hub__incoming_t *incoming = user;
    hub__tracking_t *tracking = hub__share_find(incoming->share, number);

    if (tracking != NULL)
        peer_leaves(incoming->venue, tracking);
}

/* Who is asked again, but has been heard, says nothing, unless it is believed to hold what it does
 * not: then it answers that it holds nothing. */
static bool is_asked(hub__venue_t *venue, const hub__replica_t *replica)
{
    hub__tracker_t *tracker = venue->tracker;

    if (!replica->again)
        return (replica->to == 0 || replica->to == tracker->owner) && venue->own->clock != 0;
    if (hub__replica_has_owner(replica->have, tracker->owner) == (venue->own->clock != 0))
        return false;
    if (venue->own->clock == 0)
        venue->own->clock = ++tracker->clock;
    return true;
}

static void on_hello(hub__venue_t *venue, hub__peer_t *peer, const hub__replica_t *replica,
                     void *ack)
{
    hub__tracker_t *tracker = venue->tracker;
    hub__share_t *share = hub__roster_share(venue->roster, peer->owner);

    if (replica->fresh && share != NULL)
        hub__peer_drop_share(share);
    if (is_asked(venue, replica)) {
        venue->owes_state = true;
        if (ack != NULL && (ack = tracker->io->retain_ack(ack)) != NULL) {
            if (venue->ack_count == venue->ack_capacity) {
                venue->ack_capacity = venue->ack_capacity == 0 ? 4 : venue->ack_capacity * 2;
                venue->acks = hub__realloc(venue->acks, venue->ack_capacity * sizeof(*venue->acks));
            }
            venue->acks[venue->ack_count++] = ack;
        }
    }
    hub__venue_wake(venue);
}

static void on_delta(hub__venue_t *venue, hub__peer_t *peer, const hub__replica_t *replica)
{
    hub__share_t *share = hub__roster_share(venue->roster, peer->owner);
    hub__incoming_t incoming = {.venue = venue};

    if (share == NULL && replica->from != 0 && venue->query != NULL)
        return; /* its state is on the way */
    if (share == NULL && (share = hub__peer_share(venue, peer)) == NULL)
        return;
    if (replica->clock <= share->clock)
        return;
    if (replica->from != share->clock) {
        hub__query_ask_again(venue, share);
        return;
    }
    incoming.share = share;
    if (hub__replica_joins(replica->joins, &venue->tracker->meta, on_peer_join, &incoming) !=
            HUB_OK ||
        hub__replica_leaves(replica->leaves, on_peer_leave, &incoming) != HUB_OK) {
        count_bad(venue->tracker, peer->owner);
        incoming.lacks = true; /* the rows behind the bad one */
    }
    share->clock = replica->clock;
    if (replica->end)
        hub__peer_drop_share(share);
    else if (incoming.lacks)
        hub__query_ask_again(venue, share);
    hub__venue_wake(venue);
}

/* What is not in a state that is complete has left. */
static void drop_unconfirmed(const hub__venue_t *venue, hub__share_t *share)
{
    hub__tracking_t *next;

    for (hub__tracking_t *tracking = share->first; tracking != NULL; tracking = next) {
        next = tracking->next;
        if (tracking->generation != share->generation)
            peer_leaves(venue, tracking);
    }
}

static void on_state(hub__venue_t *venue, hub__peer_t *peer, const hub__replica_t *replica)
{
    hub__share_t *share = hub__peer_share(venue, peer);
    hub__incoming_t incoming = {.venue = venue, .share = share};

    if (share == NULL)
        return;
    if (replica->first) {
        share->receiving =
            share->stale ? replica->clock >= share->clock : replica->clock > share->clock;
        share->generation += share->receiving;
    }
    if (!share->receiving)
        return;
    share->stale = false;
    if (hub__replica_joins(replica->joins, &venue->tracker->meta, on_peer_join, &incoming) !=
        HUB_OK)
        count_bad(venue->tracker, peer->owner);
    share->clock = replica->clock;
    if (incoming.lacks)
        hub__query_set_stale(venue, share); /* and is asked for with the next change */
    if (replica->last) {
        drop_unconfirmed(venue, share);
        share->receiving = false;
        hub__query_heard(venue);
    }
    hub__venue_wake(venue);
}

void hub__tracker_receive(hub__tracker_t *tracker, hub__venue_t *venue, uint64_t owner,
                          hub_str_t event, hub_str_t payload, void *ack)
{
    hub__replica_kind_t kind = hub__replica_kind(event);
    hub__replica_t replica;
    hub__peer_t *peer;

    if (owner == tracker->owner || tracker->stopped)
        return;
    if (owner == 0 || kind == HUB__REPLICA_COUNT ||
        (venue == NULL) != (kind == HUB__REPLICA_BEAT || kind == HUB__REPLICA_BYE) ||
        hub__replica_decode(payload, &replica) != HUB_OK) {
        count_bad(tracker, owner);
        return;
    }
    if ((peer = hub__peer_hear(tracker, owner)) == NULL) {
        count_bad(tracker, owner);
        return;
    }
    switch (kind) {
    case HUB__REPLICA_HELLO:
        on_hello(venue, peer, &replica, ack);
        break;
    case HUB__REPLICA_DELTA:
        on_delta(venue, peer, &replica);
        break;
    case HUB__REPLICA_STATE:
        on_state(venue, peer, &replica);
        break;
    case HUB__REPLICA_BYE:
        hub__peer_remove(tracker, peer);
        break;
    case HUB__REPLICA_BEAT:
    case HUB__REPLICA_COUNT:
        break;
    }
}
