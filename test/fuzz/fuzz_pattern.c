/* SPDX-License-Identifier: MIT */
/* One pattern, perhaps behind an include prefix, and some topics for it.
 *
 * Oracles: a match's parameters, put between the pattern's literals, are the topic again, and none
 * of them is what its kind forbids (round trip); the interpreter of PCRE2 says the same as what is
 * quick, and so does a plain reading of the tokens where none of them has an expression
 * (reference); a router that has a wider pattern as well finds the narrower one where it matches,
 * and where its match failed it denies rather than falls through (deny); a pattern equals itself
 * and conflicts with itself; whatever was allocated is freed, and of that there is little (memory).
 *
 * Input: a byte that cuts the pattern in two, the pattern up to a newline, then topics, likewise.
 */
#include "test/fuzz/fuzz.h"

#include <stdlib.h>

#include "channels/router.h"

#define COMPILED_BYTES                                                                             \
    400000 /* of a pattern of 1,024 bytes; PCRE2's own is not counted with it                      \
            */
#define TOPICS 4

static hub__match_scratch_t *scratch;
static int narrow, wide; /* their addresses are targets */

/* ---- captures ---- */

static void check_param(const hub__token_t *token, hub_str_t value)
{
    if (token->kind != HUB__TOKEN_CATCH_ALL)
        FUZZ_CHECK(value.len != 0, "an empty parameter");
    for (size_t i = 0; token->kind == HUB__TOKEN_PLAIN && i != value.len; ++i)
        FUZZ_CHECK(!hub__pattern_is_stop(value.base[i]), "byte %zu of %.*s", i, HUB_STR_ARG(value));
}

static void check_captures(const hub__pattern_t *pattern, hub_str_t prefix, hub_str_t topic,
                           const hub__captures_t *captures)
{
    size_t count, at = 0, param = 0;
    const hub__token_t *tokens = hub__pattern_tokens(pattern, &count);

    FUZZ_CHECK(captures->count == hub__pattern_param_count(pattern), "%u", captures->count);
    FUZZ_CHECK(captures->prefix_len <= topic.len && (prefix.len != 0 || captures->prefix_len == 0),
               "prefix of %u", captures->prefix_len);
    for (size_t i = 0; i != count; ++i) {
        hub_str_t rest = hub_str_n(topic.base + at, topic.len - at);

        if (tokens[i].start == prefix.len)
            FUZZ_CHECK(captures->prefix_len == at, "prefix of %u", captures->prefix_len);
        if (tokens[i].kind == HUB__TOKEN_LITERAL) {
            FUZZ_CHECK(hub_str_starts_with(rest, tokens[i].text), "literal at %zu", at);
            at += tokens[i].text.len;
        } else if (tokens[i].name.base != NULL) {
            const hub__span_t *span = &captures->spans[param];

            FUZZ_CHECK(span->start == at && span->end >= at && span->end <= topic.len,
                       "%u to %u at %zu", span->start, span->end, at);
            FUZZ_CHECK(hub__pattern_param_index(pattern, tokens[i].name) == param++, "index");
            check_param(&tokens[i], hub_str_n(rest.base, span->end - at));
            at = span->end;
        } else {
            at = topic.len;
        }
    }
    FUZZ_CHECK(at == topic.len, "the end of \"%.*s\" is nowhere", HUB_STR_ARG(topic));
}

/* ---- beside a wider one ---- */

/* NULL: they conflict, being equally wide. */
static hub__router_t *make_router(hub_str_t prefix, hub_str_t source)
{
    const hub__route_source_t sources[] = {
        {.pattern = HUB_STR("{fuzz_everything*}"), .target = &wide},
        {.prefix = prefix, .pattern = source, .target = &narrow},
    };
    hub__router_t *router = NULL;
    hub_error_t error;
    hub_status_t status = hub__router_create(sources, 2, &router, &error);

    FUZZ_CHECK(status == HUB_OK || status == HUB_ECONFLICT || status == HUB_ELIMIT, "%s",
               error.text);
    return router;
}

/* `may`: it is not known without PCRE2 that the narrower one does not match. */
static void check_router(const hub__router_t *router, hub_str_t topic, hub_status_t narrow_status,
                         bool may)
{
    const hub__route_t *route = NULL;
    hub__captures_t captures;
    hub_status_t status = hub__router_match(router, topic, scratch, &route, &captures);

    if (narrow_status == HUB_ELIMIT && may)
        FUZZ_CHECK(status == HUB_ELIMIT, "%s of \"%.*s\" where a match failed",
                   hub_status_name(status), HUB_STR_ARG(topic));
    else if (narrow_status != HUB_ELIMIT)
        FUZZ_CHECK(status == HUB_OK && route->target == (narrow_status == HUB_OK ? &narrow : &wide),
                   "%s, and alone %s, of \"%.*s\"", hub_status_name(status),
                   hub_status_name(narrow_status), HUB_STR_ARG(topic));
}

/* Those a catch-all takes or not: no topic has them. */
static bool has_control(hub_str_t topic)
{
    size_t i = 0;

    while (i != topic.len && (uint8_t)topic.base[i] >= ' ')
        ++i;
    return i != topic.len;
}

static void match(const hub__pattern_t *pattern, hub_str_t prefix, const hub__router_t *router,
                  hub_str_t given)
{
    hub_str_t topic = {fuzz_copy(given), given.len};
    hub__captures_t captures = {0}, reference = {0};
    hub_status_t status = hub__pattern_match(pattern, topic, scratch, &captures);
    hub_status_t expected = hub__pattern_match_reference(pattern, topic, scratch, &reference);
    bool sure, may = fuzz_may_match(pattern, topic, &sure);

    FUZZ_CHECK(status == HUB_OK || status == HUB_ENOTFOUND || status == HUB_ELIMIT, "%s",
               hub_status_name(status));
    FUZZ_CHECK(status == expected || status == HUB_ELIMIT || expected == HUB_ELIMIT,
               "%s, PCRE2 says %s of \"%.*s\"", hub_status_name(status), hub_status_name(expected),
               HUB_STR_ARG(topic));
    if (status == HUB_OK)
        check_captures(pattern, prefix, topic, &captures);
    if (status == HUB_OK && expected == HUB_OK)
        FUZZ_CHECK(
            memcmp(captures.spans, reference.spans, captures.count * sizeof(*captures.spans)) == 0,
            "other parameters");
    FUZZ_CHECK(may || status != HUB_OK, "\"%.*s\" can't match", HUB_STR_ARG(topic));
    /* with several parameters side by side, PCRE2's interpreter may come to the bound as well */
    FUZZ_CHECK(!sure || !may || status == HUB_OK || has_control(topic) ||
                   (status == HUB_ELIMIT && expected == HUB_ELIMIT),
               "\"%.*s\" must match, and is %s", HUB_STR_ARG(topic), hub_status_name(status));
    if (router != NULL && topic.len != 0)
        check_router(router, topic, status, may);
    free((char *)(uintptr_t)topic.base);
}

static void check_pattern(const hub__pattern_t *pattern, hub_str_t source)
{
    bool conflict = false;

    FUZZ_CHECK(hub_str_equals(hub__pattern_source(pattern), source), "source");
    FUZZ_CHECK(hub_str_starts_with(source, hub__pattern_literal_prefix(pattern)), "prefix");
    FUZZ_CHECK(hub__pattern_equals(pattern, pattern), "not equal to itself");
    FUZZ_CHECK(hub__pattern_compare(pattern, pattern, &conflict) == 0 && conflict, "no conflict");
    FUZZ_CHECK(hub__pattern_param_count(pattern) <= HUB__PATTERN_PARAMS_MAX, "parameters");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input_t input = {data, size};
    uint8_t cut = fuzz_byte(&input);
    hub_str_t whole = fuzz_until(&input, '\n'), prefix = {0}, source = whole;
    hub__pattern_t *pattern = NULL;
    hub__router_t *router;
    hub_error_t error = {0};
    hub_status_t status;
    fuzz_meter_t meter;

    scratch = scratch == NULL ? hub__match_scratch_create() : scratch;
    if (cut != 0 && cut < whole.len) {
        prefix = hub_str_n(whole.base, cut);
        source = hub_str_n(whole.base + cut, whole.len - cut);
    }
    fuzz_meter_begin();
    status = hub__pattern_compile(prefix, source, &pattern, &error);
    meter = fuzz_meter_end();
    FUZZ_CHECK(meter.peak <= COMPILED_BYTES, "%zu bytes for a pattern of %zu", meter.peak,
               whole.len);
    if (status != HUB_OK) {
        FUZZ_CHECK(pattern == NULL && meter.held == 0, "%zu bytes are kept", meter.held);
        FUZZ_CHECK(error.status == status && error.offset <= whole.len, "offset %zu", error.offset);
        return 0;
    }
    check_pattern(pattern, whole);
    router = make_router(prefix, source);
    for (size_t i = 0; i != TOPICS && input.len != 0; ++i) {
        hub_str_t topic = fuzz_until(&input, '\n');

        if (fuzz_is_utf8(topic))
            match(pattern, prefix, router, topic);
    }
    hub__router_release(router);
    hub__pattern_destroy(pattern);
    return 0;
}
