/* SPDX-License-Identifier: MIT */
/* From a request to a connection: the handshake is proven, the origin, the subprotocol and the wire
 * format are settled, the program authorizes, now or later, and only then comes the 101. */
#include "hub/endpoint.h"

#include <sodium.h>
#include <stdlib.h>

#include "hub/handshake.h"
#include "hub/internal.h"
#include "hub/reception.h"

#define REFUSED_CODE 4403
#define AUTH_TOKEN_HEADER "x-phoenix-authtoken" /* of a long-poll client, which may set headers */
#define REQUEST_MS 10000 /* within the program's own h2o server, which has limits of its own */

/* A request on its way. Owned by the worker; outlives h2o's, whose memory goes with the 101. */
struct hub_request {
    hub__table_node_t node; /* while deferred */
    uint64_t serial;
    hub__seat_t *seat;
    h2o_req_t *req;        /* NULL: the client is gone */
    hub_request_t **guard; /* h2o clears it together with its request */
    hub__timer_t timer;
    bool deferred;  /* it is in the worker's table */
    bool deferring; /* by the one who is being asked */
    bool asked_all;
    bool polls; /* it opens no websocket: a long-poll client's first request */
    const hub__check_row_t *next_check;
    bool refused;
    hub__request_head_t head; /* spans into `bytes` */
    hub__handshake_t handshake;
    int handshake_status; /* 0, or that of a refusal that is still to come, and why */
    const char *handshake_why;
    const hub__dialect_t *dialect;
    hub_str_t protocol;
    hub__deflate_terms_t deflate;
    hub_str_t auth_token;      /* in memory of h2o's request */
    hub_grant_t grant;         /* strings are copies */
    bool granted, ungrantable; /* there was no memory for it */
    int refusal_status;
    unsigned refusal_code;
    char *refusal_type;
    hub__buffer_t refusal_body;
    char peer[80];
    char client[HUB__ADDRESS_TEXT];
    hub__resident_t *resident; /* of a long-poll client to be; NULL: it is not counted */
    size_t size;
    char bytes[];
};

/* ---- answering in plain HTTP ---- */

static const char *reason_of(int status)
{
    switch (status) {
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 413:
        return "Payload Too Large";
    case 414:
        return "URI Too Long";
    case 426:
        return "Upgrade Required";
    case 429:
        return "Too Many Requests";
    case 431:
        return "Request Header Fields Too Large";
    case 500:
        return "Internal Server Error";
    case 501:
        return "Not Implemented";
    case 503:
        return "Service Unavailable";
    default:
        return status < 500 ? "Refused" : "Error";
    }
}

static void add_header(h2o_req_t *req, const char *name, const char *value)
{
    h2o_add_header_by_str(&req->pool, &req->res.headers, name, strlen(name), 1, NULL, value,
                          strlen(value));
}

const char *hub__retry_after(void)
{
    static const char *const seconds[] = {"1", "2", "3", "4", "5"};

    return seconds[randombytes_uniform(sizeof(seconds) / sizeof(*seconds))];
}

void hub__http_refuse(h2o_req_t *req, int status, const char *content_type, hub_str_t body)
{
    h2o_iovec_t copy = h2o_strdup(&req->pool, body.base != NULL ? body.base : "", body.len);

    req->res.status = status;
    req->res.reason = reason_of(status);
    req->res.content_length = body.len;
    req->http1_is_persistent = 0; /* nothing that follows on this connection is trusted */
    if (body.len != 0)
        add_header(req, "content-type",
                   h2o_strdup(&req->pool, content_type, strlen(content_type)).base);
    if (status == 426) {
        add_header(req, "upgrade", "websocket");
        add_header(req, "connection", "Upgrade");
        add_header(req, "sec-websocket-version", "13");
    }
    if (status == 405)
        add_header(req, "allow", "GET");
    if (status == 429 || status == 503)
        add_header(req, "retry-after", hub__retry_after());
    h2o_send_inline(req, copy.base, copy.len);
}

static void refuse_handshake(hub__seat_t *seat, h2o_req_t *req, int status, const char *why)
{
    HUB__STAT(&seat->worker->stats, upgrades_refused_total);
    hub__http_refuse(req, status, "text/plain; charset=utf-8", hub_str(why));
}

/* ---- a request's life ---- */

static void free_grant(hub_grant_t *grant)
{
    for (size_t i = 0; i != grant->attribute_count; ++i) {
        free((void *)(uintptr_t)grant->attributes[i].name);
        free((void *)(uintptr_t)grant->attributes[i].value.base);
    }
    free((void *)(uintptr_t)grant->attributes);
    free((void *)(uintptr_t)grant->identity.base);
}

static void drop_grant(hub_request_t *request)
{
    if (!request->granted)
        return;
    if (request->grant.on_free != NULL)
        request->grant.on_free(request->grant.user);
    free_grant(&request->grant);
    request->granted = false;
}

static void request_destroy(hub_request_t *request)
{
    if (request->guard != NULL)
        *request->guard = NULL;
    if (request->deferred) {
        hub__table_remove(&request->seat->worker->requests, &request->node);
        hub__timer_disarm(request->seat->worker->wheel, &request->timer);
    }
    drop_grant(request);
    hub__census_leave(request->resident);
    free(request->refusal_type);
    hub__buffer_dispose(&request->refusal_body);
    free(request);
}

/* h2o is done with the request, for whatever reason. */
static void on_request_gone(void *slot)
{
    hub_request_t *request = *(hub_request_t **)slot;

    if (request == NULL)
        return;
    request->req = NULL;
    request->guard = NULL;
    if (request->deferred)
        request_destroy(request);
}

/* A copy that ends in a NUL; absent: no memory. */
static hub_str_t copy_text(hub_str_t text)
{
    char *copy = malloc(text.len + 1);

    if (copy == NULL)
        return (hub_str_t){0};
    if (text.len != 0)
        memcpy(copy, text.base, text.len);
    copy[text.len] = '\0';
    return hub_str_n(copy, text.len);
}

/* False: no memory. The copy is one in any case, to be freed; the user's pointer is taken. */
static bool copy_grant(const hub_grant_t *grant, hub_grant_t *ret_copy)
{
    hub_attribute_t *attributes = NULL;
    bool copied = true;

    *ret_copy = *grant;
    ret_copy->attributes = NULL;
    ret_copy->identity = copy_text(grant->identity);
    copied = ret_copy->identity.base != NULL;
    if (grant->attribute_count == 0)
        return copied;
    ret_copy->attribute_count = 0;
    if ((attributes = calloc(grant->attribute_count, sizeof(*attributes))) == NULL)
        return false;
    ret_copy->attributes = attributes;
    ret_copy->attribute_count = grant->attribute_count;
    for (size_t i = 0; i != grant->attribute_count; ++i) {
        hub_str_t value = grant->attributes[i].value;

        attributes[i].name = copy_text(hub_str(grant->attributes[i].name)).base;
        if (value.base != NULL) /* an empty one is not none */
            attributes[i].value = copy_text(value);
        copied &=
            attributes[i].name != NULL && (value.base == NULL || attributes[i].value.base != NULL);
    }
    return copied;
}

void hub_request_grant(hub_request_t *request, const hub_grant_t *grant)
{
    drop_grant(request);
    request->ungrantable = !copy_grant(grant, &request->grant);
    request->granted = true;
}

hub_status_t hub_request_refuse(hub_request_t *request, int http_status, unsigned close_code,
                                const char *content_type, hub_str_t body)
{
    request->refused = true;
    request->refusal_status = http_status >= 400 && http_status <= 599 ? http_status : 403;
    request->refusal_code = close_code;
    free(request->refusal_type);
    request->refusal_type =
        strdup(content_type != NULL ? content_type : "text/plain; charset=utf-8");
    request->refusal_body.fallible = true; /* without memory the status has to do */
    hub__buffer_clear(&request->refusal_body);
    hub__buffer_append(&request->refusal_body, body);
    return HUB_EREJECTED;
}

static h2o_socket_t *socket_of(const hub_request_t *request)
{
    return request->req->conn->callbacks->get_socket(request->req->conn);
}

hub_str_t hub_request_path(const hub_request_t *request)
{
    return request->head.path;
}

hub_str_t hub_request_query_string(const hub_request_t *request)
{
    return request->head.query;
}

/* Decoded into memory of h2o's request: as much as the query can need, for as long as the callback
 * runs. */
hub_str_t hub_request_query(hub_request_t *request, const char *name)
{
    size_t room = request->head.query.len;
    hub_str_t value;

    if (room == 0 ||
        hub__query_param(request->head.query, hub_str(name),
                         h2o_mem_alloc_pool(&request->req->pool, room), room, &value) != HUB_OK)
        return (hub_str_t){0};
    return value;
}

hub_str_t hub_request_header(const hub_request_t *request, const char *name)
{
    for (size_t i = 0; i != request->head.field_count; ++i)
        if (hub__str_equals_nocase(request->head.fields[i].name, hub_str(name)))
            return request->head.fields[i].value;
    return (hub_str_t){0};
}

hub_str_t hub_request_peer(const hub_request_t *request)
{
    return hub_str(request->peer);
}

hub_str_t hub_request_client(hub_request_t *request)
{
    static const hub__proxies_t nobody;
    const hub_server_t *server = request->seat->worker->server;
    hub__address_t client;

    if (!hub__reception_client(socket_of(request),
                               server != NULL ? hub__server_proxies(server) : &nobody,
                               &request->head, &client))
        return HUB_STR("unix");
    return hub_str(hub__address_format(&client, request->client));
}

hub_str_t hub_request_auth_token(const hub_request_t *request)
{
    return request->auth_token;
}

/* ---- the 101 ---- */

bool hub__seat_admit(hub__seat_t *seat)
{
    hub_server_t *server = seat->worker->server;
    hub_t *root = seat->endpoint->hub;

    if (server != NULL && !hub__server_conn_opened(server))
        return false;
    if (root == NULL ||
        atomic_fetch_add_explicit(&root->conn_count, 1, memory_order_relaxed) < root->conns_max)
        return true;
    hub__seat_dismiss(seat);
    return false;
}

void hub__seat_dismiss(hub__seat_t *seat)
{
    if (seat->worker->server != NULL)
        hub__server_conn_closed(seat->worker->server);
    if (seat->endpoint->hub != NULL)
        atomic_fetch_sub_explicit(&seat->endpoint->hub->conn_count, 1, memory_order_relaxed);
}

static hub_conn_t *make_conn(hub_request_t *request, h2o_socket_t *socket)
{
    hub__conn_birth_t birth = {
        .seat = request->seat,
        .dialect = request->dialect,
        .socket = socket,
        .grant = request->granted ? &request->grant : NULL,
        .query = request->seat->endpoint->options.keep_query ? request->head.query : (hub_str_t){0},
        .protocol = request->protocol,
        .deflate = request->deflate,
    };
    hub_conn_t *conn = NULL;

    if (request->polls)
        birth.longpoll = hub__longpoll_create(request->seat, request->peer, request->resident);
    else if (socket->ssl != NULL)
        birth.tls = hub__tls_take(request->seat->worker, socket);
    if (birth.longpoll != NULL)
        request->resident = NULL;
    if (request->polls ? birth.longpoll != NULL : socket->ssl == NULL || birth.tls != NULL)
        conn = hub__conn_create(&birth);
    if (conn == NULL && birth.longpoll != NULL)
        hub__longpoll_destroy(birth.longpoll);
    if (conn == NULL && birth.tls != NULL)
        hub__tls_leave(birth.tls);
    if (request->granted) {
        request->grant.on_free =
            NULL; /* the connection has the user pointer now, or it was freed */
        drop_grant(request);
    }
    return conn;
}

static void open_conn(hub_request_t *request, hub_conn_t *conn)
{
    hub__worker_t *worker = request->seat->worker;

    worker->opening_query = request->head.query;
    hub__conn_open(conn);
    worker->opening_query = (hub_str_t){0};
}

static void on_upgraded(void *data, h2o_socket_t *socket, size_t reqsize)
{
    hub_request_t *request = data;
    hub__worker_t *worker = request->seat->worker;
    hub_conn_t *conn = NULL;

    hub__worker_enter(worker);
    --worker->upgrades_out;
    if (socket == NULL) {
        hub__seat_dismiss(request->seat);
        goto out;
    }
    if (worker->server != NULL)
        hub__server_upgraded(worker, socket);
    h2o_buffer_consume(&socket->input, reqsize);
    if ((conn = make_conn(request, socket)) == NULL) {
        h2o_socket_close(socket);
        hub__seat_dismiss(request->seat);
        goto out;
    }
    if (request->refused) {
        hub__conn_want_close(conn, HUB_DISCONNECT_REFUSED,
                             request->refusal_code != 0 ? request->refusal_code : REFUSED_CODE,
                             hub__buffer_str(&request->refusal_body));
    } else if (worker->stopping) {
        hub__conn_want_close(conn, HUB_DISCONNECT_SHUTDOWN, 1012, (hub_str_t){0});
    } else {
        open_conn(request, conn);
    }
    hub__websocket_start(conn, hub_str_n(socket->input->bytes, socket->input->size));
out:
    request_destroy(request);
    hub__worker_leave(worker);
}

static void answer_extensions(const hub_request_t *request)
{
    h2o_req_t *req = request->req;
    char text[HUB__EXTENSION_ANSWER];
    size_t len = hub__deflate_answer(&request->deflate, text);

    h2o_add_header_by_str(&req->pool, &req->res.headers, H2O_STRLIT("sec-websocket-extensions"), 1,
                          NULL, h2o_strdup(&req->pool, text, len).base, len);
}

static void upgrade(hub_request_t *request)
{
    h2o_req_t *req = request->req;
    char accept[29];

    if (request->handshake_status != 0) {
        refuse_handshake(request->seat, req, request->handshake_status, request->handshake_why);
        request_destroy(request);
        return;
    }
    if (!hub__tls_can_take(req->conn->callbacks->get_socket(req->conn))) {
        refuse_handshake(request->seat, req, 501, "no websockets over this kind of TLS");
        request_destroy(request);
        return;
    }
    if (!hub__reception_admit(socket_of(request), &request->head)) {
        refuse_handshake(request->seat, req, 429, "too many connections from this address");
        request_destroy(request);
        return;
    }
    if (!hub__server_has_memory(request->seat->worker)) {
        refuse_handshake(request->seat, req, 503, "short of memory");
        request_destroy(request);
        return;
    }
    if (!hub__seat_admit(request->seat)) {
        refuse_handshake(request->seat, req, 503, "too many connections");
        request_destroy(request);
        return;
    }
    hub__handshake_accept(request->handshake.key, accept);
    req->res.status = 101;
    req->res.reason = "Switching Protocols";
    add_header(req, "upgrade", "websocket");
    add_header(req, "sec-websocket-accept", h2o_strdup(&req->pool, accept, 28).base);
    if (request->protocol.len != 0)
        h2o_add_header_by_str(&req->pool, &req->res.headers, H2O_STRLIT("sec-websocket-protocol"),
                              1, NULL, request->protocol.base, request->protocol.len);
    if (request->deflate.server_bits != 0)
        answer_extensions(request);
    /* from here on the request belongs to on_upgraded() */
    if (request->deferred) {
        hub__table_remove(&request->seat->worker->requests, &request->node);
        hub__timer_disarm(request->seat->worker->wheel, &request->timer);
        request->deferred = false;
    }
    *request->guard = NULL;
    request->guard = NULL;
    ++request->seat->worker->upgrades_out;
    h2o_http1_upgrade(req, NULL, 0, on_upgraded, request);
}

/* ---- a long-poll client's connection ---- */

static void refuse_poll(hub_request_t *request, int status)
{
    hub__exchange_refuse(request->seat, request->req, status);
    request_destroy(request);
}

static void open_poll(hub_request_t *request)
{
    hub__worker_t *worker = request->seat->worker;
    hub_conn_t *conn;

    if (!hub__reception_admit_poll(socket_of(request), &request->head, &request->resident)) {
        hub__exchange_refuse_plainly(request->seat, request->req, 429);
        request_destroy(request);
        return;
    }
    if (!hub__server_has_memory(worker) || worker->stopping || !hub__seat_admit(request->seat)) {
        refuse_poll(request, 503);
        return;
    }
    if ((conn = make_conn(request, NULL)) == NULL) {
        hub__seat_dismiss(request->seat);
        refuse_poll(request, 503);
        return;
    }
    hub__longpoll_start(conn);
    open_conn(request, conn);
    hub__exchange_welcome(request->req, conn);
    request_destroy(request);
}

/* ---- authorizing ---- */

static hub_str_t ask_request(const void *who, char text[HUB__SOURCE_TEXT])
{
    (void)text;
    return hub_request_peer(who);
}

/* Without the query, which may have tokens in it. */
static void log_refused(const hub_request_t *request, const char *why)
{
    const char *path = request->seat->endpoint->path;

    hub__source_set(ask_request, request);
    hub_log_peer(HUB_LOG_WARN, "endpoint.refused", "why=%s peer=%s path=%s", why, request->peer,
                 path != NULL ? path : "-");
    hub__source_set(NULL, NULL);
}

static void refuse_authorization(hub_request_t *request, hub_status_t err)
{
    if (!request->refused)
        (void)hub_request_refuse(request, err == HUB_EREJECTED ? 403 : 500, 0, NULL,
                                 (hub_str_t){0});
    log_refused(request, "authorize");
    if (request->polls) {
        refuse_poll(request, request->refusal_status);
        return;
    }
    if (request->seat->endpoint->options.refuse_by_close && request->handshake_status == 0) {
        HUB__STAT(&request->seat->worker->stats, upgrades_refused_total);
        drop_grant(request);
        upgrade(request);
        return;
    }
    HUB__STAT(&request->seat->worker->stats, upgrades_refused_total);
    hub__http_refuse(request->req, request->refusal_status, request->refusal_type,
                     hub__buffer_str(&request->refusal_body));
    request_destroy(request);
}

/* Asks those who have not been asked yet: the hub's in their order, then the endpoint's. One that
 * defers is where it goes on. */
static void authorize(hub_request_t *request)
{
    const hub_endpoint_options_t *options = &request->seat->endpoint->options;

    while (!request->asked_all) {
        const hub__check_row_t *row = request->next_check;
        hub_on_authorize_cb ask = row != NULL ? row->on_authorize : options->on_authorize;
        void *user = row != NULL ? row->user : options->user;
        hub_status_t err;

        request->asked_all = row == NULL;
        request->next_check = row != NULL ? row->next : NULL;
        request->deferring = false;
        err = ask == NULL ? HUB_OK : ask(request, user);
        hub__worker_called(request->seat->worker, "on_authorize", request->seat->endpoint->path,
                           (hub_str_t){0});
        if (err == HUB_PENDING && request->deferring)
            return;
        if (err == HUB_OK && request->ungrantable)
            err = HUB_ENOMEM;
        if (err != HUB_OK) {
            refuse_authorization(request, err == HUB_PENDING ? HUB_EINTERNAL : err);
            return;
        }
    }
    if (request->polls)
        open_poll(request);
    else
        upgrade(request);
}

/* ---- authorizing later ---- */

static void on_request_deadline(hub__timer_t *timer, uint64_t now_ms)
{
    hub_request_t *request = HUB__CONTAINER(timer, hub_request_t, timer);

    (void)now_ms;
    (void)hub_request_refuse(request, 503, 1013, NULL, HUB_STR("authorization timed out"));
    refuse_authorization(request, HUB_ETIMEOUT);
}

/* Each who defers gets a number of his own: an answer that comes late or twice is nobody else's. */
hub_status_t hub_request_defer(hub_request_t *request, hub_request_token_t *ret_token)
{
    hub__worker_t *worker = request->seat->worker;

    if (!request->deferring) {
        if (request->deferred)
            hub__table_remove(&worker->requests, &request->node);
        request->serial = ++worker->next_request;
        request->node.hash = hub__hash_mix(request->serial, worker->index);
        hub__table_insert(&worker->requests, &request->node);
    }
    if (!request->deferred) {
        size_t wait_ms =
            worker->server != NULL ? hub__server_limits(worker->server)->request_ms : REQUEST_MS;

        hub__reception_hold(socket_of(request), wait_ms);
        request->timer.on_due = on_request_deadline;
        hub__timer_arm(worker->wheel, &request->timer, worker->now_ms + wait_ms);
    }
    request->deferred = true;
    request->deferring = true;
    *ret_token = (hub_request_token_t){._worker = worker->index, ._serial = request->serial};
    return HUB_PENDING;
}

typedef struct hub__verdict {
    hub_task_t task;
    hub__worker_t *worker;
    uint64_t serial;
    bool accepted, granted;
    hub_grant_t grant;
    int http_status;
    unsigned close_code;
    hub__buffer_t body;
} hub__verdict_t;

static hub_request_t *find_request(hub__worker_t *worker, uint64_t serial)
{
    uint64_t hash = hub__hash_mix(serial, worker->index);

    for (hub__table_node_t *node = hub__table_chain(&worker->requests, hash); node != NULL;
         node = node->next) {
        hub_request_t *request = HUB__CONTAINER(node, hub_request_t, node);

        if (request->serial == serial)
            return request;
    }
    return NULL;
}

static void discard_verdict(hub_task_t *task)
{
    hub__verdict_t *verdict = HUB__CONTAINER(task, hub__verdict_t, task);

    if (verdict->granted) {
        if (verdict->grant.on_free != NULL)
            verdict->grant.on_free(verdict->grant.user);
        free_grant(&verdict->grant);
    }
    hub__buffer_dispose(&verdict->body);
    free(verdict);
}

static void run_verdict(hub_task_t *task)
{
    hub__verdict_t *verdict = HUB__CONTAINER(task, hub__verdict_t, task);
    hub_request_t *request = find_request(verdict->worker, verdict->serial);

    if (request != NULL && verdict->accepted) {
        if (verdict->granted) {
            drop_grant(request);
            request->grant = verdict->grant;
            request->granted = true;
            verdict->granted = false; /* taken */
        }
        authorize(request);
    } else if (request != NULL) {
        (void)hub_request_refuse(request, verdict->http_status, verdict->close_code, NULL,
                                 hub__buffer_str(&verdict->body));
        refuse_authorization(request, HUB_EREJECTED);
    }
    discard_verdict(task);
}

static hub_status_t post_verdict(hub_t *hub, hub_request_token_t token, hub__verdict_t *verdict)
{
    hub_t *root = hub__root(hub);
    hub_status_t err = HUB_ECLOSED;

    pthread_mutex_lock(&root->lock);
    if (token._worker < HUB__WORKERS_MAX && root->workers[token._worker] != NULL) {
        verdict->worker = root->workers[token._worker];
        verdict->serial = token._serial;
        verdict->task = (hub_task_t){.run = run_verdict, .discard = discard_verdict};
        err = verdict->worker->executor.post(&verdict->worker->executor, &verdict->task, true);
    }
    pthread_mutex_unlock(&root->lock);
    if (err != HUB_OK)
        discard_verdict(&verdict->task);
    return err;
}

hub_status_t hub_authorize_accept(hub_t *hub, hub_request_token_t token, const hub_grant_t *grant)
{
    hub__verdict_t *verdict = calloc(1, sizeof(*verdict));

    if (verdict == NULL) {
        if (grant != NULL && grant->on_free != NULL)
            grant->on_free(grant->user);
        return HUB_ENOMEM;
    }
    verdict->accepted = true;
    if ((verdict->granted = grant != NULL) && !copy_grant(grant, &verdict->grant)) {
        discard_verdict(&verdict->task);
        return HUB_ENOMEM;
    }
    return post_verdict(hub, token, verdict);
}

hub_status_t hub_authorize_refuse(hub_t *hub, hub_request_token_t token, int http_status,
                                  unsigned close_code, hub_str_t body)
{
    hub__verdict_t *verdict = calloc(1, sizeof(*verdict));

    if (verdict == NULL)
        return HUB_ENOMEM;
    verdict->body.fallible = true; /* who waits learns of the status alone then */
    verdict->http_status = http_status;
    verdict->close_code = close_code;
    hub__buffer_append(&verdict->body, body);
    return post_verdict(hub, token, verdict);
}

static void forget_request(hub__table_node_t *node, void *user)
{
    hub_request_t *request = HUB__CONTAINER(node, hub_request_t, node);

    (void)user;
    (void)hub_request_refuse(request, 503, 1012, NULL, HUB_STR("stopping"));
    refuse_authorization(request, HUB_ECLOSED);
}

void hub__endpoint_forget_requests(hub__worker_t *worker)
{
    hub__table_foreach(&worker->requests, forget_request, NULL);
}

typedef struct hurry {
    hub__worker_t *worker;
    const h2o_socket_t *socket;
} hurry_t;

static void hurry_request(hub__table_node_t *node, void *user)
{
    hub_request_t *request = HUB__CONTAINER(node, hub_request_t, node);
    const hurry_t *hurry = user;

    if (request->req != NULL && socket_of(request) == hurry->socket)
        hub__timer_arm(hurry->worker->wheel, &request->timer, hurry->worker->now_ms);
}

void hub__endpoint_hurry(hub__worker_t *worker, const h2o_socket_t *socket)
{
    hub__table_foreach(&worker->requests, hurry_request, &(hurry_t){worker, socket});
}

/* ---- settling what is asked for ---- */

/* False: there is one, and it is not as it must be. */
static bool take_auth_token(hub_request_t *request)
{
    size_t count;
    hub_status_t err;
    char *buffer;

    if (!request->seat->endpoint->options.auth_token)
        return true;
    if (request->polls) {
        request->auth_token = hub__request_head_field(&request->head, AUTH_TOKEN_HEADER, &count);
        return count <= 1 && request->auth_token.len <= HUB_AUTH_TOKEN_MAX;
    }
    buffer = h2o_mem_alloc_pool(&request->req->pool, HUB_AUTH_TOKEN_MAX);
    err =
        hub__handshake_auth_token(&request->head, buffer, HUB_AUTH_TOKEN_MAX, &request->auth_token);
    return err == HUB_OK || err == HUB_ENOTFOUND;
}

/* 0, or the status of the refusal. The order is Phoenix's: who may not connect learns that first.
 */
static int settle(hub_request_t *request, const char **ret_why)
{
    const hub__endpoint_t *endpoint = request->seat->endpoint;
    bool passes;

    if (!hub_str_equals(request->head.method, HUB_STR("GET"))) {
        *ret_why = "a websocket is opened with GET";
        return 405;
    }
    hub__source_set(ask_request, request);
    passes = hub__endpoint_origin_passes(endpoint, &request->head);
    hub__source_set(NULL, NULL);
    if (!passes) {
        *ret_why = "";
        return 403;
    }
    if (!take_auth_token(request) ||
        !hub__endpoint_choose_protocol(endpoint, &request->head, &request->protocol)) {
        log_refused(request, "auth_token_or_protocol");
        *ret_why = "";
        return 403;
    }
    if ((request->dialect = hub__endpoint_choose_dialect(endpoint, request->head.query)) == NULL) {
        log_refused(request, "vsn");
        *ret_why = "";
        return 403;
    }
    request->handshake_status =
        hub__handshake_check(&request->head, &request->handshake, &request->handshake_why);
    request->deflate = hub__deflate_negotiate(&request->head, &endpoint->options.deflate);
    *ret_why = request->handshake_why;
    return endpoint->options.authorize_early ? 0 : request->handshake_status;
}

static int parse_head(hub_request_t *request, const char **ret_why)
{
    size_t head_len;
    hub_error_t error;
    hub_status_t err = hub__request_head_parse(hub_str_n(request->bytes, request->size),
                                               &request->head, &head_len, &error);

    *ret_why = "the request is malformed";
    if (err == HUB_ETOOLARGE) {
        *ret_why = "the request has too many or too large header fields";
        return 431;
    }
    return err == HUB_OK ? 0 : 400;
}

/* NULL: no memory. */
static hub_request_t *request_create(hub__seat_t *seat, h2o_req_t *req)
{
    h2o_socket_t *socket = req->conn->callbacks->get_socket(req->conn);
    size_t size = socket->input->size;
    hub_request_t *request;

    if (size > HUB__HANDSHAKE_HEAD_MAX)
        size = HUB__HANDSHAKE_HEAD_MAX; /* frames may follow; a longer head ends too early */
    if ((request = malloc(sizeof(*request) + size)) == NULL)
        return NULL;
    memset(request, 0, offsetof(hub_request_t, bytes));
    memcpy(request->bytes, socket->input->bytes, size);
    request->size = size;
    request->seat = seat;
    request->req = req;
    request->guard = h2o_mem_alloc_shared(&req->pool, sizeof(*request->guard), on_request_gone);
    *request->guard = request;
    request->next_check = seat->endpoint->hub != NULL ? seat->endpoint->hub->checks : NULL;
    hub__peer_text(socket, request->peer, sizeof(request->peer));
    return request;
}

static void open_websocket(hub__seat_t *seat, h2o_req_t *req)
{
    h2o_socket_t *socket = req->conn->callbacks->get_socket(req->conn);
    hub_request_t *request;
    const char *why;
    int status;

    if (req->version >= 0x200 || !h2o_memis(req->method.base, req->method.len, H2O_STRLIT("GET"))) {
        refuse_handshake(seat, req, 405, "a websocket is opened with GET");
        return;
    }
    if (req->entity.base != NULL || socket->input->size == 0) {
        refuse_handshake(seat, req, 400, "a request with a body opens no websocket");
        return;
    }
    if ((request = request_create(seat, req)) == NULL) {
        refuse_handshake(seat, req, 503, "");
        return;
    }
    if ((status = parse_head(request, &why)) != 0 || (status = settle(request, &why)) != 0) {
        refuse_handshake(seat, req, status, why);
        request_destroy(request);
        return;
    }
    authorize(request);
}

/* Its origin has passed already. */
void hub__endpoint_connect(hub__seat_t *seat, h2o_req_t *req)
{
    hub_request_t *request = request_create(seat, req);
    const char *why;
    int status;

    if (request == NULL) {
        hub__exchange_refuse(seat, req, 503);
        return;
    }
    request->polls = true;
    if ((status = parse_head(request, &why)) != 0) {
        refuse_poll(request, status);
        return;
    }
    request->dialect = hub__endpoint_choose_dialect(seat->endpoint, request->head.query);
    if (!take_auth_token(request) || request->dialect == NULL) {
        log_refused(request, request->dialect == NULL ? "vsn" : "auth_token");
        refuse_poll(request, 403);
        return;
    }
    authorize(request);
}

void hub__endpoint_request(hub__seat_t *seat, h2o_req_t *req)
{
    size_t path_len = req->query_at != SIZE_MAX ? req->query_at : req->path.len;

    if (hub__endpoint_polls_at(seat->endpoint, hub_str_n(req->path.base, path_len)))
        hub__exchange_request(seat, req);
    else
        open_websocket(seat, req);
}
