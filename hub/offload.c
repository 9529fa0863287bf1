/* SPDX-License-Identifier: MIT */
/* Threads for work that blocks. A job goes to the pool and comes back to its loop exactly once,
 * whatever became of the member that asked for it; the member is never touched here. */
#include <assert.h>
#include <signal.h>
#include <stdlib.h>

#include "hub/internal.h"

struct hub__pool {
    pthread_mutex_t lock;
    pthread_cond_t more;
    hub__job_t *first, **last;
    size_t waiting, limit;
    size_t thread_count, thread_max, idle;
    bool ending;
    pthread_t *threads;
};

static hub__job_t *next_job(hub__pool_t *pool)
{
    hub__job_t *job;

    pthread_mutex_lock(&pool->lock);
    ++pool->idle;
    while (pool->first == NULL && !pool->ending)
        pthread_cond_wait(&pool->more, &pool->lock);
    --pool->idle;
    if ((job = pool->first) != NULL) {
        if ((pool->first = job->queue_next) == NULL)
            pool->last = &pool->first;
        --pool->waiting;
        if (pool->ending)
            atomic_store_explicit(&job->cancelled, true, memory_order_relaxed);
    }
    pthread_mutex_unlock(&pool->lock);
    return job;
}

static void *work(void *arg)
{
    hub__pool_t *pool = arg;
    hub__job_t *job;

    while ((job = next_job(pool)) != NULL) {
        hub_status_t err;

        if (!atomic_load_explicit(&job->cancelled, memory_order_relaxed))
            job->work(job->user);
        err = job->executor->post(job->executor, &job->task, true);
        assert(err == HUB_OK); /* a worker outlives its jobs */
        (void)err;
    }
    return NULL;
}

hub__pool_t *hub__pool_create(size_t threads, size_t queue)
{
    hub__pool_t *pool = hub__alloc_zeroed(sizeof(*pool));

    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->more, NULL);
    pool->last = &pool->first;
    pool->limit = queue;
    pool->thread_max = threads;
    pool->threads = hub__alloc_zeroed(threads * sizeof(*pool->threads));
    return pool;
}

void hub__pool_destroy(hub__pool_t *pool)
{
    if (pool == NULL)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->ending = true;
    pthread_cond_broadcast(&pool->more);
    pthread_mutex_unlock(&pool->lock);
    for (size_t i = 0; i != pool->thread_count; ++i)
        pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->more);
    pthread_mutex_destroy(&pool->lock);
    free(pool->threads);
    free(pool);
}

/* A thread is started when one is missing, so a hub that never offloads has none. */
static bool ensure_thread(hub__pool_t *pool)
{
    sigset_t before;
    int failed;

    if (pool->idle > pool->waiting || pool->thread_count == pool->thread_max)
        return true;
    hub__block_signals(&before); /* the first worker may have the program's own thread */
    failed = pthread_create(&pool->threads[pool->thread_count], NULL, work, pool);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed != 0)
        return pool->thread_count != 0;
    ++pool->thread_count;
    return true;
}

hub_status_t hub__pool_submit(hub__pool_t *pool, hub__job_t *job)
{
    hub_status_t err = HUB_OK;

    pthread_mutex_lock(&pool->lock);
    if (pool->ending) {
        err = HUB_ECLOSED;
    } else if (pool->waiting >= pool->limit) {
        err = HUB_ELIMIT;
    } else if (!ensure_thread(pool)) {
        err = HUB_ESYSTEM;
    } else {
        job->queue_next = NULL;
        *pool->last = job;
        pool->last = &job->queue_next;
        ++pool->waiting;
        pthread_cond_signal(&pool->more);
    }
    pthread_mutex_unlock(&pool->lock);
    return err;
}
