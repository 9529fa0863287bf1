/* SPDX-License-Identifier: MIT */
/* Growing bytes, their text forms, and what happens when there is no memory. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bus/buffer.h"

/* So that a failed allocation returns NULL under a sanitizer as it does elsewhere. */
const char *__asan_default_options(void);
const char *__tsan_default_options(void);

__attribute__((visibility("default"))) const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

__attribute__((visibility("default"))) const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}

/* More than any machine has; volatile, so that the compiler doesn't see it coming. */
static volatile size_t too_much = PTRDIFF_MAX - 4096;

static void check_text(hub__buffer_t *buffer, const char *expected)
{
    assert_int_equal(buffer->len, strlen(expected));
    assert_memory_equal(buffer->base, expected, buffer->len);
    hub__buffer_dispose(buffer);
}

static void appending_keeps_all_bytes_in_order(void **state)
{
    hub__buffer_t buffer = {0};

    (void)state;
    for (int i = 0; i < 1000; i++)
        hub__buffer_append(&buffer, hub_str_n("0123456789", (size_t)(i % 11)));
    assert_int_equal(buffer.len, 90 * 55 + 45);
    assert_memory_equal(buffer.base, "001012012301234", 15);
    assert_memory_equal(buffer.base + buffer.len - 10, "7012345678", 10);
    assert_true(buffer.capacity < 3 * buffer.len);
    hub__buffer_dispose(&buffer);
}

static void appending_nothing_allocates_nothing(void **state)
{
    hub__buffer_t buffer = {0};

    (void)state;
    hub__buffer_append(&buffer, hub_str(NULL));
    assert_null(buffer.base);
    assert_int_equal(buffer.len, 0);
}

static void reserved_room_belongs_to_the_caller(void **state)
{
    hub__buffer_t buffer = {0};
    char *room;

    (void)state;
    HUB__APPEND_LITERAL(&buffer, "ab");
    room = hub__buffer_reserve(&buffer, 5000);
    memset(room, 'c', 5000);
    assert_int_equal(buffer.len, 2);
    buffer.len += 5000;
    assert_memory_equal(buffer.base, "abcc", 4);
    assert_ptr_equal(hub__buffer_reserve(&buffer, 0), buffer.base + 5002);
    hub__buffer_dispose(&buffer);
}

static void room_of_no_bytes_is_not_a_failure(void **state)
{
    hub__buffer_t buffer = {0};

    (void)state;
    assert_non_null(hub__buffer_try_reserve(&buffer, 0));
    hub__buffer_dispose(&buffer);
}

static void room_that_can_not_be_had_leaves_the_buffer_alone(void **state)
{
    hub__buffer_t buffer = {0};

    (void)state;
    HUB__APPEND_LITERAL(&buffer, "ab");
    assert_null(hub__buffer_try_reserve(&buffer, too_much));
    assert_null(hub__buffer_try_reserve(&buffer, SIZE_MAX));
    assert_null(hub__buffer_try_reserve(&buffer, SIZE_MAX - 1));
    check_text(&buffer, "ab");
}

static void a_disposed_buffer_is_empty_and_usable(void **state)
{
    hub__buffer_t buffer = {0};

    (void)state;
    HUB__APPEND_LITERAL(&buffer, "ab");
    hub__buffer_dispose(&buffer);
    assert_null(buffer.base);
    assert_int_equal(buffer.capacity, 0);
    assert_int_equal(hub__buffer_str(&buffer).len, 0);
    HUB__APPEND_LITERAL(&buffer, "c");
    check_text(&buffer, "c");
}

static void printing_appends_text_of_any_length(void **state)
{
    hub__buffer_t buffer = {0};

    (void)state;
    hub__buffer_printf(&buffer, "%d-%s", 7, "x");
    hub__buffer_printf(&buffer, "%s", "");
    assert_true(hub_str_equals(hub__buffer_str(&buffer), HUB_STR("7-x")));
    for (int len = 1; len < 400; len++) {
        size_t before = buffer.len;

        hub__buffer_printf(&buffer, "%0*d", len, 5);
        assert_int_equal(buffer.len, before + (size_t)len);
        assert_int_equal(buffer.base[buffer.len - 1], '5');
    }
    hub__buffer_dispose(&buffer);
}

static void printing_fills_the_room_to_the_last_byte(void **state)
{
    (void)state;
    for (int len = 120; len < 270; len++) {
        hub__buffer_t buffer = {0};

        hub__buffer_printf(&buffer, "%0*d", len, 5);
        assert_int_equal(buffer.len, len);
        assert_int_equal(buffer.base[len - 1], '5');
        hub__buffer_dispose(&buffer);
    }
}

static void check_json_string(hub_str_t text, const char *expected)
{
    hub__buffer_t buffer = {0};

    hub__buffer_json_string(&buffer, text);
    check_text(&buffer, expected);
}

static void text_becomes_a_json_string(void **state)
{
    (void)state;
    check_json_string(hub_str(NULL), "\"\"");
    check_json_string(HUB_STR("abc"), "\"abc\"");
    check_json_string(HUB_STR("\"a\\b\""), "\"\\\"a\\\\b\\\"\"");
    check_json_string(HUB_STR("\b\f\n\r\t"), "\"\\b\\f\\n\\r\\t\"");
    check_json_string(HUB_STR("a\0b\x1f"), "\"a\\u0000b\\u001f\"");
    check_json_string(HUB_STR("\x7f/\xc3\xa4\xf0\x9f\x98\x80"),
                      "\"\x7f/\xc3\xa4\xf0\x9f\x98\x80\"");
}

static void a_json_string_may_be_all_escapes(void **state)
{
    hub__buffer_t buffer = {0};
    char text[1000];

    (void)state;
    memset(text, 1, sizeof(text));
    hub__buffer_json_string(&buffer, hub_str_n(text, sizeof(text)));
    assert_int_equal(buffer.len, 6002);
    assert_memory_equal(buffer.base + 5995, "\\u0001\"", 7);
    hub__buffer_dispose(&buffer);
}

static void allocations_are_zeroed_and_copies_end_in_nul(void **state)
{
    char *zeroed = hub__alloc_zeroed(64), *grown = hub__realloc(hub__alloc(0), 10);
    char *copy = hub__str_copy(hub_str_n("abcdef", 3)), *empty = hub__str_copy(hub_str(NULL));
    static const char zeroes[64];

    (void)state;
    assert_memory_equal(zeroed, zeroes, sizeof(zeroes));
    assert_non_null(grown);
    assert_string_equal(copy, "abc");
    assert_string_equal(empty, "");
    free(zeroed);
    free(grown);
    free(copy);
    free(empty);
}

static void alloc_too_much(void)
{
    free(hub__alloc(too_much));
}

static void alloc_zeroed_too_much(void)
{
    free(hub__alloc_zeroed(too_much));
}

static void realloc_too_much(void)
{
    free(hub__realloc(NULL, too_much));
}

static void reserve_too_much(void)
{
    hub__buffer_t buffer = {0};

    hub__buffer_reserve(&buffer, too_much);
}

/* Runs `act` in a child, which must abort and say where and how much. */
static void check_aborts(void (*act)(void), const char *place)
{
    char text[4096], size[32];
    int pipe_fds[2], status;
    size_t len = 0;
    ssize_t got;
    pid_t child;

    assert_int_equal(pipe(pipe_fds), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        dup2(pipe_fds[1], STDERR_FILENO);
        act();
        _exit(0);
    }
    close(pipe_fds[1]);
    while (len < sizeof(text) - 1 &&
           (got = read(pipe_fds[0], text + len, sizeof(text) - 1 - len)) > 0)
        len += (size_t)got;
    text[len] = '\0';
    close(pipe_fds[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    snprintf(size, sizeof(size), "%zu bytes", too_much);
    assert_non_null(strstr(text, place));
    assert_non_null(strstr(text, size));
}

static void memory_that_no_peer_chose_ends_the_process_when_it_fails(void **state)
{
    (void)state;
    check_aborts(alloc_too_much, "test_buffer.c:");
    check_aborts(alloc_zeroed_too_much, "test_buffer.c:");
    check_aborts(realloc_too_much, "test_buffer.c:");
    check_aborts(reserve_too_much, "buffer.c:");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appending_keeps_all_bytes_in_order),
        cmocka_unit_test(appending_nothing_allocates_nothing),
        cmocka_unit_test(reserved_room_belongs_to_the_caller),
        cmocka_unit_test(room_of_no_bytes_is_not_a_failure),
        cmocka_unit_test(room_that_can_not_be_had_leaves_the_buffer_alone),
        cmocka_unit_test(a_disposed_buffer_is_empty_and_usable),
        cmocka_unit_test(printing_appends_text_of_any_length),
        cmocka_unit_test(printing_fills_the_room_to_the_last_byte),
        cmocka_unit_test(text_becomes_a_json_string),
        cmocka_unit_test(a_json_string_may_be_all_escapes),
        cmocka_unit_test(allocations_are_zeroed_and_copies_end_in_nul),
        cmocka_unit_test(memory_that_no_peer_chose_ends_the_process_when_it_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
