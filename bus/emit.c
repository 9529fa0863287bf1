/* SPDX-License-Identifier: MIT */
/* What executors emit, until the end of their turn, and by that who is attached to a bus. */
#include <stdlib.h>

#include "bus/publish.h"

#define EMITS_MAX 1024

/* The emits of one executor on one bus. Its thread's alone, but for `next_of_bus`. A callback may
 * detach the executor, or destroy a bus, while they are sent: whoever sends holds them. */
struct hub__emits {
    hub__emits_t *next_of_bus;
    hub__emits_t *next_of_executor;
    hub__emits_t *next_of_thread; /* while not empty */
    hub_bus_t *bus;
    hub_executor_t *executor;
    hub__waiting_list_t list;
    size_t count;
    unsigned holds; /* one while attached */
    bool gone;      /* not attached any more, and empty */
    uint64_t turn;
    bool is_done; /* in the hub_bus_flush(NULL) under way */
    bool asked;   /* for the flush of this turn */
};

static _Thread_local hub__emits_t *of_this_thread;

/* Those of this thread that are not empty. */
static hub__emits_t **emits_link(const hub_bus_t *bus)
{
    hub__emits_t **link = &of_this_thread;

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

static void append_emit(hub__emits_t *emits, hub__waiting_t *waiting)
{
    if (emits->count++ == 0) {
        emits->next_of_thread = of_this_thread;
        of_this_thread = emits;
    }
    waiting->turn = emits->turn;
    hub__waiting_append(&emits->list, waiting);
    if (emits->asked)
        return;
    emits->asked = true;
    emits->executor->flush_later(emits->executor);
}

static void remove_emit(hub__emits_t *emits, hub__waiting_t **link)
{
    hub__waiting_unlink(&emits->list, link);
    if (--emits->count == 0)
        *emits_link(emits->bus) = emits->next_of_thread;
}

void hub__emits_take(const hub_bus_t *bus, uint64_t hash, hub_str_t topic,
                     hub__waiting_list_t *list)
{
    hub__emits_t *emits = *emits_link(bus);
    hub__waiting_t **link;

    if (emits == NULL)
        return;
    for (link = &emits->list.first; *link != NULL;) {
        hub__waiting_t *waiting = *link;

        if (waiting->hash == hash && hub_str_equals(waiting->msg->topic, topic)) {
            remove_emit(emits, link);
            hub__waiting_append(list, waiting);
        } else {
            link = &waiting->next;
        }
    }
}

static void drop_hold(hub__emits_t *emits)
{
    if (--emits->holds == 0)
        free(emits);
}

/* Sends those that waited when it began, oldest first; a callback may emit again. The caller holds
 * them. */
static void flush(hub__emits_t *emits)
{
    uint64_t turn = emits->turn++;
    hub__waiting_t *waiting;

    emits->asked = false;
    while ((waiting = emits->list.first) != NULL && waiting->turn <= turn) {
        remove_emit(emits, &emits->list.first);
        hub__publish_waiting(emits->bus, waiting);
    }
}

hub_status_t hub_bus_emit(hub_bus_t *bus, const hub_message_t *msg,
                          const hub_bus_publish_options_t *options)
{
    hub__emits_t *emits = find_emits(bus);
    hub__waiting_t *waiting;
    hub_status_t err;

    if (emits == NULL)
        return hub_bus_publish(bus, msg, options);
    if (msg->_counted == 0)
        return HUB_EINVAL;
    err = hub__publish_put_off(bus, hub__hash(msg->topic), msg, options, &waiting);
    if (err != HUB_OK || waiting == NULL)
        return err;
    ++emits->holds;
    if (emits->count >= EMITS_MAX)
        flush(emits);
    if (emits->gone)
        hub__publish_waiting(bus, waiting);
    else
        append_emit(emits, waiting);
    drop_hold(emits);
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
    emits->holds = 1;
    hub__waiting_list_init(&emits->list);
    emits->next_of_executor = executor->_emits;
    executor->_emits = emits;
    pthread_mutex_lock(&bus->executors_lock);
    emits->next_of_bus = bus->executors;
    bus->executors = emits;
    pthread_mutex_unlock(&bus->executors_lock);
    return HUB_OK;
}

static void unlist_emits(hub__emits_t *emits)
{
    hub_bus_t *bus = emits->bus;
    hub_executor_t *executor = emits->executor;
    hub__emits_t *head = executor->_emits, **link;

    emits->gone = true;
    pthread_mutex_lock(&bus->executors_lock);
    for (link = &bus->executors; *link != emits; link = &(*link)->next_of_bus)
        ;
    *link = emits->next_of_bus;
    pthread_mutex_unlock(&bus->executors_lock);
    for (link = &head; *link != emits; link = &(*link)->next_of_executor)
        ;
    *link = emits->next_of_executor;
    executor->_emits = head;
    drop_hold(emits);
}

void hub_bus_detach(hub_bus_t *bus, hub_executor_t *executor)
{
    hub__emits_t *emits = emits_of(bus, executor);

    if (emits == NULL)
        return;
    ++emits->holds;
    while (emits->count > 0)
        flush(emits);
    if (!emits->gone)
        unlist_emits(emits);
    drop_hold(emits);
}

void hub__bus_detach_all(hub_bus_t *bus)
{
    while (bus->executors != NULL)
        hub_bus_detach(bus, bus->executors->executor);
}

static void hold_and_flush(hub__emits_t *emits)
{
    ++emits->holds;
    flush(emits);
    drop_hold(emits);
}

/* Looked for from the beginning each time: any of them may have gone. */
static hub__emits_t *next_to_flush(const hub_executor_t *executor)
{
    hub__emits_t *emits = executor->_emits;

    while (emits != NULL && emits->is_done)
        emits = emits->next_of_executor;
    return emits;
}

static void flush_all(const hub_executor_t *executor)
{
    hub__emits_t *emits;

    for (emits = executor->_emits; emits != NULL; emits = emits->next_of_executor)
        emits->is_done = false;
    while ((emits = next_to_flush(executor)) != NULL) {
        emits->is_done = true;
        hold_and_flush(emits);
    }
}

void hub_bus_flush(hub_bus_t *bus, hub_executor_t *executor)
{
    hub__emits_t *emits;

    if (bus == NULL) {
        flush_all(executor);
        return;
    }
    emits = emits_of(bus, executor);
    if (emits != NULL)
        hold_and_flush(emits);
}
