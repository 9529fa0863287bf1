/* bus/stream.h - private: the numbers of messages between nodes.
 *
 * A stream is what one node publishes on one topic, numbered from 1 without a hole. Here are its
 * two ends: the streams of this node, which outlive the topic's subscribers, but only so many,
 * those used last; and how far those of other nodes were heard on a topic, which tells what is
 * doubled, late or missing. A stream that begins anew has a higher incarnation, and what it numbers
 * is told from what it numbered before.
 *
 * What this node is to hear itself only when it comes back is a stream of its own beside the other
 * one: its numbers are another node's, as it were, and `returns` says so. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "bus/pulse.h"
#include "bus/table.h"
#include "bus/wire.h"

/* ---- this node's own ---- */

typedef struct hub__stream {
    hub__table_node_t node;
    struct hub__stream *newer;
    struct hub__stream *older;
    uint64_t incarnation;
    uint64_t seq;  /* the last one used */
    bool returns;  /* what has these numbers is delivered here when it comes back */
    bool doubtful; /* what has the last ones is not known to be anywhere else */
    hub__beat_t beat;
    size_t topic_bytes;
    char topic[];
} hub__stream_t;

/* Those of one shard. The lock is the caller's to take, and held while the backend takes what is
 * numbered, so that the order of the numbers is the order on the wire. */
typedef struct hub__streams {
    _Alignas(64) pthread_mutex_t lock;
    hub__table_t table;
    hub__stream_t *newest; /* used last */
    hub__stream_t *oldest;
    hub__beats_t beats; /* of those whose position is to be told */
} hub__streams_t;

/* In zeroed storage. */
void hub__streams_init(hub__streams_t *streams);
void hub__streams_dispose(hub__streams_t *streams);
/* The stream of the topic, from now on the one used last; one that is new has the next of
 * `incarnations`. NULL: no memory. Under the lock. */
hub__stream_t *hub__streams_use(hub__streams_t *streams, atomic_ullong *incarnations, uint64_t hash,
                                hub_str_t topic, bool returns);

/* Something that was published on topics of that hash is not known to be at the broker. Takes the
 * lock. */
void hub__streams_doubt(hub__streams_t *streams, uint64_t hash);

static inline hub_str_t hub__stream_topic(const hub__stream_t *stream)
{
    return hub_str_n(stream->topic, stream->topic_bytes);
}

/* ---- those of other nodes, on one topic: under its shard's lock ---- */

typedef struct hub__origin {
    uint64_t node;
    uint64_t incarnation;
    uint64_t seq;
    uint64_t heard; /* the shard's clock */
    bool expected;  /* makes room for nobody: what is on its way counts from here */
} hub__origin_t;

typedef struct hub__origins {
    hub__origin_t *all;
    size_t count;
} hub__origins_t;

void hub__origins_dispose(hub__origins_t *origins);
/* A message or a position with numbers came, at one more tick of `clock`. Returns whether it is new
 * (a message: to be delivered), and then how many before it never came, of a position: up to it.
 * First contact sets the base and misses nothing; whether it may have been preceded by something
 * that was lost is the node's to say, which only then is looked at, as `ret_doubt`. */
bool hub__origins_note(hub__origins_t *origins, const hub__wire_t *wire, uint64_t *clock,
                       uint64_t *ret_missed, bool *ret_doubt);
/* What follows `stream->seq` is to come here from `node`: unlike a stranger's even the first one is
 * missed when it does not, and no other node takes its place. Where the node is known its numbers
 * stay. For one node, this one. */
void hub__origins_expect(hub__origins_t *origins, uint64_t node, const hub__stream_t *stream,
                         uint64_t *clock);
