/* SPDX-License-Identifier: MIT */
/* The conversation on the wire, in native form: join, talk, leave, and what becomes of it all at
 * the end. */
#define _GNU_SOURCE 1
#include "test/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- the channels of these cases ---- */

static bool param_is(hub_member_t *me, const char *name, const char *value)
{
    return hub_str_equals(hub_member_param(me, name), hub_str(value));
}

static hub_status_t on_join(hub_member_t *me, const hub_message_t *msg)
{
    server_note("join %.*s", HUB_STR_ARG(msg->topic));
    if (param_is(me, "id", "private"))
        return hub_member_reject(me, HUB_JSON("{\"reason\":\"private\"}"));
    if (param_is(me, "id", "closed"))
        return HUB_EREJECTED;
    if (param_is(me, "id", "broken"))
        return HUB_ESYSTEM;
    if (param_is(me, "id", "greeting"))
        return hub_member_accept(me, HUB_JSON("{\"hello\":1}"));
    return HUB_OK;
}

static const char *exit_name(hub_exit_t why)
{
    static const char *const names[] = {"leave",   "disconnect", "replaced",
                                        "stopped", "failed",     "shutdown"};

    return names[why];
}

static void on_exit_note(hub_member_t *me, hub_exit_t why)
{
    server_note("exit %.*s %s", HUB_STR_ARG(hub_member_topic(me)), exit_name(why));
}

static hub_status_t on_shout(hub_member_t *me, const hub_message_t *msg)
{
    hub_status_t err = hub_member_broadcast(me, msg->event, msg->payload);

    return err != HUB_OK ? err : hub_member_reply(me, msg, HUB_JSON("{}"));
}

static hub_status_t on_say(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_broadcast(me, msg->event, msg->payload);
}

static hub_status_t on_mute(hub_member_t *me, const hub_message_t *msg)
{
    (void)me, (void)msg;
    return HUB_OK;
}

static hub_status_t on_param(hub_member_t *me, const hub_message_t *msg)
{
    char json[300];
    int len =
        snprintf(json, sizeof(json), "{\"id\":\"%.*s\"}", HUB_STR_ARG(hub_member_param(me, "id")));

    return hub_member_reply(me, msg, hub_json(hub_str_n(json, (size_t)len)));
}

static hub_status_t on_mirror(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_reply(me, msg, msg->payload);
}

static hub_status_t on_fail(hub_member_t *me, const hub_message_t *msg)
{
    (void)me, (void)msg;
    return HUB_ESYSTEM;
}

static hub_status_t on_typed(hub_member_t *me, const hub_message_t *msg)
{
    (void)me, (void)msg;
    return HUB_EPAYLOAD;
}

/* Answers with an error whose detail is what came. */
static hub_status_t on_refuse(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_reply_error(me, msg, HUB_EPAYLOAD, msg->payload);
}

static hub_status_t on_custom(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_reply_status(me, msg, HUB_STR("maybe"), msg->payload);
}

static hub_status_t on_any(hub_member_t *me, const hub_message_t *msg)
{
    char json[300];
    int len = snprintf(json, sizeof(json), "\"%.*s\"", HUB_STR_ARG(msg->event));

    return hub_member_reply(me, msg, hub_json(hub_str_n(json, (size_t)len)));
}

static hub_update_t on_update_skips(hub_member_t *me, const hub_message_t *msg,
                                    hub_payload_t *ret_payload)
{
    (void)me, (void)msg, (void)ret_payload;
    server_note("update");
    return HUB_UPDATE_SKIP;
}

static const hub_event_handler_t room_events[] = {
    {"shout", on_shout},   {"say", on_say},   {"mute", on_mute},   {"param", on_param},
    {"mirror", on_mirror}, {"fail", on_fail}, {"typed", on_typed}, {"refuse", on_refuse},
    {"custom", on_custom}, {NULL, NULL}};

static void add_channels(server_t *server)
{
    const hub_channel_options_t channels[] = {
        {.pattern = "room:{id}",
         .on_join = on_join,
         .on_exit = on_exit_note,
         .events = room_events},
        {.pattern = "acked", .events = room_events, .auto_ack = true},
        {.pattern = "any:{id}", .on_receive = on_any},
        {.pattern = "deaf:{id}", .events = room_events, .on_update = on_update_skips},
        {.pattern = "bare"},
    };

    for (size_t i = 0; i < sizeof(channels) / sizeof(channels[0]); i++)
        server_channel(server, &channels[i]);
}

/* A client of a chat with one worker. */
static client_t *chat_client(void)
{
    server_t *server = server_create();

    add_channels(server);
    server_mount(server, NULL);
    server_start(server);
    return server_client(server, "/socket");
}

/* A client that has joined room:1 with ref "1". */
static client_t *chat_member(void)
{
    client_t *client = chat_client();

    client_join(client, "room:1", "'1'");
    return client;
}

/* ---- join and leave ---- */

static void a_join_is_answered_with_its_ref_as_join_ref(void **state)
{
    client_t *c = chat_client();

    (void)state;
    client_json(c, "{'topic':'room:1','event':'join','payload':{},'ref':'1'}");
    client_expect_json(c, "{'topic':'room:1','event':'reply','ref':'1','join_ref':'1','payload':"
                          "{'status':'ok','response':{'topic':'room:1','already_joined':false,"
                          "'replay_supported':false}}}");
}

static void a_shout_comes_back_as_a_broadcast_and_then_as_a_reply(void **state)
{
    client_t *c = chat_member();

    (void)state;
    client_json(c, "{'topic':'room:1','event':'shout','payload':{'text':'hi'},'ref':'2'}");
    client_expect_json(c, "{'topic':'room:1','event':'shout','payload':{'text':'hi'}}");
    client_expect_json(c, "{'topic':'room:1','event':'reply','ref':'2','join_ref':'1',"
                          "'payload':{'status':'ok','response':{}}}");
}

static void a_payload_is_relayed_byte_for_byte(void **state)
{
    client_t *c = chat_member();
    static const char payload[] = "{ \"b\" : 1.50e+01, \"a\":\t\"\\u00e9\\/\", \"a\":2 }";
    char frame[200], wanted[100];
    int len = snprintf(frame, sizeof(frame),
                       "{\"topic\":\"room:1\",\"event\":\"say\",\"payload\":%s}", payload);

    (void)state;
    client_frame(c, CLIENT_TEXT, hub_str_n(frame, (size_t)len));
    snprintf(wanted, sizeof(wanted), "\"payload\":%s", payload);
    assert_non_null(strstr(client_expect_frame(c, CLIENT_TEXT).base, wanted));
}

static void a_join_with_a_join_ref_of_its_own_keeps_it(void **state)
{
    client_t *c = chat_client();

    (void)state;
    client_json(c, "{'topic':'bare','event':'join','payload':{},'ref':'1','join_ref':'j'}");
    client_expect_json(c, "{'topic':'bare','event':'reply','ref':'1','join_ref':'j','payload':"
                          "{'status':'ok','response':{'topic':'bare','already_joined':false,"
                          "'replay_supported':false}}}");
}

static void on_join_may_give_a_response(void **state)
{
    client_t *c = chat_client();

    (void)state;
    client_say(c, "room:greeting", "join", "{}", "1");
    client_expect_ok(c, "room:greeting", "1",
                     "{'topic':'room:greeting','already_joined':false,'replay_supported':false,"
                     "'response':{'hello':1}}");
}

static void a_parameter_reaches_the_callback(void **state)
{
    client_t *c = chat_client();

    (void)state;
    client_join(c, "room:lobby", "'1'");
    client_say(c, "room:lobby", "param", "null", "'2'");
    client_expect_ok(c, "room:lobby", "'2'", "{'id':'lobby'}");
}

static void a_pattern_without_parameters_can_be_joined(void **state)
{
    client_t *c = chat_client();

    (void)state;
    client_join(c, "bare", "'1'");
}

static void after_leaving_an_event_is_not_joined(void **state)
{
    client_t *c = chat_member();

    (void)state;
    client_say(c, "room:1", "leave", "{}", "'2'");
    client_expect_json(c, "{'topic':'room:1','event':'reply','ref':'2','join_ref':'1','payload':"
                          "{'status':'ok','response':{'topic':'room:1'}}}");
    client_say(c, "room:1", "shout", "{}", "'3'");
    client_expect_error(c, "room:1", "'3'", "not_joined");
    SERVER_EXPECT_NOTES("join room:1", "exit room:1 leave");
}

static void exit_is_another_word_for_leave(void **state)
{
    client_t *c = chat_member();

    (void)state;
    client_say(c, "room:1", "exit", "{}", "'2'");
    client_expect_ok(c, "room:1", "'2'", "{'topic':'room:1'}");
    client_say(c, "room:1", "exit", "{}", "'3'");
    client_expect_error(c, "room:1", "'3'", "not_joined");
}

static void an_event_without_a_join_is_not_joined(void **state)
{
    client_t *c = chat_client();

    (void)state;
    client_say(c, "room:1", "shout", "{}", "'1'");
    client_expect_json(c, "{'topic':'room:1','event':'reply','ref':'1','payload':"
                          "{'status':'error','response':{'code':'not_joined',"
                          "'message':'Topic not joined','detail':{}}}}");
    client_say(c, "nowhere", "shout", "{}", "'2'");
    client_expect_error(c, "nowhere", "'2'", "not_joined");
}

static void leaving_what_was_never_joined_is_not_joined_and_calls_nobody(void **state)
{
    client_t *c = chat_client();

    (void)state;
    client_say(c, "room:1", "leave", "{}", "'1'");
    client_expect_error(c, "room:1", "'1'", "not_joined");
    client_say(c, "nowhere", "leave", "{}", "'2'");
    client_expect_error(c, "nowhere", "'2'", "not_joined");
    server_expect_no_note();
}

static void an_unknown_topic_cannot_be_joined_and_the_connection_lives(void **state)
{
    client_t *c = chat_client();

    (void)state;
    client_say(c, "nowhere", "join", "{}", "'1'");
    client_expect_error(c, "nowhere", "'1'", "topic_not_found");
    client_join(c, "room:1", "'2'");
}

static void a_second_join_is_ok_and_changes_nothing(void **state)
{
    client_t *c = chat_member();

    (void)state;
    client_say(c, "room:1", "join", "{}", "'2'");
    client_expect_json(c, "{'topic':'room:1','event':'reply','ref':'2','join_ref':'1','payload':"
                          "{'status':'ok','response':{'topic':'room:1','already_joined':true,"
                          "'replay_supported':false}}}");
    client_say(c, "room:1", "say", "1", NULL);
    client_expect_event(c, "room:1", "say", "1");
    client_expect_quiet(c);
    server_expect_note("join room:1");
    server_expect_no_note();
}

static void a_join_again_after_a_leave_has_a_new_join_ref(void **state)
{
    client_t *c = chat_member();

    (void)state;
    client_say(c, "room:1", "leave", "{}", "'2'");
    client_expect_ok(c, "room:1", "'2'", "{'topic':'room:1'}");
    client_join(c, "room:1", "'3'");
    client_say(c, "room:1", "mirror", "0", "'4'");
    client_expect_json(c, "{'topic':'room:1','event':'reply','ref':'4','join_ref':'3',"
                          "'payload':{'status':'ok','response':0}}");
}

static void a_rejected_join_has_its_detail_and_leaves_no_member(void **state)
{
    client_t *c = chat_client();

    (void)state;
    client_say(c, "room:private", "join", "{}", "'1'");
    client_expect_error_detail(c, "room:private", "'1'", "join_rejected", "{'reason':'private'}");
    client_say(c, "room:closed", "join", "{}", "'2'");
    client_expect_error_detail(c, "room:closed", "'2'", "join_rejected", "{}");
    client_say(c, "room:private", "say", "{}", "'3'");
    client_expect_error(c, "room:private", "'3'", "not_joined");
    SERVER_EXPECT_NOTES("join room:private", "join room:closed");
    server_expect_no_note();
}

static void a_join_that_fails_is_an_internal_error_and_leaves_no_member(void **state)
{
    client_t *c = chat_client();

    (void)state;
    client_say(c, "room:broken", "join", "{}", "'1'");
    client_expect_error(c, "room:broken", "'1'", "internal_error");
    client_say(c, "room:broken", "say", "{}", "'2'");
    client_expect_error(c, "room:broken", "'2'", "not_joined");
    client_join(c, "room:1", "'3'");
}

static void two_topics_of_one_pattern_are_two_members(void **state)
{
    client_t *c = chat_client();

    (void)state;
    client_join(c, "room:a", "'1'");
    client_join(c, "room:b", "'2'");
    client_say(c, "room:a", "leave", "{}", "'3'");
    client_expect_ok(c, "room:a", "'3'", "{'topic':'room:a'}");
    client_say(c, "room:b", "param", "{}", "'4'");
    client_expect_ok(c, "room:b", "'4'", "{'id':'b'}");
    client_say(c, "room:a", "param", "{}", "'5'");
    client_expect_error(c, "room:a", "'5'", "not_joined");
    SERVER_EXPECT_NOTES("join room:a", "join room:b", "exit room:a leave");
    server_expect_no_note();
}

/* ---- events and replies ---- */

static void a_row_of_the_table_goes_before_the_rest(void **state)
{
    client_t *c = chat_client();

    (void)state;
    client_join(c, "any:1", "'1'");
    client_say(c, "any:1", "whatever", "{}", "'2'");
    client_expect_ok(c, "any:1", "'2'", "'whatever'");
    client_join(c, "room:1", "'3'");
    client_say(c, "room:1", "whatever", "{}", "'4'");
    client_expect_error(c, "room:1", "'4'", "event_not_found");
}

static void a_handler_that_says_nothing_is_not_answered(void **state)
{
    client_t *c = chat_member();

    (void)state;
    client_say(c, "room:1", "mute", "{}", "'2'");
    client_expect_quiet(c);
}

static void auto_ack_answers_for_it_where_there_is_a_ref(void **state)
{
    client_t *c = chat_client();

    (void)state;
    client_join(c, "acked", "'1'");
    client_say(c, "acked", "mute", "{}", NULL);
    client_say(c, "acked", "mute", "{}", "'2'");
    client_expect_ok(c, "acked", "'2'", "{}");
    client_say(c, "acked", "mirror", "[3]", "'3'");
    client_expect_ok(c, "acked", "'3'", "[3]");
    client_expect_quiet(c);
}

static void a_handler_that_fails_is_an_error_reply_and_the_member_lives(void **state)
{
    client_t *c = chat_member();

    (void)state;
    client_say(c, "room:1", "fail", "{}", "'2'");
    client_expect_error(c, "room:1", "'2'", "internal_error");
    client_say(c, "room:1", "typed", "{}", "'3'");
    client_expect_json(c, "{'topic':'room:1','event':'reply','ref':'3','join_ref':'1','payload':"
                          "{'status':'error','response':{'code':'invalid_payload',"
                          "'message':'Invalid payload','detail':{}}}}");
    client_say(c, "room:1", "mirror", "1", "'4'");
    client_expect_ok(c, "room:1", "'4'", "1");
}

static void an_explicit_detail_is_kept_even_if_it_is_null_false_or_zero(void **state)
{
    client_t *c = chat_member();

    (void)state;
    client_say(c, "room:1", "refuse", "null", "'2'");
    client_expect_error_detail(c, "room:1", "'2'", "invalid_payload", "null");
    client_say(c, "room:1", "refuse", "false", "'3'");
    client_expect_error_detail(c, "room:1", "'3'", "invalid_payload", "false");
    client_say(c, "room:1", "refuse", "0", "'4'");
    client_expect_error_detail(c, "room:1", "'4'", "invalid_payload", "0");
}

static void a_reply_may_carry_a_status_of_the_programs_own(void **state)
{
    client_t *c = chat_member();

    (void)state;
    client_say(c, "room:1", "custom", "{'a':1}", "'2'");
    client_expect_json(c, "{'topic':'room:1','event':'reply','ref':'2','join_ref':'1',"
                          "'payload':{'status':'maybe','response':{'a':1}}}");
}

static void refs_come_back_as_they_were_sent(void **state)
{
    client_t *c = chat_member();

    (void)state;
    client_say(c, "room:1", "mirror", "1", "'x'");
    client_expect_ok(c, "room:1", "'x'", "1");
    client_say(c, "room:1", "mirror", "2", "9007199254740993");
    client_expect_ok(c, "room:1", "9007199254740993", "2");
    client_say(c, "room:1", "mirror", "3", "-1");
    client_expect_ok(c, "room:1", "-1", "3");
    client_say(c, "room:1", "mirror", "4", "null");
    client_expect_ok(c, "room:1", NULL, "4");
    client_say(c, "room:1", "mirror", "5", NULL);
    client_expect_ok(c, "room:1", NULL, "5");
}

static void a_ref_of_another_type_is_an_invalid_payload(void **state)
{
    client_t *c = chat_member();

    (void)state;
    client_say(c, "room:1", "mirror", "1", "{}");
    client_expect_error(c, NULL, NULL, "invalid_payload");
    client_say(c, "room:1", "mirror", "1", "true");
    client_expect_error(c, NULL, NULL, "invalid_payload");
    client_say(c, "room:1", "mirror", "1", "1.5");
    client_expect_error(c, NULL, NULL, "invalid_payload");
}

static void events_that_only_a_server_sends_reach_no_handler(void **state)
{
    client_t *c = chat_client();
    static const char *const events[] = {"reply", "error",          "close",
                                         "gap",   "presence_state", "presence_diff"};

    (void)state;
    client_join(c, "any:1", "'1'");
    for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
        client_say(c, "any:1", events[i], "{}", "'2'");
        client_expect_error(c, "any:1", "'2'", "event_not_found");
    }
}

static void update_and_message_are_events_like_any_other(void **state)
{
    client_t *c = chat_client();

    (void)state;
    client_join(c, "deaf:1", "'1'");
    client_say(c, "deaf:1", "update", "{}", "'2'");
    client_expect_error(c, "deaf:1", "'2'", "event_not_found");
    client_say(c, "deaf:1", "message", "{}", "'3'");
    client_expect_error(c, "deaf:1", "'3'", "event_not_found");
    server_expect_no_note();
}

static void a_heartbeat_is_answered_before_anything_is_joined(void **state)
{
    client_t *c = chat_client();

    (void)state;
    client_json(c, "{'topic':'hub','event':'heartbeat','payload':{},'ref':'7'}");
    client_expect_json(c, "{'topic':'hub','event':'reply','ref':'7',"
                          "'payload':{'status':'ok','response':{}}}");
}

static void an_envelope_in_a_binary_frame_is_an_envelope(void **state)
{
    client_t *c = chat_client();

    (void)state;
    client_frame(c, CLIENT_BINARY,
                 HUB_STR("{\"topic\":\"bare\",\"event\":\"join\",\"payload\":{},\"ref\":\"1\"}"));
    client_expect_ok(c, "bare", "'1'",
                     "{'topic':'bare','already_joined':false,'replay_supported':false}");
}

static void a_frame_that_is_no_envelope_is_answered_and_the_connection_lives(void **state)
{
    static const char *const not_json[] = {"", "{", "{}x", "'", "{'topic':'a',}"};
    static const char *const misshapen[] = {"[]", "{}", "1", "{'event':'x','payload':{}}"};
    client_t *c = chat_client();

    (void)state;
    for (size_t i = 0; i < sizeof(not_json) / sizeof(not_json[0]); i++) {
        client_json(c, not_json[i]);
        client_expect_error(c, NULL, NULL, "invalid_payload");
    }
    for (size_t i = 0; i < sizeof(misshapen) / sizeof(misshapen[0]); i++) {
        client_json(c, misshapen[i]);
        client_expect_error(c, NULL, NULL, "invalid_payload");
    }
    client_expect_quiet(c);
}

static void a_misshapen_envelope_is_answered_with_its_ref(void **state)
{
    client_t *c = chat_client();

    (void)state;
    client_json(c, "{'ref':'1','topic':'room:1','event':5,'payload':{}}");
    client_expect_error(c, NULL, "'1'", "invalid_payload");
    client_json(c, "{'ref':'2','topic':'room 1','event':'join','payload':{}}");
    client_expect_error(c, NULL, "'2'", "bad_topic");
    client_json(c, "{'ref':'3','topic':'room:1','topic':'room:2','event':'join','payload':{}}");
    client_expect_error(c, NULL, "'3'", "invalid_payload");
    client_json(c, "{'ref':'4','topic':'room:1','event':'','payload':{}}");
    client_expect_error(c, "room:1", "'4'", "event_not_found");
}

/* ---- the end ---- */

static hub_status_t note_hook(const hub_hook_event_t *event, void *user)
{
    static const char *const names[HUB_HOOK_COUNT] = {[HUB_HOOK_OPEN] = "open",
                                                      [HUB_HOOK_LEAVE] = "leave",
                                                      [HUB_HOOK_DISCONNECTING] = "disconnecting",
                                                      [HUB_HOOK_DISCONNECT] = "disconnect"};

    (void)user;
    server_note("%s %s, %zu members", names[event->hook],
                event->hook >= HUB_HOOK_DISCONNECTING ? hub_disconnect_reason_name(event->reason)
                                                      : "",
                hub_conn_member_count(event->conn));
    return HUB_EINTERNAL; /* of a notify hook this is logged and harms nobody */
}

static client_t *hooked_client(server_t **ret_server)
{
    server_t *s = *ret_server = server_create();

    add_channels(s);
    server_hook(s, HUB_HOOK_OPEN, note_hook);
    server_hook(s, HUB_HOOK_DISCONNECTING, note_hook);
    server_hook(s, HUB_HOOK_DISCONNECT, note_hook);
    server_mount(s, NULL);
    server_start(s);
    return server_client(s, "/socket");
}

static void a_closing_client_ends_its_members_between_two_hooks(void **state)
{
    server_t *s;
    client_t *c = hooked_client(&s);

    (void)state;
    client_join(c, "room:a", "'1'");
    client_join(c, "room:b", "'2'");
    client_close_frame(c, 1000, "bye");
    client_expect_close(c, 1000);
    client_expect_eof(c);
    server_expect_note("open , 0 members");
    server_expect_note("join room:a");
    server_expect_note("join room:b");
    server_expect_note("disconnecting client, 2 members");
    SERVER_EXPECT_NOTES("exit room:a disconnect", "exit room:b disconnect");
    server_expect_note("disconnect client, 0 members");
    server_expect_no_note();
    SERVER_EXPECT_STAT(s, members, 0);
    SERVER_EXPECT_STAT(s, topics, 0);
}

static void a_vanished_client_ends_its_members_just_the_same(void **state)
{
    server_t *s;
    client_t *c = hooked_client(&s);

    (void)state;
    client_join(c, "room:a", "'1'");
    server_drop_client(s, c, client_abort);
    server_expect_note("open , 0 members");
    server_expect_note("join room:a");
    server_expect_note("disconnecting lost, 1 members");
    server_expect_note("exit room:a disconnect");
    server_expect_note("disconnect lost, 0 members");
    SERVER_EXPECT_STAT(s, conns, 0);
}

static void a_fin_without_a_close_frame_is_a_lost_connection(void **state)
{
    server_t *s;
    client_t *c = hooked_client(&s);

    (void)state;
    client_join(c, "room:a", "'1'");
    client_shutdown(c);
    client_expect_gone(c);
    server_skip_to_note("disconnecting lost, 1 members");
}

/* ---- which channel ---- */

static hub_status_t on_join_tells_pattern(hub_member_t *me, const hub_message_t *msg)
{
    (void)msg;
    return hub_member_accept(me, hub_json(hub_str(hub_member_channel_user(me))));
}

static void expect_channel(client_t *client, const char *topic, const char *pattern)
{
    char response[300];

    client_say(client, topic, "join", "{}", "'1'");
    snprintf(response, sizeof(response),
             "{'topic':'%s','already_joined':false,'replay_supported':false,'response':%s}", topic,
             pattern);
    client_expect_ok(client, topic, "'1'", response);
}

static void the_most_specific_pattern_gets_the_join_whatever_the_order(void **state)
{
    static char names[][16] = {"\"other\"", "\"number\"", "\"any\"", "\"lobby\"", "\"room\""};
    static const char *const patterns[] = {"{a}:{b}", "room:{id:[0-9]+}", "room:{rest*}",
                                           "room:lobby", "room:{id}"};
    server_t *s = server_create();
    client_t *c;

    (void)state;
    for (size_t i = 0; i < 5; i++)
        server_channel(s, &(hub_channel_options_t){.pattern = patterns[i],
                                                   .on_join = on_join_tells_pattern,
                                                   .user = names[i]});
    server_mount(s, NULL);
    server_start(s);
    c = server_client(s, "/socket");
    expect_channel(c, "room:lobby", "'lobby'");
    expect_channel(c, "room:12", "'number'");
    expect_channel(c, "room:x", "'room'");
    expect_channel(c, "room:a:b", "'any'");
    expect_channel(c, "room:", "'any'");
    expect_channel(c, "foo:bar", "'other'");
}

static hub_status_t on_join_local(hub_member_t *me, const hub_message_t *msg)
{
    server_note("join %.*s = %.*s, %.*s", HUB_STR_ARG(msg->topic),
                HUB_STR_ARG(hub_member_topic(me)), HUB_STR_ARG(hub_member_param(me, "id")));
    return HUB_OK;
}

static void an_included_hub_is_reached_under_its_prefix(void **state)
{
    server_t *s = server_create();
    hub_t *sub = NULL;
    client_t *c;

    (void)state;
    assert_int_equal(hub_create(NULL, &sub), HUB_OK);
    assert_int_equal(hub_channel_add(sub, &(hub_channel_options_t){.pattern = "room:{id}",
                                                                   .on_join = on_join_local,
                                                                   .events = room_events}),
                     HUB_OK);
    assert_int_equal(hub_include(s->hub, sub, "chat:"), HUB_OK);
    assert_int_equal(hub_include(s->hub, sub, "again:"), HUB_EEXIST);
    server_mount(s, NULL);
    server_start(s);
    c = server_client(s, "/socket");
    client_join(c, "chat:room:7", "'1'");
    server_expect_note("join room:7 = chat:room:7, 7");
    client_say(c, "chat:room:7", "say", "1", NULL);
    client_expect_event(c, "chat:room:7", "say", "1");
    assert_int_equal(hub_publish(sub, HUB_STR("room:7"), HUB_STR("n"), HUB_JSON("2")), HUB_OK);
    client_expect_event(c, "chat:room:7", "n", "2");
    assert_int_equal(hub_publish(s->hub, HUB_STR("chat:room:7"), HUB_STR("n"), HUB_JSON("3")),
                     HUB_OK);
    client_expect_event(c, "chat:room:7", "n", "3");
    client_say(c, "room:7", "join", "{}", "'2'");
    client_expect_error(c, "room:7", "'2'", "topic_not_found");
    server_teardown(NULL);
    hub_destroy(sub);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        SERVER_CASE(a_join_is_answered_with_its_ref_as_join_ref),
        SERVER_CASE(a_shout_comes_back_as_a_broadcast_and_then_as_a_reply),
        SERVER_CASE(a_payload_is_relayed_byte_for_byte),
        SERVER_CASE(a_join_with_a_join_ref_of_its_own_keeps_it),
        SERVER_CASE(on_join_may_give_a_response),
        SERVER_CASE(a_parameter_reaches_the_callback),
        SERVER_CASE(a_pattern_without_parameters_can_be_joined),
        SERVER_CASE(after_leaving_an_event_is_not_joined),
        SERVER_CASE(exit_is_another_word_for_leave),
        SERVER_CASE(an_event_without_a_join_is_not_joined),
        SERVER_CASE(leaving_what_was_never_joined_is_not_joined_and_calls_nobody),
        SERVER_CASE(an_unknown_topic_cannot_be_joined_and_the_connection_lives),
        SERVER_CASE(a_second_join_is_ok_and_changes_nothing),
        SERVER_CASE(a_join_again_after_a_leave_has_a_new_join_ref),
        SERVER_CASE(a_rejected_join_has_its_detail_and_leaves_no_member),
        SERVER_CASE(a_join_that_fails_is_an_internal_error_and_leaves_no_member),
        SERVER_CASE(two_topics_of_one_pattern_are_two_members),
        SERVER_CASE(a_row_of_the_table_goes_before_the_rest),
        SERVER_CASE(a_handler_that_says_nothing_is_not_answered),
        SERVER_CASE(auto_ack_answers_for_it_where_there_is_a_ref),
        SERVER_CASE(a_handler_that_fails_is_an_error_reply_and_the_member_lives),
        SERVER_CASE(an_explicit_detail_is_kept_even_if_it_is_null_false_or_zero),
        SERVER_CASE(a_reply_may_carry_a_status_of_the_programs_own),
        SERVER_CASE(refs_come_back_as_they_were_sent),
        SERVER_CASE(a_ref_of_another_type_is_an_invalid_payload),
        SERVER_CASE(events_that_only_a_server_sends_reach_no_handler),
        SERVER_CASE(update_and_message_are_events_like_any_other),
        SERVER_CASE(a_heartbeat_is_answered_before_anything_is_joined),
        SERVER_CASE(an_envelope_in_a_binary_frame_is_an_envelope),
        SERVER_CASE(a_frame_that_is_no_envelope_is_answered_and_the_connection_lives),
        SERVER_CASE(a_misshapen_envelope_is_answered_with_its_ref),
        SERVER_CASE(a_closing_client_ends_its_members_between_two_hooks),
        SERVER_CASE(a_vanished_client_ends_its_members_just_the_same),
        SERVER_CASE(a_fin_without_a_close_frame_is_a_lost_connection),
        SERVER_CASE(the_most_specific_pattern_gets_the_join_whatever_the_order),
        SERVER_CASE(an_included_hub_is_reached_under_its_prefix),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
