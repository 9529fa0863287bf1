/* SPDX-License-Identifier: MIT */
/* Topics as NATS subjects: two tokens, no two the same, and back. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "bus/subject.h"

static char subject[HUB__SUBJECT_BYTES + 1];
static char topic[HUB__SUBJECT_TOPIC_BYTES];

static const char *encode(hub_str_t str)
{
    return hub__subject_encode(str, false, subject) ? subject : "refused";
}

static const char *encode_ordered(hub_str_t str)
{
    return hub__subject_encode(str, true, subject) ? subject : "refused";
}

static hub_str_t there_and_back(hub_str_t str)
{
    return hub__subject_decode(hub_str(encode(str)), topic);
}

/* Of the 255 bytes that may stand in a topic, how many come back and are one safe token. */
static unsigned bytes_that_come_back(void)
{
    unsigned good = 0;

    for (unsigned byte = 1; byte < 256; byte++) {
        char one[] = {'h', ':', (char)byte};
        hub_str_t str = hub_str_n(one, sizeof(one));

        good += hub_str_equals(there_and_back(str), str) &&
                strpbrk(subject + 2, ".*> \t\r\n$\"") == NULL;
    }
    return good;
}

static void ordinary_topics_read_as_they_are(void **state)
{
    (void)state;
    assert_string_equal(encode(HUB_STR("hub:room:42")), "hub.room:42");
    assert_string_equal(encode(HUB_STR("my_Hub-7:User_7-b~c")), "my_Hub-7.User_7-b~c");
}

static void what_means_something_to_nats_is_escaped(void **state)
{
    (void)state;
    assert_string_equal(encode(HUB_STR("hub:a.b")), "hub.a%2Eb");
    assert_string_equal(encode(HUB_STR("hub:*")), "hub.%2A");
    assert_string_equal(encode(HUB_STR("hub:>")), "hub.%3E");
    assert_string_equal(encode(HUB_STR("hub:$SYS")), "hub.%24SYS");
    assert_string_equal(encode(HUB_STR("hub:a b\tc%")), "hub.a%20b%09c%25");
    assert_string_equal(encode(HUB_STR("hub:caf\xc3\xa9/1")), "hub.caf%C3%A9%2F1");
}

static void what_is_ordered_has_a_subject_of_its_own(void **state)
{
    (void)state;
    assert_string_equal(encode_ordered(HUB_STR("hub:room:42")), "hub.order.room:42");
    assert_null(hub__subject_decode(hub_str(subject), topic).base);
}

/* Whatever somebody calls a topic. */
static void no_topic_is_a_probe(void **state)
{
    (void)state;
    assert_string_equal(encode(HUB_STR("hub/probe/12ab")), "hub.probe.12ab");
    assert_true(
        hub_str_equals(there_and_back(HUB_STR("hub/probe/12ab")), HUB_STR("hub/probe/12ab")));
    assert_string_equal(encode(HUB_STR("hub:/probe/12ab")), "hub.%2Fprobe%2F12ab");
    assert_string_equal(encode(HUB_STR("hub:probe.12ab")), "hub.probe%2E12ab");
    assert_string_equal(encode(HUB_STR("hub:probe")), "hub.probe");
}

static void every_byte_comes_back(void **state)
{
    (void)state;
    assert_int_equal(bytes_that_come_back(), 255);
}

static void the_longest_topic_fits_and_a_longer_one_is_refused(void **state)
{
    char longest[HUB__SUBJECT_NAME_BYTES + 1 + HUB__SUBJECT_TAIL_BYTES + 1];
    size_t len = sizeof(longest) - 1;

    (void)state;
    memset(longest, '.', sizeof(longest));
    memset(longest, 'n', HUB__SUBJECT_NAME_BYTES);
    longest[HUB__SUBJECT_NAME_BYTES] = ':';
    assert_string_not_equal(encode_ordered(hub_str_n(longest, len)), "refused");
    assert_int_equal(strlen(subject), HUB__SUBJECT_BYTES);
    assert_true(hub_str_equals(there_and_back(hub_str_n(longest, len)), hub_str_n(longest, len)));
    assert_string_equal(encode(hub_str_n(longest, len + 1)), "refused");
}

static void what_is_no_topic_of_a_bus_is_refused(void **state)
{
    char long_name[] = "n123456789012345678901234567890123456789012345678901234567890123x:a";

    (void)state;
    assert_string_equal(encode(HUB_STR("")), "refused");
    assert_string_equal(encode(HUB_STR("hub")), "refused");
    assert_string_equal(encode(HUB_STR("hub:")), "refused");
    assert_string_equal(encode(HUB_STR(":a")), "refused");
    assert_string_equal(encode(HUB_STR("hub.a")), "refused");
    assert_string_equal(encode(HUB_STR("hub/probe/")), "refused");
    assert_string_equal(encode(HUB_STR("hub/a")), "refused");
    assert_string_equal(encode(hub_str(long_name)), "refused");
}

static void junk(const char *text)
{
    if (hub__subject_decode(hub_str(text), topic).base != NULL)
        fail_msg("%s is the subject of a topic", text);
}

static void subjects_that_no_topic_has_are_junk(void **state)
{
    char longer[256 + HUB__SUBJECT_TAIL_BYTES];

    (void)state;
    junk("");
    junk("hub");
    junk("hub.");
    junk("hub:a");
    junk(".a");
    junk("hub.a.b");
    junk("hub.probe.");
    junk("hub.probe.a.b");
    junk("hub.*");
    junk("hub.%");
    junk("hub.%2");
    junk("hub.%2e"); /* one way to write it */
    junk("hub.%41");
    junk("hub.%G0");
    junk("hub.\xc3\xa9");
    junk("n123456789012345678901234567890123456789012345678901234567890123x.a");
    snprintf(longer, sizeof(longer), "hub.probe.%0*d", HUB__SUBJECT_TAIL_BYTES, 0);
    assert_int_equal(hub__subject_decode(hub_str(longer), topic).len,
                     sizeof("hub/probe/") - 1 + HUB__SUBJECT_TAIL_BYTES);
    snprintf(longer, sizeof(longer), "hub.probe.%0*d", HUB__SUBJECT_TAIL_BYTES + 1, 0);
    junk(longer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ordinary_topics_read_as_they_are),
        cmocka_unit_test(what_means_something_to_nats_is_escaped),
        cmocka_unit_test(what_is_ordered_has_a_subject_of_its_own),
        cmocka_unit_test(no_topic_is_a_probe),
        cmocka_unit_test(every_byte_comes_back),
        cmocka_unit_test(the_longest_topic_fits_and_a_longer_one_is_refused),
        cmocka_unit_test(what_is_no_topic_of_a_bus_is_refused),
        cmocka_unit_test(subjects_that_no_topic_has_are_junk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
