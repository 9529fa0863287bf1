/* test/history.h - what happened in a run with several nodes, written down to be judged later
 * (checker.h): every publish and what became of it, and for every member, in the order of its
 * connection, what it asked for and what it heard. All times are of one clock.
 *
 * Publishes are written by their publisher's thread and completed on any; a member by one thread at
 * a time; the rest is for one thread, once they have ended. */
#pragma once

#include <stdatomic.h>

#include "bus/bus.h"

#define HISTORY_FAULTS_MAX 8
#define HISTORY_OUTAGES_MAX 512
#define HISTORY_LOOK_US 20000 /* more than between two looks at a node */

typedef enum history_kind {
    HISTORY_JOIN_ASKED,
    HISTORY_JOINED,
    HISTORY_REFUSED, /* the join was */
    HISTORY_LEAVE_ASKED,
    HISTORY_LEFT,
    HISTORY_MESSAGE,
    HISTORY_GAP,
    HISTORY_CLOSED, /* the connection has ended; nobody asked for that */
} history_kind_t;

typedef struct history_event {
    uint64_t at_us;
    history_kind_t kind;
    uint32_t topic;
    uint32_t publisher;      /* message */
    uint32_t number;         /* message; gap: how many were missed, where it says so */
    hub_gap_reason_t reason; /* gap */
} history_event_t;

/* What its publisher was told. */
typedef enum history_outcome {
    HISTORY_SENT,     /* the broker has it */
    HISTORY_ACCEPTED, /* it was taken; whether it left is not known, or not told */
    HISTORY_KEPT,     /* it was taken, and heard on its own node at most; others are told a gap */
    HISTORY_FAILED,   /* nobody hears it */
} history_outcome_t;

/* One connection. It is in one topic at a time at most. */
typedef struct history_member {
    uint32_t node;
    history_event_t *events;
    size_t count;
    size_t capacity;
} history_member_t;

typedef struct history_publish {
    uint64_t sent_us;
    atomic_ullong answered_us; /* 0: not yet; written last */
    atomic_int outcome;
    atomic_int status; /* in words, for people */
} history_publish_t;

/* What one publisher said on one topic: number n is at n - 1. */
typedef struct history_said {
    history_publish_t *publishes;
    uint32_t count;
    uint32_t capacity;
} history_said_t;

typedef struct history_fault {
    uint64_t begin_us;
    uint64_t end_us; /* the broker takes connections again, and nothing is in the way */
} history_fault_t;

/* A time in which a node had no connection that works. */
typedef struct history_outage {
    uint32_t node;
    uint64_t begin_us;    /* not later than it began */
    uint64_t end_us;      /* not sooner than it ended; UINT64_MAX: it goes on */
    uint64_t connections; /* that were made in it; one that was lost at once counts */
} history_outage_t;

typedef struct history {
    uint32_t nodes;
    uint32_t topics;
    uint32_t publishers;
    uint32_t members;
    uint32_t *publisher_nodes;
    bool *ordered; /* [topic]: all members hear it in one order, when it comes from the broker */
    history_said_t *said; /* [publisher * topics + topic] */
    history_member_t *member;
    history_fault_t faults[HISTORY_FAULTS_MAX];
    size_t fault_count;
    history_outage_t outages[HISTORY_OUTAGES_MAX];
    size_t outage_count;
} history_t;

/* All on node 0, no topic ordered; `publishes_max` for each publisher and topic. */
history_t *history_create(uint32_t nodes, uint32_t topics, uint32_t publishers, uint32_t members,
                          uint32_t publishes_max);
void history_destroy(history_t *history);

static inline history_said_t *history_said(const history_t *history, uint32_t publisher,
                                           uint32_t topic)
{
    return &history->said[publisher * history->topics + topic];
}

/* NULL: nobody said that. */
static inline const history_publish_t *history_find(const history_t *history, uint32_t publisher,
                                                    uint32_t topic, uint32_t number)
{
    const history_said_t *said = history_said(history, publisher, topic);

    return number >= 1 && number <= said->count ? &said->publishes[number - 1] : NULL;
}

static inline history_outcome_t history_outcome(const history_publish_t *publish)
{
    return (history_outcome_t)atomic_load(&publish->outcome);
}

/* The next number of this publisher and topic, sent now; 0: there is no more room. */
uint32_t history_say(history_t *history, uint32_t publisher, uint32_t topic, uint64_t now_us);
/* What became of it. Any thread. */
void history_answer(history_t *history, uint32_t publisher, uint32_t topic, uint32_t number,
                    history_outcome_t outcome, hub_status_t status, uint64_t now_us);
void history_add(history_t *history, uint32_t member, history_event_t event);
