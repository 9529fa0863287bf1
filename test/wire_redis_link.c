/* SPDX-License-Identifier: MIT */
/* One connection to Redis against a broker that says anything: this program is the broker, and
 * moves the connection itself, so that every cut of the bytes is where it is meant to be. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bus/buffer.h"
#include "bus/log.h"
#include "bus/redis_link.h"

#define DEADLINE_MS 20000
#define TURNS_MAX 100000
#define PASSWORD "s3cret-of-ours"
#define KIB(n) ((size_t)(n) << 10)
#define MIB(n) ((size_t)(n) << 20)
#define MESSAGE "*3\r\n$7\r\nmessage\r\n$10\r\nhub:room:1\r\n$4\r\n1\r\n2\r\n"

static char bus_name[] = "hub";

struct fixture {
    int listener;
    int broker; /* its end of the connection */
    hub__redis_options_t options;
    hub__redis_link_t link;
    hub__buffer_t heard;
    hub__buffer_t log;
    hub_error_t error;
};

static void write_down(struct fixture *fixture, const redisReply *reply)
{
    if (reply->type == REDIS_REPLY_INTEGER)
        hub__buffer_printf(&fixture->heard, ":%lld ", reply->integer);
    else if (reply->type != REDIS_REPLY_ARRAY)
        hub__buffer_printf(&fixture->heard, "%.*s ", (int)reply->len, reply->str);
    for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i < reply->elements; i++)
        write_down(fixture, reply->element[i]);
}

static bool on_reply(void *user, const redisReply *reply, hub_error_t *error)
{
    (void)error;
    write_down(user, reply);
    return true;
}

static void on_line(hub_log_level_t level, const char *event, const char *text, void *user)
{
    struct fixture *fixture = user;

    (void)level;
    hub__buffer_printf(&fixture->log, "%s %s\n", event, text);
}

static int set_up(void **state)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    fixture->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    fixture->broker = -1;
    assert_int_equal(bind(fixture->listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(fixture->listener, 1), 0);
    assert_int_equal(getsockname(fixture->listener, (struct sockaddr *)&address, &size), 0);
    fixture->options = (hub__redis_options_t){.name = bus_name,
                                              .address = bus_name,
                                              .port = ntohs(address.sin_port),
                                              .max_message_bytes = MIB(8)};
    fixture->link = (hub__redis_link_t){
        .use = "subscriber", .on_reply = on_reply, .user = fixture, .options = &fixture->options};
    hub_log_set(on_line, fixture);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    hub_log_set(NULL, NULL);
    hub__redis_link_close(&fixture->link);
    if (fixture->broker != -1)
        close(fixture->broker);
    close(fixture->listener);
    hub__buffer_dispose(&fixture->heard);
    hub__buffer_dispose(&fixture->log);
    free(fixture);
    return 0;
}

/* ---- the broker and the loop ---- */

/* One turn, once there is something to do. */
static bool move(struct fixture *fixture)
{
    struct pollfd polled = {.fd = hub__redis_link_fd(&fixture->link),
                            .events = hub__redis_link_events(&fixture->link)};

    assert_int_equal(poll(&polled, 1, DEADLINE_MS), 1);
    return hub__redis_link_move(&fixture->link, polled.revents, &fixture->error);
}

/* The broker has it, and has read the greeting. */
static void connect_link(struct fixture *fixture)
{
    char greeting[1024];

    assert_true(hub__redis_link_open(&fixture->link, "127.0.0.1", &fixture->error));
    fixture->broker = accept(fixture->listener, NULL, NULL);
    assert_int_not_equal(fixture->broker, -1);
    assert_true(move(fixture));
    assert_true(recv(fixture->broker, greeting, sizeof(greeting), 0) > 0);
}

static void hang_up(struct fixture *fixture)
{
    hub__redis_link_close(&fixture->link);
    close(fixture->broker);
    fixture->broker = -1;
    hub__buffer_clear(&fixture->heard);
}

/* False: the link ends. */
static bool say_bytes(struct fixture *fixture, const char *bytes, size_t size)
{
    size_t sent = 0;

    while (sent < size) {
        ssize_t n = send(fixture->broker, bytes + sent, size - sent, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n > 0)
            sent += (size_t)n;
        if (!move(fixture))
            return false;
    }
    return true;
}

static bool say(struct fixture *fixture, const char *text)
{
    return say_bytes(fixture, text, strlen(text));
}

static void let_in(struct fixture *fixture)
{
    connect_link(fixture);
    assert_true(say(fixture, fixture->options.password == NULL ? "+OK\r\n+PONG\r\n"
                                                               : "+OK\r\n+OK\r\n+PONG\r\n"));
    assert_true(fixture->link.ready);
}

static void assert_ends(struct fixture *fixture, const char *text, const char *why)
{
    bool stands = say(fixture, text);

    for (int i = 0; i < TURNS_MAX && stands; i++) /* it was not read at once */
        stands = move(fixture);
    assert_false(stands);
    if (strstr(fixture->error.text, why) == NULL)
        fail_msg("ended for \"%s\", not for \"%s\"", fixture->error.text, why);
}

static void assert_no_secret(struct fixture *fixture)
{
    if (strstr(fixture->error.text, PASSWORD) != NULL ||
        (fixture->log.base != NULL && strstr(fixture->log.base, PASSWORD) != NULL))
        fail_msg("the password is in \"%s\" or in %s", fixture->error.text, fixture->log.base);
}

/* ---- answers in pieces ---- */

static void answers_may_be_cut_anywhere(void **state)
{
    static const char all[] =
        "+OK\r\n+PONG\r\n*3\r\n$9\r\nsubscribe\r\n$10\r\nhub:room:1\r\n:1\r\n" MESSAGE ":7\r\n";
    struct fixture *fixture = *state;

    for (size_t at = 1; at < sizeof(all) - 1; at++) {
        connect_link(fixture);
        assert_true(say_bytes(fixture, all, at));
        assert_true(say(fixture, all + at));
        assert_string_equal(fixture->heard.base,
                            "subscribe hub:room:1 :1 message hub:room:1 1\r\n2 :7 ");
        hang_up(fixture);
    }
}

static void answers_may_come_byte_by_byte(void **state)
{
    static const char all[] = "+OK\r\n+PONG\r\n" MESSAGE MESSAGE;
    struct fixture *fixture = *state;

    connect_link(fixture);
    for (size_t at = 0; at < sizeof(all) - 1; at++)
        assert_true(say_bytes(fixture, all + at, 1));
    assert_string_equal(fixture->heard.base,
                        "message hub:room:1 1\r\n2 message hub:room:1 1\r\n2 ");
}

/* ---- answers without measure ---- */

static void a_lone_return_does_not_end_a_line(void **state)
{
    struct fixture *fixture = *state;
    char *line = malloc(KIB(80) + 1);

    memset(line, 'a', KIB(80));
    memcpy(line, "+\r", 2);
    line[KIB(80)] = '\0';
    let_in(fixture);
    assert_ends(fixture, line, "a line without an end");
    free(line);
}

static void an_array_within_another_ends_it_at_once(void **state)
{
    struct fixture *fixture = *state;

    let_in(fixture);
    assert_ends(fixture, "*3\r\n*1\r\n", "an answer of too many parts");
}

static void an_array_of_more_parts_than_any_answer_ends_it_at_once(void **state)
{
    struct fixture *fixture = *state;

    let_in(fixture);
    assert_ends(fixture, "*4\r\n", "an answer of too many parts");
}

/* Each part alone is small enough. */
static void the_parts_of_an_answer_have_one_bound_together(void **state)
{
    struct fixture *fixture = *state;
    char *part = calloc(1, MIB(40) + 1);

    memset(part, 'a', MIB(40));
    memcpy(part + MIB(40) - 2, "\r\n", 2);
    let_in(fixture);
    assert_true(say(fixture, "*3\r\n$41943038\r\n"));
    assert_true(say(fixture, part));
    assert_true(say(fixture, "$41943038\r\n"));
    assert_ends(fixture, part, "an answer that is too large");
    free(part);
}

/* ---- being let in ---- */

static void one_that_can_not_write_to_its_disk_lets_in(void **state)
{
    struct fixture *fixture = *state;

    connect_link(fixture);
    assert_true(say(fixture, "+OK\r\n-MISCONF Redis is configured to save RDB snapshots\r\n"));
    assert_true(fixture->link.ready);
}

static void one_that_loads_lets_in(void **state)
{
    struct fixture *fixture = *state;

    connect_link(fixture);
    assert_true(say(fixture, "+OK\r\n-LOADING Redis is loading the dataset in memory\r\n"));
    assert_true(fixture->link.ready);
}

static void a_replica_without_its_master_does_not_let_in(void **state)
{
    struct fixture *fixture = *state;

    connect_link(fixture);
    assert_ends(fixture, "+OK\r\n-MASTERDOWN Link with MASTER is down\r\n", "PING: MASTERDOWN");
}

static void one_that_is_full_says_so_each_time(void **state)
{
    struct fixture *fixture = *state;

    connect_link(fixture);
    assert_ends(fixture, "-ERR max number of clients reached\r\n", "max number of clients");
    hang_up(fixture);
    connect_link(fixture);
    assert_ends(fixture, "-ERR max number of clients reached\r\n", "max number of clients");
}

/* ---- secrets ---- */

static void a_broker_that_repeats_the_password_is_not_quoted(void **state)
{
    struct fixture *fixture = *state;

    fixture->options.password = (char[]){PASSWORD};
    connect_link(fixture);
    assert_ends(fixture, "-ERR no such " PASSWORD "\r\n", "AUTH: ERR no such ***");
    assert_no_secret(fixture);
    hang_up(fixture);
    connect_link(fixture);
    assert_true(say(fixture, "+OK\r\n-ERR unknown command AUTH " PASSWORD "\r\n+PONG\r\n"));
    assert_no_secret(fixture);
    hang_up(fixture);
    connect_link(fixture);
    assert_ends(fixture, "+OK\r\n+OK\r\n-OTHER " PASSWORD " and " PASSWORD "\r\n",
                "PING: OTHER *** and ***");
    assert_no_secret(fixture);
}

/* Redis cuts what it repeats, so a part of the password may be all that is there. */
static void arguments_that_were_cut_are_not_quoted(void **state)
{
    struct fixture *fixture = *state;

    fixture->options.password = (char[]){PASSWORD};
    connect_link(fixture);
    assert_ends(fixture, "-ERR unknown command 'AUTH', with args beginning with: 's3cret-o\r\n",
                "AUTH: ERR unknown command ");
    assert_null(strstr(fixture->error.text, "s3cret"));
}

#define LINK_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LINK_TEST(answers_may_be_cut_anywhere),
        LINK_TEST(answers_may_come_byte_by_byte),
        LINK_TEST(a_lone_return_does_not_end_a_line),
        LINK_TEST(an_array_within_another_ends_it_at_once),
        LINK_TEST(an_array_of_more_parts_than_any_answer_ends_it_at_once),
        LINK_TEST(the_parts_of_an_answer_have_one_bound_together),
        LINK_TEST(one_that_can_not_write_to_its_disk_lets_in),
        LINK_TEST(one_that_loads_lets_in),
        LINK_TEST(a_replica_without_its_master_does_not_let_in),
        LINK_TEST(one_that_is_full_says_so_each_time),
        LINK_TEST(a_broker_that_repeats_the_password_is_not_quoted),
        LINK_TEST(arguments_that_were_cut_are_not_quoted),
    };

    return cmocka_run_group_tests_name("redis link", tests, NULL, NULL);
}
