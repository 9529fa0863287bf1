/* SPDX-License-Identifier: MIT */
/* What every backend needs of the core, so that a backend is nothing but its client library: the
 * numbers (stream.h), the way out and in (remote_publish.c, remote_receive.c), what is subscribed
 * (remote_topic.c), whether a connection is any good (pulse.h), and here
 *
 * - In flight: every publish that the backend took waits for its answer, at most until its deadline
 *   or the end of the connection. Late and doubled answers find nothing here.
 * - The core's thread, for all that is due by the clock.
 * - Up and down: what follows when there is a connection, and when there is none any more. */
#include "bus/remote.h"

#include <stdlib.h>
#include <time.h>

#include "bus/courier.h"
#include "bus/log.h"

#define ANSWER_TIMEOUT_MS_DEFAULT 5000
#define IN_FLIGHT_BYTES_DEFAULT ((size_t)64 * 1024 * 1024)
#define SPOOL_AT_ONCE 64

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

bool hub__remote_may_tell(hub_bus_t *bus, atomic_ullong *quiet_ms)
{
    unsigned long long now_ms = hub__remote_now_us(bus) / 1000, until = atomic_load(quiet_ms);

    return now_ms >= until && atomic_compare_exchange_strong(quiet_ms, &until, now_ms + 1000);
}

void hub__remote_wake(hub_bus_t *bus)
{
    pthread_mutex_lock(&bus->remote->in_flight_lock);
    hub__remote_rouse(bus->remote);
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

void hub__remote_finish(hub__remote_t *remote, const hub__outcome_t *outcome)
{
    if (outcome->tell && outcome->status == HUB_EUNKNOWN)
        hub__remote_count(&remote->unknown, 1);
    if (outcome->tell && outcome->status != HUB_OK)
        hub__streams_doubt(&remote->streams[outcome->hash >> 60], outcome->hash);
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

static uint64_t earlier(uint64_t left, uint64_t right)
{
    return left < right ? left : right;
}

static uint64_t spool_due_ms(hub__remote_t *remote)
{
    const hub__spool_t *spool = &remote->spool;

    if (spool->first == NULL)
        return UINT64_MAX;
    return hub__remote_is_usable(remote) ? earlier(spool->first->deadline_ms, spool->pause_ms)
                                         : spool->first->deadline_ms;
}

/* UINT64_MAX: nothing is. */
static uint64_t next_due_ms(hub__remote_t *remote)
{
    return earlier(earlier(remote->look_ms, spool_due_ms(remote)),
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
    if (known && status != HUB_OK && status != HUB_EUNKNOWN)
        hub__remote_count(&remote->refused_broker, 1);
    if (known)
        hub__remote_finish(remote, &outcome);
    else
        hub__pulse_answered(&bus->remote->pulse, token);
}

/* ---- the core's thread ---- */

static void take_turn(hub_bus_t *bus, uint64_t now_ms)
{
    hub__remote_t *remote = bus->remote;
    hub__outcome_t outcome;
    bool expired = false;

    pthread_mutex_lock(&remote->in_flight_lock);
    if (now_ms >= remote->look_ms) {
        expired = hub__flight_expire(&remote->flight, now_ms, &outcome);
        remote->look_ms = hub__flight_due_ms(&remote->flight);
    }
    pthread_mutex_unlock(&remote->in_flight_lock);
    if (expired)
        hub__remote_finish(remote, &outcome);
    for (int i = 0; i < SPOOL_AT_ONCE && hub__remote_take_spooled(bus, now_ms); i++)
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

/* ---- up and down ---- */

static void resume_spool(hub__remote_t *remote)
{
    pthread_mutex_lock(&remote->in_flight_lock);
    remote->spool.pause_ms = 0;
    hub__remote_rouse(remote);
    pthread_mutex_unlock(&remote->in_flight_lock);
}

bool hub__remote_confirmed(hub_bus_t *bus)
{
    hub__remote_t *remote = bus->remote;

    if (atomic_fetch_sub(&remote->unconfirmed, 1) != 1)
        return false;
    atomic_store(&remote->up, true);
    resume_spool(remote); /* by its thread: this one may hold a shard's lock */
    hub__pulse_resume(&remote->pulse);
    return true;
}

void hub__remote_tell_up(hub_bus_t *bus)
{
    hub_log(HUB_LOG_INFO, "bus.up", "backend=%s", bus->remote->backend->name);
}

void hub_bus_remote_up(hub_bus_t *bus)
{
    hub__remote_t *remote = bus->remote;

    hub_bus_remote_down(bus); /* if it was up, there is another connection, which knows no topic */
    atomic_store(&remote->connected, true);
    atomic_store(&remote->was_up, true);
    atomic_store(&remote->unconfirmed, 1);
    hub__remote_topics_renew(bus);
    if (hub__pulse_up(&remote->pulse)) { /* the last one, so that it says something of all */
        atomic_fetch_add(&remote->unconfirmed, 1);
        hub__pulse_subscribe(&remote->pulse);
    }
    if (hub__remote_confirmed(bus))
        hub__remote_tell_up(bus);
}

void hub_bus_remote_down(hub_bus_t *bus)
{
    hub__remote_t *remote = bus->remote;
    hub__outcome_t outcome;
    bool was_up;

    if (!atomic_exchange(&remote->connected, false))
        return;
    hub__pulse_down(&remote->pulse);
    hub__remote_topics_lose(bus);
    was_up = atomic_exchange(&remote->up, false);
    while (lose(remote, &outcome))
        hub__remote_finish(remote, &outcome);
    if (was_up && !atomic_load(&bus->closing)) /* an end that was asked for is none */
        hub_log(HUB_LOG_WARN, "bus.down", "backend=%s", remote->backend->name);
}

/* ---- life ---- */

static hub__remote_t *remote_create(const hub_bus_options_t *options)
{
    hub__remote_t *remote = aligned_alloc(_Alignof(hub__remote_t), sizeof(*remote));

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
    remote->look_ms = UINT64_MAX;
    for (size_t i = 0; i < HUB__SHARDS; i++)
        hub__streams_init(&remote->streams[i]);
    pthread_mutex_init(&remote->in_flight_lock, NULL);
    hub__courier_condition_init(&remote->wake);
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
    for (size_t i = 0; i < HUB__SHARDS; i++)
        hub__streams_dispose(&remote->streams[i]);
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
    if (hub__courier_thread(&remote->thread, run_core, bus) != 0) {
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
    hub__remote_topics_lose(bus);
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
    ret_stats->topics_refused = atomic_load(&remote->topics_refused);
    ret_stats->refused_down = atomic_load(&remote->refused_down);
    ret_stats->refused_limit = atomic_load(&remote->refused_limit);
    ret_stats->refused_broker = atomic_load(&remote->refused_broker);
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
