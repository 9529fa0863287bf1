/* SPDX-License-Identifier: MIT */
/* Who listens: the table of topics, subscriptions with their life, and the bus as a whole. How a
 * message gets to them is publish.c, what other nodes have to do with it remote.h. */
#include "bus/bus.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/random.h>

#include "bus/buffer.h"
#include "bus/internal.h"
#include "bus/json.h"
#include "bus/log.h"

#define TOPIC_BYTES_MAX 1024
#define NAME_BYTES_MAX 64

const char *hub_gap_reason_name(hub_gap_reason_t reason)
{
    static const char *const names[] = {
        [HUB_GAP_MAILBOX] = "mailbox",
        [HUB_GAP_BUS] = "bus",
        [HUB_GAP_LOST] = "lost",
    };

    return (size_t)reason < sizeof(names) / sizeof(names[0]) ? names[reason] : "unknown";
}

/* ---- references ---- */

void hub__bus_retain(hub_bus_t *bus)
{
    atomic_fetch_add_explicit(&bus->refs, 1, memory_order_relaxed);
}

void hub__bus_release(hub_bus_t *bus)
{
    if (atomic_fetch_sub_explicit(&bus->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < HUB__SHARDS; i++) {
        hub__table_dispose(&bus->shards[i].topics);
        pthread_mutex_destroy(&bus->shards[i].lock);
    }
    pthread_mutex_destroy(&bus->executors_lock);
    pthread_mutex_destroy(&bus->acks_lock);
    hub__remote_free(bus->remote);
    free(bus->prefix_bytes);
    free(bus);
}

void hub__topic_retain(hub__topic_t *topic)
{
    atomic_fetch_add_explicit(&topic->refs, 1, memory_order_relaxed);
}

void hub__topic_release(hub__topic_t *topic)
{
    hub_bus_t *bus = topic->bus;

    if (atomic_fetch_sub_explicit(&topic->refs, 1, memory_order_acq_rel) != 1)
        return;
    hub__origins_dispose(&topic->origins);
    free(topic);
    hub__bus_release(bus);
}

void hub__branch_retain(hub__branch_t *branch)
{
    atomic_fetch_add_explicit(&branch->refs, 1, memory_order_relaxed);
}

void hub__branch_release(hub__branch_t *branch)
{
    hub__topic_t *topic = branch->topic;

    if (atomic_fetch_sub_explicit(&branch->refs, 1, memory_order_acq_rel) != 1)
        return;
    hub__executor_release(branch->executor);
    free(branch);
    hub__topic_release(topic);
}

void hub__sub_retain(hub_bus_sub_t *sub)
{
    atomic_fetch_add_explicit(&sub->refs, 1, memory_order_relaxed);
}

void hub__sub_release(hub_bus_sub_t *sub)
{
    hub__branch_t *branch = sub->branch;

    if (atomic_fetch_sub_explicit(&sub->refs, 1, memory_order_acq_rel) != 1)
        return;
    free(sub);
    hub__branch_release(branch);
}

/* ---- topics and branches: under the shard's lock ---- */

hub__topic_t *hub__topic_find(const hub__shard_t *shard, uint64_t hash, hub_str_t name)
{
    hub__table_node_t *node = hub__table_chain(&shard->topics, hash);

    for (; node != NULL; node = node->next) {
        hub__topic_t *topic = HUB__CONTAINER(node, hub__topic_t, node);

        if (node->hash == hash && hub_str_equals(topic->name, name))
            return topic;
    }
    return NULL;
}

static hub__topic_t *topic_create(hub_bus_t *bus, uint64_t hash, hub_str_t name)
{
    size_t wire_bytes = bus->prefix.len + name.len;
    hub__topic_t *topic = calloc(1, sizeof(*topic) + wire_bytes);

    if (topic == NULL)
        return NULL;
    memcpy(topic->bytes, bus->prefix.base, bus->prefix.len);
    memcpy(topic->bytes + bus->prefix.len, name.base, name.len);
    topic->wire = hub_str_n(topic->bytes, wire_bytes);
    topic->name = hub_str_n(topic->bytes + bus->prefix.len, name.len);
    topic->node.hash = hash;
    topic->bus = bus;
    topic->shard = hub__bus_shard(bus, hash);
    atomic_init(&topic->refs, 1);
    hub__bus_retain(bus);
    return topic;
}

static void topic_list(hub__topic_t *topic)
{
    if (topic->listed)
        return;
    topic->listed = true;
    hub__table_insert(&topic->shard->topics, &topic->node);
    hub__remote_topic_added(topic);
}

/* True: hub__remote_tell_up() is to follow, without the lock. */
static bool topic_unlist(hub__topic_t *topic)
{
    if (!topic->listed)
        return false;
    topic->listed = false;
    hub__table_remove(&topic->shard->topics, &topic->node);
    return hub__remote_topic_removed(topic);
}

static hub__branch_t *branch_find(const hub__topic_t *topic, const hub_executor_t *executor)
{
    hub__branch_t *branch = topic->branches;

    while (branch != NULL && branch->executor != executor)
        branch = branch->next;
    return branch;
}

static hub__branch_t *branch_create(hub__topic_t *topic, hub_executor_t *executor)
{
    hub__branch_t *branch = calloc(1, sizeof(*branch));

    if (branch == NULL)
        return NULL;
    branch->topic = topic;
    branch->executor = executor;
    hub__executor_retain(executor);
    branch->last = &branch->first;
    atomic_init(&branch->refs, 1);
    atomic_init(&branch->open_gap, NULL);
    hub__topic_retain(topic);
    branch->next = topic->branches;
    topic->branches = branch;
    return branch;
}

static void branch_unlist(hub__branch_t *branch)
{
    hub__branch_t **link = &branch->topic->branches;

    while (*link != branch)
        link = &(*link)->next;
    *link = branch->next;
}

static void unlink_sub(hub_bus_sub_t *sub)
{
    *sub->prev = sub->next;
    if (sub->next != NULL)
        sub->next->prev = sub->prev;
    else
        sub->branch->last = sub->prev;
}

void hub__branch_enter(hub__branch_t *branch)
{
    branch->walking++;
}

void hub__branch_leave(hub__branch_t *branch)
{
    hub_bus_sub_t *sub = branch->first, *next;

    if (--branch->walking > 0 || !branch->stale)
        return;
    branch->stale = false;
    for (; sub != NULL; sub = next) {
        next = sub->next;
        if (atomic_load(&sub->state) == HUB__SUB_LIVE)
            continue;
        unlink_sub(sub);
        hub__sub_release(sub);
    }
}

/* ---- subscriptions ---- */

/* Takes `sub` out of its topic; what becomes empty vanishes. The caller holds a reference. */
static void detach(hub_bus_sub_t *sub)
{
    hub__branch_t *branch = sub->branch;
    hub__topic_t *topic = branch->topic;
    const hub_bus_hooks_t *hooks = &topic->bus->hooks;
    bool unlinked = branch->walking == 0, is_up;
    size_t left;

    pthread_mutex_lock(&topic->shard->lock);
    if (unlinked)
        unlink_sub(sub);
    else
        branch->stale = true;
    branch->live--;
    topic->shard->subscriptions--;
    left = --topic->subscribers;
    if (branch->live == 0) {
        branch_unlist(branch);
        hub__ready_free(branch->ready);
        branch->ready = NULL;
    }
    is_up = left == 0 && topic_unlist(topic);
    pthread_mutex_unlock(&topic->shard->lock);
    if (is_up)
        hub__remote_tell_up(topic->bus);
    if (unlinked)
        hub__sub_release(sub);
    if (hooks->on_unsubscribe != NULL)
        hooks->on_unsubscribe(topic->name, left, hooks->user);
}

/* on_close, unless it was unsubscribed meanwhile. */
static void finish_closing(hub_bus_sub_t *sub)
{
    int closing = HUB__SUB_CLOSING;

    if (!atomic_compare_exchange_strong(&sub->state, &closing, HUB__SUB_CLOSED))
        return;
    if (sub->options.on_close != NULL)
        sub->options.on_close(sub, sub->why, sub->options.user);
    hub__sub_release(sub);
}

static void run_close(hub_task_t *task)
{
    hub_bus_sub_t *sub = HUB__CONTAINER(task, hub_bus_sub_t, close_task);

    finish_closing(sub);
    hub__sub_release(sub);
}

/* As run_close(), but the user is not called: their loop has ended. */
static void discard_close(hub_task_t *task)
{
    hub_bus_sub_t *sub = HUB__CONTAINER(task, hub_bus_sub_t, close_task);
    int closing = HUB__SUB_CLOSING;

    if (atomic_compare_exchange_strong(&sub->state, &closing, HUB__SUB_CLOSED))
        hub__sub_release(sub);
    hub__sub_release(sub);
}

bool hub__sub_enter(hub_bus_sub_t *sub)
{
    atomic_fetch_add(&sub->running, 1);
    return atomic_load(&sub->state) == HUB__SUB_LIVE;
}

/* on_close is the last call, so whoever leaves last makes it. */
void hub__sub_leave(hub_bus_sub_t *sub)
{
    if (atomic_fetch_sub(&sub->running, 1) == 1 && atomic_load(&sub->state) == HUB__SUB_CLOSING)
        finish_closing(sub);
}

/* Whether it was alive. on_close is still to follow. */
static bool begin_closing(hub_bus_sub_t *sub, hub_status_t why)
{
    int live = HUB__SUB_LIVE;

    if (!atomic_compare_exchange_strong(&sub->state, &live, HUB__SUB_CLOSING))
        return false;
    sub->why = why;
    detach(sub);
    return true;
}

void hub__sub_fail(hub_bus_sub_t *sub, hub_status_t why)
{
    hub__topic_t *topic = sub->branch->topic;
    char field[HUB_LOG_FIELD];

    if (!begin_closing(sub, why))
        return; /* it unsubscribed itself, or failed on another thread at the same time */
    pthread_mutex_lock(&topic->shard->lock);
    topic->shard->subscribers_failed++;
    pthread_mutex_unlock(&topic->shard->lock);
    hub_log_peer(HUB_LOG_WARN, "bus.subscriber_failed", "topic=%s status=%s",
                 hub_log_escape(topic->name, field), hub_status_name(why));
    if (sub->options.executor != NULL)
        finish_closing(sub);
}

/* The bus ends. */
static void close_sub(hub_bus_sub_t *sub)
{
    hub_executor_t *executor = sub->options.executor;

    if (executor == NULL) {
        hub__sub_enter(sub);
        begin_closing(sub, HUB_ECLOSED);
        hub__sub_leave(sub);
    } else if (begin_closing(sub, HUB_ECLOSED)) {
        hub__sub_retain(sub);
        if (executor->post(executor, &sub->close_task, true) != HUB_OK)
            discard_close(&sub->close_task);
    }
}

static hub_status_t check_subscription(hub_bus_t *bus, hub_str_t topic,
                                       const hub_bus_sub_options_t *options)
{
    if (options == NULL || options->on_message == NULL)
        return HUB_EINVAL;
    if (topic.len == 0 || topic.len > TOPIC_BYTES_MAX || !hub_utf8_valid(topic))
        return HUB_ETOPIC;
    if (options->executor != NULL && !hub__bus_is_attached(bus, options->executor))
        return HUB_EINVAL;
    return atomic_load_explicit(&bus->closing, memory_order_relaxed) ? HUB_ECLOSED : HUB_OK;
}

static hub_bus_sub_t *sub_create(const hub_bus_sub_options_t *options)
{
    hub_bus_sub_t *sub = calloc(1, sizeof(*sub));

    if (sub == NULL)
        return NULL;
    atomic_init(&sub->refs, 2);
    atomic_init(&sub->state, HUB__SUB_LIVE);
    atomic_init(&sub->running, 0);
    atomic_init(&sub->waits, false);
    sub->options = *options;
    sub->close_task = (hub_task_t){.run = run_close, .discard = discard_close};
    return sub;
}

/* Under the shard's lock. False: no memory, and nothing has changed. */
static bool attach_sub(hub_bus_t *bus, uint64_t hash, hub_str_t name, hub_bus_sub_t *sub)
{
    const hub_bus_sub_options_t *options = &sub->options;
    hub__shard_t *shard = hub__bus_shard(bus, hash);
    hub__topic_t *topic = hub__topic_find(shard, hash, name);
    hub__branch_t *branch = topic == NULL ? NULL : branch_find(topic, sub->options.executor);

    if (topic == NULL)
        topic = topic_create(bus, hash, name);
    else
        hub__topic_retain(topic);
    if (topic == NULL)
        return false;
    if (branch == NULL)
        branch = branch_create(topic, sub->options.executor);
    else
        hub__branch_retain(branch);
    hub__topic_release(topic); /* which is now the branch's, or free */
    if (branch == NULL)
        return false;
    sub->branch = branch;
    sub->since = shard->clock;
    sub->prev = branch->last;
    *branch->last = sub;
    branch->last = &sub->next;
    branch->live++;
    branch->newest = sub->since;
    shard->subscriptions++;
    topic->subscribers++;
    topic_list(topic);
    sub->waits = options->on_ready != NULL && hub__remote_topic_awaits(topic);
    if (sub->waits && !hub__branch_await(branch)) {
        sub->waits = false; /* as if it had waited for too long */
        hub__remote_topic_hurried(topic);
    }
    return true;
}

hub_status_t hub_bus_subscribe(hub_bus_t *bus, hub_str_t topic,
                               const hub_bus_sub_options_t *options, hub_bus_sub_t **ret_sub)
{
    hub_status_t err = check_subscription(bus, topic, options);
    uint64_t hash;
    hub_bus_sub_t *sub;
    size_t subscribers = 0;
    bool attached, waits = false;

    if (err != HUB_OK)
        return err;
    hash = hub__hash(topic);
    sub = sub_create(options);
    if (sub == NULL)
        return HUB_ENOMEM;
    pthread_mutex_lock(&hub__bus_shard(bus, hash)->lock);
    attached = attach_sub(bus, hash, topic, sub);
    if (attached) {
        subscribers = sub->branch->topic->subscribers;
        waits = atomic_load(&sub->waits);
    }
    pthread_mutex_unlock(&hub__bus_shard(bus, hash)->lock);
    if (!attached) {
        free(sub);
        return HUB_ENOMEM;
    }
    *ret_sub = sub;
    if (bus->hooks.on_subscribe != NULL)
        bus->hooks.on_subscribe(topic, subscribers, bus->hooks.user);
    if (options->on_ready != NULL && !waits)
        options->on_ready(sub, options->user);
    return HUB_OK;
}

void hub_bus_sub_hurry(hub_bus_sub_t *sub)
{
    hub__topic_t *topic = sub->branch->topic;

    pthread_mutex_lock(&topic->shard->lock);
    hub__remote_topic_hurried(topic);
    pthread_mutex_unlock(&topic->shard->lock);
}

void hub_bus_unsubscribe(hub_bus_sub_t *sub)
{
    int state;

    if (sub == NULL)
        return;
    assert(sub->options.executor == NULL ||
           sub->options.executor->is_current(sub->options.executor));
    state = HUB__SUB_LIVE;
    if (atomic_compare_exchange_strong(&sub->state, &state, HUB__SUB_GONE)) {
        detach(sub);
        hub__sub_release(sub);
        return;
    }
    /* ended already; where on_close has begun, the handle is given back behind it */
    state = HUB__SUB_CLOSING;
    if (atomic_compare_exchange_strong(&sub->state, &state, HUB__SUB_GONE))
        hub__sub_release(sub);
}

hub_str_t hub_bus_sub_topic(const hub_bus_sub_t *sub)
{
    return sub->branch->topic->name;
}

/* ---- the bus ---- */

/* The name may hold no ':', so that no name and topic together look like another pair. */
static hub_status_t set_prefix(hub_bus_t *bus, const char *name, hub_error_t *error)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    hub_str_t str = hub_str(name == NULL ? "hub" : name);
    char field[HUB_LOG_FIELD];

    if (str.len == 0 || str.len > NAME_BYTES_MAX || strspn(str.base, allowed) != str.len)
        return hub_error_set(error, HUB_EINVAL, strspn(str.base, allowed),
                             "bus name %s: 1 to %d letters, digits, '_' and '-' are allowed",
                             hub_log_escape(str, field), NAME_BYTES_MAX);
    bus->prefix_bytes = hub__alloc(str.len + 1);
    memcpy(bus->prefix_bytes, str.base, str.len);
    bus->prefix_bytes[str.len] = ':';
    bus->prefix = hub_str_n(bus->prefix_bytes, str.len + 1);
    return HUB_OK;
}

hub_status_t hub__bus_create(const hub_bus_options_t *options, const hub_bus_url_t *url,
                             hub_bus_t **ret_bus, hub_error_t *error)
{
    hub_bus_t *bus;
    hub_status_t err;

    if (options->degraded_local && options->buffer_bytes != 0)
        return hub_error_set(error, HUB_EINVAL, 0,
                             "bus options: degraded_local (degraded) and buffer_bytes (buffer) are "
                             "two ways to go on while the broker is away; one of them");
    bus = aligned_alloc(_Alignof(hub_bus_t), sizeof(*bus));
    if (bus == NULL)
        return hub_error_set(error, HUB_ENOMEM, 0, "no memory for a bus");
    memset(bus, 0, sizeof(*bus));
    atomic_init(&bus->refs, 1);
    atomic_init(&bus->closing, false);
    bus->hooks = options->hooks;
    pthread_mutex_init(&bus->executors_lock, NULL);
    pthread_mutex_init(&bus->acks_lock, NULL);
    for (size_t i = 0; i < HUB__SHARDS; i++)
        pthread_mutex_init(&bus->shards[i].lock, NULL);
    err = set_prefix(bus, options->name, error);
    if (err == HUB_OK && getrandom(&bus->node, sizeof(bus->node), 0) != sizeof(bus->node))
        err = hub_error_set(error, HUB_ESYSTEM, 0, "getrandom: no random number for the bus");
    bus->node |= bus->node == 0; /* 0 stands for none */
    if (err == HUB_OK && options->backend != NULL)
        err = hub__remote_open(bus, options, url, error);
    if (err != HUB_OK) {
        hub__bus_release(bus);
        return err;
    }
    *ret_bus = bus;
    return HUB_OK;
}

hub_status_t hub_bus_create(const hub_bus_options_t *options, hub_bus_t **ret_bus,
                            hub_error_t *error)
{
    static const hub_bus_options_t defaults;

    return hub__bus_create(options == NULL ? &defaults : options, NULL, ret_bus, error);
}

static void keep_topic(hub__table_node_t *node, void *user)
{
    hub__topic_t **list = user;
    hub__topic_t *topic = HUB__CONTAINER(node, hub__topic_t, node);

    (void)topic_unlist(topic); /* the connection has ended */
    hub__topic_retain(topic);
    /* out of the table, so its link is free for a list of our own */
    topic->node.next = *list == NULL ? NULL : &(*list)->node;
    *list = topic;
}

/* One more subscription of `topic`, retained; NULL: none is left. */
static hub_bus_sub_t *next_sub(hub__topic_t *topic)
{
    hub_bus_sub_t *sub = NULL;

    pthread_mutex_lock(&topic->shard->lock);
    for (hub__branch_t *branch = topic->branches; branch != NULL && sub == NULL;
         branch = branch->next) {
        sub = branch->first;
        while (sub != NULL && atomic_load(&sub->state) != HUB__SUB_LIVE)
            sub = sub->next;
    }
    if (sub != NULL)
        hub__sub_retain(sub);
    pthread_mutex_unlock(&topic->shard->lock);
    return sub;
}

static void close_subs(hub__shard_t *shard)
{
    hub__topic_t *list = NULL, *next;

    pthread_mutex_lock(&shard->lock);
    hub__table_foreach(&shard->topics, keep_topic, &list);
    pthread_mutex_unlock(&shard->lock);
    for (; list != NULL; list = next) {
        hub_bus_sub_t *sub;

        next = list->node.next == NULL ? NULL : HUB__CONTAINER(list->node.next, hub__topic_t, node);
        while ((sub = next_sub(list)) != NULL) {
            close_sub(sub);
            hub__sub_release(sub);
        }
        hub__topic_release(list);
    }
}

void hub_bus_destroy(hub_bus_t *bus)
{
    if (bus == NULL)
        return;
    hub__bus_detach_all(bus);
    atomic_store(&bus->closing, true);
    hub__remote_close(bus);
    for (size_t i = 0; i < HUB__SHARDS; i++)
        close_subs(&bus->shards[i]);
    hub__bus_cancel_acks(bus);
    hub__remote_forget(bus);
    hub__bus_release(bus);
}

uint64_t hub_bus_node(const hub_bus_t *bus)
{
    return bus->node;
}

size_t hub_bus_largest_message(const hub_bus_t *bus)
{
    return hub__remote_largest_message(bus);
}

bool hub_bus_has_one_order(const hub_bus_t *bus)
{
    return hub__remote_has_one_order(bus);
}

const char *hub_bus_backend_name(const hub_bus_t *bus)
{
    return hub__remote_backend_name(bus);
}

void hub_bus_want_order(hub_bus_t *bus)
{
    hub__remote_want_order(bus);
}

bool hub_bus_is_healthy(hub_bus_t *bus)
{
    hub_bus_stats_t stats = {.healthy = true};

    hub__remote_get_stats(bus, &stats);
    return stats.healthy;
}

void hub_bus_get_stats(hub_bus_t *bus, hub_bus_stats_t *ret_stats)
{
    hub_bus_stats_t stats = {.healthy = true};

    for (size_t i = 0; i < HUB__SHARDS; i++) {
        hub__shard_t *shard = &bus->shards[i];

        pthread_mutex_lock(&shard->lock);
        stats.topics += shard->topics.count;
        stats.subscriptions += shard->subscriptions;
        stats.published += shard->published;
        stats.delivered += shard->delivered;
        stats.mailbox_dropped += shard->mailbox_dropped;
        stats.subscribers_failed += shard->subscribers_failed;
        stats.gaps += shard->gaps;
        pthread_mutex_unlock(&shard->lock);
    }
    hub__remote_get_stats(bus, &stats);
    *ret_stats = stats;
}
