/* SPDX-License-Identifier: MIT */
/* Topic -> this worker's members. A publish encodes one frame per wire format in use and marks the
 * topic; at the end of the turn each member takes the whole range of the turn at once, so a member
 * is touched once per turn and topic, however many messages there were. A frame of a member's own
 * settles that member first: nothing overtakes within a topic. */
#include "hub/internal.h"
#include "hub/tracker.h"

#include <assert.h>
#include <stdlib.h>

#define RUN_MAX (256u * 1024) /* a turn that brings more is settled in between */
#define SEATS_AHEAD 8u        /* prefetched */
#define BUS_TOPIC 450         /* what the bus has for one, with its subscription */

/* ---- frames ---- */

/* Moves a body that was written behind a guessed header to where the real one ends. */
static void place_frame(hub__run_t *run, uint32_t start, size_t guessed, unsigned first, size_t len)
{
    char header[HUB__FRAME_HEADER_MAX];
    size_t size = hub__frame_header(header, first, len);
    char *at = run->base + start;

    if (size != guessed)
        memmove(at + size, at + guessed, len);
    memcpy(at, header, size);
    run->len = start + (uint32_t)(size + len);
    ++run->messages;
}

hub_status_t hub__run_append(hub__run_t *run, unsigned first, hub_str_t body)
{
    size_t header = hub__frame_header_len(body.len);
    uint32_t start = run->len;
    char *at = hub__run_reserve(run, header + body.len);

    if (at == NULL)
        return HUB_ENOMEM;
    if (body.len != 0)
        memcpy(at + header, body.base, body.len);
    place_frame(run, start, header, first, body.len);
    return HUB_OK;
}

hub_status_t hub__run_encode(hub__run_t *run, const hub__dialect_t *dialect,
                             const hub__outgoing_t *out)
{
    size_t bound, header, len;
    uint32_t start = run->len;
    bool binary;
    char *at;

    if (!dialect->carries(out->payload.kind))
        return HUB_EPAYLOAD;
    bound = dialect->encode_bound(out);
    header = hub__frame_header_len(bound);
    /* a shorter frame may need less of a header, never more */
    if ((at = hub__run_reserve(run, HUB__FRAME_HEADER_MAX + bound)) == NULL)
        return HUB_ENOMEM;
    if ((len = dialect->encode(out, at + header, &binary)) == 0)
        return HUB_EPAYLOAD;
    place_frame(run, start, header, HUB__FRAME_FIN | (binary ? HUB__OP_BINARY : HUB__OP_TEXT), len);
    return HUB_OK;
}

/* ---- topics ---- */

static hub__topic_t *topic_find(hub__worker_t *worker, const hub_t *root, hub_str_t name,
                                uint64_t hash)
{
    for (hub__table_node_t *node = hub__table_chain(&worker->topics, hash); node != NULL;
         node = node->next) {
        hub__topic_t *topic = HUB__CONTAINER(node, hub__topic_t, node);

        if (node->hash == hash && topic->hub == root &&
            hub_str_equals(hub_str_n(topic->name, topic->name_len), name))
            return topic;
    }
    return NULL;
}

static void mark_dirty(hub__topic_t *topic)
{
    hub__worker_t *worker = topic->worker;

    if (topic->dirty)
        return;
    topic->dirty = true;
    topic->dirty_next = NULL;
    *worker->dirty_last = topic;
    worker->dirty_last = &topic->dirty_next;
    hub__worker_touch(worker);
}

static bool topic_is_empty(const hub__topic_t *topic)
{
    for (unsigned i = 0; i != hub__topic_group_count(topic); ++i)
        if (hub__topic_group(topic, i)->count != 0)
            return false;
    return true;
}

static void topic_destroy(hub__topic_t *topic)
{
    hub__worker_t *worker = topic->worker;

    hub__table_remove(&worker->topics, &topic->node);
    HUB__STAT_SUB(&worker->stats, topics, 1);
    atomic_fetch_sub_explicit(&topic->hub->topic_count, 1, memory_order_relaxed);
    for (unsigned i = 0; i != hub__topic_group_count(topic); ++i)
        hub__run_release(hub__topic_group(topic, i)->run);
    assert(topic->message_count == 0 && topic->ack_count == 0 && topic->later_first == NULL);
    if (topic->venue != NULL)
        hub__venue_close(topic->venue);
    free(topic->messages);
    free(topic->acks);
    hub__peer_free(topic->deflated);
    hub__account.bytes -= BUS_TOPIC;
    hub__peer_free(topic);
}

/* ---- settling ---- */

/* Behind the join reply that is still to come, within the bounds of the outbox it will go to. */
static void hold_back(hub_member_t *member, const hub__topic_t *topic, hub__run_t *run,
                      uint32_t start, uint32_t end, uint32_t messages)
{
    if (hub__member_extra(member) == NULL ||
        hub__outbox_bytes(&member->extra->held) + (end - start) >
            member->session->host->limits->outbox_bytes ||
        hub__outbox_append(&member->extra->held, run, start, end, messages, topic->tag) != HUB_OK)
        hub__conn_want_close((hub_conn_t *)member->session, HUB_DISCONNECT_SLOW, 4008,
                             HUB_STR("slow"));
}

/* To the outbox. */
static void deliver(hub_member_t *member, hub__topic_t *topic, hub__run_t *run, uint32_t start,
                    uint32_t end, uint32_t messages)
{
    if (hub__member_is_joining(member))
        hold_back(member, topic, run, start, end, messages);
    else if (hub__channel_keeps(topic->channel))
        topic->slow_dropped += hub__slow_deliver(member, run, start, end, messages, topic->tag);
    else
        (void)hub__conn_enqueue((hub_conn_t *)member->session, run, start, end, messages,
                                topic->tag);
}

/* A frame of the member's own that has waited for its turn behind messages for filters. */
static void deliver_own(hub_member_t *member, hub__topic_t *topic, const hub__filtered_t *own)
{
    if (hub__member_is_joining(member) || !hub__channel_keeps(topic->channel))
        deliver(member, topic, own->run, own->start, own->end, 1);
    else
        (void)hub__slow_place(member, own->run, own->start, own->end, own->key);
}

/* A member takes what its group's open run holds and it has not taken yet. */
static void take(hub_member_t *member, hub__topic_t *topic, hub__run_t *run)
{
    uint32_t start = member->taken;

    if (run->len == start)
        return;
    hub__group_set_taken(member, run->len);
    deliver(member, topic, run, start, run->len, hub__run_messages_from(run, start));
}

static void take_all(hub__topic_t *topic, hub__group_t *group, uint32_t from, hub__run_t *run)
{
    for (uint32_t i = from; i != group->count; ++i) {
        take(group->members[i], topic, run);
        hub__group_make_even(group, i);
    }
}

/* Writes all of a run to the members' sockets as long as there is time, without the way through the
 * outbox, which nothing else is going into. Returns how many have got it. */
static uint32_t write_at_once(hub__topic_t *topic, hub__group_t *group, hub__run_t *run)
{
    hub__worker_t *worker = topic->worker;
    const uint32_t *seats = hub__group_seats(group);
    uint32_t i, whole = 0;

    for (i = 0; i != group->count && hub__worker_may_write(worker); ++i) {
        hub_member_t *member = group->members[i];
        size_t wrote = 0;
        int fd = -1;

        if (i + SEATS_AHEAD < group->count)
            __builtin_prefetch(&worker->slots[seats[i + SEATS_AHEAD] & ~HUB__SEAT_ODD]);
        if ((seats[i] & HUB__SEAT_ODD) == 0)
            fd = worker->slots[seats[i]].ready_fd;
        if (fd != -1) {
            assert(hub__conn_is_ready((hub_conn_t *)member->session) && member->taken == 0);
            wrote = hub__websocket_write(fd, run->base, run->len, &worker->stats);
        }
        if (wrote == run->len) {
            ++whole;
        } else if (fd != -1) {
            hub__conn_enqueue_rest((hub_conn_t *)member->session, run, wrote, topic->tag);
        } else {
            take(member, topic, run);
            hub__group_make_even(group, i);
        }
    }
    HUB__STAT_ADD(&worker->stats, messages_out_total, (uint64_t)whole * run->messages);
    return i;
}

/* The frames of one message for a member with a filter. */
static void filter_message(hub_member_t *member, hub__topic_t *topic, hub__run_t *run,
                           hub__filtered_t *filtered, unsigned index)
{
    uint32_t start = filtered->frames[index].start, end = filtered->frames[index].end;
    hub_update_t verdict = HUB_UPDATE_KEEP;
    hub_payload_t replacement = {0};

    if (filtered->run != NULL) {
        if (filtered->only == member)
            deliver_own(member, topic, filtered);
        return;
    }
    if (end <= start || start < member->taken || filtered->only == member)
        return; /* it joined later, or is left out */
    if (filtered->intercepted && hub__member_wait_update(member, filtered->msg))
        return;
    if (filtered->intercepted)
        verdict = hub__member_filter(member, filtered->msg, &replacement);
    if (verdict == HUB_UPDATE_KEEP) {
        deliver(member, topic, run, start, end, 1);
        filtered->dropped += topic->slow_dropped;
        topic->slow_dropped = 0;
    } else if (verdict == HUB_UPDATE_REPLACE) {
        (void)hub_member_push(member, filtered->msg->event, replacement);
    } else {
        HUB__STAT(&topic->worker->stats, skipped_total);
        ++filtered->skipped;
    }
}

static void filter_all(hub__topic_t *topic, hub__group_t *group, hub__run_t *run,
                       hub__filtered_t *messages, uint32_t count, unsigned index)
{
    for (uint32_t i = 0; i != group->count; ++i) {
        for (uint32_t m = 0; m != count; ++m)
            filter_message(group->members[i], topic, run, &messages[m], index);
        hub__group_make_even(group, i);
    }
}

/* Members whose connection is being ended, for its outbox or otherwise, did not keep what was
 * queued. */
static void count_dropped(const hub__topic_t *topic, hub_publish_counts_t *counts)
{
    uint64_t dropped = 0;

    for (unsigned i = 0; i != hub__topic_group_count(topic); ++i) {
        const hub__group_t *group = hub__topic_group(topic, i);

        for (uint32_t m = 0; m != group->count; ++m)
            dropped += !hub__conn_is_open((const hub_conn_t *)group->members[m]->session);
    }
    dropped += topic->slow_dropped;
    counts->dropped = dropped < counts->queued ? dropped : counts->queued;
    counts->queued -= counts->dropped;
}

static void acks_settle(hub__topic_t *topic, hub__counted_t *acks, uint32_t count,
                        const hub__filtered_t *messages)
{
    for (uint32_t i = 0; i != count; ++i) {
        if (acks[i].message != UINT32_MAX) {
            acks[i].counts.skipped += messages[acks[i].message].skipped;
            acks[i].counts.queued -= messages[acks[i].message].skipped;
            topic->slow_dropped = messages[acks[i].message].dropped;
        }
        count_dropped(topic, &acks[i].counts);
        hub_bus_ack_add(acks[i].ack, &acks[i].counts);
        hub_bus_ack_release(acks[i].ack);
    }
    free(acks);
}

/* Gives every member what the turn brought and closes the turn's runs. `alone`: no other topic and
 * no filter has anything for their connections any more. */
static void topic_settle(hub__topic_t *topic, bool alone)
{
    hub__run_t *runs[HUB__GROUP_COUNT];
    hub__filtered_t *messages = topic->messages;
    unsigned group_count = hub__topic_group_count(topic);
    uint32_t message_count = topic->message_count, ack_count = topic->ack_count;
    hub__counted_t *acks = topic->acks;

    topic->messages = NULL;
    topic->message_count = topic->message_capacity = 0;
    topic->acks = NULL;
    topic->ack_count = topic->ack_capacity = 0;
    for (unsigned i = 0; i != group_count; ++i) {
        runs[i] = hub__topic_group(topic, i)->run;
        hub__topic_group(topic, i)->run = NULL;
    }
    topic->slow_dropped = 0;
    topic->settling = true;
    for (unsigned i = 0; i != group_count; ++i) {
        hub__group_t *group = hub__topic_group(topic, i);

        if (messages != NULL)
            filter_all(topic, group, runs[i], messages, message_count, i);
        else if (runs[i] != NULL && runs[i]->len != 0) /* else nothing could be encoded */
            take_all(topic, group,
                     alone && runs[i]->note == NULL ? write_at_once(topic, group, runs[i]) : 0,
                     runs[i]);
        if (runs[i] != NULL && runs[i]->refs != 1)
            hub__run_fit(runs[i]); /* somebody waits for it */
        hub__run_release(runs[i]);
    }
    topic->settling = false;
    acks_settle(topic, acks, ack_count, messages);
    for (uint32_t m = 0; m != message_count; ++m) {
        hub_message_release(messages[m].msg);
        hub__run_release(messages[m].run);
    }
    free(messages);
}

static void publish_later(hub__topic_t *topic);

/* A member with a filter that leaves before the turn is over: it sees what was published before. */
static void settle_filtered(hub_member_t *member, hub__run_t *run)
{
    hub__topic_t *topic = member->topic;

    topic->settling = true; /* what the filter publishes or sends follows behind */
    for (uint32_t m = 0; m != topic->message_count; ++m) {
        filter_message(member, topic, run, &topic->messages[m], hub__group_index(member));
        if (topic->messages[m].only == member)
            topic->messages[m].only = NULL; /* another one may get its address */
    }
    topic->settling = false;
    hub__group_set_taken(member, run != NULL ? run->len : 0);
    publish_later(topic);
}

void hub__fanout_settle_member(hub_member_t *member)
{
    hub__topic_t *topic = member->topic;
    hub__run_t *run;

    /* a filter's own frames stand where the message stood */
    if (topic == NULL || topic->settling)
        return;
    publish_later(topic);
    run = hub__group_of(member)->run;
    if (topic->message_count != 0)
        settle_filtered(member, run);
    else if (run != NULL)
        take(member, topic, run);
}

/* ---- publishing ---- */

/* Leaves the connection that a message came from out of it: it takes what was before, then skips
 * the frame. */
static hub_member_t *origin_member(hub__topic_t *topic, const hub_message_t *msg)
{
    hub_conn_t *conn;
    hub_member_t *member;

    if (!(msg->flags & HUB_MESSAGE_SKIP_ORIGIN) || msg->origin.node != topic->hub->node)
        return NULL;
    if ((conn = hub__worker_conn(topic->worker, msg->origin.local)) == NULL ||
        hub__conn_seat(conn)->endpoint->hub != topic->hub || conn->session.ended)
        return NULL;
    member = hub__session_find(&conn->session, hub_str_n(topic->name, topic->name_len));
    return member != NULL && member->topic == topic ? member : NULL;
}

/* NULL: no memory. */
static hub__filtered_t *filtered_push(hub__topic_t *topic)
{
    if (topic->message_count == topic->message_capacity) {
        uint32_t capacity = topic->message_capacity == 0 ? 4 : topic->message_capacity * 2;
        hub__filtered_t *messages = realloc(topic->messages, capacity * sizeof(*messages));

        if (messages == NULL)
            return NULL;
        topic->messages = messages;
        topic->message_capacity = capacity;
    }
    topic->messages[topic->message_count] = (hub__filtered_t){0};
    return &topic->messages[topic->message_count++];
}

static bool has_open_run(const hub__topic_t *topic)
{
    for (unsigned i = 0; i != hub__topic_group_count(topic); ++i)
        if (hub__topic_group(topic, i)->run != NULL)
            return true;
    return false;
}

/* Finds NULL where no filter is to see it, and it is behind none that one is to see, so the members
 * take it with their range. What they have not taken yet goes out before the first that is
 * remembered. False: no memory. */
static bool remember_for_filters(hub__topic_t *topic, const hub_message_t *msg,
                                 hub_member_t *left_out, hub__filtered_t **ret_filtered)
{
    bool intercepted = hub__channel_intercepts(topic->channel, msg->event);
    hub__filtered_t *filtered;

    *ret_filtered = NULL;
    if (!intercepted && topic->message_count == 0)
        return true;
    if (topic->message_count == 0 && has_open_run(topic))
        topic_settle(topic, false);
    if ((filtered = filtered_push(topic)) == NULL)
        return false;
    filtered->msg = hub_message_retain(msg);
    filtered->only = left_out;
    filtered->intercepted = intercepted;
    *ret_filtered = filtered;
    return true;
}

bool hub__fanout_must_wait(const hub_member_t *member)
{
    return member->topic != NULL && !member->topic->settling && member->topic->message_count != 0;
}

hub_status_t hub__fanout_wait(hub_member_t *member, hub__run_t *run, uint32_t start, uint32_t end,
                              uint64_t key)
{
    hub__filtered_t *own = filtered_push(member->topic);

    if (own == NULL)
        return HUB_ENOMEM;
    ++run->refs;
    own->run = run;
    own->start = start;
    own->end = end;
    own->only = member;
    own->key = key;
    return HUB_OK;
}

/* Completions wait for the settling: only then is it known whose outbox was full. Without memory
 * one is told at once, of what is known so far. */
static void remember_ack(hub__topic_t *topic, hub_bus_ack_t *ack,
                         const hub_publish_counts_t *counts)
{
    if (topic->ack_count == topic->ack_capacity) {
        uint32_t capacity = topic->ack_capacity == 0 ? 4 : topic->ack_capacity * 2;
        hub__counted_t *acks = realloc(topic->acks, capacity * sizeof(*acks));

        if (acks == NULL) {
            hub_bus_ack_add(ack, counts);
            return;
        }
        topic->acks = acks;
        topic->ack_capacity = capacity;
    }
    topic->acks[topic->ack_count++] = (hub__counted_t){
        .ack = hub_bus_ack_retain(ack),
        .counts = *counts,
        .message = topic->message_count != 0 ? topic->message_count - 1 : UINT32_MAX};
}

/* One frame for all members of one group. False: they are skipped. */
static bool encode_for_group(hub__topic_t *topic, unsigned index, const hub__outgoing_t *out,
                             uint64_t key, const hub_message_t *note)
{
    bool keyed = hub__channel_keeps(topic->channel);
    hub__group_t *group = hub__topic_group(topic, index);
    hub__worker_t *worker = topic->worker;
    uint32_t start;

    if (group->run == NULL && (group->run = hub__run_create(256)) == NULL)
        return false;
    if (keyed && hub__run_push_key(group->run, key) != HUB_OK)
        return false;
    start = group->run->len;
    if (hub__run_encode(group->run, hub__dialect(index % HUB__DIALECT_COUNT), out) != HUB_OK) {
        group->run->key_count -= keyed;
        return false;
    }
    if (index >= HUB__DIALECT_COUNT)
        hub__conn_deflate((hub_conn_t *)group->members[0]->session, group->run, start);
    if (note != NULL)
        group->run->note = hub_message_retain(note);
    HUB__STAT(&worker->stats, encodes_total);
    return true;
}

/* Skips the newest frame for the member that sent it. */
static void skip_newest(hub_member_t *member, const hub__run_t *run)
{
    hub__group_set_taken(member, run->len);
}

/* What hooks are told a frame is about: the topic as members know it, not as a shared bus does. */
static hub_message_t *make_note(const hub__topic_t *topic, const hub_message_t *msg)
{
    hub_message_options_t options = {
        .origin = msg->origin, .flags = msg->flags, .payload_is_valid = true};
    hub_message_t *note = NULL;

    if (!hub__wants_notes(topic->hub))
        return NULL;
    if (topic->hub->bus_prefix.len == 0)
        return hub_message_retain(msg);
    if (hub_message_create(hub_str_n(topic->name, topic->name_len), msg->event, msg->payload,
                           &options, &note, NULL) != HUB_OK)
        return NULL;
    return note;
}

/* No memory to remember it until the filters are asked, and without them it may go to nobody. */
static void skip_all(const hub__topic_t *topic, const hub_message_t *msg,
                     hub_publish_counts_t *counts)
{
    char name[HUB_LOG_FIELD], event[HUB_LOG_FIELD];

    for (unsigned i = 0; i != HUB__DIALECT_COUNT; ++i)
        counts->members += topic->groups[i].count;
    counts->skipped = counts->members;
    hub_log_peer(HUB_LOG_WARN, "fanout.skipped", "topic=%s event=%s error=\"out of memory\"",
                 hub_log_escape(hub_str_n(topic->name, topic->name_len), name),
                 hub_log_escape(msg->event, event));
}

static void publish_to_groups(hub__topic_t *topic, const hub_message_t *msg,
                              const hub__outgoing_t *out, uint64_t key,
                              hub_publish_counts_t *counts)
{
    hub_message_t *note = make_note(topic, msg);
    hub_member_t *origin = origin_member(topic, msg);
    hub__filtered_t *filtered;

    if (!remember_for_filters(topic, msg, origin, &filtered)) {
        skip_all(topic, msg, counts);
        hub_message_release(note);
        return;
    }
    /* of what filters see it is left out when it is its turn, else now */
    if (origin != NULL && filtered == NULL)
        hub__fanout_settle_member(origin);
    for (unsigned i = 0; i != hub__topic_group_count(topic); ++i) {
        hub__group_t *group = hub__topic_group(topic, i);
        uint32_t start = group->run != NULL ? group->run->len : 0, count = group->count;
        bool skips_origin = origin != NULL && hub__group_index(origin) == i;

        if (count == 0)
            continue;
        counts->members += count;
        if (!encode_for_group(topic, i, out, key, note)) {
            counts->skipped += count;
            continue;
        }
        if (filtered != NULL) {
            filtered->frames[i].start = start;
            filtered->frames[i].end = group->run->len;
        }
        if (skips_origin && filtered == NULL)
            skip_newest(origin, group->run);
        counts->skipped += skips_origin;
        counts->queued += count - skips_origin;
    }
    hub_message_release(note);
}

/* A frame that hooks follow stands alone in its run, and so does one of which is to be known how
 * many kept it; and a turn that brings very much is settled in between, unless filters would then
 * run inside a publish. */
static bool must_settle_now(const hub__topic_t *topic, bool counted)
{
    if (hub__wants_notes(topic->hub))
        return true;
    if (counted && hub__channel_keeps(topic->channel) && topic->message_count == 0)
        return true;
    for (unsigned i = 0; topic->message_count == 0 && i != hub__topic_group_count(topic); ++i) {
        const hub__run_t *run = hub__topic_group(topic, i)->run;

        if (run != NULL && run->len > RUN_MAX)
            return true;
    }
    return false;
}

static void publish(hub__topic_t *topic, const hub_message_t *msg, hub_bus_ack_t *ack)
{
    hub__worker_t *worker = topic->worker;
    hub_publish_counts_t counts = {0};
    hub__outgoing_t out = {
        .kind = HUB__OUT_BROADCAST,
        .topic = hub_str_n(topic->name, topic->name_len),
        .event = msg->event,
        .payload = msg->payload,
    };

    if (ack != NULL && has_open_run(topic) && must_settle_now(topic, true))
        topic_settle(topic, false);
    publish_to_groups(topic, msg, &out, hub__slow_key(topic->channel, msg), &counts);
    HUB__STAT(&worker->stats, publishes_total);
    HUB__STAT_ADD(&worker->stats, skipped_total, counts.skipped);
    mark_dirty(topic);
    if (ack != NULL)
        remember_ack(topic, ack, &counts);
    if (must_settle_now(topic, ack != NULL))
        topic_settle(topic, false);
}

/* What filters published on their own topic while it was settled. What that makes them publish
 * again has the next round. */
static void publish_later(hub__topic_t *topic)
{
    hub__later_t *later = topic->later_first, *next;

    topic->later_first = topic->later_last = NULL;
    for (; later != NULL; later = next) {
        next = later->next;
        publish(topic, later->msg, later->ack);
        hub_message_release(later->msg);
        if (later->ack != NULL)
            hub_bus_ack_release(later->ack);
        free(later);
    }
}

void hub__fanout_settle(hub__worker_t *worker)
{
    hub__topic_t *topic = worker->dirty_first, *next;
    bool alone = topic != NULL && topic->dirty_next == NULL && !worker->behind;

    /* those that filters make dirty meanwhile have the next round */
    worker->dirty_first = NULL;
    worker->dirty_last = &worker->dirty_first;
    for (; topic != NULL; topic = next) {
        next = topic->dirty_next;
        topic->dirty = false;
        topic_settle(topic, alone);
        publish_later(topic);
        if (topic_is_empty(topic) && topic->sub == NULL && !topic->dirty)
            topic_destroy(topic);
    }
}

static hub_status_t on_message(hub_bus_sub_t *sub, const hub_message_t *msg, hub_bus_ack_t *ack,
                               void *user)
{
    hub__topic_t *topic = user;
    hub__later_t *later;

    (void)sub;
    /* nothing overtakes what filters published */
    if (!topic->settling && topic->later_first == NULL) {
        publish(topic, msg, ack);
        return HUB_OK;
    }
    if ((later = calloc(1, sizeof(*later))) == NULL) {
        hub_publish_counts_t counts = {0};

        skip_all(topic, msg, &counts);
        HUB__STAT_ADD(&topic->worker->stats, skipped_total, counts.skipped);
        if (ack != NULL)
            hub_bus_ack_add(ack, &counts);
        return HUB_OK;
    }
    later->msg = hub_message_retain(msg);
    later->ack = ack != NULL ? hub_bus_ack_retain(ack) : NULL;
    if (topic->later_last != NULL)
        topic->later_last->next = later;
    else
        topic->later_first = later;
    topic->later_last = later;
    mark_dirty(topic);
    return HUB_OK;
}

/* A message of the hub's own. */
static void tell(hub__topic_t *topic, hub_str_t event, hub_str_t payload)
{
    hub_publish_counts_t counts = {0};
    hub__outgoing_t out = {
        .kind = HUB__OUT_BROADCAST,
        .topic = hub_str_n(topic->name, topic->name_len),
        .event = event,
        .payload = hub_json(payload),
    };
    hub_message_t msg = {.topic = out.topic, .event = event, .payload = out.payload};

    publish_to_groups(topic, &msg, &out, HUB__KEY_FIXED, &counts);
    mark_dirty(topic);
    if (must_settle_now(topic, false))
        topic_settle(topic, false);
}

void hub__fanout_tell(hub__worker_t *worker, const hub_t *root, hub_str_t name, hub_str_t event,
                      hub_str_t payload)
{
    uint64_t hash = hub__hash_mix(hub__hash(name), (uint64_t)(uintptr_t)root);
    hub__topic_t *topic = topic_find(worker, root, name, hash);

    if (topic != NULL)
        tell(topic, event, payload);
}

/* Tells the members that something is missing before the next message. */
static void on_gap(hub_bus_sub_t *sub, hub_gap_reason_t reason, uint64_t missed, void *user)
{
    hub__topic_t *topic = user;
    hub__buffer_t payload = {0};

    (void)sub;
    HUB__STAT(&topic->worker->stats, gaps_total);
    hub__buffer_printf(&payload, "{\"reason\":\"%s\",\"missed\":", hub_gap_reason_name(reason));
    if (missed != 0)
        hub__buffer_printf(&payload, "%llu}", (unsigned long long)missed);
    else
        HUB__APPEND_LITERAL(&payload, "null}");
    tell(topic, HUB_STR("gap"), hub__buffer_str(&payload));
    hub__buffer_dispose(&payload);
}

/* Backwards: who leaves is replaced by the last one, and who comes now waits for nothing. */
static void group_ready(hub__topic_t *topic, unsigned index)
{
    for (uint32_t i = hub__topic_group(topic, index)->count; i-- != 0 && topic->ready;) {
        hub__group_t *group = hub__topic_group(topic, index);

        if (i < group->count && group->members[i]->state == HUB__MEMBER_WAITING &&
            hub__conn_is_open((hub_conn_t *)group->members[i]->session))
            hub__member_ready(group->members[i]);
    }
}

static void on_ready(hub_bus_sub_t *sub, void *user)
{
    hub__topic_t *topic = user;

    (void)sub;
    topic->ready = true;
    if (topic_is_empty(topic))
        return;        /* nobody had to wait */
    mark_dirty(topic); /* it outlives its last member */
    for (unsigned i = 0; i != hub__topic_group_count(topic); ++i)
        group_ready(topic, i);
}

static void on_close(hub_bus_sub_t *sub, hub_status_t why, void *user)
{
    hub__topic_t *topic = user;

    (void)sub;
    topic->sub = NULL;
    if (why != HUB_ECLOSED)
        hub_log(HUB_LOG_ERROR, "fanout.closed", "error=\"%s\"", hub_status_text(why));
    if (topic_is_empty(topic) && !topic->dirty)
        topic_destroy(topic);
}

/* ---- members ---- */

/* A topic that emptied and fills again within one turn is still here, without its subscription. */
static hub_status_t topic_subscribe(hub__topic_t *topic)
{
    hub_bus_sub_options_t options = {
        .on_message = on_message,
        .on_gap = on_gap,
        .on_close = on_close,
        .executor = &topic->worker->executor,
        .user = topic,
        .on_ready = on_ready,
    };
    hub_str_t name = hub_str_n(topic->name, topic->name_len);
    hub__buffer_t prefixed = {.fallible = true};
    hub_status_t err;

    if (topic->sub != NULL)
        return HUB_OK;
    topic->ready = false;
    if (topic->hub->bus_prefix.len == 0)
        return hub_bus_subscribe(topic->hub->bus, name, &options, &topic->sub);
    hub__buffer_append(&prefixed, topic->hub->bus_prefix);
    hub__buffer_append(&prefixed, name);
    err = prefixed.failed ? HUB_ENOMEM
                          : hub_bus_subscribe(topic->hub->bus, hub__buffer_str(&prefixed), &options,
                                              &topic->sub);
    hub__buffer_dispose(&prefixed);
    return err;
}

static hub__topic_t *topic_create(hub__worker_t *worker, hub_t *root, hub_str_t name, uint64_t hash)
{
    hub__topic_t *topic = hub__peer_alloc_zeroed(sizeof(*topic) + name.len);

    if (topic == NULL)
        return NULL;
    hub__account.bytes += BUS_TOPIC;
    topic->node.hash = hash;
    topic->worker = worker;
    topic->hub = root;
    if (++worker->next_tag == 0)
        ++worker->next_tag;
    topic->tag = worker->next_tag;
    topic->name_len = (uint16_t)name.len;
    memcpy(topic->name, name.base, name.len);
    hub__table_insert(&worker->topics, &topic->node);
    HUB__STAT(&worker->stats, topics);
    atomic_fetch_add_explicit(&root->topic_count, 1, memory_order_relaxed);
    return topic;
}

/* Somebody has left, or could not enter. */
static void topic_left(hub__topic_t *topic)
{
    if (!topic_is_empty(topic))
        return;
    hub_bus_unsubscribe(topic->sub);
    topic->sub = NULL;
    if (!topic->dirty)
        topic_destroy(topic);
}

bool hub__fanout_has_room(hub__worker_t *worker, const hub_t *root, hub_str_t name)
{
    uint64_t hash;

    if (atomic_load_explicit(&root->topic_count, memory_order_relaxed) < root->topics_max)
        return true;
    hash = hub__hash_mix(hub__hash(name), (uint64_t)(uintptr_t)root);
    return topic_find(worker, root, name, hash) != NULL;
}

/* NULL: no memory. */
static hub__group_t *group_for(hub__topic_t *topic, const hub_member_t *member)
{
    unsigned index = hub__group_index(member);

    if (index >= HUB__DIALECT_COUNT && topic->deflated == NULL &&
        (topic->deflated =
             hub__peer_alloc_zeroed(HUB__GROUPS_DEFLATED * sizeof(*topic->deflated))) == NULL)
        return NULL;
    return hub__topic_group(topic, index);
}

hub_status_t hub__fanout_subscribe(hub__worker_t *worker, hub_t *root, hub_member_t *member)
{
    uint64_t hash = hub__hash_mix(member->node.hash, (uint64_t)(uintptr_t)root);
    hub_str_t name = hub__member_name(member);
    hub__topic_t *topic = topic_find(worker, root, name, hash);
    hub__group_t *group;
    hub_status_t err;

    if (topic == NULL && (topic = topic_create(worker, root, name, hash)) == NULL)
        return HUB_ENOMEM;
    assert(topic_is_empty(topic) || topic->channel == hub__member_channel(member));
    topic->channel = hub__member_channel(member); /* the router never changes */
    if ((err = topic_subscribe(topic)) != HUB_OK) {
        if (topic_is_empty(topic) && !topic->dirty)
            topic_destroy(topic);
        return err;
    }
    if (topic->venue == NULL && hub__member_channel(member)->options.presence != NULL)
        topic->venue =
            hub__presence_enter(worker, root, name, hub__member_channel(member)->options.presence);
    if ((group = group_for(topic, member)) == NULL || !hub__group_add(group, member)) {
        topic_left(topic);
        return HUB_ENOMEM;
    }
    member->topic = topic;
    hub__group_set_taken(member, group->run != NULL ? group->run->len : 0);
    return HUB_OK;
}

bool hub__fanout_awaits(const hub_member_t *member)
{
    return !member->topic->ready;
}

void hub__fanout_hurry(const hub_member_t *member)
{
    if (member->topic->sub != NULL)
        hub_bus_sub_hurry(member->topic->sub);
}

void hub__fanout_unsubscribe(hub_member_t *member)
{
    hub__topic_t *topic = member->topic;
    hub__group_t *group = hub__group_of(member);

    hub__fanout_settle_member(member);
    hub__slow_end(member);
    hub__group_remove(group, member);
    member->topic = NULL;
    topic_left(topic);
}
