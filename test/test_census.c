/* SPDX-License-Identifier: MIT */

/* Connections per address over invented time: how many, how fast, and that whoever is gone is
 * forgotten. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdatomic.h>
#include <cmocka.h>

#include <pthread.h>

#include "hub/census.h"

#define START_MS 100000

static hub__address_t address(const char *text)
{
    hub__address_t parsed;

    assert_true(hub__address_parse(hub_str(text), &parsed));
    return parsed;
}

static hub__resident_t *enter(hub__census_t *census, const char *text, uint64_t now_ms,
                              hub__admission_t wanted)
{
    hub__address_t who = address(text);
    hub__resident_t *resident = NULL;

    assert_int_equal(hub__census_enter(census, &who, true, now_ms, &resident), wanted);
    assert_int_equal(resident != NULL, wanted == HUB__ADMITTED);
    return resident;
}

static void enter_and_leave(hub__census_t *census, const char *text, uint64_t now_ms)
{
    hub__census_leave(enter(census, text, now_ms, HUB__ADMITTED));
}

/* ---- how many ---- */

static void one_connection_more_than_allowed_is_one_too_many(void **state)
{
    hub__census_t *census = hub__census_create(3, HUB_OFF, 50);
    hub__resident_t *a, *b, *c;

    (void)state;
    a = enter(census, "10.0.0.1", START_MS, HUB__ADMITTED);
    b = enter(census, "10.0.0.1", START_MS, HUB__ADMITTED);
    c = enter(census, "10.0.0.1", START_MS, HUB__ADMITTED);
    (void)enter(census, "10.0.0.1", START_MS, HUB__TOO_MANY);
    enter_and_leave(census, "10.0.0.2", START_MS);
    hub__census_leave(b);
    b = enter(census, "10.0.0.1", START_MS, HUB__ADMITTED);
    (void)enter(census, "10.0.0.1", START_MS, HUB__TOO_MANY);
    hub__census_leave(a);
    hub__census_leave(b);
    hub__census_leave(c);
    assert_int_equal(hub__census_size(census), 0);
    hub__census_destroy(census);
}

static void a_64_of_ipv6_is_one(void **state)
{
    hub__census_t *census = hub__census_create(1, HUB_OFF, 50);
    hub__resident_t *one;

    (void)state;
    one = enter(census, "2001:db8:0:1::1", START_MS, HUB__ADMITTED);
    (void)enter(census, "2001:db8:0:1:ffff::2", START_MS, HUB__TOO_MANY);
    enter_and_leave(census, "2001:db8:0:2::1", START_MS);
    hub__census_leave(one);
    hub__census_destroy(census);
}

/* ---- how fast ---- */

static void a_burst_and_then_so_many_a_second(void **state)
{
    hub__census_t *census = hub__census_create(HUB_OFF, 10, 3);

    (void)state;
    for (int i = 0; i != 3; ++i)
        enter_and_leave(census, "10.0.0.1", START_MS);
    (void)enter(census, "10.0.0.1", START_MS, HUB__TOO_FAST);
    (void)enter(census, "10.0.0.1", START_MS + 99, HUB__TOO_FAST);
    enter_and_leave(census, "10.0.0.2", START_MS + 99);
    enter_and_leave(census, "10.0.0.1", START_MS + 100);
    (void)enter(census, "10.0.0.1", START_MS + 199, HUB__TOO_FAST);
    enter_and_leave(census, "10.0.0.1", START_MS + 200);
    for (int i = 0; i != 3; ++i)
        enter_and_leave(census, "10.0.0.1", START_MS + 10000);
    (void)enter(census, "10.0.0.1", START_MS + 10000, HUB__TOO_FAST);
    hub__census_destroy(census);
}

static void who_is_not_new_has_no_pace(void **state)
{
    hub__census_t *census = hub__census_create(HUB_OFF, 1, 1);
    hub__address_t who = address("10.0.0.1");
    hub__resident_t *first = enter(census, "10.0.0.1", START_MS, HUB__ADMITTED), *again = NULL;

    (void)state;
    assert_int_equal(hub__census_enter(census, &who, false, START_MS, &again), HUB__ADMITTED);
    assert_ptr_equal(first, again);
    hub__census_leave(first);
    hub__census_leave(again);
    hub__census_destroy(census);
}

static void the_fastest_pace_there_is_is_kept(void **state)
{
    hub__census_t *census = hub__census_create(HUB_OFF, 1048576, 1);

    (void)state;
    enter_and_leave(census, "10.0.0.1", START_MS);
    (void)enter(census, "10.0.0.1", START_MS, HUB__TOO_FAST);
    enter_and_leave(census, "10.0.0.1", START_MS + 1);
    hub__census_destroy(census);
}

/* ---- who is gone ---- */

static void who_is_gone_is_forgotten_once_the_pace_is_forgiven(void **state)
{
    hub__census_t *census = hub__census_create(HUB_OFF, 10, 3);

    (void)state;
    enter_and_leave(census, "10.0.0.1", START_MS);
    enter_and_leave(census, "10.0.0.2", START_MS);
    assert_int_equal(hub__census_size(census), 2);
    enter_and_leave(census, "10.0.0.3", START_MS + 99);
    assert_int_equal(hub__census_size(census), 3);
    enter_and_leave(census, "10.0.0.3", START_MS + 100);
    assert_int_equal(hub__census_size(census), 1);
    hub__census_destroy(census);
}

static void a_leaving_that_nobody_waits_for_is_none(void **state)
{
    (void)state;
    hub__census_leave(NULL);
    hub__census_destroy(NULL);
}

static void strangers_are_kept_in_a_bounded_number(void **state)
{
    hub__census_t *census = hub__census_create(HUB_OFF, 1, 1);
    hub__address_t who = address("2001:db8::");
    hub__resident_t *resident = NULL;

    (void)state;
    for (unsigned i = 0; i != HUB__CENSUS_IDLE + 1000; ++i) {
        memcpy(who.bytes + 4, &i, sizeof(i));
        assert_int_equal(hub__census_enter(census, &who, true, START_MS, &resident), HUB__ADMITTED);
        hub__census_leave(resident);
    }
    assert_int_equal(hub__census_size(census), HUB__CENSUS_IDLE);
    hub__census_destroy(census);
}

/* ---- several threads ---- */

#define THREADS 4
#define ROUNDS 5000
#define ALLOWED 2

static atomic_int inside, most;

static void *come_and_go(void *arg)
{
    hub__address_t who;
    hub__resident_t *resident;

    memset(&who, 7, sizeof(who));
    for (int i = 0; i != ROUNDS; ++i) {
        int now;

        if (hub__census_enter(arg, &who, true, START_MS, &resident) != HUB__ADMITTED)
            continue;
        now = atomic_fetch_add(&inside, 1) + 1;
        if (now > atomic_load(&most))
            atomic_store(&most, now);
        atomic_fetch_sub(&inside, 1);
        hub__census_leave(resident);
    }
    return NULL;
}

static void threads_share_the_number(void **state)
{
    hub__census_t *census = hub__census_create(ALLOWED, HUB_OFF, 50);
    pthread_t threads[THREADS];

    (void)state;
    for (int i = 0; i != THREADS; ++i)
        assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, census), 0);
    for (int i = 0; i != THREADS; ++i)
        pthread_join(threads[i], NULL);
    assert_in_range(atomic_load(&most), 1, ALLOWED);
    assert_int_equal(hub__census_size(census), 0);
    hub__census_destroy(census);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(one_connection_more_than_allowed_is_one_too_many),
        cmocka_unit_test(a_64_of_ipv6_is_one),
        cmocka_unit_test(a_burst_and_then_so_many_a_second),
        cmocka_unit_test(who_is_not_new_has_no_pace),
        cmocka_unit_test(the_fastest_pace_there_is_is_kept),
        cmocka_unit_test(who_is_gone_is_forgotten_once_the_pace_is_forgiven),
        cmocka_unit_test(a_leaving_that_nobody_waits_for_is_none),
        cmocka_unit_test(strangers_are_kept_in_a_bounded_number),
        cmocka_unit_test(threads_share_the_number),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
