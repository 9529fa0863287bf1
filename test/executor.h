/* test/executor.h - a small loop for tests: an executor with a bounded mailbox, either driven by
 * the test's own thread, turn by turn, or running on a thread of its own.
 *
 * Waiting is "until this holds or the deadline is past", never a sleep. */
#pragma once

#include <pthread.h>

#include "bus/bus.h"

#define TEST_DEADLINE_MS 20000

typedef struct test_executor {
    hub_executor_t base;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    hub_task_t *first;
    hub_task_t **last;
    size_t waiting;
    size_t limit; /* of tasks that are not urgent; 0: none */
    pthread_t owner;
    pthread_t thread;
    bool stopping;
    bool ended;
    unsigned flushes_asked;
} test_executor_t;

/* The calling thread drives it, with test_executor_turn() or _run_until(). */
void test_executor_init(test_executor_t *executor, size_t limit);
/* Discards what is left; post() answers HUB_ECLOSED from then on. */
void test_executor_end(test_executor_t *executor);
/* Runs what waited at its start, then flushes if that was asked for. Returns the number of tasks.
 */
size_t test_executor_turn(test_executor_t *executor);
/* Turns until `holds`; false past the deadline. */
bool test_executor_run_within(test_executor_t *executor, unsigned timeout_ms,
                              bool (*holds)(void *arg), void *arg);
bool test_executor_run_until(test_executor_t *executor, bool (*holds)(void *arg), void *arg);

/* On a thread of its own. */
void test_executor_start(test_executor_t *executor, size_t limit);
/* Runs `call` there and returns when it has. */
void test_executor_call(test_executor_t *executor, void (*call)(void *arg), void *arg);
/* After what was posted before. */
void test_executor_stop(test_executor_t *executor);
