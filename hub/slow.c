/* SPDX-License-Identifier: MIT */
/* Members whose connection takes no more for now, under the policy of their channel: what waits for
 * them in a backlog of their own, goes into the outbox when that has room, and what is missing is
 * told first. While a backlog is there, all of its member's frames go through it, so that nothing
 * overtakes within a topic; and its connection is not ready. */
#include "hub/backlog.h"
#include "hub/internal.h"

#include <stdlib.h>

#define REFILL (64u * 1024) /* goes into an outbox at once */

struct hub__slow {
    hub__backlog_t backlog;
    hub__backlog_limits_t limits;
    hub_member_t *member;
    hub__slow_t *next, **prev; /* of the connection */
    bool ended;                /* takes no more */
};

static hub_conn_t *conn_of(const hub_member_t *member)
{
    return (hub_conn_t *)member->session;
}

static size_t or_else(size_t value, size_t otherwise)
{
    return value != 0 ? value : otherwise;
}

static hub__backlog_limits_t limits_of(const hub_member_t *member)
{
    const hub_channel_options_t *options = &hub__member_channel(member)->options;
    const hub_limits_t *limits = hub__conn_limits(conn_of(member));
    size_t age_ms = or_else(options->slow_age_ms, limits->outbox_age_ms);

    return (hub__backlog_limits_t){
        .policy = options->slow_policy,
        .bytes = or_else(options->slow_bytes, limits->outbox_bytes),
        .messages = or_else(options->slow_messages, limits->outbox_messages),
        .age_ms = age_ms < UINT32_MAX ? (uint32_t)age_ms : UINT32_MAX,
    };
}

uint64_t hub__slow_key(const hub__channel_t *channel, const hub_message_t *msg)
{
    const hub_channel_options_t *options = &channel->options;
    hub_str_t key = msg->event;
    uint64_t hash;

    if (options->slow_policy != HUB_SLOW_LATEST)
        return HUB__KEY_NONE;
    if (options->on_key != NULL)
        key = options->on_key(msg, options->user);
    if (key.base == NULL)
        return HUB__KEY_NONE;
    hash = hub__hash(key);
    return hash != HUB__KEY_NONE && hash != HUB__KEY_FIXED ? hash : 1;
}

/* ---- the backlog of a member ---- */

static hub__slow_t *slow_of(const hub_member_t *member)
{
    return member->extra != NULL ? member->extra->slow : NULL;
}

static hub__slow_t *ensure(hub_member_t *member)
{
    hub__conn_extra_t *extra = hub__conn_extra(conn_of(member));
    hub__slow_t *slow = slow_of(member);

    if (slow != NULL || extra == NULL || hub__member_extra(member) == NULL)
        return slow;
    if ((slow = hub__peer_alloc_zeroed(sizeof(*slow))) == NULL)
        return NULL;
    slow->member = member;
    slow->limits = limits_of(member);
    if (extra->slow_last == NULL)
        extra->slow_last = &extra->slow_first;
    slow->prev = extra->slow_last;
    *extra->slow_last = slow;
    extra->slow_last = &slow->next;
    member->extra->slow = slow;
    return slow;
}

static void forget(hub__slow_t *slow)
{
    hub__conn_extra_t *extra = conn_of(slow->member)->extra;

    if ((*slow->prev = slow->next) != NULL)
        slow->next->prev = slow->prev;
    else
        extra->slow_last = slow->prev;
    slow->member->extra->slow = NULL;
    hub__table_dispose(&slow->backlog.keys);
    hub__peer_free(slow);
}

bool hub__slow_waits(const hub_member_t *member)
{
    return slow_of(member) != NULL;
}

size_t hub__slow_bytes(const hub_conn_t *conn)
{
    size_t bytes = 0;

    for (const hub__slow_t *slow = conn->extra != NULL ? conn->extra->slow_first : NULL;
         slow != NULL; slow = slow->next)
        bytes += hub__backlog_bytes(&slow->backlog);
    return bytes;
}

/* Only while it is subscribed: hub__slow_end() comes with the end of that. */
static bool must_wait(hub_member_t *member, size_t bytes, size_t messages)
{
    hub_conn_t *conn = conn_of(member);

    return member->topic != NULL && hub__conn_is_open(conn) &&
           (hub__slow_waits(member) || conn->blocked || !hub__conn_has_room(conn, bytes, messages));
}

static void on_drop(hub__run_t *run, void *user)
{
    hub_conn_t *conn = user;

    HUB__STAT(&hub__conn_worker(conn)->stats, slow_dropped_total);
    (void)hub__conn_drop(conn, run, 1, HUB_ESLOW);
}

static hub_status_t add(hub_member_t *member, hub__run_t *run, uint32_t start, uint32_t end,
                        uint64_t key)
{
    hub_conn_t *conn = conn_of(member);
    hub__slow_t *slow = ensure(member);
    hub__backlog_verdict_t verdict = HUB__BACKLOG_NO_MEMORY;

    if (slow != NULL && slow->ended)
        return hub__conn_drop(conn, run, 1, HUB_ECLOSED);
    if (slow != NULL)
        verdict = hub__backlog_add(&slow->backlog, &slow->limits, run, start, end, key,
                                   (uint32_t)hub__conn_worker(conn)->now_ms, on_drop, conn);
    switch (verdict) {
    case HUB__BACKLOG_KEPT:
        return HUB_OK;
    case HUB__BACKLOG_DROPPED:
        return HUB_ESLOW;
    case HUB__BACKLOG_FULL:
        hub__conn_want_close(conn, HUB_DISCONNECT_SLOW, 4008, HUB_STR("slow"));
        return hub__conn_drop(conn, run, 1, HUB_ESLOW);
    default:
        hub__conn_want_close(conn, HUB_DISCONNECT_ERROR, 1011, HUB_STR("out of memory"));
        return hub__conn_drop(conn, run, 1, HUB_ENOMEM);
    }
}

/* ---- what comes ---- */

uint32_t hub__slow_deliver(hub_member_t *member, hub__run_t *run, uint32_t start, uint32_t end,
                           uint32_t messages, uint32_t tag)
{
    uint32_t index = run->messages - hub__run_messages_from(run, start), dropped = 0;

    if (!must_wait(member, end - start, messages)) {
        (void)hub__conn_enqueue(conn_of(member), run, start, end, messages, tag);
        return 0;
    }
    for (uint32_t at = start; at != end; ++index) {
        size_t payload, header = hub__frame_split(run->base + at, &payload);
        uint32_t next = at + (uint32_t)(header + payload);

        /* one that is closed is counted as that */
        dropped += add(member, run, at, next, hub__run_key(run, index)) == HUB_ESLOW &&
                   hub__conn_is_open(conn_of(member));
        at = next;
    }
    return dropped;
}

hub_status_t hub__slow_place(hub_member_t *member, hub__run_t *run, uint32_t start, uint32_t end,
                             uint64_t key)
{
    /* an answer goes with the connection's other frames as long as none of its topic waits */
    bool waits =
        key == HUB__KEY_FIXED ? hub__slow_waits(member) : must_wait(member, end - start, 1);

    return waits ? add(member, run, start, end, key)
                 : hub__conn_enqueue(conn_of(member), run, start, end, 1, 0);
}

/* ---- what goes on ---- */

/* Into the outbox, whatever is in it. */
static hub_status_t pass_on(hub_conn_t *conn, hub__run_t *run, uint32_t start, uint32_t end,
                            uint32_t tag)
{
    hub__worker_t *worker = hub__conn_worker(conn);

    if (!hub__conn_is_open(conn))
        return hub__conn_drop(conn, run, 1, HUB_ECLOSED);
    hub__run_stamp(run, worker->now_ms);
    if (hub__outbox_append(&conn->outbox, run, start, end, 1, tag) != HUB_OK) {
        hub__conn_want_close(conn, HUB_DISCONNECT_ERROR, 1011, HUB_STR("out of memory"));
        return hub__conn_drop(conn, run, 1, HUB_ENOMEM);
    }
    HUB__STAT(&worker->stats, messages_out_total);
    HUB__STAT_ADD(&worker->stats, outbox_bytes, end - start);
    return HUB_OK;
}

static void tell_gap(hub_member_t *member, uint32_t missed)
{
    hub_conn_t *conn = conn_of(member);
    hub__run_t *run = hub__worker_run(hub__conn_worker(conn));
    char payload[64];
    hub__outgoing_t out = {
        .kind = HUB__OUT_BROADCAST, .topic = hub__member_name(member), .event = HUB_STR("gap")};
    uint32_t start = run != NULL ? run->len : 0;

    if (missed == 0)
        return;
    snprintf(payload, sizeof(payload), "{\"reason\":\"slow\",\"missed\":%u}", missed);
    out.payload = hub_json(hub_str(payload));
    HUB__STAT(&hub__conn_worker(conn)->stats, slow_gaps_total);
    if (run == NULL || hub__run_encode(run, member->session->dialect, &out) != HUB_OK)
        hub__conn_want_close(conn, HUB_DISCONNECT_ERROR, 1011, HUB_STR("out of memory"));
    else
        (void)pass_on(conn, run, start, run->len, 0);
}

/* One message, with what is to be said before it. Returns its bytes; 0: there was none. */
static size_t move_one(hub__slow_t *slow)
{
    uint32_t missed, tag = slow->member->topic != NULL ? slow->member->topic->tag : 0;
    hub__backlog_item_t *item = hub__backlog_next(&slow->backlog, &missed);
    size_t size;

    tell_gap(slow->member, missed);
    if (item == NULL)
        return 0;
    size = item->end - item->start;
    (void)pass_on(conn_of(slow->member), item->run, item->start, item->end,
                  item->node.hash != HUB__KEY_FIXED ? tag : 0);
    hub__backlog_item_free(item);
    return size;
}

static void move_to_end(hub__conn_extra_t *extra, hub__slow_t *slow)
{
    if (slow->next == NULL)
        return;
    *slow->prev = slow->next;
    slow->next->prev = slow->prev;
    slow->next = NULL;
    slow->prev = extra->slow_last;
    *extra->slow_last = slow;
    extra->slow_last = &slow->next;
}

bool hub__slow_refill(hub_conn_t *conn)
{
    uint32_t now_ms = (uint32_t)hub__conn_worker(conn)->now_ms;
    size_t moved = 0;

    while (conn->extra != NULL && conn->extra->slow_first != NULL && !conn->blocked &&
           hub__conn_is_open(conn) && (moved != 0 || hub__outbox_is_empty(&conn->outbox))) {
        hub__slow_t *slow = conn->extra->slow_first;

        hub__backlog_expire(&slow->backlog, &slow->limits, now_ms, on_drop, conn);
        for (;;) {
            size_t size = move_one(slow);

            moved += size;
            if (size == 0)
                forget(slow);
            else if (moved >= REFILL)
                move_to_end(conn->extra, slow);
            else
                continue;
            break;
        }
        if (moved >= REFILL)
            break;
    }
    return !hub__outbox_is_empty(&conn->outbox);
}

/* ---- the end of a member ---- */

/* It leaves, or is ended: what waits goes before the news of that as far as there is room, else
 * what may be dropped is, and told. */
void hub__slow_end(hub_member_t *member)
{
    hub__slow_t *slow = slow_of(member);
    hub_conn_t *conn = conn_of(member);

    if (slow == NULL)
        return;
    slow->ended = true;
    if (!hub__conn_is_open(conn)) {
        hub__backlog_dispose(&slow->backlog, on_drop, conn);
        forget(slow);
        return;
    }
    if (!hub__conn_has_room(conn, hub__backlog_bytes(&slow->backlog),
                            slow->backlog.count + slow->backlog.fixed_count))
        hub__backlog_drop(&slow->backlog, on_drop, conn);
    while (move_one(slow) != 0)
        ;
    forget(slow);
    hub__conn_want_flush(conn);
}
