/* SPDX-License-Identifier: MIT */
/* One order on NATS: the stream that it comes from, who makes it, and what becomes of publishes
 * where there is none. */
#include "test/broker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bus/buffer.h"
#include "test/bus_order.h"
#include "test/executor.h"
#include "test/listener.h"
#include "test/logbook.h"
#include "test/port.h"

#define STREAM "sockethub-hub"
#define TOPIC "room:1"
#define EACH 20

struct fixture {
    broker_t *broker;
    hub_bus_t *bus;
    test_executor_t loop;
    listener_t listener;
    int raw; /* a connection of no node; -1: none */
    int completions;
    hub_publish_result_t result;
};

static struct fixture fixture;
static logbook_t logbook;

extern unsigned hub__nats_order_again_ms;

static bool was_logged(void *arg)
{
    return logbook_has(&logbook, arg);
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

/* ---- the fixture ---- */

static int set_up(void **state)
{
    fixture = (struct fixture){.raw = -1};
    test_executor_init(&fixture.loop, 0);
    logbook_open(&logbook);
    hub__nats_order_again_ms = 500;
    *state = &fixture;
    return 0;
}

static void close_bus(void)
{
    if (fixture.bus == NULL)
        return;
    listener_stop(&fixture.listener);
    hub_bus_detach(fixture.bus, &fixture.loop.base);
    hub_bus_destroy(fixture.bus);
    fixture.bus = NULL;
}

static int tear_down(void **state)
{
    (void)state;
    close_bus();
    test_executor_end(&fixture.loop);
    if (fixture.raw != -1)
        close(fixture.raw);
    broker_stop(fixture.broker);
    logbook_close(&logbook);
    return 0;
}

static void start(const char *config, bool bare)
{
    const char *lines[] = {config, NULL};

    broker_need(BROKER_NATS);
    fixture.broker = broker_start(BROKER_NATS, &(broker_options_t){.config = lines, .bare = bare});
    assert_non_null(fixture.broker);
}

static bool is_healthy(void *arg)
{
    return hub_bus_is_healthy(arg);
}

static hub_bus_t *open_node(const char *behind)
{
    hub_error_t error = {0};
    hub_bus_t *bus = NULL;
    char url[256];

    snprintf(url, sizeof(url), "nats://hub:pw@127.0.0.1:%u%s", broker_port(fixture.broker), behind);
    if (hub_bus_open(url, NULL, &bus, &error) != HUB_OK)
        fail_msg("%s: %s", url, error.text);
    await(is_healthy, bus);
    assert_int_equal(hub_bus_attach(bus, &fixture.loop.base), HUB_OK);
    return bus;
}

static void open_bus(const char *behind)
{
    fixture.bus = open_node(behind);
    listener_start(&fixture.listener, fixture.bus, TOPIC, &fixture.loop.base);
}

static hub_bus_stats_t stats(void)
{
    hub_bus_stats_t got;

    hub_bus_get_stats(fixture.bus, &got);
    return got;
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

static hub_status_t begin_to_say(const char *json)
{
    hub_message_options_t flags = {.flags = HUB_MESSAGE_BUS_ORDER};
    hub_bus_publish_options_t options = {.on_published = on_published,
                                         .executor = &fixture.loop.base};
    hub_message_t *msg = NULL;
    hub_status_t err;

    fixture.completions = 0;
    assert_int_equal(hub_message_create(HUB_STR(TOPIC), HUB_STR("said"), hub_json(hub_str(json)),
                                        &flags, &msg, NULL),
                     HUB_OK);
    err = hub_bus_publish(fixture.bus, msg, &options);
    hub_message_release(msg);
    return err;
}

/* The status of the completion, or of the publish itself. */
static hub_status_t say_in_order(const char *json)
{
    hub_status_t err = begin_to_say(json);

    if (err != HUB_OK)
        return err;
    await(is_complete, NULL);
    return fixture.result.status;
}

static bool goes_through(void *arg)
{
    return say_in_order(arg) == HUB_OK;
}

static bool heard_it(void *arg)
{
    return strstr(listener_heard(&fixture.listener), arg) != NULL;
}

/* ---- a connection of no node ---- */

static void raw_send(const char *text)
{
    assert_int_equal(send(fixture.raw, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void raw_read_until(const char *text, char *heard, size_t size)
{
    size_t len = 0;

    heard[0] = '\0';
    while (strstr(heard, text) == NULL) {
        ssize_t got = recv(fixture.raw, heard + len, size - 1 - len, 0);

        if (got <= 0)
            fail_msg("no \"%s\", but %s", text, heard);
        len += (size_t)got;
        heard[len] = '\0';
    }
}

static void raw_open(const char *user)
{
    char text[8192];

    fixture.raw = port_dial(broker_port(fixture.broker), 5);
    assert_int_not_equal(fixture.raw, -1);
    snprintf(text, sizeof(text),
             "CONNECT {\"user\":\"%s\",\"pass\":\"pw\",\"verbose\":false}\r\nPING\r\n", user);
    raw_send(text);
    raw_read_until("PONG\r\n", text, sizeof(text));
}

static void raw_publish(const char *subject, const char *reply, const char *body)
{
    char text[2048];

    snprintf(text, sizeof(text), "PUB %s %s %zu\r\n%s\r\nPING\r\n", subject, reply, strlen(body),
             body);
    raw_send(text);
}

/* What JetStream answers. */
static void raw_ask(const char *what, const char *body, char *answer, size_t size)
{
    char subject[128];

    snprintf(subject, sizeof(subject), "$JS.API.STREAM.%s." STREAM, what);
    raw_send("SUB answer 1\r\n");
    raw_publish(subject, "answer", body);
    raw_read_until("}\r\n", answer, size);
    raw_send("UNSUB 1\r\n");
}

static void make_stream(const char *body)
{
    char answer[8192];

    raw_ask("CREATE", body, answer, sizeof(answer));
    if (strstr(answer, "\"config\"") == NULL)
        fail_msg("no stream: %s", answer);
}

static void delete_stream(void)
{
    char answer[8192];

    raw_ask("DELETE", "", answer, sizeof(answer));
    if (strstr(answer, "\"success\":true") == NULL)
        fail_msg("it stands: %s", answer);
}

/* ---- cases ---- */

static void the_stream_is_made_when_it_is_needed_and_keeps_nothing(void **state)
{
    char answer[8192];

    (void)state;
    start(NULL, false);
    open_bus("");
    raw_open("");
    raw_ask("INFO", "", answer, sizeof(answer));
    assert_non_null(strstr(answer, "stream not found"));
    assert_int_equal(say_in_order("1"), HUB_OK);
    assert_int_equal(say_in_order("2"), HUB_OK);
    assert_string_equal(listener_heard(&fixture.listener), "1 2");
    raw_ask("INFO", "", answer, sizeof(answer));
    assert_non_null(strstr(answer, "\"messages\":1,"));
    assert_non_null(strstr(answer, "\"storage\":\"memory\""));
    assert_true(logbook_has(&logbook, "how=made"));
}

static void without_jetstream_it_is_refused_and_the_log_says_what_to_do(void **state)
{
    (void)state;
    start(NULL, true);
    open_bus("");
    assert_int_equal(say_in_order("1"), HUB_EREJECTED);
    assert_int_equal(say_in_order("2"), HUB_EBUSDOWN);
    assert_true(logbook_has(&logbook, "bus.order_refused backend=nats stream=" STREAM));
    assert_true(logbook_has(&logbook, "nats-server -js"));
    assert_int_equal(stats().refused_broker, 2);
    assert_int_equal(try_say(fixture.bus, TOPIC, "3", NULL), HUB_OK); /* that needs no order */
    await(heard_it, "3");
    assert_string_equal(listener_heard(&fixture.listener), "3");
    assert_true(hub_bus_is_healthy(fixture.bus));
}

static void who_says_that_it_will_be_wanted_has_it_in_the_log_at_once(void **state)
{
    (void)state;
    start(NULL, true);
    open_bus("");
    hub_bus_want_order(fixture.bus);
    await(was_logged, "nats-server -js");
    assert_int_equal(say_in_order("1"), HUB_EBUSDOWN);
}

static void a_server_that_comes_back_empty_has_the_stream_made_anew(void **state)
{
    (void)state;
    start(NULL, false);
    open_bus("");
    assert_int_equal(say_in_order("1"), HUB_OK);
    assert_true(broker_restart(fixture.broker, true));
    await(heard_it, "gap(bus,0)");
    await(is_healthy, fixture.bus);
    assert_int_equal(say_in_order("2"), HUB_OK);
    assert_string_equal(listener_heard(&fixture.listener), "1 gap(bus,0) 2");
}

static void a_server_that_comes_back_without_jetstream_refuses_until_it_has_it(void **state)
{
    (void)state;
    start(NULL, false);
    open_bus("");
    assert_int_equal(say_in_order("1"), HUB_OK);
    broker_make_bare(fixture.broker, true);
    assert_true(broker_restart(fixture.broker, true));
    await(was_logged, "nats-server -js");
    await(is_healthy, fixture.bus);
    assert_int_equal(say_in_order("2"), HUB_EBUSDOWN);
    broker_make_bare(fixture.broker, false);
    assert_true(broker_restart(fixture.broker, true));
    await(goes_through, "3");
    assert_null(strstr(listener_heard(&fixture.listener), "2"));
    await(heard_it, "3");
}

/* Who had a publish under way is told that its outcome is unknown. */
static void a_stream_that_somebody_deletes_is_made_anew(void **state)
{
    (void)state;
    start(NULL, false);
    open_bus("");
    assert_int_equal(say_in_order("1"), HUB_OK);
    raw_open("");
    delete_stream();
    assert_int_equal(say_in_order("2"), HUB_EUNKNOWN);
    assert_true(logbook_has(&logbook, "bus.order_lost"));
    assert_int_equal(stats().unknown, 1);
    assert_int_equal(stats().refused_broker, 0); /* nobody refused it */
    assert_int_equal(say_in_order("3"), HUB_OK);
    assert_string_equal(listener_heard(&fixture.listener), "1 gap(lost,1) 3");
}

static void a_stream_of_that_name_that_is_none_of_ours_is_refused_by_name(void **state)
{
    (void)state;
    start(NULL, false);
    raw_open("");
    make_stream("{\"name\":\"" STREAM "\",\"subjects\":[\"hub.order.*\"],\"storage\":\"memory\","
                "\"retention\":\"limits\",\"num_replicas\":1}");
    open_bus("");
    assert_int_equal(say_in_order("1"), HUB_EREJECTED);
    assert_true(logbook_has(&logbook,
                            "stream=" STREAM " why=\"this stream is not as nodes make it (its "
                            "republish): remove it"));
    delete_stream();
    await(goes_through, "2");
    assert_string_equal(listener_heard(&fixture.listener), "gap(lost,1) 2");
}

static void another_stream_that_takes_those_subjects_is_told_in_the_servers_words(void **state)
{
    char answer[8192];

    (void)state;
    start(NULL, false);
    raw_open("");
    raw_send("SUB answer 1\r\n");
    raw_publish("$JS.API.STREAM.CREATE.all", "answer",
                "{\"name\":\"all\",\"subjects\":[\"hub.>\"],\"storage\":\"memory\","
                "\"retention\":\"limits\",\"num_replicas\":1}");
    raw_read_until("}\r\n", answer, sizeof(answer));
    open_bus("");
    assert_int_equal(say_in_order("1"), HUB_EREJECTED);
    assert_true(logbook_has(&logbook, "$JS.API.STREAM.CREATE." STREAM ": subjects overlap"));
}

/* Nobody hears what that takes. */
static void a_stream_that_takes_the_place_of_ours_is_not_taken_for_it(void **state)
{
    char answer[8192];

    (void)state;
    start(NULL, false);
    open_bus("");
    assert_int_equal(say_in_order("1"), HUB_OK);
    raw_open("");
    delete_stream();
    raw_send("SUB answer 1\r\n");
    raw_publish("$JS.API.STREAM.CREATE.all", "answer",
                "{\"name\":\"all\",\"subjects\":[\"hub.>\"],\"storage\":\"memory\","
                "\"retention\":\"limits\",\"num_replicas\":1}");
    raw_read_until("}\r\n", answer, sizeof(answer));
    assert_int_equal(say_in_order("2"), HUB_EUNKNOWN);
    await(was_logged, "subjects overlap");
    assert_true(logbook_has(&logbook, "bus.order_lost backend=nats stream=" STREAM
                                      " why=\"something else takes its place"));
    assert_int_equal(say_in_order("3"), HUB_EBUSDOWN);
}

/* A stream refuses what it has no room for without a word to who does not ask for one. */
static void what_the_stream_has_no_room_for_is_refused_alone(void **state)
{
    char large[32 * 1024];

    (void)state;
    memset(large, '1', sizeof(large) - 1);
    large[sizeof(large) - 1] = '\0';
    start(
        "accounts { A { users: [ { user: hub, password: pw } ], jetstream { max_mem: 10KB } } }\n",
        false);
    open_bus("");
    assert_int_equal(say_in_order("1"), HUB_OK);
    assert_int_equal(say_in_order(large), HUB_EREJECTED);
    assert_int_equal(say_in_order("2"), HUB_OK);
    assert_string_equal(listener_heard(&fixture.listener), "1 gap(lost,1) 2");
    assert_int_equal(stats().refused_broker, 1);
    assert_true(logbook_has(&logbook, "bus.refused backend=nats stream=" STREAM " why="));
}

/* It may be on a disk, or replicated: what a node needs is how it republishes. */
#define OPERATORS                                                                                  \
    "{\"name\":\"" STREAM "\",\"subjects\":[\"hub.order.*\"],\"storage\":\"file\",\"retention\":"  \
    "\"limits\",\"num_replicas\":1,\"max_msgs\":7,\"republish\":{\"src\":\"hub.order.*\","         \
    "\"dest\":\"hub.{{wildcard(1)}}\"}}"

#define USERS(rights)                                                                              \
    "authorization { users: [\n"                                                                   \
    "  { user: admin, password: pw }\n"                                                            \
    "  { user: hub, password: pw, permissions: {\n"                                                \
    "    publish: [ \"hub.>\"" rights " ], subscribe: \"hub.>\" } } ] }\n"

static void a_node_without_the_right_to_make_it_uses_an_operators(void **state)
{
    (void)state;
    start(USERS(", \"$JS.API.STREAM.INFO.sockethub-hub\""), false);
    raw_open("admin");
    make_stream(OPERATORS);
    open_bus("");
    assert_int_equal(say_in_order("1"), HUB_OK);
    assert_true(logbook_has(&logbook, "how=found"));
    assert_string_equal(listener_heard(&fixture.listener), "1");
}

static void a_node_without_any_right_to_it_says_so(void **state)
{
    (void)state;
    start(USERS(""), false);
    open_bus("");
    assert_int_equal(say_in_order("1"), HUB_EREJECTED);
    assert_true(logbook_has(&logbook, "why=\"$JS.API.STREAM.INFO." STREAM
                                      ": the server's permissions forbid it"));
    assert_int_equal(try_say(fixture.bus, TOPIC, "2", NULL), HUB_OK);
    await(heard_it, "2");
}

/* It asks again and again, since the right may come. */
static void what_is_asked_in_vain_is_told_once(void **state)
{
    (void)state;
    hub__nats_order_again_ms = 1;
    start(USERS(""), false);
    open_bus("");
    assert_int_equal(say_in_order("1"), HUB_EREJECTED);
    for (int i = 0; i < 20; i++) {
        listener_clear(&fixture.listener);
        assert_int_equal(try_say(fixture.bus, TOPIC, "2", NULL), HUB_OK);
        await(heard_it, "2");
        assert_int_equal(say_in_order("3"), HUB_EBUSDOWN);
    }
    assert_int_equal(logbook_count(&logbook, "bus.order_refused"), 1);
    assert_int_equal(logbook_count(&logbook, "$JS.API"), 1);
}

static void a_node_may_be_forbidden_to_order_one_topic(void **state)
{
    (void)state;
    start("authorization { users: [ { user: hub, password: pw, permissions: {\n"
          "  publish: { deny: [ \"hub.order." TOPIC "\" ] } } } ] }\n",
          false);
    open_bus("");
    assert_int_equal(say_in_order("1"), HUB_EREJECTED);
    assert_int_equal(say_in_order("2"), HUB_EREJECTED);
    assert_int_equal(stats().refused_broker, 2);
    assert_string_equal(listener_heard(&fixture.listener), "");
}

/* Its word on the barrier is as good as one on each message. */
static void a_node_may_be_forbidden_to_order_anything(void **state)
{
    (void)state;
    start("authorization { users: [ { user: hub, password: pw, permissions: {\n"
          "  publish: { deny: [ \"hub.order.*\" ] } } } ] }\n",
          false);
    open_bus("");
    assert_int_equal(say_in_order("1"), HUB_EREJECTED);
    assert_true(logbook_has(&logbook, "why=\"the server's permissions forbid to publish to it"));
    assert_int_equal(say_in_order("2"), HUB_EBUSDOWN);
}

/* The stream puts headers of its own in front. */
static void the_largest_message_is_ordered_too(void **state)
{
    size_t size;
    char *json;

    (void)state;
    start("max_payload: 65536\n", false);
    open_bus("");
    size = hub_bus_largest_message(fixture.bus);
    json = malloc(size + 1);
    memset(json, '1', size);
    json[0] = json[size - 1] = '"';
    json[size] = '\0';
    assert_int_equal(say_in_order(json), HUB_OK);
    assert_string_equal(listener_heard(&fixture.listener), json);
    free(json);
}

static void another_program_publishes_with_a_line(void **state)
{
    (void)state;
    start(NULL, false);
    open_bus("");
    assert_int_equal(say_in_order("1"), HUB_OK); /* the subscription and the stream stand */
    raw_open("");
    raw_publish("hub.room:1", "", "{\"event\": \"said\", \"payload\": 2}");
    await(heard_it, "2");
    raw_publish("hub.order.room:1", "", "{\"event\": \"said\", \"payload\": 3}");
    await(heard_it, "3");
    assert_string_equal(listener_heard(&fixture.listener), "1 2 3");
    assert_int_equal(stats().remote_invalid, 0);
}

/* Nor does the end of the bus wait for a word on the stream. */
static void a_server_that_stands_still_holds_up_nobody(void **state)
{
    (void)state;
    start(NULL, false);
    open_bus("?answer_timeout_ms=100");
    broker_pause(fixture.broker);
    assert_int_equal(say_in_order("1"), HUB_EUNKNOWN);
    close_bus();
    broker_continue(fixture.broker);
}

static void what_is_said_while_the_stream_is_looked_for_keeps_its_order(void **state)
{
    char json[16];

    (void)state;
    start(NULL, false);
    open_bus("");
    for (int i = 1; i <= EACH; i++) {
        snprintf(json, sizeof(json), "%d", i);
        assert_int_equal(begin_to_say(json), HUB_OK);
    }
    await(heard_it, " 20");
    assert_string_equal(listener_heard(&fixture.listener),
                        "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20");
}

/* ---- more nodes than one ---- */

#define NODES 8

/* Each is a publisher whom the server reads on a thread of its own: by core NATS so many hear each
 * other differently in every run, and two nodes in few. */
static void many_nodes_hear_one_order(void **state)
{
    hub_bus_t *nodes[NODES];

    (void)state;
    start(NULL, false);
    for (int i = 0; i < NODES; i++)
        nodes[i] = open_node("");
    bus_order_run(nodes, NODES);
    for (int i = 0; i < NODES; i++) {
        hub_bus_detach(nodes[i], &fixture.loop.base);
        hub_bus_destroy(nodes[i]);
    }
}

#define TALKS 200

static bool is_in(const char *word, size_t len, const char *text)
{
    for (; *text != '\0'; text += strspn(text, " ")) {
        size_t next = strcspn(text, " ");

        if (next == len && strncmp(text, word, len) == 0)
            return true;
        text += next;
    }
    return false;
}

/* Of what one heard, the numbers that the other heard as well. */
static char *common(const char *heard, const char *other)
{
    hub__buffer_t text = {0};

    for (; *heard != '\0'; heard += strspn(heard, " ")) {
        size_t len = strcspn(heard, " ");

        if (len == 5 && is_in(heard, len, other))
            hub__buffer_printf(&text, "%.*s ", (int)len, heard);
        heard += len;
    }
    return text.base;
}

static hub_status_t talk(hub_bus_t *bus, unsigned number)
{
    hub_message_options_t flags = {.flags = HUB_MESSAGE_BUS_ORDER};
    hub_message_t *msg = NULL;
    char json[16];
    hub_status_t err;

    snprintf(json, sizeof(json), "%u", number);
    assert_int_equal(hub_message_create(HUB_STR(TOPIC), HUB_STR("said"), hub_json(hub_str(json)),
                                        &flags, &msg, NULL),
                     HUB_OK);
    err = hub_bus_publish(bus, msg, NULL);
    hub_message_release(msg);
    return err;
}

static void talk_both(hub_bus_t *far, unsigned from)
{
    for (unsigned i = from; i < from + TALKS; i++) {
        (void)!talk(fixture.bus, 10000 + i);
        (void)!talk(far, 20000 + i);
        test_executor_turn(&fixture.loop);
    }
}

static bool heard_a_first(void *arg)
{
    return strstr(listener_heard(arg), "20000 ") != NULL;
}

static bool heard_the_last(void *arg)
{
    return strstr(listener_heard(arg), "30000") != NULL;
}

/* Each may miss what the other heard, and is told; nobody hears anything the other way round. */
static void it_is_one_order_through_a_restart_too(void **state)
{
    listener_t far = {0};
    hub_bus_t *other;
    char *left, *right;

    (void)state;
    start(NULL, false);
    open_bus("");
    other = open_node("");
    listener_start(&far, other, TOPIC, &fixture.loop.base);
    assert_int_equal(say_in_order("1"), HUB_OK); /* all stands */
    talk_both(other, 0);
    await(heard_a_first, &far);
    await(heard_a_first, &fixture.listener);
    broker_kill(fixture.broker);
    talk_both(other, TALKS);
    assert_true(broker_restart(fixture.broker, true));
    await(is_healthy, other);
    await(goes_through, "1");
    talk_both(other, 2 * TALKS);
    assert_int_equal(talk(other, 30000), HUB_OK);
    await(heard_the_last, &far);
    await(heard_the_last, &fixture.listener);
    left = common(listener_heard(&far), listener_heard(&fixture.listener));
    right = common(listener_heard(&fixture.listener), listener_heard(&far));
    assert_string_equal(left, right);
    assert_non_null(strstr(left, "20000 "));
    free(left);
    free(right);
    listener_stop(&far);
    hub_bus_detach(other, &fixture.loop.base);
    hub_bus_destroy(other);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(the_stream_is_made_when_it_is_needed_and_keeps_nothing),
        CASE(without_jetstream_it_is_refused_and_the_log_says_what_to_do),
        CASE(who_says_that_it_will_be_wanted_has_it_in_the_log_at_once),
        CASE(a_server_that_comes_back_empty_has_the_stream_made_anew),
        CASE(a_server_that_comes_back_without_jetstream_refuses_until_it_has_it),
        CASE(a_stream_that_somebody_deletes_is_made_anew),
        CASE(a_stream_of_that_name_that_is_none_of_ours_is_refused_by_name),
        CASE(another_stream_that_takes_those_subjects_is_told_in_the_servers_words),
        CASE(a_stream_that_takes_the_place_of_ours_is_not_taken_for_it),
        CASE(what_the_stream_has_no_room_for_is_refused_alone),
        CASE(a_node_without_the_right_to_make_it_uses_an_operators),
        CASE(a_node_without_any_right_to_it_says_so),
        CASE(what_is_asked_in_vain_is_told_once),
        CASE(a_node_may_be_forbidden_to_order_one_topic),
        CASE(a_node_may_be_forbidden_to_order_anything),
        CASE(the_largest_message_is_ordered_too),
        CASE(another_program_publishes_with_a_line),
        CASE(a_server_that_stands_still_holds_up_nobody),
        CASE(what_is_said_while_the_stream_is_looked_for_keeps_its_order),
        CASE(many_nodes_hear_one_order),
        CASE(it_is_one_order_through_a_restart_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
