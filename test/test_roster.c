/* SPDX-License-Identifier: MIT */
/* Who is on one topic, and what of it is told: shapes, batches, samples. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "channels/roster.h"

static struct {
    hub_presence_options_t options;
    hub__roster_t *roster;
    hub__share_t *share;
    hub__buffer_t payload;
    unsigned fetches;
    size_t fetched;
} own;

static void begin(const hub_presence_options_t *options)
{
    if (options != NULL)
        own.options = *options;
    assert_int_equal(hub__presence_options_resolve(&own.options, NULL), HUB_OK);
    own.roster = hub__roster_create(HUB_STR("room:1"), &own.options);
    own.share = hub__share_create(own.roster, 5);
    assert_non_null(own.share);
}

static int tear_down(void **state)
{
    (void)state;
    hub__roster_destroy(own.roster);
    hub__buffer_dispose(&own.payload);
    memset(&own, 0, sizeof(own));
    return 0;
}

static hub__tracking_t *join_as(uint64_t number, const char *key, const char *meta,
                                uint64_t previous)
{
    hub__buffer_t members = {0};
    hub__tracking_facts_t facts = {
        .number = number, .previous = previous, .stamp_us = number, .key = hub_str(key)};
    hub__tracking_t *tracking;

    assert_int_equal(hub__roster_meta(hub_json(hub_str(meta)), &members), HUB_OK);
    facts.meta = hub__buffer_str(&members);
    tracking = hub__share_join(own.share, &facts);
    assert_non_null(tracking);
    hub__buffer_dispose(&members);
    return tracking;
}

static hub__tracking_t *join(uint64_t number, const char *key)
{
    return join_as(number, key, "{}", 0);
}

/* `wanted` with ' for ", and R<n> for the reference of the tracking with that number. */
static void expect_payload(const char *wanted)
{
    static const char *const refs[] = {"AAAAAAAFAAAAAAAA", "AAAAAAAFAAAAAAAB", "AAAAAAAFAAAAAAAC",
                                       "AAAAAAAFAAAAAAAD", "AAAAAAAFAAAAAAAE", "AAAAAAAFAAAAAAAF"};
    hub__buffer_t text = {0};
    json_t *value;

    for (const char *at = wanted; *at != '\0'; at++) {
        if (at[0] == 'R' && at[1] >= '0' && at[1] <= '5')
            hub__buffer_append(&text, hub_str(refs[*++at - '0']));
        else
            hub__buffer_append(&text, hub_str_n(*at == '\'' ? "\"" : at, 1));
    }
    hub__buffer_append(&text, hub_str_n("", 1));
    hub__buffer_append(&own.payload, hub_str_n("", 1));
    assert_string_equal(own.payload.base, text.base);
    value = json_loads(own.payload.base, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(value);
    json_decref(value);
    hub__buffer_dispose(&text);
}

static void expect_news(hub__roster_news_t news, const char *wanted)
{
    assert_int_equal(hub__roster_tell(own.roster, &own.payload), news);
    if (wanted != NULL)
        expect_payload(wanted);
    assert_false(hub__roster_has_news(own.roster));
}

static void expect_state(const char *wanted)
{
    hub__roster_state(own.roster, &own.payload);
    expect_payload(wanted);
}

/* ---- cases ---- */

static void a_join_and_a_leave_are_told(void **state)
{
    hub__tracking_t *alice;

    (void)state;
    begin(NULL);
    alice = join_as(1, "alice", " { \"at\" : 1 , \"phx_ref\":\"mine\", \"b\":[1, 2] } ", 0);
    expect_news(HUB__ROSTER_DIFF,
                "{'joins':{'alice':{'metas':[{'at':1,'b':[1, 2],'phx_ref':'R1'}]}},'leaves':{}}");
    expect_state("{'alice':{'metas':[{'at':1,'b':[1, 2],'phx_ref':'R1'}]}}");
    hub__share_leave(alice);
    expect_news(HUB__ROSTER_DIFF,
                "{'joins':{},'leaves':{'alice':{'metas':[{'at':1,'b':[1, 2],'phx_ref':'R1'}]}}}");
    expect_state("{}");
    assert_int_equal(hub__roster_stats(own.roster).keys, 0);
}

static void an_update_names_what_it_replaces(void **state)
{
    hub__tracking_t *old;

    (void)state;
    begin(NULL);
    old = join(1, "bob");
    (void)hub__roster_tell(own.roster, &own.payload);
    (void)join_as(2, "bob", "{\"away\":true}", 1);
    hub__share_leave(old);
    expect_news(HUB__ROSTER_DIFF,
                "{'joins':{'bob':{'metas':[{'away':true,'phx_ref':'R2','phx_ref_prev':'R1'}]}},"
                "'leaves':{'bob':{'metas':[{'phx_ref':'R1'}]}}}");
    expect_state("{'bob':{'metas':[{'away':true,'phx_ref':'R2','phx_ref_prev':'R1'}]}}");
}

static void who_comes_and_goes_between_two_diffs_was_never_there(void **state)
{
    (void)state;
    begin(NULL);
    hub__share_leave(join(1, "alice"));
    assert_true(hub__roster_has_news(own.roster));
    expect_news(HUB__ROSTER_NOTHING, NULL);
}

/* Who has been given the list must hear that it is not true any more. */
static void but_not_if_somebody_has_seen_the_list(void **state)
{
    hub__tracking_t *alice;

    (void)state;
    begin(NULL);
    alice = join(1, "alice");
    expect_state("{'alice':{'metas':[{'phx_ref':'R1'}]}}");
    hub__share_leave(alice);
    expect_news(HUB__ROSTER_DIFF, "{'joins':{},'leaves':{'alice':{'metas':[{'phx_ref':'R1'}]}}}");
}

static void a_key_goes_and_comes_in_one_diff(void **state)
{
    hub__tracking_t *alice;

    (void)state;
    begin(NULL);
    alice = join(1, "alice");
    (void)hub__roster_tell(own.roster, &own.payload);
    hub__share_leave(alice);
    (void)join(2, "alice");
    expect_news(HUB__ROSTER_DIFF, "{'joins':{'alice':{'metas':[{'phx_ref':'R2'}]}},"
                                  "'leaves':{'alice':{'metas':[{'phx_ref':'R1'}]}}}");
}

static void metas_of_a_key_stand_by_age(void **state)
{
    (void)state;
    begin(NULL);
    (void)join(3, "a\"b");
    (void)join(1, "a\"b");
    (void)join(2, "a\"b");
    expect_state("{'a\\'b':{'metas':[{'phx_ref':'R1'},{'phx_ref':'R2'},{'phx_ref':'R3'}]}}");
}

static void expect_ordered(size_t count)
{
    hub__tracking_t *tracking = hub__roster_oldest(own.roster, HUB_STR("all"));

    for (; tracking != NULL; tracking = tracking->newer, count--) {
        assert_true(tracking->newer == NULL || tracking->newer->older == tracking);
        assert_true(tracking->newer == NULL || tracking->number < tracking->newer->number);
    }
    assert_int_equal(count, 0);
}

/* In any order of coming and going; the age is the number here. */
static void metas_of_a_key_stand_by_age_whenever_they_come(void **state)
{
    hub__tracking_t *trackings[101] = {NULL};
    uint32_t seed = 7;
    size_t count = 0;

    (void)state;
    begin(NULL);
    for (int step = 0; step < 2000; step++) {
        uint64_t number;

        seed = seed * 1664525 + 1013904223;
        number = 1 + (seed >> 8) % 100;
        if (trackings[number] != NULL)
            hub__share_leave(trackings[number]);
        count += trackings[number] == NULL ? 1 : (size_t)-1;
        trackings[number] =
            trackings[number] == NULL ? join_as(number, "all", "{}", (seed >> 16) % 100) : NULL;
        expect_ordered(count);
    }
}

static void a_share_that_goes_takes_all_that_is_its_own(void **state)
{
    hub__share_t *other;

    (void)state;
    begin(NULL);
    (void)join(1, "alice");
    other = own.share;
    own.share = hub__share_create(own.roster, 6);
    (void)join_as(1, "alice", "{\"b\":1}", 0);
    (void)hub__roster_tell(own.roster, &own.payload);
    hub__share_destroy(other);
    expect_news(HUB__ROSTER_DIFF, "{'joins':{},'leaves':{'alice':{'metas':[{'phx_ref':'R1'}]}}}");
    assert_int_equal(hub__roster_stats(own.roster).trackings, 1);
    assert_null(hub__roster_share(own.roster, 5));
}

/* Its owner was thought to be gone: a client would take the leave for the last word. */
static void who_is_back_before_it_was_told_has_never_left(void **state)
{
    (void)state;
    begin(NULL);
    (void)join_as(2, "alice", "{\"n\":1}", 1);
    expect_news(HUB__ROSTER_DIFF, NULL);
    hub__share_destroy(own.share);
    own.share = hub__share_create(own.roster, 5);
    (void)join_as(2, "alice", "{\"n\":1}", 1);
    expect_news(HUB__ROSTER_NOTHING, NULL);
    expect_state("{'alice':{'metas':[{'n':1,'phx_ref':'R2','phx_ref_prev':'R1'}]}}");
    hub__share_destroy(own.share);
    own.share = hub__share_create(own.roster, 5);
    expect_news(HUB__ROSTER_DIFF, NULL);
    assert_int_equal(hub__roster_stats(own.roster).keys, 0);
}

static void a_second_join_of_a_number_is_no_news(void **state)
{
    (void)state;
    begin(NULL);
    assert_ptr_equal(join(1, "alice"), join(1, "alice"));
    assert_int_equal(hub__roster_stats(own.roster).trackings, 1);
}

static void metas_must_be_objects(void **state)
{
    hub__buffer_t meta = {0};

    (void)state;
    assert_int_equal(hub__roster_meta(HUB_JSON("[1]"), &meta), HUB_EPAYLOAD);
    assert_int_equal(hub__roster_meta(HUB_JSON("{\"a\":1"), &meta), HUB_EPAYLOAD);
    assert_int_equal(hub__roster_meta(HUB_JSON("{} x"), &meta), HUB_EPAYLOAD);
    assert_int_equal(hub__roster_meta(HUB_JSON(""), &meta), HUB_EPAYLOAD);
    assert_int_equal(hub__roster_meta(hub_binary("{}", 2), &meta), HUB_EPAYLOAD);
    assert_int_equal(hub__roster_meta(HUB_JSON("{\"phx\\u005fref\":1,\"x\":2}"), &meta), HUB_OK);
    assert_true(hub_str_equals(hub__buffer_str(&meta), HUB_STR("\"x\":2")));
    hub__buffer_dispose(&meta);
}

static void options_are_checked(void **state)
{
    hub_presence_options_t options = {.meta_bytes = 65537};
    hub_error_t error;

    (void)state;
    assert_int_equal(hub__presence_options_resolve(&options, &error), HUB_EINVAL);
    assert_non_null(strstr(error.text, "meta_bytes = 65537"));
    options = (hub_presence_options_t){.keys_max = 10, .sample_keys = 11};
    assert_int_equal(hub__presence_options_resolve(&options, &error), HUB_EINVAL);
    assert_non_null(strstr(error.text, "sample_keys = 11"));
    options = (hub_presence_options_t){.keys_max = 10};
    assert_int_equal(hub__presence_options_resolve(&options, &error), HUB_OK);
    assert_int_equal(options.sample_keys, 10);
    assert_int_equal(options.diff_ms, 50);
}

/* ---- fetching ---- */

static void on_fetch(hub_str_t topic, hub_presence_row_t *rows, size_t count, void *user)
{
    assert_true(hub_str_equals(topic, HUB_STR("room:1")));
    assert_ptr_equal(user, &own);
    own.fetches++;
    own.fetched = count;
    for (size_t i = 0; i < count; i++) {
        if (hub_str_equals(rows[i].key, HUB_STR("alice")))
            rows[i].extra = HUB_STR("{\"name\":\"A.\",\"metas\":1}");
        else if (hub_str_equals(rows[i].key, HUB_STR("eve")))
            rows[i].extra = HUB_STR("[]");
        else if (hub_str_equals(rows[i].key, HUB_STR("nil")))
            rows[i].extra = HUB_STR(" { } ");
    }
}

static void what_is_fetched_stands_beside_the_metas(void **state)
{
    (void)state;
    begin(&(hub_presence_options_t){.on_fetch = on_fetch, .user = &own});
    (void)join(1, "alice");
    (void)join(2, "bob");
    (void)join(3, "eve");
    (void)join(4, "nil");
    expect_news(HUB__ROSTER_DIFF, "{'joins':{'alice':{'metas':[{'phx_ref':'R1'}],'name':'A.'},"
                                  "'bob':{'metas':[{'phx_ref':'R2'}]},"
                                  "'eve':{'metas':[{'phx_ref':'R3'}]},"
                                  "'nil':{'metas':[{'phx_ref':'R4'}]}},'leaves':{}}");
    assert_int_equal(own.fetches, 1);
    assert_int_equal(own.fetched, 4);
    expect_state("{'alice':{'metas':[{'phx_ref':'R1'}],'name':'A.'},"
                 "'bob':{'metas':[{'phx_ref':'R2'}]},'eve':{'metas':[{'phx_ref':'R3'}]},"
                 "'nil':{'metas':[{'phx_ref':'R4'}]}}");
    assert_int_equal(own.fetches, 2);
}

/* ---- the budget ---- */

static const hub_presence_options_t small = {.keys_max = 3, .sample_keys = 2};

static void beyond_the_budget_there_are_counts_and_a_sample(void **state)
{
    (void)state;
    begin(&small);
    (void)join(1, "a");
    (void)join(2, "b");
    (void)join(3, "c");
    expect_news(HUB__ROSTER_DIFF, NULL); /* at the limit */
    (void)join(4, "d");
    expect_news(HUB__ROSTER_STATE,
                "{'a':{'metas':[{'phx_ref':'R1'}]},'b':{'metas':[{'phx_ref':'R2'}]},"
                "'*':{'metas':[{'keys':4,'metas':4,'sample':2,'phx_ref':'counts-1'}]}}");
    (void)join(5, "d");
    expect_news(HUB__ROSTER_DIFF,
                "{'joins':{'*':{'metas':[{'keys':4,'metas':5,'sample':2,'phx_ref':'counts-2',"
                "'phx_ref_prev':'counts-1'}]}},"
                "'leaves':{'*':{'metas':[{'keys':4,'metas':4,'sample':2,'phx_ref':'counts-1'}]}}}");
    expect_state("{'a':{'metas':[{'phx_ref':'R1'}]},'b':{'metas':[{'phx_ref':'R2'}]},"
                 "'*':{'metas':[{'keys':4,'metas':5,'sample':2,'phx_ref':'counts-2',"
                 "'phx_ref_prev':'counts-1'}]}}");
}

static void who_leaves_the_sample_is_followed_by_the_next(void **state)
{
    hub__tracking_t *a;

    (void)state;
    begin(&small);
    a = join(1, "a");
    (void)join(2, "b");
    (void)join(3, "c");
    (void)join(4, "d");
    (void)join(5, "e");
    (void)hub__roster_tell(own.roster, &own.payload);
    hub__share_leave(a);
    expect_news(HUB__ROSTER_DIFF,
                "{'joins':{'c':{'metas':[{'phx_ref':'R3'}]},"
                "'*':{'metas':[{'keys':4,'metas':4,'sample':2,'phx_ref':'counts-2',"
                "'phx_ref_prev':'counts-1'}]}},"
                "'leaves':{'a':{'metas':[{'phx_ref':'R1'}]},"
                "'*':{'metas':[{'keys':5,'metas':5,'sample':2,'phx_ref':'counts-1'}]}}}");
}

static void within_the_budget_again_everybody_is_told_everything(void **state)
{
    hub__tracking_t *d;

    (void)state;
    begin(&small);
    (void)join(1, "a");
    (void)join(2, "b");
    (void)join(3, "c");
    d = join(4, "d");
    (void)hub__roster_tell(own.roster, &own.payload);
    hub__share_leave(d);
    expect_news(HUB__ROSTER_STATE, "{'a':{'metas':[{'phx_ref':'R1'}]},"
                                   "'b':{'metas':[{'phx_ref':'R2'}]},"
                                   "'c':{'metas':[{'phx_ref':'R3'}]}}");
}

/* One of its bytes, and those around it. */
static hub__tracking_t *join_large(uint64_t number, const char *key, unsigned bytes)
{
    char meta[1024];

    snprintf(meta, sizeof(meta), "{\"text\":\"%0*d\"}", (int)bytes, 0);
    return join_as(number, key, meta, 0);
}

static json_t *state_now(void)
{
    json_t *value;

    hub__roster_state(own.roster, &own.payload);
    value = json_loadb(own.payload.base, own.payload.len, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(value);
    return value;
}

static void large_metas_are_a_sample_before_many_keys_are(void **state)
{
    hub__tracking_t *trackings[40];
    char key[8];
    json_t *value;

    (void)state;
    begin(&(hub_presence_options_t){.state_bytes = 8000});
    for (unsigned i = 0; i < 30; i++) {
        snprintf(key, sizeof(key), "k%u", i);
        trackings[i] = join_large(i + 1, key, 200);
    }
    expect_news(HUB__ROSTER_DIFF, NULL);
    for (unsigned i = 30; i < 40; i++) {
        snprintf(key, sizeof(key), "k%u", i);
        trackings[i] = join_large(i + 1, key, i == 30 ? 600 : 200);
    }
    expect_news(HUB__ROSTER_STATE, NULL);
    assert_true(own.payload.len < 8000 / 3);
    value = state_now();
    assert_int_equal(json_object_size(value), 9); /* eight fill a quarter, and "*" */
    assert_non_null(json_object_get(value, "k7"));
    json_decref(value);
    for (unsigned i = 0; i < 15; i++)
        hub__share_leave(trackings[i]);
    expect_news(HUB__ROSTER_STATE, NULL);
    value = state_now();
    assert_int_equal(json_object_size(value), 25);
    assert_null(json_object_get(value, HUB__PRESENCE_COUNTS));
    json_decref(value);
}

static void what_would_fill_a_sample_alone_is_not_in_it(void **state)
{
    char key[8];
    json_t *value;

    (void)state;
    begin(&(hub_presence_options_t){.state_bytes = 8000});
    for (unsigned i = 0; i < 20; i++) {
        snprintf(key, sizeof(key), "k%u", i);
        (void)join_large(i + 1, key, i < 10 ? 700 : 200);
    }
    expect_news(HUB__ROSTER_STATE, NULL);
    value = state_now();
    assert_null(json_object_get(value, "k9"));
    assert_non_null(json_object_get(value, "k10"));
    assert_int_equal(json_object_size(value), 9);
    json_decref(value);
}

static void a_sample_that_has_outgrown_its_share_is_chosen_anew(void **state)
{
    unsigned number = 0;
    json_t *value;

    (void)state;
    begin(&(hub_presence_options_t){.keys_max = 2, .state_bytes = 8000});
    (void)join_large(++number, "a", 10);
    (void)join_large(++number, "b", 10);
    (void)join_large(++number, "c", 10);
    expect_news(HUB__ROSTER_STATE, NULL);
    while (number != 19) {
        (void)join_large(++number, "a", 200);
        expect_news(HUB__ROSTER_DIFF, NULL);
    }
    (void)join_large(++number, "a", 200);
    expect_news(HUB__ROSTER_STATE, NULL);
    value = state_now();
    assert_null(json_object_get(value, "a"));
    assert_non_null(json_object_get(value, "b"));
    assert_non_null(json_object_get(value, "c"));
    json_decref(value);
}

/* A key of the sample that goes and comes within one turn stays in it. */
static void the_sample_never_grows_or_shrinks_by_mistake(void **state)
{
    hub__tracking_t *trackings[8];
    char key[8];

    (void)state;
    begin(&(hub_presence_options_t){.keys_max = 4, .sample_keys = 3});
    for (unsigned i = 0; i < 8; i++) {
        snprintf(key, sizeof(key), "k%u", i);
        trackings[i] = join(i + 1, key);
    }
    (void)hub__roster_tell(own.roster, &own.payload);
    for (unsigned round = 0; round < 200; round++) {
        unsigned i = (round * 5 + round / 7) % 8;
        json_t *value;

        snprintf(key, sizeof(key), "k%u", i);
        hub__share_leave(trackings[i]);
        if (round % 3 == 0)
            (void)hub__roster_tell(own.roster, &own.payload);
        trackings[i] = join(9 + round, key);
        if (round % 2 == 0)
            (void)hub__roster_tell(own.roster, &own.payload);
        hub__roster_tell(own.roster, &own.payload);
        hub__roster_state(own.roster, &own.payload);
        value = json_loadb(own.payload.base, own.payload.len, JSON_REJECT_DUPLICATES, NULL);
        assert_int_equal(json_object_size(value), 4);
        json_decref(value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_join_and_a_leave_are_told, tear_down),
        cmocka_unit_test_teardown(an_update_names_what_it_replaces, tear_down),
        cmocka_unit_test_teardown(who_comes_and_goes_between_two_diffs_was_never_there, tear_down),
        cmocka_unit_test_teardown(but_not_if_somebody_has_seen_the_list, tear_down),
        cmocka_unit_test_teardown(a_key_goes_and_comes_in_one_diff, tear_down),
        cmocka_unit_test_teardown(metas_of_a_key_stand_by_age, tear_down),
        cmocka_unit_test_teardown(metas_of_a_key_stand_by_age_whenever_they_come, tear_down),
        cmocka_unit_test_teardown(a_share_that_goes_takes_all_that_is_its_own, tear_down),
        cmocka_unit_test_teardown(who_is_back_before_it_was_told_has_never_left, tear_down),
        cmocka_unit_test_teardown(a_second_join_of_a_number_is_no_news, tear_down),
        cmocka_unit_test_teardown(metas_must_be_objects, tear_down),
        cmocka_unit_test_teardown(options_are_checked, tear_down),
        cmocka_unit_test_teardown(what_is_fetched_stands_beside_the_metas, tear_down),
        cmocka_unit_test_teardown(beyond_the_budget_there_are_counts_and_a_sample, tear_down),
        cmocka_unit_test_teardown(who_leaves_the_sample_is_followed_by_the_next, tear_down),
        cmocka_unit_test_teardown(within_the_budget_again_everybody_is_told_everything, tear_down),
        cmocka_unit_test_teardown(the_sample_never_grows_or_shrinks_by_mistake, tear_down),
        cmocka_unit_test_teardown(large_metas_are_a_sample_before_many_keys_are, tear_down),
        cmocka_unit_test_teardown(what_would_fill_a_sample_alone_is_not_in_it, tear_down),
        cmocka_unit_test_teardown(a_sample_that_has_outgrown_its_share_is_chosen_anew, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
