/* SPDX-License-Identifier: MIT */
/* A closed loop finds out what a server costs, an open loop how long users wait. Both begin and end
 * with nothing under way, so that what lies between belongs to their deliveries. */
#include "bench/load/traffic.h"

#include <stdio.h>

#include "bench/load/measure.h"

#define SECOND_NS 1000000000ull
#define PROGRESS_NS 250000000ull
#define IDLE_NS 100000000ull /* a turn with nothing to do */

typedef struct pace {
    uint64_t began_ns, until_ns;
    uint64_t left;        /* publishes; UINT64_MAX: as many as fit */
    uint64_t issued;      /* publishes */
    uint64_t progress_ns; /* when the last delivery was seen */
    uint64_t deliveries;  /* by then */
    uint64_t shown_ns;    /* when the progress line was printed */
} pace_t;

static void issue(traffic_t *traffic, pace_t *pace, const lane_t *after, uint64_t stamped_ns)
{
    talk_t *talk = NULL;
    lane_t *lane = traffic->next(traffic, after, &talk);

    talk_publish(&traffic->load->crowd, talk, traffic->say, lane, stamped_ns);
    ++traffic->count;
    ++pace->issued;
    --pace->left;
}

/* Each publish that is over makes room for one, then whatever room is left is filled. Those that
 * are over meanwhile, since nobody listens, wait for the next turn. */
static void issue_in_window(traffic_t *traffic, pace_t *pace, uint64_t now_ns)
{
    ledger_t *ledger = &traffic->load->ledger;
    size_t over = ledger->finished_count;
    uint64_t room = traffic->load->settings->window, free;

    free = ledger->outstanding < room ? room - ledger->outstanding : 0;
    for (size_t i = 0; free != 0 && pace->left != 0; ++i, --free)
        issue(traffic, pace, i < over ? &ledger->lanes[ledger->finished[i]] : NULL, now_ns);
    ledger->finished_count = 0;
}

static uint64_t due_ns(const traffic_t *traffic, const pace_t *pace)
{
    unsigned long rate = traffic->load->settings->rate;

    return pace->began_ns + pace->issued / rate * SECOND_NS +
           pace->issued % rate * SECOND_NS / rate;
}

static bool wants_more(const traffic_t *traffic, const pace_t *pace, uint64_t now_ns)
{
    if (pace->left == 0)
        return false;
    if (traffic->load->settings->rate != 0) /* a stall must not spare anybody a publish */
        return due_ns(traffic, pace) < pace->until_ns;
    return now_ns < pace->until_ns;
}

/* Returns in how many ns there is more to do. */
static uint64_t issue_due(traffic_t *traffic, pace_t *pace, uint64_t now_ns)
{
    uint64_t due;

    if (traffic->load->settings->rate == 0) {
        issue_in_window(traffic, pace, now_ns);
        return IDLE_NS;
    }
    traffic->load->ledger.finished_count = 0;
    while (wants_more(traffic, pace, now_ns) && (due = due_ns(traffic, pace)) <= now_ns)
        issue(traffic, pace, NULL, due);
    due = due_ns(traffic, pace);
    return due > now_ns ? due - now_ns : 0;
}

/* True: nothing has come for too long. */
static bool is_stalled(const traffic_t *traffic, pace_t *pace, uint64_t now_ns)
{
    const ledger_t *ledger = &traffic->load->ledger;

    if (ledger->deliveries != pace->deliveries || ledger->outstanding == 0) {
        pace->deliveries = ledger->deliveries;
        pace->progress_ns = now_ns;
    }
    return now_ns - pace->progress_ns > traffic->load->settings->lost_ms * 1000000ull;
}

static void show_progress(const traffic_t *traffic, pace_t *pace, uint64_t now_ns)
{
    const load_t *load = traffic->load;

    if (!load->settings->progress || now_ns - pace->shown_ns < PROGRESS_NS)
        return;
    pace->shown_ns = now_ns;
    fprintf(stderr, "\r  run %lu of %lu, %.1f s: %llu deliveries, %llu publishes under way \033[K",
            load->run, load->settings->runs, (double)(now_ns - pace->began_ns) / 1e9,
            (unsigned long long)load->ledger.deliveries,
            (unsigned long long)load->ledger.outstanding);
}

static bool go_on_beside(traffic_t *traffic, uint64_t now_ns, bool last, uint64_t *wait_ns)
{
    uint64_t beside_ns = IDLE_NS;
    bool over = traffic->beside == NULL || traffic->beside(traffic, now_ns, last, &beside_ns);

    if (beside_ns < *wait_ns)
        *wait_ns = beside_ns;
    return over;
}

bool traffic_run(traffic_t *traffic, uint64_t duration_ns, uint64_t publishes)
{
    load_t *load = traffic->load;
    uint64_t now_ns = loop_now_ns();
    pace_t pace = {.began_ns = now_ns,
                   .until_ns = publishes != 0 ? UINT64_MAX : now_ns + duration_ns,
                   .left = publishes != 0 ? publishes : UINT64_MAX,
                   .progress_ns = now_ns,
                   .deliveries = load->ledger.deliveries};

    load->ledger.finished_count = 0;
    for (;; now_ns = loop_now_ns()) {
        uint64_t wait_ns = IDLE_NS;
        bool more = wants_more(traffic, &pace, now_ns);

        if (more)
            wait_ns = issue_due(traffic, &pace, now_ns);
        if (go_on_beside(traffic, now_ns, !more, &wait_ns) && !more &&
            load->ledger.outstanding == 0)
            break;
        loop_turn(&load->crowd.loop, wait_ns < IDLE_NS ? wait_ns : IDLE_NS);
        show_progress(traffic, &pace, now_ns);
        if (is_stalled(traffic, &pace, now_ns))
            break;
    }
    load->stalled = load->ledger.outstanding != 0;
    ledger_settle(&load->ledger);
    return !load->stalled;
}

void traffic_measure(traffic_t *traffic)
{
    load_t *load = traffic->load;
    const settings_t *settings = load->settings;

    if (settings->warmup_ms != 0 && !traffic_run(traffic, settings->warmup_ms * 1000000ull, 0))
        return;
    for (load->run = 1; load->run <= settings->runs && !load->stalled; ++load->run) {
        mark_t mark;

        if (traffic->before != NULL)
            traffic->before(traffic);
        measure_begin(load, &mark);
        traffic_run(traffic, settings->duration_ms * 1000000ull, settings->publishes);
        measure_end(load, &mark);
        if (traffic->after != NULL)
            traffic->after(traffic);
    }
    if (settings->progress)
        fprintf(stderr, "\r\033[K");
    measure_note_bottleneck(load);
}
