/* SPDX-License-Identifier: MIT */

/* Requests, origins and query strings as tables: each row is what came in and what must become of
 * it. A request is judged as a server would judge it: what cannot be parsed is a 400. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "hub/handshake.h"
#include "test/upgrades.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* As a server answers; -1: the head is not complete. */
static int answer(hub_str_t bytes)
{
    hub__request_head_t head;
    hub__handshake_t handshake;
    const char *reason = NULL;
    size_t len;
    int status;

    switch (hub__request_head_parse(bytes, &head, &len, NULL)) {
    case HUB_OK:
        status = hub__handshake_check(&head, &handshake, &reason);
        assert_true((status == 0) == (reason == NULL));
        return status;
    case HUB_PENDING:
        return -1;
    default:
        return 400;
    }
}

/* From a block of its own size, so that the address sanitizer sees a byte read too far. */
static int answer_exact(hub_str_t bytes)
{
    char *copy = malloc(bytes.len + (bytes.len == 0));
    int status;

    memcpy(copy, bytes.base, bytes.len);
    status = answer(hub_str_n(copy, bytes.len));
    free(copy);
    return status;
}

static void check_requests(void)
{
    assert_true(COUNT(upgrades) >= 70);
    for (size_t i = 0; i < COUNT(upgrades); i++) {
        int status = answer_exact(upgrades[i].head);

        if (status != upgrades[i].status)
            fail_msg("%d for row %zu: %s", status, i, upgrades[i].head.base);
    }
}

static void each_request_gets_its_status(void **state)
{
    (void)state;
    check_requests();
}

/* A valid head is incomplete at every offset; no other may look valid when cut. */
static size_t count_wrong_cuts(void)
{
    size_t wrong = 0;

    for (size_t i = 0; i < COUNT(upgrades); i++) {
        for (size_t len = 0; len < upgrades[i].head.len; len++) {
            int status = answer_exact(hub_str_n(upgrades[i].head.base, len));

            wrong += status != -1 && status != upgrades[i].status;
            wrong += upgrades[i].status == 0 && status != -1;
        }
    }
    return wrong;
}

static void a_head_that_ends_too_early_is_pending(void **state)
{
    (void)state;
    assert_int_equal(count_wrong_cuts(), 0);
}

static void parse(const char *text, hub__request_head_t *head)
{
    size_t len = 0;

    assert_int_equal(hub__request_head_parse(hub_str(text), head, &len, NULL), HUB_OK);
    assert_int_equal(len, strlen(text));
}

static void check_str(hub_str_t actual, const char *expected)
{
    assert_int_equal(actual.len, strlen(expected));
    assert_memory_equal(actual.base, expected, actual.len);
}

static void a_head_is_split_into_its_parts(void **state)
{
    hub__request_head_t head;

    (void)state;
    parse("GET /a/b?c=d?e HTTP/1.1\r\nHost:  a.example \r\nx-tail:a b\t\r\n\r\n", &head);
    check_str(head.method, "GET");
    check_str(head.target, "/a/b?c=d?e");
    check_str(head.path, "/a/b");
    check_str(head.query, "c=d?e");
    assert_null(head.authority.base);
    assert_int_equal(head.minor_version, 1);
    assert_int_equal(head.field_count, 2);
    check_str(head.fields[0].name, "Host");
    check_str(head.fields[0].value, "a.example");
    check_str(head.fields[1].value, "a b");
}

static void an_absolute_target_is_split_too(void **state)
{
    hub__request_head_t head;

    (void)state;
    parse("GET https://a.example:1?q HTTP/1.0\r\n\r\n", &head);
    check_str(head.authority, "a.example:1");
    check_str(head.path, "/");
    check_str(head.query, "q");
    assert_int_equal(head.minor_version, 0);
    parse("GET http://a/b HTTP/1.1\r\n\r\n", &head);
    check_str(head.path, "/b");
    assert_null(head.query.base);
    parse("GET /? HTTP/1.1\r\n\r\n", &head);
    assert_non_null(head.query.base);
    assert_int_equal(head.query.len, 0);
}

static void what_follows_the_head_is_not_read(void **state)
{
    hub__request_head_t head;
    hub_str_t text = HUB_STR(GOOD "\r\n\x81\x85"
                                  "frames");
    size_t len = 0;

    (void)state;
    assert_int_equal(hub__request_head_parse(text, &head, &len, NULL), HUB_OK);
    assert_int_equal(len, sizeof(GOOD "\r\n") - 1);
}

static void a_syntax_error_names_its_offset_and_leaves_the_results_alone(void **state)
{
    hub__request_head_t head = {.minor_version = 77};
    hub_error_t error = {0};
    size_t len = 77;

    (void)state;
    assert_int_equal(
        hub__request_head_parse(HUB_STR("GET / HTTP/1.1\r\nA: b\x01\r\n\r\n"), &head, &len, &error),
        HUB_ESYNTAX);
    assert_int_equal(error.status, HUB_ESYNTAX);
    assert_int_equal(error.offset, 20);
    assert_int_equal(head.minor_version, 77);
    assert_int_equal(len, 77);
}

/* A request whose one long header makes it `len` bytes in all, of which the last may be missing. */
static hub_status_t parse_sized(size_t len, size_t missing)
{
    hub__request_head_t head;
    static const char start[] = "GET / HTTP/1.1\r\nX: ";
    char *text = malloc(len);
    hub_status_t err;
    size_t head_len;

    memset(text, 'x', len);
    memcpy(text, start, sizeof(start) - 1);
    memcpy(text + len - 4, "\r\n\r\n", 4);
    err = hub__request_head_parse(hub_str_n(text, len - missing), &head, &head_len, NULL);
    free(text);
    return err;
}

static void a_head_past_its_limit_is_too_large(void **state)
{
    (void)state;
    assert_int_equal(parse_sized(HUB__HANDSHAKE_HEAD_MAX - 1, 0), HUB_OK);
    assert_int_equal(parse_sized(HUB__HANDSHAKE_HEAD_MAX, 0), HUB_OK);
    assert_int_equal(parse_sized(HUB__HANDSHAKE_HEAD_MAX + 1, 0), HUB_ETOOLARGE);
    assert_int_equal(parse_sized((size_t)64 << 20, 0), HUB_ETOOLARGE);
}

static void a_head_that_fills_its_limit_without_an_end_is_too_large(void **state)
{
    (void)state;
    assert_int_equal(parse_sized(HUB__HANDSHAKE_HEAD_MAX, 1), HUB_PENDING);
    assert_int_equal(parse_sized(HUB__HANDSHAKE_HEAD_MAX + 1, 1), HUB_ETOOLARGE);
}

static hub_status_t parse_fields(size_t count)
{
    hub__request_head_t head;
    char text[4096] = "GET / HTTP/1.1\r\n";
    size_t len;

    for (size_t i = 0; i < count; i++)
        strcat(text, "X: y\r\n");
    strcat(text, "\r\n");
    return hub__request_head_parse(hub_str(text), &head, &len, NULL);
}

static void too_many_fields_are_too_large(void **state)
{
    (void)state;
    assert_int_equal(parse_fields(HUB__HANDSHAKE_FIELDS_MAX - 1), HUB_OK);
    assert_int_equal(parse_fields(HUB__HANDSHAKE_FIELDS_MAX), HUB_OK);
    assert_int_equal(parse_fields(HUB__HANDSHAKE_FIELDS_MAX + 1), HUB_ETOOLARGE);
}

/* Heads made of nothing but what a list or a value could be slow at. */
static int answer_filled(const char *field, char filler)
{
    static char text[HUB__HANDSHAKE_HEAD_MAX + 1];
    size_t len = (size_t)snprintf(text, sizeof(text), GOOD "%s: ", field);

    memset(text + len, filler, sizeof(text) - 1 - 4 - len);
    memcpy(text + sizeof(text) - 1 - 4, "\r\n\r\n", 5);
    return answer(hub_str_n(text, sizeof(text) - 1));
}

static void heads_full_of_commas_and_blanks_just_complete(void **state)
{
    (void)state;
    assert_int_equal(answer_filled("Connection", ','), 0);
    assert_int_equal(answer_filled("Connection", ' '), 0);
    assert_int_equal(answer_filled("Upgrade", ','), 0);
    assert_int_equal(answer_filled("Sec-WebSocket-Protocol", 'p'), 0);
    assert_int_equal(answer_filled("Sec-WebSocket-Protocol", ','), 400);
    assert_int_equal(answer_filled("Sec-WebSocket-Protocol", '\t'), 400);
}

static void a_valid_upgrade_hands_out_its_headers(void **state)
{
    hub__request_head_t head;
    hub__handshake_t handshake;
    const char *reason;

    (void)state;
    parse(GOOD "Origin: https://b.example\r\nSec-WebSocket-Protocol: p, q\r\n"
               "Sec-WebSocket-Protocol: r\r\n\r\n",
          &head);
    assert_int_equal(hub__handshake_check(&head, &handshake, &reason), 0);
    check_str(handshake.host, "a.example");
    check_str(handshake.origin, "https://b.example");
    check_str(handshake.key, "dGhlIHNhbXBsZSBub25jZQ==");
    check_str(handshake.protocols, "p, q");
    parse(GOOD "\r\n", &head);
    assert_int_equal(hub__handshake_check(&head, &handshake, &reason), 0);
    assert_null(handshake.origin.base);
    assert_null(handshake.protocols.base);
}

static void the_reason_names_the_header(void **state)
{
    hub__request_head_t head;
    hub__handshake_t handshake;
    const char *reason = "";

    (void)state;
    parse(BUT_KEY "\r\n", &head);
    assert_int_equal(hub__handshake_check(&head, &handshake, &reason), 400);
    assert_non_null(strstr(reason, "Sec-WebSocket-Key"));
    parse(BUT_VERSION "\r\n", &head);
    assert_int_equal(hub__handshake_check(&head, &handshake, &reason), 426);
    assert_non_null(strstr(reason, "Sec-WebSocket-Version"));
}

static void a_field_is_found_without_case_and_only_when_it_is_single(void **state)
{
    hub__request_head_t head;
    size_t count = 77;

    (void)state;
    parse("GET / HTTP/1.1\r\none: 1\r\nTWO: 2\r\ntwo: 3\r\nempty:\r\n\r\n", &head);
    check_str(hub__request_head_field(&head, "One", &count), "1");
    assert_int_equal(count, 1);
    assert_null(hub__request_head_field(&head, "Two", &count).base);
    assert_int_equal(count, 2);
    assert_null(hub__request_head_field(&head, "Three", &count).base);
    assert_int_equal(count, 0);
    assert_non_null(hub__request_head_field(&head, "Empty", NULL).base);
    assert_int_equal(hub__request_head_field(&head, "Empty", NULL).len, 0);
}

static void the_accept_key_is_that_of_the_rfc(void **state)
{
    char accept[29];

    (void)state;
    hub__handshake_accept(HUB_STR("dGhlIHNhbXBsZSBub25jZQ=="), accept);
    assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

/* All that is offered, joined by bars, with an exclamation mark behind what is malformed. */
static void check_protocols(const char *fields, const char *expected)
{
    char text[512], joined[128] = "";
    hub__request_head_t head;
    hub_str_t protocol;
    size_t cursor = 0;
    bool bad = false;

    snprintf(text, sizeof(text), "GET / HTTP/1.1\r\n%s\r\n", fields);
    parse(text, &head);
    while (hub__handshake_protocol_next(&head, &cursor, &protocol, &bad)) {
        strncat(joined, protocol.base, protocol.len);
        strcat(joined, "|");
    }
    strcat(joined, bad ? "!" : "");
    assert_string_equal(joined, expected);
    assert_false(hub__handshake_protocol_next(&head, &cursor, &protocol, &bad));
}

static void subprotocols_are_walked_over_all_fields_in_order(void **state)
{
    (void)state;
    check_protocols("", "");
    check_protocols("Sec-WebSocket-Protocol: a\r\n", "a|");
    check_protocols("sec-websocket-protocol:a , b.2,\tc\r\n", "a|b.2|c|");
    check_protocols("Sec-WebSocket-Protocol: a\r\nX: y, z\r\nSEC-WEBSOCKET-PROTOCOL: b, c\r\n",
                    "a|b|c|");
    check_protocols("Sec-WebSocket-Protocol: a, \"b\", c\r\n", "a|!");
    check_protocols("Sec-WebSocket-Protocol: a,\r\n", "a|!");
    check_protocols("Sec-WebSocket-Protocol: ,a\r\n", "!");
    check_protocols("Sec-WebSocket-Protocol: a/b\r\n", "!");
}

struct origin_row {
    bool matches;
    const char *origin;
    const char *against; /* a Host header's value or an entry of a list */
};

static const struct origin_row same_rows[] = {
    {true, "http://a.example", "a.example"},
    {true, "https://a.example", "a.example"},
    {true, "HTTP://a.example", "a.example"},
    {true, "https://A.Example", "a.eXAMPLE"},
    {true, "http://a.example:80", "a.example"},
    {true, "http://a.example", "a.example:80"},
    {true, "https://a.example:443", "a.example"},
    {true, "https://a.example", "a.example:443"},
    {true, "http://a.example:4000", "a.example:4000"},
    {true, "http://localhost:4000", "localhost:4000"},
    {true, "http://my_host", "my_host"},
    {true, "http://127.0.0.1:4000", "127.0.0.1:4000"},
    {true, "http://[::1]:4000", "[::1]:4000"},
    {true, "http://[2001:DB8::1]", "[2001:db8::1]:80"},
    {true, "http://xn--bcher-kva.example", "xn--bcher-kva.example"},
    {true, "http://a.example.", "a.example."},
    {false, "", "a.example"},
    {false, "null", "a.example"},
    {false, "null", "null"},
    {false, "http://", "a.example"},
    {false, "a.example", "a.example"},
    {false, "//a.example", "a.example"},
    {false, "http:a.example", "a.example"},
    {false, "http:/a.example", "a.example"},
    {false, " http://a.example", "a.example"},
    {false, "http://a.example ", "a.example"},
    {false, "http://a.example/", "a.example"},
    {false, "http://a.example/path", "a.example"},
    {false, "http://a.example?", "a.example"},
    {false, "http://a.example#", "a.example"},
    {false, "http://a.example\\", "a.example"},
    {false, "http://a.example, http://a.example", "a.example"},
    {false, "http://a.example http://b.example", "a.example"},
    {false, "http://a.example.evil.example", "a.example"},
    {false, "http://evil-a.example", "a.example"},
    {false, "http://evila.example", "a.example"},
    {false, "http://b.a.example", "a.example"},
    {false, "http://example", "a.example"},
    {false, "http://a.exampl", "a.example"},
    {false, "http://a.examplee", "a.example"},
    {false, "http://a.example.", "a.example"},
    {false, "http://a.example", "a.example."},
    {false, "http://.a.example", "a.example"},
    {false, "http://a..example", "a..example"},
    {false, "http://.a.example", ".a.example"},
    {false, "http://me@a.example", "a.example"},
    {false, "http://a.example@evil.example", "a.example"},
    {false, "http://a.example:80@evil.example", "a.example"},
    {false, "http://a.example:4000", "a.example"},
    {false, "http://a.example", "a.example:4000"},
    {false, "http://a.example:4000", "a.example:4001"},
    {false, "http://a.example:443", "a.example"},
    {false, "http://a.example", "a.example:443"},
    {false, "https://a.example:80", "a.example"},
    {false, "https://a.example", "a.example:80"},
    {false, "http://a.example:", "a.example"},
    {false, "http://a.example:0", "a.example:0"},
    {false, "http://a.example:080", "a.example"},
    {false, "http://a.example:+80", "a.example"},
    {false, "http://a.example:8 0", "a.example:80"},
    {false, "http://a.example:65616", "a.example"},      /* 80 in 16 bits */
    {false, "http://a.example:4294967376", "a.example"}, /* and in 32 */
    {false, "http://a.example:80:80", "a.example"},
    {false, "ftp://a.example", "a.example"},
    {false, "ws://a.example", "a.example"},
    {false, "wss://a.example", "a.example"},
    {false, "file://", "a.example"},
    {false, "file://a.example", "a.example"},
    {false, "chrome-extension://abcdefgh", "abcdefgh"},
    {false, "javascript://a.example", "a.example"},
    {false, "1http://a.example", "a.example"},
    {false,
     "http://b\xC3\xBC"
     "cher.example",
     "b\xC3\xBC"
     "cher.example"},
    {false, "http://xn--bcher-kva.example",
     "b\xC3\xBC"
     "cher.example"},
    {false, "http://a%2Eexample", "a.example"},
    {false, "http://a%2Eexample", "a%2Eexample"},
    {false, "http://::1", "[::1]"},
    {false, "http://[::1", "[::1]"},
    {false, "http://[::1]x", "[::1]"},
    {false, "http://[]", "[]"},
    {false, "http://[fe80::1%25eth0]", "[fe80::1%25eth0]"},
    {false, "http://[::1]", "[::2]"},
    {false, "http://[::g]", "[::g]"},
    {false, "http://[::~]", "[::~]"},
    {false, "http://a.example", ""},
    {false, "http://a.example", "a.example, a.example"},
    {false, "http://a.example", "http://a.example"},
    {false, "http://*.example", "*.example"},
};

static const struct origin_row list_rows[] = {
    {true, "https://a.example", "https://a.example"},
    {true, "https://a.example:443", "https://a.example"},
    {true, "https://a.example", "https://a.example:443"},
    {true, "HTTPS://A.EXAMPLE", "https://a.example"},
    {true, "https://a.example:8443", "https://a.example:8443"},
    {true, "http://a.example", "//a.example"},
    {true, "https://a.example:8443", "//a.example"},
    {true, "capacitor://a.example", "//a.example"},
    {true, "web+app2://a.example", "//a.example"},
    {false, "web/app://a.example", "//a.example"},
    {true, "http://a.example:8443", "//a.example:8443"},
    {true, "https://a.example", "//a.example:443"},
    {true, "capacitor://localhost", "capacitor://localhost"},
    {true, "chrome-extension://abcdefgh", "chrome-extension://abcdefgh"},
    {true, "https://b.a.example", "https://*.a.example"},
    {true, "https://c.b.A.example", "https://*.a.EXAMPLE"},
    {true, "https://b.a.example:8443", "https://*.a.example:8443"},
    {true, "http://b.a.example:4000", "//*.a.example"},
    {true, "https://b.example", "https://*.example"},
    {true, "http://[::1]:4000", "//[::1]"},
    {true, "http://127.0.0.1:4000", "http://127.0.0.1:4000"},
    {false, "http://a.example", "https://a.example"},
    {false, "https://a.example", "http://a.example"},
    {false, "https://a.example:8443", "https://a.example"},
    {false, "https://a.example", "https://a.example:8443"},
    {false, "http://a.example", "//a.example:443"},
    {false, "capacitor://localhost:80", "capacitor://localhost"},
    {false, "https://b.a.example", "https://a.example"},
    {false, "https://a.example", "https://*.a.example"},
    {false, "https://.a.example", "https://*.a.example"},
    {false, "https://b..a.example", "https://*.a.example"},
    {false, "https://ba.example", "https://*.a.example"},
    {false, "https://b-a.example", "https://*.a.example"},
    {false, "https://b.a.example.evil.example", "https://*.a.example"},
    {false, "https://b.a.example.", "https://*.a.example"},
    {false, "http://b.a.example", "https://*.a.example"},
    {false, "https://b.a.example:8443", "https://*.a.example"},
    {false, "https://evil.example/.a.example", "https://*.a.example"},
    {false, "https://evil.example?.a.example", "//*.a.example"},
    {false, "https://evil.example#.a.example", "//*.a.example"},
    {false, "https://evil.example\\.a.example", "//*.a.example"},
    {false, "https://evil@b.a.example", "//*.a.example"},
    {false, "https://*.a.example", "https://*.a.example"},
    {false, "https://xa.example", "//a.example"},
    {false, "https://a.example.evil.example", "//a.example"},
    {false, "https://a.example/", "//a.example"},
    {false, "https://b\xC3\xBC.a.example", "//*.a.example"},
    {false, "null", "//a.example"},
    {false, "", "//a.example"},
    {false, "//a.example", "//a.example"},
    {false, "https://a.example", "a.example"},
    {false, "https://a.example", "*"},
    {false, "https://a.example", ""},
};

static void check_origins(bool (*matches)(hub_str_t origin, hub_str_t against),
                          const struct origin_row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (matches(hub_str(rows[i].origin), hub_str(rows[i].against)) != rows[i].matches)
            fail_msg("%s against %s", rows[i].origin, rows[i].against);
    }
}

static void the_servers_own_origin_is_told_from_all_others(void **state)
{
    (void)state;
    check_origins(hub__origin_is_same, same_rows, COUNT(same_rows));
}

static void an_origin_matches_only_its_entry_of_a_list(void **state)
{
    (void)state;
    check_origins(hub__origin_matches, list_rows, COUNT(list_rows));
}

static void an_absent_origin_is_never_the_same(void **state)
{
    (void)state;
    assert_false(hub__origin_is_same((hub_str_t){0}, HUB_STR("a.example")));
    assert_false(hub__origin_is_same(HUB_STR("http://a.example"), (hub_str_t){0}));
    assert_false(hub__origin_matches((hub_str_t){0}, HUB_STR("//a.example")));
    assert_false(hub__origin_matches(HUB_STR("http://a.example"), (hub_str_t){0}));
    assert_false(hub__origin_host_is((hub_str_t){0}, (hub_str_t){0}));
    assert_false(hub__host_valid((hub_str_t){0}));
}

static void an_origin_with_a_nul_is_not_cut_there(void **state)
{
    (void)state;
    assert_false(hub__origin_is_same(HUB_STR("http://a.example\0"), HUB_STR("a.example")));
    assert_false(hub__origin_matches(HUB_STR("http://b\0.a.example"), HUB_STR("//*.a.example")));
}

static const struct origin_row host_rows[] = {
    {true, "https://a.example", "a.example"},
    {true, "http://A.example:4000", "a.EXAMPLE"},
    {true, "capacitor://localhost", "localhost"},
    {true, "http://[::1]:4000", "[::1]"},
    {false, "https://a.example", "a.example:443"},
    {false, "https://b.a.example", "a.example"},
    {false, "https://a.example/", "a.example"},
    {false, "https://a.example@evil.example", "a.example"},
    {false, "a.example", "a.example"},
    {false, "null", "null"},
};

static void a_host_alone_may_be_compared(void **state)
{
    (void)state;
    check_origins(hub__origin_host_is, host_rows, COUNT(host_rows));
}

/* Every entry that some origin matches above is one that can be registered. */
static void check_entries_of_list_rows(void)
{
    for (size_t i = 0; i < COUNT(list_rows); i++) {
        if (list_rows[i].matches)
            assert_int_equal(hub__origin_entry_check(hub_str(list_rows[i].against), NULL), HUB_OK);
    }
}

static void an_entry_that_can_match_is_accepted(void **state)
{
    (void)state;
    check_entries_of_list_rows();
}

static void check_bad_entry(const char *entry, size_t offset)
{
    hub_error_t error = {0};

    assert_int_equal(hub__origin_entry_check(hub_str(entry), &error), HUB_EINVAL);
    assert_int_equal(error.offset, offset);
    assert_non_null(strstr(error.text, entry));
}

static void an_entry_that_could_never_match_is_refused(void **state)
{
    (void)state;
    check_bad_entry("", 0);
    check_bad_entry("*", 0);
    check_bad_entry("null", 0);
    check_bad_entry("a.example", 0);
    check_bad_entry("*.a.example", 0);
    check_bad_entry("https:a.example", 0);
    check_bad_entry("*://a.example", 0);
    check_bad_entry("://a.example", 0);
    check_bad_entry("//", 2);
    check_bad_entry("//*", 2);
    check_bad_entry("//*.", 4);
    check_bad_entry("//*.*.example", 4);
    check_bad_entry("//a.*.example", 4);
    check_bad_entry("//*.[::1]", 9);
    check_bad_entry("https://", 8);
    check_bad_entry("https://a.example/", 17);
    check_bad_entry("https://a.example:", 17);
    check_bad_entry("https://a.example:70000", 17);
    check_bad_entry("https://me@a.example", 10);
    check_bad_entry("https://b\xC3\xBC"
                    "cher.example",
                    9);
}

struct query_row {
    const char *query;
    const char *name;
    hub_status_t status;
    const char *value;
};

static const struct query_row query_rows[] = {
    {"a=1", "a", HUB_OK, "1"},
    {"a=1&b=2", "b", HUB_OK, "2"},
    {"a=1&a=2", "a", HUB_OK, "2"}, /* the last one, as with Phoenix */
    {"a=", "a", HUB_OK, ""},
    {"a", "a", HUB_OK, ""},
    {"b&a&c", "a", HUB_OK, ""},
    {"&&a=1&", "a", HUB_OK, "1"},
    {"a=b=c", "a", HUB_OK, "b=c"},
    {"a=1?2/3", "a", HUB_OK, "1?2/3"},
    {"a=x+y%20z%2b", "a", HUB_OK, "x y z+"},
    {"a=%C3%bc%26", "a", HUB_OK, "\xC3\xBC&"},
    {"a=\xC3\xBC", "a", HUB_OK, "\xC3\xBC"},
    {"%61%2b=1", "a+", HUB_OK, "1"},
    {"a+b=1", "a b", HUB_OK, "1"},
    {"%zz=1&a=2", "a", HUB_OK, "2"},
    {"a%=1&a=2", "a", HUB_OK, "2"},
    {"b=%zz&a=2", "a", HUB_OK, "2"},
    {"a=0123456789abcdef", "a", HUB_OK, "0123456789abcdef"},
    {"a=%30123456789abcde%66", "a", HUB_OK, "0123456789abcdef"},
    {"a=0123456789abcdefg", "a", HUB_ETOOLARGE, NULL},
    {"a=0123456789abcdef%67", "a", HUB_ETOOLARGE, NULL},
    {"a=%", "a", HUB_ESYNTAX, NULL},
    {"a=%4", "a", HUB_ESYNTAX, NULL},
    {"a=%4&b=1", "a", HUB_ESYNTAX, NULL},
    {"a=%4g", "a", HUB_ESYNTAX, NULL},
    {"a=%g4", "a", HUB_ESYNTAX, NULL},
    {"a=%%34", "a", HUB_ESYNTAX, NULL},
    {"a=2&a=%zz", "a", HUB_ESYNTAX, NULL},
    {"a=%ff", "a", HUB_EUTF8, NULL},
    {"a=%C3", "a", HUB_EUTF8, NULL},
    {"a=%ED%A0%80", "a", HUB_EUTF8, NULL},
    {"a=%C0%AF", "a", HUB_EUTF8, NULL},
    {"", "a", HUB_ENOTFOUND, NULL},
    {"&", "a", HUB_ENOTFOUND, NULL},
    {"=1", "a", HUB_ENOTFOUND, NULL},
    {"A=1", "a", HUB_ENOTFOUND, NULL},
    {"aa=1", "a", HUB_ENOTFOUND, NULL},
    {"a=1", "aa", HUB_ENOTFOUND, NULL},
    {"b=a", "a", HUB_ENOTFOUND, NULL},
    {"a;b=1", "b", HUB_ENOTFOUND, NULL},
};

/* From a block of its own size, as above. */
static void check_query(const struct query_row *row)
{
    hub_str_t untouched = HUB_STR("untouched"), value = untouched;
    size_t len = strlen(row->query);
    char buffer[16], *copy = malloc(len + (len == 0));
    hub_status_t err;

    memcpy(copy, row->query, len);
    err =
        hub__query_param(hub_str_n(copy, len), hub_str(row->name), buffer, sizeof(buffer), &value);
    free(copy);
    if (err != row->status)
        fail_msg("%d for %s", (int)err, row->query);
    assert_true(hub_str_equals(value, row->value == NULL ? untouched : hub_str(row->value)));
}

static void check_queries(void)
{
    for (size_t i = 0; i < COUNT(query_rows); i++)
        check_query(&query_rows[i]);
}

static void a_query_parameter_is_found_and_decoded(void **state)
{
    (void)state;
    check_queries();
}

static void an_absent_query_has_no_parameters(void **state)
{
    hub_str_t value;
    char buffer[1];

    (void)state;
    assert_int_equal(hub__query_param((hub_str_t){0}, HUB_STR("a"), buffer, 1, &value),
                     HUB_ENOTFOUND);
}

static void a_decoded_nul_is_a_byte_like_any_other(void **state)
{
    hub_str_t value = {0};
    char buffer[8];

    (void)state;
    assert_int_equal(hub__query_param(HUB_STR("a=x%00y"), HUB_STR("a"), buffer, 8, &value), HUB_OK);
    assert_int_equal(value.len, 3);
    assert_memory_equal(value.base, "x\0y", 3);
}

/* ---- the token among the subprotocols ---- */

#define PROTOCOL "Sec-WebSocket-Protocol: "

static const struct token_row {
    const char *fields;
    hub_status_t status;
    const char *token;
} token_rows[] = {
    {"", HUB_ENOTFOUND, NULL},
    {PROTOCOL "phoenix\r\n", HUB_ENOTFOUND, NULL},
    {PROTOCOL "phoenix, base64url.bearer.phx.YQ\r\n", HUB_OK, "a"},
    {PROTOCOL "base64url.bearer.phx.YWI,phoenix\r\n", HUB_OK, "ab"},
    {PROTOCOL "phoenix\r\n" PROTOCOL "base64url.bearer.phx.YWJj\r\n", HUB_OK, "abc"},
    {PROTOCOL "base64url.bearer.phx.\r\n", HUB_OK, ""},
    {PROTOCOL "base64url.bearer.phx.-_-_\r\n", HUB_OK, "\xfb\xff\xbf"},
    {PROTOCOL "base64url.bearer.phx.+_-_\r\n", HUB_OK, "\xfb\xff\xbf"},
    {PROTOCOL "base64url.bearer.phx.YWJjZGVmZ2g\r\n", HUB_OK, "abcdefgh"},
    {PROTOCOL "base64url.bearer.phx.YWJjZGVmZ2hp\r\n", HUB_ETOOLARGE, NULL},
    {PROTOCOL "base64url.bearer.phx.Y\r\n", HUB_ESYNTAX, NULL},
    {PROTOCOL "base64url.bearer.phx.YR\r\n", HUB_ESYNTAX, NULL},
    {PROTOCOL "base64url.bearer.phx.!!!!\r\n", HUB_ESYNTAX, NULL},
    {PROTOCOL "base64url.bearer.phx.YQ, base64url.bearer.phx.YQ\r\n", HUB_ESYNTAX, NULL},
    {PROTOCOL "Base64url.bearer.phx.YQ\r\n", HUB_ENOTFOUND, NULL},
};

static void a_token_is_found_among_the_subprotocols(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(token_rows); i++) {
        hub__request_head_t head;
        hub_str_t token = {0};
        char text[600], buffer[8];
        size_t len;

        snprintf(text, sizeof(text), "GET / HTTP/1.1\r\n%s\r\n", token_rows[i].fields);
        assert_int_equal(hub__request_head_parse(hub_str(text), &head, &len, NULL), HUB_OK);
        if (hub__handshake_auth_token(&head, buffer, sizeof(buffer), &token) !=
                token_rows[i].status ||
            !hub_str_equals(token, hub_str(token_rows[i].token)))
            fail_msg("%s: %.*s", token_rows[i].fields, HUB_STR_ARG(token));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_request_gets_its_status),
        cmocka_unit_test(a_head_that_ends_too_early_is_pending),
        cmocka_unit_test(a_head_is_split_into_its_parts),
        cmocka_unit_test(an_absolute_target_is_split_too),
        cmocka_unit_test(what_follows_the_head_is_not_read),
        cmocka_unit_test(a_syntax_error_names_its_offset_and_leaves_the_results_alone),
        cmocka_unit_test(a_head_past_its_limit_is_too_large),
        cmocka_unit_test(a_head_that_fills_its_limit_without_an_end_is_too_large),
        cmocka_unit_test(too_many_fields_are_too_large),
        cmocka_unit_test(heads_full_of_commas_and_blanks_just_complete),
        cmocka_unit_test(a_valid_upgrade_hands_out_its_headers),
        cmocka_unit_test(the_reason_names_the_header),
        cmocka_unit_test(a_field_is_found_without_case_and_only_when_it_is_single),
        cmocka_unit_test(the_accept_key_is_that_of_the_rfc),
        cmocka_unit_test(subprotocols_are_walked_over_all_fields_in_order),
        cmocka_unit_test(the_servers_own_origin_is_told_from_all_others),
        cmocka_unit_test(an_origin_matches_only_its_entry_of_a_list),
        cmocka_unit_test(an_absent_origin_is_never_the_same),
        cmocka_unit_test(an_origin_with_a_nul_is_not_cut_there),
        cmocka_unit_test(a_host_alone_may_be_compared),
        cmocka_unit_test(an_entry_that_can_match_is_accepted),
        cmocka_unit_test(an_entry_that_could_never_match_is_refused),
        cmocka_unit_test(a_query_parameter_is_found_and_decoded),
        cmocka_unit_test(an_absent_query_has_no_parameters),
        cmocka_unit_test(a_decoded_nul_is_a_byte_like_any_other),
        cmocka_unit_test(a_token_is_found_among_the_subprotocols),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
