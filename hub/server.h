/* hub/server.h - listeners, workers, endpoints, routes, signals, drain.
 *
 *     hub_server_create(NULL, &server);
 *     hub_server_mount(server, hub, &(hub_endpoint_options_t){.path = "/socket"});
 *     hub_server_listen(server, "127.0.0.1:0");
 *     hub_server_run(server);          // until SIGTERM or SIGINT
 *     hub_server_destroy(server); */
#pragma once

#include "hub/endpoint.h"
#include "hub/route.h"
#include "hub/tls.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hub_server_options {
    /* Workers: each a thread with its own loop. 0 means 1; with more, callbacks of different
     * clients run at the same time. hub_server_run() lends its own thread to the first. */
    unsigned threads;
    hub_server_limits_t limits;
    size_t turn_us; /* time per turn for writing before reading goes on, and as much for telling of
                       presence; 0 means 1,000 */
    /* Proxies whose X-Forwarded-For is believed: "10.0.0.0/8", "::1", "unix" for whoever comes by a
     * unix socket. Ends with NULL; copied. The client is then the rightmost address there that is
     * none of these; it counts for conns_per_ip and connects_per_ip_per_s, which else go by the
     * socket's. NULL: nobody is believed. What the proxy must do: append to the header. */
    const char *const *trusted_proxies;
    hub_error_t
        *ret_error; /* filled by create, mount, listen and start where they fail; may be NULL */
} hub_server_options_t;

/* Owned by the caller (hub_server_destroy). Copied; NULL is allowed. */
HUB_API HUB_MUST_USE hub_status_t hub_server_create(const hub_server_options_t *options,
                                                    hub_server_t **ret_server);
/* Adds an endpoint, until the start. Several endpoints may lead to one hub, a hub belongs to one
 * server. Copied; NULL: defaults. HUB_EEXIST: the path is taken. HUB_EINVAL names the option. */
HUB_API HUB_MUST_USE hub_status_t hub_server_mount(hub_server_t *server, hub_t *hub,
                                                   const hub_endpoint_options_t *options);
/* Adds a listener, until the start; binds at once. HUB_ESYSTEM: the address is taken (also by
 * ourselves), unknown or forbidden; HUB_ESYNTAX. */
HUB_API HUB_MUST_USE hub_status_t hub_server_listen(hub_server_t *server, const char *address);
/* The same, with TLS: wss and https. Copied; the files are read at once, and again at each reload.
 * HUB_ESYSTEM, HUB_ESYNTAX, HUB_EINVAL name the file or the option, and what is wrong with it: not
 * to be read, no PEM, expired, a key of another certificate, the wrong passphrase. */
HUB_API HUB_MUST_USE hub_status_t hub_server_listen_tls(hub_server_t *server, const char *address,
                                                        const hub_tls_options_t *options);
/* Reads the files of all TLS listeners again: new connections get what is in them now, those that
 * stand go on as they are. All or nothing: where one can't be used, everything stays as it was;
 * logged, and in `error` (may be NULL). hub_server_run() does so on SIGHUP. HUB_EINVAL: there is no
 * TLS listener. Any thread. */
HUB_API hub_status_t hub_server_tls_reload(hub_server_t *server, hub_error_t *error);
/* "127.0.0.1:40312": of the listener with this index, in the form that listen takes; NULL past the
 * last. Valid as long as the server. Any thread. */
HUB_API const char *hub_server_address(const hub_server_t *server, size_t index);

/* Starts the workers and returns; connections are accepted from then on. The hubs' channels are
 * compiled: errors as hub_channel_add(). */
HUB_API HUB_MUST_USE hub_status_t hub_server_start(hub_server_t *server);
/* No connection is accepted any more, and those that are no websockets yet are closed. The others
 * go in batches, drain_batch of them over all workers per drain_batch_ms, in no order to rely on:
 * each has its on_exit and on_disconnect, gets what is queued, and is closed with 1012 and the
 * reason "restart retry_ms=N", N a number below drain_retry_ms by chance, different for each: how
 * long the client should wait before it connects again. A client that long polls gets Retry-After,
 * in seconds, with the answer. Until its turn comes a connection is served as before, joins
 * included. What is left after drain_ms is cut. Only connections are cut: a callback or an
 * offloaded job that blocks is waited for. The log says "server.draining" with what is left, at the
 * beginning and each second. Returns at once; a second call does nothing. Any thread, signal
 * handlers included. */
HUB_API void hub_server_stop(hub_server_t *server);
/* Until everything has stopped. Not from a callback. */
HUB_API void hub_server_wait(hub_server_t *server);
/* start; until SIGTERM, SIGINT or hub_server_stop(); wait. The first worker runs in the calling
 * thread, which may get other signals of the program's. Blocks those two in it for its time, and
 * SIGHUP where there is a TLS listener (hub_server_tls_reload()), and
 * ignores SIGPIPE; raises the soft limit of open files to the hard one and
 * logs both. A second signal cuts. */
HUB_API hub_status_t hub_server_run(hub_server_t *server);
/* Stops and waits if need be. NULL is allowed. */
HUB_API void hub_server_destroy(hub_server_t *server);

/* hub_server_stop() for the server that serves this hub. Any thread. */
HUB_API void hub_stop(hub_t *hub);

#ifdef __cplusplus
}
#endif
