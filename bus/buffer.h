/* bus/buffer.h - private: bytes that grow at the end, and the text that goes into them.
 *
 * `base` moves when it grows: keep offsets, not pointers. Zeroed storage is an empty buffer. A
 * failed allocation aborts with size and place, except in hub__buffer_try_reserve() and where the
 * buffer is `fallible`: then what does not fit is left out, and the buffer has `failed` until it is
 * cleared. For what a peer brings about: look before the bytes are used. */
#pragma once

#include "bus/base.h"

typedef struct hub__buffer {
    char *base;
    size_t len;
    size_t capacity;
    bool fallible, failed;
} hub__buffer_t;

/* Room for `more` bytes behind the end, written by the caller, who then adds to `len`. NULL where a
 * fallible one has failed. */
char *hub__buffer_reserve(hub__buffer_t *buffer, size_t more);
/* NULL instead of an abort. For sizes that a peer chose. */
char *hub__buffer_try_reserve(hub__buffer_t *buffer, size_t more);
void hub__buffer_append(hub__buffer_t *buffer, hub_str_t bytes);
void hub__buffer_printf(hub__buffer_t *buffer, const char *format, ...) HUB_PRINTF(2, 3);
/* Appends `text` (valid UTF-8) as a JSON string with its quotes. */
void hub__buffer_json_string(hub__buffer_t *buffer, hub_str_t text);
/* Empty again, with the memory it has. */
static inline void hub__buffer_clear(hub__buffer_t *buffer)
{
    buffer->len = 0;
    buffer->failed = false;
}
/* Frees the bytes; the buffer is empty and usable again. */
void hub__buffer_dispose(hub__buffer_t *buffer);

static inline hub_str_t hub__buffer_str(const hub__buffer_t *buffer)
{
    return hub_str_n(buffer->base, buffer->len);
}

#define HUB__APPEND_LITERAL(buffer, literal) hub__buffer_append((buffer), HUB_STR(literal))

/* malloc, calloc and strndup that end the process with size and place when they fail: for what no
 * peer chose. */
#define hub__alloc(size) hub__alloc_at((size), __FILE__, __LINE__)
#define hub__alloc_zeroed(size) hub__alloc_zeroed_at((size), __FILE__, __LINE__)
#define hub__realloc(ptr, size) hub__realloc_at((ptr), (size), __FILE__, __LINE__)
#define hub__str_copy(str) hub__str_copy_at((str), __FILE__, __LINE__)
/* What all counted messages of the process take, whoever keeps them. Any thread. */
size_t hub__messages_held(void);

void *hub__alloc_at(size_t size, const char *file, int line);
void *hub__alloc_zeroed_at(size_t size, const char *file, int line);
void *hub__realloc_at(void *ptr, size_t size, const char *file, int line);
/* NUL-terminated copy, to be freed. */
char *hub__str_copy_at(hub_str_t str, const char *file, int line);
