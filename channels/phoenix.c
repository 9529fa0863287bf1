/* SPDX-License-Identifier: MIT */
/* The two wire formats of Phoenix Channels. They share names, rules and responses; 1.0.0 is an
 * object that never tells its join_ref, 2.0.0 an array that has binary frames beside it. */
#include "channels/phoenix.h"
#include "channels/dialect.h"
#include "channels/encoding.h"

/* Phoenix says "unmatched topic" for whatever has no channel behind it, so a topic that can't have
 * one is answered so as well. */
static const char *reason(hub__code_t code, bool of_join)
{
    switch (code) {
    case HUB__CODE_TOPIC_NOT_FOUND:
    case HUB__CODE_NOT_JOINED:
    case HUB__CODE_BAD_TOPIC:
        return "unmatched topic";
    case HUB__CODE_LIMIT:
        return of_join ? "too many channels joined" : hub__code_name(code);
    case HUB__CODE_INTERNAL_ERROR:
        return of_join ? "join crashed" : hub__code_name(code);
    default:
        return hub__code_name(code);
    }
}

static void error_response(hub__buffer_t *out, hub__code_t code, const hub_payload_t *detail,
                           bool of_join)
{
    if (hub__encoding_has_json(detail))
        hub__buffer_append(out, detail->bytes);
    else
        hub__buffer_printf(out, "{\"reason\":\"%s\"}", reason(code, of_join));
}

static void rate_response(hub__buffer_t *out, uint32_t retry_ms)
{
    hub__buffer_printf(out, "{\"reason\":\"%s\",\"retry_ms\":%u}", hub__code_name(HUB__CODE_RATE),
                       retry_ms);
}

static void join_response(hub__buffer_t *out, hub_str_t topic, bool already_joined,
                          const hub_payload_t *response)
{
    (void)topic;
    (void)already_joined;
    hub__buffer_append(out, hub__encoding_has_json(response) ? response->bytes : HUB_STR("{}"));
}

static void leave_response(hub__buffer_t *out, hub_str_t topic)
{
    (void)topic;
    HUB__APPEND_LITERAL(out, "{}");
}

static hub_status_t decode1(hub_str_t frame, bool binary, const hub__envelope_limits_t *limits,
                            hub__envelope_scratch_t *scratch, hub__envelope_t *ret_envelope,
                            hub_error_t *error)
{
    hub__decoding_t decoding;

    (void)binary; /* the same JSON either way */
    hub__decoding_init(&decoding, frame, limits, scratch, ret_envelope, error);
    hub__decoding_read_object(&decoding);
    hub__decoding_topic(&decoding, true);
    hub__decoding_event(&decoding, true);
    hub__decoding_refs(&decoding, true, true);
    hub__decoding_payload(&decoding, true);
    return decoding.status;
}

static bool carries1(hub_payload_kind_t kind)
{
    return kind == HUB_PAYLOAD_JSON;
}

/* The ref of a close or error is the join_ref, in 1.0.0 the only thing that tells the end of one
 * member from that of its successor. */
static hub_str_t ref_of(const hub__outgoing_t *out)
{
    switch (out->kind) {
    case HUB__OUT_REPLY:
        return out->ref;
    case HUB__OUT_CLOSE:
    case HUB__OUT_ERROR:
        return out->join_ref;
    case HUB__OUT_PUSH:
    case HUB__OUT_BROADCAST:
        break;
    }
    return (hub_str_t){0};
}

static char *put_topic(char *at, const hub__outgoing_t *out)
{
    return out->topic_token.len > 0 ? hub__put(at, out->topic_token)
                                    : hub__put_string(at, out->topic);
}

static size_t encode1(const hub__outgoing_t *out, char *bytes, bool *ret_binary)
{
    char *at = HUB__PUT_LITERAL(bytes, "{\"topic\":");

    at = put_topic(at, out);
    at = HUB__PUT_LITERAL(at, ",\"event\":");
    at = hub__put_string(at, hub__encoding_event(&hub__dialect_phoenix1, out));
    at = HUB__PUT_LITERAL(at, ",\"payload\":");
    at = hub__put_payload(at, out);
    at = HUB__PUT_LITERAL(at, ",\"ref\":");
    at = hub__put_ref(at, ref_of(out));
    *at++ = '}';
    *ret_binary = false;
    return (size_t)(at - bytes);
}

static hub_status_t decode2(hub_str_t frame, bool binary, const hub__envelope_limits_t *limits,
                            hub__envelope_scratch_t *scratch, hub__envelope_t *ret_envelope,
                            hub_error_t *error)
{
    hub__decoding_t decoding;

    hub__decoding_init(&decoding, frame, limits, scratch, ret_envelope, error);
    if (binary) {
        hub__phoenix_binary_decode(&decoding);
        return decoding.status;
    }
    hub__decoding_read_array(&decoding);
    hub__decoding_topic(&decoding, true);
    hub__decoding_event(&decoding, true);
    hub__decoding_refs(&decoding, true, true);
    hub__decoding_payload(&decoding, true);
    return decoding.status;
}

static bool carries2(hub_payload_kind_t kind)
{
    return kind == HUB_PAYLOAD_JSON || kind == HUB_PAYLOAD_BINARY;
}

static size_t encode2(const hub__outgoing_t *out, char *bytes, bool *ret_binary)
{
    bool ends = out->kind == HUB__OUT_CLOSE || out->kind == HUB__OUT_ERROR;
    char *at = bytes;

    *ret_binary = out->payload.kind == HUB_PAYLOAD_BINARY && !ends;
    if (*ret_binary)
        return hub__phoenix_binary_encode(out, bytes);
    *at++ = '[';
    at = hub__put_ref(at, out->kind == HUB__OUT_BROADCAST ? hub_str(NULL) : out->join_ref);
    *at++ = ',';
    at = hub__put_ref(at, ref_of(out));
    *at++ = ',';
    at = put_topic(at, out);
    *at++ = ',';
    at = hub__put_string(at, hub__encoding_event(&hub__dialect_phoenix2, out));
    *at++ = ',';
    at = hub__put_payload(at, out);
    *at++ = ']';
    return (size_t)(at - bytes);
}

#define NAME(literal)                                                                              \
    {                                                                                              \
        (literal), sizeof(literal) - 1                                                             \
    }

/* Names and rules that both versions have. */
#define PHOENIX                                                                                    \
    .join = NAME("phx_join"), .leave = NAME("phx_leave"), .reply = NAME("phx_reply"),              \
    .error = NAME("phx_error"), .close = NAME("phx_close"), .heartbeat_topic = NAME("phoenix"),    \
    .heartbeat_event = NAME("heartbeat"), .on_duplicate_join = HUB__DUPLICATE_REPLACES,            \
    .on_handler_error = HUB__FAILURE_ENDS_MEMBER, .on_unknown_event = HUB__FAILURE_ENDS_MEMBER,    \
    .leave_unjoined_is_ok = true, .check_join_ref = true, .close_after_leave = true,               \
    .join_ref_from_ref = false, .ref_stands_in = true, .refusal_echoes_join_ref = false,           \
    .reserved_events_refused = false, .bad_frame_ends_conn = true,                                 \
    .encode_bound = hub__encoding_bound, .error_response = error_response,                         \
    .rate_response = rate_response, .join_response = join_response,                                \
    .leave_response = leave_response

const hub__dialect_t hub__dialect_phoenix1 = {
    .index = HUB__DIALECT_PHOENIX1,
    .name = "1.0.0",
    PHOENIX,
    .broadcast_must_be_object = false,
    .decode = decode1,
    .carries = carries1,
    .encode = encode1,
};

const hub__dialect_t hub__dialect_phoenix2 = {
    .index = HUB__DIALECT_PHOENIX2,
    .name = "2.0.0",
    PHOENIX,
    .broadcast_must_be_object = true,
    .decode = decode2,
    .carries = carries2,
    .encode = encode2,
};
