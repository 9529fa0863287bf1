/* SPDX-License-Identifier: MIT */
/* A hub here and one in a process of its own, on a real broker of each kind: what becomes of a
 * node's members when it is killed, hangs, or ends, what an outage of the broker is to those who
 * stay, and what is addressed to connections at the other node. */
#include "test/broker.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hub/internal.h"
#include "test/kept.h"
#include "test/launch.h"
#include "test/proxy.h"
#include "test/server.h"
#include "test/watcher.h"

#define V2 "/socket/websocket?vsn=2.0.0"
#define BEAT_MS 100
#define SLOW_BEAT_MS 500 /* 4 of them are longer than a node may be later back than another */

static struct {
    broker_t *broker;
    proxy_t *proxy; /* between the broker and the node there */
    char url[256], there_url[256];
    hub_bus_t *bus;
    server_t *here;
    launched_t there;
    unsigned threads; /* here; 0 means 2 */
    unsigned beat_ms;
    watcher_t alice; /* here; she is told of all others */
} nodes;

/* ---- the two nodes ---- */

static hub_status_t on_join(hub_member_t *me, const hub_message_t *msg)
{
    hub_str_t identity = hub_conn_identity(hub_member_conn(me));
    hub_status_t err = hub_presence_track(me, identity, HUB_JSON("{}"));

    (void)msg;
    return err != HUB_OK ? err : hub_presence_push(me);
}

static hub_status_t on_authorize(hub_request_t *request, void *user)
{
    (void)user;
    hub_request_grant(request, &(hub_grant_t){.identity = hub_request_query(request, "user")});
    return HUB_OK;
}

static void await_health(void)
{
    for (int i = 0; i < CLIENT_DEADLINE_MS && !hub_bus_is_healthy(nodes.bus); i++)
        poll(NULL, 0, 1);
    assert_true(hub_bus_is_healthy(nodes.bus));
}

static void start_there(void)
{
    char beat[16];

    snprintf(beat, sizeof(beat), "%u", nodes.beat_ms);
    launch(&nodes.there, "test/node_app",
           (const char *const[]){"--bus", nodes.there_url, "--beat", beat, NULL}, 0);
}

static void complete_url(char *ret_url, size_t size, const char *url)
{
    snprintf(ret_url, size, "%s?name=cluster%d&probe_ms=100&probe_timeout_ms=1000", url,
             (int)getpid());
}

/* On the broker that ctest keeps, if there is one and the case does no harm to it. */
static void find_broker(broker_kind_t kind, bool may_be_kept)
{
    char *kept = may_be_kept ? kept_broker_url(kind) : NULL;

    broker_need(kind);
    if (kept == NULL)
        assert_non_null(nodes.broker = broker_start(kind, NULL));
    complete_url(nodes.url, sizeof(nodes.url), kept != NULL ? kept : broker_url(nodes.broker));
    memcpy(nodes.there_url, nodes.url, sizeof(nodes.url));
    free(kept);
}

/* With a proxy between it and the node there. */
static void find_broker_that_can_be_cut_off(broker_kind_t kind)
{
    char *url;

    find_broker(kind, false);
    assert_non_null(nodes.proxy = proxy_start(broker_port(nodes.broker)));
    url = broker_url_at(nodes.broker, proxy_port(nodes.proxy));
    complete_url(nodes.there_url, sizeof(nodes.there_url), url);
    free(url);
}

static void start_on(unsigned beat_ms)
{
    hub_error_t error = {0};

    nodes.beat_ms = beat_ms;
    if (hub_bus_open(nodes.url, NULL, &nodes.bus, &error) != HUB_OK)
        fail_msg("%s: %s", nodes.url, error.text);
    nodes.here = server_create_with(
        &(hub_server_options_t){.threads = nodes.threads != 0 ? nodes.threads : 2},
        &(hub_options_t){.name = "app", .bus = nodes.bus, .presence_beat_ms = beat_ms});
    server_channel(nodes.here,
                   &(hub_channel_options_t){.pattern = "room:{id}",
                                            .on_join = on_join,
                                            .presence = &(hub_presence_options_t){.diff_ms = 5}});
    server_mount(nodes.here, &(hub_endpoint_options_t){.on_authorize = on_authorize});
    server_start(nodes.here);
    await_health();
    start_there();
    nodes.alice = watcher_begin(server_client(nodes.here, V2 "&user=alice"), V2, "room:1", "alice");
    watcher_await_state(&nodes.alice);
}

static void start(broker_kind_t kind)
{
    find_broker(kind, true);
    start_on(BEAT_MS);
}

static int end(void **state)
{
    if (nodes.there.pid != 0)
        (void)launched_stop(&nodes.there, SIGKILL);
    watcher_forget(&nodes.alice);
    server_teardown(state);
    hub_bus_destroy(nodes.bus);
    proxy_stop(nodes.proxy);
    broker_stop(nodes.broker);
    memset(&nodes, 0, sizeof(nodes));
    return 0;
}

static watcher_t come_to(const char *address, const char *key)
{
    char target[64];
    client_t *client;
    watcher_t watcher;

    snprintf(target, sizeof(target), V2 "&user=%s", key);
    client = server_keep_client(nodes.here, client_open(address, target, NULL));
    watcher = watcher_begin(client, target, "room:1", key);
    watcher_await_state(&watcher);
    return watcher;
}

static watcher_t come_there(const char *key)
{
    return come_to(nodes.there.address, key);
}

/* Alice sees bob, who is at the other node. */
static watcher_t start_with_bob(broker_kind_t kind)
{
    watcher_t bob;

    start(kind);
    bob = come_there("bob");
    watcher_expect(&nodes.alice, "{'alice':1,'bob':1}");
    return bob;
}

/* Of all that she was told since she came. */
static void expect_told(unsigned joins, unsigned leaves)
{
    assert_int_equal(nodes.alice.joins, joins);
    assert_int_equal(nodes.alice.leaves, leaves);
}

/* ---- the end of a node ---- */

static void a_killed_node_is_cleared_and_its_successor_seen(broker_kind_t kind)
{
    watcher_t bob, carol;

    start(kind);
    bob = come_there("bob");
    carol = come_there("carol");
    watcher_expect(&nodes.alice, "{'alice':1,'bob':1,'carol':1}");
    watcher_expect(&carol, "{'alice':1,'bob':1,'carol':1}");
    expect_told(3, 0);
    (void)launched_stop(&nodes.there, SIGKILL);
    watcher_expect(&nodes.alice, "{'alice':1}");
    expect_told(3, 2);
    watcher_forget(&bob);
    watcher_forget(&carol);
    start_there();
    bob = come_there("bob");
    watcher_expect(&nodes.alice, "{'alice':1,'bob':1}");
    watcher_expect(&bob, "{'alice':1,'bob':1}");
    expect_told(4, 2);
    SERVER_EXPECT_STAT(nodes.here, presence_peers_gone_total, 1);
    watcher_forget(&bob);
}

static void a_node_that_hung_comes_back_with_its_members(broker_kind_t kind)
{
    watcher_t bob = start_with_bob(kind);

    kill(nodes.there.pid, SIGSTOP);
    watcher_expect(&nodes.alice, "{'alice':1}");
    kill(nodes.there.pid, SIGCONT);
    watcher_expect(&nodes.alice, "{'alice':1,'bob':1}");
    expect_told(3, 1);
    watcher_expect(&bob, "{'alice':1,'bob':1}");
    assert_int_equal(bob.leaves, 0); /* it thought of nobody as gone meanwhile */
    watcher_forget(&bob);
}

static void a_node_that_ends_is_cleared_at_once(broker_kind_t kind)
{
    watcher_t bob = start_with_bob(kind);

    kill(nodes.there.pid, SIGTERM);
    watcher_expect(&nodes.alice, "{'alice':1}");
    expect_told(2, 1);
    (void)client_drain_to_close(bob.client, 1012); /* it was no sudden end */
    server_drop_client(nodes.here, bob.client, client_destroy);
    assert_int_equal(launched_stop(&nodes.there, 0), 0);
    assert_int_equal(SERVER_STAT(nodes.here, presence_peers_gone_total), 0);
    watcher_forget(&bob);
}

/* ---- the end of the broker ---- */

static void pass_beats(int count)
{
    uint64_t until_us = hub__monotonic_us() + (uint64_t)count * nodes.beat_ms * 1000;

    while (hub__monotonic_us() < until_us)
        poll(NULL, 0, 5);
}

static void an_outage_of_the_broker_is_no_news(broker_kind_t kind)
{
    watcher_t bob;

    find_broker(kind, false);
    start_on(SLOW_BEAT_MS);
    bob = come_there("bob");
    watcher_expect(&nodes.alice, "{'alice':1,'bob':1}");
    watcher_expect(&bob, "{'alice':1,'bob':1}");
    expect_told(2, 0);
    broker_kill(nodes.broker);
    pass_beats(6);
    assert_true(broker_restart(nodes.broker, false));
    await_health();
    watcher_forget(&bob);
    bob = come_there("bert"); /* all that came before has been told */
    watcher_expect(&nodes.alice, "{'alice':1,'bert':1,'bob':1}");
    expect_told(3, 0);
    assert_int_equal(server_count_log("presence.publish"), 0); /* that it was down is one line */
    watcher_forget(&bob);
}

static void who_died_during_an_outage_is_cleared_behind_it(broker_kind_t kind)
{
    watcher_t bob;

    find_broker(kind, false);
    start_on(BEAT_MS);
    bob = come_there("bob");
    watcher_expect(&nodes.alice, "{'alice':1,'bob':1}");
    broker_kill(nodes.broker);
    pass_beats(2);
    (void)launched_stop(&nodes.there, SIGKILL);
    pass_beats(6);
    assert_true(broker_restart(nodes.broker, false));
    watcher_expect(&nodes.alice, "{'alice':1}");
    assert_true(hub_bus_is_healthy(nodes.bus));
    expect_told(2, 1);
    watcher_forget(&bob);
}

/* The others can't tell it from a dead one; itself it can't tell from who has no broker. */
static void a_node_that_is_cut_off_alone_comes_back(broker_kind_t kind)
{
    watcher_t bob, carol, dave;

    find_broker_that_can_be_cut_off(kind);
    nodes.threads = 1; /* which answers for carol when she is gone */
    start_on(BEAT_MS);
    bob = come_there("bob");
    carol = come_to(nodes.here->address, "carol");
    watcher_expect(&nodes.alice, "{'alice':1,'bob':1,'carol':1}");
    watcher_expect(&bob, "{'alice':1,'bob':1,'carol':1}");
    proxy_refuse(nodes.proxy, true);
    proxy_reset(nodes.proxy);
    watcher_expect(&nodes.alice, "{'alice':1,'carol':1}");
    expect_told(3, 1);
    server_drop_client(nodes.here, carol.client, client_destroy);
    watcher_expect(&nodes.alice, "{'alice':1}");
    dave = come_there("dave"); /* who sees what was known there */
    assert_true(watcher_sees(&dave, "{'alice':1,'bob':1,'carol':1,'dave':1}"));
    watcher_expect(&bob, "{'alice':1,'bob':1,'carol':1,'dave':1}");
    proxy_refuse(nodes.proxy, false);
    watcher_expect(&nodes.alice, "{'alice':1,'bob':1,'dave':1}");
    expect_told(5, 2);
    watcher_expect(&bob, "{'alice':1,'bob':1,'dave':1}");
    watcher_expect(&dave, "{'alice':1,'bob':1,'dave':1}");
    assert_int_equal(bob.leaves, 1); /* carol, and nobody else for a moment */
    assert_int_equal(dave.joins, 1); /* his own */
    assert_int_equal(dave.leaves, 1);
    assert_int_equal(SERVER_STAT(nodes.here, presence_peers_gone_total), 1);
    watcher_forget(&bob);
    watcher_forget(&carol);
    watcher_forget(&dave);
}

/* ---- what is addressed to connections ---- */

static hub_conn_id_t id_of(watcher_t *watcher)
{
    hub_conn_id_t id;
    json_t *frame;

    client_json(watcher->client, "['7','w','room:1','who',{}]");
    for (;;) {
        const char *text = client_next(watcher->client).payload.base;

        frame = json_loads(text, 0, NULL);
        if (json_is_string(json_array_get(frame, 1)) &&
            strcmp(json_string_value(json_array_get(frame, 1)), "w") == 0)
            break;
        json_decref(frame);
    }
    assert_int_equal(
        hub_conn_id_parse(
            hub_str(json_string_value(json_object_get(json_array_get(frame, 4), "response"))), &id),
        HUB_OK);
    json_decref(frame);
    return id;
}

static hub_status_t push_id(hub_conn_id_t id, const char *json)
{
    return hub_conn_push_id(nodes.here->hub, id, HUB_STR("room:1"), HUB_STR("news"),
                            hub_json(hub_str(json)));
}

static void pushes_and_closes_reach_the_other_node_once(broker_kind_t kind)
{
    watcher_t bob, carol;
    hub_conn_id_t id, none;

    start(kind);
    bob = come_there("bob");
    carol = come_there("carol");
    watcher_expect(&bob, "{'alice':1,'bob':1,'carol':1}");
    watcher_expect(&carol, "{'alice':1,'bob':1,'carol':1}");
    none = id = id_of(&bob);
    none.local ^= 1; /* nobody there has it */
    for (int i = 0; i < 3; i++) {
        char json[32];

        snprintf(json, sizeof(json), "{\"n\":%d}", i);
        assert_int_equal(push_id(none, "{\"lost\":1}"), HUB_OK);
        assert_int_equal(push_id(id, json), HUB_OK);
    }
    assert_int_equal(hub_push_identity(nodes.here->hub, HUB_STR("carol"), HUB_STR("room:1"),
                                       HUB_STR("news"), HUB_JSON("{}")),
                     HUB_OK);
    assert_int_equal(hub_push_identity(nodes.here->hub, HUB_STR("nobody"), HUB_STR("room:1"),
                                       HUB_STR("news"), HUB_JSON("{}")),
                     HUB_OK);
    assert_int_equal(hub_conn_close_id(nodes.here->hub, id, 4000, HUB_STR("enough")), HUB_OK);
    assert_int_equal(push_id(id, "{}"), HUB_OK); /* gone meanwhile */
    for (int i = 0; i < 3; i++) {
        char json[64];

        snprintf(json, sizeof(json), "['7',null,'room:1','news',{'n':%d}]", i);
        client_expect_json(bob.client, json);
    }
    assert_true(hub_str_equals(client_expect_close(bob.client, 4000), HUB_STR("enough")));
    client_expect_json(carol.client, "['7',null,'room:1','news',{}]");
    assert_int_equal(hub_disconnect(nodes.here->hub, HUB_STR("carol")), HUB_OK);
    (void)client_drain_to_close(carol.client, 1001);
    watcher_expect(&nodes.alice, "{'alice':1}");
    (void)launched_stop(&nodes.there, SIGKILL);
    assert_int_equal(push_id(id, "{}"), HUB_OK); /* nobody can tell that the node is gone */
    watcher_forget(&bob);
    watcher_forget(&carol);
}

/* ---- on each broker ---- */

#define ON_EACH(name)                                                                              \
    static void name##_over_redis(void **state)                                                    \
    {                                                                                              \
        (void)state;                                                                               \
        name(BROKER_REDIS);                                                                        \
    }                                                                                              \
    static void name##_over_nats(void **state)                                                     \
    {                                                                                              \
        (void)state;                                                                               \
        name(BROKER_NATS);                                                                         \
    }                                                                                              \
    static void name##_over_postgres(void **state)                                                 \
    {                                                                                              \
        (void)state;                                                                               \
        name(BROKER_POSTGRES);                                                                     \
    }

ON_EACH(a_killed_node_is_cleared_and_its_successor_seen)
ON_EACH(a_node_that_hung_comes_back_with_its_members)
ON_EACH(a_node_that_ends_is_cleared_at_once)
ON_EACH(an_outage_of_the_broker_is_no_news)
ON_EACH(who_died_during_an_outage_is_cleared_behind_it)
ON_EACH(a_node_that_is_cut_off_alone_comes_back)
ON_EACH(pushes_and_closes_reach_the_other_node_once)

#define CASES(name)                                                                                \
    cmocka_unit_test_teardown(name##_over_redis, end),                                             \
        cmocka_unit_test_teardown(name##_over_nats, end),                                          \
        cmocka_unit_test_teardown(name##_over_postgres, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASES(a_killed_node_is_cleared_and_its_successor_seen),
        CASES(a_node_that_hung_comes_back_with_its_members),
        CASES(a_node_that_ends_is_cleared_at_once),
        CASES(an_outage_of_the_broker_is_no_news),
        CASES(who_died_during_an_outage_is_cleared_behind_it),
        CASES(a_node_that_is_cut_off_alone_comes_back),
        CASES(pushes_and_closes_reach_the_other_node_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
