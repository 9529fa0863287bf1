/* test/history.h - what happened in a run with several nodes, written down to be judged later
 * (checker.h): every publish and what became of it, and for every member, in the order of its
 * connection, what it asked for and what it heard. All times are of one clock.
 *
 * Publishes are written by their publisher's thread and completed on any; a member by one thread at
 * a time; the rest is for one thread, once they have ended. */
#pragma once

#include <stdatomic.h>

#include "bus/base.h"

#define HISTORY_FAULTS_MAX 8

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
    uint32_t publisher; /* message */
    uint32_t number;    /* message; gap: how many were missed, where it says so */
} history_event_t;

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
    atomic_int status;
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

typedef struct history {
    uint32_t nodes;
    uint32_t topics;
    uint32_t publishers;
    uint32_t members;
    uint32_t *publisher_nodes;
    history_said_t *said; /* [publisher * topics + topic] */
    history_member_t *member;
    history_fault_t faults[HISTORY_FAULTS_MAX];
    size_t fault_count;
} history_t;

/* All on node 0; `publishes_max` for each publisher and topic. */
history_t *history_create(uint32_t nodes, uint32_t topics, uint32_t publishers, uint32_t members,
                          uint32_t publishes_max);
void history_destroy(history_t *history);

static inline history_said_t *history_said(const history_t *history, uint32_t publisher,
                                           uint32_t topic)
{
    return &history->said[publisher * history->topics + topic];
}

/* The next number of this publisher and topic, sent now; 0: there is no more room. */
uint32_t history_say(history_t *history, uint32_t publisher, uint32_t topic, uint64_t now_us);
/* What became of it. Any thread. */
void history_answer(history_t *history, uint32_t publisher, uint32_t topic, uint32_t number,
                    hub_status_t status, uint64_t now_us);
void history_add(history_t *history, uint32_t member, history_event_t event);
