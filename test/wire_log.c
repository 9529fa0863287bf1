/* SPDX-License-Identifier: MIT */
/* What the log says of peers that do wrong: a line for each event, whatever they send, and neither
 * tokens nor payloads in any of them. That each line is one, is valid JSON as JSON and has no
 * SERVER_SECRET in it is asked of the lines of every wire case, by server_teardown(). */
#define _GNU_SOURCE 1
#include "test/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define SECRET "{'is':'" SERVER_SECRET "'}"
#define SECRET_BASE64 "c2VjcmV0" /* of SERVER_SECRET */
#define PATH_BYTES 1048576

static hub_status_t break_down(hub_member_t *me, const hub_message_t *msg)
{
    (void)me, (void)msg;
    return HUB_EPAYLOAD;
}

static hub_status_t answer_binary(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_reply(me, msg, hub_binary(SERVER_SECRET, strlen(SERVER_SECRET)));
}

static hub_status_t answer_badly(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_reply(me, msg, HUB_JSON("{\"" SERVER_SECRET "\":"));
}

static hub_status_t shout_badly(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_broadcast(me, msg->event, HUB_JSON("[" SERVER_SECRET));
}

static hub_status_t on_authorize(hub_request_t *request, void *user)
{
    (void)user;
    if (hub_request_query(request, "deny").base != NULL)
        return HUB_EREJECTED;
    hub_request_grant(request, &(hub_grant_t){.identity = HUB_STR("one")});
    return HUB_OK;
}

static server_t *logged(void)
{
    static const hub_event_handler_t events[] = {{"answer_binary", answer_binary},
                                                 {"answer_badly", answer_badly},
                                                 {"shout_badly", shout_badly},
                                                 {NULL, NULL}};
    server_t *server = server_create();

    server_channel(server, &(hub_channel_options_t){
                               .pattern = "{name}", .events = events, .on_receive = break_down});
    server_mount(server, &(hub_endpoint_options_t){
                             .auth_token = true, .longpoll = true, .on_authorize = on_authorize});
    server_start(server);
    return server;
}

static client_t *joined(server_t *server, const char *topic)
{
    client_t *client = server_keep_client(
        server, client_open(server->address, "/socket?token=" SERVER_SECRET, ""));

    client_join(client, topic, "'1'");
    return client;
}

static void names_of_a_peers_choice_are_escaped(void **state)
{
    server_t *s = logged();
    client_t *c = joined(s, "a\u202Eb");

    (void)state;
    client_say(c, "a\u202Eb", "x\\r\\ny\\u001b[31m\\u2066", "{}", "'2'");
    client_expect_error(c, "a\u202Eb", "'2'", "invalid_payload");
    server_expect_log("handler.failed",
                      "topic=\"a\\u{202E}b\" event=\"x\\r\\ny\\x1B[31m\\u{2066}\"");
}

static void expect_refused(server_t *server, const char *target, const char *fields, int status)
{
    client_t *client = server_connect(server);

    client_send_text(client, client_upgrade_text(target, fields));
    (void)client_expect_response(client, status);
    server_drop_client(server, client, client_destroy);
}

static void a_header_is_escaped_and_cut(void **state)
{
    server_t *s = logged();
    char fields[2048] = "Origin: http://\"\\", shown[400];

    (void)state;
    memset(fields + strlen(fields), 'o', 1000);
    strcat(fields, "\r\n");
    expect_refused(s, "/socket", fields, 403);
    snprintf(shown, sizeof(shown), "why=origin origin=\"http://\\\"\\\\%.*s…\" host=", 245,
             fields + 17);
    server_expect_log("endpoint.refused", shown);
}

static void a_path_of_a_megabyte_is_no_line_of_that_length(void **state)
{
    server_t *s = logged();
    client_t *c = server_connect(s);
    char *path = malloc(PATH_BYTES);

    (void)state;
    assert_non_null(path);
    memset(path, 'p', PATH_BYTES);
    memcpy(path, "GET /socket?", 12);
    client_send(c, hub_str_n(path, PATH_BYTES));
    client_expect_gone(c);
    free(path);
    assert_true(server_longest_line() <= 1024 + 64);
}

static void no_token_is_in_a_line(void **state)
{
    server_t *s = logged();

    (void)state;
    expect_refused(s, "/socket?token=" SERVER_SECRET "&deny=1",
                   "Authorization: Bearer " SERVER_SECRET "\r\nCookie: a=" SERVER_SECRET "\r\n",
                   403);
    expect_refused(s, "/socket?deny=1",
                   "Sec-WebSocket-Protocol: phoenix, base64url.bearer.phx." SECRET_BASE64 "\r\n",
                   403);
    expect_refused(s, "/socket?vsn=" SERVER_SECRET, "", 403);
    expect_refused(s, "/socket",
                   "Sec-WebSocket-Protocol: base64url.bearer.phx." SECRET_BASE64 "!\r\n", 403);
    server_expect_log("endpoint.refused", "why=authorize");
    assert_false(server_has_log(SECRET_BASE64));
}

static void no_payload_is_in_a_line(void **state)
{
    server_t *s = logged();
    client_t *c = joined(s, "room");

    (void)state;
    client_say(c, "room", "say", SECRET, "'2'");
    client_expect_error(c, "room", "'2'", "invalid_payload");
    client_say(c, "room", "answer_binary", SECRET, "'3'");
    client_say(c, "room", "answer_badly", SECRET, "'4'");
    client_say(c, "room", "shout_badly", SECRET, "'5'");
    client_frame(c, 0x81, HUB_STR("{\"topic\":\"" SERVER_SECRET));
    client_frame(c, 0x81, HUB_STR(SERVER_SECRET "\xff"));
    (void)client_drain_to_close(c, 1007);
    server_expect_log("handler.failed", "event=\"say\"");
    server_expect_log("member.payload", "error=\"native cannot carry a binary payload\"");
    server_expect_log("member.payload", "offset=10");
    server_expect_log("member.broadcast", "");
}

static void a_peer_that_fails_a_hundred_times_has_ten_lines(void **state)
{
    server_t *s = logged();
    client_t *c = joined(s, "room");

    (void)state;
    server_stop_log_clock();
    for (int i = 0; i < 100; i++) {
        client_say(c, "room", "say", "{}", "'2'");
        client_expect_error(c, "room", "'2'", "invalid_payload");
    }
    assert_int_equal(SERVER_STAT(s, handler_errors_total), 100);
    assert_int_equal(server_count_log("handler.failed"), 10);
}

static int log_all(void **state)
{
    (void)state;
    hub_log_set_level(HUB_LOG_DEBUG);
    return 0;
}

static int log_as_before(void **state)
{
    hub_log_set_level(HUB_LOG_INFO);
    return server_teardown(state);
}

#define LOG_CASE(name) cmocka_unit_test_setup_teardown(name, log_all, log_as_before)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOG_CASE(names_of_a_peers_choice_are_escaped),
        LOG_CASE(a_header_is_escaped_and_cut),
        LOG_CASE(a_path_of_a_megabyte_is_no_line_of_that_length),
        LOG_CASE(no_token_is_in_a_line),
        LOG_CASE(no_payload_is_in_a_line),
        LOG_CASE(a_peer_that_fails_a_hundred_times_has_ten_lines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
