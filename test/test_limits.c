/* SPDX-License-Identifier: MIT */
/* Every row of the lists of limits: what 0 means, the ceiling and one more, whether it may be off.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "hub/limits.h"
#include "hub/member.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

typedef struct row {
    const char *name;
    size_t offset, value, ceiling;
    bool may_be_off, server;
} row_t;

#define CONN_ROW(name, value, ceiling, off, at_limit)                                              \
    {#name, offsetof(hub_limits_t, name), value, ceiling, off, false},
#define SERVER_ROW(name, value, ceiling, off, at_limit)                                            \
    {#name, offsetof(hub_server_limits_t, name), value, ceiling, off, true},

static const row_t rows[] = {HUB_LIMIT_MAP(CONN_ROW) HUB_SERVER_LIMIT_MAP(SERVER_ROW)};

typedef union limits {
    hub_limits_t conn;
    hub_server_limits_t server;
    char bytes[1];
} limits_t;

static size_t *field(limits_t *limits, const row_t *row)
{
    return (size_t *)(void *)(limits->bytes + row->offset);
}

static hub_status_t resolve(limits_t *limits, const row_t *row, hub_error_t *error)
{
    return row->server ? hub_server_limits_resolve(&limits->server, error)
                       : hub_limits_resolve(&limits->conn, error);
}

/* What a row makes of a value, the others being their defaults. */
static void check(const row_t *row, size_t value, hub_status_t status, size_t resolved,
                  const char *text)
{
    limits_t limits = {0};
    hub_error_t error = {0};

    *field(&limits, row) = value;
    if (resolve(&limits, row, &error) != status || *field(&limits, row) != resolved ||
        strcmp(error.text, text) != 0)
        fail_msg("%s = %zu became %zu: %s", row->name, value, *field(&limits, row), error.text);
    assert_int_equal(resolve(&limits, row, NULL),
                     status); /* error is optional, and twice is once */
    assert_int_equal(*field(&limits, row), resolved);
}

static void check_too_much(const row_t *row, size_t value)
{
    char text[200];

    snprintf(text, sizeof(text), "limits: %s = %zu: at most %zu is allowed%s", row->name, value,
             row->ceiling, row->may_be_off ? ", or HUB_OFF" : "");
    check(row, value, HUB_EINVAL, value, text);
}

static void check_row(const row_t *row)
{
    char not_off[200];

    snprintf(not_off, sizeof(not_off), "limits: %s cannot be switched off, at most %zu is allowed",
             row->name, row->ceiling);
    check(row, 0, HUB_OK, row->value, "");
    check(row, 1, HUB_OK, 1, "");
    check(row, row->ceiling, HUB_OK, row->ceiling, "");
    check_too_much(row, row->ceiling + 1);
    check_too_much(row, HUB_OFF - 1);
    check(row, HUB_OFF, row->may_be_off ? HUB_OK : HUB_EINVAL, HUB_OFF,
          row->may_be_off ? "" : not_off);
}

static void each_limit_has_a_default_and_a_ceiling(void **state)
{
    (void)state;
    for (size_t i = 0; i != COUNT(rows); ++i)
        check_row(&rows[i]);
}

static void every_default_is_within_its_ceiling(void **state)
{
    (void)state;
    for (size_t i = 0; i != COUNT(rows); ++i)
        /* zero: known at the start alone */
        assert_true(rows[i].value == HUB_OFF
                        ? rows[i].may_be_off
                        : rows[i].value >= (strstr(rows[i].name, "_bytes") != NULL ? 0 : 1) &&
                              rows[i].value <= rows[i].ceiling);
}

static void zeroed_limits_become_the_documented_defaults(void **state)
{
    hub_limits_t limits = {0};
    hub_server_limits_t server = {0};

    (void)state;
    assert_int_equal(hub_limits_resolve(&limits, NULL), HUB_OK);
    assert_int_equal(hub_server_limits_resolve(&server, NULL), HUB_OK);
    assert_int_equal(limits.message_bytes, 64 * 1024);
    assert_int_equal(limits.topics, 128);
    assert_int_equal(limits.outbox_bytes, 1024 * 1024);
    assert_int_equal(limits.outbox_messages, 4096);
    assert_int_equal(limits.ping_ms, 25000);
    assert_int_equal(limits.pong_ms, 8000);
    assert_int_equal(limits.idle_ms, 60000);
    assert_int_equal(server.connections, 10000);
    assert_int_equal(server.request_ms, 10000);
}

static void the_first_wrong_option_is_named(void **state)
{
    hub_limits_t limits = {.topics = 5000, .fragments = 5000};
    hub_error_t error;

    (void)state;
    assert_int_equal(hub_limits_resolve(&limits, &error), HUB_EINVAL);
    assert_string_equal(error.text,
                        "limits: fragments = 5000: at most 1024 is allowed, or HUB_OFF");
    assert_int_equal(error.status, HUB_EINVAL);
}

#define REF_CEILING(name, value, ceiling, off, at_limit) CEILING_##name = (ceiling),
enum { HUB_LIMIT_MAP(REF_CEILING) };

static void the_longest_ref_fits_into_a_token(void **state)
{
    (void)state;
    assert_true(CEILING_ref_bytes + 2 <= sizeof(((hub_token_t *)0)->_ref));
}

int main(void)
{
#define CASE(name) cmocka_unit_test(name)
    const struct CMUnitTest tests[] = {
        CASE(each_limit_has_a_default_and_a_ceiling),
        CASE(every_default_is_within_its_ceiling),
        CASE(zeroed_limits_become_the_documented_defaults),
        CASE(the_first_wrong_option_is_named),
        CASE(the_longest_ref_fits_into_a_token),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
