/* SPDX-License-Identifier: MIT */
/* The list of hub/metrics.h as text for Prometheus, and the answer to "is it well?". */
#include "hub/metrics.h"

#include "hub/internal.h"

void hub_stats_foreach(const hub_server_t *server, hub_stats_visit_cb visit, void *user)
{
    hub_stats_t stats;

    hub_server_stats(server, &stats);
#define HUB_METRIC_VISIT(name, kind, help) visit(#name, #kind, help, stats.name, user);
    HUB_METRIC_MAP(HUB_METRIC_VISIT)
#undef HUB_METRIC_VISIT
}

static void merge_counter(uint64_t *all, uint64_t value)
{
    *all += value;
}

static void merge_gauge(uint64_t *all, uint64_t value)
{
    *all += value;
}

static void merge_peak(uint64_t *all, uint64_t value)
{
    if (value > *all)
        *all = value;
}

void hub__stats_merge(hub_stats_t *all, const hub_stats_t *worker)
{
#define HUB_METRIC_MERGE(name, kind, help)                                                         \
    merge_##kind(&all->name, __atomic_load_n(&worker->name, __ATOMIC_RELAXED));
    HUB_METRIC_MAP(HUB_METRIC_MERGE)
#undef HUB_METRIC_MERGE
}

static void print_metric(const char *name, const char *kind, const char *help, uint64_t value,
                         void *user)
{
    if (strcmp(kind, "peak") == 0)
        kind = "gauge";
    hub__buffer_printf(user, "# HELP sockethub_%s %s\n# TYPE sockethub_%s %s\nsockethub_%s %llu\n",
                       name, help, name, kind, name, (unsigned long long)value);
}

void hub_metrics_on_http(hub_http_t *http, void *server)
{
    hub__buffer_t text = {0};

    hub_stats_foreach(server, print_metric, &text);
    hub_http_respond(http, 200, "text/plain; version=0.0.4; charset=utf-8", hub__buffer_str(&text));
    hub__buffer_dispose(&text);
}

void hub_health_on_http(hub_http_t *http, void *server)
{
    hub_bus_t *bus = hub__server_first_bus(server);
    hub_bus_stats_t stats = {.healthy = true};

    if (bus != NULL)
        hub_bus_get_stats(bus, &stats);
    if (hub__server_is_stopping(server))
        hub_http_respond(http, 503, "application/json", HUB_STR("{\"status\":\"stopping\"}"));
    else if (!stats.healthy)
        hub_http_respond(http, 503, "application/json", HUB_STR("{\"status\":\"bus_down\"}"));
    else
        hub_http_respond(http, 200, "application/json", HUB_STR("{\"status\":\"ok\"}"));
}
