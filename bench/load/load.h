/* bench/load/load.h - everything of one invocation: who is there, and what was measured. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/load/histogram.h"
#include "bench/load/ledger.h"
#include "bench/load/process.h"
#include "bench/load/settings.h"
#include "bench/load/speaker.h"
#include "bench/load/talk.h"
#include "bench/report.h"

typedef struct load {
    const settings_t *settings;
    speaker_t speaker;
    ledger_t ledger;
    crowd_t crowd;
    processes_t server;
    report_t *report;
    talk_t *members, *publishers, *churners;
    size_t member_count, publisher_count, churner_count;
    uint64_t rss_base, kernel_base; /* bytes, before the first connection */
    histogram_t latency;            /* ns, of all runs */
    unsigned long run;              /* at hand, from 1; 0: the warm-up */
    bool stalled;                   /* nothing came any more, the rest was given up */
} load_t;

/* The workloads. Each connects, measures `runs` times, and leaves. */
void workload_fanout(load_t *load); /* rooms, too */
void workload_echo(load_t *load);
void workload_idle(load_t *load);
void workload_connect(load_t *load);
void workload_churn(load_t *load);
void workload_slow(load_t *load);
