/* SPDX-License-Identifier: MIT */
/* A topic on one worker, as its members see it: what they hold, what they are told and when. How
 * others hear of it is in tracker.c. */
#include "hub/tracker.h"

#include <assert.h>
#include <stdlib.h>

#include "bus/json.h"
#include "hub/peer.h"
#include "hub/query.h"
#include "hub/session.h"

/* ---- when something is due ---- */

static uint64_t now_of(const hub__venue_t *venue)
{
    return *venue->tracker->now_ms;
}

/* The first news of a while goes out at the end of the turn; what follows is gathered. */
static uint64_t next_telling(const hub__venue_t *venue)
{
    uint32_t diff_ms = hub__roster_options(venue->roster)->diff_ms;

    return diff_ms == HUB_PRESENCE_AT_ONCE || !venue->ever_told ? 0 : venue->told_ms + diff_ms;
}

static bool has_something_to_tell(const hub__venue_t *venue)
{
    return hub__roster_has_news(venue->roster) || (venue->wishes != NULL && venue->synced);
}

static bool is_unused(const hub__venue_t *venue)
{
    return venue->openings == 0 && venue->stays == 0 && venue->wishes == NULL &&
           !hub__roster_has_news(venue->roster);
}

static void earliest(uint64_t *due, uint64_t at)
{
    if (at < *due)
        *due = at;
}

/* While no question gets out, what it owes would not either, and follows its own. */
static bool has_to_tell_others(const hub__venue_t *venue)
{
    bool waits = venue->asks_prev != NULL && venue->tracker->ask_pause_ms != 0;

    return venue->sending || (venue->owes_state && !waits);
}

static uint64_t next_due(const hub__venue_t *venue)
{
    uint64_t due = UINT64_MAX;

    if (is_unused(venue)) /* what the others could not be told is told first */
        return venue->owes_state ? venue->retry_ms : 0;
    if (has_something_to_tell(venue))
        earliest(&due, next_telling(venue));
    if (venue->grace_first != NULL)
        earliest(&due, venue->grace_first->grace_due_ms);
    if (venue->asks)
        return 0;
    if (venue->ask_ms != 0)
        earliest(&due, venue->ask_ms);
    if (venue->check_ms != 0)
        earliest(&due, venue->check_ms);
    if (venue->stale_ms != 0 && !venue->refused)
        earliest(&due, venue->stale_ms);
    if (venue->wishes != NULL && !venue->synced)
        earliest(&due, venue->sync_ms);
    if (has_to_tell_others(venue))
        earliest(&due, venue->retry_ms);
    return due;
}

static void put_due(hub__venue_t *venue)
{
    hub__tracker_t *tracker = venue->tracker;

    if (venue->due)
        return;
    venue->due = true;
    venue->due_next = NULL;
    *tracker->due_last = venue;
    tracker->due_last = &venue->due_next;
    if (!tracker->scheduled)
        tracker->io->schedule(tracker);
    tracker->scheduled = true;
}

void hub__venue_wake(hub__venue_t *venue)
{
    hub__tracker_t *tracker = venue->tracker;
    uint64_t due;

    if (venue->due || tracker->stopped)
        return;
    due = next_due(venue);
    if (due <= now_of(venue))
        put_due(venue);
    else if (due == UINT64_MAX)
        tracker->io->timer_disarm(tracker, &venue->timer);
    else
        tracker->io->timer_arm(tracker, &venue->timer, due);
}

static void on_timer(hub__timer_t *timer, uint64_t now_ms)
{
    (void)now_ms;
    put_due(HUB__CONTAINER(timer, hub__venue_t, timer));
}

/* ---- holding keys ---- */

/* Those in grace under one key are a ring, the slot of the key is its last. The first of them is
 * always the first to go, for the grace is as long for all. */
static void ring_append(hub__stay_t *stay)
{
    void **slot = hub__tracking_slot(stay->tracking);
    hub__stay_t *last = *slot;

    stay->next = last != NULL ? last->next : stay;
    if (last != NULL)
        last->next = stay;
    *slot = stay;
}

static void ring_remove_first(hub__stay_t *stay)
{
    void **slot = hub__tracking_slot(stay->tracking);
    hub__stay_t *last = *slot;

    assert(last->next == stay);
    last->next = stay->next;
    if (last == stay)
        *slot = NULL;
    stay->next = NULL;
}

static void grace_unlink(hub__stay_t *stay)
{
    hub__venue_t *venue = stay->venue;

    ring_remove_first(stay);
    if (stay->grace_prev != NULL)
        stay->grace_prev->grace_next = stay->grace_next;
    else
        venue->grace_first = stay->grace_next;
    if (stay->grace_next != NULL)
        stay->grace_next->grace_prev = stay->grace_prev;
    else
        venue->grace_last = stay->grace_prev;
}

/* Lets go of the key. The caller has taken it out of its list. */
static void stay_end(hub__stay_t *stay)
{
    hub__venue_t *venue = stay->venue;

    if (venue->cursor == stay->tracking)
        venue->cursor = stay->tracking->next;
    hub__share_leave(stay->tracking);
    --venue->stays;
    HUB__STAT_SUB(venue->tracker->stats, presences, 1);
    free(stay);
    hub__venue_wake(venue);
}

static void grace_begin(hub__stay_t *stay, uint64_t due_ms)
{
    hub__venue_t *venue = stay->venue;

    stay->attendance = NULL;
    ring_append(stay);
    stay->grace_due_ms = due_ms;
    stay->grace_next = NULL;
    stay->grace_prev = venue->grace_last;
    if (venue->grace_last != NULL)
        venue->grace_last->grace_next = stay;
    else
        venue->grace_first = stay;
    venue->grace_last = stay;
    hub__venue_wake(venue);
}

static hub__stay_t *find_in_grace(const hub__venue_t *venue, hub_str_t key)
{
    const hub__tracking_t *tracking =
        venue->grace_first != NULL ? hub__roster_oldest(venue->roster, key) : NULL;
    const hub__stay_t *last = tracking != NULL ? *hub__tracking_slot(tracking) : NULL;

    return last != NULL ? last->next : NULL;
}

void hub__venue_met(hub__venue_t *venue, hub_str_t key)
{
    hub__stay_t *stay;

    while ((stay = find_in_grace(venue, key)) != NULL) {
        grace_unlink(stay);
        stay_end(stay);
    }
}

/* A new meta in the place of the old one. */
static hub_status_t replace(hub__stay_t *stay, hub_str_t meta)
{
    hub__venue_t *venue = stay->venue;
    hub__tracking_t *old = stay->tracking, *tracking;
    bool was_seen = old->told || old->shown || old->is_sent;
    hub__tracking_facts_t facts = {
        .number = venue->tracker->number + 1,
        .previous = was_seen ? old->number : old->previous,
        .stamp_us = old->stamp_us,
        .key = hub__tracking_key(old),
        .meta = meta,
    };

    if ((tracking = hub__share_join(venue->own, &facts)) == NULL)
        return HUB_ENOMEM;
    ++venue->tracker->number;
    stay->tracking = tracking;
    if (venue->cursor == old)
        venue->cursor = old->next;
    hub__share_leave(old);
    hub__venue_wake(venue);
    return HUB_OK;
}

/* What the bus cannot carry is refused here: nobody else would ever hear of it. */
static hub_status_t read_meta(hub__venue_t *venue, hub_str_t key, hub_payload_t meta)
{
    hub__tracker_t *tracker = venue->tracker;
    hub_status_t err = hub__roster_meta(meta, &tracker->meta);

    if (err != HUB_OK)
        return err;
    if (tracker->meta.len > hub__roster_options(venue->roster)->meta_bytes ||
        hub__replica_row_bound(key, tracker->meta.len) > tracker->row_bytes)
        return HUB_ETOOLARGE;
    return HUB_OK;
}

static hub__stay_t **find_stay(hub__attendance_t *attendance, hub_str_t key)
{
    hub__stay_t **link = &attendance->stays;

    while (*link != NULL && !hub_str_equals(hub__tracking_key((*link)->tracking), key))
        link = &(*link)->next;
    return link;
}

static void attach(hub__stay_t *stay, hub__attendance_t *attendance)
{
    stay->attendance = attendance;
    stay->next = attendance->stays;
    attendance->stays = stay;
    ++attendance->stay_count;
}

/* It is the same user again. */
static hub_status_t return_from_grace(hub__stay_t *stay, hub__attendance_t *attendance,
                                      hub_str_t meta)
{
    hub_status_t err = HUB_OK;

    if (!hub_str_equals(hub__tracking_meta(stay->tracking), meta))
        err = replace(stay, meta);
    if (err != HUB_OK)
        return err;
    grace_unlink(stay);
    attach(stay, attendance);
    return HUB_OK;
}

static hub_status_t begin_stay(hub__attendance_t *attendance, hub_str_t key, hub_str_t meta)
{
    hub__venue_t *venue = attendance->venue;
    hub__tracker_t *tracker = venue->tracker;
    hub__tracking_facts_t facts = {
        .number = tracker->number + 1,
        .stamp_us = tracker->io->wall_us(tracker),
        .key = key,
        .meta = meta,
    };
    hub__stay_t *stay = calloc(1, sizeof(*stay));

    if (stay == NULL)
        return HUB_ENOMEM;
    if ((stay->tracking = hub__share_join(venue->own, &facts)) == NULL) {
        free(stay);
        return HUB_ENOMEM;
    }
    ++tracker->number;
    stay->venue = venue;
    ++venue->stays;
    HUB__STAT(tracker->stats, presences);
    attach(stay, attendance);
    hub__venue_wake(venue);
    return HUB_OK;
}

void hub__attendance_begin(hub__attendance_t *attendance, hub__venue_t *venue)
{
    *attendance = (hub__attendance_t){.venue = venue};
    hub__venue_open(venue);
}

hub_status_t hub__attendance_track(hub__attendance_t *attendance, hub_str_t key, hub_payload_t meta)
{
    hub__venue_t *venue = attendance->venue;
    hub__stay_t *returning;
    hub_str_t members;
    hub_status_t err;

    if (key.base == NULL || key.len > HUB__PRESENCE_KEY_MAX || !hub_utf8_valid(key) ||
        hub_str_equals(key, HUB_STR(HUB__PRESENCE_COUNTS)))
        return HUB_EINVAL;
    if (*find_stay(attendance, key) != NULL)
        return HUB_EEXIST;
    if (attendance->stay_count >= hub__roster_options(venue->roster)->keys_per_member)
        return HUB_ELIMIT;
    if ((err = read_meta(venue, key, meta)) != HUB_OK)
        return err;
    members = hub__buffer_str(&venue->tracker->meta);
    returning = find_in_grace(venue, key);
    return returning != NULL ? return_from_grace(returning, attendance, members)
                             : begin_stay(attendance, key, members);
}

hub_status_t hub__attendance_update(hub__attendance_t *attendance, hub_str_t key,
                                    hub_payload_t meta)
{
    hub__stay_t *stay = *find_stay(attendance, key);
    hub_status_t err;

    if (stay == NULL)
        return HUB_ENOTFOUND;
    if ((err = read_meta(attendance->venue, key, meta)) != HUB_OK)
        return err;
    return replace(stay, hub__buffer_str(&attendance->venue->tracker->meta));
}

hub_status_t hub__attendance_untrack(hub__attendance_t *attendance, hub_str_t key)
{
    hub__stay_t **link = find_stay(attendance, key), *stay = *link;

    if (stay == NULL)
        return HUB_ENOTFOUND;
    *link = stay->next;
    --attendance->stay_count;
    stay_end(stay);
    return HUB_OK;
}

void hub__attendance_wish(hub__attendance_t *attendance)
{
    hub__venue_t *venue = attendance->venue;

    if (attendance->prev != NULL)
        return;
    attendance->next = venue->wishes;
    attendance->prev = &venue->wishes;
    if (venue->wishes != NULL)
        venue->wishes->prev = &attendance->next;
    venue->wishes = attendance;
    hub__venue_wake(venue);
}

void hub__attendance_unwish(hub__attendance_t *attendance)
{
    if (attendance->prev != NULL && (*attendance->prev = attendance->next) != NULL)
        attendance->next->prev = attendance->prev;
    attendance->prev = NULL;
}

void hub__attendance_end(hub__attendance_t *attendance, bool may_return)
{
    hub__venue_t *venue = attendance->venue;
    uint32_t grace_ms = hub__roster_options(venue->roster)->grace_ms;

    hub__attendance_unwish(attendance);
    while (attendance->stays != NULL) {
        hub__stay_t *stay = attendance->stays;

        attendance->stays = stay->next;
        if (may_return && grace_ms != 0 && !venue->tracker->stopped)
            grace_begin(stay, now_of(venue) + grace_ms);
        else
            stay_end(stay);
    }
    attendance->stay_count = 0;
    hub__venue_close(venue);
}

/* ---- the venue ---- */

static hub__venue_t *find_venue(const hub__tracker_t *tracker, uint64_t hash, hub_str_t topic)
{
    for (hub__table_node_t *node = hub__table_chain(&tracker->venues, hash); node != NULL;
         node = node->next) {
        hub__venue_t *venue = HUB__CONTAINER(node, hub__venue_t, node);

        if (node->hash == hash && hub_str_equals(hub__venue_topic(venue), topic))
            return venue;
    }
    return NULL;
}

static hub__venue_t *create_venue(hub__tracker_t *tracker, uint64_t hash, hub_str_t topic,
                                  const hub_presence_options_t *options)
{
    hub__venue_t *venue = calloc(1, sizeof(*venue) + topic.len);

    if (venue == NULL)
        return NULL;
    venue->node.hash = hash;
    venue->tracker = tracker;
    venue->timer.on_due = on_timer;
    venue->topic_len = (uint16_t)topic.len;
    memcpy(venue->topic, topic.base, topic.len);
    if ((venue->roster = hub__roster_create(hub__venue_topic(venue), options)) == NULL ||
        (venue->own = hub__share_create(venue->roster, tracker->owner)) == NULL ||
        (!tracker->alone && tracker->io->subscribe(tracker, venue) != HUB_OK)) {
        hub__roster_destroy(venue->roster);
        free(venue);
        return NULL;
    }
    hub__table_insert(&tracker->venues, &venue->node);
    venue->synced = tracker->alone;
    venue->sync_ms = *tracker->now_ms + HUB__TRACKER_SYNC_MS;
    if (tracker->alone)
        return venue;
    hub__tracker_begin(tracker);
    hub__query_ask(venue, 0, true);
    return venue;
}

hub__venue_t *hub__tracker_venue(hub__tracker_t *tracker, hub_str_t topic,
                                 const hub_presence_options_t *options)
{
    uint64_t hash = hub__hash(topic);
    hub__venue_t *venue = find_venue(tracker, hash, topic);

    if (venue != NULL || tracker->stopped)
        return venue;
    return create_venue(tracker, hash, topic, options);
}

void hub__venue_open(hub__venue_t *venue)
{
    ++venue->openings;
}

void hub__venue_close(hub__venue_t *venue)
{
    assert(venue->openings != 0);
    --venue->openings;
    hub__venue_wake(venue);
}

void hub__venue_list(hub__venue_t *venue, hub__buffer_t *ret_payload)
{
    hub__roster_state(venue->roster, ret_payload);
}

void hub__venue_destroy(hub__venue_t *venue)
{
    hub__tracker_t *tracker = venue->tracker;
    hub__share_t *share;

    tracker->io->timer_disarm(tracker, &venue->timer);
    if (venue->query != NULL)
        venue->query->venue = NULL;
    hub__query_forget(venue);
    hub__tracker_forget_state(venue);
    while (venue->grace_first != NULL) {
        hub__stay_t *stay = venue->grace_first;

        grace_unlink(stay);
        HUB__STAT_SUB(tracker->stats, presences, 1);
        free(stay);
    }
    if (!tracker->alone)
        tracker->io->unsubscribe(tracker, venue);
    while ((share = hub__roster_shares(venue->roster)) != NULL)
        hub__peer_drop_share(share);
    hub__table_remove(&tracker->venues, &venue->node);
    hub__roster_destroy(venue->roster);
    free(venue->acks);
    free(venue);
}

/* ---- telling ---- */

static void tell(hub__venue_t *venue)
{
    hub__tracker_t *tracker = venue->tracker;
    hub__buffer_t *payload = &tracker->news;
    hub__roster_news_t news;

    tracker->telling = true;
    if (hub__roster_has_news(venue->roster)) {
        if (!tracker->alone)
            hub__tracker_send_changes(venue, false);
        news = hub__roster_tell(venue->roster, payload);
        if (news != HUB__ROSTER_NOTHING && venue->openings != 0) {
            HUB__STAT(tracker->stats, presence_diffs_total);
            tracker->io->tell(tracker, venue,
                              news == HUB__ROSTER_DIFF ? HUB_STR("presence_diff")
                                                       : HUB_STR("presence_state"),
                              hub__buffer_str(payload));
        }
    }
    if (venue->wishes != NULL && venue->synced) {
        hub__roster_state(venue->roster, payload);
        tracker->io->tell_state(tracker, venue, hub__buffer_str(payload));
    }
    venue->told_ms = now_of(venue);
    venue->ever_told = true;
    tracker->telling = false;
}

void hub__venue_tell_at_once(hub__venue_t *venue)
{
    if (hub__roster_options(venue->roster)->diff_ms == HUB_PRESENCE_AT_ONCE &&
        !venue->tracker->telling && !venue->tracker->stopped && has_something_to_tell(venue))
        tell(venue);
}

void hub__venue_run(hub__venue_t *venue)
{
    uint64_t now_ms = now_of(venue);

    while (venue->grace_first != NULL && venue->grace_first->grace_due_ms <= now_ms) {
        hub__stay_t *stay = venue->grace_first;

        grace_unlink(stay);
        stay_end(stay);
    }
    if (venue->ask_ms != 0 && venue->ask_ms <= now_ms)
        hub__query_line_up(venue);
    if (venue->asks)
        hub__query_ask_in_turn(venue);
    if (venue->check_ms != 0 && venue->check_ms <= now_ms)
        hub__query_check(venue);
    if (venue->stale_ms != 0 && venue->stale_ms <= now_ms && !venue->refused)
        hub__query_drop_stale(venue);
    if (venue->sync_ms <= now_ms)
        venue->synced =
            true; /* a worker that is busy holds up nobody: its answer comes as a diff */
    if (has_something_to_tell(venue) && next_telling(venue) <= now_ms)
        tell(venue);
    if ((venue->owes_state || venue->sending) && venue->retry_ms <= now_ms)
        hub__tracker_send_state(venue);
    if (!venue->tracker->alone && is_unused(venue) && !venue->owes_state)
        hub__tracker_send_changes(venue, true);
    venue->due = false;
    if (is_unused(venue) && !venue->owes_state)
        hub__venue_destroy(venue);
    else
        hub__venue_wake(venue);
}
