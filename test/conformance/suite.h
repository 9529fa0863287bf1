/* test/conformance/suite.h - the cases: rows of tables that say what goes to the server and what
 * must come back, played one connection each against a running examples/echo.
 *
 * Strict: a case passes in one way only. Where RFC 6455 leaves the server a choice (to drop the
 * connection without a word, to answer a close with another code) the case demands the better
 * answer. Every frame of the server goes through the judge, whatever the case is about. */
#pragma once

#include "test/conformance/play.h"

typedef enum step_kind {
    STEP_LAST, /* ends a list */
    STEP_FRAME,
    STEP_LONG_FRAME, /* its length in `length_bytes` */
    STEP_BARE_FRAME, /* without a mask */
    STEP_BYE,
    STEP_BYTES,
    STEP_SEND, /* now */
    STEP_SILENCE,
    STEP_GET,
} step_kind_t;

typedef struct step {
    step_kind_t kind;
    said_kind_t said; /* of STEP_GET */
    unsigned first;   /* of a frame; a close's code */
    size_t length_bytes;
    hub_str_t bytes;
    size_t size; /* the bytes are repeated up to it; 0: they are taken as they are */
} step_t;

/* At the end: a close of ours is answered with the same code and `refused` is 0; else the server
 * closes with `refused`; else we close with 1000. Then TCP ends. */
typedef struct test_case {
    const char *number; /* the public suite's, or a section of an RFC */
    const char *name;
    const step_t *steps;
    size_t piece;
    unsigned refused;
} test_case_t;

#define CASE(at, says, ...)                                                                        \
    {                                                                                              \
        .number = at, .name = says, __VA_ARGS__                                                    \
    }
#define STEPS(...)                                                                                 \
    .steps = (const step_t[])                                                                      \
    {                                                                                              \
        __VA_ARGS__,                                                                               \
        {                                                                                          \
            .kind = STEP_LAST                                                                      \
        }                                                                                          \
    }
#define IN_BYTES .piece = 1
#define IN_FRAMES .piece = PLAY_EACH_FRAME
#define REFUSED(code) .refused = code

#define FRAME(byte, literal)                                                                       \
    {                                                                                              \
        .kind = STEP_FRAME, .first = byte, .bytes = { literal, sizeof(literal) - 1 }               \
    }
#define SIZED_FRAME(byte, literal, bytes_in_all)                                                   \
    {                                                                                              \
        .kind = STEP_FRAME, .first = byte, .bytes = {literal, sizeof(literal) - 1},                \
        .size = bytes_in_all                                                                       \
    }
#define LONG_FRAME(byte, literal, bytes_of_length)                                                 \
    {                                                                                              \
        .kind = STEP_LONG_FRAME, .first = byte, .bytes = {literal, sizeof(literal) - 1},           \
        .length_bytes = bytes_of_length                                                            \
    }
#define BARE_FRAME(byte, literal)                                                                  \
    {                                                                                              \
        .kind = STEP_BARE_FRAME, .first = byte, .bytes = { literal, sizeof(literal) - 1 }          \
    }
#define TEXT(literal) FRAME(0x81, literal)
#define BINARY(literal) FRAME(0x82, literal)
#define TEXT_PART(literal) FRAME(0x01, literal)
#define BINARY_PART(literal) FRAME(0x02, literal)
#define PART(literal) FRAME(0x00, literal)
#define LAST_PART(literal) FRAME(0x80, literal)
#define PING(literal) FRAME(0x89, literal)
#define PONG(literal) FRAME(0x8A, literal)
#define BYE(code, literal)                                                                         \
    {                                                                                              \
        .kind = STEP_BYE, .first = code, .bytes = { literal, sizeof(literal) - 1 }                 \
    }
#define BYTES(literal)                                                                             \
    {                                                                                              \
        .kind = STEP_BYTES, .bytes = { literal, sizeof(literal) - 1 }                              \
    }
#define SEND                                                                                       \
    {                                                                                              \
        .kind = STEP_SEND                                                                          \
    }
#define SILENCE                                                                                    \
    {                                                                                              \
        .kind = STEP_SILENCE                                                                       \
    }
#define GET(what, literal)                                                                         \
    {                                                                                              \
        .kind = STEP_GET, .said = what, .bytes = { literal, sizeof(literal) - 1 }                  \
    }
#define GET_SIZED(what, literal, bytes_in_all)                                                     \
    {                                                                                              \
        .kind = STEP_GET, .said = what, .bytes = {literal, sizeof(literal) - 1},                   \
        .size = bytes_in_all                                                                       \
    }
#define GET_TEXT(literal) GET(SAID_TEXT, literal)
#define GET_BINARY(literal) GET(SAID_BINARY, literal)
#define GET_PONG(literal) GET(SAID_PONG, literal)

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Where the cases of a group are played, and what became of them. */
typedef struct suite {
    const char *address; /* NULL: none is played, they are counted alone */
    size_t cases, failed;
    size_t numbers[14]; /* how many cases carry a number of the public suite, by its group */
    hub__buffer_t seen; /* those numbers, each with a blank around it */
    hub__buffer_t report;
    play_t play; /* the case at hand */
    char title[200];
} suite_t;

/* Plays it over a connection that stands. */
void case_play(play_t *play, const test_case_t *test);

void suite_play(suite_t *suite, const test_case_t *test);
void suite_play_all(suite_t *suite, const test_case_t *tests, size_t count);
/* For cases that are no row of a table: begin, and where that says so the conversation with
 * suite->play, then end. The number and the name are copied. */
bool suite_begin(suite_t *suite, const char *number, const char *extensions, const char *format,
                 ...) HUB_PRINTF(4, 5);
void suite_end(suite_t *suite);
/* We close with 1000, the server answers and ends. */
void suite_goodbye(suite_t *suite);
void suite_dispose(suite_t *suite);

/* The groups. Options are those of examples/echo. */
typedef struct suite_group {
    const char *name;
    const char *const *options;
    void (*play)(suite_t *suite);
} suite_group_t;

void play_framing(suite_t *suite);
void play_control(suite_t *suite);
void play_reserved(suite_t *suite);
void play_fragments(suite_t *suite);
void play_utf8(suite_t *suite);
void play_close(suite_t *suite);
void play_large(suite_t *suite);
void play_many(suite_t *suite);
void play_cuts(suite_t *suite);
void play_limits(suite_t *suite);
void play_deflate_kinds(suite_t *suite);
void play_deflate_offers(suite_t *suite);
void play_deflate_messages(suite_t *suite);
