/* SPDX-License-Identifier: MIT */
/* Topics as NATS subjects: one token, no two the same, and back. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "bus/subject.h"

static char subject[HUB__SUBJECT_BYTES + 1];
static char topic[HUB__SUBJECT_TOPIC_BYTES];

static const char *encode(hub_str_t str)
{
    return hub__subject_encode(str, subject) ? subject : "refused";
}

/* Of the 255 bytes that may stand in a topic, how many come back and are one safe token. */
static unsigned bytes_that_come_back(void)
{
    unsigned good = 0;

    for (unsigned byte = 1; byte < 256; byte++) {
        char one = (char)byte;
        hub_str_t back = hub__subject_decode(hub_str(encode(hub_str_n(&one, 1))), topic);

        good +=
            hub_str_equals(back, hub_str_n(&one, 1)) && strpbrk(subject, ".*> \t\r\n$\"") == NULL;
    }
    return good;
}

static void ordinary_topics_read_as_they_are(void **state)
{
    (void)state;
    assert_string_equal(encode(HUB_STR("hub:room:42")), "hub:room:42");
    assert_string_equal(encode(HUB_STR("hub:User_7-b~c")), "hub:User_7-b~c");
}

static void what_means_something_to_nats_is_escaped(void **state)
{
    (void)state;
    assert_string_equal(encode(HUB_STR("hub:a.b")), "hub:a%2Eb");
    assert_string_equal(encode(HUB_STR("hub:*")), "hub:%2A");
    assert_string_equal(encode(HUB_STR("hub:>")), "hub:%3E");
    assert_string_equal(encode(HUB_STR("$SYS")), "%24SYS");
    assert_string_equal(encode(HUB_STR("a b\tc%")), "a%20b%09c%25");
    assert_string_equal(encode(HUB_STR("hub:caf\xc3\xa9/1")), "hub:caf%C3%A9%2F1");
}

static void every_byte_comes_back(void **state)
{
    (void)state;
    assert_int_equal(bytes_that_come_back(), 255);
}

static void the_longest_topic_fits_and_a_longer_one_is_refused(void **state)
{
    char longest[HUB__SUBJECT_TOPIC_BYTES + 1];

    (void)state;
    memset(longest, '.', sizeof(longest));
    assert_true(hub__subject_encode(hub_str_n(longest, sizeof(longest) - 1), subject));
    assert_int_equal(strlen(subject), HUB__SUBJECT_BYTES);
    assert_true(hub_str_equals(hub__subject_decode(hub_str(subject), topic),
                               hub_str_n(longest, sizeof(longest) - 1)));
    assert_false(hub__subject_encode(hub_str_n(longest, sizeof(longest)), subject));
    assert_false(hub__subject_encode(hub_str(""), subject));
}

static void junk(const char *text)
{
    if (hub__subject_decode(hub_str(text), topic).base != NULL)
        fail_msg("%s is the subject of a topic", text);
}

static void subjects_that_no_topic_has_are_junk(void **state)
{
    char longer[HUB__SUBJECT_TOPIC_BYTES + 2];

    (void)state;
    junk("");
    junk("hub.a");
    junk("hub:*");
    junk("hub:%");
    junk("hub:%2");
    junk("hub:%2e"); /* one way to write it */
    junk("hub:%41");
    junk("hub:%G0");
    junk("hub:\xc3\xa9");
    memset(longer, 'a', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    junk(longer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ordinary_topics_read_as_they_are),
        cmocka_unit_test(what_means_something_to_nats_is_escaped),
        cmocka_unit_test(every_byte_comes_back),
        cmocka_unit_test(the_longest_topic_fits_and_a_longer_one_is_refused),
        cmocka_unit_test(subjects_that_no_topic_has_are_junk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
