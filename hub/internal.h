/* hub/internal.h - private: the objects behind the public names, shared by the .c files of this
 * folder. */
#pragma once

#ifndef H2O_USE_LIBUV
#define H2O_USE_LIBUV 0
#endif

#include <h2o.h>
#include <h2o/http1.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "bus/source.h"
#include "hub/backlog.h"
#include "hub/census.h"
#include "hub/deflate.h"
#include "hub/extension.h"
#include "hub/frame.h"
#include "hub/handshake.h"
#include "hub/kin.h"
#include "hub/memory.h"
#include "hub/session.h"
#include "hub/ticket.h"
#include "hub/tls.h"

typedef struct hub__worker hub__worker_t;
typedef struct hub__endpoint hub__endpoint_t;
typedef struct hub__topic hub__topic_t;
typedef struct hub__pool hub__pool_t;
typedef struct hub__seat hub__seat_t;
typedef struct hub__presence hub__presence_t;
typedef struct hub__venue hub__venue_t;
typedef struct hub__longpoll hub__longpoll_t;
typedef struct hub__tls hub__tls_t;
typedef struct hub__tls_conn hub__tls_conn_t;
typedef struct hub__tls_io hub__tls_io_t;

#define HUB__WORKERS_MAX 1000u
#define HUB__NAME_BYTES_MAX 64 /* of a hub */

/* ---- hub.c ---- */

typedef struct hub__hook_row {
    struct hub__hook_row *next;
    hub_hook_cb on_hook;
    void *user;
} hub__hook_row_t;

typedef struct hub__check_row {
    struct hub__check_row *next;
    hub_on_authorize_cb on_authorize;
    void *user;
} hub__check_row_t;

/* A worker that serves a hub, or did. */
typedef struct hub__held {
    struct hub__held *next;
    hub__worker_t *worker;
} hub__held_t;

typedef struct hub__include {
    struct hub__include *next;
    hub_t *sub;
    char *prefix;
} hub__include_t;

struct hub {
    char *name;
    void *user;
    hub_t *parent; /* under which it is included; NULL: a root */
    char *prefix;  /* there */
    hub__channel_t *channels;
    hub__include_t *includes;
    hub__hook_row_t *hooks[HUB_HOOK_COUNT];
    hub__check_row_t *checks; /* asked before the endpoint's own */
    size_t offload_threads, offload_queue;
    size_t topics_max, conns_max;
    atomic_size_t topic_count, conn_count; /* of a root, on all workers */
    uint32_t presence_beat_ms;
    /* of a root: */
    uint64_t node;
    unsigned char ticket_key[HUB__TICKET_KEY];
    hub_bus_t *bus;
    bool owns_bus;
    hub_str_t bus_prefix; /* before its topics on a bus that it shares; else absent */
    hub__router_t *router;
    hub__match_scratch_t *order_scratch; /* NULL: no channel has HUB_ORDER_BUS */
    pthread_mutex_t order_lock;          /* of that */
    hub__pool_t *pool;
    hub_server_t *server;
    bool hooks_any[HUB_HOOK_COUNT]; /* of this hub or any included one */
    _Atomic bool started;
    _Atomic bool serving; /* some worker is there */
    pthread_mutex_t lock; /* workers */
    hub__worker_t *workers[HUB__WORKERS_MAX];
    unsigned worker_count;
    hub__held_t *held;
    uint32_t
        generations[HUB__WORKERS_MAX]; /* of connections, by index of worker: ids never come back */
};

/* Whether hooks follow each frame until it has left. NULL: a raw route, which has none. */
static inline bool hub__wants_notes(const hub_t *root)
{
    return root != NULL &&
           (root->hooks_any[HUB_HOOK_MESSAGE_SENT] || root->hooks_any[HUB_HOOK_MESSAGE_FAILED]);
}
hub_t *hub__root(hub_t *hub);
/* Appends the topic as the bus knows it. HUB_EINVAL: the hub is included under a prefix with
 * parameters. */
hub_status_t hub__full_topic(hub_t *hub, hub_str_t topic, hub__buffer_t *buffer);
void hub__set_server(hub_t *root, hub_server_t *server);
/* Logs what a call of the program's failed with. */
void hub__log_failure(const char *event, hub_status_t status, const hub_error_t *error);
/* Compiles the router; a second call does nothing. */
hub_status_t hub__start(hub_t *root, hub_error_t *error);
hub_status_t hub__worker_join(hub_t *root,
                              hub__worker_t *worker); /* attaches it to the hub's bus */
void hub__worker_leave_hub(hub_t *root, hub__worker_t *worker);
/* The worker of a connection id or a token; NULL: not of this node, or gone. */
hub__worker_t *hub__worker_of(hub_t *root, hub_conn_id_t id);
hub_status_t hub__run_hooks(hub_t *hub, hub_hook_event_t *event);

/* ---- outgoing frames ---- */

/* Appends one websocket frame with this body. */
hub_status_t hub__run_append(hub__run_t *run, unsigned first, hub_str_t body);
/* Appends one envelope as one websocket frame. HUB_EPAYLOAD: this dialect cannot carry it. */
hub_status_t hub__run_encode(hub__run_t *run, const hub__dialect_t *dialect,
                             const hub__outgoing_t *out);

/* ---- worker.c ---- */

typedef struct hub__slot {
    hub_conn_t *conn; /* NULL: free */
    uint32_t generation;
    union {
        int ready_fd; /* its socket, while a frame for it may be written at once; else -1 */
        uint32_t next_free;
    };
} hub__slot_t;

typedef struct hub__attached {
    struct hub__attached *next;
    hub_t *hub;
    unsigned endpoints;
    hub__worker_t *worker;
    hub_bus_sub_t *to_node, *to_all; /* what other nodes want of connections; NULL: nobody can */
} hub__attached_t;

/* Connections that wait for their turn, each once at most: in a block that has room for all there
 * are, since two links in each of them would be a tenth of what an idle one takes. */
typedef struct hub__line {
    hub_conn_t **conns;
    uint32_t head, end;
} hub__line_t;

struct hub__worker {
    hub_executor_t executor; /* first */
    atomic_uint refs;        /* of its server or mount, and of each hub until that is destroyed */
    unsigned index;
    bool mounted;  /* the program runs the loop: turns end with each entry */
    bool stopping; /* no new connections */
    bool stopped;  /* all connections are gone, the thread may end */
    bool emits_waiting;
    bool presence_due;
    bool presence_late; /* it goes on next turn */
    bool in_turn_end;
    bool turn_warned; /* some callback of this turn was too slow, and its name is in the log */
    unsigned depth;
    _Atomic(void *) home; /* the thread it lives on */
    h2o_loop_t *loop;
    h2o_context_t *context;
    hub_server_t *server; /* NULL: mounted */
    h2o_socket_t *wake_socket, *timer_socket;
    int wake_fd, timer_fd;

    pthread_mutex_t lock; /* the mailbox */
    hub_task_t *mail_first, **mail_last;
    size_t mail_count, mail_limit;
    bool mail_closed, mail_signalled;
    hub_task_t *mail_batch; /* taken out, not run yet. Loop thread */
    hub__worker_t **owed;   /* retained: workers that got mail in this turn and no wake-up yet */
    unsigned owed_count;

    hub__wheel_t *wheel;
    uint64_t armed_for; /* what the timerfd is set to */
    uint64_t now_ms;
    uint64_t turn_us;        /* for writing, and as much for telling of presence */
    uint64_t write_until_us; /* 0: nobody has looked at the clock yet */
    unsigned written;        /* connections in this turn */
    bool write_over;         /* its time: the rest is for the next turn */
    bool behind;             /* some are left from the last turn, and first in line */
    hub__account_t others;   /* what had the thread's account before */
    hub__account_t told;     /* to the server */
    hub__timer_t shedding;   /* armed while more is to be closed */
    uint64_t presence_until_us;
    uint64_t turn_began_us; /* 0: nothing has been entered since the last one ended */
    uint64_t warn_ms;       /* for a callback; HUB_OFF */
    uint64_t called_ms;     /* when the callback that returns next may have begun at the earliest */

    hub__slot_t *slots;
    uint32_t slot_count, slot_capacity, slot_free, conn_count;
    uint32_t
        generation; /* of the newest connection; goes on where the last worker of this index was */
    uint32_t next_serial;
    hub__table_t topics, identities, requests;
    hub__table_t parked; /* requests of long-poll clients that wait for their answer */
    hub__topic_t *dirty_first, **dirty_last;
    hub__line_t flushing;
    hub_conn_t *reading; /* whose bytes are handled: it is not in the flush list on their account */
    hub__line_t due;     /* closes and sessions to go on at the end of the turn */
    uint32_t line_capacity; /* capacity of both: as many as there are connections, the dead ones
                            that are still in one counted */
    uint32_t conns_made;
    uint32_t next_tag;
    uint64_t next_request;

    hub__run_t *run; /* frames of single connections made in this turn */
    hub__match_scratch_t *match_scratch;
    hub__envelope_scratch_t scratch;
    char *read_buffer;
    hub__tls_io_t *tls_io;   /* made for the first connection over TLS */
    char text[16384];        /* for accessors that return borrowed text */
    hub_str_t opening_query; /* of the connection whose on_open runs */
    hub_member_t *joining;   /* whose on_join runs */
    bool noting;             /* hooks of a frame run */
    size_t jobs_out;
    size_t upgrades_out; /* a 101 is being written */
    bool answered;       /* h2o has something to do on account of an answer: it must not sleep */
    hub__attached_t *hubs;
    hub__presence_t *presences;
    hub_stats_t stats;

    void *listening; /* of the server */

    hub__deflater_t deflater;
    hub__inflater_t *inflater;        /* of connections that keep no context; NULL: none yet */
    hub__buffer_t deflated, inflated; /* of the message at hand */
};

#define HUB__READ_BUFFER (64u * 1024)
#define HUB__RUN_SEAL (64u * 1024)

hub__worker_t *hub__worker_create(unsigned index, h2o_loop_t *loop, size_t mail_limit,
                                  size_t turn_us);
/* Ends what it has, on its thread; what is posted from then on is HUB_ECLOSED. The rest of it stays
 * for those who still hold it: a publish or a job of another thread may be about to post. */
void hub__worker_close(hub__worker_t *worker);
hub__worker_t *hub__worker_retain(hub__worker_t *worker);
void hub__worker_release(hub__worker_t *worker); /* NULL is allowed. */
/* Around everything that a loop calls. */
void hub__worker_enter(hub__worker_t *worker);
void hub__worker_leave(hub__worker_t *worker);
/* At the end of each turn: what waited, fan-out, writes, timers. */
void hub__worker_end_turn(hub__worker_t *worker);
/* It has a turn soon. Any thread. */
void hub__worker_wake(hub__worker_t *worker);
/* Something waits for the end of the turn: on a foreign loop nobody else would come by. */
void hub__worker_touch(hub__worker_t *worker);
static inline bool hub__worker_has_more(const hub__worker_t *worker)
{
    return worker->flushing.head != worker->flushing.end || worker->due.head != worker->due.end ||
           worker->dirty_first != NULL || worker->emits_waiting || worker->presence_due;
}
uint64_t hub__monotonic_ms(void);
uint64_t hub__monotonic_us(void);
/* A callback of the program's has just returned: of which channel or path, and the event or the
 * like; absent where there is none. Warns of one that held up the worker for too long. */
void hub__worker_called(hub__worker_t *worker, const char *callback, const char *of,
                        hub_str_t name);
/* Before a connection is written: whether this turn's time allows for it. */
bool hub__worker_may_write(hub__worker_t *worker);
/* The run that frames of single connections go to; NULL when out of memory. */
hub__run_t *hub__worker_run(hub__worker_t *worker);
/* The calling thread is the worker's from now on. */
void hub__worker_settle_here(hub__worker_t *worker);
/* Its thread ends: another one may get the same address for its own. */
void hub__worker_settle_nowhere(hub__worker_t *worker);
bool hub__worker_is_here(const hub__worker_t *worker); /* Any thread. */
void hub__worker_run_all_mail(hub__worker_t *worker);  /* what has been posted so far */
/* Something was posted and has not run yet. Loop thread. */
bool hub__worker_has_mail(hub__worker_t *worker);
/* No mail any more, from now on: what is there is discarded, who posts is told. */
void hub__worker_end_mail(hub__worker_t *worker);
void hub__worker_flush_emits(hub__worker_t *worker);
/* A mounted worker that has stopped, outside its callbacks: frees it. */
void hub__h2o_worker_gone(hub__worker_t *worker);
/* The bus of this hub delivers here. */
hub_status_t hub__worker_attach(hub__worker_t *worker, hub_t *hub);
/* Whether a hub that is attached is on it: several may share one. */
bool hub__worker_has_bus(const hub__worker_t *worker, const hub_bus_t *bus);
void hub__worker_detach(hub__worker_t *worker, hub_t *hub);

void hub__worker_line_up(hub__worker_t *worker, hub__line_t *line, hub_conn_t *conn);
/* Room in both lines for one more connection; false: no memory. The connection is freed by
 * hub__worker_conn_freed(). */
bool hub__worker_conn_made(hub__worker_t *worker);
void hub__worker_conn_freed(hub__worker_t *worker);
hub_status_t hub__worker_slot_take(hub__worker_t *worker, hub_conn_t *conn, uint32_t *ret_slot);
void hub__worker_slot_free(hub__worker_t *worker, uint32_t slot);
/* The part of a connection id that is the worker's. */
uint64_t hub__worker_local(const hub__worker_t *worker, uint32_t slot);
hub_conn_t *hub__worker_conn(hub__worker_t *worker, uint64_t local);

/* ---- group.c ---- */

/* A group is for one wire format and one window, of which most topics need no more than "none". */
#define HUB__GROUP_COUNT (HUB__DIALECT_COUNT * HUB__WINDOW_COUNT)
#define HUB__GROUPS_DEFLATED (HUB__GROUP_COUNT - HUB__DIALECT_COUNT)

/* Members of one kind of frames. Behind the pointers lie their seats: the slots of their
 * connections, which say all that is needed of an ordinary member whose connection is ready. So a
 * publish touches neither of the two: memory that has not been used for a while is what a delivery
 * would wait for longest. */
typedef struct hub__group {
    hub_member_t **members;
    uint32_t count, capacity;
    hub__run_t *run; /* of this turn */
} hub__group_t;

/* The member has taken a part of the run, or is not joined yet: it has to be looked at. */
#define HUB__SEAT_ODD 0x80000000u

static inline uint32_t *hub__group_seats(const hub__group_t *group)
{
    return (uint32_t *)(group->members + group->capacity);
}

/* What frames a member gets, whatever its topic. */
unsigned hub__group_index(const hub_member_t *member);
/* The group that a subscribed member is in. */
hub__group_t *hub__group_of(const hub_member_t *member);
/* False: no memory. */
bool hub__group_add(hub__group_t *group, hub_member_t *member);
void hub__group_remove(hub__group_t *group, const hub_member_t *member);
/* What a subscribed member has of its group's open run. */
void hub__group_set_taken(hub_member_t *member, uint32_t bytes);
/* The run is closed: who is at this place is like the others again, once it has joined. */
void hub__group_make_even(hub__group_t *group, uint32_t place);

/* ---- fanout.c ---- */

/* What members with a filter get from the first intercepted message of this turn on, in order:
 * messages for all of them, and between those a frame of one member's own, which must not overtake
 * what is still to be filtered. */
typedef struct hub__filtered {
    hub_message_t *msg; /* NULL: a frame of `only` alone */
    hub_member_t *only; /* of a message: who is left out of it */
    bool intercepted;   /* its filters are asked */
    hub__run_t *run;    /* of a frame */
    uint32_t start, end;
    uint64_t key;
    uint32_t skipped; /* by how many filters so far */
    uint32_t dropped; /* for how many members that are too slow */
    struct {
        uint32_t start, end;
    } frames[HUB__GROUP_COUNT]; /* of a message; empty where it was not encoded */
} hub__filtered_t;

/* A publish that wants to know what became of it. */
typedef struct hub__counted {
    hub_bus_ack_t *ack;
    hub_publish_counts_t counts;
    uint32_t message; /* its place among those that filters see; UINT32_MAX: none does */
} hub__counted_t;

/* A publish made by a filter of its own topic. */
typedef struct hub__later {
    struct hub__later *next;
    hub_message_t *msg;
    hub_bus_ack_t *ack;
} hub__later_t;

struct hub__topic {
    hub__table_node_t node;
    hub__worker_t *worker;
    hub_t *hub; /* root */
    hub_bus_sub_t *sub;
    hub__group_t groups[HUB__DIALECT_COUNT];
    hub__group_t *deflated; /* HUB__GROUPS_DEFLATED more; NULL: nobody has needed one so far */
    const hub__channel_t *channel; /* of all its members */
    uint32_t tag;
    hub__filtered_t *messages;
    uint32_t message_count, message_capacity;
    hub__counted_t *acks;
    uint32_t ack_count, ack_capacity;
    hub__later_t *later_first, *later_last;
    hub__venue_t *venue; /* NULL: its channel has no presence */
    hub__topic_t *dirty_next;
    uint32_t slow_dropped; /* new messages that members did not keep, since the last settling */
    bool dirty;
    bool settling;
    bool ready; /* members need not wait for the broker */
    uint16_t name_len;
    char name[];
};

/* Whether one more member fits within the hub's topics. */
bool hub__fanout_has_room(hub__worker_t *worker, const hub_t *root, hub_str_t name);
static inline unsigned hub__topic_group_count(const hub__topic_t *topic)
{
    return topic->deflated != NULL ? HUB__GROUP_COUNT : HUB__DIALECT_COUNT;
}

static inline hub__group_t *hub__topic_group(const hub__topic_t *topic, unsigned index)
{
    return index < HUB__DIALECT_COUNT ? (hub__group_t *)(uintptr_t)&topic->groups[index]
                                      : &topic->deflated[index - HUB__DIALECT_COUNT];
}

hub_status_t hub__fanout_subscribe(hub__worker_t *worker, hub_t *root, hub_member_t *member);
/* Whether what other nodes publish on a subscribed member's topic may still be missed. Then
 * hub__member_ready() comes. */
bool hub__fanout_awaits(const hub_member_t *member);
/* Its topic is due a gap, if it has to be awaited. */
void hub__fanout_hurry(const hub_member_t *member);
/* Settles the member first. */
void hub__fanout_unsubscribe(hub_member_t *member);
/* What was published in this turn goes to the member's outbox now, before a frame of its own. */
void hub__fanout_settle_member(hub_member_t *member);
/* Whether a frame of the member's own has to stand behind messages that its filter has not seen;
 * then it is handed over here. */
bool hub__fanout_must_wait(const hub_member_t *member);
hub_status_t hub__fanout_wait(hub_member_t *member, hub__run_t *run, uint32_t start, uint32_t end,
                              uint64_t key);
/* A broadcast to this worker's members alone. `payload` is valid JSON. */
void hub__fanout_tell(hub__worker_t *worker, const hub_t *root, hub_str_t topic, hub_str_t event,
                      hub_str_t payload);
/* At the end of the turn. */
void hub__fanout_settle(hub__worker_t *worker);

/* ---- presence.c ---- */

/* The venue of a topic that has members now; closed by hub__venue_close(). NULL: none can be had.
 */
hub__venue_t *hub__presence_enter(hub__worker_t *worker, hub_t *hub, hub_str_t topic,
                                  const hub_presence_options_t *options);
/* The member, which has presence, hears from now on what is told to all. */
void hub__presence_joined(hub_member_t *member);
/* The member ends: what it tracks leaves, now, or after the grace. */
void hub__presence_leave(hub_member_t *member, bool may_return);
/* Near the end of the turn, before the fan-out. */
void hub__presence_settle(hub__worker_t *worker);
/* The worker begins to stop: all that it told of is taken back, and nothing more is told. */
void hub__presence_stop(hub__worker_t *worker);
/* The hub leaves the worker. */
void hub__presence_close(hub__worker_t *worker, const hub_t *hub);
/* With the worker's memory. */
void hub__presence_destroy_all(hub__worker_t *worker);

/* ---- conn.c ---- */

typedef struct hub__transport {
    const char *name;
    /* Writes what the outbox holds as far as it goes now. The connection may be gone after it. */
    void (*flush)(hub_conn_t *conn);
    /* Writes what it can in the middle of a turn; ends nothing. */
    void (*relieve)(hub_conn_t *conn);
    void (*pause)(hub_conn_t *conn, bool paused);
    /* Queues the goodbye; when everything has left, ends the transport and then the connection.
     * `code` 0: without one. */
    void (*close)(hub_conn_t *conn, unsigned code, hub_str_t reason);
    void (*ping)(hub_conn_t *conn);
    /* Releases what the transport holds, at once. */
    void (*dispose)(hub_conn_t *conn);
    hub_str_t (*peer)(const hub_conn_t *conn); /* Borrowed until the next call on this worker. */
    /* A transport with a sign of life of its own says when on_due() is wanted; NULL: pings and the
     * deadlines that go with them apply. While the connection is open. */
    uint64_t (*due_at)(const hub_conn_t *conn);
    void (*on_due)(hub_conn_t *conn, uint64_t now_ms);
} hub__transport_t;

typedef enum hub__conn_state {
    HUB__CONN_OPEN,
    HUB__CONN_CLOSING,   /* its session has ended; what is queued, then the close frame */
    HUB__CONN_LINGERING, /* all was sent, its write side is shut; input is discarded */
} hub__conn_state_t;

typedef struct hub__conn_extra {
    hub__table_node_t identity_node;
    hub_conn_t *conn;
    hub_str_t identity;
    hub_attribute_t *attributes; /* names and values in `text` */
    size_t attribute_count;
    hub_str_t query;
    hub_str_t protocol;
    void *user;
    void (*on_free)(void *user);
    uint64_t expires_at_ms; /* 0: never */
    char *close_reason;     /* allocated; NULL: none */
    uint64_t join_by_ms;    /* while it has not joined; 0: no matter */
    hub__over_t over[2];    /* refused for their rate: messages, joins */
    hub__kin_t kin;         /* of its identity */
    bool has_identity;
    hub__slow_t *slow_first, **slow_last; /* members with a backlog; slow_last NULL: never */
    /* what its client may refer back to; NULL: nothing yet */
    hub__inflater_t *inflater;
    char text[];
} hub__conn_extra_t;

/* There may be a great many, nearly all of them idle: so what few need is in `extra`, and the order
 * is that of the fan-out, which touches the first half alone. */
struct hub_conn {
    hub__session_t session; /* first; on raw routes only its host and debts are used */
    union {
        h2o_socket_t *socket;      /* of a websocket */
        hub__tls_conn_t *tls;      /* of one over TLS */
        hub__longpoll_t *longpoll; /* of a long-poll client */
    };
    hub__outbox_t outbox;
    int fd;        /* the socket's; -1: it has none */
    uint32_t slot; /* in its worker's table */
    uint16_t close_code;
    uint8_t close_why;
    uint8_t state;
    bool is_longpoll : 1;
    bool is_tls : 1;
    bool flushing : 1; /* in the flush list */
    bool due : 1;      /* in the due list */
    bool blocked : 1;  /* waits for the socket to become writable */
    bool close_wanted : 1;
    bool lost : 1; /* nothing can be written any more */
    bool pinged : 1;
    bool unfinished : 1;
    bool destroyed : 1; /* freed when the lists let go of it */
    bool opened : 1;
    bool paused : 1;          /* not read: it has sent too much */
    uint8_t window : 2;       /* hub__window_t of what is sent; none: nothing is compressed */
    uint8_t context_bits : 4; /* of the client's window, where it may refer back; else 0 */
    uint32_t last_seen;       /* low bits of milliseconds */
    uint32_t ping_at;
    hub__frame_reader_t reader;
    hub__timer_t timer;
    hub__conn_extra_t *extra; /* NULL: nothing special about it */
};

/* What a new connection is given. Borrowed. */
typedef struct hub__conn_birth {
    hub__seat_t *seat;
    const hub__dialect_t *dialect;
    h2o_socket_t *socket;
    hub__longpoll_t *longpoll; /* in place of a socket */
    hub__tls_conn_t *tls;      /* of the socket; NULL: it is plain */
    const hub_grant_t *grant;  /* its user and on_free are taken */
    hub_str_t query;
    hub_str_t protocol;
    hub__deflate_terms_t deflate;
} hub__conn_birth_t;

/* NULL: no memory or no slot; the grant's user is freed. */
hub_conn_t *hub__conn_create(const hub__conn_birth_t *birth);
/* on_open, hooks. */
void hub__conn_open(hub_conn_t *conn);
/* Made where there is none yet. NULL: no memory. */
hub__conn_extra_t *hub__conn_extra(hub_conn_t *conn);
/* A complete message. */
void hub__conn_message(hub_conn_t *conn, hub_str_t bytes, bool binary);
/* Queues a range; enforces the outbox's bounds. */
hub_status_t hub__conn_enqueue(hub_conn_t *conn, hub__run_t *run, uint32_t start, uint32_t end,
                               uint32_t messages, uint32_t tag);
/* Counts messages that do not get there, and tells the hook. Returns `status`. */
hub_status_t hub__conn_drop(hub_conn_t *conn, const hub__run_t *run, uint32_t messages,
                            hub_status_t status);
/* What few connections have; NULL: no memory. */
hub__conn_extra_t *hub__conn_extra(hub_conn_t *conn);
/* Whether so much more fits within the outbox's bounds, which writing may make room for. */
bool hub__conn_has_room(hub_conn_t *conn, size_t bytes, size_t messages);
/* Those of its root, and of the hubs down to the member's own. `event->conn` is set. */
hub_status_t hub__conn_run_hooks(const hub_conn_t *conn, hub_hook_event_t *event);
/* hub__conn_proceed() at the end of the turn. */
void hub__conn_want_proceed(hub_conn_t *conn);
/* All of a run, of whose start the socket took `wrote` bytes while the connection was ready. */
void hub__conn_enqueue_rest(hub_conn_t *conn, hub__run_t *run, size_t wrote, uint32_t tag);
/* Whether a frame may be written to its socket without a look at anything else. Its slot says the
 * same. */
bool hub__conn_is_ready(const hub_conn_t *conn);
/* It may be from now on. */
void hub__conn_set_ready(hub_conn_t *conn);
/* Its socket takes no more, or some again. */
void hub__conn_set_blocked(hub_conn_t *conn, bool blocked);
/* Queues one frame where it belongs: behind what was published to the member's topic before, and
 * behind its join reply. `member` NULL: it is about none. `key`: hub__slow_key(), or HUB__KEY_FIXED
 * for what is never dropped. */
hub_status_t hub__conn_place(hub_conn_t *conn, hub_member_t *member, hub__run_t *run,
                             uint32_t start, uint32_t end, uint64_t key);
/* Likewise a message in three fragments, for which the transport and the member must be ready: the
 * first `first_len` bytes of `edges`, `body`, and the rest of `edges`. False: nothing was placed.
 */
bool hub__conn_place_fragments(hub_conn_t *conn, hub_member_t *member, hub__run_t *edges,
                               uint32_t first_len, hub__run_t *body);
/* Queues one frame outside any bound of messages: control frames. */
void hub__conn_control(hub_conn_t *conn, hub__opcode_t opcode, hub_str_t payload);
void hub__conn_want_flush(hub_conn_t *conn);
/* Bytes from its socket. The connection may be gone after it. */
void hub__conn_read(hub_conn_t *conn, char *bytes, size_t len);
/* Its turn to write, off the list; the connection may be gone after it. */
void hub__conn_flush(hub_conn_t *conn);
/* Asks for the end: done when the callback at hand has returned. The first reason counts. */
void hub__conn_want_close(hub_conn_t *conn, hub_disconnect_reason_t why, unsigned code,
                          hub_str_t reason);
/* The transport is gone: ends now. Not inside a callback. */
void hub__conn_lost(hub_conn_t *conn, hub_disconnect_reason_t why);
/* Does what was asked for. */
void hub__conn_proceed(hub_conn_t *conn);
/* The last byte has left and the peer is done, or its time is up: frees it. */
void hub__conn_destroy(hub_conn_t *conn);
/* A sign of life. Pays its debts. */
void hub__conn_seen(hub_conn_t *conn);
void hub__conn_rearm(hub_conn_t *conn);
void hub__conn_on_sent(const hub_message_t *note, void *conn);
hub__worker_t *hub__conn_worker(const hub_conn_t *conn);
static inline bool hub__conn_is_open(const hub_conn_t *conn)
{
    return conn->state == HUB__CONN_OPEN && !conn->close_wanted;
}

/* ---- slow.c ---- */

/* Whether members of this channel wait with what their connection does not take. */
static inline bool hub__channel_keeps(const hub__channel_t *channel)
{
    const hub_channel_options_t *options = &channel->options;

    return options->slow_policy != HUB_SLOW_CLOSE || options->slow_bytes != 0 ||
           options->slow_messages != 0 || options->slow_age_ms != 0;
}
/* Of what is published to a topic of the channel. */
static inline unsigned hub__channel_flags(const hub__channel_t *channel)
{
    return channel->options.order == HUB_ORDER_BUS ? HUB_MESSAGE_BUS_ORDER : 0;
}
uint64_t hub__slow_key(const hub__channel_t *channel, const hub_message_t *msg);
/* What waits for all members of a connection. */
size_t hub__slow_bytes(const hub_conn_t *conn);
/* Something waits for this member. */
bool hub__slow_waits(const hub_member_t *member);
/* To a member of such a channel: whole frames of a topic's run. Returns how many were not kept. */
uint32_t hub__slow_deliver(hub_member_t *member, hub__run_t *run, uint32_t start, uint32_t end,
                           uint32_t messages, uint32_t tag);
/* One frame of its own. */
hub_status_t hub__slow_place(hub_member_t *member, hub__run_t *run, uint32_t start, uint32_t end,
                             uint64_t key);
/* The outbox is empty and the socket takes more: puts some of what waits in. True: there is
 * something to write. */
bool hub__slow_refill(hub_conn_t *conn);
/* The member ends, or no longer hears its topic. */
void hub__slow_end(hub_member_t *member);

/* ---- compression.c ---- */

/* Makes the newest frame of a run, which begins at `start`, a compressed one where that is agreed
 * on with this connection and pays. */
void hub__conn_deflate(const hub_conn_t *conn, hub__run_t *run, uint32_t start);
/* A complete message, compressed. */
void hub__conn_inflate(hub_conn_t *conn, hub_str_t payload, bool binary);
void hub__compression_dispose(hub__worker_t *worker);

/* ---- pace.c: how much a client may say ---- */

/* One of its messages or joins is refused for its rate. */
void hub__conn_over_rate(hub_conn_t *conn, bool of_join);
/* A control frame of its own; false: one too many, and it is about to end. */
bool hub__conn_take_control(hub_conn_t *conn);
/* One of ours that it has to answer. */
void hub__conn_expect_control(hub_conn_t *conn);
/* When it may send again after what it sent; 0: now. */
uint64_t hub__conn_readable_at(const hub_conn_t *conn);
/* It sent so many bytes. True: it may send more after a while only. */
bool hub__conn_charge(hub_conn_t *conn, size_t bytes);
/* So many bytes of its websocket have been handled: stops reading where that was too much. */
void hub__conn_pace(hub_conn_t *conn, size_t bytes);
/* Reads on where it was paused. */
void hub__conn_resume(hub_conn_t *conn);

/* ---- websocket.c ---- */

extern const hub__transport_t hub__websocket;
/* Writes to the socket of a connection that is ready, once. Returns how much it took, 0 where that
 * fails: it shows again at the next flush. */
size_t hub__websocket_write(int fd, const char *bytes, size_t len, hub_stats_t *stats);
/* Takes messages out of what its client sent. */
void hub__websocket_feed(hub_conn_t *conn, char *bytes, size_t len);
/* Takes over a socket after its 101; `early` came behind the request. */
void hub__websocket_start(hub_conn_t *conn, hub_str_t early);

/* ---- websocket_tls.c ---- */

extern const hub__transport_t hub__websocket_tls;
/* The socket that h2o makes a handshake with; NULL: it is not h2o's any more. */
h2o_socket_t *hub__tls_socket_of(const SSL *ssl);
/* Whether the TLS of a socket, if it has any, can be taken over after the 101. */
bool hub__tls_can_take(const h2o_socket_t *socket);
/* From now on h2o only watches. Freed when the socket is closed. NULL: no memory. */
hub__tls_conn_t *hub__tls_take(hub__worker_t *worker, h2o_socket_t *socket);
/* Its socket is about to be closed. */
void hub__tls_leave(hub__tls_conn_t *tls);
h2o_socket_t *hub__tls_socket(const hub__tls_conn_t *tls);

/* ---- tls.c ---- */

/* What the connections of one listener get. Reads the files. */
hub_status_t hub__tls_create(const hub_tls_options_t *options, hub__tls_t **ret_tls,
                             hub_error_t *error);
void hub__tls_destroy(hub__tls_t *tls); /* NULL is allowed. */
/* Reads the files again. `ret_context` is owned by the caller, or given to hub__tls_set(). */
hub_status_t hub__tls_load(const hub__tls_t *tls, SSL_CTX **ret_context, hub_error_t *error);
/* New connections get this one, which is taken. Any thread. */
void hub__tls_set(hub__tls_t *tls, SSL_CTX *context);
/* Retained; SSL_CTX_free(). Any thread. */
SSL_CTX *hub__tls_context(hub__tls_t *tls);
/* What a peer makes OpenSSL do beside carrying data: key updates, and what is answered by an alert.
 * Zeroed storage is nothing yet. */
typedef struct hub__tls_chatter {
    uint32_t since; /* low bits of milliseconds */
    uint32_t count;
} hub__tls_chatter_t;
/* Takes note of what OpenSSL's message callback was told. True: it is too much, each key update
 * costs as much as a hundred frames. */
bool hub__tls_chatters(hub__tls_chatter_t *chatter, int is_write, int content_type,
                       const void *bytes, size_t len, uint64_t now_ms);
const char *hub__tls_certificate_file(const hub__tls_t *tls);

/* ---- exchange.c: requests of long-poll clients ---- */

typedef enum hub__exchange_kind {
    HUB__EXCHANGE_POLL,   /* waits for messages */
    HUB__EXCHANGE_SEND,   /* brings some */
    HUB__EXCHANGE_CANCEL, /* nobody waits for the answer to that poll any more. Has none itself */
} hub__exchange_kind_t;

#define HUB__EXCHANGE_UNKNOWN 0 /* a status: there is no such connection */

/* A request on its way from the worker that got it, where h2o's part of it is parked, to the one
 * that its connection lives on, and back with the answer. */
typedef struct hub__exchange {
    hub_task_t task;
    hub__worker_t *from, *home;
    hub_t *root;
    const hub__endpoint_t *endpoint; /* to be compared: it may be gone */
    uint64_t serial;                 /* of what is parked */
    uint64_t local;                  /* of the connection */
    uint8_t kind;
    bool ndjson;
    uint16_t status;        /* of the answer, as the client reads it */
    hub__buffer_t messages; /* of the answer: JSON strings with commas between them */
    size_t body_len;
    char body[];
} hub__exchange_t;

/* A request for the long-poll path of an endpoint, from first to last. */
void hub__exchange_request(hub__seat_t *seat, h2o_req_t *req);
/* Takes the exchange with its answer back to where it came from. */
void hub__exchange_return(hub__exchange_t *exchange);
void hub__exchange_destroy(hub__exchange_t *exchange);
/* Answers a request that asked to connect: the token of its connection, or a refusal. */
void hub__exchange_welcome(h2o_req_t *req, const hub_conn_t *conn);
void hub__exchange_refuse(hub__seat_t *seat, h2o_req_t *req, int status);
/* With this HTTP status and no body: for now there is no place for it. */
void hub__exchange_refuse_plainly(hub__seat_t *seat, h2o_req_t *req, int http_status);
/* Answers everything that is parked, at once. */
void hub__exchange_forget(hub__worker_t *worker);

/* ---- longpoll.c ---- */

extern const hub__transport_t hub__longpoll;
/* NULL: no memory. Freed with its connection, or by hub__longpoll_destroy() where none was made.
 * `resident` is taken, else; it may be NULL. */
hub__longpoll_t *hub__longpoll_create(hub__seat_t *seat, const char *peer,
                                      hub__resident_t *resident);
void hub__longpoll_destroy(hub__longpoll_t *self);
/* Its connection is there: it has so long for its first poll. */
void hub__longpoll_start(hub_conn_t *conn);
/* Takes an exchange for this connection. */
void hub__longpoll_serve(hub_conn_t *conn, hub__exchange_t *exchange);

/* ---- endpoint.c, request.c ---- */

/* What is mounted at a path of a server: a hub, or a raw route. Immutable after the start. */
struct hub__endpoint {
    hub__endpoint_t *next;
    hub_t *hub;          /* root; NULL: raw */
    char *path;          /* NULL: any (mounted under the program's own path) */
    char *path_suffix;   /* the second form; NULL: none */
    char *path_longpoll; /* NULL: none, or under the program's own path */
    unsigned char ticket_key[HUB__TICKET_KEY];
    hub_endpoint_options_t options; /* deep copy, limits resolved */
    hub_raw_options_t raw;
    hub__frame_limits_t frame_limits,
        deflate_limits;   /* the latter where compression is agreed on */
    hub__kin_table_t kin; /* connections by identity, on all workers */
};

/* An endpoint on a worker. */
struct hub__seat {
    hub__session_host_t host;
    hub__worker_t *worker;
    hub__endpoint_t *endpoint;
    hub__seat_t *next;
    hub__longpoll_t *idle_first, **idle_last; /* without a poll, the one longest without first */
    size_t idle_count, idle_limit;
};

static inline hub__seat_t *hub__conn_seat(const hub_conn_t *conn)
{
    return HUB__CONTAINER(conn->session.host, hub__seat_t, host);
}

static inline const hub_limits_t *hub__conn_limits(const hub_conn_t *conn)
{
    return &hub__conn_seat(conn)->endpoint->options.limits;
}

/* NULL: it belongs to a raw route. */
static inline hub_t *hub__conn_root(const hub_conn_t *conn)
{
    return hub__conn_seat(conn)->endpoint->hub;
}

hub_status_t hub__endpoint_create(hub_t *hub, const hub_endpoint_options_t *options,
                                  const hub_raw_options_t *raw, const char *path,
                                  hub__endpoint_t **ret_endpoint, hub_error_t *error);
void hub__endpoint_destroy(hub__endpoint_t *endpoint);
bool hub__endpoint_has_path(const hub__endpoint_t *endpoint, hub_str_t path);
/* Whether it is that of the long poll. */
bool hub__endpoint_polls_at(const hub__endpoint_t *endpoint, hub_str_t path);
hub__seat_t *hub__seat_create(hub__worker_t *worker, hub__endpoint_t *endpoint);
void hub__seat_destroy(hub__seat_t *seat);
/* Counts a connection in, or out; false: its server or its hub has as many as it takes. */
bool hub__seat_admit(hub__seat_t *seat);
void hub__seat_dismiss(hub__seat_t *seat);
/* Handles a request for the endpoint's path to its end: the 101 or a refusal. */
void hub__endpoint_request(hub__seat_t *seat, h2o_req_t *req);
/* A long-poll client without a connection: the same checks, then hub__exchange_welcome() or
 * _refuse(). */
void hub__endpoint_connect(hub__seat_t *seat, h2o_req_t *req);
/* Whether a page of this origin may call. */
bool hub__endpoint_origin_passes(const hub__endpoint_t *endpoint, const hub__request_head_t *head);
/* The first offered subprotocol that is listed. False: there was an offer, and none of it is. */
bool hub__endpoint_choose_protocol(const hub__endpoint_t *endpoint, const hub__request_head_t *head,
                                   hub_str_t *ret_protocol);
/* The wire format; NULL: none. */
const hub__dialect_t *hub__endpoint_choose_dialect(const hub__endpoint_t *endpoint,
                                                   hub_str_t query);
/* Seconds for a Retry-After, by chance: who was refused at one time is not to come back at one. */
const char *hub__retry_after(void);
/* Answers a plain refusal. */
void hub__http_refuse(h2o_req_t *req, int status, const char *content_type, hub_str_t body);
/* Deferred authorizations that are still open on a worker end. */
void hub__endpoint_forget_requests(hub__worker_t *worker);
/* The one that this socket's client waits for ends soon, as if its time were up. */
void hub__endpoint_hurry(hub__worker_t *worker, const h2o_socket_t *socket);
hub_str_t hub__peer_text(h2o_socket_t *socket, char *buffer, size_t size);
/* What this thread logs is their doing until hub__source_set(NULL, NULL). Both borrowed until then.
 */
void hub__source_is_conn(const hub_conn_t *conn);
void hub__source_is_socket(h2o_socket_t *socket);

extern const hub__session_io_t hub__conn_session_io; /* in conn_session.c */

/* ---- errand.c ---- */

/* Listens to what other nodes want of connections here, and no more. Loop thread. */
hub_status_t hub__relay_open(hub__attached_t *attached);
void hub__relay_close(hub__attached_t *attached);
/* A newer connection of its identity takes the place of this one. Any thread. */
hub_status_t hub__errand_displace(hub_t *root, hub__worker_t *worker, uint64_t local);

/* ---- offload.c ---- */

hub__pool_t *hub__pool_create(size_t threads, size_t queue);
/* Waits for what runs; what has not begun comes back cancelled. */
void hub__pool_destroy(hub__pool_t *pool);
/* Takes the job on HUB_OK. HUB_ELIMIT: the queue is full. */
hub_status_t hub__pool_submit(hub__pool_t *pool, hub__job_t *job);

/* ---- metrics.c ---- */

/* Adds what another worker counts, which may go on counting. */
void hub__stats_merge(hub_stats_t *all, const hub_stats_t *worker);

/* ---- route.c, server.c ---- */

typedef struct hub__route_row hub__route_row_t;

/* Dispatches one request of a server's own listeners. */
void hub__route_request(hub_server_t *server, hub__worker_t *worker, h2o_req_t *req);
void hub__routes_destroy(hub__route_row_t *rows);
hub__seat_t *hub__server_seats(hub__worker_t *worker);
hub__route_row_t **hub__server_routes(hub_server_t *server);
hub_status_t hub__server_add_endpoint(hub_server_t *server, hub__endpoint_t *endpoint,
                                      hub_error_t *error);
const hub_server_limits_t *hub__server_limits(const hub_server_t *server);
hub_status_t hub__server_check_open(hub_server_t *server,
                                    const char *what); /* HUB_EBUSY once started */
const hub__proxies_t *hub__server_proxies(const hub_server_t *server);
/* Within what time those who are closed at a stop are asked to come back; HUB_OFF: they are not. */
size_t hub__worker_retry_ms(const hub__worker_t *worker);
unsigned hub__server_threads(const hub_server_t *server);
/* For threads of ours, which inherit it; the program's own get its signals. */
void hub__block_signals(sigset_t *ret_before);
bool hub__server_is_stopping(const hub_server_t *server);
/* Of the worker's server: whether one more may come in. False: what all hold is too much for that,
 * and the refusal is counted. */
bool hub__server_has_memory(hub__worker_t *worker);
/* At the end of each turn: tells what this worker holds, and closes the largest queues while all
 * hold too much. */
void hub__worker_watch_memory(hub__worker_t *worker);
/* Counts a websocket in or out; false: the limit is reached. */
bool hub__server_conn_opened(hub_server_t *server);
void hub__server_conn_closed(hub_server_t *server);
/* A socket of our listener has become a websocket. */
void hub__server_upgraded(hub__worker_t *worker, h2o_socket_t *socket);
/* A worker whose last connection is gone while it stops. */
void hub__worker_check_stopped(hub__worker_t *worker);
/* One hub for each bus that the server's hubs are on, in the order they were mounted; NULL behind
 * the last. `at` is where the caller is, and points to NULL at first. */
hub_t *hub__server_next_bus(const hub_server_t *server, const hub__endpoint_t **at);
