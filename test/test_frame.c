/* SPDX-License-Identifier: MIT */

/* Frames arrive in any pieces, so nearly every case is fed whole, byte by byte and cut at every
 * offset, and must tell the same story each time. Each piece is a heap block of its own size: the
 * address sanitizer sees a byte read too far. */

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "hub/frame.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define FIN HUB__FRAME_FIN
#define RSV1 HUB__FRAME_RSV1
#define TEXT HUB__OP_TEXT
#define BINARY HUB__OP_BINARY
#define CONTINUATION HUB__OP_CONTINUATION
#define CLOSE HUB__OP_CLOSE
#define PING HUB__OP_PING
#define PONG HUB__OP_PONG
#define MESSAGE_BYTES 100000

/* One client's bytes, and what a reader made of them. */
struct peer {
    hub__frame_reader_t reader;
    hub__frame_limits_t limits;
    hub__buffer_t wire;
    hub__buffer_t story;     /* all events, payloads included */
    hub__frame_event_t last; /* its payload is gone */
    size_t events;           /* NEED_MORE not counted */
    size_t last_payload_len;
};

static bool out_of_memory; /* for the reader */
static bool reading;

void *__real_realloc(void *block, size_t size);
void *__wrap_realloc(void *block, size_t size);

void *__wrap_realloc(void *block, size_t size)
{
    return out_of_memory && reading ? NULL : __real_realloc(block, size);
}

static int set_up(void **state)
{
    struct peer *peer = calloc(1, sizeof(*peer));

    out_of_memory = false;
    peer->limits = (hub__frame_limits_t){.message_bytes = MESSAGE_BYTES, .fragments = 64};
    *state = peer;
    return 0;
}

static void reset(struct peer *peer)
{
    hub__frame_reader_dispose(&peer->reader);
    peer->story.len = 0;
    peer->events = 0;
    peer->last = (hub__frame_event_t){0};
}

static int tear_down(void **state)
{
    struct peer *peer = *state;

    hub__frame_reader_dispose(&peer->reader);
    hub__buffer_dispose(&peer->wire);
    hub__buffer_dispose(&peer->story);
    free(peer);
    return 0;
}

static void put_bytes(struct peer *peer, const void *bytes, size_t len)
{
    hub__buffer_append(&peer->wire, hub_str_n(bytes, len));
}

static void put_number(struct peer *peer, uint64_t number, size_t len)
{
    for (size_t i = len; i-- > 0;) {
        char byte = (char)(uint8_t)(number >> (8 * i));

        put_bytes(peer, &byte, 1);
    }
}

/* A masked header whose length takes 0, 2 or 8 bytes more, whether that is right or not. */
static uint32_t put_header(struct peer *peer, unsigned first, size_t extended, uint64_t len)
{
    uint32_t mask = 0xA1B2C3D4u + (uint32_t)peer->wire.len * 2654435761u;

    put_number(peer, first, 1);
    put_number(peer, 0x80 | (extended == 0 ? len : extended == 2 ? 126 : 127), 1);
    put_number(peer, len, extended);
    put_bytes(peer, &mask, sizeof(mask));
    return mask;
}

static size_t shortest(uint64_t len)
{
    return len < 126 ? 0 : len < 65536 ? 2 : 8;
}

static void put_frame(struct peer *peer, unsigned first, const char *payload, size_t len)
{
    uint32_t mask = put_header(peer, first, shortest(len), len);

    for (size_t i = 0; i < len; i++) {
        char byte = (char)(payload[i] ^ ((const char *)&mask)[i & 3]);

        put_bytes(peer, &byte, 1);
    }
}

static void put_text(struct peer *peer, unsigned first, const char *payload)
{
    put_frame(peer, first, payload, strlen(payload));
}

/* A frame of `len` times the letter x. */
static void put_filler(struct peer *peer, unsigned first, size_t len)
{
    char *payload = malloc(len + 1);

    memset(payload, 'x', len);
    put_frame(peer, first, payload, len);
    free(payload);
}

static void put_close(struct peer *peer, unsigned code, const char *reason)
{
    char payload[125] = {(char)(code >> 8), (char)code};
    size_t len = strlen(reason);

    memcpy(payload + 2, reason, len);
    put_frame(peer, FIN | CLOSE, payload, 2 + len);
}

static void record(struct peer *peer, const hub__frame_event_t *event)
{
    hub__buffer_printf(&peer->story, "%d %d %d %u %zu ", (int)event->kind, event->binary,
                       event->compressed, event->code, event->payload.len);
    hub__buffer_append(&peer->story, event->payload);
    hub__buffer_append(&peer->story, HUB_STR("\n"));
    peer->last = *event;
    peer->last_payload_len = event->payload.len;
    peer->events++;
}

static void feed(struct peer *peer, const char *bytes, size_t len)
{
    char *piece = malloc(len + (len == 0)), *at = piece;
    hub__frame_event_t event;

    memcpy(piece, bytes, len);
    for (;;) {
        reading = true;
        hub__frame_read(&peer->reader, &peer->limits, &at, &len, &event);
        reading = false;
        if (event.kind == HUB__FRAME_NEED_MORE)
            break;
        record(peer, &event);
    }
    assert_int_equal(len, 0);
    free(piece);
}

static void feed_wire(struct peer *peer, size_t piece_len)
{
    for (size_t at = 0; at < peer->wire.len; at += piece_len) {
        size_t left = peer->wire.len - at;

        feed(peer, peer->wire.base + at, left < piece_len ? left : piece_len);
    }
}

/* Feeds the wire whole and leaves that story to be checked, once every other way of cutting it
 * has told the same. */
static void feed_all_ways(struct peer *peer)
{
    hub__buffer_t whole;

    reset(peer);
    feed_wire(peer, peer->wire.len);
    whole = peer->story;
    peer->story = (hub__buffer_t){0};
    for (size_t piece_len = 1; piece_len < 40; piece_len++) {
        reset(peer);
        feed_wire(peer, piece_len);
        assert_int_equal(peer->story.len, whole.len);
        assert_memory_equal(peer->story.base, whole.base, whole.len);
    }
    for (size_t cut = 1; cut < peer->wire.len; cut++) {
        reset(peer);
        feed(peer, peer->wire.base, cut);
        feed(peer, peer->wire.base + cut, peer->wire.len - cut);
        assert_int_equal(peer->story.len, whole.len);
        assert_memory_equal(peer->story.base, whole.base, whole.len);
    }
    hub__buffer_dispose(&whole);
}

/* What the wire so far leads to, however it is cut; then the wire is empty again. */
static void expect_last(struct peer *peer, hub__frame_event_kind_t kind, unsigned code)
{
    feed_all_ways(peer);
    assert_int_equal(peer->last.kind, kind);
    assert_int_equal(peer->last.code, code);
    peer->wire.len = 0;
}

static void expect_story(struct peer *peer, const char *story)
{
    feed_all_ways(peer);
    hub__buffer_append(&peer->story, hub_str_n("", 1));
    assert_string_equal(peer->story.base, story);
    peer->wire.len = 0;
}

static void check_length(struct peer *peer, size_t len)
{
    put_filler(peer, FIN | BINARY, len);
    for (size_t piece_len = 1; piece_len <= 20000; piece_len = piece_len * 5 + 2) {
        reset(peer);
        feed_wire(peer, piece_len);
        assert_int_equal(peer->events, 1);
        assert_int_equal(peer->last.kind, HUB__FRAME_MESSAGE);
        assert_int_equal(peer->last_payload_len, len);
        assert_int_equal(peer->story.base[peer->story.len - 2], len == 0 ? ' ' : 'x');
    }
    peer->wire.len = 0;
}

static void every_length_form_is_read_at_its_borders(void **state)
{
    check_length(*state, 0);
    check_length(*state, 1);
    check_length(*state, 125);
    check_length(*state, 126);
    check_length(*state, 127);
    check_length(*state, 65535);
    check_length(*state, 65536);
    check_length(*state, 65537);
}

static void check_longer_form(struct peer *peer, size_t extended, uint64_t len)
{
    put_header(peer, FIN | TEXT, extended, len);
    expect_last(peer, HUB__FRAME_ERROR, 1002);
}

static void a_length_not_in_its_shortest_form_is_1002(void **state)
{
    check_longer_form(*state, 2, 0);
    check_longer_form(*state, 2, 1);
    check_longer_form(*state, 2, 125);
    check_longer_form(*state, 8, 0);
    check_longer_form(*state, 8, 125);
    check_longer_form(*state, 8, 126);
    check_longer_form(*state, 8, 65535);
}

static void a_length_with_its_top_bit_set_is_1002(void **state)
{
    check_longer_form(*state, 8, UINT64_C(1) << 63);
    check_longer_form(*state, 8, UINT64_MAX);
    check_longer_form(*state, 8, UINT64_C(1) << 63 | 5);
}

/* Every first byte of a connection, against the rules in their plainest form. */
static void check_first_bytes(struct peer *peer, bool allow_rsv1)
{
    peer->limits.allow_rsv1 = allow_rsv1;
    for (unsigned first = 0; first < 256; first++) {
        unsigned opcode = first & 0x0F, rsv = first & 0x70;
        bool data = opcode == TEXT || opcode == BINARY;
        bool control = opcode == CLOSE || opcode == PING || opcode == PONG;
        bool good = (data && (rsv == 0 || (rsv == RSV1 && allow_rsv1))) ||
                    (control && rsv == 0 && (first & FIN) != 0);

        reset(peer);
        put_header(peer, first, 0, 0);
        feed_wire(peer, 1);
        assert_int_equal(peer->last.kind == HUB__FRAME_ERROR && peer->last.code == 1002, !good);
        assert_int_equal(peer->events, !good || (first & FIN) != 0);
        peer->wire.len = 0;
    }
}

static void reserved_bits_and_opcodes_are_1002(void **state)
{
    check_first_bytes(*state, false);
}

static void only_the_first_frame_of_a_message_may_be_compressed(void **state)
{
    struct peer *peer = *state;

    check_first_bytes(peer, true);
    put_text(peer, TEXT, "a");
    put_text(peer, FIN | RSV1 | CONTINUATION, "b");
    expect_last(peer, HUB__FRAME_ERROR, 1002);
}

static void compressed_text_is_handed_out_unchecked(void **state)
{
    struct peer *peer = *state;

    peer->limits.allow_rsv1 = true;
    put_text(peer, FIN | RSV1 | TEXT, "\xFF\xFE");
    put_text(peer, RSV1 | TEXT, "\xFF");
    put_text(peer, FIN | CONTINUATION, "\xC3");
    put_text(peer, FIN | RSV1 | BINARY, "z");
    put_text(peer, FIN | TEXT, "plain");
    expect_story(peer, "1 0 1 0 2 \xFF\xFE\n1 0 1 0 2 \xFF\xC3\n1 1 1 0 1 z\n1 0 0 0 5 plain\n");
}

static void a_reserved_bit_is_refused_with_its_first_byte(void **state)
{
    struct peer *peer = *state;

    feed(peer, "\xC1", 1);
    assert_int_equal(peer->last.code, 1002);
}

static void check_unmasked(struct peer *peer, unsigned first, const char *rest, size_t len)
{
    put_number(peer, first, 1);
    put_bytes(peer, rest, len);
    expect_last(peer, HUB__FRAME_ERROR, 1002);
}

static void a_frame_without_a_mask_is_1002(void **state)
{
    check_unmasked(*state, FIN | TEXT, "\x05hello", 6);
    check_unmasked(*state, FIN | TEXT, "\x00", 1);
    check_unmasked(*state, FIN | BINARY, "\x7E\x01\x00", 3);
    check_unmasked(*state, FIN | PING, "\x00", 1);
    check_unmasked(*state, FIN | CLOSE, "\x02\x03\xE8", 3);
}

static void check_control_length(struct peer *peer, unsigned opcode)
{
    put_header(peer, FIN | opcode, 2, 126);
    expect_last(peer, HUB__FRAME_ERROR, 1002);
    put_header(peer, FIN | opcode, 8, 65536);
    expect_last(peer, HUB__FRAME_ERROR, 1002);
    put_header(peer, FIN | opcode, 2, 125);
    expect_last(peer, HUB__FRAME_ERROR, 1002);
    put_header(peer, opcode, 0, 0);
    expect_last(peer, HUB__FRAME_ERROR, 1002);
}

static void long_and_fragmented_control_frames_are_1002(void **state)
{
    struct peer *peer = *state;

    check_control_length(peer, PING);
    check_control_length(peer, PONG);
    check_control_length(peer, CLOSE);
    put_filler(peer, FIN | PING, 125);
    expect_last(peer, HUB__FRAME_PING, 0);
    assert_int_equal(peer->last_payload_len, 125);
}

static void a_message_in_fragments_is_joined_around_control_frames(void **state)
{
    struct peer *peer = *state;

    put_text(peer, TEXT, "Hel");
    put_text(peer, FIN | PING, "one");
    put_text(peer, CONTINUATION, "");
    put_text(peer, FIN | PONG, "");
    put_text(peer, CONTINUATION, "lo ");
    put_text(peer, FIN | PING, "two");
    put_text(peer, FIN | CONTINUATION, "there");
    put_text(peer, BINARY, "");
    put_text(peer, FIN | PING, "three");
    put_text(peer, FIN | CONTINUATION, "\xFF");
    put_text(peer, TEXT, "");
    put_text(peer, FIN | CONTINUATION, "");
    expect_story(peer, "2 0 0 0 3 one\n"
                       "3 0 0 0 0 \n"
                       "2 0 0 0 3 two\n"
                       "1 0 0 0 11 Hello there\n"
                       "2 0 0 0 5 three\n"
                       "1 1 0 0 1 \xFF\n"
                       "1 0 0 0 0 \n");
}

static void a_continuation_without_a_message_is_1002(void **state)
{
    struct peer *peer = *state;

    put_text(peer, FIN | CONTINUATION, "a");
    expect_last(peer, HUB__FRAME_ERROR, 1002);
    put_text(peer, TEXT, "a");
    put_text(peer, FIN | CONTINUATION, "b");
    put_text(peer, CONTINUATION, "c");
    expect_last(peer, HUB__FRAME_ERROR, 1002);
    assert_int_equal(peer->events, 2);
}

static void a_new_message_within_a_message_is_1002(void **state)
{
    struct peer *peer = *state;

    put_text(peer, TEXT, "a");
    put_text(peer, FIN | TEXT, "b");
    expect_last(peer, HUB__FRAME_ERROR, 1002);
    put_text(peer, BINARY, "");
    put_text(peer, FIN | PING, "");
    put_text(peer, BINARY, "");
    expect_last(peer, HUB__FRAME_ERROR, 1002);
}

/* RFC 3629 word by word, one byte at a time. */
static size_t encode(uint32_t point, char *bytes)
{
    size_t len = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    static const uint8_t leads[] = {0, 0x00, 0xC0, 0xE0, 0xF0};

    for (size_t i = len; i-- > 1; point >>= 6)
        bytes[i] = (char)(uint8_t)(0x80 | (point & 0x3F));
    bytes[0] = (char)(uint8_t)(leads[len] | point);
    return len;
}

static bool is_utf8(const char *bytes, size_t len)
{
    hub__utf8_t utf8 = {0};

    return hub__utf8_feed(&utf8, bytes, len) && hub__utf8_complete(&utf8);
}

static size_t count_wrong_code_points(void)
{
    size_t wrong = 0;

    for (uint32_t point = 0; point < 0x200000; point++) {
        bool scalar = point <= 0x10FFFF && (point < 0xD800 || point > 0xDFFF);
        char bytes[4];
        size_t len = encode(point, bytes);

        wrong += is_utf8(bytes, len) != scalar;
        wrong += len > 1 && is_utf8(bytes, len - 1);
    }
    return wrong;
}

static void exactly_the_scalar_values_are_utf8(void **state)
{
    (void)state;
    assert_int_equal(count_wrong_code_points(), 0);
}

/* Which pairs of bytes begin something valid, told by encoding all there is. */
static size_t count_wrong_pairs(void)
{
    static bool begins[256][256];
    size_t wrong = 0;

    for (uint32_t point = 0x80; point <= 0x10FFFF; point++) {
        char bytes[4];

        point = point == 0xD800 ? 0xE000 : point;
        encode(point, bytes);
        begins[(uint8_t)bytes[0]][(uint8_t)bytes[1]] = true;
    }
    for (unsigned pair = 0; pair < 65536; pair++) {
        char bytes[2] = {(char)(pair >> 8), (char)pair};
        hub__utf8_t utf8 = {0};
        bool two_ascii = (pair & 0x8080) == 0;
        bool ascii_and_lead = (pair & 0x8000) == 0 && (pair & 0xFF) >= 0xC2 && (pair & 0xFF) < 0xF5;
        bool expected = begins[pair >> 8][pair & 0xFF] || two_ascii || ascii_and_lead;

        wrong += hub__utf8_feed(&utf8, bytes, 2) != expected;
    }
    return wrong;
}

static void utf8_fails_at_the_first_hopeless_byte(void **state)
{
    (void)state;
    assert_int_equal(count_wrong_pairs(), 0);
}

/* A wrong or a cut character at every place of texts of every length around the block size. */
static size_t count_missed(const char *piece, bool valid)
{
    size_t wrong = 0, piece_len = strlen(piece);

    for (size_t len = piece_len; len < 70; len++) {
        for (size_t at = 0; at + piece_len <= len; at++) {
            char *text = malloc(len);

            memset(text, 'a', len);
            memcpy(text + at, piece, piece_len);
            wrong += is_utf8(text, len) != valid;
            free(text);
        }
    }
    return wrong;
}

static void utf8_is_checked_at_every_place_of_a_block(void **state)
{
    (void)state;
    assert_int_equal(count_missed("\xC3\xA4", true), 0);
    assert_int_equal(count_missed("\xE2\x82\xAC", true), 0);
    assert_int_equal(count_missed("\xF0\x9F\x98\x80\xC3\xA4", true), 0);
    assert_int_equal(count_missed("\xF0\x9F\x98", false), 0);
    assert_int_equal(count_missed("\x80", false), 0);
    assert_int_equal(count_missed("\xFF", false), 0);
    assert_int_equal(count_missed("\xC3\xA4\xE2\x82", false), 0);
}

static void ascii_never_counts_as_the_rest_of_a_character(void **state)
{
    (void)state;
    assert_false(is_utf8("0123456789abcde\xC3"
                         "0123456789abcdef\xA4",
                         33));
}

static void a_rejected_text_stays_rejected(void **state)
{
    hub__utf8_t utf8 = {0};

    (void)state;
    assert_false(hub__utf8_feed(&utf8, "\xFF", 1));
    assert_int_equal(utf8.state, HUB__UTF8_REJECT);
    assert_false(hub__utf8_feed(&utf8, "a", 1));
    assert_false(hub__utf8_complete(&utf8));
}

static void check_text(struct peer *peer, const char *text, hub__frame_event_kind_t kind)
{
    put_text(peer, FIN | TEXT, text);
    expect_last(peer, kind, kind == HUB__FRAME_ERROR ? 1007 : 0);
    /* the same in a fragment per byte, with a ping between each two */
    put_text(peer, TEXT, "");
    for (size_t i = 0; i < strlen(text); i++) {
        put_frame(peer, CONTINUATION, text + i, 1);
        put_text(peer, FIN | PING, "p");
    }
    put_text(peer, FIN | CONTINUATION, "");
    expect_last(peer, kind, kind == HUB__FRAME_ERROR ? 1007 : 0);
}

static void text_that_is_not_utf8_is_1007_in_any_fragments(void **state)
{
    check_text(*state, "\xCE\xBA\xE1\xBD\xB9\xCF\x83\xCE\xBC\xCE\xB5", HUB__FRAME_MESSAGE);
    check_text(*state, "\xF4\x8F\xBF\xBF", HUB__FRAME_MESSAGE);
    check_text(*state, "\xF4\x90\x80\x80", HUB__FRAME_ERROR);
    check_text(*state, "\xED\xA0\x80", HUB__FRAME_ERROR);
    check_text(*state, "\xC0\xAF", HUB__FRAME_ERROR);
    check_text(*state, "abc\xE2\x82", HUB__FRAME_ERROR);
    check_text(*state, "\x80", HUB__FRAME_ERROR);
}

static void binary_may_be_any_bytes(void **state)
{
    struct peer *peer = *state;

    put_text(peer, FIN | BINARY, "\xFF\xC0\x80");
    put_text(peer, BINARY, "\xFF");
    put_text(peer, FIN | CONTINUATION, "\xC0");
    expect_story(peer, "1 1 0 0 3 \xFF\xC0\x80\n1 1 0 0 2 \xFF\xC0\n");
}

static void bad_utf8_fails_before_its_frame_is_complete(void **state)
{
    struct peer *peer = *state;

    put_filler(peer, FIN | TEXT, 1000);
    feed(peer, peer->wire.base, 8 + 500);
    assert_int_equal(peer->events, 0);
    peer->wire.base[8 + 500] ^= (char)0xFF;
    feed(peer, peer->wire.base + 8 + 500, 1);
    assert_int_equal(peer->last.kind, HUB__FRAME_ERROR);
    assert_int_equal(peer->last.code, 1007);
}

static void bad_utf8_fails_within_its_fragment(void **state)
{
    struct peer *peer = *state;

    put_text(peer, TEXT, "good \xF4");
    feed_wire(peer, peer->wire.len);
    assert_int_equal(peer->events, 0);
    put_text(peer, CONTINUATION, "\x90");
    expect_last(peer, HUB__FRAME_ERROR, 1007);
}

/* The wire as in 7.4.1 and 7.4.2, number by number. */
static size_t count_wrong_close_codes(struct peer *peer)
{
    size_t wrong = 0;

    for (unsigned code = 0; code <= 5000; code++) {
        bool named = code == 1000 || code == 1001 || code == 1002 || code == 1003 || code == 1007 ||
                     code == 1008 || code == 1009 || code == 1010 || code == 1011 || code == 1012 ||
                     code == 1013 || code == 1014;
        bool valid = named || (code >= 3000 && code <= 4999);

        reset(peer);
        put_close(peer, code, "bye");
        feed_wire(peer, peer->wire.len);
        peer->wire.len = 0;
        wrong += peer->last.kind != (valid ? HUB__FRAME_CLOSE : HUB__FRAME_ERROR);
        wrong += peer->last.code != (valid ? code : 1002);
        wrong += peer->last_payload_len != (valid ? 3 : 0);
    }
    return wrong;
}

static void only_codes_that_may_be_sent_close_cleanly(void **state)
{
    assert_int_equal(count_wrong_close_codes(*state), 0);
    assert_false(hub__close_code_valid(65535));
}

static void a_close_frame_is_checked_in_full(void **state)
{
    struct peer *peer = *state;

    put_text(peer, FIN | CLOSE, "");
    expect_story(peer, "4 0 0 0 0 \n");
    put_text(peer, FIN | CLOSE, "\x03");
    expect_last(peer, HUB__FRAME_ERROR, 1002);
    put_close(peer, 1000, "");
    expect_story(peer, "4 0 0 1000 0 \n");
    put_close(peer, 4999, "gr\xC3\xBC\xC3\x9F");
    expect_story(peer, "4 0 0 4999 6 gr\xC3\xBC\xC3\x9F\n");
    put_close(peer, 1000, "\xC3");
    expect_last(peer, HUB__FRAME_ERROR, 1007);
    put_close(peer, 1000, "\xED\xA0\x80 and more");
    expect_last(peer, HUB__FRAME_ERROR, 1007);
    put_close(peer, 1005, "\xFF");
    expect_last(peer, HUB__FRAME_ERROR, 1002);
}

static void nothing_is_read_after_a_close_frame(void **state)
{
    struct peer *peer = *state;

    put_text(peer, TEXT, "unfinished");
    put_close(peer, 1000, "bye");
    put_text(peer, FIN | CONTINUATION, "late");
    put_bytes(peer, "\xFF\xFF\xFF\xFF", 4);
    expect_story(peer, "4 0 0 1000 3 bye\n");
    assert_null(peer->reader.block);
    assert_false(hub__frame_reader_unfinished(&peer->reader));
}

static void nothing_is_read_after_an_error(void **state)
{
    struct peer *peer = *state;

    put_text(peer, FIN | TEXT, "first");
    put_text(peer, FIN | 0x3, "reserved");
    put_text(peer, FIN | TEXT, "late");
    expect_story(peer, "1 0 0 0 5 first\n5 0 0 1002 0 \n");
    assert_null(peer->reader.block);
}

static void check_message_size(struct peer *peer, size_t len, bool fits)
{
    unsigned code = fits ? 0 : 1009;
    hub__frame_event_kind_t kind = fits ? HUB__FRAME_MESSAGE : HUB__FRAME_ERROR;

    put_filler(peer, FIN | TEXT, len);
    expect_last(peer, kind, code);
    put_filler(peer, TEXT, len / 2);
    put_text(peer, FIN | PING, "control frames do not count");
    put_filler(peer, CONTINUATION, len - len / 2);
    put_filler(peer, FIN | CONTINUATION, 0);
    expect_last(peer, kind, code);
}

static void a_message_past_its_limit_is_1009(void **state)
{
    struct peer *peer = *state;

    peer->limits.message_bytes = 300;
    check_message_size(peer, 299, true);
    check_message_size(peer, 300, true);
    check_message_size(peer, 301, false);
}

static void a_size_past_the_limit_is_refused_from_the_header_alone(void **state)
{
    struct peer *peer = *state;

    put_header(peer, FIN | BINARY, 8, MESSAGE_BYTES + 1);
    feed(peer, peer->wire.base, 10); /* the mask is not there yet */
    assert_int_equal(peer->last.code, 1009);
    assert_null(peer->reader.block);
}

static void a_limit_lowered_within_a_message_holds_at_once(void **state)
{
    struct peer *peer = *state;

    put_filler(peer, TEXT, 300);
    feed_wire(peer, peer->wire.len);
    peer->limits.message_bytes = 200;
    feed(peer, "\x80\x80", 2);
    assert_int_equal(peer->last.code, 1009);
}

static void check_huge(struct peer *peer, uint64_t len)
{
    put_header(peer, FIN | BINARY, 8, len);
    feed_wire(peer, peer->wire.len);
    peer->wire.len = 0;
    assert_int_equal(peer->last.code, 1009);
    assert_null(peer->reader.block);
    reset(peer);
}

static void a_huge_declared_length_is_1009(void **state)
{
    check_huge(*state, INT64_MAX);
    check_huge(*state, UINT64_C(1) << 32);
    check_huge(*state, (UINT64_C(1) << 32) + 5);
}

static void memory_grows_with_what_arrives_not_with_what_is_declared(void **state)
{
    struct peer *peer = *state;

    peer->limits.message_bytes = SIZE_MAX;
    put_header(peer, FIN | BINARY, 8, INT64_MAX);
    feed_wire(peer, peer->wire.len);
    assert_int_equal(peer->events, 0);
    assert_in_range(malloc_usable_size(peer->reader.block), 1, 1024);
    put_filler(peer, FIN | BINARY, 10000); /* any bytes will do */
    feed_wire(peer, 1000);
    assert_int_equal(peer->events, 0);
    assert_in_range(malloc_usable_size(peer->reader.block), 1000, 24000);
}

static void put_fragments(struct peer *peer, size_t count, size_t len)
{
    put_filler(peer, count == 1 ? FIN | BINARY : BINARY, len);
    for (size_t i = 1; i < count; i++) {
        put_text(peer, FIN | PONG, "");
        put_filler(peer, i + 1 == count ? FIN | CONTINUATION : CONTINUATION, len);
    }
}

static void check_fragments(struct peer *peer, size_t count, bool fits)
{
    put_fragments(peer, count, 3);
    expect_last(peer, fits ? HUB__FRAME_MESSAGE : HUB__FRAME_ERROR, fits ? 0 : 1008);
    put_fragments(peer, count, 0);
    expect_last(peer, fits ? HUB__FRAME_MESSAGE : HUB__FRAME_ERROR, fits ? 0 : 1008);
}

static void too_many_fragments_are_1008_empty_ones_counted(void **state)
{
    struct peer *peer = *state;

    peer->limits.fragments = 5;
    check_fragments(peer, 4, true);
    check_fragments(peer, 5, true);
    check_fragments(peer, 6, false);
    peer->limits.fragments = 1;
    check_fragments(peer, 1, true);
    check_fragments(peer, 2, false);
    peer->limits.fragments_unlimited = true;
    check_fragments(peer, 40, true);
}

static void fragments_are_counted_anew_for_each_message(void **state)
{
    struct peer *peer = *state;

    peer->limits.fragments = 3;
    put_fragments(peer, 3, 1);
    put_fragments(peer, 3, 0);
    put_text(peer, FIN | TEXT, "one");
    put_fragments(peer, 3, 2);
    expect_last(peer, HUB__FRAME_MESSAGE, 0);
}

static void put_conversation(struct peer *peer)
{
    put_text(peer, FIN | TEXT, "");
    put_text(peer, FIN | TEXT, "{\"topic\":\"room:1\",\"event\":\"join\"}");
    put_filler(peer, FIN | BINARY, 125);
    put_filler(peer, FIN | TEXT, 126);
    put_text(peer, FIN | PING, "");
    put_text(peer, TEXT, "\xE2\x82");
    put_text(peer, FIN | PING, "within a character");
    put_text(peer, CONTINUATION, "\xAC");
    put_text(peer, FIN | PONG, "");
    put_text(peer, FIN | CONTINUATION, "");
    put_filler(peer, BINARY, 300);
    put_text(peer, FIN | CONTINUATION, "\xFF\xFE");
    put_text(peer, FIN | TEXT, "gr\xC3\xBC\xC3\x9F \xF0\x9F\x98\x80");
    put_filler(peer, FIN | PONG, 125);
}

static void a_conversation_is_the_same_however_it_is_cut(void **state)
{
    struct peer *peer = *state;

    put_conversation(peer);
    put_close(peer, 1001, "going away");
    expect_last(peer, HUB__FRAME_CLOSE, 1001);
    assert_int_equal(peer->events, 12);
    put_conversation(peer);
    put_text(peer, FIN | TEXT, "good so far \xC0");
    expect_last(peer, HUB__FRAME_ERROR, 1007);
    assert_int_equal(peer->events, 12);
}

static uint32_t next_random(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

/* Frames that are mostly right, so that most streams get far before something is wrong. */
static void put_random_frames(struct peer *peer, uint32_t *seed)
{
    static const unsigned begins[] = {FIN | TEXT, FIN | TEXT, FIN | BINARY, TEXT,
                                      BINARY,     FIN | PING, FIN | PONG,   TEXT};
    static const unsigned continues[] = {CONTINUATION, CONTINUATION,       FIN | PING,
                                         FIN | PONG,   FIN | CONTINUATION, FIN | CONTINUATION};
    static const char *const pieces[] = {
        "", "a", "\xC3\xA4", "\xE2\x82\xAC", "0123456789abcdef", "\xF0\x9F\x98\x80"};
    bool in_message = false;
    size_t at;

    for (size_t count = 1 + next_random(seed) % 12; count > 0; count--) {
        unsigned first = in_message ? continues[next_random(seed) % COUNT(continues)]
                                    : begins[next_random(seed) % COUNT(begins)];
        char payload[125] = "";

        for (size_t i = next_random(seed) % 7; i > 0; i--)
            strcat(payload, pieces[next_random(seed) % COUNT(pieces)]);
        put_text(peer, first, payload);
        in_message = (first & 0x08) != 0 ? in_message : (first & FIN) == 0;
    }
    at = next_random(seed) % peer->wire.len;
    if (next_random(seed) % 2 == 0)
        peer->wire.base[at] ^= (char)(1u << next_random(seed) % 8);
}

static void feed_randomly(struct peer *peer, uint32_t *seed)
{
    for (size_t at = 0, len; at < peer->wire.len; at += len) {
        len = next_random(seed) % 24;
        len = len < peer->wire.len - at ? len : peer->wire.len - at;
        feed(peer, peer->wire.base + at, len);
    }
}

/* Returns how many streams ended in an error, to prove that both kinds occur. */
static size_t check_random_streams(struct peer *peer, size_t count, uint32_t seed)
{
    hub__buffer_t whole = {0};
    size_t errors = 0;

    for (; count > 0; count--) {
        put_random_frames(peer, &seed);
        reset(peer);
        feed_wire(peer, peer->wire.len);
        errors += peer->last.kind == HUB__FRAME_ERROR;
        whole.len = 0;
        hub__buffer_append(&whole, hub__buffer_str(&peer->story));
        reset(peer);
        feed_randomly(peer, &seed);
        assert_true(hub_str_equals(hub__buffer_str(&whole), hub__buffer_str(&peer->story)));
        peer->wire.len = 0;
    }
    hub__buffer_dispose(&whole);
    return errors;
}

static void random_streams_are_the_same_however_they_are_cut(void **state)
{
    size_t errors = check_random_streams(*state, 4000, 20240607);

    assert_in_range(errors, 200, 3800);
}

static void a_whole_message_lies_in_the_chunk_and_allocates_nothing(void **state)
{
    struct peer *peer = *state;
    hub__frame_event_t event;
    char *at;
    size_t len;

    put_text(peer, FIN | TEXT, "hello");
    at = peer->wire.base;
    len = peer->wire.len;
    reading = true;
    hub__frame_read(&peer->reader, &peer->limits, &at, &len, &event);
    reading = false;
    assert_int_equal(event.kind, HUB__FRAME_MESSAGE);
    assert_ptr_equal(event.payload.base, peer->wire.base + 6);
    assert_memory_equal(event.payload.base, "hello", 5);
    assert_ptr_equal(at, peer->wire.base + peer->wire.len);
    assert_int_equal(len, 0);
    assert_null(peer->reader.block);
}

static void an_idle_reader_owns_no_memory(void **state)
{
    struct peer *peer = *state;

    assert_true(sizeof(hub__frame_reader_t) <= 64);
    put_conversation(peer);
    feed_wire(peer, 7);
    assert_int_equal(peer->events, 11);
    assert_null(peer->reader.block);
}

static bool unfinished_after(struct peer *peer, const char *bytes, size_t len)
{
    feed(peer, bytes, len);
    return hub__frame_reader_unfinished(&peer->reader);
}

static void a_reader_tells_whether_something_is_unfinished(void **state)
{
    struct peer *peer = *state;
    char *at;

    put_text(peer, TEXT, "a");
    put_text(peer, FIN | PING, "b");
    put_text(peer, FIN | CONTINUATION, "c");
    at = peer->wire.base;
    assert_false(hub__frame_reader_unfinished(&peer->reader));
    assert_true(unfinished_after(peer, at, 1));
    assert_true(unfinished_after(peer, at + 1, 5));
    assert_true(unfinished_after(peer, at + 6, 1));
    assert_true(unfinished_after(peer, at + 7, 7));
    assert_true(unfinished_after(peer, at + 14, 6));
    assert_false(unfinished_after(peer, at + 20, 1));
    assert_int_equal(peer->events, 2);
    assert_true(unfinished_after(peer, at + 7, 6));
    assert_false(unfinished_after(peer, at + 13, 1));
}

static void a_buffer_that_cannot_be_made_is_1011(void **state)
{
    struct peer *peer = *state;

    put_text(peer, TEXT, "a");
    out_of_memory = true;
    feed_wire(peer, peer->wire.len);
    assert_int_equal(peer->last.kind, HUB__FRAME_ERROR);
    assert_int_equal(peer->last.code, 1011);
    assert_string_equal(peer->last.reason, "out of memory");
}

static void a_header_that_cannot_be_kept_is_1011(void **state)
{
    struct peer *peer = *state;

    out_of_memory = true;
    feed(peer, "\x81", 1);
    assert_int_equal(peer->last.code, 1011);
}

static void a_buffer_that_cannot_grow_is_1011_and_is_freed(void **state)
{
    struct peer *peer = *state;

    peer->limits.message_bytes = SIZE_MAX;
    put_text(peer, TEXT, "abc");
    put_text(peer, FIN | CONTINUATION, "defg");
    feed(peer, peer->wire.base, 9);
    out_of_memory = true;
    feed(peer, peer->wire.base + 9, peer->wire.len - 9);
    assert_int_equal(peer->last.code, 1011);
    assert_string_equal(peer->last.reason, "out of memory");
    assert_null(peer->reader.block);
}

static size_t count_wrong_unmaskings(size_t len, size_t offset, unsigned phase)
{
    static const uint8_t key_bytes[4] = {0x37, 0xFA, 0x21, 0x3D};
    char *block = malloc(offset + len + 1), *bytes = block + offset;
    size_t wrong = 0;
    uint32_t key;

    memcpy(&key, key_bytes, 4);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (char)(i * 7);
    bytes[len] = 'e';
    hub__frame_unmask(bytes, len, key, phase);
    for (size_t i = 0; i < len; i++)
        wrong += (uint8_t)bytes[i] != ((i * 7 & 0xFF) ^ key_bytes[(i + phase) & 3]);
    wrong += bytes[len] != 'e';
    free(block);
    return wrong;
}

static void unmasking_is_right_at_every_length_offset_and_phase(void **state)
{
    size_t wrong = 0;

    (void)state;
    for (size_t len = 0; len < 150; len++) {
        for (size_t offset = 0; offset < 17; offset++)
            wrong += count_wrong_unmaskings(len, offset, (unsigned)(len + offset) % 4) +
                     count_wrong_unmaskings(len, offset, (unsigned)(len + offset + 1) % 4);
    }
    assert_int_equal(wrong, 0);
}

/* What is long is done by wider vectors where the machine has them. */
static void unmasking_is_right_at_every_length_of_long_payloads(void **state)
{
    size_t wrong = 0;

    (void)state;
    for (size_t len = 500; len < 800; len++)
        wrong += count_wrong_unmaskings(len, len % 33, (unsigned)len % 4);
    wrong += count_wrong_unmaskings(65536 + 77, 3, 1);
    assert_int_equal(wrong, 0);
}

static void check_header(uint64_t len, const char *expected, size_t expected_len)
{
    char header[HUB__FRAME_HEADER_MAX];
    size_t payload_len = 0;

    assert_int_equal(hub__frame_header_len(len), expected_len);
    assert_int_equal(hub__frame_header(header, FIN | TEXT, len), expected_len);
    assert_memory_equal(header, expected, expected_len);
    assert_int_equal(hub__frame_split(header, &payload_len), expected_len);
    assert_int_equal(payload_len, len);
}

static void a_header_has_its_shortest_form_and_reads_back(void **state)
{
    (void)state;
    check_header(0, "\x81\x00", 2);
    check_header(125, "\x81\x7D", 2);
    check_header(126, "\x81\x7E\x00\x7E", 4);
    check_header(65535, "\x81\x7E\xFF\xFF", 4);
    check_header(65536, "\x81\x7F\x00\x00\x00\x00\x00\x01\x00\x00", 10);
    check_header(INT64_MAX, "\x81\x7F\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 10);
}

static void a_header_carries_opcode_and_compression(void **state)
{
    char header[HUB__FRAME_HEADER_MAX];

    (void)state;
    hub__frame_header(header, FIN | BINARY | RSV1, 1);
    assert_int_equal((uint8_t)header[0], 0xC2);
    hub__frame_header(header, FIN | PONG, 1);
    assert_int_equal((uint8_t)header[0], 0x8A);
}

static void check_close(unsigned code, const char *reason, const char *expected, size_t len)
{
    char frame[127];

    assert_int_equal(hub__frame_close(frame, code, hub_str(reason)), len);
    assert_memory_equal(frame, expected, len);
}

#define TEN_EUROS                                                                                  \
    "\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC"                                 \
    "\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC"
#define FORTY_EUROS TEN_EUROS TEN_EUROS TEN_EUROS TEN_EUROS

static void a_close_frame_holds_code_and_as_much_reason_as_fits(void **state)
{
    (void)state;
    check_close(0, NULL, "\x88\x00", 2);
    check_close(0, "not without a code", "\x88\x00", 2);
    check_close(1000, NULL, "\x88\x02\x03\xE8", 4);
    check_close(1001, "bye",
                "\x88\x05\x03\xE9"
                "bye",
                7);
    check_close(4008, FORTY_EUROS "123", "\x88\x7D\x0F\xA8" FORTY_EUROS "123", 127);
    check_close(4008, FORTY_EUROS "1234", "\x88\x7D\x0F\xA8" FORTY_EUROS "123", 127);
    check_close(4008, FORTY_EUROS "1\xE2\x82\xAC", "\x88\x7B\x0F\xA8" FORTY_EUROS "1", 125);
    check_close(4008, FORTY_EUROS "\xE2\x82\xAC", "\x88\x7D\x0F\xA8" FORTY_EUROS "\xE2\x82\xAC",
                127);
    check_close(1011,
                "good\xFF"
                "bad",
                "\x88\x06\x03\xF3"
                "good",
                8);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(every_length_form_is_read_at_its_borders),
        CASE(a_length_not_in_its_shortest_form_is_1002),
        CASE(a_length_with_its_top_bit_set_is_1002),
        CASE(reserved_bits_and_opcodes_are_1002),
        CASE(only_the_first_frame_of_a_message_may_be_compressed),
        CASE(compressed_text_is_handed_out_unchecked),
        CASE(a_reserved_bit_is_refused_with_its_first_byte),
        CASE(a_frame_without_a_mask_is_1002),
        CASE(long_and_fragmented_control_frames_are_1002),
        CASE(a_message_in_fragments_is_joined_around_control_frames),
        CASE(a_continuation_without_a_message_is_1002),
        CASE(a_new_message_within_a_message_is_1002),
        CASE(exactly_the_scalar_values_are_utf8),
        CASE(utf8_fails_at_the_first_hopeless_byte),
        CASE(utf8_is_checked_at_every_place_of_a_block),
        CASE(ascii_never_counts_as_the_rest_of_a_character),
        CASE(a_rejected_text_stays_rejected),
        CASE(text_that_is_not_utf8_is_1007_in_any_fragments),
        CASE(binary_may_be_any_bytes),
        CASE(bad_utf8_fails_before_its_frame_is_complete),
        CASE(bad_utf8_fails_within_its_fragment),
        CASE(only_codes_that_may_be_sent_close_cleanly),
        CASE(a_close_frame_is_checked_in_full),
        CASE(nothing_is_read_after_a_close_frame),
        CASE(nothing_is_read_after_an_error),
        CASE(a_message_past_its_limit_is_1009),
        CASE(a_size_past_the_limit_is_refused_from_the_header_alone),
        CASE(a_limit_lowered_within_a_message_holds_at_once),
        CASE(a_huge_declared_length_is_1009),
        CASE(memory_grows_with_what_arrives_not_with_what_is_declared),
        CASE(too_many_fragments_are_1008_empty_ones_counted),
        CASE(fragments_are_counted_anew_for_each_message),
        CASE(a_conversation_is_the_same_however_it_is_cut),
        CASE(random_streams_are_the_same_however_they_are_cut),
        CASE(a_whole_message_lies_in_the_chunk_and_allocates_nothing),
        CASE(an_idle_reader_owns_no_memory),
        CASE(a_reader_tells_whether_something_is_unfinished),
        CASE(a_buffer_that_cannot_be_made_is_1011),
        CASE(a_header_that_cannot_be_kept_is_1011),
        CASE(a_buffer_that_cannot_grow_is_1011_and_is_freed),
        CASE(unmasking_is_right_at_every_length_offset_and_phase),
        CASE(unmasking_is_right_at_every_length_of_long_payloads),
        CASE(a_header_has_its_shortest_form_and_reads_back),
        CASE(a_header_carries_opcode_and_compression),
        CASE(a_close_frame_holds_code_and_as_much_reason_as_fits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
