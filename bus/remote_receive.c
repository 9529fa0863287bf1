/* SPDX-License-Identifier: MIT */
/* The way in. What a broker hands over is read, checked as a client's message is, and held against
 * the numbers of its node; then it is delivered on this node alone. A gap is told before the
 * message that shows it. What is this node's own and comes back is delivered like all else, and its
 * completion follows that. */
#include "bus/json.h"
#include "bus/log.h"
#include "bus/remote.h"

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
            hub__remote_finish(remote, &outcome);
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
    bool fresh = false, due_gap = false, doubt = false,
         returned = wire->node == hub__remote_node(bus, true);
    hub__outcome_t outcome = {0};

    pthread_mutex_lock(&shard->lock);
    topic = hub__topic_find(shard, hash, name);
    if (topic != NULL) {
        fresh = wire->node == 0 ||
                hub__origins_note(&topic->origins, wire, &shard->clock, &missed, &doubt);
        due_gap = topic->due_gap && !topic->gap_told;
        topic->gap_told |= due_gap;
        hub__topic_retain(topic);
    }
    pthread_mutex_unlock(&shard->lock);
    if (topic == NULL)
        return;  /* unsubscribed while it was on its way */
    if (due_gap) /* it came before the word that the subscription stands */
        hub__bus_tell_gap(topic, HUB_GAP_BUS, 0);
    if (returned && fresh)
        outcome = take_returned(topic, wire);
    hub__remote_count(&remote->received, msg != NULL && !returned);
    hub__remote_count(&remote->plain, wire->node == 0);
    hub__remote_count(&remote->duplicates, msg != NULL && !fresh);
    hub__remote_count(&remote->missing, missed);
    if (missed > 0 || doubt)
        hub__bus_tell_gap(topic, HUB_GAP_LOST, missed);
    if (fresh && msg != NULL)
        hub__bus_deliver(bus, hash, msg, outcome.ack);
    hub__remote_finish(remote, &outcome);
    hub__topic_release(topic);
}

void hub_bus_remote_invalid(hub_bus_t *bus, hub_str_t topic, const char *what)
{
    char field[HUB_LOG_FIELD], reason[HUB_LOG_FIELD];

    hub__remote_count(&bus->remote->invalid, 1);
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
    name = hub__remote_name_of(bus, topic);
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

void hub_bus_remote_message(hub_bus_t *bus, hub_str_t topic, hub_str_t bytes)
{
    hub_error_t error;
    hub_status_t err = HUB_OK;

    if (!hub__remote_is_probe(bus, topic))
        err = take_envelope(bus, topic, bytes, &error);
    else if (!hub__pulse_message(&bus->remote->pulse, bytes))
        err = hub_error_set(&error, HUB_EINVAL, 0, "no probe of this node");
    if (err != HUB_OK && err != HUB_ENOTFOUND)
        hub_bus_remote_invalid(bus, topic, error.text);
}
