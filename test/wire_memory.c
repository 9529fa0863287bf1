/* SPDX-License-Identifier: MIT */
/* A server whose peers want more memory than it has to give: who is refused, whose queue goes, and
 * that it is over when it is over. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test/server.h"

#define UNFINISHED 60000 /* bytes of a message that nobody finishes */

static hub_status_t note_disconnect(const hub_hook_event_t *event, void *user)
{
    (void)user;
    server_note("closed %s", hub_disconnect_reason_name(event->reason));
    return HUB_OK;
}

static server_t *serve_with(const hub_server_limits_t *limits, const hub_options_t *hub_options)
{
    const hub_limits_t roomy = {.message_bytes = 1000000, .outbox_bytes = 16777216};
    server_t *s = server_create_with(&(hub_server_options_t){.limits = *limits}, hub_options);

    server_channel(s, &(hub_channel_options_t){.pattern = "{id}"});
    server_hook(s, HUB_HOOK_DISCONNECT, note_disconnect);
    server_mount(s, &(hub_endpoint_options_t){.limits = roomy, .longpoll = true});
    server_start(s);
    return s;
}

static server_t *serve(size_t budget, size_t queued)
{
    return serve_with(&(hub_server_limits_t){.memory_budget_bytes = budget, .queued_bytes = queued},
                      NULL);
}

/* A fragment of so many bytes, behind which others may come. */
static void begin_message(client_t *client, size_t bytes)
{
    static char payload[2 * UNFINISHED];

    memset(payload, 'x', sizeof(payload));
    client_frame(client, CLIENT_TEXT & ~CLIENT_FIN, hub_str_n(payload, bytes));
}

static void client_expect_pong(client_t *client)
{
    client_frame(client, CLIENT_PING, HUB_STR("p"));
    client_expect_message(client, CLIENT_PONG, HUB_STR("p"));
}

static client_response_t ask_upgrade(server_t *s, int status)
{
    client_t *client = server_connect(s);

    client_send_text(client, client_upgrade_text("/socket", ""));
    return client_expect_response(client, status);
}

/* ---- the budget ---- */

static void nobody_new_is_let_in_while_memory_is_tight(void **state)
{
    server_t *s = serve(1000000, HUB_OFF);
    client_t *member = server_client(s, "/socket"), *holders[14], *poll;
    client_response_t response;

    (void)state;
    client_join(member, "t0", "'1'");
    for (unsigned i = 0; i != 14; i++) /* 84 % */
        holders[i] = server_client(s, "/socket");
    for (unsigned i = 0; i != 14; i++)
        begin_message(holders[i], UNFINISHED);
    SERVER_EXPECT_STAT_AT_LEAST(s, memory_bytes, 800000);
    response = ask_upgrade(s, 503);
    assert_non_null(client_header(&response, "retry-after").base);
    poll = server_connect(s);
    client_request(poll, "GET", "/socket/longpoll", "");
    (void)client_expect_response(poll, 503);
    client_say(member, "t1", "join", "{}", "'2'");
    client_expect_error(member, "t1", "'2'", "busy");
    SERVER_EXPECT_STAT(s, memory_refused_total, 3);
    server_expect_log("server.memory", "level=tight");
    for (unsigned i = 0; i != 3; i++)
        server_drop_client(s, holders[i], client_abort);
    SERVER_EXPECT_STAT(s, conns, 12);
    client_join(member, "t1", "'3'");
    (void)server_client(s, "/socket");
    server_expect_log("server.memory", "level=easy");
    SERVER_EXPECT_STAT(s, memory_shed_total, 0);
}

/* Messages that the program keeps are in no worker's account, and it lets go of them unseen. */
static void it_is_over_when_the_program_lets_go_of_its_messages(void **state)
{
    static char json[820000];
    server_t *s = serve(1000000, HUB_OFF);
    client_t *member = server_client(s, "/socket");
    hub_message_options_t options = {.payload_is_valid = true};
    hub_message_t *held;

    (void)state;
    memset(json, 'x', sizeof(json));
    json[0] = json[sizeof(json) - 1] = '"';
    client_join(member, "t0", "'1'");
    assert_int_equal(hub_message_create(HUB_STR("t0"), HUB_STR("e"),
                                        hub_json(hub_str_n(json, sizeof(json))), &options, &held,
                                        NULL),
                     HUB_OK);
    begin_message(server_client(s, "/socket"), 30000);
    client_expect_pong(s->clients[1]);
    client_say(member, "t1", "join", "{}", "'2'");
    client_expect_error(member, "t1", "'2'", "busy");
    hub_message_release(held);
    client_expect_pong(member);
    client_join(member, "t1", "'3'");
}

/* Of what has begun and does not end, the longest goes. */
static void the_largest_goes_when_memory_is_short(void **state)
{
    server_t *s = serve(1000000, HUB_OFF);
    client_t *others[13], *largest;

    (void)state;
    for (unsigned i = 0; i != 13; i++) /* 78 %, and nobody is refused yet */
        others[i] = server_client(s, "/socket");
    largest = server_client(s, "/socket");
    for (unsigned i = 0; i != 13; i++)
        begin_message(others[i], UNFINISHED);
    SERVER_EXPECT_STAT_AT_LEAST(s, memory_bytes, 13 * UNFINISHED);
    begin_message(largest, 2 * UNFINISHED);
    server_expect_note("closed slow");
    assert_true(
        hub_str_equals(client_expect_close(largest, 4008), HUB_STR("server is short of memory")));
    for (unsigned i = 0; i != 13; i++)
        client_expect_pong(others[i]);
    SERVER_EXPECT_STAT(s, memory_shed_total, 1);
}

/* ---- queues ---- */

/* A member that does not read, in a topic of its own. */
static client_t *sleeper(server_t *s, const char *topic)
{
    client_t *client = server_keep_client(s, client_connect(s->address, 4096));

    client_send_text(client, client_upgrade_text("/socket", ""));
    client_expect_upgraded(client);
    client_join(client, topic, "'s'");
    return client;
}

static void publish_blobs(server_t *s, const char *topic, unsigned count)
{
    static char json[100000];
    uint64_t before = SERVER_STAT(s, publishes_total);

    memset(json, 'x', sizeof(json));
    json[0] = json[sizeof(json) - 1] = '"';
    for (unsigned i = 0; i != count && SERVER_STAT(s, memory_shed_total) == 0; i++) {
        assert_int_equal(hub_publish(s->hub, hub_str(topic), HUB_STR("b"),
                                     hub_json(hub_str_n(json, sizeof(json)))),
                         HUB_OK);
        SERVER_EXPECT_STAT_AT_LEAST(s, publishes_total, before + i + 1);
    }
}

static void the_largest_queue_goes_where_queues_are_too_much(void **state)
{
    server_t *s = serve(HUB_OFF, 3000000);
    client_t *little = sleeper(s, "little"), *much = sleeper(s, "much");

    (void)state;
    publish_blobs(s, "little", 8);
    publish_blobs(s, "much", 100);
    server_expect_note("closed slow");
    (void)client_drain_to_close(much, 4008);
    SERVER_EXPECT_STAT(s, memory_shed_total, 1);
    SERVER_EXPECT_STAT(s, conns, 1);
    server_expect_log("server.memory", "level=short");
    for (unsigned i = 0; i != 8; i++)
        (void)client_expect_frame(little, CLIENT_TEXT);
    client_expect_quiet(little);
    server_expect_no_note();
}

static void what_many_wait_for_counts_once(void **state)
{
    server_t *s = serve(HUB_OFF, 3000000);

    (void)state;
    for (unsigned i = 0; i != 6; i++)
        (void)sleeper(s, "all");
    publish_blobs(s, "all", 15); /* 1.5 MB shared by six; 9 MB in their queues */
    SERVER_EXPECT_STAT_AT_LEAST(s, memory_queued_bytes, 1);
    assert_true(SERVER_STAT(s, memory_queued_bytes) < 3000000);
    for (unsigned i = 0; i != 6; i++) {
        for (unsigned j = 0; j != 15; j++)
            (void)client_expect_frame(s->clients[i], CLIENT_TEXT);
        client_expect_quiet(s->clients[i]);
    }
    SERVER_EXPECT_STAT(s, memory_shed_total, 0);
}

/* ---- of one hub ---- */

static void a_hub_has_as_many_topics_as_it_says(void **state)
{
    server_t *s = serve_with(&(hub_server_limits_t){0}, &(hub_options_t){.topics_max = 2});
    client_t *a = server_client(s, "/socket"), *b = server_client(s, "/socket");

    (void)state;
    client_join(a, "t1", "'1'");
    client_join(a, "t2", "'2'");
    client_say(a, "t3", "join", "{}", "'3'");
    client_expect_error(a, "t3", "'3'", "busy");
    client_join(b, "t1", "'4'"); /* it is there */
    client_say(a, "t2", "leave", "{}", "'5'");
    client_expect_ok(a, "t2", "'5'", "{'topic':'t2'}");
    client_join(b, "t3", "'6'");
}

static void a_hub_has_as_many_connections_as_it_says(void **state)
{
    server_t *s = serve_with(&(hub_server_limits_t){0}, &(hub_options_t){.conns_max = 2});
    client_t *a = server_client(s, "/socket"), *b = server_client(s, "/socket");

    (void)state;
    (void)ask_upgrade(s, 503);
    server_drop_client(s, a, client_destroy);
    SERVER_EXPECT_STAT(s, conns, 1);
    (void)server_client(s, "/socket");
    (void)ask_upgrade(s, 503);
    client_expect_quiet(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVER_CASE(nobody_new_is_let_in_while_memory_is_tight),
        SERVER_CASE(it_is_over_when_the_program_lets_go_of_its_messages),
        SERVER_CASE(the_largest_goes_when_memory_is_short),
        SERVER_CASE(the_largest_queue_goes_where_queues_are_too_much),
        SERVER_CASE(what_many_wait_for_counts_once),
        SERVER_CASE(a_hub_has_as_many_topics_as_it_says),
        SERVER_CASE(a_hub_has_as_many_connections_as_it_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
