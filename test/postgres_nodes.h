/* test/postgres_nodes.h - a fixture for what is particular to PostgreSQL: a server of its own, up
 * to NODES nodes on it, what they hear on "room:1", and all that is logged. */
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "test/broker.h"
#include "test/executor.h"
#include "test/listener.h"
#include "test/logbook.h"

#define NODES 6
#define BATCH 60

struct node {
    hub_bus_t *bus;
    listener_t heard; /* of "room:1" */
    bool listens;
};

struct fixture {
    broker_t *broker;
    struct node nodes[NODES];
    test_executor_t loop;
    logbook_t log;
    hub_status_t answers[BATCH];
    size_t answered;
};

/* The server lets in who has the password, which must not be in the log at the end. */
int set_up(void **state);
int tear_down(void **state);

void open_url(struct fixture *fixture, size_t node, const char *url);
void open_node(struct fixture *fixture, size_t node, const char *params);
/* And subscribes, and is healthy. */
void listen_up(struct fixture *fixture, size_t node, const char *params);
hub_bus_stats_t stats_of(struct fixture *fixture, size_t node);

/* Runs the loop until `holds` for node number `node`. */
void wait_until(struct fixture *fixture, bool (*holds)(struct fixture *fixture, size_t node),
                size_t node);
bool is_up(struct fixture *fixture, size_t node);
bool is_down(struct fixture *fixture, size_t node);
void expect_heard(struct fixture *fixture, size_t node, const char *text);
bool has_logged(struct fixture *fixture, const char *text);
void expect_logged(struct fixture *fixture, const char *text);

/* As the server's superuser. */
void admin(struct fixture *fixture, const char *sql);
void expect_answer(struct fixture *fixture, const char *sql, const char *expected);

/* Publishes on "room:1" and keeps the answer. */
void say_and_ask(struct fixture *fixture, size_t node, const char *json);
/* `count` publishes have their answers. */
bool all_answered(struct fixture *fixture, size_t count);
/* Publishes at node 0 as the first of a case that asks, and waits: its answer is `expected`. */
void expect_first_answer(struct fixture *fixture, const char *json, hub_status_t expected);
/* A JSON string of `bytes` bytes, owned by the caller (free). */
char *long_string(size_t bytes);
