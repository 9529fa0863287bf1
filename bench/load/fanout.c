/* SPDX-License-Identifier: MIT */
/* Fan-out: few say something, many hear it. rooms is the same with other numbers, slow has members
 * who do not read. */
#include "bench/load/crew.h"
#include "bench/load/traffic.h"

/* The walk goes over topics and publishers at once, and moves on by one publisher when it has come
 * round, so that each publishes everywhere. */
lane_t *fanout_next(traffic_t *traffic, const lane_t *after, talk_t **ret_talk)
{
    const load_t *load = traffic->load;
    uint32_t topics = (uint32_t)load->settings->topics;
    uint32_t publishers = (uint32_t)load->settings->publishers;
    uint64_t n = traffic->count, round = crew_round(topics, publishers);
    uint32_t topic = (uint32_t)(n % topics), publisher = (uint32_t)((n + n / round) % publishers);

    (void)after;
    *ret_talk = crew_publisher(load, topic, publisher);
    return ledger_lane(&load->ledger, topic, publisher);
}

void workload_fanout(load_t *load)
{
    traffic_t traffic = {.load = load, .say = SAY_PUBLISH, .next = fanout_next};

    crew_enter(load);
    traffic_measure(&traffic);
    crew_leave(load);
}
