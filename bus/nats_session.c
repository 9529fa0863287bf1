/* SPDX-License-Identifier: MIT */
/* The library can say that the server has read everything (PING and PONG) only to somebody who
 * waits for it. So a barrier does: a message to ourselves, on a subject that no topic can have,
 * sent behind what is to be confirmed. The server takes what a connection sends in order, so when
 * the barrier is back all of that is done: subscriptions stand, publishes are on their way. One is
 * under way at a time; what is sent meanwhile waits for the next. What goes by way of the stream
 * that orders it (nats_order.h) has a barrier of its own: a message to the stream, which
 * acknowledges it as it does each of them (nats_taken.h). */
#include "bus/nats_session.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "bus/buffer.h"
#include "bus/log.h"

#define BUFFERED_MAX (1024 * 1024) /* bytes in the library, the rest waits here */
#define DELIVER_AT_ONCE 256        /* messages, before orders are looked at again */
#define CLOSE_FLUSH_MS 100
#define ORDERED_BACK_MS 3000 /* a stream that takes longer is looked for anew */
#define NUMBER_BYTES 24
/* behind "<name>.own.<16 hex>." */
#define OWN_BARRIER "barrier"
#define OWN_STREAM "stream-" /* what is said of the stream */
#define OWN_TAKEN "taken-"   /* what the stream says to a barrier */
#define OWN_SAID "said-"     /* what it says to a message */

/* A topic that the server knows. */
struct subject {
    hub__table_node_t node;
    natsSubscription *sub;
    size_t topic_bytes;
    char topic[];
};

/* ---- orders ---- */

static void orders_init(hub__nats_orders_t *orders)
{
    orders->first = NULL;
    orders->last = &orders->first;
}

static void orders_append(hub__nats_orders_t *orders, hub__order_t *order)
{
    order->next = NULL;
    *orders->last = order;
    orders->last = &order->next;
}

static hub__order_t *orders_take(hub__nats_orders_t *orders)
{
    hub__order_t *order = orders->first;

    if (order != NULL && (orders->first = order->next) == NULL)
        orders->last = &orders->first;
    return order;
}

static void orders_free(hub__nats_orders_t *orders)
{
    hub__order_t *order;

    while ((order = orders_take(orders)) != NULL)
        free(order);
}

/* ---- subjects ---- */

static struct subject *find_subject(const hub__nats_session_t *session, hub_str_t topic,
                                    uint64_t hash)
{
    hub__table_node_t *node = hub__table_chain(&session->subjects, hash);

    for (; node != NULL; node = node->next) {
        struct subject *subject = HUB__CONTAINER(node, struct subject, node);

        if (node->hash == hash &&
            hub_str_equals(hub_str_n(subject->topic, subject->topic_bytes), topic))
            return subject;
    }
    return NULL;
}

static void add_subject(hub__nats_session_t *session, hub_str_t topic, natsSubscription *sub)
{
    struct subject *subject = hub__alloc_zeroed(sizeof(*subject) + topic.len);

    subject->sub = sub;
    subject->topic_bytes = topic.len;
    memcpy(subject->topic, topic.base, topic.len);
    subject->node.hash = hub__hash(topic);
    hub__table_insert(&session->subjects, &subject->node);
}

static void free_subject(hub__table_node_t *node, void *user)
{
    struct subject *subject = HUB__CONTAINER(node, struct subject, node);

    (void)user;
    natsSubscription_Destroy(subject->sub);
    free(subject);
}

/* ---- out ---- */

static void own_subject(const hub__nats_session_t *session, const char *what, uint64_t number,
                        char ret_subject[HUB__NATS_OWN_BYTES])
{
    snprintf(ret_subject, HUB__NATS_OWN_BYTES, "%s.own.%016" PRIx64 ".%s%" PRIu64, session->name,
             session->random, what, number);
}

/* Whether it is such a subject, and then its number. */
static bool is_own(const hub__nats_session_t *session, const char *subject, const char *what,
                   uint64_t *ret_number)
{
    size_t before = strlen(session->plain.barrier_out) - strlen(OWN_BARRIER), len = strlen(what);

    if (strncmp(subject, session->plain.barrier_out, before) != 0 ||
        strncmp(subject + before, what, len) != 0)
        return false;
    *ret_number = strtoull(subject + before + len, NULL, 10);
    return true;
}

static bool is_ordered(const hub__order_t *order)
{
    return order->kind == HUB__ORDER_PUBLISH_ORDERED;
}

static hub__nats_lane_t *lane_of(hub__nats_session_t *session, const hub__order_t *order)
{
    return is_ordered(order) ? &session->ordered : &session->plain;
}

/* False: the server would end the connection for it. */
static bool encode(hub__nats_session_t *session, const hub__order_t *order,
                   char subject[HUB__SUBJECT_BYTES + 1])
{
    size_t len;

    if (!hub__subject_encode(order->topic, is_ordered(order), subject) ||
        (len = strlen(subject)) > session->subject_max)
        return false;
    if (len > session->subject_longest)
        session->subject_longest = len;
    return true;
}

/* One that can't be asked for would leave the node deaf: then the connection is of no use. */
static void carry_subscribe(hub__nats_session_t *session, hub__order_t *order)
{
    char subject[HUB__SUBJECT_BYTES + 1];
    natsSubscription *sub;

    if (!encode(session, order, subject)) {
        hub_bus_remote_refused(session->bus, order->topic, order->token, HUB_ETOPIC);
    } else if (hub__nats_link_subscribe(session->link, subject, false, &sub) == NATS_OK) {
        add_subject(session, order->topic, sub);
        orders_append(&session->plain.sent, order);
        return;
    } else {
        hub__courier_ask_reconnect(session->courier);
    }
    free(order);
}

static void drop_subject(hub__nats_session_t *session, hub_str_t topic)
{
    struct subject *subject = find_subject(session, topic, hub__hash(topic));

    if (subject == NULL)
        return;
    natsSubscription_Unsubscribe(subject->sub);
    hub__table_remove(&session->subjects, &subject->node);
    free_subject(&subject->node, NULL);
}

static hub_status_t publish_status(natsStatus s)
{
    switch (s) {
    case NATS_OK:
        return HUB_OK;
    case NATS_MAX_PAYLOAD: /* the server took its limit down since the connection was made */
        return HUB_ETOOLARGE;
    case NATS_NO_MEMORY:
        return HUB_ENOMEM;
    default:
        return HUB_EBUSDOWN;
    }
}

/* The bytes are the library's now. */
static hub__order_t *shrink(hub__order_t *order)
{
    size_t topic_bytes = order->topic.len;
    hub__order_t *small = realloc(order, sizeof(*order) + topic_bytes + 1);

    order = small == NULL ? order : small;
    order->topic = hub_str_n(order->data, topic_bytes);
    order->bytes = hub_str(NULL);
    return order;
}

/* The stream says nothing to who does not ask, not even that it has no room for this one. */
static natsStatus say(hub__nats_session_t *session, hub__order_t *order, const char *subject)
{
    char reply[HUB__NATS_OWN_BYTES];

    if (!is_ordered(order))
        return natsConnection_Publish(session->nc, subject, order->bytes.base,
                                      (int)order->bytes.len);
    order->number = hub__nats_taken_number(&session->taken);
    own_subject(session, OWN_SAID, order->number, reply);
    return natsConnection_PublishRequest(session->nc, subject, reply, order->bytes.base,
                                         (int)order->bytes.len);
}

static void carry_publish(hub__nats_session_t *session, hub__order_t *order)
{
    char subject[HUB__SUBJECT_BYTES + 1];
    hub__nats_lane_t *lane = lane_of(session, order);
    hub_status_t err = HUB_ETOPIC;

    if (encode(session, order, subject))
        err = publish_status(say(session, order, subject));
    if (err == HUB_OK) {
        orders_append(&lane->sent, shrink(order));
        return;
    }
    hub_bus_remote_published(session->bus, order->token, err);
    free(order);
}

static void carry(hub__nats_session_t *session, hub__order_t *order)
{
    switch (order->kind) {
    case HUB__ORDER_SUBSCRIBE:
        carry_subscribe(session, order);
        return;
    case HUB__ORDER_UNSUBSCRIBE:
        drop_subject(session, order->topic);
        free(order);
        return;
    case HUB__ORDER_PUBLISH:
    case HUB__ORDER_PUBLISH_ORDERED:
        carry_publish(session, order);
        return;
    }
}

/* ---- the barrier ---- */

/* What the server's permissions forbid. It says so before it answers what comes behind. */
static bool take_refusal(hub__nats_session_t *session, const hub__order_t *order)
{
    char subject[HUB__SUBJECT_BYTES + 1];

    return hub__subject_encode(order->topic, is_ordered(order), subject) &&
           hub__nats_link_take_refusal(session->link, subject, order->kind != HUB__ORDER_SUBSCRIBE);
}

/* By what the stream said to it. */
static hub_status_t status_of(hub__nats_session_t *session, const hub__order_t *order)
{
    static const hub_status_t statuses[] = {
        [HUB__NATS_SILENT] = HUB_EUNKNOWN,
        [HUB__NATS_TAKEN] = HUB_OK,
        [HUB__NATS_REFUSED] = HUB_EREJECTED,
    };

    return is_ordered(order) ? statuses[hub__nats_taken_word(&session->taken, order->number)]
                             : HUB_OK;
}

static void confirm(hub__nats_session_t *session, hub__order_t *order, bool refused)
{
    hub_bus_t *bus = session->bus;

    if (order->kind != HUB__ORDER_SUBSCRIBE) {
        hub_bus_remote_published(bus, order->token,
                                 refused ? HUB_EREJECTED : status_of(session, order));
    } else if (refused) {
        drop_subject(session, order->topic);
        hub_bus_remote_refused(bus, order->topic, order->token, HUB_EREJECTED);
    } else {
        hub_bus_remote_subscribed(bus, order->topic, order->token);
    }
    free(order);
}

/* Behind what was sent. To the stream it is a message like others, which it acknowledges, because
 * it is asked to; where none takes it, the server says so. */
static void post_barrier(hub__nats_session_t *session, hub__nats_lane_t *lane)
{
    char number[NUMBER_BYTES], reply[HUB__NATS_OWN_BYTES];
    int len = snprintf(number, sizeof(number), "%" PRIu64, ++lane->barrier_number);

    /* a failure means that the connection is closed */
    lane->barrier_away = true;
    if (lane == &session->plain) {
        natsConnection_Publish(session->nc, lane->barrier_out, number, len);
        return;
    }
    lane->barrier_due_ms = hub__courier_now_ms() + ORDERED_BACK_MS;
    own_subject(session, OWN_TAKEN, lane->barrier_number, reply);
    natsConnection_PublishRequest(session->nc, lane->barrier_out, reply, number, len);
}

static void send_barrier(hub__nats_session_t *session, hub__nats_lane_t *lane)
{
    if (lane->barrier_away || lane->sent.first == NULL)
        return;
    lane->covered = lane->sent;
    orders_init(&lane->sent);
    post_barrier(session, lane);
}

static void confirm_all(hub__nats_session_t *session, hub__nats_lane_t *lane)
{
    hub__order_t *order;

    while ((order = orders_take(&lane->covered)) != NULL)
        confirm(session, order, lane->fenced && take_refusal(session, order));
    lane->fenced = false;
    lane->barrier_away = false;
    send_barrier(session, lane);
}

/* For the lanes whose barriers are back. */
static void send_fence(hub__nats_session_t *session)
{
    hub__nats_lane_t *plain = &session->plain, *ordered = &session->ordered;

    if (session->fence_away || !(plain->unfenced || ordered->unfenced))
        return;
    session->fence_away = true;
    plain->fenced = plain->unfenced;
    ordered->fenced = ordered->unfenced;
    plain->unfenced = ordered->unfenced = false;
    if (hub__nats_link_fence(session->link, session->fence_subject) != NATS_OK)
        hub__courier_ask_reconnect(session->courier);
}

/* What was refused may be of something that was sent behind the barrier. */
static bool is_empty(const hub__nats_lane_t *lane)
{
    return lane->sent.first == NULL && lane->covered.first == NULL;
}

static void on_fence(hub__nats_session_t *session)
{
    session->fence_away = false;
    if (session->plain.fenced)
        confirm_all(session, &session->plain);
    if (session->ordered.fenced)
        confirm_all(session, &session->ordered);
    if (is_empty(&session->plain) && is_empty(&session->ordered) && !session->order->asked)
        hub__nats_link_clear_refusals(session->link);
    send_fence(session);
}

/* Where the server has refused something meanwhile, the library is first let say what. */
static void take_barrier(hub__nats_session_t *session, hub__nats_lane_t *lane)
{
    if (!lane->barrier_away || lane->unfenced || lane->fenced)
        return;
    lane->barrier_due_ms = 0;
    session->suspect |= hub__nats_link_is_suspect(session->link);
    if (session->suspect) {
        lane->unfenced = true;
        send_fence(session);
    } else {
        confirm_all(session, lane);
    }
}

static void on_barrier(hub__nats_session_t *session, hub_str_t number)
{
    char expected[NUMBER_BYTES];

    snprintf(expected, sizeof(expected), "%" PRIu64, session->plain.barrier_number);
    if (hub_str_equals(number, hub_str(expected)))
        take_barrier(session, &session->plain);
}

/* ---- one order ---- */

/* What of that it still took, where it did not say so, nobody knows, but for what was refused. */
static void drop_ordered(hub__nats_session_t *session)
{
    hub__nats_lane_t *lane = &session->ordered;
    hub__nats_orders_t *both[] = {&lane->covered, &lane->sent};
    hub__order_t *order;

    for (int i = 0; i < 2; i++) {
        while ((order = orders_take(both[i])) != NULL) {
            confirm(session, order, take_refusal(session, order));
        }
    }
    lane->barrier_away = lane->unfenced = lane->fenced = false;
    lane->barrier_due_ms = 0;
}

static void lose_order(hub__nats_session_t *session, const char *why)
{
    hub__nats_order_lose(session->order, why);
    drop_ordered(session);
}

static void refuse_order(hub__nats_session_t *session, const char *why)
{
    hub__nats_order_refuse(session->order, why, hub__courier_now_ms());
    drop_ordered(session);
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
        take_barrier(session, &session->ordered);
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
    own_subject(session, OWN_STREAM, ++session->questions, reply);
    natsConnection_PublishRequest(session->nc, session->order->request, reply,
                                  body.base == NULL ? "" : body.base, (int)body.len);
    hub__buffer_dispose(&body);
}

static void refuse_waiting(hub__nats_session_t *session)
{
    hub__order_t *order;

    while ((order = orders_take(&session->ordered.waiting)) != NULL) {
        hub_bus_remote_published(session->bus, order->token, HUB_EREJECTED);
        free(order);
    }
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
        refuse_waiting(session);
    ask_for_order(session);
}

static void carry_lane(hub__nats_session_t *session, hub__nats_lane_t *lane)
{
    hub__order_t *order;

    while (natsConnection_Buffered(session->nc) < BUFFERED_MAX &&
           (order = orders_take(&lane->waiting)) != NULL)
        carry(session, order);
    send_barrier(session, lane);
}

static void carry_all(hub__nats_session_t *session)
{
    carry_lane(session, &session->plain);
    if (session->order->state == HUB__NATS_ORDER_STANDS)
        carry_lane(session, &session->ordered);
}

static bool has_to_send(const hub__nats_session_t *session)
{
    return session->plain.waiting.first != NULL ||
           (session->ordered.waiting.first != NULL &&
            session->order->state == HUB__NATS_ORDER_STANDS);
}

static void take_orders(hub__nats_session_t *session, hub__order_t *orders)
{
    hub__order_t *next;

    for (; orders != NULL; orders = next) {
        next = orders->next;
        orders_append(&lane_of(session, orders)->waiting, orders);
    }
}

/* ---- in ---- */

static void on_own(hub__nats_session_t *session, natsMsg *msg, hub_str_t bytes)
{
    const char *subject = natsMsg_GetSubject(msg);
    uint64_t number;

    if (strcmp(subject, session->plain.barrier_out) == 0) {
        on_barrier(session, bytes);
    } else if (is_own(session, subject, OWN_SAID, &number)) {
        on_said(session, number, bytes);
    } else if (is_own(session, subject, OWN_TAKEN, &number)) {
        if (number == session->ordered.barrier_number && session->ordered.barrier_away)
            on_taken(session, msg, bytes);
    } else if (is_own(session, subject, OWN_STREAM, &number) && number == session->questions) {
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
    snprintf(plain->barrier_out, sizeof(all), "%s.own.%016" PRIx64 "." OWN_BARRIER, name, random);
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

        take_orders(session, due.orders);
        if (due.stop || due.reconnect)
            return due.stop;
        deliver(session);
        if (hub__nats_link_take_fence(session->link) && session->fence_away)
            on_fence(session);
        look_after_order(session);
        carry_all(session);
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
        take_orders(session, hub__courier_take(session->courier).orders);
        carry_all(session);
        turn(session, 10);
    } while ((has_to_send(session) || hub__nats_link_writes(session->link)) &&
             hub__nats_link_state(session->link) == HUB__NATS_CONNECTED &&
             hub__courier_now_ms() < end_ms);
}

static void lane_init(hub__nats_lane_t *lane)
{
    orders_init(&lane->waiting);
    orders_init(&lane->sent);
    orders_init(&lane->covered);
}

static void lane_dispose(hub__nats_lane_t *lane)
{
    orders_free(&lane->waiting);
    orders_free(&lane->sent);
    orders_free(&lane->covered);
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
    lane_init(&session->plain);
    lane_init(&session->ordered);
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
    lane_dispose(&session->plain);
    lane_dispose(&session->ordered);
    hub__table_foreach(&session->subjects, free_subject, NULL);
    hub__table_dispose(&session->subjects);
    hub__nats_taken_dispose(&session->taken);
    natsSubscription_Destroy(session->own);
}
