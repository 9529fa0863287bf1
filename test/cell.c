/* SPDX-License-Identifier: MIT */
/* Publishers take a rest between two publishes, unless something is about to happen: then they
 * hurry, so that something is under way. */
#define _GNU_SOURCE
#include "test/cell.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bus/buffer.h"

#define PUBLISHES_MAX 16384
#define WORKERS 2
#define HEALTHY_MS 15000
#define ANSWERS_MS 15000 /* a publish is answered within 5 s by itself */
#define END_MS 15000
#define TAIL_MS 200     /* for what comes late, or twice */
#define POSITION_MS 500 /* or less, in most cells */
#define LOOK_MS 2
#define UNDER_WAY_MS 2000
#define RECONNECTED_MS 60 /* so long publishers hurry then */
#define DELAY_MS 8
#define PUSHES_PER_S 100000 /* allowed */

struct pending {
    cell_t *cell;
    uint32_t publisher;
    uint32_t topic;
    uint32_t number;
};

static const char *const modes[CELL_MODES] = {"plain", "order", "buffer", "degraded"};

const char *cell_mode_name(cell_mode_t mode)
{
    return modes[mode];
}

void cell_pause_ms(unsigned ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

    while (nanosleep(&time, &time) == -1)
        ;
}

unsigned cell_draw(cell_t *cell, unsigned below)
{
    return (unsigned)rand_r(&cell->random) % below;
}

static bool is_ordered(const cell_t *cell, uint32_t topic)
{
    return cell->mode == CELL_ORDER && topic % 2 == 1;
}

/* ---- nodes ---- */

static hub_status_t on_receive(hub_member_t *me, const hub_message_t *msg)
{
    hub_status_t err = hub_member_broadcast(me, msg->event, msg->payload);

    return err != HUB_OK ? err : hub_member_reply(me, msg, HUB_JSON("{}"));
}

static hub_status_t add_channels(cell_t *cell, hub_t *hub)
{
    hub_channel_options_t channel = {.pattern = "room:{id}", .on_receive = on_receive};
    hub_status_t err = hub_channel_add(hub, &channel);

    if (err != HUB_OK || cell->mode != CELL_ORDER)
        return err;
    channel.pattern = "room:{id:[0-9]*[13579]}";
    channel.order = HUB_ORDER_BUS;
    return hub_channel_add(hub, &channel);
}

static hub_status_t open_bus(cell_t *cell, cell_node_t *node)
{
    static const char *const options[CELL_MODES] = {
        [CELL_PLAIN] = "",
        [CELL_ORDER] = "",
        [CELL_BUFFER] = "&buffer=8388608",
        [CELL_DEGRADED] = "&degraded=local",
    };
    char *at = broker_url_at(cell->broker, proxy_port(node->proxy)), url[400];
    hub_error_t error = {0};
    hub_status_t err;

    snprintf(url, sizeof(url), "%s?position_ms=%u%s", at, cell->position_ms, options[cell->mode]);
    free(at);
    err = hub_bus_open(url, NULL, &node->bus, &error);
    if (err != HUB_OK)
        fprintf(stderr, "%s: %s\n", url, error.text);
    return err;
}

static bool await_healthy(hub_bus_t *bus)
{
    for (int i = 0; i < HEALTHY_MS / LOOK_MS && !hub_bus_is_healthy(bus); i++)
        cell_pause_ms(LOOK_MS);
    if (!hub_bus_is_healthy(bus))
        fprintf(stderr, "a node is not healthy\n");
    return hub_bus_is_healthy(bus);
}

static bool start_node(cell_t *cell, cell_node_t *node)
{
    hub_status_t err;

    node->proxy = proxy_start(broker_port(cell->broker));
    if (node->proxy == NULL)
        return false;
    err = open_bus(cell, node);
    cell->skipped = err == HUB_OK && cell->mode == CELL_ORDER && !hub_bus_has_one_order(node->bus);
    if (cell->skipped)
        return false;
    if (err == HUB_OK)
        err = hub_create(&(hub_options_t){.bus = node->bus}, &node->hub);
    if (err == HUB_OK)
        err = add_channels(cell, node->hub);
    if (err == HUB_OK)
        err = hub_server_create(&(hub_server_options_t){.threads = WORKERS}, &node->server);
    if (err == HUB_OK)
        err =
            hub_server_mount(node->server, node->hub,
                             &(hub_endpoint_options_t){.limits = {.messages_per_s = PUSHES_PER_S,
                                                                  .messages_burst = PUSHES_PER_S}});
    if (err == HUB_OK)
        err = hub_server_listen(node->server, "127.0.0.1:0");
    if (err == HUB_OK)
        err = hub_server_start(node->server);
    if (err != HUB_OK)
        fprintf(stderr, "a node does not start: %s\n", hub_status_text(err));
    return err == HUB_OK && await_healthy(node->bus);
}

static void stop_node(cell_node_t *node)
{
    if (node->server != NULL) {
        hub_server_stop(node->server);
        hub_server_wait(node->server);
    }
    hub_server_destroy(node->server);
    hub_destroy(node->hub);
    hub_bus_destroy(node->bus);
    proxy_stop(node->proxy);
}

/* ---- looking at them ---- */

static history_outage_t *begin_outage(cell_t *cell, uint32_t node)
{
    history_outage_t *outage;

    if (cell->history->outage_count == HISTORY_OUTAGES_MAX) {
        fprintf(stderr, "node %u has too many outages\n", node);
        abort();
    }
    outage = &cell->history->outages[cell->history->outage_count++];
    *outage = (history_outage_t){
        .node = node, .begin_us = cell->looked_us, .end_us = UINT64_MAX, .connections = 0};
    return outage;
}

/* Under the lock. */
static void look_at(cell_t *cell, uint32_t index, uint64_t now_us)
{
    cell_node_t *node = &cell->nodes[index];
    hub_bus_stats_t stats;
    bool renewed;

    hub_bus_get_stats(node->bus, &stats);
    renewed = stats.reconnects != node->reconnects;
    if ((!stats.healthy || renewed) && node->outage == NULL)
        node->outage = begin_outage(cell, index);
    if (node->outage != NULL)
        node->outage->connections += stats.reconnects - node->reconnects;
    node->reconnects = stats.reconnects;
    if (node->outage != NULL && stats.healthy) {
        node->outage->end_us = now_us;
        node->outage = NULL;
        renewed = true;
    }
    if (renewed)
        cell_hurry(cell, RECONNECTED_MS);
}

void cell_look(cell_t *cell)
{
    uint64_t now_us;

    pthread_mutex_lock(&cell->look_lock);
    now_us = audience_now_us();
    for (uint32_t i = 0; i < CELL_NODES; i++)
        look_at(cell, i, now_us);
    cell->looked_us = now_us;
    pthread_mutex_unlock(&cell->look_lock);
}

static bool is_blind(cell_t *cell)
{
    bool blind;

    pthread_mutex_lock(&cell->look_lock);
    blind = cell->blind;
    pthread_mutex_unlock(&cell->look_lock);
    return blind;
}

static void *run_watch(void *arg)
{
    cell_t *cell = arg;

    while (!is_blind(cell)) {
        cell_look(cell);
        cell_pause_ms(LOOK_MS);
    }
    return NULL;
}

static void stop_watch(cell_t *cell)
{
    pthread_mutex_lock(&cell->look_lock);
    cell->blind = true;
    pthread_mutex_unlock(&cell->look_lock);
    pthread_join(cell->watch, NULL);
}

/* ---- publishers ---- */

static history_outcome_t outcome_of(cell_t *cell, const hub_publish_result_t *result)
{
    bool on_bus = result->level == HUB_LEVEL_BUS;

    if (on_bus != (result->status == HUB_OK))
        atomic_fetch_add(&cell->wrong_levels, 1);
    return result->status == HUB_OK         ? HISTORY_SENT
           : result->status == HUB_EUNKNOWN ? HISTORY_ACCEPTED
                                            : HISTORY_KEPT;
}

static void answer(struct pending *pending, history_outcome_t outcome, hub_status_t status)
{
    history_answer(pending->cell->history, pending->publisher, pending->topic, pending->number,
                   outcome, status, audience_now_us());
    atomic_fetch_sub(&pending->cell->answers_due, 1);
    free(pending);
}

static void on_published(const hub_publish_result_t *result, void *user)
{
    struct pending *pending = user;

    answer(pending, outcome_of(pending->cell, result), result->status);
}

static void publish_here(cell_publisher_t *publisher, uint32_t topic)
{
    cell_t *cell = publisher->cell;
    hub_t *hub = cell->nodes[publisher->index % CELL_NODES].hub;
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
        answer(pending, HISTORY_FAILED, err);
}

static void publish(cell_publisher_t *publisher, uint32_t topic)
{
    if (publisher->pusher != NULL)
        pusher_say(publisher->pusher, topic);
    else
        publish_here(publisher, topic);
}

static uint32_t topics_of(const cell_publisher_t *publisher)
{
    return publisher->pusher != NULL ? CELL_PUSHED : CELL_TOPICS;
}

static bool is_silent(cell_t *cell, uint32_t topic)
{
    bool hushed;

    pthread_mutex_lock(&cell->lock);
    hushed = cell->hushed_us != 0 && audience_now_us() >= cell->hushed_us;
    pthread_mutex_unlock(&cell->lock);
    return hushed && (topic == 2 || topic == 5 || topic == CELL_PUSHED);
}

static void publish_unless_silent(cell_publisher_t *publisher, uint32_t topic)
{
    if (!is_silent(publisher->cell, topic))
        publish(publisher, topic);
}

/* One on every topic, so that all but the silent ones have something that comes last. */
static void publish_everywhere(cell_publisher_t *publisher)
{
    for (uint32_t topic = 0; topic < topics_of(publisher); topic++)
        publish_unless_silent(publisher, topic);
}

static struct timespec deadline_of(uint64_t at_us)
{
    return (struct timespec){.tv_sec = (time_t)(at_us / 1000000),
                             .tv_nsec = (long)(at_us % 1000000) * 1000};
}

/* For so long, or until it is time to hurry. False: the end. */
static bool rest(cell_publisher_t *publisher, unsigned ms)
{
    cell_t *cell = publisher->cell;
    uint64_t due_us = audience_now_us() + ms * 1000;
    struct timespec due = deadline_of(due_us);
    bool eager, quiet;

    pthread_mutex_lock(&cell->lock);
    while (!cell->quiet && audience_now_us() >= cell->eager_until_us && audience_now_us() < due_us)
        pthread_cond_timedwait(&cell->changed, &cell->lock, &due);
    eager = audience_now_us() < cell->eager_until_us;
    quiet = cell->quiet;
    pthread_mutex_unlock(&cell->lock);
    if (eager)
        cell_pause_ms((unsigned)rand_r(&publisher->random) % (2 * cell->eager_ms));
    return !quiet;
}

static void *run_publisher(void *arg)
{
    cell_publisher_t *publisher = arg;
    unsigned each_ms = 1000 / publisher->cell->rate;

    do
        publish_unless_silent(publisher,
                              (uint32_t)rand_r(&publisher->random) % topics_of(publisher));
    while (rest(publisher, each_ms / 2 + (unsigned)rand_r(&publisher->random) % each_ms));
    return NULL;
}

static void prepare_publisher(cell_t *cell, uint32_t index)
{
    cell_publisher_t *publisher = &cell->publishers[index];
    uint32_t node = index % CELL_NODES;

    *publisher = (cell_publisher_t){.cell = cell, .index = index, .random = cell->seed + 1 + index};
    if (index < CELL_THREADS)
        return;
    publisher->pusher = pusher_start(
        &(pusher_options_t){.history = cell->history,
                            .address = hub_server_address(cell->nodes[node].server, 0),
                            .publisher = index,
                            .member = cell->members + (index - CELL_THREADS) * CELL_PUSHED,
                            .topics = CELL_PUSHED});
}

static void start_publishers(cell_t *cell)
{
    for (uint32_t i = 0; i < CELL_PUBLISHERS; i++)
        cell->history->publisher_nodes[i] = i % CELL_NODES;
    for (uint32_t i = 0; i < CELL_PUBLISHERS; i++)
        prepare_publisher(cell, i);
    for (uint32_t i = 0; i < CELL_PUBLISHERS; i++) {
        if (pthread_create(&cell->publishers[i].thread, NULL, run_publisher,
                           &cell->publishers[i]) != 0)
            abort();
    }
}

static void stop_publishers(cell_t *cell)
{
    pthread_mutex_lock(&cell->lock);
    cell->quiet = true;
    pthread_cond_broadcast(&cell->changed);
    pthread_mutex_unlock(&cell->lock);
    for (uint32_t i = 0; i < CELL_PUBLISHERS; i++)
        pthread_join(cell->publishers[i].thread, NULL);
    for (uint32_t i = 0; i < CELL_PUBLISHERS; i++)
        publish_everywhere(&cell->publishers[i]);
}

void cell_hurry(cell_t *cell, unsigned ms)
{
    uint64_t until_us = audience_now_us() + ms * 1000;

    pthread_mutex_lock(&cell->lock);
    if (cell->eager_until_us < until_us)
        cell->eager_until_us = until_us;
    pthread_cond_broadcast(&cell->changed);
    pthread_mutex_unlock(&cell->lock);
}

void cell_hush(cell_t *cell, unsigned ms)
{
    pthread_mutex_lock(&cell->lock);
    cell->hushed_us = audience_now_us() + ms * 1000;
    pthread_mutex_unlock(&cell->lock);
}

void cell_await_under_way(cell_t *cell)
{
    uint64_t deadline_us = audience_now_us() + UNDER_WAY_MS * 1000;

    cell_hurry(cell, UNDER_WAY_MS);
    while (atomic_load(&cell->answers_due) == 0 && audience_now_us() < deadline_us)
        cell_pause_ms(0);
    pthread_mutex_lock(&cell->lock);
    cell->eager_until_us = 0;
    pthread_mutex_unlock(&cell->lock);
}

void cell_await_well(cell_t *cell, unsigned timeout_ms)
{
    uint64_t deadline_us = audience_now_us() + (uint64_t)timeout_ms * 1000;

    for (uint32_t i = 0; i < CELL_NODES; i++) {
        while (!hub_bus_is_healthy(cell->nodes[i].bus) && audience_now_us() < deadline_us)
            cell_pause_ms(LOOK_MS);
    }
}

/* Those of what was said last on silent topics, two of each, and one of what was said just now. */
static void await_positions(cell_t *cell)
{
    uint64_t now_us = audience_now_us(), until_us;

    until_us = cell->hushed_us + 2000 * (uint64_t)cell->position_ms;
    if (until_us < now_us + POSITION_MS * 1000)
        until_us = now_us + POSITION_MS * 1000;
    cell_pause_ms((unsigned)((until_us - now_us) / 1000) + TAIL_MS);
}

void cell_end(cell_t *cell)
{
    uint64_t since_us;

    audience_rest(cell->audience, ANSWERS_MS);
    since_us = audience_now_us();
    stop_publishers(cell);
    for (int i = 0; i < ANSWERS_MS / LOOK_MS && atomic_load(&cell->answers_due) > 0; i++)
        cell_pause_ms(LOOK_MS);
    for (uint32_t i = CELL_THREADS; i < CELL_PUBLISHERS; i++)
        pusher_await_answers(cell->publishers[i].pusher, ANSWERS_MS);
    audience_await_end(cell->audience, since_us, END_MS);
    for (uint32_t i = CELL_THREADS; i < CELL_PUBLISHERS; i++)
        pusher_await_end(cell->publishers[i].pusher, since_us, END_MS);
    await_positions(cell);
    audience_end(cell->audience);
    for (uint32_t i = CELL_THREADS; i < CELL_PUBLISHERS; i++)
        pusher_end(cell->publishers[i].pusher);
    stop_watch(cell);
}

/* ---- life ---- */

static void start_history(cell_t *cell)
{
    const char *addresses[CELL_NODES];
    uint32_t pushing = (CELL_PUBLISHERS - CELL_THREADS) * CELL_PUSHED;

    cell->history = history_create(CELL_NODES, CELL_TOPICS, CELL_PUBLISHERS,
                                   cell->members + pushing, PUBLISHES_MAX);
    for (uint32_t i = 0; i < CELL_TOPICS; i++)
        cell->history->ordered[i] = is_ordered(cell, i);
    for (uint32_t i = 0; i < CELL_NODES; i++)
        addresses[i] = hub_server_address(cell->nodes[i].server, 0);
    cell->audience = audience_start(&(audience_options_t){.history = cell->history,
                                                          .members = cell->members,
                                                          .addresses = addresses,
                                                          .crowded = CELL_CROWDED,
                                                          .wanderers = cell->members / 10,
                                                          .seed = cell->seed});
}

static void start_watch(cell_t *cell)
{
    hub_bus_stats_t stats;

    for (uint32_t i = 0; i < CELL_NODES; i++) {
        hub_bus_get_stats(cell->nodes[i].bus, &stats);
        cell->nodes[i].reconnects = stats.reconnects;
    }
    cell->looked_us = audience_now_us();
    if (pthread_create(&cell->watch, NULL, run_watch, cell) != 0)
        abort();
}

static void init_locks(cell_t *cell)
{
    pthread_condattr_t monotonic;

    pthread_mutex_init(&cell->lock, NULL);
    pthread_mutex_init(&cell->look_lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&cell->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

bool cell_start(cell_t *cell)
{
    init_locks(cell);
    cell->broker = broker_start(cell->kind, cell->broker_options);
    if (cell->broker == NULL)
        return false;
    for (uint32_t i = 0; i < CELL_NODES; i++) {
        if (!start_node(cell, &cell->nodes[i]))
            return false;
    }
    for (uint32_t i = 0; i < CELL_NODES; i++)
        proxy_delay(cell->nodes[i].proxy, 1 + cell_draw(cell, DELAY_MS));
    start_history(cell);
    start_watch(cell);
    start_publishers(cell);
    return true;
}

void cell_stop(cell_t *cell)
{
    if (cell->audience != NULL && !cell->blind)
        stop_watch(cell);
    if (cell->audience != NULL)
        audience_stop(cell->audience);
    for (uint32_t i = 0; i < CELL_PUBLISHERS; i++)
        pusher_stop(cell->publishers[i].pusher);
    for (uint32_t i = 0; i < CELL_NODES; i++)
        stop_node(&cell->nodes[i]);
    broker_stop(cell->broker);
    history_destroy(cell->history);
    pthread_cond_destroy(&cell->changed);
    pthread_mutex_destroy(&cell->lock);
    pthread_mutex_destroy(&cell->look_lock);
}
