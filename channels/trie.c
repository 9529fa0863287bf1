/* SPDX-License-Identifier: MIT */
/* A trie over the tokens of all patterns. It is walked with the set of the places in the topic that
 * the tokens so far can have led to, so that each node is visited at most once per topic, however
 * many ways lead there: a plain parameter leads to each place before the next ':' or '/', a
 * constrained one to any place further on, because its expression is left to PCRE2.
 *
 * Mostly there is but one such place. From there shortcuts lead past forks: a table is asked for
 * the next few bytes, as many as anything that goes on from here has, and names the node that they
 * lead to. So literal prefixes cost the same whether there is one or a thousand. What no shortcut
 * leads to is found by its bytes one by one. */
#include "channels/trie.h"

#include <endian.h>
#include <stdlib.h>

#include "bus/buffer.h"

#define WORD_BITS 64
#define TOPIC_WORDS (HUB__TOPIC_BYTES_MAX / WORD_BITS + 1)
#define WINDOW_BYTES 8

/* One place in the patterns that begin with the same tokens. Nodes and patterns are named by index;
 * the root is node 0 and nobody's child, so that 0 means none. Children by literal text are found
 * by its first byte, in a row of the trie's table that spans the bytes in use. */
struct node {
    const char *text; /* the literal bytes that lead here from the parent */
    uint16_t text_len;
    uint16_t run_len; /* and those from `origin`, where a shortcut leads here: they end with text */
    uint32_t origin;
    uint16_t row_len; /* 0: no children by literal text */
    uint16_t skip;    /* where the bytes begin that tell shortcuts from here apart, */
    uint8_t width;    /* and how many these are; 0: there are none */
    uint8_t row_byte; /* of the first column */
    uint32_t row;     /* where it starts within the table */
    bool after_stop;  /* nothing but ':', '/', the end or a catch-all goes on from here */
    bool is_fork;     /* nothing but literal text goes on from here */
    uint32_t constrained, plain;
    uint32_t ends, catch_alls; /* 1 + index of a pattern; 0: none */
};

/* From a node to one that literal text leads to, past forks alone. */
struct shortcut {
    uint32_t tag;  /* of the hash */
    uint32_t node; /* 0: none here */
};

struct hub__trie {
    size_t count;    /* of the patterns */
    size_t words;    /* of a set of them */
    uint32_t *nexts; /* 1 + index of the next pattern that ends at the same node; 0: none */
    struct node *nodes;
    size_t node_count, node_capacity;
    uint32_t *table;
    size_t table_len;
    struct shortcut *shortcuts; /* an open table, its size a power of two */
    size_t shortcut_mask;
    unsigned shortcut_shift; /* leaves the bits of a place in it */
};

/* A pattern on its way into the trie: what is left of it begins `offset` bytes into a token. */
struct rest {
    const hub__token_t *tokens;
    size_t count, token, offset;
    uint32_t pattern;
};

struct walk {
    const hub__trie_t *trie;
    hub_str_t topic;
    size_t words; /* of a set of places: 0 to topic.len */
    hub__trie_found_t *found;
};

static void set_add(uint64_t *set, size_t place)
{
    set[place / WORD_BITS] |= (uint64_t)1 << (place % WORD_BITS);
}

static bool set_has(const uint64_t *set, size_t place)
{
    return (set[place / WORD_BITS] >> (place % WORD_BITS) & 1) != 0;
}

/* Adds `first` to `last`. */
static void set_add_range(uint64_t *set, size_t first, size_t last)
{
    for (size_t word = first / WORD_BITS; word <= last / WORD_BITS; word++) {
        uint64_t bits = UINT64_MAX;

        if (word == first / WORD_BITS)
            bits <<= first % WORD_BITS;
        if (word == last / WORD_BITS)
            bits &= UINT64_MAX >> (WORD_BITS - 1 - last % WORD_BITS);
        set[word] |= bits;
    }
}

/* The first member from `from` on; SIZE_MAX where there is none. */
static size_t set_next(const uint64_t *set, size_t words, size_t from)
{
    size_t word = from / WORD_BITS;
    uint64_t bits;

    if (word >= words)
        return SIZE_MAX;
    bits = set[word] & (UINT64_MAX << (from % WORD_BITS));
    while (bits == 0) {
        if (++word == words)
            return SIZE_MAX;
        bits = set[word];
    }
    return word * WORD_BITS + (size_t)__builtin_ctzll(bits);
}

static void set_clear(uint64_t *set, size_t words)
{
    memset(set, 0, words * sizeof(set[0]));
}

/* What a rest begins with: a byte, or a kind of token behind all bytes. */
static uint32_t rest_key(const struct rest *rest)
{
    const hub__token_t *token = &rest->tokens[rest->token];

    if (rest->token == rest->count)
        return 256 + HUB__TOKEN_END;
    if (token->kind != HUB__TOKEN_LITERAL)
        return 256 + (uint32_t)token->kind;
    return (uint8_t)token->text.base[rest->offset];
}

static int rest_order(const void *left, const void *right)
{
    uint32_t one = rest_key(left), other = rest_key(right);

    return (one > other) - (one < other);
}

static hub_str_t rest_literal(const struct rest *rest)
{
    const hub__token_t *token = &rest->tokens[rest->token];

    return hub_str_n(token->text.base + rest->offset, token->text.len - rest->offset);
}

/* Moves `count` rests behind the literal bytes that they share, and returns those. */
static hub_str_t skip_literal(struct rest *rests, size_t count)
{
    hub_str_t shared = rest_literal(&rests[0]);

    for (size_t i = 1; i < count; i++) {
        hub_str_t text = rest_literal(&rests[i]);
        size_t len = 0;

        while (len < shared.len && len < text.len && text.base[len] == shared.base[len])
            len++;
        shared.len = len;
    }
    for (size_t i = 0; i < count; i++) {
        rests[i].offset += shared.len;
        if (rests[i].offset == rests[i].tokens[rests[i].token].text.len) {
            rests[i].token++;
            rests[i].offset = 0;
        }
    }
    return shared;
}

static uint32_t add_node(hub__trie_t *trie)
{
    size_t index = trie->node_count++;

    if (index == trie->node_capacity) {
        trie->node_capacity = 2 * trie->node_count;
        trie->nodes = hub__realloc(trie->nodes, trie->node_capacity * sizeof(trie->nodes[0]));
    }
    trie->nodes[index] = (struct node){0};
    return (uint32_t)index;
}

/* How many rests begin as the first one does. */
static size_t run_length(const struct rest *rests, size_t count)
{
    size_t len = 1;

    while (len < count && rest_key(&rests[len]) == rest_key(&rests[0]))
        len++;
    return len;
}

static uint32_t chain_patterns(hub__trie_t *trie, const struct rest *rests, size_t count)
{
    uint32_t first = 0;

    for (size_t i = 0; i < count; i++) {
        trie->nexts[rests[i].pattern] = first;
        first = 1 + rests[i].pattern;
    }
    return first;
}

static void fill_node(hub__trie_t *trie, uint32_t index, struct rest *rests, size_t count);

/* `rests` are sorted and begin with bytes. */
static void add_row(hub__trie_t *trie, uint32_t index, const struct rest *rests, size_t count)
{
    struct node *node = &trie->nodes[index];

    node->row = (uint32_t)trie->table_len;
    node->row_byte = (uint8_t)rest_key(&rests[0]);
    node->row_len = (uint16_t)(rest_key(&rests[count - 1]) - node->row_byte + 1);
    trie->table_len += node->row_len;
    trie->table = hub__realloc(trie->table, trie->table_len * sizeof(trie->table[0]));
    memset(&trie->table[node->row], 0, node->row_len * sizeof(trie->table[0]));
}

static void fill_literals(hub__trie_t *trie, uint32_t index, struct rest *rests, size_t count)
{
    add_row(trie, index, rests, count);
    for (size_t i = 0, len; i < count; i += len) {
        size_t column = rest_key(&rests[i]) - trie->nodes[index].row_byte;
        uint32_t child = add_node(trie);
        hub_str_t text;

        trie->table[trie->nodes[index].row + column] = child;
        len = run_length(&rests[i], count - i);
        text = skip_literal(&rests[i], len);
        trie->nodes[child].text = text.base;
        trie->nodes[child].text_len = (uint16_t)text.len;
        fill_node(trie, child, &rests[i], len);
    }
}

static uint32_t fill_param(hub__trie_t *trie, struct rest *rests, size_t count)
{
    uint32_t child = add_node(trie);

    for (size_t i = 0; i < count; i++)
        rests[i].token++;
    fill_node(trie, child, rests, count);
    return child;
}

static bool is_after_stop(const hub__trie_t *trie, const struct node *node)
{
    if (node->constrained != 0 || node->plain != 0)
        return false;
    for (uint32_t i = 0; i < node->row_len; i++) {
        uint32_t byte = node->row_byte + i;

        if (trie->table[node->row + i] != 0 && byte != ':' && byte != '/')
            return false;
    }
    return true;
}

/* No deeper than there are patterns (each fork or end on the way leaves one behind) and parameters
 * in one pattern. */
static void fill_node(hub__trie_t *trie, uint32_t index, struct rest *rests, size_t count)
{
    size_t literals = 0;

    qsort(rests, count, sizeof(rests[0]), rest_order);
    while (literals < count && rest_key(&rests[literals]) < 256)
        literals++;
    if (literals > 0)
        fill_literals(trie, index, rests, literals);
    for (size_t i = literals, len; i < count; i += len) {
        uint32_t first, kind = rest_key(&rests[i]) - 256;

        len = run_length(&rests[i], count - i);
        if (kind == HUB__TOKEN_CONSTRAINED || kind == HUB__TOKEN_PLAIN)
            first = fill_param(trie, &rests[i], len);
        else
            first = chain_patterns(trie, &rests[i], len);
        switch (kind) {
        case HUB__TOKEN_CONSTRAINED:
            trie->nodes[index].constrained = first;
            break;
        case HUB__TOKEN_PLAIN:
            trie->nodes[index].plain = first;
            break;
        case HUB__TOKEN_END:
            trie->nodes[index].ends = first;
            break;
        default:
            trie->nodes[index].catch_alls = first;
            break;
        }
    }
    trie->nodes[index].is_fork = literals == count;
    trie->nodes[index].after_stop = is_after_stop(trie, &trie->nodes[index]);
}

/* ---- shortcuts ---- */

/* What leads from a node to a target, as one text: literals that stand together are one token. */
static hub_str_t run_of(const struct node *target, size_t run_len)
{
    return hub_str_n(target->text + target->text_len - run_len, run_len);
}

/* How many bytes lead at least from a node to one that is no fork. */
static size_t least_run(const hub__trie_t *trie, const struct node *node)
{
    size_t least = SIZE_MAX;

    for (uint32_t i = 0; i < node->row_len; i++) {
        const struct node *child = &trie->nodes[trie->table[node->row + i]];
        size_t run = child->text_len;

        if (trie->table[node->row + i] == 0)
            continue;
        if (child->is_fork)
            run += least_run(trie, child);
        least = run < least ? run : least;
    }
    return least;
}

/* The child by literal text where there is but one; NULL: there are more. */
static const struct node *only_child(const hub__trie_t *trie, const struct node *node)
{
    return node->row_len == 1 ? &trie->nodes[trie->table[node->row]] : NULL;
}

/* The first bytes of `width`, as a number. */
static inline uint64_t window(uint64_t word, unsigned width)
{
    return word & (UINT64_MAX >> (8 * (WINDOW_BYTES - width)));
}

static inline uint64_t shortcut_hash(size_t from, uint64_t bytes)
{
    return (bytes + from) * UINT64_C(0x9e3779b97f4a7c15);
}

static void add_shortcut(hub__trie_t *trie, uint32_t from, uint32_t target, size_t run_len)
{
    struct node *node = &trie->nodes[target];
    unsigned skip = trie->nodes[from].skip, width = trie->nodes[from].width;
    hub_str_t run = run_of(node, run_len);
    uint64_t word = 0, hash;
    size_t i;

    memcpy(&word, run.base + skip, width);
    hash = shortcut_hash(from, le64toh(word));
    i = hash >> trie->shortcut_shift;
    while (trie->shortcuts[i].node != 0)
        i = (i + 1) & trie->shortcut_mask;
    trie->shortcuts[i] = (struct shortcut){.tag = (uint32_t)hash, .node = target};
    node->run_len = (uint16_t)run_len;
    node->origin = from;
}

/* To each node that is reached with the last byte of the window. */
static void add_shortcuts(hub__trie_t *trie, uint32_t from, uint32_t at, size_t run_len)
{
    const struct node *start = &trie->nodes[from], *node = &trie->nodes[at];

    for (uint32_t i = 0; i < node->row_len; i++) {
        uint32_t index = trie->table[node->row + i];
        size_t len = run_len + trie->nodes[index].text_len;

        if (index == 0)
            continue;
        if (len < (size_t)start->skip + start->width)
            add_shortcuts(trie, from, index, len);
        else
            add_shortcut(trie, from, index, len);
    }
}

/* As many bytes as all that can go on from this node have in any case tell them apart at once;
 * those that all of them share need not be among these. */
static void choose_window(hub__trie_t *trie, struct node *node)
{
    const struct node *child = only_child(trie, node);
    size_t least = least_run(trie, node);

    if (child != NULL && !child->is_fork)
        return; /* no choice */
    node->skip = child != NULL ? child->text_len : 0;
    least -= node->skip;
    if (least > 1)
        node->width = (uint8_t)(least < WINDOW_BYTES ? least : WINDOW_BYTES);
}

/* For each node that a walk may stand at: the root, what follows a parameter, and where another
 * shortcut leads. (Parents come before their children.) */
static void make_shortcuts(hub__trie_t *trie)
{
    unsigned bits = 1;

    while ((size_t)1 << bits < 2 * trie->node_count)
        bits++;
    trie->shortcuts = hub__alloc_zeroed(sizeof(trie->shortcuts[0]) << bits);
    trie->shortcut_mask = ((size_t)1 << bits) - 1;
    trie->shortcut_shift = 64 - bits;
    for (uint32_t i = 0; i < trie->node_count; i++) {
        struct node *node = &trie->nodes[i];

        if (node->row_len == 0 || (node->text != NULL && node->run_len == 0))
            continue;
        choose_window(trie, node);
        if (node->width != 0)
            add_shortcuts(trie, i, i, 0);
    }
}

/* ---- walking ---- */

static void note_one(const hub__trie_t *trie, hub__trie_found_t *found, uint32_t pattern)
{
    if (found->count < HUB__TRIE_FEW) {
        found->few[found->count++] = pattern;
        return;
    }
    if (found->count == HUB__TRIE_FEW) {
        set_clear(found->many, trie->words);
        for (size_t i = 0; i < HUB__TRIE_FEW; i++)
            set_add(found->many, found->few[i]);
    }
    set_add(found->many, pattern);
    found->count++;
}

static void note(struct walk *walk, uint32_t first)
{
    for (; first != 0; first = walk->trie->nexts[first - 1])
        note_one(walk->trie, walk->found, first - 1);
}

static uint32_t child_of(const hub__trie_t *trie, const struct node *node, uint8_t byte)
{
    size_t column = (size_t)byte - node->row_byte; /* past the end where the byte is below */

    return column < node->row_len ? trie->table[node->row + column] : 0;
}

static size_t plain_end(hub_str_t topic, size_t at)
{
    while (at < topic.len && !hub__pattern_is_stop(topic.base[at]))
        at++;
    return at;
}

static void visit_set(struct walk *walk, uint32_t index, const uint64_t *places);

static void visit_literal(struct walk *walk, uint32_t index, const uint64_t *places)
{
    const struct node *node = &walk->trie->nodes[index];
    hub_str_t topic = walk->topic, text = hub_str_n(node->text, node->text_len);
    uint64_t behind[TOPIC_WORDS];
    bool any = false;

    set_clear(behind, walk->words);
    for (size_t at = set_next(places, walk->words, 0); at != SIZE_MAX;
         at = set_next(places, walk->words, at + 1)) {
        if (hub_str_starts_with(hub_str_n(topic.base + at, topic.len - at), text)) {
            set_add(behind, at + text.len);
            any = true;
        }
    }
    if (any)
        visit_set(walk, index, behind);
}

/* Each child at most once, whatever the number of places that its first byte stands at. */
static void visit_literals(struct walk *walk, const struct node *node, const uint64_t *places)
{
    uint64_t wanted[4] = {0};

    for (size_t at = set_next(places, walk->words, 0); at < walk->topic.len;
         at = set_next(places, walk->words, at + 1)) {
        uint8_t byte = (uint8_t)walk->topic.base[at];

        if (child_of(walk->trie, node, byte) != 0)
            set_add(wanted, byte);
    }
    for (size_t byte = set_next(wanted, 4, 0); byte != SIZE_MAX;
         byte = set_next(wanted, 4, byte + 1))
        visit_literal(walk, child_of(walk->trie, node, (uint8_t)byte), places);
}

/* Behind a constrained parameter that begins at `at` or later. */
static void visit_constrained(struct walk *walk, uint32_t index, size_t at)
{
    uint64_t behind[TOPIC_WORDS];

    if (at == walk->topic.len)
        return;
    set_clear(behind, walk->words);
    set_add_range(behind, at + 1, walk->topic.len);
    visit_set(walk, index, behind);
}

static void visit_plain(struct walk *walk, uint32_t index, const uint64_t *places)
{
    hub_str_t topic = walk->topic;
    uint64_t behind[TOPIC_WORDS];
    bool any = false;
    size_t end = 0;

    set_clear(behind, walk->words);
    for (size_t at = set_next(places, walk->words, 0); at < topic.len;
         at = set_next(places, walk->words, end > at ? end : at + 1)) {
        end = plain_end(topic, at);
        if (end > at) {
            set_add_range(behind, at + 1, end);
            any = true;
        }
    }
    if (any)
        visit_set(walk, index, behind);
}

/* `places`: where in the topic the tokens up to this node can have ended; at least one. No deeper
 * than the topic is long: each node on the way takes a byte of it. */
static void visit_set(struct walk *walk, uint32_t index, const uint64_t *places)
{
    const struct node *node = &walk->trie->nodes[index];

    if (set_has(places, walk->topic.len))
        note(walk, node->ends);
    note(walk, node->catch_alls);
    if (node->row_len != 0)
        visit_literals(walk, node, places);
    if (node->constrained != 0)
        visit_constrained(walk, node->constrained, set_next(places, walk->words, 0));
    if (node->plain != 0)
        visit_plain(walk, node->plain, places);
}

/* Mostly a name and a colon: too short to call for. */
static inline bool is_same(const char *left, const char *right, size_t len)
{
    uint64_t one, other;

    if (len < sizeof(one)) {
        for (size_t i = 0; i < len; i++)
            if (left[i] != right[i])
                return false;
        return true;
    }
    for (size_t at = 0;; at += sizeof(one)) {
        if (len - at < sizeof(one))
            at = len - sizeof(one);
        memcpy(&one, left + at, sizeof(one));
        memcpy(&other, right + at, sizeof(other));
        if (one != other)
            return false;
        if (at + sizeof(one) == len)
            return true;
    }
}

/* The child that goes on with the topic's next bytes, if there is one. */
static uint32_t literal_at(const struct walk *walk, const struct node *node, size_t at)
{
    hub_str_t topic = walk->topic;
    uint32_t index = child_of(walk->trie, node, (uint8_t)topic.base[at]);
    const struct node *child = &walk->trie->nodes[index];

    if (index == 0 || child->text_len > topic.len - at ||
        !is_same(topic.base + at, child->text, child->text_len))
        return 0;
    return index;
}

/* Eight bytes from `at` on, or as many as there are, the first one lowest. */
static inline uint64_t word_at(hub_str_t topic, size_t at)
{
    size_t left = topic.len - at;
    uint64_t word = 0;

    if (left >= sizeof(word)) {
        memcpy(&word, topic.base + at, sizeof(word));
        return le64toh(word);
    }
    if (topic.len >= sizeof(word)) {
        memcpy(&word, topic.base + topic.len - sizeof(word), sizeof(word));
        return le64toh(word) >> (8 * (sizeof(word) - left));
    }
    for (size_t i = left; i > 0; i--)
        word = word << 8 | (uint8_t)topic.base[at + i - 1];
    return word;
}

/* Where a shortcut from this node leads that goes on with the topic's next bytes. */
static uint32_t shortcut_at(const struct walk *walk, const struct node *node, size_t at)
{
    const hub__trie_t *trie = walk->trie;
    hub_str_t topic = walk->topic;
    uint32_t from = (uint32_t)(node - trie->nodes);
    uint64_t hash;

    if ((size_t)node->skip + node->width > topic.len - at)
        return 0;
    hash = shortcut_hash(from, window(word_at(topic, at + node->skip), node->width));
    for (size_t i = hash >> trie->shortcut_shift; trie->shortcuts[i].node != 0;
         i = (i + 1) & trie->shortcut_mask) {
        uint32_t index = trie->shortcuts[i].node;
        const struct node *target = &trie->nodes[index];

        if (trie->shortcuts[i].tag != (uint32_t)hash || target->origin != from)
            continue;
        if (target->run_len <= topic.len - at &&
            is_same(topic.base + at, run_of(target, target->run_len).base, target->run_len))
            return index;
    }
    return 0;
}

static void visit_place(struct walk *walk, uint32_t index, size_t at);

/* What is to be done at a node besides going on with literal text. */
static void visit_tokens(struct walk *walk, const struct node *node, size_t at)
{
    const struct node *nodes = walk->trie->nodes;
    uint64_t places[TOPIC_WORDS];
    size_t end;

    note(walk, node->catch_alls);
    if (at == walk->topic.len) {
        note(walk, node->ends);
        return;
    }
    if (node->constrained != 0)
        visit_constrained(walk, node->constrained, at);
    if (node->plain == 0 || (end = plain_end(walk->topic, at)) == at)
        return;
    if (nodes[node->plain].after_stop) {
        visit_place(walk, node->plain, end);
    } else {
        set_clear(places, walk->words);
        set_add_range(places, at + 1, end);
        visit_set(walk, node->plain, places);
    }
}

/* The same as visit_set() for a single place, which is all there is up to a constraint or a plain
 * parameter whose end is open. */
static void visit_place(struct walk *walk, uint32_t index, size_t at)
{
    const struct node *nodes = walk->trie->nodes, *node = &nodes[index];

    for (;;) {
        if (!node->is_fork)
            visit_tokens(walk, node, at);
        if (at == walk->topic.len)
            return;
        if (node->width != 0 && (index = shortcut_at(walk, node, at)) != 0) {
            node = &nodes[index];
            at += node->run_len;
            continue;
        }
        if ((index = literal_at(walk, node, at)) == 0)
            return;
        node = &nodes[index];
        at += node->text_len;
    }
}

hub__trie_t *hub__trie_create(const hub__pattern_t *const *patterns, size_t count)
{
    struct rest *rests = hub__alloc_zeroed(count * sizeof(*rests));
    hub__trie_t *trie = hub__alloc_zeroed(sizeof(*trie));

    trie->count = count;
    trie->words = count / WORD_BITS + 1;
    trie->nexts = hub__alloc_zeroed(count * sizeof(trie->nexts[0]));
    for (size_t i = 0; i < count; i++) {
        rests[i].tokens = hub__pattern_tokens(patterns[i], &rests[i].count);
        rests[i].pattern = (uint32_t)i;
    }
    fill_node(trie, add_node(trie), rests, count);
    make_shortcuts(trie);
    free(rests);
    return trie;
}

void hub__trie_destroy(hub__trie_t *trie)
{
    if (trie == NULL)
        return;
    free(trie->nexts);
    free(trie->nodes);
    free(trie->table);
    free(trie->shortcuts);
    free(trie);
}

void hub__trie_find(const hub__trie_t *trie, hub_str_t topic, hub__trie_found_t *ret_found)
{
    struct walk walk = {
        .trie = trie, .topic = topic, .words = topic.len / WORD_BITS + 1, .found = ret_found};

    ret_found->count = 0;
    visit_place(&walk, 0, 0);
}

size_t hub__trie_next(const hub__trie_t *trie, const hub__trie_found_t *found, size_t from)
{
    size_t next = SIZE_MAX;

    if (found->count > HUB__TRIE_FEW)
        return set_next(found->many, trie->words, from);
    for (size_t i = 0; i < found->count; i++)
        if (found->few[i] >= from && found->few[i] < next)
            next = found->few[i];
    return next;
}
