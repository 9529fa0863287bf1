/* hub/conn.h - one client, whatever its transport.
 *
 * A hub_conn_t belongs to the worker that accepted it and is valid from on_open to the return of
 * on_disconnect, on that worker's thread alone. From elsewhere use its id. */
#pragma once

#include "channels/channel.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Why a connection ended; one list for code, log and metrics. */
#define HUB_DISCONNECT_MAP(X)                                                                      \
    X(CLIENT, "client")             /* it closed with a close frame */                             \
    X(LOST, "lost")                 /* the transport ended without one */                          \
    X(SERVER, "server")             /* hub_conn_close(), hub_disconnect() */                       \
    X(PROTOCOL, "protocol")         /* RFC 6455 was violated: 1002, 1007 */                        \
    X(TOO_LARGE, "too_large")       /* 1009 */                                                     \
    X(LIMIT, "limit")               /* fragments, bad envelopes, rates, …: 1008 */               \
    X(SLOW, "slow")                 /* its outbox was full: 4008 */                                \
    X(PING_TIMEOUT, "ping_timeout") /* no pong in time */                                          \
    X(IDLE, "idle")                 /* no frame from the client in time: 1001 */                   \
    X(REFUSED, "refused")           /* accepted in order to be closed with a code */               \
    X(ERROR, "error")               /* a handler of a raw route failed, or no memory: 1011 */      \
    X(SHUTDOWN, "shutdown")         /* the hub stops: 1012 */                                      \
    X(DUPLICATE, "duplicate")       /* a newer one of its identity took its place: 4029 */         \
    X(EXPIRED, "expired")           /* its grant ended: 4003 */                                    \
    X(STALE, "stale")               /* it never joined: 4001 */

typedef enum hub_disconnect_reason {
#define HUB_DISCONNECT_ENUM(name, text) HUB_DISCONNECT_##name,
    HUB_DISCONNECT_MAP(HUB_DISCONNECT_ENUM)
#undef HUB_DISCONNECT_ENUM
} hub_disconnect_reason_t;

HUB_API const char *hub_disconnect_reason_name(hub_disconnect_reason_t reason);

HUB_API hub_conn_id_t hub_conn_id(const hub_conn_t *conn); /* Loop thread. */
HUB_API hub_str_t
hub_conn_identity(const hub_conn_t *conn); /* as authorize gave it; absent: none. Loop thread. */
HUB_API hub_str_t hub_conn_attribute(const hub_conn_t *conn,
                                     const char *name); /* of the grant. Loop thread. */
HUB_API hub_str_t
hub_conn_peer(const hub_conn_t *conn); /* "127.0.0.1:40312", "[::1]:40312", "unix". Loop thread. */
HUB_API hub_str_t
hub_conn_protocol(const hub_conn_t *conn); /* the subprotocol chosen; absent: none. Loop thread. */
HUB_API hub_str_t
hub_conn_format(const hub_conn_t *conn); /* "native", "1.0.0", "2.0.0", "raw". Loop thread. */
HUB_API size_t hub_conn_member_count(const hub_conn_t *conn); /* topics joined. Loop thread. */
HUB_API hub_member_t *hub_conn_member(const hub_conn_t *conn,
                                      hub_str_t topic); /* NULL: not joined. Loop thread. */

/* A query parameter of the request that opened it, kept where the endpoint's keep_query is set and
 * during authorize and open; decoded; absent where there is none. Borrowed until the next call.
 * Loop thread. */
HUB_API hub_str_t hub_conn_query(const hub_conn_t *conn, const char *name);

/* As hub_member_set_user(), called once the connection has ended, after on_disconnect. Loop thread.
 */
HUB_API void hub_conn_set_user(hub_conn_t *conn, void *user, void (*on_free)(void *user));
HUB_API void *hub_conn_user(const hub_conn_t *conn); /* Loop thread. */

/* Closes with this code (1000-1003, 1007-1014, 3000-4999) and reason (at most 123 bytes) after what
 * is queued was sent; its members end first. Safe inside any callback. Loop thread. */
HUB_API void hub_conn_close(hub_conn_t *conn, unsigned code, hub_str_t reason);

/* ---- by id or identity, wherever they are ----
 * HUB_OK means handed over: to the worker that has the connection, or, for other nodes, to the bus,
 * which delivers at most once. What the broker loses is counted where it should have come
 * (relay_gaps_total) and repeated by nobody: who must not come back is refused by on_authorize as
 * well. HUB_EBUSDOWN: the bus is down, or not healthy, and other nodes may not have been reached;
 * connections of this node were. HUB_ECLOSED: not started, or stopped. All text is copied. */

/* Closes one connection, as hub_conn_close() does. One that is gone is no error, nor is a node that
 * is, nor an id that nobody ever had. HUB_ENOTFOUND: its node is 0, or another one and this hub has
 * a bus to itself. Any thread. */
HUB_API HUB_MUST_USE hub_status_t hub_conn_close_id(hub_t *hub, hub_conn_id_t id, unsigned code,
                                                    hub_str_t reason);
/* An event on a topic to one connection if it has joined that topic, by id; as hub_member_push().
 * HUB_ENOTFOUND as above. HUB_ETOOLARGE: more than the bus takes, to another node. Whoever is gone,
 * or has not joined, misses it without a word; what its wire format cannot carry is counted where
 * it is (skipped_total). Any thread. */
HUB_API HUB_MUST_USE hub_status_t hub_conn_push_id(hub_t *hub, hub_conn_id_t id, hub_str_t topic,
                                                   hub_str_t event, hub_payload_t payload);
/* Ends all connections of one identity, on all nodes: closed with 1001. Any thread. */
HUB_API HUB_MUST_USE hub_status_t hub_disconnect(hub_t *hub, hub_str_t identity);
/* An event on a topic to each connection of an identity that has joined it, on all nodes. Any
 * thread. */
HUB_API HUB_MUST_USE hub_status_t hub_push_identity(hub_t *hub, hub_str_t identity, hub_str_t topic,
                                                    hub_str_t event, hub_payload_t payload);

#ifdef __cplusplus
}
#endif
