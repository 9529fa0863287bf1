/* SPDX-License-Identifier: MIT */
/* One frame of a client's, decoded by one of the wire formats.
 *
 * Oracles: a text frame is JSON exactly if jansson says so, and topic, event, payload and refs are
 * those of jansson's tree (reference); within their limits; what is decoded, encoded again and
 * decoded again is the same, its payload byte for byte (round trip); an encoding fits what was
 * said of its length; everything borrowed lies within the frame or the scratch, also after a
 * failure; nothing is allocated (memory); work is linear in the bytes (steps).
 *
 * Input: a byte for format and opcode, then the frame. */
#include "test/fuzz/fuzz.h"

#include <stdlib.h>

#include "channels/dialect.h"

#define STEPS_PER_BYTE 20
#define STEPS_MORE 1000
#define CLAIMED_DEPTH 60 /* what is nested deeper is refused before it is known to be JSON */

static const hub__envelope_limits_t limits = {.topic_bytes = 255,
                                              .event_bytes = 64,
                                              .ref_bytes = 32,
                                              .envelope_depth = 8,
                                              .payload_depth = 64};

static bool is_borrowed(hub_str_t part, hub_str_t frame, const hub__envelope_scratch_t *scratch)
{
    return part.base == NULL ||
           (part.base >= frame.base && part.base + part.len <= frame.base + frame.len) ||
           (part.base >= scratch->bytes && part.base + part.len <= scratch->bytes + scratch->used);
}

static void check_borrowed(const hub__envelope_t *envelope, hub_str_t frame,
                           const hub__envelope_scratch_t *scratch)
{
    const hub_str_t parts[] = {envelope->topic, envelope->topic_token, envelope->event,
                               envelope->ref,   envelope->join_ref,    envelope->payload.bytes};

    for (size_t i = 0; i != 6; ++i)
        FUZZ_CHECK(is_borrowed(parts[i], frame, scratch) || parts[i].len == 0 ||
                       (i == 5 && hub_str_equals(parts[i], HUB_STR("null"))), /* it had none */
                   "part %zu points elsewhere: %.*s", i, HUB_STR_ARG(parts[i]));
}

static bool is_text(hub_str_t text, const json_t *value)
{
    return json_is_string(value) &&
           hub_str_equals(text, hub_str_n(json_string_value(value), json_string_length(value)));
}

/* Any JSON may stand for a topic or an event of Phoenix's; then its text is its name. */
static bool is_name(hub_str_t name, const json_t *value)
{
    return is_text(name, value) || fuzz_json_equals(name, value);
}

static void check_against(const hub__dialect_t *dialect, const hub__envelope_t *envelope,
                          const json_t *tree)
{
    static const char *const names[] = {"join_ref", "ref", "topic", "event", "payload"};
    const json_t *fields[5];
    bool is_array = dialect->index == HUB__DIALECT_PHOENIX2;

    for (size_t i = 0; i != 5; ++i)
        fields[i] = is_array ? json_array_get(tree, i) : json_object_get(tree, names[i]);
    FUZZ_CHECK(is_text(envelope->topic, fields[2]) || envelope->topic.base == NULL, "topic %.*s",
               HUB_STR_ARG(envelope->topic));
    FUZZ_CHECK(is_name(envelope->event, fields[3]), "event %.*s", HUB_STR_ARG(envelope->event));
    FUZZ_CHECK(fuzz_json_equals(envelope->ref, fields[1]), "ref %.*s", HUB_STR_ARG(envelope->ref));
    FUZZ_CHECK(fuzz_json_equals(envelope->join_ref, fields[0]), "join_ref %.*s",
               HUB_STR_ARG(envelope->join_ref));
    if (fields[4] != NULL)
        FUZZ_CHECK(fuzz_json_equals(envelope->payload.bytes, fields[4]), "payload %.*s",
                   HUB_STR_ARG(envelope->payload.bytes));
}

static void check_limits(const hub__envelope_t *envelope)
{
    FUZZ_CHECK(envelope->topic.len <= limits.topic_bytes, "topic of %zu", envelope->topic.len);
    FUZZ_CHECK(envelope->event.len <= limits.event_bytes, "event of %zu", envelope->event.len);
    FUZZ_CHECK(envelope->ref.len <= 6 * limits.ref_bytes + 2, "ref of %zu", envelope->ref.len);
    FUZZ_CHECK(envelope->join_ref.len <= 6 * limits.ref_bytes + 2, "join_ref of %zu",
               envelope->join_ref.len);
    FUZZ_CHECK(fuzz_is_utf8(envelope->topic) && fuzz_is_utf8(envelope->event) &&
                   fuzz_is_utf8(envelope->ref) && fuzz_is_utf8(envelope->join_ref),
               "no UTF-8");
}

/* What was read goes out as a push, and is read as if a client had sent that. */
static void check_round_trip(const hub__dialect_t *dialect, const hub__envelope_t *envelope)
{
    hub__outgoing_t out = {.kind = HUB__OUT_PUSH,
                           .topic = envelope->topic,
                           .event = envelope->event,
                           .join_ref = envelope->join_ref,
                           .payload = envelope->payload};
    hub__envelope_scratch_t scratch;
    hub__envelope_t again;
    size_t bound = dialect->encode_bound(&out), len;
    bool binary = false;
    char *bytes = malloc(bound);
    hub_status_t status;

    len = dialect->carries(out.payload.kind) ? dialect->encode(&out, bytes, &binary) : 0;
    FUZZ_CHECK(len <= bound, "%zu bytes of at most %zu", len, bound);
    if (len != 0 && !binary && out.topic.base != NULL) {
        status = dialect->decode(hub_str_n(bytes, len), false, &limits, &scratch, &again, NULL);
        FUZZ_CHECK(status == HUB_OK || (status == HUB_EEVENT && out.event.len == 0), "%s: %.*s",
                   hub_status_name(status), (int)len, bytes);
        FUZZ_CHECK(hub_str_equals(again.topic, out.topic) && hub_str_equals(again.event, out.event),
                   "%.*s", (int)len, bytes);
        FUZZ_CHECK(hub_str_equals(again.payload.bytes, out.payload.bytes), "%.*s", (int)len, bytes);
        FUZZ_CHECK(dialect->index == HUB__DIALECT_PHOENIX1 ||
                       hub_str_equals(again.join_ref, out.join_ref),
                   "%.*s", (int)len, bytes);
    }
    free(bytes);
}

static size_t count_openings(hub_str_t text)
{
    size_t count = 0;

    for (size_t i = 0; i != text.len; ++i)
        count += text.base[i] == '[' || text.base[i] == '{';
    return count;
}

static void check_text(const hub__dialect_t *dialect, hub_str_t frame, hub_status_t status,
                       const hub__envelope_t *envelope)
{
    bool unsure, is_json = status != HUB_ESYNTAX && status != HUB_EUTF8;
    json_t *tree = fuzz_jansson(frame, &unsure);

    if (!unsure && status != HUB_EDEPTH && count_openings(frame) <= CLAIMED_DEPTH)
        FUZZ_CHECK(is_json == (tree != NULL), "%s, jansson says %s: %.*s", hub_status_name(status),
                   tree != NULL ? "JSON" : "none", HUB_STR_ARG(frame));
    if (status == HUB_OK && tree != NULL)
        check_against(dialect, envelope, tree);
    json_decref(tree);
}

static bool is_odd(hub_str_t frame)
{
    for (size_t i = 0; i + 6 <= frame.len; ++i)
        if (memcmp(frame.base + i, "\\u0000", 6) == 0 ||
            (memcmp(frame.base + i, "\\u", 2) == 0 && (frame.base[i + 2] | 0x20) == 'd'))
            return true;
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input_t input = {data, size};
    uint8_t choice = fuzz_byte(&input);
    const hub__dialect_t *dialect = hub__dialect(choice % HUB__DIALECT_COUNT);
    bool binary = (choice & 0x80) != 0;
    hub_str_t frame = fuzz_rest(&input);
    char *copy = fuzz_copy(frame);
    hub__envelope_scratch_t scratch = {.used = 0};
    hub__envelope_t envelope;
    hub_error_t error = {0};
    hub_status_t status;
    fuzz_meter_t meter;

    frame.base = copy;
    fuzz_meter_begin();
    status = dialect->decode(frame, binary, &limits, &scratch, &envelope, &error);
    meter = fuzz_meter_end();
    FUZZ_CHECK(meter.total == 0, "%zu bytes allocated", meter.total);
    FUZZ_CHECK(meter.steps <= STEPS_PER_BYTE * size + STEPS_MORE, "%llu steps for %zu bytes",
               (unsigned long long)meter.steps, size);
    FUZZ_CHECK(status == HUB_OK || (error.status == status && error.offset <= frame.len),
               "%s at %zu", hub_status_name(status), error.offset);
    check_borrowed(&envelope, frame, &scratch);
    if (!is_odd(frame) && (!binary || dialect->index != HUB__DIALECT_PHOENIX2))
        check_text(dialect, frame, status, &envelope);
    if (status == HUB_OK) {
        check_limits(&envelope);
        check_round_trip(dialect, &envelope);
    }
    free(copy);
    return 0;
}
