/* SPDX-License-Identifier: MIT */
/* The door: accepting with a pause where descriptors run out, limits per address, and a watch on
 * the monotonic clock over everyone who came in and has not become a websocket: h2o's own timeouts
 * follow the wall clock, and it sets no bound to their number, nor to the time an answer takes. */
#define _GNU_SOURCE 1 /* accept4 */
#include "hub/reception.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCEPTS_PER_TURN 64
#define REARM_MS 100
#define REFUSALS_PER_PAUSE 64
#define PAUSE_LOG_MS 1000
#define GRACE_MS 1000  /* for an answer, behind the time there was for what it waited for */
#define STALL_LOOKS 60 /* at a peer that gets an answer, within write_stall_ms */
#define LOOK_MS_MIN 5

struct hub__visitor {
    hub__visitor_t *next, **prev;
    hub__reception_t *reception;
    h2o_socket_t *socket;
    hub__timer_t timer;
    /* of TLS; NULL: plain. Retained: h2o makes its SSL object when the first byte comes */
    SSL_CTX *context;
    hub__tls_chatter_t chatter;
    unsigned char alert;       /* a fatal one that OpenSSL made; 0: none */
    bool answered;             /* the server's hello is out: alerts are encrypted */
    bool greeted;              /* the handshake is done */
    bool judged;               /* why it failed is known, and was logged */
    bool ended;                /* the peer has said its last: h2o would keep all that follows */
    hub__resident_t *resident; /* NULL: its address is not counted, or not known yet */
    hub__stall_t stall;        /* while `writing` */
    uint64_t idle_until_ms;    /* while `asked`: by then it gets an answer, or asks again */
    uint64_t looked_ms;        /* when it was last known not to be `writing` */
    bool asked;                /* it has sent a request; what comes of that is looked at often */
    bool writing;              /* at the last look */
    bool held;                 /* some request of it was to be answered later */
    bool
        counted; /* not while its poll waits, nor once it was shown out and h2o has yet to notice */
};

/* ---- visitors ---- */

static void visitor_uncount(hub__visitor_t *visitor)
{
    hub__reception_t *reception = visitor->reception;

    if (!visitor->counted)
        return;
    visitor->counted = false;
    if ((*visitor->prev = visitor->next) != NULL)
        visitor->next->prev = visitor->prev;
    else
        reception->last = visitor->prev;
    --reception->count;
    HUB__STAT_SUB(&reception->worker->stats, pre_upgrade, 1);
}

static void visitor_destroy(hub__visitor_t *visitor)
{
    visitor_uncount(visitor);
    if (visitor->context != NULL && !visitor->greeted)
        HUB__STAT(&visitor->reception->worker->stats, tls_handshakes_failed_total);
    SSL_CTX_free(visitor->context);
    hub__census_leave(visitor->resident);
    --visitor->reception->present;
    hub__timer_disarm(visitor->reception->worker->wheel, &visitor->timer);
    free(visitor);
}

static void on_visitor_closed(void *data)
{
    visitor_destroy(data);
}

static void tell(const hub__visitor_t *visitor, const char *event, const char *why)
{
    char text[80];
    hub_str_t peer = hub__peer_text(visitor->socket, text, sizeof(text));

    hub__source_is_socket(visitor->socket);
    hub_log_peer(HUB_LOG_WARN, event, "why=\"%s\" peer=%.*s", why, HUB_STR_ARG(peer));
    hub__source_set(NULL, NULL);
}

/* Who hangs up before there was a handshake is not logged: each look whether the port is open would
 * be a line. */
static void judge(hub__visitor_t *visitor, const char *why)
{
    if (visitor->context == NULL || visitor->greeted || visitor->judged)
        return;
    visitor->judged = true;
    tell(visitor, "tls.handshake_failed", why);
}

/* h2o owns the socket: it sees the end and closes it. While a request waits for its answer it does
 * not look, so that has to come. */
static void show_out(hub__visitor_t *visitor, const char *why)
{
    judge(visitor, why);
    visitor_uncount(visitor);
    (void)shutdown(h2o_socket_get_fd(visitor->socket), SHUT_RDWR);
    if (visitor->held)
        hub__endpoint_hurry(visitor->reception->worker, visitor->socket);
}

/* With a reset: else the kernel would go on offering the peer what it does not take. */
static void cut_short(hub__visitor_t *visitor)
{
    hub__worker_t *worker = visitor->reception->worker;
    struct linger none = {.l_onoff = 1, .l_linger = 0};
    int fd = h2o_socket_get_fd(visitor->socket);
    char peer[80];
    hub_str_t text = hub__peer_text(visitor->socket, peer, sizeof(peer));

    HUB__STAT(&worker->stats, write_stalls_total);
    hub__source_is_socket(visitor->socket);
    hub_log_peer(HUB_LOG_WARN, "server.write_stalled", "peer=%.*s limit=write_stall_ms",
                 HUB_STR_ARG(text));
    hub__source_set(NULL, NULL);
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
    show_out(visitor, "write stall");
}

/* Whether it has had its time, be it for taking an answer or for asking again. */
static bool is_overdue(hub__visitor_t *visitor, uint64_t now_ms)
{
    const hub__reception_t *reception = visitor->reception;
    bool was_writing = visitor->writing;
    uint64_t taken;

    visitor->writing = h2o_socket_is_writing(visitor->socket);
    if (!visitor->writing) {
        visitor->looked_ms = now_ms;
        return now_ms >= visitor->idle_until_ms;
    }
    visitor->idle_until_ms = now_ms + reception->request_ms;
    taken = hub__stall_taken(h2o_socket_get_fd(visitor->socket));
    if (was_writing)
        return hub__stall_is_over(&visitor->stall, taken, now_ms, reception->stall_ms);
    hub__stall_begin(&visitor->stall, taken, visitor->looked_ms, reception->stall_ms);
    return false;
}

/* Who has asked before may well have nothing more to ask. */
static void time_out(hub__visitor_t *visitor)
{
    char peer[80];
    hub_str_t text = hub__peer_text(visitor->socket, peer, sizeof(peer));

    HUB__STAT(&visitor->reception->worker->stats, request_timeouts_total);
    hub__source_is_socket(visitor->socket);
    if (!visitor->asked && (visitor->context == NULL || visitor->greeted))
        hub_log_peer(HUB_LOG_INFO, "server.request_timeout", "peer=%.*s limit=request_ms",
                     HUB_STR_ARG(text));
    hub__source_set(NULL, NULL);
    show_out(visitor, "deadline");
}

static void on_visitor_due(hub__timer_t *timer, uint64_t now_ms)
{
    hub__visitor_t *visitor = HUB__CONTAINER(timer, hub__visitor_t, timer);
    hub__reception_t *reception = visitor->reception;

    if (visitor->asked && !is_overdue(visitor, now_ms))
        hub__timer_arm(reception->worker->wheel, timer, now_ms + reception->look_ms);
    else if (visitor->asked && visitor->writing)
        cut_short(visitor);
    else if (visitor->ended && !visitor->asked)
        show_out(visitor, "close_notify");
    else
        time_out(visitor);
}

/* Who was here longest makes room. */
static void visitor_count(hub__visitor_t *visitor)
{
    hub__reception_t *reception = visitor->reception;

    if (reception->count >= reception->limit) {
        HUB__STAT(&reception->worker->stats, pre_upgrade_shed_total);
        show_out(reception->first, "too many visitors");
    }
    visitor->next = NULL;
    visitor->prev = reception->last;
    *reception->last = visitor;
    reception->last = &visitor->next;
    visitor->counted = true;
    ++reception->count;
    HUB__STAT(&reception->worker->stats, pre_upgrade);
}

/* An answer for somebody who gets nothing else, neither memory nor a place among the visitors, nor
 * a TLS handshake: to a client of that it is no answer, only an end. */
static void say_no(int fd, bool is_tls, const char *status)
{
    char text[160], request[4096];
    int len = snprintf(text, sizeof(text),
                       "HTTP/1.1 %s\r\nRetry-After: %s\r\nContent-Length: 0\r\n"
                       "Connection: close\r\n\r\n",
                       status, hub__retry_after());

    if (is_tls)
        return;
    (void)send(fd, text, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)shutdown(fd, SHUT_WR);
    /* unread, it would make a reset of the end, which may overtake the answer */
    (void)recv(fd, request, sizeof(request), MSG_DONTWAIT);
}

/* ---- limits per address ---- */

/* With the mark of a port, as others who are asked. */
static hub_str_t ask_address(const void *who, char text[HUB__SOURCE_TEXT])
{
    char address[HUB__ADDRESS_TEXT];
    bool is_v6;

    (void)hub__address_format(who, address);
    is_v6 = strchr(address, ':') != NULL;
    return hub_str_n(text,
                     (size_t)snprintf(text, HUB__SOURCE_TEXT, is_v6 ? "[%s]:" : "%s:", address));
}

static void note_refused(hub__worker_t *worker, hub__admission_t admission,
                         const hub__address_t *address)
{
    char text[HUB__ADDRESS_TEXT];
    const char *limit = "conns_per_ip";

    if (admission == HUB__TOO_MANY) {
        HUB__STAT(&worker->stats, conns_per_ip_refused_total);
    } else {
        HUB__STAT(&worker->stats, connects_per_ip_refused_total);
        limit = "connects_per_ip_per_s";
    }
    hub__source_set(ask_address, address);
    hub_log_peer(HUB_LOG_WARN, "server.refused", "limit=%s peer=%s", limit,
                 hub__address_format(address, text));
    hub__source_set(NULL, NULL);
}

/* Whoever comes by a proxy of ours, or by a unix socket, is known when their request is. */
static bool may_enter(hub__reception_t *reception, int fd, bool is_tls, const struct sockaddr *peer,
                      hub__resident_t **ret_resident)
{
    hub__worker_t *worker = reception->worker;
    hub__admission_t admission;
    hub__address_t address;

    if (reception->census == NULL || !hub__address_of(peer, &address) ||
        hub__proxies_trust(reception->proxies, &address))
        return true;
    admission = hub__census_enter(reception->census, &address, true, worker->now_ms, ret_resident);
    if (admission == HUB__ADMITTED)
        return true;
    note_refused(worker, admission, &address);
    say_no(fd, is_tls, "429 Too Many Requests");
    return false;
}

bool hub__reception_client(h2o_socket_t *socket, const hub__proxies_t *proxies,
                           const hub__request_head_t *head, hub__address_t *ret_client)
{
    hub__address_t peer;
    bool has_address = hub__address_of_peer(h2o_socket_get_fd(socket), &peer);

    return hub__proxies_client(proxies, has_address ? &peer : NULL, head, ret_client);
}

/* Counts the client of this request, once. */
static bool admit_client(const hub__visitor_t *visitor, const hub__request_head_t *head,
                         hub__resident_t **ret_resident)
{
    hub__reception_t *reception = visitor->reception;
    uint64_t now_ms = reception->worker->now_ms;
    hub__admission_t admission;
    hub__address_t client;

    if (!hub__reception_client(visitor->socket, reception->proxies, head, &client))
        return true;
    admission = hub__census_enter(reception->census, &client, visitor->resident == NULL, now_ms,
                                  ret_resident);
    if (admission != HUB__ADMITTED)
        note_refused(reception->worker, admission, &client);
    return admission == HUB__ADMITTED;
}

bool hub__reception_admit(h2o_socket_t *socket, const hub__request_head_t *head)
{
    hub__visitor_t *visitor = socket->on_close.data;

    if (socket->on_close.cb != on_visitor_closed || visitor->reception->census == NULL ||
        visitor->resident != NULL)
        return true;
    return admit_client(visitor, head, &visitor->resident);
}

bool hub__reception_admit_poll(h2o_socket_t *socket, const hub__request_head_t *head,
                               hub__resident_t **ret_resident)
{
    const hub__visitor_t *visitor = socket->on_close.data;

    if (socket->on_close.cb != on_visitor_closed || visitor->reception->census == NULL)
        return true;
    return admit_client(visitor, head, ret_resident);
}

/* ---- coming and going ---- */

static void welcome(hub__reception_t *reception, int fd, const struct sockaddr *peer,
                    hub__tls_t *tls)
{
    hub__worker_t *worker = reception->worker;
    hub__resident_t *resident = NULL;
    hub__visitor_t *visitor;
    h2o_socket_t *socket;

    if (!may_enter(reception, fd, tls != NULL, peer, &resident) ||
        (visitor = calloc(1, sizeof(*visitor))) == NULL) {
        hub__census_leave(resident);
        close(fd);
        return;
    }
    socket = h2o_evloop_socket_create(worker->loop, fd, H2O_SOCKET_FLAG_IS_ACCEPTED_CONNECTION);
    visitor->resident = resident;
    visitor->reception = reception;
    visitor->socket = socket;
    visitor_count(visitor);
    ++reception->present;
    visitor->timer.on_due = on_visitor_due;
    hub__timer_arm(worker->wheel, &visitor->timer, worker->now_ms + reception->request_ms);
    socket->on_close.cb = on_visitor_closed;
    socket->on_close.data = visitor;
    visitor->context = tls != NULL ? hub__tls_context(tls) : NULL;
    reception->accept.ssl_ctx = visitor->context; /* h2o reads it now, and not again */
    h2o_accept(&reception->accept, socket);
}

static hub__visitor_t *visitor_of(const h2o_socket_t *socket)
{
    return socket->on_close.cb == on_visitor_closed ? socket->on_close.data : NULL;
}

void hub__reception_answered(h2o_socket_t *socket)
{
    hub__visitor_t *visitor = visitor_of(socket);

    if (visitor != NULL)
        visitor->answered = true;
}

void hub__reception_greeted(h2o_socket_t *socket)
{
    hub__visitor_t *visitor = visitor_of(socket);

    if (visitor == NULL || visitor->greeted)
        return;
    visitor->greeted = true;
    HUB__STAT(&visitor->reception->worker->stats, tls_handshakes_total);
}

void hub__reception_alerted(h2o_socket_t *socket, unsigned char description)
{
    hub__visitor_t *visitor = visitor_of(socket);

    if (visitor != NULL)
        visitor->alert = description;
}

/* h2o forgets the alert that OpenSSL made. Without it a client can't say what was wrong. */
static void tell_alert(const hub__visitor_t *visitor)
{
    const char record[] = {21, 3, 3, 0, 2, 2, (char)visitor->alert}; /* RFC 5246 6.2.1, 7.2 */

    if (visitor->alert != 0 && !visitor->answered)
        (void)send(h2o_socket_get_fd(visitor->socket), record, sizeof(record),
                   MSG_NOSIGNAL | MSG_DONTWAIT);
}

void hub__reception_rejected(h2o_socket_t *socket, const char *why)
{
    hub__visitor_t *visitor = visitor_of(socket);

    if (visitor == NULL || visitor->greeted)
        return;
    judge(visitor, why);
    tell_alert(visitor);
}

/* A request that came with it is handled before the timer is, an answer that is on its way goes on.
 */
void hub__reception_ended(h2o_socket_t *socket)
{
    hub__visitor_t *visitor = visitor_of(socket);

    if (visitor == NULL)
        return;
    visitor->ended = true;
    visitor->asked = visitor->asked && h2o_socket_is_writing(socket);
    hub__timer_arm(visitor->reception->worker->wheel, &visitor->timer,
                   visitor->reception->worker->now_ms);
}

bool hub__reception_has_ended(const h2o_socket_t *socket)
{
    const hub__visitor_t *visitor = visitor_of(socket);

    return visitor != NULL && visitor->ended;
}

bool hub__reception_chatters(h2o_socket_t *socket, int is_write, int content_type,
                             const void *bytes, size_t len)
{
    hub__visitor_t *visitor = visitor_of(socket);

    if (visitor == NULL || !visitor->greeted || visitor->ended ||
        !hub__tls_chatters(&visitor->chatter, is_write, content_type, bytes, len,
                           visitor->reception->worker->now_ms))
        return false;
    HUB__STAT(&visitor->reception->worker->stats, tls_chatter_total);
    visitor->ended = true;
    tell(visitor, "tls.chatter", "key updates");
    show_out(visitor, "");
    return true;
}

/* One that pipelines is looked at as before, whatever it asks for meanwhile. Where its end has come
 * h2o goes on with what it has read of it already. */
bool hub__reception_busy(h2o_socket_t *socket)
{
    hub__visitor_t *visitor = socket->on_close.data;
    hub__reception_t *reception;
    uint64_t now_ms;

    if (socket->on_close.cb != on_visitor_closed)
        return true;
    if (!visitor->counted)
        return false;
    reception = visitor->reception;
    now_ms = reception->worker->now_ms;
    visitor->idle_until_ms = now_ms + reception->request_ms;
    if (visitor->asked)
        return true;
    visitor->asked = true;
    visitor->writing = false;
    visitor->looked_ms = now_ms;
    hub__timer_arm(reception->worker->wheel, &visitor->timer, now_ms + reception->look_ms);
    return true;
}

void hub__reception_hold(h2o_socket_t *socket, uint64_t wait_ms)
{
    hub__visitor_t *visitor = visitor_of(socket);

    if (visitor == NULL)
        return;
    visitor->held = true;
    visitor->idle_until_ms = visitor->reception->worker->now_ms + wait_ms + GRACE_MS;
}

void hub__reception_park(h2o_socket_t *socket, uint64_t wait_ms)
{
    hub__visitor_t *visitor = socket->on_close.data;
    hub__worker_t *worker;

    if (socket->on_close.cb != on_visitor_closed)
        return;
    worker = visitor->reception->worker;
    visitor_uncount(visitor);
    visitor->asked = false;
    hub__timer_arm(worker->wheel, &visitor->timer, worker->now_ms + wait_ms + GRACE_MS);
}

/* During a stop it gets its answer and goes. */
void hub__reception_unpark(h2o_socket_t *socket)
{
    hub__visitor_t *visitor = socket->on_close.data;
    hub__worker_t *worker;

    if (socket->on_close.cb != on_visitor_closed)
        return;
    worker = visitor->reception->worker;
    if (worker->stopping) {
        hub__timer_arm(worker->wheel, &visitor->timer, worker->now_ms + GRACE_MS);
        return;
    }
    visitor_count(visitor);
    (void)hub__reception_busy(socket);
}

static void on_resident_leaves(void *resident)
{
    hub__census_leave(resident);
}

/* Its address stays counted until the socket is closed, which costs a connection no memory. */
void hub__reception_release(h2o_socket_t *socket)
{
    hub__visitor_t *visitor = socket->on_close.data;
    hub__resident_t *resident;

    if (socket->on_close.cb != on_visitor_closed)
        return;
    resident = visitor->resident;
    visitor->resident = NULL;
    visitor_destroy(visitor);
    socket->on_close.cb = resident != NULL ? on_resident_leaves : NULL;
    socket->on_close.data = resident;
}

/* ---- accepting ---- */

static void on_acceptable(h2o_socket_t *listener, const char *err);

static int open_spare(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static hub__tls_t *tls_of(const hub__reception_t *reception, const h2o_socket_t *listener)
{
    unsigned i = 0;

    while (reception->sockets[i] != listener)
        ++i;
    return reception->tls[i];
}

/* With the one descriptor that was kept for this. Else they would wait without a word, for as long
 * as nobody goes. Another thread may take it meanwhile: then nobody is told, until the next time.
 */
static void refuse_waiting(hub__reception_t *reception, const h2o_socket_t *listener)
{
    hub_stats_t *stats = &reception->worker->stats;
    int listening = h2o_socket_get_fd((h2o_socket_t *)(uintptr_t)listener), fd;

    if (reception->spare_fd == -1)
        return;
    close(reception->spare_fd);
    for (unsigned i = 0; i != REFUSALS_PER_PAUSE; ++i) {
        if ((fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) == -1)
            break;
        HUB__STAT(stats, accept_refused_total);
        say_no(fd, tls_of(reception, listener) != NULL, "503 Service Unavailable");
        close(fd);
    }
    reception->spare_fd = open_spare();
}

static void pause_accepting(hub__reception_t *reception, const h2o_socket_t *listener)
{
    hub__worker_t *worker = reception->worker;
    int why = errno;

    HUB__STAT(&worker->stats, accept_pauses_total);
    if (worker->now_ms >= reception->pause_logged_ms + PAUSE_LOG_MS) {
        reception->pause_logged_ms = worker->now_ms;
        hub_log_peer(HUB_LOG_WARN, "server.accept_paused",
                     "worker=%u error=\"%s\" pauses=%llu refused=%llu", worker->index,
                     strerror(why), (unsigned long long)worker->stats.accept_pauses_total,
                     (unsigned long long)worker->stats.accept_refused_total);
    }
    if (why == EMFILE || why == ENFILE)
        refuse_waiting(reception, listener);
    for (unsigned i = 0; i != reception->socket_count; ++i)
        h2o_socket_read_stop(reception->sockets[i]);
    hub__timer_arm(worker->wheel, &reception->rearm, worker->now_ms + REARM_MS);
}

static void on_rearm(hub__timer_t *timer, uint64_t now_ms)
{
    hub__reception_t *reception = HUB__CONTAINER(timer, hub__reception_t, rearm);

    (void)now_ms;
    if (reception->spare_fd == -1)
        reception->spare_fd = open_spare();
    for (unsigned i = 0; i != reception->socket_count; ++i)
        h2o_socket_read_start(reception->sockets[i], on_acceptable);
}

/* h2o's own accept does not tell who it is, and a socket that was reset meanwhile can't be asked.
 */
static int accept_one(h2o_socket_t *listener, struct sockaddr_storage *ret_peer)
{
    socklen_t len = sizeof(*ret_peer);
    int on = 1, fd;

    ret_peer->ss_family = AF_UNSPEC;
    do
        fd = accept4(h2o_socket_get_fd(listener), (struct sockaddr *)ret_peer, &len,
                     SOCK_NONBLOCK | SOCK_CLOEXEC);
    while (fd == -1 && (errno == EINTR || errno == ECONNABORTED));
    if (fd != -1) /* an inherited listener may not pass it on */
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}

static void on_acceptable(h2o_socket_t *listener, const char *err)
{
    hub__reception_t *reception = listener->data;
    hub__tls_t *tls = tls_of(reception, listener);

    (void)err;
    hub__worker_enter(reception->worker);
    for (unsigned i = 0; i != ACCEPTS_PER_TURN; ++i) {
        struct sockaddr_storage peer;
        int fd = accept_one(listener, &peer);

        if (fd == -1) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
                pause_accepting(reception, listener);
            break;
        }
        welcome(reception, fd, (struct sockaddr *)&peer, tls);
    }
    hub__worker_leave(reception->worker);
}

hub__reception_t *hub__reception_create(hub__worker_t *worker, h2o_globalconf_t *config,
                                        const hub_server_limits_t *limits, unsigned visitors,
                                        hub__census_t *census, const hub__proxies_t *proxies)
{
    hub__reception_t *reception = hub__alloc_zeroed(sizeof(*reception));

    reception->worker = worker;
    reception->accept = (h2o_accept_ctx_t){.ctx = worker->context, .hosts = config->hosts};
    reception->last = &reception->first;
    reception->limit = visitors;
    reception->census = census;
    reception->proxies = proxies;
    reception->request_ms = limits->request_ms;
    reception->stall_ms = limits->write_stall_ms;
    reception->look_ms = limits->write_stall_ms / STALL_LOOKS;
    if (reception->look_ms < LOOK_MS_MIN)
        reception->look_ms = LOOK_MS_MIN;
    reception->rearm.on_due = on_rearm;
    reception->spare_fd = open_spare();
    return reception;
}

void hub__reception_add(hub__reception_t *reception, int fd, hub__tls_t *tls)
{
    h2o_socket_t *socket =
        h2o_evloop_socket_create(reception->worker->loop, fd, H2O_SOCKET_FLAG_DONT_READ);

    socket->data = reception;
    reception->sockets = hub__realloc(reception->sockets,
                                      (reception->socket_count + 1) * sizeof(*reception->sockets));
    reception->tls =
        hub__realloc(reception->tls, (reception->socket_count + 1) * sizeof(*reception->tls));
    reception->tls[reception->socket_count] = tls;
    reception->sockets[reception->socket_count++] = socket;
    h2o_socket_read_start(socket, on_acceptable);
}

void hub__reception_close(hub__reception_t *reception)
{
    hub__timer_disarm(reception->worker->wheel, &reception->rearm);
    for (unsigned i = 0; i != reception->socket_count; ++i)
        h2o_socket_close(reception->sockets[i]);
    reception->socket_count = 0;
    while (reception->first != NULL)
        show_out(reception->first, "the server stops");
}

void hub__reception_destroy(hub__reception_t *reception)
{
    if (reception->spare_fd != -1)
        close(reception->spare_fd);
    free(reception->sockets);
    free(reception->tls);
    free(reception);
}
