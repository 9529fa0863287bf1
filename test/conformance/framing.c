/* SPDX-License-Identifier: MIT */

/* Lengths and masks (RFC 6455 5.2, 5.3): every form of a length, at its borders. */

#include "test/conformance/suite.h"

#define TEXT_OF(size) SIZED_FRAME(0x81, "0123456789abcdef", size)
#define BINARY_OF(size) SIZED_FRAME(0x82, "\xFE\x00\x7F", size)
#define GET_TEXT_OF(size) GET_SIZED(SAID_TEXT, "0123456789abcdef", size)
#define GET_BINARY_OF(size) GET_SIZED(SAID_BINARY, "\xFE\x00\x7F", size)

static const test_case_t texts[] = {
    CASE("1.1.1", "a text of 0 bytes", STEPS(TEXT(""), GET_TEXT(""))),
    CASE("1.1.2", "a text of 125 bytes", STEPS(TEXT_OF(125), GET_TEXT_OF(125))),
    CASE("1.1.3", "a text of 126 bytes", STEPS(TEXT_OF(126), GET_TEXT_OF(126))),
    CASE("1.1.4", "a text of 127 bytes", STEPS(TEXT_OF(127), GET_TEXT_OF(127))),
    CASE("1.1.5", "a text of 128 bytes", STEPS(TEXT_OF(128), GET_TEXT_OF(128))),
    CASE("1.1.6", "a text of 65535 bytes", STEPS(TEXT_OF(65535), GET_TEXT_OF(65535))),
    CASE("1.1.7", "a text of 65536 bytes", STEPS(TEXT_OF(65536), GET_TEXT_OF(65536))),
    CASE("1.1.8", "a text of 65536 bytes in pieces of 997",
         STEPS(TEXT_OF(65536), GET_TEXT_OF(65536)), .piece = 997),
};

static const test_case_t binaries[] = {
    CASE("1.2.1", "a binary message of 0 bytes", STEPS(BINARY(""), GET_BINARY(""))),
    CASE("1.2.2", "a binary message of 125 bytes", STEPS(BINARY_OF(125), GET_BINARY_OF(125))),
    CASE("1.2.3", "a binary message of 126 bytes", STEPS(BINARY_OF(126), GET_BINARY_OF(126))),
    CASE("1.2.4", "a binary message of 127 bytes", STEPS(BINARY_OF(127), GET_BINARY_OF(127))),
    CASE("1.2.5", "a binary message of 128 bytes", STEPS(BINARY_OF(128), GET_BINARY_OF(128))),
    CASE("1.2.6", "a binary message of 65535 bytes", STEPS(BINARY_OF(65535), GET_BINARY_OF(65535))),
    CASE("1.2.7", "a binary message of 65536 bytes", STEPS(BINARY_OF(65536), GET_BINARY_OF(65536))),
    CASE("1.2.8", "a binary message of 65536 bytes in pieces of 997",
         STEPS(BINARY_OF(65536), GET_BINARY_OF(65536)), .piece = 997),
};

/* 5.1: a client masks every frame. */
static const test_case_t unmasked[] = {
    CASE("rfc 5.1", "a text without a mask", STEPS(BARE_FRAME(0x81, "bare")), REFUSED(1002)),
    CASE("rfc 5.1", "an empty text without a mask", STEPS(BARE_FRAME(0x81, "")), REFUSED(1002)),
    CASE("rfc 5.1", "a binary message without a mask", STEPS(BARE_FRAME(0x82, "bare")),
         REFUSED(1002)),
    CASE("rfc 5.1", "a ping without a mask", STEPS(BARE_FRAME(0x89, "")), REFUSED(1002)),
    CASE("rfc 5.1", "a pong without a mask", STEPS(BARE_FRAME(0x8A, "")), REFUSED(1002)),
    CASE("rfc 5.1", "a close without a mask", STEPS(BARE_FRAME(0x88, "\x03\xE8")), REFUSED(1002)),
    CASE("rfc 5.1", "a continuation without a mask", STEPS(TEXT_PART("a"), BARE_FRAME(0x80, "b")),
         REFUSED(1002)),
    CASE("rfc 5.1", "no mask after masked ones",
         STEPS(TEXT("a"), GET_TEXT("a"), TEXT("b"), BARE_FRAME(0x81, "c"), GET_TEXT("b")),
         REFUSED(1002)),
    CASE("rfc 5.1", "the two bytes that show a missing mask are enough",
         STEPS(BYTES("\x81\x05"), SEND), REFUSED(1002)),
};

/* 5.2: a length is as short as it goes, and has 63 bits. */
static const test_case_t long_lengths[] = {
    CASE("rfc 5.2", "no bytes, counted in 2", STEPS(LONG_FRAME(0x81, "", 2)), REFUSED(1002)),
    CASE("rfc 5.2", "5 bytes, counted in 2", STEPS(LONG_FRAME(0x81, "hello", 2)), REFUSED(1002)),
    CASE("rfc 5.2", "no bytes, counted in 8", STEPS(LONG_FRAME(0x82, "", 8)), REFUSED(1002)),
    CASE("rfc 5.2", "5 bytes, counted in 8", STEPS(LONG_FRAME(0x82, "hello", 8)), REFUSED(1002)),
    CASE("rfc 5.2", "125 bytes, counted in 2", STEPS(BYTES("\x82\xFE\x00\x7D")), REFUSED(1002)),
    CASE("rfc 5.2", "126 bytes, counted in 8", STEPS(BYTES("\x82\xFF\0\0\0\0\0\0\0\x7E")),
         REFUSED(1002)),
    CASE("rfc 5.2", "65535 bytes, counted in 8", STEPS(BYTES("\x82\xFF\0\0\0\0\0\0\xFF\xFF")),
         REFUSED(1002)),
    CASE("rfc 5.2", "a continuation, counted in 8", STEPS(TEXT_PART("a"), LONG_FRAME(0x80, "b", 8)),
         REFUSED(1002)),
    CASE("rfc 5.2", "a length with its top bit set alone",
         STEPS(BYTES("\x81\xFF\x80\0\0\0\0\0\0\0")), REFUSED(1002)),
    CASE("rfc 5.2", "a length of ones", STEPS(BYTES("\x82\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF")),
         REFUSED(1002)),
    CASE("rfc 5.2", "a top bit on a length that would be allowed without",
         STEPS(BYTES("\x82\xFF\x80\0\0\0\0\1\0\0")), REFUSED(1002)),
};

/* 7.4.1: too big is 1009, and known from the head alone. */
static const test_case_t too_long[] = {
    CASE("rfc 5.2", "2^63 - 1 bytes announced",
         STEPS(BYTES("\x82\xFF\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF"), SEND), REFUSED(1009)),
    CASE("rfc 5.2", "2^32 bytes announced", STEPS(BYTES("\x82\xFF\0\0\0\1\0\0\0\0"), SEND),
         REFUSED(1009)),
    CASE("rfc 5.2", "2^31 bytes announced", STEPS(BYTES("\x81\xFF\0\0\0\0\x80\0\0\0"), SEND),
         REFUSED(1009)),
    CASE("rfc 5.2", "one byte more than the limit announced",
         STEPS(BYTES("\x81\xFF\0\0\0\0\1\0\0\1"), SEND), REFUSED(1009)),
};

/* Each length from 0 to 300, all in one conversation of each kind: no border but those above. */
static void play_each_length(suite_t *suite, unsigned first, said_kind_t kind, const char *name)
{
    char bytes[300];

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)('a' + i % 26);
    if (!suite_begin(suite, "rfc 5.2", NULL, "%s of each length from 0 to %zu", name,
                     sizeof(bytes)))
        return;
    for (size_t len = 0; len <= sizeof(bytes); len++) {
        play_frame(&suite->play, first, hub_str_n(bytes, len));
        play_expect(&suite->play, kind, hub_str_n(bytes, len));
    }
    suite_goodbye(suite);
    suite_end(suite);
}

/* Fixed keys: zeros, ones, and one that makes bytes of the payload zero (5.3). */
static void play_masks(suite_t *suite)
{
    static const unsigned char keys[][4] = {
        {0, 0, 0, 0}, {0xFF, 0xFF, 0xFF, 0xFF}, {'m', 'a', 's', 'k'}, {0x80, 0, 0, 1}};
    char frame[] = "\x81\x87....masking";

    for (size_t i = 0; i < COUNT(keys); i++) {
        if (!suite_begin(suite, "rfc 5.3", NULL, "a text under the key %02x%02x%02x%02x",
                         keys[i][0], keys[i][1], keys[i][2], keys[i][3]))
            continue;
        for (size_t at = 0; at < 7; at++)
            frame[6 + at] = (char)("masking"[at] ^ keys[i][at % 4]);
        for (size_t at = 0; at < 4; at++)
            frame[2 + at] = (char)keys[i][at];
        play_bytes(&suite->play, hub_str_n(frame, sizeof(frame) - 1));
        play_expect(&suite->play, SAID_TEXT, HUB_STR("masking"));
        suite_goodbye(suite);
        suite_end(suite);
    }
}

void play_framing(suite_t *suite)
{
    suite_play_all(suite, texts, COUNT(texts));
    suite_play_all(suite, binaries, COUNT(binaries));
    suite_play_all(suite, unmasked, COUNT(unmasked));
    suite_play_all(suite, long_lengths, COUNT(long_lengths));
    suite_play_all(suite, too_long, COUNT(too_long));
    play_each_length(suite, 0x81, SAID_TEXT, "texts");
    play_each_length(suite, 0x82, SAID_BINARY, "binary messages");
    play_masks(suite);
}
