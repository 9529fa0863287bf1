/* SPDX-License-Identifier: MIT */
/* Waiting frames as ranges of shared runs: the reason why a fan-out costs one entry and one iovec
 * per connection and turn, however many messages the turn brought. */
#include "hub/outbox.h"

#include <assert.h>
#include <stdlib.h>

#include "hub/frame.h"

#define FIRST_CAPACITY 8u
#define SMALL_RUN 512u          /* not worth another copy */
#define JOINED_RUN (64u * 1024) /* small pieces gather in runs of about this size */

hub__run_t *hub__run_create(size_t capacity)
{
    hub__run_t *run = malloc(sizeof(*run));

    if (run == NULL)
        return NULL;
    *run = (hub__run_t){.refs = 1};
    if (capacity != 0 && hub__run_reserve(run, capacity) == NULL) {
        free(run);
        return NULL;
    }
    return run;
}

void hub__run_release(hub__run_t *run)
{
    if (run == NULL || --run->refs != 0)
        return;
    hub_message_release(run->note);
    free(run->base);
    free(run);
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
    if ((base = realloc(run->base, capacity)) == NULL)
        return NULL;
    run->base = base;
    run->capacity = (uint32_t)capacity;
    return base + run->len;
}

static hub__range_t *range_at(const hub__outbox_t *outbox, uint32_t index)
{
    hub__outbox_t *mutable = (hub__outbox_t *)(uintptr_t)outbox;

    assert(index < outbox->len);
    if (outbox->many == NULL)
        return &mutable->one;
    return &outbox->many[(outbox->head + index) & (outbox->capacity - 1)];
}

const hub__range_t *hub__outbox_at(const hub__outbox_t *outbox, uint32_t index)
{
    return range_at(outbox, index);
}

/* Makes room for one more range at the end and returns it. */
static hub__range_t *range_push(hub__outbox_t *outbox)
{
    if (outbox->len == 0 && outbox->many == NULL) {
        outbox->len = 1;
        return &outbox->one;
    }
    if (outbox->many == NULL || outbox->len == outbox->capacity) {
        uint32_t capacity = outbox->many == NULL ? FIRST_CAPACITY : outbox->capacity * 2;
        hub__range_t *many = malloc(capacity * sizeof(*many));

        if (many == NULL)
            return NULL;
        for (uint32_t i = 0; i != outbox->len; ++i)
            many[i] = *range_at(outbox, i);
        free(outbox->many);
        outbox->many = many;
        outbox->head = 0;
        outbox->capacity = capacity;
    }
    ++outbox->len;
    return range_at(outbox, outbox->len - 1);
}

hub_status_t hub__outbox_append(hub__outbox_t *outbox, hub__run_t *run, uint32_t start,
                                uint32_t end, uint32_t messages, uint32_t tag)
{
    hub__range_t *last;

    assert(start < end && end <= run->len);
    if (outbox->len != 0) {
        last = range_at(outbox, outbox->len - 1);
        if (last->run == run && last->end == start && last->tag == tag) {
            last->end = end;
            last->messages += messages;
            goto Counted;
        }
    }
    if ((last = range_push(outbox)) == NULL)
        return HUB_ENOMEM;
    ++run->refs;
    *last =
        (hub__range_t){.run = run, .start = start, .end = end, .messages = messages, .tag = tag};
Counted:
    outbox->bytes += end - start;
    outbox->messages += messages;
    return HUB_OK;
}

size_t hub__outbox_iovecs(const hub__outbox_t *outbox, struct iovec *iovecs, size_t max)
{
    size_t count = outbox->len < max ? outbox->len : max;

    for (uint32_t i = 0; i != count; ++i) {
        const hub__range_t *range = range_at(outbox, i);

        iovecs[i].iov_base = range->run->base + range->start;
        iovecs[i].iov_len = range->end - range->start;
    }
    return count;
}

static void range_pop(hub__outbox_t *outbox)
{
    hub__range_t *range = range_at(outbox, 0);

    outbox->messages -= range->messages;
    hub__run_release(range->run);
    --outbox->len;
    if (outbox->many == NULL)
        return;
    outbox->head = (outbox->head + 1) & (outbox->capacity - 1);
    if (outbox->len == 0) {
        free(outbox->many);
        outbox->many = NULL;
        outbox->head = 0;
    }
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

/* Those that have not left whole. */
static uint32_t messages_left(const hub__range_t *range)
{
    const char *base = range->run->base;
    uint32_t at = frame_start(range->run, range->start), count = 0;

    while (at != range->end) {
        size_t payload, header = hub__frame_split(base + at, &payload);

        count += is_message(base + at);
        at += (uint32_t)(header + payload);
    }
    return count;
}

void hub__outbox_consume(hub__outbox_t *outbox, size_t bytes,
                         void (*on_sent)(const hub_message_t *note, void *user), void *user)
{
    assert(bytes <= outbox->bytes);
    outbox->bytes -= bytes;
    while (outbox->len != 0) {
        hub__range_t *range = range_at(outbox, 0);
        size_t size = range->end - range->start;

        if (bytes < size) {
            range->start += (uint32_t)bytes;
            outbox->messages -= range->messages;
            range->messages = messages_left(range);
            outbox->messages += range->messages;
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
    uint32_t kept = 0;

    for (uint32_t i = 0; i != outbox->len; ++i) {
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
    outbox->len = kept;
}

uint32_t hub__outbox_trim(hub__outbox_t *outbox,
                          void (*on_lost)(const hub_message_t *note, void *user), void *user)
{
    uint32_t lost = outbox->messages;
    hub__range_t *front, kept;
    uint32_t begin;
    size_t payload, header;

    if (outbox->len == 0)
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
    outbox->len = 1;
    outbox->messages = kept.messages;
    outbox->bytes = kept.end - kept.start;
    return lost - kept.messages;
}

void hub__outbox_dispose(hub__outbox_t *outbox,
                         void (*on_lost)(const hub_message_t *note, void *user), void *user)
{
    while (outbox->len != 0) {
        const hub__range_t *range = range_at(outbox, 0);

        if (on_lost != NULL && range->run->note != NULL)
            on_lost(range->run->note, user);
        range_pop(outbox);
    }
    free(outbox->many);
    *outbox = (hub__outbox_t){0};
}
