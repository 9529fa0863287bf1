/* SPDX-License-Identifier: MIT */
/* The upgrades that the parser is asked about, over sockets: what h2o makes of them first must not
 * change who gets in. */
#define _GNU_SOURCE 1
#include "test/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "test/upgrades.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The status of the answer; 0: none came before the end. */
static int status_of(server_t *server, hub_str_t head, bool bytewise)
{
    client_t *client = server_connect(server);
    hub_str_t answer;
    int status = 0;

    if (bytewise)
        client_send_bytewise(client, head);
    else
        client_send(client, head);
    client_shutdown(client);
    answer = client_read_all(client);
    if (answer.len != 0)
        assert_int_equal(sscanf(answer.base, "HTTP/1.1 %d ", &status), 1);
    server_drop_client(server, client, client_destroy);
    return status;
}

static void expect_statuses(bool bytewise)
{
    server_t *s = server_create();
    size_t upgraded = 0;

    server_mount(s, NULL);
    server_start(s);
    for (size_t i = 0; i < COUNT(upgrades); i++) {
        int status = status_of(s, upgrades[i].head, bytewise);

        upgraded += upgrades[i].served == 101;
        /* h2o ends what begins as no request without a word, if it has not seen the rest */
        if (bytewise && status == 0 && upgrades[i].served == 400)
            status = 400;
        if (status != upgrades[i].served)
            fail_msg("row %zu: %d instead of %d: %s", i, status, upgrades[i].served,
                     upgrades[i].head.base);
    }
    SERVER_EXPECT_STAT(s, conns_total, upgraded);
}

static void each_upgrade_gets_its_status(void **state)
{
    (void)state;
    expect_statuses(false);
}

static void each_upgrade_gets_its_status_byte_by_byte(void **state)
{
    (void)state;
    expect_statuses(true);
}

static void on_about(hub_http_t *http, void *user)
{
    char text[64];
    int len = snprintf(text, sizeof(text), "%.*s|%.*s", HUB_STR_ARG(hub_http_path(http)),
                       HUB_STR_ARG(hub_http_query(http, "b")));

    (void)user;
    hub_http_respond(http, 200, "text/plain", hub_str_n(text, (size_t)len));
}

static void expect_about(server_t *server, const char *target, const char *about)
{
    client_t *client = server_connect(server);

    client_request(client, "GET", target, "");
    assert_string_equal(client_expect_response(client, 200).body.base, about);
    server_drop_client(server, client, client_destroy);
}

static void an_absolute_target_is_its_path_and_query(void **state)
{
    server_t *s = server_create();

    (void)state;
    assert_int_equal(hub_server_route(s->server, "GET", "/*", on_about, NULL), HUB_OK);
    server_start(s);
    expect_about(s, "/a?b=c", "/a|c");
    expect_about(s, "http://localhost/a?b=c", "/a|c");
    expect_about(s, "HTTPS://localhost:4000/a/b", "/a/b|");
    expect_about(s, "http://localhost", "/|");
    expect_about(s, "http://localhost?b=c", "/|c");
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        SERVER_CASE(each_upgrade_gets_its_status),
        SERVER_CASE(each_upgrade_gets_its_status_byte_by_byte),
        SERVER_CASE(an_absolute_target_is_its_path_and_query),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
