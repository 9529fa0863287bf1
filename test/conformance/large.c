/* SPDX-License-Identifier: MIT */

/* Large messages, in one frame, in many, in small pieces; and many small ones, each behind the echo
 * of the one before. What comes back is compared byte by byte; how long it takes is not judged. */

#include <stdio.h>

#include "test/conformance/suite.h"

#include <stdlib.h>

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)

struct load {
    const char *number;
    size_t size, fragment, piece; /* 0: all of it */
    bool binary;
};

static const struct load loads[] = {
    {"9.1.1", 64 * KIB, 0, 0, false},        {"9.1.2", 256 * KIB, 0, 0, false},
    {"9.1.3", 1 * MIB, 0, 0, false},         {"9.1.4", 4 * MIB, 0, 0, false},
    {"9.1.5", 8 * MIB, 0, 0, false},         {"9.1.6", 16 * MIB, 0, 0, false},
    {"9.2.1", 64 * KIB, 0, 0, true},         {"9.2.2", 256 * KIB, 0, 0, true},
    {"9.2.3", 1 * MIB, 0, 0, true},          {"9.2.4", 4 * MIB, 0, 0, true},
    {"9.2.5", 8 * MIB, 0, 0, true},          {"9.2.6", 16 * MIB, 0, 0, true},
    {"9.3.1", 4 * MIB, 64, 0, false},        {"9.3.2", 4 * MIB, 256, 0, false},
    {"9.3.3", 4 * MIB, 1 * KIB, 0, false},   {"9.3.4", 4 * MIB, 4 * KIB, 0, false},
    {"9.3.5", 4 * MIB, 16 * KIB, 0, false},  {"9.3.6", 4 * MIB, 64 * KIB, 0, false},
    {"9.3.7", 4 * MIB, 256 * KIB, 0, false}, {"9.3.8", 4 * MIB, 1 * MIB, 0, false},
    {"9.3.9", 4 * MIB, 4 * MIB, 0, false},   {"9.4.1", 4 * MIB, 64, 0, true},
    {"9.4.2", 4 * MIB, 256, 0, true},        {"9.4.3", 4 * MIB, 1 * KIB, 0, true},
    {"9.4.4", 4 * MIB, 4 * KIB, 0, true},    {"9.4.5", 4 * MIB, 16 * KIB, 0, true},
    {"9.4.6", 4 * MIB, 64 * KIB, 0, true},   {"9.4.7", 4 * MIB, 256 * KIB, 0, true},
    {"9.4.8", 4 * MIB, 1 * MIB, 0, true},    {"9.4.9", 4 * MIB, 4 * MIB, 0, true},
    {"9.5.1", 1 * MIB, 0, 64, false},        {"9.5.2", 1 * MIB, 0, 128, false},
    {"9.5.3", 1 * MIB, 0, 256, false},       {"9.5.4", 1 * MIB, 0, 512, false},
    {"9.5.5", 1 * MIB, 0, 1 * KIB, false},   {"9.5.6", 1 * MIB, 0, 2 * KIB, false},
    {"9.6.1", 1 * MIB, 0, 64, true},         {"9.6.2", 1 * MIB, 0, 128, true},
    {"9.6.3", 1 * MIB, 0, 256, true},        {"9.6.4", 1 * MIB, 0, 512, true},
    {"9.6.5", 1 * MIB, 0, 1 * KIB, true},    {"9.6.6", 1 * MIB, 0, 2 * KIB, true},
    {"10.1.1", 64 * KIB, 1300, 0, false},    {"rfc 5.4", 64 * KIB, 1300, 0, true},
    {"rfc 5.4", 1 * MIB, 65535, 0, false},   {"rfc 5.4", 1 * MIB, 65536, 0, true},
    {"rfc 5.4", 1 * MIB, 65537, 997, false}, {"rfc 5.2", 66000, 0, 11, true},
};

/* Text: letters of one to four bytes. Binary: all bytes. It repeats after 64 KiB less a bit, so
 * that blocks out of order would show. */
static void fill(char *bytes, size_t size, bool binary)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz \xC3\xA9\xE2\x82\xAC\xF0\x9F\x92\xB6";
    const size_t period = (64 * KIB - 1) / (sizeof(letters) - 1) * (sizeof(letters) - 1);
    uint32_t state = 1;

    for (size_t i = 0; i < size && i < period; i++) {
        state = state * 1664525 + 1013904223;
        bytes[i] = binary ? (char)(state >> 24) : letters[i % (sizeof(letters) - 1)];
    }
    for (size_t i = period; i < size; i += period)
        memcpy(bytes + i, bytes, size - i < period ? size - i : period);
    /* no character is cut by the end */
    for (size_t i = size; !binary && i > 0 && (bytes[i - 1] & 0x80) != 0; i--)
        bytes[i - 1] = '.';
}

static void play_load(suite_t *suite, const struct load *load)
{
    size_t step = load->fragment == 0 ? load->size : load->fragment;
    unsigned opcode = load->binary ? 2 : 1;
    char *bytes;

    if (!suite_begin(suite, load->number, NULL, "%s of %zu bytes, fragments of %zu, pieces of %zu",
                     load->binary ? "a binary message" : "a text", load->size, load->fragment,
                     load->piece))
        return;
    if ((bytes = malloc(load->size)) == NULL)
        abort();
    fill(bytes, load->size, load->binary);
    suite->play.piece = load->piece;
    for (size_t at = 0; at < load->size; at += step) {
        size_t len = load->size - at < step ? load->size - at : step;

        play_frame(&suite->play, (at == 0 ? opcode : 0) | (at + len == load->size ? PLAY_FIN : 0),
                   hub_str_n(bytes + at, len));
    }
    play_expect(&suite->play, load->binary ? SAID_BINARY : SAID_TEXT, hub_str_n(bytes, load->size));
    free(bytes);
    suite->play.piece = PLAY_AT_ONCE;
    suite_goodbye(suite);
    suite_end(suite);
}

void play_large(suite_t *suite)
{
    for (size_t i = 0; i < COUNT(loads); i++)
        play_load(suite, &loads[i]);
}

/* A thousand, each sent when the one before is back. */
static void play_ping_pong(suite_t *suite, const char *number, size_t size, bool binary)
{
    const size_t count = 1000;
    char bytes[4096];

    if (!suite_begin(suite, number, NULL, "%zu %s of %zu bytes, one after the other", count,
                     binary ? "binary messages" : "texts", size))
        return;
    fill(bytes, size, binary);
    for (size_t i = 0; i < count; i++) {
        play_frame(&suite->play, binary ? 0x82 : 0x81, hub_str_n(bytes, size));
        play_expect(&suite->play, binary ? SAID_BINARY : SAID_TEXT, hub_str_n(bytes, size));
    }
    suite_goodbye(suite);
    suite_end(suite);
}

/* All of them sent before the first is read. */
static void play_pipelined(suite_t *suite, size_t count, size_t size)
{
    char bytes[4096];

    if (!suite_begin(suite, "rfc 5.4", NULL, "%zu messages of %zu bytes in one go", count, size))
        return;
    fill(bytes, size, true);
    for (size_t i = 0; i < count; i++)
        play_frame(&suite->play, 0x82, hub_str_n(bytes, size));
    for (size_t i = 0; i < count; i++)
        play_expect(&suite->play, SAID_BINARY, hub_str_n(bytes, size));
    suite_goodbye(suite);
    suite_end(suite);
}

void play_many(suite_t *suite)
{
    static const size_t sizes[] = {0, 16, 64, 256, 1024, 4096};
    char number[32];

    for (size_t i = 0; i < COUNT(sizes); i++) {
        snprintf(number, sizeof(number), "9.7.%zu", i + 1);
        play_ping_pong(suite, number, sizes[i], false);
        snprintf(number, sizeof(number), "9.8.%zu", i + 1);
        play_ping_pong(suite, number, sizes[i], true);
    }
    play_pipelined(suite, 10000, 16);
    play_pipelined(suite, 1000, 4096);
}
