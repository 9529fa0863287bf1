/* SPDX-License-Identifier: MIT */
/* Linear hashing. With `size` buckets, level = the largest power of two not above it: bucket
 * size - level is the next one to be split, into itself and bucket `size`; merging is the way back.
 * There is about one node per bucket while a table grows, and one in two buckets before it shrinks:
 * the distance keeps a count that swings around a border from moving memory each time.
 *
 * A walk only suspends the splitting and merging, which would move nodes across the place that it
 * has reached, and makes up for it at its end: so it needs no memory and can't fail. */
#include "bus/table.h"

#include <pthread.h>
#include <sodium/crypto_shorthash.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

/* With one step per change the size would never catch up with a count that had run ahead while
 * there was no memory, or follow it down from the double. */
#define STEPS_PER_CHANGE 2
#define SIZE_MAX_BUCKETS ((uint32_t)1 << 30)

static unsigned char hash_key[crypto_shorthash_KEYBYTES];
static pthread_once_t hash_key_once = PTHREAD_ONCE_INIT;

/* So few bytes come whole (getrandom(2)) once the pool is ready, which the call waits for. */
static void make_hash_key(void)
{
    if (getrandom(hash_key, sizeof(hash_key), 0) == (ssize_t)sizeof(hash_key))
        return;
    perror("getrandom: no key for the hash tables");
    abort();
}

uint64_t hub__hash(hub_str_t key)
{
    uint64_t hash;
    unsigned char bytes[sizeof(hash)];

    _Static_assert(sizeof(hash) == crypto_shorthash_BYTES, "a hash is one word");
    pthread_once(&hash_key_once, make_hash_key);
    crypto_shorthash(bytes, (const unsigned char *)(key.len == 0 ? "" : key.base), key.len,
                     hash_key);
    memcpy(&hash, bytes, sizeof(hash));
    return hash;
}

/* Keyed as well, because one of the two may be a plain number that a peer chose. */
uint64_t hub__hash_mix(uint64_t left, uint64_t right)
{
    uint64_t both[] = {left, right};

    return hub__hash(hub_str_n((const char *)both, sizeof(both)));
}

static uint32_t bucket_count(const hub__table_t *table)
{
    return table->size == 0 ? 1 : table->size;
}

/* The largest power of two not above `size`, which is not 0. */
static uint32_t level_of(uint32_t size)
{
    return (uint32_t)1 << (31 - __builtin_clz(size));
}

static hub__table_node_t **bucket_at(hub__table_t *table, uint32_t index)
{
    return table->size <= 1 ? &table->buckets.one : &table->buckets.many[index];
}

static uint32_t index_of(const hub__table_t *table, uint64_t hash)
{
    uint32_t size = bucket_count(table), level = level_of(size);
    uint32_t index = (uint32_t)hash & (2 * level - 1);

    /* the buckets from `size` on are not split off yet */
    return index < size ? index : index & (level - 1);
}

/* Makes room for one bucket more; false where there is no memory. */
static bool reserve_bucket(hub__table_t *table)
{
    uint32_t size = bucket_count(table);
    hub__table_node_t **before = size == 1 ? NULL : table->buckets.many, **many;

    if (size != level_of(size))
        return true; /* within the capacity */
    if (size == SIZE_MAX_BUCKETS)
        return false;
    many = realloc(before, 2 * (size_t)size * sizeof(*many));
    if (many == NULL)
        return false;
    if (size == 1)
        many[0] = table->buckets.one;
    table->buckets.many = many;
    return true;
}

static bool split(hub__table_t *table)
{
    uint32_t size = bucket_count(table), level = level_of(size);
    hub__table_node_t **keep, **move, *node;

    if (!reserve_bucket(table))
        return false;
    table->size = size + 1;
    keep = &table->buckets.many[size - level];
    move = &table->buckets.many[size];
    for (node = *keep; node != NULL; node = node->next) {
        hub__table_node_t ***end = (node->hash & level) != 0 ? &move : &keep;

        **end = node;
        *end = &node->next;
    }
    *keep = *move = NULL;
    return true;
}

/* The array behind `size` buckets; where a smaller one can't be had, the old one serves as well. */
static void trim(hub__table_t *table, uint32_t size)
{
    hub__table_node_t **many = table->buckets.many, **trimmed;

    if (size == 1) {
        table->buckets.one = many[0];
        free(many);
        return;
    }
    trimmed = realloc(many, (size_t)size * sizeof(*many));
    if (trimmed != NULL)
        table->buckets.many = trimmed;
}

static void merge(hub__table_t *table)
{
    uint32_t last = table->size - 1;
    hub__table_node_t **many = table->buckets.many;
    hub__table_node_t **end = &many[last - level_of(last)];

    while (*end != NULL)
        end = &(*end)->next;
    *end = many[last];
    table->size = last;
    if (last == level_of(last))
        trim(table, last);
}

/* Brings the number of buckets nearer to the number of nodes. */
static void follow_count(hub__table_t *table, uint32_t steps)
{
    for (; steps > 0 && !table->_walking; steps--) {
        uint32_t size = bucket_count(table);

        if (table->count > size) {
            if (!split(table))
                return; /* put off: chains grow longer until there is memory again */
        } else if (table->count < size / 2) {
            merge(table);
        } else {
            return;
        }
    }
}

void hub__table_insert(hub__table_t *table, hub__table_node_t *node)
{
    hub__table_node_t **bucket = bucket_at(table, index_of(table, node->hash));

    node->next = *bucket;
    *bucket = node;
    table->count++;
    follow_count(table, STEPS_PER_CHANGE);
}

void hub__table_remove(hub__table_t *table, hub__table_node_t *node)
{
    hub__table_node_t **link = bucket_at(table, index_of(table, node->hash));

    while (*link != node)
        link = &(*link)->next;
    *link = node->next;
    node->next = NULL;
    table->count--;
    follow_count(table, STEPS_PER_CHANGE);
}

hub__table_node_t *hub__table_chain(const hub__table_t *table, uint64_t hash)
{
    return table->size <= 1 ? table->buckets.one : table->buckets.many[index_of(table, hash)];
}

void hub__table_foreach(hub__table_t *table, void (*visit)(hub__table_node_t *node, void *user),
                        void *user)
{
    uint32_t count = table->count;
    bool nested = table->_walking;

    table->_walking = true;
    for (uint32_t i = 0; i < bucket_count(table); i++) {
        hub__table_node_t *node = *bucket_at(table, i), *next;

        for (; node != NULL; node = next) {
            next = node->next; /* the visit may free the node */
            visit(node, user);
        }
    }
    table->_walking = nested;
    /* an unchanged count may mean nodes that were freed and forgotten: those are not touched again
     */
    if (table->count != count)
        follow_count(table, UINT32_MAX);
}

void hub__table_dispose(hub__table_t *table)
{
    if (table->size > 1)
        free(table->buckets.many);
    *table = (hub__table_t){0};
}
