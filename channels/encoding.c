/* SPDX-License-Identifier: MIT */
/* What the hub sends is mostly the same words around a payload that is spliced in untouched. That
 * is safe because only one complete JSON value ever gets here: a client's was scanned with its
 * frame, a program's when its message was made. */
#include "channels/encoding.h"

#include <assert.h>

#include "bus/plain.h"

/* Punctuation, names of keys and of protocol events, quotes, and the payload of an error: the
 * longest envelope takes 85 bytes of these, so there is some air. */
#define FIXED_BYTES 128

size_t hub__encoding_bound(const hub__outgoing_t *out)
{
    /* a close of 2.0.0 writes its join_ref twice */
    return FIXED_BYTES + HUB__ESCAPED_MAX * (out->topic.len + out->event.len + out->status.len) +
           out->topic_token.len + out->payload.bytes.len + out->ref.len + 2 * out->join_ref.len;
}

static char *put_escaped(char *at, unsigned byte)
{
    static const char digits[] = "0123456789abcdef", names[] = "\"\\\b\f\n\r\t",
                      values[] = "\"\\bfnrt";
    const char *name = byte == 0 ? NULL : strchr(names, (int)byte);

    *at++ = '\\';
    if (name != NULL) {
        *at++ = values[name - names];
        return at;
    }
    at = HUB__PUT_LITERAL(at, "u00");
    *at++ = digits[byte >> 4];
    *at++ = digits[byte & 15];
    return at;
}

/* Copies eight bytes at a time as far as they stand for themselves, the last eight perhaps twice.
 * Returns how many it has copied. */
static inline size_t put_plain(char *at, hub_str_t text)
{
    size_t done = 0;

    while (text.len - done >= 8 && hub__all_plain(text.base + done)) {
        memcpy(at + done, text.base + done, 8);
        done += 8;
    }
    if (done == 0 || text.len - done >= 8 || !hub__all_plain(text.base + text.len - 8))
        return done;
    memcpy(at + text.len - 8, text.base + text.len - 8, 8);
    return text.len;
}

char *hub__put_string(char *at, hub_str_t text)
{
    size_t done;

    if (text.base == NULL)
        return HUB__PUT_LITERAL(at, "null");
    *at++ = '"';
    done = put_plain(at, text);
    at += done;
    for (size_t i = done; i < text.len; i++) {
        unsigned byte = (unsigned char)text.base[i];

        if (byte < 0x20 || byte == '"' || byte == '\\')
            at = put_escaped(at, byte);
        else
            *at++ = (char)byte;
    }
    *at++ = '"';
    return at;
}

char *hub__put_ref(char *at, hub_str_t token)
{
    return token.len == 0 ? HUB__PUT_LITERAL(at, "null") : hub__put(at, token);
}

bool hub__encoding_has_json(const hub_payload_t *payload)
{
    return payload != NULL && payload->kind == HUB_PAYLOAD_JSON && payload->bytes.len > 0;
}

static char *put_json(char *at, const hub_payload_t *payload)
{
    assert(payload->kind == HUB_PAYLOAD_JSON);
    return payload->bytes.len > 0 ? hub__put(at, payload->bytes) : HUB__PUT_LITERAL(at, "{}");
}

char *hub__put_payload(char *at, const hub__outgoing_t *out)
{
    switch (out->kind) {
    case HUB__OUT_REPLY:
        at = HUB__PUT_LITERAL(at, "{\"status\":");
        at = hub__put_string(at, out->status);
        at = HUB__PUT_LITERAL(at, ",\"response\":");
        at = put_json(at, &out->payload);
        *at++ = '}';
        return at;
    case HUB__OUT_CLOSE:
        return HUB__PUT_LITERAL(at, "{}");
    case HUB__OUT_ERROR:
        return HUB__PUT_LITERAL(at, "{\"reason\":\"channel_crash\"}");
    case HUB__OUT_PUSH:
    case HUB__OUT_BROADCAST:
        break;
    }
    return put_json(at, &out->payload);
}

hub_str_t hub__encoding_event(const hub__dialect_t *dialect, const hub__outgoing_t *out)
{
    switch (out->kind) {
    case HUB__OUT_REPLY:
        return dialect->reply;
    case HUB__OUT_CLOSE:
        return dialect->close;
    case HUB__OUT_ERROR:
        return dialect->error;
    case HUB__OUT_PUSH:
    case HUB__OUT_BROADCAST:
        break;
    }
    return out->event;
}
