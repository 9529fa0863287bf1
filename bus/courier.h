/* bus/courier.h - private: what our backends have in common: one thread for the client library, a
 * queue of orders that any thread may put into, and the pause between attempts to connect. */
#pragma once

#include <pthread.h>
#include <time.h>

#include "bus/base.h"

typedef enum hub__order_kind {
    HUB__ORDER_SUBSCRIBE,
    HUB__ORDER_UNSUBSCRIBE,
    HUB__ORDER_PUBLISH,
    HUB__ORDER_PUBLISH_ORDERED, /* publish_ordered() of the backend, where it has one */
} hub__order_kind_t;

typedef struct hub__order {
    struct hub__order *next;
    hub__order_kind_t kind;
    bool again;      /* of the thread's own: it was tried before */
    uint64_t number; /* its own, too */
    uint64_t token;
    hub_str_t topic; /* behind both is a NUL */
    hub_str_t bytes;
    char data[];
} hub__order_t;

/* Orders that the thread has taken, one behind the other. */
typedef struct hub__orders {
    hub__order_t *first;
    hub__order_t **last; /* NULL: in zeroed storage, and empty */
} hub__orders_t;

void hub__orders_init(hub__orders_t *orders);
void hub__orders_append(hub__orders_t *orders, hub__order_t *order);
hub__order_t *hub__orders_take(hub__orders_t *orders); /* NULL: empty. */
/* Frees them. Also in zeroed storage. */
void hub__orders_clear(hub__orders_t *orders);

typedef struct hub__courier {
    pthread_mutex_t lock; /* of what follows */
    hub__order_t *first;
    hub__order_t **last;
    bool open;      /* there is a connection: orders are taken */
    bool reconnect; /* it is to be replaced */
    bool stop;
    bool woken;
    int wake_fd; /* readable while there is something new */
    pthread_t thread;
} hub__courier_t;

/* HUB_ESYSTEM: no descriptor or no thread. `run(arg)` is the thread; it gets no signals. */
hub_status_t hub__courier_start(hub__courier_t *courier, void *(*run)(void *arg), void *arg,
                                hub_error_t *error);
/* Asks the thread to end; returns at once. */
void hub__courier_ask_stop(hub__courier_t *courier);
/* Asks the thread to end, waits until it has, and drops what is left. */
void hub__courier_stop(hub__courier_t *courier);

/* Copies. HUB_EBUSDOWN: not open. HUB_ENOMEM. Any thread. */
hub_status_t hub__courier_put(hub__courier_t *courier, hub__order_kind_t kind, hub_str_t topic,
                              hub_str_t bytes, uint64_t token);
void hub__courier_ask_reconnect(hub__courier_t *courier); /* Any thread. */
/* Ends the wait under way, or the next one. Any thread. */
void hub__courier_wake(hub__courier_t *courier);

/* pthread_create() of a thread that takes no signals from the program, and its result. A program
 * that waits for SIGTERM on one thread would be ended by it on another. */
int hub__courier_thread(pthread_t *ret_thread, void *(*run)(void *arg), void *arg);

uint64_t hub__courier_now_ms(void); /* Monotonic. Any thread. */
/* For pthread_cond_timedwait(): the clock that no one can set, and so many milliseconds from now.
 */
void hub__courier_condition_init(pthread_cond_t *condition);
struct timespec hub__courier_deadline(unsigned ms);

/* ---- on the thread ---- */

typedef struct hub__courier_due {
    hub__order_t *orders; /* in order; the caller frees each with free() */
    bool reconnect;       /* asked since the last time */
    bool stop;
} hub__courier_due_t;

/* All that came since the last time. wake_fd is not readable any more. */
hub__courier_due_t hub__courier_take(hub__courier_t *courier);
/* Whether orders are taken. Closing drops those that wait. */
void hub__courier_set_open(hub__courier_t *courier, bool open);
/* Waits until `fd` has one of `events` (poll's; fd -1: none), something new is in the queue, or
 * `timeout_ms` have passed (-1: no end). Returns what the descriptor has, 0: nothing. */
int hub__courier_wait(hub__courier_t *courier, int fd, short events, int timeout_ms);
/* Waits so long, or until the thread is to end, which it returns. There is no connection meanwhile:
 * nobody orders anything, and there is none to replace. */
bool hub__courier_rest(hub__courier_t *courier, int ms);
/* How long to wait before attempt number `attempt`, from 0: random between 0 and 100 ms doubled for
 * each attempt, 2 s at most ("full jitter"). */
int hub__courier_pause_ms(unsigned attempt);
