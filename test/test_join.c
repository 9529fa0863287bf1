/* SPDX-License-Identifier: MIT */
/* How a join ends, in each wire format, at once or later: accepted, refused, crashed, timed out,
 * left, replaced. The world is test/talk.h, the program test/program.h. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "test/program.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- at once ---- */

static void a_join_is_answered_with_its_ref_as_join_ref(void **state)
{
    program_t *program = begin(state, NATIVE);

    ask(program, "1", "room:1", "join");
    assert_heard(&program->talk, "reply room:1 1/1 ok " JOINED("room:1") "\n");
    ask(program, "2", "room:1", "echo");
    assert_heard(&program->talk, "reply room:1 2/1 ok {}\n");
    assert_int_equal(program->talk.stats.joins_total, 1);
    assert_int_equal(program->talk.stats.members, 1);
}

static void a_join_may_bring_its_own_join_ref(void **state)
{
    program_t *program = begin(state, NATIVE);

    talk_say(&program->talk, "9", "1", "room:1", "join", "{}");
    assert_heard(&program->talk, "reply room:1 1/9 ok " JOINED("room:1") "\n");
    ask(program, "2", "room:1", "echo");
    assert_heard(&program->talk, "reply room:1 2/9 ok {}\n");
    talk_say(&program->talk, "8", "3", "room:1", "echo", "{}");
    assert_heard(&program->talk, "reply room:1 3/8 ok {}\n");
}

static void refs_are_echoed_as_they_came(void **state)
{
    program_t *program = begin(state, NATIVE);

    ask(program, NULL, "room:1", "join");
    assert_heard(&program->talk, "reply room:1 -/- ok " JOINED("room:1") "\n");
    ask(program, "\"2\"", "room:1", "echo");
    assert_heard(&program->talk, "reply room:1 '2'/- ok {}\n");
    ask(program, "-7", "room:1", "echo");
    assert_heard(&program->talk, "reply room:1 -7/- ok {}\n");
}

static void phoenix_joins_are_answered_with_their_own_join_ref(void **state)
{
    program_t *program = begin(state, V2);

    phx(program, "\"10\"", "\"11\"", "room:1", "phx_join");
    assert_heard(&program->talk, "reply room:1 '11'/'10' ok {}\n");
    phx(program, "\"10\"", "\"12\"", "room:1", "echo");
    assert_heard(&program->talk, "reply room:1 '12'/'10' ok {}\n");
    phx(program, NULL, "13", "room:2", "phx_join");
    assert_heard(&program->talk, "reply room:2 13/- ok {}\n");
    phx(program, NULL, "14", "room:2", "echo");
    assert_heard(&program->talk, "reply room:2 14/13 ok {}\n");
}

static void a_channel_without_callbacks_is_joined_and_knows_no_event(void **state)
{
    program_t *program = begin(state, NATIVE);

    ask(program, "1", "bare", "join");
    ask(program, "2", "bare", "echo");
    ask(program, "3", "bare", "leave");
    assert_heard(&program->talk,
                 "reply bare 1/1 ok " JOINED("bare") "\n"
                                                     "reply bare 2/1 error " NO_EVENT "\n"
                                                     "reply bare 3/1 ok {'topic':'bare'}\n");
}

static void an_unknown_topic_is_refused(void **state)
{
    program_t *program = begin(state, NATIVE);

    ask(program, "1", "nothing:1", "join");
    talk_say(&program->talk, "5", "2", "room:a:b", "join", "{}");
    assert_heard(&program->talk, "reply nothing:1 1/- error " NO_TOPIC "\n"
                                 "reply room:a:b 2/5 error " NO_TOPIC "\n");
    assert_int_equal(program->talk.stats.joins_refused_total, 2);
}

static void phoenix_is_told_of_an_unmatched_topic_without_join_ref(void **state)
{
    program_t *program = begin(state, V2);

    phx(program, "1", "2", "nothing:1", "phx_join");
    phx(program, "1", "3", "nothing:1", "echo");
    phx(program, "1", "4", "phoenix", "other");
    assert_heard(&program->talk, "reply nothing:1 2/- error {'reason':'unmatched topic'}\n"
                                 "reply nothing:1 3/- error {'reason':'unmatched topic'}\n"
                                 "reply phoenix 4/- error {'reason':'unmatched topic'}\n");
}

#define HARD "hard:xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

static void a_match_that_gives_up_denies_the_join(void **state)
{
    program_t *program = begin(state, NATIVE);

    ask(program, "1", HARD, "join");
    assert_heard(&program->talk,
                 "reply " HARD " 1/- error " REFUSAL("join_rejected", "Join rejected") "\n");
    assert_int_equal(program->talk.stats.joins_refused_total, 1);
}

static void joins_end_at_the_limit_of_topics(void **state)
{
    program_t *program = begin(state, NATIVE);

    program->talk.limits.topics = 2;
    joined(program, "room:1");
    joined(program, "room:2");
    ask(program, "3", "room:3", "join");
    assert_heard(&program->talk, "reply room:3 3/- error " REFUSAL("limit", "Limit reached") "\n");
    ask(program, "4", "room:2", "join"); /* is one already */
    ask(program, "5", "room:1", "leave");
    talk_forget(&program->talk);
    joined(program, "room:3");
}

static void phoenix_has_words_of_its_own_for_the_limit(void **state)
{
    program_t *program = begin(state, V2);

    program->talk.limits.topics = 1;
    joined(program, "room:1");
    phx(program, "3", "4", "room:2", "phx_join");
    assert_heard(&program->talk, "reply room:2 4/3 error {'reason':'too many channels joined'}\n");
    phx(program, "5", "6", "room:1", "phx_join"); /* takes the place of its predecessor */
    assert_heard(&program->talk, "exit room:1 replaced\n"
                                 "reply room:1 6/5 ok {}\n"
                                 "close room:1 1\n");
}

static void a_second_join_changes_nothing(void **state)
{
    program_t *program = begin(state, NATIVE);

    program->talk.tells_subscriptions = true;
    ask(program, "1", "room:1", "join");
    ask(program, "2", "room:1", "join");
    talk_say(&program->talk, "8", "3", "room:1", "join", "{}");
    assert_heard(&program->talk,
                 "subscribe room:1\n"
                 "reply room:1 1/1 ok " JOINED(
                     "room:1") "\n"
                               "reply room:1 2/1 ok " ALREADY(
                                   "room:1") "\n"
                                             "reply room:1 3/1 ok " ALREADY("room:1") "\n");
    assert_int_equal(program->joins, 1);
    assert_int_equal(program->talk.stats.joins_total, 1);
}

static void a_second_phoenix_join_replaces_the_first(void **state)
{
    program_t *program = begin(state, V2);

    program->talk.tells_subscriptions = true;
    phx(program, "1", "1", "room:1", "phx_join");
    phx(program, "2", "2", "room:1", "phx_join");
    phx(program, "2", "3", "room:1", "echo");
    assert_heard(&program->talk, "subscribe room:1\n"
                                 "reply room:1 1/1 ok {}\n"
                                 "unsubscribe room:1\n"
                                 "exit room:1 replaced\n"
                                 "subscribe room:1\n"
                                 "reply room:1 2/2 ok {}\n"
                                 "close room:1 1\n"
                                 "reply room:1 3/2 ok {}\n");
    assert_int_equal(program->frees, 1);
}

static void the_first_is_replaced_even_if_the_second_join_is_refused(void **state)
{
    program_t *program = begin(state, V2);

    program->join_status = HUB_OK;
    joined(program, "room:status");
    program->join_status = HUB_EREJECTED;
    phx(program, "2", "2", "room:status", "phx_join");
    phx(program, "2", "3", "room:status", "echo");
    assert_heard(&program->talk, "exit room:status replaced\n"
                                 "reply room:status 2/2 error {'reason':'join_rejected'}\n"
                                 "close room:status 1\n"
                                 "reply room:status 3/- error {'reason':'unmatched topic'}\n");
}

static void a_rejected_join_tells_why_and_leaves_nothing(void **state)
{
    program_t *program = begin(state, NATIVE);

    ask(program, "1", "room:private", "join");
    ask(program, "2", "room:private", "echo");
    assert_heard(&program->talk,
                 "reply room:private 1/- error " REFUSAL_WITH(
                     "join_rejected", "Join rejected",
                     "{'reason':'private'}") "\n"
                                             "reply room:private 2/- error " NOT_JOINED "\n");
    assert_int_equal(program->frees, 1);
    assert_int_equal(program->talk.stats.joins_refused_total, 1);
    assert_int_equal(program->talk.stats.handler_errors_total, 0);
}

static void phoenix_gets_the_detail_of_a_rejection_as_the_whole_response(void **state)
{
    program_t *program = begin(state, V2);

    phx(program, "1", "2", "room:private", "phx_join");
    phx(program, "1", "3", "room:badbytes", "phx_join");
    assert_heard(&program->talk, "reply room:private 2/1 error {'reason':'private'}\n"
                                 "reply room:badbytes 3/1 error #02\n");
}

struct join_status_case {
    int dialect;
    hub_status_t status;
    const char *heard;
    unsigned failures;
};

static const struct join_status_case join_statuses[] = {
    {NATIVE, HUB_EREJECTED,
     "reply room:status 1/1 error " REFUSAL("join_rejected", "Join rejected") "\n", 0},
    {NATIVE, HUB_EINTERNAL,
     "reply room:status 1/1 error " REFUSAL("internal_error", "Internal error") "\n", 1},
    {NATIVE, HUB_ENOMEM,
     "reply room:status 1/1 error " REFUSAL("internal_error", "Internal error") "\n", 1},
    {NATIVE, HUB_EPAYLOAD,
     "reply room:status 1/1 error " REFUSAL("invalid_payload", "Invalid payload") "\n", 1},
    {NATIVE, HUB_ELIMIT, "reply room:status 1/1 error " REFUSAL("limit", "Limit reached") "\n", 1},
    {NATIVE, HUB_EBUSDOWN,
     "reply room:status 1/1 error " REFUSAL("bus_down", "The bus is down") "\n", 1},
    {V2, HUB_EREJECTED, "reply room:status 1/1 error {'reason':'join_rejected'}\n", 0},
    {V2, HUB_EINTERNAL, "reply room:status 1/1 error {'reason':'join crashed'}\n", 1},
    {V2, HUB_ERATE, "reply room:status 1/1 error {'reason':'rate'}\n", 1},
    {V1, HUB_EINTERNAL, "reply room:status 1/1 error {'reason':'join crashed'}\n", 1},
};

static void check_join_status(void **state, const struct join_status_case *expected)
{
    program_t *program = begin(state, expected->dialect);

    program->talk.tells_hooks = 0;
    program->join_status = expected->status;
    talk_say(&program->talk, "1", "1", "room:status",
             expected->dialect == NATIVE ? "join" : "phx_join", "{}");
    assert_heard(&program->talk, expected->heard);
    assert_int_equal(program->talk.stats.handler_errors_total, expected->failures);
    assert_int_equal(program->talk.session.members.count, 0);
    talk_end(&program->talk);
    *program = (program_t){0};
}

static void what_on_join_returns_decides_the_refusal(void **state)
{
    for (size_t i = 0; i != COUNT(join_statuses); ++i)
        check_join_status(state, &join_statuses[i]);
}

static void a_crashed_join_reaches_the_error_hook(void **state)
{
    program_t *program = begin(state, NATIVE);

    program->talk.tells_hooks = 1u << HUB_HOOK_ERROR | 1u << HUB_HOOK_JOIN | 1u << HUB_HOOK_LEAVE;
    program->join_status = HUB_EINTERNAL;
    ask(program, "1", "room:status", "join");
    assert_heard(&program->talk,
                 "hook error room:status\n"
                 "reply room:status 1/- error " REFUSAL("internal_error", "Internal error") "\n");
}

static void an_accepted_join_may_carry_a_response(void **state)
{
    program_t *program = begin(state, NATIVE);

    ask(program, "1", "room:accept", "join");
    assert_heard(&program->talk,
                 "reply room:accept 1/1 ok {'topic':'room:accept','already_joined':false,"
                 "'replay_supported':false,'response':[1,2]}\n");
}

static void a_binary_response_needs_a_format_that_carries_it(void **state)
{
    program_t *program = begin(state, NATIVE);

    ask(program, "1", "room:bytes", "join");
    ask(program, "2", "room:badbytes", "join");
    assert_heard(
        &program->talk,
        "reply room:bytes 1/- error " REFUSAL(
            "invalid_payload", "Invalid payload") "\n"
                                                  "reply room:badbytes 2/- error " REFUSAL(
                                                      "invalid_payload", "Invalid payload") "\n");
    talk_end(&program->talk);
    program = begin(state, V2);
    phx(program, "1", "1", "room:bytes", "phx_join");
    assert_heard(&program->talk, "reply room:bytes 1/1 ok #01ff\n");
}

static void a_response_is_not_the_detail_of_a_crash(void **state)
{
    program_t *program = begin(state, NATIVE);

    ask(program, "1", "room:acceptcrash", "join");
    assert_heard(&program->talk, "reply room:acceptcrash 1/- error " REFUSAL(
                                     "internal_error", "Internal error") "\n");
}

static void an_invalid_response_refuses_the_join(void **state)
{
    program_t *program = begin(state, V2);

    phx(program, "1", "1", "room:invalid", "phx_join");
    assert_heard(&program->talk, "reply room:invalid 1/1 error {'reason':'invalid_payload'}\n");
}

struct int_param_case {
    const char *topic;
    const char *heard;
};

#define MISFIT(topic)                                                                              \
    "reply " topic " 1/- error " REFUSAL_WITH("join_rejected", "Join rejected",                    \
                                              "{'param':'n','min':-3,'max':10}") "\n"
#define FITS(topic) "reply " topic " 1/1 ok " JOINED(topic) "\n"

static const struct int_param_case int_params[] = {
    {"num:-4", MISFIT("num:-4")},
    {"num:-3", FITS("num:-3")},
    {"num:10", FITS("num:10")},
    {"num:11", MISFIT("num:11")},
    {"num:x", MISFIT("num:x")},
    {"num:1x", MISFIT("num:1x")},
    {"num:99999999999999999999", MISFIT("num:99999999999999999999")},
};

static void an_integer_parameter_must_fit_its_range(void **state)
{
    program_t *program = begin(state, NATIVE);

    for (size_t i = 0; i != COUNT(int_params); ++i) {
        ask(program, "1", int_params[i].topic, "join");
        assert_heard(&program->talk, int_params[i].heard);
    }
    assert_int_equal(program->talk.stats.joins_total, 2);
}

static void a_sub_hub_sees_the_topic_as_it_declared_it(void **state)
{
    program_t *program = begin(state, NATIVE);

    joined(program, "app:x:in:7");
    ask(program, "2", "app:x:in:7", "local");
    assert_heard(&program->talk, "local in:7 in:7\n");
}

static void what_a_join_sends_follows_its_reply(void **state)
{
    program_t *program = begin(state, NATIVE);

    talk_say(&program->talk, NULL, "1", "room:greet", "join", "{\"p\":0}");
    assert_heard(&program->talk, "publish room:greet here relayed\n"
                                 "reply room:greet 1/1 ok " JOINED(
                                     "room:greet") "\n"
                                                   "push room:greet 1 hello {'n':1}\n"
                                                   "broadcast room:greet here {'p':0}\n"
                                                   "push room:greet 1 hello {'n':2}\n");
}

static void a_reply_inside_a_join_follows_its_reply_too(void **state)
{
    program_t *program = begin(state, NATIVE);

    ask(program, "1", "room:answer", "join");
    assert_heard(&program->talk, "reply room:answer 1/1 ok " JOINED(
                                     "room:answer") "\n"
                                                    "reply room:answer 1/1 ok 'early'\n");
}

static void what_a_refused_join_sent_is_never_heard(void **state)
{
    program_t *program = begin(state, NATIVE);

    program->talk.tells_subscriptions = true;
    ask(program, "1", "room:greetno", "join");
    assert_heard(&program->talk,
                 "subscribe room:greetno\n"
                 "publish room:greetno here relayed\n"
                 "unsubscribe room:greetno\n"
                 "reply room:greetno 1/- error " REFUSAL("join_rejected", "Join rejected") "\n");
}

static void a_join_without_a_subscription_is_refused(void **state)
{
    program_t *program = begin(state, NATIVE);

    program->talk.subscribe_status = HUB_ENOMEM;
    ask(program, "1", "room:1", "join");
    program->talk.subscribe_status = HUB_EBUSDOWN;
    ask(program, "2", "room:1", "join");
    assert_heard(&program->talk,
                 "reply room:1 1/- error " BUSY "\n"
                 "reply room:1 2/- error " REFUSAL("bus_down", "The bus is down") "\n");
    assert_int_equal(program->frees, 2);
    assert_int_equal(program->talk.stats.members, 0);
}

static hub_status_t push_in_hook(talk_t *talk, hub_hook_event_t *event)
{
    if (event->hook == ((program_t *)talk)->acts_in)
        (void)hub_member_push(event->member, HUB_STR("hooked"), HUB_JSON("{}"));
    return HUB_OK;
}

static void what_a_join_hook_sends_follows_the_join_reply(void **state)
{
    program_t *program = begin(state, NATIVE);

    program->talk.on_hook = push_in_hook;
    program->acts_in = HUB_HOOK_JOIN;
    ask(program, "1", "room:1", "join");
    assert_heard(&program->talk,
                 "reply room:1 1/1 ok " JOINED("room:1") "\n"
                                                         "push room:1 1 hooked {}\n");
}

static void a_stop_inside_a_join_comes_after_the_reply(void **state)
{
    program_t *program = begin(state, NATIVE);

    ask(program, "1", "room:stop", "join");
    ask(program, "2", "room:stop", "echo");
    assert_heard(&program->talk, "reply room:stop 1/1 ok " JOINED(
                                     "room:stop") "\n"
                                                  "close room:stop 1\n"
                                                  "exit room:stop stopped\n"
                                                  "reply room:stop 2/- error " NOT_JOINED "\n");
}

/* ---- later ---- */

static void a_deferred_join_is_accepted_later(void **state)
{
    program_t *program = begin(state, NATIVE);

    talk_say(&program->talk, "5", "1", "room:later", "join", "{}");
    assert_heard(&program->talk, "");
    assert_int_equal(program->talk.stats.members, 0);
    hub__session_join_later(&program->talk.session, &program->tokens[0], true,
                            HUB_JSON("{\"a\":1}"));
    assert_heard(&program->talk,
                 "reply room:later 1/5 ok {'topic':'room:later','already_joined':false,"
                 "'replay_supported':false,'response':{'a':1}}\n");
    talk_pass(&program->talk, 60000);
    ask(program, "2", "room:later", "echo");
    assert_heard(&program->talk, "reply room:later 2/5 ok {}\n");
}

static void a_deferred_join_is_rejected_later(void **state)
{
    program_t *program = begin(state, NATIVE);

    ask(program, "1", "room:later", "join");
    hub__session_join_later(&program->talk.session, &program->tokens[0], false, HUB_JSON("null"));
    hub__session_join_later(&program->talk.session, &program->tokens[0], true, HUB_JSON("null"));
    assert_heard(&program->talk, "reply room:later 1/- error " REFUSAL_WITH(
                                     "join_rejected", "Join rejected", "null") "\n");
    assert_int_equal(program->frees, 1);
}

static void a_deferred_phoenix_join_keeps_its_refs(void **state)
{
    program_t *program = begin(state, V2);

    phx(program, "\"j\"", "\"r\"", "room:later", "phx_join");
    phx(program, NULL, NULL, "room:later2", "phx_join");
    hub__session_join_later(&program->talk.session, &program->tokens[0], true, HUB_JSON("{}"));
    hub__session_join_later(&program->talk.session, &program->tokens[1], true,
                            hub_binary("\x09", 1));
    assert_heard(&program->talk, "reply room:later 'r'/'j' ok {}\n"
                                 "reply room:later2 -/- ok #09\n");
}

static void a_deferred_join_times_out(void **state)
{
    program_t *program = begin(state, NATIVE);

    ask(program, "1", "room:later", "join");
    talk_pass(&program->talk, 9999);
    assert_heard(&program->talk, "");
    talk_pass(&program->talk, 1);
    assert_heard(&program->talk,
                 "reply room:later 1/- error " REFUSAL("timeout", "Timed out") "\n");
    hub__session_join_later(&program->talk.session, &program->tokens[0], true, HUB_JSON("{}"));
    assert_heard(&program->talk, "");
    assert_int_equal(program->talk.stats.joins_refused_total, 1);
}

static void a_deferred_join_is_accepted_once(void **state)
{
    program_t *program = begin(state, NATIVE);

    ask(program, "1", "room:later", "join");
    hub__session_join_later(&program->talk.session, &program->tokens[0], true, HUB_JSON("{}"));
    talk_forget(&program->talk);
    hub__session_join_later(&program->talk.session, &program->tokens[0], true, HUB_JSON("{}"));
    hub__session_join_later(&program->talk.session, &program->tokens[0], false, HUB_JSON("{}"));
    assert_heard(&program->talk, "");
    assert_int_equal(program->talk.stats.members, 1);
}

static void the_token_of_an_earlier_join_is_not_that_of_a_later_one(void **state)
{
    program_t *program = begin(state, NATIVE);

    ask(program, "1", "room:later", "join");
    ask(program, "2", "room:later", "leave");
    ask(program, "3", "room:later", "join");
    talk_forget(&program->talk);
    hub__session_join_later(&program->talk.session, &program->tokens[0], true, HUB_JSON("{}"));
    assert_heard(&program->talk, "");
    hub__session_join_later(&program->talk.session, &program->tokens[1], true, HUB_JSON("{}"));
    ask(program, "4", "room:later", "echo");
    talk_forget(&program->talk);
    assert_int_equal(program->talk.stats.members, 1);
}

static void frames_wait_in_order_while_a_join_is_pending(void **state)
{
    program_t *program = begin(state, NATIVE);

    ask(program, "1", "room:later", "join");
    talk_say(&program->talk, NULL, "2", "room:later", "echo", "[\"two\"]");
    talk_say(&program->talk, "8", "3", "room:later", "echo", "3");
    ask(program, "4", "room:1", "join");
    assert_heard(&program->talk, "reply room:1 4/4 ok " JOINED("room:1") "\n");
    hub__session_join_later(&program->talk.session, &program->tokens[0], true, HUB_JSON("{}"));
    assert_heard(&program->talk,
                 "reply room:later 1/1 ok {'topic':'room:later','already_joined':false,"
                 "'replay_supported':false,'response':{}}\n"
                 "reply room:later 2/1 ok ['two']\n"
                 "reply room:later 3/8 ok 3\n");
    assert_int_equal(program->talk.session.pending_bytes, 0);
}

static void what_waits_for_a_refused_join_is_answered(void **state)
{
    program_t *program = begin(state, V2);

    phx(program, "1", "1", "room:later", "phx_join");
    phx(program, "1", "2", "room:later", "echo");
    phx(program, NULL, "3", "room:later", "fail");
    hub__session_join_later(&program->talk.session, &program->tokens[0], false, HUB_JSON("{}"));
    assert_heard(&program->talk, "reply room:later 1/1 error {}\n"
                                 "reply room:later 2/- error {'reason':'unmatched topic'}\n"
                                 "reply room:later 3/- error {'reason':'unmatched topic'}\n");
    phx(program, "4", "4", "room:later", "phx_join");
    phx(program, "4", "5", "room:later", "echo");
    talk_pass(&program->talk, 10000);
    assert_heard(&program->talk, "reply room:later 4/4 error {'reason':'timeout'}\n"
                                 "reply room:later 5/- error {'reason':'unmatched topic'}\n");
    assert_int_equal(program->talk.session.pending_bytes, 0);
    assert_int_equal(program->talk.stats.dropped_total, 0);
}

static void what_waits_is_bounded(void **state)
{
    program_t *program = begin(state, NATIVE);

    ask(program, "1", "room:later", "join");
    ask(program, "2", "room:later", "quiet");
    ask(program, "3", "room:later", "quiet");
    ask(program, "4", "room:later", "echo");
    ask(program, "5", "room:later", "echo");
    assert_heard(&program->talk, "reply room:later 5/1 error " BUSY "\n");
    hub__session_join_later(&program->talk.session, &program->tokens[0], true, HUB_JSON("{}"));
    assert_heard(&program->talk,
                 "reply room:later 1/1 ok {'topic':'room:later','already_joined':false,"
                 "'replay_supported':false,'response':{}}\n"
                 "reply room:later 4/1 ok {}\n");
}

static void what_waits_is_bounded_in_bytes_over_all_topics(void **state)
{
    program_t *program = begin(state, NATIVE);

    program->talk.limits.outbox_bytes =
        2 * sizeof(hub__pending_t) + strlen("room:laterquiet2{}") + strlen("room:later2quiet3{}");
    ask(program, "1", "room:later", "join");
    ask(program, "1", "room:later2", "join");
    ask(program, "2", "room:later", "quiet");
    ask(program, "3", "room:later2", "quiet");
    ask(program, "4", "room:later2", "quiet");
    assert_heard(&program->talk, "reply room:later2 4/1 error " BUSY "\n");
    ask(program, "5", "room:later", "leave");
    talk_forget(&program->talk);
    ask(program, "6", "room:later2", "echo");
    assert_heard(&program->talk, "");
}

static void a_second_join_of_a_pending_one_is_busy(void **state)
{
    program_t *program = begin(state, NATIVE);

    ask(program, "1", "room:later", "join");
    ask(program, "2", "room:later", "join");
    assert_heard(&program->talk, "reply room:later 2/- error " BUSY "\n");
    assert_int_equal(program->joins, 1);
}

static void a_second_phoenix_join_replaces_a_pending_one(void **state)
{
    program_t *program = begin(state, V2);

    phx(program, "1", "1", "room:later", "phx_join");
    phx(program, "1", "2", "room:later", "echo");
    phx(program, "3", "3", "room:later", "phx_join");
    assert_heard(&program->talk, "close room:later 1\n");
    hub__session_join_later(&program->talk.session, &program->tokens[0], true, HUB_JSON("{}"));
    assert_heard(&program->talk, "");
    hub__session_join_later(&program->talk.session, &program->tokens[1], true, HUB_JSON("{}"));
    assert_heard(&program->talk, "reply room:later 3/3 ok {}\n");
    assert_int_equal(program->talk.stats.dropped_total, 1);
    assert_int_equal(program->talk.stats.joins_refused_total, 1);
}

static void a_leave_ends_a_pending_join(void **state)
{
    program_t *program = begin(state, NATIVE);

    ask(program, "1", "room:later", "join");
    ask(program, "2", "room:later", "echo");
    ask(program, "3", "room:later", "exit");
    assert_heard(&program->talk,
                 "reply room:later 1/- error " REFUSAL_WITH(
                     "join_rejected", "Join rejected",
                     "{'reason':'left'}") "\n"
                                          "reply room:later 2/- error " NOT_JOINED "\n"
                                          "reply room:later 3/1 ok {'topic':'room:later'}\n");
    assert_int_equal(program->talk.session.pending_bytes, 0);
    assert_int_equal(program->frees, 1);
}

static void a_stale_leave_does_not_end_a_pending_phoenix_join(void **state)
{
    program_t *program = begin(state, V2);

    phx(program, "1", "1", "room:later", "phx_join");
    phx(program, "0", "2", "room:later", "phx_leave");
    assert_heard(&program->talk, "");
    phx(program, "1", "3", "room:later", "phx_leave");
    assert_heard(&program->talk, "reply room:later 1/1 error {'reason':'left'}\n"
                                 "reply room:later 3/1 ok {}\n"
                                 "close room:later 1\n");
}

static void the_end_of_the_session_ends_a_pending_join(void **state)
{
    program_t *program = begin(state, NATIVE);

    program->talk.tells_hooks = ~0u;
    ask(program, "1", "room:later", "join");
    ask(program, "2", "room:later", "echo");
    hub__session_end(&program->talk.session, HUB_DISCONNECT_LOST);
    assert_heard(&program->talk, "hook disconnecting -\n"
                                 "hook disconnect -\n");
    assert_int_equal(program->frees, 1);
    assert_int_equal(program->talk.stats.joins_refused_total, 1);
}

static void a_stop_refuses_a_pending_join(void **state)
{
    program_t *program = begin(state, NATIVE);

    ask(program, "1", "room:stoplater", "join");
    ask(program, "2", "room:crashlater", "join");
    assert_heard(&program->talk, "reply room:stoplater 1/- error " REFUSAL(
                                     "join_rejected",
                                     "Join rejected") "\n"
                                                      "reply room:crashlater 2/- error " REFUSAL(
                                                          "internal_error", "Internal error") "\n");
    assert_int_equal(program->talk.stats.joins_refused_total, 2);
    assert_int_equal(program->frees, 2);
}

static void a_timer_may_stop_a_pending_join(void **state)
{
    program_t *program = begin(state, V2);

    phx(program, "1", "1", "room:timedlater", "phx_join");
    talk_pass(&program->talk, 10);
    assert_heard(&program->talk, "timer\n"
                                 "reply room:timedlater 1/1 error {'reason':'join_rejected'}\n");
}

/* ---- a topic that is not the broker's yet ---- */

static program_t *begin_awaiting(void **state, int dialect)
{
    program_t *program = begin(state, dialect);

    program->talk.awaits = true;
    return program;
}

static void a_join_waits_for_its_topic_and_keeps_its_response(void **state)
{
    program_t *program = begin_awaiting(state, NATIVE);

    talk_say(&program->talk, "5", "1", "room:accept", "join", "{}");
    assert_heard(&program->talk, "");
    assert_int_equal(program->talk.stats.members, 0);
    talk_ready(&program->talk, "room:accept");
    talk_ready(&program->talk, "room:accept");
    assert_heard(&program->talk,
                 "reply room:accept 1/5 ok {'topic':'room:accept','already_joined':false,"
                 "'replay_supported':false,'response':[1,2]}\n");
    assert_int_equal(program->talk.stats.joins_waited_total, 1);
    assert_int_equal(program->talk.stats.joins_overdue_total, 0);
    assert_int_equal(program->talk.stats.members, 1);
}

static void what_a_waiting_join_sent_and_got_follows_its_reply(void **state)
{
    program_t *program = begin_awaiting(state, NATIVE);

    talk_say(&program->talk, NULL, "1", "room:greet", "join", "{\"p\":0}");
    ask(program, "2", "room:greet", "echo");
    assert_heard(&program->talk, "publish room:greet here relayed\n");
    talk_ready(&program->talk, "room:greet");
    assert_heard(&program->talk, "reply room:greet 1/1 ok " JOINED(
                                     "room:greet") "\n"
                                                   "push room:greet 1 hello {'n':1}\n"
                                                   "broadcast room:greet here {'p':0}\n"
                                                   "push room:greet 1 hello {'n':2}\n"
                                                   "reply room:greet 2/1 ok {}\n");
}

static void a_deferred_join_waits_once_it_is_accepted(void **state)
{
    program_t *program = begin_awaiting(state, V2);

    phx(program, "1", "2", "room:later", "phx_join");
    talk_ready(&program->talk, "room:later");
    hub__session_join_later(&program->talk.session, &program->tokens[0], true,
                            HUB_JSON("{\"a\":1}"));
    hub__session_join_later(&program->talk.session, &program->tokens[0], true, HUB_JSON("{}"));
    hub__session_join_later(&program->talk.session, &program->tokens[0], false, HUB_JSON("{}"));
    assert_heard(&program->talk, "");
    talk_ready(&program->talk, "room:later");
    assert_heard(&program->talk, "reply room:later 2/1 ok {'a':1}\n");
}

static void nobody_waits_for_a_topic_longer_than_two_seconds(void **state)
{
    program_t *program = begin_awaiting(state, NATIVE);

    ask(program, "1", "room:1", "join");
    talk_pass(&program->talk, 1999);
    assert_heard(&program->talk, "");
    talk_pass(&program->talk, 1);
    talk_ready(&program->talk, "room:1");
    assert_heard(&program->talk, "hurries room:1\n"
                                 "reply room:1 1/1 ok " JOINED("room:1") "\n");
    assert_int_equal(program->talk.stats.joins_overdue_total, 1);
}

static void a_leave_ends_a_waiting_join(void **state)
{
    program_t *program = begin_awaiting(state, NATIVE);

    ask(program, "1", "room:accept", "join");
    ask(program, "2", "room:accept", "echo");
    ask(program, "3", "room:accept", "exit");
    assert_heard(&program->talk,
                 "reply room:accept 1/- error " REFUSAL_WITH(
                     "join_rejected", "Join rejected",
                     "{'reason':'left'}") "\n"
                                          "reply room:accept 2/- error " NOT_JOINED "\n"
                                          "reply room:accept 3/1 ok {'topic':'room:accept'}\n");
    assert_int_equal(program->frees, 1);
    talk_ready(&program->talk, "room:accept");
    assert_heard(&program->talk, "");
}

static void a_second_phoenix_join_replaces_a_waiting_one(void **state)
{
    program_t *program = begin_awaiting(state, V2);

    phx(program, "1", "1", "room:1", "phx_join");
    phx(program, "2", "2", "room:1", "phx_join");
    assert_heard(&program->talk, "close room:1 1\n");
    talk_ready(&program->talk, "room:1");
    assert_heard(&program->talk, "reply room:1 2/2 ok {}\n");
    assert_int_equal(program->talk.stats.members, 1);
}

static void a_second_join_of_a_waiting_one_is_busy(void **state)
{
    program_t *program = begin_awaiting(state, NATIVE);

    ask(program, "1", "room:1", "join");
    ask(program, "2", "room:1", "join");
    assert_heard(&program->talk, "reply room:1 2/- error " BUSY "\n");
    assert_int_equal(program->joins, 1);
}

static void the_end_of_the_session_ends_a_waiting_join(void **state)
{
    program_t *program = begin_awaiting(state, NATIVE);

    program->talk.tells_hooks = ~0u;
    ask(program, "1", "room:accept", "join");
    hub__session_end(&program->talk.session, HUB_DISCONNECT_LOST);
    assert_heard(&program->talk, "hook disconnecting -\n"
                                 "hook disconnect -\n");
    assert_int_equal(program->frees, 1);
    assert_int_equal(program->talk.stats.joins_refused_total, 1);
}

static void a_stop_refuses_a_waiting_join(void **state)
{
    program_t *program = begin_awaiting(state, NATIVE);

    ask(program, "1", "room:stop", "join");
    talk_turn(&program->talk);
    assert_heard(&program->talk,
                 "reply room:stop 1/- error " REFUSAL("join_rejected", "Join rejected") "\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PROGRAM_CASE(a_join_is_answered_with_its_ref_as_join_ref),
        PROGRAM_CASE(a_join_may_bring_its_own_join_ref),
        PROGRAM_CASE(refs_are_echoed_as_they_came),
        PROGRAM_CASE(phoenix_joins_are_answered_with_their_own_join_ref),
        PROGRAM_CASE(a_channel_without_callbacks_is_joined_and_knows_no_event),
        PROGRAM_CASE(an_unknown_topic_is_refused),
        PROGRAM_CASE(phoenix_is_told_of_an_unmatched_topic_without_join_ref),
        PROGRAM_CASE(a_match_that_gives_up_denies_the_join),
        PROGRAM_CASE(joins_end_at_the_limit_of_topics),
        PROGRAM_CASE(phoenix_has_words_of_its_own_for_the_limit),
        PROGRAM_CASE(a_second_join_changes_nothing),
        PROGRAM_CASE(a_second_phoenix_join_replaces_the_first),
        PROGRAM_CASE(the_first_is_replaced_even_if_the_second_join_is_refused),
        PROGRAM_CASE(a_rejected_join_tells_why_and_leaves_nothing),
        PROGRAM_CASE(phoenix_gets_the_detail_of_a_rejection_as_the_whole_response),
        PROGRAM_CASE(what_on_join_returns_decides_the_refusal),
        PROGRAM_CASE(a_crashed_join_reaches_the_error_hook),
        PROGRAM_CASE(an_accepted_join_may_carry_a_response),
        PROGRAM_CASE(a_binary_response_needs_a_format_that_carries_it),
        PROGRAM_CASE(a_response_is_not_the_detail_of_a_crash),
        PROGRAM_CASE(an_invalid_response_refuses_the_join),
        PROGRAM_CASE(an_integer_parameter_must_fit_its_range),
        PROGRAM_CASE(a_sub_hub_sees_the_topic_as_it_declared_it),
        PROGRAM_CASE(what_a_join_sends_follows_its_reply),
        PROGRAM_CASE(a_reply_inside_a_join_follows_its_reply_too),
        PROGRAM_CASE(what_a_refused_join_sent_is_never_heard),
        PROGRAM_CASE(a_join_without_a_subscription_is_refused),
        PROGRAM_CASE(what_a_join_hook_sends_follows_the_join_reply),
        PROGRAM_CASE(a_stop_inside_a_join_comes_after_the_reply),
        PROGRAM_CASE(a_deferred_join_is_accepted_later),
        PROGRAM_CASE(a_deferred_join_is_rejected_later),
        PROGRAM_CASE(a_deferred_phoenix_join_keeps_its_refs),
        PROGRAM_CASE(a_deferred_join_times_out),
        PROGRAM_CASE(a_deferred_join_is_accepted_once),
        PROGRAM_CASE(the_token_of_an_earlier_join_is_not_that_of_a_later_one),
        PROGRAM_CASE(frames_wait_in_order_while_a_join_is_pending),
        PROGRAM_CASE(what_waits_for_a_refused_join_is_answered),
        PROGRAM_CASE(what_waits_is_bounded),
        PROGRAM_CASE(what_waits_is_bounded_in_bytes_over_all_topics),
        PROGRAM_CASE(a_second_join_of_a_pending_one_is_busy),
        PROGRAM_CASE(a_second_phoenix_join_replaces_a_pending_one),
        PROGRAM_CASE(a_leave_ends_a_pending_join),
        PROGRAM_CASE(a_stale_leave_does_not_end_a_pending_phoenix_join),
        PROGRAM_CASE(the_end_of_the_session_ends_a_pending_join),
        PROGRAM_CASE(a_stop_refuses_a_pending_join),
        PROGRAM_CASE(a_timer_may_stop_a_pending_join),
        PROGRAM_CASE(a_join_waits_for_its_topic_and_keeps_its_response),
        PROGRAM_CASE(what_a_waiting_join_sent_and_got_follows_its_reply),
        PROGRAM_CASE(a_deferred_join_waits_once_it_is_accepted),
        PROGRAM_CASE(nobody_waits_for_a_topic_longer_than_two_seconds),
        PROGRAM_CASE(a_leave_ends_a_waiting_join),
        PROGRAM_CASE(a_second_phoenix_join_replaces_a_waiting_one),
        PROGRAM_CASE(a_second_join_of_a_waiting_one_is_busy),
        PROGRAM_CASE(the_end_of_the_session_ends_a_waiting_join),
        PROGRAM_CASE(a_stop_refuses_a_waiting_join),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
