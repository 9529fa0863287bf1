/* hub/outbox.h - private: frames waiting for one connection, as ranges of shared runs.
 *
 * A run is a counted block of frames, made once and shared by everyone who gets them. A range is a
 * piece of a run; a range that continues the last one of an outbox extends it in place, so a burst
 * on one topic is one entry and one iovec. Everything here belongs to one worker: counts are plain
 * numbers. */
#pragma once

#include <sys/uio.h>

#include "bus/message.h"

typedef struct hub__run {
    char *base; /* moves while the run is open: ranges hold offsets */
    uint32_t len;
    uint32_t capacity;
    uint32_t messages; /* frames in it */
    uint32_t refs;
    uint32_t queued_ms; /* low bits of when its first frame was queued somewhere; 0: nowhere yet */
    uint64_t *keys;     /* of its frames, where some wait by a policy; NULL: all are ordinary */
    uint32_t key_count, key_capacity;
    hub_message_t *note; /* retained: what the only frame of this run is about; NULL unless somebody
                            wants to know that it left */
} hub__run_t;

/* Owned by the caller (hub__run_release). NULL when out of memory. */
hub__run_t *hub__run_create(size_t capacity);
void hub__run_release(hub__run_t *run); /* NULL is allowed. */
/* Room for `more` bytes at the end, or NULL. */
char *hub__run_reserve(hub__run_t *run, size_t more);
/* Gives back what a closed run has to spare, where that is much. */
void hub__run_fit(hub__run_t *run);
/* The key of the newest frame, which some may keep by (hub/backlog.h). HUB_ENOMEM. */
hub_status_t hub__run_push_key(hub__run_t *run, uint64_t key);
static inline uint64_t hub__run_key(const hub__run_t *run, uint32_t index)
{
    return index < run->key_count ? run->keys[index] : 0;
}
/* The messages behind `offset`, which is a frame's start or the end. */
uint32_t hub__run_messages_from(const hub__run_t *run, uint32_t offset);

typedef struct hub__ring hub__ring_t;

typedef struct hub__range {
    union {
        hub__run_t *run;   /* retained */
        hub__ring_t *ring; /* in an outbox: where `end` is 0 */
    };
    uint32_t start;
    uint32_t end;
    uint32_t messages;
    uint32_t tag; /* of the topic it belongs to; 0: none */
} hub__range_t;

/* Several ranges; made for the second, freed with the last. */
struct hub__ring {
    uint32_t head;
    uint32_t len;
    uint32_t capacity; /* a power of two */
    uint32_t messages;
    size_t bytes;
    hub__range_t ranges[];
};

/* Zeroed storage is an empty outbox. Nothing or one range is what nearly all hold nearly always, so
 * there is no more to it than that. */
typedef struct hub__outbox {
    hub__range_t one; /* the only range; with an `end` of 0 the ring, NULL: nothing waits */
} hub__outbox_t;

static inline bool hub__outbox_is_empty(const hub__outbox_t *outbox)
{
    return outbox->one.end == 0 && outbox->one.ring == NULL;
}

/* How many ranges there are. */
static inline uint32_t hub__outbox_len(const hub__outbox_t *outbox)
{
    return outbox->one.end != 0 ? 1 : outbox->one.ring != NULL ? outbox->one.ring->len : 0;
}

static inline uint32_t hub__outbox_messages(const hub__outbox_t *outbox)
{
    return outbox->one.end != 0       ? outbox->one.messages
           : outbox->one.ring != NULL ? outbox->one.ring->messages
                                      : 0;
}

static inline size_t hub__outbox_bytes(const hub__outbox_t *outbox)
{
    return outbox->one.end != 0       ? outbox->one.end - outbox->one.start
           : outbox->one.ring != NULL ? outbox->one.ring->bytes
                                      : 0;
}

/* When the oldest frame was queued; of an outbox that holds some. */
static inline uint32_t hub__outbox_since(const hub__outbox_t *outbox)
{
    const hub__range_t *first = &outbox->one;

    if (outbox->one.end == 0)
        first = &outbox->one.ring->ranges[outbox->one.ring->head];
    return first->run->queued_ms;
}

/* Frames of the run are queued for the first time, or again. Zero is for those that never were. */
static inline void hub__run_stamp(hub__run_t *run, uint64_t now_ms)
{
    if (run->queued_ms == 0)
        run->queued_ms = (uint32_t)now_ms != 0 ? (uint32_t)now_ms : 1;
}

/* Retains the run unless the last range is extended. HUB_ENOMEM. */
hub_status_t hub__outbox_append(hub__outbox_t *outbox, hub__run_t *run, uint32_t start,
                                uint32_t end, uint32_t messages, uint32_t tag);
/* Fills at most `max` iovecs from the front; returns how many. */
size_t hub__outbox_iovecs(const hub__outbox_t *outbox, struct iovec *iovecs, size_t max);
/* Takes `bytes` off the front. `on_sent` (may be NULL) is called with the note of each run that has
 * left. */
void hub__outbox_consume(hub__outbox_t *outbox, size_t bytes,
                         void (*on_sent)(const hub_message_t *note, void *user), void *user);
/* What stays after a write that did not take everything must not pin large runs of others: small
 * pieces get a run of their own. HUB_ENOMEM leaves them as they are. */
void hub__outbox_compact(hub__outbox_t *outbox);
/* Drops every frame that has not begun to leave; returns how many messages that were. The rest of
 * one that was partly written stays, so that another frame can follow. */
uint32_t hub__outbox_trim(hub__outbox_t *outbox,
                          void (*on_lost)(const hub_message_t *note, void *user), void *user);
/* Forgets everything. `on_lost` (may be NULL) is called with the note of each run that never left.
 */
void hub__outbox_dispose(hub__outbox_t *outbox,
                         void (*on_lost)(const hub_message_t *note, void *user), void *user);
const hub__range_t *hub__outbox_at(const hub__outbox_t *outbox, uint32_t index);
