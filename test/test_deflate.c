/* SPDX-License-Identifier: MIT */
/* Payloads of permessage-deflate: what is made is read back by zlib itself with no more of a window
 * than was agreed on; what comes in may be anything. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define ZLIB_CONST
#include <zlib.h>

#include "hub/deflate.h"
#include "hub/frame.h"
#include "hub/memory.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define LARGEST (256u * 1024)
#define KIB ((size_t)1024)

/* ---- an allocator that counts and fails ---- */

static struct {
    bool on;
    size_t live, peak;
    unsigned calls, fail_at; /* the call that fails, from 1; 0: none does */
} heap;

void *__real_malloc(size_t size);
void *__real_calloc(size_t items, size_t size);
void *__real_realloc(void *block, size_t size);
void __real_free(void *block);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t items, size_t size);
void *__wrap_realloc(void *block, size_t size);
void __wrap_free(void *block);

static bool may_allocate(void)
{
    return !heap.on || ++heap.calls != heap.fail_at;
}

static void *counted(void *block)
{
    if (heap.on && block != NULL) {
        heap.live += malloc_usable_size(block);
        if (heap.live > heap.peak)
            heap.peak = heap.live;
    }
    return block;
}

static void uncount(void *block)
{
    if (heap.on && block != NULL)
        heap.live -= malloc_usable_size(block);
}

void *__wrap_malloc(size_t size)
{
    return may_allocate() ? counted(__real_malloc(size)) : NULL;
}

void *__wrap_calloc(size_t items, size_t size)
{
    return may_allocate() ? counted(__real_calloc(items, size)) : NULL;
}

void *__wrap_realloc(void *block, size_t size)
{
    if (!may_allocate())
        return NULL;
    uncount(block);
    return counted(__real_realloc(block, size));
}

void __wrap_free(void *block)
{
    uncount(block);
    __real_free(block);
}

static void watch_heap(unsigned fail_at)
{
    memset(&heap, 0, sizeof(heap));
    heap.fail_at = fail_at;
    heap.on = true;
}

/* ---- texts and helpers ---- */

static struct {
    hub__deflater_t deflater;
    hub__inflater_t *inflater;
    hub__buffer_t out;
    uint64_t random;
    char text[LARGEST], deflated[LARGEST + 1024], inflated[LARGEST];
} box;

static int set_up(void **state)
{
    (void)state;
    heap.on = false;
    memset(&box, 0, sizeof(box));
    box.random = 88172645463325252u;
    box.inflater = hub__inflater_create(15);
    assert_non_null(box.inflater);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    heap.on = false;
    hub__deflater_dispose(&box.deflater);
    hub__inflater_destroy(box.inflater);
    hub__buffer_dispose(&box.out);
    return 0;
}

static uint64_t next_random(void)
{
    box.random ^= box.random << 13;
    box.random ^= box.random >> 7;
    box.random ^= box.random << 17;
    return box.random;
}

typedef enum text_kind { SAME, WORDS, DISTANT, NOISE, TEXT_KINDS } text_kind_t;

/* DISTANT: the same 128 bytes come again after so many that only a large window reaches back. */
static hub_str_t fill(text_kind_t kind, size_t len)
{
    static const char words[] =
        "{\"topic\":\"room:42\",\"event\":\"shout\",\"payload\":{\"text\":\"";

    for (size_t i = 0; i < len; i++)
        box.text[i] = kind == SAME    ? 'x'
                      : kind == WORDS ? words[(i * 7 + i / 61) % (sizeof(words) - 1)]
                      : kind == NOISE || i % 5000 >= 128 ? (char)(next_random() & 0x7f)
                                                         : words[i % 5000 % 53];
    return hub_str_n(box.text, len);
}

/* A byte at a time, so that nothing but the window lets zlib look back. */
static size_t inflate_strictly(int bits, hub_str_t payload)
{
    static const char tail[] = {0, 0, (char)0xff, (char)0xff};
    const hub_str_t parts[] = {payload, {tail, sizeof(tail)}};
    z_stream stream = {0};
    size_t len = 0;

    assert_int_equal(inflateInit2(&stream, -bits), Z_OK);
    for (size_t i = 0; i < COUNT(parts); i++) {
        stream.next_in = (const Bytef *)parts[i].base;
        stream.avail_in = (uInt)parts[i].len;
        do {
            int code;

            assert_true(len < sizeof(box.inflated));
            stream.next_out = (Bytef *)box.inflated + len;
            stream.avail_out = 1;
            code = inflate(&stream, Z_SYNC_FLUSH);
            assert_true(code == Z_OK || code == Z_BUF_ERROR);
            len += 1 - stream.avail_out;
        } while (stream.avail_out == 0 || stream.avail_in != 0);
    }
    assert_int_equal(inflateEnd(&stream), Z_OK);
    return len;
}

static hub_str_t deflate_here(hub__window_t window, int level, hub_str_t text)
{
    size_t len = hub__deflate(&box.deflater, window, level, text, box.deflated);

    return hub_str_n(box.deflated, len);
}

static hub_status_t inflate_here(hub_str_t payload, bool text, size_t limit)
{
    hub__inflater_forget(box.inflater);
    return hub__inflate(box.inflater, payload, text, limit, &box.out);
}

static void expect_bytes(hub_str_t got, hub_str_t wanted)
{
    assert_int_equal(got.len, wanted.len);
    if (wanted.len != 0)
        assert_memory_equal(got.base, wanted.base, wanted.len);
}

static void expect_inflated(hub_str_t payload, const char *text)
{
    assert_int_equal(hub__inflate(box.inflater, payload, true, LARGEST, &box.out), HUB_OK);
    expect_bytes(hub__buffer_str(&box.out), hub_str(text));
}

/* A peer that compresses with zlib; `stream` NULL: from a fresh one. */
static hub_str_t deflate_as_peer(z_stream *stream, hub_str_t text, int flush)
{
    z_stream fresh = {0};
    size_t len;

    if (stream == NULL) {
        stream = &fresh;
        assert_int_equal(deflateInit2(stream, 9, Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY), Z_OK);
    }
    stream->next_in = (const Bytef *)text.base;
    stream->avail_in = (uInt)text.len;
    stream->next_out = (Bytef *)box.deflated;
    stream->avail_out = sizeof(box.deflated);
    assert_true(deflate(stream, flush) >= Z_OK);
    len = sizeof(box.deflated) - stream->avail_out;
    if (stream == &fresh)
        (void)deflateEnd(stream);
    if (flush == Z_FINISH)
        box.deflated[len++] = 0; /* RFC 7692 7.2.3.4 */
    else
        len -= 4;
    return hub_str_n(box.deflated, len);
}

/* ---- what goes out ---- */

static void round_trip(unsigned bits, int level, text_kind_t kind, size_t len)
{
    hub_str_t text = fill(kind, len);
    hub_str_t payload = deflate_here(hub__window_for(bits), level, text);

    if (payload.len == 0) {
        assert_true(kind == NOISE || kind == DISTANT || len < 64);
        return;
    }
    assert_true(payload.len + 4 < len);
    expect_bytes(hub_str_n(box.inflated, inflate_strictly((int)bits, payload)), text);
    assert_int_equal(inflate_here(payload, false, len), HUB_OK);
    expect_bytes(hub__buffer_str(&box.out), text);
}

static void every_window_is_kept_to(void **state)
{
    static const size_t lengths[] = {1, 20, 200, 249, 250, 251, 262, 300, 600, 5000};
    static const int levels[] = {1, 6, 9};

    (void)state;
    for (unsigned bits = 8; bits <= 15; bits++)
        for (size_t l = 0; l < COUNT(levels); l++)
            for (text_kind_t kind = 0; kind < TEXT_KINDS; kind++)
                for (size_t i = 0; i < COUNT(lengths); i++)
                    round_trip(bits, levels[l], kind, lengths[i]);
    round_trip(14, 6, DISTANT, 20000);
    round_trip(15, 6, WORDS, 70000);
}

static void a_larger_window_finds_more(void **state)
{
    hub_str_t text = fill(DISTANT, 30000);
    size_t narrow = deflate_here(HUB__WINDOW_12, 6, text).len;

    (void)state;
    assert_true(deflate_here(HUB__WINDOW_15, 6, text).len < narrow);
}

static void what_would_not_be_shorter_stays_as_it_is(void **state)
{
    (void)state;
    for (size_t i = 0; i < 1000; i++)
        box.text[i] = (char)next_random();
    assert_int_equal(deflate_here(HUB__WINDOW_15, 9, hub_str_n(box.text, 1000)).len, 0);
    assert_int_equal(deflate_here(HUB__WINDOW_15, 9, HUB_STR("abcdefgh")).len, 0);
    assert_int_equal(deflate_here(HUB__WINDOW_15, 9, HUB_STR("a")).len, 0);
}

static void a_message_is_the_same_whatever_went_before(void **state)
{
    char first[512];
    hub_str_t payload;
    size_t len;

    (void)state;
    payload = deflate_here(HUB__WINDOW_15, 6, fill(WORDS, 400));
    len = payload.len;
    memcpy(first, payload.base, len);
    (void)deflate_here(HUB__WINDOW_15, 1, fill(NOISE, 5000)); /* left unfinished: it grew */
    (void)deflate_here(HUB__WINDOW_15, 9, fill(SAME, 5000));
    expect_bytes(deflate_here(HUB__WINDOW_15, 6, fill(WORDS, 400)), hub_str_n(first, len));
}

/* A client that keeps its window although it was told that nobody refers back. */
static void messages_fit_into_any_context(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 40; i++) {
        hub_str_t text = fill(i % 3, 300 + 500 * i);
        hub_str_t payload = deflate_here(1 + i % 3, 6, text);

        if (payload.len == 0)
            continue;
        assert_int_equal(hub__inflate(box.inflater, payload, true, LARGEST, &box.out), HUB_OK);
        expect_bytes(hub__buffer_str(&box.out), text);
    }
}

/* ---- what comes in ---- */

static void the_examples_of_the_rfc_are_read(void **state)
{
    (void)state;
    /* 7.2.3.1 to 7.2.3.5 */
    expect_inflated(HUB_STR("\xf2\x48\xcd\xc9\xc9\x07\x00"), "Hello");
    expect_inflated(HUB_STR("\xf2\x00\x11\x00\x00"), "Hello"); /* the one before */
    expect_inflated(HUB_STR("\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"), "Hello");
    expect_inflated(HUB_STR("\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), "Hello");
    expect_inflated(HUB_STR("\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"), "Hello");
    expect_inflated(HUB_STR("\x00"), "");
}

static void a_peer_may_refer_back_within_its_window(void **state)
{
    (void)state;
    for (int bits = 9; bits <= 15; bits++) {
        z_stream stream = {0};

        hub__inflater_destroy(box.inflater);
        box.inflater = hub__inflater_create((unsigned)bits);
        assert_non_null(box.inflater);
        assert_int_equal(deflateInit2(&stream, 9, Z_DEFLATED, -bits, 9, Z_DEFAULT_STRATEGY), Z_OK);
        for (size_t i = 0; i < 60; i++) {
            hub_str_t text = fill(i % TEXT_KINDS, 97 * i);
            hub_str_t payload = deflate_as_peer(&stream, text, Z_SYNC_FLUSH);

            assert_int_equal(hub__inflate(box.inflater, payload, true, LARGEST, &box.out), HUB_OK);
            expect_bytes(hub__buffer_str(&box.out), text);
        }
        (void)deflateEnd(&stream);
    }
}

static void a_peer_may_flush_as_it_likes(void **state)
{
    static const int flushes[] = {Z_SYNC_FLUSH, Z_FULL_FLUSH, Z_FINISH};

    (void)state;
    for (size_t i = 0; i < COUNT(flushes); i++) {
        hub_str_t text = fill(WORDS, 40000);

        assert_int_equal(inflate_here(deflate_as_peer(NULL, text, flushes[i]), true, 40000),
                         HUB_OK);
        expect_bytes(hub__buffer_str(&box.out), text);
    }
}

/* The window outlives the end of a stream. */
static void what_ends_a_stream_may_be_referred_back_to(void **state)
{
    (void)state;
    expect_inflated(HUB_STR("\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), "Hello");
    expect_inflated(HUB_STR("\xf2\x00\x11\x00\x00"), "Hello");
}

static void a_message_may_have_as_many_bytes_as_the_limit(void **state)
{
    static const size_t limits[] = {1, 2, 4095, 4096, 4097, 8192, 65536};

    (void)state;
    for (text_kind_t kind = 0; kind < TEXT_KINDS; kind++)
        for (size_t i = 0; i < COUNT(limits); i++) {
            size_t limit = limits[i];

            hub__buffer_dispose(&box.out);
            assert_int_equal(
                inflate_here(deflate_as_peer(NULL, fill(kind, limit), Z_SYNC_FLUSH), true, limit),
                HUB_OK);
            assert_int_equal(box.out.len, limit);
            assert_int_equal(
                inflate_here(deflate_as_peer(NULL, fill(kind, limit + 1), Z_SYNC_FLUSH), true,
                             limit),
                HUB_ETOOLARGE);
            assert_int_equal(box.out.len, limit + 1);
        }
}

/* 16 MiB in 16 KiB. */
static hub_str_t bomb(void)
{
    static char zeros[65536];
    z_stream stream = {0};
    size_t len;

    assert_int_equal(deflateInit2(&stream, 9, Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY), Z_OK);
    stream.next_out = (Bytef *)box.deflated;
    stream.avail_out = sizeof(box.deflated);
    for (size_t i = 0; i < 256; i++) {
        stream.next_in = (const Bytef *)zeros;
        stream.avail_in = sizeof(zeros);
        assert_int_equal(deflate(&stream, i == 255 ? Z_SYNC_FLUSH : Z_NO_FLUSH), Z_OK);
    }
    len = sizeof(box.deflated) - stream.avail_out - 4;
    (void)deflateEnd(&stream);
    return hub_str_n(box.deflated, len);
}

static void a_bomb_makes_no_more_than_the_limit(void **state)
{
    static const size_t limits[] = {1, 1000, 64 * KIB, 1024 * KIB};
    hub_str_t payload = bomb();

    (void)state;
    assert_in_range(payload.len, 15 * KIB, 17 * KIB);
    hub__inflater_destroy(box.inflater);
    box.inflater = NULL;
    for (size_t i = 0; i < COUNT(limits); i++) {
        watch_heap(0);
        box.inflater = hub__inflater_create(15);
        assert_int_equal(inflate_here(payload, false, limits[i]), HUB_ETOOLARGE);
        assert_true(heap.peak <= limits[i] + 64 * KIB);
        hub__inflater_destroy(box.inflater);
        box.inflater = NULL;
        hub__buffer_dispose(&box.out);
        assert_int_equal(heap.live, 0);
        heap.on = false;
    }
}

/* What a connection keeps for a client that may refer back, as its options say. */
static void a_context_takes_eight_kib_and_its_window(void **state)
{
    (void)state;
    for (unsigned bits = 8; bits <= 15; bits++) {
        int64_t account = hub__account.bytes;
        hub__inflater_t *inflater;

        watch_heap(0);
        inflater = hub__inflater_create(bits);
        assert_non_null(inflater);
        assert_int_equal(
            hub__inflate(inflater, HUB_STR("\xf2\x48\xcd\xc9\xc9\x07\x00"), true, 5, &box.out),
            HUB_OK);
        assert_in_range(heap.live - box.out.capacity, (size_t)1 << bits,
                        ((size_t)1 << bits) + 8 * KIB);
        /* but for what malloc rounds up */
        assert_true(llabs(hub__account.bytes - account - (int64_t)(heap.live - box.out.capacity)) <=
                    64);
        hub__inflater_destroy(inflater);
        assert_int_equal(hub__account.bytes, account);
        hub__buffer_dispose(&box.out);
        assert_int_equal(heap.live, 0);
        heap.on = false;
    }
}

static void text_is_checked_while_it_is_made(void **state)
{
    hub_str_t text = fill(SAME, LARGEST);

    (void)state;
    box.text[100] = (char)0xff;
    assert_int_equal(inflate_here(deflate_as_peer(NULL, text, Z_SYNC_FLUSH), true, LARGEST),
                     HUB_EUTF8);
    assert_in_range(box.out.len, 101, 8 * KIB);
    assert_int_equal(inflate_here(deflate_as_peer(NULL, text, Z_SYNC_FLUSH), false, LARGEST),
                     HUB_OK);
    assert_int_equal(
        inflate_here(deflate_as_peer(NULL, HUB_STR("cut \xe2\x82"), Z_SYNC_FLUSH), true, LARGEST),
        HUB_EUTF8);
    assert_int_equal(
        inflate_here(deflate_as_peer(NULL, HUB_STR("\xe2\x82\xac"), Z_SYNC_FLUSH), true, LARGEST),
        HUB_OK);
}

/* A character that begins in one step of the output and ends in the next. */
static void a_character_may_lie_across_steps(void **state)
{
    (void)state;
    for (size_t at = 4093; at < 4099; at++) {
        hub_str_t text = fill(SAME, 5000);

        memcpy(box.text + at, "\xe2\x82\xac", 3);
        hub__buffer_dispose(&box.out);
        assert_int_equal(inflate_here(deflate_as_peer(NULL, text, Z_SYNC_FLUSH), true, 5000),
                         HUB_OK);
    }
}

static void what_is_cut_off_is_bad(void **state)
{
    hub_str_t payload = deflate_as_peer(NULL, fill(WORDS, 3000), Z_SYNC_FLUSH);

    (void)state;
    for (size_t len = 0; len < payload.len; len++)
        assert_int_equal(inflate_here(hub_str_n(payload.base, len), false, LARGEST), HUB_ESYNTAX);
    assert_int_equal(inflate_here(payload, false, LARGEST), HUB_OK);
}

static void what_has_more_behind_it_is_bad(void **state)
{
    (void)state;
    assert_int_equal(inflate_here(HUB_STR("\xf2\x48\xcd\xc9\xc9\x07\x00\xff"), false, LARGEST),
                     HUB_ESYNTAX);
    /* the end of a stream, but not of a byte behind it */
    assert_int_equal(inflate_here(HUB_STR("\xf3\x48\xcd\xc9\xc9\x07\x00"), false, LARGEST),
                     HUB_ESYNTAX);
}

static void a_window_smaller_than_agreed_on_is_found_out(void **state)
{
    hub_str_t text = fill(DISTANT, 30000);

    (void)state;
    hub__inflater_destroy(box.inflater);
    box.inflater = hub__inflater_create(9);
    assert_int_equal(hub__inflate(box.inflater, deflate_as_peer(NULL, text, Z_SYNC_FLUSH), true,
                                  LARGEST, &box.out),
                     HUB_ESYNTAX);
}

static void garbage_ends_in_some_error_and_within_the_limit(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 20000; i++) {
        size_t len = next_random() % 64;
        hub_status_t err;

        for (size_t b = 0; b < len; b++)
            box.deflated[b] = (char)next_random();
        err = inflate_here(hub_str_n(box.deflated, len), (i & 1) != 0, 1000);
        assert_true(err == HUB_OK || err == HUB_ESYNTAX || err == HUB_EUTF8 ||
                    err == HUB_ETOOLARGE);
        assert_true(box.out.len <= 1001);
    }
    assert_int_equal(inflate_here(HUB_STR("\xf2\x48\xcd\xc9\xc9\x07\x00"), true, 5), HUB_OK);
}

static void a_spoilt_message_is_never_read_past_its_end(void **state)
{
    hub_str_t payload = deflate_as_peer(NULL, fill(WORDS, 500), Z_SYNC_FLUSH);

    (void)state;
    for (size_t at = 0; at < payload.len * 8; at++) {
        char *copy = malloc(payload.len); /* its end is watched */

        memcpy(copy, payload.base, payload.len);
        copy[at / 8] = (char)(copy[at / 8] ^ 1 << at % 8);
        (void)inflate_here(hub_str_n(copy, payload.len), false, 1000);
        free(copy);
    }
}

/* ---- without memory ---- */

/* Each allocation fails in turn, until none does. */
static void deflating_without_memory_leaves_the_message_as_it_is(void **state)
{
    hub_str_t text = fill(WORDS, 4000);
    size_t len = 0;

    (void)state;
    for (unsigned fail_at = 1; len == 0; fail_at++) {
        assert_in_range(fail_at, 1, 20);
        watch_heap(fail_at);
        len = hub__deflate(&box.deflater, HUB__WINDOW_15, 6, text, box.deflated);
        hub__deflater_dispose(&box.deflater);
        assert_int_equal(heap.live, 0);
        heap.on = false;
    }
    expect_bytes(hub_str_n(box.inflated, inflate_strictly(15, hub_str_n(box.deflated, len))), text);
}

static void inflating_without_memory_says_so(void **state)
{
    hub_str_t text = fill(WORDS, 40000), payload = deflate_as_peer(NULL, text, Z_SYNC_FLUSH);
    hub_status_t err = HUB_ENOMEM;

    (void)state;
    for (unsigned fail_at = 1; err != HUB_OK; fail_at++) {
        hub__inflater_t *inflater;

        assert_in_range(fail_at, 1, 20);
        watch_heap(fail_at);
        inflater = hub__inflater_create(15);
        err = HUB_ENOMEM;
        if (inflater != NULL)
            err = hub__inflate(inflater, payload, true, LARGEST, &box.out);
        assert_true(err == HUB_OK || err == HUB_ENOMEM);
        hub__inflater_destroy(inflater);
        if (err != HUB_OK)
            hub__buffer_dispose(&box.out);
        assert_int_equal(heap.live, err == HUB_OK ? malloc_usable_size(box.out.base) : 0);
        heap.on = false;
    }
    expect_bytes(hub__buffer_str(&box.out), text);
}

/* ---- in frames ---- */

/* "Hello" in two fragments with a ping between (RFC 7692 7.2.3.1), as a client masks them. */
static size_t hello_frames(char *bytes)
{
    static const char frames[] = "\x41\x83\0\0\0\0\xf2\x48\xcd"
                                 "\x89\x82\0\0\0\0hi"
                                 "\x80\x84\0\0\0\0\xc9\xc9\x07\x00";

    memcpy(bytes, frames, sizeof(frames) - 1);
    return sizeof(frames) - 1;
}

static void expect_hello(size_t cut)
{
    const hub__frame_limits_t limits = {.message_bytes = 5, .fragments = 2, .allow_rsv1 = true};
    hub__frame_reader_t reader = {0};
    char bytes[64];
    size_t len = hello_frames(bytes), messages = 0;
    char *at[] = {bytes, bytes + cut};
    size_t left[] = {cut, len - cut};

    for (size_t i = 0; i < COUNT(at); i++) {
        hub__frame_event_t event;

        while (hub__frame_read(&reader, &limits, &at[i], &left[i], &event),
               event.kind != HUB__FRAME_NEED_MORE) {
            assert_int_not_equal(event.kind, HUB__FRAME_ERROR);
            if (event.kind != HUB__FRAME_MESSAGE)
                continue;
            assert_true(event.compressed);
            assert_int_equal(inflate_here(event.payload, true, 5), HUB_OK);
            expect_bytes(hub__buffer_str(&box.out), HUB_STR("Hello"));
            ++messages;
        }
    }
    assert_int_equal(messages, 1);
    hub__frame_reader_dispose(&reader);
}

static void frames_may_be_cut_anywhere(void **state)
{
    char bytes[64];
    size_t len = hello_frames(bytes);

    (void)state;
    for (size_t cut = 0; cut <= len; cut++)
        expect_hello(cut);
}

/* What has no pattern grows, so what is gathered may be longer than the message; but not by much.
 */
static void a_compressed_message_may_be_longer_than_the_limit_by_an_eighth(void **state)
{
    const hub__frame_limits_t limits = {.message_bytes = 800, .fragments = 2, .allow_rsv1 = true};
    static const struct {
        const char *header;
        hub__frame_event_kind_t kind;
    } rows[] = {
        {"\xc2\xfe\x03\xc4\0\0\0\0", HUB__FRAME_NEED_MORE}, /* 800 + 100 + 64 */
        {"\xc2\xfe\x03\xc5\0\0\0\0", HUB__FRAME_ERROR},
        {"\x82\xfe\x03\x20\0\0\0\0", HUB__FRAME_NEED_MORE},
        {"\x82\xfe\x03\x21\0\0\0\0", HUB__FRAME_ERROR},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        hub__frame_reader_t reader = {0};
        hub__frame_event_t event;
        char header[8], *at = header;
        size_t left = sizeof(header);

        memcpy(header, rows[i].header, sizeof(header));
        hub__frame_read(&reader, &limits, &at, &left, &event);
        assert_int_equal(event.kind, rows[i].kind);
        hub__frame_reader_dispose(&reader);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest cases[] = {
        CASE(every_window_is_kept_to),
        CASE(a_larger_window_finds_more),
        CASE(what_would_not_be_shorter_stays_as_it_is),
        CASE(a_message_is_the_same_whatever_went_before),
        CASE(messages_fit_into_any_context),
        CASE(the_examples_of_the_rfc_are_read),
        CASE(a_peer_may_refer_back_within_its_window),
        CASE(a_peer_may_flush_as_it_likes),
        CASE(what_ends_a_stream_may_be_referred_back_to),
        CASE(a_message_may_have_as_many_bytes_as_the_limit),
        CASE(a_bomb_makes_no_more_than_the_limit),
        CASE(a_context_takes_eight_kib_and_its_window),
        CASE(text_is_checked_while_it_is_made),
        CASE(a_character_may_lie_across_steps),
        CASE(what_is_cut_off_is_bad),
        CASE(what_has_more_behind_it_is_bad),
        CASE(a_window_smaller_than_agreed_on_is_found_out),
        CASE(garbage_ends_in_some_error_and_within_the_limit),
        CASE(a_spoilt_message_is_never_read_past_its_end),
        CASE(deflating_without_memory_leaves_the_message_as_it_is),
        CASE(inflating_without_memory_says_so),
        CASE(frames_may_be_cut_anywhere),
        CASE(a_compressed_message_may_be_longer_than_the_limit_by_an_eighth),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
