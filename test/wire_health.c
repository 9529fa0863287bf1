/* SPDX-License-Identifier: MIT */
/* A server with several hubs, two of them on one bus: what it tells an operator at /health, /alive
 * and /metrics while some of the brokers are away. */
#include "test/exposition.h"
#include "test/fake_backend.h"
#include "test/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* "app" is in memory, "chat" on the left bus, "game" and "quiz" on the right one. */
static struct {
    fake_broker_t *broker;
    hub_bus_t *left, *right;
    hub_t *hubs[3];
    server_t *server;
} site;

static hub_bus_t *open_bus(void)
{
    hub_bus_t *bus = NULL;

    assert_int_equal(hub_bus_create(&(hub_bus_options_t){.backend = &fake_backend,
                                                         .backend_options = site.broker},
                                    &bus, NULL),
                     HUB_OK);
    return bus;
}

static void mount(size_t place, const char *name, hub_bus_t *bus, const char *path)
{
    assert_int_equal(hub_create(&(hub_options_t){.name = name, .bus = bus}, &site.hubs[place]),
                     HUB_OK);
    assert_int_equal(
        hub_channel_add(site.hubs[place], &(hub_channel_options_t){.pattern = "room:{id}"}),
        HUB_OK);
    assert_int_equal(hub_server_mount(site.server->server, site.hubs[place],
                                      &(hub_endpoint_options_t){.path = path}),
                     HUB_OK);
}

static void route(const char *path, hub_on_http_cb on_http)
{
    assert_int_equal(
        hub_server_route(site.server->server, "GET", path, on_http, site.server->server), HUB_OK);
}

static void start_site(void)
{
    site.broker = fake_broker_create();
    site.left = open_bus();
    site.right = open_bus();
    site.server = server_create_with(NULL, &(hub_options_t){.name = "app"});
    server_mount(site.server, NULL);
    mount(0, "chat", site.left, "/chat");
    mount(1, "game", site.right, "/game");
    mount(2, "quiz", site.right, "/quiz");
    route("/metrics", hub_metrics_on_http);
    route("/health", hub_health_on_http);
    route("/alive", hub_alive_on_http);
    server_start(site.server);
}

static void connect_brokers(void)
{
    fake_broker_start(site.broker);
    fake_broker_settle(site.broker);
}

static int end_site(void **state)
{
    server_teardown(state);
    for (size_t i = 0; i < sizeof(site.hubs) / sizeof(site.hubs[0]); i++)
        hub_destroy(site.hubs[i]);
    hub_bus_destroy(site.left);
    hub_bus_destroy(site.right);
    if (site.broker != NULL)
        fake_broker_destroy(site.broker);
    memset(&site, 0, sizeof(site));
    return 0;
}

static const char *get(const char *path, int status)
{
    client_t *client = server_connect(site.server);

    client_request(client, "GET", path, "");
    return client_expect_response(client, status).body.base;
}

/* Until it answers with this status: a probe has to come back. */
static void await(const char *path, int status)
{
    int got = 0;

    for (int i = 0; i != 1000 && got != status; ++i) {
        client_t *client = server_connect(site.server);

        client_request(client, "GET", path, "");
        got = client_next_response(client).status;
        server_drop_client(site.server, client, client_destroy);
    }
    assert_int_equal(got, status);
}

static void health_is_that_of_the_worst_bus(void **state)
{
    (void)state;
    start_site();
    assert_string_equal(get("/health", 503), "{\"status\":\"bus_down\",\"hub\":\"chat\"}");
    connect_brokers();
    await("/health", 200);
    fake_broker_disconnect(site.broker, site.right);
    assert_string_equal(get("/health", 503), "{\"status\":\"bus_down\",\"hub\":\"game\"}");
    fake_broker_connect(site.broker, site.right);
    await("/health", 200);
    assert_string_equal(get("/health", 200), "{\"status\":\"ok\"}");
}

static void who_is_alive_need_not_be_healthy(void **state)
{
    (void)state;
    start_site();
    assert_string_equal(get("/alive", 200), "{\"status\":\"ok\"}");
}

static void metrics_have_a_line_for_each_bus(void **state)
{
    const char *text;

    (void)state;
    start_site();
    connect_brokers();
    await("/health", 200);
    fake_broker_disconnect(site.broker, site.right);
    text = get("/metrics", 200);
    exposition_check(text);
    assert_int_equal(
        exposition_value(text, "sockethub_bus_healthy{bus=\"1\",hub=\"app\",backend=\"memory\"}"),
        1);
    assert_int_equal(
        exposition_value(text, "sockethub_bus_healthy{bus=\"2\",hub=\"chat\",backend=\"fake\"}"),
        1);
    assert_int_equal(
        exposition_value(text, "sockethub_bus_healthy{bus=\"3\",hub=\"game\",backend=\"fake\"}"),
        0);
    assert_null(strstr(text, "quiz"));
}

static client_t *join(const char *path)
{
    client_t *client = server_client(site.server, path);

    client_join(client, "room:1", "1");
    return client;
}

static void say(size_t place, const char *json)
{
    assert_int_equal(
        hub_publish(site.hubs[place], HUB_STR("room:1"), HUB_STR("said"), hub_json(hub_str(json))),
        HUB_OK);
}

/* Their workers are the same, too. */
static void hubs_on_one_bus_hear_each_their_own(void **state)
{
    client_t *chat, *game, *quiz;

    (void)state;
    start_site();
    connect_brokers();
    chat = join("/chat");
    game = join("/game");
    quiz = join("/quiz");
    say(0, "0");
    say(1, "1");
    say(2, "2");
    client_expect_event(chat, "room:1", "said", "0");
    client_expect_event(game, "room:1", "said", "1");
    client_expect_event(quiz, "room:1", "said", "2");
    client_expect_quiet(game);
    client_expect_quiet(quiz);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(health_is_that_of_the_worst_bus, end_site),
        cmocka_unit_test_teardown(who_is_alive_need_not_be_healthy, end_site),
        cmocka_unit_test_teardown(metrics_have_a_line_for_each_bus, end_site),
        cmocka_unit_test_teardown(hubs_on_one_bus_hear_each_their_own, end_site),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
