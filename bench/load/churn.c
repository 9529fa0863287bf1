/* SPDX-License-Identifier: MIT */
/* A fan-out whose members stay, and others beside them who join and leave all the time. What these
 * get is checked, too: nothing before the answer to a join or after that to a leave, and from the
 * one to the other nothing is missing. */
#include "bench/load/crew.h"
#include "bench/load/traffic.h"

#define SECOND_NS 1000000000ull

typedef struct churn {
    traffic_t traffic; /* the first member */
    uint64_t began_ns; /* 0: not yet */
    uint64_t turns;    /* joins and leaves that were due */
    uint64_t late;     /* of them, that found the last one not answered */
} churn_t;

static bool is_inside(const talk_t *talk)
{
    return talk->readers->open;
}

/* Its turn: who is in, goes; who is out, comes. */
static void take_turn(churn_t *churn, uint64_t number)
{
    load_t *load = churn->traffic.load;
    talk_t *talk = &load->churners[number % load->churner_count];
    uint64_t topic = number % load->churner_count + number / load->churner_count / 2;

    if (talk->stage != TALK_READY)
        ++churn->late;
    else if (is_inside(talk))
        talk_leave(&load->crowd, talk);
    else
        talk_join(&load->crowd, talk, (uint32_t)(topic % load->settings->topics));
}

/* All go; true: all have gone. */
static bool let_go(load_t *load)
{
    bool gone = true;

    for (size_t i = 0; i != load->churner_count; ++i) {
        talk_t *talk = &load->churners[i];

        if (talk->stage == TALK_READY && is_inside(talk))
            talk_leave(&load->crowd, talk);
        gone &= talk->stage == TALK_AWAY || (talk->stage == TALK_READY && !is_inside(talk));
    }
    return gone;
}

static bool beside(traffic_t *traffic, uint64_t now_ns, bool last, uint64_t *ret_wait_ns)
{
    churn_t *churn = (churn_t *)(void *)traffic;
    unsigned long rate = traffic->load->settings->churn_rate * 2; /* a leave for each join */
    uint64_t due_ns;

    if (last) {
        churn->began_ns = 0;
        return let_go(traffic->load);
    }
    if (churn->began_ns == 0) {
        churn->began_ns = now_ns;
        churn->turns = 0;
    }
    while ((due_ns = churn->began_ns + churn->turns / rate * SECOND_NS +
                     churn->turns % rate * SECOND_NS / rate) <= now_ns)
        take_turn(churn, churn->turns++);
    *ret_wait_ns = due_ns - now_ns;
    return true;
}

static void before(traffic_t *traffic)
{
    ((churn_t *)(void *)traffic)->late = 0;
}

static void after(traffic_t *traffic)
{
    churn_t *churn = (churn_t *)(void *)traffic;

    report_add(traffic->load->report, "late_turns_per_turn",
               (double)churn->late / (double)churn->turns);
}

void workload_churn(load_t *load)
{
    churn_t churn = {.traffic = {.load = load,
                                 .say = SAY_PUBLISH,
                                 .next = fanout_next,
                                 .beside = beside,
                                 .before = before,
                                 .after = after}};

    crew_enter(load);
    traffic_measure(&churn.traffic);
    crew_leave(load);
}
