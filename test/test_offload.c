/* SPDX-License-Identifier: MIT */
/* The pool of threads for work that blocks: each job it took comes back to its own executor once,
 * whether it ran, was cancelled before or meanwhile, or the pool ended first. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>

#include "hub/internal.h"
#include "test/executor.h"

#define JOBS 64

/* A door at which work waits until the case opens it. */
typedef struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned waiting, most, passed;
    bool open;
} gate_t;

typedef struct fixture {
    test_executor_t loop; /* driven by the case */
    gate_t gate;
    hub__pool_t *pool;
    hub__job_t jobs[JOBS];
    char order[JOBS + 1]; /* in which they came back */
    size_t back;
    pthread_t worked_on;
} fixture_t;

static void gate_init(gate_t *gate)
{
    *gate = (gate_t){0};
    pthread_mutex_init(&gate->lock, NULL);
    pthread_cond_init(&gate->changed, NULL);
}

static void gate_pass(gate_t *gate)
{
    pthread_mutex_lock(&gate->lock);
    if (++gate->waiting > gate->most)
        gate->most = gate->waiting;
    pthread_cond_broadcast(&gate->changed);
    while (!gate->open)
        pthread_cond_wait(&gate->changed, &gate->lock);
    gate->waiting--;
    gate->passed++;
    pthread_mutex_unlock(&gate->lock);
}

static void gate_open(gate_t *gate)
{
    pthread_mutex_lock(&gate->lock);
    gate->open = true;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->lock);
}

static void gate_await(gate_t *gate, unsigned waiting)
{
    pthread_mutex_lock(&gate->lock);
    while (gate->waiting < waiting)
        pthread_cond_wait(&gate->changed, &gate->lock);
    pthread_mutex_unlock(&gate->lock);
}

static int set_up(void **state)
{
    fixture_t *fixture = calloc(1, sizeof(*fixture));

    *state = fixture;
    test_executor_init(&fixture->loop, 1); /* jobs come back beyond any bound */
    gate_init(&fixture->gate);
    return 0;
}

static int tear_down(void **state)
{
    fixture_t *fixture = *state;

    gate_open(&fixture->gate);
    hub__pool_destroy(fixture->pool);
    test_executor_end(&fixture->loop);
    free(fixture);
    return 0;
}

/* ---- jobs ---- */

static void work_at_gate(void *user)
{
    gate_pass(&((fixture_t *)user)->gate);
}

static void work_at_once(void *user)
{
    ((fixture_t *)user)->worked_on = pthread_self();
}

static void come_back(hub_task_t *task)
{
    hub__job_t *job = HUB__CONTAINER(task, hub__job_t, task);
    fixture_t *fixture = job->user;

    assert_true(fixture->loop.base.is_current(&fixture->loop.base));
    fixture->order[fixture->back++] = (char)((job->cancelled ? 'A' : 'a') + (job - fixture->jobs));
}

static hub_status_t submit(fixture_t *fixture, size_t index, hub_work_cb work)
{
    hub__job_t *job = &fixture->jobs[index];

    job->task = (hub_task_t){.run = come_back, .discard = come_back};
    job->executor = &fixture->loop.base;
    job->work = work;
    job->user = fixture;
    return hub__pool_submit(fixture->pool, job);
}

static void cancel(fixture_t *fixture, size_t index)
{
    atomic_store(&fixture->jobs[index].cancelled, true);
}

static bool one_is_back(void *arg)
{
    return ((fixture_t *)arg)->back >= 1;
}

static bool two_are_back(void *arg)
{
    return ((fixture_t *)arg)->back >= 2;
}

static bool three_are_back(void *arg)
{
    return ((fixture_t *)arg)->back >= 3;
}

static void a_job_is_done_elsewhere_and_comes_back(void **state)
{
    fixture_t *fixture = *state;

    fixture->pool = hub__pool_create(2, 10);
    assert_int_equal(submit(fixture, 0, work_at_once), HUB_OK);
    assert_true(test_executor_run_until(&fixture->loop, one_is_back, fixture));
    assert_string_equal(fixture->order, "a");
    assert_false(pthread_equal(fixture->worked_on, pthread_self()));
}

static void one_thread_works_in_the_order_submitted(void **state)
{
    fixture_t *fixture = *state;

    fixture->pool = hub__pool_create(1, 10);
    assert_int_equal(submit(fixture, 2, work_at_gate), HUB_OK);
    assert_int_equal(submit(fixture, 0, work_at_once), HUB_OK);
    assert_int_equal(submit(fixture, 1, work_at_once), HUB_OK);
    gate_open(&fixture->gate);
    assert_true(test_executor_run_until(&fixture->loop, three_are_back, fixture));
    assert_string_equal(fixture->order, "cab");
}

static void a_full_queue_takes_no_more(void **state)
{
    fixture_t *fixture = *state;

    fixture->pool = hub__pool_create(1, 2);
    assert_int_equal(submit(fixture, 0, work_at_gate), HUB_OK);
    gate_await(&fixture->gate, 1); /* it waits no longer */
    assert_int_equal(submit(fixture, 1, work_at_once), HUB_OK);
    assert_int_equal(submit(fixture, 2, work_at_once), HUB_OK);
    assert_int_equal(submit(fixture, 3, work_at_once), HUB_ELIMIT);
    gate_open(&fixture->gate);
    assert_true(test_executor_run_until(&fixture->loop, three_are_back, fixture));
    assert_int_equal(submit(fixture, 3, work_at_gate), HUB_OK); /* the place is free again */
}

static void threads_are_started_up_to_their_number(void **state)
{
    fixture_t *fixture = *state;

    fixture->pool = hub__pool_create(3, JOBS);
    for (size_t i = 0; i != 20; ++i)
        assert_int_equal(submit(fixture, i, work_at_gate), HUB_OK);
    gate_await(&fixture->gate, 3);
    gate_open(&fixture->gate);
    hub__pool_destroy(fixture->pool);
    fixture->pool = NULL;
    test_executor_turn(&fixture->loop);
    assert_int_equal(fixture->back, 20);
    assert_int_equal(fixture->gate.most, 3);
}

static void a_pool_that_nobody_uses_has_no_thread(void **state)
{
    fixture_t *fixture = *state;

    fixture->pool = hub__pool_create(1000, 1);
    hub__pool_destroy(NULL);
}

/* ---- cancelling ---- */

static void a_job_cancelled_before_its_turn_is_not_worked(void **state)
{
    fixture_t *fixture = *state;

    fixture->pool = hub__pool_create(1, 10);
    assert_int_equal(submit(fixture, 0, work_at_gate), HUB_OK);
    assert_int_equal(submit(fixture, 1, work_at_gate), HUB_OK);
    cancel(fixture, 1);
    gate_open(&fixture->gate);
    assert_true(test_executor_run_until(&fixture->loop, two_are_back, fixture));
    assert_string_equal(fixture->order, "aB");
    assert_int_equal(fixture->gate.passed, 1);
}

static void a_job_cancelled_meanwhile_comes_back_cancelled(void **state)
{
    fixture_t *fixture = *state;

    fixture->pool = hub__pool_create(1, 10);
    assert_int_equal(submit(fixture, 0, work_at_gate), HUB_OK);
    gate_await(&fixture->gate, 1);
    cancel(fixture, 0);
    gate_open(&fixture->gate);
    assert_true(test_executor_run_until(&fixture->loop, one_is_back, fixture));
    assert_string_equal(fixture->order, "A");
    assert_int_equal(fixture->gate.passed, 1);
}

/* ---- the end ---- */

static void *destroy(void *arg)
{
    hub__pool_destroy(((fixture_t *)arg)->pool);
    return NULL;
}

/* The queue is full, so that nothing is taken on the way. */
static void await_ending(fixture_t *fixture)
{
    hub_status_t err;

    while ((err = submit(fixture, JOBS - 1, work_at_once)) != HUB_ECLOSED)
        assert_int_equal(err, HUB_ELIMIT);
}

static void an_ending_pool_waits_for_what_runs_and_returns_the_rest_cancelled(void **state)
{
    fixture_t *fixture = *state;
    pthread_t thread;

    fixture->pool = hub__pool_create(1, 2);
    assert_int_equal(submit(fixture, 0, work_at_gate), HUB_OK);
    gate_await(&fixture->gate, 1);
    assert_int_equal(submit(fixture, 1, work_at_gate), HUB_OK);
    assert_int_equal(submit(fixture, 2, work_at_gate), HUB_OK);
    assert_int_equal(pthread_create(&thread, NULL, destroy, fixture), 0);
    await_ending(fixture);
    gate_open(&fixture->gate);
    pthread_join(thread, NULL);
    fixture->pool = NULL;
    test_executor_turn(&fixture->loop);
    assert_string_equal(fixture->order, "aBC");
    assert_int_equal(fixture->gate.passed, 1);
}

/* ---- many at once ---- */

#define STORM_LOOPS 2
#define STORM_JOBS 1500

typedef struct storm_job {
    struct storm *storm;
    unsigned back;
    _Atomic unsigned worked;
    hub__job_t job;
} storm_job_t;

typedef struct storm {
    test_executor_t loop;
    hub_task_t begin;
    hub__pool_t *pool;
    storm_job_t jobs[STORM_JOBS];
    _Atomic unsigned back;
    unsigned refused;
    uint32_t seed;
} storm_t;

static void storm_work(void *user)
{
    atomic_fetch_add(&((storm_job_t *)user)->worked, 1);
}

static void storm_back(hub_task_t *task)
{
    storm_job_t *job = HUB__CONTAINER(task, storm_job_t, job.task);

    job->back += 1 + (job->storm->loop.base.is_current(&job->storm->loop.base) ? 0u : 100u);
    atomic_fetch_add(&job->storm->back, 1);
}

/* On the loop, as members do it: submit, and now and then cancel one that may be anywhere. */
static void storm_submit(hub_task_t *task)
{
    storm_t *storm = HUB__CONTAINER(task, storm_t, begin);

    for (unsigned i = 0; i != STORM_JOBS; ++i) {
        storm_job_t *job = &storm->jobs[i];

        job->storm = storm;
        job->job.task = (hub_task_t){.run = storm_back, .discard = storm_back};
        job->job.executor = &storm->loop.base;
        job->job.work = storm_work;
        job->job.user = job;
        while (hub__pool_submit(storm->pool, &job->job) == HUB_ELIMIT)
            storm->refused++;
        storm->seed = storm->seed * 1664525 + 1013904223;
        if (storm->seed >> 30 == 0)
            atomic_store(&storm->jobs[(storm->seed >> 8) % (i + 1)].job.cancelled, true);
    }
}

static bool storm_is_over(void *arg)
{
    return atomic_load(&((storm_t *)arg)->back) == STORM_JOBS;
}

static void check_storm(const storm_t *storm)
{
    for (unsigned i = 0; i != STORM_JOBS; ++i) {
        assert_int_equal(storm->jobs[i].back, 1);
        assert_true(storm->jobs[i].worked <= 1);
        assert_true(storm->jobs[i].worked == 1 || storm->jobs[i].job.cancelled);
    }
}

static void every_job_comes_back_once_to_its_own_loop(void **state)
{
    storm_t *storms = calloc(STORM_LOOPS, sizeof(*storms));
    hub__pool_t *pool = hub__pool_create(3, 16);
    fixture_t *fixture = *state;

    for (unsigned i = 0; i != STORM_LOOPS; ++i) {
        storms[i].pool = pool;
        storms[i].seed = i + 1;
        test_executor_start(&storms[i].loop, 0);
    }
    for (unsigned i = 0; i != STORM_LOOPS; ++i) {
        storms[i].begin = (hub_task_t){.run = storm_submit, .discard = storm_submit};
        assert_int_equal(storms[i].loop.base.post(&storms[i].loop.base, &storms[i].begin, true),
                         HUB_OK);
    }
    for (unsigned i = 0; i != STORM_LOOPS; ++i)
        assert_true(test_executor_run_until(&fixture->loop, storm_is_over, &storms[i]));
    hub__pool_destroy(pool);
    for (unsigned i = 0; i != STORM_LOOPS; ++i) {
        test_executor_stop(&storms[i].loop);
        check_storm(&storms[i]);
    }
    free(storms);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_job_is_done_elsewhere_and_comes_back),
        CASE(one_thread_works_in_the_order_submitted),
        CASE(a_full_queue_takes_no_more),
        CASE(threads_are_started_up_to_their_number),
        CASE(a_pool_that_nobody_uses_has_no_thread),
        CASE(a_job_cancelled_before_its_turn_is_not_worked),
        CASE(a_job_cancelled_meanwhile_comes_back_cancelled),
        CASE(an_ending_pool_waits_for_what_runs_and_returns_the_rest_cancelled),
        CASE(every_job_comes_back_once_to_its_own_loop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
