/* SPDX-License-Identifier: MIT */
/* What does framing cost? Unmasking in GB/s by size against memcpy() of the same bytes, and
 * nanoseconds for reading a frame: of nothing but a header, and of a small text, which is unmasked
 * and proven to be UTF-8 as well; and for writing a header.
 *
 * Every unmasked byte and every event is checked against what was masked. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/report.h"
#include "bench/rounds.h"
#include "hub/frame.h"

#define FRAMES 64u /* in one chunk */
#define MASK 0x5aa5c396u
#define HEADER_BYTES 8u /* masked, of up to 65,535 bytes */
#define TEXT_BYTES 128u

static const size_t sizes[] = {16, 128, 1024, 16384, 65536};
#define SIZES (sizeof(sizes) / sizeof(*sizes))

/* ---- unmasking ---- */

typedef struct masked {
    char *bytes, *copy;
    size_t len;
} masked_t;

/* Twice is not at all. */
static void unmask(void *user)
{
    masked_t *masked = user;

    hub__frame_unmask(masked->bytes, masked->len, MASK, 0);
}

static void copy(void *user)
{
    masked_t *masked = user;

    memcpy(masked->copy, masked->bytes, masked->len);
    if (masked->copy[masked->len - 1] != masked->bytes[masked->len - 1])
        bench_fail("not copied");
}

/* Byte by byte, as RFC 6455 5.3 has it, from each phase. */
static void check_unmask(masked_t *masked)
{
    const uint32_t key = MASK;

    for (unsigned phase = 0; phase != 4; ++phase) {
        memset(masked->bytes, 0x77, masked->len);
        hub__frame_unmask(masked->bytes, masked->len, key, phase);
        for (size_t i = 0; i != masked->len; ++i)
            if (masked->bytes[i] != (0x77 ^ ((const char *)&key)[(i + phase) % 4]))
                bench_fail("byte %zu of %zu is not unmasked, from phase %u", i, masked->len, phase);
    }
}

static void compare_unmask(report_t *report, size_t size, double seconds)
{
    static char names[SIZES][3][40];
    masked_t masked = {.bytes = malloc(size), .copy = malloc(size), .len = size};
    contender_t contenders[] = {{.once = unmask, .user = &masked, .ops = size},
                                {.once = copy, .user = &masked, .ops = size}};
    size_t row = 0;

    if (masked.bytes == NULL || masked.copy == NULL)
        bench_fail("out of memory");
    while (sizes[row] != size)
        ++row;
    check_unmask(&masked);
    rounds_take(contenders, 2, seconds);
    snprintf(names[row][0], sizeof(names[row][0]), "unmask_%zu_gb_per_s", size);
    snprintf(names[row][1], sizeof(names[row][1]), "memcpy_%zu_gb_per_s", size);
    snprintf(names[row][2], sizeof(names[row][2]), "unmask_of_memcpy_%zu", size);
    report_add(report, names[row][0], 1 / contenders[0].ns);
    report_add(report, names[row][1], 1 / contenders[1].ns);
    report_add(report, names[row][2], contenders[1].ns / contenders[0].ns);
    free(masked.bytes);
    free(masked.copy);
}

/* ---- frames ---- */

/* A chunk of equal frames under a key of zero, so that reading leaves it as it was. */
typedef struct chunk {
    char bytes[FRAMES * (HEADER_BYTES + TEXT_BYTES)];
    size_t len, payload_bytes;
    bool binary;
} chunk_t;

static void chunk_init(chunk_t *chunk, bool binary, size_t payload_bytes)
{
    char header[HUB__FRAME_HEADER_MAX];
    size_t len = hub__frame_header(
        header, HUB__FRAME_FIN | (unsigned)(binary ? HUB__OP_BINARY : HUB__OP_TEXT), payload_bytes);
    char *at = chunk->bytes;

    header[1] = (char)(header[1] | 0x80); /* a client's */
    for (unsigned i = 0; i != FRAMES; ++i) {
        memcpy(at, header, len);
        memset(at + len, 0, 4);
        memset(at + len + 4, 'x', payload_bytes);
        at += len + 4 + payload_bytes;
    }
    chunk->len = (size_t)(at - chunk->bytes);
    chunk->payload_bytes = payload_bytes;
    chunk->binary = binary;
}

static void read_chunk(void *user)
{
    static const hub__frame_limits_t limits = {.message_bytes = 65536, .fragments = 64};
    chunk_t *chunk = user;
    hub__frame_reader_t reader = {0};
    hub__frame_event_t event;
    char *at = chunk->bytes;
    size_t left = chunk->len;
    unsigned messages = 0;

    for (;;) {
        hub__frame_read(&reader, &limits, &at, &left, &event);
        if (event.kind != HUB__FRAME_MESSAGE)
            break;
        if (event.payload.len != chunk->payload_bytes || event.binary != chunk->binary)
            bench_fail("a frame was read as something else");
        ++messages;
    }
    if (event.kind != HUB__FRAME_NEED_MORE || messages != FRAMES)
        bench_fail("%u frames were read of %u", messages, FRAMES);
}

static void write_headers(void *user)
{
    volatile size_t *payload_bytes = user; /* as little known as it is to a fan-out */

    for (unsigned i = 0; i != FRAMES; ++i) {
        char header[HUB__FRAME_HEADER_MAX];
        size_t len = hub__frame_header(header, HUB__FRAME_FIN | HUB__OP_TEXT, *payload_bytes);

        if (len != 4)
            bench_fail("a header of %zu bytes", len);
    }
}

static void compare_frames(report_t *report, double seconds)
{
    static chunk_t empty, text;
    size_t payload_bytes = 200;
    contender_t contenders[] = {{.once = read_chunk, .user = &empty, .ops = FRAMES},
                                {.once = read_chunk, .user = &text, .ops = FRAMES},
                                {.once = write_headers, .user = &payload_bytes, .ops = FRAMES}};

    chunk_init(&empty, true, 0);
    chunk_init(&text, false, TEXT_BYTES);
    rounds_take(contenders, 3, seconds);
    report_add(report, "read_header_ns", contenders[0].ns);
    report_add(report, "read_text_128_ns", contenders[1].ns);
    report_add(report, "write_header_ns", contenders[2].ns);
}

int main(int argc, char **argv)
{
    unsigned long seconds = 3, runs = 5;
    const report_option_t options[] = {
        {"seconds", "of each run", &seconds, 1, 3600, NULL, NULL},
        {"runs", "measured one after another", &runs, 1, REPORT_RUNS_MAX, NULL, NULL},
        {NULL, NULL, NULL, 0, 0, NULL, NULL}};
    report_t *report = report_open("frame", argc, argv, options);

    bench_pin(1);
    for (unsigned long run = 0; run != runs; ++run) {
        for (size_t i = 0; i != SIZES; ++i)
            compare_unmask(report, sizes[i], (double)seconds / (SIZES + 1));
        compare_frames(report, (double)seconds / (SIZES + 1));
    }
    report_print(report);
    report_close(report);
    return EXIT_SUCCESS;
}
