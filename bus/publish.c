/* SPDX-License-Identifier: MIT */
/* The way of a message to its subscribers on this node. A publish takes the targets under the
 * shard's lock, lets go of it, posts one task to each other executor (mailbox.c), and calls its own
 * thread's subscribers itself.
 *
 * While a thread delivers on a topic it is in a frame of that topic. What it publishes there
 * meanwhile, from inside a callback, is put behind and delivered when the frame ends: so nobody
 * sees the answer before the question, and no subscriber is entered twice. The same frame takes the
 * waiting emits of the topic, which were called for earlier than the publish that sends them. */
#include <stdlib.h>

#include "bus/buffer.h"
#include "bus/publish.h"

#define TARGETS_FEW 16

struct frame {
    struct frame *outer;
    hub_bus_t *bus;
    uint64_t hash;
    hub_str_t topic;
    hub__waiting_list_t list;
};

/* A branch with an executor, or one subscription without; retained. */
struct target {
    hub__branch_t *branch;
    hub_bus_sub_t *sub;
    size_t live; /* subscriptions of the branch */
    bool here;
};

struct targets {
    size_t count;
    size_t capacity;
    struct target *all;
    struct target few[TARGETS_FEW];
};

static _Thread_local struct frame *frames; /* the innermost first */

/* ---- what waits, and frames ---- */

static hub__waiting_t *waiting_create(uint64_t hash, const hub_message_t *msg)
{
    hub__waiting_t *waiting = malloc(sizeof(*waiting));

    if (waiting != NULL)
        *waiting = (hub__waiting_t){.hash = hash, .msg = hub_message_retain(msg)};
    return waiting;
}

static void waiting_free(hub__waiting_t *waiting)
{
    hub_bus_ack_release(waiting->ack);
    if (waiting->borrowed)
        return;
    hub_message_release((hub_message_t *)(uintptr_t)waiting->msg);
    free(waiting);
}

static struct frame *find_frame(const hub_bus_t *bus, uint64_t hash, hub_str_t topic)
{
    struct frame *frame = frames;

    while (frame != NULL &&
           !(frame->hash == hash && frame->bus == bus && hub_str_equals(frame->topic, topic)))
        frame = frame->outer;
    return frame;
}

/* `topic` is borrowed until leave_frame(). */
static void enter_frame(struct frame *frame, hub_bus_t *bus, uint64_t hash, hub_str_t topic)
{
    frame->outer = frames;
    frame->bus = bus;
    frame->hash = hash;
    frame->topic = topic;
    hub__waiting_list_init(&frame->list);
    frames = frame;
}

/* ---- calling subscribers on this thread ---- */

static void tell(hub_bus_sub_t *sub, const hub__news_t *news)
{
    const hub_bus_sub_options_t *options = &sub->options;
    hub_status_t err;

    if (news->ready) {
        if (atomic_exchange(&sub->waits, false))
            options->on_ready(sub, options->user);
        return;
    }
    if (news->msg == NULL) {
        if (options->on_gap != NULL)
            options->on_gap(sub, news->reason, news->missed, options->user);
        return;
    }
    err = options->on_message(sub, news->msg, news->ack, options->user);
    if (err != HUB_OK)
        hub__sub_fail(sub, err);
}

/* On the executor's thread. Subscriptions may end and begin meanwhile. */
static void walk(hub__branch_t *branch, const hub__news_t *news)
{
    hub__branch_enter(branch);
    for (hub_bus_sub_t *sub = branch->first; sub != NULL; sub = sub->next) {
        if (sub->since < news->stamp &&
            atomic_load_explicit(&sub->state, memory_order_relaxed) == HUB__SUB_LIVE)
            tell(sub, news);
    }
    hub__branch_leave(branch);
}

static void tell_without_executor(hub_bus_sub_t *sub, const hub__news_t *news)
{
    if (hub__sub_enter(sub))
        tell(sub, news);
    hub__sub_leave(sub);
}

static void leave_frame(struct frame *frame);

void hub__branch_tell(hub__branch_t *branch, const hub__news_t *news)
{
    hub__topic_t *topic = branch->topic;
    struct frame frame;

    enter_frame(&frame, topic->bus, topic->node.hash, topic->name);
    walk(branch, news);
    leave_frame(&frame);
}

/* ---- targets ---- */

static void grow_targets(struct targets *targets)
{
    size_t bytes = targets->capacity * sizeof(*targets->all);
    struct target *more = hub__alloc(2 * bytes);

    memcpy(more, targets->all, bytes);
    if (targets->all != targets->few)
        free(targets->all);
    targets->all = more;
    targets->capacity *= 2;
}

static inline void add_target(struct targets *targets, hub__branch_t *branch, hub_bus_sub_t *sub)
{
    struct target *target;

    if (targets->count == targets->capacity)
        grow_targets(targets);
    target = &targets->all[targets->count++];
    target->branch = branch;
    target->sub = sub;
    target->live = branch == NULL ? 1 : branch->live;
    target->here = false;
}

/* Each subscription of a branch without executor. Under the shard's lock. */
static void add_subs(struct targets *targets, const hub__branch_t *branch)
{
    for (hub_bus_sub_t *sub = branch->first; sub != NULL; sub = sub->next) {
        hub__sub_retain(sub);
        add_target(targets, NULL, sub);
    }
}

static void targets_init(struct targets *targets)
{
    targets->count = 0;
    targets->capacity = TARGETS_FEW;
    targets->all = targets->few;
}

/* Under the shard's lock. */
static void take_targets(struct targets *targets, const hub__topic_t *topic)
{
    targets_init(targets);
    for (hub__branch_t *branch = topic->branches; branch != NULL; branch = branch->next) {
        if (branch->executor != NULL) {
            hub__branch_retain(branch);
            add_target(targets, branch, NULL);
            continue;
        }
        add_subs(targets, branch);
    }
}

/* The same for a message that has its place in the order: mailboxes have it now, this thread's own
 * among them, and only subscriptions without one are left. Under the shard's lock. (Inlined, it
 * would cost all other messages a nanosecond.) */
__attribute__((noinline)) static void
take_targets_in_order(struct targets *targets, const hub__topic_t *topic, const hub__news_t *news)
{
    targets_init(targets);
    for (hub__branch_t *branch = topic->branches; branch != NULL; branch = branch->next) {
        if (branch->executor == NULL)
            add_subs(targets, branch);
        else
            hub__mailbox_post_in_order(branch, news);
    }
}

static void release_targets(struct targets *targets)
{
    for (size_t i = 0; i < targets->count; i++) {
        if (targets->all[i].branch != NULL)
            hub__branch_release(targets->all[i].branch);
        else
            hub__sub_release(targets->all[i].sub);
    }
    if (targets->all != targets->few)
        free(targets->all);
}

/* The others first, so that they run while this thread is busy with its own. Within a frame. */
static void reach(struct targets *targets, const hub__news_t *news)
{
    for (size_t i = 0; i < targets->count; i++) {
        struct target *target = &targets->all[i];
        hub__branch_t *branch = target->branch;

        if (branch == NULL || (target->here = branch->executor->is_current(branch->executor)))
            continue;
        if (news->msg != NULL)
            hub__mailbox_post(branch, news, target->live);
        else
            hub__mailbox_post_gap(branch, news);
    }
    for (size_t i = 0; i < targets->count; i++) {
        if (targets->all[i].sub != NULL)
            tell_without_executor(targets->all[i].sub, news);
        else if (targets->all[i].here)
            walk(targets->all[i].branch, news);
    }
    release_targets(targets);
}

/* One message to all that listen now. Within a frame of its topic; `ours` came from this node. */
static void fan_out(hub_bus_t *bus, uint64_t hash, const hub_message_t *msg, hub_bus_ack_t *ack,
                    bool ours)
{
    hub__shard_t *shard = hub__bus_shard(bus, hash);
    hub__news_t news = {.msg = msg, .ack = ack};
    struct targets targets;
    hub__topic_t *topic;
    size_t subscribers = 0;

    pthread_mutex_lock(&shard->lock);
    shard->published += ours;
    topic = hub__topic_find(shard, hash, msg->topic);
    if (topic != NULL) {
        news.stamp = ++shard->clock;
        subscribers = topic->subscribers;
        shard->delivered += subscribers;
        if ((msg->flags & HUB_MESSAGE_BUS_ORDER) != 0)
            take_targets_in_order(&targets, topic, &news);
        else
            take_targets(&targets, topic);
    }
    pthread_mutex_unlock(&shard->lock);
    if (ours && bus->hooks.on_publish != NULL)
        bus->hooks.on_publish(msg, subscribers, bus->hooks.user);
    if (subscribers > 0)
        reach(&targets, &news);
}

/* Delivers what lies in the frame, also what comes to lie there meanwhile, then ends it. */
static void leave_frame(struct frame *frame)
{
    hub__waiting_t *waiting;

    while ((waiting = frame->list.first) != NULL) {
        hub__waiting_unlink(&frame->list, &frame->list.first);
        fan_out(frame->bus, frame->hash, waiting->msg, waiting->ack, true);
        waiting_free(waiting);
    }
    frames = frame->outer;
}

void hub__bus_deliver(hub_bus_t *bus, uint64_t hash, const hub_message_t *msg, hub_bus_ack_t *ack)
{
    struct frame frame;

    enter_frame(&frame, bus, hash, msg->topic);
    fan_out(bus, hash, msg, ack, false);
    leave_frame(&frame);
}

void hub__bus_tell_gap(hub__topic_t *topic, hub_gap_reason_t reason, uint64_t missed)
{
    hub__news_t news = {.reason = reason, .missed = missed};
    struct targets targets;
    struct frame frame;

    pthread_mutex_lock(&topic->shard->lock);
    news.stamp = ++topic->shard->clock;
    topic->shard->gaps += topic->subscribers;
    take_targets(&targets, topic);
    pthread_mutex_unlock(&topic->shard->lock);
    enter_frame(&frame, topic->bus, topic->node.hash, topic->name);
    reach(&targets, &news);
    leave_frame(&frame);
}

void hub__topic_tell(hub__topic_t *topic, const hub__news_t *news)
{
    struct targets targets;
    struct frame frame;

    pthread_mutex_lock(&topic->shard->lock);
    take_targets(&targets, topic);
    pthread_mutex_unlock(&topic->shard->lock);
    enter_frame(&frame, topic->bus, topic->node.hash, topic->name);
    for (size_t i = 0; i < targets.count; i++) {
        if (targets.all[i].sub != NULL)
            tell_without_executor(targets.all[i].sub, news);
    }
    release_targets(&targets);
    leave_frame(&frame);
}

/* ---- publishing ---- */

/* What will be delivered when it comes back is published all the same. */
__attribute__((noinline)) static void count_published(hub_bus_t *bus, uint64_t hash,
                                                      const hub_message_t *msg)
{
    hub__shard_t *shard = hub__bus_shard(bus, hash);
    const hub__topic_t *topic;
    size_t subscribers;

    pthread_mutex_lock(&shard->lock);
    shard->published++;
    topic = hub__topic_find(shard, hash, msg->topic);
    subscribers = topic == NULL ? 0 : topic->subscribers;
    pthread_mutex_unlock(&shard->lock);
    if (bus->hooks.on_publish != NULL)
        bus->hooks.on_publish(msg, subscribers, bus->hooks.user);
}

static hub_status_t create_ack(hub_bus_t *bus, const hub_bus_publish_options_t *options,
                               hub_bus_ack_t **ret_ack)
{
    if (options->executor == NULL)
        return HUB_EINVAL;
    *ret_ack = hub__ack_create(bus, options);
    return *ret_ack == NULL ? HUB_ENOMEM : HUB_OK;
}

static hub_status_t hand_over(hub_bus_t *bus, uint64_t hash, const hub_message_t *msg,
                              hub_bus_ack_t **ack, bool *ret_here)
{
    hub_status_t err = hub__remote_publish(bus, hash, msg, *ack, ret_here);

    if (err != HUB_OK) {
        hub__ack_abandon(*ack);
        *ack = NULL;
    } else if (!*ret_here) {
        count_published(bus, hash, msg);
    }
    return err;
}

/* Everything that can fail: afterwards it is at the backend, and will be delivered here, by the
 * caller if `ret_here` says so. `ret_ack` is NULL before. */
static inline hub_status_t accept_message(hub_bus_t *bus, uint64_t hash, const hub_message_t *msg,
                                          const hub_bus_publish_options_t *options,
                                          hub_bus_ack_t **ret_ack, bool *ret_here)
{
    hub_status_t err = HUB_OK;

    *ret_here = true;
    if (atomic_load_explicit(&bus->closing, memory_order_relaxed))
        return HUB_ECLOSED;
    if (options != NULL && options->on_published != NULL)
        err = create_ack(bus, options, ret_ack);
    if (err == HUB_OK && bus->remote != NULL)
        err = hand_over(bus, hash, msg, ret_ack, ret_here);
    return err;
}

hub_status_t hub__publish_put_off(hub_bus_t *bus, uint64_t hash, const hub_message_t *msg,
                                  const hub_bus_publish_options_t *options,
                                  hub__waiting_t **ret_waiting)
{
    hub__waiting_t *waiting = waiting_create(hash, msg);
    hub_status_t err;
    bool here;

    if (waiting == NULL)
        return HUB_ENOMEM;
    err = accept_message(bus, hash, msg, options, &waiting->ack, &here);
    *ret_waiting = err == HUB_OK && here ? waiting : NULL;
    if (*ret_waiting == NULL)
        waiting_free(waiting);
    return err;
}

void hub__publish_waiting(hub_bus_t *bus, hub__waiting_t *waiting)
{
    struct frame *outer = find_frame(bus, waiting->hash, waiting->msg->topic), frame;
    hub_message_t *msg;

    if (outer != NULL) {
        hub__waiting_append(&outer->list, waiting);
        return;
    }
    msg = hub_message_retain(waiting->msg); /* the frame borrows its topic */
    enter_frame(&frame, bus, waiting->hash, msg->topic);
    hub__waiting_append(&frame.list, waiting);
    leave_frame(&frame);
    hub_message_release(msg);
}

/* From inside a callback of the same topic. */
static hub_status_t publish_behind(struct frame *frame, const hub_message_t *msg,
                                   const hub_bus_publish_options_t *options)
{
    hub__waiting_t *waiting;
    hub_status_t err = hub__publish_put_off(frame->bus, frame->hash, msg, options, &waiting);

    if (err != HUB_OK || waiting == NULL)
        return err;
    hub__emits_take(frame->bus, frame->hash, frame->topic, &frame->list);
    hub__waiting_append(&frame->list, waiting);
    return HUB_OK;
}

hub_status_t hub_bus_publish(hub_bus_t *bus, const hub_message_t *msg,
                             const hub_bus_publish_options_t *options)
{
    hub__waiting_t own = {.msg = msg, .borrowed = true};
    struct frame frame, *outer;
    hub_status_t err;
    bool here;

    if (msg->_counted == 0)
        return HUB_EINVAL;
    own.hash = hub__hash(msg->topic);
    outer = find_frame(bus, own.hash, msg->topic);
    if (outer != NULL)
        return publish_behind(outer, msg, options);
    err = accept_message(bus, own.hash, msg, options, &own.ack, &here);
    if (err != HUB_OK)
        return err;
    if (!here) {
        hub_bus_ack_release(own.ack);
        return HUB_OK;
    }
    enter_frame(&frame, bus, own.hash, msg->topic);
    hub__emits_take(bus, own.hash, msg->topic, &frame.list);
    hub__waiting_append(&frame.list, &own);
    leave_frame(&frame);
    return HUB_OK;
}
