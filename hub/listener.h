/* hub/listener.h - private: an address and its sockets. */
#pragma once

#include "hub/internal.h"

/* One address of a server. With several workers on TCP each has a socket of its own under
 * SO_REUSEPORT. */
typedef struct hub__listener {
    struct hub__listener *next;
    char *address;   /* as bound */
    char *unix_path; /* removed at the end; NULL: none */
    int *fds;        /* one per worker; the same one where the kernel does not spread */
    unsigned count;
    hub__tls_t *tls; /* NULL: plain. Destroyed with it */
} hub__listener_t;

/* Binds and listens. Errors name the address. */
hub_status_t hub__listener_open(const char *address, unsigned workers,
                                hub__listener_t **ret_listener, hub_error_t *error);
/* From now on those it accepts speak TLS with this, which is taken. */
void hub__listener_secure(hub__listener_t *listener, hub__tls_t *tls);
void hub__listener_destroy(hub__listener_t *listener);
