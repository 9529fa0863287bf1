/* SPDX-License-Identifier: MIT */
/* The way out. A publish is entered as in flight, takes the next number of its stream, and goes to
 * the backend under that stream's lock. What can't go now waits, is heard here alone, or fails, as
 * the program has chosen; what goes nowhere takes a number all the same, so that others miss it. */
#include <stdlib.h>

#include "bus/log.h"
#include "bus/remote.h"

#define BYTES_FEW 1024
#define SPOOL_PAUSE_MS 10         /* once the backend takes no more */
#define WIRE_TOPIC_BYTES_MAX 1090 /* a bus name of 64, a topic of 1,024 */

static hub_status_t begin_flight(hub__remote_t *remote, uint64_t hash, size_t bytes,
                                 hub_bus_ack_t *ack, uint64_t *ret_token)
{
    uint64_t deadline_ms;
    hub_status_t err;

    pthread_mutex_lock(&remote->in_flight_lock);
    *ret_token = ++remote->last_token;
    deadline_ms = remote->now_ms(remote->now_user) + remote->timeout_ms;
    err = hub__flight_begin(&remote->flight, *ret_token, bytes, hash, deadline_ms, ack);
    /* mostly it looks for one before in time, even if that was answered since */
    if (err == HUB_OK && deadline_ms < remote->look_ms) {
        remote->look_ms = deadline_ms;
        hub__remote_rouse(remote);
    }
    pthread_mutex_unlock(&remote->in_flight_lock);
    return err;
}

static void abandon_flight(hub__remote_t *remote, uint64_t token)
{
    pthread_mutex_lock(&remote->in_flight_lock);
    hub__flight_abandon(&remote->flight, token);
    pthread_mutex_unlock(&remote->in_flight_lock);
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

/* What goes nowhere after all takes a number, so that those who expect it are told. */
static void skip_number(hub_bus_t *bus, uint64_t hash, hub_str_t topic, bool returns)
{
    hub__remote_t *remote = bus->remote;
    hub__streams_t *streams = &remote->streams[hash >> 60];
    hub__stream_t *stream;
    bool wake = false;

    pthread_mutex_lock(&streams->lock);
    stream = hub__streams_use(streams, &remote->incarnations, hash, topic, returns);
    if (stream != NULL) {
        stream->seq++;
        stream->doubtful = true;
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
        hub__remote_rouse(remote);
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
    hub__remote_count(&remote->refused_down, 1);
    return HUB_EBUSDOWN;
}

/* Too much is in flight: the broker hangs, or is slower than this node. */
static void refuse_for_now(hub_bus_t *bus, const hub_message_t *msg)
{
    hub__remote_t *remote = bus->remote;
    char field[HUB_LOG_FIELD];

    hub__remote_count(&remote->refused_limit, 1);
    if (!hub__remote_may_tell(bus, &remote->limit_quiet_ms))
        return;
    hub_log_peer(HUB_LOG_WARN, "bus.limit", "topic=%s in_flight_bytes_max=%zu so_far=%llu",
                 hub_log_escape(msg->topic, field), remote->flight.bytes_max,
                 (unsigned long long)atomic_load(&remote->refused_limit));
}

/* There is a broker, but it orders nothing for now: the backend has said why. */
static hub_status_t refuse_unordered(hub_bus_t *bus, const hub_message_t *msg)
{
    hub__remote_t *remote = bus->remote;
    char field[HUB_LOG_FIELD];

    hub__remote_count(&remote->refused_broker, 1);
    if (hub__remote_may_tell(bus, &remote->unordered_quiet_ms))
        hub_log_peer(HUB_LOG_WARN, "bus.unordered", "topic=%s", hub_log_escape(msg->topic, field));
    return HUB_EBUSDOWN;
}

/* The next number of `stream` is to come back where somebody listens here. Unlike another node's,
 * even the first one is missed when it does not. False: the broker has refused the topic since that
 * was decided. What is awaited before it does is told as lost by the gap that says so. Under the
 * lock of the stream. */
static bool await_return(hub_bus_t *bus, const hub__stream_t *stream, uint64_t token)
{
    hub__remote_t *remote = bus->remote;
    hub__shard_t *shard = hub__bus_shard(bus, stream->node.hash);
    hub__topic_t *topic;
    bool refused;

    pthread_mutex_lock(&shard->lock);
    topic = hub__topic_find(shard, stream->node.hash, hub__stream_topic(stream));
    refused = topic != NULL && topic->refused;
    if (topic != NULL && !refused) {
        hub__origins_expect(&topic->origins, hub__remote_node(bus, true), stream, &shard->clock);
        pthread_mutex_lock(&remote->in_flight_lock);
        hub__flight_await(&remote->flight, token, &topic->returns, stream->incarnation,
                          stream->seq + 1);
        pthread_mutex_unlock(&remote->in_flight_lock);
    }
    pthread_mutex_unlock(&shard->lock);
    return !refused;
}

static hub_status_t hand_over(hub__remote_t *remote, bool returns, hub_str_t wire_topic,
                              hub_str_t bytes, uint64_t token)
{
    const hub_bus_backend_t *backend = remote->backend;

    return returns && backend->publish_ordered != NULL
               ? backend->publish_ordered(remote->self, wire_topic, bytes, token)
               : backend->publish(remote->self, wire_topic, bytes, token);
}

/* Sends nothing where it takes `returns` back. */
static hub_status_t send_numbered(hub_bus_t *bus, uint64_t hash, hub_str_t wire_topic, char *bytes,
                                  size_t size, uint64_t token, bool *returns)
{
    hub__remote_t *remote = bus->remote;
    hub__streams_t *streams = &remote->streams[hash >> 60];
    hub_str_t topic = hub__remote_name_of(bus, wire_topic);
    hub__stream_t *stream;
    hub_status_t err = HUB_ENOMEM;
    bool wake = false;

    pthread_mutex_lock(&streams->lock);
    stream = hub__streams_use(streams, &remote->incarnations, hash, topic, *returns);
    if (stream != NULL && *returns && !await_return(bus, stream, token)) {
        *returns = false;
    } else if (stream != NULL) {
        hub__wire_number(bytes, stream->incarnation, stream->seq + 1);
        if (stream->doubtful)
            hub__wire_doubt(bytes);
        err = hand_over(remote, *returns, wire_topic, hub_str_n(bytes, size), token);
        stream->seq += err == HUB_OK;
        stream->doubtful &= err != HUB_OK; /* if it gets nowhere either, that is told then */
        wake = err == HUB_OK && hub__pulse_beat(&remote->pulse, &streams->beats, &stream->beat);
    }
    pthread_mutex_unlock(&streams->lock);
    if (wake)
        hub__remote_wake(bus);
    return err;
}

/* Behind the message that it names, because the lock is that of the messages. Being used last is
 * another matter: this is no use. */
static hub_status_t publish_position(hub_bus_t *bus, const hub__stream_t *stream)
{
    hub__remote_t *remote = bus->remote;
    char bytes[HUB__WIRE_MARK_BYTES], topic[WIRE_TOPIC_BYTES_MAX];
    size_t topic_bytes = bus->prefix.len + stream->topic_bytes;

    memcpy(topic, bus->prefix.base, bus->prefix.len);
    memcpy(topic + bus->prefix.len, stream->topic, stream->topic_bytes);
    hub__wire_write_mark(bytes, HUB__WIRE_POSITION, hub__remote_node(bus, stream->returns),
                         stream->incarnation, stream->seq);
    if (stream->doubtful)
        hub__wire_doubt(bytes);
    return hand_over(remote, stream->returns, hub_str_n(topic, topic_bytes),
                     hub_str_n(bytes, sizeof(bytes)), hub__remote_new_token(bus));
}

bool hub__remote_send_position(hub_bus_t *bus, size_t place, uint64_t now_ms, uint64_t *ret_due_ms)
{
    hub__remote_t *remote = bus->remote;
    hub__streams_t *streams = &remote->streams[place];
    hub__beat_t *first;
    bool due;

    pthread_mutex_lock(&streams->lock);
    first = streams->beats.first;
    due = first != NULL && first->due_ms <= now_ms;
    if (due) {
        hub__stream_t *stream = HUB__CONTAINER(first, hub__stream_t, beat);

        hub__pulse_beat_done(&remote->pulse, &streams->beats, first, now_ms,
                             publish_position(bus, stream) == HUB_OK);
        first = streams->beats.first;
    }
    *ret_due_ms = first == NULL ? UINT64_MAX : first->due_ms;
    pthread_mutex_unlock(&streams->lock);
    return due;
}

/* `buffer` has room for the topic on the wire and the envelope. Sends nothing where it takes
 * `returns` back. */
static hub_status_t send_message(hub_bus_t *bus, uint64_t hash, const hub_message_t *msg,
                                 hub_bus_ack_t *ack, bool *returns, char *buffer, size_t size)
{
    hub_str_t wire_topic = hub_str_n(buffer, bus->prefix.len + msg->topic.len);
    char *bytes = buffer + wire_topic.len;
    uint64_t token;
    hub_status_t err = begin_flight(bus->remote, hash, wire_topic.len + size, ack, &token);

    if (err != HUB_OK)
        return err;
    memcpy(buffer, bus->prefix.base, bus->prefix.len);
    memcpy(buffer + bus->prefix.len, msg->topic.base, msg->topic.len);
    hub__wire_write(bytes, msg, hub__remote_node(bus, *returns));
    err = send_numbered(bus, hash, wire_topic, bytes, size, token, returns);
    if (err != HUB_OK)
        abandon_flight(bus->remote, token);
    return err;
}

/* `returns`: whether it is to be heard here when it comes back; taken back where the broker refuses
 * the topic at this moment. */
static hub_status_t send_now(hub_bus_t *bus, uint64_t hash, const hub_message_t *msg,
                             hub_bus_ack_t *ack, bool *returns)
{
    size_t size = hub__wire_size(msg), needed = bus->prefix.len + msg->topic.len + size;
    char few[BYTES_FEW], *buffer = few;
    bool wanted = *returns;
    hub_status_t err;

    if (is_too_large(bus->remote, size))
        return HUB_ETOOLARGE;
    if (needed > sizeof(few))
        buffer = malloc(needed);
    if (buffer == NULL)
        return HUB_ENOMEM;
    err = send_message(bus, hash, msg, ack, returns, buffer, size);
    if (*returns != wanted)
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
    bool returns;

    if ((msg->flags & HUB_MESSAGE_BUS_ORDER) != 0 && !remote->backend->one_order)
        return HUB_EINVAL;
    returns = is_to_return(bus, hash, msg);
    if (hub__remote_is_usable(remote) && hub__spool_is_empty(&remote->spool))
        err = send_now(bus, hash, msg, ack, &returns);
    else if (is_too_large(remote, hub__wire_size(msg)))
        return HUB_ETOOLARGE;
    *ret_here = !returns;
    if (err == HUB_ELIMIT)
        refuse_for_now(bus, msg);
    if (err == HUB_EREJECTED)
        return refuse_unordered(bus, msg);
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
    return *ret_expired || (hub__remote_is_usable(remote) && now_ms >= remote->spool.pause_ms);
}

/* It was never sent, so its outcome is known. */
static void drop_spooled(hub_bus_t *bus, const hub__spooled_t *spooled, hub_status_t status)
{
    hub__remote_t *remote = bus->remote;
    char field[HUB_LOG_FIELD];

    hub__remote_count(&remote->buffer_expired, 1);
    if (hub__remote_may_tell(bus, &remote->expired_quiet_ms))
        hub_log_peer(HUB_LOG_WARN, "bus.buffer_expired", "topic=%s status=%s so_far=%llu",
                     hub_log_escape(spooled->msg->topic, field), hub_status_name(status),
                     (unsigned long long)atomic_load(&remote->buffer_expired));
    hub__ack_set(spooled->ack, status, HUB_LEVEL_LOCAL);
    skip_number(bus, spooled->hash, spooled->msg->topic, !spooled->heard);
}

/* False: the backend takes no more for now. */
static bool send_spooled(hub_bus_t *bus, const hub__spooled_t *spooled)
{
    bool returns = !spooled->heard && is_to_return(bus, spooled->hash, spooled->msg);
    hub_status_t err = send_now(bus, spooled->hash, spooled->msg, spooled->ack, &returns);

    if (err == HUB_EBUSDOWN || err == HUB_ELIMIT || err == HUB_ENOMEM)
        return false;
    if (err != HUB_OK)
        drop_spooled(bus, spooled, err);
    else if (!spooled->heard && !returns)
        hub__bus_deliver(bus, spooled->hash, spooled->msg, spooled->ack);
    return true;
}

bool hub__remote_take_spooled(hub_bus_t *bus, uint64_t now_ms)
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

size_t hub__remote_largest_message(const hub_bus_t *bus)
{
    size_t limit = bus->remote == NULL ? SIZE_MAX : backend_limit(bus->remote);
    size_t around = HUB__WIRE_HEADER_BYTES + HUB__WIRE_EVENT_BYTES_MAX;

    if (limit == SIZE_MAX)
        return SIZE_MAX;
    return limit < around ? 0 : limit - around;
}

bool hub__remote_has_one_order(const hub_bus_t *bus)
{
    return bus->remote == NULL || bus->remote->backend->one_order;
}

void hub__remote_want_order(hub_bus_t *bus)
{
    if (bus->remote != NULL && bus->remote->backend->want_order != NULL)
        bus->remote->backend->want_order(bus->remote->self);
}

const char *hub__remote_backend_name(const hub_bus_t *bus)
{
    return bus->remote == NULL ? "memory" : bus->remote->backend->name;
}
