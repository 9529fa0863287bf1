/* SPDX-License-Identifier: MIT */
/* What a program does with a member, call by call: what it is told, what it may send and what is
 * refused, its own pointer, its timers and its jobs. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "test/talk.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define TEN "aaaaaaaaaa"
#define FIFTY TEN TEN TEN TEN TEN
#define LONG_255 FIFTY FIFTY FIFTY FIFTY FIFTY "aaaaa"

/* The member, and what its callbacks did to it. */
typedef struct fixture {
    talk_t talk; /* first */
    hub_member_t *me;
    unsigned frees;
    void *freed;
    unsigned worked;
} fixture_t;

static void on_free(void *user)
{
    fixture_t *fixture = *(fixture_t **)user;

    fixture->frees++;
    fixture->freed = user;
}

/* What is too late for a member that ends. */
static void on_member_exit(hub_member_t *me, hub_exit_t why)
{
    fixture_t *fixture = hub_member_channel_user(me);
    hub_message_t msg = {.ref = HUB_STR("1")};

    (void)why;
    assert_int_equal(hub_member_reply(me, &msg, HUB_JSON("1")), HUB_ECLOSED);
    assert_int_equal(hub_member_reply_error(me, &msg, HUB_ELIMIT, HUB_JSON("1")), HUB_ECLOSED);
    assert_int_equal(hub_member_reply_status(me, &msg, HUB_STR("x"), HUB_JSON("1")), HUB_ECLOSED);
    assert_int_equal(hub_member_push(me, HUB_STR("e"), HUB_JSON("{}")), HUB_ECLOSED);
    assert_int_equal(hub_member_timer_start(me, "late", 1, 0, NULL, NULL), HUB_ECLOSED);
    assert_int_equal(hub_member_offload(me, "late", NULL, NULL, NULL), HUB_ECLOSED);
    assert_int_equal(hub_member_broadcast(me, HUB_STR("e"), HUB_JSON("{}")), HUB_OK);
    talk_tell(&fixture->talk, "exit");
}

static hub_status_t relay(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_push(me, HUB_STR("relayed"), msg->payload);
}

static hub_status_t refuse(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_reply_error(me, msg, HUB_EBUSY, HUB_JSON("[0]"));
}

static hub_status_t word(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_reply_status(me, msg, HUB_STR("maybe"), HUB_JSON("[0]"));
}

static const hub_event_handler_t events[] = {
    {"relay", relay}, {"refuse", refuse}, {"word", word}, {NULL, NULL}};

static int set_up(void **state)
{
    *state = calloc(1, sizeof(fixture_t));
    hub_log_set_level(HUB_LOG_OFF);
    return *state == NULL;
}

static int tear_down(void **state)
{
    fixture_t *fixture = *state;

    if (fixture->talk.wheel != NULL)
        talk_end(&fixture->talk);
    free(fixture);
    return 0;
}

static fixture_t *join(void **state, int dialect, const char *topic)
{
    fixture_t *fixture = *state;

    talk_init(&fixture->talk, dialect);
    talk_channel(&fixture->talk, "app:{app}:",
                 &(hub_channel_options_t){.pattern = "room:{id}:{rest*}",
                                          .on_exit = on_member_exit,
                                          .events = events,
                                          .user = fixture});
    talk_begin(&fixture->talk);
    talk_say(&fixture->talk, "1", "1", topic, dialect == NATIVE ? "join" : "phx_join", "{}");
    fixture->me = hub__session_find(&fixture->talk.session, hub_str(topic));
    assert_non_null(fixture->me);
    talk_forget(&fixture->talk);
    return fixture;
}

#define TOPIC "app:x:room:7:y/z"

static void leave(fixture_t *fixture)
{
    bool native = fixture->talk.session.dialect->index == HUB__DIALECT_NATIVE;

    talk_say(&fixture->talk, "1", "9", TOPIC, native ? "leave" : "phx_leave", "{}");
    fixture->me = NULL;
}

/* ---- who and where ---- */

#define assert_str(str, text)                                                                      \
    do {                                                                                           \
        hub_str_t str_ = (str);                                                                    \
        assert_int_equal(str_.len, strlen(text));                                                  \
        assert_memory_equal(str_.base, text, str_.len);                                            \
    } while (0)

static void parameters_stand_as_in_the_topic(void **state)
{
    const hub_member_t *me = join(state, NATIVE, TOPIC)->me;

    assert_str(hub_member_param(me, "app"), "x");
    assert_str(hub_member_param(me, "id"), "7");
    assert_str(hub_member_param(me, "rest"), "y/z");
    assert_null(hub_member_param(me, "none").base);
    assert_null(hub_member_param(me, "").base);
}

static void an_empty_parameter_is_not_an_absent_one(void **state)
{
    const hub_member_t *me = join(state, NATIVE, "app:x:room:7:")->me;

    assert_str(hub_member_param(me, "rest"), "");
    assert_non_null(hub_member_param(me, "rest").base);
}

static void a_member_knows_where_it_is(void **state)
{
    fixture_t *fixture = join(state, NATIVE, TOPIC);

    assert_str(hub_member_topic(fixture->me), TOPIC);
    assert_str(hub_member_local_topic(fixture->me), "room:7:y/z");
    assert_ptr_equal(hub_member_conn(fixture->me), fixture);
    assert_ptr_equal(hub_member_channel_user(fixture->me), fixture);
    assert_null(hub_member_hub(fixture->me));
}

struct int_case {
    const char *topic;
    hub_status_t status;
    int64_t value;
};

static const struct int_case ints[] = {
    {"app:x:room:0:", HUB_OK, 0},
    {"app:x:room:-1:", HUB_OK, -1},
    {"app:x:room:007:", HUB_OK, 7},
    {"app:x:room:9223372036854775807:", HUB_OK, INT64_MAX},
    {"app:x:room:-9223372036854775808:", HUB_OK, INT64_MIN},
    {"app:x:room:9223372036854775808:", HUB_EINVAL, 0},
    {"app:x:room:-9223372036854775809:", HUB_EINVAL, 0},
    {"app:x:room:000000000000000000000001:", HUB_EINVAL, 0}, /* 24 digits are too many */
    {"app:x:room:-:", HUB_EINVAL, 0},
    {"app:x:room:+1:", HUB_EINVAL, 0},
    {"app:x:room:1x:", HUB_EINVAL, 0},
    {"app:x:room:0x1:", HUB_EINVAL, 0},
    {"app:x:room:1.5:", HUB_EINVAL, 0},
    {"app:x:room:x:", HUB_EINVAL, 0},
};

static void check_int(void **state, const struct int_case *row)
{
    fixture_t *fixture = join(state, NATIVE, row->topic);
    int64_t value = 99;

    assert_int_equal(hub_member_param_int(fixture->me, "id", &value), row->status);
    assert_int_equal(value, row->status == HUB_OK ? row->value : 99);
    value = 99;
    assert_int_equal(hub_member_param_int(fixture->me, "rest", &value), HUB_EINVAL);
    assert_int_equal(hub_member_param_int(fixture->me, "none", &value), HUB_ENOTFOUND);
    assert_int_equal(value, 99);
    talk_end(&fixture->talk);
    *fixture = (fixture_t){0};
}

static void a_parameter_is_read_as_an_integer_or_not_at_all(void **state)
{
    for (size_t i = 0; i != COUNT(ints); ++i)
        check_int(state, &ints[i]);
}

/* ---- the program's own pointer ---- */

static void a_user_pointer_is_freed_once_when_the_member_ends(void **state)
{
    fixture_t *fixture = join(state, NATIVE, TOPIC), *user = fixture;

    hub_member_set_user(fixture->me, &user, on_free);
    assert_ptr_equal(hub_member_user(fixture->me), &user);
    leave(fixture);
    assert_int_equal(fixture->frees, 1);
    assert_ptr_equal(fixture->freed, &user);
}

static void a_user_pointer_is_freed_when_another_takes_its_place(void **state)
{
    fixture_t *fixture = join(state, NATIVE, TOPIC), *first = fixture, *second = fixture;

    hub_member_set_user(fixture->me, &first, on_free);
    hub_member_set_user(fixture->me, &second, on_free);
    assert_int_equal(fixture->frees, 1);
    assert_ptr_equal(fixture->freed, &first);
    hub_member_set_user(fixture->me, NULL, NULL);
    assert_int_equal(fixture->frees, 2);
    assert_ptr_equal(fixture->freed, &second);
    leave(fixture);
    assert_int_equal(fixture->frees, 2);
}

static void a_user_pointer_set_again_is_not_freed(void **state)
{
    fixture_t *fixture = join(state, NATIVE, TOPIC), *user = fixture;

    hub_member_set_user(fixture->me, &user, on_free);
    hub_member_set_user(fixture->me, &user, on_free);
    assert_int_equal(fixture->frees, 0);
    hub_member_set_user(fixture->me, &user, NULL); /* given back to the program */
    leave(fixture);
    assert_int_equal(fixture->frees, 0);
}

/* ---- answering ---- */

static const hub_message_t message = {.ref = {"5", 1}, .join_ref = {"6", 1}};
static const hub_message_t bare_message = {.topic = {"t", 1}};

static void a_reply_carries_the_refs_of_its_message(void **state)
{
    fixture_t *fixture = join(state, NATIVE, TOPIC);

    assert_int_equal(hub_member_reply(fixture->me, &message, HUB_JSON("0")), HUB_OK);
    assert_int_equal(hub_member_reply(fixture->me, &bare_message, HUB_JSON("null")), HUB_OK);
    assert_heard(&fixture->talk, "reply " TOPIC " 5/6 ok 0\n"
                                 "reply " TOPIC " -/1 ok null\n");
}

static void a_payload_must_be_valid_and_of_a_kind_that_the_format_carries(void **state)
{
    hub_member_t *me = join(state, NATIVE, TOPIC)->me;
    hub_payload_t bytes = hub_binary("\x01", 1), broken = HUB_JSON("{\"a\":}");

    assert_int_equal(hub_member_reply(me, &message, broken), HUB_EPAYLOAD);
    assert_int_equal(hub_member_reply(me, &message, HUB_JSON("")), HUB_EPAYLOAD);
    assert_int_equal(hub_member_reply(me, &message, bytes), HUB_EPAYLOAD);
    assert_int_equal(hub_member_reply_error(me, &message, HUB_ELIMIT, broken), HUB_EPAYLOAD);
    assert_int_equal(hub_member_reply_error(me, &message, HUB_ELIMIT, bytes), HUB_EPAYLOAD);
    assert_int_equal(hub_member_reply_status(me, &message, HUB_STR("s"), broken), HUB_EPAYLOAD);
    assert_int_equal(hub_member_push(me, HUB_STR("e"), broken), HUB_EPAYLOAD);
    assert_int_equal(hub_member_push(me, HUB_STR("e"), bytes), HUB_EPAYLOAD);
    assert_int_equal(hub_member_broadcast(me, HUB_STR("e"), broken), HUB_EPAYLOAD);
    assert_heard(*state, "");
}

static void bytes_go_where_the_format_carries_them(void **state)
{
    fixture_t *fixture = join(state, V2, TOPIC);
    hub_payload_t bytes = hub_binary("\x01\x00\xff", 3);

    assert_int_equal(hub_member_reply(fixture->me, &message, bytes), HUB_OK);
    assert_int_equal(hub_member_reply_error(fixture->me, &message, HUB_ELIMIT, bytes), HUB_OK);
    assert_int_equal(hub_member_push(fixture->me, HUB_STR("e"), bytes), HUB_OK);
    assert_heard(&fixture->talk, "reply " TOPIC " 5/6 ok #0100ff\n"
                                 "reply " TOPIC " 5/6 error #0100ff\n"
                                 "push " TOPIC " 1 e #0100ff\n");
}

static void a_status_is_a_word_of_the_programs_own(void **state)
{
    fixture_t *fixture = join(state, NATIVE, TOPIC);
    hub_member_t *me = fixture->me;

    talk_say(&fixture->talk, NULL, "2", TOPIC, "word", "{}");
    assert_heard(&fixture->talk, "reply " TOPIC " 2/1 maybe [0]\n");
    assert_int_equal(hub_member_reply_status(me, &message, (hub_str_t){0}, HUB_JSON("1")),
                     HUB_EINVAL);
    assert_int_equal(hub_member_reply_status(me, &message, HUB_STR("\xff"), HUB_JSON("1")),
                     HUB_EINVAL);
    assert_int_equal(hub_member_reply_status(me, &message, HUB_STR(LONG_255 "a"), HUB_JSON("1")),
                     HUB_EINVAL);
    assert_heard(&fixture->talk, "");
    assert_int_equal(hub_member_reply_status(me, &message, HUB_STR(LONG_255), HUB_JSON("1")),
                     HUB_OK);
}

struct code_case {
    hub_status_t status;
    const char *heard;
};

static const struct code_case codes[] = {
    {HUB_EREJECTED, REFUSAL_WITH("join_rejected", "Join rejected", "0")},
    {HUB_EPAYLOAD, REFUSAL_WITH("invalid_payload", "Invalid payload", "0")},
    {HUB_EEVENT, REFUSAL_WITH("event_not_found", "Event not found", "0")},
    {HUB_ENOTJOINED, REFUSAL_WITH("not_joined", "Topic not joined", "0")},
    {HUB_ETOPIC, REFUSAL_WITH("bad_topic", "Bad topic", "0")},
    {HUB_ELIMIT, REFUSAL_WITH("limit", "Limit reached", "0")},
    {HUB_ETOOLARGE, REFUSAL_WITH("limit", "Limit reached", "0")},
    {HUB_ERATE, REFUSAL_WITH("rate", "Too many requests", "0")},
    {HUB_EBUSY, REFUSAL_WITH("busy", "Busy", "0")},
    {HUB_ETIMEOUT, REFUSAL_WITH("timeout", "Timed out", "0")},
    {HUB_EBUSDOWN, REFUSAL_WITH("bus_down", "The bus is down", "0")},
    {HUB_ENOMEM, REFUSAL_WITH("internal_error", "Internal error", "0")},
    {HUB_OK, REFUSAL_WITH("internal_error", "Internal error", "0")},
};

static void an_error_reply_has_the_code_of_its_status(void **state)
{
    fixture_t *fixture = join(state, NATIVE, TOPIC);

    for (size_t i = 0; i != COUNT(codes); ++i) {
        char line[256];

        snprintf(line, sizeof(line), "reply " TOPIC " 5/6 error %s\n", codes[i].heard);
        assert_int_equal(
            hub_member_reply_error(fixture->me, &message, codes[i].status, HUB_JSON("0")), HUB_OK);
        assert_heard(&fixture->talk, line);
    }
}

static void a_detail_is_kept_even_if_it_is_null_or_false(void **state)
{
    fixture_t *fixture = join(state, NATIVE, TOPIC);

    (void)hub_member_reply_error(fixture->me, &message, HUB_EBUSY, HUB_JSON("null"));
    (void)hub_member_reply_error(fixture->me, &message, HUB_EBUSY, HUB_JSON("false"));
    assert_heard(&fixture->talk,
                 "reply " TOPIC " 5/6 error " REFUSAL_WITH(
                     "busy", "Busy", "null") "\n"
                                             "reply " TOPIC " 5/6 error " REFUSAL_WITH(
                                                 "busy", "Busy", "false") "\n");
}

static void phoenix_gets_the_detail_as_the_whole_response(void **state)
{
    fixture_t *fixture = join(state, V2, TOPIC);

    talk_say(&fixture->talk, "1", "2", TOPIC, "refuse", "{}");
    assert_heard(&fixture->talk, "reply " TOPIC " 2/1 error [0]\n");
}

static void an_error_reply_is_the_only_answer(void **state)
{
    fixture_t *fixture = join(state, NATIVE, TOPIC);

    talk_say(&fixture->talk, NULL, "2", TOPIC, "refuse", "{}");
    assert_heard(&fixture->talk,
                 "reply " TOPIC " 2/1 error " REFUSAL_WITH("busy", "Busy", "[0]") "\n");
}

/* ---- sending ---- */

static void an_event_has_a_name_of_one_to_255_bytes(void **state)
{
    hub_member_t *me = join(state, NATIVE, TOPIC)->me;
    hub_payload_t payload = HUB_JSON("{}");

    assert_int_equal(hub_member_push(me, (hub_str_t){0}, payload), HUB_EINVAL);
    assert_int_equal(hub_member_push(me, HUB_STR("\xc3"), payload), HUB_EINVAL);
    assert_int_equal(hub_member_push(me, HUB_STR(LONG_255 "a"), payload), HUB_EINVAL);
    assert_int_equal(hub_member_broadcast(me, (hub_str_t){0}, payload), HUB_EINVAL);
    assert_int_equal(hub_member_broadcast_from(me, HUB_STR(LONG_255 "a"), payload), HUB_EINVAL);
    assert_heard(*state, "");
    assert_int_equal(hub_member_push(me, HUB_STR(LONG_255), payload), HUB_OK);
}

struct object_case {
    int dialect;
    hub_payload_t payload;
    hub_status_t status;
};

#define JSON(literal)                                                                              \
    {                                                                                              \
        {(literal), sizeof(literal) - 1}, HUB_PAYLOAD_JSON                                         \
    }
#define BINARY(literal)                                                                            \
    {                                                                                              \
        {(literal), sizeof(literal) - 1}, HUB_PAYLOAD_BINARY                                       \
    }

static const struct object_case objects[] = {
    {V2, JSON("{}"), HUB_OK},       {V2, JSON(" \t\r\n{}"), HUB_OK},
    {V2, JSON("[]"), HUB_EPAYLOAD}, {V2, JSON("null"), HUB_EPAYLOAD},
    {V2, JSON(" "), HUB_EPAYLOAD},  {V2, BINARY("["), HUB_OK},
    {V1, JSON("[]"), HUB_OK},       {NATIVE, JSON("[]"), HUB_OK},
    {NATIVE, JSON("5"), HUB_OK},
};

static void check_object(void **state, const struct object_case *row)
{
    fixture_t *fixture = join(state, row->dialect, TOPIC);

    assert_int_equal(hub_member_push(fixture->me, HUB_STR("e"), row->payload), row->status);
    assert_int_equal(hub_member_broadcast(fixture->me, HUB_STR("e"), row->payload), row->status);
    talk_end(&fixture->talk);
    *fixture = (fixture_t){0};
}

static void phoenix_2_pushes_objects_and_bytes_alone(void **state)
{
    for (size_t i = 0; i != COUNT(objects); ++i)
        check_object(state, &objects[i]);
}

static void the_payload_of_the_message_at_hand_is_relayed(void **state)
{
    fixture_t *fixture = join(state, NATIVE, TOPIC);

    talk_say(&fixture->talk, NULL, "2", TOPIC, "relay", "{\"a\": [1]}");
    assert_heard(&fixture->talk, "push " TOPIC " 1 relayed {'a': [1]}\n");
}

static void nothing_is_sent_once_the_member_ends(void **state)
{
    fixture_t *fixture = join(state, NATIVE, TOPIC);

    leave(fixture);
    assert_heard(&fixture->talk, "publish " TOPIC " e\n"
                                 "exit\n"
                                 "reply " TOPIC " 9/1 ok {'topic':'" TOPIC "'}\n");
}

/* ---- tokens ---- */

static void a_token_names_the_member_and_the_ref(void **state)
{
    fixture_t *fixture = join(state, NATIVE, TOPIC);
    hub_token_t token = hub_member_token(fixture->me, &message), copy = token;

    assert_ptr_equal(hub__session_find_serial(&fixture->talk.session, token._member), fixture->me);
    assert_null(hub__session_find_serial(&fixture->talk.session, token._member + 1));
    assert_null(hub__session_find_serial(&fixture->talk.session, token._member ^ 1ull << 63));
    assert_true(hub_conn_id_equals(token._conn, (hub_conn_id_t){7, 9}));
    assert_int_equal(token._kind, HUB__TOKEN_REPLY);
    hub__session_reply_later(&fixture->talk.session, &copy, HUB_STR("ok"), HUB_OK, HUB_JSON("1"));
    assert_heard(&fixture->talk, "reply " TOPIC " 5/1 ok 1\n");
}

static void the_longest_ref_fits_into_a_token(void **state)
{
    fixture_t *fixture = *state;
    char quoted[67];

    memset(quoted, 'r', sizeof(quoted));
    quoted[0] = quoted[65] = '"';
    quoted[66] = '\0';
    join(state, NATIVE, TOPIC);
    fixture->talk.limits.ref_bytes = 64;
    talk_say(&fixture->talk, quoted, quoted, TOPIC, "join", "{}");
    assert_memory_equal(fixture->talk.heard.base, "reply " TOPIC " 'rrr",
                        strlen("reply " TOPIC " 'rrr"));
    talk_forget(&fixture->talk);
    {
        hub_message_t msg = {.ref = hub_str(quoted)};
        hub_token_t token = hub_member_token(fixture->me, &msg);

        assert_int_equal(token._ref_len, 66);
        assert_memory_equal(token._ref, quoted, 66);
    }
}

/* ---- timers ---- */

static void on_timer(hub_member_t *me, const char *name, void *user)
{
    fixture_t *fixture = user;

    assert_ptr_equal(me, fixture->me);
    talk_tell(&fixture->talk, "%s at %u", name, (unsigned)fixture->talk.now_ms - 1000);
}

static void on_timer_stop(hub_member_t *me, const char *name, void *user)
{
    on_timer(me, name, user);
    assert_int_equal(hub_member_timer_stop(me, "other"), HUB_OK);
    (void)hub_member_timer_stop(me, name);
    assert_int_equal(hub_member_timer_stop(me, name), HUB_ENOTFOUND);
}

static void on_timer_restart(hub_member_t *me, const char *name, void *user)
{
    on_timer(me, name, user);
    (void)hub_member_timer_stop(me, name);
    assert_int_equal(hub_member_timer_start(me, name, 5, 0, on_timer, user), HUB_OK);
}

static void on_timer_end(hub_member_t *me, const char *name, void *user)
{
    on_timer(me, name, user);
    hub_member_stop(me, HUB_OK);
}

static void start(fixture_t *fixture, const char *name, uint32_t delay_ms, uint32_t period_ms,
                  hub_on_timer_cb on_due)
{
    assert_int_equal(
        hub_member_timer_start(fixture->me, name, delay_ms, period_ms, on_due, fixture), HUB_OK);
}

static void a_timer_fires_once_at_its_time(void **state)
{
    fixture_t *fixture = join(state, NATIVE, TOPIC);

    start(fixture, "tick", 10, 0, on_timer);
    talk_pass(&fixture->talk, 9);
    assert_heard(&fixture->talk, "");
    talk_pass(&fixture->talk, 1000);
    assert_heard(&fixture->talk, "tick at 10\n");
    start(fixture, "tick", 0, 0, on_timer); /* its name is free again */
    talk_pass(&fixture->talk, 0);
    assert_heard(&fixture->talk, "tick at 1009\n");
}

static void a_periodic_timer_goes_on_until_it_is_stopped(void **state)
{
    fixture_t *fixture = join(state, NATIVE, TOPIC);

    start(fixture, "tick", 5, 10, on_timer);
    talk_pass(&fixture->talk, 30);
    assert_heard(&fixture->talk, "tick at 5\ntick at 15\ntick at 25\n");
    assert_int_equal(hub_member_timer_stop(fixture->me, "tick"), HUB_OK);
    talk_pass(&fixture->talk, 30);
    assert_heard(&fixture->talk, "");
}

static void a_periodic_timer_that_is_late_does_not_catch_up(void **state)
{
    fixture_t *fixture = join(state, NATIVE, TOPIC);

    start(fixture, "tick", 10, 10, on_timer);
    fixture->talk.now_ms += 1000;
    (void)hub__wheel_run(fixture->talk.wheel, fixture->talk.now_ms);
    assert_heard(&fixture->talk, "tick at 1000\n");
    talk_pass(&fixture->talk, 10);
    assert_heard(&fixture->talk, "tick at 1010\n");
}

static void names_of_timers_are_unique(void **state)
{
    fixture_t *fixture = join(state, NATIVE, TOPIC);

    assert_int_equal(hub_member_timer_stop(fixture->me, "tick"), HUB_ENOTFOUND);
    start(fixture, "tick", 10, 0, on_timer);
    start(fixture, "tock", 10, 0, on_timer);
    assert_int_equal(hub_member_timer_start(fixture->me, "tick", 1, 0, on_timer, NULL), HUB_EEXIST);
    assert_int_equal(hub_member_timer_stop(fixture->me, "none"), HUB_ENOTFOUND);
    assert_int_equal(hub_member_timer_stop(fixture->me, "tick"), HUB_OK);
    assert_int_equal(hub_member_timer_stop(fixture->me, "tick"), HUB_ENOTFOUND);
    talk_pass(&fixture->talk, 10);
    assert_heard(&fixture->talk, "tock at 10\n");
}

static void a_timer_may_stop_itself_and_others(void **state)
{
    fixture_t *fixture = join(state, NATIVE, TOPIC);

    start(fixture, "other", 20, 0, on_timer);
    start(fixture, "once", 10, 0, on_timer_stop);
    talk_pass(&fixture->talk, 100);
    assert_heard(&fixture->talk, "once at 10\n");
    start(fixture, "other", 20, 0, on_timer);
    start(fixture, "often", 10, 10, on_timer_stop);
    talk_pass(&fixture->talk, 100);
    assert_heard(&fixture->talk, "often at 110\n");
}

static void a_timer_may_start_itself_anew(void **state)
{
    fixture_t *fixture = join(state, NATIVE, TOPIC);

    start(fixture, "once", 10, 0, on_timer_restart);
    start(fixture, "often", 11, 1, on_timer_restart);
    talk_pass(&fixture->talk, 100);
    assert_heard(&fixture->talk, "once at 10\noften at 11\nonce at 15\noften at 16\n");
}

static void timers_end_with_their_member(void **state)
{
    fixture_t *fixture = join(state, NATIVE, TOPIC);

    start(fixture, "once", 10, 0, on_timer);
    start(fixture, "often", 10, 10, on_timer);
    leave(fixture);
    talk_forget(&fixture->talk);
    talk_pass(&fixture->talk, 100);
    assert_heard(&fixture->talk, "");
    assert_int_equal(hub__wheel_count(fixture->talk.wheel), 0);
}

static void a_timer_that_stops_its_member_is_the_last(void **state)
{
    fixture_t *fixture = join(state, NATIVE, TOPIC);

    fixture->talk.turn_goes_on = true;
    start(fixture, "last", 10, 10, on_timer_end);
    start(fixture, "later", 11, 0, on_timer);
    talk_pass(&fixture->talk, 11);
    assert_heard(&fixture->talk, "last at 10\n"
                                 "close " TOPIC " 1\n"
                                 "publish " TOPIC " e\n"
                                 "exit\n");
}

/* ---- jobs ---- */

static void work(void *user)
{
    ((fixture_t *)user)->worked++;
}

static void on_done(hub_member_t *me, hub_status_t status, void *user)
{
    fixture_t *fixture = user;

    assert_ptr_equal(me, status == HUB_OK ? fixture->me : NULL);
    talk_tell(&fixture->talk, "done %s after %u", hub_status_name(status), fixture->worked);
}

static void on_done_again(hub_member_t *me, hub_status_t status, void *user)
{
    on_done(me, status, user);
    assert_int_equal(hub_member_offload(me, "job", work, on_done, user), HUB_OK);
}

static void on_done_end(hub_member_t *me, hub_status_t status, void *user)
{
    on_done(me, status, user);
    hub_member_stop(me, HUB_OK);
}

static void offload(fixture_t *fixture, const char *name, hub_on_done_cb on_job)
{
    assert_int_equal(hub_member_offload(fixture->me, name, work, on_job, fixture), HUB_OK);
}

static void a_job_comes_back_once(void **state)
{
    fixture_t *fixture = join(state, NATIVE, TOPIC);

    offload(fixture, "job", on_done);
    assert_int_equal(hub_member_offload(fixture->me, "job", work, on_done, NULL), HUB_EEXIST);
    assert_int_equal(fixture->talk.job_count, 1);
    talk_finish_job(&fixture->talk);
    assert_heard(&fixture->talk, "done OK after 1\n");
    assert_int_equal(hub_member_offload_cancel(fixture->me, "job"), HUB_ENOTFOUND);
}

static void the_name_of_a_finished_job_is_free(void **state)
{
    fixture_t *fixture = join(state, NATIVE, TOPIC);

    offload(fixture, "other", on_done);
    offload(fixture, "job", on_done_again);
    talk_finish_job(&fixture->talk);
    talk_finish_job(&fixture->talk);
    talk_finish_job(&fixture->talk);
    assert_heard(&fixture->talk, "done OK after 1\ndone OK after 2\ndone OK after 3\n");
}

static void a_cancelled_job_comes_back_without_its_member(void **state)
{
    fixture_t *fixture = join(state, NATIVE, TOPIC);

    assert_int_equal(hub_member_offload_cancel(fixture->me, "job"), HUB_ENOTFOUND);
    offload(fixture, "job", on_done);
    assert_int_equal(hub_member_offload_cancel(fixture->me, "none"), HUB_ENOTFOUND);
    assert_int_equal(hub_member_offload_cancel(fixture->me, "job"), HUB_OK);
    offload(fixture, "job", on_done); /* another one of the same name */
    talk_finish_job(&fixture->talk);
    talk_finish_job(&fixture->talk);
    assert_heard(&fixture->talk, "done ECANCELLED after 0\ndone OK after 1\n");
}

static void a_job_outlives_its_member(void **state)
{
    fixture_t *fixture = join(state, NATIVE, TOPIC);

    offload(fixture, "job", on_done);
    leave(fixture);
    talk_forget(&fixture->talk);
    talk_finish_job(&fixture->talk);
    assert_heard(&fixture->talk, "done ECANCELLED after 0\n");
}

static void a_job_outlives_its_session(void **state)
{
    fixture_t *fixture = join(state, NATIVE, TOPIC);

    offload(fixture, "job", on_done);
    hub__session_end(&fixture->talk.session, HUB_DISCONNECT_CLIENT);
    talk_forget(&fixture->talk);
    talk_finish_job(&fixture->talk);
    assert_heard(&fixture->talk, "done ECANCELLED after 0\n");
}

static void a_job_that_the_pool_gave_up_is_cancelled(void **state)
{
    fixture_t *fixture = join(state, NATIVE, TOPIC);

    offload(fixture, "job", on_done);
    fixture->talk.jobs[0]->cancelled = true; /* as hub__pool_destroy() does it */
    talk_finish_job(&fixture->talk);
    assert_heard(&fixture->talk, "done ECANCELLED after 0\n");
    offload(fixture, "job", on_done);
}

static void a_stopped_member_hears_of_no_job(void **state)
{
    fixture_t *fixture = join(state, NATIVE, TOPIC);

    fixture->talk.turn_goes_on = true;
    offload(fixture, "one", on_done_end);
    offload(fixture, "two", on_done);
    talk_finish_job(&fixture->talk);
    talk_finish_job(&fixture->talk);
    assert_heard(&fixture->talk, "done OK after 1\n"
                                 "close " TOPIC " 1\n"
                                 "publish " TOPIC " e\n"
                                 "exit\n"
                                 "done ECANCELLED after 2\n");
}

static void a_full_pool_takes_nothing(void **state)
{
    fixture_t *fixture = join(state, NATIVE, TOPIC);

    fixture->talk.offload_status = HUB_ELIMIT;
    assert_int_equal(hub_member_offload(fixture->me, "job", work, on_done, fixture), HUB_ELIMIT);
    fixture->talk.offload_status = HUB_OK;
    offload(fixture, "job", on_done);
    talk_finish_job(&fixture->talk);
    assert_heard(&fixture->talk, "done OK after 1\n");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(parameters_stand_as_in_the_topic),
        CASE(an_empty_parameter_is_not_an_absent_one),
        CASE(a_member_knows_where_it_is),
        CASE(a_parameter_is_read_as_an_integer_or_not_at_all),
        CASE(a_user_pointer_is_freed_once_when_the_member_ends),
        CASE(a_user_pointer_is_freed_when_another_takes_its_place),
        CASE(a_user_pointer_set_again_is_not_freed),
        CASE(a_reply_carries_the_refs_of_its_message),
        CASE(a_payload_must_be_valid_and_of_a_kind_that_the_format_carries),
        CASE(bytes_go_where_the_format_carries_them),
        CASE(a_status_is_a_word_of_the_programs_own),
        CASE(an_error_reply_has_the_code_of_its_status),
        CASE(a_detail_is_kept_even_if_it_is_null_or_false),
        CASE(phoenix_gets_the_detail_as_the_whole_response),
        CASE(an_error_reply_is_the_only_answer),
        CASE(an_event_has_a_name_of_one_to_255_bytes),
        CASE(phoenix_2_pushes_objects_and_bytes_alone),
        CASE(the_payload_of_the_message_at_hand_is_relayed),
        CASE(nothing_is_sent_once_the_member_ends),
        CASE(a_token_names_the_member_and_the_ref),
        CASE(the_longest_ref_fits_into_a_token),
        CASE(a_timer_fires_once_at_its_time),
        CASE(a_periodic_timer_goes_on_until_it_is_stopped),
        CASE(a_periodic_timer_that_is_late_does_not_catch_up),
        CASE(names_of_timers_are_unique),
        CASE(a_timer_may_stop_itself_and_others),
        CASE(a_timer_may_start_itself_anew),
        CASE(timers_end_with_their_member),
        CASE(a_timer_that_stops_its_member_is_the_last),
        CASE(a_job_comes_back_once),
        CASE(the_name_of_a_finished_job_is_free),
        CASE(a_cancelled_job_comes_back_without_its_member),
        CASE(a_job_outlives_its_member),
        CASE(a_job_outlives_its_session),
        CASE(a_job_that_the_pool_gave_up_is_cancelled),
        CASE(a_stopped_member_hears_of_no_job),
        CASE(a_full_pool_takes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
