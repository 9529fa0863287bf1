/* SPDX-License-Identifier: MIT */
/* The bytes of one client, as the frame reader takes them.
 *
 * Oracles: a reader written plainly from RFC 6455 over all the bytes at once tells the same story,
 * event by event and close code by close code (reference); the story is the same whole, byte by
 * byte, and in random pieces (split); an idle or disposed reader owns nothing, and an unfinished
 * message never more than three times what has arrived (memory); work is linear in the bytes
 * (steps).
 *
 * Input: a byte of limits, a byte that seeds the cuts, then the wire. */
#include "test/fuzz/fuzz.h"

#include <stdlib.h>

#include "hub/frame.h"

#define STEPS_PER_BYTE 30
#define STEPS_MORE 1000
#define BLOCK_BYTES 1024

typedef struct story {
    hub__buffer_t text;
    bool open; /* nothing has ended it */
} story_t;

static void tell(story_t *story, int kind, bool binary, bool compressed, unsigned code,
                 hub_str_t payload)
{
    hub__buffer_printf(&story->text, "%d %d %d %u %zu ", kind, binary, compressed, code,
                       payload.len);
    hub__buffer_append(&story->text, payload);
    HUB__APPEND_LITERAL(&story->text, "\n");
}

/* ---- the reference ---- */

typedef struct reference {
    const hub__frame_limits_t *limits;
    const uint8_t *at;
    size_t left;
    unsigned message; /* opcode of the message that has begun; 0: none */
    bool compressed;
    size_t fragments;
    hub__buffer_t gathered;
    story_t *story;
} reference_t;

static void end(reference_t *ref, unsigned code)
{
    tell(ref->story, HUB__FRAME_ERROR, false, false, code, (hub_str_t){0});
    ref->story->open = false;
}

static unsigned judge_first(const reference_t *ref)
{
    unsigned first = ref->at[0], opcode = first & 0x0f, rsv = first & 0x70;
    bool is_control = opcode >= 8, fin = (first & 0x80) != 0;

    if (rsv != 0 && !(rsv == 0x40 && ref->limits->allow_rsv1 && (opcode == 1 || opcode == 2)))
        return 1002;
    if ((opcode > 2 && opcode < 8) || opcode > 10)
        return 1002;
    if (is_control)
        return fin ? 0 : 1002;
    return (opcode == 0) == (ref->message != 0) ? 0 : 1002;
}

/* What a message may have: a compressed one an eighth more, for what has no pattern grows. */
static size_t message_max(const reference_t *ref)
{
    size_t max = ref->limits->message_bytes;
    bool begins = ref->at[0] % 16 != 0;

    return (begins ? (ref->at[0] & 0x40) != 0 : ref->compressed) ? max + max / 8 + 64 : max;
}

/* The header's length, its payload's in `*ret_len`; 0: it is not all there, or refused. */
static size_t read_head(reference_t *ref, uint64_t *ret_len)
{
    unsigned code = judge_first(ref), short_len;
    size_t extended;
    uint64_t len = 0;

    if (code == 0 && ref->left > 1) {
        short_len = ref->at[1] & 0x7f;
        if ((ref->at[1] & 0x80) == 0 || (ref->at[0] % 16 >= 8 && short_len > 125))
            code = 1002;
    }
    if (code != 0)
        end(ref, code);
    if (code != 0 || ref->left < 2)
        return 0;
    extended = short_len == 126 ? 2 : short_len == 127 ? 8 : 0;
    if (ref->left < 2 + extended)
        return 0;
    for (size_t i = 0; i != extended; ++i)
        len = len << 8 | ref->at[2 + i];
    len = extended == 0 ? short_len : len;
    if ((extended == 2 && len < 126) || (extended == 8 && (len <= 0xffff || len >> 63 != 0)))
        code = 1002;
    else if (ref->at[0] % 16 < 8 && !ref->limits->fragments_unlimited && ref->message != 0 &&
             ref->fragments >= ref->limits->fragments)
        code = 1008;
    else if (ref->at[0] % 16 < 8 && ref->gathered.len + len > message_max(ref))
        code = 1009;
    if (code != 0)
        end(ref, code);
    *ret_len = len;
    return code != 0 || ref->left < 2 + extended + 4 ? 0 : 2 + extended + 4;
}

static void read_control(reference_t *ref, unsigned opcode, hub_str_t payload)
{
    unsigned code = 0;

    if (opcode != 8) {
        tell(ref->story, opcode == 9 ? HUB__FRAME_PING : HUB__FRAME_PONG, false, false, 0, payload);
        return;
    }
    if (payload.len == 1) {
        end(ref, 1002);
        return;
    }
    if (payload.len > 1) {
        code = (unsigned)(uint8_t)payload.base[0] << 8 | (uint8_t)payload.base[1];
        payload = hub_str_n(payload.base + 2, payload.len - 2);
        if (code < 1000 || code > 4999 || code == 1004 || code == 1005 || code == 1006 ||
            (code > 1014 && code < 3000)) {
            end(ref, 1002);
            return;
        }
    }
    if (!fuzz_is_utf8(payload)) {
        end(ref, 1007);
        return;
    }
    tell(ref->story, HUB__FRAME_CLOSE, false, false, code, payload);
    ref->story->open = false;
}

/* `have` bytes of a data frame's payload, and whether that is the end of a message. */
static void read_data(reference_t *ref, unsigned first, hub_str_t have, bool ends)
{
    size_t valid;
    bool unfinished;

    if (first % 16 != 0) {
        ref->message = first % 16;
        ref->compressed = (first & 0x40) != 0;
        ref->fragments = 0;
    }
    ++ref->fragments;
    hub__buffer_append(&ref->gathered, have);
    if (ref->message == 1 && !ref->compressed) {
        valid = fuzz_utf8_prefix(hub__buffer_str(&ref->gathered), &unfinished);
        if (valid != ref->gathered.len && (ends || !unfinished)) {
            end(ref, 1007);
            return;
        }
    }
    if (!ends)
        return;
    tell(ref->story, HUB__FRAME_MESSAGE, ref->message == 2, ref->compressed, 0,
         hub__buffer_str(&ref->gathered));
    ref->gathered.len = 0;
    ref->message = 0;
}

static void read_frame(reference_t *ref)
{
    uint64_t len = 0;
    size_t head = read_head(ref, &len), have;
    unsigned first = ref->at[0];
    const uint8_t *key = ref->at + head - 4;
    char *payload;

    if (head == 0) {
        ref->left = 0;
        return;
    }
    have = ref->left - head < len ? ref->left - head : (size_t)len;
    payload = hub__alloc(have);
    for (size_t i = 0; i != have; ++i)
        payload[i] = (char)(ref->at[head + i] ^ key[i % 4]);
    if (first % 16 < 8)
        read_data(ref, first, hub_str_n(payload, have), have == len && first >= 0x80);
    else if (have == len)
        read_control(ref, first % 16, hub_str_n(payload, have));
    free(payload);
    ref->at += head + have;
    ref->left -= head + have;
}

static void read_all(const hub__frame_limits_t *limits, hub_str_t wire, story_t *story)
{
    reference_t ref = {
        .limits = limits, .at = (const uint8_t *)wire.base, .left = wire.len, .story = story};

    while (ref.left != 0 && story->open)
        read_frame(&ref);
    hub__buffer_dispose(&ref.gathered);
}

/* ---- ours ---- */

/* All events of one piece, which is a block of its own. */
static void feed(hub__frame_reader_t *reader, const hub__frame_limits_t *limits, hub_str_t bytes,
                 story_t *story)
{
    char *piece = fuzz_copy(bytes), *at = piece;
    size_t left = bytes.len;
    hub__frame_event_t event;

    for (;;) {
        hub__frame_read(reader, limits, &at, &left, &event);
        if (event.kind == HUB__FRAME_NEED_MORE)
            break;
        FUZZ_CHECK(story->open, "an event behind the end");
        FUZZ_CHECK((event.kind == HUB__FRAME_ERROR) == (event.reason != NULL), "kind %d",
                   (int)event.kind);
        tell(story, (int)event.kind, event.binary, event.compressed, event.code,
             event.kind == HUB__FRAME_ERROR ? (hub_str_t){0} : event.payload);
        story->open = event.kind != HUB__FRAME_CLOSE && event.kind != HUB__FRAME_ERROR;
    }
    FUZZ_CHECK(left == 0 && at == piece + bytes.len, "%zu bytes are left", left);
    FUZZ_CHECK(hub__frame_reader_unfinished(reader) || reader->block == NULL,
               "an idle reader owns a block");
    free(piece);
}

/* In pieces as the seed says; 0: whole, 1: byte by byte. */
static void feed_all(const hub__frame_limits_t *limits, hub_str_t wire, uint32_t seed,
                     story_t *story)
{
    hub__frame_reader_t reader = {0};

    for (size_t at = 0, len; at != wire.len; at += len) {
        len = seed == 0 ? wire.len : 1;
        if (seed > 1) {
            seed = seed * 1664525u + 1013904223u;
            len = 1 + (seed >> 16) % (seed & 0x8000 ? 7 : 200);
        }
        len = len < wire.len - at ? len : wire.len - at;
        feed(&reader, limits, hub_str_n(wire.base + at, len), story);
    }
    hub__frame_reader_dispose(&reader);
}

static void compare(const char *how, const story_t *told, const story_t *expected)
{
    hub_str_t left = hub__buffer_str(&told->text), right = hub__buffer_str(&expected->text);

    FUZZ_CHECK(hub_str_equals(left, right), "%s\n--- told\n%.*s--- expected\n%.*s---", how,
               HUB_STR_ARG(left), HUB_STR_ARG(right));
}

/* What the reader itself takes, without the story. */
static void measure(const hub__frame_limits_t *limits, hub_str_t wire)
{
    hub__frame_reader_t reader = {0};
    hub__frame_event_t event;
    fuzz_meter_t meter;
    char *copy = fuzz_copy(wire);

    fuzz_meter_begin();
    for (size_t at = 0; at < wire.len; at += 7) {
        char *piece = copy + at;
        size_t left = wire.len - at < 7 ? wire.len - at : 7;

        do
            hub__frame_read(&reader, limits, &piece, &left, &event);
        while (event.kind != HUB__FRAME_NEED_MORE);
    }
    hub__frame_reader_dispose(&reader);
    meter = fuzz_meter_end();
    free(copy);
    FUZZ_CHECK(meter.held == 0, "%zu bytes are kept", meter.held);
    FUZZ_CHECK(meter.peak <= 3 * wire.len + BLOCK_BYTES, "%zu bytes held for %zu", meter.peak,
               wire.len);
    FUZZ_CHECK(meter.steps <= STEPS_PER_BYTE * wire.len + STEPS_MORE, "%llu steps for %zu bytes",
               (unsigned long long)meter.steps, wire.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t sizes[] = {125, 1000, 70000, 20};
    fuzz_input_t input = {data, size};
    uint8_t choice = fuzz_byte(&input), seed = fuzz_byte(&input);
    hub__frame_limits_t limits = {.allow_rsv1 = (choice & 1) != 0,
                                  .message_bytes = sizes[choice >> 1 & 3],
                                  .fragments = (choice & 8) != 0 ? 64 : 3,
                                  .fragments_unlimited = (choice & 16) != 0};
    hub_str_t wire = fuzz_rest(&input);
    story_t expected = {.open = true};
    const uint32_t seeds[] = {0, 1, seed + 2u};

    read_all(&limits, wire, &expected);
    for (size_t i = 0; i != 3; ++i) {
        static const char *const ways[] = {"whole", "byte by byte", "in pieces"};
        story_t story = {.open = true};

        feed_all(&limits, wire, seeds[i], &story);
        compare(ways[i], &story, &expected);
        hub__buffer_dispose(&story.text);
    }
    hub__buffer_dispose(&expected.text);
    measure(&limits, wire);
    return 0;
}
