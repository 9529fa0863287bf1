/* SPDX-License-Identifier: MIT */
/* What is on its way to the subscriptions of another executor: one task for all of a branch, which
 * is a message, a gap, or the word that they are ready. Where a message does not fit, a gap takes
 * its place, and takes what is lost behind it as well until a message gets in again. */
#include <stdlib.h>

#include "bus/publish.h"

struct delivery {
    hub_task_t task;
    hub__branch_t *branch;
    hub__news_t news;
    hub_message_t *msg;
};

struct hub__gap {
    hub_task_t task;
    hub__branch_t *branch;
    hub__news_t news; /* `missed` under the shard's lock while it is the branch's open one */
};

struct hub__ready {
    hub_task_t task;
    hub__ready_t *next;
    hub__branch_t *branch;
    hub__news_t news;
};

/* ---- gaps ---- */

/* Ends the accumulation: what is lost from now on is lost behind a message that got in. */
static void close_gap(hub__branch_t *branch, const hub__gap_t *gap)
{
    pthread_mutex_lock(&branch->topic->shard->lock);
    if (gap == NULL || atomic_load(&branch->open_gap) == gap)
        atomic_store(&branch->open_gap, NULL);
    pthread_mutex_unlock(&branch->topic->shard->lock);
}

static void gap_free(hub__gap_t *gap)
{
    hub__branch_release(gap->branch);
    free(gap);
}

static void run_gap(hub_task_t *task)
{
    hub__gap_t *gap = HUB__CONTAINER(task, hub__gap_t, task);

    close_gap(gap->branch, gap);
    hub__branch_tell(gap->branch, &gap->news);
    gap_free(gap);
}

static void discard_gap(hub_task_t *task)
{
    hub__gap_t *gap = HUB__CONTAINER(task, hub__gap_t, task);

    close_gap(gap->branch, gap);
    gap_free(gap);
}

/* Whether the open gap, the last thing in the mailbox for this branch, takes this loss too: both
 * must be meant for the same subscriptions, which is all of them. */
static bool add_to_open_gap(hub__branch_t *branch, const hub__news_t *news)
{
    hub__gap_t *gap = atomic_load(&branch->open_gap);

    if (gap == NULL || gap->news.reason != news->reason || gap->news.stamp <= branch->newest ||
        news->stamp <= branch->newest)
        return false;
    if (gap->news.missed == 0 || news->missed == 0)
        gap->news.missed = 0; /* one of them is unknown, so the sum is */
    else
        gap->news.missed += news->missed;
    return true;
}

/* Under the shard's lock. Nobody is told where there is no memory, or the executor has ended. */
static void post_new_gap(hub__branch_t *branch, const hub__news_t *news)
{
    hub__gap_t *gap = malloc(sizeof(*gap));

    if (gap == NULL)
        return;
    gap->task = (hub_task_t){.run = run_gap, .discard = discard_gap};
    gap->branch = branch;
    gap->news = *news;
    hub__branch_retain(branch);
    /* known before it lies there: who posts a message behind it must see that it is to be closed */
    atomic_store(&branch->open_gap, gap);
    if (branch->executor->post(branch->executor, &gap->task, true) == HUB_OK)
        return;
    atomic_store(&branch->open_gap, NULL);
    gap_free(gap); /* not the last reference to the branch: the caller has one */
}

/* Under the shard's lock. */
static void add_or_post_gap(hub__branch_t *branch, const hub__news_t *news)
{
    if (!add_to_open_gap(branch, news))
        post_new_gap(branch, news);
}

/* Posted under the lock: once another thread can add to a gap, that gap lies before whatever it
 * posts next. */
void hub__mailbox_post_gap(hub__branch_t *branch, const hub__news_t *news)
{
    hub__shard_t *shard = branch->topic->shard;

    pthread_mutex_lock(&shard->lock);
    add_or_post_gap(branch, news);
    pthread_mutex_unlock(&shard->lock);
}

/* ---- messages ---- */

static void delivery_free(struct delivery *delivery)
{
    hub_bus_ack_release(delivery->news.ack);
    hub_message_release(delivery->msg);
    hub__branch_release(delivery->branch);
    free(delivery);
}

static void run_delivery(hub_task_t *task)
{
    struct delivery *delivery = HUB__CONTAINER(task, struct delivery, task);

    hub__branch_tell(delivery->branch, &delivery->news);
    delivery_free(delivery);
}

static void discard_delivery(hub_task_t *task)
{
    delivery_free(HUB__CONTAINER(task, struct delivery, task));
}

/* Also under the shard's lock. */
static hub_status_t try_post(hub__branch_t *branch, const hub__news_t *news)
{
    hub_executor_t *executor = branch->executor;
    struct delivery *delivery = malloc(sizeof(*delivery));
    hub_status_t err;

    if (delivery == NULL)
        return HUB_ENOMEM;
    delivery->task = (hub_task_t){.run = run_delivery, .discard = discard_delivery};
    delivery->branch = branch;
    delivery->news = *news;
    delivery->msg = hub_message_retain(news->msg);
    hub__branch_retain(branch);
    hub_bus_ack_retain(news->ack);
    err = executor->post(executor, &delivery->task, false);
    if (err != HUB_OK)
        delivery_free(delivery);
    return err;
}

/* Under the shard's lock. `live` were to hear of `news`, which `why` keeps out of their mailbox. */
static void note_loss(hub__branch_t *branch, const hub__news_t *news, size_t live, hub_status_t why)
{
    hub__shard_t *shard = branch->topic->shard;
    hub__news_t loss = {.reason = HUB_GAP_MAILBOX, .missed = 1, .stamp = news->stamp};

    shard->delivered -= live;
    if (why == HUB_ECLOSED)
        return; /* nobody is left there who could be told */
    shard->mailbox_dropped++;
    shard->gaps += live;
    add_or_post_gap(branch, &loss);
}

void hub__mailbox_post(hub__branch_t *branch, const hub__news_t *news, size_t live)
{
    hub__shard_t *shard = branch->topic->shard;
    hub_status_t err = try_post(branch, news);

    if (err == HUB_OK) {
        if (atomic_load_explicit(&branch->open_gap, memory_order_relaxed) != NULL)
            close_gap(branch, NULL);
        return;
    }
    pthread_mutex_lock(&shard->lock);
    note_loss(branch, news, live, err);
    pthread_mutex_unlock(&shard->lock);
}

void hub__mailbox_post_in_order(hub__branch_t *branch, const hub__news_t *news)
{
    hub_status_t err = try_post(branch, news);

    if (err == HUB_OK) {
        atomic_store(&branch->open_gap, NULL);
        return;
    }
    note_loss(branch, news, branch->live, err);
}

/* ---- ready ---- */

void hub__ready_free(hub__ready_t *ready)
{
    if (ready == NULL)
        return;
    hub__branch_release(ready->branch);
    free(ready);
}

static void run_ready(hub_task_t *task)
{
    hub__ready_t *ready = HUB__CONTAINER(task, hub__ready_t, task);

    hub__branch_tell(ready->branch, &ready->news);
    hub__ready_free(ready);
}

static void discard_ready(hub_task_t *task)
{
    hub__ready_free(HUB__CONTAINER(task, hub__ready_t, task));
}

bool hub__branch_await(hub__branch_t *branch)
{
    hub__ready_t *ready = branch->ready;

    if (ready != NULL)
        return true;
    if ((ready = calloc(1, sizeof(*ready))) == NULL)
        return false;
    ready->task = (hub_task_t){.run = run_ready, .discard = discard_ready};
    ready->branch = branch;
    ready->news.ready = true;
    hub__branch_retain(branch);
    branch->ready = ready;
    return true;
}

hub__ready_t *hub__topic_take_waits(const hub__topic_t *topic, hub__ready_t *list)
{
    for (hub__branch_t *branch = topic->branches; branch != NULL; branch = branch->next) {
        hub__ready_t *ready = branch->ready;

        if (ready == NULL)
            continue;
        branch->ready = NULL;
        ready->news.stamp = ++topic->shard->clock;
        ready->next = list;
        list = ready;
    }
    return list;
}

void hub__bus_tell_ready(hub__ready_t *list)
{
    hub__ready_t *ready;

    while ((ready = list) != NULL) {
        hub_executor_t *executor = ready->branch->executor;

        list = ready->next;
        if (executor == NULL) {
            hub__topic_tell(ready->branch->topic, &ready->news);
            hub__ready_free(ready);
        } else if (executor->is_current(executor)) {
            run_ready(&ready->task);
        } else if (executor->post(executor, &ready->task, true) != HUB_OK) {
            hub__ready_free(ready); /* nobody is left there */
        }
    }
}
