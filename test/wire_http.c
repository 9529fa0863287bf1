/* SPDX-License-Identifier: MIT */
/* What else the port serves: endpoints and files from memory, metrics, health, and what a raw
 * websocket route does when its handlers fail. */
#define _GNU_SOURCE 1
#include "test/exposition.h"
#include "test/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define PAGE "<!doctype html><title>t</title>"

/* Answers with what it saw. */
static void on_api(hub_http_t *http, void *user)
{
    char body[600];
    int len =
        snprintf(body, sizeof(body), "%s %.*s %.*s q=%.*s x=%.*s body=%.*s", (const char *)user,
                 HUB_STR_ARG(hub_http_method(http)), HUB_STR_ARG(hub_http_path(http)),
                 HUB_STR_ARG(hub_http_query(http, "q")),
                 HUB_STR_ARG(hub_http_header(http, "x-token")), HUB_STR_ARG(hub_http_body(http)));

    hub_http_respond(http, 201, "text/plain", hub_str_n(body, (size_t)len));
}

static void on_silence(hub_http_t *http, void *user)
{
    (void)http, (void)user;
}

static void route(server_t *server, const char *method, const char *path, hub_on_http_cb on_http,
                  void *user)
{
    assert_int_equal(hub_server_route(server->server, method, path, on_http, user), HUB_OK);
}

static char wide[] = "wide", narrow[] = "narrow", exact[] = "exact";

static server_t *site(void)
{
    server_t *s = server_create();

    route(s, "GET", "/api/*", on_api, wide);
    route(s, "GET", "/api/v2/*", on_api, narrow);
    route(s, "GET", "/api/v2/me", on_api, exact);
    route(s, "POST", "/api/v2/me", on_api, exact);
    route(s, "GET", "/silence", on_silence, NULL);
    route(s, "GET", "/metrics", hub_metrics_on_http, s->server);
    route(s, "GET", "/health", hub_health_on_http, s->server);
    assert_int_equal(hub_server_file(s->server, "/", "text/html; charset=utf-8", HUB_STR(PAGE)),
                     HUB_OK);
    server_channel(s, &(hub_channel_options_t){.pattern = "t{id}"});
    server_mount(s, NULL);
    server_start(s);
    return s;
}

static client_response_t get(server_t *s, const char *method, const char *target,
                             const char *fields, int status)
{
    client_t *c = server_connect(s);

    client_request(c, method, target, fields);
    return client_expect_response(c, status);
}

static void expect_header(const client_response_t *response, const char *name, const char *value)
{
    hub_str_t got = client_header(response, name);

    if (!hub_str_equals(got, hub_str(value)))
        fail_msg("expected %s: %s, got %.*s", name, value, HUB_STR_ARG(got));
}

static void an_endpoint_sees_the_request_and_answers(void **state)
{
    server_t *s = site();
    client_response_t response = get(s, "GET", "/api/x?q=a+b%21", "X-Token: t\r\n", 201);

    (void)state;
    assert_string_equal(response.body.base, "wide GET /api/x q=a b! x=t body=");
    expect_header(&response, "Content-Type", "text/plain");
    response = get(s, "POST", "/api/v2/me", "Content-Length: 0\r\n", 201);
    assert_string_equal(response.body.base, "exact POST /api/v2/me q= x= body=");
}

static void a_body_reaches_the_endpoint(void **state)
{
    client_t *c = server_connect(site());

    (void)state;
    client_send_text(c, "POST /api/v2/me HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    assert_string_equal(client_expect_response(c, 201).body.base,
                        "exact POST /api/v2/me q= x= body=hello");
}

static void the_longest_path_wins(void **state)
{
    server_t *s = site();

    (void)state;
    assert_true(hub_str_starts_with(get(s, "GET", "/api/v2/me", "", 201).body, HUB_STR("exact")));
    assert_true(
        hub_str_starts_with(get(s, "GET", "/api/v2/me/x", "", 201).body, HUB_STR("narrow")));
    assert_true(hub_str_starts_with(get(s, "GET", "/api/v3", "", 201).body, HUB_STR("wide")));
}

static void an_unknown_path_is_404(void **state)
{
    server_t *s = site();

    (void)state;
    (void)get(s, "GET", "/nowhere", "", 404);
    (void)get(s, "GET", "/api", "", 404);
    (void)get(s, "GET", "/metrics/x", "", 404);
    (void)get(s, "BREW", "/nowhere", "", 404);
}

static void a_path_under_another_method_is_405_with_allow(void **state)
{
    server_t *s = site();
    client_response_t response = get(s, "DELETE", "/api/v2/me", "", 405);
    hub_str_t allow = client_header(&response, "Allow");

    (void)state;
    assert_non_null(memmem(allow.base, allow.len, "GET", 3));
    assert_non_null(memmem(allow.base, allow.len, "POST", 4));
    response = get(s, "POST", "/", "Content-Length: 0\r\n", 405);
    expect_header(&response, "Allow", "GET, HEAD");
}

static void a_handler_that_does_not_answer_is_500(void **state)
{
    (void)state;
    (void)get(site(), "GET", "/silence", "", 500);
}

static void a_file_is_served_with_a_tag_that_saves_the_next_transfer(void **state)
{
    server_t *s = site();
    client_response_t response = get(s, "GET", "/", "", 200);
    char field[200];

    (void)state;
    assert_string_equal(response.body.base, PAGE);
    expect_header(&response, "Content-Type", "text/html; charset=utf-8");
    snprintf(field, sizeof(field), "If-None-Match: %.*s\r\n",
             HUB_STR_ARG(client_header(&response, "ETag")));
    response = get(s, "GET", "/", field, 304);
    assert_non_null(client_header(&response, "ETag").base);
    (void)get(s, "GET", "/", "If-None-Match: \"another\"\r\n", 200);
}

static void a_head_has_the_fields_and_no_body(void **state)
{
    server_t *s = site();
    client_t *c = server_connect(s);
    client_response_t response;
    char length[16];

    (void)state;
    snprintf(length, sizeof(length), "%zu", strlen(PAGE));
    client_request(c, "HEAD", "/", "");
    response = client_expect_response(c, 200);
    expect_header(&response, "Content-Length", length);
    client_request(c, "GET", "/", ""); /* a body of the first would be in its way */
    assert_string_equal(client_expect_response(c, 200).body.base, PAGE);
}

static void two_requests_in_one_segment_get_two_answers_in_order(void **state)
{
    client_t *c = server_connect(site());

    (void)state;
    client_send_text(c, "GET /api/1 HTTP/1.1\r\nHost: a\r\n\r\nGET /api/2 HTTP/1.1\r\nHost: a\r\n"
                        "\r\n");
    assert_non_null(strstr(client_expect_response(c, 201).body.base, "/api/1 "));
    assert_non_null(strstr(client_expect_response(c, 201).body.base, "/api/2 "));
}

#define BUS "{bus=\"1\",hub=\"hub\",backend=\"memory\"}"

static void metrics_are_prometheus_text_of_every_counter(void **state)
{
    static const char *const lines[] = {"# HELP sockethub_conns connections open\n",
                                        "# TYPE sockethub_conns gauge\n",
                                        "\nsockethub_conns 1\n",
                                        "\nsockethub_conns_total 1\n",
                                        "# TYPE sockethub_joins_total counter\n",
                                        "\nsockethub_joins_total 1\n",
                                        "\nsockethub_members 1\n",
                                        "\nsockethub_topics 1\n",
                                        "\nsockethub_closed_slow_total 0\n",
                                        "# TYPE sockethub_bus_healthy gauge\n",
                                        "\nsockethub_bus_healthy" BUS " 1\n",
                                        "# TYPE sockethub_bus_gaps_total counter\n",
                                        "\nsockethub_bus_subscriptions" BUS " 1\n",
                                        "\nsockethub_bus_remote_missing_total" BUS " 0\n"};
    server_t *s = site();
    client_response_t response;

    (void)state;
    client_join(server_client(s, "/socket"), "t1", "1");
    response = get(s, "GET", "/metrics", "", 200);
    assert_true(hub_str_starts_with(client_header(&response, "Content-Type"),
                                    HUB_STR("text/plain; version=0.0.4")));
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        if (strstr(response.body.base, lines[i]) == NULL)
            fail_msg("no %s in\n%s", lines[i], response.body.base);
    exposition_check(response.body.base);
}

static uint64_t longest_turn_us(server_t *s)
{
    hub_stats_t stats;

    hub_server_stats(s->server, &stats);
    return stats.turn_max_us;
}

static void metrics_have_times_in_seconds(void **state)
{
    static const char name[] = "\nsockethub_turn_max_seconds ";
    server_t *s = site();
    const char *found;
    uint64_t before_us;
    double seconds;

    (void)state;
    client_join(server_client(s, "/socket"), "t1", "1");
    before_us = longest_turn_us(s);
    found = strstr(get(s, "GET", "/metrics", "", 200).body.base, name);
    assert_non_null(found);
    seconds = strtod(found + strlen(name), NULL);
    assert_in_range((uint64_t)(seconds * 1e6 + 0.5), before_us, longest_turn_us(s));
}

static void health_says_ok(void **state)
{
    client_response_t response = get(site(), "GET", "/health", "", 200);

    (void)state;
    assert_string_equal(response.body.base, "{\"status\":\"ok\"}");
    expect_header(&response, "Content-Type", "application/json");
}

static void a_path_is_taken_once(void **state)
{
    server_t *s = server_create();

    (void)state;
    route(s, "GET", "/a", on_silence, NULL);
    assert_int_equal(hub_server_route(s->server, "GET", "/a", on_silence, NULL), HUB_EEXIST);
    assert_int_equal(hub_server_file(s->server, "/a", "text/plain", HUB_STR("")), HUB_EEXIST);
    server_mount(s, NULL);
    assert_int_equal(hub_server_mount(s->server, s->hub, NULL), HUB_EEXIST);
    server_start(s);
    assert_int_equal(hub_server_route(s->server, "GET", "/b", on_silence, NULL), HUB_EBUSY);
}

/* ---- raw websockets ---- */

static hub_status_t on_open(hub_conn_t *conn, void *user)
{
    const hub_status_t *status = user;

    (void)conn;
    return *status;
}

static hub_status_t on_message(hub_conn_t *conn, hub_str_t bytes, bool binary, void *user)
{
    (void)user;
    if (hub_str_equals(bytes, HUB_STR("fail")))
        return HUB_ESYSTEM;
    return hub_conn_send(conn, bytes, binary);
}

static void on_close(hub_conn_t *conn, hub_disconnect_reason_t why, void *user)
{
    (void)user;
    server_note("closed %s, %.*s", hub_disconnect_reason_name(why),
                HUB_STR_ARG(hub_conn_format(conn)));
}

static server_t *raw(hub_status_t *open_status)
{
    server_t *s = server_create();
    hub_raw_options_t options = {
        .on_open = on_open, .on_message = on_message, .on_close = on_close, .user = open_status};

    assert_int_equal(hub_server_websocket(s->server, "/raw", &options), HUB_OK);
    server_start(s);
    return s;
}

static hub_status_t open_ok = HUB_OK, open_fails = HUB_ESYSTEM;

static void a_raw_handler_that_fails_closes_1011(void **state)
{
    client_t *c = server_client(raw(&open_ok), "/raw");

    (void)state;
    client_frame(c, CLIENT_TEXT, HUB_STR("fine"));
    client_frame(c, CLIENT_TEXT, HUB_STR("fail"));
    client_frame(c, CLIENT_TEXT, HUB_STR("never seen"));
    client_expect_text(c, "fine");
    (void)client_expect_close(c, 1011);
    server_expect_note("closed error, raw");
    client_close_frame(c, 1011, "");
    client_expect_eof(c);
    server_expect_no_note();
}

static void a_raw_on_open_that_fails_closes_1011(void **state)
{
    client_t *c = server_client(raw(&open_fails), "/raw");

    (void)state;
    (void)client_expect_close(c, 1011);
    server_expect_note("closed error, raw");
}

static void a_raw_client_that_vanishes_is_told_once(void **state)
{
    server_t *s = raw(&open_ok);
    client_t *c = server_client(s, "/raw");

    (void)state;
    server_drop_client(s, c, client_abort);
    server_expect_note("closed lost, raw");
    SERVER_EXPECT_STAT(s, conns, 0);
    server_expect_no_note();
}

static void a_raw_route_checks_its_handshake_as_well(void **state)
{
    server_t *s = raw(&open_ok);

    (void)state;
    (void)get(s, "GET", "/raw", "", 426);
    (void)get(s, "GET", "/raw/websocket", "", 404);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        SERVER_CASE(an_endpoint_sees_the_request_and_answers),
        SERVER_CASE(a_body_reaches_the_endpoint),
        SERVER_CASE(the_longest_path_wins),
        SERVER_CASE(an_unknown_path_is_404),
        SERVER_CASE(a_path_under_another_method_is_405_with_allow),
        SERVER_CASE(a_handler_that_does_not_answer_is_500),
        SERVER_CASE(a_file_is_served_with_a_tag_that_saves_the_next_transfer),
        SERVER_CASE(a_head_has_the_fields_and_no_body),
        SERVER_CASE(two_requests_in_one_segment_get_two_answers_in_order),
        SERVER_CASE(metrics_are_prometheus_text_of_every_counter),
        SERVER_CASE(metrics_have_times_in_seconds),
        SERVER_CASE(health_says_ok),
        SERVER_CASE(a_path_is_taken_once),
        SERVER_CASE(a_raw_handler_that_fails_closes_1011),
        SERVER_CASE(a_raw_on_open_that_fails_closes_1011),
        SERVER_CASE(a_raw_client_that_vanishes_is_told_once),
        SERVER_CASE(a_raw_route_checks_its_handshake_as_well),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
