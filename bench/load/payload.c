/* SPDX-License-Identifier: MIT */
/* Filler that were the same in all messages would not show that one message has the end of another,
 * and filler that has to be computed would cost more than what it checks. So it is cut from one
 * long text, at a place that the number says: writing is a memcpy(), checking a memcmp(). */
#include "bench/load/payload.h"

#include <stdlib.h>

#include "bench/report.h"

#define PLACES 64u /* where filler may begin */

static char *filler;

void payload_prepare(size_t data_bytes)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789-ABCDEFGHIJKLMNOPQRSTUVWXYZ";

    free(filler);
    filler = malloc(data_bytes + PLACES);
    if (filler == NULL)
        bench_fail("out of memory, %zu bytes of payload", data_bytes);
    for (size_t i = 0; i != data_bytes + PLACES; ++i)
        filler[i] = letters[i % (sizeof(letters) - 1)];
}

const char *payload_filler(uint32_t sequence)
{
    return filler + sequence % PLACES;
}

static void pack(char *to, uint32_t value)
{
    for (unsigned i = 0; i != 8; ++i)
        to[i] = (char)('@' | (value >> (28 - 4 * i) & 15));
}

void payload_write(char *to, size_t data_bytes, const payload_t *payload)
{
    pack(to, payload->topic << 16 | payload->publisher);
    pack(to + 8, payload->sequence);
    pack(to + 16, (uint32_t)(payload->stamped_ns >> 32));
    pack(to + 24, (uint32_t)payload->stamped_ns);
    memcpy(to + PAYLOAD_HEADER, payload_filler(payload->sequence), data_bytes - PAYLOAD_HEADER);
}

const char *payload_find(const char *bytes, size_t len, payload_t *ret_payload)
{
    for (size_t i = 0; i + PAYLOAD_HEADER <= len; ++i)
        if (payload_read_header(bytes + i, ret_payload))
            return bytes + i;
    return NULL;
}
