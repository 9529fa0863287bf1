/* SPDX-License-Identifier: MIT */
/* Presence over real sockets: what members are told, in every wire format, over several workers and
 * over two hubs on one bus. Members keep the list as phoenix.js does. */
#define _GNU_SOURCE 1
#include "test/fake_backend.h"
#include "test/server.h"
#include "test/watcher.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

#include <cmocka.h>

#define V2 "/socket/websocket?vsn=2.0.0"
#define V1 "/socket/websocket?vsn=1.0.0"

/* ---- the channel of these cases ---- */

/* The payload of a join names the key: {"key":"alice"}. */
static hub_str_t key_of(const hub_message_t *msg, json_t **ret_payload)
{
    *ret_payload = json_loadb(msg->payload.bytes.base, msg->payload.bytes.len, 0, NULL);
    return hub_str(json_string_value(json_object_get(*ret_payload, "key")));
}

static hub_status_t on_join(hub_member_t *me, const hub_message_t *msg)
{
    json_t *payload;
    hub_str_t key = key_of(msg, &payload);
    hub_status_t err = HUB_OK;

    if (key.len != 0)
        err = hub_presence_track(me, key, HUB_JSON("{\"at\":1}"));
    if (err == HUB_OK)
        err = hub_presence_push(me);
    if (json_is_true(json_object_get(payload, "refused")))
        err = HUB_EREJECTED;
    json_decref(payload);
    return err;
}

static hub_token_t token;

static hub_status_t on_join_later(hub_member_t *me, const hub_message_t *msg)
{
    hub_status_t err = on_join(me, msg);

    if (err != HUB_OK)
        return err;
    err = hub_member_defer(me, &token);
    server_note("deferred");
    return err;
}

static hub_status_t answer(hub_member_t *me, const hub_message_t *msg, hub_status_t err)
{
    char json[40];

    snprintf(json, sizeof(json), "\"%s\"", hub_status_name(err));
    return hub_member_reply(me, msg, hub_json(hub_str(json)));
}

static hub_status_t on_track(hub_member_t *me, const hub_message_t *msg)
{
    json_t *payload;
    hub_str_t key = key_of(msg, &payload);
    hub_status_t err = hub_presence_track(me, key, HUB_JSON("{\"at\":2}"));

    err = answer(me, msg, err);
    json_decref(payload);
    return err;
}

static hub_status_t on_update(hub_member_t *me, const hub_message_t *msg)
{
    json_t *payload;
    hub_str_t key = key_of(msg, &payload);
    hub_status_t err = answer(me, msg, hub_presence_update(me, key, msg->payload));

    json_decref(payload);
    return err;
}

static hub_status_t on_untrack(hub_member_t *me, const hub_message_t *msg)
{
    json_t *payload;
    hub_str_t key = key_of(msg, &payload);
    hub_status_t err = answer(me, msg, hub_presence_untrack(me, key));

    json_decref(payload);
    return err;
}

static hub_status_t on_list(hub_member_t *me, const hub_message_t *msg)
{
    hub_payload_t list;
    hub_status_t err = hub_presence_list(me, &list);

    return err != HUB_OK ? answer(me, msg, err) : hub_member_reply(me, msg, list);
}

static hub_status_t on_block(hub_member_t *me, const hub_message_t *msg)
{
    (void)me, (void)msg;
    server_note("blocked");
    server_gate_wait();
    return HUB_OK;
}

static const hub_event_handler_t events[] = {
    {"track", on_track}, {"change", on_update},          {"untrack", on_untrack},
    {"list", on_list},   {"where", server_reply_thread}, {"block", on_block},
    {NULL, NULL},
};

static void add_channels(hub_t *hub, const hub_presence_options_t *presence)
{
    assert_int_equal(hub_channel_add(hub, &(hub_channel_options_t){.pattern = "room:{id}",
                                                                   .on_join = on_join,
                                                                   .events = events,
                                                                   .presence = presence}),
                     HUB_OK);
    assert_int_equal(hub_channel_add(hub, &(hub_channel_options_t){.pattern = "later:{id}",
                                                                   .on_join = on_join_later,
                                                                   .events = events,
                                                                   .presence = presence}),
                     HUB_OK);
    assert_int_equal(
        hub_channel_add(hub, &(hub_channel_options_t){.pattern = "plain:{id}", .events = events}),
        HUB_OK);
}

static server_t *serve(unsigned threads, const hub_presence_options_t *given)
{
    static const hub_presence_options_t defaults;
    server_t *s = server_create_with(&(hub_server_options_t){.threads = threads}, NULL);

    add_channels(s->hub, given != NULL ? given : &defaults);
    server_mount(s, NULL);
    server_start(s);
    return s;
}

/* ---- members that keep the list ---- */

static watcher_t begin_watching(server_t *s, const char *target, const char *topic, const char *key)
{
    return watcher_begin(server_client(s, target), target, topic, key);
}

static watcher_t watch_at(server_t *s, const char *target, const char *topic, const char *key)
{
    watcher_t watcher = begin_watching(s, target, topic, key);

    watcher_await_state(&watcher);
    return watcher;
}

static watcher_t watch(server_t *s, const char *key)
{
    return watch_at(s, V2, "room:1", key);
}

static void unwatch(server_t *s, watcher_t *watcher)
{
    server_drop_client(s, watcher->client, client_abort);
    watcher_forget(watcher);
}

/* Nothing waits before the answer to a heartbeat. */
static void expect_quiet(client_t *client)
{
    client_json(client, "[null,'q','phoenix','heartbeat',{}]");
    client_expect_json(client, "[null,'q','phoenix','phx_reply',{'response':{},'status':'ok'}]");
}

/* ---- cases ---- */

static void the_state_follows_the_join_reply_and_carries_its_join_ref(void **state)
{
    server_t *s = serve(1, NULL);
    client_t *client = server_client(s, V2);
    json_t *frame;

    (void)state;
    client_json(client, "['7','8','room:1','phx_join',{'key':'alice'}]");
    client_expect_json(client, "['7','8','room:1','phx_reply',{'response':{},'status':'ok'}]");
    frame = json_loads(client_expect_frame(client, CLIENT_TEXT).base, 0, NULL);
    assert_string_equal(json_string_value(json_array_get(frame, 3)), "presence_diff");
    assert_true(json_is_null(json_array_get(frame, 0)));
    json_decref(frame);
    frame = json_loads(client_expect_frame(client, CLIENT_TEXT).base, 0, NULL);
    assert_string_equal(json_string_value(json_array_get(frame, 0)), "7");
    assert_true(json_is_null(json_array_get(frame, 1)));
    assert_string_equal(json_string_value(json_array_get(frame, 3)), "presence_state");
    json_decref(frame);
    expect_quiet(client);
}

static void every_wire_format_is_told(void **state)
{
    server_t *s = serve(1, NULL);
    watcher_t two = watch_at(s, V2, "room:1", "two");
    watcher_t one = watch_at(s, V1, "room:1", "one");
    watcher_t native = watch_at(s, "/socket", "room:1", "native");

    (void)state;
    watcher_expect(&two, "{'native':1,'one':1,'two':1}");
    watcher_expect(&one, "{'native':1,'one':1,'two':1}");
    watcher_expect(&native, "{'native':1,'one':1,'two':1}");
    unwatch(s, &one);
    watcher_expect(&two, "{'native':1,'two':1}");
    watcher_expect(&native, "{'native':1,'two':1}");
    watcher_forget(&two);
    watcher_forget(&native);
}

static void two_connections_of_one_user_are_two_metas(void **state)
{
    server_t *s = serve(2, NULL);
    watcher_t first = watch(s, "alice"), second = watch(s, "alice");

    (void)state;
    watcher_expect(&first, "{'alice':2}");
    watcher_expect(&second, "{'alice':2}");
    unwatch(s, &second);
    watcher_expect(&first, "{'alice':1}");
    watcher_forget(&first);
}

static void tracking_updating_and_untracking_are_told_to_all(void **state)
{
    server_t *s = serve(1, NULL);
    watcher_t alice = watch(s, "alice"), bob = watch(s, "bob");

    (void)state;
    client_json(bob.client, "['7','9','room:1','track',{'key':'phone'}]");
    watcher_expect(&alice, "{'alice':1,'bob':1,'phone':1}");
    watcher_expect(&bob, "{'alice':1,'bob':1,'phone':1}");
    client_json(bob.client, "['7','9','room:1','change',{'key':'phone','away':true}]");
    while (json_object_get(
               json_object_iter_value(json_object_iter(json_object_get(alice.view, "phone"))),
               "away") == NULL)
        watcher_take(&alice);
    client_json(bob.client, "['7','9','room:1','untrack',{'key':'phone'}]");
    watcher_expect(&alice, "{'alice':1,'bob':1}");
    watcher_expect(&bob, "{'alice':1,'bob':1}");
    SERVER_EXPECT_STAT(s, presences, 2);
    watcher_forget(&alice);
    watcher_forget(&bob);
}

static void the_list_is_that_of_the_state(void **state)
{
    server_t *s = serve(1, NULL);
    watcher_t alice = watch(s, "alice");
    json_t *frame, *view;

    (void)state;
    watcher_expect(&alice, "{'alice':1}");
    client_json(alice.client, "['7','9','room:1','list',{}]");
    frame = json_loads(client_expect_frame(alice.client, CLIENT_TEXT).base, 0, NULL);
    view = watcher_by_refs(json_object_get(json_array_get(frame, 4), "response"));
    assert_true(json_equal(view, alice.view));
    json_decref(view);
    json_decref(frame);
    watcher_forget(&alice);
}

static void who_is_refused_was_never_there(void **state)
{
    server_t *s = serve(1, NULL);
    watcher_t alice = watch(s, "alice");
    client_t *other = server_client(s, V2);

    (void)state;
    watcher_expect(&alice, "{'alice':1}");
    client_json(other, "['1','1','room:1','phx_join',{'key':'eve','refused':true}]");
    client_expect_json(other, "['1','1','room:1','phx_reply',{'response':"
                              "{'reason':'join_rejected'},'status':'error'}]");
    expect_quiet(other);
    client_json(alice.client, "['7','9','room:1','where',{}]");
    watcher_take(&alice);
    assert_true(watcher_sees(&alice, "{'alice':1}"));
    SERVER_EXPECT_STAT(s, presences, 1);
    watcher_forget(&alice);
}

static void a_deferred_join_gets_its_state_behind_the_reply(void **state)
{
    server_t *s = serve(1, NULL);
    watcher_t alice = {.v2 = true, .client = server_client(s, V2)};

    (void)state;
    client_json(alice.client, "['7','8','later:1','phx_join',{'key':'alice'}]");
    server_expect_note("deferred");
    expect_quiet(alice.client);
    assert_int_equal(hub_join_accept(s->hub, &token, HUB_JSON("{}")), HUB_OK);
    while (alice.view == NULL)
        watcher_take(&alice);
    watcher_expect(&alice, "{'alice':1}");
    watcher_forget(&alice);
}

static void who_comes_while_a_join_is_deferred_is_seen(void **state)
{
    server_t *s = serve(1, &(hub_presence_options_t){.diff_ms = HUB_PRESENCE_AT_ONCE});
    watcher_t alice = {.v2 = true, .client = server_client(s, V2)};
    client_t *bob = server_client(s, V2);
    hub_token_t first;

    (void)state;
    client_json(alice.client, "['7','8','later:1','phx_join',{'key':'alice'}]");
    server_expect_note("deferred");
    expect_quiet(alice.client);
    first = token;
    client_json(bob, "['7','8','later:1','phx_join',{'key':'bob'}]");
    server_expect_note("deferred");
    expect_quiet(bob);
    SERVER_EXPECT_STAT_AT_LEAST(s, presences, 2);
    assert_int_equal(hub_join_accept(s->hub, &first, HUB_JSON("{}")), HUB_OK);
    while (alice.view == NULL)
        watcher_take(&alice);
    watcher_expect(&alice, "{'alice':1,'bob':1}");
    watcher_forget(&alice);
}

static void a_leave_and_a_lost_connection_are_told_at_once(void **state)
{
    server_t *s = serve(1, NULL);
    watcher_t alice = watch(s, "alice"), bob = watch(s, "bob"), carol = watch(s, "carol");

    (void)state;
    watcher_expect(&alice, "{'alice':1,'bob':1,'carol':1}");
    client_json(bob.client, "['7','9','room:1','phx_leave',{}]");
    watcher_expect(&alice, "{'alice':1,'carol':1}");
    unwatch(s, &carol);
    watcher_expect(&alice, "{'alice':1}");
    watcher_forget(&alice);
    watcher_forget(&bob);
}

static void a_second_join_of_the_same_member_is_one_presence(void **state)
{
    server_t *s = serve(1, NULL);
    watcher_t alice = watch(s, "alice"), bob = watch(s, "bob");

    (void)state;
    watcher_expect(&alice, "{'alice':1,'bob':1}");
    client_json(bob.client, "['9','9','room:1','phx_join',{'key':'robert'}]");
    watcher_expect(&alice, "{'alice':1,'robert':1}");
    watcher_expect(&bob, "{'alice':1,'robert':1}");
    watcher_forget(&alice);
    watcher_forget(&bob);
}

static void a_reconnect_within_the_grace_goes_unseen(void **state)
{
    server_t *s = serve(1, &(hub_presence_options_t){.grace_ms = 60000});
    watcher_t alice = watch(s, "alice"), bob = watch(s, "bob");
    uint64_t diffs;

    (void)state;
    watcher_expect(&alice, "{'alice':1,'bob':1}");
    diffs = SERVER_STAT(s, presence_diffs_total);
    unwatch(s, &bob);
    SERVER_EXPECT_STAT(s, conns, 1);
    bob = watch(s, "bob");
    watcher_expect(&bob, "{'alice':1,'bob':1}");
    assert_int_equal(SERVER_STAT(s, presence_diffs_total), diffs);
    client_json(bob.client, "['7','9','room:1','phx_leave',{}]"); /* that is meant */
    watcher_expect(&alice, "{'alice':1}");
    watcher_forget(&alice);
    watcher_forget(&bob);
}

/* Whoever could not be sent the state asks for it again, inside the hook that says so. */
static hub_status_t push_again(const hub_hook_event_t *event, void *user)
{
    (void)user;
    server_note("failed");
    return event->member != NULL ? hub_presence_push(event->member) : HUB_OK;
}

static void a_hook_that_pushes_what_could_not_be_sent_ends(void **state)
{
    server_t *s = server_create();
    client_t *client;

    (void)state;
    add_channels(s->hub, &(hub_presence_options_t){.diff_ms = 50});
    assert_int_equal(hub_hook_add(s->hub, HUB_HOOK_MESSAGE_FAILED, push_again, NULL), HUB_OK);
    server_mount(s, &(hub_endpoint_options_t){.limits = {.outbox_messages = 2}});
    server_start(s);
    client = server_client(s, V2);
    client_json(client, "['7','8','room:1','phx_join',{'key':'alice'}]");
    server_expect_note("failed");
    (void)client_expect_close(client, 4008);
    SERVER_EXPECT_STAT(s, conns, 0);
}

/* ---- a state that many share ---- */

#define CROWD 14
#define SHARED_FRAMES 8 /* that whole frames are shared by; the others get fragments */

static struct {
    hub_member_t *members[CROWD];
    size_t count;
} crowd;

static hub_status_t on_join_crowd(hub_member_t *me, const hub_message_t *msg)
{
    char key[16], meta[320];

    (void)msg;
    snprintf(key, sizeof(key), "k%zu", crowd.count);
    snprintf(meta, sizeof(meta), "{\"text\":\"%0300d\"}", 0);
    crowd.members[crowd.count++] = me;
    return hub_presence_track(me, hub_str(key), hub_json(hub_str(meta)));
}

static hub_status_t on_all(hub_member_t *me, const hub_message_t *msg)
{
    hub_status_t err = HUB_OK;

    (void)me, (void)msg;
    for (size_t i = 0; i != crowd.count && err == HUB_OK; ++i)
        err = hub_presence_push(crowd.members[i]);
    return err;
}

static server_t *serve_crowd(void)
{
    static const hub_event_handler_t crowd_events[] = {{"all", on_all}, {NULL, NULL}};
    static const hub_presence_options_t presence;
    server_t *s = server_create();

    crowd.count = 0;
    server_channel(s, &(hub_channel_options_t){.pattern = "crowd:{id}",
                                               .on_join = on_join_crowd,
                                               .events = crowd_events,
                                               .presence = &presence});
    server_mount(s, NULL);
    server_start(s);
    return s;
}

/* The next message, of as many frames as it takes. */
static json_t *next_message(client_t *client, unsigned *ret_frames)
{
    static char text[16384];
    unsigned first;
    size_t len = 0;
    json_t *value;

    *ret_frames = 0;
    do {
        client_frame_t frame = client_next(client);

        first = frame.first;
        assert_int_equal(first & 0x7f, *ret_frames == 0 ? 1 : 0);
        ++*ret_frames;
        assert_true(frame.payload.len <= sizeof(text) - len);
        memcpy(text + len, frame.payload.base, frame.payload.len);
        len += frame.payload.len;
    } while ((first & 0x80) == 0);
    value = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(value);
    return value;
}

/* Skips diffs. Whether the state came in fragments. */
static bool expect_state(client_t *client, bool v2, const char *join_ref)
{
    unsigned frames;

    for (;;) {
        json_t *frame = next_message(client, &frames);
        const json_t *ref = v2 ? json_array_get(frame, 0) : json_object_get(frame, "join_ref");
        const json_t *event = v2 ? json_array_get(frame, 3) : json_object_get(frame, "event");
        const json_t *payload = v2 ? json_array_get(frame, 4) : json_object_get(frame, "payload");
        bool found = strcmp(json_string_value(event), "presence_state") == 0;

        if (found) {
            assert_string_equal(json_string_value(ref), join_ref);
            assert_int_equal(json_object_size(payload), CROWD);
            assert_true(frames == 1 || frames == 3);
        } else {
            assert_int_equal(frames, 1);
        }
        json_decref(frame);
        if (found)
            return frames != 1;
    }
}

static void a_large_state_is_shared_whatever_the_join_refs_are(void **state)
{
    server_t *s = serve_crowd();
    client_t *clients[CROWD];
    char text[96], ref[24];
    unsigned in_fragments = 0;

    (void)state;
    for (size_t i = 0; i != CROWD; ++i) {
        bool v2 = i % 4 != 0;

        clients[i] = server_client(s, v2 ? V2 : "/socket");
        /* the bytes around the payload are looked for in the frame */
        snprintf(ref, sizeof(ref), "{\\'\\':0}%zu", i);
        snprintf(text, sizeof(text),
                 v2 ? "['%s','1','crowd:{','phx_join',{}]"
                    : "{'join_ref':'%s','topic':'crowd:{','event':'join','payload':{},'ref':'1'}",
                 ref);
        client_json(clients[i], text);
        (void)client_expect_frame(clients[i], CLIENT_TEXT);
    }
    client_json(clients[0], "{'topic':'crowd:{','event':'all','payload':{}}");
    for (size_t i = 0; i != CROWD; ++i) {
        snprintf(ref, sizeof(ref), "{\"\":0}%zu", i);
        in_fragments += expect_state(clients[i], i % 4 != 0, ref);
    }
    assert_int_equal(in_fragments, CROWD - SHARED_FRAMES);
    for (size_t i = 0; i != CROWD; ++i)
        (i % 4 == 0 ? client_expect_quiet : expect_quiet)(clients[i]);
}

static void a_channel_without_presence_says_so(void **state)
{
    server_t *s = serve(1, NULL);
    client_t *client = server_client(s, V2);

    (void)state;
    client_json(client, "['1','1','plain:1','phx_join',{}]");
    client_expect_json(client, "['1','1','plain:1','phx_reply',{'response':{},'status':'ok'}]");
    client_json(client, "['1','2','plain:1','track',{'key':'x'}]");
    client_expect_json(client,
                       "['1','2','plain:1','phx_reply',{'response':'EINVAL','status':'ok'}]");
    client_json(client, "['1','3','plain:1','list',{}]");
    client_expect_json(client,
                       "['1','3','plain:1','phx_reply',{'response':'EINVAL','status':'ok'}]");
}

static void all_workers_see_the_same(void **state)
{
    server_t *s = serve(3, NULL);
    watcher_t watchers[24];
    char wanted[400] = "{";

    (void)state;
    for (size_t i = 0; i < 24; i++) {
        char key[8];

        snprintf(key, sizeof(key), "k%02zu", i);
        watchers[i] = watch(s, key);
        snprintf(wanted + strlen(wanted), sizeof(wanted) - strlen(wanted), "%s'%s':1",
                 i == 0 ? "" : ",", key);
    }
    strcat(wanted, "}");
    for (size_t i = 0; i < 24; i++)
        watcher_expect(&watchers[i], wanted);
    for (size_t i = 1; i < 24; i++)
        unwatch(s, &watchers[i]);
    watcher_expect(&watchers[0], "{'k00':1}");
    SERVER_EXPECT_STAT(s, presences, 1);
    watcher_forget(&watchers[0]);
}

/* Within one process a new worker of a topic hears all others first. */
static void the_first_state_is_complete_on_every_worker(void **state)
{
    server_t *s = serve(3, NULL);
    watcher_t alice = watch(s, "alice");

    (void)state;
    for (int i = 0; i < 12; i++) {
        watcher_t other = watch(s, "bob");

        assert_non_null(json_object_get(other.view, "alice"));
        unwatch(s, &other);
        watcher_expect(&alice, "{'alice':1}");
    }
    watcher_forget(&alice);
}

static void the_longest_topics_have_presence_as_well(void **state)
{
    server_t *s = server_create_with(&(hub_server_options_t){.threads = 2}, NULL);
    char topic[1025] = "room:";
    watcher_t watchers[8];

    (void)state;
    memset(topic + 5, 't', 1019);
    add_channels(s->hub, &(hub_presence_options_t){0});
    server_mount(s, &(hub_endpoint_options_t){.limits = {.topic_bytes = 1024}});
    server_start(s);
    for (size_t i = 0; i < 8; i++)
        watchers[i] = watch_at(s, V2, topic, "all");
    for (size_t i = 0; i < 8; i++) {
        watcher_expect(&watchers[i], "{'all':8}");
        watcher_forget(&watchers[i]);
    }
}

static void a_server_that_stops_tells_nobody_of_leaves(void **state)
{
    server_t *s = serve(3, NULL);
    watcher_t watchers[9];

    (void)state;
    for (size_t i = 0; i < 9; i++)
        watchers[i] = watch(s, "all");
    for (size_t i = 0; i < 9; i++)
        watcher_expect(&watchers[i], "{'all':9}");
    hub_server_stop(s->server);
    for (size_t i = 0; i < 9; i++) {
        (void)client_expect_close(watchers[i].client, 1012);
        unwatch(s, &watchers[i]);
    }
}

static void while_a_server_stops_those_who_stay_are_told_who_left(void **state)
{
    static const hub_presence_options_t defaults;
    server_t *s = server_create_with(
        &(hub_server_options_t){.limits = {.drain_batch = 1, .drain_batch_ms = 60000}}, NULL);
    watcher_t first, later;

    (void)state;
    add_channels(s->hub, &defaults);
    server_mount(s, NULL);
    server_start(s);
    first = watch(s, "first");
    later = watch(s, "later");
    watcher_expect(&later, "{'first':1,'later':1}");
    hub_server_stop(s->server);
    watcher_expect(&later, "{'later':1}");
    unwatch(s, &first);
    unwatch(s, &later);
}

/* ---- two hubs on one bus are two nodes ---- */

static struct {
    hub_bus_t *bus;
    server_t *left, *right;
} nodes;

static server_t *serve_node(uint32_t beat_ms)
{
    server_t *s = server_create_with(
        NULL, &(hub_options_t){.name = "app", .bus = nodes.bus, .presence_beat_ms = beat_ms});

    add_channels(s->hub, &(hub_presence_options_t){0});
    server_mount(s, NULL);
    server_start(s);
    return s;
}

static void start_nodes(uint32_t beat_ms)
{
    assert_int_equal(hub_bus_create(NULL, &nodes.bus, NULL), HUB_OK);
    nodes.left = serve_node(beat_ms);
    nodes.right = serve_node(beat_ms);
}

static int end_nodes(void **state)
{
    server_gate_open();
    server_teardown(state);
    hub_bus_destroy(nodes.bus);
    memset(&nodes, 0, sizeof(nodes));
    return 0;
}

static void nodes_see_each_other_and_one_that_stops_is_cleared(void **state)
{
    watcher_t alice, bob;

    (void)state;
    start_nodes(0);
    alice = watch(nodes.left, "alice");
    bob = watch(nodes.right, "bob");
    watcher_expect(&bob, "{'alice':1,'bob':1}");
    watcher_expect(&alice, "{'alice':1,'bob':1}");
    hub_server_stop(nodes.right->server);
    watcher_expect(&alice, "{'alice':1}");
    watcher_forget(&alice);
    unwatch(nodes.right, &bob);
}

static void a_node_that_falls_silent_is_cleared_and_comes_back(void **state)
{
    watcher_t alice, bob;

    (void)state;
    start_nodes(50);
    alice = watch(nodes.left, "alice");
    bob = watch(nodes.right, "bob");
    watcher_expect(&alice, "{'alice':1,'bob':1}");
    client_json(bob.client, "['7','9','room:1','block',{}]"); /* its loop stands still */
    server_expect_note("blocked");
    watcher_expect(&alice, "{'alice':1}");
    assert_true(SERVER_STAT(nodes.left, presence_peers_gone_total) >= 1);
    server_gate_open();
    watcher_expect(&alice, "{'alice':1,'bob':1}");
    watcher_expect(&bob, "{'alice':1,'bob':1}");
    watcher_forget(&alice);
    watcher_forget(&bob);
}

static void topics_of_presence_are_out_of_reach_for_clients(void **state)
{
    watcher_t alice;
    client_t *eve;

    (void)state;
    start_nodes(0);
    alice = watch(nodes.left, "alice");
    eve = server_client(nodes.right, V2);
    client_json(eve, "['1','1','presence\\u001froom:1','phx_join',{}]");
    client_expect_json(eve, "[null,'1','presence\\u001froom:1','phx_reply',{'response':"
                            "{'reason':'unmatched topic'},'status':'error'}]");
    /* a program that uses such a name does no harm */
    assert_int_equal(hub_publish(nodes.right->hub, HUB_STR("presence\x1froom:1"), HUB_STR("delta"),
                                 HUB_JSON("{\"joins\":[[1,1,\"eve\",{},0]]}")),
                     HUB_OK);
    SERVER_EXPECT_STAT_AT_LEAST(nodes.left, presence_bad_total, 1);
    assert_true(watcher_sees(&alice, "{'alice':1}"));
    watcher_forget(&alice);
}

/* ---- two hubs, each with a bus of its own, on one broker ---- */

static struct {
    fake_broker_t *broker;
    hub_bus_t *left_bus, *right_bus;
    server_t *left, *right;
} far;

static server_t *serve_far(hub_bus_t **bus, uint32_t beat_ms)
{
    server_t *s;

    assert_int_equal(hub_bus_create(&(hub_bus_options_t){.backend = &fake_backend,
                                                         .backend_options = far.broker},
                                    bus, NULL),
                     HUB_OK);
    s = server_create_with(
        &(hub_server_options_t){.threads = 2},
        &(hub_options_t){.name = "app", .bus = *bus, .presence_beat_ms = beat_ms});
    add_channels(s->hub, &(hub_presence_options_t){.diff_ms = 5});
    server_mount(s, NULL);
    server_start(s);
    return s;
}

static void start_far_with(fake_faults_t faults, uint32_t beat_ms)
{
    far.broker = fake_broker_create();
    fake_broker_set(far.broker, faults);
    far.left = serve_far(&far.left_bus, beat_ms);
    far.right = serve_far(&far.right_bus, beat_ms);
    fake_broker_start(far.broker);
    fake_broker_settle(far.broker);
}

static void start_far(fake_faults_t faults)
{
    start_far_with(faults, 500);
}

static int end_far(void **state)
{
    server_teardown(state);
    hub_bus_destroy(far.left_bus);
    hub_bus_destroy(far.right_bus);
    fake_broker_destroy(far.broker);
    memset(&far, 0, sizeof(far));
    return 0;
}

static void a_node_without_its_broker_is_alone_for_so_long(void **state)
{
    watcher_t alice, bob;

    (void)state;
    start_far((fake_faults_t){0});
    fake_broker_disconnect(far.broker, far.right_bus);
    alice = watch(far.left, "alice");
    bob = watch(far.right, "bob");
    watcher_expect(&bob, "{'bob':1}");
    fake_broker_connect(far.broker, far.right_bus);
    watcher_expect(&alice, "{'alice':1,'bob':1}");
    watcher_expect(&bob, "{'alice':1,'bob':1}");
    watcher_forget(&alice);
    watcher_forget(&bob);
}

static void what_a_broker_loses_or_doubles_is_made_good(void **state)
{
    watcher_t alice, bob;

    (void)state;
    start_far((fake_faults_t){.twice = true});
    alice = watch(far.left, "alice");
    bob = watch(far.right, "bob");
    watcher_expect(&alice, "{'alice':1,'bob':1}");
    watcher_expect(&bob, "{'alice':1,'bob':1}");
    fake_broker_settle(far.broker); /* what is lost is news, not an answer */
    fake_broker_set(far.broker, (fake_faults_t){.lose = 1});
    client_json(bob.client, "['7','9','room:1','track',{'key':'phone'}]");
    watcher_expect(&bob, "{'alice':1,'bob':1,'phone':1}");
    fake_broker_settle(far.broker);
    client_json(bob.client, "['7','9','room:1','track',{'key':'laptop'}]");
    watcher_expect(&alice, "{'alice':1,'bob':1,'laptop':1,'phone':1}");
    watcher_forget(&alice);
    watcher_forget(&bob);
}

/* The broker takes the subscription of a list behind the answers to the question about it. */
static void what_was_answered_before_the_broker_listened_is_asked_again(void **state)
{
    watcher_t alice, bob;

    (void)state;
    start_far((fake_faults_t){0});
    alice = watch(far.left, "alice");
    fake_broker_set(far.broker, (fake_faults_t){.late = true});
    bob = begin_watching(far.right, V2, "room:1", "bob");
    watcher_expect(&alice, "{'alice':1,'bob':1}");
    for (int i = 0; i < 4; i++) { /* the answer that nobody hears */
        fake_broker_settle(far.broker);
        expect_quiet(alice.client);
    }
    expect_quiet(bob.client); /* its join waits, too */
    fake_broker_set(far.broker, (fake_faults_t){0});
    watcher_expect(&bob, "{'alice':1,'bob':1}");
    watcher_forget(&alice);
    watcher_forget(&bob);
}

static void a_node_that_lost_its_broker_for_a_moment_catches_up_at_once(void **state)
{
    watcher_t alice, bob;

    (void)state;
    start_far_with((fake_faults_t){0}, 10000); /* no beat comes to help */
    alice = watch(far.left, "alice");
    bob = watch(far.right, "bob");
    watcher_expect(&alice, "{'alice':1,'bob':1}");
    fake_broker_disconnect(far.broker, far.right_bus);
    client_json(alice.client, "['7','9','room:1','track',{'key':'phone'}]");
    watcher_expect(&alice, "{'alice':1,'bob':1,'phone':1}");
    client_json(bob.client, "['7','9','room:1','track',{'key':'laptop'}]");
    watcher_expect(&bob, "{'alice':1,'bob':1,'laptop':1}");
    fake_broker_settle(far.broker);
    fake_broker_connect(far.broker, far.right_bus);
    watcher_expect(&bob, "{'alice':1,'bob':1,'laptop':1,'phone':1}");
    watcher_expect(&alice, "{'alice':1,'bob':1,'laptop':1,'phone':1}");
    watcher_forget(&alice);
    watcher_forget(&bob);
}

/* As large as Postgres takes them. */
static void lists_are_told_in_messages_as_large_as_the_broker_takes(void **state)
{
    watcher_t alice, bob;
    char frame[7000];

    (void)state;
    start_far((fake_faults_t){.largest = 8000});
    bob = watch(far.right, "bob");
    for (int i = 0; i < 8; i++) {
        snprintf(frame, sizeof(frame), "['7','9','room:1','track',{'key':'k%d'}]", i);
        client_json(bob.client, frame);
        snprintf(frame, sizeof(frame), "['7','9','room:1','change',{'key':'k%d','text':'%*s'}]", i,
                 3000, "");
        client_json(bob.client, frame);
    }
    alice = watch(far.left, "alice");
    watcher_expect(&alice,
                   "{'alice':1,'bob':1,'k0':1,'k1':1,'k2':1,'k3':1,'k4':1,'k5':1,'k6':1,'k7':1}");
    watcher_forget(&alice);
    watcher_forget(&bob);
}

/* ---- churn ---- */

#define CHURNERS 24

static uint32_t seed;

static uint32_t draw(uint32_t below)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % below;
}

static void churn_step(server_t *s, watcher_t *watcher, unsigned *held, uint32_t index)
{
    char frame[100];

    switch (draw(4)) {
    case 0: /* reconnect */
        unwatch(s, watcher);
        snprintf(frame, sizeof(frame), "u%u", index % 5);
        *watcher = watch(s, frame);
        *held = 1;
        break;
    case 1:
        snprintf(frame, sizeof(frame), "['7','9','room:1','%s',{'key':'x%u'}]",
                 *held & 2 ? "untrack" : "track", index % 3);
        client_json(watcher->client, frame);
        *held ^= 2;
        break;
    case 2:
        snprintf(frame, sizeof(frame), "['7','9','room:1','change',{'key':'u%u','n':%u}]",
                 index % 5, draw(10));
        client_json(watcher->client, frame);
        break;
    default:
        while (client_is_readable(watcher->client))
            watcher_take(watcher);
        break;
    }
}

/* The last update of each has come. */
static bool is_final(const json_t *view)
{
    const char *key, *ref;
    json_t *metas, *meta;

    json_object_foreach((json_t *)(uintptr_t)view, key, metas) json_object_foreach(metas, ref, meta)
    {
        if (key[0] == 'u' && json_object_get(meta, "final") == NULL)
            return false;
    }
    return true;
}

/* `steps` of what members do, each at one of two servers, which may be the same; before each,
 * `disturb` does what it likes, and before the last word of all it is called once more, for peace.
 */
static void churn(server_t *const servers[2], unsigned steps, void (*disturb)(bool peace))
{
    watcher_t watchers[CHURNERS];
    unsigned held[CHURNERS];
    unsigned users[5] = {0}, extras[3] = {0};
    json_t *wanted = json_object();
    char key[8], frame[100], *text;

    seed = 20261125;
    for (uint32_t i = 0; i < CHURNERS; i++) {
        snprintf(key, sizeof(key), "u%u", i % 5);
        watchers[i] = watch(servers[i % 2], key);
        held[i] = 1;
    }
    for (unsigned step = 0; step < steps; step++) {
        uint32_t i = draw(CHURNERS);

        disturb(false);
        churn_step(servers[i % 2], &watchers[i], &held[i], i);
    }
    disturb(true);
    for (uint32_t i = 0; i < CHURNERS; i++) {
        users[i % 5]++;
        extras[i % 3] += held[i] >> 1;
        snprintf(frame, sizeof(frame), "['7','9','room:1','change',{'key':'u%u','final':true}]",
                 i % 5);
        client_json(watchers[i].client, frame);
    }
    for (unsigned i = 0; i < 5; i++) {
        snprintf(key, sizeof(key), "u%u", i);
        json_object_set_new(wanted, key, json_integer(users[i]));
    }
    for (unsigned i = 0; i < 3; i++) {
        snprintf(key, sizeof(key), "x%u", i);
        if (extras[i] != 0)
            json_object_set_new(wanted, key, json_integer(extras[i]));
    }
    text = json_dumps(wanted, JSON_SORT_KEYS | JSON_COMPACT);
    for (uint32_t i = 0; i < CHURNERS; i++) {
        while (!watcher_sees(&watchers[i], text) || !is_final(watchers[i].view))
            watcher_take(&watchers[i]);
        assert_true(i == 0 || json_equal(watchers[0].view, watchers[i].view));
    }
    for (uint32_t i = 0; i < CHURNERS; i++)
        watcher_forget(&watchers[i]);
    free(text);
    json_decref(wanted);
}

static void leave_alone(bool peace)
{
    (void)peace;
}

static void under_churn_all_end_up_with_the_same_list(void **state)
{
    server_t *s = serve(4, &(hub_presence_options_t){.diff_ms = 5});
    server_t *const both[2] = {s, s};

    (void)state;
    churn(both, 600, leave_alone);
}

/* A broker that loses, doubles, reorders, is slow to subscribe, and is away for a moment. */
static void disturb_the_broker(bool peace)
{
    fake_faults_t faults = {0};

    switch (peace ? 99 : draw(40)) {
    case 0:
        faults.lose = 1 + draw(3);
        break;
    case 1:
        faults.twice = true;
        break;
    case 2:
        faults.swap = true;
        break;
    case 3:
        faults.late = true;
        break;
    case 4:
        fake_broker_disconnect(far.broker, far.right_bus);
        fake_broker_connect(far.broker, far.right_bus);
        break;
    case 5:
    case 99:
        break;
    default:
        return;
    }
    fake_broker_set(far.broker, faults);
    if (peace)
        fake_broker_settle(far.broker);
}

static void two_nodes_agree_whatever_their_broker_did(void **state)
{
    (void)state;
    start_far((fake_faults_t){0});
    churn((server_t *const[2]){far.left, far.right}, 300, disturb_the_broker);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        SERVER_CASE(the_state_follows_the_join_reply_and_carries_its_join_ref),
        SERVER_CASE(every_wire_format_is_told),
        SERVER_CASE(two_connections_of_one_user_are_two_metas),
        SERVER_CASE(tracking_updating_and_untracking_are_told_to_all),
        SERVER_CASE(the_list_is_that_of_the_state),
        SERVER_CASE(who_is_refused_was_never_there),
        SERVER_CASE(a_deferred_join_gets_its_state_behind_the_reply),
        SERVER_CASE(who_comes_while_a_join_is_deferred_is_seen),
        SERVER_CASE(a_leave_and_a_lost_connection_are_told_at_once),
        SERVER_CASE(a_second_join_of_the_same_member_is_one_presence),
        SERVER_CASE(a_reconnect_within_the_grace_goes_unseen),
        SERVER_CASE(a_hook_that_pushes_what_could_not_be_sent_ends),
        SERVER_CASE(a_large_state_is_shared_whatever_the_join_refs_are),
        SERVER_CASE(a_channel_without_presence_says_so),
        SERVER_CASE(all_workers_see_the_same),
        SERVER_CASE(the_first_state_is_complete_on_every_worker),
        SERVER_CASE(the_longest_topics_have_presence_as_well),
        SERVER_CASE(a_server_that_stops_tells_nobody_of_leaves),
        SERVER_CASE(while_a_server_stops_those_who_stay_are_told_who_left),
        cmocka_unit_test_teardown(nodes_see_each_other_and_one_that_stops_is_cleared, end_nodes),
        cmocka_unit_test_teardown(a_node_that_falls_silent_is_cleared_and_comes_back, end_nodes),
        cmocka_unit_test_teardown(topics_of_presence_are_out_of_reach_for_clients, end_nodes),
        cmocka_unit_test_teardown(a_node_without_its_broker_is_alone_for_so_long, end_far),
        cmocka_unit_test_teardown(what_a_broker_loses_or_doubles_is_made_good, end_far),
        cmocka_unit_test_teardown(what_was_answered_before_the_broker_listened_is_asked_again,
                                  end_far),
        cmocka_unit_test_teardown(a_node_that_lost_its_broker_for_a_moment_catches_up_at_once,
                                  end_far),
        cmocka_unit_test_teardown(lists_are_told_in_messages_as_large_as_the_broker_takes, end_far),
        SERVER_CASE(under_churn_all_end_up_with_the_same_list),
        cmocka_unit_test_teardown(two_nodes_agree_whatever_their_broker_did, end_far),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
