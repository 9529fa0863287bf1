/* bench/load/payload.h - what every message carries so that each delivery can be checked: who
 * published it, where, its number, when it was meant to leave, and filler that is known.
 *
 * The data of a message are printable characters that no JSON string has to escape: 32 of a header,
 * in each of which are four bits, then filler that depends on the number. The header is decoded
 * eight characters at a time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define PAYLOAD_HEADER 32u
#define PAYLOAD_BYTES_MAX (8u << 20)
#define PAYLOAD_TOPICS_MAX 65536u
#define PAYLOAD_PUBLISHERS_MAX 65536u

typedef struct payload {
    uint32_t topic, publisher;
    uint32_t sequence;   /* of this publisher in this topic */
    uint64_t stamped_ns; /* monotonic; the intended time where there is one */
} payload_t;

/* Filler of messages of `data_bytes`; before everything else. */
void payload_prepare(size_t data_bytes);

/* Writes `data_bytes`, at least PAYLOAD_HEADER. */
void payload_write(char *to, size_t data_bytes, const payload_t *payload);

/* Filler of message `sequence`. */
const char *payload_filler(uint32_t sequence);

/* Eight characters, each "@" and four bits, make 32 bits; false: there are others among them. */
static inline bool payload_unpack(const char *at, uint32_t *ret_value)
{
    uint64_t word;

    memcpy(&word, at, 8);
    word ^= 0x4040404040404040u;
    if ((word & 0xf0f0f0f0f0f0f0f0u) != 0)
        return false;
    word = __builtin_bswap64(word);
    word = (word | word >> 4) & 0x00ff00ff00ff00ffu;
    word = (word | word >> 8) & 0x0000ffff0000ffffu;
    *ret_value = (uint32_t)(word | word >> 16);
    return true;
}

static inline bool payload_read_header(const char *at, payload_t *ret_payload)
{
    uint32_t who, sequence, high, low;

    if (!payload_unpack(at, &who) || !payload_unpack(at + 8, &sequence) ||
        !payload_unpack(at + 16, &high) || !payload_unpack(at + 24, &low))
        return false;
    ret_payload->topic = who >> 16;
    ret_payload->publisher = who & 0xffff;
    ret_payload->sequence = sequence;
    ret_payload->stamped_ns = (uint64_t)high << 32 | low;
    return true;
}

/* The first place in `bytes` where there is a header; NULL: none. Slow. */
const char *payload_find(const char *bytes, size_t len, payload_t *ret_payload);
