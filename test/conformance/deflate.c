/* SPDX-License-Identifier: MIT */

/* permessage-deflate (RFC 7692) against examples/echo --deflate. The public suite's groups 12 and
 * 13 are five kinds of payload and seven offers, each in eighteen sizes and fragmentations; its
 * files are replaced by payloads of the same kinds that are made here. It sends a thousand messages
 * in each case, which is minutes; here it is as many as are BYTES_PER_CASE, and a thousand at most.
 * CONFORMANCE_MESSAGES=1000 in the environment sends them all. */

#include "test/conformance/suite.h"

#include <stdio.h>
#include <stdlib.h>

#include "test/conformance/press.h"

#define BYTES_PER_CASE (128 * 1024)
#define MESSAGES_MIN 2
#define MESSAGES_MAX 1000
#define PAYLOAD_BYTES 300007 /* prime: messages begin everywhere in it */

static uint32_t roll(uint32_t *state)
{
    *state = *state * 1664525 + 1013904223;
    return *state >> 16;
}

/* ---- five kinds of payload ---- */

static void make_json(hub__buffer_t *out)
{
    static const char *const names[] = {"caf\xC3\xA9", "temperature", "lat", "na\xC3\xAFve", "id"};
    uint32_t state = 1;

    while (out->len < PAYLOAD_BYTES)
        hub__buffer_printf(out, "{\"%s\":%u,\"ok\":%s,\"at\":[%u.%03u,-%u]},\n",
                           names[roll(&state) % 5], roll(&state),
                           roll(&state) % 2 ? "true" : "null", roll(&state) % 180,
                           roll(&state) % 1000, roll(&state) % 90);
}

/* A picture: smooth, with some noise. */
static void make_picture(hub__buffer_t *out)
{
    uint32_t state = 2;
    char *bytes = hub__buffer_reserve(out, PAYLOAD_BYTES);

    for (size_t i = 0; i < PAYLOAD_BYTES; i++)
        bytes[i] = (char)(i % 512 / 4 + i / 512 / 8 + roll(&state) % 4);
    out->len = PAYLOAD_BYTES;
}

static void make_prose(hub__buffer_t *out)
{
    static const char *const words[] = {
        "the",    "hub",   "carries", "what",    "one",  "member", "says",    "to",
        "others", "while", "nobody",  "listens", "long", "after",  "evening", "jalape\xC3\xB1o"};
    uint32_t state = 3;

    while (out->len < PAYLOAD_BYTES)
        hub__buffer_printf(out, "%s%s", words[roll(&state) % 16],
                           roll(&state) % 12 == 0 ? ".\n" : " ");
}

static void make_markup(hub__buffer_t *out)
{
    uint32_t state = 4;

    while (out->len < PAYLOAD_BYTES)
        hub__buffer_printf(
            out,
            "<tr class=\"row-%u\"><td>&#%u;</td><td><a href=\"/item/%u\">\xE2\x82\xAC"
            " %u</a></td></tr>\n",
            roll(&state) % 2, roll(&state) % 9000, roll(&state), roll(&state) % 500);
}

/* What is compressed already, between lines of text. */
static void make_document(hub__buffer_t *out)
{
    uint32_t state = 5;

    while (out->len < PAYLOAD_BYTES) {
        size_t size = 2000 + roll(&state) % 3000;

        hub__buffer_printf(out, "%u 0 obj\n<< /Length %zu >>\nstream\n", roll(&state) % 100, size);
        for (char *at = hub__buffer_reserve(out, size), *end = at + size; at < end; at++)
            *at = (char)roll(&state);
        out->len += size;
        HUB__APPEND_LITERAL(out, "\nendstream\nendobj\n");
    }
}

struct kind {
    const char *name;
    void (*make)(hub__buffer_t *out);
    bool binary;
};

static const struct kind kinds[] = {
    {"JSON", make_json, false},          {"a picture", make_picture, true},
    {"prose", make_prose, true},         {"markup", make_markup, false},
    {"a document", make_document, true},
};

/* ---- sizes and offers ---- */

struct size {
    size_t message, fragment; /* of the compressed bytes; 0: one frame */
};

static const struct size sizes[] = {
    {16, 0},      {64, 0},      {256, 0},      {1024, 0},      {4096, 0},      {8192, 0},
    {16384, 0},   {32768, 0},   {65536, 0},    {131072, 0},    {8192, 256},    {16384, 256},
    {32768, 256}, {65536, 256}, {131072, 256}, {131072, 1024}, {131072, 4096}, {131072, 32768},
};

#define PMD "permessage-deflate"
#define HINTS "; client_no_context_takeover; client_max_window_bits"

static const press_offer_t usual = {PMD HINTS, false, 0, true};

static const press_offer_t offers[] = {
    {PMD HINTS, false, 0, true},
    {PMD "; server_no_context_takeover" HINTS, true, 0, true},
    {PMD "; server_max_window_bits=9" HINTS, false, 9, true},
    {PMD "; server_max_window_bits=15" HINTS, false, 15, true},
    {PMD "; server_no_context_takeover; server_max_window_bits=9" HINTS, true, 9, true},
    {PMD "; server_no_context_takeover; server_max_window_bits=15" HINTS, true, 15, true},
    {PMD "; server_no_context_takeover; server_max_window_bits=9" HINTS ", " PMD
         "; server_no_context_takeover" HINTS ", " PMD HINTS,
     true, 9, true},
};

/* What those leave out: a client that goes on referring back, smaller windows of its own. */
static const press_offer_t more_offers[] = {
    {PMD, false, 0, false},
    {PMD "; client_max_window_bits", false, 0, true},
    {PMD "; client_max_window_bits=9", false, 0, true},
    {PMD "; client_max_window_bits=12", false, 0, true},
    {PMD "; client_max_window_bits=15; server_max_window_bits=10", false, 10, true},
    {PMD "; server_max_window_bits=12", false, 12, false},
    {PMD "; server_max_window_bits=8", false, 8, false},
    {PMD "; client_no_context_takeover; server_no_context_takeover", true, 0, false},
    {"x-unknown; a=1, " PMD, false, 0, false},
    {PMD "; unknown, " PMD "; client_max_window_bits", false, 0, true},
};

/* ---- the cases ---- */

static size_t messages_for(size_t size)
{
    const char *wanted = getenv("CONFORMANCE_MESSAGES");
    size_t count = wanted != NULL ? strtoul(wanted, NULL, 10) : BYTES_PER_CASE / size;

    return count < MESSAGES_MIN ? MESSAGES_MIN : count > MESSAGES_MAX ? MESSAGES_MAX : count;
}

/* About `size` bytes from `*at` on; no character of a text is cut. */
static hub_str_t slice(const hub__buffer_t *all, bool binary, size_t size, size_t *at)
{
    size_t begin = *at + size > all->len ? 0 : *at, end = begin + size;

    while (!binary && ((unsigned char)all->base[begin] & 0xC0) == 0x80)
        begin++;
    while (!binary && end > begin && ((unsigned char)all->base[end] & 0xC0) == 0x80)
        end--;
    *at = end;
    return hub_str_n(all->base + begin, end - begin);
}

static void play_sizes(suite_t *suite, const char *group, const struct kind *kind,
                       const press_offer_t *offer, const hub__buffer_t *all)
{
    for (size_t i = 0; i < COUNT(sizes); i++) {
        size_t count = messages_for(sizes[i].message), at = 0;
        char number[32];
        press_t press;

        snprintf(number, sizeof(number), "%s.%zu", group, i + 1);
        if (!suite_begin(suite, group[0] == '1' ? number : group, offer->text,
                         "%zu times %zu bytes of %s, fragments of %zu, offering %s", count,
                         sizes[i].message, kind->name, sizes[i].fragment, offer->text))
            continue;
        press_begin(&press, &suite->play, offer);
        for (size_t done = 0; done < count && suite->play.fault[0] == '\0'; done++) {
            hub_str_t message = slice(all, kind->binary, sizes[i].message, &at);

            press_say(&press, &suite->play, kind->binary, message, sizes[i].fragment);
            play_expect(&suite->play, kind->binary ? SAID_BINARY : SAID_TEXT, message);
        }
        if (kind != &kinds[4] && sizes[i].message >= 256 &&
            suite->play.judge.compressed_messages == 0)
            play_wrong(&suite->play, "no answer was compressed");
        suite_goodbye(suite);
        suite_end(suite);
        press_dispose(&press);
    }
}

void play_deflate_kinds(suite_t *suite)
{
    for (size_t i = 0; i < COUNT(kinds); i++) {
        hub__buffer_t all = {0};
        char group[16];

        kinds[i].make(&all);
        snprintf(group, sizeof(group), "12.%zu", i + 1);
        play_sizes(suite, group, &kinds[i], &usual, &all);
        hub__buffer_dispose(&all);
    }
}

void play_deflate_offers(suite_t *suite)
{
    hub__buffer_t all = {0};
    char group[16];

    make_json(&all);
    for (size_t i = 0; i < COUNT(offers); i++) {
        snprintf(group, sizeof(group), "13.%zu", i + 1);
        play_sizes(suite, group, &kinds[0], &offers[i], &all);
    }
    for (size_t i = 0; i < COUNT(more_offers); i++)
        play_sizes(suite, "rfc 7692", &kinds[0], &more_offers[i], &all);
    hub__buffer_dispose(&all);
}

/* ---- single messages ---- */

#define PACKED_TEXT(literal) FRAME(0xC1, literal)
#define PACKED_BINARY(literal) FRAME(0xC2, literal)

/* Compressed by hand: "Hello" in the forms of RFC 7692 7.2.3, and some that are wrong. What the
 * server sends back is inflated; small messages it leaves as they are. */
static const test_case_t messages[] = {
    CASE("rfc 7692", "a message that is not compressed", STEPS(TEXT("plain"), GET_TEXT("plain"))),
    CASE("rfc 7692", "one block",
         STEPS(PACKED_TEXT("\xF2\x48\xCD\xC9\xC9\x07\x00"), GET_TEXT("Hello"))),
    CASE("rfc 7692", "one block in two fragments",
         STEPS(FRAME(0x41, "\xF2\x48\xCD"), LAST_PART("\xC9\xC9\x07\x00"), GET_TEXT("Hello"))),
    CASE("rfc 7692", "fragments of a byte with a ping between",
         STEPS(FRAME(0x41, "\xF2"), PART("\x48"), PING("p"), PART("\xCD\xC9\xC9"), PART(""),
               PART("\x07"), LAST_PART("\x00"), GET_PONG("p"), GET_TEXT("Hello"))),
    CASE("rfc 7692", "one block, byte by byte",
         STEPS(PACKED_TEXT("\xF2\x48\xCD\xC9\xC9\x07\x00"), GET_TEXT("Hello")), IN_BYTES),
    CASE("rfc 7692", "one that refers back to the one before",
         STEPS(PACKED_TEXT("\xF2\x48\xCD\xC9\xC9\x07\x00"), PACKED_TEXT("\xF2\x00\x11\x00\x00"),
               GET_TEXT("Hello"), GET_TEXT("Hello"))),
    CASE("rfc 7692", "a block that is stored",
         STEPS(PACKED_TEXT("\x00\x05\x00\xFA\xFFHello\x00"), GET_TEXT("Hello"))),
    CASE("rfc 7692", "a block that is marked as the last",
         STEPS(PACKED_TEXT("\xF3\x48\xCD\xC9\xC9\x07\x00\x00"), GET_TEXT("Hello"))),
    CASE("rfc 7692", "another message behind a last block",
         STEPS(PACKED_TEXT("\xF3\x48\xCD\xC9\xC9\x07\x00\x00"),
               PACKED_TEXT("\xF2\x48\xCD\xC9\xC9\x07\x00"), GET_TEXT("Hello"), GET_TEXT("Hello"))),
    CASE("rfc 7692", "two blocks",
         STEPS(PACKED_TEXT("\xF2\x48\x05\x00\x00\x00\xFF\xFF\xCA\xC9\xC9\x07\x00"),
               GET_TEXT("Hello"))),
    CASE("rfc 7692", "an empty message in one byte", STEPS(PACKED_TEXT("\x00"), GET_TEXT(""))),
    CASE("rfc 7692", "an empty message in two bytes", STEPS(PACKED_TEXT("\x02\x00"), GET_TEXT(""))),
    CASE("rfc 7692", "a binary message",
         STEPS(PACKED_BINARY("\xF2\x48\xCD\xC9\xC9\x07\x00"), GET_BINARY("Hello"))),
    CASE("rfc 7692", "compressed and plain in turns",
         STEPS(TEXT("a"), PACKED_TEXT("\xF2\x48\xCD\xC9\xC9\x07\x00"), TEXT("b"),
               PACKED_TEXT("\xF2\x48\xCD\xC9\xC9\x07\x00"), GET_TEXT("a"), GET_TEXT("Hello"),
               GET_TEXT("b"), GET_TEXT("Hello"))),
    CASE("rfc 7692", "RSV1 on a last fragment",
         STEPS(FRAME(0x41, "\xF2\x48\xCD"), FRAME(0xC0, "\xC9\xC9\x07\x00")), REFUSED(1002)),
    CASE("rfc 7692", "RSV1 on a fragment of a plain message",
         STEPS(TEXT_PART("a"), FRAME(0xC0, "b")), REFUSED(1002)),
    CASE("rfc 7692", "RSV1 on a ping", STEPS(FRAME(0xC9, "")), REFUSED(1002)),
    CASE("rfc 7692", "RSV1 on a pong", STEPS(FRAME(0xCA, "")), REFUSED(1002)),
    CASE("rfc 7692", "RSV1 on a close", STEPS(FRAME(0xC8, "\x03\xE8")), REFUSED(1002)),
    CASE("rfc 7692", "RSV2 on a compressed message", STEPS(FRAME(0xE1, "\x00")), REFUSED(1002)),
    CASE("rfc 7692", "RSV3 on a compressed message", STEPS(FRAME(0xD1, "\x00")), REFUSED(1002)),
    CASE("rfc 7692", "a block type that does not exist", STEPS(PACKED_TEXT("\x07\x00")),
         REFUSED(1007)),
    CASE("rfc 7692", "a stored block whose length is not repeated",
         STEPS(PACKED_TEXT("\x00\x05\x00\xFB\xFFHello\x00")), REFUSED(1007)),
    CASE("rfc 7692", "a stored block that is cut short",
         STEPS(PACKED_TEXT("\x00\x05\x00\xFA\xFFHel")), REFUSED(1007)),
    CASE("rfc 7692", "a reference to before the first byte",
         STEPS(PACKED_TEXT("\xF2\x00\x11\x00\x00")), REFUSED(1007)),
    CASE("rfc 7692", "text that is not UTF-8 once it is inflated",
         STEPS(PACKED_TEXT("\x00\x01\x00\xFE\xFF\xFF\x00")), REFUSED(1007)),
    CASE("rfc 7692", "text that ends within a character once it is inflated",
         STEPS(PACKED_TEXT("\x00\x02\x00\xFD\xFFx\xC3\x00")), REFUSED(1007)),
    CASE("rfc 7692", "what is no UTF-8, as a binary message",
         STEPS(PACKED_BINARY("\x00\x01\x00\xFE\xFF\xFF\x00"), GET_BINARY("\xFF"))),
};

static void play_packed(suite_t *suite, const test_case_t *test)
{
    static const press_offer_t plain = {PMD, false, 0, false};
    press_t press;

    if (!suite_begin(suite, test->number, plain.text, "%s", test->name))
        return;
    press_begin(&press, &suite->play, &plain);
    case_play(&suite->play, test);
    suite_end(suite);
    press_dispose(&press);
}

/* `size` zeros, packed: a thousandth of it. */
static void play_zeros(suite_t *suite, size_t size, bool fits)
{
    static const press_offer_t plain = {PMD, false, 0, false};
    press_t press;
    char *zeros;

    if (!suite_begin(suite, "rfc 7692", plain.text, "%zu zeros, compressed", size))
        return;
    if ((zeros = calloc(1, size)) == NULL)
        abort();
    press_begin(&press, &suite->play, &plain);
    press_say(&press, &suite->play, true, hub_str_n(zeros, size), 0);
    if (fits) {
        play_expect(&suite->play, SAID_BINARY, hub_str_n(zeros, size));
        suite_goodbye(suite);
    } else {
        play_expect_end(&suite->play, 1009);
    }
    suite_end(suite);
    press_dispose(&press);
    free(zeros);
}

void play_deflate_messages(suite_t *suite)
{
    for (size_t i = 0; i < COUNT(messages); i++)
        play_packed(suite, &messages[i]);
    play_zeros(suite, 16777216, true);
    play_zeros(suite, 16777217, false);
    play_zeros(suite, 64 * 1048576, false);
}
