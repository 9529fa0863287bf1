/* SPDX-License-Identifier: MIT */
/* The wire format of a connection that names no version: an object whose keys say what they are,
 * so that a client is written by hand in an hour. */
#include "channels/decoding.h"
#include "channels/dialect.h"
#include "channels/encoding.h"

static hub_status_t decode(hub_str_t frame, bool binary, const hub__envelope_limits_t *limits,
                           hub__envelope_scratch_t *scratch, hub__envelope_t *ret_envelope,
                           hub_error_t *error)
{
    hub__decoding_t decoding;

    (void)binary; /* the same JSON either way */
    hub__decoding_init(&decoding, frame, limits, scratch, ret_envelope, error);
    hub__decoding_read_object(&decoding);
    hub__decoding_topic(&decoding, false);
    hub__decoding_event(&decoding, false);
    hub__decoding_refs(&decoding, false, false);
    hub__decoding_payload(&decoding, false);
    return decoding.status;
}

static bool carries(hub_payload_kind_t kind)
{
    return kind == HUB_PAYLOAD_JSON;
}

static size_t encode(const hub__outgoing_t *out, char *bytes, bool *ret_binary)
{
    char *at = HUB__PUT_LITERAL(bytes, "{\"topic\":");

    at = hub__put_string(at, out->topic);
    at = HUB__PUT_LITERAL(at, ",\"event\":");
    at = hub__put_string(at, hub__encoding_event(&hub__dialect_native, out));
    at = HUB__PUT_LITERAL(at, ",\"payload\":");
    at = hub__put_payload(at, out);
    if (out->kind == HUB__OUT_REPLY && out->ref.len > 0) {
        at = HUB__PUT_LITERAL(at, ",\"ref\":");
        at = hub__put(at, out->ref);
    }
    if (out->kind != HUB__OUT_BROADCAST && out->join_ref.len > 0) {
        at = HUB__PUT_LITERAL(at, ",\"join_ref\":");
        at = hub__put(at, out->join_ref);
    }
    *at++ = '}';
    *ret_binary = false;
    return (size_t)(at - bytes);
}

static void error_response(hub__buffer_t *out, hub__code_t code, const hub_payload_t *detail,
                           bool of_join)
{
    (void)of_join;
    hub__buffer_printf(out, "{\"code\":\"%s\",\"message\":\"%s\",\"detail\":", hub__code_name(code),
                       hub__code_message(code));
    hub__buffer_append(out, hub__encoding_has_json(detail) ? detail->bytes : HUB_STR("{}"));
    HUB__APPEND_LITERAL(out, "}");
}

static void rate_response(hub__buffer_t *out, uint32_t retry_ms)
{
    hub__buffer_printf(out, "{\"code\":\"%s\",\"message\":\"%s\",\"detail\":{\"retry_ms\":%u}}",
                       hub__code_name(HUB__CODE_RATE), hub__code_message(HUB__CODE_RATE), retry_ms);
}

static void join_response(hub__buffer_t *out, hub_str_t topic, bool already_joined,
                          const hub_payload_t *response)
{
    HUB__APPEND_LITERAL(out, "{\"topic\":");
    hub__buffer_json_string(out, topic);
    hub__buffer_printf(out, ",\"already_joined\":%s,\"replay_supported\":false",
                       already_joined ? "true" : "false");
    if (hub__encoding_has_json(response)) {
        HUB__APPEND_LITERAL(out, ",\"response\":");
        hub__buffer_append(out, response->bytes);
    }
    HUB__APPEND_LITERAL(out, "}");
}

static void leave_response(hub__buffer_t *out, hub_str_t topic)
{
    HUB__APPEND_LITERAL(out, "{\"topic\":");
    hub__buffer_json_string(out, topic);
    HUB__APPEND_LITERAL(out, "}");
}

#define NAME(literal)                                                                              \
    {                                                                                              \
        (literal), sizeof(literal) - 1                                                             \
    }

const hub__dialect_t hub__dialect_native = {
    .index = HUB__DIALECT_NATIVE,
    .name = "native",
    .join = NAME("join"),
    .leave = NAME("leave"),
    .leave_alias = NAME("exit"),
    .reply = NAME("reply"),
    .error = NAME("error"),
    .close = NAME("close"),
    .heartbeat_topic = NAME("hub"),
    .heartbeat_event = NAME("heartbeat"),
    .on_duplicate_join = HUB__DUPLICATE_IS_OK,
    .on_handler_error = HUB__FAILURE_REPLIES,
    .on_unknown_event = HUB__FAILURE_REPLIES,
    .leave_unjoined_is_ok = false,
    .check_join_ref = false,
    .close_after_leave = false,
    .join_ref_from_ref = true,
    .ref_stands_in = false,
    .refusal_echoes_join_ref = true,
    .reserved_events_refused = true,
    .broadcast_must_be_object = false,
    .decode = decode,
    .carries = carries,
    .encode_bound = hub__encoding_bound,
    .encode = encode,
    .error_response = error_response,
    .rate_response = rate_response,
    .join_response = join_response,
    .leave_response = leave_response,
};
