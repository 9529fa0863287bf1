/* SPDX-License-Identifier: MIT */
/* Hostile websocket clients by the hundred: sizes that are declared and never sent, messages that
 * are never finished, floods, people who never read, topics without end. What they cost is counted,
 * and somebody ordinary is served meanwhile.
 *
 * HOSTILE_TOPICS in the environment says how many topics are joined and left (100,000). */
#define _GNU_SOURCE 1
#include "test/horde.h"
#include "test/server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <cmocka.h>

#define KIB 1024

/* No rates: each case is about another limit. */
#define UNHURRIED                                                                                  \
    .messages_per_s = HUB_OFF, .bytes_per_s = HUB_OFF, .joins_per_s = HUB_OFF,                     \
    .controls_per_s = HUB_OFF

static horde_t horde;

static int clean_up(void **state)
{
    horde_destroy(&horde);
    return server_teardown(state);
}

static hub_status_t on_say(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_broadcast(me, msg->event, msg->payload);
}

static hub_status_t on_echo(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_reply(me, msg, msg->payload);
}

static const hub_event_handler_t events[] = {{"say", on_say}, {"echo", on_echo}, {NULL, NULL}};

static server_t *hostile_with(const hub_server_options_t *options, const hub_limits_t *limits)
{
    server_t *s = server_create_with(options, NULL);

    server_channel(s, &(hub_channel_options_t){.pattern = "t{n}", .events = events});
    server_mount(s, &(hub_endpoint_options_t){.limits = *limits});
    server_start(s);
    return s;
}

static server_t *hostile(const hub_limits_t *limits)
{
    return hostile_with(NULL, limits);
}

static client_t *ordinary(server_t *s)
{
    client_t *c = server_client(s, "/socket");

    client_join(c, "t0", "'j'");
    return c;
}

static void expect_served(client_t *c)
{
    client_say(c, "t0", "echo", "'hello'", "7");
    client_expect_ok(c, "t0", "7", "'hello'");
}

static void print_grown(const char *by, size_t heap)
{
    print_message("%s: heap of %zu bytes grown by %zd\n", by, heap, (ssize_t)(horde_heap() - heap));
}

static hub_str_t frame_of(unsigned first, hub_str_t payload)
{
    static char bytes[70000];

    return hub_str_n(bytes, client_frame_write(bytes, first, payload));
}

static hub_str_t many(char character, size_t count)
{
    static char text[66000];

    memset(text, character, count);
    return hub_str_n(text, count);
}

/* ---- lengths ---- */

static void expect_refused_from_the_header(const char *header)
{
    server_t *s = hostile(&(hub_limits_t){.message_bytes = 64 * KIB, UNHURRIED});
    client_t *c = ordinary(s);
    size_t heap;

    horde_open(&horde, s->address, "/socket", 200);
    SERVER_EXPECT_STAT(s, conns, 201);
    expect_served(c);
    heap = horde_heap();
    horde_send(&horde, hub_str_n(header, 17));
    horde_await_end(&horde, (hub_str_t){0});
    expect_served(c);
    print_grown("200 headers", heap);
    assert_true(horde_heap() <= heap + 64 * KIB);
    assert_int_equal(SERVER_STAT(s, closed_too_large_total), 200);
}

static void a_message_past_the_limit_costs_its_header(void **state)
{
    (void)state;
    expect_refused_from_the_header("\x82\xff\0\0\0\0\0\1\0\1....abc");
}

static void four_gigabytes_cost_their_header(void **state)
{
    (void)state;
    expect_refused_from_the_header("\x82\xff\0\0\0\1\0\0\0\0....abc");
}

static void the_longest_length_there_is_costs_its_header(void **state)
{
    (void)state;
    expect_refused_from_the_header("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff....abc");
}

/* ---- messages without an end ---- */

#define BOMBS 1000
#define BOMB_BYTES 15000

/* Each one byte below the limit, in two frames. */
static void a_thousand_unfinished_messages_cost_what_they_hold(void **state)
{
    server_t *s =
        hostile(&(hub_limits_t){.message_bytes = BOMB_BYTES, .unfinished_ms = 2500, UNHURRIED});
    client_t *c = ordinary(s);
    size_t held = BOMB_BYTES - 1, heap;
    uint64_t before;

    (void)state;
    horde_open(&horde, s->address, "/socket", BOMBS);
    SERVER_EXPECT_STAT(s, conns, BOMBS + 1);
    expect_served(c);
    heap = horde_heap();
    before = SERVER_STAT(s, bytes_in_total);
    horde_send(&horde, frame_of(0x02, many('x', held - 1)));
    horde_send(&horde, frame_of(0x00, many('x', 1)));
    horde_send(&horde, frame_of(0x00, many('x', 0)));
    SERVER_EXPECT_STAT_AT_LEAST(s, bytes_in_total, before + BOMBS * (held + 8 + 6 + 6));
    print_grown("1000 messages of 14999 bytes", heap);
    assert_true(horde_heap() <= heap + BOMBS * (held + held / 4 + 4 * KIB));
    expect_served(c);
    horde_await_end(&horde, (hub_str_t){0});
    SERVER_EXPECT_STAT(s, closed_limit_total, BOMBS);
    expect_served(c);
}

/* Frames that hold nothing are frames. */
static void empty_fragments_end_at_their_limit(void **state)
{
    server_t *s = hostile(&(hub_limits_t){.fragments = 64, UNHURRIED});
    client_t *c = ordinary(s);
    size_t heap;

    (void)state;
    horde_open(&horde, s->address, "/socket", 100);
    SERVER_EXPECT_STAT(s, conns, 101);
    expect_served(c);
    heap = horde_heap();
    horde_send(&horde, frame_of(0x02, many('x', 0)));
    for (int i = 0; i < 64; i++)
        horde_send(&horde, frame_of(0x00, many('x', 0)));
    horde_await_end(&horde, (hub_str_t){0});
    SERVER_EXPECT_STAT(s, closed_limit_total, 100);
    expect_served(c);
    assert_true(horde_heap() <= heap + 64 * KIB);
}

/* ---- floods ---- */

/* 100,000 of each, of clients that never read: what is to be answered waits in bounds. */
static void expect_flood_withstood(hub_str_t frame, uint64_t frames)
{
    server_t *s = hostile(&(hub_limits_t){
        .outbox_bytes = 64 * KIB, .outbox_messages = 1000, .bad_envelopes = HUB_OFF, UNHURRIED});
    client_t *c = ordinary(s);
    char *bytes = malloc(1000 * frame.len);
    size_t heap, peak = 0;

    assert_non_null(bytes);
    for (size_t i = 0; i < 1000; i++)
        memcpy(bytes + i * frame.len, frame.base, frame.len);
    horde_open(&horde, s->address, "/socket", 10);
    SERVER_EXPECT_STAT(s, conns, 11);
    expect_served(c);
    heap = horde_heap();
    for (uint64_t i = 0; i < frames / 1000 / 10; i++) {
        horde_send(&horde, hub_str_n(bytes, 1000 * frame.len));
        expect_served(c);
        peak = horde_heap() > peak ? horde_heap() : peak;
    }
    free(bytes);
    assert_true(SERVER_STAT(s, outbox_bytes) <= 10 * 65 * KIB);
    print_message("10 floods: heap grown by %zd bytes at most\n", (ssize_t)(peak - heap));
    assert_true(peak <= heap + 10 * 4 * 64 * KIB);
}

static void pings_that_nobody_reads_the_answers_of(void **state)
{
    (void)state;
    expect_flood_withstood(frame_of(CLIENT_PING, many('p', 100)), 100000);
}

static void pongs_that_nobody_asked_for(void **state)
{
    (void)state;
    expect_flood_withstood(frame_of(CLIENT_PONG, many('p', 100)), 100000);
}

static void messages_of_one_byte(void **state)
{
    (void)state;
    expect_flood_withstood(frame_of(CLIENT_TEXT, many('1', 1)), 20000);
}

/* ---- people who never read ---- */

static void a_crowd_that_never_reads_is_closed_and_costs_its_outboxes(void **state)
{
    server_t *s = hostile(&(hub_limits_t){.outbox_bytes = 64 * KIB, UNHURRIED});
    client_t *c = ordinary(s), *listener = ordinary(s);
    const char *join = "{\"topic\":\"t0\",\"event\":\"join\",\"payload\":{}}";
    char payload[30003];
    uint64_t most = 0;

    (void)state;
    memset(payload, 'x', sizeof(payload));
    payload[0] = payload[sizeof(payload) - 2] = '\'';
    payload[sizeof(payload) - 1] = '\0';
    horde_open(&horde, s->address, "/socket", 50);
    horde_send(&horde, frame_of(CLIENT_TEXT, hub_str(join)));
    SERVER_EXPECT_STAT(s, members, 52);
    for (int i = 0; i < 400 && SERVER_STAT(s, closed_slow_total) != 50; i++) {
        client_say(c, "t0", "say", payload, NULL);
        client_expect_event(c, "t0", "say", payload);
        client_expect_event(listener, "t0", "say", payload);
        if (SERVER_STAT(s, outbox_bytes) > most)
            most = SERVER_STAT(s, outbox_bytes);
    }
    SERVER_EXPECT_STAT(s, closed_slow_total, 50);
    print_message("50 outboxes: %zu bytes at most\n", (size_t)most);
    assert_true(most <= 50 * (64 + 32) * KIB);
    expect_served(c);
}

/* ---- amplification ---- */

/* One message to many: its writing is cut into turns, between which others are served. */
static void a_broadcast_to_many_yields(void **state)
{
    server_t *s = hostile_with(&(hub_server_options_t){.turn_us = 1}, &(hub_limits_t){UNHURRIED});
    client_t *c = ordinary(s);
    const char *join = "{\"topic\":\"t0\",\"event\":\"join\",\"payload\":{}}";
    uint64_t deferred, members = 500;

    (void)state;
    horde_open(&horde, s->address, "/socket", members);
    horde_send(&horde, frame_of(CLIENT_TEXT, hub_str(join)));
    SERVER_EXPECT_STAT(s, members, members + 1);
    expect_served(c);
    deferred = SERVER_STAT(s, flush_deferred_total);
    client_say(c, "t0", "say", "1", NULL);
    client_expect_event(c, "t0", "say", "1");
    expect_served(c);
    SERVER_EXPECT_STAT_AT_LEAST(s, messages_out_total, members + 1);
    SERVER_EXPECT_STAT_AT_LEAST(s, flush_deferred_total, deferred + members / 32 - 1);
    SERVER_EXPECT_STAT(s, outbox_bytes, 0);
}

/* ---- topics without end ---- */

#define TOPICS_AT_ONCE 1000

static size_t topics_asked_for(void)
{
    const char *text = getenv("HOSTILE_TOPICS");

    return text != NULL ? strtoul(text, NULL, 10) : 100000;
}

/* Joins (or leaves) so many topics from this one on; the last answer is waited for. */
static void go_through(client_t *c, const char *event, size_t from, size_t count)
{
    static char bytes[TOPICS_AT_ONCE * 100];
    char json[100], wanted[40];
    client_frame_t frame;
    size_t len = 0;

    for (size_t i = from; i != from + count; i++) {
        int text = snprintf(json, sizeof(json),
                            "{\"topic\":\"t%zu\",\"event\":\"%s\",\"payload\":{},\"ref\":%zu}", i,
                            event, i);

        len += client_frame_write(bytes + len, CLIENT_TEXT, hub_str_n(json, (size_t)text));
    }
    client_send(c, hub_str_n(bytes, len));
    snprintf(wanted, sizeof(wanted), "\"ref\":%zu", from + count - 1);
    do
        assert_true(client_try_next(c, &frame));
    while (strstr(frame.payload.base, wanted) == NULL);
    assert_non_null(strstr(frame.payload.base, "\"ok\""));
}

/* A client of its own comes and goes, so that its buffers are not counted. */
static void join_and_leave(server_t *s, size_t topics)
{
    client_t *c = server_client(s, "/socket");

    for (size_t from = 1; from < topics; from += TOPICS_AT_ONCE) {
        go_through(c, "join", from, TOPICS_AT_ONCE);
        go_through(c, "leave", from, TOPICS_AT_ONCE);
    }
    server_drop_client(s, c, client_destroy);
    SERVER_EXPECT_STAT(s, conns, 0);
    SERVER_EXPECT_STAT(s, topics, 0);
    SERVER_EXPECT_STAT(s, members, 0);
}

static void topics_that_are_left_leave_nothing(void **state)
{
    server_t *s = hostile(&(hub_limits_t){.topics = TOPICS_AT_ONCE, UNHURRIED});
    size_t heap, topics = topics_asked_for();

    (void)state;
    join_and_leave(s, TOPICS_AT_ONCE); /* what is kept for next time is there then */
    heap = horde_heap();
    join_and_leave(s, topics);
    SERVER_EXPECT_STAT_AT_LEAST(s, joins_total, topics);
    print_grown("topics", heap);
    assert_true(horde_heap() <= heap + heap / 50 + horde_heap_kept());
}

/* ---- what a topic may be ---- */

static void a_topic_that_ends_in_a_line_feed_is_none(void **state)
{
    client_t *c = server_client(hostile(&(hub_limits_t){UNHURRIED}), "/socket");

    (void)state;
    client_say(c, "t1\\n", "join", "{}", "1");
    client_expect_error(c, NULL, "1", "bad_topic");
    client_say(c, "t1\\u0000", "join", "{}", "2");
    client_expect_error(c, NULL, "2", "bad_topic");
    client_expect_quiet(c);
}

/* A constraint that backtracks for ever costs a bounded number of steps for each join, and nobody
 * gets in by a wider pattern instead. */
static void an_evil_constraint_denies_and_costs_little(void **state)
{
    server_t *s = server_create();
    client_t *c;
    char topic[256] = "evil:";

    (void)state;
    memset(topic + 5, 'x', 250);
    server_channel(s, &(hub_channel_options_t){.pattern = "evil:{a:(x+x+)+[yw]}"});
    server_channel(s, &(hub_channel_options_t){.pattern = "{rest*}"});
    server_mount(s, &(hub_endpoint_options_t){.limits = {UNHURRIED}});
    server_start(s);
    c = server_client(s, "/socket");
    for (int i = 0; i < 100; i++) {
        client_say(c, topic, "join", "{}", "1");
        client_expect_error(c, topic, "1", "join_rejected");
    }
    assert_int_equal(SERVER_STAT(s, members), 0);
}

/* ---- a peer that is cut off ---- */

/* The server's end of this connection, in this process. */
static int peer_fd_of(int fd)
{
    struct sockaddr_in own = {0}, far = {0};
    socklen_t len = sizeof(own);

    assert_int_equal(getsockname(fd, (struct sockaddr *)&own, &len), 0);
    for (int other = 3; other < 1000; other++) {
        len = sizeof(far);
        if (other != fd && getpeername(other, (struct sockaddr *)&far, &len) == 0 &&
            far.sin_family == AF_INET && far.sin_port == own.sin_port)
            return other;
    }
    fail_msg("no socket of the server's");
    return -1;
}

static int option_of(int fd, int level, int option)
{
    int value = 0;
    socklen_t len = sizeof(value);

    assert_int_equal(getsockopt(fd, level, option, &value, &len), 0);
    return value;
}

/* Without network namespaces nobody can be cut off here; what the kernel was told about it shows.
 */
static void the_kernel_gives_up_what_is_not_acknowledged(void **state)
{
    server_t *s = hostile(&(hub_limits_t){UNHURRIED});
    int fd;

    (void)state;
    horde_open(&horde, s->address, "/socket", 1);
    fd = peer_fd_of(horde.fds[0]);
    assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 20000);
    assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT), 65536);
    assert_int_equal(option_of(fd, SOL_SOCKET, SO_SNDBUF), 2 * 131072); /* the kernel doubles it */
    assert_true(option_of(fd, IPPROTO_TCP, TCP_NODELAY) != 0);
}

/* As a peer behind a cut cable does: not a byte, no FIN, and nothing is read. */
static void a_crowd_that_falls_silent_is_gone_with_its_pongs(void **state)
{
    server_t *s = hostile(&(hub_limits_t){.ping_ms = 300, .pong_ms = 100, UNHURRIED});

    (void)state;
    horde_open(&horde, s->address, "/socket", 200);
    SERVER_EXPECT_STAT(s, conns_total, 200);
    SERVER_EXPECT_STAT(s, closed_ping_timeout_total, 200);
    SERVER_EXPECT_STAT(s, conns, 0);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_teardown(name, clean_up)
    const struct CMUnitTest cases[] = {
        CASE(a_message_past_the_limit_costs_its_header),
        CASE(four_gigabytes_cost_their_header),
        CASE(the_longest_length_there_is_costs_its_header),
        CASE(a_thousand_unfinished_messages_cost_what_they_hold),
        CASE(empty_fragments_end_at_their_limit),
        CASE(pings_that_nobody_reads_the_answers_of),
        CASE(pongs_that_nobody_asked_for),
        CASE(messages_of_one_byte),
        CASE(a_crowd_that_never_reads_is_closed_and_costs_its_outboxes),
        CASE(a_broadcast_to_many_yields),
        CASE(topics_that_are_left_leave_nothing),
        CASE(a_topic_that_ends_in_a_line_feed_is_none),
        CASE(an_evil_constraint_denies_and_costs_little),
        CASE(the_kernel_gives_up_what_is_not_acknowledged),
        CASE(a_crowd_that_falls_silent_is_gone_with_its_pongs),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
