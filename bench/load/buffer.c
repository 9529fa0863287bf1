/* SPDX-License-Identifier: MIT */
/* Frames are made whole before they are written, and the rest of one that arrived in pieces has to
 * be kept; both in the same kind of memory. */
#include "bench/load/buffer.h"

#include <stdlib.h>
#include <string.h>

#include "bench/report.h"

char *buffer_reserve(buffer_t *buffer, size_t more)
{
    if (buffer->size - buffer->len < more) {
        size_t size = buffer->size * 2 > buffer->len + more ? buffer->size * 2 : buffer->len + more;
        char *bytes = realloc(buffer->bytes, size);

        if (bytes == NULL)
            bench_fail("out of memory, %zu bytes of frames", size);
        buffer->bytes = bytes;
        buffer->size = size;
    }
    return buffer->bytes + buffer->len;
}

void buffer_append(buffer_t *buffer, const void *bytes, size_t len)
{
    if (len == 0)
        return;
    memcpy(buffer_reserve(buffer, len), bytes, len);
    buffer->len += len;
}

void buffer_consume(buffer_t *buffer, size_t len)
{
    buffer->len -= len;
    if (buffer->len != 0 && len != 0)
        memmove(buffer->bytes, buffer->bytes + len, buffer->len);
}

void buffer_dispose(buffer_t *buffer)
{
    free(buffer->bytes);
    *buffer = (buffer_t){.bytes = NULL};
}

void *load_calloc(size_t count, size_t size)
{
    void *memory = calloc(count != 0 ? count : 1, size);

    if (memory == NULL)
        bench_fail("out of memory, %zu times %zu bytes", count, size);
    return memory;
}
