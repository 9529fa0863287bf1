/* SPDX-License-Identifier: MIT */

/* The pace of a stop over invented time: who may be told when, alone and with other workers. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include <pthread.h>

#include "hub/drain.h"

#define START_MS 5000

static void drain_begun(hub__drain_t *drain, size_t batch)
{
    hub__drain_init(drain, batch, 200);
    assert_true(hub__drain_begin(drain, START_MS));
}

static void only_the_first_begins(void **state)
{
    hub__drain_t drain;

    (void)state;
    drain_begun(&drain, 10);
    assert_false(hub__drain_begin(&drain, START_MS + 5));
    assert_int_equal(hub__drain_next(&drain, START_MS), START_MS + 200);
}

static void a_batch_is_what_may_be_told_in_its_time(void **state)
{
    hub__drain_t drain;

    (void)state;
    drain_begun(&drain, 10);
    assert_int_equal(hub__drain_take(&drain, 25, START_MS), 10);
    assert_int_equal(hub__drain_take(&drain, 15, START_MS + 199), 0);
    assert_int_equal(hub__drain_take(&drain, 15, START_MS + 200), 10);
    assert_int_equal(hub__drain_take(&drain, 5, START_MS + 399), 0);
    assert_int_equal(hub__drain_take(&drain, 5, START_MS + 400), 5);
}

static void workers_share_a_batch(void **state)
{
    hub__drain_t drain;

    (void)state;
    drain_begun(&drain, 10);
    assert_int_equal(hub__drain_take(&drain, 4, START_MS), 4);
    assert_int_equal(hub__drain_take(&drain, 9, START_MS + 50), 6);
    assert_int_equal(hub__drain_take(&drain, 1, START_MS + 100), 0);
}

static void what_nobody_takes_is_not_saved_up(void **state)
{
    hub__drain_t drain;

    (void)state;
    drain_begun(&drain, 10);
    assert_int_equal(hub__drain_take(&drain, 100, START_MS + 2000), 10);
    assert_int_equal(hub__drain_take(&drain, 100, START_MS + 2199), 0);
    assert_int_equal(hub__drain_next(&drain, START_MS + 2199), START_MS + 2200);
}

static void a_clock_that_is_behind_shares_the_batch_of_the_others(void **state)
{
    hub__drain_t drain;

    (void)state;
    drain_begun(&drain, 10);
    assert_int_equal(hub__drain_take(&drain, 7, START_MS + 400), 7);
    assert_int_equal(hub__drain_take(&drain, 7, START_MS + 399), 3);
    assert_int_equal(hub__drain_take(&drain, 7, START_MS - 3), 0);
    assert_int_equal(hub__drain_take(&drain, 7, START_MS + 401), 0);
}

static void without_a_bound_everybody_is_told_at_once(void **state)
{
    hub__drain_t drain;

    (void)state;
    drain_begun(&drain, HUB_OFF);
    assert_int_equal(hub__drain_take(&drain, 1000000, START_MS), 1000000);
    assert_int_equal(hub__drain_take(&drain, 1000000, START_MS), 1000000);
}

static void progress_is_logged_once_a_second(void **state)
{
    hub__drain_t drain;

    (void)state;
    drain_begun(&drain, 10);
    assert_false(hub__drain_may_log(&drain, START_MS + 999));
    assert_true(hub__drain_may_log(&drain, START_MS + 1000));
    assert_false(hub__drain_may_log(&drain, START_MS + 1001));
    assert_true(hub__drain_may_log(&drain, START_MS + 2200));
}

static void the_reason_carries_a_delay_by_chance(void **state)
{
    char buffer[HUB__RESTART_REASON];
    hub_str_t reason;
    unsigned ms;

    (void)state;
    reason = hub__restart_reason(10000, buffer);
    assert_int_equal(sscanf(reason.base, "restart retry_ms=%u", &ms), 1);
    assert_in_range(ms, 0, 9999);
    assert_int_equal(reason.len, strlen(buffer));
    assert_string_equal(hub__restart_reason(1, buffer).base, "restart retry_ms=0");
    assert_int_equal(hub__restart_reason(HUB_OFF, buffer).len, 0);
}

/* ---- several threads ---- */

#define THREADS 4
#define BATCH 1000

static hub__drain_t shared;

static void *take_one_by_one(void *arg)
{
    size_t *taken = arg;

    for (int i = 0; i != BATCH; ++i)
        *taken += hub__drain_take(&shared, 1, START_MS);
    return NULL;
}

static void threads_take_a_batch_between_them(void **state)
{
    pthread_t threads[THREADS];
    size_t taken[THREADS] = {0}, all = 0;

    (void)state;
    drain_begun(&shared, BATCH);
    for (int i = 0; i != THREADS; ++i)
        assert_int_equal(pthread_create(&threads[i], NULL, take_one_by_one, &taken[i]), 0);
    for (int i = 0; i != THREADS; ++i) {
        pthread_join(threads[i], NULL);
        all += taken[i];
    }
    assert_int_equal(all, BATCH);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(only_the_first_begins),
        cmocka_unit_test(a_batch_is_what_may_be_told_in_its_time),
        cmocka_unit_test(workers_share_a_batch),
        cmocka_unit_test(what_nobody_takes_is_not_saved_up),
        cmocka_unit_test(a_clock_that_is_behind_shares_the_batch_of_the_others),
        cmocka_unit_test(without_a_bound_everybody_is_told_at_once),
        cmocka_unit_test(progress_is_logged_once_a_second),
        cmocka_unit_test(the_reason_carries_a_delay_by_chance),
        cmocka_unit_test(threads_take_a_batch_between_them),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
