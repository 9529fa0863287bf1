/* SPDX-License-Identifier: MIT */
/* What the backends share: pauses between attempts, and orders that any thread may give. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <poll.h>
#include <stdlib.h>

#include "bus/courier.h"

#define DRAWS 20000

struct range {
    int least;
    int most;
};

static struct range draw_pauses(unsigned attempt)
{
    struct range range = {.least = INT32_MAX, .most = -1};

    for (int i = 0; i < DRAWS; i++) {
        int pause_ms = hub__courier_pause_ms(attempt);

        range.least = pause_ms < range.least ? pause_ms : range.least;
        range.most = pause_ms > range.most ? pause_ms : range.most;
    }
    return range;
}

/* Full jitter: anything from none to the longest, and both ends come up among so many. */
static void assert_pauses(unsigned attempt, int longest_ms)
{
    struct range range = draw_pauses(attempt);

    assert_in_range(range.least, 0, longest_ms / 20);
    assert_in_range(range.most, longest_ms - longest_ms / 20, longest_ms);
}

static void the_longest_pause_doubles_with_each_attempt_up_to_two_seconds(void **state)
{
    (void)state;
    assert_pauses(0, 100);
    assert_pauses(1, 200);
    assert_pauses(4, 1600);
    assert_pauses(5, 2000);
    assert_pauses(31, 2000);
    assert_pauses(32, 2000);
    assert_pauses(UINT32_MAX, 2000);
}

/* ---- orders ---- */

static void *idle(void *arg)
{
    return arg;
}

static int set_up(void **state)
{
    hub__courier_t *courier = malloc(sizeof(*courier));

    *state = courier;
    return hub__courier_start(courier, idle, NULL, NULL);
}

static int tear_down(void **state)
{
    hub__courier_stop(*state);
    free(*state);
    return 0;
}

static bool is_woken(hub__courier_t *courier)
{
    return poll(&(struct pollfd){.fd = courier->wake_fd, .events = POLLIN}, 1, 0) == 1;
}

static hub_status_t put(hub__courier_t *courier, uint64_t token)
{
    return hub__courier_put(courier, HUB__ORDER_PUBLISH, HUB_STR("a"), HUB_STR("b"), token);
}

static void assert_next(hub__order_t **order, uint64_t token)
{
    hub__order_t *taken = *order;

    assert_non_null(taken);
    assert_int_equal(taken->token, token);
    assert_string_equal(taken->topic.base, "a");
    assert_string_equal(taken->bytes.base, "b");
    *order = taken->next;
    free(taken);
}

static void orders_come_in_the_order_given(void **state)
{
    hub__courier_t *courier = *state;
    hub__courier_due_t due;

    hub__courier_set_open(courier, true);
    assert_int_equal(put(courier, 1), HUB_OK);
    assert_int_equal(put(courier, 2), HUB_OK);
    assert_true(is_woken(courier));
    due = hub__courier_take(courier);
    assert_next(&due.orders, 1);
    assert_next(&due.orders, 2);
    assert_null(due.orders);
    assert_false(is_woken(courier));
    assert_null(hub__courier_take(courier).orders);
}

static void without_a_connection_no_order_is_taken(void **state)
{
    hub__courier_t *courier = *state;

    assert_int_equal(put(courier, 1), HUB_EBUSDOWN);
    hub__courier_set_open(courier, true);
    assert_int_equal(put(courier, 2), HUB_OK);
    hub__courier_set_open(courier, false); /* nor kept for the next one */
    hub__courier_set_open(courier, true);
    assert_null(hub__courier_take(courier).orders);
}

static void another_connection_is_asked_for_once(void **state)
{
    hub__courier_t *courier = *state;

    hub__courier_ask_reconnect(courier);
    hub__courier_ask_reconnect(courier);
    assert_true(is_woken(courier));
    assert_true(hub__courier_take(courier).reconnect);
    assert_false(hub__courier_take(courier).reconnect);
    assert_false(is_woken(courier));
}

#define COURIER_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_longest_pause_doubles_with_each_attempt_up_to_two_seconds),
        COURIER_TEST(orders_come_in_the_order_given),
        COURIER_TEST(without_a_connection_no_order_is_taken),
        COURIER_TEST(another_connection_is_asked_for_once),
    };

    return cmocka_run_group_tests_name("courier", tests, NULL, NULL);
}
