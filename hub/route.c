/* SPDX-License-Identifier: MIT */
/* Plain HTTP and raw websockets beside the hubs: one table of paths per server, looked up after the
 * endpoints. h2o's own path matching is by prefix and order; ours is exact, or the longest prefix.
 */
#include "hub/route.h"

#include <sodium.h>
#include <stdlib.h>

#include "hub/handshake.h"
#include "hub/internal.h"

#define TAG_BYTES 16

struct hub__route_row {
    hub__route_row_t *next;
    char *method;
    char *path; /* without its asterisk */
    bool is_prefix;
    hub_on_http_cb on_http;
    void *user;
    /* of a file: */
    char *body;
    size_t body_len;
    char *content_type;
    char tag[2 * TAG_BYTES + 3]; /* an ETag in its quotes */
};

struct hub_http {
    h2o_req_t *req;
    hub_str_t path, query;
    bool responded;
};

/* ---- declaring ---- */

static hub_status_t add_row(hub_server_t *server, const char *method, const char *path,
                            hub__route_row_t **ret_row)
{
    hub__route_row_t *row, **last = hub__server_routes(server);
    size_t len = strlen(path);
    bool is_prefix = len >= 2 && path[len - 1] == '*' && path[len - 2] == '/';
    hub_error_t error;
    hub_status_t err;

    if ((err = hub__server_check_open(server, "hub_server_route")) != HUB_OK)
        return err;
    if (path[0] != '/') {
        err = hub_error_set(&error, HUB_EINVAL, 0, "path \"%s\" must begin with /", path);
        hub__log_failure("server.route", err, &error);
        return err;
    }
    if (is_prefix)
        --len;
    for (; *last != NULL; last = &(*last)->next)
        if (strcmp((*last)->method, method) == 0 && (*last)->is_prefix == is_prefix &&
            hub_str_equals(hub_str((*last)->path), hub_str_n(path, len))) {
            err = hub_error_set(&error, HUB_EEXIST, 0, "%s %s is taken", method, path);
            hub__log_failure("server.route", err, &error);
            return err;
        }
    row = hub__alloc_zeroed(sizeof(*row));
    row->method = hub__str_copy(hub_str(method));
    row->path = hub__str_copy(hub_str_n(path, len));
    row->is_prefix = is_prefix;
    *last = row;
    *ret_row = row;
    return HUB_OK;
}

hub_status_t hub_server_route(hub_server_t *server, const char *method, const char *path,
                              hub_on_http_cb on_http, void *user)
{
    hub__route_row_t *row;
    hub_status_t err = add_row(server, method, path, &row);

    if (err != HUB_OK)
        return err;
    row->on_http = on_http;
    row->user = user;
    return HUB_OK;
}

hub_status_t hub_server_file(hub_server_t *server, const char *path, const char *content_type,
                             hub_str_t body)
{
    unsigned char digest[TAG_BYTES];
    hub__route_row_t *row;
    hub_status_t err = add_row(server, "GET", path, &row);

    if (err != HUB_OK)
        return err;
    row->body = hub__str_copy(body);
    row->body_len = body.len;
    row->content_type = hub__str_copy(hub_str(content_type));
    crypto_generichash(digest, sizeof(digest), (const unsigned char *)row->body, body.len, NULL, 0);
    row->tag[0] = '"';
    sodium_bin2hex(row->tag + 1, sizeof(row->tag) - 1, digest, sizeof(digest));
    row->tag[2 * TAG_BYTES + 1] = '"';
    row->tag[2 * TAG_BYTES + 2] = '\0';
    return HUB_OK;
}

hub_status_t hub_server_websocket(hub_server_t *server, const char *path,
                                  const hub_raw_options_t *options)
{
    hub__endpoint_t *endpoint;
    hub_error_t error = {0};
    hub_status_t err;

    if ((err = hub__server_check_open(server, "hub_server_websocket")) != HUB_OK)
        return err;
    if (options->on_message == NULL)
        return HUB_EINVAL;
    err = hub__endpoint_create(NULL, &options->endpoint, options, path, &endpoint, &error);
    if (err == HUB_OK && (err = hub__server_add_endpoint(server, endpoint, &error)) != HUB_OK)
        hub__endpoint_destroy(endpoint);
    if (err != HUB_OK)
        hub__log_failure("server.websocket", err, &error);
    return err;
}

void hub__routes_destroy(hub__route_row_t *rows)
{
    while (rows != NULL) {
        hub__route_row_t *row = rows;

        rows = row->next;
        free(row->method);
        free(row->path);
        free(row->body);
        free(row->content_type);
        free(row);
    }
}

/* ---- a request as a callback sees it ---- */

hub_str_t hub_http_method(const hub_http_t *http)
{
    return hub_str_n(http->req->method.base, http->req->method.len);
}

hub_str_t hub_http_path(const hub_http_t *http)
{
    return http->path;
}

hub_str_t hub_http_query(hub_http_t *http, const char *name)
{
    size_t room = http->query.len;
    hub_str_t value;

    if (room == 0 ||
        hub__query_param(http->query, hub_str(name), h2o_mem_alloc_pool(&http->req->pool, room),
                         room, &value) != HUB_OK)
        return (hub_str_t){0};
    return value;
}

hub_str_t hub_http_header(const hub_http_t *http, const char *name)
{
    const h2o_headers_t *headers = &http->req->headers;

    for (size_t i = 0; i != headers->size; ++i)
        if (hub__str_equals_nocase(
                hub_str_n(headers->entries[i].name->base, headers->entries[i].name->len),
                hub_str(name)))
            return hub_str_n(headers->entries[i].value.base, headers->entries[i].value.len);
    return (hub_str_t){0};
}

hub_str_t hub_http_body(const hub_http_t *http)
{
    return hub_str_n(http->req->entity.base, http->req->entity.len);
}

static void add_header(h2o_req_t *req, const char *name, const char *value)
{
    h2o_iovec_t copy = h2o_strdup(&req->pool, value, strlen(value));

    h2o_add_header_by_str(&req->pool, &req->res.headers, name, strlen(name), 1, NULL, copy.base,
                          copy.len);
}

static void respond(h2o_req_t *req, int status, const char *content_type, hub_str_t body)
{
    h2o_iovec_t copy = h2o_strdup(&req->pool, body.base != NULL ? body.base : "", body.len);

    req->res.status = status;
    req->res.reason = status < 300 ? "OK" : status == 304 ? "Not Modified" : "Response";
    if (status != 304)
        req->res.content_length = body.len;
    if (content_type != NULL)
        add_header(req, "content-type", content_type);
    h2o_send_inline(req, copy.base, copy.len);
}

void hub_http_respond(hub_http_t *http, int status, const char *content_type, hub_str_t body)
{
    if (http->responded)
        return;
    http->responded = true;
    respond(http->req, status, content_type, body);
}

/* ---- dispatching ---- */

static void serve_file(h2o_req_t *req, const hub_http_t *http, const hub__route_row_t *row)
{
    hub_str_t known = hub_http_header(http, "if-none-match");

    add_header(req, "etag", row->tag);
    add_header(req, "cache-control", "no-cache");
    add_header(req, "x-content-type-options", "nosniff");
    if (hub_str_equals(known, hub_str(row->tag)) || hub_str_equals(known, HUB_STR("*")))
        respond(req, 304, NULL, (hub_str_t){0});
    else
        respond(req, 200, row->content_type, hub_str_n(row->body, row->body_len));
}

static bool row_matches(const hub__route_row_t *row, hub_str_t path)
{
    hub_str_t own = hub_str(row->path);

    return row->is_prefix ? hub_str_starts_with(path, own) : hub_str_equals(path, own);
}

static bool method_matches(const hub__route_row_t *row, hub_str_t method)
{
    return hub_str_equals(hub_str(row->method), method) ||
           (hub_str_equals(method, HUB_STR("HEAD")) && strcmp(row->method, "GET") == 0);
}

/* The longest path of this method; `*ret_allow` gathers the methods that the path has otherwise. */
static const hub__route_row_t *find_row(const hub__route_row_t *rows, hub_str_t path,
                                        hub_str_t method, hub__buffer_t *ret_allow)
{
    const hub__route_row_t *best = NULL;

    for (const hub__route_row_t *row = rows; row != NULL; row = row->next) {
        if (!row_matches(row, path))
            continue;
        if (!method_matches(row, method))
            hub__buffer_printf(ret_allow, "%s%s%s", ret_allow->len != 0 ? ", " : "", row->method,
                               strcmp(row->method, "GET") == 0 ? ", HEAD" : "");
        else if (best == NULL || strlen(row->path) > strlen(best->path) ||
                 (!row->is_prefix && best->is_prefix))
            best = row;
    }
    return best;
}

static void serve_row(hub__worker_t *worker, h2o_req_t *req, hub_http_t *http,
                      const hub__route_row_t *row)
{
    if (row->body != NULL) {
        serve_file(req, http, row);
        return;
    }
    row->on_http(http, row->user);
    hub__worker_called(worker, "on_http", row->path, (hub_str_t){0});
    if (!http->responded)
        hub__http_refuse(req, 500, "text/plain; charset=utf-8", HUB_STR("Internal Server Error"));
}

/* The raw head again: what h2o lets through and hides may not stand on a connection that goes on.
 * 0, or the status to refuse with. */
static int check_head(hub_server_t *server, h2o_req_t *req)
{
    const hub_server_limits_t *limits = hub__server_limits(server);
    h2o_socket_t *socket = req->conn->callbacks->get_socket(req->conn);
    hub__request_head_t head;
    size_t head_len;
    hub_error_t error;
    hub_status_t err;

    if (req->entity.base != NULL ||
        !(h2o_memis(req->method.base, req->method.len, H2O_STRLIT("GET")) ||
          h2o_memis(req->method.base, req->method.len, H2O_STRLIT("HEAD")))) {
        req->http1_is_persistent = 0;
        return req->headers.size > limits->head_fields ? 431 : 0;
    }
    err = hub__request_head_parse(hub_str_n(socket->input->bytes, socket->input->size), &head,
                                  &head_len, &error);
    if (err == HUB_ETOOLARGE)
        return 431;
    if (err != HUB_OK)
        return 400;
    if (head_len > limits->head_bytes || head.field_count > limits->head_fields)
        return 431;
    if (hub__request_head_field(&head, "content-length", NULL).base != NULL ||
        hub__request_head_field(&head, "transfer-encoding", NULL).base != NULL)
        req->http1_is_persistent = 0;
    return 0;
}

static hub__seat_t *find_seat(hub__worker_t *worker, hub_str_t path)
{
    for (hub__seat_t *seat = hub__server_seats(worker); seat != NULL; seat = seat->next)
        if (hub__endpoint_has_path(seat->endpoint, path))
            return seat;
    return NULL;
}

/* A client may name the whole of what it wants, as it does to a proxy (RFC 9112 3.2.2, RFC 6455
 * 4.2.1): the path and the query of that count. A handshake compares the rest with its Host. */
static void make_relative(h2o_req_t *req)
{
    static const hub_str_t starts[] = {{"http://", 7}, {"https://", 8}};
    size_t at = 0;

    for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
        if (req->path.len >= starts[i].len &&
            hub__str_equals_nocase(hub_str_n(req->path.base, starts[i].len), starts[i]))
            at = starts[i].len;
    }
    if (at == 0)
        return;
    while (at < req->path.len && req->path.base[at] != '/' && req->path.base[at] != '?')
        at++;
    req->path = h2o_iovec_init(req->path.base + at, req->path.len - at);
    if (req->query_at != SIZE_MAX)
        req->query_at -= at;
    if (req->path.len != 0 && req->path.base[0] == '/')
        return;
    req->path = h2o_concat(&req->pool, h2o_iovec_init(H2O_STRLIT("/")), req->path);
    if (req->query_at != SIZE_MAX)
        req->query_at++;
}

void hub__route_request(hub_server_t *server, hub__worker_t *worker, h2o_req_t *req)
{
    hub_http_t http = {.req = req};
    size_t path_len;
    hub_str_t method = hub_str_n(req->method.base, req->method.len);
    hub__buffer_t allow = {0};
    const hub__route_row_t *row;
    hub__seat_t *seat;
    int status = check_head(server, req);

    make_relative(req);
    path_len = req->query_at != SIZE_MAX ? req->query_at : req->path.len;
    http.path = hub_str_n(req->path.base, path_len);
    if (path_len > hub__server_limits(server)->path_bytes)
        status = 414;
    if (status != 0) {
        hub__http_refuse(req, status, NULL, (hub_str_t){0});
        return;
    }
    if ((seat = find_seat(worker, http.path)) != NULL) {
        hub__endpoint_request(seat, req);
        return;
    }
    HUB__STAT(&worker->stats, http_requests_total);
    if (req->query_at != SIZE_MAX)
        http.query = hub_str_n(req->path.base + path_len + 1, req->path.len - path_len - 1);
    if ((row = find_row(*hub__server_routes(server), http.path, method, &allow)) != NULL) {
        serve_row(worker, req, &http, row);
    } else if (allow.len != 0) {
        hub__buffer_append(&allow, hub_str_n("", 1));
        add_header(req, "allow", allow.base);
        respond(req, 405, "text/plain; charset=utf-8", HUB_STR("Method Not Allowed"));
    } else {
        respond(req, 404, "text/plain; charset=utf-8", HUB_STR("Not Found"));
    }
    hub__buffer_dispose(&allow);
}
