/* SPDX-License-Identifier: MIT */
/* Clients without websockets: polls and posts, their tokens, what ends a connection that has no
 * socket, and requests that reach another worker than the connection's. */
#define _GNU_SOURCE 1
#include "test/server.h"

#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jansson.h>

#define LONG_MS 60000 /* a window that no case waits for */

/* ---- the hub of these cases ---- */

static hub_status_t on_echo(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_reply(me, msg, msg->payload);
}

static hub_status_t on_say(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_broadcast(me, msg->event, msg->payload);
}

static hub_status_t on_about(hub_member_t *me, const hub_message_t *msg)
{
    const hub_conn_t *conn = hub_member_conn(me);
    char json[600];
    int len = snprintf(json, sizeof(json), "[\"%.*s\",\"%.*s\",\"%.*s\"]",
                       HUB_STR_ARG(hub_conn_identity(conn)), HUB_STR_ARG(hub_conn_format(conn)),
                       HUB_STR_ARG(hub_conn_peer(conn)));

    return hub_member_reply(me, msg, hub_json(hub_str_n(json, (size_t)len)));
}

/* Pushes [count, size]: so many messages of about so many bytes, in one turn. */
static hub_status_t on_burst(hub_member_t *me, const hub_message_t *msg)
{
    static _Thread_local char json[65536];
    char text[32]; /* a payload has no NUL behind it */
    int count = 0, size = 0;

    snprintf(text, sizeof(text), "%.*s", HUB_STR_ARG(msg->payload.bytes));
    if (sscanf(text, "[%d,%d]", &count, &size) != 2)
        return HUB_EPAYLOAD;
    memset(json, 'x', sizeof(json));
    for (int i = 0; i < count; i++) {
        int len = snprintf(json, sizeof(json), "{\"i\":%d,\"x\":\"", i);

        json[len] = 'x';
        memcpy(json + len + size, "\"}", 2);
        (void)hub_member_push(me, HUB_STR("b"),
                              hub_json(hub_str_n(json, (size_t)(len + size + 2))));
    }
    return HUB_OK;
}

static hub_status_t on_kick(hub_member_t *me, const hub_message_t *msg)
{
    (void)msg;
    (void)hub_member_push(me, HUB_STR("last"), HUB_JSON("{}"));
    hub_conn_close(hub_member_conn(me), 4000, HUB_STR("kicked"));
    return HUB_OK;
}

static hub_status_t on_block(hub_member_t *me, const hub_message_t *msg)
{
    (void)me, (void)msg;
    server_note("blocked");
    server_gate_wait();
    return HUB_OK;
}

static sem_t pause_over;

static hub_status_t on_pause(hub_member_t *me, const hub_message_t *msg)
{
    (void)me, (void)msg;
    server_note("paused");
    while (sem_wait(&pause_over) != 0)
        ;
    return HUB_OK;
}

static const hub_event_handler_t events[] = {
    {"echo", on_echo}, {"say", on_say},     {"about", on_about}, {"burst", on_burst},
    {"kick", on_kick}, {"block", on_block}, {"pause", on_pause}, {"thread", server_reply_thread},
    {NULL, NULL}};

static hub_status_t note_open(const hub_hook_event_t *event, void *user)
{
    (void)event, (void)user;
    server_note("open");
    return HUB_OK;
}

static hub_status_t note_disconnect(const hub_hook_event_t *event, void *user)
{
    (void)user;
    server_note("closed %s", hub_disconnect_reason_name(event->reason));
    return HUB_OK;
}

/* ?user= becomes the identity, ?deny refuses, ?fail fails. */
static hub_status_t on_authorize(hub_request_t *request, void *user)
{
    (void)user;
    if (hub_request_query(request, "deny").base != NULL)
        return hub_request_refuse(request, 429, 0, NULL, HUB_STR("no"));
    if (hub_request_query(request, "fail").base != NULL)
        return HUB_EINTERNAL;
    hub_request_grant(request, &(hub_grant_t){.identity = hub_request_query(request, "user")});
    return HUB_OK;
}

static server_t *polled_with(const hub_server_options_t *options, hub_endpoint_options_t endpoint)
{
    server_t *server = server_create_with(options, NULL);

    server_channel(server, &(hub_channel_options_t){.pattern = "t{id}", .events = events});
    server_channel(server, &(hub_channel_options_t){.pattern = "lossy{id}",
                                                    .slow_policy = HUB_SLOW_DROP_OLD,
                                                    .slow_messages = 2});
    server_hook(server, HUB_HOOK_DISCONNECT, note_disconnect);
    endpoint.longpoll = true;
    if (endpoint.on_authorize == NULL)
        endpoint.on_authorize = on_authorize;
    if (endpoint.limits.longpoll_window_ms == 0)
        endpoint.limits.longpoll_window_ms = LONG_MS;
    server_mount(server, &endpoint);
    server_start(server);
    return server;
}

static server_t *polled(const hub_limits_t *limits)
{
    return polled_with(NULL, (hub_endpoint_options_t){.limits = *limits});
}

/* ---- a client without websockets ---- */

typedef struct poller {
    server_t *server;
    client_t *client; /* its connection for everything, unless a case takes another one */
    const char *query;
    char token[100];
} poller_t;

static void send_get(poller_t *poller, client_t *client)
{
    char target[300];

    snprintf(target, sizeof(target), "/socket/longpoll?%s&token=%s", poller->query, poller->token);
    client_request(client, "GET", target, NULL);
}

static void send_post(poller_t *poller, client_t *client, const char *type, hub_str_t body)
{
    char head[500];

    snprintf(head, sizeof(head),
             "POST /socket/longpoll?%s&token=%s HTTP/1.1\r\nHost: localhost\r\n"
             "Content-Type: %s\r\nContent-Length: %zu\r\n\r\n",
             poller->query, poller->token, type, body.len);
    client_send_text(client, head);
    client_send(client, body);
}

/* The next answer as a value, with this status in it. To be freed. */
static json_t *next_answer(client_t *client, int status)
{
    client_response_t response = client_expect_response(client, 200);
    json_t *answer = json_loads(response.body.base, 0, NULL);

    if (answer == NULL || json_integer_value(json_object_get(answer, "status")) != status)
        fail_msg("expected status %d, got %.300s", status, response.body.base);
    assert_true(
        hub_str_equals(client_header(&response, "content-type"), HUB_STR("application/json")));
    assert_true(hub_str_equals(client_header(&response, "cache-control"), HUB_STR("no-store")));
    assert_true(
        hub_str_equals(client_header(&response, "access-control-allow-origin"), HUB_STR("*")));
    return answer;
}

static void expect_status(client_t *client, int status)
{
    json_t *answer = next_answer(client, status);

    assert_int_equal(json_object_size(answer), 1);
    json_decref(answer);
}

/* An answer without messages and with a token that the poller does not have yet, and has then. */
static void expect_token(poller_t *poller, client_t *client)
{
    json_t *answer = next_answer(client, 410);
    const char *token = json_string_value(json_object_get(answer, "token"));

    assert_non_null(token);
    assert_int_equal(json_array_size(json_object_get(answer, "messages")), 0);
    assert_string_not_equal(token, poller->token);
    snprintf(poller->token, sizeof(poller->token), "%s", token);
    json_decref(answer);
}

/* An answer with its own token; returns the messages, each a string. To be freed. */
static json_t *next_messages(poller_t *poller, client_t *client, int status)
{
    json_t *answer = next_answer(client, status), *messages = json_object_get(answer, "messages");

    assert_string_equal(json_string_value(json_object_get(answer, "token")), poller->token);
    json_incref(messages);
    json_decref(answer);
    return messages;
}

static void expect_nothing(poller_t *poller, client_t *client, int status)
{
    json_t *messages = next_messages(poller, client, status);

    assert_int_equal(json_array_size(messages), 0);
    json_decref(messages);
}

/* `wanted`: an array of frames, written with '. */
static void expect_messages(poller_t *poller, client_t *client, const char *wanted)
{
    json_t *texts = next_messages(poller, client, 200), *got = json_array(), *want;
    char *quotes = client_quotes(wanted), *text;

    for (size_t i = 0; i < json_array_size(texts); i++)
        json_array_append_new(
            got, json_loads(json_string_value(json_array_get(texts, i)), JSON_DECODE_ANY, NULL));
    want = json_loads(quotes, 0, NULL);
    assert_non_null(want);
    text = json_dumps(got, 0);
    if (!json_equal(got, want))
        fail_msg("expected %s, got %s", wanted, text);
    free(text);
    free(quotes);
    json_decref(want);
    json_decref(got);
    json_decref(texts);
}

static void post_on(poller_t *poller, client_t *client, const char *frame, int status)
{
    char *text = client_quotes(frame);

    send_post(poller, client, "application/json", hub_str(text));
    free(text);
    expect_status(client, status);
}

static void post(poller_t *poller, const char *frame)
{
    post_on(poller, poller->client, frame, 200);
}

static void poll_expect(poller_t *poller, const char *wanted)
{
    send_get(poller, poller->client);
    expect_messages(poller, poller->client, wanted);
}

static poller_t poller_of(server_t *server, const char *query)
{
    poller_t poller = {.server = server, .client = server_connect(server), .query = query};

    send_get(&poller, poller.client);
    expect_token(&poller, poller.client);
    return poller;
}

/* With topic t1 joined. */
static poller_t member_of(server_t *server, const char *query)
{
    poller_t poller = poller_of(server, query);

    post(&poller, "['1','1','t1','phx_join',{}]");
    poll_expect(&poller, "[['1','1','t1','phx_reply',{'response':{},'status':'ok'}]]");
    return poller;
}

#define V2 "vsn=2.0.0"

/* Another connection has its poll waiting by the time that this returns. */
static client_t *waiting_poll(poller_t *poller)
{
    client_t *client = server_connect(poller->server);
    uint64_t polls = SERVER_STAT(poller->server, longpoll_polls_total);

    send_get(poller, client);
    SERVER_EXPECT_STAT(poller->server, longpoll_polls_total, polls + 1);
    return client;
}

/* ---- polls and posts ---- */

static void a_get_without_a_token_opens_a_connection(void **state)
{
    server_t *s = server_create();
    poller_t p = {.server = s, .query = V2};

    (void)state;
    server_hook(s, HUB_HOOK_OPEN, note_open);
    server_mount(s, &(hub_endpoint_options_t){.longpoll = true});
    server_start(s);
    p.client = server_connect(s);
    client_request(p.client, "GET", "/socket/longpoll?vsn=2.0.0", NULL);
    expect_token(&p, p.client);
    server_expect_note("open");
    SERVER_EXPECT_STAT(s, conns, 1);
    SERVER_EXPECT_STAT(s, longpoll_conns, 1);
}

static void a_trailing_slash_leads_to_the_same_place(void **state)
{
    server_t *s = polled(&(hub_limits_t){0});
    poller_t p = {.server = s, .query = V2, .client = server_connect(s)};

    (void)state;
    client_request(p.client, "GET", "/socket/longpoll/?vsn=2.0.0", NULL);
    expect_token(&p, p.client);
    client_request(p.client, "GET", "/socket/longpoll/x?vsn=2.0.0", NULL);
    (void)client_expect_response(p.client, 404);
}

static void without_the_option_there_is_no_such_path(void **state)
{
    server_t *s = server_create();
    client_t *c;

    (void)state;
    server_mount(s, NULL);
    server_start(s);
    c = server_connect(s);
    client_request(c, "GET", "/socket/longpoll", NULL);
    (void)client_expect_response(c, 404);
}

static void a_post_brings_a_message_and_a_poll_its_reply(void **state)
{
    server_t *s = polled(&(hub_limits_t){0});
    poller_t p = member_of(s, V2);

    (void)state;
    post(&p, "['1','2','t1','echo',{'a':'\\u00e9 \\\\ \\u0001'}]");
    poll_expect(&p, "[['1','2','t1','phx_reply',"
                    "{'response':{'a':'\\u00e9 \\\\ \\u0001'},'status':'ok'}]]");
    SERVER_EXPECT_STAT(s, longpoll_posts_total, 2);
    SERVER_EXPECT_STAT(s, longpoll_polls_total, 2);
    SERVER_EXPECT_STAT(s, outbox_bytes, 0);
}

static void messages_that_are_ready_come_in_one_answer_in_order(void **state)
{
    server_t *s = polled(&(hub_limits_t){0});
    poller_t p = member_of(s, V2);

    (void)state;
    post(&p, "['1','2','t1','echo',{'n':1}]");
    post(&p, "['1',null,'t1','say',{'n':2}]");
    post(&p, "['1','4','t1','echo',{'n':3}]");
    post(&p, "[null,'5','phoenix','heartbeat',{}]");
    poll_expect(&p, "[['1','2','t1','phx_reply',{'response':{'n':1},'status':'ok'}],"
                    "[null,null,'t1','say',{'n':2}],"
                    "['1','4','t1','phx_reply',{'response':{'n':3},'status':'ok'}],"
                    "[null,'5','phoenix','phx_reply',{'response':{},'status':'ok'}]]");
}

static void a_poll_waits_until_there_is_something(void **state)
{
    server_t *s = polled(&(hub_limits_t){0});
    poller_t p = member_of(s, V2);
    client_t *waiting = waiting_poll(&p);

    (void)state;
    assert_false(client_is_readable(waiting));
    assert_int_equal(hub_publish(s->hub, HUB_STR("t1"), HUB_STR("news"), HUB_JSON("{}")), HUB_OK);
    expect_messages(&p, waiting, "[[null,null,'t1','news',{}]]");
}

/* Its outbox is what waits for the next poll; behind that a channel's policy decides. */
static void who_polls_too_slowly_is_told_what_is_missing(void **state)
{
    server_t *s = polled(&(hub_limits_t){.outbox_messages = 2});
    poller_t p = member_of(s, V2);

    (void)state;
    post(&p, "['9','9','lossy1','phx_join',{}]");
    poll_expect(&p, "[['9','9','lossy1','phx_reply',{'response':{},'status':'ok'}]]");
    for (uint64_t i = 1; i != 7; i++) {
        char number[2] = {(char)('0' + i), '\0'};

        assert_int_equal(
            hub_publish(s->hub, HUB_STR("lossy1"), HUB_STR("n"), hub_json(hub_str(number))),
            HUB_OK);
        SERVER_EXPECT_STAT(s, publishes_total, i);
    }
    poll_expect(&p, "[[null,null,'lossy1','n',1],[null,null,'lossy1','n',2]]");
    poll_expect(&p, "[[null,null,'lossy1','gap',{'missed':2,'reason':'slow'}],"
                    "[null,null,'lossy1','n',5],[null,null,'lossy1','n',6]]");
    SERVER_EXPECT_STAT(s, slow_dropped_total, 2);
}

static void what_one_turn_brings_comes_in_one_answer(void **state)
{
    server_t *s = polled(&(hub_limits_t){0});
    poller_t p = member_of(s, V2);
    client_t *waiting = waiting_poll(&p);

    (void)state;
    post(&p, "['1','2','t1','burst',[3,0]]");
    expect_messages(&p, waiting,
                    "[['1',null,'t1','b',{'i':0,'x':''}],['1',null,'t1','b',{'i':1,'x':''}],"
                    "['1',null,'t1','b',{'i':2,'x':''}]]");
}

static void a_poll_ends_empty_with_its_window(void **state)
{
    server_t *s = polled(&(hub_limits_t){.longpoll_window_ms = 300});
    poller_t p = poller_of(s, V2);

    (void)state;
    send_get(&p, p.client);
    expect_nothing(&p, p.client, 204);
    send_get(&p, p.client);
    expect_nothing(&p, p.client, 204);
    SERVER_EXPECT_STAT(s, conns_total, 1);
}

static void who_does_not_poll_for_a_window_and_a_half_is_gone(void **state)
{
    server_t *s = polled(&(hub_limits_t){.longpoll_window_ms = 20});
    poller_t p = poller_of(s, V2);

    (void)state;
    server_expect_note("closed idle");
    SERVER_EXPECT_STAT(s, conns, 0);
    post_on(&p, p.client, "['1','1','t1','phx_join',{}]", 410);
    send_get(&p, p.client);
    expect_token(&p, p.client); /* another one */
}

static void the_deadlines_of_websockets_do_not_apply(void **state)
{
    server_t *s = polled(
        &(hub_limits_t){.longpoll_window_ms = 300, .idle_ms = 10, .ping_ms = 5, .pong_ms = 5});
    poller_t p = poller_of(s, V2);

    (void)state;
    send_get(&p, p.client);
    expect_nothing(&p, p.client, 204);
    server_expect_no_note();
}

static void a_second_poll_takes_the_place_of_the_first(void **state)
{
    server_t *s = polled(&(hub_limits_t){0});
    poller_t p = member_of(s, V2);
    client_t *first = waiting_poll(&p), *second = waiting_poll(&p);

    (void)state;
    expect_nothing(&p, first, 204);
    post(&p, "['1','2','t1','echo',1]");
    expect_messages(&p, second, "[['1','2','t1','phx_reply',{'response':1,'status':'ok'}]]");
}

static void a_client_that_vanishes_from_its_poll_loses_nothing(void **state)
{
    server_t *s = polled(&(hub_limits_t){0});
    poller_t p = member_of(s, V2);
    client_t *waiting = waiting_poll(&p);

    (void)state;
    client_shutdown(waiting); /* what a closed socket tells, but the server's answer can be seen */
    expect_nothing(&p, waiting, 204);
    client_expect_eof(waiting);
    post(&p, "['1','2','t1','echo',1]");
    poll_expect(&p, "[['1','2','t1','phx_reply',{'response':1,'status':'ok'}]]");
}

static void a_poll_whose_client_is_reset_harms_nobody(void **state)
{
    server_t *s = polled(&(hub_limits_t){.longpoll_window_ms = 300});
    poller_t p = member_of(s, V2);
    client_t *waiting = waiting_poll(&p);

    (void)state;
    server_drop_client(s, waiting, client_abort);
    server_expect_note("closed idle");
}

static void a_request_that_comes_too_early_waits_for_the_poll(void **state)
{
    server_t *s = polled(&(hub_limits_t){0});
    poller_t p = member_of(s, V2);
    client_t *waiting = waiting_poll(&p);

    (void)state;
    client_request(waiting, "GET", "/nowhere", NULL);
    post(&p, "['1','2','t1','echo',1]");
    expect_messages(&p, waiting, "[['1','2','t1','phx_reply',{'response':1,'status':'ok'}]]");
    (void)client_expect_response(waiting, 404);
}

/* ---- formats ---- */

static void bytes_come_as_characters_and_go_as_base64_lines(void **state)
{
    /* a push of bytes 00 7f 80 ff " \ on t1, and a text; line ends of both kinds */
    static const char lines[] = "[\"1\",\"2\",\"t1\",\"echo\",{}]\r\n\n"
                                "AAEBAgQxM3QxZWNobwB/gP8iXA==\n";
    server_t *s = polled(&(hub_limits_t){0});
    poller_t p = member_of(s, V2);
    client_response_t response;

    (void)state;
    send_post(&p, p.client, "application/x-ndjson; charset=utf-8", hub_str(lines));
    expect_status(p.client, 200);
    send_get(&p, p.client);
    /* jansson takes no NUL in strings: its escape is looked for in the text */
    response = client_expect_response(p.client, 200);
    assert_non_null(strstr(response.body.base,
                           "\"\\u0001\\u0001\\u0001\\u0002\\u000213t1ok\\u0000\x7f\xc2\x80\xc3\xbf"
                           "\\u0022\\u005c\"]"));
}

static void a_line_that_is_not_base64_is_400(void **state)
{
    server_t *s = polled(&(hub_limits_t){0});
    poller_t mark = member_of(s, V2), high = member_of(s, V2);

    (void)state;
    send_post(&mark, mark.client, "application/x-ndjson", HUB_STR("A!EBAgQxM3QxZWNobwB/gP8iXA=="));
    expect_status(mark.client, 400);
    /* which libsodium reads as the '/' that was there */
    send_post(&high, high.client, "application/x-ndjson",
              HUB_STR("AAEBAgQxM3QxZWNobwB\xd0gP8iXA=="));
    expect_status(high.client, 400);
}

static void lines_are_for_the_second_version_alone(void **state)
{
    server_t *s = polled(&(hub_limits_t){0});
    poller_t first = poller_of(s, "vsn=1.0.0"), native = poller_of(s, "x=1");

    (void)state;
    send_post(&first, first.client, "application/x-ndjson",
              HUB_STR("{\"topic\":\"t1\",\"event\":\"phx_join\",\"payload\":{},\"ref\":\"1\"}"));
    expect_status(first.client, 400);
    send_post(&native, native.client, "application/x-ndjson", HUB_STR("{}"));
    expect_status(native.client, 400);
    SERVER_EXPECT_STAT(s, conns, 2);
}

static void each_wire_format_can_be_polled(void **state)
{
    server_t *s = polled(&(hub_limits_t){0});
    poller_t first = poller_of(s, "vsn=1.0.0"), native = poller_of(s, "x=1");

    (void)state;
    post(&first, "{'topic':'t1','event':'phx_join','payload':{},'ref':'1'}");
    poll_expect(&first, "[{'topic':'t1','event':'phx_reply','ref':'1',"
                        "'payload':{'response':{},'status':'ok'}}]");
    post(&native, "{'topic':'hub','event':'heartbeat','payload':{},'ref':7}");
    poll_expect(&native, "[{'topic':'hub','event':'reply','ref':7,"
                         "'payload':{'response':{},'status':'ok'}}]");
}

static void a_connection_knows_its_address_format_and_identity(void **state)
{
    server_t *s = polled(&(hub_limits_t){0});
    poller_t p = member_of(s, V2 "&user=ann");
    json_t *messages;

    (void)state;
    post(&p, "['1','2','t1','about',{}]");
    send_get(&p, p.client);
    messages = next_messages(&p, p.client, 200);
    assert_non_null(
        strstr(json_string_value(json_array_get(messages, 0)), "[\"ann\",\"2.0.0\",\"127.0.0.1:"));
    json_decref(messages);
}

/* ---- getting in ---- */

static void expect_refused(server_t *server, const char *target, const char *fields, int status)
{
    client_t *client = server_connect(server);

    client_request(client, "GET", target, fields);
    expect_status(client, status);
    server_drop_client(server, client, client_destroy);
}

static void refusals_are_403_and_failures_500(void **state)
{
    server_t *s = polled(&(hub_limits_t){0});

    (void)state;
    expect_refused(s, "/socket/longpoll?deny=1", NULL, 403);
    expect_refused(s, "/socket/longpoll?fail=1", NULL, 500);
    expect_refused(s, "/socket/longpoll?vsn=9.0.0", NULL, 403);
    expect_refused(s, "/socket/longpoll", "Origin: http://evil.example\r\n", 403);
    SERVER_EXPECT_STAT(s, longpoll_refused_total, 4);
    SERVER_EXPECT_STAT(s, conns_total, 0);
}

static void the_origin_is_checked_with_each_request(void **state)
{
    server_t *s = polled(&(hub_limits_t){0});
    poller_t p = poller_of(s, V2);
    char target[200];

    (void)state;
    snprintf(target, sizeof(target), "/socket/longpoll?token=%s", p.token);
    expect_refused(s, target, "Origin: http://evil.example\r\n", 403);
    client_request(p.client, "OPTIONS", target, "Origin: http://evil.example\r\n");
    expect_status(p.client, 403);
    client_request(p.client, "POST", target,
                   "Origin: http://evil.example\r\nContent-Length: 0\r\n");
    expect_status(p.client, 403);
    client_request(p.client, "POST", target, "Origin: http://localhost\r\nContent-Length: 0\r\n");
    expect_status(p.client, 400); /* an empty text is no frame */
}

static hub_request_token_t deferred;

static hub_status_t on_authorize_later(hub_request_t *request, void *user)
{
    hub_status_t err = hub_request_defer(request, &deferred);

    (void)user;
    server_note("asked");
    return err;
}

static void authorize_may_answer_later(void **state)
{
    server_t *s = polled_with(NULL, (hub_endpoint_options_t){.on_authorize = on_authorize_later});
    poller_t p = {.server = s, .query = V2, .client = server_connect(s)};

    (void)state;
    send_get(&p, p.client);
    server_expect_note("asked");
    assert_int_equal(hub_authorize_accept(s->hub, deferred, NULL), HUB_OK);
    expect_token(&p, p.client);
    p.token[0] = '\0';
    send_get(&p, p.client);
    server_expect_note("asked");
    assert_int_equal(hub_authorize_refuse(s->hub, deferred, 401, 0, HUB_STR("")), HUB_OK);
    expect_status(p.client, 403);
}

static hub_status_t note_auth_token(hub_request_t *request, void *user)
{
    hub_str_t token = hub_request_auth_token(request);

    (void)user;
    server_note("token %.*s", HUB_STR_ARG(token));
    return HUB_OK;
}

static void an_auth_token_comes_in_a_header(void **state)
{
    server_t *s = polled_with(
        NULL, (hub_endpoint_options_t){.auth_token = true, .on_authorize = note_auth_token});
    poller_t p = {.server = s, .query = V2, .client = server_connect(s)};
    char *field = malloc(HUB_AUTH_TOKEN_MAX + 100);

    (void)state;
    assert_non_null(field);
    client_request(p.client, "GET", "/socket/longpoll?vsn=2.0.0",
                   "X-Phoenix-AuthToken: secret\r\n");
    expect_token(&p, p.client);
    server_expect_note("token secret");
    sprintf(field, "X-Phoenix-AuthToken: %0*d\r\n", HUB_AUTH_TOKEN_MAX, 1);
    client_request(p.client, "GET", "/socket/longpoll?vsn=2.0.0", field);
    expect_token(&p, p.client);
    sprintf(field, "X-Phoenix-AuthToken: %0*d\r\n", HUB_AUTH_TOKEN_MAX + 1, 1);
    client_request(p.client, "GET", "/socket/longpoll?vsn=2.0.0", field);
    expect_status(p.client, 403);
    free(field);
}

/* ---- tokens ---- */

static void a_forged_token_is_an_unknown_one(void **state)
{
    server_t *s = polled(&(hub_limits_t){0});
    poller_t p = poller_of(s, V2), forger = p;

    (void)state;
    forger.token[20] = forger.token[20] == 'A' ? 'B' : 'A';
    post_on(&forger, p.client, "['1','1','t1','phx_join',{}]", 410);
    send_get(&forger, p.client);
    expect_token(&forger, p.client);
    SERVER_EXPECT_STAT(s, conns_total, 2);
    post(&p, "['1','1','t1','phx_join',{}]");
}

static void a_token_that_is_none_is_an_unknown_one(void **state)
{
    static const char *const tokens[] = {"", "null", "bogus", "%00", "%zz", "a&token=b"};
    server_t *s = polled(&(hub_limits_t){0});
    poller_t p = {.server = s, .query = V2, .client = server_connect(s)};

    (void)state;
    for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++) {
        strcpy(p.token, tokens[i]);
        post_on(&p, p.client, "[]", 410);
        send_get(&p, p.client);
        expect_token(&p, p.client);
    }
}

static void a_token_is_good_for_its_own_endpoint_alone(void **state)
{
    static const unsigned char key[32] = "the same key for both endpoints";
    server_t *s = server_create();
    poller_t p = {.server = s, .query = V2};
    char target[200];

    (void)state;
    server_mount(s, &(hub_endpoint_options_t){.longpoll = true, .longpoll_key = key});
    server_mount(
        s, &(hub_endpoint_options_t){.path = "/other", .longpoll = true, .longpoll_key = key});
    server_start(s);
    p = poller_of(s, V2);
    snprintf(target, sizeof(target), "/other/longpoll?token=%s", p.token);
    client_request(p.client, "POST", target, "Content-Length: 0\r\n");
    expect_status(p.client, 410);
}

static void a_token_of_another_hub_is_an_unknown_one(void **state)
{
    static const unsigned char key[32] = "the same key in both processes";
    server_t *s = polled_with(NULL, (hub_endpoint_options_t){.longpoll_key = key});
    server_t *other = polled_with(NULL, (hub_endpoint_options_t){.longpoll_key = key});
    poller_t p = poller_of(s, V2);

    (void)state;
    post_on(&p, server_connect(other), "['1','1','t1','phx_join',{}]", 410);
}

/* ---- ends ---- */

static void a_frame_that_is_none_ends_the_connection_at_once(void **state)
{
    server_t *s = polled(&(hub_limits_t){0});
    poller_t p = member_of(s, V2);
    client_t *waiting = waiting_poll(&p);

    (void)state;
    post_on(&p, p.client, "{", 400);
    server_expect_note("closed protocol");
    expect_nothing(&p, waiting, 410);
    post_on(&p, p.client, "['1','1','t1','phx_join',{}]", 410);
    send_get(&p, p.client);
    expect_token(&p, p.client);
}

static void a_line_that_is_none_ends_the_connection_behind_those_before_it(void **state)
{
    server_t *s = polled(&(hub_limits_t){0});
    poller_t p = member_of(s, V2);

    (void)state;
    send_post(&p, p.client, "application/x-ndjson",
              HUB_STR("[\"1\",\"2\",\"t1\",\"echo\",1]\n!\n[\"1\",\"3\",\"t1\",\"echo\",2]"));
    expect_status(p.client, 400);
    server_expect_note("closed protocol");
    poll_expect(&p, "[['1','2','t1','phx_reply',{'response':1,'status':'ok'}]]");
    send_get(&p, p.client);
    expect_token(&p, p.client);
}

static void text_that_is_not_utf8_ends_the_connection(void **state)
{
    server_t *s = polled(&(hub_limits_t){0});
    poller_t p = poller_of(s, V2);

    (void)state;
    send_post(&p, p.client, "application/json", HUB_STR("[\"\xff\"]"));
    expect_status(p.client, 400);
    server_expect_note("closed protocol");
}

static void what_was_queued_before_the_end_can_still_be_fetched(void **state)
{
    server_t *s = polled(&(hub_limits_t){0});
    poller_t p = member_of(s, V2);

    (void)state;
    post(&p, "['1','2','t1','kick',{}]");
    server_expect_note("closed server");
    post_on(&p, p.client, "['1','3','t1','echo',{}]", 410);
    poll_expect(&p, "[['1',null,'t1','last',{}]]");
    send_get(&p, p.client);
    expect_token(&p, p.client);
}

static void a_waiting_poll_gets_the_last_words_and_the_next_one_the_news(void **state)
{
    server_t *s = polled(&(hub_limits_t){0});
    poller_t p = member_of(s, V2);
    client_t *waiting = waiting_poll(&p);

    (void)state;
    post(&p, "['1','2','t1','kick',{}]");
    expect_messages(&p, waiting, "[['1',null,'t1','last',{}]]");
    server_expect_note("closed server");
    SERVER_EXPECT_STAT(s, conns, 0);
    SERVER_EXPECT_STAT(s, dropped_total, 0);
    send_get(&p, p.client);
    expect_token(&p, p.client);
}

static void what_nobody_fetches_after_the_end_is_dropped(void **state)
{
    server_t *s = polled(&(hub_limits_t){.close_ms = 20});
    poller_t p = member_of(s, V2);

    (void)state;
    post(&p, "['1','2','t1','kick',{}]");
    SERVER_EXPECT_STAT(s, dropped_total, 1);
    SERVER_EXPECT_STAT(s, longpoll_conns, 0);
    SERVER_EXPECT_STAT(s, outbox_bytes, 0);
    send_get(&p, p.client);
    expect_token(&p, p.client);
}

static void a_waiting_poll_is_told_at_once_that_its_identity_was_disconnected(void **state)
{
    server_t *s = polled(&(hub_limits_t){0});
    poller_t ann = member_of(s, V2 "&user=ann"), bob = member_of(s, V2 "&user=bob");
    client_t *waiting = waiting_poll(&ann), *other = waiting_poll(&bob);

    (void)state;
    assert_int_equal(hub_disconnect(s->hub, HUB_STR("ann")), HUB_OK);
    expect_nothing(&ann, waiting, 410);
    server_expect_note("closed server");
    post(&bob, "['1','2','t1','echo',1]");
    expect_messages(&bob, other, "[['1','2','t1','phx_reply',{'response':1,'status':'ok'}]]");
}

static hub_status_t on_authorize_briefly(hub_request_t *request, void *user)
{
    (void)user;
    hub_request_grant(request, &(hub_grant_t){.expires_in_ms = 30});
    return HUB_OK;
}

static void a_grant_expires_under_a_waiting_poll(void **state)
{
    server_t *s = polled_with(NULL, (hub_endpoint_options_t){.on_authorize = on_authorize_briefly});
    poller_t p = poller_of(s, V2);

    (void)state;
    send_get(&p, p.client);
    expect_nothing(&p, p.client, 410);
    server_expect_note("closed expired");
}

/* ---- limits ---- */

/* A frame of exactly so many bytes. Valid until the next call. */
static hub_str_t frame_of(size_t bytes)
{
    static char text[4096];
    static const char head[] = "[\"1\",\"2\",\"t1\",\"say\",{\"x\":\"", tail[] = "\"}]";

    assert_in_range(bytes, sizeof(head) + sizeof(tail), sizeof(text));
    memset(text, 'x', bytes);
    memcpy(text, head, strlen(head));
    memcpy(text + bytes - strlen(tail), tail, strlen(tail));
    return hub_str_n(text, bytes);
}

static void a_body_past_its_limit_is_413(void **state)
{
    server_t *s = polled(&(hub_limits_t){.longpoll_body_bytes = 200});
    poller_t p = member_of(s, V2);

    (void)state;
    send_post(&p, p.client, "application/json", frame_of(199));
    expect_status(p.client, 200);
    send_post(&p, p.client, "application/json", frame_of(200));
    expect_status(p.client, 200);
    send_post(&p, p.client, "application/json", frame_of(201));
    expect_status(p.client, 413);
    post(&p, "['1','2','t1','echo',1]"); /* and goes on */
}

static void a_message_past_its_limit_ends_the_connection(void **state)
{
    server_t *s = polled(&(hub_limits_t){.message_bytes = 200});
    poller_t p = member_of(s, V2);

    (void)state;
    send_post(&p, p.client, "application/json", frame_of(199));
    expect_status(p.client, 200);
    send_post(&p, p.client, "application/x-ndjson", frame_of(200));
    expect_status(p.client, 200);
    send_post(&p, p.client, "application/json", frame_of(201));
    expect_status(p.client, 413);
    server_expect_note("closed too_large");
}

static void expect_lines(poller_t *poller, size_t count, int status)
{
    static char text[101 * 40];
    size_t len = 0;

    for (size_t i = 0; i < count; i++)
        len += (size_t)sprintf(text + len, "%s[null,null,\"t1\",\"say\",{}]", i == 0 ? "" : "\n");
    send_post(poller, poller->client, "application/x-ndjson", hub_str_n(text, len));
    expect_status(poller->client, status);
}

static void a_hundred_lines_pass_and_one_more_is_413(void **state)
{
    server_t *s = polled(&(hub_limits_t){0});
    poller_t p = member_of(s, V2);

    (void)state;
    expect_lines(&p, 99, 200);
    expect_lines(&p, 100, 200);
    expect_lines(&p, 101, 413);
    SERVER_EXPECT_STAT(s, messages_in_total, 200);
}

static size_t count_messages(poller_t *poller)
{
    json_t *messages;
    size_t count;

    send_get(poller, poller->client);
    messages = next_messages(poller, poller->client, 200);
    count = json_array_size(messages);
    json_decref(messages);
    return count;
}

/* As it stands in an answer, a message of `on_burst` has 48 bytes and what is asked for. */
static void what_does_not_fit_into_an_answer_comes_with_the_next(void **state)
{
    server_t *s = polled(&(hub_limits_t){.longpoll_answer_bytes = 401});
    poller_t p = member_of(s, V2);

    (void)state;
    post(&p, "['1','2','t1','burst',[4,51]]"); /* 4 x 99 and three commas: 399 */
    assert_int_equal(count_messages(&p), 4);
    post(&p, "['1','2','t1','burst',[2,152]]"); /* 2 x 200 and a comma: 401 */
    assert_int_equal(count_messages(&p), 2);
    post(&p, "['1','2','t1','burst',[2,153]]"); /* 403 */
    assert_int_equal(count_messages(&p), 1);
    assert_int_equal(count_messages(&p), 1);
    post(&p, "['1','2','t1','burst',[2,1000]]"); /* longer than any answer: alone */
    assert_int_equal(count_messages(&p), 1);
    assert_int_equal(count_messages(&p), 1);
}

static void a_full_outbox_ends_the_connection(void **state)
{
    server_t *s = polled(&(hub_limits_t){.outbox_messages = 10});
    poller_t p = member_of(s, V2);

    (void)state;
    post(&p, "['1','2','t1','burst',[9,1]]");
    assert_int_equal(count_messages(&p), 9);
    post(&p, "['1','2','t1','burst',[10,1]]");
    assert_int_equal(count_messages(&p), 10);
    server_expect_no_note();
    post(&p, "['1','2','t1','burst',[11,1]]");
    server_expect_note("closed slow");
    send_get(&p, p.client);
    expect_token(&p, p.client);
}

static void a_waiting_poll_makes_room_in_the_outbox(void **state)
{
    server_t *s = polled(&(hub_limits_t){.outbox_messages = 10});
    poller_t p = member_of(s, V2);
    client_t *waiting = waiting_poll(&p);
    json_t *messages;

    (void)state;
    post(&p, "['1','2','t1','burst',[15,1]]");
    messages = next_messages(&p, waiting, 200);
    assert_int_equal(json_array_size(messages), 15);
    json_decref(messages);
    server_expect_no_note();
}

static void of_too_many_without_a_poll_the_oldest_is_ended(void **state)
{
    server_t *s = polled(&(hub_limits_t){.longpoll_idle_clients = 3});
    poller_t polls = poller_of(s, V2), oldest, second, third, fourth;
    client_t *waiting = waiting_poll(&polls);

    (void)state;
    oldest = poller_of(s, V2);
    second = poller_of(s, V2);
    third = poller_of(s, V2);
    SERVER_EXPECT_STAT(s, longpoll_shed_total, 0);
    fourth = poller_of(s, V2);
    server_expect_note("closed limit");
    SERVER_EXPECT_STAT(s, longpoll_shed_total, 1);
    post_on(&oldest, oldest.client, "[null,'1','phoenix','heartbeat',{}]", 410);
    post(&second, "[null,'1','phoenix','heartbeat',{}]");
    post(&third, "[null,'1','phoenix','heartbeat',{}]");
    post(&fourth, "[null,'1','phoenix','heartbeat',{}]");
    post(&polls, "[null,'1','phoenix','heartbeat',{}]");
    expect_messages(&polls, waiting,
                    "[[null,'1','phoenix','phx_reply',{'response':{},'status':'ok'}]]");
}

static void a_connection_past_their_number_is_503(void **state)
{
    server_t *s =
        polled_with(&(hub_server_options_t){.limits.connections = 2}, (hub_endpoint_options_t){0});
    client_t *c;
    client_response_t response;

    (void)state;
    (void)poller_of(s, V2);
    (void)poller_of(s, V2);
    c = server_connect(s);
    client_request(c, "GET", "/socket/longpoll", NULL);
    response = client_expect_response(c, 503);
    assert_int_equal(response.body.len, 0);
    assert_in_range(client_header(&response, "retry-after").base[0], '1', '5');
}

static void waiting_polls_are_no_visitors(void **state)
{
    server_t *s =
        polled_with(&(hub_server_options_t){.limits.pre_upgrade = 1}, (hub_endpoint_options_t){0});
    poller_t p = member_of(s, V2);
    client_t *waiting, *c;

    (void)state;
    waiting = p.client;
    send_get(&p, waiting);
    SERVER_EXPECT_STAT(s, longpoll_polls_total, 2);
    c = server_connect(s);
    post_on(&p, c, "['1','2','t1','echo',1]", 200);
    expect_messages(&p, waiting, "[['1','2','t1','phx_reply',{'response':1,'status':'ok'}]]");
}

static void a_poll_may_wait_longer_than_a_request_may_take(void **state)
{
    server_t *s = polled_with(&(hub_server_options_t){.limits.request_ms = 400},
                              (hub_endpoint_options_t){.limits.longpoll_window_ms = 800});
    poller_t p = poller_of(s, V2);

    (void)state;
    p.client = server_connect(s);
    send_get(&p, p.client);
    expect_nothing(&p, p.client, 204);
}

/* ---- HTTP ---- */

static void a_preflight_is_told_what_it_asks_for(void **state)
{
    server_t *s = polled(&(hub_limits_t){0});
    client_t *c = server_connect(s);
    client_response_t response;

    (void)state;
    client_request(c, "OPTIONS", "/socket/longpoll",
                   "Access-Control-Request-Headers: content-type, x-a\r\n");
    response = client_expect_response(c, 200);
    assert_int_equal(response.body.len, 0);
    assert_true(hub_str_equals(client_header(&response, "access-control-allow-headers"),
                               HUB_STR("content-type, x-a")));
    assert_true(hub_str_equals(client_header(&response, "access-control-allow-methods"),
                               HUB_STR("get, post, options")));
    assert_true(
        hub_str_equals(client_header(&response, "access-control-max-age"), HUB_STR("3600")));
    assert_true(
        hub_str_equals(client_header(&response, "access-control-allow-origin"), HUB_STR("*")));
}

static void other_methods_are_400(void **state)
{
    static const char *const methods[] = {"PUT", "DELETE", "HEAD", "PATCH"};
    server_t *s = polled(&(hub_limits_t){0});

    (void)state;
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        client_t *c = server_connect(s);
        client_response_t response;

        client_request(c, methods[i], "/socket/longpoll", NULL);
        response = client_expect_response(c, 400);
        assert_int_equal(response.body.len, 0);
        assert_true(
            hub_str_equals(client_header(&response, "access-control-allow-origin"), HUB_STR("*")));
        client_expect_eof(c);
    }
}

static void one_connection_serves_polls_posts_and_preflights(void **state)
{
    server_t *s = polled(&(hub_limits_t){0});
    poller_t p = member_of(s, V2);

    (void)state;
    for (int i = 0; i < 20; i++) {
        post(&p, "['1','2','t1','echo',1]");
        poll_expect(&p, "[['1','2','t1','phx_reply',{'response':1,'status':'ok'}]]");
        client_request(p.client, "OPTIONS", "/socket/longpoll", NULL);
        (void)client_expect_response(p.client, 200);
    }
}

/* What hides behind a body is never answered: the connection ends with the answer. */
static void a_body_of_doubtful_length_is_the_last_on_its_connection(void **state)
{
    static const char *const fields[] = {
        "Content-Length: 2\r\nContent-Length: 2\r\n",
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Content-Length: 02\r\n",
        "Content-Length: 2\r\nConnection: close\r\n",
    };
    server_t *s = polled(&(hub_limits_t){0});

    (void)state;
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        client_t *c = server_connect(s);
        bool chunked = strstr(fields[i], "chunked") != NULL;
        char text[600];

        snprintf(text, sizeof(text),
                 "POST /socket/longpoll HTTP/1.1\r\nHost: localhost\r\n%s\r\n%s"
                 "GET /hidden HTTP/1.1\r\nHost: localhost\r\n\r\n",
                 fields[i], chunked ? "2\r\n[]\r\n0\r\n\r\n" : "[]");
        client_send_text(c, text);
        expect_status(c, 410);
        client_expect_gone(c);
        server_drop_client(s, c, client_destroy);
    }
    SERVER_EXPECT_STAT(s, http_requests_total, 0);
}

static void a_get_with_a_body_is_400(void **state)
{
    server_t *s = polled(&(hub_limits_t){0});
    client_t *c = server_connect(s);

    (void)state;
    client_send_text(c, "GET /socket/longpoll HTTP/1.1\r\nHost: localhost\r\n"
                        "Content-Length: 2\r\n\r\n{}");
    (void)client_expect_response(c, 400);
    client_expect_gone(c);
}

static void raw_websockets_can_not_be_polled(void **state)
{
    server_t *s = server_create();
    hub_raw_options_t raw = {.on_message = NULL, .endpoint.longpoll = true};

    (void)state;
    assert_int_equal(hub_server_websocket(s->server, "/raw", &raw), HUB_EINVAL);
}

/* ---- several workers ---- */

static const hub_server_options_t four = {.threads = 4};

/* The kernel picks a worker for each new connection: with 30 of them some are not the client's. */
static void any_worker_takes_what_is_for_another(void **state)
{
    server_t *s = polled_with(&four, (hub_endpoint_options_t){0});
    poller_t p = member_of(s, V2);

    (void)state;
    for (int i = 0; i < 30; i++) {
        client_t *sends = server_connect(s), *polls = server_connect(s);
        char frame[60], wanted[120];

        snprintf(frame, sizeof(frame), "['1','%d','t1','echo',%d]", i, i);
        snprintf(wanted, sizeof(wanted),
                 "[['1','%d','t1','phx_reply',{'response':%d,'status':'ok'}]]", i, i);
        post_on(&p, sends, frame, 200);
        send_get(&p, polls);
        expect_messages(&p, polls, wanted);
        server_drop_client(s, sends, client_destroy);
        server_drop_client(s, polls, client_destroy);
    }
    SERVER_EXPECT_STAT(s, longpoll_posts_total, 31);
    SERVER_EXPECT_STAT(s, conns_total, 1);
}

static void a_poll_waits_on_another_worker_as_well(void **state)
{
    server_t *s = polled_with(&four, (hub_endpoint_options_t){0});
    poller_t p = member_of(s, V2);

    (void)state;
    for (int i = 0; i < 20; i++) {
        client_t *waiting = waiting_poll(&p);

        assert_int_equal(hub_publish(s->hub, HUB_STR("t1"), HUB_STR("news"), HUB_JSON("{}")),
                         HUB_OK);
        expect_messages(&p, waiting, "[[null,null,'t1','news',{}]]");
        server_drop_client(s, waiting, client_destroy);
    }
}

static void a_client_that_vanishes_from_another_worker_loses_nothing(void **state)
{
    server_t *s = polled_with(&four, (hub_endpoint_options_t){0});
    poller_t p = member_of(s, V2);

    (void)state;
    for (int i = 0; i < 12; i++) {
        client_t *waiting = waiting_poll(&p), *sends = server_connect(s);

        client_shutdown(waiting);
        expect_nothing(&p, waiting, 204);
        client_expect_eof(waiting);
        post_on(&p, sends, "['1','2','t1','echo',1]", 200);
        send_get(&p, sends);
        expect_messages(&p, sends, "[['1','2','t1','phx_reply',{'response':1,'status':'ok'}]]");
        server_drop_client(s, waiting, client_destroy);
        server_drop_client(s, sends, client_destroy);
    }
}

/* The number of the worker that this connection's own poller lives on, whose topic is t2. */
static long long worker_of(poller_t *poller)
{
    json_t *messages, *reply;
    long long number;

    post(poller, "['1','1','t2','phx_join',{}]");
    poll_expect(poller, "[['1','1','t2','phx_reply',{'response':{},'status':'ok'}]]");
    post(poller, "['1','2','t2','thread',{}]");
    send_get(poller, poller->client);
    messages = next_messages(poller, poller->client, 200);
    reply = json_loads(json_string_value(json_array_get(messages, 0)), 0, NULL);
    number = json_integer_value(json_object_get(json_array_get(reply, 4), "response"));
    json_decref(reply);
    json_decref(messages);
    assert_int_not_equal(number, 0);
    return number;
}

/* A websocket of that worker, with t2 joined. */
static client_t *websocket_at(server_t *s, long long worker)
{
    for (;;) {
        client_t *client = server_client(s, "/socket");
        const char *response;

        client_join(client, "t2", "'1'");
        client_say(client, "t2", "thread", "{}", "'2'");
        response = strstr(client_expect_frame(client, CLIENT_TEXT).base, "\"response\":");
        assert_non_null(response);
        if (atoll(response + strlen("\"response\":")) == worker)
            return client;
    }
}

/* The worker that got the poll answers it and is held up before it wakes the other one, which the
 * client asks at once. */
static void a_worker_knows_of_the_end_of_a_poll_before_it_takes_what_follows(void **state)
{
    static const hub_server_options_t two = {.threads = 2};
    server_t *s = polled_with(&two, (hub_endpoint_options_t){0});
    poller_t p = member_of(s, V2), q;
    long long home = worker_of(&p), away;
    client_t *first, *second;
    uint64_t polls;

    (void)state;
    assert_int_equal(sem_init(&pause_over, 0, 0), 0);
    do
        q = poller_of(s, V2);
    while ((away = worker_of(&q)) == home);
    first = websocket_at(s, away);
    second = websocket_at(s, away);
    polls = SERVER_STAT(s, longpoll_polls_total);
    send_get(&p, q.client);
    SERVER_EXPECT_STAT(s, longpoll_polls_total, polls + 1);
    client_say(first, "t2", "pause", "{}", "'3'");
    server_expect_note("paused");
    client_say(second, "t2", "block", "{}", "'3'"); /* h2o takes the newest first */
    client_shutdown(q.client);
    assert_int_equal(sem_post(&pause_over), 0);
    expect_nothing(&p, q.client, 204);
    post(&p, "['1','2','t1','echo',1]");
    poll_expect(&p, "[['1','2','t1','phx_reply',{'response':1,'status':'ok'}]]");
    server_gate_open();
}

/* Takes what a poll brings, which must go on where the last one ended. Returns where it ends. */
static int take_numbers(poller_t *poller, client_t *client, int next)
{
    json_t *messages = next_messages(poller, client, 200);

    for (size_t i = 0; i < json_array_size(messages); i++, next++) {
        char wanted[60];

        snprintf(wanted, sizeof(wanted), "[null,null,\"t1\",\"n\",%d]", next);
        assert_string_equal(json_string_value(json_array_get(messages, i)), wanted);
    }
    json_decref(messages);
    return next;
}

static void *publish_numbers(void *hub)
{
    char number[16];

    for (int i = 0; i < 3000; i++) {
        int len = snprintf(number, sizeof(number), "%d", i);

        if (hub_publish(hub, HUB_STR("t1"), HUB_STR("n"),
                        hub_json(hub_str_n(number, (size_t)len))) != HUB_OK)
            server_note("publish %d failed", i);
    }
    return NULL;
}

static void everything_comes_once_and_in_order_whatever_worker_is_asked(void **state)
{
    server_t *s = polled_with(&four, (hub_endpoint_options_t){0});
    poller_t p = member_of(s, V2);
    client_t *clients[8];
    pthread_t thread;

    (void)state;
    for (size_t i = 0; i < 8; i++)
        clients[i] = server_connect(s);
    assert_int_equal(pthread_create(&thread, NULL, publish_numbers, s->hub), 0);
    for (int next = 0, turn = 0; next < 3000; turn++) {
        send_get(&p, clients[turn % 8]);
        next = take_numbers(&p, clients[turn % 8], next);
    }
    pthread_join(thread, NULL);
    server_expect_no_note();
}

static void a_dead_token_is_told_by_any_worker(void **state)
{
    server_t *s = polled_with(&four, (hub_endpoint_options_t){0});
    poller_t p = member_of(s, V2);

    (void)state;
    post(&p, "['1','2','t1','phx_leave',{}]");
    post_on(&p, p.client, "{", 400);
    server_expect_note("closed protocol");
    (void)count_messages(&p); /* the last of it */
    for (int i = 0; i < 10; i++) {
        client_t *c = server_connect(s);
        poller_t again = p;

        post_on(&p, c, "['1','2','t1','phx_join',{}]", 410);
        send_get(&again, c);
        expect_token(&again, c);
        server_drop_client(s, c, client_destroy);
    }
}

/* The first of them that something comes for. */
static client_t *first_readable(client_t *const *clients, size_t count)
{
    for (int waited_ms = 0; waited_ms < CLIENT_DEADLINE_MS; waited_ms++) {
        for (size_t i = 0; i < count; i++)
            if (client_is_readable(clients[i]))
                return clients[i];
        poll(NULL, 0, 1);
    }
    fail_msg("nothing comes for any of %zu", count);
    return NULL;
}

/* Nobody else waits for a worker whose program keeps it. */
static void a_worker_that_does_not_answer_is_408(void **state)
{
    server_t *s = polled_with(&(hub_server_options_t){.threads = 4, .limits.request_ms = 600},
                              (hub_endpoint_options_t){0});
    poller_t p = member_of(s, V2);
    client_t *clients[12], *answered;

    (void)state;
    send_post(&p, server_connect(s), "application/json",
              HUB_STR("[\"1\",\"2\",\"t1\",\"block\",{}]"));
    server_expect_note("blocked");
    for (size_t i = 0; i < 12; i++) {
        clients[i] = server_connect(s);
        send_post(&p, clients[i], "application/json", frame_of(100));
    }
    answered = first_readable(clients, 12);
    expect_status(answered, 408);
    server_gate_open();
}

static void a_poll_that_a_worker_does_not_answer_ends_empty(void **state)
{
    server_t *s = polled_with(&(hub_server_options_t){.threads = 4, .limits.request_ms = 600},
                              (hub_endpoint_options_t){.limits.longpoll_window_ms = 1000});
    poller_t p = member_of(s, V2);
    client_t *clients[12], *answered;

    (void)state;
    send_post(&p, server_connect(s), "application/json",
              HUB_STR("[\"1\",\"2\",\"t1\",\"block\",{}]"));
    server_expect_note("blocked");
    for (size_t i = 0; i < 12; i++) {
        clients[i] = server_connect(s);
        send_get(&p, clients[i]);
    }
    answered = first_readable(clients, 12);
    expect_nothing(&p, answered, 204);
    server_gate_open();
    server_expect_note("closed idle");
}

static void a_post_that_finds_a_full_mailbox_is_503(void **state)
{
    server_t *s = polled_with(&(hub_server_options_t){.threads = 4, .limits.mailbox_messages = 1},
                              (hub_endpoint_options_t){0});
    poller_t p = member_of(s, V2);
    client_t *clients[16], *answered;

    (void)state;
    send_post(&p, server_connect(s), "application/json",
              HUB_STR("[\"1\",\"2\",\"t1\",\"block\",{}]"));
    server_expect_note("blocked");
    for (size_t i = 0; i < 16; i++) { /* one waits in the mailbox, those behind it can't */
        clients[i] = server_connect(s);
        send_post(&p, clients[i], "application/json", frame_of(100));
    }
    answered = first_readable(clients, 16);
    expect_status(answered, 503);
    SERVER_EXPECT_STAT_AT_LEAST(s, mailbox_full_total, 1);
    server_gate_open();
}

/* ---- the stop ---- */

static void a_stop_answers_every_waiting_poll(void **state)
{
    server_t *s = polled_with(&four, (hub_endpoint_options_t){.limits.close_ms = 5000});
    poller_t pollers[12];
    client_t *waiting[12];

    (void)state;
    for (size_t i = 0; i < 12; i++) {
        pollers[i] = poller_of(s, V2);
        waiting[i] = waiting_poll(&pollers[i]);
    }
    server_stop(s);
    for (size_t i = 0; i < 12; i++) {
        expect_nothing(&pollers[i], waiting[i], 410);
        client_expect_eof(waiting[i]);
    }
    for (size_t i = 0; i < 12; i++)
        server_expect_note("closed shutdown");
    server_expect_no_note();
}

static void a_stop_brings_what_was_published_before_it(void **state)
{
    server_t *s = polled_with(&four, (hub_endpoint_options_t){0});
    poller_t p = member_of(s, V2);
    client_t *waiting = waiting_poll(&p);

    (void)state;
    assert_int_equal(hub_publish(s->hub, HUB_STR("t1"), HUB_STR("last"), HUB_JSON("{}")), HUB_OK);
    hub_server_stop(s->server);
    expect_messages(&p, waiting, "[[null,null,'t1','last',{}]]");
    hub_server_wait(s->server);
}

static void a_stop_does_not_wait_for_who_does_not_poll(void **state)
{
    server_t *s = polled_with(&four, (hub_endpoint_options_t){.limits.close_ms = 10000});
    poller_t p = member_of(s, V2);

    (void)state;
    post(&p, "['1','2','t1','echo',1]");
    server_stop(s);
    server_expect_note("closed shutdown");
    SERVER_EXPECT_STAT(s, longpoll_conns, 0);
}

static void *stop_later(void *server)
{
    server_stop(server);
    return NULL;
}

/* Requests keep coming while the workers go, one after the other. */
static void a_stop_among_requests_leaves_nobody_waiting(void **state)
{
    server_t *s = polled_with(&four, (hub_endpoint_options_t){0});
    poller_t p = member_of(s, V2);
    client_t *clients[30];
    pthread_t thread;

    (void)state;
    for (size_t i = 0; i < 30; i++)
        clients[i] = server_connect(s);
    assert_int_equal(pthread_create(&thread, NULL, stop_later, s), 0);
    for (size_t i = 0; i < 30; i++)
        if (i % 2 == 0)
            send_get(&p, clients[i]);
        else
            send_post(&p, clients[i], "application/json", frame_of(100));
    for (size_t i = 0; i < 30; i++)
        client_expect_gone(clients[i]);
    pthread_join(thread, NULL);
}

/* ---- how much it may say ---- */

/* The next answer's only message is a refusal for its rate. */
static void expect_rate(poller_t *poller, client_t *client, const char *start)
{
    json_t *messages = next_messages(poller, client, 200);
    const char *text = json_string_value(json_array_get(messages, 0));

    assert_int_equal(json_array_size(messages), 1);
    if (strncmp(text, start, strlen(start)) != 0 || strstr(text, "\"retry_ms\":") == NULL)
        fail_msg("expected a refusal that begins with %s, got %s", start, text);
    json_decref(messages);
}

static void a_post_past_the_rate_is_refused_by_the_next_poll(void **state)
{
    server_t *s = polled(&(hub_limits_t){.messages_per_s = 1, .messages_burst = 2});
    poller_t p = member_of(s, V2);

    (void)state;
    post(&p, "['1','2','t1','echo',{'n':1}]");
    poll_expect(&p, "[['1','2','t1','phx_reply',{'response':{'n':1},'status':'ok'}]]");
    post(&p, "['1','3','t1','echo',{'n':2}]");
    send_get(&p, p.client);
    expect_rate(&p, p.client,
                "[\"1\",\"3\",\"t1\",\"phx_reply\",{\"status\":\"error\",\"response\":{\"reason\":"
                "\"rate\"");
    SERVER_EXPECT_STAT(s, rate_messages_refused_total, 1);
}

static void a_batch_is_taken_as_far_as_the_rate_goes(void **state)
{
    server_t *s = polled(&(hub_limits_t){.messages_per_s = 1, .messages_burst = 3});
    poller_t p = member_of(s, V2);

    (void)state;
    send_post(
        &p, p.client, "application/x-ndjson",
        HUB_STR("[\"1\",null,\"t1\",\"say\",{\"n\":1}]\n[\"1\",null,\"t1\",\"say\",{\"n\":2}]\n"
                "[\"1\",\"4\",\"t1\",\"say\",{\"n\":3}]\n"));
    expect_status(p.client, 200);
    SERVER_EXPECT_STAT(s, rate_messages_refused_total, 1);
    SERVER_EXPECT_STAT(s, publishes_total, 2);
}

#define LONG_ECHO "[\"1\",null,\"t1\",\"say\",{\"n\":\"%0*d\"}]"

static void post_much(poller_t *poller, int size)
{
    char text[5000];
    int len = snprintf(text, sizeof(text), LONG_ECHO, size, 0);

    send_post(poller, poller->client, "application/json", hub_str_n(text, (size_t)len));
}

static void the_answer_of_a_post_that_brings_too_much_comes_later(void **state)
{
    server_t *s = polled(&(hub_limits_t){.bytes_per_s = 50000, .bytes_burst = 1000});
    poller_t p = member_of(s, V2);

    (void)state;
    post_much(&p, 4000);
    SERVER_EXPECT_STAT(s, publishes_total, 1); /* it was taken at once */
    SERVER_EXPECT_STAT(s, read_pauses_total, 1);
    expect_status(p.client, 200);
}

static void a_post_is_counted_as_memory_until_it_is_answered(void **state)
{
    static char text[50000];
    server_t *s = polled(&(hub_limits_t){.bytes_per_s = 1, .bytes_burst = 1000});
    poller_t p = member_of(s, V2 "&user=ann");
    uint64_t before = SERVER_STAT(s, memory_bytes);
    int len = snprintf(text, sizeof(text), "[null,null,\"t9\",\"say\",\"%0*d\"]", 40000, 0);

    (void)state;
    send_post(&p, p.client, "application/json", hub_str_n(text, (size_t)len));
    SERVER_EXPECT_STAT_AT_LEAST(s, memory_bytes, before + 40000);
    assert_int_equal(hub_disconnect(s->hub, HUB_STR("ann")), HUB_OK);
    expect_status(p.client, 200);
    (void)poller_of(s, V2); /* the turn is over */
    assert_true(SERVER_STAT(s, memory_bytes) < before + 40000);
}

static void who_does_not_wait_for_that_answer_is_refused(void **state)
{
    server_t *s = polled(&(hub_limits_t){.bytes_per_s = 1, .bytes_burst = 1000});
    poller_t p = member_of(s, V2 "&user=ann");

    (void)state;
    post_much(&p, 2000);
    SERVER_EXPECT_STAT(s, read_pauses_total, 1);
    post_on(&p, server_connect(s), "['1',null,'t1','say',{}]", 429);
    SERVER_EXPECT_STAT(s, publishes_total, 1);
    SERVER_EXPECT_STAT(s, longpoll_refused_total, 1);
    assert_int_equal(hub_disconnect(s->hub, HUB_STR("ann")), HUB_OK);
    expect_status(p.client, 200); /* which lets the first one go */
    server_expect_note("closed server");
}

static void one_without_a_websocket_counts_for_its_identity(void **state)
{
    server_t *s = polled(&(hub_limits_t){.conns_per_identity = 1});
    poller_t p = member_of(s, V2 "&user=ann");
    client_t *waiting = waiting_poll(&p), *socket = server_client(s, "/socket?user=ann");

    (void)state;
    expect_nothing(&p, waiting, 410);
    server_expect_note("closed duplicate");
    poller_t next = poller_of(s, V2 "&user=ann");
    (void)client_expect_close(socket, 4029);
    post(&next, "[null,'5','phoenix','heartbeat',{}]");
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        SERVER_CASE(a_get_without_a_token_opens_a_connection),
        SERVER_CASE(a_trailing_slash_leads_to_the_same_place),
        SERVER_CASE(without_the_option_there_is_no_such_path),
        SERVER_CASE(a_post_brings_a_message_and_a_poll_its_reply),
        SERVER_CASE(messages_that_are_ready_come_in_one_answer_in_order),
        SERVER_CASE(a_poll_waits_until_there_is_something),
        SERVER_CASE(who_polls_too_slowly_is_told_what_is_missing),
        SERVER_CASE(what_one_turn_brings_comes_in_one_answer),
        SERVER_CASE(a_poll_ends_empty_with_its_window),
        SERVER_CASE(who_does_not_poll_for_a_window_and_a_half_is_gone),
        SERVER_CASE(the_deadlines_of_websockets_do_not_apply),
        SERVER_CASE(a_second_poll_takes_the_place_of_the_first),
        SERVER_CASE(a_client_that_vanishes_from_its_poll_loses_nothing),
        SERVER_CASE(a_poll_whose_client_is_reset_harms_nobody),
        SERVER_CASE(a_request_that_comes_too_early_waits_for_the_poll),
        SERVER_CASE(bytes_come_as_characters_and_go_as_base64_lines),
        SERVER_CASE(a_line_that_is_not_base64_is_400),
        SERVER_CASE(lines_are_for_the_second_version_alone),
        SERVER_CASE(each_wire_format_can_be_polled),
        SERVER_CASE(a_connection_knows_its_address_format_and_identity),
        SERVER_CASE(refusals_are_403_and_failures_500),
        SERVER_CASE(the_origin_is_checked_with_each_request),
        SERVER_CASE(authorize_may_answer_later),
        SERVER_CASE(an_auth_token_comes_in_a_header),
        SERVER_CASE(a_forged_token_is_an_unknown_one),
        SERVER_CASE(a_token_that_is_none_is_an_unknown_one),
        SERVER_CASE(a_token_is_good_for_its_own_endpoint_alone),
        SERVER_CASE(a_token_of_another_hub_is_an_unknown_one),
        SERVER_CASE(a_frame_that_is_none_ends_the_connection_at_once),
        SERVER_CASE(a_line_that_is_none_ends_the_connection_behind_those_before_it),
        SERVER_CASE(text_that_is_not_utf8_ends_the_connection),
        SERVER_CASE(what_was_queued_before_the_end_can_still_be_fetched),
        SERVER_CASE(a_waiting_poll_gets_the_last_words_and_the_next_one_the_news),
        SERVER_CASE(what_nobody_fetches_after_the_end_is_dropped),
        SERVER_CASE(a_waiting_poll_is_told_at_once_that_its_identity_was_disconnected),
        SERVER_CASE(a_grant_expires_under_a_waiting_poll),
        SERVER_CASE(a_body_past_its_limit_is_413),
        SERVER_CASE(a_message_past_its_limit_ends_the_connection),
        SERVER_CASE(a_hundred_lines_pass_and_one_more_is_413),
        SERVER_CASE(what_does_not_fit_into_an_answer_comes_with_the_next),
        SERVER_CASE(a_full_outbox_ends_the_connection),
        SERVER_CASE(a_waiting_poll_makes_room_in_the_outbox),
        SERVER_CASE(of_too_many_without_a_poll_the_oldest_is_ended),
        SERVER_CASE(a_connection_past_their_number_is_503),
        SERVER_CASE(waiting_polls_are_no_visitors),
        SERVER_CASE(a_poll_may_wait_longer_than_a_request_may_take),
        SERVER_CASE(a_preflight_is_told_what_it_asks_for),
        SERVER_CASE(other_methods_are_400),
        SERVER_CASE(one_connection_serves_polls_posts_and_preflights),
        SERVER_CASE(a_body_of_doubtful_length_is_the_last_on_its_connection),
        SERVER_CASE(a_get_with_a_body_is_400),
        SERVER_CASE(raw_websockets_can_not_be_polled),
        SERVER_CASE(any_worker_takes_what_is_for_another),
        SERVER_CASE(a_poll_waits_on_another_worker_as_well),
        SERVER_CASE(a_client_that_vanishes_from_another_worker_loses_nothing),
        SERVER_CASE(a_worker_knows_of_the_end_of_a_poll_before_it_takes_what_follows),
        SERVER_CASE(everything_comes_once_and_in_order_whatever_worker_is_asked),
        SERVER_CASE(a_dead_token_is_told_by_any_worker),
        SERVER_CASE(a_worker_that_does_not_answer_is_408),
        SERVER_CASE(a_poll_that_a_worker_does_not_answer_ends_empty),
        SERVER_CASE(a_post_that_finds_a_full_mailbox_is_503),
        SERVER_CASE(a_stop_answers_every_waiting_poll),
        SERVER_CASE(a_stop_brings_what_was_published_before_it),
        SERVER_CASE(a_stop_does_not_wait_for_who_does_not_poll),
        SERVER_CASE(a_stop_among_requests_leaves_nobody_waiting),
        SERVER_CASE(a_post_past_the_rate_is_refused_by_the_next_poll),
        SERVER_CASE(a_batch_is_taken_as_far_as_the_rate_goes),
        SERVER_CASE(the_answer_of_a_post_that_brings_too_much_comes_later),
        SERVER_CASE(a_post_is_counted_as_memory_until_it_is_answered),
        SERVER_CASE(who_does_not_wait_for_that_answer_is_refused),
        SERVER_CASE(one_without_a_websocket_counts_for_its_identity),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
