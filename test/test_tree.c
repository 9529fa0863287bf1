/* SPDX-License-Identifier: MIT */

/* A payload as a tree and back. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>

#include "bus/tree.h"

static void a_payload_becomes_a_tree(void **state)
{
    json_t *tree = NULL;

    (void)state;
    assert_int_equal(hub_payload_parse(HUB_JSON("{\"a\":[1,\"x\"]}"), &tree, NULL), HUB_OK);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(tree, "a"), 0)), 1);
    json_decref(tree);
}

static void any_kind_of_value_is_a_payload(void **state)
{
    json_t *tree = NULL;

    (void)state;
    assert_int_equal(hub_payload_parse(HUB_JSON("null"), &tree, NULL), HUB_OK);
    assert_true(json_is_null(tree));
    json_decref(tree);
}

static void what_is_wrong_is_named_with_its_offset(void **state)
{
    hub_error_t error = {0};
    json_t *tree = NULL;

    (void)state;
    assert_int_equal(hub_payload_parse(HUB_JSON("[1,}"), &tree, &error), HUB_EPAYLOAD);
    assert_int_equal(error.offset, 4);
    assert_null(tree);
}

static void binary_is_refused(void **state)
{
    json_t *tree = NULL;

    (void)state;
    assert_int_equal(hub_payload_parse(hub_binary("{}", 2), &tree, NULL), HUB_EPAYLOAD);
    assert_null(tree);
}

static void a_tree_prints_as_a_valid_payload(void **state)
{
    json_t *tree = json_pack("{s:s, s:[i,b]}", "text", "a\"b", "list", 7, 1);
    hub_payload_t payload;
    char *block = NULL;

    (void)state;
    assert_int_equal(hub_payload_print(tree, &block, &payload), HUB_OK);
    assert_int_equal(hub_payload_check(payload, 0, NULL), HUB_OK);
    assert_true(hub_str_equals(payload.bytes, HUB_STR("{\"text\":\"a\\\"b\",\"list\":[7,true]}")));
    free(block);
    json_decref(tree);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_payload_becomes_a_tree),
        cmocka_unit_test(any_kind_of_value_is_a_payload),
        cmocka_unit_test(what_is_wrong_is_named_with_its_offset),
        cmocka_unit_test(binary_is_refused),
        cmocka_unit_test(a_tree_prints_as_a_valid_payload),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
