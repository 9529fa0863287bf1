/* SPDX-License-Identifier: MIT */
/* Conversations over TLS: what a websocket, a long-poll client and a plain request may rely on is
 * the same, whatever carries the bytes. */
#define _GNU_SOURCE 1
#include "test/secure.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <zlib.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- conversations ---- */

static void say_and_hear(client_t *from, client_t *to, const char *payload)
{
    client_say(from, "t1", "say", payload, NULL);
    client_expect_event(to, "t1", "say", payload);
}

static void a_room_has_members_with_and_without_tls(void **state)
{
    secure_t *s = secure_chat(NULL, NULL);
    client_t *a = secure_member(s), *b = secure_member(s);
    client_t *plain = server_keep_client(
        s->server, client_open(hub_server_address(s->server->server, 1), "/socket", ""));

    (void)state;
    client_join(plain, "t1", "'j'");
    say_and_hear(a, a, "1");
    client_expect_event(b, "t1", "say", "1");
    client_expect_event(plain, "t1", "say", "1");
    say_and_hear(plain, a, "2");
    client_expect_event(b, "t1", "say", "2");
    assert_int_equal(hub_publish(s->server->hub, HUB_STR("t1"), HUB_STR("x"), HUB_JSON("3")),
                     HUB_OK);
    client_expect_event(a, "t1", "x", "3");
    client_expect_event(b, "t1", "x", "3");
    client_say(a, "t1", "ask", "4", "'a'");
    client_expect_ok(a, "t1", "'a'", "4");
    client_say(a, "t1", "leave", "{}", "'l'");
    client_expect_ok(a, "t1", "'l'", "{'topic':'t1'}");
}

static void frames_that_come_with_the_request_are_heard(void **state)
{
    secure_t *s = secure_chat(NULL, NULL);
    client_t *c = secure_client(s);
    char bytes[2000];
    size_t len = (size_t)sprintf(bytes, "%s", client_upgrade_text("/socket", ""));

    (void)state;
    len += client_frame_write(
        bytes + len, CLIENT_TEXT,
        HUB_STR("{\"topic\":\"hub\",\"event\":\"heartbeat\",\"payload\":{},\"ref\":\"1\"}"));
    client_send(c, hub_str_n(bytes, len));
    client_expect_upgraded(c);
    client_expect_ok(c, "hub", "'1'", "{}");
    client_expect_quiet(c);
}

static void each_byte_may_be_a_record_of_its_own(void **state)
{
    static const char text[] = "{\"topic\":\"t1\",\"event\":\"say\",\"payload\":\"bytewise\"}";
    secure_t *s = secure_chat(NULL, NULL);
    client_t *c = secure_client(s);
    char frame[200];

    (void)state;
    client_send_bytewise(c, hub_str(client_upgrade_text("/socket", "")));
    client_expect_upgraded(c);
    client_join(c, "t1", "'j'");
    client_send_bytewise(c,
                         hub_str_n(frame, client_frame_write(frame, CLIENT_TEXT, hub_str(text))));
    client_expect_event(c, "t1", "say", "'bytewise'");
}

/* What the client says from here on is kept back. */
static BIO *hold_records(client_t *c)
{
    BIO *socket_bio = SSL_get_wbio(client_ssl(c));

    BIO_up_ref(socket_bio);
    SSL_set0_wbio(client_ssl(c), BIO_new(BIO_s_mem()));
    return socket_bio;
}

/* It goes out now, in pieces of this size. */
static void let_go(client_t *c, BIO *socket_bio, long piece)
{
    char *bytes;
    long len = BIO_get_mem_data(SSL_get_wbio(client_ssl(c)), &bytes);

    assert_true(len > 40);
    for (long i = 0; i < len; i += piece) {
        size_t size = (size_t)(piece < len - i ? piece : len - i);

        assert_int_equal(send(client_fd(c), bytes + i, size, MSG_NOSIGNAL), size);
    }
    SSL_set0_wbio(client_ssl(c), socket_bio);
}

static void records_may_come_byte_by_byte(void **state)
{
    secure_t *s = secure_chat(NULL, NULL);
    client_t *c = secure_member(s);
    BIO *held = hold_records(c);

    (void)state;
    client_say(c, "t1", "say", "'dripping'", NULL);
    let_go(c, held, 1);
    client_expect_event(c, "t1", "say", "'dripping'");
}

static char *string_of(size_t len)
{
    char *text = malloc(len + 3);

    assert_non_null(text);
    memset(text, 'y', len + 2);
    text[0] = text[len + 1] = '\'';
    text[len + 2] = '\0';
    return text;
}

static void large_messages_go_both_ways(void **state)
{
    static const size_t sizes[] = {1, 1300, 16300, 16384, 16500, 32768, 65000, 200000, 900000};
    secure_t *s = secure_chat(NULL, &(hub_limits_t){.message_bytes = 1048576});
    client_t *c = secure_member(s), *other = secure_member(s);

    (void)state;
    for (size_t i = 0; i < COUNT(sizes); i++) {
        char *text = string_of(sizes[i]);

        say_and_hear(c, c, text);
        client_expect_event(other, "t1", "say", text);
        free(text);
    }
}

static void many_small_ones_share_records(void **state)
{
    secure_t *s = secure_chat(NULL, NULL);
    client_t *c = secure_member(s);
    uint64_t writes = SERVER_STAT(s->server, writes_total);

    (void)state;
    client_say(c, "t1", "burst", "[2000,20]", NULL);
    for (unsigned i = 0; i < 2000; i++)
        client_expect_push(c, "t1", "b", "'xxxxxxxxxxxxxxxxxxxx'", "'j'");
    client_expect_quiet(c);
    assert_true(SERVER_STAT(s->server, writes_total) - writes < 200);
}

static void keys_are_updated_on_request(void **state)
{
    secure_t *s = secure_chat(NULL, NULL);
    client_t *c;

    (void)state;
    SSL_CTX_set_min_proto_version(s->context, TLS1_3_VERSION);
    c = secure_member(s);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(SSL_key_update(client_ssl(c), i % 2 == 0 ? SSL_KEY_UPDATE_REQUESTED
                                                                  : SSL_KEY_UPDATE_NOT_REQUESTED),
                         1);
        say_and_hear(c, c, "1");
    }
}

static void renegotiation_is_refused_and_harms_nobody(void **state)
{
    secure_t *s = secure_chat(NULL, NULL);
    client_t *c, *other;
    struct pollfd readable;

    (void)state;
    SSL_CTX_set_max_proto_version(s->context, TLS1_2_VERSION);
    c = secure_member(s);
    other = secure_member(s);
    assert_int_equal(SSL_renegotiate(client_ssl(c)), 1);
    readable = (struct pollfd){.fd = client_fd(c), .events = POLLIN};
    while (SSL_do_handshake(client_ssl(c)) != 1 && ERR_peek_error() == 0)
        assert_int_equal(poll(&readable, 1, CLIENT_DEADLINE_MS), 1);
    assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_R_NO_RENEGOTIATION);
    say_and_hear(other, other, "1");
}

/* ---- control frames and ends ---- */

static void pings_go_both_ways(void **state)
{
    secure_t *s = secure_chat(NULL, &(hub_limits_t){.ping_ms = 20, .pong_ms = 5000});
    client_t *c = secure_websocket(s);

    (void)state;
    client_expect_message(c, CLIENT_PING, HUB_STR(""));
    client_frame(c, CLIENT_PONG, HUB_STR(""));
    client_expect_message(c, CLIENT_PING, HUB_STR(""));
    client_frame(c, CLIENT_PING, HUB_STR("ahoy"));
    client_expect_message(c, CLIENT_PONG, HUB_STR("ahoy"));
}

static void a_close_is_answered_and_followed_by_close_notify(void **state)
{
    secure_t *s = secure_chat(NULL, NULL);
    client_t *c = secure_websocket(s);

    (void)state;
    client_close_frame(c, 1000, "");
    client_expect_close(c, 1000);
    secure_expect_end(c);
    server_expect_note("closed client");
    server_drop_client(s->server, c, client_destroy);
    SERVER_EXPECT_STAT(s->server, conns, 0);
}

static void what_the_client_sends_on_after_the_close_costs_it_nothing(void **state)
{
    static const char rest[30000];
    secure_t *s = secure_chat(NULL, NULL);
    client_t *c = secure_websocket(s);

    (void)state;
    client_frame(c, CLIENT_FIN | 0x03, HUB_STR("")); /* reserved */
    client_send(c, hub_str_n(rest, sizeof(rest)));
    client_expect_close(c, 1002);
    secure_expect_end(c); /* no reset, which would take the close frame with it */
}

static void close_notify_without_a_close_frame_ends_the_connection(void **state)
{
    secure_t *s = secure_chat(NULL, NULL);
    client_t *c = secure_member(s);

    (void)state;
    assert_int_equal(SSL_shutdown(client_ssl(c)), 0);
    server_expect_note("closed lost");
    secure_expect_end(c);
}

static void what_came_before_close_notify_is_heard(void **state)
{
    secure_t *s = secure_chat(NULL, NULL);
    client_t *c = secure_member(s), *other = secure_member(s);
    BIO *held = hold_records(c);

    (void)state;
    client_say(c, "t1", "say", "'last words'", NULL);
    SSL_shutdown(client_ssl(c));
    let_go(c, held, 65536);
    client_expect_event(other, "t1", "say", "'last words'");
    server_expect_note("closed lost");
}

static void a_fin_without_close_notify_ends_the_connection(void **state)
{
    secure_t *s = secure_chat(NULL, NULL);
    client_t *c = secure_member(s);

    (void)state;
    client_shutdown(c);
    server_expect_note("closed lost");
    client_expect_gone(c);
}

static void a_reset_ends_the_connection(void **state)
{
    secure_t *s = secure_chat(NULL, NULL);

    (void)state;
    server_drop_client(s->server, secure_member(s), client_abort);
    server_expect_note("closed lost");
    SERVER_EXPECT_STAT(s->server, conns, 0);
}

static void a_forged_record_ends_the_connection(void **state)
{
    secure_t *s = secure_chat(NULL, NULL);
    client_t *c = secure_member(s), *other = secure_member(s);
    static const char forged[] = "\x17\x03\x03\x00\x20"
                                 "0123456789abcdef0123456789abcdef";

    (void)state;
    assert_int_equal(send(client_fd(c), forged, sizeof(forged) - 1, MSG_NOSIGNAL),
                     sizeof(forged) - 1);
    server_expect_note("closed lost");
    client_expect_gone(c);
    say_and_hear(other, other, "1");
}

static void a_stop_says_1012_then_close_notify(void **state)
{
    secure_t *s = secure_chat(NULL, NULL);
    client_t *c = secure_member(s), *idle = secure_client(s), *waiting = secure_connect(s);

    (void)state;
    SERVER_EXPECT_STAT(s->server, pre_upgrade, 2);
    hub_server_stop(s->server->server);
    client_expect_close(c, 1012);
    secure_expect_end(c);
    client_expect_gone(idle);
    client_expect_gone(waiting);
    server_drop_client(s->server, c, client_destroy);
    hub_server_wait(s->server->server);
}

/* ---- slow readers ---- */

/* One with a small window, to which so much is said that its outbox is full. */
static client_t *slow_member(secure_t *s)
{
    client_t *c = server_keep_client(s->server, client_connect(s->server->address, 4096));

    client_tls(c, s->context);
    client_send_text(c, client_upgrade_text("/socket", ""));
    client_expect_upgraded(c);
    client_join(c, "t1", "'j'");
    return c;
}

static void who_never_reads_is_closed_with_4008_and_the_rest_is_dropped(void **state)
{
    secure_t *s = secure_chat(NULL, &(hub_limits_t){.outbox_bytes = 262144, .close_ms = 5000});
    client_t *c = slow_member(s), *other = secure_member(s);

    (void)state;
    client_say(c, "t1", "burst", "[40,60000]", NULL);
    server_expect_note("closed slow");
    SERVER_EXPECT_STAT(s->server, closed_slow_total, 1);
    say_and_hear(other, other, "1"); /* a turn later */
    /* what waits is what OpenSSL has sealed, the rest of a frame and the news */
    assert_true(SERVER_STAT(s->server, outbox_bytes) < 200000);
    assert_true(client_drain_to_close(c, 4008) < 40);
    secure_expect_end(c);
    SERVER_EXPECT_STAT(s->server, outbox_bytes, 0);
}

static void who_reads_late_gets_all_of_it(void **state)
{
    secure_t *s = secure_chat(NULL, &(hub_limits_t){.outbox_bytes = 8388608});
    client_t *c = slow_member(s), *other = secure_member(s);

    (void)state;
    client_say(c, "t1", "burst", "[60,60000]", NULL);
    SERVER_EXPECT_STAT_AT_LEAST(s->server, outbox_bytes, 1000000);
    say_and_hear(other, other, "1");
    for (unsigned i = 0; i < 60; i++)
        assert_int_equal(client_next(c).payload.len, 60000 + 54);
    client_expect_event(c, "t1", "say", "1");
    client_expect_quiet(c);
    SERVER_EXPECT_STAT(s->server, outbox_bytes, 0);
}

/* Reads on to the message of this number; its numbers rise. Returns what it was told to have
 * missed.
 */
static int read_to_number(client_t *c, int last)
{
    int number = -1, missed = 0;

    while (number != last) {
        const char *text = client_expect_frame(c, CLIENT_TEXT).base, *at;
        int before = number;

        if ((at = strstr(text, "\"missed\":")) != NULL)
            assert_int_equal(sscanf(at, "\"missed\":%d", &missed), 1);
        else if ((at = strstr(text, "\"payload\":\"")) != NULL)
            assert_true(sscanf(at, "\"payload\":\"%d", &number) == 1 && number > before);
    }
    return missed;
}

static void who_reads_too_slowly_loses_what_its_channel_says(void **state)
{
    static char json[60000];
    secure_t *s = secure_chat(NULL, NULL);
    client_t *slow = slow_member(s), *reader = secure_websocket(s);
    int heard = 39;

    (void)state;
    client_join(slow, "old1", "'s'");
    client_join(reader, "old1", "'r'");
    for (int i = 0; i <= heard; i++) {
        snprintf(json, sizeof(json), "\"%06d %050000d\"", i, 0);
        assert_int_equal(
            hub_publish(s->server->hub, HUB_STR("old1"), HUB_STR("n"), hub_json(hub_str(json))),
            HUB_OK);
        client_expect_frame(reader, CLIENT_TEXT);
    }
    assert_true(read_to_number(slow, heard) > 10);
    client_expect_quiet(slow);
}

static void messages_may_be_compressed_as_well(void **state)
{
    static char got[4096];
    secure_t *s = secure_create(NULL, NULL);
    z_stream stream = {.next_out = (Bytef *)got, .avail_out = sizeof(got) - 1};
    char *text = string_of(2000);
    hub_str_t payload;
    client_t *c;

    (void)state;
    secure_start(s, &(hub_endpoint_options_t){.deflate = {.enabled = true}});
    c = secure_client(s);
    client_send_text(
        c, client_upgrade_text("/socket", "Sec-WebSocket-Extensions: permessage-deflate\r\n"));
    client_expect_upgraded(c);
    client_join(c, "t1", "'j'");
    client_say(c, "t1", "say", text, NULL);
    payload = client_expect_frame(c, CLIENT_TEXT | 0x40);
    assert_true(payload.len < 200);
    assert_int_equal(inflateInit2(&stream, -15), Z_OK);
    stream.next_in = (Bytef *)(uintptr_t)payload.base;
    stream.avail_in = (uInt)payload.len;
    assert_int_equal(inflate(&stream, Z_SYNC_FLUSH), Z_OK);
    inflateEnd(&stream);
    assert_non_null(strstr(got, "yyyyyyyy\"}"));
    free(text);
}

static void what_openssl_holds_counts_as_memory(void **state)
{
    enum { CLIENTS = 5 };
    secure_t *s = secure_chat(NULL, NULL);
    client_t *clients[CLIENTS];
    uint64_t before = SERVER_STAT(s->server, memory_bytes);

    (void)state;
    for (int i = 0; i < CLIENTS; i++)
        clients[i] = secure_websocket(s);
    SERVER_EXPECT_STAT_AT_LEAST(s->server, memory_bytes, before + CLIENTS * 14000);
    for (int i = 0; i < CLIENTS; i++) /* the begin of a record that never ends */
        assert_int_equal(send(client_fd(clients[i]), "\x17\x03\x03\x40\x00-", 6, MSG_NOSIGNAL), 6);
    SERVER_EXPECT_STAT_AT_LEAST(s->server, memory_bytes, before + CLIENTS * 30000);
    for (int i = 0; i < CLIENTS; i++)
        server_drop_client(s->server, clients[i], client_destroy);
    SERVER_EXPECT_STAT(s->server, memory_bytes, before);
}

static void bytes_past_their_rate_wait_as_without_tls(void **state)
{
    enum { MESSAGES = 100, SIZE = 2000 };
    secure_t *s = secure_chat(
        NULL,
        &(hub_limits_t){.bytes_per_s = 2000000, .bytes_burst = 10000, .messages_per_s = HUB_OFF});
    client_t *c = secure_member(s);
    char payload[SIZE + 3], ref[12];

    (void)state;
    for (int i = 0; i < MESSAGES; i++) {
        snprintf(payload, sizeof(payload), "'%0*d'", SIZE, i);
        snprintf(ref, sizeof(ref), "%d", i);
        client_say(c, "t1", "ask", payload, ref);
    }
    for (int i = 0; i < MESSAGES; i++) {
        snprintf(payload, sizeof(payload), "'%0*d'", SIZE, i);
        snprintf(ref, sizeof(ref), "%d", i);
        client_expect_ok(c, "t1", ref, payload);
    }
    SERVER_EXPECT_STAT_AT_LEAST(s->server, read_pauses_total, 2);
}

/* Each costs the server as much as a hundred frames. */
static void a_flood_of_key_updates_ends_the_connection(void **state)
{
    secure_t *s = secure_chat(NULL, &(hub_limits_t){SERVER_UNHURRIED});
    client_t *c;

    (void)state;
    SSL_CTX_set_min_proto_version(s->context, TLS1_3_VERSION);
    c = secure_member(s);
    for (unsigned i = 0; i < 40; i++) {
        SSL_key_update(client_ssl(c), SSL_KEY_UPDATE_NOT_REQUESTED);
        client_frame(c, CLIENT_PONG, HUB_STR("")); /* makes it leave */
    }
    client_expect_gone(c);
    server_expect_note("closed limit");
    SERVER_EXPECT_STAT(s->server, tls_chatter_total, 1);
    server_expect_log("tls.chatter", "why=\"key updates\" peer=127.0.0.1:");
}

static void a_flood_of_key_updates_before_a_request_ends_the_connection(void **state)
{
    secure_t *s = secure_chat(NULL, NULL);
    client_t *c;

    (void)state;
    SSL_CTX_set_min_proto_version(s->context, TLS1_3_VERSION);
    c = secure_client(s);
    for (unsigned i = 0; i < 40; i++) {
        SSL_key_update(client_ssl(c), SSL_KEY_UPDATE_NOT_REQUESTED);
        client_send_text(c, "G");
    }
    client_expect_gone(c);
    SERVER_EXPECT_STAT(s->server, tls_chatter_total, 1);
    SERVER_EXPECT_STAT(s->server, pre_upgrade, 0);
}

/* ---- hooks that write while something is written ---- */

static _Atomic(hub_conn_t *) raw_conn;

static hub_status_t on_raw_open(hub_conn_t *conn, void *user)
{
    (void)user;
    atomic_store(&raw_conn, conn);
    return HUB_OK;
}

static hub_status_t on_raw_message(hub_conn_t *conn, hub_str_t bytes, bool binary, void *user)
{
    (void)user;
    return hub_conn_send(conn, bytes, binary);
}

/* More than fits into that one's outbox at once, so that it has to be written right now. */
static hub_status_t send_elsewhere(const hub_hook_event_t *event, void *user)
{
    static const char large[30000];

    (void)user;
    if (hub_str_equals(event->msg->event, HUB_STR("say")))
        for (unsigned i = 0; i < 4; i++)
            if (hub_conn_send(atomic_load(&raw_conn), hub_str_n(large, sizeof(large)), true) !=
                HUB_OK)
                server_note("refused");
    return HUB_OK;
}

static void a_hook_may_write_to_others_while_its_frame_leaves(void **state)
{
    secure_t *s = secure_create(NULL, NULL);
    hub_raw_options_t raw = {.on_open = on_raw_open, .on_message = on_raw_message};
    client_t *member, *other;

    (void)state;
    raw.endpoint.limits.outbox_bytes = 65536;
    assert_int_equal(hub_server_websocket(s->server->server, "/raw", &raw), HUB_OK);
    server_hook(s->server, HUB_HOOK_MESSAGE_SENT, send_elsewhere);
    secure_start(s, NULL);
    other = secure_client(s);
    client_send_text(other, client_upgrade_text("/raw", ""));
    client_expect_upgraded(other);
    client_frame(other, CLIENT_TEXT, HUB_STR("ready"));
    client_expect_text(other, "ready");
    member = secure_member(s);
    for (unsigned i = 0; i < 3; i++) {
        say_and_hear(member, member, "'hear this'");
        for (unsigned j = 0; j < 4; j++)
            assert_int_equal(client_expect_frame(other, CLIENT_BINARY).len, 30000);
    }
    client_expect_quiet(member);
    server_expect_no_note();
}

/* ---- plain requests and long poll ---- */

static void on_hello(hub_http_t *http, void *user)
{
    (void)user;
    hub_http_respond(http, 200, "text/plain", HUB_STR("hello"));
}

static void routes_answer_over_tls(void **state)
{
    secure_t *s = secure_create(NULL, NULL);
    client_t *c;

    (void)state;
    assert_int_equal(hub_server_route(s->server->server, "GET", "/hello", on_hello, NULL), HUB_OK);
    secure_start(s, NULL);
    c = secure_client(s);
    for (unsigned i = 0; i < 3; i++) {
        client_request(c, "GET", "/hello", NULL);
        assert_string_equal(client_expect_response(c, 200).body.base, "hello");
    }
    client_request(c, "GET", "/nothing", NULL);
    client_expect_response(c, 404);
}

static void a_request_that_ends_with_close_notify_is_answered(void **state)
{
    secure_t *s = secure_create(NULL, NULL);
    client_t *c;

    (void)state;
    assert_int_equal(hub_server_route(s->server->server, "GET", "/hello", on_hello, NULL), HUB_OK);
    secure_start(s, NULL);
    c = secure_client(s);
    client_request(c, "GET", "/hello", NULL);
    assert_int_equal(SSL_shutdown(client_ssl(c)), 0);
    assert_string_equal(client_expect_response(c, 200).body.base, "hello");
    client_expect_gone(c); /* where the answer left first, h2o has no goodbye to say */
    SERVER_EXPECT_STAT(s->server, pre_upgrade, 0);
}

static void who_says_goodbye_has_missed_no_deadline(void **state)
{
    secure_t *s = secure_chat(NULL, NULL);
    client_t *c = secure_client(s);

    (void)state;
    SERVER_EXPECT_STAT(s->server, pre_upgrade, 1);
    assert_int_equal(SSL_shutdown(client_ssl(c)), 0);
    client_expect_gone(c);
    SERVER_EXPECT_STAT(s->server, pre_upgrade, 0);
    assert_int_equal(SERVER_STAT(s->server, request_timeouts_total), 0);
}

/* h2o would keep it: OpenSSL reads no more, and nothing takes it away. */
static void what_follows_close_notify_is_not_gathered(void **state)
{
    static char flood[65536];
    secure_t *s = secure_chat(NULL, NULL);
    client_t *c = secure_client(s);
    size_t sent = 0;

    (void)state;
    SERVER_EXPECT_STAT(s->server, pre_upgrade, 1);
    assert_int_equal(SSL_shutdown(client_ssl(c)), 0);
    while (SERVER_STAT(s->server, pre_upgrade) != 0) {
        struct pollfd writable = {.fd = client_fd(c), .events = POLLOUT};

        if (send(client_fd(c), flood, sizeof(flood), MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
            sent += sizeof(flood);
        assert_true(sent < 256U * sizeof(flood));
        poll(&writable, 1, 1);
    }
}

/* Of each piece all is accepted as long as it is read: the bound is the head's. */
static void a_head_without_an_end_is_refused(void **state)
{
    static char endless[16384];
    secure_t *s = secure_chat(NULL, NULL);
    client_t *c = secure_client(s), *other = secure_member(s);

    (void)state;
    memset(endless, 'a', sizeof(endless));
    client_send_text(c, "GET /hello HTTP/1.1\r\nX: ");
    for (unsigned i = 0; i < 256; i++)
        client_send(c, hub_str_n(endless, sizeof(endless)));
    client_expect_gone(c);
    say_and_hear(other, other, "1");
    SERVER_EXPECT_STAT(s->server, pre_upgrade, 0);
}

static void origins_of_https_pages_pass(void **state)
{
    secure_t *s = secure_chat(NULL, NULL);
    client_t *c = secure_client(s), *foreign = secure_client(s);

    (void)state;
    client_send_text(c, client_upgrade_text("/socket", "Origin: https://localhost\r\n"));
    client_expect_upgraded(c);
    client_send_text(foreign, client_upgrade_text("/socket", "Origin: https://evil.example\r\n"));
    client_expect_response(foreign, 403);
}

static const char *poll_once(client_t *c, const char *token)
{
    char target[400];

    snprintf(target, sizeof(target), "/socket/longpoll?vsn=2.0.0%s%s", token[0] ? "&token=" : "",
             token);
    client_request(c, "GET", target, NULL);
    return client_expect_response(c, 200).body.base;
}

/* {"status":410,"token":"…",…} */
static void copy_token(const char *answer, char token[300])
{
    const char *at = strstr(answer, "\"token\":\"");

    assert_non_null(at);
    snprintf(token, 300, "%.*s", (int)strcspn(at + 9, "\""), at + 9);
}

static void post(client_t *c, const char *token, const char *body)
{
    char text[800];

    snprintf(text, sizeof(text),
             "POST /socket/longpoll?vsn=2.0.0&token=%s HTTP/1.1\r\nHost: localhost\r\n"
             "Content-Type: application/x-ndjson\r\nContent-Length: %zu\r\n\r\n%s",
             token, strlen(body), body);
    client_send_text(c, text);
    client_expect_response(c, 200);
}

static void long_poll_works_over_tls(void **state)
{
    secure_t *s = secure_chat(NULL, &(hub_limits_t){.longpoll_window_ms = 5000});
    client_t *c = secure_client(s), *other = secure_member(s);
    char token[300];

    (void)state;
    copy_token(poll_once(c, ""), token);
    post(c, token, "[\"1\",\"1\",\"t1\",\"phx_join\",{}]");
    assert_non_null(strstr(poll_once(c, token), "phx_reply"));
    client_say(other, "t1", "say", "'polled'", NULL);
    assert_non_null(strstr(poll_once(c, token), "polled"));
}

static void a_long_poll_client_that_says_goodbye_is_noticed_while_it_waits(void **state)
{
    secure_t *s = secure_chat(NULL, &(hub_limits_t){.longpoll_window_ms = 20000});
    client_t *c = secure_client(s), *other;
    char token[300], target[400];

    (void)state;
    copy_token(poll_once(c, ""), token);
    snprintf(target, sizeof(target), "/socket/longpoll?vsn=2.0.0&token=%s", token);
    client_request(c, "GET", target, NULL);
    SERVER_EXPECT_STAT(s->server, longpoll_polls_total, 1);
    SSL_shutdown(client_ssl(c));
    SERVER_EXPECT_STAT_AT_LEAST(s->server, turns_total, SERVER_STAT(s->server, turns_total) + 1);
    client_shutdown(c); /* after close_notify was seen, perhaps */
    client_expect_gone(c);
    other = secure_client(s); /* nothing was lost: the next poll gets it */
    post(other, token, "[\"1\",\"1\",\"t1\",\"phx_join\",{}]");
    assert_non_null(strstr(poll_once(other, token), "phx_reply"));
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        SECURE_CASE(a_room_has_members_with_and_without_tls),
        SECURE_CASE(frames_that_come_with_the_request_are_heard),
        SECURE_CASE(each_byte_may_be_a_record_of_its_own),
        SECURE_CASE(records_may_come_byte_by_byte),
        SECURE_CASE(large_messages_go_both_ways),
        SECURE_CASE(many_small_ones_share_records),
        SECURE_CASE(keys_are_updated_on_request),
        SECURE_CASE(renegotiation_is_refused_and_harms_nobody),
        SECURE_CASE(pings_go_both_ways),
        SECURE_CASE(a_close_is_answered_and_followed_by_close_notify),
        SECURE_CASE(what_the_client_sends_on_after_the_close_costs_it_nothing),
        SECURE_CASE(close_notify_without_a_close_frame_ends_the_connection),
        SECURE_CASE(what_came_before_close_notify_is_heard),
        SECURE_CASE(a_fin_without_close_notify_ends_the_connection),
        SECURE_CASE(a_reset_ends_the_connection),
        SECURE_CASE(a_forged_record_ends_the_connection),
        SECURE_CASE(a_stop_says_1012_then_close_notify),
        SECURE_CASE(who_never_reads_is_closed_with_4008_and_the_rest_is_dropped),
        SECURE_CASE(who_reads_late_gets_all_of_it),
        SECURE_CASE(a_flood_of_key_updates_ends_the_connection),
        SECURE_CASE(a_flood_of_key_updates_before_a_request_ends_the_connection),
        SECURE_CASE(a_hook_may_write_to_others_while_its_frame_leaves),
        SECURE_CASE(who_reads_too_slowly_loses_what_its_channel_says),
        SECURE_CASE(messages_may_be_compressed_as_well),
        SECURE_CASE(what_openssl_holds_counts_as_memory),
        SECURE_CASE(bytes_past_their_rate_wait_as_without_tls),
        SECURE_CASE(routes_answer_over_tls),
        SECURE_CASE(a_request_that_ends_with_close_notify_is_answered),
        SECURE_CASE(who_says_goodbye_has_missed_no_deadline),
        SECURE_CASE(what_follows_close_notify_is_not_gathered),
        SECURE_CASE(a_head_without_an_end_is_refused),
        SECURE_CASE(origins_of_https_pages_pass),
        SECURE_CASE(long_poll_works_over_tls),
        SECURE_CASE(a_long_poll_client_that_says_goodbye_is_noticed_while_it_waits),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
