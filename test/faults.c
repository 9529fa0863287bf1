/* SPDX-License-Identifier: MIT */
/* faults BROKER FAULT [options] - one cell of the matrix that test/faults.sh runs.
 *
 * Two nodes on one broker (cell.h), and one thing that happens to it, or to their connections
 * (mishap.h), at a random moment, when something is under way. Later it is undone, and the run goes
 * on until messages cross the nodes again. What happened meanwhile is judged by checker.c. One line
 * tells the outcome, on stdout; the status is 0 where every promise was kept and there was
 * something to judge, 77 where the cell asks for what this broker can't do.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "test/checker.h"
#include "test/mishap.h"

#define CROSSING_MS 10000
#define CROSSED_MS 5000 /* more than the limit, to tell how late it was */
#define GRACE_MS 2000
#define HURRY_MS 50
#define DEAF_POSITION_MS 5000 /* more than a node needs to find out */
#define SKIPPED 77

/* One fault and what becomes of it. */
struct run {
    cell_t cell;
    const mishap_t *mishap;
    bool quick;
    unsigned hit; /* nodes, bit by bit */
    uint64_t began_us;
};

/* ---- the fault ---- */

static bool begin_fault(struct run *run)
{
    cell_t *cell = &run->cell;
    history_fault_t *times = &cell->history->faults[0];
    bool done;

    cell_hurry(cell, HURRY_MS);
    cell_pause_ms(HURRY_MS);
    cell_await_under_way(cell);
    cell_look(cell);
    cell->history->fault_count = 1;
    times->begin_us = audience_now_us();
    cell_hush(cell, HURRY_MS / 2);
    done = run->mishap->begin(cell, &run->hit);
    cell_hurry(cell, HURRY_MS);
    return done;
}

static bool end_fault(struct run *run)
{
    cell_t *cell = &run->cell;
    bool done = run->mishap->end == NULL || run->mishap->end(cell);

    cell->history->faults[0].end_us = audience_now_us();
    cell_hurry(cell, HURRY_MS);
    return done;
}

/* The fault and what follows it. */
static bool run_fault(struct run *run)
{
    cell_t *cell = &run->cell;
    const mishap_t *mishap = run->mishap;
    unsigned hold_ms =
        mishap->hold_ms + (run->quick ? 0 : cell_draw(cell, 1 + mishap->hold_ms / 4));
    bool done;

    if (!audience_await_crossing(cell->audience, 1, CROSSING_MS)) {
        fprintf(stderr, "no message crosses the nodes before the fault\n");
        return false;
    }
    cell_pause_ms(200 + cell_draw(cell, run->quick ? 300 : 2000));
    done = begin_fault(run);
    cell_pause_ms(hold_ms);
    done = end_fault(run) && done;
    if (!done) {
        fprintf(stderr, "the fault could not be made\n");
        return false;
    }
    audience_await_crossing(cell->audience, cell->history->faults[0].end_us,
                            mishap->back_ms + CROSSED_MS);
    cell_await_well(cell, mishap->back_ms + CROSSED_MS);
    cell_pause_ms(run->quick ? 200 : 2000);
    return true;
}

/* ---- whether it proves anything ---- */

static bool was_felt(const struct run *run)
{
    const history_t *history = run->cell.history;
    unsigned felt = 0;

    for (size_t i = 0; i < history->outage_count; i++)
        felt |= 1U << history->outages[i].node;
    return run->mishap->unfelt || (felt & run->hit) == run->hit;
}

/* Counts what should have been there to judge, and was not. */
static unsigned count_void(const struct run *run, const checker_report_t *report)
{
    const cell_t *cell = &run->cell;
    bool long_one = run->mishap->hold_ms >= 1000 && !run->mishap->unfelt;
    const struct {
        bool holds;
        const char *text;
    } needs[] = {
        {report->under_way > 0, "nothing was under way when the fault came"},
        {was_felt(run), "a node did not feel the fault"},
        {cell->mode != CELL_DEGRADED || !long_one || report->kept > 0,
         "nothing was kept on its node"},
        {cell->mode != CELL_BUFFER || !long_one || report->rejoined > 0,
         "nothing that waited came through"},
        {atomic_load(&cell->wrong_levels) == 0, "an answer had the wrong level"},
    };
    unsigned count = 0;

    for (size_t i = 0; i < sizeof(needs) / sizeof(needs[0]); i++) {
        if (!needs[i].holds)
            printf("    %s\n", needs[i].text);
        count += !needs[i].holds;
    }
    return count;
}

/* ---- a run ---- */

static void print_outcome(const struct run *run, const checker_report_t *report, bool passed)
{
    const cell_t *cell = &run->cell;

    printf("%-8s  %-8s  %-8s  %-6s  back %5.2f s  %5llu published  %3llu under way  %4llu failed  "
           "%4llu kept  %6llu heard  %4llu gaps  %4llu covered  %4.1f s  seed %u\n",
           broker_name(cell->kind), run->mishap->name, cell_mode_name(cell->mode),
           passed ? "ok" : "FAILED", (double)report->back_us / 1e6,
           (unsigned long long)report->publishes, (unsigned long long)report->under_way,
           (unsigned long long)report->failed, (unsigned long long)report->kept,
           (unsigned long long)report->heard, (unsigned long long)report->gaps,
           (unsigned long long)report->covered, (double)(audience_now_us() - run->began_us) / 1e6,
           cell->seed);
    for (int i = 0; i < CHECKER_RULE_COUNT; i++) {
        if (report->broken[i] > 0)
            printf("    %s, %llu times; %s\n", checker_rule_name((checker_rule_t)i),
                   (unsigned long long)report->broken[i], report->first[i]);
    }
    if (!passed && cell->history->fault_count > 0)
        printf("    the fault: from %.6f s to %.6f s, nodes %u\n",
               (double)cell->history->faults[0].begin_us / 1e6,
               (double)cell->history->faults[0].end_us / 1e6, run->hit);
    for (size_t i = 0; i < cell->history->outage_count && !passed; i++)
        printf("    an outage: node %u, from %.6f s to %.6f s, %llu connections\n",
               cell->history->outages[i].node, (double)cell->history->outages[i].begin_us / 1e6,
               (double)cell->history->outages[i].end_us / 1e6,
               (unsigned long long)cell->history->outages[i].connections);
}

static bool judge(struct run *run, bool done)
{
    const checker_limits_t limits = {.back_us = (uint64_t)run->mishap->back_ms * 1000,
                                     .grace_us = GRACE_MS * 1000};
    checker_report_t report;
    bool passed;

    checker_run(run->cell.history, &limits, &report);
    passed = done && report.all == 0 && count_void(run, &report) == 0;
    print_outcome(run, &report, passed);
    return passed;
}

static int run_cell(struct run *run)
{
    broker_options_t options = mishap_broker_options(run->mishap, run->cell.kind);
    int status = EXIT_FAILURE;

    run->began_us = audience_now_us();
    run->cell.position_ms = run->mishap->deaf ? DEAF_POSITION_MS : run->quick ? 200 : 500;
    run->cell.broker_options = &options;
    if (cell_start(&run->cell)) {
        bool done = run_fault(run);

        cell_end(&run->cell);
        status = judge(run, done) ? EXIT_SUCCESS : EXIT_FAILURE;
    } else if (run->cell.skipped) {
        printf("%-8s  %-8s  %-8s  skipped: it has no one order\n", broker_name(run->cell.kind),
               run->mishap->name, cell_mode_name(run->cell.mode));
        status = SKIPPED;
    }
    cell_stop(&run->cell);
    return status;
}

static int usage(void)
{
    fprintf(stderr, "usage: faults BROKER FAULT [order|buffer|degraded] [--quick] [--seed N] "
                    "[--members N] [--rate N] [--log]\n  BROKER  redis nats postgres\n  FAULT  ");
    for (size_t i = 0; i < mishap_count; i++)
        fprintf(stderr, " %s", mishaps[i].name);
    fprintf(stderr, "\n");
    return 2;
}

static bool read_word(struct run *run, const char *word)
{
    for (int i = 0; i < CELL_MODES; i++) {
        if (strcmp(cell_mode_name((cell_mode_t)i), word) == 0) {
            run->cell.mode = (cell_mode_t)i;
            return true;
        }
    }
    if (strcmp(word, "--quick") == 0)
        run->quick = true;
    else if (strcmp(word, "--log") == 0)
        hub_log_set_level(HUB_LOG_INFO);
    else
        return false;
    return true;
}

static bool read_options(struct run *run, int argc, char **argv)
{
    cell_t *cell = &run->cell;

    for (int i = 3; i < argc; i++) {
        unsigned value = i + 1 < argc ? (unsigned)strtoul(argv[i + 1], NULL, 10) : 0;

        if (read_word(run, argv[i]))
            continue;
        if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
            cell->seed = value;
        else if (strcmp(argv[i], "--members") == 0 && value > 0)
            cell->members = value;
        else if (strcmp(argv[i], "--rate") == 0 && value > 0 && value <= 500)
            cell->rate = value;
        else
            return false;
        i++;
    }
    cell->eager_ms = run->quick ? 4 : 2;
    cell->one_sided = run->quick; /* which is the harder one */
    cell->random = cell->seed;
    return true;
}

int main(int argc, char **argv)
{
    struct run run = {
        .cell = {.members = 200,
                 .rate = 25,
                 .seed = (unsigned)(audience_now_us() ^ (uint64_t)getpid())},
    };
    int kind = 0;

    hub_log_set_level(HUB_LOG_OFF);
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc < 3 || !read_options(&run, argc, argv))
        return usage();
    while (kind < BROKER_KINDS && strcmp(broker_name((broker_kind_t)kind), argv[1]) != 0)
        kind++;
    run.cell.kind = (broker_kind_t)kind;
    run.mishap = kind == BROKER_KINDS ? NULL : mishap_find(argv[2], run.cell.kind);
    return run.mishap == NULL ? usage() : run_cell(&run);
}
