/* SPDX-License-Identifier: MIT */
/* The envelope between nodes, as pure functions over bytes. What comes in was written by whoever
 * can reach the broker, so every length is checked against the bytes that are there. */
#include "bus/json.h"
#include "bus/wire.h"

enum {
    VERSION = 1,
    FLAGS_KNOWN = HUB_MESSAGE_SKIP_ORIGIN | HUB_MESSAGE_BUS_ORDER,
    FLAG_DOUBTFUL = 4, /* not a message's own, so no enum hub_message_flags may use it */
};

static void put32(char *at, uint32_t value)
{
    for (int i = 3; i >= 0; i--, value >>= 8)
        at[i] = (char)(value & 0xff);
}

static void put64(char *at, uint64_t value)
{
    put32(at, (uint32_t)(value >> 32));
    put32(at + 4, (uint32_t)value);
}

static uint32_t get32(const char *at)
{
    uint32_t value = 0;

    for (int i = 0; i < 4; i++)
        value = value << 8 | (unsigned char)at[i];
    return value;
}

static uint64_t get64(const char *at)
{
    return (uint64_t)get32(at) << 32 | get32(at + 4);
}

size_t hub__wire_size(const hub_message_t *msg)
{
    if (msg->event.len > HUB__WIRE_EVENT_BYTES_MAX || msg->payload.bytes.len > UINT32_MAX)
        return SIZE_MAX;
    return HUB__WIRE_HEADER_BYTES + msg->event.len + msg->payload.bytes.len;
}

void hub__wire_write(char *bytes, const hub_message_t *msg, uint64_t node)
{
    char *event = bytes + HUB__WIRE_HEADER_BYTES;

    bytes[0] = VERSION;
    bytes[1] = HUB__WIRE_MESSAGE;
    bytes[2] = msg->payload.kind == HUB_PAYLOAD_BINARY;
    bytes[3] = 0;
    put32(bytes + 4, msg->flags & FLAGS_KNOWN);
    put64(bytes + 8, node);
    hub__wire_number(bytes, 0, 0);
    put64(bytes + 32, msg->origin.node);
    put64(bytes + 40, msg->origin.local);
    put64(bytes + 48, msg->position.epoch);
    put64(bytes + 56, msg->position.offset);
    put32(bytes + 64, (uint32_t)msg->event.len);
    put32(bytes + 68, (uint32_t)msg->payload.bytes.len);
    memcpy(event, msg->event.base, msg->event.len);
    if (msg->payload.bytes.len > 0)
        memcpy(event + msg->event.len, msg->payload.bytes.base, msg->payload.bytes.len);
}

void hub__wire_number(char *bytes, uint64_t incarnation, uint64_t seq)
{
    put64(bytes + 16, incarnation);
    put64(bytes + 24, seq);
}

void hub__wire_doubt(char *bytes)
{
    put32(bytes + 4, get32(bytes + 4) | FLAG_DOUBTFUL);
}

void hub__wire_write_mark(char bytes[HUB__WIRE_MARK_BYTES], hub__wire_kind_t kind, uint64_t node,
                          uint64_t incarnation, uint64_t seq)
{
    memset(bytes, 0, HUB__WIRE_MARK_BYTES);
    bytes[0] = VERSION;
    bytes[1] = (char)kind;
    put64(bytes + 8, node);
    hub__wire_number(bytes, incarnation, seq);
}

static hub_status_t read_mark(hub_str_t bytes, hub__wire_t *ret_wire)
{
    const char *at = bytes.base;

    if (bytes.len != HUB__WIRE_MARK_BYTES || at[2] != 0 || at[3] != 0 ||
        (at[1] == HUB__WIRE_PROBE && get32(at + 4) != 0))
        return HUB_ESYNTAX;
    *ret_wire = (hub__wire_t){.kind = (hub__wire_kind_t)at[1],
                              .node = get64(at + 8),
                              .incarnation = get64(at + 16),
                              .seq = get64(at + 24),
                              .doubtful = (get32(at + 4) & FLAG_DOUBTFUL) != 0};
    if (ret_wire->node == 0 || ret_wire->seq == 0 || ret_wire->incarnation == 0)
        return HUB_ESYNTAX;
    return HUB_OK;
}

hub_status_t hub__wire_read(hub_str_t bytes, hub__wire_t *ret_wire)
{
    const char *at = bytes.base;
    size_t event_bytes, payload_bytes;

    if (bytes.len < 2 || at[0] != VERSION)
        return HUB_ESYNTAX;
    if (at[1] == HUB__WIRE_PROBE || at[1] == HUB__WIRE_POSITION)
        return read_mark(bytes, ret_wire);
    if (at[1] != HUB__WIRE_MESSAGE)
        return HUB_ENOTFOUND;
    if (bytes.len < HUB__WIRE_HEADER_BYTES)
        return HUB_ESYNTAX;
    event_bytes = get32(at + 64);
    payload_bytes = get32(at + 68);
    if (event_bytes > HUB__WIRE_EVENT_BYTES_MAX ||
        bytes.len - HUB__WIRE_HEADER_BYTES != event_bytes + payload_bytes)
        return HUB_ESYNTAX;
    *ret_wire = (hub__wire_t){
        .kind = HUB__WIRE_MESSAGE,
        .node = get64(at + 8),
        .incarnation = get64(at + 16),
        .seq = get64(at + 24),
        .doubtful = (get32(at + 4) & FLAG_DOUBTFUL) != 0,
        .options =
            {
                .origin = {.node = get64(at + 32), .local = get64(at + 40)},
                .position = {.epoch = get64(at + 48), .offset = get64(at + 56)},
                .flags = get32(at + 4) & FLAGS_KNOWN,
            },
        .event = hub_str_n(at + HUB__WIRE_HEADER_BYTES, event_bytes),
        .payload =
            {
                .bytes = hub_str_n(at + HUB__WIRE_HEADER_BYTES + event_bytes, payload_bytes),
                .kind = at[2] == 0 ? HUB_PAYLOAD_JSON : HUB_PAYLOAD_BINARY,
            },
    };
    /* a node is never 0, and neither is its first number */
    if (at[2] < 0 || at[2] > 1 || at[3] != 0 || ret_wire->node == 0 || ret_wire->seq == 0 ||
        ret_wire->incarnation == 0)
        return HUB_ESYNTAX;
    return HUB_OK;
}

bool hub__wire_is_plain(hub_str_t bytes)
{
    size_t i = 0;

    while (i < bytes.len && memchr(" \t\r\n", bytes.base[i], 4) != NULL)
        i++;
    return i < bytes.len && bytes.base[i] == '{';
}

static hub_status_t read_event(const hub_json_value_t *value, char *buffer, hub_str_t *ret_event,
                               hub_error_t *error)
{
    hub_status_t err;

    *ret_event = hub_str_n(value->raw.base + 1, value->raw.len - 2);
    if (value->kind != HUB_JSON_STRING)
        return hub_error_set(error, HUB_ESYNTAX, 0, "event: no string");
    if (!value->escaped)
        return HUB_OK;
    ret_event->base = buffer;
    err = hub_json_unescape(value->raw, buffer, HUB__WIRE_EVENT_BYTES_MAX, &ret_event->len);
    return err == HUB_OK ? HUB_OK
                         : hub_error_set(error, HUB_ESYNTAX, 0, "event: %s", hub_status_text(err));
}

hub_status_t hub__wire_read_plain(hub_str_t bytes, char event[HUB__WIRE_EVENT_BYTES_MAX],
                                  hub__wire_t *ret_wire, hub_error_t *error)
{
    hub_json_cursor_t cursor;
    hub_json_value_t key, value;
    hub_status_t err = hub_json_open(&cursor, bytes, HUB_JSON_OBJECT, HUB_JSON_DEPTH_MAX + 1);

    *ret_wire = (hub__wire_t){.kind = HUB__WIRE_MESSAGE, .payload = HUB_JSON("{}")};
    if (err == HUB_OK)
        err = hub_json_next(&cursor, &key, &value);
    for (; err == HUB_OK; err = hub_json_next(&cursor, &key, &value)) {
        if (hub_str_equals(key.raw, HUB_STR("\"payload\"")))
            ret_wire->payload = hub_json(value.raw);
        else if (hub_str_equals(key.raw, HUB_STR("\"event\"")) &&
                 read_event(&value, event, &ret_wire->event, error) != HUB_OK)
            return HUB_ESYNTAX;
    }
    if (err != HUB_ENOTFOUND)
        return hub_error_set(error, HUB_ESYNTAX, cursor.offset, "JSON, offset %zu: %s",
                             cursor.offset, hub_status_text(err));
    if (ret_wire->event.base == NULL)
        return hub_error_set(error, HUB_ESYNTAX, 0, "no event");
    ret_wire->options.payload_is_valid = true;
    return HUB_OK;
}
