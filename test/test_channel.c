/* SPDX-License-Identifier: MIT */
/* A declared channel: what is refused when it is declared, that everything is copied, and which
 * handler an event finds. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "channels/internal.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define FIFTY "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define LONG_255 FIFTY FIFTY FIFTY FIFTY FIFTY "aaaaa"

static hub_status_t on_chat(hub_member_t *me, const hub_message_t *msg)
{
    (void)me, (void)msg;
    return HUB_OK;
}

static hub_status_t on_other(hub_member_t *me, const hub_message_t *msg)
{
    (void)me, (void)msg;
    return HUB_EINTERNAL;
}

static hub_update_t on_update(hub_member_t *me, const hub_message_t *msg, hub_payload_t *payload)
{
    (void)me, (void)msg, (void)payload;
    return HUB_UPDATE_KEEP;
}

static hub__channel_t *channel_of(hub_channel_options_t options)
{
    hub__channel_t *channel = NULL;
    hub_error_t error;

    options.pattern = "room:{id}";
    assert_int_equal(hub__channel_create(NULL, &options, &channel, &error), HUB_OK);
    return channel;
}

static void assert_refused(const hub_channel_options_t *options, hub_status_t status,
                           const char *text)
{
    hub__channel_t *channel = NULL;
    hub_error_t error = {0};

    assert_int_equal(hub__channel_create(NULL, options, &channel, &error), status);
    assert_string_equal(error.text, text);
    assert_null(channel);
}

/* ---- what is refused ---- */

static void a_channel_needs_a_pattern_and_a_filter_for_what_it_intercepts(void **state)
{
    const char *const some[] = {"a", NULL};

    (void)state;
    assert_refused(&(hub_channel_options_t){.pattern = "room:{id}", .intercept = some}, HUB_EINVAL,
                   "channel \"room:{id}\": intercept needs on_update");
    assert_refused(&(hub_channel_options_t){.pattern = "room:{id}", .order = (hub_order_t)2},
                   HUB_EINVAL, "channel \"room:{id}\": order 2 is none");
    assert_refused(NULL, HUB_EINVAL, "a channel needs a pattern");
    assert_refused(&(hub_channel_options_t){.on_receive = on_chat}, HUB_EINVAL,
                   "a channel needs a pattern");
}

static void refuse_event(const char *event, hub_on_receive_cb on_receive, const char *text)
{
    const hub_event_handler_t events[] = {{"chat", on_chat}, {event, on_receive}, {NULL, NULL}};

    assert_refused(&(hub_channel_options_t){.pattern = "p", .events = events},
                   strstr(text, "two") != NULL ? HUB_EEXIST : HUB_EINVAL, text);
}

static void events_of_the_protocol_cannot_be_handled(void **state)
{
    static const char *const names[] = {
        "join", "leave",     "exit",           "reply",         "error",     "close",
        "gap",  "heartbeat", "presence_state", "presence_diff", "phx_reply", "phx_anything"};
    char text[100];

    (void)state;
    for (size_t i = 0; i != COUNT(names); ++i) {
        snprintf(text, sizeof(text), "channel \"p\": \"%s\" is an event of the protocol", names[i]);
        refuse_event(names[i], on_chat, text);
    }
}

static void a_row_of_events_is_checked(void **state)
{
    (void)state;
    refuse_event("", on_chat, "channel \"p\": the event \"\" must have 1 to 255 bytes");
    refuse_event(LONG_255 "a", on_chat,
                 "channel \"p\": the event \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\" must have "
                 "1 to 255 bytes");
    refuse_event("new", NULL, "channel \"p\": the event \"new\" has no handler");
    refuse_event("chat", on_other, "channel \"p\": the event \"chat\" has two handlers");
}

static void a_range_of_an_integer_must_not_be_empty(void **state)
{
    const hub_int_param_t params[] = {{"a", 1, 1}, {"b", 2, 1}, {NULL, 0, 0}};

    (void)state;
    assert_refused(&(hub_channel_options_t){.pattern = "p", .int_params = params}, HUB_EINVAL,
                   "channel \"p\": int_params: \"b\" has min 2 above max 1");
}

/* ---- what is kept ---- */

static void zeros_become_the_defaults(void **state)
{
    hub__channel_t *channel = channel_of((hub_channel_options_t){0});

    (void)state;
    assert_int_equal(channel->options.join_timeout_ms, 10000);
    assert_int_equal(channel->options.suspend_timeout_ms, 60000);
    assert_int_equal(channel->options.pending_limit, 64);
    hub__channel_destroy(channel);
    channel = channel_of(
        (hub_channel_options_t){.join_timeout_ms = 1, .suspend_timeout_ms = 2, .pending_limit = 3});
    assert_int_equal(channel->options.join_timeout_ms, 1);
    assert_int_equal(channel->options.suspend_timeout_ms, 2);
    assert_int_equal(channel->options.pending_limit, 3);
    hub__channel_destroy(channel);
    hub__channel_destroy(NULL);
}

static void everything_is_copied(void **state)
{
    char pattern[] = "p:{id}", event[] = "chat", only[] = "news", param[] = "id", number[] = "id";
    hub_event_handler_t events[] = {{event, on_chat}, {NULL, NULL}};
    const char *intercept[] = {only, NULL}, *params[] = {param, NULL};
    hub_int_param_t int_params[] = {{number, 1, 9}, {NULL, 0, 0}};
    hub_error_t error = {0};
    hub_channel_options_t options = {.pattern = pattern,
                                     .events = events,
                                     .on_update = on_update,
                                     .intercept = intercept,
                                     .params = params,
                                     .int_params = int_params,
                                     .user = state,
                                     .ret_error = &error};
    hub__channel_t *channel = NULL;

    assert_int_equal(hub__channel_create((hub_t *)(void *)state, &options, &channel, &error),
                     HUB_OK);
    pattern[0] = event[0] = only[0] = param[0] = number[0] = '!';
    events[0].event = NULL;
    intercept[0] = params[0] = int_params[0].name = NULL;
    int_params[0].max = 0;
    assert_string_equal(channel->options.pattern, "p:{id}");
    assert_ptr_equal(hub__channel_handler(channel, HUB_STR("chat")), on_chat);
    assert_true(hub__channel_intercepts(channel, HUB_STR("news")));
    assert_string_equal(channel->options.params[0], "id");
    assert_null(channel->options.params[1]);
    assert_string_equal(channel->options.int_params[0].name, "id");
    assert_int_equal(channel->options.int_params[0].max, 9);
    assert_null(channel->options.int_params[1].name);
    assert_ptr_equal(channel->options.user, state);
    assert_ptr_equal(channel->hub, state);
    assert_null(channel->options.ret_error); /* the caller's, and only for that call */
    hub__channel_destroy(channel);
}

/* ---- which callback ---- */

static void an_event_finds_its_row_then_on_receive_then_nothing(void **state)
{
    const hub_event_handler_t events[] = {{"chat", on_chat}, {LONG_255, on_other}, {NULL, NULL}};
    hub__channel_t *channel =
        channel_of((hub_channel_options_t){.events = events, .on_receive = on_other});

    (void)state;
    assert_ptr_equal(hub__channel_handler(channel, HUB_STR("chat")), on_chat);
    assert_ptr_equal(hub__channel_handler(channel, HUB_STR("chat\0")), on_other);
    assert_ptr_equal(hub__channel_handler(channel, HUB_STR("cha")), on_other);
    hub__channel_destroy(channel);
    channel = channel_of((hub_channel_options_t){.events = events});
    assert_ptr_equal(hub__channel_handler(channel, HUB_STR(LONG_255)), on_other);
    assert_null(hub__channel_handler(channel, HUB_STR("other")));
    hub__channel_destroy(channel);
    channel = channel_of((hub_channel_options_t){0});
    assert_null(hub__channel_handler(channel, HUB_STR("chat")));
    hub__channel_destroy(channel);
}

static void on_update_sees_all_or_what_it_intercepts(void **state)
{
    const char *const some[] = {"a", "b", NULL}, *const none[] = {NULL};
    hub__channel_t *channel = channel_of((hub_channel_options_t){0});

    (void)state;
    assert_false(hub__channel_intercepts(channel, HUB_STR("a"))); /* by nobody */
    hub__channel_destroy(channel);
    channel = channel_of((hub_channel_options_t){.on_update = on_update});
    assert_true(hub__channel_intercepts(channel, HUB_STR("any")));
    hub__channel_destroy(channel);
    channel = channel_of((hub_channel_options_t){.on_update = on_update, .intercept = some});
    assert_true(hub__channel_intercepts(channel, HUB_STR("b")));
    assert_false(hub__channel_intercepts(channel, HUB_STR("c")));
    hub__channel_destroy(channel);
    channel = channel_of((hub_channel_options_t){.on_update = on_update, .intercept = none});
    assert_false(hub__channel_intercepts(channel, HUB_STR("a")));
    hub__channel_destroy(channel);
}

int main(void)
{
#define CASE(name) cmocka_unit_test(name)
    const struct CMUnitTest tests[] = {
        CASE(a_channel_needs_a_pattern_and_a_filter_for_what_it_intercepts),
        CASE(events_of_the_protocol_cannot_be_handled),
        CASE(a_row_of_events_is_checked),
        CASE(a_range_of_an_integer_must_not_be_empty),
        CASE(zeros_become_the_defaults),
        CASE(everything_is_copied),
        CASE(an_event_finds_its_row_then_on_receive_then_nothing),
        CASE(on_update_sees_all_or_what_it_intercepts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
