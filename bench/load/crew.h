/* bench/load/crew.h - the connections of a workload: members spread over topics, and publishers. */
#pragma once

#include <stdint.h>

#include "bench/load/load.h"

/* Connects all. Members join topic number modulo --topics; publishers join all of them where the
 * server wants that. */
void crew_enter(load_t *load);
/* The same in two steps: who they are, where the workload wants some of them otherwise; and
 * connecting. */
void crew_prepare(load_t *load);
void crew_connect(load_t *load);
/* Closes all connections. */
void crew_leave(load_t *load);
void crew_dispose(load_t *load);

/* The connection on which a publisher publishes in a topic. */
talk_t *crew_publisher(const load_t *load, uint32_t topic, uint32_t publisher);
/* Publishes after which a walk over both at once begins anew. */
uint64_t crew_round(uint32_t topics, uint32_t publishers);
