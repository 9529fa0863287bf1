/* bus/redis_options.h - private: what the URL of a Redis says. */
#pragma once

#include "bus/backend.h"

typedef struct hub__redis_options {
    char *user;     /* NULL: the default one */
    char *password; /* NULL: none is asked for; must never reach a log */
    char *host;     /* NULL: at `path` */
    char *path;     /* of a socket */
    char *address;  /* for the log: "127.0.0.1:6379", or the path */
    char *name;     /* what CLIENT LIST shows */
    uint16_t port;
    uint32_t db;
    uint32_t connect_timeout_ms;
    uint32_t max_message_bytes;
} hub__redis_options_t;

/* HUB_EINVAL: `error` names the option. Dispose in any case. */
hub_status_t hub__redis_options_read(const hub_bus_target_t *target,
                                     hub__redis_options_t *ret_options, hub_error_t *error);
void hub__redis_options_dispose(hub__redis_options_t *options);
