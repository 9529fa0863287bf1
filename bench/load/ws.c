/* SPDX-License-Identifier: MIT */
/* A load generator that shared the server's code would share its mistakes: this is written from the
 * RFC alone. */
#define _GNU_SOURCE
#include "bench/load/ws.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

#define HEAD_MAX 16384u
#define KEY "c29ja2V0aHViIGxvYWQgMQ==" /* need not be secret: no cache stands between */
#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

/* ---- frames ---- */

ws_result_t ws_read_header(const char *bytes, size_t len, ws_frame_t *ret_frame)
{
    unsigned code;
    size_t header;
    uint64_t body = 0;

    if (len < 2)
        return WS_INCOMPLETE;
    code = (unsigned char)bytes[1];
    header = code == 126 ? 4 : code == 127 ? 10 : 2;
    if (code > 127 || ((bytes[0] & 8) != 0 && (code > WS_CONTROL_MAX || (bytes[0] & 0x80) == 0)))
        return WS_INVALID;
    if (len < header)
        return WS_INCOMPLETE;
    body = header == 2 ? code : 0;
    for (size_t i = 2; i != header; ++i)
        body = body << 8 | (unsigned char)bytes[i];
    if (body > WS_MESSAGE_MAX)
        return WS_INVALID;
    *ret_frame = (ws_frame_t){.first = (uint8_t)bytes[0], .header_len = header, .body_len = body};
    return WS_OK;
}

char *ws_put_header(buffer_t *out, unsigned opcode, size_t body_len)
{
    size_t bytes = body_len < 126 ? 0 : body_len < 65536 ? 2 : 8;
    char *at = buffer_reserve(out, 2 + bytes + 4 + body_len);

    at[0] = (char)(WS_FIN | opcode);
    at[1] = (char)(0x80 | (bytes == 0 ? body_len : bytes == 2 ? 126 : 127));
    for (size_t i = 0; i != bytes; ++i)
        at[2 + i] = (char)(body_len >> (8 * (bytes - 1 - i)));
    memset(at + 2 + bytes, 0, 4);
    out->len += 2 + bytes + 4;
    return out->bytes + out->len;
}

void ws_put_frame(buffer_t *out, unsigned opcode, const char *body, size_t body_len)
{
    char *to = ws_put_header(out, opcode, body_len);

    memcpy(to, body, body_len);
    out->len += body_len;
}

/* ---- the upgrade ---- */

void ws_put_request(buffer_t *out, const char *host, const char *path, const char *subprotocol)
{
    char text[2048];
    int len = snprintf(text, sizeof(text),
                       "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\n"
                       "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                       "Sec-WebSocket-Key: " KEY "\r\n%s%s%s\r\n",
                       path, host, subprotocol != NULL ? "Sec-WebSocket-Protocol: " : "",
                       subprotocol != NULL ? subprotocol : "", subprotocol != NULL ? "\r\n" : "");

    buffer_append(out, text, (size_t)len < sizeof(text) ? (size_t)len : sizeof(text) - 1);
}

/* The answer to KEY. */
static const char *accept_of_key(void)
{
    static unsigned char accept[32];
    unsigned char digest[SHA_DIGEST_LENGTH];

    if (accept[0] == '\0') {
        SHA1((const unsigned char *)KEY GUID, strlen(KEY GUID), digest);
        EVP_EncodeBlock(accept, digest, sizeof(digest));
    }
    return (const char *)accept;
}

ws_result_t ws_read_answer(const char *bytes, size_t len, size_t *ret_len, char *why,
                           size_t why_size)
{
    const char *end = memmem(bytes, len, "\r\n\r\n", 4);
    const char *line = memchr(bytes, '\r', len);

    if (end == NULL && len < HEAD_MAX)
        return WS_INCOMPLETE;
    if (line == NULL || len < 12 || memcmp(bytes, "HTTP/1.1 101", 12) != 0) {
        snprintf(why, why_size, "no upgrade: %.*s", (int)(line != NULL ? line - bytes : 40), bytes);
        return WS_INVALID;
    }
    if (end == NULL || memmem(bytes, (size_t)(end - bytes), accept_of_key(), 28) == NULL) {
        snprintf(why, why_size, "no upgrade: Sec-WebSocket-Accept is not the one of our key");
        return WS_INVALID;
    }
    *ret_len = (size_t)(end - bytes) + 4;
    return WS_OK;
}
