/* SPDX-License-Identifier: MIT */

/* The patience with a reader, over invented time; and what the kernel knows of one, over a pair of
 * sockets. */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hub/stall.h"

#define START_MS 1000000
#define STALL_MS 30000
#define LOOK_MS 1000

/* Looks each second at one who takes so many bytes in it; returns after how long patience ends, 0:
 * not within an hour. */
static uint64_t patience_ms(uint64_t at_once, uint64_t bytes_per_s)
{
    hub__stall_t stall;
    uint64_t taken = 5000;

    hub__stall_begin(&stall, taken, START_MS, STALL_MS);
    taken += at_once;
    for (uint64_t ms = LOOK_MS; ms != 3600 * 1000; ms += LOOK_MS) {
        taken += bytes_per_s;
        if (hub__stall_is_over(&stall, taken, START_MS + ms, STALL_MS))
            return ms;
    }
    return 0;
}

static void who_takes_nothing_has_stall_ms(void **state)
{
    (void)state;
    assert_int_equal(patience_ms(0, 0), STALL_MS);
}

static void what_was_taken_at_once_is_worth_no_more_than_a_new_beginning(void **state)
{
    (void)state;
    assert_int_equal(patience_ms(1000000, 0), STALL_MS + LOOK_MS);
    assert_int_equal(patience_ms(UINT64_MAX / 2, 0), STALL_MS + LOOK_MS);
}

static void who_takes_a_byte_a_second_is_soon_over(void **state)
{
    (void)state;
    assert_in_range(patience_ms(0, 1), STALL_MS, STALL_MS + 2 * LOOK_MS);
}

static void who_takes_just_too_little_is_over_in_the_end(void **state)
{
    (void)state;
    assert_in_range(patience_ms(0, HUB__STALL_BYTES / 30 - 50), 4 * STALL_MS, 20 * STALL_MS);
}

static void who_takes_enough_is_never_over(void **state)
{
    (void)state;
    assert_int_equal(patience_ms(0, HUB__STALL_BYTES / 30 + 1), 0);
    assert_int_equal(patience_ms(0, 1000000), 0);
}

static void a_look_that_comes_late_counts_what_was_taken_first(void **state)
{
    hub__stall_t stall;

    (void)state;
    hub__stall_begin(&stall, 0, START_MS, 100);
    assert_false(hub__stall_is_over(&stall, HUB__STALL_BYTES, START_MS + 150, 100));
    assert_false(hub__stall_is_over(&stall, HUB__STALL_BYTES, START_MS + 199, 100));
    assert_true(hub__stall_is_over(&stall, HUB__STALL_BYTES, START_MS + 200, 100));
}

/* A connection over loopback. */
static void connect_pair(int *ret_left, int *ret_right)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
    *ret_left = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(*ret_left, (struct sockaddr *)&address, len), 0);
    *ret_right = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(*ret_right != -1);
    close(listener);
}

static void the_kernel_tells_what_a_peer_has_taken(void **state)
{
    uint64_t before, after = 0;
    int left, right;

    (void)state;
    connect_pair(&left, &right);
    before = hub__stall_taken(left);
    assert_int_equal(send(left, "hello", 5, MSG_NOSIGNAL), 5);
    for (int tries = 0; tries != 1000 && after < before + 5; ++tries) {
        after = hub__stall_taken(left);
        poll(NULL, 0, after < before + 5);
    }
    assert_int_equal(after, before + 5);
    close(left);
    close(right);
}

static void of_another_kind_of_socket_nothing_is_known(void **state)
{
    int fds[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(hub__stall_taken(fds[0]), 0);
    close(fds[0]);
    close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(who_takes_nothing_has_stall_ms),
        cmocka_unit_test(what_was_taken_at_once_is_worth_no_more_than_a_new_beginning),
        cmocka_unit_test(who_takes_a_byte_a_second_is_soon_over),
        cmocka_unit_test(who_takes_just_too_little_is_over_in_the_end),
        cmocka_unit_test(who_takes_enough_is_never_over),
        cmocka_unit_test(a_look_that_comes_late_counts_what_was_taken_first),
        cmocka_unit_test(the_kernel_tells_what_a_peer_has_taken),
        cmocka_unit_test(of_another_kind_of_socket_nothing_is_known),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
