/* SPDX-License-Identifier: MIT */
/* The judge of histories is judged: each broken promise is planted into a history that keeps all of
 * them, and found, by its own name and no other.
 *
 * Histories are written as words. What a publisher said: "ok", "down", "unknown", and "?" where no
 * answer came, one each 10 ms from its start. What a member did and heard: "ask" "in" "no" "bye"
 * "out" for its joins and leaves, "0.3" for number 3 of publisher 0, "0.3/1" on the other topic,
 * "gap", "end" for its connection's; "@500" sets the clock, in ms, which every other word moves on
 * by 1. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test/checker.h"

#define NODES 2
#define TOPICS 2
#define PUBLISHERS 2 /* one on each node */
#define MEMBERS 2
#define PUBLISHES_MAX 64
#define MS 1000

static const checker_limits_t limits = {.back_us = 500 * MS, .grace_us = 300 * MS};

static int set_up(void **state)
{
    history_t *history = history_create(NODES, TOPICS, PUBLISHERS, MEMBERS, PUBLISHES_MAX);

    history->publisher_nodes[1] = 1;
    history->member[1].node = 1;
    *state = history;
    return 0;
}

static int tear_down(void **state)
{
    history_destroy(*state);
    return 0;
}

/* ---- writing histories ---- */

static void say(history_t *history, uint32_t publisher, uint64_t at_ms, const char *words)
{
    char *all = strdup(words), *rest = all, *word;

    for (; (word = strsep(&rest, " ")) != NULL; at_ms += 10) {
        uint32_t number = history_say(history, publisher, 0, at_ms * MS);
        hub_status_t status = strcmp(word, "ok") == 0     ? HUB_OK
                              : strcmp(word, "down") == 0 ? HUB_EBUSDOWN
                                                          : HUB_EUNKNOWN;

        if (strcmp(word, "?") != 0)
            history_answer(history, publisher, 0, number, status, (at_ms + 1) * MS);
    }
    free(all);
}

static history_event_t read_event(const char *word)
{
    static const struct {
        const char *word;
        history_kind_t kind;
    } plain[] = {
        {"ask", HISTORY_JOIN_ASKED},  {"in", HISTORY_JOINED}, {"no", HISTORY_REFUSED},
        {"bye", HISTORY_LEAVE_ASKED}, {"out", HISTORY_LEFT},  {"gap", HISTORY_GAP},
        {"end", HISTORY_CLOSED},
    };
    history_event_t event = {.kind = HISTORY_MESSAGE};

    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
        if (strcmp(plain[i].word, word) == 0)
            return (history_event_t){.kind = plain[i].kind};
    }
    assert_true(sscanf(word, "%u.%u/%u", &event.publisher, &event.number, &event.topic) >= 2);
    return event;
}

static void hear(history_t *history, uint32_t member, const char *words)
{
    char *all = strdup(words), *rest = all, *word;
    uint64_t at_ms = 0;

    while ((word = strsep(&rest, " ")) != NULL) {
        history_event_t event;

        if (word[0] == '@') {
            at_ms = strtoull(word + 1, NULL, 10);
            continue;
        }
        event = read_event(word);
        event.at_us = at_ms++ * MS;
        history_add(history, member, event);
    }
    free(all);
}

static void fault(history_t *history, uint64_t begin_ms, uint64_t end_ms)
{
    history->faults[history->fault_count++] =
        (history_fault_t){.begin_us = begin_ms * MS, .end_us = end_ms * MS};
}

/* ---- judging them ---- */

static checker_report_t judge(const history_t *history)
{
    checker_report_t report;

    checker_run(history, &limits, &report);
    return report;
}

static void expect_clean(const history_t *history)
{
    checker_report_t report = judge(history);

    for (int i = 0; i < CHECKER_RULE_COUNT; i++) {
        if (report.broken[i] != 0)
            fail_msg("%s", report.first[i]);
    }
    assert_int_equal(report.all, 0);
}

/* This rule alone, so many times. */
static void expect_broken(const history_t *history, checker_rule_t rule, uint64_t times)
{
    checker_report_t report = judge(history);

    for (int i = 0; i < CHECKER_RULE_COUNT; i++) {
        if ((checker_rule_t)i != rule && report.broken[i] != 0)
            fail_msg("%s", report.first[i]);
    }
    assert_int_equal(report.broken[rule], times);
    assert_int_equal(report.all, times);
    assert_true(report.first[rule][0] != '\0');
}

/* Publisher 0 has said 1 to 4. */
static void expect_heard(void **state, const char *words, checker_rule_t rule)
{
    say(*state, 0, 100, "ok ok ok ok");
    hear(*state, 0, words);
    expect_broken(*state, rule, 1);
}

static void expect_heard_clean(void **state, const char *words)
{
    say(*state, 0, 100, "ok ok ok ok");
    hear(*state, 0, words);
    expect_clean(*state);
}

/* ---- what keeps the promises ---- */

static void a_run_in_which_all_is_heard_is_clean(void **state)
{
    checker_report_t report;

    say(*state, 0, 100, "ok ok ok ok");
    say(*state, 1, 100, "ok ok");
    hear(*state, 0, "ask in @100 0.1 1.1 0.2 1.2 0.3 0.4");
    hear(*state, 1, "ask in @100 1.1 0.1 1.2 0.2 0.3 0.4");
    expect_clean(*state);
    report = judge(*state);
    assert_int_equal(report.publishes, 6);
    assert_int_equal(report.accepted, 6);
    assert_int_equal(report.heard, 12);
    assert_int_equal(report.joins, 2);
}

static void a_loss_that_a_gap_tells_is_clean(void **state)
{
    expect_heard_clean(state, "ask in @100 0.1 gap 0.4");
    assert_int_equal(judge(*state).covered, 2);
}

static void a_gap_may_come_behind_all_others(void **state)
{
    expect_heard_clean(state, "ask in @100 0.1 0.2 gap");
}

static void what_was_sent_before_the_join_is_not_owed(void **state)
{
    expect_heard_clean(state, "@125 ask in @130 0.4");
}

static void what_has_not_come_before_the_leave_is_not_owed(void **state)
{
    expect_heard_clean(state, "ask in @100 0.1 bye 0.2 out");
}

static void what_failed_is_owed_to_nobody(void **state)
{
    fault(*state, 100, 100);
    say(*state, 0, 100, "ok down ok");
    say(*state, 1, 100, "ok");
    hear(*state, 0, "ask in @100 0.1 0.3 1.1");
    hear(*state, 1, "ask in @100 0.1 0.3 1.1");
    expect_clean(*state);
    assert_int_equal(judge(*state).failed, 1);
}

static void a_fault_may_be_told_though_nothing_was_lost(void **state)
{
    fault(*state, 101, 115);
    say(*state, 0, 100, "ok ok ok");
    say(*state, 1, 120, "ok");
    hear(*state, 0, "ask in @100 0.1 0.2 gap @125 0.3 1.1");
    hear(*state, 1, "ask in @100 0.1 0.2 gap @130 0.3 1.1");
    expect_clean(*state);
    assert_int_equal(judge(*state).back_us, 15 * MS);
}

static void a_join_that_is_refused_by_a_fault_is_clean(void **state)
{
    fault(*state, 0, 0);
    say(*state, 0, 0, "ok");
    say(*state, 1, 0, "ok");
    hear(*state, 0, "ask no ask in 1.1");
    hear(*state, 1, "ask in 0.1");
    expect_clean(*state);
}

/* ---- what breaks them ---- */

static void a_duplicate_is_found(void **state)
{
    expect_heard(state, "ask in @100 0.1 0.2 0.2 0.3 0.4", CHECKER_duplicate);
}

static void a_late_duplicate_is_found(void **state)
{
    expect_heard(state, "ask in @100 0.1 0.2 0.3 0.4 0.1", CHECKER_duplicate);
}

static void a_duplicate_in_another_join_is_none(void **state)
{
    expect_heard_clean(state, "ask in @100 0.1 0.2 0.3 bye out @140 ask in 0.3 0.4");
}

static void a_swap_is_found(void **state)
{
    fault(*state, 0, 0);
    say(*state, 0, 100, "ok ok ok");
    say(*state, 1, 100, "ok");
    hear(*state, 0, "ask in @100 gap 0.2 0.1 0.3 1.1");
    hear(*state, 1, "ask in @100 0.1 0.2 0.3 1.1");
    expect_broken(*state, CHECKER_order, 1);
}

static void a_drop_is_found(void **state)
{
    expect_heard(state, "ask in @100 0.1 0.2 0.4", CHECKER_lost);
}

static void a_drop_of_the_first_is_found(void **state)
{
    expect_heard(state, "ask in @100 0.2 0.3 0.4", CHECKER_lost);
}

static void a_drop_of_the_last_is_found(void **state)
{
    expect_heard(state, "ask in @100 0.1 0.2 0.3", CHECKER_lost);
}

static void a_drop_before_a_leave_is_found_by_what_followed(void **state)
{
    expect_heard(state, "ask in @100 0.1 0.3 bye out", CHECKER_lost);
}

static void a_drop_whose_outcome_was_unknown_is_found(void **state)
{
    fault(*state, 100, 100);
    say(*state, 0, 100, "ok unknown ok");
    say(*state, 1, 100, "ok");
    hear(*state, 0, "ask in @100 0.1 0.3 1.1");
    hear(*state, 1, "ask in @100 0.1 0.2 0.3 1.1");
    expect_broken(*state, CHECKER_lost, 1);
}

static void a_gap_after_the_next_message_is_too_late(void **state)
{
    say(*state, 0, 100, "ok ok ok ok");
    hear(*state, 0, "ask in @100 0.1 0.3 gap 0.4");
    assert_int_equal(judge(*state).broken[CHECKER_lost], 1);
    assert_int_equal(judge(*state).broken[CHECKER_groundless], 1);
}

static void a_gap_before_what_came_before_the_loss_is_of_no_use(void **state)
{
    say(*state, 0, 100, "ok ok ok ok");
    hear(*state, 0, "ask in @100 gap 0.1 0.3 0.4");
    assert_int_equal(judge(*state).broken[CHECKER_lost], 1);
    assert_int_equal(judge(*state).broken[CHECKER_groundless], 1);
}

static void a_loss_of_one_publisher_is_not_told_by_a_gap_elsewhere(void **state)
{
    say(*state, 0, 100, "ok ok ok");
    say(*state, 1, 100, "ok ok ok");
    hear(*state, 0, "ask in @100 0.1 1.1 0.3 gap 1.3");
    expect_broken(*state, CHECKER_lost, 1);
}

static void a_message_before_the_join_reply_is_found(void **state)
{
    expect_heard(state, "@100 ask 0.1 in @115 0.2 0.3 0.4", CHECKER_early);
}

static void a_gap_before_the_join_reply_is_found(void **state)
{
    expect_heard(state, "@90 ask gap in 0.1 0.2 0.3 0.4", CHECKER_early);
}

static void a_message_after_the_leave_reply_is_found(void **state)
{
    expect_heard(state, "ask in @100 0.1 0.2 bye 0.3 out 0.4", CHECKER_late);
}

static void a_gap_after_the_leave_reply_is_found(void **state)
{
    expect_heard(state, "ask in @100 0.1 0.2 bye 0.3 out gap", CHECKER_late);
}

static void a_message_of_another_topic_is_found(void **state)
{
    expect_heard(state, "ask in @100 0.1 0.2/1 0.2 0.3 0.4", CHECKER_foreign);
}

static void a_message_that_nobody_sent_is_found(void **state)
{
    expect_heard(state, "ask in @100 0.1 0.2 0.3 0.4 0.5", CHECKER_foreign);
}

static void a_publisher_that_does_not_exist_is_found(void **state)
{
    expect_heard(state, "ask in @100 0.1 0.2 0.3 0.4 2.1", CHECKER_foreign);
}

static void a_failed_publish_that_was_heard_is_found(void **state)
{
    fault(*state, 100, 100);
    say(*state, 0, 100, "ok down ok");
    say(*state, 1, 100, "ok");
    hear(*state, 0, "ask in @100 0.1 0.2 0.3 1.1");
    hear(*state, 1, "ask in @100 0.1 0.3 1.1");
    expect_broken(*state, CHECKER_refused, 1);
}

static void a_gap_without_cause_is_found(void **state)
{
    expect_heard(state, "ask in @100 0.1 0.2 gap 0.3 0.4", CHECKER_groundless);
}

static void a_gap_long_after_the_fault_is_found(void **state)
{
    fault(*state, 0, 0);
    say(*state, 0, 100, "ok ok");
    say(*state, 1, 100, "ok");
    hear(*state, 0, "ask in @100 0.1 0.2 1.1 @301 gap");
    hear(*state, 1, "ask in @100 0.1 0.2 1.1 @299 gap");
    expect_broken(*state, CHECKER_groundless, 1);
}

static void a_gap_before_the_fault_is_found(void **state)
{
    fault(*state, 110, 110);
    say(*state, 0, 100, "ok ok");
    say(*state, 1, 110, "ok");
    hear(*state, 0, "ask in @100 0.1 gap @111 0.2 1.1");
    hear(*state, 1, "ask in @100 0.1 @111 0.2 1.1");
    expect_broken(*state, CHECKER_groundless, 1);
}

static void a_publish_without_an_answer_is_found(void **state)
{
    say(*state, 0, 100, "ok ? ok");
    hear(*state, 0, "ask in @100 0.1 0.3");
    expect_broken(*state, CHECKER_unanswered, 1);
}

static void a_join_without_an_answer_is_found(void **state)
{
    expect_heard(state, "ask", CHECKER_unanswered);
}

static void a_leave_without_an_answer_is_found(void **state)
{
    expect_heard(state, "@200 ask in bye", CHECKER_unanswered);
}

static void a_publish_that_failed_without_a_fault_is_found(void **state)
{
    say(*state, 0, 100, "ok down ok");
    hear(*state, 0, "ask in @100 0.1 0.3");
    expect_broken(*state, CHECKER_failed, 1);
}

static void a_publish_that_was_under_way_when_the_fault_came_is_clean(void **state)
{
    fault(*state, 101, 102);
    say(*state, 0, 100, "unknown ok");
    say(*state, 1, 110, "ok");
    hear(*state, 0, "ask in @100 0.1 @120 0.2 1.1");
    hear(*state, 1, "ask in @100 gap @120 0.2 1.1");
    expect_clean(*state);
}

static void a_join_that_was_refused_without_a_fault_is_found(void **state)
{
    expect_heard(state, "ask no", CHECKER_join);
}

static void a_connection_that_was_closed_is_found(void **state)
{
    expect_heard(state, "ask in @100 0.1 end", CHECKER_closed);
}

static void a_node_that_hears_late_after_a_fault_is_found(void **state)
{
    fault(*state, 100, 200);
    say(*state, 0, 300, "ok");
    say(*state, 1, 300, "ok");
    hear(*state, 0, "ask in @301 0.1 1.1");
    hear(*state, 1, "ask in @301 1.1 @701 0.1");
    expect_broken(*state, CHECKER_back, 1);
    assert_int_equal(judge(*state).back_us, 501 * MS);
}

static void a_node_that_never_hears_another_again_is_found(void **state)
{
    fault(*state, 100, 200);
    say(*state, 0, 300, "ok");
    say(*state, 1, 300, "ok");
    hear(*state, 0, "ask in @301 0.1 1.1");
    hear(*state, 1, "ask in @301 1.1 bye out");
    expect_broken(*state, CHECKER_back, 1);
}

static void what_was_sent_before_the_end_of_a_fault_does_not_count(void **state)
{
    fault(*state, 100, 200);
    say(*state, 0, 150, "ok");
    say(*state, 1, 300, "ok");
    hear(*state, 0, "ask in @301 0.1 1.1");
    hear(*state, 1, "ask in @301 1.1 0.1");
    expect_broken(*state, CHECKER_back, 1);
}

#define CHECKER_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CHECKER_TEST(a_run_in_which_all_is_heard_is_clean),
        CHECKER_TEST(a_loss_that_a_gap_tells_is_clean),
        CHECKER_TEST(a_gap_may_come_behind_all_others),
        CHECKER_TEST(what_was_sent_before_the_join_is_not_owed),
        CHECKER_TEST(what_has_not_come_before_the_leave_is_not_owed),
        CHECKER_TEST(what_failed_is_owed_to_nobody),
        CHECKER_TEST(a_fault_may_be_told_though_nothing_was_lost),
        CHECKER_TEST(a_join_that_is_refused_by_a_fault_is_clean),
        CHECKER_TEST(a_duplicate_is_found),
        CHECKER_TEST(a_late_duplicate_is_found),
        CHECKER_TEST(a_duplicate_in_another_join_is_none),
        CHECKER_TEST(a_swap_is_found),
        CHECKER_TEST(a_drop_is_found),
        CHECKER_TEST(a_drop_of_the_first_is_found),
        CHECKER_TEST(a_drop_of_the_last_is_found),
        CHECKER_TEST(a_drop_before_a_leave_is_found_by_what_followed),
        CHECKER_TEST(a_drop_whose_outcome_was_unknown_is_found),
        CHECKER_TEST(a_gap_after_the_next_message_is_too_late),
        CHECKER_TEST(a_gap_before_what_came_before_the_loss_is_of_no_use),
        CHECKER_TEST(a_loss_of_one_publisher_is_not_told_by_a_gap_elsewhere),
        CHECKER_TEST(a_message_before_the_join_reply_is_found),
        CHECKER_TEST(a_gap_before_the_join_reply_is_found),
        CHECKER_TEST(a_message_after_the_leave_reply_is_found),
        CHECKER_TEST(a_gap_after_the_leave_reply_is_found),
        CHECKER_TEST(a_message_of_another_topic_is_found),
        CHECKER_TEST(a_message_that_nobody_sent_is_found),
        CHECKER_TEST(a_publisher_that_does_not_exist_is_found),
        CHECKER_TEST(a_failed_publish_that_was_heard_is_found),
        CHECKER_TEST(a_gap_without_cause_is_found),
        CHECKER_TEST(a_gap_long_after_the_fault_is_found),
        CHECKER_TEST(a_gap_before_the_fault_is_found),
        CHECKER_TEST(a_publish_without_an_answer_is_found),
        CHECKER_TEST(a_join_without_an_answer_is_found),
        CHECKER_TEST(a_leave_without_an_answer_is_found),
        CHECKER_TEST(a_publish_that_failed_without_a_fault_is_found),
        CHECKER_TEST(a_publish_that_was_under_way_when_the_fault_came_is_clean),
        CHECKER_TEST(a_join_that_was_refused_without_a_fault_is_found),
        CHECKER_TEST(a_connection_that_was_closed_is_found),
        CHECKER_TEST(a_node_that_hears_late_after_a_fault_is_found),
        CHECKER_TEST(a_node_that_never_hears_another_again_is_found),
        CHECKER_TEST(what_was_sent_before_the_end_of_a_fault_does_not_count),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
