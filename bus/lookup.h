/* bus/lookup.h - private: the addresses of a host, for who can't wait as long as a name server may
 * take.
 *
 * getaddrinfo() can't be stopped, so it runs on a thread of its own, which is left behind where
 * nobody wants its answer any more. */
#pragma once

#include "bus/base.h"

#define HUB__LOOKUP_BYTES 512

typedef struct hub__lookup hub__lookup_t;

/* Owned by the caller (hub__lookup_release). NULL: no memory, descriptor or thread, as errno says.
 */
hub__lookup_t *hub__lookup_start(const char *host);
/* NULL is allowed. */
void hub__lookup_release(hub__lookup_t *lookup);
bool hub__lookup_is_done(const hub__lookup_t *lookup);
/* Readable once there is an answer, and from then on. */
int hub__lookup_fd(const hub__lookup_t *lookup);
/* Once it is: up to eight addresses with commas between. That with number `first`, modulo their
 * count, comes first, so that attempts which count up come to each. NULL: `host` has none, and
 * `error` says why. */
const char *hub__lookup_addresses(const hub__lookup_t *lookup, unsigned first,
                                  char buffer[HUB__LOOKUP_BYTES], hub_error_t *error);
