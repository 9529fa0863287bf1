/* bench/load/buffer.h - bytes that grow at their end and are taken from their front.
 *
 * All zero is an empty one. Ends the program where memory does not suffice. */
#pragma once

#include <stddef.h>

typedef struct buffer {
    char *bytes;
    size_t len, size;
} buffer_t;

/* Room for `more` bytes behind the last one, which the caller writes and then adds to `len`. */
char *buffer_reserve(buffer_t *buffer, size_t more);
void buffer_append(buffer_t *buffer, const void *bytes, size_t len);
/* Takes away the first `len` bytes; memory is kept. */
void buffer_consume(buffer_t *buffer, size_t len);
void buffer_dispose(buffer_t *buffer);

/* Never NULL. */
void *load_calloc(size_t count, size_t size);
