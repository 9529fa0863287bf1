/* bus/internal.h - private: what the files of the bus share.
 *
 *     topic  -> branches, one for each executor that listens (and one for those without)
 *     branch -> its subscriptions
 *
 * A shard's lock guards its table, its topics, the list of their branches and every count. The list
 * of subscriptions within a branch belongs to the executor's thread, which therefore walks it
 * without a lock; in the branch without executor the shard's lock guards it. Locks are taken in the
 * order stream, shard, in flight, acks, and at most one of each kind; none while user code runs.
 * Executors' mailboxes are posted to under the shard's lock where the order there matters.
 *
 * References point upwards: a subscription keeps its branch, a branch its topic, a topic and an ack
 * the bus. So what still lies in a mailbox outlives hub_bus_destroy(). */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "bus/backend.h"
#include "bus/flight.h"
#include "bus/stream.h"
#include "bus/table.h"

#define HUB__SHARDS 16

typedef struct hub__branch hub__branch_t;
typedef struct hub__emits hub__emits_t;
typedef struct hub__gap hub__gap_t;
typedef struct hub__ready hub__ready_t;
typedef struct hub__remote hub__remote_t;

typedef struct hub__shard {
    _Alignas(64) pthread_mutex_t lock;
    hub__table_t topics;
    uint64_t clock; /* one tick for each publish and gap: who subscribed before it? */
    bool up;        /* new topics are to be subscribed at the backend */
    uint64_t subscriptions;
    uint64_t published;
    uint64_t delivered;
    uint64_t mailbox_dropped;
    uint64_t subscribers_failed;
    uint64_t gaps;
} hub__shard_t;

typedef struct hub__topic {
    hub__table_node_t node;
    atomic_uint refs;
    bool listed;         /* in the table, that is: somebody listens */
    bool stands;         /* the broker has taken the subscription */
    bool due_gap;        /* something may have been lost since it stood last */
    bool gap_told;       /* that gap, because a message came before it stands */
    bool renewed;        /* asked for when the connection began, and no word yet: publishes wait */
    bool awaited;        /* asked for at any time, and no word yet */
    bool refused;        /* the broker did not take it */
    uint64_t generation; /* of pulse.h, while awaited */
    uint64_t ask;        /* the token of the subscription asked for; 0: none */
    hub_bus_t *bus;
    hub__shard_t *shard;
    hub__branch_t *branches;
    size_t subscribers;
    hub__origins_t origins;
    hub__pending_list_t
        returns;    /* our own that are to come back; under the lock of what is in flight */
    hub_str_t wire; /* with the prefix of the bus, as a backend sees it */
    hub_str_t name;
    char bytes[];
} hub__topic_t;

/* The subscriptions of one topic on one executor: they share a mailbox, so one task carries a
 * message to all of them. Gone from its topic with the last of them. */
struct hub__branch {
    hub__branch_t *next;
    hub__topic_t *topic;
    hub_executor_t *executor; /* NULL: callbacks run on the publishing thread */
    atomic_uint refs;
    size_t live;
    uint64_t newest; /* `since` of the last that came */
    hub_bus_sub_t *first;
    hub_bus_sub_t **last;
    unsigned walking;               /* while not 0, subscriptions that ended stay in the list */
    bool stale;                     /* there are some of those */
    hub__ready_t *ready;            /* some wait for on_ready; under the shard's lock */
    _Atomic(hub__gap_t *) open_gap; /* takes further losses: no message got in behind it yet */
};

enum hub__sub_state {
    HUB__SUB_LIVE,
    HUB__SUB_CLOSING, /* ended by the bus, on_close is to follow */
    HUB__SUB_CLOSED,  /* on_close was begun */
    HUB__SUB_GONE,    /* unsubscribed */
};

struct hub_bus_sub {
    hub_bus_sub_t *next;
    hub_bus_sub_t **prev;
    hub__branch_t *branch;
    atomic_uint refs; /* the handle's, the list's, and of whoever calls it without executor */
    atomic_int state;
    atomic_uint running; /* without executor: threads that are about to call it, or at it */
    atomic_bool waits;   /* for on_ready */
    uint64_t since;      /* the shard's clock at the start: older messages are not for it */
    hub_status_t why;
    hub_bus_sub_options_t options;
    hub_task_t close_task;
};

/* Held by a branch and by a completion. NULL is allowed. */
static inline void hub__executor_retain(hub_executor_t *executor)
{
    if (executor != NULL && executor->retain != NULL)
        executor->retain(executor);
}

static inline void hub__executor_release(hub_executor_t *executor)
{
    if (executor != NULL && executor->release != NULL)
        executor->release(executor);
}

struct hub_bus_ack {
    atomic_uint holds; /* the result is known when the last is gone */
    atomic_uint refs;  /* one for all holds, one for the completion */
    atomic_bool fired;
    hub_bus_t *bus;
    hub_bus_ack_t *next; /* in bus->acks, until fired */
    hub_bus_ack_t **prev;
    hub_bus_publish_options_t options;
    hub_task_t task;
    atomic_int status;
    atomic_int level;
    atomic_ullong members;
    atomic_ullong queued;
    atomic_ullong dropped;
    atomic_ullong skipped;
};

struct hub_bus {
    atomic_uint refs;
    atomic_bool closing;
    uint64_t node;
    hub_bus_hooks_t hooks;
    hub_str_t prefix; /* "<name>:" */
    char *prefix_bytes;
    hub__remote_t *remote; /* NULL: in memory */
    pthread_mutex_t executors_lock;
    hub__emits_t *executors; /* all that are attached */
    pthread_mutex_t acks_lock;
    hub_bus_ack_t *acks; /* not fired yet */
    hub__shard_t shards[HUB__SHARDS];
};

/* ---- bus.c ---- */

static inline hub__shard_t *hub__bus_shard(hub_bus_t *bus, uint64_t hash)
{
    return &bus->shards[hash >> 60]; /* the table uses the low bits */
}

/* hub_bus_create() with the URL that options->backend was chosen by, or NULL. */
hub_status_t hub__bus_create(const hub_bus_options_t *options, const hub_bus_url_t *url,
                             hub_bus_t **ret_bus, hub_error_t *error);
void hub__bus_retain(hub_bus_t *bus);
void hub__bus_release(hub_bus_t *bus);
/* Under the shard's lock. NULL: nobody listens. */
hub__topic_t *hub__topic_find(const hub__shard_t *shard, uint64_t hash, hub_str_t name);
void hub__topic_retain(hub__topic_t *topic);
void hub__topic_release(hub__topic_t *topic);
void hub__branch_retain(hub__branch_t *branch);
void hub__branch_release(hub__branch_t *branch);
/* Around a walk over a branch on its executor's thread. */
void hub__branch_enter(hub__branch_t *branch);
void hub__branch_leave(hub__branch_t *branch);
void hub__sub_retain(hub_bus_sub_t *sub);
void hub__sub_release(hub_bus_sub_t *sub);
/* Around a call of a subscription without executor; leave always, call only on true. */
bool hub__sub_enter(hub_bus_sub_t *sub);
void hub__sub_leave(hub_bus_sub_t *sub);
/* Its on_message returned `why`. On the thread that called it. */
void hub__sub_fail(hub_bus_sub_t *sub, hub_status_t why);

/* ---- publish.c ---- */

/* Delivers on this node alone what came from the broker. `ack` may be NULL. */
void hub__bus_deliver(hub_bus_t *bus, uint64_t hash, const hub_message_t *msg, hub_bus_ack_t *ack);
/* Tells all subscriptions of the topic. */
void hub__bus_tell_gap(hub__topic_t *topic, hub_gap_reason_t reason, uint64_t missed);

/* ---- mailbox.c ---- */

/* Some subscription of the branch waits for on_ready. Made ahead, so that nobody waits for ever for
 * want of memory. Under the shard's lock. False: no memory. */
bool hub__branch_await(hub__branch_t *branch);
/* Takes out what waits on the topic, in front of `list`. Under the shard's lock. */
hub__ready_t *hub__topic_take_waits(const hub__topic_t *topic, hub__ready_t *list);
/* Calls on_ready of them all, and takes the list. */
void hub__bus_tell_ready(hub__ready_t *list);
void hub__ready_free(hub__ready_t *ready); /* One; NULL is allowed. */

/* ---- emit.c ---- */

/* Whether hub_bus_attach() was called. On the executor's thread. */
bool hub__bus_is_attached(const hub_bus_t *bus, const hub_executor_t *executor);
void hub__bus_detach_all(hub_bus_t *bus);

/* ---- ack.c ---- */

/* NULL: no memory. The caller has one hold. */
hub_bus_ack_t *hub__ack_create(hub_bus_t *bus, const hub_bus_publish_options_t *options);
/* The publish failed after all: no completion follows. Takes the caller's hold. NULL is allowed. */
void hub__ack_abandon(hub_bus_ack_t *ack);
/* What the backend said. NULL is allowed. */
void hub__ack_set(hub_bus_ack_t *ack, hub_status_t status, hub_bus_level_t level);
/* Completes all that are left with HUB_ECANCELLED. */
void hub__bus_cancel_acks(hub_bus_t *bus);

/* ---- our backends, as far as the build has them ---- */

extern const hub_bus_backend_t hub__redis_backend;
extern const hub_bus_backend_t hub__nats_backend;
extern const hub_bus_backend_t hub__postgres_backend;

/* ---- remote.c: the other nodes ---- */

/* HUB_EINVAL: made for another API. */
hub_status_t hub__backend_check(const hub_bus_backend_t *backend, hub_error_t *error);

hub_status_t hub__remote_open(hub_bus_t *bus, const hub_bus_options_t *options,
                              const hub_bus_url_t *url, hub_error_t *error);
/* Ends the backend and the thread. */
void hub__remote_close(hub_bus_t *bus);
/* Lets go of what was in flight, once the completions were cancelled. */
void hub__remote_forget(hub_bus_t *bus);
void hub__remote_free(hub__remote_t *remote);
void hub__remote_get_stats(hub_bus_t *bus, hub_bus_stats_t *ret_stats);

/* Logs that publishes are taken. */
void hub__remote_tell_up(hub_bus_t *bus);

/* Throws the connection away; the backend makes another. */
void hub__remote_reconnect(hub_bus_t *bus);

/* For tests: time comes from `now_ms` and moves only with hub__remote_clock_moved(), which returns
 * when all that is due was done. Before the first connection. */
void hub__remote_set_clock(hub_bus_t *bus, uint64_t (*now_ms)(void *user), void *user);
void hub__remote_clock_moved(hub_bus_t *bus);

/* ---- remote_publish.c ---- */

/* Hands `msg` to the backend, or says why it must not be delivered here either. On HUB_OK
 * `ret_here` says whether it is to be delivered here now; else it is when it comes back. */
hub_status_t hub__remote_publish(hub_bus_t *bus, uint64_t hash, const hub_message_t *msg,
                                 hub_bus_ack_t *ack, bool *ret_here);
size_t hub__remote_largest_message(const hub_bus_t *bus);
bool hub__remote_has_one_order(const hub_bus_t *bus);
void hub__remote_want_order(hub_bus_t *bus);
const char *hub__remote_backend_name(const hub_bus_t *bus); /* memory: there is no remote */

/* ---- remote_topic.c: under the shard's lock ---- */

/* The topic came to be, or is gone. True: it was the last that a new connection waited for, and
 * hub__remote_tell_up() is to follow without the lock. */
void hub__remote_topic_added(hub__topic_t *topic);
bool hub__remote_topic_removed(hub__topic_t *topic);
/* Whether a new subscription of the topic is to wait for the broker. Where it can't have it for
 * now, the topic is due a gap. */
bool hub__remote_topic_awaits(hub__topic_t *topic);
/* A subscriber went on without waiting. */
void hub__remote_topic_hurried(hub__topic_t *topic);
