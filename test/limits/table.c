/* SPDX-License-Identifier: MIT */
/* Prints the README's tables of limits from the lists of hub/limits.h, so that the two cannot
 * differ. Fails where a counter is named for a limit that there is not. */
#include <stdio.h>
#include <string.h>

#include "hub/limits.h"
#include "hub/metrics.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

typedef struct row {
    const char *name;
    size_t value, ceiling;
    bool may_be_off;
    const char *at_limit;
} row_t;

#define ROW(name, value, ceiling, off, at_limit) {#name, value, ceiling, off, at_limit},

static const row_t conn_rows[] = {HUB_LIMIT_MAP(ROW)};
static const row_t server_rows[] = {HUB_SERVER_LIMIT_MAP(ROW)};

/* The offset is not looked at: it proves that there is such a counter. */
#define COUNTER(limit, counter) {#limit, #counter, offsetof(hub_stats_t, counter)},

static const struct {
    const char *limit, *counter;
    size_t offset;
} counters[] = {HUB_LIMIT_COUNTER_MAP(COUNTER)};

static const char *counter_of(const char *limit)
{
    for (size_t i = 0; i != COUNT(counters); ++i)
        if (strcmp(counters[i].limit, limit) == 0)
            return counters[i].counter;
    return NULL;
}

static bool ends_with(const char *name, const char *end)
{
    size_t len = strlen(name), end_len = strlen(end);

    return len >= end_len && strcmp(name + len - end_len, end) == 0;
}

static void print_grouped(size_t value)
{
    if (value >= 1000)
        print_grouped(value / 1000);
    printf(value >= 1000 ? ",%03zu" : "%zu", value % 1000);
}

/* Bytes in binary units where that is exact; all else in figures. */
static void print_value(const char *name, size_t value)
{
    static const char *const units[] = {"GiB", "MiB", "KiB"};
    bool bytes = strstr(name, "bytes") != NULL;

    if (value == HUB_OFF || value == 0) { /* zero is found out at the start */
        printf(value == 0 ? "by the machine" : "off");
        return;
    }
    for (size_t i = 0; bytes && i != COUNT(units); ++i) {
        size_t unit = (size_t)1 << (30 - 10 * i);

        if (value >= unit && value % unit == 0) {
            printf("%zu %s%s", value / unit, units[i], ends_with(name, "_per_s") ? "/s" : "");
            return;
        }
    }
    print_grouped(value);
}

/* Nothing where any number is allowed. */
static void print_ceiling(const row_t *row)
{
    bool any = row->ceiling >= SIZE_MAX / 4;

    if (!any)
        print_value(row->name, row->ceiling);
    if (row->may_be_off)
        printf(any ? "off" : ", off");
}

static void print_rows(const char *title, const row_t *rows, size_t count)
{
    printf("| %s | default | at most | at the limit | counted as |\n|---|---|---|---|---|\n",
           title);
    for (size_t i = 0; i != count; ++i) {
        const char *counter = counter_of(rows[i].name);

        printf("| `%s` | ", rows[i].name);
        print_value(rows[i].name, rows[i].value);
        printf(" | ");
        print_ceiling(&rows[i]);
        printf(" | %s |", rows[i].at_limit);
        if (counter != NULL)
            printf(" `%s`", counter);
        printf(" |\n");
    }
}

static bool is_row(const char *name, const row_t *rows, size_t count)
{
    for (size_t i = 0; i != count; ++i)
        if (strcmp(rows[i].name, name) == 0)
            return true;
    return false;
}

int main(void)
{
    for (size_t i = 0; i != COUNT(counters); ++i)
        if (!is_row(counters[i].limit, conn_rows, COUNT(conn_rows)) &&
            !is_row(counters[i].limit, server_rows, COUNT(server_rows))) {
            fprintf(stderr, "hub/limits.h: %s counts %s, which is no limit\n", counters[i].counter,
                    counters[i].limit);
            return 1;
        }
    print_rows("of an endpoint", conn_rows, COUNT(conn_rows));
    printf("\n");
    print_rows("of a server", server_rows, COUNT(server_rows));
    return 0;
}
