/* SPDX-License-Identifier: MIT */
/* The way of a message to its subscribers on this node. A publish takes the targets under the
 * shard's lock, lets go of it, posts one task to each other executor, and calls its own thread's
 * subscribers itself.
 *
 * While a thread delivers on a topic it is in a frame of that topic. What it publishes there
 * meanwhile, from inside a callback, is put behind and delivered when the frame ends: so nobody
 * sees the answer before the question, and no subscriber is entered twice. The same frame takes the
 * waiting emits of the topic, which were called for earlier than the publish that sends them. */
#include <stdlib.h>

#include "bus/buffer.h"
#include "bus/internal.h"

#define EMITS_MAX 1024
#define TARGETS_FEW 16

/* Accepted, and told to the backend, but not delivered here yet. */
struct waiting {
    struct waiting *next;
    uint64_t hash;
    uint64_t turn;
    const hub_message_t *msg;
    hub_bus_ack_t *ack;
    bool borrowed; /* it is a variable of the caller, and so is the reference to the message */
};

struct waiting_list {
    struct waiting *first;
    struct waiting **last;
};

/* The emits of one executor on one bus. Its thread's alone, but for `next_of_bus`. */
struct hub__emits {
    hub__emits_t *next_of_bus;
    hub__emits_t *next_of_executor;
    hub__emits_t *next_of_thread; /* while not empty */
    hub_bus_t *bus;
    hub_executor_t *executor;
    struct waiting_list list;
    size_t count;
    uint64_t turn;
    bool asked; /* for the flush of this turn */
};

struct frame {
    struct frame *outer;
    hub_bus_t *bus;
    uint64_t hash;
    hub_str_t topic;
    struct waiting_list list;
};

/* What a subscription is told: a message, or where `msg` is NULL that it is ready, or a gap. */
struct news {
    const hub_message_t *msg;
    bool ready;
    hub_bus_ack_t *ack;
    hub_gap_reason_t reason;
    uint64_t missed;
    uint64_t stamp; /* subscriptions from this tick on are not meant */
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

struct delivery {
    hub_task_t task;
    hub__branch_t *branch;
    struct news news;
    hub_message_t *msg;
};

struct hub__gap {
    hub_task_t task;
    hub__branch_t *branch;
    struct news news; /* `missed` under the shard's lock while it is the branch's open one */
};

struct hub__ready {
    hub_task_t task;
    hub__ready_t *next;
    hub__branch_t *branch;
    struct news news;
};

static _Thread_local struct {
    struct frame *frames;
    hub__emits_t *emits;
} this_thread;

/* ---- lists and frames ---- */

static void list_init(struct waiting_list *list)
{
    list->first = NULL;
    list->last = &list->first;
}

static void list_append(struct waiting_list *list, struct waiting *waiting)
{
    waiting->next = NULL;
    *list->last = waiting;
    list->last = &waiting->next;
}

static void list_unlink(struct waiting_list *list, struct waiting **link)
{
    struct waiting *waiting = *link;

    *link = waiting->next;
    if (waiting->next == NULL)
        list->last = link;
}

static struct waiting *waiting_create(uint64_t hash, const hub_message_t *msg)
{
    struct waiting *waiting = malloc(sizeof(*waiting));

    if (waiting != NULL)
        *waiting = (struct waiting){.hash = hash, .msg = hub_message_retain(msg)};
    return waiting;
}

static void waiting_free(struct waiting *waiting)
{
    hub_bus_ack_release(waiting->ack);
    if (waiting->borrowed)
        return;
    hub_message_release((hub_message_t *)(uintptr_t)waiting->msg);
    free(waiting);
}

static struct frame *find_frame(const hub_bus_t *bus, uint64_t hash, hub_str_t topic)
{
    struct frame *frame = this_thread.frames;

    while (frame != NULL &&
           !(frame->hash == hash && frame->bus == bus && hub_str_equals(frame->topic, topic)))
        frame = frame->outer;
    return frame;
}

/* `topic` is borrowed until leave_frame(). */
static void enter_frame(struct frame *frame, hub_bus_t *bus, uint64_t hash, hub_str_t topic)
{
    frame->outer = this_thread.frames;
    frame->bus = bus;
    frame->hash = hash;
    frame->topic = topic;
    list_init(&frame->list);
    this_thread.frames = frame;
}

/* ---- calling subscribers on this thread ---- */

static void tell(hub_bus_sub_t *sub, const struct news *news)
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
static void walk(hub__branch_t *branch, const struct news *news)
{
    hub__branch_enter(branch);
    for (hub_bus_sub_t *sub = branch->first; sub != NULL; sub = sub->next) {
        if (sub->since < news->stamp &&
            atomic_load_explicit(&sub->state, memory_order_relaxed) == HUB__SUB_LIVE)
            tell(sub, news);
    }
    hub__branch_leave(branch);
}

static void tell_without_executor(hub_bus_sub_t *sub, const struct news *news)
{
    if (hub__sub_enter(sub))
        tell(sub, news);
    hub__sub_leave(sub);
}

static void leave_frame(struct frame *frame);

static void walk_in_frame(hub__branch_t *branch, const struct news *news)
{
    hub__topic_t *topic = branch->topic;
    struct frame frame;

    enter_frame(&frame, topic->bus, topic->node.hash, topic->name);
    walk(branch, news);
    leave_frame(&frame);
}

/* ---- posting to other executors ---- */

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
    walk_in_frame(gap->branch, &gap->news);
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
static bool add_to_open_gap(hub__branch_t *branch, const struct news *news)
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
static void post_new_gap(hub__branch_t *branch, const struct news *news)
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
static void add_or_post_gap(hub__branch_t *branch, const struct news *news)
{
    if (!add_to_open_gap(branch, news))
        post_new_gap(branch, news);
}

/* Tells a branch elsewhere of a loss, behind everything that this thread posted there. Posted under
 * the lock: once another thread can add to a gap, that gap lies before whatever it posts next. */
static void post_gap(hub__branch_t *branch, const struct news *news)
{
    hub__shard_t *shard = branch->topic->shard;

    pthread_mutex_lock(&shard->lock);
    add_or_post_gap(branch, news);
    pthread_mutex_unlock(&shard->lock);
}

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

    walk_in_frame(delivery->branch, &delivery->news);
    delivery_free(delivery);
}

static void discard_delivery(hub_task_t *task)
{
    delivery_free(HUB__CONTAINER(task, struct delivery, task));
}

/* Also under the shard's lock. */
static hub_status_t try_post(hub__branch_t *branch, const struct news *news)
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
static void note_loss(hub__branch_t *branch, const struct news *news, size_t live, hub_status_t why)
{
    hub__shard_t *shard = branch->topic->shard;
    struct news loss = {.reason = HUB_GAP_MAILBOX, .missed = 1, .stamp = news->stamp};

    shard->delivered -= live;
    if (why == HUB_ECLOSED)
        return; /* nobody is left there who could be told */
    shard->mailbox_dropped++;
    shard->gaps += live;
    add_or_post_gap(branch, &loss);
}

static void post_message(const struct target *target, const struct news *news)
{
    hub__branch_t *branch = target->branch;
    hub__shard_t *shard = branch->topic->shard;
    hub_status_t err = try_post(branch, news);

    if (err == HUB_OK) {
        if (atomic_load_explicit(&branch->open_gap, memory_order_relaxed) != NULL)
            close_gap(branch, NULL);
        return;
    }
    pthread_mutex_lock(&shard->lock);
    note_loss(branch, news, target->live, err);
    pthread_mutex_unlock(&shard->lock);
}

/* Under the shard's lock, which makes it one order in all mailboxes. */
static void post_in_order(hub__branch_t *branch, const struct news *news)
{
    hub_status_t err = try_post(branch, news);

    if (err == HUB_OK) {
        atomic_store(&branch->open_gap, NULL);
        return;
    }
    note_loss(branch, news, branch->live, err);
}

/* ---- targets ---- */

static void add_target(struct targets *targets, hub__branch_t *branch, hub_bus_sub_t *sub)
{
    struct target *target;

    if (targets->count == targets->capacity) {
        size_t bytes = targets->capacity * sizeof(*target);
        struct target *more = hub__alloc(2 * bytes);

        memcpy(more, targets->all, bytes);
        if (targets->all != targets->few)
            free(targets->all);
        targets->all = more;
        targets->capacity *= 2;
    }
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
take_targets_in_order(struct targets *targets, const hub__topic_t *topic, const struct news *news)
{
    targets_init(targets);
    for (hub__branch_t *branch = topic->branches; branch != NULL; branch = branch->next) {
        if (branch->executor == NULL)
            add_subs(targets, branch);
        else
            post_in_order(branch, news);
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
static void reach(struct targets *targets, const struct news *news)
{
    for (size_t i = 0; i < targets->count; i++) {
        struct target *target = &targets->all[i];
        hub__branch_t *branch = target->branch;

        if (branch == NULL || (target->here = branch->executor->is_current(branch->executor)))
            continue;
        if (news->msg != NULL)
            post_message(target, news);
        else
            post_gap(branch, news);
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
    struct news news = {.msg = msg, .ack = ack};
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
    struct waiting *waiting;

    while ((waiting = frame->list.first) != NULL) {
        list_unlink(&frame->list, &frame->list.first);
        fan_out(frame->bus, frame->hash, waiting->msg, waiting->ack, true);
        waiting_free(waiting);
    }
    this_thread.frames = frame->outer;
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
    struct news news = {.reason = reason, .missed = missed};
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

    walk_in_frame(ready->branch, &ready->news);
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

/* Calls those that have no executor. */
static void ready_without_executor(hub__ready_t *ready)
{
    hub__topic_t *topic = ready->branch->topic;
    struct targets targets;
    struct frame frame;

    pthread_mutex_lock(&topic->shard->lock);
    take_targets(&targets, topic);
    pthread_mutex_unlock(&topic->shard->lock);
    enter_frame(&frame, topic->bus, topic->node.hash, topic->name);
    for (size_t i = 0; i < targets.count; i++) {
        if (targets.all[i].sub != NULL)
            tell_without_executor(targets.all[i].sub, &ready->news);
    }
    release_targets(&targets);
    leave_frame(&frame);
    hub__ready_free(ready);
}

void hub__bus_tell_ready(hub__ready_t *list)
{
    hub__ready_t *ready;

    while ((ready = list) != NULL) {
        hub_executor_t *executor = ready->branch->executor;

        list = ready->next;
        if (executor == NULL)
            ready_without_executor(ready);
        else if (executor->is_current(executor))
            run_ready(&ready->task);
        else if (executor->post(executor, &ready->task, true) != HUB_OK)
            hub__ready_free(ready); /* nobody is left there */
    }
}

/* ---- emits ---- */

/* Those of this thread that are not empty. */
static hub__emits_t **emits_link(const hub_bus_t *bus)
{
    hub__emits_t **link = &this_thread.emits;

    while (*link != NULL && (*link)->bus != bus)
        link = &(*link)->next_of_thread;
    return link;
}

/* NULL: the calling thread is no attached executor's. */
static hub__emits_t *find_emits(hub_bus_t *bus)
{
    hub__emits_t *emits = *emits_link(bus);

    if (emits != NULL)
        return emits;
    pthread_mutex_lock(&bus->executors_lock);
    emits = bus->executors;
    while (emits != NULL && !emits->executor->is_current(emits->executor))
        emits = emits->next_of_bus;
    pthread_mutex_unlock(&bus->executors_lock);
    return emits;
}

static void append_emit(hub__emits_t *emits, struct waiting *waiting)
{
    if (emits->count++ == 0) {
        emits->next_of_thread = this_thread.emits;
        this_thread.emits = emits;
    }
    waiting->turn = emits->turn;
    list_append(&emits->list, waiting);
    if (emits->asked)
        return;
    emits->asked = true;
    emits->executor->flush_later(emits->executor);
}

static void remove_emit(hub__emits_t *emits, struct waiting **link)
{
    list_unlink(&emits->list, link);
    if (--emits->count == 0)
        *emits_link(emits->bus) = emits->next_of_thread;
}

/* Moves the waiting emits of the frame's topic into the frame. */
static void take_emits(struct frame *frame)
{
    hub__emits_t *emits = *emits_link(frame->bus);
    struct waiting **link;

    if (emits == NULL)
        return;
    for (link = &emits->list.first; *link != NULL;) {
        struct waiting *waiting = *link;

        if (waiting->hash == frame->hash && hub_str_equals(waiting->msg->topic, frame->topic)) {
            remove_emit(emits, link);
            list_append(&frame->list, waiting);
        } else {
            link = &waiting->next;
        }
    }
}

/* Sends those that waited when it began, oldest first; a callback may emit again. */
static void flush(hub__emits_t *emits)
{
    uint64_t turn = emits->turn++;
    struct waiting *waiting;

    emits->asked = false;
    while ((waiting = emits->list.first) != NULL && waiting->turn <= turn) {
        struct frame *outer = find_frame(emits->bus, waiting->hash, waiting->msg->topic), frame;
        hub_message_t *msg = hub_message_retain(waiting->msg);

        remove_emit(emits, &emits->list.first);
        if (outer != NULL) {
            list_append(&outer->list, waiting);
        } else {
            enter_frame(&frame, emits->bus, waiting->hash, msg->topic);
            list_append(&frame.list, waiting);
            leave_frame(&frame);
        }
        hub_message_release(msg);
    }
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

/* Everything that can fail: afterwards it is at the backend, and will be delivered here, by the
 * caller if `ret_here` says so. */
static hub_status_t accept_message(hub_bus_t *bus, uint64_t hash, const hub_message_t *msg,
                                   const hub_bus_publish_options_t *options,
                                   hub_bus_ack_t **ret_ack, bool *ret_here)
{
    hub_bus_ack_t *ack = NULL;
    hub_status_t err = HUB_OK;

    *ret_here = true;

    if (atomic_load_explicit(&bus->closing, memory_order_relaxed))
        return HUB_ECLOSED;
    if (options != NULL && options->on_published != NULL) {
        if (options->executor == NULL)
            return HUB_EINVAL;
        ack = hub__ack_create(bus, options);
        if (ack == NULL)
            return HUB_ENOMEM;
    }
    if (bus->remote != NULL)
        err = hub__remote_publish(bus, hash, msg, ack, ret_here);
    if (err != HUB_OK)
        hub__ack_abandon(ack);
    else
        *ret_ack = ack;
    if (err == HUB_OK && !*ret_here)
        count_published(bus, hash, msg);
    return err;
}

/* Accepts it; where it is to be delivered by the caller, later, `ret_waiting` is not NULL. */
static hub_status_t put_off(hub_bus_t *bus, uint64_t hash, const hub_message_t *msg,
                            const hub_bus_publish_options_t *options, struct waiting **ret_waiting)
{
    struct waiting *waiting = waiting_create(hash, msg);
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

/* From inside a callback of the same topic. */
static hub_status_t publish_behind(struct frame *frame, const hub_message_t *msg,
                                   const hub_bus_publish_options_t *options)
{
    struct waiting *waiting;
    hub_status_t err = put_off(frame->bus, frame->hash, msg, options, &waiting);

    if (err != HUB_OK || waiting == NULL)
        return err;
    take_emits(frame);
    list_append(&frame->list, waiting);
    return HUB_OK;
}

hub_status_t hub_bus_publish(hub_bus_t *bus, const hub_message_t *msg,
                             const hub_bus_publish_options_t *options)
{
    struct waiting own = {.msg = msg, .borrowed = true};
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
    take_emits(&frame);
    list_append(&frame.list, &own);
    leave_frame(&frame);
    return HUB_OK;
}

hub_status_t hub_bus_emit(hub_bus_t *bus, const hub_message_t *msg,
                          const hub_bus_publish_options_t *options)
{
    hub__emits_t *emits = find_emits(bus);
    struct waiting *waiting;
    hub_status_t err;

    if (emits == NULL)
        return hub_bus_publish(bus, msg, options);
    if (msg->_counted == 0)
        return HUB_EINVAL;
    err = put_off(bus, hub__hash(msg->topic), msg, options, &waiting);
    if (err != HUB_OK || waiting == NULL)
        return err;
    if (emits->count >= EMITS_MAX)
        flush(emits);
    append_emit(emits, waiting);
    return HUB_OK;
}

/* ---- executors ---- */

static hub__emits_t *emits_of(const hub_bus_t *bus, const hub_executor_t *executor)
{
    hub__emits_t *emits = executor->_emits;

    while (emits != NULL && emits->bus != bus)
        emits = emits->next_of_executor;
    return emits;
}

bool hub__bus_is_attached(const hub_bus_t *bus, const hub_executor_t *executor)
{
    return emits_of(bus, executor) != NULL;
}

hub_status_t hub_bus_attach(hub_bus_t *bus, hub_executor_t *executor)
{
    hub__emits_t *emits;

    if (emits_of(bus, executor) != NULL)
        return HUB_EEXIST;
    emits = calloc(1, sizeof(*emits));
    if (emits == NULL)
        return HUB_ENOMEM;
    emits->bus = bus;
    emits->executor = executor;
    list_init(&emits->list);
    emits->next_of_executor = executor->_emits;
    executor->_emits = emits;
    pthread_mutex_lock(&bus->executors_lock);
    emits->next_of_bus = bus->executors;
    bus->executors = emits;
    pthread_mutex_unlock(&bus->executors_lock);
    return HUB_OK;
}

void hub_bus_detach(hub_bus_t *bus, hub_executor_t *executor)
{
    hub__emits_t *emits = emits_of(bus, executor), *head, **link;

    if (emits == NULL)
        return;
    while (emits->count > 0)
        flush(emits);
    pthread_mutex_lock(&bus->executors_lock);
    for (link = &bus->executors; *link != emits; link = &(*link)->next_of_bus)
        ;
    *link = emits->next_of_bus;
    pthread_mutex_unlock(&bus->executors_lock);
    head = executor->_emits;
    for (link = &head; *link != emits; link = &(*link)->next_of_executor)
        ;
    *link = emits->next_of_executor;
    executor->_emits = head;
    free(emits);
}

void hub__bus_detach_all(hub_bus_t *bus)
{
    while (bus->executors != NULL)
        hub_bus_detach(bus, bus->executors->executor);
}

void hub_bus_flush(hub_bus_t *bus, hub_executor_t *executor)
{
    hub__emits_t *emits, *next;

    if (bus != NULL) {
        emits = emits_of(bus, executor);
        if (emits != NULL)
            flush(emits);
        return;
    }
    for (emits = executor->_emits; emits != NULL; emits = next) {
        next = emits->next_of_executor;
        flush(emits);
    }
}
