/* SPDX-License-Identifier: MIT */
/* NATS, on libnats. One connection a node; a topic is a subject (bus/subject.h) with a
 * subscription of its own; JetStream only where there is to be one order (nats_order.h). Here is
 * the thread that makes one connection after the other; nats_link.c is the connection,
 * nats_session.c what is said over it. */
#define _GNU_SOURCE 1
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "bus/buffer.h"
#include "bus/internal.h"
#include "bus/log.h"
#include "bus/nats_session.h"

#define LARGEST_DEFAULT ((size_t)1024 * 1024) /* the server's own default: until it has told */
#define CONNECT_GRACE_MS 500                  /* for what the library's own timeout leaves out */
#define STEADY_MS 2000 /* a connection that stood that long ends the row of attempts */
#define SUBJECT_BYTES_MIN 100
#define CLOSE_WAIT_MS 200

typedef struct hub__nats {
    hub_bus_t *bus;
    hub__nats_settings_t settings;
    hub__courier_t courier;
    hub__nats_order_t order;
    atomic_size_t largest;

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t changed;
    hub__nats_link_t *link; /* that other threads may break */
    bool ended;

    size_t subject_max; /* The thread's, as the rest */
    hub_error_t said;   /* the text why the last attempt failed: each is told once */
} hub__nats_t;

/* ---- the thread ---- */

static void note_reason(hub__nats_t *nats, bool was_up, const char *reason)
{
    char server[HUB_LOG_FIELD], why[HUB_LOG_FIELD];

    if (strcmp(reason, nats->said.text) == 0)
        return;
    snprintf(nats->said.text, sizeof(nats->said.text), "%s", reason);
    hub_log(HUB_LOG_WARN, was_up ? "bus.broken" : "bus.failed", "backend=nats server=%s why=%s",
            hub_log_escape(hub_str(nats->settings.server), server),
            hub_log_escape(hub_str(reason), why));
}

static size_t server_limit(natsConnection *nc)
{
    int64_t limit = natsConnection_GetMaxPayload(nc);

    if (limit <= 0)
        return LARGEST_DEFAULT;
    return limit > INT_MAX / 2 ? INT_MAX / 2 : (size_t)limit;
}

static void set_link(hub__nats_t *nats, hub__nats_link_t *link)
{
    pthread_mutex_lock(&nats->lock);
    nats->link = link;
    pthread_mutex_unlock(&nats->lock);
}

/* Waits until it is connected or has failed; returns early with true where the thread is to end. */
static bool await_link(hub__nats_t *nats, hub__nats_link_t *link, int ms)
{
    uint64_t now, end = hub__courier_now_ms() + (uint64_t)ms;

    for (;;) {
        if (hub__courier_take(&nats->courier).stop)
            return true;
        now = hub__courier_now_ms();
        if (now >= end || hub__nats_link_state(link) != HUB__NATS_CONNECTING)
            return false;
        hub__courier_wait(&nats->courier, -1, 0, (int)(end - now));
    }
}

/* A server says how long a line may be (max_control_line) by ending the connection for one that is
 * too long. With its default none is; where it is less, a topic must not keep all others down. */
static void note_longest(hub__nats_t *nats, const hub__nats_session_t *session, const char *reason)
{
    size_t less = session->subject_longest / 4 * 3;

    if (strcasestr(reason, "maximum control line") == NULL)
        return;
    nats->subject_max = less < SUBJECT_BYTES_MIN ? SUBJECT_BYTES_MIN : less;
    hub_log(HUB_LOG_ERROR, "bus.subjects",
            "backend=nats longest=%zu text=\"the server's max_control_line is too small\"",
            nats->subject_max);
}

/* True: the thread is to end. */
static bool serve(hub__nats_t *nats, hub__nats_link_t *link, unsigned *attempt)
{
    uint64_t began_ms = hub__courier_now_ms();
    hub__nats_session_t session;
    bool stop;

    atomic_store(&nats->largest, server_limit(hub__nats_link_connection(link)));
    nats->said = (hub_error_t){0};
    set_link(nats, link);
    hub__nats_session_init(&session, nats->bus, nats->settings.name, &nats->courier, link,
                           &nats->order, nats->subject_max);
    stop = hub__nats_session_run(&session);
    set_link(nats, NULL);
    if (hub__nats_link_state(link) != HUB__NATS_CONNECTED) {
        note_reason(nats, true, hub__nats_link_reason(link));
        note_longest(nats, &session, hub__nats_link_reason(link));
    }
    hub__nats_link_drop(link, stop);
    hub__nats_session_dispose(&session);
    if (hub__courier_now_ms() - began_ms >= STEADY_MS)
        *attempt = 0;
    return stop;
}

/* True: the thread is to end. */
static bool connect_once(hub__nats_t *nats, unsigned *attempt)
{
    hub_error_t error = {.text = ""};
    hub__nats_link_t *link = hub__nats_link_start(&nats->settings, &nats->courier, &error);
    bool stop;

    ++*attempt;
    if (link == NULL) {
        note_reason(nats, false, error.text);
        return false;
    }
    stop = await_link(nats, link, (int)nats->settings.connect_timeout_ms + CONNECT_GRACE_MS);
    if (!stop && hub__nats_link_state(link) == HUB__NATS_CONNECTED)
        return serve(nats, link, attempt);
    if (!stop)
        note_reason(nats, false, hub__nats_link_reason(link));
    hub__nats_link_drop(link, stop);
    return stop;
}

static void *run(void *arg)
{
    hub__nats_t *nats = arg;
    unsigned attempt = 0;

    while (
        !connect_once(nats, &attempt) &&
        !hub__courier_rest(&nats->courier, hub__courier_pause_ms(attempt == 0 ? 0 : attempt - 1)))
        ;
    pthread_mutex_lock(&nats->lock);
    nats->ended = true;
    pthread_cond_signal(&nats->changed);
    pthread_mutex_unlock(&nats->lock);
    return NULL;
}

/* ---- the backend ---- */

static void free_nats(hub__nats_t *nats)
{
    hub__nats_settings_dispose(&nats->settings);
    pthread_cond_destroy(&nats->changed);
    pthread_mutex_destroy(&nats->lock);
    free(nats);
}

/* The library's own threads come with its first use: as ours, they are to get no signals. They stay
 * until the process ends, since nats_Close() would take the library from whoever else uses it. */
static void open_library(void)
{
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    nats_Open(-1);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static hub_status_t nats_open(hub_bus_t *bus, const hub_bus_target_t *target, void **ret_self,
                              hub_error_t *error)
{
    hub__nats_t *nats = hub__alloc_zeroed(sizeof(*nats));
    hub_status_t err;

    nats->bus = bus;
    nats->subject_max = HUB__SUBJECT_BYTES;
    atomic_init(&nats->largest, LARGEST_DEFAULT);
    pthread_mutex_init(&nats->lock, NULL);
    hub__courier_condition_init(&nats->changed);
    open_library();
    err = hub__nats_settings_init(&nats->settings, target, error);
    *ret_self = nats;
    if (err == HUB_OK) {
        hub__nats_order_init(&nats->order, nats->settings.name);
        err = hub__courier_start(&nats->courier, run, nats, error);
    }
    if (err != HUB_OK)
        free_nats(nats);
    return err;
}

/* Orders that find no connection, and subscriptions that find no memory: the next connection asks
 * for them all again. */
static void put(hub__nats_t *nats, hub__order_kind_t kind, hub_str_t topic, uint64_t token)
{
    if (hub__courier_put(&nats->courier, kind, topic, hub_str(NULL), token) == HUB_ENOMEM)
        hub__courier_ask_reconnect(&nats->courier);
}

static void nats_subscribe(void *self, hub_str_t topic, uint64_t token)
{
    put(self, HUB__ORDER_SUBSCRIBE, topic, token);
}

static void nats_unsubscribe(void *self, hub_str_t topic)
{
    put(self, HUB__ORDER_UNSUBSCRIBE, topic, 0);
}

static hub_status_t nats_publish(void *self, hub_str_t topic, hub_str_t bytes, uint64_t token)
{
    hub__nats_t *nats = self;

    return hub__courier_put(&nats->courier, HUB__ORDER_PUBLISH, topic, bytes, token);
}

static void nats_want_order(void *self)
{
    hub__nats_t *nats = self;

    if (!atomic_exchange(&nats->order.wanted, true))
        hub__courier_wake(&nats->courier);
}

/* Until it is known whether there is an order to be had, they wait. */
static hub_status_t nats_publish_ordered(void *self, hub_str_t topic, hub_str_t bytes,
                                         uint64_t token)
{
    hub__nats_t *nats = self;

    if (atomic_load(&nats->order.refused))
        return HUB_EREJECTED;
    nats_want_order(self);
    return hub__courier_put(&nats->courier, HUB__ORDER_PUBLISH_ORDERED, topic, bytes, token);
}

static void break_link(hub__nats_t *nats)
{
    pthread_mutex_lock(&nats->lock);
    if (nats->link != NULL)
        hub__nats_link_break(nats->link);
    pthread_mutex_unlock(&nats->lock);
}

/* TLS may have the thread wait within the library for the rest of a record: so the socket ends. */
static void nats_reconnect(void *self)
{
    hub__nats_t *nats = self;

    hub__courier_ask_reconnect(&nats->courier);
    break_link(nats);
}

static void nats_close(void *self)
{
    hub__nats_t *nats = self;
    struct timespec until = hub__courier_deadline(CLOSE_WAIT_MS);
    bool waits = true;

    hub__courier_ask_stop(&nats->courier);
    pthread_mutex_lock(&nats->lock);
    while (!nats->ended && waits)
        waits = pthread_cond_timedwait(&nats->changed, &nats->lock, &until) == 0;
    pthread_mutex_unlock(&nats->lock);
    break_link(nats);
    hub__courier_stop(&nats->courier);
    free_nats(nats);
}

static size_t nats_largest_message(void *self)
{
    hub__nats_t *nats = self;

    return atomic_load(&nats->largest);
}

const hub_bus_backend_t hub__nats_backend = {
    .api = HUB_BUS_BACKEND_API,
    .name = "nats",
    .open = nats_open,
    .subscribe = nats_subscribe,
    .unsubscribe = nats_unsubscribe,
    .publish = nats_publish,
    .reconnect = nats_reconnect,
    .close = nats_close,
    .largest_message = nats_largest_message,
    .one_order = true,
    .publish_ordered = nats_publish_ordered,
    .want_order = nats_want_order,
};
