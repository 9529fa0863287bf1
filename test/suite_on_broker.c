/* SPDX-License-Identifier: MIT */
/* The suite that every bus passes, over a real broker: bus_redis, bus_nats and bus_postgres are
 * this file, each with its BROKER. All cases share one broker, the kept one of ctest or else one of
 * the program's own, so each world's buses have names that nobody else has. */
#include "test/broker.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bus/log.h"
#include "test/bus_suite.h"
#include "test/executor.h"
#include "test/kept.h"

#define LOOK_MS 1
#define NAME_MAX_BYTES 64

struct world {
    char *url;
    unsigned number;
};

static broker_t *own;

static void *start_world(void)
{
    static unsigned worlds;
    static struct world world;

    world = (struct world){.url = kept_broker_url(BROKER), .number = worlds++};
    if (world.url == NULL && own == NULL) {
        own = broker_start(BROKER, NULL);
        assert_non_null(own);
    }
    if (world.url == NULL)
        world.url = broker_url_at(own, broker_port(own));
    return &world;
}

static void stop_world(void *arg)
{
    struct world *world = arg;

    free(world->url);
}

static bool is_healthy(hub_bus_t *bus)
{
    hub_bus_stats_t stats;

    hub_bus_get_stats(bus, &stats);
    return stats.healthy;
}

static hub_bus_t *open_there(void *arg, const hub_bus_options_t *options)
{
    const struct world *world = arg;
    hub_bus_options_t completed = *options;
    char name[NAME_MAX_BYTES + 1];
    hub_error_t error = {0};
    hub_bus_t *bus = NULL;

    snprintf(name, sizeof(name), "suite%d-%u-%s", (int)getpid(), world->number,
             options->name == NULL ? "hub" : options->name);
    completed.name = name;
    if (hub_bus_open(world->url, &completed, &bus, &error) != HUB_OK)
        fail_msg("%s: %s", world->url, error.text);
    for (int i = 0; i < TEST_DEADLINE_MS / LOOK_MS && !is_healthy(bus); i++)
        poll(NULL, 0, LOOK_MS);
    assert_true(is_healthy(bus));
    return bus;
}

static void need(struct CMUnitTest *tests, size_t count)
{
    broker_need_for(BROKER, tests, count);
}

int main(void)
{
    const bus_suite_backend_t backend = {.name = broker_name(BROKER),
                                         .start = start_world,
                                         .stop = stop_world,
                                         .open = open_there,
                                         .need = need,
                                         .shared = true};
    int failed;

    hub_log_set_level(HUB_LOG_ERROR);
    failed = bus_suite_run(&backend);
    broker_stop(own);
    return failed;
}
