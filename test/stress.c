/* SPDX-License-Identifier: MIT */
/* Four workers, a crowd of clients that come, speak and die at random, threads of the program that
 * publish and answer, and a ledger that knows what everybody must have got. What a promise of the
 * library forbids ends the process; so does a callback too many or too few, and anything left over.
 *
 *     stress [--seed N] [--seconds N] [--part crowd|slow|mailbox|notes|filter]
 *
 * STRESS_SEED and STRESS_SECONDS in the environment say the same to ctest's run of it. Threads take
 * turns as they please, so a seed repeats the steps, not the run. */
#define _GNU_SOURCE 1
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#include "hub/hub.h"
#include "test/crowd.h"
#include "test/ledger.h"

#define WORKERS 4
#define OUTSIDERS 2
#define CLIENTS 160
#define IDENTITIES 40
#define ROUND_MS 1000
#define WAIT_MS 30000

/* One way to run it; each has a server of its own. */
typedef struct part {
    const char *name;
    unsigned share; /* of the time */
    uint32_t clients, slow_clients;
    size_t mailbox;
    bool notes;    /* with hooks that follow each frame; no joins that may drop what waits */
    bool chatters; /* filters that publish themselves */
} part_t;

static const part_t parts[] = {
    {.name = "crowd", .share = 3, .clients = CLIENTS},
    {.name = "slow", .share = 3, .clients = CLIENTS / 2, .slow_clients = 12},
    {.name = "mailbox", .share = 2, .clients = CLIENTS / 2, .mailbox = 4},
    {.name = "notes",
     .share = 2,
     .clients = CLIENTS / 2,
     .slow_clients = 8,
     .notes = true,
     .chatters = true},
    {.name = "filter", .share = 2, .clients = CLIENTS / 4, .chatters = true},
};
#define PARTS (sizeof(parts) / sizeof(parts[0]))

static const crowd_topic_t topics[] = {
    {.name = "room:0"},
    {.name = "room:1"},
    {.name = "room:2"},
    {.name = "room:3"},
    {.name = "room:4"},
    {.name = "seen:0"},
    {.name = "seen:1"},
    {.name = "shut:0", .door = CROWD_CLOSED},
    {.name = "flood:0", .flooded = true},
    {.name = "late:0", .door = CROWD_LATER},
    {.name = "late:1", .door = CROWD_LATER},
};
#define LATE_TOPICS 2u
#define TOPICS (sizeof(topics) / sizeof(topics[0]))

/* Something for a thread of the program to do. */
typedef struct errand {
    struct errand *next;
    enum { PUBLISH, ANSWER_JOIN, ANSWER } what;
    hub_token_t token;
    bool refuse;
    uint32_t topic, count;
    size_t bytes;
} errand_t;

static struct {
    const part_t *part;
    ledger_t *ledger;
    hub_t *hub;
    hub_bus_t *bus;
    hub_server_t *server;
    atomic_bool stopping;

    pthread_t outsiders[OUTSIDERS];
    pthread_mutex_t lock;
    pthread_cond_t changed;
    errand_t *first, **last; /* under the lock */
    bool over;               /* under the lock */
    atomic_uint undone;      /* errands and completions that are to come */

    atomic_uint visitors, seats; /* that exist */
    atomic_ullong notes_sent, notes_failed;
    uint64_t slow_before;
} the;

static void *must(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

static void must_be(bool holds, const char *format, ...) HUB_PRINTF(2, 3);

static void must_be(bool holds, const char *format, ...)
{
    char text[300];
    va_list args;

    if (holds)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    ledger_fail(the.ledger, "part %s: %s", the.part->name, text);
}

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- errands of the program's threads ---- */

static void add_errand(const errand_t *given)
{
    errand_t *errand = must(malloc(sizeof(*errand)));

    *errand = *given;
    errand->next = NULL;
    atomic_fetch_add(&the.undone, 1);
    pthread_mutex_lock(&the.lock);
    *the.last = errand;
    the.last = &errand->next;
    pthread_cond_signal(&the.changed);
    pthread_mutex_unlock(&the.lock);
}

/* NULL: it is over. */
static errand_t *next_errand(void)
{
    errand_t *errand;

    pthread_mutex_lock(&the.lock);
    while (the.first == NULL && !the.over)
        pthread_cond_wait(&the.changed, &the.lock);
    errand = the.first;
    if (errand != NULL && (the.first = errand->next) == NULL)
        the.last = &the.first;
    pthread_mutex_unlock(&the.lock);
    return errand;
}

static void on_published(const hub_publish_result_t *result, void *user)
{
    const hub_publish_counts_t *counts = &result->counts;

    (void)user;
    must_be(result->status == HUB_OK && result->level == HUB_LEVEL_LOCAL,
            "a publish completed with %s", hub_status_name(result->status));
    must_be(counts->members == counts->queued + counts->dropped + counts->skipped,
            "a publish to %" PRIu64 " members was queued for %" PRIu64 ", dropped for %" PRIu64
            ", skipped for %" PRIu64,
            counts->members, counts->queued, counts->dropped, counts->skipped);
    atomic_fetch_sub(&the.undone, 1);
}

static void publish(uint32_t publisher, const errand_t *errand, char *text)
{
    hub_str_t topic = hub_str(topics[errand->topic].name);

    for (uint32_t i = 0; i != errand->count; i++) {
        uint32_t number = ledger_intend(the.ledger, publisher, errand->topic, LEDGER_PUBLISH);
        size_t len = crowd_payload(text, publisher, errand->topic, number, errand->bytes);
        hub_payload_t payload = hub_json(hub_str_n(text, len));
        hub_status_t err;

        ledger_accept(the.ledger, publisher, errand->topic, number);
        if (i % 4 == 0) {
            atomic_fetch_add(&the.undone, 1);
            err = hub_publish_counted(the.hub, topic, HUB_STR("news"), payload, on_published, NULL);
        } else if (i % 4 == 1) {
            err = hub_emit(the.hub, topic, HUB_STR("news"), payload);
        } else {
            err = hub_publish(the.hub, topic, HUB_STR("news"), payload);
        }
        must_be(err == HUB_OK, "a publish failed with %s", hub_status_name(err));
    }
}

static hub_status_t answer(const errand_t *errand)
{
    if (errand->what == ANSWER)
        return hub_reply(the.hub, &errand->token, HUB_JSON("{}"));
    return errand->refuse ? hub_join_reject(the.hub, &errand->token, HUB_JSON("{}"))
                          : hub_join_accept(the.hub, &errand->token, HUB_JSON("{}"));
}

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static void *outsider_main(void *arg)
{
    uint32_t publisher = ledger_publisher(the.ledger);
    char *text = must(malloc(8192));
    errand_t *errand;

    (void)arg;
    while ((errand = next_errand()) != NULL) {
        hub_status_t err = HUB_OK;

        if (errand->what == PUBLISH)
            publish(publisher, errand, text);
        else /* a full mailbox takes it later */
            while ((err = answer(errand)) == HUB_ELIMIT && the.part->mailbox != 0)
                nap();
        must_be(err == HUB_OK, "an answer failed with %s", hub_status_name(err));
        free(errand);
        atomic_fetch_sub(&the.undone, 1);
    }
    free(text);
    return NULL;
}

/* ---- one connection, as the server's callbacks see it: on its loop alone ---- */

typedef struct visitor {
    unsigned opened, disconnecting, disconnected;
    unsigned members;
} visitor_t;

static void visitor_free(void *user)
{
    const visitor_t *visitor = user;
    unsigned opened = visitor->opened;

    must_be(opened <= 1 && visitor->disconnecting == opened && visitor->disconnected == opened,
            "a connection was opened %u times, disconnecting %u, disconnected %u", opened,
            visitor->disconnecting, visitor->disconnected);
    must_be(visitor->members == 0, "a connection went with %u members", visitor->members);
    free(user);
    atomic_fetch_sub(&the.visitors, 1);
}

static hub_status_t admit(hub_request_t *request, hub_str_t identity)
{
    hub_grant_t grant = {
        .identity = identity, .user = must(calloc(1, sizeof(visitor_t))), .on_free = visitor_free};

    atomic_fetch_add(&the.visitors, 1);
    hub_request_grant(request, &grant);
    return HUB_OK;
}

static hub_status_t on_authorize(hub_request_t *request, void *user)
{
    hub_str_t client = hub_request_query(request, "client");
    char text[16], identity[16];
    int len;

    (void)user;
    snprintf(text, sizeof(text), "%.*s", HUB_STR_ARG(client));
    len = snprintf(identity, sizeof(identity), "u%lu", strtoul(text, NULL, 10) % IDENTITIES);
    return admit(request, hub_str_n(identity, (size_t)len));
}

/* One member, likewise. */
typedef struct seat {
    visitor_t *visitor;
    unsigned joined, exited, left;
} seat_t;

static void seat_free(void *user)
{
    const seat_t *seat = user;

    must_be(seat->joined <= 1 && seat->exited == seat->joined && seat->left == seat->joined,
            "a member joined %u times, had %u exits and %u leave hooks", seat->joined, seat->exited,
            seat->left);
    free(user);
    atomic_fetch_sub(&the.seats, 1);
}

static hub_status_t on_hook(const hub_hook_event_t *event, void *user)
{
    visitor_t *visitor = hub_conn_user(event->conn);
    seat_t *seat = event->member != NULL ? hub_member_user(event->member) : NULL;

    (void)user;
    switch (event->hook) {
    case HUB_HOOK_OPEN:
        visitor->opened++;
        break;
    case HUB_HOOK_JOIN:
        seat->joined++;
        visitor->members++;
        break;
    case HUB_HOOK_LEAVE:
        must_be(seat->exited == 1, "a leave hook before on_exit");
        seat->left++;
        break;
    case HUB_HOOK_DISCONNECTING:
        visitor->disconnecting++;
        break;
    case HUB_HOOK_DISCONNECT:
        must_be(visitor->members == 0, "disconnected before %u exits", visitor->members);
        visitor->disconnected++;
        break;
    default:
        must_be(false, "hook %d: %s", event->hook, hub_status_name(event->status));
    }
    return HUB_OK;
}

static hub_status_t on_note(const hub_hook_event_t *event, void *user)
{
    (void)user;
    atomic_fetch_add(event->hook == HUB_HOOK_MESSAGE_SENT ? &the.notes_sent : &the.notes_failed, 1);
    return HUB_OK;
}

/* ---- channels ---- */

/* The connection may be closing for its outbox; its messages are as good as any until it has. */
static void must_do(hub_status_t err, hub_str_t event)
{
    must_be(err == HUB_OK || err == HUB_ESLOW || err == HUB_ECLOSED, "%.*s failed with %s",
            HUB_STR_ARG(event), hub_status_name(err));
}

static uint32_t topic_of(hub_str_t name)
{
    uint32_t topic = 0;

    while (topic != TOPICS && !hub_str_equals(name, hub_str(topics[topic].name)))
        topic++;
    must_be(topic != TOPICS, "topic %.*s", HUB_STR_ARG(name));
    return topic;
}

/* What a callback says of its own accord: the publisher is the worker's thread. */
static void chatter(hub_member_t *me, bool as_member)
{
    static _Thread_local bool is_publisher;
    static _Thread_local uint32_t publisher;
    uint32_t topic = topic_of(hub_member_topic(me)), number;
    char text[CROWD_PAYLOAD];
    hub_payload_t payload;
    hub_status_t err;

    if (!is_publisher)
        publisher = ledger_publisher(the.ledger);
    is_publisher = true;
    number = ledger_intend(the.ledger, publisher, topic, LEDGER_PUBLISH);
    payload = hub_json(hub_str_n(text, crowd_payload(text, publisher, topic, number, 0)));
    ledger_accept(the.ledger, publisher, topic, number);
    err = as_member ? hub_member_broadcast(me, HUB_STR("chatter"), payload)
                    : hub_publish(the.hub, hub_member_topic(me), HUB_STR("chatter"), payload);
    must_be(err == HUB_OK || atomic_load(&the.stopping), "a callback's publish failed with %s",
            hub_status_name(err));
}

static void sit(hub_member_t *me)
{
    seat_t *seat = must(calloc(1, sizeof(*seat)));

    seat->visitor = hub_conn_user(hub_member_conn(me));
    atomic_fetch_add(&the.seats, 1);
    hub_member_set_user(me, seat, seat_free);
}

/* What is said before the join reply must come behind it. */
static void greet(hub_member_t *me)
{
    static atomic_uint count;

    if (atomic_fetch_add(&count, 1) % 3 != 0)
        return;
    chatter(me, true);
    must_do(hub_member_push(me, HUB_STR("greeting"), HUB_JSON("{}")), HUB_STR("greeting"));
    chatter(me, false);
}

/* Few keys for many members; some ask for the state, some change what they said at once. */
static void be_present(hub_member_t *me)
{
    static atomic_uint count;
    unsigned number = atomic_fetch_add(&count, 1);
    char key[16];
    hub_status_t err;

    snprintf(key, sizeof(key), "k%u", number % IDENTITIES);
    err = hub_presence_track(me, hub_str(key), HUB_JSON("{\"at\":1}"));
    if (err == HUB_OK && number % 3 == 0)
        err = hub_presence_update(me, hub_str(key), HUB_JSON("{\"at\":2}"));
    if (err == HUB_OK && number % 5 == 0)
        err = hub_presence_untrack(me, hub_str(key));
    if (err == HUB_OK && number % 2 == 0)
        err = hub_presence_push(me);
    must_be(err == HUB_OK || atomic_load(&the.stopping), "presence failed with %s",
            hub_status_name(err));
}

static hub_status_t on_join(hub_member_t *me, const hub_message_t *msg)
{
    (void)msg;
    sit(me);
    be_present(me);
    greet(me);
    return HUB_OK;
}

static hub_status_t on_join_late(hub_member_t *me, const hub_message_t *msg)
{
    static atomic_uint count;
    errand_t errand = {.what = ANSWER_JOIN, .refuse = atomic_fetch_add(&count, 1) % 5 == 0};
    hub_status_t pending = hub_member_defer(me, &errand.token);

    (void)msg;
    sit(me);
    be_present(me);
    greet(me);
    add_errand(&errand);
    return pending;
}

static hub_status_t on_join_shut(hub_member_t *me, const hub_message_t *msg)
{
    (void)msg;
    sit(me);
    return hub_member_reject(me, HUB_JSON("{\"reason\":\"shut\"}"));
}

static void on_exit_member(hub_member_t *me, hub_exit_t why)
{
    seat_t *seat = hub_member_user(me);

    must_be(seat->visitor->disconnected == 0, "an exit after the disconnect");
    must_be((why == HUB_EXIT_DISCONNECT || why == HUB_EXIT_SHUTDOWN) ==
                (seat->visitor->disconnecting == 1),
            "exit %d, disconnecting %u", why, seat->visitor->disconnecting);
    seat->exited++;
    seat->visitor->members--;
    chatter(me, true);
}

/* The number within what crowd_payload() wrote. */
static uint32_t read_number(hub_str_t payload, const char *key)
{
    char text[CROWD_PAYLOAD];
    const char *at;

    snprintf(text, sizeof(text), "%.*s", HUB_STR_ARG(payload));
    at = strstr(text, key);
    must_be(at != NULL, "payload %s", text);
    return (uint32_t)strtoul(at + strlen(key), NULL, 10);
}

static hub_status_t publish_as_said(hub_member_t *me, const hub_message_t *msg)
{
    if (hub_str_equals(msg->event, hub_str(crowd_events[LEDGER_SHOUT])))
        return hub_member_broadcast(me, msg->event, msg->payload);
    if (hub_str_equals(msg->event, hub_str(crowd_events[LEDGER_OTHERS])))
        return hub_member_broadcast_from(me, msg->event, msg->payload);
    if (hub_str_equals(msg->event, hub_str(crowd_events[LEDGER_PUBLISH])))
        return hub_publish(the.hub, msg->topic, msg->event, msg->payload);
    return hub_emit(the.hub, msg->topic, msg->event, msg->payload);
}

static hub_status_t on_say(hub_member_t *me, const hub_message_t *msg)
{
    uint32_t number = read_number(msg->payload.bytes, "number\":");

    ledger_accept(the.ledger, read_number(msg->payload.bytes, "by\":"), topic_of(msg->topic),
                  number);
    if (number % 2 == 0)
        must_do(hub_member_reply(me, msg, HUB_JSON("{}")), msg->event);
    must_be(publish_as_said(me, msg) == HUB_OK, "%.*s failed", HUB_STR_ARG(msg->event));
    if (number % 2 != 0)
        must_do(hub_member_reply(me, msg, HUB_JSON("{}")), msg->event);
    return HUB_OK;
}

static hub_status_t on_later(hub_member_t *me, const hub_message_t *msg)
{
    add_errand(&(errand_t){.what = ANSWER, .token = hub_member_token(me, msg)});
    return HUB_OK;
}

static hub_status_t on_quit(hub_member_t *me, const hub_message_t *msg)
{
    hub_member_stop(me, HUB_OK);
    must_do(hub_member_reply(me, msg, HUB_JSON("{}")), msg->event);
    return HUB_OK;
}

/* Every other message goes out as it is, the rest as a frame of the member's own. */
static hub_update_t on_update(hub_member_t *me, const hub_message_t *msg,
                              hub_payload_t *ret_payload)
{
    static _Thread_local char copy[8192];
    uint32_t number = read_number(msg->payload.bytes, "number\":");

    must_be(hub_member_user(me) != NULL, "a filter of a member that is gone");
    if (the.part->chatters && number % 8 == 0 && !hub_str_equals(msg->event, HUB_STR("chatter")))
        chatter(me, false);
    if (number % 2 == 0)
        return HUB_UPDATE_KEEP;
    memcpy(copy, msg->payload.bytes.base, msg->payload.bytes.len);
    *ret_payload = hub_json(hub_str_n(copy, msg->payload.bytes.len));
    return HUB_UPDATE_REPLACE;
}

static void add_channel(const char *pattern, hub_on_join_cb join, hub_on_update_cb update)
{
    static const hub_event_handler_t events[] = {{"later", on_later}, {"quit", on_quit}, {0}};
    /* "shout", "emit" and what joins and exits say go by; they keep their place all the same */
    static const char *const intercept[] = {"others", "publish", "news", "chatter", NULL};
    static const hub_presence_options_t presence = {.grace_ms = 30, .diff_ms = 5, .keys_max = 30};

    must_be(hub_channel_add(the.hub,
                            &(hub_channel_options_t){.pattern = pattern,
                                                     .on_join = join,
                                                     .on_exit = on_exit_member,
                                                     .events = events,
                                                     .on_receive = on_say,
                                                     .on_update = update,
                                                     .intercept = update == NULL ? NULL : intercept,
                                                     .presence = &presence}) == HUB_OK,
            "channel %s", pattern);
}

/* ---- one part ---- */

static void add_hooks(void)
{
    static const hub_hook_t hooks[] = {HUB_HOOK_OPEN,          HUB_HOOK_JOIN,       HUB_HOOK_LEAVE,
                                       HUB_HOOK_DISCONNECTING, HUB_HOOK_DISCONNECT, HUB_HOOK_ERROR};
    hub_status_t err = HUB_OK;

    for (size_t i = 0; i != sizeof(hooks) / sizeof(hooks[0]) && err == HUB_OK; i++)
        err = hub_hook_add(the.hub, hooks[i], on_hook, NULL);
    if (the.part->notes && err == HUB_OK)
        err = hub_hook_add(the.hub, HUB_HOOK_MESSAGE_SENT, on_note, NULL);
    if (the.part->notes && err == HUB_OK)
        err = hub_hook_add(the.hub, HUB_HOOK_MESSAGE_FAILED, on_note, NULL);
    must_be(err == HUB_OK, "hooks");
}

static void open_server(void)
{
    hub_server_options_t options = {.threads = WORKERS,
                                    .limits = {.mailbox_messages = the.part->mailbox}};
    hub_endpoint_options_t normal = {.on_authorize = on_authorize}, slow = normal;
    hub_status_t err = hub_bus_create(NULL, &the.bus, NULL);

    if (err == HUB_OK)
        err = hub_create(&(hub_options_t){.bus = the.bus}, &the.hub);
    must_be(err == HUB_OK, "hub");
    add_channel("room:{id}", on_join, NULL);
    add_channel("flood:{id}", on_join, NULL);
    add_channel("seen:{id}", on_join, on_update);
    add_channel("late:{id}", on_join_late, NULL);
    add_channel("shut:{id}", on_join_shut, NULL);
    add_hooks();
    normal.limits = (hub_limits_t){.messages_per_s = HUB_OFF,
                                   .bytes_per_s = HUB_OFF,
                                   .joins_per_s = HUB_OFF,
                                   .controls_per_s = HUB_OFF,
                                   .conns_per_identity = HUB_OFF};
    slow.limits = normal.limits;
    slow.path = "/slow";
    slow.limits.outbox_bytes = 65536;
    err = hub_server_create(&options, &the.server);
    if (err == HUB_OK)
        err = hub_server_mount(the.server, the.hub, &normal);
    if (err == HUB_OK)
        err = hub_server_mount(the.server, the.hub, &slow);
    if (err == HUB_OK)
        err = hub_server_listen(the.server, "127.0.0.1:0");
    if (err == HUB_OK)
        err = hub_server_start(the.server);
    must_be(err == HUB_OK, "server: %s", hub_status_name(err));
}

static void order(uint32_t topic, uint32_t count, size_t bytes, void *user)
{
    (void)user;
    add_errand(&(errand_t){.what = PUBLISH, .topic = topic, .count = count, .bytes = bytes});
}

static bool orders_done(void *user)
{
    (void)user;
    return atomic_load(&the.undone) == 0;
}

static void kick(const char *identity, void *user)
{
    hub_status_t err = hub_disconnect(the.hub, hub_str(identity));

    (void)user;
    must_be(err == HUB_OK, "hub_disconnect: %s", hub_status_name(err));
}

/* Whether a server without connections holds on to nothing, but for what its workers say to each
 * other for as long as they live: that they do. */
static bool is_empty(char *why, size_t size)
{
    hub_bus_stats_t bus;
    hub_stats_t stats;

    hub_server_stats(the.server, &stats);
    hub_bus_get_stats(the.bus, &bus);
    snprintf(why, size,
             "%" PRIu64 " connections, %" PRIu64 " members, %" PRIu64 " topics, %" PRIu64
             " presences, %" PRIu64 " bytes in outboxes, %" PRIu64 " topics and %" PRIu64
             " subscriptions on the bus, %u visitors, %u seats",
             stats.conns, stats.members, stats.topics, stats.presences, stats.outbox_bytes,
             bus.topics, bus.subscriptions, atomic_load(&the.visitors), atomic_load(&the.seats));
    /* heartbeats of presence, and what other nodes want of connections: two topics */
    return bus.topics <= 3 && bus.subscriptions <= 3 * WORKERS &&
           (stats.conns | stats.members | stats.topics | stats.presences | stats.outbox_bytes |
            atomic_load(&the.visitors) | atomic_load(&the.seats)) == 0;
}

static void await_empty(void)
{
    uint64_t until = now_ms() + WAIT_MS;
    char why[300];

    while (!is_empty(why, sizeof(why))) {
        must_be(now_ms() < until, "all clients are gone, but there are %s", why);
        nap();
    }
}

/* What must have happened, or the part has shown nothing. */
static void check_counts(const crowd_counts_t *counts, const hub_stats_t *stats)
{
    hub_bus_stats_t bus;

    hub_bus_get_stats(the.bus, &bus);
    must_be(stats->joins_total >= counts->joins, "%" PRIu64 " joins counted, %" PRIu64 " answered",
            stats->joins_total, counts->joins);
    must_be(counts->joins > 0 && counts->heard > 0 && counts->died > 0, "nothing happened");
    must_be(stats->handler_errors_total == 0 && stats->bad_envelopes_total == 0, "errors");
    must_be(the.part->slow_clients == 0 || counts->slow_closes > 0, "nobody was too slow");
    must_be(stats->closed_slow_total >= counts->slow_closes, "slow closes were not counted");
    must_be((the.part->mailbox != 0) == (bus.mailbox_dropped != 0), "%" PRIu64 " mailboxes full",
            bus.mailbox_dropped);
    must_be((counts->gap_notices == 0) == (stats->gaps_total == 0),
            "%" PRIu64 " gap notices came of %" PRIu64, counts->gap_notices, stats->gaps_total);
    must_be(!the.part->notes || atomic_load(&the.notes_sent) > counts->heard,
            "the hook was told of %llu frames", atomic_load(&the.notes_sent));
    must_be(!the.part->notes || atomic_load(&the.notes_failed) == stats->dropped_total,
            "%" PRIu64 " messages counted as dropped, the hook was told of %llu",
            stats->dropped_total, atomic_load(&the.notes_failed));
}

static bool is_one_too_slow(void *user)
{
    hub_stats_t stats;

    (void)user;
    hub_server_stats(the.server, &stats);
    return stats.closed_slow_total > the.slow_before;
}

/* Whatever chance did, somebody is too slow. */
static void stall(crowd_t *crowd)
{
    hub_stats_t stats;

    hub_server_stats(the.server, &stats);
    the.slow_before = stats.closed_slow_total;
    crowd_stall(crowd, is_one_too_slow);
}

static void close_server(void)
{
    hub_bus_stats_t bus;

    hub_server_wait(the.server);
    hub_bus_get_stats(the.bus, &bus);
    must_be(bus.topics == 0 && bus.subscriptions == 0, "the stop left topics on the bus");
    must_be(atomic_load(&the.visitors) == 0 && atomic_load(&the.seats) == 0,
            "the stop left %u connections and %u members", atomic_load(&the.visitors),
            atomic_load(&the.seats));
    pthread_mutex_lock(&the.lock);
    the.over = true;
    pthread_cond_broadcast(&the.changed);
    pthread_mutex_unlock(&the.lock);
    for (unsigned i = 0; i != OUTSIDERS; i++)
        pthread_join(the.outsiders[i], NULL);
    hub_server_destroy(the.server);
    hub_destroy(the.hub);
    hub_bus_destroy(the.bus);
    ledger_destroy(the.ledger);
}

static void begin(const part_t *part, uint64_t seed)
{
    the.part = part;
    the.ledger = ledger_create(seed, TOPICS);
    the.first = NULL;
    the.last = &the.first;
    the.over = false;
    atomic_store(&the.stopping, false);
    atomic_store(&the.notes_sent, 0);
    atomic_store(&the.notes_failed, 0);
    open_server();
    for (unsigned i = 0; i != OUTSIDERS; i++)
        must_be(pthread_create(&the.outsiders[i], NULL, outsider_main, NULL) == 0, "thread");
}

static void run_part(const part_t *part, uint64_t seed, unsigned ms)
{
    crowd_counts_t counts;
    hub_stats_t stats;
    crowd_t *crowd;
    uint64_t said;

    begin(part, seed);
    crowd = crowd_create(&(crowd_options_t){.address = hub_server_address(the.server, 0),
                                            .ledger = the.ledger,
                                            .seed = seed,
                                            .topics = topics,
                                            .topic_count = TOPICS - (part->notes ? LATE_TOPICS : 0),
                                            .clients = part->clients,
                                            .slow_clients = part->slow_clients,
                                            .identities = IDENTITIES,
                                            .gaps = part->mailbox != 0,
                                            .order = order,
                                            .orders_done = orders_done,
                                            .kick = kick});
    for (unsigned left = ms; left != 0; left -= left < ROUND_MS ? left : ROUND_MS) {
        crowd_run(crowd, left < ROUND_MS ? left : ROUND_MS);
        crowd_settle(crowd);
    }
    if (part->slow_clients != 0)
        stall(crowd);
    crowd_disperse(crowd);
    await_empty();
    /* once more, to be there when the server stops */
    crowd_run(crowd, 200);
    crowd_settle(crowd);
    counts = crowd_counts(crowd);
    hub_server_stats(the.server, &stats);
    check_counts(&counts, &stats);
    said = ledger_accepted(the.ledger);
    atomic_store(&the.stopping, true);
    hub_server_stop(the.server);
    crowd_await_shutdown(crowd);
    close_server();
    crowd_destroy(crowd);
    printf("%-8s %6" PRIu64 " connections, %6" PRIu64 " joins, %7" PRIu64 " published, %8" PRIu64
           " heard, %5" PRIu64 " kicked, %4" PRIu64 " slow, %5" PRIu64 " gaps\n",
           part->name, counts.connects, counts.joins, said, counts.heard, counts.kicked,
           counts.slow_closes, counts.gap_notices);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    const char *part = NULL;
    unsigned seconds = 6, shares = 0;
    uint64_t seed;

    if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
        return EXIT_FAILURE;
    if (getenv("STRESS_SEED") != NULL)
        seed = strtoull(getenv("STRESS_SEED"), NULL, 10);
    if (getenv("STRESS_SECONDS") != NULL)
        seconds = (unsigned)strtoul(getenv("STRESS_SECONDS"), NULL, 10);
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--seed") == 0)
            seed = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--seconds") == 0)
            seconds = (unsigned)strtoul(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--part") == 0)
            part = argv[i + 1];
    }
    printf("--seed %" PRIu64 "\n", seed);
    fflush(stdout);
    hub_log_set_level(HUB_LOG_ERROR);
    pthread_mutex_init(&the.lock, NULL);
    pthread_cond_init(&the.changed, NULL);
    for (size_t i = 0; i != PARTS; i++)
        if (part == NULL || strcmp(part, parts[i].name) == 0)
            shares += parts[i].share;
    for (size_t i = 0; i != PARTS; i++)
        if (part == NULL || strcmp(part, parts[i].name) == 0)
            run_part(&parts[i], seed, seconds * 1000 * parts[i].share / shares);
    return shares == 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
