/* SPDX-License-Identifier: MIT */
/* Each loop is a thread that subscribes, waits for the others and publishes its numbers while it
 * hears theirs. */
#include "test/bus_order.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "test/executor.h"
#include "test/listener.h"

#define LOOPS_PER_BUS 2
#define EACH 300 /* messages of a loop */
#define TOPIC "room:1"

struct loop {
    test_executor_t executor;
    hub_bus_t *bus;
    listener_t listener;
    hub_bus_sub_t *sub; /* counts; the listener writes down */
    unsigned number;
    pthread_barrier_t *start;
    atomic_bool ready;
    atomic_size_t heard;
    atomic_int refused; /* the status of a publish */
};

static void on_ready(hub_bus_sub_t *sub, void *user)
{
    (void)sub;
    atomic_store(&((struct loop *)user)->ready, true);
}

static hub_status_t on_message(hub_bus_sub_t *sub, const hub_message_t *msg, hub_bus_ack_t *ack,
                               void *user)
{
    (void)sub, (void)msg, (void)ack;
    atomic_fetch_add(&((struct loop *)user)->heard, 1);
    return HUB_OK;
}

static void begin(void *arg)
{
    struct loop *loop = arg;
    hub_bus_sub_options_t options = {.on_message = on_message,
                                     .on_ready = on_ready,
                                     .executor = &loop->executor.base,
                                     .user = loop};

    assert_int_equal(hub_bus_attach(loop->bus, &loop->executor.base), HUB_OK);
    listener_start(&loop->listener, loop->bus, TOPIC, &loop->executor.base);
    assert_int_equal(hub_bus_subscribe(loop->bus, HUB_STR(TOPIC), &options, &loop->sub), HUB_OK);
}

static hub_status_t say_number(const struct loop *loop, unsigned i)
{
    hub_message_options_t options = {.flags = HUB_MESSAGE_BUS_ORDER};
    hub_message_t *msg = NULL;
    char json[24];
    hub_status_t err;

    snprintf(json, sizeof(json), "%u", loop->number * 1000 + i);
    assert_int_equal(hub_message_create(HUB_STR(TOPIC), HUB_STR("said"), hub_json(hub_str(json)),
                                        &options, &msg, NULL),
                     HUB_OK);
    /* both ways, as a program may mix them */
    err = i % 3 == 0 ? hub_bus_emit(loop->bus, msg, NULL) : hub_bus_publish(loop->bus, msg, NULL);
    hub_message_release(msg);
    return err;
}

/* As a task of its own, so that what the others say arrives in between. */
struct speech {
    hub_task_t task;
    struct loop *loop;
    unsigned next;
};

static void speak(hub_task_t *task)
{
    struct speech *speech = (struct speech *)task;
    struct loop *loop = speech->loop;
    hub_status_t err = HUB_OK;

    if (speech->next == 0)
        pthread_barrier_wait(loop->start);
    for (unsigned i = 0; i < 10 && err == HUB_OK; i++)
        err = say_number(loop, speech->next++);
    atomic_store(&loop->refused, err);
    if (err != HUB_OK || speech->next >= EACH ||
        loop->executor.base.post(&loop->executor.base, task, true) != HUB_OK)
        free(speech);
}

static void finish(void *arg)
{
    struct loop *loop = arg;

    hub_bus_unsubscribe(loop->sub);
    hub_bus_unsubscribe(loop->listener.sub);
    loop->listener.sub = NULL;
    hub_bus_detach(loop->bus, &loop->executor.base);
}

static bool wait_for(const struct loop *loops, size_t count,
                     bool (*holds)(const struct loop *loop, size_t count))
{
    for (int i = 0; i < TEST_DEADLINE_MS; i++) {
        size_t good = 0;

        for (size_t k = 0; k < count; k++)
            good += holds(&loops[k], count);
        if (good == count)
            return true;
        poll(NULL, 0, 1);
    }
    return false;
}

static bool is_ready(const struct loop *loop, size_t count)
{
    (void)count;
    return atomic_load(&loop->ready);
}

static bool has_all(const struct loop *loop, size_t count)
{
    return atomic_load(&loop->heard) >= count * EACH || atomic_load(&loop->refused) != HUB_OK;
}

static void start_speech(struct loop *loop)
{
    struct speech *speech = calloc(1, sizeof(*speech));

    speech->task.run = speech->task.discard = speak;
    speech->loop = loop;
    assert_int_equal(loop->executor.base.post(&loop->executor.base, &speech->task, true), HUB_OK);
}

static void compare(const struct loop *loops, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(atomic_load(&loops[i].refused), HUB_OK);
        assert_int_equal(loops[i].listener.messages, count * EACH);
        assert_null(strstr(listener_heard(&loops[i].listener), "gap"));
        if (strcmp(listener_heard(&loops[i].listener), listener_heard(&loops[0].listener)) != 0)
            fail_msg("loop %zu heard another order than the first", i);
    }
}

void bus_order_run(hub_bus_t *const *buses, size_t bus_count)
{
    size_t count = bus_count * LOOPS_PER_BUS;
    struct loop *loops = calloc(count, sizeof(*loops));
    pthread_barrier_t start;
    bool in_time;

    pthread_barrier_init(&start, NULL, (unsigned)count);
    for (size_t i = 0; i < count; i++) {
        loops[i].bus = buses[i / LOOPS_PER_BUS];
        loops[i].number = (unsigned)i + 1;
        loops[i].start = &start;
        test_executor_start(&loops[i].executor, 0);
        test_executor_call(&loops[i].executor, begin, &loops[i]);
    }
    in_time = wait_for(loops, count, is_ready);
    for (size_t i = 0; i < count; i++)
        start_speech(&loops[i]);
    in_time &= wait_for(loops, count, has_all);
    for (size_t i = 0; i < count; i++)
        test_executor_call(&loops[i].executor, finish, &loops[i]);
    assert_true(in_time);
    compare(loops, count);
    for (size_t i = 0; i < count; i++) {
        listener_stop(&loops[i].listener);
        test_executor_stop(&loops[i].executor);
    }
    pthread_barrier_destroy(&start);
    free(loops);
}
