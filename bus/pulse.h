/* bus/pulse.h - private: whether a connection to a broker still carries what it is there for.
 *
 * Each node subscribes a topic that no application can have, "<name>/probe/<node>", and publishes a
 * numbered probe to it every interval. A probe has passed when it came back and the broker answered
 * its publish(); it speaks for all that went out before it, so a lost one does no harm where the
 * next one passes. Two are out at most. The connection is deaf, whatever TCP says, once
 *
 * - a probe that none later has passed for is out for the timeout, or
 * - subscriptions are waited for, and none was confirmed within the timeout: one broker may need
 *   longer than that for a hundred thousand, and is well as long as it goes on; or
 * - some of them are still waited for, and none of these was confirmed within the timeout, though
 *   one was that was asked for later. For that they have generations, of which two are waited for:
 *   when none of the older is left, the younger is the older, and a new one begins.
 *
 * So what a node does not hear, it knows after an interval and a timeout. A deaf connection is not
 * used any more: publishes are refused as while it is down, and the backend is asked for another
 * one, again after each timeout until it has let go of this one.
 *
 * And the positions: a topic's last message has none behind it that could tell of its loss, so what
 * a node published last is said again, by number, an interval after a publish and once more after
 * the next. A beat is the place of one stream among those that wait for that: the due first is
 * first, because all wait equally long. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "bus/backend.h"
#include "bus/wire.h"

#define HUB__PULSE_MS_MIN 10 /* of each interval and timeout */
#define HUB__PULSE_MS_MAX 600000
#define HUB__PROBES_OUT 2
#define HUB__PROBE_TOPIC_BYTES 96 /* the name of a bus has 64 at most */

typedef struct hub__probe {
    uint64_t number; /* 0: none */
    uint64_t token;
    uint64_t sent_us;
    bool back;
    bool answered;
} hub__probe_t;

/* Under the lock of its stream. */
typedef struct hub__beat {
    struct hub__beat *next;
    struct hub__beat *prev;
    uint64_t due_ms;
    unsigned left; /* positions to send; 0: it does not wait */
} hub__beat_t;

typedef struct hub__beats {
    hub__beat_t *first;
    hub__beat_t *last;
} hub__beats_t;

typedef struct hub__pulse {
    hub_bus_t *bus;
    uint64_t interval_ms; /* 0: nothing of this */
    uint64_t timeout_ms;
    uint64_t position_ms; /* 0: no positions */
    size_t place;         /* of the streams whose positions are next; the core's thread alone */
    hub_str_t topic;
    char topic_bytes[HUB__PROBE_TOPIC_BYTES];
    atomic_ullong due_ms; /* of hub__pulse_turn() */
    atomic_ullong beat_due_ms;
    atomic_ullong awaited[2]; /* subscriptions asked for and not confirmed: even, odd generations */
    atomic_ullong generation; /* the younger */
    atomic_ullong confirmed;  /* so many were */
    atomic_ullong confirmed_generation; /* of one of these, when it was the younger */
    atomic_bool deaf;                   /* changes under the lock */

    pthread_mutex_t lock; /* of what follows; no other is taken under it, and nobody called */
    bool connected;
    bool asked; /* for the probe's own subscription, and no answer yet */
    uint64_t asked_generation;
    bool stands;          /* that subscription */
    bool well;            /* a probe of this connection came back, and it is not deaf */
    uint64_t connections; /* up to this one */
    uint64_t deaf_ones;   /* of these */
    uint64_t ask;         /* the token of that subscription */
    uint64_t last_number; /* never used twice */
    hub__probe_t probes[HUB__PROBES_OUT]; /* the older one first */
    uint64_t next_probe_ms;
    uint64_t ask_again_ms; /* while deaf */
    bool waiting;          /* subscriptions are waited for, as far as was seen */
    uint64_t waiting_since_ms;
    uint64_t confirmed_then;
    bool overtaken; /* one of the older generation is waited for, and one of the younger came */
    uint64_t overtaken_since_ms;
    uint64_t left_then; /* so many of the older one */
    uint64_t back_ms;
    uint64_t round_trip_us;
    uint64_t ill_since_ms;
} hub__pulse_t;

/* HUB_EINVAL: an option, which `error` names. */
hub_status_t hub__pulse_init(hub__pulse_t *pulse, hub_bus_t *bus, const hub_bus_options_t *options,
                             hub_error_t *error);
void hub__pulse_dispose(hub__pulse_t *pulse);

/* ---- what happens to the connection: on the backend's thread ---- */

/* All else is subscribed, or asked for at least. Returns whether one more confirmation is to be
 * waited for; hub__pulse_subscribe() then asks for it. */
bool hub__pulse_up(hub__pulse_t *pulse);
void hub__pulse_subscribe(hub__pulse_t *pulse);
void hub__pulse_down(hub__pulse_t *pulse);
/* Whether the token is the probe's, for the first time: the first probe may go. */
bool hub__pulse_subscribed(hub__pulse_t *pulse, uint64_t token);
void hub__pulse_begin(hub__pulse_t *pulse);
/* The same, of a subscription that the broker does not take: there will be no probes. */
bool hub__pulse_refused(hub__pulse_t *pulse, uint64_t token);
/* What came on the probe's topic. False: junk. */
bool hub__pulse_message(hub__pulse_t *pulse, hub_str_t bytes);
/* Any thread. */
void hub__pulse_answered(hub__pulse_t *pulse, uint64_t token);

/* ---- on the core's thread ---- */

/* UINT64_MAX: not before something happens. */
static inline uint64_t hub__pulse_due_ms(hub__pulse_t *pulse)
{
    uint64_t probe_ms = atomic_load(&pulse->due_ms), beat_ms = atomic_load(&pulse->beat_due_ms);

    return probe_ms < beat_ms ? probe_ms : beat_ms;
}

void hub__pulse_turn(hub__pulse_t *pulse);

/* ---- positions ---- */

/* The stream of `beat` took one more message. Under its lock; true: hub__remote_wake() must follow
 * when that is released. */
bool hub__pulse_beat(hub__pulse_t *pulse, hub__beats_t *beats, hub__beat_t *beat);
/* Its position was sent, or could not be. Under its lock. */
void hub__pulse_beat_done(hub__pulse_t *pulse, hub__beats_t *beats, hub__beat_t *beat,
                          uint64_t now_ms, bool sent);
/* The stream is gone. */
void hub__pulse_beat_end(hub__beats_t *beats, hub__beat_t *beat);
/* What waits may go, after a time in which nothing could. Any thread. */
void hub__pulse_resume(hub__pulse_t *pulse);

/* ---- subscriptions: any thread ---- */

/* One is asked for. Returns its generation, for one of those below. */
static inline uint64_t hub__pulse_await(hub__pulse_t *pulse)
{
    uint64_t generation = atomic_load(&pulse->generation);

    atomic_fetch_add(&pulse->awaited[generation % 2], 1);
    return generation;
}

/* It is not waited for any longer. */
static inline void hub__pulse_await_no_more(hub__pulse_t *pulse, uint64_t generation)
{
    atomic_fetch_sub(&pulse->awaited[generation % 2], 1);
}

/* It was confirmed, and that counts. 0: refused, which a backend may know before it has asked. */
static inline void hub__pulse_confirmed(hub__pulse_t *pulse, uint64_t generation)
{
    atomic_fetch_add_explicit(&pulse->confirmed, 1, memory_order_relaxed);
    if (generation == atomic_load(&pulse->generation))
        atomic_store(&pulse->confirmed_generation, generation);
}

/* ---- Any thread. ---- */

static inline bool hub__pulse_is_deaf(hub__pulse_t *pulse)
{
    return atomic_load(&pulse->deaf);
}

/* `up`: connected, and all that was subscribed stands. */
void hub__pulse_get_stats(hub__pulse_t *pulse, bool up, hub_bus_stats_t *ret_stats);
