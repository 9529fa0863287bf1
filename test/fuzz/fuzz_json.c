/* SPDX-License-Identifier: MIT */
/* One text for the JSON scanner.
 *
 * Oracles: a text is valid exactly if jansson accepts it, and too deep exactly if jansson's tree is
 * (reference); what is wrong is told at the first byte that no continuation can make right, so
 * what lies before it may still become valid and what lies behind it does not matter (split);
 * members that the cursor walks over are those of jansson's tree, and an unescaped string is
 * jansson's, in a buffer of its size and of no less (round trip); nothing is allocated (memory);
 * work is linear in the bytes (steps).
 *
 * Input: a byte for the depth, then the text. */
#include "test/fuzz/fuzz.h"

#include <stdlib.h>

#include "bus/json.h"

#define STEPS_PER_BYTE 20
#define STEPS_MORE 500

static const hub_json_kind_t kinds[] = {
    [JSON_OBJECT] = HUB_JSON_OBJECT, [JSON_ARRAY] = HUB_JSON_ARRAY,
    [JSON_STRING] = HUB_JSON_STRING, [JSON_INTEGER] = HUB_JSON_NUMBER,
    [JSON_REAL] = HUB_JSON_NUMBER,   [JSON_TRUE] = HUB_JSON_TRUE,
    [JSON_FALSE] = HUB_JSON_FALSE,   [JSON_NULL] = HUB_JSON_NULL,
};

static bool is_within(hub_str_t part, hub_str_t whole)
{
    return part.base >= whole.base && part.base + part.len <= whole.base + whole.len;
}

/* ---- strings ---- */

static void check_string(const hub_json_value_t *value)
{
    json_error_t error = {0};
    json_t *string =
        json_loadb(value->raw.base, value->raw.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    size_t size = string == NULL ? 0 : json_string_length(string), len = 0;
    size_t room = string == NULL ? value->raw.len : size;
    char *buffer = malloc(room);
    hub_status_t status = hub_json_unescape(value->raw, buffer, room, &len);

    FUZZ_CHECK(value->escaped == (memchr(value->raw.base, '\\', value->raw.len) != NULL), "%.*s",
               HUB_STR_ARG(value->raw));
    FUZZ_CHECK(status == (string == NULL ? HUB_EUTF8 : HUB_OK), "%s: %.*s", hub_status_name(status),
               HUB_STR_ARG(value->raw));
    if (string != NULL) {
        FUZZ_CHECK(len == size && (len == 0 || memcmp(buffer, json_string_value(string), len) == 0),
                   "%.*s", HUB_STR_ARG(value->raw));
        FUZZ_CHECK(size == 0 ||
                       hub_json_unescape(value->raw, buffer, size - 1, &len) == HUB_ETOOLARGE,
                   "a byte less is room enough");
    }
    free(buffer);
    json_decref(string);
}

/* ---- containers ---- */

static void check_value(hub_str_t text, const hub_json_value_t *value, const json_t *expected);

static void check_members(hub_str_t text, hub_json_kind_t kind, const json_t *expected)
{
    hub_json_cursor_t cursor;
    hub_json_value_t key, value;
    hub_status_t status = hub_json_open(&cursor, text, kind, HUB_JSON_DEPTH_MAX);
    hub_str_t rest = text;
    size_t count = 0;

    FUZZ_CHECK(status == HUB_OK, "%s", hub_status_name(status));
    while ((status = hub_json_next(&cursor, &key, &value)) == HUB_OK) {
        const json_t *member = kind == HUB_JSON_ARRAY ? json_array_get(expected, count) : NULL;

        FUZZ_CHECK(is_within(value.raw, rest), "out of order");
        rest = hub_str_n(value.raw.base + value.raw.len,
                         (size_t)(text.base + text.len - value.raw.base) - value.raw.len);
        if (kind == HUB_JSON_OBJECT)
            check_string(&key);
        check_value(text, &value, member);
        ++count;
    }
    FUZZ_CHECK(status == HUB_ENOTFOUND, "%s at %zu", hub_status_name(status), cursor.offset);
    /* the last one of a key is jansson's */
    FUZZ_CHECK(kind == HUB_JSON_ARRAY ? count == json_array_size(expected)
                                      : count >= json_object_size(expected),
               "%zu members", count);
}

/* `expected` NULL: it is to be asked for. */
static void check_value(hub_str_t text, const hub_json_value_t *value, const json_t *expected)
{
    bool unsure = false;
    json_t *asked = expected == NULL ? fuzz_jansson(value->raw, &unsure) : NULL;

    expected = expected == NULL ? asked : expected;
    FUZZ_CHECK(is_within(value->raw, text), "not within the text");
    FUZZ_CHECK(expected != NULL || unsure, "a value that is none: %.*s", HUB_STR_ARG(value->raw));
    if (expected != NULL)
        FUZZ_CHECK(kinds[json_typeof(expected)] == value->kind, "kind %d", (int)value->kind);
    if (value->kind == HUB_JSON_STRING)
        check_string(value);
    else if (expected != NULL && value->kind >= HUB_JSON_ARRAY)
        check_members(value->raw, value->kind, expected);
    json_decref(asked);
}

/* ---- the whole text ---- */

static hub_status_t scan(hub_str_t text, size_t depth, hub_json_value_t *ret_value, size_t *ret_at)
{
    hub_error_t error = {0};
    hub_status_t status = hub_json_scan(text, depth, ret_value, &error);

    FUZZ_CHECK(status == HUB_OK || status == HUB_ESYNTAX || status == HUB_EUTF8 ||
                   status == HUB_EDEPTH,
               "%s", hub_status_name(status));
    FUZZ_CHECK(status == error.status && error.offset <= text.len, "offset %zu", error.offset);
    *ret_at = error.offset;
    return status;
}

/* The text before the wrong byte may go on, the one with it may not. */
static void check_offset(hub_str_t text, size_t depth, hub_status_t status, size_t at)
{
    char *before = fuzz_copy(hub_str_n(text.base, at)), *with;
    hub_json_value_t value;
    size_t again;
    hub_status_t shorter = scan(hub_str_n(before, at), depth, &value, &again);

    free(before);
    FUZZ_CHECK(shorter == HUB_OK || again == at, "wrong at %zu, and at %zu before", at, again);
    if (at == text.len)
        return;
    with = fuzz_copy(hub_str_n(text.base, at + 1));
    shorter = scan(hub_str_n(with, at + 1), depth, &value, &again);
    FUZZ_CHECK(shorter == status && again == at, "%s at %zu, without what follows %s at %zu",
               hub_status_name(status), at, hub_status_name(shorter), again);
    free(with);
}

static void measure(hub_str_t text, size_t depth)
{
    fuzz_meter_t meter;
    hub_json_value_t value;

    fuzz_meter_begin();
    (void)!hub_json_scan(text, depth, &value, NULL);
    meter = fuzz_meter_end();
    FUZZ_CHECK(meter.total == 0, "%zu bytes allocated", meter.total);
    FUZZ_CHECK(meter.steps <= STEPS_PER_BYTE * text.len + STEPS_MORE, "%llu steps for %zu bytes",
               (unsigned long long)meter.steps, text.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t depths[] = {64, 256, 1, 5};
    fuzz_input_t input = {data, size};
    size_t depth = depths[fuzz_byte(&input) % 4], at;
    hub_str_t text = fuzz_rest(&input);
    char *copy = fuzz_copy(text);
    hub_json_value_t value = {0};
    hub_status_t status;
    json_t *expected;
    bool unsure;

    text.base = copy;
    status = scan(text, depth, &value, &at);
    expected = fuzz_jansson(text, &unsure);
    if (expected != NULL)
        FUZZ_CHECK(status == (fuzz_depth(expected) > depth ? HUB_EDEPTH : HUB_OK),
                   "%s at %zu: %.*s", hub_status_name(status), at, HUB_STR_ARG(text));
    else
        FUZZ_CHECK(status != HUB_OK || unsure, "jansson refuses: %.*s", HUB_STR_ARG(text));
    if (status == HUB_OK && expected != NULL)
        check_value(text, &value, expected);
    if (status != HUB_OK)
        check_offset(text, depth, status, at);
    FUZZ_CHECK(hub_utf8_valid(text) == fuzz_is_utf8(text), "UTF-8");
    measure(text, depth);
    json_decref(expected);
    free(copy);
    return 0;
}
