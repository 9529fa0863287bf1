/* bus/remote.h - private: what the parts of the remote share: remote_publish.c is the way out,
 * remote_receive.c the way in, remote_topic.c what is subscribed at the broker, remote.c all else.
 * What bus.c and publish.c need of it is in internal.h. */
#pragma once

#include "bus/internal.h"
#include "bus/pulse.h"
#include "bus/spool.h"

struct hub__remote {
    const hub_bus_backend_t *backend;
    void *self;
    bool degraded_local;
    atomic_bool was_up;        /* there was a connection at some time */
    atomic_bool connected;     /* topics are subscribed, publishes not taken yet */
    atomic_bool up;            /* all that was subscribed before stands again */
    atomic_ullong unconfirmed; /* subscriptions until then, and one while they are asked for */
    atomic_ullong asks;        /* tokens of subscriptions, given out so far */
    atomic_ullong incarnations;
    hub__streams_t streams[HUB__SHARDS];

    pthread_mutex_t in_flight_lock; /* of what follows */
    pthread_cond_t wake;
    pthread_cond_t rested; /* the thread has nothing to do; for tests */
    bool resting;          /* the thread, and it is not being woken */
    uint64_t look_ms;      /* when it looks for what was not answered in time */
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
    atomic_ullong topics_refused;
    atomic_ullong refused_down;
    atomic_ullong refused_limit;
    atomic_ullong buffer_expired;
    atomic_ullong refused_broker;
    atomic_ullong limit_quiet_ms; /* until then no line about it */
    atomic_ullong expired_quiet_ms;
    atomic_ullong unordered_quiet_ms;
};

static inline void hub__remote_count(atomic_ullong *counter, uint64_t more)
{
    atomic_fetch_add_explicit(counter, more, memory_order_relaxed);
}

/* The core's thread is to look what is due. Under the lock of what is in flight. */
static inline void hub__remote_rouse(hub__remote_t *remote)
{
    remote->resting = false;
    pthread_cond_signal(&remote->wake);
}

/* Connected, all is subscribed, not deaf. */
static inline bool hub__remote_is_usable(hub__remote_t *remote)
{
    return atomic_load(&remote->up) && !hub__pulse_is_deaf(&remote->pulse);
}

/* As which node it numbers what it delivers here itself, and what it delivers when that comes back.
 */
static inline uint64_t hub__remote_node(const hub_bus_t *bus, bool returns)
{
    uint64_t other = ~bus->node;

    return !returns ? bus->node : other == 0 ? 1 : other;
}

/* Without the prefix, which it has. */
static inline hub_str_t hub__remote_name_of(const hub_bus_t *bus, hub_str_t wire_topic)
{
    return hub_str_n(wire_topic.base + bus->prefix.len, wire_topic.len - bus->prefix.len);
}

static inline bool hub__remote_is_probe(const hub_bus_t *bus, hub_str_t wire_topic)
{
    return hub_str_equals(wire_topic, bus->remote->pulse.topic);
}

/* ---- remote.c ---- */

uint64_t hub__remote_now_us(hub_bus_t *bus);
/* Whether a line may be logged of what happens with each publish: one a second. */
bool hub__remote_may_tell(hub_bus_t *bus, atomic_ullong *quiet_ms);
uint64_t hub__remote_new_token(hub_bus_t *bus);
/* What is due may have changed. */
void hub__remote_wake(hub_bus_t *bus);
/* One subscription less to wait for; behind the last one publishes are taken, which is returned,
 * and hub__remote_tell_up() is to follow. Also under a shard's lock. */
HUB_MUST_USE bool hub__remote_confirmed(hub_bus_t *bus);
/* Tells the publisher, and takes the ack; what failed is remembered for others. Not under the lock
 * of what is in flight, nor of streams. */
void hub__remote_finish(hub__remote_t *remote, const hub__outcome_t *outcome);

/* ---- remote_publish.c ---- */

/* Deals with what has waited longest for the broker, if that is to be sent or given up by now.
 * False: it is not, or the backend takes no more. On the core's thread, which alone takes it out.
 */
bool hub__remote_take_spooled(hub_bus_t *bus, uint64_t now_ms);
/* Publishes the position of that stream among those of `place`, up to HUB__SHARDS, that is due
 * first, if it is by now. True: it was. `ret_due_ms`: when the next one is. */
bool hub__remote_send_position(hub_bus_t *bus, size_t place, uint64_t now_ms, uint64_t *ret_due_ms);

/* ---- remote_topic.c: on the backend's thread ---- */

/* All topics are to be subscribed anew, and new ones from now on. */
void hub__remote_topics_renew(hub_bus_t *bus);
/* None stands any more, and none is subscribed. */
void hub__remote_topics_lose(hub_bus_t *bus);
