/* SPDX-License-Identifier: MIT */

/* The judge of conformance/ finds what a wrong server says: each rule broken once, as the judge
 * alone sees it, and recorded answers of servers that fail a case in each way they can. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test/conformance/press.h"
#include "test/conformance/suite.h"

/* ---- the judge alone ---- */

struct record {
    const char *bytes;
    size_t len;
    const char *fault; /* NULL: none, the connection may end here */
};

#define SAYS(literal, what)                                                                        \
    {                                                                                              \
        literal, sizeof(literal) - 1, what                                                         \
    }
#define BYE_1000 "\x88\x02\x03\xE8"
#define HELLO "\x81\x05hello"

static const struct record records[] = {
    SAYS(HELLO BYE_1000, NULL),
    SAYS("\x01\x02he\x89\x01p\x80\x03llo" BYE_1000, NULL),
    SAYS("\x82\x00\x8A\x00\x88\x00", NULL),
    SAYS("\x88\x07\x0F\xA1later", NULL),
    SAYS(HELLO, "without a close"),
    SAYS("", "without a close"),
    SAYS("\x91\x05hello" BYE_1000, "RSV"),
    SAYS("\xA1\x05hello" BYE_1000, "RSV"),
    SAYS("\xC1\x05hello" BYE_1000, "RSV1"),
    SAYS("\x83\x00" BYE_1000, "reserved opcode"),
    SAYS("\x87\x00" BYE_1000, "reserved opcode"),
    SAYS("\x8B\x00" BYE_1000, "reserved opcode"),
    SAYS("\x8F\x00" BYE_1000, "reserved opcode"),
    SAYS("\x81\x85\0\0\0\0hello" BYE_1000, "masked"),
    SAYS("\x88\x82\0\0\0\0\x03\xE8", "masked"),
    SAYS("\x81\x7E\x00\x05hello" BYE_1000, "shortest"),
    SAYS("\x81\x7E\x00\x7D", "shortest"),
    SAYS("\x81\x7F\0\0\0\0\0\0\0\x05hello" BYE_1000, "shortest"),
    SAYS("\x81\x7F\0\0\0\0\0\0\xFF\xFF", "shortest"),
    SAYS("\x81\x7F\x80\0\0\0\0\0\0\0", "top bit"),
    SAYS("\x09\x00" BYE_1000, "fragmented"),
    SAYS("\x08\x00", "fragmented"),
    SAYS("\x8A\x7E\x00\x7E", "longer than 125"),
    SAYS("\x80\x05hello" BYE_1000, "continuation"),
    SAYS(HELLO "\x00\x00" BYE_1000, "continuation"),
    SAYS("\x01\x02he" HELLO BYE_1000, "within a fragmented"),
    SAYS("\x81\x01\xFF" BYE_1000, "not UTF-8"),
    SAYS("\x81\x02\xC3(" BYE_1000, "not UTF-8"),
    SAYS("\x01\x01\xC3\x80\x01(" BYE_1000, "not UTF-8"),
    SAYS("\x01\x01\xC3\x80\x00" BYE_1000, "not UTF-8"),
    SAYS("\x88\x01\x03", "single byte"),
    SAYS("\x88\x02\x03\xE7", "close code"),
    SAYS("\x88\x02\x03\xED", "close code"),
    SAYS("\x88\x02\x03\xF7", "close code"),
    SAYS("\x88\x02\x13\x88", "close code"),
    SAYS("\x88\x03\x03\xE8\xFF", "reason"),
    SAYS(BYE_1000 BYE_1000, "behind the close"),
    SAYS(BYE_1000 "x", "behind the close"),
    SAYS(BYE_1000 "\x8A\x00", "behind the close"),
};

static const char *verdict(const struct record *record, size_t piece)
{
    judge_t judge = {0};
    said_t said = {.kind = SAID_NOTHING};

    for (size_t at = 0; at < record->len && said.kind != SAID_WRONG; at += piece) {
        size_t len = record->len - at < piece ? record->len - at : piece;

        memcpy(judge_room(&judge, len), record->bytes + at, len);
        judge_received(&judge, len);
        do
            said = judge_next(&judge);
        while (said.kind != SAID_NOTHING && said.kind != SAID_WRONG);
    }
    if (said.kind != SAID_WRONG)
        said = judge_end(&judge);
    judge_dispose(&judge);
    return said.kind == SAID_WRONG ? said.fault : NULL;
}

static void each_broken_rule_is_named_however_it_arrives(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(records); i++) {
        for (size_t piece = 1; piece <= records[i].len + 1; piece++) {
            const char *fault = verdict(&records[i], piece);

            if ((fault == NULL) != (records[i].fault == NULL) ||
                (fault != NULL && strstr(fault, records[i].fault) == NULL))
                fail_msg("record %zu in pieces of %zu: expected '%s', got '%s'", i, piece,
                         records[i].fault, fault);
        }
    }
}

static void a_message_is_put_together_and_handed_out_once(void **state)
{
    judge_t judge = {0};
    said_t said;

    (void)state;
    memcpy(judge_room(&judge, 15), "\x02\x02he\x89\x01p\x80\x03llo\x8A\x00\x81", 15);
    judge_received(&judge, 15);
    said = judge_next(&judge);
    assert_int_equal(said.kind, SAID_PING);
    assert_true(hub_str_equals(said.payload, HUB_STR("p")));
    said = judge_next(&judge);
    assert_int_equal(said.kind, SAID_BINARY);
    assert_true(hub_str_equals(said.payload, HUB_STR("hello")));
    assert_int_equal(judge_next(&judge).kind, SAID_PONG);
    assert_int_equal(judge_next(&judge).kind, SAID_NOTHING);
    judge_dispose(&judge);
}

/* By what RFC 3629 says of code points, up to three bytes. */
static bool decodes(const unsigned char *bytes, size_t len)
{
    size_t at = 0;

    while (at < len) {
        unsigned lead = bytes[at++], point;
        size_t more = lead < 0x80 ? 0 : lead < 0xC0 ? 9 : lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 9;
        static const unsigned least[] = {0, 0x80, 0x800};

        if (more > len - at)
            return false;
        point = more == 0 ? lead : lead & (0x3FU >> more);
        for (size_t i = 0; i < more; i++, at++) {
            if ((bytes[at] & 0xC0) != 0x80)
                return false;
            point = point << 6 | (bytes[at] & 0x3F);
        }
        if (point < least[more] || (point >= 0xD800 && point <= 0xDFFF))
            return false;
    }
    return true;
}

static void utf8_is_told_from_what_is_not(void **state)
{
    static const unsigned char thirds[] = {0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F,
                                           0xA0, 0xBF, 0xC0, 0xC2, 0xFF};

    (void)state;
    for (unsigned i = 0; i < 65536 * COUNT(thirds); i++) {
        unsigned char bytes[] = {(unsigned char)i, (unsigned char)(i >> 8), thirds[i >> 16]};
        bool complete;
        size_t good = judge_utf8(hub_str_n((const char *)bytes, 3), &complete);

        if ((good == 3 && complete) != decodes(bytes, 3))
            fail_msg("%02x%02x%02x", bytes[0], bytes[1], bytes[2]);
    }
}

/* ---- recorded answers to whole cases ---- */

struct answer {
    const test_case_t *test;
    const char *bytes;
    size_t len;
    const char *fault; /* "" : the case passes */
    bool stays_open;   /* the server ends nothing */
};

static const test_case_t echo = CASE("", "", STEPS(TEXT("hello"), GET_TEXT("hello")));
static const test_case_t two =
    CASE("", "", STEPS(TEXT("a"), PING("b"), GET_TEXT("a"), GET_PONG("b")));
static const test_case_t refused =
    CASE("", "", STEPS(TEXT("a"), FRAME(0x83, ""), PING(""), GET_TEXT("a")), REFUSED(1002));
static const test_case_t bye = CASE("", "", STEPS(BYE(3000, "reason")));
static const test_case_t empty_bye = CASE("", "", STEPS(BYE(0, "")));
static const test_case_t silent =
    CASE("", "", STEPS(TEXT_PART("a"), SILENCE, LAST_PART("b"), GET_TEXT("ab")));
static const test_case_t large =
    CASE("", "", STEPS(SIZED_FRAME(0x82, "x", 300), GET_SIZED(SAID_BINARY, "x", 300)));

#define BYE_1002 "\x88\x02\x03\xEA"
#define ANSWER(to, literal, what)                                                                  \
    {                                                                                              \
        &(to), literal, sizeof(literal) - 1, what, false                                           \
    }

static const struct answer answers[] = {
    ANSWER(echo, HELLO BYE_1000, ""),
    ANSWER(echo, "\x81\x05hullo" BYE_1000, "differ from byte 1"),
    ANSWER(echo, "\x81\x04hell" BYE_1000, "expected a text of 5 bytes"),
    ANSWER(echo, "\x82\x05hello" BYE_1000, "got a binary"),
    ANSWER(echo, HELLO HELLO BYE_1000, "got a text"),
    ANSWER(echo, "\x8A\x00" HELLO BYE_1000, "got a pong"),
    ANSWER(echo, BYE_1000, "got a close 1000"),
    ANSWER(echo, HELLO, "without a close"),
    ANSWER(echo, "", "without a close"),
    ANSWER(echo, HELLO "\x88\x02\x03\xE9", "expected a close 1000, got a close 1001"),
    ANSWER(echo, HELLO "\x88\x00", "got a close 0"),
    ANSWER(echo, HELLO BYE_1000 "\x88\x00", "behind the close"),
    ANSWER(echo, "\x81\x85\0\0\0\0hello" BYE_1000, "masked"),
    {&echo, HELLO BYE_1000, 11, "no answer for", true},
    {&echo, "\x81\x05hel", 5, "no answer for", true},
    ANSWER(two,
           "\x81\x01"
           "a\x8A\x01"
           "b" BYE_1000,
           ""),
    ANSWER(two,
           "\x8A\x01"
           "b\x81\x01"
           "a" BYE_1000,
           "got a pong"),
    ANSWER(two,
           "\x81\x01"
           "a\x8A\x00" BYE_1000,
           "expected a pong of 1"),
    ANSWER(two,
           "\x81\x01"
           "a" BYE_1000,
           "got a close"),
    ANSWER(refused,
           "\x81\x01"
           "a" BYE_1002,
           ""),
    ANSWER(refused, BYE_1002, "got a close 1002"),
    ANSWER(refused,
           "\x81\x01"
           "a\x8A\x00" BYE_1002,
           "got a pong"),
    ANSWER(refused,
           "\x81\x01"
           "a" BYE_1000,
           "expected a close 1002"),
    ANSWER(refused,
           "\x81\x01"
           "a\x88\x00",
           "expected a close 1002"),
    ANSWER(refused,
           "\x81\x01"
           "a",
           "without a close"),
    ANSWER(bye, "\x88\x08\x0B\xB8reason", ""),
    ANSWER(bye, BYE_1000, "expected a close 3000"),
    ANSWER(bye, "\x88\x00", "expected a close 3000"),
    ANSWER(empty_bye, "\x88\x00", ""),
    ANSWER(empty_bye, BYE_1000, "expected a close 0"),
    ANSWER(silent,
           "\x81\x02"
           "ab" BYE_1000,
           "expected silence"),
    ANSWER(large, "\x82\x7E\x01\x2Cx", "without a close"),
};

/* The server speaks before it is spoken to, which a recording may. */
static void each_wrong_answer_fails_its_case(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(answers); i++) {
        int ends[2];
        play_t play;

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
        assert_int_equal(write(ends[1], answers[i].bytes, answers[i].len), answers[i].len);
        if (!answers[i].stays_open)
            shutdown(ends[1], SHUT_WR);
        play_over(&play, ends[0]);
        play.patience_ms = 20;
        case_play(&play, answers[i].test);
        if ((answers[i].fault[0] == '\0') != (play.fault[0] == '\0') ||
            strstr(play.fault, answers[i].fault) == NULL)
            fail_msg("answer %zu: expected '%s', got '%s'", i, answers[i].fault, play.fault);
        play_dispose(&play);
        close(ends[1]);
    }
}

static void a_reset_is_told_from_an_end(void **state)
{
    int ends[2];
    play_t play;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    play_over(&play, ends[0]);
    play_frame(&play, 0x81, HUB_STR("unread"));
    play_send(&play);
    close(ends[1]); /* with bytes that were not read */
    play_expect_end(&play, 1000);
    assert_non_null(strstr(play.fault, "the connection broke"));
    play_dispose(&play);
}

static const test_case_t numbered[] = {CASE("1.1", "", STEPS(SEND)), CASE("1.1", "", STEPS(SEND)),
                                       CASE("rfc 5", "", STEPS(SEND))};

static void a_number_of_the_public_suite_is_counted_once(void **state)
{
    suite_t suite = {0};

    (void)state;
    suite_play_all(&suite, numbered, COUNT(numbered));
    assert_int_equal(suite.cases, 3);
    assert_int_equal(suite.numbers[1], 2);
    hub__buffer_append(&suite.report, hub_str_n("", 1));
    assert_non_null(strstr(suite.report.base, "two cases are 1.1"));
    suite_dispose(&suite);
}

/* ---- compression ---- */

#define PMD "permessage-deflate"

static const struct agreement {
    press_offer_t offer;
    const char *answer, *fault; /* NULL: none */
} agreements[] = {
    {{PMD, false, 0, false}, PMD, NULL},
    {{PMD, false, 0, false}, PMD "; server_no_context_takeover;server_max_window_bits=9", NULL},
    {{PMD, false, 0, true}, PMD "; client_max_window_bits=8; client_no_context_takeover", NULL},
    {{PMD, true, 10, false}, PMD "; server_max_window_bits=9 ; server_no_context_takeover", NULL},
    {{PMD, false, 0, false}, "", "accepts no"},
    {{PMD, false, 0, false}, "deflate", "accepts no"},
    {{PMD, false, 0, false}, PMD ", " PMD, "more than one"},
    {{PMD, false, 0, false}, PMD "; level=9", "unknown"},
    {{PMD, false, 0, false}, PMD "; server_no_context_takeover=1", "flag with a value"},
    {{PMD, false, 0, false}, PMD "; server_max_window_bits", "not 8 to 15"},
    {{PMD, false, 0, false}, PMD "; server_max_window_bits=16", "not 8 to 15"},
    {{PMD, false, 0, false}, PMD "; server_max_window_bits=7", "not 8 to 15"},
    {{PMD, false, 0, false}, PMD "; server_max_window_bits=09", "not 8 to 15"},
    {{PMD, false, 0, true}, PMD "; client_max_window_bits", "not 8 to 15"},
    {{PMD, true, 0, false},
     PMD "; server_no_context_takeover; server_no_context_takeover",
     "twice"},
    {{PMD, false, 0, false}, PMD "; server_max_window_bits=9; server_max_window_bits=9", "twice"},
    {{PMD, true, 0, false}, PMD, "lacks the server_no"},
    {{PMD, false, 9, false}, PMD, "lacks the server_max"},
    {{PMD, false, 9, false}, PMD "; server_max_window_bits=10", "larger than was offered"},
    {{PMD, false, 0, false}, PMD "; client_max_window_bits=15", "was not offered"},
};

static void an_answer_that_goes_beyond_its_offer_is_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(agreements); i++) {
        press_terms_t terms;
        const char *fault = press_read(agreements[i].answer, &terms);

        if (fault == NULL)
            fault = press_compare(&agreements[i].offer, &terms);
        if ((fault == NULL) != (agreements[i].fault == NULL) ||
            (fault != NULL && strstr(fault, agreements[i].fault) == NULL))
            fail_msg("%s: expected '%s', got '%s'", agreements[i].answer, agreements[i].fault,
                     fault);
    }
}

/* Says these bytes as a server that agreed to `answer`. Returns what was wrong, "" for nothing. */
static const char *press_verdict(const char *answer, hub_str_t bytes)
{
    static char fault[sizeof(((play_t *)NULL)->fault)];
    static const press_offer_t offer = {PMD, false, 0, false};
    press_t press;
    play_t play;

    play_over(&play, -1);
    snprintf(play.extensions, sizeof(play.extensions), "%s", answer);
    press_begin(&press, &play, &offer);
    memcpy(judge_room(&play.judge, bytes.len), bytes.base, bytes.len);
    judge_received(&play.judge, bytes.len);
    play.ended = true;
    while (play.fault[0] == '\0' && play_hear(&play).kind != SAID_END)
        ;
    memcpy(fault, play.fault, sizeof(fault));
    press_dispose(&press);
    play_dispose(&play);
    return fault;
}

#define PACKED_HELLO "\xC1\x07\xF2\x48\xCD\xC9\xC9\x07\x00"
#define HELLO_AGAIN "\xC1\x05\xF2\x00\x11\x00\x00" /* refers back to it */

static void what_was_not_agreed_on_is_wrong_in_compressed_messages(void **state)
{
    static const char no_context[] = PMD "; server_no_context_takeover";

    (void)state;
    assert_string_equal(press_verdict(PMD, HUB_STR(PACKED_HELLO HELLO_AGAIN BYE_1000)), "");
    assert_string_equal(press_verdict(no_context, HUB_STR(PACKED_HELLO PACKED_HELLO BYE_1000)), "");
    assert_non_null(strstr(press_verdict(no_context, HUB_STR(PACKED_HELLO HELLO_AGAIN BYE_1000)),
                           "does not inflate"));
    assert_non_null(
        strstr(press_verdict(PMD, HUB_STR("\xC1\x02\x07\x00" BYE_1000)), "does not inflate"));
    assert_non_null(strstr(press_verdict(PMD, HUB_STR("\xC1\x00" BYE_1000)), "without a byte"));
    assert_non_null(strstr(press_verdict(PMD, HUB_STR("\xC9\x00" BYE_1000)), "RSV1"));
    assert_non_null(strstr(
        press_verdict(PMD, HUB_STR("\xC1\x07\x00\x01\x00\xFE\xFF\xFF\x00" BYE_1000)), "not UTF-8"));
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(each_broken_rule_is_named_however_it_arrives),
        cmocka_unit_test(a_message_is_put_together_and_handed_out_once),
        cmocka_unit_test(utf8_is_told_from_what_is_not),
        cmocka_unit_test(each_wrong_answer_fails_its_case),
        cmocka_unit_test(a_reset_is_told_from_an_end),
        cmocka_unit_test(a_number_of_the_public_suite_is_counted_once),
        cmocka_unit_test(an_answer_that_goes_beyond_its_offer_is_named),
        cmocka_unit_test(what_was_not_agreed_on_is_wrong_in_compressed_messages),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
