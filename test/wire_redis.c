/* SPDX-License-Identifier: MIT */
/* What is particular to the bus on Redis: who may come in, what a broker may refuse, and what one
 * says that is no Redis. What holds for every bus is in bus_suite.c, what goes wrong with a Redis
 * that was a good one in wire_redis_trouble.c. */
#include "test/redis_world.h"

#include <netdb.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>

#include "bus/internal.h"

#define KIB(n) ((size_t)(n) << 10)
#define COMES_IN "+OK\r\n+PONG\r\n" /* to CLIENT SETNAME and PING */

extern int (*hub__lookup_resolve)(const char *host, const char *service,
                                  const struct addrinfo *hints,
                                  struct addrinfo **ret_found); /* lookup.c */

/* ---- URLs ---- */

static void assert_refused(const char *url, const char *expected)
{
    hub_error_t error = {0};
    hub_bus_t *bus = NULL;

    assert_int_equal(hub_bus_open(url, NULL, &bus, &error), HUB_EINVAL);
    assert_null(bus);
    if (strstr(error.text, expected) == NULL || strstr(error.text, BROKER_PASSWORD) != NULL)
        fail_msg("%s: %s", url, error.text);
}

static void an_option_that_does_not_fit_is_named(void **state)
{
    (void)state;
    assert_refused("redis://h?tls=1", "\"tls\": redis has no such option");
    assert_refused("redis://h?max_message_bytes=1023",
                   "max_message_bytes: a number from 1024 to 536870912");
    assert_refused("redis://h?max_message_bytes=536870913", "max_message_bytes");
    assert_refused("redis://h?connect_timeout_ms=0", "connect_timeout_ms: a number from 1 to");
    assert_refused("redis://h?connect_timeout_ms=60001", "connect_timeout_ms");
    assert_refused("redis://h?connect_timeout_ms=1s", "connect_timeout_ms");
    assert_refused("redis://h?db=1", "\"db\"");
    assert_refused("redis://h/chat", "the database behind the host: a number");
    assert_refused("redis://h/-1", "the database");
    assert_refused("redis:", "no host");
    assert_refused("redis://user@h", "wants a password");
    assert_refused("redis+unix://h/a", "a path and no host");
    assert_refused("redis+unix:", "a path and no host");
    assert_refused("redis+unix:/a?db=x", "db: a number");
    assert_refused("redis://:" BROKER_PASSWORD "@h?x=" BROKER_PASSWORD, "\"x\"");
}

static void a_path_is_never_cut(void **state)
{
    char url[160] = "redis+unix:/";

    (void)state;
    memset(url + strlen(url), 'a', 106);
    assert_refused(url, "at most 106 bytes");
}

static void tls_is_refused_with_the_reason(void **state)
{
    (void)state;
    assert_refused("rediss://h", "hiredis has no TLS");
}

static void the_largest_message_is_that_of_the_url(void **state)
{
    struct fixture *fixture = *state;

    start_broker(fixture, false, NULL);
    fixture->bus = redis_open_url(broker_url(fixture->broker), "?max_message_bytes=4096");
    fixture->far = redis_open_url(broker_url(fixture->broker), "");
    assert_in_range(hub_bus_largest_message(fixture->bus), KIB(2), KIB(4));
    assert_in_range(hub_bus_largest_message(fixture->far), KIB(8190), KIB(8192));
}

/* ---- coming in ---- */

static void user_and_password_are_those_of_the_url(void **state)
{
    struct fixture *fixture = *state;

    start_broker(fixture, true, NULL);
    open_pair(fixture);
    assert_admin_has(fixture, "CLIENT LIST TYPE pubsub", "user=" BROKER_USER);
    say(fixture->far, "room:1", "1");
    await_heard(fixture, "1");
}

static void connections_carry_the_name_of_the_bus(void **state)
{
    struct fixture *fixture = *state;

    start_broker(fixture, false, NULL);
    fixture->bus = redis_open_url(broker_url(fixture->broker), "?name=blue");
    listen_to(fixture, "room:1");
    await_healthy(fixture);
    assert_admin_has(fixture, "CLIENT LIST TYPE pubsub", "name=blue");
    assert_admin_has(fixture, "CLIENT LIST TYPE normal", "name=blue");
}

static void a_password_may_come_without_a_user(void **state)
{
    struct fixture *fixture = *state;

    start_broker(fixture, false, NULL);
    redis_admin(fixture, "CONFIG SET requirepass " BROKER_PASSWORD);
    open_as(fixture, ":" BROKER_PASSWORD "@", "");
    await_healthy(fixture);
}

static void a_wrong_password_is_told_and_tried_again(void **state)
{
    struct fixture *fixture = *state;

    start_broker(fixture, true, NULL);
    open_as(fixture, BROKER_USER ":other-" BROKER_PASSWORD "@", "");
    await_log(fixture, "AUTH: WRONGPASS");
    assert_true(redis_is_down(fixture));
    redis_admin(fixture, "ACL SETUSER " BROKER_USER " >other-" BROKER_PASSWORD);
    await_healthy(fixture);
}

/* Which of the two connections hears of it first is anyone's guess. */
static void a_reason_that_both_connections_meet_in_turn_is_one_line(void **state)
{
    static const fake_redis_lines_t lines = {.first = "-WRONGPASS invalid password\r\n",
                                             .in_turn = true};
    struct fixture *fixture = *state;
    char url[64];

    fixture->fake = fake_redis_start(&lines);
    snprintf(url, sizeof(url), "redis://:p@127.0.0.1:%u", fake_redis_port(fixture->fake));
    fixture->bus = redis_open_url(url, "");
    fixture->conns = 7; /* the fourth pair */
    redis_await(fixture, has_conns, "tried again");
    assert_int_equal(logbook_count(&fixture->log, "bus.failed"), 1);
}

static void a_broker_that_wants_a_password_is_told_and_tried_again(void **state)
{
    struct fixture *fixture = *state;

    start_broker(fixture, true, NULL);
    open_as(fixture, "", "");
    await_log(fixture, "NOAUTH");
    redis_admin(fixture, "ACL SETUSER default on nopass &* +@all");
    await_healthy(fixture);
}

static void a_broker_that_knows_no_auth_does_not_bring_the_password_to_light(void **state)
{
    static const fake_redis_lines_t lines = {
        .first = "-ERR unknown command 'AUTH', with args beginning with: '" BROKER_USER
                 "' '" BROKER_PASSWORD "'\r\n"};
    struct fixture *fixture = *state;
    char url[128];

    fixture->fake = fake_redis_start(&lines);
    snprintf(url, sizeof(url), "redis://" BROKER_USER ":" BROKER_PASSWORD "@127.0.0.1:%u",
             fake_redis_port(fixture->fake));
    fixture->bus = redis_open_url(url, "");
    await_log(fixture, "AUTH: "); /* redis_tear_down() looks for the password */
    assert_true(redis_is_down(fixture));
}

static void three_commands_on_the_own_channels_are_enough(void **state)
{
    struct fixture *fixture = *state;

    start_broker(fixture, true, NULL);
    redis_admin(fixture, "ACL SETUSER " BROKER_USER " reset on >" BROKER_PASSWORD
                         " &hub:* &hub/probe/* +publish +subscribe +unsubscribe");
    open_pair(fixture);
    say(fixture->far, "room:1", "1");
    await_heard(fixture, "1");
    await_log(fixture, "command=\"CLIENT SETNAME\" link=subscriber");
}

/* As bus/README.md has it. */
static void the_rule_of_the_manual_is_enough(void **state)
{
    struct fixture *fixture = *state;

    start_broker(fixture, true, NULL);
    redis_admin(fixture, "ACL SETUSER " BROKER_USER " reset");
    redis_admin(fixture,
                "ACL SETUSER " BROKER_USER " on >" BROKER_PASSWORD
                " resetchannels &hub:* &hub/probe/* +subscribe +unsubscribe +publish +ping "
                "+client|setname +select");
    open_pair(fixture);
    say(fixture->far, "room:1", "1");
    await_heard(fixture, "1");
    assert_false(log_has(fixture, "bus.refused"));
}

static void another_program_publishes_with_a_command(void **state)
{
    struct fixture *fixture = *state;

    start_broker(fixture, false, NULL);
    open_pair(fixture);
    redis_admin(fixture, "PUBLISH hub:room:1 "
                         "'{\"event\": \"said\", \"payload\": {\"text\": \"hello\"}}'");
    await_heard(fixture, "{\"text\": \"hello\"}");
    assert_int_equal(redis_stats_of(fixture->bus).remote_plain, 1);
}

static void a_socket_will_do(void **state)
{
    struct fixture *fixture = *state;
    char url[320];

    start_broker(fixture, true, NULL);
    snprintf(url, sizeof(url), "redis+unix:%s/redis.sock?db=3", broker_folder(fixture->broker));
    fixture->bus = redis_open_url(url, "");
    await_log(fixture, "NOAUTH");
    snprintf(url, sizeof(url), "redis+unix://" BROKER_USER ":" BROKER_PASSWORD "@%s/redis.sock",
             broker_folder(fixture->broker));
    fixture->far = redis_open_url(url, "");
    redis_admin(fixture, "ACL SETUSER default on nopass &* +@all");
    await_healthy(fixture);
    assert_admin_has(fixture, "CLIENT LIST", "db=3");
}

static void a_database_is_taken_and_has_no_part_in_it(void **state)
{
    struct fixture *fixture = *state;

    start_broker(fixture, false, NULL);
    open_as(fixture, "", "/3");
    fixture->far = redis_open_url(broker_url(fixture->broker), "");
    await_healthy(fixture);
    listen_to(fixture, "room:1");
    redis_await(fixture, stands, "subscribed");
    assert_admin_has(fixture, "CLIENT LIST TYPE pubsub", "db=3");
    say(fixture->far, "room:1", "1");
    await_heard(fixture, "1");
}

static void a_database_that_is_none_is_told(void **state)
{
    struct fixture *fixture = *state;

    start_broker(fixture, false, NULL);
    open_as(fixture, "", "/99");
    await_log(fixture, "command=\"SELECT\"");
    await_healthy(fixture);
}

/* ---- names ---- */

static sem_t name_server; /* each answer takes one */

static int resolve(const char *host, const char *service, const struct addrinfo *hints,
                   struct addrinfo **ret_found)
{
    sem_wait(&name_server);
    return strcmp(host, "nowhere.example") == 0 ? EAI_NONAME
                                                : getaddrinfo(host, service, hints, ret_found);
}

static bool all_names_are_answered(struct fixture *fixture)
{
    int left = 1;

    (void)fixture;
    sem_getvalue(&name_server, &left);
    return left == 0;
}

static int set_up_names(void **state)
{
    sem_init(&name_server, 0, 0);
    hub__lookup_resolve = resolve;
    return redis_set_up(state);
}

static int tear_down_names(void **state)
{
    int failed = redis_tear_down(state);

    hub__lookup_resolve = getaddrinfo; /* the backend's thread has ended */
    return failed;
}

static void a_name_is_found(void **state)
{
    struct fixture *fixture = *state;
    char url[64];

    sem_post(&name_server);
    start_broker(fixture, false, NULL);
    snprintf(url, sizeof(url), "redis://localhost:%u", broker_port(fixture->broker));
    fixture->bus = redis_open_url(url, "");
    await_healthy(fixture);
}

static void a_name_that_is_none_is_told_and_tried_again(void **state)
{
    struct fixture *fixture = *state;

    sem_post(&name_server);
    sem_post(&name_server);
    fixture->bus = redis_open_url("redis://nowhere.example", "");
    await_log(fixture, "Name or service not known\"");
    redis_await(fixture, all_names_are_answered, "asked again");
}

static void a_silent_name_server_holds_nobody(void **state)
{
    struct fixture *fixture = *state;

    fixture->bus = redis_open_url("redis://nowhere.example", "?connect_timeout_ms=20");
    await_log(fixture, "the name server does not answer\"");
    hub_bus_destroy(fixture->bus); /* returns */
    sem_post(&name_server);        /* one thread has waited all the time */
    fixture->bus = redis_open_url("redis://nowhere.example", "");
    sem_post(&name_server);
    await_log(fixture, "not known");
}

/* ---- refusals ---- */

static void a_channel_that_is_refused_stands_alone_and_is_asked_for_again(void **state)
{
    struct fixture *fixture = *state;

    start_broker(fixture, true, NULL);
    redis_admin(fixture, "ACL SETUSER " BROKER_USER " resetchannels &hub/probe/*");
    open_both(fixture);
    listen_to(fixture, "room:1");
    fixture->refused = 1;
    redis_await(fixture, has_refusals, "refused");
    assert_true(all_are_healthy(fixture));
    await_heard(fixture, "gap(bus,0)");
    redis_admin(fixture, "ACL SETUSER " BROKER_USER " &hub:*");
    await_heard(fixture, "gap(bus,0) gap(bus,0)"); /* it stands */
    say(fixture->far, "room:1", "1");
    await_heard(fixture, "gap(bus,0) gap(bus,0) 1");
    assert_int_equal(redis_stats_of(fixture->bus).topics_refused, 1);
}

static void a_publish_that_is_refused_completes_so(void **state)
{
    struct fixture *fixture = *state;

    start_broker(fixture, true, NULL);
    open_pair(fixture);
    redis_admin(fixture, "ACL SETUSER " BROKER_USER " -publish");
    assert_int_equal(publish_here(fixture, "1"), HUB_OK);
    assert_completed(fixture, HUB_EREJECTED);
    await_log(fixture, "command=PUBLISH error=\"NOPERM");
    assert_true(all_are_healthy(fixture));
}

static void a_user_that_is_shut_out_comes_back(void **state)
{
    struct fixture *fixture = *state;

    start_broker(fixture, true, NULL);
    open_pair(fixture);
    assert_true(broker_revoke(fixture->broker));
    await_log(fixture, "WRONGPASS");
    assert_true(broker_grant(fixture->broker));
    await_healthy(fixture);
    await_heard(fixture, "gap(bus,0)");
    say(fixture->far, "room:1", "1");
    await_heard(fixture, "gap(bus,0) 1");
}

static void the_output_limit_ends_the_connection_which_is_a_gap(void **state)
{
    struct fixture *fixture = *state;
    char *json = malloc(KIB(256) + 3);

    memset(json, 'a', KIB(256));
    json[0] = json[KIB(256)] = '"';
    json[KIB(256) + 1] = '\0';
    start_broker(fixture, false, "client-output-buffer-limit pubsub 64kb 64kb 0");
    open_pair(fixture);
    say(fixture->far, "room:1", json);
    await_log(fixture, "bus.broken");
    await_healthy(fixture);
    say(fixture->far, "room:1", "1");
    await_heard(fixture, "gap(bus,0) gap(lost,1) 1");
    free(json);
}

/* ---- what is no Redis ---- */

/* Each time it ends both connections and makes new ones. */
static void assert_tried_again(struct fixture *fixture, fake_redis_lines_t lines, const char *why)
{
    char url[64];

    fixture->fake = fake_redis_start(&lines);
    snprintf(url, sizeof(url), "redis://127.0.0.1:%u", fake_redis_port(fixture->fake));
    fixture->bus = redis_open_url(url, "?connect_timeout_ms=40");
    listen_to(fixture, "room:1"); /* which is what the second answer is to */
    await_log(fixture, why);
    fixture->conns = 3;
    redis_await(fixture, has_conns, "tried again");
    assert_false(log_has(fixture, "deaf")); /* which is how anything ends that says nothing */
    listener_stop(&fixture->listener);
    hub_bus_detach(fixture->bus, &fixture->loop.base);
    hub_bus_destroy(fixture->bus);
    fixture->bus = NULL;
    fake_redis_stop(fixture->fake);
    fixture->fake = NULL;
    hub__buffer_clear(&fixture->log.lines);
}

static void silence_is_tried_again(void **state)
{
    assert_tried_again(*state, (fake_redis_lines_t){0}, "there is no answer");
}

static void one_that_hangs_up_is_tried_again(void **state)
{
    assert_tried_again(*state, (fake_redis_lines_t){.first = "", .hang_up = true},
                       "Server closed the connection");
}

static void one_that_is_full_is_tried_again(void **state)
{
    assert_tried_again(
        *state,
        (fake_redis_lines_t){.first = "-ERR max number of clients reached\r\n", .hang_up = true},
        "max number of clients");
}

static void garbage_instead_of_a_greeting_is_tried_again(void **state)
{
    assert_tried_again(*state, (fake_redis_lines_t){.first = "HTTP/1.1 400 Bad Request\r\n\r\n"},
                       "Protocol error");
    assert_tried_again(*state, (fake_redis_lines_t){.first = "+OK\r\n:1\r\n"}, "PING: an answer");
    assert_tried_again(*state, (fake_redis_lines_t){.first = "*-1\r\n"}, "an answer that is none");
}

/* What hiredis' own dispatcher ends the process for is among these. */
static void garbage_instead_of_a_subscription_is_tried_again(void **state)
{
    static const struct {
        const char *bytes;
        const char *why;
    } garbage[] = {
        {"*0\r\n", "subscriber: an answer that is none"},
        {"*1\r\n$9\r\nsubscribe\r\n", "subscriber: an answer that is none"},
        {"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
         "subscriber: an answer of too many parts"},
        {"*3\r\n:1\r\n:2\r\n:3\r\n", "subscriber: an answer that is none"},
        {"*3\r\n$9\r\nsubscribe\r\n$3\r\nhub\r\n:1\r\n", "subscriber: an answer to no SUBSCRIBE"},
        {"*3\r\n$9\r\nsubscribe\r\n$-1\r\n:1\r\n", "subscriber: an answer that is none"},
        {"*3\r\n$11\r\nunsubscribe\r\n$10\r\nhub:room:1\r\n:1\r\n",
         "subscriber: an answer to no SUBSCRIBE"},
        {"*3\r\n$9\r\nsubscribe\r\n$10\r\nhub:room:1\r\n$1\r\n1\r\n",
         "subscriber: an answer that is none"},
        {"*2147483647\r\n:1\r\n", "subscriber: an answer of too many parts"},
        {"*9999999999999999999\r\n", "what=\"subscriber: "},
        {"$-2\r\n", "what=\"subscriber: "},
        {"$9999999999999999999\r\n", "what=\"subscriber: "},
        {"+OK\r\n", "subscriber: an answer that is none"},
        {"$-1\r\n", "subscriber: an answer that is none"},
        {"-ERR no\r\n", "subscriber: ERR no"},
        {"?", "subscriber: Protocol error"},
    };

    for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++)
        assert_tried_again(*state,
                           (fake_redis_lines_t){.first = COMES_IN, .second = garbage[i].bytes},
                           garbage[i].why);
}

static void a_line_without_an_end_is_tried_again(void **state)
{
    char *line = malloc(KIB(80) + 1);

    memset(line, '+', KIB(80));
    line[KIB(80)] = '\0';
    assert_tried_again(*state, (fake_redis_lines_t){.first = line}, "a line without an end");
    free(line);
}

/* ---- the end, and the next beginning ---- */

static void what_was_published_before_the_end_is_sent(void **state)
{
    struct fixture *fixture = *state;

    start_broker(fixture, false, NULL);
    open_pair(fixture);
    say(fixture->far, "room:1", "1");
    say(fixture->far, "room:1", "2");
    hub_bus_destroy(fixture->far);
    fixture->far = NULL;
    await_heard(fixture, "1 2");
}

static void a_broker_that_stands_still_holds_nobody(void **state)
{
    struct fixture *fixture = *state;

    start_broker(fixture, false, NULL);
    open_pair(fixture);
    broker_pause(fixture->broker);
    assert_int_equal(publish_here(fixture, "1"), HUB_OK);
    hub__remote_reconnect(fixture->bus);
    redis_await(fixture, redis_is_down, "down");
    assert_completed(fixture, HUB_EUNKNOWN);
    broker_continue(fixture->broker);
    await_healthy(fixture);
    broker_pause(fixture->broker);
    hub_bus_destroy(fixture->far); /* returns */
    fixture->far = NULL;
}

static void a_connection_that_stands_is_thrown_away_when_asked(void **state)
{
    struct fixture *fixture = *state;

    start_broker(fixture, false, NULL);
    open_pair(fixture);
    hub__remote_reconnect(fixture->bus);
    await_heard(fixture, "gap(bus,0)");
    await_healthy(fixture);
    say(fixture->far, "room:1", "1");
    await_heard(fixture, "gap(bus,0) 1");
}

static void one_half_that_ends_ends_both(void **state)
{
    struct fixture *fixture = *state;

    start_broker(fixture, false, NULL);
    open_pair(fixture);
    redis_admin(fixture, "CLIENT KILL TYPE normal SKIPME yes");
    await_log(fixture, "publisher: Server closed the connection");
    await_healthy(fixture);
    redis_admin(fixture, "CLIENT KILL TYPE pubsub");
    await_log(fixture, "subscriber: Server closed the connection");
    await_healthy(fixture);
}

static bool is_refused_again(struct fixture *fixture)
{
    return logbook_count(&fixture->log, "Connection refused") == 2;
}

static void a_reason_is_told_again_behind_a_connection(void **state)
{
    struct fixture *fixture = *state;

    start_broker(fixture, false, NULL);
    broker_kill(fixture->broker);
    fixture->bus = redis_open_url(broker_url(fixture->broker), "");
    await_log(fixture, "Connection refused\" attempt=1");
    assert_true(broker_restart(fixture->broker, true));
    await_healthy(fixture);
    assert_int_equal(logbook_count(&fixture->log, "Connection refused"), 1);
    broker_kill(fixture->broker);
    redis_await(fixture, is_refused_again, "told again");
}

#define NAMES_TEST(test) cmocka_unit_test_setup_teardown(test, set_up_names, tear_down_names)

int main(void)
{
    const struct CMUnitTest tests[] = {
        REDIS_TEST(an_option_that_does_not_fit_is_named),
        REDIS_TEST(a_path_is_never_cut),
        REDIS_TEST(tls_is_refused_with_the_reason),
        REDIS_TEST(the_largest_message_is_that_of_the_url),
        REDIS_TEST(user_and_password_are_those_of_the_url),
        REDIS_TEST(connections_carry_the_name_of_the_bus),
        REDIS_TEST(a_password_may_come_without_a_user),
        REDIS_TEST(a_wrong_password_is_told_and_tried_again),
        REDIS_TEST(a_reason_that_both_connections_meet_in_turn_is_one_line),
        REDIS_TEST(a_broker_that_wants_a_password_is_told_and_tried_again),
        REDIS_TEST(a_broker_that_knows_no_auth_does_not_bring_the_password_to_light),
        REDIS_TEST(three_commands_on_the_own_channels_are_enough),
        REDIS_TEST(the_rule_of_the_manual_is_enough),
        REDIS_TEST(another_program_publishes_with_a_command),
        REDIS_TEST(a_socket_will_do),
        REDIS_TEST(a_database_is_taken_and_has_no_part_in_it),
        REDIS_TEST(a_database_that_is_none_is_told),
        NAMES_TEST(a_name_is_found),
        NAMES_TEST(a_name_that_is_none_is_told_and_tried_again),
        NAMES_TEST(a_silent_name_server_holds_nobody),
        REDIS_TEST(a_channel_that_is_refused_stands_alone_and_is_asked_for_again),
        REDIS_TEST(a_publish_that_is_refused_completes_so),
        REDIS_TEST(a_user_that_is_shut_out_comes_back),
        REDIS_TEST(the_output_limit_ends_the_connection_which_is_a_gap),
        REDIS_TEST(silence_is_tried_again),
        REDIS_TEST(one_that_hangs_up_is_tried_again),
        REDIS_TEST(one_that_is_full_is_tried_again),
        REDIS_TEST(garbage_instead_of_a_greeting_is_tried_again),
        REDIS_TEST(garbage_instead_of_a_subscription_is_tried_again),
        REDIS_TEST(a_line_without_an_end_is_tried_again),
        REDIS_TEST(what_was_published_before_the_end_is_sent),
        REDIS_TEST(a_broker_that_stands_still_holds_nobody),
        REDIS_TEST(a_connection_that_stands_is_thrown_away_when_asked),
        REDIS_TEST(one_half_that_ends_ends_both),
        REDIS_TEST(a_reason_is_told_again_behind_a_connection),
    };

    return cmocka_run_group_tests_name("redis", tests, NULL, NULL);
}
