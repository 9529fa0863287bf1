/* SPDX-License-Identifier: MIT */
/* MQTT 3.1.1 over websocket, QoS 0: packets in binary frames. Their lengths stand in binary before
 * them, which is more than a template can say. */
#include <stdio.h>
#include <string.h>

#include "bench/load/speaker.h"
#include "bench/load/ws.h"

#define CONNECT 0x10
#define PUBLISH 0x30
#define SUBSCRIBE 0x82
#define UNSUBSCRIBE 0xa2

/* Of a packet: at most four bytes with seven bits each, the lowest first. */
static size_t split(const char *bytes, size_t len)
{
    size_t body = 0, at = 1;

    for (;; ++at) {
        if (at > 4)
            return STREAM_INVALID;
        if (at >= len)
            return STREAM_MORE;
        body |= (size_t)((unsigned char)bytes[at] & 0x7f) << (7 * (at - 1));
        if (((unsigned char)bytes[at] & 0x80) == 0)
            break;
    }
    return len - at - 1 < body ? STREAM_MORE : at + 1 + body;
}

static void put_byte(buffer_t *out, unsigned value)
{
    char byte = (char)value;

    buffer_append(out, &byte, 1);
}

static void put_head(buffer_t *out, unsigned type, size_t len)
{
    put_byte(out, type);
    do {
        put_byte(out, (unsigned)(len & 0x7f) | (len > 0x7f ? 0x80u : 0));
        len >>= 7;
    } while (len != 0);
}

static void put_text(buffer_t *out, const char *text, size_t len)
{
    put_byte(out, (unsigned)(len >> 8));
    put_byte(out, (unsigned)(len & 0xff));
    buffer_append(out, text, len);
}

/* Clean session, no keep-alive. */
static void put_connect(buffer_t *out, uint32_t conn)
{
    static const char variable[] = {0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0};
    char id[24]; /* a server need not take more than 23 characters */
    int len = snprintf(id, sizeof(id), "load%u", conn);

    put_head(out, CONNECT, sizeof(variable) + 2 + (size_t)len);
    buffer_append(out, variable, sizeof(variable));
    put_text(out, id, (size_t)len);
}

/* The packet's number is 1 for a join and 2 for a leave: a connection has one of each under way. */
static void put_subscribe(buffer_t *out, bool leave, const saying_t *saying)
{
    put_head(out, leave ? UNSUBSCRIBE : SUBSCRIBE, 2 + 2 + saying->topic_len + (leave ? 0 : 1));
    put_byte(out, 0);
    put_byte(out, leave ? 2 : 1);
    put_text(out, saying->topic, saying->topic_len);
    if (!leave)
        put_byte(out, 0);
}

static void pattern(const speaker_t *speaker, const char *topic, size_t topic_len,
                    buffer_t *ret_prefix)
{
    put_head(ret_prefix, PUBLISH, 2 + topic_len + speaker->payload_bytes);
    put_text(ret_prefix, topic, topic_len);
}

static void put_publish(const speaker_t *speaker, const saying_t *saying, buffer_t *out)
{
    pattern(speaker, saying->topic, saying->topic_len, out);
    payload_write(buffer_reserve(out, speaker->data_bytes), speaker->data_bytes, &saying->payload);
    out->len += speaker->data_bytes;
}

static void say(const speaker_t *speaker, say_t what, const saying_t *saying, buffer_t *out)
{
    static buffer_t packet;

    packet.len = 0;
    if (what == SAY_HELLO)
        put_connect(&packet, saying->conn);
    else if (what == SAY_JOIN || what == SAY_LEAVE)
        put_subscribe(&packet, what == SAY_LEAVE, saying);
    else
        put_publish(speaker, saying, &packet);
    ws_put_frame(out, WS_BINARY, packet.bytes, packet.len);
}

const stream_t STREAM_MQTT = {.name = "mqtt", .split = split, .say = say, .pattern = pattern};
