/* SPDX-License-Identifier: MIT */
/* Growing bytes, and the allocator for everything whose size no peer chose. Such an allocation
 * ends the process when it fails: there is nobody to answer, and code that goes on half-built is
 * worse than a restart. */
#include "bus/buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* most of what is built here is an envelope, a header or a line of text */
#define CAPACITY_MIN 128

/* Not through the log: a callback of the program may allocate. */
static void *checked(void *ptr, size_t size, const char *file, int line)
{
    if (ptr != NULL)
        return ptr;
    fprintf(stderr, "%s:%d: out of memory for %zu bytes\n", file, line, size);
    abort();
}

/* Sizes of zero are raised to one, because NULL stands for failure here. */
static size_t at_least_one(size_t size)
{
    return size == 0 ? 1 : size;
}

void *hub__alloc_at(size_t size, const char *file, int line)
{
    return checked(malloc(at_least_one(size)), size, file, line);
}

void *hub__alloc_zeroed_at(size_t size, const char *file, int line)
{
    return checked(calloc(1, at_least_one(size)), size, file, line);
}

void *hub__realloc_at(void *ptr, size_t size, const char *file, int line)
{
    return checked(realloc(ptr, at_least_one(size)), size, file, line);
}

char *hub__str_copy_at(hub_str_t str, const char *file, int line)
{
    char *copy = hub__alloc_at(str.len + 1, file, line);

    if (str.len > 0)
        memcpy(copy, str.base, str.len);
    copy[str.len] = '\0';
    return copy;
}

char *hub__buffer_try_reserve(hub__buffer_t *buffer, size_t more)
{
    size_t needed, capacity;
    char *base;

    if (buffer->base != NULL && more <= buffer->capacity - buffer->len)
        return buffer->base + buffer->len;
    if (__builtin_add_overflow(buffer->len, more, &needed))
        return NULL;
    if (__builtin_mul_overflow(buffer->capacity, (size_t)2, &capacity) || capacity < needed)
        capacity = needed;
    if (capacity < CAPACITY_MIN)
        capacity = CAPACITY_MIN;
    base = realloc(buffer->base, capacity);
    if (base == NULL)
        return NULL;
    buffer->base = base;
    buffer->capacity = capacity;
    return base + buffer->len;
}

char *hub__buffer_reserve(hub__buffer_t *buffer, size_t more)
{
    char *at = buffer->failed ? NULL : hub__buffer_try_reserve(buffer, more);

    if (at != NULL || !buffer->fallible)
        return checked(at, more, __FILE__, __LINE__);
    buffer->failed = true;
    return NULL;
}

void hub__buffer_append(hub__buffer_t *buffer, hub_str_t bytes)
{
    char *at;

    if (bytes.len == 0 || (at = hub__buffer_reserve(buffer, bytes.len)) == NULL)
        return;
    memcpy(at, bytes.base, bytes.len);
    buffer->len += bytes.len;
}

void hub__buffer_printf(hub__buffer_t *buffer, const char *format, ...)
{
    va_list args, again;
    char *at = hub__buffer_reserve(buffer, CAPACITY_MIN);
    size_t room = buffer->capacity - buffer->len;
    int len;

    if (at == NULL)
        return;
    va_start(args, format);
    va_copy(again, args);
    len = vsnprintf(at, room, format, args);
    if (len > 0 && (size_t)len >= room) {
        /* one byte more, for the NUL that vsnprintf insists on */
        at = hub__buffer_reserve(buffer, (size_t)len + 1);
        len = at != NULL ? vsnprintf(at, (size_t)len + 1, format, again) : 0;
    }
    va_end(again);
    va_end(args);
    if (len > 0)
        buffer->len += (size_t)len;
}

/* The short escape of a byte that a JSON string can't hold as it is, or 0 where only \u will do. */
static char short_escape(unsigned char byte)
{
    switch (byte) {
    case '"':
    case '\\':
        return (char)byte;
    case '\b':
        return 'b';
    case '\f':
        return 'f';
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    default:
        return 0;
    }
}

static void append_escape(hub__buffer_t *buffer, unsigned char byte)
{
    char escape[] = {'\\', short_escape(byte)};

    if (escape[1] != 0)
        hub__buffer_append(buffer, hub_str_n(escape, sizeof(escape)));
    else
        hub__buffer_printf(buffer, "\\u%04x", byte);
}

void hub__buffer_json_string(hub__buffer_t *buffer, hub_str_t text)
{
    size_t done = 0;

    hub__buffer_reserve(buffer, text.len + 2);
    HUB__APPEND_LITERAL(buffer, "\"");
    for (size_t i = 0; i < text.len; i++) {
        unsigned char byte = (unsigned char)text.base[i];

        if (byte >= 0x20 && byte != '"' && byte != '\\')
            continue;
        hub__buffer_append(buffer, hub_str_n(text.base + done, i - done));
        append_escape(buffer, byte);
        done = i + 1;
    }
    if (done < text.len)
        hub__buffer_append(buffer, hub_str_n(text.base + done, text.len - done));
    HUB__APPEND_LITERAL(buffer, "\"");
}

void hub__buffer_dispose(hub__buffer_t *buffer)
{
    free(buffer->base);
    *buffer = (hub__buffer_t){.fallible = buffer->fallible};
}
