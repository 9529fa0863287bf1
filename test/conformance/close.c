/* SPDX-License-Identifier: MIT */

/* The end of a conversation (RFC 6455 5.5.1, 7): a close is answered with its own code, once, after
 * everything before it and before nothing; what a close may not carry is 1002 or 1007; then the
 * server ends TCP first. */

#include <stdio.h>

#include "test/conformance/suite.h"

static const test_case_t handshakes[] = {
    CASE("7.1.1", "a message, then a close", STEPS(TEXT("last words"), GET_TEXT("last words"))),
    CASE("7.1.2", "two closes", STEPS(BYE(1000, ""), BYE(0, ""))),
    CASE("7.1.3", "a ping behind a close", STEPS(BYE(1000, ""), PING(""))),
    CASE("7.1.4", "a text behind a close", STEPS(BYE(1000, ""), TEXT("too late"))),
    CASE("7.1.5", "a close between two fragments",
         STEPS(TEXT_PART("one"), BYE(1000, ""), LAST_PART("two"))),
    CASE("7.1.6", "a message of 256 KiB and one more before a close, a ping behind it",
         STEPS(SIZED_FRAME(0x81, "long one ", 262144), TEXT("short one"), BYE(1000, ""), PING(""),
               GET_SIZED(SAID_TEXT, "long one ", 262144), GET_TEXT("short one"))),
    CASE("7.3.1", "a close without a code", STEPS(BYE(0, ""))),
    CASE("7.3.2", "a close of one byte", STEPS(FRAME(0x88, "\x03")), REFUSED(1002)),
    CASE("7.3.3", "a close with a code", STEPS(BYE(1000, ""))),
    CASE("7.3.4", "a close with a reason", STEPS(BYE(1000, "the reason"))),
    CASE("7.3.5", "a close with a reason of 123 bytes",
         STEPS({.kind = STEP_BYE, .first = 1000, .bytes = {"*", 1}, .size = 123})),
    CASE("7.3.6", "a close with a reason of 124 bytes",
         STEPS({.kind = STEP_BYE, .first = 1000, .bytes = {"*", 1}, .size = 124}), REFUSED(1002)),
    CASE("7.5.1", "a close with a reason that is not UTF-8",
         STEPS(BYE(1000, "caf\xC3\xA9 \xED\xA0\x80 rest")), REFUSED(1007)),
};

static const test_case_t more[] = {
    CASE("rfc 5.5.1", "messages just before a close come back",
         STEPS(TEXT("1"), BINARY("2"), PING("3"), BYE(1001, ""), GET_TEXT("1"), GET_BINARY("2"),
               GET_PONG("3"))),
    CASE("rfc 5.5.1", "what is no frame is ignored behind a close",
         STEPS(BYE(1000, ""), BYTES("\xFF\xFF\xFF\xFF GET / HTTP/1.1\r\n\r\n"))),
    CASE("rfc 5.5.1", "a bad close behind a good one is ignored",
         STEPS(BYE(1000, ""), BYE(1005, ""))),
    CASE("rfc 5.5.1", "a reason that ends within a character", STEPS(BYE(1000, "caf\xC3")),
         REFUSED(1007)),
    CASE("rfc 5.5.1", "an empty reason behind a code of the application", STEPS(BYE(4000, ""))),
    CASE("rfc 5.5.1", "a reason with a NUL", STEPS(BYE(1000, "a\0b"))),
    CASE("rfc 5.5.1", "a bad code with a good reason", STEPS(BYE(999, "reason")), REFUSED(1002)),
    CASE("rfc 5.5.1", "a bad code with a bad reason", STEPS(BYE(1006, "\xFF")), REFUSED(1002)),
    CASE("rfc 5.5.1", "a close, byte by byte", STEPS(BYE(3333, "byte by byte")), IN_BYTES),
    CASE("rfc 7.1.7", "nothing is answered behind the fault",
         STEPS(TEXT("before"), FRAME(0x83, ""), TEXT("behind"), PING("behind"), BYE(1000, ""),
               GET_TEXT("before")),
         REFUSED(1002)),
    CASE("rfc 7.1.7", "a fault behind a fault changes nothing",
         STEPS(TEXT("\xFF"), FRAME(0x83, ""), BARE_FRAME(0x81, "")), REFUSED(1007)),
};

/* Codes that a client may send, and of those that it may not each kind and each border. */
static const unsigned good_codes[] = {1000, 1001, 1002, 1003, 1007, 1008, 1009,
                                      1010, 1011, 3000, 3999, 4000, 4999};
static const unsigned more_good_codes[] = {1012, 1013, 1014, 3001, 3500, 4001, 4500, 4998};
static const unsigned bad_codes[] = {0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999};
static const unsigned more_bad_codes[] = {1,    2,    100,   500,   998,   1015,  1017, 1023,
                                          1024, 1099, 1999,  2001,  2500,  2998,  5001, 5999,
                                          6000, 9999, 10000, 32767, 32768, 33768, 65534};
/* Of those the public suite only takes note. */
static const unsigned far_codes[] = {5000, 65535};

static void play_code(suite_t *suite, const char *number, unsigned code, bool good,
                      const char *reason)
{
    char payload[32] = {(char)(code >> 8), (char)code};
    size_t len = 2 + (size_t)snprintf(payload + 2, sizeof(payload) - 2, "%s", reason);

    if (!suite_begin(suite, number, NULL, "a close with code %u%s", code,
                     reason[0] == '\0' ? "" : " and a reason"))
        return;
    play_frame(&suite->play, 0x88, hub_str_n(payload, len));
    suite->play.said_bye = true;
    play_expect_end(&suite->play, good ? code : 1002);
    suite_end(suite);
}

static void play_codes(suite_t *suite, const char *group, const unsigned *codes, size_t count,
                       bool good)
{
    char number[32];

    for (size_t i = 0; i < count; i++) {
        snprintf(number, sizeof(number), "%s.%zu", group, i + 1);
        play_code(suite, number[0] == '7' ? number : group, codes[i], good, "");
        play_code(suite, "rfc 7.4", codes[i], good, "why");
    }
}

/* All of a range, as one case each way: thousands of them tell no more. */
static void play_code_range(suite_t *suite, unsigned from, unsigned to, unsigned step, bool good)
{
    char payload[2];

    if (!suite_begin(suite, "rfc 7.4", NULL, "closes with codes %u to %u, each %u. one", from, to,
                     step))
        return;
    for (unsigned code = from; code <= to; code += step) {
        payload[0] = (char)(code >> 8);
        payload[1] = (char)code;
        play_frame(&suite->play, 0x88, hub_str_n(payload, 2));
        play_expect_end(&suite->play, good ? code : 1002);
        if (code + step > to || suite->play.fault[0] != '\0')
            break;
        play_dispose(&suite->play);
        play_open(&suite->play, suite->address, NULL);
    }
    suite_end(suite);
}

void play_close(suite_t *suite)
{
    suite_play_all(suite, handshakes, COUNT(handshakes));
    suite_play_all(suite, more, COUNT(more));
    play_codes(suite, "7.7", good_codes, COUNT(good_codes), true);
    play_codes(suite, "7.9", bad_codes, COUNT(bad_codes), false);
    play_codes(suite, "7.13", far_codes, COUNT(far_codes), false);
    play_codes(suite, "rfc 7.4", more_good_codes, COUNT(more_good_codes), true);
    play_codes(suite, "rfc 7.4", more_bad_codes, COUNT(more_bad_codes), false);
    play_code_range(suite, 0, 999, 37, false);
    play_code_range(suite, 1015, 2999, 31, false);
    play_code_range(suite, 3000, 4999, 41, true);
    play_code_range(suite, 5000, 65535, 997, false);
}
