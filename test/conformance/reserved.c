/* SPDX-License-Identifier: MIT */

/* Bits and opcodes that mean nothing yet (RFC 6455 5.2) end the connection with 1002, after what
 * came before them was answered and before anything behind them is. */

#include "test/conformance/suite.h"

#define RSV(bits, opcode) (0x80 | (bits) << 4 | (opcode))

static const test_case_t bits[] = {
    CASE("3.1", "RSV 1 on a text", STEPS(FRAME(RSV(1, 1), "some text")), REFUSED(1002)),
    CASE("3.2", "a text, RSV 2 on the next, a ping",
         STEPS(TEXT("first"), FRAME(RSV(2, 1), "second"), PING(""), GET_TEXT("first")),
         REFUSED(1002)),
    CASE("3.3", "a text, RSV 3 on the next, a ping, frame by frame",
         STEPS(TEXT("first"), FRAME(RSV(3, 1), "second"), PING(""), GET_TEXT("first")), IN_FRAMES,
         REFUSED(1002)),
    CASE("3.4", "a text, RSV 4 on the next, a ping, byte by byte",
         STEPS(TEXT("first"), FRAME(RSV(4, 1), "second"), PING(""), GET_TEXT("first")), IN_BYTES,
         REFUSED(1002)),
    CASE("3.5", "RSV 5 on a binary message", STEPS(FRAME(RSV(5, 2), "\x00\xFF\x01\xFE")),
         REFUSED(1002)),
    CASE("3.6", "RSV 6 on a binary message of letters", STEPS(FRAME(RSV(6, 2), "some text")),
         REFUSED(1002)),
    CASE("3.7", "RSV 7 on a close", STEPS(FRAME(RSV(7, 8), "")), REFUSED(1002)),
};

static const test_case_t opcodes[] = {
    CASE("4.1.1", "opcode 3, empty", STEPS(FRAME(0x83, "")), REFUSED(1002)),
    CASE("4.1.2", "opcode 4 with a payload", STEPS(FRAME(0x84, "payload")), REFUSED(1002)),
    CASE("4.1.3", "a text, opcode 5, a ping",
         STEPS(TEXT("first"), FRAME(0x85, ""), PING(""), GET_TEXT("first")), REFUSED(1002)),
    CASE("4.1.4", "a text, opcode 6 with a payload, a ping",
         STEPS(TEXT("first"), FRAME(0x86, "payload"), PING(""), GET_TEXT("first")), REFUSED(1002)),
    CASE("4.1.5", "a text, opcode 7 with a payload, a ping, byte by byte",
         STEPS(TEXT("first"), FRAME(0x87, "payload"), PING(""), GET_TEXT("first")), IN_BYTES,
         REFUSED(1002)),
    CASE("4.2.1", "opcode 11, empty", STEPS(FRAME(0x8B, "")), REFUSED(1002)),
    CASE("4.2.2", "opcode 12 with a payload", STEPS(FRAME(0x8C, "payload")), REFUSED(1002)),
    CASE("4.2.3", "a text, opcode 13, a ping",
         STEPS(TEXT("first"), FRAME(0x8D, ""), PING(""), GET_TEXT("first")), REFUSED(1002)),
    CASE("4.2.4", "a text, opcode 14 with a payload, a ping",
         STEPS(TEXT("first"), FRAME(0x8E, "payload"), PING(""), GET_TEXT("first")), REFUSED(1002)),
    CASE("4.2.5", "a text, opcode 15 with a payload, a ping, byte by byte",
         STEPS(TEXT("first"), FRAME(0x8F, "payload"), PING(""), GET_TEXT("first")), IN_BYTES,
         REFUSED(1002)),
};

/* The first byte of a frame alone says enough, whatever is going on. */
static void play_first_byte(suite_t *suite, unsigned first, bool within_message)
{
    char byte = (char)first;

    if (!suite_begin(suite, "rfc 5.2", NULL, "a frame that begins with %02x%s", first,
                     within_message ? " within a message" : ""))
        return;
    if (within_message)
        play_frame(&suite->play, 0x01, HUB_STR("begun"));
    play_bytes(&suite->play, hub_str_n(&byte, 1));
    play_expect_end(&suite->play, 1002);
    suite_end(suite);
}

static bool is_reserved(unsigned first)
{
    unsigned opcode = first & 0x0F;

    return (first & 0x70) != 0 || (opcode > 2 && opcode < 8) || opcode > 10;
}

void play_reserved(suite_t *suite)
{
    suite_play_all(suite, bits, COUNT(bits));
    suite_play_all(suite, opcodes, COUNT(opcodes));
    for (unsigned first = 0; first <= 0xFF; first++) {
        if (!is_reserved(first))
            continue;
        play_first_byte(suite, first, false);
        play_first_byte(suite, first, true);
    }
}
