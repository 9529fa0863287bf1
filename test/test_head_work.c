/* SPDX-License-Identifier: MIT */

/* Nobody makes a server slow with a long header: what the handshake does grows no faster than the
 * head. Its work is counted, not timed. hub/handshake.c and hub/extension.c are compiled for this
 * program so that each basic block calls here, and what they leave to libc counts by its bytes. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <stdio.h>

#include "hub/extension.h"
#include "hub/handshake.h"

static uint64_t work;

void __sanitizer_cov_trace_pc(void);
void *__real_memchr(const void *bytes, int c, size_t len);
void *__wrap_memchr(const void *bytes, int c, size_t len);

void __sanitizer_cov_trace_pc(void)
{
    work++;
}

void *__wrap_memchr(const void *bytes, int c, size_t len)
{
    const char *found = __real_memchr(bytes, c, len);

    work += found == NULL ? len : (size_t)(found - (const char *)bytes);
    return (void *)(uintptr_t)found;
}

#define HEAD CONNECTION UPGRADE KEY_AND_VERSION
#define CONNECTION "Connection: Upgrade\r\n"
#define UPGRADE "Upgrade: websocket\r\n"
#define KEY_AND_VERSION                                                                            \
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

/* A head is `before`, then `part` again and again, then `after`. */
struct head {
    const char *name, *before, *part, *after;
};

#define GET_BUT_CONNECTION "GET / HTTP/1.1\r\nHost: localhost\r\n" UPGRADE KEY_AND_VERSION
#define GET_BUT_UPGRADE "GET / HTTP/1.1\r\nHost: localhost\r\n" CONNECTION KEY_AND_VERSION
#define GET_ROOT "GET / HTTP/1.1\r\nHost: localhost\r\n" HEAD

static const struct head heads[] = {
    {"a path of one name", "GET /", "a", " HTTP/1.1\r\nHost: a\r\n" HEAD "\r\n"},
    {"a path of slashes", "GET /", "/", " HTTP/1.1\r\nHost: a\r\n" HEAD "\r\n"},
    {"an absolute target", "GET http://", "a.", "/ HTTP/1.1\r\nHost: a\r\n" HEAD "\r\n"},
    {"a query of one name", "GET /?", "v", " HTTP/1.1\r\nHost: a\r\n" HEAD "\r\n"},
    {"a query of parameters", "GET /?", "&v=1", " HTTP/1.1\r\nHost: a\r\n" HEAD "\r\n"},
    {"a query of the same parameter", "GET /?", "vsn=2.0.0&",
     " HTTP/1.1\r\nHost: a\r\n" HEAD "\r\n"},
    {"a query of empty ones", "GET /?", "&", " HTTP/1.1\r\nHost: a\r\n" HEAD "\r\n"},
    {"a query of escapes", "GET /?vsn=", "%41", " HTTP/1.1\r\nHost: a\r\n" HEAD "\r\n"},
    {"a query of bad escapes", "GET /?vsn=", "%4", " HTTP/1.1\r\nHost: a\r\n" HEAD "\r\n"},
    {"a method", "G", "G", "ET / HTTP/1.1\r\nHost: a\r\n" HEAD "\r\n"},
    {"a field's name", GET_ROOT "X", "X", ": y\r\n\r\n"},
    {"a field's value", GET_ROOT "X: ", "x", "\r\n\r\n"},
    {"blanks before a value", GET_ROOT "X:", " ", "y\r\n\r\n"},
    {"blanks behind a value", GET_ROOT "X: y", "\t", "\r\n\r\n"},
    {"blanks in a value", GET_ROOT "X: y", " \t", "y\r\n\r\n"},
    {"a head that does not end", GET_ROOT "X: ", "x", ""},
    {"a Host of labels", "GET / HTTP/1.1\r\n" HEAD "Host: ", "a.", "a\r\n\r\n"},
    {"a Host of one label", "GET / HTTP/1.1\r\n" HEAD "Host: ", "a", "\r\n\r\n"},
    {"a Host of digits behind a colon", "GET / HTTP/1.1\r\n" HEAD "Host: a:", "0", "\r\n\r\n"},
    {"a Host of colons in brackets", "GET / HTTP/1.1\r\n" HEAD "Host: [", ":", "]\r\n\r\n"},
    {"Connection: tokens", GET_BUT_CONNECTION "Connection: ", "a,", "a\r\n\r\n"},
    {"Connection: commas", GET_BUT_CONNECTION "Connection: ", ",", "\r\n\r\n"},
    {"Connection: commas and blanks", GET_BUT_CONNECTION "Connection: ", " ,\t", "\r\n\r\n"},
    {"Connection: nearly the token", GET_BUT_CONNECTION "Connection: ", "upgrad,", "\r\n\r\n"},
    {"Upgrade: tokens", GET_BUT_UPGRADE "Upgrade: ", "h2c,", "\r\n\r\n"},
    {"Upgrade: blanks between commas", GET_BUT_UPGRADE "Upgrade: ", "  ,  ", "\r\n\r\n"},
    {"Sec-WebSocket-Key", GET_ROOT "Sec-WebSocket-Key: ", "A", "==\r\n\r\n"},
    {"Sec-WebSocket-Version", GET_ROOT "Sec-WebSocket-Version: ", "1", "3\r\n\r\n"},
    {"Sec-WebSocket-Protocol: tokens", GET_ROOT "Sec-WebSocket-Protocol: ", "a,", "b\r\n\r\n"},
    {"Sec-WebSocket-Protocol: one token", GET_ROOT "Sec-WebSocket-Protocol: ", "a", "\r\n\r\n"},
    {"Sec-WebSocket-Protocol: blanks", GET_ROOT "Sec-WebSocket-Protocol: a", " ", "b\r\n\r\n"},
    {"Sec-WebSocket-Protocol: blanks and commas", GET_ROOT "Sec-WebSocket-Protocol: a", " , a",
     "\r\n\r\n"},
    {"Sec-WebSocket-Protocol: a list with a bad end", GET_ROOT "Sec-WebSocket-Protocol: ", "a,",
     "\r\n\r\n"},
    {"Sec-WebSocket-Protocol: an auth token",
     GET_ROOT "Sec-WebSocket-Protocol: " HUB__AUTH_TOKEN_OFFER, "AAAA", "\r\n\r\n"},
    {"Sec-WebSocket-Extensions: offers",
     GET_ROOT "Sec-WebSocket-Extensions: ", "permessage-deflate; x,", "x\r\n\r\n"},
    {"Sec-WebSocket-Extensions: parameters",
     GET_ROOT "Sec-WebSocket-Extensions: permessage-deflate", ";a=1", "\r\n\r\n"},
    {"Sec-WebSocket-Extensions: one parameter again",
     GET_ROOT "Sec-WebSocket-Extensions: permessage-deflate", ";client_max_window_bits",
     "\r\n\r\n"},
    {"Sec-WebSocket-Extensions: a quoted value", GET_ROOT "Sec-WebSocket-Extensions: x; y=\"", "z",
     "\"\r\n\r\n"},
    {"Sec-WebSocket-Extensions: escapes", GET_ROOT "Sec-WebSocket-Extensions: x; y=\"", "\\z",
     "\"\r\n\r\n"},
    {"Sec-WebSocket-Extensions: a quote that does not end",
     GET_ROOT "Sec-WebSocket-Extensions: x; y=\"", "z", "\r\n\r\n"},
    {"Sec-WebSocket-Extensions: blanks", GET_ROOT "Sec-WebSocket-Extensions: x", " ", ";y\r\n\r\n"},
    {"Sec-WebSocket-Extensions: commas", GET_ROOT "Sec-WebSocket-Extensions: x", ",", ",y\r\n\r\n"},
    {"Origin: labels", GET_ROOT "Origin: http://", "a.", "a\r\n\r\n"},
    {"Origin: a long scheme", GET_ROOT "Origin: ", "a", "://a\r\n\r\n"},
    {"Origin: digits", GET_ROOT "Origin: http://a:", "1", "\r\n\r\n"},
    {"Origin: slashes", GET_ROOT "Origin: http:", "/", "\r\n\r\n"},
    {"Cookie", GET_ROOT "Cookie: ", "a=b; ", "c=d\r\n\r\n"},
};

/* Every function that looks at a request's head, as the server calls them. */
static void look_at(hub_str_t bytes)
{
    static const hub_deflate_options_t deflate = {
        .enabled = true, .level = 6, .window_bits = 15, .client_window_bits = 15};
    static hub__request_head_t head;
    static char text[HUB__HANDSHAKE_HEAD_MAX];
    hub__handshake_t handshake = {0};
    const char *reason;
    hub_status_t err;
    hub_str_t value;
    size_t len;

    if (hub__request_head_parse(bytes, &head, &len, NULL) != HUB_OK)
        return;
    (void)hub__handshake_check(&head, &handshake, &reason);
    (void)hub__extensions_valid(&head);
    (void)hub__deflate_negotiate(&head, &deflate);
    err = hub__handshake_auth_token(&head, text, sizeof(text), &value);
    err = hub__query_param(head.query, HUB_STR("vsn"), text, sizeof(text), &value);
    (void)err; /* whatever they make of it */
    value = hub__request_head_field(&head, "Origin", NULL);
    (void)hub__origin_is_same(value, HUB_STR("localhost"));
    (void)hub__origin_matches(value, HUB_STR("//*.a.a"));
    (void)hub__origin_host_is(value, HUB_STR("a"));
}

/* For a head of about `size` bytes. */
static uint64_t work_for(const struct head *head, size_t size)
{
    static char text[HUB__HANDSHAKE_HEAD_MAX];
    size_t before = strlen(head->before), part = strlen(head->part), after = strlen(head->after);
    size_t len = before;

    memcpy(text, head->before, before);
    for (; len + part + after <= size; len += part)
        memcpy(text + len, head->part, part);
    memcpy(text + len, head->after, after);
    work = 0;
    look_at(hub_str_n(text, len + after));
    return work;
}

static void twice_the_head_is_at_most_two_and_a_half_times_the_work(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
        for (size_t size = 1024; size <= HUB__HANDSHAKE_HEAD_MAX / 2; size *= 2) {
            uint64_t once = work_for(&heads[i], size), twice = work_for(&heads[i], 2 * size);

            if (once == 0 || 2 * twice > 5 * once)
                fail_msg("%s: %zu bytes are %llu steps, %zu are %llu", heads[i].name, size,
                         (unsigned long long)once, 2 * size, (unsigned long long)twice);
        }
    }
}

/* Also where there are as many fields as there may be, all of them of interest. */
static void a_byte_of_a_head_is_looked_at_a_bounded_number_of_times(void **state)
{
    static const char *const names[] = {"Connection", "Upgrade", "Sec-WebSocket-Protocol",
                                        "Sec-WebSocket-Extensions", "X"};
    uint64_t most = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
        uint64_t each = work_for(&heads[i], HUB__HANDSHAKE_HEAD_MAX) / HUB__HANDSHAKE_HEAD_MAX;

        most = each > most ? each : most;
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char text[HUB__HANDSHAKE_HEAD_MAX] = GET_ROOT;
        size_t len = strlen(text);

        for (size_t fields = 5; fields < HUB__HANDSHAKE_FIELDS_MAX; fields++)
            len += (size_t)snprintf(text + len, sizeof(text) - len, "%s: a,b,c,d,e,f,g,h\r\n",
                                    names[i]);
        len += (size_t)snprintf(text + len, sizeof(text) - len, "\r\n");
        work = 0;
        look_at(hub_str_n(text, len));
        most = work / len > most ? work / len : most;
    }
    assert_in_range(most, 1, 400);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(twice_the_head_is_at_most_two_and_a_half_times_the_work),
        cmocka_unit_test(a_byte_of_a_head_is_looked_at_a_bounded_number_of_times),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
