/* SPDX-License-Identifier: MIT */
/* What becomes of a publish: the broker answers late, twice or never, has its limits, or is away.
 * Nothing happens here unless the test lets the broker run, and time stands still. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "bus/internal.h"
#include "bus/log.h"
#include "bus/remote.h"
#include "bus/wire.h"
#include "test/pair.h"

/* Of publishes of "1" to "room:1", three. */
#define ONE_IN_FLIGHT (10 + HUB__WIRE_HEADER_BYTES + 4 + 1)

static int set_up_narrow(void **state)
{
    return pair_set_up_with(state, (hub_bus_options_t){.in_flight_bytes = 3 * ONE_IN_FLIGHT + 1});
}

static int set_up_degraded_positions(void **state)
{
    return pair_set_up_with(
        state, (hub_bus_options_t){.degraded_local = true, .position_interval_ms = 1000});
}

/* ---- answers ---- */

static void the_brokers_answer_is_the_level(void **state)
{
    pair_t *fixture = *state;

    assert_int_equal(pair_say_and_ask(fixture, "1"), HUB_OK);
    test_executor_turn(&fixture->loop);
    assert_int_equal(fixture->completions, 0);
    fake_broker_run(fixture->broker);
    pair_assert_completed(fixture, HUB_OK, HUB_LEVEL_BUS);
}

static void the_brokers_refusal_is_the_status(void **state)
{
    pair_t *fixture = *state;

    pair_set_faults(fixture, (fake_faults_t){.verdict = HUB_ELIMIT});
    assert_int_equal(pair_say_and_ask(fixture, "1"), HUB_OK);
    fake_broker_run(fixture->broker);
    pair_assert_completed(fixture, HUB_ELIMIT, HUB_LEVEL_LOCAL);
    assert_int_equal(pair_stats(fixture->far).unknown, 0);
}

static bool is_completed(void *arg)
{
    return ((pair_t *)arg)->completions > 0;
}

static void no_answer_in_time_is_unknown_and_a_late_one_is_ignored(void **state)
{
    pair_t *fixture = *state;

    pair_set_faults(fixture, (fake_faults_t){.answers = FAKE_ANSWERS_LATE});
    assert_int_equal(pair_say_and_ask(fixture, "1"), HUB_OK);
    atomic_store(&fixture->now_ms, 4999);
    hub__remote_clock_moved(fixture->far);
    assert_int_equal(pair_say_and_ask(fixture, "2"), HUB_OK);
    pair_run(fixture);
    assert_int_equal(fixture->completions, 0);
    atomic_store(&fixture->now_ms, 5000);
    hub__remote_clock_moved(fixture->far);
    assert_true(test_executor_run_until(&fixture->loop, is_completed, fixture));
    pair_assert_completed(fixture, HUB_EUNKNOWN, HUB_LEVEL_LOCAL);
    fixture->completions = 0;
    fake_broker_answer_late(fixture->broker);
    pair_assert_completed(fixture, HUB_OK, HUB_LEVEL_BUS); /* of the second */
    assert_int_equal(pair_stats(fixture->far).unknown, 1);
}

static void a_doubled_answer_completes_once(void **state)
{
    pair_t *fixture = *state;

    pair_set_faults(fixture, (fake_faults_t){.answers = FAKE_ANSWERS_TWICE});
    assert_int_equal(pair_say_and_ask(fixture, "1"), HUB_OK);
    fake_broker_run(fixture->broker);
    pair_assert_completed(fixture, HUB_OK, HUB_LEVEL_BUS);
}

static void destroying_the_bus_cancels_what_was_never_answered(void **state)
{
    pair_t *fixture = *state;

    pair_set_faults(fixture, (fake_faults_t){.answers = FAKE_ANSWERS_NEVER});
    assert_int_equal(pair_say_and_ask(fixture, "1"), HUB_OK);
    pair_run(fixture);
    hub_bus_destroy(fixture->far);
    fixture->far = NULL;
    pair_assert_completed(fixture, HUB_ECANCELLED, HUB_LEVEL_LOCAL);
}

static void a_publish_that_the_backend_refuses_is_heard_by_nobody(void **state)
{
    pair_t *fixture = *state;
    listener_t far = {0};

    listener_start(&far, fixture->far, "room:1", NULL);
    pair_say_far(fixture, 1, 1);
    pair_set_faults(fixture, (fake_faults_t){.refuse = HUB_ELIMIT});
    assert_int_equal(pair_say_and_ask(fixture, "2"), HUB_ELIMIT);
    pair_set_faults(fixture, (fake_faults_t){0});
    pair_say_far(fixture, 3, 3);
    pair_assert_heard(fixture, "1 3"); /* and no gap: it took no number */
    assert_string_equal(listener_heard(&far), "1 3");
    test_executor_turn(&fixture->loop);
    assert_int_equal(fixture->completions, 0);
    listener_stop(&far);
}

static void the_size_limit_is_checked_at_the_publish(void **state)
{
    pair_t *fixture = *state;
    /* the payload "1" with the event "said" */
    size_t bytes = HUB__WIRE_HEADER_BYTES + 4 + 1;

    pair_set_faults(fixture, (fake_faults_t){.largest = bytes});
    assert_int_equal(try_say(fixture->far, "room:1", "1", NULL), HUB_OK);
    assert_int_equal(try_say(fixture->far, "room:1", "12", NULL), HUB_ETOOLARGE);
    assert_int_equal(hub_bus_largest_message(fixture->far), 0);
    pair_set_faults(fixture, (fake_faults_t){.largest = 8000});
    assert_int_equal(hub_bus_largest_message(fixture->far), 8000 - 72 - 1024);
    pair_set_faults(fixture, (fake_faults_t){0});
    assert_true(hub_bus_largest_message(fixture->far) == SIZE_MAX);
    pair_assert_heard(fixture, "1");
}

static void only_so_many_publishes_wait_for_an_answer(void **state)
{
    pair_t *fixture = *state;
    hub_message_t *msg = message_make("room:1", "1");
    listener_t far = {0};

    for (int i = 0; i < 64 * 1024; i++)
        assert_int_equal(hub_bus_publish(fixture->far, msg, NULL), HUB_OK);
    listener_start(&far, fixture->far, "room:1", NULL);
    assert_int_equal(hub_bus_publish(fixture->far, msg, NULL), HUB_ELIMIT);
    assert_string_equal(listener_heard(&far), "");
    pair_run(fixture);
    assert_int_equal(hub_bus_publish(fixture->far, msg, NULL), HUB_OK);
    hub_message_release(msg);
    listener_stop(&far);
}

static void assert_in_flight(pair_t *fixture, unsigned count)
{
    hub_bus_stats_t stats = pair_stats(fixture->far);

    assert_int_equal(stats.in_flight, count);
    assert_int_equal(stats.in_flight_bytes, count * ONE_IN_FLIGHT);
}

static void only_so_many_bytes_wait_for_an_answer(void **state)
{
    pair_t *fixture = *state;
    listener_t far = {0};

    pair_say_far(fixture, 1, 3);
    assert_in_flight(fixture, 3);
    listener_start(&far, fixture->far, "room:1", NULL);
    assert_int_equal(try_say(fixture->far, "room:1", "4", NULL), HUB_ELIMIT);
    assert_string_equal(listener_heard(&far), "");
    assert_int_equal(pair_stats(fixture->far).refused_limit, 1);
    pair_assert_heard(fixture, "1 2 3");
    assert_in_flight(fixture, 0);
    pair_say_far(fixture, 5, 5);
    pair_assert_heard(fixture, "1 2 3 5"); /* and no gap: it took no number */
    listener_stop(&far);
}

static void what_the_limit_refuses_is_a_line_a_second(void **state)
{
    pair_t *fixture = *state;

    pair_say_far(fixture, 1, 3);
    pair_count_lines("bus.limit");
    for (int i = 0; i < 5; i++)
        assert_int_equal(try_say(fixture->far, "room:1", "4", NULL), HUB_ELIMIT);
    atomic_store(&fixture->now_ms, 1000);
    for (int i = 0; i < 5; i++)
        assert_int_equal(try_say(fixture->far, "room:1", "4", NULL), HUB_ELIMIT);
    assert_int_equal(pair_lines_counted(), 2);
    assert_int_equal(pair_stats(fixture->far).refused_limit, 10);
}

static void a_message_of_any_size_may_be_in_flight_alone(void **state)
{
    pair_t *fixture = *state;
    char json[5000];

    memset(json, '1', sizeof(json));
    json[sizeof(json) - 1] = '\0';
    say(fixture->far, "room:1", json);
    assert_int_equal(try_say(fixture->far, "room:1", "2", NULL), HUB_ELIMIT);
    pair_assert_heard(fixture, json);
}

/* The backend has the bytes still, whoever was told what. */
static void what_a_hanging_broker_never_answers_goes_on_counting(void **state)
{
    pair_t *fixture = *state;

    pair_set_faults(fixture, (fake_faults_t){.answers = FAKE_ANSWERS_LATE});
    assert_int_equal(pair_say_and_ask(fixture, "1"), HUB_OK);
    pair_say_far(fixture, 2, 3);
    pair_run(fixture);
    atomic_store(&fixture->now_ms, 5000);
    hub__remote_clock_moved(fixture->far);
    pair_assert_completed(fixture, HUB_EUNKNOWN, HUB_LEVEL_LOCAL);
    assert_in_flight(fixture, 3);
    assert_int_equal(try_say(fixture->far, "room:1", "4", NULL), HUB_ELIMIT);
    fake_broker_answer_late(fixture->broker);
    assert_in_flight(fixture, 0);
    test_executor_turn(&fixture->loop);
    assert_int_equal(fixture->completions, 1);
    assert_int_equal(pair_stats(fixture->far).unknown, 3);
}

static void the_end_of_a_connection_lands_what_was_in_flight(void **state)
{
    pair_t *fixture = *state;

    pair_set_faults(fixture, (fake_faults_t){.answers = FAKE_ANSWERS_NEVER});
    pair_say_far(fixture, 1, 1);
    atomic_store(&fixture->now_ms, 5000);
    hub__remote_clock_moved(fixture->far);
    pair_say_far(fixture, 2, 3);
    fake_broker_disconnect(fixture->broker, fixture->far);
    assert_in_flight(fixture, 0);
    assert_int_equal(pair_stats(fixture->far).unknown, 3);
    assert_int_equal(try_say(fixture->far, "room:1", "4", NULL), HUB_EBUSDOWN);
    assert_int_equal(pair_stats(fixture->far).refused_down, 1);
}

struct looks {
    pthread_t tester;
    atomic_ullong now_ms;
    atomic_uint of_others;
};

static uint64_t now_ms_seen(void *user)
{
    struct looks *looks = user;

    if (!pthread_equal(pthread_self(), looks->tester))
        atomic_fetch_add(&looks->of_others, 1);
    return atomic_load(&looks->now_ms);
}

static void say_and_answer(pair_t *fixture, int times)
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
    pair_t *fixture = *state;
    struct looks looks = {.tester = pthread_self()};

    hub__remote_set_clock(fixture->far, now_ms_seen, &looks);
    say_and_answer(fixture, 1);
    atomic_store(&looks.of_others, 0);
    say_and_answer(fixture, 20);
    assert_in_range(atomic_load(&looks.of_others), 0,
                    2); /* a kernel may wake who was not asked to */
    hub__remote_set_clock(fixture->far, pair_now_ms, fixture);
}

static void a_large_message_crosses_too(void **state)
{
    pair_t *fixture = *state;
    char json[5000];

    memset(json, '1', sizeof(json));
    json[sizeof(json) - 1] = '\0';
    say(fixture->far, "room:1", json);
    pair_assert_heard(fixture, json);
}

/* ---- while the broker is away ---- */

static void while_down_a_publish_fails_before_anybody_hears_it(void **state)
{
    pair_t *fixture = *state;
    listener_t far = {0};

    listener_start(&far, fixture->far, "room:1", NULL);
    pair_run(fixture);
    fake_broker_disconnect(fixture->broker, fixture->far);
    assert_int_equal(pair_say_and_ask(fixture, "1"), HUB_EBUSDOWN);
    assert_false(pair_stats(fixture->far).healthy);
    assert_string_equal(listener_heard(&far), "");
    fake_broker_connect(fixture->broker, fixture->far);
    assert_false(pair_stats(fixture->far).healthy); /* the topic does not stand yet */
    assert_int_equal(pair_say_and_ask(fixture, "1"), HUB_EBUSDOWN);
    pair_run(fixture);
    assert_true(pair_stats(fixture->far).healthy);
    pair_say_far(fixture, 2, 2);
    pair_assert_heard(fixture, "2");
    assert_string_equal(listener_heard(&far), "gap(bus,0) 2");
    assert_int_equal(fixture->completions, 0);
    listener_stop(&far);
}

static void a_degraded_bus_delivers_here_and_says_so(void **state)
{
    pair_t *fixture = *state;
    listener_t far = {0};

    listener_start(&far, fixture->far, "room:1", NULL);
    fake_broker_disconnect(fixture->broker, fixture->far);
    assert_int_equal(pair_say_and_ask(fixture, "1"), HUB_OK);
    assert_string_equal(listener_heard(&far), "1");
    pair_assert_completed(fixture, HUB_EBUSDOWN, HUB_LEVEL_LOCAL);
    pair_assert_heard(fixture, "");
    listener_stop(&far);
}

static void a_backend_that_notices_first_degrades_as_well(void **state)
{
    pair_t *fixture = *state;

    pair_set_faults(fixture, (fake_faults_t){.refuse = HUB_EBUSDOWN});
    assert_int_equal(pair_say_and_ask(fixture, "1"), HUB_OK);
    pair_assert_completed(fixture, HUB_EBUSDOWN, HUB_LEVEL_LOCAL);
}

/* It went on without the others, and they are told so. */
static void what_a_degraded_bus_kept_to_itself_is_a_gap_elsewhere(void **state)
{
    pair_t *fixture = *state;

    pair_say_far(fixture, 1, 1);
    pair_run(fixture);
    fake_broker_disconnect(fixture->broker, fixture->far);
    pair_say_far(fixture, 2, 3);
    fake_broker_connect(fixture->broker, fixture->far);
    pair_run(fixture);
    pair_say_far(fixture, 4, 4);
    pair_assert_heard(fixture, "1 gap(lost,2) 4");
}

static void what_a_node_alone_kept_to_itself_is_missed_when_it_says_no_more(void **state)
{
    pair_t *fixture = *state;
    listener_t far = {0};

    listener_start(&far, fixture->far, "room:1", NULL);
    pair_say_far(fixture, 1, 1);
    pair_run(fixture);
    fake_broker_disconnect(fixture->broker, fixture->far);
    atomic_store(&fixture->now_ms, 3600 * 1000); /* the other one hears nothing, and needs not */
    hub__remote_clock_moved(fixture->far);
    pair_say_far(fixture, 2, 2);
    assert_int_equal(pair_say_and_ask(fixture, "3"), HUB_OK);
    pair_assert_completed(fixture, HUB_EBUSDOWN, HUB_LEVEL_LOCAL);
    say(fixture->near, "room:1", "4"); /* which is served as ever */
    pair_assert_heard(fixture, "1 4");
    pair_come_up(fixture);
    atomic_fetch_add(&fixture->now_ms, 1000);
    hub__remote_clock_moved(fixture->far);
    pair_assert_heard(fixture, "1 4 gap(lost,2)");
    assert_string_equal(listener_heard(&far), "1 2 3 gap(bus,0)");
    listener_stop(&far);
}

static void publishes_wait_for_the_broker_and_go_out_in_order(void **state)
{
    pair_t *fixture = *state;
    listener_t far = {0};

    listener_start(&far, fixture->far, "room:1", NULL);
    pair_run(fixture);
    fake_broker_disconnect(fixture->broker, fixture->far);
    pair_say_far(fixture, 1, 3);
    assert_int_equal(pair_say_and_ask(fixture, "4"), HUB_OK);
    assert_string_equal(listener_heard(&far), "1 2 3 4");
    assert_in_range(pair_stats(fixture->far).buffered_bytes, 4 * 11, PAIR_BUFFER_BYTES);
    pair_assert_heard(fixture, "");
    assert_int_equal(fixture->completions, 0);
    pair_come_up(fixture);
    pair_say_far(fixture, 5, 5);
    pair_assert_heard(fixture, "1 2 3 4 5");
    pair_assert_completed(fixture, HUB_OK, HUB_LEVEL_BUS);
    assert_string_equal(listener_heard(&far), "1 2 3 4 gap(bus,0) 5");
    assert_int_equal(pair_stats(fixture->far).buffered_bytes, 0);
    listener_stop(&far);
}

static void what_comes_while_others_wait_goes_behind_them(void **state)
{
    pair_t *fixture = *state;

    fake_broker_disconnect(fixture->broker, fixture->far);
    pair_say_far(fixture, 1, 2);
    pair_set_faults(fixture, (fake_faults_t){.refuse = HUB_ELIMIT});
    pair_come_up(fixture);
    pair_set_faults(fixture, (fake_faults_t){0});
    pair_say_far(fixture, 3, 3);
    pair_assert_heard(fixture, "");
    atomic_store(&fixture->now_ms, 10);
    hub__remote_clock_moved(fixture->far);
    pair_say_far(fixture, 4, 4);
    pair_assert_heard(fixture, "1 2 3 4");
}

static void what_waits_survives_one_more_break(void **state)
{
    pair_t *fixture = *state;

    fake_broker_disconnect(fixture->broker, fixture->far);
    pair_say_far(fixture, 1, 2);
    pair_set_faults(fixture,
                    (fake_faults_t){.refuse = HUB_EBUSDOWN}); /* the backend notices first */
    pair_come_up(fixture);
    fake_broker_disconnect(fixture->broker, fixture->far);
    pair_set_faults(fixture, (fake_faults_t){0});
    pair_come_up(fixture);
    pair_assert_heard(fixture, "1 2");
}

/* Some thousand bytes each. */
static void what_does_not_fit_into_the_buffer_fails_as_without(void **state)
{
    pair_t *fixture = *state;
    listener_t far = {0};
    char json[1500];

    memset(json, '1', sizeof(json));
    json[sizeof(json) - 1] = '\0';
    fake_broker_disconnect(fixture->broker, fixture->far);
    say(fixture->far, "room:1", json);
    say(fixture->far, "room:1", json);
    listener_start(&far, fixture->far, "room:1", NULL);
    assert_int_equal(pair_say_and_ask(fixture, json), HUB_EBUSDOWN);
    assert_string_equal(listener_heard(&far), "");
    assert_int_equal(pair_stats(fixture->far).refused_down, 1);
    assert_in_range(pair_stats(fixture->far).buffered_bytes, 3000, PAIR_BUFFER_BYTES);
    listener_stop(&far);
}

static void what_waits_for_too_long_is_never_sent_and_told(void **state)
{
    pair_t *fixture = *state;

    pair_say_far(fixture, 1, 1);
    pair_run(fixture);
    fake_broker_disconnect(fixture->broker, fixture->far);
    assert_int_equal(pair_say_and_ask(fixture, "2"), HUB_OK);
    atomic_store(&fixture->now_ms, 4999);
    hub__remote_clock_moved(fixture->far);
    pair_say_far(fixture, 3, 3);
    test_executor_turn(&fixture->loop);
    assert_int_equal(fixture->completions, 0);
    atomic_store(&fixture->now_ms, 5000);
    hub__remote_clock_moved(fixture->far);
    pair_assert_completed(fixture, HUB_EBUSDOWN, HUB_LEVEL_LOCAL);
    assert_int_equal(pair_stats(fixture->far).buffer_expired, 1);
    assert_int_equal(pair_stats(fixture->far).unknown, 0);
    pair_come_up(fixture);
    pair_assert_heard(fixture, "1 gap(lost,1) 3");
}

static void what_waited_for_too_long_is_a_line_a_second(void **state)
{
    pair_t *fixture = *state;

    fake_broker_disconnect(fixture->broker, fixture->far);
    pair_say_far(fixture, 1, 9);
    pair_count_lines("bus.buffer_expired");
    atomic_store(&fixture->now_ms, 5000);
    hub__remote_clock_moved(fixture->far);
    assert_int_equal(pair_lines_counted(), 1);
    assert_int_equal(pair_stats(fixture->far).buffer_expired, 9);
}

static void destroying_the_bus_cancels_what_waits(void **state)
{
    pair_t *fixture = *state;

    fake_broker_disconnect(fixture->broker, fixture->far);
    assert_int_equal(pair_say_and_ask(fixture, "1"), HUB_OK);
    hub_bus_destroy(fixture->far);
    fixture->far = NULL;
    pair_assert_completed(fixture, HUB_ECANCELLED, HUB_LEVEL_LOCAL);
}

static void what_was_in_flight_when_it_broke_is_unknown(void **state)
{
    pair_t *fixture = *state;

    assert_int_equal(pair_say_and_ask(fixture, "1"), HUB_OK);
    pair_say_far(fixture, 2, 2);
    fake_broker_disconnect(fixture->broker, fixture->far);
    pair_assert_completed(fixture, HUB_EUNKNOWN, HUB_LEVEL_LOCAL);
    assert_int_equal(pair_stats(fixture->far).unknown, 2);
    fake_broker_run(fixture->broker); /* the answers come after all */
    test_executor_turn(&fixture->loop);
    assert_int_equal(fixture->completions, 1);
}

#define REMOTE_TEST(name) cmocka_unit_test_setup_teardown(name, pair_set_up, pair_tear_down)
#define NARROW_TEST(name) cmocka_unit_test_setup_teardown(name, set_up_narrow, pair_tear_down)
#define BUFFERED_TEST(name)                                                                        \
    cmocka_unit_test_setup_teardown(name, pair_set_up_buffered, pair_tear_down)
#define DEGRADED_TEST(name)                                                                        \
    cmocka_unit_test_setup_teardown(name, pair_set_up_degraded, pair_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
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
        REMOTE_TEST(while_down_a_publish_fails_before_anybody_hears_it),
        DEGRADED_TEST(a_degraded_bus_delivers_here_and_says_so),
        DEGRADED_TEST(a_backend_that_notices_first_degrades_as_well),
        DEGRADED_TEST(what_a_degraded_bus_kept_to_itself_is_a_gap_elsewhere),
        cmocka_unit_test_setup_teardown(
            what_a_node_alone_kept_to_itself_is_missed_when_it_says_no_more,
            set_up_degraded_positions, pair_tear_down),
        BUFFERED_TEST(publishes_wait_for_the_broker_and_go_out_in_order),
        BUFFERED_TEST(what_comes_while_others_wait_goes_behind_them),
        BUFFERED_TEST(what_waits_survives_one_more_break),
        BUFFERED_TEST(what_does_not_fit_into_the_buffer_fails_as_without),
        BUFFERED_TEST(what_waits_for_too_long_is_never_sent_and_told),
        BUFFERED_TEST(what_waited_for_too_long_is_a_line_a_second),
        BUFFERED_TEST(destroying_the_bus_cancels_what_waits),
        REMOTE_TEST(what_was_in_flight_when_it_broke_is_unknown),
    };

    hub_log_set_level(HUB_LOG_ERROR); /* what the broker does here is worth a warning each time */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
