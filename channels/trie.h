/* channels/trie.h - private: which of many patterns can match a topic at all.
 *
 * Made once from the tokens of all patterns, in their order, then immutable. What it leaves out
 * can't match; what it finds mostly does. How many patterns there are makes hardly any difference:
 * literal text is followed by one byte where it forks, and by up to eight at once from where a walk
 * can stand for sure. Any thread may walk. */
#pragma once

#include "channels/pattern.h"

#define HUB__TRIE_PATTERNS_MAX 1000

typedef struct hub__trie hub__trie_t;

/* What was found, by index: a few as they came, more as a set. */
#define HUB__TRIE_FEW 8
typedef struct hub__trie_found {
    size_t count;
    uint32_t few[HUB__TRIE_FEW];
    uint64_t many[HUB__TRIE_PATTERNS_MAX / 64 + 1]; /* once they are more than a few */
} hub__trie_found_t;

/* Of `count` patterns, at most HUB__TRIE_PATTERNS_MAX; they must outlive it. Owned by the caller
 * (hub__trie_destroy). */
hub__trie_t *hub__trie_create(const hub__pattern_t *const *patterns, size_t count);
/* NULL is allowed. */
void hub__trie_destroy(hub__trie_t *trie);

/* Finds the patterns that can match `topic`, which is at most HUB__TOPIC_BYTES_MAX long. */
void hub__trie_find(const hub__trie_t *trie, hub_str_t topic, hub__trie_found_t *ret_found);
/* The first of those from the index `from` on; SIZE_MAX: none. */
size_t hub__trie_next(const hub__trie_t *trie, const hub__trie_found_t *found, size_t from);
