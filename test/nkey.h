/* test/nkey.h - keys as NATS writes them, and what is signed with them: for a server with accounts
 * of its own. */
#pragma once

#include <openssl/types.h>

typedef struct nkey {
    EVP_PKEY *key;
    char name[64]; /* the public key: "U..." for a user, "A..." an account, "O..." an operator */
    char seed[64]; /* the private one: "SU..." */
} nkey_t;

/* `kind` is 'U', 'A' or 'O'. */
nkey_t nkey_make(char kind);
void nkey_free(nkey_t *nkey);
/* A token in which `by` says of `of` what stands in the JSON object `claims`, as in
 * "\"type\":\"user\"". Owned by the caller (free). */
char *nkey_certify(const nkey_t *by, const nkey_t *of, const char *claims);
