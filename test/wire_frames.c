/* SPDX-License-Identifier: MIT */
/* RFC 6455 on the wire, against a raw route that sends back what it gets: every form a frame may
 * have, every way it may be wrong, and every place where a segment may end. */
#define _GNU_SOURCE 1
#include "test/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* A message "close CODE" is answered by a close with that code, everything else by itself. */
static hub_status_t on_echo(hub_conn_t *conn, hub_str_t bytes, bool binary, void *user)
{
    (void)user;
    if (!binary && hub_str_starts_with(bytes, HUB_STR("close "))) {
        hub_conn_close(conn, (unsigned)strtoul(bytes.base + 6, NULL, 10), HUB_STR("asked"));
        return HUB_OK;
    }
    return hub_conn_send(conn, bytes, binary);
}

static void on_close(hub_conn_t *conn, hub_disconnect_reason_t why, void *user)
{
    (void)conn, (void)user;
    server_note("closed %s", hub_disconnect_reason_name(why));
}

static server_t *echo(const hub_limits_t *limits)
{
    server_t *server = server_create();
    hub_raw_options_t options = {.on_message = on_echo, .on_close = on_close};

    if (limits != NULL)
        options.endpoint.limits = *limits;
    assert_int_equal(hub_server_websocket(server->server, "/echo", &options), HUB_OK);
    server_start(server);
    return server;
}

static void fill(char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = (char)('a' + i % 23);
}

/* ---- what is right ---- */

static void expect_echo(client_t *client, unsigned first, hub_str_t payload)
{
    client_frame(client, first, payload);
    client_expect_message(client, first, payload);
}

static void a_message_of_any_length_comes_back(void **state)
{
    static const size_t lengths[] = {0, 1, 125, 126, 127, 65535, 65536};
    static char bytes[65536];
    client_t *c = server_client(echo(NULL), "/echo");

    (void)state;
    fill(bytes, sizeof(bytes));
    for (size_t i = 0; i < COUNT(lengths); i++) {
        expect_echo(c, CLIENT_BINARY, hub_str_n(bytes, lengths[i]));
        expect_echo(c, CLIENT_TEXT, hub_str_n(bytes, lengths[i]));
    }
}

static void text_of_every_plane_comes_back(void **state)
{
    client_t *c = server_client(echo(NULL), "/echo");

    (void)state;
    expect_echo(c, CLIENT_TEXT, HUB_STR("\0 \x7f \u00e9 \u20ac \uffff \U0001f600 \U0010ffff"));
}

static void fragments_become_one_message_and_pings_go_between(void **state)
{
    client_t *c = server_client(echo(NULL), "/echo");

    (void)state;
    client_frame(c, 0x01, HUB_STR("one, \xe2"));
    client_frame(c, CLIENT_PING, HUB_STR("p1"));
    client_frame(c, 0x00, HUB_STR("\x82"));
    client_frame(c, 0x00, HUB_STR(""));
    client_frame(c, CLIENT_PING, HUB_STR(""));
    client_frame(c, 0x80, HUB_STR("\xac, three"));
    client_expect_message(c, CLIENT_PONG, HUB_STR("p1"));
    client_expect_message(c, CLIENT_PONG, HUB_STR(""));
    client_expect_message(c, CLIENT_TEXT, HUB_STR("one, \u20ac, three"));
}

static void a_pong_that_nobody_asked_for_is_ignored(void **state)
{
    client_t *c = server_client(echo(NULL), "/echo");

    (void)state;
    client_frame(c, CLIENT_PONG, HUB_STR("unasked"));
    expect_echo(c, CLIENT_TEXT, HUB_STR("still here"));
}

static void many_frames_in_one_segment_are_answered_in_order(void **state)
{
    static char bytes[64 * 20];
    char number[16];
    client_t *c = server_client(echo(NULL), "/echo");
    size_t len = 0;

    (void)state;
    for (int i = 0; i < 64; i++) {
        snprintf(number, sizeof(number), "%02d", i);
        len += client_frame_write(bytes + len, CLIENT_TEXT, hub_str(number));
    }
    client_send(c, hub_str_n(bytes, len));
    for (int i = 0; i < 64; i++) {
        snprintf(number, sizeof(number), "%02d", i);
        client_expect_text(c, number);
    }
}

static void an_echo_right_behind_the_handshake_in_one_segment(void **state)
{
    char bytes[2048];
    client_t *c = server_connect(echo(NULL));
    size_t len = (size_t)snprintf(bytes, sizeof(bytes), "%s", client_upgrade_text("/echo", ""));

    (void)state;
    len += client_frame_write(bytes + len, CLIENT_TEXT, HUB_STR("first"));
    len += client_frame_write(bytes + len, CLIENT_TEXT, HUB_STR("second"));
    client_send(c, hub_str_n(bytes, len));
    client_expect_upgraded(c);
    client_expect_text(c, "first");
    client_expect_text(c, "second");
}

/* ---- the size of a message ---- */

static void send_in_two(client_t *client, hub_str_t payload)
{
    client_frame(client, 0x02, hub_str_n(payload.base, payload.len / 2));
    client_frame(client, 0x80,
                 hub_str_n(payload.base + payload.len / 2, payload.len - payload.len / 2));
}

static void expect_too_large(server_t *s, void (*send)(client_t *client, hub_str_t payload),
                             hub_str_t payload)
{
    client_t *c = server_client(s, "/echo");

    send(c, payload);
    (void)client_expect_close(c, 1009);
    client_expect_gone(c);
    server_expect_note("closed too_large");
}

static void send_whole(client_t *client, hub_str_t payload)
{
    client_frame(client, CLIENT_BINARY, payload);
}

static void check_limit(const hub_limits_t *limits, size_t limit)
{
    char *bytes = malloc(limit + 1);
    server_t *s = echo(limits);
    client_t *c = server_client(s, "/echo");

    assert_non_null(bytes);
    fill(bytes, limit + 1);
    expect_echo(c, CLIENT_BINARY, hub_str_n(bytes, limit - 1));
    expect_echo(c, CLIENT_BINARY, hub_str_n(bytes, limit));
    send_in_two(c, hub_str_n(bytes, limit));
    client_expect_message(c, CLIENT_BINARY, hub_str_n(bytes, limit));
    expect_too_large(s, send_whole, hub_str_n(bytes, limit + 1));
    expect_too_large(s, send_in_two, hub_str_n(bytes, limit + 1));
    free(bytes);
}

static void a_message_of_the_default_limit_passes_and_one_byte_more_is_1009(void **state)
{
    (void)state;
    check_limit(NULL, 65536);
}

static void a_small_limit_holds_as_well(void **state)
{
    (void)state;
    check_limit(&(hub_limits_t){.message_bytes = 100}, 100);
}

static void a_large_limit_holds_as_well(void **state)
{
    (void)state;
    check_limit(&(hub_limits_t){.message_bytes = 4 << 20, SERVER_UNHURRIED}, 4 << 20);
}

static void a_size_is_refused_from_its_header_alone(void **state)
{
    client_t *c = server_client(echo(NULL), "/echo");

    (void)state;
    client_send(c, HUB_STR("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff"));
    (void)client_expect_close(c, 1009);
}

/* ---- what is wrong ---- */

#define M "\0\0\0\0" /* a masking key that changes nothing */

struct violation {
    hub_str_t bytes;
    unsigned code;
};

#define BAD(code, literal)                                                                         \
    {                                                                                              \
        {(literal), sizeof(literal) - 1}, (code)                                                   \
    }

static const struct violation violations[] = {
    BAD(1002, "\x81\x02hi"),                         /* not masked */
    BAD(1002, "\xc1\x80" M),                         /* RSV1 */
    BAD(1002, "\xa1\x80" M),                         /* RSV2 */
    BAD(1002, "\x91\x80" M),                         /* RSV3 */
    BAD(1002, "\xc9\x80" M),                         /* RSV1 on a ping */
    BAD(1002, "\x83\x80" M),                         /* reserved opcodes */
    BAD(1002, "\x87\x80" M),                         /* … */
    BAD(1002, "\x8b\x80" M),                         /* … of control frames */
    BAD(1002, "\x8f\x80" M),                         /* … */
    BAD(1002, "\x82\xfe\x00\x7d" M),                 /* 125 in 16 bits */
    BAD(1002, "\x82\xff\0\0\0\0\0\0\xff\xff" M),     /* 65,535 in 64 bits */
    BAD(1002, "\x82\xff\x80\0\0\0\0\0\0\0" M),       /* the top bit */
    BAD(1002, "\x89\xfe\x00\x7e" M),                 /* a ping of 126 */
    BAD(1002, "\x09\x80" M),                         /* a ping in fragments */
    BAD(1002, "\x08\x80" M),                         /* a close in fragments */
    BAD(1002, "\x80\x80" M),                         /* goes on with nothing */
    BAD(1002, "\x00\x80" M),                         /* … */
    BAD(1002, "\x01\x81" M "a\x81\x81" M "b"),       /* a message within a message */
    BAD(1002, "\x88\x81" M "\x03"),                  /* half a close code */
    BAD(1002, "\x88\x82" M "\x00\x00"),              /* codes that nobody may send: 0 */
    BAD(1002, "\x88\x82" M "\x03\xe7"),              /* 999 */
    BAD(1002, "\x88\x82" M "\x03\xec"),              /* 1004 */
    BAD(1002, "\x88\x82" M "\x03\xed"),              /* 1005 */
    BAD(1002, "\x88\x82" M "\x03\xee"),              /* 1006 */
    BAD(1002, "\x88\x82" M "\x03\xf7"),              /* 1015 */
    BAD(1002, "\x88\x82" M "\x07\xcf"),              /* 1999 */
    BAD(1002, "\x88\x82" M "\x0b\xb7"),              /* 2999 */
    BAD(1002, "\x88\x82" M "\x13\x88"),              /* 5000 */
    BAD(1002, "\x88\x82" M "\xff\xff"),              /* 65535 */
    BAD(1007, "\x81\x81" M "\xff"),                  /* text that is not UTF-8 */
    BAD(1007, "\x81\x82" M "\xc0\xaf"),              /* overlong */
    BAD(1007, "\x81\x83" M "\xed\xa0\x80"),          /* a surrogate */
    BAD(1007, "\x81\x84" M "\xf4\x90\x80\x80"),      /* past the last plane */
    BAD(1007, "\x81\x82" M "\xe2\x82"),              /* ends within a character */
    BAD(1007, "\x01\x81" M "\xe2\x00\x81" M "\x28"), /* the second fragment breaks it */
    BAD(1007, "\x01\x8a" M "ok\xff"),                /* at once, though the frame goes on */
    BAD(1007, "\x88\x83" M "\x03\xe8\xff"),          /* a reason that is not UTF-8 */
    BAD(1009, "\x82\xfe\x03\xe9" M),                 /* 1,001 of 1,000 */
    BAD(1009, "\x82\xff\0\0\0\1\0\0\0\0" M),         /* 2^32 */
    BAD(1009, "\x02\xfe\x03\xe8" M),                 /* the first fragment fits… */
    BAD(1008, "\x02\x80" M "\x00\x80" M "\x00\x80" M "\x00\x80" M), /* four of three fragments */
};

/* The one whose rest must be sent before it is too large. */
static hub_str_t rest_of(const struct violation *violation)
{
    static char rest[1007];

    if (violation->code != 1009 || violation->bytes.base[0] != 0x02)
        return hub_str("");
    memset(rest, 0, sizeof(rest));
    rest[1000] = (char)0x80; /* …the second, of one byte, does not */
    rest[1001] = (char)0x81;
    return hub_str_n(rest, sizeof(rest));
}

static void check_violation(server_t *s, const struct violation *violation,
                            void (*send)(client_t *client, hub_str_t bytes))
{
    client_t *c = server_client(s, "/echo");

    client_frame(c, CLIENT_TEXT, HUB_STR("before"));
    send(c, violation->bytes);
    send(c, rest_of(violation));
    client_expect_text(c, "before");
    (void)client_expect_close(c, violation->code);
    client_expect_gone(c); /* the server ends TCP first */
    server_drop_client(s, c, client_destroy);
}

static server_t *strict_echo(void)
{
    return echo(&(hub_limits_t){.message_bytes = 1000, .fragments = 3});
}

static void a_violation_is_closed_with_its_code_after_the_earlier_replies(void **state)
{
    server_t *s = strict_echo();

    (void)state;
    for (size_t i = 0; i < COUNT(violations); i++)
        check_violation(s, &violations[i], client_send);
    SERVER_EXPECT_STAT(s, conns, 0);
}

static void a_violation_in_single_bytes_is_the_same_violation(void **state)
{
    server_t *s = strict_echo();

    (void)state;
    for (size_t i = 0; i < COUNT(violations); i++)
        check_violation(s, &violations[i], client_send_bytewise);
}

static void after_a_violation_the_rest_is_ignored(void **state)
{
    server_t *s = echo(NULL);
    client_t *c = server_client(s, "/echo");

    (void)state;
    client_send(c, HUB_STR("\x81\x81" M "a\x83\x80" M "\x81\x81" M "b"));
    client_expect_text(c, "a");
    (void)client_expect_close(c, 1002);
    client_expect_eof(c);
    server_expect_note("closed protocol");
}

/* ---- the close handshake ---- */

static void a_close_is_answered_with_its_code(void **state)
{
    static const unsigned codes[] = {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010,
                                     1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999};
    server_t *s = echo(NULL);

    (void)state;
    for (size_t i = 0; i < COUNT(codes); i++) {
        client_t *c = server_client(s, "/echo");

        client_close_frame(c, codes[i], "bye");
        (void)client_expect_close(c, codes[i]);
        client_expect_eof(c);
        server_expect_note("closed client");
    }
}

static void a_close_without_a_code_is_answered_without_one(void **state)
{
    client_t *c = server_client(echo(NULL), "/echo");

    (void)state;
    client_close_frame(c, 0, "");
    (void)client_expect_close(c, 0);
    client_expect_eof(c);
}

static void a_close_of_the_longest_reason_is_answered(void **state)
{
    char reason[124];
    client_t *c = server_client(echo(NULL), "/echo");

    (void)state;
    fill(reason, 123);
    reason[123] = '\0';
    client_close_frame(c, 1000, reason);
    (void)client_expect_close(c, 1000);
}

static void frames_behind_a_close_are_ignored(void **state)
{
    client_t *c = server_client(echo(NULL), "/echo");

    (void)state;
    client_send(c, HUB_STR("\x81\x81" M "a\x88\x82" M "\x03\xe8\x81\x81" M "b\x89\x80" M));
    client_expect_text(c, "a");
    (void)client_expect_close(c, 1000);
    client_expect_eof(c);
}

static void the_server_closes_with_code_and_reason_behind_what_it_said(void **state)
{
    server_t *s = echo(NULL);
    client_t *c = server_client(s, "/echo");

    (void)state;
    client_frame(c, CLIENT_TEXT, HUB_STR("first"));
    client_frame(c, CLIENT_TEXT, HUB_STR("close 4321"));
    client_expect_text(c, "first");
    assert_string_equal(client_expect_close(c, 4321).base, "asked");
    client_close_frame(c, 4321, "");
    client_expect_eof(c);
    server_expect_note("closed server");
}

static void a_close_that_is_never_answered_ends_by_itself(void **state)
{
    client_t *c = server_client(echo(&(hub_limits_t){.close_ms = 50}), "/echo");

    (void)state;
    client_frame(c, CLIENT_TEXT, HUB_STR("close 1000"));
    (void)client_expect_close(c, 1000);
    client_expect_eof(c);
}

static void a_client_that_never_sends_its_fin_is_cut(void **state)
{
    server_t *s = echo(&(hub_limits_t){.close_ms = 50});
    client_t *c = server_client(s, "/echo");

    (void)state;
    client_close_frame(c, 1000, "");
    (void)client_expect_close(c, 1000);
    client_expect_eof(c);
    server_expect_note("closed client");
    client_expect_reset(c);
}

/* ---- a whole conversation, however it is cut ---- */

struct conversation {
    char bytes[2048];
    size_t handshake_len;
    size_t len;
};

static void conversation_add(struct conversation *talk, unsigned first, hub_str_t payload)
{
    talk->len += client_frame_write(talk->bytes + talk->len, first, payload);
}

static struct conversation *conversation(void)
{
    static struct conversation talk;
    char bytes[130];

    fill(bytes, sizeof(bytes));
    talk.len = talk.handshake_len =
        (size_t)snprintf(talk.bytes, sizeof(talk.bytes), "%s", client_upgrade_text("/echo", ""));
    conversation_add(&talk, CLIENT_TEXT, HUB_STR("h\u00e9llo"));
    conversation_add(&talk, 0x01, HUB_STR("\xe2\x82"));
    conversation_add(&talk, CLIENT_PING, HUB_STR("ping"));
    conversation_add(&talk, 0x80, HUB_STR("\xac"));
    conversation_add(&talk, CLIENT_BINARY, hub_str_n(bytes, sizeof(bytes)));
    conversation_add(&talk, CLIENT_CLOSE,
                     HUB_STR("\x03\xe8"
                             "bye"));
    return &talk;
}

static void expect_conversation(client_t *client)
{
    char bytes[130];

    fill(bytes, sizeof(bytes));
    client_expect_message(client, CLIENT_TEXT, HUB_STR("h\u00e9llo"));
    client_expect_message(client, CLIENT_PONG, HUB_STR("ping"));
    client_expect_message(client, CLIENT_TEXT, HUB_STR("\u20ac"));
    client_expect_message(client, CLIENT_BINARY, hub_str_n(bytes, sizeof(bytes)));
    (void)client_expect_close(client, 1000);
    client_expect_eof(client);
}

static void a_conversation_sent_whole_and_in_single_bytes(void **state)
{
    const struct conversation *talk = conversation();
    server_t *s = echo(NULL);
    client_t *whole = server_connect(s), *bytewise = server_connect(s);

    (void)state;
    client_send(whole, hub_str_n(talk->bytes, talk->len));
    client_expect_upgraded(whole);
    expect_conversation(whole);
    client_send_bytewise(bytewise, hub_str_n(talk->bytes, talk->len));
    client_expect_upgraded(bytewise);
    expect_conversation(bytewise);
}

static void a_handshake_cut_anywhere_is_the_same_handshake(void **state)
{
    const struct conversation *talk = conversation();
    server_t *s = echo(NULL);

    (void)state;
    for (size_t cut = 1; cut < talk->handshake_len; cut++) {
        client_t *c = server_connect(s);

        client_send(c, hub_str_n(talk->bytes, cut));
        client_send(c, hub_str_n(talk->bytes + cut, talk->len - cut));
        client_expect_upgraded(c);
        expect_conversation(c);
        server_drop_client(s, c, client_destroy);
    }
}

static void a_conversation_cut_anywhere_is_the_same_conversation(void **state)
{
    const struct conversation *talk = conversation();
    server_t *s = echo(NULL);

    (void)state;
    for (size_t cut = talk->handshake_len; cut < talk->len; cut++) {
        client_t *c = server_connect(s);
        uint64_t before = SERVER_STAT(s, bytes_in_total);

        client_send(c, hub_str_n(talk->bytes, cut));
        client_expect_upgraded(c);
        /* the cut is one only if the first part was read before the second is sent */
        SERVER_EXPECT_STAT_AT_LEAST(s, bytes_in_total, before + cut - talk->handshake_len);
        client_send(c, hub_str_n(talk->bytes + cut, talk->len - cut));
        expect_conversation(c);
        server_drop_client(s, c, client_destroy);
    }
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        SERVER_CASE(a_message_of_any_length_comes_back),
        SERVER_CASE(text_of_every_plane_comes_back),
        SERVER_CASE(fragments_become_one_message_and_pings_go_between),
        SERVER_CASE(a_pong_that_nobody_asked_for_is_ignored),
        SERVER_CASE(many_frames_in_one_segment_are_answered_in_order),
        SERVER_CASE(an_echo_right_behind_the_handshake_in_one_segment),
        SERVER_CASE(a_message_of_the_default_limit_passes_and_one_byte_more_is_1009),
        SERVER_CASE(a_small_limit_holds_as_well),
        SERVER_CASE(a_large_limit_holds_as_well),
        SERVER_CASE(a_size_is_refused_from_its_header_alone),
        SERVER_CASE(a_violation_is_closed_with_its_code_after_the_earlier_replies),
        SERVER_CASE(a_violation_in_single_bytes_is_the_same_violation),
        SERVER_CASE(after_a_violation_the_rest_is_ignored),
        SERVER_CASE(a_close_is_answered_with_its_code),
        SERVER_CASE(a_close_without_a_code_is_answered_without_one),
        SERVER_CASE(a_close_of_the_longest_reason_is_answered),
        SERVER_CASE(frames_behind_a_close_are_ignored),
        SERVER_CASE(the_server_closes_with_code_and_reason_behind_what_it_said),
        SERVER_CASE(a_close_that_is_never_answered_ends_by_itself),
        SERVER_CASE(a_client_that_never_sends_its_fin_is_cut),
        SERVER_CASE(a_conversation_sent_whole_and_in_single_bytes),
        SERVER_CASE(a_handshake_cut_anywhere_is_the_same_handshake),
        SERVER_CASE(a_conversation_cut_anywhere_is_the_same_conversation),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
