/* SPDX-License-Identifier: MIT */
/* What the tests of the remote part share, so that each of them is about one way through it. */
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

hub_bus_t *pair_open(fake_broker_t *broker, const hub_bus_options_t *options)
{
    hub_bus_options_t completed = *options;
    hub_bus_t *bus = NULL;

    if (completed.backend == NULL)
        completed.backend = &fake_backend;
    completed.backend_options = broker;
    assert_int_equal(hub_bus_create(&completed, &bus, NULL), HUB_OK);
    return bus;
}

uint64_t pair_now_ms(void *fixture)
{
    return atomic_load(&((pair_t *)fixture)->now_ms);
}

int pair_set_up_with(void **state, hub_bus_options_t options)
{
    pair_t *fixture = calloc(1, sizeof(*fixture));

    options.probe_interval_ms = HUB_OFF;
    if (options.position_interval_ms == 0)
        options.position_interval_ms = HUB_OFF;
    fixture->broker = fake_broker_create();
    fixture->near = pair_open(fixture->broker, &options);
    fixture->far = pair_open(fixture->broker, &options);
    hub__remote_set_clock(fixture->far, pair_now_ms, fixture);
    test_executor_init(&fixture->loop, 0);
    assert_int_equal(hub_bus_attach(fixture->near, &fixture->loop.base), HUB_OK);
    listener_start(&fixture->heard, fixture->near, "room:1", &fixture->loop.base);
    fake_broker_run(fixture->broker);
    *state = fixture;
    return 0;
}

int pair_set_up(void **state)
{
    return pair_set_up_with(state, (hub_bus_options_t){0});
}

int pair_set_up_degraded(void **state)
{
    return pair_set_up_with(state, (hub_bus_options_t){.degraded_local = true});
}

int pair_set_up_positions(void **state)
{
    return pair_set_up_with(state, (hub_bus_options_t){.position_interval_ms = 1000});
}

int pair_set_up_buffered(void **state)
{
    return pair_set_up_with(state, (hub_bus_options_t){.buffer_bytes = PAIR_BUFFER_BYTES});
}

int pair_tear_down(void **state)
{
    pair_t *fixture = *state;

    listener_stop(&fixture->heard);
    hub_bus_destroy(fixture->near);
    hub_bus_destroy(fixture->far);
    fake_broker_destroy(fixture->broker);
    test_executor_end(&fixture->loop);
    free(fixture);
    return 0;
}

hub_bus_stats_t pair_stats(hub_bus_t *bus)
{
    hub_bus_stats_t stats;

    hub_bus_get_stats(bus, &stats);
    return stats;
}

void pair_on_published(const hub_publish_result_t *result, void *user)
{
    pair_t *fixture = user;

    fixture->completions++;
    fixture->result = *result;
}

hub_status_t pair_say_and_ask(pair_t *fixture, const char *json)
{
    return try_say(fixture->far, "room:1", json,
                   &(hub_bus_publish_options_t){.on_published = pair_on_published,
                                                .user = fixture,
                                                .executor = &fixture->loop.base});
}

void pair_say_far(pair_t *fixture, int first, int last)
{
    char text[16];

    for (int i = first; i <= last; i++) {
        snprintf(text, sizeof(text), "%d", i);
        say(fixture->far, "room:1", text);
    }
}

void pair_run(pair_t *fixture)
{
    fake_broker_run(fixture->broker);
    test_executor_turn(&fixture->loop);
}

void pair_assert_heard(pair_t *fixture, const char *expected)
{
    pair_run(fixture);
    assert_string_equal(listener_heard(&fixture->heard), expected);
}

void pair_set_faults(pair_t *fixture, fake_faults_t faults)
{
    fake_broker_set(fixture->broker, faults);
}

void pair_assert_completed(pair_t *fixture, hub_status_t status, hub_bus_level_t level)
{
    test_executor_turn(&fixture->loop);
    assert_int_equal(fixture->completions, 1);
    assert_int_equal(fixture->result.status, status);
    assert_int_equal(fixture->result.level, level);
}

void pair_inject(pair_t *fixture, uint64_t node, uint64_t incarnation, uint64_t seq,
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

static atomic_uint lines;

static void count_line(hub_log_level_t level, const char *event, const char *text, void *user)
{
    (void)level;
    (void)text;
    if (strcmp(event, user) == 0)
        atomic_fetch_add(&lines, 1);
}

void pair_count_lines(const char *event)
{
    atomic_store(&lines, 0);
    hub_log_set(count_line, (char *)(uintptr_t)event);
    hub_log_set_level(HUB_LOG_WARN);
}

unsigned pair_lines_counted(void)
{
    hub_log_set_level(HUB_LOG_ERROR);
    hub_log_set(NULL, NULL);
    return atomic_load(&lines);
}

/* Up, and all that waited has gone out. */
void pair_come_up(pair_t *fixture)
{
    fake_broker_connect(fixture->broker, fixture->far);
    fake_broker_run(fixture->broker);
    hub__remote_clock_moved(fixture->far);
}
