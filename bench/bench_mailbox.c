/* SPDX-License-Identifier: MIT */
/* What does it cost to hand a message to another thread? A worker with its loop runs on one core,
 * a thread that posts into its mailbox on another.
 *
 * `one`: the next one is posted when the last one has run, so that each takes a wake-up, and its
 * time is that of waking somebody. `many`: up to `--window` are on their way. Wake-ups are the
 * worker's own count. Each message runs once, and in the order posted. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "bench/report.h"
#include "hub/internal.h"

#define WINDOW_MAX 32768u
#define MAIL_LIMIT 65536u
#define TURN_US 1000u
#define LOOP_WAIT_MS 1000
#define LOOK_EVERY 1024u /* messages between two looks at the clock */
#define LOST_S 10

typedef struct letter {
    hub_task_t task; /* first */
    uint64_t number;
} letter_t;

static letter_t letters[WINDOW_MAX];
static _Atomic uint64_t arrived;
static bool ended; /* the worker's */

static void on_letter(hub_task_t *task)
{
    const letter_t *letter = (const letter_t *)task;
    uint64_t count = atomic_load_explicit(&arrived, memory_order_relaxed);

    if (letter->number != count)
        bench_fail("message %llu ran as number %llu", (unsigned long long)letter->number,
                   (unsigned long long)count);
    atomic_store_explicit(&arrived, count + 1, memory_order_release);
}

static void on_end(hub_task_t *task)
{
    (void)task;
    ended = true;
}

static void on_discard(hub_task_t *task)
{
    (void)task;
    bench_fail("a message was thrown away");
}

/* As a server runs its workers. */
static void *worker_main(void *arg)
{
    hub__worker_t *worker = arg;

    bench_pin(0);
    hub__worker_settle_here(worker);
    while (!ended) {
        h2o_evloop_run(worker->loop, LOOP_WAIT_MS);
        hub__worker_end_turn(worker);
    }
    hub__worker_end_mail(worker);
    hub__worker_settle_nowhere(worker);
    return NULL;
}

static void post(hub__worker_t *worker, hub_task_t *task)
{
    hub_status_t err;

    task->discard = on_discard;
    err = worker->executor.post(&worker->executor, task, false);
    if (err != HUB_OK)
        bench_fail("a message could not be posted: %s", hub_status_text(err));
}

/* Until fewer than `window` of the `posted` are on their way. */
static void await(uint64_t posted, uint64_t window)
{
    double until = 0;

    for (unsigned looks = 1;
         posted - atomic_load_explicit(&arrived, memory_order_acquire) >= window; ++looks) {
        sched_yield();
        if (looks % LOOK_EVERY != 0)
            continue;
        if (until == 0)
            until = bench_now_s() + LOST_S;
        if (bench_now_s() > until)
            bench_fail("lost: %llu of %llu messages", (unsigned long long)(posted - arrived),
                       (unsigned long long)posted);
    }
}

typedef struct names {
    const char *ns, *wakeups, *cpu_ns;
} names_t;

/* Begins and ends with nothing on its way. */
static void run_once(report_t *report, hub__worker_t *worker, uint64_t window, double seconds,
                     const names_t *names)
{
    uint64_t first = atomic_load(&arrived), posted = first;
    uint64_t wakeups = __atomic_load_n(&worker->stats.wakeups_total, __ATOMIC_RELAXED);
    double began_s = bench_now_s(), cpu_s = bench_cpu_s(), elapsed_s;

    do {
        for (unsigned i = 0; i != LOOK_EVERY; ++i, ++posted) {
            letter_t *letter = &letters[posted % WINDOW_MAX];

            await(posted, window);
            letter->number = posted;
            letter->task.run = on_letter;
            post(worker, &letter->task);
        }
        elapsed_s = bench_now_s() - began_s;
    } while (elapsed_s < seconds);
    await(posted, 1);
    elapsed_s = bench_now_s() - began_s;
    cpu_s = bench_cpu_s() - cpu_s;
    wakeups = __atomic_load_n(&worker->stats.wakeups_total, __ATOMIC_RELAXED) - wakeups;
    report_add(report, names->ns, elapsed_s * 1e9 / (double)(posted - first));
    report_add(report, names->cpu_ns, cpu_s * 1e9 / (double)(posted - first));
    report_add(report, names->wakeups, (double)wakeups / (double)(posted - first));
}

static hub__worker_t *start_worker(pthread_t *ret_thread)
{
    hub__worker_t *worker = hub__worker_create(0, h2o_evloop_create(), MAIL_LIMIT, TURN_US);
    int err;

    if (worker == NULL)
        bench_fail("the worker could not be made");
    hub__worker_settle_nowhere(worker);
    if ((err = pthread_create(ret_thread, NULL, worker_main, worker)) != 0)
        bench_fail("no thread: %s", strerror(err));
    return worker;
}

static void stop_worker(hub__worker_t *worker, pthread_t thread)
{
    hub_task_t last = {.run = on_end};
    h2o_loop_t *loop = worker->loop;

    post(worker, &last);
    pthread_join(thread, NULL);
    hub__worker_settle_here(worker);
    hub__worker_close(worker);
    h2o_evloop_run(loop, 0); /* lets closed sockets go */
    h2o_evloop_destroy(loop);
    hub__worker_release(worker);
}

int main(int argc, char **argv)
{
    static const names_t one = {"one_ns", "one_wakeups_per_message", "one_cpu_ns"};
    static const names_t many = {"many_ns", "many_wakeups_per_message", "many_cpu_ns"};
    unsigned long window = 1024, seconds = 3, runs = 5;
    const report_option_t options[] = {
        {"window", "messages on their way, of many", &window, 2, WINDOW_MAX, NULL, NULL},
        {"seconds", "of each run", &seconds, 1, 3600, NULL, NULL},
        {"runs", "measured one after another", &runs, 1, REPORT_RUNS_MAX, NULL, NULL},
        {NULL, NULL, NULL, 0, 0, NULL, NULL}};
    report_t *report = report_open("mailbox", argc, argv, options);
    hub__worker_t *worker;
    pthread_t thread;

    bench_pin(1);
    worker = start_worker(&thread);
    for (unsigned long run = 0; run != runs; ++run) {
        run_once(report, worker, 1, (double)seconds / 2, &one);
        run_once(report, worker, window, (double)seconds / 2, &many);
    }
    stop_worker(worker, thread);
    report_print(report);
    report_close(report);
    return EXIT_SUCCESS;
}
