/* SPDX-License-Identifier: MIT */
/* What is asked of the others: who is there, once more where somebody has not answered, and from
 * the beginning where something is missing; and what becomes of those who never do. */
#include "hub/query.h"

#include <stdlib.h>

#include "hub/peer.h"

#define CHECKS 2 /* after each question */

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

/* ---- whose turn it is to ask ---- */

static void leave_line(hub__venue_t *venue)
{
    hub__tracker_t *tracker = venue->tracker;

    if (venue->asks_prev == NULL)
        return;
    if ((*venue->asks_prev = venue->asks_next) != NULL)
        venue->asks_next->asks_prev = venue->asks_prev;
    else
        tracker->asks_last = venue->asks_prev;
    venue->asks_prev = NULL;
}

static void next_in_line(hub__tracker_t *tracker)
{
    size_t max = tracker->ask_pause_ms == 0 ? tracker->asking_max : 1;

    if (hub__timer_is_armed(&tracker->ask_timer))
        return;
    while (tracker->asks_first != NULL && tracker->asking < max) {
        hub__venue_t *venue = tracker->asks_first;

        leave_line(venue);
        venue->asks = venue->asking = true;
        ++tracker->asking;
        hub__venue_wake(venue);
    }
}

static void done(hub__venue_t *venue)
{
    if (!venue->asking)
        return;
    venue->asking = false;
    --venue->tracker->asking;
    next_in_line(venue->tracker);
}

static void stand_in_line(hub__venue_t *venue)
{
    hub__tracker_t *tracker = venue->tracker;

    venue->ask_ms = 0;
    if (venue->asks || venue->asks_prev != NULL)
        return;
    venue->asks_next = NULL;
    venue->asks_prev = tracker->asks_last;
    *tracker->asks_last = venue;
    tracker->asks_last = &venue->asks_next;
}

/* A bus that comes back tells gaps before it takes anything: it will in a moment. */
static void hurry(hub__tracker_t *tracker)
{
    uint64_t soon_ms = *tracker->now_ms + HUB__TRACKER_FIRST_PAUSE_MS;

    if (!hub__timer_is_armed(&tracker->ask_timer) || tracker->ask_timer.due_ms <= soon_ms)
        return;
    tracker->ask_pause_ms = HUB__TRACKER_FIRST_PAUSE_MS;
    tracker->io->timer_arm(tracker, &tracker->ask_timer, soon_ms);
}

void hub__query_line_up(hub__venue_t *venue)
{
    if (!venue->asks)
        done(venue); /* what it asked before is no use any more */
    venue->unreached = true;
    stand_in_line(venue);
    hurry(venue->tracker);
    next_in_line(venue->tracker);
    if (venue->asks_prev != NULL)
        venue->refused = true;
}

void hub__query_forget(hub__venue_t *venue)
{
    leave_line(venue);
    venue->asks = false;
    done(venue);
}

void hub__query_on_timer(hub__timer_t *timer, uint64_t now_ms)
{
    (void)now_ms;
    next_in_line(HUB__CONTAINER(timer, hub__tracker_t, ask_timer));
}

/* The others wait as well: one that does not get out speaks for all. */
static void set_unreached(hub__venue_t *venue)
{
    hub__tracker_t *tracker = venue->tracker;
    uint32_t pause_ms = tracker->ask_pause_ms;

    venue->unreached = venue->refused = true;
    venue->check_ms = 0;
    stand_in_line(venue);
    if (!hub__timer_is_armed(&tracker->ask_timer)) {
        pause_ms = pause_ms == 0 ? HUB__TRACKER_FIRST_PAUSE_MS : 2 * pause_ms;
        tracker->ask_pause_ms = pause_ms < HUB__TRACKER_RETRY_MS ? pause_ms : HUB__TRACKER_RETRY_MS;
        tracker->io->timer_arm(tracker, &tracker->ask_timer,
                               *tracker->now_ms + tracker->ask_pause_ms);
    }
    done(venue);
}

/* ---- asking ---- */

static bool is_anything_stale(const hub__venue_t *venue)
{
    const hub__share_t *share = hub__roster_shares(venue->roster);

    while (share != NULL && !share->stale)
        share = share->next;
    return share != NULL;
}

void hub__query_heard(hub__venue_t *venue)
{
    if (venue->asking && !venue->asks && !is_anything_stale(venue))
        done(venue);
}

static void set_reached(hub__venue_t *venue)
{
    hub__tracker_t *tracker = venue->tracker;

    venue->pause_ms = 0;
    tracker->ask_pause_ms = 0;
    if (venue->unreached) {
        venue->unreached = false;
        venue->owes_state = venue->owes_state || venue->own->clock != 0;
        venue->retry_ms = 0; /* what could not be said before can be said now */
    }
    if (!tracker->remote)
        done(venue);
    hub__query_heard(venue);
    next_in_line(tracker);
}

void hub__query_answered(hub__query_t *query, bool reached)
{
    hub__venue_t *venue = query->venue;

    free_query(query);
    if (venue == NULL)
        return;
    venue->query = NULL;
    venue->synced = true;
    if (reached)
        set_reached(venue);
    else
        set_unreached(venue);
    hub__venue_wake(venue);
}

void hub__query_expect(hub__venue_t *venue, uint64_t after_ms)
{
    venue->asked_ms = *venue->tracker->now_ms;
    venue->checks = CHECKS;
    venue->check_ms = venue->asked_ms + after_ms;
}

void hub__query_ask(hub__venue_t *venue, uint64_t owner, bool fresh)
{
    hub__tracker_t *tracker = venue->tracker;
    hub__replica_t replica = {.to = owner, .fresh = fresh};
    hub__query_t *query = owner == 0 && venue->query == NULL ? create_query(venue) : NULL;

    if (query != NULL)
        venue->query = query;
    if (hub__tracker_publish(tracker, venue, HUB__REPLICA_HELLO, &replica, query) == HUB_OK) {
        if (tracker->remote)
            hub__query_expect(venue, HUB__TRACKER_RETRY_MS);
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

void hub__query_ask_in_turn(hub__venue_t *venue)
{
    bool was_refused = venue->refused;

    venue->asks = false;
    venue->gap_ms = *venue->tracker->now_ms;
    venue->refused = false;
    hub__query_ask(venue, 0, venue->own->clock == 0);
    for (hub__share_t *share = hub__roster_shares(venue->roster); share != NULL && was_refused;
         share = share->next)
        share->stale_ms = venue->gap_ms; /* they can answer only now */
}

/* ---- who has not answered ---- */

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

void hub__query_check(hub__venue_t *venue)
{
    hub__tracker_t *tracker = venue->tracker;
    hub__replica_t replica = {0};
    bool is_first = venue->checks == CHECKS;

    if (!venue->asks)
        done(venue); /* whoever answers late does not hold up the others */
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
    if (hub__tracker_publish(tracker, venue, HUB__REPLICA_HELLO, &replica, NULL) != HUB_OK) {
        ++venue->checks;
        venue->check_ms = *tracker->now_ms + tracker->beat_ms;
    }
}

/* ---- what is missing ---- */

/* For an answer; the question may have to wait itself, and is put again. */
static uint64_t patience_ms(const hub__venue_t *venue)
{
    return venue->tracker->beat_ms + 2 * HUB__TRACKER_RETRY_MS;
}

void hub__query_set_stale(hub__venue_t *venue, hub__share_t *share)
{
    uint64_t now_ms = *venue->tracker->now_ms;

    if (!share->stale)
        share->stale_ms = now_ms;
    share->stale = true;
    share->receiving = false;
    if (venue->stale_ms == 0)
        venue->stale_ms = now_ms + patience_ms(venue);
}

void hub__query_ask_again(hub__venue_t *venue, hub__share_t *share)
{
    uint64_t now_ms = *venue->tracker->now_ms;

    if (share->stale && now_ms - share->asked_ms < HUB__TRACKER_RETRY_MS)
        return;
    hub__query_set_stale(venue, share);
    share->asked_ms = now_ms;
    hub__query_ask(venue, share->owner, false);
    hub__venue_wake(venue);
}

void hub__query_mark_stale(hub__venue_t *venue)
{
    for (hub__share_t *share = hub__roster_shares(venue->roster); share != NULL;
         share = share->next)
        if (share != venue->own)
            hub__query_set_stale(venue, share);
}

/* From when on the owner could answer: who has not been heard at all since may still be on its way
 * back to the broker, and who has just come back has much to say. */
static uint64_t could_answer_ms(const hub__venue_t *venue, const hub__share_t *share)
{
    const hub__peer_t *peer = hub__peer_find(venue->tracker, share->owner);

    if (peer == NULL)
        return share->stale_ms;
    if (peer->heard_ms < share->stale_ms)
        return *venue->tracker->now_ms;
    return peer->back_ms > share->stale_ms ? peer->back_ms : share->stale_ms;
}

void hub__query_drop_stale(hub__venue_t *venue)
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
            hub__peer_drop_share(share);
        else if (venue->stale_ms == 0 || due_ms < venue->stale_ms)
            venue->stale_ms = due_ms;
    }
    hub__query_heard(venue);
}
