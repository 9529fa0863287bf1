/* SPDX-License-Identifier: MIT */
/* What is promised about order and delivery, between several clients on two workers: who hears a
 * message, and after which others. */
#define _GNU_SOURCE 1
#include "test/server.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define BURST 1000

/* ---- the channels of these cases ---- */

/* Sends in all three ways before the join is answered. */
static hub_status_t on_join_eager(hub_member_t *me, const hub_message_t *msg)
{
    hub_status_t err = hub_member_push(me, HUB_STR("pushed"), HUB_JSON("1"));

    if (err == HUB_OK)
        err = hub_member_broadcast(me, HUB_STR("broadcast"), HUB_JSON("2"));
    if (err == HUB_OK)
        err = hub_publish(hub_member_hub(me), msg->topic, HUB_STR("published"), HUB_JSON("3"));
    return err;
}

static hub_status_t on_join_publish(hub_member_t *me, const hub_message_t *msg)
{
    return hub_publish(hub_member_hub(me), msg->topic, HUB_STR("published"), HUB_JSON("1"));
}

static hub_token_t join_token; /* written before the note that tells of it */

static hub_status_t on_join_later(hub_member_t *me, const hub_message_t *msg)
{
    (void)msg;
    (void)hub_member_defer(me, &join_token);
    server_note("deferred");
    return HUB_PENDING;
}

static void on_exit_note(hub_member_t *me, hub_exit_t why)
{
    server_note("exit %.*s %s", HUB_STR_ARG(hub_member_topic(me)),
                why == HUB_EXIT_DISCONNECT ? "disconnect" : "otherwise");
}

static hub_status_t on_say(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_broadcast(me, msg->event, msg->payload);
}

static hub_status_t on_whisper(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_broadcast_from(me, msg->event, msg->payload);
}

static hub_status_t on_mirror(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_reply(me, msg, msg->payload);
}

/* emit, publish, emit, publish: the order of the calls must stand. */
static hub_status_t on_mix(hub_member_t *me, const hub_message_t *msg)
{
    hub_t *hub = hub_member_hub(me);

    if (hub_emit(hub, msg->topic, HUB_STR("n"), HUB_JSON("1")) != HUB_OK ||
        hub_publish(hub, msg->topic, HUB_STR("n"), HUB_JSON("2")) != HUB_OK ||
        hub_emit(hub, msg->topic, HUB_STR("n"), HUB_JSON("3")) != HUB_OK ||
        hub_emit(hub, msg->topic, HUB_STR("n"), HUB_JSON("4")) != HUB_OK)
        return HUB_EINTERNAL;
    return hub_publish(hub, msg->topic, HUB_STR("n"), HUB_JSON("5"));
}

static const hub_event_handler_t events[] = {
    {"say", on_say}, {"whisper", on_whisper},        {"mirror", on_mirror},
    {"mix", on_mix}, {"where", server_reply_thread}, {NULL, NULL}};

static server_t *chat(unsigned threads)
{
    const hub_channel_options_t channels[] = {
        {.pattern = "room:{id}", .on_exit = on_exit_note, .events = events},
        {.pattern = "eager:{id}", .on_join = on_join_eager},
        {.pattern = "hello:{id}", .on_join = on_join_publish},
        {.pattern = "late:{id}", .on_join = on_join_later, .events = events},
    };
    server_t *server = server_create_with(&(hub_server_options_t){.threads = threads}, NULL);

    for (size_t i = 0; i < sizeof(channels) / sizeof(channels[0]); i++)
        server_channel(server, &channels[i]);
    server_mount(server, &(hub_endpoint_options_t){.limits = {SERVER_UNHURRIED}});
    server_start(server);
    return server;
}

/* ---- who hears a message ---- */

static void a_broadcast_reaches_members_on_every_worker_and_nobody_else(void **state)
{
    server_t *s = chat(2);
    client_t *left, *right, *other = server_client(s, "/socket");

    (void)state;
    server_client_pair(s, "/socket", "room:1", "where", &left, &right);
    client_join(other, "room:2", "'1'");
    client_say(left, "room:1", "say", "{'n':1}", NULL);
    client_expect_event(left, "room:1", "say", "{'n':1}");
    client_expect_event(right, "room:1", "say", "{'n':1}");
    client_say(right, "room:1", "say", "{'n':2}", NULL);
    client_expect_event(left, "room:1", "say", "{'n':2}");
    client_expect_event(right, "room:1", "say", "{'n':2}");
    client_expect_quiet(other);
}

static void clients_of_every_wire_format_hear_each_other(void **state)
{
    server_t *s = chat(2);
    client_t *native = server_client(s, "/socket");
    client_t *one = server_client(s, "/socket?vsn=1.0.0");
    client_t *two = server_client(s, "/socket?vsn=2.0.0");

    (void)state;
    client_join(native, "room:1", "'1'");
    client_json(one, "{'topic':'room:1','event':'phx_join','payload':{},'ref':'1'}");
    (void)client_expect_frame(one, CLIENT_TEXT);
    client_json(two, "['1','1','room:1','phx_join',{}]");
    (void)client_expect_frame(two, CLIENT_TEXT);
    client_json(two, "['1','2','room:1','say',{'n':1}]");
    client_expect_json(two, "[null,null,'room:1','say',{'n':1}]");
    client_expect_json(one, "{'topic':'room:1','event':'say','payload':{'n':1},'ref':null}");
    client_expect_event(native, "room:1", "say", "{'n':1}");
}

static void broadcast_from_leaves_the_sender_out(void **state)
{
    server_t *s = chat(2);
    client_t *left, *right, *third = server_client(s, "/socket");

    (void)state;
    server_client_pair(s, "/socket", "room:1", "where", &left, &right);
    client_join(third, "room:1", "'1'");
    client_say(left, "room:1", "whisper", "1", NULL);
    client_expect_quiet(left);
    client_expect_event(right, "room:1", "whisper", "1");
    client_expect_event(third, "room:1", "whisper", "1");
    client_expect_quiet(left);
}

static void a_dead_member_does_not_keep_the_others_from_hearing(void **state)
{
    server_t *s = chat(2);
    client_t *left, *right, *dead = server_client(s, "/socket");

    (void)state;
    server_client_pair(s, "/socket", "room:1", "where", &left, &right);
    client_join(dead, "room:1", "'1'");
    server_drop_client(s, dead, client_abort);
    client_say(left, "room:1", "say", "1", NULL);
    client_expect_event(left, "room:1", "say", "1");
    client_expect_event(right, "room:1", "say", "1");
    server_skip_to_note("exit room:1 disconnect");
    SERVER_EXPECT_STAT(s, members, 2);
}

static void a_publish_to_nobody_is_no_error(void **state)
{
    server_t *s = chat(2);

    (void)state;
    assert_int_equal(hub_publish(s->hub, HUB_STR("room:1"), HUB_STR("say"), HUB_JSON("1")), HUB_OK);
    assert_int_equal(hub_publish(s->hub, HUB_STR("nowhere"), HUB_STR("say"), HUB_JSON("1")),
                     HUB_OK);
}

static void a_publish_of_bad_json_is_an_error_and_reaches_nobody(void **state)
{
    server_t *s = chat(2);
    client_t *c = server_client(s, "/socket");

    (void)state;
    client_join(c, "room:1", "'1'");
    assert_int_equal(hub_publish(s->hub, HUB_STR("room:1"), HUB_STR("say"), HUB_JSON("{},{}")),
                     HUB_EPAYLOAD);
    assert_int_equal(hub_publish(s->hub, HUB_STR(""), HUB_STR("say"), HUB_JSON("{}")), HUB_ETOPIC);
    client_expect_quiet(c);
}

/* ---- after which others ---- */

/* Expects the events of a burst, answers in between left aside. */
static void expect_burst(client_t *client, const char *event)
{
    char wanted[64];

    for (int i = 0; i < BURST; i++) {
        snprintf(wanted, sizeof(wanted), "\"event\":\"%s\",\"payload\":%d}", event, i);
        if (strstr(client_expect_frame(client, CLIENT_TEXT).base, wanted) == NULL)
            fail_msg("message %d is not the next one", i);
    }
}

static void a_thousand_messages_of_one_client_arrive_everywhere_in_order(void **state)
{
    static char burst[BURST * 100];
    server_t *s = chat(2);
    client_t *left, *right;
    size_t len = 0;

    (void)state;
    server_client_pair(s, "/socket", "room:1", "where", &left, &right);
    for (int i = 0; i < BURST; i++) {
        char json[80];
        int json_len = snprintf(json, sizeof(json),
                                "{\"topic\":\"room:1\",\"event\":\"say\",\"payload\":%d}", i);

        len += client_frame_write(burst + len, CLIENT_TEXT, hub_str_n(json, (size_t)json_len));
    }
    client_send(left, hub_str_n(burst, len));
    expect_burst(right, "say");
    expect_burst(left, "say");
}

static void a_thousand_messages_of_one_thread_arrive_everywhere_in_order(void **state)
{
    server_t *s = chat(2);
    client_t *left, *right;
    char number[16];

    (void)state;
    server_client_pair(s, "/socket", "room:1", "where", &left, &right);
    for (int i = 0; i < BURST; i++) {
        snprintf(number, sizeof(number), "%d", i);
        assert_int_equal(
            hub_publish(s->hub, HUB_STR("room:1"), HUB_STR("tick"), hub_json(hub_str(number))),
            HUB_OK);
    }
    expect_burst(left, "tick");
    expect_burst(right, "tick");
}

static void emit_and_publish_keep_the_order_of_the_calls(void **state)
{
    server_t *s = chat(2);
    client_t *both[2];
    const char *const payloads[] = {"1", "2", "3", "4", "5"};

    (void)state;
    server_client_pair(s, "/socket", "room:1", "where", &both[0], &both[1]);
    client_say(both[0], "room:1", "mix", "{}", NULL);
    for (size_t i = 0; i < 10; i++)
        client_expect_event(both[i / 5], "room:1", "n", payloads[i % 5]);
}

static void what_is_sent_inside_on_join_arrives_after_the_reply(void **state)
{
    client_t *c = server_client(chat(1), "/socket");

    (void)state;
    client_join(c, "eager:1", "'1'");
    client_expect_push(c, "eager:1", "pushed", "1", "'1'");
    client_expect_event(c, "eager:1", "broadcast", "2");
    client_expect_event(c, "eager:1", "published", "3");
    client_expect_quiet(c);
}

static void what_is_published_inside_on_join_reaches_its_client_too(void **state)
{
    client_t *c = server_client(chat(1), "/socket");

    (void)state;
    client_join(c, "hello:1", "'1'");
    client_expect_event(c, "hello:1", "published", "1");
}

/* Publishes to room:1 until told to stop. */
struct flood {
    hub_t *hub;
    atomic_bool stop;
    pthread_t thread;
};

static void *flood_run(void *arg)
{
    struct flood *flood = arg;

    /* in small bursts, so that the client is kept busy but never past its outbox */
    while (!atomic_load(&flood->stop)) {
        for (int i = 0; i < 16; i++)
            (void)!hub_publish(flood->hub, HUB_STR("room:1"), HUB_STR("flood"), HUB_JSON("0"));
        poll(NULL, 0, 1);
    }
    return NULL;
}

static void flood_start(struct flood *flood, hub_t *hub)
{
    flood->hub = hub;
    atomic_store(&flood->stop, false);
    assert_int_equal(pthread_create(&flood->thread, NULL, flood_run, flood), 0);
}

static void flood_stop(struct flood *flood)
{
    atomic_store(&flood->stop, true);
    pthread_join(flood->thread, NULL);
}

/* Reads up to the reply to `ref`; the number of other frames before it. */
static size_t frames_before_reply(client_t *client, const char *ref)
{
    char wanted[40];
    size_t count = 0;

    snprintf(wanted, sizeof(wanted), "\"ref\":\"%s\"", ref);
    while (strstr(client_expect_frame(client, CLIENT_TEXT).base, wanted) == NULL)
        count++;
    return count;
}

static void nothing_of_a_topic_arrives_before_its_join_reply_or_after_its_leave_reply(void **state)
{
    server_t *s = chat(2);
    client_t *c = server_client(s, "/socket");
    struct flood flood;
    size_t early = 0, late = 0;

    (void)state;
    flood_start(&flood, s->hub);
    for (int i = 0; i < 20; i++) {
        client_say(c, "room:1", "join", "{}", "'j'");
        early += frames_before_reply(c, "j");
        client_say(c, "room:1", "leave", "{}", "'l'");
        (void)frames_before_reply(c, "l");
        client_say(c, "hub", "heartbeat", "{}", "'h'");
        late += frames_before_reply(c, "h");
    }
    flood_stop(&flood);
    assert_int_equal(early, 0);
    assert_int_equal(late, 0);
}

static void what_is_published_while_a_join_is_pending_arrives_after_its_reply(void **state)
{
    server_t *s = chat(2);
    client_t *c = server_client(s, "/socket");

    (void)state;
    client_say(c, "late:1", "join", "{}", "'1'");
    server_expect_note("deferred");
    assert_int_equal(hub_publish(s->hub, HUB_STR("late:1"), HUB_STR("n"), HUB_JSON("1")), HUB_OK);
    client_expect_quiet(c);
    assert_int_equal(hub_join_accept(s->hub, &join_token, HUB_JSON("{}")), HUB_OK);
    frames_before_reply(c, "1");
    assert_int_equal(hub_publish(s->hub, HUB_STR("late:1"), HUB_STR("n"), HUB_JSON("2")), HUB_OK);
    /* the first may have come or not, but after the reply and before the second */
    if (strstr(client_expect_frame(c, CLIENT_TEXT).base, "\"payload\":1") != NULL)
        client_expect_event(c, "late:1", "n", "2");
}

static void frames_of_a_pending_topic_wait_in_order_and_other_topics_go_on(void **state)
{
    server_t *s = chat(1);
    client_t *c = server_client(s, "/socket");

    (void)state;
    client_say(c, "late:1", "join", "{}", "'1'");
    client_say(c, "late:1", "mirror", "1", "'2'");
    client_say(c, "late:1", "mirror", "2", "'3'");
    client_join(c, "room:1", "'4'");
    server_expect_note("deferred");
    assert_int_equal(hub_join_accept(s->hub, &join_token, HUB_JSON("{}")), HUB_OK);
    assert_int_equal(frames_before_reply(c, "1"), 0);
    client_expect_ok(c, "late:1", "'2'", "1");
    client_expect_ok(c, "late:1", "'3'", "2");
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        SERVER_CASE(a_broadcast_reaches_members_on_every_worker_and_nobody_else),
        SERVER_CASE(clients_of_every_wire_format_hear_each_other),
        SERVER_CASE(broadcast_from_leaves_the_sender_out),
        SERVER_CASE(a_dead_member_does_not_keep_the_others_from_hearing),
        SERVER_CASE(a_publish_to_nobody_is_no_error),
        SERVER_CASE(a_publish_of_bad_json_is_an_error_and_reaches_nobody),
        SERVER_CASE(a_thousand_messages_of_one_client_arrive_everywhere_in_order),
        SERVER_CASE(a_thousand_messages_of_one_thread_arrive_everywhere_in_order),
        SERVER_CASE(emit_and_publish_keep_the_order_of_the_calls),
        SERVER_CASE(what_is_sent_inside_on_join_arrives_after_the_reply),
        SERVER_CASE(what_is_published_inside_on_join_reaches_its_client_too),
        SERVER_CASE(nothing_of_a_topic_arrives_before_its_join_reply_or_after_its_leave_reply),
        SERVER_CASE(what_is_published_while_a_join_is_pending_arrives_after_its_reply),
        SERVER_CASE(frames_of_a_pending_topic_wait_in_order_and_other_topics_go_on),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
