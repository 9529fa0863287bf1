/* SPDX-License-Identifier: MIT */
/* The bus on Redis: a topic is a channel, as it is named, and a publish is a PUBLISH.
 *
 * Plain Pub/Sub, not the sharded one of Redis 7: that helps a cluster alone, and needs Redis 7. One
 * pair of connections a node, since one that subscribes may do nothing else, on one thread. It is
 * ready when the broker has answered the PING
 * behind AUTH, SETNAME and SELECT on both links; whatever is wrong with one of them ends both.
 *
 * What waits is in three lists, in order: `waiting` was not sent yet, `confirming` are the
 * subscriptions that the broker is to answer, `answering` the tokens of publishes. Redis answers in
 * the order asked, so the first in the list is meant. A subscription is a command of its own, many
 * of them in one write: then what is refused is refused alone. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "bus/buffer.h"
#include "bus/courier.h"
#include "bus/internal.h"
#include "bus/log.h"
#include "bus/lookup.h"
#include "bus/redis_link.h"
#include "bus/redis_refused.h"

#define UNSENT_BYTES_MAX ((size_t)256 << 10) /* then the rest waits for the socket */
#define STABLE_MS 2000                       /* a connection that stood so long was a good one */
#define COMPLAINT_MS 1000
#define ASK_AGAIN_MAX 256 /* each time: who joins chooses how many there are */

/* For what an ACL has refused, and for what was published just before the end; tests don't wait so
 * long. */
extern unsigned hub__redis_ask_again_ms, hub__redis_farewell_ms;
unsigned hub__redis_ask_again_ms = 2000;
unsigned hub__redis_farewell_ms = 1000;

/* Subscriptions end as fast as clients like, and a broker answers as slowly as it likes. What else
 * may wait is bounded by the number of topics, and by what may be in flight. */
extern size_t hub__redis_unanswered_bytes_max;
size_t hub__redis_unanswered_bytes_max = (size_t)256 << 20;

/* A ring that grows. */
struct tokens {
    uint64_t *at;
    size_t first;
    size_t count;
    size_t capacity; /* a power of two */
};

/* One line, then none for a while. */
struct complaint {
    uint64_t next_ms;
    uint64_t unsaid;
};

struct redis {
    hub__courier_t courier;
    hub_bus_t *bus;
    hub__redis_options_t options;
    /* from here on: of the thread */
    hub__lookup_t *lookup; /* NULL: none is under way */
    char *address;         /* of the host, in numbers */
    hub__redis_link_t subscriber;
    hub__redis_link_t publisher;
    bool up;
    uint64_t up_ms; /* since then */
    bool unwanted;  /* the core asked for another connection */
    bool stopping;
    hub__orders_t waiting;
    hub__orders_t confirming;
    hub__redis_refused_t refused; /* to ask for again */
    size_t unanswered_bytes;      /* of the ends of subscriptions */
    struct tokens answering;
    uint64_t ask_again_ms;
    struct complaint refusals;
    struct complaint rejections;
    unsigned failures; /* since the last good connection */
    char *told;        /* the reason that was logged last, since the last connection */
};

/* ---- lists ---- */

static bool tokens_push(struct tokens *tokens, uint64_t token)
{
    if (tokens->count == tokens->capacity) {
        size_t capacity = tokens->capacity == 0 ? 256 : 2 * tokens->capacity;
        uint64_t *at = malloc(capacity * sizeof(*at));

        if (at == NULL)
            return false;
        for (size_t i = 0; i < tokens->count; i++)
            at[i] = tokens->at[(tokens->first + i) & (tokens->capacity - 1)];
        free(tokens->at);
        *tokens = (struct tokens){.at = at, .count = tokens->count, .capacity = capacity};
    }
    tokens->at[(tokens->first + tokens->count++) & (tokens->capacity - 1)] = token;
    return true;
}

static bool tokens_take(struct tokens *tokens, uint64_t *ret_token)
{
    if (tokens->count == 0)
        return false;
    *ret_token = tokens->at[tokens->first];
    tokens->first = (tokens->first + 1) & (tokens->capacity - 1);
    tokens->count--;
    return true;
}

static void tokens_dispose(struct tokens *tokens)
{
    free(tokens->at);
    *tokens = (struct tokens){0};
}

/* ---- in ---- */

static bool is_due(struct complaint *complaint)
{
    uint64_t now = hub__courier_now_ms();

    if (now < complaint->next_ms) {
        complaint->unsaid++;
        return false;
    }
    complaint->next_ms = now + COMPLAINT_MS;
    return true;
}

static void complain(struct complaint *complaint, const hub__redis_link_t *link,
                     const char *command, const redisReply *reply)
{
    char address[HUB_LOG_FIELD], field[HUB_LOG_FIELD], text[HUB__REDIS_QUOTE];

    if (!is_due(complaint))
        return;
    hub_log_escape(hub_str(link->options->address), address);
    hub_log_escape(hub_str(hub__redis_link_quote(link, reply, text)), field);
    hub_log_peer(HUB_LOG_WARN, "bus.refused",
                 "backend=redis address=%s command=%s error=%s unsaid=%llu", address, command,
                 field, (unsigned long long)complaint->unsaid);
    complaint->unsaid = 0;
}

static hub_str_t str_of(const redisReply *reply)
{
    return hub_str_n(reply->str, (size_t)reply->len);
}

/* An error that no publish in particular has met. */
static bool is_about_the_connection(const struct redis *redis, const redisReply *reply)
{
    return redis->answering.count == 0 || hub__redis_is_error(reply, "NOAUTH") ||
           hub__redis_is_error(reply, "LOADING") || hub__redis_is_error(reply, "MASTERDOWN");
}

static bool on_published(void *user, const redisReply *reply, hub_error_t *error)
{
    struct redis *redis = user;
    uint64_t token;

    if (reply->type == REDIS_REPLY_ERROR && is_about_the_connection(redis, reply))
        return hub__redis_link_fail_quoting(&redis->publisher, error, reply);
    if ((reply->type != REDIS_REPLY_INTEGER && reply->type != REDIS_REPLY_ERROR) ||
        !tokens_take(&redis->answering, &token))
        return hub__redis_link_fail(&redis->publisher, error, "an answer to no PUBLISH");
    if (reply->type == REDIS_REPLY_ERROR)
        complain(&redis->rejections, &redis->publisher, "PUBLISH", reply);
    hub_bus_remote_published(redis->bus, token,
                             reply->type == REDIS_REPLY_ERROR ? HUB_EREJECTED : HUB_OK);
    return true;
}

static bool is_confirmed(const hub__order_t *order, const redisReply *reply)
{
    hub_str_t kind =
        order->kind == HUB__ORDER_SUBSCRIBE ? HUB_STR("subscribe") : HUB_STR("unsubscribe");

    return hub_str_equals(str_of(reply->element[0]), kind) &&
           hub_str_equals(str_of(reply->element[1]), order->topic);
}

static size_t order_bytes(const hub__order_t *order)
{
    return sizeof(*order) + order->topic.len + order->bytes.len;
}

/* The broker has answered it. */
static void end_subscription(struct redis *redis, const hub__order_t *order)
{
    redis->unanswered_bytes -= order_bytes(order);
    hub__redis_refused_forget(&redis->refused, order->topic);
}

static bool on_confirmed(struct redis *redis, const redisReply *reply, hub_error_t *error)
{
    hub__order_t *order = redis->confirming.first;

    if (order == NULL || !is_confirmed(order, reply))
        return hub__redis_link_fail(&redis->subscriber, error, "an answer to no SUBSCRIBE");
    hub__orders_take(&redis->confirming);
    if (order->kind == HUB__ORDER_SUBSCRIBE)
        hub_bus_remote_subscribed(redis->bus, order->topic, order->token);
    else
        end_subscription(redis, order);
    free(order);
    return true;
}

/* The channel is refused to this user, which an operator can change at any time. */
static bool on_refused(struct redis *redis, const redisReply *reply, hub_error_t *error)
{
    hub__order_t *order = redis->confirming.first;

    if (order == NULL || !hub__redis_is_error(reply, "NOPERM"))
        return hub__redis_link_fail_quoting(&redis->subscriber, error, reply);
    hub__orders_take(&redis->confirming);
    if (order->kind != HUB__ORDER_SUBSCRIBE) {
        end_subscription(redis, order);
        free(order);
        return true;
    }
    complain(&redis->refusals, &redis->subscriber, "SUBSCRIBE", reply);
    if (!order->again)
        hub_bus_remote_refused(redis->bus, order->topic, order->token, HUB_EREJECTED);
    order->again = true;
    if (hub__redis_refused_is_empty(&redis->refused))
        redis->ask_again_ms = hub__courier_now_ms() + hub__redis_ask_again_ms;
    if (hub__redis_refused_add(&redis->refused, order))
        return true;
    free(order);
    return hub__redis_link_fail(&redis->subscriber, error, "no memory");
}

static bool is_push(const redisReply *reply, int third)
{
    return reply->type == REDIS_REPLY_ARRAY && reply->elements == 3 &&
           reply->element[0]->type == REDIS_REPLY_STRING &&
           reply->element[1]->type == REDIS_REPLY_STRING && reply->element[2]->type == third;
}

static bool on_push(void *user, const redisReply *reply, hub_error_t *error)
{
    struct redis *redis = user;

    if (reply->type == REDIS_REPLY_ERROR)
        return on_refused(redis, reply, error);
    if (is_push(reply, REDIS_REPLY_INTEGER))
        return on_confirmed(redis, reply, error);
    if (!is_push(reply, REDIS_REPLY_STRING) ||
        !hub_str_equals(str_of(reply->element[0]), HUB_STR("message")))
        return hub__redis_link_fail(&redis->subscriber, error, "an answer that is none");
    if (!redis->up)
        return hub__redis_link_fail(&redis->subscriber, error, "a message to no SUBSCRIBE");
    hub_bus_remote_message(redis->bus, str_of(reply->element[1]), str_of(reply->element[2]));
    return true;
}

/* ---- out ---- */

static bool send_publish(struct redis *redis, const hub__order_t *order, hub_error_t *error)
{
    hub_str_t argv[] = {HUB_STR("PUBLISH"), order->topic, order->bytes};

    if (!hub__redis_link_command(&redis->publisher, 3, argv, error))
        return false;
    return tokens_push(&redis->answering, order->token) ||
           hub__redis_link_fail(&redis->publisher, error, "no memory");
}

static bool send_subscribe(struct redis *redis, const hub__order_t *order, hub_error_t *error)
{
    hub_str_t argv[] = {
        order->kind == HUB__ORDER_SUBSCRIBE ? HUB_STR("SUBSCRIBE") : HUB_STR("UNSUBSCRIBE"),
        order->topic,
    };

    return hub__redis_link_command(&redis->subscriber, 2, argv, error);
}

/* Takes the order. */
static bool send_order(struct redis *redis, hub__order_t *order, hub_error_t *error)
{
    bool sent;

    if (order->kind != HUB__ORDER_PUBLISH) {
        hub__orders_append(&redis->confirming, order);
        return send_subscribe(redis, order, error);
    }
    sent = send_publish(redis, order, error);
    free(order);
    return sent;
}

static bool has_room(const struct redis *redis)
{
    return redis->waiting.first != NULL &&
           hub__redis_link_unsent(&redis->subscriber) < UNSENT_BYTES_MAX &&
           hub__redis_link_unsent(&redis->publisher) < UNSENT_BYTES_MAX;
}

/* A write for each link and turn. */
static bool send_waiting(struct redis *redis, hub_error_t *error)
{
    while (has_room(redis)) {
        if (!send_order(redis, hub__orders_take(&redis->waiting), error))
            return false;
    }
    return hub__redis_link_flush(&redis->subscriber, error) &&
           hub__redis_link_flush(&redis->publisher, error);
}

/* Only while no UNSUBSCRIBE is on its way, which one of these would overtake. */
static bool may_ask_again(const struct redis *redis)
{
    return !hub__redis_refused_is_empty(&redis->refused) && redis->waiting.first == NULL &&
           redis->confirming.first == NULL;
}

static void ask_again(struct redis *redis)
{
    uint64_t now_ms = hub__courier_now_ms();

    if (!may_ask_again(redis) || now_ms < redis->ask_again_ms)
        return;
    redis->ask_again_ms = now_ms + hub__redis_ask_again_ms;
    for (int i = 0; i < ASK_AGAIN_MAX && !hub__redis_refused_is_empty(&redis->refused); i++)
        hub__orders_append(&redis->waiting, hub__redis_refused_take(&redis->refused));
}

/* ---- a connection ---- */

/* Whether another connection is asked for. */
static bool take_due(struct redis *redis)
{
    hub__courier_due_t due = hub__courier_take(&redis->courier);
    hub__order_t *order;

    while ((order = due.orders) != NULL) {
        due.orders = order->next;
        if (order->kind == HUB__ORDER_UNSUBSCRIBE)
            redis->unanswered_bytes += order_bytes(order);
        hub__orders_append(&redis->waiting, order);
    }
    redis->stopping |= due.stop;
    return due.reconnect;
}

static bool turn(struct redis *redis, int timeout_ms, hub_error_t *error)
{
    struct pollfd polled[] = {
        {.fd = redis->courier.wake_fd, .events = POLLIN},
        {.fd = hub__redis_link_fd(&redis->subscriber),
         .events = hub__redis_link_events(&redis->subscriber)},
        {.fd = hub__redis_link_fd(&redis->publisher),
         .events = hub__redis_link_events(&redis->publisher)},
    };

    poll(polled, 3, timeout_ms);
    redis->unwanted = take_due(redis) && redis->up;
    if (redis->unwanted)
        return hub__redis_link_fail(&redis->subscriber, error, "deaf, so there is a new one");
    if (redis->unanswered_bytes > hub__redis_unanswered_bytes_max)
        return hub__redis_link_fail(&redis->subscriber, error, "too much is not answered");
    return hub__redis_link_move(&redis->subscriber, polled[1].revents, error) &&
           hub__redis_link_move(&redis->publisher, polled[2].revents, error) &&
           (!redis->up || send_waiting(redis, error));
}

/* False: it is not done, because of the time or the end. */
static bool await_lookup(struct redis *redis, uint64_t deadline_ms)
{
    uint64_t now;

    while (!hub__lookup_is_done(redis->lookup) && !redis->stopping &&
           (now = hub__courier_now_ms()) < deadline_ms) {
        hub__courier_wait(&redis->courier, hub__lookup_fd(redis->lookup), POLLIN,
                          (int)(deadline_ms - now));
        take_due(redis);
    }
    return hub__lookup_is_done(redis->lookup);
}

/* Both links go to one address; behind a failure to the next one that the host has. */
static bool find_address(struct redis *redis, uint64_t deadline_ms, hub_error_t *error)
{
    char addresses[HUB__LOOKUP_BYTES];
    const char *found;
    hub_error_t why;

    if (redis->options.host == NULL)
        return true;
    if (redis->lookup == NULL)
        redis->lookup = hub__lookup_start(redis->options.host);
    if (redis->lookup == NULL)
        return hub__redis_link_fail(&redis->subscriber, error, strerror(errno));
    if (!await_lookup(redis, deadline_ms)) /* it goes on for the next attempt */
        return hub__redis_link_fail(&redis->subscriber, error, "the name server does not answer");
    found = hub__lookup_addresses(redis->lookup, redis->failures, addresses, &why);
    if (found == NULL)
        hub__redis_link_fail(&redis->subscriber, error, why.text);
    free(redis->address);
    redis->address = found == NULL ? NULL : hub__str_copy(hub_str_n(found, strcspn(found, ",")));
    hub__lookup_release(redis->lookup);
    redis->lookup = NULL;
    return redis->address != NULL;
}

static bool connect_pair(struct redis *redis, hub_error_t *error)
{
    uint64_t deadline_ms = hub__courier_now_ms() + redis->options.connect_timeout_ms;

    if (!find_address(redis, deadline_ms, error) ||
        !hub__redis_link_open(&redis->subscriber, redis->address, error) ||
        !hub__redis_link_open(&redis->publisher, redis->address, error))
        return false;
    while (!redis->stopping && !(redis->subscriber.ready && redis->publisher.ready)) {
        const hub__redis_link_t *late =
            redis->subscriber.ready ? &redis->publisher : &redis->subscriber;
        uint64_t now = hub__courier_now_ms();

        if (now >= deadline_ms)
            return hub__redis_link_fail(late, error,
                                        late->connected ? "connected, but there is no answer"
                                                        : "no connection in time");
        if (!turn(redis, (int)(deadline_ms - now), error))
            return false;
    }
    return true;
}

static int next_turn_ms(const struct redis *redis)
{
    uint64_t now = hub__courier_now_ms();

    if (has_room(redis))
        return 0;
    if (!may_ask_again(redis)) /* an answer will come, and is a turn */
        return -1;
    return redis->ask_again_ms > now ? (int)(redis->ask_again_ms - now) : 0;
}

/* What was published before the end still goes out, if the broker takes it soon. */
static void say_farewell(struct redis *redis)
{
    uint64_t deadline_ms = hub__courier_now_ms() + hub__redis_farewell_ms, now;
    hub_error_t error;

    while ((redis->waiting.first != NULL || redis->answering.count > 0) &&
           (now = hub__courier_now_ms()) < deadline_ms) {
        if (!turn(redis, has_room(redis) ? 0 : (int)(deadline_ms - now), &error))
            return;
    }
}

static void forget_told(struct redis *redis)
{
    free(redis->told);
    redis->told = NULL;
}

/* Until the connection ends, which `error` says the reason of, or all of it is to stop. */
static void serve(struct redis *redis, hub_error_t *error)
{
    redis->unwanted = false;
    if (!connect_pair(redis, error) || redis->stopping)
        return;
    redis->up = true;
    redis->up_ms = hub__courier_now_ms();
    forget_told(redis);
    hub__courier_set_open(&redis->courier, true);
    hub_bus_remote_up(redis->bus);
    while (!redis->stopping) {
        ask_again(redis);
        if (!turn(redis, next_turn_ms(redis), error))
            return;
    }
    say_farewell(redis);
}

static void end_connection(struct redis *redis)
{
    bool was_up = redis->up;

    redis->up = false;
    hub__courier_set_open(&redis->courier, false);
    if (was_up && !redis->stopping)
        hub_bus_remote_down(redis->bus);
    hub__redis_link_close(&redis->subscriber);
    hub__redis_link_close(&redis->publisher);
    hub__orders_clear(&redis->waiting);
    hub__orders_clear(&redis->confirming);
    hub__redis_refused_clear(&redis->refused);
    redis->unanswered_bytes = 0;
    tokens_dispose(&redis->answering);
}

/* ---- again and again ---- */

/* What the URL says, and what the name server made of it. */
static void print_address(const struct redis *redis, hub__buffer_t *text)
{
    char field[HUB_LOG_FIELD];

    hub__buffer_printf(text, "address=%s", hub_log_escape(hub_str(redis->options.address), field));
    if (redis->address != NULL && strcmp(redis->address, redis->options.host) != 0)
        hub__buffer_printf(text, " at=%s", redis->address);
}

/* Which of the two connections met it makes no other reason. */
static bool is_told(const struct redis *redis, const char *what)
{
    return redis->told != NULL && strcmp(strchr(redis->told, ':'), strchr(what, ':')) == 0;
}

/* A reason that stays is one line. Not of those that peers may cause, whose number is limited: they
 * would hide it. */
static void tell_failure(struct redis *redis, bool was_up, const char *what)
{
    char reason[HUB_LOG_FIELD];
    hub__buffer_t address = {0};

    if (is_told(redis, what))
        return;
    forget_told(redis);
    redis->told = hub__str_copy(hub_str(what));
    print_address(redis, &address);
    hub_log_escape(hub_str(what), reason);
    if (was_up)
        hub_log(HUB_LOG_WARN, "bus.broken", "backend=redis %s what=%s", address.base, reason);
    else
        hub_log(HUB_LOG_WARN, "bus.failed", "backend=redis %s what=%s attempt=%u", address.base,
                reason, redis->failures);
    hub__buffer_dispose(&address);
}

static void *run(void *arg)
{
    struct redis *redis = arg;

    while (!redis->stopping) {
        hub_error_t error;
        bool was_up;

        serve(redis, &error);
        was_up = redis->up;
        end_connection(redis);
        if (redis->stopping)
            break;
        if (redis->unwanted || (was_up && hub__courier_now_ms() - redis->up_ms >= STABLE_MS))
            redis->failures = 0;
        redis->failures++;
        tell_failure(redis, was_up, error.text);
        redis->stopping |=
            hub__courier_rest(&redis->courier, hub__courier_pause_ms(redis->failures - 1));
    }
    return NULL;
}

/* ---- the backend ---- */

static void destroy(struct redis *redis)
{
    hub__redis_options_dispose(&redis->options);
    hub__lookup_release(redis->lookup);
    free(redis->address);
    forget_told(redis);
    free(redis);
}

static void init_link(struct redis *redis, hub__redis_link_t *link, const char *use,
                      bool (*on_reply)(void *, const redisReply *, hub_error_t *))
{
    *link = (hub__redis_link_t){
        .use = use, .on_reply = on_reply, .user = redis, .options = &redis->options};
}

static hub_status_t open_redis(hub_bus_t *bus, const hub_bus_target_t *target, void **ret_self,
                               hub_error_t *error)
{
    struct redis *redis = hub__alloc_zeroed(sizeof(*redis));
    hub_status_t err = hub__redis_options_read(target, &redis->options, error);

    if (err == HUB_OK) {
        redis->bus = bus;
        hub__orders_init(&redis->waiting);
        hub__orders_init(&redis->confirming);
        hub__redis_refused_init(&redis->refused);
        init_link(redis, &redis->subscriber, "subscriber", on_push);
        init_link(redis, &redis->publisher, "publisher", on_published);
        *ret_self = redis; /* the thread may be faster than this one */
        err = hub__courier_start(&redis->courier, run, redis, error);
    }
    if (err != HUB_OK)
        destroy(redis);
    return err;
}

/* What can't be asked for would be a deaf topic. */
static void order(struct redis *redis, hub__order_kind_t kind, hub_str_t topic, uint64_t token)
{
    if (hub__courier_put(&redis->courier, kind, topic, HUB_STR(""), token) == HUB_ENOMEM)
        hub__courier_ask_reconnect(&redis->courier);
}

static void subscribe(void *self, hub_str_t topic, uint64_t token)
{
    order(self, HUB__ORDER_SUBSCRIBE, topic, token);
}

static void unsubscribe(void *self, hub_str_t topic)
{
    order(self, HUB__ORDER_UNSUBSCRIBE, topic, 0);
}

static hub_status_t publish(void *self, hub_str_t topic, hub_str_t bytes, uint64_t token)
{
    struct redis *redis = self;

    return hub__courier_put(&redis->courier, HUB__ORDER_PUBLISH, topic, bytes, token);
}

static void reconnect_redis(void *self)
{
    struct redis *redis = self;

    hub__courier_ask_reconnect(&redis->courier);
}

static void close_redis(void *self)
{
    struct redis *redis = self;

    hub__courier_stop(&redis->courier);
    destroy(redis);
}

static size_t largest_message(void *self)
{
    const struct redis *redis = self;

    return redis->options.max_message_bytes;
}

const hub_bus_backend_t hub__redis_backend = {
    .api = HUB_BUS_BACKEND_API,
    .name = "redis",
    .open = open_redis,
    .subscribe = subscribe,
    .unsubscribe = unsubscribe,
    .publish = publish,
    .reconnect = reconnect_redis,
    .close = close_redis,
    .largest_message = largest_message,
    .one_order = true,
};
