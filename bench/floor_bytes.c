/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "bench/floor_bytes.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/report.h"

/* ---- blocks ---- */

void *must(void *memory)
{
    if (memory == NULL)
        bench_fail("out of memory");
    return memory;
}

void append(block_t **block, const char *bytes, size_t len)
{
    size_t old = *block != NULL ? (*block)->len : 0, size = *block != NULL ? (*block)->size : 0;

    if (old + len > size) {
        size = size * 2 > old + len ? size * 2 : old + len;
        *block = must(realloc(*block, sizeof(**block) + size));
        (*block)->size = size;
    }
    memcpy((*block)->bytes + old, bytes, len);
    (*block)->len = old + len;
}

void drop(block_t **block)
{
    free(*block);
    *block = NULL;
}

/* ---- frames ---- */

char *put_header(char *body, unsigned char first, size_t len)
{
    size_t bytes = len < 126 ? 0 : len < 65536 ? 2 : 8;
    unsigned char *header = (unsigned char *)body - bytes - 2;

    header[0] = first;
    header[1] = (unsigned char)(bytes == 0 ? len : bytes == 2 ? 126 : 127);
    for (size_t i = 0; i != bytes; ++i)
        header[2 + i] = (unsigned char)(len >> (8 * (bytes - 1 - i)));
    return (char *)header;
}

static size_t header_of(const char *frame)
{
    return frame[1] == 126 ? 4 : frame[1] == 127 ? 10 : 2;
}

size_t frame_length(const char *frame)
{
    size_t header = header_of(frame), len = 0;

    if (header == 2)
        return 2 + (size_t)frame[1];
    for (size_t i = 2; i != header; ++i)
        len = len << 8 | (unsigned char)frame[i];
    return header + len;
}

void unmask(char *body, size_t len, const char *key)
{
    uint64_t word, mask;

    memcpy(&mask, key, 4);
    memcpy((char *)&mask + 4, key, 4);
    for (; len >= 8; body += 8, len -= 8) {
        memcpy(&word, body, 8);
        word ^= mask;
        memcpy(body, &word, 8);
    }
    for (size_t i = 0; i != len; ++i)
        body[i] ^= key[i % 4];
}

void accept_of(const char *key, size_t len, unsigned char accept[static FLOOR_ACCEPT_SIZE])
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    char text[128];
    unsigned char digest[SHA_DIGEST_LENGTH];
    int text_len = snprintf(text, sizeof(text), "%.*s%s", (int)len, key, guid);

    SHA1((const unsigned char *)text, (size_t)text_len, digest);
    EVP_EncodeBlock(accept, digest, sizeof(digest));
}
