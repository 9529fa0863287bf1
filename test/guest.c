/* SPDX-License-Identifier: MIT */
/* One client of the stress test. It knows from the replies alone what it is: whatever comes is held
 * against what was asked for, and against the ledger. */
#define _GNU_SOURCE 1
#include "test/guest.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

const char *const crowd_events[LEDGER_KINDS] = {"shout", "others", "publish", "emit"};

uint64_t crowd_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void *must(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

/* splitmix64 */
uint32_t crowd_draw(crowd_t *crowd, uint32_t bound)
{
    uint64_t z = crowd->random += 0x9e3779b97f4a7c15U;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return (uint32_t)((z ^ (z >> 31)) >> 32) % bound;
}

#define REFUTE(crowd, client, ...) refute((crowd), (client), __FILE__, __LINE__, __VA_ARGS__)

_Noreturn static void refute(const crowd_t *crowd, const guest_t *client, const char *file,
                             int line, const char *format, ...) HUB_PRINTF(5, 6);

_Noreturn static void refute(const crowd_t *crowd, const guest_t *client, const char *file,
                             int line, const char *format, ...)
{
    char text[400];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    ledger_fail(crowd->options.ledger, "client %u (%s, publisher %u): %s (%s:%d)", client->slot,
                client->phoenix ? "2.0.0" : "native", client->self, text, file, line);
}

static const char *name_of(const crowd_t *crowd, const place_t *place)
{
    return crowd->options.topics[place->hearing.topic].name;
}

/* ---- bytes out ---- */

void guest_watch(crowd_t *crowd, guest_t *client, int how)
{
    struct epoll_event event = {.data.ptr = client};

    event.events = (client->resume_ms == 0 ? (uint32_t)EPOLLIN : 0) |
                   (client->wants_out ? (uint32_t)EPOLLOUT : 0);
    if (epoll_ctl(crowd->epoll_fd, how, client->fd, &event) != 0)
        REFUTE(crowd, client, "epoll: %s", strerror(errno));
}

static char *reserve(char **bytes, size_t len, size_t *capacity, size_t more)
{
    if (len + more > *capacity) {
        *capacity = (len + more) * 2;
        *bytes = must(realloc(*bytes, *capacity));
    }
    return *bytes + len;
}

void guest_append(guest_t *client, const void *bytes, size_t len)
{
    memcpy(reserve(&client->out, client->out_len, &client->out_capacity, len), bytes, len);
    client->out_len += len;
}

static void append_frame(crowd_t *crowd, guest_t *client, unsigned first, const char *payload,
                         size_t len)
{
    uint32_t mask = crowd_draw(crowd, UINT32_MAX);
    unsigned char head[8] = {(unsigned char)first};
    size_t head_len = 2;
    char *at;

    head[1] = (unsigned char)(0x80U | (len < 126 ? len : 126));
    if (len >= 126) {
        head[2] = (unsigned char)(len >> 8);
        head[3] = (unsigned char)len;
        head_len = 4;
    }
    memcpy(head + head_len, &mask, 4);
    guest_append(client, head, head_len + 4);
    at = reserve(&client->out, client->out_len, &client->out_capacity, len);
    for (size_t i = 0; i != len; i++)
        at[i] = (char)(payload[i] ^ ((const char *)&mask)[i % 4]);
    client->out_len += len;
}

/* What does not go out now goes out later; an error shows when reading. */
void guest_flush(crowd_t *crowd, guest_t *client)
{
    size_t sent = 0;
    bool wanted = client->wants_out;

    while (sent != client->out_len) {
        ssize_t wrote = send(client->fd, client->out + sent, client->out_len - sent, MSG_NOSIGNAL);

        if (wrote <= 0)
            break;
        sent += (size_t)wrote;
    }
    client->out_len -= sent;
    if (client->out_len != 0)
        memmove(client->out, client->out + sent, client->out_len);
    client->wants_out = client->out_len != 0;
    if (client->wants_out != wanted)
        guest_watch(crowd, client, EPOLL_CTL_MOD);
}

/* ---- coming and going ---- */

static void make_optional(crowd_t *crowd, request_t *request)
{
    crowd->asked -= !request->optional;
    request->optional = true;
}

/* The connection ends: they may still be answered. */
void guest_expect_no_replies(crowd_t *crowd, guest_t *client)
{
    for (size_t i = 0; i != client->request_count; i++)
        make_optional(crowd, &client->requests[i]);
}

static void gone(crowd_t *crowd, guest_t *client)
{
    guest_expect_no_replies(crowd, client);
    client->request_count = 0;
    close(client->fd);
    client->stage = GONE;
    client->resume_ms = 0;
    for (size_t i = 0; i != GUEST_TOPICS_MAX; i++) {
        hearing_dispose(&client->places[i].hearing);
        client->places[i] = (place_t){0};
    }
}

void guest_reset(crowd_t *crowd, guest_t *client)
{
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};

    crowd->counts.died++;
    setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    gone(crowd, client);
}

static void begin(crowd_t *crowd, guest_t *client)
{
    const crowd_options_t *options = &crowd->options;

    client->stage = CONNECTING;
    client->phoenix = crowd_draw(crowd, 3) == 0;
    client->slow = client->slot < options->slow_clients;
    client->doomed = client->got_close = client->wants_out = false;
    client->resume_ms = 0;
    client->self = ledger_publisher(options->ledger);
    client->next_ref = 1;
    client->in_len = client->out_len = 0;
    for (uint32_t i = 0; i != options->topic_count; i++) {
        hearing_t *hearing = &client->places[i].hearing;

        hearing->self = client->self;
        hearing->topic = i;
        hearing->lossy = options->topics[i].lossy;
        snprintf(hearing->who, sizeof(hearing->who), "client %u (%s, publisher %u) on %s",
                 client->slot, client->phoenix ? "2.0.0" : "native", client->self,
                 options->topics[i].name);
    }
}

void guest_connect(crowd_t *crowd, guest_t *client)
{
    int one = 1;
    char request[512];
    int len;

    begin(crowd, client);
    crowd->counts.connects++;
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (crowd->options.sources != 0) {
        struct sockaddr_in source = {.sin_family = AF_INET};

        source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + client->slot % crowd->options.sources);
        setsockopt(client->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
        if (bind(client->fd, (struct sockaddr *)&source, sizeof(source)) != 0)
            REFUTE(crowd, client, "bind: %s", strerror(errno));
    }
    if (connect(client->fd, (struct sockaddr *)&crowd->address, sizeof(crowd->address)) != 0 &&
        errno != EINPROGRESS)
        REFUTE(crowd, client, "connect: %s", strerror(errno));
    len = snprintf(request, sizeof(request),
                   "GET %s/websocket?client=%u%s HTTP/1.1\r\nHost: localhost\r\n"
                   "Connection: Upgrade\r\nUpgrade: websocket\r\n"
                   "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                   "Sec-WebSocket-Version: 13\r\n\r\n",
                   client->slow ? "/slow" : "/socket", client->slot,
                   client->phoenix ? "&vsn=2.0.0" : "");
    guest_append(client, request, (size_t)len);
    client->wants_out = true;
    guest_watch(crowd, client, EPOLL_CTL_ADD);
}

void guest_close(crowd_t *crowd, guest_t *client, unsigned code)
{
    char payload[2] = {(char)(code >> 8), (char)code};

    append_frame(crowd, client, 0x88, payload, 2);
    client->stage = LEAVING;
}

/* ---- requests ---- */

request_t *guest_ask(crowd_t *crowd, guest_t *client, what_t what, uint32_t topic,
                     const char *event, const char *payload)
{
    const char *name =
        what == HEARTBEAT ? client->phoenix ? "phoenix" : "hub" : crowd->options.topics[topic].name;
    const char *prefix = client->phoenix && (what == JOIN || what == LEAVE) ? "phx_" : "";
    uint32_t ref = client->next_ref++, join_ref;
    char text[1024];
    request_t *request;
    int len;

    if (what == JOIN)
        client->places[topic].join_ref = ref;
    join_ref = client->places[topic].join_ref;
    if (client->phoenix)
        len = snprintf(text, sizeof(text), "[\"%u\",\"%u\",\"%s\",\"%s%s\",%s]", join_ref, ref,
                       name, prefix, event, payload);
    else
        len = snprintf(text, sizeof(text),
                       "{\"topic\":\"%s\",\"event\":\"%s\",\"payload\":%s,\"ref\":\"%u\"}", name,
                       event, payload, ref);
    append_frame(crowd, client, 0x81, text, (size_t)len);
    if (client->request_count == client->request_capacity) {
        client->request_capacity = client->request_capacity == 0 ? 8 : client->request_capacity * 2;
        client->requests =
            must(realloc(client->requests, client->request_capacity * sizeof(request_t)));
    }
    request = &client->requests[client->request_count++];
    *request = (request_t){.ref = ref, .what = (uint8_t)what, .topic = (uint8_t)topic};
    crowd->asked++;
    return request;
}

void guest_join(crowd_t *crowd, guest_t *client, uint32_t topic)
{
    uint32_t newest = ledger_newest(crowd->options.ledger, client->self, topic, false);

    guest_ask(crowd, client, JOIN, topic, "join", "{}")->own_newest = newest;
    client->places[topic].wanted = crowd->options.topics[topic].door != CROWD_CLOSED;
}

/* A reply from another thread reaches nobody once the member is gone. */
void guest_end_membership(crowd_t *crowd, guest_t *client, uint32_t topic)
{
    client->places[topic].wanted = false;
    for (size_t i = 0; i != client->request_count; i++)
        if (client->requests[i].what == LATER && client->requests[i].topic == topic)
            make_optional(crowd, &client->requests[i]);
}

void guest_leave(crowd_t *crowd, guest_t *client, uint32_t topic)
{
    uint32_t newest = ledger_newest(crowd->options.ledger, client->self, topic, true);

    guest_end_membership(crowd, client, topic);
    guest_ask(crowd, client, LEAVE, topic, "leave", "{}")->own_newest = newest;
}

size_t crowd_payload(char *text, uint32_t publisher, uint32_t topic, uint32_t number, size_t bytes)
{
    int len = snprintf(text, CROWD_PAYLOAD, "{\"by\":%u,\"on\":%u,\"number\":%u,\"pad\":\"",
                       publisher, topic, number);

    while ((size_t)len + 2 < bytes)
        text[len++] = 'x';
    memcpy(text + len, "\"}", 3);
    return (size_t)len + 2;
}

void guest_say(crowd_t *crowd, guest_t *client, uint32_t topic)
{
    ledger_kind_t kind = (ledger_kind_t)crowd_draw(crowd, LEDGER_KINDS);
    uint32_t number = ledger_intend(crowd->options.ledger, client->self, topic, kind);
    char payload[512];

    crowd_payload(payload, client->self, topic, number, crowd_draw(crowd, 4) == 0 ? 400 : 0);
    guest_ask(crowd, client, SAY, topic, crowd_events[kind], payload)->number = number;
    crowd->counts.said++;
}

/* ---- what comes back ---- */

typedef struct envelope {
    uint32_t ref; /* 0: none */
    uint32_t join_ref;
    const char *topic, *event;
    const json_t *payload;
} envelope_t;

static uint32_t number_of(const json_t *ref)
{
    const char *text = json_string_value(ref);

    return text == NULL ? 0 : (uint32_t)strtoul(text, NULL, 10);
}

static bool read_envelope(const guest_t *client, const json_t *json, envelope_t *ret_envelope)
{
    envelope_t *at = ret_envelope;
    const char *event;

    if (client->phoenix) {
        *at = (envelope_t){.join_ref = number_of(json_array_get(json, 0)),
                           .ref = number_of(json_array_get(json, 1)),
                           .topic = json_string_value(json_array_get(json, 2)),
                           .payload = json_array_get(json, 4)};
        event = json_string_value(json_array_get(json, 3));
        at->event = event != NULL && strncmp(event, "phx_", 4) == 0 ? event + 4 : event;
    } else {
        *at = (envelope_t){.join_ref = number_of(json_object_get(json, "join_ref")),
                           .ref = number_of(json_object_get(json, "ref")),
                           .topic = json_string_value(json_object_get(json, "topic")),
                           .event = json_string_value(json_object_get(json, "event")),
                           .payload = json_object_get(json, "payload")};
    }
    return at->topic != NULL && at->event != NULL && at->payload != NULL;
}

/* A join was refused: what was asked behind it may have been answered or not. */
static void join_refused(crowd_t *crowd, guest_t *client, uint32_t topic)
{
    bool asked_again = false;

    for (size_t i = 0; i != client->request_count; i++) {
        request_t *request = &client->requests[i];

        if (request->topic != topic || request->what == HEARTBEAT)
            continue;
        asked_again = asked_again || request->what == JOIN;
        if (!asked_again && request->what != LEAVE)
            make_optional(crowd, request);
    }
    if (!asked_again)
        client->places[topic].wanted = false;
    crowd->counts.refused_joins++;
}

static void on_join_reply(crowd_t *crowd, guest_t *client, const request_t *request, bool ok)
{
    place_t *place = &client->places[request->topic];
    crowd_door_t door = crowd->options.topics[request->topic].door;

    if (place->in || (ok && door == CROWD_CLOSED) || (!ok && door == CROWD_OPEN))
        REFUTE(crowd, client, "the join %u of %s is answered %s%s", request->ref,
               name_of(crowd, place), ok ? "ok" : "error", place->in ? " once more" : "");
    if (!ok) {
        join_refused(crowd, client, request->topic);
        return;
    }
    place->in = true;
    crowd->counts.joins++;
    hearing_begin(crowd->options.ledger, &place->hearing, request->own_newest);
}

static void on_leave_reply(crowd_t *crowd, guest_t *client, const request_t *request, bool ok)
{
    place_t *place = &client->places[request->topic];

    if (place->in && !ok)
        REFUTE(crowd, client, "it may not leave %s", name_of(crowd, place));
    if (place->in)
        hearing_end(crowd->options.ledger, &place->hearing, request->own_newest);
    place->in = false;
    place->may_close += client->phoenix;
    crowd->counts.leaves++;
}

/* Whether it is answered after those before it on its topic. */
static bool in_line(const request_t *request)
{
    return request->what != LATER && request->what != HEARTBEAT;
}

/* Takes the request out of the list. */
static request_t answered(crowd_t *crowd, guest_t *client, const envelope_t *envelope)
{
    size_t at = 0;
    request_t request;

    while (at != client->request_count && client->requests[at].ref != envelope->ref)
        at++;
    if (at == client->request_count)
        REFUTE(crowd, client, "a reply to %u on %s, which was not asked or has been answered",
               envelope->ref, envelope->topic);
    request = client->requests[at];
    for (size_t i = 0; i != at && in_line(&request); i++) {
        const request_t *before = &client->requests[i];

        if (before->topic == request.topic && in_line(before) && !before->optional)
            REFUTE(crowd, client, "the reply to %u on %s comes before that to %u", request.ref,
                   envelope->topic, before->ref);
    }
    crowd->asked -= !request.optional;
    client->request_count--;
    memmove(&client->requests[at], &client->requests[at + 1],
            (client->request_count - at) * sizeof(request_t));
    return request;
}

static void on_reply(crowd_t *crowd, guest_t *client, const envelope_t *envelope)
{
    request_t request = answered(crowd, client, envelope);
    place_t *place = &client->places[request.topic];
    const char *status = json_string_value(json_object_get(envelope->payload, "status"));
    bool ok = status != NULL && strcmp(status, "ok") == 0;

    if (request.what != HEARTBEAT &&
        strcmp(envelope->topic, crowd->options.topics[request.topic].name) != 0)
        REFUTE(crowd, client, "the reply to %u is about %s", request.ref, envelope->topic);
    if (request.what == JOIN) {
        on_join_reply(crowd, client, &request, ok);
    } else if (request.what == LEAVE) {
        on_leave_reply(crowd, client, &request, ok);
    } else if (ok != place->in && request.what != HEARTBEAT) {
        char *text = json_dumps(envelope->payload, 0);

        REFUTE(crowd, client, "%u on %s is answered %s", request.ref, name_of(crowd, place), text);
    } else if (request.what == QUIT && ok) {
        place->quits = true;
    } else if (request.what == SAY && ok && crowd->options.remote) {
        ledger_accept(crowd->options.ledger, client->self, request.topic, request.number);
    }
}

static void on_close_event(crowd_t *crowd, guest_t *client, place_t *place)
{
    if (place->quits && place->in) {
        place->quits = place->in = false;
        return;
    }
    if (place->may_close-- == 0)
        REFUTE(crowd, client, "%s was closed", name_of(crowd, place));
}

static void on_gap(crowd_t *crowd, guest_t *client, place_t *place, const json_t *payload)
{
    json_int_t missed = json_integer_value(json_object_get(payload, "missed"));

    if (!(crowd->options.gaps || place->hearing.lossy) || missed <= 0)
        REFUTE(crowd, client, "%s: a gap of %lld", name_of(crowd, place), (long long)missed);
    place->hearing.missed += (uint64_t)missed;
    crowd->counts.gap_notices++;
}

static void on_broadcast(crowd_t *crowd, guest_t *client, uint32_t topic,
                         const envelope_t *envelope)
{
    place_t *place = &client->places[topic];
    json_int_t on = json_integer_value(json_object_get(envelope->payload, "on"));

    if (!place->in)
        REFUTE(crowd, client, "%s: %s comes though it is not joined", name_of(crowd, place),
               envelope->event);
    if (envelope->ref != 0)
        REFUTE(crowd, client, "%s: %s comes with a ref", name_of(crowd, place), envelope->event);
    if (strcmp(envelope->event, "greeting") == 0 || strncmp(envelope->event, "presence_", 9) == 0)
        return;
    if (strcmp(envelope->event, "gap") == 0) {
        on_gap(crowd, client, place, envelope->payload);
        return;
    }
    if (on != (json_int_t)topic)
        REFUTE(crowd, client, "%s: a message of topic %lld", name_of(crowd, place), (long long)on);
    crowd->counts.heard++;
    hearing_take(crowd->options.ledger, &place->hearing,
                 (uint32_t)json_integer_value(json_object_get(envelope->payload, "by")),
                 (uint32_t)json_integer_value(json_object_get(envelope->payload, "number")));
}

static void on_text(crowd_t *crowd, guest_t *client, const char *text, size_t len)
{
    json_t *json = json_loadb(text, len, 0, NULL);
    envelope_t envelope = {0};
    uint32_t topic = 0;

    if (json == NULL || !read_envelope(client, json, &envelope))
        REFUTE(crowd, client, "no envelope: %.*s", (int)len, text);
    while (topic != crowd->options.topic_count &&
           strcmp(crowd->options.topics[topic].name, envelope.topic) != 0)
        topic++;
    if (strcmp(envelope.event, "reply") == 0)
        on_reply(crowd, client, &envelope);
    else if (topic == crowd->options.topic_count || strcmp(envelope.event, "error") == 0)
        REFUTE(crowd, client, "it should not have come: %.*s", (int)len, text);
    else if (strcmp(envelope.event, "close") == 0)
        on_close_event(crowd, client, &client->places[topic]);
    else
        on_broadcast(crowd, client, topic, &envelope);
    json_decref(json);
}

static void on_close_frame(crowd_t *crowd, guest_t *client, const unsigned char *payload,
                           size_t len)
{
    unsigned code = len < 2 ? 1005 : payload[0] * 256U + payload[1];
    uint32_t identity = client->slot % crowd->options.identities;
    bool expected = client->stage == LEAVING && code == 1000;

    if (code == 1001 && crowd->kicked[identity]) {
        expected = true;
        crowd->counts.kicked++;
    } else if (code == 4008 && client->slow) {
        expected = true;
        crowd->counts.slow_closes++;
    } else if (code == 1012 && crowd->stopping) {
        expected = true;
        crowd->counts.shutdowns++;
    }
    if (!expected)
        REFUTE(crowd, client, "closed with %u", code);
    client->got_close = true;
    if (client->stage == OPEN)
        guest_close(crowd, client, code);
    client->stage = LEAVING;
    guest_expect_no_replies(crowd, client);
    guest_flush(crowd, client);
}

/* Returns the length of the first frame, 0 while it is not whole. */
static size_t on_bytes(crowd_t *crowd, guest_t *client, const unsigned char *bytes, size_t len)
{
    size_t payload_len, head = 2;

    if (len < 2)
        return 0;
    payload_len = bytes[1];
    if (payload_len > 126)
        REFUTE(crowd, client, "a frame of length %zu", payload_len);
    if (payload_len == 126) {
        head = 4;
        if (len < 4)
            return 0;
        payload_len = bytes[2] * 256U + bytes[3];
    }
    if (len < head + payload_len)
        return 0;
    if (client->got_close)
        REFUTE(crowd, client, "a frame behind the close frame");
    if (client->in_fragments && bytes[0] != 0x80 && bytes[0] != 0x00 && (bytes[0] & 0x08) == 0)
        REFUTE(crowd, client, "a frame %02x among fragments", bytes[0]);
    if (bytes[0] == 0x81)
        on_text(crowd, client, (const char *)bytes + head, payload_len);
    else if (bytes[0] == 0x01) /* a state of presence, which is none of its matters */
        client->in_fragments = true;
    else if (client->in_fragments && (bytes[0] == 0x00 || bytes[0] == 0x80))
        client->in_fragments = bytes[0] == 0x00;
    else if (bytes[0] == 0x88)
        on_close_frame(crowd, client, bytes + head, payload_len);
    else if (bytes[0] != 0x89)
        REFUTE(crowd, client, "a frame that begins with %02x", bytes[0]);
    return head + payload_len;
}

/* Returns the length of the answer to the handshake, 0 while it is not whole. */
static size_t on_head(crowd_t *crowd, guest_t *client)
{
    const char *end = memmem(client->in, client->in_len, "\r\n\r\n", 4);

    if (end == NULL)
        return 0;
    if (strncmp(client->in, "HTTP/1.1 101 ", 13) != 0)
        REFUTE(crowd, client, "the handshake: %.*s", 60, client->in);
    client->stage = OPEN;
    return (size_t)(end - client->in) + 4;
}

static void parse(crowd_t *crowd, guest_t *client)
{
    size_t taken = 0, len;

    if (client->stage == CONNECTING)
        taken = on_head(crowd, client);
    while (client->stage != CONNECTING &&
           (len = on_bytes(crowd, client, (const unsigned char *)client->in + taken,
                           client->in_len - taken)) != 0)
        taken += len;
    client->in_len -= taken;
    if (client->in_len != 0 && taken != 0)
        memmove(client->in, client->in + taken, client->in_len);
}

/* The server may cut a client that does not even read its close frame. */
static void on_end(crowd_t *crowd, guest_t *client, const char *how)
{
    bool expected = client->stage == FINISHED || client->got_close || client->slow;

    if (!expected)
        REFUTE(crowd, client, "%s without a close frame", how);
    gone(crowd, client);
}

void guest_read(crowd_t *crowd, guest_t *client)
{
    ssize_t got = GUEST_READ_BYTES;

    while (got == GUEST_READ_BYTES) {
        got = recv(client->fd, crowd->chunk, GUEST_READ_BYTES, 0);
        if (got <= 0)
            break;
        memcpy(reserve(&client->in, client->in_len, &client->in_capacity, (size_t)got),
               crowd->chunk, (size_t)got);
        client->in_len += (size_t)got;
        parse(crowd, client);
    }
    if (got == 0)
        on_end(crowd, client, "the end");
    else if (got < 0 && errno != EAGAIN)
        on_end(crowd, client, strerror(errno));
}
