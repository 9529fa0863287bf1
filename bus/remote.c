/* SPDX-License-Identifier: MIT */
/* What every backend needs of the core, so that a backend is nothing but its client library:
 *
 * - Out: a stream per topic numbers what this node publishes there. Its lock is held while the
 *   backend takes the bytes, so the order of the numbers is the order on the wire. Streams outlive
 *   the topic's subscribers, but only so many; one that begins anew has a higher incarnation.
 * - In flight: every publish that the backend took waits for its answer, at most until its deadline
 *   or the end of the connection. Late and doubled answers find nothing here.
 * - In: the numbers of each other node tell what is doubled, late or missing.
 * - There and back: what all nodes are to hear in one order is heard here, too, when it comes back.
 *   Its numbers are those of another node, as it were, so all that is In holds for it as well. */
#include <stdlib.h>
#include <time.h>

#include "bus/buffer.h"
#include "bus/flight.h"
#include "bus/internal.h"
#include "bus/json.h"
#include "bus/log.h"
#include "bus/pulse.h"
#include "bus/spool.h"
#include "bus/wire.h"

#define ANSWER_TIMEOUT_MS_DEFAULT 5000
#define STREAMS_MAX 4096 /* of one shard */
#define IN_FLIGHT_BYTES_DEFAULT ((size_t)64 * 1024 * 1024)
#define ORIGINS_MAX 256 /* of one topic */
#define BYTES_FEW 1024
#define SPOOL_AT_ONCE 64
#define SPOOL_PAUSE_MS 10         /* once the backend takes no more */
#define WIRE_TOPIC_BYTES_MAX 1090 /* a bus name of 64, a topic of 1,024 */

struct stream {
    hub__table_node_t node;
    struct stream *newer;
    struct stream *older;
    uint64_t incarnation;
    uint64_t seq; /* the last one used */
    bool returns; /* what has these numbers is delivered here when it comes back */
    hub__beat_t beat;
    size_t topic_bytes;
    char topic[];
};

struct streams {
    _Alignas(64) pthread_mutex_t lock;
    hub__table_t table;
    struct stream *newest; /* used last */
    struct stream *oldest;
    hub__beats_t beats; /* of those whose position is to be told */
};

struct hub__remote {
    const hub_bus_backend_t *backend;
    void *self;
    bool degraded_local;
    atomic_bool was_up;
    atomic_bool connected;     /* topics are subscribed, publishes not taken yet */
    atomic_bool up;            /* all that was subscribed before stands again */
    atomic_ullong unconfirmed; /* subscriptions until then, and one while they are asked for */
    atomic_ullong asks;
    atomic_ullong incarnations;
    struct streams streams[HUB__SHARDS];

    pthread_mutex_t in_flight_lock; /* of what follows */
    pthread_cond_t wake;
    pthread_cond_t rested; /* the thread has nothing to do; for tests */
    bool resting;
    hub__flight_t flight;
    hub__spool_t spool;
    uint64_t last_token;
    uint32_t timeout_ms;
    uint64_t (*now_ms)(void *user);
    void *now_user;
    bool stop;
    pthread_t thread;

    hub__pulse_t pulse;

    atomic_ullong received;
    atomic_ullong plain;
    atomic_ullong duplicates;
    atomic_ullong missing;
    atomic_ullong invalid;
    atomic_ullong unknown;
    atomic_ullong refused;
    atomic_ullong refused_down;
    atomic_ullong refused_limit;
    atomic_ullong buffer_expired;
};

static void count(atomic_ullong *counter, uint64_t more)
{
    atomic_fetch_add_explicit(counter, more, memory_order_relaxed);
}

/* ---- in flight ---- */

static uint64_t monotonic_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static uint64_t monotonic_ms(void *user)
{
    (void)user;
    return monotonic_us() / 1000;
}

uint64_t hub__remote_now_us(hub_bus_t *bus)
{
    hub__remote_t *remote = bus->remote;
    uint64_t now_us;

    pthread_mutex_lock(&remote->in_flight_lock);
    now_us =
        remote->now_ms == monotonic_ms ? monotonic_us() : remote->now_ms(remote->now_user) * 1000;
    pthread_mutex_unlock(&remote->in_flight_lock);
    return now_us;
}

void hub__remote_wake(hub_bus_t *bus)
{
    pthread_mutex_lock(&bus->remote->in_flight_lock);
    pthread_cond_signal(&bus->remote->wake);
    pthread_mutex_unlock(&bus->remote->in_flight_lock);
}

uint64_t hub__remote_new_token(hub_bus_t *bus)
{
    uint64_t token;

    pthread_mutex_lock(&bus->remote->in_flight_lock);
    token = ++bus->remote->last_token;
    pthread_mutex_unlock(&bus->remote->in_flight_lock);
    return token;
}

/* Not under the lock. */
static void finish(hub__remote_t *remote, const hub__outcome_t *outcome)
{
    if (outcome->tell && outcome->status == HUB_EUNKNOWN)
        count(&remote->unknown, 1);
    if (outcome->tell)
        hub__ack_set(outcome->ack, outcome->status,
                     outcome->status == HUB_OK ? HUB_LEVEL_BUS : HUB_LEVEL_LOCAL);
    hub_bus_ack_release(outcome->ack);
}

/* One thing that the end of the connection leaves unknown; false: nothing is left. */
static bool lose(hub__remote_t *remote, hub__outcome_t *ret_outcome)
{
    bool found;

    pthread_mutex_lock(&remote->in_flight_lock);
    found = hub__flight_lose(&remote->flight, ret_outcome);
    pthread_mutex_unlock(&remote->in_flight_lock);
    return found;
}

static hub_status_t begin_flight(hub__remote_t *remote, size_t bytes, hub_bus_ack_t *ack,
                                 uint64_t *ret_token)
{
    hub__flight_t *flight = &remote->flight;
    hub_status_t err;

    pthread_mutex_lock(&remote->in_flight_lock);
    *ret_token = ++remote->last_token;
    err = hub__flight_begin(flight, *ret_token, bytes,
                            remote->now_ms(remote->now_user) + remote->timeout_ms, ack);
    /* with others before it, the thread wakes up for those in time */
    if (err == HUB_OK && flight->due.first == flight->due.last)
        pthread_cond_signal(&remote->wake);
    pthread_mutex_unlock(&remote->in_flight_lock);
    return err;
}

static void abandon_flight(hub__remote_t *remote, uint64_t token)
{
    pthread_mutex_lock(&remote->in_flight_lock);
    hub__flight_abandon(&remote->flight, token);
    pthread_mutex_unlock(&remote->in_flight_lock);
}

static bool is_usable(hub__remote_t *remote)
{
    return atomic_load(&remote->up) && !hub__pulse_is_deaf(&remote->pulse);
}

static uint64_t earlier(uint64_t left, uint64_t right)
{
    return left < right ? left : right;
}

static uint64_t spool_due_ms(hub__remote_t *remote)
{
    const hub__spool_t *spool = &remote->spool;

    if (spool->first == NULL)
        return UINT64_MAX;
    return is_usable(remote) ? earlier(spool->first->deadline_ms, spool->pause_ms)
                             : spool->first->deadline_ms;
}

/* UINT64_MAX: nothing is. */
static uint64_t next_due_ms(hub__remote_t *remote)
{
    return earlier(earlier(hub__flight_due_ms(&remote->flight), spool_due_ms(remote)),
                   hub__pulse_due_ms(&remote->pulse));
}

/* Until the next thing is due, or until something changes. */
static void wait_until_due(hub__remote_t *remote)
{
    uint64_t due_ms = next_due_ms(remote);
    struct timespec due = {
        .tv_sec = (time_t)(due_ms / 1000),
        .tv_nsec = (long)(due_ms % 1000) * 1000000,
    };

    remote->resting = true;
    pthread_cond_broadcast(&remote->rested);
    if (due_ms == UINT64_MAX || remote->now_ms != monotonic_ms)
        pthread_cond_wait(&remote->wake, &remote->in_flight_lock);
    else
        pthread_cond_timedwait(&remote->wake, &remote->in_flight_lock, &due);
    remote->resting = false;
}

void hub_bus_remote_published(hub_bus_t *bus, uint64_t token, hub_status_t status)
{
    hub__remote_t *remote = bus->remote;
    hub__outcome_t outcome;
    bool known;

    pthread_mutex_lock(&remote->in_flight_lock);
    known = hub__flight_answer(&remote->flight, token, status, &outcome);
    pthread_mutex_unlock(&remote->in_flight_lock);
    if (known)
        finish(remote, &outcome);
    else
        hub__pulse_answered(&bus->remote->pulse, token);
}

/* ---- streams: under their lock ---- */

static void unlink_stream(struct streams *streams, struct stream *stream)
{
    *(stream->newer == NULL ? &streams->newest : &stream->newer->older) = stream->older;
    *(stream->older == NULL ? &streams->oldest : &stream->older->newer) = stream->newer;
}

static void link_newest(struct streams *streams, struct stream *stream)
{
    stream->newer = NULL;
    stream->older = streams->newest;
    *(streams->newest == NULL ? &streams->oldest : &streams->newest->newer) = stream;
    streams->newest = stream;
}

static void drop_stream(struct streams *streams, struct stream *stream)
{
    unlink_stream(streams, stream);
    hub__pulse_beat_end(&streams->beats, &stream->beat);
    hub__table_remove(&streams->table, &stream->node);
    free(stream);
}

static struct stream *find_stream(const struct streams *streams, uint64_t hash, hub_str_t topic,
                                  bool returns)
{
    hub__table_node_t *node = hub__table_chain(&streams->table, hash);

    for (; node != NULL; node = node->next) {
        struct stream *stream = HUB__CONTAINER(node, struct stream, node);

        if (node->hash == hash && stream->returns == returns &&
            hub_str_equals(hub_str_n(stream->topic, stream->topic_bytes), topic))
            return stream;
    }
    return NULL;
}

/* The stream of the topic, as the one used last; NULL: no memory. */
static struct stream *use_stream(hub__remote_t *remote, struct streams *streams, uint64_t hash,
                                 hub_str_t topic, bool returns)
{
    struct stream *stream = find_stream(streams, hash, topic, returns);

    if (stream != NULL) {
        unlink_stream(streams, stream);
        link_newest(streams, stream);
        return stream;
    }
    stream = calloc(1, sizeof(*stream) + topic.len);
    if (stream == NULL)
        return NULL;
    if (streams->table.count >= STREAMS_MAX)
        drop_stream(streams, streams->oldest);
    memcpy(stream->topic, topic.base, topic.len);
    stream->topic_bytes = topic.len;
    stream->returns = returns;
    stream->node.hash = hash;
    stream->incarnation = atomic_fetch_add(&remote->incarnations, 1) + 1;
    hub__table_insert(&streams->table, &stream->node);
    link_newest(streams, stream);
    return stream;
}

/* ---- out ---- */

/* Without the prefix, which it has. */
static hub_str_t name_of(const hub_bus_t *bus, hub_str_t wire_topic)
{
    return hub_str_n(wire_topic.base + bus->prefix.len, wire_topic.len - bus->prefix.len);
}

static size_t backend_limit(const hub__remote_t *remote)
{
    return remote->backend->largest_message == NULL
               ? SIZE_MAX
               : remote->backend->largest_message(remote->self);
}

static bool is_too_large(const hub__remote_t *remote, size_t wire_size)
{
    return wire_size == SIZE_MAX || wire_size > backend_limit(remote);
}

bool hub__remote_is_usable(hub_bus_t *bus)
{
    return is_usable(bus->remote);
}

/* As which node it numbers what it delivers here itself, and what it delivers when that comes back.
 */
static uint64_t node_of(const hub_bus_t *bus, bool returns)
{
    uint64_t other = ~bus->node;

    return !returns ? bus->node : other == 0 ? 1 : other;
}

/* What goes nowhere after all takes a number, so that those who expect it are told. */
static void skip_number(hub_bus_t *bus, uint64_t hash, hub_str_t topic, bool returns)
{
    hub__remote_t *remote = bus->remote;
    struct streams *streams = &remote->streams[hash >> 60];
    struct stream *stream;
    bool wake = false;

    pthread_mutex_lock(&streams->lock);
    stream = use_stream(remote, streams, hash, topic, returns);
    if (stream != NULL) {
        stream->seq++;
        wake = hub__pulse_beat(&remote->pulse, &streams->beats, &stream->beat);
    }
    pthread_mutex_unlock(&streams->lock);
    if (wake)
        hub__remote_wake(bus);
}

/* False: it does not fit. */
static bool keep_for_later(hub__remote_t *remote, uint64_t hash, const hub_message_t *msg,
                           hub_bus_ack_t *ack, bool heard)
{
    hub_status_t err;

    pthread_mutex_lock(&remote->in_flight_lock);
    err = hub__spool_put(&remote->spool, hash, msg, ack, heard,
                         remote->now_ms(remote->now_user) + remote->timeout_ms);
    /* the bus may be up by now, with nobody else to notice that something waits */
    if (err == HUB_OK)
        pthread_cond_signal(&remote->wake);
    pthread_mutex_unlock(&remote->in_flight_lock);
    return err == HUB_OK;
}

/* What there is to do with a publish that can't go out now. Without a broker there is no order but
 * this node's own. */
static hub_status_t put_aside(hub_bus_t *bus, uint64_t hash, const hub_message_t *msg,
                              hub_bus_ack_t *ack, bool *ret_here)
{
    hub__remote_t *remote = bus->remote;

    if (remote->degraded_local) {
        hub__ack_set(ack, HUB_EBUSDOWN, HUB_LEVEL_LOCAL);
        skip_number(bus, hash, msg->topic, false);
        *ret_here = true;
        return HUB_OK;
    }
    if (remote->spool.bytes_max != 0 && keep_for_later(remote, hash, msg, ack, *ret_here))
        return HUB_OK;
    count(&remote->refused_down, 1);
    return HUB_EBUSDOWN;
}

/* Too much is in flight: the broker hangs, or is slower than this node. */
static void refuse_for_now(hub__remote_t *remote, const hub_message_t *msg)
{
    char field[HUB_LOG_FIELD];

    count(&remote->refused_limit, 1);
    hub_log_peer(HUB_LOG_WARN, "bus.limit", "topic=%s in_flight_bytes_max=%zu",
                 hub_log_escape(msg->topic, field), remote->flight.bytes_max);
}

static hub__origin_t *find_origin(const hub__topic_t *topic, uint64_t node)
{
    for (size_t i = 0; i < topic->origin_count; i++) {
        if (topic->origins[i].node == node)
            return &topic->origins[i];
    }
    return NULL;
}

/* Room for one more node, if need be the one that was silent longest. NULL: no memory. */
static hub__origin_t *new_origin(hub__topic_t *topic)
{
    size_t used = topic->origin_count;
    hub__origin_t *origin = topic->origins;

    if (used == ORIGINS_MAX) {
        for (size_t i = 1; i < used; i++) {
            if (topic->origins[i].heard < origin->heard)
                origin = &topic->origins[i];
        }
        return origin;
    }
    if ((used & (used - 1)) == 0) { /* the capacity is the power of two from here on */
        origin = realloc(topic->origins, (used == 0 ? 1 : 2 * used) * sizeof(*origin));
        if (origin == NULL)
            return NULL;
        topic->origins = origin;
    }
    return &topic->origins[topic->origin_count++];
}

/* The next number of `stream` is to come back where somebody listens here. Unlike another node's,
 * even the first one is missed when it does not. Under the lock of the stream. */
static void await_return(hub_bus_t *bus, const struct stream *stream, uint64_t token)
{
    hub__remote_t *remote = bus->remote;
    uint64_t hash = stream->node.hash, node = node_of(bus, true);
    hub__shard_t *shard = hub__bus_shard(bus, hash);
    hub__origin_t *origin = NULL;
    hub__topic_t *topic;

    pthread_mutex_lock(&shard->lock);
    topic = hub__topic_find(shard, hash, hub_str_n(stream->topic, stream->topic_bytes));
    if (topic != NULL) {
        if (find_origin(topic, node) == NULL)
            origin = new_origin(topic);
        if (origin != NULL)
            *origin = (hub__origin_t){.node = node,
                                      .incarnation = stream->incarnation,
                                      .seq = stream->seq,
                                      .heard = ++shard->clock};
        pthread_mutex_lock(&remote->in_flight_lock);
        hub__flight_await(&remote->flight, token, &topic->returns, stream->incarnation,
                          stream->seq + 1);
        pthread_mutex_unlock(&remote->in_flight_lock);
    }
    pthread_mutex_unlock(&shard->lock);
}

static hub_status_t send_numbered(hub_bus_t *bus, uint64_t hash, hub_str_t wire_topic, char *bytes,
                                  size_t size, uint64_t token, bool returns)
{
    hub__remote_t *remote = bus->remote;
    struct streams *streams = &remote->streams[hash >> 60];
    hub_str_t topic = name_of(bus, wire_topic);
    struct stream *stream;
    hub_status_t err = HUB_ENOMEM;
    bool wake = false;

    pthread_mutex_lock(&streams->lock);
    stream = use_stream(remote, streams, hash, topic, returns);
    if (stream != NULL) {
        hub__wire_number(bytes, stream->incarnation, stream->seq + 1);
        if (returns)
            await_return(bus, stream, token);
        err = remote->backend->publish(remote->self, wire_topic, hub_str_n(bytes, size), token);
        stream->seq += err == HUB_OK;
        wake = err == HUB_OK && hub__pulse_beat(&remote->pulse, &streams->beats, &stream->beat);
    }
    pthread_mutex_unlock(&streams->lock);
    if (wake)
        hub__remote_wake(bus);
    return err;
}

/* Behind the message that it names, because the lock is that of the messages. Being used last is
 * another matter: this is no use. */
static hub_status_t publish_position(hub_bus_t *bus, const struct stream *stream)
{
    hub__remote_t *remote = bus->remote;
    char bytes[HUB__WIRE_MARK_BYTES], topic[WIRE_TOPIC_BYTES_MAX];
    size_t topic_bytes = bus->prefix.len + stream->topic_bytes;

    memcpy(topic, bus->prefix.base, bus->prefix.len);
    memcpy(topic + bus->prefix.len, stream->topic, stream->topic_bytes);
    hub__wire_write_mark(bytes, HUB__WIRE_POSITION, node_of(bus, stream->returns),
                         stream->incarnation, stream->seq);
    return remote->backend->publish(remote->self, hub_str_n(topic, topic_bytes),
                                    hub_str_n(bytes, sizeof(bytes)), hub__remote_new_token(bus));
}

bool hub__remote_send_position(hub_bus_t *bus, size_t place, uint64_t now_ms, uint64_t *ret_due_ms)
{
    hub__remote_t *remote = bus->remote;
    struct streams *streams = &remote->streams[place];
    hub__beat_t *first;
    bool due;

    pthread_mutex_lock(&streams->lock);
    first = streams->beats.first;
    due = first != NULL && first->due_ms <= now_ms;
    if (due) {
        struct stream *stream = HUB__CONTAINER(first, struct stream, beat);

        hub__pulse_beat_done(&remote->pulse, &streams->beats, first, now_ms,
                             publish_position(bus, stream) == HUB_OK);
        first = streams->beats.first;
    }
    *ret_due_ms = first == NULL ? UINT64_MAX : first->due_ms;
    pthread_mutex_unlock(&streams->lock);
    return due;
}

/* `buffer` has room for the topic on the wire and the envelope. */
static hub_status_t send_message(hub_bus_t *bus, uint64_t hash, const hub_message_t *msg,
                                 hub_bus_ack_t *ack, bool returns, char *buffer, size_t size)
{
    hub_str_t wire_topic = hub_str_n(buffer, bus->prefix.len + msg->topic.len);
    char *bytes = buffer + wire_topic.len;
    uint64_t token;
    hub_status_t err = begin_flight(bus->remote, wire_topic.len + size, ack, &token);

    if (err != HUB_OK)
        return err;
    memcpy(buffer, bus->prefix.base, bus->prefix.len);
    memcpy(buffer + bus->prefix.len, msg->topic.base, msg->topic.len);
    hub__wire_write(bytes, msg, node_of(bus, returns));
    err = send_numbered(bus, hash, wire_topic, bytes, size, token, returns);
    if (err != HUB_OK)
        abandon_flight(bus->remote, token);
    return err;
}

static hub_status_t send_now(hub_bus_t *bus, uint64_t hash, const hub_message_t *msg,
                             hub_bus_ack_t *ack, bool returns)
{
    size_t size = hub__wire_size(msg), needed = bus->prefix.len + msg->topic.len + size;
    char few[BYTES_FEW], *buffer = few;
    hub_status_t err;

    if (is_too_large(bus->remote, size))
        return HUB_ETOOLARGE;
    if (needed > sizeof(few))
        buffer = malloc(needed);
    if (buffer == NULL)
        return HUB_ENOMEM;
    err = send_message(bus, hash, msg, ack, returns, buffer, size);
    if (buffer != few)
        free(buffer);
    return err;
}

/* Whether it is for the broker to say when this is heard here. Not on a topic that the broker has
 * refused: nothing comes back there. */
static bool is_to_return(hub_bus_t *bus, uint64_t hash, const hub_message_t *msg)
{
    hub__shard_t *shard = hub__bus_shard(bus, hash);
    const hub__topic_t *topic;
    bool refused;

    if ((msg->flags & HUB_MESSAGE_BUS_ORDER) == 0)
        return false;
    pthread_mutex_lock(&shard->lock);
    topic = hub__topic_find(shard, hash, msg->topic);
    refused = topic != NULL && topic->refused;
    pthread_mutex_unlock(&shard->lock);
    return !refused;
}

hub_status_t hub__remote_publish(hub_bus_t *bus, uint64_t hash, const hub_message_t *msg,
                                 hub_bus_ack_t *ack, bool *ret_here)
{
    hub__remote_t *remote = bus->remote;
    hub_status_t err = HUB_EBUSDOWN;

    if ((msg->flags & HUB_MESSAGE_BUS_ORDER) != 0 && !remote->backend->one_order)
        return HUB_EINVAL;
    *ret_here = !is_to_return(bus, hash, msg);
    if (is_usable(remote) && hub__spool_is_empty(&remote->spool))
        err = send_now(bus, hash, msg, ack, !*ret_here);
    else if (is_too_large(remote, hub__wire_size(msg)))
        return HUB_ETOOLARGE;
    if (err == HUB_ELIMIT)
        refuse_for_now(remote, msg);
    return err == HUB_EBUSDOWN ? put_aside(bus, hash, msg, ack, ret_here) : err;
}

/* ---- what waited for the broker: on the core's thread, which alone takes it out ---- */

/* Whether `spooled`, the first, is to be dealt with by now. */
static bool is_due(hub__remote_t *remote, const hub__spooled_t *spooled, uint64_t now_ms,
                   bool *ret_expired)
{
    if (spooled == NULL)
        return false;
    *ret_expired = now_ms >= spooled->deadline_ms;
    return *ret_expired || (is_usable(remote) && now_ms >= remote->spool.pause_ms);
}

/* It was never sent, so its outcome is known. */
static void drop_spooled(hub_bus_t *bus, const hub__spooled_t *spooled, hub_status_t status)
{
    char field[HUB_LOG_FIELD];

    count(&bus->remote->buffer_expired, 1);
    hub_log_peer(HUB_LOG_WARN, "bus.buffer_expired", "topic=%s status=%s",
                 hub_log_escape(spooled->msg->topic, field), hub_status_name(status));
    hub__ack_set(spooled->ack, status, HUB_LEVEL_LOCAL);
    skip_number(bus, spooled->hash, spooled->msg->topic, !spooled->heard);
}

/* False: the backend takes no more for now. */
static bool send_spooled(hub_bus_t *bus, const hub__spooled_t *spooled)
{
    bool returns = !spooled->heard && is_to_return(bus, spooled->hash, spooled->msg);
    hub_status_t err = send_now(bus, spooled->hash, spooled->msg, spooled->ack, returns);

    if (err == HUB_EBUSDOWN || err == HUB_ELIMIT || err == HUB_ENOMEM)
        return false;
    if (err != HUB_OK)
        drop_spooled(bus, spooled, err);
    else if (!spooled->heard && !returns)
        hub__bus_deliver(bus, spooled->hash, spooled->msg, spooled->ack);
    return true;
}

static bool take_spooled(hub_bus_t *bus, uint64_t now_ms)
{
    hub__remote_t *remote = bus->remote;
    hub__spooled_t *spooled;
    bool expired = false, due, done = true;

    pthread_mutex_lock(&remote->in_flight_lock);
    spooled = remote->spool.first;
    due = is_due(remote, spooled, now_ms, &expired);
    pthread_mutex_unlock(&remote->in_flight_lock);
    if (!due)
        return false;
    if (expired)
        drop_spooled(bus, spooled, HUB_EBUSDOWN);
    else
        done = send_spooled(bus, spooled);
    pthread_mutex_lock(&remote->in_flight_lock);
    if (done)
        (void)hub__spool_take(&remote->spool);
    else
        remote->spool.pause_ms = now_ms + SPOOL_PAUSE_MS;
    pthread_mutex_unlock(&remote->in_flight_lock);
    if (done)
        hub__spooled_free(spooled);
    return done;
}

static void resume_spool(hub__remote_t *remote)
{
    pthread_mutex_lock(&remote->in_flight_lock);
    remote->spool.pause_ms = 0;
    pthread_cond_signal(&remote->wake);
    pthread_mutex_unlock(&remote->in_flight_lock);
}

/* ---- the core's thread ---- */

static void take_turn(hub_bus_t *bus, uint64_t now_ms)
{
    hub__remote_t *remote = bus->remote;
    hub__outcome_t outcome;
    bool expired;

    pthread_mutex_lock(&remote->in_flight_lock);
    expired = hub__flight_expire(&remote->flight, now_ms, &outcome);
    pthread_mutex_unlock(&remote->in_flight_lock);
    if (expired)
        finish(remote, &outcome);
    for (int i = 0; i < SPOOL_AT_ONCE && take_spooled(bus, now_ms); i++)
        ;
    hub__pulse_turn(&remote->pulse);
}

/* What is due goes without the lock. */
static void *run_core(void *arg)
{
    hub_bus_t *bus = arg;
    hub__remote_t *remote = bus->remote;

    pthread_mutex_lock(&remote->in_flight_lock);
    while (!remote->stop) {
        uint64_t now_ms = remote->now_ms(remote->now_user);

        if (now_ms < next_due_ms(remote)) {
            wait_until_due(remote);
            continue;
        }
        pthread_mutex_unlock(&remote->in_flight_lock);
        take_turn(bus, now_ms);
        pthread_mutex_lock(&remote->in_flight_lock);
    }
    pthread_mutex_unlock(&remote->in_flight_lock);
    return NULL;
}

size_t hub__remote_largest_message(const hub_bus_t *bus)
{
    size_t limit = bus->remote == NULL ? SIZE_MAX : backend_limit(bus->remote);
    size_t around = HUB__WIRE_HEADER_BYTES + HUB__WIRE_EVENT_BYTES_MAX;

    if (limit == SIZE_MAX)
        return SIZE_MAX;
    return limit < around ? 0 : limit - around;
}

/* ---- in ---- */

/* Whether the message is one to deliver, and how many before it never came; of a position, whether
 * it says something new, and how many up to it. Under the shard's lock. */
static bool note_number(hub__topic_t *topic, const hub__wire_t *wire, uint64_t *ret_missed)
{
    hub__origin_t *origin = find_origin(topic, wire->node);
    /* the first number that is not missing if the last one heard is not the one before it */
    uint64_t next = wire->kind == HUB__WIRE_POSITION ? wire->seq + 1 : wire->seq;
    uint64_t expected = next; /* at the first contact: whatever it is */

    if (origin == NULL) {
        origin = new_origin(topic);
    } else if (wire->incarnation < origin->incarnation ||
               (wire->incarnation == origin->incarnation && wire->seq <= origin->seq)) {
        return false;
    } else {
        expected = wire->incarnation == origin->incarnation ? origin->seq + 1 : 1;
    }
    *ret_missed = next - expected;
    if (origin != NULL)
        *origin = (hub__origin_t){.node = wire->node,
                                  .incarnation = wire->incarnation,
                                  .seq = wire->seq,
                                  .heard = ++topic->shard->clock};
    return true;
}

/* Our own has come back: those before it never will. A position speaks for the number that it names
 * as well. Gives out the completion of the message itself, if it has one. */
static hub__outcome_t take_returned(hub__topic_t *topic, const hub__wire_t *wire)
{
    hub__remote_t *remote = topic->bus->remote;
    uint64_t before = wire->seq + (wire->kind == HUB__WIRE_POSITION);
    hub__outcome_t outcome;
    bool lost;

    do {
        pthread_mutex_lock(&remote->in_flight_lock);
        lost = hub__flight_overtaken(&remote->flight, &topic->returns, wire->incarnation, before,
                                     &outcome);
        if (!lost && (wire->kind == HUB__WIRE_POSITION ||
                      !hub__flight_return(&remote->flight, &topic->returns, wire->incarnation,
                                          wire->seq, &outcome)))
            outcome = (hub__outcome_t){0};
        pthread_mutex_unlock(&remote->in_flight_lock);
        if (lost)
            finish(remote, &outcome);
    } while (lost);
    return outcome;
}

/* `msg` is NULL for a position. */
static void receive(hub_bus_t *bus, hub_str_t name, const hub__wire_t *wire,
                    const hub_message_t *msg)
{
    hub__remote_t *remote = bus->remote;
    uint64_t hash = hub__hash(name);
    hub__shard_t *shard = hub__bus_shard(bus, hash);
    hub__topic_t *topic;
    uint64_t missed = 0;
    bool fresh = false, due_gap = false, returned = wire->node == node_of(bus, true);
    hub__outcome_t outcome = {0};

    pthread_mutex_lock(&shard->lock);
    topic = hub__topic_find(shard, hash, name);
    if (topic != NULL) {
        fresh = wire->node == 0 || note_number(topic, wire, &missed);
        due_gap = topic->due_gap;
        topic->due_gap = false;
        hub__topic_retain(topic);
    }
    pthread_mutex_unlock(&shard->lock);
    if (topic == NULL)
        return;  /* unsubscribed while it was on its way */
    if (due_gap) /* it came before the word that the subscription stands */
        hub__bus_tell_gap(topic, HUB_GAP_BUS, 0);
    if (returned && fresh)
        outcome = take_returned(topic, wire);
    count(&remote->received, msg != NULL && !returned);
    count(&remote->plain, wire->node == 0);
    count(&remote->duplicates, msg != NULL && !fresh);
    count(&remote->missing, missed);
    if (missed > 0)
        hub__bus_tell_gap(topic, HUB_GAP_LOST, missed);
    if (fresh && msg != NULL)
        hub__bus_deliver(bus, hash, msg, outcome.ack);
    finish(remote, &outcome);
    hub__topic_release(topic);
}

void hub_bus_remote_invalid(hub_bus_t *bus, hub_str_t topic, const char *what)
{
    char field[HUB_LOG_FIELD], reason[HUB_LOG_FIELD];

    count(&bus->remote->invalid, 1);
    hub_log_peer(HUB_LOG_WARN, "bus.invalid", "topic=%s what=%s", hub_log_escape(topic, field),
                 hub_log_escape(hub_str(what), reason));
}

/* Why it can't be read, or HUB_ENOTFOUND where nothing of it is for us. */
static hub_status_t read_wire(hub_bus_t *bus, hub_str_t bytes, char *event, hub__wire_t *ret_wire,
                              hub_error_t *error)
{
    hub_status_t err;

    if (hub__wire_is_plain(bytes))
        return hub__wire_read_plain(bytes, event, ret_wire, error);
    err = hub__wire_read(bytes, ret_wire);
    if (err == HUB_ESYNTAX)
        return hub_error_set(error, err, 0, "no envelope");
    if (err == HUB_OK && ret_wire->kind == HUB__WIRE_PROBE)
        return hub_error_set(error, HUB_ESYNTAX, 0, "a probe on a topic");
    if (err == HUB_OK && ret_wire->node == bus->node)
        return HUB_ENOTFOUND; /* our own, delivered when it was published */
    return err;               /* HUB_ENOTFOUND: of a newer node */
}

/* Why it was not taken; HUB_ENOTFOUND where nothing of it is for us. */
static hub_status_t take_envelope(hub_bus_t *bus, hub_str_t topic, hub_str_t bytes,
                                  hub_error_t *error)
{
    char event[HUB__WIRE_EVENT_BYTES_MAX];
    hub_str_t name;
    hub__wire_t wire;
    hub_message_t *msg = NULL;
    hub_status_t err;

    if (!hub_str_starts_with(topic, bus->prefix))
        return hub_error_set(error, HUB_EINVAL, 0, "not a topic of this bus");
    err = read_wire(bus, bytes, event, &wire, error);
    if (err != HUB_OK)
        return err;
    name = name_of(bus, topic);
    if (wire.kind == HUB__WIRE_MESSAGE) {
        wire.options.max_depth = HUB_JSON_DEPTH_MAX; /* as deep as its node may have allowed */
        err = hub_message_create(name, wire.event, wire.payload, &wire.options, &msg, error);
        if (err != HUB_OK)
            return err;
    }
    receive(bus, name, &wire, msg);
    hub_message_release(msg);
    return HUB_OK;
}

static bool is_probe(const hub_bus_t *bus, hub_str_t wire_topic)
{
    return hub_str_equals(wire_topic, bus->remote->pulse.topic);
}

void hub_bus_remote_message(hub_bus_t *bus, hub_str_t topic, hub_str_t bytes)
{
    hub_error_t error;
    hub_status_t err = HUB_OK;

    if (!is_probe(bus, topic))
        err = take_envelope(bus, topic, bytes, &error);
    else if (!hub__pulse_message(&bus->remote->pulse, bytes))
        err = hub_error_set(&error, HUB_EINVAL, 0, "no probe of this node");
    if (err != HUB_OK && err != HUB_ENOTFOUND)
        hub_bus_remote_invalid(bus, topic, error.text);
}

/* ---- subscriptions ---- */

/* Under the shard's lock. */
static void ask(hub__topic_t *topic, bool renewed)
{
    hub__remote_t *remote = topic->bus->remote;

    topic->ask = atomic_fetch_add(&remote->asks, 1) + 1;
    topic->stands = false;
    topic->refused = false;
    topic->awaited = true;
    atomic_fetch_add(&remote->pulse.awaited, 1);
    topic->renewed = renewed;
    if (renewed)
        atomic_fetch_add(&remote->unconfirmed, 1);
    remote->backend->subscribe(remote->self, topic->wire, topic->ask);
}

/* One subscription less to wait for; behind the last one publishes are taken. */
static void confirm_one(hub_bus_t *bus)
{
    hub__remote_t *remote = bus->remote;

    if (atomic_fetch_sub(&remote->unconfirmed, 1) != 1)
        return;
    atomic_store(&remote->up, true);
    resume_spool(remote); /* by its thread: this one may hold a shard's lock */
    hub__pulse_resume(&remote->pulse);
    hub_log(HUB_LOG_INFO, "bus.up", "backend=%s", remote->backend->name);
}

/* Whether the topic was waited for. Under the shard's lock. */
static bool stop_waiting(hub__topic_t *topic)
{
    bool renewed = topic->renewed;

    topic->renewed = false;
    return renewed;
}

/* Whether the broker's word was waited for. Under the shard's lock. */
static bool stop_awaiting(hub__topic_t *topic)
{
    bool awaited = topic->awaited;

    topic->awaited = false;
    if (awaited)
        atomic_fetch_sub(&topic->bus->remote->pulse.awaited, 1);
    return awaited;
}

void hub__remote_topic_added(hub__topic_t *topic)
{
    if (topic->bus->remote == NULL)
        return;
    if (topic->shard->up)
        ask(topic, false);
    else /* before the first time nothing was promised, so nothing is missed */
        topic->due_gap = atomic_load(&topic->bus->remote->was_up);
}

/* What was on its way to us, and to others, is only on its way to others. */
static void forget_returns(hub__topic_t *topic)
{
    hub__remote_t *remote = topic->bus->remote;
    hub__outcome_t outcome;
    bool found;

    do {
        pthread_mutex_lock(&remote->in_flight_lock);
        found = hub__flight_unheard(&remote->flight, &topic->returns, &outcome);
        pthread_mutex_unlock(&remote->in_flight_lock);
        if (found)
            finish(remote, &outcome);
    } while (found);
}

void hub__remote_topic_removed(hub__topic_t *topic)
{
    hub__remote_t *remote = topic->bus->remote;

    if (remote != NULL)
        forget_returns(topic);
    if (!topic->shard->up)
        return;
    remote->backend->unsubscribe(remote->self, topic->wire);
    stop_awaiting(topic);
    if (stop_waiting(topic))
        confirm_one(topic->bus);
}

bool hub__remote_topic_awaits(hub__topic_t *topic)
{
    if (topic->bus->remote == NULL || topic->stands)
        return false;
    if (topic->ask != 0 && !topic->refused)
        return true;
    topic->due_gap = true;
    return false;
}

void hub__remote_topic_hurried(hub__topic_t *topic)
{
    topic->due_gap |= topic->bus->remote != NULL && !topic->stands;
}

/* Stands: from here on nothing is lost that the numbers do not show. What may have been lost before
 * is told first, and that it does not stand. */
static void settle(hub__topic_t *topic, bool stands)
{
    hub__remote_t *remote = topic->bus->remote;
    hub__shard_t *shard = topic->shard;
    hub__ready_t *waits;
    bool gap, waited;

    pthread_mutex_lock(&shard->lock);
    topic->stands = stands;
    topic->refused = !stands; /* a backend may ask again by itself, and have the word later */
    gap = topic->due_gap || !stands;
    topic->due_gap = !stands;
    waited = stop_waiting(topic);
    waits = hub__topic_take_waits(topic, NULL);
    /* until it is up only those count that it waits for */
    if (stop_awaiting(topic) && (waited || atomic_load(&remote->up)))
        count(&remote->pulse.confirmed, 1);
    pthread_mutex_unlock(&shard->lock);
    if (gap)
        hub__bus_tell_gap(topic, HUB_GAP_BUS, 0);
    hub__bus_tell_ready(waits);
    if (waited)
        confirm_one(topic->bus);
}

/* The first probe goes at once: until it is back the bus is not healthy. */
static void begin_probing(hub_bus_t *bus, uint64_t token)
{
    if (!hub__pulse_subscribed(&bus->remote->pulse, token))
        return;
    confirm_one(bus);
    hub__pulse_begin(&bus->remote->pulse);
}

/* Nothing tells whether this connection hears: it is used all the same, and never healthy. */
static void refuse_probing(hub_bus_t *bus, uint64_t token, hub_status_t status)
{
    if (!hub__pulse_refused(&bus->remote->pulse, token))
        return;
    count(&bus->remote->refused, 1);
    hub_log(HUB_LOG_ERROR, "bus.probe_refused", "backend=%s topic=%s status=%s",
            bus->remote->backend->name, bus->remote->pulse.topic_bytes, hub_status_name(status));
    confirm_one(bus);
}

/* The topic that waits for this answer, retained; NULL: it is too late. */
static hub__topic_t *find_asked(hub_bus_t *bus, hub_str_t wire_topic, uint64_t token)
{
    hub__shard_t *shard;
    hub__topic_t *topic;
    hub_str_t name;
    uint64_t hash;

    if (!hub_str_starts_with(wire_topic, bus->prefix))
        return NULL;
    name = name_of(bus, wire_topic);
    hash = hub__hash(name);
    shard = hub__bus_shard(bus, hash);
    pthread_mutex_lock(&shard->lock);
    topic = hub__topic_find(shard, hash, name);
    if (topic != NULL && (!shard->up || topic->ask != token || topic->stands))
        topic = NULL;
    if (topic != NULL)
        hub__topic_retain(topic);
    pthread_mutex_unlock(&shard->lock);
    return topic;
}

void hub_bus_remote_subscribed(hub_bus_t *bus, hub_str_t wire_topic, uint64_t token)
{
    hub__topic_t *topic = find_asked(bus, wire_topic, token);

    if (is_probe(bus, wire_topic))
        begin_probing(bus, token);
    if (topic == NULL)
        return;
    settle(topic, true);
    hub__topic_release(topic);
}

void hub_bus_remote_refused(hub_bus_t *bus, hub_str_t wire_topic, uint64_t token,
                            hub_status_t status)
{
    hub__topic_t *topic = find_asked(bus, wire_topic, token);
    char field[HUB_LOG_FIELD];

    if (is_probe(bus, wire_topic))
        refuse_probing(bus, token, status);
    if (topic == NULL)
        return;
    count(&bus->remote->refused, 1);
    hub_log_peer(HUB_LOG_ERROR, "bus.topic_refused", "topic=%s status=%s",
                 hub_log_escape(topic->name, field), hub_status_name(status));
    settle(topic, false);
    hub__topic_release(topic);
}

/* ---- up and down ---- */

static void renew_topic(hub__table_node_t *node, void *user)
{
    (void)user;
    ask(HUB__CONTAINER(node, hub__topic_t, node), true);
}

static void lose_topic(hub__table_node_t *node, void *user)
{
    hub__topic_t *topic = HUB__CONTAINER(node, hub__topic_t, node);
    hub__ready_t **waits = user, *before = *waits;

    *waits = hub__topic_take_waits(topic, before);
    topic->due_gap |= topic->stands || *waits != before;
    topic->stands = false;
    topic->renewed = false;
    topic->ask = 0;
    stop_awaiting(topic);
}

static void set_shards_down(hub_bus_t *bus)
{
    for (size_t i = 0; i < HUB__SHARDS; i++) {
        hub__shard_t *shard = &bus->shards[i];
        hub__ready_t *waits = NULL;

        pthread_mutex_lock(&shard->lock);
        shard->up = false;
        hub__table_foreach(&shard->topics, lose_topic, &waits);
        pthread_mutex_unlock(&shard->lock);
        hub__bus_tell_ready(waits); /* nothing is going to stand for now */
    }
}

void hub_bus_remote_up(hub_bus_t *bus)
{
    hub__remote_t *remote = bus->remote;

    hub_bus_remote_down(bus); /* if it was up, there is another connection, which knows no topic */
    atomic_store(&remote->connected, true);
    atomic_store(&remote->was_up, true);
    atomic_store(&remote->unconfirmed, 1);
    for (size_t i = 0; i < HUB__SHARDS; i++) {
        hub__shard_t *shard = &bus->shards[i];

        pthread_mutex_lock(&shard->lock);
        shard->up = true;
        hub__table_foreach(&shard->topics, renew_topic, NULL);
        pthread_mutex_unlock(&shard->lock);
    }
    if (hub__pulse_up(&remote->pulse)) { /* the last one, so that it says something of all */
        atomic_fetch_add(&remote->unconfirmed, 1);
        hub__pulse_subscribe(&remote->pulse);
    }
    confirm_one(bus);
}

void hub_bus_remote_down(hub_bus_t *bus)
{
    hub__remote_t *remote = bus->remote;
    hub__outcome_t outcome;
    bool was_up;

    if (!atomic_exchange(&remote->connected, false))
        return;
    hub__pulse_down(&remote->pulse);
    set_shards_down(bus);
    was_up = atomic_exchange(&remote->up, false);
    while (lose(remote, &outcome))
        finish(remote, &outcome);
    if (was_up)
        hub_log(HUB_LOG_WARN, "bus.down", "backend=%s", remote->backend->name);
}

const hub_bus_backend_t *hub__remote_backend(const hub_bus_t *bus, void **ret_self)
{
    *ret_self = bus->remote->self;
    return bus->remote->backend;
}

/* ---- life ---- */

static hub__remote_t *remote_create(const hub_bus_options_t *options)
{
    hub__remote_t *remote = aligned_alloc(_Alignof(hub__remote_t), sizeof(*remote));
    pthread_condattr_t monotonic;

    if (remote == NULL)
        return NULL;
    memset(remote, 0, sizeof(*remote));
    remote->backend = options->backend;
    remote->degraded_local = options->degraded_local;
    remote->timeout_ms =
        options->answer_timeout_ms == 0 ? ANSWER_TIMEOUT_MS_DEFAULT : options->answer_timeout_ms;
    remote->flight.bytes_max =
        options->in_flight_bytes == 0 ? IN_FLIGHT_BYTES_DEFAULT : options->in_flight_bytes;
    remote->spool.bytes_max = options->buffer_bytes;
    remote->now_ms = monotonic_ms;
    for (size_t i = 0; i < HUB__SHARDS; i++)
        pthread_mutex_init(&remote->streams[i].lock, NULL);
    pthread_mutex_init(&remote->in_flight_lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&remote->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_cond_init(&remote->rested, NULL);
    return remote;
}

static void stop_thread(hub__remote_t *remote)
{
    pthread_mutex_lock(&remote->in_flight_lock);
    remote->stop = true;
    pthread_cond_signal(&remote->wake);
    pthread_mutex_unlock(&remote->in_flight_lock);
    pthread_join(remote->thread, NULL);
}

void hub__remote_free(hub__remote_t *remote)
{
    if (remote == NULL)
        return;
    for (size_t i = 0; i < HUB__SHARDS; i++) {
        struct streams *streams = &remote->streams[i];

        while (streams->newest != NULL)
            drop_stream(streams, streams->newest);
        hub__table_dispose(&streams->table);
        pthread_mutex_destroy(&streams->lock);
    }
    hub__flight_dispose(&remote->flight);
    pthread_cond_destroy(&remote->wake);
    pthread_cond_destroy(&remote->rested);
    pthread_mutex_destroy(&remote->in_flight_lock);
    hub__pulse_dispose(&remote->pulse);
    free(remote);
}

hub_status_t hub__backend_check(const hub_bus_backend_t *backend, hub_error_t *error)
{
    if (backend->api == HUB_BUS_BACKEND_API)
        return HUB_OK;
    return hub_error_set(error, HUB_EINVAL, 0, "backend %s: made for API %u, this is %d",
                         backend->name, backend->api, HUB_BUS_BACKEND_API);
}

hub_status_t hub__remote_open(hub_bus_t *bus, const hub_bus_options_t *options,
                              const hub_bus_url_t *url, hub_error_t *error)
{
    const hub_bus_backend_t *backend = options->backend;
    hub_bus_target_t target = {.url = url, .options = options->backend_options};
    hub__remote_t *remote;
    hub_status_t err;

    if ((err = hub__backend_check(backend, error)) != HUB_OK)
        return err;
    remote = remote_create(options);
    if (remote == NULL)
        return hub_error_set(error, HUB_ENOMEM, 0, "no memory for a bus");
    bus->remote = remote; /* it may be up before open() returns */
    err = hub__pulse_init(&remote->pulse, bus, options, error);
    if (err != HUB_OK) {
        bus->remote = NULL;
        hub__remote_free(remote);
        return err;
    }
    if (pthread_create(&remote->thread, NULL, run_core, bus) != 0) {
        bus->remote = NULL;
        hub__remote_free(remote);
        return hub_error_set(error, HUB_ESYSTEM, 0, "backend %s: no thread", backend->name);
    }
    target.bus_name = options->name == NULL ? "hub" : options->name;
    err = backend->open(bus, &target, &remote->self, error);
    if (err != HUB_OK)
        stop_thread(remote); /* the bus frees the rest */
    return err;
}

void hub__remote_close(hub_bus_t *bus)
{
    hub__remote_t *remote = bus->remote;

    if (remote == NULL)
        return;
    stop_thread(remote); /* it calls the backend */
    remote->backend->close(remote->self);
    atomic_store(&remote->connected, false);
    atomic_store(&remote->up, false);
    set_shards_down(bus);
}

void hub__remote_forget(hub_bus_t *bus)
{
    hub__outcome_t outcome;

    if (bus->remote == NULL)
        return;
    while (lose(bus->remote, &outcome))
        hub_bus_ack_release(outcome.ack);
    while (bus->remote->spool.first != NULL)
        hub__spooled_free(hub__spool_take(&bus->remote->spool));
}

void hub__remote_get_stats(hub_bus_t *bus, hub_bus_stats_t *ret_stats)
{
    hub__remote_t *remote = bus->remote;

    if (remote == NULL)
        return;
    hub__pulse_get_stats(&remote->pulse, atomic_load(&remote->up), ret_stats);
    ret_stats->remote_received = atomic_load(&remote->received);
    ret_stats->remote_plain = atomic_load(&remote->plain);
    ret_stats->remote_duplicates = atomic_load(&remote->duplicates);
    ret_stats->remote_missing = atomic_load(&remote->missing);
    ret_stats->remote_invalid = atomic_load(&remote->invalid);
    ret_stats->unknown = atomic_load(&remote->unknown);
    ret_stats->topics_refused = atomic_load(&remote->refused);
    ret_stats->refused_down = atomic_load(&remote->refused_down);
    ret_stats->refused_limit = atomic_load(&remote->refused_limit);
    ret_stats->buffer_expired = atomic_load(&remote->buffer_expired);
    pthread_mutex_lock(&remote->in_flight_lock);
    ret_stats->in_flight = remote->flight.count;
    ret_stats->in_flight_bytes = remote->flight.bytes;
    ret_stats->buffered_bytes = remote->spool.bytes;
    pthread_mutex_unlock(&remote->in_flight_lock);
}

void hub__remote_reconnect(hub_bus_t *bus)
{
    bus->remote->backend->reconnect(bus->remote->self);
}

void hub__remote_set_clock(hub_bus_t *bus, uint64_t (*now_ms)(void *user), void *user)
{
    pthread_mutex_lock(&bus->remote->in_flight_lock);
    bus->remote->now_ms = now_ms;
    bus->remote->now_user = user;
    pthread_mutex_unlock(&bus->remote->in_flight_lock);
    hub__remote_clock_moved(bus);
}

void hub__remote_clock_moved(hub_bus_t *bus)
{
    hub__remote_t *remote = bus->remote;

    pthread_mutex_lock(&remote->in_flight_lock);
    while (!remote->resting || remote->now_ms(remote->now_user) >= next_due_ms(remote)) {
        pthread_cond_signal(&remote->wake);
        pthread_cond_wait(&remote->rested, &remote->in_flight_lock);
    }
    pthread_mutex_unlock(&remote->in_flight_lock);
}
