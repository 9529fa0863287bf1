/* SPDX-License-Identifier: MIT */
/* How much a client may say, as it meets it on the wire: messages, joins and control frames past
 * their rates, bytes that wait, connections of one identity, and one that never joins. The
 * arithmetic is in test_rate.c; here a burst is small and refilled slowly, or the other way round.
 */
#define _GNU_SOURCE 1
#include "test/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "hub/rate.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define SLOW_MS 30000 /* no case takes so long */

/* Unless it is 0, each refusal is so much later than the last one, however long that took. */
static atomic_ulong skew_ms, skewed_ms;

hub__over_verdict_t __real_hub__over_add(hub__over_t *over, uint64_t now_ms);
hub__over_verdict_t __wrap_hub__over_add(hub__over_t *over, uint64_t now_ms);

hub__over_verdict_t __wrap_hub__over_add(hub__over_t *over, uint64_t now_ms)
{
    uint64_t skew = atomic_load(&skew_ms);

    return __real_hub__over_add(over,
                                skew == 0 ? now_ms : atomic_fetch_add(&skewed_ms, skew) + skew);
}

/* ---- the server of these cases ---- */

static hub_status_t on_echo(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_reply(me, msg, msg->payload);
}

static hub_status_t on_join_later(hub_member_t *me, const hub_message_t *msg)
{
    (void)me, (void)msg;
    return HUB_PENDING;
}

static hub_status_t on_raw(hub_conn_t *conn, hub_str_t bytes, bool binary, void *user)
{
    (void)user;
    return hub_conn_send(conn, bytes, binary);
}

static hub_status_t note_disconnect(const hub_hook_event_t *event, void *user)
{
    (void)user;
    server_note("closed %s", hub_disconnect_reason_name(event->reason));
    return HUB_OK;
}

/* ?user= becomes the identity. */
static hub_status_t on_authorize(hub_request_t *request, void *user)
{
    (void)user;
    hub_request_grant(request, &(hub_grant_t){.identity = hub_request_query(request, "user")});
    return HUB_OK;
}

static server_t *limited_on(unsigned threads, const hub_limits_t *limits)
{
    server_t *server = server_create_with(&(hub_server_options_t){.threads = threads}, NULL);
    hub_raw_options_t raw = {.on_message = on_raw,
                             .endpoint = {.on_authorize = on_authorize, .limits = *limits}};

    atomic_store(&skew_ms, 0);
    atomic_store(&skewed_ms, 0);
    server_channel(server, &(hub_channel_options_t){.pattern = "t{id}", .on_receive = on_echo});
    server_channel(server, &(hub_channel_options_t){.pattern = "later",
                                                    .on_join = on_join_later,
                                                    .join_timeout_ms = SLOW_MS});
    server_hook(server, HUB_HOOK_DISCONNECT, note_disconnect);
    server_mount(server, &(hub_endpoint_options_t){
                             .on_authorize = on_authorize, .limits = *limits, .longpoll = true});
    assert_int_equal(hub_server_websocket(server->server, "/raw", &raw), HUB_OK);
    server_start(server);
    return server;
}

static server_t *limited(const hub_limits_t *limits)
{
    return limited_on(1, limits);
}

/* An error reply for its rate; returns when to try again. */
static int expect_rate(client_t *client, const char *ref)
{
    char start[30];
    hub_str_t text = client_expect_frame(client, CLIENT_TEXT);
    const char *retry = strstr(text.base, "\"retry_ms\":"), *ref_at;

    snprintf(start, sizeof(start), "\"ref\":%s", ref);
    ref_at = strstr(text.base, start);
    if (ref_at == NULL || strchr(",}", ref_at[strlen(start)]) == NULL ||
        strstr(text.base, "\"code\":\"rate\"") == NULL || retry == NULL)
        fail_msg("expected a refusal of %s for its rate, got %s", ref, text.base);
    return atoi(retry + strlen("\"retry_ms\":"));
}

/* ---- messages ---- */

static void the_message_past_the_burst_is_an_error_with_the_time_to_wait(void **state)
{
    server_t *s = limited(&(hub_limits_t){.messages_per_s = 1, .messages_burst = 3});
    client_t *c = server_client(s, "/socket");

    (void)state;
    client_join(c, "t1", "1");
    client_say(c, "t1", "x", "2", "2");
    client_expect_ok(c, "t1", "2", "2");
    client_say(c, "t1", "x", "3", "3");
    client_expect_ok(c, "t1", "3", "3");
    client_say(c, "t1", "x", "4", "4");
    assert_in_range(expect_rate(c, "4"), 1, 1000);
    client_say(c, "t1", "x", "5", "5");
    (void)expect_rate(c, "5");
    SERVER_EXPECT_STAT(s, rate_messages_refused_total, 2);
    SERVER_EXPECT_STAT(s, messages_in_total, 5);
    server_expect_log("conn.over_rate", "what=messages");
    assert_int_equal(SERVER_STAT(s, closed_limit_total), 0);
}

static void who_waits_for_so_long_is_heard_again(void **state)
{
    server_t *s = limited(&(hub_limits_t){.messages_per_s = 50, .messages_burst = 1});
    client_t *c = server_client(s, "/socket");
    bool refused = false;

    (void)state;
    for (int tries = 0; tries < 100000; tries++) {
        hub_str_t text;

        client_say(c, "hub", "heartbeat", "{}", "1");
        text = client_expect_frame(c, CLIENT_TEXT);
        if (refused && strstr(text.base, "\"status\":\"ok\"") != NULL)
            return;
        refused |= strstr(text.base, "\"code\":\"rate\"") != NULL;
    }
    fail_msg("refused %d times and never heard again", 100000);
}

/* So many heartbeats with one ref, and a last one with another, before time goes by. */
static void say_at_once(client_t *client, size_t count, const char *ref, const char *last_ref)
{
    static char bytes[32768];
    size_t len = 0;

    for (size_t i = 0; i <= count; i++) {
        char json[100];
        int json_len =
            snprintf(json, sizeof(json), "{\"topic\":\"hub\",\"event\":\"heartbeat\",\"ref\":%s}",
                     i < count ? ref : last_ref);

        assert_true(len + (size_t)json_len + 14 <= sizeof(bytes));
        len += client_frame_write(bytes + len, CLIENT_TEXT, hub_str_n(json, (size_t)json_len));
    }
    client_send(client, hub_str_n(bytes, len));
}

static void who_goes_on_for_five_seconds_is_closed_1008(void **state)
{
    server_t *s = limited(&(hub_limits_t){.messages_per_s = 1, .messages_burst = 1});
    client_t *c = server_client(s, "/socket");

    (void)state;
    atomic_store(&skew_ms, 900);
    say_at_once(c, 7, "1", "7");
    client_expect_ok(c, "hub", "1", "{}");
    for (int i = 1; i < 7; i++)
        (void)expect_rate(c, "1");
    (void)expect_rate(c, "7"); /* 5.4 s after the first that was refused */
    (void)client_expect_close(c, 1008);
    server_expect_note("closed limit");
}

static void who_pauses_in_between_is_not_closed(void **state)
{
    server_t *s = limited(&(hub_limits_t){.messages_per_s = 1, .messages_burst = 1});
    client_t *c = server_client(s, "/socket");

    (void)state;
    atomic_store(&skew_ms, 1100);
    say_at_once(c, 10, "1", "2");
    client_expect_ok(c, "hub", "1", "{}");
    for (int i = 1; i < 10; i++)
        (void)expect_rate(c, "1");
    (void)expect_rate(c, "2");
    server_expect_no_note();
}

static void a_raw_route_which_cannot_tell_closes_1008(void **state)
{
    server_t *s = limited(&(hub_limits_t){.messages_per_s = 1, .messages_burst = 3});
    client_t *c = server_client(s, "/raw");

    (void)state;
    for (int i = 0; i < 3; i++) {
        client_frame(c, CLIENT_TEXT, HUB_STR("hello"));
        client_expect_text(c, "hello");
    }
    client_frame(c, CLIENT_TEXT, HUB_STR("hello"));
    (void)client_expect_close(c, 1008);
    SERVER_EXPECT_STAT(s, rate_messages_refused_total, 1);
    SERVER_EXPECT_STAT(s, closed_limit_total, 1);
}

static void the_default_burst_is_two_hundred_messages(void **state)
{
    server_t *s = limited(&(hub_limits_t){.messages_per_s = 1});
    client_t *c = server_client(s, "/socket");

    (void)state;
    say_at_once(c, 200, "1", "2");
    for (int i = 0; i < 200; i++)
        client_expect_ok(c, "hub", "1", "{}");
    (void)expect_rate(c, "2");
}

/* ---- joins ---- */

static void the_join_past_the_burst_is_an_error_and_the_topics_stay(void **state)
{
    server_t *s = limited(&(hub_limits_t){.joins_per_s = 1, .joins_burst = 2});
    client_t *c = server_client(s, "/socket");

    (void)state;
    client_join(c, "t1", "1");
    client_join(c, "t2", "2");
    client_say(c, "t3", "join", "{}", "3");
    assert_in_range(expect_rate(c, "3"), 1, 1000);
    client_say(c, "t1", "x", "4", "4");
    client_expect_ok(c, "t1", "4", "4");
    SERVER_EXPECT_STAT(s, rate_joins_refused_total, 1);
    SERVER_EXPECT_STAT(s, joins_refused_total, 1);
    server_expect_log("conn.over_rate", "what=joins");
}

static void joins_past_the_rate_for_long_do_not_close(void **state)
{
    server_t *s = limited(&(hub_limits_t){.joins_per_s = 1, .joins_burst = 1});
    client_t *c = server_client(s, "/socket");

    (void)state;
    client_join(c, "t1", "1");
    atomic_store(&skew_ms, 900);
    for (int i = 0; i < 20; i++) {
        client_say(c, "t2", "join", "{}", "2");
        (void)expect_rate(c, "2");
    }
    SERVER_EXPECT_STAT(s, rate_joins_refused_total, 20);
    server_expect_no_note();
}

/* ---- control frames ---- */

static void one_control_frame_too_many_is_closed_1008(void **state)
{
    server_t *s = limited(&(hub_limits_t){.controls_per_s = 1, .controls_burst = 3});
    client_t *c = server_client(s, "/socket");

    (void)state;
    client_frame(c, CLIENT_PING, HUB_STR("1"));
    client_expect_message(c, CLIENT_PONG, HUB_STR("1"));
    client_frame(c, CLIENT_PONG, HUB_STR("")); /* one that nobody asked for */
    client_frame(c, CLIENT_PING, HUB_STR("2"));
    client_expect_message(c, CLIENT_PONG, HUB_STR("2"));
    client_frame(c, CLIENT_PING, HUB_STR("3"));
    (void)client_expect_close(c, 1008);
    server_expect_note("closed limit");
    SERVER_EXPECT_STAT(s, rate_controls_closed_total, 1);
    server_expect_log("conn.over_rate", "what=controls");
}

static void the_default_burst_is_twenty_control_frames_each_answered(void **state)
{
    server_t *s = limited(&(hub_limits_t){.controls_per_s = 1});
    client_t *c = server_client(s, "/socket");
    char pings[21 * 7];
    size_t len = 0;

    (void)state;
    for (int i = 0; i < 20; i++)
        len +=
            client_frame_write(pings + len, CLIENT_PING, hub_str_n(&"abcdefghijklmnopqrst"[i], 1));
    client_send(c, hub_str_n(pings, len));
    for (int i = 0; i < 20; i++)
        client_expect_message(c, CLIENT_PONG, hub_str_n(&"abcdefghijklmnopqrst"[i], 1));
    client_frame(c, CLIENT_PING, HUB_STR(""));
    (void)client_expect_close(c, 1008);
}

static void a_pong_that_was_asked_for_costs_nothing(void **state)
{
    server_t *s = limited(&(hub_limits_t){.ping_ms = 10, .controls_per_s = 1, .controls_burst = 1});
    client_t *c = server_client(s, "/socket");

    (void)state;
    for (int i = 0; i < 5; i++)
        client_frame(c, CLIENT_PONG, client_expect_frame(c, CLIENT_PING));
    server_expect_no_note();
}

/* ---- bytes ---- */

static void bytes_past_the_rate_wait_and_are_never_lost(void **state)
{
    enum { MESSAGES = 100, SIZE = 2000 };
    server_t *s = limited(
        &(hub_limits_t){.bytes_per_s = 2000000, .bytes_burst = 10000, .messages_per_s = HUB_OFF});
    client_t *c = server_client(s, "/raw");
    static char body[SIZE], frames[MESSAGES * (SIZE + 14)];
    size_t len = 0;

    (void)state;
    for (int i = 0; i < MESSAGES; i++) {
        memset(body, 'a' + i % 26, SIZE);
        len += client_frame_write(frames + len, CLIENT_TEXT, hub_str_n(body, SIZE));
    }
    client_send(c, hub_str_n(frames, len));
    for (int i = 0; i < MESSAGES; i++) {
        memset(body, 'a' + i % 26, SIZE);
        client_expect_message(c, CLIENT_TEXT, hub_str_n(body, SIZE));
    }
    SERVER_EXPECT_STAT_AT_LEAST(s, read_pauses_total, 2);
    SERVER_EXPECT_STAT(s, bytes_in_total, len);
}

static void bytes_within_the_burst_are_no_reason_to_pause(void **state)
{
    server_t *s = limited(&(hub_limits_t){.bytes_per_s = 5, .bytes_burst = 1000});
    client_t *c = server_client(s, "/raw");
    static char body[1000 - 8];

    (void)state;
    memset(body, 'x', sizeof(body));
    client_frame(c, CLIENT_TEXT, hub_str_n(body, sizeof(body))); /* 8 bytes of a header */
    client_expect_message(c, CLIENT_TEXT, hub_str_n(body, sizeof(body)));
    assert_int_equal(SERVER_STAT(s, read_pauses_total), 0);
    client_frame(c, CLIENT_TEXT, HUB_STR("0123456789"));
    client_expect_text(c, "0123456789");
    SERVER_EXPECT_STAT(s, read_pauses_total, 1);
}

/* It sent its second message in time, and the server did not look. */
static void who_is_not_read_is_not_idle(void **state)
{
    server_t *s = limited(&(hub_limits_t){
        .bytes_per_s = 100000, .bytes_burst = 1000, .idle_ms = 400, .ping_ms = HUB_OFF});
    client_t *c = server_client(s, "/raw");
    static char body[60000]; /* for 590 ms */

    (void)state;
    memset(body, 'x', sizeof(body));
    client_frame(c, CLIENT_TEXT, hub_str_n(body, sizeof(body)));
    client_expect_message(c, CLIENT_TEXT, hub_str_n(body, sizeof(body)));
    client_frame(c, CLIENT_TEXT, HUB_STR("again"));
    client_expect_text(c, "again");
    (void)client_expect_close(c, 1001);
}

static void who_is_not_read_can_be_closed(void **state)
{
    server_t *s = limited(&(hub_limits_t){.bytes_per_s = 1, .bytes_burst = 1, .close_ms = 10000});
    client_t *c = server_client(s, "/socket");

    (void)state;
    client_say(c, "hub", "heartbeat", "{}", "1");
    client_expect_ok(c, "hub", "1", "{}");
    SERVER_EXPECT_STAT(s, read_pauses_total, 1);
    hub_server_stop(s->server);
    (void)client_expect_close(c, 1012);
    client_shutdown(c);
    hub_server_wait(s->server); /* for its FIN, which is read */
    client_expect_eof(c);
}

/* ---- connections of one identity ---- */

static void the_connection_past_the_limit_takes_the_place_of_the_oldest(void **state)
{
    server_t *s = limited(&(hub_limits_t){.conns_per_identity = 2});
    client_t *first = server_client(s, "/socket?user=ann");
    client_t *second = server_client(s, "/socket?user=ann");
    client_t *other = server_client(s, "/socket?user=bob"), *nobody = server_client(s, "/socket");
    client_t *third;

    (void)state;
    client_expect_quiet(first);
    assert_int_equal(SERVER_STAT(s, closed_duplicate_total), 0);
    third = server_client(s, "/socket?user=ann");
    assert_true(hub_str_equals(client_expect_close(first, 4029), HUB_STR("too many connections")));
    server_expect_note("closed duplicate");
    SERVER_EXPECT_STAT(s, closed_duplicate_total, 1);
    server_expect_log("conn.displaced", "conns_per_identity");
    client_expect_quiet(second);
    (void)server_client(s, "/socket?user=ann");
    (void)client_expect_close(second, 4029);
    client_expect_quiet(third);
    client_expect_quiet(other);
    client_expect_quiet(nobody);
}

static void each_endpoint_counts_its_own(void **state)
{
    server_t *s = limited(&(hub_limits_t){.conns_per_identity = 1});
    client_t *hub = server_client(s, "/socket?user=ann");
    client_t *first = server_client(s, "/raw?user=ann"), *second;

    (void)state;
    client_expect_quiet(hub);
    second = server_client(s, "/raw?user=ann");
    (void)client_expect_close(first, 4029);
    client_frame(second, CLIENT_TEXT, HUB_STR("here"));
    client_expect_text(second, "here");
    client_expect_quiet(hub);
}

static void who_has_gone_is_not_counted(void **state)
{
    server_t *s = limited_on(2, &(hub_limits_t){.conns_per_identity = 2});
    client_t *first = server_client(s, "/socket?user=ann");

    (void)state;
    for (int i = 0; i < 20; i++) {
        client_t *next = server_client(s, "/socket?user=ann");

        SERVER_EXPECT_STAT(s, conns, 2);
        server_drop_client(s, next, i % 2 ? client_abort : client_destroy);
        SERVER_EXPECT_STAT(s, conns, 1);
    }
    assert_int_equal(SERVER_STAT(s, closed_duplicate_total), 0);
    client_expect_quiet(first);
}

static void who_displaces_itself_again_and_again_leaves_others_room_in_the_log(void **state)
{
    server_t *s = limited(&(hub_limits_t){.conns_per_identity = 1});

    (void)state;
    server_stop_log_clock();
    for (int i = 0; i != 13; ++i)
        (void)server_client(s, "/socket?user=ann");
    SERVER_EXPECT_STAT(s, closed_duplicate_total, 12);
    assert_int_equal(server_count_log("conn.displaced"), 10);
}

static void connections_without_an_identity_are_as_many_as_they_like(void **state)
{
    server_t *s = limited(&(hub_limits_t){.conns_per_identity = 1});
    client_t *first = server_client(s, "/socket");

    (void)state;
    for (int i = 0; i < 10; i++)
        client_expect_quiet(server_client(s, "/socket"));
    client_expect_quiet(first);
}

static void the_limit_of_an_identity_may_be_switched_off(void **state)
{
    server_t *s = limited(&(hub_limits_t){.conns_per_identity = HUB_OFF});
    client_t *first = server_client(s, "/socket?user=ann");

    (void)state;
    for (int i = 0; i < 40; i++)
        client_expect_quiet(server_client(s, "/socket?user=ann"));
    client_expect_quiet(first);
}

/* All come at once, to workers that know nothing of each other; the kernel picks which. */
static void of_many_at_once_on_all_workers_as_many_stay_as_may(void **state)
{
    enum { MANY = 60, LIMIT = 7 };
    server_t *s = limited_on(4, &(hub_limits_t){.conns_per_identity = LIMIT});
    client_t *clients[MANY];
    size_t alive = 0;

    (void)state;
    for (size_t i = 0; i < MANY; i++) {
        clients[i] = server_connect(s);
        client_send_text(clients[i], client_upgrade_text("/socket?user=ann", ""));
    }
    for (size_t i = 0; i < MANY; i++)
        client_expect_upgraded(clients[i]);
    SERVER_EXPECT_STAT(s, closed_duplicate_total, MANY - LIMIT);
    SERVER_EXPECT_STAT(s, conns, LIMIT);
    for (size_t i = 0; i < MANY; i++) {
        client_frame_t frame;

        client_say(clients[i], "hub", "heartbeat", "{}", "1");
        frame = client_next(clients[i]);
        alive += frame.first == CLIENT_TEXT;
        if (frame.first != CLIENT_TEXT)
            assert_memory_equal(frame.payload.base, "\x0f\xbd", 2); /* 4029 */
    }
    assert_int_equal(alive, LIMIT);
    assert_int_equal(SERVER_STAT(s, closed_duplicate_total), MANY - LIMIT);
}

/* Coming and going at once: whatever the order, nobody is left over in the count. */
static void after_a_storm_the_count_is_right(void **state)
{
    enum { ROUNDS = 10, EACH = 6, LIMIT = 3 };
    server_t *s = limited_on(4, &(hub_limits_t){.conns_per_identity = LIMIT});
    uint64_t displaced;

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        client_t *clients[EACH];

        for (size_t i = 0; i < EACH; i++) {
            clients[i] = server_connect(s);
            client_send_text(clients[i], client_upgrade_text("/socket?user=ann", ""));
        }
        for (size_t i = 0; i < EACH; i++) {
            client_expect_upgraded(clients[i]);
            server_drop_client(s, clients[i], i % 2 ? client_abort : client_destroy);
        }
    }
    SERVER_EXPECT_STAT(s, conns_total, ROUNDS * EACH);
    SERVER_EXPECT_STAT(s, conns, 0);
    displaced = SERVER_STAT(s, closed_duplicate_total);
    for (int i = 0; i < LIMIT; i++)
        client_expect_quiet(server_client(s, "/socket?user=ann"));
    assert_int_equal(SERVER_STAT(s, closed_duplicate_total), displaced);
    (void)server_client(s, "/socket?user=ann");
    SERVER_EXPECT_STAT(s, closed_duplicate_total, displaced + 1);
}

/* ---- who never joins ---- */

static void who_never_joins_is_closed_4001(void **state)
{
    server_t *s = limited(&(hub_limits_t){.unjoined_ms = 500});
    client_t *c = server_client(s, "/socket");

    (void)state;
    client_say(c, "nothing", "join", "{}", "1"); /* to try is not enough */
    client_expect_error(c, "nothing", "1", "topic_not_found");
    assert_true(hub_str_equals(client_expect_close(c, 4001), HUB_STR("stale")));
    server_expect_note("closed stale");
    SERVER_EXPECT_STAT(s, closed_stale_total, 1);
}

/* Others that come later are the proof that its time is over. */
static void who_joined_once_may_stay_without_a_topic(void **state)
{
    server_t *s = limited(&(hub_limits_t){.unjoined_ms = 500});
    client_t *joined = server_client(s, "/socket"), *raw = server_client(s, "/raw");
    client_t *waiting = server_client(s, "/socket"), *stale;

    (void)state;
    client_join(joined, "t1", "1");
    client_say(joined, "t1", "leave", "{}", "2");
    client_expect_ok(joined, "t1", "2", "{'topic':'t1'}");
    client_say(waiting, "later", "join", "{}", "1");
    stale = server_client(s, "/socket");
    (void)client_expect_close(stale, 4001);
    client_expect_quiet(joined);
    client_expect_quiet(waiting);
    client_frame(raw, CLIENT_TEXT, HUB_STR("here"));
    client_expect_text(raw, "here");
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        SERVER_CASE(the_message_past_the_burst_is_an_error_with_the_time_to_wait),
        SERVER_CASE(who_waits_for_so_long_is_heard_again),
        SERVER_CASE(who_goes_on_for_five_seconds_is_closed_1008),
        SERVER_CASE(who_pauses_in_between_is_not_closed),
        SERVER_CASE(a_raw_route_which_cannot_tell_closes_1008),
        SERVER_CASE(the_default_burst_is_two_hundred_messages),
        SERVER_CASE(the_join_past_the_burst_is_an_error_and_the_topics_stay),
        SERVER_CASE(joins_past_the_rate_for_long_do_not_close),
        SERVER_CASE(one_control_frame_too_many_is_closed_1008),
        SERVER_CASE(the_default_burst_is_twenty_control_frames_each_answered),
        SERVER_CASE(a_pong_that_was_asked_for_costs_nothing),
        SERVER_CASE(bytes_past_the_rate_wait_and_are_never_lost),
        SERVER_CASE(bytes_within_the_burst_are_no_reason_to_pause),
        SERVER_CASE(who_is_not_read_is_not_idle),
        SERVER_CASE(who_is_not_read_can_be_closed),
        SERVER_CASE(the_connection_past_the_limit_takes_the_place_of_the_oldest),
        SERVER_CASE(each_endpoint_counts_its_own),
        SERVER_CASE(who_has_gone_is_not_counted),
        SERVER_CASE(who_displaces_itself_again_and_again_leaves_others_room_in_the_log),
        SERVER_CASE(connections_without_an_identity_are_as_many_as_they_like),
        SERVER_CASE(the_limit_of_an_identity_may_be_switched_off),
        SERVER_CASE(of_many_at_once_on_all_workers_as_many_stay_as_may),
        SERVER_CASE(after_a_storm_the_count_is_right),
        SERVER_CASE(who_never_joins_is_closed_4001),
        SERVER_CASE(who_joined_once_may_stay_without_a_topic),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
