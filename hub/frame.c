/* SPDX-License-Identifier: MIT */

/* Every byte of every client passes through here, so the usual frame - one text message, whole in
 * one chunk - is served without an allocation, in one pass that unmasks and one that checks UTF-8.
 * What is unfinished goes the longer way through a block that exists only until it is finished. */

#include "hub/frame.h"
#include "hub/memory.h"

#include <stdlib.h>

#define FIRST_RSV 0x70
#define FIRST_RSV2_RSV3 0x30
#define FIRST_OPCODE 0x0F
#define OPCODE_CONTROL 0x08
#define SECOND_MASKED 0x80
#define SECOND_LEN 0x7F
#define LEN_16 126
#define LEN_64 127
#define CONTROL_PAYLOAD_MAX 125
#define MASKED_HEADER_MAX 14
#define MASK_LEN 4
#define COMPRESSED_MIN 64 /* for the shortest messages: what begins and ends a block */

#define CLOSE_PROTOCOL 1002
#define CLOSE_NOT_UTF8 1007
#define CLOSE_POLICY 1008
#define CLOSE_TOO_BIG 1009
#define CLOSE_INTERNAL 1011

/* A frame whose header was taken. */
struct frame {
    uint64_t left; /* payload bytes still to come */
    uint32_t mask; /* as on the wire */
    uint8_t first; /* the header's first byte: FIN, RSV, opcode */
    uint8_t phase; /* the mask's byte for the next payload byte */
};

/* A reader's block; the gathered payload of the message lies behind it. At most one of header,
 * frame and control is in use, beside a message or without one. The block goes when nothing is
 * unfinished, so a message always begins with a fresh one. */
struct hub__unfinished {
    struct frame frame;
    size_t fragments; /* frames of the message so far */
    hub__utf8_t utf8;
    uint32_t since;        /* the caller's */
    bool in_payload;       /* `frame` waits for payload */
    uint8_t message_first; /* first byte of the message's first frame; 0: no message has begun */
    uint8_t header_len;
    uint8_t control_len;
    char header[MASKED_HEADER_MAX];
    char control[CONTROL_PAYLOAD_MAX];
    size_t len, capacity; /* of `gathered` */
    char gathered[];
};

/* A DFA over bytes whose states are shifts: a row holds the next state for each state, six bits
 * apiece, and taking a step is one load and one shift. States are named after what they wait for.
 */
enum utf8_state {
    UTF8_BORDER = 0,
    UTF8_ONE_MORE = 6,
    UTF8_TWO_MORE = 12,
    UTF8_THREE_MORE = 18,
    UTF8_AFTER_E0 = 24, /* A0-BF, else the form is too long */
    UTF8_AFTER_ED = 30, /* 80-9F, else a surrogate */
    UTF8_AFTER_F0 = 36, /* 90-BF, else the form is too long */
    UTF8_AFTER_F4 = 42, /* 80-8F, else beyond U+10FFFF */
    UTF8_REJECTED = 48,
};
#define UTF8_STATE_MASK 63

#define UTF8_ROW(border, one, two, three, e0, ed, f0, f4)                                          \
    ((uint64_t)(border) << UTF8_BORDER | (uint64_t)(one) << UTF8_ONE_MORE |                        \
     (uint64_t)(two) << UTF8_TWO_MORE | (uint64_t)(three) << UTF8_THREE_MORE |                     \
     (uint64_t)(e0) << UTF8_AFTER_E0 | (uint64_t)(ed) << UTF8_AFTER_ED |                           \
     (uint64_t)(f0) << UTF8_AFTER_F0 | (uint64_t)(f4) << UTF8_AFTER_F4 |                           \
     (uint64_t)UTF8_REJECTED << UTF8_REJECTED)
#define NO UTF8_REJECTED
#define UTF8_LEAD(next) UTF8_ROW(next, NO, NO, NO, NO, NO, NO, NO)
#define UTF8_NEXT(e0, ed, f0, f4)                                                                  \
    UTF8_ROW(NO, UTF8_BORDER, UTF8_ONE_MORE, UTF8_TWO_MORE, e0, ed, f0, f4)

static const uint64_t utf8_rows[256] = {
    [0x00 ... 0x7F] = UTF8_LEAD(UTF8_BORDER),
    [0x80 ... 0x8F] = UTF8_NEXT(NO, UTF8_ONE_MORE, NO, UTF8_TWO_MORE),
    [0x90 ... 0x9F] = UTF8_NEXT(NO, UTF8_ONE_MORE, UTF8_TWO_MORE, NO),
    [0xA0 ... 0xBF] = UTF8_NEXT(UTF8_ONE_MORE, NO, UTF8_TWO_MORE, NO),
    [0xC0 ... 0xC1] = UTF8_LEAD(NO),
    [0xC2 ... 0xDF] = UTF8_LEAD(UTF8_ONE_MORE),
    [0xE0] = UTF8_LEAD(UTF8_AFTER_E0),
    [0xE1 ... 0xEC] = UTF8_LEAD(UTF8_TWO_MORE),
    [0xED] = UTF8_LEAD(UTF8_AFTER_ED),
    [0xEE ... 0xEF] = UTF8_LEAD(UTF8_TWO_MORE),
    [0xF0] = UTF8_LEAD(UTF8_AFTER_F0),
    [0xF1 ... 0xF3] = UTF8_LEAD(UTF8_THREE_MORE),
    [0xF4] = UTF8_LEAD(UTF8_AFTER_F4),
    [0xF5 ... 0xFF] = UTF8_LEAD(NO),
};

/* Unaligned, and free to alias: payloads start anywhere. */
typedef uint64_t __attribute__((vector_size(16))) vector_t;

static inline void vector_xor(char *bytes, vector_t pattern)
{
    vector_t vector;

    memcpy(&vector, bytes, sizeof(vector));
    vector ^= pattern;
    memcpy(bytes, &vector, sizeof(vector));
}

/* Whether there is code for AVX2, for payloads that it pays for where the machine has it. */
#if defined(__x86_64__) && defined(__GNUC__)
#define WIDE_UNMASKING 1
#define WIDE_FROM 512
typedef uint64_t __attribute__((vector_size(32))) wide_t;
#else
#define WIDE_UNMASKING 0
#endif

static inline bool is_ascii_16(const char *bytes)
{
    uint64_t words[2];

    memcpy(words, bytes, sizeof(words));
    return ((words[0] | words[1]) & 0x8080808080808080u) == 0;
}

static inline uint64_t utf8_steps(uint64_t state, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        state = utf8_rows[(uint8_t)bytes[i]] >> (state & UTF8_STATE_MASK);
    return state & UTF8_STATE_MASK;
}

static inline unsigned opcode_of(unsigned first)
{
    return first & FIRST_OPCODE;
}

static inline bool is_control(unsigned first)
{
    return (first & OPCODE_CONTROL) != 0;
}

/* The text of a compressed message is checked by whoever inflates it. */
static inline bool is_plain_text(unsigned first)
{
    return opcode_of(first) == HUB__OP_TEXT && (first & HUB__FRAME_RSV1) == 0;
}

static inline size_t gathered_len(const hub__frame_reader_t *reader)
{
    return reader->block == NULL ? 0 : reader->block->len;
}

/* The block, with room for `more` bytes of payload behind what was gathered. NULL: no memory. */
static struct hub__unfinished *reserve_block(hub__frame_reader_t *reader, size_t more)
{
    struct hub__unfinished *block = reader->block;
    size_t need = gathered_len(reader) + more, capacity = block == NULL ? 0 : block->capacity;

    if (block != NULL && need <= capacity)
        return block;
    /* exactly at first: most messages come in one piece more. Then by a quarter: what is held on
     * account of a message that never ends is little more than what was sent for it */
    capacity += capacity / 4;
    if (capacity < need)
        capacity = need;
    if ((block = hub__peer_realloc(block, sizeof(*block) + capacity)) == NULL)
        return NULL;
    if (reader->block == NULL)
        memset(block, 0, sizeof(*block));
    block->capacity = capacity;
    return reader->block = block;
}

static void drop_block(hub__frame_reader_t *reader)
{
    hub__peer_free(reader->block);
    reader->block = NULL;
}

static void take(char **chunk, size_t *chunk_len, size_t len)
{
    *chunk += len;
    *chunk_len -= len;
}

static void fail(hub__frame_reader_t *reader, unsigned code, const char *reason,
                 hub__frame_event_t *event)
{
    drop_block(reader);
    reader->ended = true;
    *event = (hub__frame_event_t){.kind = HUB__FRAME_ERROR, .code = code, .reason = reason};
}

/* What is wrong with a header's first byte; NULL: nothing. */
static const char *fault_of_first(unsigned first, bool in_message, bool allow_rsv1)
{
    unsigned opcode = opcode_of(first);
    bool begins = opcode == HUB__OP_TEXT || opcode == HUB__OP_BINARY;

    if ((first & FIRST_RSV2_RSV3) != 0 || ((first & FIRST_RSV) != 0 && !(begins && allow_rsv1)))
        return "reserved bit set";
    switch (opcode) {
    case HUB__OP_CONTINUATION:
        return in_message ? NULL : "continuation without a message";
    case HUB__OP_TEXT:
    case HUB__OP_BINARY:
        return in_message ? "new message within a message" : NULL;
    case HUB__OP_CLOSE:
    case HUB__OP_PING:
    case HUB__OP_PONG:
        return (first & HUB__FRAME_FIN) != 0 ? NULL : "fragmented control frame";
    default:
        return "reserved opcode";
    }
}

static const char *fault_of_second(unsigned first, unsigned second)
{
    if ((second & SECOND_MASKED) == 0)
        return "frame without a mask";
    if (is_control(first) && (second & SECOND_LEN) > CONTROL_PAYLOAD_MAX)
        return "control frame too long";
    return NULL;
}

static const char *fault_of_length(uint64_t len, size_t extended)
{
    if (len >> 63 != 0)
        return "length with its top bit set";
    if ((extended == 2 && len < LEN_16) || (extended == 8 && len <= UINT16_MAX))
        return "length not in its shortest form";
    return NULL;
}

static uint64_t read_big_endian(const char *bytes, size_t len)
{
    uint64_t number = 0;

    for (size_t i = 0; i < len; i++)
        number = number << 8 | (uint8_t)bytes[i];
    return number;
}

/* How many bytes behind the second one hold the length. */
static size_t extended_len(const char *header)
{
    unsigned len = (uint8_t)header[1] & SECOND_LEN;

    return len == LEN_16 ? 2 : len == LEN_64 ? 8 : 0;
}

static uint64_t payload_len_of(const char *header)
{
    size_t extended = extended_len(header);

    return extended == 0 ? (uint8_t)header[1] & SECOND_LEN : read_big_endian(header + 2, extended);
}

/* False: one more frame of `len` bytes is past a limit, and the event says which. */
static bool within_limits(hub__frame_reader_t *reader, const hub__frame_limits_t *limits,
                          unsigned first, uint64_t len, hub__frame_event_t *event)
{
    const struct hub__unfinished *block = reader->block;
    bool in_message = block != NULL && block->message_first != 0;
    bool compressed = ((in_message ? block->message_first : first) & HUB__FRAME_RSV1) != 0;
    size_t max = limits->message_bytes, fragments = in_message ? block->fragments : 0;
    size_t gathered = gathered_len(reader);

    if (compressed)
        max += max / 8 + COMPRESSED_MIN;
    if (!limits->fragments_unlimited && fragments >= limits->fragments) {
        fail(reader, CLOSE_POLICY, "too many fragments", event);
        return false;
    }
    if (gathered > max || len > max - gathered) {
        fail(reader, CLOSE_TOO_BIG, "message too big", event);
        return false;
    }
    return true;
}

/* Judges each byte of a header as soon as it is there and in their order, so that the answer never
 * depends on cuts. Returns the header's length as far as known; 0: refused, the event says why. */
static size_t judge_header(hub__frame_reader_t *reader, const hub__frame_limits_t *limits,
                           const char *header, size_t have, hub__frame_event_t *event)
{
    struct hub__unfinished *block = reader->block;
    unsigned first = (uint8_t)header[0];
    bool in_message = block != NULL && block->message_first != 0;
    const char *fault = fault_of_first(first, in_message, limits->allow_rsv1);
    size_t end = 2; /* of the length */

    if (fault == NULL && have >= end) {
        fault = fault_of_second(first, (uint8_t)header[1]);
        end += extended_len(header);
    }
    if (fault == NULL && have >= end)
        fault = fault_of_length(payload_len_of(header), end - 2);
    if (fault != NULL) {
        fail(reader, CLOSE_PROTOCOL, fault, event);
        return 0;
    }
    if (have >= end && !is_control(first) &&
        !within_limits(reader, limits, first, payload_len_of(header), event))
        return 0;
    return end + MASK_LEN;
}

/* The chunk ended within a header. */
static void keep_header(hub__frame_reader_t *reader, char **chunk, size_t *chunk_len,
                        hub__frame_event_t *event)
{
    struct hub__unfinished *block = reserve_block(reader, 0);

    if (block == NULL) {
        fail(reader, CLOSE_INTERNAL, "out of memory", event);
        return;
    }
    memcpy(block->header + block->header_len, *chunk, *chunk_len);
    block->header_len = (uint8_t)(block->header_len + *chunk_len);
    take(chunk, chunk_len, *chunk_len);
    *event = (hub__frame_event_t){.kind = HUB__FRAME_NEED_MORE};
}

/* False: the event was set instead, to NEED_MORE or ERROR. */
static bool take_header(hub__frame_reader_t *reader, const hub__frame_limits_t *limits,
                        char **chunk, size_t *chunk_len, struct frame *ret_frame,
                        hub__frame_event_t *event)
{
    struct hub__unfinished *block = reader->block;
    size_t kept = block == NULL ? 0 : block->header_len;
    const char *header = *chunk;
    char joined[MASKED_HEADER_MAX];
    size_t have = *chunk_len, need;

    if (kept > 0) {
        have = have < sizeof(joined) - kept ? have + kept : sizeof(joined);
        memcpy(joined, block->header, kept);
        memcpy(joined + kept, *chunk, have - kept);
        header = joined;
    }
    need = judge_header(reader, limits, header, have, event);
    if (need == 0)
        return false;
    if (have < need) {
        keep_header(reader, chunk, chunk_len, event);
        return false;
    }
    ret_frame->left = payload_len_of(header);
    ret_frame->first = (uint8_t)header[0];
    ret_frame->phase = 0;
    memcpy(&ret_frame->mask, header + need - MASK_LEN, MASK_LEN);
    if (block != NULL) {
        block->header_len = 0;
        block->control_len = 0;
        block->fragments += opcode_of(ret_frame->first) == HUB__OP_CONTINUATION;
    }
    take(chunk, chunk_len, need - kept);
    return true;
}

static void emit_close(hub__frame_reader_t *reader, hub_str_t payload, hub__frame_event_t *event)
{
    hub__utf8_t utf8 = {0};

    *event = (hub__frame_event_t){.kind = HUB__FRAME_CLOSE};
    reader->ended = true;
    if (payload.len == 0)
        return;
    event->code = payload.len == 1 ? 0 : (unsigned)read_big_endian(payload.base, 2);
    if (!hub__close_code_valid(event->code)) {
        fail(reader, CLOSE_PROTOCOL, "bad close code", event);
        return;
    }
    event->payload = hub_str_n(payload.base + 2, payload.len - 2);
    (void)hub__utf8_feed(&utf8, event->payload.base, event->payload.len);
    if (!hub__utf8_complete(&utf8))
        fail(reader, CLOSE_NOT_UTF8, "close reason is not UTF-8", event);
}

static void emit_control(hub__frame_reader_t *reader, unsigned first, hub_str_t payload,
                         hub__frame_event_t *event)
{
    if (opcode_of(first) == HUB__OP_CLOSE) {
        emit_close(reader, payload, event);
        return;
    }
    *event = (hub__frame_event_t){.kind = opcode_of(first) == HUB__OP_PING ? HUB__FRAME_PING
                                                                           : HUB__FRAME_PONG,
                                  .payload = payload};
}

/* `utf8` has seen the whole payload where it is plain text. */
static void emit_message(hub__frame_reader_t *reader, unsigned first, hub_str_t payload,
                         const hub__utf8_t *utf8, hub__frame_event_t *event)
{
    struct hub__unfinished *block = reader->block;

    if (!hub__utf8_complete(utf8)) {
        fail(reader, CLOSE_NOT_UTF8, "text is not UTF-8", event);
        return;
    }
    if (block != NULL)
        block->message_first = 0;
    *event = (hub__frame_event_t){.kind = HUB__FRAME_MESSAGE,
                                  .binary = opcode_of(first) == HUB__OP_BINARY,
                                  .compressed = (first & HUB__FRAME_RSV1) != 0,
                                  .payload = payload};
}

/* Whether the frame ends in this chunk and nothing that belongs to its event was gathered before:
 * then the chunk itself serves as the payload. */
static bool is_whole(const hub__frame_reader_t *reader, const struct frame *frame, size_t chunk_len)
{
    const struct hub__unfinished *block = reader->block;

    if (frame->left > chunk_len)
        return false;
    if (is_control(frame->first))
        return block == NULL || block->control_len == 0;
    return (frame->first & HUB__FRAME_FIN) != 0 && gathered_len(reader) == 0;
}

static void take_whole(hub__frame_reader_t *reader, const struct frame *frame, char **chunk,
                       size_t *chunk_len, hub__frame_event_t *event)
{
    struct hub__unfinished *block = reader->block;
    hub_str_t payload = {*chunk, (size_t)frame->left};
    hub__utf8_t utf8 = {0};
    unsigned first = frame->first;

    hub__frame_unmask(*chunk, payload.len, frame->mask, 0);
    take(chunk, chunk_len, payload.len);
    if (block != NULL)
        block->in_payload = false;
    if (is_control(first)) {
        emit_control(reader, first, payload, event);
        return;
    }
    if (opcode_of(first) == HUB__OP_CONTINUATION)
        first = block->message_first;
    if (is_plain_text(first))
        (void)hub__utf8_feed(&utf8, payload.base,
                             payload.len); /* what it rejects is not complete */
    emit_message(reader, first, payload, &utf8, event);
}

/* Moves `len` unmasked bytes of a frame behind what was gathered. False: the event tells why. */
static bool gather(hub__frame_reader_t *reader, const struct frame *frame, const char *bytes,
                   size_t len, hub__frame_event_t *event)
{
    struct hub__unfinished *block = reserve_block(reader, is_control(frame->first) ? 0 : len);

    if (block == NULL) {
        fail(reader, CLOSE_INTERNAL, "out of memory", event);
        return false;
    }
    if (is_control(frame->first)) {
        memcpy(block->control + block->control_len, bytes, len);
        block->control_len = (uint8_t)(block->control_len + len);
        return true;
    }
    if (block->message_first == 0) {
        block->message_first = frame->first;
        block->fragments = 1;
    }
    memcpy(block->gathered + block->len, bytes, len);
    block->len += len;
    if (is_plain_text(block->message_first) && !hub__utf8_feed(&block->utf8, bytes, len)) {
        fail(reader, CLOSE_NOT_UTF8, "text is not UTF-8", event);
        return false;
    }
    return true;
}

/* Takes what there is of a payload. False: the frame ended without an event. */
static bool take_part(hub__frame_reader_t *reader, struct frame *frame, char **chunk,
                      size_t *chunk_len, hub__frame_event_t *event)
{
    size_t len = frame->left < *chunk_len ? (size_t)frame->left : *chunk_len;
    struct hub__unfinished *block;

    hub__frame_unmask(*chunk, len, frame->mask, frame->phase);
    if (!gather(reader, frame, *chunk, len, event))
        return true;
    take(chunk, chunk_len, len);
    frame->left -= len;
    frame->phase = (uint8_t)((frame->phase + len) & 3);

    block = reader->block;
    block->frame = *frame;
    block->in_payload = frame->left > 0;
    if (block->in_payload) {
        *event = (hub__frame_event_t){.kind = HUB__FRAME_NEED_MORE};
        return true;
    }
    if (is_control(frame->first)) {
        emit_control(reader, frame->first, hub_str_n(block->control, block->control_len), event);
        return true;
    }
    if ((frame->first & HUB__FRAME_FIN) == 0)
        return false;
    emit_message(reader, block->message_first, hub_str_n(block->gathered, block->len), &block->utf8,
                 event);
    return true;
}

static char *write_big_endian(char *bytes, uint64_t number, size_t len)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = (char)(uint8_t)(number >> (8 * (len - 1 - i)));
    return bytes + len;
}

size_t hub__frame_header_len(uint64_t payload_len)
{
    return payload_len < LEN_16 ? 2 : payload_len <= UINT16_MAX ? 4 : 10;
}

size_t hub__frame_header(char buffer[HUB__FRAME_HEADER_MAX], unsigned first, uint64_t payload_len)
{
    size_t len = hub__frame_header_len(payload_len);

    buffer[0] = (char)(uint8_t)first;
    buffer[1] = (char)(len == 2 ? payload_len : len == 4 ? LEN_16 : LEN_64);
    write_big_endian(buffer + 2, payload_len, len - 2);
    return len;
}

size_t hub__frame_split(const char *frame, size_t *ret_payload_len)
{
    *ret_payload_len = (size_t)payload_len_of(frame);
    return 2 + extended_len(frame);
}

/* The longest start of `text` within `max` bytes that is whole characters of valid UTF-8. */
static size_t utf8_prefix_len(hub_str_t text, size_t max)
{
    hub__utf8_t utf8 = {0};
    size_t border = 0;

    for (size_t i = 0; i < text.len && i < max && hub__utf8_feed(&utf8, text.base + i, 1); i++) {
        if (hub__utf8_complete(&utf8))
            border = i + 1;
    }
    return border;
}

size_t hub__frame_close(char buffer[127], unsigned code, hub_str_t reason)
{
    size_t len = code == 0 ? 0 : utf8_prefix_len(reason, HUB__CLOSE_REASON_MAX);
    char *end =
        buffer + hub__frame_header(buffer, HUB__FRAME_FIN | HUB__OP_CLOSE, code == 0 ? 0 : 2 + len);

    if (code != 0)
        end = write_big_endian(end, code, 2);
    if (len > 0)
        memcpy(end, reason.base, len);
    return (size_t)(end - buffer) + len;
}

bool hub__close_code_valid(unsigned code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}

/* Returns how many bytes it has done: all but the last few. */
static inline size_t unmask_blocks(char *bytes, size_t len, vector_t pattern)
{
    size_t i = 0;

    for (; len - i >= 4 * sizeof(pattern); i += 4 * sizeof(pattern)) {
        vector_xor(bytes + i, pattern);
        vector_xor(bytes + i + sizeof(pattern), pattern);
        vector_xor(bytes + i + 2 * sizeof(pattern), pattern);
        vector_xor(bytes + i + 3 * sizeof(pattern), pattern);
    }
    for (; len - i >= sizeof(pattern); i += sizeof(pattern))
        vector_xor(bytes + i, pattern);
    return i;
}

#if WIDE_UNMASKING
__attribute__((target("avx2"))) static inline void wide_xor(char *bytes, wide_t pattern)
{
    wide_t vector;

    memcpy(&vector, bytes, sizeof(vector));
    vector ^= pattern;
    memcpy(bytes, &vector, sizeof(vector));
}

/* What is behind the last of its blocks is left to the others. */
__attribute__((target("avx2"))) static size_t unmask_wide(char *bytes, size_t len, uint64_t word)
{
    const wide_t pattern = {word, word, word, word};
    size_t i = 0;

    for (; len - i >= 4 * sizeof(pattern); i += 4 * sizeof(pattern)) {
        wide_xor(bytes + i, pattern);
        wide_xor(bytes + i + sizeof(pattern), pattern);
        wide_xor(bytes + i + 2 * sizeof(pattern), pattern);
        wide_xor(bytes + i + 3 * sizeof(pattern), pattern);
    }
    return i;
}
#endif

/* Less than a vector. The pattern begins anew with each four bytes. */
static inline void unmask_rest(char *bytes, size_t len, uint64_t word)
{
    uint64_t eight;
    uint32_t four;

    if ((len & 8) != 0) {
        memcpy(&eight, bytes, sizeof(eight));
        eight ^= word;
        memcpy(bytes, &eight, sizeof(eight));
        bytes += sizeof(eight);
    }
    if ((len & 4) != 0) {
        memcpy(&four, bytes, sizeof(four));
        four ^= (uint32_t)word;
        memcpy(bytes, &four, sizeof(four));
        bytes += sizeof(four);
    }
    for (size_t i = 0; i < (len & 3); i++)
        bytes[i] = (char)(bytes[i] ^ ((const char *)&word)[i]);
}

void hub__frame_unmask(char *bytes, size_t len, uint32_t key, unsigned phase)
{
    const uint32_t twice[] = {key, key};
    uint32_t turned;
    uint64_t word;
    size_t i = 0;

    memcpy(&turned, (const char *)twice + phase, sizeof(turned));
    word = turned * UINT64_C(0x100000001);
#if WIDE_UNMASKING
    if (len >= WIDE_FROM && __builtin_cpu_supports("avx2"))
        i = unmask_wide(bytes, len, word);
#endif
    i += unmask_blocks(bytes + i, len - i, (vector_t){word, word});
    unmask_rest(bytes + i, len - i, word);
}

bool hub__utf8_feed(hub__utf8_t *utf8, const char *bytes, size_t len)
{
    uint64_t state = utf8->state;
    size_t i = 0;

    if (utf8->state == HUB__UTF8_REJECT)
        return false;
    for (; len - i >= 16; i += 16) {
        if (state == UTF8_BORDER && is_ascii_16(bytes + i))
            continue;
        state = utf8_steps(state, bytes + i, 16);
    }
    /* the last bytes once more with some of those before: mostly that is ASCII, too */
    if (state == UTF8_BORDER && len >= 16 && is_ascii_16(bytes + len - 16))
        i = len;
    state = utf8_steps(state, bytes + i, len - i);
    utf8->state = state == UTF8_REJECTED ? HUB__UTF8_REJECT : (uint32_t)state;
    return state != UTF8_REJECTED;
}

bool hub__frame_reader_unfinished(const hub__frame_reader_t *reader)
{
    const struct hub__unfinished *block = reader->block;

    return block != NULL && !reader->ended &&
           (block->message_first != 0 || block->in_payload || block->header_len != 0);
}

void hub__frame_reader_stamp(hub__frame_reader_t *reader, uint32_t since)
{
    reader->block->since = since;
}

uint32_t hub__frame_reader_stamped(const hub__frame_reader_t *reader)
{
    return reader->block->since;
}

void hub__frame_read(hub__frame_reader_t *reader, const hub__frame_limits_t *limits, char **chunk,
                     size_t *chunk_len, hub__frame_event_t *ret_event)
{
    struct frame frame;
    struct hub__unfinished *block;

    /* the block that held the payload of the last event has served */
    if (reader->block != NULL && !hub__frame_reader_unfinished(reader))
        drop_block(reader);
    do {
        if (reader->ended && *chunk_len > 0)
            take(chunk, chunk_len, *chunk_len);
        if (*chunk_len == 0) {
            *ret_event = (hub__frame_event_t){.kind = HUB__FRAME_NEED_MORE};
            return;
        }
        block = reader->block;
        if (block != NULL && block->in_payload)
            frame = block->frame;
        else if (!take_header(reader, limits, chunk, chunk_len, &frame, ret_event))
            return;
        if (is_whole(reader, &frame, *chunk_len)) {
            take_whole(reader, &frame, chunk, chunk_len, ret_event);
            return;
        }
    } while (!take_part(reader, &frame, chunk, chunk_len, ret_event));
}

size_t hub__frame_reader_held(const hub__frame_reader_t *reader)
{
    return reader->block == NULL ? 0 : sizeof(*reader->block) + reader->block->capacity;
}

void hub__frame_reader_dispose(hub__frame_reader_t *reader)
{
    drop_block(reader);
    *reader = (hub__frame_reader_t){0};
}
