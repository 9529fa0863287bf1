/* SPDX-License-Identifier: MIT */
/* What waits for a member that reads too slowly, and what its policy drops: each bound at one less,
 * at it and past it, and where the gap is told. Random histories are held against the promise in
 * its plainest form: what comes out and what is told missing is everything that went in. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "hub/backlog.h"
#include "hub/frame.h"

/* ---- the fixture ---- */

struct line {
    hub__backlog_t backlog;
    hub__backlog_limits_t limits;
    uint32_t now_ms;
    size_t dropped_count;
    bool adding;
    char text[256];
};

static int set_up(void **state)
{
    struct line *line = calloc(1, sizeof(*line));

    line->limits = (hub__backlog_limits_t){
        .policy = HUB_SLOW_DROP_OLD, .bytes = 1000, .messages = 100, .age_ms = 50};
    line->now_ms = UINT32_MAX - 20; /* it turns over */
    *state = line;
    return 0;
}

static void on_drop(hub__run_t *run, void *user)
{
    struct line *line = user;

    (void)run;
    ++line->dropped_count;
}

static int tear_down(void **state)
{
    struct line *line = *state;

    hub__backlog_dispose(&line->backlog, on_drop, line);
    free(line);
    return 0;
}

/* A run of one frame whose payload is `len` bytes of `fill`. */
static hub__run_t *frame_of(char fill, size_t len)
{
    char header[HUB__FRAME_HEADER_MAX];
    size_t header_len = hub__frame_header(header, HUB__FRAME_FIN | HUB__OP_TEXT, len);
    hub__run_t *run = hub__run_create(header_len + len);

    memcpy(run->base, header, header_len);
    memset(run->base + header_len, fill, len);
    run->len = (uint32_t)(header_len + len);
    run->messages = 1;
    return run;
}

static hub__backlog_verdict_t add_sized(struct line *line, char fill, size_t bytes, uint64_t key)
{
    hub__run_t *run = frame_of(fill, bytes - 2);
    hub__backlog_verdict_t verdict = hub__backlog_add(&line->backlog, &line->limits, run, 0,
                                                      run->len, key, line->now_ms, on_drop, line);

    hub__run_release(run);
    return verdict;
}

/* Frames of ten bytes, all of them kept. */
static void add(struct line *line, const char *fills)
{
    for (; *fills != '\0'; ++fills)
        assert_int_equal(add_sized(line, *fills, 10, HUB__KEY_NONE), HUB__BACKLOG_KEPT);
}

static void add_keyed(struct line *line, char fill, uint64_t key)
{
    assert_int_equal(add_sized(line, fill, 10, key), HUB__BACKLOG_KEPT);
}

/* Everything out, in order: a frame by its fill, what is missing by its number. */
static const char *taken(struct line *line)
{
    size_t len = 0;
    hub__backlog_item_t *item;

    line->text[0] = '\0';
    do {
        uint32_t missed;

        item = hub__backlog_next(&line->backlog, &missed);
        if (missed != 0)
            len += (size_t)sprintf(line->text + len, "(%u)", missed);
        if (item == NULL)
            break;
        len += (size_t)sprintf(line->text + len, "%c", item->run->base[item->start + 2]);
        hub__backlog_item_free(item);
    } while (true);
    assert_int_equal(hub__backlog_bytes(&line->backlog), 0);
    return line->text;
}

/* ---- the bounds ---- */

static void the_oldest_go_where_messages_are_too_many(void **state)
{
    struct line *line = *state;

    line->limits.messages = 3;
    add(line, "ab");
    assert_string_equal(taken(line), "ab");
    add(line, "abc");
    assert_string_equal(taken(line), "abc");
    add(line, "abcde");
    assert_int_equal(line->dropped_count, 2);
    assert_string_equal(taken(line), "(2)cde");
}

static void the_oldest_go_where_bytes_are_too_many(void **state)
{
    struct line *line = *state;

    line->limits.bytes = 30;
    add(line, "abc");
    assert_string_equal(taken(line), "abc");
    add(line, "ab");
    assert_int_equal(add_sized(line, 'c', 11, HUB__KEY_NONE), HUB__BACKLOG_KEPT);
    assert_string_equal(taken(line), "(1)bc");
}

static void the_oldest_go_when_they_have_waited_for_too_long(void **state)
{
    struct line *line = *state;

    add(line, "a");
    line->now_ms += 1;
    add(line, "b");
    line->now_ms += 49;
    add(line, "c");
    assert_int_equal(line->dropped_count, 0);
    line->now_ms += 1;
    add(line, "d");
    assert_int_equal(line->dropped_count, 1);
    hub__backlog_expire(&line->backlog, &line->limits, line->now_ms + 1, on_drop, line);
    assert_string_equal(taken(line), "(2)cd");
}

static void age_may_be_off(void **state)
{
    struct line *line = *state;

    line->limits.age_ms = UINT32_MAX;
    add(line, "a");
    line->now_ms += 1u << 31;
    add(line, "b");
    assert_string_equal(taken(line), "ab");
}

static void the_new_one_goes_where_that_is_the_policy(void **state)
{
    struct line *line = *state;

    line->limits.policy = HUB_SLOW_DROP_NEW;
    line->limits.messages = 3;
    add(line, "abc");
    assert_int_equal(add_sized(line, 'd', 10, HUB__KEY_NONE), HUB__BACKLOG_DROPPED);
    assert_int_equal(add_sized(line, 'e', 10, HUB__KEY_NONE), HUB__BACKLOG_DROPPED);
    assert_int_equal(line->dropped_count, 2);
    assert_string_equal(taken(line), "abc(2)");
    line->limits.bytes = 20;
    add(line, "ab");
    assert_int_equal(add_sized(line, 'c', 3, HUB__KEY_NONE), HUB__BACKLOG_DROPPED);
    assert_string_equal(taken(line), "ab(1)");
}

static void the_new_one_goes_while_the_oldest_has_waited_for_too_long(void **state)
{
    struct line *line = *state;

    line->limits.policy = HUB_SLOW_DROP_NEW;
    add(line, "a");
    line->now_ms += 50;
    add(line, "b");
    line->now_ms += 1;
    assert_int_equal(add_sized(line, 'c', 10, HUB__KEY_NONE), HUB__BACKLOG_DROPPED);
    assert_string_equal(taken(line), "ab(1)");
}

/* What comes behind it is told of it first. */
static void a_gap_stands_where_the_messages_are_missing(void **state)
{
    struct line *line = *state;
    uint32_t missed;

    line->limits.policy = HUB_SLOW_DROP_NEW;
    line->limits.messages = 2;
    add(line, "ab");
    assert_int_equal(add_sized(line, 'c', 10, HUB__KEY_NONE), HUB__BACKLOG_DROPPED);
    hub__backlog_item_free(hub__backlog_next(&line->backlog, &missed));
    assert_int_equal(missed, 0);
    add(line, "d");
    assert_int_equal(add_sized(line, 'e', 10, HUB__KEY_NONE), HUB__BACKLOG_DROPPED);
    assert_string_equal(taken(line), "b(1)d(1)");
}

static void nothing_goes_where_the_connection_is_to_end(void **state)
{
    struct line *line = *state;

    line->limits.policy = HUB_SLOW_CLOSE;
    line->limits.messages = 2;
    add(line, "ab");
    assert_int_equal(add_sized(line, 'c', 10, HUB__KEY_NONE), HUB__BACKLOG_FULL);
    assert_int_equal(line->dropped_count, 0);
    assert_string_equal(taken(line), "ab");
    add(line, "a");
    line->now_ms += 51;
    assert_int_equal(add_sized(line, 'b', 10, HUB__KEY_NONE), HUB__BACKLOG_FULL);
}

static void what_finds_nothing_waiting_is_kept_whatever_its_size(void **state)
{
    struct line *line = *state;

    line->limits.bytes = 100;
    assert_int_equal(add_sized(line, 'a', 120, HUB__KEY_NONE), HUB__BACKLOG_KEPT);
    assert_int_equal(add_sized(line, 'b', 120, HUB__KEY_NONE), HUB__BACKLOG_KEPT);
    assert_string_equal(taken(line), "(1)b");
    line->limits.policy = HUB_SLOW_DROP_NEW;
    assert_int_equal(add_sized(line, 'a', 120, HUB__KEY_NONE), HUB__BACKLOG_KEPT);
    assert_int_equal(add_sized(line, 'b', 3, HUB__KEY_NONE), HUB__BACKLOG_DROPPED);
    assert_string_equal(taken(line), "a(1)");
}

/* ---- keys ---- */

static void of_each_key_the_newest_waits(void **state)
{
    struct line *line = *state;

    line->limits.policy = HUB_SLOW_LATEST;
    add_keyed(line, 'a', 1);
    add_keyed(line, 'b', 2);
    add_keyed(line, 'A', 1);
    add(line, "-");
    add_keyed(line, 'c', 3);
    add_keyed(line, 'B', 2);
    add(line, "-");
    assert_int_equal(line->dropped_count, 2);
    assert_string_equal(taken(line), "(2)A-cB-");
}

static void keys_that_are_too_many_go_oldest_first(void **state)
{
    struct line *line = *state;

    line->limits.policy = HUB_SLOW_LATEST;
    line->limits.messages = 26;
    for (unsigned i = 0; i != 78; ++i)
        add_keyed(line, (char)('a' + i % 26), 1000 + i);
    assert_int_equal(line->dropped_count, 52);
    for (unsigned i = 0; i != 26; ++i) /* in place of those that are there */
        add_keyed(line, (char)('A' + i), 1052 + i);
    assert_int_equal(line->dropped_count, 78);
    assert_string_equal(taken(line), "(78)ABCDEFGHIJKLMNOPQRSTUVWXYZ");
}

static void a_key_that_was_taken_out_is_free(void **state)
{
    struct line *line = *state;

    line->limits.policy = HUB_SLOW_LATEST;
    add_keyed(line, 'a', 1);
    assert_string_equal(taken(line), "a");
    add_keyed(line, 'b', 1);
    assert_string_equal(taken(line), "b");
    assert_int_equal(line->dropped_count, 0);
}

/* ---- what is never dropped ---- */

static void what_is_fixed_stays_in_its_place(void **state)
{
    struct line *line = *state;

    line->limits.messages = 2;
    add(line, "a");
    add_keyed(line, 'R', HUB__KEY_FIXED);
    add(line, "bc");
    add_keyed(line, 'S', HUB__KEY_FIXED);
    line->now_ms += 51;
    hub__backlog_expire(&line->backlog, &line->limits, line->now_ms, on_drop, line);
    add(line, "d");
    assert_string_equal(taken(line), "(3)RSd");
}

static void too_much_that_is_fixed_ends_the_connection(void **state)
{
    struct line *line = *state;

    line->limits.messages = 2;
    add(line, "ab");
    add_keyed(line, 'R', HUB__KEY_FIXED);
    add_keyed(line, 'S', HUB__KEY_FIXED);
    assert_int_equal(add_sized(line, 'T', 10, HUB__KEY_FIXED), HUB__BACKLOG_FULL);
    assert_string_equal(taken(line), "abRS");
    line->limits.bytes = 20;
    line->limits.messages = 100;
    add_keyed(line, 'R', HUB__KEY_FIXED);
    add_keyed(line, 'S', HUB__KEY_FIXED);
    assert_int_equal(add_sized(line, 'T', 3, HUB__KEY_FIXED), HUB__BACKLOG_FULL);
    assert_string_equal(taken(line), "RS");
}

static void all_that_may_be_dropped_is_where_a_member_leaves(void **state)
{
    struct line *line = *state;

    add(line, "ab");
    add_keyed(line, 'R', HUB__KEY_FIXED);
    add(line, "c");
    hub__backlog_drop(&line->backlog, on_drop, line);
    assert_int_equal(line->dropped_count, 3);
    assert_string_equal(taken(line), "(3)R");
}

/* ---- who is told of a drop ---- */

static void on_drop_add(hub__run_t *run, void *user)
{
    struct line *line = user;
    hub__run_t *another = frame_of('z', 8);

    on_drop(run, line);
    if (!line->adding && line->dropped_count < 50) {
        line->adding = true;
        (void)hub__backlog_add(&line->backlog, &line->limits, another, 0, another->len,
                               HUB__KEY_NONE, line->now_ms, on_drop_add, line);
        line->adding = false;
    }
    hub__run_release(another);
}

static void who_adds_another_one_for_each_that_is_dropped_comes_to_an_end(void **state)
{
    struct line *line = *state;
    hub__run_t *run = frame_of('d', 8);

    line->limits.messages = 3;
    add(line, "abc");
    assert_int_equal(hub__backlog_add(&line->backlog, &line->limits, run, 0, run->len,
                                      HUB__KEY_NONE, line->now_ms, on_drop_add, line),
                     HUB__BACKLOG_KEPT);
    hub__run_release(run);
    assert_int_equal(line->dropped_count, 1);
    add(line, "e"); /* one more than there may be, but no more than that */
    assert_string_equal(taken(line), "(3)zde");
}

/* ---- memory ---- */

static void a_small_piece_does_not_pin_a_large_run(void **state)
{
    struct line *line = *state;
    hub__run_t *run = frame_of('a', 8);

    (void)hub__run_reserve(run, 4000);
    assert_int_equal(hub__backlog_add(&line->backlog, &line->limits, run, 0, run->len,
                                      HUB__KEY_NONE, 0, on_drop, line),
                     HUB__BACKLOG_KEPT);
    assert_int_equal(run->refs, 1);
    hub__run_release(run);
    run = frame_of('b', 100);
    assert_int_equal(hub__backlog_add(&line->backlog, &line->limits, run, 0, run->len,
                                      HUB__KEY_NONE, 0, on_drop, line),
                     HUB__BACKLOG_KEPT);
    assert_int_equal(run->refs, 2);
    hub__run_release(run);
    assert_string_equal(taken(line), "ab");
}

/* ---- any history ---- */

static uint32_t next(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

static void check_history(struct line *line, uint32_t seed)
{
    uint32_t in = 0, out = 0, told = 0;

    line->dropped_count = 0;
    line->limits.policy = (hub_slow_policy_t)(HUB_SLOW_DROP_NEW + next(&seed) % 3);
    line->limits.messages = 1 + next(&seed) % 12;
    line->limits.bytes = 20 + next(&seed) % 200;
    for (unsigned step = 0; step != 400; ++step) {
        uint64_t key = next(&seed) % 4;
        uint32_t missed;
        hub__backlog_item_t *item;

        line->now_ms += next(&seed) % 8;
        if (next(&seed) % 3 != 0) {
            hub__backlog_verdict_t verdict =
                add_sized(line, 'x', 3 + next(&seed) % 30, key == 3 ? HUB__KEY_FIXED : key);

            in += verdict != HUB__BACKLOG_FULL;
        } else {
            item = hub__backlog_next(&line->backlog, &missed);
            told += missed;
            if (item != NULL) {
                ++out;
                hub__backlog_item_free(item);
            }
        }
        assert_true(line->backlog.count <= line->limits.messages);
        assert_true(line->backlog.count <= 1 || line->backlog.bytes <= line->limits.bytes);
        assert_int_equal(in, out + line->backlog.count + line->backlog.fixed_count +
                                 line->dropped_count);
    }
    for (hub__backlog_item_t *item;;) {
        uint32_t missed;

        item = hub__backlog_next(&line->backlog, &missed);
        told += missed;
        if (item == NULL)
            break;
        ++out;
        hub__backlog_item_free(item);
    }
    assert_int_equal(told, line->dropped_count);
    assert_int_equal(in, out + told);
}

static void what_went_in_comes_out_or_is_told_missing(void **state)
{
    for (uint32_t seed = 1; seed != 200; ++seed)
        check_history(*state, seed * 2654435761u);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(the_oldest_go_where_messages_are_too_many),
        CASE(the_oldest_go_where_bytes_are_too_many),
        CASE(the_oldest_go_when_they_have_waited_for_too_long),
        CASE(age_may_be_off),
        CASE(the_new_one_goes_where_that_is_the_policy),
        CASE(the_new_one_goes_while_the_oldest_has_waited_for_too_long),
        CASE(a_gap_stands_where_the_messages_are_missing),
        CASE(nothing_goes_where_the_connection_is_to_end),
        CASE(what_finds_nothing_waiting_is_kept_whatever_its_size),
        CASE(of_each_key_the_newest_waits),
        CASE(keys_that_are_too_many_go_oldest_first),
        CASE(a_key_that_was_taken_out_is_free),
        CASE(what_is_fixed_stays_in_its_place),
        CASE(too_much_that_is_fixed_ends_the_connection),
        CASE(all_that_may_be_dropped_is_where_a_member_leaves),
        CASE(who_adds_another_one_for_each_that_is_dropped_comes_to_an_end),
        CASE(a_small_piece_does_not_pin_a_large_run),
        CASE(what_went_in_comes_out_or_is_told_missing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
