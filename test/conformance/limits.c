/* SPDX-License-Identifier: MIT */

/* Against examples/echo --max-message 1000: what is over it is 1009 (RFC 6455 7.4.1), known from
 * the head, however the message is made. */

#include "test/conformance/suite.h"

static const test_case_t limits[] = {
    CASE("rfc 7.4.1", "a byte less than the limit",
         STEPS(SIZED_FRAME(0x81, "x", 999), GET_SIZED(SAID_TEXT, "x", 999))),
    CASE("rfc 7.4.1", "the limit",
         STEPS(SIZED_FRAME(0x82, "x", 1000), GET_SIZED(SAID_BINARY, "x", 1000))),
    CASE("rfc 7.4.1", "a byte more than the limit", STEPS(SIZED_FRAME(0x81, "x", 1001)),
         REFUSED(1009)),
    CASE("rfc 7.4.1", "a byte more, announced", STEPS(BYTES("\x81\xFE\x03\xE9"), SEND),
         REFUSED(1009)),
    CASE("rfc 7.4.1", "the limit, in fragments",
         STEPS(SIZED_FRAME(0x01, "x", 500), SIZED_FRAME(0x00, "x", 499), LAST_PART("x"),
               GET_SIZED(SAID_TEXT, "x", 1000))),
    CASE("rfc 7.4.1", "a byte more, in fragments",
         STEPS(SIZED_FRAME(0x01, "x", 500), SIZED_FRAME(0x00, "x", 500), LAST_PART("x")),
         REFUSED(1009)),
    CASE("rfc 7.4.1", "a byte more, announced by the last fragment",
         STEPS(SIZED_FRAME(0x01, "x", 1000), BYTES("\x80\x81"), SEND), REFUSED(1009)),
    CASE("rfc 7.4.1", "the limit and an empty last fragment",
         STEPS(SIZED_FRAME(0x01, "x", 1000), LAST_PART(""), GET_SIZED(SAID_TEXT, "x", 1000))),
    CASE("rfc 7.4.1", "2^63 - 1 more, announced by the second fragment",
         STEPS(TEXT_PART("x"), BYTES("\x80\xFF\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF"), SEND),
         REFUSED(1009)),
    CASE("rfc 7.4.1", "the limit is each message's own",
         STEPS(SIZED_FRAME(0x81, "x", 1000), SIZED_FRAME(0x82, "x", 1000),
               GET_SIZED(SAID_TEXT, "x", 1000), GET_SIZED(SAID_BINARY, "x", 1000))),
    CASE("rfc 7.4.1", "what came before one too big is answered",
         STEPS(TEXT("before"), SIZED_FRAME(0x81, "x", 1001), GET_TEXT("before")), REFUSED(1009)),
};

void play_limits(suite_t *suite)
{
    suite_play_all(suite, limits, COUNT(limits));
}
