/* SPDX-License-Identifier: MIT */
/* What the core makes of what a broker hands over: lost, doubled, late, from other programs, or
 * nonsense. Nothing happens here unless the test lets the broker run, and time stands still. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "bus/internal.h"
#include "bus/log.h"
#include "bus/wire.h"
#include "test/pair.h"

/* ---- a broker that loses, doubles, reorders, is slow ---- */

static void say_deep(hub_bus_t *bus, const char *json, size_t depth)
{
    hub_message_t *msg = NULL;

    assert_int_equal(hub_message_create(HUB_STR("room:1"), HUB_STR("said"), hub_json(hub_str(json)),
                                        &(hub_message_options_t){.max_depth = depth}, &msg, NULL),
                     HUB_OK);
    assert_int_equal(hub_bus_publish(bus, msg, NULL), HUB_OK);
    hub_message_release(msg);
}

static void a_lost_message_is_a_gap_before_the_next(void **state)
{
    pair_t *fixture = *state;

    pair_say_far(fixture, 1, 1);
    pair_run(fixture);
    pair_set_faults(fixture, (fake_faults_t){.lose = 2});
    pair_say_far(fixture, 2, 4);
    pair_assert_heard(fixture, "1 gap(lost,2) 4");
    assert_int_equal(pair_stats(fixture->near).remote_missing, 2);
    assert_int_equal(pair_stats(fixture->near).remote_received, 2);
}

static void a_doubled_message_is_heard_once(void **state)
{
    pair_t *fixture = *state;

    pair_set_faults(fixture, (fake_faults_t){.twice = true});
    pair_say_far(fixture, 1, 3);
    pair_assert_heard(fixture, "1 2 3");
    assert_int_equal(pair_stats(fixture->near).remote_duplicates, 3);
}

static void a_message_that_was_overtaken_is_a_gap_and_never_heard(void **state)
{
    pair_t *fixture = *state;

    pair_say_far(fixture, 1, 1);
    pair_run(fixture);
    pair_set_faults(fixture, (fake_faults_t){.swap = true});
    pair_say_far(fixture, 2, 5);
    pair_assert_heard(fixture, "1 gap(lost,1) 3 gap(lost,1) 5");
    assert_int_equal(pair_stats(fixture->near).remote_duplicates, 2);
}

static void a_slow_broker_slows_nobody_here(void **state)
{
    pair_t *fixture = *state;
    listener_t far = {0};

    pair_set_faults(fixture, (fake_faults_t){.slow = true});
    listener_start(&far, fixture->far, "room:1", NULL);
    pair_say_far(fixture, 1, 3);
    assert_string_equal(listener_heard(&far), "1 2 3");
    pair_assert_heard(fixture, "");
    pair_set_faults(fixture, (fake_faults_t){0});
    pair_assert_heard(fixture, "1 2 3");
    listener_stop(&far);
}

/* Who listens to room:2 from now on hears what the other node says next, and of no gap. */
static void assert_next_is_heard_alone(pair_t *fixture, const char *json)
{
    listener_t late = {0};

    listener_start(&late, fixture->near, "room:2", NULL);
    say(fixture->far, "room:2", json);
    pair_run(fixture);
    assert_string_equal(listener_heard(&late), json);
    listener_stop(&late);
}

static void the_first_contact_with_a_node_is_no_gap(void **state)
{
    pair_t *fixture = *state;

    say(fixture->far, "room:2", "1");
    say(fixture->far, "room:2", "2");
    pair_run(fixture);
    assert_next_is_heard_alone(fixture, "3");
}

/* Its node was cut off with it, and who listened had not heard of that node yet: no number shows
 * that one is missing. */
static void what_was_lost_before_the_first_contact_is_told(void **state)
{
    pair_t *fixture = *state;

    pair_set_faults(fixture, (fake_faults_t){.lose = 1, .answers = FAKE_ANSWERS_NEVER});
    pair_say_far(fixture, 1, 1);
    fake_broker_run(fixture->broker);
    fake_broker_disconnect(fixture->broker, fixture->far);
    pair_set_faults(fixture, (fake_faults_t){0});
    fake_broker_connect(fixture->broker, fixture->far);
    pair_run(fixture);
    pair_say_far(fixture, 2, 3);
    pair_assert_heard(fixture, "gap(lost,0) 2 3");
}

/* Nobody is to blame for the connection: the broker took it not. */
static void what_a_broker_refused_before_the_first_contact_is_told(void **state)
{
    pair_t *fixture = *state;

    pair_set_faults(fixture, (fake_faults_t){.lose = 1, .verdict = HUB_EREJECTED});
    pair_say_far(fixture, 1, 1);
    pair_run(fixture);
    pair_set_faults(fixture, (fake_faults_t){0});
    pair_say_far(fixture, 2, 3);
    pair_assert_heard(fixture, "gap(lost,0) 2 3");
}

/* `bytes` as message number `seq`, with one byte of it as a later version may have it. */
static void inject_later(pair_t *fixture, hub_str_t bytes, char seq, size_t at, char byte)
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
    pair_t *fixture = *state;
    hub_str_t first;

    pair_say_far(fixture, 1, 1);
    pair_run(fixture);
    first = fake_broker_last_bytes(fixture->broker);
    inject_later(fixture, first, 2, 0, 2);
    assert_int_equal(pair_stats(fixture->near).remote_invalid, 1);
    inject_later(fixture, first, 3, 0, 1);
    pair_assert_heard(fixture, "1 gap(lost,1) 1");
    assert_int_equal(pair_stats(fixture->near).remote_missing, 1);
}

static void a_flag_of_later_versions_is_ignored(void **state)
{
    pair_t *fixture = *state;

    pair_say_far(fixture, 1, 1);
    pair_run(fixture);
    inject_later(fixture, fake_broker_last_bytes(fixture->broker), 2, 4, 0x40);
    pair_assert_heard(fixture, "1 1");
    assert_int_equal(pair_stats(fixture->near).remote_invalid, 0);
}

static void what_was_heard_of_a_node_ends_with_the_topic(void **state)
{
    pair_t *fixture = *state;
    listener_t first = {0};

    listener_start(&first, fixture->near, "room:2", NULL);
    say(fixture->far, "room:2", "1");
    pair_run(fixture);
    listener_stop(&first);
    say(fixture->far, "room:2", "2");
    pair_run(fixture);
    assert_next_is_heard_alone(fixture, "3");
}

static void each_node_has_numbers_of_its_own(void **state)
{
    pair_t *fixture = *state;
    hub_bus_t *third = pair_open(fixture->broker, &(hub_bus_options_t){0});

    pair_run(fixture);
    pair_say_far(fixture, 1, 2);
    say(third, "room:1", "10");
    pair_say_far(fixture, 3, 3);
    say(third, "room:1", "11");
    pair_assert_heard(fixture, "1 2 10 3 11");
    hub_bus_destroy(third);
}

static void a_numbering_that_began_anew_counts_from_one(void **state)
{
    pair_t *fixture = *state;

    pair_inject(fixture, 9, 5, 7, "1");
    pair_inject(fixture, 9, 6, 1, "2");
    pair_inject(fixture, 9, 8, 3, "3");
    pair_assert_heard(fixture, "1 2 gap(lost,2) 3");
}

static void a_message_of_an_earlier_numbering_is_too_late(void **state)
{
    pair_t *fixture = *state;

    pair_inject(fixture, 9, 5, 7, "1");
    pair_inject(fixture, 9, 4, 8, "2");
    pair_inject(fixture, 9, 5, 8, "3");
    pair_assert_heard(fixture, "1 3");
    assert_int_equal(pair_stats(fixture->near).remote_duplicates, 1);
}

/* 256 nodes are known on a topic; the one that was silent longest makes room. */
static void only_so_many_nodes_are_remembered(void **state)
{
    pair_t *fixture = *state;

    for (uint64_t node = 1; node <= 256; node++)
        pair_inject(fixture, node, 1, 1, "0");
    pair_inject(fixture, 1, 1, 2, "0");
    pair_inject(fixture, 257, 1, 1, "0"); /* for 2 */
    pair_run(fixture);
    listener_clear(&fixture->heard);
    pair_inject(fixture, 1, 1, 4, "1");
    pair_inject(fixture, 3, 1, 3, "3");
    pair_inject(fixture, 2, 1, 9, "2"); /* for 4 */
    pair_inject(fixture, 257, 1, 3, "257");
    pair_assert_heard(fixture, "gap(lost,1) 1 gap(lost,1) 3 2 gap(lost,1) 257");
}

static void a_payload_as_deep_as_its_node_allows_is_taken(void **state)
{
    pair_t *fixture = *state;
    char json[2 * 256 + 1] = {0};

    memset(json, '[', 256);
    memset(json + 256, ']', 256);
    say_deep(fixture->far, json, 256);
    pair_assert_heard(fixture, json);
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
static void say_on_many_topics(pair_t *fixture, int topics, int every)
{
    char topic[32];
    int index = 0;

    for (int i = 1; i <= topics; i++) {
        say(fixture->far, next_neighbour(&index, topic, sizeof(topic)), "0");
        if (i % every == 0)
            say(fixture->far, "room:1", "0");
    }
    pair_run(fixture);
    listener_clear(&fixture->heard);
}

static void a_topic_in_use_keeps_its_numbers(void **state)
{
    pair_t *fixture = *state;
    char incarnation[8];

    pair_say_far(fixture, 1, 1);
    memcpy(incarnation, fake_broker_last_bytes(fixture->broker).base + 16, 8);
    say_on_many_topics(fixture, 6000, 3000);
    pair_say_far(fixture, 2, 2);
    assert_memory_equal(incarnation, fake_broker_last_bytes(fixture->broker).base + 16, 8);
    pair_assert_heard(fixture, "2");
}

static void a_topic_long_out_of_use_is_numbered_anew_and_followed(void **state)
{
    pair_t *fixture = *state;
    char incarnation[8];

    pair_say_far(fixture, 1, 3);
    memcpy(incarnation, fake_broker_last_bytes(fixture->broker).base + 16, 8);
    say_on_many_topics(fixture, 4096, 5000);
    pair_say_far(fixture, 4, 4);
    assert_memory_not_equal(incarnation, fake_broker_last_bytes(fixture->broker).base + 16, 8);
    pair_run(fixture);
    pair_set_faults(fixture, (fake_faults_t){.lose = 1});
    pair_say_far(fixture, 5, 6);
    pair_assert_heard(fixture, "4 gap(lost,1) 6");
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
    pair_t *fixture = *state;
    size_t count = sizeof(junk) / sizeof(junk[0]);
    char bytes[128];
    hub_str_t good;

    pair_say_far(fixture, 1, 1);
    good = fake_broker_last_bytes(fixture->broker);
    assert_true(good.len == HUB__WIRE_HEADER_BYTES + 5);
    for (size_t i = 0; i < count; i++) {
        memcpy(bytes, good.base, good.len);
        bytes[junk[i].at] = (char)junk[i].byte;
        fake_broker_inject(fixture->broker, fixture->near, HUB_STR("hub:room:1"),
                           hub_str_n(bytes, good.len));
        assert_int_equal(pair_stats(fixture->near).remote_invalid, i + 1);
    }
    pair_assert_heard(fixture, "1");
}

static void an_envelope_cut_anywhere_is_junk(void **state)
{
    pair_t *fixture = *state;
    char bytes[128];
    hub_str_t good;

    pair_say_far(fixture, 1, 1);
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
    assert_int_equal(pair_stats(fixture->near).remote_invalid, good.len + 1);
    pair_assert_heard(fixture, "1");
}

static void zero_is_no_node_no_incarnation_and_no_number(void **state)
{
    static const size_t fields[] = {8, 16, 24};
    pair_t *fixture = *state;
    char bytes[128];
    hub_str_t good;

    pair_say_far(fixture, 1, 1);
    good = fake_broker_last_bytes(fixture->broker);
    for (size_t i = 0; i < 3; i++) {
        memcpy(bytes, good.base, good.len);
        memset(bytes + fields[i], 0, 8);
        fake_broker_inject(fixture->broker, fixture->near, HUB_STR("hub:room:1"),
                           hub_str_n(bytes, good.len));
    }
    assert_int_equal(pair_stats(fixture->near).remote_invalid, 3);
}

static void a_topic_of_somebody_else_is_junk(void **state)
{
    pair_t *fixture = *state;

    pair_say_far(fixture, 1, 1);
    fake_broker_inject(fixture->broker, fixture->near, HUB_STR("hug:room:1"),
                       fake_broker_last_bytes(fixture->broker));
    fake_broker_inject(fixture->broker, fixture->near, HUB_STR("hub:"),
                       fake_broker_last_bytes(fixture->broker));
    assert_int_equal(pair_stats(fixture->near).remote_invalid, 2);
}

static void a_kind_of_later_versions_is_left_alone(void **state)
{
    pair_t *fixture = *state;

    fake_broker_inject(fixture->broker, fixture->near, HUB_STR("hub:room:1"), HUB_STR("\1\4abc"));
    assert_int_equal(pair_stats(fixture->near).remote_invalid, 0);
    pair_assert_heard(fixture, "");
}

static void a_message_that_is_on_its_way_after_the_unsubscribe_is_ignored(void **state)
{
    pair_t *fixture = *state;

    say(fixture->far, "room:2", "1");
    fake_broker_inject(fixture->broker, fixture->near, HUB_STR("hub:room:2"),
                       fake_broker_last_bytes(fixture->broker));
    assert_int_equal(pair_stats(fixture->near).remote_received, 0);
    assert_int_equal(pair_stats(fixture->near).remote_invalid, 0);
}

/* ---- what other programs publish ---- */

static void inject_text(pair_t *fixture, const char *text)
{
    char *exact = malloc(strlen(text)); /* so that a byte too far is seen */

    memcpy(exact, text, strlen(text));
    fake_broker_inject(fixture->broker, fixture->near, HUB_STR("hub:room:1"),
                       hub_str_n(exact, strlen(text)));
    free(exact);
}

static void a_program_publishes_in_json(void **state)
{
    pair_t *fixture = *state;

    inject_text(fixture, "{\"event\":\"said\",\"payload\":{\"a\":[1]}}");
    inject_text(fixture, " \n{ \"payload\" : 7 , \"more\" : {} , \"event\" : \"sa\\u0069d\" } ");
    inject_text(fixture, "{\"event\":\"said\"}");
    inject_text(fixture, "{\"event\":\"said\",\"payload\":1,\"payload\":2}");
    pair_assert_heard(fixture, "{\"a\":[1]} 7 {} 2");
    assert_int_equal(pair_stats(fixture->near).remote_plain, 4);
    assert_int_equal(pair_stats(fixture->near).remote_received, 4);
}

static void what_a_program_publishes_has_no_numbers_to_miss(void **state)
{
    pair_t *fixture = *state;

    pair_say_far(fixture, 1, 1);
    pair_run(fixture);
    inject_text(fixture, "{\"event\":\"said\",\"payload\":\"x\"}");
    inject_text(fixture, "{\"event\":\"said\",\"payload\":\"x\"}");
    pair_say_far(fixture, 2, 2);
    pair_assert_heard(fixture, "1 \"x\" \"x\" 2");
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
    pair_t *fixture = *state;
    size_t count = sizeof(junk) / sizeof(junk[0]);

    for (size_t i = 0; i < count; i++) {
        inject_text(fixture, junk[i]);
        assert_int_equal(pair_stats(fixture->near).remote_invalid, i + 1);
    }
    pair_assert_heard(fixture, "");
}

static void an_event_with_escapes_has_its_bound(void **state)
{
    pair_t *fixture = *state;
    hub__buffer_t text = {0};

    for (int letters = 1023; letters <= 1024; letters++) {
        hub__buffer_clear(&text);
        hub__buffer_printf(&text, "{\"event\":\"\\n%0*d\"}", letters, 1);
        inject_text(fixture, text.base);
        assert_int_equal(pair_stats(fixture->near).remote_invalid, letters == 1024);
    }
    pair_assert_heard(fixture, "{}");
    hub__buffer_dispose(&text);
}

#define REMOTE_TEST(name) cmocka_unit_test_setup_teardown(name, pair_set_up, pair_tear_down)

int main(void)
{
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
        REMOTE_TEST(what_was_lost_before_the_first_contact_is_told),
        REMOTE_TEST(what_a_broker_refused_before_the_first_contact_is_told),
        REMOTE_TEST(a_message_that_is_on_its_way_after_the_unsubscribe_is_ignored),
    };

    hub_log_set_level(HUB_LOG_ERROR); /* what the broker does here is worth a warning each time */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
