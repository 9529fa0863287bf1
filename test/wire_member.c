/* SPDX-License-Identifier: MIT */
/* What a program does with a member and a connection: answer later, pause, keep time, hand work to
 * the pool, send to one, end it. */
#define _GNU_SOURCE 1
#include "test/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- the channels of these cases ---- */

static hub_token_t token; /* the last one given; written before the note that tells of it */

static hub_status_t on_mirror(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_reply(me, msg, msg->payload);
}

static hub_status_t on_later(hub_member_t *me, const hub_message_t *msg)
{
    token = hub_member_token(me, msg);
    server_note("later");
    return HUB_PENDING;
}

static hub_status_t on_suspend(hub_member_t *me, const hub_message_t *msg)
{
    (void)msg;
    token = hub_member_suspend(me);
    server_note("suspended");
    return HUB_OK;
}

static hub_status_t on_push(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_push(me, HUB_STR("pushed"), msg->payload);
}

static hub_status_t on_say(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_broadcast(me, msg->event, msg->payload);
}

static hub_status_t on_id(hub_member_t *me, const hub_message_t *msg)
{
    char id[HUB_CONN_ID_TEXT], json[HUB_CONN_ID_TEXT + 2];

    snprintf(json, sizeof(json), "\"%s\"",
             hub_conn_id_format(hub_conn_id(hub_member_conn(me)), id));
    return hub_member_reply(me, msg, hub_json(hub_str(json)));
}

static hub_status_t on_close(hub_member_t *me, const hub_message_t *msg)
{
    hub_status_t err = hub_member_reply(me, msg, HUB_JSON("1"));

    hub_conn_close(hub_member_conn(me), 4321, HUB_STR("because"));
    return err; /* what is queued goes out before the close */
}

static hub_status_t on_stop(hub_member_t *me, const hub_message_t *msg)
{
    hub_member_stop(me, HUB_OK);
    return hub_member_reply(me, msg, HUB_JSON("1")); /* it is valid until the callback returns */
}

static hub_status_t on_crash(hub_member_t *me, const hub_message_t *msg)
{
    (void)msg;
    hub_member_stop(me, HUB_EINTERNAL);
    return HUB_OK;
}

static void on_tick(hub_member_t *me, const char *name, void *user)
{
    char json[32];
    int *count = user;

    snprintf(json, sizeof(json), "[\"%s\",%d]", name, ++*count);
    (void)hub_member_push(me, HUB_STR("tick"), hub_json(hub_str(json)));
}

static int ticks;

static hub_status_t reply_status(hub_member_t *me, const hub_message_t *msg, hub_status_t status)
{
    char json[40];

    snprintf(json, sizeof(json), "\"%s\"", hub_status_name(status));
    return hub_member_reply(me, msg, hub_json(hub_str(json)));
}

static hub_status_t on_once(hub_member_t *me, const hub_message_t *msg)
{
    (void)msg;
    return hub_member_timer_start(me, "once", 1, 0, on_tick, &ticks);
}

static hub_status_t on_every(hub_member_t *me, const hub_message_t *msg)
{
    return reply_status(me, msg, hub_member_timer_start(me, "every", 1, 1, on_tick, &ticks));
}

static hub_status_t on_enough(hub_member_t *me, const hub_message_t *msg)
{
    return reply_status(me, msg, hub_member_timer_stop(me, "every"));
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

/* ---- jobs ---- */

static void work_at_gate(void *user)
{
    server_note("work %s", (const char *)user);
    server_gate_wait();
}

static void on_done(hub_member_t *me, hub_status_t status, void *user)
{
    server_note("done %s %s %s", (const char *)user, hub_status_name(status),
                me == NULL ? "without" : "with");
    if (me != NULL)
        (void)hub_member_push(me, HUB_STR("done"), HUB_JSON("1"));
    free(user);
}

/* The payload is the job's name, in quotes. */
static hub_status_t on_job(hub_member_t *me, const hub_message_t *msg)
{
    char *name = strndup(msg->payload.bytes.base + 1, msg->payload.bytes.len - 2);
    hub_status_t status = hub_member_offload(me, name, work_at_gate, on_done, name);

    if (status != HUB_OK)
        free(name);
    return status;
}

static hub_status_t on_cancel(hub_member_t *me, const hub_message_t *msg)
{
    char name[32];

    snprintf(name, sizeof(name), "%.*s", (int)msg->payload.bytes.len - 2,
             msg->payload.bytes.base + 1);
    return reply_status(me, msg, hub_member_offload_cancel(me, name));
}

/* ---- joins ---- */

static hub_status_t on_join_later(hub_member_t *me, const hub_message_t *msg)
{
    (void)msg;
    (void)hub_member_defer(me, &token);
    server_note("deferred");
    return HUB_PENDING;
}

static void on_free_note(void *user)
{
    server_note("free %s", (const char *)user);
}

static char first_user[] = "first", second_user[] = "second";

static hub_status_t on_join_owner(hub_member_t *me, const hub_message_t *msg)
{
    (void)msg;
    hub_member_set_user(me, first_user, on_free_note);
    hub_member_set_user(me, second_user, on_free_note);
    return hub_str_equals(hub_member_param(me, "id"), HUB_STR("no")) ? HUB_EREJECTED : HUB_OK;
}

static const hub_event_handler_t events[] = {{"mirror", on_mirror},
                                             {"later", on_later},
                                             {"suspend", on_suspend},
                                             {"push", on_push},
                                             {"say", on_say},
                                             {"id", on_id},
                                             {"close_me", on_close},
                                             {"stop", on_stop},
                                             {"crash", on_crash},
                                             {"once", on_once},
                                             {"every", on_every},
                                             {"enough", on_enough},
                                             {"job", on_job},
                                             {"cancel", on_cancel},
                                             {"where", server_reply_thread},
                                             {NULL, NULL}};

static void add_channels(server_t *server)
{
    const hub_int_param_t page[] = {{"n", -1, 10}, {NULL, 0, 0}};
    const hub_channel_options_t channels[] = {
        {.pattern = "m:{id}", .on_exit = on_exit_note, .events = events, .pending_limit = 2},
        {.pattern = "late:{id}",
         .on_join = on_join_later,
         .on_exit = on_exit_note,
         .events = events},
        {.pattern = "hasty", .on_join = on_join_later, .join_timeout_ms = 20},
        {.pattern = "drowsy", .events = events, .suspend_timeout_ms = 20},
        {.pattern = "owner:{id}", .on_join = on_join_owner, .on_exit = on_exit_note},
        {.pattern = "page:{n}", .int_params = page},
    };

    for (size_t i = 0; i < COUNT(channels); i++)
        server_channel(server, &channels[i]);
}

static hub_status_t on_authorize(hub_request_t *request, void *user)
{
    (void)user;
    hub_request_grant(request, &(hub_grant_t){.identity = hub_request_query(request, "as")});
    return HUB_OK;
}

static server_t *members_with(unsigned threads, const hub_options_t *options)
{
    server_t *server = server_create_with(&(hub_server_options_t){.threads = threads}, options);

    ticks = 0;
    add_channels(server);
    server_mount(server, &(hub_endpoint_options_t){.on_authorize = on_authorize});
    server_start(server);
    return server;
}

static server_t *members(unsigned threads)
{
    return members_with(threads, NULL);
}

static client_t *member_of(server_t *server, const char *topic)
{
    client_t *client = server_client(server, "/socket");

    client_join(client, topic, "'j'");
    return client;
}

static hub_conn_id_t id_of(client_t *client, const char *topic)
{
    hub_conn_id_t id;
    const char *response;

    client_say(client, topic, "id", "{}", "'id'");
    response = strstr(client_expect_frame(client, CLIENT_TEXT).base, "\"response\":\"");
    assert_non_null(response);
    assert_int_equal(
        hub_conn_id_parse(hub_str_n(response + strlen("\"response\":\""), HUB_CONN_ID_TEXT - 1),
                          &id),
        HUB_OK);
    return id;
}

/* ---- answering later ---- */

static void a_reply_comes_from_another_thread(void **state)
{
    server_t *s = members(1);
    client_t *c = member_of(s, "m:1");

    (void)state;
    client_say(c, "m:1", "later", "{}", "'2'");
    server_expect_note("later");
    client_expect_quiet(c);
    assert_int_equal(hub_reply(s->hub, &token, HUB_JSON("{\"a\":1}")), HUB_OK);
    client_expect_json(c, "{'topic':'m:1','event':'reply','ref':'2','join_ref':'j',"
                          "'payload':{'status':'ok','response':{'a':1}}}");
    client_say(c, "m:1", "later", "{}", "3");
    server_expect_note("later");
    assert_int_equal(hub_reply_error(s->hub, &token, HUB_ELIMIT, HUB_JSON("[]")), HUB_OK);
    client_expect_error_detail(c, "m:1", "3", "limit", "[]");
}

static void a_token_of_a_member_that_is_gone_reaches_nobody(void **state)
{
    server_t *s = members(1);
    client_t *c = member_of(s, "m:1");

    (void)state;
    client_say(c, "m:1", "later", "{}", "'2'");
    client_say(c, "m:1", "leave", "{}", "'3'");
    server_expect_note("later");
    client_expect_ok(c, "m:1", "'3'", "{'topic':'m:1'}");
    client_join(c, "m:1", "'4'");
    assert_int_equal(hub_reply(s->hub, &token, HUB_JSON("1")), HUB_OK);
    client_expect_quiet(c);
    server_drop_client(s, c, client_abort);
    SERVER_EXPECT_STAT(s, conns, 0);
    assert_int_equal(hub_reply(s->hub, &token, HUB_JSON("1")), HUB_OK);
    client_expect_quiet(member_of(s, "m:1"));
}

static void a_token_is_good_for_its_own_kind_and_for_valid_payloads(void **state)
{
    server_t *s = members(1);
    client_t *c = member_of(s, "m:1");

    (void)state;
    client_say(c, "m:1", "later", "{}", "'2'");
    server_expect_note("later");
    assert_int_equal(hub_reply(s->hub, &token, HUB_JSON("{")), HUB_EPAYLOAD);
    assert_int_equal(hub_join_accept(s->hub, &token, HUB_JSON("{}")), HUB_EINVAL);
    assert_int_equal(hub_join_reject(s->hub, &token, HUB_JSON("{}")), HUB_EINVAL);
    assert_int_equal(hub_resume(s->hub, &token), HUB_EINVAL);
    client_expect_quiet(c);
}

static client_t *deferred_client(server_t **ret_server)
{
    server_t *s = *ret_server = members(1);
    client_t *c = server_client(s, "/socket");

    client_say(c, "late:1", "join", "{}", "'1'");
    server_expect_note("deferred");
    return c;
}

static void a_deferred_join_is_accepted_once(void **state)
{
    server_t *s;
    client_t *c = deferred_client(&s);

    (void)state;
    assert_int_equal(hub_join_accept(s->hub, &token, HUB_JSON("{\"a\":1}")), HUB_OK);
    assert_int_equal(hub_join_accept(s->hub, &token, HUB_JSON("{}")), HUB_OK);
    assert_int_equal(hub_join_reject(s->hub, &token, HUB_JSON("{}")), HUB_OK);
    client_expect_ok(c, "late:1", "'1'",
                     "{'topic':'late:1','already_joined':false,'replay_supported':false,"
                     "'response':{'a':1}}");
    client_say(c, "late:1", "mirror", "1", "'2'");
    client_expect_ok(c, "late:1", "'2'", "1");
}

static void a_deferred_join_is_rejected_with_a_detail(void **state)
{
    server_t *s;
    client_t *c = deferred_client(&s);

    (void)state;
    assert_int_equal(hub_join_reject(s->hub, &token, HUB_JSON("{\"full\":true}")), HUB_OK);
    client_expect_error_detail(c, "late:1", "'1'", "join_rejected", "{'full':true}");
    client_say(c, "late:1", "mirror", "1", "'2'");
    client_expect_error(c, "late:1", "'2'", "not_joined");
    server_expect_no_note();
}

static void a_deferred_join_that_nobody_answers_times_out(void **state)
{
    server_t *s = members(1);
    client_t *c = server_client(s, "/socket");

    (void)state;
    client_say(c, "hasty", "join", "{}", "'1'");
    server_expect_note("deferred");
    client_expect_error(c, "hasty", "'1'", "timeout");
    assert_int_equal(hub_join_accept(s->hub, &token, HUB_JSON("{}")), HUB_OK);
    client_say(c, "hasty", "mirror", "1", "'2'");
    client_expect_error(c, "hasty", "'2'", "not_joined");
}

static void leaving_while_the_join_is_pending_ends_it_exactly_once(void **state)
{
    server_t *s;
    client_t *c = deferred_client(&s);

    (void)state;
    client_say(c, "late:1", "leave", "{}", "'2'");
    client_expect_error(c, "late:1", "'1'", "join_rejected");
    client_expect_ok(c, "late:1", "'2'", "{'topic':'late:1'}");
    assert_int_equal(hub_join_accept(s->hub, &token, HUB_JSON("{}")), HUB_OK);
    client_expect_quiet(c);
    server_expect_no_note();
    SERVER_EXPECT_STAT(s, members, 0);
}

static void a_client_that_goes_while_its_join_is_pending_harms_nobody(void **state)
{
    server_t *s;
    client_t *c = deferred_client(&s);

    (void)state;
    server_drop_client(s, c, client_abort);
    SERVER_EXPECT_STAT(s, conns, 0);
    assert_int_equal(hub_join_accept(s->hub, &token, HUB_JSON("{}")), HUB_OK);
    client_expect_quiet(member_of(s, "m:1"));
    server_expect_no_note();
}

static void a_second_join_while_the_first_is_pending_is_busy(void **state)
{
    server_t *s;
    client_t *c = deferred_client(&s);

    (void)state;
    client_say(c, "late:1", "join", "{}", "'2'");
    client_expect_error(c, "late:1", "'2'", "busy");
}

/* ---- pausing ---- */

static void a_suspended_member_waits_in_order_while_others_go_on(void **state)
{
    server_t *s = members(1);
    client_t *c = member_of(s, "m:1");

    (void)state;
    client_join(c, "m:2", "'k'");
    client_say(c, "m:1", "suspend", "{}", NULL);
    client_say(c, "m:1", "mirror", "1", "'3'");
    client_say(c, "m:1", "mirror", "2", "'4'");
    client_say(c, "m:2", "mirror", "3", "'5'");
    client_expect_ok(c, "m:2", "'5'", "3");
    server_expect_note("suspended");
    assert_int_equal(hub_resume(s->hub, &token), HUB_OK);
    client_expect_ok(c, "m:1", "'3'", "1");
    client_expect_ok(c, "m:1", "'4'", "2");
    client_say(c, "m:1", "mirror", "5", "'6'");
    client_expect_ok(c, "m:1", "'6'", "5");
}

static void past_the_bound_a_waiting_members_messages_are_busy(void **state)
{
    server_t *s = members(1);
    client_t *c = member_of(s, "m:1");

    (void)state;
    client_say(c, "m:1", "suspend", "{}", NULL);
    client_say(c, "m:1", "mirror", "1", "'3'");
    client_say(c, "m:1", "mirror", "2", "'4'");
    client_say(c, "m:1", "mirror", "3", "'5'");
    client_expect_error(c, "m:1", "'5'", "busy");
    server_expect_note("suspended");
    assert_int_equal(hub_resume(s->hub, &token), HUB_OK);
    client_expect_ok(c, "m:1", "'3'", "1");
    client_expect_ok(c, "m:1", "'4'", "2");
}

static void a_member_that_nobody_resumes_goes_on_by_itself(void **state)
{
    server_t *s = members(1);
    client_t *c = member_of(s, "drowsy");

    (void)state;
    client_say(c, "drowsy", "suspend", "{}", NULL);
    client_say(c, "drowsy", "mirror", "1", "'2'");
    client_expect_ok(c, "drowsy", "'2'", "1");
    server_expect_log("member.suspend_timeout", "drowsy");
}

static void a_suspended_member_still_hears_broadcasts(void **state)
{
    server_t *s = members(1);
    client_t *c = member_of(s, "m:1");

    (void)state;
    client_say(c, "m:1", "suspend", "{}", NULL);
    server_expect_note("suspended");
    assert_int_equal(hub_publish(s->hub, HUB_STR("m:1"), HUB_STR("n"), HUB_JSON("1")), HUB_OK);
    client_expect_event(c, "m:1", "n", "1");
}

/* ---- timers ---- */

static void a_timer_rings_once_and_its_name_is_free_again(void **state)
{
    server_t *s = members(1);
    client_t *c = member_of(s, "m:1");

    (void)state;
    client_say(c, "m:1", "once", "{}", NULL);
    client_expect_push(c, "m:1", "tick", "['once',1]", "'j'");
    client_say(c, "m:1", "once", "{}", NULL);
    client_expect_push(c, "m:1", "tick", "['once',2]", "'j'");
    client_expect_quiet(c);
}

static void a_periodic_timer_rings_until_it_is_stopped(void **state)
{
    server_t *s = members(1);
    client_t *c = member_of(s, "m:1");
    const char *text;

    (void)state;
    client_say(c, "m:1", "every", "{}", "'2'");
    client_expect_ok(c, "m:1", "'2'", "'OK'");
    client_expect_push(c, "m:1", "tick", "['every',1]", "'j'");
    client_expect_push(c, "m:1", "tick", "['every',2]", "'j'");
    client_say(c, "m:1", "enough", "{}", "'3'");
    do
        text = client_expect_frame(c, CLIENT_TEXT).base;
    while (strstr(text, "\"tick\"") != NULL);
    assert_non_null(strstr(text, "\"OK\""));
    client_say(c, "m:1", "enough", "{}", "'4'");
    client_expect_ok(c, "m:1", "'4'", "'ENOTFOUND'");
}

static void a_timers_name_is_unique_within_its_member(void **state)
{
    server_t *s = members(1);
    client_t *c = member_of(s, "m:1");
    const char *text;

    (void)state;
    client_say(c, "m:1", "every", "{}", "'2'");
    client_expect_ok(c, "m:1", "'2'", "'OK'");
    client_say(c, "m:1", "every", "{}", "'3'");
    do
        text = client_expect_frame(c, CLIENT_TEXT).base;
    while (strstr(text, "\"tick\"") != NULL);
    assert_non_null(strstr(text, "\"EEXIST\""));
}

static void leaving_ends_the_timers(void **state)
{
    server_t *s = members(1);
    client_t *c = member_of(s, "m:1");

    (void)state;
    client_say(c, "m:1", "every", "{}", "'2'");
    client_expect_ok(c, "m:1", "'2'", "'OK'");
    client_say(c, "m:1", "leave", "{}", "'3'");
    while (strstr(client_expect_frame(c, CLIENT_TEXT).base, "\"tick\"") != NULL)
        ;
    /* a new timer of a new member rings: by then an old one would have, too */
    client_join(c, "m:1", "'k'");
    client_say(c, "m:1", "once", "{}", NULL);
    assert_non_null(strstr(client_expect_frame(c, CLIENT_TEXT).base, "\"once\""));
}

/* ---- work ---- */

static void a_job_comes_back_to_its_member(void **state)
{
    server_t *s = members(1);
    client_t *c = member_of(s, "m:1");

    (void)state;
    client_say(c, "m:1", "job", "'a'", NULL);
    server_expect_note("work a");
    client_expect_quiet(c); /* the loop is free meanwhile */
    server_gate_open();
    client_expect_push(c, "m:1", "done", "1", "'j'");
    server_expect_note("done a OK with");
    client_say(c, "m:1", "job", "'a'", NULL); /* the name is free again */
    client_expect_push(c, "m:1", "done", "1", "'j'");
}

static void a_running_jobs_name_is_taken(void **state)
{
    server_t *s = members(1);
    client_t *c = member_of(s, "m:1");

    (void)state;
    client_say(c, "m:1", "job", "'a'", NULL);
    server_expect_note("work a");
    client_say(c, "m:1", "job", "'a'", "'2'");
    client_expect_error(c, "m:1", "'2'", "internal_error");
    client_join(c, "m:2", "'3'");
    client_say(c, "m:2", "job", "'a'", NULL); /* another member's names are its own */
    server_expect_note("work a");
}

static void leaving_cancels_a_running_job_which_is_told_once(void **state)
{
    server_t *s = members(1);
    client_t *c = member_of(s, "m:1");

    (void)state;
    client_say(c, "m:1", "job", "'a'", NULL);
    server_expect_note("work a");
    client_say(c, "m:1", "leave", "{}", "'2'");
    client_expect_ok(c, "m:1", "'2'", "{'topic':'m:1'}");
    server_expect_note("exit m:1 leave");
    server_gate_open();
    server_expect_note("done a ECANCELLED without");
    client_expect_quiet(c);
    server_expect_no_note();
}

static void a_job_that_waits_when_its_connection_goes_never_runs(void **state)
{
    server_t *s = members_with(1, &(hub_options_t){.offload_threads = 1});
    client_t *c = member_of(s, "m:1");

    (void)state;
    client_say(c, "m:1", "job", "'a'", NULL);
    server_expect_note("work a");
    client_say(c, "m:1", "job", "'b'", NULL);
    client_expect_quiet(c);
    server_drop_client(s, c, client_abort);
    server_expect_note("exit m:1 disconnect");
    server_gate_open();
    SERVER_EXPECT_NOTES("done a ECANCELLED without", "done b ECANCELLED without");
    server_expect_no_note();
}

static void a_job_may_be_cancelled_by_name(void **state)
{
    server_t *s = members(1);
    client_t *c = member_of(s, "m:1");

    (void)state;
    client_say(c, "m:1", "cancel", "'a'", "'2'");
    client_expect_ok(c, "m:1", "'2'", "'ENOTFOUND'");
    client_say(c, "m:1", "job", "'a'", NULL);
    server_expect_note("work a");
    client_say(c, "m:1", "cancel", "'a'", "'3'");
    client_expect_ok(c, "m:1", "'3'", "'OK'");
    server_gate_open();
    server_expect_note("done a ECANCELLED without");
    client_expect_quiet(c);
}

static void a_full_queue_refuses_the_job(void **state)
{
    server_t *s = members_with(1, &(hub_options_t){.offload_threads = 1, .offload_queue = 1});
    client_t *c = member_of(s, "m:1");

    (void)state;
    client_say(c, "m:1", "job", "'a'", NULL);
    server_expect_note("work a");
    client_say(c, "m:1", "job", "'b'", NULL);
    client_say(c, "m:1", "job", "'c'", "'2'");
    client_expect_error(c, "m:1", "'2'", "limit");
    SERVER_EXPECT_STAT(s, offload_full_total, 1);
    server_gate_open();
    SERVER_EXPECT_NOTES("done a OK with", "work b", "done b OK with");
    server_expect_no_note();
}

/* ---- to one ---- */

static void a_push_reaches_one_member_alone(void **state)
{
    server_t *s = members(2);
    client_t *left, *right;

    (void)state;
    server_client_pair(s, "/socket", "m:1", "where", &left, &right);
    client_say(left, "m:1", "push", "[1]", NULL);
    client_expect_push(left, "m:1", "pushed", "[1]", "'1'");
    client_expect_quiet(right);
}

static void an_event_is_pushed_to_a_connection_by_its_id(void **state)
{
    server_t *s = members(2);
    client_t *left, *right;
    hub_conn_id_t id, stranger;

    (void)state;
    server_client_pair(s, "/socket", "m:1", "where", &left, &right);
    id = stranger = id_of(right, "m:1");
    stranger.node++;
    assert_int_equal(hub_conn_push_id(s->hub, id, HUB_STR("m:1"), HUB_STR("psst"), HUB_JSON("1")),
                     HUB_OK);
    client_expect_push(right, "m:1", "psst", "1", "'1'");
    assert_int_equal(hub_conn_push_id(s->hub, id, HUB_STR("m:2"), HUB_STR("psst"), HUB_JSON("2")),
                     HUB_OK);
    assert_int_equal(hub_conn_push_id(s->hub, id, HUB_STR("m:1"), HUB_STR("psst"), HUB_JSON("{")),
                     HUB_EPAYLOAD);
    assert_int_equal(
        hub_conn_push_id(s->hub, stranger, HUB_STR("m:1"), HUB_STR("psst"), HUB_JSON("3")),
        HUB_ENOTFOUND);
    client_expect_quiet(right);
    client_expect_quiet(left);
}

static void a_connection_is_closed_by_its_id(void **state)
{
    server_t *s = members(2);
    client_t *left, *right;
    hub_conn_id_t id;

    (void)state;
    server_client_pair(s, "/socket", "m:1", "where", &left, &right);
    id = id_of(right, "m:1");
    assert_int_equal(hub_conn_close_id(s->hub, id, 4444, HUB_STR("go")), HUB_OK);
    assert_string_equal(client_expect_close(right, 4444).base, "go");
    server_drop_client(s, right, client_destroy);
    SERVER_EXPECT_STAT(s, conns, 1);
    assert_int_equal(hub_conn_close_id(s->hub, id, 4444, HUB_STR("go")), HUB_OK);
    client_expect_quiet(left);
}

/* Whose worker or slot there never was, as who makes one up would. */
static void an_id_of_this_node_that_nobody_has_is_one_that_is_gone(void **state)
{
    static const uint64_t locals[] = {
        0,
        1,
        UINT64_C(3) << 54,
        UINT64_C(900) << 54 | 1,
        UINT64_C(1) << 54 | UINT64_C(0xfff) << 32,
        UINT64_MAX,
    };
    server_t *s = members(2);
    client_t *c = member_of(s, "m:1");
    hub_conn_id_t id = id_of(c, "m:1");

    (void)state;
    for (size_t i = 0; i < sizeof(locals) / sizeof(locals[0]); i++) {
        id.local = locals[i];
        assert_int_equal(
            hub_conn_push_id(s->hub, id, HUB_STR("m:1"), HUB_STR("psst"), HUB_JSON("1")), HUB_OK);
        assert_int_equal(hub_conn_close_id(s->hub, id, 4444, HUB_STR("go")), HUB_OK);
    }
    client_expect_quiet(c);
    server_stop(s);
    assert_int_equal(hub_conn_close_id(s->hub, id, 4444, HUB_STR("go")), HUB_ECLOSED);
    assert_int_equal(hub_conn_push_id(s->hub, id, HUB_STR("m:1"), HUB_STR("psst"), HUB_JSON("1")),
                     HUB_ECLOSED);
}

static void a_connection_is_closed_inside_its_own_callback(void **state)
{
    server_t *s = members(1);
    client_t *c = member_of(s, "m:1");

    (void)state;
    client_say(c, "m:1", "close_me", "{}", "'2'");
    client_expect_ok(c, "m:1", "'2'", "1");
    assert_string_equal(client_expect_close(c, 4321).base, "because");
    server_expect_note("exit m:1 disconnect");
}

static void all_connections_of_an_identity_are_ended_at_once(void **state)
{
    server_t *s = members(2);
    client_t *left, *right, *bob = server_client(s, "/socket?as=bob");

    (void)state;
    server_client_pair(s, "/socket?as=ann", "m:1", "where", &left, &right);
    client_join(bob, "m:1", "'1'");
    assert_int_equal(
        hub_push_identity(s->hub, HUB_STR("ann"), HUB_STR("m:1"), HUB_STR("psst"), HUB_JSON("1")),
        HUB_OK);
    client_expect_push(left, "m:1", "psst", "1", "'1'");
    client_expect_push(right, "m:1", "psst", "1", "'1'");
    assert_int_equal(hub_disconnect(s->hub, HUB_STR("nobody")), HUB_OK);
    assert_int_equal(hub_disconnect(s->hub, HUB_STR("ann")), HUB_OK);
    (void)client_expect_close(left, 1001);
    (void)client_expect_close(right, 1001);
    client_expect_quiet(bob);
}

static void a_member_that_is_stopped_gets_a_close_or_an_error(void **state)
{
    server_t *s = members(1);
    client_t *c = member_of(s, "m:1");

    (void)state;
    client_say(c, "m:1", "stop", "{}", "'2'");
    client_expect_ok(c, "m:1", "'2'", "1");
    client_expect_push(c, "m:1", "close", "{}", "'j'");
    server_expect_note("exit m:1 stopped");
    client_say(c, "m:1", "mirror", "1", "'3'");
    client_expect_error(c, "m:1", "'3'", "not_joined");
    client_join(c, "m:1", "'k'");
    client_say(c, "m:1", "crash", "{}", NULL);
    client_expect_push(c, "m:1", "error", "{'reason':'channel_crash'}", "'k'");
    server_expect_note("exit m:1 failed");
}

static void a_members_pointer_is_freed_when_it_ends_or_is_replaced(void **state)
{
    server_t *s = members(1);
    client_t *c = member_of(s, "owner:1");

    (void)state;
    server_expect_note("free first");
    client_say(c, "owner:1", "leave", "{}", "'2'");
    server_expect_note("exit owner:1 leave");
    server_expect_note("free second");
    client_say(c, "owner:no", "join", "{}", "'3'");
    SERVER_EXPECT_NOTES("free first", "free second");
    client_expect_ok(c, "owner:1", "'2'", "{'topic':'owner:1'}");
    client_expect_error(c, "owner:no", "'3'", "join_rejected");
    server_expect_no_note();
}

static void an_integer_parameter_must_fit(void **state)
{
    server_t *s = members(1);
    client_t *c = member_of(s, "page:10");

    (void)state;
    client_join(c, "page:-1", "'2'");
    client_say(c, "page:11", "join", "{}", "'3'");
    client_expect_error(c, "page:11", "'3'", "join_rejected");
    client_say(c, "page:one", "join", "{}", "'4'");
    client_expect_error(c, "page:one", "'4'", "join_rejected");
    client_say(c, "page:99999999999999999999", "join", "{}", "'5'");
    client_expect_error(c, "page:99999999999999999999", "'5'", "join_rejected");
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        SERVER_CASE(a_reply_comes_from_another_thread),
        SERVER_CASE(a_token_of_a_member_that_is_gone_reaches_nobody),
        SERVER_CASE(a_token_is_good_for_its_own_kind_and_for_valid_payloads),
        SERVER_CASE(a_deferred_join_is_accepted_once),
        SERVER_CASE(a_deferred_join_is_rejected_with_a_detail),
        SERVER_CASE(a_deferred_join_that_nobody_answers_times_out),
        SERVER_CASE(leaving_while_the_join_is_pending_ends_it_exactly_once),
        SERVER_CASE(a_client_that_goes_while_its_join_is_pending_harms_nobody),
        SERVER_CASE(a_second_join_while_the_first_is_pending_is_busy),
        SERVER_CASE(a_suspended_member_waits_in_order_while_others_go_on),
        SERVER_CASE(past_the_bound_a_waiting_members_messages_are_busy),
        SERVER_CASE(a_member_that_nobody_resumes_goes_on_by_itself),
        SERVER_CASE(a_suspended_member_still_hears_broadcasts),
        SERVER_CASE(a_timer_rings_once_and_its_name_is_free_again),
        SERVER_CASE(a_periodic_timer_rings_until_it_is_stopped),
        SERVER_CASE(a_timers_name_is_unique_within_its_member),
        SERVER_CASE(leaving_ends_the_timers),
        SERVER_CASE(a_job_comes_back_to_its_member),
        SERVER_CASE(a_running_jobs_name_is_taken),
        SERVER_CASE(leaving_cancels_a_running_job_which_is_told_once),
        SERVER_CASE(a_job_that_waits_when_its_connection_goes_never_runs),
        SERVER_CASE(a_job_may_be_cancelled_by_name),
        SERVER_CASE(a_full_queue_refuses_the_job),
        SERVER_CASE(a_push_reaches_one_member_alone),
        SERVER_CASE(an_event_is_pushed_to_a_connection_by_its_id),
        SERVER_CASE(a_connection_is_closed_by_its_id),
        SERVER_CASE(an_id_of_this_node_that_nobody_has_is_one_that_is_gone),
        SERVER_CASE(a_connection_is_closed_inside_its_own_callback),
        SERVER_CASE(all_connections_of_an_identity_are_ended_at_once),
        SERVER_CASE(a_member_that_is_stopped_gets_a_close_or_an_error),
        SERVER_CASE(a_members_pointer_is_freed_when_it_ends_or_is_replaced),
        SERVER_CASE(an_integer_parameter_must_fit),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
