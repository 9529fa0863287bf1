/* SPDX-License-Identifier: MIT */

/* Whose connection it is: addresses as text, networks of proxies, and what is believed of a header
 * that anybody may have begun. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include <sys/socket.h>
#include <unistd.h>

#include "hub/address.h"

/* ---- addresses ---- */

/* `wanted` NULL: it is none. */
static void expect_parsed(const char *text, const char *wanted)
{
    char buffer[HUB__ADDRESS_TEXT];
    hub__address_t address;

    assert_int_equal(hub__address_parse(hub_str(text), &address), wanted != NULL);
    if (wanted != NULL)
        assert_string_equal(hub__address_format(&address, buffer), wanted);
}

static void addresses_are_read_with_and_without_a_port(void **state)
{
    (void)state;
    expect_parsed("10.1.2.3", "10.1.2.3");
    expect_parsed("10.1.2.3:8080", "10.1.2.3");
    expect_parsed("2001:DB8::1", "2001:db8::1");
    expect_parsed("[2001:db8::1]", "2001:db8::1");
    expect_parsed("[2001:db8::1]:443", "2001:db8::1");
    expect_parsed("::ffff:10.1.2.3", "10.1.2.3");
    expect_parsed("::", "::");
}

static void what_is_no_address_is_refused(void **state)
{
    (void)state;
    expect_parsed("", NULL);
    expect_parsed("unknown", NULL);
    expect_parsed("_hidden", NULL);
    expect_parsed("10.1.2", NULL);
    expect_parsed("10.1.2.300", NULL);
    expect_parsed("010.1.2.3x", NULL);
    expect_parsed("fe80::1%eth0", NULL);
    expect_parsed("[::1", NULL);
    expect_parsed(":", NULL);
    expect_parsed("[]", NULL);
    expect_parsed("1:2:3:4:5:6:7:8:9", NULL);
    expect_parsed("2001:0db8:0000:0000:0000:0000:0000:00010000000000000000000", NULL);
    assert_false(hub__address_parse(hub_str_n("1.2.3.4\0", 8), &(hub__address_t){{0}}));
    assert_false(hub__address_parse((hub_str_t){0}, &(hub__address_t){{0}}));
}

static const char *block_of(const char *text, char buffer[HUB__ADDRESS_TEXT])
{
    hub__address_t address, block;

    assert_true(hub__address_parse(hub_str(text), &address));
    block = hub__address_block(&address);
    return hub__address_format(&block, buffer);
}

static void a_block_is_a_64_of_ipv6_and_all_of_ipv4(void **state)
{
    char buffer[HUB__ADDRESS_TEXT];

    (void)state;
    assert_string_equal(block_of("2001:db8:1:2:3:4:5:6", buffer), "2001:db8:1:2::");
    assert_string_equal(block_of("10.1.2.3", buffer), "10.1.2.3");
}

static void a_unix_socket_has_no_address(void **state)
{
    hub__address_t address;
    int fds[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_false(hub__address_of_peer(fds[0], &address));
    close(fds[0]);
    close(fds[1]);
}

/* ---- proxies ---- */

static void expect_trusted(const char *network, const char *text, bool wanted)
{
    hub__proxies_t proxies;
    hub__address_t address;

    assert_int_equal(
        hub__proxies_parse((const char *const[]){"192.0.2.1", network, NULL}, &proxies, NULL),
        HUB_OK);
    assert_true(hub__address_parse(hub_str(text), &address));
    if (hub__proxies_trust(&proxies, &address) != wanted)
        fail_msg("%s is %strusted within %s", text, wanted ? "not " : "", network);
    hub__proxies_dispose(&proxies);
}

static void networks_end_at_any_bit(void **state)
{
    (void)state;
    expect_trusted("10.0.0.0/8", "10.255.0.1", true);
    expect_trusted("10.0.0.0/8", "11.0.0.1", false);
    expect_trusted("10.0.0.0/9", "10.127.0.1", true);
    expect_trusted("10.0.0.0/9", "10.128.0.1", false);
    expect_trusted("10.1.2.3", "10.1.2.3", true);
    expect_trusted("10.1.2.3", "10.1.2.2", false);
    expect_trusted("10.1.2.3/32", "10.1.2.2", false);
    expect_trusted("0.0.0.0/0", "1.2.3.4", true);
    expect_trusted("0.0.0.0/0", "::1", false);
    expect_trusted("2001:db8::/33", "2001:db8:7fff::1", true);
    expect_trusted("2001:db8::/33", "2001:db8:8000::1", false);
    expect_trusted("::/0", "2001:db8::1", true);
    expect_trusted("::1", "::1", true);
}

static void expect_bad_proxy(const char *text)
{
    hub__proxies_t proxies = {0};
    hub_error_t error = {0};
    char quoted[64];

    snprintf(quoted, sizeof(quoted), "trusted_proxies: \"%s\"", text);
    assert_int_equal(
        hub__proxies_parse((const char *const[]){"10.0.0.1", text, NULL}, &proxies, &error),
        HUB_EINVAL);
    assert_non_null(strstr(error.text, quoted));
    assert_int_equal(proxies.count, 0);
}

static void what_is_no_network_is_named(void **state)
{
    (void)state;
    expect_bad_proxy("10.0.0.0/33");
    expect_bad_proxy("::1/129");
    expect_bad_proxy("10.0.0.0/");
    expect_bad_proxy("10.0.0.0/8x");
    expect_bad_proxy("10.0.0.0/-1");
    expect_bad_proxy("10.0.0.0:80");
    expect_bad_proxy("localhost");
    expect_bad_proxy("");
}

/* ---- X-Forwarded-For ---- */

/* Who sends a request whose fields are these, from `peer` (NULL: a unix socket), where 10.0.0.0/8
 * and unix sockets are trusted. */
static void expect_client(const char *peer_text, const char *first, const char *second,
                          const char *wanted)
{
    hub__request_head_t head = {.field_count = 3};
    hub__address_t peer, client;
    hub__proxies_t proxies;
    char buffer[HUB__ADDRESS_TEXT];

    assert_int_equal(
        hub__proxies_parse((const char *const[]){"10.0.0.0/8", "unix", NULL}, &proxies, NULL),
        HUB_OK);
    head.fields[0] = (hub__header_t){.name = HUB_STR("X-Forwarded-For"), .value = hub_str(first)};
    head.fields[1] = (hub__header_t){.name = HUB_STR("host"), .value = HUB_STR("9.9.9.9")};
    head.fields[2] = (hub__header_t){.name = HUB_STR("x-forwarded-for"), .value = hub_str(second)};
    if (second == NULL)
        head.field_count = 2;
    if (peer_text != NULL)
        assert_true(hub__address_parse(hub_str(peer_text), &peer));
    assert_int_equal(
        hub__proxies_client(&proxies, peer_text != NULL ? &peer : NULL, &head, &client),
        wanted != NULL);
    if (wanted != NULL)
        assert_string_equal(hub__address_format(&client, buffer), wanted);
    hub__proxies_dispose(&proxies);
}

static void nobody_is_believed_who_is_no_proxy(void **state)
{
    (void)state;
    expect_client("1.1.1.1", "2.2.2.2", NULL, "1.1.1.1");
    expect_client("1.1.1.1", "10.0.0.1", "10.0.0.2", "1.1.1.1");
}

static void the_rightmost_address_that_is_no_proxy_counts(void **state)
{
    (void)state;
    expect_client("10.0.0.1", "2.2.2.2", NULL, "2.2.2.2");
    expect_client("10.0.0.1", "6.6.6.6, 2.2.2.2", NULL, "2.2.2.2");
    expect_client("10.0.0.1", "6.6.6.6,2.2.2.2 , 10.0.0.9", NULL, "2.2.2.2");
    expect_client("10.0.0.1", "6.6.6.6", "2.2.2.2", "2.2.2.2");
    expect_client("10.0.0.1", "6.6.6.6, 2.2.2.2", "10.0.0.9\t,10.0.0.8", "2.2.2.2");
    expect_client(NULL, "6.6.6.6, 2.2.2.2:1234", NULL, "2.2.2.2");
    expect_client("10.0.0.1", "[2001:db8::1]:99", NULL, "2001:db8::1");
}

static void where_only_proxies_are_named_the_furthest_counts(void **state)
{
    (void)state;
    expect_client("10.0.0.1", "10.0.0.3, 10.0.0.2", NULL, "10.0.0.3");
    expect_client("10.0.0.1", "", NULL, "10.0.0.1");
}

static void what_cannot_be_read_ends_the_search_before_it(void **state)
{
    (void)state;
    expect_client("10.0.0.1", "6.6.6.6, unknown", NULL, "10.0.0.1");
    expect_client("10.0.0.1", "6.6.6.6, , 10.0.0.2", NULL, "10.0.0.2");
    expect_client("10.0.0.1", "6.6.6.6", "junk, 10.0.0.2", "10.0.0.2");
    expect_client(NULL, "unknown", NULL, NULL);
    expect_client(NULL, "", NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(addresses_are_read_with_and_without_a_port),
        cmocka_unit_test(what_is_no_address_is_refused),
        cmocka_unit_test(a_block_is_a_64_of_ipv6_and_all_of_ipv4),
        cmocka_unit_test(a_unix_socket_has_no_address),
        cmocka_unit_test(networks_end_at_any_bit),
        cmocka_unit_test(what_is_no_network_is_named),
        cmocka_unit_test(nobody_is_believed_who_is_no_proxy),
        cmocka_unit_test(the_rightmost_address_that_is_no_proxy_counts),
        cmocka_unit_test(where_only_proxies_are_named_the_furthest_counts),
        cmocka_unit_test(what_cannot_be_read_ends_the_search_before_it),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
