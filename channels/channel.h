/* channels/channel.h - a declared channel: a pattern and its callbacks.
 *
 * Patterns (matched on join alone, most specific first whatever the order of registration):
 *
 *     room:lobby        literal text
 *     room:{id}         {id}: one or more characters other than ':' and '/'
 *     room:{id:[0-9]+}  a constraint: PCRE2, anchored, bounded in time
 *     file:{path*}      last only: any characters, also none; `file:*` is the same without a name
 *
 * All callbacks of one connection run on the loop of its worker, never two at once, and must not
 * block: work that blocks goes to hub_member_offload(). With more than one worker, callbacks of
 * different connections run at the same time. */
#pragma once

#include "bus/message.h"
#include "channels/presence.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hub hub_t;
typedef struct hub_conn hub_conn_t;
typedef struct hub_member hub_member_t;

/* A client asks to join. HUB_OK: joined, the ok reply follows (its response by
 * hub_member_accept()). hub_member_reject() or HUB_EREJECTED: refused. HUB_PENDING after
 * hub_member_defer(): answered later. Anything else: internal_error. What is pushed, broadcast or
 * published here reaches the client after its reply. `msg` is borrowed; its payload is that of the
 * join. */
typedef hub_status_t (*hub_on_join_cb)(hub_member_t *me, const hub_message_t *msg);

typedef enum hub_exit {
    HUB_EXIT_LEAVE,      /* the client left */
    HUB_EXIT_DISCONNECT, /* its connection ended */
    HUB_EXIT_REPLACED,   /* it joined the same topic again (Phoenix formats) */
    HUB_EXIT_STOPPED,    /* hub_member_stop() */
    HUB_EXIT_FAILED,   /* a handler failed (Phoenix formats), or hub_member_stop() with an error */
    HUB_EXIT_SHUTDOWN, /* the hub stops */
} hub_exit_t;

/* A member that had joined ends: exactly once, after its timers and jobs were cancelled. It may
 * still broadcast, not push or reply. A join that was refused has no exit. */
typedef void (*hub_on_exit_cb)(hub_member_t *me, hub_exit_t why);

/* An event of the client. HUB_OK: done; a reply is sent only by hub_member_reply() (or by the
 * channel's auto_ack). HUB_EPAYLOAD, HUB_EEVENT, …: an error reply with that code in native form,
 * phx_error in Phoenix's; HUB_EBUSDOWN, which a broadcast may return, is a reply (bus_down) in all.
 * `msg` is borrowed: retain it to keep it. */
typedef hub_status_t (*hub_on_receive_cb)(hub_member_t *me, const hub_message_t *msg);

typedef enum hub_update {
    HUB_UPDATE_KEEP, /* the shared frame goes out as it is: free */
    HUB_UPDATE_SKIP,
    HUB_UPDATE_REPLACE, /* `*ret_payload` goes out instead: one encoding for this member */
} hub_update_t;

/* A message of the topic is about to go to this member. Runs at the end of the turn; later messages
 * of the topic wait behind it. While the member is suspended it waits in order with the client's
 * own messages (as many as pending_limit, more are dropped and counted), and messages that are not
 * intercepted go past it.
 * `*ret_payload` is borrowed until the next call on the same thread, so static or member-owned
 * storage. Must not block. */
typedef hub_update_t (*hub_on_update_cb)(hub_member_t *me, const hub_message_t *msg,
                                         hub_payload_t *ret_payload);

/* One row of a channel's table of events. */
typedef struct hub_event_handler {
    const char *event; /* NULL ends the table. No name of a protocol event */
    hub_on_receive_cb on_receive;
} hub_event_handler_t;

/* A parameter that must be a decimal integer within a range; a join that does not fit is refused.
 */
typedef struct hub_int_param {
    const char *name; /* NULL ends the table */
    int64_t min, max;
} hub_int_param_t;

/* What happens to what is broadcast and pushed to a member whose connection takes no more for now.
 * It waits for the member, within the channel's slow_bytes, slow_messages and slow_age_ms; at
 * those: */
typedef enum hub_slow_policy {
    HUB_SLOW_CLOSE,    /* the connection is closed with 4008 */
    HUB_SLOW_DROP_NEW, /* the newest is dropped, also while the oldest has waited for too long */
    HUB_SLOW_DROP_OLD, /* the oldest are dropped, and those that have waited for too long */
    HUB_SLOW_LATEST,   /* likewise, and of each key (on_key) only the newest waits */
} hub_slow_policy_t;
/* What was dropped is told to the member before its next message, by one push of the event "gap":
 * {"reason":"slow","missed":N}; counted in slow_dropped_total and, where the new one is dropped, in
 * the completion of its publish. Replies, presence and the ends of members are never dropped: more
 * of them than those bounds close the connection. The endpoint's outbox_bytes, outbox_messages and
 * outbox_age_ms bound what is on its way to the connection, whatever the policy: who reads nothing
 * at all is closed by the age, and after 20 s by the kernel (TCP_USER_TIMEOUT). */

/* In which order members hear what is broadcast to their topic, or published to it by the hub's
 * calls. */
typedef enum hub_order {
    HUB_ORDER_PUBLISHER, /* each publisher's messages in its own; members of a node hear what is
                            published there at once, so nodes, and workers, may differ in what came
                            first */
    HUB_ORDER_BUS,       /* one for all members on all workers and nodes, that of the broker: also
                            the publisher's node hears it when it comes back, so who broadcasts and
                            then replies is answered first. Costs the way there and back, and a
                            lookup of the channel for each hub_publish() of this hub. The start
                            fails where the bus has no one order (hub_bus_has_one_order()) */
} hub_order_t;

/* HUB_SLOW_LATEST: what a message is news of. The result is borrowed until the next call; absent:
 * it replaces nothing and is replaced by nothing. Runs once for each message and worker; must not
 * publish or send. Loop thread. */
typedef hub_str_t (*hub_on_key_cb)(const hub_message_t *msg, void *user);

/* All zero but the pattern is a channel that accepts every join and knows no event. Copied by
 * hub_channel_add(), tables included. */
typedef struct hub_channel_options {
    const char *pattern;
    hub_on_join_cb on_join;            /* NULL: every join is accepted */
    hub_on_exit_cb on_exit;            /* may be NULL */
    const hub_event_handler_t *events; /* looked up first; may be NULL */
    hub_on_receive_cb on_receive; /* events without a row, but those with the name of a protocol
                                     event of the server's (reply, close, presence_state,
                                     phx_close), in any format. Without one: event_not_found; a
                                     Phoenix client's member has failed (phx_error) */
    hub_on_update_cb on_update;   /* NULL: everything goes out, at no cost */
    const char *const *intercept; /* NULL-terminated: only these events go through on_update, the
                                     others cost what they cost without it; NULL: all. Needs
                                     on_update */
    const hub_int_param_t *int_params; /* may be NULL */
    const char *const *params;         /* NULL-terminated: names that the pattern (with its include
                                          prefixes) must have, checked at the start; may be NULL */
    void *user;                        /* hub_member_channel_user() */
    bool has_priority; /* settles a conflict between two patterns that specificity cannot tell apart
                        */
    int priority;      /* higher goes first */
    bool auto_ack; /* a message with a ref whose handler returns HUB_OK without a reply is answered
                      ok {} */
    uint32_t join_timeout_ms;      /* a deferred join is refused after it; 0 means 10,000. One that
                                      waits for the broker is answered after it, or after 2,000 */
    uint32_t suspend_timeout_ms;   /* a suspended member goes on after it, logged; 0 means 60,000 */
    uint32_t pending_limit;        /* messages that wait while a join is pending or the member is
                                      suspended; 0 means 64, then `busy` */
    hub_slow_policy_t slow_policy; /* for members that read too slowly */
    hub_error_t
        *ret_error; /* filled where the registration fails (it is logged as well); may be NULL */
    const hub_presence_options_t *presence; /* NULL: nobody can be tracked; hub/presence.h */
    /* Of what waits for one member; 0: the endpoint's outbox_bytes, outbox_messages and
     * outbox_age_ms. With any of them the policy holds for this channel's own bounds. */
    size_t slow_bytes, slow_messages;
    uint32_t slow_age_ms;
    hub_on_key_cb on_key; /* NULL: the event is the key. HUB_SLOW_LATEST alone */
    hub_order_t order;
} hub_channel_options_t;

#ifdef __cplusplus
}
#endif
