/* hub/h2o.h - a hub within an h2o server that the program runs itself. The only public header with
 * h2o's types.
 *
 * Websockets come with TLS where the program's listener has it (`ssl_ctx` of its h2o_accept_ctx_t,
 * handshakes by OpenSSL; over picotls they are refused with 501). Its certificate, limits and
 * deadlines before the 101 are the program's.
 *
 * Compile with H2O_USE_LIBUV=0 and link libh2o-evloop. */
#pragma once

#include <h2o.h>

#include "hub/endpoint.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hub_h2o_mount hub_h2o_mount_t;

/* Attaches the hub to one context (one loop, the calling thread's) and one path of its
 * configuration, which must be the first use of that path. The program runs the loop; several
 * contexts may each attach the same hub, one worker each. The first attach starts the hub.
 * HUB_EBUSY: it is mounted on a server. Owned by the caller (hub_h2o_detach). On the thread of the
 * context's loop. */
HUB_API HUB_MUST_USE hub_status_t hub_h2o_attach(hub_t *hub, h2o_context_t *context,
                                                 h2o_pathconf_t *pathconf,
                                                 const hub_endpoint_options_t *options,
                                                 hub_h2o_mount_t **ret_mount);

/* Closes this context's connections (1012) and calls `on_detached` from the loop once they are
 * gone, at most close_ms later; then the mount is freed and the context may be disposed. On the
 * loop's thread. */
HUB_API void hub_h2o_detach(hub_h2o_mount_t *mount, void (*on_detached)(void *user), void *user);

#ifdef __cplusplus
}
#endif
