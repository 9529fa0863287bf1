/* SPDX-License-Identifier: MIT */

/* The wheel against the simplest thing that could be right, a list that is searched in full, over
 * days of invented time; and by hand what callbacks may do to it. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "hub/timer.h"

#define START_MS 1234567
#define DAY_MS (24 * 60 * 60 * 1000)
#define MODEL_TIMERS 150
#define MANY_TIMERS 100000

struct fixture;

struct alarm {
    hub__timer_t timer; /* first: callbacks get its address */
    struct fixture *fixture;
    struct alarm *other;
    uint64_t argument;
    uint64_t model_due_ms; /* in the model: when it must fire, a passed time raised to its arming */
    bool model_armed;
    size_t model_run; /* the last that had begun when it was armed */
    size_t fired;
    uint64_t fired_ms;
};

struct fixture {
    hub__wheel_t *wheel;
    uint64_t now_ms; /* of the last run */
    size_t runs;     /* of the model */
    size_t fired;
    size_t early, late, unordered, unexpected; /* all must stay 0 */
    uint64_t last_due_ms;
    uint32_t seed;
    struct alarm *alarms;
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    fixture->wheel = hub__wheel_create(START_MS);
    fixture->now_ms = START_MS;
    fixture->seed = 20240607;
    fixture->alarms = calloc(MANY_TIMERS, sizeof(*fixture->alarms));
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    for (size_t i = 0; i < MANY_TIMERS; i++)
        hub__timer_disarm(fixture->wheel, &fixture->alarms[i].timer);
    hub__wheel_destroy(fixture->wheel);
    free(fixture->alarms);
    free(fixture);
    return 0;
}

static uint32_t next_random(struct fixture *fixture)
{
    fixture->seed ^= fixture->seed << 13;
    fixture->seed ^= fixture->seed >> 17;
    fixture->seed ^= fixture->seed << 5;
    return fixture->seed;
}

static void on_due(hub__timer_t *timer, uint64_t now_ms)
{
    struct alarm *alarm = (struct alarm *)timer;

    assert_false(hub__timer_is_armed(timer));
    alarm->fired++;
    alarm->fired_ms = now_ms;
    alarm->fixture->fired++;
}

/* Arms alarm `index` with its callback. */
static struct alarm *arm_with(struct fixture *fixture, size_t index, hub__timer_cb callback,
                              uint64_t due_ms)
{
    struct alarm *alarm = &fixture->alarms[index];

    alarm->fixture = fixture;
    alarm->timer.on_due = callback;
    hub__timer_arm(fixture->wheel, &alarm->timer, due_ms);
    return alarm;
}

static struct alarm *arm(struct fixture *fixture, size_t index, uint64_t due_ms)
{
    return arm_with(fixture, index, on_due, due_ms);
}

static size_t run(struct fixture *fixture, uint64_t now_ms)
{
    fixture->now_ms = now_ms;
    return hub__wheel_run(fixture->wheel, now_ms);
}

static void check_one(struct fixture *fixture, uint64_t wait_ms)
{
    struct alarm *alarm = arm(fixture, 0, fixture->now_ms + wait_ms);
    uint64_t due_ms = fixture->now_ms + wait_ms;
    size_t fired = alarm->fired;

    assert_true(hub__wheel_next(fixture->wheel) <= due_ms);
    assert_int_equal(run(fixture, due_ms - 1), 0);
    assert_true(hub__timer_is_armed(&alarm->timer));
    assert_int_equal(run(fixture, due_ms), 1);
    assert_int_equal(alarm->fired, fired + 1);
    assert_int_equal(alarm->fired_ms, due_ms);
}

static void a_timer_fires_at_its_time_and_not_a_millisecond_before(void **state)
{
    check_one(*state, 1);
    check_one(*state, 2);
    check_one(*state, 63);
    check_one(*state, 64);
    check_one(*state, 65);
    check_one(*state, 4095);
    check_one(*state, 4096);
    check_one(*state, 25000);
    check_one(*state, DAY_MS);
    check_one(*state, UINT64_C(1) << 40);
    check_one(*state, UINT64_C(1) << 62);
}

static void the_last_millisecond_of_time_has_a_place(void **state)
{
    struct fixture *fixture = *state;

    arm(fixture, 0, UINT64_MAX);
    assert_int_equal(run(fixture, UINT64_MAX - 1), 0);
    assert_int_equal(hub__wheel_next(fixture->wheel), UINT64_MAX);
    assert_int_equal(run(fixture, UINT64_MAX), 1);
}

static void a_time_that_has_passed_fires_at_the_next_run(void **state)
{
    struct fixture *fixture = *state;

    arm(fixture, 0, START_MS);
    arm(fixture, 1, START_MS - 1000);
    arm(fixture, 2, 0);
    assert_int_equal(hub__wheel_next(fixture->wheel), START_MS);
    assert_int_equal(run(fixture, START_MS), 3);
    assert_int_equal(hub__wheel_count(fixture->wheel), 0);
}

static void moving_a_timer_forgets_its_old_time(void **state)
{
    struct fixture *fixture = *state;
    struct alarm *alarm = arm(fixture, 0, START_MS + 10);

    arm(fixture, 0, START_MS + 5000);
    assert_int_equal(hub__wheel_count(fixture->wheel), 1);
    assert_int_equal(run(fixture, START_MS + 4999), 0);
    arm(fixture, 0, START_MS + 5001);
    arm(fixture, 0, START_MS + 5000);
    assert_int_equal(run(fixture, START_MS + 5000), 1);
    assert_int_equal(run(fixture, START_MS + 9000), 0);
    assert_int_equal(alarm->fired, 1);
}

static void a_disarmed_timer_does_not_fire(void **state)
{
    struct fixture *fixture = *state;
    struct alarm *alarm = arm(fixture, 0, START_MS + 10);

    arm(fixture, 1, START_MS + 10);
    hub__timer_disarm(fixture->wheel, &alarm->timer);
    assert_false(hub__timer_is_armed(&alarm->timer));
    hub__timer_disarm(fixture->wheel, &alarm->timer);
    assert_int_equal(hub__wheel_count(fixture->wheel), 1);
    assert_int_equal(run(fixture, START_MS + 100), 1);
    assert_int_equal(alarm->fired, 0);
}

static void an_empty_wheel_needs_no_wakeup(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(hub__wheel_next(fixture->wheel), UINT64_MAX);
    arm(fixture, 0, START_MS + 70000);
    arm(fixture, 1, START_MS + 70000);
    arm(fixture, 2, START_MS - 1);
    hub__timer_disarm(fixture->wheel, &fixture->alarms[2].timer);
    hub__timer_disarm(fixture->wheel, &fixture->alarms[0].timer);
    assert_true(hub__wheel_next(fixture->wheel) <= START_MS + 70000);
    hub__timer_disarm(fixture->wheel, &fixture->alarms[1].timer);
    assert_int_equal(hub__wheel_next(fixture->wheel), UINT64_MAX);
}

static void nothing_happens_when_time_goes_back(void **state)
{
    struct fixture *fixture = *state;

    arm(fixture, 0, START_MS - 10);
    arm(fixture, 1, START_MS + 10);
    assert_int_equal(hub__wheel_run(fixture->wheel, START_MS - 5), 0);
    assert_int_equal(hub__wheel_count(fixture->wheel), 2);
    assert_int_equal(hub__wheel_run(fixture->wheel, START_MS + 9), 1);
    assert_int_equal(hub__wheel_run(fixture->wheel, START_MS + 10), 1);
}

static void a_null_wheel_may_be_destroyed(void **state)
{
    (void)state;
    hub__wheel_destroy(NULL);
}

/* How often a worker that sleeps until hub__wheel_next() wakes until the timer fires. */
static size_t count_wakeups(struct fixture *fixture, uint64_t due_ms)
{
    struct alarm *alarm = arm(fixture, 0, due_ms);
    size_t wakeups = 0;

    for (; alarm->fired == 0; wakeups++) {
        uint64_t next_ms = hub__wheel_next(fixture->wheel);

        assert_in_range(next_ms, fixture->now_ms + 1, due_ms);
        run(fixture, next_ms);
    }
    assert_int_equal(alarm->fired_ms, due_ms);
    alarm->fired = 0;
    return wakeups;
}

static void a_sleeper_wakes_once_per_level_at_most(void **state)
{
    struct fixture *fixture = *state;

    assert_in_range(count_wakeups(fixture, START_MS + 5), 1, 2);
    assert_in_range(count_wakeups(fixture, fixture->now_ms + 1000), 1, 3);
    assert_in_range(count_wakeups(fixture, fixture->now_ms + 25000), 1, 4);
    assert_in_range(count_wakeups(fixture, fixture->now_ms + 60000), 1, 4);
    assert_in_range(count_wakeups(fixture, fixture->now_ms + 30 * (uint64_t)DAY_MS), 1, 7);
    assert_in_range(count_wakeups(fixture, UINT64_MAX), 1, 11);
}

static void on_due_arm_again(hub__timer_t *timer, uint64_t now_ms)
{
    struct alarm *alarm = (struct alarm *)timer;

    on_due(timer, now_ms);
    hub__timer_arm(alarm->fixture->wheel, timer, alarm->argument);
}

static void on_due_arm_other(hub__timer_t *timer, uint64_t now_ms)
{
    struct alarm *alarm = (struct alarm *)timer;

    on_due(timer, now_ms);
    hub__timer_arm(alarm->fixture->wheel, &alarm->other->timer, alarm->argument);
}

static void on_due_disarm_other(hub__timer_t *timer, uint64_t now_ms)
{
    struct alarm *alarm = (struct alarm *)timer;

    on_due(timer, now_ms);
    hub__timer_disarm(alarm->fixture->wheel, &alarm->other->timer);
}

/* Owns itself and, where there is one, the other. */
static void on_due_free(hub__timer_t *timer, uint64_t now_ms)
{
    struct alarm *alarm = (struct alarm *)timer;

    on_due(timer, now_ms);
    if (alarm->other != NULL) {
        hub__timer_disarm(alarm->fixture->wheel, &alarm->other->timer);
        free(alarm->other);
    }
    free(alarm);
}

static struct alarm *make_owned(struct fixture *fixture, struct alarm *other, uint64_t due_ms)
{
    struct alarm *alarm = calloc(1, sizeof(*alarm));

    alarm->fixture = fixture;
    alarm->other = other;
    alarm->timer.on_due = on_due_free;
    hub__timer_arm(fixture->wheel, &alarm->timer, due_ms);
    return alarm;
}

static void arming_a_passed_time_inside_a_callback_fires_in_the_next_run(void **state)
{
    struct fixture *fixture = *state;
    struct alarm *alarm = arm_with(fixture, 0, on_due_arm_again, START_MS + 100);

    alarm->argument = START_MS + 150; /* ahead of its own time, not of the run's */
    assert_int_equal(run(fixture, START_MS + 200), 1);
    assert_true(hub__timer_is_armed(&alarm->timer));
    assert_int_equal(hub__wheel_next(fixture->wheel), START_MS + 200);
    assert_int_equal(run(fixture, START_MS + 200), 1);
    assert_int_equal(run(fixture, START_MS + 201), 1);
    assert_int_equal(alarm->fired, 3);
}

static void a_callback_may_arm_its_timer_again(void **state)
{
    struct fixture *fixture = *state;
    struct alarm *alarm = arm_with(fixture, 0, on_due_arm_again, START_MS + 100);

    alarm->argument = START_MS + 300;
    assert_int_equal(run(fixture, START_MS + 200), 1);
    assert_int_equal(run(fixture, START_MS + 299), 0);
    assert_int_equal(run(fixture, START_MS + 300), 1);
}

static void a_callback_may_move_a_timer_that_is_due_in_the_same_run(void **state)
{
    struct fixture *fixture = *state;
    struct alarm *first = arm_with(fixture, 0, on_due_arm_other, START_MS + 100);

    first->other = arm(fixture, 1, START_MS + 101);
    first->argument = START_MS + 500;
    assert_int_equal(run(fixture, START_MS + 200), 1);
    assert_int_equal(first->other->fired, 0);
    assert_int_equal(run(fixture, START_MS + 500), 1);
    assert_int_equal(first->other->fired, 1);
}

static void a_callback_may_disarm_a_timer_that_is_due_in_the_same_run(void **state)
{
    struct fixture *fixture = *state;
    struct alarm *first = arm_with(fixture, 0, on_due_disarm_other, START_MS + 100);

    first->other = arm(fixture, 1, START_MS + 101);
    arm(fixture, 2, START_MS + 102);
    assert_int_equal(run(fixture, START_MS + 200), 2);
    assert_int_equal(first->other->fired, 0);
    assert_int_equal(fixture->alarms[2].fired, 1);
    assert_int_equal(hub__wheel_count(fixture->wheel), 0);
}

static void a_callback_may_disarm_a_timer_that_is_due_later(void **state)
{
    struct fixture *fixture = *state;
    struct alarm *first = arm_with(fixture, 0, on_due_disarm_other, START_MS + 100);

    first->other = arm(fixture, 1, START_MS + DAY_MS);
    assert_int_equal(run(fixture, START_MS + 200), 1);
    assert_int_equal(hub__wheel_next(fixture->wheel), UINT64_MAX);
}

static void a_callback_may_free_its_timer_and_others(void **state)
{
    struct fixture *fixture = *state;
    struct alarm *last = make_owned(fixture, NULL, START_MS + 102);

    make_owned(fixture, NULL, START_MS + 100);
    make_owned(fixture, last, START_MS + 101);
    make_owned(fixture, make_owned(fixture, NULL, START_MS + DAY_MS), START_MS + 103);
    assert_int_equal(run(fixture, START_MS + 200), 3);
    assert_int_equal(hub__wheel_count(fixture->wheel), 0);
    assert_int_equal(hub__wheel_next(fixture->wheel), UINT64_MAX);
}

static void model_arm_randomly(struct fixture *fixture);

static void model_disarm(struct fixture *fixture, struct alarm *alarm)
{
    hub__timer_disarm(fixture->wheel, &alarm->timer);
    alarm->model_armed = false;
}

/* Mostly soon, sometimes days ahead, sometimes in the past. */
static uint64_t random_due(struct fixture *fixture)
{
    static const uint32_t spans[] = {3, 70, 5000, 70000, 300000, 3 * (uint32_t)DAY_MS};
    uint32_t span = spans[next_random(fixture) % 6];

    if (next_random(fixture) % 16 == 0)
        return fixture->now_ms - next_random(fixture) % 1000;
    return fixture->now_ms + next_random(fixture) % span;
}

static struct alarm *random_alarm(struct fixture *fixture)
{
    return &fixture->alarms[next_random(fixture) % MODEL_TIMERS];
}

/* Keeps the books of the model and, now and then, does to others what callbacks may do. */
static void on_due_model(hub__timer_t *timer, uint64_t now_ms)
{
    struct alarm *alarm = (struct alarm *)timer;
    struct fixture *fixture = alarm->fixture;

    fixture->unexpected += !alarm->model_armed || now_ms != fixture->now_ms;
    fixture->early += alarm->model_due_ms > now_ms;
    fixture->unordered += alarm->model_due_ms < fixture->last_due_ms;
    fixture->last_due_ms = alarm->model_due_ms;
    fixture->fired++;
    alarm->model_armed = false;
    if (next_random(fixture) % 4 == 0)
        model_arm_randomly(fixture);
    if (next_random(fixture) % 4 == 0)
        model_disarm(fixture, random_alarm(fixture));
}

static void model_arm_randomly(struct fixture *fixture)
{
    struct alarm *alarm = random_alarm(fixture);
    uint64_t due_ms = random_due(fixture);

    alarm->fixture = fixture;
    alarm->timer.on_due = on_due_model;
    alarm->model_armed = true;
    alarm->model_run = fixture->runs;
    alarm->model_due_ms = due_ms > fixture->now_ms ? due_ms : fixture->now_ms;
    hub__timer_arm(fixture->wheel, &alarm->timer, due_ms);
}

/* How many of the model are armed, and the earliest of them. */
static size_t model_count(const struct fixture *fixture, uint64_t *ret_earliest_ms)
{
    size_t count = 0;

    *ret_earliest_ms = UINT64_MAX;
    for (size_t i = 0; i < MODEL_TIMERS; i++) {
        const struct alarm *alarm = &fixture->alarms[i];

        if (!alarm->model_armed)
            continue;
        count++;
        if (alarm->model_due_ms < *ret_earliest_ms)
            *ret_earliest_ms = alarm->model_due_ms;
    }
    return count;
}

/* A border is the first time that shares no lowest digit with the times before it. */
static void check_next(const struct fixture *fixture)
{
    uint64_t earliest_ms, next_ms = hub__wheel_next(fixture->wheel);

    assert_int_equal(hub__wheel_count(fixture->wheel), model_count(fixture, &earliest_ms));
    assert_true(next_ms <= earliest_ms);
    assert_true(next_ms == earliest_ms || (next_ms % 64 == 0 && next_ms > fixture->now_ms));
}

/* What was due and still stands must have been armed by a callback of this very run. */
static void model_run(struct fixture *fixture, uint64_t now_ms)
{
    size_t fired_before = fixture->fired, fired;

    fixture->runs++;
    fixture->last_due_ms = 0;
    fixture->now_ms = now_ms;
    fired = hub__wheel_run(fixture->wheel, now_ms);
    assert_int_equal(fired, fixture->fired - fired_before);
    for (size_t i = 0; i < MODEL_TIMERS; i++) {
        const struct alarm *alarm = &fixture->alarms[i];

        fixture->late += alarm->model_armed && alarm->model_due_ms <= now_ms &&
                         alarm->model_run != fixture->runs;
    }
}

static uint64_t random_advance(struct fixture *fixture)
{
    static const uint32_t spans[] = {1, 2, 20, 1000, 100000, 5000000};
    uint64_t next_ms = hub__wheel_next(fixture->wheel);
    uint32_t span;

    if (next_random(fixture) % 2 == 0 && next_ms != UINT64_MAX)
        return next_ms;
    span = spans[next_random(fixture) % 6];
    return fixture->now_ms + next_random(fixture) % span;
}

static void model_steps(struct fixture *fixture, size_t steps)
{
    for (; steps > 0; steps--) {
        uint32_t what = next_random(fixture) % 8;

        if (what < 4)
            model_arm_randomly(fixture);
        else if (what < 5)
            model_disarm(fixture, random_alarm(fixture));
        else
            model_run(fixture, random_advance(fixture));
        check_next(fixture);
    }
}

static void the_wheel_does_what_a_searched_list_does(void **state)
{
    struct fixture *fixture = *state;

    model_steps(fixture, 30000);
    assert_int_equal(fixture->early, 0);
    assert_int_equal(fixture->late, 0);
    assert_int_equal(fixture->unordered, 0);
    assert_int_equal(fixture->unexpected, 0);
    assert_true(fixture->fired > 5000);
    assert_true(fixture->now_ms > START_MS + 10 * (uint64_t)DAY_MS);
}

/* `argument` is its due time; the fixture's `last_due_ms` is when the run before this one was. */
static void on_due_many(hub__timer_t *timer, uint64_t now_ms)
{
    struct alarm *alarm = (struct alarm *)timer;

    alarm->fixture->early += now_ms < alarm->argument;
    alarm->fixture->late += alarm->fixture->last_due_ms >= alarm->argument;
    on_due(timer, now_ms);
}

static void arm_many(struct fixture *fixture, uint64_t span_ms)
{
    for (size_t i = 0; i < MANY_TIMERS; i++) {
        fixture->alarms[i].argument = fixture->now_ms + 1 + next_random(fixture) % span_ms;
        arm_with(fixture, i, on_due_many, fixture->alarms[i].argument);
    }
}

static void run_in_ticks(struct fixture *fixture, uint64_t span_ms, uint32_t tick_ms)
{
    for (uint64_t end_ms = fixture->now_ms + span_ms; fixture->now_ms < end_ms;) {
        fixture->last_due_ms = fixture->now_ms;
        run(fixture, fixture->now_ms + 1 + next_random(fixture) % tick_ms);
    }
}

static void a_hundred_thousand_timers_are_never_early_nor_later_than_a_tick(void **state)
{
    struct fixture *fixture = *state;

    arm_many(fixture, 3 * DAY_MS);
    arm_many(fixture, 60000); /* all of them are moved */
    assert_int_equal(hub__wheel_count(fixture->wheel), MANY_TIMERS);
    run_in_ticks(fixture, 60000, 20);
    assert_int_equal(fixture->fired, MANY_TIMERS);
    arm_many(fixture, 3 * DAY_MS);
    run_in_ticks(fixture, 3 * DAY_MS, 100000);
    assert_int_equal(fixture->fired, 2 * MANY_TIMERS);
    assert_int_equal(fixture->early, 0);
    assert_int_equal(fixture->late, 0);
    assert_int_equal(hub__wheel_next(fixture->wheel), UINT64_MAX);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_timer_fires_at_its_time_and_not_a_millisecond_before),
        CASE(the_last_millisecond_of_time_has_a_place),
        CASE(a_time_that_has_passed_fires_at_the_next_run),
        CASE(moving_a_timer_forgets_its_old_time),
        CASE(a_disarmed_timer_does_not_fire),
        CASE(an_empty_wheel_needs_no_wakeup),
        CASE(nothing_happens_when_time_goes_back),
        CASE(a_null_wheel_may_be_destroyed),
        CASE(a_sleeper_wakes_once_per_level_at_most),
        CASE(arming_a_passed_time_inside_a_callback_fires_in_the_next_run),
        CASE(a_callback_may_arm_its_timer_again),
        CASE(a_callback_may_move_a_timer_that_is_due_in_the_same_run),
        CASE(a_callback_may_disarm_a_timer_that_is_due_in_the_same_run),
        CASE(a_callback_may_disarm_a_timer_that_is_due_later),
        CASE(a_callback_may_free_its_timer_and_others),
        CASE(the_wheel_does_what_a_searched_list_does),
        CASE(a_hundred_thousand_timers_are_never_early_nor_later_than_a_tick),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
