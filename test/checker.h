/* test/checker.h - judges a history: whether several nodes kept every promise that they made to
 * their members, whatever was done to the broker between them.
 *
 * A message is owed to a member when its publish was taken, and the member had joined before it was
 * sent (or has heard an earlier one of that publisher), and has heard a later one or is still there
 * at the end. Owed and not heard, it must be covered by a gap notice that came after it was sent,
 * and between what the member heard of that publisher before and after it: a notice says nothing of
 * what follows it. On its publisher's own node nothing is lost at all, but for topics with one
 * order.
 *
 * Losses and gaps have causes. Lost may be what was sent in a fault, or so shortly before that it
 * was under way, until the node had a connection again: the member's node, or the publisher's where
 * the broker is not known to have had the message. A gap `bus` is told once for each connection
 * that the node has made, a gap `lost` for numbers that did not come. A node loses its connection
 * in a fault alone, and has one again in time. */
#pragma once

#include "test/history.h"

/* X(name, what it is) */
#define CHECKER_RULES(X)                                                                           \
    X(duplicate, "a message came twice inside a join")                                             \
    X(order, "messages of one publisher came in another order")                                    \
    X(one_order, "two members heard two messages of one order in different orders")                \
    X(lost, "a message is missing, and no gap notice tells")                                       \
    X(causeless, "a message was lost that no fault explains")                                      \
    X(early, "a message or gap came before the join reply")                                        \
    X(late, "a message or gap came after the leave reply")                                         \
    X(foreign, "a message came that nobody sent, or on another topic")                             \
    X(refused, "a message came whose publisher was told that it failed")                           \
    X(groundless, "a gap notice without a new connection and without a loss")                      \
    X(unanswered, "a publish, a join or a leave was never answered")                               \
    X(failed, "a publish failed while its node was connected")                                     \
    X(join, "a join was refused while its node was connected")                                     \
    X(closed, "a connection was closed")                                                           \
    X(outage, "a node lost its connection without a fault")                                        \
    X(back, "a node was not back in time after the fault")

typedef enum checker_rule {
#define CHECKER_RULE(name, text) CHECKER_##name,
    CHECKER_RULES(CHECKER_RULE)
#undef CHECKER_RULE
        CHECKER_RULE_COUNT
} checker_rule_t;

typedef struct checker_limits {
    /* After a fault's end: until each node is connected, and until the first message of each node
     * is heard on each other one. */
    uint64_t back_us;
    uint64_t grace_us; /* so long before a fault a message may have been sent that is lost in it,
                          and so long after a connection its gap may come */
} checker_limits_t;

typedef struct checker_report {
    uint64_t broken[CHECKER_RULE_COUNT];
    uint64_t all;                        /* the sum of those */
    char first[CHECKER_RULE_COUNT][200]; /* the first of each, in words */
    /* Whether there was anything to judge. */
    uint64_t publishes, sent, accepted, kept, failed;
    uint64_t under_way; /* when the first fault came */
    uint64_t rejoined;  /* sent in an outage of its node, and at the broker in the end */
    uint64_t joins, heard, gaps;
    uint64_t covered; /* owed, not heard, and told by a gap */
    uint64_t back_us; /* the longest that it took */
} checker_report_t;

/* Pure. */
void checker_run(const history_t *history, const checker_limits_t *limits,
                 checker_report_t *ret_report);
const char *checker_rule_name(checker_rule_t rule);
