/* SPDX-License-Identifier: MIT */
/* Servers under a kernel that interrupts calls, takes and brings less than it could, makes one try
 * again and resets connections: faults_preload.c, in one of ten calls. What arrives is right and in
 * order, and a reset ends its own connection alone. */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "test/certificate.h"
#include "test/client.h"
#include "test/launch.h"

#define MESSAGES 40
#define CLIENTS 8

static launched_t chat;
static char report[64];
static client_t *clients[CLIENTS];

/* ---- the faults ---- */

static void faults_on(const char *rates)
{
    const char *asan = getenv("ASAN_OPTIONS");
    char options[300];

    snprintf(report, sizeof(report), "/tmp/faults-report-%d", (int)getpid());
    snprintf(options, sizeof(options), "%s:verify_asan_link_order=0", asan != NULL ? asan : "");
    setenv("ASAN_OPTIONS", options, 1);
    setenv("FAULTS", rates, 1);
    setenv("FAULTS_REPORT", report, 1);
    setenv("LD_PRELOAD", FAULTS_PRELOAD, 1);
}

static void faults_off(void)
{
    unsetenv("LD_PRELOAD");
}

/* What there was of each kind: interrupted, shortened, tried again, reset. */
static void expect_faults(unsigned counts[4])
{
    FILE *file = fopen(report, "re");

    assert_non_null(file);
    assert_int_equal(fscanf(file, "%u %u %u %u", &counts[0], &counts[1], &counts[2], &counts[3]),
                     4);
    fclose(file);
    for (int i = 0; i < 3; i++)
        assert_true(counts[i] > 0);
}

static int clean_up(void **state)
{
    (void)state;
    faults_off();
    for (size_t i = 0; i != CLIENTS; i++) {
        client_destroy(clients[i]);
        clients[i] = NULL;
    }
    if (chat.pid != 0)
        launched_stop(&chat, SIGKILL);
    unlink(report);
    return 0;
}

static void start_chat(const char *rates)
{
    faults_on(rates);
    launch(&chat, "examples/chat", (const char *const[]){"--port", "0", "--threads", "2", NULL}, 0);
    faults_off();
}

static void start_secure_chat(const char *rates)
{
    certificate_t files = certificate_make("chat", 30, NULL);

    faults_on(rates);
    launch(&chat, "examples/chat",
           (const char *const[]){"--port", "0", "--threads", "2", "--tls-cert",
                                 files.certificate_file, "--tls-key", files.key_file, NULL},
           0);
    faults_off();
    certificate_forget();
}

static void end_chat(unsigned counts[4])
{
    int status = launched_stop(&chat, SIGTERM);

    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    expect_faults(counts);
}

/* ---- without resets: every byte arrives ---- */

/* `context` NULL: without TLS. */
static void converse(SSL_CTX *context)
{
    unsigned counts[4];
    char text[20000], payload[20010];

    memset(text, 'x', sizeof(text));
    for (size_t i = 0; i != CLIENTS; i++) {
        clients[i] = client_connect(chat.address, 0);
        if (context != NULL)
            client_tls(clients[i], context);
        client_send_text(clients[i], client_upgrade_text("/socket", NULL));
        client_expect_upgraded(clients[i]);
        client_join(clients[i], "room:1", "'j'");
    }
    for (int m = 0; m < MESSAGES; m++) {
        int len = 1 + m * m * 12;

        snprintf(payload, sizeof(payload), "'%d%.*s'", m, len, text);
        client_say(clients[0], "room:1", "shout", payload, "'r'");
        for (size_t i = 0; i != CLIENTS; i++)
            client_expect_event(clients[i], "room:1", "shout", payload);
        client_expect_ok(clients[0], "room:1", "'r'", "{}");
    }
    end_chat(counts);
    print_message("interrupted %u, shortened %u, again %u\n", counts[0], counts[1], counts[2]);
}

static void conversations_are_whole_and_in_order(void **state)
{
    (void)state;
    start_chat("seed 1 eintr 100 short 100 again 100");
    converse(NULL);
}

static void so_they_are_over_tls(void **state)
{
    SSL_CTX *context = certificate_client();

    (void)state;
    start_secure_chat("seed 5 eintr 100 short 100 again 100");
    converse(context);
    SSL_CTX_free(context);
}

static void pages_are_whole(void **state)
{
    unsigned counts[4];
    hub_str_t first, body;
    char *page;

    (void)state;
    start_chat("seed 2 eintr 100 short 300 again 100");
    clients[0] = client_connect(chat.address, 0);
    client_request(clients[0], "GET", "/", "");
    first = client_expect_response(clients[0], 200).body;
    page = strndup(first.base, first.len);
    for (int i = 0; i < 20; i++) {
        client_request(clients[0], "GET", "/", "");
        body = client_expect_response(clients[0], 200).body;
        assert_string_equal(body.base, page);
    }
    free(page);
    end_chat(counts);
}

/* ---- with resets ---- */

/* Joins and shouts until the connection breaks or all is said: what comes back is in order, with
 * nothing missing between. */
static int shout_until_reset(const char *topic, int from)
{
    client_t *client = client_try_connect(chat.address);
    client_response_t response;
    client_frame_t frame;
    char wanted[100];
    int heard = 0;

    if (client == NULL)
        return 0;
    client_send_text(client, client_upgrade_text("/socket", NULL));
    if (client_try_response(client, &response) && response.status == 101) {
        client_say(client, topic, "join", "{}", "'j'");
        for (int m = 0; m < MESSAGES; m++) {
            snprintf(wanted, sizeof(wanted), "%d", from + m);
            client_say(client, topic, "shout", wanted, NULL);
        }
        client_close_frame(client, 1000, "");
        if (client_try_next(client, &frame) && frame.first == CLIENT_TEXT)
            assert_non_null(strstr(frame.payload.base, "already_joined"));
        while (client_try_next(client, &frame) && frame.first == CLIENT_TEXT) {
            snprintf(wanted, sizeof(wanted),
                     "{\"topic\":\"%s\",\"event\":\"shout\",\"payload\":%d}", topic, from + heard);
            if (strstr(frame.payload.base, "\"event\":\"shout\"") == NULL)
                continue; /* the answer to a shout */
            assert_string_equal(frame.payload.base, wanted);
            heard++;
        }
    }
    client_destroy(client);
    return heard;
}

static void a_reset_ends_its_own_connection_alone(void **state)
{
    unsigned counts[4];
    int whole = 0, broken = 0;
    char topic[20];

    (void)state;
    start_chat("seed 3 eintr 100 short 100 again 100 reset 20");
    for (int i = 0; i < 120; i++) {
        int heard;

        snprintf(topic, sizeof(topic), "room:%d", i);
        heard = shout_until_reset(topic, i * 1000);
        whole += heard == MESSAGES;
        broken += heard != MESSAGES;
    }
    end_chat(counts);
    print_message("%d whole, %d broken, %u resets\n", whole, broken, counts[3]);
    assert_true(counts[3] > 0);
    assert_true(whole > 0);
    assert_true(broken > 0);
    assert_true((unsigned)broken <= counts[3]);
}

/* ---- everything at once, model-checked ---- */

/* The crowd itself, in the first thread, is spared. */
static void the_stress_test_holds(void **state)
{
    static char text[65536];
    unsigned counts[4];
    int status;

    (void)state;
    faults_on("seed 4 eintr 100 short 100 again 100 main 0");
    status = launch_and_wait(
        "test/stress",
        (const char *const[]){"--seconds", "1", "--part", "crowd", "--seed", "4", NULL}, text,
        sizeof(text));
    faults_off();
    if (status != 0)
        fail_msg("stress ended with %d:\n%s", status, text);
    expect_faults(counts);
    print_message("interrupted %u, shortened %u, again %u\n", counts[0], counts[1], counts[2]);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_teardown(name, clean_up)
    const struct CMUnitTest cases[] = {
        CASE(conversations_are_whole_and_in_order),
        CASE(so_they_are_over_tls),
        CASE(pages_are_whole),
        CASE(a_reset_ends_its_own_connection_alone),
        CASE(the_stress_test_holds),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
