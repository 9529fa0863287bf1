/* SPDX-License-Identifier: MIT */
#include "bus/nats_lane.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "bus/nats_session.h"

#define BUFFERED_MAX (1024 * 1024) /* bytes in the library, the rest waits here */
#define ORDERED_BACK_MS 3000       /* a stream that takes longer is looked for anew */
#define NUMBER_BYTES 24

/* A topic that the server knows. */
struct subject {
    hub__table_node_t node;
    natsSubscription *sub;
    size_t topic_bytes;
    char topic[];
};

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

void hub__nats_own_subject(const hub__nats_session_t *session, const char *what, uint64_t number,
                           char ret_subject[HUB__NATS_OWN_BYTES])
{
    snprintf(ret_subject, HUB__NATS_OWN_BYTES, "%s.own.%016" PRIx64 ".%s%" PRIu64, session->name,
             session->random, what, number);
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
        hub__orders_append(&session->plain.sent, order);
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
    hub__nats_own_subject(session, HUB__NATS_OWN_SAID, order->number, reply);
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
        hub__orders_append(&lane->sent, shrink(order));
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
    hub__nats_own_subject(session, HUB__NATS_OWN_TAKEN, lane->barrier_number, reply);
    natsConnection_PublishRequest(session->nc, lane->barrier_out, reply, number, len);
}

static void send_barrier(hub__nats_session_t *session, hub__nats_lane_t *lane)
{
    if (lane->barrier_away || lane->sent.first == NULL)
        return;
    lane->covered = lane->sent;
    hub__orders_init(&lane->sent);
    post_barrier(session, lane);
}

static void confirm_all(hub__nats_session_t *session, hub__nats_lane_t *lane)
{
    hub__order_t *order;

    while ((order = hub__orders_take(&lane->covered)) != NULL)
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

void hub__nats_lanes_on_fence(hub__nats_session_t *session)
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
void hub__nats_lane_take_barrier(hub__nats_session_t *session, hub__nats_lane_t *lane)
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

void hub__nats_lanes_on_barrier(hub__nats_session_t *session, hub_str_t number)
{
    char expected[NUMBER_BYTES];

    snprintf(expected, sizeof(expected), "%" PRIu64, session->plain.barrier_number);
    if (hub_str_equals(number, hub_str(expected)))
        hub__nats_lane_take_barrier(session, &session->plain);
}

/* What of that it still took, where it did not say so, nobody knows, but for what was refused. */
void hub__nats_lanes_drop_ordered(hub__nats_session_t *session)
{
    hub__nats_lane_t *lane = &session->ordered;
    hub__orders_t *both[] = {&lane->covered, &lane->sent};
    hub__order_t *order;

    for (int i = 0; i < 2; i++) {
        while ((order = hub__orders_take(both[i])) != NULL) {
            confirm(session, order, take_refusal(session, order));
        }
    }
    lane->barrier_away = lane->unfenced = lane->fenced = false;
    lane->barrier_due_ms = 0;
}

void hub__nats_lanes_refuse_ordered(hub__nats_session_t *session)
{
    hub__order_t *order;

    while ((order = hub__orders_take(&session->ordered.waiting)) != NULL) {
        hub_bus_remote_published(session->bus, order->token, HUB_EREJECTED);
        free(order);
    }
}

/* ---- waiting orders ---- */

static void carry_lane(hub__nats_session_t *session, hub__nats_lane_t *lane)
{
    hub__order_t *order;

    while (natsConnection_Buffered(session->nc) < BUFFERED_MAX &&
           (order = hub__orders_take(&lane->waiting)) != NULL)
        carry(session, order);
    send_barrier(session, lane);
}

void hub__nats_lanes_carry(hub__nats_session_t *session)
{
    carry_lane(session, &session->plain);
    if (session->order->state == HUB__NATS_ORDER_STANDS)
        carry_lane(session, &session->ordered);
}

bool hub__nats_lanes_have_waiting(const hub__nats_session_t *session)
{
    return session->plain.waiting.first != NULL ||
           (session->ordered.waiting.first != NULL &&
            session->order->state == HUB__NATS_ORDER_STANDS);
}

void hub__nats_lanes_put(hub__nats_session_t *session, hub__order_t *orders)
{
    hub__order_t *next;

    for (; orders != NULL; orders = next) {
        next = orders->next;
        hub__orders_append(&lane_of(session, orders)->waiting, orders);
    }
}

/* ---- life ---- */

static void lane_init(hub__nats_lane_t *lane)
{
    hub__orders_init(&lane->waiting);
    hub__orders_init(&lane->sent);
    hub__orders_init(&lane->covered);
}

static void lane_dispose(hub__nats_lane_t *lane)
{
    hub__orders_clear(&lane->waiting);
    hub__orders_clear(&lane->sent);
    hub__orders_clear(&lane->covered);
}

void hub__nats_lanes_init(hub__nats_session_t *session)
{
    lane_init(&session->plain);
    lane_init(&session->ordered);
}

void hub__nats_lanes_dispose(hub__nats_session_t *session)
{
    lane_dispose(&session->plain);
    lane_dispose(&session->ordered);
    hub__table_foreach(&session->subjects, free_subject, NULL);
    hub__table_dispose(&session->subjects);
}
