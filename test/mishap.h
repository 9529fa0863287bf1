/* test/mishap.h - what may happen to a broker, or to the connections of nodes to it: the faults of
 * the matrix. */
#pragma once

#include "test/cell.h"

typedef struct mishap {
    const char *name;
    /* Both return false where the broker did not do what was wanted. `begin` gives out, bit by bit,
     * which nodes are hit. `end` may be NULL. */
    bool (*begin)(cell_t *cell, unsigned *ret_hit);
    bool (*end)(cell_t *cell);
    unsigned hold_ms; /* between them */
    unsigned back_ms; /* the limit after the end */
    unsigned kinds;   /* of broker, bit by bit; 0: all */
    bool unfelt;      /* it may pass without a connection being lost */
    bool shuts_out;   /* the broker asks for a user */
    bool deaf;        /* nobody tells a node: positions are lost as well until it has found out */
} mishap_t;

extern const mishap_t mishaps[];
extern const size_t mishap_count;

/* NULL: none is called that, or not with that broker. */
const mishap_t *mishap_find(const char *name, broker_kind_t kind);
/* What the broker needs for it. */
broker_options_t mishap_broker_options(const mishap_t *mishap, broker_kind_t kind);
