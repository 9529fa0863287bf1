/* SPDX-License-Identifier: MIT */
/* The router: the most specific pattern, whatever the order of registration; conflicts; and that
 * its trie changes nothing: random sets of patterns are asked one by one as well. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "bus/buffer.h"
#include "channels/router.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define SEED 0x70b1c5U
#define NO_PRIORITY INT32_MIN

static hub__match_scratch_t *scratch;
static uint32_t random_state;

static int set_up(void **state)
{
    (void)state;
    scratch = hub__match_scratch_create();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    hub__match_scratch_destroy(scratch);
    return 0;
}

static size_t pick(size_t count)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % count;
}

struct route_row {
    const char *pattern;
    int priority; /* or NO_PRIORITY */
};

/* A shuffled copy, each with its text as target; to be freed. */
static hub__route_source_t *make_sources(const struct route_row *rows, size_t count)
{
    hub__route_source_t *sources = hub__alloc_zeroed(count * sizeof(*sources));

    for (size_t i = 0; i < count; i++) {
        size_t at = pick(i + 1);

        sources[i] = sources[at];
        sources[at] = (hub__route_source_t){
            .pattern = hub_str(rows[i].pattern),
            .has_priority = rows[i].priority != NO_PRIORITY,
            .priority = rows[i].priority,
            .target = (void *)(uintptr_t)rows[i].pattern,
        };
    }
    return sources;
}

static hub_status_t try_router(const struct route_row *rows, size_t count, hub__router_t **ret,
                               hub_error_t *error)
{
    hub__route_source_t *sources = make_sources(rows, count);
    hub_status_t status = hub__router_create(sources, count, ret, error);

    free(sources);
    return status;
}

static hub__router_t *make_router(const struct route_row *rows, size_t count)
{
    hub__router_t *router = NULL;
    hub_error_t error = {0};

    if (try_router(rows, count, &router, &error) != HUB_OK)
        fail_msg("%s", error.text);
    return router;
}

/* The pattern that `topic` goes to, or the status. A copy of the exact size lets the sanitizer see
 * a byte read too far. */
static const char *answer(const hub__router_t *router, const char *topic)
{
    const hub__route_t *route = NULL;
    hub__captures_t captures;
    size_t len = strlen(topic);
    char *exact = memcpy(hub__alloc(len), topic, len);
    hub_status_t status =
        hub__router_match(router, hub_str_n(exact, len), scratch, &route, &captures);

    free(exact);
    if (status != HUB_OK) {
        assert_null(route);
        return hub_status_name(status);
    }
    assert_ptr_equal(hub__router_at(router, route->index), route);
    assert_true(hub_str_equals(hub__pattern_source(route->pattern), hub_str(route->target)));
    return route->target;
}

struct answer_row {
    const char *topic, *expected;
};

static void check_answers(const hub__router_t *router, const struct answer_row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        assert_string_equal(answer(router, rows[i].topic), rows[i].expected);
}

/* `rows` are in the order of specificity; any order of registration must come out as that. */
static void check_order(const struct route_row *rows, size_t count)
{
    for (int round = 0; round < 50; round++) {
        hub__router_t *router = make_router(rows, count);

        assert_int_equal(hub__router_count(router), count);
        for (size_t i = 0; i < count; i++) {
            assert_string_equal((const char *)hub__router_at(router, i)->target, rows[i].pattern);
            assert_int_equal(hub__router_at(router, i)->index, i);
        }
        hub__router_release(router);
    }
}

static void the_most_literal_pattern_gets_the_topic(void **state)
{
    static const struct route_row routes[] = {
        {"{a}:{b}", NO_PRIORITY}, {"room:{id}", NO_PRIORITY},        {"room:lobby", NO_PRIORITY},
        {"system", NO_PRIORITY},  {"room:{id:[0-9]+}", NO_PRIORITY}, {"room:{rest*}", NO_PRIORITY},
        {"room:", NO_PRIORITY},   {"room:{id}:{page}", NO_PRIORITY}, {"room:lob{x}", NO_PRIORITY},
    };
    static const struct answer_row answers[] = {
        {"room:lobby", "room:lobby"},
        {"room:x", "room:{id}"},
        {"room:7", "room:{id:[0-9]+}"},
        {"foo:bar", "{a}:{b}"},
        {"system", "system"},
        {"room:lobbyist", "room:lob{x}"},
        {"room:lob", "room:{id}"},
        {"room:", "room:"},
        {"room:a:b", "room:{id}:{page}"},
        {"room:a:b:c", "room:{rest*}"},
        {"room:/", "room:{rest*}"},
        {"room:7\n", "room:{rest*}"},
        {"systems", "ENOTFOUND"},
        {"", "ENOTFOUND"},
        {"room", "ENOTFOUND"},
        {":", "ENOTFOUND"},
    };
    hub__router_t *router = make_router(routes, COUNT(routes));

    (void)state;
    check_answers(router, answers, COUNT(answers));
    hub__router_release(router);
}

static void the_order_of_registration_never_matters(void **state)
{
    static const struct route_row rows[] = {
        {"a{x}:{y:1}", NO_PRIORITY},
        {"a{x}:{y}", NO_PRIORITY},
        {"a{x}bc", NO_PRIORITY},
        {"a{x}b", NO_PRIORITY},
        {"a{x}c", NO_PRIORITY},
        {"a{x}", NO_PRIORITY},
        {"a", NO_PRIORITY},
        {"a{x*}", NO_PRIORITY},
        {"room:lobby", NO_PRIORITY},
        {"room:{id:[0-9]+}:{page}", NO_PRIORITY},
        {"room:{id:[0-9]+}", NO_PRIORITY},
        {"room:{id}", NO_PRIORITY},
        {"{a:x}", NO_PRIORITY},
        {"{a}:{b}", NO_PRIORITY},
        {"*", NO_PRIORITY},
    };

    (void)state;
    random_state = SEED;
    check_order(rows, COUNT(rows));
}

static void priorities_settle_conflicts_and_nothing_else(void **state)
{
    static const struct route_row rows[] = {
        {"a", -100},  {"{x:a}:l", 10}, /* goes around the others, as pair by pair the priorities say
                                        */
        {"{x:b}", 5}, {"{x:c}", NO_PRIORITY}, {"{x:d}:l", -1}, {"{x:a}:{y}", -2}, {"{x}", 100},
    };

    (void)state;
    random_state = SEED;
    check_order(rows, COUNT(rows));
}

struct conflict_row {
    struct route_row routes[3];
    const char *first, *second, *why;
};

static void check_conflicts(const struct conflict_row *rows, size_t count)
{
    for (size_t i = 0; i < 5 * count; i++) {
        const struct conflict_row *row = &rows[i % count];
        hub__router_t *router = NULL;
        hub_error_t error = {0};

        assert_int_equal(
            try_router(row->routes, row->routes[2].pattern == NULL ? 2 : 3, &router, &error),
            HUB_ECONFLICT);
        assert_null(router);
        assert_int_equal(error.status, HUB_ECONFLICT);
        if (strstr(error.text, row->first) == NULL || strstr(error.text, row->second) == NULL ||
            strstr(error.text, row->why) == NULL)
            fail_msg("%s", error.text);
    }
}

static void what_cannot_be_told_apart_is_a_conflict_that_names_both(void **state)
{
    static const struct conflict_row rows[] = {
        {{{"r:{a:x}", NO_PRIORITY}, {"r:{a:y}", NO_PRIORITY}},
         "\"r:{a:x}\"",
         "\"r:{a:y}\"",
         "only a .priority"},
        {{{"r:{a:x}", 3}, {"r:{a:y}", 3}}, "\"r:{a:x}\"", "\"r:{a:y}\"", "only a .priority"},
        {{{"r:{a:x}", 0}, {"r:{a:y}", NO_PRIORITY}},
         "\"r:{a:x}\"",
         "\"r:{a:y}\"",
         "only a .priority"},
        {{{"r:{a:x}:b", NO_PRIORITY}, {"r:{a:y}:c", NO_PRIORITY}, {"z", 1}},
         "\"r:{a:x}:b\"",
         "\"r:{a:y}:c\"",
         "only a .priority"},
        {{{"r:{a}", NO_PRIORITY}, {"r:{b}", NO_PRIORITY}},
         "\"r:{a}\"",
         "\"r:{b}\"",
         "same pattern"},
        {{{"r:{a}", 1}, {"r:{b}", 2}, {"s", NO_PRIORITY}},
         "\"r:{a}\"",
         "\"r:{b}\"",
         "same pattern"},
        {{{"r:{a:x}", 1}, {"r:{b:x}", 2}}, "\"r:{a:x}\"", "\"r:{b:x}\"", "same pattern"},
        {{{"s", NO_PRIORITY}, {"s", NO_PRIORITY}}, "\"s\"", "\"s\"", "same pattern"},
        {{{"s*", NO_PRIORITY}, {"s{a*}", NO_PRIORITY}}, "\"s*\"", "\"s{a*}\"", "same pattern"},
        {{{"{x:a}:l", 1}, {"{x:b}", 5}, {"{x:a}:{y}", 10}}, "\"{x:", "\"{x:", "circle"},
    };

    (void)state;
    random_state = SEED;
    check_conflicts(rows, COUNT(rows));
}

static void a_conflict_of_long_patterns_still_names_both(void **state)
{
    char one[301], other[301];
    struct conflict_row row = {{{one, NO_PRIORITY}, {other, NO_PRIORITY}},
                               "\"aaaa",
                               "\xe2\x80\xa6\" and \"aaaa",
                               "same pattern"};

    (void)state;
    memset(one, 'a', 300);
    memset(other, 'a', 300);
    one[300] = other[300] = '\0';
    check_conflicts(&row, 1);
}

static void a_wrong_pattern_is_named_with_its_offset(void **state)
{
    static const hub__route_source_t sources[] = {
        {.pattern = {"fine", 4}},
        {.prefix = {"app:", 4}, .pattern = {"room:{oops", 10}},
    };
    hub__router_t *router = NULL;
    hub_error_t error = {0};

    (void)state;
    assert_int_equal(hub__router_create(sources, 2, &router, &error), HUB_ESYNTAX);
    assert_int_equal(error.offset, 9);
    assert_non_null(strstr(error.text, "\"app:room:{oops\", offset 9"));
    assert_null(router);
}

static void a_failed_match_denies_and_falls_through_to_nothing(void **state)
{
    static const struct route_row routes[] = {
        {"a:{x:(y+y+)+[vw]}", NO_PRIORITY}, {"a:{x}", NO_PRIORITY}, {"*", NO_PRIORITY}};
    hub__router_t *router = make_router(routes, COUNT(routes));
    char topic[203] = "a:";

    (void)state;
    memset(topic + 2, 'y', 200);
    assert_string_equal(answer(router, topic), "ELIMIT");
    assert_string_equal(answer(router, "a:yyw"), "a:{x:(y+y+)+[vw]}");
    assert_string_equal(answer(router, "a:n"), "a:{x}");
    hub__router_release(router);
}

static void an_empty_constraint_leaves_the_topic_to_the_next_pattern(void **state)
{
    static const struct route_row routes[] = {{"a:{x:[0-9]*}", NO_PRIORITY}, {"a:*", NO_PRIORITY}};
    hub__router_t *router = make_router(routes, COUNT(routes));

    (void)state;
    assert_string_equal(answer(router, "a:"), "a:*");
    assert_string_equal(answer(router, "a:1"), "a:{x:[0-9]*}");
    hub__router_release(router);
}

static void an_include_prefix_reaches_the_captures(void **state)
{
    static const hub__route_source_t sources[] = {
        {.prefix = {"app:{app}:", 10}, .pattern = {"room:{id}", 9}},
        {.pattern = {"app:x", 5}},
    };
    hub__router_t *router = NULL;
    const hub__route_t *route = NULL;
    hub__captures_t captures;

    (void)state;
    assert_int_equal(hub__router_create(sources, 2, &router, NULL), HUB_OK);
    assert_int_equal(
        hub__router_match(router, HUB_STR("app:shop:room:17"), scratch, &route, &captures), HUB_OK);
    assert_int_equal(captures.prefix_len, 9);
    assert_int_equal(captures.count, 2);
    assert_int_equal(captures.spans[1].start, 14);
    assert_int_equal(captures.spans[1].end, 16);
    hub__router_release(router);
}

static void a_router_of_nothing_finds_nothing(void **state)
{
    hub__router_t *router = NULL;

    (void)state;
    assert_int_equal(hub__router_create(NULL, 0, &router, NULL), HUB_OK);
    assert_int_equal(hub__router_count(router), 0);
    assert_string_equal(answer(router, "a"), "ENOTFOUND");
    assert_string_equal(answer(router, ""), "ENOTFOUND");
    hub__router_release(router);
    hub__router_release(NULL);
}

static void a_router_lives_as_long_as_its_last_reference(void **state)
{
    static const struct route_row routes[] = {{"a", NO_PRIORITY}};
    hub__router_t *router = make_router(routes, 1);

    (void)state;
    assert_ptr_equal(hub__router_retain(router), router);
    hub__router_release(router);
    assert_string_equal(answer(router, "a"), "a");
    hub__router_release(router);
}

static void a_topic_that_is_too_long_is_denied(void **state)
{
    static const struct route_row routes[] = {{"*", NO_PRIORITY}};
    hub__router_t *router = make_router(routes, 1);
    char topic[HUB__TOPIC_BYTES_MAX + 2];

    (void)state;
    memset(topic, 'x', sizeof(topic));
    topic[HUB__TOPIC_BYTES_MAX + 1] = '\0';
    assert_string_equal(answer(router, topic), "ELIMIT");
    topic[HUB__TOPIC_BYTES_MAX] = '\0';
    assert_string_equal(answer(router, topic), "*");
    hub__router_release(router);
}

/* `format` with the numbers from 0 on, each as a pattern; to be freed by free_rows(). */
static struct route_row *many_rows(const char *before, const char *behind, size_t count)
{
    struct route_row *rows = hub__alloc_zeroed(count * sizeof(*rows));

    for (size_t i = 0; i < count; i++) {
        hub__buffer_t text = {0};

        hub__buffer_printf(&text, "%s%zu%s", before, i, behind);
        HUB__APPEND_LITERAL(&text, "\0");
        rows[i] = (struct route_row){text.base, (int)i};
    }
    return rows;
}

static void free_rows(struct route_row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free((void *)(uintptr_t)rows[i].pattern);
    free(rows);
}

static hub_status_t status_of_many(size_t count, hub_error_t *error)
{
    struct route_row *rows = many_rows("room", ":{id}", count);
    hub__router_t *router = NULL;
    hub_status_t status = try_router(rows, count, &router, error);

    hub__router_release(router);
    free_rows(rows, count);
    return status;
}

static void the_limit_of_patterns_holds_at_its_border(void **state)
{
    hub_error_t error = {0};

    (void)state;
    assert_int_equal(status_of_many(HUB__ROUTER_PATTERNS_MAX - 1, NULL), HUB_OK);
    assert_int_equal(status_of_many(HUB__ROUTER_PATTERNS_MAX, NULL), HUB_OK);
    assert_int_equal(status_of_many(HUB__ROUTER_PATTERNS_MAX + 1, &error), HUB_ELIMIT);
    assert_non_null(strstr(error.text, "1001 patterns"));
    assert_non_null(strstr(error.text, "at most 1000"));
}

/* Each topic is `start`, a number and `end`, and belongs to the pattern of that number. */
static void check_many(const char *before, const char *behind, const char *start, const char *end)
{
    struct route_row *rows = many_rows(before, behind, HUB__ROUTER_PATTERNS_MAX);
    hub__router_t *router = make_router(rows, HUB__ROUTER_PATTERNS_MAX);

    for (size_t i = 0; i < HUB__ROUTER_PATTERNS_MAX; i++) {
        hub__buffer_t topic = {0};

        hub__buffer_printf(&topic, "%s%zu%s", start, i, end);
        HUB__APPEND_LITERAL(&topic, "\0");
        assert_string_equal(answer(router, topic.base), rows[i].pattern);
        hub__buffer_dispose(&topic);
    }
    hub__router_release(router);
    free_rows(rows, HUB__ROUTER_PATTERNS_MAX);
}

static void a_thousand_patterns_are_told_apart_wherever_they_differ(void **state)
{
    (void)state;
    check_many("room", ":{id}", "room", ":x");
    check_many("room", ":lobby", "room", ":lobby");
    check_many("rooms:of:", ":{id}:talk", "rooms:of:", ":x:talk");
    check_many("a room with a long name ", ", and more", "a room with a long name ", ", and more");
    check_many("{a}/", "/rooms:{b}", "x/", "/rooms:y");
    check_many("{a}:x", "", "abc:x", "");
    check_many("{a}x", ":{b}", "axxx", ":b");
    check_many("{a:[a-z]+}", "", "abc", "");
    check_many("{a:.+}:", ":*", "a:b:", ":");
}

/* Up to `max` pieces of a small alphabet, so that many patterns match one topic. In a piece '#' is
 * a number of its own. */
static void append_random(hub__buffer_t *text, const char *const *pieces, size_t count, size_t max)
{
    size_t tokens = 1 + pick(max);

    for (size_t i = 0; i < tokens; i++) {
        hub_str_t piece = hub_str(pieces[pick(count)]);
        size_t mark = strcspn(piece.base, "#");

        hub__buffer_append(text, hub_str_n(piece.base, mark));
        if (mark < piece.len)
            hub__buffer_printf(text, "%zu%s", i, piece.base + mark + 1);
    }
}

/* What random patterns and topics are made of. */
struct alphabet {
    const char *patterns[16], *topics[8];
};

/* Many patterns match one topic. */
static const struct alphabet letters = {
    {"a", "b", "ab", ":", "/", "a:", ":b", "{p#}", "{p#}", "{p#}", "\xc3\xa9", "\xc3\xa8",
     "{p#:[ab]*}", "{p#:a}", "{p#:.+}", "{p#:[^:]}"},
    {"a", "b", "a", "b", ":", "/", "\xc3\xa9", "\xc3\xa8"},
};

/* Literal text goes on for long, and ends within what others begin with. */
static const struct alphabet words = {
    {"room", "room", "rooms:", "rooms:of:", "of:", "an enormous room:", "an enormous", ":", "1",
     "12", "17:", "123:", "{p#}", "{p#}", "{p#:[a-z]+}", "/"},
    {"room", "rooms:", "an enormous room:", "of:", "1", "12", "17:", "123:"},
};

static const struct alphabet *alphabet;

static char *random_pattern(void)
{
    hub__buffer_t text = {0};

    append_random(&text, alphabet->patterns, COUNT(alphabet->patterns), 5);
    hub__buffer_append(&text, pick(5) == 0 ? HUB_STR("*\0") : HUB_STR("\0"));
    return text.base;
}

static char *random_topic(void)
{
    hub__buffer_t text = {0};

    append_random(&text, alphabet->topics, COUNT(alphabet->topics), pick(20) == 0 ? 90 : 7);
    HUB__APPEND_LITERAL(&text, "\0");
    return text.base;
}

/* All patterns in their order, without the trie. */
static const char *model_answer(const hub__router_t *router, const char *topic)
{
    hub__captures_t captures;

    for (size_t i = 0; i < hub__router_count(router); i++) {
        const hub__route_t *route = hub__router_at(router, i);
        hub_status_t status =
            hub__pattern_match(route->pattern, hub_str(topic), scratch, &captures);

        if (status == HUB_OK)
            return route->target;
        assert_int_equal(status, HUB_ENOTFOUND);
    }
    return "ENOTFOUND";
}

static size_t compare_with_model(const hub__router_t *router)
{
    size_t found = 0;

    for (int i = 0; i < 100; i++) {
        char *topic = random_topic();
        const char *expected = model_answer(router, topic), *actual = answer(router, topic);

        if (strcmp(expected, actual) != 0)
            fail_msg("\"%s\": \"%s\", one by one \"%s\"", topic, actual, expected);
        found += strcmp(actual, "ENOTFOUND") != 0;
        free(topic);
    }
    return found;
}

/* The same set shuffled anew comes out in the same order. */
static void compare_orders(const hub__router_t *router, const struct route_row *rows, size_t count)
{
    hub__router_t *other = make_router(rows, count);

    for (size_t i = 0; i < count; i++)
        assert_ptr_equal(hub__router_at(other, i)->target, hub__router_at(router, i)->target);
    hub__router_release(other);
}

/* Sets that priorities lead in a circle, or with one pattern twice, are refused and don't count. */
static size_t compare_random_router(size_t count)
{
    struct route_row *rows = hub__alloc_zeroed(count * sizeof(*rows));
    hub__router_t *router = NULL;
    size_t found = 0;

    for (size_t i = 0; i < count; i++)
        rows[i] = (struct route_row){random_pattern(), (int)(i + 1)};
    if (try_router(rows, count, &router, NULL) == HUB_OK) {
        compare_orders(router, rows, count);
        found = compare_with_model(router);
    }
    hub__router_release(router);
    free_rows(rows, count);
    return found;
}

static size_t compare_random_routers(const struct alphabet *of, size_t rounds)
{
    size_t found = 0;

    print_message("seed %u\n", random_state = SEED);
    alphabet = of;
    for (size_t i = 0; i < rounds; i++)
        found += compare_random_router(1 + pick(14));
    return found;
}

static void the_router_answers_as_its_patterns_one_by_one(void **state)
{
    (void)state;
    assert_true(compare_random_routers(&letters, 400) > 2000);
}

static void long_literals_are_found_as_their_patterns_one_by_one(void **state)
{
    (void)state;
    assert_true(compare_random_routers(&words, 400) > 2000);
}

/* Whether any two of them cannot be told apart. */
static bool has_conflict(const struct route_row *rows, size_t count)
{
    hub__pattern_t **patterns = hub__alloc_zeroed(count * sizeof(*patterns));
    bool found = false, conflict;

    for (size_t i = 0; i < count; i++)
        assert_int_equal(
            hub__pattern_compile((hub_str_t){0}, hub_str(rows[i].pattern), &patterns[i], NULL),
            HUB_OK);
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < i; j++) {
            (void)hub__pattern_compare(patterns[i], patterns[j], &conflict);
            found |= conflict;
        }
    }
    for (size_t i = 0; i < count; i++)
        hub__pattern_destroy(patterns[i]);
    free(patterns);
    return found;
}

static void without_priorities_any_conflict_is_found(void **state)
{
    size_t conflicts = 0, rounds = 400;

    (void)state;
    print_message("seed %u\n", random_state = SEED);
    alphabet = &letters;
    for (size_t round = 0; round < rounds; round++) {
        struct route_row rows[6];
        hub__router_t *router = NULL;
        bool conflict;

        for (size_t i = 0; i < COUNT(rows); i++)
            rows[i] = (struct route_row){random_pattern(), NO_PRIORITY};
        conflict = has_conflict(rows, COUNT(rows));
        assert_int_equal(try_router(rows, COUNT(rows), &router, NULL),
                         conflict ? HUB_ECONFLICT : HUB_OK);
        conflicts += conflict;
        hub__router_release(router);
        for (size_t i = 0; i < COUNT(rows); i++)
            free((void *)(uintptr_t)rows[i].pattern);
    }
    assert_in_range(conflicts, rounds / 10, rounds - rounds / 10);
}

/* All match in the trie, and one after the other refuses the topic. */
static void of_many_candidates_each_is_tried_in_its_turn(void **state)
{
    struct route_row *rows = many_rows("{a:k", "}", 40);
    hub__router_t *router = make_router(rows, 40);

    (void)state;
    assert_string_equal(answer(router, "k0"), "{a:k0}");
    assert_string_equal(answer(router, "k39"), "{a:k39}");
    assert_string_equal(answer(router, "k8"), "{a:k8}");
    assert_string_equal(answer(router, "k40"), "ENOTFOUND");
    hub__router_release(router);
    free_rows(rows, 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_most_literal_pattern_gets_the_topic),
        cmocka_unit_test(the_order_of_registration_never_matters),
        cmocka_unit_test(priorities_settle_conflicts_and_nothing_else),
        cmocka_unit_test(what_cannot_be_told_apart_is_a_conflict_that_names_both),
        cmocka_unit_test(a_conflict_of_long_patterns_still_names_both),
        cmocka_unit_test(a_wrong_pattern_is_named_with_its_offset),
        cmocka_unit_test(a_failed_match_denies_and_falls_through_to_nothing),
        cmocka_unit_test(an_empty_constraint_leaves_the_topic_to_the_next_pattern),
        cmocka_unit_test(an_include_prefix_reaches_the_captures),
        cmocka_unit_test(a_router_of_nothing_finds_nothing),
        cmocka_unit_test(a_router_lives_as_long_as_its_last_reference),
        cmocka_unit_test(a_topic_that_is_too_long_is_denied),
        cmocka_unit_test(the_limit_of_patterns_holds_at_its_border),
        cmocka_unit_test(a_thousand_patterns_are_told_apart_wherever_they_differ),
        cmocka_unit_test(the_router_answers_as_its_patterns_one_by_one),
        cmocka_unit_test(long_literals_are_found_as_their_patterns_one_by_one),
        cmocka_unit_test(without_priorities_any_conflict_is_found),
        cmocka_unit_test(of_many_candidates_each_is_tried_in_its_turn),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
