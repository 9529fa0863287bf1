/* SPDX-License-Identifier: MIT */
/* What is subscribed at the broker: one subscription for each topic that somebody listens to, and
 * the probe's. Each time it is asked for has a token, so an answer that comes late is none. Once a
 * topic stands nothing of it is lost untold; until it does it may be due a gap, which is told when
 * it stands or when its first message comes. */
#include "bus/log.h"
#include "bus/remote.h"

/* Under the shard's lock. */
static void owe_gap(hub__topic_t *topic)
{
    topic->due_gap = true;
    topic->gap_told = false;
}

/* Under the shard's lock. */
static void ask(hub__topic_t *topic, bool renewed)
{
    hub__remote_t *remote = topic->bus->remote;

    topic->ask = atomic_fetch_add(&remote->asks, 1) + 1;
    topic->stands = false;
    topic->refused = false;
    topic->awaited = true;
    topic->generation = hub__pulse_await(&remote->pulse);
    topic->renewed = renewed;
    if (renewed)
        atomic_fetch_add(&remote->unconfirmed, 1);
    remote->backend->subscribe(remote->self, topic->wire, topic->ask);
}

/* Whether publishes waited for the topic. Under the shard's lock. */
static bool end_renewal(hub__topic_t *topic)
{
    bool renewed = topic->renewed;

    topic->renewed = false;
    return renewed;
}

/* Whether the broker's word on it was still to come. Under the shard's lock. */
static bool end_ask(hub__topic_t *topic)
{
    bool awaited = topic->awaited;

    topic->awaited = false;
    if (awaited)
        hub__pulse_await_no_more(&topic->bus->remote->pulse, topic->generation);
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

/* What was on its way to us, and to others, is only on its way to others. Under the shard's lock:
 * none of it has failed, or the streams' lock would be taken behind it. */
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
            hub__remote_finish(remote, &outcome);
    } while (found);
}

/* What was waited for is confirmed under the lock, so that it counts for this connection. */
bool hub__remote_topic_removed(hub__topic_t *topic)
{
    hub__remote_t *remote = topic->bus->remote;

    if (remote != NULL)
        forget_returns(topic);
    if (!topic->shard->up)
        return false;
    remote->backend->unsubscribe(remote->self, topic->wire);
    end_ask(topic);
    return end_renewal(topic) && hub__remote_confirmed(topic->bus);
}

bool hub__remote_topic_awaits(hub__topic_t *topic)
{
    if (topic->bus->remote == NULL || topic->stands)
        return false;
    if (topic->ask != 0 && !topic->refused)
        return true;
    owe_gap(topic);
    return false;
}

void hub__remote_topic_hurried(hub__topic_t *topic)
{
    if (topic->bus->remote != NULL && !topic->stands)
        owe_gap(topic);
}

/* Stands: from here on nothing is lost that the numbers do not show. What may have been lost before
 * is told first, and that it does not stand. */
static void settle(hub__topic_t *topic, bool stands)
{
    hub__remote_t *remote = topic->bus->remote;
    hub__shard_t *shard = topic->shard;
    hub__ready_t *waits;
    bool gap, renewed;

    pthread_mutex_lock(&shard->lock);
    topic->stands = stands;
    topic->refused = !stands; /* a backend may ask again by itself, and have the word later */
    renewed = end_renewal(topic);
    /* on a new connection what came before the word is of this subscription, and all behind it was
     * heard; else it may have been of one before, on the same topic */
    gap = !stands || (topic->due_gap && !(topic->gap_told && renewed));
    topic->due_gap = !stands;
    topic->gap_told = false;
    waits = hub__topic_take_waits(topic, NULL);
    /* until it is up only those count that it waits for */
    if (end_ask(topic) && (renewed || atomic_load(&remote->up)))
        hub__pulse_confirmed(&remote->pulse, stands ? topic->generation : 0);
    pthread_mutex_unlock(&shard->lock);
    if (gap)
        hub__bus_tell_gap(topic, HUB_GAP_BUS, 0);
    hub__bus_tell_ready(waits);
    if (renewed && hub__remote_confirmed(topic->bus))
        hub__remote_tell_up(topic->bus);
}

/* The first probe goes at once: until it is back the bus is not healthy. */
static void begin_probing(hub_bus_t *bus, uint64_t token)
{
    if (!hub__pulse_subscribed(&bus->remote->pulse, token))
        return;
    if (hub__remote_confirmed(bus))
        hub__remote_tell_up(bus);
    hub__pulse_begin(&bus->remote->pulse);
}

/* Nothing tells whether this connection hears: it is used all the same, and never healthy. */
static void refuse_probing(hub_bus_t *bus, uint64_t token, hub_status_t status)
{
    if (!hub__pulse_refused(&bus->remote->pulse, token))
        return;
    hub__remote_count(&bus->remote->topics_refused, 1);
    hub_log(HUB_LOG_ERROR, "bus.probe_refused", "backend=%s topic=%s status=%s",
            bus->remote->backend->name, bus->remote->pulse.topic_bytes, hub_status_name(status));
    if (hub__remote_confirmed(bus))
        hub__remote_tell_up(bus);
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
    name = hub__remote_name_of(bus, wire_topic);
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

    if (hub__remote_is_probe(bus, wire_topic))
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

    if (hub__remote_is_probe(bus, wire_topic))
        refuse_probing(bus, token, status);
    if (topic == NULL)
        return;
    hub__remote_count(&bus->remote->topics_refused, 1);
    hub_log_peer(HUB_LOG_ERROR, "bus.topic_refused", "topic=%s status=%s",
                 hub_log_escape(topic->name, field), hub_status_name(status));
    settle(topic, false);
    hub__topic_release(topic);
}

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
    if (topic->due_gap || topic->stands || *waits != before)
        owe_gap(topic);
    topic->stands = false;
    topic->renewed = false;
    topic->ask = 0;
    end_ask(topic);
}

void hub__remote_topics_renew(hub_bus_t *bus)
{
    for (size_t i = 0; i < HUB__SHARDS; i++) {
        hub__shard_t *shard = &bus->shards[i];

        pthread_mutex_lock(&shard->lock);
        shard->up = true;
        hub__table_foreach(&shard->topics, renew_topic, NULL);
        pthread_mutex_unlock(&shard->lock);
    }
}

void hub__remote_topics_lose(hub_bus_t *bus)
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
