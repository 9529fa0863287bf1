/* SPDX-License-Identifier: MIT */
/* Plain bytes, skipped in each of the ways that this machine knows, against looking at one byte
 * after the other. Each text has one byte that is not plain, in each place around the borders of
 * blocks. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "bus/plain.h"

#define TEXT_BYTES 420

typedef const uint8_t *(*skip_cb)(const uint8_t *at, const uint8_t *end);

static const uint8_t odd_bytes[] = {0x00, 0x01, 0x02, 0x1f, '"', '\\', 0x80, 0xa2, 0xdc, 0xff};
/* Neighbours of those. */
static const uint8_t plain_bytes[] = {0x20, 0x21, 0x23, 0x5b, 0x5d, 0x7e, 0x7f, 'b', '0'};

/* A copy of its own, so that reading past its ends is found. */
typedef struct text {
    uint8_t *bytes, *end;
} text_t;

static text_t text_make(size_t len)
{
    uint8_t *bytes = malloc(len != 0 ? len : 1);

    assert_non_null(bytes);
    for (size_t i = 0; i < len; i++)
        bytes[i] = plain_bytes[i % sizeof(plain_bytes)];
    return (text_t){bytes, bytes + len};
}

/* All of a text of this length, and from a place within. */
static void check_skip(size_t len, size_t from, size_t odd_at, uint8_t odd)
{
    text_t text = text_make(len);
    const uint8_t *expected = odd_at < len ? text.bytes + odd_at : text.end;

    if (odd_at < len)
        text.bytes[odd_at] = odd;
    assert_ptr_equal(hub__plain_skip(text.bytes, text.bytes + from, text.end), expected);
    free(text.bytes);
}

static void check_blocks(skip_cb skip_plain)
{
    for (size_t len = 0; len <= TEXT_BYTES; len += len < 40 ? 1 : 13) {
        for (size_t odd_at = 0; odd_at <= len; odd_at += odd_at < 40 ? 1 : 7) {
            text_t text = text_make(len);
            const uint8_t *stop;

            if (odd_at < len)
                text.bytes[odd_at] = odd_bytes[(len + odd_at) % sizeof(odd_bytes)];
            stop = skip_plain(text.bytes, text.end);
            assert_true(stop <= text.bytes + odd_at);
            assert_true(stop == text.bytes + odd_at || text.end - stop < HUB__PLAIN_BLOCK);
            free(text.bytes);
        }
    }
}

static void each_byte_is_plain_or_not(void **state)
{
    (void)state;
    for (unsigned byte = 0; byte < 256; byte++) {
        uint8_t bytes[64];

        memset(bytes, (int)byte, sizeof(bytes));
        assert_int_equal(hub__is_plain(byte),
                         byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\');
        assert_ptr_equal(hub__plain_skip(bytes, bytes, bytes + sizeof(bytes)),
                         hub__is_plain(byte) ? bytes + sizeof(bytes) : bytes);
        assert_ptr_equal(hub__ascii_skip(bytes, bytes + sizeof(bytes)),
                         byte < 0x80 ? bytes + sizeof(bytes) : bytes);
    }
}

static void eight_bytes_are_judged_by_each_of_them(void **state)
{
    (void)state;
    for (unsigned byte = 0; byte < 256; byte++) {
        for (size_t at = 0; at < 8; at++) {
            uint8_t bytes[8];

            memset(bytes, 'a', sizeof(bytes));
            bytes[at] = (uint8_t)byte;
            assert_int_equal(hub__all_plain(bytes), hub__is_plain(byte));
            assert_int_equal(hub__all_visible(bytes), byte > 0x20 && byte < 0x7f);
        }
    }
}

static void what_is_not_plain_is_found_in_each_place(void **state)
{
    (void)state;
    for (size_t len = 0; len <= TEXT_BYTES; len += len < 40 ? 1 : 17)
        for (size_t odd_at = 0; odd_at <= len; odd_at++)
            check_skip(len, 0, odd_at, odd_bytes[(len + odd_at) % sizeof(odd_bytes)]);
}

static void what_lies_before_the_place_is_not_looked_at(void **state)
{
    (void)state;
    for (size_t from = 1; from < 40; from++) {
        text_t text = text_make(40);

        memset(text.bytes, '"', from);
        assert_ptr_equal(hub__plain_skip(text.bytes, text.bytes + from, text.end), text.end);
        free(text.bytes);
        check_skip(40, from, 39, '\\');
    }
}

static void blocks_are_skipped_as_far_as_they_are_plain(void **state)
{
    (void)state;
    check_blocks(hub__plain_skip_blocks);
    check_blocks(hub__plain_skip_long);
}

static void wide_blocks_are_skipped_as_far_as_they_are_plain(void **state)
{
    (void)state;
#if HUB__PLAIN_AVX2
    if (__builtin_cpu_supports("avx2")) {
        check_blocks(hub__plain_skip_avx2);
        return;
    }
#endif
    skip();
}

static void what_is_not_ascii_is_found_in_each_place(void **state)
{
    (void)state;
    for (size_t odd_at = 0; odd_at <= 100; odd_at++) {
        text_t text = text_make(100);

        memset(text.bytes, '"', 10); /* no reason to stop */
        if (odd_at < 100)
            text.bytes[odd_at] = 0xc3;
        assert_ptr_equal(hub__ascii_skip(text.bytes, text.end), text.bytes + odd_at);
        free(text.bytes);
    }
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(each_byte_is_plain_or_not),
        cmocka_unit_test(eight_bytes_are_judged_by_each_of_them),
        cmocka_unit_test(what_is_not_plain_is_found_in_each_place),
        cmocka_unit_test(what_lies_before_the_place_is_not_looked_at),
        cmocka_unit_test(blocks_are_skipped_as_far_as_they_are_plain),
        cmocka_unit_test(wide_blocks_are_skipped_as_far_as_they_are_plain),
        cmocka_unit_test(what_is_not_ascii_is_found_in_each_place),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
