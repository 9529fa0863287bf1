/* SPDX-License-Identifier: MIT */
/* HTTP requests of long-poll clients. The kernel spreads them over the workers as it likes, their
 * connections stay where they are: so h2o's part of a request is parked on the worker that got it,
 * and what is asked travels as bytes to the worker that the token names, and back. Where both are
 * one it goes the same way, but for the mailbox. */
#define _GNU_SOURCE 1 /* POLLRDHUP */
#include <errno.h>
#include <poll.h>
#include <sodium.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "hub/endpoint.h"
#include "hub/internal.h"
#include "hub/reception.h"

#define LOOK_AGAIN_MS 200 /* whether a client has gone behind what it sent too early */
#define REQUEST_MS 10000  /* within the program's own h2o server, which has limits of its own */

/* A request whose answer is still to come. */
typedef struct hub__parked {
    hub__table_node_t node;
    uint64_t serial;
    hub__seat_t *seat;
    h2o_req_t *req;
    struct hub__parked **guard; /* h2o clears it together with its request */
    h2o_socket_t *watched;      /* for its end; NULL: no more */
    void *watched_data;         /* h2o's */
    hub__timer_t timer;
    uint64_t due_ms; /* its deadline, also while the timer looks for the client's end before */
    uint64_t local;
    bool polls;
    bool stirred; /* bytes wait behind the request, and its end may come behind them */
    char token[HUB__TICKET_TEXT + 1];
} hub__parked_t;

/* ---- answering ---- */

static void add_header(h2o_req_t *req, const char *name, hub_str_t value)
{
    h2o_iovec_t copy = h2o_strdup(&req->pool, value.base, value.len);

    h2o_add_header_by_str(&req->pool, &req->res.headers, name, strlen(name), 1, NULL, copy.base,
                          copy.len);
}

/* In full seconds, for those who have no close frame to say more. */
static hub_str_t restart_after(size_t within_ms, char seconds[8])
{
    unsigned ms = randombytes_uniform((uint32_t)within_ms);
    int len = snprintf(seconds, 8, "%u", (ms + 999) / 1000);

    return hub_str_n(seconds, (size_t)len);
}

static void respond(hub__worker_t *worker, h2o_req_t *req, int http_status, hub_str_t body)
{
    char seconds[8];

    req->res.status = http_status;
    req->res.reason = http_status == 200   ? "OK"
                      : http_status == 429 ? "Too Many Requests"
                      : http_status == 503 ? "Service Unavailable"
                                           : "Bad Request";
    req->res.content_length = body.len;
    if (http_status != 200 || worker->stopping)
        req->http1_is_persistent = 0;
    add_header(req, "access-control-allow-origin", HUB_STR("*"));
    if (http_status == 429 || http_status == 503)
        add_header(req, "retry-after", hub_str(hub__retry_after()));
    else if (worker->stopping && hub__worker_retry_ms(worker) != HUB_OFF)
        add_header(req, "retry-after", restart_after(hub__worker_retry_ms(worker), seconds));
    if (body.len != 0) {
        add_header(req, "content-type", HUB_STR("application/json"));
        add_header(req, "cache-control", HUB_STR("no-store"));
    }
    worker->answered = true;
    h2o_send_inline(req, body.base != NULL ? body.base : "", body.len);
}

static void respond_status(hub__worker_t *worker, h2o_req_t *req, unsigned status)
{
    char text[32];
    int len = snprintf(text, sizeof(text), "{\"status\":%u}", status);

    respond(worker, req, 200, hub_str_n(text, (size_t)len));
}

static void respond_poll(hub__worker_t *worker, h2o_req_t *req, unsigned status, hub_str_t messages,
                         const char *token)
{
    hub__buffer_t body = {0};

    HUB__APPEND_LITERAL(&body, "{\"messages\":[");
    hub__buffer_append(&body, messages);
    hub__buffer_printf(&body, "],\"status\":%u,\"token\":\"%s\"}", status, token);
    respond(worker, req, 200, hub__buffer_str(&body));
    hub__buffer_dispose(&body);
}

void hub__exchange_welcome(h2o_req_t *req, const hub_conn_t *conn)
{
    char token[HUB__TICKET_TEXT + 1];

    hub__ticket_seal(hub__conn_seat(conn)->endpoint->ticket_key, hub_conn_id(conn), token);
    respond_poll(hub__conn_worker(conn), req, 410, (hub_str_t){0}, token);
}

void hub__exchange_refuse_plainly(hub__seat_t *seat, h2o_req_t *req, int http_status)
{
    HUB__STAT(&seat->worker->stats, longpoll_refused_total);
    respond(seat->worker, req, http_status, (hub_str_t){0});
}

static void refuse_status(hub__seat_t *seat, h2o_req_t *req, unsigned status)
{
    HUB__STAT(&seat->worker->stats, longpoll_refused_total);
    respond_status(seat->worker, req, status);
}

/* phoenix.js knows 403, which ends it, and 500 or an answer without JSON, after which it tries
 * again. */
void hub__exchange_refuse(hub__seat_t *seat, h2o_req_t *req, int status)
{
    if (status == 503)
        hub__exchange_refuse_plainly(seat, req, status);
    else
        refuse_status(seat, req, status < 500 ? 403 : 500);
}

/* ---- parking ---- */

/* h2o gets its socket back as it was. */
static void unwatch(hub__parked_t *parked)
{
    if (parked->watched == NULL)
        return;
    h2o_socket_read_stop(parked->watched);
    h2o_socket_dont_read(parked->watched, 0);
    parked->watched->data = parked->watched_data;
    hub__reception_unpark(parked->watched);
    parked->watched = NULL;
}

/* Ends the parking; the caller answers. */
static h2o_req_t *unpark(hub__parked_t *parked)
{
    hub__worker_t *worker = parked->seat->worker;
    h2o_req_t *req = parked->req;

    unwatch(parked);
    if (parked->guard != NULL)
        *parked->guard = NULL;
    hub__table_remove(&worker->parked, &parked->node);
    hub__timer_disarm(worker->wheel, &parked->timer);
    free(parked);
    return req;
}

/* ---- there and back ---- */

void hub__exchange_destroy(hub__exchange_t *exchange)
{
    hub__buffer_dispose(&exchange->messages);
    hub__peer_free(exchange);
}

static hub__parked_t *find_parked(hub__worker_t *worker, uint64_t serial)
{
    uint64_t hash = hub__hash_mix(serial, worker->index);

    for (hub__table_node_t *node = hub__table_chain(&worker->parked, hash); node != NULL;
         node = node->next) {
        hub__parked_t *parked = HUB__CONTAINER(node, hub__parked_t, node);

        if (parked->serial == serial)
            return parked;
    }
    return NULL;
}

/* A poll without a connection asks for one. */
static void answer(hub__parked_t *parked, unsigned status, hub_str_t messages)
{
    hub__seat_t *seat = parked->seat;
    bool polls = parked->polls;
    char token[HUB__TICKET_TEXT + 1];
    h2o_req_t *req;

    memcpy(token, parked->token, sizeof(token));
    req = unpark(parked);
    if (!polls)
        respond_status(seat->worker, req, status != HUB__EXCHANGE_UNKNOWN ? status : 410);
    else if (status != HUB__EXCHANGE_UNKNOWN)
        respond_poll(seat->worker, req, status, messages, token);
    else
        hub__endpoint_connect(seat, req);
}

static void run_at_origin(hub_task_t *task)
{
    hub__exchange_t *exchange = HUB__CONTAINER(task, hub__exchange_t, task);
    hub__parked_t *parked = find_parked(exchange->from, exchange->serial);

    if (parked != NULL)
        answer(parked, exchange->status, hub__buffer_str(&exchange->messages));
    hub__exchange_destroy(exchange);
}

static void discard_at_origin(hub_task_t *task)
{
    hub__exchange_destroy(HUB__CONTAINER(task, hub__exchange_t, task));
}

void hub__exchange_return(hub__exchange_t *exchange)
{
    hub_executor_t *from = &exchange->from->executor;

    exchange->task = (hub_task_t){.run = run_at_origin, .discard = discard_at_origin};
    if (exchange->home == exchange->from)
        run_at_origin(&exchange->task);
    else if (from->post(from, &exchange->task, true) != HUB_OK)
        hub__exchange_destroy(exchange);
}

static void return_unknown(hub__exchange_t *exchange)
{
    exchange->status = HUB__EXCHANGE_UNKNOWN;
    if (exchange->kind == HUB__EXCHANGE_CANCEL)
        hub__exchange_destroy(exchange);
    else
        hub__exchange_return(exchange);
}

/* A token is good for the endpoint that gave it; on loops of the program's own each has one of its
 * own for the same path. */
static bool is_meant(const hub_conn_t *conn, const hub__exchange_t *exchange)
{
    const hub__seat_t *seat = hub__conn_seat(conn);

    return conn->is_longpoll && seat->endpoint->hub == exchange->root &&
           (seat->endpoint == exchange->endpoint || seat->worker->mounted);
}

static void run_at_home(hub_task_t *task)
{
    hub__exchange_t *exchange = HUB__CONTAINER(task, hub__exchange_t, task);
    hub_conn_t *conn = hub__worker_conn(exchange->home, exchange->local);

    if (conn != NULL && is_meant(conn, exchange))
        hub__longpoll_serve(conn, exchange);
    else
        return_unknown(exchange);
}

static void discard_at_home(hub_task_t *task)
{
    return_unknown(HUB__CONTAINER(task, hub__exchange_t, task));
}

static hub__worker_t *find_home(hub__worker_t *from, hub_t *root, uint64_t local)
{
    uint64_t index = (local >> 54) - 1;
    hub__worker_t *home;

    if (index == from->index)
        return from;
    pthread_mutex_lock(&root->lock);
    home = index < HUB__WORKERS_MAX ? root->workers[index] : NULL;
    pthread_mutex_unlock(&root->lock);
    return home; /* its memory stays as long as the hub's */
}

/* Only what brings bytes along is subject to the bound of a mailbox: of the others there is at most
 * one for each HTTP connection. What is at home already waits behind the mail all the same: its
 * client may know from another worker that a poll is over, and the word of that lies there. */
static void send_exchange(hub__exchange_t *exchange)
{
    hub__worker_t *from = exchange->from;
    hub__worker_t *home = find_home(from, exchange->root, exchange->local);
    bool urgent = exchange->kind != HUB__EXCHANGE_SEND;
    hub_status_t err = HUB_ECLOSED;

    exchange->home = home;
    exchange->task = (hub_task_t){.run = run_at_home, .discard = discard_at_home};
    if (home == from && !hub__worker_has_mail(home)) {
        run_at_home(&exchange->task);
        return;
    }
    if (home != NULL &&
        (err = home->executor.post(&home->executor, &exchange->task, urgent)) == HUB_OK)
        return;
    exchange->home = from;
    if (err != HUB_ELIMIT) {
        return_unknown(exchange);
        return;
    }
    exchange->status = 503;
    hub__exchange_return(exchange);
}

/* The connection is told that this poll waits no more. */
static void cancel(const hub__parked_t *parked)
{
    hub__exchange_t *exchange = hub__peer_alloc_zeroed(sizeof(*exchange));

    if (exchange == NULL)
        return; /* it will find out that nobody polls */
    exchange->kind = HUB__EXCHANGE_CANCEL;
    exchange->from = parked->seat->worker;
    exchange->root = parked->seat->endpoint->hub;
    exchange->endpoint = parked->seat->endpoint;
    exchange->serial = parked->serial;
    exchange->local = parked->local;
    send_exchange(exchange);
}

/* ---- while it is parked ---- */

static void on_request_gone(void *slot)
{
    hub__parked_t *parked = *(hub__parked_t **)slot;

    if (parked == NULL)
        return;
    if (parked->polls)
        cancel(parked);
    (void)unpark(parked);
}

/* h2o closes what it can't write to. */
static void on_client_gone(hub__parked_t *parked)
{
    parked->req->http1_is_persistent = 0;
    cancel(parked);
    answer(parked, 204, (hub_str_t){0});
}

/* Bytes that wait hide the end behind them: those of a request that came too early, or, with TLS, a
 * close_notify. */
static bool has_ended(const hub__parked_t *parked)
{
    struct pollfd end = {.fd = h2o_socket_get_fd(parked->watched), .events = POLLRDHUP};

    return poll(&end, 1, 0) == 1;
}

static void look_again(hub__parked_t *parked)
{
    hub__worker_t *worker = parked->seat->worker;
    uint64_t at = worker->now_ms + LOOK_AGAIN_MS;

    hub__timer_arm(worker->wheel, &parked->timer, at < parked->due_ms ? at : parked->due_ms);
}

/* Something can be read: the end, or a request that came too early and has to wait. The bytes stay
 * where they are: those of the request at hand lie in h2o's buffer, which must not move. */
static void on_client_stirs(h2o_socket_t *socket, const char *err)
{
    hub__parked_t *parked = socket->data;
    hub__worker_t *worker = parked->seat->worker;
    ssize_t got;
    char byte;

    (void)err;
    hub__worker_enter(worker);
    got = recv(h2o_socket_get_fd(socket), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (got > 0 && !has_ended(parked)) {
        h2o_socket_read_stop(socket);
        parked->stirred = true;
        look_again(parked);
    } else if (got >= 0 || (errno != EAGAIN && errno != EINTR)) {
        on_client_gone(parked);
    }
    hub__worker_leave(worker);
}

static void watch(hub__parked_t *parked, uint64_t wait_ms)
{
    h2o_socket_t *socket = parked->req->conn->callbacks->get_socket(parked->req->conn);

    hub__reception_park(socket, wait_ms);
    parked->watched = socket;
    parked->watched_data = socket->data;
    socket->data = parked;
    h2o_socket_dont_read(socket, 1);
    h2o_socket_read_start(socket, on_client_stirs);
}

/* The worker of its connection is busy, or gone. */
static void on_deadline(hub__timer_t *timer, uint64_t now_ms)
{
    hub__parked_t *parked = HUB__CONTAINER(timer, hub__parked_t, timer);

    if (parked->stirred && has_ended(parked)) {
        on_client_gone(parked);
        return;
    }
    if (now_ms < parked->due_ms) {
        look_again(parked);
        return;
    }
    if (parked->polls)
        cancel(parked);
    answer(parked, parked->polls ? 204 : 408, (hub_str_t){0});
}

static void forget(hub__table_node_t *node, void *user)
{
    hub__parked_t *parked = HUB__CONTAINER(node, hub__parked_t, node);

    (void)user;
    if (parked->polls)
        cancel(parked);
    answer(parked, 410, (hub_str_t){0});
}

void hub__exchange_forget(hub__worker_t *worker)
{
    hub__table_foreach(&worker->parked, forget, NULL);
}

/* Returns its serial number; 0: no memory. */
static uint64_t park(hub__seat_t *seat, h2o_req_t *req, uint64_t local, bool polls, hub_str_t token)
{
    hub__worker_t *worker = seat->worker;
    hub__parked_t *parked = calloc(1, sizeof(*parked));
    uint64_t wait_ms =
        worker->server != NULL ? hub__server_limits(worker->server)->request_ms : REQUEST_MS;

    if (parked == NULL)
        return 0;
    if (polls)
        wait_ms += seat->endpoint->options.limits.longpoll_window_ms;
    parked->seat = seat;
    parked->req = req;
    parked->serial = ++worker->next_request;
    parked->local = local;
    parked->polls = polls;
    memcpy(parked->token, token.base, HUB__TICKET_TEXT);
    parked->guard = h2o_mem_alloc_shared(&req->pool, sizeof(hub__parked_t *), on_request_gone);
    *parked->guard = parked;
    parked->node.hash = hub__hash_mix(parked->serial, worker->index);
    hub__table_insert(&worker->parked, &parked->node);
    parked->timer.on_due = on_deadline;
    parked->due_ms = worker->now_ms + wait_ms;
    hub__timer_arm(worker->wheel, &parked->timer, parked->due_ms);
    if (polls)
        watch(parked, wait_ms);
    else
        hub__reception_hold(req->conn->callbacks->get_socket(req->conn), wait_ms);
    return parked->serial;
}

/* ---- requests ---- */

/* Whether what follows on this connection is a request of its own. h2o lets through a second length
 * and a length beside an encoding, and could find one in the middle of a body: so there is no body
 * and nothing that announces one, or a single length, and h2o took exactly so much right behind the
 * head. */
static bool is_unambiguous(const h2o_req_t *req, const hub__request_head_t *head, size_t head_len)
{
    const h2o_socket_t *socket = req->conn->callbacks->get_socket(req->conn);
    size_t lengths, encodings;
    hub_str_t length = hub__request_head_field(head, "content-length", &lengths);
    char digits[24];
    int len;

    (void)hub__request_head_field(head, "transfer-encoding", &encodings);
    if (encodings != 0)
        return false;
    if (req->entity.base == NULL)
        return lengths == 0;
    len = snprintf(digits, sizeof(digits), "%zu", req->entity.len);
    return lengths == 1 && hub_str_equals(length, hub_str_n(digits, (size_t)len)) &&
           req->entity.base == socket->input->bytes + head_len;
}

/* A server of ours closes after any body until that is proven; the program's own may have reasons
 * to close that we do not know. */
static void settle_persistence(const hub__worker_t *worker, h2o_req_t *req,
                               const hub__request_head_t *head, size_t head_len)
{
    const h2o_socket_t *socket = req->conn->callbacks->get_socket(req->conn);
    size_t expects;

    (void)hub__request_head_field(head, "expect", &expects);
    if (worker->server != NULL)
        req->http1_is_persistent = head->minor_version > 0 && expects == 0 &&
                                   !hub__reception_has_ended(socket) &&
                                   !hub__request_head_has_token(head, "connection", "close");
    if (!is_unambiguous(req, head, head_len))
        req->http1_is_persistent = 0;
}

static void answer_preflight(hub__seat_t *seat, h2o_req_t *req, const hub__request_head_t *head)
{
    hub_str_t wanted = hub__request_head_field(head, "access-control-request-headers", NULL);

    if (wanted.len != 0)
        add_header(req, "access-control-allow-headers", wanted);
    add_header(req, "access-control-allow-methods", HUB_STR("get, post, options"));
    add_header(req, "access-control-max-age", HUB_STR("3600"));
    respond(seat->worker, req, 200, (hub_str_t){0});
}

static bool is_ndjson(const hub__request_head_t *head)
{
    hub_str_t type = hub__request_head_field(head, "content-type", NULL);
    hub_str_t ndjson = HUB_STR("application/x-ndjson");

    return type.len >= ndjson.len &&
           hub__str_equals_nocase(hub_str_n(type.base, ndjson.len), ndjson) &&
           (type.len == ndjson.len || strchr("; \t", type.base[ndjson.len]) != NULL);
}

/* Copies what is asked and sends it on its way. */
static void exchange(hub__seat_t *seat, h2o_req_t *req, hub__exchange_kind_t kind, bool ndjson,
                     uint64_t local, hub_str_t token)
{
    size_t body_len = kind == HUB__EXCHANGE_SEND ? req->entity.len : 0;
    hub__exchange_t *made = hub__peer_alloc(sizeof(*made) + body_len);
    uint64_t serial = 0;

    if (made == NULL || (serial = park(seat, req, local, kind == HUB__EXCHANGE_POLL, token)) == 0) {
        hub__peer_free(made);
        hub__exchange_refuse_plainly(seat, req, 503);
        return;
    }
    *made = (hub__exchange_t){.from = seat->worker,
                              .root = seat->endpoint->hub,
                              .endpoint = seat->endpoint,
                              .serial = serial,
                              .local = local,
                              .kind = (uint8_t)kind,
                              .ndjson = ndjson,
                              .body_len = body_len};
    if (body_len != 0)
        memcpy(made->body, req->entity.base, body_len);
    send_exchange(made);
}

static bool open_token(const hub__endpoint_t *endpoint, const hub__request_head_t *head,
                       char buffer[HUB__TICKET_TEXT], hub_conn_id_t *ret_id, hub_str_t *ret_token)
{
    return hub__query_param(head->query, HUB_STR("token"), buffer, HUB__TICKET_TEXT, ret_token) ==
               HUB_OK &&
           hub__ticket_open(endpoint->ticket_key, *ret_token, ret_id) &&
           ret_id->node == endpoint->hub->node;
}

static void on_get(hub__seat_t *seat, h2o_req_t *req, const hub__request_head_t *head)
{
    char buffer[HUB__TICKET_TEXT];
    hub_conn_id_t id;
    hub_str_t token;

    if (req->entity.base != NULL)
        hub__exchange_refuse_plainly(seat, req, 400);
    else if (open_token(seat->endpoint, head, buffer, &id, &token))
        exchange(seat, req, HUB__EXCHANGE_POLL, false, id.local, token);
    else
        hub__endpoint_connect(seat, req);
}

static void on_post(hub__seat_t *seat, h2o_req_t *req, const hub__request_head_t *head)
{
    char buffer[HUB__TICKET_TEXT];
    hub_conn_id_t id;
    hub_str_t token;

    if (!open_token(seat->endpoint, head, buffer, &id, &token)) {
        respond_status(seat->worker, req, 410);
    } else if (req->entity.len > seat->endpoint->options.limits.longpoll_body_bytes) {
        refuse_status(seat, req, 413);
    } else {
        exchange(seat, req, HUB__EXCHANGE_SEND, is_ndjson(head), id.local, token);
    }
}

static bool origin_passes(const hub__seat_t *seat, h2o_req_t *req, const hub__request_head_t *head)
{
    bool passes;

    hub__source_is_socket(req->conn->callbacks->get_socket(req->conn));
    passes = hub__endpoint_origin_passes(seat->endpoint, head);
    hub__source_set(NULL, NULL);
    return passes;
}

/* In Phoenix's order: the origin comes before everything else, also before a preflight. */
static void dispatch(hub__seat_t *seat, h2o_req_t *req, const hub__request_head_t *head)
{
    bool gets = hub_str_equals(head->method, HUB_STR("GET"));
    bool posts = hub_str_equals(head->method, HUB_STR("POST"));
    bool asks = hub_str_equals(head->method, HUB_STR("OPTIONS"));

    if (seat->worker->stopping)
        hub__exchange_refuse_plainly(seat, req, 503);
    else if (!gets && !posts && !asks)
        hub__exchange_refuse_plainly(seat, req, 400);
    else if (!origin_passes(seat, req, head))
        refuse_status(seat, req, 403);
    else if (asks)
        answer_preflight(seat, req, head);
    else if (gets)
        on_get(seat, req, head);
    else
        on_post(seat, req, head);
}

void hub__exchange_request(hub__seat_t *seat, h2o_req_t *req)
{
    h2o_socket_t *socket = req->conn->callbacks->get_socket(req->conn);
    hub__request_head_t head;
    size_t head_len, size = socket->input->size;

    if (size > HUB__HANDSHAKE_HEAD_MAX)
        size = HUB__HANDSHAKE_HEAD_MAX;
    if (req->version >= 0x200 || hub__request_head_parse(hub_str_n(socket->input->bytes, size),
                                                         &head, &head_len, NULL) != HUB_OK) {
        hub__exchange_refuse_plainly(seat, req, 400);
        return;
    }
    settle_persistence(seat->worker, req, &head, head_len);
    dispatch(seat, req, &head);
}
