/* SPDX-License-Identifier: MIT */
/* What leaves for the client in each wire format, byte for byte, and what a dialect tells the
 * session: names, rules, responses. The frames with "room:1" and "JR" are those of a conversation
 * with Phoenix itself. Every frame is encoded into an allocation of exactly its bound, so that the
 * address sanitizer sees a bound that is too small. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "channels/dialect.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The literal, so that NULs count. */
#define S(literal)                                                                                 \
    {                                                                                              \
        (literal), sizeof(literal) - 1                                                             \
    }
#define JSON(literal)                                                                              \
    {                                                                                              \
        S(literal), HUB_PAYLOAD_JSON                                                               \
    }
#define BINARY(literal)                                                                            \
    {                                                                                              \
        S(literal), HUB_PAYLOAD_BINARY                                                             \
    }

enum { NATIVE = HUB__DIALECT_NATIVE, V1 = HUB__DIALECT_PHOENIX1, V2 = HUB__DIALECT_PHOENIX2 };

static const hub__envelope_limits_t limits = {
    .topic_bytes = 255,
    .event_bytes = 64,
    .ref_bytes = 32,
    .envelope_depth = 8,
    .payload_depth = 64,
};

static const hub__dialect_t *dialect_of(int index)
{
    return hub__dialect((hub__dialect_index_t)index);
}

/* The frame in an allocation of its bound, to be freed; its length in `*ret_len`. */
static char *encode(int dialect, const hub__outgoing_t *out, size_t *ret_len, bool *ret_binary)
{
    size_t bound = dialect_of(dialect)->encode_bound(out);
    char *bytes = malloc(bound);

    assert_non_null(bytes);
    *ret_len = dialect_of(dialect)->encode(out, bytes, ret_binary);
    assert_true(*ret_len <= bound);
    return bytes;
}

struct encode_case {
    int dialect;
    hub__outgoing_t out;
    hub_str_t frame;
};

#define REPLY                                                                                      \
    .kind = HUB__OUT_REPLY, .topic = S("room:1"), .status = S("ok"), .ref = S("\"2\""),            \
    .join_ref = S("\"1\"")
#define PUSH                                                                                       \
    .kind = HUB__OUT_PUSH, .topic = S("room:1"), .event = S("pushed"), .join_ref = S("\"1\"")
/* the refs must not show */
#define BROADCAST                                                                                  \
    .kind = HUB__OUT_BROADCAST, .topic = S("room:1"), .event = S("new_msg"), .ref = S("\"2\""),    \
    .join_ref = S("\"1\"")
#define CLOSE .kind = HUB__OUT_CLOSE, .topic = S("room:1"), .join_ref = S("\"1\"")
#define ERROR .kind = HUB__OUT_ERROR, .topic = S("room:1"), .join_ref = S("\"1\"")

static const struct encode_case text_cases[] = {
    {NATIVE,
     {REPLY, .payload = JSON("{\"a\":1}")},
     S("{\"topic\":\"room:1\",\"event\":\"reply\",\"payload\":{\"status\":\"ok\",\"response\":{"
       "\"a\":1}},"
       "\"ref\":\"2\",\"join_ref\":\"1\"}")},
    {NATIVE,
     {.kind = HUB__OUT_REPLY, .status = S("error"), .payload = JSON("null")},
     S("{\"topic\":null,\"event\":\"reply\",\"payload\":{\"status\":\"error\",\"response\":null}"
       "}")},
    {NATIVE,
     {PUSH, .payload = JSON("[]")},
     S("{\"topic\":\"room:1\",\"event\":\"pushed\",\"payload\":[],\"join_ref\":\"1\"}")},
    {NATIVE,
     {BROADCAST, .payload = JSON("5")},
     S("{\"topic\":\"room:1\",\"event\":\"new_msg\",\"payload\":5}")},
    {NATIVE,
     {CLOSE},
     S("{\"topic\":\"room:1\",\"event\":\"close\",\"payload\":{},\"join_ref\":\"1\"}")},
    {NATIVE,
     {ERROR},
     S("{\"topic\":\"room:1\",\"event\":\"error\",\"payload\":{\"reason\":\"channel_crash\"},"
       "\"join_ref\":\"1\"}")},
    {NATIVE,
     {.kind = HUB__OUT_REPLY,
      .topic = S("a\"\\\n\x01\xc3\xa4"),
      .status = S("o\"k"),
      .ref = S("7")},
     S("{\"topic\":\"a\\\"\\\\\\n\\u0001\xc3\xa4\",\"event\":\"reply\","
       "\"payload\":{\"status\":\"o\\\"k\",\"response\":{}},\"ref\":7}")},
    /* hardly anything but what is fixed: the bound has to hold that too */
    {NATIVE,
     {.kind = HUB__OUT_REPLY, .topic = S("a"), .status = S(""), .ref = S("7"), .join_ref = S("8")},
     S("{\"topic\":\"a\",\"event\":\"reply\",\"payload\":{\"status\":\"\",\"response\":{}},"
       "\"ref\":7,\"join_ref\":8}")},
    {V1,
     {REPLY, .payload = JSON("[1,2]")},
     S("{\"topic\":\"room:1\",\"event\":\"phx_reply\",\"payload\":{\"status\":\"ok\",\"response\":["
       "1,2]},"
       "\"ref\":\"2\"}")},
    {V1,
     {.kind = HUB__OUT_REPLY, .topic = S("a"), .status = S("whatever"), .payload = JSON("{}")},
     S("{\"topic\":\"a\",\"event\":\"phx_reply\",\"payload\":{\"status\":\"whatever\",\"response\":"
       "{}},"
       "\"ref\":null}")},
    {V1,
     {PUSH, .payload = JSON("{\"user\":\"1\"}")},
     S("{\"topic\":\"room:1\",\"event\":\"pushed\",\"payload\":{\"user\":\"1\"},\"ref\":null}")},
    {V1,
     {BROADCAST, .payload = JSON("[1,2]")},
     S("{\"topic\":\"room:1\",\"event\":\"new_msg\",\"payload\":[1,2],\"ref\":null}")},
    {V1, {CLOSE}, S("{\"topic\":\"room:1\",\"event\":\"phx_close\",\"payload\":{},\"ref\":\"1\"}")},
    {V1,
     {.kind = HUB__OUT_CLOSE, .topic = S("room:1"), .ref = S("\"9\"")},
     S("{\"topic\":\"room:1\",\"event\":\"phx_close\",\"payload\":{},\"ref\":null}")},
    {V1,
     {ERROR},
     S("{\"topic\":\"room:1\",\"event\":\"phx_error\",\"payload\":{\"reason\":\"channel_crash\"},"
       "\"ref\":\"1\"}")},
    {V2,
     {REPLY, .payload = JSON("\"scalar\"")},
     S("[\"1\",\"2\",\"room:1\",\"phx_reply\",{\"status\":\"ok\",\"response\":\"scalar\"}]")},
    {V2,
     {.kind = HUB__OUT_REPLY, .topic = S("phoenix"), .status = S("ok"), .ref = S("{\"a\": 1}")},
     S("[null,{\"a\": 1},\"phoenix\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]")},
    {V1,
     {.kind = HUB__OUT_REPLY, .topic_token = S("5"), .status = S("error"), .ref = S("\"2\"")},
     S("{\"topic\":5,\"event\":\"phx_reply\",\"payload\":{\"status\":\"error\",\"response\":{}},"
       "\"ref\":\"2\"}")},
    {V2,
     {.kind = HUB__OUT_REPLY, .topic_token = S("5"), .status = S("error"), .ref = S("\"2\"")},
     S("[null,\"2\",5,\"phx_reply\",{\"status\":\"error\",\"response\":{}}]")},
    {V2, {PUSH, .payload = JSON("{\"a\":1}")}, S("[\"1\",null,\"room:1\",\"pushed\",{\"a\":1}]")},
    {V2, {BROADCAST, .payload = JSON("{}")}, S("[null,null,\"room:1\",\"new_msg\",{}]")},
    {V2, {CLOSE}, S("[\"1\",\"1\",\"room:1\",\"phx_close\",{}]")},
    {V2, {CLOSE, .payload = BINARY("\1")}, S("[\"1\",\"1\",\"room:1\",\"phx_close\",{}]")},
    {V2,
     {.kind = HUB__OUT_ERROR, .topic = S("room:1")},
     S("[null,null,\"room:1\",\"phx_error\",{\"reason\":\"channel_crash\"}]")},
};

static void check_encode(const struct encode_case *row, bool wanted_binary)
{
    bool binary = !wanted_binary;
    size_t len;
    char *bytes = encode(row->dialect, &row->out, &len, &binary);

    if (!hub_str_equals(hub_str_n(bytes, len), row->frame))
        fail_msg("%.*s, not %.*s", (int)len, bytes, HUB_STR_ARG(row->frame));
    assert_int_equal(binary, wanted_binary);
    free(bytes);
}

static void each_kind_has_its_text_frame(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(text_cases); i++)
        check_encode(&text_cases[i], false);
}

static const struct encode_case binary_cases[] = {
    {V2,
     {.kind = HUB__OUT_REPLY,
      .topic = S("room:1"),
      .status = S("ok"),
      .ref = S("\"RF\""),
      .join_ref = S("\"JR\""),
      .payload = BINARY("\1\2\3\xff")},
     S("\1\2\2\6\2JRRFroom:1ok\1\2\3\xff")},
    {V2,
     {.kind = HUB__OUT_REPLY,
      .topic = S("room:1"),
      .status = S("error"),
      .ref = S("\"\""),
      .join_ref = S("\"JR\""),
      .payload = BINARY("\10")},
     S("\1\2\0\6\5JRroom:1error\10")},
    {V2,
     {.kind = HUB__OUT_REPLY,
      .topic = S("room:1"),
      .status = S("ok"),
      .ref = S("12"),
      .payload = BINARY("")},
     S("\1\0\2\6\2"
       "12room:1ok")},
    {V2,
     {.kind = HUB__OUT_PUSH,
      .topic = S("room:1"),
      .event = S("binpushed"),
      .ref = S("\"RF\""),
      .join_ref = S("\"JR\""),
      .payload = BINARY("\1\2\3")},
     S("\0\2\6\11JRroom:1binpushed\1\2\3")},
    {V2,
     {.kind = HUB__OUT_PUSH,
      .topic = S("a\n\""),
      .event = S("e"),
      .join_ref = S("\"\\u0001\\\"\""),
      .payload = BINARY("{")},
     S("\0\2\3\1\1\"a\n\"e{")},
    {V2,
     {BROADCAST, .payload = BINARY("\xde\xad\xbe\xef\0")},
     S("\2\6\7room:1new_msg\xde\xad\xbe\xef\0")},
};

static void a_binary_payload_has_the_frames_of_phoenix(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(binary_cases); i++)
        check_encode(&binary_cases[i], true);
}

static size_t encoded_len(const hub__outgoing_t *out)
{
    bool binary;
    size_t len;

    free(encode(V2, out, &len, &binary));
    return len;
}

static void a_name_of_256_bytes_has_no_binary_frame(void **state)
{
    char name[258] = "";
    hub_str_t most = hub_str_n(name, 255), more = hub_str_n(name, 256);
    hub_str_t token = hub_str_n(name, 257), long_token = hub_str_n(name, 258);
    hub__outgoing_t fits = {
        .kind = HUB__OUT_REPLY, .topic = most, .status = most, .ref = most, .payload = BINARY("x")};
    hub__outgoing_t topic = fits, status = fits, ref = fits, text = fits;

    (void)state;
    memset(name, '1', sizeof(name));
    topic.topic = more;
    status.status = more;
    ref.ref = more;
    assert_int_equal(encoded_len(&fits), 5 + 3 * 255 + 1);
    assert_int_equal(encoded_len(&topic), 0);
    assert_int_equal(encoded_len(&status), 0);
    assert_int_equal(encoded_len(&ref), 0);
    text.topic = more;
    text.payload = HUB_JSON("{}");
    assert_true(encoded_len(&text) > 256);
    /* a string's quotes are not of the name */
    name[0] = name[256] = '"';
    fits.topic = fits.status = HUB_STR("x");
    fits.ref = fits.join_ref = token;
    assert_int_equal(encoded_len(&fits), 5 + 2 * 255 + 2 + 1);
    name[256] = '1';
    name[257] = '"';
    fits.join_ref = long_token;
    assert_int_equal(encoded_len(&fits), 0);
}

/* The worst that a bound has to hold: every byte becomes six. */
static void the_bound_holds_when_all_is_escaped(void **state)
{
    char controls[200] = "";
    hub_str_t text = hub_str_n(controls, sizeof(controls));
    hub__outgoing_t out = {.topic = text,
                           .event = text,
                           .status = text,
                           .ref = HUB_STR("\"r\""),
                           .join_ref = HUB_STR("\"123456789012345678901234567890\""),
                           .payload = JSON("{\"a\":1}")};
    bool binary;
    size_t len;

    (void)state;
    memset(controls, 1, sizeof(controls));
    for (int dialect = NATIVE; dialect <= V2; dialect++) {
        for (int kind = HUB__OUT_REPLY; kind <= HUB__OUT_ERROR; kind++) {
            json_t *tree;
            char *bytes;

            out.kind = (hub__out_kind_t)kind;
            bytes = encode(dialect, &out, &len, &binary);
            tree = json_loadb(bytes, len, 0, NULL);
            assert_non_null(tree);
            json_decref(tree);
            free(bytes);
        }
    }
}

/* What the server pushes in text, a client of the same format may send: both directions agree. */
static void a_text_push_decodes_to_what_was_encoded(void **state)
{
    static const hub__outgoing_t out = {.kind = HUB__OUT_PUSH,
                                        .topic = S("r\xc3\xb6om:\"1\"\\"),
                                        .event = S("say\n\x1f"),
                                        .join_ref = S("\"\\\"1\""),
                                        .payload = JSON("{\"\\ud800\": [1e999 ]}")};

    (void)state;
    for (int dialect = NATIVE; dialect <= V2; dialect++) {
        hub__envelope_scratch_t scratch;
        hub__envelope_t envelope;
        bool binary;
        size_t len;
        char *bytes = encode(dialect, &out, &len, &binary);

        assert_int_equal(dialect_of(dialect)->decode(hub_str_n(bytes, len), binary, &limits,
                                                     &scratch, &envelope, NULL),
                         HUB_OK);
        assert_true(hub_str_equals(envelope.topic, out.topic));
        assert_true(hub_str_equals(envelope.event, out.event));
        assert_true(hub_str_equals(envelope.payload.bytes, out.payload.bytes));
        assert_null(envelope.ref.base);
        assert_true(dialect == V1 || hub_str_equals(envelope.join_ref, out.join_ref));
        free(bytes);
    }
}

static void a_vsn_is_a_whole_version(void **state)
{
    static const struct {
        const char *vsn;
        const hub__dialect_t *dialect;
    } rows[] = {
        {"1.0.0", &hub__dialect_phoenix1},
        {"1.0.9", &hub__dialect_phoenix1},
        {"1.0.12", &hub__dialect_phoenix1},
        {"2.0.0", &hub__dialect_phoenix2},
        {"2.0.7", &hub__dialect_phoenix2},
        {"2.0.123456789012345678901234567890", &hub__dialect_phoenix2},
        {"", NULL},
        {"2.0", NULL},
        {"2.0.", NULL},
        {"x", NULL},
        {"2.1.0", NULL},
        {"3.0.0", NULL},
        {"1", NULL},
        {"2.0.x", NULL},
        {"2.0.0 ", NULL},
        {" 2.0.0", NULL},
        {"2.0.-1", NULL},
        {"2.0.0.0", NULL},
        {"2.0.00", NULL},
        {"2.0.01", NULL},
        {"02.0.0", NULL},
        {"1.0.0-rc", NULL},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++)
        assert_ptr_equal(hub__dialect_by_vsn(hub_str(rows[i].vsn)), rows[i].dialect);
    assert_null(hub__dialect_by_vsn((hub_str_t){0}));
    assert_null(hub__dialect_by_vsn((hub_str_t)S("2.0.0\0")));
}

static void names_of_protocol_events_are_nobodys(void **state)
{
    static const struct {
        const char *event;
        bool reserved, servers;
    } rows[] = {
        {"join", true, false},         {"leave", true, false},    {"exit", true, false},
        {"heartbeat", true, false},    {"reply", true, true},     {"error", true, true},
        {"close", true, true},         {"gap", true, true},       {"presence_state", true, true},
        {"presence_diff", true, true}, {"phx_join", true, false}, {"phx_", true, false},
        {"phx_anything", true, false}, {"update", false, false},  {"message", false, false},
        {"Join", false, false},        {"joined", false, false},  {"phx", false, false},
        {"my_phx_join", false, false}, {"repl", false, false},    {"", false, false},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_int_equal(hub__event_is_reserved(hub_str(rows[i].event)), rows[i].reserved);
        assert_int_equal(hub__event_is_servers(hub_str(rows[i].event)), rows[i].servers);
    }
}

static void a_dialect_has_its_names_and_rules(void **state)
{
    const hub__dialect_t *native = dialect_of(NATIVE);

    (void)state;
    for (int i = NATIVE; i <= V2; i++) {
        assert_int_equal(dialect_of(i)->index, i);
        assert_true(dialect_of(i)->carries(HUB_PAYLOAD_JSON));
        assert_int_equal(dialect_of(i)->carries(HUB_PAYLOAD_BINARY), i == V2);
        assert_int_equal(dialect_of(i)->broadcast_must_be_object, i == V2);
        assert_true(hub__event_is_reserved(dialect_of(i)->join));
        assert_true(hub__event_is_reserved(dialect_of(i)->leave));
    }
    assert_string_equal(native->name, "native");
    assert_true(hub_str_equals(native->leave_alias, HUB_STR("exit")));
    assert_null(hub__dialect_phoenix2.leave_alias.base);
    assert_string_equal(native->heartbeat_topic.base, "hub");
    assert_string_equal(hub__dialect_phoenix1.heartbeat_topic.base, "phoenix");
    assert_int_equal(native->on_duplicate_join, HUB__DUPLICATE_IS_OK);
    assert_int_equal(hub__dialect_phoenix2.on_duplicate_join, HUB__DUPLICATE_REPLACES);
    assert_true(native->refusal_echoes_join_ref && native->join_ref_from_ref &&
                native->reserved_events_refused);
    assert_true(hub__dialect_phoenix1.check_join_ref && hub__dialect_phoenix1.close_after_leave &&
                hub__dialect_phoenix1.leave_unjoined_is_ok);
}

struct error_case {
    int dialect;
    hub__code_t code;
    bool of_join;
    hub_payload_t detail;
    const char *response;
};

#define NO_DETAIL                                                                                  \
    {                                                                                              \
        {NULL, 0}, HUB_PAYLOAD_JSON                                                                \
    }

static const struct error_case error_cases[] = {
    {NATIVE, HUB__CODE_NOT_JOINED, false, NO_DETAIL,
     "{\"code\":\"not_joined\",\"message\":\"Topic not joined\",\"detail\":{}}"},
    {NATIVE, HUB__CODE_JOIN_REJECTED, true, JSON("{\"reason\":\"private\"}"),
     "{\"code\":\"join_rejected\",\"message\":\"Join "
     "rejected\",\"detail\":{\"reason\":\"private\"}}"},
    {NATIVE, HUB__CODE_INTERNAL_ERROR, true, JSON("null"),
     "{\"code\":\"internal_error\",\"message\":\"Internal error\",\"detail\":null}"},
    {NATIVE, HUB__CODE_INTERNAL_ERROR, false, JSON("0"),
     "{\"code\":\"internal_error\",\"message\":\"Internal error\",\"detail\":0}"},
    {NATIVE, HUB__CODE_RATE, false, BINARY("}"),
     "{\"code\":\"rate\",\"message\":\"Too many requests\",\"detail\":{}}"},
    {V1, HUB__CODE_TOPIC_NOT_FOUND, true, NO_DETAIL, "{\"reason\":\"unmatched topic\"}"},
    {V2, HUB__CODE_NOT_JOINED, false, NO_DETAIL, "{\"reason\":\"unmatched topic\"}"},
    {V2, HUB__CODE_BAD_TOPIC, true, NO_DETAIL, "{\"reason\":\"unmatched topic\"}"},
    {V2, HUB__CODE_LIMIT, true, NO_DETAIL, "{\"reason\":\"too many channels joined\"}"},
    {V2, HUB__CODE_LIMIT, false, NO_DETAIL, "{\"reason\":\"limit\"}"},
    {V2, HUB__CODE_INTERNAL_ERROR, true, NO_DETAIL, "{\"reason\":\"join crashed\"}"},
    {V1, HUB__CODE_INTERNAL_ERROR, false, NO_DETAIL, "{\"reason\":\"internal_error\"}"},
    {V2, HUB__CODE_JOIN_REJECTED, true, JSON("{\"reason\":\"unauthorized\"}"),
     "{\"reason\":\"unauthorized\"}"},
    {V1, HUB__CODE_JOIN_REJECTED, true, JSON("false"), "false"},
    {V2, HUB__CODE_BUSY, true, BINARY("}"), "{\"reason\":\"busy\"}"},
};

static void check_error(const struct error_case *row)
{
    hub__buffer_t buffer = {0};

    HUB__APPEND_LITERAL(&buffer, ">");
    dialect_of(row->dialect)
        ->error_response(&buffer, row->code, row->detail.bytes.base == NULL ? NULL : &row->detail,
                         row->of_join);
    hub__buffer_reserve(&buffer, 1)[0] = '\0';
    assert_string_equal(buffer.base + 1, row->response);
    hub__buffer_dispose(&buffer);
}

static void a_refusal_is_told_in_the_words_of_the_dialect(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(error_cases); i++)
        check_error(&error_cases[i]);
}

static void assert_join(int dialect, bool already, hub_payload_t response, const char *wanted)
{
    hub__buffer_t buffer = {0};

    dialect_of(dialect)->join_response(&buffer, HUB_STR("a\"b"), already,
                                       response.bytes.base == NULL ? NULL : &response);
    hub__buffer_reserve(&buffer, 1)[0] = '\0';
    assert_string_equal(buffer.base, wanted);
    hub__buffer_dispose(&buffer);
}

static void assert_leave(int dialect, const char *wanted)
{
    hub__buffer_t buffer = {0};

    dialect_of(dialect)->leave_response(&buffer, HUB_STR("a\"b"));
    hub__buffer_reserve(&buffer, 1)[0] = '\0';
    assert_string_equal(buffer.base, wanted);
    hub__buffer_dispose(&buffer);
}

static void joins_and_leaves_are_answered_in_the_words_of_the_dialect(void **state)
{
    (void)state;
    assert_join(NATIVE, false, (hub_payload_t){0},
                "{\"topic\":\"a\\\"b\",\"already_joined\":false,\"replay_supported\":false}");
    assert_join(NATIVE, true, HUB_JSON("[1]"),
                "{\"topic\":\"a\\\"b\",\"already_joined\":true,\"replay_supported\":false,"
                "\"response\":[1]}");
    assert_join(NATIVE, false, hub_binary("}", 1),
                "{\"topic\":\"a\\\"b\",\"already_joined\":false,\"replay_supported\":false}");
    assert_join(V1, false, (hub_payload_t){0}, "{}");
    assert_join(V2, true, HUB_JSON("[1]"), "[1]");
    assert_leave(NATIVE, "{\"topic\":\"a\\\"b\"}");
    assert_leave(V1, "{}");
    assert_leave(V2, "{}");
}

static void a_program_s_topic_obeys_the_rules_of_a_client_s(void **state)
{
    static const struct {
        hub_str_t topic;
        hub_status_t status;
        size_t offset;
    } rows[] = {
        {S("room:1"), HUB_OK, 0},
        {S("12345678"), HUB_OK, 0},
        {S("a\xc2\xa0z\xe2\x80\xa8"), HUB_OK, 0},
        {S(""), HUB_ETOPIC, 0},
        {S("123456789"), HUB_ETOPIC, 8},
        {S("a b"), HUB_ETOPIC, 1},
        {S("room:1\n"), HUB_ETOPIC, 6},
        {S("\0"), HUB_ETOPIC, 0},
        {S("ab\x7f"), HUB_ETOPIC, 2},
        {S("ab\xc2\x9f"), HUB_ETOPIC, 2},
        {S("a\xc2"), HUB_ETOPIC, 0},
        {S("\xed\xa0\x80"), HUB_ETOPIC, 0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        hub_error_t error = {.offset = 0};

        assert_int_equal(hub__topic_check(rows[i].topic, 8, &error), rows[i].status);
        assert_int_equal(error.offset, rows[i].offset);
    }
}

/* A byte among others that are none of it, in an allocation of its size. */
static void check_forbidden(size_t len, size_t at, unsigned byte)
{
    char *text = malloc(len);
    bool forbidden = byte < 0x20 || byte == 0x7f;

    assert_non_null(text);
    memset(text, 'a', len);
    text[at] = (char)byte;
    assert_int_equal(hub__topic_forbidden(hub_str_n(text, len), true), forbidden ? at : len);
    assert_int_equal(hub__topic_forbidden(hub_str_n(text, len), false),
                     forbidden || byte == ' ' ? at : len);
    free(text);
}

static void what_no_topic_has_is_found_in_each_place(void **state)
{
    (void)state;
    for (size_t len = 1; len <= 26; len++)
        for (size_t at = 0; at < len; at++)
            for (unsigned byte = 0; byte < 0xc2; byte++)
                check_forbidden(len, at, byte);
}

/* Each control character of Unicode beyond ASCII, and the two around them. */
static void controls_of_two_bytes_are_found_in_each_place(void **state)
{
    char text[20];

    (void)state;
    for (size_t at = 0; at + 1 < sizeof(text); at++) {
        memset(text, 'a', sizeof(text));
        memcpy(text + at, "\xc2\x80", 2);
        assert_int_equal(hub__topic_forbidden(hub_str_n(text, sizeof(text)), true), at);
        text[at + 1] = (char)0x9f;
        assert_int_equal(hub__topic_forbidden(hub_str_n(text, sizeof(text)), true), at);
        text[at + 1] = (char)0xa0;
        assert_int_equal(hub__topic_forbidden(hub_str_n(text, sizeof(text)), true), sizeof(text));
    }
}

/* What has to be escaped, in each place of a topic of each length. */
static void a_topic_is_escaped_in_each_place(void **state)
{
    char encoded[512], expected[512], text[27];

    (void)state;
    for (size_t len = 1; len < sizeof(text); len++) {
        for (size_t at = 0; at < len; at++) {
            hub__outgoing_t out = {.kind = HUB__OUT_BROADCAST,
                                   .topic = hub_str_n(text, len),
                                   .event = HUB_STR("e"),
                                   .payload = HUB_JSON("1")};
            bool binary;
            size_t wrote;

            memset(text, 'a', len);
            text[at] = '"';
            wrote = hub__dialect_phoenix2.encode(&out, encoded, &binary);
            snprintf(expected, sizeof(expected), "[null,null,\"%.*s\\\"%.*s\",\"e\",1]", (int)at,
                     text, (int)(len - at - 1), text + at + 1);
            assert_int_equal(wrote, strlen(expected));
            assert_memory_equal(encoded, expected, wrote);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_has_its_text_frame),
        cmocka_unit_test(a_binary_payload_has_the_frames_of_phoenix),
        cmocka_unit_test(a_name_of_256_bytes_has_no_binary_frame),
        cmocka_unit_test(the_bound_holds_when_all_is_escaped),
        cmocka_unit_test(a_text_push_decodes_to_what_was_encoded),
        cmocka_unit_test(a_vsn_is_a_whole_version),
        cmocka_unit_test(names_of_protocol_events_are_nobodys),
        cmocka_unit_test(a_dialect_has_its_names_and_rules),
        cmocka_unit_test(a_refusal_is_told_in_the_words_of_the_dialect),
        cmocka_unit_test(joins_and_leaves_are_answered_in_the_words_of_the_dialect),
        cmocka_unit_test(a_program_s_topic_obeys_the_rules_of_a_client_s),
        cmocka_unit_test(what_no_topic_has_is_found_in_each_place),
        cmocka_unit_test(controls_of_two_bytes_are_found_in_each_place),
        cmocka_unit_test(a_topic_is_escaped_in_each_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
