/* SPDX-License-Identifier: MIT */
/* The remote part of the core, over a broker within the process: the suite of every bus, what must
 * hold when everything happens at once, and how such a bus is opened. */
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
#include "test/bus_suite.h"
#include "test/executor.h"
#include "test/fake_backend.h"
#include "test/listener.h"
#include "test/pair.h"

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

static hub_bus_t *open_with_broker(void *world, const hub_bus_options_t *options)
{
    hub_bus_t *bus = pair_open(world, options);

    fake_broker_settle(world);
    return bus;
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
        buses[i] = pair_open(broker, &(hub_bus_options_t){.buffer_bytes = 20000});
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
        assert_int_equal(pair_stats(buses[i]).buffered_bytes, 0);
        assert_int_equal(pair_stats(buses[i]).in_flight, 0);
        assert_int_equal(pair_stats(buses[i]).in_flight_bytes, 0);
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
    hub_bus_t *bus = pair_open(broker, &(hub_bus_options_t){0});

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
    assert_int_equal(pair_stats(bus).topics, 0);
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

    life->bus = pair_open(broker, &(hub_bus_options_t){.buffer_bytes = 20000, .name = "hub"});
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
    talker->bus = pair_open(broker, &(hub_bus_options_t){.in_flight_bytes = 20000});
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

/* Whoever takes one that the program waits for elsewhere is ended by it, and the program with him.
 */
static void the_threads_of_a_bus_take_no_signals(void **state)
{
    fake_broker_t *broker = fake_broker_create();
    hub_bus_t *bus = pair_open(broker, &(hub_bus_options_t){0});
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
        cmocka_unit_test(whatever_breaks_each_publish_completes_once),
        cmocka_unit_test(who_comes_and_goes_while_connections_do_leaves_no_wait_behind),
        cmocka_unit_test(a_bus_that_is_destroyed_in_the_midst_ends_each_thing_once),
        cmocka_unit_test(the_threads_of_a_bus_take_no_signals),
        cmocka_unit_test(a_backend_of_another_api_is_refused),
        cmocka_unit_test(a_backend_that_does_not_open_fails_the_create),
    };

    hub_log_set_level(HUB_LOG_ERROR); /* what the broker does here is worth a warning each time */
    return bus_suite_run(&fake) + cmocka_run_group_tests(tests, NULL, NULL);
}
