/* SPDX-License-Identifier: MIT */
/* NATS over websocket: lines in binary frames, and behind a line that begins with MSG as many bytes
 * as its last word says. What is sent is in the template. */
#define _GNU_SOURCE
#include <string.h>

#include "bench/load/speaker.h"

#define LINE_MAX (64u << 10) /* an INFO is some hundred bytes */
#define BYTES_MAX (64u << 20)

/* The number that ends the line; SIZE_MAX: there is none. */
static size_t last_number(const char *line, size_t len)
{
    size_t number = 0, digits = 0, weight = 1;

    while (digits != len && digits != 9 && line[len - 1 - digits] >= '0' &&
           line[len - 1 - digits] <= '9') {
        number += weight * (size_t)(line[len - 1 - digits] - '0');
        weight *= 10;
        ++digits;
    }
    if (digits == 0 || digits == len || line[len - 1 - digits] != ' ' || number > BYTES_MAX)
        return SIZE_MAX;
    return number;
}

static size_t split(const char *bytes, size_t len)
{
    const char *end = memmem(bytes, len, "\r\n", 2);
    size_t line, body;

    if (end == NULL)
        return len > LINE_MAX ? STREAM_INVALID : STREAM_MORE;
    line = (size_t)(end - bytes);
    if (line < 4 || memcmp(bytes, "MSG ", 4) != 0)
        return line + 2;
    body = last_number(bytes, line);
    if (body == SIZE_MAX)
        return STREAM_INVALID;
    if (len < line + 2 + body + 2)
        return STREAM_MORE;
    return memcmp(bytes + line + 2 + body, "\r\n", 2) == 0 ? line + 2 + body + 2 : STREAM_INVALID;
}

const stream_t STREAM_NATS = {.name = "nats", .split = split};
