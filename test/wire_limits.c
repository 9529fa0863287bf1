/* SPDX-License-Identifier: MIT */
/* The limits of hub/limits.h as a client meets them: one less, the limit itself, one more. Each is
 * set to something small, so that nobody has to wait for it. */
#define _GNU_SOURCE 1
#include "test/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- the channel of these cases ---- */

/* Pushes [count, size]: so many messages whose payload is a string of that size, all in one turn of
 * the loop, so that the outbox holds them together. */
static hub_status_t on_burst(hub_member_t *me, const hub_message_t *msg)
{
    static char json[65536];
    char text[32]; /* a payload has no NUL behind it */
    int count = 0, size = 0;

    snprintf(text, sizeof(text), "%.*s", HUB_STR_ARG(msg->payload.bytes));
    if (sscanf(text, "[%d,%d]", &count, &size) != 2)
        return HUB_EPAYLOAD;
    memset(json, 'x', (size_t)size + 2);
    json[0] = json[size + 1] = '"';
    for (int i = 0; i < count; i++)
        if (hub_member_push(me, HUB_STR("b"), hub_json(hub_str_n(json, (size_t)size + 2))) !=
            HUB_OK)
            server_note("push refused at %d", i + 1);
    return HUB_OK;
}

/* Keeps the loop of this worker until the gate opens, as no program should. */
static hub_status_t on_block(hub_member_t *me, const hub_message_t *msg)
{
    (void)me, (void)msg;
    server_note("blocked");
    server_gate_wait();
    return HUB_OK;
}

static hub_status_t on_event(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_reply(me, msg, HUB_JSON("1"));
}

static const hub_event_handler_t events[] = {
    {"burst", on_burst}, {"block", on_block}, {"where", server_reply_thread}, {NULL, NULL}};

static hub_status_t note_disconnect(const hub_hook_event_t *event, void *user)
{
    (void)user;
    server_note("closed %s", hub_disconnect_reason_name(event->reason));
    return HUB_OK;
}

static hub_status_t note_failed(const hub_hook_event_t *event, void *user)
{
    (void)user;
    server_note("failed %.*s %s", HUB_STR_ARG(event->msg->event), hub_status_name(event->status));
    return HUB_OK;
}

static hub_status_t on_authorize_briefly(hub_request_t *request, void *user)
{
    (void)user;
    hub_request_grant(request, &(hub_grant_t){.expires_in_ms = 30});
    return HUB_OK;
}

static hub_status_t follow_frames(const hub_hook_event_t *event, void *user)
{
    (void)event;
    (void)user;
    return HUB_OK;
}

/* Where hooks follow each frame, nothing is written before the end of a turn: then a burst meets
 * the bound of the outbox at an exact place. */
static bool frames_are_followed;

static server_t *limited_server(const hub_server_options_t *options, const hub_limits_t *limits)
{
    server_t *server = server_create_with(options, NULL);
    hub_endpoint_options_t brief = {.path = "/brief", .on_authorize = on_authorize_briefly};

    server_channel(server, &(hub_channel_options_t){
                               .pattern = "t{id}", .events = events, .on_receive = on_event});
    server_hook(server, HUB_HOOK_DISCONNECT, note_disconnect);
    if (frames_are_followed)
        server_hook(server, HUB_HOOK_MESSAGE_SENT, follow_frames);
    server_mount(server, &(hub_endpoint_options_t){.limits = *limits});
    server_mount(server, &brief);
    server_start(server);
    return server;
}

static server_t *limited(const hub_limits_t *limits)
{
    return limited_server(NULL, limits);
}

static client_t *limited_client(const hub_limits_t *limits)
{
    return server_client(limited(limits), "/socket");
}

static client_t *limited_member(const hub_limits_t *limits)
{
    client_t *client = limited_client(limits);

    client_join(client, "t1", "'j'");
    return client;
}

static client_t *exact_member(const hub_limits_t *limits)
{
    client_t *client;

    frames_are_followed = true;
    client = limited_member(limits);
    frames_are_followed = false;
    return client;
}

/* So many times this character. Valid until the third call after it. */
static const char *times(char character, size_t count)
{
    static char texts[3][1200];
    static size_t next;
    char *text = texts[next++ % 3];

    memset(text, character, count);
    text[count] = '\0';
    return text;
}

static const char *quoted(char character, size_t count)
{
    static char text[1200];

    snprintf(text, sizeof(text), "'%s'", times(character, count));
    return text;
}

/* ---- messages ---- */

static void expect_message_bytes(server_t *s, size_t bytes, bool fits)
{
    client_t *c = server_client(s, "/socket");
    static const char head[] = "{'topic':'t1','event':'x','payload':'','ref':1}";
    char json[1200];

    snprintf(json, sizeof(json), "{'topic':'t1','event':'x','payload':'%s','ref':1}",
             times('x', bytes - strlen(head)));
    client_json(c, json);
    if (fits) {
        client_expect_error(c, "t1", "1", "not_joined");
        return;
    }
    (void)client_expect_close(c, 1009);
    client_expect_eof(c);
    server_expect_note("closed too_large");
}

static void a_message_past_its_limit_is_closed_1009(void **state)
{
    server_t *s = limited(&(hub_limits_t){.message_bytes = 500});

    (void)state;
    expect_message_bytes(s, 499, true);
    expect_message_bytes(s, 500, true);
    expect_message_bytes(s, 501, false);
}

/* A heartbeat in so many fragments, the last ones empty. */
static void send_fragments(client_t *client, size_t count)
{
    client_frame(client, 0x01,
                 HUB_STR("{\"topic\":\"hub\",\"event\":\"heartbeat\",\"payload\":{},\"ref\":1}"));
    for (size_t i = 2; i < count; i++)
        client_frame(client, 0x00, HUB_STR(""));
    client_frame(client, 0x80, HUB_STR(""));
}

static void a_message_of_too_many_fragments_is_closed_1008(void **state)
{
    client_t *c = limited_client(&(hub_limits_t){.fragments = 5});

    (void)state;
    send_fragments(c, 4);
    client_expect_ok(c, "hub", "1", "{}");
    send_fragments(c, 5);
    client_expect_ok(c, "hub", "1", "{}");
    send_fragments(c, 6);
    (void)client_expect_close(c, 1008);
    server_expect_note("closed limit");
}

static void the_limit_of_fragments_may_be_switched_off(void **state)
{
    client_t *c = limited_client(&(hub_limits_t){.fragments = HUB_OFF});

    (void)state;
    send_fragments(c, 2000);
    client_expect_ok(c, "hub", "1", "{}");
}

static void a_message_that_stays_unfinished_is_closed_1008(void **state)
{
    client_t *c = limited_client(&(hub_limits_t){.unfinished_ms = 30});

    (void)state;
    client_frame(c, 0x01, HUB_STR("{"));
    (void)client_expect_close(c, 1008);
    server_expect_note("closed limit");
}

static void a_frame_that_stays_unfinished_is_closed_1008(void **state)
{
    client_t *c = limited_client(&(hub_limits_t){.unfinished_ms = 30});

    (void)state;
    client_send(c, HUB_STR("\x81"));
    (void)client_expect_close(c, 1008);
}

/* ---- envelopes ---- */

static void a_topic_past_its_limit_is_a_bad_topic(void **state)
{
    client_t *c = limited_client(&(hub_limits_t){.topic_bytes = 20});

    (void)state;
    client_join(c, times('t', 19), "1");
    client_join(c, times('t', 20), "2");
    client_say(c, times('t', 21), "join", "{}", "3");
    client_expect_error(c, NULL, "3", "bad_topic");
}

static void a_topic_of_255_bytes_is_the_longest_by_default(void **state)
{
    client_t *c = limited_client(&(hub_limits_t){0});

    (void)state;
    client_join(c, times('t', 255), "2");
    client_say(c, times('t', 256), "join", "{}", "3");
    client_expect_error(c, NULL, "3", "bad_topic");
}

static void an_event_past_its_limit_is_not_found(void **state)
{
    client_t *c = limited_member(&(hub_limits_t){.event_bytes = 20});

    (void)state;
    client_say(c, "t1", times('e', 19), "{}", "1");
    client_expect_ok(c, "t1", "1", "1");
    client_say(c, "t1", times('e', 20), "{}", "2");
    client_expect_ok(c, "t1", "2", "1");
    client_say(c, "t1", times('e', 21), "{}", "3");
    client_expect_error(c, "t1", "3", "event_not_found");
}

static void a_ref_past_its_limit_is_an_invalid_payload(void **state)
{
    client_t *c = limited_member(&(hub_limits_t){.ref_bytes = 10});

    (void)state;
    client_say(c, "t1", "x", "{}", quoted('r', 9));
    client_expect_ok(c, "t1", quoted('r', 9), "1");
    client_say(c, "t1", "x", "{}", quoted('r', 10));
    client_expect_ok(c, "t1", quoted('r', 10), "1");
    client_say(c, "t1", "x", "{}", times('7', 10));
    client_expect_ok(c, "t1", times('7', 10), "1");
    client_say(c, "t1", "x", "{}", quoted('r', 11));
    client_expect_error(c, NULL, NULL, "invalid_payload");
    client_say(c, "t1", "x", "{}", times('7', 11));
    client_expect_error(c, NULL, NULL, "invalid_payload");
}

/* So many arrays within each other. */
static const char *nested(size_t depth)
{
    static char text[1200];

    snprintf(text, sizeof(text), "%s%s", times('[', depth), times(']', depth));
    return text;
}

static void a_payload_nested_too_deeply_is_an_invalid_payload(void **state)
{
    client_t *c = limited_member(&(hub_limits_t){.payload_depth = 20});

    (void)state;
    client_say(c, "t1", "x", nested(19), "1");
    client_expect_ok(c, "t1", "1", "1");
    client_say(c, "t1", "x", nested(20), "2");
    client_expect_ok(c, "t1", "2", "1");
    client_say(c, "t1", "x", nested(21), "3");
    client_expect_error(c, NULL, "3", "invalid_payload");
}

static void say_with_extra(client_t *client, const char *value)
{
    char json[600];

    snprintf(json, sizeof(json), "{'topic':'t1','event':'x','payload':1,'ref':1,'extra':%s}",
             value);
    client_json(client, json);
}

static void an_envelope_nested_too_deeply_is_an_invalid_payload(void **state)
{
    client_t *c = limited_member(&(hub_limits_t){.envelope_depth = 5});

    (void)state;
    say_with_extra(c, nested(3)); /* the envelope itself is one */
    client_expect_ok(c, "t1", "1", "1");
    say_with_extra(c, nested(4));
    client_expect_ok(c, "t1", "1", "1");
    say_with_extra(c, nested(5));
    client_expect_error(c, NULL, "1", "invalid_payload");
}

static void a_million_brackets_are_one_bad_envelope(void **state)
{
    client_t *c = limited_client(&(hub_limits_t){.message_bytes = 1 << 20});
    char *brackets = malloc(1 << 20);

    (void)state;
    assert_non_null(brackets);
    memset(brackets, '[', 1 << 20);
    client_frame(c, CLIENT_TEXT, hub_str_n(brackets, 1 << 20));
    client_expect_error(c, NULL, NULL, "invalid_payload");
    client_expect_quiet(c);
    free(brackets);
}

static void one_bad_envelope_too_many_is_closed_1008(void **state)
{
    client_t *c = limited_client(&(hub_limits_t){.bad_envelopes = 3});

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        client_json(c, "no");
        client_expect_error(c, NULL, NULL, "invalid_payload");
    }
    client_expect_quiet(c);
    client_json(c, "no");
    (void)client_expect_close(c, 1008);
    server_expect_note("closed limit");
}

static void one_topic_too_many_is_refused(void **state)
{
    client_t *c = limited_client(&(hub_limits_t){.topics = 3});

    (void)state;
    client_join(c, "t1", "1");
    client_join(c, "t2", "2");
    client_join(c, "t3", "3");
    client_say(c, "t4", "join", "{}", "4");
    client_expect_error(c, "t4", "4", "limit");
    client_say(c, "t2", "leave", "{}", "5");
    client_expect_ok(c, "t2", "5", "{'topic':'t2'}");
    client_join(c, "t4", "6");
}

/* ---- the outbox ---- */

static void expect_pushes(client_t *client, size_t count)
{
    for (size_t i = 0; i < count; i++)
        assert_non_null(strstr(client_expect_frame(client, CLIENT_TEXT).base, "\"event\":\"b\""));
}

static void one_message_too_many_in_the_outbox_is_closed_4008(void **state)
{
    client_t *c = exact_member(&(hub_limits_t){.outbox_messages = 10});

    (void)state;
    client_say(c, "t1", "burst", "[9,1]", NULL);
    expect_pushes(c, 9);
    client_say(c, "t1", "burst", "[10,1]", NULL);
    expect_pushes(c, 10);
    client_say(c, "t1", "burst", "[11,1]", NULL);
    server_expect_note("push refused at 11");
    (void)client_drain_to_close(c, 4008);
    server_expect_note("closed slow");
}

/* The bytes of a frame of a burst but its string. */
#define PUSH_BYTES                                                                                 \
    (4 + strlen("{\"topic\":\"t1\",\"event\":\"b\",\"payload\":\"\",\"join_ref\":\"j\"}"))

static void say_burst(client_t *client, size_t count, size_t size)
{
    char payload[40];

    snprintf(payload, sizeof(payload), "[%zu,%zu]", count, size);
    client_say(client, "t1", "burst", payload, NULL);
}

static void one_byte_too_many_in_the_outbox_is_closed_4008(void **state)
{
    client_t *c = exact_member(&(hub_limits_t){.outbox_bytes = 3000});

    (void)state;
    say_burst(c, 3, 999 - PUSH_BYTES);
    expect_pushes(c, 3);
    say_burst(c, 3, 1000 - PUSH_BYTES);
    expect_pushes(c, 3);
    say_burst(c, 3, 1001 - PUSH_BYTES);
    server_expect_note("push refused at 3");
    (void)client_drain_to_close(c, 4008);
    server_expect_note("closed slow");
}

static void a_burst_of_one_turn_does_not_close_who_reads(void **state)
{
    client_t *c = limited_member(&(hub_limits_t){.outbox_messages = 10});

    (void)state;
    say_burst(c, 1000, 1);
    expect_pushes(c, 1000);
    client_expect_quiet(c);
}

static void pings_of_one_who_does_not_read_are_bounded(void **state)
{
    server_t *s = limited(&(hub_limits_t){.outbox_bytes = 2000, SERVER_UNHURRIED});
    client_t *c = server_client(s, "/socket");
    char pings[1000 * 131];
    size_t size = 0;

    (void)state;
    while (size + 131 <= sizeof(pings))
        size += client_frame_write(pings + size, 0x89, hub_str(times('p', 125)));
    while (SERVER_STAT(s, closed_slow_total) == 0)
        client_send(c, hub_str_n(pings, size));
    server_expect_note("closed slow");
}

static void an_empty_outbox_takes_any_message(void **state)
{
    client_t *c = limited_member(&(hub_limits_t){.outbox_bytes = 3000});

    (void)state;
    say_burst(c, 1, 20000);
    expect_pushes(c, 1);
    client_expect_quiet(c);
}

/* Publishes until the connection that does not read is closed; one that does must get it all. */
static size_t publish_until_slow(server_t *s, client_t *reader, size_t bytes)
{
    char *json = malloc(bytes);
    size_t count = 0;

    assert_non_null(json);
    memset(json, 'x', bytes);
    json[0] = json[bytes - 1] = '"';
    for (; SERVER_STAT(s, closed_slow_total) == 0; count++) {
        assert_true(count < 2000);
        assert_int_equal(
            hub_publish(s->hub, HUB_STR("t1"), HUB_STR("b"), hub_json(hub_str_n(json, bytes))),
            HUB_OK);
        expect_pushes(reader, 1);
    }
    free(json);
    return count;
}

static void a_client_that_stops_reading_is_closed_and_the_others_are_served(void **state)
{
    server_t *s = limited(&(hub_limits_t){.outbox_bytes = 100000, .outbox_messages = HUB_OFF});
    client_t *slow = server_keep_client(s, client_connect(s->address, 4096));
    client_t *reader = server_client(s, "/socket");
    size_t published;

    (void)state;
    client_send_text(slow, client_upgrade_text("/socket", ""));
    client_expect_upgraded(slow);
    client_join(slow, "t1", "'s'");
    client_join(reader, "t1", "'r'");
    published = publish_until_slow(s, reader, 8000);
    assert_true(published > 100000 / 8100);
    server_expect_note("closed slow");
    client_expect_quiet(reader);
    assert_true(client_drain_to_close(slow, 4008) <= published);
    SERVER_EXPECT_STAT(s, members, 1);
}

/* Both have joined t1, and `slow` is sent more than the kernel takes while it does not read. */
static void stall(server_t *s, client_t **ret_slow, client_t **ret_reader)
{
    static char json[100000];
    client_t *slow = server_keep_client(s, client_connect(s->address, 4096));
    client_t *reader = server_client(s, "/socket");

    memset(json, 'x', sizeof(json));
    json[0] = json[sizeof(json) - 1] = '"';
    client_send_text(slow, client_upgrade_text("/socket", ""));
    client_expect_upgraded(slow);
    client_join(slow, "t1", "'s'");
    client_join(reader, "t1", "'r'");
    while (SERVER_STAT(s, conns_blocked) == 0 && SERVER_STAT(s, conns) == 2) {
        assert_int_equal(hub_publish(s->hub, HUB_STR("t1"), HUB_STR("b"),
                                     hub_json(hub_str_n(json, sizeof(json)))),
                         HUB_OK);
        expect_pushes(reader, 1);
    }
    *ret_slow = slow;
    *ret_reader = reader;
}

static void what_waits_for_longer_than_its_age_closes_4008(void **state)
{
    server_t *s = limited(&(hub_limits_t){.outbox_age_ms = 50});
    client_t *slow, *reader;

    (void)state;
    stall(s, &slow, &reader);
    server_expect_note("closed slow");
    (void)client_drain_to_close(slow, 4008);
    client_expect_quiet(reader);
}

static void what_waits_may_be_of_any_age_where_that_is_off(void **state)
{
    server_t *s =
        limited(&(hub_limits_t){.outbox_age_ms = HUB_OFF, .ping_ms = 400, .pong_ms = 100});
    client_t *slow, *reader;

    (void)state;
    stall(s, &slow, &reader);
    server_expect_note("closed ping_timeout");
}

static void what_finds_a_full_outbox_is_told_to_the_hook(void **state)
{
    server_t *s = server_create();
    client_t *c;

    (void)state;
    server_channel(s, &(hub_channel_options_t){.pattern = "t{id}", .events = events});
    server_hook(s, HUB_HOOK_MESSAGE_FAILED, note_failed);
    server_mount(s, &(hub_endpoint_options_t){.limits = {.outbox_messages = 2}});
    server_start(s);
    c = server_client(s, "/socket");
    client_join(c, "t1", "'j'");
    client_say(c, "t1", "burst", "[3,1]", NULL);
    server_skip_to_note("failed b ESLOW");
}

/* ---- time ---- */

static void a_client_that_answers_pings_stays(void **state)
{
    client_t *c = limited_client(&(hub_limits_t){.ping_ms = 20, .pong_ms = 5000, .idle_ms = 5000});

    (void)state;
    for (int i = 0; i < 4; i++) {
        hub_str_t ping = client_expect_frame(c, CLIENT_PING);

        client_frame(c, CLIENT_PONG, ping);
    }
}

static void a_client_that_does_not_answer_a_ping_is_closed(void **state)
{
    client_t *c = limited_client(&(hub_limits_t){.ping_ms = 20, .pong_ms = 20});

    (void)state;
    (void)client_expect_frame(c, CLIENT_PING);
    client_expect_gone(c);
    server_expect_note("closed ping_timeout");
}

static void a_client_that_says_nothing_is_closed_as_idle(void **state)
{
    client_t *c = limited_client(&(hub_limits_t){.ping_ms = HUB_OFF, .idle_ms = 30});

    (void)state;
    (void)client_expect_close(c, 1001);
    server_expect_note("closed idle");
}

static void a_pong_counts_against_idleness(void **state)
{
    client_t *c = limited_client(&(hub_limits_t){.ping_ms = 100, .pong_ms = 5000, .idle_ms = 700});

    (void)state;
    for (int i = 0; i < 9; i++) {
        hub_str_t ping = client_expect_frame(c, CLIENT_PING);

        client_frame(c, CLIENT_PONG, ping);
    }
    server_expect_no_note();
}

static void a_grant_that_expires_ends_the_connection(void **state)
{
    client_t *c = server_client(limited(&(hub_limits_t){0}), "/brief");

    (void)state;
    (void)client_expect_close(c, 4003);
    server_expect_note("closed expired");
}

/* ---- the server's own ---- */

static void one_connection_too_many_is_503(void **state)
{
    server_t *s =
        limited_server(&(hub_server_options_t){.limits = {.connections = 2}}, &(hub_limits_t){0});
    client_t *first = server_client(s, "/socket"), *second = server_client(s, "/socket"), *third;
    client_response_t response;

    (void)state;
    third = server_connect(s);
    client_send_text(third, client_upgrade_text("/socket", ""));
    response = client_expect_response(third, 503);
    assert_in_range(client_header(&response, "Retry-After").base[0], '1', '5');
    server_drop_client(s, third, client_destroy);
    server_drop_client(s, first, client_abort);
    SERVER_EXPECT_STAT(s, conns, 1);
    client_expect_quiet(server_client(s, "/socket"));
    client_expect_quiet(second);
}

static void the_oldest_unfinished_connection_makes_room(void **state)
{
    server_t *s =
        limited_server(&(hub_server_options_t){.limits = {.pre_upgrade = 2}}, &(hub_limits_t){0});
    client_t *first = server_connect(s), *second;

    (void)state;
    SERVER_EXPECT_STAT(s, pre_upgrade, 1);
    second = server_connect(s);
    SERVER_EXPECT_STAT(s, pre_upgrade, 2);
    client_expect_quiet(server_client(s, "/socket"));
    client_expect_gone(first);
    SERVER_EXPECT_STAT(s, pre_upgrade_shed_total, 1);
    assert_false(client_is_readable(second));
}

static void a_request_that_takes_too_long_is_closed(void **state)
{
    server_t *s =
        limited_server(&(hub_server_options_t){.limits = {.request_ms = 50}}, &(hub_limits_t){0});
    client_t *silent = server_connect(s), *partial = server_connect(s);

    (void)state;
    client_send_text(partial, "GET /socket HTTP/1.1\r\nHost: local");
    client_expect_gone(silent);
    client_expect_gone(partial);
    SERVER_EXPECT_STAT(s, pre_upgrade, 0);
}

static void a_full_mailbox_is_a_gap_for_that_workers_members(void **state)
{
    server_t *s =
        limited_server(&(hub_server_options_t){.threads = 2, .limits = {.mailbox_messages = 4}},
                       &(hub_limits_t){0});
    client_t *left, *right;

    (void)state;
    server_client_pair(s, "/socket", "t1", "where", &left, &right);
    client_say(right, "t1", "block", "{}", NULL);
    server_skip_to_note("blocked");
    for (int i = 0; i < 10; i++) {
        assert_int_equal(hub_publish(s->hub, HUB_STR("t1"), HUB_STR("b"), HUB_JSON("1")), HUB_OK);
        client_expect_event(left, "t1", "b", "1");
    }
    server_gate_open();
    expect_pushes(right, 4);
    client_expect_event(right, "t1", "gap", "{'reason':'mailbox','missed':6}");
    assert_int_equal(hub_publish(s->hub, HUB_STR("t1"), HUB_STR("b"), HUB_JSON("2")), HUB_OK);
    client_expect_event(right, "t1", "b", "2");
}

/* ---- options ---- */

static void expect_bad_limits(const hub_limits_t *limits, const char *name)
{
    hub_error_t error = {0};
    server_t *s = server_create_with(&(hub_server_options_t){.ret_error = &error}, NULL);

    assert_int_equal(
        hub_server_mount(s->server, s->hub, &(hub_endpoint_options_t){.limits = *limits}),
        HUB_EINVAL);
    assert_non_null(strstr(error.text, name));
    server_teardown(NULL);
}

static void a_limit_past_its_ceiling_or_not_yet_kept_is_an_error_that_names_it(void **state)
{
    (void)state;
    expect_bad_limits(&(hub_limits_t){.message_bytes = 67108865}, "message_bytes");
    expect_bad_limits(&(hub_limits_t){.topic_bytes = HUB_OFF}, "topic_bytes");
    expect_bad_limits(&(hub_limits_t){.topics = 4097}, "topics");
    expect_bad_limits(&(hub_limits_t){.messages_per_s = 1000001}, "messages_per_s");
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        SERVER_CASE(a_message_past_its_limit_is_closed_1009),
        SERVER_CASE(a_message_of_too_many_fragments_is_closed_1008),
        SERVER_CASE(the_limit_of_fragments_may_be_switched_off),
        SERVER_CASE(a_message_that_stays_unfinished_is_closed_1008),
        SERVER_CASE(a_frame_that_stays_unfinished_is_closed_1008),
        SERVER_CASE(a_topic_past_its_limit_is_a_bad_topic),
        SERVER_CASE(a_topic_of_255_bytes_is_the_longest_by_default),
        SERVER_CASE(an_event_past_its_limit_is_not_found),
        SERVER_CASE(a_ref_past_its_limit_is_an_invalid_payload),
        SERVER_CASE(a_payload_nested_too_deeply_is_an_invalid_payload),
        SERVER_CASE(an_envelope_nested_too_deeply_is_an_invalid_payload),
        SERVER_CASE(a_million_brackets_are_one_bad_envelope),
        SERVER_CASE(one_bad_envelope_too_many_is_closed_1008),
        SERVER_CASE(one_topic_too_many_is_refused),
        SERVER_CASE(one_message_too_many_in_the_outbox_is_closed_4008),
        SERVER_CASE(one_byte_too_many_in_the_outbox_is_closed_4008),
        SERVER_CASE(what_waits_for_longer_than_its_age_closes_4008),
        SERVER_CASE(what_waits_may_be_of_any_age_where_that_is_off),
        SERVER_CASE(a_burst_of_one_turn_does_not_close_who_reads),
        SERVER_CASE(pings_of_one_who_does_not_read_are_bounded),
        SERVER_CASE(an_empty_outbox_takes_any_message),
        SERVER_CASE(a_client_that_stops_reading_is_closed_and_the_others_are_served),
        SERVER_CASE(what_finds_a_full_outbox_is_told_to_the_hook),
        SERVER_CASE(a_client_that_answers_pings_stays),
        SERVER_CASE(a_client_that_does_not_answer_a_ping_is_closed),
        SERVER_CASE(a_client_that_says_nothing_is_closed_as_idle),
        SERVER_CASE(a_pong_counts_against_idleness),
        SERVER_CASE(a_grant_that_expires_ends_the_connection),
        SERVER_CASE(one_connection_too_many_is_503),
        SERVER_CASE(the_oldest_unfinished_connection_makes_room),
        SERVER_CASE(a_request_that_takes_too_long_is_closed),
        SERVER_CASE(a_full_mailbox_is_a_gap_for_that_workers_members),
        SERVER_CASE(a_limit_past_its_ceiling_or_not_yet_kept_is_an_error_that_names_it),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
