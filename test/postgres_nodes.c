/* SPDX-License-Identifier: MIT */
#include "test/postgres_nodes.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#define LOOK_MS 1

int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    logbook_open(&fixture->log);
    test_executor_init(&fixture->loop, 0);
    fixture->broker = broker_start(BROKER_POSTGRES, &(broker_options_t){.password = true});
    assert_non_null(fixture->broker);
    *state = fixture;
    return 0;
}

int tear_down(void **state)
{
    struct fixture *fixture = *state;

    for (size_t i = 0; i < NODES; i++) {
        if (fixture->nodes[i].listens)
            listener_stop(&fixture->nodes[i].heard);
        hub_bus_destroy(fixture->nodes[i].bus);
    }
    test_executor_end(&fixture->loop);
    broker_stop(fixture->broker);
    assert_false(has_logged(fixture, BROKER_PASSWORD));
    logbook_close(&fixture->log);
    free(fixture);
    return 0;
}

void open_url(struct fixture *fixture, size_t node, const char *url)
{
    hub_error_t error = {0};

    if (hub_bus_open(url, NULL, &fixture->nodes[node].bus, &error) != HUB_OK)
        fail_msg("%s", error.text);
    assert_int_equal(hub_bus_attach(fixture->nodes[node].bus, &fixture->loop.base), HUB_OK);
}

void open_node(struct fixture *fixture, size_t node, const char *params)
{
    char url[256];

    snprintf(url, sizeof(url), "%s%s", broker_url(fixture->broker), params);
    open_url(fixture, node, url);
}

hub_bus_stats_t stats_of(struct fixture *fixture, size_t node)
{
    hub_bus_stats_t stats;

    hub_bus_get_stats(fixture->nodes[node].bus, &stats);
    return stats;
}

/* Runs the loop until `holds` for node number `node`. */
void wait_until(struct fixture *fixture, bool (*holds)(struct fixture *fixture, size_t node),
                size_t node)
{
    for (int i = 0; i < TEST_DEADLINE_MS / LOOK_MS; i++) {
        test_executor_turn(&fixture->loop);
        if (holds(fixture, node)) /* once is enough: some do not hold for ever */
            return;
        poll(NULL, 0, LOOK_MS);
    }
    fail_msg("not within %d ms; the log:\n%s", TEST_DEADLINE_MS, logbook_last_words(&fixture->log));
}

bool is_up(struct fixture *fixture, size_t node)
{
    return stats_of(fixture, node).healthy;
}

bool is_down(struct fixture *fixture, size_t node)
{
    return !is_up(fixture, node);
}

void listen_up(struct fixture *fixture, size_t node, const char *params)
{
    open_node(fixture, node, params);
    listener_start(&fixture->nodes[node].heard, fixture->nodes[node].bus, "room:1",
                   &fixture->loop.base);
    fixture->nodes[node].listens = true;
    wait_until(fixture, is_up, node);
}

/* What is to be heard, or to be in the log, next. One case at a time. */
static const char *awaited;

static bool heard_it(struct fixture *fixture, size_t node)
{
    return strcmp(listener_heard(&fixture->nodes[node].heard), awaited) == 0;
}

void expect_heard(struct fixture *fixture, size_t node, const char *text)
{
    awaited = text;
    wait_until(fixture, heard_it, node);
}

bool has_logged(struct fixture *fixture, const char *text)
{
    return logbook_has(&fixture->log, text);
}

static bool logged_it(struct fixture *fixture, size_t node)
{
    (void)node;
    return has_logged(fixture, awaited);
}

void expect_logged(struct fixture *fixture, const char *text)
{
    awaited = text;
    wait_until(fixture, logged_it, 0);
}

void admin(struct fixture *fixture, const char *sql)
{
    free(broker_ask(fixture->broker, sql));
}

void expect_answer(struct fixture *fixture, const char *sql, const char *expected)
{
    char *answer = broker_ask(fixture->broker, sql);

    assert_string_equal(answer, expected);
    free(answer);
}

static void on_published(const hub_publish_result_t *result, void *user)
{
    struct fixture *fixture = user;

    if (fixture->answered < BATCH)
        fixture->answers[fixture->answered] = result->status;
    fixture->answered++;
}

void say_and_ask(struct fixture *fixture, size_t node, const char *json)
{
    hub_bus_publish_options_t options = {
        .on_published = on_published, .user = fixture, .executor = &fixture->loop.base};

    assert_int_equal(try_say(fixture->nodes[node].bus, "room:1", json, &options), HUB_OK);
}

bool all_answered(struct fixture *fixture, size_t count)
{
    return fixture->answered == count;
}

void expect_first_answer(struct fixture *fixture, const char *json, hub_status_t expected)
{
    say_and_ask(fixture, 0, json);
    wait_until(fixture, all_answered, 1);
    assert_int_equal(fixture->answers[0], expected);
}

char *long_string(size_t bytes)
{
    char *json = malloc(bytes + 1);

    memset(json, 'x', bytes);
    json[0] = json[bytes - 1] = '"';
    json[bytes] = '\0';
    return json;
}
