/* SPDX-License-Identifier: MIT */

/* Pings are answered with what they carry, at once and in their order; pongs are not answered (RFC
 * 6455 5.5). */

#include <stdio.h>

#include "test/conformance/suite.h"

#define TEN_PINGS                                                                                  \
    PING("0 of ten"), PING("1 of ten"), PING("2 of ten"), PING("3 of ten"), PING("4 of ten"),      \
        PING("5 of ten"), PING("6 of ten"), PING("7 of ten"), PING("8 of ten"), PING("9 of ten")
#define TEN_PONGS                                                                                  \
    GET_PONG("0 of ten"), GET_PONG("1 of ten"), GET_PONG("2 of ten"), GET_PONG("3 of ten"),        \
        GET_PONG("4 of ten"), GET_PONG("5 of ten"), GET_PONG("6 of ten"), GET_PONG("7 of ten"),    \
        GET_PONG("8 of ten"), GET_PONG("9 of ten")
#define PING_OF(size) SIZED_FRAME(0x89, "\xFE", size)
#define PONG_OF(size) SIZED_FRAME(0x8A, "\xFE", size)
#define CLOSE_OF(size) SIZED_FRAME(0x88, "\x03\xE8", size)
#define GET_PONG_OF(size) GET_SIZED(SAID_PONG, "\xFE", size)

static const test_case_t pings[] = {
    CASE("2.1", "an empty ping", STEPS(PING(""), GET_PONG(""))),
    CASE("2.2", "a ping with a few letters",
         STEPS(PING("are you there"), GET_PONG("are you there"))),
    CASE("2.3", "a ping with bytes that are no UTF-8",
         STEPS(PING("\xFF\x00\xC0\xFE\x80\x00"), GET_PONG("\xFF\x00\xC0\xFE\x80\x00"))),
    CASE("2.4", "a ping of 125 bytes", STEPS(PING_OF(125), GET_PONG_OF(125))),
    CASE("2.5", "a ping of 126 bytes", STEPS(PING_OF(126)), REFUSED(1002)),
    CASE("2.6", "a ping of 125 bytes, byte by byte", STEPS(PING_OF(125), GET_PONG_OF(125)),
         IN_BYTES),
    CASE("2.7", "an empty pong that nobody asked for", STEPS(PONG(""), BYE(1000, ""))),
    CASE("2.8", "a pong with a payload that nobody asked for",
         STEPS(PONG("i am here"), BYE(1000, ""))),
    CASE("2.9", "a ping behind a pong",
         STEPS(PONG("i am here"), PING("and you"), GET_PONG("and you"))),
    CASE("2.10", "ten pings", STEPS(TEN_PINGS, TEN_PONGS)),
    CASE("2.11", "ten pings, byte by byte", STEPS(TEN_PINGS, TEN_PONGS), IN_BYTES),
};

static const test_case_t controls[] = {
    CASE("rfc 5.5.3", "a pong is not answered",
         STEPS(PONG("x"), TEXT("a"), GET_TEXT("a"), PONG(""), PING("b"), GET_PONG("b"))),
    CASE("rfc 5.5.3", "a pong of 125 bytes is taken", STEPS(PONG_OF(125), PING(""), GET_PONG(""))),
    CASE("rfc 5.5", "a pong of 126 bytes", STEPS(PONG_OF(126)), REFUSED(1002)),
    CASE("rfc 5.5", "a close of 126 bytes", STEPS(CLOSE_OF(126)), REFUSED(1002)),
    CASE("rfc 5.5", "a ping of 65535 bytes", STEPS(PING_OF(65535)), REFUSED(1002)),
    CASE("rfc 5.5", "a ping of 65536 bytes", STEPS(PING_OF(65536)), REFUSED(1002)),
    CASE("rfc 5.5", "the two bytes that show a ping too long are enough",
         STEPS(BYTES("\x89\xFE"), SEND), REFUSED(1002)),
    CASE("rfc 5.5", "a ping of 5 bytes, counted in 2", STEPS(LONG_FRAME(0x89, "hello", 2)),
         REFUSED(1002)),
    CASE("rfc 5.5", "a close of 2 bytes, counted in 8", STEPS(LONG_FRAME(0x88, "\x03\xE8", 8)),
         REFUSED(1002)),
    CASE("rfc 5.5", "a fragmented ping", STEPS(FRAME(0x09, "a")), REFUSED(1002)),
    CASE("rfc 5.5", "a fragmented pong", STEPS(FRAME(0x0A, "a")), REFUSED(1002)),
    CASE("rfc 5.5", "a fragmented close", STEPS(FRAME(0x08, "\x03\xE8")), REFUSED(1002)),
    CASE("rfc 5.5", "the byte that shows a fragmented ping is enough", STEPS(BYTES("\x09"), SEND),
         REFUSED(1002)),
    CASE("rfc 5.5.2", "pongs lie between the echoes, in order",
         STEPS(TEXT("1"), PING("2"), BINARY("3"), PING("4"), TEXT("5"), GET_TEXT("1"),
               GET_PONG("2"), GET_BINARY("3"), GET_PONG("4"), GET_TEXT("5"))),
    CASE("rfc 5.5.2", "a ping within a message is answered before it ends",
         STEPS(TEXT_PART("a"), PING("p"), GET_PONG("p"), LAST_PART("b"), GET_TEXT("ab"))),
};

static void play_each_ping(suite_t *suite, bool within_message)
{
    char bytes[125];

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)(i * 37 + 11);
    if (!suite_begin(suite, "rfc 5.5.2", NULL, "pings of each length from 0 to 125%s",
                     within_message ? " within a message" : ""))
        return;
    if (within_message)
        play_frame(&suite->play, 0x02, HUB_STR("["));
    for (size_t len = 0; len <= sizeof(bytes); len++) {
        play_frame(&suite->play, 0x89, hub_str_n(bytes, len));
        play_expect(&suite->play, SAID_PONG, hub_str_n(bytes, len));
    }
    if (within_message) {
        play_frame(&suite->play, 0x80, HUB_STR("]"));
        play_expect(&suite->play, SAID_BINARY, HUB_STR("[]"));
    }
    suite_goodbye(suite);
    suite_end(suite);
}

/* More than fit into any buffer on the way, none of them read before all are sent. */
static void play_ping_flood(suite_t *suite)
{
    const size_t count = 20000;
    char bytes[32];

    if (!suite_begin(suite, "rfc 5.5.2", NULL, "%zu pings in one go", count))
        return;
    for (size_t i = 0; i < count; i++)
        play_frame(&suite->play, 0x89,
                   hub_str_n(bytes, (size_t)snprintf(bytes, sizeof(bytes), "ping %zu", i)));
    for (size_t i = 0; i < count; i++)
        play_expect(&suite->play, SAID_PONG,
                    hub_str_n(bytes, (size_t)snprintf(bytes, sizeof(bytes), "ping %zu", i)));
    suite_goodbye(suite);
    suite_end(suite);
}

void play_control(suite_t *suite)
{
    suite_play_all(suite, pings, COUNT(pings));
    suite_play_all(suite, controls, COUNT(controls));
    play_each_ping(suite, false);
    play_each_ping(suite, true);
    play_ping_flood(suite);
}
