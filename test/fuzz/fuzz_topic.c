/* SPDX-License-Identifier: MIT */
/* A topic that a peer chose, before the patterns of a program.
 *
 * Oracles: the router finds what trying every pattern in the order of specificity finds, and denies
 * where the first that does not say no has failed (reference); the order of registration changes
 * nothing; a topic is valid exactly if a plain reading of the rules says so; matching allocates
 * nothing (memory), and its work is bounded by the topic and the patterns that can match (steps).
 *
 * Input: three bytes, a bit for each pattern that is declared; then the topic. */
#include "test/fuzz/fuzz.h"

#include <stdlib.h>

#include "channels/dialect.h"
#include "channels/router.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define STEPS_PER_BYTE 100
#define STEPS_MORE 5000

static const char *const patterns[] = {
    "room:lobby",
    "room:{id}",
    "room:{id:[0-9]+}",
    "room:{id:[0-9]+}:{part}",
    "room:{id}:{part}",
    "room:{id}/{part}",
    "room:*",
    "room:{id}:{rest*}",
    "{kind}:{id}",
    "{kind}:lobby",
    "{kind}/{id}",
    "{kind:(a|aa)+}!",      /* the evil one */
    "{kind:(x+x+)+y}",      /* and another */
    "chat.{tenant}.{room}", /* dots do not end a parameter */
    "\xc3\xa4{name}\xc3\xb6",
    "{a}-{b}-{c}",
    "{a:[^-]+}-{b:.*}=",
    "room",
    "room:",
    "r{x}m:{y}",
    "{all*}",
    "system:{id:(?i)abc|ABD}",
    "{word:\\w+}:{number:\\d{1,3}}",
    "user:{id:(?=a).+}",
};

static hub__match_scratch_t *scratch;

static hub__router_t *make_router(uint32_t chosen, bool reversed)
{
    hub__route_source_t sources[COUNT(patterns)];
    hub__router_t *router = NULL;
    size_t count = 0;

    for (size_t i = 0; i != COUNT(patterns); ++i) {
        size_t index = reversed ? COUNT(patterns) - 1 - i : i;

        if ((chosen >> index & 1) != 0)
            sources[count++] = (hub__route_source_t){.pattern = hub_str(patterns[index]),
                                                     .has_priority = true,
                                                     .priority = (int)index,
                                                     .target = (void *)(uintptr_t)patterns[index]};
    }
    if (hub__router_create(sources, count, &router, NULL) != HUB_OK)
        return NULL;
    return router;
}

/* Every pattern, one after the other. */
static hub_status_t match_plainly(const hub__router_t *router, hub_str_t topic,
                                  const hub__route_t **ret_route)
{
    for (size_t i = 0; i != hub__router_count(router); ++i) {
        hub__captures_t captures;
        const hub__route_t *route = hub__router_at(router, i);
        hub_status_t status = hub__pattern_match(route->pattern, topic, scratch, &captures);
        bool sure;

        if (status == HUB_OK)
            *ret_route = route;
        if (status == HUB_ELIMIT && !fuzz_may_match(route->pattern, topic, &sure))
            status = HUB_ENOTFOUND; /* it gave up at what is plain without it */
        if (status != HUB_ENOTFOUND)
            return status;
    }
    return HUB_ENOTFOUND;
}

static void match(const hub__router_t *router, hub_str_t topic, const hub__route_t **ret_route)
{
    const hub__route_t *expected_route = NULL;
    hub__captures_t captures;
    hub_status_t status, expected = match_plainly(router, topic, &expected_route);
    fuzz_meter_t meter;

    fuzz_meter_begin();
    status = hub__router_match(router, topic, scratch, ret_route, &captures);
    meter = fuzz_meter_end();
    FUZZ_CHECK(status == expected && (status != HUB_OK || *ret_route == expected_route),
               "%s instead of %s for \"%.*s\"", hub_status_name(status), hub_status_name(expected),
               HUB_STR_ARG(topic));
    FUZZ_CHECK(meter.total == 0, "%zu bytes allocated", meter.total);
    FUZZ_CHECK(meter.steps <= STEPS_PER_BYTE * topic.len + STEPS_MORE, "%llu steps for %zu bytes",
               (unsigned long long)meter.steps, topic.len);
}

/* No control characters (C0, DEL, C1), no space, 1 to 255 bytes of UTF-8. */
static bool is_topic(hub_str_t topic)
{
    for (size_t i = 0; i != topic.len; ++i) {
        uint8_t byte = (uint8_t)topic.base[i], next;

        next = i + 1 == topic.len ? 0 : (uint8_t)topic.base[i + 1];
        if (byte <= ' ' || byte == 0x7f || (byte == 0xc2 && next < 0xa0))
            return false;
    }
    return topic.len != 0 && topic.len <= 255 && fuzz_is_utf8(topic);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct {
        uint32_t chosen;
        hub__router_t *forth, *back;
    } made; /* a router takes long to make, and most inputs have the same */
    fuzz_input_t input = {data, size};
    uint32_t chosen = fuzz_byte(&input);
    const hub__route_t *route = NULL, *other = NULL;
    hub_str_t given, topic;

    chosen = chosen << 8 | fuzz_byte(&input);
    chosen = chosen << 8 | fuzz_byte(&input);
    given = fuzz_rest(&input);
    topic = hub_str_n(fuzz_copy(given), given.len);
    FUZZ_CHECK((hub__topic_check(topic, 255, NULL) == HUB_OK) == is_topic(topic), "\"%.*s\"",
               HUB_STR_ARG(topic));
    scratch = scratch == NULL ? hub__match_scratch_create() : scratch;
    if (made.forth == NULL || made.chosen != chosen) {
        hub__router_release(made.forth);
        hub__router_release(made.back);
        made.chosen = chosen;
        made.forth = make_router(chosen, false);
        made.back = make_router(chosen, true);
        FUZZ_CHECK((made.forth == NULL) == (made.back == NULL), "only one order is refused");
    }
    if (made.forth != NULL && fuzz_is_utf8(topic)) {
        match(made.forth, topic, &route);
        match(made.back, topic, &other);
        FUZZ_CHECK((route == NULL ? NULL : route->target) == (other == NULL ? NULL : other->target),
                   "the order of registration matters");
    }
    free((char *)(uintptr_t)topic.base);
    return 0;
}
