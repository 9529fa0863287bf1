/* SPDX-License-Identifier: MIT */
/* Who holds a link: its owner, the thread that connects, the library until it has said that the
 * connection is closed, and each subscription until the delivery thread is through with it. Only
 * the owner may close the library's connection, so no callback is ever called on a freed link. */
#include "bus/nats_link.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "bus/buffer.h"
#include "bus/log.h"
#include "bus/nats_refusals.h"

#define LEFT_BEHIND_MAX 8       /* connecting threads that nobody waits for, of the process */
#define WAITING_MAX (64 * 1024) /* messages, and bytes; more is a loss, so the link breaks */
#define WAITING_BYTES_MAX (64 * 1024 * 1024)
#define READ_WAITING (4 * 1024) /* from here on the rest stays in the socket */
#define READ_WAITING_BYTES (4 * 1024 * 1024)
#define DRAIN_READS 1024
#define END_WAIT_MS 100

struct hub__nats_link {
    hub__nats_link_t *kept;
    natsOptions *options;
    pthread_mutex_t lock;   /* of what follows */
    pthread_cond_t changed; /* one reference is left */
    unsigned refs;
    hub__courier_t *courier; /* NULL: dropped */
    hub__nats_state_t state;
    int fd; /* the library's, while it may be used */
    hub__nats_arrival_t *first;
    hub__nats_arrival_t **last;
    size_t waiting;
    size_t waiting_bytes;
    hub__nats_refusals_t refusals;
    natsSubscription *fence; /* NULL: none was needed yet */
    bool fenced;
    char reason[160];

    natsConnection *nc; /* from here on the courier's thread alone */
    bool writes;
};

static atomic_int left_behind;
/* OpenSSL cleans up behind this, and the library's options hold what is OpenSSL's: what ends later
 * is kept. */
static atomic_bool exiting;
static _Atomic(hub__nats_link_t *) kept;
static pthread_once_t exit_once = PTHREAD_ONCE_INIT;

static void free_link(hub__nats_link_t *link)
{
    hub__nats_arrival_t *arrival, *next;

    for (arrival = link->first; arrival != NULL; arrival = next) {
        next = arrival->next;
        hub__nats_arrival_free(arrival);
    }
    hub__nats_refusals_dispose(&link->refusals);
    natsOptions_Destroy(link->options);
    pthread_cond_destroy(&link->changed);
    pthread_mutex_destroy(&link->lock);
    free(link);
}

static void release(hub__nats_link_t *link)
{
    unsigned left;

    pthread_mutex_lock(&link->lock);
    left = --link->refs;
    if (left == 1)
        pthread_cond_signal(&link->changed);
    pthread_mutex_unlock(&link->lock);
    if (left > 0)
        return;
    if (atomic_load(&exiting))
        link->kept = atomic_exchange(&kept, link);
    else
        free_link(link);
}

static void retain(hub__nats_link_t *link)
{
    pthread_mutex_lock(&link->lock);
    link->refs++;
    pthread_mutex_unlock(&link->lock);
}

/* Under the lock. The first reason stays. */
static void fail(hub__nats_link_t *link, const char *reason)
{
    if (link->state == HUB__NATS_FAILED)
        return;
    link->state = HUB__NATS_FAILED;
    snprintf(link->reason, sizeof(link->reason), "%s", reason);
    if (link->courier != NULL)
        hub__courier_wake(link->courier);
}

/* ---- the library calls, from its threads ---- */

/* Under the lock. */
static bool has_room(const hub__nats_link_t *link, size_t bytes)
{
    return link->waiting < WAITING_MAX && link->waiting_bytes + bytes <= WAITING_BYTES_MAX;
}

static void arrive(hub__nats_link_t *link, natsMsg *msg, bool own)
{
    hub__nats_arrival_t *arrival = malloc(sizeof(*arrival));
    size_t bytes = (size_t)natsMsg_GetDataLength(msg);
    bool taken;

    if (arrival != NULL)
        *arrival = (hub__nats_arrival_t){.msg = msg, .own = own};
    pthread_mutex_lock(&link->lock);
    taken = arrival != NULL && link->courier != NULL && has_room(link, bytes);
    if (taken) {
        *link->last = arrival;
        link->last = &arrival->next;
        link->waiting_bytes += bytes;
        if (link->waiting++ == 0)
            hub__courier_wake(link->courier);
    } else {
        fail(link, "more messages than this node can take");
    }
    pthread_mutex_unlock(&link->lock);
    if (taken)
        return;
    free(arrival);
    natsMsg_Destroy(msg);
}

static void on_message(natsConnection *nc, natsSubscription *sub, natsMsg *msg, void *closure)
{
    (void)nc;
    (void)sub;
    arrive(closure, msg, false);
}

static void on_own(natsConnection *nc, natsSubscription *sub, natsMsg *msg, void *closure)
{
    (void)nc;
    (void)sub;
    arrive(closure, msg, true);
}

static void on_subscription_complete(void *closure)
{
    release(closure);
}

static void on_closed(natsConnection *nc, void *closure)
{
    (void)nc;
    release(closure);
}

/* Under the lock. Whether it is a fence, that is: nobody's error. */
static bool note_fence(hub__nats_link_t *link, const natsSubscription *sub)
{
    if (sub == NULL || sub != link->fence)
        return false;
    link->fenced = true;
    if (link->courier != NULL)
        hub__courier_wake(link->courier);
    return true;
}

/* Of questions to JetStream, which are asked again and again: nats_order.c says it once. */
static bool is_told_elsewhere(natsStatus s, const char *why)
{
    return s == NATS_NOT_PERMITTED && strstr(why, "\"$JS.API.") != NULL;
}

/* What the server refused, while the connection stands; and what the library dropped because its
 * delivery thread is too slow: as nobody else would tell, the connection is given up for it. */
static void on_error(natsConnection *nc, natsSubscription *sub, natsStatus s, void *closure)
{
    hub__nats_link_t *link = closure;
    const char *why = nats_GetLastError(NULL);
    char text[HUB_LOG_FIELD];
    bool fence;

    (void)nc;
    why = why == NULL ? "" : why;
    pthread_mutex_lock(&link->lock);
    fence = note_fence(link, sub);
    if (s == NATS_NOT_PERMITTED && !hub__nats_refusals_note(&link->refusals, why))
        fail(link, "the server refuses more than this node asks for");
    if (s == NATS_NOT_PERMITTED && link->courier != NULL)
        hub__courier_wake(link->courier);
    if (s == NATS_SLOW_CONSUMER && !fence)
        fail(link, "the library dropped messages");
    pthread_mutex_unlock(&link->lock);
    if (!fence && !is_told_elsewhere(s, why))
        hub_log_peer(HUB_LOG_WARN, "bus.refused", "backend=nats what=\"%s\" why=%s",
                     natsStatus_GetText(s), hub_log_escape(hub_str(why), text));
}

static natsStatus on_attach(void **user_data, void *loop, natsConnection *nc, natsSock socket)
{
    hub__nats_link_t *link = loop;

    (void)nc;
    *user_data = link;
    pthread_mutex_lock(&link->lock);
    link->fd = socket;
    pthread_mutex_unlock(&link->lock);
    return NATS_OK;
}

/* It comes before the library closes the socket: from then on nobody may touch the number. */
static natsStatus on_read_wanted(void *user_data, bool add)
{
    hub__nats_link_t *link = user_data;

    if (add)
        return NATS_OK;
    pthread_mutex_lock(&link->lock);
    link->fd = -1;
    pthread_mutex_unlock(&link->lock);
    return NATS_OK;
}

static natsStatus on_write_wanted(void *user_data, bool add)
{
    hub__nats_link_t *link = user_data;

    link->writes = add;
    return NATS_OK;
}

static natsStatus on_detach(void *user_data)
{
    (void)user_data;
    return NATS_OK;
}

/* ---- connecting ---- */

/* Whether the owner has it now. */
static bool hand_over(hub__nats_link_t *link, natsStatus s)
{
    const char *why = nats_GetLastError(NULL);
    bool wanted;

    pthread_mutex_lock(&link->lock);
    wanted = link->courier != NULL;
    if (s != NATS_OK) {
        char reason[sizeof(link->reason)];

        snprintf(reason, sizeof(reason), "%s: %s", natsStatus_GetText(s), why == NULL ? "" : why);
        fail(link, reason);
    } else if (wanted) {
        link->state = HUB__NATS_CONNECTED;
        hub__courier_wake(link->courier);
    }
    pthread_mutex_unlock(&link->lock);
    return wanted;
}

static void *run_connect(void *arg)
{
    hub__nats_link_t *link = arg;
    natsConnection *nc = NULL;
    natsStatus s;
    bool wanted;

    retain(link); /* for on_closed(), where there is a connection to be closed */
    s = natsConnection_Connect(&nc, link->options);
    if (s == NATS_OK)
        link->nc = nc;
    else
        release(link);
    wanted = hand_over(link, s);
    if (!wanted)
        natsConnection_Destroy(nc);
    release(link);
    if (!wanted)
        atomic_fetch_sub(&left_behind, 1);
    return NULL;
}

static natsStatus set_callbacks(hub__nats_link_t *link)
{
    natsStatus s = natsOptions_SetEventLoop(link->options, link, on_attach, on_read_wanted,
                                            on_write_wanted, on_detach);

    if (s == NATS_OK)
        s = natsOptions_SetErrorHandler(link->options, on_error, link);
    return s == NATS_OK ? natsOptions_SetClosedCB(link->options, on_closed, link) : s;
}

static hub_status_t start_thread(hub__nats_link_t *link, hub_error_t *error)
{
    pthread_t thread;

    retain(link);
    if (pthread_create(&thread, NULL, run_connect, link) != 0) {
        release(link);
        return hub_error_set(error, HUB_ESYSTEM, 0, "no thread to connect with");
    }
    pthread_detach(thread);
    return HUB_OK;
}

static void on_exit_begun(void)
{
    atomic_store(&exiting, true);
}

static void watch_exit(void)
{
    atexit(on_exit_begun);
}

hub__nats_link_t *hub__nats_link_start(const hub__nats_settings_t *settings,
                                       hub__courier_t *courier, hub_error_t *error)
{
    hub__nats_link_t *link;
    natsOptions *options;

    if (atomic_load(&left_behind) >= LEFT_BEHIND_MAX) {
        hub_error_set(error, HUB_ELIMIT, 0, "%d attempts hang", LEFT_BEHIND_MAX);
        return NULL;
    }
    if (hub__nats_settings_options(settings, &options, error) != HUB_OK)
        return NULL;
    pthread_once(&exit_once, watch_exit); /* OpenSSL's own was registered before, so runs after */
    link = hub__alloc_zeroed(sizeof(*link));
    link->refs = 1;
    pthread_mutex_init(&link->lock, NULL);
    hub__courier_condition_init(&link->changed);
    link->options = options;
    link->courier = courier;
    link->last = &link->first;
    link->fd = -1;
    if (set_callbacks(link) == NATS_OK && start_thread(link, error) == HUB_OK)
        return link;
    release(link);
    return NULL;
}

hub__nats_state_t hub__nats_link_state(hub__nats_link_t *link)
{
    hub__nats_state_t state;

    pthread_mutex_lock(&link->lock);
    state = link->state;
    pthread_mutex_unlock(&link->lock);
    return state;
}

const char *hub__nats_link_reason(hub__nats_link_t *link)
{
    return hub__nats_link_state(link) == HUB__NATS_FAILED ? link->reason : "no answer in time";
}

void hub__nats_link_break(hub__nats_link_t *link)
{
    pthread_mutex_lock(&link->lock);
    if (link->fd >= 0)
        shutdown(link->fd, SHUT_RDWR);
    pthread_mutex_unlock(&link->lock);
}

/* natsConnection_Close() waits half a second for an answer to what is not sent yet. Where the
 * library finds out by itself that the connection is gone, it does not. */
static void close_now(hub__nats_link_t *link)
{
    hub__nats_link_break(link);
    for (int i = 0; i < DRAIN_READS && !natsConnection_IsClosed(link->nc); i++)
        natsConnection_ProcessReadEvent(link->nc);
    natsConnection_Destroy(link->nc);
}

/* Most attempts end soon by themselves, and so does what the library has to do behind a
 * connection's end: better than to have it happen while the process exits. */
static void await_others(hub__nats_link_t *link)
{
    struct timespec until = hub__courier_deadline(END_WAIT_MS);
    bool waits = true;

    pthread_mutex_lock(&link->lock);
    while (link->refs > 1 && waits)
        waits = pthread_cond_timedwait(&link->changed, &link->lock, &until) == 0;
    pthread_mutex_unlock(&link->lock);
}

void hub__nats_link_drop(hub__nats_link_t *link, bool wait)
{
    bool connecting;

    pthread_mutex_lock(&link->lock);
    connecting = link->state == HUB__NATS_CONNECTING;
    link->courier = NULL;
    if (connecting)
        atomic_fetch_add(&left_behind, 1);
    pthread_mutex_unlock(&link->lock);
    if (!connecting && link->nc != NULL)
        close_now(link);
    natsSubscription_Destroy(link->fence);
    if (wait)
        await_others(link);
    release(link);
}

/* ---- while connected ---- */

natsConnection *hub__nats_link_connection(hub__nats_link_t *link)
{
    return link->nc;
}

int hub__nats_link_poll(hub__nats_link_t *link, short *ret_events)
{
    bool reads;
    int fd;

    pthread_mutex_lock(&link->lock);
    fd = link->fd;
    reads = link->waiting < READ_WAITING && link->waiting_bytes < READ_WAITING_BYTES;
    pthread_mutex_unlock(&link->lock);
    *ret_events = (short)((reads ? POLLIN : 0) | (link->writes ? POLLOUT : 0));
    return fd;
}

/* The library says why it closed the connection, or nothing: then the server did. */
static void note_end(hub__nats_link_t *link)
{
    const char *text = NULL;
    natsStatus s = natsConnection_GetLastError(link->nc, &text);
    char reason[sizeof(link->reason)];

    snprintf(reason, sizeof(reason), "%s: %s", natsStatus_GetText(s), text == NULL ? "" : text);
    pthread_mutex_lock(&link->lock);
    fail(link, reason);
    pthread_mutex_unlock(&link->lock);
}

void hub__nats_link_io(hub__nats_link_t *link, int revents)
{
    if (revents & (POLLIN | POLLHUP | POLLERR))
        natsConnection_ProcessReadEvent(link->nc);
    if (revents & POLLOUT)
        natsConnection_ProcessWriteEvent(link->nc);
    if (natsConnection_IsClosed(link->nc))
        note_end(link);
}

bool hub__nats_link_writes(const hub__nats_link_t *link)
{
    return link->writes;
}

natsStatus hub__nats_link_subscribe(hub__nats_link_t *link, const char *subject, bool own,
                                    natsSubscription **ret_sub)
{
    natsSubscription *sub = NULL;
    natsStatus s =
        natsConnection_Subscribe(&sub, link->nc, subject, own ? on_own : on_message, link);

    if (s != NATS_OK)
        return s;
    retain(link);
    s = natsSubscription_SetOnCompleteCB(sub, on_subscription_complete, link);
    if (s == NATS_OK) {
        *ret_sub = sub;
        return NATS_OK;
    }
    release(link); /* the connection is closed, the delivery thread knows it */
    natsSubscription_Destroy(sub);
    return s;
}

hub__nats_arrival_t *hub__nats_link_take(hub__nats_link_t *link)
{
    hub__nats_arrival_t *arrival;

    pthread_mutex_lock(&link->lock);
    arrival = link->first;
    if (arrival != NULL) {
        link->first = arrival->next;
        if (link->first == NULL)
            link->last = &link->first;
        link->waiting--;
        link->waiting_bytes -= (size_t)natsMsg_GetDataLength(arrival->msg);
    }
    pthread_mutex_unlock(&link->lock);
    return arrival;
}

void hub__nats_arrival_free(hub__nats_arrival_t *arrival)
{
    natsMsg_Destroy(arrival->msg);
    free(arrival);
}

bool hub__nats_link_is_suspect(hub__nats_link_t *link)
{
    const char *text;

    return natsConnection_GetLastError(link->nc, &text) == NATS_NOT_PERMITTED;
}

/* It takes one message: those of the last time go. The first answer is that one was lost. */
static void empty_fence(natsSubscription *sub)
{
    natsMsg *msg = NULL;

    for (int i = 0; i < 2 && msg == NULL; i++)
        natsSubscription_NextMsg(&msg, sub, 1);
    natsMsg_Destroy(msg);
}

static natsStatus prepare_fence(hub__nats_link_t *link, const char *subject)
{
    natsSubscription *sub = link->fence;
    natsStatus s;

    if (sub != NULL) {
        empty_fence(sub);
        return NATS_OK;
    }
    s = natsConnection_SubscribeSync(&sub, link->nc, subject);
    if (s == NATS_OK)
        s = natsSubscription_SetPendingLimits(sub, 1, 1024);
    pthread_mutex_lock(&link->lock);
    link->fence = sub;
    pthread_mutex_unlock(&link->lock);
    return s;
}

/* The library's thread for errors does them in order. The one error that can be had at will is a
 * message too many for a subscription that takes one. */
natsStatus hub__nats_link_fence(hub__nats_link_t *link, const char *subject)
{
    natsStatus s = prepare_fence(link, subject);

    for (int i = 0; i < 2 && s == NATS_OK; i++)
        s = natsConnection_Publish(link->nc, subject, NULL, 0);
    return s;
}

bool hub__nats_link_take_fence(hub__nats_link_t *link)
{
    bool fenced;

    pthread_mutex_lock(&link->lock);
    fenced = link->fenced;
    link->fenced = false;
    pthread_mutex_unlock(&link->lock);
    return fenced;
}

bool hub__nats_link_take_refusal(hub__nats_link_t *link, const char *subject, bool publish)
{
    bool taken;

    pthread_mutex_lock(&link->lock);
    taken = hub__nats_refusals_take(&link->refusals, subject, publish);
    pthread_mutex_unlock(&link->lock);
    return taken;
}

void hub__nats_link_clear_refusals(hub__nats_link_t *link)
{
    pthread_mutex_lock(&link->lock);
    hub__nats_refusals_clear(&link->refusals);
    pthread_mutex_unlock(&link->lock);
}
