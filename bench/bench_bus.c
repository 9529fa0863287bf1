/* SPDX-License-Identifier: MIT */
/* How long is a node without its broker when the connection has to be made anew? It has --topics
 * subscribed, throws its connection away and is back when the broker has taken all of them; each
 * topic was then told a gap.
 *
 * The CPU is this process's: the broker has its own. The pause before an attempt is random, up to
 * 100 ms at the first, and part of the time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "bench/options.h"
#include "bench/report.h"
#include "bus/internal.h"
#include "bus/log.h"

#define WAIT_S 60.0

static uint64_t gaps;

static hub_status_t on_message(hub_bus_sub_t *sub, const hub_message_t *msg, hub_bus_ack_t *ack,
                               void *user)
{
    (void)sub, (void)msg, (void)ack, (void)user;
    return HUB_OK;
}

/* On the backend's thread alone. */
static void on_gap(hub_bus_sub_t *sub, hub_gap_reason_t reason, uint64_t missed, void *user)
{
    (void)sub, (void)reason, (void)missed, (void)user;
    __atomic_fetch_add(&gaps, 1, __ATOMIC_RELAXED);
}

static bool is_healthy(hub_bus_t *bus)
{
    hub_bus_stats_t stats;

    hub_bus_get_stats(bus, &stats);
    return stats.healthy;
}

/* Looks each 200 us, which is little beside what is measured. */
static void await(hub_bus_t *bus, bool healthy)
{
    const struct timespec pause = {.tv_nsec = 200000};
    double until = bench_now_s() + WAIT_S;

    while (is_healthy(bus) != healthy) {
        if (bench_now_s() > until)
            bench_fail("the bus was not %s within %.0f s", healthy ? "healthy" : "down", WAIT_S);
        nanosleep(&pause, NULL);
    }
}

static void subscribe(hub_bus_t *bus, unsigned long topics)
{
    const hub_bus_sub_options_t options = {.on_message = on_message, .on_gap = on_gap};
    hub_bus_sub_t *sub;

    for (unsigned long i = 0; i != topics; ++i) {
        char topic[32];
        hub_status_t err;

        snprintf(topic, sizeof(topic), "bench:%lu", i);
        err = hub_bus_subscribe(bus, hub_str(topic), &options, &sub);
        if (err != HUB_OK)
            bench_fail("topic %lu: %s", i, hub_status_text(err));
    }
}

static void reconnect(hub_bus_t *bus)
{
    __atomic_store_n(&gaps, 0, __ATOMIC_RELAXED);
    hub__remote_reconnect(bus);
    await(bus, false);
    await(bus, true);
}

static void run_once(report_t *report, hub_bus_t *bus, unsigned long topics)
{
    double began_s = bench_now_s(), cpu_s = bench_cpu_s();

    reconnect(bus);
    report_add(report, "away, ms", (bench_now_s() - began_s) * 1e3);
    report_add(report, "CPU, ms", (bench_cpu_s() - cpu_s) * 1e3);
    if (__atomic_load_n(&gaps, __ATOMIC_RELAXED) != topics)
        bench_fail("%llu of %lu topics were told a gap", (unsigned long long)gaps, topics);
}

int main(int argc, char **argv)
{
    const char *url = "";
    unsigned long topics = 10000, runs = 5;
    const report_option_t options[] = {
        {"bus", "the broker: redis://…, nats://…, postgres://…, or @FILE with such a line",
         .text = &url},
        {"topics", "that are subscribed", .number = &topics, .min = 1, .max = 1000000},
        {"runs", "connections that are thrown away", .number = &runs, .min = 1,
         .max = REPORT_RUNS_MAX},
        {.name = NULL}};
    hub_error_t error;
    report_t *report;
    hub_bus_t *bus;

    report = report_open("reconnect", argc, argv, options);
    hub_log_set_level(HUB_LOG_ERROR);
    if (hub_bus_open(options_secret("bus", url), &(hub_bus_options_t){.name = "bench"}, &bus,
                     &error) != HUB_OK)
        options_fail("--bus: %s", error.text);
    if (bus->remote == NULL)
        options_fail("--bus: memory: has no connection");
    await(bus, true);
    subscribe(bus, topics);
    reconnect(bus); /* behind it the broker has taken all of them */
    for (unsigned long i = 0; i != runs; ++i)
        run_once(report, bus, topics);
    report_print(report);
    report_close(report);
    hub_bus_destroy(bus);
    return EXIT_SUCCESS;
}
