/* hub/reception.h - private: how a worker accepts, and the connections that have not become
 * websockets yet. */
#pragma once

#include "hub/census.h"
#include "hub/internal.h"
#include "hub/stall.h"

/* A connection before its handshake, or between requests. */
typedef struct hub__visitor hub__visitor_t;

/* What a worker needs to accept. */
typedef struct hub__reception {
    hub__worker_t *worker;
    h2o_accept_ctx_t accept;
    h2o_socket_t **sockets;
    hub__tls_t **tls; /* of each; NULL: plain */
    unsigned socket_count;
    hub__timer_t rearm; /* after a pause for want of descriptors */
    int spare_fd;       /* given up to tell those who wait that there is none; -1: it is gone */
    uint64_t pause_logged_ms;
    hub__visitor_t *first, **last; /* oldest first */
    unsigned count, limit;
    unsigned present;      /* and those who were shown out, until h2o has noticed */
    hub__census_t *census; /* of the server; NULL: nothing is limited per address */
    const hub__proxies_t *proxies;
    uint64_t request_ms;
    size_t stall_ms;
    uint64_t look_ms; /* between two looks at one that gets an answer */
} hub__reception_t;

/* `visitors`: how many at once. */
hub__reception_t *hub__reception_create(hub__worker_t *worker, h2o_globalconf_t *config,
                                        const hub_server_limits_t *limits, unsigned visitors,
                                        hub__census_t *census, const hub__proxies_t *proxies);
/* Accepts from a socket of a listener from now on. `fd` is taken: nobody else may keep the port
 * open. `tls` (borrowed as long as the reception) may be NULL. */
void hub__reception_add(hub__reception_t *reception, int fd, hub__tls_t *tls);
/* No more accepting; those who are here are shown out. */
void hub__reception_close(hub__reception_t *reception);
/* Nobody may be left. */
void hub__reception_destroy(hub__reception_t *reception);
/* A request of this socket is being handled: it gets an answer, which it takes without stalling
 * for write_stall_ms, and asks again within request_ms. False: it was shown out, nobody waits for
 * an answer. */
bool hub__reception_busy(h2o_socket_t *socket);
/* The answer is still to come, within so long. */
void hub__reception_hold(h2o_socket_t *socket, uint64_t wait_ms);
/* A poll of this socket waits, for so long at most: meanwhile it is no visitor who could be asked
 * to make room, and a stop does not show it out before it has its answer. Nothing happens where it
 * is not one of ours. */
void hub__reception_park(h2o_socket_t *socket, uint64_t wait_ms);
void hub__reception_unpark(h2o_socket_t *socket);
/* Steps of a TLS handshake with a visitor. Nothing happens where the socket is not one of ours. */
void hub__reception_answered(h2o_socket_t *socket); /* from here on alerts are encrypted */
void hub__reception_greeted(h2o_socket_t *socket);  /* it is done */
void hub__reception_alerted(h2o_socket_t *socket, unsigned char description);
/* It has failed; h2o is about to close. `why` is OpenSSL's. */
void hub__reception_rejected(h2o_socket_t *socket, const char *why);
/* Who sends this request: X-Forwarded-For counts where a trusted proxy is the peer. False: it has
 * no address. */
bool hub__reception_client(h2o_socket_t *socket, const hub__proxies_t *proxies,
                           const hub__request_head_t *head, hub__address_t *ret_client);
/* Whether its client may have one connection more: this socket, which was counted when it was
 * accepted, unless it comes from a proxy. Refusals are counted and logged. */
bool hub__reception_admit(h2o_socket_t *socket, const hub__request_head_t *head);
/* The same for one that outlives the socket; left by its owner. `*ret_resident` stays as it is
 * where nothing is counted. */
bool hub__reception_admit_poll(h2o_socket_t *socket, const hub__request_head_t *head,
                               hub__resident_t **ret_resident);
/* The peer has said its last (close_notify): it is shown out, unless there is a request of it,
 * whose answer is the last. */
void hub__reception_ended(h2o_socket_t *socket);
bool hub__reception_has_ended(const h2o_socket_t *socket);
/* As hub__tls_chatters(), once its handshake is done. True: it is shown out. */
bool hub__reception_chatters(h2o_socket_t *socket, int is_write, int content_type,
                             const void *bytes, size_t len);
/* It is no visitor any more. */
void hub__reception_release(h2o_socket_t *socket);
