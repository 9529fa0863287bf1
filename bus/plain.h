/* bus/plain.h - private: how far bytes go on without one that has to be looked at. Most of JSON
 * lies in strings, and most of what lies there is plain.
 *
 * Plain is what stands for itself in a JSON string: ASCII from the space on, but for quotes and
 * backslashes. The machine decides when this is compiled whether 16 bytes are looked at together or
 * 8, and when it runs whether long strings are read by 32. HUB_PLAIN_PORTABLE chooses the 8 where
 * there is more, for tests. */
#pragma once

#include "bus/base.h"

#if defined(__SSE2__) && !defined(HUB_PLAIN_PORTABLE)
#include <emmintrin.h>
#define HUB__PLAIN_BLOCK 16
#else
#define HUB__PLAIN_BLOCK 8
#endif

/* Whether there is code for AVX2, which runs where the machine has it. */
#if HUB__PLAIN_BLOCK == 16 && defined(__GNUC__)
#define HUB__PLAIN_AVX2 1
#else
#define HUB__PLAIN_AVX2 0
#endif

/* After so many plain bytes a string is a long one, if as many may follow. */
#define HUB__PLAIN_LONG 128

/* The first byte from `at` on that is not plain; where there is none, a place with less than
 * HUB__PLAIN_BLOCK bytes behind it. hub__plain_skip_long() is the fastest that the machine has; the
 * others are for it to choose from. Any thread. */
const uint8_t *hub__plain_skip_long(const uint8_t *at, const uint8_t *end);
const uint8_t *hub__plain_skip_blocks(const uint8_t *at, const uint8_t *end);
#if HUB__PLAIN_AVX2
const uint8_t *hub__plain_skip_avx2(const uint8_t *at, const uint8_t *end);
#endif

#define HUB__PLAIN_EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

static inline uint64_t hub__plain_word(const void *at)
{
    uint64_t word;

    memcpy(&word, at, sizeof(word));
    return word;
}

/* Not zero if a byte of the word is below `limit`, which is at most 0x80. May be wrong about which
 * one it is, and about bytes from 0x80 on, but never about there being none. */
static inline uint64_t hub__plain_less(uint64_t word, uint64_t limit)
{
    return (word - HUB__PLAIN_EACH(limit)) & ~word;
}

static inline bool hub__is_plain(unsigned byte)
{
    return byte - 0x20 < 0x60 && byte != '"' && byte != '\\';
}

/* Not zero if a byte of the word is not plain. */
static inline uint64_t hub__word_marks(uint64_t word)
{
    return (hub__plain_less(word, 0x20) | hub__plain_less(word ^ HUB__PLAIN_EACH('"'), 1) |
            hub__plain_less(word ^ HUB__PLAIN_EACH('\\'), 1) | word) &
           HUB__PLAIN_EACH(0x80);
}

/* Whether eight bytes are plain. */
static inline bool hub__all_plain(const void *bytes)
{
    return hub__word_marks(hub__plain_word(bytes)) == 0;
}

/* Whether eight bytes are ASCII that can be seen: neither space nor control. */
static inline bool hub__all_visible(const void *bytes)
{
    uint64_t word = hub__plain_word(bytes);

    return ((hub__plain_less(word, 0x21) | hub__plain_less(word ^ HUB__PLAIN_EACH(0x7f), 1) |
             word) &
            HUB__PLAIN_EACH(0x80)) == 0;
}

#if HUB__PLAIN_BLOCK == 16
/* Each byte that is not plain, as all ones. Bytes are compared with sign, so that those from 0x80
 * on are below the space; to flip a bit brings the quote below it as well, and nothing else. */
static inline __m128i hub__plain_marks(const uint8_t *at)
{
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)at);
    __m128i slashes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\'));
    __m128i others =
        _mm_cmplt_epi8(_mm_xor_si128(bytes, _mm_set1_epi8('"' ^ 0x20)), _mm_set1_epi8(0x21));

    return _mm_or_si128(slashes, others);
}

/* A bit for each. */
static inline unsigned hub__plain_bits(const uint8_t *at)
{
    return (unsigned)_mm_movemask_epi8(hub__plain_marks(at));
}

static inline unsigned hub__ascii_bits(const uint8_t *at)
{
    return (unsigned)_mm_movemask_epi8(_mm_loadu_si128((const __m128i *)(const void *)at));
}
#else
static inline uint64_t hub__plain_marks(const uint8_t *at)
{
    return hub__word_marks(hub__plain_word(at));
}
#endif

/* The first byte from `at` on that is not plain, or `end`. What lies from `begin` on may be read,
 * so that the last few bytes are looked at together as well. */
static inline const uint8_t *hub__plain_skip(const uint8_t *begin, const uint8_t *at,
                                             const uint8_t *end)
{
    const uint8_t *near = end - at >= 2 * HUB__PLAIN_LONG ? at + HUB__PLAIN_LONG : end;

    for (; near - at >= HUB__PLAIN_BLOCK; at += HUB__PLAIN_BLOCK) {
#if HUB__PLAIN_BLOCK == 16
        unsigned bits = hub__plain_bits(at);

        if (bits != 0)
            return at + __builtin_ctz(bits);
#else
        if (hub__plain_marks(at) != 0)
            break;
#endif
    }
    if (near != end && at == near)
        at = hub__plain_skip_long(at, end);
#if HUB__PLAIN_BLOCK == 16
    if (end - at < 16 && end - begin >= 16) {
        unsigned bits = hub__plain_bits(end - 16) >> (16 - (end - at));

        return bits != 0 ? at + __builtin_ctz(bits) : end;
    }
#else
    (void)begin;
#endif
    while (at < end && hub__is_plain(*at))
        at++;
    return at;
}

/* The first byte from `at` on that is not ASCII, or `end`. */
static inline const uint8_t *hub__ascii_skip(const uint8_t *at, const uint8_t *end)
{
    for (; end - at >= HUB__PLAIN_BLOCK; at += HUB__PLAIN_BLOCK) {
#if HUB__PLAIN_BLOCK == 16
        unsigned bits = hub__ascii_bits(at);

        if (bits != 0)
            return at + __builtin_ctz(bits);
#else
        if ((hub__plain_word(at) & HUB__PLAIN_EACH(0x80)) != 0)
            break;
#endif
    }
    while (at < end && *at < 0x80)
        at++;
    return at;
}
