/* SPDX-License-Identifier: MIT */
/* faults BROKER FAULT [options] - one cell of the matrix that test/faults.sh runs.
 *
 * Two nodes in this process, each a server with a hub on one broker behind the proxy; members on
 * both; four publishers, two on each. At a random moment the fault is made; later it is undone, and
 * the run goes on until messages cross the nodes again. What happened meanwhile is judged by
 * checker.c. One line tells the outcome, on stdout; the status is 0 where every promise was kept.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bus/buffer.h"
#include "hub/hub.h"
#include "test/audience.h"
#include "test/broker.h"
#include "test/checker.h"
#include "test/proxy.h"

#define NODES 2
#define PUBLISHERS 4
#define CROWDED 8
#define TOPICS 12 /* the last ones are for wanderers alone */
#define PUBLISHES_MAX 8192
#define WORKERS 2
#define HEALTHY_MS 10000
#define ANSWERS_MS 15000 /* a publish is answered within 5 s by itself */
#define END_MS 15000     /* a lost last message is found by the positions, each 10 s */
#define BACK_MS 5000
#define DEAF_MS 5000 /* to find out, where nobody tells */
#define LOOK_MS 2
#define FLOOD_BYTES (512 * 1024)
#define FLOOD_COUNT 8

struct cell;

struct fault {
    const char *name;
    /* Both return false where the broker did not do what was wanted. `end` may be NULL. */
    bool (*begin)(struct cell *cell);
    bool (*end)(struct cell *cell);
    unsigned hold_ms; /* between them */
    unsigned back_ms; /* the limit after the end */
    int only;         /* on this kind of broker; -1: on all */
};

struct node {
    hub_bus_t *bus;
    hub_t *hub;
    hub_server_t *server;
};

struct publisher {
    struct cell *cell;
    uint32_t index;
    pthread_t thread;
    unsigned random;
};

struct cell {
    const struct fault *fault;
    broker_kind_t kind;
    broker_t *broker;
    proxy_t *proxy;
    struct node nodes[NODES];
    struct publisher publishers[PUBLISHERS];
    history_t *history;
    audience_t *audience;
    uint64_t began_us;
    unsigned random;
    unsigned rate; /* publishes a second, of each publisher */
    uint32_t members;
    unsigned seed;
    bool quick;
    atomic_bool quiet; /* publishers end */
    atomic_ullong answers_due;
};

/* One publish under way. */
struct pending {
    struct cell *cell;
    uint32_t publisher;
    uint32_t topic;
    uint32_t number;
};

static void pause_ms(unsigned ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

    while (nanosleep(&time, &time) == -1)
        ;
}

static unsigned draw(struct cell *cell, unsigned below)
{
    return (unsigned)rand_r(&cell->random) % below;
}

/* ---- nodes ---- */

static bool is_healthy(hub_bus_t *bus)
{
    hub_bus_stats_t stats;

    hub_bus_get_stats(bus, &stats);
    return stats.healthy;
}

static bool await_healthy(hub_bus_t *bus)
{
    for (int i = 0; i < HEALTHY_MS / LOOK_MS && !is_healthy(bus); i++)
        pause_ms(LOOK_MS);
    return is_healthy(bus);
}

static bool start_node(struct cell *cell, struct node *node)
{
    char *url = broker_url_at(cell->broker, proxy_port(cell->proxy));
    hub_error_t error = {0};
    hub_status_t err = hub_bus_open(url, NULL, &node->bus, &error);

    if (err == HUB_OK)
        err = hub_create(&(hub_options_t){.bus = node->bus}, &node->hub);
    if (err == HUB_OK)
        err = hub_channel_add(node->hub, &(hub_channel_options_t){.pattern = "room:{id}"});
    if (err == HUB_OK)
        err = hub_server_create(&(hub_server_options_t){.threads = WORKERS}, &node->server);
    if (err == HUB_OK)
        err = hub_server_mount(node->server, node->hub, NULL);
    if (err == HUB_OK)
        err = hub_server_listen(node->server, "127.0.0.1:0");
    if (err == HUB_OK)
        err = hub_server_start(node->server);
    if (err != HUB_OK)
        fprintf(stderr, "%s: %s %s\n", url, hub_status_text(err), error.text);
    free(url);
    return err == HUB_OK && await_healthy(node->bus);
}

static void stop_node(struct node *node)
{
    if (node->server != NULL) {
        hub_server_stop(node->server);
        hub_server_wait(node->server);
    }
    hub_server_destroy(node->server);
    hub_destroy(node->hub);
    hub_bus_destroy(node->bus);
}

/* ---- publishers ---- */

static void on_published(const hub_publish_result_t *result, void *user)
{
    struct pending *pending = user;
    struct cell *cell = pending->cell;

    history_answer(cell->history, pending->publisher, pending->topic, pending->number,
                   result->status, audience_now_us());
    atomic_fetch_sub(&cell->answers_due, 1);
    free(pending);
}

static void publish(struct publisher *publisher, uint32_t topic)
{
    struct cell *cell = publisher->cell;
    hub_t *hub = cell->nodes[publisher->index % NODES].hub;
    uint64_t now_us = audience_now_us();
    uint32_t number = history_say(cell->history, publisher->index, topic, now_us);
    struct pending *pending = hub__alloc(sizeof(*pending));
    char name[AUDIENCE_TEXT], payload[AUDIENCE_TEXT];
    hub_status_t err;

    if (number == 0)
        abort();
    *pending = (struct pending){
        .cell = cell, .publisher = publisher->index, .topic = topic, .number = number};
    audience_topic(name, topic);
    audience_payload(payload, publisher->index, number, now_us);
    atomic_fetch_add(&cell->answers_due, 1);
    err = hub_publish_counted(hub, hub_str(name), HUB_STR(AUDIENCE_EVENT),
                              hub_json(hub_str(payload)), on_published, pending);
    if (err != HUB_OK)
        on_published(&(hub_publish_result_t){.status = err}, pending);
}

static void *run_publisher(void *arg)
{
    struct publisher *publisher = arg;
    struct cell *cell = publisher->cell;
    unsigned each_ms = 1000 / cell->rate;

    while (!atomic_load(&cell->quiet)) {
        publish(publisher, (uint32_t)rand_r(&publisher->random) % TOPICS);
        pause_ms(each_ms / 2 + (unsigned)rand_r(&publisher->random) % each_ms);
    }
    return NULL;
}

static void start_publishers(struct cell *cell)
{
    for (uint32_t i = 0; i < PUBLISHERS; i++) {
        cell->publishers[i] =
            (struct publisher){.cell = cell, .index = i, .random = cell->seed + 1 + i};
        cell->history->publisher_nodes[i] = i % NODES;
        if (pthread_create(&cell->publishers[i].thread, NULL, run_publisher,
                           &cell->publishers[i]) != 0)
            abort();
    }
}

/* Each says one more on every topic, which shows whether what it said before is lost. */
static void stop_publishers(struct cell *cell)
{
    atomic_store(&cell->quiet, true);
    for (uint32_t i = 0; i < PUBLISHERS; i++)
        pthread_join(cell->publishers[i].thread, NULL);
    for (uint32_t i = 0; i < PUBLISHERS; i++) {
        for (uint32_t topic = 0; topic < TOPICS; topic++)
            publish(&cell->publishers[i], topic);
    }
    for (int i = 0; i < ANSWERS_MS / LOOK_MS && atomic_load(&cell->answers_due) > 0; i++)
        pause_ms(LOOK_MS);
}

/* ---- faults ---- */

static bool kill_broker(struct cell *cell)
{
    broker_kill(cell->broker);
    return true;
}

static bool restart_broker(struct cell *cell)
{
    return broker_restart(cell->broker, false);
}

static bool restart_empty(struct cell *cell)
{
    return broker_restart(cell->broker, true);
}

static bool pause_broker(struct cell *cell)
{
    broker_pause(cell->broker);
    return true;
}

static bool continue_broker(struct cell *cell)
{
    broker_continue(cell->broker);
    return true;
}

static bool reset_all(struct cell *cell)
{
    proxy_reset(cell->proxy);
    return true;
}

static bool deafen(struct cell *cell)
{
    proxy_deafen(cell->proxy, (proxy_way_t)(1 + draw(cell, 3)));
    return true;
}

/* What no parser takes, or the head of something long, which swallows what follows. */
static bool inject_garbage(struct cell *cell)
{
    static const struct {
        const char *bytes;
        size_t size;
    } heads[BROKER_KINDS] = {
        [BROKER_REDIS] = {"$900000\r\n", 9},
        [BROKER_NATS] = {"MSG x 1 900000\r\n", 16},
        [BROKER_POSTGRES] = {"A\0\x0d\xbb\xa0", 5},
    };
    unsigned char bytes[300];
    size_t size = 1 + draw(cell, sizeof(bytes) - 2);

    for (size_t i = 0; i < size; i++)
        bytes[i] = (unsigned char)draw(cell, 256);
    bytes[size++] = '\n';
    if (draw(cell, 2) == 0)
        proxy_inject(cell->proxy, bytes, size);
    else
        proxy_inject(cell->proxy, heads[cell->kind].bytes, heads[cell->kind].size);
    return true;
}

static bool revoke_user(struct cell *cell)
{
    return broker_revoke(cell->broker);
}

static bool grant_user(struct cell *cell)
{
    return broker_grant(cell->broker);
}

/* Redis has more to say to a subscriber at once than it may wait for him: it ends the connection.
 */
static bool fill_output(struct cell *cell)
{
    char *said = broker_admin(cell->broker, "PUBSUB CHANNELS"), *channel, *answer = NULL;
    char command[512];

    channel = said == NULL ? NULL : strstr(said, "room:0\r\n");
    while (channel != NULL && channel > said && channel[-1] != '\n')
        channel--;
    if (channel != NULL) {
        snprintf(
            command, sizeof(command),
            "EVAL \"for i = 1, %d do redis.call('PUBLISH', '%.*s', string.rep('x', %d)) end\" 0",
            FLOOD_COUNT, (int)strcspn(channel, "\r"), channel, FLOOD_BYTES);
        answer = broker_admin(cell->broker, command);
    }
    free(said);
    free(answer);
    return answer != NULL;
}

static const struct fault faults[] = {
    {"kill", kill_broker, restart_broker, 1000, BACK_MS, -1},
    {"stop3", pause_broker, continue_broker, 3000, BACK_MS, -1},
    {"stop15", pause_broker, continue_broker, 15000, BACK_MS, -1},
    {"empty", kill_broker, restart_empty, 1000, BACK_MS, -1},
    {"reset", reset_all, NULL, 0, BACK_MS, -1},
    {"halfopen", deafen, NULL, 0, DEAF_MS + BACK_MS, -1},
    {"garbage", inject_garbage, NULL, 0, DEAF_MS + BACK_MS, -1},
    {"auth", revoke_user, grant_user, 1000, BACK_MS, -1},
    {"output", fill_output, NULL, 0, BACK_MS, BROKER_REDIS},
};

#define FAULTS (sizeof(faults) / sizeof(faults[0]))

/* ---- a run ---- */

static bool start_cell(struct cell *cell)
{
    static const char *const redis_config[] = {"client-output-buffer-limit pubsub 1mb 1mb 0", NULL};
    broker_options_t options = {
        .config = cell->kind == BROKER_REDIS ? redis_config : NULL,
        .password = cell->fault->begin == revoke_user,
    };
    const char *addresses[NODES];

    cell->broker = broker_start(cell->kind, &options);
    cell->proxy = cell->broker == NULL ? NULL : proxy_start(broker_port(cell->broker));
    if (cell->proxy == NULL)
        return false;
    for (int i = 0; i < NODES; i++) {
        if (!start_node(cell, &cell->nodes[i]))
            return false;
        addresses[i] = hub_server_address(cell->nodes[i].server, 0);
    }
    cell->history = history_create(NODES, TOPICS, PUBLISHERS, cell->members, PUBLISHES_MAX);
    cell->audience = audience_start(&(audience_options_t){.history = cell->history,
                                                          .addresses = addresses,
                                                          .crowded = CROWDED,
                                                          .wanderers = cell->members / 10,
                                                          .seed = cell->seed});
    start_publishers(cell);
    return true;
}

/* The fault and what follows it. */
static bool run_fault(struct cell *cell)
{
    const struct fault *fault = cell->fault;
    history_fault_t *times = &cell->history->faults[0];
    unsigned hold_ms = fault->hold_ms + (cell->quick ? 0 : draw(cell, 1 + fault->hold_ms / 4));
    bool done;

    if (!audience_await_crossing(cell->audience, 1, HEALTHY_MS)) {
        fprintf(stderr, "no message crosses the nodes before the fault\n");
        return false;
    }
    pause_ms(200 + draw(cell, cell->quick ? 300 : 2000));
    cell->history->fault_count = 1;
    times->begin_us = audience_now_us();
    done = fault->begin(cell);
    pause_ms(hold_ms); /* how long it lasts */
    if (done && fault->end != NULL)
        done = fault->end(cell);
    times->end_us = audience_now_us();
    if (!done) {
        fprintf(stderr, "the fault could not be made\n");
        return false;
    }
    audience_await_crossing(cell->audience, times->end_us, fault->back_ms + BACK_MS);
    pause_ms(cell->quick ? 300 : 2000);
    return true;
}

static void stop_cell(struct cell *cell)
{
    if (cell->audience != NULL)
        audience_stop(cell->audience);
    for (int i = 0; i < NODES; i++)
        stop_node(&cell->nodes[i]);
    proxy_stop(cell->proxy);
    broker_stop(cell->broker);
    history_destroy(cell->history);
}

static uint64_t run_cell(struct cell *cell)
{
    const checker_limits_t limits = {.back_us = (uint64_t)cell->fault->back_ms * 1000,
                                     .grace_us = (uint64_t)(cell->fault->back_ms + 3000) * 1000};
    checker_report_t report = {.all = 1};

    cell->began_us = audience_now_us();
    if (start_cell(cell)) {
        bool done = run_fault(cell);

        audience_rest(cell->audience, ANSWERS_MS);
        stop_publishers(cell);
        audience_await_end(cell->audience, END_MS);
        checker_run(cell->history, &limits, &report);
        report.all += !done;
    }
    printf("%-8s  %-8s  %-6s  back %5.2f s  %5llu published  %4llu failed  %3llu unknown  "
           "%6llu heard  %4llu gaps  %4llu covered  %4.1f s  seed %u\n",
           broker_name(cell->kind), cell->fault->name, report.all == 0 ? "ok" : "FAILED",
           (double)report.back_us / 1e6, (unsigned long long)report.publishes,
           (unsigned long long)report.failed, (unsigned long long)report.unknown,
           (unsigned long long)report.heard, (unsigned long long)report.gaps,
           (unsigned long long)report.covered, (double)(audience_now_us() - cell->began_us) / 1e6,
           cell->seed);
    for (int i = 0; i < CHECKER_RULE_COUNT; i++) {
        if (report.broken[i] > 0)
            printf("    %s, %llu times; %s\n", checker_rule_name((checker_rule_t)i),
                   (unsigned long long)report.broken[i], report.first[i]);
    }
    stop_cell(cell);
    return report.all;
}

static int usage(void)
{
    fprintf(stderr, "usage: faults BROKER FAULT [--quick] [--seed N] [--members N] [--rate N] "
                    "[--log]\n  BROKER  redis nats postgres\n  FAULT  ");
    for (size_t i = 0; i < FAULTS; i++)
        fprintf(stderr, " %s", faults[i].name);
    fprintf(stderr, "\n");
    return 2;
}

static bool read_options(struct cell *cell, int argc, char **argv)
{
    for (int i = 3; i < argc; i++) {
        unsigned value = i + 1 < argc ? (unsigned)strtoul(argv[i + 1], NULL, 10) : 0;

        if (strcmp(argv[i], "--quick") == 0)
            cell->quick = true;
        else if (strcmp(argv[i], "--log") == 0)
            hub_log_set_level(HUB_LOG_INFO);
        else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
            cell->seed = value, i++;
        else if (strcmp(argv[i], "--members") == 0 && value > 0)
            cell->members = value, i++;
        else if (strcmp(argv[i], "--rate") == 0 && value > 0 && value <= 500)
            cell->rate = value, i++;
        else
            return false;
    }
    cell->random = cell->seed;
    return true;
}

int main(int argc, char **argv)
{
    struct cell cell = {
        .members = 200, .rate = 25, .seed = (unsigned)(audience_now_us() ^ (uint64_t)getpid())};
    int kind = 0;

    hub_log_set_level(HUB_LOG_OFF);
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc < 3 || !read_options(&cell, argc, argv))
        return usage();
    while (kind < BROKER_KINDS && strcmp(broker_name((broker_kind_t)kind), argv[1]) != 0)
        kind++;
    for (size_t i = 0; i < FAULTS; i++) {
        if (strcmp(faults[i].name, argv[2]) == 0)
            cell.fault = &faults[i];
    }
    if (kind == BROKER_KINDS || cell.fault == NULL ||
        (cell.fault->only != -1 && cell.fault->only != kind))
        return usage();
    cell.kind = (broker_kind_t)kind;
    return run_cell(&cell) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
