/* SPDX-License-Identifier: MIT */

/* The programs of examples/, as a user starts them: what they print, what they answer, how they
 * end, and that one of them outlives a lack of descriptors. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "test/certificate.h"
#include "test/client.h"
#include "test/launch.h"

#define ROOM "{'topic':'room:1','already_joined':false,'replay_supported':false}"

/* One running program; at most one at a time. */
static struct {
    launched_t server;
    client_t *clients[128];
    size_t client_count;
} program;

static void start(const char *name, const char *const *args, rlim_t nofile)
{
    launch(&program.server, name, args, nofile);
}

#define START(name, ...) start(name, (const char *const[]){"--port", "0", __VA_ARGS__}, 0)

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

#define RUN(text, name, ...)                                                                       \
    launch_and_wait(name, (const char *const[]){__VA_ARGS__, NULL}, text, sizeof(text))

/* ---- chat ---- */

static void the_chat_answers_on_the_wire(void **state)
{
    client_t *ann, *bob;

    (void)state;
    START("examples/chat", "--threads", "2", NULL);
    ann = client_at("/socket");
    bob = client_at("/socket/websocket");
    client_say(ann, "room:1", "join", "{}", "'1'");
    client_expect_json(ann,
                       "{'topic':'room:1','event':'reply','payload':{'status':'ok','response':" ROOM
                       "},'ref':'1','join_ref':'1'}");
    client_join(bob, "room:1", "'1'");
    client_say(ann, "room:1", "shout", "{'text':'<b>hi</b>'}", "'2'");
    client_expect_event(ann, "room:1", "shout", "{'text':'<b>hi</b>'}");
    client_expect_ok(ann, "room:1", "'2'", "{}");
    client_expect_event(bob, "room:1", "shout", "{'text':'<b>hi</b>'}");
    client_say(bob, "room:private", "join", "{}", "'3'");
    client_expect_error_detail(bob, "room:private", "'3'", "join_rejected", "{'reason':'private'}");
}

static void the_chat_serves_its_page_metrics_and_health(void **state)
{
    client_t *client;
    client_response_t page;

    (void)state;
    START("examples/chat", NULL);
    client = keep(client_connect(program.server.address, 0));
    client_request(client, "GET", "/", "");
    page = client_expect_response(client, 200);
    assert_non_null(strstr(page.body.base, "<title>"));
    client_request(client, "GET", "/metrics", "");
    assert_non_null(strstr(client_expect_response(client, 200).body.base, "sockethub_conns 0\n"));
    client_request(client, "GET", "/health", "");
    assert_string_equal(client_expect_response(client, 200).body.base, "{\"status\":\"ok\"}");
    client_request(client, "GET", "/alive", "");
    (void)client_expect_response(client, 200);
}

static const char *hello_over_tls(SSL_CTX *context)
{
    static char name[64];
    client_t *c = keep(client_tls(client_connect(program.server.address, 0), context));

    client_send_text(c, client_upgrade_text("/socket", ""));
    client_expect_upgraded(c);
    client_join(c, "room:1", "'1'");
    client_say(c, "room:1", "shout", "'wss'", NULL);
    client_expect_event(c, "room:1", "shout", "'wss'");
    client_expect_ok(c, "room:1", NULL, "{}");
    snprintf(name, sizeof(name), "%s", certificate_name(client_ssl(c)));
    return name;
}

static void the_chat_speaks_tls_and_reads_its_files_again(void **state)
{
    certificate_t files = certificate_make("first", 30, NULL);
    certificate_t second = certificate_make("second", 30, NULL);
    SSL_CTX *context = certificate_client();

    (void)state;
    START("examples/chat", "--tls-cert", files.certificate_file, "--tls-key", files.key_file, NULL);
    assert_string_equal(hello_over_tls(context), "first");
    certificate_replace(&files, &second);
    kill(program.server.pid, SIGHUP);
    for (int i = 0; i < 60 && strcmp(hello_over_tls(context), "second") != 0; i++)
        ; /* each a turn of its loop, at the least */
    assert_string_equal(hello_over_tls(context), "second");
    while (program.client_count != 0)
        client_destroy(program.clients[--program.client_count]);
    assert_int_equal(launched_stop(&program.server, SIGTERM), 0);
    SSL_CTX_free(context);
    certificate_forget();
}

static void tls_files_that_cannot_be_used_are_named(void **state)
{
    certificate_t files = certificate_make("first", 30, NULL);
    certificate_t other = certificate_make("other", 30, NULL);
    char text[4096];

    (void)state;
    assert_int_equal(RUN(text, "examples/chat", "--port", "0", "--tls-cert", files.certificate_file,
                         "--tls-key", other.key_file),
                     1);
    assert_non_null(strstr(text, "--tls-key"));
    assert_non_null(strstr(text, other.key_file));
    assert_non_null(strstr(text, "key values mismatch"));
    certificate_forget();
}

static void the_chat_ends_in_order(void **state)
{
    client_t *client;

    (void)state;
    START("examples/chat", NULL);
    client = client_at("/socket");
    client_join(client, "room:1", "'1'");
    kill(program.server.pid, SIGTERM);
    client_expect_close(client, 1012);
    client_expect_eof(client);
    assert_int_equal(launched_stop(&program.server, 0), 0);
}

/* The threads of a bus are there before the program waits for signals. */
static void a_chat_on_a_broker_ends_in_order_too(void **state)
{
    (void)state;
    START("examples/chat", "--bus", "redis://127.0.0.1:1", NULL);
    assert_int_equal(launched_stop(&program.server, SIGTERM), 0);
}

/* A file with this text; its path is borrowed until the next one. */
static const char *file_with(const char *text)
{
    static char path[64];
    FILE *file;

    snprintf(path, sizeof(path), "/tmp/wire_examples.XXXXXX");
    file = fdopen(mkstemp(path), "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    return path;
}

/* Who lists processes is not to see a password. */
static void the_url_of_the_bus_may_stand_in_a_file(void **state)
{
    const char *path = file_with("memory:?name=aside\n");
    char option[80], text[4096];

    (void)state;
    snprintf(option, sizeof(option), "@%s", path);
    START("examples/chat", "--bus", option, NULL);
    assert_int_equal(launched_stop(&program.server, SIGTERM), 0);
    remove(path);
    assert_int_equal(RUN(text, "examples/chat", "--bus", option), 1);
    assert_non_null(strstr(text, "No such file"));
    assert_non_null(strstr(text, option));
}

static void a_url_that_is_wrong_is_told_without_its_password(void **state)
{
    const char *path = file_with("redis://hub:s3%2Fcret@127.0.0.1:port\n");
    char option[80], text[4096];

    (void)state;
    snprintf(option, sizeof(option), "@%s", path);
    assert_int_equal(RUN(text, "examples/chat", "--bus", option), 1);
    assert_non_null(strstr(text, "--bus"));
    assert_non_null(strstr(text, "a port is a number"));
    assert_null(strstr(text, "cret"));
    remove(path);
}

static void help_is_no_error(void **state)
{
    char text[4096];

    (void)state;
    assert_int_equal(RUN(text, "examples/chat", "--help"), 0);
    assert_non_null(strstr(text, "--threads"));
}

static void a_bad_option_is_named_with_its_value(void **state)
{
    char text[4096];

    (void)state;
    assert_int_equal(RUN(text, "examples/chat", "--port", "70000"), 1);
    assert_non_null(strstr(text, "--port"));
    assert_non_null(strstr(text, "70000"));
    assert_int_equal(RUN(text, "examples/chat", "--colour"), 1);
    assert_non_null(strstr(text, "--colour"));
}

static void a_file_that_cannot_be_read_is_named(void **state)
{
    char text[4096];

    (void)state;
    assert_int_equal(RUN(text, "examples/chat", "--phoenix", "/nowhere/phoenix.mjs"), 1);
    assert_non_null(strstr(text, "--phoenix"));
    assert_non_null(strstr(text, "/nowhere/phoenix.mjs"));
    assert_non_null(strstr(text, "No such file"));
}

static void a_port_in_use_is_named_and_status_1(void **state)
{
    char text[4096];
    const char *port;

    (void)state;
    START("examples/chat", NULL);
    port = strrchr(program.server.address, ':') + 1;
    assert_int_equal(RUN(text, "examples/chat", "--port", port), 1);
    assert_non_null(strstr(text, port));
    assert_non_null(strstr(text, "Address already in use"));
}

/* Opens connections until the program can take no more, and one too many. */
static void exhaust(size_t count)
{
    for (size_t i = 0; i < count; i++)
        keep(client_connect(program.server.address, 0));
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static unsigned long metric(const client_response_t *metrics, const char *name)
{
    char line[128];
    const char *found;

    snprintf(line, sizeof(line), "\nsockethub_%s ", name);
    found = strstr(metrics->body.base, line);
    assert_non_null(found);
    return strtoul(found + strlen(line), NULL, 10);
}

static void the_chat_outlives_a_lack_of_descriptors(void **state)
{
    client_t *early, *late, *watcher;
    client_response_t metrics, refused;
    int64_t began_ms = now_ms();

    (void)state;
    start("examples/chat", (const char *const[]){"--port", "0", NULL}, 80);
    early = client_at("/socket");
    client_join(early, "room:1", "'1'");
    exhaust(100);
    client_say(early, "room:1", "shout", "1", "'2'");
    client_expect_event(early, "room:1", "shout", "1");
    client_expect_ok(early, "room:1", "'2'", "{}");
    refused = client_expect_response(program.clients[program.client_count - 1], 503);
    assert_in_range(client_header(&refused, "Retry-After").base[0], '1', '5');
    while (program.client_count != 1)
        client_destroy(program.clients[--program.client_count]);
    late = client_at("/socket");
    client_join(late, "room:1", "'1'");
    client_say(early, "room:1", "shout", "2", NULL);
    client_expect_event(late, "room:1", "shout", "2");
    watcher = keep(client_connect(program.server.address, 0));
    client_request(watcher, "GET", "/metrics", "");
    metrics = client_expect_response(watcher, 200);
    assert_in_range(metric(&metrics, "accept_refused_total"), 20, 100);
    /* at most one in 100 ms, however many wait */
    assert_in_range(metric(&metrics, "accept_pauses_total"), 1, 2 + (now_ms() - began_ms) / 100);
}

/* The kernel stops threads while it makes the table larger. */
static void the_table_of_descriptors_has_its_size_before_clients_come(void **state)
{
    char path[64], line[128];
    unsigned size = 0;
    FILE *status;

    (void)state;
    start("examples/chat", (const char *const[]){"--port", "0", NULL}, 2048);
    (void)client_at("/socket"); /* then it has started */
    snprintf(path, sizeof(path), "/proc/%d/status", (int)program.server.pid);
    status = fopen(path, "re");
    assert_non_null(status);
    while (fgets(line, sizeof(line), status) != NULL && sscanf(line, "FDSize: %u", &size) != 1)
        continue;
    fclose(status);
    assert_in_range(size, 1900, 8192);
}

/* ---- the others ---- */

static void echo_gives_back_text_as_text_and_binary_as_binary(void **state)
{
    client_t *client;

    (void)state;
    START("examples/echo", "--max-message", "1000", NULL);
    client = client_at("/");
    client_frame(client, 0x81, HUB_STR("text"));
    client_expect_message(client, 0x81, HUB_STR("text"));
    client_frame(client, 0x82, HUB_STR("\1\2\0\3"));
    client_expect_message(client, 0x82, HUB_STR("\1\2\0\3"));
    client_frame(client, 0x82, hub_str_n((const char[1001]){0}, 1001));
    client_expect_close(client, 1009);
}

static void echo_compresses_on_request(void **state)
{
    client_t *client;
    client_frame_t frame;
    char text[1000];

    (void)state;
    START("examples/echo", "--deflate", NULL);
    client = keep(client_open(program.server.address, "/",
                              "Sec-WebSocket-Extensions: permessage-deflate\r\n"));
    client_frame(client, 0xc1, HUB_STR("\xf2\x48\xcd\xc9\xc9\x07\x00"));
    client_expect_message(client, 0x81, HUB_STR("Hello"));
    memset(text, 'x', sizeof(text));
    client_frame(client, 0x81, hub_str_n(text, sizeof(text)));
    frame = client_next(client);
    assert_int_equal(frame.first, 0xc1);
    assert_in_range(frame.payload.len, 1, 20);
}

static void composed_hubs_answer_under_their_prefixes(void **state)
{
    client_t *guest, *admin;

    (void)state;
    START("examples/composed", "--key", "s3cret", NULL);
    guest = client_at("/socket");
    admin = client_at("/socket?key=s3cret");
    client_join(guest, "chat:room:1", "'1'");
    client_say(guest, "admin:room:1", "join", "{}", "'2'");
    client_expect_error_detail(guest, "admin:room:1", "'2'", "join_rejected",
                               "{'reason':'wrong key'}");
    client_join(admin, "admin:room:1", "'1'");
    client_say(admin, "admin:room:1", "announce", "{'text':'tea'}", "'2'");
    client_expect_ok(admin, "admin:room:1", "'2'", "{}");
    client_expect_event(guest, "chat:room:1", "announce", "{'text':'tea'}");
}

static bool is_tick(client_t *client)
{
    hub_str_t text = client_expect_frame(client, 0x81);

    return strstr(text.base, "\"event\":\"tick\"") != NULL;
}

static void publish_ticks_and_answers_later(void **state)
{
    client_t *client;

    (void)state;
    START("examples/publish", NULL);
    client = client_at("/socket");
    client_join(client, "ticker:1", "'1'");
    assert_true(is_tick(client));
    assert_true(is_tick(client));
    client_say(client, "ticker:1", "next", "{}", "'2'");
    while (is_tick(client))
        ; /* until the reply */
    client_say(client, "ticker:1", "primes", "{}", "'3'");
    while (is_tick(client))
        ;
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test_teardown(the_chat_answers_on_the_wire, clean_up),
        cmocka_unit_test_teardown(the_chat_serves_its_page_metrics_and_health, clean_up),
        cmocka_unit_test_teardown(the_chat_speaks_tls_and_reads_its_files_again, clean_up),
        cmocka_unit_test_teardown(tls_files_that_cannot_be_used_are_named, clean_up),
        cmocka_unit_test_teardown(the_chat_ends_in_order, clean_up),
        cmocka_unit_test_teardown(a_chat_on_a_broker_ends_in_order_too, clean_up),
        cmocka_unit_test_teardown(the_url_of_the_bus_may_stand_in_a_file, clean_up),
        cmocka_unit_test_teardown(a_url_that_is_wrong_is_told_without_its_password, clean_up),
        cmocka_unit_test_teardown(help_is_no_error, clean_up),
        cmocka_unit_test_teardown(a_bad_option_is_named_with_its_value, clean_up),
        cmocka_unit_test_teardown(a_file_that_cannot_be_read_is_named, clean_up),
        cmocka_unit_test_teardown(a_port_in_use_is_named_and_status_1, clean_up),
        cmocka_unit_test_teardown(the_chat_outlives_a_lack_of_descriptors, clean_up),
        cmocka_unit_test_teardown(the_table_of_descriptors_has_its_size_before_clients_come,
                                  clean_up),
        cmocka_unit_test_teardown(echo_gives_back_text_as_text_and_binary_as_binary, clean_up),
        cmocka_unit_test_teardown(echo_compresses_on_request, clean_up),
        cmocka_unit_test_teardown(composed_hubs_answer_under_their_prefixes, clean_up),
        cmocka_unit_test_teardown(publish_ticks_and_answers_later, clean_up),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
