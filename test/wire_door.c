/* SPDX-License-Identifier: MIT */
/* Who comes in by the door and takes their time: with the request, with its answer, each kind with
 * a deadline that does not move with what drips in, while others are served. */
#define _GNU_SOURCE 1
#include "test/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define BIG (4u << 20)
#define DRIP_MS 5
#define STALL_MS 100
#define HURRY_MS 1000 /* machines pause, too, between a connection and its request */

/* ---- the server of these cases ---- */

static void add_big_file(server_t *s)
{
    char *page = malloc(BIG);

    assert_non_null(page);
    memset(page, 'x', BIG);
    assert_int_equal(hub_server_file(s->server, "/big", "text/plain", hub_str_n(page, BIG)),
                     HUB_OK);
    free(page);
}

static void on_echo(hub_http_t *http, void *user)
{
    (void)user;
    hub_http_respond(http, 200, "text/plain", hub_http_body(http));
}

static server_t *doorkeeper(const hub_server_options_t *options)
{
    server_t *s = server_create_with(options, NULL);

    server_channel(s, &(hub_channel_options_t){.pattern = "t{id}"});
    add_big_file(s);
    assert_int_equal(hub_server_route(s->server, "POST", "/echo", on_echo, NULL), HUB_OK);
    assert_int_equal(hub_server_route(s->server, "GET", "/health", hub_health_on_http, s->server),
                     HUB_OK);
    server_mount(s, NULL);
    server_start(s);
    return s;
}

static client_t *small_window(server_t *s)
{
    return server_keep_client(s, client_connect(s->address, 4096));
}

static void is_served(server_t *s)
{
    client_t *c = server_client(s, "/socket");

    client_join(c, "t1", "1");
    client_expect_quiet(c);
}

/* ---- slow requests ---- */

static server_t *hurried(void)
{
    return doorkeeper(&(hub_server_options_t){.limits = {.request_ms = HURRY_MS}});
}

/* Byte after byte, for ever, but for the server. */
static void drip(client_t *c, const char *text)
{
    for (size_t i = 0; i != 2000 && !client_waits(c, DRIP_MS); ++i)
        client_send(c, hub_str_n(text + i % strlen(text), 1));
    client_expect_gone(c);
}

static void expect_timed_out(server_t *s)
{
    SERVER_EXPECT_STAT(s, pre_upgrade, 0);
    assert_true(SERVER_STAT(s, request_timeouts_total) >= 1);
}

static void header_bytes_that_drip_in_do_not_move_the_deadline(void **state)
{
    server_t *s = hurried();
    client_t *c = server_connect(s);

    (void)state;
    client_send_text(c, "GET /socket HTTP/1.1\r\nHost: localhost\r\n");
    is_served(s);
    drip(c, "X-Drip: 1\r\n");
    expect_timed_out(s);
}

static void a_body_that_drips_in_does_not_move_the_deadline(void **state)
{
    server_t *s = hurried();
    client_t *c = server_connect(s);

    (void)state;
    client_send_text(c, "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n");
    is_served(s);
    drip(c, "x");
    expect_timed_out(s);
}

static void chunks_that_drip_in_do_not_move_the_deadline(void **state)
{
    server_t *s = hurried();
    client_t *c = server_connect(s);

    (void)state;
    client_send_text(
        c, "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    is_served(s);
    drip(c, "1\r\nx\r\n");
    expect_timed_out(s);
}

static void who_is_silent_after_100_continue_is_closed(void **state)
{
    server_t *s = hurried();
    client_t *c = server_connect(s);

    (void)state;
    client_send_text(c, "POST /echo HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
                        "Content-Length: 5\r\n\r\n");
    is_served(s);
    client_expect_gone(c);
    expect_timed_out(s);
}

static void who_connects_and_says_nothing_is_closed(void **state)
{
    server_t *s = hurried();
    client_t *c = server_connect(s);

    (void)state;
    is_served(s);
    client_expect_gone(c);
    expect_timed_out(s);
}

static void who_asks_once_and_falls_silent_is_closed(void **state)
{
    server_t *s = hurried();
    client_t *c = server_connect(s);

    (void)state;
    client_request(c, "GET", "/health", "");
    (void)client_expect_response(c, 200);
    client_expect_gone(c);
    expect_timed_out(s);
}

/* ---- slow readers ---- */

static server_t *impatient(void)
{
    return doorkeeper(&(hub_server_options_t){.limits = {.write_stall_ms = STALL_MS}});
}

static void an_answer_that_nobody_reads_is_cut(void **state)
{
    server_t *s = impatient();
    client_t *c = small_window(s);

    (void)state;
    client_request(c, "GET", "/big", "");
    SERVER_EXPECT_STAT(s, write_stalls_total, 1);
    server_expect_log("server.write_stalled", "peer=127.0.0.1:");
    SERVER_EXPECT_STAT(s, pre_upgrade, 0);
    client_expect_gone(c);
    is_served(s);
}

static void who_pipelines_and_never_reads_is_cut(void **state)
{
    server_t *s = impatient();
    client_t *c = small_window(s);

    (void)state;
    for (int i = 0; i != 20; ++i)
        client_request(c, "GET", "/big", "");
    SERVER_EXPECT_STAT(s, write_stalls_total, 1);
    client_expect_gone(c);
    server_stop(s);
    assert_int_equal(SERVER_STAT(s, http_requests_total), 1); /* the rest is not even made */
}

static void who_reads_byte_by_byte_is_cut(void **state)
{
    server_t *s = impatient();
    client_t *c = small_window(s);

    (void)state;
    client_request(c, "GET", "/big", "");
    for (int i = 0; i != 2000 && SERVER_STAT(s, write_stalls_total) == 0; ++i)
        (void)client_sip(c, 1, DRIP_MS);
    SERVER_EXPECT_STAT(s, write_stalls_total, 1);
}

static void who_reads_gets_all_of_a_large_answer_and_may_ask_again(void **state)
{
    /* machines pause, too: only who is cut needs to be so soon */
    server_t *s = doorkeeper(&(hub_server_options_t){.limits = {.write_stall_ms = 3000}});
    client_t *c = small_window(s);
    client_response_t response;

    (void)state;
    client_request(c, "GET", "/big", "");
    response = client_expect_response(c, 200);
    assert_int_equal(response.body.len, BIG);
    client_request(c, "GET", "/health", "");
    (void)client_expect_response(c, 200);
    SERVER_EXPECT_STAT(s, write_stalls_total, 0);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        SERVER_CASE(header_bytes_that_drip_in_do_not_move_the_deadline),
        SERVER_CASE(a_body_that_drips_in_does_not_move_the_deadline),
        SERVER_CASE(chunks_that_drip_in_do_not_move_the_deadline),
        SERVER_CASE(who_is_silent_after_100_continue_is_closed),
        SERVER_CASE(who_connects_and_says_nothing_is_closed),
        SERVER_CASE(who_asks_once_and_falls_silent_is_closed),
        SERVER_CASE(an_answer_that_nobody_reads_is_cut),
        SERVER_CASE(who_pipelines_and_never_reads_is_cut),
        SERVER_CASE(who_reads_byte_by_byte_is_cut),
        SERVER_CASE(who_reads_gets_all_of_a_large_answer_and_may_ask_again),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
