/* test/checker.h - judges a history: whether several nodes kept every promise that they made to
 * their members, whatever was done to the broker between them.
 *
 * A message is owed to a member when its publish was accepted, or its outcome is unknown, and the
 * member had joined before it was sent (or has heard an earlier one of that publisher), and has
 * heard a later one or is still there at the end. Owed and not heard, it must be covered by a gap
 * notice between what the member heard of that publisher before and after it. */
#pragma once

#include "test/history.h"

/* X(name, what it is) */
#define CHECKER_RULES(X)                                                                           \
    X(duplicate, "a message came twice inside a join")                                             \
    X(order, "messages of one publisher came in another order")                                    \
    X(lost, "a message is missing, and no gap notice tells")                                       \
    X(early, "a message or gap came before the join reply")                                        \
    X(late, "a message or gap came after the leave reply")                                         \
    X(foreign, "a message came that nobody sent, or on another topic")                             \
    X(refused, "a message came whose publisher was told that it failed")                           \
    X(groundless, "a gap notice without a fault and without a loss")                               \
    X(unanswered, "a publish, a join or a leave was never answered")                               \
    X(failed, "a publish failed without a fault")                                                  \
    X(join, "a join was refused without a fault")                                                  \
    X(closed, "a connection was closed")                                                           \
    X(back, "messages crossed the nodes too late after the fault")

typedef enum checker_rule {
#define CHECKER_RULE(name, text) CHECKER_##name,
    CHECKER_RULES(CHECKER_RULE)
#undef CHECKER_RULE
        CHECKER_RULE_COUNT
} checker_rule_t;

typedef struct checker_limits {
    uint64_t back_us;  /* the first message of each node on each other one, after a fault's end */
    uint64_t grace_us; /* so long after a fault's end gaps and refused joins are of it */
} checker_limits_t;

typedef struct checker_report {
    uint64_t broken[CHECKER_RULE_COUNT];
    uint64_t all;                        /* the sum of those */
    char first[CHECKER_RULE_COUNT][160]; /* the first of each, in words */
    /* Whether there was anything to judge. */
    uint64_t publishes, accepted, unknown, failed;
    uint64_t joins, heard, gaps;
    uint64_t covered; /* owed, not heard, and told by a gap */
    uint64_t back_us; /* the longest that it took */
} checker_report_t;

/* Pure. */
void checker_run(const history_t *history, const checker_limits_t *limits,
                 checker_report_t *ret_report);
const char *checker_rule_name(checker_rule_t rule);
