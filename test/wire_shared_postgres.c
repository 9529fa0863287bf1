/* SPDX-License-Identifier: MIT */
/* A database is seldom ours alone: others hold locks and long transactions in it, alter the table,
 * set what is the default for our role, and put functions where a careless query would find them.
 */
#include "test/postgres_nodes.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- another session, which stays open ---- */

static PGconn *session_open(struct fixture *fixture)
{
    char target[300];
    PGconn *session;

    snprintf(target, sizeof(target), "host=%s port=%u user=postgres dbname=%s",
             broker_folder(fixture->broker), broker_port(fixture->broker), BROKER_USER);
    session = PQconnectdb(target);
    if (PQstatus(session) != CONNECTION_OK)
        fail_msg("%s", PQerrorMessage(session));
    return session;
}

static void session_run(PGconn *session, const char *sql)
{
    PGresult *result = PQexec(session, sql);
    ExecStatusType status = PQresultStatus(result);

    PQclear(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
        fail_msg("%s: %s", sql, PQerrorMessage(session));
}

static bool answers_true(struct fixture *fixture, const char *sql)
{
    char *answer = broker_admin(fixture->broker, sql);
    bool is_true = answer != NULL && strcmp(answer, "t\n") == 0;

    free(answer);
    return is_true;
}

static bool has_no_sessions(struct fixture *fixture, size_t node)
{
    (void)node;
    return answers_true(fixture, "SELECT count(*) = 0 FROM pg_stat_activity"
                                 " WHERE application_name = 'sockethub'");
}

/* Its sessions have ended, and told the server's statistics what they did. */
static void close_node(struct fixture *fixture, size_t node)
{
    if (fixture->nodes[node].listens)
        listener_stop(&fixture->nodes[node].heard);
    fixture->nodes[node].listens = false;
    hub_bus_destroy(fixture->nodes[node].bus);
    fixture->nodes[node].bus = NULL;
    wait_until(fixture, has_no_sessions, 0);
}

/* ---- locks ---- */

static bool has_two_sessions(struct fixture *fixture, size_t node)
{
    (void)node;
    return answers_true(fixture, "SELECT count(*) <= 2 FROM pg_stat_activity"
                                 " WHERE application_name = 'sockethub'");
}

/* A session that waits for a lock would not notice that its node is gone; with two more at each
 * attempt the server would soon be full. */
static void a_lock_of_somebody_ends_sessions_and_says_so(void **state)
{
    struct fixture *fixture = *state;
    PGconn *session = session_open(fixture);

    listen_up(fixture, 0, "?connect_timeout=1");
    session_run(session, "BEGIN; LOCK TABLE sockethub.messages");
    expect_first_answer(fixture, "1", HUB_EUNKNOWN);
    expect_logged(fixture, "bus.broken backend=postgres what=\"publish: 55P03");
    wait_until(fixture, has_two_sessions, 0);
    session_run(session, "COMMIT");
    wait_until(fixture, is_up, 0);
    assert_int_equal(fixture->answered, 1);
    PQfinish(session);
}

/* ---- triggers ---- */

/* The INSERT succeeds, and there is no row that anybody could fetch. */
static void a_row_that_a_trigger_suppresses_is_rejected_alone(void **state)
{
    struct fixture *fixture = *state;

    listen_up(fixture, 0, "");
    listen_up(fixture, 1, "");
    admin(fixture, "CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS"
                   " $$ BEGIN RETURN NULL; END $$;"
                   "CREATE TRIGGER skip BEFORE INSERT ON sockethub.messages FOR EACH ROW"
                   " WHEN (position('bad'::bytea IN NEW.body) > 0) EXECUTE FUNCTION skip()");
    for (int i = 0; i < 5; i++)
        say_and_ask(fixture, 1, i == 3 ? "\"bad\"" : "1");
    wait_until(fixture, all_answered, 5);
    for (int i = 0; i < 5; i++)
        assert_int_equal(fixture->answers[i], i == 3 ? HUB_EREJECTED : HUB_OK);
    expect_heard(fixture, 0, "1 1 1 gap(lost,1) 1");
    expect_logged(fixture, "bus.refused backend=postgres topic=\"hub:room:1\"");
    assert_int_equal(stats_of(fixture, 0).remote_invalid, 0);
    assert_true(is_up(fixture, 1));
}

/* ---- transactions ---- */

static void what_is_committed_late_is_heard_all_the_same(void **state)
{
    struct fixture *fixture = *state;
    PGconn *session = session_open(fixture);

    listen_up(fixture, 0, "");
    listen_up(fixture, 1, "");
    session_run(session, "BEGIN; SELECT sockethub.publish_json('hub', 'room:1', 'said', '1')");
    say(fixture->nodes[1].bus, "room:1", "2"); /* with a higher number */
    expect_heard(fixture, 0, "2");
    session_run(session, "COMMIT");
    expect_heard(fixture, 0, "2 1");
    PQfinish(session);
}

static void a_message_is_as_old_as_its_row_not_as_its_transaction(void **state)
{
    struct fixture *fixture = *state;

    listen_up(fixture, 0, "");
    expect_answer(fixture,
                  "BEGIN; DO $$ BEGIN PERFORM pg_sleep(0.01);"
                  " PERFORM sockethub.publish_json('hub', 'room:1', 'said'); END $$;"
                  "SELECT created > now() FROM sockethub.messages"
                  " WHERE body LIKE '%said%' ORDER BY id DESC LIMIT 1; COMMIT",
                  "t\n");
}

/* Rows that are deleted stay until nobody's snapshot can see them. */
#define OLD_ROWS                                                                                   \
    "INSERT INTO sockethub.messages (topic, body, created)"                                        \
    " SELECT 'hub:room:1', '', now() - interval '2 h' FROM generate_series(1, "

#define NOT_BY_INDEX /* which is what is counted */                                                \
    "SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off;"

static bool has_no_old_rows(struct fixture *fixture, size_t node)
{
    (void)node;
    return answers_true(fixture, NOT_BY_INDEX "SELECT NOT EXISTS (SELECT FROM sockethub.messages"
                                              " WHERE created < now() - interval '1 h')");
}

static void an_old_row_is_cleared(struct fixture *fixture)
{
    admin(fixture, OLD_ROWS "1)");
    wait_until(fixture, has_no_old_rows, 0);
}

static bool has_few_rows(struct fixture *fixture, size_t node)
{
    (void)node;
    return answers_true(fixture, NOT_BY_INDEX "SELECT count(*) < 1000 FROM sockethub.messages");
}

static void clearing_does_not_pass_over_what_is_cleared_again(void **state)
{
    struct fixture *fixture = *state;
    PGconn *session = session_open(fixture);

    listen_up(fixture, 0, "?keep_seconds=1");
    session_run(session, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1");
    /* no probe comes between, and the last one stays */
    admin(fixture, "BEGIN; LOCK TABLE sockethub.messages IN SHARE ROW EXCLUSIVE MODE;"
                   "INSERT INTO sockethub.messages (topic, body)"
                   " SELECT 'hub:room:1', '' FROM generate_series(1, 20000);"
                   "INSERT INTO sockethub.messages (topic, body, created)"
                   " VALUES ('hub:room:1', '', now() + interval '1 h'); COMMIT");
    wait_until(fixture, has_few_rows, 0);
    an_old_row_is_cleared(fixture);
    an_old_row_is_cleared(fixture);
    an_old_row_is_cleared(fixture);
    an_old_row_is_cleared(fixture);
    close_node(fixture, 0);
    expect_answer(fixture,
                  "SELECT idx_tup_read BETWEEN 20000 AND 80000 FROM pg_stat_user_indexes"
                  " WHERE indexrelname = 'messages_pkey'",
                  "t\n");
    PQfinish(session);
}

/* ---- plans ---- */

/* Looked up as a node should. */
static bool has_cleared(struct fixture *fixture, size_t node)
{
    (void)node;
    return answers_true(fixture, "SET enable_seqscan = off; SELECT created > now() - interval '1 h'"
                                 " FROM sockethub.messages ORDER BY id LIMIT 1");
}

/* A plan that was made for a table with hardly anything in it is kept when it grows. */
static void the_whole_table_is_never_read(void **state)
{
    struct fixture *fixture = *state;

    listen_up(fixture, 0, "");
    close_node(fixture, 0); /* it made the index */
    admin(fixture, "SELECT pg_stat_reset()");
    listen_up(fixture, 0, "?keep_seconds=1");
    for (int i = 0; i < 8; i++) {
        say_and_ask(fixture, 0, "1");
        wait_until(fixture, all_answered, (size_t)i + 1);
    }
    admin(fixture, "VACUUM ANALYZE sockethub.messages");
    listener_clear(&fixture->nodes[0].heard);
    admin(fixture, "SELECT sockethub.publish_json('hub', 'room:1', 'said', '2')");
    expect_heard(fixture, 0, "2");
    admin(fixture, OLD_ROWS "1)");
    wait_until(fixture, has_cleared, 0);
    close_node(fixture, 0);
    expect_answer(fixture, "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'messages'",
                  "0\n");
}

static bool has_gap(struct fixture *fixture, size_t node)
{
    return strstr(listener_heard(&fixture->nodes[node].heard), "gap(bus,0)") != NULL;
}

static void a_table_that_is_altered_is_served_on(void **state)
{
    struct fixture *fixture = *state;

    listen_up(fixture, 0, "");
    listen_up(fixture, 1, "");
    say(fixture->nodes[1].bus, "room:1", "1");
    expect_heard(fixture, 0, "1");
    admin(fixture, "ALTER TABLE sockethub.messages ADD COLUMN more text DEFAULT 'x'");
    say(fixture->nodes[1].bus, "room:1", "2");
    expect_heard(fixture, 0, "1 2");
    admin(fixture, "VACUUM FULL sockethub.messages");
    say(fixture->nodes[1].bus, "room:1", "3");
    expect_heard(fixture, 0, "1 2 3");
    admin(fixture, "ALTER TABLE sockethub.messages ALTER topic TYPE varchar(2000)");
    say(fixture->nodes[1].bus, "room:1", "4");
    wait_until(fixture, has_gap, 0); /* what it asks for has another type now */
    wait_until(fixture, is_up, 0);
    listener_clear(&fixture->nodes[0].heard);
    admin(fixture, "SELECT sockethub.publish_json('hub', 'room:1', 'said', '5')");
    expect_heard(fixture, 0, "5");
}

/* ---- the server ---- */

static bool has_high_numbers(struct fixture *fixture, size_t node)
{
    (void)node;
    return answers_true(fixture, "SELECT NOT EXISTS (SELECT FROM sockethub.messages"
                                 " WHERE id <= 1000000)");
}

static void numbers_that_begin_anew_behind_a_crash_are_heard_and_cleared(void **state)
{
    static const char say_2[] = "SELECT sockethub.publish_json('hub', 'room:1', 'said', '2')";
    struct fixture *fixture = *state;

    listen_up(fixture, 0, "?keep_seconds=1");
    admin(fixture, "SELECT setval('sockethub.messages_id_seq', 1000000)");
    wait_until(fixture, has_high_numbers, 0);
    an_old_row_is_cleared(fixture);
    broker_kill(fixture->broker);
    assert_true(broker_restart(fixture->broker, false));
    wait_until(fixture, has_gap, 0);
    wait_until(fixture, is_up, 0);
    listener_clear(&fixture->nodes[0].heard);
    admin(fixture, say_2);
    expect_heard(fixture, 0, "2");
    expect_answer(fixture, "SELECT max(id) < 1000000 FROM sockethub.messages", "t\n");
    an_old_row_is_cleared(fixture);
}

static void a_server_that_turns_read_only_is_left_until_it_is_not(void **state)
{
    struct fixture *fixture = *state;

    listen_up(fixture, 0, "");
    admin(fixture, "ALTER SYSTEM SET default_transaction_read_only = on");
    admin(fixture, "SELECT pg_reload_conf()");
    wait_until(fixture, is_down, 0); /* its probe was refused */
    expect_logged(fixture, "bus.broken backend=postgres what=\"publish: 25006");
    expect_logged(fixture, "the database is read-only");
    admin(fixture, "ALTER SYSTEM RESET default_transaction_read_only");
    admin(fixture, "SELECT pg_reload_conf()");
    wait_until(fixture, is_up, 0);
}

static void a_server_without_room_for_both_sessions_is_asked_again(void **state)
{
    struct fixture *fixture = *state;

    admin(fixture, "ALTER ROLE hub CONNECTION LIMIT 1");
    open_node(fixture, 0, "");
    expect_logged(fixture, "bus.failed backend=postgres what=\"listen: ");
    expect_logged(fixture, "53300: too many connections");
    admin(fixture, "ALTER ROLE hub CONNECTION LIMIT -1");
    wait_until(fixture, is_up, 0);
}

static void a_database_that_is_dropped_is_waited_for(void **state)
{
    struct fixture *fixture = *state;
    char url[256];

    admin(fixture, "CREATE DATABASE other OWNER hub");
    snprintf(url, sizeof(url), "postgres://%s:%s@127.0.0.1:%u/other", BROKER_USER, BROKER_PASSWORD,
             broker_port(fixture->broker));
    open_url(fixture, 0, url);
    wait_until(fixture, is_up, 0);
    admin(fixture, "DROP DATABASE other WITH (FORCE)");
    expect_logged(fixture, "3D000");
    assert_true(is_down(fixture, 0));
    admin(fixture, "CREATE DATABASE other OWNER hub");
    wait_until(fixture, is_up, 0);
}

/* ---- what others prepared for our role ---- */

static void functions_on_the_search_path_are_not_called(void **state)
{
    struct fixture *fixture = *state;

    admin(fixture,
          "CREATE TABLE public.stolen (what text); GRANT INSERT ON public.stolen TO public;"
          "CREATE FUNCTION public.unnest(bigint[]) RETURNS SETOF bigint LANGUAGE plpgsql AS $$"
          " BEGIN INSERT INTO public.stolen VALUES ('unnest');"
          " RETURN QUERY SELECT pg_catalog.unnest($1); END $$;"
          "CREATE FUNCTION public.obj_description(regclass, text) RETURNS text"
          " LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.stolen VALUES ('description');"
          " RETURN pg_catalog.obj_description($1::oid, $2::name); END $$;"
          "CREATE FUNCTION public.times(bigint, interval) RETURNS interval LANGUAGE plpgsql AS $$"
          " BEGIN INSERT INTO public.stolen VALUES ('times'); RETURN $1::float8 * $2; END $$;"
          "CREATE OPERATOR public.* (LEFTARG = bigint, RIGHTARG = interval,"
          " FUNCTION = public.times)");
    listen_up(fixture, 0, "?keep_seconds=1");
    admin(fixture, "SELECT sockethub.publish_json('hub', 'room:1', 'said', '1')");
    expect_heard(fixture, 0, "1");
    an_old_row_is_cleared(fixture);
    expect_answer(fixture, "SELECT DISTINCT what FROM public.stolen", "");
}

static void transactions_are_read_committed_whatever_is_the_default(void **state)
{
    struct fixture *fixture = *state;

    admin(fixture, "ALTER ROLE hub SET default_transaction_isolation = 'serializable'");
    listen_up(fixture, 0, "");
    admin(fixture, "ALTER TABLE sockethub.messages ADD CHECK"
                   " (current_setting('transaction_isolation') = 'read committed')");
    expect_first_answer(fixture, "1", HUB_OK);
}

/* ---- what other programs say ---- */

static void payloads_of_all_kinds_are_heard(void **state)
{
    struct fixture *fixture = *state;

    listen_up(fixture, 0, "");
    admin(fixture, "SELECT sockethub.publish_json('hub', 'room:1', 'said', payload::jsonb)"
                   " FROM unnest(ARRAY['[1]', '\"x\"', 'null', 'true', '1e30', '-0.10',"
                   " '{\"b\":1, \"a\":2,\"b\":3}', '\"\\u00e9\"']) payload");
    expect_heard(fixture, 0,
                 "[1] \"x\" null true 1000000000000000000000000000000 -0.10"
                 " {\"a\": 2, \"b\": 3} \"\xc3\xa9\"");
    assert_int_equal(stats_of(fixture, 0).remote_plain, 8);
    assert_int_equal(stats_of(fixture, 0).remote_invalid, 0);
}

static void what_json_or_the_table_does_not_take_is_the_programs_error(void **state)
{
    struct fixture *fixture = *state;

    listen_up(fixture, 0, "");
    assert_null(broker_admin(fixture->broker, "SELECT sockethub.publish_json('hub', 'room:1',"
                                              " 'said', '\"\\u0000\"')"));
    assert_null(
        broker_admin(fixture->broker, "SELECT sockethub.publish_json('hub', NULL, 'said', '1')"));
    admin(fixture, "SELECT sockethub.publish_json('hub', 'room:1', 'said', '2')");
    expect_heard(fixture, 0, "2");
    assert_int_equal(stats_of(fixture, 0).remote_invalid, 0);
}

static bool counted_three(struct fixture *fixture, size_t node)
{
    return stats_of(fixture, node).remote_invalid == 3;
}

#define HASH_OF_ROOM_1                                                                             \
    "DO $$ DECLARE h text := encode(substr(sha256('hub:room:1'), 1, 8), 'hex');"                   \
    "c text := 'sockethub_' || substr(h, 1, 2); n bigint; BEGIN "

static void each_row_that_is_gone_is_counted(void **state)
{
    struct fixture *fixture = *state;

    listen_up(fixture, 0, "");
    admin(fixture, HASH_OF_ROOM_1 "PERFORM pg_notify(c, '999999997 ' || h),"
                                  "pg_notify(c, '999999998 ' || h),"
                                  "pg_notify(c, '999999999 ' || h); END $$");
    wait_until(fixture, counted_three, 0);
}

/* As if two topics had the same hash. */
static void a_topic_of_the_same_hash_is_not_heard(void **state)
{
    struct fixture *fixture = *state;

    listen_up(fixture, 0, "");
    admin(fixture,
          HASH_OF_ROOM_1 "INSERT INTO sockethub.messages (topic, body)"
                         " VALUES ('hub:room:2', '{\"event\": \"said\"}') RETURNING id INTO n;"
                         "PERFORM pg_notify(c, n || ' ' || h); END $$;"
                         "SELECT sockethub.publish_json('hub', 'room:1', 'said', '1')");
    expect_heard(fixture, 0, "1");
    assert_int_equal(stats_of(fixture, 0).remote_invalid, 0);
}

static void rows_come_in_the_order_of_their_notices(void **state)
{
    struct fixture *fixture = *state;

    listen_up(fixture, 0, "");
    admin(fixture, HASH_OF_ROOM_1
          "FOR i IN 1 .. 5 LOOP INSERT INTO sockethub.messages (topic, body) VALUES ('hub:room:1',"
          " format('{\"event\": \"said\", \"payload\": %s}', i)::bytea) RETURNING id INTO n;"
          "END LOOP;"
          "FOR i IN 0 .. 4 LOOP PERFORM pg_notify(c, n - i || ' ' || h); END LOOP; END $$");
    expect_heard(fixture, 0, "5 4 3 2 1");
}

static void a_node_that_is_far_behind_begins_anew(void **state)
{
    struct fixture *fixture = *state;

    listen_up(fixture, 0, "");
    admin(fixture, HASH_OF_ROOM_1 "PERFORM pg_notify(c, 1000000 + i || ' ' || h)"
                                  " FROM generate_series(1, 300000) i; END $$");
    expect_logged(fixture, "listen: more than 262144 notices behind");
    wait_until(fixture, has_gap, 0);
    wait_until(fixture, is_up, 0);
}

#define SHARED_CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    struct CMUnitTest tests[] = {
        SHARED_CASE(a_lock_of_somebody_ends_sessions_and_says_so),
        SHARED_CASE(a_row_that_a_trigger_suppresses_is_rejected_alone),
        SHARED_CASE(what_is_committed_late_is_heard_all_the_same),
        SHARED_CASE(a_message_is_as_old_as_its_row_not_as_its_transaction),
        SHARED_CASE(clearing_does_not_pass_over_what_is_cleared_again),
        SHARED_CASE(the_whole_table_is_never_read),
        SHARED_CASE(a_table_that_is_altered_is_served_on),
        SHARED_CASE(numbers_that_begin_anew_behind_a_crash_are_heard_and_cleared),
        SHARED_CASE(a_server_that_turns_read_only_is_left_until_it_is_not),
        SHARED_CASE(a_server_without_room_for_both_sessions_is_asked_again),
        SHARED_CASE(a_database_that_is_dropped_is_waited_for),
        SHARED_CASE(functions_on_the_search_path_are_not_called),
        SHARED_CASE(transactions_are_read_committed_whatever_is_the_default),
        SHARED_CASE(payloads_of_all_kinds_are_heard),
        SHARED_CASE(what_json_or_the_table_does_not_take_is_the_programs_error),
        SHARED_CASE(each_row_that_is_gone_is_counted),
        SHARED_CASE(rows_come_in_the_order_of_their_notices),
        SHARED_CASE(a_node_that_is_far_behind_begins_anew),
        SHARED_CASE(a_topic_of_the_same_hash_is_not_heard),
    };

    broker_need_for(BROKER_POSTGRES, tests, sizeof(tests) / sizeof(tests[0]));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
