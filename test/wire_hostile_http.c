/* SPDX-License-Identifier: MIT */
/* Hostile visitors of the port, before any handshake or without one: hundreds who drip their
 * requests byte by byte from ten addresses, requests behind requests, floods of headers and paths,
 * and who would like to speak HTTP/2. */
#define _GNU_SOURCE 1
#include "test/horde.h"
#include "test/secure.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define HOST "Host: localhost\r\n"

static horde_t horde;

static int clean_up(void **state)
{
    horde_destroy(&horde);
    return server_teardown(state);
}

static void on_page(hub_http_t *http, void *user)
{
    (void)user;
    hub_http_respond(http, 200, "text/plain", HUB_STR("page"));
}

static hub_status_t on_echo(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_reply(me, msg, msg->payload);
}

static const hub_event_handler_t events[] = {{"echo", on_echo}, {NULL, NULL}};

static server_t *site(size_t request_ms)
{
    server_t *s =
        server_create_with(&(hub_server_options_t){.limits = {.request_ms = request_ms}}, NULL);

    server_channel(s, &(hub_channel_options_t){.pattern = "t{n}", .events = events});
    assert_int_equal(hub_server_route(s->server, "GET", "/page", on_page, NULL), HUB_OK);
    assert_int_equal(hub_server_route(s->server, "POST", "/page", on_page, NULL), HUB_OK);
    server_mount(s, &(hub_endpoint_options_t){.limits = {.messages_per_s = HUB_OFF}});
    server_start(s);
    return s;
}

/* ---- who drips ---- */

/* They are shown out when their time is up, however busy they look; nobody else waits for them. */
static void expect_drippers_shown_out(const char *beginning, const char *drip)
{
    server_t *s = site(1000);
    size_t len = strlen(drip);
    client_t *c;

    horde_connect(&horde, s->address, 300);
    horde_send(&horde, hub_str(beginning));
    c = server_client(s, "/socket"); /* is let in behind them */
    client_join(c, "t1", "'j'");
    for (size_t i = 0; i != 60; i++) { /* whole drips: what follows begins with one */
        horde_send(&horde, hub_str_n(drip + (len != 0 ? i % len : 0), len != 0));
        client_say(c, "t1", "echo", "1", "7");
        client_expect_ok(c, "t1", "7", "1");
    }
    horde_await_end(&horde, hub_str(drip));
    SERVER_EXPECT_STAT(s, request_timeouts_total, 300);
    SERVER_EXPECT_STAT(s, pre_upgrade, 0);
    client_expect_quiet(c);
}

static void three_hundred_who_drip_their_headers(void **state)
{
    (void)state;
    expect_drippers_shown_out("GET /socket HTTP/1.1\r\n" HOST "X: ", "abc");
}

static void three_hundred_who_drip_one_header_after_the_other(void **state)
{
    (void)state;
    expect_drippers_shown_out("GET /socket HTTP/1.1\r\n" HOST, "A: b\r\n");
}

static void three_hundred_who_drip_a_body(void **state)
{
    (void)state;
    expect_drippers_shown_out("POST /page HTTP/1.1\r\n" HOST "Content-Length: 100000\r\n\r\n",
                              "abc");
}

static void three_hundred_who_drip_chunks(void **state)
{
    (void)state;
    expect_drippers_shown_out("POST /page HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n",
                              "1\r\nx\r\n");
}

static void three_hundred_who_say_nothing(void **state)
{
    (void)state;
    expect_drippers_shown_out("", "");
}

/* The beginning of a ClientHello, and then a byte now and then of the 16 KiB that are to
 * follow. */
static void three_hundred_who_drip_a_tls_handshake(void **state)
{
    secure_t *s = secure_create(&(hub_server_options_t){.limits = {.request_ms = 1000}}, NULL);
    client_t *c;

    (void)state;
    secure_start(s, NULL);
    horde_connect(&horde, s->server->address, 300);
    horde_send(&horde, HUB_STR("\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03"));
    c = secure_member(s);
    for (int i = 0; i < 20; i++) {
        horde_send(&horde, HUB_STR("x"));
        client_expect_quiet(c);
    }
    horde_await_end(&horde, HUB_STR("x"));
    SERVER_EXPECT_STAT(s->server, request_timeouts_total, 300);
    SERVER_EXPECT_STAT(s->server, pre_upgrade, 0);
    client_expect_quiet(c);
}

static int clean_up_secure(void **state)
{
    horde_destroy(&horde);
    return secure_teardown(state);
}

/* ---- requests behind requests ---- */

#define BEHIND "GET /page HTTP/1.1\r\n" HOST "\r\n"

/* What another server in front may have taken for one request. */
static const char *const smuggling[] = {
    "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" BEHIND,
    "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" BEHIND,
    "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" BEHIND,
    "Content-Length: 0\r\nContent-Length: 39\r\n\r\n" BEHIND,
    "Content-Length: 39\r\nContent-Length: 0\r\n\r\n" BEHIND,
    "Content-Length: 0\r\nContent-Length: 0\r\n\r\n" BEHIND,
    "Content-Length: 0, 0\r\n\r\n" BEHIND,
    "Content-Length: 0, 39\r\n\r\n" BEHIND,
    "Content-Length: +0\r\n\r\n" BEHIND,
    "Content-Length: -0\r\n\r\n" BEHIND,
    "Content-Length: 0x0\r\n\r\n" BEHIND,
    "Content-Length: 0 0\r\n\r\n" BEHIND,
    "Content-Length: 00\r\n\r\n" BEHIND,
    "Content-Length: 18446744073709551616\r\n\r\n" BEHIND,
    "Content-Length : 0\r\n\r\n" BEHIND,
    "content-length:0\r\nCONTENT-LENGTH:39\r\n\r\n" BEHIND,
    "Transfer-Encoding: xchunked\r\n\r\n" BEHIND,
    "Transfer-Encoding: identity\r\n\r\n" BEHIND,
    "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" BEHIND,
    "Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n" BEHIND,
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" BEHIND,
    "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" BEHIND,
    "Transfer-Encoding:\vchunked\r\n\r\n0\r\n\r\n" BEHIND,
    "X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" BEHIND,
    "Transfer-Encoding: chunked\r\n\r\n0;a=\"\r\n\"\r\n\r\n" BEHIND,
    "Transfer-Encoding: chunked\r\n\r\n00000000000000000\r\n\r\n" BEHIND,
    "Transfer-Encoding: chunked\r\n\r\n-0\r\n\r\n" BEHIND,
    "Transfer-Encoding: chunked\r\n\r\n1\nx\n0\n\n" BEHIND,
    "Transfer-Encoding: chunked\r\n\r\n1\r\nxx\r\n0\r\n\r\n" BEHIND,
};

static size_t answers_in(const char *text)
{
    size_t count = 0;

    while ((text = strstr(text, "HTTP/1.1 ")) != NULL) {
        text++;
        count++;
    }
    return count;
}

/* The client keeps its side open: it is the server that ends the connection, at the latest when
 * the request takes too long. */
static void expect_one_answer_and_the_end(client_t *c, const char *method, const char *rest)
{
    hub_str_t answer = client_read_all(c);

    if (answers_in(answer.base) != 1)
        fail_msg("%zu answers to %s %s:\n%s", answers_in(answer.base), method, rest, answer.base);
}

static client_t *ask(server_t *s, const char *method, const char *rest)
{
    client_t *c = server_connect(s);
    char request[500];

    snprintf(request, sizeof(request), "%s /page HTTP/1.1\r\n" HOST "%s", method, rest);
    client_send_text(c, request);
    return c;
}

/* All at once, so that the time for a request is waited for once. */
static void nothing_is_answered_behind_a_doubtful_body(void **state)
{
    server_t *s = site(1000);
    client_t *post[COUNT(smuggling)], *get[COUNT(smuggling)];

    (void)state;
    for (size_t i = 0; i < COUNT(smuggling); i++) {
        post[i] = ask(s, "POST", smuggling[i]);
        get[i] = ask(s, "GET", smuggling[i]);
    }
    for (size_t i = 0; i < COUNT(smuggling); i++) {
        expect_one_answer_and_the_end(post[i], "POST", smuggling[i]);
        expect_one_answer_and_the_end(get[i], "GET", smuggling[i]);
    }
}

/* ---- floods ---- */

static void send_flood(client_t *c, const char *start, char filler, size_t bytes)
{
    char *flood = malloc(bytes);

    assert_non_null(flood);
    memset(flood, filler, bytes);
    client_send_text(c, start);
    client_send(c, hub_str_n(flood, bytes));
    client_send_text(c, " HTTP/1.1\r\n" HOST "\r\n");
    free(flood);
}

/* Whatever the size, it is refused or cut off. */
static void expect_flood_refused(server_t *s, const char *start, char filler, size_t bytes)
{
    client_t *c = server_connect(s);
    client_response_t response;

    send_flood(c, start, filler, bytes);
    if (client_try_response(c, &response) && response.status < 400)
        fail_msg("%zu bytes were answered with %d", bytes, response.status);
    server_drop_client(s, c, client_destroy);
}

static void paths_and_headers_without_end_are_refused(void **state)
{
    static const size_t sizes[] = {16385, 65536, 417792, 4000000};
    server_t *s = site(500);
    size_t heap = horde_heap();

    (void)state;
    for (size_t i = 0; i != COUNT(sizes); i++) {
        expect_flood_refused(s, "GET /", 'a', sizes[i]);
        expect_flood_refused(s, "GET /page?", '&', sizes[i]);
        expect_flood_refused(s, "GET /page HTTP/1.1\r\n" HOST "X: ", ',', sizes[i]);
        expect_flood_refused(s, "", 'A', sizes[i]);
    }
    SERVER_EXPECT_STAT(s, pre_upgrade, 0);
    assert_true(horde_heap() <= heap + 2 * 1024 * 1024); /* what libh2o keeps for next time */
}

static void header_fields_without_end_are_refused(void **state)
{
    server_t *s = site(500);

    (void)state;
    for (size_t count = 60; count <= 101; count++) {
        client_t *c = server_connect(s);
        client_response_t response = {0};

        client_send_text(c, "GET /page HTTP/1.1\r\n" HOST);
        for (size_t i = 1; i < count; i++)
            client_send_text(c, "A: b\r\n");
        client_send_text(c, "\r\n");
        client_shutdown(c);
        if (client_try_response(c, &response) && (response.status == 200) != (count <= 64))
            fail_msg("%zu fields: %d", count, response.status);
        server_drop_client(s, c, client_destroy);
    }
}

/* ---- HTTP/2 ---- */

#define SETTINGS "\0\0\0\4\0\0\0\0\0"

/* A frame of HTTP/2 begins with its length, and no answer of ours with a NUL. */
static void expect_no_http2(server_t *s, hub_str_t request)
{
    client_t *c = server_connect(s);
    hub_str_t answer;

    client_send(c, request);
    client_shutdown(c);
    answer = client_read_all(c);
    assert_true(answer.len == 0 || hub_str_starts_with(answer, HUB_STR("HTTP/1.1 ")));
    assert_null(memmem(answer.base, answer.len, "HTTP/1.1 101", 12));
    assert_null(memmem(answer.base, answer.len, "\0\4\0\0\0\0\0", 7));
    server_drop_client(s, c, client_destroy);
}

static void http2_is_spoken_with_nobody(void **state)
{
    server_t *s = site(500);

    (void)state;
    expect_no_http2(s, HUB_STR("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" SETTINGS));
    expect_no_http2(s, HUB_STR(BEHIND "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" SETTINGS));
    expect_no_http2(s, HUB_STR("GET /page HTTP/1.1\r\n" HOST
                               "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
                               "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"
                               "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" SETTINGS));
    expect_no_http2(s, HUB_STR("GET /page HTTP/1.1\r\n" HOST
                               "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c, websocket\r\n"
                               "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"));
    expect_no_http2(s, HUB_STR("GET /page HTTP/2.0\r\n" HOST "\r\n"));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_teardown(name, clean_up)
    const struct CMUnitTest cases[] = {
        CASE(three_hundred_who_drip_their_headers),
        CASE(three_hundred_who_drip_one_header_after_the_other),
        CASE(three_hundred_who_drip_a_body),
        CASE(three_hundred_who_drip_chunks),
        CASE(three_hundred_who_say_nothing),
        cmocka_unit_test_teardown(three_hundred_who_drip_a_tls_handshake, clean_up_secure),
        CASE(nothing_is_answered_behind_a_doubtful_body),
        CASE(paths_and_headers_without_end_are_refused),
        CASE(header_fields_without_end_are_refused),
        CASE(http2_is_spoken_with_nobody),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
