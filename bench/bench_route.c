/* SPDX-License-Identifier: MIT */
/* Does finding the channel of a topic slow down with the number of patterns? At most 1.3 times of
 * one pattern's cost is the promise for 1,000, whatever their shape: a prefix of its own and a
 * parameter, no parameter at all, or a parameter behind what all begin with.
 *
 * `all` looks for topics of each pattern in turn, `last` for those of one among the others. Topics
 * are equally long whatever the number. Each lookup must find the pattern it was made for. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/report.h"
#include "bench/rounds.h"
#include "channels/router.h"

#define TOPICS 1024u /* in one call */
#define TEXT_BYTES 48u

/* How the pattern with a number is written, and a topic of it: text, number, text. */
typedef struct shape {
    const char *name, *before, *behind, *topic_behind;
} shape_t;

static const shape_t shapes[] = {
    {"prefix", "other", ":{id}", ":4711"},
    {"literal", "other", ":lobby", ":lobby"},
    {"shared", "rooms:of:", ":{id}:talk", ":4711:talk"},
};
#define SHAPES (sizeof(shapes) / sizeof(*shapes))

static const size_t counts[] = {1, 10, 100, 1000};
#define COUNTS (sizeof(counts) / sizeof(*counts))

/* One router, and what to ask it. */
typedef struct lookup {
    hub__router_t *router;
    hub__match_scratch_t *scratch;
    size_t params;
    struct {
        char text[TEXT_BYTES];
        size_t len, target;
    } topics[TOPICS];
} lookup_t;

/* Numbers of one length; the last ones, so that one pattern is like those of many. */
static size_t number_of(size_t index, size_t count)
{
    return 1000 + counts[COUNTS - 1] - count + index;
}

static hub__router_t *make_router(const shape_t *shape, size_t count)
{
    hub__route_source_t *sources = calloc(count, sizeof(*sources));
    char(*texts)[TEXT_BYTES] = calloc(count, sizeof(*texts));
    hub__router_t *router = NULL;
    hub_error_t error;

    if (sources == NULL || texts == NULL)
        bench_fail("out of memory");
    for (size_t i = 0; i != count; ++i) {
        snprintf(texts[i], sizeof(texts[i]), "%s%zu%s", shape->before, number_of(i, count),
                 shape->behind);
        sources[i] = (hub__route_source_t){.pattern = hub_str(texts[i]),
                                           .target = (void *)(uintptr_t)(1 + i)};
    }
    if (hub__router_create(sources, count, &router, &error) != HUB_OK)
        bench_fail("%s: %s", shape->name, error.text);
    free(sources);
    free(texts);
    return router;
}

static void lookup_init(lookup_t *lookup, const shape_t *shape, hub__router_t *router,
                        hub__match_scratch_t *scratch, bool all)
{
    size_t count = hub__router_count(router);

    lookup->router = router;
    lookup->scratch = scratch;
    lookup->params = strchr(shape->behind, '{') != NULL;
    for (size_t i = 0; i != TOPICS; ++i) {
        /* 617 and the counts have no divisor in common, so each has its turn, but not in order */
        size_t index = all ? i * 617 % count : count - 1;
        int len = snprintf(lookup->topics[i].text, TEXT_BYTES, "%s%zu%s", shape->before,
                           number_of(index, count), shape->topic_behind);

        lookup->topics[i].len = (size_t)len;
        lookup->topics[i].target = 1 + index;
    }
}

static void look_up(void *user)
{
    lookup_t *lookup = user;

    for (size_t i = 0; i != TOPICS; ++i) {
        const hub__route_t *route = NULL;
        hub__captures_t captures;
        hub_status_t err = hub__router_match(
            lookup->router, hub_str_n(lookup->topics[i].text, lookup->topics[i].len),
            lookup->scratch, &route, &captures);

        if (err != HUB_OK || (size_t)(uintptr_t)route->target != lookup->topics[i].target ||
            captures.count != lookup->params)
            bench_fail("'%s' is not what was found", lookup->topics[i].text);
    }
}

/* Lasts as long as the report. */
static const char *figure_name(const shape_t *shape, const char *figure, size_t count)
{
    static char names[64][48];
    static size_t name_count;
    char name[sizeof(names[0])];

    snprintf(name, sizeof(name), "%s_%s_%zu", shape->name, figure, count);
    for (size_t i = 0; i != name_count; ++i)
        if (strcmp(names[i], name) == 0)
            return names[i];
    memcpy(names[name_count], name, sizeof(name));
    return names[name_count++];
}

static void compare(report_t *report, const shape_t *shape, hub__match_scratch_t *scratch,
                    double seconds)
{
    static lookup_t lookups[2 * COUNTS];
    hub__router_t *routers[COUNTS];
    contender_t contenders[2 * COUNTS];

    for (size_t i = 0; i != COUNTS; ++i)
        routers[i] = make_router(shape, counts[i]);
    for (size_t i = 0; i != 2 * COUNTS; ++i) {
        lookup_init(&lookups[i], shape, routers[i / 2], scratch, i % 2 == 0);
        contenders[i] = (contender_t){.once = look_up, .user = &lookups[i], .ops = TOPICS};
    }
    rounds_take(contenders, 2 * COUNTS, seconds);
    for (size_t i = 0; i != COUNTS; ++i) {
        report_add(report, figure_name(shape, "all_ns", counts[i]), contenders[2 * i].ns);
        if (i == 0)
            continue;
        report_add(report, figure_name(shape, "all_ratio", counts[i]),
                   contenders[2 * i].ns / contenders[0].ns);
        report_add(report, figure_name(shape, "last_ratio", counts[i]),
                   contenders[2 * i + 1].ns / contenders[1].ns);
    }
    for (size_t i = 0; i != COUNTS; ++i)
        hub__router_release(routers[i]);
}

int main(int argc, char **argv)
{
    unsigned long seconds = 3, runs = 5;
    const report_option_t options[] = {
        {"seconds", "of each run", &seconds, 1, 3600, NULL, NULL},
        {"runs", "measured one after another", &runs, 1, REPORT_RUNS_MAX, NULL, NULL},
        {NULL, NULL, NULL, 0, 0, NULL, NULL}};
    report_t *report = report_open("route", argc, argv, options);
    hub__match_scratch_t *scratch = hub__match_scratch_create();

    bench_pin(1);
    for (unsigned long run = 0; run != runs; ++run)
        for (size_t i = 0; i != SHAPES; ++i)
            compare(report, &shapes[i], scratch, (double)seconds / SHAPES);
    hub__match_scratch_destroy(scratch);
    report_print(report);
    report_close(report);
    return EXIT_SUCCESS;
}
