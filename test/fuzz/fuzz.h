/* test/fuzz/fuzz.h - what the fuzz targets share: reading an input, stating an oracle, and counting
 * what the code under test takes of memory and of work.
 *
 * A target is a file fuzz_<noun>.c with one LLVMFuzzerTestOneInput(). With clang it becomes a
 * fuzzer; with any compiler a program that runs it over the stored inputs (replay.c). Its first
 * comment names its oracles: what must hold for every input, beyond that nothing crashes. One
 * thread. */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "bus/buffer.h"
#include "channels/pattern.h"

/* Given by a target; libFuzzer's names. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* An oracle: prints what does not hold, and aborts. */
#define FUZZ_CHECK(condition, ...)                                                                 \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fuzz_fail(__FILE__, __LINE__, #condition, __VA_ARGS__);                                \
    } while (0)
_Noreturn void fuzz_fail(const char *file, int line, const char *condition, const char *format, ...)
    HUB_PRINTF(4, 5);

/* ---- the input, from the front; at its end everything is zero or empty ---- */

typedef struct fuzz_input {
    const uint8_t *at;
    size_t len;
} fuzz_input_t;

uint8_t fuzz_byte(fuzz_input_t *input);
size_t fuzz_below(fuzz_input_t *input, size_t bound); /* takes a byte, or two past 256 */
hub_str_t fuzz_take(fuzz_input_t *input, size_t len); /* or what is left of it */
/* Up to and without the next `end`, which is taken as well. */
hub_str_t fuzz_until(fuzz_input_t *input, char end);
hub_str_t fuzz_rest(fuzz_input_t *input);

/* A block of exactly this size, so that a byte read too far shows; to be freed. */
char *fuzz_copy(hub_str_t bytes);

/* ---- the reader's own judgement, from the RFCs; nothing of ours is in it ---- */

/* How many bytes of well-formed UTF-8 `bytes` begins with. `*ret_unfinished`: what is behind them
 * is the beginning of a character, and the end of the bytes. May be NULL. */
size_t fuzz_utf8_prefix(hub_str_t bytes, bool *ret_unfinished);
bool fuzz_is_utf8(hub_str_t bytes);

/* ---- jansson's judgement ---- */

/* The value; NULL: jansson says that this is no JSON. `*ret_unsure`: it says so of what may be JSON
 * all the same, a number out of its range or more than 2,048 levels. Otherwise it is made to agree
 * with RFC 8259: a NUL is wrong everywhere, and escapes that it does not hold (halves of a pair,
 * \\u0000 in a key) are read as \\u0040. To be released. */
json_t *fuzz_jansson(hub_str_t text, bool *ret_unsure);
/* How deeply it is nested; 0: a scalar. */
size_t fuzz_depth(const json_t *value);
/* Whether the text, which may be absent, is JSON for this value. */
bool fuzz_json_equals(hub_str_t text, const json_t *value);

/* ---- patterns, without PCRE2 ---- */

/* Whether the topic fits the pattern where each constraint lets everything pass: if not, no
 * expression can make it match. `*ret_sure`: there is no constraint. */
bool fuzz_may_match(const hub__pattern_t *pattern, hub_str_t topic, bool *ret_sure);

/* ---- what was taken, since fuzz_meter_begin() ---- */

typedef struct fuzz_meter {
    size_t peak;    /* bytes held at once; 0 without a sanitizer */
    size_t held;    /* bytes held now */
    int64_t change; /* the same, less what was freed of what is older */
    size_t total;   /* bytes asked for */
    uint64_t steps; /* basic blocks of the library that were run; 0 where they are not counted */
} fuzz_meter_t;

void fuzz_meter_begin(void);
fuzz_meter_t fuzz_meter_end(void);
