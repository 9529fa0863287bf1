/* SPDX-License-Identifier: MIT */
#include "bus/nats_session.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "bus/buffer.h"
#include "bus/log.h"

#define DELIVER_AT_ONCE 256 /* messages, before orders are looked at again */
#define CLOSE_FLUSH_MS 100

/* ---- one order ---- */

static void lose_order(hub__nats_session_t *session, const char *why)
{
    hub__nats_order_lose(session->order, why);
    hub__nats_lanes_drop_ordered(session);
}

static void refuse_order(hub__nats_session_t *session, const char *why)
{
    hub__nats_order_refuse(session->order, why, hub__courier_now_ms());
    hub__nats_lanes_drop_ordered(session);
}

/* The stream's word on a barrier. */
static void on_taken(hub__nats_session_t *session, natsMsg *msg, hub_str_t bytes)
{
    hub_str_t error = hub__nats_order_ack_error(bytes);
    char why[160];

    if (natsMsg_IsNoResponders(msg)) {
        lose_order(session, "it is gone");
    } else if (error.base != NULL) {
        snprintf(why, sizeof(why), "%.*s", (int)(error.len < 150 ? error.len : 150), error.base);
        refuse_order(session, why);
    } else if (!hub__nats_order_is_ack(session->order, bytes)) {
        lose_order(session, "something else takes its place");
    } else {
        hub__nats_order_prove(session->order);
        hub__nats_lane_take_barrier(session, &session->ordered);
    }
}

/* The same on a message. What has a size that it does not take, it may refuse alone. */
static void on_said(hub__nats_session_t *session, uint64_t number, hub_str_t bytes)
{
    hub_str_t error = hub__nats_order_ack_error(bytes);
    hub__nats_word_t word = HUB__NATS_SILENT;
    char field[HUB_LOG_FIELD];

    if (error.base != NULL)
        word = HUB__NATS_REFUSED;
    else if (hub__nats_order_is_ack(session->order, bytes))
        word = HUB__NATS_TAKEN;
    hub__nats_taken_note(&session->taken, number, word);
    if (word == HUB__NATS_REFUSED)
        hub_log_peer(HUB_LOG_WARN, "bus.refused", "backend=nats stream=%s why=%s",
                     session->order->stream, hub_log_escape(error, field));
}

static void ask_for_order(hub__nats_session_t *session)
{
    hub__buffer_t body;
    char reply[HUB__NATS_OWN_BYTES];

    if (!hub__nats_order_ask(session->order, hub__courier_now_ms(), &body))
        return;
    hub__nats_own_subject(session, HUB__NATS_OWN_STREAM, ++session->questions, reply);
    natsConnection_PublishRequest(session->nc, session->order->request, reply,
                                  body.base == NULL ? "" : body.base, (int)body.len);
    hub__buffer_dispose(&body);
}

static bool is_forbidden(hub__nats_session_t *session, const char *subject)
{
    return hub__nats_link_take_refusal(session->link, subject, true);
}

static void look_after_order(hub__nats_session_t *session)
{
    hub__nats_order_t *order = session->order;
    const hub__nats_lane_t *lane = &session->ordered;
    char why[sizeof(order->reason)];

    if (lane->barrier_due_ms != 0 && is_forbidden(session, lane->barrier_out))
        refuse_order(session, "the server's permissions forbid to publish to it");
    else if (lane->barrier_due_ms != 0 && lane->barrier_due_ms <= hub__courier_now_ms())
        lose_order(session, "nothing comes back");
    if (order->asked && is_forbidden(session, order->request)) {
        snprintf(why, sizeof(why), "%s: the server's permissions forbid it", order->request);
        refuse_order(session, why);
    }
    if (order->state == HUB__NATS_ORDER_REFUSED)
        hub__nats_lanes_refuse_ordered(session);
    ask_for_order(session);
}

/* ---- in ---- */

/* Whether it is such a subject of our own, and then its number. */
static bool is_own(const hub__nats_session_t *session, const char *subject, const char *what,
                   uint64_t *ret_number)
{
    size_t before = strlen(session->plain.barrier_out) - strlen(HUB__NATS_OWN_BARRIER),
           len = strlen(what);

    if (strncmp(subject, session->plain.barrier_out, before) != 0 ||
        strncmp(subject + before, what, len) != 0)
        return false;
    *ret_number = strtoull(subject + before + len, NULL, 10);
    return true;
}

static void on_own(hub__nats_session_t *session, natsMsg *msg, hub_str_t bytes)
{
    const char *subject = natsMsg_GetSubject(msg);
    uint64_t number;

    if (strcmp(subject, session->plain.barrier_out) == 0) {
        hub__nats_lanes_on_barrier(session, bytes);
    } else if (is_own(session, subject, HUB__NATS_OWN_SAID, &number)) {
        on_said(session, number, bytes);
    } else if (is_own(session, subject, HUB__NATS_OWN_TAKEN, &number)) {
        if (number == session->ordered.barrier_number && session->ordered.barrier_away)
            on_taken(session, msg, bytes);
    } else if (is_own(session, subject, HUB__NATS_OWN_STREAM, &number) &&
               number == session->questions) {
        hub__nats_order_answer(session->order, bytes, natsMsg_IsNoResponders(msg),
                               hub__courier_now_ms());
    }
}

static void on_topic(hub__nats_session_t *session, natsMsg *msg, hub_str_t bytes)
{
    hub_str_t subject = hub_str(natsMsg_GetSubject(msg)), name;
    char topic[HUB__SUBJECT_TOPIC_BYTES];

    name = hub__subject_decode(subject, topic);
    if (name.base != NULL)
        hub_bus_remote_message(session->bus, name, bytes);
    else
        hub_bus_remote_invalid(session->bus, subject, "no topic has this subject");
}

static void deliver(hub__nats_session_t *session)
{
    hub__nats_arrival_t *arrival;

    for (int i = 0; i < DELIVER_AT_ONCE; i++) {
        hub_str_t bytes;

        arrival = hub__nats_link_take(session->link);
        if (arrival == NULL)
            return;
        bytes =
            hub_str_n(natsMsg_GetData(arrival->msg), (size_t)natsMsg_GetDataLength(arrival->msg));
        if (arrival->own)
            on_own(session, arrival->msg, bytes);
        else
            on_topic(session, arrival->msg, bytes);
        hub__nats_arrival_free(arrival);
    }
    hub__courier_wake(session->courier); /* there may be more */
}

/* ---- life ---- */

/* No topic has more than two tokens or a '%' without digits, and no other node these 64 bits. */
static bool raise_barriers(hub__nats_session_t *session)
{
    char all[HUB__NATS_OWN_BYTES];
    hub__nats_lane_t *plain = &session->plain, *ordered = &session->ordered;
    const char *name = session->name;
    uint64_t random;

    if (getrandom(&random, sizeof(random), 0) != sizeof(random))
        return false;
    session->random = random;
    snprintf(all, sizeof(all), "%s.own.%016" PRIx64 ".*", name, random);
    snprintf(plain->barrier_out, sizeof(all), "%s.own.%016" PRIx64 "." HUB__NATS_OWN_BARRIER, name,
             random);
    snprintf(ordered->barrier_out, sizeof(all), "%s.order.%%%016" PRIx64, name, random);
    snprintf(session->fence_subject, sizeof(all), "%s.fence.%016" PRIx64, name, random);
    return hub__nats_link_subscribe(session->link, all, true, &session->own) == NATS_OK;
}

/* -1: whenever something comes. */
static int time_left_ms(const hub__nats_session_t *session)
{
    uint64_t due_ms = hub__nats_order_due_ms(session->order), now_ms = hub__courier_now_ms(),
             back_ms = session->ordered.barrier_due_ms;

    if (back_ms != 0 && back_ms < due_ms)
        due_ms = back_ms;
    if (due_ms == UINT64_MAX)
        return -1;
    return due_ms <= now_ms ? 0 : (int)(due_ms - now_ms);
}

static void turn(hub__nats_session_t *session, int timeout_ms)
{
    short events;
    int fd = hub__nats_link_poll(session->link, &events);
    int revents = hub__courier_wait(session->courier, fd, events, timeout_ms);

    hub__nats_link_io(session->link, revents);
}

/* Until the connection is of no use any more; true: the thread is to end. */
static bool serve(hub__nats_session_t *session)
{
    for (;;) {
        hub__courier_due_t due = hub__courier_take(session->courier);

        hub__nats_lanes_put(session, due.orders);
        if (due.stop || due.reconnect)
            return due.stop;
        deliver(session);
        if (hub__nats_link_take_fence(session->link) && session->fence_away)
            hub__nats_lanes_on_fence(session);
        look_after_order(session);
        hub__nats_lanes_carry(session);
        if (hub__nats_link_state(session->link) != HUB__NATS_CONNECTED)
            return false;
        turn(session, time_left_ms(session));
    }
}

/* What the program has published last should still go out, if the socket takes it at once. */
static void flush(hub__nats_session_t *session)
{
    uint64_t end_ms = hub__courier_now_ms() + CLOSE_FLUSH_MS;

    do {
        hub__nats_lanes_put(session, hub__courier_take(session->courier).orders);
        hub__nats_lanes_carry(session);
        turn(session, 10);
    } while ((hub__nats_lanes_have_waiting(session) || hub__nats_link_writes(session->link)) &&
             hub__nats_link_state(session->link) == HUB__NATS_CONNECTED &&
             hub__courier_now_ms() < end_ms);
}

void hub__nats_session_init(hub__nats_session_t *session, hub_bus_t *bus, const char *name,
                            hub__courier_t *courier, hub__nats_link_t *link,
                            hub__nats_order_t *order, size_t subject_max)
{
    *session = (hub__nats_session_t){.bus = bus,
                                     .courier = courier,
                                     .link = link,
                                     .order = order,
                                     .name = name,
                                     .subject_max = subject_max};
    session->nc = hub__nats_link_connection(link);
    hub__nats_order_begin(order);
    hub__nats_lanes_init(session);
}

bool hub__nats_session_run(hub__nats_session_t *session)
{
    bool stop;

    if (!raise_barriers(session))
        return false;
    hub__courier_set_open(session->courier, true);
    hub_bus_remote_up(session->bus);
    stop = serve(session);
    if (stop)
        flush(session);
    hub__courier_set_open(session->courier, false);
    hub_bus_remote_down(session->bus);
    return stop;
}

void hub__nats_session_dispose(hub__nats_session_t *session)
{
    hub__nats_lanes_dispose(session);
    hub__nats_taken_dispose(&session->taken);
    natsSubscription_Destroy(session->own);
}
