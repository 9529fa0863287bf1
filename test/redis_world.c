/* SPDX-License-Identifier: MIT */
#include "test/redis_world.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_MS 1

bool log_has(struct fixture *fixture, const char *text)
{
    return logbook_has(&fixture->log, text);
}

int redis_set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    logbook_open(&fixture->log);
    test_executor_init(&fixture->loop, 0);
    hub__redis_ask_again_ms = 20;
    hub__redis_farewell_ms = 1000;
    *state = fixture;
    return 0;
}

int redis_tear_down(void **state)
{
    struct fixture *fixture = *state;

    if (fixture->listener.sub != NULL)
        listener_stop(&fixture->listener);
    hub_bus_destroy(fixture->far);
    hub_bus_destroy(fixture->bus);
    test_executor_end(&fixture->loop);
    broker_stop(fixture->broker);
    fake_redis_stop(fixture->fake);
    assert_false(log_has(fixture, BROKER_PASSWORD));
    logbook_close(&fixture->log);
    free(fixture);
    return 0;
}

/* ---- waiting ---- */

void give_up(struct fixture *fixture, const char *what)
{
    fail_msg("%s, but heard was \"%s\" and logged:\n%s", what, listener_heard(&fixture->listener),
             logbook_last_words(&fixture->log));
}

void redis_await(struct fixture *fixture, bool (*holds)(struct fixture *fixture), const char *what)
{
    for (int i = 0; i < TEST_DEADLINE_MS / LOOK_MS; i++) {
        if (holds(fixture)) /* once is enough: some do not hold for ever */
            return;
        test_executor_turn(&fixture->loop);
        poll(NULL, 0, LOOK_MS);
    }
    give_up(fixture, what);
}

hub_bus_stats_t redis_stats_of(hub_bus_t *bus)
{
    hub_bus_stats_t stats;

    hub_bus_get_stats(bus, &stats);
    return stats;
}

bool all_are_healthy(struct fixture *fixture)
{
    return redis_stats_of(fixture->bus).healthy &&
           (fixture->far == NULL || redis_stats_of(fixture->far).healthy);
}

bool redis_is_down(struct fixture *fixture)
{
    return !redis_stats_of(fixture->bus).healthy;
}

static bool is_logged(struct fixture *fixture)
{
    return log_has(fixture, fixture->wanted);
}

bool has_completed(struct fixture *fixture)
{
    return fixture->completions > 0;
}

bool has_refusals(struct fixture *fixture)
{
    return redis_stats_of(fixture->bus).topics_refused >= fixture->refused;
}

bool has_conns(struct fixture *fixture)
{
    return fake_redis_accepted(fixture->fake) >= fixture->conns;
}

bool stands(struct fixture *fixture)
{
    char *answer = broker_admin(fixture->broker, "PUBSUB NUMSUB hub:room:1");
    bool has = answer != NULL && strstr(answer, "\r\n:1\r\n") != NULL;

    free(answer);
    return has;
}

static bool has_heard(struct fixture *fixture)
{
    return strstr(listener_heard(&fixture->listener), fixture->wanted) != NULL;
}

void await_log(struct fixture *fixture, const char *wanted)
{
    fixture->wanted = wanted;
    redis_await(fixture, is_logged, wanted);
}

void await_heard(struct fixture *fixture, const char *wanted)
{
    fixture->wanted = wanted;
    redis_await(fixture, has_heard, wanted);
    if (strcmp(listener_heard(&fixture->listener), wanted) != 0)
        give_up(fixture, wanted);
}

void await_healthy(struct fixture *fixture)
{
    redis_await(fixture, all_are_healthy, "healthy");
}

/* ---- opening ---- */

hub_bus_t *redis_open_url(const char *url, const char *query)
{
    char text[512];
    hub_error_t error = {0};
    hub_bus_t *bus = NULL;

    snprintf(text, sizeof(text), "%s%s", url, query);
    if (hub_bus_open(text, NULL, &bus, &error) != HUB_OK)
        fail_msg("%s: %s", text, error.text);
    return bus;
}

void start_broker(struct fixture *fixture, bool password, const char *line)
{
    const char *config[] = {line, NULL};

    broker_need(BROKER_REDIS);
    fixture->broker =
        broker_start(BROKER_REDIS, &(broker_options_t){.config = line == NULL ? NULL : config,
                                                       .password = password});
    assert_non_null(fixture->broker);
}

void redis_admin(struct fixture *fixture, const char *command)
{
    free(broker_ask(fixture->broker, command));
}

void assert_admin_has(struct fixture *fixture, const char *command, const char *expected)
{
    char *answer = broker_ask(fixture->broker, command);

    if (strstr(answer, expected) == NULL)
        fail_msg("%s: %s, not %s", command, answer, expected);
    free(answer);
}

void open_as(struct fixture *fixture, const char *user_and_password, const char *rest)
{
    char url[256];

    snprintf(url, sizeof(url), "redis://%s127.0.0.1:%u", user_and_password,
             broker_port(fixture->broker));
    fixture->bus = redis_open_url(url, rest);
}

void listen_to(struct fixture *fixture, const char *topic)
{
    assert_int_equal(hub_bus_attach(fixture->bus, &fixture->loop.base), HUB_OK);
    listener_start(&fixture->listener, fixture->bus, topic, &fixture->loop.base);
}

static void on_published(const hub_publish_result_t *result, void *user)
{
    struct fixture *fixture = user;

    fixture->completions++;
    fixture->result = *result;
}

hub_status_t publish_here(struct fixture *fixture, const char *json)
{
    return try_say(fixture->bus, "room:1", json,
                   &(hub_bus_publish_options_t){.on_published = on_published,
                                                .user = fixture,
                                                .executor = &fixture->loop.base});
}

void assert_completed(struct fixture *fixture, hub_status_t status)
{
    redis_await(fixture, has_completed, "completed");
    assert_int_equal(fixture->result.status, status);
}

void open_both(struct fixture *fixture)
{
    fixture->bus = redis_open_url(broker_url(fixture->broker), "");
    fixture->far = redis_open_url(broker_url(fixture->broker), "");
    await_healthy(fixture);
}

void open_pair(struct fixture *fixture)
{
    open_both(fixture);
    listen_to(fixture, "room:1");
    redis_await(fixture, stands, "subscribed");
    say(fixture->far, "room:1", "\"ready\"");
    await_heard(fixture, "\"ready\"");
    listener_clear(&fixture->listener);
}
