/* SPDX-License-Identifier: MIT */
/* Heads of every size and with every number of fields, over sockets: what h2o lets through is
 * judged by its own limits, what it does not ends the connection, and the server goes on. */
#define _GNU_SOURCE 1
#include "test/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static server_t *gate(void)
{
    server_t *server = server_create();

    server_mount(server, &(hub_endpoint_options_t){.deflate.enabled = true});
    server_start(server);
    return server;
}

/* The status of the answer to these bytes; 0: the connection ended without one. */
static int status_of(server_t *server, hub_str_t request)
{
    client_t *client = server_connect(server);
    hub_str_t answer;
    int status = 0;

    client_send(client, request);
    client_shutdown(client);
    answer = client_read_all(client);
    if (answer.len != 0)
        assert_int_equal(sscanf(answer.base, "HTTP/1.1 %d ", &status), 1);
    server_drop_client(server, client, client_destroy);
    return status;
}

/* The five that an upgrade needs, as many of them as there are to be, then others. */
static int status_for_fields(server_t *server, size_t count)
{
    static const char *const needed[] = {
        "Host: localhost\r\n", "Connection: Upgrade\r\n", "Upgrade: websocket\r\n",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "Sec-WebSocket-Version: 13\r\n"};
    char text[4096] = "GET /socket HTTP/1.1\r\n";

    for (size_t i = 0; i < count; i++)
        strcat(text, i < COUNT(needed) ? needed[i] : "X: y\r\n");
    strcat(text, "\r\n");
    return status_of(server, hub_str(text));
}

/* 400 for the key that misses, 426 for what else does. h2o reads a hundred. */
static int expected_for_fields(size_t count)
{
    return count > 100 ? 400 : count > 64 ? 431 : count >= 5 ? 101 : count == 0 ? 400 : 426;
}

static void each_number_of_fields_gets_its_status(void **state)
{
    server_t *s = gate();

    (void)state;
    for (size_t count = 0; count <= 130; count++) {
        int status = status_for_fields(s, count);

        if (status != expected_for_fields(count))
            fail_msg("%zu fields: %d instead of %d", count, status, expected_for_fields(count));
    }
}

struct shape {
    const char *before, *part, *after;
};

#define NEEDED                                                                                     \
    "Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"                             \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
#define UPGRADE "GET /socket HTTP/1.1\r\n" NEEDED

static int status_for_size(server_t *server, const struct shape *shape, size_t size)
{
    size_t before = strlen(shape->before), after = strlen(shape->after);
    size_t part = strlen(shape->part), len = before;
    char *text = malloc(size + part);
    int status;

    assert_non_null(text);
    memcpy(text, shape->before, before);
    for (; len < size - after; len++)
        text[len] = shape->part[(len - before) % part];
    memcpy(text + size - after, shape->after, after);
    status = status_of(server, hub_str_n(text, size));
    free(text);
    return status;
}

struct size {
    size_t bytes;
    int status;
};

static void expect_sizes(const struct shape *shape, const struct size *sizes, size_t count)
{
    server_t *s = gate();

    for (size_t i = 0; i < count; i++) {
        int status = status_for_size(s, shape, sizes[i].bytes);

        if (status != sizes[i].status)
            fail_msg("%zu bytes of '%s': %d instead of %d", sizes[i].bytes, shape->part, status,
                     sizes[i].status);
    }
    (void)server_client(s, "/socket"); /* and it goes on */
}

#define SHAPE(...) (&(const struct shape){__VA_ARGS__})

static void a_field_of_each_size_gets_its_status(void **state)
{
    static const struct size sizes[] = {{200, 101},    {1000, 101},   {4095, 101},   {4096, 101},
                                        {8191, 101},   {8192, 101},   {16383, 101},  {16384, 101},
                                        {16385, 431},  {20000, 431},  {65535, 431},  {65536, 431},
                                        {131072, 431}, {262144, 431}, {400000, 431}, {417792, 431},
                                        {417793, 400}, {420000, 400}, {1000000, 400}};

    (void)state;
    expect_sizes(SHAPE(UPGRADE "X: ", "x", "\r\n\r\n"), sizes, COUNT(sizes));
}

static void a_list_of_each_size_gets_its_status(void **state)
{
    static const struct size fit[] = {{200, 101}, {2000, 101}, {16384, 101}, {16385, 431}};
    static const struct size unfit[] = {{300, 400}, {2000, 400}, {16384, 400}, {16385, 431}};

    (void)state;
    expect_sizes(SHAPE(UPGRADE "Connection: ", "a,", "\r\n\r\n"), fit, COUNT(fit));
    server_teardown(NULL);
    expect_sizes(SHAPE(UPGRADE "Upgrade: ", ",", "\r\n\r\n"), fit, COUNT(fit));
    server_teardown(NULL);
    expect_sizes(SHAPE(UPGRADE "Sec-WebSocket-Protocol: ", "p", "\r\n\r\n"), fit, COUNT(fit));
    server_teardown(NULL);
    expect_sizes(SHAPE(UPGRADE "Sec-WebSocket-Protocol: ", "p ,", ",\r\n\r\n"), unfit,
                 COUNT(unfit));
    server_teardown(NULL);
    expect_sizes(SHAPE(UPGRADE "Sec-WebSocket-Extensions: ", "x;a=1,", ";=\r\n\r\n"), unfit,
                 COUNT(unfit));
    server_teardown(NULL);
    expect_sizes(SHAPE(UPGRADE "Sec-WebSocket-Extensions: x", ",", ",y\r\n\r\n"), fit, COUNT(fit));
}

static void a_target_of_each_size_gets_its_status(void **state)
{
    static const struct size paths[] = {{300, 404},   {2000, 404},   {4096, 414},  {16384, 414},
                                        {65536, 414}, {417792, 414}, {420000, 400}};
    static const struct size queries[] = {{300, 101}, {4096, 101}, {16384, 101}, {16385, 431}};

    (void)state;
    expect_sizes(SHAPE("GET /", "p", " HTTP/1.1\r\n" NEEDED "\r\n"), paths, COUNT(paths));
    server_teardown(NULL);
    expect_sizes(SHAPE("GET /socket?", "&", " HTTP/1.1\r\n" NEEDED "\r\n"), queries,
                 COUNT(queries));
}

/* None of it is a head, so there is nothing to answer until there is too much. */
static void bytes_that_never_become_a_head_end_the_connection(void **state)
{
    static const struct size sizes[] = {{1, 0}, {100, 0}, {16385, 0}, {420000, 400}};

    (void)state;
    expect_sizes(SHAPE("", "G", ""), sizes, COUNT(sizes));
    server_teardown(NULL);
    expect_sizes(SHAPE("GET /", "p", ""), sizes + 3, 1);
    server_teardown(NULL);
    expect_sizes(SHAPE(UPGRADE "X: ", "x", ""), sizes + 3, 1);
}

/* What a client offers, and the answer's field; NULL: the upgrade is refused with 400. */
struct offer {
    const char *fields, *answer;
};

#define EXTENSIONS "Sec-WebSocket-Extensions: "
#define PMD "permessage-deflate"
#define PLAIN PMD "; server_no_context_takeover; client_no_context_takeover"

static const struct offer offers[] = {
    {"", ""},
    {EXTENSIONS PMD "\r\n", PLAIN},
    {EXTENSIONS "x, " PMD "\r\n", PLAIN},
    {EXTENSIONS "x\r\n" EXTENSIONS PMD "; server_max_window_bits=10\r\n",
     PLAIN "; server_max_window_bits=10"},
    {EXTENSIONS PMD "; unknown, " PMD "; client_max_window_bits=9\r\n",
     PLAIN "; client_max_window_bits=9"},
    {EXTENSIONS "PERMESSAGE-DEFLATE\r\n", PLAIN},
    {EXTENSIONS PMD "; server_max_window_bits=7\r\n", ""},
    {EXTENSIONS PMD "; server_max_window_bits\r\n", ""},
    {EXTENSIONS PMD "; server_no_context_takeover=1\r\n", ""},
    {EXTENSIONS "x-webkit-deflate-frame\r\n", ""},
    {EXTENSIONS "\r\n", NULL},
    {EXTENSIONS ";\r\n", NULL},
    {EXTENSIONS PMD ";\r\n", NULL},
    {EXTENSIONS PMD "; =1\r\n", NULL},
    {EXTENSIONS PMD "; server_max_window_bits=\r\n", NULL},
    {EXTENSIONS PMD "; server_max_window_bits=\"10\r\n", NULL},
    {EXTENSIONS PMD "; server_max_window_bits=\"1 0\"\r\n", NULL},
    {EXTENSIONS PMD " " PMD "\r\n", NULL},
    {EXTENSIONS "x=1\r\n", NULL},
    {EXTENSIONS "\"" PMD "\"\r\n", NULL},
    {EXTENSIONS PMD "\r\n" EXTENSIONS "(\r\n", NULL},
};

static void each_offer_of_extensions_gets_its_answer(void **state)
{
    server_t *s = gate();

    (void)state;
    for (size_t i = 0; i < COUNT(offers); i++) {
        client_t *client = server_connect(s);
        client_response_t response;
        hub_str_t answer;

        client_send_text(client, client_upgrade_text("/socket", offers[i].fields));
        response = client_expect_response(client, offers[i].answer == NULL ? 400 : 101);
        answer = client_header(&response, "Sec-WebSocket-Extensions");
        if (!hub_str_equals(answer, hub_str(offers[i].answer == NULL ? "" : offers[i].answer)))
            fail_msg("row %zu: %s answered '%.*s'", i, offers[i].fields, HUB_STR_ARG(answer));
        server_drop_client(s, client, client_destroy);
    }
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        SERVER_CASE(each_number_of_fields_gets_its_status),
        SERVER_CASE(a_field_of_each_size_gets_its_status),
        SERVER_CASE(a_list_of_each_size_gets_its_status),
        SERVER_CASE(a_target_of_each_size_gets_its_status),
        SERVER_CASE(bytes_that_never_become_a_head_end_the_connection),
        SERVER_CASE(each_offer_of_extensions_gets_its_answer),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
