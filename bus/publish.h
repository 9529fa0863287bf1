/* bus/publish.h - private: what the parts of a publish share: publish.c is the way of a message to
 * who listens on this node, mailbox.c what is on its way to another executor, emit.c what waits for
 * the end of a turn. */
#pragma once

#include "bus/internal.h"

/* What a subscription is told: a message, or where `msg` is NULL that it is ready, or a gap. */
typedef struct hub__news {
    const hub_message_t *msg;
    bool ready;
    hub_bus_ack_t *ack;
    hub_gap_reason_t reason;
    uint64_t missed;
    uint64_t stamp; /* subscriptions from this tick on are not meant */
} hub__news_t;

/* Accepted, and told to the backend, but not delivered here yet. */
typedef struct hub__waiting {
    struct hub__waiting *next;
    uint64_t hash;
    uint64_t turn;
    const hub_message_t *msg;
    hub_bus_ack_t *ack;
    bool borrowed; /* it is a variable of the caller, and so is the reference to the message */
} hub__waiting_t;

typedef struct hub__waiting_list {
    hub__waiting_t *first;
    hub__waiting_t **last;
} hub__waiting_list_t;

static inline void hub__waiting_list_init(hub__waiting_list_t *list)
{
    list->first = NULL;
    list->last = &list->first;
}

static inline void hub__waiting_append(hub__waiting_list_t *list, hub__waiting_t *waiting)
{
    waiting->next = NULL;
    *list->last = waiting;
    list->last = &waiting->next;
}

static inline void hub__waiting_unlink(hub__waiting_list_t *list, hub__waiting_t **link)
{
    hub__waiting_t *waiting = *link;

    *link = waiting->next;
    if (waiting->next == NULL)
        list->last = link;
}

/* ---- publish.c ---- */

/* Accepts it; where it is to be delivered by the caller, later, `ret_waiting` is not NULL. */
hub_status_t hub__publish_put_off(hub_bus_t *bus, uint64_t hash, const hub_message_t *msg,
                                  const hub_bus_publish_options_t *options,
                                  hub__waiting_t **ret_waiting);
/* Delivers it, if need be behind what this thread delivers on its topic at the moment. Takes it. */
void hub__publish_waiting(hub_bus_t *bus, hub__waiting_t *waiting);
/* Calls the subscriptions of the branch. On its executor's thread. */
void hub__branch_tell(hub__branch_t *branch, const hub__news_t *news);
/* Calls the subscriptions without executor. */
void hub__topic_tell(hub__topic_t *topic, const hub__news_t *news);

/* ---- mailbox.c: any thread ---- */

/* A message for the branch, which has `live` subscriptions; that it did not fit is a gap there. */
void hub__mailbox_post(hub__branch_t *branch, const hub__news_t *news, size_t live);
/* The same under the shard's lock, which makes it one order in all mailboxes. */
void hub__mailbox_post_in_order(hub__branch_t *branch, const hub__news_t *news);
/* Tells the branch of a loss, behind everything that this thread posted there. */
void hub__mailbox_post_gap(hub__branch_t *branch, const hub__news_t *news);

/* ---- emit.c ---- */

/* Moves what the calling thread emitted on the topic, and what waits, to the end of `list`. */
void hub__emits_take(const hub_bus_t *bus, uint64_t hash, hub_str_t topic,
                     hub__waiting_list_t *list);
