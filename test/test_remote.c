/* SPDX-License-Identifier: MIT */
/* The remote part of the core: the suite over a broker within the process, and what the core makes
 * of a broker that is slow, loses, doubles, reorders, goes away, answers late or never, or talks
 * nonsense. Nothing happens here unless the test lets the broker run, and time stands still. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bus/internal.h"
#include "bus/log.h"
#include "bus/remote.h"
#include "bus/wire.h"
#include "test/bus_suite.h"
#include "test/executor.h"
#include "test/fake_backend.h"
#include "test/listener.h"

/* ---- the suite's way to open a bus ---- */

static void *start_broker(void)
{
    fake_broker_t *broker = fake_broker_create();

    fake_broker_start(broker);
    return broker;
}

static void stop_broker(void *world)
{
    fake_broker_destroy(world);
}

static hub_bus_t *open_on(fake_broker_t *broker, const hub_bus_options_t *options)
{
    hub_bus_options_t completed = *options;
    hub_bus_t *bus = NULL;

    if (completed.backend == NULL)
        completed.backend = &fake_backend;
    completed.backend_options = broker;
    assert_int_equal(hub_bus_create(&completed, &bus, NULL), HUB_OK);
    return bus;
}

static hub_bus_t *open_with_broker(void *world, const hub_bus_options_t *options)
{
    hub_bus_t *bus = open_on(world, options);

    fake_broker_settle(world);
    return bus;
}

/* ---- two nodes, a broker that stands still, and a clock that does too ---- */

struct fixture {
    fake_broker_t *broker;
    hub_bus_t *near;
    hub_bus_t *far;
    listener_t heard; /* on the near bus */
    test_executor_t loop;
    atomic_ullong now_ms;
    int completions;
    hub_publish_result_t result;
};

static uint64_t now_ms(void *user)
{
    return atomic_load(&((struct fixture *)user)->now_ms);
}

static int set_up_with(void **state, hub_bus_options_t options)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    options.probe_interval_ms = HUB_OFF;
    if (options.position_interval_ms == 0)
        options.position_interval_ms = HUB_OFF;
    fixture->broker = fake_broker_create();
    fixture->near = open_on(fixture->broker, &options);
    fixture->far = open_on(fixture->broker, &options);
    hub__remote_set_clock(fixture->far, now_ms, fixture);
    test_executor_init(&fixture->loop, 0);
    assert_int_equal(hub_bus_attach(fixture->near, &fixture->loop.base), HUB_OK);
    listener_start(&fixture->heard, fixture->near, "room:1", &fixture->loop.base);
    fake_broker_run(fixture->broker);
    *state = fixture;
    return 0;
}

static int set_up(void **state)
{
    return set_up_with(state, (hub_bus_options_t){0});
}

static int set_up_degraded(void **state)
{
    return set_up_with(state, (hub_bus_options_t){.degraded_local = true});
}

static int set_up_degraded_positions(void **state)
{
    return set_up_with(state,
                       (hub_bus_options_t){.degraded_local = true, .position_interval_ms = 1000});
}

/* Of publishes of "1" to "room:1", three. */
#define ONE_IN_FLIGHT (10 + HUB__WIRE_HEADER_BYTES + 4 + 1)

static int set_up_narrow(void **state)
{
    return set_up_with(state, (hub_bus_options_t){.in_flight_bytes = 3 * ONE_IN_FLIGHT + 1});
}

static int set_up_positions(void **state)
{
    return set_up_with(state, (hub_bus_options_t){.position_interval_ms = 1000});
}

#define BUFFER_BYTES 4096

static int set_up_buffered(void **state)
{
    return set_up_with(state, (hub_bus_options_t){.buffer_bytes = BUFFER_BYTES});
}

/* A backend with a way of its own for what is to have one order. */
static hub_bus_backend_t two_ways;
static unsigned by_the_other_way;
static hub_status_t other_way_status;

static hub_status_t publish_ordered(void *self, hub_str_t topic, hub_str_t bytes, uint64_t token)
{
    by_the_other_way++;
    return other_way_status == HUB_OK ? fake_backend.publish(self, topic, bytes, token)
                                      : other_way_status;
}

static int set_up_two_ways(void **state)
{
    two_ways = fake_backend;
    two_ways.publish_ordered = publish_ordered;
    by_the_other_way = 0;
    other_way_status = HUB_OK;
    return set_up_with(state,
                       (hub_bus_options_t){.backend = &two_ways, .position_interval_ms = 1000});
}

static int set_up_two_ways_degraded(void **state)
{
    two_ways = fake_backend;
    two_ways.publish_ordered = publish_ordered;
    return set_up_with(state, (hub_bus_options_t){.backend = &two_ways, .degraded_local = true});
}

/* A backend whose broker refuses the topic asked for last within the next publish, when that is
 * about to be numbered. */
static hub_bus_backend_t refusing;
static uint64_t asked_last;
static hub_bus_t *refused_on; /* NULL: not now */

static void note_and_subscribe(void *self, hub_str_t topic, uint64_t token)
{
    asked_last = token;
    fake_backend.subscribe(self, topic, token);
}

static size_t refuse_and_measure(void *self)
{
    hub_bus_t *bus = refused_on;

    refused_on = NULL;
    if (bus != NULL)
        hub_bus_remote_refused(bus, HUB_STR("hub:room:1"), asked_last, HUB_EREJECTED);
    return fake_backend.largest_message(self);
}

static int set_up_refusing(void **state)
{
    refusing = fake_backend;
    refusing.subscribe = note_and_subscribe;
    refusing.largest_message = refuse_and_measure;
    return set_up_with(state, (hub_bus_options_t){.backend = &refusing});
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    listener_stop(&fixture->heard);
    hub_bus_destroy(fixture->near);
    hub_bus_destroy(fixture->far);
    fake_broker_destroy(fixture->broker);
    test_executor_end(&fixture->loop);
    free(fixture);
    return 0;
}

static hub_bus_stats_t stats_of(hub_bus_t *bus)
{
    hub_bus_stats_t stats;

    hub_bus_get_stats(bus, &stats);
    return stats;
}

static void on_published(const hub_publish_result_t *result, void *user)
{
    struct fixture *fixture = user;

    fixture->completions++;
    fixture->result = *result;
}

static hub_status_t say_and_ask(struct fixture *fixture, const char *json)
{
    return try_say(fixture->far, "room:1", json,
                   &(hub_bus_publish_options_t){.on_published = on_published,
                                                .user = fixture,
                                                .executor = &fixture->loop.base});
}

static hub_status_t try_say_in_order(hub_bus_t *bus, const char *json,
                                     const hub_bus_publish_options_t *options)
{
    hub_message_options_t flags = {.flags = HUB_MESSAGE_BUS_ORDER};
    hub_message_t *msg = NULL;
    hub_status_t err;

    assert_int_equal(hub_message_create(HUB_STR("room:1"), HUB_STR("said"), hub_json(hub_str(json)),
                                        &flags, &msg, NULL),
                     HUB_OK);
    err = hub_bus_publish(bus, msg, options);
    hub_message_release(msg);
    return err;
}

static void say_in_order(hub_bus_t *bus, const char *json)
{
    assert_int_equal(try_say_in_order(bus, json, NULL), HUB_OK);
}

static void say_in_order_and_ask(struct fixture *fixture, const char *json)
{
    assert_int_equal(
        try_say_in_order(fixture->far, json,
                         &(hub_bus_publish_options_t){.on_published = on_published,
                                                      .user = fixture,
                                                      .executor = &fixture->loop.base}),
        HUB_OK);
}

/* Publishes "<first>" to "<last>" on the far bus. */
static void say_far(struct fixture *fixture, int first, int last)
{
    char text[16];

    for (int i = first; i <= last; i++) {
        snprintf(text, sizeof(text), "%d", i);
        say(fixture->far, "room:1", text);
    }
}

static void say_deep(hub_bus_t *bus, const char *json, size_t depth)
{
    hub_message_t *msg = NULL;

    assert_int_equal(hub_message_create(HUB_STR("room:1"), HUB_STR("said"), hub_json(hub_str(json)),
                                        &(hub_message_options_t){.max_depth = depth}, &msg, NULL),
                     HUB_OK);
    assert_int_equal(hub_bus_publish(bus, msg, NULL), HUB_OK);
    hub_message_release(msg);
}

static void run(struct fixture *fixture)
{
    fake_broker_run(fixture->broker);
    test_executor_turn(&fixture->loop);
}

static void assert_heard(struct fixture *fixture, const char *expected)
{
    run(fixture);
    assert_string_equal(listener_heard(&fixture->heard), expected);
}

static void set_faults(struct fixture *fixture, fake_faults_t faults)
{
    fake_broker_set(fixture->broker, faults);
}

static void assert_completed(struct fixture *fixture, hub_status_t status, hub_bus_level_t level)
{
    test_executor_turn(&fixture->loop);
    assert_int_equal(fixture->completions, 1);
    assert_int_equal(fixture->result.status, status);
    assert_int_equal(fixture->result.level, level);
}

/* A message of a node that no bus here is. */
static void inject(struct fixture *fixture, uint64_t node, uint64_t incarnation, uint64_t seq,
                   const char *json)
{
    hub_message_t *msg = message_make("room:1", json);
    size_t size = hub__wire_size(msg);
    char *bytes = malloc(size);

    hub__wire_write(bytes, msg, node);
    hub__wire_number(bytes, incarnation, seq);
    fake_broker_inject(fixture->broker, fixture->near, HUB_STR("hub:room:1"),
                       hub_str_n(bytes, size));
    free(bytes);
    hub_message_release(msg);
}

/* ---- a broker that loses, doubles, reorders, is slow ---- */

static void a_lost_message_is_a_gap_before_the_next(void **state)
{
    struct fixture *fixture = *state;

    say_far(fixture, 1, 1);
    run(fixture);
    set_faults(fixture, (fake_faults_t){.lose = 2});
    say_far(fixture, 2, 4);
    assert_heard(fixture, "1 gap(lost,2) 4");
    assert_int_equal(stats_of(fixture->near).remote_missing, 2);
    assert_int_equal(stats_of(fixture->near).remote_received, 2);
}

static void a_doubled_message_is_heard_once(void **state)
{
    struct fixture *fixture = *state;

    set_faults(fixture, (fake_faults_t){.twice = true});
    say_far(fixture, 1, 3);
    assert_heard(fixture, "1 2 3");
    assert_int_equal(stats_of(fixture->near).remote_duplicates, 3);
}

static void a_message_that_was_overtaken_is_a_gap_and_never_heard(void **state)
{
    struct fixture *fixture = *state;

    say_far(fixture, 1, 1);
    run(fixture);
    set_faults(fixture, (fake_faults_t){.swap = true});
    say_far(fixture, 2, 5);
    assert_heard(fixture, "1 gap(lost,1) 3 gap(lost,1) 5");
    assert_int_equal(stats_of(fixture->near).remote_duplicates, 2);
}

static void a_slow_broker_slows_nobody_here(void **state)
{
    struct fixture *fixture = *state;
    listener_t far = {0};

    set_faults(fixture, (fake_faults_t){.slow = true});
    listener_start(&far, fixture->far, "room:1", NULL);
    say_far(fixture, 1, 3);
    assert_string_equal(listener_heard(&far), "1 2 3");
    assert_heard(fixture, "");
    set_faults(fixture, (fake_faults_t){0});
    assert_heard(fixture, "1 2 3");
    listener_stop(&far);
}

static void the_first_contact_with_a_node_is_no_gap(void **state)
{
    struct fixture *fixture = *state;
    listener_t late = {0};

    say(fixture->far, "room:2", "1");
    say(fixture->far, "room:2", "2");
    run(fixture);
    listener_start(&late, fixture->near, "room:2", NULL);
    say(fixture->far, "room:2", "3");
    run(fixture);
    assert_string_equal(listener_heard(&late), "3");
    listener_stop(&late);
}

static void what_was_heard_of_a_node_ends_with_the_topic(void **state)
{
    struct fixture *fixture = *state;
    listener_t again = {0};

    listener_start(&again, fixture->near, "room:2", NULL);
    say(fixture->far, "room:2", "1");
    run(fixture);
    listener_stop(&again);
    say(fixture->far, "room:2", "2");
    run(fixture);
    listener_start(&again, fixture->near, "room:2", NULL);
    say(fixture->far, "room:2", "3");
    run(fixture);
    assert_string_equal(listener_heard(&again), "3");
    listener_stop(&again);
}

static void each_node_has_numbers_of_its_own(void **state)
{
    struct fixture *fixture = *state;
    hub_bus_t *third = open_on(fixture->broker, &(hub_bus_options_t){0});

    run(fixture);
    say_far(fixture, 1, 2);
    say(third, "room:1", "10");
    say_far(fixture, 3, 3);
    say(third, "room:1", "11");
    assert_heard(fixture, "1 2 10 3 11");
    hub_bus_destroy(third);
}

static void a_numbering_that_began_anew_counts_from_one(void **state)
{
    struct fixture *fixture = *state;

    inject(fixture, 9, 5, 7, "1");
    inject(fixture, 9, 6, 1, "2");
    inject(fixture, 9, 8, 3, "3");
    assert_heard(fixture, "1 2 gap(lost,2) 3");
}

static void a_message_of_an_earlier_numbering_is_too_late(void **state)
{
    struct fixture *fixture = *state;

    inject(fixture, 9, 5, 7, "1");
    inject(fixture, 9, 4, 8, "2");
    inject(fixture, 9, 5, 8, "3");
    assert_heard(fixture, "1 3");
    assert_int_equal(stats_of(fixture->near).remote_duplicates, 1);
}

/* 256 nodes are known on a topic; the one that was silent longest makes room. */
static void only_so_many_nodes_are_remembered(void **state)
{
    struct fixture *fixture = *state;

    for (uint64_t node = 1; node <= 256; node++)
        inject(fixture, node, 1, 1, "0");
    inject(fixture, 1, 1, 2, "0");
    inject(fixture, 257, 1, 1, "0"); /* for 2 */
    run(fixture);
    listener_clear(&fixture->heard);
    inject(fixture, 1, 1, 4, "1");
    inject(fixture, 3, 1, 3, "3");
    inject(fixture, 2, 1, 9, "2"); /* for 4 */
    inject(fixture, 257, 1, 3, "257");
    assert_heard(fixture, "gap(lost,1) 1 gap(lost,1) 3 2 gap(lost,1) 257");
}

static void a_payload_as_deep_as_its_node_allows_is_taken(void **state)
{
    struct fixture *fixture = *state;
    char json[2 * 256 + 1] = {0};

    memset(json, '[', 256);
    memset(json + 256, ']', 256);
    say_deep(fixture->far, json, 256);
    assert_heard(fixture, json);
}

/* The next topic whose numbers are kept in the same place as those of room:1. */
static const char *next_neighbour(int *index, char *topic, size_t size)
{
    uint64_t place = hub__hash(HUB_STR("room:1")) >> 60;

    do
        snprintf(topic, size, "other:%d", ++*index);
    while (hub__hash(hub_str(topic)) >> 60 != place);
    return topic;
}

/* 4,096 of those have room; room:1 is used again after each `every`. */
static void say_on_many_topics(struct fixture *fixture, int topics, int every)
{
    char topic[32];
    int index = 0;

    for (int i = 1; i <= topics; i++) {
        say(fixture->far, next_neighbour(&index, topic, sizeof(topic)), "0");
        if (i % every == 0)
            say(fixture->far, "room:1", "0");
    }
    run(fixture);
    listener_clear(&fixture->heard);
}

static void a_topic_in_use_keeps_its_numbers(void **state)
{
    struct fixture *fixture = *state;
    char incarnation[8];

    say_far(fixture, 1, 1);
    memcpy(incarnation, fake_broker_last_bytes(fixture->broker).base + 16, 8);
    say_on_many_topics(fixture, 6000, 3000);
    say_far(fixture, 2, 2);
    assert_memory_equal(incarnation, fake_broker_last_bytes(fixture->broker).base + 16, 8);
    assert_heard(fixture, "2");
}

static void a_topic_long_out_of_use_is_numbered_anew_and_followed(void **state)
{
    struct fixture *fixture = *state;
    char incarnation[8];

    say_far(fixture, 1, 3);
    memcpy(incarnation, fake_broker_last_bytes(fixture->broker).base + 16, 8);
    say_on_many_topics(fixture, 4096, 5000);
    say_far(fixture, 4, 4);
    assert_memory_not_equal(incarnation, fake_broker_last_bytes(fixture->broker).base + 16, 8);
    run(fixture);
    set_faults(fixture, (fake_faults_t){.lose = 1});
    say_far(fixture, 5, 6);
    assert_heard(fixture, "4 gap(lost,1) 6");
}

/* ---- nonsense ---- */

struct junk {
    size_t at;
    unsigned char byte;
};

static void junk_is_counted_and_harms_nobody(void **state)
{
    /* version, kind of payload, its padding, node, incarnation, sequence, lengths, the event's and
     * the payload's bytes */
    static const struct junk junk[] = {{0, 2},    {0, '{'},  {2, 2},     {2, 0x80},  {3, 1},
                                       {64, 255}, {67, 255}, {68, 0xff}, {71, 0},    {72, 0xff},
                                       {76, '{'}, {76, 0},   {67, 0},    {66, 0x10}, {69, 1}};
    struct fixture *fixture = *state;
    size_t count = sizeof(junk) / sizeof(junk[0]);
    char bytes[128];
    hub_str_t good;

    say_far(fixture, 1, 1);
    good = fake_broker_last_bytes(fixture->broker);
    assert_true(good.len == HUB__WIRE_HEADER_BYTES + 5);
    for (size_t i = 0; i < count; i++) {
        memcpy(bytes, good.base, good.len);
        bytes[junk[i].at] = (char)junk[i].byte;
        fake_broker_inject(fixture->broker, fixture->near, HUB_STR("hub:room:1"),
                           hub_str_n(bytes, good.len));
        assert_int_equal(stats_of(fixture->near).remote_invalid, i + 1);
    }
    assert_heard(fixture, "1");
}

static void an_envelope_cut_anywhere_is_junk(void **state)
{
    struct fixture *fixture = *state;
    char bytes[128];
    hub_str_t good;

    say_far(fixture, 1, 1);
    good = fake_broker_last_bytes(fixture->broker);
    memcpy(bytes, good.base, good.len);
    bytes[good.len] = '1'; /* and one with something behind it */
    for (size_t len = 0; len < good.len; len++) {
        /* of what only the kind is there, nobody can say that it is ours */
        char *cut = malloc(len + 1); /* so that a byte too far is seen */

        memcpy(cut, bytes, len);
        fake_broker_inject(fixture->broker, fixture->near, HUB_STR("hub:room:1"),
                           hub_str_n(cut, len));
        free(cut);
    }
    fake_broker_inject(fixture->broker, fixture->near, HUB_STR("hub:room:1"),
                       hub_str_n(bytes, good.len + 1));
    assert_int_equal(stats_of(fixture->near).remote_invalid, good.len + 1);
    assert_heard(fixture, "1");
}

static void zero_is_no_node_no_incarnation_and_no_number(void **state)
{
    static const size_t fields[] = {8, 16, 24};
    struct fixture *fixture = *state;
    char bytes[128];
    hub_str_t good;

    say_far(fixture, 1, 1);
    good = fake_broker_last_bytes(fixture->broker);
    for (size_t i = 0; i < 3; i++) {
        memcpy(bytes, good.base, good.len);
        memset(bytes + fields[i], 0, 8);
        fake_broker_inject(fixture->broker, fixture->near, HUB_STR("hub:room:1"),
                           hub_str_n(bytes, good.len));
    }
    assert_int_equal(stats_of(fixture->near).remote_invalid, 3);
}

static void a_topic_of_somebody_else_is_junk(void **state)
{
    struct fixture *fixture = *state;

    say_far(fixture, 1, 1);
    fake_broker_inject(fixture->broker, fixture->near, HUB_STR("hug:room:1"),
                       fake_broker_last_bytes(fixture->broker));
    fake_broker_inject(fixture->broker, fixture->near, HUB_STR("hub:"),
                       fake_broker_last_bytes(fixture->broker));
    assert_int_equal(stats_of(fixture->near).remote_invalid, 2);
}

static void a_kind_of_later_versions_is_left_alone(void **state)
{
    struct fixture *fixture = *state;

    fake_broker_inject(fixture->broker, fixture->near, HUB_STR("hub:room:1"), HUB_STR("\1\4abc"));
    assert_int_equal(stats_of(fixture->near).remote_invalid, 0);
    assert_heard(fixture, "");
}

/* `bytes` as message number `seq`, with one byte of it as a later version may have it. */
static void inject_later(struct fixture *fixture, hub_str_t bytes, char seq, size_t at, char byte)
{
    char later[128];

    memcpy(later, bytes.base, bytes.len);
    later[31] = seq; /* the last byte of the number */
    later[at] = byte;
    fake_broker_inject(fixture->broker, fixture->near, HUB_STR("hub:room:1"),
                       hub_str_n(later, bytes.len));
}

/* Nodes are upgraded one by one: what an old one can't read is not passed over in silence. */
static void a_message_of_a_later_version_is_counted_and_told_as_lost(void **state)
{
    struct fixture *fixture = *state;
    hub_str_t first;

    say_far(fixture, 1, 1);
    run(fixture);
    first = fake_broker_last_bytes(fixture->broker);
    inject_later(fixture, first, 2, 0, 2);
    assert_int_equal(stats_of(fixture->near).remote_invalid, 1);
    inject_later(fixture, first, 3, 0, 1);
    assert_heard(fixture, "1 gap(lost,1) 1");
    assert_int_equal(stats_of(fixture->near).remote_missing, 1);
}

static void a_flag_of_later_versions_is_ignored(void **state)
{
    struct fixture *fixture = *state;

    say_far(fixture, 1, 1);
    run(fixture);
    inject_later(fixture, fake_broker_last_bytes(fixture->broker), 2, 4, 0x40);
    assert_heard(fixture, "1 1");
    assert_int_equal(stats_of(fixture->near).remote_invalid, 0);
}

static void a_message_that_is_on_its_way_after_the_unsubscribe_is_ignored(void **state)
{
    struct fixture *fixture = *state;

    say(fixture->far, "room:2", "1");
    fake_broker_inject(fixture->broker, fixture->near, HUB_STR("hub:room:2"),
                       fake_broker_last_bytes(fixture->broker));
    assert_int_equal(stats_of(fixture->near).remote_received, 0);
    assert_int_equal(stats_of(fixture->near).remote_invalid, 0);
}

/* ---- what other programs publish ---- */

static void inject_text(struct fixture *fixture, const char *text)
{
    char *exact = malloc(strlen(text)); /* so that a byte too far is seen */

    memcpy(exact, text, strlen(text));
    fake_broker_inject(fixture->broker, fixture->near, HUB_STR("hub:room:1"),
                       hub_str_n(exact, strlen(text)));
    free(exact);
}

static void a_program_publishes_in_json(void **state)
{
    struct fixture *fixture = *state;

    inject_text(fixture, "{\"event\":\"said\",\"payload\":{\"a\":[1]}}");
    inject_text(fixture, " \n{ \"payload\" : 7 , \"more\" : {} , \"event\" : \"sa\\u0069d\" } ");
    inject_text(fixture, "{\"event\":\"said\"}");
    inject_text(fixture, "{\"event\":\"said\",\"payload\":1,\"payload\":2}");
    assert_heard(fixture, "{\"a\":[1]} 7 {} 2");
    assert_int_equal(stats_of(fixture->near).remote_plain, 4);
    assert_int_equal(stats_of(fixture->near).remote_received, 4);
}

static void what_a_program_publishes_has_no_numbers_to_miss(void **state)
{
    struct fixture *fixture = *state;

    say_far(fixture, 1, 1);
    run(fixture);
    inject_text(fixture, "{\"event\":\"said\",\"payload\":\"x\"}");
    inject_text(fixture, "{\"event\":\"said\",\"payload\":\"x\"}");
    say_far(fixture, 2, 2);
    assert_heard(fixture, "1 \"x\" \"x\" 2");
}

static void json_that_is_no_message_is_junk(void **state)
{
    static const char *const junk[] = {
        "{",
        "{}",
        "{\"payload\":1}",
        "{\"event\":1}",
        "{\"event\":\"\"}",
        "{\"event\":\"a\",}",
        "{\"event\":\"a\"} {}",
        "{\"event\":\"a\",\"payload\":}",
        "{\"event\":\"a\",\"payload\":\"\xff\"}",
        "{\"event\":\"\\ud800\"}",
        "{\"event\":\"a\",\"payload\":1",
        "[\"event\",\"a\"]",
        "",
        " ",
    };
    struct fixture *fixture = *state;
    size_t count = sizeof(junk) / sizeof(junk[0]);

    for (size_t i = 0; i < count; i++) {
        inject_text(fixture, junk[i]);
        assert_int_equal(stats_of(fixture->near).remote_invalid, i + 1);
    }
    assert_heard(fixture, "");
}

static void an_event_with_escapes_has_its_bound(void **state)
{
    struct fixture *fixture = *state;
    hub__buffer_t text = {0};

    for (int letters = 1023; letters <= 1024; letters++) {
        hub__buffer_clear(&text);
        hub__buffer_printf(&text, "{\"event\":\"\\n%0*d\"}", letters, 1);
        inject_text(fixture, text.base);
        assert_int_equal(stats_of(fixture->near).remote_invalid, letters == 1024);
    }
    assert_heard(fixture, "{}");
    hub__buffer_dispose(&text);
}

/* ---- answers ---- */

static void the_brokers_answer_is_the_level(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(say_and_ask(fixture, "1"), HUB_OK);
    test_executor_turn(&fixture->loop);
    assert_int_equal(fixture->completions, 0);
    fake_broker_run(fixture->broker);
    assert_completed(fixture, HUB_OK, HUB_LEVEL_BUS);
}

static void the_brokers_refusal_is_the_status(void **state)
{
    struct fixture *fixture = *state;

    set_faults(fixture, (fake_faults_t){.verdict = HUB_ELIMIT});
    assert_int_equal(say_and_ask(fixture, "1"), HUB_OK);
    fake_broker_run(fixture->broker);
    assert_completed(fixture, HUB_ELIMIT, HUB_LEVEL_LOCAL);
    assert_int_equal(stats_of(fixture->far).unknown, 0);
}

static bool is_completed(void *arg)
{
    return ((struct fixture *)arg)->completions > 0;
}

static void no_answer_in_time_is_unknown_and_a_late_one_is_ignored(void **state)
{
    struct fixture *fixture = *state;

    set_faults(fixture, (fake_faults_t){.answers = FAKE_ANSWERS_LATE});
    assert_int_equal(say_and_ask(fixture, "1"), HUB_OK);
    atomic_store(&fixture->now_ms, 4999);
    hub__remote_clock_moved(fixture->far);
    assert_int_equal(say_and_ask(fixture, "2"), HUB_OK);
    run(fixture);
    assert_int_equal(fixture->completions, 0);
    atomic_store(&fixture->now_ms, 5000);
    hub__remote_clock_moved(fixture->far);
    assert_true(test_executor_run_until(&fixture->loop, is_completed, fixture));
    assert_completed(fixture, HUB_EUNKNOWN, HUB_LEVEL_LOCAL);
    fixture->completions = 0;
    fake_broker_answer_late(fixture->broker);
    assert_completed(fixture, HUB_OK, HUB_LEVEL_BUS); /* of the second */
    assert_int_equal(stats_of(fixture->far).unknown, 1);
}

static void a_doubled_answer_completes_once(void **state)
{
    struct fixture *fixture = *state;

    set_faults(fixture, (fake_faults_t){.answers = FAKE_ANSWERS_TWICE});
    assert_int_equal(say_and_ask(fixture, "1"), HUB_OK);
    fake_broker_run(fixture->broker);
    assert_completed(fixture, HUB_OK, HUB_LEVEL_BUS);
}

static void destroying_the_bus_cancels_what_was_never_answered(void **state)
{
    struct fixture *fixture = *state;

    set_faults(fixture, (fake_faults_t){.answers = FAKE_ANSWERS_NEVER});
    assert_int_equal(say_and_ask(fixture, "1"), HUB_OK);
    run(fixture);
    hub_bus_destroy(fixture->far);
    fixture->far = NULL;
    assert_completed(fixture, HUB_ECANCELLED, HUB_LEVEL_LOCAL);
}

static void a_publish_that_the_backend_refuses_is_heard_by_nobody(void **state)
{
    struct fixture *fixture = *state;
    listener_t far = {0};

    listener_start(&far, fixture->far, "room:1", NULL);
    say_far(fixture, 1, 1);
    set_faults(fixture, (fake_faults_t){.refuse = HUB_ELIMIT});
    assert_int_equal(say_and_ask(fixture, "2"), HUB_ELIMIT);
    set_faults(fixture, (fake_faults_t){0});
    say_far(fixture, 3, 3);
    assert_heard(fixture, "1 3"); /* and no gap: it took no number */
    assert_string_equal(listener_heard(&far), "1 3");
    test_executor_turn(&fixture->loop);
    assert_int_equal(fixture->completions, 0);
    listener_stop(&far);
}

static void the_size_limit_is_checked_at_the_publish(void **state)
{
    struct fixture *fixture = *state;
    /* the payload "1" with the event "said" */
    size_t bytes = HUB__WIRE_HEADER_BYTES + 4 + 1;

    set_faults(fixture, (fake_faults_t){.largest = bytes});
    assert_int_equal(try_say(fixture->far, "room:1", "1", NULL), HUB_OK);
    assert_int_equal(try_say(fixture->far, "room:1", "12", NULL), HUB_ETOOLARGE);
    assert_int_equal(hub_bus_largest_message(fixture->far), 0);
    set_faults(fixture, (fake_faults_t){.largest = 8000});
    assert_int_equal(hub_bus_largest_message(fixture->far), 8000 - 72 - 1024);
    set_faults(fixture, (fake_faults_t){0});
    assert_true(hub_bus_largest_message(fixture->far) == SIZE_MAX);
    assert_heard(fixture, "1");
}

static void only_so_many_publishes_wait_for_an_answer(void **state)
{
    struct fixture *fixture = *state;
    hub_message_t *msg = message_make("room:1", "1");
    listener_t far = {0};

    for (int i = 0; i < 64 * 1024; i++)
        assert_int_equal(hub_bus_publish(fixture->far, msg, NULL), HUB_OK);
    listener_start(&far, fixture->far, "room:1", NULL);
    assert_int_equal(hub_bus_publish(fixture->far, msg, NULL), HUB_ELIMIT);
    assert_string_equal(listener_heard(&far), "");
    run(fixture);
    assert_int_equal(hub_bus_publish(fixture->far, msg, NULL), HUB_OK);
    hub_message_release(msg);
    listener_stop(&far);
}

static void assert_in_flight(struct fixture *fixture, unsigned count)
{
    hub_bus_stats_t stats = stats_of(fixture->far);

    assert_int_equal(stats.in_flight, count);
    assert_int_equal(stats.in_flight_bytes, count * ONE_IN_FLIGHT);
}

static void only_so_many_bytes_wait_for_an_answer(void **state)
{
    struct fixture *fixture = *state;
    listener_t far = {0};

    say_far(fixture, 1, 3);
    assert_in_flight(fixture, 3);
    listener_start(&far, fixture->far, "room:1", NULL);
    assert_int_equal(try_say(fixture->far, "room:1", "4", NULL), HUB_ELIMIT);
    assert_string_equal(listener_heard(&far), "");
    assert_int_equal(stats_of(fixture->far).refused_limit, 1);
    assert_heard(fixture, "1 2 3");
    assert_in_flight(fixture, 0);
    say_far(fixture, 5, 5);
    assert_heard(fixture, "1 2 3 5"); /* and no gap: it took no number */
    listener_stop(&far);
}

/* Of the event whose name is `user`. Warnings are not logged but between begin and end. */
static atomic_uint lines;

static void count_line(hub_log_level_t level, const char *event, const char *text, void *user)
{
    (void)level;
    (void)text;
    if (strcmp(event, user) == 0)
        atomic_fetch_add(&lines, 1);
}

static void begin_counting(const char *event)
{
    atomic_store(&lines, 0);
    hub_log_set(count_line, (char *)(uintptr_t)event);
    hub_log_set_level(HUB_LOG_WARN);
}

static unsigned end_counting(void)
{
    hub_log_set_level(HUB_LOG_ERROR);
    hub_log_set(NULL, NULL);
    return atomic_load(&lines);
}

static void what_the_limit_refuses_is_a_line_a_second(void **state)
{
    struct fixture *fixture = *state;

    say_far(fixture, 1, 3);
    begin_counting("bus.limit");
    for (int i = 0; i < 5; i++)
        assert_int_equal(try_say(fixture->far, "room:1", "4", NULL), HUB_ELIMIT);
    atomic_store(&fixture->now_ms, 1000);
    for (int i = 0; i < 5; i++)
        assert_int_equal(try_say(fixture->far, "room:1", "4", NULL), HUB_ELIMIT);
    assert_int_equal(end_counting(), 2);
    assert_int_equal(stats_of(fixture->far).refused_limit, 10);
}

static void a_message_of_any_size_may_be_in_flight_alone(void **state)
{
    struct fixture *fixture = *state;
    char json[5000];

    memset(json, '1', sizeof(json));
    json[sizeof(json) - 1] = '\0';
    say(fixture->far, "room:1", json);
    assert_int_equal(try_say(fixture->far, "room:1", "2", NULL), HUB_ELIMIT);
    assert_heard(fixture, json);
}

/* The backend has the bytes still, whoever was told what. */
static void what_a_hanging_broker_never_answers_goes_on_counting(void **state)
{
    struct fixture *fixture = *state;

    set_faults(fixture, (fake_faults_t){.answers = FAKE_ANSWERS_LATE});
    assert_int_equal(say_and_ask(fixture, "1"), HUB_OK);
    say_far(fixture, 2, 3);
    run(fixture);
    atomic_store(&fixture->now_ms, 5000);
    hub__remote_clock_moved(fixture->far);
    assert_completed(fixture, HUB_EUNKNOWN, HUB_LEVEL_LOCAL);
    assert_in_flight(fixture, 3);
    assert_int_equal(try_say(fixture->far, "room:1", "4", NULL), HUB_ELIMIT);
    fake_broker_answer_late(fixture->broker);
    assert_in_flight(fixture, 0);
    test_executor_turn(&fixture->loop);
    assert_int_equal(fixture->completions, 1);
    assert_int_equal(stats_of(fixture->far).unknown, 3);
}

static void the_end_of_a_connection_lands_what_was_in_flight(void **state)
{
    struct fixture *fixture = *state;

    set_faults(fixture, (fake_faults_t){.answers = FAKE_ANSWERS_NEVER});
    say_far(fixture, 1, 1);
    atomic_store(&fixture->now_ms, 5000);
    hub__remote_clock_moved(fixture->far);
    say_far(fixture, 2, 3);
    fake_broker_disconnect(fixture->broker, fixture->far);
    assert_in_flight(fixture, 0);
    assert_int_equal(stats_of(fixture->far).unknown, 3);
    assert_int_equal(try_say(fixture->far, "room:1", "4", NULL), HUB_EBUSDOWN);
    assert_int_equal(stats_of(fixture->far).refused_down, 1);
}

struct looks {
    pthread_t tester;
    atomic_ullong now_ms;
    atomic_uint of_others;
    atomic_bool open_to_signals;
};

static uint64_t now_ms_seen(void *user)
{
    struct looks *looks = user;

    sigset_t blocked;

    if (pthread_equal(pthread_self(), looks->tester))
        return atomic_load(&looks->now_ms);
    atomic_fetch_add(&looks->of_others, 1);
    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    if (!sigismember(&blocked, SIGTERM) || !sigismember(&blocked, SIGUSR1))
        atomic_store(&looks->open_to_signals, true);
    return atomic_load(&looks->now_ms);
}

static void say_and_answer(struct fixture *fixture, int times)
{
    for (int i = 0; i < times; i++) {
        say(fixture->far, "room:2", "1");
        fake_broker_run(fixture->broker);
        hub__remote_clock_moved(fixture->far); /* whoever was woken is at rest again */
    }
}

/* Each time costs a switch of threads; it is to wake up in time for the first, which is enough. */
static void what_is_answered_soon_does_not_wake_the_cores_thread(void **state)
{
    struct fixture *fixture = *state;
    struct looks looks = {.tester = pthread_self()};

    hub__remote_set_clock(fixture->far, now_ms_seen, &looks);
    say_and_answer(fixture, 1);
    atomic_store(&looks.of_others, 0);
    say_and_answer(fixture, 20);
    assert_in_range(atomic_load(&looks.of_others), 0,
                    2); /* a kernel may wake who was not asked to */
    hub__remote_set_clock(fixture->far, now_ms, fixture);
}

static void a_large_message_crosses_too(void **state)
{
    struct fixture *fixture = *state;
    char json[5000];

    memset(json, '1', sizeof(json));
    json[sizeof(json) - 1] = '\0';
    say(fixture->far, "room:1", json);
    assert_heard(fixture, json);
}

/* Up, and all that waited has gone out. */
static void come_up(struct fixture *fixture)
{
    fake_broker_connect(fixture->broker, fixture->far);
    fake_broker_run(fixture->broker);
    hub__remote_clock_moved(fixture->far);
}

/* ---- one order ---- */

static void what_has_an_order_is_heard_when_it_comes_back(void **state)
{
    struct fixture *fixture = *state;
    listener_t far = {0};

    listener_start(&far, fixture->far, "room:1", NULL);
    run(fixture);
    say_in_order(fixture->far, "1");
    say_in_order(fixture->near, "2");
    say_in_order(fixture->far, "3");
    assert_string_equal(listener_heard(&far), "");
    assert_heard(fixture, "1 2 3");
    assert_string_equal(listener_heard(&far), "1 2 3");
    assert_int_equal(stats_of(fixture->far).published, 2);
    assert_int_equal(stats_of(fixture->far).remote_received, 1);
    listener_stop(&far);
}

static void what_has_an_order_is_heard_once(void **state)
{
    struct fixture *fixture = *state;
    listener_t far = {0};

    listener_start(&far, fixture->far, "room:1", NULL);
    run(fixture);
    set_faults(fixture, (fake_faults_t){.twice = true});
    say_in_order(fixture->far, "1");
    say_in_order(fixture->far, "2");
    assert_heard(fixture, "1 2");
    assert_string_equal(listener_heard(&far), "1 2");
    listener_stop(&far);
}

static void its_completion_has_the_counts_of_the_return(void **state)
{
    struct fixture *fixture = *state;
    listener_t far = {.counts = {.members = 3, .queued = 2}};

    listener_start(&far, fixture->far, "room:1", NULL);
    run(fixture);
    set_faults(fixture, (fake_faults_t){.answers = FAKE_ANSWERS_LATE});
    say_in_order_and_ask(fixture, "1");
    run(fixture);
    assert_string_equal(listener_heard(&far), "1");
    assert_int_equal(fixture->completions, 0); /* the broker's word is still to come */
    fake_broker_answer_late(fixture->broker);
    assert_completed(fixture, HUB_OK, HUB_LEVEL_BUS);
    assert_int_equal(fixture->result.counts.members, 3);
    assert_int_equal(fixture->result.counts.queued, 2);
    listener_stop(&far);
}

static void its_completion_waits_for_the_return(void **state)
{
    struct fixture *fixture = *state;
    listener_t far = {.counts = {.members = 3}};

    listener_start(&far, fixture->far, "room:1", NULL);
    run(fixture);
    set_faults(fixture, (fake_faults_t){.swap = true});
    say_in_order_and_ask(fixture, "1");
    run(fixture); /* answered, and delivered behind the next one */
    assert_int_equal(fixture->completions, 0);
    assert_int_equal(stats_of(fixture->far).in_flight, 1);
    say(fixture->near, "room:2", "0");
    run(fixture);
    assert_completed(fixture, HUB_OK, HUB_LEVEL_BUS);
    assert_int_equal(fixture->result.counts.members, 3);
    assert_int_equal(stats_of(fixture->far).in_flight, 0);
    listener_stop(&far);
}

/* Even the first one: who said it knows that it was said. */
static void however_many_others_speak_its_return_is_heard(void **state)
{
    struct fixture *fixture = *state;

    listener_clear(&fixture->heard);
    say_in_order(fixture->near, "1");
    for (uint64_t node = 1; node <= 300; node++)
        inject(fixture, node, 1, 1, "0");
    test_executor_turn(&fixture->loop);
    listener_clear(&fixture->heard);
    say_in_order(fixture->near, "2");
    assert_heard(fixture, "1 2");
    assert_int_equal(stats_of(fixture->near).remote_duplicates, 0);
}

static void what_the_broker_lost_of_it_is_a_gap_here_too(void **state)
{
    struct fixture *fixture = *state;
    listener_t far = {0};

    listener_start(&far, fixture->far, "room:1", NULL);
    run(fixture);
    set_faults(fixture, (fake_faults_t){.lose = 1});
    say_in_order_and_ask(fixture, "1");
    say_in_order(fixture->far, "2");
    run(fixture);
    assert_string_equal(listener_heard(&far), "gap(lost,1) 2");
    assert_completed(fixture, HUB_EUNKNOWN, HUB_LEVEL_LOCAL);
    assert_int_equal(stats_of(fixture->far).remote_missing, 1);
    assert_int_equal(stats_of(fixture->far).unknown, 1);
    assert_int_equal(stats_of(fixture->far).in_flight, 0);
    listener_stop(&far);
}

static void a_break_before_its_return_is_unknown_and_a_gap(void **state)
{
    struct fixture *fixture = *state;
    listener_t far = {0};

    listener_start(&far, fixture->far, "room:1", NULL);
    run(fixture);
    set_faults(fixture, (fake_faults_t){.lose = 1});
    say_in_order_and_ask(fixture, "1");
    run(fixture); /* answered, not returned */
    test_executor_turn(&fixture->loop);
    assert_int_equal(fixture->completions, 0);
    fake_broker_disconnect(fixture->broker, fixture->far);
    assert_completed(fixture, HUB_EUNKNOWN, HUB_LEVEL_LOCAL);
    fake_broker_connect(fixture->broker, fixture->far);
    run(fixture);
    assert_string_equal(listener_heard(&far), "gap(bus,0)");
    listener_stop(&far);
}

static void the_last_one_of_it_that_is_lost_is_found_by_its_position(void **state)
{
    struct fixture *fixture = *state;
    listener_t far = {0};

    listener_start(&far, fixture->far, "room:1", NULL);
    run(fixture);
    say_in_order(fixture->far, "1");
    run(fixture);
    set_faults(fixture, (fake_faults_t){.lose = 1});
    say_in_order_and_ask(fixture, "2");
    run(fixture);
    assert_string_equal(listener_heard(&far), "1");
    atomic_store(&fixture->now_ms, 1000);
    hub__remote_clock_moved(fixture->far);
    run(fixture);
    assert_string_equal(listener_heard(&far), "1 gap(lost,1)");
    assert_completed(fixture, HUB_EUNKNOWN, HUB_LEVEL_LOCAL);
    assert_heard(fixture, "1 gap(lost,1)");
    listener_stop(&far);
}

/* The position is older than what is still on its way. */
static void a_position_overtakes_nothing(void **state)
{
    struct fixture *fixture = *state;
    listener_t far = {0};

    listener_start(&far, fixture->far, "room:1", NULL);
    run(fixture);
    say_in_order(fixture->far, "1");
    atomic_store(&fixture->now_ms, 1000);
    hub__remote_clock_moved(fixture->far); /* the position of 1 */
    say_in_order_and_ask(fixture, "2");
    run(fixture);
    assert_string_equal(listener_heard(&far), "1 2");
    assert_completed(fixture, HUB_OK, HUB_LEVEL_BUS);
    listener_stop(&far);
}

static void no_return_in_time_is_unknown(void **state)
{
    struct fixture *fixture = *state;
    listener_t far = {0};

    listener_start(&far, fixture->far, "room:1", NULL);
    run(fixture);
    set_faults(fixture, (fake_faults_t){.swap = true});
    say_in_order_and_ask(fixture, "1");
    run(fixture);
    atomic_store(&fixture->now_ms, 5000);
    hub__remote_clock_moved(fixture->far);
    assert_completed(fixture, HUB_EUNKNOWN, HUB_LEVEL_LOCAL);
    say(fixture->near, "room:2", "0");
    run(fixture);
    assert_string_equal(listener_heard(&far), "1"); /* late, and in its place all the same */
    assert_int_equal(fixture->completions, 1);
    listener_stop(&far);
}

static void where_nobody_listens_the_brokers_word_is_enough(void **state)
{
    struct fixture *fixture = *state;

    say_in_order_and_ask(fixture, "1");
    assert_heard(fixture, "1");
    assert_completed(fixture, HUB_OK, HUB_LEVEL_BUS);
}

static void who_leaves_before_the_return_holds_up_nobody(void **state)
{
    struct fixture *fixture = *state;
    listener_t far = {0};

    listener_start(&far, fixture->far, "room:1", NULL);
    run(fixture);
    set_faults(fixture, (fake_faults_t){.swap = true});
    say_in_order_and_ask(fixture, "1");
    run(fixture);
    assert_int_equal(fixture->completions, 0);
    listener_stop(&far);
    assert_completed(fixture, HUB_OK, HUB_LEVEL_BUS);
}

static void a_refused_topic_has_no_order_but_this_nodes(void **state)
{
    struct fixture *fixture = *state;
    listener_t far = {0};

    set_faults(fixture, (fake_faults_t){.refuse_topics = HUB_EREJECTED});
    listener_start(&far, fixture->far, "room:1", NULL);
    run(fixture);
    say_in_order_and_ask(fixture, "1");
    assert_string_equal(listener_heard(&far), "gap(bus,0) 1");
    assert_heard(fixture, "1");
    assert_completed(fixture, HUB_OK, HUB_LEVEL_BUS);
    listener_stop(&far);
}

static void what_is_published_while_its_topic_is_refused_is_heard_here(void **state)
{
    struct fixture *fixture = *state;
    listener_t far = {0};

    set_faults(fixture, (fake_faults_t){.late = true});
    listener_start(&far, fixture->far, "room:1", NULL);
    run(fixture);
    refused_on = fixture->far;
    say_in_order_and_ask(fixture, "1");
    assert_null(refused_on);
    assert_string_equal(listener_heard(&far), "gap(bus,0) 1");
    assert_heard(fixture, "1");
    assert_completed(fixture, HUB_OK, HUB_LEVEL_BUS);
    listener_stop(&far);
}

static void a_degraded_bus_has_no_order_but_its_own(void **state)
{
    struct fixture *fixture = *state;
    listener_t far = {0};

    listener_start(&far, fixture->far, "room:1", NULL);
    run(fixture);
    say_in_order(fixture->far, "1");
    run(fixture);
    fake_broker_disconnect(fixture->broker, fixture->far);
    say_in_order_and_ask(fixture, "2");
    assert_string_equal(listener_heard(&far), "1 2");
    assert_completed(fixture, HUB_EBUSDOWN, HUB_LEVEL_LOCAL);
    fake_broker_connect(fixture->broker, fixture->far);
    run(fixture);
    say_in_order(fixture->far, "3");
    run(fixture);
    assert_string_equal(listener_heard(&far), "1 2 gap(bus,0) 3");
    listener_stop(&far);
}

static void what_waits_in_the_buffer_has_its_order_from_the_broker(void **state)
{
    struct fixture *fixture = *state;
    listener_t far = {0};

    listener_start(&far, fixture->far, "room:1", NULL);
    run(fixture);
    fake_broker_disconnect(fixture->broker, fixture->far);
    say_in_order_and_ask(fixture, "1");
    say_in_order(fixture->near, "2");
    assert_string_equal(listener_heard(&far), "");
    come_up(fixture);
    assert_heard(fixture, "2 1");
    assert_string_equal(listener_heard(&far), "gap(bus,0) 2 1"); /* by then it stood again */
    assert_completed(fixture, HUB_OK, HUB_LEVEL_BUS);
    listener_stop(&far);
}

/* Nobody heard it, here or elsewhere. */
static void what_waits_for_its_order_for_too_long_is_a_gap_here_too(void **state)
{
    struct fixture *fixture = *state;
    listener_t far = {0};

    listener_start(&far, fixture->far, "room:1", NULL);
    run(fixture);
    say_in_order(fixture->far, "1");
    run(fixture);
    fake_broker_disconnect(fixture->broker, fixture->far);
    say_in_order(fixture->far, "2");
    atomic_store(&fixture->now_ms, 5000);
    hub__remote_clock_moved(fixture->far);
    come_up(fixture);
    say_in_order(fixture->far, "3");
    assert_heard(fixture, "1 gap(lost,1) 3");
    assert_string_equal(listener_heard(&far), "1 gap(bus,0) gap(lost,1) 3");
    listener_stop(&far);
}

static void a_broker_without_one_order_refuses(void **state)
{
    hub_bus_backend_t backend = fake_backend;
    fake_broker_t *broker = fake_broker_create();
    hub_bus_options_t options = {.backend = &backend, .backend_options = broker};
    hub_bus_t *bus = NULL;

    (void)state;
    backend.one_order = false;
    assert_int_equal(hub_bus_create(&options, &bus, NULL), HUB_OK);
    fake_broker_run(broker);
    assert_int_equal(try_say_in_order(bus, "1", NULL), HUB_EINVAL);
    assert_int_equal(try_say(bus, "room:1", "1", NULL), HUB_OK);
    hub_bus_destroy(bus);
    fake_broker_destroy(broker);
}

/* Its positions as well: by another way they would overtake it. */
static void what_has_one_order_goes_the_way_that_has_it(void **state)
{
    struct fixture *fixture = *state;

    say(fixture->far, "room:1", "1");
    assert_int_equal(by_the_other_way, 0);
    say_in_order(fixture->far, "2");
    assert_int_equal(by_the_other_way, 1);
    assert_heard(fixture, "1 2");
    atomic_store(&fixture->now_ms, 1000);
    hub__remote_clock_moved(fixture->far); /* the positions of both */
    assert_int_equal(by_the_other_way, 2);
}

/* Neither here nor anywhere, nor as something to wait for. */
static void where_that_way_is_shut_nobody_hears_it(void **state)
{
    struct fixture *fixture = *state;

    other_way_status = HUB_EREJECTED;
    assert_int_equal(try_say_in_order(fixture->far, "1", NULL), HUB_EBUSDOWN);
    assert_int_equal(stats_of(fixture->far).refused_broker, 1);
    assert_int_equal(stats_of(fixture->far).in_flight, 0);
    other_way_status = HUB_OK;
    say_in_order(fixture->far, "2");
    assert_heard(fixture, "2");
}

static void where_that_way_is_shut_a_degraded_bus_makes_no_exception(void **state)
{
    struct fixture *fixture = *state;
    listener_t far = {0};

    listener_start(&far, fixture->far, "room:1", NULL);
    run(fixture);
    other_way_status = HUB_EREJECTED;
    assert_int_equal(try_say_in_order(fixture->far, "1", NULL), HUB_EBUSDOWN);
    assert_string_equal(listener_heard(&far), "");
    listener_stop(&far);
}

/* ---- all of it at once ---- */

#define TALKS 400
#define TALKERS 3
#define BREAKS 60

struct talker {
    test_executor_t loop;
    hub_bus_t *bus;
    listener_t heard;
    pthread_t thread;
    atomic_int accepted;
    atomic_int completed;
};

static void count_completion(const hub_publish_result_t *result, void *user)
{
    (void)result;
    atomic_fetch_add(&((struct talker *)user)->completed, 1);
}

/* With an order and without, published and emitted. */
static void *talk(void *arg)
{
    struct talker *talker = arg;
    hub_bus_publish_options_t options = {
        .on_published = count_completion, .user = talker, .executor = &talker->loop.base};

    for (int i = 0; i < TALKS; i++) {
        hub_message_options_t flags = {.flags = i % 2 == 0 ? HUB_MESSAGE_BUS_ORDER : 0};
        hub_message_t *msg = NULL;

        assert_int_equal(hub_message_create(HUB_STR("room:1"), HUB_STR("said"), HUB_JSON("1"),
                                            &flags, &msg, NULL),
                         HUB_OK);
        atomic_fetch_add(&talker->accepted, hub_bus_publish(talker->bus, msg, &options) == HUB_OK);
        hub_message_release(msg);
        sched_yield();
    }
    return NULL;
}

static void listen_on_loop(void *arg)
{
    struct talker *talker = arg;

    assert_int_equal(hub_bus_attach(talker->bus, &talker->loop.base), HUB_OK);
    listener_start(&talker->heard, talker->bus, "room:1", &talker->loop.base);
}

static void leave_loop(void *arg)
{
    struct talker *talker = arg;

    listener_stop(&talker->heard);
    hub_bus_detach(talker->bus, &talker->loop.base);
}

static bool are_all_completed(const struct talker *talkers)
{
    for (int i = 0; i < TALKERS; i++) {
        if (atomic_load(&talkers[i].completed) < atomic_load(&talkers[i].accepted))
            return false;
    }
    return true;
}

/* Publishers, loops, the broker's thread and the core's, while connections come and go. */
static void whatever_breaks_each_publish_completes_once(void **state)
{
    struct talker *talkers = calloc(TALKERS, sizeof(*talkers));
    fake_broker_t *broker = fake_broker_create();
    hub_bus_t *buses[2];

    (void)state;
    for (int i = 0; i < 2; i++)
        buses[i] = open_on(broker, &(hub_bus_options_t){.buffer_bytes = 20000});
    fake_broker_start(broker);
    fake_broker_settle(broker);
    for (int i = 0; i < TALKERS; i++) {
        talkers[i].bus = buses[i % 2];
        test_executor_start(&talkers[i].loop, 0);
        test_executor_call(&talkers[i].loop, listen_on_loop, &talkers[i]);
        assert_int_equal(pthread_create(&talkers[i].thread, NULL, talk, &talkers[i]), 0);
    }
    for (int i = 0; i < BREAKS; i++) {
        fake_broker_disconnect(broker, buses[i % 2]);
        sched_yield();
        fake_broker_connect(broker, buses[i % 2]);
        fake_broker_settle(broker);
    }
    for (int i = 0; i < TALKERS; i++)
        pthread_join(talkers[i].thread, NULL);
    for (int i = 0; i < TEST_DEADLINE_MS && !are_all_completed(talkers); i++)
        poll(NULL, 0, 1);
    for (int i = 0; i < TALKERS; i++)
        test_executor_call(&talkers[i].loop, leave_loop, &talkers[i]);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(stats_of(buses[i]).buffered_bytes, 0);
        assert_int_equal(stats_of(buses[i]).in_flight, 0);
        assert_int_equal(stats_of(buses[i]).in_flight_bytes, 0);
        hub_bus_destroy(buses[i]);
    }
    for (int i = 0; i < TALKERS; i++) {
        test_executor_stop(&talkers[i].loop);
        assert_int_equal(talkers[i].completed, talkers[i].accepted);
        assert_true(atomic_load(&talkers[i].accepted) > 0);
    }
    fake_broker_destroy(broker);
    free(talkers);
}

#define VISITS 600
#define VISITORS 3
#define VISITED 5

struct visitor {
    hub_bus_t *bus;
    pthread_t thread;
    atomic_int ready;
    int came;
};

static void count_ready(hub_bus_sub_t *sub, void *user)
{
    (void)sub;
    atomic_fetch_add(&((struct visitor *)user)->ready, 1);
}

static hub_status_t hear_nothing(hub_bus_sub_t *sub, const hub_message_t *msg, hub_bus_ack_t *ack,
                                 void *user)
{
    (void)sub;
    (void)msg;
    (void)ack;
    (void)user;
    return HUB_OK;
}

/* Comes, and leaves the topic before that. */
static void *visit(void *arg)
{
    struct visitor *visitor = arg;
    hub_bus_sub_options_t options = {
        .on_message = hear_nothing, .on_ready = count_ready, .user = visitor};
    hub_bus_sub_t *before = NULL, *sub;
    char topic[24];

    for (int i = 0; i < VISITS; i++) {
        snprintf(topic, sizeof(topic), "room:%d", i % VISITED);
        assert_int_equal(hub_bus_subscribe(visitor->bus, hub_str(topic), &options, &sub), HUB_OK);
        visitor->came++;
        hub_bus_unsubscribe(before);
        before = sub;
        sched_yield();
    }
    hub_bus_unsubscribe(before);
    return NULL;
}

/* Were one subscription waited for too long, the bus would stay down, or be taken for deaf. */
static void who_comes_and_goes_while_connections_do_leaves_no_wait_behind(void **state)
{
    struct visitor visitors[VISITORS] = {{0}};
    fake_broker_t *broker = fake_broker_create();
    hub_bus_t *bus = open_on(broker, &(hub_bus_options_t){0});

    (void)state;
    fake_broker_start(broker);
    fake_broker_settle(broker);
    for (int i = 0; i < VISITORS; i++) {
        visitors[i].bus = bus;
        assert_int_equal(pthread_create(&visitors[i].thread, NULL, visit, &visitors[i]), 0);
    }
    for (int i = 0; i < BREAKS; i++) {
        fake_broker_disconnect(broker, bus);
        fake_broker_set(broker,
                        (fake_faults_t){.refuse_topics = i % 3 == 0 ? HUB_EREJECTED : HUB_OK});
        sched_yield();
        fake_broker_connect(broker, bus);
        fake_broker_settle(broker);
    }
    for (int i = 0; i < VISITORS; i++)
        pthread_join(visitors[i].thread, NULL);
    fake_broker_settle(broker);
    assert_int_equal(try_say(bus, "room:1", "1", NULL), HUB_OK);
    assert_int_equal(atomic_load(&bus->remote->unconfirmed), 0);
    assert_int_equal(atomic_load(&bus->remote->pulse.awaited[0]), 0);
    assert_int_equal(atomic_load(&bus->remote->pulse.awaited[1]), 0);
    assert_int_equal(stats_of(bus).topics, 0);
    for (int i = 0; i < VISITORS; i++)
        assert_in_range(atomic_load(&visitors[i].ready), 0, visitors[i].came);
    hub_bus_destroy(bus);
    fake_broker_destroy(broker);
}

/* One bus of many that are opened and destroyed, and what came of it. */
#define SHORT_LIVES 60
#define SHORT_TOPICS 24

struct life {
    hub_bus_t *bus;
    test_executor_t loop; /* of the test's own thread */
    atomic_int ready, closed, after_close;
    atomic_bool gone[2 * SHORT_TOPICS];
    int accepted, completed;
};

struct place {
    struct life *life;
    int number;
};

static void note_if_gone(const struct place *place)
{
    if (atomic_load(&place->life->gone[place->number]))
        atomic_fetch_add(&place->life->after_close, 1);
}

static hub_status_t on_life_message(hub_bus_sub_t *sub, const hub_message_t *msg,
                                    hub_bus_ack_t *ack, void *user)
{
    (void)sub;
    (void)msg;
    (void)ack;
    note_if_gone(user);
    return HUB_OK;
}

static void on_life_gap(hub_bus_sub_t *sub, hub_gap_reason_t reason, uint64_t missed, void *user)
{
    (void)sub;
    (void)reason;
    (void)missed;
    note_if_gone(user);
}

static void on_life_ready(hub_bus_sub_t *sub, void *user)
{
    (void)sub;
    note_if_gone(user);
    atomic_fetch_add(&((struct place *)user)->life->ready, 1);
}

static void on_life_close(hub_bus_sub_t *sub, hub_status_t why, void *user)
{
    struct place *place = user;

    (void)sub;
    (void)why;
    note_if_gone(user);
    atomic_store(&place->life->gone[place->number], true);
    atomic_fetch_add(&place->life->closed, 1);
}

static void on_life_published(const hub_publish_result_t *result, void *user)
{
    (void)result;
    ((struct life *)user)->completed++;
}

static void life_subscribe(struct life *life, struct place *place, int number)
{
    hub_bus_sub_options_t options = {.on_message = on_life_message,
                                     .on_gap = on_life_gap,
                                     .on_close = on_life_close,
                                     .on_ready = on_life_ready,
                                     .executor = number % 2 == 0 ? &life->loop.base : NULL,
                                     .user = place};
    hub_bus_sub_t *sub;
    char topic[24];

    *place = (struct place){.life = life, .number = number};
    snprintf(topic, sizeof(topic), "room:%d", number / 2);
    assert_int_equal(hub_bus_subscribe(life->bus, hub_str(topic), &options, &sub), HUB_OK);
}

static void life_publish(struct life *life, int number)
{
    hub_bus_publish_options_t options = {
        .on_published = on_life_published, .user = life, .executor = &life->loop.base};
    hub_message_options_t flags = {.flags = number % 3 == 0 ? HUB_MESSAGE_BUS_ORDER : 0};
    hub_message_t *msg = NULL;
    char topic[24];

    snprintf(topic, sizeof(topic), "room:%d", number % SHORT_TOPICS);
    assert_int_equal(
        hub_message_create(hub_str(topic), HUB_STR("said"), HUB_JSON("1"), &flags, &msg, NULL),
        HUB_OK);
    life->accepted += hub_bus_publish(life->bus, msg, &options) == HUB_OK;
    hub_message_release(msg);
}

static void live_and_end(fake_broker_t *broker, int number)
{
    struct life *life = calloc(1, sizeof(*life));
    struct place places[2 * SHORT_TOPICS];

    life->bus = open_on(broker, &(hub_bus_options_t){.buffer_bytes = 20000, .name = "hub"});
    test_executor_init(&life->loop, 0);
    assert_int_equal(hub_bus_attach(life->bus, &life->loop.base), HUB_OK);
    for (int i = 0; i < 2 * SHORT_TOPICS; i++)
        life_subscribe(life, &places[i], i);
    for (int i = 0; i < number; i++) {
        life_publish(life, i);
        if (i % 16 == 7)
            fake_broker_disconnect(broker, life->bus);
        if (i % 16 == 9)
            fake_broker_connect(broker, life->bus);
        if (i % 8 == 3)
            test_executor_turn(&life->loop);
    }
    hub_bus_destroy(life->bus);
    while (test_executor_turn(&life->loop) > 0)
        ;
    assert_int_equal(life->completed, life->accepted);
    assert_int_equal(atomic_load(&life->closed), 2 * SHORT_TOPICS);
    assert_int_equal(atomic_load(&life->after_close), 0);
    assert_in_range(atomic_load(&life->ready), 0, 2 * SHORT_TOPICS);
    test_executor_end(&life->loop);
    free(life);
}

static void *talk_to_the_short_lived(void *arg)
{
    struct talker *talker = arg;

    for (unsigned i = 0; !atomic_load(&talker->completed); i++) {
        char topic[24];

        snprintf(topic, sizeof(topic), "room:%u", i % SHORT_TOPICS);
        (void)try_say(talker->bus, topic, "1", NULL);
        sched_yield();
    }
    return NULL;
}

/* The broker's thread confirms, answers and delivers meanwhile, and the core's sends what waited.
 */
static void a_bus_that_is_destroyed_in_the_midst_ends_each_thing_once(void **state)
{
    struct talker *talker = calloc(1, sizeof(*talker));
    fake_broker_t *broker = fake_broker_create();

    (void)state;
    talker->bus = open_on(broker, &(hub_bus_options_t){.in_flight_bytes = 20000});
    fake_broker_start(broker);
    assert_int_equal(pthread_create(&talker->thread, NULL, talk_to_the_short_lived, talker), 0);
    for (int i = 0; i < SHORT_LIVES; i++)
        live_and_end(broker, i);
    atomic_store(&talker->completed, 1);
    pthread_join(talker->thread, NULL);
    hub_bus_destroy(talker->bus);
    fake_broker_destroy(broker);
    free(talker);
}

/* ---- up and down ---- */

static void while_down_a_publish_fails_before_anybody_hears_it(void **state)
{
    struct fixture *fixture = *state;
    listener_t far = {0};

    listener_start(&far, fixture->far, "room:1", NULL);
    run(fixture);
    fake_broker_disconnect(fixture->broker, fixture->far);
    assert_int_equal(say_and_ask(fixture, "1"), HUB_EBUSDOWN);
    assert_false(stats_of(fixture->far).healthy);
    assert_string_equal(listener_heard(&far), "");
    fake_broker_connect(fixture->broker, fixture->far);
    assert_false(stats_of(fixture->far).healthy); /* the topic does not stand yet */
    assert_int_equal(say_and_ask(fixture, "1"), HUB_EBUSDOWN);
    run(fixture);
    assert_true(stats_of(fixture->far).healthy);
    say_far(fixture, 2, 2);
    assert_heard(fixture, "2");
    assert_string_equal(listener_heard(&far), "gap(bus,0) 2");
    assert_int_equal(fixture->completions, 0);
    listener_stop(&far);
}

static void a_degraded_bus_delivers_here_and_says_so(void **state)
{
    struct fixture *fixture = *state;
    listener_t far = {0};

    listener_start(&far, fixture->far, "room:1", NULL);
    fake_broker_disconnect(fixture->broker, fixture->far);
    assert_int_equal(say_and_ask(fixture, "1"), HUB_OK);
    assert_string_equal(listener_heard(&far), "1");
    assert_completed(fixture, HUB_EBUSDOWN, HUB_LEVEL_LOCAL);
    assert_heard(fixture, "");
    listener_stop(&far);
}

static void a_backend_that_notices_first_degrades_as_well(void **state)
{
    struct fixture *fixture = *state;

    set_faults(fixture, (fake_faults_t){.refuse = HUB_EBUSDOWN});
    assert_int_equal(say_and_ask(fixture, "1"), HUB_OK);
    assert_completed(fixture, HUB_EBUSDOWN, HUB_LEVEL_LOCAL);
}

/* It went on without the others, and they are told so. */
static void what_a_degraded_bus_kept_to_itself_is_a_gap_elsewhere(void **state)
{
    struct fixture *fixture = *state;

    say_far(fixture, 1, 1);
    run(fixture);
    fake_broker_disconnect(fixture->broker, fixture->far);
    say_far(fixture, 2, 3);
    fake_broker_connect(fixture->broker, fixture->far);
    run(fixture);
    say_far(fixture, 4, 4);
    assert_heard(fixture, "1 gap(lost,2) 4");
}

static void what_a_node_alone_kept_to_itself_is_missed_when_it_says_no_more(void **state)
{
    struct fixture *fixture = *state;
    listener_t far = {0};

    listener_start(&far, fixture->far, "room:1", NULL);
    say_far(fixture, 1, 1);
    run(fixture);
    fake_broker_disconnect(fixture->broker, fixture->far);
    atomic_store(&fixture->now_ms, 3600 * 1000); /* the other one hears nothing, and needs not */
    hub__remote_clock_moved(fixture->far);
    say_far(fixture, 2, 2);
    assert_int_equal(say_and_ask(fixture, "3"), HUB_OK);
    assert_completed(fixture, HUB_EBUSDOWN, HUB_LEVEL_LOCAL);
    say(fixture->near, "room:1", "4"); /* which is served as ever */
    assert_heard(fixture, "1 4");
    come_up(fixture);
    atomic_fetch_add(&fixture->now_ms, 1000);
    hub__remote_clock_moved(fixture->far);
    assert_heard(fixture, "1 4 gap(lost,2)");
    assert_string_equal(listener_heard(&far), "1 2 3 gap(bus,0)");
    listener_stop(&far);
}

static void publishes_wait_for_the_broker_and_go_out_in_order(void **state)
{
    struct fixture *fixture = *state;
    listener_t far = {0};

    listener_start(&far, fixture->far, "room:1", NULL);
    run(fixture);
    fake_broker_disconnect(fixture->broker, fixture->far);
    say_far(fixture, 1, 3);
    assert_int_equal(say_and_ask(fixture, "4"), HUB_OK);
    assert_string_equal(listener_heard(&far), "1 2 3 4");
    assert_in_range(stats_of(fixture->far).buffered_bytes, 4 * 11, BUFFER_BYTES);
    assert_heard(fixture, "");
    assert_int_equal(fixture->completions, 0);
    come_up(fixture);
    say_far(fixture, 5, 5);
    assert_heard(fixture, "1 2 3 4 5");
    assert_completed(fixture, HUB_OK, HUB_LEVEL_BUS);
    assert_string_equal(listener_heard(&far), "1 2 3 4 gap(bus,0) 5");
    assert_int_equal(stats_of(fixture->far).buffered_bytes, 0);
    listener_stop(&far);
}

static void what_comes_while_others_wait_goes_behind_them(void **state)
{
    struct fixture *fixture = *state;

    fake_broker_disconnect(fixture->broker, fixture->far);
    say_far(fixture, 1, 2);
    set_faults(fixture, (fake_faults_t){.refuse = HUB_ELIMIT});
    come_up(fixture);
    set_faults(fixture, (fake_faults_t){0});
    say_far(fixture, 3, 3);
    assert_heard(fixture, "");
    atomic_store(&fixture->now_ms, 10);
    hub__remote_clock_moved(fixture->far);
    say_far(fixture, 4, 4);
    assert_heard(fixture, "1 2 3 4");
}

static void what_waits_survives_one_more_break(void **state)
{
    struct fixture *fixture = *state;

    fake_broker_disconnect(fixture->broker, fixture->far);
    say_far(fixture, 1, 2);
    set_faults(fixture, (fake_faults_t){.refuse = HUB_EBUSDOWN}); /* the backend notices first */
    come_up(fixture);
    fake_broker_disconnect(fixture->broker, fixture->far);
    set_faults(fixture, (fake_faults_t){0});
    come_up(fixture);
    assert_heard(fixture, "1 2");
}

/* Some thousand bytes each. */
static void what_does_not_fit_into_the_buffer_fails_as_without(void **state)
{
    struct fixture *fixture = *state;
    listener_t far = {0};
    char json[1500];

    memset(json, '1', sizeof(json));
    json[sizeof(json) - 1] = '\0';
    fake_broker_disconnect(fixture->broker, fixture->far);
    say(fixture->far, "room:1", json);
    say(fixture->far, "room:1", json);
    listener_start(&far, fixture->far, "room:1", NULL);
    assert_int_equal(say_and_ask(fixture, json), HUB_EBUSDOWN);
    assert_string_equal(listener_heard(&far), "");
    assert_int_equal(stats_of(fixture->far).refused_down, 1);
    assert_in_range(stats_of(fixture->far).buffered_bytes, 3000, BUFFER_BYTES);
    listener_stop(&far);
}

static void what_waits_for_too_long_is_never_sent_and_told(void **state)
{
    struct fixture *fixture = *state;

    say_far(fixture, 1, 1);
    run(fixture);
    fake_broker_disconnect(fixture->broker, fixture->far);
    assert_int_equal(say_and_ask(fixture, "2"), HUB_OK);
    atomic_store(&fixture->now_ms, 4999);
    hub__remote_clock_moved(fixture->far);
    say_far(fixture, 3, 3);
    test_executor_turn(&fixture->loop);
    assert_int_equal(fixture->completions, 0);
    atomic_store(&fixture->now_ms, 5000);
    hub__remote_clock_moved(fixture->far);
    assert_completed(fixture, HUB_EBUSDOWN, HUB_LEVEL_LOCAL);
    assert_int_equal(stats_of(fixture->far).buffer_expired, 1);
    assert_int_equal(stats_of(fixture->far).unknown, 0);
    come_up(fixture);
    assert_heard(fixture, "1 gap(lost,1) 3");
}

static void what_waited_for_too_long_is_a_line_a_second(void **state)
{
    struct fixture *fixture = *state;

    fake_broker_disconnect(fixture->broker, fixture->far);
    say_far(fixture, 1, 9);
    begin_counting("bus.buffer_expired");
    atomic_store(&fixture->now_ms, 5000);
    hub__remote_clock_moved(fixture->far);
    assert_int_equal(end_counting(), 1);
    assert_int_equal(stats_of(fixture->far).buffer_expired, 9);
}

static void destroying_the_bus_cancels_what_waits(void **state)
{
    struct fixture *fixture = *state;

    fake_broker_disconnect(fixture->broker, fixture->far);
    assert_int_equal(say_and_ask(fixture, "1"), HUB_OK);
    hub_bus_destroy(fixture->far);
    fixture->far = NULL;
    assert_completed(fixture, HUB_ECANCELLED, HUB_LEVEL_LOCAL);
}

static void what_was_in_flight_when_it_broke_is_unknown(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(say_and_ask(fixture, "1"), HUB_OK);
    say_far(fixture, 2, 2);
    fake_broker_disconnect(fixture->broker, fixture->far);
    assert_completed(fixture, HUB_EUNKNOWN, HUB_LEVEL_LOCAL);
    assert_int_equal(stats_of(fixture->far).unknown, 2);
    fake_broker_run(fixture->broker); /* the answers come after all */
    test_executor_turn(&fixture->loop);
    assert_int_equal(fixture->completions, 1);
}

/* Its node was cut off with it, and who listened had not heard of that node yet: no number shows
 * that one is missing. */
static void what_was_lost_before_the_first_contact_is_told(void **state)
{
    struct fixture *fixture = *state;

    fake_broker_set(fixture->broker, (fake_faults_t){.lose = 1, .answers = FAKE_ANSWERS_NEVER});
    say_far(fixture, 1, 1);
    fake_broker_run(fixture->broker);
    fake_broker_disconnect(fixture->broker, fixture->far);
    fake_broker_set(fixture->broker, (fake_faults_t){0});
    fake_broker_connect(fixture->broker, fixture->far);
    run(fixture);
    say_far(fixture, 2, 3);
    assert_heard(fixture, "gap(lost,0) 2 3");
}

/* Nobody is to blame for the connection: the broker took it not. */
static void what_a_broker_refused_before_the_first_contact_is_told(void **state)
{
    struct fixture *fixture = *state;

    fake_broker_set(fixture->broker, (fake_faults_t){.lose = 1, .verdict = HUB_EREJECTED});
    say_far(fixture, 1, 1);
    run(fixture);
    fake_broker_set(fixture->broker, (fake_faults_t){0});
    say_far(fixture, 2, 3);
    assert_heard(fixture, "gap(lost,0) 2 3");
}

static void coming_up_again_renews_every_topic_and_tells_a_gap(void **state)
{
    struct fixture *fixture = *state;
    listener_t second = {0}, during = {0};

    listener_start(&second, fixture->near, "room:2", NULL);
    say_far(fixture, 1, 1);
    run(fixture);
    fake_broker_disconnect(fixture->broker, fixture->near);
    say_far(fixture, 2, 3);
    run(fixture);
    listener_start(&during, fixture->near, "room:3", NULL);
    fake_broker_connect(fixture->broker, fixture->near);
    assert_int_equal(fake_broker_subscriptions(fixture->broker, fixture->near), 3);
    run(fixture);
    say_far(fixture, 4, 4);
    assert_heard(fixture, "1 gap(bus,0) gap(lost,2) 4");
    assert_string_equal(listener_heard(&second), "gap(bus,0)");
    assert_string_equal(listener_heard(&during), "gap(bus,0)");
    listener_stop(&second);
    listener_stop(&during);
}

static void the_first_time_up_is_no_gap(void **state)
{
    struct fixture *fixture = *state;
    listener_t early = {0};
    hub_bus_t *third = open_on(fixture->broker, &(hub_bus_options_t){0});

    listener_start(&early, third, "room:1", NULL);
    assert_int_equal(fake_broker_subscriptions(fixture->broker, third), 0);
    run(fixture);
    assert_int_equal(fake_broker_subscriptions(fixture->broker, third), 1);
    say_far(fixture, 1, 1);
    run(fixture);
    assert_string_equal(listener_heard(&early), "1");
    listener_stop(&early);
    hub_bus_destroy(third);
}

/* ---- ready ---- */

/* A subscription on the near bus that wants to know when it stands. */
static void await(struct fixture *fixture, listener_t *listener, const char *topic)
{
    listener_start_ready(listener, fixture->near, topic, &fixture->loop.base);
}

static void assert_listener(struct fixture *fixture, listener_t *listener, const char *expected)
{
    run(fixture);
    assert_string_equal(listener_heard(listener), expected);
    listener_stop(listener);
}

static void a_subscription_is_ready_when_the_broker_has_it(void **state)
{
    struct fixture *fixture = *state;
    listener_t late = {0};

    set_faults(fixture, (fake_faults_t){.slow = true});
    await(fixture, &late, "room:2");
    run(fixture);
    assert_string_equal(listener_heard(&late), "");
    set_faults(fixture, (fake_faults_t){0});
    run(fixture);
    say(fixture->far, "room:2", "1");
    assert_listener(fixture, &late, "ready 1");
}

static void on_a_topic_that_stands_a_subscription_is_ready_at_once(void **state)
{
    struct fixture *fixture = *state;
    listener_t second = {0};

    await(fixture, &second, "room:1");
    assert_string_equal(listener_heard(&second), "ready");
    assert_listener(fixture, &second, "ready");
}

static void all_that_wait_for_a_topic_are_ready_together(void **state)
{
    struct fixture *fixture = *state;
    listener_t first = {0}, second = {0}, other = {0};

    await(fixture, &first, "room:2");
    listener_start_ready(&second, fixture->near, "room:2", NULL);
    await(fixture, &other, "room:2");
    assert_string_equal(listener_heard(&second), "");
    assert_listener(fixture, &first, "ready");
    assert_listener(fixture, &second, "ready");
    assert_listener(fixture, &other, "ready");
}

static void *run_elsewhere(void *arg)
{
    fake_broker_run(arg);
    return NULL;
}

/* The broker's words go by the mailboxes. */
static void run_by_thread(struct fixture *fixture)
{
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, run_elsewhere, fixture->broker), 0);
    pthread_join(thread, NULL);
}

static void the_word_goes_by_the_mailbox_before_what_follows_it(void **state)
{
    struct fixture *fixture = *state;
    listener_t late = {0};

    await(fixture, &late, "room:2");
    run_by_thread(fixture);
    say(fixture->far, "room:2", "1");
    run_by_thread(fixture);
    assert_string_equal(listener_heard(&late), "");
    assert_listener(fixture, &late, "ready 1");
}

static void who_leaves_while_waiting_is_never_ready(void **state)
{
    struct fixture *fixture = *state;
    listener_t gone = {0}, alone = {0}, stays = {0};

    await(fixture, &gone, "room:2");
    await(fixture, &stays, "room:2");
    await(fixture, &alone, "room:3");
    run_by_thread(fixture); /* the word is in the mailbox */
    hub_bus_unsubscribe(gone.sub);
    hub_bus_unsubscribe(alone.sub);
    gone.closed = alone.closed = true;
    assert_listener(fixture, &gone, "");
    assert_listener(fixture, &alone, "");
    assert_listener(fixture, &stays, "ready");
}

static void while_down_a_subscription_is_ready_at_once_and_due_a_gap(void **state)
{
    struct fixture *fixture = *state;
    listener_t during = {0};

    fake_broker_disconnect(fixture->broker, fixture->near);
    await(fixture, &during, "room:2");
    assert_string_equal(listener_heard(&during), "ready");
    fake_broker_connect(fixture->broker, fixture->near);
    assert_listener(fixture, &during, "ready gap(bus,0)");
}

static void ready_before_the_first_time_up_is_due_a_gap(void **state)
{
    struct fixture *fixture = *state;
    listener_t early = {0};
    hub_bus_t *third = open_on(fixture->broker, &(hub_bus_options_t){0});

    listener_start_ready(&early, third, "room:1", NULL);
    assert_string_equal(listener_heard(&early), "ready");
    assert_listener(fixture, &early, "ready gap(bus,0)");
    hub_bus_destroy(third);
}

static void going_down_ends_the_wait_with_a_gap_to_come(void **state)
{
    struct fixture *fixture = *state;
    listener_t waits = {0}, again = {0};

    set_faults(fixture, (fake_faults_t){.slow = true});
    await(fixture, &waits, "room:2");
    listener_start_ready(&again, fixture->near, "room:3", NULL);
    fake_broker_disconnect(fixture->broker, fixture->near);
    test_executor_turn(&fixture->loop);
    assert_string_equal(listener_heard(&waits), "ready");
    assert_string_equal(listener_heard(&again), "ready");
    set_faults(fixture, (fake_faults_t){0});
    fake_broker_connect(fixture->broker, fixture->near);
    assert_listener(fixture, &waits, "ready gap(bus,0)");
    assert_listener(fixture, &again, "ready gap(bus,0)");
}

static void a_refused_subscription_is_ready_and_told_so(void **state)
{
    struct fixture *fixture = *state;
    listener_t first = {0}, second = {0};

    set_faults(fixture, (fake_faults_t){.refuse_topics = HUB_EREJECTED});
    await(fixture, &first, "room:2");
    run(fixture);
    await(fixture, &second, "room:2");
    assert_string_equal(listener_heard(&second), "ready");
    assert_listener(fixture, &first, "gap(bus,0) ready");
    assert_listener(fixture, &second, "ready");
}

static void who_does_not_wait_longer_is_due_a_gap(void **state)
{
    struct fixture *fixture = *state;
    listener_t hurried = {0};

    set_faults(fixture, (fake_faults_t){.slow = true});
    await(fixture, &hurried, "room:2");
    hub_bus_sub_hurry(hurried.sub);
    set_faults(fixture, (fake_faults_t){0});
    run(fixture);
    hub_bus_sub_hurry(hurried.sub); /* too late to change anything */
    assert_listener(fixture, &hurried, "gap(bus,0) ready");
}

/* Between a renewal and the broker's word for it nothing is promised, either. */
static void during_a_renewal_a_subscription_waits(void **state)
{
    struct fixture *fixture = *state;
    listener_t late = {0};

    fake_broker_disconnect(fixture->broker, fixture->near);
    fake_broker_connect(fixture->broker, fixture->near);
    await(fixture, &late, "room:1");
    assert_string_equal(listener_heard(&late), "");
    assert_listener(fixture, &late, "gap(bus,0) ready");
}

static void destroying_the_bus_closes_who_waits(void **state)
{
    struct fixture *fixture = *state;
    hub_bus_t *third = open_on(fixture->broker, &(hub_bus_options_t){0});
    listener_t waits = {0};

    run(fixture);
    listener_start_ready(&waits, third, "room:2", NULL);
    hub_bus_destroy(third);
    assert_listener(fixture, &waits, "ready closed(ECLOSED)");
}

static void a_message_that_overtakes_the_word_comes_behind_the_gap(void **state)
{
    struct fixture *fixture = *state;
    hub__buffer_t bytes = {0};

    say_far(fixture, 1, 1);
    run(fixture);
    say_far(fixture, 2, 2);
    hub__buffer_append(&bytes, fake_broker_last_bytes(fixture->broker));
    fake_broker_disconnect(fixture->broker, fixture->near);
    fake_broker_connect(fixture->broker, fixture->near);
    fake_broker_inject(fixture->broker, fixture->near, HUB_STR("hub:room:1"),
                       hub__buffer_str(&bytes));
    assert_heard(fixture, "1 gap(bus,0) 2");
    hub__buffer_dispose(&bytes);
}

/* The gap was told at the first message of a connection that then broke before the broker's word:
 * it covers nothing of the time after. */
static void a_break_before_the_word_is_one_more_gap(void **state)
{
    struct fixture *fixture = *state;

    fake_broker_disconnect(fixture->broker, fixture->near);
    set_faults(fixture, (fake_faults_t){.late = true});
    fake_broker_connect(fixture->broker, fixture->near);
    inject(fixture, 7, 1, 1, "1");
    inject(fixture, 7, 1, 2, "2");
    assert_heard(fixture, "gap(bus,0) 1 2");
    fake_broker_disconnect(fixture->broker, fixture->near);
    set_faults(fixture, (fake_faults_t){0});
    fake_broker_connect(fixture->broker, fixture->near);
    assert_heard(fixture, "gap(bus,0) 1 2 gap(bus,0)");
}

/* What arrives may still be of the subscription before, and proves nothing of the new one. */
static void a_message_from_before_does_not_hide_what_the_new_subscription_misses(void **state)
{
    struct fixture *fixture = *state;
    listener_t again = {0};

    listener_stop(&fixture->heard);
    fixture->heard = (listener_t){0};
    set_faults(fixture, (fake_faults_t){.slow = true});
    listener_start(&fixture->heard, fixture->near, "room:1", &fixture->loop.base);
    await(fixture, &again, "room:1");
    hub_bus_sub_hurry(again.sub);
    inject(fixture, 7, 1, 5, "5");
    set_faults(fixture, (fake_faults_t){0});
    assert_heard(fixture, "gap(bus,0) 5 gap(bus,0)");
    listener_stop(&again);
}

static void a_topic_that_is_refused_does_not_keep_the_bus_down(void **state)
{
    struct fixture *fixture = *state;

    say_far(fixture, 1, 1);
    run(fixture);
    fake_broker_disconnect(fixture->broker, fixture->near);
    set_faults(fixture, (fake_faults_t){.refuse_topics = HUB_EREJECTED});
    fake_broker_connect(fixture->broker, fixture->near);
    assert_heard(fixture, "1 gap(bus,0)");
    assert_true(stats_of(fixture->near).healthy);
    assert_int_equal(stats_of(fixture->near).topics_refused, 1);
    say(fixture->near, "room:1", "2"); /* here it lives on */
    set_faults(fixture, (fake_faults_t){0});
    fake_broker_connect(fixture->broker, fixture->near);
    assert_heard(fixture, "1 gap(bus,0) 2 gap(bus,0)");
    say_far(fixture, 3, 3);
    assert_heard(fixture, "1 gap(bus,0) 2 gap(bus,0) 3");
    assert_int_equal(stats_of(fixture->near).topics_refused, 1);
}

static unsigned locked_lines;

/* Of bus.up. A line that is logged under the lock of a topic's shard is in the way of whoever takes
 * the lines. */
static void count_line_under_a_lock(hub_log_level_t level, const char *event, const char *text,
                                    void *user)
{
    hub_bus_t *bus = user;

    (void)level;
    (void)text;
    if (strcmp(event, "bus.up") != 0)
        return;
    atomic_fetch_add(&lines, 1);
    for (size_t i = 0; i < HUB__SHARDS; i++) {
        if (pthread_mutex_trylock(&bus->shards[i].lock) == 0)
            pthread_mutex_unlock(&bus->shards[i].lock);
        else
            locked_lines++;
    }
}

static void the_last_topic_that_is_waited_for_may_go_instead(void **state)
{
    struct fixture *fixture = *state;
    listener_t far = {0};

    listener_start(&far, fixture->far, "room:1", NULL);
    run(fixture);
    fake_broker_disconnect(fixture->broker, fixture->far);
    set_faults(fixture, (fake_faults_t){.silent = true});
    fake_broker_connect(fixture->broker, fixture->far);
    run(fixture);
    assert_int_equal(try_say(fixture->far, "room:1", "1", NULL), HUB_EBUSDOWN);
    atomic_store(&lines, 0);
    hub_log_set(count_line_under_a_lock, fixture->far);
    hub_log_set_level(HUB_LOG_INFO);
    listener_stop(&far);
    assert_int_equal(end_counting(), 1);
    assert_int_equal(locked_lines, 0);
    say_far(fixture, 1, 1);
    assert_heard(fixture, "1");
}

static void up_without_a_down_before_is_another_connection(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(say_and_ask(fixture, "1"), HUB_OK);
    hub_bus_remote_up(fixture->far);
    assert_completed(fixture, HUB_EUNKNOWN, HUB_LEVEL_LOCAL);
    hub_bus_remote_down(fixture->far);
    hub_bus_remote_down(fixture->far);
    assert_int_equal(try_say(fixture->far, "room:1", "1", NULL), HUB_EBUSDOWN);
}

static void one_remote_subscription_serves_all_here(void **state)
{
    struct fixture *fixture = *state;
    listener_t second = {0}, third = {0};

    listener_start(&second, fixture->near, "room:1", NULL);
    listener_start(&third, fixture->near, "room:1", &fixture->loop.base);
    assert_int_equal(fake_broker_subscriptions(fixture->broker, fixture->near), 1);
    listener_stop(&second);
    assert_int_equal(fake_broker_subscriptions(fixture->broker, fixture->near), 1);
    listener_stop(&third);
    listener_stop(&fixture->heard);
    assert_int_equal(fake_broker_subscriptions(fixture->broker, fixture->near), 0);
    listener_start(&fixture->heard, fixture->near, "room:1", &fixture->loop.base);
    assert_int_equal(fake_broker_subscriptions(fixture->broker, fixture->near), 1);
}

static void answer_from_far(listener_t *self, const hub_message_t *msg)
{
    (void)msg;
    self->then = NULL;
    say(self->bus, "room:1", "2");
}

static void a_subscriber_may_answer_on_the_brokers_own_thread(void **state)
{
    struct fixture *fixture = *state;
    listener_t here = {.then = answer_from_far}, far = {0};

    listener_start(&here, fixture->near, "room:1", NULL);
    listener_start(&far, fixture->far, "room:1", NULL);
    say_far(fixture, 1, 1);
    assert_heard(fixture, "1 2");
    assert_string_equal(listener_heard(&here), "1 2");
    assert_string_equal(listener_heard(&far), "1 2");
    listener_stop(&here);
    listener_stop(&far);
}

/* What is emitted is at the broker before what is published behind it. */
static void emits_reach_the_broker_in_the_order_of_the_calls(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(hub_bus_attach(fixture->far, &fixture->loop.base), HUB_OK);
    say_later(fixture->far, "room:1", "1");
    say(fixture->far, "room:1", "2");
    say_later(fixture->far, "room:1", "3");
    assert_heard(fixture, "1 2 3");
    hub_bus_detach(fixture->far, &fixture->loop.base);
}

/* ---- opening ---- */

static void a_backend_of_another_api_is_refused(void **state)
{
    hub_bus_backend_t newer = fake_backend;
    hub_bus_t *bus = NULL;
    hub_error_t error;

    (void)state;
    newer.api++;
    assert_int_equal(hub_bus_create(&(hub_bus_options_t){.backend = &newer}, &bus, &error),
                     HUB_EINVAL);
    assert_non_null(strstr(error.text, "fake"));
    assert_null(bus);
}

static void a_backend_that_does_not_open_fails_the_create(void **state)
{
    hub_bus_t *bus = NULL;
    hub_error_t error;

    (void)state;
    assert_int_equal(hub_bus_create(&(hub_bus_options_t){.backend = &fake_backend}, &bus, &error),
                     HUB_EINVAL);
    assert_string_equal(error.text, "fake: no broker");
    assert_null(bus);
}

#define REMOTE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define NARROW_TEST(name) cmocka_unit_test_setup_teardown(name, set_up_narrow, tear_down)
#define BUFFERED_TEST(name) cmocka_unit_test_setup_teardown(name, set_up_buffered, tear_down)
#define POSITION_TEST(name) cmocka_unit_test_setup_teardown(name, set_up_positions, tear_down)
#define TWO_WAYS_TEST(name) cmocka_unit_test_setup_teardown(name, set_up_two_ways, tear_down)
#define TWO_WAYS_DEGRADED_TEST(name)                                                               \
    cmocka_unit_test_setup_teardown(name, set_up_two_ways_degraded, tear_down)
#define DEGRADED_TEST(name) cmocka_unit_test_setup_teardown(name, set_up_degraded, tear_down)

/* Whoever takes one that the program waits for elsewhere is ended by it, and the program with him.
 */
static void the_threads_of_a_bus_take_no_signals(void **state)
{
    fake_broker_t *broker = fake_broker_create();
    hub_bus_t *bus = open_on(broker, &(hub_bus_options_t){0});
    sigset_t one, before, pending;
    int taken = 0;

    (void)state;
    sigemptyset(&one);
    sigaddset(&one, SIGTERM);
    hub__remote_clock_moved(bus); /* its thread has begun */
    pthread_sigmask(SIG_BLOCK, &one, &before);
    kill(getpid(), SIGTERM);
    sigpending(&pending);
    assert_int_equal(sigismember(&pending, SIGTERM), 1);
    sigwait(&one, &taken);
    assert_int_equal(taken, SIGTERM);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    hub_bus_destroy(bus);
    fake_broker_destroy(broker);
}

int main(void)
{
    static const bus_suite_backend_t fake = {
        .name = "fake",
        .start = start_broker,
        .stop = stop_broker,
        .open = open_with_broker,
        .shared = true,
    };
    const struct CMUnitTest tests[] = {
        REMOTE_TEST(a_lost_message_is_a_gap_before_the_next),
        REMOTE_TEST(a_doubled_message_is_heard_once),
        REMOTE_TEST(a_message_that_was_overtaken_is_a_gap_and_never_heard),
        REMOTE_TEST(a_slow_broker_slows_nobody_here),
        REMOTE_TEST(the_first_contact_with_a_node_is_no_gap),
        REMOTE_TEST(what_was_heard_of_a_node_ends_with_the_topic),
        REMOTE_TEST(each_node_has_numbers_of_its_own),
        REMOTE_TEST(a_numbering_that_began_anew_counts_from_one),
        REMOTE_TEST(a_message_of_an_earlier_numbering_is_too_late),
        REMOTE_TEST(only_so_many_nodes_are_remembered),
        REMOTE_TEST(a_payload_as_deep_as_its_node_allows_is_taken),
        REMOTE_TEST(a_topic_in_use_keeps_its_numbers),
        REMOTE_TEST(a_topic_long_out_of_use_is_numbered_anew_and_followed),
        REMOTE_TEST(junk_is_counted_and_harms_nobody),
        REMOTE_TEST(an_envelope_cut_anywhere_is_junk),
        REMOTE_TEST(zero_is_no_node_no_incarnation_and_no_number),
        REMOTE_TEST(a_topic_of_somebody_else_is_junk),
        REMOTE_TEST(a_program_publishes_in_json),
        REMOTE_TEST(what_a_program_publishes_has_no_numbers_to_miss),
        REMOTE_TEST(json_that_is_no_message_is_junk),
        REMOTE_TEST(an_event_with_escapes_has_its_bound),
        REMOTE_TEST(a_kind_of_later_versions_is_left_alone),
        REMOTE_TEST(a_message_of_a_later_version_is_counted_and_told_as_lost),
        REMOTE_TEST(a_flag_of_later_versions_is_ignored),
        REMOTE_TEST(a_message_that_is_on_its_way_after_the_unsubscribe_is_ignored),
        REMOTE_TEST(the_brokers_answer_is_the_level),
        REMOTE_TEST(the_brokers_refusal_is_the_status),
        REMOTE_TEST(no_answer_in_time_is_unknown_and_a_late_one_is_ignored),
        REMOTE_TEST(a_doubled_answer_completes_once),
        REMOTE_TEST(destroying_the_bus_cancels_what_was_never_answered),
        REMOTE_TEST(a_publish_that_the_backend_refuses_is_heard_by_nobody),
        REMOTE_TEST(the_size_limit_is_checked_at_the_publish),
        REMOTE_TEST(only_so_many_publishes_wait_for_an_answer),
        NARROW_TEST(only_so_many_bytes_wait_for_an_answer),
        NARROW_TEST(what_the_limit_refuses_is_a_line_a_second),
        NARROW_TEST(a_message_of_any_size_may_be_in_flight_alone),
        NARROW_TEST(what_a_hanging_broker_never_answers_goes_on_counting),
        NARROW_TEST(the_end_of_a_connection_lands_what_was_in_flight),
        REMOTE_TEST(what_is_answered_soon_does_not_wake_the_cores_thread),
        REMOTE_TEST(a_large_message_crosses_too),
        REMOTE_TEST(what_has_an_order_is_heard_when_it_comes_back),
        REMOTE_TEST(what_has_an_order_is_heard_once),
        REMOTE_TEST(its_completion_has_the_counts_of_the_return),
        REMOTE_TEST(its_completion_waits_for_the_return),
        REMOTE_TEST(however_many_others_speak_its_return_is_heard),
        REMOTE_TEST(what_the_broker_lost_of_it_is_a_gap_here_too),
        REMOTE_TEST(a_break_before_its_return_is_unknown_and_a_gap),
        POSITION_TEST(the_last_one_of_it_that_is_lost_is_found_by_its_position),
        POSITION_TEST(a_position_overtakes_nothing),
        REMOTE_TEST(no_return_in_time_is_unknown),
        REMOTE_TEST(where_nobody_listens_the_brokers_word_is_enough),
        REMOTE_TEST(who_leaves_before_the_return_holds_up_nobody),
        REMOTE_TEST(a_refused_topic_has_no_order_but_this_nodes),
        cmocka_unit_test_setup_teardown(what_is_published_while_its_topic_is_refused_is_heard_here,
                                        set_up_refusing, tear_down),
        DEGRADED_TEST(a_degraded_bus_has_no_order_but_its_own),
        BUFFERED_TEST(what_waits_in_the_buffer_has_its_order_from_the_broker),
        BUFFERED_TEST(what_waits_for_its_order_for_too_long_is_a_gap_here_too),
        cmocka_unit_test(a_broker_without_one_order_refuses),
        TWO_WAYS_TEST(what_has_one_order_goes_the_way_that_has_it),
        TWO_WAYS_TEST(where_that_way_is_shut_nobody_hears_it),
        TWO_WAYS_DEGRADED_TEST(where_that_way_is_shut_a_degraded_bus_makes_no_exception),
        cmocka_unit_test(whatever_breaks_each_publish_completes_once),
        cmocka_unit_test(who_comes_and_goes_while_connections_do_leaves_no_wait_behind),
        cmocka_unit_test(a_bus_that_is_destroyed_in_the_midst_ends_each_thing_once),
        REMOTE_TEST(while_down_a_publish_fails_before_anybody_hears_it),
        DEGRADED_TEST(a_degraded_bus_delivers_here_and_says_so),
        DEGRADED_TEST(a_backend_that_notices_first_degrades_as_well),
        DEGRADED_TEST(what_a_degraded_bus_kept_to_itself_is_a_gap_elsewhere),
        cmocka_unit_test_setup_teardown(
            what_a_node_alone_kept_to_itself_is_missed_when_it_says_no_more,
            set_up_degraded_positions, tear_down),
        BUFFERED_TEST(publishes_wait_for_the_broker_and_go_out_in_order),
        BUFFERED_TEST(what_comes_while_others_wait_goes_behind_them),
        BUFFERED_TEST(what_waits_survives_one_more_break),
        BUFFERED_TEST(what_does_not_fit_into_the_buffer_fails_as_without),
        BUFFERED_TEST(what_waits_for_too_long_is_never_sent_and_told),
        BUFFERED_TEST(what_waited_for_too_long_is_a_line_a_second),
        BUFFERED_TEST(destroying_the_bus_cancels_what_waits),
        REMOTE_TEST(what_was_in_flight_when_it_broke_is_unknown),
        REMOTE_TEST(what_was_lost_before_the_first_contact_is_told),
        REMOTE_TEST(what_a_broker_refused_before_the_first_contact_is_told),
        REMOTE_TEST(coming_up_again_renews_every_topic_and_tells_a_gap),
        REMOTE_TEST(the_first_time_up_is_no_gap),
        REMOTE_TEST(a_message_that_overtakes_the_word_comes_behind_the_gap),
        REMOTE_TEST(a_subscription_is_ready_when_the_broker_has_it),
        REMOTE_TEST(on_a_topic_that_stands_a_subscription_is_ready_at_once),
        REMOTE_TEST(all_that_wait_for_a_topic_are_ready_together),
        REMOTE_TEST(the_word_goes_by_the_mailbox_before_what_follows_it),
        REMOTE_TEST(who_leaves_while_waiting_is_never_ready),
        REMOTE_TEST(while_down_a_subscription_is_ready_at_once_and_due_a_gap),
        REMOTE_TEST(ready_before_the_first_time_up_is_due_a_gap),
        REMOTE_TEST(going_down_ends_the_wait_with_a_gap_to_come),
        REMOTE_TEST(a_refused_subscription_is_ready_and_told_so),
        REMOTE_TEST(who_does_not_wait_longer_is_due_a_gap),
        REMOTE_TEST(during_a_renewal_a_subscription_waits),
        REMOTE_TEST(destroying_the_bus_closes_who_waits),
        REMOTE_TEST(a_break_before_the_word_is_one_more_gap),
        REMOTE_TEST(a_message_from_before_does_not_hide_what_the_new_subscription_misses),
        REMOTE_TEST(a_topic_that_is_refused_does_not_keep_the_bus_down),
        REMOTE_TEST(the_last_topic_that_is_waited_for_may_go_instead),
        REMOTE_TEST(up_without_a_down_before_is_another_connection),
        REMOTE_TEST(one_remote_subscription_serves_all_here),
        REMOTE_TEST(a_subscriber_may_answer_on_the_brokers_own_thread),
        REMOTE_TEST(emits_reach_the_broker_in_the_order_of_the_calls),
        cmocka_unit_test(the_threads_of_a_bus_take_no_signals),
        cmocka_unit_test(a_backend_of_another_api_is_refused),
        cmocka_unit_test(a_backend_that_does_not_open_fails_the_create),
    };

    hub_log_set_level(HUB_LOG_ERROR); /* what the broker does here is worth a warning each time */
    return bus_suite_run(&fake) + cmocka_run_group_tests(tests, NULL, NULL);
}
