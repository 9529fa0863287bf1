/* SPDX-License-Identifier: MIT */
/* What of the NATS backend needs no server: the questions about the stream that orders, whatever is
 * answered, what it said to each message, and the list of what was refused. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "bus/json.h"
#include "bus/log.h"
#include "bus/nats_order.h"
#include "bus/nats_refusals.h"
#include "bus/nats_taken.h"

/* ---- the stream ---- */

static hub__nats_order_t order;
static hub__buffer_t logged;

static void on_log(hub_log_level_t level, const char *event, const char *text, void *user)
{
    (void)level;
    (void)user;
    hub__buffer_printf(&logged, "%s %s\n", event, text);
}

static int set_up(void **state)
{
    (void)state;
    hub__nats_order_init(&order, "hub");
    hub_log_set(on_log, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    hub_log_set(NULL, NULL);
    hub__buffer_dispose(&logged);
    return 0;
}

/* The subject of the question that is due now, "-" where there is none. */
static const char *ask(uint64_t now_ms)
{
    hub__buffer_t body;

    if (!hub__nats_order_ask(&order, now_ms, &body))
        return "-";
    if (body.len > 0 && hub_json_scan(hub__buffer_str(&body), 0, NULL, NULL) != HUB_OK)
        fail_msg("no JSON: %.*s", (int)body.len, body.base);
    hub__buffer_dispose(&body);
    return order.request;
}

static void answer(const char *text)
{
    hub__nats_order_answer(&order, hub_str(text), false, 0);
}

#define INFO "$JS.API.STREAM.INFO.sockethub-hub"
#define CREATE "$JS.API.STREAM.CREATE.sockethub-hub"
#define NOT_FOUND                                                                                  \
    "{\"error\":{\"code\":404,\"err_code\":10059,\"description\":\"stream not found\"}}"
#define CONFIG(subjects, source, dest, retention)                                                  \
    "{\"config\":{\"name\":\"sockethub-hub\",\"subjects\":" subjects                               \
    ",\"republish\":{\"src\":\"" source "\",\"dest\":\"" dest "\"},\"retention\":\"" retention     \
    "\"}}"
#define OURS CONFIG("[\"hub.order.*\"]", "hub.order.*", "hub.$1", "limits")

static void nothing_is_asked_until_somebody_wants_it(void **state)
{
    (void)state;
    assert_string_equal(ask(0), "-");
    atomic_store(&order.wanted, true);
    assert_string_equal(ask(0), INFO);
    assert_string_equal(ask(0), "-"); /* one at a time */
}

static void what_is_not_there_is_made(void **state)
{
    (void)state;
    atomic_store(&order.wanted, true);
    ask(0);
    answer(NOT_FOUND);
    assert_string_equal(ask(0), CREATE);
    answer(OURS);
    assert_int_equal(order.state, HUB__NATS_ORDER_STANDS);
    assert_string_equal(ask(0), "-");
    assert_true(hub__nats_order_due_ms(&order) == UINT64_MAX);
}

static void a_new_connection_asks_again(void **state)
{
    (void)state;
    atomic_store(&order.wanted, true);
    ask(0);
    answer(OURS);
    hub__nats_order_begin(&order);
    assert_string_equal(ask(0), INFO);
}

static void assert_refuses(const char *text, const char *why)
{
    hub__nats_order_init(&order, "hub");
    atomic_store(&order.wanted, true);
    hub__buffer_clear(&logged);
    assert_string_equal(ask(0), INFO);
    answer(text);
    if (order.state != HUB__NATS_ORDER_REFUSED || !atomic_load(&order.refused))
        fail_msg("%s is taken", text);
    if (logged.len == 0 || strstr(logged.base, why) == NULL)
        fail_msg("%s: %s", text, logged.len == 0 ? "-" : logged.base);
}

static void a_stream_that_does_something_else_is_refused_by_what_it_does(void **state)
{
    (void)state;
    assert_refuses(CONFIG("[\"hub.>\"]", "hub.order.*", "hub.$1", "limits"), "(its subjects)");
    assert_refuses(CONFIG("[]", "hub.order.*", "hub.$1", "limits"), "(its subjects)");
    assert_refuses(CONFIG("[\"hub.order.*\",\"shop.*\"]", "hub.order.*", "hub.$1", "limits"),
                   "(its subjects)");
    assert_refuses(CONFIG("7", "hub.order.*", "hub.$1", "limits"), "(its subjects)");
    assert_refuses(CONFIG("[\"hub.order.*\"]", "hub.>", "hub.$1", "limits"), "(its republish)");
    assert_refuses(CONFIG("[\"hub.order.*\"]", "hub.order.*", "shop.$1", "limits"),
                   "(its republish)");
    assert_refuses(CONFIG("[\"hub.order.*\"]", "hub.order.*", "hub.$1", "interest"),
                   "(its retention)");
    assert_refuses("{\"config\":{\"subjects\":[\"hub.order.*\"]}}", "(its republish)");
    assert_refuses("{\"config\":{\"no_ack\":true,\"subjects\":[\"hub.order.*\"],\"republish\":"
                   "{\"src\":\"hub.order.*\",\"dest\":\"hub.$1\"},\"retention\":\"limits\"}}",
                   "(its no_ack)");
    assert_refuses("{\"config\":{\"subjects\":[\"hub.order.*\"],\"retention\":\"limits\","
                   "\"republish\":{\"src\":\"hub.order.*\",\"dest\":\"hub.$1\","
                   "\"headers_only\":true}}}",
                   "headers only");
    assert_refuses(CONFIG("[\"hub.order.*\"],\"sources\":[{\"name\":\"shop\"}]", "hub.order.*",
                          "hub.$1", "limits"),
                   "(its sources)");
    assert_refuses(CONFIG("[\"hub.order.*\"],\"subject_transform\":{\"src\":\"hub.order.*\","
                          "\"dest\":\"shop.$1\"}",
                          "hub.order.*", "hub.$1", "limits"),
                   "(its subject_transform)");
}

static void junk_is_refused_as_it_was_said(void **state)
{
    (void)state;
    assert_refuses("", INFO);
    assert_refuses("7", INFO ": 7");
    assert_refuses("{\"config\":", INFO);
    assert_refuses("{\"config\":[]}", "(its subjects)");
    assert_refuses("{\"error\":{\"err_code\":\"10059\"", INFO);
    assert_refuses("{\"error\":{\"err_code\":10039,\"description\":\"JetStream not enabled for "
                   "account\"}}",
                   "not enabled for account");
    assert_refuses("{\"error\":{\"err_code\":1,\"description\":\"\xff\\n\"}}", INFO);
}

static void no_answer_is_one_and_is_asked_for_again(void **state)
{
    (void)state;
    atomic_store(&order.wanted, true);
    assert_string_equal(ask(1000), INFO);
    assert_true(hub__nats_order_due_ms(&order) > 1000);
    assert_string_equal(ask(hub__nats_order_due_ms(&order)), "-");
    assert_int_equal(order.state, HUB__NATS_ORDER_REFUSED);
    answer(OURS); /* too late */
    assert_int_equal(order.state, HUB__NATS_ORDER_REFUSED);
    assert_string_equal(ask(hub__nats_order_due_ms(&order)), INFO);
    answer(OURS);
    assert_false(atomic_load(&order.refused));
}

static void each_reason_is_told_once(void **state)
{
    size_t told;

    (void)state;
    assert_refuses("7", INFO);
    told = logged.len;
    assert_string_equal(ask(hub__nats_order_due_ms(&order)), INFO);
    answer("7");
    assert_int_equal(logged.len, told);
}

/* However often the server says that it stands, which is all that it can say. */
static void a_stream_that_takes_nothing_is_told_once(void **state)
{
    size_t told = 0;

    (void)state;
    atomic_store(&order.wanted, true);
    for (int i = 0; i < 6; i++) {
        assert_string_equal(ask(hub__nats_order_due_ms(&order)), INFO);
        answer(OURS);
        assert_int_equal(order.state, HUB__NATS_ORDER_STANDS);
        if (i < 3)
            hub__nats_order_refuse(&order, "maximum messages exceeded", 0);
        else
            hub__nats_order_lose(&order, "it is gone");
        if (i == 0 || i == 3)
            told = logged.len;
        assert_int_equal(logged.len, told);
    }
    assert_string_equal(logged.base,
                        "bus.order backend=nats stream=sockethub-hub how=found\n"
                        "bus.order_refused backend=nats stream=sockethub-hub"
                        " why=\"maximum messages exceeded\"\n"
                        "bus.order_lost backend=nats stream=sockethub-hub why=\"it is gone\"\n");
    ask(0);
    answer(NOT_FOUND);
    ask(0);
    answer(OURS);
    assert_int_equal(logged.len, told);
    hub__nats_order_prove(&order);
    assert_non_null(strstr(logged.base + told, "how=made"));
    told = logged.len;
    hub__nats_order_prove(&order);
    assert_int_equal(logged.len, told);
}

static void only_the_stream_itself_says_that_it_took_something(void **state)
{
    (void)state;
    assert_true(
        hub__nats_order_is_ack(&order, HUB_STR("{\"stream\":\"sockethub-hub\", \"seq\":2}")));
    assert_false(hub__nats_order_is_ack(&order, HUB_STR("{\"stream\":\"all\", \"seq\":2}")));
    assert_false(hub__nats_order_is_ack(
        &order, HUB_STR("{\"error\":{\"description\":\"no\"},\"stream\":\"sockethub-hub\"}")));
    assert_false(hub__nats_order_is_ack(&order, HUB_STR("+OK")));
    assert_false(hub__nats_order_is_ack(&order, HUB_STR("")));
}

/* ---- what it said to each message ---- */

static void each_message_has_its_own_answer(void **state)
{
    hub__nats_taken_t taken = {0};

    (void)state;
    for (uint64_t i = 1; i <= 5; i++)
        assert_int_equal(hub__nats_taken_number(&taken), i);
    hub__nats_taken_note(&taken, 1, HUB__NATS_TAKEN);
    hub__nats_taken_note(&taken, 3, HUB__NATS_REFUSED);
    hub__nats_taken_note(&taken, 4, HUB__NATS_TAKEN);
    assert_int_equal(hub__nats_taken_word(&taken, 1), HUB__NATS_TAKEN);
    assert_int_equal(hub__nats_taken_word(&taken, 2), HUB__NATS_SILENT);
    assert_int_equal(hub__nats_taken_word(&taken, 3), HUB__NATS_REFUSED);
    assert_int_equal(hub__nats_taken_word(&taken, 5), HUB__NATS_SILENT);
    hub__nats_taken_dispose(&taken);
}

static void answers_that_nobody_asked_for_say_nothing(void **state)
{
    hub__nats_taken_t taken = {0};

    (void)state;
    hub__nats_taken_note(&taken, 0, HUB__NATS_TAKEN);
    hub__nats_taken_note(&taken, 1, HUB__NATS_TAKEN);
    hub__nats_taken_note(&taken, UINT64_MAX, HUB__NATS_TAKEN);
    assert_int_equal(taken.end, 0);
    hub__nats_taken_number(&taken);
    hub__nats_taken_number(&taken);
    hub__nats_taken_note(&taken, 2, HUB__NATS_REFUSED);
    hub__nats_taken_note(&taken, 2, HUB__NATS_TAKEN);
    hub__nats_taken_note(&taken, 1, HUB__NATS_TAKEN);
    assert_int_equal(taken.end, 1);
    assert_int_equal(hub__nats_taken_word(&taken, 1), HUB__NATS_SILENT);
    assert_int_equal(hub__nats_taken_word(&taken, 2), HUB__NATS_REFUSED);
    hub__nats_taken_dispose(&taken);
}

static void answers_take_the_room_of_those_that_were_heard(void **state)
{
    hub__nats_taken_t taken = {0};
    size_t capacity = 0;

    (void)state;
    for (uint64_t i = 1; i <= 100000; i++) {
        hub__nats_taken_number(&taken);
        hub__nats_taken_note(&taken, i, HUB__NATS_TAKEN);
        if (i % 1000 != 0)
            continue;
        for (uint64_t k = i - 999; k <= i; k++)
            assert_int_equal(hub__nats_taken_word(&taken, k), HUB__NATS_TAKEN);
        capacity = capacity == 0 ? taken.capacity : capacity;
        assert_int_equal(taken.capacity, capacity);
    }
    hub__nats_taken_dispose(&taken);
}

/* ---- what was refused ---- */

static void each_refusal_answers_for_one(void **state)
{
    hub__nats_refusals_t refusals = {0};

    (void)state;
    for (int i = 0; i < 2; i++)
        assert_true(
            hub__nats_refusals_note(&refusals, "Permissions Violation for Publish to \"hub.a\""));
    assert_false(hub__nats_refusals_take(&refusals, "hub.a", false));
    assert_false(hub__nats_refusals_take(&refusals, "hub.ab", true));
    assert_false(hub__nats_refusals_take(&refusals, "hub.", true));
    assert_true(hub__nats_refusals_take(&refusals, "hub.a", true));
    assert_true(hub__nats_refusals_take(&refusals, "hub.a", true));
    assert_false(hub__nats_refusals_take(&refusals, "hub.a", true));
    hub__nats_refusals_dispose(&refusals);
}

/* Words of the server that stand in a subject say nothing. */
static void a_subject_may_read_like_a_refusal(void **state)
{
    hub__nats_refusals_t refusals = {0};

    (void)state;
    assert_true(hub__nats_refusals_note(
        &refusals, "Permissions Violation for Subscription to \"hub.Publish\""));
    assert_true(hub__nats_refusals_note(&refusals, "Authorization Violation"));
    assert_true(hub__nats_refusals_note(&refusals, "\"Publish\""));
    assert_true(hub__nats_refusals_note(&refusals, ""));
    assert_false(hub__nats_refusals_take(&refusals, "hub.Publish", true));
    assert_true(hub__nats_refusals_take(&refusals, "hub.Publish", false));
    assert_int_equal(refusals.subjects.count, 0);
    hub__nats_refusals_dispose(&refusals);
}

/* As the library cuts it. */
static void the_end_of_a_long_subject_may_be_missing(void **state)
{
    hub__nats_refusals_t refusals = {0};
    char subject[512], text[256];

    (void)state;
    snprintf(subject, sizeof(subject), "hub.%0500d", 0);
    snprintf(text, sizeof(text), "Permissions Violation for Publish to \"%.200s", subject);
    assert_true(hub__nats_refusals_note(&refusals, text));
    assert_true(hub__nats_refusals_take(&refusals, subject, true));
    hub__nats_refusals_clear(&refusals);
}

int main(void)
{
#define ORDER_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        ORDER_TEST(nothing_is_asked_until_somebody_wants_it),
        ORDER_TEST(what_is_not_there_is_made),
        ORDER_TEST(a_new_connection_asks_again),
        ORDER_TEST(a_stream_that_does_something_else_is_refused_by_what_it_does),
        ORDER_TEST(junk_is_refused_as_it_was_said),
        ORDER_TEST(no_answer_is_one_and_is_asked_for_again),
        ORDER_TEST(each_reason_is_told_once),
        ORDER_TEST(a_stream_that_takes_nothing_is_told_once),
        ORDER_TEST(only_the_stream_itself_says_that_it_took_something),
        cmocka_unit_test(each_message_has_its_own_answer),
        cmocka_unit_test(answers_that_nobody_asked_for_say_nothing),
        cmocka_unit_test(answers_take_the_room_of_those_that_were_heard),
        cmocka_unit_test(each_refusal_answers_for_one),
        cmocka_unit_test(a_subject_may_read_like_a_refusal),
        cmocka_unit_test(the_end_of_a_long_subject_may_be_missing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
