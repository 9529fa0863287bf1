/* test/redis_world.h - for cases about the bus on Redis: up to two nodes on one broker, a real one
 * or a fake one; the first listens. Its log is kept, and the password of the broker must never be
 * in it. */
#pragma once

#include "test/broker.h"

#include "test/executor.h"
#include "test/fake_redis.h"
#include "test/listener.h"
#include "test/logbook.h"

#define REDIS_TEST(test) cmocka_unit_test_setup_teardown(test, redis_set_up, redis_tear_down)

extern unsigned hub__redis_ask_again_ms, hub__redis_farewell_ms; /* redis.c */

struct fixture {
    logbook_t log;
    broker_t *broker;
    fake_redis_t *fake;
    hub_bus_t *bus;
    hub_bus_t *far;
    test_executor_t loop;
    listener_t listener;
    int completions;
    hub_publish_result_t result;
    const char *wanted; /* in the log */
    size_t conns;       /* of the fake one */
    uint64_t refused;
};

bool log_has(struct fixture *fixture, const char *text);
int redis_set_up(void **state);
int redis_tear_down(void **state);
void give_up(struct fixture *fixture, const char *what);
void redis_await(struct fixture *fixture, bool (*holds)(struct fixture *fixture), const char *what);
hub_bus_stats_t redis_stats_of(hub_bus_t *bus);
bool all_are_healthy(struct fixture *fixture);
bool redis_is_down(struct fixture *fixture);
bool has_completed(struct fixture *fixture);
bool has_refusals(struct fixture *fixture);
bool has_conns(struct fixture *fixture);
/* The broker has the subscription to room:1. */
bool stands(struct fixture *fixture);
void await_log(struct fixture *fixture, const char *wanted);
/* `wanted` as the end of all that was heard. */
void await_heard(struct fixture *fixture, const char *wanted);
void await_healthy(struct fixture *fixture);
hub_bus_t *redis_open_url(const char *url, const char *query);
void start_broker(struct fixture *fixture, bool password, const char *line);
void redis_admin(struct fixture *fixture, const char *command);
void assert_admin_has(struct fixture *fixture, const char *command, const char *expected);
/* By the broker's port, and by another name than the URL of the broker has. */
void open_as(struct fixture *fixture, const char *user_and_password, const char *rest);
void listen_to(struct fixture *fixture, const char *topic);
hub_status_t publish_here(struct fixture *fixture, const char *json);
void assert_completed(struct fixture *fixture, hub_status_t status);
void open_both(struct fixture *fixture);
/* Two nodes, one of which listens to room:1, and knows that it does: a message comes behind the
 * word that the subscription stands. */
void open_pair(struct fixture *fixture);
