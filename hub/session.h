/* hub/session.h - private: one client's conversation: join, leave, dispatch, clean-up. Pure: no
 * sockets, no threads, no clock.
 *
 * It acts through hub__session_io_t, and the time comes in through its host, so the semantics run
 * in a test or a simulation as they run in a worker. A callback of the program never changes the
 * session under the session's feet: what it asks for (close, stop) is noted and done when the
 * callback has returned. */
#pragma once

#include "bus/table.h"
#include "channels/dialect.h"
#include "channels/internal.h"
#include "channels/router.h"
#include "hub/hub.h"
#include "hub/outbox.h"
#include "hub/rate.h"
#include "hub/timer.h"

typedef struct hub__session hub__session_t;
typedef struct hub__job hub__job_t;
typedef struct hub__member_presence hub__member_presence_t;
typedef struct hub__slow hub__slow_t;

/* What a session needs of the world. Loop thread; none may call back into the session. */
typedef struct hub__session_io {
    /* Encodes and queues; what is broadcast to the member's topic so far goes first, except before
     * a join reply. `member` NULL: not about one. HUB_ESLOW, HUB_EPAYLOAD. */
    hub_status_t (*send)(hub__session_t *session, hub_member_t *member, const hub__outgoing_t *out);
    /* From now on the member gets what is published on its topic: held back until release() while
     * it is joining. */
    hub_status_t (*subscribe)(hub__session_t *session, hub_member_t *member);
    /* What was published before goes out; nothing after. */
    void (*unsubscribe)(hub__session_t *session, hub_member_t *member);
    /* Whether what other nodes publish on the member's topic may still be missed: the join reply
     * waits for hub__member_ready(), which comes once for all members of the topic. NULL: never. */
    bool (*awaits)(hub__session_t *session, hub_member_t *member);
    /* The reply goes out all the same: what the member may miss is told when the topic stands. */
    void (*hurry)(hub__session_t *session, hub_member_t *member);
    /* The join reply is queued: what was held goes out behind it. */
    void (*release)(hub__session_t *session, hub_member_t *member);
    hub_status_t (*publish)(hub__session_t *session, hub_member_t *member, hub_str_t event,
                            hub_payload_t payload, bool payload_is_valid, unsigned flags);
    /* The connection is to end once the call at hand is over. */
    void (*close)(hub__session_t *session, hub_disconnect_reason_t why, unsigned code,
                  hub_str_t reason);
    /* hub__session_proceed() is wanted at the end of the turn. */
    void (*schedule)(hub__session_t *session);
    void (*timer_arm)(hub__session_t *session, hub__timer_t *timer, uint64_t due_ms);
    void (*timer_disarm)(hub__session_t *session, hub__timer_t *timer);
    hub_status_t (*offload)(hub__session_t *session, hub__job_t *job);
    /* Runs the hooks of the member's hub and of the root. The result counts for vetoes. */
    hub_status_t (*hook)(hub__session_t *session, hub_hook_event_t *event);
    /* What the member tracks ends: it may come back, or not. Only called where it has presence. */
    void (*presence_end)(hub__session_t *session, hub_member_t *member, bool may_return);
    /* Whether there is room for one more member, of this topic. NULL: always. */
    bool (*admits)(hub__session_t *session, hub_str_t topic);
    /* A message or a join was refused for its rate: counted, logged, and too many in a row end the
     * connection. */
    void (*over_rate)(hub__session_t *session, bool of_join);
    /* A callback of the program's has just returned; `name` is the event's, the timer's or the
     * job's. NULL: nobody wants to know. */
    void (*called)(const hub_member_t *member, const char *callback, hub_str_t name);
    hub_conn_t *(*conn)(hub__session_t *session);
    hub_conn_id_t (*conn_id)(hub__session_t *session);
} hub__session_io_t;

/* Shared by the sessions of one endpoint on one worker. */
typedef struct hub__session_host {
    const hub__session_io_t *io;
    const hub__router_t *router;
    hub__match_scratch_t *match_scratch;
    const hub_limits_t *limits;
    hub__rates_t rates; /* of the limits; zeroed: none */
    hub_stats_t *stats;
    const uint64_t *now_ms; /* monotonic, of the entry at hand */
    uint32_t *next_serial;  /* of members, per worker */
    hub__buffer_t answer;   /* response of on_join, built responses */
    hub__buffer_t detail;   /* what hub_member_accept() or _reject() was given */
    bool has_detail;
    hub_payload_kind_t detail_kind;
    const hub_message_t
        *current;    /* the message being dispatched: relaying its payload needs no second check */
    bool replied;    /* to the current one */
    bool will_reply; /* a token was taken for it: no answer on the program's behalf */
    const hub_str_t *replaced; /* join_ref of the member whose place the join at hand takes, until
                                  its end was told; NULL: none */
    hub_member_t **joining;    /* where the world looks up whose on_join runs; NULL: nobody does */
} hub__session_host_t;

struct hub__session {
    hub__session_host_t *host;
    const hub__dialect_t *dialect;
    hub__table_t members;        /* by topic */
    hub__debts_t debts;          /* its caller pays them as time passes */
    uint32_t pending_bytes;      /* of frames that wait */
    uint32_t bad_envelopes : 28; /* its limit may be 1,000,000 */
    uint32_t has_joined : 1;     /* once at least */
    uint32_t ended : 1;
    uint32_t closing : 1; /* its connection is about to end: nothing more is dispatched */
    uint32_t scheduled : 1;
};

typedef enum hub__member_state {
    HUB__MEMBER_JOINING, /* inside on_join */
    HUB__MEMBER_PENDING, /* on_join deferred it */
    HUB__MEMBER_WAITING, /* it was accepted, and its topic is not the broker's yet */
    HUB__MEMBER_JOINED,
    HUB__MEMBER_ENDED,
} hub__member_state_t;

/* A frame of the client's that waits for its member, or a message that waits for its filter. */
typedef struct hub__pending {
    struct hub__pending *next;
    hub_message_t *update;    /* NULL: a frame */
    hub__envelope_t envelope; /* spans lie behind */
    uint32_t size;
} hub__pending_t;

typedef struct hub__member_timer {
    struct hub__member_timer *next;
    hub_member_t *member;
    hub__timer_t timer;
    hub_on_timer_cb on_timer;
    void *user;
    uint32_t period_ms;
    bool running; /* its callback runs: freed behind it */
    bool stopped;
    char name[];
} hub__member_timer_t;

/* One offloaded job. Owned by the pool until it comes back to the loop. */
struct hub__job {
    hub_task_t task;  /* brings it back */
    hub__job_t *next; /* in the member's list, or the pool's queue */
    hub__job_t *queue_next;
    hub_member_t *member; /* NULL: cancelled. Loop thread */
    hub_executor_t *executor;
    _Atomic bool cancelled;
    hub_work_cb work;
    hub_on_done_cb on_done;
    void *user;
    char name[];
};

/* What most members never need. */
typedef struct hub__member_extra {
    hub_member_t *member;
    hub__outbox_t held; /* until the join reply */
    hub__pending_t *pending;
    hub__pending_t **pending_tail;
    uint32_t pending_count; /* of frames */
    uint32_t update_count;  /* and of messages */
    hub__member_timer_t *timers;
    hub__job_t *jobs;
    hub__timer_t deadline;   /* of a pending join or a suspension */
    char *join_ref_of_reply; /* refs of the join to be answered; one allocation for both */
    hub_str_t reply_ref, reply_join_ref;
    hub_payload_t response; /* of a join that waits for its topic, its own; base NULL: none */
    hub_status_t stop_status;
    struct hub__member_presence *presence; /* NULL: it tracks nothing */
    hub__slow_t *slow;                     /* what waits for it; NULL: nothing */
} hub__member_extra_t;

struct hub_member {
    hub__table_node_t node; /* in its session, by topic */
    hub__session_t *session;
    const hub__route_t *route; /* of the router that its session's host holds */
    struct hub__topic *topic;  /* while subscribed */
    void *user;
    void (*on_free)(void *user);
    hub__member_extra_t *extra;
    uint32_t serial;
    uint32_t place; /* in its topic's group */
    uint32_t taken; /* bytes of the topic's open run that are in the outbox already */
    uint16_t name_len;
    uint16_t prefix_len;
    uint8_t join_ref_len;
    uint8_t param_count;
    uint8_t state;
    bool suspended : 1;
    bool stopping : 1;
    bool subscribed : 1;
    bool ref_stands_in : 1; /* it has no join_ref: that in its tail is the ref of its join */
    char tail[];            /* hub__span_t spans[param_count], name, join_ref */
};

static inline const hub__channel_t *hub__member_channel(const hub_member_t *member)
{
    return member->route->target;
}

/* Its join reply is still to come, and all of its own and its topic's goes behind that. */
static inline bool hub__member_is_joining(const hub_member_t *member)
{
    return member->state < HUB__MEMBER_JOINED;
}

/* The same, but on_join is over. */
static inline bool hub__member_is_unanswered(const hub_member_t *member)
{
    return member->state == HUB__MEMBER_PENDING || member->state == HUB__MEMBER_WAITING;
}

static inline hub_str_t hub__member_name(const hub_member_t *member)
{
    return hub_str_n(member->tail + member->param_count * sizeof(hub__span_t), member->name_len);
}

/* What its replies and pushes carry. */
static inline hub_str_t hub__member_sent_join_ref(const hub_member_t *member)
{
    hub_str_t name = hub__member_name(member);

    return hub_str_n(member->join_ref_len == 0 ? NULL : name.base + name.len, member->join_ref_len);
}

/* What makes a frame of the client's its own, and what its end carries. */
static inline hub_str_t hub__member_join_ref(const hub_member_t *member)
{
    return member->ref_stands_in ? hub_str(NULL) : hub__member_sent_join_ref(member);
}

void hub__session_init(hub__session_t *session, hub__session_host_t *host,
                       const hub__dialect_t *dialect);

/* One message of the client. Past the rate of messages it is refused unless it leaves a topic that
 * is joined: who asks for less is not kept from it. */
void hub__session_receive(hub__session_t *session, hub_str_t bytes, bool binary,
                          hub__envelope_scratch_t *scratch);
/* The same, decoded. */
void hub__session_envelope(hub__session_t *session, const hub__envelope_t *envelope);

/* Does what callbacks asked for: members that stop, frames that waited. */
void hub__session_proceed(hub__session_t *session);

/* Ends all members; nothing is sent. Hooks disconnecting and disconnect run around it. */
void hub__session_end(hub__session_t *session, hub_disconnect_reason_t why);

hub_member_t *hub__session_find(const hub__session_t *session, hub_str_t topic);
/* By what a token keeps of it. NULL: gone. */
hub_member_t *hub__session_find_serial(const hub__session_t *session, uint64_t token_member);

/* Completions of tokens, on the loop. */
void hub__session_reply_later(hub__session_t *session, const hub_token_t *token, hub_str_t status,
                              hub_status_t code, hub_payload_t payload);
void hub__session_join_later(hub__session_t *session, const hub_token_t *token, bool accepted,
                             hub_payload_t payload);
void hub__session_resume(hub__session_t *session, const hub_token_t *token);
/* A job is back. Runs its on_done and frees it. */
void hub__session_job_done(hub__job_t *job);

/* ---- shared by session.c, join.c and member.c ---- */

hub_status_t hub__session_reply(hub__session_t *session, hub_member_t *member, hub_str_t ref,
                                hub_str_t join_ref, hub_str_t status, hub_payload_t payload);
void hub__session_without_memory(hub__session_t *session);
/* Whether the response in host->answer is whole; if not, the connection is about to end. */
bool hub__session_has_answer(hub__session_t *session);
/* An error reply. `member` NULL: it is about none, or about one whose join it answers. */
hub_status_t hub__session_refuse(hub__session_t *session, hub_member_t *member, hub_str_t topic,
                                 hub_str_t ref, hub_str_t join_ref, hub__code_t code,
                                 const hub_payload_t *detail, bool of_join);
/* Answers a frame about no member. */
void hub__session_refuse_frame(hub__session_t *session, const hub__envelope_t *envelope,
                               hub__code_t code, bool of_join);
/* Tells, counts and answers it. */
void hub__session_refuse_rate(hub__session_t *session, const hub__envelope_t *envelope,
                              uint32_t retry_ms, bool of_join);
/* A close or an error event. */
void hub__session_send_end(hub__session_t *session, hub__out_kind_t kind, hub_str_t topic,
                           hub_str_t join_ref);
/* A join frame, from first to last. `old` is the member that its topic has already; NULL: none. */
void hub__session_join(hub__session_t *session, hub_member_t *old, const hub__envelope_t *envelope);
/* Lets the frames that wait for the member of this topic through, until one makes the others wait
 * again. */
void hub__session_drain(hub__session_t *session, hub_str_t topic);

hub__member_extra_t *hub__member_extra(hub_member_t *member); /* NULL: out of memory */
/* What a callback gets. Borrows from both. */
hub_message_t hub__member_message(const hub_member_t *member, const hub__envelope_t *envelope,
                                  hub_str_t event);
/* Neither does anything where it is done already. */
hub_status_t hub__member_subscribe(hub_member_t *member);
void hub__member_unsubscribe(hub_member_t *member);
/* A member that broadcasts while it joins hears itself, behind its reply. */
hub_status_t hub__member_subscribe_early(hub_member_t *member);
/* A callback of the program's failed: the operator reads of it, whatever the client is told. */
void hub__member_report_failure(hub_member_t *member, const hub_message_t *msg,
                                hub_status_t status);
void hub__member_cancel_all(hub_member_t *member); /* timers and jobs */
static inline void hub__member_called(const hub_member_t *member, const char *callback,
                                      hub_str_t name)
{
    const hub__session_io_t *io = member->session->host->io;

    if (io->called != NULL)
        io->called(member, callback, name);
}
/* Whether its frames must wait; and a frame that does, or is refused as one too many. */
bool hub__member_must_wait(const hub_member_t *member);
void hub__member_wait(hub_member_t *member, const hub__envelope_t *envelope);
/* A message that its filter is to see, while the member's frames wait: it waits as well, in order
 * with them, or is dropped as one too many. False: nothing waits. */
bool hub__member_wait_update(hub_member_t *member, const hub_message_t *message);
/* Asks on_update. */
hub_update_t hub__member_filter(hub_member_t *member, const hub_message_t *message,
                                hub_payload_t *ret_replacement);
/* The frames that waited for a join which is refused see that, as those behind it do. */
void hub__member_refuse_pending(hub_member_t *member);
/* Its topic stands, or will not for now: a join that waited for that is answered. */
void hub__member_ready(hub_member_t *member);
/* A join of a member that is there. */
void hub__member_joined_already(hub_member_t *member, const hub__envelope_t *envelope);
/* A suspension begins with the member; one asked for earlier, when its join is accepted. */
void hub__member_arm_suspension(hub_member_t *member);
/* Does what hub_member_stop() asked for. True: the member is gone. */
bool hub__member_stopped(hub_member_t *member);
/* A join that is not answered yet: refuses it, and the member is gone. */
void hub__member_refuse(hub_member_t *member, hub_str_t ref, hub_str_t join_ref, hub__code_t code,
                        const hub_payload_t *detail);
/* Ends a member, whatever its state; sends nothing. It is gone. */
void hub__member_end(hub_member_t *member, hub_exit_t why);
/* What it tracks is given up. */
void hub__member_absent(hub_member_t *member, bool may_return);
/* Frees it once it is out of its session's table. No callback but its on_free. */
void hub__member_destroy(hub_member_t *member);

enum { HUB__TOKEN_REPLY = 1, HUB__TOKEN_JOIN, HUB__TOKEN_RESUME };

#define HUB__STAT(stats, name) __atomic_store_n(&(stats)->name, (stats)->name + 1, __ATOMIC_RELAXED)
#define HUB__STAT_ADD(stats, name, n)                                                              \
    __atomic_store_n(&(stats)->name, (stats)->name + (uint64_t)(n), __ATOMIC_RELAXED)
#define HUB__STAT_SUB(stats, name, n)                                                              \
    __atomic_store_n(&(stats)->name, (stats)->name - (uint64_t)(n), __ATOMIC_RELAXED)
