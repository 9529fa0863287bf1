/* SPDX-License-Identifier: MIT */
/* The proxy that other tests put before a broker. The case is both ends of it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "test/port.h"
#include "test/proxy.h"

#define QUIET_MS 30
#define SIZE (3 * 1024 * 1024)

struct ends {
    proxy_t *proxy;
    int port_fd;
    int listener;
    int client;
    int broker;
};

static int limited(int fd)
{
    struct timeval limit = {.tv_sec = 10};

    assert_true(fd != -1);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    return fd;
}

static struct sockaddr_in address_of(unsigned port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static bool dial(struct ends *ends)
{
    struct sockaddr_in address = address_of(proxy_port(ends->proxy));

    ends->client = limited(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    return connect(ends->client, (struct sockaddr *)&address, sizeof(address)) == 0;
}

/* A new connection, from end to end. */
static void join_ends(struct ends *ends)
{
    assert_true(dial(ends));
    ends->broker = limited(accept(ends->listener, NULL, NULL));
}

static void close_ends(struct ends *ends)
{
    close(ends->client);
    close(ends->broker);
}

static int set_up(void **state)
{
    static struct ends ends;
    struct sockaddr_in address;
    unsigned port;
    int on = 1;

    ends.port_fd = port_claim(&port);
    address = address_of(port);
    ends.listener = limited(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    setsockopt(ends.listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    assert_int_equal(bind(ends.listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(ends.listener, 8), 0);
    ends.proxy = proxy_start(port);
    assert_non_null(ends.proxy);
    join_ends(&ends);
    *state = &ends;
    return 0;
}

static int tear_down(void **state)
{
    struct ends *ends = *state;

    close_ends(ends);
    proxy_stop(ends->proxy);
    close(ends->listener);
    close(ends->port_fd);
    return 0;
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void expect(int fd, const char *text)
{
    char bytes[64] = "";

    assert_int_equal(recv(fd, bytes, strlen(text), MSG_WAITALL), strlen(text));
    assert_string_equal(bytes, text);
}

static void expect_quiet(int fd)
{
    struct pollfd quiet = {.fd = fd, .events = POLLIN};

    assert_int_equal(poll(&quiet, 1, QUIET_MS), 0);
}

static void expect_reset(int fd)
{
    char byte;

    assert_int_equal(recv(fd, &byte, 1, 0), -1);
    assert_int_equal(errno, ECONNRESET);
}

static void expect_end(int fd)
{
    char byte;

    assert_int_equal(recv(fd, &byte, 1, 0), 0);
}

static void bytes_go_both_ways_and_an_end_follows_them(void **state)
{
    struct ends *ends = *state;

    say(ends->client, "to the broker");
    say(ends->broker, "to the client");
    expect(ends->client, "to the client");
    say(ends->client, ", the last");
    shutdown(ends->client, SHUT_WR);
    expect(ends->broker, "to the broker, the last");
    expect_end(ends->broker);
    assert_int_equal(proxy_accepted(ends->proxy), 1);
}

static void much_waits_for_who_reads_late(void **state)
{
    struct ends *ends = *state;
    static char sent[SIZE], got[SIZE];
    struct pollfd end = {.fd = ends->client, .events = POLLOUT};
    size_t out = 0, in = 0;

    for (size_t i = 0; i < SIZE; i++)
        sent[i] = (char)(i * 7 + i / 251);
    while (out < SIZE || in < SIZE) {
        ssize_t some = send(ends->broker, sent + out, SIZE - out, MSG_DONTWAIT | MSG_NOSIGNAL);

        out += some > 0 ? (size_t)some : 0;
        end.events = POLLIN;
        if (poll(&end, 1, out < SIZE && some > 0 ? 0 : 10000) != 1)
            continue;
        some = recv(ends->client, got + in, SIZE - in, 0);
        assert_true(some > 0);
        in += (size_t)some;
    }
    assert_memory_equal(sent, got, SIZE);
}

static void a_reset_reaches_both_ends(void **state)
{
    struct ends *ends = *state;

    proxy_reset(ends->proxy);
    expect_reset(ends->client);
    expect_reset(ends->broker);
    assert_int_equal(proxy_open(ends->proxy), 0);
    close_ends(ends);
    join_ends(ends);
    say(ends->client, "again");
    expect(ends->broker, "again");
}

static void who_is_refused_may_come_later(void **state)
{
    struct ends *ends = *state;
    int first = ends->client;

    proxy_refuse(ends->proxy, true);
    assert_false(dial(ends));
    assert_int_equal(errno, ECONNREFUSED);
    say(first, "what stands goes on");
    expect(ends->broker, "what stands goes on");
    close(ends->client);
    close(ends->broker);
    close(first);
    proxy_refuse(ends->proxy, false);
    join_ends(ends);
    say(ends->client, "again");
    expect(ends->broker, "again");
}

static void a_deaf_connection_stays_open_and_a_new_one_works(void **state)
{
    struct ends *ends = *state, old = *ends;

    proxy_deafen(ends->proxy, PROXY_BOTH);
    say(old.client, "never");
    say(old.broker, "never");
    expect_quiet(old.client);
    expect_quiet(old.broker);
    join_ends(ends);
    say(ends->client, "new");
    expect(ends->broker, "new");
    close(old.client);
    expect_quiet(old.broker); /* of the end it hears nothing either */
    close(old.broker);
}

static void one_way_may_be_deaf_alone(void **state)
{
    struct ends *ends = *state;

    proxy_deafen(ends->proxy, PROXY_TO_CLIENT);
    say(ends->broker, "never");
    say(ends->client, "still heard");
    expect(ends->broker, "still heard");
    expect_quiet(ends->client);
}

static void what_is_held_comes_later(void **state)
{
    struct ends *ends = *state;

    proxy_hold(ends->proxy, true);
    say(ends->client, "later");
    expect_quiet(ends->broker);
    proxy_hold(ends->proxy, false);
    expect(ends->broker, "later");
}

static void garbage_comes_between(void **state)
{
    struct ends *ends = *state;

    say(ends->broker, "one ");
    expect(ends->client, "one ");
    proxy_inject(ends->proxy, "\x01\xff", 2);
    expect(ends->client, "\x01\xff");
    say(ends->broker, "two");
    expect(ends->client, "two");
}

static void what_is_delayed_keeps_its_order(void **state)
{
    struct ends *ends = *state;

    proxy_delay(ends->proxy, QUIET_MS);
    say(ends->client, "1");
    say(ends->client, "2");
    proxy_delay(ends->proxy, 0);
    say(ends->client, "3");
    expect(ends->broker, "123");
}

static void without_a_broker_the_connection_ends(void **state)
{
    struct ends *ends = *state;

    close(ends->listener);
    close_ends(ends);
    assert_true(dial(ends));
    expect_end(ends->client);
    ends->broker = dup(ends->client);
    ends->listener = dup(ends->client);
}

#define PROXY_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PROXY_TEST(bytes_go_both_ways_and_an_end_follows_them),
        PROXY_TEST(much_waits_for_who_reads_late),
        PROXY_TEST(a_reset_reaches_both_ends),
        PROXY_TEST(who_is_refused_may_come_later),
        PROXY_TEST(a_deaf_connection_stays_open_and_a_new_one_works),
        PROXY_TEST(one_way_may_be_deaf_alone),
        PROXY_TEST(what_is_held_comes_later),
        PROXY_TEST(garbage_comes_between),
        PROXY_TEST(what_is_delayed_keeps_its_order),
        PROXY_TEST(without_a_broker_the_connection_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
