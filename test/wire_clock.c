/* SPDX-License-Identifier: MIT */

/* The wall clock jumps by an hour, both ways, under a running server: h2o's loop goes by
 * gettimeofday(), which this program puts in the place of the C library's. Everything after the
 * handshake goes by the monotonic clock and must not notice. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdatomic.h>
#include <sys/time.h>
#include <time.h>

#include "test/secure.h"

#define HOUR_S 3600

static atomic_long shift_s;

int gettimeofday(struct timeval *restrict now, void *restrict zone);

/* The name binds libh2o's calls to this one. */
__attribute__((visibility("default"))) int gettimeofday(struct timeval *restrict now,
                                                        void *restrict zone)
{
    struct timespec real;

    (void)zone;
    clock_gettime(CLOCK_REALTIME, &real);
    now->tv_sec = real.tv_sec + atomic_load(&shift_s);
    now->tv_usec = real.tv_nsec / 1000;
    return 0;
}

static hub_status_t on_say(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_broadcast(me, msg->event, msg->payload);
}

static server_t *clocked(const hub_server_options_t *options,
                         const hub_endpoint_options_t *endpoint)
{
    server_t *s = server_create_with(options, NULL);

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
    server_t *s = clocked(&(hub_server_options_t){.limits = {.request_ms = 50}}, NULL);
    client_t *c = server_connect(s);

    (void)state;
    SERVER_EXPECT_STAT(s, pre_upgrade, 1);
    atomic_store(&shift_s, -HOUR_S);
    client_expect_gone(c);
}

static void a_handshake_that_never_ends_is_cut_after_a_jump_back(void **state)
{
    secure_t *s = secure_create(&(hub_server_options_t){.limits = {.request_ms = 50}}, NULL);
    client_t *c;

    (void)state;
    atomic_store(&shift_s, 0);
    secure_start(s, NULL);
    c = secure_connect(s);
    SERVER_EXPECT_STAT(s->server, pre_upgrade, 1);
    atomic_store(&shift_s, -HOUR_S);
    client_expect_gone(c);
    server_expect_log("tls.handshake_failed", "why=\"deadline\"");
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        SERVER_CASE(a_jump_back_delays_no_message),
        SERVER_CASE(a_jump_forward_ends_no_connection),
        SERVER_CASE(pings_go_on_after_a_jump_back),
        SERVER_CASE(someone_who_never_asks_is_shown_out_after_a_jump_back),
        SECURE_CASE(a_handshake_that_never_ends_is_cut_after_a_jump_back),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
