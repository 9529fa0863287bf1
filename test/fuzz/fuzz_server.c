/* SPDX-License-Identifier: MIT */
/* A whole server in one thread: h2o, a hub mounted on it, and clients over socket pairs. One, the
 * guest, sends what the input says, over a websocket, long poll or as plain bytes; another, the
 * witness, has joined the same topic and only listens.
 *
 * Oracles: what comes back over a websocket are frames that a server may send, by a plain reader's
 * judgement and jansson's, and none behind a close; whatever the guest does, the witness hears what
 * is published and gets its answers; what is published comes in order and once, also to a guest who
 * does not read for a while, with each policy for that; who was opened ends exactly once, as does
 * every member; in the end no connection, member, topic, byte of an outbox or descriptor is left,
 * and the memory of thousands of conversations is that of one (memory).
 *
 * Input: a byte for the format and for compression, one that seeds the cuts, then steps, see
 * step(). */
#define _GNU_SOURCE
#include "test/fuzz/fuzz.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#define ZLIB_CONST
#include <zlib.h>

#include "bus/log.h"
#include "hub/h2o.h"
#include "hub/internal.h"

#define TURNS_AT_THE_END 2000
#define STEPS_MAX 64
#define CONNS_MAX 128
#define MEMORY_MAX (8 << 20) /* what h2o keeps for later, and the tables that have grown */

/* What is published: numbers, so that what comes twice or in another order shows. */
#define TOPICS 4
static const char *const topics[TOPICS] = {"room:1", "new:1", "old:1", "latest:1"};

typedef struct client {
    int fd;
    hub__buffer_t got;
    size_t read; /* of it */
    bool upgraded, closed, deflates;
    bool quiet;          /* does not read */
    double last[TOPICS]; /* that it heard of each */
} client_t;

typedef struct host {
    h2o_globalconf_t config;
    h2o_context_t context;
    h2o_accept_ctx_t accept;
    hub_t *hub;
    hub_h2o_mount_t *mount;
    hub__worker_t *worker;
    hub_conn_id_t open[CONNS_MAX];
    size_t open_count;
    unsigned opened, ended, joined, left, given, freed;
    int64_t memory;
    int lowest_fd;
} host_t;

static host_t host;

typedef struct talk {
    client_t guest, witness, visitor; /* the last one for plain requests */
    unsigned format, cuts;
    unsigned published;
    bool deflates;   /* the guest offers it */
    char token[400]; /* of long poll */
} talk_t;

/* ---- the program ---- */

static void on_user_free(void *user)
{
    (void)user;
    ++host.freed;
}

static hub_status_t on_join(hub_member_t *me, const hub_message_t *msg)
{
    ++host.given;
    hub_member_set_user(me, &host, on_user_free);
    return hub_str_equals(hub_member_param(me, "id"), HUB_STR("no"))
               ? hub_member_reject(me, HUB_JSON("{\"reason\":\"no\"}"))
               : hub_member_accept(me, msg->payload);
}

static void on_exit_of(hub_member_t *me, hub_exit_t why)
{
    (void)me, (void)why;
    ++host.left;
}

static hub_status_t echo(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_reply(me, msg, msg->payload);
}

static hub_status_t shout(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_broadcast(me, msg->event, msg->payload);
}

static hub_status_t push(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_push(me, HUB_STR("pushed"), msg->payload);
}

static hub_status_t stop(hub_member_t *me, const hub_message_t *msg)
{
    (void)msg;
    hub_member_stop(me, HUB_OK);
    return HUB_OK;
}

static hub_status_t crash(hub_member_t *me, const hub_message_t *msg)
{
    (void)me, (void)msg;
    return HUB_EINTERNAL;
}

static hub_status_t on_open(const hub_hook_event_t *event, void *user)
{
    (void)user;
    ++host.opened;
    host.worker = hub__conn_worker(event->conn);
    if (host.open_count != CONNS_MAX)
        host.open[host.open_count++] = hub_conn_id(event->conn);
    return HUB_OK;
}

static hub_status_t on_end(const hub_hook_event_t *event, void *user)
{
    (void)event, (void)user;
    ++host.ended;
    return HUB_OK;
}

static hub_status_t on_joined(const hub_hook_event_t *event, void *user)
{
    (void)event, (void)user;
    ++host.joined;
    return HUB_OK;
}

static void start(void)
{
    static const hub_event_handler_t events[] = {{"echo", echo}, {"shout", shout}, {"push", push},
                                                 {"stop", stop}, {"crash", crash}, {NULL, NULL}};
    static const char *const patterns[TOPICS] = {"room:{id}", "new:{id}", "old:{id}",
                                                 "latest:{id}"};
    h2o_hostconf_t *vhost;
    hub_endpoint_options_t options = {
        .longpoll = true,
        .deflate = {.enabled = true, .min_bytes = 16},
        .limits = {.message_bytes = 4096, .outbox_bytes = 65536, .topics = 8, .close_ms = 1}};

    signal(SIGPIPE, SIG_IGN);
    hub_log_set_level(HUB_LOG_OFF);
    h2o_config_init(&host.config);
    vhost = h2o_config_register_host(&host.config, h2o_iovec_init(H2O_STRLIT("default")), 65535);
    (void)h2o_config_register_path(vhost, "/socket", 0);
    h2o_context_init(&host.context, h2o_evloop_create(), &host.config);
    host.accept = (h2o_accept_ctx_t){.ctx = &host.context, .hosts = host.config.hosts};
    FUZZ_CHECK(hub_create(NULL, &host.hub) == HUB_OK, "no hub");
    for (size_t i = 0; i != TOPICS; ++i)
        FUZZ_CHECK(hub_channel_add(host.hub,
                                   &(hub_channel_options_t){
                                       .pattern = patterns[i],
                                       .on_join = on_join,
                                       .on_exit = on_exit_of,
                                       .events = events,
                                       .slow_policy = (hub_slow_policy_t)i,
                                       .slow_bytes = i == 0 ? 0 : 3000,
                                       .slow_messages = i == 0 ? 0 : 8,
                                   }) == HUB_OK,
                   "no channel");
    if (hub_hook_add(host.hub, HUB_HOOK_OPEN, on_open, NULL) != HUB_OK ||
        hub_hook_add(host.hub, HUB_HOOK_DISCONNECT, on_end, NULL) != HUB_OK ||
        hub_hook_add(host.hub, HUB_HOOK_JOIN, on_joined, NULL) != HUB_OK)
        abort();
    FUZZ_CHECK(hub_h2o_attach(host.hub, &host.context, &vhost->paths.entries[0], &options,
                              &host.mount) == HUB_OK,
               "no mount");
}

/* ---- clients ---- */

/* Turns of the loop, until there is nothing more to read. */
static void turn(client_t *client)
{
    char block[16384];
    ssize_t got;

    for (int i = 0; i != 3; ++i)
        h2o_evloop_run(host.context.loop, 0);
    while (client->fd != -1 && !client->quiet &&
           (got = recv(client->fd, block, sizeof(block), MSG_DONTWAIT)) > 0) {
        hub__buffer_append(&client->got, hub_str_n(block, (size_t)got));
        h2o_evloop_run(host.context.loop, 0);
    }
}

static void come(client_t *client)
{
    int fds[2], little = 1; /* which the kernel makes a few KiB */

    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0,
               "no more descriptors");
    *client = (client_t){.fd = fds[0]};
    if (setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &little, sizeof(little)) != 0)
        abort();
    h2o_accept(&host.accept, h2o_evloop_socket_create(host.context.loop, fds[1],
                                                      H2O_SOCKET_FLAG_IS_ACCEPTED_CONNECTION));
}

static void go(client_t *client)
{
    if (client->fd != -1)
        close(client->fd);
    hub__buffer_dispose(&client->got);
    *client = (client_t){.fd = -1};
}

/* In pieces, where `seed` is not 0. What the server does not take is lost. */
static void send_bytes(client_t *client, hub_str_t bytes, unsigned *seed)
{
    for (size_t at = 0, len; at != bytes.len && client->fd != -1; at += len) {
        len = bytes.len - at;
        if (*seed != 0) {
            *seed = *seed * 1664525u + 1013904223u;
            len = 1 + (*seed >> 16) % 80;
            len = len < bytes.len - at ? len : bytes.len - at;
        }
        if (send(client->fd, bytes.base + at, len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
            break;
        turn(client);
    }
}

static void send_frame(client_t *client, unsigned first, hub_str_t payload, unsigned *seed)
{
    static const uint8_t key[4] = {0xa1, 0xb2, 0xc3, 0xd4};
    hub__buffer_t wire = {0};
    uint8_t head[4] = {(uint8_t)first, (uint8_t)(0x80 | payload.len)};

    if (payload.len > 125) {
        head[1] = 0xfe;
        head[2] = (uint8_t)(payload.len >> 8);
        head[3] = (uint8_t)payload.len;
    }
    hub__buffer_append(&wire, hub_str_n((const char *)head, payload.len > 125 ? 4 : 2));
    hub__buffer_append(&wire, hub_str_n((const char *)key, 4));
    for (size_t i = 0; i != payload.len; ++i) {
        char byte = (char)((uint8_t)payload.base[i] ^ key[i % 4]);

        hub__buffer_append(&wire, hub_str_n(&byte, 1));
    }
    send_bytes(client, hub__buffer_str(&wire), seed);
    hub__buffer_dispose(&wire);
}

/* Compressed by zlib, each message alone. */
static void send_compressed(client_t *client, hub_str_t payload, unsigned *seed)
{
    z_stream stream = {.next_in = (const Bytef *)payload.base, .avail_in = (uInt)payload.len};
    Bytef out[8192];

    FUZZ_CHECK(deflateInit2(&stream, 6, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) == Z_OK, "zlib");
    stream.next_out = out;
    stream.avail_out = sizeof(out);
    (void)deflate(&stream, Z_SYNC_FLUSH);
    if (stream.avail_out != 0)
        send_frame(client, 0xc1, hub_str_n((const char *)out, sizeof(out) - stream.avail_out - 4),
                   seed);
    (void)deflateEnd(&stream);
}

/* ---- what the server sent ---- */

static void check_order(client_t *client, const json_t *topic, const json_t *event,
                        const json_t *payload)
{
    double number = json_number_value(json_object_get(payload, "number"));

    if (!json_is_string(topic) || !json_is_string(event) ||
        strcmp(json_string_value(event), "news") != 0)
        return;
    for (size_t i = 0; i != TOPICS; ++i) {
        if (strcmp(json_string_value(topic), topics[i]) != 0)
            continue;
        FUZZ_CHECK(number > client->last[i], "%s: %.0f behind %.0f", topics[i], number,
                   client->last[i]);
        client->last[i] = number;
    }
}

static void check_text(client_t *client, unsigned format, hub_str_t text)
{
    bool unsure;
    json_t *tree = fuzz_jansson(text, &unsure);

    FUZZ_CHECK(unsure || (format == HUB__DIALECT_PHOENIX2 ? json_array_size(tree) == 5
                                                          : json_object_size(tree) >= 3),
               "%.*s", HUB_STR_ARG(text));
    if (format == HUB__DIALECT_PHOENIX2)
        check_order(client, json_array_get(tree, 2), json_array_get(tree, 3),
                    json_array_get(tree, 4));
    else
        check_order(client, json_object_get(tree, "topic"), json_object_get(tree, "event"),
                    json_object_get(tree, "payload"));
    json_decref(tree);
}

/* A message that refers to no other. To be disposed of. */
static hub__buffer_t inflated(hub_str_t payload)
{
    static const Bytef tail[] = {0x00, 0x00, 0xff, 0xff};
    z_stream stream = {.next_in = (const Bytef *)payload.base, .avail_in = (uInt)payload.len};
    hub__buffer_t text = {0};
    int status;

    FUZZ_CHECK(inflateInit2(&stream, -15) == Z_OK, "zlib");
    stream.next_out = (Bytef *)hub__buffer_reserve(&text, 200000);
    stream.avail_out = 200000;
    status = inflate(&stream, Z_SYNC_FLUSH);
    FUZZ_CHECK(status == Z_OK && stream.avail_in == 0, "zlib says %d", status);
    stream.next_in = tail;
    stream.avail_in = sizeof(tail);
    status = inflate(&stream, Z_SYNC_FLUSH);
    FUZZ_CHECK(status == Z_OK && stream.avail_in == 0, "zlib says %d of the end", status);
    text.len = stream.total_out;
    (void)inflateEnd(&stream);
    return text;
}

/* One frame; false: it is not all there. */
static bool read_frame(client_t *client, unsigned format, hub_str_t *ret_text)
{
    const uint8_t *at = (const uint8_t *)client->got.base + client->read;
    size_t have = client->got.len - client->read, head = 2, len;
    unsigned opcode;

    *ret_text = (hub_str_t){0};
    if (have < 2 || (at[1] == 126 && have < 4))
        return false;
    opcode = at[0] & 0x0f;
    len = at[1];
    FUZZ_CHECK(len != 127 && (at[1] & 0x80) == 0 &&
                   ((at[0] & 0x70) == 0 || (client->deflates && (at[0] & 0x78) == 0x40)),
               "head %02x %02x", at[0], at[1]);
    if (len == 126) {
        head = 4;
        len = (size_t)at[2] << 8 | at[3];
        FUZZ_CHECK(len > 125, "a longer form than it takes for %zu", len);
    }
    FUZZ_CHECK(at[0] >= 0x80 && (opcode == 1 || opcode == 2 || (opcode >= 8 && opcode <= 10)),
               "first byte %02x", at[0]);
    FUZZ_CHECK(opcode < 8 || len <= 125, "a control frame of %zu", len);
    if (have < head + len)
        return false;
    FUZZ_CHECK(!client->closed, "a frame behind the close");
    client->closed = opcode == 8;
    *ret_text = hub_str_n((const char *)at + head, opcode <= 2 ? len : 0);
    if ((at[0] & 0x40) != 0) {
        hub__buffer_t text = inflated(*ret_text);

        if (opcode == 1)
            check_text(client, format, hub__buffer_str(&text));
        hub__buffer_dispose(&text);
    } else if (opcode == 1) {
        check_text(client, format, *ret_text);
    }
    if (opcode == 8)
        FUZZ_CHECK(len != 1 &&
                       (len < 3 || fuzz_is_utf8(hub_str_n((const char *)at + head + 2, len - 2))),
                   "a close of %zu", len);
    client->read += head + len;
    return true;
}

/* Everything so far. Whether a text in it contains these words; NULL: any. */
static bool hears(client_t *client, unsigned format, const char *words)
{
    bool heard = false;
    hub_str_t text;

    while (client->upgraded && read_frame(client, format, &text))
        heard = heard || (text.len != 0 &&
                          (words == NULL || memmem(text.base, text.len, words, strlen(words))));
    return heard;
}

static void upgrade(client_t *client, unsigned format, unsigned *seed)
{
    static const char *const queries[] = {"", "?vsn=1.0.0", "?vsn=2.0.0"};
    hub__buffer_t head = {0};
    const char *end;

    hub__buffer_printf(&head,
                       "GET /socket/websocket%s HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n"
                       "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                       "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n",
                       queries[format],
                       client->deflates ? "Sec-WebSocket-Extensions: permessage-deflate\r\n" : "");
    send_bytes(client, hub__buffer_str(&head), seed);
    hub__buffer_dispose(&head);
    turn(client);
    end = client->got.len == 0 ? NULL : memmem(client->got.base, client->got.len, "\r\n\r\n", 4);
    FUZZ_CHECK(end != NULL && memcmp(client->got.base, "HTTP/1.1 101 ", 13) == 0,
               "no upgrade: %.*s", HUB_STR_ARG(hub__buffer_str(&client->got)));
    client->read = (size_t)(end - client->got.base) + 4;
    client->upgraded = true;
}

static void say(client_t *client, unsigned format, const char *topic, const char *event)
{
    char text[200];
    unsigned whole = 0;

    if (format == HUB__DIALECT_PHOENIX2)
        snprintf(text, sizeof(text), "[\"1\",\"77\",\"%s\",\"%s\",{}]", topic, event);
    else
        snprintf(text, sizeof(text),
                 "{\"topic\":\"%s\",\"event\":\"%s\",\"payload\":{},\"ref\":\"77\"}", topic, event);
    send_frame(client, 0x81, hub_str(text), &whole);
    turn(client);
}

/* ---- steps ---- */

static void publish(talk_t *talk)
{
    char payload[40];

    snprintf(payload, sizeof(payload), "{\"number\":%u}", ++talk->published);
    FUZZ_CHECK(hub_publish(host.hub, HUB_STR("room:1"), HUB_STR("news"),
                           hub_json(hub_str(payload))) == HUB_OK,
               "not published");
    turn(&talk->witness);
    FUZZ_CHECK(hears(&talk->witness, talk->format, payload), "the witness has not heard %s",
               payload);
}

/* Many at once, more than a member who does not read may keep. */
static void publish_many(talk_t *talk, uint8_t choice)
{
    char payload[600];

    for (size_t i = 0; i != 12; ++i) {
        snprintf(payload, sizeof(payload), "{\"number\":%u,\"long\":\"%0*u\"}", ++talk->published,
                 choice % 5 * 100 + 1, 0u);
        FUZZ_CHECK(hub_publish(host.hub, hub_str(topics[choice % TOPICS]), HUB_STR("news"),
                               hub_json(hub_str(payload))) == HUB_OK,
                   "not published");
        turn(&talk->witness);
        (void)hears(&talk->witness, talk->format, NULL);
    }
}

/* A plain request, on a connection of its own that goes on while it can. */
static void request(talk_t *talk, hub_str_t bytes)
{
    if (talk->visitor.fd == -1)
        come(&talk->visitor);
    send_bytes(&talk->visitor, bytes, &talk->cuts);
    turn(&talk->visitor);
}

/* Keeps the token that the answer has. */
static void poll_or_post(talk_t *talk, const char *method, const char *type, hub_str_t body)
{
    static const char mark[] = "\"token\":\"";
    static const char *const formats[] = {"x=1", "vsn=1.0.0", "vsn=2.0.0"};
    hub__buffer_t text = {0};
    const char *found;

    go(&talk->visitor);
    hub__buffer_printf(&text,
                       "%s /socket/longpoll?%s&token=%s HTTP/1.1\r\nHost: a\r\n"
                       "Content-Type: %s\r\nContent-Length: %zu\r\n\r\n",
                       method, formats[talk->format], talk->token, type, body.len);
    hub__buffer_append(&text, body);
    request(talk, hub__buffer_str(&text));
    hub__buffer_dispose(&text);
    found = talk->visitor.got.len == 0
                ? NULL
                : memmem(talk->visitor.got.base, talk->visitor.got.len, mark, sizeof(mark) - 1);
    if (found != NULL) {
        hub_str_t rest = {found + sizeof(mark) - 1, 0};
        const char *end = talk->visitor.got.base + talk->visitor.got.len;

        while (rest.base + rest.len != end && rest.base[rest.len] != '"' && rest.len != 300)
            ++rest.len;
        snprintf(talk->token, sizeof(talk->token), "%.*s", HUB_STR_ARG(rest));
    }
}

/* A letter, followed by bytes up to the next 0xff where it takes any. Of the guest: t a text and b
 * a binary message, f a text in two frames with a ping between, z a compressed one, r bytes of the
 * wire, w ends its side, x is gone, and comes back with the next one. h plain bytes to the server,
 * g a poll, o a post, n one of lines. p publishes, m much on one of the topics. q stops to read, u
 * goes on. d ends whom it finds. */
static void step(talk_t *talk, fuzz_input_t *steps)
{
    uint8_t letter = fuzz_byte(steps);
    bool takes = strchr("pgwxdqum", letter) == NULL;
    hub_str_t bytes = takes ? fuzz_until(steps, '\xff') : (hub_str_t){0};

    if (talk->guest.fd == -1 && strchr("tbfzrw", letter) != NULL) {
        come(&talk->guest);
        talk->guest.deflates = talk->deflates;
        upgrade(&talk->guest, talk->format, &talk->cuts);
    }
    switch (letter) {
    case 'b':
        send_frame(&talk->guest, 0x82, bytes, &talk->cuts);
        break;
    case 'f':
        send_frame(&talk->guest, 0x01, hub_str_n(bytes.base, bytes.len / 2), &talk->cuts);
        send_frame(&talk->guest, 0x89, HUB_STR("?"), &talk->cuts);
        send_frame(&talk->guest, 0x80,
                   hub_str_n(bytes.base + bytes.len / 2, bytes.len - bytes.len / 2), &talk->cuts);
        break;
    case 'z':
        send_compressed(&talk->guest, bytes, &talk->cuts);
        break;
    case 'r':
        send_bytes(&talk->guest, bytes, &talk->cuts);
        break;
    case 'w':
        shutdown(talk->guest.fd, SHUT_WR);
        break;
    case 'x':
        go(&talk->guest);
        break;
    case 'h':
        request(talk, bytes);
        break;
    case 'g':
        poll_or_post(talk, "GET", "text/plain", (hub_str_t){0});
        break;
    case 'o':
        poll_or_post(talk, "POST", "application/json", bytes);
        break;
    case 'n':
        poll_or_post(talk, "POST", "application/x-ndjson", bytes);
        break;
    case 'p':
        publish(talk);
        break;
    case 'm':
        publish_many(talk, fuzz_byte(steps));
        break;
    case 'q':
    case 'u':
        talk->guest.quiet = letter == 'q';
        break;
    case 'd':
        if (host.open_count > 1)
            (void)!hub_conn_close_id(host.hub, host.open[host.open_count - 1], 3000, HUB_STR("d"));
        break;
    default:
        send_frame(&talk->guest, 0x81, bytes, &talk->cuts);
    }
    turn(&talk->guest);
    (void)hears(&talk->guest, talk->format, NULL);
}

/* ---- a conversation ---- */

static int lowest_fd(void)
{
    int fd = fcntl(0, F_DUPFD, 3);

    close(fd);
    return fd;
}

static void begin(talk_t *talk)
{
    unsigned whole = 0;

    host.opened = host.ended = host.joined = host.left = host.given = host.freed = 0;
    host.open_count = 0;
    host.lowest_fd = lowest_fd();
    talk->guest.fd = talk->visitor.fd = -1;
    come(&talk->witness);
    upgrade(&talk->witness, talk->format, &whole);
    say(&talk->witness, talk->format, "room:1",
        talk->format == HUB__DIALECT_NATIVE ? "join" : "phx_join");
    FUZZ_CHECK(hears(&talk->witness, talk->format, "\"ok\""), "the witness has not joined");
}

static void check_witness(talk_t *talk)
{
    publish(talk);
    say(&talk->witness, talk->format, "room:1", "echo");
    FUZZ_CHECK(hears(&talk->witness, talk->format, "\"77\""), "the witness got no answer");
    FUZZ_CHECK(!talk->witness.closed, "the witness was closed");
}

/* Long poll has no socket whose end is its own. */
static bool somebody_is_left(void)
{
    return host.worker->stats.conns != host.worker->stats.longpoll_conns;
}

static bool something_is_left(void)
{
    return host.opened != host.ended || lowest_fd() > host.lowest_fd;
}

/* A few turns, and more while it holds. */
static void turn_while(bool (*holds)(void))
{
    for (int i = 0; i != TURNS_AT_THE_END && (i < 5 || holds()); ++i)
        h2o_evloop_run(host.context.loop, i < 5 ? 0 : 1);
}

static void end(talk_t *talk)
{
    const hub_stats_t *stats = &host.worker->stats;

    go(&talk->guest);
    go(&talk->visitor);
    go(&talk->witness);
    turn_while(somebody_is_left);
    FUZZ_CHECK(!somebody_is_left(), "%zu connections of clients who are gone",
               (size_t)(stats->conns - stats->longpoll_conns));
    for (size_t i = 0; i != host.open_count; ++i)
        (void)!hub_conn_close_id(host.hub, host.open[i], 1000, (hub_str_t){0});
    turn_while(something_is_left);
    FUZZ_CHECK(host.opened == host.ended, "%u opened, %u ended", host.opened, host.ended);
    FUZZ_CHECK(host.joined == host.left, "%u joined, %u left", host.joined, host.left);
    FUZZ_CHECK(host.given == host.freed, "%u given, %u freed", host.given, host.freed);
    FUZZ_CHECK(stats->conns == 0 && stats->members == 0 && stats->topics == 0 &&
                   stats->outbox_bytes == 0 && stats->longpoll_conns == 0,
               "left: %zu connections, %zu members, %zu topics, %zu bytes", (size_t)stats->conns,
               (size_t)stats->members, (size_t)stats->topics, (size_t)stats->outbox_bytes);
    FUZZ_CHECK(lowest_fd() <= host.lowest_fd, "descriptor %d is free, it was %d", lowest_fd(),
               host.lowest_fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input_t input = {data, size};
    uint8_t choice = fuzz_byte(&input);
    talk_t talk = {.format = (choice & 0x7fu) % HUB__DIALECT_COUNT,
                   .deflates = (choice & 0x80) != 0,
                   .cuts = fuzz_byte(&input)};

    if (host.hub == NULL)
        start();
    fuzz_meter_begin();
    begin(&talk);
    for (size_t i = 0; i != STEPS_MAX && input.len != 0; ++i)
        step(&talk, &input);
    check_witness(&talk);
    end(&talk);
    host.memory += fuzz_meter_end().change;
    FUZZ_CHECK(host.memory <= MEMORY_MAX, "%lld bytes are kept", (long long)host.memory);
    return 0;
}
