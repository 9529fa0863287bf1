/* test/proxy.h - a TCP proxy between a bus and its broker, which does to their connections what
 * networks do. It runs on a thread of its own; a command is done when it returns. Any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

typedef struct proxy proxy_t;

typedef enum proxy_way {
    PROXY_TO_CLIENT = 1,
    PROXY_TO_BROKER = 2,
    PROXY_BOTH = 3,
} proxy_way_t;

/* From a port of its own to `broker_port`, both of 127.0.0.1. NULL: no port, or no thread. */
proxy_t *proxy_start(unsigned broker_port);
/* Ends all connections. NULL is allowed. */
void proxy_stop(proxy_t *proxy);
unsigned proxy_port(const proxy_t *proxy);

/* RST to both ends of every connection. */
void proxy_reset(proxy_t *proxy);
/* Nobody listens any more, or again. What stands goes on. */
void proxy_refuse(proxy_t *proxy, bool refuse);
/* As behind a router that forgot them: the connections that stand now stay open for ever, but what
 * is sent the given way is never seen again, an end included. New ones work. */
void proxy_deafen(proxy_t *proxy, proxy_way_t way);
/* Nothing is forwarded, of new connections neither, and nothing lost: all comes at the release. */
void proxy_hold(proxy_t *proxy, bool hold);
/* Puts bytes into the stream to the client, in every connection. */
void proxy_inject(proxy_t *proxy, const void *bytes, size_t size);
/* What is read from now on is forwarded so much later, each way. */
void proxy_delay(proxy_t *proxy, unsigned delay_ms);

size_t proxy_accepted(proxy_t *proxy); /* connections since the start */
size_t proxy_open(proxy_t *proxy);     /* those that stand */
