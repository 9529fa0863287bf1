/* SPDX-License-Identifier: MIT */
/* Where lists of presence meet and where they do not: two hubs of one server on one bus, and two
 * nodes on a broker that loses what one of them answers. */
#include "hub/internal.h"
#include "test/fake_backend.h"
#include "test/server.h"
#include "test/watcher.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TARGET "/socket"
#define BEAT_MS 300
#define SHORT_BEAT_MS 50

static struct {
    fake_broker_t *broker;
    hub_bus_t *left_bus, *right_bus;
    server_t *left, *right;
    hub_t *other; /* a second hub of the left server */
} here;

static hub_status_t on_authorize(hub_request_t *request, void *user)
{
    (void)user;
    hub_request_grant(request, &(hub_grant_t){.identity = hub_request_query(request, "user")});
    return HUB_OK;
}

static hub_status_t on_join(hub_member_t *me, const hub_message_t *msg)
{
    hub_str_t identity = hub_conn_identity(hub_member_conn(me));
    hub_status_t err = hub_presence_track(me, identity, HUB_JSON("{}"));

    (void)msg;
    return err != HUB_OK ? err : hub_presence_push(me);
}

static void add_channel(hub_t *hub)
{
    static const hub_presence_options_t presence = {.diff_ms = 5};

    assert_int_equal(hub_channel_add(hub, &(hub_channel_options_t){.pattern = "room:{id}",
                                                                   .on_join = on_join,
                                                                   .presence = &presence}),
                     HUB_OK);
}

static server_t *serve(hub_bus_t *bus, const hub_server_options_t *options, uint32_t beat_ms)
{
    server_t *s = server_create_with(
        options, &(hub_options_t){.name = "app", .bus = bus, .presence_beat_ms = beat_ms});

    add_channel(s->hub);
    server_mount(s, &(hub_endpoint_options_t){.on_authorize = on_authorize});
    return s;
}

static int end(void **state)
{
    server_teardown(state);
    hub_destroy(here.other);
    hub_bus_destroy(here.left_bus);
    hub_bus_destroy(here.right_bus);
    if (here.broker != NULL)
        fake_broker_destroy(here.broker);
    memset(&here, 0, sizeof(here));
    return 0;
}

static watcher_t come_to(server_t *s, const char *path, const char *topic, const char *user)
{
    char target[64];
    watcher_t watcher;

    snprintf(target, sizeof(target), "%s?user=%s", path, user);
    watcher = watcher_begin(server_client(s, target), target, topic, user);
    watcher_await_state(&watcher);
    return watcher;
}

static void leave(server_t *s, watcher_t *watcher)
{
    server_drop_client(s, watcher->client, client_destroy);
    watcher_forget(watcher);
}

/* ---- two hubs of one server on one bus ---- */

static void start_with_two_hubs(void)
{
    hub_options_t options = {.name = "other", .presence_beat_ms = BEAT_MS};

    assert_int_equal(hub_bus_create(NULL, &here.left_bus, NULL), HUB_OK);
    here.left = serve(here.left_bus, &(hub_server_options_t){.threads = 2}, BEAT_MS);
    options.bus = here.left_bus;
    assert_int_equal(hub_create(&options, &here.other), HUB_OK);
    add_channel(here.other);
    assert_int_equal(
        hub_server_mount(here.left->server, here.other,
                         &(hub_endpoint_options_t){.path = "/other", .on_authorize = on_authorize}),
        HUB_OK);
    server_start(here.left);
}

static void hubs_of_other_names_on_one_bus_never_meet(void **state)
{
    watcher_t alice, bob, carol, dora;

    (void)state;
    start_with_two_hubs();
    alice = come_to(here.left, TARGET, "room:1", "alice");
    bob = come_to(here.left, "/other", "room:1", "bob");
    carol = come_to(here.left, TARGET, "room:1", "carol");
    dora = come_to(here.left, "/other", "room:1", "dora");
    watcher_expect(&alice, "{'alice':1,'carol':1}");
    watcher_expect(&carol, "{'alice':1,'carol':1}");
    watcher_expect(&bob, "{'bob':1,'dora':1}");
    watcher_expect(&dora, "{'bob':1,'dora':1}");
    leave(here.left, &carol);
    watcher_expect(&alice, "{'alice':1}");
    leave(here.left, &dora);
    watcher_expect(&bob, "{'bob':1}");
    assert_int_equal(alice.joins, 2); /* of all that she was told, nothing was of the other hub */
    assert_int_equal(alice.leaves, 1);
    assert_int_equal(bob.joins, 2);
    assert_int_equal(bob.leaves, 1);
    watcher_forget(&alice);
    watcher_forget(&bob);
}

/* ---- two nodes, one of which stops for longer than others may be silent ---- */

static void pass_beats(unsigned count)
{
    uint64_t until_us = hub__monotonic_us() + (uint64_t)count * SHORT_BEAT_MS * 1000;

    while (hub__monotonic_us() < until_us)
        poll(NULL, 0, 5);
}

static void who_stays_while_a_server_stops_sees_the_other_nodes(void **state)
{
    watcher_t first, later, bob, carol;

    (void)state;
    assert_int_equal(hub_bus_create(NULL, &here.left_bus, NULL), HUB_OK);
    here.left =
        serve(here.left_bus,
              &(hub_server_options_t){.limits = {.drain_batch = 1, .drain_batch_ms = 60000}},
              SHORT_BEAT_MS);
    here.right = serve(here.left_bus, NULL, SHORT_BEAT_MS);
    server_start(here.left);
    server_start(here.right);
    first = come_to(here.left, TARGET, "room:1", "first");
    later = come_to(here.left, TARGET, "room:1", "later");
    bob = come_to(here.right, TARGET, "room:1", "bob");
    watcher_expect(&later, "{'bob':1,'first':1,'later':1}");
    hub_server_stop(here.left->server);
    watcher_expect(&later, "{'bob':1,'later':1}");
    pass_beats(8);
    carol = come_to(here.right, TARGET, "room:1", "carol");
    watcher_expect(&later, "{'bob':1,'carol':1,'later':1}");
    assert_int_equal(later.leaves, 1);
    assert_int_equal(SERVER_STAT(here.left, presence_peers_gone_total), 0);
    leave(here.left, &first);
    leave(here.left, &later);
    watcher_forget(&bob);
    watcher_forget(&carol);
}

/* ---- two nodes on a broker that loses ---- */

static server_t *serve_on_broker(hub_bus_t **bus)
{
    server_t *s;

    assert_int_equal(hub_bus_create(&(hub_bus_options_t){.backend = &fake_backend,
                                                         .backend_options = here.broker},
                                    bus, NULL),
                     HUB_OK);
    s = serve(*bus, NULL, BEAT_MS);
    server_start(s);
    return s;
}

static void start_nodes(void)
{
    here.broker = fake_broker_create();
    here.left = serve_on_broker(&here.left_bus);
    here.right = serve_on_broker(&here.right_bus);
    fake_broker_start(here.broker);
    fake_broker_settle(here.broker);
}

/* What the broker has delivered so far is done there, and what came of it is with the broker. */
static void let_work(watcher_t *watcher)
{
    for (int i = 0; i < 3; i++) {
        fake_broker_settle(here.broker);
        client_say(watcher->client, "hub", "heartbeat", "{}", "'worked'");
        watcher_take(watcher);
    }
    fake_broker_settle(here.broker);
}

/* It was the first word of the left node on that topic: no number shows that it is missing. */
static void an_answer_that_the_broker_loses_is_asked_for_again(void **state)
{
    watcher_t alice, bob, carol, dora;

    (void)state;
    start_nodes();
    alice = come_to(here.left, TARGET, "room:1", "alice");
    carol = come_to(here.left, TARGET, "room:2", "carol");
    dora = come_to(here.right, TARGET, "room:2", "dora");
    watcher_expect(&dora, "{'carol':1,'dora':1}"); /* so the right node knows the left one */
    fake_broker_set(here.broker, (fake_faults_t){.mute = here.left_bus});
    bob = come_to(here.right, TARGET, "room:1", "bob");
    watcher_expect(&bob, "{'bob':1}");
    let_work(&alice);
    fake_broker_set(here.broker, (fake_faults_t){0});
    assert_true(watcher_sees(&bob, "{'bob':1}"));
    watcher_expect(&bob, "{'alice':1,'bob':1}");
    watcher_expect(&alice, "{'alice':1,'bob':1}");
    assert_int_equal(bob.leaves, 0);
    assert_int_equal(alice.leaves, 0);
    watcher_forget(&alice);
    watcher_forget(&bob);
    watcher_forget(&carol);
    watcher_forget(&dora);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(hubs_of_other_names_on_one_bus_never_meet, end),
        cmocka_unit_test_teardown(who_stays_while_a_server_stops_sees_the_other_nodes, end),
        cmocka_unit_test_teardown(an_answer_that_the_broker_loses_is_asked_for_again, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
