/* test/crowd.h - the clients of the stress test: one thread and one epoll for hundreds of them, who
 * join, leave, speak and die at random and hold the server to what a ledger says.
 *
 * Whatever a server does that it must not ends the process (ledger_fail()). One thread. */
#pragma once

#include "test/ledger.h"

/* What joins to a topic are answered with. */
typedef enum crowd_door {
    CROWD_OPEN,
    CROWD_LATER, /* later, and perhaps refused */
    CROWD_CLOSED,
} crowd_door_t;

typedef struct crowd_topic {
    const char *name;
    crowd_door_t door;
    bool lossy;   /* what is dropped for who reads slowly is told by gap notices */
    bool flooded; /* only by order, with long messages; half of the clients that read slowly join */
} crowd_topic_t;

/* A message's event says what the server is to do with it, its payload who said it and where. */
extern const char *const crowd_events[LEDGER_KINDS];

/* Writes the payload, at least CROWD_PAYLOAD bytes; it is padded to `bytes`. Returns its length. */
#define CROWD_PAYLOAD 96
size_t crowd_payload(char *text, uint32_t publisher, uint32_t topic, uint32_t number, size_t bytes);

typedef struct crowd_options {
    const char *address;
    ledger_t *ledger;
    uint64_t seed;
    const crowd_topic_t *topics;
    uint32_t topic_count;
    uint32_t clients;
    uint32_t slow_clients; /* of them: these stop reading now and then */
    uint32_t identities;   /* client i is "u<i mod identities>" */
    bool gaps;             /* gap notices are to be expected */
    bool remote;           /* the server is another process; its ledger is one of those */
    uint32_t sources;      /* addresses from 127.0.0.2 on that clients come from; 0: 127.0.0.1 */
    uint32_t steps_per_s;  /* 0: as many as can be */
    /* Has a thread of the program publish `count` messages of `bytes`. */
    void (*order)(uint32_t topic, uint32_t count, size_t bytes, void *user);
    bool (*orders_done)(void *user);                /* what was ordered has been published */
    void (*kick)(const char *identity, void *user); /* hub_disconnect() */
    void *user;
} crowd_options_t;

typedef struct crowd_counts {
    uint64_t connects, joins, refused_joins, leaves, said, heard, gap_notices;
    uint64_t kicked, slow_closes, shutdowns, died;
} crowd_counts_t;

typedef struct crowd crowd_t;

crowd_t *crowd_create(const crowd_options_t *options);
void crowd_destroy(crowd_t *crowd);
/* Random steps. */
void crowd_run(crowd_t *crowd, unsigned ms);
/* No more steps: every request is answered, and everybody has heard what is owed to them. */
void crowd_settle(crowd_t *crowd);
/* All slow clients stop reading while long messages come, until there are enough. */
void crowd_stall(crowd_t *crowd, bool (*enough)(void *user));
/* Everybody goes, one way or another. */
void crowd_disperse(crowd_t *crowd);
/* The server stops: everybody who is connected is closed with 1012. */
void crowd_await_shutdown(crowd_t *crowd);
crowd_counts_t crowd_counts(const crowd_t *crowd);
