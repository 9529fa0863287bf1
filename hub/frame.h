/* hub/frame.h - private: RFC 6455 as pure functions over bytes. No sockets, no clock, no hub.
 *
 * The reader takes chunks as they come, of any size, and hands out events. A whole unfragmented
 * message that lies within one chunk is unmasked in place and handed out without a copy; anything
 * else is gathered in one growing buffer that exists only while a message is unfinished. An idle
 * reader owns no memory. Every limit is checked on the header, before anything is stored. */
#pragma once

#include "bus/base.h"
#include "bus/buffer.h"

/* RFC 6455 5.2 */
typedef enum hub__opcode {
    HUB__OP_CONTINUATION = 0x0,
    HUB__OP_TEXT = 0x1,
    HUB__OP_BINARY = 0x2,
    HUB__OP_CLOSE = 0x8,
    HUB__OP_PING = 0x9,
    HUB__OP_PONG = 0xA,
} hub__opcode_t;

#define HUB__FRAME_FIN 0x80
#define HUB__FRAME_RSV1 0x40
#define HUB__FRAME_HEADER_MAX 10 /* of a server's frame, which carries no mask */
#define HUB__CLOSE_REASON_MAX 123

/* Writes the header of an unmasked frame of `payload_len` bytes in its shortest form (5.2); `first`
 * is the opcode, with HUB__FRAME_FIN and HUB__FRAME_RSV1 where they apply. Returns its length: 2, 4
 * or 10. */
size_t hub__frame_header(char buffer[HUB__FRAME_HEADER_MAX], unsigned first, uint64_t payload_len);
/* The length that hub__frame_header() would return. */
size_t hub__frame_header_len(uint64_t payload_len);
/* Reads back one complete frame that we made: its header and payload lengths. For transports that
 * need the body alone and for policies that drop by message. */
size_t hub__frame_split(const char *frame, size_t *ret_payload_len);

/* Writes a close frame (5.5.1): code and reason, the reason cut at a character border to
 * HUB__CLOSE_REASON_MAX bytes, or before the first byte that is not UTF-8. Code 0 makes an empty
 * close frame. `buffer` holds 2 + 125 bytes. Returns the length. */
size_t hub__frame_close(char buffer[127], unsigned code, hub_str_t reason);

/* Whether a peer may send this code in a close frame (7.4: 1000-1003, 1007-1014, 3000-4999). */
bool hub__close_code_valid(unsigned code);

/* XORs `len` bytes with the masking key, starting at its byte `phase` (0-3). In place; at memory
 * speed. The four bytes of `key` lie in memory as they do on the wire. */
void hub__frame_unmask(char *bytes, size_t len, uint32_t key, unsigned phase);

/* UTF-8 over any borders (RFC 3629), fail-fast: state 0 is "at a character's border". A rejected
 * one stays so. */
typedef struct hub__utf8 {
    uint32_t state;
} hub__utf8_t;
#define HUB__UTF8_REJECT UINT32_MAX
/* False at the first byte that no continuation can make valid. */
bool hub__utf8_feed(hub__utf8_t *utf8, const char *bytes, size_t len);
static inline bool hub__utf8_complete(const hub__utf8_t *utf8)
{
    return utf8->state == 0;
}

typedef struct hub__frame_limits {
    size_t message_bytes; /* reassembled; more is 1009. Compressed it may be an eighth longer: what
                             has no pattern grows */
    size_t fragments;     /* frames per message, empty ones counted; more is 1008 */
    bool allow_rsv1;      /* permessage-deflate was negotiated */
    bool fragments_unlimited;
} hub__frame_limits_t;

typedef enum hub__frame_event_kind {
    HUB__FRAME_NEED_MORE, /* the chunk is used up */
    HUB__FRAME_MESSAGE,   /* text or binary, complete; text proven UTF-8 unless compressed */
    HUB__FRAME_PING,
    HUB__FRAME_PONG,
    HUB__FRAME_CLOSE, /* `code` 0: none given */
    HUB__FRAME_ERROR, /* `code` is the close code to send, `reason` why */
} hub__frame_event_kind_t;

typedef struct hub__frame_event {
    hub__frame_event_kind_t kind;
    bool binary;
    bool compressed; /* RSV1 was set on the first frame; the text is then not checked yet */
    unsigned code;
    hub_str_t payload; /* also a close's reason; borrowed until the next call */
    const char *reason;
} hub__frame_event_t;

/* Zeroed storage is a fresh reader. Everything unfinished lies in one block: what is known of the
 * frame, then the gathered payload. It grows with what arrives, never with what a header announces.
 */
typedef struct hub__frame_reader {
    struct hub__unfinished *block; /* NULL: nothing is */
    bool ended; /* after a close frame or an error; whatever follows is ignored */
} hub__frame_reader_t;

/* Takes bytes from the front of `*chunk` (which it unmasks in place and shortens) until one event
 * is complete. Call again until it says NEED_MORE; after that an idle reader owns no memory. A
 * payload lies in the chunk or in the block, valid until the next call. After CLOSE and ERROR
 * everything else is taken and ignored. ERROR codes: 1002 protocol (RSV bits, reserved opcode,
 * unmasked, non-minimal length, length with the top bit, control frame longer than 125 or
 * fragmented, continuation without or data frame within a message, close payload of one byte or
 * with a code that may not be sent), 1007 UTF-8 (also in a close reason), 1008 fragments, 1009
 * size, 1011 out of memory. The events do not depend on where the chunks were cut. */
void hub__frame_read(hub__frame_reader_t *reader, const hub__frame_limits_t *limits, char **chunk,
                     size_t *chunk_len, hub__frame_event_t *ret_event);

/* Whether a message or a frame has begun and not ended (its age is limited). */
bool hub__frame_reader_unfinished(const hub__frame_reader_t *reader);

/* A note on what is unfinished, which it must be: when it began, on the caller's clock. */
void hub__frame_reader_stamp(hub__frame_reader_t *reader, uint32_t since);
uint32_t hub__frame_reader_stamped(const hub__frame_reader_t *reader);

/* Frees what is unfinished; the reader is fresh again. */
/* Bytes of what is unfinished. */
size_t hub__frame_reader_held(const hub__frame_reader_t *reader);
void hub__frame_reader_dispose(hub__frame_reader_t *reader);
