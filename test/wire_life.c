/* SPDX-License-Identifier: MIT */
/* The life of a server: how it starts or says why not, how it stops with clients connected, and how
 * several of them, of hubs and of endpoints live beside each other; also within an h2o server that
 * the program runs itself. */
#define _GNU_SOURCE 1
#include "test/server.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "hub/h2o.h"
#include "test/certificate.h"
#include "test/fake_backend.h"

/* ---- the hub of these cases ---- */

static hub_status_t on_say(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_broadcast(me, msg->event, msg->payload);
}

/* The server stops while its own callback runs; what it still says must arrive. */
static hub_status_t on_stop(hub_member_t *me, const hub_message_t *msg)
{
    hub_stop(hub_member_hub(me));
    return hub_member_reply(me, msg, HUB_JSON("\"stopping\""));
}

static hub_status_t on_flood(hub_member_t *me, const hub_message_t *msg)
{
    static char json[60000];
    hub_status_t err = HUB_OK;

    (void)msg;
    memset(json, 'x', sizeof(json));
    json[0] = json[sizeof(json) - 1] = '"';
    for (int i = 0; i < 100 && err == HUB_OK; i++)
        err = hub_member_push(me, HUB_STR("x"), hub_json(hub_str_n(json, sizeof(json))));
    server_note("flooded");
    return err;
}

/* Keeps the loop of this worker until the gate opens, as no program should. */
static hub_status_t on_block(hub_member_t *me, const hub_message_t *msg)
{
    (void)me, (void)msg;
    server_note("blocked");
    server_gate_wait();
    return HUB_OK;
}

static void on_exit_note(hub_member_t *me, hub_exit_t why)
{
    server_note("exit %.*s %s", HUB_STR_ARG(hub_member_topic(me)),
                why == HUB_EXIT_SHUTDOWN ? "shutdown" : "otherwise");
}

static hub_status_t note_disconnect(const hub_hook_event_t *event, void *user)
{
    (void)user;
    server_note("disconnect %s", hub_disconnect_reason_name(event->reason));
    return HUB_OK;
}

static void work_note_signals(void *user)
{
    sigset_t blocked;

    (void)user;
    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    server_note("SIGUSR1 is %s", sigismember(&blocked, SIGUSR1) ? "blocked" : "open");
}

static void on_done_nothing(hub_member_t *me, hub_status_t status, void *user)
{
    (void)me, (void)status, (void)user;
}

static hub_status_t on_offload(hub_member_t *me, const hub_message_t *msg)
{
    (void)msg;
    return hub_member_offload(me, "job", work_note_signals, on_done_nothing, NULL);
}

static hub_status_t on_emit(hub_member_t *me, const hub_message_t *msg)
{
    return hub_emit(hub_member_hub(me), msg->topic, HUB_STR("emitted"), msg->payload);
}

static const hub_event_handler_t events[] = {
    {"say", on_say},         {"stop", on_stop}, {"flood", on_flood}, {"block", on_block},
    {"offload", on_offload}, {"emit", on_emit}, {NULL, NULL}};

static void fill_hub(hub_t *hub)
{
    assert_int_equal(hub_channel_add(hub, &(hub_channel_options_t){.pattern = "t{id}",
                                                                   .on_exit = on_exit_note,
                                                                   .events = events}),
                     HUB_OK);
    assert_int_equal(hub_hook_add(hub, HUB_HOOK_DISCONNECT, note_disconnect, NULL), HUB_OK);
}

static server_t *living(const hub_server_options_t *options, const hub_limits_t *limits)
{
    server_t *s = server_create_with(options, NULL);

    fill_hub(s->hub);
    server_mount(s, &(hub_endpoint_options_t){.limits = *limits});
    server_start(s);
    return s;
}

static server_t *living_pair(void)
{
    return living(&(hub_server_options_t){.threads = 2}, &(hub_limits_t){0});
}

static client_t *member_of(server_t *s, const char *target, const char *topic)
{
    client_t *c = server_client(s, target);

    client_join(c, topic, "'j'");
    return c;
}

static void expect_shutdown(client_t *client)
{
    (void)client_expect_close(client, 1012);
    client_close_frame(client, 1012, "");
    client_expect_eof(client);
    client_shutdown(client);
}

/* ---- stopping ---- */

static void a_stop_ends_every_member_and_connection_once(void **state)
{
    server_t *s = living_pair();
    client_t *a = member_of(s, "/socket", "t1"), *b = member_of(s, "/socket", "t1");

    (void)state;
    client_join(b, "t2", "'k'");
    hub_server_stop(s->server);
    hub_server_stop(s->server);
    expect_shutdown(a);
    expect_shutdown(b);
    hub_server_wait(s->server);
    hub_stop(s->hub);
    SERVER_EXPECT_NOTES("exit t1 shutdown", "exit t1 shutdown", "exit t2 shutdown",
                        "disconnect shutdown", "disconnect shutdown");
    server_expect_no_note();
}

static void after_a_stop_nobody_can_connect_or_publish(void **state)
{
    server_t *s = living_pair();

    (void)state;
    assert_int_equal(hub_publish(s->hub, HUB_STR("t1"), HUB_STR("x"), HUB_JSON("1")), HUB_OK);
    server_stop(s);
    assert_null(client_try_connect(s->address));
    assert_int_equal(hub_publish(s->hub, HUB_STR("t1"), HUB_STR("x"), HUB_JSON("1")), HUB_ECLOSED);
}

static void *publish_until_closed(void *arg)
{
    hub_t *hub = arg;

    while (hub_publish(hub, HUB_STR("t1"), HUB_STR("x"), HUB_JSON("1")) == HUB_OK)
        server_note("published");
    return NULL;
}

static void a_thread_may_publish_while_the_server_stops(void **state)
{
    server_t *s = living_pair();
    client_t *c = member_of(s, "/socket", "t1");
    pthread_t thread;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, publish_until_closed, s->hub), 0);
    server_expect_note("published");
    server_drop_client(s, c, client_abort);
    server_stop(s);
    pthread_join(thread, NULL);
    assert_int_equal(hub_publish(s->hub, HUB_STR("t1"), HUB_STR("x"), HUB_JSON("1")), HUB_ECLOSED);
}

static void before_the_start_a_publish_is_closed_and_afterwards_channels_are_busy(void **state)
{
    server_t *s = server_create();
    hub_t *sub = NULL;

    (void)state;
    assert_int_equal(hub_publish(s->hub, HUB_STR("t1"), HUB_STR("x"), HUB_JSON("1")), HUB_ECLOSED);
    server_mount(s, NULL);
    server_start(s);
    assert_int_equal(hub_create(NULL, &sub), HUB_OK);
    assert_int_equal(hub_channel_add(s->hub, &(hub_channel_options_t){.pattern = "x"}), HUB_EBUSY);
    assert_int_equal(hub_hook_add(s->hub, HUB_HOOK_OPEN, note_disconnect, NULL), HUB_EBUSY);
    assert_int_equal(hub_include(s->hub, sub, "x"), HUB_EBUSY);
    hub_destroy(sub);
}

static void what_waits_to_be_accepted_at_the_stop_is_not_left_hanging(void **state)
{
    server_t *s = living(NULL, &(hub_limits_t){0});
    client_t *late;

    (void)state;
    hub_server_stop(s->server);
    late = client_try_connect(s->address);
    hub_server_wait(s->server);
    /* The kernel itself forgets some who connect just as a listener is closed (one of thousands),
     * and tells them when they say something. */
    if (late != NULL)
        client_expect_reset(late);
    client_destroy(late);
}

static void a_callback_may_stop_its_own_server(void **state)
{
    server_t *s = living_pair();
    client_t *c = member_of(s, "/socket", "t1");

    (void)state;
    client_say(c, "t1", "stop", "{}", "1");
    client_expect_ok(c, "t1", "1", "'stopping'");
    expect_shutdown(c);
    hub_server_wait(s->server);
}

static void what_was_published_before_the_stop_still_arrives(void **state)
{
    server_t *s = living(NULL, &(hub_limits_t){0});
    client_t *c = member_of(s, "/socket", "t1");

    (void)state;
    client_say(c, "t1", "block", "{}", NULL);
    server_expect_note("blocked");
    assert_int_equal(hub_publish(s->hub, HUB_STR("t1"), HUB_STR("last"), HUB_JSON("1")), HUB_OK);
    hub_server_stop(s->server);
    server_gate_open(); /* the worker finds the message in its mailbox and the stop at once */
    client_expect_event(c, "t1", "last", "1");
    expect_shutdown(c);
}

static void clients_that_do_not_answer_the_close_do_not_hold_up_the_stop(void **state)
{
    server_t *s = living(NULL, &(hub_limits_t){.close_ms = 30});
    client_t *mute = member_of(s, "/socket", "t1"), *half = server_connect(s);

    (void)state;
    client_send_text(half, "GET /socket HTTP/1.1\r\n");
    server_stop(s);
    (void)client_expect_close(mute, 1012);
    client_expect_gone(mute);
    client_expect_gone(half);
    SERVER_EXPECT_NOTES("exit t1 shutdown", "disconnect shutdown");
}

static void a_client_that_does_not_read_is_cut_when_the_drain_is_over(void **state)
{
    server_t *s = living(&(hub_server_options_t){.limits = {.drain_ms = 50}},
                         &(hub_limits_t){.outbox_bytes = 64 << 20, .close_ms = 10000});
    time_t began;
    client_t *slow = server_keep_client(s, client_connect(s->address, 4096));

    (void)state;
    client_send_text(slow, client_upgrade_text("/socket", ""));
    client_expect_upgraded(slow);
    client_join(slow, "t1", "1");
    client_say(slow, "t1", "flood", "{}", NULL);
    server_expect_note("flooded");
    began = time(NULL);
    server_stop(s);
    assert_true(time(NULL) - began < 5);
    SERVER_EXPECT_NOTES("exit t1 shutdown", "disconnect shutdown");
}

static void *run_server(void *arg)
{
    hub_server_t *server = arg;

    server_note("run %s", hub_status_name(hub_server_run(server)));
    return NULL;
}

static void a_signal_ends_run(int signal)
{
    server_t *s = server_create();
    sigset_t signals, before;
    pthread_t thread;
    client_t *c;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, &before);
    fill_hub(s->hub);
    server_mount(s, NULL);
    assert_int_equal(hub_server_listen(s->server, "127.0.0.1:0"), HUB_OK);
    s->address = hub_server_address(s->server, 0);
    assert_int_equal(pthread_create(&thread, NULL, run_server, s->server), 0);
    c = member_of(s, "/socket", "t1");
    kill(getpid(), signal);
    expect_shutdown(c);
    pthread_join(thread, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    SERVER_EXPECT_NOTES("exit t1 shutdown", "disconnect shutdown", "run OK");
}

static void sigterm_ends_run(void **state)
{
    (void)state;
    a_signal_ends_run(SIGTERM);
}

/* Whose threads were there before the server blocked the signals to wait for them. */
static void sigterm_ends_run_beside_a_bus_with_a_broker(void **state)
{
    fake_broker_t *broker = fake_broker_create();
    hub_bus_t *bus = NULL;

    (void)state;
    assert_int_equal(
        hub_bus_create(&(hub_bus_options_t){.backend = &fake_backend, .backend_options = broker},
                       &bus, NULL),
        HUB_OK);
    a_signal_ends_run(SIGTERM);
    hub_bus_destroy(bus);
    fake_broker_destroy(broker);
}

static void sigint_ends_run(void **state)
{
    (void)state;
    a_signal_ends_run(SIGINT);
}

/* Signals are for the program's own threads: no job is interrupted, whoever asks for it. */
static void threads_for_jobs_take_no_signals(void **state)
{
    server_t *s = server_create();
    pthread_t thread;
    client_t *c;

    (void)state;
    fill_hub(s->hub);
    server_mount(s, NULL);
    assert_int_equal(hub_server_listen(s->server, "127.0.0.1:0"), HUB_OK);
    s->address = hub_server_address(s->server, 0);
    assert_int_equal(pthread_create(&thread, NULL, run_server, s->server), 0);
    c = member_of(s, "/socket", "t1");
    client_say(c, "t1", "offload", "{}", NULL);
    server_expect_note("SIGUSR1 is blocked");
    hub_server_stop(s->server);
    expect_shutdown(c);
    pthread_join(thread, NULL);
    SERVER_EXPECT_NOTES("exit t1 shutdown", "disconnect shutdown", "run OK");
}

/* ---- threads that take their time to begin ---- */

static _Atomic bool late_threads; /* those made from now on do not begin before it is false again */

struct start {
    void *(*main)(void *arg);
    void *arg;
};

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*main)(void *arg), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*main)(void *arg), void *arg);

static void *begin_late(void *arg)
{
    struct start start = *(struct start *)arg;

    free(arg);
    for (int ms = 0; atomic_load(&late_threads) && ms < 2 * CLIENT_DEADLINE_MS; ms++)
        poll(NULL, 0, 1);
    return start.main(start.arg);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*main)(void *arg), void *arg)
{
    struct start *start;

    if (!atomic_load(&late_threads))
        return __real_pthread_create(thread, attributes, main, arg);
    start = malloc(sizeof(*start));
    *start = (struct start){main, arg};
    return __real_pthread_create(thread, attributes, begin_late, start);
}

/* The calling thread is the first worker's and no other's, also while the others do not run yet. */
static void the_first_worker_emits_while_others_begin(void **state)
{
    server_t *s = server_create_with(&(hub_server_options_t){.threads = 2}, NULL);
    char path[] = "/tmp/sockethub-XXXXXX", address[64];
    pthread_t thread;
    client_t *c;

    (void)state;
    fill_hub(s->hub);
    server_mount(s, NULL);
    assert_non_null(mkdtemp(path));
    snprintf(address, sizeof(address), "unix:%s/s", path); /* whoever runs accepts */
    assert_int_equal(hub_server_listen(s->server, address), HUB_OK);
    s->address = hub_server_address(s->server, 0);
    atomic_store(&late_threads, true);
    assert_int_equal(__real_pthread_create(&thread, NULL, run_server, s->server), 0);
    c = member_of(s, "/socket", "t1");
    client_say(c, "t1", "emit", "1", NULL);
    client_expect_event(c, "t1", "emitted", "1");
    atomic_store(&late_threads, false);
    hub_server_stop(s->server);
    expect_shutdown(c);
    pthread_join(thread, NULL);
    SERVER_EXPECT_NOTES("exit t1 shutdown", "disconnect shutdown", "run OK");
    rmdir(path);
}

static void a_stop_that_comes_before_run_ends_it_at_once(void **state)
{
    server_t *s = server_create();
    time_t began;

    (void)state;
    fill_hub(s->hub);
    server_mount(s, NULL);
    assert_int_equal(hub_server_listen(s->server, "127.0.0.1:0"), HUB_OK);
    hub_server_stop(s->server);
    began = time(NULL);
    assert_int_equal(hub_server_run(s->server), HUB_OK);
    assert_true(time(NULL) - began <= CLIENT_DEADLINE_MS / 1000);
}

struct run {
    hub_t *hub;
    char address[64];
};

static void *run_hub(void *arg)
{
    const struct run *run = arg;

    server_note("run %s", hub_status_name(hub_run(run->hub, run->address)));
    return NULL;
}

/* Tries until somebody listens there. */
static client_t *connect_soon(const char *address)
{
    client_t *client = client_try_connect(address);

    for (int tries = 0; client == NULL && tries < CLIENT_DEADLINE_MS; tries++) {
        poll(NULL, 0, 1);
        client = client_try_connect(address);
    }
    assert_non_null(client);
    return client;
}

static void hub_run_serves_at_slash_socket_until_hub_stop(void **state)
{
    server_t *s = server_create(); /* for its hub; its server is never started */
    char folder[] = "/tmp/wire_life.XXXXXX";
    struct run run = {.hub = s->hub};
    pthread_t thread;
    client_t *c;

    (void)state;
    fill_hub(s->hub);
    assert_non_null(mkdtemp(folder));
    snprintf(run.address, sizeof(run.address), "unix:%s/s", folder);
    assert_int_equal(pthread_create(&thread, NULL, run_hub, &run), 0);
    c = server_keep_client(s, connect_soon(run.address));
    client_send_text(c, client_upgrade_text("/socket", ""));
    client_expect_upgraded(c);
    client_join(c, "t1", "1");
    hub_stop(s->hub);
    expect_shutdown(c);
    pthread_join(thread, NULL);
    SERVER_EXPECT_NOTES("exit t1 shutdown", "disconnect shutdown", "run OK");
    assert_int_equal(rmdir(folder), 0);
}

static void hub_run_returns_what_is_wrong_with_its_address(void **state)
{
    server_t *s = server_create();

    (void)state;
    assert_int_equal(hub_run(s->hub, "nowhere"), HUB_ESYNTAX);
    assert_int_equal(hub_run(s->hub, "192.0.2.1:4000"), HUB_ESYSTEM);
    server_expect_log("server.listen", "192.0.2.1:4000");
}

static void nothing_and_what_never_started_can_be_destroyed(void **state)
{
    server_t *s = server_create();

    (void)state;
    hub_destroy(NULL);
    hub_server_destroy(NULL);
    server_mount(s, NULL);
    assert_int_equal(hub_server_listen(s->server, "127.0.0.1:0"), HUB_OK);
    assert_null(hub_server_address(s->server, 1));
}

/* ---- starting ---- */

static void expect_listen_error(const char *address, hub_status_t status)
{
    hub_error_t error = {0};
    server_t *s = server_create_with(&(hub_server_options_t){.ret_error = &error}, NULL);

    if (hub_server_listen(s->server, address) != status || error.status != status)
        fail_msg("%s: expected %s, got %s", address, hub_status_name(status), error.text);
    if (strstr(error.text, address) == NULL)
        fail_msg("\"%s\" does not name %s", error.text, address);
    server_teardown(NULL);
}

static void a_bad_address_is_an_error_that_names_it(void **state)
{
    static const char *const wrong[] = {"127.0.0.1",       "127.0.0.1:",  "127.0.0.1:65536",
                                        "127.0.0.1:4000x", "[::1:4000",   "fd:x",
                                        "unix:",           "localhost::", ":"};

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        expect_listen_error(wrong[i], HUB_ESYNTAX);
    expect_listen_error("192.0.2.1:4000", HUB_ESYSTEM);
    expect_listen_error("unix:/nowhere/at/all", HUB_ESYSTEM);
    expect_listen_error("fd:9999", HUB_ESYSTEM);
}

static void a_port_in_use_is_an_error_also_if_it_is_our_own(void **state)
{
    server_t *first = server_create();
    char address[64];

    (void)state;
    server_mount(first, NULL);
    server_start(first);
    snprintf(address, sizeof(address), "%s", first->address);
    {
        server_t *second = server_create();

        assert_int_equal(hub_server_listen(second->server, address), HUB_ESYSTEM);
        server_expect_log("server.listen", address);
    }
}

static void a_port_of_the_same_server_is_in_use_too(void **state)
{
    server_t *s = server_create_with(&(hub_server_options_t){.threads = 2}, NULL);

    (void)state;
    assert_int_equal(hub_server_listen(s->server, "127.0.0.1:0"), HUB_OK);
    assert_int_equal(hub_server_listen(s->server, hub_server_address(s->server, 0)), HUB_ESYSTEM);
}

static void a_place_without_permission_is_an_error(void **state)
{
    char folder[] = "/tmp/wire_life.XXXXXX", address[64];
    bool is_root = geteuid() == 0;

    (void)state;
    assert_non_null(mkdtemp(folder));
    assert_int_equal(chmod(folder, 0), 0);
    snprintf(address, sizeof(address), "unix:%s/s", folder);
    if (is_root)
        assert_int_equal(seteuid(65534), 0);
    expect_listen_error(address, HUB_ESYSTEM);
    if (is_root)
        assert_int_equal(seteuid(0), 0);
    rmdir(folder);
}

static void patterns_that_conflict_fail_the_start_and_are_both_named(void **state)
{
    hub_error_t error = {0};
    server_t *s = server_create_with(&(hub_server_options_t){.ret_error = &error}, NULL);
    hub_t *sub = NULL;

    (void)state;
    assert_int_equal(hub_create(NULL, &sub), HUB_OK);
    assert_int_equal(hub_channel_add(sub, &(hub_channel_options_t){.pattern = "room:{n:[0-9]+}"}),
                     HUB_OK);
    server_channel(s, &(hub_channel_options_t){.pattern = "a:room:{id:[a-z]+}"});
    assert_int_equal(hub_include(s->hub, sub, "a:"), HUB_OK);
    server_mount(s, NULL);
    assert_int_equal(hub_server_listen(s->server, "127.0.0.1:0"), HUB_OK);
    assert_int_equal(hub_server_start(s->server), HUB_ECONFLICT);
    assert_non_null(strstr(error.text, "a:room:{n:[0-9]+}"));
    assert_non_null(strstr(error.text, "a:room:{id:[a-z]+}"));
    server_teardown(NULL);
    hub_destroy(sub);
}

static void a_parameter_that_the_pattern_lacks_is_an_error_that_names_it(void **state)
{
    static const char *const wanted[] = {"id", "color", NULL};
    hub_error_t error = {0};
    server_t *s = server_create_with(&(hub_server_options_t){.ret_error = &error}, NULL);
    hub_status_t err = hub_channel_add(
        s->hub,
        &(hub_channel_options_t){.pattern = "room:{id}", .params = wanted, .ret_error = &error});

    (void)state;
    if (err == HUB_OK) {
        server_mount(s, NULL);
        assert_int_equal(hub_server_listen(s->server, "127.0.0.1:0"), HUB_OK);
        err = hub_server_start(s->server);
    }
    assert_int_equal(err, HUB_EINVAL);
    assert_non_null(strstr(error.text, "color"));
}

static void a_server_listens_at_a_path_and_on_a_descriptor(void **state)
{
    server_t *s = server_create();
    char path[] = "/tmp/wire_life.XXXXXX", address[64];
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    (void)state;
    assert_int_equal(bind(fd, (struct sockaddr *)&any, sizeof(any)), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_non_null(mkdtemp(path));
    fill_hub(s->hub);
    server_mount(s, NULL);
    snprintf(address, sizeof(address), "fd:%d", fd);
    assert_int_equal(hub_server_listen(s->server, address), HUB_OK);
    snprintf(address, sizeof(address), "unix:%s/s", path);
    assert_int_equal(hub_server_listen(s->server, address), HUB_OK);
    assert_int_equal(hub_server_start(s->server), HUB_OK);
    assert_string_equal(hub_server_address(s->server, 1), address);
    s->address = hub_server_address(s->server, 1);
    client_expect_quiet(member_of(s, "/socket", "t1"));
    s->address = hub_server_address(s->server, 0);
    client_expect_quiet(member_of(s, "/socket", "t1"));
    server_teardown(NULL);
    assert_int_equal(rmdir(path), 0); /* nothing is left behind */
}

static void a_server_listens_on_ipv6(void **state)
{
    server_t *s = server_create();

    (void)state;
    fill_hub(s->hub);
    server_mount(s, NULL);
    assert_int_equal(hub_server_listen(s->server, "[::1]:0"), HUB_OK);
    assert_int_equal(hub_server_start(s->server), HUB_OK);
    s->address = hub_server_address(s->server, 0);
    assert_true(strncmp(s->address, "[::1]:", 6) == 0);
    client_expect_quiet(member_of(s, "/socket", "t1"));
}

/* ---- side by side ---- */

static void two_servers_in_one_process_do_not_meet(void **state)
{
    server_t *one = living_pair(), *two = living_pair();
    client_t *a = member_of(one, "/socket", "t1"), *b = member_of(two, "/socket", "t1");

    (void)state;
    client_say(a, "t1", "say", "1", NULL);
    client_expect_event(a, "t1", "say", "1");
    client_expect_quiet(b);
    hub_server_stop(one->server);
    expect_shutdown(a);
    hub_server_wait(one->server);
    client_say(b, "t1", "say", "2", NULL);
    client_expect_event(b, "t1", "say", "2");
}

static void hubs_on_one_server_do_not_meet_and_endpoints_of_one_hub_do(void **state)
{
    server_t *s = server_create_with(&(hub_server_options_t){.threads = 2}, NULL);
    client_t *a, *b, *stranger;
    hub_t *other = NULL;

    (void)state;
    assert_int_equal(hub_create(&(hub_options_t){.name = "other"}, &other), HUB_OK);
    fill_hub(s->hub);
    fill_hub(other);
    server_mount(s, &(hub_endpoint_options_t){.path = "/a"});
    server_mount(s, &(hub_endpoint_options_t){.path = "/b"});
    assert_int_equal(
        hub_server_mount(s->server, other, &(hub_endpoint_options_t){.path = "/other"}), HUB_OK);
    server_start(s);
    a = member_of(s, "/a", "t1");
    b = member_of(s, "/b", "t1");
    stranger = member_of(s, "/other", "t1");
    client_say(a, "t1", "say", "1", NULL);
    client_expect_event(a, "t1", "say", "1");
    client_expect_event(b, "t1", "say", "1");
    client_expect_quiet(stranger);
    assert_int_equal(hub_publish(other, HUB_STR("t1"), HUB_STR("x"), HUB_JSON("2")), HUB_OK);
    client_expect_event(stranger, "t1", "x", "2");
    client_expect_quiet(a);
    server_teardown(NULL);
    hub_destroy(other);
}

static void hubs_that_share_a_bus_meet_only_under_one_name(void **state)
{
    hub_bus_t *bus = NULL;
    server_t *one, *same, *other;
    client_t *a, *b, *c;

    (void)state;
    assert_int_equal(hub_bus_create(NULL, &bus, NULL), HUB_OK);
    one = server_create_with(NULL, &(hub_options_t){.name = "chat", .bus = bus});
    same = server_create_with(NULL, &(hub_options_t){.name = "chat", .bus = bus});
    other = server_create_with(NULL, &(hub_options_t){.name = "game", .bus = bus});
    fill_hub(one->hub);
    fill_hub(same->hub);
    fill_hub(other->hub);
    server_mount(one, NULL);
    server_mount(same, NULL);
    server_mount(other, NULL);
    server_start(one);
    server_start(same);
    server_start(other);
    a = member_of(one, "/socket", "t1");
    b = member_of(same, "/socket", "t1");
    c = member_of(other, "/socket", "t1");
    client_say(a, "t1", "say", "1", NULL);
    client_expect_event(a, "t1", "say", "1");
    client_expect_event(b, "t1", "say", "1");
    client_expect_quiet(c);
    server_teardown(NULL);
    hub_bus_destroy(bus);
}

/* ---- within an h2o server of the program ---- */

struct own_server {
    h2o_globalconf_t config;
    h2o_context_t context;
    h2o_accept_ctx_t accept;
    h2o_socket_t *listener;
    SSL_CTX *tls; /* NULL: plain */
    hub_t *hub;
    hub_h2o_mount_t *mount;
    char address[32];
    pthread_t thread;
    _Atomic bool detach, stop;
    _Atomic bool talkative; /* publishes between its turns */
    bool detached;
};

static int on_own_request(h2o_handler_t *handler, h2o_req_t *req)
{
    static h2o_generator_t generator = {NULL, NULL};
    h2o_iovec_t body = h2o_strdup(&req->pool, H2O_STRLIT("mine"));

    (void)handler;
    req->res.status = 200;
    req->res.reason = "OK";
    req->res.content_length = body.len;
    h2o_start_response(req, &generator);
    h2o_send(req, &body, 1, 1);
    return 0;
}

static void on_own_accept(h2o_socket_t *listener, const char *err)
{
    struct own_server *own = listener->data;
    h2o_socket_t *socket = err == NULL ? h2o_evloop_socket_accept(listener) : NULL;

    if (socket != NULL)
        h2o_accept(&own->accept, socket);
}

static void own_listen(struct own_server *own)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(name);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (bind(fd, (struct sockaddr *)&name, sizeof(name)) != 0 || listen(fd, 16) != 0)
        abort();
    getsockname(fd, (struct sockaddr *)&name, &size);
    snprintf(own->address, sizeof(own->address), "127.0.0.1:%u", ntohs(name.sin_port));
    own->listener = h2o_evloop_socket_create(own->context.loop, fd, H2O_SOCKET_FLAG_DONT_READ);
    own->listener->data = own;
    h2o_socket_read_start(own->listener, on_own_accept);
}

static void on_detached(void *user)
{
    struct own_server *own = user;

    own->detached = true;
    server_note("detached");
}

static void own_turn(struct own_server *own)
{
    h2o_evloop_run(own->context.loop, 5);
    if (atomic_load(&own->talkative) &&
        hub_publish(own->hub, HUB_STR("t1"), HUB_STR("tick"), HUB_JSON("0")) != HUB_OK)
        abort();
    if (atomic_load(&own->detach) && own->mount != NULL) {
        hub_h2o_detach(own->mount, on_detached, own);
        own->mount = NULL;
    }
}

static void *own_run(void *arg)
{
    struct own_server *own = arg;
    h2o_hostconf_t *host;
    h2o_loop_t *loop = h2o_evloop_create();
    hub_status_t err;

    h2o_config_init(&own->config);
    host = h2o_config_register_host(&own->config, h2o_iovec_init(H2O_STRLIT("default")), 65535);
    h2o_create_handler(h2o_config_register_path(host, "/mine", 0), sizeof(h2o_handler_t))->on_req =
        on_own_request;
    (void)h2o_config_register_path(host, "/live", 0);
    h2o_context_init(&own->context, loop, &own->config);
    own->accept =
        (h2o_accept_ctx_t){.ctx = &own->context, .hosts = own->config.hosts, .ssl_ctx = own->tls};
    err = hub_h2o_attach(own->hub, &own->context, &host->paths.entries[1],
                         &(hub_endpoint_options_t){.path = "/live", .longpoll = true}, &own->mount);
    own_listen(own);
    server_note("attach %s", hub_status_name(err));
    while (!atomic_load(&own->stop) || !own->detached)
        own_turn(own);
    h2o_socket_read_stop(own->listener);
    h2o_socket_close(own->listener);
    for (int i = 0; i < 20; i++) /* lets its connections end */
        h2o_evloop_run(loop, 1);
    h2o_context_dispose(&own->context);
    h2o_config_dispose(&own->config);
    h2o_evloop_destroy(loop);
    return NULL;
}

static void a_hub_lives_within_an_h2o_server_of_the_program(void **state)
{
    static struct own_server own;
    server_t *s = server_create(); /* for its hub; its server is never started */
    client_t *a, *b, *http;

    (void)state;
    own = (struct own_server){.hub = s->hub};
    fill_hub(s->hub);
    assert_int_equal(pthread_create(&own.thread, NULL, own_run, &own), 0);
    server_expect_note("attach OK");
    s->address = own.address;
    a = member_of(s, "/live", "t1");
    b = member_of(s, "/live/websocket", "t1");
    client_say(a, "t1", "say", "1", NULL);
    client_expect_event(a, "t1", "say", "1");
    client_expect_event(b, "t1", "say", "1");
    assert_int_equal(hub_publish(s->hub, HUB_STR("t1"), HUB_STR("x"), HUB_JSON("2")), HUB_OK);
    client_expect_event(a, "t1", "x", "2");
    client_expect_event(b, "t1", "x", "2");
    http = server_connect(s);
    client_request(http, "GET", "/mine", "Connection: close\r\n");
    assert_string_equal(client_expect_response(http, 200).body.base, "mine");
    atomic_store(&own.detach, true);
    expect_shutdown(a);
    expect_shutdown(b);
    SERVER_EXPECT_NOTES("exit t1 shutdown", "exit t1 shutdown", "disconnect shutdown",
                        "disconnect shutdown", "detached");
    http = server_connect(s);
    client_request(http, "GET", "/mine", "Connection: close\r\n");
    assert_string_equal(client_expect_response(http, 200).body.base, "mine");
    atomic_store(&own.stop, true);
    pthread_join(own.thread, NULL);
}

/* The context of a program that knows nothing of ours. */
static SSL_CTX *own_tls(void)
{
    certificate_t files = certificate_make("own", 30, NULL);
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());

    assert_int_equal(
        SSL_CTX_use_certificate_file(context, files.certificate_file, SSL_FILETYPE_PEM), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey_file(context, files.key_file, SSL_FILETYPE_PEM), 1);
    certificate_forget();
    return context;
}

static void it_may_speak_tls_there(void **state)
{
    static struct own_server own;
    server_t *s = server_create();
    SSL_CTX *context = certificate_client();
    static char large[60000];
    client_t *c;

    (void)state;
    own = (struct own_server){.hub = s->hub, .tls = own_tls()};
    fill_hub(s->hub);
    assert_int_equal(pthread_create(&own.thread, NULL, own_run, &own), 0);
    server_expect_note("attach OK");
    s->address = own.address;
    c = client_tls(server_connect(s), context);
    client_send_text(c, client_upgrade_text("/live", ""));
    client_expect_upgraded(c);
    client_join(c, "t1", "'j'");
    memset(large, 'x', sizeof(large) - 1);
    large[0] = large[sizeof(large) - 2] = '\'';
    for (unsigned i = 0; i < 5; i++) {
        client_say(c, "t1", "say", large, NULL);
        client_expect_event(c, "t1", "say", large);
    }
    atomic_store(&own.detach, true);
    expect_shutdown(c);
    assert_true(SSL_get_shutdown(client_ssl(c)) & SSL_RECEIVED_SHUTDOWN);
    server_skip_to_note("detached");
    atomic_store(&own.stop, true);
    pthread_join(own.thread, NULL);
    SSL_CTX_free(own.tls);
    SSL_CTX_free(context);
}

/* Asks a loop of the program's own and ends that connection; returns what comes back. */
static const char *ask_own(server_t *s, struct own_server *own, const char *method,
                           const char *token, const char *body)
{
    static char answer[1000];
    char text[500];
    client_t *client;

    s->address = own->address;
    client = server_connect(s);
    snprintf(text, sizeof(text),
             "%s /live/longpoll?token=%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
             "%s%.0zu\r\n\r\n%s",
             method, token, body[0] == '\0' ? "X: " : "Content-Length: ", strlen(body), body);
    client_send_text(client, text);
    snprintf(answer, sizeof(answer), "%s", client_expect_response(client, 200).body.base);
    server_drop_client(s, client, client_destroy);
    return answer;
}

static void own_start(struct own_server *own, server_t *s)
{
    *own = (struct own_server){.hub = s->hub};
    assert_int_equal(pthread_create(&own->thread, NULL, own_run, own), 0);
    server_expect_note("attach OK");
}

/* More than one turn takes out of the mailbox, for nobody. */
static void post_many(hub_t *hub)
{
    for (int i = 0; i < 5000; i++)
        assert_int_equal(
            hub_push_identity(hub, HUB_STR("nobody"), HUB_STR("t1"), HUB_STR("x"), HUB_JSON("0")),
            HUB_OK);
}

/* The program's own calls ask for a turn while the rest of a batch waits for its. */
static void a_loop_of_the_program_is_woken_after_a_mailbox_that_took_two_turns(void **state)
{
    static struct own_server own;
    server_t *s = server_create(); /* for its hub; its server is never started */
    client_t *a, *b;

    (void)state;
    fill_hub(s->hub);
    own_start(&own, s);
    s->address = own.address;
    a = member_of(s, "/live", "t1");
    b = member_of(s, "/live", "t2");
    client_say(a, "t1", "block", "{}", NULL);
    server_expect_note("blocked");
    post_many(s->hub);
    atomic_store(&own.talkative, true);
    server_gate_open();
    for (int i = 0; i < 20; i++) /* by then the mailbox is empty */
        client_expect_event(a, "t1", "tick", "0");
    atomic_store(&own.talkative, false);
    assert_int_equal(hub_publish(s->hub, HUB_STR("t2"), HUB_STR("y"), HUB_JSON("1")), HUB_OK);
    client_expect_event(b, "t2", "y", "1");
    atomic_store(&own.detach, true);
    SERVER_EXPECT_NOTES("exit t1 shutdown", "exit t2 shutdown", "disconnect shutdown",
                        "disconnect shutdown", "detached");
    atomic_store(&own.stop, true);
    pthread_join(own.thread, NULL);
}

static void a_poll_waits_on_one_loop_of_the_program_for_a_connection_on_another(void **state)
{
    static struct own_server home, other;
    server_t *s = server_create(); /* for its hub; its server is never started */
    char token[100], target[200];
    client_t *first, *waiting;

    (void)state;
    fill_hub(s->hub);
    own_start(&home, s);
    own_start(&other, s);
    assert_int_equal(sscanf(ask_own(s, &home, "GET", "", ""),
                            "{\"messages\":[],\"status\":410,\"token\":\"%90[^\"]\"}", token),
                     1);
    assert_string_equal(ask_own(s, &other, "POST", token,
                                "{\"topic\":\"t1\",\"event\":\"join\",\"payload\":{},\"ref\":1}"),
                        "{\"status\":200}");
    assert_non_null(strstr(ask_own(s, &other, "GET", token, ""), "already_joined"));
    snprintf(target, sizeof(target), "/live/longpoll?token=%s", token);
    first = server_connect(s);
    client_request(first, "GET", target, "Connection: close\r\n");
    waiting = server_connect(s);
    client_request(waiting, "GET", target, "");
    /* its place was taken: the other one waits */
    assert_non_null(strstr(client_expect_response(first, 200).body.base, "\"status\":204"));
    atomic_store(&other.detach, true);
    assert_non_null(strstr(client_expect_response(waiting, 200).body.base, "\"status\":410"));
    client_expect_eof(waiting);
    server_expect_note("detached");
    assert_int_equal(hub_publish(s->hub, HUB_STR("t1"), HUB_STR("x"), HUB_JSON("2")), HUB_OK);
    assert_non_null(strstr(ask_own(s, &home, "GET", token, ""), "\\\"x\\\""));
    atomic_store(&home.detach, true);
    SERVER_EXPECT_NOTES("exit t1 shutdown", "disconnect shutdown", "detached");
    atomic_store(&home.stop, true);
    atomic_store(&other.stop, true);
    pthread_join(home.thread, NULL);
    pthread_join(other.thread, NULL);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        SERVER_CASE(a_stop_ends_every_member_and_connection_once),
        SERVER_CASE(after_a_stop_nobody_can_connect_or_publish),
        SERVER_CASE(a_thread_may_publish_while_the_server_stops),
        SERVER_CASE(before_the_start_a_publish_is_closed_and_afterwards_channels_are_busy),
        SERVER_CASE(what_waits_to_be_accepted_at_the_stop_is_not_left_hanging),
        SERVER_CASE(a_callback_may_stop_its_own_server),
        SERVER_CASE(what_was_published_before_the_stop_still_arrives),
        SERVER_CASE(clients_that_do_not_answer_the_close_do_not_hold_up_the_stop),
        SERVER_CASE(a_client_that_does_not_read_is_cut_when_the_drain_is_over),
        SERVER_CASE(sigterm_ends_run),
        SERVER_CASE(sigterm_ends_run_beside_a_bus_with_a_broker),
        SERVER_CASE(sigint_ends_run),
        SERVER_CASE(threads_for_jobs_take_no_signals),
        SERVER_CASE(the_first_worker_emits_while_others_begin),
        SERVER_CASE(a_stop_that_comes_before_run_ends_it_at_once),
        SERVER_CASE(hub_run_serves_at_slash_socket_until_hub_stop),
        SERVER_CASE(hub_run_returns_what_is_wrong_with_its_address),
        SERVER_CASE(nothing_and_what_never_started_can_be_destroyed),
        SERVER_CASE(a_bad_address_is_an_error_that_names_it),
        SERVER_CASE(a_port_in_use_is_an_error_also_if_it_is_our_own),
        SERVER_CASE(a_port_of_the_same_server_is_in_use_too),
        SERVER_CASE(a_place_without_permission_is_an_error),
        SERVER_CASE(patterns_that_conflict_fail_the_start_and_are_both_named),
        SERVER_CASE(a_parameter_that_the_pattern_lacks_is_an_error_that_names_it),
        SERVER_CASE(a_server_listens_at_a_path_and_on_a_descriptor),
        SERVER_CASE(a_server_listens_on_ipv6),
        SERVER_CASE(two_servers_in_one_process_do_not_meet),
        SERVER_CASE(hubs_on_one_server_do_not_meet_and_endpoints_of_one_hub_do),
        SERVER_CASE(hubs_that_share_a_bus_meet_only_under_one_name),
        SERVER_CASE(a_hub_lives_within_an_h2o_server_of_the_program),
        SERVER_CASE(it_may_speak_tls_there),
        SERVER_CASE(a_loop_of_the_program_is_woken_after_a_mailbox_that_took_two_turns),
        SERVER_CASE(a_poll_waits_on_one_loop_of_the_program_for_a_connection_on_another),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
