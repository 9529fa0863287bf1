/* SPDX-License-Identifier: MIT */
/* Two hubs, each with a bus of its own, on one broker: when a join may be answered, and what is
 * addressed to connections that are elsewhere. */
#include "test/fake_backend.h"
#include "test/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define NATIVE "/socket"

static struct {
    fake_broker_t *broker;
    hub_bus_t *left_bus, *right_bus;
    server_t *left, *right;
} nodes;

static hub_status_t on_authorize(hub_request_t *request, void *user)
{
    (void)user;
    hub_request_grant(request, &(hub_grant_t){.identity = hub_request_query(request, "user")});
    return HUB_OK;
}

/* Its id, for the case. */
static hub_status_t note_open(const hub_hook_event_t *event, void *user)
{
    char id[HUB_CONN_ID_TEXT];

    (void)user;
    server_note("%s", hub_conn_id_format(hub_conn_id(event->conn), id));
    return HUB_OK;
}

static hub_status_t on_say(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_broadcast(me, HUB_STR("said"), msg->payload);
}

static const hub_event_handler_t events[] = {{"say", on_say}, {NULL, NULL}};

static void add_channel(server_t *s, const char *pattern, uint32_t join_timeout_ms)
{
    server_channel(s, &(hub_channel_options_t){.pattern = pattern,
                                               .events = events,
                                               .join_timeout_ms = join_timeout_ms});
}

static server_t *serve(hub_bus_t *bus)
{
    server_t *s = server_create_with(&(hub_server_options_t){.threads = 2},
                                     &(hub_options_t){.name = "app", .bus = bus});

    add_channel(s, "room:{id}", 0);
    add_channel(s, "brief:{id}", 30);
    server_hook(s, HUB_HOOK_OPEN, note_open);
    server_mount(s, &(hub_endpoint_options_t){.on_authorize = on_authorize});
    server_start(s);
    return s;
}

static server_t *serve_on_broker(hub_bus_t **bus)
{
    assert_int_equal(hub_bus_create(&(hub_bus_options_t){.backend = &fake_backend,
                                                         .backend_options = nodes.broker},
                                    bus, NULL),
                     HUB_OK);
    return serve(*bus);
}

static void start_nodes(void)
{
    nodes.broker = fake_broker_create();
    nodes.left = serve_on_broker(&nodes.left_bus);
    nodes.right = serve_on_broker(&nodes.right_bus);
    fake_broker_start(nodes.broker);
    fake_broker_settle(nodes.broker);
}

/* On one bus in memory. */
static void start_neighbours(void)
{
    assert_int_equal(hub_bus_create(NULL, &nodes.left_bus, NULL), HUB_OK);
    nodes.left = serve(nodes.left_bus);
    nodes.right = serve(nodes.left_bus);
}

static int end_nodes(void **state)
{
    server_teardown(state);
    hub_bus_destroy(nodes.left_bus);
    hub_bus_destroy(nodes.right_bus);
    if (nodes.broker != NULL)
        fake_broker_destroy(nodes.broker);
    memset(&nodes, 0, sizeof(nodes));
    return 0;
}

static void hold_the_broker(bool held)
{
    fake_broker_set(nodes.broker, (fake_faults_t){.slow = held});
}

static void publish(server_t *from, const char *topic, const char *json)
{
    assert_int_equal(
        hub_publish(from->hub, hub_str(topic), HUB_STR("said"), hub_json(hub_str(json))), HUB_OK);
}

/* ---- a join waits for the broker ---- */

static void a_join_is_answered_when_the_broker_has_its_topic(void **state)
{
    client_t *alice;

    (void)state;
    start_nodes();
    alice = server_client(nodes.left, NATIVE);
    hold_the_broker(true);
    client_say(alice, "room:1", "join", "{}", "1");
    client_expect_quiet(alice);
    publish(nodes.right, "room:1", "1");
    hold_the_broker(false);
    client_expect_ok(alice, "room:1", "1",
                     "{'topic':'room:1','already_joined':false,'replay_supported':false}");
    client_expect_event(alice, "room:1", "said", "1");
    SERVER_EXPECT_STAT(nodes.left, joins_waited_total, 1);
}

static void what_comes_while_a_join_waits_is_heard_behind_its_reply(void **state)
{
    client_t *alice;

    (void)state;
    start_nodes();
    alice = server_client(nodes.left, NATIVE);
    hold_the_broker(true);
    client_say(alice, "room:1", "join", "{}", "1");
    client_say(alice, "room:1", "say", "1", NULL);
    client_expect_quiet(alice);
    publish(nodes.left, "room:1", "0");
    client_expect_quiet(alice);
    hold_the_broker(false);
    client_expect_ok(alice, "room:1", "1",
                     "{'topic':'room:1','already_joined':false,'replay_supported':false}");
    client_expect_event(alice, "room:1", "said", "0");
    client_expect_event(alice, "room:1", "said", "1");
}

static void who_comes_while_a_join_waits_waits_as_well(void **state)
{
    client_t *alice, *bob;

    (void)state;
    start_nodes();
    alice = server_client(nodes.left, NATIVE);
    bob = server_client(nodes.left, NATIVE);
    hold_the_broker(true);
    client_say(alice, "room:1", "join", "{}", "1");
    client_expect_quiet(alice);
    client_say(bob, "room:1", "join", "{}", "1");
    client_expect_quiet(bob);
    client_say(alice, "room:1", "leave", "{}", "2");
    client_expect_error(alice, "room:1", "1", "join_rejected");
    client_expect_ok(alice, "room:1", "2", "{'topic':'room:1'}");
    hold_the_broker(false);
    client_expect_ok(bob, "room:1", "1",
                     "{'topic':'room:1','already_joined':false,'replay_supported':false}");
    client_expect_quiet(alice);
    client_join(alice, "room:1", "3");
    SERVER_EXPECT_STAT(nodes.left, joins_waited_total, 2);
}

static void who_is_gone_before_the_broker_answers_does_no_harm(void **state)
{
    client_t *alice, *bob;

    (void)state;
    start_nodes();
    alice = server_client(nodes.left, NATIVE);
    bob = server_client(nodes.left, NATIVE);
    hold_the_broker(true);
    client_say(alice, "room:1", "join", "{}", "1");
    client_say(alice, "room:2", "join", "{}", "2");
    client_expect_quiet(alice);
    client_say(bob, "room:1", "join", "{}", "1");
    client_expect_quiet(bob);
    server_drop_client(nodes.left, alice, client_destroy);
    SERVER_EXPECT_STAT(nodes.left, conns, 1);
    hold_the_broker(false);
    client_expect_ok(bob, "room:1", "1",
                     "{'topic':'room:1','already_joined':false,'replay_supported':false}");
}

static void a_broker_that_does_not_answer_holds_up_no_join(void **state)
{
    client_t *alice;

    (void)state;
    start_nodes();
    alice = server_client(nodes.left, NATIVE);
    hold_the_broker(true);
    client_join(alice, "brief:1", "1");
    server_expect_log("join.overdue", "topic=\"brief:1\"");
    SERVER_EXPECT_STAT(nodes.left, joins_overdue_total, 1);
    client_expect_quiet(alice);
    hold_the_broker(false);
    client_expect_event(alice, "brief:1", "gap", "{'reason':'bus','missed':null}");
}

static void without_a_broker_a_join_is_answered_at_once_and_due_a_gap(void **state)
{
    client_t *alice;

    (void)state;
    start_nodes();
    alice = server_client(nodes.left, NATIVE);
    fake_broker_disconnect(nodes.broker, nodes.left_bus);
    client_join(alice, "room:1", "1");
    SERVER_EXPECT_STAT(nodes.left, joins_waited_total, 0);
    fake_broker_connect(nodes.broker, nodes.left_bus);
    client_expect_event(alice, "room:1", "gap", "{'reason':'bus','missed':null}");
    publish(nodes.right, "room:1", "1");
    client_expect_event(alice, "room:1", "said", "1");
}

/* ---- what is addressed to connections elsewhere ---- */

static client_t *connect_as(server_t *s, const char *user, hub_conn_id_t *ret_id)
{
    char target[64], id[HUB_CONN_ID_TEXT];
    client_t *client;

    snprintf(target, sizeof(target), NATIVE "?user=%s", user);
    client = server_client(s, target);
    server_copy_note(id, sizeof(id));
    assert_int_equal(hub_conn_id_parse(hub_str(id), ret_id), HUB_OK);
    return client;
}

static client_t *join_as(server_t *s, const char *user, hub_conn_id_t *ret_id)
{
    client_t *client = connect_as(s, user, ret_id);

    client_join(client, "room:1", "1");
    return client;
}

static hub_status_t push_id(server_t *from, hub_conn_id_t id, const char *json)
{
    return hub_conn_push_id(from->hub, id, HUB_STR("room:1"), HUB_STR("news"),
                            hub_json(hub_str(json)));
}

static hub_status_t push_identity(server_t *from, const char *user, const char *json)
{
    return hub_push_identity(from->hub, hub_str(user), HUB_STR("room:1"), HUB_STR("news"),
                             hub_json(hub_str(json)));
}

/* Alice and bob are at the left node, and all that is asked for is asked of the right one. */
static void check_ids(void)
{
    hub_conn_id_t alice_id, bob_id;
    client_t *alice = join_as(nodes.left, "alice", &alice_id);
    client_t *bob = join_as(nodes.left, "bob", &bob_id);

    assert_int_equal(push_id(nodes.right, alice_id, "1"), HUB_OK);
    assert_int_equal(push_id(nodes.right, alice_id, "{\"n\":2}"), HUB_OK);
    assert_int_equal(hub_conn_close_id(nodes.right->hub, alice_id, 4000, HUB_STR("enough")),
                     HUB_OK);
    client_expect_push(alice, "room:1", "news", "1", "1");
    client_expect_push(alice, "room:1", "news", "{'n':2}", "1");
    assert_true(hub_str_equals(client_expect_close(alice, 4000), HUB_STR("enough")));
    client_expect_quiet(bob);
    SERVER_EXPECT_STAT(nodes.left, relayed_total, 3);
}

static void an_id_reaches_its_connection_on_another_node(void **state)
{
    (void)state;
    start_nodes();
    check_ids();
}

static void an_id_reaches_its_connection_on_another_hub_of_the_bus(void **state)
{
    (void)state;
    start_neighbours();
    check_ids();
}

static void an_identity_is_reached_on_all_nodes(void **state)
{
    client_t *left, *right, *bob;
    hub_conn_id_t id;

    (void)state;
    start_nodes();
    left = join_as(nodes.left, "alice", &id);
    right = join_as(nodes.right, "alice", &id);
    bob = join_as(nodes.left, "bob", &id);
    assert_int_equal(push_identity(nodes.right, "alice", "1"), HUB_OK);
    assert_int_equal(hub_disconnect(nodes.right->hub, HUB_STR("alice")), HUB_OK);
    client_expect_push(left, "room:1", "news", "1", "1");
    client_expect_push(right, "room:1", "news", "1", "1");
    client_expect_close(left, 1001);
    client_expect_close(right, 1001);
    client_expect_quiet(bob);
    SERVER_EXPECT_STAT(nodes.left, relayed_total, 2);
    SERVER_EXPECT_STAT(nodes.right, relayed_total, 0);
}

static void without_a_broker_those_of_this_node_are_served_and_the_status_says_so(void **state)
{
    client_t *left, *right;
    hub_conn_id_t left_id, right_id;

    (void)state;
    start_nodes();
    left = join_as(nodes.left, "alice", &left_id);
    right = join_as(nodes.right, "alice", &right_id);
    fake_broker_disconnect(nodes.broker, nodes.right_bus);
    assert_int_equal(push_id(nodes.right, left_id, "1"), HUB_EBUSDOWN);
    assert_int_equal(push_id(nodes.right, right_id, "2"), HUB_OK);
    assert_int_equal(push_identity(nodes.right, "alice", "3"), HUB_EBUSDOWN);
    client_expect_push(right, "room:1", "news", "2", "1");
    client_expect_push(right, "room:1", "news", "3", "1");
    client_expect_quiet(left);
    assert_int_equal(hub_disconnect(nodes.right->hub, HUB_STR("alice")), HUB_EBUSDOWN);
    client_expect_close(right, 1001);
}

static void what_names_no_node_is_not_found(void **state)
{
    hub_conn_id_t id;

    (void)state;
    start_nodes();
    (void)join_as(nodes.left, "alice", &id);
    id.node = 0;
    assert_int_equal(push_id(nodes.right, id, "1"), HUB_ENOTFOUND);
    id.node = 12345; /* nobody there, which nobody here can know */
    assert_int_equal(push_id(nodes.right, id, "1"), HUB_OK);
    assert_int_equal(hub_conn_push_id(nodes.right->hub, id, HUB_STR("room:1"), HUB_STR("news"),
                                      HUB_JSON("nonsense")),
                     HUB_EPAYLOAD);
}

/* Phoenix's broadcasts are objects; who asks on another node can't know the format. */
static void what_a_format_can_not_carry_is_counted_where_it_should_have_come(void **state)
{
    client_t *alice;

    (void)state;
    start_nodes();
    alice = server_client(nodes.left, NATIVE "?user=alice&vsn=2.0.0");
    client_json(alice, "['1','1','room:1','phx_join',{}]");
    client_expect_json(alice, "['1','1','room:1','phx_reply',{'response':{},'status':'ok'}]");
    assert_int_equal(push_identity(nodes.right, "alice", "1"), HUB_OK);
    assert_int_equal(push_identity(nodes.right, "alice", "{}"), HUB_OK);
    client_expect_json(alice, "['1',null,'room:1','news',{}]");
    SERVER_EXPECT_STAT(nodes.left, skipped_total, 1);
}

static void a_reason_is_cut_between_characters(void **state)
{
    static const char reason[] =
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\xc3\xa4";
    hub_conn_id_t id;
    client_t *alice;

    (void)state;
    start_nodes();
    alice = join_as(nodes.left, "alice", &id);
    assert_int_equal(hub_conn_close_id(nodes.right->hub, id, 4000, hub_str(reason)), HUB_OK);
    assert_int_equal(client_expect_close(alice, 4000).len, 122);
}

static void junk_about_connections_is_counted_and_ignored(void **state)
{
    hub_conn_id_t id;
    client_t *alice;
    char topic[64];

    (void)state;
    start_nodes();
    alice = join_as(nodes.left, "alice", &id);
    snprintf(topic, sizeof(topic), "conns\x1f%016llx", (unsigned long long)id.node);
    assert_int_equal(
        hub_publish(nodes.right->hub, hub_str(topic), HUB_STR("do"), HUB_JSON("{\"close\":1}")),
        HUB_OK);
    assert_int_equal(hub_publish(nodes.right->hub,
                                 HUB_STR("conns\x1f"
                                         "all"),
                                 HUB_STR("do"), hub_binary("\x01\x01", 2)),
                     HUB_OK);
    SERVER_EXPECT_STAT(nodes.left, relay_bad_total, 4); /* by two workers */
    client_expect_quiet(alice);
}

static void what_is_lost_on_the_way_is_counted(void **state)
{
    hub_conn_id_t id;
    client_t *alice;

    (void)state;
    start_nodes();
    alice = join_as(nodes.left, "alice", &id);
    assert_int_equal(push_id(nodes.right, id, "1"), HUB_OK);
    client_expect_push(alice, "room:1", "news", "1", "1");
    fake_broker_set(nodes.broker, (fake_faults_t){.lose = 1});
    assert_int_equal(push_id(nodes.right, id, "2"), HUB_OK);
    fake_broker_settle(nodes.broker);
    assert_int_equal(push_id(nodes.right, id, "3"), HUB_OK);
    client_expect_push(alice, "room:1", "news", "3", "1");
    SERVER_EXPECT_STAT(nodes.left, relay_gaps_total, 1);
    server_expect_log("relay.gap", "reason=lost missed=1");
}

#define NODES_CASE(name) cmocka_unit_test_teardown(name, end_nodes)

int main(void)
{
    const struct CMUnitTest tests[] = {
        NODES_CASE(a_join_is_answered_when_the_broker_has_its_topic),
        NODES_CASE(what_comes_while_a_join_waits_is_heard_behind_its_reply),
        NODES_CASE(who_comes_while_a_join_waits_waits_as_well),
        NODES_CASE(who_is_gone_before_the_broker_answers_does_no_harm),
        NODES_CASE(a_broker_that_does_not_answer_holds_up_no_join),
        NODES_CASE(without_a_broker_a_join_is_answered_at_once_and_due_a_gap),
        NODES_CASE(an_id_reaches_its_connection_on_another_node),
        NODES_CASE(an_id_reaches_its_connection_on_another_hub_of_the_bus),
        NODES_CASE(an_identity_is_reached_on_all_nodes),
        NODES_CASE(without_a_broker_those_of_this_node_are_served_and_the_status_says_so),
        NODES_CASE(what_names_no_node_is_not_found),
        NODES_CASE(what_a_format_can_not_carry_is_counted_where_it_should_have_come),
        NODES_CASE(a_reason_is_cut_between_characters),
        NODES_CASE(junk_about_connections_is_counted_and_ignored),
        NODES_CASE(what_is_lost_on_the_way_is_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
