/* hub/stall.h - private: whether a peer takes what is written to it.
 *
 * A meter of patience, pure: the time and the bytes taken so far are passed in. There is patience
 * for `stall_ms`; time uses it up, HUB__STALL_BYTES taken give all of it back. So who takes nothing
 * is over after stall_ms, and so is, later, who takes less than HUB__STALL_BYTES in stall_ms on
 * average: an answer of n bytes has an end whatever its reader does. */
#pragma once

#include "bus/base.h"

#define HUB__STALL_BYTES 16384u

typedef struct hub__stall {
    uint64_t taken;    /* at the last look */
    uint64_t until_ms; /* the end of patience */
} hub__stall_t;

void hub__stall_begin(hub__stall_t *stall, uint64_t taken, uint64_t now_ms, size_t stall_ms);
/* Has a look; true: patience is over. `taken` never goes down. */
bool hub__stall_is_over(hub__stall_t *stall, uint64_t taken, uint64_t now_ms, size_t stall_ms);
/* How many bytes the peer's kernel has acknowledged since the connection was made, TLS included. 0
 * where that is not known, as on a unix socket: there patience ends after stall_ms in any case. */
uint64_t hub__stall_taken(int fd);
