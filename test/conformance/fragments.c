/* SPDX-License-Identifier: MIT */

/* Messages of several frames (RFC 6455 5.4): control frames may lie between those, other messages
 * may not. */

#include "test/conformance/suite.h"

static const test_case_t fragments[] = {
    CASE("5.1", "a ping in two fragments", STEPS(FRAME(0x09, "one"), LAST_PART("two")),
         REFUSED(1002)),
    CASE("5.2", "a pong in two fragments", STEPS(FRAME(0x0A, "one"), LAST_PART("two")),
         REFUSED(1002)),
    CASE("5.3", "a text in two fragments",
         STEPS(TEXT_PART("one"), LAST_PART("two"), GET_TEXT("onetwo"))),
    CASE("5.4", "a text in two fragments, frame by frame",
         STEPS(TEXT_PART("one"), LAST_PART("two"), GET_TEXT("onetwo")), IN_FRAMES),
    CASE("5.5", "a text in two fragments, byte by byte",
         STEPS(TEXT_PART("one"), LAST_PART("two"), GET_TEXT("onetwo")), IN_BYTES),
    CASE("5.6", "a ping between two fragments",
         STEPS(TEXT_PART("one"), PING("between"), LAST_PART("two"), GET_PONG("between"),
               GET_TEXT("onetwo"))),
    CASE("5.7", "a ping between two fragments, frame by frame",
         STEPS(TEXT_PART("one"), PING("between"), LAST_PART("two"), GET_PONG("between"),
               GET_TEXT("onetwo")),
         IN_FRAMES),
    CASE("5.8", "a ping between two fragments, byte by byte",
         STEPS(TEXT_PART("one"), PING("between"), LAST_PART("two"), GET_PONG("between"),
               GET_TEXT("onetwo")),
         IN_BYTES),
    CASE("5.9", "a last continuation of nothing, then a text",
         STEPS(LAST_PART("lost"), TEXT("whole")), REFUSED(1002)),
    CASE("5.10", "a last continuation of nothing, then a text, frame by frame",
         STEPS(LAST_PART("lost"), TEXT("whole")), IN_FRAMES, REFUSED(1002)),
    CASE("5.11", "a last continuation of nothing, then a text, byte by byte",
         STEPS(LAST_PART("lost"), TEXT("whole")), IN_BYTES, REFUSED(1002)),
    CASE("5.12", "a continuation of nothing, then a text", STEPS(PART("lost"), TEXT("whole")),
         REFUSED(1002)),
    CASE("5.13", "a continuation of nothing, then a text, frame by frame",
         STEPS(PART("lost"), TEXT("whole")), IN_FRAMES, REFUSED(1002)),
    CASE("5.14", "a continuation of nothing, then a text, byte by byte",
         STEPS(PART("lost"), TEXT("whole")), IN_BYTES, REFUSED(1002)),
    CASE("5.15", "a text in two fragments, a continuation of nothing, a text",
         STEPS(TEXT_PART("one"), LAST_PART("two"), PART("lost"), TEXT("whole"), GET_TEXT("onetwo")),
         REFUSED(1002)),
    CASE("5.16", "a continuation of nothing and a text in two fragments, twice",
         STEPS(PART("lost"), TEXT_PART("one"), LAST_PART("two"), PART("lost"), TEXT_PART("one"),
               LAST_PART("two")),
         REFUSED(1002)),
    CASE("5.17", "a last continuation of nothing and a text in two fragments, twice",
         STEPS(LAST_PART("lost"), TEXT_PART("one"), LAST_PART("two"), LAST_PART("lost"),
               TEXT_PART("one"), LAST_PART("two")),
         REFUSED(1002)),
    CASE("5.18", "a second fragment that says text again", STEPS(TEXT_PART("one"), TEXT("two")),
         REFUSED(1002)),
    CASE("5.19", "five fragments, two pings, the first answered before the rest is sent",
         STEPS(TEXT_PART("one"), PART("two"), PING("first"), GET_PONG("first"), PART("three"),
               PART("four"), PING("second"), LAST_PART("five"), GET_PONG("second"),
               GET_TEXT("onetwothreefourfive"))),
    CASE("5.20", "the same, frame by frame",
         STEPS(TEXT_PART("one"), PART("two"), PING("first"), GET_PONG("first"), PART("three"),
               PART("four"), PING("second"), LAST_PART("five"), GET_PONG("second"),
               GET_TEXT("onetwothreefourfive")),
         IN_FRAMES),
};

static const test_case_t more[] = {
    CASE("rfc 5.4", "a binary message in three fragments",
         STEPS(BINARY_PART("\x00"), PART("\xFF"), LAST_PART("\x01"), GET_BINARY("\x00\xFF\x01"))),
    CASE("rfc 5.4", "a binary message in empty fragments",
         STEPS(BINARY_PART(""), PART(""), PART(""), LAST_PART(""), GET_BINARY(""))),
    CASE("rfc 5.4", "fragments of one byte",
         STEPS(TEXT_PART("a"), PART("b"), PART("c"), PART("d"), LAST_PART("e"), GET_TEXT("abcde"))),
    CASE("rfc 5.4", "a message in one fragment and an empty last one",
         STEPS(TEXT_PART("all of it"), LAST_PART(""), GET_TEXT("all of it"))),
    CASE("rfc 5.4", "a pong between fragments is not answered",
         STEPS(TEXT_PART("one"), PONG("x"), LAST_PART("two"), GET_TEXT("onetwo"))),
    CASE("rfc 5.4", "pings between all fragments",
         STEPS(PING("0"), TEXT_PART("a"), PING("1"), PART("b"), PING("2"), LAST_PART("c"),
               PING("3"), GET_PONG("0"), GET_PONG("1"), GET_PONG("2"), GET_TEXT("abc"),
               GET_PONG("3"))),
    CASE("rfc 5.4", "two fragmented messages behind each other",
         STEPS(TEXT_PART("a"), LAST_PART("b"), BINARY_PART("c"), LAST_PART("d"), GET_TEXT("ab"),
               GET_BINARY("cd"))),
    CASE("rfc 5.4", "a whole message behind a fragmented one",
         STEPS(TEXT_PART("a"), LAST_PART("b"), TEXT("c"), GET_TEXT("ab"), GET_TEXT("c"))),
    CASE("rfc 5.4", "a second fragment that says binary", STEPS(BINARY_PART("one"), BINARY("two")),
         REFUSED(1002)),
    CASE("rfc 5.4", "a text that begins within a text", STEPS(TEXT_PART("one"), TEXT_PART("two")),
         REFUSED(1002)),
    CASE("rfc 5.4", "a binary message within a text", STEPS(TEXT_PART("one"), BINARY("two")),
         REFUSED(1002)),
    CASE("rfc 5.4", "a text within a binary message", STEPS(BINARY_PART("one"), TEXT("two")),
         REFUSED(1002)),
    CASE("rfc 5.4", "a message within an empty beginning", STEPS(TEXT_PART(""), TEXT("two")),
         REFUSED(1002)),
    CASE("rfc 5.4", "the byte that begins a message within a message is enough",
         STEPS(TEXT_PART("one"), BYTES("\x82"), SEND), REFUSED(1002)),
    CASE("rfc 5.4", "an empty continuation of nothing", STEPS(LAST_PART("")), REFUSED(1002)),
    CASE("rfc 5.4", "a continuation of a message that has ended",
         STEPS(TEXT("whole"), LAST_PART("more"), GET_TEXT("whole")), REFUSED(1002)),
    CASE("rfc 5.4", "a continuation after a ping", STEPS(PING("p"), PART("lost"), GET_PONG("p")),
         REFUSED(1002)),
    CASE("rfc 5.5.1", "a close within a message ends it",
         STEPS(TEXT_PART("one"), BYE(1000, "enough"))),
    CASE("rfc 5.5.1", "a bad close within a message", STEPS(TEXT_PART("one"), BYE(1005, "")),
         REFUSED(1002)),
    CASE("rfc 5.4", "fragments over a length of two bytes and one of eight",
         STEPS(SIZED_FRAME(0x02, "abc", 201), SIZED_FRAME(0x00, "abc", 69999), LAST_PART("a"),
               GET_SIZED(SAID_BINARY, "abc", 201 + 69999 + 1))),
};

/* All orders of a ping among three fragments are in the tables; here are many of both. */
static void play_thousand_fragments(suite_t *suite, bool with_pings)
{
    char all[1000];

    if (!suite_begin(suite, "rfc 5.4", NULL, "a thousand fragments%s",
                     with_pings ? " with a ping behind each" : ""))
        return;
    for (size_t i = 0; i < sizeof(all); i++) {
        all[i] = (char)('a' + i % 26);
        play_frame(&suite->play, i == 0 ? 0x01 : 0x00, hub_str_n(&all[i], 1));
        if (with_pings)
            play_frame(&suite->play, 0x89, hub_str_n(all, i % 100));
    }
    play_frame(&suite->play, 0x80, HUB_STR(""));
    for (size_t i = 0; with_pings && i < sizeof(all); i++)
        play_expect(&suite->play, SAID_PONG, hub_str_n(all, i % 100));
    play_expect(&suite->play, SAID_TEXT, hub_str_n(all, sizeof(all)));
    suite_goodbye(suite);
    suite_end(suite);
}

void play_fragments(suite_t *suite)
{
    suite_play_all(suite, fragments, COUNT(fragments));
    suite_play_all(suite, more, COUNT(more));
    play_thousand_fragments(suite, false);
    play_thousand_fragments(suite, true);
}
