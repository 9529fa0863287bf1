/* hub/member.h - one connection joined to one topic: what callbacks get and act on.
 *
 * A hub_member_t is valid from on_join to the return of on_exit, on the loop thread of its
 * connection alone; everything here says "Loop thread." unless it takes a token or an id, which may
 * be used from any thread at any time, also long after the member is gone. */
#pragma once

#include "channels/channel.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- who and where ---- */

HUB_API hub_str_t hub_member_topic(const hub_member_t *member); /* the full topic. Loop thread. */
/* The topic as its hub declared it: without the prefixes under which the hub is included. Loop
 * thread. */
HUB_API hub_str_t hub_member_local_topic(const hub_member_t *member);
/* A parameter of the pattern (include prefixes count) as it stands in the topic; absent where there
 * is none of this name. Loop thread. */
HUB_API hub_str_t hub_member_param(const hub_member_t *member, const char *name);
/* A parameter as a decimal integer. HUB_ENOTFOUND, or HUB_EINVAL for what is no integer of 64 bits.
 * Loop thread. */
HUB_API HUB_MUST_USE hub_status_t hub_member_param_int(const hub_member_t *member, const char *name,
                                                       int64_t *ret_value);
HUB_API hub_conn_t *hub_member_conn(const hub_member_t *member); /* Loop thread. */
HUB_API hub_t *
hub_member_hub(const hub_member_t *member); /* the hub that declared the channel. Loop thread. */
HUB_API void *hub_member_channel_user(const hub_member_t *member); /* Loop thread. */

/* The program's own pointer. `on_free` (may be NULL) is called with it once the member has ended,
 * after on_exit, or after a refused join; also when another pointer replaces it. Loop thread. */
HUB_API void hub_member_set_user(hub_member_t *member, void *user, void (*on_free)(void *user));
HUB_API void *hub_member_user(const hub_member_t *member); /* Loop thread. */

/* ---- answering ---- */

/* In on_join: the response of the ok reply (copied). Returns HUB_OK, so `return
 * hub_member_accept(me, …)`. HUB_EPAYLOAD when it is not valid. Loop thread. */
HUB_API hub_status_t hub_member_accept(hub_member_t *member, hub_payload_t response);
/* In on_join: refuses, with a detail for the client (copied). Returns HUB_EREJECTED: `return
 * hub_member_reject(me, …)`. Loop thread. */
HUB_API hub_status_t hub_member_reject(hub_member_t *member, hub_payload_t detail);

/* Answers `msg` with status ok. A message without ref is answered, too (its reply has none).
 * HUB_EPAYLOAD when the payload is not valid JSON or cannot be carried by this connection's wire
 * format. HUB_ESLOW: the outbox is full, the connection is closing. Loop thread. */
HUB_API hub_status_t hub_member_reply(hub_member_t *member, const hub_message_t *msg,
                                      hub_payload_t response);
/* Answers with status error. `code` is one of the statuses that have a name on the wire
 * (HUB_EPAYLOAD invalid_payload, HUB_ELIMIT limit, …; others are internal_error); native clients
 * get it with `detail`, clients with a vsn get `detail` as the whole response. Loop thread. */
HUB_API hub_status_t hub_member_reply_error(hub_member_t *member, const hub_message_t *msg,
                                            hub_status_t code, hub_payload_t detail);
/* Answers with a status word of the program's own. Loop thread. */
HUB_API hub_status_t hub_member_reply_status(hub_member_t *member, const hub_message_t *msg,
                                             hub_str_t status, hub_payload_t response);

/* Remembers whom to answer later: a plain value, copied at will, safe for ever. */
typedef struct hub_token {
    hub_conn_id_t _conn;
    uint64_t _member;
    uint8_t _kind;
    uint8_t _ref_len;
    char _ref[70];
} hub_token_t;

/* For a reply to `msg` later; the handler returns HUB_OK or HUB_PENDING. Loop thread. */
HUB_API hub_token_t hub_member_token(hub_member_t *member, const hub_message_t *msg);
/* In on_join: the join stays pending, frames of its topic wait in order and see what becomes of it;
 * `return hub_member_defer(me, &token)` (HUB_PENDING). Loop thread. */
HUB_API hub_status_t hub_member_defer(hub_member_t *member, hub_token_t *ret_token);

/* Complete what a token stands for; copied. HUB_OK means handed to the loop: a member that is gone
 * by then gets nothing. HUB_EPAYLOAD, HUB_ELIMIT (mailbox full), HUB_ECLOSED (the hub has stopped),
 * HUB_EINVAL (a token of the other kind). Any thread. */
HUB_API HUB_MUST_USE hub_status_t hub_reply(hub_t *hub, const hub_token_t *token,
                                            hub_payload_t response);
HUB_API HUB_MUST_USE hub_status_t hub_reply_error(hub_t *hub, const hub_token_t *token,
                                                  hub_status_t code, hub_payload_t detail);
HUB_API HUB_MUST_USE hub_status_t hub_join_accept(hub_t *hub, const hub_token_t *token,
                                                  hub_payload_t response);
HUB_API HUB_MUST_USE hub_status_t hub_join_reject(hub_t *hub, const hub_token_t *token,
                                                  hub_payload_t detail);

/* ---- sending ---- */

/* An event to this member alone. Loop thread. */
HUB_API hub_status_t hub_member_push(hub_member_t *member, hub_str_t event, hub_payload_t payload);
/* An event to every member of the topic, on all workers and nodes; the sender hears it, too.
 * Relaying the payload of the message at hand costs no copy and no second check. Errors of
 * hub_publish(). Loop thread. */
HUB_API hub_status_t hub_member_broadcast(hub_member_t *member, hub_str_t event,
                                          hub_payload_t payload);
/* The same without this connection. Loop thread. */
HUB_API hub_status_t hub_member_broadcast_from(hub_member_t *member, hub_str_t event,
                                               hub_payload_t payload);

/* ---- ending and pausing ---- */

/* Ends the member after the callback at hand: HUB_OK sends a close event, anything else an error
 * event. `member` is valid until then. Loop thread. */
HUB_API void hub_member_stop(hub_member_t *member, hub_status_t why);

/* The member's further messages wait, in order and bounded by pending_limit, until hub_resume();
 * the client's other topics go on. Loop thread. */
HUB_API hub_token_t hub_member_suspend(hub_member_t *member);
/* Any thread. */
HUB_API HUB_MUST_USE hub_status_t hub_resume(hub_t *hub, const hub_token_t *token);

/* ---- time and work ---- */

typedef void (*hub_on_timer_cb)(hub_member_t *me, const char *name, void *user);

/* Calls `on_timer` once after `delay_ms`, then every `period_ms` unless that is 0, until the member
 * ends. `name` is copied and unique within the member: HUB_EEXIST. Loop thread. */
HUB_API hub_status_t hub_member_timer_start(hub_member_t *member, const char *name,
                                            uint32_t delay_ms, uint32_t period_ms,
                                            hub_on_timer_cb on_timer, void *user);
/* HUB_ENOTFOUND where there is none. Loop thread. */
HUB_API hub_status_t hub_member_timer_stop(hub_member_t *member, const char *name);

/* Blocking work on a thread of the pool: gets `user` alone, never the member. */
typedef void (*hub_work_cb)(void *user);
/* The work is over: back on the loop, exactly once. `me` is NULL and `status` HUB_ECANCELLED when
 * the member ended first (before or during the work): free `user` and forget the result. */
typedef void (*hub_on_done_cb)(hub_member_t *me, hub_status_t status, void *user);

/* HUB_ELIMIT when the pool's queue is full: nothing was taken, on_done is not called. `name`
 * (copied) is unique within the member: HUB_EEXIST. Loop thread. */
HUB_API HUB_MUST_USE hub_status_t hub_member_offload(hub_member_t *member, const char *name,
                                                     hub_work_cb work, hub_on_done_cb on_done,
                                                     void *user);
/* As if the member had ended, for this job. HUB_ENOTFOUND where there is none. Loop thread. */
HUB_API hub_status_t hub_member_offload_cancel(hub_member_t *member, const char *name);

#ifdef __cplusplus
}
#endif
