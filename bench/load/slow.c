/* SPDX-License-Identifier: MIT */
/* Some members stop reading for a run. Nobody waits for them, and they may miss messages and be
 * closed; what they do get is checked all the same, and the others must not notice. */
#include "bench/load/crew.h"
#include "bench/load/traffic.h"

#define RECEIVE_BUFFER 4096 /* the kernel's, so that it is full soon */
#define QUIET_NS 300000000ull
#define TURN_NS 50000000ull

/* The last ones. */
static talk_t *slow_ones(const load_t *load)
{
    return &load->members[load->member_count - load->settings->slow];
}

static void pause_all(load_t *load, bool paused)
{
    for (size_t i = 0; i != load->settings->slow; ++i)
        conn_pause(&load->crowd.loop, &slow_ones(load)[i].conn, paused);
}

static void before(traffic_t *traffic)
{
    load_t *load = traffic->load;

    for (size_t i = 0; i != load->settings->slow; ++i)
        if (slow_ones(load)[i].stage == TALK_AWAY)
            crowd_enter(&load->crowd, &slow_ones(load)[i], 1, 1);
    load->crowd.ended = 0;
    for (size_t i = 0; i != load->settings->slow; ++i)
        slow_ones(load)[i].readers->missed = 0;
    pause_all(load, true);
}

/* They read what was kept for them, until nothing comes any more. */
static void after(traffic_t *traffic)
{
    load_t *load = traffic->load;
    uint64_t reads, quiet_ns = loop_now_ns(), missed = 0;

    pause_all(load, false);
    do {
        reads = load->crowd.loop.reads;
        loop_turn(&load->crowd.loop, TURN_NS);
        if (load->crowd.loop.reads != reads)
            quiet_ns = loop_now_ns();
    } while (loop_now_ns() - quiet_ns < QUIET_NS);
    for (size_t i = 0; i != load->settings->slow; ++i)
        missed += ledger_missed(&load->ledger, slow_ones(load)[i].readers);
    report_add(load->report, "slow_closed", (double)load->crowd.ended);
    report_add(load->report, "slow_missed", (double)missed);
}

void workload_slow(load_t *load)
{
    traffic_t traffic = {
        .load = load, .say = SAY_PUBLISH, .next = fanout_next, .before = before, .after = after};

    crew_prepare(load);
    for (size_t i = 0; i != load->settings->slow; ++i) {
        talk_t *talk = &slow_ones(load)[i];

        talk->counts = false;
        talk->lossy = talk->may_end = true;
        talk->receive_buffer = RECEIVE_BUFFER;
    }
    crew_connect(load);
    traffic_measure(&traffic);
    crew_leave(load);
}
