/* SPDX-License-Identifier: MIT */

/* Where promises meet one another: filters that publish, bursts within one turn, names that must
 * never come back, and what is under way at the stop. Each case stands for something that went
 * wrong once. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test/server.h"

static hub_status_t on_say(hub_member_t *me, const hub_message_t *msg)
{
    hub_status_t err = hub_member_broadcast(me, HUB_STR("said"), msg->payload);

    return err != HUB_OK ? err : hub_member_reply(me, msg, HUB_JSON("{}"));
}

static hub_status_t on_say_from(hub_member_t *me, const hub_message_t *msg)
{
    hub_status_t err = hub_member_broadcast_from(me, HUB_STR("said"), msg->payload);

    return err != HUB_OK ? err : hub_member_reply(me, msg, HUB_JSON("{}"));
}

static hub_status_t on_who(hub_member_t *me, const hub_message_t *msg)
{
    char id[HUB_CONN_ID_TEXT];

    server_note("%s", hub_conn_id_format(hub_conn_id(hub_member_conn(me)), id));
    return hub_member_reply(me, msg, HUB_JSON("{}"));
}

static const hub_event_handler_t events[] = {
    {"say", on_say}, {"say_from", on_say_from}, {"who", on_who}, {NULL, NULL}};

static hub_update_t replace(hub_member_t *me, const hub_message_t *msg, hub_payload_t *ret_payload)
{
    (void)me;
    (void)msg;
    *ret_payload = HUB_JSON("\"replaced\"");
    return HUB_UPDATE_REPLACE;
}

/* Answers every message with another one on its own topic, for ever. */
static hub_update_t publish_for_ever(hub_member_t *me, const hub_message_t *msg,
                                     hub_payload_t *ret_payload)
{
    (void)ret_payload;
    if (hub_member_broadcast(me, HUB_STR("again"), msg->payload) != HUB_OK)
        server_note("not published");
    return HUB_UPDATE_SKIP;
}

static server_t *edges_with(const hub_server_options_t *options,
                            const hub_endpoint_options_t *endpoint)
{
    server_t *s = server_create_with(options, NULL);

    server_channel(s, &(hub_channel_options_t){.pattern = "t{n}", .events = events});
    server_channel(
        s, &(hub_channel_options_t){.pattern = "r:{n}", .events = events, .on_update = replace});
    server_channel(s, &(hub_channel_options_t){
                          .pattern = "e:{n}", .events = events, .on_update = publish_for_ever});
    server_mount(s, endpoint);
    return s;
}

static server_t *edges(void)
{
    server_t *s = edges_with(NULL, NULL);

    server_start(s);
    return s;
}

static client_t *member_of(server_t *s, const char *topic)
{
    client_t *c = server_client(s, "/socket");

    client_join(c, topic, "'j'");
    return c;
}

/* ---- filters ---- */

static void a_reply_waits_behind_the_broadcast_that_a_filter_replaces(void **state)
{
    client_t *c = member_of(edges(), "r:1");

    (void)state;
    client_say(c, "r:1", "say", "1", "'2'");
    client_expect_push(c, "r:1", "said", "'replaced'", "'j'");
    client_expect_ok(c, "r:1", "'2'", "{}");
    client_expect_quiet(c);
}

static void a_filtered_sender_is_left_out_of_broadcast_from(void **state)
{
    server_t *s = edges();
    client_t *c = member_of(s, "r:1"), *other = member_of(s, "r:1");

    (void)state;
    client_say(c, "r:1", "say_from", "1", "'2'");
    client_expect_ok(c, "r:1", "'2'", "{}");
    client_expect_quiet(c);
    client_expect_push(other, "r:1", "said", "'replaced'", "'j'");
}

static void a_leave_takes_what_was_broadcast_before_it_through_the_filter(void **state)
{
    client_t *c = member_of(edges(), "r:1");
    char frames[512];
    size_t size;

    (void)state;
    size = client_frame_write(
        frames, 0x81, HUB_STR("{\"topic\":\"r:1\",\"event\":\"say\",\"payload\":1,\"ref\":\"2\"}"));
    size += client_frame_write(
        frames + size, 0x81,
        HUB_STR("{\"topic\":\"r:1\",\"event\":\"leave\",\"payload\":{},\"ref\":\"3\"}"));
    client_send(c, hub_str_n(frames, size));
    client_expect_push(c, "r:1", "said", "'replaced'", "'j'");
    client_expect_ok(c, "r:1", "'2'", "{}");
    client_expect_ok(c, "r:1", "'3'", "{'topic':'r:1'}");
    client_expect_quiet(c);
}

static void a_filter_that_publishes_for_ever_stops_nobody_else(void **state)
{
    server_t *s = edges();
    client_t *endless = member_of(s, "e:1"), *other = member_of(s, "t1");

    (void)state;
    client_say(endless, "e:1", "say", "1", "'2'");
    client_expect_ok(endless, "e:1", "'2'", "{}");
    client_say(other, "t1", "say", "1", "'2'");
    client_expect_event(other, "t1", "said", "1");
    client_expect_ok(other, "t1", "'2'", "{}");
    server_stop(s);
}

/* ---- emits ---- */

static hub_status_t emit_once(const hub_hook_event_t *event, void *user)
{
    if (event->msg == NULL || !hub_str_equals(event->msg->event, HUB_STR("said")))
        return HUB_OK;
    return hub_emit(user, HUB_STR("t1"), HUB_STR("left"), HUB_JSON("1"));
}

static void what_a_sent_hook_emits_goes_out_at_once(void **state)
{
    server_t *s = edges_with(NULL, NULL);
    client_t *c;

    (void)state;
    assert_int_equal(hub_hook_add(s->hub, HUB_HOOK_MESSAGE_SENT, emit_once, s->hub), HUB_OK);
    server_start(s);
    c = member_of(s, "t1");
    client_say(c, "t1", "say", "1", NULL);
    client_expect_event(c, "t1", "said", "1");
    (void)client_expect_frame(c, 0x81); /* the reply, which has no ref */
    client_expect_event(c, "t1", "left", "1");
}

/* ---- names ---- */

static void say_who(server_t *s)
{
    client_t *c = member_of(s, "t1");

    client_say(c, "t1", "who", "{}", "'2'");
    client_expect_ok(c, "t1", "'2'", "{}");
}

static void a_connections_id_never_comes_back_on_another_server(void **state)
{
    server_t *s = edges_with(NULL, NULL);
    hub_server_t *second = NULL;
    char ids[2][40];

    (void)state;
    server_start(s);
    say_who(s);
    server_copy_note(ids[0], sizeof(ids[0]));
    server_stop(s);
    hub_server_destroy(s->server);
    assert_int_equal(hub_server_create(NULL, &second), HUB_OK);
    s->server = second;
    server_mount(s, NULL);
    server_start(s);
    say_who(s);
    server_copy_note(ids[1], sizeof(ids[1]));
    assert_string_not_equal(ids[0], ids[1]);
}

/* ---- the door ---- */

static void visitors_never_exceed_their_limit(void **state)
{
    server_t *s = edges_with(&(hub_server_options_t){.limits = {.pre_upgrade = 8}}, NULL);
    client_t *last = NULL;

    (void)state;
    server_start(s);
    for (int i = 0; i < 50; i++)
        last = server_connect(s);
    client_request(last, "GET", "/nothing", "");
    (void)client_expect_response(last, 404);
    assert_in_range(SERVER_STAT(s, pre_upgrade), 1, 8);
    assert_true(SERVER_STAT(s, pre_upgrade_shed_total) >= 42);
}

static void a_client_that_resets_does_not_raise_sigpipe(void **state)
{
    server_t *s = edges_with(NULL, NULL);
    char *page = calloc(1, 4 << 20);

    (void)state;
    assert_non_null(page);
    assert_int_equal(hub_server_file(s->server, "/big", "text/plain", hub_str_n(page, 4 << 20)),
                     HUB_OK);
    free(page);
    server_start(s);
    for (int i = 0; i < 20; i++) {
        client_t *c = server_connect(s);

        client_request(c, "GET", "/big", "");
        server_drop_client(s, c, client_abort);
    }
    (void)member_of(s, "t1");
}

static hub_status_t read_token(hub_request_t *request, void *user)
{
    (void)user;
    server_note("%zu %zu", hub_request_query(request, "token").len,
                hub_request_query(request, "token").len);
    return HUB_OK;
}

static void a_long_query_is_read_whole_and_again(void **state)
{
    server_t *s = edges_with(NULL, &(hub_endpoint_options_t){.on_authorize = read_token});
    char target[6100] = "/socket?token=";

    (void)state;
    memset(target + strlen(target), 'x', 6000);
    server_start(s);
    (void)server_client(s, target);
    server_expect_note("6000 6000");
}

static hub_request_token_t waiting;

static hub_status_t wait_for_it(hub_request_t *request, void *user)
{
    hub_status_t err = hub_request_defer(request, &waiting);

    (void)user;
    server_note("waits");
    return err;
}

static void who_waits_for_authorization_at_the_stop_is_answered(void **state)
{
    server_t *s = edges_with(NULL, &(hub_endpoint_options_t){.on_authorize = wait_for_it});
    client_t *c;

    (void)state;
    server_start(s);
    c = server_connect(s);
    client_send_text(c, client_upgrade_text("/socket", ""));
    server_expect_note("waits");
    hub_server_stop(s->server);
    (void)client_expect_response(c, 503);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        SERVER_CASE(a_reply_waits_behind_the_broadcast_that_a_filter_replaces),
        SERVER_CASE(a_filtered_sender_is_left_out_of_broadcast_from),
        SERVER_CASE(a_leave_takes_what_was_broadcast_before_it_through_the_filter),
        SERVER_CASE(a_filter_that_publishes_for_ever_stops_nobody_else),
        SERVER_CASE(what_a_sent_hook_emits_goes_out_at_once),
        SERVER_CASE(a_connections_id_never_comes_back_on_another_server),
        SERVER_CASE(visitors_never_exceed_their_limit),
        SERVER_CASE(a_client_that_resets_does_not_raise_sigpipe),
        SERVER_CASE(a_long_query_is_read_whole_and_again),
        SERVER_CASE(who_waits_for_authorization_at_the_stop_is_answered),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
