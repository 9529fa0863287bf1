/* SPDX-License-Identifier: MIT */
/* How fast do clients get in, and what does each of them cost? A connection counts when it is
 * upgraded and its join is answered. A storm is what a restart makes: everybody at once, and who is
 * turned away comes back at once, too. */
#include <stdio.h>

#include "bench/load/crew.h"
#include "bench/load/measure.h"

static void enter(load_t *load)
{
    const settings_t *settings = load->settings;

    crowd_enter(&load->crowd, load->members, load->member_count,
                settings->storm ? load->member_count : settings->window);
}

static void leave(load_t *load)
{
    crowd_leave(&load->crowd, load->members, load->member_count);
    measure_await_quiet(load);
}

static void run(load_t *load)
{
    uint64_t refused = load->crowd.refused;
    mark_t mark;

    measure_begin(load, &mark);
    enter(load);
    measure_end_of_entering(load, &mark, load->member_count);
    if (load->settings->storm)
        report_add(load->report, "refused_per_conn",
                   (double)(load->crowd.refused - refused) / (double)load->member_count);
}

/* The warm-up is a round like the others, so that each finds the server as the one before left it.
 */
void workload_connect(load_t *load)
{
    const settings_t *settings = load->settings;

    crew_prepare(load);
    for (size_t i = 0; settings->storm && i != load->member_count; ++i)
        load->members[i].may_end = true;
    if (settings->warmup_ms != 0 || settings->storm) {
        enter(load);
        leave(load);
    }
    for (load->run = 1; load->run <= settings->runs; ++load->run) {
        run(load);
        leave(load);
        if (settings->progress)
            fprintf(stderr, "\r  run %lu of %lu \033[K", load->run, settings->runs);
    }
    if (settings->progress)
        fprintf(stderr, "\r\033[K");
    measure_note_bottleneck(load);
}
