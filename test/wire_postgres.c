/* SPDX-License-Identifier: MIT */
/* What is particular to PostgreSQL: its schema and who may use it, notices and the rows behind
 * them, what a server refuses, and how its connections end. What every bus must do is bus_postgres;
 * what networks do to them is faults; what others do in the database is wire_shared_postgres. */
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

#include "bus/log.h"
#include "test/certificate.h"
#include "test/postgres_nodes.h"
#include "test/proxy.h"

#define MANY 3000

/* ---- messages ---- */

static void arrives(struct fixture *fixture, size_t bytes)
{
    char *json = long_string(bytes);

    say(fixture->nodes[1].bus, "room:1", json);
    expect_heard(fixture, 0, json);
    listener_clear(&fixture->nodes[0].heard);
    free(json);
}

static void what_a_notice_could_not_carry_arrives(void **state)
{
    struct fixture *fixture = *state;

    listen_up(fixture, 0, "");
    listen_up(fixture, 1, "");
    arrives(fixture, 7000);
    arrives(fixture, 8000);
    arrives(fixture, 100000);
    arrives(fixture, 2000000);
}

static void the_largest_message_arrives_and_no_larger_one(void **state)
{
    struct fixture *fixture = *state;
    size_t largest;
    char *json;

    listen_up(fixture, 0, "");
    listen_up(fixture, 1, "");
    largest = hub_bus_largest_message(fixture->nodes[1].bus);
    assert_in_range(largest, 8000000, 8388608);
    arrives(fixture, largest);
    json = long_string(8388608);
    assert_int_equal(try_say(fixture->nodes[1].bus, "room:1", json, NULL), HUB_ETOOLARGE);
    free(json);
}

static void equal_messages_of_one_transaction_arrive_each(void **state)
{
    struct fixture *fixture = *state;

    listen_up(fixture, 0, "");
    admin(fixture, "BEGIN; SELECT sockethub.publish_json('hub', 'room:1', 'said', '7');"
                   "SELECT sockethub.publish_json('hub', 'room:1', 'said', '7'); COMMIT;");
    expect_heard(fixture, 0, "7 7");
}

static void psql_publishes_with_one_call(void **state)
{
    struct fixture *fixture = *state;

    listen_up(fixture, 0, "");
    admin(fixture,
          "SELECT sockethub.publish_json('hub', 'room:1', 'said', '{\"a\": \"\xc3\xa9\"}');");
    expect_heard(fixture, 0, "{\"a\": \"\xc3\xa9\"}");
    assert_int_equal(stats_of(fixture, 0).remote_plain, 1);
    admin(fixture, "SELECT sockethub.publish_json('hub', 'room:1', 'said')");
    expect_heard(fixture, 0, "{\"a\": \"\xc3\xa9\"} {}");
}

static void a_transaction_that_is_undone_is_never_heard_of(void **state)
{
    struct fixture *fixture = *state;

    listen_up(fixture, 0, "");
    admin(fixture, "BEGIN; SELECT sockethub.publish_json('hub', 'room:1', 'said', '1'); ROLLBACK;"
                   "SELECT sockethub.publish_json('hub', 'room:1', 'said', '2');");
    expect_heard(fixture, 0, "2");
}

static void thousands_of_one_publisher_arrive_in_order(void **state)
{
    struct fixture *fixture = *state;
    hub__buffer_t expected = {0};
    char json[16];

    listen_up(fixture, 0, "");
    listen_up(fixture, 1, "");
    for (int i = 1; i <= MANY; i++) {
        snprintf(json, sizeof(json), "%d", i);
        say(fixture->nodes[1].bus, "room:1", json);
        hub__buffer_printf(&expected, "%s%s", i == 1 ? "" : " ", json);
    }
    expect_heard(fixture, 0, expected.base);
    assert_int_equal(stats_of(fixture, 0).remote_missing, 0);
    hub__buffer_dispose(&expected);
}

static void what_is_too_large_for_a_node_is_counted_there(void **state)
{
    struct fixture *fixture = *state;
    char *json = long_string(5000);

    listen_up(fixture, 0, "?max_message_bytes=2048");
    listen_up(fixture, 1, "");
    say(fixture->nodes[1].bus, "room:1", json);
    say(fixture->nodes[1].bus, "room:1", "2");
    expect_heard(fixture, 0, "2");
    assert_int_equal(stats_of(fixture, 0).remote_invalid, 1);
    assert_int_equal(try_say(fixture->nodes[0].bus, "room:1", json, NULL), HUB_ETOOLARGE);
    free(json);
}

static bool counted_three(struct fixture *fixture, size_t node)
{
    return stats_of(fixture, node).remote_invalid == 3;
}

static void notices_of_others_are_counted(void **state)
{
    struct fixture *fixture = *state;

    listen_up(fixture, 0, "");
    admin(fixture, "DO $$ DECLARE h text := encode(substr(sha256('hub:room:1'), 1, 8), 'hex');"
                   "c text := 'sockethub_' || substr(h, 1, 2); BEGIN "
                   "PERFORM pg_notify(c, 'junk'), pg_notify(c, '-1 ' || h),"
                   "pg_notify(c, '999999999 ' || h),"          /* no such row */
                   "pg_notify(c, '1 ' || reverse(h)); END $$;" /* another topic */
                   "SELECT sockethub.publish_json('hub', 'room:1', 'said', '1');");
    wait_until(fixture, counted_three, 0);
    expect_heard(fixture, 0, "1");
    expect_logged(fixture, "topic=\"sockethub_");
}

/* ---- what the server refuses ---- */

static void only_what_is_refused_fails(void **state)
{
    struct fixture *fixture = *state;
    hub__buffer_t expected = {0};
    char json[16];

    listen_up(fixture, 0, "");
    listen_up(fixture, 1, "");
    admin(fixture, "ALTER TABLE sockethub.messages ADD CHECK (position('bad'::bytea IN body) = 0)");
    for (int i = 0; i < BATCH; i++) {
        snprintf(json, sizeof(json), i % 10 == 9 ? "\"bad\"" : "%d", i);
        say_and_ask(fixture, 1, json);
        if (i % 10 != 9)
            hub__buffer_printf(&expected, "%s%s%s", i == 0 ? "" : " ",
                               i > 0 && i % 10 == 0 ? "gap(lost,1) " : "", json);
    }
    wait_until(fixture, all_answered, BATCH);
    for (int i = 0; i < BATCH; i++)
        assert_int_equal(fixture->answers[i], i % 10 == 9 ? HUB_EREJECTED : HUB_OK);
    expect_heard(fixture, 0, expected.base);
    expect_logged(fixture,
                  "bus.refused backend=postgres topic=\"hub:room:1\" what=\"publish: 23514");
    assert_true(is_up(fixture, 1));
    assert_int_equal(stats_of(fixture, 1).refused_broker, BATCH / 10);
    hub__buffer_dispose(&expected);
}

/* Its words come with the COMMIT: until then all seemed well. */
static void what_is_refused_at_the_commit_fails_alone(void **state)
{
    struct fixture *fixture = *state;

    listen_up(fixture, 0, "");
    admin(fixture, "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS"
                   " $$ BEGIN RAISE EXCEPTION 'no'; END $$;"
                   "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON sockethub.messages DEFERRABLE"
                   " INITIALLY DEFERRED FOR EACH ROW"
                   " WHEN (position('bad'::bytea IN NEW.body) > 0) EXECUTE FUNCTION no()");
    for (int i = 0; i < 5; i++)
        say_and_ask(fixture, 0, i == 3 ? "\"bad\"" : "1");
    wait_until(fixture, all_answered, 5);
    for (int i = 0; i < 5; i++)
        assert_int_equal(fixture->answers[i], i == 3 ? HUB_EREJECTED : HUB_OK);
    expect_logged(fixture, "what=\"publish: P0001 no");
    assert_true(is_up(fixture, 0));
}

static void a_schema_that_is_dropped_is_made_again(void **state)
{
    struct fixture *fixture = *state;

    listen_up(fixture, 0, "");
    admin(fixture, "DROP SCHEMA sockethub CASCADE");
    say(fixture->nodes[0].bus, "room:1", "1");
    expect_heard(fixture, 0, "1 gap(bus,0)");
    wait_until(fixture, is_up, 0);
    expect_first_answer(fixture, "2", HUB_OK);
    expect_logged(fixture, "3F000");
}

/* ---- the schema and who may use it ---- */

static void nodes_that_start_at_once_make_one_schema(void **state)
{
    struct fixture *fixture = *state;

    for (size_t i = 0; i < NODES; i++)
        open_node(fixture, i, "");
    for (size_t i = 0; i < NODES; i++)
        wait_until(fixture, is_up, i);
    assert_false(has_logged(fixture, "bus.failed"));
    expect_answer(fixture, "SELECT count(*) FROM pg_class WHERE relname = 'messages'", "1\n");
}

/* All of it belongs to somebody else from now on. */
static void take_schema_away(struct fixture *fixture, const char *grants)
{
    listen_up(fixture, NODES - 1, "");
    admin(fixture, "REASSIGN OWNED BY hub TO postgres; ALTER DATABASE hub OWNER TO postgres");
    admin(fixture, "REVOKE CREATE ON DATABASE hub FROM public");
    admin(fixture, grants);
}

static void a_role_that_may_not_create_uses_what_is_there(void **state)
{
    struct fixture *fixture = *state;

    take_schema_away(fixture, "GRANT USAGE ON SCHEMA sockethub TO hub;"
                              "GRANT SELECT, INSERT, DELETE ON sockethub.messages TO hub");
    listen_up(fixture, 0, "");
    expect_first_answer(fixture, "1", HUB_OK);
}

static void a_program_that_only_publishes_needs_little(void **state)
{
    struct fixture *fixture = *state;

    listen_up(fixture, 0, "");
    admin(fixture, "CREATE ROLE guest; GRANT USAGE ON SCHEMA sockethub TO guest;"
                   "GRANT INSERT, SELECT (id) ON sockethub.messages TO guest;"
                   "SET ROLE guest; SELECT sockethub.publish_json('hub', 'room:1', 'said', '1')");
    expect_heard(fixture, 0, "1");
    assert_null(
        broker_admin(fixture->broker, "SET ROLE guest; SELECT body FROM sockethub.messages"));
}

static void a_privilege_that_is_missing_is_named(void **state)
{
    struct fixture *fixture = *state;

    take_schema_away(fixture, "GRANT USAGE ON SCHEMA sockethub TO hub;"
                              "GRANT SELECT ON sockethub.messages TO hub");
    open_node(fixture, 0, "");
    expect_logged(fixture, "wants SELECT and INSERT on sockethub.messages");
    assert_false(is_up(fixture, 0));
    admin(fixture, "GRANT INSERT ON sockethub.messages TO hub");
    wait_until(fixture, is_up, 0);
}

static void a_role_that_may_not_create_says_so(void **state)
{
    struct fixture *fixture = *state;

    admin(fixture, "ALTER DATABASE hub OWNER TO postgres");
    open_node(fixture, 0, "");
    expect_logged(fixture, "42501 permission denied for database hub");
    assert_false(is_up(fixture, 0));
}

static void a_table_of_another_form_is_left_alone(void **state)
{
    struct fixture *fixture = *state;

    admin(fixture,
          "CREATE SCHEMA sockethub AUTHORIZATION hub; SET ROLE hub;"
          "CREATE TABLE sockethub.messages (a int);"
          "CREATE FUNCTION sockethub.publish(text, bytea) RETURNS int LANGUAGE sql"
          " AS 'SELECT 1'; COMMENT ON TABLE sockethub.messages IS 'SocketHub bus, form 2'");
    open_node(fixture, 0, "");
    expect_logged(fixture, "is not of the form that this needs");
}

static void a_database_that_is_read_only_is_no_place(void **state)
{
    struct fixture *fixture = *state;

    admin(fixture, "ALTER DATABASE hub SET default_transaction_read_only = on");
    open_node(fixture, 0, "");
    expect_logged(fixture, "the database is read-only");
    assert_false(is_up(fixture, 0));
}

static void a_database_in_another_encoding_is_no_place(void **state)
{
    struct fixture *fixture = *state;
    char url[256];

    admin(fixture, "CREATE DATABASE latin OWNER hub ENCODING 'LATIN1' TEMPLATE template0");
    snprintf(url, sizeof(url), "postgres://%s:%s@127.0.0.1:%u/latin", BROKER_USER, BROKER_PASSWORD,
             broker_port(fixture->broker));
    open_url(fixture, 0, url);
    expect_logged(fixture, "encoding is neither UTF8 nor SQL_ASCII");
}

static void a_database_without_an_encoding_takes_any_topic(void **state)
{
    static const char topic[] = "r\xc3\xa9sum\xc3\xa9";
    struct fixture *fixture = *state;
    char url[256];

    admin(fixture, "CREATE DATABASE ascii OWNER hub ENCODING 'SQL_ASCII' TEMPLATE template0");
    snprintf(url, sizeof(url), "postgres://%s:%s@127.0.0.1:%u/ascii", BROKER_USER, BROKER_PASSWORD,
             broker_port(fixture->broker));
    open_url(fixture, 0, url);
    open_url(fixture, 1, url);
    listener_start(&fixture->nodes[0].heard, fixture->nodes[0].bus, topic, &fixture->loop.base);
    fixture->nodes[0].listens = true;
    wait_until(fixture, is_up, 0);
    wait_until(fixture, is_up, 1);
    say(fixture->nodes[1].bus, topic, "\"\xe2\x82\xac\"");
    expect_heard(fixture, 0, "\"\xe2\x82\xac\"");
}

/* ---- old rows ---- */

/* Those between are the core's own. */
static bool has_only_the_youngest(struct fixture *fixture, size_t node)
{
    char *answer = broker_admin(fixture->broker,
                                "SELECT count(*) FILTER (WHERE created < now() - interval '1 h'),"
                                " count(*) FILTER (WHERE created > now())"
                                " FROM sockethub.messages");
    bool one = answer != NULL && strcmp(answer, "0|1\n") == 0;

    (void)node;
    free(answer);
    return one;
}

static void old_rows_are_cleared_and_no_others(void **state)
{
    struct fixture *fixture = *state;

    listen_up(fixture, 0, "?keep_seconds=1");
    listen_up(fixture, 1, "?keep_seconds=1");
    admin(fixture, "INSERT INTO sockethub.messages (topic, body, created)"
                   " SELECT 'hub:room:1', '', now() - interval '2 h' FROM generate_series(1, 1200);"
                   "INSERT INTO sockethub.messages (topic, body, created)"
                   " SELECT 'hub:room:1', '', now() + interval '1 hour';");
    wait_until(fixture, has_only_the_youngest, 0);
}

static void a_role_that_may_not_delete_serves_all_the_same(void **state)
{
    struct fixture *fixture = *state;

    take_schema_away(fixture, "GRANT USAGE ON SCHEMA sockethub TO hub;"
                              "GRANT SELECT, INSERT ON sockethub.messages TO hub");
    listen_up(fixture, 0, "?keep_seconds=1");
    expect_first_answer(fixture, "1", HUB_OK);
    expect_logged(fixture, "bus.not_cleared");
}

/* ---- how connections end ---- */

static bool has_gap(struct fixture *fixture, size_t node)
{
    return strstr(listener_heard(&fixture->nodes[node].heard), "gap(bus,0)") != NULL;
}

static void a_session_that_is_terminated_comes_back(void **state)
{
    struct fixture *fixture = *state;

    listen_up(fixture, 0, "");
    listen_up(fixture, 1, "");
    admin(fixture, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                   " WHERE application_name = 'sockethub'");
    wait_until(fixture, has_gap, 0);
    wait_until(fixture, has_gap, 1);
    wait_until(fixture, is_up, 0);
    wait_until(fixture, is_up, 1);
    say(fixture->nodes[1].bus, "room:1", "1");
    expect_heard(fixture, 0, "gap(bus,0) 1");
    expect_logged(fixture, "57P01");
}

static void the_reason_is_told_whatever_peers_do(void **state)
{
    struct fixture *fixture = *state;

    listen_up(fixture, 0, "");
    for (int i = 0; i < 1000; i++)
        hub_log_peer(HUB_LOG_INFO, "flood", "by=peers");
    broker_kill(fixture->broker);
    expect_logged(fixture, "bus.broken backend=postgres");
    expect_logged(fixture, "bus.failed backend=postgres");
}

static void a_wrong_password_is_told_without_it(void **state)
{
    struct fixture *fixture = *state;
    char url[256];

    snprintf(url, sizeof(url), "postgres://%s:hunter2@127.0.0.1:%u/hub", BROKER_USER,
             broker_port(fixture->broker));
    open_url(fixture, 0, url);
    expect_logged(fixture, "28P01");
    assert_false(has_logged(fixture, "hunter2"));
    admin(fixture, "ALTER ROLE hub PASSWORD 'hunter2'");
    wait_until(fixture, is_up, 0);
}

static void a_role_that_is_shut_out_comes_back(void **state)
{
    struct fixture *fixture = *state;

    listen_up(fixture, 0, "");
    assert_true(broker_revoke(fixture->broker));
    wait_until(fixture, is_down, 0);
    assert_int_equal(try_say(fixture->nodes[0].bus, "room:1", "1", NULL), HUB_EBUSDOWN);
    assert_true(broker_grant(fixture->broker));
    wait_until(fixture, is_up, 0);
}

static void a_socket_in_a_folder_will_do(void **state)
{
    struct fixture *fixture = *state;
    const char *folder = broker_folder(fixture->broker);
    hub__buffer_t url = {0};

    hub__buffer_printf(&url, "postgres://postgres@");
    for (; *folder != '\0'; folder++)
        hub__buffer_append(&url, *folder == '/' ? HUB_STR("%2F") : hub_str_n(folder, 1));
    hub__buffer_printf(&url, ":%u/hub", broker_port(fixture->broker));
    open_url(fixture, 0, url.base);
    wait_until(fixture, is_up, 0);
    hub__buffer_dispose(&url);
}

static void a_host_may_be_a_name(void **state)
{
    struct fixture *fixture = *state;
    char url[256];

    snprintf(url, sizeof(url), "postgres://%s:%s@localhost:%u/hub", BROKER_USER, BROKER_PASSWORD,
             broker_port(fixture->broker));
    open_url(fixture, 0, url);
    wait_until(fixture, is_up, 0);
    open_url(fixture, 1, "postgres://hub@host.invalid/hub");
    expect_logged(fixture, "host.invalid");
}

static void assert_open_refused(const char *url, const char *named)
{
    hub_error_t error = {0};
    hub_bus_t *bus = NULL;

    assert_int_equal(hub_bus_open(url, NULL, &bus, &error), HUB_EINVAL);
    if (strstr(error.text, named) == NULL)
        fail_msg("%s: %s", url, error.text);
}

/* By us, not by libpq: nothing ends its wait for a name server. */
static void a_name_from_the_environment_is_looked_up(void **state)
{
    struct fixture *fixture = *state;

    setenv("PGHOST", "host.invalid", 1);
    open_url(fixture, 0, "postgres:///hub");
    expect_logged(fixture, "what=\"host \\\"host.invalid");
    hub_bus_destroy(fixture->nodes[0].bus);
    fixture->nodes[0].bus = NULL;
    unsetenv("PGHOST");
}

static void a_name_from_a_service_file_is_looked_up(void **state)
{
    struct fixture *fixture = *state;
    char path[256];
    FILE *file;

    snprintf(path, sizeof(path), "%s/services", broker_folder(fixture->broker));
    file = fopen(path, "w");
    assert_non_null(file);
    fputs("[away]\nhost=host.invalid\n", file);
    fclose(file);
    setenv("PGSERVICEFILE", path, 1);
    setenv("PGSERVICE", "away", 1);
    open_url(fixture, 0, "postgres:///hub");
    expect_logged(fixture, "what=\"host \\\"host.invalid");
    hub_bus_destroy(fixture->nodes[0].bus);
    fixture->nodes[0].bus = NULL;
    unsetenv("PGSERVICE");
    unsetenv("PGSERVICEFILE");
}

static void of_several_hosts_each_is_an_address(void **state)
{
    struct fixture *fixture = *state;
    char url[256];

    assert_open_refused("postgres://a.example,b.example/hub", "a.example");
    assert_open_refused("postgres://127.0.0.1,b.example/hub", "b.example");
    assert_open_refused("postgres://a.example/hub?hostaddr=127.0.0.1,", "hostaddr");
    snprintf(url, sizeof(url), "postgres://%s:%s@127.0.0.1,127.0.0.2:%u/hub", BROKER_USER,
             BROKER_PASSWORD, broker_port(fixture->broker));
    open_url(fixture, 0, url);
    wait_until(fixture, is_up, 0);
}

static void closing_does_not_wait_for_a_server_that_hangs(void **state)
{
    struct fixture *fixture = *state;

    listen_up(fixture, 0, "");
    broker_pause(fixture->broker);
    say(fixture->nodes[0].bus, "room:1", "1");
    open_node(fixture, 1, ""); /* hangs while it connects */
    listener_stop(&fixture->nodes[0].heard);
    fixture->nodes[0].listens = false;
    for (size_t i = 0; i < 2; i++) {
        hub_bus_destroy(fixture->nodes[i].bus);
        fixture->nodes[i].bus = NULL;
    }
    broker_continue(fixture->broker);
}

static void what_is_no_answer_ends_the_connection(void **state)
{
    static const char junk[] = "HTTP/1.1 400 Bad Request\r\n\r\n";
    struct fixture *fixture = *state;
    proxy_t *proxy = proxy_start(broker_port(fixture->broker));
    char *url = broker_url_at(fixture->broker, proxy_port(proxy));

    open_url(fixture, 0, url);
    wait_until(fixture, is_up, 0);
    proxy_inject(proxy, junk, sizeof(junk) - 1);
    expect_logged(fixture, "lost synchronization with server");
    wait_until(fixture, is_up, 0);
    hub_bus_destroy(fixture->nodes[0].bus);
    fixture->nodes[0].bus = NULL;
    proxy_stop(proxy);
    free(url);
}

struct copier {
    int fd; /* listens */
    unsigned port;
    pthread_t thread;
};

/* Lets everybody in, and answers each question with "now send me the rows of your COPY". */
static void *want_to_copy(void *arg)
{
    static const char welcome[] = "R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I", copy[] = "G\0\0\0\x07\0\0";
    struct copier *copier = arg;
    char question[4096];
    int client;

    while ((client = accept(copier->fd, NULL, NULL)) >= 0) {
        ssize_t got = recv(client, question, sizeof(question), 0);

        if (got > 0)
            send(client, welcome, sizeof(welcome) - 1, MSG_NOSIGNAL);
        while (got > 0 && recv(client, question, sizeof(question), 0) > 0)
            got = send(client, copy, sizeof(copy), MSG_NOSIGNAL);
        close(client);
    }
    return NULL;
}

static void copier_start(struct copier *copier)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);

    copier->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(copier->fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(copier->fd, 8), 0);
    assert_int_equal(getsockname(copier->fd, (struct sockaddr *)&address, &size), 0);
    copier->port = ntohs(address.sin_port);
    assert_int_equal(pthread_create(&copier->thread, NULL, want_to_copy, copier), 0);
}

static void copier_stop(struct copier *copier)
{
    shutdown(copier->fd, SHUT_RDWR);
    pthread_join(copier->thread, NULL);
    close(copier->fd);
}

static void a_server_that_wants_a_copy_holds_nobody(void **state)
{
    struct fixture *fixture = *state;
    struct copier copier;
    char url[100];

    copier_start(&copier);
    snprintf(url, sizeof(url), "postgres://hub@127.0.0.1:%u/hub?sslmode=disable", copier.port);
    open_url(fixture, 0, url);
    expect_logged(fixture, "an answer that fits no question");
    hub_bus_destroy(fixture->nodes[0].bus);
    fixture->nodes[0].bus = NULL;
    copier_stop(&copier);
}

#define PATIENCE_TURNS 50

static void a_subscription_is_ready_when_the_server_has_it(void **state)
{
    struct fixture *fixture = *state;
    proxy_t *proxy = proxy_start(broker_port(fixture->broker));
    char *url = broker_url_at(fixture->broker, proxy_port(proxy));

    open_url(fixture, 0, url);
    wait_until(fixture, is_up, 0);
    proxy_hold(proxy, true);
    listener_start_ready(&fixture->nodes[0].heard, fixture->nodes[0].bus, "room:1",
                         &fixture->loop.base);
    fixture->nodes[0].listens = true;
    for (int i = 0; i < PATIENCE_TURNS; i++) {
        poll(NULL, 0, 1);
        test_executor_turn(&fixture->loop);
        assert_string_equal(listener_heard(&fixture->nodes[0].heard), "");
    }
    proxy_hold(proxy, false);
    expect_heard(fixture, 0, "ready");
    listener_stop(&fixture->nodes[0].heard);
    fixture->nodes[0].listens = false;
    hub_bus_destroy(fixture->nodes[0].bus);
    fixture->nodes[0].bus = NULL;
    proxy_stop(proxy);
    free(url);
}

/* ---- TLS ---- */

/* The server's `file` from ours. It wants a key that nobody else can read. */
static void give_file(struct fixture *fixture, const char *from, const char *file)
{
    hub__buffer_t sql = {0};
    char text[4096];
    FILE *stream = fopen(from, "re");
    size_t len;

    assert_non_null(stream);
    len = fread(text, 1, sizeof(text), stream);
    fclose(stream);
    hub__buffer_printf(&sql,
                       "COPY (SELECT unnest(string_to_array($pem$%.*s$pem$, E'\\n')))"
                       " TO PROGRAM 'umask 077; cat > %s'",
                       (int)len, text, file);
    admin(fixture, sql.base);
    hub__buffer_dispose(&sql);
}

static void tls_is_asked_for_and_the_server_proves_who_it_is(void **state)
{
    struct fixture *fixture = *state;
    certificate_t own = certificate_make("postgres", 10, NULL);
    char params[300];

    give_file(fixture, own.certificate_file, "server.crt");
    give_file(fixture, own.key_file, "server.key");
    open_node(fixture, 0, "?sslmode=require");
    expect_logged(fixture, "server does not support SSL");
    admin(fixture, "ALTER SYSTEM SET ssl = on");
    admin(fixture, "SELECT pg_reload_conf()");
    wait_until(fixture, is_up, 0);
    snprintf(params, sizeof(params), "?sslmode=verify-ca&sslrootcert=%s", own.certificate_file);
    open_node(fixture, 1, params);
    wait_until(fixture, is_up, 1);
    expect_answer(fixture,
                  "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
                  " WHERE ssl AND application_name = 'sockethub'",
                  "4\n");
    certificate_forget();
}

static void a_server_that_is_another_is_refused(void **state)
{
    struct fixture *fixture = *state;
    certificate_t own = certificate_make("postgres", 10, NULL);
    char params[300];

    give_file(fixture, own.certificate_file, "server.crt");
    give_file(fixture, own.key_file, "server.key");
    certificate_forget();
    own = certificate_make("postgres", 10, NULL);
    admin(fixture, "ALTER SYSTEM SET ssl = on");
    admin(fixture, "SELECT pg_reload_conf()");
    snprintf(params, sizeof(params), "?sslmode=verify-ca&sslrootcert=%s", own.certificate_file);
    open_node(fixture, 0, params);
    expect_logged(fixture, "certificate verify failed");
    certificate_forget();
}

/* ---- options; no server is needed ---- */

static void expect_refused(const char *url, const char *text)
{
    hub_bus_t *bus = NULL;
    hub_error_t error = {0};

    assert_int_equal(hub_bus_open(url, NULL, &bus, &error), HUB_EINVAL);
    assert_null(bus);
    if (strstr(error.text, text) == NULL)
        fail_msg("%s, not: %s", error.text, text);
    assert_null(strstr(error.text, "geheim"));
}

static void options_that_do_not_fit_are_named(void **state)
{
    (void)state;
    expect_refused("postgres://hub:geheim@/hub?password=geheim", "\"password\"");
    expect_refused("postgres://hub:geheim@/hub?options=-c", "\"options\"");
    expect_refused("postgres://hub:geheim@/hub?keep_seconds=0", "keep_seconds");
    expect_refused("postgres://hub:geheim@/hub?keep_seconds=1s", "keep_seconds");
    expect_refused("postgres://hub:geheim@/hub?max_message_bytes=100", "max_message_bytes");
    expect_refused("postgres://hub:geheim@/hub?max_message_bytes=1000000000", "max_message_bytes");
    expect_refused("postgres://hub:geheim@/hub?connect_timeout=-1", "connect_timeout");
    expect_refused("postgres://hub:geheim@/hub?sslmode=geheim", "sslmode");
}

#define POSTGRES_CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    struct CMUnitTest tests[] = {
        POSTGRES_CASE(what_a_notice_could_not_carry_arrives),
        POSTGRES_CASE(the_largest_message_arrives_and_no_larger_one),
        POSTGRES_CASE(equal_messages_of_one_transaction_arrive_each),
        POSTGRES_CASE(psql_publishes_with_one_call),
        POSTGRES_CASE(a_transaction_that_is_undone_is_never_heard_of),
        POSTGRES_CASE(thousands_of_one_publisher_arrive_in_order),
        POSTGRES_CASE(what_is_too_large_for_a_node_is_counted_there),
        POSTGRES_CASE(notices_of_others_are_counted),
        POSTGRES_CASE(only_what_is_refused_fails),
        POSTGRES_CASE(what_is_refused_at_the_commit_fails_alone),
        POSTGRES_CASE(a_schema_that_is_dropped_is_made_again),
        POSTGRES_CASE(nodes_that_start_at_once_make_one_schema),
        POSTGRES_CASE(a_role_that_may_not_create_uses_what_is_there),
        POSTGRES_CASE(a_program_that_only_publishes_needs_little),
        POSTGRES_CASE(a_privilege_that_is_missing_is_named),
        POSTGRES_CASE(a_role_that_may_not_create_says_so),
        POSTGRES_CASE(a_table_of_another_form_is_left_alone),
        POSTGRES_CASE(a_database_that_is_read_only_is_no_place),
        POSTGRES_CASE(a_database_in_another_encoding_is_no_place),
        POSTGRES_CASE(a_database_without_an_encoding_takes_any_topic),
        POSTGRES_CASE(old_rows_are_cleared_and_no_others),
        POSTGRES_CASE(a_role_that_may_not_delete_serves_all_the_same),
        POSTGRES_CASE(a_session_that_is_terminated_comes_back),
        POSTGRES_CASE(the_reason_is_told_whatever_peers_do),
        POSTGRES_CASE(a_wrong_password_is_told_without_it),
        POSTGRES_CASE(a_role_that_is_shut_out_comes_back),
        POSTGRES_CASE(a_socket_in_a_folder_will_do),
        POSTGRES_CASE(a_host_may_be_a_name),
        POSTGRES_CASE(a_name_from_the_environment_is_looked_up),
        POSTGRES_CASE(a_name_from_a_service_file_is_looked_up),
        POSTGRES_CASE(of_several_hosts_each_is_an_address),
        POSTGRES_CASE(closing_does_not_wait_for_a_server_that_hangs),
        POSTGRES_CASE(what_is_no_answer_ends_the_connection),
        POSTGRES_CASE(a_server_that_wants_a_copy_holds_nobody),
        POSTGRES_CASE(a_subscription_is_ready_when_the_server_has_it),
        POSTGRES_CASE(tls_is_asked_for_and_the_server_proves_who_it_is),
        POSTGRES_CASE(a_server_that_is_another_is_refused),
    };
    const struct CMUnitTest without[] = {cmocka_unit_test(options_that_do_not_fit_are_named)};

    broker_need_for(BROKER_POSTGRES, tests, sizeof(tests) / sizeof(tests[0]));
    return cmocka_run_group_tests(tests, NULL, NULL) + cmocka_run_group_tests(without, NULL, NULL);
}
