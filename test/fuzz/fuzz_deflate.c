/* SPDX-License-Identifier: MIT */
/* Payloads of permessage-deflate: what is made, and what comes in.
 *
 * Oracles: zlib, with no more of a window than was agreed on, reads back what was compressed, and
 * so does our inflater (round trip); what a client of zlib's compresses, with context, is inflated
 * to what it said (round trip); of any other payload a reader that is made anew for each message,
 * with the last bytes before it as its dictionary, makes the same or refuses it, too (reference);
 * text is UTF-8 or refused; whatever the ratio no more than the limit and a byte comes out, and
 * little more is held for it (memory).
 *
 * Input: a byte for windows and limits, then messages: a byte of choices, two of its length, its
 * bytes. */
#include "test/fuzz/fuzz.h"

#include <stdlib.h>
#define ZLIB_CONST
#include <zlib.h>

#include "hub/deflate.h"

#define MESSAGES 8
#define ZLIB_BYTES 60000 /* of a stream that inflates, its window among them */

typedef struct peer {
    hub__deflater_t deflater;
    hub__inflater_t *inflater;
    z_stream client; /* compresses what comes in */
    unsigned bits;   /* of its window */
    size_t limit;
    hub__buffer_t before; /* all that came so far: what may be referred to */
} peer_t;

/* ---- the reference ---- */

typedef enum verdict { RIGHT, WRONG, TOO_LARGE } verdict_t;

static void begin_stream(z_stream *stream, const peer_t *peer, unsigned bits,
                         const hub__buffer_t *out)
{
    hub__buffer_t window = {0};
    size_t size = (size_t)1 << bits, skip;

    hub__buffer_append(&window, hub__buffer_str(&peer->before));
    hub__buffer_append(&window, hub__buffer_str(out));
    skip = window.len < size ? 0 : window.len - size;
    *stream = (z_stream){.zalloc = Z_NULL};
    FUZZ_CHECK(inflateInit2(stream, -(int)bits) == Z_OK, "no stream");
    if (window.len != 0)
        FUZZ_CHECK(inflateSetDictionary(stream, (const Bytef *)window.base + skip,
                                        (uInt)(window.len - skip)) == Z_OK,
                   "no dictionary");
    hub__buffer_dispose(&window);
}

/* One message by a stream of its own, byte by byte. */
static verdict_t inflate_plainly(const peer_t *peer, unsigned bits, hub_str_t payload,
                                 hub__buffer_t *out)
{
    static const char tail[] = {0x00, 0x00, '\xff', '\xff'};
    hub__buffer_t bytes = {0};
    verdict_t verdict = RIGHT;
    z_stream stream;
    bool at_border = false; /* of a block */

    hub__buffer_append(&bytes, payload);
    hub__buffer_append(&bytes, hub_str_n(tail, sizeof(tail)));
    begin_stream(&stream, peer, bits, out);
    stream.next_in = (const Bytef *)bytes.base;
    stream.avail_in = (uInt)bytes.len;
    while (verdict == RIGHT) {
        Bytef byte;
        int status;

        stream.next_out = &byte;
        stream.avail_out = 1;
        status = inflate(&stream, Z_SYNC_FLUSH);
        if (status != Z_BUF_ERROR) /* else zlib leaves out where it is */
            at_border = (stream.data_type & 128) != 0;
        if (stream.avail_out == 0)
            hub__buffer_append(out, hub_str_n((const char *)&byte, 1));
        if (out->len > peer->limit)
            verdict = TOO_LARGE;
        else if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR)
            verdict = WRONG;
        else if (status == Z_STREAM_END) { /* what is left is another stream */
            hub_str_t left = {(const char *)stream.next_in, stream.avail_in};

            inflateEnd(&stream);
            begin_stream(&stream, peer, bits, out);
            stream.next_in = (const Bytef *)left.base;
            stream.avail_in = (uInt)left.len;
        } else if (stream.avail_in == 0 && stream.avail_out != 0) {
            verdict = at_border ? RIGHT : WRONG;
            break;
        }
    }
    inflateEnd(&stream);
    hub__buffer_dispose(&bytes);
    return verdict;
}

/* ---- what comes in ---- */

static void forget(peer_t *peer)
{
    hub__inflater_forget(peer->inflater);
    peer->before.len = 0;
    (void)deflateReset(&peer->client);
}

static bool refers_too_far(const peer_t *peer, hub_str_t payload)
{
    hub__buffer_t plain = {0};
    verdict_t verdict = inflate_plainly(peer, peer->bits, payload, &plain);

    hub__buffer_dispose(&plain);
    return verdict == WRONG;
}

static void receive(peer_t *peer, hub_str_t payload, bool text)
{
    hub__buffer_t ours = {0}, plain = {0};
    bool unfinished;
    fuzz_meter_t meter;
    hub_status_t status;
    verdict_t verdict;

    fuzz_meter_begin();
    status = hub__inflate(peer->inflater, payload, text, peer->limit, &ours);
    meter = fuzz_meter_end();
    FUZZ_CHECK(meter.peak <= 3 * (peer->limit + 4096) + ZLIB_BYTES,
               "%zu bytes held, the limit is %zu", meter.peak, peer->limit);
    FUZZ_CHECK(ours.len <= peer->limit + 1, "%zu bytes, the limit is %zu", ours.len, peer->limit);
    /* zlib lets a message refer back further than its window, as far as it was made in one go */
    verdict = inflate_plainly(peer, 15, payload, &plain);
    if (status == HUB_OK)
        FUZZ_CHECK(verdict == RIGHT &&
                       hub_str_equals(hub__buffer_str(&ours), hub__buffer_str(&plain)) &&
                       (!text || fuzz_is_utf8(hub__buffer_str(&ours))),
                   "%zu bytes, and %zu plainly", ours.len, plain.len);
    else if (status == HUB_EUTF8)
        FUZZ_CHECK(text && fuzz_utf8_prefix(hub__buffer_str(&plain), &unfinished) != plain.len &&
                       (!unfinished || verdict == RIGHT),
                   "%zu bytes are UTF-8", plain.len);
    else if (status == HUB_ETOOLARGE)
        FUZZ_CHECK(verdict == TOO_LARGE, "too large, plainly %d", (int)verdict);
    else
        FUZZ_CHECK(verdict != RIGHT || refers_too_far(peer, payload), "%s of what is right",
                   hub_status_name(status));
    hub__buffer_append(&peer->before, hub__buffer_str(&ours));
    if (status != HUB_OK)
        forget(peer);
    hub__buffer_dispose(&ours);
    hub__buffer_dispose(&plain);
}

/* As a client of zlib's says it, which refers back as far as it may. */
static void receive_compressed(peer_t *peer, hub_str_t bytes, int level, bool text)
{
    size_t room = deflateBound(&peer->client, bytes.len) + 64, len;
    char *out = malloc(room);
    hub__buffer_t ours = {0};
    hub_status_t status;

    peer->client.next_out = (Bytef *)out;
    peer->client.avail_out = (uInt)room;
    (void)deflateParams(&peer->client, level, Z_DEFAULT_STRATEGY);
    peer->client.next_in = (const Bytef *)bytes.base;
    peer->client.avail_in = (uInt)bytes.len;
    FUZZ_CHECK(deflate(&peer->client, Z_SYNC_FLUSH) == Z_OK, "not compressed");
    len = room - peer->client.avail_out - 4;
    status = hub__inflate(peer->inflater, hub_str_n(out, len), text, peer->limit, &ours);
    if (bytes.len > peer->limit)
        FUZZ_CHECK(status != HUB_OK, "%zu bytes pass", bytes.len);
    else if (text && !fuzz_is_utf8(bytes))
        FUZZ_CHECK(status == HUB_EUTF8, "%s of no UTF-8", hub_status_name(status));
    else
        FUZZ_CHECK(status == HUB_OK && hub_str_equals(hub__buffer_str(&ours), bytes),
                   "%s, %zu bytes of %zu", hub_status_name(status), ours.len, bytes.len);
    hub__buffer_append(&peer->before, bytes);
    if (status != HUB_OK)
        forget(peer);
    hub__buffer_dispose(&ours);
    free(out);
}

/* ---- what goes out ---- */

static void send_back(peer_t *peer, hub_str_t bytes, int level, unsigned bits)
{
    hub__window_t window = hub__window_for(bits);
    peer_t other = {.bits = bits == 8 ? 9 : bits, .limit = bytes.len}; /* zlib has no 8 */
    char *out = malloc(bytes.len);
    hub__buffer_t plain = {0};
    size_t len = hub__deflate(&peer->deflater, window, level, bytes, out);

    FUZZ_CHECK(len == 0 || len < bytes.len, "%zu bytes of %zu", len, bytes.len);
    if (len != 0) {
        FUZZ_CHECK(inflate_plainly(&other, other.bits, hub_str_n(out, len), &plain) == RIGHT &&
                       hub_str_equals(hub__buffer_str(&plain), bytes),
                   "%zu bytes came back as %zu", bytes.len, plain.len);
        other.inflater = hub__inflater_create(bits);
        receive(&other, hub_str_n(out, len), false);
        FUZZ_CHECK(hub_str_equals(hub__buffer_str(&other.before), bytes), "and as %zu by ours",
                   other.before.len);
        hub__inflater_destroy(other.inflater);
    }
    hub__buffer_dispose(&other.before);
    hub__buffer_dispose(&plain);
    free(out);
}

/* A message may be the same many times over, which is what compresses well. */
static void say(peer_t *peer, fuzz_input_t *input)
{
    uint8_t choice = fuzz_byte(input);
    size_t len = fuzz_below(input, 1024), times = (choice & 16) != 0 ? 40 : 1;
    hub_str_t bytes = fuzz_take(input, len);
    hub__buffer_t message = {0};
    char *copy;

    for (size_t i = 0; i != times; ++i)
        hub__buffer_append(&message, bytes);
    copy = fuzz_copy(hub__buffer_str(&message));
    switch (choice & 3) {
    case 0:
    case 1:
        receive(peer, hub_str_n(copy, bytes.len), (choice & 4) != 0);
        break;
    case 2:
        if (message.len != 0) /* zlib makes nothing of nothing */
            receive_compressed(peer, hub_str_n(copy, message.len), 1 + choice / 32,
                               (choice & 4) != 0);
        break;
    default:
        send_back(peer, hub_str_n(copy, message.len), 1 + choice / 32, 8 + (choice >> 2) % 8);
    }
    if ((choice & 8) != 0)
        forget(peer);
    free(copy);
    hub__buffer_dispose(&message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t limits[] = {65536, 100, 4096, 1};
    fuzz_input_t input = {data, size};
    uint8_t choice = fuzz_byte(&input);
    peer_t peer = {.bits = 8u + choice % 8u, .limit = limits[choice >> 3 & 3]};

    peer.inflater = hub__inflater_create(peer.bits);
    peer.bits = peer.bits == 8 ? 9 : peer.bits; /* as zlib's inflater has it, too */
    FUZZ_CHECK(deflateInit2(&peer.client, 6, Z_DEFLATED, -(int)peer.bits, 8, Z_DEFAULT_STRATEGY) ==
                   Z_OK,
               "no client");
    for (size_t i = 0; i != MESSAGES && input.len != 0; ++i)
        say(&peer, &input);
    (void)deflateEnd(&peer.client);
    hub__deflater_dispose(&peer.deflater);
    hub__inflater_destroy(peer.inflater);
    hub__buffer_dispose(&peer.before);
    return 0;
}
