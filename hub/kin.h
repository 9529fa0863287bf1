/* hub/kin.h - private: the connections of one identity at one endpoint, on all workers, by age.
 *
 * They live on threads of their own, so what is known of them here is only where they are. One that
 * comes when there are as many as allowed takes the place of the oldest, which is counted no more
 * from that moment on, and is told to end on its worker. So each that comes displaces one at most,
 * and none while there is room. */
#pragma once

#include <pthread.h>

#include "bus/table.h"

struct hub;
struct hub__worker;

/* One connection, embedded in it. Zeroed: it is in no table. */
typedef struct hub__kin {
    struct hub__kin_group *group; /* NULL: not counted, or not any more */
    struct hub__kin *older, *newer;
    struct hub__worker *worker;
    uint64_t local; /* its id there */
} hub__kin_t;

typedef struct hub__kin_table {
    pthread_mutex_t lock; /* all below, and every hub__kin_t of this table */
    struct hub *root;     /* NULL: of a raw route */
    size_t limit;         /* HUB_OFF: nobody is counted */
    hub__table_t groups;
} hub__kin_table_t;

void hub__kin_table_init(hub__kin_table_t *table, struct hub *root, size_t limit);
void hub__kin_table_dispose(hub__kin_table_t *table); /* It must be empty. */

/* Counts a connection, the newest of its identity. HUB_ENOMEM: it is not counted. Thread of its
 * worker. */
HUB_MUST_USE hub_status_t hub__kin_enter(hub__kin_table_t *table, hub__kin_t *kin,
                                         hub_str_t identity);
/* It is about to end. May be called again. Thread of its worker. */
void hub__kin_leave(hub__kin_table_t *table, hub__kin_t *kin);
