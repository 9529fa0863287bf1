/* SPDX-License-Identifier: MIT */
/* A bound to what all peers together may make us hold. Each worker counts for itself, without a
 * shared cache line, and tells its server now and then how much more it has become. */
#include "hub/memory.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "hub/limits.h"

_Thread_local hub__account_t hub__account;

/* ---- allocating ---- */

static void *charged(void *block)
{
    if (block != NULL)
        hub__account.bytes += (int64_t)malloc_usable_size(block);
    return block;
}

static void *charged_queue(void *block)
{
    if (block != NULL)
        hub__account.queued += (int64_t)malloc_usable_size(block);
    return charged(block);
}

void *hub__peer_alloc(size_t size)
{
    return charged(malloc(size));
}

void *hub__peer_alloc_zeroed(size_t size)
{
    return charged(calloc(1, size));
}

void *hub__peer_realloc(void *block, size_t size)
{
    int64_t before = (int64_t)malloc_usable_size(block);
    void *moved = realloc(block, size);

    if (moved != NULL)
        hub__account.bytes -= before;
    return charged(moved);
}

void hub__peer_free(void *block)
{
    hub__account.bytes -= (int64_t)malloc_usable_size(block);
    free(block);
}

void *hub__queue_alloc(size_t size)
{
    return charged_queue(malloc(size));
}

void *hub__queue_realloc(void *block, size_t size)
{
    int64_t before = (int64_t)malloc_usable_size(block);
    void *moved = realloc(block, size);

    if (moved == NULL)
        return NULL;
    hub__account.bytes -= before;
    hub__account.queued -= before;
    return charged_queue(moved);
}

void hub__queue_free(void *block)
{
    hub__account.queued -= (int64_t)malloc_usable_size(block);
    hub__peer_free(block);
}

/* ---- the budget ---- */

static uint64_t share(uint64_t whole, unsigned percent)
{
    return whole / 100 * percent + whole % 100 * percent / 100;
}

void hub__budget_init(hub__budget_t *budget, size_t bytes, size_t queued)
{
    *budget = (hub__budget_t){0};
    if (bytes == 0)
        budget->bytes = hub__memory_of_machine("") / 2;
    else if (bytes != HUB_OFF)
        budget->bytes = bytes;
    if (queued == 0)
        budget->queued = budget->bytes / 4;
    else if (queued != HUB_OFF)
        budget->queued = queued;
}

static uint64_t used(int64_t value, size_t others)
{
    return (value > 0 ? (uint64_t)value : 0) + others;
}

static hub__memory_level_t judge(const hub__budget_t *budget, uint64_t bytes, uint64_t queued,
                                 hub__memory_level_t before)
{
    unsigned tight = before >= HUB__MEMORY_TIGHT ? 75 : 80;
    unsigned brief = before == HUB__MEMORY_SHORT ? 85 : 90;

    if (budget->bytes != 0 && bytes >= share(budget->bytes, brief))
        return HUB__MEMORY_SHORT;
    if (budget->queued != 0 &&
        queued > share(budget->queued, before == HUB__MEMORY_SHORT ? 90 : 100))
        return HUB__MEMORY_SHORT;
    if (budget->bytes != 0 && bytes >= share(budget->bytes, tight))
        return HUB__MEMORY_TIGHT;
    return HUB__MEMORY_EASY;
}

hub__memory_level_t hub__budget_add(hub__budget_t *budget, int64_t bytes, int64_t queued,
                                    size_t others, bool *ret_changed)
{
    int64_t all = atomic_fetch_add(&budget->used_bytes, bytes) + bytes;
    int64_t waiting = atomic_fetch_add(&budget->used_queued, queued) + queued;
    int before = atomic_load(&budget->level);
    hub__memory_level_t level =
        judge(budget, used(all, others), used(waiting, 0), (hub__memory_level_t)before);

    *ret_changed =
        (int)level != before && atomic_compare_exchange_strong(&budget->level, &before, (int)level);
    return level;
}

uint64_t hub__budget_excess(hub__budget_t *budget, size_t others)
{
    uint64_t bytes = used(atomic_load(&budget->used_bytes), others);
    uint64_t queued = used(atomic_load(&budget->used_queued), 0);
    uint64_t bytes_goal = share(budget->bytes, 84), queued_goal = share(budget->queued, 89);
    uint64_t excess = budget->bytes != 0 && bytes > bytes_goal ? bytes - bytes_goal : 0;
    uint64_t waiting = budget->queued != 0 && queued > queued_goal ? queued - queued_goal : 0;

    return excess > waiting ? excess : waiting;
}

int64_t hub__budget_grain(const hub__budget_t *budget)
{
    uint64_t least = budget->bytes;

    if (budget->queued != 0 && (least == 0 || budget->queued < least))
        least = budget->queued;
    if (least == 0)
        return INT64_MAX;
    least /= 256;
    return least < 65536 ? (int64_t)least : 65536;
}

/* ---- what there is ---- */

/* The number in a file; UINT64_MAX: it has none ("max"), or there is no such file. */
static uint64_t read_limit(const char *root, const char *mount, const char *group, size_t group_len,
                           const char *name)
{
    char path[4096], text[32];
    unsigned long long value;
    FILE *file;
    int wrote =
        snprintf(path, sizeof(path), "%s%s%.*s/%s", root, mount, (int)group_len, group, name);

    if (wrote < 0 || (size_t)wrote >= sizeof(path) || (file = fopen(path, "re")) == NULL)
        return UINT64_MAX;
    if (fgets(text, sizeof(text), file) == NULL || sscanf(text, "%llu", &value) != 1)
        value = UINT64_MAX;
    fclose(file);
    return value;
}

/* Of a group and those that it is in: within a container the path may lead past what is mounted. */
static uint64_t read_limits(const char *root, const char *mount, const char *group,
                            const char *name)
{
    uint64_t least = read_limit(root, mount, "", 0, name);

    for (size_t len = strlen(group); len != 0; --len) {
        uint64_t value;

        if (group[len] != '\0' && group[len] != '/')
            continue;
        value = read_limit(root, mount, group, len, name);
        least = value < least ? value : least;
    }
    return least;
}

/* Lines are number:controllers:path; version 2 has no controllers. */
static uint64_t cgroup_limit(const char *root)
{
    char path[4096], line[4096];
    uint64_t least = UINT64_MAX;
    FILE *file;

    snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
    if ((file = fopen(path, "re")) == NULL)
        return least;
    while (fgets(line, sizeof(line), file) != NULL) {
        char *controllers = strchr(line, ':');
        char *group = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
        uint64_t value = UINT64_MAX;

        if (group == NULL)
            continue;
        *group++ = '\0';
        group[strcspn(group, "\n")] = '\0';
        if (controllers[1] == '\0')
            value = read_limits(root, "/sys/fs/cgroup", group, "memory.max");
        else if (strstr(controllers, "memory") != NULL)
            value = read_limits(root, "/sys/fs/cgroup/memory", group, "memory.limit_in_bytes");
        least = value < least ? value : least;
    }
    fclose(file);
    return least;
}

uint64_t hub__memory_of_machine(const char *root)
{
    uint64_t pages = (uint64_t)sysconf(_SC_PHYS_PAGES), size = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t least = pages * size, group = cgroup_limit(root);
    struct rlimit limit;

    if (group < least)
        least = group;
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
        limit.rlim_cur < least)
        least = limit.rlim_cur;
    return least;
}
