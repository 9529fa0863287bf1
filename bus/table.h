/* bus/table.h - private: an intrusive hash table that never stalls.
 *
 * Linear hashing: each insertion splits at most two buckets, each removal merges at most two, so a
 * million entries come and go without one long pause, and the memory follows the count down. A
 * table of one bucket needs no allocation: zeroed storage is an empty table. Keys are hashed with
 * SipHash-2-4 under a random key of the process, so no peer can choose colliding ones.
 *
 * The table owns only its bucket array; nodes live in their owners. */
#pragma once

#include "bus/base.h"

typedef struct hub__table_node {
    struct hub__table_node *next;
    uint64_t hash;
} hub__table_node_t;

typedef struct hub__table {
    union {
        hub__table_node_t *one;   /* while size <= 1 */
        hub__table_node_t **many; /* capacity is the next power of two */
    } buckets;
    uint32_t size; /* buckets in use; 0 is read as 1 */
    uint32_t count : 31;
    uint32_t _walking : 1; /* within hub__table_foreach() */
} hub__table_t;

/* Keyed hash of any bytes. Any thread. */
uint64_t hub__hash(hub_str_t key);
uint64_t hub__hash_mix(uint64_t left, uint64_t right);

/* `node->hash` is set by the caller. Growing may fail for want of memory, and is then put off: the
 * insertion itself never fails. */
void hub__table_insert(hub__table_t *table, hub__table_node_t *node);
/* `node` must be in the table. */
void hub__table_remove(hub__table_t *table, hub__table_node_t *node);
/* The first node of the chain that `hash` falls into; follow `next`, compare hash, then key. */
hub__table_node_t *hub__table_chain(const hub__table_t *table, uint64_t hash);
/* Calls `visit` for each node once. It may remove that node and then free it, no other; it may also
 * free all of them without removing any, where hub__table_dispose() follows. A node inserted
 * meanwhile is visited or not. */
void hub__table_foreach(hub__table_t *table, void (*visit)(hub__table_node_t *node, void *user),
                        void *user);
/* Frees the bucket array; the table must be empty or its nodes forgotten. */
void hub__table_dispose(hub__table_t *table);

#define HUB__CONTAINER(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
