/* SPDX-License-Identifier: MIT */
/* What peers make us hold: the count follows every block, and a budget is judged at its shares, up
 * and down. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hub/frame.h"
#include "hub/limits.h"
#include "hub/memory.h"
#include "hub/outbox.h"

/* ---- the account ---- */

static void what_is_freed_is_off_the_account(void **state)
{
    hub__account_t before = hub__account;
    char *block = hub__peer_alloc(1000), *queue = hub__queue_alloc(500);

    (void)state;
    assert_in_range(hub__account.bytes - before.bytes, 1500, 1600);
    assert_in_range(hub__account.queued - before.queued, 500, 550);
    block = hub__peer_realloc(block, 3000);
    queue = hub__queue_realloc(queue, 5000);
    assert_in_range(hub__account.bytes - before.bytes, 8000, 8200);
    assert_in_range(hub__account.queued - before.queued, 5000, 5100);
    hub__peer_free(block);
    hub__queue_free(queue);
    hub__peer_free(NULL);
    hub__queue_free(NULL);
    hub__peer_free(hub__peer_alloc_zeroed(77));
    assert_int_equal(hub__account.bytes, before.bytes);
    assert_int_equal(hub__account.queued, before.queued);
}

static void a_shared_run_counts_once(void **state)
{
    hub__account_t before = hub__account;
    hub__run_t *run = hub__run_create(100000);
    hub__outbox_t outboxes[10] = {0};

    (void)state;
    run->len = 100000;
    run->messages = 1;
    for (unsigned i = 0; i != 10; ++i)
        assert_int_equal(hub__outbox_append(&outboxes[i], run, 0, 100000, 1, 0), HUB_OK);
    hub__run_release(run);
    assert_in_range(hub__account.queued - before.queued, 100000, 140000);
    for (unsigned i = 0; i != 10; ++i)
        hub__outbox_dispose(&outboxes[i], NULL, NULL);
    assert_int_equal(hub__account.queued, before.queued);
    assert_int_equal(hub__account.bytes, before.bytes);
}

/* ---- the budget ---- */

static hub__memory_level_t add(hub__budget_t *budget, int64_t bytes, int64_t queued)
{
    bool changed;

    return hub__budget_add(budget, bytes, queued, 0, &changed);
}

static void nobody_new_from_80_percent_until_below_75(void **state)
{
    hub__budget_t budget;

    (void)state;
    hub__budget_init(&budget, 1000, HUB_OFF);
    assert_int_equal(add(&budget, 799, 0), HUB__MEMORY_EASY);
    assert_int_equal(add(&budget, 1, 0), HUB__MEMORY_TIGHT);
    assert_int_equal(add(&budget, -50, 0), HUB__MEMORY_TIGHT);
    assert_int_equal(add(&budget, -1, 0), HUB__MEMORY_EASY);
}

static void queues_go_from_90_percent_until_below_85(void **state)
{
    hub__budget_t budget;

    (void)state;
    hub__budget_init(&budget, 1000, HUB_OFF);
    assert_int_equal(add(&budget, 899, 0), HUB__MEMORY_TIGHT);
    assert_int_equal(hub__budget_excess(&budget, 0), 59);
    assert_int_equal(add(&budget, 1, 0), HUB__MEMORY_SHORT);
    assert_int_equal(add(&budget, -50, 0), HUB__MEMORY_SHORT);
    assert_int_equal(add(&budget, -1, 0), HUB__MEMORY_TIGHT);
}

static void queues_have_a_bound_of_their_own(void **state)
{
    hub__budget_t budget;

    (void)state;
    hub__budget_init(&budget, 0, 1000);
    assert_int_equal(add(&budget, 1000, 1000), HUB__MEMORY_EASY);
    assert_int_equal(add(&budget, 1, 1), HUB__MEMORY_SHORT);
    assert_int_equal(hub__budget_excess(&budget, 0), 111);
    assert_int_equal(add(&budget, -100, -100), HUB__MEMORY_SHORT);
    assert_int_equal(add(&budget, -1, -1), HUB__MEMORY_EASY);
    assert_int_equal(hub__budget_excess(&budget, 0), 10);
}

static void what_others_hold_counts_too(void **state)
{
    hub__budget_t budget;
    bool changed;

    (void)state;
    hub__budget_init(&budget, 1000, HUB_OFF);
    assert_int_equal(hub__budget_add(&budget, 500, 0, 299, &changed), HUB__MEMORY_EASY);
    assert_false(changed);
    assert_int_equal(hub__budget_add(&budget, 0, 0, 300, &changed), HUB__MEMORY_TIGHT);
    assert_true(changed);
    assert_int_equal(hub__budget_add(&budget, 0, 0, 301, &changed), HUB__MEMORY_TIGHT);
    assert_false(changed);
}

static void a_budget_may_be_off(void **state)
{
    hub__budget_t budget;

    (void)state;
    hub__budget_init(&budget, HUB_OFF, HUB_OFF);
    assert_int_equal(add(&budget, INT64_MAX / 2, INT64_MAX / 2), HUB__MEMORY_EASY);
    assert_int_equal(hub__budget_excess(&budget, 0), 0);
    assert_true(hub__budget_grain(&budget) == INT64_MAX);
    hub__budget_init(&budget, HUB_OFF, 0); /* a quarter of none */
    assert_int_equal(add(&budget, INT64_MAX / 2, INT64_MAX / 2), HUB__MEMORY_EASY);
}

static void without_a_word_it_is_half_of_what_there_is(void **state)
{
    hub__budget_t budget;

    (void)state;
    hub__budget_init(&budget, 0, 0);
    assert_int_equal(budget.bytes, hub__memory_of_machine("") / 2);
    assert_int_equal(budget.queued, budget.bytes / 4);
    assert_int_equal(hub__budget_grain(&budget), 65536);
}

static void threads_that_only_free_count_as_nothing(void **state)
{
    hub__budget_t budget;

    (void)state;
    hub__budget_init(&budget, 1000, 1000);
    assert_int_equal(add(&budget, -5000, -5000), HUB__MEMORY_EASY);
    assert_int_equal(add(&budget, 5799, 5000), HUB__MEMORY_EASY);
    assert_int_equal(add(&budget, 1, 0), HUB__MEMORY_TIGHT);
}

/* ---- what there is ---- */

static char root[64];

static void put(const char *path, const char *text)
{
    char full[512];
    FILE *file;

    snprintf(full, sizeof(full), "%s%s", root, path);
    for (char *slash = strchr(full + strlen(root) + 1, '/'); slash != NULL;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(full, 0755);
        *slash = '/';
    }
    file = fopen(full, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int make_root(void **state)
{
    (void)state;
    strcpy(root, "/tmp/sockethub-XXXXXX");
    return mkdtemp(root) == NULL;
}

static int remove_root(void **state)
{
    char command[128];

    (void)state;
    snprintf(command, sizeof(command), "rm -rf '%s'", root);
    return system(command);
}

static void a_cgroup_of_version_2_bounds_it(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "0::/a.slice/b.service\n");
    put("/sys/fs/cgroup/a.slice/b.service/memory.max", "max\n");
    put("/sys/fs/cgroup/a.slice/memory.max", "67108864\n");
    assert_int_equal(hub__memory_of_machine(root), 67108864);
    put("/sys/fs/cgroup/a.slice/b.service/memory.max", "33554432\n");
    assert_int_equal(hub__memory_of_machine(root), 33554432);
}

static void a_cgroup_of_version_1_bounds_it(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/x\n1:name=systemd:/x\n");
    put("/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "50000000\n");
    assert_int_equal(hub__memory_of_machine(root), 50000000);
}

static void within_a_container_the_mount_itself_bounds_it(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "0::/../../elsewhere\n");
    put("/sys/fs/cgroup/memory.max", "70000000\n");
    assert_int_equal(hub__memory_of_machine(root), 70000000);
}

static void without_a_cgroup_the_machine_does(void **state)
{
    uint64_t machine = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);

    (void)state;
    assert_int_equal(hub__memory_of_machine(root), machine);
    put("/proc/self/cgroup", "no line of this kind\n0::\n:\n");
    put("/sys/fs/cgroup/memory.max", "?\n");
    assert_int_equal(hub__memory_of_machine(root), machine);
}

int main(void)
{
#define ROOT_CASE(name) cmocka_unit_test_setup_teardown(name, make_root, remove_root)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_freed_is_off_the_account),
        cmocka_unit_test(a_shared_run_counts_once),
        cmocka_unit_test(nobody_new_from_80_percent_until_below_75),
        cmocka_unit_test(queues_go_from_90_percent_until_below_85),
        cmocka_unit_test(queues_have_a_bound_of_their_own),
        cmocka_unit_test(what_others_hold_counts_too),
        cmocka_unit_test(a_budget_may_be_off),
        cmocka_unit_test(without_a_word_it_is_half_of_what_there_is),
        cmocka_unit_test(threads_that_only_free_count_as_nothing),
        ROOT_CASE(a_cgroup_of_version_2_bounds_it),
        ROOT_CASE(a_cgroup_of_version_1_bounds_it),
        ROOT_CASE(within_a_container_the_mount_itself_bounds_it),
        ROOT_CASE(without_a_cgroup_the_machine_does),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
