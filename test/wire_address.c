/* SPDX-License-Identifier: MIT */
/* Limits per address as clients meet them: those of one address among others, over all workers and
 * both transports, and those who say in a header that they are somebody else. */
#define _GNU_SOURCE 1
#include "test/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define OTHER "127.0.0.2"

/* ---- the server of these cases ---- */

static hub_status_t note_client(hub_request_t *request, void *user)
{
    (void)user;
    server_note("client %.*s", HUB_STR_ARG(hub_request_client(request)));
    return HUB_OK;
}

static server_t *listening(const hub_server_options_t *options, const char *address)
{
    server_t *s = server_create_with(options, NULL);

    server_channel(s, &(hub_channel_options_t){.pattern = "t{id}"});
    server_mount(s, &(hub_endpoint_options_t){.longpoll = true, .on_authorize = note_client});
    assert_int_equal(hub_server_listen(s->server, address), HUB_OK);
    assert_int_equal(hub_server_start(s->server), HUB_OK);
    s->address = hub_server_address(s->server, 0);
    return s;
}

static server_t *limited(const hub_server_limits_t *limits)
{
    return listening(&(hub_server_options_t){.limits = *limits}, "127.0.0.1:0");
}

static client_t *connect_from(server_t *s, const char *source)
{
    return server_keep_client(s, client_connect_from(s->address, source));
}

static client_t *ask(client_t *c, const char *fields)
{
    client_send_text(c, client_upgrade_text("/socket", fields));
    return c;
}

static client_t *open_websocket(server_t *s, const char *fields)
{
    client_t *c = ask(server_connect(s), fields);

    client_expect_upgraded(c);
    return c;
}

static void expect_refused(client_t *c)
{
    client_response_t response = client_expect_response(c, 429);

    assert_in_range(client_header(&response, "Retry-After").base[0], '1', '5');
    client_expect_gone(c);
}

/* ---- how many ---- */

static void one_connection_too_many_of_an_address_is_429(void **state)
{
    server_t *s = limited(&(hub_server_limits_t){.conns_per_ip = 2});
    client_t *first = open_websocket(s, ""), *other;

    (void)state;
    (void)open_websocket(s, "");
    expect_refused(ask(server_connect(s), ""));
    SERVER_EXPECT_STAT(s, conns_per_ip_refused_total, 1);
    server_expect_log("server.refused", "limit=conns_per_ip peer=127.0.0.1");
    other = ask(connect_from(s, OTHER), "");
    client_expect_upgraded(other);
    server_drop_client(s, first, client_abort);
    SERVER_EXPECT_STAT(s, closed_lost_total, 1);
    (void)open_websocket(s, "");
    expect_refused(server_connect(s));
}

static void who_has_not_asked_yet_counts_as_well(void **state)
{
    server_t *s = limited(&(hub_server_limits_t){.conns_per_ip = 2});

    (void)state;
    (void)server_connect(s);
    (void)server_connect(s);
    expect_refused(server_connect(s));
    SERVER_EXPECT_STAT(s, pre_upgrade, 2);
}

static void the_workers_count_together(void **state)
{
    server_t *s = listening(&(hub_server_options_t){.threads = 4, .limits = {.conns_per_ip = 8}},
                            "127.0.0.1:0");

    (void)state;
    for (int i = 0; i != 8; ++i)
        (void)open_websocket(s, "");
    for (int i = 0; i != 8; ++i)
        expect_refused(server_connect(s));
    SERVER_EXPECT_STAT(s, conns_per_ip_refused_total, 8);
}

static void a_long_poll_client_counts_beside_its_sockets(void **state)
{
    server_t *s = limited(&(hub_server_limits_t){.conns_per_ip = 3});
    client_t *poller = server_connect(s);

    (void)state;
    client_request(poller, "GET", "/socket/longpoll", NULL);
    (void)client_expect_response(poller, 200);
    client_request(poller, "GET", "/socket/longpoll", NULL);
    (void)client_expect_response(poller, 200);
    client_request(poller, "GET", "/socket/longpoll", NULL);
    expect_refused(poller);
    SERVER_EXPECT_STAT(s, longpoll_conns, 2);
}

static void by_default_nothing_is_limited_per_address(void **state)
{
    server_t *s = limited(&(hub_server_limits_t){0});

    (void)state;
    for (int i = 0; i != 60; ++i)
        (void)server_connect(s);
    SERVER_EXPECT_STAT(s, pre_upgrade, 60);
    SERVER_EXPECT_STAT(s, conns_per_ip_refused_total, 0);
}

static void who_is_refused_again_and_again_leaves_others_room_in_the_log(void **state)
{
    server_t *s = limited(&(hub_server_limits_t){.conns_per_ip = 1});

    (void)state;
    server_stop_log_clock();
    (void)server_connect(s);
    for (int i = 0; i != 12; ++i)
        expect_refused(server_connect(s));
    SERVER_EXPECT_STAT(s, conns_per_ip_refused_total, 12);
    assert_int_equal(server_count_log("server.refused"), 10);
    (void)connect_from(s, OTHER);
    expect_refused(connect_from(s, OTHER));
    assert_int_equal(server_count_log("server.refused"), 11);
}

/* ---- how fast ---- */

static void who_connects_too_fast_is_429(void **state)
{
    server_t *s =
        limited(&(hub_server_limits_t){.connects_per_ip_per_s = 1, .connects_per_ip_burst = 2});

    (void)state;
    server_drop_client(s, server_connect(s), client_abort);
    server_drop_client(s, open_websocket(s, ""), client_abort);
    expect_refused(server_connect(s));
    SERVER_EXPECT_STAT(s, connects_per_ip_refused_total, 1);
    server_expect_log("server.refused", "limit=connects_per_ip_per_s peer=127.0.0.1");
    client_expect_upgraded(ask(connect_from(s, OTHER), ""));
}

/* ---- what headers say ---- */

static void a_forged_header_is_no_way_around(void **state)
{
    server_t *s = limited(&(hub_server_limits_t){.conns_per_ip = 1});

    (void)state;
    (void)open_websocket(s, "X-Forwarded-For: 1.1.1.1\r\n");
    server_expect_note("client 127.0.0.1");
    expect_refused(ask(server_connect(s), "X-Forwarded-For: 2.2.2.2\r\n"));
}

static const char *const proxies[] = {"127.0.0.1/32", "10.0.0.0/8", NULL};

static server_t *behind_proxies(void)
{
    return listening(
        &(hub_server_options_t){.trusted_proxies = proxies, .limits = {.conns_per_ip = 1}},
        "127.0.0.1:0");
}

static void behind_a_proxy_the_client_counts_that_it_names(void **state)
{
    server_t *s = behind_proxies();
    client_t *first = open_websocket(s, "X-Forwarded-For: 1.1.1.1\r\n");

    (void)state;
    server_expect_note("client 1.1.1.1");
    (void)open_websocket(s, "X-Forwarded-For: 1.1.1.1, 2.2.2.2\r\n");
    server_expect_note("client 2.2.2.2");
    expect_refused(ask(server_connect(s), "X-Forwarded-For: 6.6.6.6, 1.1.1.1\r\n"));
    expect_refused(ask(server_connect(s), "X-Forwarded-For: 6.6.6.6, 2.2.2.2, 10.0.0.1\r\n"));
    server_drop_client(s, first, client_abort);
    SERVER_EXPECT_STAT(s, closed_lost_total, 1);
    (void)open_websocket(s, "X-Forwarded-For: 1.1.1.1\r\n");
}

static void who_is_no_proxy_cannot_speak_for_others(void **state)
{
    server_t *s = behind_proxies();

    (void)state;
    client_expect_upgraded(ask(connect_from(s, OTHER), "X-Forwarded-For: 1.1.1.1\r\n"));
    server_expect_note("client " OTHER);
    expect_refused(ask(connect_from(s, OTHER), "X-Forwarded-For: 3.3.3.3\r\n"));
    (void)open_websocket(s, "X-Forwarded-For: 1.1.1.1\r\n");
}

static void a_long_poll_client_behind_a_proxy_counts_once(void **state)
{
    server_t *s = behind_proxies();
    client_t *poller = server_connect(s);

    (void)state;
    client_request(poller, "GET", "/socket/longpoll", "X-Forwarded-For: 1.1.1.1\r\n");
    (void)client_expect_response(poller, 200);
    client_request(poller, "GET", "/socket/longpoll", "X-Forwarded-For: 2.2.2.2\r\n");
    (void)client_expect_response(poller, 200);
    client_request(poller, "GET", "/socket/longpoll", "X-Forwarded-For: 1.1.1.1\r\n");
    expect_refused(poller);
}

static void a_unix_socket_is_limited_only_as_a_proxy(void **state)
{
    static const char *const by_unix[] = {"unix", NULL};
    char path[] = "/tmp/sockethub-XXXXXX", address[64];
    server_t *plain, *proxied;

    (void)state;
    assert_non_null(mkdtemp(path));
    snprintf(address, sizeof(address), "unix:%s/s", path);
    plain = listening(&(hub_server_options_t){.limits = {.conns_per_ip = 1}}, address);
    (void)open_websocket(plain, "X-Forwarded-For: 1.1.1.1\r\n");
    server_expect_note("client unix");
    (void)open_websocket(plain, "X-Forwarded-For: 1.1.1.1\r\n");
    server_expect_note("client unix");
    snprintf(address, sizeof(address), "unix:%s/p", path);
    proxied = listening(
        &(hub_server_options_t){.trusted_proxies = by_unix, .limits = {.conns_per_ip = 1}},
        address);
    (void)open_websocket(proxied, "X-Forwarded-For: 1.1.1.1\r\n");
    server_expect_note("client 1.1.1.1");
    expect_refused(ask(server_connect(proxied), "X-Forwarded-For: 1.1.1.1\r\n"));
    server_teardown(NULL);
    rmdir(path);
}

static void a_proxy_that_is_none_is_named(void **state)
{
    static const char *const wrong[] = {"10.0.0.0/8", "proxy.local", NULL};
    hub_error_t error = {0};
    hub_server_t *server = NULL;

    (void)state;
    assert_int_equal(
        hub_server_create(&(hub_server_options_t){.trusted_proxies = wrong, .ret_error = &error},
                          &server),
        HUB_EINVAL);
    assert_non_null(strstr(error.text, "trusted_proxies: \"proxy.local\""));
    assert_null(server);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        SERVER_CASE(one_connection_too_many_of_an_address_is_429),
        SERVER_CASE(who_has_not_asked_yet_counts_as_well),
        SERVER_CASE(the_workers_count_together),
        SERVER_CASE(a_long_poll_client_counts_beside_its_sockets),
        SERVER_CASE(who_is_refused_again_and_again_leaves_others_room_in_the_log),
        SERVER_CASE(by_default_nothing_is_limited_per_address),
        SERVER_CASE(who_connects_too_fast_is_429),
        SERVER_CASE(a_forged_header_is_no_way_around),
        SERVER_CASE(behind_a_proxy_the_client_counts_that_it_names),
        SERVER_CASE(who_is_no_proxy_cannot_speak_for_others),
        SERVER_CASE(a_long_poll_client_behind_a_proxy_counts_once),
        SERVER_CASE(a_unix_socket_is_limited_only_as_a_proxy),
        SERVER_CASE(a_proxy_that_is_none_is_named),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
