/* SPDX-License-Identifier: MIT */
/* The library can say that the server has read everything (PING and PONG) only to somebody who
 * waits for it. So a barrier does: a message to ourselves, on a subject that no topic can have,
 * sent behind what is to be confirmed. The server takes what a connection sends in order, so when
 * the barrier is back all of that is done: subscriptions stand, publishes are on their way. One is
 * under way at a time; what is sent meanwhile waits for the next. */
#include "bus/nats_session.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "bus/buffer.h"

#define BUFFERED_MAX (1024 * 1024) /* bytes in the library, the rest waits here */
#define DELIVER_AT_ONCE 256        /* messages, before orders are looked at again */
#define CLOSE_FLUSH_MS 100
#define NUMBER_BYTES 24

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

static void orders_append_all(hub__nats_orders_t *orders, hub__order_t *first)
{
    *orders->last = first;
    while (*orders->last != NULL)
        orders->last = &(*orders->last)->next;
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

/* False: the server would end the connection for it. */
static bool encode(hub__nats_session_t *session, hub_str_t topic,
                   char subject[HUB__SUBJECT_BYTES + 1])
{
    size_t len;

    if (!hub__subject_encode(topic, false, subject) ||
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

    if (!encode(session, order->topic, subject)) {
        hub_bus_remote_refused(session->bus, order->topic, order->token, HUB_ETOPIC);
    } else if (hub__nats_link_subscribe(session->link, subject, false, &sub) == NATS_OK) {
        add_subject(session, order->topic, sub);
        orders_append(&session->sent, order);
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

static void carry_publish(hub__nats_session_t *session, hub__order_t *order)
{
    char subject[HUB__SUBJECT_BYTES + 1];
    hub_status_t err = HUB_ETOPIC;

    if (encode(session, order->topic, subject))
        err = publish_status(
            natsConnection_Publish(session->nc, subject, order->bytes.base, (int)order->bytes.len));
    if (err == HUB_OK) {
        orders_append(&session->sent, shrink(order));
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
        carry_publish(session, order);
        return;
    }
}

/* ---- the barrier ---- */

/* What the server's permissions forbid. It says so before it answers what comes behind. */
static bool is_refused(hub__nats_session_t *session, const hub__order_t *order)
{
    char subject[HUB__SUBJECT_BYTES + 1];

    return session->fence_away && hub__subject_encode(order->topic, false, subject) &&
           hub__nats_link_is_refused(session->link, subject, order->kind == HUB__ORDER_PUBLISH);
}

static void confirm(hub__nats_session_t *session, hub__order_t *order)
{
    hub_bus_t *bus = session->bus;
    bool refused = is_refused(session, order);

    if (order->kind == HUB__ORDER_PUBLISH) {
        hub_bus_remote_published(bus, order->token, refused ? HUB_EREJECTED : HUB_OK);
    } else if (refused) {
        drop_subject(session, order->topic);
        hub_bus_remote_refused(bus, order->topic, order->token, HUB_EREJECTED);
    } else {
        hub_bus_remote_subscribed(bus, order->topic, order->token);
    }
    free(order);
}

static void post_barrier(hub__nats_session_t *session)
{
    char number[NUMBER_BYTES];
    int len = snprintf(number, sizeof(number), "%" PRIu64, ++session->barrier_number);

    /* a failure means that it is closed */
    session->barrier_away =
        natsConnection_Publish(session->nc, session->barrier_subject, number, len) == NATS_OK;
}

static void send_barrier(hub__nats_session_t *session)
{
    if (session->barrier_away || session->covered.first != NULL || session->sent.first == NULL)
        return;
    session->covered = session->sent;
    orders_init(&session->sent);
    post_barrier(session);
}

static void confirm_all(hub__nats_session_t *session)
{
    hub__order_t *order;

    while ((order = orders_take(&session->covered)) != NULL)
        confirm(session, order);
    if (session->fence_away)
        hub__nats_link_forget_refusals(session->link);
    session->fence_away = false;
    session->barrier_away = false;
    send_barrier(session);
}

/* Where the server has refused something meanwhile, the library is first let say what. */
static void on_barrier(hub__nats_session_t *session, hub_str_t number)
{
    char expected[NUMBER_BYTES];

    snprintf(expected, sizeof(expected), "%" PRIu64, session->barrier_number);
    if (!session->barrier_away || session->fence_away || !hub_str_equals(number, hub_str(expected)))
        return;
    session->fence_away = hub__nats_link_is_suspect(session->link);
    if (!session->fence_away)
        confirm_all(session);
    else if (hub__nats_link_fence(session->link, session->fence_subject) != NATS_OK)
        hub__courier_ask_reconnect(session->courier);
}

static void carry_all(hub__nats_session_t *session)
{
    hub__order_t *order;

    while (natsConnection_Buffered(session->nc) < BUFFERED_MAX &&
           (order = orders_take(&session->waiting)) != NULL)
        carry(session, order);
    send_barrier(session);
}

/* ---- in ---- */

static void deliver(hub__nats_session_t *session)
{
    hub__nats_arrival_t *arrival;
    char topic[HUB__SUBJECT_TOPIC_BYTES];

    for (int i = 0; i < DELIVER_AT_ONCE; i++) {
        hub_str_t bytes, subject, name;

        arrival = hub__nats_link_take(session->link);
        if (arrival == NULL)
            return;
        bytes =
            hub_str_n(natsMsg_GetData(arrival->msg), (size_t)natsMsg_GetDataLength(arrival->msg));
        if (arrival->barrier) {
            on_barrier(session, bytes);
        } else {
            subject = hub_str(natsMsg_GetSubject(arrival->msg));
            name = hub__subject_decode(subject, topic);
            if (name.base != NULL)
                hub_bus_remote_message(session->bus, name, bytes);
            else
                hub_bus_remote_invalid(session->bus, subject, "no topic has this subject");
        }
        hub__nats_arrival_free(arrival);
    }
    hub__courier_wake(session->courier); /* there may be more */
}

/* ---- life ---- */

/* No topic has three tokens, and no other node these 64 bits. */
static bool raise_barrier(hub__nats_session_t *session)
{
    uint64_t random;

    if (getrandom(&random, sizeof(random), 0) != sizeof(random))
        return false;
    snprintf(session->barrier_subject, sizeof(session->barrier_subject), "%s.barrier.%016" PRIx64,
             session->name, random);
    snprintf(session->fence_subject, sizeof(session->fence_subject), "%s.fence.%016" PRIx64,
             session->name, random);
    return hub__nats_link_subscribe(session->link, session->barrier_subject, true,
                                    &session->barrier) == NATS_OK;
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

        orders_append_all(&session->waiting, due.orders);
        if (due.stop || due.reconnect)
            return due.stop;
        carry_all(session);
        deliver(session);
        if (hub__nats_link_take_fence(session->link) && session->fence_away)
            confirm_all(session);
        if (hub__nats_link_state(session->link) != HUB__NATS_CONNECTED)
            return false;
        turn(session, -1);
    }
}

/* What the program has published last should still go out, if the socket takes it at once. */
static void flush(hub__nats_session_t *session)
{
    uint64_t end_ms = hub__courier_now_ms() + CLOSE_FLUSH_MS;

    do {
        orders_append_all(&session->waiting, hub__courier_take(session->courier).orders);
        carry_all(session);
        turn(session, 10);
    } while ((session->waiting.first != NULL || hub__nats_link_writes(session->link)) &&
             hub__nats_link_state(session->link) == HUB__NATS_CONNECTED &&
             hub__courier_now_ms() < end_ms);
}

void hub__nats_session_init(hub__nats_session_t *session, hub_bus_t *bus, const char *name,
                            hub__courier_t *courier, hub__nats_link_t *link, size_t subject_max)
{
    *session = (hub__nats_session_t){
        .bus = bus, .courier = courier, .link = link, .name = name, .subject_max = subject_max};
    session->nc = hub__nats_link_connection(link);
    orders_init(&session->waiting);
    orders_init(&session->sent);
    orders_init(&session->covered);
}

bool hub__nats_session_run(hub__nats_session_t *session)
{
    bool stop;

    if (!raise_barrier(session))
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
    orders_free(&session->waiting);
    orders_free(&session->sent);
    orders_free(&session->covered);
    hub__table_foreach(&session->subjects, free_subject, NULL);
    hub__table_dispose(&session->subjects);
    natsSubscription_Destroy(session->barrier);
}
