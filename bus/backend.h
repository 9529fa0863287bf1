/* bus/backend.h - for those who write a backend: the way to a broker, as the core sees it.
 *
 * A backend is a broker's client library and nothing else. The core (remote.h) numbers messages,
 * finds what is doubled or missing, keeps what is in flight, probes the connection and says when to
 * make a new one. A backend connects, again and again, with a pause of at most two
 * seconds between attempts, tells when it has a connection and when it has lost it, and carries
 * bytes. */
#pragma once

#include "bus/bus.h"

#ifdef __cplusplus
extern "C" {
#endif

#define HUB_BUS_BACKEND_API 1

/* What stands behind the '?' of a URL, decoded. */
typedef struct hub_bus_param {
    const char *name;
    const char *value;
} hub_bus_param_t;

/* A URL in its parts, decoded; NULL where one is absent. */
typedef struct hub_bus_url {
    const char *scheme;
    const char *user;
    const char *password;          /* must never reach a log or an error */
    const char *host;              /* an IPv6 address without its brackets */
    unsigned port;                 /* 0: absent */
    const char *path;              /* without the '/' before it, where there is a host */
    const hub_bus_param_t *params; /* but for those of the core */
    size_t param_count;
} hub_bus_url_t;

/* What a backend is opened with; borrowed until open() returns. */
typedef struct hub_bus_target {
    const hub_bus_url_t *url; /* NULL: not by URL */
    const void *options;      /* backend_options of hub_bus_options_t */
    const char *bus_name;     /* is part of every topic already */
} hub_bus_target_t;

struct hub_bus_backend {
    uint32_t api;     /* HUB_BUS_BACKEND_API */
    const char *name; /* "redis" */
    /* Starts connecting and returns at once; `ret_self` is handed to the rest, and must be set
     * before any call into the core. HUB_EINVAL for bad options, with `error`, which names the
     * option. */
    hub_status_t (*open)(hub_bus_t *bus, const hub_bus_target_t *target, void **ret_self,
                         hub_error_t *error);
    /* Asynchronous: hub_bus_remote_subscribed(topic, token) follows when the broker has taken it,
     * or hub_bus_remote_refused(), unless it is unsubscribed or the connection ends before. Called
     * only between hub_bus_remote_up() and hub_bus_remote_down(), on any thread, and never twice
     * for a topic without unsubscribe() between. Answers come in the order of the calls, near
     * enough: one that comes later than that of a later call by probe_timeout_ms is taken for
     * lost, and the connection for deaf. `topic` is borrowed: 1 to 1,090 bytes of UTF-8 without
     * controls; one is the core's own, "<name>/probe/<node>". Must not block nor call back. */
    void (*subscribe)(void *self, hub_str_t topic, uint64_t token);
    void (*unsubscribe)(void *self, hub_str_t topic);
    /* HUB_OK: taken, hub_bus_remote_published(token) follows. HUB_EBUSDOWN: there is no connection.
     * After any failure nothing is sent. Calls for one topic come one after the other, and that is
     * the order on the wire. Borrowed. Must not block nor call back. Any thread. */
    hub_status_t (*publish)(void *self, hub_str_t topic, hub_str_t bytes, uint64_t token);
    /* The connection is of no use (deaf, say): end it, which is hub_bus_remote_down(), and make
     * another. Asked again, after each probe_timeout_ms, until it is down. Asynchronous; must not
     * block nor call back. On the core's thread, never once close() was called. */
    void (*reconnect)(void *self);
    /* No call into the core starts after this returns. Bounded in time: a broker that hangs is left
     * alone. */
    void (*close)(void *self);
    size_t (*largest_message)(void *self); /* of `bytes`; SIZE_MAX: none. NULL: none. Any thread. */
    bool one_order; /* what different nodes publish on a topic reaches all of them in one order;
                       else HUB_MESSAGE_BUS_ORDER is refused */
    /* As publish(), for what has that flag, where only another way there has one order: positions
     * of it go by this way, too. NULL: publish() has it. HUB_EREJECTED: the broker at hand can't
     * (a nats-server without JetStream), which the backend has logged, with what to do. */
    hub_status_t (*publish_ordered)(void *self, hub_str_t topic, hub_str_t bytes, uint64_t token);
    /* It is going to be used: time to find out whether the broker can. NULL: there is nothing to
     * find out. Must not block nor call back. Any thread. */
    void (*want_order)(void *self);
};

/* ---- what a backend calls back ----
 * On any thread, but never from within a call of the core into the backend and never under a lock
 * that such a call takes: subscribers without executor run inside these, and may publish and
 * subscribe. Never two of up, down, subscribed and message at once. */

/* A connection stands (again): the core subscribes all its topics anew. */
HUB_API void hub_bus_remote_up(hub_bus_t *bus);
/* It is gone, with all that was subscribed: publishes fail from now on, and those in flight are
 * HUB_EUNKNOWN. */
HUB_API void hub_bus_remote_down(hub_bus_t *bus);
/* The broker has taken this subscription: whatever is published from now on comes here. Late ones
 * are ignored. */
HUB_API void hub_bus_remote_subscribed(hub_bus_t *bus, hub_str_t topic, uint64_t token);
/* The broker does not take this one (no permission, a name too long for it), and would not the next
 * time: the topic lives on this node alone, which is told as a gap, until the next connection.
 * What may work a second later is no refusal: end the connection. A backend that asks again by
 * itself may still say hub_bus_remote_subscribed() with the same token. */
HUB_API void hub_bus_remote_refused(hub_bus_t *bus, hub_str_t topic, uint64_t token,
                                    hub_status_t status);
/* Bytes that arrived for `topic` (as the core subscribed it), this node's own among them. Junk is
 * counted and ignored. */
HUB_API void hub_bus_remote_message(hub_bus_t *bus, hub_str_t topic, hub_str_t bytes);
/* Something that the broker handed over, and that is no message: it is counted, and a line in the
 * log says so. `topic` is where it was, `what` what it was. Any thread. */
HUB_API void hub_bus_remote_invalid(hub_bus_t *bus, hub_str_t topic, const char *what);
/* The answer to publish(): one for each that returned HUB_OK; late and doubled ones are ignored,
 * and none is needed once the connection is down. HUB_OK: the broker has it. Any other status: the
 * broker refused it. May come at the same time as other calls. */
HUB_API void hub_bus_remote_published(hub_bus_t *bus, uint64_t token, hub_status_t status);

/* ---- schemes ---- */

/* Makes hub_bus_open() use `backend`, which must last as long as the program, for `scheme`: lower
 * case letters, digits, '+', '-' and '.', at most 31. HUB_EEXIST: it is taken, also by a built-in
 * one. HUB_EINVAL: its api is not ours, or no scheme. HUB_ELIMIT: 32 are registered. Any thread. */
HUB_API HUB_MUST_USE hub_status_t hub_bus_register(const char *scheme,
                                                   const hub_bus_backend_t *backend,
                                                   hub_error_t *error);

#ifdef __cplusplus
}
#endif
