/* SPDX-License-Identifier: MIT */
/* What is subscribed at the broker: from when on nothing is missed untold, and what a new
 * connection means to each topic. Nothing happens here unless the test lets the broker run. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>

#include "bus/internal.h"
#include "bus/log.h"
#include "test/pair.h"

/* ---- another connection ---- */

static void coming_up_again_renews_every_topic_and_tells_a_gap(void **state)
{
    pair_t *fixture = *state;
    listener_t second = {0}, during = {0};

    listener_start(&second, fixture->near, "room:2", NULL);
    pair_say_far(fixture, 1, 1);
    pair_run(fixture);
    fake_broker_disconnect(fixture->broker, fixture->near);
    pair_say_far(fixture, 2, 3);
    pair_run(fixture);
    listener_start(&during, fixture->near, "room:3", NULL);
    fake_broker_connect(fixture->broker, fixture->near);
    assert_int_equal(fake_broker_subscriptions(fixture->broker, fixture->near), 3);
    pair_run(fixture);
    pair_say_far(fixture, 4, 4);
    pair_assert_heard(fixture, "1 gap(bus,0) gap(lost,2) 4");
    assert_string_equal(listener_heard(&second), "gap(bus,0)");
    assert_string_equal(listener_heard(&during), "gap(bus,0)");
    listener_stop(&second);
    listener_stop(&during);
}

static void the_first_time_up_is_no_gap(void **state)
{
    pair_t *fixture = *state;
    listener_t early = {0};
    hub_bus_t *third = pair_open(fixture->broker, &(hub_bus_options_t){0});

    listener_start(&early, third, "room:1", NULL);
    assert_int_equal(fake_broker_subscriptions(fixture->broker, third), 0);
    pair_run(fixture);
    assert_int_equal(fake_broker_subscriptions(fixture->broker, third), 1);
    pair_say_far(fixture, 1, 1);
    pair_run(fixture);
    assert_string_equal(listener_heard(&early), "1");
    listener_stop(&early);
    hub_bus_destroy(third);
}

/* ---- ready ---- */

/* A subscription on the near bus that wants to know when it stands. */
static void await(pair_t *fixture, listener_t *listener, const char *topic)
{
    listener_start_ready(listener, fixture->near, topic, &fixture->loop.base);
}

static void assert_listener(pair_t *fixture, listener_t *listener, const char *expected)
{
    pair_run(fixture);
    assert_string_equal(listener_heard(listener), expected);
    listener_stop(listener);
}

static void a_subscription_is_ready_when_the_broker_has_it(void **state)
{
    pair_t *fixture = *state;
    listener_t late = {0};

    pair_set_faults(fixture, (fake_faults_t){.slow = true});
    await(fixture, &late, "room:2");
    pair_run(fixture);
    assert_string_equal(listener_heard(&late), "");
    pair_set_faults(fixture, (fake_faults_t){0});
    pair_run(fixture);
    say(fixture->far, "room:2", "1");
    assert_listener(fixture, &late, "ready 1");
}

static void on_a_topic_that_stands_a_subscription_is_ready_at_once(void **state)
{
    pair_t *fixture = *state;
    listener_t second = {0};

    await(fixture, &second, "room:1");
    assert_string_equal(listener_heard(&second), "ready");
    assert_listener(fixture, &second, "ready");
}

static void all_that_wait_for_a_topic_are_ready_together(void **state)
{
    pair_t *fixture = *state;
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
static void run_by_thread(pair_t *fixture)
{
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, run_elsewhere, fixture->broker), 0);
    pthread_join(thread, NULL);
}

static void the_word_goes_by_the_mailbox_before_what_follows_it(void **state)
{
    pair_t *fixture = *state;
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
    pair_t *fixture = *state;
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
    pair_t *fixture = *state;
    listener_t during = {0};

    fake_broker_disconnect(fixture->broker, fixture->near);
    await(fixture, &during, "room:2");
    assert_string_equal(listener_heard(&during), "ready");
    fake_broker_connect(fixture->broker, fixture->near);
    assert_listener(fixture, &during, "ready gap(bus,0)");
}

static void ready_before_the_first_time_up_is_due_a_gap(void **state)
{
    pair_t *fixture = *state;
    listener_t early = {0};
    hub_bus_t *third = pair_open(fixture->broker, &(hub_bus_options_t){0});

    listener_start_ready(&early, third, "room:1", NULL);
    assert_string_equal(listener_heard(&early), "ready");
    assert_listener(fixture, &early, "ready gap(bus,0)");
    hub_bus_destroy(third);
}

static void going_down_ends_the_wait_with_a_gap_to_come(void **state)
{
    pair_t *fixture = *state;
    listener_t waits = {0}, again = {0};

    pair_set_faults(fixture, (fake_faults_t){.slow = true});
    await(fixture, &waits, "room:2");
    listener_start_ready(&again, fixture->near, "room:3", NULL);
    fake_broker_disconnect(fixture->broker, fixture->near);
    test_executor_turn(&fixture->loop);
    assert_string_equal(listener_heard(&waits), "ready");
    assert_string_equal(listener_heard(&again), "ready");
    pair_set_faults(fixture, (fake_faults_t){0});
    fake_broker_connect(fixture->broker, fixture->near);
    assert_listener(fixture, &waits, "ready gap(bus,0)");
    assert_listener(fixture, &again, "ready gap(bus,0)");
}

static void a_refused_subscription_is_ready_and_told_so(void **state)
{
    pair_t *fixture = *state;
    listener_t first = {0}, second = {0};

    pair_set_faults(fixture, (fake_faults_t){.refuse_topics = HUB_EREJECTED});
    await(fixture, &first, "room:2");
    pair_run(fixture);
    await(fixture, &second, "room:2");
    assert_string_equal(listener_heard(&second), "ready");
    assert_listener(fixture, &first, "gap(bus,0) ready");
    assert_listener(fixture, &second, "ready");
}

static void who_does_not_wait_longer_is_due_a_gap(void **state)
{
    pair_t *fixture = *state;
    listener_t hurried = {0};

    pair_set_faults(fixture, (fake_faults_t){.slow = true});
    await(fixture, &hurried, "room:2");
    hub_bus_sub_hurry(hurried.sub);
    pair_set_faults(fixture, (fake_faults_t){0});
    pair_run(fixture);
    hub_bus_sub_hurry(hurried.sub); /* too late to change anything */
    assert_listener(fixture, &hurried, "gap(bus,0) ready");
}

/* Between a renewal and the broker's word for it nothing is promised, either. */
static void during_a_renewal_a_subscription_waits(void **state)
{
    pair_t *fixture = *state;
    listener_t late = {0};

    fake_broker_disconnect(fixture->broker, fixture->near);
    fake_broker_connect(fixture->broker, fixture->near);
    await(fixture, &late, "room:1");
    assert_string_equal(listener_heard(&late), "");
    assert_listener(fixture, &late, "gap(bus,0) ready");
}

static void destroying_the_bus_closes_who_waits(void **state)
{
    pair_t *fixture = *state;
    hub_bus_t *third = pair_open(fixture->broker, &(hub_bus_options_t){0});
    listener_t waits = {0};

    pair_run(fixture);
    listener_start_ready(&waits, third, "room:2", NULL);
    hub_bus_destroy(third);
    assert_listener(fixture, &waits, "ready closed(ECLOSED)");
}

static void a_message_that_overtakes_the_word_comes_behind_the_gap(void **state)
{
    pair_t *fixture = *state;
    hub__buffer_t bytes = {0};

    pair_say_far(fixture, 1, 1);
    pair_run(fixture);
    pair_say_far(fixture, 2, 2);
    hub__buffer_append(&bytes, fake_broker_last_bytes(fixture->broker));
    fake_broker_disconnect(fixture->broker, fixture->near);
    fake_broker_connect(fixture->broker, fixture->near);
    fake_broker_inject(fixture->broker, fixture->near, HUB_STR("hub:room:1"),
                       hub__buffer_str(&bytes));
    pair_assert_heard(fixture, "1 gap(bus,0) 2");
    hub__buffer_dispose(&bytes);
}

/* The gap was told at the first message of a connection that then broke before the broker's word:
 * it covers nothing of the time after. */
static void a_break_before_the_word_is_one_more_gap(void **state)
{
    pair_t *fixture = *state;

    fake_broker_disconnect(fixture->broker, fixture->near);
    pair_set_faults(fixture, (fake_faults_t){.late = true});
    fake_broker_connect(fixture->broker, fixture->near);
    pair_inject(fixture, 7, 1, 1, "1");
    pair_inject(fixture, 7, 1, 2, "2");
    pair_assert_heard(fixture, "gap(bus,0) 1 2");
    fake_broker_disconnect(fixture->broker, fixture->near);
    pair_set_faults(fixture, (fake_faults_t){0});
    fake_broker_connect(fixture->broker, fixture->near);
    pair_assert_heard(fixture, "gap(bus,0) 1 2 gap(bus,0)");
}

/* What arrives may still be of the subscription before, and proves nothing of the new one. */
static void a_message_from_before_does_not_hide_what_the_new_subscription_misses(void **state)
{
    pair_t *fixture = *state;
    listener_t again = {0};

    listener_stop(&fixture->heard);
    fixture->heard = (listener_t){0};
    pair_set_faults(fixture, (fake_faults_t){.slow = true});
    listener_start(&fixture->heard, fixture->near, "room:1", &fixture->loop.base);
    await(fixture, &again, "room:1");
    hub_bus_sub_hurry(again.sub);
    pair_inject(fixture, 7, 1, 5, "5");
    pair_set_faults(fixture, (fake_faults_t){0});
    pair_assert_heard(fixture, "gap(bus,0) 5 gap(bus,0)");
    listener_stop(&again);
}

static void a_topic_that_is_refused_does_not_keep_the_bus_down(void **state)
{
    pair_t *fixture = *state;

    pair_say_far(fixture, 1, 1);
    pair_run(fixture);
    fake_broker_disconnect(fixture->broker, fixture->near);
    pair_set_faults(fixture, (fake_faults_t){.refuse_topics = HUB_EREJECTED});
    fake_broker_connect(fixture->broker, fixture->near);
    pair_assert_heard(fixture, "1 gap(bus,0)");
    assert_true(pair_stats(fixture->near).healthy);
    assert_int_equal(pair_stats(fixture->near).topics_refused, 1);
    say(fixture->near, "room:1", "2"); /* here it lives on */
    pair_set_faults(fixture, (fake_faults_t){0});
    fake_broker_connect(fixture->broker, fixture->near);
    pair_assert_heard(fixture, "1 gap(bus,0) 2 gap(bus,0)");
    pair_say_far(fixture, 3, 3);
    pair_assert_heard(fixture, "1 gap(bus,0) 2 gap(bus,0) 3");
    assert_int_equal(pair_stats(fixture->near).topics_refused, 1);
}

static unsigned up_lines;
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
    up_lines++;
    for (size_t i = 0; i < HUB__SHARDS; i++) {
        if (pthread_mutex_trylock(&bus->shards[i].lock) == 0)
            pthread_mutex_unlock(&bus->shards[i].lock);
        else
            locked_lines++;
    }
}

static void the_last_topic_that_is_waited_for_may_go_instead(void **state)
{
    pair_t *fixture = *state;
    listener_t far = {0};

    listener_start(&far, fixture->far, "room:1", NULL);
    pair_run(fixture);
    fake_broker_disconnect(fixture->broker, fixture->far);
    pair_set_faults(fixture, (fake_faults_t){.silent = true});
    fake_broker_connect(fixture->broker, fixture->far);
    pair_run(fixture);
    assert_int_equal(try_say(fixture->far, "room:1", "1", NULL), HUB_EBUSDOWN);
    hub_log_set(count_line_under_a_lock, fixture->far);
    hub_log_set_level(HUB_LOG_INFO);
    listener_stop(&far);
    (void)pair_lines_counted(); /* nobody takes lines any more */
    assert_int_equal(up_lines, 1);
    assert_int_equal(locked_lines, 0);
    pair_say_far(fixture, 1, 1);
    pair_assert_heard(fixture, "1");
}

static void up_without_a_down_before_is_another_connection(void **state)
{
    pair_t *fixture = *state;

    assert_int_equal(pair_say_and_ask(fixture, "1"), HUB_OK);
    hub_bus_remote_up(fixture->far);
    pair_assert_completed(fixture, HUB_EUNKNOWN, HUB_LEVEL_LOCAL);
    hub_bus_remote_down(fixture->far);
    hub_bus_remote_down(fixture->far);
    assert_int_equal(try_say(fixture->far, "room:1", "1", NULL), HUB_EBUSDOWN);
}

static void one_remote_subscription_serves_all_here(void **state)
{
    pair_t *fixture = *state;
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
    pair_t *fixture = *state;
    listener_t here = {.then = answer_from_far}, far = {0};

    listener_start(&here, fixture->near, "room:1", NULL);
    listener_start(&far, fixture->far, "room:1", NULL);
    pair_say_far(fixture, 1, 1);
    pair_assert_heard(fixture, "1 2");
    assert_string_equal(listener_heard(&here), "1 2");
    assert_string_equal(listener_heard(&far), "1 2");
    listener_stop(&here);
    listener_stop(&far);
}

/* What is emitted is at the broker before what is published behind it. */
static void emits_reach_the_broker_in_the_order_of_the_calls(void **state)
{
    pair_t *fixture = *state;

    assert_int_equal(hub_bus_attach(fixture->far, &fixture->loop.base), HUB_OK);
    say_later(fixture->far, "room:1", "1");
    say(fixture->far, "room:1", "2");
    say_later(fixture->far, "room:1", "3");
    pair_assert_heard(fixture, "1 2 3");
    hub_bus_detach(fixture->far, &fixture->loop.base);
}

#define REMOTE_TEST(name) cmocka_unit_test_setup_teardown(name, pair_set_up, pair_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
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
    };

    hub_log_set_level(HUB_LOG_ERROR); /* what the broker does here is worth a warning each time */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
