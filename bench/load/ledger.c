/* SPDX-License-Identifier: MIT */
/* A benchmark of a server that loses messages is worth nothing, and samples do not find the one in
 * a million. So every delivery is compared with what must come next; that has to cost less than the
 * server's side of it, and is why everything that can be known beforehand lies ready. */
#define _GNU_SOURCE
#include "bench/load/ledger.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/report.h"

#define UNKNOWN UINT32_MAX /* the next number: whatever comes first */
#define WINDOW 64u         /* numbers that are remembered */
#define EXCERPT 80

/* ---- faults ---- */

static uint64_t *counter_of(faults_t *faults, fault_t fault)
{
    uint64_t *counters[] = {
        [FAULT_LOST] = &faults->lost,           [FAULT_DUPLICATE] = &faults->duplicate,
        [FAULT_MISROUTED] = &faults->misrouted, [FAULT_REORDERED] = &faults->reordered,
        [FAULT_CORRUPTED] = &faults->corrupted, [FAULT_PROTOCOL] = &faults->protocol,
        [FAULT_CLOSED] = &faults->closed};

    return counters[fault];
}

void ledger_fault(ledger_t *ledger, fault_t fault, uint64_t count, const char *format, ...)
{
    va_list args;

    if (count == 0)
        return;
    *counter_of(&ledger->faults, fault) += count;
    if (ledger->faults.first[0] != '\0')
        return;
    va_start(args, format);
    vsnprintf(ledger->faults.first, sizeof(ledger->faults.first), format, args);
    va_end(args);
    for (char *at = ledger->faults.first; *at != '\0'; ++at)
        if (!isprint((unsigned char)*at))
            *at = '.';
}

bool ledger_is_clean(const ledger_t *ledger)
{
    const faults_t *faults = &ledger->faults;

    return (faults->lost | faults->duplicate | faults->misrouted | faults->reordered |
            faults->corrupted | faults->protocol | faults->closed) == 0;
}

/* ---- topics and lanes ---- */

static void open_topic(ledger_t *ledger, uint32_t number, say_t say, const char *prefix,
                       uint32_t publishers, bool own)
{
    topic_t *topic = &ledger->topics[number];

    topic->name_len = (size_t)snprintf(topic->name, sizeof(topic->name), "%s%0*u", prefix,
                                       LEDGER_TOPIC_DIGITS, number);
    topic->known = speaker_pattern(ledger->speaker, say, topic->name, topic->name_len,
                                   &topic->prefix, &topic->suffix);
    buffer_reserve(&topic->prefix, 1); /* what is empty, is compared all the same */
    buffer_reserve(&topic->suffix, 1);
    topic->publishers = own ? 1 : publishers;
    topic->first_publisher = own ? number : 0;
    topic->first_lane = number * topic->publishers;
    for (uint32_t i = 0; i != topic->publishers; ++i)
        ledger->lanes[topic->first_lane + i] = (lane_t){
            .topic = topic, .topic_number = number, .publisher = topic->first_publisher + i};
    if (topic->known) {
        ledger->data_offset = topic->prefix.len;
        ledger->least_bytes = topic->prefix.len + ledger->data_bytes;
    }
}

void ledger_open(ledger_t *ret_ledger, const speaker_t *speaker, say_t say, const char *prefix,
                 uint32_t topics, uint32_t publishers, bool own)
{
    *ret_ledger = (ledger_t){.speaker = speaker,
                             .data_bytes = speaker->data_bytes,
                             .data_offset = SIZE_MAX,
                             .least_bytes = SIZE_MAX,
                             .topic_count = topics,
                             .lane_count = own ? topics : topics * publishers};
    ret_ledger->topics = load_calloc(topics, sizeof(topic_t));
    ret_ledger->lanes = load_calloc(ret_ledger->lane_count, sizeof(lane_t));
    for (uint32_t i = 0; i != topics; ++i)
        open_topic(ret_ledger, i, say, prefix, publishers, own);
}

void ledger_close(ledger_t *ledger)
{
    for (uint32_t i = 0; i != ledger->topic_count; ++i) {
        buffer_dispose(&ledger->topics[i].prefix);
        buffer_dispose(&ledger->topics[i].suffix);
    }
    for (uint32_t i = 0; i != ledger->lane_count; ++i)
        free(ledger->lanes[i].ring);
    free(ledger->topics);
    free(ledger->lanes);
    free(ledger->finished);
}

lane_t *ledger_lane(const ledger_t *ledger, uint32_t topic, uint32_t publisher)
{
    const topic_t *of = &ledger->topics[topic];

    return &ledger->lanes[of->first_lane + (publisher - of->first_publisher)];
}

/* ---- publishes ---- */

/* NULL: it is over, or never was. */
static publish_t *find_publish(const lane_t *lane, uint32_t sequence)
{
    if (sequence - lane->oldest >= lane->sent - lane->oldest)
        return NULL;
    return &lane->ring[sequence & (lane->size - 1)];
}

static void push_finished(ledger_t *ledger, const lane_t *lane)
{
    if (ledger->finished_count == ledger->finished_size) {
        ledger->finished_size = ledger->finished_size != 0 ? ledger->finished_size * 2 : 256;
        ledger->finished =
            realloc(ledger->finished, ledger->finished_size * sizeof(*ledger->finished));
        if (ledger->finished == NULL)
            bench_fail("out of memory, %zu publishes", ledger->finished_size);
    }
    ledger->finished[ledger->finished_count++] = (uint32_t)(lane - ledger->lanes);
}

static void finish(ledger_t *ledger, lane_t *lane)
{
    --ledger->outstanding;
    push_finished(ledger, lane);
    while (lane->oldest != lane->sent && lane->ring[lane->oldest & (lane->size - 1)].missing == 0)
        ++lane->oldest;
}

/* One of the readers of a publish has it, or never will. */
static void tick_off(ledger_t *ledger, lane_t *lane, uint32_t sequence)
{
    publish_t *publish = find_publish(lane, sequence);

    if (publish != NULL && publish->missing != 0 && --publish->missing == 0)
        finish(ledger, lane);
}

static void widen(lane_t *lane)
{
    uint32_t size = lane->size != 0 ? lane->size * 2 : 4;
    publish_t *ring = load_calloc(size, sizeof(*ring));

    for (uint32_t i = lane->oldest; i != lane->sent; ++i)
        ring[i & (size - 1)] = lane->ring[i & (lane->size - 1)];
    free(lane->ring);
    lane->ring = ring;
    lane->size = size;
}

void ledger_publish(ledger_t *ledger, lane_t *lane, uint64_t stamped_ns, payload_t *ret_payload)
{
    *ret_payload = (payload_t){.topic = lane->topic_number,
                               .publisher = lane->publisher,
                               .sequence = lane->sent,
                               .stamped_ns = stamped_ns};
    if (lane->sent - lane->oldest == lane->size)
        widen(lane);
    lane->ring[lane->sent & (lane->size - 1)] =
        (publish_t){.stamped_ns = stamped_ns, .missing = lane->topic->members};
    ++lane->sent;
    ++ledger->publishes;
    ++ledger->outstanding;
    if (lane->topic->members == 0)
        finish(ledger, lane);
}

/* ---- readers ---- */

void ledger_join(ledger_t *ledger, reader_t *reader, uint32_t topic_number, bool counts)
{
    topic_t *topic = &ledger->topics[topic_number];
    const lane_t *lanes = &ledger->lanes[topic->first_lane];

    reader_dispose(reader);
    reader->topic = topic;
    reader->counts = counts;
    reader->next = load_calloc(topic->publishers, sizeof(*reader->next));
    for (uint32_t i = 0; i != topic->publishers; ++i)
        reader->next[i] = counts || reader->lossy ? lanes[i].sent : UNKNOWN;
    if (counts)
        ++topic->members;
}

void ledger_joined(const ledger_t *ledger, reader_t *reader)
{
    const topic_t *topic = reader->topic;

    if (reader->counts)
        return;
    free(reader->since);
    reader->since = load_calloc(topic->publishers, sizeof(*reader->since));
    for (uint32_t i = 0; i != topic->publishers; ++i)
        reader->since[i] = ledger->lanes[topic->first_lane + i].sent;
}

/* What it should have got of one lane and has not. */
static uint64_t give_up_lane(ledger_t *ledger, const reader_t *reader, uint32_t slot)
{
    lane_t *lane = &ledger->lanes[reader->topic->first_lane + slot];
    uint32_t next = reader->next[slot] > lane->settled ? reader->next[slot] : lane->settled;
    uint32_t sent = lane->sent;

    for (uint32_t i = next; i != sent; ++i)
        tick_off(ledger, lane, i);
    return sent - next;
}

void ledger_leave(ledger_t *ledger, reader_t *reader)
{
    uint64_t lost = 0;

    reader->open = false;
    if (reader->topic == NULL || !reader->counts)
        return;
    reader->counts = false;
    --reader->topic->members;
    for (uint32_t i = 0; i != reader->topic->publishers; ++i)
        lost += give_up_lane(ledger, reader, i);
    ledger_fault(ledger, FAULT_LOST, lost, "connection %u did not get %llu messages of %s",
                 reader->conn, (unsigned long long)lost, reader->topic->name);
}

uint64_t ledger_missed(const ledger_t *ledger, const reader_t *reader)
{
    uint64_t missed = reader->missed;

    for (uint32_t i = 0; i != reader->topic->publishers; ++i)
        missed += ledger->lanes[reader->topic->first_lane + i].sent - reader->next[i];
    return missed;
}

void reader_dispose(reader_t *reader)
{
    free(reader->next);
    free(reader->skipped);
    free(reader->since);
    reader->next = reader->since = NULL;
    reader->skipped = NULL;
    reader->topic = NULL;
}

/* ---- deliveries ---- */

/* Numbers from next to sequence - 1 did not come. */
static void skip(ledger_t *ledger, reader_t *reader, lane_t *lane, uint32_t slot, uint32_t sequence)
{
    uint32_t next = reader->next[slot] > lane->settled ? reader->next[slot] : lane->settled;
    uint32_t gap = sequence > next ? sequence - next : 0;

    if (gap == 0)
        return; /* what is missing was settled */
    if (reader->lossy) {
        reader->missed += gap;
        return;
    }
    if (reader->skipped == NULL)
        reader->skipped = load_calloc(reader->topic->publishers, sizeof(*reader->skipped));
    reader->skipped[slot] =
        gap >= WINDOW ? UINT64_MAX : reader->skipped[slot] << gap | ((1ull << gap) - 1);
    ledger->suspects += gap;
    if (reader->counts)
        for (uint32_t i = next; i != sequence; ++i)
            tick_off(ledger, lane, i);
}

/* A number below the next one: false if it has been here already. */
static bool take_late(ledger_t *ledger, reader_t *reader, uint32_t slot, uint32_t sequence)
{
    uint32_t back = reader->next[slot] - 1 - sequence;
    uint64_t bit = back < WINDOW ? 1ull << back : 0;

    if (reader->skipped == NULL || (reader->skipped[slot] & bit) == 0) {
        ledger_fault(ledger, FAULT_DUPLICATE, 1,
                     "connection %u got message %u of publisher %u in %s twice", reader->conn,
                     sequence, slot + reader->topic->first_publisher, reader->topic->name);
        return false;
    }
    reader->skipped[slot] &= ~bit;
    if (sequence >= ledger->lanes[reader->topic->first_lane + slot].settled)
        --ledger->suspects;
    ledger_fault(ledger, FAULT_REORDERED, 1,
                 "connection %u got message %u of publisher %u in %s after message %u",
                 reader->conn, sequence, slot + reader->topic->first_publisher, reader->topic->name,
                 reader->next[slot] - 1);
    return true;
}

/* The first delivery after a join in the middle of everything. */
static void take_first(ledger_t *ledger, reader_t *reader, uint32_t slot, uint32_t sequence)
{
    uint32_t due = reader->since != NULL ? reader->since[slot] : sequence;

    if (sequence > due && !reader->lossy)
        ledger_fault(ledger, FAULT_LOST, sequence - due,
                     "connection %u joined %s before message %u of publisher %u, and got %u first",
                     reader->conn, reader->topic->name, due, slot + reader->topic->first_publisher,
                     sequence);
    reader->next[slot] = sequence;
}

/* False: no such message was published, not then at least. */
static bool account(ledger_t *ledger, reader_t *reader, const payload_t *payload, uint64_t now_ns)
{
    const topic_t *topic = reader->topic;
    uint32_t slot = payload->publisher - topic->first_publisher, next;
    const publish_t *publish;
    lane_t *lane;

    if (slot >= topic->publishers)
        return false;
    lane = &ledger->lanes[topic->first_lane + slot];
    publish = find_publish(lane, payload->sequence);
    if (payload->sequence >= lane->sent ||
        (publish != NULL && publish->stamped_ns != payload->stamped_ns))
        return false;
    if (reader->next[slot] == UNKNOWN)
        take_first(ledger, reader, slot, payload->sequence);
    next = reader->next[slot];
    if (payload->sequence < next) {
        if (take_late(ledger, reader, slot, payload->sequence))
            ++ledger->deliveries;
        return true;
    }
    if (payload->sequence > next)
        skip(ledger, reader, lane, slot, payload->sequence);
    reader->next[slot] = payload->sequence + 1;
    if (reader->skipped != NULL)
        reader->skipped[slot] <<= 1;
    ++ledger->deliveries;
    if (!reader->counts)
        return true;
    tick_off(ledger, lane, payload->sequence);
    histogram_add(&ledger->latency,
                  now_ns > payload->stamped_ns ? now_ns - payload->stamped_ns : 0);
    return true;
}

bool ledger_take(ledger_t *ledger, reader_t *readers, uint32_t count, uint32_t first_topic,
                 const char *message, size_t len, uint64_t now_ns)
{
    size_t offset = ledger->data_offset, data_bytes = ledger->data_bytes;
    const char *data = message + offset;
    const topic_t *topic;
    reader_t *reader;
    payload_t payload;

    if (len < ledger->least_bytes || !payload_read_header(data, &payload))
        return false;
    if (payload.topic - first_topic >= count)
        return false;
    reader = &readers[payload.topic - first_topic];
    topic = reader->topic;
    if (!reader->open || !topic->known || len != ledger->least_bytes + topic->suffix.len)
        return false;
    if (memcmp(message, topic->prefix.bytes, offset) != 0 ||
        memcmp(data + data_bytes, topic->suffix.bytes, topic->suffix.len) != 0 ||
        memcmp(data + PAYLOAD_HEADER, payload_filler(payload.sequence),
               data_bytes - PAYLOAD_HEADER) != 0)
        return false;
    return account(ledger, reader, &payload, now_ns);
}

bool ledger_knows(const char *message, size_t len)
{
    payload_t payload;

    return payload_find(message, len, &payload) != NULL;
}

/* False: it does not look as those before. */
static bool learn(ledger_t *ledger, topic_t *topic, const char *message, size_t len,
                  const char *data)
{
    size_t offset = (size_t)(data - message);

    if (topic->known || len - offset < ledger->data_bytes ||
        (ledger->data_offset != SIZE_MAX && ledger->data_offset != offset))
        return false;
    buffer_append(&topic->prefix, message, offset);
    buffer_append(&topic->suffix, data + ledger->data_bytes, len - offset - ledger->data_bytes);
    topic->known = true;
    ledger->data_offset = offset;
    ledger->least_bytes = offset + ledger->data_bytes;
    return true;
}

void ledger_examine(ledger_t *ledger, uint32_t conn, reader_t *readers, uint32_t count,
                    uint32_t first_topic, const char *message, size_t len, uint64_t now_ns)
{
    payload_t payload = {.topic = 0};
    const char *data = payload_find(message, len, &payload);
    reader_t *reader;
    int excerpt = (int)(len < EXCERPT ? len : EXCERPT);

    if (data == NULL) {
        ledger_fault(ledger, FAULT_PROTOCOL, 1, "connection %u got what nobody sent: %.*s", conn,
                     excerpt, message);
        return;
    }
    if (payload.topic - first_topic >= count || !readers[payload.topic - first_topic].open) {
        ledger_fault(ledger, FAULT_MISROUTED, 1,
                     "connection %u got a message of a topic that it has not joined: %.*s", conn,
                     excerpt, message);
        return;
    }
    reader = &readers[payload.topic - first_topic];
    if (learn(ledger, reader->topic, message, len, data) &&
        ledger_take(ledger, readers, count, first_topic, message, len, now_ns))
        return;
    ledger_fault(ledger, FAULT_CORRUPTED, 1,
                 "connection %u got a message that is not as it was sent: %.*s", conn, excerpt,
                 message);
    account(ledger, reader, &payload, now_ns);
}

void ledger_settle(ledger_t *ledger)
{
    uint64_t missing = 0;

    for (uint32_t i = 0; i != ledger->lane_count; ++i) {
        lane_t *lane = &ledger->lanes[i];

        for (uint32_t n = lane->oldest; n != lane->sent; ++n) {
            missing += lane->ring[n & (lane->size - 1)].missing;
            lane->ring[n & (lane->size - 1)].missing = 0;
        }
        lane->oldest = lane->settled = lane->sent;
    }
    ledger_fault(ledger, FAULT_LOST, missing + ledger->suspects,
                 "%llu deliveries never came, of %llu publishes that were not over",
                 (unsigned long long)(missing + ledger->suspects),
                 (unsigned long long)ledger->outstanding);
    ledger->outstanding = 0;
    ledger->suspects = 0;
}
