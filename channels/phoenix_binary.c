/* SPDX-License-Identifier: MIT */
/* The binary frames of Phoenix 2.0.0: a kind, one byte of length per name, the names, and the
 * payload to the end of the frame. A push from the client has a ref, one from the server has none,
 * so nothing decodes what it encoded. */
#include "channels/phoenix.h"

#include "channels/encoding.h"

enum { KIND_PUSH, KIND_REPLY, KIND_BROADCAST };

#define NAME_BYTES_MAX 255
#define CLIENT_HEAD_BYTES 5 /* kind, and the lengths of join_ref, ref, topic and event */

void hub__phoenix_binary_decode(hub__decoding_t *decoding)
{
    const uint8_t *head = (const uint8_t *)decoding->frame.base;
    size_t len = decoding->frame.len, at[5] = {CLIENT_HEAD_BYTES};

    if (len < CLIENT_HEAD_BYTES) {
        hub__decoding_fail(decoding, HUB_EPROTOCOL, len, "the binary frame ends within its header");
        return;
    }
    if (head[0] != KIND_PUSH) {
        hub__decoding_fail(decoding, HUB_EPROTOCOL, 0, "the binary frame is of kind %u, not 0",
                           head[0]);
        return;
    }
    for (size_t i = 0; i < 4; i++)
        at[i + 1] = at[i] + head[i + 1];
    if (at[4] > len) {
        hub__decoding_fail(decoding, HUB_EPROTOCOL, len,
                           "the binary frame is shorter than its lengths say");
        return;
    }
    hub__decoding_topic_bytes(decoding, at[2], head[3]);
    hub__decoding_event_bytes(decoding, at[3], head[4]);
    hub__decoding_ref_bytes(decoding, HUB__FIELD_REF, at[1], head[2]);
    hub__decoding_ref_bytes(decoding, HUB__FIELD_JOIN_REF, at[0], head[1]);
    decoding->envelope->payload = hub_binary(head + at[4], len - at[4]);
}

/* What is being written. */
struct writer {
    uint8_t *length; /* of the next name */
    char *at;
    bool fits;
};

static void put_name(struct writer *writer, hub_str_t name)
{
    writer->fits = writer->fits && name.len <= NAME_BYTES_MAX;
    if (!writer->fits)
        return;
    *writer->length++ = (uint8_t)name.len;
    writer->at = hub__put(writer->at, name);
}

/* A string without its quotes and escapes, anything else as its JSON: a number in digits. */
static void put_token(struct writer *writer, hub_str_t token)
{
    char text[NAME_BYTES_MAX];
    hub_str_t name = token;

    if (token.len > 0 && token.base[0] == '"') {
        name.base = text;
        if (hub_json_unescape(token, text, sizeof(text), &name.len) != HUB_OK)
            writer->fits = false;
    }
    put_name(writer, name);
}

size_t hub__phoenix_binary_encode(const hub__outgoing_t *out, char *bytes)
{
    bool reply = out->kind == HUB__OUT_REPLY, broadcast = out->kind == HUB__OUT_BROADCAST;
    size_t names = reply ? 4 : broadcast ? 2 : 3;
    struct writer writer = {(uint8_t *)bytes + 1, bytes + 1 + names, true};

    bytes[0] = reply ? KIND_REPLY : broadcast ? KIND_BROADCAST : KIND_PUSH;
    if (!broadcast)
        put_token(&writer, out->join_ref);
    if (reply)
        put_token(&writer, out->ref);
    put_name(&writer, out->topic);
    put_name(&writer, reply ? out->status : out->event);
    if (!writer.fits)
        return 0;
    writer.at = hub__put(writer.at, out->payload.bytes);
    return (size_t)(writer.at - bytes);
}
