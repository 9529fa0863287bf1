/* SPDX-License-Identifier: MIT */
/* A payload, valid or hostile, spliced into an outgoing envelope of each wire format.
 *
 * Oracles: the door takes a payload exactly if jansson says that it is JSON (reference); what was
 * taken stands in the frame byte for byte, where jansson finds topic, event, refs and status as
 * they were given, and no field more (injection); binary frames say the same to a reader of their
 * lengths; an encoding fits what was said of its length.
 *
 * Input: two bytes of choices, then topic and event, each up to a newline, then the payload. */
#include "test/fuzz/fuzz.h"

#include <stdlib.h>

#include "bus/json.h"
#include "channels/dialect.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define DEPTH 64

/* As a decoder leaves them. */
static const hub_str_t refs[] = {{NULL, 0},    {"\"1\"", 3}, {"17", 2},         {"\"\\\"\"", 4},
                                 {"[1,2]", 5}, {"true", 4},  {"\"a,\\\\\"", 6}, {"{\"a\":1}", 7}};

/* ---- text ---- */

/* One of ours by name, or its place in an array, as it stands; counts the members. */
static hub_str_t raw_member(hub_str_t text, const char *name, size_t place, size_t *ret_count)
{
    hub_json_kind_t kind = text.base[0] == '[' ? HUB_JSON_ARRAY : HUB_JSON_OBJECT;
    hub_json_cursor_t cursor;
    hub_json_value_t key = {0}, value;
    hub_str_t found = {0};
    char quoted[32];

    snprintf(quoted, sizeof(quoted), "\"%s\"", name);
    *ret_count = 0;
    FUZZ_CHECK(hub_json_open(&cursor, text, kind, HUB_JSON_DEPTH_MAX) == HUB_OK, "%.*s",
               HUB_STR_ARG(text));
    while (hub_json_next(&cursor, &key, &value) == HUB_OK) {
        if (kind == HUB_JSON_ARRAY ? *ret_count == place : hub_str_equals(key.raw, hub_str(quoted)))
            found = value.raw;
        ++*ret_count;
    }
    return found;
}

/* As fuzz_jansson() reads a NUL. */
static bool is_text(hub_str_t text, const json_t *value)
{
    const char *read = json_string_value(value);
    size_t i = 0;

    if (read == NULL || json_string_length(value) != text.len)
        return false;
    while (i != text.len && read[i] == (text.base[i] == '\0' ? '@' : text.base[i]))
        ++i;
    return i == text.len;
}

static hub_str_t event_of(const hub__dialect_t *dialect, const hub__outgoing_t *out)
{
    return out->kind == HUB__OUT_REPLY   ? dialect->reply
           : out->kind == HUB__OUT_CLOSE ? dialect->close
           : out->kind == HUB__OUT_ERROR ? dialect->error
                                         : out->event;
}

static bool has_payload(const hub__outgoing_t *out)
{
    return out->kind != HUB__OUT_CLOSE && out->kind != HUB__OUT_ERROR;
}

static void check_payload(const hub__outgoing_t *out, hub_str_t text, const json_t *payload)
{
    size_t count;
    hub_str_t raw = raw_member(text, "payload", 4, &count), response = raw;
    hub_str_t given = out->payload.bytes;
    size_t lead = 0;

    if (!has_payload(out))
        return;
    if (out->kind == HUB__OUT_REPLY) {
        response = raw_member(raw, "response", 1, &count);
        FUZZ_CHECK(count == 2 && json_object_size(payload) == 2, "%.*s", HUB_STR_ARG(raw));
        FUZZ_CHECK(is_text(out->status, json_object_get(payload, "status")), "%.*s",
                   HUB_STR_ARG(raw));
        payload = json_object_get(payload, "response");
    }
    /* with the white space around it */
    while (lead != given.len && strchr(" \t\r\n", given.base[lead]) != NULL)
        ++lead;
    FUZZ_CHECK((size_t)(response.base - text.base) >= lead &&
                   (size_t)(text.base + text.len - response.base) + lead >= given.len &&
                   hub_str_equals(hub_str_n(response.base - lead, given.len), given),
               "%.*s instead of %.*s", HUB_STR_ARG(response), HUB_STR_ARG(given));
    FUZZ_CHECK(fuzz_json_equals(out->payload.bytes, payload), "%.*s", HUB_STR_ARG(text));
}

static void check_text(const hub__dialect_t *dialect, const hub__outgoing_t *out, hub_str_t text)
{
    static const char *const names[] = {"join_ref", "ref", "topic", "event", "payload"};
    bool unsure, is_array = dialect->index == HUB__DIALECT_PHOENIX2;
    json_t *tree = fuzz_jansson(text, &unsure), *fields[5];
    size_t count, size = is_array ? json_array_size(tree) : json_object_size(tree);

    FUZZ_CHECK(tree != NULL || unsure, "no JSON: %.*s", HUB_STR_ARG(text));
    if (tree == NULL)
        return;
    for (size_t i = 0; i != 5; ++i)
        fields[i] = is_array ? json_array_get(tree, i) : json_object_get(tree, names[i]);
    (void)raw_member(text, "", 0, &count);
    FUZZ_CHECK(count == size && size >= 3 && size <= 5, "%zu fields: %.*s", count,
               HUB_STR_ARG(text));
    FUZZ_CHECK(is_text(out->topic, fields[2]), "topic: %.*s", HUB_STR_ARG(text));
    FUZZ_CHECK(is_text(event_of(dialect, out), fields[3]), "event: %.*s", HUB_STR_ARG(text));
    if (out->kind == HUB__OUT_REPLY)
        FUZZ_CHECK(fuzz_json_equals(out->ref, fields[1]), "ref: %.*s", HUB_STR_ARG(text));
    if (is_array && out->kind == HUB__OUT_PUSH)
        FUZZ_CHECK(fuzz_json_equals(out->join_ref, fields[0]), "join_ref: %.*s", HUB_STR_ARG(text));
    check_payload(out, text, fields[4]);
    json_decref(tree);
}

/* ---- bytes ---- */

/* Kinds 0 to 2: push, reply and broadcast with their names, as a client reads them. */
static void check_binary(const hub__outgoing_t *out, hub_str_t bytes)
{
    static const size_t names[] = {3, 4, 2};
    const uint8_t *head = (const uint8_t *)bytes.base;
    size_t kind = out->kind == HUB__OUT_PUSH ? 0 : out->kind == HUB__OUT_REPLY ? 1 : 2, at;
    hub_str_t part = {0}, last = out->kind == HUB__OUT_REPLY ? out->status : out->event;

    FUZZ_CHECK(bytes.len > 1 + names[kind] && head[0] == kind, "kind %u", head[0]);
    at = 1 + names[kind];
    for (size_t i = 0; i != names[kind]; ++i) {
        FUZZ_CHECK(at + head[1 + i] <= bytes.len, "name %zu", i);
        part = hub_str_n(bytes.base + at, head[1 + i]);
        at += part.len;
        if (i + 2 == names[kind])
            FUZZ_CHECK(hub_str_equals(part, out->topic), "topic %.*s", HUB_STR_ARG(part));
    }
    FUZZ_CHECK(hub_str_equals(part, last), "event %.*s", HUB_STR_ARG(part));
    FUZZ_CHECK(hub_str_equals(hub_str_n(bytes.base + at, bytes.len - at), out->payload.bytes),
               "payload of %zu", bytes.len - at);
}

static void encode(const hub__outgoing_t *out)
{
    for (unsigned i = 0; i != HUB__DIALECT_COUNT; ++i) {
        const hub__dialect_t *dialect = hub__dialect((hub__dialect_index_t)i);
        size_t bound = dialect->encode_bound(out), len;
        char *bytes;
        bool binary = false;

        if (has_payload(out) && !dialect->carries(out->payload.kind))
            continue;
        bytes = malloc(bound);
        len = dialect->encode(out, bytes, &binary);
        FUZZ_CHECK(len <= bound, "%zu bytes of at most %zu", len, bound);
        FUZZ_CHECK(len != 0 || binary || out->payload.kind == HUB_PAYLOAD_BINARY, "nothing");
        if (len != 0 && binary)
            check_binary(out, hub_str_n(bytes, len));
        else if (len != 0)
            check_text(dialect, out, hub_str_n(bytes, len));
        free(bytes);
    }
}

/* ---- the door ---- */

/* NULL: it was refused, and rightly. */
static hub_message_t *let_in(hub_str_t topic, hub_str_t event, hub_payload_t payload)
{
    hub_message_t *message = NULL;
    hub_error_t error;
    hub_status_t status = hub_message_create(topic, event, payload, NULL, &message, &error);
    bool unsure, is_json,
        names = topic.len != 0 && topic.len <= 1024 && fuzz_is_utf8(topic) && event.len != 0 &&
                event.len <= 1024 && fuzz_is_utf8(event);
    json_t *tree = fuzz_jansson(payload.bytes, &unsure);

    is_json = tree != NULL && fuzz_depth(tree) <= DEPTH;
    if (!unsure || !names)
        FUZZ_CHECK((status == HUB_OK) == (names && (is_json || payload.kind == HUB_PAYLOAD_BINARY)),
                   "%s: %.*s", hub_status_name(status), HUB_STR_ARG(payload.bytes));
    json_decref(tree);
    return message;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const hub_str_t statuses[] = {{"ok", 2}, {"error", 5}, {"\"},{\"", 5}, {"\xc3\xa4", 2}};
    fuzz_input_t input = {data, size};
    uint8_t choice = fuzz_byte(&input), ref = fuzz_byte(&input);
    hub_str_t topic = fuzz_until(&input, '\n'), event = fuzz_until(&input, '\n');
    hub_str_t bytes = fuzz_rest(&input);
    char *copy = fuzz_copy(bytes);
    hub_payload_t payload = {.bytes = hub_str_n(copy, bytes.len),
                             .kind = (choice & 0x80) != 0 ? HUB_PAYLOAD_BINARY : HUB_PAYLOAD_JSON};
    hub_message_t *message = let_in(topic, event, payload);

    if (message != NULL) {
        hub__outgoing_t out = {.kind = (hub__out_kind_t)(choice % 5),
                               .topic = message->topic,
                               .event = message->event,
                               .status = statuses[choice / 5 % COUNT(statuses)],
                               .ref = refs[ref % COUNT(refs)],
                               .join_ref = refs[ref / COUNT(refs) % COUNT(refs)],
                               .payload = message->payload};

        encode(&out);
    }
    hub_message_release(message);
    free(copy);
    return 0;
}
