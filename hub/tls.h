/* hub/tls.h - the certificate and what goes with it, for listeners that speak TLS.
 *
 *     hub_server_listen_tls(server, "0.0.0.0:443", &(hub_tls_options_t){
 *         .certificate_file = "/etc/ssl/chat.pem", .key_file = "/etc/ssl/chat.key"});
 *
 * TLS 1.2 and 1.3 (RFC 5246, RFC 8446), with HTTP/1.1 alone (a client whose ALPN offers nothing
 * else than h2 is refused, RFC 7301 3.2); no compression, no renegotiation, no early data. Clients
 * are not asked for certificates. More than 32 key updates (RFC 8446 4.6.3) in ten seconds end a
 * connection. The deadline of the handshake is request_ms, together with that
 * of the request that follows. */
#pragma once

#include "bus/base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum hub_tls_version {
    HUB_TLS_1_2, /* the default */
    HUB_TLS_1_3,
} hub_tls_version_t;

typedef struct hub_tls_options {
    /* PEM: the server's certificate first, then those that lead to its root. At most 1 MiB. */
    const char *certificate_file;
    const char *key_file;       /* PEM, the private key; NULL: it is in certificate_file */
    const char *key_passphrase; /* of an encrypted key; NULL: it is not encrypted */
    hub_tls_version_t min_version;
    const char *ciphers; /* of TLS 1.2, as `openssl ciphers` takes them; NULL: AEAD with forward
                            secrecy, those that all browsers know */
    const char *ciphersuites; /* of TLS 1.3, likewise; NULL: OpenSSL's own */
    /* By default a client that comes back may resume its session, for two hours and until the next
     * reload, by a ticket under a key that never leaves the process. */
    bool no_session_tickets;
} hub_tls_options_t;

#ifdef __cplusplus
}
#endif
