/* SPDX-License-Identifier: MIT */
/* What clients and programs are told while the broker is away, channels with one order, and nodes
 * that stop. */
#include "test/fake_backend.h"
#include "test/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NATIVE "/socket"
#define PHOENIX1 "/socket?vsn=1.0.0"
#define PHOENIX2 "/socket?vsn=2.0.0"
#define BURST 100

static struct {
    fake_broker_t *broker;
    hub_bus_t *left_bus, *right_bus;
    server_t *left, *right;
} nodes;

static hub_status_t on_say(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_broadcast(me, HUB_STR("said"), msg->payload);
}

static hub_status_t on_tell(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_broadcast_from(me, HUB_STR("said"), msg->payload);
}

static hub_status_t on_join_aloud(hub_member_t *me, const hub_message_t *msg)
{
    hub_status_t err = hub_member_broadcast(me, HUB_STR("said"), HUB_JSON("1"));

    return err != HUB_OK
               ? err
               : hub_publish(hub_member_hub(me), msg->topic, HUB_STR("said"), HUB_JSON("2"));
}

static hub_status_t on_join_seen(hub_member_t *me, const hub_message_t *msg)
{
    (void)msg;
    return hub_presence_track(me, HUB_STR("alice"), HUB_JSON("{}"));
}

static const hub_event_handler_t events[] = {
    {"say", on_say}, {"tell", on_tell}, {"thread", server_reply_thread}, {NULL, NULL}};

static server_t *serve_as(hub_bus_t *bus, hub_server_options_t options)
{
    static const hub_presence_options_t presence = {0};
    server_t *s = server_create_with(&options, &(hub_options_t){.name = "app", .bus = bus});

    server_channel(
        s, &(hub_channel_options_t){.pattern = "room:{id}", .events = events, .auto_ack = true});
    server_channel(s, &(hub_channel_options_t){.pattern = "game:{id:[0-9]+}",
                                               .events = events,
                                               .auto_ack = true,
                                               .order = HUB_ORDER_BUS});
    server_channel(s, &(hub_channel_options_t){
                          .pattern = "loud", .on_join = on_join_aloud, .order = HUB_ORDER_BUS});
    server_channel(s, &(hub_channel_options_t){
                          .pattern = "who", .on_join = on_join_seen, .presence = &presence});
    server_mount(s, &(hub_endpoint_options_t){.limits = {SERVER_UNHURRIED}});
    server_start(s);
    return s;
}

static server_t *serve(hub_bus_t *bus)
{
    return serve_as(bus, (hub_server_options_t){.threads = 2});
}

static hub_bus_t *open_on_broker(hub_bus_options_t options, hub_bus_t **bus)
{
    options.backend = &fake_backend;
    options.backend_options = nodes.broker;
    assert_int_equal(hub_bus_create(&options, bus, NULL), HUB_OK);
    return *bus;
}

static server_t *serve_on_broker(hub_bus_options_t options, hub_bus_t **bus)
{
    return serve(open_on_broker(options, bus));
}

static void start_nodes(hub_bus_options_t options)
{
    nodes.broker = fake_broker_create();
    nodes.left = serve_on_broker(options, &nodes.left_bus);
    nodes.right = serve_on_broker((hub_bus_options_t){0}, &nodes.right_bus);
    fake_broker_start(nodes.broker);
    fake_broker_settle(nodes.broker);
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

static client_t *join(server_t *s, const char *topic)
{
    client_t *client = server_client(s, NATIVE);

    client_join(client, topic, "1");
    return client;
}

static hub_status_t publish(server_t *from, const char *topic, const char *json)
{
    return hub_publish(from->hub, hub_str(topic), HUB_STR("said"), hub_json(hub_str(json)));
}

/* Says it and has the word that it was handled. */
static void say(client_t *client, const char *topic, const char *json)
{
    client_say(client, topic, "say", json, "7");
    client_expect_ok(client, topic, "7", "{}");
}

/* ---- while the broker is away ---- */

static void who_pushes_is_told_that_the_bus_is_down(void **state)
{
    client_t *alice, *bob;

    (void)state;
    start_nodes((hub_bus_options_t){0});
    alice = join(nodes.left, "room:1");
    bob = join(nodes.left, "room:1");
    fake_broker_disconnect(nodes.broker, nodes.left_bus);
    client_say(alice, "room:1", "say", "1", "2");
    client_expect_error(alice, "room:1", "2", "bus_down");
    client_say(alice, "room:1", "tell", "1", "3");
    client_expect_error(alice, "room:1", "3", "bus_down");
    client_expect_quiet(bob);
    server_expect_log("bus.down", "backend=fake"); /* and not a line for each of the above */
    assert_int_equal(server_count_log("handler.failed"), 0);
    fake_broker_connect(nodes.broker, nodes.left_bus);
    fake_broker_settle(nodes.broker);
    client_expect_event(alice, "room:1", "gap", "{'reason':'bus','missed':null}");
    client_say(alice, "room:1", "say", "4", NULL); /* still a member */
    client_expect_event(alice, "room:1", "said", "4");
}

/* Its channel has not crashed: a client that took it so would join again, with all others. */
static void a_phoenix_client_is_told_so_and_stays(void **state)
{
    client_t *first, *second;

    (void)state;
    start_nodes((hub_bus_options_t){0});
    first = server_client(nodes.left, PHOENIX1);
    client_json(first, "{'topic':'room:1','event':'phx_join','payload':{},'ref':'1'}");
    client_expect_json(first, "{'topic':'room:1','event':'phx_reply','ref':'1','payload':{"
                              "'status':'ok','response':{}}}");
    second = server_client(nodes.left, PHOENIX2);
    client_json(second, "['1','1','room:1','phx_join',{}]");
    client_expect_json(second, "['1','1','room:1','phx_reply',{'status':'ok','response':{}}]");
    fake_broker_disconnect(nodes.broker, nodes.left_bus);
    client_json(first, "{'topic':'room:1','event':'say','payload':{},'ref':'2'}");
    client_expect_json(first, "{'topic':'room:1','event':'phx_reply','ref':'2','payload':{"
                              "'status':'error','response':{'reason':'bus_down'}}}");
    client_json(second, "['1','2','room:1','say',{}]");
    client_expect_json(second, "['1','2','room:1','phx_reply',{'status':'error','response':{"
                               "'reason':'bus_down'}}]");
    client_json(second, "['1','3','room:1','thread',{}]"); /* still a member */
    assert_non_null(strstr(client_expect_frame(second, CLIENT_TEXT).base, "\"ok\""));
}

static void a_program_is_told_so_too(void **state)
{
    client_t *alice;

    (void)state;
    start_nodes((hub_bus_options_t){0});
    alice = join(nodes.left, "room:1");
    fake_broker_disconnect(nodes.broker, nodes.left_bus);
    assert_int_equal(publish(nodes.left, "room:1", "1"), HUB_EBUSDOWN);
    assert_int_equal(hub_emit(nodes.left->hub, HUB_STR("room:1"), HUB_STR("said"), HUB_JSON("1")),
                     HUB_EBUSDOWN);
    assert_int_equal(publish(nodes.left, "game:1", "1"), HUB_EBUSDOWN);
    client_expect_quiet(alice);
}

static void presence_goes_on_without_a_line_for_each_try(void **state)
{
    client_t *alice;

    (void)state;
    start_nodes((hub_bus_options_t){0});
    fake_broker_disconnect(nodes.broker, nodes.left_bus);
    alice = join(nodes.left, "who");
    assert_non_null(strstr(client_expect_frame(alice, CLIENT_TEXT).base, "presence_diff"));
    assert_false(server_has_log("presence.publish"));
}

static void on_published(const hub_publish_result_t *result, void *user)
{
    (void)user;
    server_note("%s %s %d", hub_status_name(result->status),
                result->level == HUB_LEVEL_BUS ? "bus" : "local", (int)result->counts.members);
}

static void publish_counted(server_t *from, const char *topic)
{
    assert_int_equal(hub_publish_counted(from->hub, hub_str(topic), HUB_STR("said"), HUB_JSON("1"),
                                         on_published, NULL),
                     HUB_OK);
}

static void a_degraded_hub_serves_its_own(void **state)
{
    client_t *alice, *bob;

    (void)state;
    start_nodes((hub_bus_options_t){.degraded_local = true});
    alice = join(nodes.left, "room:1");
    bob = join(nodes.right, "room:1");
    fake_broker_disconnect(nodes.broker, nodes.left_bus);
    publish_counted(nodes.left, "room:1");
    client_expect_event(alice, "room:1", "said", "1");
    server_expect_note("EBUSDOWN local 1");
    client_expect_quiet(bob);
}

static void what_is_said_meanwhile_goes_out_from_a_buffer(void **state)
{
    client_t *alice, *bob;

    (void)state;
    start_nodes((hub_bus_options_t){.buffer_bytes = 100000});
    alice = join(nodes.left, "room:1");
    bob = join(nodes.right, "room:1");
    fake_broker_disconnect(nodes.broker, nodes.left_bus);
    client_say(alice, "room:1", "say", "1", NULL);
    client_expect_event(alice, "room:1", "said", "1");
    publish_counted(nodes.left, "room:1");
    client_expect_event(alice, "room:1", "said", "1");
    client_expect_quiet(bob);
    fake_broker_connect(nodes.broker, nodes.left_bus);
    client_expect_event(bob, "room:1", "said", "1");
    client_expect_event(bob, "room:1", "said", "1");
    server_expect_note("OK bus 1");
}

static void more_than_may_be_in_flight_is_a_limit(void **state)
{
    client_t *alice;

    (void)state;
    start_nodes((hub_bus_options_t){.in_flight_bytes = 1});
    alice = join(nodes.left, "room:1");
    fake_broker_set(nodes.broker, (fake_faults_t){.slow = true});
    client_say(alice, "room:1", "say", "1", NULL);
    client_expect_event(alice, "room:1", "said", "1");
    client_say(alice, "room:1", "say", "2", "2");
    client_expect_error(alice, "room:1", "2", "limit");
    fake_broker_set(nodes.broker, (fake_faults_t){0});
    fake_broker_settle(nodes.broker);
    client_say(alice, "room:1", "say", "3", NULL);
    client_expect_event(alice, "room:1", "said", "3");
}

/* ---- one order ---- */

/* Broadcasts and publishes of both nodes, with a broker that waits until all of them lie there. */
static void all_nodes_hear_the_order_of_the_broker(void **state)
{
    client_t *alice, *bob;

    (void)state;
    start_nodes((hub_bus_options_t){0});
    alice = join(nodes.left, "game:1");
    bob = join(nodes.right, "game:1");
    fake_broker_set(nodes.broker, (fake_faults_t){.slow = true});
    say(alice, "game:1", "1");
    say(bob, "game:1", "2");
    assert_int_equal(publish(nodes.left, "game:1", "3"), HUB_OK);
    publish_counted(nodes.right, "game:1");
    client_say(alice, "game:1", "tell", "4", "8");
    client_expect_ok(alice, "game:1", "8", "{}");
    client_expect_quiet(alice);
    client_expect_quiet(bob);
    fake_broker_set(nodes.broker, (fake_faults_t){0});
    for (int i = 0; i < 2; i++) {
        client_t *client = i == 0 ? alice : bob;

        client_expect_event(client, "game:1", "said", "1");
        client_expect_event(client, "game:1", "said", "2");
        client_expect_event(client, "game:1", "said", "3");
        client_expect_event(client, "game:1", "said", "1");
    }
    server_expect_note("OK bus 1");
    client_expect_event(bob, "game:1", "said", "4"); /* and not who said it */
    client_expect_quiet(alice);
}

static void other_channels_hear_their_own_at_once(void **state)
{
    client_t *alice;

    (void)state;
    start_nodes((hub_bus_options_t){0});
    alice = join(nodes.left, "room:1");
    fake_broker_set(nodes.broker, (fake_faults_t){.slow = true});
    client_say(alice, "room:1", "say", "1", NULL);
    client_expect_event(alice, "room:1", "said", "1");
    assert_int_equal(publish(nodes.left, "room:1", "2"), HUB_OK);
    client_expect_event(alice, "room:1", "said", "2");
}

static void what_the_broker_loses_of_its_own_is_a_gap_for_a_node(void **state)
{
    client_t *alice;

    (void)state;
    start_nodes((hub_bus_options_t){0});
    alice = join(nodes.left, "game:1");
    fake_broker_set(nodes.broker, (fake_faults_t){.lose = 1});
    assert_int_equal(publish(nodes.left, "game:1", "1"), HUB_OK);
    fake_broker_settle(nodes.broker);
    assert_int_equal(publish(nodes.left, "game:1", "2"), HUB_OK);
    client_expect_event(alice, "game:1", "gap", "{'reason':'lost','missed':1}");
    client_expect_event(alice, "game:1", "said", "2");
}

static void what_is_said_while_joining_is_heard_behind_the_reply(void **state)
{
    client_t *alice;

    (void)state;
    start_nodes((hub_bus_options_t){0});
    alice = join(nodes.left, "loud");
    client_expect_event(alice, "loud", "said", "1");
    client_expect_event(alice, "loud", "said", "2");
}

/* Takes what a client hears of the burst, as text. */
static char *hear_burst(client_t *client)
{
    char *heard = calloc(1, (size_t)(2 * BURST) * 8 + 1);
    size_t len = 0;

    for (int i = 0; i < 2 * BURST; i++) {
        hub_str_t frame = client_expect_frame(client, CLIENT_TEXT);
        const char *payload = strstr(frame.base, "\"payload\":");

        assert_non_null(payload);
        len += (size_t)snprintf(heard + len, 8, "%.4s ", payload + strlen("\"payload\":"));
    }
    return heard;
}

static void two_workers_hear_one_order(void **state)
{
    client_t *alice, *bob;
    char json[16], *left, *right;
    server_t *s = serve(NULL);

    (void)state;
    server_client_pair(s, NATIVE, "game:1", "thread", &alice, &bob);
    for (int i = 0; i < BURST; i++) {
        snprintf(json, sizeof(json), "%d", 1000 + i);
        client_say(alice, "game:1", "say", json, NULL);
        snprintf(json, sizeof(json), "%d", 2000 + i);
        client_say(bob, "game:1", "say", json, NULL);
    }
    left = hear_burst(alice);
    right = hear_burst(bob);
    assert_string_equal(left, right);
    free(left);
    free(right);
}

/* ---- a stop, node by node ---- */

/* Its first client is told to come back, the second one not yet. */
static void start_a_node_that_drains_slowly(void)
{
    nodes.broker = fake_broker_create();
    nodes.left =
        serve_as(open_on_broker((hub_bus_options_t){0}, &nodes.left_bus),
                 (hub_server_options_t){.limits = {.drain_batch = 1, .drain_batch_ms = 60000}});
    nodes.right = serve_on_broker((hub_bus_options_t){0}, &nodes.right_bus);
    fake_broker_start(nodes.broker);
    fake_broker_settle(nodes.broker);
}

static void what_is_said_while_a_node_drains_is_heard_elsewhere(void **state)
{
    client_t *first, *later, *far;

    (void)state;
    start_a_node_that_drains_slowly();
    first = join(nodes.left, "room:1");
    later = join(nodes.left, "room:1");
    far = join(nodes.right, "room:1");
    hub_server_stop(nodes.left->server);
    client_expect_close(first, 1012);
    client_close_frame(first, 1012, "");
    client_say(later, "room:1", "say", "1", NULL);
    client_expect_event(far, "room:1", "said", "1");
    assert_int_equal(publish(nodes.right, "room:1", "2"), HUB_OK);
    client_expect_event(later, "room:1", "said", "1");
    client_expect_event(later, "room:1", "said", "2");
    client_close_frame(later, 1000, "");
    client_expect_close(later, 1000);
}

#define BUS_CASE(name) cmocka_unit_test_teardown(name, end_nodes)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BUS_CASE(who_pushes_is_told_that_the_bus_is_down),
        BUS_CASE(a_phoenix_client_is_told_so_and_stays),
        BUS_CASE(a_program_is_told_so_too),
        BUS_CASE(presence_goes_on_without_a_line_for_each_try),
        BUS_CASE(a_degraded_hub_serves_its_own),
        BUS_CASE(what_is_said_meanwhile_goes_out_from_a_buffer),
        BUS_CASE(more_than_may_be_in_flight_is_a_limit),
        BUS_CASE(all_nodes_hear_the_order_of_the_broker),
        BUS_CASE(other_channels_hear_their_own_at_once),
        BUS_CASE(what_the_broker_loses_of_its_own_is_a_gap_for_a_node),
        BUS_CASE(what_is_said_while_joining_is_heard_behind_the_reply),
        BUS_CASE(two_workers_hear_one_order),
        BUS_CASE(what_is_said_while_a_node_drains_is_heard_elsewhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
