/* SPDX-License-Identifier: MIT */
/* The router. All patterns are sorted by specificity once; a trie over their tokens then answers
 * which of them can match a topic at all. It is walked with the set of the places in the topic that
 * the tokens so far can have led to, so that each node is visited at most once per topic, however
 * many ways lead there: a plain parameter leads to each place before the next ':' or '/', a
 * constrained one to any place further on, because its expression is left to PCRE2. The walk only
 * notes who can match; hub__pattern_match() decides, in the order of specificity.
 *
 * A pattern that the walk leaves out can't match, so leaving it out is no way around the rule that
 * a failed match denies the join. */
#include "channels/router.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "bus/buffer.h"

#define WORD_BITS 64
#define TOPIC_WORDS (HUB__TOPIC_BYTES_MAX / WORD_BITS + 1)
#define ENTRY_WORDS (HUB__ROUTER_PATTERNS_MAX / WORD_BITS + 1)

struct entry {
    hub__route_t route;
    hub__pattern_t *pattern; /* owned */
    int priority;
    uint32_t next; /* 1 + index of the next entry that ends at the same node; 0: none */
};

/* One place in the patterns that begin with the same tokens. Nodes and entries are named by index;
 * the root is node 0 and nobody's child, so that 0 means none. Children by literal text are found
 * by its first byte, in a row of the router's table that spans the bytes in use. */
struct node {
    const char *text; /* the literal bytes that lead here from the parent */
    uint32_t text_len;
    uint32_t row;     /* where it starts within the table */
    uint16_t row_len; /* 0: no children by literal text */
    uint8_t row_byte; /* of the first column */
    bool after_stop;  /* nothing but ':', '/', the end or a catch-all goes on from here */
    bool is_fork;     /* nothing but literal text goes on from here */
    uint32_t constrained, plain;
    uint32_t ends, catch_alls; /* 1 + index of an entry; 0: none */
};

struct hub__router {
    atomic_uint count;
    size_t entry_count;
    size_t entry_words; /* of a set of entries */
    struct entry *entries;
    struct node *nodes;
    size_t node_count, node_capacity;
    uint32_t *table;
    size_t table_len;
};

/* A pattern on its way into the trie: what is left of it begins `offset` bytes into a token. */
struct rest {
    const hub__token_t *tokens;
    size_t count, token, offset;
    uint32_t entry;
};

struct walk {
    const hub__router_t *router;
    hub_str_t topic;
    size_t words; /* of a set of places: 0 to topic.len */
    size_t first; /* of the entries found; SIZE_MAX: none */
    uint64_t found[ENTRY_WORDS];
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

/* Negative: `left` goes first. Zero: nothing decides. */
static int entry_order(const struct entry *left, const struct entry *right)
{
    bool conflict;
    int order = hub__pattern_compare(left->pattern, right->pattern, &conflict);

    if (!conflict)
        return order;
    return (left->priority < right->priority) - (left->priority > right->priority);
}

/* Total wherever a pair has an order at all, so that one set of sources gives one order. */
static int sort_order(const void *left, const void *right)
{
    const struct entry *one = left, *other = right;
    int order = entry_order(one, other);
    hub_str_t source, other_source;

    if (order != 0)
        return order;
    source = hub__pattern_source(one->pattern);
    other_source = hub__pattern_source(other->pattern);
    order = memcmp(source.base, other_source.base,
                   source.len < other_source.len ? source.len : other_source.len);
    return order != 0 ? order : (source.len > other_source.len) - (source.len < other_source.len);
}

static hub_status_t fail_conflict(hub_error_t *error, const struct entry *left,
                                  const struct entry *right, const char *what)
{
    char one[HUB__PATTERN_QUOTED], other[HUB__PATTERN_QUOTED];

    return hub_error_set(error, HUB_ECONFLICT, 0, "%s and %s %s",
                         hub__pattern_quote(hub__pattern_source(left->pattern), one),
                         hub__pattern_quote(hub__pattern_source(right->pattern), other), what);
}

/* Priorities can run in a circle with specificity, and no order of a circle is right for each of
 * its pairs: so that every pair is right proves that there is none. */
static hub_status_t check_order(const hub__router_t *router, hub_error_t *error)
{
    for (size_t i = 0; i < router->entry_count; i++) {
        const struct entry *left = &router->entries[i];

        for (size_t j = i + 1; j < router->entry_count; j++) {
            const struct entry *right = &router->entries[j];
            int order = entry_order(left, right);

            if (hub__pattern_equals(left->pattern, right->pattern))
                return fail_conflict(error, left, right, "are the same pattern");
            if (order == 0)
                return fail_conflict(error, left, right,
                                     "conflict: their constraints differ, so only a .priority can "
                                     "say which goes first");
            if (order > 0)
                return fail_conflict(error, left, right,
                                     "are in contradiction: specificity and priorities run in a "
                                     "circle");
        }
    }
    return HUB_OK;
}

static hub_status_t compile_entries(hub__router_t *router, const hub__route_source_t *sources,
                                    size_t count, hub_error_t *error)
{
    router->entries = hub__alloc_zeroed(count * sizeof(router->entries[0]));
    for (; router->entry_count < count; router->entry_count++) {
        const hub__route_source_t *source = &sources[router->entry_count];
        struct entry *entry = &router->entries[router->entry_count];
        hub_status_t status =
            hub__pattern_compile(source->prefix, source->pattern, &entry->pattern, error);

        if (status != HUB_OK)
            return status;
        entry->priority = source->has_priority ? source->priority : 0;
        entry->route.pattern = entry->pattern;
        entry->route.target = source->target;
    }
    qsort(router->entries, count, sizeof(router->entries[0]), sort_order);
    for (size_t i = 0; i < count; i++)
        router->entries[i].route.index = i;
    return check_order(router, error);
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

static uint32_t add_node(hub__router_t *router)
{
    size_t index = router->node_count++;

    if (index == router->node_capacity) {
        router->node_capacity = 2 * router->node_count;
        router->nodes =
            hub__realloc(router->nodes, router->node_capacity * sizeof(router->nodes[0]));
    }
    router->nodes[index] = (struct node){0};
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

static uint32_t chain_entries(hub__router_t *router, const struct rest *rests, size_t count)
{
    uint32_t first = 0;

    for (size_t i = 0; i < count; i++) {
        router->entries[rests[i].entry].next = first;
        first = 1 + rests[i].entry;
    }
    return first;
}

static void fill_node(hub__router_t *router, uint32_t index, struct rest *rests, size_t count);

/* `rests` are sorted and begin with bytes. */
static void add_row(hub__router_t *router, uint32_t index, const struct rest *rests, size_t count)
{
    struct node *node = &router->nodes[index];

    node->row = (uint32_t)router->table_len;
    node->row_byte = (uint8_t)rest_key(&rests[0]);
    node->row_len = (uint16_t)(rest_key(&rests[count - 1]) - node->row_byte + 1);
    router->table_len += node->row_len;
    router->table = hub__realloc(router->table, router->table_len * sizeof(router->table[0]));
    memset(&router->table[node->row], 0, node->row_len * sizeof(router->table[0]));
}

static void fill_literals(hub__router_t *router, uint32_t index, struct rest *rests, size_t count)
{
    add_row(router, index, rests, count);
    for (size_t i = 0, len; i < count; i += len) {
        size_t column = rest_key(&rests[i]) - router->nodes[index].row_byte;
        uint32_t child = add_node(router);
        hub_str_t text;

        router->table[router->nodes[index].row + column] = child;
        len = run_length(&rests[i], count - i);
        text = skip_literal(&rests[i], len);
        router->nodes[child].text = text.base;
        router->nodes[child].text_len = (uint32_t)text.len;
        fill_node(router, child, &rests[i], len);
    }
}

static uint32_t fill_param(hub__router_t *router, struct rest *rests, size_t count)
{
    uint32_t child = add_node(router);

    for (size_t i = 0; i < count; i++)
        rests[i].token++;
    fill_node(router, child, rests, count);
    return child;
}

static bool is_after_stop(const hub__router_t *router, const struct node *node)
{
    if (node->constrained != 0 || node->plain != 0)
        return false;
    for (uint32_t i = 0; i < node->row_len; i++) {
        uint32_t byte = node->row_byte + i;

        if (router->table[node->row + i] != 0 && byte != ':' && byte != '/')
            return false;
    }
    return true;
}

/* No deeper than there are patterns (each fork or end on the way leaves one behind) and parameters
 * in one pattern. */
static void fill_node(hub__router_t *router, uint32_t index, struct rest *rests, size_t count)
{
    size_t literals = 0;

    qsort(rests, count, sizeof(rests[0]), rest_order);
    while (literals < count && rest_key(&rests[literals]) < 256)
        literals++;
    if (literals > 0)
        fill_literals(router, index, rests, literals);
    for (size_t i = literals, len; i < count; i += len) {
        uint32_t first, kind = rest_key(&rests[i]) - 256;

        len = run_length(&rests[i], count - i);
        if (kind == HUB__TOKEN_CONSTRAINED || kind == HUB__TOKEN_PLAIN)
            first = fill_param(router, &rests[i], len);
        else
            first = chain_entries(router, &rests[i], len);
        switch (kind) {
        case HUB__TOKEN_CONSTRAINED:
            router->nodes[index].constrained = first;
            break;
        case HUB__TOKEN_PLAIN:
            router->nodes[index].plain = first;
            break;
        case HUB__TOKEN_END:
            router->nodes[index].ends = first;
            break;
        default:
            router->nodes[index].catch_alls = first;
            break;
        }
    }
    router->nodes[index].is_fork = literals == count;
    router->nodes[index].after_stop = is_after_stop(router, &router->nodes[index]);
}

static void make_trie(hub__router_t *router)
{
    struct rest *rests = hub__alloc_zeroed(router->entry_count * sizeof(*rests));

    for (size_t i = 0; i < router->entry_count; i++) {
        rests[i].tokens = hub__pattern_tokens(router->entries[i].pattern, &rests[i].count);
        rests[i].entry = (uint32_t)i;
    }
    fill_node(router, add_node(router), rests, router->entry_count);
    free(rests);
}

hub_status_t hub__router_create(const hub__route_source_t *sources, size_t count,
                                hub__router_t **ret_router, hub_error_t *error)
{
    hub__router_t *router;
    hub_status_t status;

    if (count > HUB__ROUTER_PATTERNS_MAX)
        return hub_error_set(error, HUB_ELIMIT, 0, "%zu patterns: a hub takes at most %d", count,
                             HUB__ROUTER_PATTERNS_MAX);
    router = hub__alloc_zeroed(sizeof(*router));
    atomic_init(&router->count, 1);
    status = compile_entries(router, sources, count, error);
    if (status != HUB_OK) {
        hub__router_release(router);
        return status;
    }
    router->entry_words = count / WORD_BITS + 1;
    make_trie(router);
    *ret_router = router;
    return HUB_OK;
}

hub__router_t *hub__router_retain(hub__router_t *router)
{
    atomic_fetch_add_explicit(&router->count, 1, memory_order_relaxed);
    return router;
}

void hub__router_release(hub__router_t *router)
{
    if (router == NULL || atomic_fetch_sub_explicit(&router->count, 1, memory_order_acq_rel) > 1)
        return;
    for (size_t i = 0; i < router->entry_count; i++)
        hub__pattern_destroy(router->entries[i].pattern);
    free(router->entries);
    free(router->nodes);
    free(router->table);
    free(router);
}

static void note(struct walk *walk, uint32_t first)
{
    for (; first != 0; first = walk->router->entries[first - 1].next) {
        set_add(walk->found, first - 1);
        if (first - 1 < walk->first)
            walk->first = first - 1;
    }
}

static uint32_t child_of(const hub__router_t *router, const struct node *node, uint8_t byte)
{
    size_t column = (size_t)byte - node->row_byte; /* past the end where the byte is below */

    return column < node->row_len ? router->table[node->row + column] : 0;
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
    const struct node *node = &walk->router->nodes[index];
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

        if (child_of(walk->router, node, byte) != 0)
            set_add(wanted, byte);
    }
    for (size_t byte = set_next(wanted, 4, 0); byte != SIZE_MAX;
         byte = set_next(wanted, 4, byte + 1))
        visit_literal(walk, child_of(walk->router, node, (uint8_t)byte), places);
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
    const struct node *node = &walk->router->nodes[index];

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

/* The child that goes on with the topic's next bytes, if there is one. */
static uint32_t literal_at(const struct walk *walk, const struct node *node, size_t at)
{
    hub_str_t topic = walk->topic;
    uint32_t index = child_of(walk->router, node, (uint8_t)topic.base[at]);
    const struct node *child = &walk->router->nodes[index];

    if (index == 0 || child->text_len > topic.len - at)
        return 0;
    /* the first byte has been compared, and often there is no other */
    if (child->text_len > 1 &&
        memcmp(topic.base + at + 1, child->text + 1, child->text_len - 1) != 0)
        return 0;
    return index;
}

static void visit_place(struct walk *walk, uint32_t index, size_t at);

/* What is to be done at a node besides going on with literal text. */
static void visit_tokens(struct walk *walk, const struct node *node, size_t at)
{
    const struct node *nodes = walk->router->nodes;
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
    const struct node *nodes = walk->router->nodes, *node = &nodes[index];

    for (;;) {
        if (!node->is_fork)
            visit_tokens(walk, node, at);
        index = at == walk->topic.len ? 0 : literal_at(walk, node, at);
        if (index == 0)
            return;
        node = &nodes[index];
        at += node->text_len;
    }
}

hub_status_t hub__router_match(const hub__router_t *router, hub_str_t topic,
                               hub__match_scratch_t *scratch, const hub__route_t **ret_route,
                               hub__captures_t *ret_captures)
{
    struct walk walk;

    if (topic.len > HUB__TOPIC_BYTES_MAX)
        return HUB_ELIMIT;
    walk.router = router;
    walk.topic = topic;
    walk.words = topic.len / WORD_BITS + 1;
    walk.first = SIZE_MAX;
    set_clear(walk.found, router->entry_words);
    visit_place(&walk, 0, 0);
    for (size_t i = walk.first; i != SIZE_MAX;
         i = set_next(walk.found, router->entry_words, i + 1)) {
        const hub__route_t *route = &router->entries[i].route;
        hub_status_t status = hub__pattern_match(route->pattern, topic, scratch, ret_captures);

        if (status == HUB_ENOTFOUND)
            continue;
        if (status == HUB_OK)
            *ret_route = route;
        return status;
    }
    return HUB_ENOTFOUND;
}

size_t hub__router_count(const hub__router_t *router)
{
    return router->entry_count;
}

const hub__route_t *hub__router_at(const hub__router_t *router, size_t index)
{
    return &router->entries[index].route;
}
