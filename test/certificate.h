/* test/certificate.h - keys and certificates of a test's own, made when it runs. */
#pragma once

#include <openssl/types.h>

#include "bus/base.h"

typedef struct certificate {
    char certificate_file[256];
    char key_file[256];
} certificate_t;

/* A folder of the case's own and a P-256 key with a self-signed certificate for this name in it,
 * good from yesterday for so many days (less than one: it has expired). With a passphrase (NULL:
 * none) the key is encrypted. Fails the case where it fails. */
certificate_t certificate_make(const char *name, int days, const char *passphrase);
/* The files of `from` take the places of those of `to`. */
void certificate_replace(const certificate_t *to, const certificate_t *from);
/* What is in `from` comes behind what is in `to`. */
void certificate_append(const char *to, const char *from);
/* Writes this to a file of the folder; returns its path, valid until the next call. */
const char *certificate_write(const char *name, const char *text);
/* A client's context that trusts anybody, TLS 1.2 and up. SSL_CTX_free(). */
SSL_CTX *certificate_client(void);
/* The name in the certificate that the server showed. Valid until the next call. */
const char *certificate_name(SSL *ssl);
/* Removes the folder. */
void certificate_forget(void);
