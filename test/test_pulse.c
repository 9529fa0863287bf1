/* SPDX-License-Identifier: MIT */
/* Whether a node notices that its connection is of no use, and only then. The broker runs when the
 * test lets it, and time passes when the test says so. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "bus/buffer.h"
#include "bus/internal.h"
#include "bus/log.h"
#include "bus/pulse.h"
#include "bus/remote.h"
#include "bus/wire.h"
#include "test/fake_backend.h"
#include "test/listener.h"

#define INTERVAL_MS 1500
#define TIMEOUT_MS 3000

struct fixture {
    fake_broker_t *broker;
    hub_bus_t *near;
    hub_bus_t *far;
    listener_t heard; /* on the near bus */
    atomic_ullong now_ms;
    hub__buffer_t log; /* events alone */
};

static uint64_t now_ms(void *user)
{
    return atomic_load(&((struct fixture *)user)->now_ms);
}

static void on_log(hub_log_level_t level, const char *event, const char *text, void *user)
{
    struct fixture *fixture = user;

    (void)level;
    hub__buffer_printf(&fixture->log, "%s %s\n", event, text);
}

static hub_bus_t *open_on(struct fixture *fixture, const hub_bus_options_t *options)
{
    hub_bus_options_t completed = *options;
    hub_bus_t *bus = NULL;

    completed.backend = &fake_backend;
    completed.backend_options = fixture->broker;
    assert_int_equal(hub_bus_create(&completed, &bus, NULL), HUB_OK);
    hub__remote_set_clock(bus, now_ms, fixture);
    return bus;
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    atomic_store(&fixture->now_ms, 1000);
    fixture->broker = fake_broker_create();
    fixture->near = open_on(fixture, &(hub_bus_options_t){0});
    fixture->far = open_on(fixture, &(hub_bus_options_t){0});
    listener_start(&fixture->heard, fixture->near, "room:1", NULL);
    fake_broker_run(fixture->broker);
    hub_log_set(on_log, fixture);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    listener_stop(&fixture->heard);
    hub_bus_destroy(fixture->near);
    hub_bus_destroy(fixture->far);
    hub_log_set(NULL, NULL);
    fake_broker_destroy(fixture->broker);
    hub__buffer_dispose(&fixture->log);
    free(fixture);
    return 0;
}

static hub_bus_stats_t stats_of(hub_bus_t *bus)
{
    hub_bus_stats_t stats;

    hub_bus_get_stats(bus, &stats);
    return stats;
}

/* Lets `ms` pass at once: what became due is done, the broker does nothing. */
static void pass(struct fixture *fixture, uint64_t ms)
{
    atomic_fetch_add(&fixture->now_ms, ms);
    hub__remote_clock_moved(fixture->near);
    hub__remote_clock_moved(fixture->far);
}

/* So many intervals, with a broker that does its work in each. */
static void pass_intervals(struct fixture *fixture, int count)
{
    for (int i = 0; i < count; i++) {
        pass(fixture, INTERVAL_MS);
        fake_broker_run(fixture->broker);
    }
}

static unsigned reconnects_of(struct fixture *fixture)
{
    return fake_broker_reconnects(fixture->broker, fixture->near);
}

static void set_faults(struct fixture *fixture, fake_faults_t faults)
{
    fake_broker_set(fixture->broker, faults);
}

static bool is_logged(struct fixture *fixture, const char *line)
{
    return fixture->log.base != NULL && strstr(fixture->log.base, line) != NULL;
}

static bool try_near(struct fixture *fixture)
{
    return try_say(fixture->near, "room:1", "1", NULL) == HUB_OK;
}

/* ---- health ---- */

static void a_connection_is_healthy_once_the_first_probe_is_back(void **state)
{
    struct fixture *fixture = *state;
    hub_bus_t *third = open_on(fixture, &(hub_bus_options_t){0});

    assert_false(stats_of(third).healthy);
    set_faults(fixture, (fake_faults_t){.lose = 1});
    fake_broker_run(fixture->broker);
    assert_false(stats_of(third).healthy);
    atomic_fetch_add(&fixture->now_ms, INTERVAL_MS);
    hub__remote_clock_moved(third);
    atomic_fetch_add(&fixture->now_ms, 7);
    assert_false(stats_of(third).healthy);
    assert_int_equal(stats_of(third).probe_us, 0);
    fake_broker_run(fixture->broker);
    assert_true(stats_of(third).healthy);
    assert_int_equal(stats_of(third).probe_us, 7000);
    assert_int_equal(stats_of(third).down_ms, 0);
    assert_int_equal(stats_of(third).reconnects, 0);
    hub_bus_destroy(third);
}

static void a_bus_stays_healthy_while_probes_come_back(void **state)
{
    struct fixture *fixture = *state;

    for (int i = 0; i < 50; i++) {
        pass_intervals(fixture, 1);
        assert_true(stats_of(fixture->near).healthy);
    }
    assert_int_equal(stats_of(fixture->near).deaf, 0);
    assert_int_equal(reconnects_of(fixture), 0);
    assert_int_equal(stats_of(fixture->near).remote_received, 0);
    assert_int_equal(stats_of(fixture->near).remote_invalid, 0);
    assert_string_equal(listener_heard(&fixture->heard), "");
    assert_null(fixture->log.base);
}

static void down_is_not_healthy_and_how_long_is_known(void **state)
{
    struct fixture *fixture = *state;

    fake_broker_disconnect(fixture->broker, fixture->near);
    assert_false(stats_of(fixture->near).healthy);
    pass(fixture, 100);
    assert_int_equal(stats_of(fixture->near).down_ms, 100);
    pass(fixture, 60000);
    assert_int_equal(stats_of(fixture->near).down_ms, 60100);
    assert_int_equal(reconnects_of(fixture), 0); /* it tries on its own */
    fake_broker_connect(fixture->broker, fixture->near);
    assert_false(stats_of(fixture->near).healthy);
    fake_broker_run(fixture->broker);
    assert_true(stats_of(fixture->near).healthy);
    assert_int_equal(stats_of(fixture->near).down_ms, 0);
    assert_int_equal(stats_of(fixture->near).reconnects, 1);
    assert_int_equal(stats_of(fixture->near).deaf, 0);
}

/* ---- deaf ---- */

static void a_deaf_connection_is_replaced_within_interval_and_timeout(void **state)
{
    struct fixture *fixture = *state;

    pass_intervals(fixture, 3);
    set_faults(fixture, (fake_faults_t){.deaf = true});
    pass_intervals(fixture, 2);
    pass(fixture, TIMEOUT_MS - INTERVAL_MS - 1);
    assert_int_equal(stats_of(fixture->near).deaf, 0);
    assert_true(stats_of(fixture->near).healthy);
    set_faults(fixture, (fake_faults_t){0});
    pass(fixture, 1);
    assert_int_equal(stats_of(fixture->near).deaf, 1);
    assert_int_equal(reconnects_of(fixture), 1);
    assert_false(stats_of(fixture->near).healthy);
    assert_false(try_near(fixture));
    assert_true(is_logged(fixture, "bus.deaf backend=fake missing=probe for_ms=3000\n"));
    fake_broker_run(fixture->broker);
    assert_true(stats_of(fixture->near).healthy);
    assert_true(try_near(fixture));
    assert_int_equal(stats_of(fixture->near).reconnects, 1);
    assert_string_equal(listener_heard(&fixture->heard), "gap(bus,0) 1");
    pass_intervals(fixture, 10);
    assert_int_equal(reconnects_of(fixture), 1);
}

static void one_lost_probe_is_no_deaf_connection(void **state)
{
    struct fixture *fixture = *state;

    for (int i = 0; i < 5; i++) {
        set_faults(fixture, (fake_faults_t){.lose = 2}); /* one of each bus */
        pass_intervals(fixture, 1);
        set_faults(fixture, (fake_faults_t){0});
        pass_intervals(fixture, 1);
        assert_true(stats_of(fixture->near).healthy);
    }
    assert_int_equal(reconnects_of(fixture), 0);
}

static void probes_that_come_late_one_after_the_other_are_alive(void **state)
{
    struct fixture *fixture = *state;

    for (int i = 0; i < 10; i++) {
        set_faults(fixture, (fake_faults_t){.slow = true});
        pass(fixture, INTERVAL_MS);
        pass(fixture, INTERVAL_MS - 1);
        set_faults(fixture, (fake_faults_t){0});
        fake_broker_run(fixture->broker);
        assert_int_equal(stats_of(fixture->near).probe_us, (INTERVAL_MS - 1) * 1000);
        pass(fixture, 1);
        fake_broker_run(fixture->broker);
        assert_true(stats_of(fixture->near).healthy);
    }
    assert_int_equal(reconnects_of(fixture), 0);
}

static void two_probes_are_out_at_most(void **state)
{
    struct fixture *fixture = *state;
    hub_bus_t *third =
        open_on(fixture, &(hub_bus_options_t){.probe_interval_ms = 10, .probe_timeout_ms = 1000});

    fake_broker_run(fixture->broker);
    for (int i = 0; i < 50; i++) {
        atomic_fetch_add(&fixture->now_ms, 10);
        hub__remote_clock_moved(third);
    }
    set_faults(fixture, (fake_faults_t){.lose = 2});
    fake_broker_run(fixture->broker);
    atomic_fetch_add(&fixture->now_ms, 499);
    hub__remote_clock_moved(third);
    fake_broker_run(fixture->broker);
    assert_int_equal(stats_of(third).deaf, 0);
    atomic_fetch_add(&fixture->now_ms, 11);
    hub__remote_clock_moved(third);
    assert_int_equal(stats_of(third).deaf, 1);
    hub_bus_destroy(third);
}

static void a_broker_that_answers_no_publish_is_of_no_use(void **state)
{
    struct fixture *fixture = *state;

    set_faults(fixture, (fake_faults_t){.answers = FAKE_ANSWERS_NEVER});
    pass_intervals(fixture, 3);
    assert_int_equal(reconnects_of(fixture), 1);
    assert_true(is_logged(fixture, "missing=answer for_ms=3000\n"));
    set_faults(fixture, (fake_faults_t){0});
    pass_intervals(fixture, 3);
    assert_true(stats_of(fixture->near).healthy);
}

static void late_answers_are_answers(void **state)
{
    struct fixture *fixture = *state;

    for (int i = 0; i < 10; i++) {
        set_faults(fixture, (fake_faults_t){.answers = FAKE_ANSWERS_LATE});
        pass_intervals(fixture, 1);
        fake_broker_answer_late(fixture->broker);
        assert_true(stats_of(fixture->near).healthy);
    }
    assert_int_equal(reconnects_of(fixture), 0);
}

static void a_backend_that_takes_no_probe_is_deaf_and_nothing_else_happens(void **state)
{
    struct fixture *fixture = *state;

    set_faults(fixture, (fake_faults_t){.refuse = HUB_EBUSDOWN});
    pass_intervals(fixture, 3);
    assert_int_equal(reconnects_of(fixture), 1);
    set_faults(fixture, (fake_faults_t){0});
    pass_intervals(fixture, 2);
    assert_true(stats_of(fixture->near).healthy);
}

static void a_connection_that_confirms_no_subscription_is_replaced(void **state)
{
    struct fixture *fixture = *state;

    fake_broker_disconnect(fixture->broker, fixture->near);
    set_faults(fixture, (fake_faults_t){.silent = true});
    fake_broker_connect(fixture->broker, fixture->near);
    fake_broker_run(fixture->broker);
    pass(fixture, TIMEOUT_MS - 1);
    assert_int_equal(reconnects_of(fixture), 0);
    pass(fixture, 1);
    assert_int_equal(reconnects_of(fixture), 1);
    assert_true(is_logged(fixture, "missing=subscriptions for_ms=3000\n"));
    set_faults(fixture, (fake_faults_t){0});
    fake_broker_run(fixture->broker);
    assert_true(stats_of(fixture->near).healthy);
}

static void a_subscription_made_later_is_waited_for_as_well(void **state)
{
    struct fixture *fixture = *state;
    listener_t later = {0};

    set_faults(fixture, (fake_faults_t){.silent = true});
    listener_start(&later, fixture->near, "room:2", NULL);
    pass_intervals(fixture, 1);
    pass_intervals(fixture, 1);
    assert_int_equal(reconnects_of(fixture), 0);
    pass_intervals(fixture, 1);
    assert_int_equal(reconnects_of(fixture), 1);
    listener_stop(&later);
}

static void a_subscription_that_ended_is_not_waited_for(void **state)
{
    struct fixture *fixture = *state;
    listener_t later = {0};

    set_faults(fixture, (fake_faults_t){.silent = true});
    listener_start(&later, fixture->near, "room:2", NULL);
    pass_intervals(fixture, 1);
    listener_stop(&later);
    pass_intervals(fixture, 5);
    assert_int_equal(reconnects_of(fixture), 0);
}

static void a_refused_subscription_is_not_waited_for(void **state)
{
    struct fixture *fixture = *state;
    listener_t later = {0};

    set_faults(fixture, (fake_faults_t){.refuse_topics = HUB_EREJECTED});
    listener_start(&later, fixture->near, "room:2", NULL);
    pass_intervals(fixture, 5);
    assert_int_equal(reconnects_of(fixture), 0);
    assert_true(stats_of(fixture->near).healthy);
    listener_stop(&later);
}

/* So many intervals, in each of which somebody comes, whom the broker answers at once. */
static void pass_with_visitors(struct fixture *fixture, int intervals)
{
    for (int i = 0; i < intervals; i++) {
        listener_t visitor = {0};

        listener_start(&visitor, fixture->near, "room:3", NULL);
        pass_intervals(fixture, 1);
        listener_stop(&visitor);
    }
}

/* Room:2 alone, of which the broker says nothing. */
static void miss_an_answer(struct fixture *fixture, listener_t *listener)
{
    set_faults(fixture, (fake_faults_t){.unconfirmed = 1});
    listener_start_ready(listener, fixture->near, "room:2", NULL);
    fake_broker_run(fixture->broker);
}

static void an_answer_that_later_ones_overtake_for_good_is_lost(void **state)
{
    struct fixture *fixture = *state;
    listener_t listener = {0};

    miss_an_answer(fixture, &listener);
    pass_with_visitors(fixture, 3);
    assert_int_equal(reconnects_of(fixture), 0);
    pass_with_visitors(fixture, 2);
    assert_int_equal(reconnects_of(fixture), 1);
    assert_true(is_logged(fixture, "missing=subscription for_ms=3000\n"));
    pass_with_visitors(fixture, 9);
    assert_int_equal(reconnects_of(fixture), 1);
    assert_true(stats_of(fixture->near).healthy);
    say(fixture->far, "room:2", "1");
    fake_broker_run(fixture->broker);
    assert_string_equal(listener_heard(&listener), "ready gap(bus,0) 1");
    listener_stop(&listener);
}

static void an_answer_that_comes_out_of_order_has_come(void **state)
{
    struct fixture *fixture = *state;
    listener_t listener = {0};
    uint64_t token;

    miss_an_answer(fixture, &listener);
    token = atomic_load(&fixture->near->remote->asks);
    pass_with_visitors(fixture, 3);
    hub_bus_remote_subscribed(fixture->near, HUB_STR("hub:room:2"), token);
    pass_with_visitors(fixture, 9);
    assert_int_equal(reconnects_of(fixture), 0);
    listener_stop(&listener);
}

/* Of those, too, a broker may have many. */
static void answers_that_later_ones_overtake_may_come_one_by_one(void **state)
{
    struct fixture *fixture = *state;
    listener_t listeners[6] = {0};
    char topic[] = "more:0";
    uint64_t token = atomic_load(&fixture->near->remote->asks);

    set_faults(fixture, (fake_faults_t){.unconfirmed = 6});
    for (int i = 0; i < 6; i++, topic[5]++)
        listener_start(&listeners[i], fixture->near, topic, NULL);
    fake_broker_run(fixture->broker);
    pass_with_visitors(fixture, 3);
    for (int i = 0; i < 6; i++) {
        char wire[] = "hub:more:0";

        wire[9] = (char)('0' + i);
        pass_with_visitors(fixture, 1);
        hub_bus_remote_subscribed(fixture->near, hub_str(wire), ++token);
    }
    pass_with_visitors(fixture, 9);
    assert_int_equal(reconnects_of(fixture), 0);
    for (int i = 0; i < 6; i++)
        listener_stop(&listeners[i]);
}

static void who_leaves_unanswered_is_not_waited_for_either(void **state)
{
    struct fixture *fixture = *state;
    listener_t listener = {0};

    miss_an_answer(fixture, &listener);
    pass_with_visitors(fixture, 3);
    listener_stop(&listener);
    pass_with_visitors(fixture, 9);
    assert_int_equal(reconnects_of(fixture), 0);
}

/* Else it would go from one connection to the next, and none would be better. */
static void a_node_that_may_not_probe_is_used_and_never_healthy(void **state)
{
    struct fixture *fixture = *state;
    char line[200];

    fake_broker_disconnect(fixture->broker, fixture->near);
    fake_broker_connect(fixture->broker, fixture->near);
    fake_broker_step(fixture->broker); /* room:1 */
    set_faults(fixture, (fake_faults_t){.refuse_topics = HUB_EREJECTED});
    pass_intervals(fixture, 5);
    assert_int_equal(reconnects_of(fixture), 0);
    assert_false(stats_of(fixture->near).healthy);
    assert_int_equal(stats_of(fixture->near).topics_refused, 1);
    assert_true(try_near(fixture));
    snprintf(line, sizeof(line),
             "bus.probe_refused backend=fake topic=hub/probe/%016llx status=EREJECTED\n",
             (unsigned long long)hub_bus_node(fixture->near));
    assert_true(is_logged(fixture, line));
}

/* A hundred thousand subscriptions may take longer than the timeout. */
static void a_broker_that_goes_on_confirming_is_given_time(void **state)
{
    struct fixture *fixture = *state;
    listener_t more[5] = {0};
    char topic[] = "more:0";

    for (int i = 0; i < 5; i++, topic[5]++)
        listener_start(&more[i], fixture->near, topic, NULL);
    fake_broker_run(fixture->broker);
    fake_broker_disconnect(fixture->broker, fixture->far);
    fake_broker_disconnect(fixture->broker, fixture->near);
    fake_broker_connect(fixture->broker, fixture->near);
    for (int i = 0; i < 7; i++) { /* with that of room:1 and of the probe */
        pass(fixture, TIMEOUT_MS - INTERVAL_MS);
        assert_false(stats_of(fixture->near).healthy);
        fake_broker_step(fixture->broker);
    }
    fake_broker_run(fixture->broker);
    assert_true(stats_of(fixture->near).healthy);
    assert_int_equal(reconnects_of(fixture), 0);
    for (int i = 0; i < 5; i++)
        listener_stop(&more[i]);
}

/* ---- reconnecting ---- */

static void a_backend_that_does_not_obey_is_asked_again_but_not_often(void **state)
{
    struct fixture *fixture = *state;

    set_faults(fixture, (fake_faults_t){.deaf = true, .stuck = true});
    pass_intervals(fixture, 3);
    assert_int_equal(reconnects_of(fixture), 1);
    for (int i = 0; i < 2999; i++)
        pass(fixture, 1);
    assert_int_equal(reconnects_of(fixture), 1);
    pass(fixture, 1);
    assert_int_equal(reconnects_of(fixture), 2);
    assert_int_equal(stats_of(fixture->near).deaf, 1);
    fake_broker_disconnect(fixture->broker, fixture->near);
    pass(fixture, 60000);
    assert_int_equal(reconnects_of(fixture), 2);
}

static void a_late_probe_does_not_revive_a_connection_that_was_given_up(void **state)
{
    struct fixture *fixture = *state;

    set_faults(fixture, (fake_faults_t){.slow = true, .stuck = true});
    pass(fixture, INTERVAL_MS);
    pass(fixture, TIMEOUT_MS);
    assert_int_equal(reconnects_of(fixture), 1);
    set_faults(fixture, (fake_faults_t){.stuck = true});
    fake_broker_run(fixture->broker);
    assert_false(stats_of(fixture->near).healthy);
    assert_false(try_near(fixture));
}

/* ---- what else comes there ---- */

static void probe_topic(struct fixture *fixture, char *topic, size_t size)
{
    snprintf(topic, size, "hub/probe/%016llx", (unsigned long long)hub_bus_node(fixture->near));
}

static void inject(struct fixture *fixture, hub_str_t topic, hub__wire_kind_t kind, uint64_t node,
                   uint64_t number, size_t size)
{
    char bytes[HUB__WIRE_MARK_BYTES + 1] = {0};

    hub__wire_write_mark(bytes, kind, node, 1, number);
    fake_broker_inject(fixture->broker, fixture->near, topic, hub_str_n(bytes, size));
}

static void a_probe_of_the_connection_before_says_nothing_of_this_one(void **state)
{
    struct fixture *fixture = *state;
    char topic[64];

    fake_broker_disconnect(fixture->broker, fixture->far);
    fake_broker_disconnect(fixture->broker, fixture->near);
    fake_broker_connect(fixture->broker, fixture->near);
    fake_broker_step(fixture->broker); /* the word for room:1 */
    fake_broker_step(fixture->broker); /* for the probe, which is on its way from here on */
    probe_topic(fixture, topic, sizeof(topic));
    inject(fixture, hub_str(topic), HUB__WIRE_PROBE, hub_bus_node(fixture->near), 1,
           HUB__WIRE_MARK_BYTES);
    assert_false(stats_of(fixture->near).healthy);
    fake_broker_run(fixture->broker);
    assert_true(stats_of(fixture->near).healthy);
}

static void junk_on_the_probes_topic_is_counted(void **state)
{
    struct fixture *fixture = *state;
    uint64_t node = hub_bus_node(fixture->near);
    char topic[64];

    probe_topic(fixture, topic, sizeof(topic));
    inject(fixture, hub_str(topic), HUB__WIRE_PROBE, node, 9, HUB__WIRE_MARK_BYTES);
    assert_int_equal(stats_of(fixture->near).remote_invalid, 0);
    inject(fixture, hub_str(topic), HUB__WIRE_PROBE, node, 9, HUB__WIRE_MARK_BYTES - 1);
    inject(fixture, hub_str(topic), HUB__WIRE_PROBE, node, 9, HUB__WIRE_MARK_BYTES + 1);
    inject(fixture, hub_str(topic), HUB__WIRE_PROBE, node, 9, 0);
    inject(fixture, hub_str(topic), HUB__WIRE_PROBE, node + 1, 9, HUB__WIRE_MARK_BYTES);
    inject(fixture, hub_str(topic), HUB__WIRE_POSITION, node, 9, HUB__WIRE_MARK_BYTES);
    inject(fixture, HUB_STR("hub:room:1"), HUB__WIRE_PROBE, node, 9, HUB__WIRE_MARK_BYTES);
    inject(fixture, HUB_STR("hub/probe/"), HUB__WIRE_PROBE, node, 9, HUB__WIRE_MARK_BYTES);
    assert_int_equal(stats_of(fixture->near).remote_invalid, 7);
    assert_true(stats_of(fixture->near).healthy);
}

/* ---- positions ---- */

static void say_far(struct fixture *fixture, const char *json)
{
    say(fixture->far, "room:1", json);
}

static void lose_next(struct fixture *fixture)
{
    set_faults(fixture, (fake_faults_t){.lose = 1});
}

/* Ten seconds. */
static void pass_a_beat(struct fixture *fixture)
{
    pass_intervals(fixture, 7);
}

static void a_lost_last_message_is_found(void **state)
{
    struct fixture *fixture = *state;

    say_far(fixture, "1");
    fake_broker_run(fixture->broker);
    lose_next(fixture);
    say_far(fixture, "2");
    pass_intervals(fixture, 6);
    assert_string_equal(listener_heard(&fixture->heard), "1");
    pass_intervals(fixture, 1);
    assert_string_equal(listener_heard(&fixture->heard), "1 gap(lost,1)");
    assert_int_equal(stats_of(fixture->near).remote_missing, 1);
    say_far(fixture, "3");
    pass_a_beat(fixture);
    pass_a_beat(fixture);
    assert_string_equal(listener_heard(&fixture->heard), "1 gap(lost,1) 3");
    assert_int_equal(stats_of(fixture->near).remote_received, 2);
    assert_int_equal(stats_of(fixture->near).remote_duplicates, 0);
    assert_int_equal(stats_of(fixture->near).delivered, 2);
}

static void a_position_may_be_lost_as_well(void **state)
{
    struct fixture *fixture = *state;

    say_far(fixture, "1");
    fake_broker_run(fixture->broker);
    set_faults(fixture, (fake_faults_t){.deaf = true});
    say_far(fixture, "2");
    fake_broker_run(fixture->broker);
    set_faults(fixture, (fake_faults_t){0});
    pass_intervals(fixture, 6);
    set_faults(fixture, (fake_faults_t){.deaf = true});
    pass_intervals(fixture, 1);
    set_faults(fixture, (fake_faults_t){0});
    pass_intervals(fixture, 6);
    assert_string_equal(listener_heard(&fixture->heard), "1");
    pass_intervals(fixture, 1);
    assert_string_equal(listener_heard(&fixture->heard), "1 gap(lost,1)");
}

static void two_beats_after_the_last_message_all_is_quiet(void **state)
{
    struct fixture *fixture = *state;

    say_far(fixture, "1");
    pass_a_beat(fixture);
    assert_int_equal(fake_broker_published(fixture->broker), 2);
    say_far(fixture, "2");
    pass_a_beat(fixture);
    pass_a_beat(fixture);
    assert_int_equal(fake_broker_published(fixture->broker), 5);
    for (int i = 0; i < 5; i++)
        pass_a_beat(fixture);
    assert_int_equal(fake_broker_published(fixture->broker), 5);
    assert_string_equal(listener_heard(&fixture->heard), "1 2");
}

static void a_topic_in_use_has_one_position_a_beat(void **state)
{
    struct fixture *fixture = *state;

    for (int i = 0; i < 70; i++) {
        say_far(fixture, "1");
        pass_intervals(fixture, 1);
    }
    assert_int_equal(fake_broker_published(fixture->broker), 70 + 10);
    assert_int_equal(stats_of(fixture->near).remote_received, 70);
    assert_int_equal(stats_of(fixture->near).remote_missing, 0);
}

static void a_position_may_be_the_first_contact(void **state)
{
    struct fixture *fixture = *state;
    listener_t late = {0};

    say(fixture->far, "room:2", "1");
    say(fixture->far, "room:2", "2");
    fake_broker_run(fixture->broker);
    listener_start(&late, fixture->near, "room:2", NULL);
    pass_a_beat(fixture);
    assert_string_equal(listener_heard(&late), "");
    lose_next(fixture);
    say(fixture->far, "room:2", "3");
    say(fixture->far, "room:2", "4");
    fake_broker_run(fixture->broker);
    assert_string_equal(listener_heard(&late), "gap(lost,1) 4");
    listener_stop(&late);
}

static void a_position_of_a_numbering_begun_anew_names_all_of_it(void **state)
{
    struct fixture *fixture = *state;
    char bytes[HUB__WIRE_MARK_BYTES];
    static const struct {
        uint64_t incarnation, seq;
    } positions[] = {{5, 7}, {5, 7}, {5, 6}, {4, 90}, {6, 3}, {6, 3}, {6, 1000}};

    for (size_t i = 0; i < sizeof(positions) / sizeof(positions[0]); i++) {
        hub__wire_write_mark(bytes, HUB__WIRE_POSITION, 9, positions[i].incarnation,
                             positions[i].seq);
        fake_broker_inject(fixture->broker, fixture->near, HUB_STR("hub:room:1"),
                           hub_str_n(bytes, sizeof(bytes)));
    }
    assert_string_equal(listener_heard(&fixture->heard), "gap(lost,3) gap(lost,997)");
    assert_int_equal(stats_of(fixture->near).remote_received, 0);
}

static void while_down_no_position_is_sent_and_afterwards_they_are(void **state)
{
    struct fixture *fixture = *state;

    say_far(fixture, "1");
    fake_broker_run(fixture->broker);
    lose_next(fixture);
    say_far(fixture, "2");
    fake_broker_run(fixture->broker);
    fake_broker_disconnect(fixture->broker, fixture->far);
    pass_a_beat(fixture);
    pass_a_beat(fixture);
    assert_int_equal(fake_broker_published(fixture->broker), 2);
    assert_string_equal(listener_heard(&fixture->heard), "1");
    fake_broker_connect(fixture->broker, fixture->far);
    fake_broker_run(fixture->broker);
    pass(fixture, 0);
    fake_broker_run(fixture->broker);
    assert_string_equal(listener_heard(&fixture->heard), "1 gap(lost,1)");
}

/* The broker has room for other things between them. */
static void positions_of_many_topics_go_a_few_at_a_time(void **state)
{
    struct fixture *fixture = *state;
    char topic[32];

    for (int i = 0; i < 1000; i++) {
        snprintf(topic, sizeof(topic), "many:%d", i);
        say(fixture->far, topic, "1");
    }
    pass_intervals(fixture, 6);
    pass(fixture, 1000);
    assert_int_equal(fake_broker_published(fixture->broker), 1000 + 128);
    for (int i = 2; i <= 7; i++) {
        pass(fixture, 10);
        assert_int_equal(fake_broker_published(fixture->broker), 1000 + i * 128);
    }
    pass(fixture, 10);
    assert_int_equal(fake_broker_published(fixture->broker), 2000);
    fake_broker_run(fixture->broker);
    pass_a_beat(fixture);
    pass_a_beat(fixture);
    pass_a_beat(fixture);
    assert_int_equal(fake_broker_published(fixture->broker), 3000);
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

/* 4,096 of those have room. */
static void a_position_is_no_use_of_its_topic(void **state)
{
    struct fixture *fixture = *state;
    char topic[32], incarnation[8];
    int index = 0;

    say_far(fixture, "1");
    memcpy(incarnation, fake_broker_last_bytes(fixture->broker).base + 16, 8);
    for (int i = 0; i < 4095; i++)
        say(fixture->far, next_neighbour(&index, topic, sizeof(topic)), "0");
    pass_a_beat(fixture);
    say(fixture->far, next_neighbour(&index, topic, sizeof(topic)), "0"); /* for room:1 */
    say_far(fixture, "2");
    assert_memory_not_equal(incarnation, fake_broker_last_bytes(fixture->broker).base + 16, 8);
    pass_a_beat(fixture); /* what was dropped waits for nothing any more */
}

static void *publish_many(void *arg)
{
    struct fixture *fixture = arg;

    for (int i = 0; i < 5000; i++)
        say_far(fixture, "1");
    return NULL;
}

static void a_position_never_overtakes_its_message(void **state)
{
    struct fixture *fixture = *state;
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, publish_many, fixture), 0);
    while (stats_of(fixture->near).remote_received < 5000)
        pass_intervals(fixture, 1);
    pthread_join(thread, NULL);
    assert_int_equal(stats_of(fixture->near).remote_missing, 0);
    assert_int_equal(stats_of(fixture->near).remote_duplicates, 0);
    assert_int_equal(fixture->heard.messages, 5000);
}

static void positions_may_be_off(void **state)
{
    struct fixture *fixture = *state;
    hub_bus_t *third = open_on(fixture, &(hub_bus_options_t){.position_interval_ms = HUB_OFF});

    fake_broker_run(fixture->broker);
    say(third, "room:1", "1");
    for (int i = 0; i < 20; i++) {
        pass_intervals(fixture, 1);
        hub__remote_clock_moved(third);
    }
    assert_int_equal(fake_broker_published(fixture->broker), 1);
    hub_bus_destroy(third);
}

/* ---- options ---- */

static void without_probes_up_is_healthy_and_nothing_is_noticed(void **state)
{
    struct fixture *fixture = *state;
    hub_bus_t *third = open_on(fixture, &(hub_bus_options_t){.probe_interval_ms = HUB_OFF});

    assert_false(stats_of(third).healthy);
    fake_broker_run(fixture->broker);
    assert_true(stats_of(third).healthy);
    set_faults(fixture, (fake_faults_t){.deaf = true});
    atomic_fetch_add(&fixture->now_ms, 60000);
    hub__remote_clock_moved(third);
    assert_true(stats_of(third).healthy);
    assert_int_equal(fake_broker_reconnects(fixture->broker, third), 0);
    hub_bus_destroy(third);
}

static void assert_refused(hub_bus_options_t options, const char *text)
{
    fake_broker_t *broker = fake_broker_create();
    hub_bus_t *bus = NULL;
    hub_error_t error;

    options.backend = &fake_backend;
    options.backend_options = broker;
    assert_int_equal(hub_bus_create(&options, &bus, &error), HUB_EINVAL);
    assert_string_equal(error.text, text);
    fake_broker_destroy(broker);
}

static void an_option_out_of_its_bounds_is_named(void **state)
{
    (void)state;
    assert_refused((hub_bus_options_t){.probe_interval_ms = 9},
                   "bus options, probe_interval_ms: 9 is not from 10 to 600000");
    assert_refused((hub_bus_options_t){.probe_interval_ms = 600001},
                   "bus options, probe_interval_ms: 600001 is not from 10 to 600000");
    assert_refused((hub_bus_options_t){.probe_timeout_ms = HUB_OFF},
                   "bus options, probe_timeout_ms: 18446744073709551615 is not from 10 to 600000");
    assert_refused((hub_bus_options_t){.position_interval_ms = 1},
                   "bus options, position_interval_ms: 1 is not from 10 to 600000");
    assert_refused((hub_bus_options_t){.probe_timeout_ms = 1499},
                   "bus options, probe_timeout_ms: 1499 is less than probe_interval_ms, 1500");
}

static void they_may_be_in_the_url(void **state)
{
    struct fixture *fixture = *state;
    hub_bus_options_t options = {.backend_options = fixture->broker, .probe_interval_ms = 77};
    hub_bus_t *third;

    assert_int_equal(hub_bus_register("pulse", &fake_backend, NULL), HUB_OK);
    assert_int_equal(
        hub_bus_open("pulse:?probe_ms=100&probe_timeout_ms=150", &options, &third, NULL), HUB_OK);
    hub__remote_set_clock(third, now_ms, fixture);
    fake_broker_run(fixture->broker);
    set_faults(fixture, (fake_faults_t){.deaf = true});
    for (int i = 0; i < 249; i++) {
        atomic_fetch_add(&fixture->now_ms, 1);
        hub__remote_clock_moved(third);
        fake_broker_run(fixture->broker);
    }
    assert_int_equal(stats_of(third).deaf, 0);
    atomic_fetch_add(&fixture->now_ms, 1);
    hub__remote_clock_moved(third);
    assert_int_equal(stats_of(third).deaf, 1);
    hub_bus_destroy(third);
    assert_int_equal(hub_bus_open("pulse:?probe_ms=off", &options, &third, NULL), HUB_OK);
    set_faults(fixture, (fake_faults_t){0});
    fake_broker_run(fixture->broker);
    assert_true(stats_of(third).healthy);
    assert_int_equal(stats_of(third).probe_us, 0);
    hub_bus_destroy(third);
}

#define PULSE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PULSE_TEST(a_connection_is_healthy_once_the_first_probe_is_back),
        PULSE_TEST(a_bus_stays_healthy_while_probes_come_back),
        PULSE_TEST(down_is_not_healthy_and_how_long_is_known),
        PULSE_TEST(a_deaf_connection_is_replaced_within_interval_and_timeout),
        PULSE_TEST(one_lost_probe_is_no_deaf_connection),
        PULSE_TEST(probes_that_come_late_one_after_the_other_are_alive),
        PULSE_TEST(two_probes_are_out_at_most),
        PULSE_TEST(a_broker_that_answers_no_publish_is_of_no_use),
        PULSE_TEST(late_answers_are_answers),
        PULSE_TEST(a_backend_that_takes_no_probe_is_deaf_and_nothing_else_happens),
        PULSE_TEST(a_connection_that_confirms_no_subscription_is_replaced),
        PULSE_TEST(a_subscription_made_later_is_waited_for_as_well),
        PULSE_TEST(a_subscription_that_ended_is_not_waited_for),
        PULSE_TEST(a_refused_subscription_is_not_waited_for),
        PULSE_TEST(an_answer_that_later_ones_overtake_for_good_is_lost),
        PULSE_TEST(an_answer_that_comes_out_of_order_has_come),
        PULSE_TEST(answers_that_later_ones_overtake_may_come_one_by_one),
        PULSE_TEST(who_leaves_unanswered_is_not_waited_for_either),
        PULSE_TEST(a_node_that_may_not_probe_is_used_and_never_healthy),
        PULSE_TEST(a_broker_that_goes_on_confirming_is_given_time),
        PULSE_TEST(a_backend_that_does_not_obey_is_asked_again_but_not_often),
        PULSE_TEST(a_late_probe_does_not_revive_a_connection_that_was_given_up),
        PULSE_TEST(a_probe_of_the_connection_before_says_nothing_of_this_one),
        PULSE_TEST(junk_on_the_probes_topic_is_counted),
        PULSE_TEST(a_lost_last_message_is_found),
        PULSE_TEST(a_position_may_be_lost_as_well),
        PULSE_TEST(two_beats_after_the_last_message_all_is_quiet),
        PULSE_TEST(a_topic_in_use_has_one_position_a_beat),
        PULSE_TEST(a_position_may_be_the_first_contact),
        PULSE_TEST(a_position_of_a_numbering_begun_anew_names_all_of_it),
        PULSE_TEST(while_down_no_position_is_sent_and_afterwards_they_are),
        PULSE_TEST(positions_of_many_topics_go_a_few_at_a_time),
        PULSE_TEST(a_position_is_no_use_of_its_topic),
        PULSE_TEST(a_position_never_overtakes_its_message),
        PULSE_TEST(positions_may_be_off),
        PULSE_TEST(without_probes_up_is_healthy_and_nothing_is_noticed),
        cmocka_unit_test(an_option_out_of_its_bounds_is_named),
        PULSE_TEST(they_may_be_in_the_url),
    };

    hub_log_set_level(HUB_LOG_WARN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
