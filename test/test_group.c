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

/* ---- memory that is not to be had: the linker's --wrap puts this before hub/memory.c ---- */

static struct {
    bool fails;
    unsigned asked;
} memory;

void *__real_hub__peer_alloc(size_t size);
void *__wrap_hub__peer_alloc(size_t size);

void *__wrap_hub__peer_alloc(size_t size)
{
    memory.asked++;
    return memory.fails ? NULL : __real_hub__peer_alloc(size);
}

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

    memory.fails = false;
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

/* As many as there is room for without asking again. */
static uint32_t fill(struct crowd *crowd)
{
    uint32_t i = crowd->count;

    for (; group_in(crowd)->count != group_in(crowd)->capacity; ++i)
        enter(crowd, i);
    return i;
}

static void without_memory_the_first_one_does_not_come_in(void **state)
{
    struct crowd *crowd = *state;

    memory.fails = true;
    assert_false(hub__group_add(group_in(crowd), crowd->members[0]));
    assert_null(group_in(crowd)->members);
    assert_int_equal(group_in(crowd)->count, 0);
    assert_int_equal(group_in(crowd)->capacity, 0);
    memory.fails = false;
    enter(crowd, 0);
    check(crowd);
}

static void without_memory_one_more_does_not_come_in_and_the_others_stay(void **state)
{
    struct crowd *crowd = *state;
    uint32_t next;

    enter(crowd, 0);
    next = fill(crowd);
    memory.fails = true;
    memory.asked = 0;
    assert_false(hub__group_add(group_in(crowd), crowd->members[next]));
    assert_false(hub__group_add(group_in(crowd), crowd->members[next]));
    assert_int_equal(memory.asked, 2);
    check(crowd);
    leave(crowd, 0); /* a place is free again */
    enter(crowd, next);
    check(crowd);
    assert_int_equal(memory.asked, 2);
    memory.fails = false;
    enter(crowd, next + 1);
    check(crowd);
}

static void without_memory_a_group_stays_as_large_as_it_was(void **state)
{
    struct crowd *crowd = *state;
    uint32_t capacity;

    for (uint32_t i = 0; i != MEMBERS; ++i)
        enter(crowd, i);
    capacity = group_in(crowd)->capacity;
    memory.fails = true;
    memory.asked = 0;
    for (uint32_t i = 0; i != MEMBERS - 1; ++i)
        leave(crowd, i);
    assert_in_range(memory.asked, 1, MEMBERS);
    assert_int_equal(group_in(crowd)->capacity, capacity);
    check(crowd);
    leave(crowd, MEMBERS - 1); /* giving it back needs none */
    assert_null(group_in(crowd)->members);
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
        CASE(without_memory_the_first_one_does_not_come_in),
        CASE(without_memory_one_more_does_not_come_in_and_the_others_stay),
        CASE(without_memory_a_group_stays_as_large_as_it_was),
        CASE(a_newcomer_is_looked_at_once),
        CASE(who_is_not_joined_stays_odd),
        CASE(who_has_taken_a_part_is_odd_until_the_run_is_closed),
        CASE(each_window_has_groups_of_its_own),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
