/* SPDX-License-Identifier: MIT */
/* Each member's events are walked once. A join has, for every publisher, the last number heard of
 * it and how many gap notices there were by then: what lies between that and the next number is the
 * whole question. */
#include "test/checker.h"

#include "bus/buffer.h"

#include <stdio.h>
#include <stdlib.h>

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
    uint64_t joined_us;
    bool *was_in;        /* [topic] */
    struct heard *heard; /* [publisher] */
    uint64_t *gaps_us;   /* of the join */
    bool *grounded;      /* a loss lies around that gap */
    size_t gap_count, gap_capacity;
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

    snprintf(where, sizeof(where), "member %u, topic %u, publisher %u, number %u, at %.6f s",
             walk->member, event->topic, event->publisher, event->number,
             (double)event->at_us / 1e6);
    note(walk->report, rule, where);
}

/* ---- publishes ---- */

static const history_publish_t *find_publish(const history_t *history, uint32_t publisher,
                                             uint32_t topic, uint32_t number)
{
    const history_said_t *said = history_said(history, publisher, topic);

    return number >= 1 && number <= said->count ? &said->publishes[number - 1] : NULL;
}

/* Members hear it, or have to be told. */
static bool counts(const history_publish_t *publish)
{
    int status = atomic_load(&publish->status);

    return atomic_load(&publish->answered_us) != 0 && (status == HUB_OK || status == HUB_EUNKNOWN);
}

static bool in_fault(const history_t *history, const checker_limits_t *limits, uint64_t at_us)
{
    for (size_t i = 0; i < history->fault_count; i++) {
        const history_fault_t *fault = &history->faults[i];

        if (at_us >= fault->begin_us && at_us <= fault->end_us + limits->grace_us)
            return true;
    }
    return false;
}

static void check_publish(const history_t *history, const checker_limits_t *limits,
                          checker_report_t *report, const history_publish_t *publish,
                          const char *where)
{
    int status = atomic_load(&publish->status);

    report->publishes++;
    if (atomic_load(&publish->answered_us) == 0) {
        note(report, CHECKER_unanswered, where);
        return;
    }
    report->accepted += status == HUB_OK;
    report->unknown += status == HUB_EUNKNOWN;
    report->failed += !counts(publish);
    if (status != HUB_OK && !in_fault(history, limits, publish->sent_us) &&
        !in_fault(history, limits, atomic_load(&publish->answered_us)))
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
                check_publish(history, limits, report, &said->publishes[i], where);
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
    walk->was_in[event->topic] = true;
    walk->report->joins++;
}

/* Numbers of the publisher from `heard->last` to `next`, both left out, did not come before this
 * point of the walk. */
static void check_missing(struct walk *walk, uint32_t publisher, uint32_t next, bool owed,
                          const history_event_t *event)
{
    struct heard *heard = &walk->heard[publisher];

    for (uint32_t number = heard->last + 1; number < next; number++) {
        const history_publish_t *publish =
            find_publish(walk->history, publisher, walk->topic, number);
        history_event_t missing = {
            .at_us = event->at_us, .topic = walk->topic, .publisher = publisher, .number = number};

        if (!counts(publish) || (heard->last == 0 && publish->sent_us <= walk->joined_us))
            continue;
        for (size_t i = heard->gaps_then; i < walk->gap_count; i++)
            walk->grounded[i] = true;
        if (!owed)
            continue;
        if (walk->gap_count == heard->gaps_then)
            note_member(walk, CHECKER_lost, &missing);
        else
            walk->report->covered++;
    }
}

static void end_join(struct walk *walk, bool still_there, const history_event_t *event)
{
    for (uint32_t i = 0; i < walk->history->publishers; i++) {
        const history_said_t *said = history_said(walk->history, i, walk->topic);

        check_missing(walk, i, said->count + 1, still_there, event);
        free(walk->heard[i].seen);
    }
    for (size_t i = 0; i < walk->gap_count; i++) {
        history_event_t gap = {.at_us = walk->gaps_us[i], .topic = walk->topic};

        if (!walk->grounded[i] && !in_fault(walk->history, walk->limits, gap.at_us))
            note_member(walk, CHECKER_groundless, &gap);
    }
}

static void hear(struct walk *walk, const history_event_t *event)
{
    struct heard *heard = &walk->heard[event->publisher];
    const history_publish_t *publish =
        find_publish(walk->history, event->publisher, event->topic, event->number);

    walk->report->heard++;
    if (publish == NULL) {
        note_member(walk, CHECKER_foreign, event);
    } else if (heard->seen[event->number - 1]) {
        note_member(walk, CHECKER_duplicate, event);
    } else if (event->number < heard->last) {
        note_member(walk, CHECKER_order, event);
        heard->seen[event->number - 1] = true;
    } else {
        if (atomic_load(&publish->answered_us) != 0 && !counts(publish))
            note_member(walk, CHECKER_refused, event);
        check_missing(walk, event->publisher, event->number, true, event);
        heard->seen[event->number - 1] = true;
        heard->last = event->number;
        heard->gaps_then = walk->gap_count;
    }
}

static void take_gap(struct walk *walk, const history_event_t *event)
{
    if (walk->gap_count == walk->gap_capacity) {
        walk->gap_capacity = 2 * walk->gap_capacity + 16;
        walk->gaps_us = hub__realloc(walk->gaps_us, walk->gap_capacity * sizeof(uint64_t));
        walk->grounded = hub__realloc(walk->grounded, walk->gap_capacity * sizeof(bool));
    }
    walk->gaps_us[walk->gap_count] = event->at_us;
    walk->grounded[walk->gap_count++] = false;
    walk->report->gaps++;
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
        break;
    case HISTORY_JOINED:
        begin_join(walk, event);
        break;
    case HISTORY_REFUSED:
        walk->stage = STAGE_OUT;
        if (!in_fault(walk->history, walk->limits, event->at_us))
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
            publish = find_publish(history, event->publisher, event->topic, event->number);
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
    free(walk.was_in);
    free(walk.heard);
    free(walk.gaps_us);
    free(walk.grounded);
}
