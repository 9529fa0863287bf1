/* SPDX-License-Identifier: MIT */
/* Numbers between nodes: what this node gives out, and what it makes of those of others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "bus/stream.h"

#define STREAMS_MAX 4096
#define ORIGINS_MAX 256
#define HEARD_LATE UINT64_MAX /* note() of what is not new */

struct fixture {
    hub__streams_t streams;
    atomic_ullong incarnations;
    hub__origins_t origins;
    uint64_t clock;
};

static int set_up(void **state)
{
    struct fixture *fixture = aligned_alloc(_Alignof(struct fixture), sizeof(*fixture));

    memset(fixture, 0, sizeof(*fixture));
    hub__streams_init(&fixture->streams);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    hub__streams_dispose(&fixture->streams);
    hub__origins_dispose(&fixture->origins);
    free(fixture);
    return 0;
}

/* All in one chain of the table, which is no key. */
static hub__stream_t *use(struct fixture *fixture, const char *topic, bool returns)
{
    return hub__streams_use(&fixture->streams, &fixture->incarnations, 7, hub_str(topic), returns);
}

static void use_others(struct fixture *fixture, int first, int last)
{
    char topic[16];

    for (int i = first; i <= last; i++) {
        snprintf(topic, sizeof(topic), "%d", i);
        assert_non_null(hub__streams_use(&fixture->streams, &fixture->incarnations, (uint64_t)i,
                                         hub_str(topic), false));
    }
}

static uint64_t note_wire(struct fixture *fixture, const hub__wire_t *wire, bool *ret_doubt)
{
    uint64_t missed = 0;

    return hub__origins_note(&fixture->origins, wire, &fixture->clock, &missed, ret_doubt)
               ? missed
               : HEARD_LATE;
}

static uint64_t note_kind(struct fixture *fixture, hub__wire_kind_t kind, uint64_t node,
                          uint64_t incarnation, uint64_t seq)
{
    hub__wire_t wire = {.kind = kind, .node = node, .incarnation = incarnation, .seq = seq};
    uint64_t missed;
    bool doubt;

    missed = note_wire(fixture, &wire, &doubt);
    assert_false(doubt);
    return missed;
}

static uint64_t note(struct fixture *fixture, uint64_t node, uint64_t incarnation, uint64_t seq)
{
    return note_kind(fixture, HUB__WIRE_MESSAGE, node, incarnation, seq);
}

static uint64_t note_position(struct fixture *fixture, uint64_t node, uint64_t incarnation,
                              uint64_t seq)
{
    return note_kind(fixture, HUB__WIRE_POSITION, node, incarnation, seq);
}

static void note_first_of(struct fixture *fixture, uint64_t first, uint64_t last)
{
    for (uint64_t node = first; node <= last; node++)
        assert_int_equal(note(fixture, node, 1, 1), 0);
}

/* ---- given out ---- */

static void a_stream_keeps_its_numbers(void **state)
{
    struct fixture *fixture = *state;
    hub__stream_t *stream = use(fixture, "a", false);

    assert_int_equal(stream->incarnation, 1);
    assert_int_equal(stream->seq, 0);
    stream->seq = 5;
    assert_int_not_equal(use(fixture, "b", false)->incarnation, 1);
    assert_ptr_equal(use(fixture, "a", false), stream);
    assert_int_equal(stream->seq, 5);
}

static void what_comes_back_is_numbered_apart(void **state)
{
    struct fixture *fixture = *state;

    use(fixture, "a", false)->seq = 5;
    assert_int_equal(use(fixture, "a", true)->seq, 0);
    assert_int_equal(use(fixture, "a", false)->seq, 5);
}

static void the_one_that_was_used_longest_ago_gives_way(void **state)
{
    struct fixture *fixture = *state;

    use(fixture, "a", false)->seq = 5;
    use(fixture, "b", false)->seq = 6;
    use_others(fixture, 1, STREAMS_MAX - 2);
    use(fixture, "a", false);
    use_others(fixture, STREAMS_MAX - 1, STREAMS_MAX - 1);
    assert_int_equal(fixture->streams.table.count, STREAMS_MAX);
    assert_int_equal(use(fixture, "a", false)->seq, 5);
    assert_int_equal(use(fixture, "b", false)->seq, 0);
}

static void what_begins_anew_has_a_higher_incarnation(void **state)
{
    struct fixture *fixture = *state;
    uint64_t before = use(fixture, "a", false)->incarnation;

    use_others(fixture, 1, STREAMS_MAX);
    assert_true(use(fixture, "a", false)->incarnation > before);
}

/* ---- heard ---- */

static void the_first_contact_misses_nothing(void **state)
{
    assert_int_equal(note(*state, 1, 1, 100), 0);
    assert_int_equal(note_position(*state, 2, 1, 100), 0);
}

/* Its node is not sure that what it said before has got anywhere: who knows it counts for himself,
 * and who does not is told. */
static void a_node_that_doubts_is_believed_at_the_first_contact(void **state)
{
    hub__wire_t wire = {
        .kind = HUB__WIRE_MESSAGE, .node = 1, .incarnation = 1, .seq = 2, .doubtful = true};
    bool doubt;

    assert_int_equal(note_wire(*state, &wire, &doubt), 0);
    assert_true(doubt);
    wire.seq = 3;
    assert_int_equal(note_wire(*state, &wire, &doubt), 0);
    assert_false(doubt);
    assert_int_equal(note_wire(*state, &wire, &doubt), HEARD_LATE);
    assert_false(doubt);
    wire.kind = HUB__WIRE_POSITION;
    wire.node = 2;
    assert_int_equal(note_wire(*state, &wire, &doubt), 0);
    assert_true(doubt);
}

static void a_doubt_is_of_all_streams_of_the_topic(void **state)
{
    struct fixture *fixture = *state;
    hub__stream_t *stream = use(fixture, "a", false), *returns = use(fixture, "a", true), *other;

    use_others(fixture, 1, 1);
    other = hub__streams_use(&fixture->streams, &fixture->incarnations, 1, hub_str("1"), false);
    hub__streams_doubt(&fixture->streams, 7);
    hub__streams_doubt(&fixture->streams, 8); /* whose stream has given way */
    assert_true(stream->doubtful && returns->doubtful);
    assert_false(other->doubtful);
}

static void a_hole_is_counted_once(void **state)
{
    assert_int_equal(note(*state, 1, 1, 1), 0);
    assert_int_equal(note(*state, 1, 1, 2), 0);
    assert_int_equal(note(*state, 1, 1, 6), 3);
    assert_int_equal(note(*state, 1, 1, 7), 0);
}

static void what_is_doubled_or_late_is_not_new(void **state)
{
    assert_int_equal(note(*state, 1, 2, 5), 0);
    assert_int_equal(note(*state, 1, 2, 5), HEARD_LATE);
    assert_int_equal(note(*state, 1, 2, 4), HEARD_LATE);
    assert_int_equal(note(*state, 1, 1, 9), HEARD_LATE);
    assert_int_equal(note_position(*state, 1, 2, 5), HEARD_LATE);
}

static void a_position_misses_what_it_names_as_well(void **state)
{
    assert_int_equal(note(*state, 1, 1, 1), 0);
    assert_int_equal(note_position(*state, 1, 1, 3), 2);
    assert_int_equal(note_position(*state, 1, 1, 3), HEARD_LATE);
    assert_int_equal(note(*state, 1, 1, 4), 0);
}

static void another_incarnation_counts_from_one(void **state)
{
    assert_int_equal(note(*state, 1, 1, 50), 0);
    assert_int_equal(note(*state, 1, 2, 1), 0);
    assert_int_equal(note(*state, 1, 4, 3), 2);
    assert_int_equal(note_position(*state, 1, 5, 2), 2);
}

static void nodes_are_told_apart(void **state)
{
    assert_int_equal(note(*state, 1, 1, 1), 0);
    assert_int_equal(note(*state, 2, 1, 50), 0);
    assert_int_equal(note(*state, 1, 1, 2), 0);
    assert_int_equal(note(*state, 2, 1, 52), 1);
}

static void the_node_that_was_silent_longest_gives_way(void **state)
{
    struct fixture *fixture = *state;

    note_first_of(fixture, 1, ORIGINS_MAX);
    assert_int_equal(note(fixture, 1, 1, 2), 0);
    note_first_of(fixture, ORIGINS_MAX + 1, ORIGINS_MAX + 1);
    assert_int_equal(fixture->origins.count, ORIGINS_MAX);
    assert_int_equal(note(fixture, 1, 1, 4), 1);
    assert_int_equal(note(fixture, 2, 1, 4), 0); /* unknown again */
}

static void of_what_is_expected_even_the_first_is_missed(void **state)
{
    struct fixture *fixture = *state;
    hub__stream_t *stream = use(fixture, "a", true);

    stream->seq = 4;
    hub__origins_expect(&fixture->origins, 1, stream, &fixture->clock);
    assert_int_equal(note(fixture, 1, stream->incarnation, 6), 1);
}

static void to_expect_again_changes_nothing(void **state)
{
    struct fixture *fixture = *state;
    hub__stream_t *stream = use(fixture, "a", true);

    hub__origins_expect(&fixture->origins, 1, stream, &fixture->clock);
    stream->seq = 2; /* both on their way */
    hub__origins_expect(&fixture->origins, 1, stream, &fixture->clock);
    assert_int_equal(note(fixture, 1, stream->incarnation, 1), 0);
    assert_int_equal(note(fixture, 1, stream->incarnation, 2), 0);
}

/* Else what is on its way would be taken for what came before, once this is expected anew. */
static void who_is_expected_does_not_give_way(void **state)
{
    struct fixture *fixture = *state;
    hub__stream_t *stream = use(fixture, "a", true);

    assert_int_equal(note(fixture, 1, stream->incarnation, 1), 0); /* heard before it is expected */
    stream->seq = 2;
    hub__origins_expect(&fixture->origins, 1, stream, &fixture->clock);
    note_first_of(fixture, 2, ORIGINS_MAX + 9);
    assert_int_equal(note(fixture, 1, stream->incarnation, 3), 1);
    note_first_of(fixture, ORIGINS_MAX + 10, 2 * ORIGINS_MAX + 9);
    assert_int_equal(note(fixture, 1, stream->incarnation, 3), HEARD_LATE);
}

/* Of a node that says anything. */
static void the_largest_numbers_stay_numbers(void **state)
{
    assert_int_equal(note(*state, 1, 1, 1), 0);
    assert_true(note(*state, 1, 1, UINT64_MAX) == UINT64_MAX - 2);
    assert_int_equal(note(*state, 1, 1, UINT64_MAX), HEARD_LATE);
    assert_int_equal(note(*state, 2, 1, 2), 0);
    assert_true(note_position(*state, 2, 1, UINT64_MAX) == UINT64_MAX - 2);
    assert_int_equal(note_position(*state, 3, UINT64_MAX, UINT64_MAX), 0);
    assert_int_equal(note(*state, 3, UINT64_MAX, UINT64_MAX), HEARD_LATE);
}

int main(void)
{
#define STREAM_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        STREAM_TEST(a_stream_keeps_its_numbers),
        STREAM_TEST(what_comes_back_is_numbered_apart),
        STREAM_TEST(the_one_that_was_used_longest_ago_gives_way),
        STREAM_TEST(what_begins_anew_has_a_higher_incarnation),
        STREAM_TEST(the_first_contact_misses_nothing),
        STREAM_TEST(a_node_that_doubts_is_believed_at_the_first_contact),
        STREAM_TEST(a_doubt_is_of_all_streams_of_the_topic),
        STREAM_TEST(a_hole_is_counted_once),
        STREAM_TEST(what_is_doubled_or_late_is_not_new),
        STREAM_TEST(a_position_misses_what_it_names_as_well),
        STREAM_TEST(another_incarnation_counts_from_one),
        STREAM_TEST(nodes_are_told_apart),
        STREAM_TEST(the_node_that_was_silent_longest_gives_way),
        STREAM_TEST(of_what_is_expected_even_the_first_is_missed),
        STREAM_TEST(to_expect_again_changes_nothing),
        STREAM_TEST(who_is_expected_does_not_give_way),
        STREAM_TEST(the_largest_numbers_stay_numbers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
