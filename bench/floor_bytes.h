/* bench/floor_bytes.h - what the floor does with bytes alone: blocks that grow, and RFC 6455 as far
 * as a server without extensions and fragments needs it. */
#pragma once

#include <stddef.h>

#define FLOOR_HEADER_MAX 10u /* of a frame that a server sends */
#define FLOOR_ACCEPT_SIZE 31u

/* Bytes that wait: for the rest of a frame, for the kernel, or for the end of the turn. */
typedef struct block {
    struct block *next; /* among spare ones */
    size_t len, size;
    char bytes[];
} block_t;

/* Never NULL: ends the program. */
void *must(void *memory);
/* `*block` is NULL or a block, which may move. */
void append(block_t **block, const char *bytes, size_t len);
void drop(block_t **block);

/* Writes the header that ends at `body`; returns where it begins. */
char *put_header(char *body, unsigned char first, size_t len);
/* Of a frame of ours, header and body. */
size_t frame_length(const char *frame);
void unmask(char *body, size_t len, const char *key);
/* Sec-WebSocket-Accept. */
void accept_of(const char *key, size_t len, unsigned char accept[static FLOOR_ACCEPT_SIZE]);
