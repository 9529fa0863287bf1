/* SPDX-License-Identifier: MIT */

/* The wall clock jumps by an hour, both ways, under a running server: h2o's loop goes by
 * gettimeofday(), which this program puts in the place of the C library's, and with it whatever
 * else tells the time of day. Everything after the
 * handshake goes by the monotonic clock and must not notice. */

#define _GNU_SOURCE 1
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdatomic.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "test/horde.h"
#include "test/secure.h"

#define HOUR_S 3600

static atomic_long shift_s;
static _Thread_local bool is_the_tester; /* its deadlines are the kernel's */

int gettimeofday(struct timeval *restrict now, void *restrict zone);
int clock_gettime(clockid_t clock, struct timespec *now);
time_t time(time_t *ret_now);

/* These names bind the calls of libh2o and of the library to the functions here. */
#define IN_PLACE_OF_LIBC __attribute__((visibility("default")))

IN_PLACE_OF_LIBC int clock_gettime(clockid_t clock, struct timespec *now)
{
    int failed = (int)syscall(SYS_clock_gettime, clock, now);

    if (failed == 0 && !is_the_tester &&
        (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += atomic_load(&shift_s);
    return failed;
}

IN_PLACE_OF_LIBC int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec real;

    (void)zone;
    clock_gettime(CLOCK_REALTIME, &real);
    now->tv_sec = real.tv_sec;
    now->tv_usec = real.tv_nsec / 1000;
    return 0;
}

IN_PLACE_OF_LIBC time_t time(time_t *ret_now)
{
    struct timespec real;

    clock_gettime(CLOCK_REALTIME, &real);
    if (ret_now != NULL)
        *ret_now = real.tv_sec;
    return real.tv_sec;
}

static hub_status_t on_say(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_broadcast(me, msg->event, msg->payload);
}

static server_t *clocked(const hub_server_options_t *options,
                         const hub_endpoint_options_t *endpoint)
{
    server_t *s = server_create_with(options, NULL);

    is_the_tester = true;
    atomic_store(&shift_s, 0);
    server_channel(s, &(hub_channel_options_t){.pattern = "t{n}", .on_receive = on_say});
    server_mount(s, endpoint);
    server_start(s);
    return s;
}

static void say_and_hear(client_t *c)
{
    client_say(c, "t1", "say", "1", NULL);
    client_expect_event(c, "t1", "say", "1");
}

static void a_jump_back_delays_no_message(void **state)
{
    client_t *c = server_client(clocked(NULL, NULL), "/socket");

    (void)state;
    client_join(c, "t1", "'j'");
    atomic_store(&shift_s, -HOUR_S);
    say_and_hear(c);
    say_and_hear(c);
}

static void a_jump_forward_ends_no_connection(void **state)
{
    client_t *c = server_client(clocked(NULL, NULL), "/socket");

    (void)state;
    client_join(c, "t1", "'j'");
    atomic_store(&shift_s, HOUR_S);
    say_and_hear(c);
    say_and_hear(c);
}

static void pings_go_on_after_a_jump_back(void **state)
{
    server_t *s =
        clocked(NULL, &(hub_endpoint_options_t){.limits = {.ping_ms = 20, .pong_ms = 5000}});
    client_t *c = server_client(s, "/socket");

    (void)state;
    atomic_store(&shift_s, -HOUR_S);
    client_expect_frame(c, 0x89);
}

static void someone_who_never_asks_is_shown_out_after_a_jump_back(void **state)
{
    server_t *s = clocked(&(hub_server_options_t){.limits = {.request_ms = 500}}, NULL);
    client_t *c = server_connect(s);

    (void)state;
    SERVER_EXPECT_STAT(s, pre_upgrade, 1);
    atomic_store(&shift_s, -HOUR_S);
    client_expect_gone(c);
}

/* libh2o's own deadline would be past. */
static void a_request_under_way_outlives_a_jump_forward(void **state)
{
    server_t *s = clocked(NULL, NULL);
    client_t *c = server_connect(s), *other = server_client(s, "/socket");
    const char *request = client_upgrade_text("/socket", "");

    (void)state;
    client_send(c, hub_str_n(request, 20));
    SERVER_EXPECT_STAT(s, pre_upgrade, 1);
    atomic_store(&shift_s, HOUR_S);
    for (int i = 0; i < 5; i++) /* each of them a turn of the loop, in which it would be closed */
        client_expect_quiet(other);
    client_send_text(c, request + 20);
    client_expect_upgraded(c);
    client_expect_quiet(c);
}

static void a_handshake_that_never_ends_is_cut_after_a_jump_back(void **state)
{
    secure_t *s = secure_create(&(hub_server_options_t){.limits = {.request_ms = 500}}, NULL);
    client_t *c;

    (void)state;
    is_the_tester = true;
    atomic_store(&shift_s, 0);
    secure_start(s, NULL);
    c = secure_connect(s);
    SERVER_EXPECT_STAT(s->server, pre_upgrade, 1);
    atomic_store(&shift_s, -HOUR_S);
    client_expect_gone(c);
    server_expect_log("tls.handshake_failed", "why=\"deadline\"");
}

/* ---- under load ---- */

#define MEMBERS 200

static horde_t horde;

static int clean_up(void **state)
{
    horde_destroy(&horde);
    return server_teardown(state);
}

/* A long-poll client whose poll waits. */
static client_t *poller(server_t *s)
{
    client_t *opener = server_connect(s), *waiter = server_connect(s);
    char target[300];
    const char *token;
    client_response_t response;

    client_request(opener, "GET", "/socket/longpoll?vsn=2.0.0", "");
    response = client_expect_response(opener, 200);
    token = strstr(response.body.base, "\"token\":\"") + strlen("\"token\":\"");
    snprintf(target, sizeof(target), "/socket/longpoll?vsn=2.0.0&token=%.*s",
             (int)strcspn(token, "\""), token);
    client_request(opener, "POST", target, "Content-Length: 28\r\n");
    client_send_text(opener, "[\"1\",\"1\",\"t1\",\"phx_join\",{}]");
    client_expect_response(opener, 200);
    client_request(waiter, "GET", target, "");
    client_expect_response(waiter, 200); /* the answer to what it said */
    client_request(waiter, "GET", target, "");
    SERVER_EXPECT_STAT(s, longpoll_polls_total, 2);
    return waiter;
}

static void nobody_is_disconnected_by_jumps_under_load(void **state)
{
    static const long jumps[] = {HOUR_S, 0, -HOUR_S, HOUR_S, -HOUR_S, 0};
    const hub_limits_t limits = {.ping_ms = 60000,
                                 .idle_ms = 600000,
                                 .longpoll_window_ms = 60000,
                                 .messages_per_s = HUB_OFF};
    server_t *s = clocked(NULL, &(hub_endpoint_options_t){.longpoll = true, .limits = limits});
    client_t *c = server_client(s, "/socket"), *poll;
    char join[100];
    uint64_t conns;

    (void)state;
    client_join(c, "t1", "'j'");
    horde_open(&horde, s->address, "/socket", MEMBERS);
    horde_send(&horde, hub_str_n(join, client_frame_write(join, CLIENT_TEXT,
                                                          HUB_STR("{\"topic\":\"t1\",\"event\":"
                                                                  "\"join\",\"payload\":{}}"))));
    SERVER_EXPECT_STAT(s, members, MEMBERS + 1);
    poll = poller(s);
    conns = SERVER_STAT(s, conns);
    for (size_t i = 0; i != sizeof(jumps) / sizeof(jumps[0]); i++) {
        atomic_store(&shift_s, jumps[i]);
        for (int m = 0; m < 20; m++)
            client_expect_quiet(c);
        assert_int_equal(horde_drain(&horde), MEMBERS);
    }
    assert_int_equal(SERVER_STAT(s, conns), conns);
    assert_int_equal(SERVER_STAT(s, conns_total), conns);
    assert_false(client_is_readable(poll));
    say_and_hear(c);
    assert_non_null(strstr(client_expect_response(poll, 200).body.base, "say"));
    SERVER_EXPECT_STAT_AT_LEAST(s, messages_out_total, MEMBERS);
    assert_int_equal(SERVER_STAT(s, conns), conns);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        SERVER_CASE(a_jump_back_delays_no_message),
        SERVER_CASE(a_jump_forward_ends_no_connection),
        SERVER_CASE(pings_go_on_after_a_jump_back),
        SERVER_CASE(a_request_under_way_outlives_a_jump_forward),
        SERVER_CASE(someone_who_never_asks_is_shown_out_after_a_jump_back),
        cmocka_unit_test_teardown(nobody_is_disconnected_by_jumps_under_load, clean_up),
        SECURE_CASE(a_handshake_that_never_ends_is_cut_after_a_jump_back),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
