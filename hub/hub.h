/* hub/hub.h - the one header a program includes.
 *
 * A hub is a name, its channels, its hooks and its bus: the unit of isolation. Declare channels,
 * then hub_run(). More in channels/channel.h (callbacks), hub/member.h (what they act on),
 * hub/conn.h, hub/endpoint.h (who may connect), hub/server.h (several hubs, routes, threads),
 * bus/bus.h. */
#pragma once

#include "bus/base.h"
#include "bus/bus.h"
#include "bus/log.h"
#include "bus/message.h"
#include "channels/channel.h"
#include "hub/conn.h"
#include "hub/endpoint.h"
#include "hub/member.h"
#include "hub/presence.h"
#include "hub/route.h"
#include "hub/server.h"
#include "hub/metrics.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hub_options {
    const char *name; /* goes before its topics on the bus; NULL: "hub" */
    hub_bus_t *bus;   /* borrowed, destroyed by the caller after the hub; NULL: an in-memory one of
                         its own */
    void *user;       /* hub_user() */
    size_t offload_threads;    /* 0 means 4 */
    size_t offload_queue;      /* jobs waiting; 0 means 1,024; then HUB_ELIMIT */
    hub_error_t *ret_error;    /* filled on failure; may be NULL */
    uint32_t presence_beat_ms; /* workers and nodes with presence let each other know so often that
                                  they live; who is silent for four to five times as long is
                                  cleared, and comes back when it is heard again. While the bus is
                                  not healthy nobody counts as silent, for at most sixty times as
                                  long: an outage of the broker that all survive is not told to
                                  members. A node that is cut off alone shows the others so long,
                                  who clear it meanwhile. 0 means 10,000 */
    size_t topics_max; /* topics with members, those of each worker counted; a join of one more is
                          answered `busy`; 0 means 1,000,000, HUB_OFF switches it off */
    size_t conns_max;  /* connections on all endpoints of this root; one more is 503; 0: as many as
                          its server takes */
} hub_options_t;

/* Owned by the caller (hub_destroy). `options` is copied and may be NULL. Any thread. */
HUB_API HUB_MUST_USE hub_status_t hub_create(const hub_options_t *options, hub_t **ret_hub);

/* After its server has stopped. A hub that was included is destroyed by its own caller, after its
 * parent. NULL is allowed. */
HUB_API void hub_destroy(hub_t *hub);

HUB_API void *hub_user(const hub_t *hub);       /* Any thread. */
HUB_API const char *hub_name(const hub_t *hub); /* Any thread. */

/* Declares a channel, until the start: then HUB_EBUSY. A pattern that does not compile or conflicts
 * is an error now or, where an included hub is concerned, at the start; logged, and in
 * options->ret_error. */
HUB_API HUB_MUST_USE hub_status_t hub_channel_add(hub_t *hub, const hub_channel_options_t *options);

/* Makes the channels of `sub` channels of `parent` under `prefix`, a pattern fragment ("admin:",
 * "app:{app}:"; copied; "" allowed), to any depth. `sub` keeps its hooks and user pointer; its
 * callbacks see topics and parameters as declared; its own calls (hub_publish(sub, …)) add the
 * prefix. HUB_EEXIST: included already, here or elsewhere. HUB_ECONFLICT: in a circle. HUB_EBUSY
 * after the start. `sub` must outlive `parent`. */
HUB_API HUB_MUST_USE hub_status_t hub_include(hub_t *parent, hub_t *sub, const char *prefix);

/* Serves the hub at `address` ("127.0.0.1:4000", port 0 lets the kernel pick, "[::1]:4000",
 * "unix:/path", "fd:3"; ":4000" is 0.0.0.0:4000) with one endpoint at /socket, until SIGTERM or
 * SIGINT, then drains. Errors were logged with what and where. Blocks. */
HUB_API hub_status_t hub_run(hub_t *hub, const char *address);

/* Publishes to every member of a topic, on all workers and nodes, from outside or inside a
 * callback. Copied. HUB_EPAYLOAD, HUB_ETOPIC, HUB_EBUSDOWN, HUB_ECLOSED (not started, or stopped),
 * HUB_EINVAL (an included hub whose prefix has parameters: use the root with the full topic). Any
 * thread. */
HUB_API HUB_MUST_USE hub_status_t hub_publish(hub_t *hub, hub_str_t topic, hub_str_t event,
                                              hub_payload_t payload);
/* As hub_publish(); inside a callback the fan-out happens at the end of the turn, before any later
 * publish of that topic by the same thread. Any thread. */
HUB_API HUB_MUST_USE hub_status_t hub_emit(hub_t *hub, hub_str_t topic, hub_str_t event,
                                           hub_payload_t payload);
/* As hub_publish(), with a completion: exactly once, on a later turn of a worker of the hub (of the
 * calling one, inside a callback). Any thread. */
HUB_API HUB_MUST_USE hub_status_t hub_publish_counted(hub_t *hub, hub_str_t topic, hub_str_t event,
                                                      hub_payload_t payload,
                                                      hub_on_published_cb on_published, void *user);

/* ---- hooks ---- */

typedef enum hub_hook {
    HUB_HOOK_MESSAGE_IN,    /* veto: before a client's message is dispatched; any error drops it and
                               answers with that code */
    HUB_HOOK_OPEN,          /* a connection is open; may send once something is joined */
    HUB_HOOK_JOIN,          /* a member has joined, before its reply leaves */
    HUB_HOOK_LEAVE,         /* a member has ended, after its on_exit */
    HUB_HOOK_DISCONNECTING, /* a connection ends; its members are still there */
    HUB_HOOK_DISCONNECT,    /* it has ended; its members are gone */
    HUB_HOOK_MESSAGE_SENT, /* a frame was handed to the kernel. Setting it costs one queue entry per
                              frame */
    HUB_HOOK_MESSAGE_FAILED, /* a frame was queued for a connection that ended first, or found its
                                outbox full */
    HUB_HOOK_ERROR,          /* a callback or hook failed, or an envelope was bad */
    HUB_HOOK_COUNT,
} hub_hook_t;

typedef struct hub_hook_event {
    hub_hook_t hook;
    hub_t *hub;
    hub_conn_t *conn;         /* never NULL */
    hub_member_t *member;     /* NULL where it is not about one */
    const hub_message_t *msg; /* message hooks; topic and event alone where the payload is not at
                                 hand any more; NULL elsewhere */
    hub_status_t status;      /* error, message failed */
    hub_disconnect_reason_t reason; /* disconnecting, disconnect */
    hub_exit_t exit;                /* leave */
} hub_hook_event_t;

/* Only a veto hook's result counts: anything but HUB_OK vetoes, and the rest are not asked. A
 * notify hook that fails is logged, the others run. */
typedef hub_status_t (*hub_hook_cb)(const hub_hook_event_t *event, void *user);

/* Appends; several of each, called in the order added, on the loop of the connection. Hooks of an
 * included hub see its members only; of the root, everything. Until the start: HUB_EBUSY.
 * */
HUB_API HUB_MUST_USE hub_status_t hub_hook_add(hub_t *hub, hub_hook_t hook, hub_hook_cb on_hook,
                                               void *user);

/* Appends one more to be asked who may connect, in the order added, on every endpoint of this hub
 * and before the endpoint's own on_authorize: the first that refuses ends it, and the rest are not
 * asked. Each may grant (the last grant counts), refuse or defer. Of a root: those of an included
 * hub are never asked. Until the start: HUB_EBUSY. */
HUB_API HUB_MUST_USE hub_status_t hub_authorize_add(hub_t *hub, hub_on_authorize_cb on_authorize,
                                                    void *user);

#ifdef __cplusplus
}
#endif
