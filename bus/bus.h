/* bus/bus.h - carries a message from any publisher to every subscriber of its topic: in this
 * process at once, and through a backend to other nodes.
 *
 * The in-memory bus is this core alone; a backend adds the remote part. Delivery is at most once.
 * Messages of one publishing thread on one topic reach every subscriber in the order published,
 * emit and publish alike. A publish to nobody is HUB_OK. No lock is held while a callback runs.
 * Nothing here blocks. Every loss that the bus knows of is told: to the publisher by status or
 * completion, to subscribers by on_gap, to the operator by counters. */
#pragma once

#include "bus/message.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hub_bus hub_bus_t;
typedef struct hub_bus_sub hub_bus_sub_t;
typedef struct hub_bus_ack hub_bus_ack_t;
typedef struct hub_executor hub_executor_t;

/* ---- executors: where callbacks run ---- */

/* A piece of work for an executor, embedded by its owner. */
typedef struct hub_task {
    struct hub_task *_next;
    void (*run)(struct hub_task *task);
    /* Called instead of run() when the executor ends first: free, never call the user. */
    void (*discard)(struct hub_task *task);
} hub_task_t;

/* A loop that runs tasks in the order posted by each thread, one at a time: a worker, or a test's
 * own. Embedded by its owner, who must outlive every subscription on it. */
struct hub_executor {
    /* Takes `task` on HUB_OK. HUB_ELIMIT: its mailbox is full, the task stays the caller's.
     * HUB_ECLOSED: it has ended. `urgent` tasks (gap notices, completions, closes) are taken beyond
     * the bound. Must not block nor call the bus. Any thread. */
    hub_status_t (*post)(hub_executor_t *self, hub_task_t *task, bool urgent);
    /* Whether the calling thread is this executor's. Any thread. */
    bool (*is_current)(const hub_executor_t *self);
    /* Asks for a hub_bus_flush(NULL, self) at the end of the turn. On the executor's thread. */
    void (*flush_later)(hub_executor_t *self);
    /* Keep its memory: a message or a completion may still be on its way to it when it has ended,
     * and post() then answers HUB_ECLOSED. Both may be NULL where it outlives the bus. Any thread.
     */
    void (*retain)(hub_executor_t *self);
    void (*release)(hub_executor_t *self);
    void *_emits; /* belongs to the bus; zero before hub_bus_attach() */
};

/* ---- subscribing ---- */

typedef enum hub_gap_reason {
    HUB_GAP_MAILBOX, /* this subscriber's mailbox was full */
    HUB_GAP_BUS,     /* the backend was away */
    HUB_GAP_LOST,    /* a sequence number is missing */
} hub_gap_reason_t;

HUB_API const char *hub_gap_reason_name(hub_gap_reason_t reason);

/* `msg` is borrowed (retain to keep it). `ack` is NULL unless the publisher asked for a completion;
 * add the counts to it before returning, or retain it and add them later. Anything but HUB_OK drops
 * this subscription: on_close follows with that status, the others are still served. May subscribe,
 * unsubscribe (itself or another) and publish. Never entered a second time by its own thread. On
 * the subscription's executor; without one on the publishing thread. */
typedef hub_status_t (*hub_bus_on_message_cb)(hub_bus_sub_t *sub, const hub_message_t *msg,
                                              hub_bus_ack_t *ack, void *user);

/* At least one message of the topic was lost before the next on_message. `missed` is their number,
 * 0 where it is unknown. May do what on_message may, and runs where it does. After an outage
 * (reason bus) it may come before publishes are taken again: those are HUB_EBUSDOWN still. */
typedef void (*hub_bus_on_gap_cb)(hub_bus_sub_t *sub, hub_gap_reason_t reason, uint64_t missed,
                                  void *user);

/* The subscription ended without hub_bus_unsubscribe(): its own on_message failed (`why`), or the
 * bus was destroyed (HUB_ECLOSED). Exactly once, last. `sub` is freed after it. */
typedef void (*hub_bus_on_close_cb)(hub_bus_sub_t *sub, hub_status_t why, void *user);

/* From now on the subscriber misses nothing that it is not told of: what other nodes publish comes
 * here, or a gap does. Exactly once, unless on_close comes before it; never after
 * hub_bus_unsubscribe(). From within hub_bus_subscribe() where there is nothing to wait for: in
 * memory, while the broker has the topic already, and while the bus is down. Else later, on the
 * executor (without one on a thread of the backend): when the broker has taken the subscription, or
 * refuses it, or the bus goes down. Where the topic does not stand then, the gap (reason bus)
 * follows when it does. May do what on_message may. */
typedef void (*hub_bus_on_ready_cb)(hub_bus_sub_t *sub, void *user);

typedef struct hub_bus_sub_options {
    hub_bus_on_message_cb on_message; /* must be given */
    hub_bus_on_gap_cb on_gap;         /* may be NULL: gaps are only counted */
    hub_bus_on_close_cb on_close;     /* may be NULL */
    hub_executor_t *executor; /* borrowed, attached; NULL: callbacks run on the publishing thread */
    void *user;
    hub_bus_on_ready_cb on_ready; /* may be NULL: nobody waits */
} hub_bus_sub_options_t;

/* From its return on every message accepted is delivered or covered by on_gap. `topic` is copied.
 * With a backend the remote subscription follows asynchronously (one per topic and node, whatever
 * the number of subscriptions): what was published elsewhere before on_ready is not seen.
 * HUB_ETOPIC: empty, longer than 1,024 bytes, or not UTF-8. HUB_EINVAL: no on_message, or the
 * executor is not attached. Any thread; with an executor, on its thread. */
HUB_API HUB_MUST_USE hub_status_t hub_bus_subscribe(hub_bus_t *bus, hub_str_t topic,
                                                    const hub_bus_sub_options_t *options,
                                                    hub_bus_sub_t **ret_sub);

/* On the executor's thread: no callback of `sub` starts after this returns. Without an executor:
 * none starts once this has returned, one that had begun on another thread may still end after it.
 * on_close is not called, unless it has begun. NULL is allowed. */
HUB_API void hub_bus_unsubscribe(hub_bus_sub_t *sub);

/* Does not wait for on_ready any longer, which still comes: what this subscription may miss until
 * the topic stands is told as a gap (reason bus) when it does. Nothing where it stands. Any thread.
 */
HUB_API void hub_bus_sub_hurry(hub_bus_sub_t *sub);

HUB_API hub_str_t hub_bus_sub_topic(const hub_bus_sub_t *sub);

/* ---- publishing ---- */

/* HUB_MESSAGE_BUS_ORDER in the flags of a message: all subscriptions, on all workers and nodes, get
 * such messages of a topic in one order. Nothing of it is delivered within the publish then. In
 * memory it lies in every mailbox when the publish returns, in that of the calling thread as well,
 * put there under one lock; only what subscribed without an executor is called at once, in no
 * common order. With a backend it is the order of the broker: the message is delivered here, too,
 * when it comes back, so a publisher hears itself a way to the broker and back later. What the
 * broker loses is a gap here as elsewhere. The completion follows when it has been delivered here,
 * and is HUB_EUNKNOWN where it can't be any more, or is not in time. HUB_EINVAL: the backend has
 * none (hub_bus_has_one_order()). HUB_EBUSDOWN, and HUB_EREJECTED in a completion: it has, but not
 * the broker at hand (a nats-server without JetStream); nobody got it, and the log says what to do.
 * While the backend is down, degraded_local delivers here at once, in an order of this node's own;
 * what waits in a buffer is delivered when it comes back. Between messages with the flag and
 * without there is no order. */

typedef enum hub_bus_level {
    HUB_LEVEL_LOCAL, /* accepted by this node */
    HUB_LEVEL_BUS,   /* the backend's broker accepted it, too */
} hub_bus_level_t;

/* Numbers mean queued towards the client, never received. Members on other nodes are not counted.
 */
typedef struct hub_publish_counts {
    uint64_t members; /* that the message was meant for */
    uint64_t queued;
    uint64_t dropped; /* a bound was full, or the member was ended for it */
    uint64_t skipped; /* the origin, filtered out, or a wire format that cannot carry the payload */
} hub_publish_counts_t;

typedef struct hub_publish_result {
    hub_status_t status; /* HUB_OK, HUB_EBUSDOWN (sent nowhere else), HUB_EUNKNOWN (in flight
                            when the backend broke, or no answer in time) */
    hub_bus_level_t level;
    hub_position_t position;
    hub_publish_counts_t counts;
} hub_publish_result_t;

typedef void (*hub_on_published_cb)(const hub_publish_result_t *result, void *user);

typedef struct hub_bus_publish_options {
    /* Asks for a completion: called exactly once, on a later turn of `executor` (which must then be
     * given), or with HUB_ECANCELLED status when the bus is destroyed first. Not called when the
     * publish fails, nor once the executor has ended. Costs an allocation per publish. */
    hub_on_published_cb on_published;
    void *user;
    hub_executor_t *executor;
} hub_bus_publish_options_t;

/* Sends the waiting emits of this topic by this thread, then `msg`. When it returns, subscribers
 * without executor or on the calling thread's executor were called, and the mailbox of each other
 * one holds it. Called from inside a callback of the same topic it only accepts: the message
 * follows when the delivery under way on this thread has ended. HUB_EBUSDOWN: the backend is known
 * to be down, nobody got it (unless the bus was opened as degraded or with a buffer). HUB_ELIMIT:
 * 65,536 publishes or in_flight_bytes wait for the backend's answer. HUB_ETOOLARGE: past the
 * backend's largest message. After any failure nobody got it. `msg` must be counted and is retained
 * as long as needed. `options` may be NULL. Any thread. */
HUB_API HUB_MUST_USE hub_status_t hub_bus_publish(hub_bus_t *bus, const hub_message_t *msg,
                                                  const hub_bus_publish_options_t *options);

/* As hub_bus_publish(), but from an attached executor's thread the fan-out on this node happens at
 * the end of its turn (hub_bus_flush()), before any later publish of that topic by the same thread;
 * a backend has it at once. At most 1,024 wait per executor: the next one sends them first. From
 * any other thread it is hub_bus_publish(). */
HUB_API HUB_MUST_USE hub_status_t hub_bus_emit(hub_bus_t *bus, const hub_message_t *msg,
                                               const hub_bus_publish_options_t *options);

/* For subscribers: adds to the counts of a publish. Any thread. */
HUB_API void hub_bus_ack_add(hub_bus_ack_t *ack, const hub_publish_counts_t *counts);
HUB_API hub_bus_ack_t *hub_bus_ack_retain(hub_bus_ack_t *ack);
HUB_API void hub_bus_ack_release(hub_bus_ack_t *ack);

/* ---- the bus ---- */

/* All may be NULL. Called without a lock on the thread that acted; must not call the bus. (Seams
 * for metrics and tests.) */
typedef struct hub_bus_hooks {
    void (*on_subscribe)(hub_str_t topic, size_t subscribers, void *user);
    void (*on_unsubscribe)(hub_str_t topic, size_t subscribers, void *user);
    void (*on_publish)(const hub_message_t *msg, size_t subscribers, void *user);
    void *user;
} hub_bus_hooks_t;

typedef struct hub_bus_backend hub_bus_backend_t; /* bus/backend.h */

typedef struct hub_bus_options {
    const char *name; /* goes before every topic on a backend with a ':' between, so that two
                         applications on one broker never meet; 1 to 64 letters, digits, '_' and
                         '-'; NULL: "hub" */
    const hub_bus_backend_t *backend; /* of the program's own; NULL: in memory. Not with a URL. */
    const void *backend_options;      /* handed to its open() */
    bool degraded_local; /* while the backend is down, publishes are delivered on this node and
                            marked HUB_LEVEL_LOCAL; other nodes are told a gap when it is up */
    uint32_t answer_timeout_ms; /* a publish without the backend's answer becomes HUB_EUNKNOWN; 0
                                   means 5,000 */
    hub_bus_hooks_t hooks;
    /* How often this node sends itself something through the broker, from 10 to 600,000; 0 means
     * 1,500, HUB_OFF never: a connection that is deaf is then not noticed. */
    size_t probe_interval_ms;
    /* A connection on which a probe does not come back for so long (nor a later one), or is not
     * answered, or no subscription is confirmed, is replaced. Not less than the interval; 0 means
     * twice that. So what a node does not hear, it knows after both. */
    size_t probe_timeout_ms;
    /* So long after a publish, and once more after the next such time, other nodes are told what
     * the last number on its topic was, so that a lost last message is found as well. From 10 to
     * 600,000; 0 means 10,000, HUB_OFF never. Where twice that is less than the time in which a
     * deaf connection is noticed (both above), what told of the loss may be lost on it, too. */
    size_t position_interval_ms;
    /* So many bytes of publishes, topics and envelopes included, may wait for the broker's answer,
     * and 65,536 publishes: then HUB_ELIMIT. One is always taken. 0 means 64 MiB. */
    size_t in_flight_bytes;
    /* While the backend is down, publishes wait in this many bytes, near enough: they are delivered
     * here at once, and go out when all is subscribed again, in their order and before any newer
     * one; their completions follow then. What waits for longer than answer_timeout_ms was never
     * sent: its completion says HUB_EBUSDOWN, and other nodes are told a gap (reason lost). What
     * does not fit fails as without. Not with degraded_local; 0: nothing waits. */
    size_t buffer_bytes;
} hub_bus_options_t;

/* Owned by the caller (hub_bus_destroy). `options` is copied and may be NULL. Any thread. */
HUB_API HUB_MUST_USE hub_status_t hub_bus_create(const hub_bus_options_t *options,
                                                 hub_bus_t **ret_bus, hub_error_t *error);

/* A bus by the URL of its broker: `memory:`, `redis://[user:password@]host[:port][/db]`,
 * `redis+unix:/path`, `nats://[user:password@]host[:port]`,
 * `postgres://[user:password@]host[:port]/ database`, or a scheme that hub_bus_register() knows.
 * User, password and path may hold %XX. Behind a '?' may stand `name=`, `degraded=local`,
 * `probe_ms=`, `probe_timeout_ms=` and `position_ms=` (milliseconds; first and last may be `off`),
 * `answer_timeout_ms=`, `buffer=` and `in_flight=` (bytes), and what the backend's page in
 * bus/README.md lists; they win over `options`, which may be NULL. Connects in the background:
 * HUB_OK does not mean that the broker is there, hub_bus_get_stats() tells. HUB_EINVAL: an unknown
 * scheme, one that this library was built without, or an option that does not fit, which `error`
 * names, never with a password. Otherwise as hub_bus_create(). Any thread.
 */
HUB_API HUB_MUST_USE hub_status_t hub_bus_open(const char *url, const hub_bus_options_t *options,
                                               hub_bus_t **ret_bus, hub_error_t *error);

/* Sends the emits that wait, ends the backend and the subscriptions that are left (on_close with
 * HUB_ECLOSED, without executor at once, else by its executor). No executor may be attached any
 * more unless its thread is the caller; no other call on the bus may be under way. Messages of it
 * that still lie in a mailbox do no harm. NULL is allowed. */
HUB_API void hub_bus_destroy(hub_bus_t *bus);

/* An executor is attached before its first subscription and detached, on its own thread, after its
 * last; detaching sends its waiting emits. Also from inside
 * a callback that one of them is sent to. */
HUB_API HUB_MUST_USE hub_status_t hub_bus_attach(hub_bus_t *bus, hub_executor_t *executor);
HUB_API void hub_bus_detach(hub_bus_t *bus, hub_executor_t *executor);

/* Sends this executor's waiting emits; with NULL those of every bus that it is attached to. What a
 * callback emits meanwhile waits for the next turn. On its thread, at the end of its turn. */
HUB_API void hub_bus_flush(hub_bus_t *bus, hub_executor_t *executor);

/* Random, for ever this bus's own. Any thread. */
HUB_API uint64_t hub_bus_node(const hub_bus_t *bus);

/* A payload up to this size is never HUB_ETOOLARGE; SIZE_MAX in memory. Any thread. */
HUB_API size_t hub_bus_largest_message(const hub_bus_t *bus);

/* "memory", or how its backend is called ("redis"). Any thread. */
HUB_API const char *hub_bus_backend_name(const hub_bus_t *bus);

/* Whether HUB_MESSAGE_BUS_ORDER is taken; always in memory. Any thread. */
HUB_API bool hub_bus_has_one_order(const hub_bus_t *bus);

/* It is going to be used: where the broker at hand may turn out not to have one order, that is
 * found out now, and is in the log before somebody's message is refused for it. Any thread. */
HUB_API void hub_bus_want_order(hub_bus_t *bus);

typedef struct hub_bus_stats {
    bool healthy; /* connected, all is subscribed, and the last probe came back not longer ago than
                     interval and timeout; always true in memory */
    uint64_t topics;
    uint64_t subscriptions;
    uint64_t published;
    uint64_t delivered;          /* on_message calls made or posted */
    uint64_t mailbox_dropped;    /* messages that did not fit into a mailbox, per mailbox */
    uint64_t subscribers_failed; /* dropped because on_message failed */
    uint64_t remote_received;
    uint64_t remote_plain;      /* of these, what other programs published, as JSON */
    uint64_t remote_duplicates; /* ignored */
    uint64_t remote_missing;    /* sequence numbers never seen */
    uint64_t remote_invalid;    /* junk from the broker, ignored */
    uint64_t gaps;              /* notices, one per subscription told */
    uint64_t unknown;           /* publishes whose outcome is unknown */
    uint64_t topics_refused;    /* subscriptions that the broker did not take */
    uint64_t reconnects;        /* connections to the broker after the first */
    uint64_t deaf;              /* connections that were replaced because nothing came through */
    uint64_t down_ms;           /* so long it is not healthy; 0 while it is */
    uint64_t probe_us;          /* through the broker and back, the last time; 0: never yet */
    uint64_t in_flight;         /* publishes that the broker has not answered */
    uint64_t in_flight_bytes;   /* of these */
    uint64_t refused_down;      /* publishes that failed because the backend was down */
    uint64_t refused_limit;     /* publishes that failed because too much was in flight */
    uint64_t buffered_bytes;    /* of publishes that wait until the backend is up */
    uint64_t buffer_expired;    /* publishes that waited for too long, and were never sent */
    uint64_t refused_broker;    /* publishes that the broker did not take, or could not order */
} hub_bus_stats_t;

/* The first of these figures alone, for who asks often. Any thread. */
HUB_API bool hub_bus_is_healthy(hub_bus_t *bus);
HUB_API void hub_bus_get_stats(hub_bus_t *bus, hub_bus_stats_t *ret_stats); /* Any thread. */

#ifdef __cplusplus
}
#endif
