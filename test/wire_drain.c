/* SPDX-License-Identifier: MIT */
/* A stop with clients connected: they go in batches, each with a word on when to come back, and
 * those whose turn it is not yet are served until it comes. Where a case must not depend on time a
 * batch is one client and the next one far away. */
#define _GNU_SOURCE 1
#include "test/server.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define FAR_MS 60000

/* ---- the hub of these cases ---- */

static hub_status_t on_say(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_broadcast(me, msg->event, msg->payload);
}

/* Told to those who are still there. */
static void on_exit_tell(hub_member_t *me, hub_exit_t why)
{
    (void)why;
    if (hub_publish(hub_member_hub(me), HUB_STR("t1"), HUB_STR("left"), HUB_JSON("1")) != HUB_OK)
        server_note("publish failed");
}

static server_t *fill(server_t *s)
{
    static const hub_event_handler_t events[] = {{"say", on_say}, {NULL, NULL}};

    server_channel(
        s, &(hub_channel_options_t){.pattern = "t{id}", .on_exit = on_exit_tell, .events = events});
    server_mount(s, &(hub_endpoint_options_t){.longpoll = true});
    return s;
}

static server_t *draining(const hub_server_limits_t *limits)
{
    server_t *s = fill(server_create_with(&(hub_server_options_t){.limits = *limits}, NULL));

    server_start(s);
    return s;
}

static client_t *member_of(server_t *s, const char *topic)
{
    client_t *c = server_client(s, "/socket");

    client_join(c, topic, "'j'");
    return c;
}

static void expect_restart(client_t *c)
{
    hub_str_t reason = client_expect_close(c, 1012);
    unsigned ms;

    assert_int_equal(sscanf(reason.base, "restart retry_ms=%u", &ms), 1);
    assert_in_range(ms, 0, 9999);
}

/* ---- batches ---- */

static void expect_heard(client_t *const *clients, size_t count, size_t heard)
{
    for (size_t i = 0; i != count; ++i)
        assert_int_equal(client_drain_to_close(clients[i], 1012), heard);
}

static void clients_go_in_batches_and_the_later_hear_of_the_earlier(void **state)
{
    server_t *s = draining(&(hub_server_limits_t){.drain_batch = 10, .drain_batch_ms = 30});

    (void)state;
    for (int i = 0; i != 25; ++i)
        (void)member_of(s, "t1");
    hub_server_stop(s->server);
    expect_heard(s->clients, 10, 0);
    expect_heard(s->clients + 10, 10, 10);
    expect_heard(s->clients + 20, 5, 20);
    server_expect_log("server.draining", "connections_left=25");
}

static void a_batch_that_is_exactly_all_leaves_nobody_behind(void **state)
{
    server_t *s = draining(&(hub_server_limits_t){.drain_batch = 3, .drain_batch_ms = FAR_MS});

    (void)state;
    for (int i = 0; i != 3; ++i)
        (void)member_of(s, "t1");
    hub_server_stop(s->server);
    expect_heard(s->clients, 3, 0);
    for (int i = 0; i != 3; ++i)
        client_shutdown(s->clients[i]);
    hub_server_wait(s->server);
}

static void each_is_told_when_to_come_back(void **state)
{
    server_t *s = draining(&(hub_server_limits_t){0});
    client_t *a = member_of(s, "t1"), *b = member_of(s, "t1");

    (void)state;
    hub_server_stop(s->server);
    expect_restart(a);
    expect_restart(b);
}

static void the_word_on_coming_back_may_be_left_out(void **state)
{
    server_t *s = draining(&(hub_server_limits_t){.drain_retry_ms = HUB_OFF});
    client_t *c = member_of(s, "t1");

    (void)state;
    hub_server_stop(s->server);
    assert_int_equal(client_expect_close(c, 1012).len, 0);
}

static void who_is_not_told_yet_is_served_as_before(void **state)
{
    server_t *s = draining(&(hub_server_limits_t){.drain_batch = 1, .drain_batch_ms = FAR_MS});
    client_t *first = member_of(s, "t0"), *later = member_of(s, "t2");

    (void)state;
    hub_server_stop(s->server);
    expect_restart(first);
    client_say(later, "t2", "say", "1", NULL);
    client_expect_event(later, "t2", "say", "1");
    client_join(later, "t3", "'k'");
    assert_int_equal(hub_publish(s->hub, HUB_STR("t3"), HUB_STR("x"), HUB_JSON("2")), HUB_OK);
    client_expect_event(later, "t3", "x", "2");
    assert_null(client_try_connect(s->address));
    client_close_frame(later, 1000, "");
    client_expect_close(later, 1000);
}

static void workers_share_a_batch(void **state)
{
    server_t *s = fill(server_create_with(
        &(hub_server_options_t){
            .threads = 3, .limits = {.drain_batch = 4, .drain_batch_ms = FAR_MS, .drain_ms = 600}},
        NULL));

    (void)state;
    server_start(s);
    for (int i = 0; i != 12; ++i)
        (void)member_of(s, "t1");
    server_stop(s);
    /* four were told, the other eight cut */
    assert_int_equal(SERVER_STAT(s, drain_told_total), 4);
    assert_int_equal(SERVER_STAT(s, closed_shutdown_total), 12);
}

/* ---- the end of it ---- */

static void what_is_left_at_the_deadline_is_cut(void **state)
{
    server_t *s = draining(
        &(hub_server_limits_t){.drain_batch = 1, .drain_batch_ms = FAR_MS, .drain_ms = 600});
    client_t *first = member_of(s, "t0"), *later = member_of(s, "t2");

    (void)state;
    hub_server_stop(s->server);
    expect_restart(first);
    client_shutdown(first);
    client_expect_eof(later);
    hub_server_wait(s->server);
    server_expect_log("server.drain_cut", "connections=1");
}

static void *run_server(void *arg)
{
    hub_server_t *server = arg;

    server_note("run %s", hub_status_name(hub_server_run(server)));
    return NULL;
}

static void a_second_signal_cuts_those_who_are_not_told_yet(void **state)
{
    server_t *s = fill(server_create_with(
        &(hub_server_options_t){
            .limits = {.drain_batch = 1, .drain_batch_ms = FAR_MS, .drain_ms = 600000}},
        NULL));
    sigset_t signals, before;
    pthread_t thread;
    client_t *first, *later;

    (void)state;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, &before);
    assert_int_equal(hub_server_listen(s->server, "127.0.0.1:0"), HUB_OK);
    s->address = hub_server_address(s->server, 0);
    assert_int_equal(pthread_create(&thread, NULL, run_server, s->server), 0);
    first = member_of(s, "t0");
    later = member_of(s, "t2");
    kill(getpid(), SIGTERM);
    expect_restart(first);
    kill(getpid(), SIGTERM);
    client_expect_eof(later);
    pthread_join(thread, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    server_expect_note("run OK");
    server_expect_log("server.cut", "signal=");
}

/* ---- long poll ---- */

static void a_poll_that_waits_is_answered_in_its_batch_with_a_retry_after(void **state)
{
    server_t *s = draining(&(hub_server_limits_t){.drain_batch = 1, .drain_batch_ms = 30});
    client_t *first = member_of(s, "t0"), *poller = server_connect(s);
    client_response_t answer;
    char token[128], target[256];

    (void)state;
    client_request(poller, "GET", "/socket/longpoll?vsn=2.0.0", NULL);
    answer = client_expect_response(poller, 200);
    assert_int_equal(
        sscanf(strstr(answer.body.base, "\"token\":\""), "\"token\":\"%127[^\"]", token), 1);
    snprintf(target, sizeof(target), "/socket/longpoll?vsn=2.0.0&token=%s", token);
    client_request(poller, "GET", target, NULL);
    SERVER_EXPECT_STAT(s, longpoll_polls_total, 1);
    hub_server_stop(s->server);
    expect_restart(first);
    client_shutdown(first);
    answer = client_expect_response(poller, 200);
    assert_non_null(strstr(answer.body.base, "\"status\":410"));
    assert_in_range(atoi(client_header(&answer, "Retry-After").base), 0, 10);
    hub_server_wait(s->server);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        SERVER_CASE(clients_go_in_batches_and_the_later_hear_of_the_earlier),
        SERVER_CASE(a_batch_that_is_exactly_all_leaves_nobody_behind),
        SERVER_CASE(each_is_told_when_to_come_back),
        SERVER_CASE(the_word_on_coming_back_may_be_left_out),
        SERVER_CASE(who_is_not_told_yet_is_served_as_before),
        SERVER_CASE(workers_share_a_batch),
        SERVER_CASE(what_is_left_at_the_deadline_is_cut),
        SERVER_CASE(a_second_signal_cuts_those_who_are_not_told_yet),
        SERVER_CASE(a_poll_that_waits_is_answered_in_its_batch_with_a_retry_after),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
