/* test/cell.h - what a cell of the fault matrix is made of: two nodes in this process, each a
 * server with a hub on one broker, behind a proxy of its own; members on both; four publishers, of
 * which two are clients that push; and a look at the nodes' connections every few milliseconds. All
 * that happens is written down in a history. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "hub/hub.h"
#include "test/audience.h"
#include "test/broker.h"
#include "test/proxy.h"
#include "test/pusher.h"

#define CELL_NODES 2
#define CELL_PUBLISHERS 4 /* number n is on node n % 2; the last two push */
#define CELL_THREADS 2
#define CELL_CROWDED 8 /* who stays is in one of the first topics */
#define CELL_PUSHED 10 /* those who push are in these */
#define CELL_TOPICS 12 /* the last ones are for wanderers alone */

typedef struct cell cell_t;

typedef enum cell_mode {
    CELL_PLAIN,
    CELL_ORDER,    /* half of the topics have one order */
    CELL_BUFFER,   /* publishes wait for the broker */
    CELL_DEGRADED, /* publishes go on without it */
} cell_mode_t;

#define CELL_MODES 4

typedef struct cell_node {
    hub_bus_t *bus;
    hub_t *hub;
    hub_server_t *server;
    proxy_t *proxy;
    /* as of the last look */
    bool out;
    uint64_t reconnects;
    history_outage_t *outage;
} cell_node_t;

typedef struct cell_publisher {
    cell_t *cell;
    uint32_t index;
    pthread_t thread;
    unsigned random;
    pusher_t *pusher; /* NULL: it publishes by itself */
} cell_publisher_t;

struct cell {
    broker_kind_t kind;
    const broker_options_t *broker_options;
    cell_mode_t mode;
    uint32_t members;
    unsigned rate;        /* publishes a second, of each publisher */
    unsigned eager_ms;    /* between two while it is eager, about */
    unsigned position_ms; /* of the bus's option */
    bool one_sided;       /* what happens to connections happens to those of one node */
    unsigned seed;
    unsigned random;

    bool skipped; /* the broker has no one order, which the mode asks for */

    broker_t *broker;
    cell_node_t nodes[CELL_NODES];
    cell_publisher_t publishers[CELL_PUBLISHERS];
    history_t *history;
    audience_t *audience;

    atomic_ullong answers_due;
    atomic_uint wrong_levels; /* answers that contradict themselves */

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t changed;
    bool quiet; /* publishers end */
    uint64_t eager_until_us;
    uint64_t hushed_us; /* from then on nobody says anything on some topics; 0: not yet */

    pthread_mutex_t look_lock; /* of what is known of the nodes' connections */
    uint64_t looked_us;
    bool blind; /* nobody looks any more */
    pthread_t watch;
};

const char *cell_mode_name(cell_mode_t mode);
void cell_pause_ms(unsigned ms);
unsigned cell_draw(cell_t *cell, unsigned below);

/* False: something did not start, stderr says what. */
bool cell_start(cell_t *cell);
void cell_stop(cell_t *cell);

/* Publishers hurry for so long. Any thread. */
void cell_hurry(cell_t *cell, unsigned ms);
/* In so many milliseconds publishers fall silent on some topics, one with one order among them, for
 * good: what was lost there last nothing but a position tells. */
void cell_hush(cell_t *cell, unsigned ms);
/* Until something has been sent and is not answered. */
void cell_await_under_way(cell_t *cell);
/* What is known of the nodes is as of now. */
void cell_look(cell_t *cell);
/* Until every node is connected, or so long. */
void cell_await_well(cell_t *cell, unsigned timeout_ms);
/* Publishers end, each with one more on every topic that is not silent, which shows whether what it
 * said before is lost. Until all is answered and heard, or a limit. Nothing more is written down.
 */
void cell_end(cell_t *cell);
