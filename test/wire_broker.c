/* SPDX-License-Identifier: MIT */
/* The brokers that other tests start: they come, go and come back as those tests want them to. */
#include "test/broker.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test/port.h"

#define QUIET_MS 30
#define DIAL_LIMIT_S 10

/* PostgreSQL's first message of a connection, a bare one; the others take a line. */
static const struct {
    const char *bytes;
    size_t size;
    const char *expected;
} greetings[BROKER_KINDS] = {
    [BROKER_REDIS] = {"PING\r\n", 6, "+PONG"},
    [BROKER_NATS] = {"PING\r\n", 6, "INFO "},
    [BROKER_POSTGRES] = {"\0\0\0\x12\0\3\0\0user\0hub\0\0", 18, "R\0\0\0\x08"},
};

static int greet(broker_t *broker, broker_kind_t kind)
{
    int fd = port_dial(broker_port(broker), DIAL_LIMIT_S);

    assert_true(fd != -1);
    assert_int_equal(send(fd, greetings[kind].bytes, greetings[kind].size, MSG_NOSIGNAL),
                     greetings[kind].size);
    return fd;
}

static void expect_answer(int fd, broker_kind_t kind)
{
    char bytes[5];

    assert_int_equal(recv(fd, bytes, sizeof(bytes), MSG_WAITALL), sizeof(bytes));
    assert_memory_equal(bytes, greetings[kind].expected, sizeof(bytes));
    close(fd);
}

static void expect_service(broker_t *broker, broker_kind_t kind)
{
    expect_answer(greet(broker, kind), kind);
}

static void comes_and_goes(broker_kind_t kind)
{
    broker_t *broker;
    unsigned port;
    char folder[256];

    broker_need(kind);
    broker = broker_start(kind, NULL);
    assert_non_null(broker);
    port = broker_port(broker);
    snprintf(folder, sizeof(folder), "%s", broker_folder(broker));
    expect_service(broker, kind);
    broker_kill(broker);
    assert_int_equal(port_dial(port, DIAL_LIMIT_S), -1);
    assert_true(broker_restart(broker, false));
    assert_int_equal(broker_port(broker), port);
    expect_service(broker, kind);
    assert_true(broker_restart(broker, true));
    expect_service(broker, kind);
    broker_stop(broker);
    assert_int_equal(port_dial(port, DIAL_LIMIT_S), -1);
    assert_int_equal(access(folder, F_OK), -1);
}

static void redis_comes_goes_and_comes_back(void **state)
{
    (void)state;
    comes_and_goes(BROKER_REDIS);
}

static void nats_comes_goes_and_comes_back(void **state)
{
    (void)state;
    comes_and_goes(BROKER_NATS);
}

static void postgres_comes_goes_and_comes_back(void **state)
{
    (void)state;
    comes_and_goes(BROKER_POSTGRES);
}

/* The kernel takes the connection and the greeting, nobody answers. */
static void stands_still(broker_kind_t kind)
{
    broker_t *broker;
    struct pollfd quiet = {.events = POLLIN};

    broker_need(kind);
    broker = broker_start(kind, NULL);
    assert_non_null(broker);
    broker_pause(broker);
    quiet.fd = greet(broker, kind);
    assert_int_equal(poll(&quiet, 1, QUIET_MS), 0);
    broker_continue(broker);
    expect_answer(quiet.fd, kind);
    broker_pause(broker); /* it can be stopped like this, too */
    broker_stop(broker);
}

static void redis_stands_still_and_goes_on(void **state)
{
    (void)state;
    stands_still(BROKER_REDIS);
}

static void nats_stands_still_and_goes_on(void **state)
{
    (void)state;
    stands_still(BROKER_NATS);
}

static void postgres_stands_still_and_goes_on(void **state)
{
    (void)state;
    stands_still(BROKER_POSTGRES);
}

/* What each of them says to the user of its URL. */
static char *redis_login(broker_t *broker)
{
    static const char text[] = "AUTH " BROKER_USER " " BROKER_PASSWORD "\r\n";
    int fd = port_dial(broker_port(broker), DIAL_LIMIT_S);
    char *answer = calloc(1, 256);

    assert_int_equal(send(fd, text, sizeof(text) - 1, MSG_NOSIGNAL), sizeof(text) - 1);
    assert_true(recv(fd, answer, 255, 0) > 0);
    close(fd);
    return answer;
}

static void redis_shuts_its_user_out_and_lets_it_in_again(void **state)
{
    broker_t *broker;
    char *answer;
    int fd;

    (void)state;
    broker_need(BROKER_REDIS);
    broker = broker_start(BROKER_REDIS, &(broker_options_t){.password = true});
    assert_non_null(broker);
    assert_non_null(strstr(broker_url(broker), "redis://hub:s3cret@127.0.0.1:"));
    fd = port_dial(broker_port(broker), DIAL_LIMIT_S);
    answer = redis_login(broker);
    assert_string_equal(answer, "+OK\r\n");
    free(answer);
    assert_true(broker_revoke(broker));
    answer = redis_login(broker);
    assert_int_equal(answer[0], '-');
    free(answer);
    assert_true(broker_grant(broker));
    answer = redis_login(broker);
    assert_string_equal(answer, "+OK\r\n");
    free(answer);
    close(fd);
    broker_stop(broker);
}

static void nats_shuts_its_user_out_and_ends_its_connection(void **state)
{
    static const char text[] = "CONNECT {\"user\":\"" BROKER_USER "\",\"pass\":\"" BROKER_PASSWORD
                               "\",\"verbose\":false}\r\nPING\r\n";
    broker_t *broker;
    char bytes[4096] = "";
    size_t len = 0;
    ssize_t got;
    int fd;

    (void)state;
    broker_need(BROKER_NATS);
    broker = broker_start(BROKER_NATS, &(broker_options_t){.password = true});
    assert_non_null(broker);
    fd = port_dial(broker_port(broker), DIAL_LIMIT_S);
    assert_int_equal(send(fd, text, sizeof(text) - 1, MSG_NOSIGNAL), sizeof(text) - 1);
    while (strstr(bytes, "PONG") == NULL && (got = recv(fd, bytes + len, 4095 - len, 0)) > 0)
        len += (size_t)got;
    assert_non_null(strstr(bytes, "PONG"));
    assert_true(broker_revoke(broker));
    while ((got = recv(fd, bytes, sizeof(bytes), 0)) > 0)
        ; /* until it is closed */
    assert_int_equal(got, 0);
    assert_true(broker_grant(broker));
    close(fd);
    broker_stop(broker);
}

static void postgres_shuts_its_user_out_and_lets_it_in_again(void **state)
{
    broker_t *broker;
    char *answer;

    (void)state;
    broker_need(BROKER_POSTGRES);
    broker = broker_start(BROKER_POSTGRES, &(broker_options_t){.password = true});
    assert_non_null(broker);
    assert_true(broker_revoke(broker));
    answer = broker_ask(broker, "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'hub'");
    assert_string_equal(answer, "f\n");
    free(answer);
    assert_true(broker_grant(broker));
    answer = broker_ask(broker, "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'hub'");
    assert_string_equal(answer, "t\n");
    free(answer);
    broker_stop(broker);
}

static void more_lines_reach_the_configuration(void **state)
{
    static const char *const redis[] = {"client-output-buffer-limit pubsub 1mb 1mb 0", NULL};
    broker_t *broker;
    char *answer;

    (void)state;
    broker_need(BROKER_REDIS);
    broker = broker_start(BROKER_REDIS, &(broker_options_t){.config = redis});
    assert_non_null(broker);
    answer = broker_ask(broker, "CONFIG GET client-output-buffer-limit");
    assert_non_null(strstr(answer, "pubsub 1048576 1048576 0"));
    free(answer);
    broker_stop(broker);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(redis_comes_goes_and_comes_back),
        cmocka_unit_test(nats_comes_goes_and_comes_back),
        cmocka_unit_test(postgres_comes_goes_and_comes_back),
        cmocka_unit_test(redis_stands_still_and_goes_on),
        cmocka_unit_test(nats_stands_still_and_goes_on),
        cmocka_unit_test(postgres_stands_still_and_goes_on),
        cmocka_unit_test(redis_shuts_its_user_out_and_lets_it_in_again),
        cmocka_unit_test(nats_shuts_its_user_out_and_ends_its_connection),
        cmocka_unit_test(postgres_shuts_its_user_out_and_lets_it_in_again),
        cmocka_unit_test(more_lines_reach_the_configuration),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
