/* SPDX-License-Identifier: MIT */
/* permessage-deflate over sockets, with zlib on the other side: what is agreed on, that a message
 * to many is compressed once and read by each of them, and what becomes of clients that misuse it.
 */
#define _GNU_SOURCE 1
#include "test/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#define ZLIB_CONST
#include <zlib.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define OFFER "permessage-deflate"
#define ANSWER "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
#define RSV1 0x40U
#define LIMIT 65536u

static const char tail[] = {0, 0, (char)0xff, (char)0xff};

/* ---- a server ---- */

static hub_status_t on_shout(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_broadcast(me, msg->event, msg->payload);
}

static hub_status_t on_others(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_broadcast_from(me, msg->event, msg->payload);
}

static hub_status_t on_echo(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_reply(me, msg, msg->payload);
}

static hub_status_t on_push(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_push(me, msg->event, msg->payload);
}

static hub_status_t on_raw(hub_conn_t *conn, hub_str_t bytes, bool binary, void *user)
{
    (void)user;
    return hub_conn_send(conn, bytes, binary);
}

static void on_close(hub_conn_t *conn, hub_disconnect_reason_t why, void *user)
{
    (void)conn, (void)user;
    server_note("closed %s", hub_disconnect_reason_name(why));
}

static hub_update_t on_update(hub_member_t *me, const hub_message_t *msg,
                              hub_payload_t *ret_payload)
{
    (void)msg;
    if (hub_conn_query(hub_member_conn(me), "skips").len != 0)
        return HUB_UPDATE_SKIP;
    *ret_payload = HUB_JSON("{\"replaced\":true}");
    return hub_conn_query(hub_member_conn(me), "replaces").len != 0 ? HUB_UPDATE_REPLACE
                                                                    : HUB_UPDATE_KEEP;
}

/* A hub at /socket with these options, without any at /plain, and the route /raw. */
static server_t *serve_on(unsigned threads, hub_endpoint_options_t options)
{
    static const hub_event_handler_t events[] = {{"shout", on_shout},  {"others", on_others},
                                                 {"echo", on_echo},    {"push", on_push},
                                                 {"veiled", on_shout}, {NULL, NULL}};
    static const char *const intercept[] = {"veiled", NULL};
    server_t *server = server_create_with(&(hub_server_options_t){.threads = threads}, NULL);
    hub_raw_options_t raw = {.on_message = on_raw, .on_close = on_close};

    options.keep_query = true;
    raw.endpoint = options;
    raw.endpoint.longpoll = false;
    server_channel(server, &(hub_channel_options_t){.pattern = "room:{id}",
                                                    .events = events,
                                                    .on_update = on_update,
                                                    .intercept = intercept});
    server_channel(server, &(hub_channel_options_t){.pattern = "slow:{id}",
                                                    .slow_policy = HUB_SLOW_DROP_OLD,
                                                    .slow_messages = 3});
    server_mount(server, &options);
    server_mount(server, &(hub_endpoint_options_t){.path = "/plain"});
    assert_int_equal(hub_server_websocket(server->server, "/raw", &raw), HUB_OK);
    server_start(server);
    return server;
}

static server_t *serve(hub_endpoint_options_t options)
{
    return serve_on(1, options);
}

static server_t *serve_deflate(void)
{
    return serve((hub_endpoint_options_t){.deflate = {.enabled = true, .min_bytes = 1}});
}

static server_t *serve_context(void)
{
    return serve((hub_endpoint_options_t){
        .deflate = {.enabled = true, .min_bytes = 1, .client_context = true}});
}

/* ---- clients ---- */

/* Opens a websocket with this offer and expects this answer; NULL: none. */
static client_t *open_with(server_t *server, const char *target, const char *offer,
                           const char *answer)
{
    client_t *client = server_connect(server);
    client_response_t response;
    char fields[512] = "";
    hub_str_t got;

    if (offer != NULL)
        snprintf(fields, sizeof(fields), "Sec-WebSocket-Extensions: %s\r\n", offer);
    client_send_text(client, client_upgrade_text(target, fields));
    response = client_expect_response(client, 101);
    got = client_header(&response, "Sec-WebSocket-Extensions");
    assert_int_equal(got.base == NULL, answer == NULL);
    if (answer != NULL)
        assert_true(hub_str_equals(got, hub_str(answer)));
    return client;
}

static client_t *open_raw(server_t *server)
{
    return open_with(server, "/raw", OFFER, ANSWER);
}

/* To be freed. `stream` NULL: it refers to nothing before. */
static hub_str_t deflated(z_stream *stream, hub_str_t text, int flush)
{
    size_t room = text.len + text.len / 8 + 256;
    char *bytes = malloc(room);
    z_stream fresh = {0};
    size_t len;

    if (stream == NULL) {
        stream = &fresh;
        assert_int_equal(deflateInit2(stream, 9, Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY), Z_OK);
    }
    stream->next_in = (const Bytef *)text.base;
    stream->avail_in = (uInt)text.len;
    stream->next_out = (Bytef *)bytes;
    stream->avail_out = (uInt)room;
    assert_true(deflate(stream, flush) >= Z_OK);
    len = room - stream->avail_out;
    if (stream == &fresh)
        (void)deflateEnd(stream);
    return hub_str_n(bytes, flush == Z_SYNC_FLUSH ? len - sizeof(tail) : len);
}

static size_t send_deflated(client_t *client, z_stream *stream, unsigned first, hub_str_t text)
{
    hub_str_t payload = deflated(stream, text, Z_SYNC_FLUSH);

    client_frame(client, first | RSV1, payload);
    free((void *)(uintptr_t)payload.base);
    return payload.len;
}

/* The text of a message, in a block of its own that the next call replaces; no more of a window
 * than was agreed on is there to look back. */
static hub_str_t inflated(int bits, hub_str_t payload)
{
    static char text[2 * LIMIT];
    const hub_str_t parts[] = {payload, {tail, sizeof(tail)}};
    z_stream stream = {0};
    size_t len = 0;

    assert_int_equal(inflateInit2(&stream, -bits), Z_OK);
    for (size_t i = 0; i < COUNT(parts); i++) {
        stream.next_in = (const Bytef *)parts[i].base;
        stream.avail_in = (uInt)parts[i].len;
        do {
            int code;

            assert_true(len < sizeof(text));
            stream.next_out = (Bytef *)text + len;
            stream.avail_out = 1;
            code = inflate(&stream, Z_SYNC_FLUSH);
            assert_true(code == Z_OK || code == Z_BUF_ERROR);
            len += 1 - stream.avail_out;
        } while (stream.avail_out == 0 || stream.avail_in != 0);
    }
    (void)inflateEnd(&stream);
    return hub_str_n(text, len);
}

/* The next message is text, compressed, and says so. */
static void expect_deflated(client_t *client, int bits, unsigned first, hub_str_t text)
{
    hub_str_t got = inflated(bits, client_expect_frame(client, first | RSV1));

    assert_int_equal(got.len, text.len);
    if (text.len != 0)
        assert_memory_equal(got.base, text.base, text.len);
}

/* JSON with many repetitions: {"text":"…"} of about this length. To be freed. */
static char *long_payload(size_t len)
{
    char *json = malloc(len + 32), *at = json + sprintf(json, "{'text':'");

    for (size_t i = 0; i < len; i++)
        *at++ = "the quick brown fox "[(i + i / 97) % 20];
    memcpy(at, "'}", 3);
    return json;
}

static void fill_noise(char *bytes, size_t len)
{
    uint64_t state = 88172645463325252u;

    for (size_t i = 0; i < len; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes[i] = (char)state;
    }
}

/* ---- agreeing ---- */

static void nothing_is_agreed_on_unless_it_is_on_and_offered(void **state)
{
    server_t *off = serve((hub_endpoint_options_t){0});
    server_t *on = serve_deflate();

    (void)state;
    (void)open_with(off, "/socket", OFFER, NULL);
    (void)open_with(off, "/raw", OFFER, NULL);
    (void)open_with(on, "/socket", NULL, NULL);
    (void)open_with(on, "/plain", OFFER, NULL);
    (void)open_with(on, "/socket", "x-webkit-deflate-frame", NULL);
    (void)open_with(on, "/socket", OFFER "; server_max_window_bits=7", NULL);
    (void)open_with(on, "/socket", OFFER, ANSWER);
    (void)open_with(on, "/raw", OFFER, ANSWER);
}

static void the_answer_is_what_was_agreed_on(void **state)
{
    server_t *s = serve_context();

    (void)state;
    (void)open_with(s, "/socket", OFFER "; client_max_window_bits", /* as browsers do */
                    OFFER "; server_no_context_takeover");
    (void)open_with(s, "/socket",
                    OFFER "; client_no_context_takeover; server_max_window_bits=10;"
                          " client_max_window_bits=11",
                    ANSWER "; server_max_window_bits=10; client_max_window_bits=11");
    (void)open_with(s, "/socket", OFFER "; unknown, " OFFER "; server_max_window_bits=\"9\"",
                    OFFER "; server_no_context_takeover; server_max_window_bits=9");
}

static void a_malformed_list_is_refused(void **state)
{
    server_t *servers[] = {serve((hub_endpoint_options_t){0}), serve_deflate()};

    (void)state;
    for (size_t i = 0; i < COUNT(servers); i++) {
        client_t *c = server_connect(servers[i]);

        client_send_text(
            c, client_upgrade_text("/socket", "Sec-WebSocket-Extensions: " OFFER ";\r\n"));
        assert_non_null(
            strstr(client_expect_response(c, 400).body.base, "Sec-WebSocket-Extensions"));
        SERVER_EXPECT_STAT(servers[i], upgrades_refused_total, 1);
    }
}

static void a_bad_option_is_named(void **state)
{
    server_t *s = server_create();
    hub_endpoint_options_t options = {.deflate = {.enabled = true, .level = 12}};

    (void)state;
    assert_int_equal(hub_server_mount(s->server, s->hub, &options), HUB_EINVAL);
    server_expect_log("server.mount", "deflate.level = 12");
}

/* ---- sending ---- */

static void replies_and_pushes_are_compressed(void **state)
{
    server_t *s = serve_deflate();
    client_t *c = open_with(s, "/socket", OFFER, ANSWER);
    char *payload = long_payload(300), *json = client_quotes(payload), text[1024];

    (void)state;
    client_say(c, "room:1", "join", "{}", "'1'");
    (void)inflated(15, client_expect_frame(c, CLIENT_TEXT | RSV1));
    client_say(c, "room:1", "echo", payload, "'2'");
    snprintf(
        text, sizeof(text),
        "{\"topic\":\"room:1\",\"event\":\"reply\",\"payload\":{\"status\":\"ok\",\"response\":"
        "%s},\"ref\":\"2\",\"join_ref\":\"1\"}",
        json);
    expect_deflated(c, 15, CLIENT_TEXT, hub_str(text));
    client_say(c, "room:1", "push", payload, "'3'");
    assert_non_null(memmem(inflated(15, client_expect_frame(c, CLIENT_TEXT | RSV1)).base, 1024,
                           json, strlen(json)));
    SERVER_EXPECT_STAT_AT_LEAST(s, deflates_total, 3);
    assert_true(SERVER_STAT(s, deflate_bytes_out_total) < SERVER_STAT(s, deflate_bytes_in_total));
    free(json);
    free(payload);
}

static void short_messages_go_out_as_they_are(void **state)
{
    server_t *s = serve((hub_endpoint_options_t){.deflate = {.enabled = true, .min_bytes = 1000}});
    client_t *c = open_raw(s);
    char text[1000];

    (void)state;
    memset(text, 'x', sizeof(text));
    client_frame(c, CLIENT_TEXT, hub_str_n(text, 999));
    client_expect_message(c, CLIENT_TEXT, hub_str_n(text, 999));
    client_frame(c, CLIENT_TEXT, hub_str_n(text, 1000));
    expect_deflated(c, 15, CLIENT_TEXT, hub_str_n(text, 1000));
    SERVER_EXPECT_STAT(s, deflates_total, 1);
}

static void what_would_grow_goes_out_as_it_is(void **state)
{
    client_t *c = open_raw(serve_deflate());
    char noise[5000];

    (void)state;
    fill_noise(noise, sizeof(noise));
    client_frame(c, CLIENT_BINARY, hub_str_n(noise, sizeof(noise)));
    client_expect_message(c, CLIENT_BINARY, hub_str_n(noise, sizeof(noise)));
}

static void control_frames_never_are(void **state)
{
    client_t *c = open_raw(serve_deflate());
    char text[125];

    (void)state;
    memset(text, 'x', sizeof(text));
    client_frame(c, CLIENT_PING, hub_str_n(text, sizeof(text)));
    client_expect_message(c, CLIENT_PONG, hub_str_n(text, sizeof(text)));
    client_close_frame(c, 1000, "");
    (void)client_expect_close(c, 1000);
}

/* ---- to many ---- */

/* One member: how it came, and what its frames look like. */
typedef struct listener {
    const char *target, *offer, *answer;
    int bits; /* 0: not compressed */
    client_t *client;
} listener_t;

static void join(listener_t *listener, server_t *server)
{
    client_t *c = listener->client =
        open_with(server, listener->target, listener->offer, listener->answer);
    const char *vsn = strstr(listener->target, "vsn=");

    if (vsn == NULL)
        client_say(c, "room:1", "join", "{}", "'1'");
    else if (vsn[4] == '1')
        client_json(c, "{'topic':'room:1','event':'phx_join','payload':{},'ref':'1'}");
    else
        client_json(c, "['1','1','room:1','phx_join',{}]");
    (void)client_next(c);
}

static const char *text_of(const char *target, const char *event, const char *json)
{
    static char text[8192];

    if (strstr(target, "vsn=2") != NULL)
        snprintf(text, sizeof(text), "[null,null,\"room:1\",\"%s\",%s]", event, json);
    else if (strstr(target, "vsn=1") != NULL)
        snprintf(text, sizeof(text),
                 "{\"topic\":\"room:1\",\"event\":\"%s\",\"payload\":%s,\"ref\":null}", event,
                 json);
    else
        snprintf(text, sizeof(text), "{\"topic\":\"room:1\",\"event\":\"%s\",\"payload\":%s}",
                 event, json);
    return text;
}

/* Compressed or not, it is the same message: the frame is checked, its text is that of an
 * uncompressed member of the same format. */
static void expect_heard(const listener_t *listener, const char *event, const char *json)
{
    hub_str_t text;

    if (listener->bits == 0)
        text = client_expect_frame(listener->client, CLIENT_TEXT);
    else
        text = inflated(listener->bits, client_expect_frame(listener->client, CLIENT_TEXT | RSV1));
    if (!hub_str_equals(text, hub_str(text_of(listener->target, event, json))))
        fail_msg("%s %s: %.*s", listener->target, listener->offer, HUB_STR_ARG(text));
}

#define BITS(n) OFFER "; server_max_window_bits=" #n, ANSWER "; server_max_window_bits=" #n, n

static void a_broadcast_reaches_each_as_agreed_on(void **state)
{
    listener_t listeners[] = {
        {"/socket", NULL, NULL, 0, NULL},
        {"/socket", OFFER, ANSWER, 15, NULL},
        {"/plain", OFFER, NULL, 0, NULL},
        {"/socket", OFFER, ANSWER, 15, NULL},
        {"/socket", BITS(8), NULL},
        {"/socket", BITS(9), NULL},
        {"/socket", BITS(11), NULL},
        {"/socket", BITS(12), NULL},
        {"/socket", BITS(14), NULL},
        {"/socket", BITS(15), NULL},
        {"/socket?vsn=2.0.0", OFFER, ANSWER, 15, NULL},
        {"/socket?vsn=2.0.0", NULL, NULL, 0, NULL},
        {"/socket?vsn=2.0.0", BITS(10), NULL},
        {"/socket?vsn=1.0.0", OFFER, ANSWER, 15, NULL},
        {"/socket?vsn=1.0.0", NULL, NULL, 0, NULL},
    };
    server_t *s = serve_deflate();
    char *payload = long_payload(6000), *json = client_quotes(payload);

    (void)state;
    for (size_t i = 0; i < COUNT(listeners); i++)
        join(&listeners[i], s);
    for (size_t round = 0; round < 3; round++) {
        client_say(listeners[round].client, "room:1", "shout", payload, NULL);
        for (size_t i = 0; i < COUNT(listeners); i++)
            expect_heard(&listeners[i], "shout", json);
    }
    free(json);
    free(payload);
}

static void a_message_to_many_is_compressed_once(void **state)
{
    listener_t listeners[20];
    server_t *s = serve_deflate();
    char *payload = long_payload(3000), *json = client_quotes(payload);
    uint64_t before;

    (void)state;
    for (size_t i = 0; i < COUNT(listeners); i++) {
        listeners[i] = (listener_t){"/socket", OFFER, ANSWER, 15, NULL};
        join(&listeners[i], s);
    }
    before = SERVER_STAT(s, deflates_total);
    assert_int_equal(
        hub_publish(s->hub, HUB_STR("room:1"), HUB_STR("news"), hub_json(hub_str(json))), HUB_OK);
    for (size_t i = 0; i < COUNT(listeners); i++)
        expect_heard(&listeners[i], "news", json);
    SERVER_EXPECT_STAT(s, deflates_total, before + 1);
    free(json);
    free(payload);
}

static void each_worker_compresses_for_its_own(void **state)
{
    listener_t listeners[16];
    server_t *s =
        serve_on(3, (hub_endpoint_options_t){.deflate = {.enabled = true, .min_bytes = 1}});
    char *payload = long_payload(3000), *json = client_quotes(payload);

    (void)state;
    for (size_t i = 0; i < COUNT(listeners); i++) {
        listeners[i] = (listener_t){"/socket", OFFER, ANSWER, 15, NULL};
        join(&listeners[i], s);
    }
    for (size_t round = 0; round < 10; round++) {
        client_say(listeners[round].client, "room:1", "shout", payload, NULL);
        for (size_t i = 0; i < COUNT(listeners); i++)
            expect_heard(&listeners[i], "shout", json);
    }
    assert_in_range(SERVER_STAT(s, deflates_total), 16 + 10, 16 + 30);
    free(json);
    free(payload);
}

/* Two in one turn make one range; what one member gets of its own keeps its place between. */
static void order_is_kept_between_broadcasts_and_replies(void **state)
{
    listener_t ann = {"/socket", OFFER, ANSWER, 15, NULL}, bob = ann,
               cy = {"/socket", BITS(9), NULL};
    server_t *s = serve_deflate();
    char *payload = long_payload(500), *json = client_quotes(payload), bytes[8192];
    size_t len = 0;

    (void)state;
    join(&ann, s);
    join(&bob, s);
    join(&cy, s);
    for (size_t i = 0; i < 3; i++) {
        char text[1024], *quoted;

        snprintf(text, sizeof(text), "{'topic':'room:1','event':'%s','payload':%s}",
                 i == 1 ? "push" : "shout", payload);
        quoted = client_quotes(text);
        len += client_frame_write(bytes + len, CLIENT_TEXT, hub_str(quoted));
        free(quoted);
    }
    client_send(ann.client, hub_str_n(bytes, len));
    expect_heard(&ann, "shout", json);
    assert_non_null(memmem(inflated(15, client_expect_frame(ann.client, CLIENT_TEXT | RSV1)).base,
                           100, "\"push\"", 6));
    expect_heard(&ann, "shout", json);
    for (size_t i = 0; i < 2; i++) {
        expect_heard(&bob, "shout", json);
        expect_heard(&cy, "shout", json);
    }
    free(json);
    free(payload);
}

static void a_sender_may_be_left_out(void **state)
{
    listener_t ann = {"/socket", OFFER, ANSWER, 15, NULL}, bob = ann,
               cy = {"/socket", NULL, NULL, 0, NULL};
    server_t *s = serve_deflate();
    char *payload = long_payload(500), *json = client_quotes(payload);

    (void)state;
    join(&ann, s);
    join(&bob, s);
    join(&cy, s);
    client_say(ann.client, "room:1", "others", payload, NULL);
    client_say(ann.client, "room:1", "shout", payload, NULL);
    expect_heard(&ann, "shout", json);
    expect_heard(&bob, "others", json);
    expect_heard(&bob, "shout", json);
    expect_heard(&cy, "others", json);
    free(json);
    free(payload);
}

static void filters_see_and_replace_what_is_compressed(void **state)
{
    listener_t keeps = {"/socket", OFFER, ANSWER, 15, NULL},
               skips = {"/socket?skips=1", OFFER, ANSWER, 15, NULL},
               replaces = {"/socket?replaces=1", BITS(10), NULL},
               plain = {"/socket", NULL, NULL, 0, NULL};
    listener_t *all[] = {&keeps, &skips, &replaces, &plain};
    server_t *s = serve_deflate();
    char *payload = long_payload(500), *json = client_quotes(payload);

    (void)state;
    for (size_t i = 0; i < COUNT(all); i++)
        join(all[i], s);
    client_say(plain.client, "room:1", "veiled", payload, NULL);
    client_say(plain.client, "room:1", "shout", payload, NULL);
    expect_heard(&keeps, "veiled", json);
    expect_heard(&plain, "veiled", json);
    assert_non_null(
        memmem(inflated(10, client_expect_frame(replaces.client, CLIENT_TEXT | RSV1)).base, 200,
               "\"replaced\"", 10));
    for (size_t i = 0; i < COUNT(all); i++)
        expect_heard(all[i], "shout", json);
    free(json);
    free(payload);
}

/* More than any socket takes at once: the rest of a shared frame waits in the outbox. */
static void a_slow_reader_gets_all_of_it(void **state)
{
    server_t *s = serve(
        (hub_endpoint_options_t){.limits = {.message_bytes = 1048576, .outbox_bytes = 16777216},
                                 .deflate = {.enabled = true}});
    client_t *c = server_keep_client(s, client_connect(s->address, 4096));
    char *noise = malloc(2 * LIMIT);

    (void)state;
    fill_noise(noise, LIMIT);
    for (size_t i = 0; i < LIMIT; i++)
        noise[i] = (char)(' ' + (noise[i] & 63)); /* shrinks to three quarters */
    client_send_text(c, client_upgrade_text("/raw", "Sec-WebSocket-Extensions: " OFFER "\r\n"));
    (void)client_expect_response(c, 101);
    for (size_t i = 0; i < 20; i++)
        client_frame(c, CLIENT_BINARY, hub_str_n(noise, LIMIT));
    SERVER_EXPECT_STAT(s, conns_blocked, 1);
    for (size_t i = 0; i < 20; i++)
        expect_deflated(c, 15, CLIENT_BINARY, hub_str_n(noise, LIMIT));
    free(noise);
}

/* One joins or leaves, then the others are told, many times over: nobody hears what is not for it,
 * and nobody misses what is. */
static void members_come_and_go_whatever_they_agreed_on(void **state)
{
    listener_t listeners[] = {
        {"/socket", OFFER, ANSWER, 15, NULL}, {"/socket", OFFER, ANSWER, 15, NULL},
        {"/socket", BITS(9), NULL},           {"/socket", NULL, NULL, 0, NULL},
        {"/socket", BITS(9), NULL},           {"/socket", BITS(12), NULL},
        {"/socket", NULL, NULL, 0, NULL},     {"/socket", OFFER, ANSWER, 15, NULL},
    };
    server_t *s = serve_deflate();
    bool in[COUNT(listeners)];
    char json[300];
    unsigned seed = 7;

    (void)state;
    for (size_t i = 0; i < COUNT(listeners); i++) {
        join(&listeners[i], s);
        in[i] = true;
    }
    for (unsigned round = 0; round < 100; round++) {
        size_t who = (seed = seed * 1103515245 + 12345) / 65536 % COUNT(listeners);

        client_say(listeners[who].client, "room:1", in[who] ? "leave" : "join", "{}", "'1'");
        do { /* the answers to a leave are two */
            client_frame_t frame = client_next(listeners[who].client);
            hub_str_t text =
                (frame.first & RSV1) != 0 ? inflated(15, frame.payload) : frame.payload;

            if (memmem(text.base, text.len, "\"close\"", 7) == NULL)
                break;
        } while (true);
        in[who] = !in[who];
        snprintf(json, sizeof(json), "[%u,\"%0200d\"]", round, 0);
        assert_int_equal(
            hub_publish(s->hub, HUB_STR("room:1"), HUB_STR("n"), hub_json(hub_str(json))), HUB_OK);
        for (size_t i = 0; i < COUNT(listeners); i++)
            if (in[i])
                expect_heard(&listeners[i], "n", json);
    }
}

/* Whatever was dropped, each of the others stands alone. */
static void a_slow_member_reads_what_was_kept(void **state)
{
    static char blob[100000];
    server_t *s = serve_deflate();
    client_t *c = server_keep_client(s, client_connect(s->address, 4096));
    char number[300];
    hub_str_t text;

    (void)state;
    client_send_text(c, client_upgrade_text("/socket", "Sec-WebSocket-Extensions: " OFFER "\r\n"));
    (void)client_expect_response(c, 101);
    client_say(c, "slow:1", "join", "{}", "'1'");
    (void)client_next(c);
    fill_noise(blob, sizeof(blob));
    for (size_t i = 0; i < sizeof(blob); i++)
        blob[i] = (char)('0' + (blob[i] & 31));
    blob[0] = blob[sizeof(blob) - 1] = '"';
    for (unsigned i = 0; SERVER_STAT(s, conns_blocked) == 0; i++) {
        uint64_t published = SERVER_STAT(s, publishes_total);

        assert_true(i < 200);
        assert_int_equal(hub_publish(s->hub, HUB_STR("slow:1"), HUB_STR("blob"),
                                     hub_json(hub_str_n(blob, sizeof(blob)))),
                         HUB_OK);
        SERVER_EXPECT_STAT(s, publishes_total, published + 1);
    }
    for (int i = 1; i <= 6; i++) {
        snprintf(number, sizeof(number), "[%d%200s]", i, "");
        assert_int_equal(
            hub_publish(s->hub, HUB_STR("slow:1"), HUB_STR("n"), hub_json(hub_str(number))),
            HUB_OK);
    }
    SERVER_EXPECT_STAT_AT_LEAST(s, dropped_total, 3);
    do {
        client_frame_t frame = client_next(c);

        text = (frame.first & RSV1) != 0 ? inflated(15, frame.payload) : frame.payload;
    } while (memmem(text.base, 40, "\"blob\"", 6) != NULL);
    assert_non_null(memmem(text.base, 60, "\"gap\"", 5));
    for (char n = '4'; n <= '6'; n++) {
        const char *at;

        text = inflated(15, client_expect_frame(c, CLIENT_TEXT | RSV1));
        at = memmem(text.base, text.len, "[", 1);
        assert_non_null(at);
        assert_int_equal(at[1], n);
    }
}

static void long_poll_is_left_alone(void **state)
{
    server_t *s = serve(
        (hub_endpoint_options_t){.longpoll = true, .deflate = {.enabled = true, .min_bytes = 1}});
    client_t *c = server_connect(s);
    client_response_t response;

    (void)state;
    client_request(c, "GET", "/socket/longpoll?vsn=2.0.0",
                   "Sec-WebSocket-Extensions: " OFFER "\r\n");
    response = client_expect_response(c, 200);
    assert_null(client_header(&response, "Sec-WebSocket-Extensions").base);
    assert_non_null(strstr(response.body.base, "\"token\""));
    SERVER_EXPECT_STAT(s, deflates_total, 0);
}

/* ---- receiving ---- */

static void compressed_messages_of_any_length_are_read(void **state)
{
    static const size_t lengths[] = {0, 1, 2, 125, 126, 5000, 65535, 65536};
    static char bytes[LIMIT];
    server_t *s =
        serve((hub_endpoint_options_t){.deflate = {.enabled = true, .min_bytes = LIMIT + 1}});
    client_t *c = open_raw(s);

    (void)state;
    for (size_t i = 0; i < COUNT(lengths); i++) {
        memset(bytes, 'a' + (int)i, sizeof(bytes));
        (void)send_deflated(c, NULL, CLIENT_TEXT, hub_str_n(bytes, lengths[i]));
        client_expect_message(c, CLIENT_TEXT, hub_str_n(bytes, lengths[i]));
        fill_noise(bytes, sizeof(bytes));
        (void)send_deflated(c, NULL, CLIENT_BINARY, hub_str_n(bytes, lengths[i]));
        client_expect_message(c, CLIENT_BINARY, hub_str_n(bytes, lengths[i]));
    }
    SERVER_EXPECT_STAT(s, inflates_total, 2 * COUNT(lengths));
    SERVER_EXPECT_STAT(s, inflates_bad_total, 0);
}

static void envelopes_may_come_compressed(void **state)
{
    client_t *c = open_with(serve_deflate(), "/socket", OFFER, ANSWER);

    (void)state;
    (void)send_deflated(
        c, NULL, CLIENT_TEXT,
        HUB_STR("{\"topic\":\"room:1\",\"event\":\"join\",\"payload\":{},\"ref\":\"1\"}"));
    assert_non_null(
        memmem(inflated(15, client_expect_frame(c, CLIENT_TEXT | RSV1)).base, 200, "\"ok\"", 4));
}

static void compressed_and_other_messages_may_alternate(void **state)
{
    client_t *c = open_raw(serve_deflate());

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        (void)send_deflated(c, NULL, CLIENT_TEXT, HUB_STR("deflated"));
        client_frame(c, CLIENT_TEXT, HUB_STR("as it is"));
        client_expect_message(c, CLIENT_TEXT, HUB_STR("deflated"));
        client_expect_message(c, CLIENT_TEXT, HUB_STR("as it is"));
    }
}

/* Sends a compressed message in so many fragments, each with a ping behind it. */
static void send_fragments(client_t *client, hub_str_t payload, size_t count, bool bytewise)
{
    for (size_t i = 0; i < count; i++) {
        size_t from = payload.len * i / count, to = payload.len * (i + 1) / count;
        unsigned first = (i == 0 ? 0x01 | RSV1 : 0) | (i + 1 == count ? CLIENT_FIN : 0);
        char bytes[4096];
        size_t len = client_frame_write(bytes, first, hub_str_n(payload.base + from, to - from));

        if (bytewise)
            client_send_bytewise(client, hub_str_n(bytes, len));
        else
            client_send(client, hub_str_n(bytes, len));
        if (i + 1 != count)
            client_frame(client, CLIENT_PING, HUB_STR("between"));
    }
}

static void fragments_may_be_cut_anywhere_with_pings_between(void **state)
{
    static const size_t counts[] = {1, 2, 3, 7, 60};
    client_t *c = open_raw(serve((hub_endpoint_options_t){
        .limits = {SERVER_UNHURRIED}, .deflate = {.enabled = true, .min_bytes = LIMIT}}));
    hub_str_t text = HUB_STR("fragments of \xe2\x82\xac, \xe2\x82\xac and \xf0\x9f\x98\x80");
    hub_str_t payload = deflated(NULL, text, Z_SYNC_FLUSH);

    (void)state;
    for (size_t i = 0; i < COUNT(counts); i++) {
        send_fragments(c, payload, counts[i], i % 2 != 0);
        for (size_t p = 0; p + 1 < counts[i]; p++)
            client_expect_message(c, CLIENT_PONG, HUB_STR("between"));
        client_expect_message(c, CLIENT_TEXT, text);
    }
    free((void *)(uintptr_t)payload.base);
}

static void an_empty_message_is_one_byte(void **state)
{
    client_t *c = open_raw(serve_deflate());

    (void)state;
    client_frame(c, CLIENT_TEXT | RSV1, hub_str_n("\0", 1));
    client_expect_message(c, CLIENT_TEXT, HUB_STR(""));
    client_frame(c, 0x01 | RSV1, HUB_STR(""));
    client_frame(c, 0x80, hub_str_n("\0", 1));
    client_expect_message(c, CLIENT_TEXT, HUB_STR(""));
}

static void a_client_may_refer_back_where_that_is_agreed_on(void **state)
{
    server_t *s = serve_context();
    client_t *c = open_with(s, "/raw", OFFER "; client_max_window_bits=9",
                            OFFER "; server_no_context_takeover; client_max_window_bits=9");
    z_stream stream = {0};
    size_t first, second;
    char text[200];

    (void)state;
    assert_int_equal(deflateInit2(&stream, 9, Z_DEFLATED, -9, 9, Z_DEFAULT_STRATEGY), Z_OK);
    fill_noise(text, sizeof(text));
    first = send_deflated(c, &stream, CLIENT_BINARY, hub_str_n(text, sizeof(text)));
    client_expect_message(c, CLIENT_BINARY, hub_str_n(text, sizeof(text)));
    second = send_deflated(c, &stream, CLIENT_BINARY, hub_str_n(text, sizeof(text)));
    client_expect_message(c, CLIENT_BINARY, hub_str_n(text, sizeof(text)));
    assert_true(second < first / 4);                     /* it did */
    client_frame(c, CLIENT_BINARY, HUB_STR("as it is")); /* is no part of the context */
    client_expect_message(c, CLIENT_BINARY, HUB_STR("as it is"));
    (void)send_deflated(c, &stream, CLIENT_BINARY, hub_str_n(text, sizeof(text)));
    client_expect_message(c, CLIENT_BINARY, hub_str_n(text, sizeof(text)));
    (void)deflateEnd(&stream);
}

/* Also when another connection of the same worker has just said what is referred to. */
static void a_client_that_refers_back_without_leave_is_closed(void **state)
{
    server_t *s = serve_deflate();
    client_t *other = open_raw(s), *c = open_raw(s);

    (void)state;
    client_frame(other, CLIENT_TEXT | RSV1, HUB_STR("\xf2\x48\xcd\xc9\xc9\x07\x00"));
    client_expect_message(other, CLIENT_TEXT, HUB_STR("Hello"));
    client_frame(c, CLIENT_TEXT | RSV1, HUB_STR("\xf2\x48\xcd\xc9\xc9\x07\x00"));
    client_expect_message(c, CLIENT_TEXT, HUB_STR("Hello"));
    client_frame(c, CLIENT_TEXT | RSV1, HUB_STR("\xf2\x00\x11\x00\x00"));
    (void)client_expect_close(c, 1007);
    client_frame(other, CLIENT_TEXT | RSV1, HUB_STR("\xf2\x48\xcd\xc9\xc9\x07\x00"));
    client_expect_message(other, CLIENT_TEXT, HUB_STR("Hello"));
}

/* ---- misuse ---- */

static void expect_closed(client_t *client, unsigned code, const char *note)
{
    (void)client_expect_close(client, code);
    client_expect_eof(client);
    server_expect_note(note);
}

static void the_reserved_bit_is_for_the_first_frame_of_a_message(void **state)
{
    server_t *s = serve_deflate();
    client_t *c;
    static const unsigned firsts[] = {
        CLIENT_PING | RSV1, CLIENT_PONG | RSV1, CLIENT_CLOSE | RSV1, 0x80 | RSV1, 0x81 | 0x20,
        0x81 | 0x10,        0x81 | 0x70,        0xc1 | 0x20,         0xc3,        0x41 | 0x10};

    (void)state;
    for (size_t i = 0; i < COUNT(firsts); i++) {
        c = open_raw(s);
        client_frame(c, firsts[i], HUB_STR(""));
        expect_closed(c, 1002, "closed protocol");
    }
    c = open_raw(s);
    client_frame(c, 0x01 | RSV1, HUB_STR("\xf2\x48\xcd"));
    client_frame(c, 0x80 | RSV1, HUB_STR("\xc9\xc9\x07\x00"));
    expect_closed(c, 1002, "closed protocol");
    c = open_raw(s);
    client_frame(c, 0x01, HUB_STR("Hel"));
    client_frame(c, 0x80 | RSV1, HUB_STR("lo"));
    expect_closed(c, 1002, "closed protocol");
    SERVER_EXPECT_STAT(s, closed_protocol_total, COUNT(firsts) + 2);
}

static void it_is_for_nothing_where_nothing_was_agreed_on(void **state)
{
    server_t *s = serve_deflate();
    client_t *c = open_with(s, "/raw", NULL, NULL);

    (void)state;
    client_frame(c, CLIENT_TEXT | RSV1, HUB_STR("\xf2\x48\xcd\xc9\xc9\x07\x00"));
    expect_closed(c, 1002, "closed protocol");
    c = open_with(s, "/raw", OFFER "; unknown", NULL);
    client_frame(c, CLIENT_TEXT | RSV1, HUB_STR("\xf2\x48\xcd\xc9\xc9\x07\x00"));
    expect_closed(c, 1002, "closed protocol");
    SERVER_EXPECT_STAT(s, inflates_total, 0);
}

static void bad_data_ends_the_connection(void **state)
{
    static const hub_str_t payloads[] = {
        {"\xff\xff\xff", 3},                     /* no such block */
        {"", 0},                                 /* not even an empty block */
        {"\xf2\x48\xcd\xc9\xc9", 5},             /* cut off */
        {"\xf2\x48\xcd\xc9\xc9\x07\x00\x01", 8}, /* more behind it */
        {"\xf2\x00\x11\x00\x00", 5},             /* refers back to nothing */
        {"\xa2\x7e\xb2\x0b\xff\x6e\x23", 7},
    };
    server_t *s = serve_deflate();

    (void)state;
    for (size_t i = 0; i < COUNT(payloads); i++) {
        client_t *c = open_raw(s);

        client_frame(c, CLIENT_BINARY | RSV1, payloads[i]);
        expect_closed(c, 1007, "closed protocol");
    }
    SERVER_EXPECT_STAT(s, inflates_bad_total, COUNT(payloads));
    server_expect_log("conn.inflate", "syntax error");
}

static void text_that_is_not_utf8_ends_it_once_it_is_inflated(void **state)
{
    server_t *s = serve_deflate();
    client_t *c = open_raw(s);

    (void)state;
    (void)send_deflated(c, NULL, CLIENT_BINARY, HUB_STR("\xed\xa0\x80"));
    client_expect_message(c, CLIENT_BINARY, HUB_STR("\xed\xa0\x80"));
    (void)send_deflated(c, NULL, CLIENT_TEXT, HUB_STR("\xed\xa0\x80"));
    expect_closed(c, 1007, "closed protocol");
    c = open_raw(s);
    (void)send_deflated(c, NULL, CLIENT_TEXT, HUB_STR("cut \xf0\x9f"));
    expect_closed(c, 1007, "closed protocol");
}

static void one_byte_more_than_the_limit_is_too_large(void **state)
{
    static char bytes[1001];
    server_t *s = serve((hub_endpoint_options_t){.limits = {.message_bytes = 1000},
                                                 .deflate = {.enabled = true, .min_bytes = LIMIT}});
    hub_str_t payload;
    client_t *c = open_raw(s);

    (void)state;
    memset(bytes, 'x', sizeof(bytes));
    (void)send_deflated(c, NULL, CLIENT_TEXT, hub_str_n(bytes, 1000));
    client_expect_message(c, CLIENT_TEXT, hub_str_n(bytes, 1000));
    (void)send_deflated(c, NULL, CLIENT_TEXT, hub_str_n(bytes, 1001));
    expect_closed(c, 1009, "closed too_large");
    c = open_raw(s);
    payload = deflated(NULL, hub_str_n(bytes, 1001), Z_SYNC_FLUSH);
    send_fragments(c, payload, 2, false);
    client_expect_message(c, CLIENT_PONG, HUB_STR("between"));
    expect_closed(c, 1009, "closed too_large");
    free((void *)(uintptr_t)payload.base);
    /* what has no pattern is longer compressed than the limit */
    c = open_raw(s);
    fill_noise(bytes, sizeof(bytes));
    assert_true(send_deflated(c, NULL, CLIENT_BINARY, hub_str_n(bytes, 1000)) > 1000);
    client_expect_message(c, CLIENT_BINARY, hub_str_n(bytes, 1000));
    (void)send_deflated(c, NULL, CLIENT_BINARY, hub_str_n(bytes, 1001));
    expect_closed(c, 1009, "closed too_large");
    SERVER_EXPECT_STAT(s, closed_too_large_total, 3);
}

/* 16 MiB in 16 KiB. */
static void a_bomb_is_inflated_no_further_than_the_limit(void **state)
{
    server_t *s = serve_deflate();
    client_t *c = open_raw(s);
    size_t len = 16u << 20;
    char *zeros = calloc(1, len);
    hub_str_t payload = deflated(NULL, hub_str_n(zeros, len), Z_SYNC_FLUSH);

    (void)state;
    assert_in_range(payload.len, 15000, 17500);
    client_frame(c, CLIENT_BINARY | RSV1, payload);
    expect_closed(c, 1009, "closed too_large");
    SERVER_EXPECT_STAT(s, inflates_bad_total, 1);
    SERVER_EXPECT_STAT(s, inflate_bytes_out_total, LIMIT + 1);
    free((void *)(uintptr_t)payload.base);
    free(zeros);
}

static void what_a_message_becomes_counts_as_said(void **state)
{
    static char text[60000];
    server_t *s = serve((hub_endpoint_options_t){
        .limits = {.bytes_per_s = 1000000, .bytes_burst = 50000}, .deflate = {.enabled = true}});
    client_t *c = open_raw(s);

    (void)state;
    memset(text, 'x', sizeof(text));
    assert_in_range(send_deflated(c, NULL, CLIENT_TEXT, hub_str_n(text, sizeof(text))), 1, 200);
    expect_deflated(c, 15, CLIENT_TEXT, hub_str_n(text, sizeof(text)));
    SERVER_EXPECT_STAT(s, read_pauses_total, 1);
    client_frame(c, CLIENT_TEXT, HUB_STR("later"));
    client_expect_message(c, CLIENT_TEXT, HUB_STR("later"));
}

/* Two of ten are within the rate; the third is looked at just as far as a refusal may take. */
static void bombs_past_the_rate_are_not_inflated(void **state)
{
    static char text[LIMIT];
    server_t *s = serve((hub_endpoint_options_t){
        .limits = {.messages_per_s = 1, .messages_burst = 2}, .deflate = {.enabled = true}});
    client_t *c = open_with(s, "/socket", OFFER, ANSWER);
    hub_str_t payload;
    char bytes[4096];
    size_t len = 0;

    (void)state;
    memset(text, 'x', sizeof(text));
    payload = deflated(NULL, hub_str_n(text, sizeof(text)), Z_SYNC_FLUSH);
    for (size_t i = 0; i < 10; i++)
        len += client_frame_write(bytes + len, CLIENT_TEXT | RSV1, payload);
    client_send(c, hub_str_n(bytes, len));
    (void)client_drain_to_close(c, 1008);
    SERVER_EXPECT_STAT(s, closed_limit_total, 1);
    SERVER_EXPECT_STAT(s, rate_messages_refused_total, 1);
    SERVER_EXPECT_STAT(s, inflate_bytes_out_total, 2 * LIMIT + 4097);
    free((void *)(uintptr_t)payload.base);
}

static void a_short_message_past_the_rate_is_refused_as_others_are(void **state)
{
    server_t *s = serve((hub_endpoint_options_t){
        .limits = {.messages_per_s = 1, .messages_burst = 1}, .deflate = {.enabled = true}});
    client_t *c = open_with(s, "/socket", OFFER, ANSWER);

    (void)state;
    client_join(c, "room:1", "'1'");
    (void)send_deflated(
        c, NULL, CLIENT_TEXT,
        HUB_STR("{\"topic\":\"room:1\",\"event\":\"echo\",\"payload\":{},\"ref\":\"2\"}"));
    assert_non_null(strstr(client_expect_frame(c, CLIENT_TEXT).base, "\"rate\""));
    client_close_frame(c, 1000, "");
    (void)client_expect_close(c, 1000);
}

static void an_unfinished_one_has_no_more_time_than_others(void **state)
{
    client_t *c = open_raw(serve(
        (hub_endpoint_options_t){.limits = {.unfinished_ms = 30}, .deflate = {.enabled = true}}));

    (void)state;
    client_frame(c, 0x01 | RSV1, HUB_STR("\xf2\x48\xcd"));
    expect_closed(c, 1008, "closed limit");
}

/* What a stopped server leaves behind is for the leak checker to find. */
static void a_connection_may_end_in_the_middle(void **state)
{
    server_t *s = serve_context();
    client_t *c = open_with(s, "/raw", OFFER, OFFER "; server_no_context_takeover");

    (void)state;
    (void)send_deflated(c, NULL, CLIENT_TEXT, HUB_STR("Hello"));
    client_expect_message(c, CLIENT_TEXT, HUB_STR("Hello"));
    client_frame(c, 0x01 | RSV1, HUB_STR("\xf2\x48\xcd"));
    server_drop_client(s, c, client_abort);
    server_expect_note("closed lost");
    server_stop(s);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        SERVER_CASE(nothing_is_agreed_on_unless_it_is_on_and_offered),
        SERVER_CASE(the_answer_is_what_was_agreed_on),
        SERVER_CASE(a_malformed_list_is_refused),
        SERVER_CASE(a_bad_option_is_named),
        SERVER_CASE(replies_and_pushes_are_compressed),
        SERVER_CASE(short_messages_go_out_as_they_are),
        SERVER_CASE(what_would_grow_goes_out_as_it_is),
        SERVER_CASE(control_frames_never_are),
        SERVER_CASE(a_broadcast_reaches_each_as_agreed_on),
        SERVER_CASE(a_message_to_many_is_compressed_once),
        SERVER_CASE(each_worker_compresses_for_its_own),
        SERVER_CASE(order_is_kept_between_broadcasts_and_replies),
        SERVER_CASE(a_sender_may_be_left_out),
        SERVER_CASE(filters_see_and_replace_what_is_compressed),
        SERVER_CASE(a_slow_reader_gets_all_of_it),
        SERVER_CASE(members_come_and_go_whatever_they_agreed_on),
        SERVER_CASE(a_slow_member_reads_what_was_kept),
        SERVER_CASE(long_poll_is_left_alone),
        SERVER_CASE(compressed_messages_of_any_length_are_read),
        SERVER_CASE(envelopes_may_come_compressed),
        SERVER_CASE(compressed_and_other_messages_may_alternate),
        SERVER_CASE(fragments_may_be_cut_anywhere_with_pings_between),
        SERVER_CASE(an_empty_message_is_one_byte),
        SERVER_CASE(a_client_may_refer_back_where_that_is_agreed_on),
        SERVER_CASE(a_client_that_refers_back_without_leave_is_closed),
        SERVER_CASE(the_reserved_bit_is_for_the_first_frame_of_a_message),
        SERVER_CASE(it_is_for_nothing_where_nothing_was_agreed_on),
        SERVER_CASE(bad_data_ends_the_connection),
        SERVER_CASE(text_that_is_not_utf8_ends_it_once_it_is_inflated),
        SERVER_CASE(one_byte_more_than_the_limit_is_too_large),
        SERVER_CASE(a_bomb_is_inflated_no_further_than_the_limit),
        SERVER_CASE(what_a_message_becomes_counts_as_said),
        SERVER_CASE(bombs_past_the_rate_are_not_inflated),
        SERVER_CASE(a_short_message_past_the_rate_is_refused_as_others_are),
        SERVER_CASE(an_unfinished_one_has_no_more_time_than_others),
        SERVER_CASE(a_connection_may_end_in_the_middle),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
