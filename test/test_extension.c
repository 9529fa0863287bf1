/* SPDX-License-Identifier: MIT */
/* What clients may offer in Sec-WebSocket-Extensions and what each is answered: RFC 6455 9.1 and
 * RFC 7692 7.1, row by row. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "hub/extension.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define FIELD "Sec-WebSocket-Extensions: "
#define PMD "permessage-deflate"
#define NONE "" /* well-formed, and nothing of it is taken */
#define BAD NULL

/* What is answered by an endpoint with the defaults. */
#define PLAIN PMD "; server_no_context_takeover; client_no_context_takeover"
#define SERVER_BITS(n) PLAIN "; server_max_window_bits=" #n
#define CLIENT_BITS(n) PLAIN "; client_max_window_bits=" #n

struct row {
    const char *fields, *answer;
};

static const struct row rows[] = {
    /* nothing of ours */
    {"", NONE},
    {FIELD "x\r\n", NONE},
    {FIELD "x-webkit-deflate-frame\r\n", NONE},
    {FIELD "permessage-deflate2\r\n", NONE},
    {FIELD "x; permessage-deflate\r\n", NONE},
    {FIELD "x; y=permessage-deflate\r\n", NONE},
    {FIELD "deflate, gzip;q=1\r\n", NONE},
    {"Sec-WebSocket-Extension: " PMD "\r\n", NONE},

    /* each parameter as it may be */
    {FIELD PMD "\r\n", PLAIN},
    {FIELD PMD "; server_no_context_takeover\r\n", PLAIN},
    {FIELD PMD "; client_no_context_takeover\r\n", PLAIN},
    {FIELD PMD "; server_no_context_takeover; client_no_context_takeover\r\n", PLAIN},
    {FIELD PMD "; client_max_window_bits\r\n", PLAIN},
    {FIELD PMD "; server_max_window_bits=8\r\n", SERVER_BITS(8)},
    {FIELD PMD "; server_max_window_bits=9\r\n", SERVER_BITS(9)},
    {FIELD PMD "; server_max_window_bits=10\r\n", SERVER_BITS(10)},
    {FIELD PMD "; server_max_window_bits=11\r\n", SERVER_BITS(11)},
    {FIELD PMD "; server_max_window_bits=12\r\n", SERVER_BITS(12)},
    {FIELD PMD "; server_max_window_bits=13\r\n", SERVER_BITS(13)},
    {FIELD PMD "; server_max_window_bits=14\r\n", SERVER_BITS(14)},
    {FIELD PMD "; server_max_window_bits=15\r\n", SERVER_BITS(15)},
    {FIELD PMD "; client_max_window_bits=8\r\n", CLIENT_BITS(8)},
    {FIELD PMD "; client_max_window_bits=9\r\n", CLIENT_BITS(9)},
    {FIELD PMD "; client_max_window_bits=14\r\n", CLIENT_BITS(14)},
    {FIELD PMD "; client_max_window_bits=15\r\n", CLIENT_BITS(15)},
    {FIELD PMD "; server_max_window_bits=10; client_max_window_bits=11\r\n",
     PLAIN "; server_max_window_bits=10; client_max_window_bits=11"},
    {FIELD PMD "; client_max_window_bits; server_max_window_bits=10; client_no_context_takeover; "
               "server_no_context_takeover\r\n",
     SERVER_BITS(10)},

    /* spelled otherwise */
    {FIELD "Permessage-Deflate; Server_Max_Window_Bits=10\r\n", SERVER_BITS(10)},
    {"sec-websocket-extensions:" PMD ";client_max_window_bits\r\n", PLAIN},
    {FIELD "\t" PMD "\t;  client_max_window_bits \t\r\n", PLAIN},
    {FIELD PMD " ; server_max_window_bits = 10 ; client_max_window_bits\r\n", SERVER_BITS(10)},
    {FIELD PMD "; server_max_window_bits=\"10\"\r\n", SERVER_BITS(10)},
    {FIELD PMD "; server_max_window_bits=\"\\1\\0\"\r\n", SERVER_BITS(10)},
    {FIELD PMD "; client_max_window_bits=\"9\" ; server_no_context_takeover\r\n", CLIENT_BITS(9)},

    /* an offer that can't be taken is passed over, and the upgrade goes on */
    {FIELD PMD "; unknown\r\n", NONE},
    {FIELD PMD "; unknown=1\r\n", NONE},
    {FIELD PMD "; client_max_window_bits; client_max_window_bits\r\n", NONE},
    {FIELD PMD "; client_max_window_bits=10; client_max_window_bits=10\r\n", NONE},
    {FIELD PMD "; server_max_window_bits=10; server_max_window_bits=9\r\n", NONE},
    {FIELD PMD "; server_no_context_takeover; server_no_context_takeover\r\n", NONE},
    {FIELD PMD "; client_no_context_takeover; CLIENT_NO_CONTEXT_TAKEOVER\r\n", NONE},
    {FIELD PMD "; server_no_context_takeover=1\r\n", NONE},
    {FIELD PMD "; client_no_context_takeover=true\r\n", NONE},
    {FIELD PMD "; server_max_window_bits\r\n", NONE},
    {FIELD PMD "; server_max_window_bits=7\r\n", NONE},
    {FIELD PMD "; server_max_window_bits=16\r\n", NONE},
    {FIELD PMD "; server_max_window_bits=0\r\n", NONE},
    {FIELD PMD "; server_max_window_bits=08\r\n", NONE},
    {FIELD PMD "; server_max_window_bits=010\r\n", NONE},
    {FIELD PMD "; server_max_window_bits=+9\r\n", NONE},
    {FIELD PMD "; server_max_window_bits=-9\r\n", NONE},
    {FIELD PMD "; server_max_window_bits=1e1\r\n", NONE},
    {FIELD PMD "; server_max_window_bits=100\r\n", NONE},
    {FIELD PMD "; server_max_window_bits=ten\r\n", NONE},
    {FIELD PMD "; client_max_window_bits=7\r\n", NONE},
    {FIELD PMD "; client_max_window_bits=16\r\n", NONE},
    {FIELD PMD "; client_max_window_bits=\"015\"\r\n", NONE},
    {FIELD PMD "; client_max_window_bits=\"1\\6\"\r\n", NONE},

    /* several: the first that can be taken */
    {FIELD PMD "; server_max_window_bits=10, " PMD "\r\n", SERVER_BITS(10)},
    {FIELD PMD "; server_max_window_bits=7, " PMD "\r\n", PLAIN},
    {FIELD PMD "; unknown, " PMD "; server_max_window_bits=9, " PMD "\r\n", SERVER_BITS(9)},
    {FIELD "x; y=\"z\", " PMD "; server_max_window_bits=11\r\n", SERVER_BITS(11)},
    {FIELD PMD ", x\r\n", PLAIN},
    {FIELD "x\r\nHost: b\r\n" FIELD PMD "\r\n", PLAIN},
    {FIELD PMD "; a\r\n" FIELD PMD "; server_max_window_bits=12\r\n", SERVER_BITS(12)},
    {FIELD PMD "; server_max_window_bits=12\r\n" FIELD PMD "\r\n", SERVER_BITS(12)},
    {FIELD ", ,," PMD " ,\r\n", PLAIN},
    {FIELD "\r\n" FIELD PMD "\r\n", PLAIN},

    /* malformed: the upgrade fails, also where it is about another extension or behind a good one
     */
    {FIELD "\r\n", BAD},
    {FIELD " \t\r\n", BAD},
    {FIELD ",\r\n", BAD},
    {FIELD ", ,\r\n", BAD},
    {FIELD ";\r\n", BAD},
    {FIELD "=\r\n", BAD},
    {FIELD PMD ";\r\n", BAD},
    {FIELD PMD "; ;\r\n", BAD},
    {FIELD PMD ";, x\r\n", BAD},
    {FIELD "; client_max_window_bits\r\n", BAD},
    {FIELD PMD "; client_max_window_bits=\r\n", BAD},
    {FIELD PMD "; =10\r\n", BAD},
    {FIELD PMD "; server_max_window_bits==10\r\n", BAD},
    {FIELD PMD "; server_max_window_bits=10=10\r\n", BAD},
    {FIELD PMD "; server_max_window_bits 10\r\n", BAD},
    {FIELD PMD " client_max_window_bits\r\n", BAD},
    {FIELD PMD "=1\r\n", BAD},
    {FIELD PMD "; server_max_window_bits=\"\"\r\n", BAD},
    {FIELD PMD "; server_max_window_bits=\"10\r\n", BAD},
    {FIELD PMD "; server_max_window_bits=10\"\r\n", BAD},
    {FIELD PMD "; server_max_window_bits=\"10\\\r\n", BAD},
    {FIELD PMD "; server_max_window_bits=\"10\\\"\r\n", BAD},
    {FIELD PMD "; server_max_window_bits=\"1 0\"\r\n", BAD},
    {FIELD PMD "; server_max_window_bits=\"10\"9\r\n", BAD},
    {FIELD PMD "; server_max_window_bits=(10)\r\n", BAD},
    {FIELD "\"" PMD "\"\r\n", BAD},
    {FIELD PMD ", (\r\n", BAD},
    {FIELD PMD "\r\n" FIELD "x;\r\n", BAD},
    {FIELD "x; y=\"a,b\", " PMD "\r\n", BAD},
    {FIELD PMD "\xc3\xa9\r\n", BAD},
    {FIELD PMD "/1\r\n", BAD},
};

static void parse(const char *fields, hub__request_head_t *ret_head)
{
    static char text[4096];
    size_t len;
    int size = snprintf(text, sizeof(text), "GET / HTTP/1.1\r\n%s\r\n", fields);

    assert_int_equal(hub__request_head_parse(hub_str_n(text, (size_t)size), ret_head, &len, NULL),
                     HUB_OK);
}

/* The answer; "": none. */
static const char *answer_to(const char *fields, hub_deflate_options_t options)
{
    static char text[HUB__EXTENSION_ANSWER];
    hub__request_head_t head;
    hub__deflate_terms_t terms;
    size_t len;

    parse(fields, &head);
    options.enabled = true;
    assert_int_equal(hub__deflate_options_resolve(&options, NULL), HUB_OK);
    terms = hub__deflate_negotiate(&head, &options);
    if (terms.server_bits == 0)
        return "";
    len = hub__deflate_answer(&terms, text);
    assert_int_equal(len, strlen(text));
    return text;
}

static bool is_valid(const char *fields)
{
    hub__request_head_t head;

    parse(fields, &head);
    return hub__extensions_valid(&head);
}

static void check_row(const struct row *row)
{
    bool valid = is_valid(row->fields);

    if (valid != (row->answer != BAD))
        fail_msg("%s%s", row->fields, valid ? "is taken for a list" : "is not taken for a list");
    if (valid && strcmp(answer_to(row->fields, (hub_deflate_options_t){0}), row->answer) != 0)
        fail_msg("%sis answered \"%s\"", row->fields,
                 answer_to(row->fields, (hub_deflate_options_t){0}));
}

static void each_offer_has_its_answer(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++)
        check_row(&rows[i]);
}

static void a_client_may_refer_back_where_the_endpoint_lets_it(void **state)
{
    const hub_deflate_options_t options = {.client_context = true};

    (void)state;
    assert_string_equal(answer_to(FIELD PMD "\r\n", options), PMD "; server_no_context_takeover");
    assert_string_equal(answer_to(FIELD PMD "; client_max_window_bits=10\r\n", options),
                        PMD "; server_no_context_takeover; client_max_window_bits=10");
    assert_string_equal(answer_to(FIELD PMD "; client_no_context_takeover\r\n", options), PLAIN);
}

static void the_endpoint_may_want_smaller_windows(void **state)
{
    const hub_deflate_options_t options = {.window_bits = 12, .client_window_bits = 10};

    (void)state;
    assert_string_equal(answer_to(FIELD PMD "\r\n", options), SERVER_BITS(12));
    assert_string_equal(answer_to(FIELD PMD "; server_max_window_bits=15\r\n", options),
                        SERVER_BITS(12));
    assert_string_equal(answer_to(FIELD PMD "; server_max_window_bits=11\r\n", options),
                        SERVER_BITS(11));
    assert_string_equal(answer_to(FIELD PMD "; client_max_window_bits\r\n", options),
                        SERVER_BITS(12) "; client_max_window_bits=10");
    assert_string_equal(answer_to(FIELD PMD "; client_max_window_bits=9\r\n", options),
                        SERVER_BITS(12) "; client_max_window_bits=9");
}

static void nothing_is_agreed_on_where_it_is_off(void **state)
{
    hub_deflate_options_t options = {0};
    hub__request_head_t head;

    (void)state;
    parse(FIELD PMD "\r\n", &head);
    assert_int_equal(hub__deflate_options_resolve(&options, NULL), HUB_OK);
    assert_int_equal(hub__deflate_negotiate(&head, &options).server_bits, 0);
}

static void the_terms_are_those_of_the_answer(void **state)
{
    hub_deflate_options_t options = {.enabled = true, .client_context = true};
    hub__request_head_t head;
    hub__deflate_terms_t terms;

    (void)state;
    parse(FIELD PMD "; server_max_window_bits=9; client_max_window_bits=13\r\n", &head);
    assert_int_equal(hub__deflate_options_resolve(&options, NULL), HUB_OK);
    terms = hub__deflate_negotiate(&head, &options);
    assert_int_equal(terms.server_bits, 9);
    assert_int_equal(terms.client_bits, 13);
    assert_true(terms.client_context);
}

/* A client that was not asked may use what it likes. */
static void a_window_that_was_not_agreed_on_is_the_largest(void **state)
{
    hub_deflate_options_t options = {
        .enabled = true, .client_context = true, .client_window_bits = 9};
    hub__request_head_t head;

    (void)state;
    parse(FIELD PMD "\r\n", &head);
    assert_int_equal(hub__deflate_options_resolve(&options, NULL), HUB_OK);
    assert_int_equal(hub__deflate_negotiate(&head, &options).client_bits, 15);
}

static void expect_refused(hub_deflate_options_t options, const char *text)
{
    hub_error_t error = {0};

    assert_int_equal(hub__deflate_options_resolve(&options, &error), HUB_EINVAL);
    assert_string_equal(error.text, text);
}

static void a_bad_option_is_named(void **state)
{
    (void)state;
    expect_refused((hub_deflate_options_t){.level = 10},
                   "endpoint: deflate.level = 10: 1 to 9 are allowed, 0 means 6");
    expect_refused((hub_deflate_options_t){.window_bits = 8},
                   "endpoint: deflate.window_bits = 8: 9 to 15 are allowed, 0 means 15");
    expect_refused((hub_deflate_options_t){.window_bits = 16},
                   "endpoint: deflate.window_bits = 16: 9 to 15 are allowed, 0 means 15");
    expect_refused((hub_deflate_options_t){.client_window_bits = 7},
                   "endpoint: deflate.client_window_bits = 7: 9 to 15 are allowed, 0 means 15");
}

static void a_list_as_long_as_a_head_is_read_once(void **state)
{
    static char text[HUB__HANDSHAKE_HEAD_MAX];
    hub__request_head_t head;
    size_t len, fill;

    (void)state;
    len = (size_t)snprintf(text, sizeof(text), "GET / HTTP/1.1\r\n" FIELD);
    fill = sizeof(text) - len - sizeof(PMD "\r\n\r\n");
    memset(text + len, ',', fill);
    memcpy(text + len + fill, PMD "\r\n\r\n", sizeof(PMD "\r\n\r\n") - 1);
    assert_int_equal(hub__request_head_parse(hub_str_n(text, strlen(text)), &head, &len, NULL),
                     HUB_OK);
    assert_true(hub__extensions_valid(&head));
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(each_offer_has_its_answer),
        cmocka_unit_test(a_client_may_refer_back_where_the_endpoint_lets_it),
        cmocka_unit_test(the_endpoint_may_want_smaller_windows),
        cmocka_unit_test(nothing_is_agreed_on_where_it_is_off),
        cmocka_unit_test(the_terms_are_those_of_the_answer),
        cmocka_unit_test(a_window_that_was_not_agreed_on_is_the_largest),
        cmocka_unit_test(a_bad_option_is_named),
        cmocka_unit_test(a_list_as_long_as_a_head_is_read_once),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
