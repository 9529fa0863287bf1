/* SPDX-License-Identifier: MIT */

/* bench/hub_server, which load generators of others talk to: what it prints, what it serves, how it
 * ends, and that it says what is wrong with its command line. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test/client.h"
#include "test/launch.h"

#define SERVER "bench/hub_server"

/* One running server and its clients. */
static struct {
    launched_t server;
    client_t *clients[8];
    size_t client_count;
} program;

#define START(...) launch(&program.server, SERVER, (const char *const[]){__VA_ARGS__, NULL}, 0)
#define RUN(text, ...)                                                                             \
    launch_and_wait(SERVER, (const char *const[]){__VA_ARGS__, NULL}, text, sizeof(text))

static int clean_up(void **state)
{
    (void)state;
    while (program.client_count != 0)
        client_destroy(program.clients[--program.client_count]);
    if (program.server.pid != 0)
        launched_stop(&program.server, SIGKILL);
    return 0;
}

static client_t *keep(client_t *client)
{
    program.clients[program.client_count++] = client;
    return client;
}

static client_t *client_at(const char *target)
{
    return keep(client_open(program.server.address, target, NULL));
}

static const char *body_of(const char *path)
{
    client_t *client = keep(client_connect(program.server.address, 0));

    client_request(client, "GET", path, "");
    return client_expect_response(client, 200).body.base;
}

static void expect_error_naming(const char *option, const char *value)
{
    char text[4096];

    assert_int_equal(RUN(text, option, value), 2);
    assert_non_null(strstr(text, option));
    assert_non_null(strstr(text, value));
}

/* ---- serving ---- */

static void msg_goes_to_all_members_and_is_not_answered(void **state)
{
    client_t *ann, *bob;

    (void)state;
    START("--port", "0");
    ann = client_at("/socket");
    bob = client_at("/socket/websocket");
    client_join(ann, "bench:1", "'1'");
    client_join(bob, "bench:1", "'1'");
    client_say(ann, "bench:1", "msg", "{'n':1}", "'2'");
    client_expect_event(ann, "bench:1", "msg", "{'n':1}");
    client_expect_event(bob, "bench:1", "msg", "{'n':1}");
    client_expect_quiet(ann);
}

static void echo_is_answered_and_none_is_not(void **state)
{
    client_t *client;

    (void)state;
    START("--port", "0");
    client = client_at("/socket");
    client_join(client, "bench:1", "'1'");
    client_say(client, "bench:1", "none", "{'n':1}", "'2'");
    client_say(client, "bench:1", "echo", "{'n':2}", "'3'");
    client_expect_ok(client, "bench:1", "'3'", "{'n':2}");
    client_expect_quiet(client);
}

static void phoenix_2_is_spoken_as_well(void **state)
{
    client_t *client;

    (void)state;
    START("--port", "0", "--threads", "2");
    client = client_at("/socket/websocket?vsn=2.0.0");
    client_json(client, "['1','1','bench:1','phx_join',{}]");
    client_expect_json(client, "['1','1','bench:1','phx_reply',{'status':'ok','response':{}}]");
    client_json(client, "['1','2','bench:1','msg',{'n':1}]");
    client_expect_json(client, "[null,null,'bench:1','msg',{'n':1}]");
}

static void metrics_and_health_are_served(void **state)
{
    (void)state;
    START("--port", "0", "--defaults");
    assert_non_null(strstr(body_of("/metrics"), "sockethub_conns 0\n"));
    assert_string_equal(body_of("/health"), "{\"status\":\"ok\"}");
}

static void long_poll_is_served(void **state)
{
    (void)state;
    START("--port", "0");
    assert_non_null(strstr(body_of("/socket/longpoll?vsn=2.0.0"), "\"status\":410"));
}

static void further_channels_leave_the_first_as_it_is(void **state)
{
    client_t *client;

    (void)state;
    START("--port", "0", "--channels", "9");
    client = client_at("/socket");
    client_join(client, "bench:1", "'1'");
    client_join(client, "other0:1", "'2'");
    client_join(client, "other1:1:2", "'3'");
    client_join(client, "other2:lobby", "'4'");
    client_join(client, "bench:other3:1", "'5'");
    client_join(client, "bench:other7:1", "'6'");
    client_say(client, "other8:1", "join", "{}", "'7'");
    client_expect_error(client, "other8:1", "'7'", "topic_not_found");
}

static void filters_keep_what_is_sent(void **state)
{
    client_t *client;

    (void)state;
    START("--port", "0", "--filter", "all");
    client = client_at("/socket");
    client_join(client, "bench:1", "'1'");
    client_say(client, "bench:1", "msg", "{'n':1}", NULL);
    client_expect_event(client, "bench:1", "msg", "{'n':1}");
}

static void a_limit_can_be_set(void **state)
{
    client_t *client;

    (void)state;
    START("--port", "0", "--topics", "1");
    client = client_at("/socket");
    client_join(client, "bench:1", "'1'");
    client_say(client, "bench:2", "join", "{}", "'2'");
    client_expect_error(client, "bench:2", "'2'", "limit");
}

static void sigterm_ends_it_in_order(void **state)
{
    client_t *client;

    (void)state;
    START("--port", "0");
    client = client_at("/socket");
    client_join(client, "bench:1", "'1'");
    kill(program.server.pid, SIGTERM);
    client_expect_close(client, 1012);
    client_expect_eof(client);
    assert_int_equal(launched_stop(&program.server, 0), 0);
}

static unsigned count_tasks(void)
{
    char path[64];
    unsigned count = 0;
    DIR *tasks;

    snprintf(path, sizeof(path), "/proc/%d/task", (int)program.server.pid);
    tasks = opendir(path);
    assert_non_null(tasks);
    for (const struct dirent *task; (task = readdir(tasks)) != NULL;)
        count += task->d_name[0] != '.';
    closedir(tasks);
    return count;
}

/* Nothing else needs one; with a second thread a sanitizer has one of its own. */
static void the_first_worker_has_no_thread_of_its_own(void **state)
{
    (void)state;
    START("--port", "0");
    client_at("/socket");
    assert_int_equal(count_tasks(), 1);
    assert_int_equal(launched_stop(&program.server, SIGTERM), 0);
    START("--port", "0", "--threads", "3");
    client_at("/socket");
    for (unsigned i = 0; i != 5000 && count_tasks() < 3; ++i)
        poll(NULL, 0, 1); /* a worker may serve before the last one has its thread */
    assert_in_range(count_tasks(), 3, 4);
}

static void sigterm_ends_all_workers(void **state)
{
    (void)state;
    START("--port", "0", "--threads", "3");
    for (unsigned i = 0; i != 6; ++i)
        client_at("/socket");
    kill(program.server.pid, SIGTERM);
    for (unsigned i = 0; i != 6; ++i)
        client_expect_close(program.clients[i], 1012);
    for (unsigned i = 0; i != 6; ++i)
        client_expect_eof(program.clients[i]);
    assert_int_equal(launched_stop(&program.server, 0), 0);
}

/* ---- the command line ---- */

static void help_names_the_options(void **state)
{
    char text[4096];

    (void)state;
    assert_int_equal(RUN(text, "--help"), 0);
    assert_non_null(strstr(text, "--channels"));
}

static void a_bad_option_is_named_with_its_value(void **state)
{
    char text[4096];

    (void)state;
    expect_error_naming("--port", "70000");
    expect_error_naming("--threads", "0");
    expect_error_naming("--filter", "some");
    expect_error_naming("--pin", "99999");
    assert_int_equal(RUN(text, "--bus", "kafka://u:secret@127.0.0.1"), 2);
    assert_non_null(strstr(text, "--bus"));
    assert_non_null(strstr(text, "kafka"));
    assert_null(strstr(text, "secret"));
    assert_int_equal(RUN(text, "--colour"), 2);
    assert_non_null(strstr(text, "--colour"));
    assert_int_equal(RUN(text, "--port", "0", "more"), 2);
    assert_non_null(strstr(text, "more"));
}

/* Who lists processes, or reads results, is not to see a password. */
static void the_url_of_the_bus_may_stand_in_a_file(void **state)
{
    char path[] = "/tmp/wire_bench.XXXXXX", option[sizeof(path) + 1], text[4096];
    FILE *file = fdopen(mkstemp(path), "w");

    (void)state;
    fputs("kafka://u:secret@127.0.0.1\n", file);
    fclose(file);
    snprintf(option, sizeof(option), "@%s", path);
    assert_int_equal(RUN(text, "--bus", option), 2);
    assert_non_null(strstr(text, "kafka"));
    assert_null(strstr(text, "secret"));
    remove(path);
    expect_error_naming("--bus", option);
}

static void messages_are_compressed_on_request(void **state)
{
    client_response_t response;
    client_t *c;

    (void)state;
    START("--port", "0", "--deflate");
    c = program.clients[0] = client_connect(program.server.address, 0);
    client_send_text(c, client_upgrade_text("/socket", "Sec-WebSocket-Extensions: "
                                                       "permessage-deflate\r\n"));
    response = client_expect_response(c, 101);
    assert_non_null(client_header(&response, "Sec-WebSocket-Extensions").base);
}

static void what_the_hub_refuses_is_named_and_status_1(void **state)
{
    char text[4096];

    (void)state;
    assert_int_equal(RUN(text, "--port", "0", "--message-bytes", "99999999999"), 1);
    assert_non_null(strstr(text, "message_bytes"));
    assert_non_null(strstr(text, "99999999999"));
    assert_int_equal(RUN(text, "--host", "nowhere.invalid"), 1);
    assert_non_null(strstr(text, "nowhere.invalid"));
}

/* A server whose address it may not have ends after it has said what differs. */
static void limits_other_than_the_defaults_are_named(void **state)
{
    char text[4096];
    const char *port;

    (void)state;
    START("--port", "0");
    port = strrchr(program.server.address, ':') + 1;
    assert_int_equal(RUN(text, "--port", port, "--topics", "7"), 1);
    assert_non_null(strstr(text, " topics=7 "));
    assert_non_null(strstr(text, " messages_per_s=off "));
    assert_non_null(strstr(text, " connections=off (nofile - 64: "));
    assert_int_equal(RUN(text, "--port", port, "--defaults"), 1);
    assert_non_null(strstr(text, "limits other than the defaults: none\n"));
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test_teardown(msg_goes_to_all_members_and_is_not_answered, clean_up),
        cmocka_unit_test_teardown(echo_is_answered_and_none_is_not, clean_up),
        cmocka_unit_test_teardown(phoenix_2_is_spoken_as_well, clean_up),
        cmocka_unit_test_teardown(metrics_and_health_are_served, clean_up),
        cmocka_unit_test_teardown(long_poll_is_served, clean_up),
        cmocka_unit_test_teardown(further_channels_leave_the_first_as_it_is, clean_up),
        cmocka_unit_test_teardown(filters_keep_what_is_sent, clean_up),
        cmocka_unit_test_teardown(a_limit_can_be_set, clean_up),
        cmocka_unit_test_teardown(sigterm_ends_it_in_order, clean_up),
        cmocka_unit_test_teardown(the_first_worker_has_no_thread_of_its_own, clean_up),
        cmocka_unit_test_teardown(sigterm_ends_all_workers, clean_up),
        cmocka_unit_test_teardown(help_names_the_options, clean_up),
        cmocka_unit_test_teardown(a_bad_option_is_named_with_its_value, clean_up),
        cmocka_unit_test_teardown(the_url_of_the_bus_may_stand_in_a_file, clean_up),
        cmocka_unit_test_teardown(messages_are_compressed_on_request, clean_up),
        cmocka_unit_test_teardown(what_the_hub_refuses_is_named_and_status_1, clean_up),
        cmocka_unit_test_teardown(limits_other_than_the_defaults_are_named, clean_up),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
