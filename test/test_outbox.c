/* SPDX-License-Identifier: MIT */
/* Frames that wait, as ranges of shared runs: what extends, what a write takes, what is kept when a
 * queue is dropped. Bytes and frame borders are the promise; a flat copy of both is what the random
 * histories are checked against. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "bus/buffer.h"
#include "hub/frame.h"
#include "hub/outbox.h"

/* ---- runs and what is in an outbox ---- */

/* Appends one frame whose payload is `len` bytes of `fill`. */
static void put_frame(hub__run_t *run, char fill, size_t len)
{
    char header[HUB__FRAME_HEADER_MAX];
    size_t header_len = hub__frame_header(header, HUB__FRAME_FIN | HUB__OP_TEXT, len);
    char *at = hub__run_reserve(run, header_len + len);

    assert_non_null(at);
    memcpy(at, header, header_len);
    memset(at + header_len, fill, len);
    run->len += (uint32_t)(header_len + len);
    run->messages++;
}

/* A run of frames of 8 bytes each: header 2, payload 6. */
static hub__run_t *run_of(const char *fills)
{
    hub__run_t *run = hub__run_create(0);

    assert_non_null(run);
    for (; *fills != '\0'; ++fills)
        put_frame(run, *fills, 6);
    return run;
}

static void append(hub__outbox_t *outbox, hub__run_t *run, uint32_t start, uint32_t end,
                   uint32_t messages, uint32_t tag)
{
    assert_int_equal(hub__outbox_append(outbox, run, start, end, messages, tag), HUB_OK);
}

/* All of a run, which the outbox then is the only one to hold. */
static void append_all(hub__outbox_t *outbox, hub__run_t *run)
{
    append(outbox, run, 0, run->len, run->messages, 0);
    hub__run_release(run);
}

static hub_str_t bytes_of(const hub__outbox_t *outbox)
{
    static char bytes[256 * 1024];
    struct iovec iovecs[512];
    size_t count = hub__outbox_iovecs(outbox, iovecs, 512), len = 0;

    assert_int_equal(count, hub__outbox_len(outbox));
    for (size_t i = 0; i != count; ++i) {
        assert_true(len + iovecs[i].iov_len <= sizeof(bytes));
        memcpy(bytes + len, iovecs[i].iov_base, iovecs[i].iov_len);
        len += iovecs[i].iov_len;
    }
    assert_int_equal(len, hub__outbox_bytes(outbox));
    return hub_str_n(bytes, len);
}

/* The first byte of each payload, a dot for what is left of a frame that was begun. */
static const char *frames_of(const hub__outbox_t *outbox, size_t rest)
{
    static char text[512];
    hub_str_t bytes = bytes_of(outbox);
    size_t at = rest, count = 0, payload;

    if (rest != 0)
        text[count++] = '.';
    while (at < bytes.len) {
        size_t header = hub__frame_split(bytes.base + at, &payload);

        text[count++] = bytes.base[at + header];
        at += header + payload;
    }
    assert_int_equal(at, bytes.len);
    text[count] = '\0';
    return text;
}

/* Notes by their events, as they are told. */
static char told[64];

static void on_note(const hub_message_t *note, void *user)
{
    assert_ptr_equal(user, told);
    strncat(told, note->event.base, note->event.len);
}

static hub__run_t *noted(char fill)
{
    hub__run_t *run = run_of((char[]){fill, '\0'});

    assert_int_equal(hub_message_create(HUB_STR("t"), hub_str_n(&fill, 1), HUB_JSON("1"), NULL,
                                        &run->note, NULL),
                     HUB_OK);
    return run;
}

static int set_up(void **state)
{
    *state = calloc(1, sizeof(hub__outbox_t));
    told[0] = '\0';
    return *state == NULL;
}

static int tear_down(void **state)
{
    hub__outbox_dispose(*state, NULL, NULL);
    free(*state);
    return 0;
}

/* ---- runs ---- */

static void a_run_grows_where_it_is_asked_to(void **state)
{
    hub__run_t *run = hub__run_create(10);

    (void)state;
    assert_true(run->capacity >= 10);
    memcpy(run->base, "0123456789", 10);
    run->len = 10;
    assert_non_null(hub__run_reserve(run, 1000));
    assert_true(run->capacity >= 1010);
    assert_memory_equal(run->base, "0123456789", 10);
    assert_ptr_equal(hub__run_reserve(run, 0), run->base + 10);
    hub__run_release(run);
    hub__run_release(NULL);
}

static void a_run_has_an_end(void **state)
{
    hub__run_t *run = hub__run_create(0);

    (void)state;
    assert_null(hub__run_reserve(run, UINT32_MAX));
    assert_null(hub__run_reserve(run, (size_t)UINT32_MAX / 2 + 1));
    assert_null(hub__run_create((size_t)UINT32_MAX / 2 + 1));
    assert_int_equal(run->len, 0);
    hub__run_release(run);
}

/* ---- appending ---- */

static void a_range_that_goes_on_is_extended_in_place(void **state)
{
    hub__outbox_t *outbox = *state;
    hub__run_t *run = run_of("abcd");

    append(outbox, run, 0, 8, 1, 7);
    append(outbox, run, 8, 24, 2, 7);
    assert_int_equal(hub__outbox_len(outbox), 1);
    assert_int_equal(hub__outbox_messages(outbox), 3);
    assert_int_equal(run->refs, 2);
    append(outbox, run, 24, 32, 1, 0); /* of another topic */
    assert_int_equal(hub__outbox_len(outbox), 2);
    assert_int_equal(run->refs, 3);
    assert_string_equal(frames_of(outbox, 0), "abcd");
    hub__run_release(run);
}

static void a_range_with_a_hole_before_it_stands_alone(void **state)
{
    hub__outbox_t *outbox = *state;
    hub__run_t *run = run_of("abcd"), *other = run_of("xyzw");

    append(outbox, run, 0, 8, 1, 7);
    append(outbox, run, 16, 24, 1, 7);
    append(outbox, other, 24, 32, 1, 7); /* the same place in another run */
    assert_int_equal(hub__outbox_len(outbox), 3);
    assert_string_equal(frames_of(outbox, 0), "acw");
    hub__run_release(run);
    hub__run_release(other);
}

static void an_open_run_may_move_under_its_ranges(void **state)
{
    hub__outbox_t *outbox = *state;
    hub__run_t *run = run_of("a");

    append(outbox, run, 0, 8, 1, 0);
    put_frame(run, 'b', 20000);
    append(outbox, run, 8, run->len, 1, 0);
    assert_int_equal(hub__outbox_len(outbox), 1);
    assert_string_equal(frames_of(outbox, 0), "ab");
    hub__run_release(run);
}

static void append_ten(hub__outbox_t *outbox, char first)
{
    for (char fill = first; fill != first + 10; ++fill)
        append_all(outbox, run_of((char[]){fill, '\0'}));
}

static void the_ring_grows_and_turns_around(void **state)
{
    hub__outbox_t *outbox = *state;

    append_ten(outbox, 'a');
    assert_string_equal(frames_of(outbox, 0), "abcdefghij");
    hub__outbox_consume(outbox, 7 * 8, NULL, NULL);
    append_ten(outbox, 'A'); /* the ring of 16 wraps */
    assert_int_equal(outbox->one.ring->capacity, 16);
    assert_string_equal(frames_of(outbox, 0), "hijABCDEFGHIJ");
    append_ten(outbox, '0'); /* and grows while it is wrapped */
    assert_int_equal(outbox->one.ring->capacity, 32);
    assert_string_equal(frames_of(outbox, 0), "hijABCDEFGHIJ0123456789");
    assert_int_equal(hub__outbox_messages(outbox), 23);
}

static void an_empty_outbox_owns_nothing(void **state)
{
    hub__outbox_t *outbox = *state;

    append_ten(outbox, 'a');
    hub__outbox_consume(outbox, hub__outbox_bytes(outbox), NULL, NULL);
    assert_true(hub__outbox_is_empty(outbox));
    assert_int_equal(hub__outbox_len(outbox), 0);
    assert_int_equal(hub__outbox_messages(outbox), 0);
    append_all(outbox, run_of("z"));
    assert_int_not_equal(outbox->one.end, 0); /* no ring any more */
    assert_string_equal(frames_of(outbox, 0), "z");
}

static void iovecs_are_at_most_as_many_as_asked_for(void **state)
{
    hub__outbox_t *outbox = *state;
    struct iovec iovecs[3] = {{NULL, 0}, {NULL, 0}, {NULL, 99}};

    assert_int_equal(hub__outbox_iovecs(outbox, iovecs, 2), 0);
    append_ten(outbox, 'a');
    assert_int_equal(hub__outbox_iovecs(outbox, iovecs, 2), 2);
    assert_int_equal(iovecs[1].iov_len, 8);
    assert_int_equal(iovecs[2].iov_len, 99);
    assert_int_equal(hub__outbox_iovecs(outbox, iovecs, 0), 0);
}

/* ---- taking off ---- */

static void consume_at(hub__outbox_t *outbox, size_t cut)
{
    hub__run_t *run = run_of("abc");
    char whole[48];

    append(outbox, run, 0, 24, 3, 0);
    append_all(outbox, run_of("xyz"));
    memcpy(whole, bytes_of(outbox).base, 48);
    hub__outbox_consume(outbox, cut, NULL, NULL);
    assert_int_equal(hub__outbox_bytes(outbox), 48 - cut);
    assert_memory_equal(bytes_of(outbox).base, whole + cut, 48 - cut);
    assert_int_equal(run->refs, cut < 24 ? 2 : 1);
    assert_int_equal(hub__outbox_messages(outbox), 6 - cut / 8);
    hub__outbox_consume(outbox, 48 - cut, NULL, NULL);
    assert_int_equal(hub__outbox_len(outbox), 0);
    hub__run_release(run);
}

static void a_write_may_end_anywhere(void **state)
{
    for (size_t cut = 0; cut <= 48; ++cut)
        consume_at(*state, cut);
}

static void a_control_frame_is_no_message(void **state)
{
    hub__outbox_t *outbox = *state;
    hub__run_t *run = run_of("abc");

    run->base[8] = (char)(HUB__FRAME_FIN | HUB__OP_PONG);
    append(outbox, run, 0, 8, 1, 0);
    append(outbox, run, 8, 16, 0, 0);
    append(outbox, run, 16, 24, 1, 0);
    hub__run_release(run);
    hub__outbox_consume(outbox, 5, NULL, NULL);
    assert_int_equal(hub__outbox_messages(outbox), 2);
    hub__outbox_consume(outbox, 5, NULL, NULL);
    assert_int_equal(hub__outbox_messages(outbox), 1);
    assert_int_equal(hub__outbox_trim(outbox, NULL, NULL), 1); /* the pong has begun */
    assert_int_equal(hub__outbox_messages(outbox), 0);
    assert_int_equal(hub__outbox_bytes(outbox), 6);
}

static void of_a_message_in_fragments_the_last_one_counts(void **state)
{
    hub__outbox_t *outbox = *state;
    hub__run_t *run = run_of("abc");

    run->base[0] = HUB__OP_TEXT;
    run->base[8] = HUB__OP_CONTINUATION;
    run->base[16] = (char)(HUB__FRAME_FIN | HUB__OP_CONTINUATION);
    append(outbox, run, 0, 24, 1, 0);
    hub__run_release(run);
    hub__outbox_consume(outbox, 5, NULL, NULL);
    assert_int_equal(hub__outbox_messages(outbox), 1);
    hub__outbox_consume(outbox, 5, NULL, NULL);
    assert_int_equal(hub__outbox_messages(outbox), 1);
    /* behind a message without its end there is still a close frame (RFC 6455, 5.4) */
    assert_int_equal(hub__outbox_trim(outbox, NULL, NULL), 1);
    assert_int_equal(hub__outbox_messages(outbox), 0);
    assert_int_equal(hub__outbox_bytes(outbox), 6);
}

static void a_note_is_told_when_its_last_byte_has_left(void **state)
{
    hub__outbox_t *outbox = *state;

    append_all(outbox, noted('a'));
    append_all(outbox, run_of("-"));
    append_all(outbox, noted('b'));
    append_all(outbox, noted('c'));
    hub__outbox_consume(outbox, 7, on_note, told);
    assert_string_equal(told, "");
    hub__outbox_consume(outbox, 1, on_note, told);
    assert_string_equal(told, "a");
    hub__outbox_consume(outbox, 20, on_note, told);
    assert_string_equal(told, "ab");
    hub__outbox_dispose(outbox, on_note, told);
    assert_string_equal(told, "abc");
}

/* ---- compacting ---- */

static void compact_at(hub__outbox_t *outbox, uint32_t start, uint32_t end, size_t cut)
{
    hub__run_t *run = run_of("abcdefghijklmnop");
    char left[128];
    size_t len;

    append(outbox, run, start, end, (end - start) / 8, 5);
    hub__outbox_consume(outbox, cut, NULL, NULL);
    len = hub__outbox_bytes(outbox);
    memcpy(left, bytes_of(outbox).base, len);
    hub__outbox_compact(outbox);
    assert_int_equal(bytes_of(outbox).len, len);
    assert_memory_equal(bytes_of(outbox).base, left, len);
    assert_int_equal(run->refs, len < run->capacity / 2 ? 1 : 2);
    assert_int_equal(hub__outbox_at(outbox, 0)->tag, 5);
    /* frames can still be told apart: what was begun is kept, the rest goes */
    (void)hub__outbox_trim(outbox, NULL, NULL);
    assert_int_equal(hub__outbox_bytes(outbox), cut % 8 == 0 ? 0 : 8 - cut % 8);
    assert_memory_equal(bytes_of(outbox).base, left, hub__outbox_bytes(outbox));
    hub__outbox_dispose(outbox, NULL, NULL);
    hub__run_release(run);
}

static void what_stays_does_not_pin_a_large_run(void **state)
{
    for (uint32_t start = 0; start != 128; start += 8)
        for (uint32_t end = start + 8; end <= 128; end += 8)
            for (size_t cut = 0; cut != 10 && cut < end - start; ++cut)
                compact_at(*state, start, end, cut);
}

static void a_run_with_a_note_stays_where_it_is(void **state)
{
    hub__outbox_t *outbox = *state;
    hub__run_t *run = noted('a');

    (void)hub__run_reserve(run, 1000);
    append_all(outbox, run);
    hub__outbox_compact(outbox);
    assert_ptr_equal(hub__outbox_at(outbox, 0)->run, run);
    hub__outbox_consume(outbox, 8, on_note, told);
    assert_string_equal(told, "a");
}

/* A frame of a run that others hold as well, and that is much larger. */
static void append_piece(hub__outbox_t *outbox, hub__run_t *shared, size_t index)
{
    append(outbox, shared, (uint32_t)index * 8, (uint32_t)index * 8 + 8, 1, 0);
}

static void small_pieces_of_large_runs_gather_in_one(void **state)
{
    hub__outbox_t *outbox = *state;
    hub__run_t *first = run_of("abcdefghijklmnop"), *second = run_of("ABCDEFGHIJKLMNOP");

    (void)hub__run_reserve(first, 1000);
    (void)hub__run_reserve(second, 1000);
    append_piece(outbox, first, 1);
    append_piece(outbox, second, 2);
    append_piece(outbox, first, 7);
    hub__outbox_consume(outbox, 3, NULL, NULL);
    hub__outbox_compact(outbox);
    assert_int_equal(hub__outbox_len(outbox), 1);
    assert_int_equal(hub__outbox_messages(outbox), 3);
    assert_int_equal(first->refs, 1);
    assert_int_equal(second->refs, 1);
    assert_string_equal(frames_of(outbox, 5), ".Ch");
    append_piece(outbox, second, 3); /* what comes later gathers behind it */
    hub__outbox_compact(outbox);
    assert_int_equal(hub__outbox_len(outbox), 1);
    hub__outbox_consume(outbox, 5, NULL, NULL);
    assert_string_equal(frames_of(outbox, 0), "ChD");
    assert_int_equal(hub__outbox_trim(outbox, NULL, NULL), 3);
    hub__run_release(first);
    hub__run_release(second);
}

static void pieces_gather_only_behind_the_end_of_a_run_of_their_own(void **state)
{
    hub__outbox_t *outbox = *state;
    hub__run_t *large = run_of("abcdefghijklmnop"), *shared = run_of("vwxyz"), *cut = run_of("yz");

    (void)hub__run_reserve(large, 1000);
    append_all(outbox, noted('n'));
    append_piece(outbox, large, 0);
    append(outbox, shared, 0, 40, 5, 0);
    append_piece(outbox, large, 2);
    append(outbox, cut, 0, 8, 1, 0);
    hub__run_release(cut); /* ours alone, but it goes on behind the range */
    append_piece(outbox, large, 4);
    hub__outbox_compact(outbox);
    assert_string_equal(frames_of(outbox, 0), "navwxyzcye");
    assert_ptr_equal(hub__outbox_at(outbox, 2)->run, shared);
    assert_int_equal(shared->len, 40);
    assert_int_equal(large->refs, 1);
    hub__run_release(large);
    hub__run_release(shared);
}

/* What gathers counts as old as the first of it, so it must be of about one age. */
static void pieces_of_different_ages_do_not_gather(void **state)
{
    hub__outbox_t *outbox = *state;
    hub__run_t *runs[] = {run_of("abcdefghijklmnop"), run_of("ABCDEFGHIJKLMNOP"),
                          run_of("qrstuvwxyzabcdef")};
    const uint32_t ages[] = {UINT32_MAX - 400, 600, 601};

    for (unsigned i = 0; i != 3; ++i) {
        (void)hub__run_reserve(runs[i], 1000);
        hub__run_stamp(runs[i], ages[i]);
        append_piece(outbox, runs[i], 0);
    }
    hub__outbox_compact(outbox);
    assert_string_equal(frames_of(outbox, 0), "aAq");
    assert_int_equal(hub__outbox_len(outbox), 2);
    assert_int_equal(hub__outbox_since(outbox), UINT32_MAX - 400);
    hub__outbox_consume(outbox, 8, NULL, NULL);
    assert_int_equal(hub__outbox_since(outbox), 600);
    for (unsigned i = 0; i != 3; ++i)
        hub__run_release(runs[i]);
}

static void the_first_queueing_is_what_counts(void **state)
{
    hub__run_t *run = run_of("a");

    (void)state;
    hub__run_stamp(run, UINT64_C(1) << 32); /* low bits of zero would mean: never */
    assert_int_equal(run->queued_ms, 1);
    hub__run_stamp(run, 77);
    assert_int_equal(run->queued_ms, 1);
    hub__run_release(run);
}

static void what_has_gathered_has_a_size(void **state)
{
    hub__outbox_t *outbox = *state;
    hub__run_t *large = hub__run_create(1024 * 1024);

    for (unsigned i = 0; i != 8; ++i) {
        put_frame(large, (char)('a' + i), 20000);
        append(outbox, large, large->len - 20004, large->len, 1, i % 2);
        hub__outbox_compact(outbox);
    }
    assert_string_equal(frames_of(outbox, 0), "abcdefgh");
    assert_int_equal(hub__outbox_len(outbox),
                     2); /* four to a run, the last of which passes 64 KiB */
    assert_int_equal(large->refs, 1);
    hub__run_release(large);
}

/* ---- dropping ---- */

static void trim_at(hub__outbox_t *outbox, size_t cut)
{
    append_all(outbox, run_of("abc"));
    append_all(outbox, run_of("xyz"));
    hub__outbox_consume(outbox, cut, NULL, NULL);
    assert_int_equal(hub__outbox_trim(outbox, NULL, NULL), (48 - cut) / 8);
    assert_int_equal(hub__outbox_bytes(outbox), cut % 8 == 0 ? 0 : 8 - cut % 8);
    assert_int_equal(hub__outbox_messages(outbox), cut % 8 == 0 ? 0 : 1);
    append_all(outbox, run_of("!"));
    assert_string_equal(frames_of(outbox, cut % 8 == 0 ? 0 : 8 - cut % 8),
                        cut % 8 == 0 ? "!" : ".!");
    hub__outbox_dispose(outbox, NULL, NULL);
}

static void a_frame_that_has_begun_is_not_dropped(void **state)
{
    for (size_t cut = 0; cut != 48; ++cut)
        trim_at(*state, cut);
    assert_int_equal(hub__outbox_trim(*state, NULL, NULL), 0);
}

static void what_is_dropped_is_told(void **state)
{
    hub__outbox_t *outbox = *state;

    append_all(outbox, noted('a'));
    append_all(outbox, run_of("-"));
    append_all(outbox, noted('b'));
    append_all(outbox, noted('c'));
    assert_int_equal(hub__outbox_trim(outbox, on_note, told), 4);
    assert_string_equal(told, "abc");
    assert_int_equal(hub__outbox_len(outbox), 0);
}

static void what_is_dropped_behind_a_begun_frame_is_told_and_that_one_when_it_has_left(void **state)
{
    hub__outbox_t *outbox = *state;

    append_all(outbox, noted('a'));
    append_all(outbox, noted('b'));
    append_all(outbox, noted('c'));
    hub__outbox_consume(outbox, 3, on_note, told);
    assert_int_equal(hub__outbox_trim(outbox, on_note, told), 2);
    assert_string_equal(told, "bc");
    hub__outbox_consume(outbox, 5, on_note, told);
    assert_string_equal(told, "bca");
}

/* ---- random histories ---- */

#define RUNS 4
#define FRAMES_MAX 4096

/* The same history as flat bytes, and where each frame begins. */
typedef struct model {
    hub__outbox_t outbox;
    hub__run_t *runs[RUNS];
    hub__buffer_t bytes;
    size_t taken;              /* of them have left */
    size_t begins[FRAMES_MAX]; /* of frames that have not left whole */
    size_t frames;
} model_t;

static uint32_t next_random(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

static void append_some(model_t *model, uint32_t *seed)
{
    hub__run_t **run = &model->runs[next_random(seed) % RUNS];
    uint32_t start = (*run)->len;

    for (uint32_t count = 1 + next_random(seed) % 3; count > 0; --count) {
        size_t len =
            next_random(seed) % 5 == 0 ? 126 + next_random(seed) % 200 : next_random(seed) % 20;

        model->begins[model->frames++] = model->bytes.len + ((*run)->len - start);
        put_frame(*run, (char)('a' + next_random(seed) % 26), len);
        if (next_random(seed) % 4 == 0) { /* what comes next has a hole before it */
            append(&model->outbox, *run, start, (*run)->len, 1, 0);
            hub__buffer_append(&model->bytes, hub_str_n((*run)->base + start, (*run)->len - start));
            put_frame(*run, '?', 3);
            start = (*run)->len;
            return;
        }
        append(&model->outbox, *run, start, (*run)->len, 1, next_random(seed) % 2);
        hub__buffer_append(&model->bytes, hub_str_n((*run)->base + start, (*run)->len - start));
        start = (*run)->len;
    }
    if (next_random(seed) % 8 == 0) { /* the turn is over */
        hub__run_release(*run);
        *run = hub__run_create(0);
    }
}

static void take_some(model_t *model, uint32_t *seed)
{
    size_t bytes = next_random(seed) % (hub__outbox_bytes(&model->outbox) + 1), gone = 0;

    if (next_random(seed) % 4 == 0)
        bytes = hub__outbox_bytes(&model->outbox);
    hub__outbox_consume(&model->outbox, bytes, NULL, NULL);
    model->taken += bytes;
    while (gone + 1 < model->frames && model->begins[gone + 1] <= model->taken)
        ++gone;
    if (model->taken == model->bytes.len)
        gone = model->frames;
    memmove(model->begins, model->begins + gone, (model->frames - gone) * sizeof(*model->begins));
    model->frames -= gone;
}

static void trim(model_t *model)
{
    bool begun = model->frames != 0 && model->begins[0] < model->taken;

    (void)hub__outbox_trim(&model->outbox, NULL, NULL);
    if (begun && model->frames > 1)
        model->bytes.len = model->begins[1];
    else if (!begun)
        model->bytes.len = model->taken;
    model->frames = begun ? 1 : 0;
}

static void check_history(uint32_t seed)
{
    static model_t model;

    model = (model_t){0};
    (void)hub__buffer_reserve(&model.bytes, 1);
    for (size_t i = 0; i != RUNS; ++i)
        model.runs[i] = hub__run_create(0);
    for (unsigned i = 0; i != 200; ++i) {
        uint32_t choice = next_random(&seed) % 16;

        if (choice < 9)
            append_some(&model, &seed);
        else if (choice < 13)
            take_some(&model, &seed);
        else if (choice < 15)
            hub__outbox_compact(&model.outbox);
        else
            trim(&model);
        assert_int_equal(hub__outbox_bytes(&model.outbox), model.bytes.len - model.taken);
        assert_int_equal(hub__outbox_messages(&model.outbox), model.frames);
        assert_memory_equal(bytes_of(&model.outbox).base, model.bytes.base + model.taken,
                            hub__outbox_bytes(&model.outbox));
    }
    hub__outbox_dispose(&model.outbox, NULL, NULL);
    for (size_t i = 0; i != RUNS; ++i) {
        assert_int_equal(model.runs[i]->refs, 1);
        hub__run_release(model.runs[i]);
    }
    hub__buffer_dispose(&model.bytes);
}

static void random_histories_keep_every_byte_and_border(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed != 60; ++seed)
        check_history(seed * 2654435761u);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_run_grows_where_it_is_asked_to),
        CASE(a_run_has_an_end),
        CASE(a_range_that_goes_on_is_extended_in_place),
        CASE(a_range_with_a_hole_before_it_stands_alone),
        CASE(an_open_run_may_move_under_its_ranges),
        CASE(the_ring_grows_and_turns_around),
        CASE(an_empty_outbox_owns_nothing),
        CASE(iovecs_are_at_most_as_many_as_asked_for),
        CASE(a_write_may_end_anywhere),
        CASE(a_control_frame_is_no_message),
        CASE(of_a_message_in_fragments_the_last_one_counts),
        CASE(a_note_is_told_when_its_last_byte_has_left),
        CASE(what_stays_does_not_pin_a_large_run),
        CASE(a_run_with_a_note_stays_where_it_is),
        CASE(small_pieces_of_large_runs_gather_in_one),
        CASE(pieces_gather_only_behind_the_end_of_a_run_of_their_own),
        CASE(pieces_of_different_ages_do_not_gather),
        CASE(the_first_queueing_is_what_counts),
        CASE(what_has_gathered_has_a_size),
        CASE(a_frame_that_has_begun_is_not_dropped),
        CASE(what_is_dropped_is_told),
        CASE(what_is_dropped_behind_a_begun_frame_is_told_and_that_one_when_it_has_left),
        CASE(random_histories_keep_every_byte_and_border),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
