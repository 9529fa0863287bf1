/* test/ledger.h - what the stress test knows: who published what, and so what everybody must have
 * heard of it.
 *
 * A publisher is one connection, or one thread of the program. What it says on a topic has numbers
 * from 1; each is written down before it is sent and again once the server has it. A hearing is
 * what one connection hears of one topic. The first thing that must not be ends the process, with
 * its reason and the seed. */
#pragma once

#include "bus/base.h"

typedef struct ledger ledger_t;

typedef enum ledger_kind {
    LEDGER_SHOUT,   /* hub_member_broadcast() */
    LEDGER_OTHERS,  /* hub_member_broadcast_from() */
    LEDGER_PUBLISH, /* hub_publish() */
    LEDGER_EMIT,    /* hub_emit() */
    LEDGER_KINDS,
} ledger_kind_t;

ledger_t *ledger_create(uint64_t seed, uint32_t topics);
/* The server is another process and does not call ledger_accept(). What a client's message became
 * is known when it is answered, or when the first one hears it; whoever has heard a later one of
 * the same publisher by then was owed it. */
ledger_t *ledger_create_remote(uint64_t seed, uint32_t topics);
void ledger_destroy(ledger_t *ledger);

/* Prints what is wrong and ends the process. Any thread. */
_Noreturn void ledger_fail(const ledger_t *ledger, const char *format, ...) HUB_PRINTF(2, 3);

/* ---- who says what: any thread ---- */

uint32_t ledger_publisher(ledger_t *ledger);
/* Is about to be sent. Returns its number. */
uint32_t ledger_intend(ledger_t *ledger, uint32_t publisher, uint32_t topic, ledger_kind_t kind);
/* Is about to be handed to the hub, which must not refuse it. Remote: it was answered ok. */
void ledger_accept(ledger_t *ledger, uint32_t publisher, uint32_t topic, uint32_t number);
/* The newest number; 0: none. Without emits: the newest that is none. */
uint32_t ledger_newest(ledger_t *ledger, uint32_t publisher, uint32_t topic, bool without_emits);
uint64_t ledger_accepted(ledger_t *ledger); /* of all publishers and topics */

/* ---- who hears what: the thread of the clients ---- */

struct heard {
    uint32_t number;     /* the newest of a publisher */
    uint32_t membership; /* in which it came */
};

/* Zeroed but for the first three and `lossy`. Over several memberships of one connection. */
typedef struct hearing {
    char who[48];
    uint32_t self; /* what this connection says itself */
    uint32_t topic;
    uint32_t membership;
    uint32_t own_before; /* its own newest when it asked to join */
    uint64_t since;      /* the ledger's clock when it had its join reply */
    bool lossy;          /* gap notices speak of its own messages, too */
    uint64_t missed;     /* messages that gap notices have announced and nobody has looked for */
    struct heard *heard; /* by publisher */
    uint32_t heard_count;
} hearing_t;

/* The join reply is here. */
void hearing_begin(ledger_t *ledger, hearing_t *hearing, uint32_t own_before);
/* A message is here: nothing may be missing before it. */
void hearing_take(ledger_t *ledger, hearing_t *hearing, uint32_t publisher, uint32_t number);
/* The leave reply is here: its own messages up to this number must have come. */
void hearing_end(ledger_t *ledger, hearing_t *hearing, uint32_t own_newest);
/* Whether everything that was accepted has come; else says what is missing. */
bool hearing_is_complete(ledger_t *ledger, const hearing_t *hearing, char *why, size_t size);
void hearing_dispose(hearing_t *hearing);
