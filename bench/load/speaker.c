/* SPDX-License-Identifier: MIT */
/* Servers are told apart here and nowhere else: everything behind this file works on topics and
 * payloads. The templates below are also the examples for those who write their own. */
#define _GNU_SOURCE
#include "bench/load/speaker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/load/ws.h"
#include "bench/options.h"

static const char *const NAMES[] = SPEAKERS;

static const char *const TEXTS[SPEAKER_LAST + 1] = {
    /* native */
    "path = /socket/websocket\n"
    "payload = {\"data\":\"{data}\"}\n"
    "join = {\"topic\":\"{topic}\",\"event\":\"join\",\"payload\":{},\"ref\":\"1\"}\n"
    "join_answers = 1\n"
    "join_ok = \"status\":\"ok\"\n"
    "leave = {\"topic\":\"{topic}\",\"event\":\"leave\",\"payload\":{},\"ref\":\"2\"}\n"
    "leave_answers = 1\n"
    "leave_ok = \"status\":\"ok\"\n"
    "publisher_joins = yes\n"
    "publish = {\"topic\":\"{topic}\",\"event\":\"msg\",\"payload\":{payload}}\n"
    "delivery = {\"topic\":\"{topic}\",\"event\":\"msg\",\"payload\":{payload}}\n"
    "echo = {\"topic\":\"{topic}\",\"event\":\"echo\",\"payload\":{payload},\"ref\":\"3\"}\n"
    "echo_delivery = {\"topic\":\"{topic}\",\"event\":\"reply\",\"payload\":{\"status\":\"ok\","
    "\"response\":{payload}},\"ref\":\"3\",\"join_ref\":\"1\"}\n",
    /* 1.0.0 */
    "path = /socket/websocket?vsn=1.0.0\n"
    "payload = {\"data\":\"{data}\"}\n"
    "join = {\"topic\":\"{topic}\",\"event\":\"phx_join\",\"payload\":{},\"ref\":\"1\"}\n"
    "join_answers = 1\n"
    "join_ok = \"status\":\"ok\"\n"
    "leave = {\"topic\":\"{topic}\",\"event\":\"phx_leave\",\"payload\":{},\"ref\":\"2\"}\n"
    "leave_answers = 2\n"
    "publisher_joins = yes\n"
    "publish = {\"topic\":\"{topic}\",\"event\":\"msg\",\"payload\":{payload},\"ref\":null}\n"
    "delivery = {\"topic\":\"{topic}\",\"event\":\"msg\",\"payload\":{payload},\"ref\":null}\n"
    "echo = {\"topic\":\"{topic}\",\"event\":\"echo\",\"payload\":{payload},\"ref\":\"3\"}\n"
    "echo_delivery = {\"topic\":\"{topic}\",\"event\":\"phx_reply\",\"payload\":{\"status\":\"ok\","
    "\"response\":{payload}},\"ref\":\"3\"}\n",
    /* 2.0.0 */
    "path = /socket/websocket?vsn=2.0.0\n"
    "payload = {\"data\":\"{data}\"}\n"
    "join = [\"1\",\"1\",\"{topic}\",\"phx_join\",{}]\n"
    "join_answers = 1\n"
    "join_ok = \"status\":\"ok\"\n"
    "leave = [\"1\",\"2\",\"{topic}\",\"phx_leave\",{}]\n"
    "leave_answers = 2\n"
    "publisher_joins = yes\n"
    "publish = [\"1\",null,\"{topic}\",\"msg\",{payload}]\n"
    "delivery = [null,null,\"{topic}\",\"msg\",{payload}]\n"
    "echo = [\"1\",\"3\",\"{topic}\",\"echo\",{payload}]\n"
    "echo_delivery = [\"1\",\"3\",\"{topic}\",\"phx_reply\",{\"status\":\"ok\",\"response\":"
    "{payload}}]\n",
    /* text */
    "path = /\n"
    "join = join {topic}\n"
    "join_answers = 1\n"
    "join_ok = joined\\s\n"
    "leave = leave {topic}\n"
    "leave_answers = 1\n"
    "leave_ok = left\\s\n"
    "publish = pub {topic} {payload}\n"
    "delivery = {topic} {payload}\n"
    "echo = echo {topic} {payload}\n",
    /* socket.io */
    "path = /socket.io/?EIO=4&transport=websocket\n"
    "payload = {\"data\":\"{data}\"}\n"
    "greetings = 1\n"
    "hello = 40\n"
    "hello_answers = 1\n"
    "hello_ok = 40{\n"
    "join = 42[\"join\",\"{topic}\"]\n"
    "join_answers = 1\n"
    "join_ok = 42[\"joined\",\n"
    "leave = 42[\"leave\",\"{topic}\"]\n"
    "leave_answers = 1\n"
    "leave_ok = 42[\"left\",\n"
    "publish = 42[\"pub\",\"{topic}\",{payload}]\n"
    "delivery = 42[\"msg\",\"{topic}\",{payload}]\n"
    "echo = 42[\"echo\",\"{topic}\",{payload}]\n"
    "ping = 2\n"
    "pong = 3\n",
    /* nchan */
    "path = /sub/{topic}\n"
    "publish_path = /pub/{topic}\n"
    "publish = {payload}\n"
    "publish_answers = any\n"
    "delivery = {payload}\n",
    /* nats */
    "path = /\n"
    "binary = yes\n"
    "greetings = 1\n"
    "hello = CONNECT {\"verbose\":false,\"pedantic\":false,\"protocol\":1,\"name\":\"load {conn}\","
    "\"lang\":\"c\",\"version\":\"1\"}\\r\\nPING\\r\\n\n"
    "hello_answers = 1\n"
    "hello_ok = PONG\n"
    "join = SUB {topic} 1\\r\\nPING\\r\\n\n"
    "join_answers = 1\n"
    "join_ok = PONG\n"
    "barrier = no\n"
    "leave = UNSUB 1\\r\\nPING\\r\\n\n"
    "leave_answers = 1\n"
    "leave_ok = PONG\n"
    "publish = PUB {topic} {payload_bytes}\\r\\n{payload}\\r\\n\n"
    "delivery = MSG {topic} 1 {payload_bytes}\\r\\n{payload}\\r\\n\n"
    "echo = PUB {topic} {payload_bytes}\\r\\n{payload}\\r\\n\n"
    "ping = PING\\r\\n\n"
    "pong = PONG\\r\\n\n"
    "ignore = INFO\\s\n",
    /* mqtt: its frames are made in mqtt.c, the texts only say that there are such */
    "path = /mqtt\n"
    "subprotocol = mqtt\n"
    "binary = yes\n"
    "hello = CONNECT\n"
    "hello_answers = 1\n"
    "hello_ok = \\x20\\x02\\x00\\x00\n"
    "join = SUBSCRIBE {topic}\n"
    "join_answers = 1\n"
    "join_ok = \\x90\\x03\\x00\\x01\\x00\n"
    "barrier = no\n"
    "leave = UNSUBSCRIBE {topic}\n"
    "leave_answers = 1\n"
    "leave_ok = \\xb0\\x02\\x00\\x02\n"
    "publish = PUBLISH {topic} {payload}\n"
    "echo = PUBLISH {topic} {payload}\n"};

const char *speaker_text(unsigned long index)
{
    return TEXTS[index];
}

/* ---- texts ---- */

/* What the payload's own text has before or behind its data. */
static const part_t *payload_part(const speaker_t *speaker, bool behind)
{
    const text_t *text = &speaker->template.payload;
    bool seen = false;

    for (size_t i = 0; i != text->count; ++i) {
        if (text->parts[i].kind == PART_PAYLOAD)
            seen = true;
        else if (seen == behind)
            return &text->parts[i];
    }
    return NULL;
}

static void put_around(const speaker_t *speaker, bool behind, buffer_t *out)
{
    const part_t *part = payload_part(speaker, behind);

    if (part != NULL)
        buffer_append(out, part->bytes, part->len);
}

static void put_number(buffer_t *out, size_t number)
{
    char digits[24];

    buffer_append(out, digits, (size_t)snprintf(digits, sizeof(digits), "%zu", number));
}

static void put_payload(const speaker_t *speaker, const payload_t *payload, buffer_t *out)
{
    put_around(speaker, false, out);
    payload_write(buffer_reserve(out, speaker->data_bytes), speaker->data_bytes, payload);
    out->len += speaker->data_bytes;
    put_around(speaker, true, out);
}

static void put_part(const speaker_t *speaker, const part_t *part, const saying_t *saying,
                     buffer_t *out)
{
    switch (part->kind) {
    case PART_LITERAL:
        buffer_append(out, part->bytes, part->len);
        break;
    case PART_TOPIC:
        buffer_append(out, saying->topic, saying->topic_len);
        break;
    case PART_PAYLOAD:
        put_payload(speaker, &saying->payload, out);
        break;
    case PART_PAYLOAD_BYTES:
        put_number(out, speaker->payload_bytes);
        break;
    case PART_REF:
        put_number(out, saying->ref);
        break;
    case PART_CONN:
        put_number(out, saying->conn);
        break;
    }
}

void speaker_expand(const speaker_t *speaker, const text_t *text, const saying_t *saying,
                    buffer_t *out)
{
    for (size_t i = 0; i != text->count; ++i)
        put_part(speaker, &text->parts[i], saying, out);
}

/* ---- saying ---- */

static const text_t *text_of(const speaker_t *speaker, say_t say)
{
    const template_t *template = &speaker->template;
    const text_t *texts[] = {[SAY_HELLO] = &template->hello,
                             [SAY_JOIN] = &template->join,
                             [SAY_LEAVE] = &template->leave,
                             [SAY_PUBLISH] = &template->publish,
                             [SAY_ECHO] = &template->echo};

    return texts[say];
}

/* The body is made in a place of its own first, since its length stands before it. */
void speaker_say(const speaker_t *speaker, say_t say, const saying_t *saying, buffer_t *out)
{
    static buffer_t body;

    if (speaker->stream != NULL && speaker->stream->say != NULL) {
        speaker->stream->say(speaker, say, saying, out);
        return;
    }
    body.len = 0;
    speaker_expand(speaker, text_of(speaker, say), saying, &body);
    ws_put_frame(out, speaker->template.binary ? WS_BINARY : WS_TEXT, body.bytes, body.len);
}

bool speaker_pattern(const speaker_t *speaker, say_t say, const char *topic, size_t topic_len,
                     buffer_t *ret_prefix, buffer_t *ret_suffix)
{
    const template_t *template = &speaker->template;
    const text_t *text = say == SAY_ECHO && text_is_set(&template->echo_delivery)
                             ? &template->echo_delivery
                             : &template->delivery;
    const saying_t saying = {.topic = topic, .topic_len = topic_len};
    buffer_t *side = ret_prefix;

    if (speaker->stream != NULL && speaker->stream->pattern != NULL) {
        speaker->stream->pattern(speaker, topic, topic_len, ret_prefix);
        return true;
    }
    if (!text_is_set(text))
        return false;
    for (size_t i = 0; i != text->count; ++i) {
        if (text->parts[i].kind != PART_PAYLOAD) {
            put_part(speaker, &text->parts[i], &saying, side);
            continue;
        }
        put_around(speaker, false, ret_prefix);
        put_around(speaker, true, ret_suffix);
        side = ret_suffix;
    }
    return true;
}

/* ---- start and end ---- */

static void measure_payload(speaker_t *speaker, size_t payload_bytes)
{
    const part_t *before = payload_part(speaker, false), *behind = payload_part(speaker, true);
    size_t around = (before != NULL ? before->len : 0) + (behind != NULL ? behind->len : 0);

    if (payload_bytes < around + PAYLOAD_HEADER)
        options_fail("--payload '%zu': %s needs %zu bytes at least", payload_bytes, speaker->name,
                     around + PAYLOAD_HEADER);
    speaker->payload_bytes = payload_bytes;
    speaker->data_bytes = payload_bytes - around;
    payload_prepare(speaker->data_bytes);
}

void speaker_open(speaker_t *ret_speaker, unsigned long index, const char *path,
                  size_t payload_bytes)
{
    static const stream_t *const streams[] = {&STREAM_NATS, &STREAM_MQTT};

    *ret_speaker = (speaker_t){.name = path != NULL ? path : NAMES[index]};
    if (path != NULL)
        template_read(&ret_speaker->template, path);
    else
        template_parse(&ret_speaker->template, NAMES[index], TEXTS[index]);
    for (size_t i = 0; path == NULL && i != sizeof(streams) / sizeof(*streams); ++i)
        if (strcmp(streams[i]->name, NAMES[index]) == 0)
            ret_speaker->stream = streams[i];
    measure_payload(ret_speaker, payload_bytes);
}

void speaker_close(speaker_t *speaker)
{
    template_dispose(&speaker->template);
}
