/* SPDX-License-Identifier: MIT */
/* The judge of histories is judged: each broken promise is planted into a history that keeps all of
 * them, and found, by its own name and no other.
 *
 * Histories are written as words. What a publisher said: "ok", "took" where no more is known,
 * "down", "unknown", "kept", and "?" where no answer came, one each 10 ms from its start. What a
 * member did and heard: "ask" "in" "no" "bye" "out" for its joins and leaves, "0.3" for number 3 of
 * publisher 0, "0.3/1" on the other topic, "gap" for one of the bus, "lost:2" for missing numbers,
 * "full" for a mailbox, "end" for its connection's; "@500" sets the clock, in ms, which every other
 * word moves on by 1. */
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
#define PUBLISHERS 4 /* number n is on node n % 2, and so are members */
#define MEMBERS 6    /* the last two show that service is back */
#define PUBLISHES_MAX 64
#define MS 1000

static const checker_limits_t limits = {.back_us = 500 * MS, .grace_us = 30 * MS};

static int set_up(void **state)
{
    history_t *history = history_create(NODES, TOPICS, PUBLISHERS, MEMBERS, PUBLISHES_MAX);

    for (uint32_t i = 0; i < PUBLISHERS; i++)
        history->publisher_nodes[i] = i % NODES;
    for (uint32_t i = 0; i < MEMBERS; i++)
        history->member[i].node = i % NODES;
    *state = history;
    return 0;
}

static int tear_down(void **state)
{
    history_destroy(*state);
    return 0;
}

/* ---- writing histories ---- */

struct answer {
    const char *word;
    history_outcome_t outcome;
    hub_status_t status;
};

static struct answer read_answer(const char *word)
{
    static const struct answer answers[] = {{"ok", HISTORY_SENT, HUB_OK},
                                            {"took", HISTORY_ACCEPTED, HUB_OK},
                                            {"kept", HISTORY_KEPT, HUB_EBUSDOWN},
                                            {"unknown", HISTORY_ACCEPTED, HUB_EUNKNOWN},
                                            {"down", HISTORY_FAILED, HUB_EBUSDOWN}};

    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        if (strcmp(answers[i].word, word) == 0)
            return answers[i];
    }
    assert_string_equal(word, "?");
    return (struct answer){.word = NULL};
}

static void say_on(history_t *history, uint32_t topic, uint32_t publisher, uint64_t at_ms,
                   const char *words)
{
    char *all = strdup(words), *rest = all, *word;

    for (; (word = strsep(&rest, " ")) != NULL; at_ms += 10) {
        uint32_t number = history_say(history, publisher, topic, at_ms * MS);
        struct answer answer = read_answer(word);

        if (answer.word != NULL)
            history_answer(history, publisher, topic, number, answer.outcome, answer.status,
                           (at_ms + 1) * MS);
    }
    free(all);
}

static void say(history_t *history, uint32_t publisher, uint64_t at_ms, const char *words)
{
    say_on(history, 0, publisher, at_ms, words);
}

static history_event_t read_event(const char *word)
{
    static const struct {
        const char *word;
        history_kind_t kind;
    } plain[] = {
        {"ask", HISTORY_JOIN_ASKED},  {"in", HISTORY_JOINED}, {"no", HISTORY_REFUSED},
        {"bye", HISTORY_LEAVE_ASKED}, {"out", HISTORY_LEFT},  {"end", HISTORY_CLOSED},
    };
    history_event_t event = {.kind = HISTORY_MESSAGE};

    const char *slash = strchr(word, '/');

    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
        if (strncmp(plain[i].word, word, strlen(plain[i].word)) == 0)
            return (history_event_t){.kind = plain[i].kind,
                                     .topic = slash == NULL ? 0 : (uint32_t)atoi(slash + 1)};
    }
    if (strcmp(word, "gap") == 0)
        return (history_event_t){.kind = HISTORY_GAP, .reason = HUB_GAP_BUS};
    if (strcmp(word, "full") == 0)
        return (history_event_t){.kind = HISTORY_GAP, .reason = HUB_GAP_MAILBOX};
    if (sscanf(word, "lost:%u", &event.number) == 1)
        return (history_event_t){
            .kind = HISTORY_GAP, .reason = HUB_GAP_LOST, .number = event.number};
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

static void outage(history_t *history, uint32_t node, uint64_t begin_ms, uint64_t end_ms)
{
    history->outages[history->outage_count++] =
        (history_outage_t){.node = node,
                           .begin_us = begin_ms * MS,
                           .end_us = end_ms == UINT64_MAX ? end_ms : end_ms * MS,
                           .connections = 1};
}

static void fault_alone(history_t *history, uint64_t begin_ms, uint64_t end_ms)
{
    history->faults[history->fault_count++] =
        (history_fault_t){.begin_us = begin_ms * MS, .end_us = end_ms * MS};
}

/* On another topic a message crosses from each node to the other one. */
static void recover(history_t *history, uint64_t at_ms)
{
    char words[64];

    say_on(history, 1, 2, at_ms, "ok");
    say_on(history, 1, 3, at_ms, "ok");
    snprintf(words, sizeof(words), "ask/1 in/1 @%llu 2.1/1 3.1/1", (unsigned long long)at_ms + 1);
    hear(history, 4, words);
    hear(history, 5, words);
}

/* This node alone is cut off as long as it lasts. */
static void fault_of(history_t *history, uint32_t node, uint64_t begin_ms, uint64_t end_ms)
{
    fault_alone(history, begin_ms, end_ms);
    outage(history, node, begin_ms, end_ms);
    recover(history, end_ms + 1);
}

static void fault(history_t *history, uint64_t begin_ms, uint64_t end_ms)
{
    fault_of(history, 0, begin_ms, end_ms);
    outage(history, 1, begin_ms, end_ms);
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

/* Publisher 1, on the other node, has said 1 to 4. */
static void expect_heard(void **state, const char *words, checker_rule_t rule)
{
    say(*state, 1, 100, "ok ok ok ok");
    hear(*state, 0, words);
    expect_broken(*state, rule, 1);
}

static void expect_heard_clean(void **state, const char *words)
{
    say(*state, 1, 100, "ok ok ok ok");
    hear(*state, 0, words);
    expect_clean(*state);
}

/* Number 2 of publisher 1 came to nobody of the other node, and a gap tells. */
static void expect_lost(void **state, const char *words, checker_rule_t rule)
{
    say(*state, 1, 100, words);
    hear(*state, 0, "ask in @100 1.1 @116 gap @120 1.3");
    expect_broken(*state, rule, 1);
}

/* The same where all is well. */
static void expect_told(void **state, const char *words, const char *heard)
{
    say(*state, 1, 100, words);
    hear(*state, 0, heard);
    expect_clean(*state);
    assert_int_equal(judge(*state).covered, 1);
}

/* ---- what keeps the promises ---- */

static void a_run_in_which_all_is_heard_is_clean(void **state)
{
    checker_report_t report;

    say(*state, 0, 100, "ok ok ok ok");
    say(*state, 1, 100, "took took");
    hear(*state, 0, "ask in @100 0.1 1.1 0.2 1.2 0.3 0.4");
    hear(*state, 1, "ask in @100 1.1 0.1 1.2 0.2 0.3 0.4");
    expect_clean(*state);
    report = judge(*state);
    assert_int_equal(report.publishes, 6);
    assert_int_equal(report.sent, 4);
    assert_int_equal(report.accepted, 2);
    assert_int_equal(report.heard, 12);
    assert_int_equal(report.joins, 2);
}

static void a_loss_that_a_gap_tells_is_clean(void **state)
{
    fault(*state, 105, 130);
    expect_told(state, "ok ok ok", "ask in @100 1.1 @116 gap @120 1.3");
}

static void a_gap_may_come_behind_all_others(void **state)
{
    fault(*state, 105, 130);
    expect_told(state, "ok ok", "ask in @100 1.1 @116 gap");
}

static void a_loss_that_missing_numbers_tell_is_clean(void **state)
{
    fault_of(*state, 1, 105, 130);
    expect_told(state, "ok unknown ok", "ask in @100 1.1 @120 lost:1 1.3");
}

static void what_was_under_way_when_the_fault_came_may_be_lost(void **state)
{
    fault(*state, 120, 130);
    expect_told(state, "ok ok ok", "ask in @100 1.1 @125 gap 1.3");
}

static void what_comes_before_a_subscription_that_took_too_long_may_be_lost(void **state)
{
    fault_alone(*state, 90, 115);
    recover(*state, 116);
    say(*state, 1, 105, "ok ok");
    hear(*state, 0, "@95 ask @100 in @116 gap 1.2");
    expect_clean(*state);
    assert_int_equal(judge(*state).covered, 1);
}

static void what_was_under_way_is_counted(void **state)
{
    fault_alone(*state, 100, 100);
    say(*state, 1, 90, "? took took");
    history_answer(*state, 1, 0, 1, HISTORY_SENT, HUB_OK, 101 * MS);
    assert_int_equal(judge(*state).under_way, 1);
}

static void what_was_sent_before_the_join_is_not_owed(void **state)
{
    expect_heard_clean(state, "@125 ask in @130 1.4");
}

static void what_has_not_come_before_the_leave_is_not_owed(void **state)
{
    expect_heard_clean(state, "ask in @100 1.1 bye 1.2 out");
}

static void what_failed_is_owed_to_nobody(void **state)
{
    fault(*state, 105, 112);
    say(*state, 0, 100, "ok down ok");
    hear(*state, 0, "ask in @100 0.1 0.3");
    hear(*state, 1, "ask in @100 0.1 0.3");
    expect_clean(*state);
    assert_int_equal(judge(*state).failed, 1);
}

static void what_is_kept_is_heard_on_its_node_and_told_elsewhere(void **state)
{
    fault(*state, 105, 112);
    say(*state, 0, 100, "ok kept ok");
    hear(*state, 0, "ask in @100 0.1 0.2 0.3");
    hear(*state, 1, "ask in @100 0.1 @120 lost:1 0.3");
    expect_clean(*state);
    assert_int_equal(judge(*state).kept, 1);
}

static void what_waited_for_the_broker_is_counted(void **state)
{
    fault(*state, 105, 115);
    say(*state, 1, 110, "?");
    history_answer(*state, 1, 0, 1, HISTORY_SENT, HUB_OK, 117 * MS);
    hear(*state, 0, "ask in @117 1.1");
    expect_clean(*state);
    assert_int_equal(judge(*state).rejoined, 1);
}

static void a_connection_may_be_told_though_nothing_was_lost(void **state)
{
    fault(*state, 101, 115);
    say(*state, 1, 100, "ok ok ok");
    hear(*state, 0, "ask in @100 1.1 1.2 gap @125 1.3");
    hear(*state, 1, "ask in @100 1.1 1.2 gap @125 1.3");
    expect_clean(*state);
    assert_int_equal(judge(*state).back_us, 3 * MS);
}

static void a_join_that_is_refused_by_a_fault_is_clean(void **state)
{
    fault(*state, 0, 1);
    hear(*state, 0, "ask no ask in");
    expect_clean(*state);
}

/* ---- what breaks them ---- */

static void a_duplicate_is_found(void **state)
{
    expect_heard(state, "ask in @100 1.1 1.2 1.2 1.3 1.4", CHECKER_duplicate);
}

static void a_late_duplicate_is_found(void **state)
{
    expect_heard(state, "ask in @100 1.1 1.2 1.3 1.4 1.1", CHECKER_duplicate);
}

static void a_duplicate_behind_a_gap_is_found(void **state)
{
    fault(*state, 105, 115);
    expect_heard(state, "ask in @100 1.1 1.2 @116 gap 1.2 1.3 1.4", CHECKER_duplicate);
}

static void a_duplicate_in_another_join_is_none(void **state)
{
    expect_heard_clean(state, "ask in @100 1.1 1.2 1.3 bye out @140 ask in 1.3 1.4");
}

static void a_swap_is_found(void **state)
{
    fault(*state, 105, 130);
    say(*state, 1, 100, "ok ok ok");
    hear(*state, 0, "ask in @111 gap 1.2 1.1 1.3");
    expect_broken(*state, CHECKER_order, 1);
}

static void a_drop_is_found(void **state)
{
    expect_heard(state, "ask in @100 1.1 1.2 1.4", CHECKER_lost);
}

static void a_drop_of_what_was_taken_of_a_node_not_heard_before_is_found(void **state)
{
    fault_of(*state, 1, 95, 115);
    say(*state, 1, 100, "unknown ok ok");
    say(*state, 3, 115, "took ok");
    hear(*state, 0, "ask in @96 1.2 @120 1.3 3.1 3.2");
    expect_broken(*state, CHECKER_lost, 1);
}

static void a_drop_of_what_was_taken_is_found_where_its_node_was_heard(void **state)
{
    fault_of(*state, 1, 105, 115);
    say(*state, 1, 105, "unknown ok");
    say(*state, 3, 95, "ok");
    hear(*state, 0, "ask in @96 3.1 @116 1.2");
    expect_broken(*state, CHECKER_lost, 1);
}

static void a_drop_of_the_first_is_found(void **state)
{
    expect_heard(state, "ask in @100 1.2 1.3 1.4", CHECKER_lost);
}

static void a_drop_of_the_last_is_found(void **state)
{
    expect_heard(state, "ask in @100 1.1 1.2 1.3", CHECKER_lost);
}

static void a_drop_before_a_leave_is_found_by_what_followed(void **state)
{
    expect_heard(state, "ask in @100 1.1 1.3 bye out", CHECKER_lost);
}

static void a_drop_whose_outcome_was_unknown_is_found(void **state)
{
    fault(*state, 105, 115);
    say(*state, 1, 100, "ok unknown ok");
    hear(*state, 0, "ask in @100 1.1 1.3");
    hear(*state, 1, "ask in @100 1.1 1.2 1.3");
    expect_broken(*state, CHECKER_lost, 1);
}

static void a_drop_of_what_was_taken_is_found(void **state)
{
    say(*state, 1, 100, "took took took");
    hear(*state, 0, "ask in @100 1.1 1.3");
    expect_broken(*state, CHECKER_lost, 1);
}

static void a_drop_on_its_own_node_is_found_though_a_gap_tells(void **state)
{
    fault(*state, 105, 130);
    say(*state, 0, 100, "ok unknown ok");
    hear(*state, 0, "ask in @100 0.1 @116 gap @120 0.3");
    expect_broken(*state, CHECKER_lost, 1);
}

static void a_drop_on_its_own_node_is_told_where_there_is_one_order(void **state)
{
    history_t *history = *state;

    history->ordered[0] = true;
    fault(history, 105, 130);
    say(history, 0, 100, "ok unknown ok");
    hear(history, 0, "ask in @100 0.1 @116 gap @120 0.3");
    expect_clean(history);
}

static void a_topic_that_is_deaf_behind_its_gap_is_found(void **state)
{
    fault(*state, 101, 105);
    say(*state, 1, 100, "ok ok ok ok");
    hear(*state, 0, "ask in @100 1.1 @106 gap");
    expect_broken(*state, CHECKER_lost, 3);
}

static void a_gap_says_nothing_of_what_is_sent_later(void **state)
{
    fault(*state, 101, 130);
    say(*state, 1, 100, "ok ok ok");
    hear(*state, 0, "ask in @100 1.1 @106 gap @120 1.3");
    expect_broken(*state, CHECKER_lost, 1);
}

static void a_gap_after_the_next_message_is_too_late(void **state)
{
    fault(*state, 105, 130);
    say(*state, 1, 100, "ok ok ok");
    hear(*state, 0, "ask in @100 1.1 @120 1.3 gap");
    expect_broken(*state, CHECKER_lost, 1);
}

static void a_gap_before_what_came_before_the_loss_is_of_no_use(void **state)
{
    fault(*state, 95, 130);
    say(*state, 1, 100, "ok ok ok");
    hear(*state, 0, "ask in @115 gap 1.1 @120 1.3");
    expect_broken(*state, CHECKER_lost, 1);
}

static void a_loss_of_one_publisher_is_not_told_by_a_gap_elsewhere(void **state)
{
    fault(*state, 105, 130);
    say(*state, 1, 100, "ok ok ok");
    say(*state, 3, 100, "ok ok ok");
    hear(*state, 0, "ask in @100 1.1 3.1 1.3 @121 gap 3.3");
    expect_broken(*state, CHECKER_lost, 1);
}

/* ---- losses without a cause ---- */

static void a_loss_long_before_the_fault_is_found(void **state)
{
    fault(*state, 141, 150);
    say(*state, 1, 100, "ok ok");
    hear(*state, 0, "ask in @100 1.1 @151 gap");
    expect_broken(*state, CHECKER_causeless, 1);
}

static void a_loss_behind_the_outage_is_found(void **state)
{
    fault(*state, 101, 109);
    expect_lost(state, "ok ok ok", CHECKER_causeless);
}

static void a_loss_of_what_the_broker_had_is_found_where_its_publisher_alone_was_out(void **state)
{
    fault_of(*state, 1, 105, 130);
    say(*state, 1, 100, "ok ok ok");
    hear(*state, 0, "ask in @100 1.1 @116 lost:1 @120 1.3");
    expect_broken(*state, CHECKER_causeless, 1);
}

static void a_loss_in_a_fault_that_nobody_felt_is_found(void **state)
{
    fault_alone(*state, 105, 130);
    recover(*state, 131);
    say(*state, 1, 100, "ok took ok");
    hear(*state, 0, "ask in @100 1.1 @120 lost:1 1.3");
    expect_broken(*state, CHECKER_causeless, 1);
}

/* ---- gaps without a cause ---- */

static void a_gap_without_cause_is_found(void **state)
{
    expect_heard(state, "ask in @100 1.1 1.2 gap 1.3 1.4", CHECKER_groundless);
}

static void a_gap_on_a_node_that_stayed_connected_is_found(void **state)
{
    fault_of(*state, 1, 115, 115);
    say(*state, 1, 100, "ok ok");
    hear(*state, 0, "ask in @100 1.1 1.2 @116 gap");
    expect_broken(*state, CHECKER_groundless, 1);
}

static void a_second_gap_of_one_connection_is_found(void **state)
{
    fault(*state, 115, 115);
    say(*state, 1, 100, "ok ok");
    hear(*state, 0, "ask in @100 1.1 1.2 @116 gap gap");
    expect_broken(*state, CHECKER_groundless, 1);
}

static void a_gap_long_after_the_connection_is_found(void **state)
{
    fault(*state, 90, 90);
    say(*state, 1, 100, "ok ok");
    hear(*state, 0, "ask in @100 1.1 1.2 @121 gap");
    hear(*state, 1, "ask in @100 1.1 1.2 @119 gap");
    expect_broken(*state, CHECKER_groundless, 1);
}

static void a_gap_before_the_fault_is_found(void **state)
{
    fault(*state, 115, 115);
    say(*state, 1, 100, "ok ok");
    hear(*state, 0, "ask in @100 1.1 gap @111 1.2");
    expect_broken(*state, CHECKER_groundless, 1);
}

static void a_join_that_the_broker_kept_waiting_may_be_told(void **state)
{
    fault_alone(*state, 100, 115);
    recover(*state, 116);
    hear(*state, 0, "@101 ask @110 in @116 gap");
    expect_clean(*state);
}

static void a_join_in_a_fault_is_told_as_often_as_need_be(void **state)
{
    fault(*state, 100, 115);
    hear(*state, 0, "@110 ask in @116 gap gap gap");
    expect_clean(*state);
}

static void a_join_in_a_fault_is_not_told_when_that_is_over(void **state)
{
    fault(*state, 100, 115);
    hear(*state, 0, "@110 ask in @116 gap @150 gap");
    expect_broken(*state, CHECKER_groundless, 1);
}

static void a_join_whose_topic_has_waited_before_may_be_told(void **state)
{
    fault_alone(*state, 100, 115);
    recover(*state, 116);
    hear(*state, 0, "@117 ask in gap");
    expect_clean(*state);
}

static void more_missing_numbers_than_were_lost_are_found(void **state)
{
    fault_of(*state, 1, 105, 130);
    say(*state, 1, 100, "ok unknown ok");
    hear(*state, 0, "ask in @100 1.1 @120 lost:3 1.3");
    expect_broken(*state, CHECKER_groundless, 1);
}

static void missing_numbers_that_are_told_twice_are_found(void **state)
{
    fault_of(*state, 1, 105, 130);
    say(*state, 1, 100, "ok unknown ok ok");
    hear(*state, 0, "ask in @100 1.1 @120 lost:1 1.3 @131 lost:1 1.4");
    expect_broken(*state, CHECKER_groundless, 1);
}

static void missing_numbers_that_were_heard_are_found(void **state)
{
    expect_heard(state, "ask in @100 1.1 1.2 @120 lost:1 1.3 @130 1.4", CHECKER_groundless);
}

static void a_full_mailbox_is_found(void **state)
{
    expect_heard(state, "ask in @100 1.1 1.2 full 1.3 1.4", CHECKER_groundless);
}

/* ---- one order ---- */

static void expect_order(void **state, const char *one, const char *other, uint64_t times)
{
    history_t *history = *state;

    history->ordered[0] = true;
    say(history, 0, 100, "ok ok");
    say(history, 1, 100, "ok ok");
    hear(history, 0, one);
    hear(history, 1, other);
    expect_broken(history, CHECKER_one_order, times);
}

static void two_orders_are_found(void **state)
{
    expect_order(state, "ask in @100 0.1 1.1 @111 0.2 1.2", "ask in @100 1.1 0.1 @111 0.2 1.2", 1);
}

static void two_orders_far_apart_are_found(void **state)
{
    expect_order(state, "ask in @100 0.1 0.2 @111 1.1 1.2", "ask in @100 1.1 1.2 @111 0.1 0.2", 1);
}

static void two_orders_of_two_joins_are_found(void **state)
{
    history_t *history = *state;

    history->ordered[0] = true;
    say(history, 0, 100, "ok ok");
    say(history, 1, 100, "ok ok");
    hear(history, 0, "@115 ask in 1.2 0.2");
    hear(history, 1, "ask in @100 0.1 1.1 bye out ask in @111 0.2 1.2");
    expect_broken(history, CHECKER_one_order, 1);
}

static void different_orders_are_clean_where_none_is_promised(void **state)
{
    say(*state, 0, 100, "ok");
    say(*state, 1, 100, "ok");
    hear(*state, 0, "ask in @100 0.1 1.1");
    hear(*state, 1, "ask in @100 1.1 0.1");
    expect_clean(*state);
}

static void what_is_kept_has_no_order(void **state)
{
    history_t *history = *state;

    history->ordered[0] = true;
    fault(history, 95, 130);
    say(history, 0, 100, "kept ok");
    say(history, 1, 101, "ok ok");
    hear(history, 0, "ask in @101 1.1 0.1 @112 0.2 1.2");
    hear(history, 2, "ask in @101 0.1 1.1 @112 0.2 1.2");
    expect_clean(history);
}

static void one_order_with_holes_is_one(void **state)
{
    history_t *history = *state;

    history->ordered[0] = true;
    fault(history, 95, 130);
    say(history, 0, 100, "ok ok");
    say(history, 1, 101, "ok ok");
    hear(history, 0, "ask in @102 gap @111 0.2 1.2");
    hear(history, 1, "ask in @101 0.1 1.1 @112 gap @121 1.2");
    hear(history, 0, "@140 bye out");
    hear(history, 1, "@140 bye out");
    assert_int_equal(judge(history).broken[CHECKER_one_order], 0);
}

/* ---- joins ---- */

static void a_message_before_the_join_reply_is_found(void **state)
{
    expect_heard(state, "@100 ask 1.1 in @115 1.2 1.3 1.4", CHECKER_early);
}

static void a_gap_before_the_join_reply_is_found(void **state)
{
    expect_heard(state, "@90 ask gap in 1.1 1.2 1.3 1.4", CHECKER_early);
}

static void a_message_after_the_leave_reply_is_found(void **state)
{
    expect_heard(state, "ask in @100 1.1 1.2 bye 1.3 out 1.4", CHECKER_late);
}

static void a_gap_after_the_leave_reply_is_found(void **state)
{
    expect_heard(state, "ask in @100 1.1 1.2 bye 1.3 out gap", CHECKER_late);
}

static void a_message_of_another_topic_is_found(void **state)
{
    expect_heard(state, "ask in @100 1.1 1.2/1 1.2 1.3 1.4", CHECKER_foreign);
}

static void a_message_that_nobody_sent_is_found(void **state)
{
    expect_heard(state, "ask in @100 1.1 1.2 1.3 1.4 1.5", CHECKER_foreign);
}

static void a_publisher_that_does_not_exist_is_found(void **state)
{
    expect_heard(state, "ask in @100 1.1 1.2 1.3 1.4 4.1", CHECKER_foreign);
}

static void a_join_without_an_answer_is_found(void **state)
{
    expect_heard(state, "ask", CHECKER_unanswered);
}

static void a_leave_without_an_answer_is_found(void **state)
{
    expect_heard(state, "@200 ask in bye", CHECKER_unanswered);
}

static void a_join_that_was_refused_without_a_fault_is_found(void **state)
{
    expect_heard(state, "ask no", CHECKER_join);
}

static void a_connection_that_was_closed_is_found(void **state)
{
    expect_heard(state, "ask in @100 1.1 end", CHECKER_closed);
}

/* ---- publishes ---- */

static void a_failed_publish_that_was_heard_is_found(void **state)
{
    fault(*state, 105, 115);
    say(*state, 0, 100, "ok down ok");
    hear(*state, 0, "ask in @100 0.1 0.2 0.3");
    hear(*state, 1, "ask in @100 0.1 0.3");
    expect_broken(*state, CHECKER_refused, 1);
}

static void what_was_kept_and_heard_elsewhere_is_found(void **state)
{
    fault(*state, 105, 115);
    say(*state, 0, 100, "ok kept ok");
    hear(*state, 0, "ask in @100 0.1 0.2 0.3");
    hear(*state, 1, "ask in @100 0.1 0.2 0.3");
    expect_broken(*state, CHECKER_refused, 1);
}

static void what_was_kept_and_told_nobody_is_found(void **state)
{
    fault(*state, 105, 115);
    say(*state, 0, 100, "ok kept ok");
    hear(*state, 0, "ask in @100 0.1 0.2 0.3");
    hear(*state, 1, "ask in @100 0.1 0.3");
    expect_broken(*state, CHECKER_lost, 1);
}

static void a_publish_without_an_answer_is_found(void **state)
{
    say(*state, 0, 100, "ok ? ok");
    hear(*state, 0, "ask in @100 0.1 0.3");
    expect_broken(*state, CHECKER_unanswered, 1);
}

static void a_publish_that_failed_without_a_fault_is_found(void **state)
{
    say(*state, 0, 100, "ok down ok");
    hear(*state, 0, "ask in @100 0.1 0.3");
    expect_broken(*state, CHECKER_failed, 1);
}

static void a_publish_that_failed_while_another_node_was_out_is_found(void **state)
{
    fault_of(*state, 1, 105, 115);
    say(*state, 0, 100, "ok down ok");
    hear(*state, 0, "ask in @100 0.1 0.3");
    expect_broken(*state, CHECKER_failed, 1);
}

static void what_a_deaf_connection_was_given_may_be_unknown_at_once(void **state)
{
    fault_alone(*state, 95, 95);
    outage(*state, 0, 115, 120);
    recover(*state, 121);
    say(*state, 0, 100, "unknown");
    hear(*state, 0, "ask in @100 0.1");
    expect_clean(*state);
}

static void what_is_unknown_without_a_fault_is_found(void **state)
{
    say(*state, 0, 100, "unknown");
    hear(*state, 0, "ask in @100 0.1");
    expect_broken(*state, CHECKER_failed, 1);
}

static void what_nobody_is_left_to_hear_may_be_unknown(void **state)
{
    history_t *history = *state;

    history->ordered[0] = true;
    say(history, 0, 100, "unknown");
    hear(history, 0, "@99 ask in bye out");
    expect_clean(history);
}

static void what_comes_before_the_subscription_may_be_unknown(void **state)
{
    history_t *history = *state;

    history->ordered[0] = true;
    say(history, 0, 100, "unknown");
    hear(history, 0, "@99 ask @105 in");
    expect_clean(history);
}

static void what_a_member_of_another_node_left_is_no_reason(void **state)
{
    history_t *history = *state;

    history->ordered[0] = true;
    say(history, 0, 100, "unknown");
    hear(history, 1, "@99 ask in bye out");
    expect_broken(history, CHECKER_failed, 1);
}

static void a_publish_that_was_under_way_when_the_fault_came_is_clean(void **state)
{
    fault(*state, 101, 102);
    say(*state, 1, 100, "unknown ok");
    hear(*state, 0, "ask in @103 gap @110 1.2");
    hear(*state, 1, "ask in @100 1.1 @110 1.2");
    expect_clean(*state);
}

/* ---- service ---- */

static void a_node_that_hears_late_after_a_fault_is_found(void **state)
{
    fault_alone(*state, 100, 200);
    say(*state, 0, 300, "ok");
    say(*state, 1, 300, "ok");
    hear(*state, 0, "ask in @301 0.1 1.1");
    hear(*state, 1, "ask in @301 1.1 @701 0.1");
    expect_broken(*state, CHECKER_back, 1);
    assert_int_equal(judge(*state).back_us, 501 * MS);
}

static void a_node_that_never_hears_another_again_is_found(void **state)
{
    fault_alone(*state, 100, 200);
    say(*state, 0, 300, "ok");
    say(*state, 1, 300, "ok");
    hear(*state, 0, "ask in @301 0.1 1.1");
    hear(*state, 1, "ask in @301 1.1 bye out");
    expect_broken(*state, CHECKER_back, 1);
}

static void what_was_sent_before_the_end_of_a_fault_does_not_count(void **state)
{
    fault_alone(*state, 100, 200);
    say(*state, 0, 150, "ok");
    say(*state, 1, 300, "ok");
    hear(*state, 0, "ask in @301 0.1 1.1");
    hear(*state, 1, "ask in @301 1.1 0.1");
    expect_broken(*state, CHECKER_back, 1);
}

static void a_node_that_stays_cut_off_is_found(void **state)
{
    fault_alone(*state, 100, 100);
    recover(*state, 101);
    outage(*state, 0, 100, 601);
    expect_broken(*state, CHECKER_back, 1);
}

static void a_node_that_is_never_connected_again_is_found(void **state)
{
    fault_alone(*state, 100, 100);
    recover(*state, 101);
    outage(*state, 0, 100, UINT64_MAX);
    expect_broken(*state, CHECKER_back, 1);
}

static void an_outage_without_a_fault_is_found(void **state)
{
    outage(*state, 0, 100, 101);
    expect_broken(*state, CHECKER_outage, 1);
}

static void an_outage_before_the_fault_is_found(void **state)
{
    outage(*state, 0, 50, 60);
    fault(*state, 100, 101);
    expect_broken(*state, CHECKER_outage, 1);
}

static void an_outage_long_after_the_fault_is_found(void **state)
{
    fault(*state, 100, 101);
    outage(*state, 0, 602, 603);
    expect_broken(*state, CHECKER_outage, 1);
}

#define CHECKER_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CHECKER_TEST(a_run_in_which_all_is_heard_is_clean),
        CHECKER_TEST(a_loss_that_a_gap_tells_is_clean),
        CHECKER_TEST(a_gap_may_come_behind_all_others),
        CHECKER_TEST(a_loss_that_missing_numbers_tell_is_clean),
        CHECKER_TEST(what_was_under_way_when_the_fault_came_may_be_lost),
        CHECKER_TEST(what_comes_before_a_subscription_that_took_too_long_may_be_lost),
        CHECKER_TEST(what_was_under_way_is_counted),
        CHECKER_TEST(what_was_sent_before_the_join_is_not_owed),
        CHECKER_TEST(what_has_not_come_before_the_leave_is_not_owed),
        CHECKER_TEST(what_failed_is_owed_to_nobody),
        CHECKER_TEST(what_is_kept_is_heard_on_its_node_and_told_elsewhere),
        CHECKER_TEST(what_waited_for_the_broker_is_counted),
        CHECKER_TEST(a_connection_may_be_told_though_nothing_was_lost),
        CHECKER_TEST(a_join_that_is_refused_by_a_fault_is_clean),
        CHECKER_TEST(a_duplicate_is_found),
        CHECKER_TEST(a_late_duplicate_is_found),
        CHECKER_TEST(a_duplicate_behind_a_gap_is_found),
        CHECKER_TEST(a_duplicate_in_another_join_is_none),
        CHECKER_TEST(a_swap_is_found),
        CHECKER_TEST(a_drop_is_found),
        CHECKER_TEST(a_drop_of_what_was_taken_of_a_node_not_heard_before_is_found),
        CHECKER_TEST(a_drop_of_what_was_taken_is_found_where_its_node_was_heard),
        CHECKER_TEST(a_drop_of_the_first_is_found),
        CHECKER_TEST(a_drop_of_the_last_is_found),
        CHECKER_TEST(a_drop_before_a_leave_is_found_by_what_followed),
        CHECKER_TEST(a_drop_whose_outcome_was_unknown_is_found),
        CHECKER_TEST(a_drop_of_what_was_taken_is_found),
        CHECKER_TEST(a_drop_on_its_own_node_is_found_though_a_gap_tells),
        CHECKER_TEST(a_drop_on_its_own_node_is_told_where_there_is_one_order),
        CHECKER_TEST(a_topic_that_is_deaf_behind_its_gap_is_found),
        CHECKER_TEST(a_gap_says_nothing_of_what_is_sent_later),
        CHECKER_TEST(a_gap_after_the_next_message_is_too_late),
        CHECKER_TEST(a_gap_before_what_came_before_the_loss_is_of_no_use),
        CHECKER_TEST(a_loss_of_one_publisher_is_not_told_by_a_gap_elsewhere),
        CHECKER_TEST(a_loss_long_before_the_fault_is_found),
        CHECKER_TEST(a_loss_behind_the_outage_is_found),
        CHECKER_TEST(a_loss_of_what_the_broker_had_is_found_where_its_publisher_alone_was_out),
        CHECKER_TEST(a_loss_in_a_fault_that_nobody_felt_is_found),
        CHECKER_TEST(a_gap_without_cause_is_found),
        CHECKER_TEST(a_gap_on_a_node_that_stayed_connected_is_found),
        CHECKER_TEST(a_second_gap_of_one_connection_is_found),
        CHECKER_TEST(a_gap_long_after_the_connection_is_found),
        CHECKER_TEST(a_gap_before_the_fault_is_found),
        CHECKER_TEST(a_join_that_the_broker_kept_waiting_may_be_told),
        CHECKER_TEST(a_join_in_a_fault_is_told_as_often_as_need_be),
        CHECKER_TEST(a_join_in_a_fault_is_not_told_when_that_is_over),
        CHECKER_TEST(a_join_whose_topic_has_waited_before_may_be_told),
        CHECKER_TEST(more_missing_numbers_than_were_lost_are_found),
        CHECKER_TEST(missing_numbers_that_are_told_twice_are_found),
        CHECKER_TEST(missing_numbers_that_were_heard_are_found),
        CHECKER_TEST(a_full_mailbox_is_found),
        CHECKER_TEST(two_orders_are_found),
        CHECKER_TEST(two_orders_far_apart_are_found),
        CHECKER_TEST(two_orders_of_two_joins_are_found),
        CHECKER_TEST(different_orders_are_clean_where_none_is_promised),
        CHECKER_TEST(what_is_kept_has_no_order),
        CHECKER_TEST(one_order_with_holes_is_one),
        CHECKER_TEST(a_message_before_the_join_reply_is_found),
        CHECKER_TEST(a_gap_before_the_join_reply_is_found),
        CHECKER_TEST(a_message_after_the_leave_reply_is_found),
        CHECKER_TEST(a_gap_after_the_leave_reply_is_found),
        CHECKER_TEST(a_message_of_another_topic_is_found),
        CHECKER_TEST(a_message_that_nobody_sent_is_found),
        CHECKER_TEST(a_publisher_that_does_not_exist_is_found),
        CHECKER_TEST(a_join_without_an_answer_is_found),
        CHECKER_TEST(a_leave_without_an_answer_is_found),
        CHECKER_TEST(a_join_that_was_refused_without_a_fault_is_found),
        CHECKER_TEST(a_connection_that_was_closed_is_found),
        CHECKER_TEST(a_failed_publish_that_was_heard_is_found),
        CHECKER_TEST(what_was_kept_and_heard_elsewhere_is_found),
        CHECKER_TEST(what_was_kept_and_told_nobody_is_found),
        CHECKER_TEST(a_publish_without_an_answer_is_found),
        CHECKER_TEST(a_publish_that_failed_without_a_fault_is_found),
        CHECKER_TEST(a_publish_that_failed_while_another_node_was_out_is_found),
        CHECKER_TEST(what_a_deaf_connection_was_given_may_be_unknown_at_once),
        CHECKER_TEST(what_is_unknown_without_a_fault_is_found),
        CHECKER_TEST(what_nobody_is_left_to_hear_may_be_unknown),
        CHECKER_TEST(what_comes_before_the_subscription_may_be_unknown),
        CHECKER_TEST(what_a_member_of_another_node_left_is_no_reason),
        CHECKER_TEST(a_publish_that_was_under_way_when_the_fault_came_is_clean),
        CHECKER_TEST(a_node_that_hears_late_after_a_fault_is_found),
        CHECKER_TEST(a_node_that_never_hears_another_again_is_found),
        CHECKER_TEST(what_was_sent_before_the_end_of_a_fault_does_not_count),
        CHECKER_TEST(a_node_that_stays_cut_off_is_found),
        CHECKER_TEST(a_node_that_is_never_connected_again_is_found),
        CHECKER_TEST(an_outage_without_a_fault_is_found),
        CHECKER_TEST(an_outage_before_the_fault_is_found),
        CHECKER_TEST(an_outage_long_after_the_fault_is_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
