/* SPDX-License-Identifier: MIT */
#include "bench/load/crew.h"

#include <stdlib.h>

#define UNDER_WAY 64u /* connections that are being set up, where that is not measured */

static void prepare_members(load_t *load)
{
    load->member_count = load->settings->conns;
    load->members = load_calloc(load->member_count, sizeof(*load->members));
    for (size_t i = 0; i != load->member_count; ++i) {
        talk_prepare(&load->members[i], (uint32_t)i, (uint32_t)(i % load->settings->topics), 1);
        load->members[i].joins = true;
        load->members[i].counts = true;
    }
}

static void prepare_publishers(load_t *load)
{
    uint32_t topics = (uint32_t)load->settings->topics;
    bool by_path = speaker_publishes_by_path(&load->speaker);
    bool joins = load->speaker.template.publisher_joins || load->settings->publishers_join;

    load->publisher_count = load->settings->publishers * (by_path ? topics : 1);
    load->publishers = load_calloc(load->publisher_count, sizeof(*load->publishers));
    for (size_t i = 0; i != load->publisher_count; ++i) {
        talk_t *talk = &load->publishers[i];

        talk_prepare(talk, (uint32_t)(load->member_count + i), by_path ? (uint32_t)(i % topics) : 0,
                     by_path ? 1 : topics);
        talk->publishes = true;
        talk->joins = talk->counts = joins;
    }
}

/* They join and leave while others publish. */
static void prepare_churners(load_t *load)
{
    load->churner_count = load->settings->churn_conns;
    load->churners = load_calloc(load->churner_count, sizeof(*load->churners));
    for (size_t i = 0; i != load->churner_count; ++i)
        talk_prepare(&load->churners[i], (uint32_t)(load->member_count + load->publisher_count + i),
                     0, 1);
}

void crew_prepare(load_t *load)
{
    workload_t workload = (workload_t)load->settings->workload;

    prepare_members(load);
    if (workload != WORKLOAD_ECHO && workload != WORKLOAD_IDLE && workload != WORKLOAD_CONNECT)
        prepare_publishers(load);
    if (workload == WORKLOAD_CHURN)
        prepare_churners(load);
}

void crew_connect(load_t *load)
{
    crowd_enter(&load->crowd, load->members, load->member_count, UNDER_WAY);
    crowd_enter(&load->crowd, load->publishers, load->publisher_count, UNDER_WAY);
    crowd_enter(&load->crowd, load->churners, load->churner_count, UNDER_WAY);
}

void crew_enter(load_t *load)
{
    crew_prepare(load);
    crew_connect(load);
}

void crew_leave(load_t *load)
{
    crowd_leave(&load->crowd, load->members, load->member_count);
    crowd_leave(&load->crowd, load->publishers, load->publisher_count);
    crowd_leave(&load->crowd, load->churners, load->churner_count);
}

void crew_dispose(load_t *load)
{
    for (size_t i = 0; i != load->member_count; ++i)
        talk_dispose(&load->members[i]);
    for (size_t i = 0; i != load->publisher_count; ++i)
        talk_dispose(&load->publishers[i]);
    for (size_t i = 0; i != load->churner_count; ++i)
        talk_dispose(&load->churners[i]);
    free(load->members);
    free(load->publishers);
    free(load->churners);
}

talk_t *crew_publisher(const load_t *load, uint32_t topic, uint32_t publisher)
{
    if (speaker_publishes_by_path(&load->speaker))
        return &load->publishers[publisher * load->settings->topics + topic];
    return &load->publishers[publisher];
}

uint64_t crew_round(uint32_t topics, uint32_t publishers)
{
    uint32_t a = topics, b = publishers;

    while (b != 0) {
        uint32_t rest = a % b;

        a = b;
        b = rest;
    }
    return (uint64_t)topics / a * publishers;
}
