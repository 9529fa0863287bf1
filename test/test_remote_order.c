/* SPDX-License-Identifier: MIT */
/* What is heard when it comes back from the broker, in one order on all nodes. Nothing happens here
 * unless the test lets the broker run, and time stands still. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "bus/internal.h"
#include "bus/log.h"
#include "test/pair.h"

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
    return pair_set_up_with(
        state, (hub_bus_options_t){.backend = &two_ways, .position_interval_ms = 1000});
}

static int set_up_two_ways_degraded(void **state)
{
    two_ways = fake_backend;
    two_ways.publish_ordered = publish_ordered;
    return pair_set_up_with(state,
                            (hub_bus_options_t){.backend = &two_ways, .degraded_local = true});
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
    return pair_set_up_with(state, (hub_bus_options_t){.backend = &refusing});
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

static void listen_far(pair_t *fixture, listener_t *far)
{
    listener_start(far, fixture->far, "room:1", NULL);
    pair_run(fixture);
}

static void say_far_in_order(pair_t *fixture, const char *json)
{
    say_in_order(fixture->far, json);
    pair_run(fixture);
}

static void say_in_order_and_ask(pair_t *fixture, const char *json)
{
    assert_int_equal(
        try_say_in_order(fixture->far, json,
                         &(hub_bus_publish_options_t){.on_published = pair_on_published,
                                                      .user = fixture,
                                                      .executor = &fixture->loop.base}),
        HUB_OK);
}

static void what_has_an_order_is_heard_when_it_comes_back(void **state)
{
    pair_t *fixture = *state;
    listener_t far = {0};

    listen_far(fixture, &far);
    say_in_order(fixture->far, "1");
    say_in_order(fixture->near, "2");
    say_in_order(fixture->far, "3");
    assert_string_equal(listener_heard(&far), "");
    pair_assert_heard(fixture, "1 2 3");
    assert_string_equal(listener_heard(&far), "1 2 3");
    assert_int_equal(pair_stats(fixture->far).published, 2);
    assert_int_equal(pair_stats(fixture->far).remote_received, 1);
    listener_stop(&far);
}

static void what_has_an_order_is_heard_once(void **state)
{
    pair_t *fixture = *state;
    listener_t far = {0};

    listen_far(fixture, &far);
    pair_set_faults(fixture, (fake_faults_t){.twice = true});
    say_in_order(fixture->far, "1");
    say_in_order(fixture->far, "2");
    pair_assert_heard(fixture, "1 2");
    assert_string_equal(listener_heard(&far), "1 2");
    listener_stop(&far);
}

static void its_completion_has_the_counts_of_the_return(void **state)
{
    pair_t *fixture = *state;
    listener_t far = {.counts = {.members = 3, .queued = 2}};

    listen_far(fixture, &far);
    pair_set_faults(fixture, (fake_faults_t){.answers = FAKE_ANSWERS_LATE});
    say_in_order_and_ask(fixture, "1");
    pair_run(fixture);
    assert_string_equal(listener_heard(&far), "1");
    assert_int_equal(fixture->completions, 0); /* the broker's word is still to come */
    fake_broker_answer_late(fixture->broker);
    pair_assert_completed(fixture, HUB_OK, HUB_LEVEL_BUS);
    assert_int_equal(fixture->result.counts.members, 3);
    assert_int_equal(fixture->result.counts.queued, 2);
    listener_stop(&far);
}

static void its_completion_waits_for_the_return(void **state)
{
    pair_t *fixture = *state;
    listener_t far = {.counts = {.members = 3}};

    listen_far(fixture, &far);
    pair_set_faults(fixture, (fake_faults_t){.swap = true});
    say_in_order_and_ask(fixture, "1");
    pair_run(fixture); /* answered, and delivered behind the next one */
    assert_int_equal(fixture->completions, 0);
    assert_int_equal(pair_stats(fixture->far).in_flight, 1);
    say(fixture->near, "room:2", "0");
    pair_run(fixture);
    pair_assert_completed(fixture, HUB_OK, HUB_LEVEL_BUS);
    assert_int_equal(fixture->result.counts.members, 3);
    assert_int_equal(pair_stats(fixture->far).in_flight, 0);
    listener_stop(&far);
}

/* Even the first one: who said it knows that it was said. */
static void however_many_others_speak_its_return_is_heard(void **state)
{
    pair_t *fixture = *state;

    listener_clear(&fixture->heard);
    say_in_order(fixture->near, "1");
    for (uint64_t node = 1; node <= 300; node++)
        pair_inject(fixture, node, 1, 1, "0");
    test_executor_turn(&fixture->loop);
    listener_clear(&fixture->heard);
    say_in_order(fixture->near, "2");
    pair_assert_heard(fixture, "1 2");
    assert_int_equal(pair_stats(fixture->near).remote_duplicates, 0);
}

static void what_the_broker_lost_of_it_is_a_gap_here_too(void **state)
{
    pair_t *fixture = *state;
    listener_t far = {0};

    listen_far(fixture, &far);
    pair_set_faults(fixture, (fake_faults_t){.lose = 1});
    say_in_order_and_ask(fixture, "1");
    say_far_in_order(fixture, "2");
    assert_string_equal(listener_heard(&far), "gap(lost,1) 2");
    pair_assert_completed(fixture, HUB_EUNKNOWN, HUB_LEVEL_LOCAL);
    assert_int_equal(pair_stats(fixture->far).remote_missing, 1);
    assert_int_equal(pair_stats(fixture->far).unknown, 1);
    assert_int_equal(pair_stats(fixture->far).in_flight, 0);
    listener_stop(&far);
}

static void a_break_before_its_return_is_unknown_and_a_gap(void **state)
{
    pair_t *fixture = *state;
    listener_t far = {0};

    listen_far(fixture, &far);
    pair_set_faults(fixture, (fake_faults_t){.lose = 1});
    say_in_order_and_ask(fixture, "1");
    pair_run(fixture); /* answered, not returned */
    test_executor_turn(&fixture->loop);
    assert_int_equal(fixture->completions, 0);
    fake_broker_disconnect(fixture->broker, fixture->far);
    pair_assert_completed(fixture, HUB_EUNKNOWN, HUB_LEVEL_LOCAL);
    fake_broker_connect(fixture->broker, fixture->far);
    pair_run(fixture);
    assert_string_equal(listener_heard(&far), "gap(bus,0)");
    listener_stop(&far);
}

static void the_last_one_of_it_that_is_lost_is_found_by_its_position(void **state)
{
    pair_t *fixture = *state;
    listener_t far = {0};

    listen_far(fixture, &far);
    say_far_in_order(fixture, "1");
    pair_set_faults(fixture, (fake_faults_t){.lose = 1});
    say_in_order_and_ask(fixture, "2");
    pair_run(fixture);
    assert_string_equal(listener_heard(&far), "1");
    atomic_store(&fixture->now_ms, 1000);
    hub__remote_clock_moved(fixture->far);
    pair_run(fixture);
    assert_string_equal(listener_heard(&far), "1 gap(lost,1)");
    pair_assert_completed(fixture, HUB_EUNKNOWN, HUB_LEVEL_LOCAL);
    pair_assert_heard(fixture, "1 gap(lost,1)");
    listener_stop(&far);
}

/* The position is older than what is still on its way. */
static void a_position_overtakes_nothing(void **state)
{
    pair_t *fixture = *state;
    listener_t far = {0};

    listen_far(fixture, &far);
    say_in_order(fixture->far, "1");
    atomic_store(&fixture->now_ms, 1000);
    hub__remote_clock_moved(fixture->far); /* the position of 1 */
    say_in_order_and_ask(fixture, "2");
    pair_run(fixture);
    assert_string_equal(listener_heard(&far), "1 2");
    pair_assert_completed(fixture, HUB_OK, HUB_LEVEL_BUS);
    listener_stop(&far);
}

static void no_return_in_time_is_unknown(void **state)
{
    pair_t *fixture = *state;
    listener_t far = {0};

    listen_far(fixture, &far);
    pair_set_faults(fixture, (fake_faults_t){.swap = true});
    say_in_order_and_ask(fixture, "1");
    pair_run(fixture);
    atomic_store(&fixture->now_ms, 5000);
    hub__remote_clock_moved(fixture->far);
    pair_assert_completed(fixture, HUB_EUNKNOWN, HUB_LEVEL_LOCAL);
    say(fixture->near, "room:2", "0");
    pair_run(fixture);
    assert_string_equal(listener_heard(&far), "1"); /* late, and in its place all the same */
    assert_int_equal(fixture->completions, 1);
    listener_stop(&far);
}

static void where_nobody_listens_the_brokers_word_is_enough(void **state)
{
    pair_t *fixture = *state;

    say_in_order_and_ask(fixture, "1");
    pair_assert_heard(fixture, "1");
    pair_assert_completed(fixture, HUB_OK, HUB_LEVEL_BUS);
}

static void who_leaves_before_the_return_holds_up_nobody(void **state)
{
    pair_t *fixture = *state;
    listener_t far = {0};

    listen_far(fixture, &far);
    pair_set_faults(fixture, (fake_faults_t){.swap = true});
    say_in_order_and_ask(fixture, "1");
    pair_run(fixture);
    assert_int_equal(fixture->completions, 0);
    listener_stop(&far);
    pair_assert_completed(fixture, HUB_OK, HUB_LEVEL_BUS);
}

static void a_refused_topic_has_no_order_but_this_nodes(void **state)
{
    pair_t *fixture = *state;
    listener_t far = {0};

    pair_set_faults(fixture, (fake_faults_t){.refuse_topics = HUB_EREJECTED});
    listen_far(fixture, &far);
    say_in_order_and_ask(fixture, "1");
    assert_string_equal(listener_heard(&far), "gap(bus,0) 1");
    pair_assert_heard(fixture, "1");
    pair_assert_completed(fixture, HUB_OK, HUB_LEVEL_BUS);
    listener_stop(&far);
}

static void what_is_published_while_its_topic_is_refused_is_heard_here(void **state)
{
    pair_t *fixture = *state;
    listener_t far = {0};

    pair_set_faults(fixture, (fake_faults_t){.late = true});
    listen_far(fixture, &far);
    refused_on = fixture->far;
    say_in_order_and_ask(fixture, "1");
    assert_null(refused_on);
    assert_string_equal(listener_heard(&far), "gap(bus,0) 1");
    pair_assert_heard(fixture, "1");
    pair_assert_completed(fixture, HUB_OK, HUB_LEVEL_BUS);
    listener_stop(&far);
}

static void a_degraded_bus_has_no_order_but_its_own(void **state)
{
    pair_t *fixture = *state;
    listener_t far = {0};

    listen_far(fixture, &far);
    say_far_in_order(fixture, "1");
    fake_broker_disconnect(fixture->broker, fixture->far);
    say_in_order_and_ask(fixture, "2");
    assert_string_equal(listener_heard(&far), "1 2");
    pair_assert_completed(fixture, HUB_EBUSDOWN, HUB_LEVEL_LOCAL);
    fake_broker_connect(fixture->broker, fixture->far);
    pair_run(fixture);
    say_far_in_order(fixture, "3");
    assert_string_equal(listener_heard(&far), "1 2 gap(bus,0) 3");
    listener_stop(&far);
}

static void what_waits_in_the_buffer_has_its_order_from_the_broker(void **state)
{
    pair_t *fixture = *state;
    listener_t far = {0};

    listen_far(fixture, &far);
    fake_broker_disconnect(fixture->broker, fixture->far);
    say_in_order_and_ask(fixture, "1");
    say_in_order(fixture->near, "2");
    assert_string_equal(listener_heard(&far), "");
    pair_come_up(fixture);
    pair_assert_heard(fixture, "2 1");
    assert_string_equal(listener_heard(&far), "gap(bus,0) 2 1"); /* by then it stood again */
    pair_assert_completed(fixture, HUB_OK, HUB_LEVEL_BUS);
    listener_stop(&far);
}

/* Nobody heard it, here or elsewhere. */
static void what_waits_for_its_order_for_too_long_is_a_gap_here_too(void **state)
{
    pair_t *fixture = *state;
    listener_t far = {0};

    listen_far(fixture, &far);
    say_far_in_order(fixture, "1");
    fake_broker_disconnect(fixture->broker, fixture->far);
    say_in_order(fixture->far, "2");
    atomic_store(&fixture->now_ms, 5000);
    hub__remote_clock_moved(fixture->far);
    pair_come_up(fixture);
    say_in_order(fixture->far, "3");
    pair_assert_heard(fixture, "1 gap(lost,1) 3");
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
    pair_t *fixture = *state;

    say(fixture->far, "room:1", "1");
    assert_int_equal(by_the_other_way, 0);
    say_in_order(fixture->far, "2");
    assert_int_equal(by_the_other_way, 1);
    pair_assert_heard(fixture, "1 2");
    atomic_store(&fixture->now_ms, 1000);
    hub__remote_clock_moved(fixture->far); /* the positions of both */
    assert_int_equal(by_the_other_way, 2);
}

/* Neither here nor anywhere, nor as something to wait for. */
static void where_that_way_is_shut_nobody_hears_it(void **state)
{
    pair_t *fixture = *state;

    other_way_status = HUB_EREJECTED;
    assert_int_equal(try_say_in_order(fixture->far, "1", NULL), HUB_EBUSDOWN);
    assert_int_equal(pair_stats(fixture->far).refused_broker, 1);
    assert_int_equal(pair_stats(fixture->far).in_flight, 0);
    other_way_status = HUB_OK;
    say_in_order(fixture->far, "2");
    pair_assert_heard(fixture, "2");
}

static void where_that_way_is_shut_a_degraded_bus_makes_no_exception(void **state)
{
    pair_t *fixture = *state;
    listener_t far = {0};

    listen_far(fixture, &far);
    other_way_status = HUB_EREJECTED;
    assert_int_equal(try_say_in_order(fixture->far, "1", NULL), HUB_EBUSDOWN);
    assert_string_equal(listener_heard(&far), "");
    listener_stop(&far);
}

#define REMOTE_TEST(name) cmocka_unit_test_setup_teardown(name, pair_set_up, pair_tear_down)
#define BUFFERED_TEST(name)                                                                        \
    cmocka_unit_test_setup_teardown(name, pair_set_up_buffered, pair_tear_down)
#define POSITION_TEST(name)                                                                        \
    cmocka_unit_test_setup_teardown(name, pair_set_up_positions, pair_tear_down)
#define TWO_WAYS_TEST(name) cmocka_unit_test_setup_teardown(name, set_up_two_ways, pair_tear_down)
#define TWO_WAYS_DEGRADED_TEST(name)                                                               \
    cmocka_unit_test_setup_teardown(name, set_up_two_ways_degraded, pair_tear_down)
#define DEGRADED_TEST(name)                                                                        \
    cmocka_unit_test_setup_teardown(name, pair_set_up_degraded, pair_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
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
                                        set_up_refusing, pair_tear_down),
        DEGRADED_TEST(a_degraded_bus_has_no_order_but_its_own),
        BUFFERED_TEST(what_waits_in_the_buffer_has_its_order_from_the_broker),
        BUFFERED_TEST(what_waits_for_its_order_for_too_long_is_a_gap_here_too),
        cmocka_unit_test(a_broker_without_one_order_refuses),
        TWO_WAYS_TEST(what_has_one_order_goes_the_way_that_has_it),
        TWO_WAYS_TEST(where_that_way_is_shut_nobody_hears_it),
        TWO_WAYS_DEGRADED_TEST(where_that_way_is_shut_a_degraded_bus_makes_no_exception),
    };

    hub_log_set_level(HUB_LOG_ERROR); /* what the broker does here is worth a warning each time */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
