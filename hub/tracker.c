/* SPDX-License-Identifier: MIT */
/* The replication of presence: each owner tells its deltas in order, gives its state to who asks,
 * and is believed about its own trackings alone. Who falls silent is cleared, and asked for
 * everything when it speaks again. */
#include "hub/tracker.h"

#include <assert.h>
#include <stdlib.h>

#include "hub/session.h"

#define BEAT_MS 10000
#define SILENT_BEATS 4  /* then it is gone */
#define OUTAGE_BEATS 60 /* so long nobody is, while nobody can be heard */
#define FORGET_BEATS 120
#define CHECKS 2 /* after each question */
_Static_assert((SILENT_BEATS + 1) * BEAT_MS <= 60000,
               "a node that died is cleared within a minute: looked for at each beat");
#define CHUNK_BYTES (48u * 1024)
#define AROUND_ROWS 256    /* bytes of a message, at most */
#define ROWS_PER_TURN 2000 /* of a state */
#define FIRST_PAUSE_MS 50  /* a bus that comes back tells gaps before it takes anything */

/* Another owner: a worker of this process, or of another node. */
struct hub__peer {
    hub__peer_t *next;
    uint64_t owner;
    uint64_t since_ms, heard_ms;
    uint64_t back_ms;    /* when it was heard again after it had missed a beat */
    uint64_t heard_beat; /* of ours */
    bool gone;           /* silent for too long; kept for a while, to know it again */
    hub__share_t *shares;
};

/* ---- life ---- */

static void on_beat(hub__timer_t *timer, uint64_t now_ms);

hub__tracker_t *hub__tracker_create(const hub__tracker_options_t *options)
{
    hub__tracker_t *tracker = hub__alloc_zeroed(sizeof(*tracker));

    tracker->io = options->io;
    tracker->user = options->user;
    tracker->now_ms = options->now_ms;
    tracker->stats = options->stats;
    tracker->owner = options->owner;
    tracker->beat_ms = options->beat_ms != 0 ? options->beat_ms : BEAT_MS;
    tracker->chunk_bytes =
        options->largest_bytes / 4 < CHUNK_BYTES ? options->largest_bytes / 4 : CHUNK_BYTES;
    tracker->row_bytes = options->largest_bytes > tracker->chunk_bytes + AROUND_ROWS
                             ? options->largest_bytes - tracker->chunk_bytes - AROUND_ROWS
                             : 0;
    tracker->alone = options->alone;
    tracker->remote = options->remote;
    tracker->due_last = &tracker->due_first;
    tracker->beat.on_due = on_beat;
    return tracker;
}

/* When to try again what could not be published. */
static uint64_t next_try_ms(hub__venue_t *venue)
{
    uint32_t pause_ms = venue->pause_ms == 0 ? FIRST_PAUSE_MS : 2 * venue->pause_ms;

    venue->pause_ms = pause_ms < HUB__TRACKER_RETRY_MS ? pause_ms : HUB__TRACKER_RETRY_MS;
    return *venue->tracker->now_ms + venue->pause_ms;
}

static hub_status_t publish(hub__tracker_t *tracker, hub__venue_t *venue, hub__replica_kind_t kind,
                            const hub__replica_t *replica, hub__query_t *query)
{
    hub__replica_encode(replica, &tracker->payload);
    return tracker->io->publish(tracker, venue, kind, hub__buffer_str(&tracker->payload), query);
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
        (void)publish(tracker, NULL, HUB__REPLICA_BYE, &(hub__replica_t){0}, NULL);
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

/* ---- questions ---- */

static hub__query_t *create_query(hub__venue_t *venue)
{
    hub__tracker_t *tracker = venue->tracker;
    hub__query_t *query = hub__alloc_zeroed(sizeof(*query));

    query->tracker = tracker;
    query->venue = venue;
    query->next = tracker->queries;
    query->prev = &tracker->queries;
    if (query->next != NULL)
        query->next->prev = &query->next;
    tracker->queries = query;
    return query;
}

static void free_query(hub__query_t *query)
{
    if ((*query->prev = query->next) != NULL)
        query->next->prev = query->prev;
    free(query);
}

static void set_unreached(hub__venue_t *venue)
{
    venue->unreached = venue->refused = true;
    venue->check_ms = 0;
    venue->ask_ms = next_try_ms(venue);
}

void hub__tracker_answered(hub__query_t *query, bool reached)
{
    hub__venue_t *venue = query->venue;

    free_query(query);
    if (venue == NULL)
        return;
    venue->query = NULL;
    venue->synced = true;
    if (!reached) {
        set_unreached(venue);
    } else if (venue->unreached) {
        venue->unreached = false;
        venue->owes_state = venue->owes_state || venue->own->clock != 0;
        venue->retry_ms = 0; /* what could not be said before can be said now */
    }
    if (reached)
        venue->pause_ms = 0;
    hub__venue_wake(venue);
}

/* The first word of somebody is not missed by anybody when it is lost; so it is asked for again. */
static void expect_answers(hub__venue_t *venue, uint64_t after_ms)
{
    venue->asked_ms = *venue->tracker->now_ms;
    venue->checks = CHECKS;
    venue->check_ms = venue->asked_ms + after_ms;
}

void hub__tracker_ask(hub__venue_t *venue, uint64_t owner, bool fresh)
{
    hub__tracker_t *tracker = venue->tracker;
    hub__replica_t replica = {.to = owner, .fresh = fresh};
    hub__query_t *query = owner == 0 && venue->query == NULL ? create_query(venue) : NULL;

    if (query != NULL)
        venue->query = query;
    if (publish(tracker, venue, HUB__REPLICA_HELLO, &replica, query) == HUB_OK) {
        if (tracker->remote)
            expect_answers(venue, HUB__TRACKER_RETRY_MS);
        hub__venue_wake(venue);
        return;
    }
    set_unreached(venue);
    if (query != NULL) {
        free_query(query);
        venue->query = NULL;
        venue->synced = true; /* members must not wait for it */
    }
    hub__venue_wake(venue);
}

void hub__tracker_ask_later(hub__venue_t *venue)
{
    bool was_refused = venue->refused;

    venue->ask_ms = 0;
    venue->gap_ms = *venue->tracker->now_ms;
    venue->refused = false;
    hub__tracker_ask(venue, 0, venue->own->clock == 0);
    for (hub__share_t *share = hub__roster_shares(venue->roster); share != NULL && was_refused;
         share = share->next)
        share->stale_ms = venue->gap_ms; /* they can answer only now */
}

/* ---- peers ---- */

static hub__peer_t *find_peer(const hub__tracker_t *tracker, uint64_t owner)
{
    hub__peer_t *peer = tracker->peers;

    while (peer != NULL && peer->owner != owner)
        peer = peer->next;
    return peer;
}

/* At once, but as many as a turn has room for. */
static void check_venue(hub__table_node_t *node, void *user)
{
    hub__venue_t *venue = HUB__CONTAINER(node, hub__venue_t, node);

    (void)user;
    expect_answers(venue, 0);
    hub__venue_wake(venue);
}

/* A sign of life. NULL: no memory for another one. */
static hub__peer_t *hear(hub__tracker_t *tracker, uint64_t owner)
{
    hub__peer_t *peer = find_peer(tracker, owner);

    if (peer == NULL) {
        if ((peer = calloc(1, sizeof(*peer))) == NULL)
            return NULL;
        peer->owner = owner;
        peer->since_ms = *tracker->now_ms;
        peer->next = tracker->peers;
        tracker->peers = peer;
    }
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

/* Later on only who was not known when everybody was asked. */
static bool lacks_anybody(const hub__venue_t *venue, bool is_first)
{
    for (const hub__peer_t *peer = venue->tracker->peers; peer != NULL; peer = peer->next) {
        const hub__share_t *share = hub__roster_share(venue->roster, peer->owner);

        if (!peer->gone &&
            (share != NULL ? share->stale : is_first || peer->since_ms >= venue->asked_ms))
            return true;
    }
    return false;
}

void hub__tracker_check(hub__venue_t *venue)
{
    hub__tracker_t *tracker = venue->tracker;
    hub__replica_t replica = {0};
    bool is_first = venue->checks == CHECKS;

    venue->check_ms =
        --venue->checks != 0 ? venue->asked_ms + tracker->beat_ms + HUB__TRACKER_RETRY_MS : 0;
    if (!lacks_anybody(venue, is_first))
        return;
    tracker->joins.len = 0;
    for (const hub__share_t *share = hub__roster_shares(venue->roster);
         share != NULL && tracker->joins.len <= tracker->chunk_bytes; share = share->next)
        if (share != venue->own && !share->stale)
            hub__replica_append_owner(&tracker->joins, share->owner);
    replica.have = hub__buffer_str(&tracker->joins);
    replica.again = true;
    if (publish(tracker, venue, HUB__REPLICA_HELLO, &replica, NULL) != HUB_OK) {
        ++venue->checks;
        venue->check_ms = *tracker->now_ms + tracker->beat_ms;
    }
}

static hub__share_t *get_share(hub__venue_t *venue, hub__peer_t *peer)
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

void hub__tracker_drop_share(hub__share_t *share)
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

        hub__tracker_drop_share(peer->shares);
        hub__venue_wake(venue);
    }
}

static void remove_peer(hub__tracker_t *tracker, hub__peer_t *peer)
{
    hub__peer_t **link = &tracker->peers;

    clear_peer(peer);
    while (*link != peer)
        link = &(*link)->next;
    *link = peer->next;
    free(peer);
}

/* A broker that is away looks like the end of all others: what counts is the time in which they
 * could be heard, until what is shown of them is too old to be of use. */
static bool is_silent(const hub__tracker_t *tracker, const hub__peer_t *peer, uint64_t silent_ms)
{
    return tracker->beats - peer->heard_beat > SILENT_BEATS ||
           silent_ms >= (uint64_t)OUTAGE_BEATS * tracker->beat_ms;
}

static void look_after_peers(hub__tracker_t *tracker, uint64_t now_ms)
{
    hub__peer_t *next;

    for (hub__peer_t *peer = tracker->peers; peer != NULL; peer = next) {
        uint64_t silent_ms = now_ms - peer->heard_ms;

        next = peer->next;
        if (silent_ms >= (uint64_t)FORGET_BEATS * tracker->beat_ms) {
            remove_peer(tracker, peer);
        } else if (!peer->gone && is_silent(tracker, peer, silent_ms)) {
            peer->gone = true;
            hub_log(HUB_LOG_WARN, "presence.peer_gone", "owner=%012llx silent_ms=%llu",
                    (unsigned long long)peer->owner, (unsigned long long)silent_ms);
            HUB__STAT(tracker->stats, presence_peers_gone_total);
            clear_peer(peer);
        }
    }
}

static void on_beat(hub__timer_t *timer, uint64_t now_ms)
{
    hub__tracker_t *tracker = HUB__CONTAINER(timer, hub__tracker_t, beat);

    (void)publish(tracker, NULL, HUB__REPLICA_BEAT, &(hub__replica_t){0}, NULL);
    /* who was away itself has not listened: what the others said may still lie in its mailbox */
    if (now_ms - timer->due_ms < tracker->beat_ms) {
        tracker->beats += tracker->io->hears(tracker);
        look_after_peers(tracker, now_ms);
    }
    tracker->io->timer_arm(tracker, timer, now_ms + tracker->beat_ms);
}

void hub__tracker_begin(hub__tracker_t *tracker)
{
    if (tracker->beating || tracker->io->subscribe(tracker, NULL) != HUB_OK)
        return;
    tracker->beating = true;
    tracker->io->timer_arm(tracker, &tracker->beat, *tracker->now_ms + tracker->beat_ms);
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
    if (publish(tracker, venue, HUB__REPLICA_DELTA, &replica, NULL) != HUB_OK) {
        venue->owes_state = true;
        venue->retry_ms = next_try_ms(venue);
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
    return publish(tracker, venue, HUB__REPLICA_STATE, &replica, NULL) == HUB_OK;
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
            venue->retry_ms = next_try_ms(venue);
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

/* For an answer; the question may have to wait itself, and is put again. */
static uint64_t patience_ms(const hub__venue_t *venue)
{
    return venue->tracker->beat_ms + 2 * HUB__TRACKER_RETRY_MS;
}

/* Something of this owner is missing. What is still to come of a state can't make it whole. */
static void set_stale(hub__venue_t *venue, hub__share_t *share)
{
    uint64_t now_ms = *venue->tracker->now_ms;

    if (!share->stale)
        share->stale_ms = now_ms;
    share->stale = true;
    share->receiving = false;
    if (venue->stale_ms == 0)
        venue->stale_ms = now_ms + patience_ms(venue);
}

static void ask_again(hub__venue_t *venue, hub__share_t *share)
{
    uint64_t now_ms = *venue->tracker->now_ms;

    if (share->stale && now_ms - share->asked_ms < HUB__TRACKER_RETRY_MS)
        return;
    set_stale(venue, share);
    share->asked_ms = now_ms;
    hub__tracker_ask(venue, share->owner, false);
    hub__venue_wake(venue);
}

static void mark_stale(hub__venue_t *venue)
{
    for (hub__share_t *share = hub__roster_shares(venue->roster); share != NULL;
         share = share->next)
        if (share != venue->own)
            set_stale(venue, share);
}

void hub__tracker_gap(hub__venue_t *venue)
{
    uint64_t now_ms = *venue->tracker->now_ms;

    if (venue->tracker->stopped)
        return;
    mark_stale(venue);
    if (venue->gap_ms != 0 && now_ms - venue->gap_ms < HUB__TRACKER_RETRY_MS) {
        /* the answers to each would be the next to find a full mailbox */
        venue->unreached = true;
        venue->ask_ms = venue->gap_ms + HUB__TRACKER_RETRY_MS;
    } else {
        venue->gap_ms = now_ms;
        venue->pause_ms = 0;
        hub__tracker_ask(venue, 0, false);
        /* a question may have been lost as well */
        venue->owes_state = venue->owes_state || venue->own->clock != 0;
        venue->retry_ms = 0;
    }
    hub__venue_wake(venue);
}

void hub__tracker_ready(hub__venue_t *venue)
{
    if (!venue->tracker->stopped)
        hub__tracker_ask(venue, 0, venue->own->clock == 0);
}

/* From when on the owner could answer: who has not been heard at all since may still be on its way
 * back to the broker, and who has just come back has much to say. */
static uint64_t could_answer_ms(const hub__venue_t *venue, const hub__share_t *share)
{
    const hub__peer_t *peer = find_peer(venue->tracker, share->owner);

    if (peer == NULL)
        return share->stale_ms;
    if (peer->heard_ms < share->stale_ms)
        return *venue->tracker->now_ms;
    return peer->back_ms > share->stale_ms ? peer->back_ms : share->stale_ms;
}

void hub__tracker_drop_stale(hub__venue_t *venue)
{
    hub__share_t *next;

    venue->stale_ms = 0;
    for (hub__share_t *share = hub__roster_shares(venue->roster); share != NULL; share = next) {
        uint64_t due_ms;

        next = share->next;
        if (!share->stale)
            continue;
        due_ms = could_answer_ms(venue, share) + patience_ms(venue);
        if (due_ms <= *venue->tracker->now_ms)
            hub__tracker_drop_share(share);
        else if (venue->stale_ms == 0 || due_ms < venue->stale_ms)
            venue->stale_ms = due_ms;
    }
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
        hub__tracker_drop_share(share);
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
    if (share == NULL && (share = get_share(venue, peer)) == NULL)
        return;
    if (replica->clock <= share->clock)
        return;
    if (replica->from != share->clock) {
        ask_again(venue, share);
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
        hub__tracker_drop_share(share);
    else if (incoming.lacks)
        ask_again(venue, share);
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
    hub__share_t *share = get_share(venue, peer);
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
        set_stale(venue, share); /* and is asked for with the next change */
    if (replica->last) {
        drop_unconfirmed(venue, share);
        share->receiving = false;
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
    if ((peer = hear(tracker, owner)) == NULL)
        return;
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
        remove_peer(tracker, peer);
        break;
    case HUB__REPLICA_BEAT:
    case HUB__REPLICA_COUNT:
        break;
    }
}
