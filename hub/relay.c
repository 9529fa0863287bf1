/* SPDX-License-Identifier: MIT */
/* What crosses nodes about a connection: written by one that may be trusted, read as if by nobody
 * who may. */
#include "hub/relay.h"

#include "bus/json.h"
#include "channels/pattern.h"
#include "hub/frame.h"

#define VERSION 1
#define HEADER 36u
#define SPANS 5

static void put(unsigned char *at, uint64_t value, unsigned bytes)
{
    while (bytes-- != 0) {
        at[bytes] = (unsigned char)value;
        value >>= 8;
    }
}

static uint64_t get(const unsigned char *at, unsigned bytes)
{
    uint64_t value = 0;

    while (bytes-- != 0)
        value = value << 8 | *at++;
    return value;
}

static void spans_of(const hub__relay_t *relay, hub_str_t spans[SPANS])
{
    spans[0] = relay->identity;
    spans[1] = relay->topic;
    spans[2] = relay->event;
    spans[3] = relay->reason;
    spans[4] = relay->payload.bytes;
}

size_t hub__relay_size(const hub__relay_t *relay)
{
    hub_str_t spans[SPANS];
    size_t size = HEADER;

    spans_of(relay, spans);
    for (unsigned i = 0; i != SPANS; ++i) {
        if (spans[i].len > UINT32_MAX || size + spans[i].len < size)
            return SIZE_MAX;
        size += spans[i].len;
    }
    return size;
}

void hub__relay_write(const hub__relay_t *relay, char *bytes)
{
    unsigned char *at = (unsigned char *)bytes;
    hub_str_t spans[SPANS];

    spans_of(relay, spans);
    at[0] = VERSION;
    at[1] = (unsigned char)relay->kind;
    at[2] = relay->payload.kind == HUB_PAYLOAD_BINARY;
    at[3] = 0;
    put(at + 4, relay->code, 2);
    put(at + 6, 0, 2);
    put(at + 8, relay->local, 8);
    bytes += HEADER;
    for (unsigned i = 0; i != SPANS; ++i) {
        put(at + 16 + 4 * i, spans[i].len, 4);
        if (spans[i].len != 0)
            memcpy(bytes, spans[i].base, spans[i].len);
        bytes += spans[i].len;
    }
}

static bool is_close(const hub__relay_t *relay)
{
    return relay->topic.len == 0 && relay->event.len == 0 && relay->payload.bytes.len == 0 &&
           hub__close_code_valid(relay->code) && relay->reason.len <= HUB__CLOSE_REASON_MAX &&
           hub_utf8_valid(relay->reason);
}

static bool is_push(const hub__relay_t *relay)
{
    hub_error_t error;

    return relay->code == 0 && relay->reason.len == 0 && relay->topic.len != 0 &&
           relay->topic.len <= HUB__TOPIC_BYTES_MAX && hub_utf8_valid(relay->topic) &&
           relay->event.len != 0 && relay->event.len <= UINT8_MAX && hub_utf8_valid(relay->event) &&
           hub_payload_check(relay->payload, HUB_JSON_DEPTH_MAX, &error) == HUB_OK;
}

hub_status_t hub__relay_read(hub_str_t bytes, hub__relay_t *ret_relay)
{
    const unsigned char *at = (const unsigned char *)bytes.base;
    hub__relay_t relay = {0};
    hub_str_t spans[SPANS];
    size_t used = HEADER;

    if (bytes.len == 0 || at[0] == 0)
        return HUB_ESYNTAX;
    if (at[0] != VERSION)
        return HUB_ENOTFOUND;
    if (bytes.len < HEADER || at[2] > 1 || at[3] != 0 || get(at + 6, 2) != 0)
        return HUB_ESYNTAX;
    for (unsigned i = 0; i != SPANS; ++i) {
        size_t len = (size_t)get(at + 16 + 4 * i, 4);

        if (len > bytes.len - used)
            return HUB_ESYNTAX;
        spans[i] = hub_str_n(bytes.base + used, len);
        used += len;
    }
    relay = (hub__relay_t){
        .kind = (hub__relay_kind_t)at[1],
        .local = get(at + 8, 8),
        .identity = spans[0],
        .code = (unsigned)get(at + 4, 2),
        .topic = spans[1],
        .event = spans[2],
        .reason = spans[3],
        .payload = {spans[4], at[2] == 1 ? HUB_PAYLOAD_BINARY : HUB_PAYLOAD_JSON},
    };
    if (used != bytes.len || (relay.local == 0) != (relay.identity.len != 0) ||
        !(relay.kind == HUB__RELAY_CLOSE  ? is_close(&relay)
          : relay.kind == HUB__RELAY_PUSH ? is_push(&relay)
                                          : false))
        return HUB_ESYNTAX;
    *ret_relay = relay;
    return HUB_OK;
}
