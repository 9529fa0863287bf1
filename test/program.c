/* SPDX-License-Identifier: MIT */
/* What a program can do to a member, each thing under the name of an event or of a room. */
#include "test/program.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static bool is(hub_str_t text, const char *other)
{
    return hub_str_equals(text, hub_str(other));
}

static program_t *program_of(hub_member_t *me)
{
    return hub_member_channel_user(me);
}

/* ---- the program ---- */

static void on_free(void *user)
{
    ((program_t *)user)->frees++;
}

static void keep(program_t *program, hub_token_t token)
{
    program->tokens[program->token_count++ % COUNT(program->tokens)] = token;
}

static void on_stop_timer(hub_member_t *me, const char *name, void *user)
{
    (void)name, (void)user;
    talk_tell(&program_of(me)->talk, "timer");
    hub_member_stop(me, HUB_OK);
}

static hub_status_t greet(hub_member_t *me, const hub_message_t *msg)
{
    assert_int_equal(hub_member_push(me, HUB_STR("hello"), HUB_JSON("{\"n\":1}")), HUB_OK);
    assert_int_equal(hub_member_broadcast(me, HUB_STR("here"), msg->payload), HUB_OK);
    assert_int_equal(hub_member_push(me, HUB_STR("hello"), HUB_JSON("{\"n\":2}")), HUB_OK);
    return HUB_OK;
}

static hub_status_t join_later(hub_member_t *me, program_t *program)
{
    hub_token_t token;
    hub_status_t status = hub_member_defer(me, &token);

    keep(program, token);
    return status;
}

static hub_status_t on_join(hub_member_t *me, const hub_message_t *msg)
{
    program_t *program = program_of(me);
    hub_str_t id = hub_member_param(me, "id");

    program->joins++;
    hub_member_set_user(me, program, on_free);
    assert_ptr_equal(program->talk.joining, me);
    if (is(id, "private"))
        return hub_member_reject(me, HUB_JSON("{\"reason\":\"private\"}"));
    if (is(id, "status"))
        return program->join_status;
    if (is(id, "accept"))
        return hub_member_accept(me, HUB_JSON("[1,2]"));
    if (is(id, "acceptcrash"))
        return hub_member_accept(me, HUB_JSON("[1,2]")) == HUB_OK ? HUB_EINTERNAL : HUB_OK;
    if (is(id, "bytes"))
        return hub_member_accept(me, hub_binary("\x01\xff", 2));
    if (is(id, "badbytes"))
        return hub_member_reject(me, hub_binary("\x02", 1));
    if (is(id, "invalid"))
        return hub_member_accept(me, HUB_JSON("[1,"));
    if (is(id, "greet"))
        return greet(me, msg);
    if (is(id, "greetno"))
        return greet(me, msg) == HUB_OK ? HUB_EREJECTED : HUB_EINTERNAL;
    if (is(id, "stop"))
        hub_member_stop(me, HUB_OK);
    if (is(id, "answer"))
        return hub_member_reply(me, msg, HUB_JSON("\"early\""));
    if (is(id, "suspend") || is(id, "suspendlater"))
        keep(program, hub_member_suspend(me));
    if (is(id, "stoplater") || is(id, "crashlater"))
        hub_member_stop(me, is(id, "stoplater") ? HUB_OK : HUB_EINTERNAL);
    if (is(id, "timedlater"))
        assert_int_equal(hub_member_timer_start(me, "stop", 10, 0, on_stop_timer, NULL), HUB_OK);
    if (is(id, "later") || is(id, "later2") || is(id, "suspendlater") || is(id, "stoplater") ||
        is(id, "crashlater") || is(id, "timedlater"))
        return join_later(me, program);
    return HUB_OK;
}

static const char *exit_name(hub_exit_t why)
{
    static const char *const names[] = {"leave",   "disconnect", "replaced",
                                        "stopped", "failed",     "shutdown"};

    return names[why];
}

static void exited(hub_member_t *me, hub_exit_t why)
{
    program_t *program = program_of(me);

    talk_tell(&program->talk, "exit %.*s %s", HUB_STR_ARG(hub_member_topic(me)), exit_name(why));
    if (is(hub_member_param(me, "id"), "bye")) {
        assert_int_equal(hub_member_broadcast(me, HUB_STR("gone"), HUB_JSON("{}")), HUB_OK);
        assert_int_equal(hub_member_push(me, HUB_STR("bye"), HUB_JSON("{}")), HUB_ECLOSED);
        hub_member_stop(me, HUB_OK);
        (void)hub_member_suspend(me);
    }
    if (is(hub_member_param(me, "id"), "both"))
        hub_member_stop(hub__session_find(&program->talk.session, HUB_STR("room:other")), HUB_OK);
}

static hub_status_t echo(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_reply(me, msg, msg->payload);
}

static hub_status_t quiet(hub_member_t *me, const hub_message_t *msg)
{
    (void)me, (void)msg;
    return HUB_OK;
}

static hub_status_t pending(hub_member_t *me, const hub_message_t *msg)
{
    (void)me, (void)msg;
    return HUB_PENDING;
}

static hub_status_t refuse(hub_member_t *me, const hub_message_t *msg)
{
    (void)me, (void)msg;
    return HUB_EPAYLOAD;
}

static hub_status_t answer_and_fail(hub_member_t *me, const hub_message_t *msg)
{
    (void)hub_member_reply(me, msg, HUB_JSON("1"));
    return HUB_EINTERNAL;
}

static hub_status_t answer_badly(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_reply(me, msg, HUB_JSON("{"));
}

static hub_status_t try_bytes(hub_member_t *me, const hub_message_t *msg)
{
    (void)hub_member_reply(me, msg, hub_binary("\x01", 1));
    return HUB_OK;
}

static hub_status_t push(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_push(me, HUB_STR("pushed"), msg->payload);
}

static hub_status_t cast(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_broadcast(me, HUB_STR("news"), msg->payload);
}

static hub_status_t cast_others(hub_member_t *me, const hub_message_t *msg)
{
    (void)msg;
    return hub_member_broadcast_from(me, HUB_STR("news"), HUB_JSON("{}"));
}

static hub_status_t stop(hub_member_t *me, const hub_message_t *msg)
{
    hub_member_stop(me, HUB_OK);
    hub_member_stop(me, HUB_EINTERNAL); /* the first reason counts */
    return hub_member_reply(me, msg, HUB_JSON("\"bye\""));
}

static hub_status_t stop_error(hub_member_t *me, const hub_message_t *msg)
{
    (void)msg;
    hub_member_stop(me, HUB_EINTERNAL);
    return HUB_OK;
}

static hub_status_t stop_and_fail(hub_member_t *me, const hub_message_t *msg)
{
    (void)msg;
    hub_member_stop(me, HUB_OK);
    return HUB_EINTERNAL;
}

static hub_status_t stop_other(hub_member_t *me, const hub_message_t *msg)
{
    (void)msg;
    hub_member_stop(hub__session_find(&program_of(me)->talk.session, HUB_STR("room:other")),
                    HUB_OK);
    return HUB_OK;
}

static hub_status_t suspend(hub_member_t *me, const hub_message_t *msg)
{
    (void)msg;
    keep(program_of(me), hub_member_suspend(me));
    return HUB_OK;
}

static hub_status_t token(hub_member_t *me, const hub_message_t *msg)
{
    keep(program_of(me), hub_member_token(me, msg));
    return HUB_OK;
}

static hub_status_t local(hub_member_t *me, const hub_message_t *msg)
{
    (void)msg;
    talk_tell(&program_of(me)->talk, "local %.*s %.*s", HUB_STR_ARG(msg->topic),
              HUB_STR_ARG(hub_member_local_topic(me)));
    return HUB_OK;
}

static const hub_event_handler_t events[] = {
    {"echo", echo},
    {"quiet", quiet},
    {"pending", pending},
    {"fail", refuse},
    {"answer_and_fail", answer_and_fail},
    {"answer_badly", answer_badly},
    {"try_bytes", try_bytes},
    {"push", push},
    {"cast", cast},
    {"cast_others", cast_others},
    {"stop", stop},
    {"stop_error", stop_error},
    {"stop_and_fail", stop_and_fail},
    {"stop_other", stop_other},
    {"suspend", suspend},
    {"token", token},
    {"local", local},
    {NULL, NULL},
};

/* The event says what becomes of it. */
static hub_update_t on_update(hub_member_t *me, const hub_message_t *msg,
                              hub_payload_t *ret_payload)
{
    talk_tell(&program_of(me)->talk, "update %.*s %.*s", HUB_STR_ARG(msg->topic),
              HUB_STR_ARG(msg->event));
    *ret_payload = HUB_JSON("\"another\"");
    if (hub_str_equals(msg->event, HUB_STR("suspends")))
        keep(program_of(me), hub_member_suspend(me));
    if (hub_str_equals(msg->event, HUB_STR("stops")))
        hub_member_stop(me, HUB_OK);
    return hub_str_equals(msg->event, HUB_STR("hidden"))    ? HUB_UPDATE_SKIP
           : hub_str_equals(msg->event, HUB_STR("changed")) ? HUB_UPDATE_REPLACE
                                                            : HUB_UPDATE_KEEP;
}

/* ---- the fixture ---- */

int program_set_up(void **state)
{
    *state = calloc(1, sizeof(program_t));
    hub_log_set_level(HUB_LOG_OFF);
    return *state == NULL;
}

int program_tear_down(void **state)
{
    program_t *program = *state;

    if (program->talk.wheel != NULL)
        talk_end(&program->talk);
    free(program);
    return 0;
}

program_t *begin(void **state, int dialect)
{
    static const hub_int_param_t int_params[] = {{"n", -3, 10}, {NULL, 0, 0}};
    program_t *program = *state;
    talk_t *talk = &program->talk;

    talk_init(talk, dialect);
    talk_channel(talk, NULL,
                 &(hub_channel_options_t){.pattern = "room:{id}",
                                          .on_join = on_join,
                                          .on_exit = exited,
                                          .on_update = on_update,
                                          .events = events,
                                          .pending_limit = PENDING_LIMIT,
                                          .user = program});
    talk_channel(talk, NULL,
                 &(hub_channel_options_t){.pattern = "ack:{id}",
                                          .on_join = on_join,
                                          .on_receive = quiet,
                                          .events = events,
                                          .auto_ack = true,
                                          .user = program});
    talk_channel(
        talk, NULL,
        &(hub_channel_options_t){.pattern = "num:{n}", .events = events, .int_params = int_params});
    talk_channel(talk, NULL, &(hub_channel_options_t){.pattern = "bare"});
    talk_channel(talk, NULL, &(hub_channel_options_t){.pattern = "hard:{id:(x+x+)+[yw]}"});
    talk_channel(talk, "app:{app}:",
                 &(hub_channel_options_t){
                     .pattern = "in:{id}", .on_join = on_join, .events = events, .user = program});
    talk_begin(talk);
    return program;
}

void ask(program_t *program, const char *ref, const char *topic, const char *event)
{
    talk_say(&program->talk, NULL, ref, topic, event, "{}");
}

void phx(program_t *program, const char *join_ref, const char *ref, const char *topic,
         const char *event)
{
    talk_say(&program->talk, join_ref, ref, topic, event, "{}");
}

void joined(program_t *program, const char *topic)
{
    bool native = program->talk.session.dialect->index == HUB__DIALECT_NATIVE;

    talk_say(&program->talk, native ? NULL : "1", "1", topic, native ? "join" : "phx_join", "{}");
    assert_non_null(hub__session_find(&program->talk.session, hub_str(topic)));
    talk_forget(&program->talk);
}

bool told(program_t *program, const char *topic, const char *event)
{
    hub_member_t *member = hub__session_find(&program->talk.session, hub_str(topic));
    hub_message_t msg = {
        .topic = hub_str(topic), .event = hub_str(event), .payload = HUB_JSON("{\"n\":1}")};

    return hub__member_wait_update(member, &msg);
}
