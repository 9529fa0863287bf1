/* SPDX-License-Identifier: MIT */
/* What one node asks another to do to a connection, as bytes: read as it was written, and nothing
 * else is read at all. */
#include "hub/relay.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static char written[1024];

static hub_str_t write_down(const hub__relay_t *relay)
{
    size_t size = hub__relay_size(relay);

    assert_in_range(size, 1, sizeof(written));
    hub__relay_write(relay, written);
    return hub_str_n(written, size);
}

/* In a block of its own, so that a byte too many is noticed. */
static hub_status_t read_copy(hub_str_t bytes)
{
    char *copy = malloc(bytes.len == 0 ? 1 : bytes.len);
    hub__relay_t relay;
    hub_status_t err;

    memcpy(copy, bytes.base, bytes.len);
    err = hub__relay_read(hub_str_n(copy, bytes.len), &relay);
    free(copy);
    return err;
}

static hub__relay_t a_close(void)
{
    return (hub__relay_t){.kind = HUB__RELAY_CLOSE,
                          .local = UINT64_C(0x0123456789abcdef),
                          .code = 4000,
                          .reason = HUB_STR("enough")};
}

static hub__relay_t a_push(void)
{
    return (hub__relay_t){.kind = HUB__RELAY_PUSH,
                          .identity = HUB_STR("alice"),
                          .topic = HUB_STR("room:1"),
                          .event = HUB_STR("news"),
                          .payload = HUB_JSON("{\"n\":1}")};
}

static void assert_same(hub__relay_t relay)
{
    hub__relay_t read = {0};

    assert_int_equal(hub__relay_read(write_down(&relay), &read), HUB_OK);
    assert_int_equal(read.kind, relay.kind);
    assert_int_equal(read.local, relay.local);
    assert_int_equal(read.code, relay.code);
    assert_int_equal(read.payload.kind, relay.payload.kind);
    assert_true(hub_str_equals(read.identity, relay.identity));
    assert_true(hub_str_equals(read.reason, relay.reason));
    assert_true(hub_str_equals(read.topic, relay.topic));
    assert_true(hub_str_equals(read.event, relay.event));
    assert_true(hub_str_equals(read.payload.bytes, relay.payload.bytes));
}

static void what_is_written_is_read(void **state)
{
    hub__relay_t binary = a_push();

    (void)state;
    binary.payload = hub_binary("\0\xff", 2);
    assert_same(a_close());
    assert_same(a_push());
    assert_same(binary);
}

static void a_relay_cut_anywhere_or_longer_is_junk(void **state)
{
    hub__relay_t relay = a_push();
    hub_str_t bytes = write_down(&relay);

    (void)state;
    for (size_t len = 0; len != bytes.len; ++len)
        assert_int_equal(read_copy(hub_str_n(bytes.base, len)), HUB_ESYNTAX);
    written[bytes.len] = '\0';
    assert_int_equal(read_copy(hub_str_n(bytes.base, bytes.len + 1)), HUB_ESYNTAX);
}

/* The relay with one byte of it changed. */
static hub_status_t read_changed(hub__relay_t relay, size_t at, int value)
{
    hub_str_t bytes = write_down(&relay);

    written[at] = (char)value;
    return read_copy(bytes);
}

static void a_later_version_is_left_alone(void **state)
{
    (void)state;
    assert_int_equal(read_changed(a_close(), 0, 2), HUB_ENOTFOUND);
    assert_int_equal(read_changed(a_close(), 0, 0), HUB_ESYNTAX);
}

static void lengths_that_do_not_add_up_are_junk(void **state)
{
    (void)state;
    for (size_t at = 16; at != 36; ++at)
        assert_int_equal(read_changed(a_push(), at, 0xff), HUB_ESYNTAX);
}

static void what_must_be_zero_is_zero(void **state)
{
    (void)state;
    assert_int_equal(read_changed(a_close(), 1, 0), HUB_ESYNTAX);
    assert_int_equal(read_changed(a_close(), 1, 3), HUB_ESYNTAX);
    assert_int_equal(read_changed(a_push(), 2, 2), HUB_ESYNTAX);
    assert_int_equal(read_changed(a_close(), 3, 1), HUB_ESYNTAX);
    assert_int_equal(read_changed(a_push(), 5, 1), HUB_ESYNTAX);
    assert_int_equal(read_changed(a_close(), 6, 1), HUB_ESYNTAX);
    assert_int_equal(read_changed(a_close(), 7, 1), HUB_ESYNTAX);
}

static hub_status_t read_back(const hub__relay_t *relay)
{
    return read_copy(write_down(relay));
}

static void it_is_for_one_connection_or_for_an_identity(void **state)
{
    hub__relay_t nobody = a_close(), both = a_push();

    (void)state;
    nobody.local = 0;
    both.local = 1;
    assert_int_equal(read_back(&nobody), HUB_ESYNTAX);
    assert_int_equal(read_back(&both), HUB_ESYNTAX);
}

static void a_close_has_a_code_that_may_be_sent_and_a_reason_that_fits(void **state)
{
    char reason[124];
    hub__relay_t relay = a_close();

    (void)state;
    memset(reason, 'x', sizeof(reason));
    relay.reason = hub_str_n(reason, 123);
    assert_int_equal(read_back(&relay), HUB_OK);
    relay.reason = hub_str_n(reason, 124);
    assert_int_equal(read_back(&relay), HUB_ESYNTAX);
    relay.reason = HUB_STR("\xff");
    assert_int_equal(read_back(&relay), HUB_ESYNTAX);
    relay = a_close();
    relay.code = 1006;
    assert_int_equal(read_back(&relay), HUB_ESYNTAX);
    relay = a_close();
    relay.event = HUB_STR("news");
    assert_int_equal(read_back(&relay), HUB_ESYNTAX);
}

static void a_push_is_as_valid_as_one_of_a_program(void **state)
{
    hub__relay_t relay = a_push();

    (void)state;
    relay.payload = HUB_JSON("{\"n\":}");
    assert_int_equal(read_back(&relay), HUB_ESYNTAX);
    relay.payload = HUB_JSON("\"\xff\"");
    assert_int_equal(read_back(&relay), HUB_ESYNTAX);
    relay = a_push();
    relay.event = (hub_str_t){0};
    assert_int_equal(read_back(&relay), HUB_ESYNTAX);
    relay.event = HUB_STR("\xc3");
    assert_int_equal(read_back(&relay), HUB_ESYNTAX);
    relay = a_push();
    relay.topic = (hub_str_t){0};
    assert_int_equal(read_back(&relay), HUB_ESYNTAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(a_relay_cut_anywhere_or_longer_is_junk),
        cmocka_unit_test(a_later_version_is_left_alone),
        cmocka_unit_test(lengths_that_do_not_add_up_are_junk),
        cmocka_unit_test(what_must_be_zero_is_zero),
        cmocka_unit_test(it_is_for_one_connection_or_for_an_identity),
        cmocka_unit_test(a_close_has_a_code_that_may_be_sent_and_a_reason_that_fits),
        cmocka_unit_test(a_push_is_as_valid_as_one_of_a_program),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
