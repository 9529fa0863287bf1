/* SPDX-License-Identifier: MIT */
/* What is particular to NATS: who may come, TLS, what the server refuses, subjects, and servers
 * that say nothing or nonsense. What every bus must do is in bus_nats (suite_on_broker.c). */
#include "test/broker.h"

#include <dirent.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bus/buffer.h"
#include "bus/log.h"
#include "test/certificate.h"
#include "test/executor.h"
#include "test/listener.h"
#include "test/logbook.h"
#include "test/nkey.h"
#include "test/proxy.h"

#define MANY 10000
#define LARGE (512 * 1024)

struct fixture {
    broker_t *broker;
    proxy_t *proxy;
    hub_bus_t *bus;
    hub_bus_t *far;
    test_executor_t loop;
    int completions;
    hub_publish_result_t result;
};

static struct fixture fixture;
static logbook_t logbook;

static bool was_logged(void *arg)
{
    return logbook_has(&logbook, arg);
}

/* ---- the fixture ---- */

static int set_up(void **state)
{
    fixture = (struct fixture){0};
    test_executor_init(&fixture.loop, 0);
    logbook_open(&logbook);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    hub_bus_destroy(fixture.bus);
    hub_bus_destroy(fixture.far);
    test_executor_end(&fixture.loop);
    proxy_stop(fixture.proxy);
    broker_stop(fixture.broker);
    certificate_forget();
    logbook_close(&logbook);
    return 0;
}

/* `config` is one text; NULL: none. None of this needs JetStream. */
static void start(const char *config)
{
    const char *lines[] = {config, NULL};

    broker_need(BROKER_NATS);
    fixture.broker = broker_start(BROKER_NATS, &(broker_options_t){.config = lines, .bare = true});
    assert_non_null(fixture.broker);
}

static hub_bus_t *open_url(const char *url)
{
    hub_error_t error = {0};
    hub_bus_t *bus = NULL;

    if (hub_bus_open(url, NULL, &bus, &error) != HUB_OK)
        fail_msg("%s: %s", url, error.text);
    return bus;
}

/* `before` and `behind` the host and the port of the broker, or of `port`. */
static hub_bus_t *open_at(unsigned port, const char *before, const char *behind)
{
    char url[1024];

    snprintf(url, sizeof(url), "%s%s:%u%s", before,
             strstr(before, "tls") != NULL ? "localhost" : "127.0.0.1", port, behind);
    return open_url(url);
}

static hub_bus_t *open_bus(const char *before, const char *behind)
{
    return open_at(broker_port(fixture.broker), before, behind);
}

static bool is_healthy(void *arg)
{
    hub_bus_stats_t stats;

    hub_bus_get_stats(arg, &stats);
    return stats.healthy;
}

static void await(bool (*holds)(void *arg), const void *arg)
{
    union {
        const void *in;
        void *out;
    } cast = {.in = arg};

    if (!test_executor_run_until(&fixture.loop, holds, cast.out))
        fail_msg("it did not come to pass; the log says: %s", logbook_last_words(&logbook));
}

static void open_both(void)
{
    char url[64];

    snprintf(url, sizeof(url), "nats://");
    fixture.bus = open_bus(url, "");
    fixture.far = open_bus(url, "");
    await(is_healthy, fixture.bus);
    await(is_healthy, fixture.far);
    assert_int_equal(hub_bus_attach(fixture.bus, &fixture.loop.base), HUB_OK);
    assert_int_equal(hub_bus_attach(fixture.far, &fixture.loop.base), HUB_OK);
}

static void detach(void)
{
    hub_bus_detach(fixture.bus, &fixture.loop.base);
    hub_bus_detach(fixture.far, &fixture.loop.base);
}

static bool has_heard_one(void *arg)
{
    const listener_t *listener = arg;

    return listener->messages > 0;
}

static bool has_heard_anything(void *arg)
{
    return *listener_heard(arg) != '\0';
}

static void on_published(const hub_publish_result_t *result, void *user)
{
    (void)user;
    fixture.result = *result;
    fixture.completions++;
}

static bool is_complete(void *arg)
{
    (void)arg;
    return fixture.completions > 0;
}

/* The status of the completion. */
static hub_status_t publish(hub_bus_t *bus, const char *topic, const char *json)
{
    hub_bus_publish_options_t options = {.on_published = on_published,
                                         .executor = &fixture.loop.base};

    fixture.completions = 0;
    assert_int_equal(try_say(bus, topic, json, &options), HUB_OK);
    await(is_complete, NULL);
    return fixture.result.status;
}

/* ---- URLs ---- */

static void assert_refused(const char *url, const char *what)
{
    hub_error_t error = {0};
    hub_bus_t *bus = NULL;

    if (hub_bus_open(url, NULL, &bus, &error) != HUB_EINVAL)
        fail_msg("%s was opened", url);
    if (strstr(error.text, what) == NULL || strstr(error.text, "s3cret") != NULL)
        fail_msg("%s: %s", url, error.text);
}

static void an_option_that_does_not_fit_is_named(void **state)
{
    (void)state;
    assert_refused("nats://u:s3cret@h?frobnicate=1", "frobnicate");
    assert_refused("nats://u:s3cret@h/path", "path");
    assert_refused("nats://u:s3cret@h?tls_verify=no", "tls_verify");
    assert_refused("nats+tls://u:s3cret@h?tls_verify=maybe", "tls_verify");
    assert_refused("nats+tls://u:s3cret@h?tls_ca=/nowhere.pem", "/nowhere.pem");
    assert_refused("nats+tls://u:s3cret@h?tls_ca=/dev/null", "tls_ca");
    assert_refused("nats+tls://u:s3cret@h?tls_key=/dev/null", "tls_cert");
    assert_refused("nats://u:s3cret@h?connect_timeout_ms=0", "connect_timeout_ms");
    assert_refused("nats://u:s3cret@h?connect_timeout_ms=1s", "connect_timeout_ms");
    assert_refused("nats://h?nkey=UABC", "nkey_seed");
    assert_refused("nats://h?creds=/nowhere.creds", "creds");
    assert_refused("nats://u:s3cret@h?creds=/dev/null", "only one of them");
    assert_refused("nats://:s3cret@h", "user");
    assert_refused("nats:", "host");
}

/* ---- who may come ---- */

static void assert_only(const char *right, const char *wrong, const char *secret)
{
    fixture.bus = open_bus(right, "");
    await(is_healthy, fixture.bus);
    fixture.far = open_bus(wrong, "");
    await(was_logged, "Authorization Violation");
    assert_false(is_healthy(fixture.far));
    assert_false(logbook_has(&logbook, secret));
}

static void a_password_is_asked_for_and_never_logged(void **state)
{
    (void)state;
    start("authorization { user: hub, password: \"s3cret\" }\n");
    assert_only("nats://hub:s3cret@", "nats://hub:s3cretive@", "s3cret");
}

/* Within CONNECT they stand in JSON. */
static void quotes_in_a_password_are_part_of_it(void **state)
{
    (void)state;
    start("authorization { user: \"h\\\\u\", password: \"a\\\"b\\\\c,{}\" }\n");
    assert_only("nats://h%5Cu:a%22b%5Cc%2C%7B%7D@", "nats://h%5Cu:a%22%2C%22b@", "a\\\"b");
}

static void a_user_alone_is_a_token(void **state)
{
    (void)state;
    start("authorization { token: \"t0ken\" }\n");
    assert_only("nats://t0ken@", "nats://t0kens@", "t0ken");
}

static void an_nkey_signs_what_the_server_asks(void **state)
{
    nkey_t user = nkey_make('U');
    char text[256];

    (void)state;
    snprintf(text, sizeof(text), "authorization { users: [ { nkey: %s } ] }\n", user.name);
    start(text);
    snprintf(text, sizeof(text), "?nkey=%s&nkey_seed=%s", user.name,
             certificate_write("user.nk", user.seed));
    fixture.bus = open_bus("nats://", text);
    await(is_healthy, fixture.bus);
    fixture.far = open_bus("nats://", "");
    await(was_logged, "Authorization Violation");
    assert_false(logbook_has(&logbook, user.seed));
    nkey_free(&user);
}

static void start_with_accounts(const nkey_t *account)
{
    nkey_t operator= nkey_make('O');
    char *operator_token = nkey_certify(&operator, & operator, "\"type\":\"operator\"");
    char *account_token = nkey_certify(
        &operator, account,
        "\"type\":\"account\",\"limits\":{\"subs\":-1,\"data\":-1,\"payload\":-1,\"imports\":-1,"
        "\"exports\":-1,\"wildcards\":true,\"conn\":-1,\"leaf\":-1}");
    hub__buffer_t config = {0};

    hub__buffer_printf(&config, "operator: %s\nresolver: MEMORY\nresolver_preload: { %s: %s }\n",
                       operator_token, account->name, account_token);
    start(config.base);
    hub__buffer_dispose(&config);
    free(operator_token);
    free(account_token);
    nkey_free(&operator);
}

static void credentials_open_the_account_that_they_are_of(void **state)
{
    nkey_t account = nkey_make('A'), user = nkey_make('U');
    char *token =
        nkey_certify(&account, &user, "\"type\":\"user\",\"subs\":-1,\"data\":-1,\"payload\":-1");
    char text[2048], behind[256];

    (void)state;
    start_with_accounts(&account);
    snprintf(text, sizeof(text),
             "-----BEGIN NATS USER JWT-----\n%s\n------END NATS USER JWT------\n\n"
             "-----BEGIN USER NKEY SEED-----\n%s\n------END USER NKEY SEED------\n",
             token, user.seed);
    snprintf(behind, sizeof(behind), "?creds=%s", certificate_write("user.creds", text));
    fixture.bus = open_bus("nats://", behind);
    await(is_healthy, fixture.bus);
    assert_false(logbook_has(&logbook, token));
    assert_false(logbook_has(&logbook, user.seed));
    free(token);
    nkey_free(&user);
    nkey_free(&account);
}

/* ---- TLS ---- */

static void start_tls(const certificate_t *certificate, const char *more)
{
    char config[1024];

    snprintf(config, sizeof(config), "tls { cert_file: \"%s\", key_file: \"%s\" %s }\n",
             certificate->certificate_file, certificate->key_file, more);
    start(config);
}

static hub_bus_t *open_trusting(const certificate_t *certificate, const char *more)
{
    char behind[1024];

    snprintf(behind, sizeof(behind), "?tls_ca=%s%s", certificate->certificate_file, more);
    return open_bus("nats+tls://", behind);
}

static void tls_reaches_only_the_server_that_is_trusted(void **state)
{
    certificate_t right = certificate_make("localhost", 30, NULL);
    certificate_t other = certificate_make("localhost", 30, NULL);

    (void)state;
    start_tls(&right, "");
    fixture.bus = open_trusting(&right, "");
    await(is_healthy, fixture.bus);
    fixture.far = open_trusting(&other, "");
    await(was_logged, "SSL");
    assert_false(is_healthy(fixture.far));
}

static void tls_asks_for_the_name_of_the_server(void **state)
{
    certificate_t other = certificate_make("elsewhere.example", 30, NULL);

    (void)state;
    start_tls(&other, "");
    fixture.bus = open_trusting(&other, "");
    await(was_logged, "SSL");
    assert_false(is_healthy(fixture.bus));
    fixture.far = open_trusting(&other, "&tls_verify=no");
    await(is_healthy, fixture.far);
}

static void tls_shows_a_certificate_of_its_own(void **state)
{
    certificate_t server = certificate_make("localhost", 30, NULL);
    certificate_t client = certificate_make("localhost", 30, NULL);
    char more[1024];

    (void)state;
    snprintf(more, sizeof(more), ", ca_file: \"%s\", verify: true", client.certificate_file);
    start_tls(&server, more);
    snprintf(more, sizeof(more), "&tls_cert=%s&tls_key=%s", client.certificate_file,
             client.key_file);
    fixture.bus = open_trusting(&server, more);
    await(is_healthy, fixture.bus);
    fixture.far = open_trusting(&server, "");
    await(was_logged, "bus.failed");
    assert_false(is_healthy(fixture.far));
}

static void a_server_without_tls_is_not_spoken_to_in_the_clear(void **state)
{
    (void)state;
    start("authorization { token: \"t0ken\" }\n");
    fixture.bus = open_bus("nats+tls://t0ken@", "");
    await(was_logged, "bus.failed");
    assert_false(is_healthy(fixture.bus));
}

static void large_messages_travel_by_tls(void **state)
{
    certificate_t server = certificate_make("localhost", 30, NULL);
    char *json = malloc(LARGE + 1);
    listener_t listener = {0};

    (void)state;
    start_tls(&server, "");
    fixture.bus = open_trusting(&server, "");
    fixture.far = open_trusting(&server, "");
    await(is_healthy, fixture.bus);
    await(is_healthy, fixture.far);
    assert_int_equal(hub_bus_attach(fixture.bus, &fixture.loop.base), HUB_OK);
    assert_int_equal(hub_bus_attach(fixture.far, &fixture.loop.base), HUB_OK);
    memset(json, '1', LARGE);
    json[0] = json[LARGE - 1] = '"';
    json[LARGE] = '\0';
    listener_start(&listener, fixture.bus, "a", &fixture.loop.base);
    assert_int_equal(publish(fixture.bus, "b", "1"), HUB_OK); /* the subscription stands */
    assert_int_equal(publish(fixture.far, "a", json), HUB_OK);
    await(has_heard_one, &listener);
    assert_string_equal(listener_heard(&listener), json);
    listener_stop(&listener);
    detach();
    free(json);
}

/* ---- what the server refuses ---- */

static void a_message_past_the_servers_limit_does_no_harm(void **state)
{
    char *json = malloc(70 * 1024);

    (void)state;
    start("max_payload: 65536\n");
    open_both();
    memset(json, '1', 70 * 1024);
    json[70 * 1024 - 1] = '\0';
    json[0] = json[70 * 1024 - 2] = '"';
    assert_true(hub_bus_largest_message(fixture.bus) < 65536);
    assert_int_equal(try_say(fixture.bus, "a", json, NULL), HUB_ETOOLARGE);
    assert_int_equal(publish(fixture.bus, "a", "1"), HUB_OK);
    assert_false(logbook_has(&logbook, "bus.down"));
    detach();
    free(json);
}

static void what_permissions_forbid_is_told(void **state)
{
    listener_t listener = {0};

    (void)state;
    start("authorization { users: [ { user: hub, password: pw, permissions: {\n"
          "  publish: { deny: [ \"hub.mute\" ] }, subscribe: { deny: [ \"hub.deaf\" ] } } } ] }\n");
    fixture.bus = open_bus("nats://hub:pw@", "");
    await(is_healthy, fixture.bus);
    assert_int_equal(hub_bus_attach(fixture.bus, &fixture.loop.base), HUB_OK);
    assert_int_equal(publish(fixture.bus, "mute", "1"), HUB_EREJECTED);
    assert_int_equal(publish(fixture.bus, "mutes", "1"), HUB_OK);
    listener_start(&listener, fixture.bus, "deaf", &fixture.loop.base);
    await(has_heard_anything, &listener);
    assert_string_equal(listener_heard(&listener), "gap(bus,0)");
    await(was_logged, "Permissions Violation for Subscription");
    assert_int_equal(publish(fixture.bus, "mutes", "1"), HUB_OK);
    assert_false(logbook_has(&logbook, "bus.down"));
    listener_stop(&listener);
    hub_bus_detach(fixture.bus, &fixture.loop.base);
}

#define REFUSED 1000

static void on_rejected(const hub_publish_result_t *result, void *user)
{
    fixture.completions++;
    *(int *)user += result->status == HUB_EREJECTED;
}

static bool are_complete(void *arg)
{
    (void)arg;
    return fixture.completions == REFUSED;
}

/* While the word on those before is still awaited. */
static void each_of_many_forbidden_publishes_is_told(void **state)
{
    int rejected = 0;
    hub_bus_publish_options_t options = {
        .on_published = on_rejected, .executor = &fixture.loop.base, .user = &rejected};

    (void)state;
    start("authorization { users: [ { user: hub, password: pw, permissions: {\n"
          "  publish: { deny: [ \"hub.mute\" ] } } } ] }\n");
    fixture.bus = open_bus("nats://hub:pw@", "");
    await(is_healthy, fixture.bus);
    assert_int_equal(hub_bus_attach(fixture.bus, &fixture.loop.base), HUB_OK);
    for (int i = 0; i < REFUSED; i++)
        assert_int_equal(try_say(fixture.bus, "mute", "1", &options), HUB_OK);
    await(are_complete, NULL);
    assert_int_equal(rejected, REFUSED);
    hub_bus_detach(fixture.bus, &fixture.loop.base);
}

static bool are_refused(void *arg)
{
    hub_bus_stats_t stats;

    (void)arg;
    hub_bus_get_stats(fixture.bus, &stats);
    return stats.topics_refused == REFUSED;
}

static void each_of_many_forbidden_topics_is_told(void **state)
{
    listener_t *listeners = calloc(REFUSED, sizeof(*listeners));
    char topic[32];

    (void)state;
    start("authorization { users: [ { user: hub, password: pw, permissions: {\n"
          "  subscribe: { deny: [ \"hub.*\" ] } } } ] }\n");
    fixture.bus = open_bus("nats://hub:pw@", "");
    await(is_healthy, fixture.bus);
    assert_int_equal(hub_bus_attach(fixture.bus, &fixture.loop.base), HUB_OK);
    for (unsigned i = 0; i < REFUSED; i++) {
        snprintf(topic, sizeof(topic), "room:%u", i);
        listener_start(&listeners[i], fixture.bus, topic, &fixture.loop.base);
    }
    await(are_refused, NULL);
    for (unsigned i = 0; i < REFUSED; i++)
        listener_stop(&listeners[i]);
    hub_bus_detach(fixture.bus, &fixture.loop.base);
    free(listeners);
}

static hub_bus_t *open_as(const char *user, const char *name)
{
    char before[64], behind[64];
    hub_bus_t *bus;

    snprintf(before, sizeof(before), "nats://%s:pw@", user);
    snprintf(behind, sizeof(behind), "?name=%s", name);
    bus = open_bus(before, behind);
    assert_int_equal(hub_bus_attach(bus, &fixture.loop.base), HUB_OK);
    return bus;
}

#define ALL_OF(name)                                                                               \
    "{ user: " name ", password: pw, permissions: {"                                               \
    " publish: \"" name ".>\", subscribe: \"" name ".>\" } }\n"

/* Who has the one can do all with its bus and nothing with another's, where it is never up. */
static void one_rule_keeps_two_applications_apart(void **state)
{
    hub_bus_t *strange;

    (void)state;
    start("authorization { users: [ " ALL_OF("hub") ALL_OF("shop") " ] }\n");
    fixture.bus = open_as("hub", "hub");
    fixture.far = open_as("shop", "shop");
    await(is_healthy, fixture.bus);
    await(is_healthy, fixture.far);
    assert_int_equal(publish(fixture.bus, "room.1 *", "1"), HUB_OK);
    assert_int_equal(publish(fixture.far, "room.1 *", "1"), HUB_OK);
    strange = open_as("shop", "hub");
    await(was_logged, "Permissions Violation for Subscription to \\\"hub.own.");
    assert_int_equal(try_say(strange, "room.1 *", "1", NULL), HUB_EBUSDOWN);
    hub_bus_detach(strange, &fixture.loop.base);
    hub_bus_destroy(strange);
    detach();
}

static bool is_down(void *arg)
{
    return !is_healthy(arg);
}

static void who_is_shut_out_is_down_until_he_is_let_in(void **state)
{
    (void)state;
    broker_need(BROKER_NATS);
    fixture.broker = broker_start(BROKER_NATS, &(broker_options_t){.password = true});
    assert_non_null(fixture.broker);
    fixture.bus = open_url(broker_url(fixture.broker));
    await(is_healthy, fixture.bus);
    assert_true(broker_revoke(fixture.broker));
    await(is_down, fixture.bus);
    await(was_logged, "Authorization Violation");
    assert_false(logbook_has(&logbook, BROKER_PASSWORD));
    assert_true(broker_grant(fixture.broker));
    await(is_healthy, fixture.bus);
}

/* ---- subjects ---- */

static void assert_travels(const char *topic)
{
    listener_t listener = {0};

    listener_start(&listener, fixture.bus, topic, &fixture.loop.base);
    assert_int_equal(publish(fixture.bus, "b", "1"), HUB_OK); /* the subscription stands */
    assert_int_equal(publish(fixture.far, topic, "1"), HUB_OK);
    await(has_heard_one, &listener);
    assert_string_equal(listener_heard(&listener), "1");
    listener_stop(&listener);
}

static void topics_of_any_characters_travel(void **state)
{
    char longest[1025];

    (void)state;
    start(NULL);
    open_both();
    assert_travels("room:42");
    assert_travels("a.b.*.>");
    assert_travels(">");
    assert_travels("with blanks, \"quotes\" and 100 %");
    assert_travels("$SYS.caf\xc3\xa9/\xe2\x82\xac~");
    memset(longest, '.', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    assert_travels(longest);
    detach();
}

static void a_topic_too_long_for_the_server_harms_no_other(void **state)
{
    char longest[1025];
    listener_t listener = {0};

    (void)state;
    start("max_control_line: 1024\n");
    open_both();
    memset(longest, '.', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    listener_start(&listener, fixture.bus, longest, &fixture.loop.base);
    await(was_logged, "bus.topic_refused");
    await(is_healthy, fixture.bus);
    assert_int_equal(publish(fixture.bus, "a", "1"), HUB_OK);
    assert_int_equal(publish(fixture.bus, longest, "1"), HUB_ETOPIC);
    listener_stop(&listener);
    detach();
}

/* ---- servers that are none ---- */

struct sham {
    int listener;
    int conn;
    unsigned port;
};

static struct sham sham_start(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    struct sham sham = {.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), .conn = -1};

    assert_int_equal(bind(sham.listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(sham.listener, 16), 0);
    assert_int_equal(getsockname(sham.listener, (struct sockaddr *)&address, &size), 0);
    sham.port = ntohs(address.sin_port);
    return sham;
}

/* The next connection is greeted like this. */
static void sham_greet(struct sham *sham, const char *text)
{
    if (sham->conn != -1)
        close(sham->conn);
    sham->conn = accept(sham->listener, NULL, NULL);
    assert_true(sham->conn != -1);
    assert_int_equal(send(sham->conn, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void sham_stop(struct sham *sham)
{
    close(sham->conn);
    close(sham->listener);
}

#define INFO                                                                                       \
    "INFO {\"server_id\":\"x\",\"version\":\"2.9.10\",\"max_payload\":1048576,\"proto\":1%s}\r\n"

/* The server's second connection says that the first was given up. */
static void assert_left(const char *greeting)
{
    struct sham sham = sham_start();

    fixture.bus = open_at(sham.port, "nats://", "?connect_timeout_ms=50");
    sham_greet(&sham, greeting);
    sham_greet(&sham, greeting);
    assert_false(is_healthy(fixture.bus));
    sham_stop(&sham);
    hub_bus_destroy(fixture.bus);
    fixture.bus = NULL;
}

static void whoever_is_no_server_is_left_and_asked_again(void **state)
{
    char info[256];

    (void)state;
    assert_left("HTTP/1.1 400 Bad Request\r\n\r\n");
    assert_left("INFO {\"server_id\":[[[[\r\n");
    assert_left("-ERR 'Authorization Violation'\r\n");
    assert_left("INFO"); /* and not a word more */
    snprintf(info, sizeof(info), INFO "MSG a 1 1\r\n", "");
    assert_left(info);
}

static size_t count_threads(void)
{
    DIR *folder = opendir("/proc/self/task");
    size_t count = 0;

    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

static bool has_fewer_threads(void *arg)
{
    return count_threads() < *(size_t *)arg;
}

/* The library's own threads come with the first. */
static void open_and_end_one(void)
{
    fixture.bus = open_at(1, "nats://", "");
    hub_bus_destroy(fixture.bus);
    fixture.bus = NULL;
}

/* Here the library waits without an end, and the bus does not. The thread is gone when the server
 * lets go. */
static void a_handshake_without_an_answer_is_left_behind(void **state)
{
    struct sham sham = sham_start();
    char info[256];
    size_t with_it;

    (void)state;
    open_and_end_one();
    snprintf(info, sizeof(info), INFO, ",\"tls_required\":true");
    fixture.bus = open_at(sham.port, "nats+tls://", "");
    sham_greet(&sham, info);
    hub_bus_destroy(fixture.bus);
    fixture.bus = NULL;
    with_it = count_threads();
    sham_stop(&sham);
    await(has_fewer_threads, &with_it);
    open_and_end_one(); /* it looks how many were left behind: so all that these did is past */
}

static void garbage_ends_the_connection_and_the_next_is_as_good(void **state)
{
    static const char garbage[] = "MSG hub.a 1 zzz\r\nFOO\r\n\0\377";
    listener_t listener = {0};

    (void)state;
    start(NULL);
    fixture.proxy = proxy_start(broker_port(fixture.broker));
    fixture.bus = open_at(proxy_port(fixture.proxy), "nats://", "");
    await(is_healthy, fixture.bus);
    assert_int_equal(hub_bus_attach(fixture.bus, &fixture.loop.base), HUB_OK);
    listener_start(&listener, fixture.bus, "a", &fixture.loop.base);
    assert_int_equal(publish(fixture.bus, "b", "1"), HUB_OK);
    proxy_inject(fixture.proxy, garbage, sizeof(garbage));
    await(has_heard_anything, &listener);
    assert_string_equal(listener_heard(&listener), "gap(bus,0)");
    await(is_healthy, fixture.bus);
    assert_int_equal(publish(fixture.bus, "a", "1"), HUB_OK);
    listener_stop(&listener);
    hub_bus_detach(fixture.bus, &fixture.loop.base);
}

/* ---- a server that stands still ---- */

static void stuff(hub_bus_t *bus, unsigned messages)
{
    char *json = malloc(LARGE + 1);

    memset(json, '1', LARGE);
    json[0] = json[LARGE - 1] = '"';
    json[LARGE] = '\0';
    for (unsigned i = 0; i < messages; i++)
        (void)!try_say(bus, "a", json, NULL);
    free(json);
}

/* It would have to wait for it for ever. */
static void a_server_that_stands_still_does_not_hold_up_the_end(void **state)
{
    (void)state;
    start(NULL);
    fixture.bus = open_bus("nats://", "");
    await(is_healthy, fixture.bus);
    broker_pause(fixture.broker);
    stuff(fixture.bus, 32);
    hub_bus_destroy(fixture.bus);
    fixture.bus = open_bus("nats://", "?connect_timeout_ms=60000");
    hub_bus_destroy(fixture.bus);
    fixture.bus = NULL;
}

static void nor_by_tls(void **state)
{
    certificate_t server = certificate_make("localhost", 30, NULL);

    (void)state;
    start_tls(&server, "");
    fixture.bus = open_trusting(&server, "");
    await(is_healthy, fixture.bus);
    broker_pause(fixture.broker);
    stuff(fixture.bus, 32);
    hub_bus_destroy(fixture.bus);
    fixture.bus = NULL;
}

static bool has_heard_the_last(void *arg)
{
    return strstr(listener_heard(arg), "\"last\"") != NULL;
}

/* More than the library is handed at once, less than the kernel takes. */
static void what_was_published_before_the_end_still_goes_out(void **state)
{
    listener_t listener = {0};

    (void)state;
    start(NULL);
    open_both();
    listener_start(&listener, fixture.far, "a", &fixture.loop.base);
    assert_int_equal(publish(fixture.far, "b", "1"), HUB_OK); /* the subscription stands */
    hub_bus_detach(fixture.bus, &fixture.loop.base);
    stuff(fixture.bus, 3);
    say(fixture.bus, "a", "\"last\"");
    hub_bus_destroy(fixture.bus);
    fixture.bus = NULL;
    await(has_heard_the_last, &listener);
    listener_stop(&listener);
    hub_bus_detach(fixture.far, &fixture.loop.base);
}

/* ---- a node that does not read ---- */

#define CHUNK (60 * 1024)
#define CHUNKS_AT_ONCE 20

struct ear {
    atomic_uint messages;
    atomic_uint gaps;
    atomic_bool holds; /* whoever tells it of a message */
};

static hub_status_t on_held(hub_bus_sub_t *sub, const hub_message_t *msg, hub_bus_ack_t *ack,
                            void *user)
{
    struct ear *ear = user;

    (void)sub, (void)msg, (void)ack;
    atomic_fetch_add(&ear->messages, 1);
    for (int i = 0; i < 2 * TEST_DEADLINE_MS && atomic_load(&ear->holds); i++)
        poll(NULL, 0, 1);
    return HUB_OK;
}

static void on_ear_gap(hub_bus_sub_t *sub, hub_gap_reason_t reason, uint64_t missed, void *user)
{
    (void)sub, (void)missed;
    if (reason == HUB_GAP_BUS)
        atomic_fetch_add(&((struct ear *)user)->gaps, 1);
}

/* Called by the backend's own thread. */
static hub_bus_sub_t *listen_with(struct ear *ear, const char *topic)
{
    hub_bus_sub_options_t options = {.on_message = on_held, .on_gap = on_ear_gap, .user = ear};
    hub_bus_sub_t *sub = NULL;

    assert_int_equal(hub_bus_subscribe(fixture.bus, hub_str(topic), &options, &sub), HUB_OK);
    return sub;
}

static bool has_message(void *arg)
{
    return atomic_load(&((struct ear *)arg)->messages) > 0;
}

static bool has_gap(void *arg)
{
    return atomic_load(&((struct ear *)arg)->gaps) > 0;
}

/* The server's own log; what it has not ended yet gets more to read. */
static bool server_ended_it(void *arg)
{
    char path[300], line[1024];
    bool found = false;
    FILE *file;

    for (int i = 0; i < CHUNKS_AT_ONCE; i++)
        (void)!try_say(fixture.far, "a", arg, NULL);
    snprintf(path, sizeof(path), "%s/log", broker_folder(fixture.broker));
    file = fopen(path, "re");
    assert_non_null(file);
    while (!found && fgets(line, sizeof(line), file) != NULL)
        found = strstr(line, "Slow Consumer Detected") != NULL;
    fclose(file);
    return found;
}

/* What it leaves in its socket grows in the server until that lets go of it. */
static void who_does_not_read_is_ended_by_the_server_and_told(void **state)
{
    static struct ear held, other;
    static char json[CHUNK];
    hub_bus_sub_t *subs[2];
    hub_bus_stats_t stats;

    (void)state;
    memset(json, '1', sizeof(json) - 1);
    json[0] = json[sizeof(json) - 2] = '"';
    start("max_payload: 65536\nmax_pending: 131072\nwrite_deadline: \"100ms\"\n");
    fixture.bus = open_bus("nats://", "?probe_ms=off");
    fixture.far = open_bus("nats://", "");
    await(is_healthy, fixture.bus);
    await(is_healthy, fixture.far);
    assert_int_equal(hub_bus_attach(fixture.bus, &fixture.loop.base), HUB_OK);
    held = (struct ear){.holds = true};
    other = (struct ear){0};
    subs[0] = listen_with(&held, "a");
    subs[1] = listen_with(&other, "b");
    assert_int_equal(publish(fixture.bus, "c", "1"), HUB_OK); /* the subscriptions stand */
    say(fixture.far, "a", "1");
    await(has_message, &held);
    await(server_ended_it, json);
    atomic_store(&held.holds, false);
    await(has_gap, &held);
    await(has_gap, &other);
    say(fixture.far, "b", "1");
    await(has_message, &other);
    hub_bus_get_stats(fixture.bus, &stats);
    assert_int_equal(stats.reconnects, 1);
    assert_int_equal(stats.deaf, 0);
    hub_bus_unsubscribe(subs[0]);
    hub_bus_unsubscribe(subs[1]);
    hub_bus_detach(fixture.bus, &fixture.loop.base);
}

static void many_topics_stand_again_after_a_broken_connection(void **state)
{
    listener_t *listeners = calloc(MANY, sizeof(*listeners));
    char topic[32];

    (void)state;
    start(NULL);
    fixture.proxy = proxy_start(broker_port(fixture.broker));
    fixture.bus = open_at(proxy_port(fixture.proxy), "nats://", "");
    await(is_healthy, fixture.bus);
    assert_int_equal(hub_bus_attach(fixture.bus, &fixture.loop.base), HUB_OK);
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(topic, sizeof(topic), "room:%u", i);
        listener_start(&listeners[i], fixture.bus, topic, &fixture.loop.base);
    }
    assert_int_equal(publish(fixture.bus, "b", "1"), HUB_OK);
    proxy_reset(fixture.proxy);
    await(has_heard_anything, &listeners[MANY - 1]);
    await(is_healthy, fixture.bus);
    for (unsigned i = 0; i < MANY; i++) {
        if (!has_heard_anything(&listeners[i]))
            await(has_heard_anything, &listeners[i]);
        listener_stop(&listeners[i]);
    }
    hub_bus_detach(fixture.bus, &fixture.loop.base);
    free(listeners);
}

/* Who reads the log would look for a broker that is well. */
static void the_end_of_a_bus_is_no_warning(void **state)
{
    (void)state;
    start(NULL);
    fixture.bus = open_bus("nats://", "");
    await(is_healthy, fixture.bus);
    hub_bus_destroy(fixture.bus);
    fixture.bus = NULL;
    assert_true(logbook_has(&logbook, "bus.up"));
    assert_false(logbook_has(&logbook, "bus.down"));
    assert_false(logbook_has(&logbook, "bus.broken"));
}

static void the_reason_is_told_whatever_peers_do(void **state)
{
    (void)state;
    start(NULL);
    fixture.bus = open_bus("nats://", "");
    await(is_healthy, fixture.bus);
    for (int i = 0; i < 1000; i++)
        hub_log_peer(HUB_LOG_INFO, "flood", "by=peers");
    broker_kill(fixture.broker);
    await(was_logged, "bus.broken backend=nats server=\"nats://127.0.0.1:");
    await(was_logged, "bus.failed backend=nats server=\"nats://127.0.0.1:");
}

/* So many attempts have read this file. */
static void await_reads(int watch, size_t reads)
{
    char events[4096];

    while (reads > 0) {
        struct pollfd polled = {.fd = watch, .events = POLLIN};
        ssize_t len;

        assert_int_equal(poll(&polled, 1, TEST_DEADLINE_MS), 1);
        len = read(watch, events, sizeof(events));
        assert_true(len > 0);
        for (ssize_t at = 0; at < len && reads > 0; reads--)
            at += (ssize_t)(sizeof(struct inotify_event) +
                            ((struct inotify_event *)(void *)(events + at))->len);
    }
}

/* Paths are long where deployments are made of many parts. */
static void a_long_reason_is_told_once(void **state)
{
    certificate_t certificate = certificate_make("localhost", 30, NULL);
    char name[200], text[4096];
    const char *path;
    int watch = inotify_init1(IN_CLOEXEC);

    (void)state;
    memset(name, 'a', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    path = certificate_write(name, "");
    certificate_append(path, certificate.certificate_file);
    start_tls(&certificate, "");
    snprintf(text, sizeof(text), "?tls_ca=%s", path);
    fixture.bus = open_bus("nats+tls://", text);
    await(is_healthy, fixture.bus);
    path = certificate_write(name, "no certificate");
    assert_true(inotify_add_watch(watch, path, IN_OPEN) != -1);
    broker_kill(fixture.broker);
    await_reads(watch, 3);
    close(watch);
    assert_int_equal(logbook_count(&logbook, "bus.failed"), 1);
    assert_int_equal(logbook_count(&logbook, "bus.broken"), 1);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(an_option_that_does_not_fit_is_named),
        CASE(the_end_of_a_bus_is_no_warning),
        CASE(a_password_is_asked_for_and_never_logged),
        CASE(quotes_in_a_password_are_part_of_it),
        CASE(a_user_alone_is_a_token),
        CASE(an_nkey_signs_what_the_server_asks),
        CASE(credentials_open_the_account_that_they_are_of),
        CASE(tls_reaches_only_the_server_that_is_trusted),
        CASE(tls_asks_for_the_name_of_the_server),
        CASE(tls_shows_a_certificate_of_its_own),
        CASE(a_server_without_tls_is_not_spoken_to_in_the_clear),
        CASE(large_messages_travel_by_tls),
        CASE(a_message_past_the_servers_limit_does_no_harm),
        CASE(what_permissions_forbid_is_told),
        CASE(each_of_many_forbidden_publishes_is_told),
        CASE(each_of_many_forbidden_topics_is_told),
        CASE(one_rule_keeps_two_applications_apart),
        CASE(who_is_shut_out_is_down_until_he_is_let_in),
        CASE(topics_of_any_characters_travel),
        CASE(a_topic_too_long_for_the_server_harms_no_other),
        CASE(whoever_is_no_server_is_left_and_asked_again),
        CASE(a_handshake_without_an_answer_is_left_behind),
        CASE(garbage_ends_the_connection_and_the_next_is_as_good),
        CASE(a_server_that_stands_still_does_not_hold_up_the_end),
        CASE(nor_by_tls),
        CASE(what_was_published_before_the_end_still_goes_out),
        CASE(who_does_not_read_is_ended_by_the_server_and_told),
        CASE(many_topics_stand_again_after_a_broken_connection),
        CASE(the_reason_is_told_whatever_peers_do),
        CASE(a_long_reason_is_told_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
