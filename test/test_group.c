/* SPDX-License-Identifier: MIT */
/* The array that a publish walks over: whoever comes and goes, each member stands at its place, and
 * its seat is that of its connection. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "hub/internal.h"

#define MEMBERS 200u

struct crowd {
    hub__topic_t topic;
    hub_conn_t conns[MEMBERS];
    hub_member_t *members[MEMBERS];
    bool in[MEMBERS];
    uint32_t count;
};

static int set_up(void **state)
{
    struct crowd *crowd = calloc(1, sizeof(*crowd));

    for (uint32_t i = 0; i != MEMBERS; ++i) {
        crowd->conns[i].slot = 3 * i + 1;
        crowd->conns[i].session.dialect = hub__dialect(HUB__DIALECT_NATIVE);
        crowd->members[i] = calloc(1, sizeof(hub_member_t));
        crowd->members[i]->session = &crowd->conns[i].session;
        crowd->members[i]->topic = &crowd->topic;
        crowd->members[i]->state = HUB__MEMBER_JOINED;
    }
    *state = crowd;
    return 0;
}

static int tear_down(void **state)
{
    struct crowd *crowd = *state;

    for (uint32_t i = 0; i != MEMBERS; ++i)
        free(crowd->members[i]);
    free(crowd->topic.groups[HUB__DIALECT_NATIVE].members);
    free(crowd);
    return 0;
}

static hub__group_t *group_in(struct crowd *crowd)
{
    return &crowd->topic.groups[HUB__DIALECT_NATIVE];
}

static uint32_t seat_of(struct crowd *crowd, uint32_t i)
{
    return hub__group_seats(group_in(crowd))[crowd->members[i]->place];
}

static void enter(struct crowd *crowd, uint32_t i)
{
    assert_true(hub__group_add(group_in(crowd), crowd->members[i]));
    crowd->in[i] = true;
    ++crowd->count;
}

static void leave(struct crowd *crowd, uint32_t i)
{
    hub__group_remove(group_in(crowd), crowd->members[i]);
    crowd->in[i] = false;
    --crowd->count;
}

static void check(struct crowd *crowd)
{
    hub__group_t *group = group_in(crowd);

    assert_int_equal(group->count, crowd->count);
    for (uint32_t i = 0; i != MEMBERS; ++i) {
        if (!crowd->in[i])
            continue;
        assert_in_range(crowd->members[i]->place, 0, crowd->count - 1);
        assert_ptr_equal(group->members[crowd->members[i]->place], crowd->members[i]);
        assert_int_equal(seat_of(crowd, i) & ~HUB__SEAT_ODD, crowd->conns[i].slot);
    }
}

static void everybody_stands_at_its_place(void **state)
{
    struct crowd *crowd = *state;
    uint64_t seed = 7;

    for (unsigned step = 0; step != 5000; ++step) {
        uint32_t i;

        seed = seed * 6364136223846793005u + 1442695040888963407u;
        i = (uint32_t)(seed >> 33) % MEMBERS;
        if (crowd->in[i])
            leave(crowd, i);
        else
            enter(crowd, i);
        check(crowd);
    }
}

static void memory_follows_the_count_down(void **state)
{
    struct crowd *crowd = *state;

    for (uint32_t i = 0; i != MEMBERS; ++i)
        enter(crowd, i);
    for (uint32_t i = 0; i != MEMBERS - 2; ++i)
        leave(crowd, i);
    check(crowd);
    assert_in_range(group_in(crowd)->capacity, 2, 20);
    leave(crowd, MEMBERS - 2);
    leave(crowd, MEMBERS - 1);
    assert_null(group_in(crowd)->members);
    assert_int_equal(group_in(crowd)->capacity, 0);
}

static void a_newcomer_is_looked_at_once(void **state)
{
    struct crowd *crowd = *state;

    enter(crowd, 0);
    assert_int_not_equal(seat_of(crowd, 0) & HUB__SEAT_ODD, 0);
    hub__group_make_even(group_in(crowd), 0);
    assert_int_equal(seat_of(crowd, 0), crowd->conns[0].slot);
}

static void who_is_not_joined_stays_odd(void **state)
{
    struct crowd *crowd = *state;

    crowd->members[0]->state = HUB__MEMBER_PENDING;
    enter(crowd, 0);
    hub__group_make_even(group_in(crowd), 0);
    assert_int_not_equal(seat_of(crowd, 0) & HUB__SEAT_ODD, 0);
}

static void who_has_taken_a_part_is_odd_until_the_run_is_closed(void **state)
{
    struct crowd *crowd = *state;

    enter(crowd, 0);
    enter(crowd, 1);
    hub__group_make_even(group_in(crowd), 0);
    hub__group_make_even(group_in(crowd), 1);
    hub__group_set_taken(crowd->members[1], 40);
    assert_int_equal(seat_of(crowd, 0), crowd->conns[0].slot);
    assert_int_not_equal(seat_of(crowd, 1) & HUB__SEAT_ODD, 0);
    leave(crowd, 0); /* and stays so at its new place */
    assert_int_equal(crowd->members[1]->place, 0);
    assert_int_not_equal(seat_of(crowd, 1) & HUB__SEAT_ODD, 0);
    hub__group_make_even(group_in(crowd), 0);
    assert_int_equal(crowd->members[1]->taken, 0);
    assert_int_equal(seat_of(crowd, 1), crowd->conns[1].slot);
}

static void each_window_has_groups_of_its_own(void **state)
{
    struct crowd *crowd = *state;
    hub__group_t deflated[HUB__GROUPS_DEFLATED] = {0};
    hub__group_t *seen[HUB__WINDOW_COUNT];

    crowd->topic.deflated = deflated;
    assert_int_equal(hub__topic_group_count(&crowd->topic), HUB__GROUP_COUNT);
    for (unsigned window = 0; window != HUB__WINDOW_COUNT; ++window) {
        crowd->conns[window].window = window & 3;
        seen[window] = hub__group_of(crowd->members[window]);
        assert_ptr_equal(seen[window],
                         hub__topic_group(&crowd->topic, hub__group_index(crowd->members[window])));
        for (unsigned other = 0; other != window; ++other)
            assert_ptr_not_equal(seen[window], seen[other]);
    }
    assert_ptr_equal(seen[HUB__WINDOW_NONE], group_in(crowd));
    crowd->conns[0].session.dialect = hub__dialect(HUB__DIALECT_COUNT - 1);
    crowd->conns[0].window = HUB__WINDOW_15;
    assert_ptr_equal(hub__group_of(crowd->members[0]), &deflated[HUB__GROUPS_DEFLATED - 1]);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest cases[] = {
        CASE(everybody_stands_at_its_place),
        CASE(memory_follows_the_count_down),
        CASE(a_newcomer_is_looked_at_once),
        CASE(who_is_not_joined_stays_odd),
        CASE(who_has_taken_a_part_is_odd_until_the_run_is_closed),
        CASE(each_window_has_groups_of_its_own),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
