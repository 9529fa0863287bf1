/* bench/load/ws.h - the client's side of RFC 6455 as functions over bytes.
 *
 * Frames go out under a masking key of zero: a server has to undo it like any other, and the load
 * generator has no work with it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/load/buffer.h"

#define WS_FIN 0x80u
#define WS_CONTINUATION 0u
#define WS_TEXT 1u
#define WS_BINARY 2u
#define WS_CLOSE 8u
#define WS_PING 9u
#define WS_PONG 10u

#define WS_CONTROL_MAX 125u
#define WS_MESSAGE_MAX (64u << 20)

typedef struct ws_frame {
    uint8_t first; /* FIN and opcode, reserved bits as they came */
    size_t header_len, body_len;
} ws_frame_t;

/* How much of a frame is at hand, or what is wrong with it. */
typedef enum ws_result { WS_OK, WS_INCOMPLETE, WS_INVALID } ws_result_t;

/* Of a server: one that is masked is invalid. WS_OK says nothing of the body. */
ws_result_t ws_read_header(const char *bytes, size_t len, ws_frame_t *ret_frame);

/* Appends a header and makes room for a body, whose length is not added to that of `out` yet. */
char *ws_put_header(buffer_t *out, unsigned opcode, size_t body_len);
void ws_put_frame(buffer_t *out, unsigned opcode, const char *body, size_t body_len);

/* Appends a request to upgrade; `subprotocol` may be NULL. */
void ws_put_request(buffer_t *out, const char *host, const char *path, const char *subprotocol);
/* The length of the answer's head. WS_INVALID: it is no upgrade, and `why` (of `why_size` bytes)
 * says what it is. */
ws_result_t ws_read_answer(const char *bytes, size_t len, size_t *ret_len, char *why,
                           size_t why_size);
