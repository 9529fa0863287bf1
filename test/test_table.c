/* SPDX-License-Identifier: MIT */
/* The hash table. Its .c file is included, so that its realloc can be made to fail and the size
 * of its array be seen. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

static bool memory_is_short;
static size_t array_bytes; /* of the array that was allocated last; 0: none */

static void *limited_realloc(void *ptr, size_t size)
{
    void *moved = memory_is_short ? NULL : realloc(ptr, size);

    if (moved != NULL)
        array_bytes = size;
    return moved;
}

static void noted_free(void *ptr)
{
    array_bytes = 0;
    free(ptr);
}

#define realloc limited_realloc
#define free noted_free
#include "bus/table.c"
#undef realloc
#undef free

#define ITEMS 5000
#define THREADS 4

struct item {
    hub__table_node_t node;
    uint64_t key;
    int visits;
    bool present;
};

struct fixture {
    hub__table_t table;
    struct item *items[ITEMS]; /* one allocation each, so that use after free is seen */
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    assert_non_null(fixture);
    memory_is_short = false;
    array_bytes = 0;
    for (size_t i = 0; i < ITEMS; i++) {
        fixture->items[i] = calloc(1, sizeof(struct item));
        assert_non_null(fixture->items[i]);
        fixture->items[i]->key = i;
        fixture->items[i]->node.hash =
            hub__hash(hub_str_n((const char *)&fixture->items[i]->key, sizeof(uint64_t)));
    }
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    hub__table_dispose(&fixture->table);
    for (size_t i = 0; i < ITEMS; i++)
        free(fixture->items[i]);
    free(fixture);
    return 0;
}

static struct item *find(const hub__table_t *table, const struct item *item)
{
    hub__table_node_t *node = hub__table_chain(table, item->node.hash);

    for (; node != NULL; node = node->next) {
        struct item *found = HUB__CONTAINER(node, struct item, node);

        if (node->hash == item->node.hash && found->key == item->key)
            return found;
    }
    return NULL;
}

static void insert(struct fixture *fixture, size_t from, size_t to)
{
    for (; from < to; from++) {
        hub__table_insert(&fixture->table, &fixture->items[from]->node);
        fixture->items[from]->present = true;
    }
}

static void remove_items(struct fixture *fixture, size_t from, size_t to)
{
    for (; from < to; from++) {
        hub__table_remove(&fixture->table, &fixture->items[from]->node);
        fixture->items[from]->present = false;
    }
}

/* Exactly the present ones are found. */
static void check_contents(struct fixture *fixture)
{
    uint32_t present = 0;

    for (size_t i = 0; i < ITEMS; i++) {
        struct item *item = fixture->items[i];

        if (item != NULL) {
            assert_ptr_equal(find(&fixture->table, item), item->present ? item : NULL);
            present += item->present;
        }
    }
    assert_int_equal(fixture->table.count, present);
}

static uint32_t next_random(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

static void an_empty_table_finds_nothing(void **state)
{
    struct fixture *fixture = *state;

    check_contents(fixture);
    assert_int_equal(array_bytes, 0);
}

static void a_single_node_needs_no_memory(void **state)
{
    struct fixture *fixture = *state;

    insert(fixture, 0, 1);
    check_contents(fixture);
    assert_int_equal(array_bytes, 0);
    remove_items(fixture, 0, 1);
    check_contents(fixture);
}

static void nodes_are_found_while_the_table_grows(void **state)
{
    struct fixture *fixture = *state;

    for (size_t i = 0; i < 130; i++) {
        insert(fixture, i, i + 1);
        check_contents(fixture);
        assert_int_equal(fixture->table.size, i == 0 ? 0 : i + 1);
    }
    insert(fixture, 130, ITEMS);
    check_contents(fixture);
    assert_int_equal(array_bytes, 8192 * sizeof(void *));
}

static void nodes_are_found_while_the_table_shrinks(void **state)
{
    struct fixture *fixture = *state;

    insert(fixture, 0, 130);
    for (size_t i = 0; i < 130; i++) {
        remove_items(fixture, i, i + 1);
        check_contents(fixture);
    }
    assert_int_equal(array_bytes, 0);
}

static void the_memory_follows_the_count_down(void **state)
{
    struct fixture *fixture = *state;

    insert(fixture, 0, ITEMS);
    remove_items(fixture, 0, ITEMS - 100);
    assert_true(fixture->table.size <= 201);
    assert_int_equal(array_bytes, 256 * sizeof(void *));
    remove_items(fixture, ITEMS - 100, ITEMS - 1);
    assert_true(array_bytes <= 4 * sizeof(void *));
    remove_items(fixture, ITEMS - 1, ITEMS);
    assert_int_equal(array_bytes, 0);
}

static void one_change_moves_at_most_two_buckets(void **state)
{
    struct fixture *fixture = *state;
    uint32_t before;

    insert(fixture, 0, 1000);
    for (size_t i = 0; i < 1000; i++) {
        before = bucket_count(&fixture->table);
        remove_items(fixture, i, i + 1);
        assert_true(before - bucket_count(&fixture->table) <= 2);
    }
}

static void a_count_around_a_border_moves_no_memory(void **state)
{
    struct fixture *fixture = *state;

    insert(fixture, 0, 1025);
    assert_int_equal(array_bytes, 2048 * sizeof(void *));
    for (int i = 0; i < 100; i++) {
        remove_items(fixture, 1000, 1025);
        insert(fixture, 1000, 1025);
    }
    remove_items(fixture, 1000, 1025);
    assert_int_equal(fixture->table.size, 1025);
    assert_int_equal(array_bytes, 2048 * sizeof(void *));
}

static void growth_without_memory_is_put_off(void **state)
{
    struct fixture *fixture = *state;

    insert(fixture, 0, 64);
    memory_is_short = true;
    insert(fixture, 64, 200);
    assert_int_equal(fixture->table.size, 64);
    check_contents(fixture);
    remove_items(fixture, 0, 10);
    check_contents(fixture);
    /* two steps a time, until the size has caught up with the count */
    memory_is_short = false;
    insert(fixture, 200, 400);
    assert_int_equal(fixture->table.size, fixture->table.count);
    check_contents(fixture);
}

static void the_first_growth_may_fail_too(void **state)
{
    struct fixture *fixture = *state;

    memory_is_short = true;
    insert(fixture, 0, 20);
    assert_int_equal(array_bytes, 0);
    check_contents(fixture);
    remove_items(fixture, 5, 20);
    check_contents(fixture);
}

static void shrinking_without_memory_keeps_the_larger_array(void **state)
{
    struct fixture *fixture = *state;

    insert(fixture, 0, 200);
    memory_is_short = true;
    remove_items(fixture, 0, 190);
    assert_int_equal(array_bytes, 256 * sizeof(void *));
    check_contents(fixture);
    memory_is_short = false;
    insert(fixture, 0, 190);
    check_contents(fixture);
}

static void random_changes_lose_nothing(void **state)
{
    struct fixture *fixture = *state;
    uint32_t seed = 42, range = 8;

    for (int i = 0; i < 40000; i++) {
        size_t at = next_random(&seed) % range;

        if (i % 4000 == 0) {
            check_contents(fixture);
            range = next_random(&seed) % 2 ? 8 : 3000;
        }
        memory_is_short = i % 7 == 0;
        if (fixture->items[at]->present)
            remove_items(fixture, at, at + 1);
        else
            insert(fixture, at, at + 1);
    }
    check_contents(fixture);
}

static void count_visit(hub__table_node_t *node, void *user)
{
    (void)user;
    HUB__CONTAINER(node, struct item, node)->visits++;
}

/* A walk that removes and frees every node, but for the multiples of `keep_every`. */
struct sweep {
    struct fixture *fixture;
    uint64_t keep_every;
    int visits[ITEMS];
};

static void sweep_visit(hub__table_node_t *node, void *user)
{
    struct sweep *sweep = user;
    struct item *item = HUB__CONTAINER(node, struct item, node);
    uint64_t key = item->key;

    sweep->visits[key]++;
    if (sweep->keep_every != 0 && key % sweep->keep_every == 0)
        return;
    hub__table_remove(&sweep->fixture->table, node);
    sweep->fixture->items[key] = NULL;
    free(item);
}

static void check_sweep(struct fixture *fixture, size_t count, uint64_t keep_every)
{
    struct sweep *sweep = calloc(1, sizeof(*sweep));

    assert_non_null(sweep);
    sweep->fixture = fixture;
    sweep->keep_every = keep_every;
    insert(fixture, 0, count);
    hub__table_foreach(&fixture->table, sweep_visit, sweep);
    for (size_t i = 0; i < ITEMS; i++)
        assert_int_equal(sweep->visits[i], i < count);
    check_contents(fixture);
    free(sweep);
}

static void a_walk_visits_each_node_once(void **state)
{
    struct fixture *fixture = *state;

    insert(fixture, 0, 777);
    hub__table_foreach(&fixture->table, count_visit, NULL);
    for (size_t i = 0; i < ITEMS; i++)
        assert_int_equal(fixture->items[i]->visits, i < 777);
    assert_int_equal(fixture->table.size, 777);
}

static void a_walk_over_nothing_visits_nothing(void **state)
{
    struct fixture *fixture = *state;

    hub__table_foreach(&fixture->table, count_visit, NULL);
    for (size_t i = 0; i < ITEMS; i++)
        assert_int_equal(fixture->items[i]->visits, 0);
}

static void a_visit_may_remove_and_free_its_node(void **state)
{
    struct fixture *fixture = *state;

    check_sweep(fixture, ITEMS, 0);
    assert_int_equal(array_bytes, 0);
}

static void a_walk_that_removes_most_visits_all_and_shrinks_after(void **state)
{
    struct fixture *fixture = *state;

    check_sweep(fixture, 1000, 10);
    assert_int_equal(fixture->table.count, 100);
    assert_true(fixture->table.size <= 201);
    assert_int_equal(array_bytes, 256 * sizeof(void *));
}

static void a_walk_over_one_bucket_may_empty_it(void **state)
{
    struct fixture *fixture = *state;

    memory_is_short = true;
    check_sweep(fixture, 10, 0);
}

static void walk_again(hub__table_node_t *node, void *user)
{
    count_visit(node, NULL);
    hub__table_foreach(user, count_visit, NULL);
}

static void a_walk_within_a_walk_leaves_the_outer_one_in_peace(void **state)
{
    struct fixture *fixture = *state;

    insert(fixture, 0, 20);
    hub__table_foreach(&fixture->table, walk_again, &fixture->table);
    for (size_t i = 0; i < 20; i++)
        assert_int_equal(fixture->items[i]->visits, 21);
    assert_false(fixture->table._walking);
}

static void walk_again_then_sweep(hub__table_node_t *node, void *user)
{
    struct sweep *sweep = user;

    hub__table_foreach(&sweep->fixture->table, count_visit, NULL);
    sweep_visit(node, user);
}

static void an_inner_walk_does_not_end_the_protection_of_the_outer_one(void **state)
{
    struct fixture *fixture = *state;
    struct sweep *sweep = calloc(1, sizeof(*sweep));

    assert_non_null(sweep);
    sweep->fixture = fixture;
    insert(fixture, 0, 300);
    hub__table_foreach(&fixture->table, walk_again_then_sweep, sweep);
    for (size_t i = 0; i < 300; i++)
        assert_int_equal(sweep->visits[i], 1);
    assert_int_equal(fixture->table.count, 0);
    free(sweep);
}

static void insert_twin(hub__table_node_t *node, void *user)
{
    struct fixture *fixture = user;
    struct item *item = HUB__CONTAINER(node, struct item, node);

    item->visits++;
    if (item->key < 500)
        insert(fixture, item->key + 1000, item->key + 1001);
}

static void a_visit_may_insert_without_disturbing_the_others(void **state)
{
    struct fixture *fixture = *state;

    insert(fixture, 0, 500);
    hub__table_foreach(&fixture->table, insert_twin, fixture);
    for (size_t i = 0; i < 500; i++)
        assert_int_equal(fixture->items[i]->visits, 1);
    check_contents(fixture);
    assert_int_equal(fixture->table.size, 1000);
}

static void free_visit(hub__table_node_t *node, void *user)
{
    struct fixture *fixture = user;
    struct item *item = HUB__CONTAINER(node, struct item, node);

    fixture->items[item->key] = NULL;
    free(item);
}

static void all_nodes_may_be_freed_and_forgotten(void **state)
{
    struct fixture *fixture = *state;

    insert(fixture, 0, ITEMS);
    hub__table_foreach(&fixture->table, free_visit, fixture);
    hub__table_dispose(&fixture->table);
    assert_int_equal(array_bytes, 0);
    assert_int_equal(fixture->table.count, 0);
    assert_null(hub__table_chain(&fixture->table, 1));
}

static void forgotten_nodes_are_not_touched_by_growth_put_off(void **state)
{
    struct fixture *fixture = *state;

    memory_is_short = true;
    insert(fixture, 0, 200);
    memory_is_short = false;
    hub__table_foreach(&fixture->table, free_visit, fixture);
    assert_int_equal(array_bytes, 0);
    hub__table_dispose(&fixture->table);
}

static void equal_keys_hash_alike_and_others_apart(void **state)
{
    char copy[] = "room:1";

    (void)state;
    assert_true(hub__hash(HUB_STR("room:1")) == hub__hash(hub_str(copy)));
    assert_true(hub__hash(HUB_STR("room:1")) != hub__hash(HUB_STR("room:2")));
    assert_true(hub__hash(HUB_STR("a\0")) != hub__hash(HUB_STR("a")));
    assert_true(hub__hash(HUB_STR("")) == hub__hash(hub_str(NULL)));
    assert_true(hub__hash_mix(1, 2) == hub__hash_mix(1, 2));
    assert_true(hub__hash_mix(1, 2) != hub__hash_mix(2, 1));
    assert_true(hub__hash_mix(1, 2) != hub__hash_mix(1, 3));
}

static void the_hash_is_siphash_under_the_random_key(void **state)
{
    static const unsigned char zeroes[sizeof(hash_key)];
    /* the first vectors of the reference: key 00..0f, input empty and 00 */
    static const unsigned char empty[] = {0x31, 0x0e, 0x0e, 0xdd, 0x47, 0xdb, 0x6f, 0x72};
    static const unsigned char one[] = {0xfd, 0x67, 0xdc, 0x93, 0xc5, 0x39, 0xf8, 0x74};
    unsigned char random_key[sizeof(hash_key)];
    uint64_t hash = hub__hash(HUB_STR("x"));

    (void)state;
    assert_memory_not_equal(hash_key, zeroes, sizeof(zeroes));
    memcpy(random_key, hash_key, sizeof(hash_key));
    for (size_t i = 0; i < sizeof(hash_key); i++)
        hash_key[i] = (unsigned char)i;
    hash = hub__hash(HUB_STR(""));
    assert_memory_equal(&hash, empty, sizeof(hash));
    hash = hub__hash(HUB_STR("\0"));
    assert_memory_equal(&hash, one, sizeof(hash));
    memcpy(hash_key, random_key, sizeof(hash_key));
}

/* ---- keys made to collide ---- */

#define STAGES 17 /* two choices in each: 131,072 keys */
#define TRIES (1u << 18)

static uint32_t fnv(uint32_t state, const unsigned char *bytes, size_t len)
{
    for (size_t i = 0; i != len; ++i)
        state = (state ^ bytes[i]) * 16777619u;
    return state;
}

static uint64_t block_of(uint32_t number)
{
    return number * UINT64_C(0x9e3779b97f4a7c15);
}

/* Two blocks that take FNV-1a from this state to the same one: among some eighty thousand there are
 * two. */
static uint32_t find_twins(uint32_t state, uint64_t twins[2])
{
    uint32_t *seen = calloc(TRIES, sizeof(*seen)), after = 0;

    assert_non_null(seen);
    for (uint32_t number = 1; twins[1] == 0 && number != TRIES; ++number) {
        uint64_t block = block_of(number), before;

        after = fnv(state, (const unsigned char *)&block, sizeof(block));
        before = block_of(seen[after % TRIES]);
        if (before != 0 && fnv(state, (const unsigned char *)&before, sizeof(before)) == after) {
            twins[0] = before;
            twins[1] = block;
        }
        seen[after % TRIES] = number;
    }
    free(seen);
    assert_true(twins[1] != 0);
    return after;
}

static size_t longest_chain(const hub__table_t *table)
{
    size_t longest = 0;

    for (uint32_t i = 0; i != table->size; ++i) {
        size_t chain = 0;

        for (const hub__table_node_t *node = table->buckets.many[i]; node != NULL;
             node = node->next)
            ++chain;
        longest = chain > longest ? chain : longest;
    }
    return longest;
}

/* All of them have the same hash of the kind that a table without a key would go by. */
static void keys_that_were_made_to_collide_do_not(void **state)
{
    uint64_t twins[STAGES][2] = {{0}}, key[STAGES];
    uint32_t common = 2166136261u;
    hub__table_node_t *nodes = calloc(1u << STAGES, sizeof(*nodes));
    hub__table_t table = {0};

    (void)state;
    assert_non_null(nodes);
    for (int i = 0; i != STAGES; ++i)
        common = find_twins(common, twins[i]);
    for (uint32_t choice = 0; choice != 1u << STAGES; ++choice) {
        for (int i = 0; i != STAGES; ++i)
            key[i] = twins[i][choice >> i & 1];
        assert_true(fnv(2166136261u, (const unsigned char *)key, sizeof(key)) == common);
        nodes[choice].hash = hub__hash(hub_str_n((const char *)key, sizeof(key)));
        hub__table_insert(&table, &nodes[choice]);
    }
    assert_int_equal(table.count, 1u << STAGES);
    print_message("%u keys: the longest chain has %zu\n", 1u << STAGES, longest_chain(&table));
    assert_in_range(longest_chain(&table), 1, 32);
    hub__table_dispose(&table);
    free(nodes);
}

/* What one process gives away is of no use against the next. */
static void each_process_hashes_under_a_key_of_its_own(void **state)
{
    unsigned char kept[sizeof(hash_key)];
    uint64_t here = hub__hash(HUB_STR("room:1")), there;

    (void)state;
    memcpy(kept, hash_key, sizeof(kept));
    make_hash_key(); /* as the first hash of a process does */
    there = hub__hash(HUB_STR("room:1"));
    assert_memory_not_equal(hash_key, kept, sizeof(kept));
    assert_true(here != there);
    memcpy(hash_key, kept, sizeof(kept));
}

static void *hash_in_thread(void *result)
{
    *(uint64_t *)result = hub__hash(HUB_STR("room:1"));
    return NULL;
}

/* Runs first, so that the threads meet where the key is made. */
static void all_threads_hash_under_one_key(void **state)
{
    pthread_t threads[THREADS];
    uint64_t hashes[THREADS];

    (void)state;
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hash_in_thread, &hashes[i]), 0);
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (size_t i = 0; i < THREADS; i++)
        assert_true(hashes[i] == hub__hash(HUB_STR("room:1")));
}

#define TABLE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_threads_hash_under_one_key),
        TABLE_TEST(an_empty_table_finds_nothing),
        TABLE_TEST(a_single_node_needs_no_memory),
        TABLE_TEST(nodes_are_found_while_the_table_grows),
        TABLE_TEST(nodes_are_found_while_the_table_shrinks),
        TABLE_TEST(the_memory_follows_the_count_down),
        TABLE_TEST(one_change_moves_at_most_two_buckets),
        TABLE_TEST(a_count_around_a_border_moves_no_memory),
        TABLE_TEST(growth_without_memory_is_put_off),
        TABLE_TEST(the_first_growth_may_fail_too),
        TABLE_TEST(shrinking_without_memory_keeps_the_larger_array),
        TABLE_TEST(random_changes_lose_nothing),
        TABLE_TEST(a_walk_visits_each_node_once),
        TABLE_TEST(a_walk_over_nothing_visits_nothing),
        TABLE_TEST(a_visit_may_remove_and_free_its_node),
        TABLE_TEST(a_walk_that_removes_most_visits_all_and_shrinks_after),
        TABLE_TEST(a_walk_over_one_bucket_may_empty_it),
        TABLE_TEST(a_walk_within_a_walk_leaves_the_outer_one_in_peace),
        TABLE_TEST(an_inner_walk_does_not_end_the_protection_of_the_outer_one),
        TABLE_TEST(a_visit_may_insert_without_disturbing_the_others),
        TABLE_TEST(all_nodes_may_be_freed_and_forgotten),
        TABLE_TEST(forgotten_nodes_are_not_touched_by_growth_put_off),
        cmocka_unit_test(equal_keys_hash_alike_and_others_apart),
        cmocka_unit_test(the_hash_is_siphash_under_the_random_key),
        cmocka_unit_test(keys_that_were_made_to_collide_do_not),
        cmocka_unit_test(each_process_hashes_under_a_key_of_its_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
