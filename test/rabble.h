/* test/rabble.h - the clients of the soak that the server must put up with: hostile ones, which
 * nobody judges, and well-behaved ones on long poll, which are.
 *
 * A thread for each, with sockets that block; together they run from start to stop. */
#pragma once

#include <netinet/in.h>

#include "bus/base.h"

typedef struct rabble rabble_t;

typedef struct rabble_options {
    struct sockaddr_in address;
    uint64_t seed;
    uint32_t hostile, pollers; /* threads of each */
    uint32_t pause_ms;         /* between two attacks of one thread */
    /* What a poller heard breaks a promise: ends the process. */
    void (*fail)(const char *text);
} rabble_options_t;

typedef struct rabble_counts {
    uint64_t attacks;  /* connections made to no good */
    uint64_t sessions; /* of pollers, from opening to leaving */
    uint64_t heard;    /* messages that pollers got */
} rabble_counts_t;

rabble_t *rabble_start(const rabble_options_t *options);
/* Returns when all connections are closed. */
rabble_counts_t rabble_stop(rabble_t *rabble);
