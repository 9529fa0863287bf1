/* SPDX-License-Identifier: MIT */
/* The plainest executor that keeps the contract of bus.h: one queue under one lock. What a worker
 * does with epoll and a budget, this does with a condition variable. */
#include "test/executor.h"

#include <stdlib.h>
#include <time.h>

static hub_status_t post(hub_executor_t *base, hub_task_t *task, bool urgent)
{
    test_executor_t *self = (test_executor_t *)base;
    hub_status_t err = HUB_OK;

    pthread_mutex_lock(&self->lock);
    if (self->ended) {
        err = HUB_ECLOSED;
    } else if (!urgent && self->limit > 0 && self->waiting >= self->limit) {
        err = HUB_ELIMIT;
    } else {
        task->_next = NULL;
        *self->last = task;
        self->last = &task->_next;
        self->waiting++;
        pthread_cond_broadcast(&self->changed);
    }
    pthread_mutex_unlock(&self->lock);
    return err;
}

static bool is_current(const hub_executor_t *base)
{
    return pthread_equal(((const test_executor_t *)base)->owner, pthread_self());
}

static void flush_later(hub_executor_t *base)
{
    ((test_executor_t *)base)->flushes_asked++;
}

void test_executor_init(test_executor_t *executor, size_t limit)
{
    pthread_condattr_t monotonic;

    *executor = (test_executor_t){
        .base = {.post = post, .is_current = is_current, .flush_later = flush_later},
        .limit = limit,
        .owner = pthread_self(),
    };
    executor->last = &executor->first;
    pthread_mutex_init(&executor->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&executor->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

static hub_task_t *take_all(test_executor_t *executor)
{
    hub_task_t *tasks;

    pthread_mutex_lock(&executor->lock);
    tasks = executor->first;
    executor->first = NULL;
    executor->last = &executor->first;
    executor->waiting = 0;
    pthread_mutex_unlock(&executor->lock);
    return tasks;
}

void test_executor_end(test_executor_t *executor)
{
    hub_task_t *task, *next;

    pthread_mutex_lock(&executor->lock);
    executor->ended = true;
    pthread_mutex_unlock(&executor->lock);
    for (task = take_all(executor); task != NULL; task = next) {
        next = task->_next;
        task->discard(task);
    }
}

size_t test_executor_turn(test_executor_t *executor)
{
    hub_task_t *task = take_all(executor), *next;
    size_t count = 0;

    for (; task != NULL; task = next, count++) {
        next = task->_next;
        task->run(task);
    }
    if (executor->flushes_asked > 0) {
        executor->flushes_asked = 0;
        hub_bus_flush(NULL, &executor->base);
    }
    return count;
}

static struct timespec in_ms(unsigned ms)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_nsec += (long)(ms % 1000) * 1000000;
    at.tv_sec += ms / 1000 + at.tv_nsec / 1000000000;
    at.tv_nsec %= 1000000000;
    return at;
}

static bool is_past(const struct timespec *deadline)
{
    struct timespec now = in_ms(0);

    return now.tv_sec > deadline->tv_sec ||
           (now.tv_sec == deadline->tv_sec && now.tv_nsec >= deadline->tv_nsec);
}

/* What is waited for may come about without a task, so it is looked at every millisecond. */
static void wait_for_task(test_executor_t *executor)
{
    struct timespec soon = in_ms(1);

    pthread_mutex_lock(&executor->lock);
    if (executor->first == NULL)
        pthread_cond_timedwait(&executor->changed, &executor->lock, &soon);
    pthread_mutex_unlock(&executor->lock);
}

bool test_executor_run_within(test_executor_t *executor, unsigned timeout_ms,
                              bool (*holds)(void *arg), void *arg)
{
    struct timespec deadline = in_ms(timeout_ms);

    while (!holds(arg)) {
        if (is_past(&deadline))
            return false;
        if (test_executor_turn(executor) == 0)
            wait_for_task(executor);
    }
    return true;
}

bool test_executor_run_until(test_executor_t *executor, bool (*holds)(void *arg), void *arg)
{
    return test_executor_run_within(executor, TEST_DEADLINE_MS, holds, arg);
}

static void *run(void *arg)
{
    test_executor_t *executor = arg;
    bool stopping = false;

    while (!stopping) {
        pthread_mutex_lock(&executor->lock);
        while (executor->first == NULL && !executor->stopping)
            pthread_cond_wait(&executor->changed, &executor->lock);
        stopping = executor->first == NULL;
        pthread_mutex_unlock(&executor->lock);
        test_executor_turn(executor);
    }
    return NULL;
}

void test_executor_start(test_executor_t *executor, size_t limit)
{
    test_executor_init(executor, limit);
    /* the thread waits for the lock, so that nobody sees it without its owner */
    pthread_mutex_lock(&executor->lock);
    if (pthread_create(&executor->thread, NULL, run, executor) != 0)
        abort();
    executor->owner = executor->thread;
    pthread_mutex_unlock(&executor->lock);
}

struct call {
    hub_task_t task;
    void (*call)(void *arg);
    void *arg;
    pthread_mutex_t lock;
    pthread_cond_t done_changed;
    bool done;
};

static void run_call(hub_task_t *task)
{
    struct call *call = (struct call *)task;

    call->call(call->arg);
    pthread_mutex_lock(&call->lock);
    call->done = true;
    pthread_cond_signal(&call->done_changed);
    pthread_mutex_unlock(&call->lock);
}

void test_executor_call(test_executor_t *executor, void (*call)(void *arg), void *arg)
{
    struct call here = {.task = {.run = run_call, .discard = run_call}, .call = call, .arg = arg};

    pthread_mutex_init(&here.lock, NULL);
    pthread_cond_init(&here.done_changed, NULL);
    if (post(&executor->base, &here.task, true) != HUB_OK)
        abort();
    pthread_mutex_lock(&here.lock);
    while (!here.done)
        pthread_cond_wait(&here.done_changed, &here.lock);
    pthread_mutex_unlock(&here.lock);
    pthread_cond_destroy(&here.done_changed);
    pthread_mutex_destroy(&here.lock);
}

void test_executor_stop(test_executor_t *executor)
{
    pthread_mutex_lock(&executor->lock);
    executor->stopping = true;
    pthread_cond_broadcast(&executor->changed);
    pthread_mutex_unlock(&executor->lock);
    pthread_join(executor->thread, NULL);
    test_executor_end(executor);
    pthread_cond_destroy(&executor->changed);
    pthread_mutex_destroy(&executor->lock);
}
