/* SPDX-License-Identifier: MIT */
/* Status texts, errors and strings: what every other noun is built on. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "bus/base.h"

static void every_status_has_its_own_name_and_a_text(void **state)
{
    (void)state;
#define CHECK_STATUS(name, value, text)                                                            \
    assert_int_equal(HUB_##name, value);                                                           \
    assert_string_equal(hub_status_name(HUB_##name), #name);                                       \
    assert_string_equal(hub_status_text(HUB_##name), text);
    HUB_STATUS_MAP(CHECK_STATUS)
#undef CHECK_STATUS
}

static void a_number_that_is_no_status_is_called_unknown(void **state)
{
    (void)state;
    assert_string_equal(hub_status_text((hub_status_t)-1000), "unknown status");
    assert_string_equal(hub_status_name((hub_status_t)-1000), "unknown");
}

static void setting_an_error_fills_it_and_returns_its_status(void **state)
{
    hub_error_t error;

    (void)state;
    assert_int_equal(hub_error_set(&error, HUB_ETOPIC, 7, "topic %s at %d", "a:b", 7), HUB_ETOPIC);
    assert_int_equal(error.status, HUB_ETOPIC);
    assert_int_equal(error.offset, 7);
    assert_string_equal(error.text, "topic a:b at 7");
}

static void an_error_that_nobody_wants_is_only_returned(void **state)
{
    (void)state;
    assert_int_equal(hub_error_set(NULL, HUB_ELIMIT, 1, "%d", 1), HUB_ELIMIT);
}

static void a_text_too_long_for_an_error_is_cut(void **state)
{
    hub_error_t error;

    (void)state;
    hub_error_set(&error, HUB_EINVAL, 0, "%0300d", 1);
    assert_int_equal(strlen(error.text), sizeof(error.text) - 1);
    assert_string_equal(error.text + sizeof(error.text) - 4, "000");
}

static void strings_compare_by_bytes_and_absent_is_empty(void **state)
{
    (void)state;
    assert_true(hub_str_equals(HUB_STR("a\0b"), HUB_STR("a\0b")));
    assert_false(hub_str_equals(HUB_STR("a\0b"), HUB_STR("a\0c")));
    assert_false(hub_str_equals(HUB_STR("a"), HUB_STR("ab")));
    assert_true(hub_str_equals(hub_str(NULL), HUB_STR("")));
    assert_int_equal(hub_str(NULL).len, 0);
    assert_int_equal(hub_str("abc").len, 3);
}

static void a_string_starts_with_its_prefixes_and_the_empty_one(void **state)
{
    (void)state;
    assert_true(hub_str_starts_with(HUB_STR("room:1"), HUB_STR("room:")));
    assert_true(hub_str_starts_with(HUB_STR("room:"), HUB_STR("room:")));
    assert_false(hub_str_starts_with(HUB_STR("room"), HUB_STR("room:")));
    assert_false(hub_str_starts_with(HUB_STR("rooms"), HUB_STR("room:")));
    assert_true(hub_str_starts_with(HUB_STR("a"), hub_str(NULL)));
    assert_true(hub_str_starts_with(hub_str(NULL), HUB_STR("")));
}

static void a_string_prints_by_its_length(void **state)
{
    char text[16];

    (void)state;
    snprintf(text, sizeof(text), "%.*s", HUB_STR_ARG(hub_str_n("abcdef", 3)));
    assert_string_equal(text, "abc");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_its_own_name_and_a_text),
        cmocka_unit_test(a_number_that_is_no_status_is_called_unknown),
        cmocka_unit_test(setting_an_error_fills_it_and_returns_its_status),
        cmocka_unit_test(an_error_that_nobody_wants_is_only_returned),
        cmocka_unit_test(a_text_too_long_for_an_error_is_cut),
        cmocka_unit_test(strings_compare_by_bytes_and_absent_is_empty),
        cmocka_unit_test(a_string_starts_with_its_prefixes_and_the_empty_one),
        cmocka_unit_test(a_string_prints_by_its_length),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
