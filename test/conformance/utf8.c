/* SPDX-License-Identifier: MIT */

/* Text is UTF-8 (RFC 6455 5.6, 8.1; RFC 3629), and what is not is refused at the byte that decides
 * it, not when the message ends. The sequences are those of a well-known stress test for decoders:
 * the first and last of each length, what lies beyond them, all kinds of broken ones. Each is sent
 * whole, in fragments of a byte, byte by byte, up to the byte that decides alone, and as the reason
 * of a close. */

#include <stdio.h>

#include "test/conformance/suite.h"

/* Five characters of two and three bytes. Behind them three more bytes make it wrong. */
#define WORD "\xCF\x84\xE1\xBD\xB1\xCE\xBE\xCE\xB9\xCF\x82"
#define SURROGATE "\xED\xA0\x80"
#define BEYOND "\xF4\x90\x80\x80" /* U+110000 */

static const test_case_t messages[] = {
    CASE("6.1.1", "an empty text", STEPS(TEXT(""), GET_TEXT(""))),
    CASE("6.1.2", "a text of three empty fragments",
         STEPS(TEXT_PART(""), PART(""), LAST_PART(""), GET_TEXT(""))),
    CASE("6.1.3", "a text between two empty fragments",
         STEPS(TEXT_PART(""), PART("the middle"), LAST_PART(""), GET_TEXT("the middle"))),
    CASE("6.2.1", "a text with characters of two bytes",
         STEPS(TEXT("caf\xC3\xA9 \xC2\xB5@\xC3\x9F"), GET_TEXT("caf\xC3\xA9 \xC2\xB5@\xC3\x9F"))),
    CASE("6.2.2", "the same in two fragments, cut between characters",
         STEPS(TEXT_PART("caf\xC3\xA9 "), LAST_PART("\xC2\xB5@\xC3\x9F"),
               GET_TEXT("caf\xC3\xA9 \xC2\xB5@\xC3\x9F"))),
};

static const test_case_t spoilt[] = {
    CASE("6.3.1", "a surrogate within a text", STEPS(TEXT(WORD SURROGATE "rest")), REFUSED(1007)),
};

/* What is not finished is judged all the same. */
static const test_case_t fail_fast[] = {
    CASE("6.4.1", "the second of three fragments goes beyond Unicode",
         STEPS(TEXT_PART(WORD), PING("still here"), GET_PONG("still here"), PART(BEYOND)),
         REFUSED(1007)),
    CASE("6.4.2", "the second fragment ends with the byte that decides",
         STEPS(TEXT_PART(WORD "\xF4"), PING("still here"), GET_PONG("still here"), PART("\x90")),
         REFUSED(1007)),
    CASE("6.4.3", "the second piece of a frame goes beyond Unicode",
         STEPS(BYTES("\x81\x95\0\0\0\0" WORD), SILENCE, BYTES(BEYOND)), REFUSED(1007)),
    CASE("6.4.4", "the second piece of a frame is the byte that decides",
         STEPS(BYTES("\x81\x95\0\0\0\0" WORD "\xF4"), SILENCE, BYTES("\x90")), REFUSED(1007)),
};

static const test_case_t more[] = {
    CASE("rfc 8.1", "a text that ends within a character", STEPS(TEXT("caf\xC3")), REFUSED(1007)),
    CASE("rfc 8.1", "fragments that end within a character",
         STEPS(TEXT_PART("caf"), LAST_PART("\xC3")), REFUSED(1007)),
    CASE("rfc 8.1", "an empty last fragment does not complete a character",
         STEPS(TEXT_PART("caf\xC3"), LAST_PART("")), REFUSED(1007)),
    CASE("rfc 8.1", "a ping within a character does not break it",
         STEPS(TEXT_PART("caf\xC3"), PING("\xFF"), LAST_PART("\xA9"), GET_PONG("\xFF"),
               GET_TEXT("caf\xC3\xA9"))),
    CASE("rfc 8.1", "a character does not go on in the next message",
         STEPS(TEXT("caf\xC3"), TEXT("\xA9")), REFUSED(1007)),
    CASE("rfc 8.1", "a valid text before one that is not",
         STEPS(TEXT("first"), TEXT("\xFF"), TEXT("third"), GET_TEXT("first")), REFUSED(1007)),
    CASE("rfc 8.1", "binary messages need no characters",
         STEPS(BINARY(SURROGATE "\xFF\xC0"), GET_BINARY(SURROGATE "\xFF\xC0"), BINARY_PART("\xC3"),
               LAST_PART("("), GET_BINARY("\xC3("))),
    CASE("rfc 8.1", "a wrong byte behind 65535 right ones",
         STEPS(SIZED_FRAME(0x01, "x", 65535), LAST_PART("\x80")), REFUSED(1007)),
    CASE("rfc 8.1", "the first byte of a frame of 16 MiB decides",
         STEPS(BYTES("\x81\xFF\0\0\0\0\1\0\0\0\0\0\0\0\xFF"), SEND), REFUSED(1007)),
};

/* `valid` as a text of its own. */
struct sequence {
    const char *bytes;
    size_t len;
    bool valid;
};

#define YES(literal)                                                                               \
    {                                                                                              \
        literal, sizeof(literal) - 1, true                                                         \
    }
#define NO(literal)                                                                                \
    {                                                                                              \
        literal, sizeof(literal) - 1, false                                                        \
    }

static const struct sequence samples[] = {YES("3\x24 is the price"), YES("3\xC2\xA2 is the price"),
                                          YES("3\xE2\x82\xAC is the price"),
                                          YES("3\xF0\x9F\x92\xB6 is the price"), YES(WORD)};
static const struct sequence firsts[] = {YES("\x00"), YES("\xC2\x80"), YES("\xE0\xA0\x80"),
                                         YES("\xF0\x90\x80\x80")};
static const struct sequence firsts_beyond[] = {NO("\xF8\x88\x80\x80\x80"),
                                                NO("\xFC\x84\x80\x80\x80\x80")};
static const struct sequence lasts[] = {YES("\x7F"), YES("\xDF\xBF"), YES("\xEF\xBF\xBF"),
                                        YES("\xF4\x8F\xBF\xBF")};
static const struct sequence lasts_beyond[] = {NO("\xF7\xBF\xBF\xBF"), NO("\xFB\xBF\xBF\xBF\xBF"),
                                               NO("\xFD\xBF\xBF\xBF\xBF\xBF")};
static const struct sequence borders[] = {YES("\xED\x9F\xBF"), YES("\xEE\x80\x80"),
                                          YES("\xEF\xBF\xBD"), YES("\xF4\x8F\xBF\xBF"),
                                          NO("\xF4\x90\x80\x80")};
static const struct sequence continuations[] = {
    NO("\x80"),
    NO("\xBF"),
    NO("\x80\xBF"),
    NO("\x80\xBF\x80"),
    NO("\x80\xBF\x80\xBF"),
    NO("\x80\xBF\x80\xBF\x80"),
    NO("\x80\xBF\x80\xBF\x80\xBF"),
    NO("\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8A\x8B\x8C\x8D\x8E\x8F"
       "\x90\x91\x92\x93\x94\x95\x96\x97\x98\x99\x9A\x9B\x9C\x9D\x9E\x9F"
       "\xA0\xA1\xA2\xA3\xA4\xA5\xA6\xA7\xA8\xA9\xAA\xAB\xAC\xAD\xAE\xAF"
       "\xB0\xB1\xB2\xB3\xB4\xB5\xB6\xB7\xB8\xB9\xBA\xBB\xBC\xBD\xBE\xBF"),
};
static const struct sequence lonely_leads[] = {
    NO("\xC0 \xC1 \xC2 \xC3 \xC4 \xC5 \xC6 \xC7 \xC8 \xC9 \xCA \xCB \xCC \xCD \xCE \xCF "
       "\xD0 \xD1 \xD2 \xD3 \xD4 \xD5 \xD6 \xD7 \xD8 \xD9 \xDA \xDB \xDC \xDD \xDE \xDF "),
    NO("\xE0 \xE1 \xE2 \xE3 \xE4 \xE5 \xE6 \xE7 \xE8 \xE9 \xEA \xEB \xEC \xED \xEE \xEF "),
    NO("\xF0 \xF1 \xF2 \xF3 \xF4 \xF5 \xF6 \xF7 "),
    NO("\xF8 \xF9 \xFA \xFB "),
    NO("\xFC \xFD "),
};
static const struct sequence cut_short[] = {
    NO("\xC0"),
    NO("\xE0\x80"),
    NO("\xF0\x80\x80"),
    NO("\xF8\x80\x80\x80"),
    NO("\xFC\x80\x80\x80\x80"),
    NO("\xDF"),
    NO("\xEF\xBF"),
    NO("\xF7\xBF\xBF"),
    NO("\xFB\xBF\xBF\xBF"),
    NO("\xFD\xBF\xBF\xBF\xBF"),
};
static const struct sequence cut_short_joined[] = {
    NO("\xC0\xE0\x80\xF0\x80\x80\xF8\x80\x80\x80\xFC\x80\x80\x80\x80"
       "\xDF\xEF\xBF\xF7\xBF\xBF\xFB\xBF\xBF\xBF\xFD\xBF\xBF\xBF\xBF")};
static const struct sequence impossible[] = {NO("\xFE"), NO("\xFF"), NO("\xFE\xFE\xFF\xFF")};
static const struct sequence overlong_slash[] = {NO("\xC0\xAF"), NO("\xE0\x80\xAF"),
                                                 NO("\xF0\x80\x80\xAF"), NO("\xF8\x80\x80\x80\xAF"),
                                                 NO("\xFC\x80\x80\x80\x80\xAF")};
static const struct sequence overlong_last[] = {NO("\xC1\xBF"), NO("\xE0\x9F\xBF"),
                                                NO("\xF0\x8F\xBF\xBF"), NO("\xF8\x87\xBF\xBF\xBF"),
                                                NO("\xFC\x83\xBF\xBF\xBF\xBF")};
static const struct sequence overlong_nul[] = {NO("\xC0\x80"), NO("\xE0\x80\x80"),
                                               NO("\xF0\x80\x80\x80"), NO("\xF8\x80\x80\x80\x80"),
                                               NO("\xFC\x80\x80\x80\x80\x80")};
static const struct sequence surrogates[] = {
    NO("\xED\xA0\x80"), NO("\xED\xAD\xBF"), NO("\xED\xAE\x80"), NO("\xED\xAF\xBF"),
    NO("\xED\xB0\x80"), NO("\xED\xBE\x80"), NO("\xED\xBF\xBF")};
static const struct sequence surrogate_pairs[] = {
    NO("\xED\xA0\x80\xED\xB0\x80"), NO("\xED\xA0\x80\xED\xBF\xBF"), NO("\xED\xAD\xBF\xED\xB0\x80"),
    NO("\xED\xAD\xBF\xED\xBF\xBF"), NO("\xED\xAE\x80\xED\xB0\x80"), NO("\xED\xAE\x80\xED\xBF\xBF"),
    NO("\xED\xAF\xBF\xED\xB0\x80"), NO("\xED\xAF\xBF\xED\xBF\xBF")};
static const struct sequence specials[] = {
    YES("\xEF\xBF\xB9"), YES("\xEF\xBF\xBA"), YES("\xEF\xBF\xBB"), YES("\xEF\xBF\xBC"),
    YES("\xEF\xBF\xBD"), YES("\xEF\xBF\xBE"), YES("\xEF\xBF\xBF")};

static const struct family {
    unsigned number; /* the second part of the public suite's */
    const char *name;
    const struct sequence *sequences;
    size_t count;
} families[] = {
    {5, "samples", samples, COUNT(samples)},
    {7, "the first of each length", firsts, COUNT(firsts)},
    {8, "the first of 5 and 6 bytes", firsts_beyond, COUNT(firsts_beyond)},
    {9, "the last of each length", lasts, COUNT(lasts)},
    {10, "the last of 4, 5 and 6 bytes", lasts_beyond, COUNT(lasts_beyond)},
    {11, "beside the gaps of Unicode", borders, COUNT(borders)},
    {12, "continuations alone", continuations, COUNT(continuations)},
    {13, "lead bytes alone", lonely_leads, COUNT(lonely_leads)},
    {14, "the last byte missing", cut_short, COUNT(cut_short)},
    {15, "all of those joined", cut_short_joined, COUNT(cut_short_joined)},
    {16, "bytes that never occur", impossible, COUNT(impossible)},
    {17, "a slash in too many bytes", overlong_slash, COUNT(overlong_slash)},
    {18, "the last that is too long", overlong_last, COUNT(overlong_last)},
    {19, "NUL in too many bytes", overlong_nul, COUNT(overlong_nul)},
    {20, "surrogates", surrogates, COUNT(surrogates)},
    {21, "pairs of surrogates", surrogate_pairs, COUNT(surrogate_pairs)},
    {23, "specials", specials, COUNT(specials)},
};

/* ---- each sequence in several ways ---- */

static void expect_verdict(suite_t *suite, const struct sequence *sequence)
{
    if (sequence->valid) {
        play_expect(&suite->play, SAID_TEXT, hub_str_n(sequence->bytes, sequence->len));
        suite_goodbye(suite);
    } else {
        play_expect_end(&suite->play, 1007);
    }
    suite_end(suite);
}

static void play_whole(suite_t *suite, const char *number, const char *name, size_t i,
                       const struct sequence *sequence, size_t piece)
{
    if (!suite_begin(suite, number, NULL, "%s (%zu)%s", name, i,
                     piece == PLAY_AT_ONCE ? "" : ", byte by byte"))
        return;
    suite->play.piece = piece;
    play_frame(&suite->play, 0x81, hub_str_n(sequence->bytes, sequence->len));
    expect_verdict(suite, sequence);
}

static void say_in_fragments(play_t *play, hub_str_t bytes)
{
    for (size_t i = 0; i < bytes.len; i++)
        play_frame(play, i == 0 ? 0x01 : 0x00, hub_str_n(bytes.base + i, 1));
    play_frame(play, 0x80, HUB_STR(""));
}

static void play_in_fragments(suite_t *suite, const char *number, const char *name, size_t i,
                              const struct sequence *sequence)
{
    if (!suite_begin(suite, number, NULL, "%s (%zu), in fragments of a byte", name, i))
        return;
    say_in_fragments(&suite->play, hub_str_n(sequence->bytes, sequence->len));
    expect_verdict(suite, sequence);
}

/* The message goes on, but not for the server. */
static void play_up_to_decision(suite_t *suite, const char *name, size_t i,
                                const struct sequence *sequence)
{
    hub_str_t bytes = hub_str_n(sequence->bytes, sequence->len);
    bool complete;
    size_t good = judge_utf8(bytes, &complete);

    if (good == bytes.len ||
        !suite_begin(suite, "rfc 8.1", NULL, "%s (%zu), no further than the byte that decides",
                     name, i))
        return;
    play_frame(&suite->play, 0x01, hub_str_n(bytes.base, good));
    play_frame(&suite->play, 0x00, hub_str_n(bytes.base + good, 1));
    play_expect_end(&suite->play, 1007);
    suite_end(suite);
}

static void play_as_reason(suite_t *suite, const char *name, size_t i,
                           const struct sequence *sequence)
{
    if (!suite_begin(suite, "rfc 5.5.1", NULL, "%s (%zu), as the reason of a close", name, i))
        return;
    play_bye(&suite->play, 1000, hub_str_n(sequence->bytes, sequence->len));
    play_expect_end(&suite->play, sequence->valid ? 1000 : 1007);
    suite_end(suite);
}

static void play_sequence(suite_t *suite, unsigned family, const char *name, size_t i,
                          const struct sequence *sequence)
{
    char number[32];

    snprintf(number, sizeof(number), "6.%u.%zu", family, i);
    play_whole(suite, number, name, i, sequence, PLAY_AT_ONCE);
    play_whole(suite, "rfc 8.1", name, i, sequence, 1);
    play_in_fragments(suite, "rfc 8.1", name, i, sequence);
    play_up_to_decision(suite, name, i, sequence);
    play_as_reason(suite, name, i, sequence);
}

/* Beginnings of a text, of which only some end with a character. */
static void play_prefixes(suite_t *suite)
{
    for (size_t len = 1; len < sizeof(WORD); len++) {
        bool complete;
        size_t good = judge_utf8(hub_str_n(WORD, len), &complete);
        struct sequence sequence = {WORD, len, good == len && complete};

        play_sequence(suite, 6, "the beginning of a text", len, &sequence);
    }
}

static size_t encode(unsigned long point, char bytes[4])
{
    size_t len = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;

    for (size_t i = len - 1; i > 0; i--, point >>= 6)
        bytes[i] = (char)(0x80 | (point & 0x3F));
    bytes[0] = (char)(len == 1 ? point : (0xF00UL >> len & 0xFF) | point);
    return len;
}

/* The last two of each plane: no characters, but valid. */
static void play_noncharacters(suite_t *suite)
{
    for (unsigned long i = 0; i < 34; i++) {
        char bytes[4];
        struct sequence sequence = {bytes, encode((i / 2) << 16 | 0xFFFE | (i & 1), bytes), true};

        play_sequence(suite, 22, "the end of a plane", i + 1, &sequence);
    }
}

/* Every code point there is, in one message. */
static void play_all_points(suite_t *suite, bool in_fragments)
{
    hub__buffer_t all = {0};
    char bytes[4];

    if (!suite_begin(suite, "rfc 8.1", NULL, "all of Unicode%s",
                     in_fragments ? " in fragments of 61 bytes" : ""))
        return;
    for (unsigned long point = 0; point <= 0x10FFFF; point += point == 0xD7FF ? 0x801 : 1)
        hub__buffer_append(&all, hub_str_n(bytes, encode(point, bytes)));
    for (size_t at = 0; in_fragments && at < all.len; at += 61)
        play_frame(&suite->play, at == 0 ? 0x01 : 0x00,
                   hub_str_n(all.base + at, all.len - at < 61 ? all.len - at : 61));
    play_frame(&suite->play, in_fragments ? 0x80 : 0x81,
               in_fragments ? HUB_STR("") : hub__buffer_str(&all));
    play_expect(&suite->play, SAID_TEXT, hub__buffer_str(&all));
    suite_goodbye(suite);
    suite_end(suite);
    hub__buffer_dispose(&all);
}

void play_utf8(suite_t *suite)
{
    static const struct sequence mixed = YES("caf\xC3\xA9 \xC2\xB5@\xC3\x9F"), word = YES(WORD),
                                 broken = NO(WORD SURROGATE "rest");

    suite_play_all(suite, messages, COUNT(messages));
    play_in_fragments(suite, "6.2.3", "characters of two bytes", 1, &mixed);
    play_in_fragments(suite, "6.2.4", "characters of three bytes", 1, &word);
    suite_play_all(suite, spoilt, COUNT(spoilt));
    play_in_fragments(suite, "6.3.2", "a surrogate within a text", 1, &broken);
    suite_play_all(suite, fail_fast, COUNT(fail_fast));
    suite_play_all(suite, more, COUNT(more));
    for (size_t i = 0; i < COUNT(families); i++) {
        for (size_t at = 0; at < families[i].count; at++)
            play_sequence(suite, families[i].number, families[i].name, at + 1,
                          &families[i].sequences[at]);
    }
    play_prefixes(suite);
    play_noncharacters(suite);
    play_all_points(suite, false);
    play_all_points(suite, true);
}
