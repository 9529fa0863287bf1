/* SPDX-License-Identifier: MIT */
/* Streams by topic and by use, and the numbers of other nodes, of which a topic has few: a row that
 * is searched from its beginning. */
#include "bus/stream.h"

#include <stdlib.h>

#define STREAMS_MAX 4096 /* of one shard */
#define ORIGINS_MAX 256  /* of one topic */

/* ---- this node's own ---- */

static void unlink_stream(hub__streams_t *streams, hub__stream_t *stream)
{
    *(stream->newer == NULL ? &streams->newest : &stream->newer->older) = stream->older;
    *(stream->older == NULL ? &streams->oldest : &stream->older->newer) = stream->newer;
}

static void link_newest(hub__streams_t *streams, hub__stream_t *stream)
{
    stream->newer = NULL;
    stream->older = streams->newest;
    *(streams->newest == NULL ? &streams->oldest : &streams->newest->newer) = stream;
    streams->newest = stream;
}

static void drop_stream(hub__streams_t *streams, hub__stream_t *stream)
{
    unlink_stream(streams, stream);
    hub__pulse_beat_end(&streams->beats, &stream->beat);
    hub__table_remove(&streams->table, &stream->node);
    free(stream);
}

static hub__stream_t *find_stream(const hub__streams_t *streams, uint64_t hash, hub_str_t topic,
                                  bool returns)
{
    hub__table_node_t *node = hub__table_chain(&streams->table, hash);

    for (; node != NULL; node = node->next) {
        hub__stream_t *stream = HUB__CONTAINER(node, hub__stream_t, node);

        if (node->hash == hash && stream->returns == returns &&
            hub_str_equals(hub__stream_topic(stream), topic))
            return stream;
    }
    return NULL;
}

/* With all but its incarnation; NULL: no memory. */
static hub__stream_t *stream_create(uint64_t hash, hub_str_t topic, bool returns)
{
    hub__stream_t *stream = calloc(1, sizeof(*stream) + topic.len);

    if (stream == NULL)
        return NULL;
    memcpy(stream->topic, topic.base, topic.len);
    stream->topic_bytes = topic.len;
    stream->returns = returns;
    stream->node.hash = hash;
    return stream;
}

void hub__streams_init(hub__streams_t *streams)
{
    pthread_mutex_init(&streams->lock, NULL);
}

void hub__streams_dispose(hub__streams_t *streams)
{
    while (streams->newest != NULL)
        drop_stream(streams, streams->newest);
    hub__table_dispose(&streams->table);
    pthread_mutex_destroy(&streams->lock);
}

hub__stream_t *hub__streams_use(hub__streams_t *streams, atomic_ullong *incarnations, uint64_t hash,
                                hub_str_t topic, bool returns)
{
    hub__stream_t *stream = find_stream(streams, hash, topic, returns);

    if (stream != NULL) {
        unlink_stream(streams, stream);
        link_newest(streams, stream);
        return stream;
    }
    stream = stream_create(hash, topic, returns);
    if (stream == NULL)
        return NULL;
    if (streams->table.count >= STREAMS_MAX)
        drop_stream(streams, streams->oldest);
    stream->incarnation = atomic_fetch_add(incarnations, 1) + 1;
    hub__table_insert(&streams->table, &stream->node);
    link_newest(streams, stream);
    return stream;
}

void hub__streams_doubt(hub__streams_t *streams, uint64_t hash)
{
    hub__table_node_t *node;

    pthread_mutex_lock(&streams->lock);
    for (node = hub__table_chain(&streams->table, hash); node != NULL; node = node->next) {
        if (node->hash == hash)
            HUB__CONTAINER(node, hub__stream_t, node)->doubtful = true;
    }
    pthread_mutex_unlock(&streams->lock);
}

/* ---- those of other nodes ---- */

static hub__origin_t *find_origin(const hub__origins_t *origins, uint64_t node)
{
    for (size_t i = 0; i < origins->count; i++) {
        if (origins->all[i].node == node)
            return &origins->all[i];
    }
    return NULL;
}

/* The one that was silent longest. One alone is expected, this node itself, so there is another. */
static hub__origin_t *least_heard(const hub__origins_t *origins)
{
    hub__origin_t *least = NULL;

    for (size_t i = 0; i < origins->count; i++) {
        hub__origin_t *origin = &origins->all[i];

        if (!origin->expected && (least == NULL || origin->heard < least->heard))
            least = origin;
    }
    return least;
}

/* Room for one more node, if need be that of another. NULL: no memory. */
static hub__origin_t *new_origin(hub__origins_t *origins)
{
    size_t used = origins->count;
    hub__origin_t *origin;

    if (used == ORIGINS_MAX)
        return least_heard(origins);
    if ((used & (used - 1)) == 0) { /* the capacity is the power of two from here on */
        origin = realloc(origins->all, (used == 0 ? 1 : 2 * used) * sizeof(*origin));
        if (origin == NULL)
            return NULL;
        origins->all = origin;
    }
    return &origins->all[origins->count++];
}

void hub__origins_dispose(hub__origins_t *origins)
{
    free(origins->all);
}

bool hub__origins_note(hub__origins_t *origins, const hub__wire_t *wire, uint64_t *clock,
                       uint64_t *ret_missed, bool *ret_doubt)
{
    hub__origin_t *origin = find_origin(origins, wire->node);
    /* the first number that is not missing if the last one heard is not the one before it */
    uint64_t next = wire->kind == HUB__WIRE_POSITION ? wire->seq + 1 : wire->seq;
    uint64_t awaited = next; /* at the first contact: whatever it is */
    bool expected = origin != NULL && origin->expected;

    *ret_doubt = origin == NULL && wire->doubtful;
    if (origin == NULL) {
        origin = new_origin(origins);
    } else if (wire->incarnation < origin->incarnation ||
               (wire->incarnation == origin->incarnation && wire->seq <= origin->seq)) {
        return false;
    } else {
        awaited = wire->incarnation == origin->incarnation ? origin->seq + 1 : 1;
    }
    *ret_missed = next - awaited;
    if (origin != NULL)
        *origin = (hub__origin_t){.node = wire->node,
                                  .incarnation = wire->incarnation,
                                  .seq = wire->seq,
                                  .heard = ++*clock,
                                  .expected = expected};
    return true;
}

void hub__origins_expect(hub__origins_t *origins, uint64_t node, const hub__stream_t *stream,
                         uint64_t *clock)
{
    hub__origin_t *origin = find_origin(origins, node);

    if (origin != NULL)
        origin->expected = true;
    else if ((origin = new_origin(origins)) != NULL)
        *origin = (hub__origin_t){.node = node,
                                  .incarnation = stream->incarnation,
                                  .seq = stream->seq,
                                  .heard = ++*clock,
                                  .expected = true};
}
