/* bus/nats_settings.h - private: what a URL says of a NATS server, for libnats. */
#pragma once

#include <nats/nats.h>

#include "bus/backend.h"

/* Kept for as long as the bus: each connection is made from it anew, and so reads the files anew.
 * All strings are copies; NULL where one is absent. */
typedef struct hub__nats_settings {
    char *server; /* nats://host:port */
    char *host;   /* the name that the certificate must have */
    char *name;   /* of the connection, for the server's lists */
    /* The library pastes these into the JSON of CONNECT: they are escaped already. */
    char *user;
    char *password;
    char *token;
    bool tls;
    bool tls_verify;
    char *tls_ca;
    char *tls_cert;
    char *tls_key;
    char *creds;
    char *nkey;
    char *nkey_seed;
    unsigned connect_timeout_ms;
} hub__nats_settings_t;

/* HUB_EINVAL: an option that does not fit or a file that can't be read, which `error` names. */
hub_status_t hub__nats_settings_init(hub__nats_settings_t *settings, const hub_bus_target_t *target,
                                     hub_error_t *error);
void hub__nats_settings_dispose(hub__nats_settings_t *settings);
/* The library's options, but for callbacks; natsOptions_Destroy(). */
hub_status_t hub__nats_settings_options(const hub__nats_settings_t *settings,
                                        natsOptions **ret_options, hub_error_t *error);
