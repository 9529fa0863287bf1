/* SPDX-License-Identifier: MIT */
/* The door for payloads, the rules for names, and the count that threads share. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "bus/json.h"
#include "bus/message.h"

#define THREADS 4
#define ROUNDS 5000

static const hub_conn_id_t some_id = {0x0123456789abcdef, 0xfedcba9876543210};

static void check_str(hub_str_t actual, hub_str_t expected)
{
    assert_int_equal(actual.len, expected.len);
    assert_memory_equal(actual.base, expected.base, expected.len);
}

static hub_message_t *create(hub_payload_t payload, const hub_message_options_t *options)
{
    hub_message_t *message = NULL;

    assert_int_equal(
        hub_message_create(HUB_STR("room:1"), HUB_STR("say"), payload, options, &message, NULL),
        HUB_OK);
    return message;
}

static void a_message_holds_copies_of_what_it_was_made_from(void **state)
{
    char topic[] = "room:1", event[] = "say", payload[] = "{\"a\":1}";
    hub_message_t *message = NULL;

    (void)state;
    assert_int_equal(hub_message_create(hub_str(topic), hub_str(event), hub_json(hub_str(payload)),
                                        NULL, &message, NULL),
                     HUB_OK);
    memset(topic, 'x', sizeof(topic));
    memset(event, 'x', sizeof(event));
    memset(payload, 'x', sizeof(payload));
    check_str(message->topic, HUB_STR("room:1"));
    check_str(message->event, HUB_STR("say"));
    check_str(message->payload.bytes, HUB_STR("{\"a\":1}"));
    assert_int_equal(message->payload.kind, HUB_PAYLOAD_JSON);
    hub_message_release(message);
}

static void a_message_without_options_has_no_origin_position_or_refs(void **state)
{
    hub_message_t *message = create(HUB_JSON("null"), NULL);

    (void)state;
    assert_true(hub_conn_id_is_none(message->origin));
    assert_int_equal(message->position.epoch, 0);
    assert_int_equal(message->position.offset, 0);
    assert_int_equal(message->flags, 0);
    assert_null(message->ref.base);
    assert_null(message->join_ref.base);
    hub_message_release(message);
}

static void options_end_up_in_the_message(void **state)
{
    hub_message_options_t options = {
        .origin = some_id, .position = {7, 8}, .flags = HUB_MESSAGE_SKIP_ORIGIN};
    hub_message_t *message = create(HUB_JSON("1"), &options);

    (void)state;
    assert_true(hub_conn_id_equals(message->origin, some_id));
    assert_int_equal(message->position.epoch, 7);
    assert_int_equal(message->position.offset, 8);
    assert_int_equal(message->flags, HUB_MESSAGE_SKIP_ORIGIN);
    hub_message_release(message);
}

static void a_binary_payload_may_be_any_bytes(void **state)
{
    hub_message_t *message = create(hub_binary("\0\xff\"", 3), NULL);
    hub_message_t *empty = create(hub_binary(NULL, 0), NULL);

    (void)state;
    check_str(message->payload.bytes, HUB_STR("\0\xff\""));
    assert_int_equal(message->payload.kind, HUB_PAYLOAD_BINARY);
    assert_int_equal(empty->payload.bytes.len, 0);
    hub_message_release(message);
    hub_message_release(empty);
}

/* A refusal leaves `ret_message` alone and says why. */
static void check_refused(hub_str_t topic, hub_str_t event, hub_payload_t payload,
                          const hub_message_options_t *options, hub_status_t status, size_t offset,
                          const char *text)
{
    hub_message_t untouched, *message = &untouched;
    hub_error_t error = {HUB_OK, SIZE_MAX, ""};

    assert_int_equal(hub_message_create(topic, event, payload, options, &message, &error), status);
    assert_ptr_equal(message, &untouched);
    assert_int_equal(error.status, status);
    assert_int_equal(error.offset, offset);
    assert_non_null(strstr(error.text, text));
    assert_int_equal(hub_message_create(topic, event, payload, options, &message, NULL), status);
}

static void check_topic_refused(hub_str_t topic, size_t offset, const char *text)
{
    check_refused(topic, HUB_STR("say"), HUB_JSON("{}"), NULL, HUB_ETOPIC, offset, text);
}

static void check_event_refused(hub_str_t event, size_t offset, const char *text)
{
    check_refused(HUB_STR("room:1"), event, HUB_JSON("{}"), NULL, HUB_EINVAL, offset, text);
}

static void a_bad_topic_is_refused_with_the_reason(void **state)
{
    static char text[1025];

    (void)state;
    memset(text, 't', sizeof(text));
    check_topic_refused(HUB_STR(""), 0, "the topic is empty");
    check_topic_refused(hub_str(NULL), 0, "the topic is empty");
    check_topic_refused(hub_str_n(text, 1025), 1024, "the topic has 1025 bytes, more than 1024");
    check_topic_refused(HUB_STR("r\xc3\xa4\xffx"), 3,
                        "the topic is not valid UTF-8: \"r\xc3\xa4\\xFFx\"");
    check_topic_refused(HUB_STR("room\xe2\x82"), 4, "the topic is not valid UTF-8");
    check_topic_refused(HUB_STR("\xed\xa0\x80"), 0, "the topic is not valid UTF-8");
}

static void a_bad_event_is_refused_with_the_reason(void **state)
{
    static char text[1025];

    (void)state;
    memset(text, 'e', sizeof(text));
    check_event_refused(HUB_STR(""), 0, "the event is empty");
    check_event_refused(hub_str_n(text, 1025), 1024, "the event has 1025 bytes, more than 1024");
    check_event_refused(HUB_STR("a\xf0\x9f\x98"), 1, "the event is not valid UTF-8");
}

static void names_of_1024_bytes_and_of_any_characters_are_taken(void **state)
{
    static char text[1024];
    hub_message_t *message = NULL;

    (void)state;
    memset(text, 't', sizeof(text));
    assert_int_equal(hub_message_create(hub_str_n(text, sizeof(text)),
                                        hub_str_n(text, sizeof(text)), HUB_JSON("1"), NULL,
                                        &message, NULL),
                     HUB_OK);
    assert_int_equal(message->topic.len, 1024);
    assert_int_equal(message->event.len, 1024);
    hub_message_release(message);
    assert_int_equal(
        hub_message_create(HUB_STR("ä€😀"), HUB_STR("t"), HUB_JSON("1"), NULL, &message, NULL),
        HUB_OK);
    check_str(message->topic, HUB_STR("ä€😀"));
    hub_message_release(message);
}

static void check_payload_refused(hub_payload_t payload, const hub_message_options_t *options,
                                  size_t offset, const char *text)
{
    check_refused(HUB_STR("room:1"), HUB_STR("say"), payload, options, HUB_EPAYLOAD, offset, text);
}

static void a_payload_that_is_not_json_is_refused_at_its_offset(void **state)
{
    (void)state;
    check_payload_refused(HUB_JSON(""), NULL, 0, "payload: JSON ends too early");
    check_payload_refused(HUB_JSON("{\"a\":1}}"), NULL, 7, "payload: JSON has a wrong byte");
    check_payload_refused(HUB_JSON("1,\"event\":2"), NULL, 1, "payload: JSON has a wrong byte");
    check_payload_refused(HUB_JSON("\"\xff\""), NULL, 1, "payload: JSON is not valid UTF-8");
    check_payload_refused((hub_payload_t){HUB_STR("1"), (hub_payload_kind_t)7}, NULL, 0, "kind 7");
}

static void a_payload_may_be_nested_as_deeply_as_the_options_say(void **state)
{
    hub_message_options_t two = {.max_depth = 2};

    (void)state;
    hub_message_release(create(HUB_JSON("[[]]"), &two));
    check_payload_refused(HUB_JSON("[[[]]]"), &two, 2, "payload: JSON nested deeper than 2");
    hub_message_release(create(HUB_JSON("[[[]]]"), NULL));
}

static void a_payload_known_to_be_valid_is_not_read_again(void **state)
{
    hub_message_options_t valid = {.payload_is_valid = true, .max_depth = 1};
    hub_message_t *message = create(HUB_JSON("[[1]]"), &valid);

    (void)state;
    check_str(message->payload.bytes, HUB_STR("[[1]]"));
    hub_message_release(message);
}

static void a_payload_can_be_checked_alone(void **state)
{
    hub_error_t error;

    (void)state;
    assert_int_equal(hub_payload_check(HUB_JSON("[1]"), 0, NULL), HUB_OK);
    assert_int_equal(hub_payload_check(hub_binary("\xff", 1), 0, NULL), HUB_OK);
    assert_int_equal(hub_payload_check(HUB_JSON("[1"), 0, NULL), HUB_EPAYLOAD);
    assert_int_equal(hub_payload_check(HUB_JSON("[1"), 0, &error), HUB_EPAYLOAD);
    assert_int_equal(error.status, HUB_EPAYLOAD);
    assert_int_equal(error.offset, 2);
}

static void retaining_a_counted_message_gives_the_same_one(void **state)
{
    hub_message_t *message = create(HUB_JSON("1"), NULL);
    hub_message_t *again = hub_message_retain(message);

    (void)state;
    assert_ptr_equal(again, message);
    hub_message_release(message);
    check_str(again->topic, HUB_STR("room:1"));
    hub_message_release(again);
}

static void retaining_a_borrowed_message_copies_all_of_it(void **state)
{
    char topic[] = "room:1", ref[] = "\"7\"", payload[] = "[1]";
    hub_message_t borrowed = {.topic = hub_str(topic),
                              .event = HUB_STR("say"),
                              .payload = hub_json(hub_str(payload)),
                              .ref = hub_str(ref),
                              .origin = some_id,
                              .position = {1, 2},
                              .flags = HUB_MESSAGE_SKIP_ORIGIN};
    hub_message_t *copy = hub_message_retain(&borrowed), *again;

    (void)state;
    assert_non_null(copy);
    assert_ptr_not_equal(copy, &borrowed);
    memset(topic, 'x', sizeof(topic));
    memset(ref, 'x', sizeof(ref));
    memset(payload, 'x', sizeof(payload));
    check_str(copy->topic, HUB_STR("room:1"));
    check_str(copy->event, HUB_STR("say"));
    check_str(copy->payload.bytes, HUB_STR("[1]"));
    check_str(copy->ref, HUB_STR("\"7\""));
    assert_null(copy->join_ref.base);
    assert_true(hub_conn_id_equals(copy->origin, some_id));
    assert_int_equal(copy->position.offset, 2);
    assert_int_equal(copy->flags, HUB_MESSAGE_SKIP_ORIGIN);
    again = hub_message_retain(copy);
    assert_ptr_equal(again, copy);
    hub_message_release(copy);
    hub_message_release(again);
}

static void what_can_not_be_allocated_is_refused(void **state)
{
    hub_message_t borrowed = {.topic = HUB_STR("t"), .event = HUB_STR("e")};
    hub_message_options_t valid = {.payload_is_valid = true};

    (void)state;
    /* the length alone is looked at: nothing is read before there is room for it */
    borrowed.payload.bytes = hub_str_n("", SIZE_MAX - 8);
    assert_null(hub_message_retain(&borrowed));
    check_refused(HUB_STR("t"), HUB_STR("e"), borrowed.payload, &valid, HUB_ENOMEM, 0, "no memory");
}

static void releasing_nothing_is_allowed(void **state)
{
    (void)state;
    hub_message_release(NULL);
}

static void an_id_is_written_as_32_digits_and_read_back(void **state)
{
    char text[HUB_CONN_ID_TEXT];
    hub_conn_id_t id = {0, 0};

    (void)state;
    assert_ptr_equal(hub_conn_id_format(some_id, text), text);
    assert_string_equal(text, "0123456789abcdeffedcba9876543210");
    assert_int_equal(hub_conn_id_parse(hub_str(text), &id), HUB_OK);
    assert_true(hub_conn_id_equals(id, some_id));
    assert_string_equal(hub_conn_id_format((hub_conn_id_t){0, 1}, text),
                        "00000000000000000000000000000001");
}

static void check_no_id(hub_str_t text)
{
    hub_conn_id_t id = some_id;

    assert_int_equal(hub_conn_id_parse(text, &id), HUB_ESYNTAX);
    assert_true(hub_conn_id_equals(id, some_id));
}

static void any_other_text_is_no_id(void **state)
{
    (void)state;
    check_no_id(hub_str(NULL));
    check_no_id(HUB_STR("0123456789abcdeffedcba987654321"));
    check_no_id(HUB_STR("0123456789abcdeffedcba98765432100"));
    check_no_id(HUB_STR("0123456789ABCDEFfedcba9876543210"));
    check_no_id(HUB_STR("0123456789abcdeffedcba987654321g"));
    check_no_id(HUB_STR("0123456789abcdef fedcba987654321"));
    check_no_id(HUB_STR("+123456789abcdeffedcba9876543210"));
}

/* Each thread owns one reference when it starts, and gives it back at its end. */
static void *retain_and_release(void *user)
{
    hub_message_t *message = user;
    size_t bytes = 0;

    for (int i = 0; i < ROUNDS; i++) {
        hub_message_t *again = hub_message_retain(message);

        bytes += again->payload.bytes.len;
        hub_message_release(again);
    }
    hub_message_release(message);
    return bytes == 3 * (size_t)ROUNDS ? NULL : user;
}

static void threads_may_share_a_message_and_the_last_one_frees_it(void **state)
{
    hub_message_t *message = create(HUB_JSON("[1]"), NULL);
    pthread_t threads[THREADS];
    void *result;

    (void)state;
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(
            pthread_create(&threads[i], NULL, retain_and_release, hub_message_retain(message)), 0);
    hub_message_release(message);
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_null(result);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_holds_copies_of_what_it_was_made_from),
        cmocka_unit_test(a_message_without_options_has_no_origin_position_or_refs),
        cmocka_unit_test(options_end_up_in_the_message),
        cmocka_unit_test(a_binary_payload_may_be_any_bytes),
        cmocka_unit_test(a_bad_topic_is_refused_with_the_reason),
        cmocka_unit_test(a_bad_event_is_refused_with_the_reason),
        cmocka_unit_test(names_of_1024_bytes_and_of_any_characters_are_taken),
        cmocka_unit_test(a_payload_that_is_not_json_is_refused_at_its_offset),
        cmocka_unit_test(a_payload_may_be_nested_as_deeply_as_the_options_say),
        cmocka_unit_test(a_payload_known_to_be_valid_is_not_read_again),
        cmocka_unit_test(a_payload_can_be_checked_alone),
        cmocka_unit_test(retaining_a_counted_message_gives_the_same_one),
        cmocka_unit_test(retaining_a_borrowed_message_copies_all_of_it),
        cmocka_unit_test(what_can_not_be_allocated_is_refused),
        cmocka_unit_test(releasing_nothing_is_allowed),
        cmocka_unit_test(an_id_is_written_as_32_digits_and_read_back),
        cmocka_unit_test(any_other_text_is_no_id),
        cmocka_unit_test(threads_may_share_a_message_and_the_last_one_frees_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
