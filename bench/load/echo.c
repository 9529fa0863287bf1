/* SPDX-License-Identifier: MIT */
/* Echo: everybody talks to the server alone. Each connection has a topic of its own, so that a
 * reply to somebody else would be seen. */
#include "bench/load/crew.h"
#include "bench/load/traffic.h"

/* Who has its reply is the next to ask. */
static lane_t *next_lane(traffic_t *traffic, const lane_t *after, talk_t **ret_talk)
{
    load_t *load = traffic->load;
    uint32_t number =
        after != NULL ? after->topic_number : (uint32_t)(traffic->count % load->settings->conns);

    *ret_talk = &load->members[number];
    return ledger_lane(&load->ledger, number, number);
}

void workload_echo(load_t *load)
{
    traffic_t traffic = {.load = load, .say = SAY_ECHO, .next = next_lane};

    crew_enter(load);
    traffic_measure(&traffic);
    crew_leave(load);
}
