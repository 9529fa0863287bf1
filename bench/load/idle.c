/* SPDX-License-Identifier: MIT */
/* Memory of connections that are there and say nothing. */
#include <stdio.h>

#include "bench/load/crew.h"
#include "bench/load/measure.h"

#define TURN_NS 100000000ull

/* Pings are answered meanwhile. */
static void settle(load_t *load)
{
    uint64_t until_ns = loop_now_ns() + load->settings->settle_ms * 1000000ull;

    for (uint64_t now_ns; (now_ns = loop_now_ns()) < until_ns;)
        loop_turn(&load->crowd.loop, until_ns - now_ns < TURN_NS ? until_ns - now_ns : TURN_NS);
}

static void add_kernel_memory(load_t *load)
{
    const char *source;
    uint64_t bytes = kernel_bytes(&source);

    if (source == NULL) {
        report_note(load->report, "the kernel's memory cannot be read here");
        return;
    }
    report_add(load->report, "kernel_bytes_per_conn",
               ((double)bytes - (double)load->kernel_base) / (double)load->member_count);
    report_note(load->report,
                "kernel_bytes_per_conn is what the machine's %s have grown by: both ends of a "
                "connection, and whatever else happened meanwhile",
                source);
}

void workload_idle(load_t *load)
{
    uint64_t rss;

    crew_prepare(load);
    crowd_enter(&load->crowd, load->members, load->member_count, load->settings->window);
    settle(load);
    (void)processes_find(&load->server);
    rss = processes_rss(&load->server);
    if (load->server.count != 0) {
        report_add(load->report, "server_rss_bytes", (double)rss);
        report_add(load->report, "server_rss_base_bytes", (double)load->rss_base);
        report_add(load->report, "server_rss_bytes_per_conn",
                   ((double)rss - (double)load->rss_base) / (double)load->member_count);
    } else {
        report_note(load->report, "without --pid nothing is known of the server's memory");
    }
    add_kernel_memory(load);
    crew_leave(load);
}
