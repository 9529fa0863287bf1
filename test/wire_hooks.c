/* SPDX-License-Identifier: MIT */
/* What stands between a message and its receiver: filters that keep, skip or replace it, counts of
 * whom it reached, and the hooks of a hub. */
#define _GNU_SOURCE 1
#include "test/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- the channels of these cases ---- */

static hub_status_t on_mirror(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_reply(me, msg, msg->payload);
}

static hub_status_t on_push(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_push(me, HUB_STR("pushed"), msg->payload);
}

static hub_status_t on_say(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_broadcast(me, msg->event, msg->payload);
}

static hub_status_t on_fail(hub_member_t *me, const hub_message_t *msg)
{
    (void)me, (void)msg;
    return HUB_ESYSTEM;
}

static void on_exit_note(hub_member_t *me, hub_exit_t why)
{
    (void)why;
    server_note("exit %.*s", HUB_STR_ARG(hub_member_topic(me)));
}

/* 1 goes out as it is, 2 to nobody, everything else as "other". */
static hub_update_t on_update(hub_member_t *me, const hub_message_t *msg,
                              hub_payload_t *ret_payload)
{
    (void)me;
    if (hub_str_equals(msg->payload.bytes, HUB_STR("1")))
        return HUB_UPDATE_KEEP;
    if (hub_str_equals(msg->payload.bytes, HUB_STR("2")))
        return HUB_UPDATE_SKIP;
    *ret_payload = HUB_JSON("\"other\"");
    return HUB_UPDATE_REPLACE;
}

static hub_status_t on_join_says(hub_member_t *me, const hub_message_t *msg)
{
    (void)msg;
    (void)hub_member_broadcast(me, HUB_STR("n"), HUB_JSON("2"));
    return hub_member_broadcast(me, HUB_STR("n"), HUB_JSON("3"));
}

static const char *const intercepted[] = {"veiled", NULL};

static const hub_event_handler_t events[] = {
    {"mirror", on_mirror},          {"push", on_push}, {"say", on_say}, {"fail", on_fail},
    {"where", server_reply_thread}, {NULL, NULL}};

static void add_channels(server_t *server)
{
    const hub_channel_options_t channels[] = {
        {.pattern = "m:{id}", .on_exit = on_exit_note, .events = events},
        {.pattern = "q:{id}", .events = events},
        {.pattern = "filter:{id}", .events = events, .on_update = on_update},
        {.pattern = "sieve", .on_join = on_join_says, .on_update = on_update},
        {.pattern = "veil:{id}", .on_update = on_update, .intercept = intercepted},
    };

    for (size_t i = 0; i < COUNT(channels); i++)
        server_channel(server, &channels[i]);
}

static server_t *members(unsigned threads)
{
    server_t *server = server_create_with(&(hub_server_options_t){.threads = threads}, NULL);

    add_channels(server);
    server_mount(server, NULL);
    server_start(server);
    return server;
}

static client_t *member_of(server_t *server, const char *topic)
{
    client_t *client = server_client(server, "/socket");

    client_join(client, topic, "'j'");
    return client;
}

/* ---- filters and counts ---- */

static void publish_all(server_t *server, const char *topic, const char *event)
{
    static const char *const payloads[] = {"1", "2", "3", "1"};

    for (size_t i = 0; i < COUNT(payloads); i++)
        assert_int_equal(hub_publish(server->hub, hub_str(topic), hub_str(event),
                                     hub_json(hub_str(payloads[i]))),
                         HUB_OK);
}

static void a_filter_keeps_skips_and_replaces_in_order(void **state)
{
    server_t *s = members(1);
    client_t *c = member_of(s, "filter:1");

    (void)state;
    publish_all(s, "filter:1", "n");
    client_expect_event(c, "filter:1", "n", "1");
    client_expect_push(c, "filter:1", "n", "'other'", "'j'");
    client_expect_event(c, "filter:1", "n", "1");
    client_expect_quiet(c);
}

static void a_filter_sees_what_is_broadcast_inside_on_join(void **state)
{
    server_t *s = members(1);
    client_t *c = member_of(s, "sieve");

    (void)state;
    client_expect_push(c, "sieve", "n", "'other'", "'j'");
    client_expect_quiet(c);
}

static void only_intercepted_events_go_through_the_filter(void **state)
{
    server_t *s = members(1);
    client_t *c = member_of(s, "veil:1");

    (void)state;
    assert_int_equal(hub_publish(s->hub, HUB_STR("veil:1"), HUB_STR("plain"), HUB_JSON("2")),
                     HUB_OK);
    client_expect_event(c, "veil:1", "plain", "2");
    publish_all(s, "veil:1", "veiled");
    client_expect_event(c, "veil:1", "veiled", "1");
    client_expect_push(c, "veil:1", "veiled", "'other'", "'j'");
    client_expect_event(c, "veil:1", "veiled", "1");
}

static void on_published(const hub_publish_result_t *result, void *user)
{
    server_note("%s %s: %llu members, %llu queued, %llu dropped, %llu skipped", (const char *)user,
                hub_status_name(result->status), (unsigned long long)result->counts.members,
                (unsigned long long)result->counts.queued,
                (unsigned long long)result->counts.dropped,
                (unsigned long long)result->counts.skipped);
}

static char publish_name[] = "publish";

static void publish_counted(server_t *server, const char *topic, const char *payload)
{
    assert_int_equal(hub_publish_counted(server->hub, hub_str(topic), HUB_STR("n"),
                                         hub_json(hub_str(payload)), on_published, publish_name),
                     HUB_OK);
}

static void a_counted_publish_tells_how_many_it_was_queued_to(void **state)
{
    server_t *s = members(2);
    client_t *left, *right, *filtered = member_of(s, "filter:1");

    (void)state;
    server_client_pair(s, "/socket", "q:1", "where", &left, &right);
    publish_counted(s, "q:1", "1");
    server_expect_note("publish OK: 2 members, 2 queued, 0 dropped, 0 skipped");
    publish_counted(s, "q:nobody", "1");
    server_expect_note("publish OK: 0 members, 0 queued, 0 dropped, 0 skipped");
    publish_counted(s, "filter:1", "2");
    server_expect_note("publish OK: 1 members, 0 queued, 0 dropped, 1 skipped");
    publish_counted(s, "filter:1", "3");
    server_expect_note("publish OK: 1 members, 1 queued, 0 dropped, 0 skipped");
    client_expect_event(left, "q:1", "n", "1");
    client_expect_event(right, "q:1", "n", "1");
    client_expect_push(filtered, "filter:1", "n", "'other'", "'j'");
    server_expect_no_note();
}

/* ---- hooks ---- */

static hub_status_t note_event(const hub_hook_event_t *event, const char *who)
{
    static const char *const names[HUB_HOOK_COUNT] = {
        "in", "open", "join", "leave", "disconnecting", "disconnect", "sent", "failed", "error"};

    server_note("%s %s %.*s %.*s", who, names[event->hook],
                HUB_STR_ARG(event->member == NULL ? hub_str("-") : hub_member_topic(event->member)),
                HUB_STR_ARG(event->msg == NULL ? hub_str("-") : event->msg->event));
    return HUB_OK;
}

static hub_status_t first_hook(const hub_hook_event_t *event, void *user)
{
    (void)user;
    (void)note_event(event, "first");
    return event->hook == HUB_HOOK_MESSAGE_IN ? HUB_OK : HUB_EINTERNAL;
}

/* Vetoes "mirror". */
static hub_status_t second_hook(const hub_hook_event_t *event, void *user)
{
    (void)user;
    (void)note_event(event, "second");
    return event->msg != NULL && hub_str_equals(event->msg->event, HUB_STR("mirror")) ? HUB_ERATE
                                                                                      : HUB_OK;
}

static hub_status_t third_hook(const hub_hook_event_t *event, void *user)
{
    (void)user;
    return note_event(event, "third");
}

static server_t *hooked_members(hub_hook_t hook)
{
    server_t *server = server_create();

    add_channels(server);
    server_hook(server, hook, first_hook);
    server_hook(server, hook, second_hook);
    server_hook(server, hook, third_hook);
    server_mount(server, NULL);
    server_start(server);
    return server;
}

static void a_veto_of_a_message_keeps_it_from_its_handler_and_later_hooks(void **state)
{
    client_t *c = member_of(hooked_members(HUB_HOOK_MESSAGE_IN), "m:1");

    (void)state;
    client_say(c, "m:1", "mirror", "1", "'2'");
    client_expect_error(c, "m:1", "'2'", "rate");
    server_expect_note("first in m:1 mirror");
    server_expect_note("second in m:1 mirror");
    client_say(c, "m:1", "push", "1", NULL);
    client_expect_push(c, "m:1", "pushed", "1", "'j'");
    server_expect_note("first in m:1 push");
    server_expect_note("second in m:1 push");
    server_expect_note("third in m:1 push");
    server_expect_no_note();
}

static void notify_hooks_run_in_order_and_none_stops_the_next(void **state)
{
    client_t *c = member_of(hooked_members(HUB_HOOK_JOIN), "m:1");

    (void)state;
    server_expect_note("first join m:1 -");
    server_expect_note("second join m:1 -");
    server_expect_note("third join m:1 -");
    client_expect_quiet(c);
    server_expect_no_note();
}

static void leave_hooks_run_after_on_exit(void **state)
{
    client_t *c = member_of(hooked_members(HUB_HOOK_LEAVE), "m:1");

    (void)state;
    client_say(c, "m:1", "leave", "{}", "'2'");
    client_expect_ok(c, "m:1", "'2'", "{'topic':'m:1'}");
    server_expect_note("exit m:1");
    server_expect_note("first leave m:1 -");
    server_expect_note("second leave m:1 -");
    server_expect_note("third leave m:1 -");
}

static void an_error_hook_hears_of_failing_handlers_and_bad_envelopes(void **state)
{
    client_t *c = member_of(hooked_members(HUB_HOOK_ERROR), "m:1");

    (void)state;
    client_say(c, "m:1", "fail", "{}", "'2'");
    client_expect_error(c, "m:1", "'2'", "internal_error");
    server_expect_note("first error m:1 fail");
    server_expect_note("second error m:1 fail");
    server_expect_note("third error m:1 fail");
    client_json(c, "no");
    server_expect_note("first error - -");
}

static void a_sent_hook_hears_of_each_frame_once_it_has_left(void **state)
{
    server_t *s = hooked_members(HUB_HOOK_MESSAGE_SENT);
    client_t *c = member_of(s, "m:1");

    (void)state;
    client_say(c, "m:1", "say", "1", NULL);
    client_expect_event(c, "m:1", "say", "1");
    server_skip_to_note("first sent m:1 reply");
    server_skip_to_note("first sent m:1 say");
    server_skip_to_note("third sent m:1 say");
}

static void hooks_of_an_included_hub_see_its_members_only(void **state)
{
    server_t *s = server_create();
    hub_t *sub = NULL;
    client_t *c;

    (void)state;
    assert_int_equal(hub_create(NULL, &sub), HUB_OK);
    assert_int_equal(hub_channel_add(sub, &(hub_channel_options_t){.pattern = "x"}), HUB_OK);
    assert_int_equal(hub_hook_add(sub, HUB_HOOK_JOIN, third_hook, NULL), HUB_OK);
    assert_int_equal(hub_include(s->hub, sub, "sub:"), HUB_OK);
    server_channel(s, &(hub_channel_options_t){.pattern = "x"});
    server_hook(s, HUB_HOOK_JOIN, first_hook);
    server_mount(s, NULL);
    server_start(s);
    c = member_of(s, "x");
    client_join(c, "sub:x", "'2'");
    server_expect_note("first join x -");
    SERVER_EXPECT_NOTES("first join sub:x -", "third join sub:x -");
    server_expect_no_note();
    server_teardown(NULL);
    hub_destroy(sub);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        SERVER_CASE(a_filter_keeps_skips_and_replaces_in_order),
        SERVER_CASE(a_filter_sees_what_is_broadcast_inside_on_join),
        SERVER_CASE(only_intercepted_events_go_through_the_filter),
        SERVER_CASE(a_counted_publish_tells_how_many_it_was_queued_to),
        SERVER_CASE(a_veto_of_a_message_keeps_it_from_its_handler_and_later_hooks),
        SERVER_CASE(notify_hooks_run_in_order_and_none_stops_the_next),
        SERVER_CASE(leave_hooks_run_after_on_exit),
        SERVER_CASE(an_error_hook_hears_of_failing_handlers_and_bad_envelopes),
        SERVER_CASE(a_sent_hook_hears_of_each_frame_once_it_has_left),
        SERVER_CASE(hooks_of_an_included_hub_see_its_members_only),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
