/* test/horde.h - many sockets that misbehave, without memory of their own: what a server holds on
 * their account shows in the process's heap.
 *
 * Sockets come from several addresses of 127.0.0.0/8. Bytes that do not go out at once are given
 * up. One thread. */
#pragma once

#include "bus/base.h"

typedef struct horde {
    int *fds; /* -1: closed by the server, and noticed */
    size_t count;
} horde_t;

/* Connects so many, or fails the case. */
void horde_connect(horde_t *horde, const char *address, size_t count);
/* With the handshake done. */
void horde_open(horde_t *horde, const char *address, const char *target, size_t count);
void horde_destroy(horde_t *horde);
/* To everyone who is still connected. */
void horde_send(const horde_t *horde, hub_str_t bytes);
/* Reads and forgets what has come. Returns how many are still connected. */
size_t horde_drain(horde_t *horde);
/* Waits until the server has closed all. Meanwhile each sends `drip`, byte by byte, over and over;
 * absent: nothing. */
void horde_await_end(horde_t *horde, hub_str_t drip);

/* Bytes allocated in this process, exactly where a sanitizer counts them; else with what glibc
 * keeps for its threads, at most so much. */
size_t horde_heap(void);
size_t horde_heap_kept(void);
