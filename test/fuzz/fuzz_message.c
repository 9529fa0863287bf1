/* SPDX-License-Identifier: MIT */
/* Messages that a client frames by the letter, in any fragments and with control frames between
 * them, and frames that the server makes.
 *
 * Oracles: what was framed is what is read, byte for byte and in order, in whatever pieces it comes
 * (round trip, split); a text that is not UTF-8 ends with 1007, and nothing else ends before the
 * close (reference); the headers of our own frames say what they were given in their shortest form,
 * and our close frames are what a peer may send (round trip).
 *
 * Input: a recipe, see say(). */
#include "test/fuzz/fuzz.h"

#include <stdlib.h>

#include "hub/frame.h"

typedef struct talker {
    fuzz_input_t recipe;
    hub__buffer_t wire;
    hub__buffer_t story; /* what must be read */
    uint32_t random;
    bool open;
} talker_t;

static void tell(hub__buffer_t *story, const char *what, unsigned code, hub_str_t payload)
{
    hub__buffer_printf(story, "%s %u %zu ", what, code, payload.len);
    hub__buffer_append(story, payload);
    HUB__APPEND_LITERAL(story, "\n");
}

static uint32_t draw(talker_t *talker)
{
    talker->random = talker->random * 1664525u + 1013904223u;
    return talker->random >> 8;
}

static void put_frame(talker_t *talker, unsigned first, hub_str_t payload)
{
    uint32_t number = draw(talker);
    uint8_t head[14] = {(uint8_t)first, (uint8_t)(0x80 | payload.len)}, key[4];
    size_t len = 2;
    char *masked = hub__alloc(payload.len);

    memcpy(key, &number, sizeof(key));
    if (payload.len > 125) {
        len = payload.len > 0xffff ? 10 : 4;
        head[1] = payload.len > 0xffff ? 0xff : 0xfe;
        for (size_t i = 2; i != len; ++i)
            head[i] = (uint8_t)(payload.len >> 8 * (len - 1 - i));
    }
    memcpy(head + len, key, sizeof(key));
    hub__buffer_append(&talker->wire, hub_str_n((const char *)head, len + sizeof(key)));
    for (size_t i = 0; i != payload.len; ++i)
        masked[i] = (char)((uint8_t)payload.base[i] ^ key[i % 4]);
    hub__buffer_append(&talker->wire, hub_str_n(masked, payload.len));
    free(masked);
}

static void put_control(talker_t *talker, bool is_ping, hub_str_t payload)
{
    put_frame(talker, is_ping ? 0x89 : 0x8a, payload);
    tell(&talker->story, is_ping ? "ping" : "pong", 0, payload);
}

/* A data message in up to 8 frames, some of them empty, perhaps with a ping between two. */
static void put_message(talker_t *talker, unsigned choice, hub_str_t payload)
{
    bool binary = (choice & 1) != 0;
    size_t frames = 1 + (choice >> 1) % 8, at = 0;
    bool bad = false;

    for (size_t i = 0; i != frames && !bad; ++i) {
        size_t left = payload.len - at, len = i + 1 == frames ? left : draw(talker) % (left + 1);
        unsigned fin = i + 1 == frames ? 0x80 : 0, opcode = i != 0 ? 0 : binary ? 2 : 1;
        hub_str_t arrived = hub_str_n(payload.base, at + len);
        bool unfinished;

        if ((choice & 32) != 0 && i != 0)
            put_control(talker, draw(talker) % 2 == 0, hub_str_n("between", i % 8));
        put_frame(talker, fin | opcode, hub_str_n(payload.base + at, len));
        at += len;
        bad = !binary && fuzz_utf8_prefix(arrived, &unfinished) != arrived.len &&
              (fin != 0 || !unfinished);
    }
    if (!bad)
        tell(&talker->story, binary ? "binary" : "text", 0, payload);
    else
        tell(&talker->story, "error", 1007, (hub_str_t){0});
    talker->open = !bad;
}

static void put_close(talker_t *talker, unsigned code, hub_str_t reason)
{
    char bytes[127];
    size_t len, payload_len, head;
    bool may = (code >= 1000 && code < 1015 && code != 1004 && code != 1005 && code != 1006) ||
               (code >= 3000 && code < 5000);

    FUZZ_CHECK(hub__close_code_valid(code) == may, "code %u", code);
    if (!may)
        code = 0;
    len = hub__frame_close(bytes, code, reason);
    head = hub__frame_split(bytes, &payload_len);
    FUZZ_CHECK(head == 2 && len == head + payload_len && payload_len <= 125, "%zu", payload_len);
    put_frame(talker, 0x88, hub_str_n(bytes + head, payload_len));
    if (code != 0) {
        size_t longest = payload_len - 2, valid = fuzz_utf8_prefix(reason, NULL);

        FUZZ_CHECK(longest <= valid && memcmp(bytes + 4, reason.base, longest) == 0, "reason");
        /* cut no earlier than it must be */
        FUZZ_CHECK(longest == valid || longest + 3 >= HUB__CLOSE_REASON_MAX, "cut to %zu", longest);
    }
    tell(&talker->story, "close", code,
         hub_str_n(bytes + 4, payload_len > 2 ? payload_len - 2 : 0));
    talker->open = false;
}

/* One byte chooses, two are a length or a code, the rest is payload. */
static void say(talker_t *talker)
{
    uint8_t choice = fuzz_byte(&talker->recipe);
    size_t number = fuzz_below(&talker->recipe, 65536);

    if (choice >= 0xf8)
        put_close(talker, (unsigned)number, fuzz_take(&talker->recipe, 200));
    else if (choice >= 0xc0)
        put_control(talker, choice % 2 == 0, fuzz_take(&talker->recipe, number % 126));
    else
        put_message(talker, choice, fuzz_take(&talker->recipe, number));
}

static void hear(hub__buffer_t *story, const hub__frame_event_t *event)
{
    static const char *const names[] = {"", "text", "ping", "pong", "close", "error"};
    bool binary = event->kind == HUB__FRAME_MESSAGE && event->binary;

    FUZZ_CHECK(!event->compressed, "compressed");
    tell(story, binary ? "binary" : names[event->kind], event->code,
         event->kind == HUB__FRAME_ERROR ? (hub_str_t){0} : event->payload);
}

static void listen(talker_t *talker, bool whole)
{
    hub__frame_limits_t limits = {.message_bytes = 1 << 20, .fragments = 8};
    hub__frame_reader_t reader = {0};
    hub__buffer_t story = {0};
    hub__frame_event_t event;

    for (size_t at = 0, len; at != talker->wire.len; at += len) {
        char *piece, *from;
        size_t left;

        len = whole ? talker->wire.len : 1 + draw(talker) % 300;
        len = len < talker->wire.len - at ? len : talker->wire.len - at;
        piece = from = fuzz_copy(hub_str_n(talker->wire.base + at, len));
        left = len;
        for (;;) {
            hub__frame_read(&reader, &limits, &from, &left, &event);
            if (event.kind == HUB__FRAME_NEED_MORE)
                break;
            hear(&story, &event);
        }
        free(piece);
    }
    FUZZ_CHECK(!hub__frame_reader_unfinished(&reader) && reader.block == NULL, "unfinished");
    hub__frame_reader_dispose(&reader);
    FUZZ_CHECK(hub_str_equals(hub__buffer_str(&story), hub__buffer_str(&talker->story)),
               "--- read\n%.*s--- framed\n%.*s---", HUB_STR_ARG(hub__buffer_str(&story)),
               HUB_STR_ARG(hub__buffer_str(&talker->story)));
    hub__buffer_dispose(&story);
}

/* The header of a frame of ours, for any length. */
static void check_header(uint64_t len)
{
    char header[HUB__FRAME_HEADER_MAX];
    size_t written = hub__frame_header(header, HUB__FRAME_FIN | HUB__OP_BINARY, len), read_len;
    uint64_t shortest = len < 126 ? 2 : len < 65536 ? 4 : 10;

    FUZZ_CHECK(written == shortest && hub__frame_header_len(len) == shortest, "%zu", written);
    FUZZ_CHECK((header[1] & 0x80) == 0, "masked");
    FUZZ_CHECK(hub__frame_split(header, &read_len) == written && read_len == len,
               "%zu instead of %llu", read_len, (unsigned long long)len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    talker_t talker = {.recipe = {data, size}, .open = true};
    uint64_t len = 0;

    for (size_t i = 0; i != size && i != 8; ++i)
        len = len << 8 | data[size - 1 - i];
    check_header(len >> (len & 63));
    talker.random = (uint32_t)size + fuzz_byte(&talker.recipe);
    while (talker.recipe.len != 0 && talker.open)
        say(&talker);
    listen(&talker, true);
    listen(&talker, false);
    hub__buffer_dispose(&talker.wire);
    hub__buffer_dispose(&talker.story);
    return 0;
}
