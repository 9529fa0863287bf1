/* test/conformance/play.h - one conversation with a server: what is said to it goes out in chosen
 * pieces, what it answers goes through the judge.
 *
 * The first thing that is wrong is kept as a text and makes everything after it do nothing, so a
 * conversation is written without a look at each step. Nothing here waits longer than `patience_ms`
 * for the next byte. */
#pragma once

#include "test/conformance/judge.h"

/* Sizes of pieces. */
#define PLAY_AT_ONCE 0           /* all that is said between two answers in one write */
#define PLAY_EACH_FRAME SIZE_MAX /* each frame in its own */

#define PLAY_FIN 0x80U

typedef struct play play_t;
struct play {
    int fd; /* -1: there is no connection */
    int patience_ms;
    judge_t judge;
    hub__buffer_t out; /* said, not yet sent */
    size_t piece;      /* bytes in one write */
    uint32_t keys;     /* for the next mask */
    bool no_mask;      /* the next frames come without one */
    play_t *probe;     /* asked after each piece, so that the server has read it before the next */
    bool said_bye;     /* a close frame */
    bool ended;        /* the server's end of the connection */
    char extensions[200]; /* what the server agreed to; "": nothing */
    char fault[600];      /* "": nothing was wrong */
};

/* Connects to a server's address and shakes hands; `extensions` is the value of that header, NULL:
 * none is sent. Any answer but a correct 101 is a fault. */
void play_open(play_t *play, const char *address, const char *extensions);
/* The same in two steps: the request waits to be sent, with frames behind it if any are said, and
 * then it is and its answer is taken. */
void play_dial(play_t *play, const char *address, const char *extensions);
void play_welcome(play_t *play);
/* A conversation over a socket that is beyond its handshake, which is taken. */
void play_over(play_t *play, int fd);
void play_dispose(play_t *play);
/* Notes what is wrong, unless something was before. */
void play_wrong(play_t *play, const char *format, ...) HUB_PRINTF(2, 3);

/* ---- saying; it is sent when an answer is waited for, at the latest ---- */

/* A frame by its first byte (FIN, RSV and opcode). The mask changes with every frame. */
void play_frame(play_t *play, unsigned first, hub_str_t payload);
/* The same with a length in 0 (as short as it goes), 2 or 8 bytes. */
void play_frame_long(play_t *play, unsigned first, hub_str_t payload, size_t length_bytes);
/* A close frame; code 0: an empty one. */
void play_bye(play_t *play, unsigned code, hub_str_t reason);
/* Bytes as they are. */
void play_bytes(play_t *play, hub_str_t bytes);
void play_send(play_t *play);

/* ---- hearing ---- */

/* What the server says next, of any kind but SAID_NOTHING. */
said_t play_hear(play_t *play);
/* It must be this, and exactly this. */
void play_expect(play_t *play, said_kind_t kind, hub_str_t payload);
/* A close frame with this code (0: without one), whatever its reason; then the server ends the
 * connection with a FIN. Its close is answered where we have not said ours. */
void play_expect_end(play_t *play, unsigned code);
/* Nothing has come, nor does for some milliseconds: it is a look, not a proof. */
void play_expect_silence(play_t *play);
