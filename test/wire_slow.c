/* SPDX-License-Identifier: MIT */
/* Members that read too slowly, under each policy of a channel: what they get when they read again,
 * what they are told is missing, and what the publisher is told. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test/server.h"

#define BLOB 100000 /* more than a socket takes at once from somebody who does not read */

/* ---- the application ---- */

/* A payload like "a1" is news of "a". */
static hub_str_t first_letter(const hub_message_t *msg, void *user)
{
    (void)user;
    return msg->payload.bytes.len > 10 ? (hub_str_t){0} : hub_str_n(msg->payload.bytes.base + 1, 1);
}

static hub_status_t on_ask(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_reply(me, msg, msg->payload);
}

static hub_status_t on_push(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_push(me, HUB_STR("n"), msg->payload);
}

static hub_token_t suspension;

static hub_status_t on_suspend(hub_member_t *me, const hub_message_t *msg)
{
    (void)msg;
    suspension = hub_member_suspend(me);
    server_note("suspended");
    return HUB_OK;
}

static hub_status_t note_disconnect(const hub_hook_event_t *event, void *user)
{
    (void)user;
    server_note("closed %s", hub_disconnect_reason_name(event->reason));
    return HUB_OK;
}

static void note_counts(const hub_publish_result_t *result, void *user)
{
    (void)user;
    server_note("members %u queued %u dropped %u skipped %u", (unsigned)result->counts.members,
                (unsigned)result->counts.queued, (unsigned)result->counts.dropped,
                (unsigned)result->counts.skipped);
}

static hub_update_t keep_odd(hub_member_t *me, const hub_message_t *msg, hub_payload_t *replacement)
{
    (void)me, (void)replacement;
    return msg->payload.bytes.len == 1 && (msg->payload.bytes.base[0] - '0') % 2 == 0
               ? HUB_UPDATE_SKIP
               : HUB_UPDATE_KEEP;
}

static const hub_event_handler_t events[] = {
    {"ask", on_ask}, {"push", on_push}, {"suspend", on_suspend}, {NULL, NULL}};

/* Three messages wait for a member at most. */
static server_t *serve(const hub_limits_t *limits)
{
    server_t *s = server_create();
    hub_channel_options_t options = {.events = events, .slow_messages = 3};

    options.pattern = "new:{id}", options.slow_policy = HUB_SLOW_DROP_NEW;
    server_channel(s, &options);
    options.pattern = "old:{id}", options.slow_policy = HUB_SLOW_DROP_OLD;
    server_channel(s, &options);
    options.pattern = "odd:{id}", options.on_update = keep_odd;
    server_channel(s, &options);
    options.on_update = NULL;
    options.pattern = "latest:{id}", options.slow_policy = HUB_SLOW_LATEST;
    options.on_key = first_letter;
    server_channel(s, &options);
    options.on_key = NULL;
    options.pattern = "event:{id}";
    server_channel(s, &options);
    options.pattern = "close:{id}", options.slow_policy = HUB_SLOW_CLOSE;
    server_channel(s, &options);
    server_hook(s, HUB_HOOK_DISCONNECT, note_disconnect);
    server_mount(s, limits != NULL ? &(hub_endpoint_options_t){.limits = *limits} : NULL);
    server_start(s);
    return s;
}

/* Two members of a topic: one that does not read, and one that does. */
struct pair {
    server_t *s;
    const char *topic;
    client_t *slow, *reader;
};

static void publish(struct pair *pair, const char *event, hub_str_t json)
{
    client_frame_t frame;

    assert_int_equal(
        hub_publish(pair->s->hub, hub_str(pair->topic), hub_str(event), hub_json(json)), HUB_OK);
    frame = client_next(pair->reader); /* by then both are served */
    assert_int_equal(frame.first, CLIENT_TEXT);
    assert_non_null(strstr(frame.payload.base, event));
    client_expect_quiet(pair->reader);
}

/* Publishes until the slow one's socket takes no more. */
static void stall(struct pair *pair)
{
    static char json[BLOB];

    memset(json, 'x', sizeof(json));
    json[0] = json[sizeof(json) - 1] = '"';
    for (unsigned i = 0; SERVER_STAT(pair->s, conns_blocked) == 0; i++) {
        assert_true(i < 100);
        publish(pair, "blob", hub_str_n(json, sizeof(json)));
    }
}

static struct pair open_pair(server_t *s, const char *topic, const char *target)
{
    struct pair pair = {.s = s, .topic = topic};

    pair.slow = server_keep_client(s, client_connect(s->address, 4096));
    client_send_text(pair.slow, client_upgrade_text(target, ""));
    client_expect_upgraded(pair.slow);
    pair.reader = server_client(s, "/socket");
    client_join(pair.reader, topic, "'r'");
    return pair;
}

static struct pair stalled_pair(server_t *s, const char *topic)
{
    struct pair pair = open_pair(s, topic, "/socket");

    client_join(pair.slow, topic, "'s'");
    stall(&pair);
    return pair;
}

static void publish_each(struct pair *pair, const char *const *jsons)
{
    for (; *jsons != NULL; jsons++)
        publish(pair, "n", hub_str(*jsons));
}
#define PUBLISH(pair, ...) publish_each((pair), (const char *const[]){__VA_ARGS__, NULL})

/* What the slow one reads next, past the blobs: payloads of "n", gaps as (N), replies as R. */
static void expect(client_t *client, const char *text)
{
    char all[256] = "";

    while (strlen(all) < strlen(text)) {
        client_frame_t frame = client_next(client);
        const char *payload = strstr(frame.payload.base, "\"payload\":");

        assert_int_equal(frame.first, CLIENT_TEXT);
        if (strstr(frame.payload.base, "\"event\":\"gap\"") != NULL) {
            int missed = 0;

            assert_non_null(strstr(payload, "\"reason\":\"slow\""));
            assert_int_equal(sscanf(strstr(payload, "\"missed\":"), "\"missed\":%d", &missed), 1);
            snprintf(all + strlen(all), sizeof(all) - strlen(all), "(%d)", missed);
        } else if (strstr(frame.payload.base, "\"event\":\"reply\"") != NULL) {
            strcat(all, "R");
        } else if (strstr(frame.payload.base, "\"event\":\"n\"") != NULL) {
            payload += strlen("\"payload\":");
            strncat(all, payload[0] == '"' ? payload + 1 : payload, payload[0] == '"' ? 2 : 1);
        }
    }
    assert_string_equal(all, text);
}

/* ---- the policies ---- */

static void the_new_ones_are_dropped_and_told(void **state)
{
    struct pair pair = stalled_pair(serve(NULL), "new:1");

    (void)state;
    PUBLISH(&pair, "1", "2", "3", "4", "5");
    SERVER_EXPECT_STAT(pair.s, slow_dropped_total, 2);
    expect(pair.slow, "123(2)");
    PUBLISH(&pair, "6");
    expect(pair.slow, "6");
    client_expect_quiet(pair.slow);
    SERVER_EXPECT_STAT(pair.s, slow_gaps_total, 1);
    SERVER_EXPECT_STAT(pair.s, dropped_total, 2);
}

static void the_old_ones_are_dropped_and_told_first(void **state)
{
    struct pair pair = stalled_pair(serve(NULL), "old:1");

    (void)state;
    PUBLISH(&pair, "1", "2", "3", "4", "5");
    expect(pair.slow, "(2)345");
    PUBLISH(&pair, "6");
    expect(pair.slow, "6");
}

static void nothing_is_dropped_up_to_the_bound(void **state)
{
    struct pair pair = stalled_pair(serve(NULL), "old:1");

    (void)state;
    PUBLISH(&pair, "1", "2", "3");
    expect(pair.slow, "123");
    client_expect_quiet(pair.slow);
    SERVER_EXPECT_STAT(pair.s, slow_dropped_total, 0);
    SERVER_EXPECT_STAT(pair.s, slow_gaps_total, 0);
}

static void of_each_key_the_newest_is_left(void **state)
{
    struct pair pair = stalled_pair(serve(NULL), "latest:1");

    (void)state;
    PUBLISH(&pair, "\"a1\"", "\"b1\"", "\"a2\"", "\"c1\"", "\"b2\"", "\"a3\"");
    expect(pair.slow, "(3)c1b2a3");
    client_expect_quiet(pair.slow);
}

static void without_a_callback_the_event_is_the_key(void **state)
{
    struct pair pair = stalled_pair(serve(NULL), "event:1");

    (void)state;
    PUBLISH(&pair, "1", "2", "3");
    expect(pair.slow, "(2)3");
}

static void the_bound_of_a_channel_closes_where_that_is_the_policy(void **state)
{
    struct pair pair = stalled_pair(serve(NULL), "close:1");

    (void)state;
    PUBLISH(&pair, "1", "2", "3");
    SERVER_EXPECT_STAT(pair.s, closed_slow_total, 0);
    PUBLISH(&pair, "4");
    server_expect_note("closed slow");
    (void)client_drain_to_close(pair.slow, 4008);
}

/* ---- order and own frames ---- */

static void answers_are_never_dropped_and_keep_their_place(void **state)
{
    struct pair pair = stalled_pair(serve(NULL), "old:1");

    (void)state;
    PUBLISH(&pair, "1");
    client_say(pair.slow, "old:1", "ask", "1", "'1'");
    SERVER_EXPECT_STAT_AT_LEAST(pair.s, messages_in_total, 3);
    client_expect_quiet(pair.reader);
    PUBLISH(&pair, "2", "3", "4");
    client_say(pair.slow, "old:1", "ask", "1", "'2'");
    expect(pair.slow, "(1)R234R");
}

static void what_is_pushed_may_be_dropped(void **state)
{
    struct pair pair = stalled_pair(serve(NULL), "old:1");
    uint64_t before = SERVER_STAT(pair.s, messages_in_total);

    (void)state;
    for (unsigned i = 1; i != 6; i++) {
        char text[2] = {(char)('0' + i), '\0'};

        client_say(pair.slow, "old:1", "push", text, NULL);
    }
    SERVER_EXPECT_STAT_AT_LEAST(pair.s, messages_in_total, before + 5);
    client_expect_quiet(pair.reader);
    expect(pair.slow, "(2)345");
}

static void what_waits_leaves_before_the_answer_to_a_leave(void **state)
{
    struct pair pair = stalled_pair(serve(NULL), "new:1");

    (void)state;
    PUBLISH(&pair, "1", "2", "3", "4");
    client_say(pair.slow, "new:1", "leave", "{}", "'l'");
    expect(pair.slow, "123(1)R");
}

static void what_has_no_room_before_a_leave_is_told_missing(void **state)
{
    struct pair pair = stalled_pair(serve(&(hub_limits_t){.outbox_messages = 3}), "new:1");

    (void)state;
    PUBLISH(&pair, "1", "2", "3");
    client_say(pair.slow, "new:1", "leave", "{}", "'l'");
    SERVER_EXPECT_STAT(pair.s, slow_dropped_total, 3);
    expect(pair.slow, "(3)R");
}

static void topics_of_one_connection_wait_each_by_its_own_policy(void **state)
{
    server_t *s = serve(NULL);
    struct pair old = open_pair(s, "old:1", "/socket"), new = old;

    (void)state;
    new.topic = "new:1";
    client_join(old.slow, "old:1", "'o'");
    client_join(old.slow, "new:1", "'n'");
    client_join(old.reader, "new:1", "'n'");
    stall(&old);
    PUBLISH(&old, "1", "2");
    PUBLISH(&new, "5", "6", "7", "8");
    PUBLISH(&old, "3", "4");
    expect(old.slow, "(1)234567(1)");
    client_expect_quiet(old.slow);
}

static void a_filter_decides_before_a_policy_does(void **state)
{
    struct pair pair = open_pair(serve(NULL), "odd:1", "/socket");
    const char *const numbers[] = {"1", "2", "3", "4", "5", "6", "7", "8", "9", NULL};

    (void)state;
    client_join(pair.slow, "odd:1", "'s'");
    stall(&pair);
    for (unsigned i = 0; numbers[i] != NULL; i++) {
        assert_int_equal(
            hub_publish(pair.s->hub, HUB_STR("odd:1"), HUB_STR("n"), hub_json(hub_str(numbers[i]))),
            HUB_OK);
        if (i % 2 == 0)
            (void)client_expect_frame(pair.reader, CLIENT_TEXT);
        client_expect_quiet(pair.reader);
    }
    expect(pair.slow, "(2)579");
}

/* Sixty-four may wait for the filter, three for the connection. */
static void a_policy_drops_what_waited_for_a_filter_too(void **state)
{
    struct pair pair = open_pair(serve(NULL), "odd:1", "/socket");

    (void)state;
    client_join(pair.slow, "odd:1", "'s'");
    stall(&pair);
    client_say(pair.slow, "odd:1", "suspend", "{}", NULL);
    server_expect_note("suspended");
    PUBLISH(&pair, "1", "3", "5", "7", "9");
    assert_int_equal(hub_resume(pair.s->hub, &suspension), HUB_OK);
    expect(pair.slow, "(2)579");
    server_expect_no_note();
}

/* ---- who else is told ---- */

static void a_publisher_learns_how_many_were_dropped(void **state)
{
    struct pair pair = stalled_pair(serve(NULL), "new:1");

    (void)state;
    PUBLISH(&pair, "1", "2");
    for (unsigned i = 0; i != 2; i++)
        assert_int_equal(hub_publish_counted(pair.s->hub, HUB_STR("new:1"), HUB_STR("n"),
                                             HUB_JSON("3"), note_counts, NULL),
                         HUB_OK);
    server_expect_note("members 2 queued 2 dropped 0 skipped 0");
    server_expect_note("members 2 queued 1 dropped 1 skipped 0");
    expect(pair.slow, "123(1)");
}

static void a_publisher_learns_once_who_was_closed(void **state)
{
    struct pair pair = stalled_pair(serve(NULL), "close:1");

    (void)state;
    PUBLISH(&pair, "1", "2", "3");
    assert_int_equal(hub_publish_counted(pair.s->hub, HUB_STR("close:1"), HUB_STR("n"),
                                         HUB_JSON("4"), note_counts, NULL),
                     HUB_OK);
    SERVER_EXPECT_NOTES("members 2 queued 1 dropped 1 skipped 0", "closed slow");
}

static hub_status_t note_failed(const hub_hook_event_t *event, void *user)
{
    (void)user;
    if (hub_str_equals(event->msg->event, HUB_STR("n")))
        server_note("failed %.*s %s", HUB_STR_ARG(event->msg->payload.bytes),
                    hub_status_name(event->status));
    return HUB_OK;
}

static void the_hook_is_told_of_each(void **state)
{
    server_t *s = server_create();
    struct pair pair;

    (void)state;
    server_channel(s, &(hub_channel_options_t){.pattern = "old:{id}",
                                               .slow_policy = HUB_SLOW_DROP_OLD,
                                               .slow_messages = 2});
    server_hook(s, HUB_HOOK_MESSAGE_FAILED, note_failed);
    server_mount(s, NULL);
    server_start(s);
    pair = stalled_pair(s, "old:1");
    PUBLISH(&pair, "1", "2", "3");
    server_expect_note("failed 1 ESLOW");
    expect(pair.slow, "(1)23");
}

static void a_phoenix_client_is_told_in_its_format(void **state)
{
    struct pair pair = open_pair(serve(NULL), "new:1", "/socket/websocket?vsn=2.0.0");
    hub_str_t text;

    (void)state;
    client_json(pair.slow, "['1','1','new:1','phx_join',{}]");
    (void)client_expect_frame(pair.slow, CLIENT_TEXT);
    stall(&pair);
    PUBLISH(&pair, "{}", "{}", "{}", "{}");
    do
        text = client_expect_frame(pair.slow, CLIENT_TEXT);
    while (strstr(text.base, "gap") == NULL);
    assert_string_equal(text.base,
                        "[null,null,\"new:1\",\"gap\",{\"reason\":\"slow\",\"missed\":1}]");
}

/* ---- the end ---- */

static void what_waits_for_one_that_goes_is_dropped(void **state)
{
    struct pair pair = stalled_pair(serve(NULL), "old:1");

    (void)state;
    PUBLISH(&pair, "1", "2");
    server_drop_client(pair.s, pair.slow, client_abort);
    server_expect_note("closed lost");
    SERVER_EXPECT_STAT(pair.s, conns, 1);
    SERVER_EXPECT_STAT(pair.s, outbox_bytes, 0);
    SERVER_EXPECT_STAT_AT_LEAST(pair.s, dropped_total, 3);
    PUBLISH(&pair, "3");
}

static void a_policy_that_is_none_is_refused(void **state)
{
    server_t *s = server_create();
    hub_error_t error;

    (void)state;
    assert_int_equal(
        hub_channel_add(s->hub, &(hub_channel_options_t){.pattern = "a",
                                                         .slow_policy = (hub_slow_policy_t)7,
                                                         .ret_error = &error}),
        HUB_EINVAL);
    assert_string_equal(error.text, "channel \"a\": slow_policy 7 is none");
    assert_int_equal(hub_channel_add(s->hub, &(hub_channel_options_t){.pattern = "a",
                                                                      .on_key = first_letter,
                                                                      .ret_error = &error}),
                     HUB_EINVAL);
    assert_string_equal(error.text, "channel \"a\": on_key needs HUB_SLOW_LATEST");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVER_CASE(the_new_ones_are_dropped_and_told),
        SERVER_CASE(the_old_ones_are_dropped_and_told_first),
        SERVER_CASE(nothing_is_dropped_up_to_the_bound),
        SERVER_CASE(of_each_key_the_newest_is_left),
        SERVER_CASE(without_a_callback_the_event_is_the_key),
        SERVER_CASE(the_bound_of_a_channel_closes_where_that_is_the_policy),
        SERVER_CASE(answers_are_never_dropped_and_keep_their_place),
        SERVER_CASE(what_is_pushed_may_be_dropped),
        SERVER_CASE(what_waits_leaves_before_the_answer_to_a_leave),
        SERVER_CASE(what_has_no_room_before_a_leave_is_told_missing),
        SERVER_CASE(topics_of_one_connection_wait_each_by_its_own_policy),
        SERVER_CASE(a_filter_decides_before_a_policy_does),
        SERVER_CASE(a_policy_drops_what_waited_for_a_filter_too),
        SERVER_CASE(a_publisher_learns_how_many_were_dropped),
        SERVER_CASE(a_publisher_learns_once_who_was_closed),
        SERVER_CASE(the_hook_is_told_of_each),
        SERVER_CASE(a_phoenix_client_is_told_in_its_format),
        SERVER_CASE(what_waits_for_one_that_goes_is_dropped),
        SERVER_CASE(a_policy_that_is_none_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
