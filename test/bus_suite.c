/* SPDX-License-Identifier: MIT */
/* Each case gets a world of its own with one bus in it, and an executor that its thread drives. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "test/bus_order.h"
#include "test/bus_storm.h"
#include "test/bus_suite.h"
#include "test/executor.h"
#include "test/listener.h"

#define MANY 1000
#define END "\"end\""
#define PROBES 1000

static const bus_suite_backend_t *backend;

struct completion {
    int calls;
    hub_publish_result_t result;
};

struct world {
    void *user;
    hub_bus_t *bus;
    hub_bus_t *far; /* another node, once opened */
    test_executor_t loop;
    struct completion completion;
};

static hub_bus_t *open_bus(struct world *world, const hub_bus_options_t *options)
{
    hub_bus_t *bus = backend->open(world->user, options);

    assert_non_null(bus);
    return bus;
}

static int set_up(void **state)
{
    struct world *world = calloc(1, sizeof(*world));

    world->user = backend->start == NULL ? NULL : backend->start();
    world->bus = open_bus(world, &(hub_bus_options_t){0});
    test_executor_init(&world->loop, 0);
    assert_int_equal(hub_bus_attach(world->bus, &world->loop.base), HUB_OK);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;

    hub_bus_destroy(world->far);
    hub_bus_destroy(world->bus);
    test_executor_end(&world->loop);
    if (backend->stop != NULL)
        backend->stop(world->user);
    free(world);
    return 0;
}

static void on_published(const hub_publish_result_t *result, void *user)
{
    struct completion *completion = user;

    completion->calls++;
    completion->result = *result;
}

static hub_bus_publish_options_t ask(struct world *world)
{
    return (hub_bus_publish_options_t){
        .on_published = on_published, .user = &world->completion, .executor = &world->loop.base};
}

static bool is_completed(void *arg)
{
    return ((struct world *)arg)->completion.calls > 0;
}

static void wait_for_completion(struct world *world)
{
    assert_true(test_executor_run_until(&world->loop, is_completed, world));
    test_executor_turn(&world->loop);
}

static hub_bus_stats_t stats_of(struct world *world)
{
    hub_bus_stats_t stats;

    hub_bus_get_stats(world->bus, &stats);
    return stats;
}

static void say_numbers(hub_bus_t *bus, const char *topic, unsigned first, unsigned last,
                        unsigned emit_each)
{
    char text[16];

    for (unsigned i = first; i <= last; i++) {
        snprintf(text, sizeof(text), "%u", i);
        if (emit_each > 0 && i % emit_each != 0)
            say_later(bus, topic, text);
        else
            say(bus, topic, text);
    }
}

/* "1 2 3 ..." */
static void assert_numbers_then(const listener_t *listener, unsigned first, unsigned last,
                                const char *then)
{
    hub__buffer_t expected = {0};

    for (unsigned i = first; i <= last; i++)
        hub__buffer_printf(&expected, "%s%u", i == first ? "" : " ", i);
    hub__buffer_printf(&expected, "%s", then);
    assert_string_equal(listener_heard(listener), expected.base);
    hub__buffer_dispose(&expected);
}

static void assert_numbers(const listener_t *listener, unsigned first, unsigned last)
{
    assert_numbers_then(listener, first, last, "");
}

/* ---- local delivery ---- */

static void a_publish_to_nobody_is_ok(void **state)
{
    struct world *world = *state;

    assert_int_equal(try_say(world->bus, "room:1", "1", NULL), HUB_OK);
    assert_int_equal(stats_of(world).delivered, 0);
    assert_int_equal(stats_of(world).topics, 0);
}

static void all_subscribers_of_the_topic_hear_it_and_no_others(void **state)
{
    struct world *world = *state;
    listener_t free_one = {0}, on_loop = {0}, elsewhere = {0};

    listener_start(&free_one, world->bus, "room:1", NULL);
    listener_start(&on_loop, world->bus, "room:1", &world->loop.base);
    listener_start(&elsewhere, world->bus, "room:10", NULL);
    say(world->bus, "room:1", "1");
    assert_string_equal(listener_heard(&free_one), "1");
    assert_string_equal(listener_heard(&on_loop), "1");
    assert_string_equal(listener_heard(&elsewhere), "");
    listener_stop(&free_one);
    listener_stop(&on_loop);
    listener_stop(&elsewhere);
}

struct publish {
    hub_bus_t *bus;
    const hub_message_t *msg;
    hub_status_t err;
};

static void publish_there(void *arg)
{
    struct publish *publish = arg;

    publish->err = hub_bus_publish(publish->bus, publish->msg, NULL);
}

static void a_publisher_without_a_loop_reaches_the_loop_by_its_mailbox(void **state)
{
    struct world *world = *state;
    listener_t listener = {0};
    test_executor_t other;
    hub_message_t *msg = message_make("room:1", "1");

    listener_start(&listener, world->bus, "room:1", &world->loop.base);
    test_executor_start(&other, 0);
    test_executor_call(&other, publish_there,
                       &(struct publish){.bus = world->bus, .msg = msg, .err = HUB_PENDING});
    test_executor_stop(&other);
    assert_string_equal(listener_heard(&listener), "");
    test_executor_turn(&world->loop);
    assert_string_equal(listener_heard(&listener), "1");
    hub_message_release(msg);
    listener_stop(&listener);
}

static void a_thousand_publishes_arrive_in_order(void **state)
{
    struct world *world = *state;
    listener_t listener = {0};

    listener_start(&listener, world->bus, "room:1", &world->loop.base);
    say_numbers(world->bus, "room:1", 1, MANY, 0);
    assert_numbers(&listener, 1, MANY);
    listener_stop(&listener);
}

static void the_message_is_the_publishers_own(void **state)
{
    struct world *world = *state;
    listener_t listener = {.keep_last = true};
    hub_message_t *msg = message_make("room:1", "1");

    listener_start(&listener, world->bus, "room:1", NULL);
    assert_int_equal(hub_bus_publish(world->bus, msg, NULL), HUB_OK);
    assert_ptr_equal(listener.last, msg);
    hub_message_release(msg);
    listener_stop(&listener);
}

/* ---- the life of a subscription ---- */

static void a_failing_subscriber_is_dropped_and_the_rest_are_served(void **state)
{
    struct world *world = *state;
    listener_t good = {0}, bad = {.answer = HUB_ELIMIT}, last = {0};

    listener_start(&good, world->bus, "room:1", &world->loop.base);
    listener_start(&bad, world->bus, "room:1", &world->loop.base);
    listener_start(&last, world->bus, "room:1", &world->loop.base);
    say_numbers(world->bus, "room:1", 1, 2, 0);
    assert_string_equal(listener_heard(&good), "1 2");
    assert_string_equal(listener_heard(&bad), "1 closed(ELIMIT)");
    assert_string_equal(listener_heard(&last), "1 2");
    assert_int_equal(stats_of(world).subscribers_failed, 1);
    assert_int_equal(stats_of(world).subscriptions, 2);
    listener_stop(&good);
    listener_stop(&bad);
    listener_stop(&last);
}

static void a_failing_subscriber_without_executor_is_dropped_too(void **state)
{
    struct world *world = *state;
    listener_t good = {0}, bad = {.answer = HUB_EINTERNAL};

    listener_start(&bad, world->bus, "room:1", NULL);
    listener_start(&good, world->bus, "room:1", NULL);
    say_numbers(world->bus, "room:1", 1, 2, 0);
    assert_string_equal(listener_heard(&good), "1 2");
    assert_string_equal(listener_heard(&bad), "1 closed(EINTERNAL)");
    listener_stop(&good);
    listener_stop(&bad);
}

static void a_topic_vanishes_with_its_last_subscriber(void **state)
{
    struct world *world = *state;
    listener_t first = {0}, second = {0};

    listener_start(&first, world->bus, "room:1", NULL);
    listener_start(&second, world->bus, "room:1", &world->loop.base);
    assert_int_equal(stats_of(world).topics, 1);
    listener_stop(&first);
    assert_int_equal(stats_of(world).topics, 1);
    listener_stop(&second);
    assert_int_equal(stats_of(world).topics, 0);
    hub_bus_unsubscribe(NULL);
}

static void a_topic_vanishes_with_its_only_subscriber_failing(void **state)
{
    struct world *world = *state;
    listener_t bad = {.answer = HUB_EINTERNAL};

    listener_start(&bad, world->bus, "room:1", &world->loop.base);
    say(world->bus, "room:1", "1");
    assert_int_equal(stats_of(world).topics, 0);
    listener_stop(&bad);
}

static void stop_other(listener_t *self, const hub_message_t *msg)
{
    (void)msg;
    hub_bus_unsubscribe(self->other->sub);
    self->other->closed = true;
    self->then = NULL;
}

static void unsubscribing_itself_inside_on_message_stops_delivery(void **state)
{
    struct world *world = *state;
    listener_t first = {.then = stop_other, .other = &first}, second = {0};

    listener_start(&first, world->bus, "room:1", &world->loop.base);
    listener_start(&second, world->bus, "room:1", &world->loop.base);
    say_numbers(world->bus, "room:1", 1, 2, 0);
    assert_string_equal(listener_heard(&first), "1");
    assert_string_equal(listener_heard(&second), "1 2");
    listener_stop(&first);
    listener_stop(&second);
}

static void unsubscribing_inside_a_failing_on_message_calls_no_on_close(void **state)
{
    struct world *world = *state;
    listener_t bad = {.then = stop_other, .other = &bad, .answer = HUB_EINTERNAL};

    listener_start(&bad, world->bus, "room:1", &world->loop.base);
    say(world->bus, "room:1", "1");
    assert_string_equal(listener_heard(&bad), "1");
    listener_stop(&bad);
}

/* Whichever comes first ends the other. */
static void unsubscribe_each_other(struct world *world, hub_executor_t *executor)
{
    listener_t first = {.then = stop_other}, second = {.then = stop_other, .other = &first};

    first.other = &second;
    listener_start(&first, world->bus, "room:1", executor);
    listener_start(&second, world->bus, "room:1", executor);
    say_numbers(world->bus, "room:1", 1, 2, 0);
    assert_int_equal(first.messages + second.messages, 2);
    assert_true(first.messages == 0 || second.messages == 0);
    listener_stop(&first);
    listener_stop(&second);
}

static void unsubscribing_another_inside_on_message_stops_its_delivery(void **state)
{
    struct world *world = *state;

    unsubscribe_each_other(world, &world->loop.base);
    unsubscribe_each_other(world, NULL);
}

static void start_other(listener_t *self, const hub_message_t *msg)
{
    (void)msg;
    listener_start(self->other, self->bus, "room:1", NULL);
    self->then = NULL;
}

static void one_that_subscribes_inside_on_message_hears_the_next(void **state)
{
    struct world *world = *state;
    listener_t second = {0}, first = {.then = start_other, .other = &second};

    listener_start(&first, world->bus, "room:1", &world->loop.base);
    say_numbers(world->bus, "room:1", 1, 2, 0);
    assert_string_equal(listener_heard(&first), "1 2");
    assert_string_equal(listener_heard(&second), "2");
    listener_stop(&first);
    listener_stop(&second);
}

static void destroying_the_bus_closes_what_is_left(void **state)
{
    struct world *world = *state;
    hub_bus_t *bus = open_bus(world, &(hub_bus_options_t){0});
    listener_t free_one = {0}, on_loop = {0};

    assert_int_equal(hub_bus_attach(bus, &world->loop.base), HUB_OK);
    listener_start(&free_one, bus, "room:1", NULL);
    listener_start(&on_loop, bus, "room:2", &world->loop.base);
    hub_bus_destroy(bus);
    assert_string_equal(listener_heard(&free_one), "closed(ECLOSED)");
    assert_string_equal(listener_heard(&on_loop), "");
    test_executor_turn(&world->loop);
    assert_string_equal(listener_heard(&on_loop), "closed(ECLOSED)");
    listener_stop(&free_one);
    listener_stop(&on_loop);
}

/* ---- publishing inside a callback, emitting ---- */

static void answer_on_the_same_topic(listener_t *self, const hub_message_t *msg)
{
    (void)msg;
    self->then = NULL;
    say(self->bus, "room:1", "2");
    say_later(self->bus, "room:1", "3");
    say(self->bus, "room:1", "4");
}

static void nobody_hears_the_answer_before_the_question(void **state)
{
    struct world *world = *state;
    listener_t before = {.then = answer_on_the_same_topic}, after = {0}, free_one = {0};

    listener_start(&before, world->bus, "room:1", &world->loop.base);
    listener_start(&after, world->bus, "room:1", &world->loop.base);
    listener_start(&free_one, world->bus, "room:1", NULL);
    say(world->bus, "room:1", "1");
    assert_string_equal(listener_heard(&before), "1 2 3 4");
    assert_string_equal(listener_heard(&after), "1 2 3 4");
    assert_string_equal(listener_heard(&free_one), "1 2 3 4");
    listener_stop(&before);
    listener_stop(&after);
    listener_stop(&free_one);
}

static void say_on_the_other_topic(listener_t *self, const hub_message_t *msg)
{
    const char *topic = hub_str_equals(msg->topic, HUB_STR("room:1")) ? "room:2" : "room:1";

    self->then = NULL;
    say(self->bus, topic, "2");
}

static void two_topics_may_answer_each_other(void **state)
{
    struct world *world = *state;
    listener_t first = {.then = say_on_the_other_topic}, second = {.then = say_on_the_other_topic};

    listener_start(&first, world->bus, "room:1", &world->loop.base);
    listener_start(&second, world->bus, "room:2", &world->loop.base);
    say(world->bus, "room:1", "1");
    assert_string_equal(listener_heard(&first), "1 2");
    assert_string_equal(listener_heard(&second), "2");
    listener_stop(&first);
    listener_stop(&second);
}

static void an_emit_is_heard_at_the_end_of_the_turn(void **state)
{
    struct world *world = *state;
    listener_t listener = {0};

    listener_start(&listener, world->bus, "room:1", &world->loop.base);
    say_later(world->bus, "room:1", "1");
    say_later(world->bus, "room:1", "2");
    assert_string_equal(listener_heard(&listener), "");
    assert_int_equal(world->loop.flushes_asked, 1);
    test_executor_turn(&world->loop);
    assert_string_equal(listener_heard(&listener), "1 2");
    listener_stop(&listener);
}

static void a_publish_sends_the_emits_of_its_topic_first_and_no_others(void **state)
{
    struct world *world = *state;
    listener_t first = {0}, second = {0};

    listener_start(&first, world->bus, "room:1", &world->loop.base);
    listener_start(&second, world->bus, "room:2", &world->loop.base);
    say_later(world->bus, "room:1", "1");
    say_later(world->bus, "room:2", "1");
    say_later(world->bus, "room:1", "2");
    say(world->bus, "room:1", "3");
    assert_string_equal(listener_heard(&first), "1 2 3");
    assert_string_equal(listener_heard(&second), "");
    test_executor_turn(&world->loop);
    assert_string_equal(listener_heard(&second), "1");
    listener_stop(&first);
    listener_stop(&second);
}

static void emits_and_publishes_keep_the_order_of_the_calls(void **state)
{
    struct world *world = *state;
    listener_t listener = {0};

    listener_start(&listener, world->bus, "room:1", &world->loop.base);
    say_numbers(world->bus, "room:1", 1, MANY - 1, 7);
    test_executor_turn(&world->loop);
    assert_numbers(&listener, 1, MANY - 1);
    listener_stop(&listener);
}

static void emit_again(listener_t *self, const hub_message_t *msg)
{
    (void)msg;
    self->then = NULL;
    say_later(self->bus, "room:1", "4");
    say(self->bus, "room:1", "5");
    say_later(self->bus, "room:1", "6");
}

static void a_publish_inside_a_flush_waits_for_the_emits_before_it(void **state)
{
    struct world *world = *state;
    listener_t listener = {.then = emit_again};

    listener_start(&listener, world->bus, "room:1", &world->loop.base);
    say_later(world->bus, "room:1", "1");
    say_later(world->bus, "room:1", "2");
    say_later(world->bus, "room:1", "3");
    test_executor_turn(&world->loop);
    assert_string_equal(listener_heard(&listener), "1 2 3 4 5");
    test_executor_turn(&world->loop);
    assert_string_equal(listener_heard(&listener), "1 2 3 4 5 6");
    listener_stop(&listener);
}

static void only_so_many_emits_wait(void **state)
{
    struct world *world = *state;
    listener_t listener = {0};

    listener_start(&listener, world->bus, "room:1", &world->loop.base);
    say_numbers(world->bus, "room:1", 1, 1024, UINT32_MAX);
    assert_int_equal(listener.messages, 0);
    say_later(world->bus, "room:1", "1025");
    assert_int_equal(listener.messages, 1024);
    test_executor_turn(&world->loop);
    assert_numbers(&listener, 1, 1025);
    listener_stop(&listener);
}

static void two_buses_on_one_loop_keep_their_emits_apart(void **state)
{
    struct world *world = *state;
    hub_bus_t *second_bus = open_bus(world, &(hub_bus_options_t){.name = "other"});
    listener_t first = {0}, second = {0};

    assert_int_equal(hub_bus_attach(second_bus, &world->loop.base), HUB_OK);
    assert_int_equal(hub_bus_attach(second_bus, &world->loop.base), HUB_EEXIST);
    listener_start(&first, world->bus, "room:1", &world->loop.base);
    listener_start(&second, second_bus, "room:1", &world->loop.base);
    say_later(world->bus, "room:1", "1");
    say_later(second_bus, "room:1", "10");
    say(second_bus, "room:1", "11");
    assert_string_equal(listener_heard(&first), "");
    assert_string_equal(listener_heard(&second), "10 11");
    say_later(second_bus, "room:1", "12");
    test_executor_turn(&world->loop);
    assert_string_equal(listener_heard(&first), "1");
    assert_string_equal(listener_heard(&second), "10 11 12");
    listener_stop(&first);
    listener_stop(&second);
    hub_bus_detach(second_bus, &world->loop.base);
    hub_bus_destroy(second_bus);
}

static void detaching_sends_what_waits(void **state)
{
    struct world *world = *state;
    listener_t listener = {0};

    listener_start(&listener, world->bus, "room:1", NULL);
    say_later(world->bus, "room:1", "1");
    hub_bus_detach(world->bus, &world->loop.base);
    assert_string_equal(listener_heard(&listener), "1");
    listener_stop(&listener);
}

/* ---- completions ---- */

static void a_completion_comes_once_on_a_later_turn(void **state)
{
    struct world *world = *state;
    hub_bus_publish_options_t options = ask(world);

    assert_int_equal(try_say(world->bus, "room:1", "1", &options), HUB_OK);
    assert_int_equal(world->completion.calls, 0);
    wait_for_completion(world);
    assert_int_equal(world->completion.calls, 1);
    assert_int_equal(world->completion.result.status, HUB_OK);
    assert_int_equal(world->completion.result.level,
                     backend->shared ? HUB_LEVEL_BUS : HUB_LEVEL_LOCAL);
}

static void a_completion_adds_up_what_the_subscribers_counted(void **state)
{
    struct world *world = *state;
    hub_bus_publish_options_t options = ask(world);
    listener_t first = {.counts = {.members = 3, .queued = 2, .dropped = 1}};
    listener_t second = {.counts = {.members = 4, .queued = 3, .skipped = 1}};

    listener_start(&first, world->bus, "room:1", &world->loop.base);
    listener_start(&second, world->bus, "room:1", NULL);
    assert_int_equal(try_say(world->bus, "room:1", "1", &options), HUB_OK);
    wait_for_completion(world);
    assert_int_equal(world->completion.result.counts.members, 7);
    assert_int_equal(world->completion.result.counts.queued, 5);
    assert_int_equal(world->completion.result.counts.dropped, 1);
    assert_int_equal(world->completion.result.counts.skipped, 1);
    listener_stop(&first);
    listener_stop(&second);
}

static void a_completion_needs_a_place_to_run(void **state)
{
    struct world *world = *state;
    hub_bus_publish_options_t options = {.on_published = on_published, .user = &world->completion};

    assert_int_equal(try_say(world->bus, "room:1", "1", &options), HUB_EINVAL);
}

/* ---- two nodes ---- */

static bool has_messages(void *arg)
{
    return ((const listener_t *)arg)->messages > 0;
}

/* Whether the last that it heard is "end". */
static bool has_end(void *arg)
{
    const char *heard = listener_heard(arg);
    size_t len = strlen(heard), end_len = strlen(END);

    return len >= end_len && strcmp(heard + len - end_len, END) == 0;
}

static void wait_for_end(struct world *world, listener_t *listener)
{
    assert_true(test_executor_run_until(&world->loop, has_end, listener));
}

/* A remote subscription stands some time after it was made: speaks until it is heard. */
static void reach(struct world *world, hub_bus_t *from, listener_t *listener)
{
    listener_clear(listener); /* of what its own node said */
    for (int i = 0; i < PROBES && listener->messages == 0; i++) {
        say(from, "room:1", "\"probe\"");
        test_executor_run_within(&world->loop, 10, has_messages, listener);
    }
    say(from, "room:1", END);
    wait_for_end(world, listener);
    listener_clear(listener);
}

/* Opens the other node and listens on both. */
static void open_far(struct world *world, listener_t *near, listener_t *far)
{
    world->far = open_bus(world, &(hub_bus_options_t){0});
    assert_int_equal(hub_bus_attach(world->far, &world->loop.base), HUB_OK);
    listener_start(near, world->bus, "room:1", &world->loop.base);
    listener_start(far, world->far, "room:1", &world->loop.base);
    reach(world, world->far, near);
    reach(world, world->bus, far);
    listener_clear(near);
}

static void a_message_reaches_the_other_node_as_it_was(void **state)
{
    struct world *world = *state;
    listener_t near = {.keep_last = true}, far = {0};
    hub_message_options_t options = {.origin = {.node = 7, .local = 8},
                                     .position = {.epoch = 5, .offset = 6},
                                     .flags = HUB_MESSAGE_SKIP_ORIGIN};
    hub_message_t *msg;

    open_far(world, &near, &far);
    assert_int_equal(hub_message_create(HUB_STR("room:1"), HUB_STR("shout"),
                                        hub_binary("\0\xff", 2), &options, &msg, NULL),
                     HUB_OK);
    assert_int_equal(hub_bus_publish(world->far, msg, NULL), HUB_OK);
    assert_true(test_executor_run_until(&world->loop, has_messages, &near));
    assert_true(hub_str_equals(near.last->topic, msg->topic));
    assert_true(hub_str_equals(near.last->event, msg->event));
    assert_true(hub_str_equals(near.last->payload.bytes, msg->payload.bytes));
    assert_int_equal(near.last->payload.kind, HUB_PAYLOAD_BINARY);
    assert_true(hub_conn_id_equals(near.last->origin, options.origin));
    assert_int_equal(near.last->position.epoch, 5);
    assert_int_equal(near.last->position.offset, 6);
    assert_int_equal(near.last->flags, HUB_MESSAGE_SKIP_ORIGIN);
    hub_message_release(msg);
    listener_stop(&near);
    listener_stop(&far);
}

static void order_holds_on_the_other_node(void **state)
{
    struct world *world = *state;
    listener_t near = {0}, far = {0};

    open_far(world, &near, &far);
    say_numbers(world->far, "room:1", 1, MANY, 7);
    say(world->far, "room:1", END);
    wait_for_end(world, &near);
    assert_numbers_then(&near, 1, MANY, " " END);
    assert_numbers_then(&far, 1, MANY, " " END);
    listener_stop(&near);
    listener_stop(&far);
}

static void a_node_hears_itself_at_once_and_never_twice(void **state)
{
    struct world *world = *state;
    listener_t near = {0}, far = {0};

    open_far(world, &near, &far);
    say(world->far, "room:1", "1");
    assert_string_equal(listener_heard(&far), "1");
    assert_true(test_executor_run_until(&world->loop, has_messages, &near));
    /* by now the echo has come back, or comes before this */
    say(world->bus, "room:1", END);
    wait_for_end(world, &far);
    assert_string_equal(listener_heard(&far), "1 " END);
    assert_string_equal(listener_heard(&near), "1 " END);
    listener_stop(&near);
    listener_stop(&far);
}

static void another_name_on_the_same_broker_hears_nothing(void **state)
{
    struct world *world = *state;
    hub_bus_t *stranger = open_bus(world, &(hub_bus_options_t){.name = "stranger"});
    listener_t near = {0}, far = {0}, strange = {0};

    listener_start(&strange, stranger, "room:1", NULL);
    open_far(world, &near, &far);
    assert_string_equal(listener_heard(&strange), "");
    listener_stop(&near);
    listener_stop(&far);
    listener_stop(&strange);
    hub_bus_destroy(stranger);
}

static void all_loops_of_all_nodes_hear_one_order(void **state)
{
    struct world *world = *state;

    world->far = open_bus(world, &(hub_bus_options_t){0});
    bus_order_run((hub_bus_t *[]){world->bus, world->far}, 2);
}

static void nodes_have_names_of_their_own(void **state)
{
    struct world *world = *state;

    world->far = open_bus(world, &(hub_bus_options_t){0});
    assert_true(hub_bus_node(world->bus) != 0);
    assert_true(hub_bus_node(world->bus) != hub_bus_node(world->far));
}

/* ---- threads ---- */

static void all_loops_hear_one_order(void **state)
{
    struct world *world = *state;

    bus_order_run(&world->bus, 1);
}

static void a_storm_of_threads_keeps_every_promise(void **state)
{
    struct world *world = *state;

    bus_storm_run(world->bus);
}

#define SUITE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int bus_suite_run(const bus_suite_backend_t *of)
{
    struct CMUnitTest alone[] = {
        SUITE_TEST(a_publish_to_nobody_is_ok),
        SUITE_TEST(all_subscribers_of_the_topic_hear_it_and_no_others),
        SUITE_TEST(a_publisher_without_a_loop_reaches_the_loop_by_its_mailbox),
        SUITE_TEST(a_thousand_publishes_arrive_in_order),
        SUITE_TEST(the_message_is_the_publishers_own),
        SUITE_TEST(a_failing_subscriber_is_dropped_and_the_rest_are_served),
        SUITE_TEST(a_failing_subscriber_without_executor_is_dropped_too),
        SUITE_TEST(a_topic_vanishes_with_its_last_subscriber),
        SUITE_TEST(a_topic_vanishes_with_its_only_subscriber_failing),
        SUITE_TEST(unsubscribing_itself_inside_on_message_stops_delivery),
        SUITE_TEST(unsubscribing_inside_a_failing_on_message_calls_no_on_close),
        SUITE_TEST(unsubscribing_another_inside_on_message_stops_its_delivery),
        SUITE_TEST(one_that_subscribes_inside_on_message_hears_the_next),
        SUITE_TEST(destroying_the_bus_closes_what_is_left),
        SUITE_TEST(nobody_hears_the_answer_before_the_question),
        SUITE_TEST(two_topics_may_answer_each_other),
        SUITE_TEST(an_emit_is_heard_at_the_end_of_the_turn),
        SUITE_TEST(a_publish_sends_the_emits_of_its_topic_first_and_no_others),
        SUITE_TEST(emits_and_publishes_keep_the_order_of_the_calls),
        SUITE_TEST(a_publish_inside_a_flush_waits_for_the_emits_before_it),
        SUITE_TEST(only_so_many_emits_wait),
        SUITE_TEST(two_buses_on_one_loop_keep_their_emits_apart),
        SUITE_TEST(detaching_sends_what_waits),
        SUITE_TEST(a_completion_comes_once_on_a_later_turn),
        SUITE_TEST(a_completion_adds_up_what_the_subscribers_counted),
        SUITE_TEST(a_completion_needs_a_place_to_run),
        SUITE_TEST(all_loops_hear_one_order),
        SUITE_TEST(a_storm_of_threads_keeps_every_promise),
    };
    struct CMUnitTest together[] = {
        SUITE_TEST(a_message_reaches_the_other_node_as_it_was),
        SUITE_TEST(order_holds_on_the_other_node),
        SUITE_TEST(a_node_hears_itself_at_once_and_never_twice),
        SUITE_TEST(another_name_on_the_same_broker_hears_nothing),
        SUITE_TEST(all_loops_of_all_nodes_hear_one_order),
        SUITE_TEST(nodes_have_names_of_their_own),
    };
    int failed;

    backend = of;
    if (of->need != NULL) {
        of->need(alone, sizeof(alone) / sizeof(alone[0]));
        of->need(together, sizeof(together) / sizeof(together[0]));
    }
    failed = cmocka_run_group_tests_name(of->name, alone, NULL, NULL);
    if (of->shared)
        failed += cmocka_run_group_tests_name(of->name, together, NULL, NULL);
    return failed;
}
