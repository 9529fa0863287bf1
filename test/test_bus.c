/* SPDX-License-Identifier: MIT */
/* The bus in memory: the suite that every bus passes, and what concerns the local core alone, which
 * is to say mailboxes, refusals and the ends of things. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>

#include "bus/log.h"
#include "test/bus_suite.h"
#include "test/executor.h"
#include "test/listener.h"

#define MAILBOX 2

static hub_bus_t *open_in_memory(void *world, const hub_bus_options_t *options)
{
    hub_bus_t *bus = NULL;

    (void)world;
    assert_int_equal(hub_bus_create(options, &bus, NULL), HUB_OK);
    return bus;
}

/* A bus whose loop is never the publisher's: the test's thread publishes, and turns it as another
 * thread would. */
struct fixture {
    hub_bus_t *bus;
    test_executor_t loop;
    int completions;
    hub_publish_result_t result;
};

static bool never_current(const hub_executor_t *executor)
{
    (void)executor;
    return false;
}

static bool always_current(const hub_executor_t *executor)
{
    (void)executor;
    return true;
}

static void publish_from_elsewhere(struct fixture *fixture, const char *json)
{
    fixture->loop.base.is_current = never_current;
    say(fixture->bus, "room:1", json);
    fixture->loop.base.is_current = always_current;
}

static int set_up(void **state)
{
    static struct fixture fixture;

    fixture = (struct fixture){.bus = open_in_memory(NULL, NULL)};
    test_executor_init(&fixture.loop, MAILBOX);
    fixture.loop.base.is_current = always_current;
    assert_int_equal(hub_bus_attach(fixture.bus, &fixture.loop.base), HUB_OK);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    hub_bus_destroy(fixture->bus);
    test_executor_end(&fixture->loop);
    return 0;
}

static void on_published(const hub_publish_result_t *result, void *user)
{
    struct fixture *fixture = user;

    fixture->completions++;
    fixture->result = *result;
}

static hub_bus_publish_options_t ask(struct fixture *fixture)
{
    return (hub_bus_publish_options_t){
        .on_published = on_published, .user = fixture, .executor = &fixture->loop.base};
}

static hub_bus_stats_t stats_of(struct fixture *fixture)
{
    hub_bus_stats_t stats;

    hub_bus_get_stats(fixture->bus, &stats);
    return stats;
}

/* ---- mailboxes ---- */

static void a_loss_is_told_even_when_nothing_follows(void **state)
{
    struct fixture *fixture = *state;
    listener_t listener = {0};

    listener_start(&listener, fixture->bus, "room:1", &fixture->loop.base);
    publish_from_elsewhere(fixture, "1");
    publish_from_elsewhere(fixture, "2");
    publish_from_elsewhere(fixture, "3");
    publish_from_elsewhere(fixture, "4");
    test_executor_turn(&fixture->loop);
    assert_string_equal(listener_heard(&listener), "1 2 gap(mailbox,2)");
    assert_int_equal(stats_of(fixture).mailbox_dropped, 2);
    assert_int_equal(stats_of(fixture).delivered, 2);
    assert_int_equal(stats_of(fixture).gaps, 2);
    listener_stop(&listener);
}

static void each_loss_is_told_where_it_happened(void **state)
{
    struct fixture *fixture = *state;
    listener_t listener = {0};

    listener_start(&listener, fixture->bus, "room:1", &fixture->loop.base);
    publish_from_elsewhere(fixture, "1");
    publish_from_elsewhere(fixture, "2");
    publish_from_elsewhere(fixture, "3"); /* lost */
    fixture->loop.limit = 4;              /* the notice has the third place */
    publish_from_elsewhere(fixture, "4");
    publish_from_elsewhere(fixture, "5"); /* lost, behind one that got in */
    test_executor_turn(&fixture->loop);
    publish_from_elsewhere(fixture, "6");
    test_executor_turn(&fixture->loop);
    assert_string_equal(listener_heard(&listener), "1 2 gap(mailbox,1) 4 gap(mailbox,1) 6");
    listener_stop(&listener);
}

static void a_loss_before_its_time_is_not_told_to_a_newcomer(void **state)
{
    struct fixture *fixture = *state;
    listener_t old = {0}, newcomer = {0};

    listener_start(&old, fixture->bus, "room:1", &fixture->loop.base);
    publish_from_elsewhere(fixture, "1");
    publish_from_elsewhere(fixture, "2");
    publish_from_elsewhere(fixture, "3");
    listener_start(&newcomer, fixture->bus, "room:1", &fixture->loop.base);
    publish_from_elsewhere(fixture, "4");
    test_executor_turn(&fixture->loop);
    assert_string_equal(listener_heard(&old), "1 2 gap(mailbox,1) gap(mailbox,1)");
    assert_string_equal(listener_heard(&newcomer), "gap(mailbox,1)");
    listener_stop(&old);
    listener_stop(&newcomer);
}

static void a_full_mailbox_is_the_business_of_its_own_loop_alone(void **state)
{
    struct fixture *fixture = *state;
    listener_t slow = {0}, free_one = {0};

    listener_start(&slow, fixture->bus, "room:1", &fixture->loop.base);
    listener_start(&free_one, fixture->bus, "room:1", NULL);
    publish_from_elsewhere(fixture, "1");
    publish_from_elsewhere(fixture, "2");
    publish_from_elsewhere(fixture, "3");
    assert_string_equal(listener_heard(&free_one), "1 2 3");
    listener_stop(&slow);
    listener_stop(&free_one);
}

static void a_message_in_the_mailbox_does_not_reach_who_unsubscribed(void **state)
{
    struct fixture *fixture = *state;
    listener_t gone = {0}, newcomer = {0};
    hub_bus_sub_t *sub;

    listener_start(&gone, fixture->bus, "room:1", &fixture->loop.base);
    publish_from_elsewhere(fixture, "1");
    sub = gone.sub;
    gone.closed = true;
    hub_bus_unsubscribe(sub);
    listener_start(&newcomer, fixture->bus, "room:1", &fixture->loop.base);
    test_executor_turn(&fixture->loop);
    assert_string_equal(listener_heard(&gone), "");
    assert_string_equal(listener_heard(&newcomer), "");
    listener_stop(&gone);
    listener_stop(&newcomer);
}

static void one_task_carries_a_message_to_all_on_a_loop(void **state)
{
    struct fixture *fixture = *state;
    listener_t listeners[20] = {0};

    for (size_t i = 0; i < 20; i++)
        listener_start(&listeners[i], fixture->bus, "room:1", &fixture->loop.base);
    publish_from_elsewhere(fixture, "1");
    assert_int_equal(test_executor_turn(&fixture->loop), 1);
    for (size_t i = 0; i < 20; i++) {
        assert_string_equal(listener_heard(&listeners[i]), "1");
        listener_stop(&listeners[i]);
    }
}

static void more_subscribers_than_fit_on_the_stack_all_hear(void **state)
{
    struct fixture *fixture = *state;
    listener_t listeners[100] = {0};

    for (size_t i = 0; i < 100; i++)
        listener_start(&listeners[i], fixture->bus, "room:1", NULL);
    say(fixture->bus, "room:1", "1");
    for (size_t i = 0; i < 100; i++) {
        assert_string_equal(listener_heard(&listeners[i]), "1");
        listener_stop(&listeners[i]);
    }
}

static void answer_from_the_mailbox(listener_t *self, const hub_message_t *msg)
{
    (void)msg;
    self->then = NULL;
    say(self->bus, "room:1", "2");
}

static void an_answer_from_the_mailbox_waits_for_the_others_there(void **state)
{
    struct fixture *fixture = *state;
    listener_t first = {.then = answer_from_the_mailbox}, second = {0};

    listener_start(&first, fixture->bus, "room:1", &fixture->loop.base);
    listener_start(&second, fixture->bus, "room:1", &fixture->loop.base);
    publish_from_elsewhere(fixture, "1");
    test_executor_turn(&fixture->loop);
    assert_string_equal(listener_heard(&first), "1 2");
    assert_string_equal(listener_heard(&second), "1 2");
    listener_stop(&first);
    listener_stop(&second);
}

/* ---- ends ---- */

static void a_completion_waits_for_every_mailbox(void **state)
{
    struct fixture *fixture = *state;
    hub_bus_publish_options_t options = ask(fixture);
    listener_t listener = {.counts = {.members = 5}};

    listener_start(&listener, fixture->bus, "room:1", &fixture->loop.base);
    fixture->loop.base.is_current = never_current;
    assert_int_equal(try_say(fixture->bus, "room:1", "1", &options), HUB_OK);
    fixture->loop.base.is_current = always_current;
    assert_int_equal(test_executor_turn(&fixture->loop), 1);
    assert_int_equal(fixture->completions, 0);
    assert_int_equal(test_executor_turn(&fixture->loop), 1);
    assert_int_equal(fixture->completions, 1);
    assert_int_equal(fixture->result.counts.members, 5);
    listener_stop(&listener);
}

static hub_status_t keep_ack(hub_bus_sub_t *sub, const hub_message_t *msg, hub_bus_ack_t *ack,
                             void *user)
{
    (void)sub;
    (void)msg;
    *(hub_bus_ack_t **)user = hub_bus_ack_retain(ack);
    return HUB_OK;
}

static void a_completion_waits_for_counts_that_come_later(void **state)
{
    struct fixture *fixture = *state;
    hub_bus_publish_options_t options = ask(fixture);
    hub_bus_ack_t *ack = NULL;
    hub_bus_sub_t *sub;

    assert_int_equal(
        hub_bus_subscribe(fixture->bus, HUB_STR("room:1"),
                          &(hub_bus_sub_options_t){.on_message = keep_ack, .user = &ack}, &sub),
        HUB_OK);
    assert_int_equal(try_say(fixture->bus, "room:1", "1", &options), HUB_OK);
    assert_int_equal(test_executor_turn(&fixture->loop), 0);
    hub_bus_ack_add(ack, &(hub_publish_counts_t){.members = 2, .queued = 2});
    hub_bus_ack_release(ack);
    test_executor_turn(&fixture->loop);
    assert_int_equal(fixture->completions, 1);
    assert_int_equal(fixture->result.counts.queued, 2);
    hub_bus_unsubscribe(sub);
}

static void destroying_the_bus_cancels_completions_once(void **state)
{
    struct fixture *fixture = *state;
    hub_bus_publish_options_t options = ask(fixture);
    hub_bus_ack_t *ack = NULL;
    hub_bus_sub_t *sub;

    assert_int_equal(
        hub_bus_subscribe(fixture->bus, HUB_STR("room:1"),
                          &(hub_bus_sub_options_t){.on_message = keep_ack, .user = &ack}, &sub),
        HUB_OK);
    assert_int_equal(try_say(fixture->bus, "room:1", "1", &options), HUB_OK);
    hub_bus_destroy(fixture->bus);
    fixture->bus = NULL;
    test_executor_turn(&fixture->loop);
    assert_int_equal(fixture->completions, 1);
    assert_int_equal(fixture->result.status, HUB_ECANCELLED);
    hub_bus_ack_release(ack);
    test_executor_turn(&fixture->loop);
    assert_int_equal(fixture->completions, 1);
}

static void what_lies_in_a_mailbox_outlives_the_bus(void **state)
{
    struct fixture *fixture = *state;
    listener_t listener = {0};

    listener_start(&listener, fixture->bus, "room:1", &fixture->loop.base);
    publish_from_elsewhere(fixture, "1");
    hub_bus_destroy(fixture->bus);
    fixture->bus = NULL;
    test_executor_turn(&fixture->loop);
    assert_string_equal(listener_heard(&listener), "closed(ECLOSED)");
    listener_stop(&listener);
}

static void a_loop_that_ended_is_called_no_more(void **state)
{
    struct fixture *fixture = *state;
    hub_bus_publish_options_t options = ask(fixture);
    listener_t listener = {0};

    listener_start(&listener, fixture->bus, "room:1", &fixture->loop.base);
    publish_from_elsewhere(fixture, "1");
    test_executor_end(&fixture->loop);
    publish_from_elsewhere(fixture, "2");
    assert_int_equal(try_say(fixture->bus, "room:2", "1", &options), HUB_OK);
    hub_bus_destroy(fixture->bus);
    fixture->bus = NULL;
    assert_string_equal(listener_heard(&listener), "");
    assert_int_equal(fixture->completions, 0);
    listener.closed = true;
    listener_stop(&listener);
}

static void unsubscribing_between_the_end_and_on_close_calls_nothing(void **state)
{
    struct fixture *fixture = *state;
    listener_t listener = {0};

    listener_start(&listener, fixture->bus, "room:1", &fixture->loop.base);
    hub_bus_destroy(fixture->bus);
    fixture->bus = NULL;
    hub_bus_unsubscribe(listener.sub);
    test_executor_turn(&fixture->loop);
    assert_string_equal(listener_heard(&listener), "");
    listener.closed = true;
    listener_stop(&listener);
}

static hub_status_t refuse(hub_bus_sub_t *sub, const hub_message_t *msg, hub_bus_ack_t *ack,
                           void *user)
{
    (void)sub;
    (void)msg;
    (void)ack;
    (void)user;
    return HUB_EINTERNAL;
}

static void unsubscribe_in_on_close(hub_bus_sub_t *sub, hub_status_t why, void *user)
{
    (void)why;
    hub_bus_unsubscribe(sub);
    ++*(int *)user;
}

static void unsubscribing_inside_on_close_does_nothing(void **state)
{
    struct fixture *fixture = *state;
    int closes = 0;
    hub_bus_sub_t *sub;

    assert_int_equal(hub_bus_subscribe(fixture->bus, HUB_STR("room:1"),
                                       &(hub_bus_sub_options_t){.on_message = refuse,
                                                                .on_close = unsubscribe_in_on_close,
                                                                .user = &closes},
                                       &sub),
                     HUB_OK);
    say(fixture->bus, "room:1", "1");
    say(fixture->bus, "room:1", "2");
    assert_int_equal(closes, 1);
}

/* ---- refusals ---- */

static hub_status_t try_subscribe(struct fixture *fixture, hub_str_t topic,
                                  hub_executor_t *executor, hub_bus_on_message_cb call)
{
    hub_bus_sub_t *sub = NULL;
    hub_status_t err =
        hub_bus_subscribe(fixture->bus, topic,
                          &(hub_bus_sub_options_t){.on_message = call, .executor = executor}, &sub);

    hub_bus_unsubscribe(sub);
    return err;
}

static void a_subscription_needs_a_topic_a_callback_and_an_attached_loop(void **state)
{
    struct fixture *fixture = *state;
    char long_topic[1025];
    test_executor_t stranger;

    memset(long_topic, 'x', sizeof(long_topic));
    test_executor_init(&stranger, 0);
    assert_int_equal(try_subscribe(fixture, HUB_STR(""), NULL, refuse), HUB_ETOPIC);
    assert_int_equal(try_subscribe(fixture, HUB_STR("\xff"), NULL, refuse), HUB_ETOPIC);
    assert_int_equal(try_subscribe(fixture, hub_str_n(long_topic, 1025), NULL, refuse), HUB_ETOPIC);
    assert_int_equal(try_subscribe(fixture, hub_str_n(long_topic, 1024), NULL, refuse), HUB_OK);
    assert_int_equal(try_subscribe(fixture, HUB_STR("room:1"), NULL, NULL), HUB_EINVAL);
    assert_int_equal(try_subscribe(fixture, HUB_STR("room:1"), &stranger.base, refuse), HUB_EINVAL);
    test_executor_end(&stranger);
}

static void a_borrowed_message_is_refused(void **state)
{
    struct fixture *fixture = *state;
    hub_message_t borrowed = {.topic = HUB_STR("room:1"), .event = HUB_STR("said")};

    assert_int_equal(hub_bus_publish(fixture->bus, &borrowed, NULL), HUB_EINVAL);
    assert_int_equal(hub_bus_emit(fixture->bus, &borrowed, NULL), HUB_EINVAL);
}

static void a_name_that_could_look_like_a_topic_is_refused(void **state)
{
    static const char *const names[] = {"", "a:b", "a b", "\xc3\xa4"};
    char long_name[66] = {0};
    hub_bus_t *bus = NULL;
    hub_error_t error;

    (void)state;
    memset(long_name, 'x', 65);
    assert_int_equal(hub_bus_create(&(hub_bus_options_t){.name = long_name}, &bus, &error),
                     HUB_EINVAL);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_int_equal(hub_bus_create(&(hub_bus_options_t){.name = names[i]}, &bus, &error),
                         HUB_EINVAL);
    assert_null(bus);
}

static void gap_reasons_have_names(void **state)
{
    (void)state;
    assert_string_equal(hub_gap_reason_name(HUB_GAP_MAILBOX), "mailbox");
    assert_string_equal(hub_gap_reason_name(HUB_GAP_BUS), "bus");
    assert_string_equal(hub_gap_reason_name(HUB_GAP_LOST), "lost");
    assert_string_equal(hub_gap_reason_name((hub_gap_reason_t)9), "unknown");
}

static void in_memory_everything_fits_and_is_healthy(void **state)
{
    struct fixture *fixture = *state;

    assert_true(hub_bus_largest_message(fixture->bus) == SIZE_MAX);
    assert_true(stats_of(fixture).healthy);
}

/* ---- hooks ---- */

static void hook_subscribe(hub_str_t topic, size_t subscribers, void *user)
{
    hub__buffer_printf(user, "+%.*s=%zu ", HUB_STR_ARG(topic), subscribers);
}

static void hook_unsubscribe(hub_str_t topic, size_t subscribers, void *user)
{
    hub__buffer_printf(user, "-%.*s=%zu ", HUB_STR_ARG(topic), subscribers);
}

static void hook_publish(const hub_message_t *msg, size_t subscribers, void *user)
{
    hub__buffer_printf(user, "!%.*s=%zu ", HUB_STR_ARG(msg->topic), subscribers);
}

static void hooks_see_who_comes_speaks_and_goes(void **state)
{
    hub__buffer_t seen = {0};
    hub_bus_t *bus =
        open_in_memory(NULL, &(hub_bus_options_t){.hooks = {.on_subscribe = hook_subscribe,
                                                            .on_unsubscribe = hook_unsubscribe,
                                                            .on_publish = hook_publish,
                                                            .user = &seen}});
    listener_t first = {0}, second = {.answer = HUB_EINTERNAL};

    (void)state;
    listener_start(&first, bus, "a", NULL);
    listener_start(&second, bus, "a", NULL);
    say(bus, "a", "1");
    say(bus, "b", "1");
    listener_stop(&first);
    listener_stop(&second);
    assert_string_equal(seen.base, "+a=1 +a=2 !a=2 -a=1 !b=0 -a=0 ");
    hub__buffer_dispose(&seen);
    hub_bus_destroy(bus);
}

/* ---- loops that go while their emits are sent ---- */

static hub_executor_t *going_loop;
static hub_bus_t *going_bus; /* NULL: gone */

static void detach_loop(listener_t *self, const hub_message_t *msg)
{
    (void)msg;
    hub_bus_detach(self->bus, going_loop);
}

static void destroy_bus(listener_t *self, const hub_message_t *msg)
{
    (void)self;
    (void)msg;
    hub_bus_destroy(going_bus);
    going_bus = NULL;
}

static void listen_and_detach(listener_t *listener, struct fixture *fixture)
{
    going_loop = &fixture->loop.base;
    listener_start(listener, fixture->bus, "room:1", NULL);
    listener->then = detach_loop;
}

static void a_loop_that_detaches_within_its_flush_has_sent_all(void **state)
{
    struct fixture *fixture = *state;
    listener_t listener = {0};

    listen_and_detach(&listener, fixture);
    say_later(fixture->bus, "room:1", "1");
    say_later(fixture->bus, "room:2", "2");
    say_later(fixture->bus, "room:1", "3");
    hub_bus_flush(fixture->bus, &fixture->loop.base);
    assert_string_equal(listener_heard(&listener), "1 3");
    say_later(fixture->bus, "room:1", "4");
    assert_string_equal(listener_heard(&listener), "1 3 4");
    assert_int_equal(stats_of(fixture).published, 4);
    listener_stop(&listener);
}

static void a_loop_may_be_detached_while_it_is_being_detached(void **state)
{
    struct fixture *fixture = *state;
    listener_t listener = {0};

    listen_and_detach(&listener, fixture);
    say_later(fixture->bus, "room:1", "1");
    say_later(fixture->bus, "room:1", "2");
    hub_bus_detach(fixture->bus, &fixture->loop.base);
    assert_string_equal(listener_heard(&listener), "1 2");
    listener_stop(&listener);
}

static void what_is_emitted_as_the_loop_goes_is_heard(void **state)
{
    struct fixture *fixture = *state;
    listener_t listener = {0};

    listen_and_detach(&listener, fixture);
    for (int i = 0; i < 1024; i++)
        say_later(fixture->bus, "room:1", "1");
    assert_int_equal(listener.messages, 0);
    say_later(fixture->bus, "room:1", "2"); /* no more may wait */
    assert_int_equal(listener.messages, 1025);
    listener_stop(&listener);
}

static void a_bus_that_is_destroyed_within_the_flush_of_another_is_passed_over(void **state)
{
    struct fixture *fixture = *state;
    hub_bus_t *first = open_in_memory(NULL, NULL);
    listener_t listener = {0}, last = {0};

    going_bus = open_in_memory(NULL, NULL); /* what was attached last is sent first */
    assert_int_equal(hub_bus_attach(going_bus, &fixture->loop.base), HUB_OK);
    assert_int_equal(hub_bus_attach(first, &fixture->loop.base), HUB_OK);
    listener_start(&last, fixture->bus, "room:1", NULL);
    listener_start(&listener, first, "room:1", NULL);
    listener.then = destroy_bus;
    say_later(fixture->bus, "room:1", "1");
    say_later(going_bus, "room:1", "2");
    say_later(first, "room:1", "3");
    hub_bus_flush(NULL, &fixture->loop.base);
    assert_null(going_bus);
    assert_string_equal(listener_heard(&listener), "3");
    assert_string_equal(listener_heard(&last), "1");
    listener_stop(&listener);
    listener_stop(&last);
    hub_bus_destroy(first);
}

static void emit_again(listener_t *self, const hub_message_t *msg)
{
    (void)msg;
    say_later(self->bus, "room:1", "2");
}

static void what_a_flush_of_all_makes_emit_waits_for_the_next(void **state)
{
    struct fixture *fixture = *state;
    listener_t listener = {0};

    listener_start(&listener, fixture->bus, "room:1", NULL);
    listener.then = emit_again;
    say_later(fixture->bus, "room:1", "1");
    hub_bus_flush(NULL, &fixture->loop.base);
    assert_string_equal(listener_heard(&listener), "1");
    hub_bus_flush(NULL, &fixture->loop.base);
    assert_string_equal(listener_heard(&listener), "1 2");
    listener_stop(&listener);
}

#define BUS_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    static const bus_suite_backend_t memory = {.name = "memory", .open = open_in_memory};
    const struct CMUnitTest tests[] = {
        BUS_TEST(a_loss_is_told_even_when_nothing_follows),
        BUS_TEST(each_loss_is_told_where_it_happened),
        BUS_TEST(a_loss_before_its_time_is_not_told_to_a_newcomer),
        BUS_TEST(a_full_mailbox_is_the_business_of_its_own_loop_alone),
        BUS_TEST(a_message_in_the_mailbox_does_not_reach_who_unsubscribed),
        BUS_TEST(one_task_carries_a_message_to_all_on_a_loop),
        BUS_TEST(more_subscribers_than_fit_on_the_stack_all_hear),
        BUS_TEST(an_answer_from_the_mailbox_waits_for_the_others_there),
        BUS_TEST(a_completion_waits_for_every_mailbox),
        BUS_TEST(a_completion_waits_for_counts_that_come_later),
        BUS_TEST(destroying_the_bus_cancels_completions_once),
        BUS_TEST(what_lies_in_a_mailbox_outlives_the_bus),
        BUS_TEST(a_loop_that_ended_is_called_no_more),
        BUS_TEST(unsubscribing_between_the_end_and_on_close_calls_nothing),
        BUS_TEST(unsubscribing_inside_on_close_does_nothing),
        BUS_TEST(a_subscription_needs_a_topic_a_callback_and_an_attached_loop),
        BUS_TEST(a_borrowed_message_is_refused),
        cmocka_unit_test(a_name_that_could_look_like_a_topic_is_refused),
        cmocka_unit_test(gap_reasons_have_names),
        BUS_TEST(in_memory_everything_fits_and_is_healthy),
        BUS_TEST(a_loop_that_detaches_within_its_flush_has_sent_all),
        BUS_TEST(a_loop_may_be_detached_while_it_is_being_detached),
        BUS_TEST(what_is_emitted_as_the_loop_goes_is_heard),
        BUS_TEST(a_bus_that_is_destroyed_within_the_flush_of_another_is_passed_over),
        BUS_TEST(what_a_flush_of_all_makes_emit_waits_for_the_next),
        cmocka_unit_test(hooks_see_who_comes_speaks_and_goes),
    };

    hub_log_set_level(HUB_LOG_ERROR); /* failing subscribers are what many cases are about */
    return bus_suite_run(&memory) + cmocka_run_group_tests(tests, NULL, NULL);
}
