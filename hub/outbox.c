/* SPDX-License-Identifier: MIT */
/* Waiting frames as ranges of shared runs: the reason why a fan-out costs one entry and one iovec
 * per connection and turn, however many messages the turn brought. */
#include "hub/outbox.h"

#include <assert.h>
#include <stdlib.h>

#include "hub/frame.h"
#include "hub/memory.h"

#define FIRST_CAPACITY 8u
#define SMALL_RUN 512u          /* not worth another copy */
#define SPARE 4096u             /* not worth giving back */
#define JOINED_RUN (64u * 1024) /* small pieces gather in runs of about this size */
#define JOINED_MS 1000u         /* and of about this age: that of a run is its oldest frame's */

hub__run_t *hub__run_create(size_t capacity)
{
    hub__run_t *run = hub__queue_alloc(sizeof(*run));

    if (run == NULL)
        return NULL;
    *run = (hub__run_t){.refs = 1};
    if (capacity != 0 && hub__run_reserve(run, capacity) == NULL) {
        hub__queue_free(run);
        return NULL;
    }
    return run;
}

void hub__run_release(hub__run_t *run)
{
    if (run == NULL || --run->refs != 0)
        return;
    hub_message_release(run->note);
    hub__queue_free(run->keys);
    hub__queue_free(run->base);
    hub__queue_free(run);
}

char *hub__run_reserve(hub__run_t *run, size_t more)
{
    size_t need = run->len + more, capacity = run->capacity;
    char *base;

    if (need <= capacity)
        return run->base + run->len;
    if (need > UINT32_MAX / 2)
        return NULL;
    if (capacity == 0)
        capacity = 64;
    while (capacity < need)
        capacity *= 2;
    if ((base = hub__queue_realloc(run->base, capacity)) == NULL)
        return NULL;
    run->base = base;
    run->capacity = (uint32_t)capacity;
    return base + run->len;
}

void hub__run_fit(hub__run_t *run)
{
    char *base;

    if (run->capacity - run->len < SPARE || run->len == 0 ||
        (base = hub__queue_realloc(run->base, run->len)) == NULL)
        return;
    run->base = base;
    run->capacity = run->len;
}

hub_status_t hub__run_push_key(hub__run_t *run, uint64_t key)
{
    if (run->key_count == run->key_capacity) {
        uint32_t capacity = run->key_capacity == 0 ? 4 : run->key_capacity * 2;
        uint64_t *keys = hub__queue_realloc(run->keys, capacity * sizeof(*keys));

        if (keys == NULL)
            return HUB_ENOMEM;
        run->keys = keys;
        run->key_capacity = capacity;
    }
    run->keys[run->key_count++] = key;
    return HUB_OK;
}

static hub__range_t *range_at(const hub__outbox_t *outbox, uint32_t index)
{
    hub__outbox_t *mutable = (hub__outbox_t *)(uintptr_t)outbox;
    hub__ring_t *ring = outbox->one.ring;

    assert(index < hub__outbox_len(outbox));
    if (outbox->one.end != 0)
        return &mutable->one;
    return &ring->ranges[(ring->head + index) & (ring->capacity - 1)];
}

const hub__range_t *hub__outbox_at(const hub__outbox_t *outbox, uint32_t index)
{
    return range_at(outbox, index);
}

/* A ring of all ranges with room for more. False: no memory, nothing is changed. */
static bool widen(hub__outbox_t *outbox)
{
    uint32_t len = hub__outbox_len(outbox);
    bool ringed = outbox->one.end == 0 && outbox->one.ring != NULL;
    uint32_t capacity = ringed ? outbox->one.ring->capacity * 2 : FIRST_CAPACITY;
    hub__ring_t *ring = hub__queue_alloc(sizeof(*ring) + capacity * sizeof(*ring->ranges));

    if (ring == NULL)
        return false;
    ring->head = 0;
    ring->len = len;
    ring->capacity = capacity;
    ring->messages = hub__outbox_messages(outbox);
    ring->bytes = hub__outbox_bytes(outbox);
    for (uint32_t i = 0; i != len; ++i)
        ring->ranges[i] = *range_at(outbox, i);
    if (ringed)
        hub__queue_free(outbox->one.ring);
    *outbox = (hub__outbox_t){0};
    outbox->one.ring = ring;
    return true;
}

hub_status_t hub__outbox_append(hub__outbox_t *outbox, hub__run_t *run, uint32_t start,
                                uint32_t end, uint32_t messages, uint32_t tag)
{
    const hub__range_t range = {
        .run = run, .start = start, .end = end, .messages = messages, .tag = tag};
    bool empty = hub__outbox_is_empty(outbox);
    hub__range_t *last = empty ? NULL : range_at(outbox, hub__outbox_len(outbox) - 1);
    hub__ring_t *ring;

    assert(start < end && end <= run->len);
    if (empty) {
        ++run->refs;
        outbox->one = range;
        return HUB_OK;
    }
    if (last->run == run && last->end == start && last->tag == tag) {
        last->end = end;
        last->messages += messages;
        if (last == &outbox->one)
            return HUB_OK;
        ring = outbox->one.ring;
    } else {
        if ((outbox->one.end != 0 || outbox->one.ring->len == outbox->one.ring->capacity) &&
            !widen(outbox))
            return HUB_ENOMEM;
        ++run->refs;
        ring = outbox->one.ring;
        ring->ranges[(ring->head + ring->len++) & (ring->capacity - 1)] = range;
    }
    ring->bytes += end - start;
    ring->messages += messages;
    return HUB_OK;
}

size_t hub__outbox_iovecs(const hub__outbox_t *outbox, struct iovec *iovecs, size_t max)
{
    size_t len = hub__outbox_len(outbox), count = len < max ? len : max;

    for (uint32_t i = 0; i != count; ++i) {
        const hub__range_t *range = range_at(outbox, i);

        iovecs[i].iov_base = range->run->base + range->start;
        iovecs[i].iov_len = range->end - range->start;
    }
    return count;
}

/* The counts of a ring are those of its ranges. */
static void ring_uncount(hub__outbox_t *outbox, size_t bytes, uint32_t messages)
{
    if (outbox->one.end != 0)
        return;
    outbox->one.ring->bytes -= bytes;
    outbox->one.ring->messages -= messages;
}

static void range_pop(hub__outbox_t *outbox)
{
    hub__range_t *range = range_at(outbox, 0);
    hub__ring_t *ring = outbox->one.ring;

    ring_uncount(outbox, range->end - range->start, range->messages);
    hub__run_release(range->run);
    if (range != &outbox->one) {
        ring->head = (ring->head + 1) & (ring->capacity - 1);
        if (--ring->len != 0)
            return;
        hub__queue_free(ring);
    }
    *outbox = (hub__outbox_t){0};
}

/* Where the frame that holds the byte at `offset` begins. Runs always begin with a frame. */
static uint32_t frame_start(const hub__run_t *run, uint32_t offset)
{
    uint32_t at = 0;

    for (;;) {
        size_t payload, header = hub__frame_split(run->base + at, &payload);
        uint32_t next = at + (uint32_t)(header + payload);

        if (offset < next)
            return at;
        at = next;
    }
}

/* Control frames are no messages, though they lie between them; of a message in fragments the last
 * one counts. */
static bool is_message(const char *frame)
{
    unsigned first = (unsigned char)*frame;

    return (first & HUB__OP_CLOSE) == 0 && (first & HUB__FRAME_FIN) != 0;
}

/* In whole frames from `at` to `end`. */
static uint32_t count_messages(const char *base, uint32_t at, uint32_t end)
{
    uint32_t count = 0;

    while (at != end) {
        size_t payload, header = hub__frame_split(base + at, &payload);

        count += is_message(base + at);
        at += (uint32_t)(header + payload);
    }
    return count;
}

uint32_t hub__run_messages_from(const hub__run_t *run, uint32_t offset)
{
    return offset == 0 ? run->messages : count_messages(run->base, offset, run->len);
}

/* Those that have not left whole. */
static uint32_t messages_left(const hub__range_t *range)
{
    return count_messages(range->run->base, frame_start(range->run, range->start), range->end);
}

void hub__outbox_consume(hub__outbox_t *outbox, size_t bytes,
                         void (*on_sent)(const hub_message_t *note, void *user), void *user)
{
    assert(bytes <= hub__outbox_bytes(outbox));
    while (!hub__outbox_is_empty(outbox)) {
        hub__range_t *range = range_at(outbox, 0);
        size_t size = range->end - range->start;
        uint32_t messages = range->messages;

        if (bytes < size) {
            range->start += (uint32_t)bytes;
            range->messages = messages_left(range);
            ring_uncount(outbox, bytes, messages - range->messages);
            return;
        }
        bytes -= size;
        if (on_sent != NULL && range->run->note != NULL)
            on_sent(range->run->note, user);
        range_pop(outbox);
    }
}

/* Gives a range a run of its own that holds no more than it needs. */
static void range_detach(hub__range_t *range)
{
    uint32_t begin = frame_start(range->run, range->start), size = range->end - begin;
    hub__run_t *own = hub__run_create(size);

    if (own == NULL)
        return;
    memcpy(own->base, range->run->base + begin, size);
    own->len = size;
    own->messages = range->messages;
    own->queued_ms = range->run->queued_ms;
    hub__run_release(range->run);
    range->run = own;
    range->start -= begin;
    range->end = size;
}

/* Whether a range keeps much more memory than it needs. What is ours alone and small may stay. */
static bool is_wasteful(const hub__range_t *range)
{
    const hub__run_t *run = range->run;

    if (run->note != NULL || (run->refs == 1 && run->capacity <= SMALL_RUN))
        return false;
    return range->end - range->start < run->capacity / 2;
}

/* Copies a range behind one that ends a run of its own. False: it can't be done. */
static bool range_join(hub__range_t *tail, const hub__range_t *range)
{
    uint32_t size = range->end - range->start;
    hub__run_t *run = tail->run;
    char *at;

    if (run->refs != 1 || run->note != NULL || tail->end != run->len || run->len > JOINED_RUN ||
        range->run->queued_ms - run->queued_ms > JOINED_MS ||
        (at = hub__run_reserve(run, size)) == NULL)
        return false;
    memcpy(at, range->run->base + range->start, size);
    run->len += size;
    run->messages += range->messages;
    tail->end = run->len;
    tail->messages += range->messages;
    return true;
}

void hub__outbox_compact(hub__outbox_t *outbox)
{
    uint32_t len = hub__outbox_len(outbox), kept = 0;

    for (uint32_t i = 0; i != len; ++i) {
        hub__range_t range = *range_at(outbox, i);

        if (is_wasteful(&range)) {
            if (kept != 0 && range_join(range_at(outbox, kept - 1), &range)) {
                hub__run_release(range.run);
                continue;
            }
            range_detach(&range);
        }
        *range_at(outbox, kept++) = range;
    }
    if (kept != len)
        outbox->one.ring->len = kept;
}

uint32_t hub__outbox_trim(hub__outbox_t *outbox,
                          void (*on_lost)(const hub_message_t *note, void *user), void *user)
{
    uint32_t lost = hub__outbox_messages(outbox);
    hub__range_t *front, kept;
    uint32_t begin;
    size_t payload, header;

    if (hub__outbox_is_empty(outbox))
        return 0;
    front = range_at(outbox, 0);
    begin = frame_start(front->run, front->start);
    if (begin == front->start) {
        hub__outbox_dispose(outbox, on_lost, user);
        return lost;
    }
    header = hub__frame_split(front->run->base + begin, &payload);
    kept = *front;
    kept.end = begin + (uint32_t)(header + payload);
    kept.messages = is_message(front->run->base + begin);
    ++kept.run->refs;
    range_pop(outbox);
    hub__outbox_dispose(outbox, on_lost, user);
    outbox->one = kept;
    return lost - kept.messages;
}

void hub__outbox_dispose(hub__outbox_t *outbox,
                         void (*on_lost)(const hub_message_t *note, void *user), void *user)
{
    while (!hub__outbox_is_empty(outbox)) {
        const hub__range_t *range = range_at(outbox, 0);

        if (on_lost != NULL && range->run->note != NULL)
            on_lost(range->run->note, user);
        range_pop(outbox);
    }
}
