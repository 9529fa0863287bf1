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

/* Prometheus has seconds, whatever a time is kept in. */
typedef struct hub__metric_unit {
    const char *end; /* of the name */
    unsigned per_second;
    int digits;
} hub__metric_unit_t;

static const hub__metric_unit_t units[] = {{"_ms", 1000, 3}, {"_us", 1000000, 6}, {"", 1, 0}};

static bool ends_with(const char *name, const char *end)
{
    size_t len = strlen(name), end_len = strlen(end);

    return len >= end_len && strcmp(name + len - end_len, end) == 0;
}

static const hub__metric_unit_t *unit_of(const char *name)
{
    const hub__metric_unit_t *unit = units;

    while (!ends_with(name, unit->end))
        unit++;
    return unit;
}

static void print_name(hub__buffer_t *text, const char *name)
{
    size_t cut = strlen(unit_of(name)->end);

    hub__buffer_printf(text, "sockethub_%.*s%s", (int)(strlen(name) - cut), name,
                       cut > 0 ? "_seconds" : "");
}

/* In figures alone: printf()'s point is the locale's. */
static void print_value(hub__buffer_t *text, const char *name, uint64_t value)
{
    const hub__metric_unit_t *unit = unit_of(name);

    hub__buffer_printf(text, " %llu", (unsigned long long)(value / unit->per_second));
    if (unit->digits > 0)
        hub__buffer_printf(text, ".%0*u", unit->digits, (unsigned)(value % unit->per_second));
    HUB__APPEND_LITERAL(text, "\n");
}

static void print_help(hub__buffer_t *text, const char *name, const char *kind, const char *help)
{
    HUB__APPEND_LITERAL(text, "# HELP ");
    print_name(text, name);
    hub__buffer_printf(text, " %s\n# TYPE ", help);
    print_name(text, name);
    hub__buffer_printf(text, " %s\n", strcmp(kind, "peak") == 0 ? "gauge" : kind);
}

static void print_metric(const char *name, const char *kind, const char *help, uint64_t value,
                         void *user)
{
    print_help(user, name, kind, help);
    print_name(user, name);
    print_value(user, name, value);
}

/* In memory only the first few say anything. */
#define BUS_METRIC_MAP(X)                                                                          \
    X(healthy, gauge, "the broker answers: the last probe came back; 1 in memory")                 \
    X(topics, gauge, "topics that somebody listens to")                                            \
    X(subscriptions, gauge, "workers and programs that listen to them")                            \
    X(published, counter, "messages published on this node")                                       \
    X(delivered, counter, "messages handed to subscriptions")                                      \
    X(mailbox_dropped, counter, "messages that found a mailbox full")                              \
    X(gaps, counter, "gap notices, one for each subscription told")                                \
    X(remote_received, counter, "messages of other nodes and programs")                            \
    X(remote_plain, counter, "of these, what other programs published")                            \
    X(remote_duplicates, counter, "messages that came again, ignored")                             \
    X(remote_missing, counter, "messages that never came, by their numbers")                       \
    X(remote_invalid, counter, "what the broker brought that is no message, ignored")              \
    X(unknown, counter, "publishes that were in flight when the broker broke")                     \
    X(topics_refused, counter, "subscriptions that the broker did not take")                       \
    X(reconnects, counter, "connections to the broker after the first")                            \
    X(deaf, counter, "connections that were replaced because nothing came through")                \
    X(down_ms, gauge, "so long the broker has not answered; 0: it does")                           \
    X(probe_us, gauge, "to the broker and back, the last time")                                    \
    X(in_flight, gauge, "publishes that the broker has not answered")                              \
    X(in_flight_bytes, gauge, "of these")                                                          \
    X(refused_down, counter, "publishes that failed because the broker was away")                  \
    X(refused_limit, counter, "publishes that failed because too much was in flight")              \
    X(buffered_bytes, gauge, "of publishes that wait for the broker to come back")                 \
    X(buffer_expired, counter, "publishes that waited for too long and were never sent")           \
    X(refused_broker, counter, "publishes that the broker refused, or could not order")

typedef struct hub__bus_row {
    const char *hub; /* the first one on it */
    const char *backend;
    hub_bus_stats_t stats;
} hub__bus_row_t;

static hub__bus_row_t *read_buses(const hub_server_t *server, size_t *ret_count)
{
    const hub__endpoint_t *at = NULL;
    hub__bus_row_t *rows = NULL;
    size_t count = 0;

    for (hub_t *hub; (hub = hub__server_next_bus(server, &at)) != NULL; ++count) {
        rows = hub__realloc(rows, (count + 1) * sizeof(*rows));
        rows[count].hub = hub->name;
        rows[count].backend = hub_bus_backend_name(hub->bus);
        hub_bus_get_stats(hub->bus, &rows[count].stats);
    }
    *ret_count = count;
    return rows;
}

/* Names of hubs and backends may be alike, the number is not. No name needs an escape: a hub's has
 * letters and digits, and a backend's is a word of the program's own. */
static void print_bus_metric(hub__buffer_t *text, const char *name, const hub__bus_row_t *row,
                             size_t number, uint64_t value)
{
    print_name(text, name);
    hub__buffer_printf(text, "{bus=\"%zu\",hub=\"%s\",backend=\"%s\"}", number, row->hub,
                       row->backend);
    print_value(text, name, value);
}

/* All lines of a metric stand together. */
static void print_buses(const hub_server_t *server, hub__buffer_t *text)
{
    size_t count;
    hub__bus_row_t *rows = read_buses(server, &count);

    if (count != 0) {
#define BUS_METRIC_PRINT(name, kind, help)                                                         \
    print_help(text, BUS_METRIC_NAME_##kind(name), #kind, help);                                   \
    for (size_t i = 0; i != count; ++i)                                                            \
        print_bus_metric(text, BUS_METRIC_NAME_##kind(name), &rows[i], i + 1, rows[i].stats.name);
#define BUS_METRIC_NAME_gauge(name) "bus_" #name
#define BUS_METRIC_NAME_counter(name) "bus_" #name "_total"
        BUS_METRIC_MAP(BUS_METRIC_PRINT)
#undef BUS_METRIC_PRINT
    }
    free(rows);
}

void hub_metrics_on_http(hub_http_t *http, void *server)
{
    hub__buffer_t text = {0};

    hub_stats_foreach(server, print_metric, &text);
    print_buses(server, &text);
    hub_http_respond(http, 200, "text/plain; version=0.0.4; charset=utf-8", hub__buffer_str(&text));
    hub__buffer_dispose(&text);
}

/* The first one whose bus is not healthy, NULL if all are. */
static const hub_t *find_unhealthy(const hub_server_t *server)
{
    const hub__endpoint_t *at = NULL;
    hub_t *hub;

    while ((hub = hub__server_next_bus(server, &at)) != NULL && hub_bus_is_healthy(hub->bus))
        continue;
    return hub;
}

void hub_alive_on_http(hub_http_t *http, void *server)
{
    if (hub__server_is_stopping(server))
        hub_http_respond(http, 503, "application/json", HUB_STR("{\"status\":\"stopping\"}"));
    else
        hub_http_respond(http, 200, "application/json", HUB_STR("{\"status\":\"ok\"}"));
}

void hub_health_on_http(hub_http_t *http, void *server)
{
    const hub_t *hub = hub__server_is_stopping(server) ? NULL : find_unhealthy(server);
    char body[sizeof("{\"status\":\"bus_down\",\"hub\":\"\"}") + HUB__NAME_BYTES_MAX];

    if (hub == NULL) {
        hub_alive_on_http(http, server);
        return;
    }
    snprintf(body, sizeof(body), "{\"status\":\"bus_down\",\"hub\":\"%s\"}", hub->name);
    hub_http_respond(http, 503, "application/json", hub_str(body));
}
