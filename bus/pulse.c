/* SPDX-License-Identifier: MIT */
/* The probe and what follows from it. What is to be done is decided under the lock, and done
 * without it, because the backend is called for it. */
#include "bus/pulse.h"

#include <inttypes.h>
#include <stdio.h>

#include "bus/log.h"
#include "bus/remote.h"

#define PROBE_INTERVAL_MS_DEFAULT 1500
#define POSITION_INTERVAL_MS_DEFAULT 10000
#define POSITION_BEATS 2 /* after the last message: one of them may be lost, too */
#define POSITIONS_AT_ONCE 128
#define POSITIONS_PAUSE_MS                                                                         \
    10 /* between those: 65,536 take five seconds and leave room for all else */
#define NEVER UINT64_MAX

/* What a turn came to. */
struct verdict {
    uint64_t number;  /* of the probe to send; 0: none */
    const char *deaf; /* what has not come; NULL: nothing new */
    uint64_t silent_ms;
    bool reconnect;
};

/* ---- options ---- */

static hub_status_t check_range(const char *name, size_t value, hub_error_t *error)
{
    if (value >= HUB__PULSE_MS_MIN && value <= HUB__PULSE_MS_MAX)
        return HUB_OK;
    return hub_error_set(error, HUB_EINVAL, 0, "bus options, %s: %zu is not from %d to %d", name,
                         value, HUB__PULSE_MS_MIN, HUB__PULSE_MS_MAX);
}

static hub_status_t take_position_options(hub__pulse_t *pulse, size_t interval, hub_error_t *error)
{
    if (interval == HUB_OFF)
        return HUB_OK;
    pulse->position_ms = interval == 0 ? POSITION_INTERVAL_MS_DEFAULT : interval;
    return check_range("position_interval_ms", pulse->position_ms, error);
}

static hub_status_t take_probe_options(hub__pulse_t *pulse, const hub_bus_options_t *options,
                                       hub_error_t *error)
{
    size_t interval = options->probe_interval_ms, timeout = options->probe_timeout_ms;
    hub_status_t err;

    if (interval == HUB_OFF)
        return HUB_OK;
    if (interval == 0)
        interval = PROBE_INTERVAL_MS_DEFAULT;
    if ((err = check_range("probe_interval_ms", interval, error)) != HUB_OK)
        return err;
    if (timeout == 0)
        timeout = 2 * interval;
    else if ((err = check_range("probe_timeout_ms", timeout, error)) != HUB_OK)
        return err;
    /* else one that is lost would be a deaf connection, before the next could tell otherwise */
    if (timeout < interval)
        return hub_error_set(error, HUB_EINVAL, 0,
                             "bus options, probe_timeout_ms: %zu is less than probe_interval_ms, "
                             "%zu",
                             timeout, interval);
    pulse->interval_ms = interval;
    pulse->timeout_ms = timeout;
    return HUB_OK;
}

hub_status_t hub__pulse_init(hub__pulse_t *pulse, hub_bus_t *bus, const hub_bus_options_t *options,
                             hub_error_t *error)
{
    hub_status_t err;
    int len;

    pthread_mutex_init(&pulse->lock, NULL);
    atomic_store(&pulse->due_ms, NEVER);
    atomic_store(&pulse->beat_due_ms, NEVER);
    atomic_store(&pulse->generation, 2); /* nothing was confirmed of it */
    pulse->bus = bus;
    pulse->ill_since_ms = hub__remote_now_us(bus) / 1000;
    len = snprintf(pulse->topic_bytes, sizeof(pulse->topic_bytes), "%.*s/probe/%016" PRIx64,
                   (int)bus->prefix.len - 1, bus->prefix.base, bus->node);
    pulse->topic = hub_str_n(pulse->topic_bytes, (size_t)len);
    err = take_probe_options(pulse, options, error);
    return err == HUB_OK ? take_position_options(pulse, options->position_interval_ms, error) : err;
}

void hub__pulse_dispose(hub__pulse_t *pulse)
{
    pthread_mutex_destroy(&pulse->lock);
}

/* ---- under the lock ---- */

static bool is_out(const hub__probe_t *probe)
{
    return probe->number != 0 && !(probe->back && probe->answered);
}

/* Lets go of those that passed; the older one stays first. */
static void tidy(hub__pulse_t *pulse)
{
    hub__probe_t *probes = pulse->probes;

    if (!is_out(&probes[0])) {
        probes[0] = probes[1];
        probes[1] = (hub__probe_t){0};
    }
    if (!is_out(&probes[0]))
        probes[0] = (hub__probe_t){0};
}

static uint64_t earlier(uint64_t left, uint64_t right)
{
    return left < right ? left : right;
}

static void arm(hub__pulse_t *pulse)
{
    const hub__probe_t *oldest = &pulse->probes[0];
    uint64_t due = pulse->next_probe_ms;

    if (!pulse->connected)
        due = NEVER;
    else if (pulse->deaf)
        due = pulse->ask_again_ms;
    else if (oldest->number != 0)
        due = earlier(due, oldest->sent_us / 1000 + pulse->timeout_ms);
    if (pulse->connected && !pulse->deaf && pulse->waiting)
        due = earlier(due, pulse->waiting_since_ms + pulse->timeout_ms);
    if (pulse->connected && !pulse->deaf && pulse->overtaken)
        due = earlier(due, pulse->overtaken_since_ms + pulse->timeout_ms);
    atomic_store(&pulse->due_ms, due);
}

/* Whether none of the subscriptions that are waited for was confirmed for too long. */
static bool waits_too_long(hub__pulse_t *pulse, uint64_t now_ms)
{
    uint64_t confirmed = atomic_load(&pulse->confirmed);

    if (atomic_load(&pulse->awaited[0]) + atomic_load(&pulse->awaited[1]) == 0) {
        pulse->waiting = false;
    } else if (!pulse->waiting || confirmed != pulse->confirmed_then) {
        pulse->waiting = true;
        pulse->waiting_since_ms = now_ms;
        pulse->confirmed_then = confirmed;
    }
    return pulse->waiting && now_ms >= pulse->waiting_since_ms + pulse->timeout_ms;
}

/* Whether the answer to a subscription has not come though those to later ones have, and for so
 * long that it is not on its way: a backend asks and answers on more than one thread, and may have
 * an answer to some at once. */
static bool lacks_one(hub__pulse_t *pulse, uint64_t now_ms)
{
    uint64_t younger = atomic_load(&pulse->generation);
    uint64_t left = atomic_load(&pulse->awaited[(younger + 1) % 2]);
    bool overtaken = left != 0 && atomic_load(&pulse->confirmed_generation) == younger;

    if (overtaken && (!pulse->overtaken || left != pulse->left_then)) {
        pulse->overtaken_since_ms = now_ms; /* or they go on coming */
        pulse->left_then = left;
    }
    pulse->overtaken = overtaken;
    if (left == 0)
        atomic_store(&pulse->generation, younger + 1);
    return overtaken && now_ms >= pulse->overtaken_since_ms + pulse->timeout_ms;
}

static struct verdict find_deaf(hub__pulse_t *pulse, uint64_t now_ms)
{
    const hub__probe_t *oldest = &pulse->probes[0];
    uint64_t sent_ms = oldest->sent_us / 1000;

    if (waits_too_long(pulse, now_ms))
        return (struct verdict){.deaf = "subscriptions",
                                .silent_ms = now_ms - pulse->waiting_since_ms};
    if (lacks_one(pulse, now_ms))
        return (struct verdict){.deaf = "subscription",
                                .silent_ms = now_ms - pulse->overtaken_since_ms};
    if (oldest->number == 0 || now_ms < sent_ms + pulse->timeout_ms)
        return (struct verdict){0};
    return (struct verdict){.deaf = oldest->back ? "answer" : "probe",
                            .silent_ms = now_ms - sent_ms};
}

static void become_deaf(hub__pulse_t *pulse, uint64_t now_ms)
{
    atomic_store(&pulse->deaf, true);
    pulse->deaf_ones++;
    if (pulse->well)
        pulse->ill_since_ms = now_ms;
    pulse->well = false;
}

/* The place of one more probe, 0 where two are out. */
static uint64_t new_probe(hub__pulse_t *pulse, uint64_t now_us, uint64_t token)
{
    size_t place = pulse->probes[0].number == 0 ? 0 : 1;

    pulse->next_probe_ms = now_us / 1000 + pulse->interval_ms;
    if (!pulse->stands || pulse->probes[place].number != 0)
        return 0;
    pulse->probes[place] =
        (hub__probe_t){.number = ++pulse->last_number, .token = token, .sent_us = now_us};
    return pulse->last_number;
}

static struct verdict decide(hub__pulse_t *pulse, uint64_t now_us, uint64_t token)
{
    uint64_t now_ms = now_us / 1000;
    struct verdict verdict = {0};

    if (!pulse->connected)
        return verdict;
    if (!pulse->deaf) {
        verdict = find_deaf(pulse, now_ms);
        if (verdict.deaf != NULL)
            become_deaf(pulse, now_ms);
        else if (now_ms >= pulse->next_probe_ms)
            verdict.number = new_probe(pulse, now_us, token);
    }
    verdict.reconnect = pulse->deaf && (verdict.deaf != NULL || now_ms >= pulse->ask_again_ms);
    if (verdict.reconnect)
        pulse->ask_again_ms = now_ms + pulse->timeout_ms;
    return verdict;
}

/* ---- without ---- */

/* A publish() that fails is a probe that does not come back. */
static void send_probe(hub__pulse_t *pulse, uint64_t connection, uint64_t number, uint64_t token)
{
    hub__remote_t *remote = pulse->bus->remote;
    char bytes[HUB__WIRE_MARK_BYTES];

    hub__wire_write_mark(bytes, HUB__WIRE_PROBE, pulse->bus->node, connection, number);
    (void)remote->backend->publish(remote->self, pulse->topic, hub_str_n(bytes, sizeof(bytes)),
                                   token);
}

/* ---- positions ---- */

/* True: it was later before. */
static bool make_earlier(atomic_ullong *due_ms, unsigned long long earlier_ms)
{
    unsigned long long was_ms = atomic_load(due_ms);

    while (earlier_ms < was_ms) {
        if (atomic_compare_exchange_weak(due_ms, &was_ms, earlier_ms))
            return true;
    }
    return false;
}

static void append_beat(hub__beats_t *beats, hub__beat_t *beat, uint64_t due_ms)
{
    beat->due_ms = due_ms;
    beat->next = NULL;
    beat->prev = beats->last;
    *(beats->last == NULL ? &beats->first : &beats->last->next) = beat;
    beats->last = beat;
}

static void remove_beat(hub__beats_t *beats, hub__beat_t *beat)
{
    *(beat->prev == NULL ? &beats->first : &beat->prev->next) = beat->next;
    *(beat->next == NULL ? &beats->last : &beat->next->prev) = beat->prev;
}

bool hub__pulse_beat(hub__pulse_t *pulse, hub__beats_t *beats, hub__beat_t *beat)
{
    bool waits = beat->left != 0;

    if (pulse->position_ms == 0)
        return false;
    beat->left = POSITION_BEATS;
    if (waits)
        return false;
    append_beat(beats, beat, hub__remote_now_us(pulse->bus) / 1000 + pulse->position_ms);
    return make_earlier(&pulse->beat_due_ms, beat->due_ms);
}

void hub__pulse_beat_done(hub__pulse_t *pulse, hub__beats_t *beats, hub__beat_t *beat,
                          uint64_t now_ms, bool sent)
{
    remove_beat(beats, beat);
    beat->left -= sent;
    if (beat->left != 0)
        append_beat(beats, beat, now_ms + pulse->position_ms);
}

void hub__pulse_beat_end(hub__beats_t *beats, hub__beat_t *beat)
{
    if (beat->left != 0)
        remove_beat(beats, beat);
}

void hub__pulse_resume(hub__pulse_t *pulse)
{
    if (pulse->position_ms != 0 && make_earlier(&pulse->beat_due_ms, 0))
        hub__remote_wake(pulse->bus);
}

/* All that are due in one place, or as many as `room` has. Returns when the next one is. */
static uint64_t send_of_place(hub__pulse_t *pulse, uint64_t now_ms, unsigned *room)
{
    uint64_t due_ms = now_ms;

    while (*room > 0 && hub__remote_send_position(pulse->bus, pulse->place, now_ms, &due_ms))
        --*room;
    return due_ms;
}

static void send_positions(hub__pulse_t *pulse, uint64_t now_ms)
{
    unsigned room = POSITIONS_AT_ONCE;

    /* before anything is looked at: what begins to wait meanwhile sets it again */
    atomic_store(&pulse->beat_due_ms, NEVER);
    if (!hub__remote_is_usable(pulse->bus->remote))
        return; /* hub__pulse_resume() follows */
    for (int i = 0; i < HUB__SHARDS && room > 0; i++) {
        uint64_t due_ms = send_of_place(pulse, now_ms, &room);

        if (room > 0) {
            make_earlier(&pulse->beat_due_ms, due_ms);
            pulse->place = (pulse->place + 1) % HUB__SHARDS;
        }
    }
    if (room == 0)
        make_earlier(&pulse->beat_due_ms, now_ms + POSITIONS_PAUSE_MS);
}

/* ---- on the core's thread ---- */

static void take_turn(hub__pulse_t *pulse, uint64_t now_us)
{
    hub__remote_t *remote = pulse->bus->remote;
    uint64_t token = hub__remote_new_token(pulse->bus), connection;
    struct verdict verdict;

    pthread_mutex_lock(&pulse->lock);
    verdict = decide(pulse, now_us, token);
    connection = pulse->connections;
    arm(pulse);
    pthread_mutex_unlock(&pulse->lock);
    if (verdict.number != 0)
        send_probe(pulse, connection, verdict.number, token);
    if (verdict.deaf != NULL)
        hub_log(HUB_LOG_WARN, "bus.deaf", "backend=%s missing=%s for_ms=%" PRIu64,
                remote->backend->name, verdict.deaf, verdict.silent_ms);
    if (verdict.reconnect)
        hub__remote_reconnect(pulse->bus);
}

void hub__pulse_turn(hub__pulse_t *pulse)
{
    uint64_t now_us = hub__remote_now_us(pulse->bus);

    if (now_us / 1000 >= atomic_load(&pulse->due_ms))
        take_turn(pulse, now_us);
    if (now_us / 1000 >= atomic_load(&pulse->beat_due_ms))
        send_positions(pulse, now_us / 1000);
}

/* ---- what happens to the connection ---- */

bool hub__pulse_up(hub__pulse_t *pulse)
{
    uint64_t now_ms = hub__remote_now_us(pulse->bus) / 1000;
    uint64_t ask = hub__remote_new_token(pulse->bus);

    pthread_mutex_lock(&pulse->lock);
    pulse->connections++;
    pulse->connected = pulse->asked = pulse->interval_ms != 0;
    pulse->well = !pulse->connected;
    pulse->ask = ask;
    pulse->waiting = true;
    pulse->waiting_since_ms = now_ms;
    pulse->confirmed_then = atomic_load(&pulse->confirmed);
    pulse->next_probe_ms = now_ms + pulse->interval_ms;
    pulse->overtaken = false;
    if (pulse->asked)
        pulse->asked_generation = hub__pulse_await(pulse);
    arm(pulse);
    pthread_mutex_unlock(&pulse->lock);
    if (pulse->interval_ms == 0)
        return false;
    hub__remote_wake(pulse->bus);
    return true;
}

void hub__pulse_subscribe(hub__pulse_t *pulse)
{
    hub__remote_t *remote = pulse->bus->remote;

    remote->backend->subscribe(remote->self, pulse->topic, pulse->ask);
}

void hub__pulse_down(hub__pulse_t *pulse)
{
    uint64_t now_ms = hub__remote_now_us(pulse->bus) / 1000;

    pthread_mutex_lock(&pulse->lock);
    if (pulse->well)
        pulse->ill_since_ms = now_ms;
    if (pulse->asked)
        hub__pulse_await_no_more(pulse, pulse->asked_generation);
    pulse->connected = pulse->asked = pulse->stands = pulse->well = false;
    atomic_store(&pulse->deaf, false);
    memset(pulse->probes, 0, sizeof(pulse->probes));
    arm(pulse);
    pthread_mutex_unlock(&pulse->lock);
}

static bool take_answer(hub__pulse_t *pulse, uint64_t token, bool stands)
{
    bool fresh;

    pthread_mutex_lock(&pulse->lock);
    fresh = pulse->asked && token == pulse->ask;
    if (fresh) {
        pulse->asked = false;
        pulse->stands = stands;
        hub__pulse_await_no_more(pulse, pulse->asked_generation);
        hub__pulse_confirmed(pulse, pulse->asked_generation);
    }
    pthread_mutex_unlock(&pulse->lock);
    return fresh;
}

bool hub__pulse_subscribed(hub__pulse_t *pulse, uint64_t token)
{
    return take_answer(pulse, token, true);
}

bool hub__pulse_refused(hub__pulse_t *pulse, uint64_t token)
{
    return take_answer(pulse, token, false);
}

void hub__pulse_begin(hub__pulse_t *pulse)
{
    uint64_t now_us = hub__remote_now_us(pulse->bus), token = hub__remote_new_token(pulse->bus);
    uint64_t connection, number;

    pthread_mutex_lock(&pulse->lock);
    number = pulse->deaf ? 0 : new_probe(pulse, now_us, token);
    connection = pulse->connections;
    arm(pulse);
    pthread_mutex_unlock(&pulse->lock);
    hub__remote_wake(pulse->bus);
    if (number != 0)
        send_probe(pulse, connection, number, token);
}

/* Under the lock. */
static void take_back(hub__pulse_t *pulse, uint64_t number, uint64_t now_us)
{
    for (size_t i = 0; i < HUB__PROBES_OUT; i++) {
        hub__probe_t *probe = &pulse->probes[i];

        if (probe->number != number || probe->back)
            continue;
        pulse->back_ms = now_us / 1000;
        pulse->round_trip_us = now_us - probe->sent_us;
        pulse->well = !pulse->deaf;
        for (size_t k = 0; k <= i; k++) /* what was sent before is not waited for */
            pulse->probes[k].back = true;
    }
    tidy(pulse);
}

bool hub__pulse_message(hub__pulse_t *pulse, hub_str_t bytes)
{
    uint64_t now_us;
    hub__wire_t wire;
    hub_status_t err = hub__wire_read(bytes, &wire);

    if (err == HUB_ENOTFOUND)
        return true;
    if (err != HUB_OK || wire.kind != HUB__WIRE_PROBE || wire.node != pulse->bus->node)
        return false;
    now_us = hub__remote_now_us(pulse->bus);
    pthread_mutex_lock(&pulse->lock);
    take_back(pulse, wire.seq, now_us);
    arm(pulse);
    pthread_mutex_unlock(&pulse->lock);
    return true;
}

void hub__pulse_answered(hub__pulse_t *pulse, uint64_t token)
{
    pthread_mutex_lock(&pulse->lock);
    for (size_t i = 0; i < HUB__PROBES_OUT; i++) {
        if (pulse->probes[i].number == 0 || pulse->probes[i].token != token)
            continue;
        for (size_t k = 0; k <= i; k++)
            pulse->probes[k].answered = true;
    }
    tidy(pulse);
    arm(pulse);
    pthread_mutex_unlock(&pulse->lock);
}

void hub__pulse_get_stats(hub__pulse_t *pulse, bool up, hub_bus_stats_t *ret_stats)
{
    uint64_t now_ms = hub__remote_now_us(pulse->bus) / 1000, ill_since_ms;
    uint64_t bound_ms = pulse->interval_ms + pulse->timeout_ms;
    bool lapsed;

    pthread_mutex_lock(&pulse->lock);
    lapsed = pulse->interval_ms != 0 && pulse->well && now_ms > pulse->back_ms + bound_ms;
    ill_since_ms = lapsed ? pulse->back_ms : pulse->ill_since_ms;
    ret_stats->healthy = up && pulse->well && !lapsed;
    ret_stats->down_ms = ret_stats->healthy || now_ms < ill_since_ms ? 0 : now_ms - ill_since_ms;
    ret_stats->reconnects = pulse->connections == 0 ? 0 : pulse->connections - 1;
    ret_stats->deaf = pulse->deaf_ones;
    ret_stats->probe_us = pulse->round_trip_us;
    pthread_mutex_unlock(&pulse->lock);
}
