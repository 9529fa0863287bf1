/* SPDX-License-Identifier: MIT */
/* What each wire format makes of a frame: the envelope, or what is said to be wrong and where.
 * Every frame is decoded from an allocation of its own size, so that the address sanitizer sees
 * each byte read too many. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "channels/dialect.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The literal, so that NULs count. */
#define S(literal)                                                                                 \
    {                                                                                              \
        (literal), sizeof(literal) - 1                                                             \
    }

enum { NATIVE = HUB__DIALECT_NATIVE, V1 = HUB__DIALECT_PHOENIX1, V2 = HUB__DIALECT_PHOENIX2 };

static const hub__envelope_limits_t limits = {
    .topic_bytes = 255,
    .event_bytes = 64,
    .ref_bytes = 32,
    .envelope_depth = 8,
    .payload_depth = 64,
};

/* One decoded frame, with what it borrows. */
struct decoded {
    char *copy;
    hub__envelope_scratch_t scratch;
    hub__envelope_t envelope;
    hub_error_t error;
    hub_status_t status;
};

static void decode(struct decoded *decoded, int dialect, bool binary, hub_str_t frame,
                   const hub__envelope_limits_t *with)
{
    decoded->copy = malloc(frame.len > 0 ? frame.len : 1);
    assert_non_null(decoded->copy);
    if (frame.len > 0)
        memcpy(decoded->copy, frame.base, frame.len);
    decoded->error = (hub_error_t){.text = ""};
    /* what a decode before has left behind must not matter */
    memset(&decoded->envelope, 0xaa, sizeof(decoded->envelope));
    decoded->scratch.used = 17;
    decoded->status = hub__dialect((hub__dialect_index_t)dialect)
                          ->decode(hub_str_n(decoded->copy, frame.len), binary, with,
                                   &decoded->scratch, &decoded->envelope, &decoded->error);
}

static void assert_str(const char *what, hub_str_t got, hub_str_t wanted)
{
    if ((got.base == NULL) != (wanted.base == NULL) || !hub_str_equals(got, wanted))
        fail_msg("%s is \"%.*s\"%s, not \"%.*s\"%s", what, HUB_STR_ARG(got),
                 got.base == NULL ? " (absent)" : "", HUB_STR_ARG(wanted),
                 wanted.base == NULL ? " (absent)" : "");
}

struct good {
    int dialect;
    bool binary;
    hub_str_t frame;
    const char *topic, *event, *ref, *join_ref; /* NULL: absent */
    hub_str_t payload;
};

#define NO_PAYLOAD_KEY                                                                             \
    {                                                                                              \
        "null", 4                                                                                  \
    }

static const struct good good_frames[] = {
    /* native */
    {NATIVE, false, S("{\"topic\":\"room:1\",\"event\":\"join\",\"payload\":{},\"ref\":\"1\"}"),
     "room:1", "join", "\"1\"", NULL, S("{}")},
    {NATIVE, true, S("{\"topic\":\"room:1\",\"event\":\"join\",\"payload\":{},\"ref\":\"1\"}"),
     "room:1", "join", "\"1\"", NULL, S("{}")},
    {NATIVE, false, S("{\"topic\":\"a\",\"event\":\"b\"}"), "a", "b", NULL, NULL, NO_PAYLOAD_KEY},
    {NATIVE, false,
     S(" { \"join_ref\" : -7 ,\"ref\":0,\n\"payload\": [1, {\"a\":[]} ] "
       ",\"event\":\"b\",\"topic\":\"a\"} "),
     "a", "b", "0", "-7", S("[1, {\"a\":[]} ]")},
    {NATIVE, false,
     S("{\"topic\":\"a\",\"event\":\"b\",\"payload\":null,\"ref\":null,\"join_ref\":null}"), "a",
     "b", NULL, NULL, S("null")},
    {NATIVE, false, S("{\"topic\":\"a\",\"event\":\"b\",\"payload\":false,\"ref\":\"\"}"), "a", "b",
     "\"\"", NULL, S("false")},
    {NATIVE, false,
     S("{\"x\":1,\"topic\":\"a\",\"x\":{\"topic\":\"z\"},\"event\":\"b\",\"Topic\":5,\"refs\":[],"
       "\"topics\":0}"),
     "a", "b", NULL, NULL, NO_PAYLOAD_KEY},
    /* keys and values with escapes are what they stand for */
    {NATIVE, false,
     S("{\"\\u0074opic\":\"r\\u00f6\\u006fm\",\"e\\u0076ent\":\"s\\/"
       "\\\"\\n\",\"p\\u0061yload\":\"\\u0061\","
       "\"r\\u0065f\":\"\\u0031\",\"\\u006aoin_ref\":\"\\\\\\u0022\\u000A\\u0001\\u007f\"}"),
     "r\xc3\xb6om", "s/\"\n", "\"1\"", "\"\\\\\\\"\\n\\u0001\x7f\"", S("\"\\u0061\"")},
    {NATIVE, false, S("{\"topic\":\"a\",\"event\":\"b\",\"\\ud800\":1,\"\\u0074opic\\u0000\":2}"),
     "a", "b", NULL, NULL, NO_PAYLOAD_KEY},
    {NATIVE, false, S("{\"topic\":\"a\",\"event\":\"b\",\"ref\":\"\\ud83d\\ude00\"}"), "a", "b",
     "\"\xf0\x9f\x98\x80\"", NULL, NO_PAYLOAD_KEY},
    /* a payload is relayed as it stands, whatever jansson would say of it */
    {NATIVE, false,
     S("{\"topic\":\"a\",\"event\":\"b\",\"payload\":[\"\\ud800\",1e999,{\"a\":1,\"a\":2}]}"), "a",
     "b", NULL, NULL, S("[\"\\ud800\",1e999,{\"a\":1,\"a\":2}]")},
    /* 1.0.0 */
    {V1, false, S("{\"topic\":\"room:1\",\"event\":\"phx_join\",\"payload\":{},\"ref\":\"1\"}"),
     "room:1", "phx_join", "\"1\"", NULL, S("{}")},
    {V1, true, S("{\"topic\":\"phoenix\",\"event\":\"heartbeat\",\"payload\":{},\"ref\":\"99\"}"),
     "phoenix", "heartbeat", "\"99\"", NULL, S("{}")},
    {V1, false,
     S("{\"join_ref\":\"10\",\"topic\":\"room:1\",\"event\":\"echo\",\"payload\":5,\"ref\":null,"
       "\"more\":1}"),
     "room:1", "echo", NULL, "\"10\"", S("5")},
    {V1, false,
     S("{\"topic\":\"room:1\",\"event\":\"echo\",\"payload\":null,\"ref\":{\"a\" :[1.5]}}"),
     "room:1", "echo", "{\"a\" :[1.5]}", NULL, S("null")},
    /* 2.0.0 */
    {V2, false, S("[\"1\",\"1\",\"room:1\",\"phx_join\",{}]"), "room:1", "phx_join", "\"1\"",
     "\"1\"", S("{}")},
    {V2, false, S("[null,\"99\",\"phoenix\",\"heartbeat\",null]"), "phoenix", "heartbeat", "\"99\"",
     NULL, S("null")},
    {V2, false, S("[10,\"11\",\"room:reply\",\"phx_join\",[1,2]]"), "room:reply", "phx_join",
     "\"11\"", "10", S("[1,2]")},
    {V2, false, S("[1.5e3,true,\"a\",\"b\",\"c\",\"more\",[[]],{\"topic\":\"z\"}]"), "a", "b",
     "true", "1.5e3", S("\"c\"")},
    {V2, false, S("\r\n[ \"\\u004aR\" , \"R\\u0046\" ,\"a\",\"b\", {} ]\t"), "a", "b", "\"RF\"",
     "\"JR\"", S("{}")},
    {V2, false, S("[\"1\",\"2\",\"room:1\",\"echo\",{\"n\":12345678901234567000}]"), "room:1",
     "echo", "\"2\"", "\"1\"", S("{\"n\":12345678901234567000}")},
    /* an event that is no name is still one that nobody handles */
    {V1, false, S("{\"topic\":\"a\",\"event\":5,\"payload\":{},\"ref\":\"2\"}"), "a", "5", "\"2\"",
     NULL, S("{}")},
    {V2, false, S("[\"1\",\"2\",\"a\",null,{}]"), "a", "null", "\"2\"", "\"1\"", S("{}")},
    {V2, false, S("[\"1\",\"2\",\"a\",{\"b\":[]},{}]"), "a", "{\"b\":[]}", "\"2\"", "\"1\"",
     S("{}")},
    {V2, false, S("[\"1\",\"2\",\"a\",\"\",{}]"), "a", "", "\"2\"", "\"1\"", S("{}")},
    /* 2.0.0 in binary */
    {V2, true, S("\0\2\2\6\7JRRFroom:1binecho\1\2\3\xff"), "room:1", "binecho", "\"RF\"", "\"JR\"",
     S("\1\2\3\xff")},
    {V2, true, S("\0\2\2\6\7JRR2room:1binecho"), "room:1", "binecho", "\"R2\"", "\"JR\"", S("")},
    {V2, true, S("\0\0\2\6\7R3room:1binecho\7"), "room:1", "binecho", "\"R3\"", "\"\"", S("\7")},
    {V2, true, S("\0\2\0\6\7JRroom:1binecho\10"), "room:1", "binecho", "\"\"", "\"JR\"", S("\10")},
    {V2, true, S("\0\2\2\6\10JRRFroom:1phx_join{}"), "room:1", "phx_join", "\"RF\"", "\"JR\"",
     S("{}")},
    {V2, true, S("\0\1\1\1\0JRt"), "t", "", "\"R\"", "\"J\"", S("")},
    {V2, true,
     S("\0\3\2\1\1\"\\\n\xc3\xa4"
       "ab"),
     "a", "b", "\"\xc3\xa4\"", "\"\\\"\\\\\\n\"", S("")},
};

static void check_good(const struct good *row)
{
    struct decoded decoded;

    decode(&decoded, row->dialect, row->binary, row->frame, &limits);
    if (decoded.status != HUB_OK)
        fail_msg("%.*s: %s", HUB_STR_ARG(row->frame), decoded.error.text);
    assert_str("topic", decoded.envelope.topic, hub_str(row->topic));
    assert_str("event", decoded.envelope.event, hub_str(row->event));
    assert_str("ref", decoded.envelope.ref, hub_str(row->ref));
    assert_str("join_ref", decoded.envelope.join_ref, hub_str(row->join_ref));
    assert_str("payload", decoded.envelope.payload.bytes, row->payload);
    assert_int_equal(decoded.envelope.payload.kind,
                     row->binary && row->dialect == V2 ? HUB_PAYLOAD_BINARY : HUB_PAYLOAD_JSON);
    free(decoded.copy);
}

static void a_frame_becomes_its_envelope(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(good_frames); i++)
        check_good(&good_frames[i]);
}

/* Where the envelope of a text frame ends, without the white space behind it. */
static size_t text_end(hub_str_t frame)
{
    size_t end = frame.len;

    while (strchr(" \t\r\n", frame.base[end - 1]) != NULL)
        end--;
    return end;
}

static void check_cuts(const struct good *row)
{
    bool binary = row->binary && row->dialect == V2;
    size_t end = binary ? row->frame.len - row->payload.len : text_end(row->frame);
    struct decoded decoded;

    for (size_t len = 0; len < end; len++) {
        decode(&decoded, row->dialect, row->binary, hub_str_n(row->frame.base, len), &limits);
        assert_int_equal(decoded.status, binary ? HUB_EPROTOCOL : HUB_ESYNTAX);
        assert_int_equal(decoded.error.offset, len);
        assert_null(decoded.envelope.topic.base);
        assert_null(decoded.envelope.ref.base);
        free(decoded.copy);
    }
}

static void a_frame_cut_anywhere_is_refused_and_nothing_of_it_kept(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(good_frames); i++)
        check_cuts(&good_frames[i]);
}

static void check_trailing(const struct good *row)
{
    char longer[512];
    struct decoded decoded;

    assert_true(row->frame.len < sizeof(longer));
    memcpy(longer, row->frame.base, row->frame.len);
    longer[row->frame.len] = ',';
    decode(&decoded, row->dialect, row->binary, hub_str_n(longer, row->frame.len + 1), &limits);
    assert_int_equal(decoded.status, HUB_ESYNTAX);
    assert_int_equal(decoded.error.offset, row->frame.len);
    assert_null(decoded.envelope.topic.base);
    free(decoded.copy);
}

static void bytes_behind_the_json_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(good_frames); i++) {
        if (!good_frames[i].binary)
            check_trailing(&good_frames[i]);
    }
}

struct bad {
    int dialect;
    bool binary;
    hub_str_t frame;
    hub_status_t status;
    const char *error;
    const char *topic, *ref; /* what is left to match the refusal with; NULL: absent */
};

#define X33 "123456789012345678901234567890123"
#define X65 "12345678901234567890123456789012345678901234567890123456789012345"

static const struct bad bad_frames[] = {
    /* not JSON, or not one value */
    {NATIVE, false, S(""), HUB_ESYNTAX, "the frame is not JSON, it ends too early (at byte 0)",
     NULL, NULL},
    {NATIVE, false, S("hello"), HUB_ESYNTAX, "the frame is not JSON, wrong byte 0x68 (at byte 0)",
     NULL, NULL},
    {V1, true, S("{\"topic\":\"a\",\"ref\":\"1\",}"), HUB_ESYNTAX,
     "the frame is not JSON, wrong byte 0x7d (at byte 23)", NULL, NULL},
    {V2, false, S("[1,2"), HUB_ESYNTAX, "the frame is not JSON, it ends too early (at byte 4)",
     NULL, NULL},
    {V2, false, S("[\"1\",\"1\",\"a\",\"b\",{}]]"), HUB_ESYNTAX,
     "the frame is not JSON, wrong byte 0x5d (at byte 20)", NULL, NULL},
    {NATIVE, false, S("{\"topic\":\"a\",\"event\":\"b\",\"ref\":\"\xff\"}"), HUB_EUTF8,
     "the frame is not valid UTF-8 (at byte 32)", NULL, NULL},
    {NATIVE, false, S("\"\xff\""), HUB_EUTF8, "the frame is not valid UTF-8 (at byte 1)", NULL,
     NULL},
    {NATIVE, false, S("{\"topic\":\"a\",\"topic\":\"a\",\"ref\":1"), HUB_ESYNTAX,
     "the frame is not JSON, it ends too early (at byte 32)", NULL, NULL},
    /* JSON of another shape */
    {NATIVE, false, S(" [\"1\",\"1\",\"a\",\"b\",{}]"), HUB_EPROTOCOL,
     "the envelope must be an object (at byte 0)", NULL, NULL},
    {V1, false, S("5"), HUB_EPROTOCOL, "the envelope must be an object (at byte 0)", NULL, NULL},
    {V2, false, S("{\"topic\":\"a\",\"event\":\"b\",\"payload\":{},\"ref\":\"2\"}"), HUB_EPROTOCOL,
     "the envelope must be an array (at byte 0)", NULL, NULL},
    {V2, false, S("[]"), HUB_EPROTOCOL,
     "the envelope must have 5 elements, \"join_ref\" is missing (at byte 2)", NULL, NULL},
    {V2, false, S("[null,\"1\",\"a\",\"b\"]"), HUB_EPROTOCOL,
     "the envelope must have 5 elements, \"payload\" is missing (at byte 18)", "a", "\"1\""},
    /* missing */
    {NATIVE, false, S("{\"event\":\"b\",\"ref\":\"1\"}"), HUB_EPROTOCOL,
     "\"topic\" is missing (at byte 23)", NULL, "\"1\""},
    {NATIVE, false, S("{\"topic\":\"a\",\"ref\":7}"), HUB_EPROTOCOL,
     "\"event\" is missing (at byte 21)", "a", "7"},
    {NATIVE, false, S("{}"), HUB_EPROTOCOL, "\"topic\" is missing (at byte 2)", NULL, NULL},
    {V1, false, S("{\"event\":\"b\",\"payload\":1,\"ref\":\"1\"}"), HUB_EPROTOCOL,
     "\"topic\" is missing (at byte 35)", NULL, "\"1\""},
    {V1, false, S("{\"topic\":\"a\",\"payload\":1,\"ref\":\"1\"}"), HUB_EPROTOCOL,
     "\"event\" is missing (at byte 35)", "a", "\"1\""},
    {V1, false, S("{\"topic\":\"a\",\"event\":\"b\",\"ref\":\"1\"}"), HUB_EPROTOCOL,
     "\"payload\" is missing (at byte 35)", "a", "\"1\""},
    {V1, false, S("{\"topic\":\"a\",\"event\":\"b\",\"payload\":1}"), HUB_EPROTOCOL,
     "\"ref\" is missing (at byte 37)", "a", NULL},
    /* doubled, also where the second is written otherwise */
    {NATIVE, false, S("{\"topic\":\"a\",\"event\":\"b\",\"topic\":\"c\",\"ref\":1}"), HUB_EPROTOCOL,
     "\"topic\" is given twice (at byte 25)", "a", "1"},
    {NATIVE, false, S("{\"topic\":\"a\",\"event\":\"b\",\"\\u0065vent\":\"b\",\"ref\":1}"),
     HUB_EPROTOCOL, "\"event\" is given twice (at byte 25)", "a", "1"},
    {V1, false, S("{\"topic\":\"a\",\"event\":\"b\",\"payload\":1,\"ref\":1,\"payload\":1}"),
     HUB_EPROTOCOL, "\"payload\" is given twice (at byte 45)", "a", "1"},
    {NATIVE, false, S("{\"topic\":\"a\",\"event\":\"b\",\"ref\":1,\"ref\":null}"), HUB_EPROTOCOL,
     "\"ref\" is given twice (at byte 33)", "a", "1"},
    {NATIVE, false, S("{\"topic\":\"a\",\"event\":\"b\",\"join_ref\":null,\"join_ref\":1}"),
     HUB_EPROTOCOL, "\"join_ref\" is given twice (at byte 41)", "a", NULL},
    /* mistyped */
    {NATIVE, false, S("{\"topic\":5,\"event\":\"b\",\"ref\":\"1\"}"), HUB_EPROTOCOL,
     "\"topic\" must be a string (at byte 9)", NULL, "\"1\""},
    {NATIVE, false, S("{\"topic\":\"room\",\"event\":5,\"ref\":\"1\"}"), HUB_EPROTOCOL,
     "\"event\" must be a string (at byte 24)", "room", "\"1\""},
    {V1, false, S("{\"topic\":null,\"event\":\"b\",\"payload\":1,\"ref\":\"1\"}"), HUB_ETOPIC,
     "\"topic\" must be a string (at byte 9)", NULL, "\"1\""},
    {V2, false, S("[\"1\",\"2\",5,\"phx_join\",{}]"), HUB_ETOPIC,
     "\"topic\" must be a string (at byte 9)", NULL, "\"2\""},
    {V2, false, S("[\"1\",\"2\",\"a\",[\"" X65 "\"],{}]"), HUB_EPROTOCOL,
     "\"event\" must be a string (at byte 13)", "a", "\"2\""},
    {NATIVE, false, S("{\"topic\":\"a\",\"event\":\"b\",\"ref\":1.0}"), HUB_EPAYLOAD,
     "\"ref\" must be a string, an integer or null (at byte 31)", "a", NULL},
    {NATIVE, false, S("{\"topic\":\"a\",\"event\":\"b\",\"ref\":1e2}"), HUB_EPAYLOAD,
     "\"ref\" must be a string, an integer or null (at byte 31)", "a", NULL},
    {NATIVE, false, S("{\"topic\":\"a\",\"event\":\"b\",\"ref\":1E2}"), HUB_EPAYLOAD,
     "\"ref\" must be a string, an integer or null (at byte 31)", "a", NULL},
    {NATIVE, false, S("{\"topic\":\"a\",\"event\":\"b\",\"ref\":true}"), HUB_EPAYLOAD,
     "\"ref\" must be a string, an integer or null (at byte 31)", "a", NULL},
    {NATIVE, false, S("{\"topic\":\"a\",\"event\":\"b\",\"ref\":4,\"join_ref\":[]}"), HUB_EPAYLOAD,
     "\"join_ref\" must be a string, an integer or null (at byte 44)", "a", "4"},
    {NATIVE, false, S("{\"topic\":\"a\",\"event\":\"b\",\"ref\":\"\\udc00\"}"), HUB_EPAYLOAD,
     "\"ref\" has an escape that is no character (at byte 31)", "a", NULL},
    {V2, false, S("[\"\\ud800\",\"2\",\"a\",\"b\",{}]"), HUB_EPROTOCOL,
     "\"join_ref\" has an escape that is no character (at byte 1)", "a", "\"2\""},
    /* topics that nobody may have, events that nobody handles */
    {NATIVE, false, S("{\"topic\":\"\",\"event\":\"b\",\"ref\":1}"), HUB_ETOPIC,
     "\"topic\" is empty (at byte 9)", "", "1"},
    {NATIVE, false, S("{\"topic\":\"a b\",\"event\":\"c\",\"ref\":1}"), HUB_ETOPIC,
     "\"topic\" has a space or control character (at byte 9)", "a b", "1"},
    {V2, false, S("[null,\"1\",\"room:1\\n\",\"c\",{}]"), HUB_ETOPIC,
     "\"topic\" has a control character (at byte 10)", "room:1\n", "\"1\""},
    {V2, false, S("[null,\"1\",\"a\x7f\",\"c\",{}]"), HUB_ETOPIC,
     "\"topic\" has a control character (at byte 10)", "a\x7f", "\"1\""},
    {V2, false, S("[null,\"1\",\"a\\u0085\",\"c\",{}]"), HUB_ETOPIC,
     "\"topic\" has a control character (at byte 10)", "a\xc2\x85", "\"1\""},
    {V2, false, S("[null,\"1\",\"a\\ud800\",\"c\",{}]"), HUB_ETOPIC,
     "\"topic\" has an escape that is no character (at byte 10)", NULL, "\"1\""},
    {NATIVE, false, S("{\"topic\":\"a\",\"event\":\"\",\"ref\":1}"), HUB_EEVENT,
     "\"event\" is empty (at byte 21)", "a", "1"},
    {V2, false, S("[null,\"1\",\"a\",\"\\udfff\",{}]"), HUB_EEVENT,
     "\"event\" has an escape that is no character (at byte 14)", "a", "\"1\""},
    {V2, false, S("[null,\"1\",\"a\",\"" X65 "\",{}]"), HUB_EEVENT,
     "\"event\" is longer than 64 bytes (at byte 14)", "a", "\"1\""},
    {V2, false, S("[null,\"1\",\"a\",\"\\u0061" X65 "\",{}]"), HUB_EEVENT,
     "\"event\" is longer than 64 bytes (at byte 14)", "a", "\"1\""},
    {V2, false, S("[\"" X33 "\",\"1\",\"a\",\"b\",{}]"), HUB_ELIMIT,
     "\"join_ref\" is longer than 32 bytes (at byte 1)", "a", "\"1\""},
    {V2, false, S("[null,[" X33 "],\"a\",\"b\",{}]"), HUB_ELIMIT,
     "\"ref\" is longer than 32 bytes (at byte 6)", "a", NULL},
    {NATIVE, false, S("{\"topic\":\"a\",\"event\":\"b\",\"ref\":" X33 "}"), HUB_ELIMIT,
     "\"ref\" is longer than 32 bytes (at byte 31)", "a", NULL},
    {NATIVE, false, S("{\"topic\":\"a\",\"event\":\"b\",\"ref\":\"\\u0031" X33 "\"}"), HUB_ELIMIT,
     "\"ref\" is longer than 32 bytes (at byte 31)", "a", NULL},
    /* binary frames of 2.0.0 */
    {V2, true, S(""), HUB_EPROTOCOL, "the binary frame ends within its header (at byte 0)", NULL,
     NULL},
    {V2, true, S("\0\2\2\6"), HUB_EPROTOCOL, "the binary frame ends within its header (at byte 4)",
     NULL, NULL},
    {V2, true, S("\1\2\2\6\7JRRFroom:1binecho"), HUB_EPROTOCOL,
     "the binary frame is of kind 1, not 0 (at byte 0)", NULL, NULL},
    {V2, true, S("[\"1\",\"1\",\"a\",\"b\",{}]"), HUB_EPROTOCOL,
     "the binary frame is of kind 91, not 0 (at byte 0)", NULL, NULL},
    {V2, true, S("\0\2\2\6\7JRRFroom:1binech"), HUB_EPROTOCOL,
     "the binary frame is shorter than its lengths say (at byte 21)", NULL, NULL},
    {V2, true,
     S("\0\1\1\1\1\xff"
       "Rte"),
     HUB_EPROTOCOL, "\"join_ref\" is not valid UTF-8 (at byte 5)", "t", "\"R\""},
    {V2, true, S("\0\1\1\1\1J\xc3te"), HUB_EPROTOCOL, "\"ref\" is not valid UTF-8 (at byte 6)", "t",
     NULL},
    {V2, true,
     S("\0\1\1\1\1JR\x80"
       "e"),
     HUB_ETOPIC, "\"topic\" is not valid UTF-8 (at byte 7)", NULL, "\"R\""},
    {V2, true, S("\0\1\1\1\1JR\0e"), HUB_ETOPIC, "\"topic\" has a control character (at byte 7)",
     NULL, "\"R\""},
    {V2, true, S("\0\1\1\0\1JRe"), HUB_ETOPIC, "\"topic\" is empty (at byte 7)", "", "\"R\""},
    {V2, true, S("\0\1\1\1\1JRt\xf0"), HUB_EEVENT, "\"event\" is not valid UTF-8 (at byte 8)", "t",
     "\"R\""},
    {V2, true, S("\0\1\1\1\x41JRt" X65), HUB_EEVENT,
     "\"event\" is longer than 64 bytes (at byte 8)", "t", "\"R\""},
    {V2, true, S("\0\1\x21\1\1J" X33 "te"), HUB_ELIMIT,
     "\"ref\" is longer than 32 bytes (at byte 6)", "t", NULL},
};

static void check_bad(const struct bad *row)
{
    struct decoded decoded;
    hub_str_t topic;

    decode(&decoded, row->dialect, row->binary, row->frame, &limits);
    topic = decoded.envelope.topic;
    if (decoded.status != row->status || strcmp(decoded.error.text, row->error) != 0)
        fail_msg("%.*s: %s, \"%s\", not %s, \"%s\"", HUB_STR_ARG(row->frame),
                 hub_status_name(decoded.status), decoded.error.text, hub_status_name(row->status),
                 row->error);
    assert_int_equal(decoded.error.status, row->status);
    /* the one topic with a NUL can't be written in the table */
    if (topic.len != 1 || topic.base[0] != '\0')
        assert_str("topic", topic, hub_str(row->topic));
    assert_str("ref", decoded.envelope.ref, hub_str(row->ref));
    free(decoded.copy);
}

static void what_is_wrong_is_named_with_its_place_and_the_rest_is_kept(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(bad_frames); i++)
        check_bad(&bad_frames[i]);
}

/* So that it can be refused by its own name. */
static void a_short_topic_that_is_no_text_is_kept_as_it_came(void **state)
{
    static const struct {
        hub_str_t topic;
        const char *token;
    } rows[] = {{S("5"), "5"},       {S("-1.50"), "-1.50"}, {S("true"), "true"},
                {S("null"), "null"}, {S("{}"), NULL},       {S(X33), NULL}};

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct decoded decoded;
        char frame[128];
        int len = snprintf(frame, sizeof(frame), "[null,\"1\",%.*s,\"e\",{}]",
                           HUB_STR_ARG(rows[i].topic));

        decode(&decoded, V2, false, hub_str_n(frame, (size_t)len), &limits);
        assert_int_equal(decoded.status, HUB_ETOPIC);
        assert_str("topic", decoded.envelope.topic_token, hub_str(rows[i].token));
        free(decoded.copy);
    }
}

static void an_error_may_be_nobodys(void **state)
{
    hub__envelope_scratch_t scratch;
    hub__envelope_t envelope;
    const hub__dialect_t *dialect = hub__dialect(HUB__DIALECT_NATIVE);

    (void)state;
    assert_int_equal(
        dialect->decode(HUB_STR("{\"topic\":1}"), false, &limits, &scratch, &envelope, NULL),
        HUB_EPROTOCOL);
    assert_int_equal(dialect->decode(HUB_STR("{"), false, &limits, &scratch, &envelope, NULL),
                     HUB_ESYNTAX);
}

/* Fills frames from a format in which %s is where the tested value goes. */
static hub_status_t decode_with(int dialect, const char *format, const char *value,
                                const hub__envelope_limits_t *with)
{
    static char frame[4096];
    struct decoded decoded;
    const char *mark = strstr(format, "%s");
    size_t head = (size_t)(mark - format), middle = strlen(value), tail = strlen(mark + 2);

    assert_true(head + middle + tail < sizeof(frame));
    memcpy(frame, format, head);
    memcpy(frame + head, value, middle);
    memcpy(frame + head + middle, mark + 2, tail);
    decode(&decoded, dialect, false, hub_str_n(frame, head + middle + tail), with);
    free(decoded.copy);
    return decoded.status;
}

/* `depth` arrays, one within the other. Storage of the caller: 2 * depth + 1 bytes. */
static const char *nested(char *text, size_t depth)
{
    memset(text, '[', depth);
    memset(text + depth, ']', depth);
    text[2 * depth] = '\0';
    return text;
}

static const char *repeated(char *text, const char *unit, size_t count)
{
    text[0] = '\0';
    for (size_t i = 0; i < count; i++)
        memcpy(text + i * strlen(unit), unit, strlen(unit) + 1);
    return text;
}

struct depth_case {
    int dialect;
    const char *format;
    size_t envelope_depth, payload_depth;
    size_t deepest; /* that is accepted */
};

static const struct depth_case depth_cases[] = {
    {NATIVE, "{\"topic\":\"a\",\"event\":\"b\",\"payload\":%s}", 8, 64, 64},
    {NATIVE, "{\"topic\":\"a\",\"event\":\"b\",\"payload\":%s}", 8, 1, 1},
    {NATIVE, "{\"topic\":\"a\",\"event\":\"b\",\"payload\":%s}", 8, 256, 256},
    {NATIVE, "{\"topic\":\"a\",\"event\":\"b\",\"payload\":%s}", 256, 4, 4},
    {NATIVE, "{\"topic\":\"a\",\"event\":\"b\",\"more\":%s}", 8, 64, 7},
    {NATIVE, "{\"topic\":\"a\",\"event\":\"b\",\"more\":%s}", 8, 3, 7},
    {NATIVE, "{\"topic\":\"a\",\"event\":\"b\",\"more\":%s}", 256, 64, 255},
    {NATIVE, "{\"topic\":\"a\",\"event\":\"b\",\"more\":%s}", 2, 64, 1},
    {V1, "{\"topic\":\"a\",\"event\":\"b\",\"ref\":null,\"payload\":%s}", 8, 64, 64},
    {V1, "{\"topic\":\"a\",\"event\":\"b\",\"payload\":0,\"ref\":%s}", 8, 64, 7},
    {V2, "[null,null,\"a\",\"b\",%s]", 8, 64, 64},
    {V2, "[null,null,\"a\",\"b\",%s]", 8, 256, 256},
    {V2, "[null,null,\"a\",\"b\",%s]", 256, 4, 4},
    {V2, "[null,null,\"a\",\"b\",0,%s]", 8, 64, 7},
    {V2, "[null,%s,\"a\",\"b\",0]", 8, 64, 7},
};

static void check_depth(const struct depth_case *row)
{
    hub__envelope_limits_t with = limits;
    char value[1024];

    with.envelope_depth = row->envelope_depth;
    with.payload_depth = row->payload_depth;
    with.ref_bytes = 64;
    assert_int_equal(decode_with(row->dialect, row->format, nested(value, row->deepest - 1), &with),
                     row->deepest == 1 ? HUB_ESYNTAX : HUB_OK);
    assert_int_equal(decode_with(row->dialect, row->format, nested(value, row->deepest), &with),
                     HUB_OK);
    assert_int_equal(decode_with(row->dialect, row->format, nested(value, row->deepest + 1), &with),
                     HUB_EDEPTH);
}

static void depth_is_limited_apart_for_payload_and_envelope(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(depth_cases); i++)
        check_depth(&depth_cases[i]);
}

static void an_envelope_depth_of_one_allows_no_nested_value_but_the_payload(void **state)
{
    hub__envelope_limits_t with = limits;

    (void)state;
    with.envelope_depth = 1;
    assert_int_equal(
        decode_with(NATIVE, "{\"topic\":\"a\",\"event\":\"b\",\"payload\":%s}", "[[]]", &with),
        HUB_OK);
    assert_int_equal(
        decode_with(NATIVE, "{\"topic\":\"a\",\"event\":\"b\",\"more\":%s}", "1", &with), HUB_OK);
    assert_int_equal(
        decode_with(NATIVE, "{\"topic\":\"a\",\"event\":\"b\",\"more\":%s}", "[]", &with),
        HUB_EDEPTH);
}

static void a_payload_too_deep_is_refused_with_its_ref(void **state)
{
    hub__envelope_limits_t with = limits;
    struct decoded decoded;

    (void)state;
    with.payload_depth = 2;
    with.envelope_depth = 2;
    decode(&decoded, NATIVE, false,
           (hub_str_t)S("{\"topic\":\"a\",\"event\":\"b\",\"payload\":{\"x\":[[]]},\"ref\":\"5\"}"),
           &with);
    assert_int_equal(decoded.status, HUB_EDEPTH);
    assert_string_equal(decoded.error.text, "\"payload\" is nested deeper than 2 (at byte 41)");
    assert_str("topic", decoded.envelope.topic, HUB_STR("a"));
    assert_str("ref", decoded.envelope.ref, HUB_STR("\"5\""));
    free(decoded.copy);
    decode(&decoded, V2, false, (hub_str_t)S("[null,\"5\",\"a\",\"b\",[[[]]]]"), &with);
    assert_string_equal(decoded.error.text, "\"payload\" is nested deeper than 2 (at byte 20)");
    assert_str("ref", decoded.envelope.ref, HUB_STR("\"5\""));
    free(decoded.copy);
}

struct length_case {
    int dialect;
    const char *format;
    const char *unit;
    size_t longest; /* in units, that is accepted */
    hub_status_t status;
};

#define UNIT_REF "{\"topic\":\"a\",\"event\":\"b\",\"ref\":\"%s\"}"

static const struct length_case length_cases[] = {
    {NATIVE, "{\"topic\":\"%s\",\"event\":\"b\"}", "x", 255, HUB_ETOPIC},
    {NATIVE, "{\"topic\":\"%s\",\"event\":\"b\"}", "\\u00e4", 127, HUB_ETOPIC},
    {V2, "[null,null,\"%s\",\"b\",0]", "\xc3\xa4", 127, HUB_ETOPIC},
    {V1, "{\"topic\":\"a\",\"event\":\"%s\",\"payload\":0,\"ref\":0}", "x", 64, HUB_EEVENT},
    {V2, "[null,null,\"a\",\"%s\",0]", "\\n", 64, HUB_EEVENT},
    {NATIVE, UNIT_REF, "x", 32, HUB_ELIMIT},
    {NATIVE, UNIT_REF, "\\u0031", 32, HUB_ELIMIT},
    /* an escape that stays counts as what is kept */
    {NATIVE, UNIT_REF, "\\\"", 16, HUB_ELIMIT},
    {NATIVE, UNIT_REF, "\\u0001", 5, HUB_ELIMIT},
    {NATIVE, "{\"topic\":\"a\",\"event\":\"b\",\"ref\":1%s}", "0", 31, HUB_ELIMIT},
    {V2, "[\"%s\",null,\"a\",\"b\",0]", "x", 32, HUB_ELIMIT},
};

static void check_length(const struct length_case *row)
{
    char value[4000];

    for (size_t less = 0; less < 2; less++)
        assert_int_equal(decode_with(row->dialect, row->format,
                                     repeated(value, row->unit, row->longest - less), &limits),
                         HUB_OK);
    assert_int_equal(decode_with(row->dialect, row->format,
                                 repeated(value, row->unit, row->longest + 1), &limits),
                     row->status);
}

static void names_and_refs_are_limited_by_what_they_stand_for(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(length_cases); i++)
        check_length(&length_cases[i]);
}

/* All at their ceilings, and each byte written as an escape. */
static void the_scratch_holds_the_longest_names_at_once(void **state)
{
    static const hub__envelope_limits_t ceilings = {1024, 255, 64, 256, 256};
    char topic[1024 * 6 + 1], event[255 * 6 + 1], ref[64 * 6 + 1], frame[16384];
    struct decoded decoded;
    int len;

    (void)state;
    repeated(topic, "\\u0078", 1024);
    repeated(event, "\\u0079", 255);
    repeated(ref, "\\u007a", 64);
    len = snprintf(frame, sizeof(frame), "[\"%s\",\"%s\",\"%s\",\"%s\",0]", ref, ref, topic, event);
    decode(&decoded, V2, false, hub_str_n(frame, (size_t)len), &ceilings);
    assert_int_equal(decoded.status, HUB_OK);
    assert_int_equal(decoded.envelope.topic.len, 1024);
    assert_int_equal(decoded.envelope.event.len, 255);
    assert_int_equal(decoded.envelope.ref.len, 66);
    assert_str("join_ref", decoded.envelope.join_ref, decoded.envelope.ref);
    assert_int_equal(decoded.envelope.topic.base[1023], 'x');
    assert_int_equal(decoded.envelope.event.base[254], 'y');
    free(decoded.copy);
}

static void a_ref_is_the_same_token_however_it_was_written(void **state)
{
    struct decoded plain, escaped, bytes;

    (void)state;
    decode(&plain, V2, false, (hub_str_t)S("[\"J\xc3\xa4\\\"\",\"1\",\"a\",\"b\",0]"), &limits);
    decode(&escaped, V2, false, (hub_str_t)S("[\"\\u004a\\u00e4\\u0022\",1,\"a\",\"b\",0]"),
           &limits);
    decode(&bytes, V2, true, (hub_str_t)S("\0\4\1\1\1J\xc3\xa4\"1ab0"), &limits);
    assert_str("escaped", escaped.envelope.join_ref, plain.envelope.join_ref);
    assert_str("bytes", bytes.envelope.join_ref, plain.envelope.join_ref);
    /* but a number is no string */
    assert_str("number", escaped.envelope.ref, HUB_STR("1"));
    assert_str("string", bytes.envelope.ref, HUB_STR("\"1\""));
    free(plain.copy);
    free(escaped.copy);
    free(bytes.copy);
}

static void each_code_has_a_name_and_a_message(void **state)
{
    (void)state;
    assert_string_equal(hub__code_name(HUB__CODE_TOPIC_NOT_FOUND), "topic_not_found");
    assert_string_equal(hub__code_message(HUB__CODE_TOPIC_NOT_FOUND), "Topic not found");
    assert_string_equal(hub__code_name(HUB__CODE_BUS_DOWN), "bus_down");
    assert_string_equal(hub__code_message(HUB__CODE_NOT_JOINED), "Topic not joined");
}

static void a_status_reaches_the_client_under_its_code(void **state)
{
    static const struct {
        hub_status_t status;
        hub__code_t code;
    } rows[] = {
        {HUB_EREJECTED, HUB__CODE_JOIN_REJECTED},
        {HUB_EPAYLOAD, HUB__CODE_INVALID_PAYLOAD},
        {HUB_EEVENT, HUB__CODE_EVENT_NOT_FOUND},
        {HUB_ENOTJOINED, HUB__CODE_NOT_JOINED},
        {HUB_ETOPIC, HUB__CODE_BAD_TOPIC},
        {HUB_ELIMIT, HUB__CODE_LIMIT},
        {HUB_ETOOLARGE, HUB__CODE_LIMIT},
        {HUB_ERATE, HUB__CODE_RATE},
        {HUB_EBUSY, HUB__CODE_BUSY},
        {HUB_ETIMEOUT, HUB__CODE_TIMEOUT},
        {HUB_EBUSDOWN, HUB__CODE_BUS_DOWN},
        {HUB_EINTERNAL, HUB__CODE_INTERNAL_ERROR},
        {HUB_ENOMEM, HUB__CODE_INTERNAL_ERROR},
        {HUB_EINVAL, HUB__CODE_INTERNAL_ERROR},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++)
        assert_int_equal(hub__code_of_status(rows[i].status), rows[i].code);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_becomes_its_envelope),
        cmocka_unit_test(a_frame_cut_anywhere_is_refused_and_nothing_of_it_kept),
        cmocka_unit_test(bytes_behind_the_json_are_refused),
        cmocka_unit_test(what_is_wrong_is_named_with_its_place_and_the_rest_is_kept),
        cmocka_unit_test(a_short_topic_that_is_no_text_is_kept_as_it_came),
        cmocka_unit_test(an_error_may_be_nobodys),
        cmocka_unit_test(depth_is_limited_apart_for_payload_and_envelope),
        cmocka_unit_test(an_envelope_depth_of_one_allows_no_nested_value_but_the_payload),
        cmocka_unit_test(a_payload_too_deep_is_refused_with_its_ref),
        cmocka_unit_test(names_and_refs_are_limited_by_what_they_stand_for),
        cmocka_unit_test(the_scratch_holds_the_longest_names_at_once),
        cmocka_unit_test(a_ref_is_the_same_token_however_it_was_written),
        cmocka_unit_test(each_code_has_a_name_and_a_message),
        cmocka_unit_test(a_status_reaches_the_client_under_its_code),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
