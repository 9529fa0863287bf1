/* SPDX-License-Identifier: MIT */
#include "test/nkey.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus/buffer.h"

#define KEY_BYTES 32
#define SEED_PREFIX ('S' - 'A')

static unsigned crc16(const unsigned char *bytes, size_t len)
{
    unsigned crc = 0;

    for (size_t i = 0; i < len; i++) {
        crc ^= (unsigned)bytes[i] << 8;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1) & 0xffff;
    }
    return crc;
}

/* Appends the checksum, and writes all of it in the 32 letters of RFC 4648, without padding. */
static void write_key(unsigned char *bytes, size_t len, char *text)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    unsigned crc = crc16(bytes, len), held = 0, bits = 0;

    bytes[len++] = crc & 0xff;
    bytes[len++] = (unsigned char)(crc >> 8);
    for (size_t i = 0; i < len; i++) {
        held = held << 8 | bytes[i];
        for (bits += 8; bits >= 5; bits -= 5)
            *text++ = letters[held >> (bits - 5) & 31];
    }
    if (bits > 0)
        *text++ = letters[held << (5 - bits) & 31];
    *text = '\0';
}

nkey_t nkey_make(char kind)
{
    nkey_t nkey = {.key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519")};
    unsigned char bytes[KEY_BYTES + 4], prefix = (unsigned char)((kind - 'A') << 3);
    size_t len = KEY_BYTES;

    assert_int_equal(EVP_PKEY_get_raw_public_key(nkey.key, bytes + 1, &len), 1);
    bytes[0] = prefix;
    write_key(bytes, 1 + KEY_BYTES, nkey.name);
    len = KEY_BYTES;
    assert_int_equal(EVP_PKEY_get_raw_private_key(nkey.key, bytes + 2, &len), 1);
    bytes[0] = (unsigned char)(SEED_PREFIX << 3 | prefix >> 5);
    bytes[1] = (unsigned char)((prefix & 31) << 3);
    write_key(bytes, 2 + KEY_BYTES, nkey.seed);
    return nkey;
}

void nkey_free(nkey_t *nkey)
{
    EVP_PKEY_free(nkey->key);
}

/* Base64 for URLs. */
static void append_base64(hub__buffer_t *buffer, const unsigned char *bytes, size_t len)
{
    char *text = hub__buffer_reserve(buffer, 4 * (len / 3 + 1) + 1), *at;

    EVP_EncodeBlock((unsigned char *)text, bytes, (int)len);
    for (at = text; *at != '\0' && *at != '='; at++)
        *at = *at == '+' ? '-' : *at == '/' ? '_' : *at;
    buffer->len += (size_t)(at - text);
}

char *nkey_certify(const nkey_t *by, const nkey_t *of, const char *claims)
{
    static const char header[] = "{\"typ\":\"JWT\",\"alg\":\"ed25519-nkey\"}";
    unsigned char signature[64];
    size_t signature_bytes = sizeof(signature);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    hub__buffer_t token = {0};
    char body[1024];

    snprintf(body, sizeof(body),
             "{\"jti\":\"%s\",\"iat\":1700000000,\"iss\":\"%s\",\"sub\":\"%s\",\"name\":\"test\","
             "\"nats\":{\"version\":2,%s}}",
             of->name, by->name, of->name, claims);
    append_base64(&token, (const unsigned char *)header, sizeof(header) - 1);
    hub__buffer_append(&token, HUB_STR("."));
    append_base64(&token, (const unsigned char *)body, strlen(body));
    assert_int_equal(EVP_DigestSignInit(context, NULL, NULL, NULL, by->key), 1);
    assert_int_equal(EVP_DigestSign(context, signature, &signature_bytes,
                                    (const unsigned char *)token.base, token.len),
                     1);
    EVP_MD_CTX_free(context);
    hub__buffer_append(&token, HUB_STR("."));
    append_base64(&token, signature, signature_bytes);
    hub__buffer_append(&token, hub_str_n("", 1));
    return token.base;
}
