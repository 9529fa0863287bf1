/* test/conformance/judge.h - reads what a websocket server sends, and lets nothing pass that RFC
 * 6455 does not allow it to send.
 *
 * Pure: bytes go in, what was said comes out. It was written from the RFC and shares nothing with
 * hub/frame.c, so that one misreading can't hide another. */
#pragma once

#include "bus/buffer.h"

typedef enum said_kind {
    SAID_NOTHING, /* more bytes are needed */
    SAID_TEXT,    /* a whole message, of any number of frames */
    SAID_BINARY,
    SAID_PING,
    SAID_PONG,
    SAID_CLOSE, /* `code` 0: none; `payload` is the reason */
    SAID_END,   /* the connection ended behind the close frame, where it may */
    SAID_WRONG, /* `fault` names the rule that was broken */
} said_kind_t;

typedef struct said {
    said_kind_t kind;
    hub_str_t payload; /* valid until the next call */
    unsigned code;
    const char *fault;
} said_t;

/* Inflates a message. Returns NULL or what is wrong with it; the result is valid until the next
 * call. */
typedef const char *(*judge_inflate_cb)(void *user, hub_str_t packed, hub_str_t *ret_message);

/* Zeroed storage is a judge at the first byte behind the handshake. */
typedef struct judge {
    judge_inflate_cb inflate; /* NULL: no permessage-deflate was agreed on */
    void *user;
    hub__buffer_t in; /* received; `taken` bytes of it were judged */
    size_t taken;
    hub__buffer_t message; /* the frames of one that has not ended */
    unsigned opcode;       /* of that one; 0: there is none */
    bool compressed;
    bool closed; /* a close frame was read */
    bool wrong;  /* so is everything after it */
    size_t frames, compressed_messages;
} judge_t;

/* Room for `size` received bytes, and their arrival. */
char *judge_room(judge_t *judge, size_t size);
void judge_received(judge_t *judge, size_t len);
/* Call until it says SAID_NOTHING. */
said_t judge_next(judge_t *judge);
/* What the end of the connection means here: SAID_END or SAID_WRONG. After SAID_NOTHING. */
said_t judge_end(judge_t *judge);
void judge_dispose(judge_t *judge);

/* How many bytes from the start some text can have behind them: all of it for valid UTF-8 and for
 * the start of such, else as far as the byte before the first that nothing makes valid.
 * `ret_complete`: it ends with a character's last byte. */
size_t judge_utf8(hub_str_t text, bool *ret_complete);
/* Whether a close frame may carry this code (7.4.1 and IANA's list: 1012-1014 as well). */
bool judge_may_send(unsigned code);
