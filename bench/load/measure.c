/* SPDX-License-Identifier: MIT */
/* Costs are differences between two readings of the same clocks, divided by what was delivered in
 * between. */
#include "bench/load/measure.h"

#include <stdio.h>
#include <string.h>

#define BUSY 0.9 /* of a core: who works that much may be the bottleneck */
#define IDLE 0.5
#define QUIET_NS 50000000ull /* is what uses less than a hundredth of it */
#define QUIET_MAX_NS 3000000000ull

/* One that has ended is not a run without figures but a fault, beside what was seen of it before.
 */
static void find_server(load_t *load)
{
    pid_t missing = processes_find(&load->server);

    if (missing != 0)
        ledger_fault(&load->ledger, FAULT_CLOSED, 1, "the server's process %d has ended",
                     (int)missing);
}

void measure_begin(load_t *load, mark_t *ret_mark)
{
    const settings_t *settings = load->settings;

    load->ledger.latency = load->crowd.join_latency = (histogram_t){.count = 0};
    *ret_mark = (mark_t){.deliveries = load->ledger.deliveries,
                         .publishes = load->ledger.publishes,
                         .reads = load->crowd.loop.reads,
                         .joins = load->crowd.joins};
    if (settings->metrics != NULL)
        ret_mark->metrics = metrics_fetch(settings->metrics);
    find_server(load);
    ret_mark->has_peak = processes_forget_peak(&load->server);
    ret_mark->server = processes_cpu(&load->server);
    ret_mark->own_ns = own_cpu_ns();
    ret_mark->ns = loop_now_ns();
}

typedef struct usage {
    double elapsed_s, own_s, server_s, user_s;
} usage_t;

static usage_t usage_since(load_t *load, const mark_t *mark)
{
    usage_t usage = {.elapsed_s = (double)(loop_now_ns() - mark->ns) / 1e9,
                     .own_s = (double)(own_cpu_ns() - mark->own_ns) / 1e9};
    process_cpu_t cpu;
    double user, system;

    find_server(load);
    cpu = processes_cpu(&load->server);
    usage.server_s = (double)(cpu.ns - mark->server.ns) / 1e9;
    user = (double)(cpu.user_ticks - mark->server.user_ticks);
    system = (double)(cpu.system_ticks - mark->server.system_ticks);
    usage.user_s = user + system > 0 ? usage.server_s * user / (user + system) : 0;
    return usage;
}

/* The server's own counters, per delivery. */
static void add_counters(load_t *load, mark_t *mark, double deliveries)
{
    static const struct {
        const char *counter, *figure;
    } counters[] = {{"sockethub_reads_total", "reads_per_delivery"},
                    {"sockethub_writes_total", "writes_per_delivery"},
                    {"sockethub_turns_total", "polls_per_delivery"},
                    {"sockethub_wakeups_total", "wakeups_per_delivery"},
                    {"sockethub_encodes_total", "encodes_per_delivery"}};
    metrics_t after;

    if (mark->metrics.text == NULL)
        return;
    after = metrics_fetch(load->settings->metrics);
    for (size_t i = 0; i != sizeof(counters) / sizeof(*counters); ++i) {
        double from, to;

        if (metrics_value(&mark->metrics, counters[i].counter, &from) &&
            metrics_value(&after, counters[i].counter, &to))
            report_add(load->report, counters[i].figure, (to - from) / deliveries);
    }
    metrics_dispose(&mark->metrics);
    metrics_dispose(&after);
}

static void add_busy(load_t *load, const usage_t *usage)
{
    if (load->server.count != 0)
        report_add(load->report, "server_busy", usage->server_s / usage->elapsed_s);
    report_add(load->report, "load_busy", usage->own_s / usage->elapsed_s);
}

static void add_latency(load_t *load)
{
    const struct {
        const char *figure;
        const histogram_t *of;
        double share;
    } rows[] = {{"latency_us_p50", &load->ledger.latency, 0.5},
                {"latency_us_p99", &load->ledger.latency, 0.99},
                {"latency_us_p999", &load->ledger.latency, 0.999},
                {"join_us_p50", &load->crowd.join_latency, 0.5},
                {"join_us_p99", &load->crowd.join_latency, 0.99}};

    for (size_t i = 0; i != sizeof(rows) / sizeof(*rows); ++i)
        if (rows[i].of->count != 0)
            report_add(load->report, rows[i].figure,
                       (double)histogram_percentile(rows[i].of, rows[i].share) / 1e3);
    histogram_merge(&load->latency, &load->ledger.latency);
}

void measure_end(load_t *load, mark_t *mark)
{
    usage_t usage = usage_since(load, mark);
    double deliveries = (double)(load->ledger.deliveries - mark->deliveries);
    report_t *report = load->report;

    report_add(report, "deliveries_per_s", deliveries / usage.elapsed_s);
    report_add(report, "publishes_per_s",
               (double)(load->ledger.publishes - mark->publishes) / usage.elapsed_s);
    if (deliveries > 0 && load->server.count != 0) {
        report_add(report, "server_cpu_us_per_delivery", usage.server_s * 1e6 / deliveries);
        report_add(report, "server_user_us_per_delivery", usage.user_s * 1e6 / deliveries);
        report_add(report, "server_system_us_per_delivery",
                   (usage.server_s - usage.user_s) * 1e6 / deliveries);
    }
    if (deliveries > 0) {
        add_counters(load, mark, deliveries);
        report_add(report, "load_cpu_us_per_delivery", usage.own_s * 1e6 / deliveries);
        report_add(report, "deliveries_per_load_read",
                   deliveries / (double)(load->crowd.loop.reads - mark->reads));
    }
    if (load->crowd.joins != mark->joins)
        report_add(report, "joins_per_s",
                   (double)(load->crowd.joins - mark->joins) / usage.elapsed_s);
    add_busy(load, &usage);
    add_latency(load);
    if (load->server.count != 0)
        report_add(report, "server_rss_bytes", (double)processes_rss(&load->server));
    if (mark->has_peak)
        report_add(report, "server_rss_peak_bytes", (double)processes_peak(&load->server));
    metrics_dispose(&mark->metrics);
}

void measure_end_of_entering(load_t *load, mark_t *mark, uint64_t conns)
{
    usage_t usage = usage_since(load, mark);

    report_add(load->report, "connects_per_s", (double)conns / usage.elapsed_s);
    if (load->server.count != 0)
        report_add(load->report, "server_cpu_us_per_conn", usage.server_s * 1e6 / (double)conns);
    report_add(load->report, "load_cpu_us_per_conn", usage.own_s * 1e6 / (double)conns);
    add_busy(load, &usage);
    metrics_dispose(&mark->metrics);
}

void measure_await_quiet(load_t *load)
{
    uint64_t until_ns = loop_now_ns() + QUIET_MAX_NS, before = 0, now;

    do {
        before = processes_cpu(&load->server).ns;
        loop_turn(&load->crowd.loop, QUIET_NS);
        now = processes_cpu(&load->server).ns;
    } while (now - before > QUIET_NS / 100 && loop_now_ns() < until_ns);
}

void measure_note_bottleneck(load_t *load)
{
    double own = report_median(load->report, "load_busy");
    double server = load->server.count != 0 ? report_median(load->report, "server_busy") : 0;

    if (load->settings->window != 0 && load->server.count != 0 && own < IDLE && server < IDLE)
        report_note(
            load->report,
            "neither side was busy (server %.0f %%, load generator %.0f %%): they waited for "
            "something else, such as a timer of TCP's, and the costs have that in them",
            server * 100, own * 100);
    else if (own >= BUSY)
        report_note(
            load->report,
            "the load generator was busy for %.0f %% of its time: rates and latencies may be "
            "its own, costs are the server's",
            own * 100);
    else if (load->server.count != 0 && own > server)
        report_note(load->report,
                    "the load generator was busier (%.0f %%) than the server (%.0f %%): rates and "
                    "latencies may be its own, costs are the server's",
                    own * 100, server * 100);
    if (load->server.count == 0)
        report_note(load->report, "without --pid nothing is known of the server's CPU and memory");
}
