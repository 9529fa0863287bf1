/* SPDX-License-Identifier: MIT */
/* Each member's events are walked once. A join has, for every publisher, the last number heard of
 * it and how many gap notices there were by then: what lies between that and the next number is the
 * whole question. */
#include "test/checker.h"

#include "bus/buffer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test/cause.h"
#include "test/one_order.h"

enum stage {
    STAGE_OUT,
    STAGE_ASKED,
    STAGE_IN,
    STAGE_LEAVING,
};

struct heard {
    uint32_t last;    /* the highest number; 0: none yet */
    size_t gaps_then; /* of the join, when it came */
    bool *seen;       /* [number - 1] */
};

/* The one that is walked. */
struct walk {
    const history_t *history;
    const checker_limits_t *limits;
    checker_report_t *report;
    uint32_t member;
    enum stage stage;
    uint32_t topic;
    uint64_t asked_us, joined_us;
    bool *was_in;        /* [topic] */
    struct heard *heard; /* [publisher] */
    uint64_t *gaps_us;   /* of the join */
    size_t gap_count, gap_capacity;
    uint64_t told_bus;         /* gaps, in the join */
    uint64_t told_lost;        /* messages, by gaps in the join */
    history_event_t last_lost; /* the last of those */
};

static const char *const names[] = {
#define CHECKER_NAME(name, text) #name,
    CHECKER_RULES(CHECKER_NAME)
#undef CHECKER_NAME
};

static const char *const texts[] = {
#define CHECKER_TEXT(name, text) text,
    CHECKER_RULES(CHECKER_TEXT)
#undef CHECKER_TEXT
};

const char *checker_rule_name(checker_rule_t rule)
{
    return names[rule];
}

/* ---- what is broken ---- */

static void note(checker_report_t *report, checker_rule_t rule, const char *where)
{
    report->all++;
    if (report->broken[rule]++ == 0)
        snprintf(report->first[rule], sizeof(report->first[rule]), "%s: %s", texts[rule], where);
}

static void note_member(struct walk *walk, checker_rule_t rule, const history_event_t *event)
{
    char where[100];

    if (event->kind == HISTORY_GAP)
        snprintf(where, sizeof(where),
                 "member %u, topic %u, %s, missed %u, at %.6f s, asked %.6f s", walk->member,
                 event->topic, hub_gap_reason_name(event->reason), event->number,
                 (double)event->at_us / 1e6, (double)walk->asked_us / 1e6);
    else
        snprintf(where, sizeof(where), "member %u, topic %u, publisher %u, number %u, at %.6f s",
                 walk->member, event->topic, event->publisher, event->number,
                 (double)event->at_us / 1e6);
    note(walk->report, rule, where);
}

/* ---- publishes ---- */

static bool is_answered(const history_publish_t *publish)
{
    return atomic_load(&publish->answered_us) != 0;
}

/* Members hear it, or have to be told. */
static bool counts(const history_publish_t *publish)
{
    return is_answered(publish) && history_outcome(publish) != HISTORY_FAILED;
}

/* What is not known may be so because the broker took its time, before anybody knows that the
 * connection carries nothing, and where there is one order because nobody may have been here to
 * hear it. */
static bool is_known(const history_t *history, uint64_t before_us, uint32_t node, uint32_t topic,
                     const history_publish_t *publish)
{
    return atomic_load(&publish->status) != HUB_EUNKNOWN ||
           (!cause_loses(history, node, publish->sent_us, before_us) &&
            !cause_is_fault(history, publish->sent_us, before_us) &&
            (!history->ordered[topic] || !cause_moved(history, node, topic, publish->sent_us,
                                                      atomic_load(&publish->answered_us))));
}

static void check_publish(const history_t *history, const checker_limits_t *limits,
                          checker_report_t *report, uint32_t node, uint32_t topic,
                          const history_publish_t *publish, const char *where)
{
    uint64_t answered_us = atomic_load(&publish->answered_us);
    bool out;

    report->publishes++;
    if (answered_us == 0) {
        note(report, CHECKER_unanswered, where);
        return;
    }
    out = cause_is_out(history, node, publish->sent_us, answered_us);
    report->sent += history_outcome(publish) == HISTORY_SENT;
    report->accepted += history_outcome(publish) == HISTORY_ACCEPTED;
    report->kept += history_outcome(publish) == HISTORY_KEPT;
    report->failed += history_outcome(publish) == HISTORY_FAILED;
    report->rejoined += history_outcome(publish) == HISTORY_SENT && out;
    report->under_way += history->fault_count > 0 &&
                         publish->sent_us < history->faults[0].begin_us &&
                         answered_us > history->faults[0].begin_us;
    if (atomic_load(&publish->status) != HUB_OK && !out &&
        is_known(history, limits->grace_us, node, topic, publish))
        note(report, CHECKER_failed, where);
}

static void check_publishes(const history_t *history, const checker_limits_t *limits,
                            checker_report_t *report)
{
    for (uint32_t publisher = 0; publisher < history->publishers; publisher++) {
        for (uint32_t topic = 0; topic < history->topics; topic++) {
            const history_said_t *said = history_said(history, publisher, topic);

            for (uint32_t i = 0; i < said->count; i++) {
                char where[100];

                snprintf(where, sizeof(where), "publisher %u, topic %u, number %u, %s at %.6f s",
                         publisher, topic, i + 1,
                         hub_status_name((hub_status_t)atomic_load(&said->publishes[i].status)),
                         (double)said->publishes[i].sent_us / 1e6);
                check_publish(history, limits, report, history->publisher_nodes[publisher], topic,
                              &said->publishes[i], where);
            }
        }
    }
}

/* ---- one join ---- */

static void begin_join(struct walk *walk, const history_event_t *event)
{
    for (uint32_t i = 0; i < walk->history->publishers; i++) {
        const history_said_t *said = history_said(walk->history, i, event->topic);

        walk->heard[i] = (struct heard){.seen = hub__alloc_zeroed(said->count + 1)};
    }
    walk->stage = STAGE_IN;
    walk->joined_us = event->at_us;
    walk->gap_count = 0;
    walk->told_bus = walk->told_lost = 0;
    walk->was_in[event->topic] = true;
    walk->report->joins++;
}

static uint32_t node_of(const struct walk *walk)
{
    return walk->history->member[walk->member].node;
}

/* Whether it comes to this member without a broker between. */
static bool is_own(const struct walk *walk, uint32_t publisher)
{
    return walk->history->publisher_nodes[publisher] == node_of(walk) &&
           !walk->history->ordered[walk->topic];
}

/* Of what did not come. Who is told of it was told after it was sent. */
static bool is_told(const struct walk *walk, const struct heard *heard,
                    const history_publish_t *publish)
{
    return walk->gap_count > heard->gaps_then &&
           walk->gaps_us[walk->gap_count - 1] >= publish->sent_us;
}

/* What the broker has is lost on its way to the member alone, or was before it had the member's
 * subscription, for which the join has not waited. */
static bool has_cause(const struct walk *walk, uint32_t publisher, const history_publish_t *publish)
{
    const history_t *history = walk->history;
    uint64_t before_us = walk->limits->grace_us;

    return cause_loses(history, node_of(walk), publish->sent_us, before_us) ||
           cause_waits(history, node_of(walk), walk->asked_us, publish->sent_us, before_us) ||
           (history_outcome(publish) != HISTORY_SENT &&
            cause_loses(history, history->publisher_nodes[publisher], publish->sent_us, before_us));
}

static void judge_missing(struct walk *walk, uint32_t publisher, const history_publish_t *publish,
                          const history_event_t *missing)
{
    if (is_own(walk, publisher) || !is_told(walk, &walk->heard[publisher], publish)) {
        note_member(walk, CHECKER_lost, missing);
        return;
    }
    walk->report->covered++;
    if (!has_cause(walk, publisher, publish))
        note_member(walk, CHECKER_causeless, missing);
}

/* Numbers of the publisher from the last one heard to `next`, both left out, did not come before
 * this point of the walk. */
static void check_missing(struct walk *walk, uint32_t publisher, uint32_t next,
                          const history_event_t *event)
{
    const struct heard *heard = &walk->heard[publisher];

    for (uint32_t number = heard->last + 1; number < next; number++) {
        const history_publish_t *publish =
            history_find(walk->history, publisher, walk->topic, number);
        history_event_t missing = {
            .at_us = event->at_us, .topic = walk->topic, .publisher = publisher, .number = number};

        if (counts(publish) && (heard->last != 0 || publish->sent_us > walk->joined_us))
            judge_missing(walk, publisher, publish, &missing);
    }
}

/* So many messages of other nodes, sent until then, did not come to this join. Those before it
 * count: whoever joins a topic that others have joined may hear of what they lost. */
static uint64_t count_missing(const struct walk *walk, uint64_t until_us)
{
    uint64_t missing = 0;

    for (uint32_t i = 0; i < walk->history->publishers; i++) {
        const history_said_t *said = history_said(walk->history, i, walk->topic);

        for (uint32_t k = 0; k < said->count && !is_own(walk, i); k++) {
            const history_publish_t *publish = &said->publishes[k];

            missing += publish->sent_us <= until_us && !walk->heard[i].seen[k] && counts(publish);
        }
    }
    return missing;
}

static void end_join(struct walk *walk, bool still_there, const history_event_t *event)
{
    if (walk->told_lost > 0 && walk->told_lost > count_missing(walk, walk->last_lost.at_us))
        note_member(walk, CHECKER_groundless, &walk->last_lost);
    for (uint32_t i = 0; i < walk->history->publishers; i++) {
        const history_said_t *said = history_said(walk->history, i, walk->topic);

        if (still_there)
            check_missing(walk, i, said->count + 1, event);
        free(walk->heard[i].seen);
    }
}

/* Whether this member may hear it at all. */
static bool is_public(const struct walk *walk, uint32_t publisher, const history_publish_t *publish)
{
    if (!is_answered(publish)) /* which is said elsewhere */
        return true;
    return history_outcome(publish) != HISTORY_FAILED &&
           (history_outcome(publish) != HISTORY_KEPT ||
            walk->history->publisher_nodes[publisher] == node_of(walk));
}

static void hear(struct walk *walk, const history_event_t *event)
{
    struct heard *heard = &walk->heard[event->publisher];
    const history_publish_t *publish =
        history_find(walk->history, event->publisher, event->topic, event->number);

    walk->report->heard++;
    if (publish == NULL) {
        note_member(walk, CHECKER_foreign, event);
    } else if (heard->seen[event->number - 1]) {
        note_member(walk, CHECKER_duplicate, event);
    } else if (event->number < heard->last) {
        note_member(walk, CHECKER_order, event);
        heard->seen[event->number - 1] = true;
    } else {
        if (!is_public(walk, event->publisher, publish))
            note_member(walk, CHECKER_refused, event);
        check_missing(walk, event->publisher, event->number, event);
        heard->seen[event->number - 1] = true;
        heard->last = event->number;
        heard->gaps_then = walk->gap_count;
    }
}

/* A gap `bus` is told behind each connection, soon and once, but to who has joined while the broker
 * took its time: at its first message and when the topic stands, and whenever a join is answered
 * without. */
static bool is_grounded(struct walk *walk, uint64_t now_us)
{
    const history_t *history = walk->history;
    uint64_t grace_us = walk->limits->grace_us, from_us = now_us < grace_us ? 0 : now_us - grace_us;
    uint32_t node = node_of(walk);

    walk->told_bus++;
    return cause_waits(history, node, walk->asked_us, now_us, grace_us) ||
           (cause_is_out(history, node, from_us, now_us) &&
            walk->told_bus <= cause_connections(history, node, walk->asked_us, now_us));
}

static void judge_gap(struct walk *walk, const history_event_t *event)
{
    if (event->reason == HUB_GAP_LOST) { /* what comes later is not missing: so at the end */
        walk->told_lost += event->number;
        walk->last_lost = *event;
    } else if (event->reason != HUB_GAP_BUS || !is_grounded(walk, event->at_us)) {
        note_member(walk, CHECKER_groundless, event);
    }
}

static void take_gap(struct walk *walk, const history_event_t *event)
{
    if (walk->gap_count == walk->gap_capacity) {
        walk->gap_capacity = 2 * walk->gap_capacity + 16;
        walk->gaps_us = hub__realloc(walk->gaps_us, walk->gap_capacity * sizeof(uint64_t));
    }
    walk->gaps_us[walk->gap_count++] = event->at_us;
    walk->report->gaps++;
    judge_gap(walk, event);
}

/* ---- one member ---- */

/* It is not in the topic of this message or gap. */
static void note_misplaced(struct walk *walk, const history_event_t *event)
{
    bool asked = walk->stage == STAGE_ASKED && walk->topic == event->topic;

    note_member(walk,
                asked ? CHECKER_early
                : event->topic < walk->history->topics && walk->was_in[event->topic]
                    ? CHECKER_late
                    : CHECKER_foreign,
                event);
}

static void take_heard(struct walk *walk, const history_event_t *event)
{
    bool in = walk->stage == STAGE_IN || walk->stage == STAGE_LEAVING;

    if (!in || walk->topic != event->topic)
        note_misplaced(walk, event);
    else if (event->kind == HISTORY_GAP)
        take_gap(walk, event);
    else if (event->publisher < walk->history->publishers)
        hear(walk, event);
    else
        note_member(walk, CHECKER_foreign, event);
}

static void take(struct walk *walk, const history_event_t *event)
{
    bool in = walk->stage == STAGE_IN || walk->stage == STAGE_LEAVING;

    switch (event->kind) {
    case HISTORY_JOIN_ASKED:
        walk->stage = STAGE_ASKED;
        walk->topic = event->topic;
        walk->asked_us = event->at_us;
        break;
    case HISTORY_JOINED:
        begin_join(walk, event);
        break;
    case HISTORY_REFUSED:
        walk->stage = STAGE_OUT;
        if (!cause_is_out(walk->history, node_of(walk), walk->asked_us, event->at_us))
            note_member(walk, CHECKER_join, event);
        break;
    case HISTORY_LEAVE_ASKED:
        walk->stage = STAGE_LEAVING;
        break;
    case HISTORY_LEFT:
    case HISTORY_CLOSED:
        if (in)
            end_join(walk, false, event);
        walk->stage = STAGE_OUT;
        if (event->kind == HISTORY_CLOSED)
            note_member(walk, CHECKER_closed, event);
        break;
    case HISTORY_MESSAGE:
    case HISTORY_GAP:
        take_heard(walk, event);
        break;
    }
}

static void check_member(struct walk *walk, const history_member_t *member)
{
    static const history_event_t none = {0};
    const history_event_t *last = member->count == 0 ? &none : &member->events[member->count - 1];

    walk->stage = STAGE_OUT;
    for (uint32_t i = 0; i < walk->history->topics; i++)
        walk->was_in[i] = false;
    for (size_t i = 0; i < member->count; i++)
        take(walk, &member->events[i]);
    if (walk->stage == STAGE_ASKED || walk->stage == STAGE_LEAVING)
        note_member(walk, CHECKER_unanswered, last);
    if (walk->stage == STAGE_IN || walk->stage == STAGE_LEAVING)
        end_join(walk, walk->stage == STAGE_IN, last);
}

/* ---- service ---- */

/* When a message sent behind `fault` on `from` was first heard on `to`; UINT64_MAX: never. */
static uint64_t find_crossing(const history_t *history, const history_fault_t *fault, uint32_t from,
                              uint32_t to)
{
    uint64_t first_us = UINT64_MAX;

    for (uint32_t m = 0; m < history->members; m++) {
        const history_member_t *member = &history->member[m];

        for (size_t i = 0; i < member->count && member->node == to; i++) {
            const history_event_t *event = &member->events[i];
            const history_publish_t *publish;

            if (event->kind != HISTORY_MESSAGE || event->at_us < fault->end_us ||
                event->at_us >= first_us || event->publisher >= history->publishers ||
                history->publisher_nodes[event->publisher] != from)
                continue;
            publish = history_find(history, event->publisher, event->topic, event->number);
            if (publish != NULL && publish->sent_us >= fault->end_us)
                first_us = event->at_us;
        }
    }
    return first_us;
}

static void check_back(const history_t *history, const checker_limits_t *limits,
                       checker_report_t *report, const history_fault_t *fault)
{
    for (uint32_t from = 0; from < history->nodes; from++) {
        for (uint32_t to = 0; to < history->nodes; to++) {
            uint64_t at_us = from == to ? fault->end_us : find_crossing(history, fault, from, to);
            char where[100];

            if (at_us != UINT64_MAX && at_us - fault->end_us > report->back_us)
                report->back_us = at_us - fault->end_us;
            snprintf(where, sizeof(where), "from node %u to node %u, %.3f s", from, to,
                     at_us == UINT64_MAX ? -1.0 : (double)(at_us - fault->end_us) / 1e6);
            if (at_us == UINT64_MAX || at_us - fault->end_us > limits->back_us)
                note(report, CHECKER_back, where);
        }
    }
}

/* A fault after which a node is not connected in time. */
static const history_fault_t *find_outlasted(const history_t *history,
                                             const checker_limits_t *limits,
                                             const history_outage_t *outage)
{
    for (size_t i = 0; i < history->fault_count; i++) {
        uint64_t end_us = history->faults[i].end_us;

        if (outage->begin_us <= end_us + limits->back_us &&
            outage->end_us > end_us + limits->back_us)
            return &history->faults[i];
    }
    return NULL;
}

static void check_outages(const history_t *history, const checker_limits_t *limits,
                          checker_report_t *report)
{
    for (size_t i = 0; i < history->outage_count; i++) {
        const history_outage_t *outage = &history->outages[i];
        char where[100];

        snprintf(where, sizeof(where), "node %u, from %.6f s to %.6f s", outage->node,
                 (double)outage->begin_us / 1e6,
                 outage->end_us == UINT64_MAX ? -1.0 : (double)outage->end_us / 1e6);
        if (!cause_explains(history, outage, limits->back_us))
            note(report, CHECKER_outage, where);
        else if (find_outlasted(history, limits, outage) != NULL)
            note(report, CHECKER_back, where);
    }
}

void checker_run(const history_t *history, const checker_limits_t *limits,
                 checker_report_t *ret_report)
{
    struct walk walk = {.history = history, .limits = limits, .report = ret_report};

    *ret_report = (checker_report_t){0};
    walk.was_in = hub__alloc_zeroed(history->topics * sizeof(bool));
    walk.heard = hub__alloc_zeroed(history->publishers * sizeof(*walk.heard));
    check_publishes(history, limits, ret_report);
    for (walk.member = 0; walk.member < history->members; walk.member++)
        check_member(&walk, &history->member[walk.member]);
    for (size_t i = 0; i < history->fault_count; i++)
        check_back(history, limits, ret_report, &history->faults[i]);
    check_outages(history, limits, ret_report);
    for (uint32_t topic = 0; topic < history->topics; topic++) {
        char where[ONE_ORDER_TEXT];

        for (size_t broken = one_order_broken(history, topic, where); broken > 0; broken--)
            note(ret_report, CHECKER_one_order, where);
    }
    free(walk.was_in);
    free(walk.heard);
    free(walk.gaps_us);
}
