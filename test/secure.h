/* test/secure.h - the fixture of the wire tests over TLS: a server with a certificate of its own,
 * and clients that have made their handshake with it. */
#pragma once

#include "test/certificate.h"
#include "test/server.h"

typedef struct secure {
    server_t *server; /* address: that of the TLS listener; a plain one comes behind it */
    certificate_t files;
    SSL_CTX *context; /* of clients */
} secure_t;

/* Not started. `options` may be NULL; the certificate's name is "first". */
secure_t *secure_create(const hub_server_options_t *options, const hub_tls_options_t *tls);
/* With a channel t{n}: "say" is broadcast, [count,size] to "burst" pushes so many strings of that
 * size, "ask" is answered with its payload, "thread" with the number of its thread; a channel
 * old{n} whose slow members lose the oldest of more than three; hooks note "closed <reason>". */
void secure_start(secure_t *secure, const hub_endpoint_options_t *endpoint);
secure_t *secure_chat(const hub_server_options_t *options, const hub_limits_t *limits);

/* TCP alone; closed at the end of the case. */
client_t *secure_connect(secure_t *secure);
/* With the TLS handshake done. */
client_t *secure_client(secure_t *secure);
/* And that of the websocket. */
client_t *secure_websocket(secure_t *secure);
/* And a member of t1. */
client_t *secure_member(secure_t *secure);
/* The handshake fails on the client's side with this reason. */
void secure_expect_refused(secure_t *secure, SSL_CTX *context, const char *why);
/* close_notify and FIN, nothing before. */
void secure_expect_end(client_t *client);

int secure_teardown(void **state);
#define SECURE_CASE(name) cmocka_unit_test_teardown(name, secure_teardown)
