/* SPDX-License-Identifier: MIT */
/* Long strings. Four vectors are looked at before anything is asked about them, so that questions
 * do not count; what is found is found once more, exactly, by who asks. */
#include "bus/plain.h"

#if HUB__PLAIN_AVX2
#include <immintrin.h>
#endif

const uint8_t *hub__plain_skip_blocks(const uint8_t *at, const uint8_t *end)
{
#if HUB__PLAIN_BLOCK == 16
    while (end - at >= 64) {
        __m128i one = hub__plain_marks(at), two = hub__plain_marks(at + 16),
                three = hub__plain_marks(at + 32), four = hub__plain_marks(at + 48);

        if (_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(one, two), _mm_or_si128(three, four))) != 0)
            break;
        at += 64;
    }
    for (; end - at >= 16; at += 16) {
        unsigned bits = hub__plain_bits(at);

        if (bits != 0)
            return at + __builtin_ctz(bits);
    }
#else
    while (end - at >= 8 && hub__plain_marks(at) == 0)
        at += 8;
    while (end - at >= 8 && hub__is_plain(*at))
        at++;
#endif
    return at;
}

#if HUB__PLAIN_AVX2
#define AVX2 __attribute__((target("avx2")))

/* As hub__plain_marks(), but for the last step, which is taken for many together. */
AVX2 static inline void take_32(const uint8_t *at, __m256i *lowest, __m256i *slashes)
{
    __m256i bytes = _mm256_loadu_si256((const __m256i *)(const void *)at);

    *lowest = _mm256_min_epi8(*lowest, _mm256_xor_si256(bytes, _mm256_set1_epi8('"' ^ 0x20)));
    *slashes = _mm256_or_si256(*slashes, _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8('\\')));
}

/* The upper halves of the registers are cleared by hand: gcc 12 forgets it before a call at the
 * end, and what is then done with the lower halves takes many times as long. */
AVX2 const uint8_t *hub__plain_skip_avx2(const uint8_t *at, const uint8_t *end)
{
    while (end - at >= 128) {
        __m256i lowest = _mm256_set1_epi8(0x7f), slashes = _mm256_setzero_si256();
        __m256i others;

        take_32(at, &lowest, &slashes);
        take_32(at + 32, &lowest, &slashes);
        take_32(at + 64, &lowest, &slashes);
        take_32(at + 96, &lowest, &slashes);
        others = _mm256_cmpgt_epi8(_mm256_set1_epi8(0x21), lowest);
        if (_mm256_movemask_epi8(_mm256_or_si256(slashes, others)) != 0)
            break;
        at += 128;
    }
    _mm256_zeroupper();
    return hub__plain_skip_blocks(at, end);
}

const uint8_t *hub__plain_skip_long(const uint8_t *at, const uint8_t *end)
{
    return __builtin_cpu_supports("avx2") ? hub__plain_skip_avx2(at, end)
                                          : hub__plain_skip_blocks(at, end);
}
#else
const uint8_t *hub__plain_skip_long(const uint8_t *at, const uint8_t *end)
{
    return hub__plain_skip_blocks(at, end);
}
#endif
