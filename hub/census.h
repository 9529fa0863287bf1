/* hub/census.h - private: how many connections an address has, and how often it makes new ones.
 *
 * One table for all workers of a server, under a lock, since the kernel spreads the connections of
 * an address over them. An address is forgotten when it has none and might make its full burst;
 * of those that have none, at most HUB__CENSUS_IDLE are kept, so what strangers cost is bounded.
 * Time is passed in. Any thread. */
#pragma once

#include "hub/address.h"
#include "hub/limits.h"

#define HUB__CENSUS_IDLE 65536u

typedef struct hub__census hub__census_t;
typedef struct hub__resident hub__resident_t; /* an address that has been seen */

/* HUB_OFF in `conns` or `connects_per_s`: no such limit. */
hub__census_t *hub__census_create(size_t conns, size_t connects_per_s, size_t burst);
/* NULL is allowed. Nobody may be in it. */
void hub__census_destroy(hub__census_t *census);

typedef enum hub__admission {
    HUB__ADMITTED,
    HUB__TOO_MANY, /* or there is no memory to count it */
    HUB__TOO_FAST,
} hub__admission_t;

/* One connection more of this address; one that `is_new` counts as made as well. Who is refused has
 * used up nothing. */
hub__admission_t hub__census_enter(hub__census_t *census, const hub__address_t *address,
                                   bool is_new, uint64_t now_ms, hub__resident_t **ret_resident);
/* One connection less. NULL is allowed. */
void hub__census_leave(hub__resident_t *resident);
/* Addresses in the table. */
size_t hub__census_size(hub__census_t *census);
