/* test/pair.h - two nodes with a broker within the process that stands still, and a clock that does
 * too: nothing happens unless the test lets the broker run. One listens to "room:1" on the near
 * bus; mostly the far one speaks. */
#pragma once

#include <stdatomic.h>

#include "bus/bus.h"
#include "test/executor.h"
#include "test/fake_backend.h"
#include "test/listener.h"

typedef struct pair {
    fake_broker_t *broker;
    hub_bus_t *near;
    hub_bus_t *far;
    listener_t heard; /* on the near bus */
    test_executor_t loop;
    atomic_ullong now_ms; /* of the far bus */
    int completions;
    hub_publish_result_t result;
} pair_t;

#define PAIR_BUFFER_BYTES 4096

/* A bus on the broker, over fake_backend where the options name none. */
hub_bus_t *pair_open(fake_broker_t *broker, const hub_bus_options_t *options);

/* ---- set-up and tear-down of a case: its state is a pair_t ---- */

/* No probes, and no positions unless `options` has them. */
int pair_set_up_with(void **state, hub_bus_options_t options);
int pair_set_up(void **state);
int pair_set_up_degraded(void **state);
int pair_set_up_positions(void **state); /* each 1,000 ms */
int pair_set_up_buffered(void **state);
int pair_tear_down(void **state);
/* For hub__remote_set_clock(), which the far bus has. */
uint64_t pair_now_ms(void *fixture);

/* ---- what happens ---- */

/* The broker does all it has to do, and then the loop. */
void pair_run(pair_t *fixture);
void pair_set_faults(pair_t *fixture, fake_faults_t faults);
/* The far bus, with a turn of its core's thread. */
void pair_come_up(pair_t *fixture);
/* Publishes "<first>" to "<last>" on the far bus. */
void pair_say_far(pair_t *fixture, int first, int last);
/* On the far bus; pair_assert_completed() looks at the completion. */
hub_status_t pair_say_and_ask(pair_t *fixture, const char *json);
void pair_on_published(const hub_publish_result_t *result, void *user);
/* A message of a node that no bus here is, to the near one. */
void pair_inject(pair_t *fixture, uint64_t node, uint64_t incarnation, uint64_t seq,
                 const char *json);

/* ---- what came of it ---- */

/* Runs first. */
void pair_assert_heard(pair_t *fixture, const char *expected);
void pair_assert_completed(pair_t *fixture, hub_status_t status, hub_bus_level_t level);
hub_bus_stats_t pair_stats(hub_bus_t *bus);
/* Warnings are logged between these two alone, which count the lines of one event. */
void pair_count_lines(const char *event);
unsigned pair_lines_counted(void);
