/* hub/route.h - plain HTTP and raw websockets on the same port as the hubs.
 *
 * Declared before the server starts. The longest path wins; a path that exists under another method
 * is 405 with Allow, an unknown one 404. Everything is served from memory. */
#pragma once

#include "hub/endpoint.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hub_server hub_server_t;

/* One HTTP request, valid until its callback returns. */
typedef struct hub_http hub_http_t;

HUB_API hub_str_t hub_http_method(const hub_http_t *http); /* Loop thread. */
HUB_API hub_str_t hub_http_path(const hub_http_t *http);   /* Loop thread. */
HUB_API hub_str_t hub_http_query(hub_http_t *http,
                                 const char *name); /* as hub_request_query(). Loop thread. */
HUB_API hub_str_t hub_http_header(const hub_http_t *http, const char *name); /* Loop thread. */
HUB_API hub_str_t hub_http_body(const hub_http_t *http);                     /* Loop thread. */
/* Answers; body copied. Once, before the callback returns; without it the answer is 500. Loop
 * thread. */
HUB_API void hub_http_respond(hub_http_t *http, int status, const char *content_type,
                              hub_str_t body);

typedef void (*hub_on_http_cb)(hub_http_t *http, void *user);

/* `path` is exact, or a prefix where it ends in a slash and an asterisk ("/api/" and "*").
 * HUB_EEXIST, HUB_EBUSY after the start. */
HUB_API HUB_MUST_USE hub_status_t hub_server_route(hub_server_t *server, const char *method,
                                                   const char *path, hub_on_http_cb on_http,
                                                   void *user);
/* Serves `body` (copied) to GET and HEAD, with an ETag and 304. */
HUB_API HUB_MUST_USE hub_status_t hub_server_file(hub_server_t *server, const char *path,
                                                  const char *content_type, hub_str_t body);

/* ---- raw websockets: own callbacks, no channels ---- */

typedef struct hub_raw_options {
    hub_status_t (*on_open)(hub_conn_t *conn, void *user); /* may be NULL; an error closes 1011 */
    /* A complete message; `binary` false: text, proven UTF-8. An error closes 1011. */
    hub_status_t (*on_message)(hub_conn_t *conn, hub_str_t bytes, bool binary, void *user);
    void (*on_close)(hub_conn_t *conn, hub_disconnect_reason_t why,
                     void *user);    /* may be NULL; exactly once, last */
    hub_endpoint_options_t endpoint; /* its path goes by the call; formats do not apply */
    void *user;
} hub_raw_options_t;

/* `path` is exact. Copied. HUB_EEXIST, HUB_EINVAL, HUB_EBUSY. */
HUB_API HUB_MUST_USE hub_status_t hub_server_websocket(hub_server_t *server, const char *path,
                                                       const hub_raw_options_t *options);

/* Sends one message on a raw websocket; copied. HUB_ESLOW: the outbox is full, it is closing.
 * HUB_ECLOSED. Loop thread. */
HUB_API hub_status_t hub_conn_send(hub_conn_t *conn, hub_str_t bytes, bool binary);

#ifdef __cplusplus
}
#endif
