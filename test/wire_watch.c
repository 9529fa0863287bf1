/* SPDX-License-Identifier: MIT */
/* Callbacks that hold up their loop: each is named in the log once it returns. How long they take
 * is counted on the clock that the server goes by, so nothing here depends on the machine's speed.
 */
#define _GNU_SOURCE 1
#include "test/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

#define WARN_MS 12
#define BLOCK_MS 30

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* As no callback should. */
static void block(void)
{
    uint64_t until_ms = now_ms() + BLOCK_MS;

    while (now_ms() < until_ms)
        ;
}

static hub_status_t on_block(hub_member_t *me, const hub_message_t *msg)
{
    block();
    return hub_member_reply(me, msg, HUB_JSON("1"));
}

static hub_status_t on_join_slowly(hub_member_t *me, const hub_message_t *msg)
{
    (void)me, (void)msg;
    block();
    return HUB_OK;
}

static void on_exit_slowly(hub_member_t *me, hub_exit_t why)
{
    (void)me, (void)why;
    block();
}

static void on_timer_slowly(hub_member_t *me, const char *name, void *user)
{
    (void)name, (void)user;
    block();
    (void)hub_member_push(me, HUB_STR("rang"), HUB_JSON("1"));
}

static hub_status_t on_start(hub_member_t *me, const hub_message_t *msg)
{
    (void)msg;
    return hub_member_timer_start(me, "kettle", 1, 0, on_timer_slowly, NULL);
}

static void work(void *user)
{
    (void)user;
}

static void on_done_slowly(hub_member_t *me, hub_status_t status, void *user)
{
    (void)status, (void)user;
    block();
    (void)hub_member_push(me, HUB_STR("done"), HUB_JSON("1"));
}

static hub_status_t on_offload(hub_member_t *me, const hub_message_t *msg)
{
    (void)msg;
    return hub_member_offload(me, "sums", work, on_done_slowly, NULL);
}

static hub_status_t on_shout(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_broadcast(me, msg->event, msg->payload);
}

static hub_update_t on_update_slowly(hub_member_t *me, const hub_message_t *msg,
                                     hub_payload_t *ret_replacement)
{
    (void)me, (void)msg, (void)ret_replacement;
    block();
    return HUB_UPDATE_KEEP;
}

static hub_status_t on_authorize_slowly(hub_request_t *request, void *user)
{
    (void)request, (void)user;
    block();
    return HUB_OK;
}

static void on_http_slowly(hub_http_t *http, void *user)
{
    (void)user;
    block();
    hub_http_respond(http, 200, "text/plain", HUB_STR("ok"));
}

static hub_status_t on_raw_slowly(hub_conn_t *conn, hub_str_t bytes, bool binary, void *user)
{
    (void)user;
    block();
    return hub_conn_send(conn, bytes, binary);
}

static void on_published_slowly(const hub_publish_result_t *result, void *user)
{
    (void)result, (void)user;
    block();
}

static hub_status_t on_hook_slowly(const hub_hook_event_t *event, void *user)
{
    (void)event, (void)user;
    block();
    return HUB_OK;
}

static const hub_event_handler_t events[] = {{"block", on_block},
                                             {"start", on_start},
                                             {"offload", on_offload},
                                             {"shout", on_shout},
                                             {NULL, NULL}};

static server_t *watched(size_t warn_ms)
{
    return server_create_with(&(hub_server_options_t){.limits = {.callback_warn_ms = warn_ms}},
                              NULL);
}

/* Serves one channel, whose first member this is. */
static client_t *watched_member(server_t *s, const hub_channel_options_t *channel)
{
    client_t *c;

    server_channel(s, channel);
    server_mount(s, NULL);
    server_start(s);
    c = server_client(s, "/socket");
    client_join(c, "t1", "'j'");
    return c;
}

static client_t *chatterbox(server_t *s)
{
    return watched_member(s, &(hub_channel_options_t){.pattern = "t{n}", .events = events});
}

static void expect_named(server_t *s, const char *callback, const char *of, const char *name)
{
    char text[120];

    snprintf(text, sizeof(text), "worker=0 callback=%s of=\"%s\" name=\"%s\" ms=", callback, of,
             name);
    SERVER_EXPECT_STAT_AT_LEAST(s, callbacks_slow_total, 1);
    server_expect_log("callback.slow", text);
}

static void a_handler_is_named_with_its_channel_and_event(void **state)
{
    server_t *s = watched(WARN_MS);
    client_t *c = chatterbox(s);

    (void)state;
    client_say(c, "t1", "block", "{}", "2");
    client_expect_ok(c, "t1", "2", "1");
    expect_named(s, "on_receive", "t{n}", "block");
}

static void a_join_and_an_exit_are_named(void **state)
{
    server_t *s = watched(WARN_MS);
    client_t *c = watched_member(s, &(hub_channel_options_t){.pattern = "t{n}",
                                                             .on_join = on_join_slowly,
                                                             .on_exit = on_exit_slowly});

    (void)state;
    expect_named(s, "on_join", "t{n}", "");
    client_json(c, "{'topic':'t1','event':'leave','payload':{},'ref':2}");
    client_expect_ok(c, "t1", "2", "{'topic':'t1'}");
    SERVER_EXPECT_STAT_AT_LEAST(s, callbacks_slow_total, 2);
    expect_named(s, "on_exit", "t{n}", "");
}

static void a_timer_and_a_job_are_named(void **state)
{
    server_t *s = watched(WARN_MS);
    client_t *c = chatterbox(s);

    (void)state;
    client_say(c, "t1", "start", "{}", NULL);
    client_expect_push(c, "t1", "rang", "1", "'j'");
    expect_named(s, "on_timer", "t{n}", "kettle");
    client_say(c, "t1", "offload", "{}", NULL);
    client_expect_push(c, "t1", "done", "1", "'j'");
    expect_named(s, "on_done", "t{n}", "sums");
}

static void a_filter_is_named(void **state)
{
    server_t *s = watched(WARN_MS);
    client_t *c =
        watched_member(s, &(hub_channel_options_t){
                              .pattern = "t{n}", .events = events, .on_update = on_update_slowly});

    (void)state;
    client_say(c, "t1", "shout", "{}", NULL);
    client_expect_event(c, "t1", "shout", "{}");
    expect_named(s, "on_update", "t{n}", "shout");
}

static void a_hook_is_named(void **state)
{
    server_t *s = watched(WARN_MS);

    (void)state;
    server_hook(s, HUB_HOOK_JOIN, on_hook_slowly);
    (void)chatterbox(s);
    expect_named(s, "hook", "hub", "join");
}

static void who_authorizes_is_named_with_the_path(void **state)
{
    server_t *s = watched(WARN_MS);

    (void)state;
    server_mount(s,
                 &(hub_endpoint_options_t){.path = "/door", .on_authorize = on_authorize_slowly});
    server_start(s);
    (void)server_client(s, "/door");
    expect_named(s, "on_authorize", "/door", "");
}

static void a_route_is_named_with_its_path(void **state)
{
    server_t *s = watched(WARN_MS);
    client_t *c;

    (void)state;
    assert_int_equal(hub_server_route(s->server, "GET", "/slow", on_http_slowly, NULL), HUB_OK);
    server_start(s);
    c = server_connect(s);
    client_request(c, "GET", "/slow", "");
    (void)client_expect_response(c, 200);
    expect_named(s, "on_http", "/slow", "");
}

static void a_raw_handler_is_named_with_its_path(void **state)
{
    server_t *s = watched(WARN_MS);
    client_t *c;

    (void)state;
    assert_int_equal(
        hub_server_websocket(s->server, "/raw", &(hub_raw_options_t){.on_message = on_raw_slowly}),
        HUB_OK);
    server_start(s);
    c = server_client(s, "/raw");
    client_frame(c, CLIENT_TEXT, HUB_STR("x"));
    client_expect_message(c, CLIENT_TEXT, HUB_STR("x"));
    expect_named(s, "on_message", "/raw", "");
}

/* What no callback that is timed accounts for shows as a turn. */
static void a_turn_that_nobody_accounts_for_is_told(void **state)
{
    server_t *s = watched(WARN_MS);
    client_t *c = chatterbox(s);

    (void)state;
    assert_int_equal(hub_publish_counted(s->hub, HUB_STR("t1"), HUB_STR("x"), HUB_JSON("1"),
                                         on_published_slowly, NULL),
                     HUB_OK);
    client_expect_event(c, "t1", "x", "1");
    SERVER_EXPECT_STAT_AT_LEAST(s, turns_slow_total, 1);
    server_expect_log("turn.slow", "worker=0 ms=");
}

static void within_the_limit_or_without_one_nobody_is_named(void **state)
{
    static const size_t limits[] = {60000, HUB_OFF};

    (void)state;
    for (size_t i = 0; i != 2; i++) {
        server_t *s = watched(limits[i]);
        client_t *c = chatterbox(s);

        client_say(c, "t1", "block", "{}", "2");
        client_expect_ok(c, "t1", "2", "1");
        client_expect_quiet(c);
        assert_int_equal(SERVER_STAT(s, callbacks_slow_total), 0);
        assert_int_equal(SERVER_STAT(s, turns_slow_total), 0);
    }
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        SERVER_CASE(a_handler_is_named_with_its_channel_and_event),
        SERVER_CASE(a_join_and_an_exit_are_named),
        SERVER_CASE(a_timer_and_a_job_are_named),
        SERVER_CASE(a_filter_is_named),
        SERVER_CASE(a_hook_is_named),
        SERVER_CASE(who_authorizes_is_named_with_the_path),
        SERVER_CASE(a_route_is_named_with_its_path),
        SERVER_CASE(a_raw_handler_is_named_with_its_path),
        SERVER_CASE(a_turn_that_nobody_accounts_for_is_told),
        SERVER_CASE(within_the_limit_or_without_one_nobody_is_named),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
