/* SPDX-License-Identifier: MIT */
/* What a conversation means once a topic is joined, in each wire format: leaving, events, what
 * waits, what ends. The session is the whole of it, in a world of the test's own (test/talk.h) and
 * with a program that does as it is told (test/program.h). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "hub/memory.h"
#include "test/program.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- leaving ---- */

static void a_leave_is_answered_after_the_member_has_ended(void **state)
{
    program_t *program = begin(state, NATIVE);

    program->talk.tells_hooks = 1u << HUB_HOOK_JOIN | 1u << HUB_HOOK_LEAVE;
    program->talk.tells_subscriptions = true;
    ask(program, "1", "room:1", "join");
    ask(program, "2", "room:1", "leave");
    ask(program, "3", "room:1", "echo");
    assert_heard(&program->talk,
                 "subscribe room:1\n"
                 "reply room:1 1/1 ok " JOINED("room:1") "\n"
                                                         "hook join room:1\n"
                                                         "unsubscribe room:1\n"
                                                         "exit room:1 leave\n"
                                                         "hook leave room:1\n"
                                                         "reply room:1 2/1 ok {'topic':'room:1'}\n"
                                                         "reply room:1 3/- error " NOT_JOINED "\n");
    assert_int_equal(program->frees, 1);
}

static void exit_is_another_word_for_leave(void **state)
{
    program_t *program = begin(state, NATIVE);

    joined(program, "room:1");
    talk_say(&program->talk, "5", "2", "room:1", "exit", "{}");
    assert_heard(&program->talk, "exit room:1 leave\n"
                                 "reply room:1 2/5 ok {'topic':'room:1'}\n");
}

static void leaving_what_is_not_joined_is_not_joined(void **state)
{
    program_t *program = begin(state, NATIVE);

    ask(program, "1", "room:1", "leave");
    talk_say(&program->talk, "5", "2", "nothing", "exit", "{}");
    assert_heard(&program->talk, "reply room:1 1/- error " NOT_JOINED "\n"
                                 "reply nothing 2/5 error " NOT_JOINED "\n");
}

static void phoenix_leaves_what_is_not_joined_without_an_error(void **state)
{
    program_t *program = begin(state, V2);

    phx(program, "4", "5", "room:1", "phx_leave");
    phx(program, NULL, "6", "nothing", "phx_leave");
    phx(program, NULL, "7", "room:1", "exit");
    assert_heard(&program->talk, "reply room:1 5/4 ok {}\n"
                                 "reply nothing 6/- ok {}\n"
                                 "reply room:1 7/- error {'reason':'unmatched topic'}\n");
}

static void a_phoenix_leave_is_followed_by_a_close(void **state)
{
    program_t *program = begin(state, V2);

    joined(program, "room:1");
    phx(program, NULL, "2", "room:1", "phx_leave");
    assert_heard(&program->talk, "exit room:1 leave\n"
                                 "reply room:1 2/1 ok {}\n"
                                 "close room:1 1\n");
}

static void one_topic_is_left_the_other_stays(void **state)
{
    program_t *program = begin(state, NATIVE);

    joined(program, "room:a");
    joined(program, "room:b");
    ask(program, "2", "room:a", "leave");
    ask(program, "3", "room:b", "echo");
    ask(program, "4", "room:a", "echo");
    assert_heard(&program->talk, "exit room:a leave\n"
                                 "reply room:a 2/1 ok {'topic':'room:a'}\n"
                                 "reply room:b 3/1 ok {}\n"
                                 "reply room:a 4/- error " NOT_JOINED "\n");
}

static void a_rejoin_has_the_new_join_ref(void **state)
{
    program_t *program = begin(state, NATIVE);

    joined(program, "room:1");
    ask(program, "2", "room:1", "leave");
    ask(program, "3", "room:1", "join");
    talk_forget(&program->talk);
    ask(program, "4", "room:1", "push");
    assert_heard(&program->talk, "push room:1 3 pushed {}\n");
    assert_int_equal(program->joins, 2);
}

static void on_exit_may_broadcast_but_hears_nothing(void **state)
{
    program_t *program = begin(state, NATIVE);

    joined(program, "room:bye");
    ask(program, "2", "room:bye", "leave");
    assert_heard(&program->talk, "exit room:bye leave\n"
                                 "publish room:bye gone\n"
                                 "reply room:bye 2/1 ok {'topic':'room:bye'}\n");
    assert_int_equal(program->frees, 1);
}

/* ---- events ---- */

static void a_handler_that_says_nothing_sends_nothing(void **state)
{
    program_t *program = begin(state, NATIVE);

    joined(program, "room:1");
    ask(program, "2", "room:1", "quiet");
    ask(program, "3", "room:1", "pending");
    assert_heard(&program->talk, "");
}

static void an_event_that_nobody_handles_is_not_found(void **state)
{
    program_t *program = begin(state, NATIVE);

    joined(program, "room:1");
    ask(program, "2", "room:1", "update");
    ask(program, NULL, "room:1", "message");
    assert_heard(&program->talk, "reply room:1 2/1 error " NO_EVENT "\n"
                                 "reply room:1 -/1 error " NO_EVENT "\n");
    assert_int_equal(program->talk.stats.handler_errors_total, 0);
}

static void a_phoenix_member_ends_with_an_event_that_nobody_handles(void **state)
{
    program_t *program = begin(state, V2);

    program->talk.tells_subscriptions = true;
    joined(program, "room:1");
    phx(program, "1", "2", "room:1", "update");
    phx(program, "1", "3", "room:1", "echo");
    assert_heard(&program->talk, "unsubscribe room:1\n"
                                 "error room:1 1\n"
                                 "exit room:1 failed\n"
                                 "reply room:1 3/- error {'reason':'unmatched topic'}\n");
}

static void an_event_before_its_join_is_not_joined(void **state)
{
    program_t *program = begin(state, NATIVE);

    ask(program, "1", "room:1", "echo");
    talk_say(&program->talk, "7", "2", "nothing", "echo", "{}");
    assert_heard(&program->talk, "reply room:1 1/- error " NOT_JOINED "\n"
                                 "reply nothing 2/7 error " NOT_JOINED "\n");
}

static void a_failing_handler_answers_and_lives(void **state)
{
    program_t *program = begin(state, NATIVE);

    program->talk.tells_hooks = 1u << HUB_HOOK_ERROR;
    joined(program, "room:1");
    ask(program, "2", "room:1", "fail");
    ask(program, "3", "room:1", "echo");
    assert_heard(&program->talk,
                 "hook error room:1\n"
                 "reply room:1 2/1 error " REFUSAL("invalid_payload",
                                                   "Invalid payload") "\n"
                                                                      "reply room:1 3/1 ok {}\n");
    assert_int_equal(program->talk.stats.handler_errors_total, 1);
}

static void a_failure_after_the_reply_is_not_a_second_reply(void **state)
{
    program_t *program = begin(state, NATIVE);

    joined(program, "room:1");
    ask(program, "2", "room:1", "answer_and_fail");
    assert_heard(&program->talk, "reply room:1 2/1 ok 1\n");
    assert_int_equal(program->talk.stats.handler_errors_total, 1);
}

static void a_reply_that_could_not_be_sent_is_none(void **state)
{
    program_t *program = begin(state, NATIVE);

    joined(program, "room:1");
    ask(program, "2", "room:1", "answer_badly");
    assert_heard(&program->talk,
                 "reply room:1 2/1 error " REFUSAL("invalid_payload", "Invalid payload") "\n");
}

static void a_phoenix_member_ends_with_its_handlers_failure(void **state)
{
    program_t *program = begin(state, V2);

    program->talk.tells_hooks = 1u << HUB_HOOK_ERROR;
    joined(program, "room:1");
    joined(program, "room:2");
    phx(program, "1", "2", "room:1", "fail");
    phx(program, "1", "3", "room:2", "echo");
    assert_heard(&program->talk, "hook error room:1\n"
                                 "error room:1 1\n"
                                 "exit room:1 failed\n"
                                 "reply room:2 3/1 ok {}\n");
}

static void the_servers_own_events_reach_no_handler(void **state)
{
    static const char *const names[] = {"reply", "error",          "close",
                                        "gap",   "presence_state", "presence_diff"};
    program_t *program = begin(state, NATIVE);

    joined(program, "ack:1"); /* whose on_receive takes everything */
    for (size_t i = 0; i != COUNT(names); ++i) {
        ask(program, "2", "ack:1", names[i]);
        assert_heard(&program->talk, "reply ack:1 2/1 error " NO_EVENT "\n");
    }
    ask(program, "3", "ack:1", "update");
    assert_heard(&program->talk, "reply ack:1 3/1 ok {}\n");
}

/* Else who relays what comes would close the channels of others, in this format or another. */
static void an_event_that_clients_obey_does_not_reach_the_program(void **state)
{
    static const char *const events[] = {"phx_reply", "phx_close",      "phx_error",
                                         "reply",     "error",          "close",
                                         "gap",       "presence_state", "presence_diff"};
    program_t *program = begin(state, V2);

    for (size_t i = 0; i != sizeof(events) / sizeof(*events); ++i) {
        joined(program, "ack:1");
        phx(program, "1", "2", "ack:1", events[i]);
        assert_heard(&program->talk, "error ack:1 1\n");
    }
    joined(program, "ack:1");
    phx(program, "1", "2", "ack:1", "join");
    phx(program, "1", "3", "ack:1", "exit");
    assert_heard(&program->talk, "reply ack:1 2/1 ok {}\n"
                                 "reply ack:1 3/1 ok {}\n");
}

static void native_clients_cannot_say_what_phoenix_clients_obey(void **state)
{
    program_t *program = begin(state, NATIVE);

    joined(program, "ack:1");
    ask(program, "2", "ack:1", "phx_close");
    assert_heard(&program->talk, "reply ack:1 2/1 error " NO_EVENT "\n");
}

static void an_event_that_nobody_handles_is_reported(void **state)
{
    program_t *program = begin(state, V2);

    joined(program, "room:1");
    phx(program, "1", "2", "room:1", "nosuch");
    assert_heard(&program->talk, "error room:1 1\n"
                                 "exit room:1 failed\n");
    assert_int_equal(program->talk.stats.handler_errors_total, 1);
}

static void a_stale_join_ref_is_dropped_in_silence(void **state)
{
    program_t *program = begin(state, V2);

    joined(program, "room:1");
    phx(program, "0", "2", "room:1", "echo");
    phx(program, "0", "3", "room:1", "phx_leave");
    phx(program, "0", "4", "room:1", "fail");
    phx(program, "\"1\"", "5", "room:1", "echo");
    assert_heard(&program->talk, "");
    phx(program, "1", "6", "room:1", "echo");
    phx(program, NULL, "7", "room:1", "echo");
    assert_heard(&program->talk, "reply room:1 6/1 ok {}\n"
                                 "reply room:1 7/1 ok {}\n");
}

static void auto_ack_answers_what_asks_for_an_answer(void **state)
{
    program_t *program = begin(state, NATIVE);

    joined(program, "ack:1");
    ask(program, "2", "ack:1", "quiet");
    assert_heard(&program->talk, "reply ack:1 2/1 ok {}\n");
    ask(program, NULL, "ack:1", "quiet");
    ask(program, "3", "ack:1", "pending");
    ask(program, "4", "ack:1", "token"); /* answered later */
    assert_heard(&program->talk, "");
    talk_say(&program->talk, NULL, "5", "ack:1", "echo", "\"one\"");
    assert_heard(&program->talk, "reply ack:1 5/1 ok 'one'\n");
}

#define LONG_TOPIC                                                                                 \
    "ack:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"   \
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"   \
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void auto_ack_answers_where_a_reply_could_not_be_encoded(void **state)
{
    program_t *program = begin(state, V2);

    program->talk.limits.topic_bytes = 1024;
    joined(program, LONG_TOPIC); /* too long for a binary frame */
    phx(program, "1", "2", LONG_TOPIC, "try_bytes");
    assert_heard(&program->talk, "reply " LONG_TOPIC " 2/1 ok {}\n");
}

static void relaying_a_payload_needs_no_second_check(void **state)
{
    program_t *program = begin(state, NATIVE);

    joined(program, "room:1");
    talk_say(&program->talk, NULL, "2", "room:1", "cast", "[1]");
    ask(program, "3", "room:1", "cast_others");
    assert_heard(&program->talk, "publish room:1 news relayed\n"
                                 "broadcast room:1 news [1]\n"
                                 "publish room:1 news to others\n");
}

static void a_heartbeat_is_answered_without_a_member(void **state)
{
    program_t *program = begin(state, NATIVE);

    ask(program, "1", "hub", "heartbeat");
    ask(program, "2", "phoenix", "heartbeat");
    assert_heard(&program->talk, "reply hub 1/- ok {}\n"
                                 "reply phoenix 2/- error " NOT_JOINED "\n");
    talk_end(&program->talk);
    program = begin(state, V2);
    phx(program, "9", "1", "phoenix", "heartbeat");
    phx(program, NULL, "2", "hub", "heartbeat");
    assert_heard(&program->talk, "reply phoenix 1/- ok {}\n"
                                 "reply hub 2/- error {'reason':'unmatched topic'}\n");
}

/* ---- stopping ---- */

static void a_stop_inside_a_handler_ends_the_member_behind_its_reply(void **state)
{
    program_t *program = begin(state, NATIVE);

    joined(program, "room:1");
    ask(program, "2", "room:1", "stop");
    ask(program, "3", "room:1", "stop");
    assert_heard(&program->talk, "reply room:1 2/1 ok 'bye'\n"
                                 "close room:1 1\n"
                                 "exit room:1 stopped\n"
                                 "reply room:1 3/- error " NOT_JOINED "\n");
}

static void a_stop_with_an_error_is_an_error_event(void **state)
{
    program_t *program = begin(state, V2);

    joined(program, "room:1");
    phx(program, "1", "2", "room:1", "stop_error");
    assert_heard(&program->talk, "error room:1 1\n"
                                 "exit room:1 failed\n");
}

static void a_failure_counts_also_where_the_member_was_stopped(void **state)
{
    program_t *program = begin(state, NATIVE);

    program->talk.tells_hooks = 1u << HUB_HOOK_ERROR;
    joined(program, "room:1");
    ask(program, "2", "room:1", "stop_and_fail");
    assert_heard(&program->talk, "hook error room:1\n"
                                 "close room:1 1\n"
                                 "exit room:1 stopped\n");
    assert_int_equal(program->talk.stats.handler_errors_total, 1);
}

static void another_member_is_stopped_at_the_end_of_the_turn(void **state)
{
    program_t *program = begin(state, NATIVE);

    joined(program, "room:1");
    joined(program, "room:other");
    program->talk.turn_goes_on = true;
    ask(program, "2", "room:1", "stop_other");
    assert_heard(&program->talk, "");
    talk_turn(&program->talk);
    assert_heard(&program->talk, "close room:other 1\n"
                                 "exit room:other stopped\n");
}

static void a_stopped_member_gets_no_further_frame(void **state)
{
    program_t *program = begin(state, NATIVE);

    joined(program, "room:1");
    joined(program, "room:other");
    program->talk.turn_goes_on = true;
    ask(program, "2", "room:1", "stop_other");
    ask(program, "3", "room:other", "echo");
    assert_heard(&program->talk, "close room:other 1\n"
                                 "exit room:other stopped\n"
                                 "reply room:other 3/- error " NOT_JOINED "\n");
    ask(program, "4", "room:other", "join");
    talk_forget(&program->talk);
    ask(program, "5", "room:1", "stop_other");
    ask(program, "6", "room:other", "join");
    assert_heard(&program->talk, "close room:other 4\n"
                                 "exit room:other stopped\n"
                                 "reply room:other 6/6 ok " JOINED("room:other") "\n");
}

static void on_exit_may_stop_another_member(void **state)
{
    program_t *program = begin(state, NATIVE);

    joined(program, "room:other");
    joined(program, "room:both");
    ask(program, "2", "room:both", "stop");
    assert_heard(&program->talk, "reply room:both 2/1 ok 'bye'\n"
                                 "close room:both 1\n"
                                 "exit room:both stopped\n"
                                 "close room:other 1\n"
                                 "exit room:other stopped\n");
}

/* ---- suspending ---- */

static void frames_of_a_suspended_member_wait_until_it_is_resumed(void **state)
{
    program_t *program = begin(state, NATIVE);

    joined(program, "room:1");
    joined(program, "room:2");
    ask(program, "2", "room:1", "suspend");
    ask(program, "3", "room:1", "echo");
    ask(program, "4", "room:1", "update");
    ask(program, "5", "room:2", "echo");
    assert_heard(&program->talk, "reply room:2 5/1 ok {}\n");
    hub__session_resume(&program->talk.session, &program->tokens[0]);
    assert_heard(&program->talk, "reply room:1 3/1 ok {}\n"
                                 "reply room:1 4/1 error " NO_EVENT "\n");
    ask(program, "6", "room:1", "echo");
    assert_heard(&program->talk, "reply room:1 6/1 ok {}\n");
    hub__session_resume(&program->talk.session, &program->tokens[0]);
    talk_pass(&program->talk, 100000);
    assert_heard(&program->talk, "");
}

static void a_suspension_ends_at_its_deadline(void **state)
{
    program_t *program = begin(state, NATIVE);

    joined(program, "room:1");
    ask(program, "2", "room:1", "suspend");
    ask(program, "3", "room:1", "echo");
    talk_pass(&program->talk, 59999);
    assert_heard(&program->talk, "");
    talk_pass(&program->talk, 1);
    assert_heard(&program->talk, "reply room:1 3/1 ok {}\n");
}

static void a_second_suspension_makes_the_rest_wait_again(void **state)
{
    program_t *program = begin(state, NATIVE);

    joined(program, "room:1");
    ask(program, "2", "room:1", "suspend");
    ask(program, "3", "room:1", "echo");
    ask(program, "4", "room:1", "suspend");
    ask(program, "5", "room:1", "echo");
    hub__session_resume(&program->talk.session, &program->tokens[0]);
    assert_heard(&program->talk, "reply room:1 3/1 ok {}\n");
    ask(program, "6", "room:1", "echo");
    hub__session_resume(&program->talk.session, &program->tokens[1]);
    assert_heard(&program->talk, "reply room:1 5/1 ok {}\n"
                                 "reply room:1 6/1 ok {}\n");
}

static void messages_for_the_filter_of_a_suspended_member_wait_among_its_frames(void **state)
{
    program_t *program = begin(state, NATIVE);

    joined(program, "room:1");
    assert_false(told(program, "room:1", "kept"));
    ask(program, "2", "room:1", "suspend");
    ask(program, "3", "room:1", "echo");
    assert_true(told(program, "room:1", "kept"));
    ask(program, "4", "room:1", "echo");
    assert_true(told(program, "room:1", "hidden"));
    assert_true(told(program, "room:1", "changed"));
    assert_heard(&program->talk, "");
    hub__session_resume(&program->talk.session, &program->tokens[0]);
    assert_heard(&program->talk, "reply room:1 3/1 ok {}\n"
                                 "update room:1 kept\n"
                                 "broadcast room:1 kept {'n':1}\n"
                                 "reply room:1 4/1 ok {}\n"
                                 "update room:1 hidden\n"
                                 "update room:1 changed\n"
                                 "push room:1 1 changed 'another'\n");
    assert_int_equal(program->talk.stats.skipped_total, 1);
    assert_false(told(program, "room:1", "kept"));
    assert_int_equal(program->talk.session.pending_bytes, 0);
}

static void what_waits_for_a_filter_is_charged_as_it_is_given_back(void **state)
{
    program_t *program = begin(state, NATIVE);
    int64_t before;

    joined(program, "room:1");
    ask(program, "2", "room:1", "suspend");
    before = hub__account.bytes;
    for (unsigned i = 0; i != 2; i++)
        assert_true(told(program, "room:1", "kept"));
    assert_true(hub__account.bytes >= before + 2 * (int64_t)sizeof(hub__pending_t));
    hub__session_resume(&program->talk.session, &program->tokens[0]);
    assert_int_equal(hub__account.bytes, before);
}

static void a_filter_may_make_the_rest_wait_again(void **state)
{
    program_t *program = begin(state, NATIVE);

    joined(program, "room:1");
    ask(program, "2", "room:1", "suspend");
    assert_true(told(program, "room:1", "suspends"));
    assert_true(told(program, "room:1", "kept"));
    hub__session_resume(&program->talk.session, &program->tokens[0]);
    assert_heard(&program->talk, "update room:1 suspends\n"
                                 "broadcast room:1 suspends {'n':1}\n");
    assert_true(told(program, "room:1", "stops"));
    assert_true(told(program, "room:1", "hidden"));
    hub__session_resume(&program->talk.session, &program->tokens[1]);
    assert_heard(&program->talk, "update room:1 kept\n"
                                 "broadcast room:1 kept {'n':1}\n"
                                 "update room:1 stops\n"
                                 "broadcast room:1 stops {'n':1}\n"
                                 "close room:1 1\n"
                                 "exit room:1 stopped\n");
    assert_int_equal(program->talk.stats.dropped_total, 1);
}

static void messages_that_are_too_many_to_wait_are_dropped_and_counted(void **state)
{
    program_t *program = begin(state, NATIVE);

    joined(program, "room:1");
    ask(program, "2", "room:1", "suspend");
    for (int i = 0; i != PENDING_LIMIT; ++i) {
        assert_true(told(program, "room:1", "kept"));
        if (i != 0)
            ask(program, NULL, "room:1", "quiet");
    }
    assert_int_equal(program->talk.stats.dropped_total, 0);
    assert_true(told(program, "room:1", "changed"));
    assert_int_equal(program->talk.stats.dropped_total, 1);
    ask(program, "3", "room:1", "leave");
    assert_heard(&program->talk, "");
    hub__session_resume(&program->talk.session, &program->tokens[0]);
    talk_forget(&program->talk);
    assert_null(hub__session_find(&program->talk.session, HUB_STR("room:1")));
    assert_int_equal(program->talk.stats.dropped_total, 1);
}

static void what_waited_behind_a_leave_for_its_filter_is_for_nobody(void **state)
{
    program_t *program = begin(state, NATIVE);

    joined(program, "room:1");
    ask(program, "2", "room:1", "suspend");
    ask(program, "3", "room:1", "leave");
    assert_true(told(program, "room:1", "kept"));
    talk_say(&program->talk, NULL, "4", "room:1", "join", "{}");
    assert_true(told(program, "room:1", "changed"));
    hub__session_resume(&program->talk.session, &program->tokens[0]);
    assert_heard(&program->talk, "exit room:1 leave\n"
                                 "reply room:1 3/1 ok {'topic':'room:1'}\n"
                                 "reply room:1 4/4 ok " JOINED("room:1") "\n");
}

static void a_leave_waits_its_turn_in_a_suspended_member(void **state)
{
    program_t *program = begin(state, NATIVE);

    joined(program, "room:1");
    ask(program, "2", "room:1", "suspend");
    ask(program, "3", "room:1", "echo");
    ask(program, "4", "room:1", "leave");
    assert_heard(&program->talk, "");
    hub__session_resume(&program->talk.session, &program->tokens[0]);
    assert_heard(&program->talk, "reply room:1 3/1 ok {}\n"
                                 "exit room:1 leave\n"
                                 "reply room:1 4/1 ok {'topic':'room:1'}\n");
}

static void what_waits_behind_a_leave_is_met_as_if_it_came_now(void **state)
{
    program_t *program = begin(state, NATIVE);

    joined(program, "room:1");
    ask(program, "2", "room:1", "suspend");
    ask(program, "3", "room:1", "leave");
    ask(program, "4", "room:1", "echo");
    ask(program, "5", "room:1", "join");
    assert_heard(&program->talk, "");
    hub__session_resume(&program->talk.session, &program->tokens[0]);
    assert_heard(&program->talk, "exit room:1 leave\n"
                                 "reply room:1 3/1 ok {'topic':'room:1'}\n"
                                 "reply room:1 4/- error " NOT_JOINED "\n"
                                 "reply room:1 5/5 ok " JOINED("room:1") "\n");
    assert_int_equal(program->talk.stats.members, 1);
    assert_int_equal(program->talk.stats.dropped_total, 0);
}

static void a_second_join_of_a_suspended_member_waits_too(void **state)
{
    program_t *program = begin(state, NATIVE);

    joined(program, "room:1");
    ask(program, "2", "room:1", "suspend");
    ask(program, "3", "room:1", "join");
    ask(program, "4", "room:1", "echo");
    ask(program, "5", "room:1", "echo");
    ask(program, "6", "room:1", "join");
    assert_heard(&program->talk, "reply room:1 6/1 error " BUSY "\n");
    hub__session_resume(&program->talk.session, &program->tokens[0]);
    assert_heard(&program->talk,
                 "reply room:1 3/1 ok " ALREADY("room:1") "\n"
                                                          "reply room:1 4/1 ok {}\n"
                                                          "reply room:1 5/1 ok {}\n");
}

static void a_phoenix_failure_drops_what_waits(void **state)
{
    program_t *program = begin(state, V2);

    joined(program, "room:1");
    phx(program, "1", "2", "room:1", "suspend");
    phx(program, "1", "3", "room:1", "fail");
    phx(program, "1", "4", "room:1", "echo");
    hub__session_resume(&program->talk.session, &program->tokens[0]);
    assert_heard(&program->talk, "error room:1 1\n"
                                 "exit room:1 failed\n");
    assert_int_equal(program->talk.stats.dropped_total, 1);
}

static void a_member_may_be_suspended_by_its_join(void **state)
{
    program_t *program = begin(state, NATIVE);

    ask(program, "1", "room:suspend", "join");
    ask(program, "2", "room:suspend", "echo");
    assert_heard(&program->talk, "reply room:suspend 1/1 ok " JOINED("room:suspend") "\n");
    talk_pass(&program->talk, 59999);
    assert_heard(&program->talk, "");
    hub__session_resume(&program->talk.session, &program->tokens[0]);
    assert_heard(&program->talk, "reply room:suspend 2/1 ok {}\n");
}

static void a_suspension_made_while_joining_has_its_deadline_too(void **state)
{
    program_t *program = begin(state, NATIVE);

    ask(program, "1", "room:suspend", "join");
    ask(program, "2", "room:suspend", "echo");
    talk_forget(&program->talk);
    talk_pass(&program->talk, 60000);
    assert_heard(&program->talk, "reply room:suspend 2/1 ok {}\n");
}

static void a_pending_join_may_be_suspended_and_resumed(void **state)
{
    program_t *program = begin(state, NATIVE);

    ask(program, "1", "room:suspendlater", "join");
    ask(program, "2", "room:suspendlater", "echo");
    hub__session_join_later(&program->talk.session, &program->tokens[1], true, HUB_JSON("{}"));
    talk_forget(&program->talk);
    hub__session_resume(&program->talk.session, &program->tokens[0]);
    assert_heard(&program->talk, "reply room:suspendlater 2/1 ok {}\n");
    ask(program, "3", "room:suspendlater", "leave");
    ask(program, "4", "room:suspendlater", "join");
    talk_forget(&program->talk);
    hub__session_resume(&program->talk.session, &program->tokens[2]);
    talk_pass(&program->talk, 9999);
    assert_heard(&program->talk, "");
    talk_pass(&program->talk, 1); /* the join's own deadline stands */
    assert_heard(&program->talk,
                 "reply room:suspendlater 4/- error " REFUSAL("timeout", "Timed out") "\n");
}

/* ---- answering later ---- */

static void a_message_is_answered_later(void **state)
{
    program_t *program = begin(state, NATIVE);

    joined(program, "room:1");
    ask(program, "2", "room:1", "token");
    ask(program, "\"3\"", "room:1", "token");
    ask(program, NULL, "room:1", "token");
    hub__session_reply_later(&program->talk.session, &program->tokens[1], HUB_STR("ok"), HUB_OK,
                             HUB_JSON("[]"));
    hub__session_reply_later(&program->talk.session, &program->tokens[0], HUB_STR("ok"), HUB_ELIMIT,
                             HUB_JSON("null"));
    hub__session_reply_later(&program->talk.session, &program->tokens[2], HUB_STR("ok"), HUB_OK,
                             HUB_JSON("1"));
    assert_heard(&program->talk, "reply room:1 '3'/1 ok []\n"
                                 "reply room:1 2/1 error " REFUSAL_WITH(
                                     "limit", "Limit reached", "null") "\n"
                                                                       "reply room:1 -/1 ok 1\n");
}

static void an_answer_to_a_member_that_is_gone_goes_nowhere(void **state)
{
    program_t *program = begin(state, NATIVE);

    joined(program, "room:1");
    ask(program, "2", "room:1", "token");
    ask(program, "3", "room:1", "suspend");
    hub__session_resume(&program->talk.session, &program->tokens[1]);
    ask(program, "4", "room:1", "leave");
    ask(program, "5", "room:1", "join");
    talk_forget(&program->talk);
    hub__session_reply_later(&program->talk.session, &program->tokens[0], HUB_STR("ok"), HUB_OK,
                             HUB_JSON("[]"));
    hub__session_resume(&program->talk.session, &program->tokens[1]);
    hub__session_join_later(&program->talk.session, &program->tokens[0], true, HUB_JSON("[]"));
    assert_heard(&program->talk, "");
}

static void an_answer_that_the_format_cannot_carry_is_an_error(void **state)
{
    program_t *program = begin(state, NATIVE);

    joined(program, "room:1");
    ask(program, "2", "room:1", "token");
    hub__session_reply_later(&program->talk.session, &program->tokens[0], HUB_STR("ok"), HUB_OK,
                             hub_binary("\x01", 1));
    assert_heard(&program->talk,
                 "reply room:1 2/1 error " REFUSAL("internal_error", "Internal error") "\n");
}

/* ---- hooks ---- */

static hub_status_t veto(talk_t *talk, hub_hook_event_t *event)
{
    program_t *program = (program_t *)talk;

    if (event->hook != HUB_HOOK_MESSAGE_IN)
        return HUB_OK;
    assert_non_null(event->msg);
    assert_non_null(event->member);
    return program->veto;
}

static void a_veto_answers_and_the_handler_does_not_run(void **state)
{
    program_t *program = begin(state, NATIVE);

    program->talk.on_hook = veto;
    program->veto = HUB_ERATE;
    joined(program, "room:1"); /* a join is no message */
    ask(program, "2", "room:1", "echo");
    program->veto = HUB_OK;
    ask(program, "3", "room:1", "echo");
    assert_heard(&program->talk, "reply room:1 2/1 error " REFUSAL(
                                     "rate", "Too many requests") "\n"
                                                                  "reply room:1 3/1 ok {}\n");
}

static void a_veto_does_not_end_a_phoenix_member(void **state)
{
    program_t *program = begin(state, V2);

    program->talk.on_hook = veto;
    program->veto = HUB_EINTERNAL;
    joined(program, "room:1");
    phx(program, "1", "2", "room:1", "echo");
    phx(program, "1", "3", "room:1", "update");
    assert_heard(&program->talk, "reply room:1 2/1 error {'reason':'internal_error'}\n"
                                 "reply room:1 3/1 error {'reason':'internal_error'}\n");
}

static void hooks_frame_the_end_of_the_session(void **state)
{
    program_t *program = begin(state, NATIVE);

    program->talk.tells_hooks = ~0u;
    joined(program, "room:1");
    hub__session_end(&program->talk.session, HUB_DISCONNECT_CLIENT);
    hub__session_end(&program->talk.session, HUB_DISCONNECT_CLIENT);
    assert_heard(&program->talk, "hook disconnecting -\n"
                                 "exit room:1 disconnect\n"
                                 "hook leave room:1\n"
                                 "hook disconnect -\n");
}

/* ---- the end ---- */

static void everyone_exits_once_when_the_session_ends(void **state)
{
    program_t *program = begin(state, NATIVE);

    joined(program, "room:bye");
    ask(program, "1", "room:stop", "join"); /* has ended already */
    talk_forget(&program->talk);
    hub__session_end(&program->talk.session, HUB_DISCONNECT_SHUTDOWN);
    assert_heard(&program->talk, "exit room:bye shutdown\n"
                                 "publish room:bye gone\n");
    assert_int_equal(program->frees, 2);
}

static void nothing_is_taken_after_the_end(void **state)
{
    program_t *program = begin(state, NATIVE);

    joined(program, "room:1");
    program->talk.turn_goes_on = true;
    hub_member_stop(hub__session_find(&program->talk.session, HUB_STR("room:1")), HUB_OK);
    hub__session_end(&program->talk.session, HUB_DISCONNECT_LOST);
    talk_forget(&program->talk);
    talk_turn(&program->talk);
    ask(program, "1", "room:2", "join");
    talk_say_raw(&program->talk, HUB_STR("no envelope"), false);
    assert_heard(&program->talk, "");
}

/* ---- what is no envelope ---- */

#define BAD(ref, detail)                                                                           \
    "reply - " ref                                                                                 \
    " error " REFUSAL_WITH("invalid_payload", "Invalid payload", "{'error':" detail "}") "\n"

static void a_bad_envelope_is_answered_with_what_is_wrong(void **state)
{
    program_t *program = begin(state, NATIVE);

    talk_say_raw(&program->talk, HUB_STR("{\"topic\":\"room:1\",\"payload\":1,\"ref\":7}"), false);
    assert_heard(&program->talk, BAD("7/-", "'\\'event\\' is missing (at byte 38)'"));
    talk_say_raw(&program->talk,
                 HUB_STR("{\"topic\":\"a b\",\"event\":\"e\",\"payload\":1,\"ref\":7}"), false);
    assert_heard(&program->talk,
                 "reply - 7/- error " REFUSAL_WITH(
                     "bad_topic", "Bad topic",
                     "{'error':'\\'topic\\' has a space or control character (at byte 9)'}") "\n");
    talk_say_raw(&program->talk,
                 HUB_STR("{\"topic\":\"room:1\",\"event\":\"\",\"payload\":1,\"ref\":7}"), false);
    assert_heard(&program->talk, "reply room:1 7/- error " REFUSAL_WITH(
                                     "event_not_found", "Event not found",
                                     "{'error':'\\'event\\' is empty (at byte 26)'}") "\n");
    assert_int_equal(program->talk.stats.bad_envelopes_total, 3);
    assert_int_equal(program->talk.session.bad_envelopes, 1);
}

static void a_phoenix_frame_that_tells_topic_and_ref_is_answered(void **state)
{
    program_t *program = begin(state, V2);

    phx(program, "1", "2", "room:1",
        "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"); /* 65 */
    phx(program, "1", "3", "a b", "echo");
    assert_heard(&program->talk, "reply room:1 2/1 error {'reason':'event_not_found'}\n"
                                 "reply a b 3/- error {'reason':'unmatched topic'}\n");
}

static void any_other_bad_phoenix_frame_ends_the_connection(void **state)
{
    program_t *program = begin(state, V2);

    talk_say_raw(&program->talk, HUB_STR("[]"), false);
    talk_say_raw(&program->talk, HUB_STR("hello"), false);
    assert_heard(&program->talk, "closes 1008 limit: no envelope\n"
                                 "closes 1007 protocol: not JSON\n");
}

static void say_badly(program_t *program, unsigned times)
{
    for (unsigned i = 0; i != times; ++i)
        talk_say_raw(&program->talk, HUB_STR("[]"), false);
}

static void bad_envelopes_end_the_connection_past_the_limit(void **state)
{
    program_t *program = begin(state, NATIVE);

    program->talk.tells_hooks = 1u << HUB_HOOK_ERROR;
    program->talk.limits.bad_envelopes = 2;
    say_badly(program, 1);
    talk_forget(&program->talk);
    say_badly(program, 1);
    assert_heard(&program->talk,
                 "hook error -\n" BAD("-/-", "'the envelope must be an object (at byte 0)'"));
    ask(program, "1", "room:1", "join"); /* a good one between forgives nothing */
    talk_forget(&program->talk);
    say_badly(program, 1);
    assert_heard(&program->talk, "hook error -\n"
                                 "closes 1008 limit: too many bad envelopes\n");
}

static void many_bad_envelopes_are_counted_too(void **state)
{
    program_t *program = begin(state, NATIVE);

    program->talk.limits.bad_envelopes = 70000;
    program->talk.session.bad_envelopes = 65535;
    say_badly(program, 70000 - 65535);
    talk_forget(&program->talk);
    say_badly(program, 1);
    assert_heard(&program->talk, "closes 1008 limit: too many bad envelopes\n");
}

static void bad_envelopes_may_be_unlimited(void **state)
{
    program_t *program = begin(state, NATIVE);

    program->talk.limits.bad_envelopes = HUB_OFF;
    say_badly(program, 100);
    talk_forget(&program->talk);
    ask(program, "1", "room:1", "join");
    assert_heard(&program->talk, "reply room:1 1/1 ok " JOINED("room:1") "\n");
}

static void bytes_that_are_not_utf8_end_the_connection(void **state)
{
    program_t *program = begin(state, NATIVE);

    talk_say_raw(&program->talk, HUB_STR("{\"topic\":\"\xff\"}"), true);
    assert_heard(&program->talk, "closes 1007 protocol: not UTF-8\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PROGRAM_CASE(a_leave_is_answered_after_the_member_has_ended),
        PROGRAM_CASE(exit_is_another_word_for_leave),
        PROGRAM_CASE(leaving_what_is_not_joined_is_not_joined),
        PROGRAM_CASE(phoenix_leaves_what_is_not_joined_without_an_error),
        PROGRAM_CASE(a_phoenix_leave_is_followed_by_a_close),
        PROGRAM_CASE(one_topic_is_left_the_other_stays),
        PROGRAM_CASE(a_rejoin_has_the_new_join_ref),
        PROGRAM_CASE(on_exit_may_broadcast_but_hears_nothing),
        PROGRAM_CASE(a_handler_that_says_nothing_sends_nothing),
        PROGRAM_CASE(an_event_that_nobody_handles_is_not_found),
        PROGRAM_CASE(a_phoenix_member_ends_with_an_event_that_nobody_handles),
        PROGRAM_CASE(an_event_before_its_join_is_not_joined),
        PROGRAM_CASE(a_failing_handler_answers_and_lives),
        PROGRAM_CASE(a_failure_after_the_reply_is_not_a_second_reply),
        PROGRAM_CASE(a_reply_that_could_not_be_sent_is_none),
        PROGRAM_CASE(a_phoenix_member_ends_with_its_handlers_failure),
        PROGRAM_CASE(the_servers_own_events_reach_no_handler),
        PROGRAM_CASE(an_event_that_clients_obey_does_not_reach_the_program),
        PROGRAM_CASE(native_clients_cannot_say_what_phoenix_clients_obey),
        PROGRAM_CASE(an_event_that_nobody_handles_is_reported),
        PROGRAM_CASE(a_stale_join_ref_is_dropped_in_silence),
        PROGRAM_CASE(auto_ack_answers_what_asks_for_an_answer),
        PROGRAM_CASE(auto_ack_answers_where_a_reply_could_not_be_encoded),
        PROGRAM_CASE(relaying_a_payload_needs_no_second_check),
        PROGRAM_CASE(a_heartbeat_is_answered_without_a_member),
        PROGRAM_CASE(a_stop_inside_a_handler_ends_the_member_behind_its_reply),
        PROGRAM_CASE(a_stop_with_an_error_is_an_error_event),
        PROGRAM_CASE(a_failure_counts_also_where_the_member_was_stopped),
        PROGRAM_CASE(another_member_is_stopped_at_the_end_of_the_turn),
        PROGRAM_CASE(a_stopped_member_gets_no_further_frame),
        PROGRAM_CASE(on_exit_may_stop_another_member),
        PROGRAM_CASE(frames_of_a_suspended_member_wait_until_it_is_resumed),
        PROGRAM_CASE(a_suspension_ends_at_its_deadline),
        PROGRAM_CASE(a_second_suspension_makes_the_rest_wait_again),
        PROGRAM_CASE(messages_for_the_filter_of_a_suspended_member_wait_among_its_frames),
        PROGRAM_CASE(what_waits_for_a_filter_is_charged_as_it_is_given_back),
        PROGRAM_CASE(a_filter_may_make_the_rest_wait_again),
        PROGRAM_CASE(messages_that_are_too_many_to_wait_are_dropped_and_counted),
        PROGRAM_CASE(what_waited_behind_a_leave_for_its_filter_is_for_nobody),
        PROGRAM_CASE(a_leave_waits_its_turn_in_a_suspended_member),
        PROGRAM_CASE(what_waits_behind_a_leave_is_met_as_if_it_came_now),
        PROGRAM_CASE(a_second_join_of_a_suspended_member_waits_too),
        PROGRAM_CASE(a_phoenix_failure_drops_what_waits),
        PROGRAM_CASE(a_member_may_be_suspended_by_its_join),
        PROGRAM_CASE(a_suspension_made_while_joining_has_its_deadline_too),
        PROGRAM_CASE(a_pending_join_may_be_suspended_and_resumed),
        PROGRAM_CASE(a_message_is_answered_later),
        PROGRAM_CASE(an_answer_to_a_member_that_is_gone_goes_nowhere),
        PROGRAM_CASE(an_answer_that_the_format_cannot_carry_is_an_error),
        PROGRAM_CASE(a_veto_answers_and_the_handler_does_not_run),
        PROGRAM_CASE(a_veto_does_not_end_a_phoenix_member),
        PROGRAM_CASE(hooks_frame_the_end_of_the_session),
        PROGRAM_CASE(everyone_exits_once_when_the_session_ends),
        PROGRAM_CASE(nothing_is_taken_after_the_end),
        PROGRAM_CASE(a_bad_envelope_is_answered_with_what_is_wrong),
        PROGRAM_CASE(a_phoenix_frame_that_tells_topic_and_ref_is_answered),
        PROGRAM_CASE(any_other_bad_phoenix_frame_ends_the_connection),
        PROGRAM_CASE(bad_envelopes_end_the_connection_past_the_limit),
        PROGRAM_CASE(many_bad_envelopes_are_counted_too),
        PROGRAM_CASE(bad_envelopes_may_be_unlimited),
        PROGRAM_CASE(bytes_that_are_not_utf8_end_the_connection),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
