/* SPDX-License-Identifier: MIT */
/* Splicing a payload can never change topic or event. Random payloads, valid and hostile, go
 * through the door that every program's payload goes through; what is let in is encoded by each
 * dialect and read again by jansson, which knows nothing of our scanner. What is kept out, jansson
 * must refuse as well. The seed is fixed, so a failure comes again. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdlib.h>

#include "bus/json.h"
#include "channels/dialect.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define CASES 3000

struct source {
    uint64_t seed;
    char bytes[8192];
    size_t len;
};

static size_t below(struct source *source, size_t limit)
{
    source->seed ^= source->seed << 13;
    source->seed ^= source->seed >> 7;
    source->seed ^= source->seed << 17;
    return (size_t)(source->seed >> 11) % limit;
}

static void add(struct source *source, hub_str_t bytes)
{
    if (bytes.len > sizeof(source->bytes) - source->len)
        return;
    memcpy(source->bytes + source->len, bytes.base, bytes.len);
    source->len += bytes.len;
}

#define ADD(source, literal) add((source), HUB_STR(literal))
#define PICK(source, table) add((source), (table)[below((source), COUNT(table))])

/* The literal, so that NULs count. */
#define S(literal)                                                                                 \
    {                                                                                              \
        (literal), sizeof(literal) - 1                                                             \
    }

static const hub_str_t scalars[] = {
    S("null"), S("true"), S("false"), S("0"), S("-1"), S("1.5e3"), S("12345678901234567"),
    S("\"\""), S("0.25"), S("-0"),
};

/* Pieces of a JSON string, most of them after something in the envelope. */
static const hub_str_t pieces[] = {
    S("a"),
    S("room:2"),
    S("\\\""),
    S("\\\\"),
    S("\\n"),
    S("\\u0000"),
    S("\\u0022"),
    S("\\u005c"),
    S("}"),
    S("{"),
    S("]"),
    S("["),
    S(","),
    S(":"),
    S("\\\",\\\"event\\\":\\\"evil\\\""),
    S("/"),
    S("\xc3\xa4"),
    S("\xf0\x9f\x98\x80"),
    S("\\ud83d\\ude00"),
    S("\xe2\x80\xa8"),
    S("\x7f"),
};

/* What can't be in JSON at these places, or ends a value early. */
static const hub_str_t knives[] = {
    S("\""),
    S("}"),
    S("{"),
    S("]"),
    S("["),
    S(","),
    S(":"),
    S("\\"),
    S("\0"),
    S("\n"),
    S("\x01"),
    S("\xff"),
    S("\xc3"),
    S("\xed\xa0\x80"),
    S("\xc0\xaf"),
    S("}}"),
    S("]]"),
    S("\"}"),
    S(" "),
    S("\",\"event\":\"evil\",\"x\":\""),
    S("},\"topic\":\"room:2\",\"x\":{"),
    S("},{"),
    S("],["),
    S("/**/"),
    S("0"),
    S("-"),
    S("\\ud800"),
    S("1e999"),
    S("\xef\xbb\xbf"),
};

static const hub_str_t hostile[] = {
    S(""),
    S(" "),
    S("{}}"),
    S("{},\"topic\":\"room:2\""),
    S("1,\"event\":\"evil\""),
    S("{"),
    S("\""),
    S("\"\\"),
    S("nul"),
    S("{}\0"),
    S("\0"),
    S("1 2"),
    S("]"),
    S("}"),
    S("'a'"),
    S("NaN"),
    S("{\"a\":1}]"),
    S("0],[1"),
    S("\"a\nb\""),
    S("\"\xff\""),
    S("{\"a\":1,}"),
    S("[1,]"),
    S("// a\n1"),
    S("{}//"),
    S("\"\\ud800\""),
    S("[1e999]"),
    S("{\"\\u0000\":1}"),
    S("01"),
};

static void add_string(struct source *source)
{
    ADD(source, "\"");
    for (size_t left = below(source, 5); left > 0; left--)
        PICK(source, pieces);
    ADD(source, "\"");
}

static void add_value(struct source *source, size_t depth)
{
    size_t members = below(source, 4), what = below(source, depth == 0 ? 2 : 5);

    if (what == 0) {
        PICK(source, scalars);
    } else if (what == 1) {
        add_string(source);
    } else if (what == 2) {
        ADD(source, "[");
        for (size_t i = 0; i < members; i++) {
            add(source, i > 0 ? HUB_STR(" ,") : HUB_STR(""));
            add_value(source, depth - 1);
        }
        ADD(source, "]");
    } else {
        ADD(source, "{");
        for (size_t i = 0; i < members; i++) {
            add(source, i > 0 ? HUB_STR(", ") : HUB_STR(""));
            add_string(source);
            ADD(source, ":");
            add_value(source, depth - 1);
        }
        ADD(source, "}");
    }
}

/* Puts a knife somewhere, or cuts a piece out or off. */
static void stab(struct source *source)
{
    size_t at = below(source, source->len + 1), len = source->len;
    hub_str_t knife = knives[below(source, COUNT(knives))];

    switch (below(source, 4)) {
    case 0:
        source->len = at;
        break;
    case 1:
        if (at < len) {
            memmove(source->bytes + at, source->bytes + at + 1, len - at - 1);
            source->len--;
        }
        break;
    case 2:
        add(source, knife);
        break;
    default:
        if (len + knife.len <= sizeof(source->bytes)) {
            memmove(source->bytes + at + knife.len, source->bytes + at, len - at);
            memcpy(source->bytes + at, knife.base, knife.len);
            source->len += knife.len;
        }
        break;
    }
}

static hub_str_t random_payload(struct source *source)
{
    size_t wounds = below(source, 4);

    source->len = 0;
    if (below(source, 20) == 0) {
        PICK(source, hostile);
        return hub_str_n(source->bytes, source->len);
    }
    add_value(source, 5);
    for (size_t i = 1; i < wounds; i++)
        stab(source);
    return hub_str_n(source->bytes, source->len);
}

/* Any text; a topic has no spaces and controls where it is to be accepted from a client. */
static hub_str_t random_name(struct source *source)
{
    static const hub_str_t units[] = {
        S("a"),
        S("room:"),
        S("\""),
        S("\\"),
        S("\n"),
        S("\x01"),
        S("\0"),
        S("\x1f"),
        S("}"),
        S("{"),
        S(","),
        S("\",\"event\":\"evil"),
        S("\\u0022"),
        S("\xc3\xa4"),
        S("\xf0\x9f\x98\x80"),
        S("\t"),
        S("\xe2\x80\xa8"),
        S("\x7f"),
        S("/"),
        S(" "),
        S("\b\f\r"),
    };

    source->len = 0;
    for (size_t left = 1 + below(source, 6); left > 0; left--)
        PICK(source, units);
    return hub_str_n(source->bytes, source->len);
}

/* jansson overlooks a NUL behind a word or a number, where JSON has a place for none. */
static json_t *judge(hub_str_t text, json_error_t *error)
{
    if (text.len > 0 && memchr(text.base, '\0', text.len) != NULL)
        return NULL;
    return json_loadb(text.base, text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, error);
}

/* What jansson can't store, though JSON has it: numbers out of range, NUL in a key, half a pair. */
static bool is_known_difference(const json_error_t *error)
{
    enum json_error_code code = json_error_code(error);

    return code == json_error_numeric_overflow || code == json_error_null_byte_in_key ||
           strstr(error->text, "invalid Unicode '\\u") != NULL;
}

static bool is_text(const json_t *value, hub_str_t text)
{
    return json_is_string(value) &&
           hub_str_equals(hub_str_n(json_string_value(value), json_string_length(value)), text);
}

/* The parts of a frame as jansson sees them; false where it is not of this shape. */
static bool take_apart(hub__dialect_index_t dialect, const json_t *tree, json_t *ret_parts[3])
{
    static const char *const keys[] = {"topic", "event", "payload"};

    for (size_t i = 0; i < 3; i++)
        ret_parts[i] = dialect == HUB__DIALECT_PHOENIX2 ? json_array_get(tree, i + 2)
                                                        : json_object_get(tree, keys[i]);
    if (dialect == HUB__DIALECT_PHOENIX2)
        return json_array_size(tree) == 5;
    return json_object_size(tree) == 3u + (json_object_get(tree, "ref") != NULL) +
                                         (json_object_get(tree, "join_ref") != NULL);
}

static void judge_frame(hub__dialect_index_t dialect, const hub__outgoing_t *out, hub_str_t frame,
                        hub_str_t event, const json_t *payload)
{
    json_t *tree = judge(frame, NULL), *parts[3], *body;
    bool right = tree != NULL && take_apart(dialect, tree, parts);

    if (right && out->kind == HUB__OUT_REPLY)
        body = json_object_size(parts[2]) == 2 ? json_object_get(parts[2], "response") : NULL;
    else
        body = right ? parts[2] : NULL;
    if (!right || !is_text(parts[0], out->topic) || !is_text(parts[1], event) ||
        !json_equal(body, payload))
        fail_msg("%.*s of %.*s", HUB_STR_ARG(frame), HUB_STR_ARG(out->payload.bytes));
    json_decref(tree);
}

/* Phoenix's clients may have spaces in a topic. */
static hub_status_t topic_status(const hub__dialect_t *dialect, hub_str_t topic, size_t max)
{
    hub_status_t err = hub__topic_check(topic, max, NULL);
    bool may_have_spaces = dialect->index != HUB__DIALECT_NATIVE;

    return err != HUB_OK && may_have_spaces && topic.len <= max &&
                   hub__topic_forbidden(topic, true) == topic.len && topic.len > 0
               ? HUB_OK
               : err;
}

/* What our own side reads: the payload has to be the very bytes. */
static void check_bytes(const hub__dialect_t *dialect, const hub__outgoing_t *out, hub_str_t frame,
                        hub_str_t event)
{
    static const hub__envelope_limits_t limits = {1024, 255, 64, 256, 256};
    hub_str_t payload = out->payload.bytes, head = HUB_STR("{\"status\":\"ok\",\"response\":");
    hub__envelope_scratch_t scratch;
    hub__envelope_t envelope;
    hub_str_t got;

    assert_int_equal(dialect->decode(frame, false, &limits, &scratch, &envelope, NULL),
                     topic_status(dialect, out->topic, limits.topic_bytes));
    assert_true(hub_str_equals(envelope.topic, out->topic));
    assert_true(hub_str_equals(envelope.event, event));
    got = envelope.payload.bytes;
    if (out->kind == HUB__OUT_REPLY) {
        assert_true(hub_str_starts_with(got, head));
        got = hub_str_n(got.base + head.len, got.len - head.len - 1);
    }
    /* the white space around a value is no part of it */
    assert_non_null(memmem(payload.base, payload.len, got.base, got.len));
    assert_non_null(memmem(frame.base, frame.len, payload.base, payload.len));
}

/* `payload` is what jansson made of the payload, NULL where it could make nothing of it. */
static void check_encodings(const hub_message_t *message, const json_t *payload)
{
    static const hub__out_kind_t kinds[] = {HUB__OUT_REPLY, HUB__OUT_PUSH, HUB__OUT_BROADCAST};

    for (size_t i = 0; i < HUB__DIALECT_COUNT * COUNT(kinds); i++) {
        const hub__dialect_t *dialect = hub__dialect((hub__dialect_index_t)(i / COUNT(kinds)));
        hub__outgoing_t out = {
            .kind = kinds[i % COUNT(kinds)],
            .topic = message->topic,
            .event = message->event,
            .status = HUB_STR("ok"),
            .ref = HUB_STR("\"2\""),
            .join_ref = HUB_STR("\"1\""),
            .payload = message->payload,
        };
        hub_str_t event = out.kind == HUB__OUT_REPLY ? dialect->reply : out.event;
        size_t bound = dialect->encode_bound(&out), len;
        char *bytes = malloc(bound);
        bool binary = true;

        assert_non_null(bytes);
        len = dialect->encode(&out, bytes, &binary);
        assert_false(binary);
        assert_true(len <= bound);
        if (payload != NULL)
            judge_frame(dialect->index, &out, hub_str_n(bytes, len), event, payload);
        check_bytes(dialect, &out, hub_str_n(bytes, len), event);
        free(bytes);
    }
}

struct tally {
    size_t accepted, refused, unknown_to_jansson;
};

static void try_payload(hub_str_t topic, hub_str_t event, hub_str_t bytes, struct tally *tally)
{
    hub_error_t error = {.text = ""};
    json_error_t verdict = {.text = "a NUL"};
    hub_message_t *message = NULL;
    json_t *tree = judge(bytes, &verdict);
    hub_status_t err = hub_message_create(topic, event, hub_json(bytes), NULL, &message, &error);

    assert_int_equal(hub_payload_check(hub_json(bytes), 0, NULL), err);
    if (err != HUB_OK) {
        assert_int_equal(err, HUB_EPAYLOAD);
        if (tree != NULL && strstr(error.text, "nested deeper") == NULL)
            fail_msg("%.*s: %s, but jansson takes it", HUB_STR_ARG(bytes), error.text);
        tally->refused++;
    } else {
        if (tree == NULL && !is_known_difference(&verdict))
            fail_msg("%.*s: accepted, but jansson says %s", HUB_STR_ARG(bytes), verdict.text);
        check_encodings(message, tree);
        tally->accepted++;
        tally->unknown_to_jansson += tree == NULL;
    }
    hub_message_release(message);
    json_decref(tree);
}

static void a_payload_never_changes_topic_or_event(void **state)
{
    static struct source payloads = {.seed = 20261121}, topics = {.seed = 42}, events = {.seed = 7};
    struct tally tally = {0};

    (void)state;
    for (size_t i = 0; i < CASES; i++) {
        hub_str_t topic = random_name(&topics), event = random_name(&events);

        try_payload(topic, event, random_payload(&payloads), &tally);
    }
    /* neither are all harmless nor all refused */
    assert_true(tally.accepted > CASES / 4);
    assert_true(tally.refused > CASES / 4);
    assert_true(tally.unknown_to_jansson > 0);
}

static void the_known_attacks_are_refused_or_harmless(void **state)
{
    struct tally tally = {0};

    (void)state;
    for (size_t i = 0; i < COUNT(hostile); i++)
        try_payload(HUB_STR("room:1"), HUB_STR("say"), hostile[i], &tally);
    /* half a pair, a number out of range and a NUL in a key are JSON */
    assert_int_equal(tally.accepted, 3);
    assert_int_equal(tally.unknown_to_jansson, 3);
}

static void a_payload_nested_as_deep_as_allowed_is_carried_and_no_deeper(void **state)
{
    char text[2 * 65];
    struct tally tally = {0};

    (void)state;
    memset(text, '[', 65);
    memset(text + 65, ']', 65);
    try_payload(HUB_STR("a"), HUB_STR("b"), hub_str_n(text + 1, 128), &tally);
    assert_int_equal(tally.accepted, 1);
    try_payload(HUB_STR("a"), HUB_STR("b"), hub_str_n(text, 130), &tally);
    assert_int_equal(tally.refused, 1);
}

/* The bytes of a binary payload may be anything: they stand behind the names, whose lengths are
 * said before. */
static void a_binary_payload_stands_behind_the_names(void **state)
{
    static struct source payloads = {.seed = 3}, topics = {.seed = 5}, events = {.seed = 11};
    const hub__dialect_t *dialect = hub__dialect(HUB__DIALECT_PHOENIX2);

    (void)state;
    for (size_t i = 0; i < 500; i++) {
        hub__outgoing_t out = {.kind = HUB__OUT_BROADCAST,
                               .topic = random_name(&topics),
                               .event = random_name(&events)};
        hub_str_t bytes = random_payload(&payloads), rest;
        bool binary = false;
        char *frame;
        size_t len;

        out.payload = hub_binary(bytes.base, bytes.len);
        frame = malloc(dialect->encode_bound(&out));
        assert_non_null(frame);
        len = dialect->encode(&out, frame, &binary);
        rest = hub_str_n(frame + 3, len - 3);
        assert_true(binary);
        assert_int_equal(frame[0], 2);
        assert_int_equal((uint8_t)frame[1], out.topic.len);
        assert_int_equal((uint8_t)frame[2], out.event.len);
        assert_int_equal(rest.len, out.topic.len + out.event.len + bytes.len);
        assert_true(hub_str_starts_with(rest, out.topic));
        rest.base += out.topic.len;
        assert_true(hub_str_starts_with(rest, out.event));
        assert_true(hub_str_equals(hub_str_n(rest.base + out.event.len, bytes.len), bytes));
        free(frame);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_payload_never_changes_topic_or_event),
        cmocka_unit_test(the_known_attacks_are_refused_or_harmless),
        cmocka_unit_test(a_payload_nested_as_deep_as_allowed_is_carried_and_no_deeper),
        cmocka_unit_test(a_binary_payload_stands_behind_the_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
