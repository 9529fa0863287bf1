/* SPDX-License-Identifier: MIT */
/* Presence between workers and nodes: rule by rule, then thousands of random steps after which
 * everybody must see what the living hold. MODEL_SEED and MODEL_RUNS make a campaign of it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "bus/json.h"
#include "hub/peer.h"
#include "test/assembly.h"

#define SILENCE_MS (5 * ASSEMBLY_BEAT_MS)

static hub_status_t track(attendee_t *attendee, const char *key, const char *meta)
{
    return hub__attendance_track(&attendee->attendance, hub_str(key), hub_json(hub_str(meta)));
}

static hub_status_t update(attendee_t *attendee, const char *key, const char *meta)
{
    return hub__attendance_update(&attendee->attendance, hub_str(key), hub_json(hub_str(meta)));
}

/* Alice is tracked at node 0, and whoever is there has heard of her. */
static attendee_t *come_first(assembly_t *assembly, bool watches)
{
    attendee_t *alice = assembly_come(assembly, 0, 0, watches);

    assert_int_equal(track(alice, "alice", "{}"), HUB_OK);
    assembly_settle(assembly, 200);
    return alice;
}

static void expect_list(assembly_t *assembly, int node, const char *wanted)
{
    char *list = assembly_list(assembly, node, 0);

    assert_string_equal(list, wanted);
    free(list);
}

/* ---- cases ---- */

static void what_one_tracks_all_others_see(void **state)
{
    assembly_t *assembly = assembly_create(3, 1, NULL);
    attendee_t *alice = assembly_come(assembly, 0, 0, true);
    attendee_t *bob = assembly_come(assembly, 1, 0, true);

    (void)state;
    assert_int_equal(track(alice, "alice", "{\"at\":1}"), HUB_OK);
    assert_int_equal(track(bob, "bob", "{}"), HUB_OK);
    assembly_settle(assembly, 200);
    assembly_check(assembly);
    expect_list(assembly, 1, "{'alice':{'metas':[{'at':1}]},'bob':{'metas':[{}]}}");
    assembly_destroy(assembly);
}

static void who_comes_later_gets_the_whole_list(void **state)
{
    assembly_t *assembly = assembly_create(2, 2, NULL);
    attendee_t *bob;

    (void)state;
    (void)come_first(assembly, false);
    bob = assembly_come(assembly, 1, 0, true);
    assembly_turn(assembly, 1);
    assert_null(bob->view); /* not before the other worker was heard */
    assembly_settle(assembly, 200);
    assert_int_equal(json_object_size(bob->view), 1);
    assert_int_equal(assembly_stats(assembly, 1)->presence_diffs_total, 0); /* that is all */
    assembly_check(assembly);
    assembly_destroy(assembly);
}

static void a_worker_that_is_busy_holds_up_nobody_for_long(void **state)
{
    assembly_t *assembly = assembly_create(2, 2, NULL);
    attendee_t *bob;

    (void)state;
    (void)come_first(assembly, false);
    assembly_freeze(assembly, 0, true);
    bob = assembly_come(assembly, 1, 0, true);
    assembly_settle(assembly, 900);
    assert_null(bob->view);
    assembly_settle(assembly, 200);
    assert_int_equal(json_object_size(bob->view), 0);
    assembly_freeze(assembly, 0, false);
    assembly_settle(assembly, 200);
    assert_int_equal(json_object_size(bob->view), 1);
    assembly_check(assembly);
    assembly_destroy(assembly);
}

static void metas_of_one_key_are_the_oldest_first_everywhere(void **state)
{
    assembly_t *assembly = assembly_create(3, 1, NULL);

    (void)state;
    for (int i = 0; i < 3; i++) {
        char meta[32];

        snprintf(meta, sizeof(meta), "{\"n\":%d}", i);
        assert_int_equal(track(assembly_come(assembly, 2 - i, 0, false), "alice", meta), HUB_OK);
    }
    assembly_settle(assembly, 200);
    expect_list(assembly, 0, "{'alice':{'metas':[{'n':0},{'n':1},{'n':2}]}}");
    assembly_check(assembly);
    assembly_destroy(assembly);
}

/* All that it does is to put the metas of a key into another order, everywhere the same. */
static void clocks_that_differ_by_hours_do_no_harm(void **state)
{
    assembly_t *assembly = assembly_create(3, 1, NULL);
    attendee_t *first;

    (void)state;
    assembly_skew(assembly, 0, 5);
    assembly_skew(assembly, 1, 2);
    first = assembly_come(assembly, 0, 0, true);
    assert_int_equal(track(first, "alice", "{\"n\":1}"), HUB_OK);
    assert_int_equal(track(assembly_come(assembly, 1, 0, true), "alice", "{\"n\":2}"), HUB_OK);
    assert_int_equal(track(assembly_come(assembly, 2, 0, true), "alice", "{\"n\":3}"), HUB_OK);
    assembly_settle(assembly, 200);
    for (int i = 0; i < 3; i++)
        expect_list(assembly, i, "{'alice':{'metas':[{'n':3},{'n':2},{'n':1}]}}");
    assembly_check(assembly);
    assert_int_equal(update(first, "alice", "{\"n\":4}"), HUB_OK);
    assembly_settle(assembly, 200);
    expect_list(assembly, 2, "{'alice':{'metas':[{'n':3},{'n':2},{'n':4}]}}");
    assembly_kill(assembly, 1);
    assembly_settle(assembly, SILENCE_MS + 2 * ASSEMBLY_BEAT_MS);
    expect_list(assembly, 2, "{'alice':{'metas':[{'n':3},{'n':4}]}}");
    assembly_check(assembly);
    assembly_destroy(assembly);
}

static void a_node_that_is_killed_is_cleared_in_time(void **state)
{
    assembly_t *assembly = assembly_create(2, 1, NULL);
    attendee_t *alice = assembly_come(assembly, 0, 0, true);

    (void)state;
    assert_int_equal(track(assembly_come(assembly, 1, 0, false), "bob", "{}"), HUB_OK);
    assembly_settle(assembly, 200);
    assert_int_equal(json_object_size(alice->view), 1);
    assembly_kill(assembly, 1);
    assembly_settle(assembly, SILENCE_MS - 1000);
    assert_int_equal(json_object_size(alice->view), 1);
    assembly_settle(assembly, 1100);
    assert_int_equal(json_object_size(alice->view), 0);
    assert_int_equal(assembly_stats(assembly, 0)->presence_peers_gone_total, 1);
    assembly_destroy(assembly);
}

static void a_node_that_stops_says_so(void **state)
{
    assembly_t *assembly = assembly_create(2, 1, NULL);
    attendee_t *alice = assembly_come(assembly, 0, 0, true);

    (void)state;
    assert_int_equal(track(assembly_come(assembly, 1, 0, false), "bob", "{}"), HUB_OK);
    assembly_settle(assembly, 200);
    assembly_stop(assembly, 1);
    assembly_settle(assembly, 100);
    assert_int_equal(json_object_size(alice->view), 0);
    assert_int_equal(assembly_stats(assembly, 0)->presence_peers_gone_total, 0);
    assembly_destroy(assembly);
}

/* It drains for a while yet: nobody must wait for its answer. */
static void a_node_that_stops_owes_no_answer(void **state)
{
    assembly_t *assembly = assembly_create(2, 2, NULL);
    attendee_t *bob;

    (void)state;
    (void)come_first(assembly, false);
    bob = assembly_come(assembly, 1, 0, true);
    assert_true(assembly_deliver(assembly, 2, false)); /* the question */
    hub__tracker_stop(assembly_tracker(assembly, 0));
    assembly_settle(assembly, 200);
    assert_non_null(bob->view);
    assert_int_equal(json_object_size(bob->view), 0);
    assembly_destroy(assembly);
}

static void a_node_that_was_away_comes_back(void **state)
{
    assembly_t *assembly = assembly_create(2, 1, NULL);
    attendee_t *alice = assembly_come(assembly, 0, 0, true);
    attendee_t *bob = assembly_come(assembly, 1, 0, true);

    (void)state;
    assert_int_equal(track(alice, "alice", "{}"), HUB_OK);
    assert_int_equal(track(bob, "bob", "{}"), HUB_OK);
    assembly_settle(assembly, 200);
    assembly_freeze(assembly, 1, true);
    assembly_settle(assembly, SILENCE_MS + 500);
    assert_int_equal(json_object_size(alice->view), 1);
    assembly_freeze(assembly, 1, false);
    assembly_settle(assembly, 3 * ASSEMBLY_BEAT_MS);
    assert_int_equal(json_object_size(alice->view), 2);
    assert_int_equal(json_object_size(bob->view), 2); /* it thought of nobody as gone meanwhile */
    assert_int_equal(assembly_stats(assembly, 1)->presence_peers_gone_total, 0);
    assembly_check(assembly);
    assembly_destroy(assembly);
}

/* There may be ten thousand topics. */
static void who_is_heard_again_is_asked_about_as_many_topics_as_a_turn_has_room_for(void **state)
{
    assembly_t *assembly = assembly_create(2, 1, NULL);

    (void)state;
    for (int topic = 0; topic < ASSEMBLY_TOPICS; topic++) {
        assert_non_null(assembly_come(assembly, 0, topic, true));
        assert_int_equal(track(assembly_come(assembly, 1, topic, false), "k", "{}"), HUB_OK);
    }
    assembly_settle(assembly, 200);
    assembly_freeze(assembly, 1, true);
    assembly_settle(assembly, SILENCE_MS + 500);
    assert_int_equal(assembly_stats(assembly, 0)->presence_peers_gone_total, 1);
    assembly_freeze(assembly, 1, false);
    assembly_hurry(assembly, true);
    while (assembly_waiting(assembly, 1, 0) == 0)
        assembly_pass(assembly, 10);
    while (assembly_waiting(assembly, 0, 1) != 0)
        assert_true(assembly_deliver(assembly, 1, false));
    assert_true(assembly_deliver(assembly, 2, false));
    for (size_t turn = 0; turn < ASSEMBLY_TOPICS; turn++) {
        assert_int_equal(assembly_waiting(assembly, 0, 1), turn);
        assert_true(assembly_turn(assembly, 0));
    }
    assembly_hurry(assembly, false);
    assembly_settle(assembly, 200);
    assembly_check(assembly);
    assembly_destroy(assembly);
}

static uint64_t diffs_of(const assembly_t *assembly, int node)
{
    return assembly_stats(assembly, node)->presence_diffs_total;
}

static void cut_all(assembly_t *assembly, int count, bool cut)
{
    for (int i = 0; i < count; i++)
        assembly_cut(assembly, i, cut);
}

/* Two nodes and a dead broker look alike to each of them: nobody is gone for that. */
static void an_outage_of_the_broker_is_no_news(void **state)
{
    assembly_t *assembly = assembly_create(4, 2, NULL);
    attendee_t *alice = assembly_come(assembly, 0, 0, true);
    attendee_t *bob = assembly_come(assembly, 2, 0, true);
    uint64_t left, right;

    (void)state;
    assert_int_equal(track(alice, "alice", "{}"), HUB_OK);
    assert_int_equal(track(bob, "bob", "{}"), HUB_OK);
    assembly_settle(assembly, 200);
    left = diffs_of(assembly, 0);
    right = diffs_of(assembly, 2);
    for (int outage = 0; outage < 2; outage++) {
        cut_all(assembly, 4, true);
        assembly_settle(assembly, 3 * SILENCE_MS);
        assembly_cut(assembly, 0, false); /* one is back earlier, by more than answers take */
        assembly_settle(assembly, 3 * ASSEMBLY_BEAT_MS + ASSEMBLY_BEAT_MS / 2);
        assembly_cut(assembly, 2, false);
        assembly_settle(assembly, 2 * SILENCE_MS);
    }
    assert_int_equal(diffs_of(assembly, 0), left);
    assert_int_equal(diffs_of(assembly, 2), right);
    assert_int_equal(json_object_size(alice->view), 2);
    assembly_check(assembly);
    assembly_destroy(assembly);
}

/* Its beat is the first that is heard; what it holds follows, topic by topic. */
static void who_is_back_late_has_time_to_answer(void **state)
{
    assembly_t *assembly = assembly_create(2, 1, NULL);
    attendee_t *alice = assembly_come(assembly, 0, 0, true);
    uint64_t diffs;

    (void)state;
    assert_int_equal(track(alice, "alice", "{}"), HUB_OK);
    assert_int_equal(track(assembly_come(assembly, 1, 0, false), "bob", "{}"), HUB_OK);
    assembly_settle(assembly, 200);
    diffs = diffs_of(assembly, 0);
    cut_all(assembly, 2, true);
    assembly_settle(assembly, 2 * SILENCE_MS);
    assembly_cut(assembly, 0, false);
    assembly_settle(assembly, 2 * ASSEMBLY_BEAT_MS + ASSEMBLY_BEAT_MS / 4);
    assembly_cut(assembly, 1, false);
    while (assembly_waiting(assembly, 1, 0) == 0)
        assembly_pass(assembly, 10);
    assert_true(assembly_deliver(assembly, 2, false)); /* the beat */
    for (int i = 0; i < 2 * ASSEMBLY_BEAT_MS / 10; i++) {
        assembly_pass(assembly, 10);
        assembly_turn(assembly, 0);
    }
    assert_int_equal(json_object_size(alice->view), 2);
    assembly_settle(assembly, SILENCE_MS);
    assert_int_equal(diffs_of(assembly, 0), diffs);
    assembly_check(assembly);
    assembly_destroy(assembly);
}

static void who_came_and_went_during_an_outage_is_told_behind_it(void **state)
{
    assembly_t *assembly = assembly_create(2, 1, NULL);
    attendee_t *alice = assembly_come(assembly, 0, 0, true);
    attendee_t *bob = assembly_come(assembly, 1, 0, false);
    uint64_t diffs;

    (void)state;
    assert_int_equal(track(alice, "alice", "{}"), HUB_OK);
    assert_int_equal(track(bob, "bob", "{}"), HUB_OK);
    assert_int_equal(track(bob, "bert", "{}"), HUB_OK);
    assembly_settle(assembly, 200);
    diffs = diffs_of(assembly, 0);
    cut_all(assembly, 2, true);
    assembly_settle(assembly, 2 * SILENCE_MS);
    assert_int_equal(hub__attendance_untrack(&bob->attendance, HUB_STR("bert")), HUB_OK);
    assert_int_equal(track(bob, "carol", "{}"), HUB_OK);
    assembly_settle(assembly, SILENCE_MS);
    cut_all(assembly, 2, false);
    assembly_settle(assembly, 2 * SILENCE_MS);
    assert_int_equal(diffs_of(assembly, 0), diffs + 1);
    expect_list(assembly, 0,
                "{'alice':{'metas':[{}]},'bob':{'metas':[{}]},'carol':{'metas':[{}]}}");
    assembly_check(assembly);
    assembly_destroy(assembly);
}

static void a_node_that_died_during_an_outage_is_cleared_in_time_behind_it(void **state)
{
    assembly_t *assembly = assembly_create(3, 1, NULL);
    attendee_t *alice = assembly_come(assembly, 0, 0, true);

    (void)state;
    assert_int_equal(track(assembly_come(assembly, 1, 0, false), "bob", "{}"), HUB_OK);
    assert_int_equal(track(assembly_come(assembly, 2, 0, false), "carol", "{}"), HUB_OK);
    assembly_settle(assembly, 200);
    cut_all(assembly, 3, true);
    assembly_settle(assembly, 2 * SILENCE_MS);
    assembly_kill(assembly, 1);
    assembly_settle(assembly, 2 * SILENCE_MS);
    assert_int_equal(json_object_size(alice->view), 2);
    cut_all(assembly, 3, false);
    assembly_settle(assembly, SILENCE_MS + 100);
    expect_list(assembly, 0, "{'carol':{'metas':[{}]}}");
    assert_int_equal(assembly_stats(assembly, 0)->presence_peers_gone_total, 1);
    assembly_check(assembly);
    assembly_destroy(assembly);
}

/* What is shown then is so old that it is no use to anybody. */
static void an_outage_that_lasts_clears_the_others_after_all(void **state)
{
    assembly_t *assembly = assembly_create(2, 1, NULL);
    attendee_t *alice = assembly_come(assembly, 0, 0, true);
    attendee_t *bob = assembly_come(assembly, 1, 0, true);

    (void)state;
    assert_int_equal(track(alice, "alice", "{}"), HUB_OK);
    assert_int_equal(track(bob, "bob", "{}"), HUB_OK);
    assembly_settle(assembly, 200);
    cut_all(assembly, 2, true);
    assembly_settle(assembly, 58 * ASSEMBLY_BEAT_MS);
    assert_int_equal(json_object_size(alice->view), 2);
    assembly_settle(assembly, 3 * ASSEMBLY_BEAT_MS);
    assert_int_equal(json_object_size(alice->view), 1);
    assembly_settle(assembly, 100 * ASSEMBLY_BEAT_MS);
    cut_all(assembly, 2, false);
    assembly_settle(assembly, 2 * ASSEMBLY_BEAT_MS);
    assert_int_equal(json_object_size(alice->view), 2);
    assembly_check(assembly);
    assembly_destroy(assembly);
}

/* Bob comes to node 1, where nobody hears what node 0 answers about alice. */
static attendee_t *come_and_lose_the_answer(assembly_t *assembly)
{
    attendee_t *bob;

    (void)come_first(assembly, false);
    bob = assembly_come(assembly, 1, 0, true);
    while (assembly_deliver(assembly, 1 * 2 + 0, false) && assembly_turn(assembly, 0))
        ;
    assert_true(assembly_vanish(assembly, 0, 1));
    return bob;
}

/* What was asked before may have been answered to nobody. */
static void what_can_be_heard_only_now_is_asked_for_at_once(void **state)
{
    assembly_t *assembly = assembly_create(2, 1, NULL);
    attendee_t *bob = come_and_lose_the_answer(assembly);

    (void)state;
    hub__tracker_ready(assembly_venue(assembly, 1, 0));
    assembly_settle(assembly, 100);
    assert_int_equal(json_object_size(bob->view), 1);
    assembly_destroy(assembly);
}

/* The bus says that it went, and nobody can tell that it did not arrive: it was the first word. */
static void an_answer_that_was_lost_unseen_is_asked_for_again(void **state)
{
    assembly_t *assembly = assembly_create(2, 1, NULL);
    attendee_t *bob = come_and_lose_the_answer(assembly);

    (void)state;
    assembly_settle(assembly, 900);
    assert_int_equal(json_object_size(bob->view), 0);
    assembly_settle(assembly, 2 * ASSEMBLY_BEAT_MS + 1100);
    assert_int_equal(json_object_size(bob->view), 1);
    assembly_check(assembly);
    assembly_destroy(assembly);
}

/* Its leave was lost, and so was its hello when it came again. */
static void who_holds_nothing_says_so_where_it_is_believed_to(void **state)
{
    assembly_t *assembly = assembly_create(2, 1, NULL);
    attendee_t *alice = assembly_come(assembly, 0, 0, true);
    char again[64];

    (void)state;
    assert_non_null(assembly_come(assembly, 1, 0, false));
    assembly_settle(assembly, 200);
    hub__tracker_receive(assembly_tracker(assembly, 0), assembly_venue(assembly, 0, 0),
                         assembly_tracker(assembly, 1)->owner, HUB_STR("delta"),
                         HUB_STR("{\"clock\":4,\"joins\":[[1,2,\"bob\",{},0]]}"), NULL);
    assembly_tracker(assembly, 1)->clock = 4;
    assembly_settle(assembly, 200);
    assert_int_equal(json_object_size(alice->view), 1);
    snprintf(again, sizeof(again), "{\"again\":true,\"have\":[\"%016llx\"]}",
             (unsigned long long)assembly_tracker(assembly, 1)->owner);
    hub__tracker_receive(assembly_tracker(assembly, 1), assembly_venue(assembly, 1, 0),
                         assembly_tracker(assembly, 0)->owner, HUB_STR("hello"), hub_str(again),
                         NULL);
    assembly_settle(assembly, 200);
    assert_int_equal(json_object_size(alice->view), 0);
    assembly_check(assembly);
    assembly_destroy(assembly);
}

/* Whichever is heard first. */
static void who_moves_to_another_node_is_there_in_the_end(void **state)
{
    hub_presence_options_t options = {.diff_ms = HUB_PRESENCE_AT_ONCE};

    (void)state;
    for (uint64_t order = 0; order < 9; order += 3) { /* whose letter is delivered first */
        assembly_t *assembly = assembly_create(3, 1, &options);
        attendee_t *carol = assembly_come(assembly, 2, 0, true);
        attendee_t *at_home = assembly_come(assembly, 0, 0, true), *alice;

        assert_int_equal(track(at_home, "alice", "{\"at\":1}"), HUB_OK);
        assembly_settle(assembly, 200);
        alice = assembly_come(assembly, 1, 0, true);
        assembly_settle(assembly, 200);
        assembly_go(assembly, at_home, false);
        assert_int_equal(track(alice, "alice", "{\"at\":2}"), HUB_OK);
        assembly_turn(assembly, 0);
        assembly_turn(assembly, 1);
        assert_true(assembly_deliver(assembly, order, false));
        assembly_turn(assembly, 2);
        assembly_settle(assembly, 200);
        assert_int_equal(json_object_size(json_object_get(carol->view, "alice")), 1);
        expect_list(assembly, 2, "{'alice':{'metas':[{'at':2}]}}");
        assembly_check(assembly);
        assembly_destroy(assembly);
    }
}

/* Nor is anybody asked for what is here. */
static void who_answered_is_not_asked_again(void **state)
{
    assembly_t *assembly = assembly_create(3, 1, NULL);
    size_t letters;

    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(track(assembly_come(assembly, i, 0, false), "k", "{}"), HUB_OK);
    assembly_settle(assembly, 500);
    letters = assembly_letters(assembly);
    assembly_settle(assembly, 5 * ASSEMBLY_BEAT_MS);
    assert_int_equal(assembly_letters(assembly), letters);
    assert_non_null(assembly_come(assembly, 0, 1, true)); /* where the others have nobody */
    assert_non_null(assembly_come(assembly, 1, 1, true));
    assembly_settle(assembly, 500);
    assembly_settle(assembly, 10 * ASSEMBLY_BEAT_MS);
    assert_in_range(assembly_letters(assembly) - letters, 3, 4);
    assembly_destroy(assembly);
}

static void what_was_lost_is_asked_for(void **state)
{
    assembly_t *assembly = assembly_create(2, 1, NULL);
    attendee_t *alice = assembly_come(assembly, 0, 0, true);
    attendee_t *bob = assembly_come(assembly, 1, 0, true);

    (void)state;
    assembly_settle(assembly, 200);
    assert_int_equal(track(bob, "bob", "{}"), HUB_OK);
    assembly_turn(assembly, 1);
    assert_true(assembly_deliver(assembly, 0, true));
    assembly_settle(assembly, 200);
    assert_int_equal(json_object_size(alice->view), 1);
    assembly_check(assembly);
    assembly_destroy(assembly);
}

/* Who missed something can't know that it was a question. */
static void a_question_that_was_lost_is_answered_all_the_same(void **state)
{
    assembly_t *assembly = assembly_create(2, 1, NULL);
    attendee_t *bob;

    (void)state;
    (void)come_first(assembly, false);
    bob = assembly_come(assembly, 1, 0, true);
    assert_true(assembly_deliver(assembly, 1 * 2 + 0, true));
    assembly_settle(assembly, 200);
    assert_int_equal(json_object_size(bob->view), 1);
    assembly_check(assembly);
    assembly_destroy(assembly);
}

/* Who cannot keep up is not given even more to do. */
static void many_gaps_are_one_question(void **state)
{
    assembly_t *assembly = assembly_create(2, 1, NULL);
    attendee_t *alice = assembly_come(assembly, 0, 0, true);
    attendee_t *bob = assembly_come(assembly, 1, 0, true);
    size_t letters;

    (void)state;
    assert_int_equal(track(alice, "alice", "{}"), HUB_OK);
    assert_int_equal(track(bob, "bob", "{}"), HUB_OK);
    assembly_settle(assembly, 200);
    letters = assembly_letters(assembly);
    for (int i = 0; i < 50; i++) {
        hub__tracker_gap(assembly_venue(assembly, 0, 0));
        assembly_settle(assembly, 10);
    }
    assert_in_range(assembly_letters(assembly) - letters, 3, 10);
    assembly_settle(assembly, 3 * ASSEMBLY_BEAT_MS);
    assert_in_range(assembly_letters(assembly) - letters, 6, 20);
    assembly_check(assembly);
    assembly_destroy(assembly);
}

/* A bus that comes back tells of a gap before it takes anything. */
static void a_gap_leads_to_an_exchange_within_a_moment(void **state)
{
    assembly_t *assembly = assembly_create(2, 1, NULL);
    attendee_t *alice = assembly_come(assembly, 0, 0, true);
    attendee_t *bob = assembly_come(assembly, 1, 0, true);

    (void)state;
    assembly_settle(assembly, 200);
    assembly_refuse(assembly, 0, true);
    assert_int_equal(track(alice, "alice", "{}"), HUB_OK);
    assembly_settle(assembly, 3 * ASSEMBLY_BEAT_MS); /* tried again and again, and rarely */
    assert_int_equal(track(bob, "bob", "{}"), HUB_OK);
    assembly_turn(assembly, 1);
    assert_true(assembly_deliver(assembly, 2, true));  /* to the first, */
    assert_true(assembly_deliver(assembly, 2, false)); /* which is told of a gap */
    assembly_pass(assembly, 10);
    assembly_refuse(assembly, 0, false);
    assembly_settle(assembly, 100);
    assert_int_equal(json_object_size(alice->view), 2);
    assert_int_equal(json_object_size(bob->view), 2);
    assembly_check(assembly);
    assembly_destroy(assembly);
}

/* ---- a loss on all topics ---- */

/* Two nodes with one member each on every topic, where the first asks about one at a time. */
static assembly_t *assemble_pairs(void)
{
    assembly_t *assembly = assembly_create(2, 1, NULL);

    for (int topic = 0; topic < ASSEMBLY_TOPICS; topic++)
        for (int node = 0; node < 2; node++)
            assert_int_equal(track(assembly_come(assembly, node, topic, true),
                                   node == 0 ? "alice" : "bob", "{}"),
                             HUB_OK);
    assembly_tracker(assembly, 0)->asking_max = 1;
    assembly_settle(assembly, 2 * ASSEMBLY_BEAT_MS + 1200);
    return assembly;
}

static void lose_on_all_topics(assembly_t *assembly)
{
    for (int topic = 0; topic < ASSEMBLY_TOPICS; topic++)
        hub__tracker_gap(assembly_venue(assembly, 0, topic));
}

static bool waits_in_line(assembly_t *assembly, int topic)
{
    return assembly_venue(assembly, 0, topic)->asks_prev != NULL;
}

static size_t count_waiting(assembly_t *assembly)
{
    size_t count = 0;

    for (int topic = 0; topic < ASSEMBLY_TOPICS; topic++)
        count += waits_in_line(assembly, topic);
    return count;
}

static void questions_about_a_loss_go_as_fast_as_they_are_answered(void **state)
{
    assembly_t *assembly = assemble_pairs();

    (void)state;
    lose_on_all_topics(assembly);
    for (size_t left = ASSEMBLY_TOPICS - 1; left > 0; left--) {
        assembly_turn(assembly, 0);
        assert_int_equal(count_waiting(assembly), left);
        while (assembly_deliver(assembly, 1, false)) /* the question, and not the answer */
            if (assembly_waiting(assembly, 0, 1) == 0)
                break;
        assembly_turn(assembly, 0);
        assert_int_equal(count_waiting(assembly), left);
        assert_true(assembly_turn(assembly, 1));
        assert_true(assembly_deliver(assembly, 2, false));
        while (assembly_deliver(assembly, 0, false))
            ;
    }
    assert_int_equal(count_waiting(assembly), 0);
    assembly_settle(assembly, 200);
    for (int topic = 0; topic < ASSEMBLY_TOPICS; topic++)
        assert_false(assembly_venue(assembly, 0, topic)->asking);
    assembly_check(assembly);
    assembly_destroy(assembly);
}

static void who_does_not_answer_holds_up_the_others_for_a_second(void **state)
{
    assembly_t *assembly = assemble_pairs();

    (void)state;
    assembly_freeze(assembly, 1, true);
    lose_on_all_topics(assembly);
    assembly_settle(assembly, 900);
    assert_int_equal(count_waiting(assembly), ASSEMBLY_TOPICS - 1);
    assembly_settle(assembly, 200);
    assert_int_equal(count_waiting(assembly), ASSEMBLY_TOPICS - 2);
    assembly_settle(assembly, 1000 * (ASSEMBLY_TOPICS - 2));
    assert_int_equal(count_waiting(assembly), 0);
    assembly_freeze(assembly, 1, false);
    assembly_settle(assembly, SILENCE_MS);
    assembly_check(assembly);
    assembly_destroy(assembly);
}

/* Or who waits would be taken for somebody who has nothing. */
static void who_waits_to_ask_answers_at_once(void **state)
{
    assembly_t *assembly = assemble_pairs();

    (void)state;
    assembly_freeze(assembly, 1, true);
    lose_on_all_topics(assembly);
    assembly_turn(assembly, 0);
    assert_true(waits_in_line(assembly, ASSEMBLY_TOPICS - 1));
    while (assembly_waiting(assembly, 0, 1) != 0)
        assert_true(assembly_vanish(assembly, 0, 1));
    hub__tracker_receive(
        assembly_tracker(assembly, 0), assembly_venue(assembly, 0, ASSEMBLY_TOPICS - 1),
        assembly_tracker(assembly, 1)->owner, HUB_STR("hello"), HUB_STR("{}"), NULL);
    assembly_turn(assembly, 0);
    assert_true(waits_in_line(assembly, ASSEMBLY_TOPICS - 1));
    assert_int_equal(assembly_waiting(assembly, 0, 1), 1);
    assembly_freeze(assembly, 1, false);
    assembly_settle(assembly, SILENCE_MS);
    assembly_check(assembly);
    assembly_destroy(assembly);
}

/* There may be ten thousand topics, and none will fare better. */
static void while_nothing_gets_out_one_question_is_tried(void **state)
{
    assembly_t *assembly = assemble_pairs();
    uint64_t diffs = assembly_stats(assembly, 0)->presence_diffs_total;

    (void)state;
    assembly_tracker(assembly, 0)->asking_max = ASSEMBLY_TOPICS;
    assembly_refuse(assembly, 0, true);
    lose_on_all_topics(assembly);
    assembly_settle(assembly, 3 * ASSEMBLY_BEAT_MS);
    assert_in_range(assembly_refusals(assembly, 0), 5, 7 + ASSEMBLY_TOPICS);
    assembly_refuse(assembly, 0, false);
    assembly_settle(assembly, 2 * ASSEMBLY_BEAT_MS);
    assert_int_equal(count_waiting(assembly), 0);
    assembly_settle(assembly, SILENCE_MS);
    assert_int_equal(assembly_stats(assembly, 0)->presence_diffs_total, diffs);
    assembly_check(assembly);
    assembly_destroy(assembly);
}

/* What was asked in vain before it is asked then as well. */
static void a_gap_ends_the_wait_for_the_bus(void **state)
{
    assembly_t *assembly = assembly_create(2, 1, NULL);
    attendee_t *alice, *bob;

    (void)state;
    assert_int_equal(track(assembly_come(assembly, 1, 1, true), "carol", "{}"), HUB_OK);
    alice = assembly_come(assembly, 0, 0, true);
    assembly_settle(assembly, 200);
    assembly_refuse(assembly, 0, true);
    bob = assembly_come(assembly, 0, 1, true);
    assembly_settle(assembly, 4 * ASSEMBLY_BEAT_MS); /* tried rarely by now */
    assert_int_equal(json_object_size(bob->view), 0);
    while (assembly_tracker(assembly, 0)->ask_timer.due_ms <
           *assembly_tracker(assembly, 0)->now_ms + 500)
        assembly_settle(assembly, 10);
    hub__tracker_gap(alice->attendance.venue);
    assembly_refuse(assembly, 0, false);
    assembly_settle(assembly, 100);
    assert_int_equal(json_object_size(bob->view), 1);
    assembly_check(assembly);
    assembly_destroy(assembly);
}

/* Nobody tells the gap: the next delta shows the hole. */
static void a_hole_between_deltas_is_noticed(void **state)
{
    assembly_t *assembly = assembly_create(2, 1, NULL);
    attendee_t *alice = assembly_come(assembly, 0, 0, true);
    attendee_t *bob = assembly_come(assembly, 1, 0, true);

    (void)state;
    assembly_settle(assembly, 200);
    assembly_tracker(assembly, 1)->clock += 5;
    assembly_venue(assembly, 1, 0)->own->clock = 3;
    assert_int_equal(track(bob, "bob", "{}"), HUB_OK);
    assembly_settle(assembly, 200);
    assert_int_equal(json_object_size(alice->view), 1);
    assembly_check(assembly);
    assembly_destroy(assembly);
}

/* A leave that was lost, of an owner that has nothing there any more. */
static void who_answers_to_no_question_is_not_there(void **state)
{
    assembly_t *assembly = assembly_create(2, 1, NULL);
    attendee_t *alice = assembly_come(assembly, 0, 0, true);
    attendee_t *bob = assembly_come(assembly, 1, 0, false);

    (void)state;
    assert_int_equal(track(bob, "bob", "{}"), HUB_OK);
    assembly_settle(assembly, 200);
    assembly_go(assembly, bob, false);
    assembly_pass(assembly, 100);
    assembly_turn(assembly, 1); /* the leave, and the end */
    while (assembly_deliver(assembly, 1 * 2 + 0, true) && assembly_venue(assembly, 1, 0) != NULL)
        ;
    assembly_settle(assembly, 4 * ASSEMBLY_BEAT_MS);
    assert_int_equal(json_object_size(alice->view), 0);
    assembly_destroy(assembly);
}

static void a_question_that_could_not_be_put_is_put_later(void **state)
{
    assembly_t *assembly = assembly_create(2, 1, NULL);
    attendee_t *alice = come_first(assembly, false), *bob;

    (void)state;
    assembly_refuse(assembly, 1, true);
    bob = assembly_come(assembly, 1, 0, true);
    assembly_settle(assembly, 200);
    assert_int_equal(json_object_size(bob->view), 0); /* nobody waits for what may never come */
    assembly_refuse(assembly, 1, false);
    assembly_settle(assembly, 2 * ASSEMBLY_BEAT_MS);
    assert_int_equal(json_object_size(bob->view), 1);

    assembly_refuse(assembly, 1, true); /* the same for one about a gap */
    assert_int_equal(track(alice, "carol", "{}"), HUB_OK);
    assembly_turn(assembly, 0);
    assert_true(assembly_deliver(assembly, 1, true));
    assembly_settle(assembly, 3 * ASSEMBLY_BEAT_MS);
    assert_int_equal(json_object_size(bob->view), 1);
    assembly_refuse(assembly, 1, false);
    assembly_settle(assembly, 2 * ASSEMBLY_BEAT_MS);
    assert_int_equal(json_object_size(bob->view), 2);
    assembly_check(assembly);
    assembly_destroy(assembly);
}

/* The bus is degraded before it was up for the first time: no gap will tell. */
static void who_was_alone_at_first_is_seen_later(void **state)
{
    assembly_t *assembly = assembly_create(2, 1, NULL);
    attendee_t *alice = come_first(assembly, true), *bob;

    (void)state;
    assembly_isolate(assembly, 1, true);
    bob = assembly_come(assembly, 1, 0, true);
    assert_int_equal(track(bob, "bob", "{}"), HUB_OK);
    assembly_settle(assembly, 200);
    assert_int_equal(json_object_size(bob->view), 1);
    assembly_isolate(assembly, 1, false);
    assembly_settle(assembly, 2 * ASSEMBLY_BEAT_MS);
    assert_int_equal(json_object_size(alice->view), 2);
    assert_int_equal(json_object_size(bob->view), 2);
    assembly_check(assembly);
    assembly_destroy(assembly);
}

static void a_last_leave_that_could_not_be_told_is_told_later(void **state)
{
    assembly_t *assembly = assembly_create(2, 1, NULL);
    attendee_t *alice = assembly_come(assembly, 0, 0, true);
    attendee_t *bob = assembly_come(assembly, 1, 0, false);

    (void)state;
    assert_int_equal(track(bob, "bob", "{}"), HUB_OK);
    assembly_settle(assembly, 200);
    assembly_refuse(assembly, 1, true);
    assembly_go(assembly, bob, false);
    assembly_settle(assembly, 200);
    assert_int_equal(json_object_size(alice->view), 1);
    assembly_refuse(assembly, 1, false);
    assembly_settle(assembly, 2 * ASSEMBLY_BEAT_MS);
    assert_int_equal(json_object_size(alice->view), 0);
    assert_null(assembly_venue(assembly, 1, 0));
    assembly_destroy(assembly);
}

/* Its leave was lost, and something else is lost again and again. */
static void who_is_not_there_goes_however_much_is_lost(void **state)
{
    assembly_t *assembly = assembly_create(3, 1, NULL);
    attendee_t *alice = assembly_come(assembly, 0, 0, true);
    attendee_t *bob = assembly_come(assembly, 1, 0, false);

    (void)state;
    assert_int_equal(track(bob, "bob", "{}"), HUB_OK);
    assert_int_equal(track(assembly_come(assembly, 2, 0, false), "carol", "{}"), HUB_OK);
    assembly_settle(assembly, 200);
    assembly_go(assembly, bob, false);
    assembly_pass(assembly, 100);
    assembly_turn(assembly, 1);
    assert_true(assembly_deliver(assembly, 1 * 3 + 0, true));
    for (int i = 0; i < 8; i++) {
        hub__tracker_gap(assembly_venue(assembly, 0, 0));
        assembly_settle(assembly, ASSEMBLY_BEAT_MS / 2);
    }
    assert_int_equal(json_object_size(alice->view), 1);
    assembly_check(assembly);
    assembly_destroy(assembly);
}

static void changes_within_the_batch_are_one_diff(void **state)
{
    hub_presence_options_t options = {.diff_ms = 50};
    assembly_t *assembly = assembly_create(1, 1, &options);
    attendee_t *alice = assembly_come(assembly, 0, 0, true);
    uint64_t diffs;

    (void)state;
    assert_int_equal(track(alice, "alice", "{}"), HUB_OK);
    assembly_turn(assembly, 0);
    assembly_settle(assembly, 10); /* the answer to its own question */
    diffs = assembly_stats(assembly, 0)->presence_diffs_total;
    for (int i = 0; i < 10; i++) {
        char key[16];

        snprintf(key, sizeof(key), "k%d", i);
        assert_int_equal(track(assembly_come(assembly, 0, 0, false), key, "{}"), HUB_OK);
        assembly_turn(assembly, 0);
    }
    assert_int_equal(assembly_stats(assembly, 0)->presence_diffs_total, diffs);
    assembly_settle(assembly, 60);
    assert_int_equal(assembly_stats(assembly, 0)->presence_diffs_total, diffs + 1);
    assert_int_equal(json_object_size(alice->view), 11);
    assembly_destroy(assembly);
}

static void a_turn_of_many_topics_goes_on_in_the_next(void **state)
{
    assembly_t *assembly = assembly_create(1, 1, NULL);
    attendee_t *guests[ASSEMBLY_TOPICS];

    (void)state;
    for (int i = 0; i < ASSEMBLY_TOPICS; i++)
        guests[i] = assembly_come(assembly, 0, i, true);
    assembly_settle(assembly, 200);
    assembly_hurry(assembly, true);
    for (int i = 0; i < ASSEMBLY_TOPICS; i++)
        assert_int_equal(track(guests[i], "k", "{}"), HUB_OK);
    for (int turn = 0; turn < ASSEMBLY_TOPICS; turn++) {
        for (int i = 0; i < ASSEMBLY_TOPICS; i++)
            assert_int_equal(json_object_size(guests[i]->view), i < turn ? 1 : 0);
        assembly_turn(assembly, 0);
    }
    assert_int_equal(json_object_size(guests[ASSEMBLY_TOPICS - 1]->view), 1);
    assembly_destroy(assembly);
}

static void an_update_names_the_meta_that_was_told(void **state)
{
    assembly_t *assembly = assembly_create(2, 1, NULL);
    attendee_t *alice = assembly_come(assembly, 0, 0, false);
    uint64_t told;

    (void)state;
    assert_int_equal(track(alice, "alice", "{\"n\":1}"), HUB_OK);
    assert_int_equal(update(alice, "alice", "{\"n\":2}"), HUB_OK);
    assert_int_equal(alice->attendance.stays->tracking->previous, 0);
    assembly_settle(assembly, 200);
    told = alice->attendance.stays->tracking->number;
    assert_int_equal(update(alice, "alice", "{\"n\":3}"), HUB_OK);
    assert_int_equal(update(alice, "alice", "{\"n\":4}"), HUB_OK);
    assert_int_equal(alice->attendance.stays->tracking->previous, told);
    assembly_settle(assembly, 200);
    assembly_check(assembly);
    assembly_destroy(assembly);
}

static void who_returns_within_the_grace_has_never_been_away(void **state)
{
    hub_presence_options_t options = {.grace_ms = 500};
    assembly_t *assembly = assembly_create(2, 2, &options);
    attendee_t *watcher = assembly_come(assembly, 1, 0, true);
    attendee_t *alice = assembly_come(assembly, 0, 0, false);
    uint64_t diffs;

    (void)state;
    assert_int_equal(track(alice, "alice", "{\"n\":1}"), HUB_OK);
    assembly_settle(assembly, 200);
    diffs = assembly_stats(assembly, 1)->presence_diffs_total;
    assembly_go(assembly, alice, true);
    assembly_settle(assembly, 400);
    alice = assembly_come(assembly, 0, 0, false);
    assert_int_equal(track(alice, "alice", "{\"n\":1}"), HUB_OK);
    assembly_settle(assembly, 1000);
    assert_int_equal(assembly_stats(assembly, 1)->presence_diffs_total, diffs);
    assembly_check(assembly);

    assembly_go(assembly, alice, true); /* with another meta it is an update */
    alice = assembly_come(assembly, 0, 0, false);
    assert_int_equal(track(alice, "alice", "{\"n\":2}"), HUB_OK);
    assembly_settle(assembly, 1000);
    assert_int_equal(assembly_stats(assembly, 1)->presence_diffs_total, diffs + 1);
    expect_list(assembly, 1, "{'alice':{'metas':[{'n':2}]}}");
    assembly_check(assembly);

    assembly_go(assembly, alice, true);
    assembly_settle(assembly, 600);
    assert_int_equal(json_object_size(watcher->view), 0);
    assembly_destroy(assembly);
}

static void who_returns_on_another_worker_keeps_the_key(void **state)
{
    hub_presence_options_t options = {.grace_ms = 5000, .diff_ms = 20};
    assembly_t *assembly = assembly_create(2, 2, &options);
    attendee_t *alice = assembly_come(assembly, 0, 0, false);

    (void)state;
    assert_non_null(assembly_come(assembly, 0, 0, true));
    assert_non_null(assembly_come(assembly, 1, 0, true));
    assert_int_equal(track(alice, "alice", "{\"n\":1}"), HUB_OK);
    assembly_settle(assembly, 200);
    assembly_go(assembly, alice, true);
    assembly_settle(assembly, 100);
    expect_list(assembly, 1, "{'alice':{'metas':[{'n':1}]}}");
    assert_int_equal(track(assembly_come(assembly, 1, 0, false), "alice", "{\"n\":2}"), HUB_OK);
    assembly_settle(assembly, 200); /* far less than the grace */
    expect_list(assembly, 0, "{'alice':{'metas':[{'n':2}]}}");
    assembly_check(assembly);
    assembly_destroy(assembly);
}

/* That another one who holds the key is told of anew does not mean that somebody came. */
static void a_state_told_again_ends_no_grace(void **state)
{
    hub_presence_options_t options = {.grace_ms = 5000, .diff_ms = 20};
    assembly_t *assembly = assembly_create(2, 1, &options);
    attendee_t *phone = assembly_come(assembly, 0, 0, false);
    attendee_t *laptop = assembly_come(assembly, 1, 0, false);

    (void)state;
    assert_non_null(assembly_come(assembly, 0, 0, true));
    assert_int_equal(track(phone, "alice", "{\"n\":1}"), HUB_OK);
    assert_int_equal(track(laptop, "alice", "{\"n\":2}"), HUB_OK);
    assembly_settle(assembly, 200);
    assembly_go(assembly, phone, true);
    assert_int_equal(track(laptop, "bob", "{}"), HUB_OK);
    assembly_turn(assembly, 1);
    assert_true(assembly_deliver(assembly, 2, true));
    assembly_settle(assembly, 200); /* far less than the grace */
    expect_list(assembly, 0, "{'alice':{'metas':[{'n':1},{'n':2}]},'bob':{'metas':[{}]}}");
    assert_int_equal(update(laptop, "alice", "{\"n\":3}"), HUB_OK); /* nor does an update */
    assembly_settle(assembly, 200);
    expect_list(assembly, 0, "{'alice':{'metas':[{'n':1},{'n':3}]},'bob':{'metas':[{}]}}");
    assembly_destroy(assembly);
}

static void limits_are_kept(void **state)
{
    hub_presence_options_t options = {.keys_per_member = 2, .meta_bytes = 8};
    assembly_t *assembly = assembly_create(1, 1, &options);
    attendee_t *alice = assembly_come(assembly, 0, 0, false);
    char long_key[257];

    (void)state;
    memset(long_key, 'k', 256);
    long_key[256] = '\0';
    assert_int_equal(track(alice, long_key, "{}"), HUB_EINVAL);
    assert_int_equal(track(alice, "*", "{}"), HUB_EINVAL);
    assert_int_equal(track(alice, "\xff", "{}"), HUB_EINVAL);
    assert_int_equal(track(alice, "a", "[]"), HUB_EPAYLOAD);
    assert_int_equal(track(alice, "a", "{\"a\":1234}"), HUB_OK);
    assert_int_equal(track(alice, "a", "{}"), HUB_EEXIST);
    assert_int_equal(track(alice, "b", "{\"a\":12345}"), HUB_ETOOLARGE);
    assert_int_equal(track(alice, long_key + 1, "{}"), HUB_OK);
    assert_int_equal(track(alice, "c", "{}"), HUB_ELIMIT);
    assert_int_equal(hub__attendance_untrack(&alice->attendance, HUB_STR("c")), HUB_ENOTFOUND);
    assert_int_equal(hub__attendance_update(&alice->attendance, HUB_STR("c"), HUB_JSON("{}")),
                     HUB_ENOTFOUND);
    assembly_destroy(assembly);
}

/* Or nobody elsewhere would ever hear of it, nor of what is told behind it. */
static void a_meta_is_no_larger_than_a_message_to_the_others(void **state)
{
    assembly_t *assembly = assembly_create(2, 1, NULL);
    attendee_t *alice = assembly_come(assembly, 0, 0, false), *bob;
    char key[256], meta[2001], last[16];
    hub_status_t err = HUB_OK;
    int len = 0;

    (void)state;
    memset(key, '\x1f', 255); /* as long as it gets: \u001f */
    key[255] = '\0';
    for (int i = 0; i < 12; i++) { /* a chunk that is nearly full */
        snprintf(last, sizeof(last), "k%d", i);
        assert_int_equal(track(alice, last, "{}"), HUB_OK);
    }
    assert_int_equal(track(alice, "large", "{}"), HUB_OK);
    assert_int_equal(track(alice, key, "{}"), HUB_ETOOLARGE);
    for (; err == HUB_OK; len++) {
        snprintf(meta, sizeof(meta), "{\"n\":\"%*s\"}", len, "");
        err = update(alice, "large", meta);
    }
    assert_int_equal(err, HUB_ETOOLARGE);
    assert_in_range(len, 1000, 1500);
    bob = assembly_come(assembly, 1, 0, true);
    assembly_settle(assembly, 200);
    assert_int_equal(json_object_size(bob->view), 13);
    assembly_destroy(assembly);
}

static char *nested(int depth)
{
    char *meta = calloc(1, 2 * (size_t)depth + 5);

    assert_non_null(meta);
    strcpy(meta, "{\"\":");
    memset(meta + 4, '[', (size_t)depth - 1);
    memset(meta + 3 + depth, ']', (size_t)depth - 1);
    meta[2 + 2 * depth - 1 + 1] = '}';
    return meta;
}

static void a_meta_is_no_deeper_than_the_others_can_read(void **state)
{
    assembly_t *assembly = assembly_create(2, 1, NULL);
    attendee_t *alice = assembly_come(assembly, 0, 0, false), *bob;
    char *meta = nested(HUB_JSON_DEPTH_MAX - 2);

    (void)state;
    assert_int_equal(track(alice, "alice", meta), HUB_EPAYLOAD);
    free(meta);
    meta = nested(HUB_JSON_DEPTH_MAX - 3);
    assert_int_equal(track(alice, "alice", meta), HUB_OK);
    free(meta);
    bob = assembly_come(assembly, 1, 0, true);
    assembly_settle(assembly, 200);
    assert_int_equal(json_object_size(bob->view), 1);
    assembly_destroy(assembly);
}

static void junk_is_counted_and_does_no_harm(void **state)
{
    static const char *const junk[] = {
        "[]",
        "{\"joins\":1}",
        "{\"to\":\"abc\"}",
        "{\"from\":-1}",
        "{\"clock\":99999999999999999999}",
        "{\"first\":1}",
    };
    static const char *const rows[] = {
        "\"joins\":[1]",
        "\"joins\":[[1,2,\"k\",{}]]",
        "\"joins\":[[0,2,\"k\",{},0]]",
        "\"joins\":[[1,2,\"\\ud800\",{},0]]",
        "\"joins\":[[1,2,\"k\",[],0]]",
        "\"joins\":[[281474976710656,2,\"k\",{},0]]",
        "\"leaves\":[\"1\"]",
    };
    assembly_t *assembly = assembly_create(1, 1, NULL);
    hub__tracker_t *tracker = assembly_tracker(assembly, 0);
    hub__venue_t *venue;
    uint64_t bad = 0;

    (void)state;
    assert_non_null(assembly_come(assembly, 0, 0, true));
    venue = assembly_venue(assembly, 0, 0);
    for (size_t i = 0; i < sizeof(junk) / sizeof(junk[0]); i++) {
        hub__tracker_receive(tracker, venue, 77, HUB_STR("delta"), hub_str(junk[i]), NULL);
        assert_int_equal(assembly_stats(assembly, 0)->presence_bad_total, ++bad);
    }
    hub__tracker_receive(tracker, venue, 77, HUB_STR("nonsense"), HUB_STR("{}"), NULL);
    hub__tracker_receive(tracker, venue, 77, HUB_STR("beat"), HUB_STR("{}"), NULL);
    hub__tracker_receive(tracker, NULL, 77, HUB_STR("delta"), HUB_STR("{}"), NULL);
    hub__tracker_receive(tracker, venue, 0, HUB_STR("delta"), HUB_STR("{}"), NULL);
    bad += 4;
    assert_int_equal(assembly_stats(assembly, 0)->presence_bad_total, bad);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[128];

        snprintf(text, sizeof(text), "{\"clock\":%zu,\"from\":%zu,%s}", i + 1, i, rows[i]);
        hub__tracker_receive(tracker, venue, 77, HUB_STR("delta"), hub_str(text), NULL);
        assert_int_equal(assembly_stats(assembly, 0)->presence_bad_total, ++bad);
    }
    /* white space and references in a meta are no trouble */
    hub__tracker_receive(tracker, venue, 78, HUB_STR("delta"),
                         HUB_STR("{\"clock\":1,\"joins\":[[1,2,\"k\",{ },0],"
                                 "[2,3,\"k\",{ \"phx_ref\" : 1, \"a\" : [ 1 ] },0]]}"),
                         NULL);
    expect_list(assembly, 0, "{'k':{'metas':[{},{'a':[1]}]}}");
    assembly_destroy(assembly);
}

/* Each is remembered for twenty minutes, and looked for at each message. */
static void owners_that_nobody_is_are_forgotten_before_there_are_too_many(void **state)
{
    assembly_t *assembly = assembly_create(2, 1, NULL);
    attendee_t *alice = assembly_come(assembly, 0, 0, true);
    hub__tracker_t *tracker = assembly_tracker(assembly, 0);
    size_t count = 0;

    (void)state;
    for (uint64_t owner = 1000; owner < 1000 + 2 * HUB__PEERS_MAX; owner++)
        hub__tracker_receive(tracker, NULL, owner, HUB_STR("beat"), HUB_STR("{}"), NULL);
    for (const hub__peer_t *peer = tracker->peers; peer != NULL; peer = peer->next)
        count++;
    assert_int_equal(count, HUB__PEERS_MAX);
    assert_int_equal(assembly_stats(assembly, 0)->presence_bad_total, HUB__PEERS_MAX);
    assert_int_equal(track(assembly_come(assembly, 1, 0, false), "bob", "{}"), HUB_OK);
    assembly_settle(assembly,
                    SILENCE_MS + 3 * ASSEMBLY_BEAT_MS); /* those are gone, this one is not */
    assert_int_equal(json_object_size(alice->view), 1);
    assembly_check(assembly);
    assembly_destroy(assembly);
}

/* What stood behind it is not lost with it. */
static void a_row_that_can_not_be_read_makes_it_ask(void **state)
{
    assembly_t *assembly = assembly_create(2, 1, NULL);
    attendee_t *alice = assembly_come(assembly, 0, 0, true);
    attendee_t *bob = assembly_come(assembly, 1, 0, false);
    hub__tracker_t *tracker = assembly_tracker(assembly, 0);
    char text[128];

    (void)state;
    assert_int_equal(track(bob, "bob", "{}"), HUB_OK);
    assembly_settle(assembly, 200);
    assert_int_equal(track(bob, "phone", "{}"), HUB_OK);
    assembly_turn(assembly, 1);
    snprintf(text, sizeof(text), "{\"from\":%u,\"clock\":%u,\"joins\":[[1,2]]}", 1, 2);
    hub__tracker_receive(tracker, assembly_venue(assembly, 0, 0),
                         assembly_tracker(assembly, 1)->owner, HUB_STR("delta"), hub_str(text),
                         NULL); /* as if somebody had spoilt it */
    assert_int_equal(assembly_stats(assembly, 0)->presence_bad_total, 1);
    assembly_settle(assembly, 200);
    assert_int_equal(json_object_size(alice->view), 2);
    assembly_check(assembly);
    assembly_destroy(assembly);
}

static void a_state_of_many_parts_arrives_whole(void **state)
{
    hub_presence_options_t options = {.keys_per_member = 3000};
    assembly_t *assembly = assembly_create(2, 2, &options);
    attendee_t *alice = assembly_come(assembly, 0, 0, false), *bob;
    char key[16];

    (void)state;
    for (int i = 0; i < 2500; i++) { /* more than goes out in a turn */
        snprintf(key, sizeof(key), "k%d", i);
        assert_int_equal(track(alice, key, "{}"), HUB_OK);
    }
    assembly_settle(assembly, 200);
    bob = assembly_come(assembly, 1, 0, true);
    assembly_turn(assembly, 1);
    while (assembly_deliver(assembly, 0, false)) /* the question */
        ;
    assembly_turn(assembly, 0); /* the first parts; and meanwhile: */
    assert_int_equal(hub__attendance_untrack(&alice->attendance, HUB_STR("k2400")), HUB_OK);
    assert_int_equal(hub__attendance_untrack(&alice->attendance, HUB_STR("k1")), HUB_OK);
    assert_int_equal(track(alice, "new", "{}"), HUB_OK);
    assert_null(bob->view);
    assembly_settle(assembly, 200);
    assert_int_equal(hub__roster_stats(assembly_venue(assembly, 1, 0)->roster).keys, 2499);
    assert_non_null(json_object_get(bob->view, "*")); /* a sample, by now */
    assert_int_equal(json_object_size(bob->view), 101);
    assembly_destroy(assembly);
}

/* The last part comes when the loss of one before it is known: the list is not whole yet. */
static void a_part_of_a_state_that_is_lost_is_made_good(void **state)
{
    hub_presence_options_t options = {.keys_per_member = 100};
    assembly_t *assembly = assembly_create(2, 1, &options);
    attendee_t *alice = assembly_come(assembly, 1, 0, false), *bob;

    (void)state;
    for (int i = 0; i < 60; i++) {
        char key[16];

        snprintf(key, sizeof(key), "k%d", i);
        assert_int_equal(track(alice, key, "{}"), HUB_OK);
    }
    assembly_settle(assembly, 200);
    bob = assembly_come(assembly, 0, 0, true);
    assembly_turn(assembly, 0);
    while (assembly_deliver(assembly, 1, false)) /* the question */
        ;
    assembly_turn(assembly, 1);                        /* the parts */
    assert_true(assembly_deliver(assembly, 2, false)); /* the first one */
    assert_true(assembly_deliver(assembly, 2, true));  /* that is lost */
    assembly_settle(assembly, 3 * ASSEMBLY_BEAT_MS);
    assert_int_equal(json_object_size(bob->view), 60);
    assembly_check(assembly);
    assembly_destroy(assembly);
}

/* ---- the model ---- */

static uint64_t draw(uint64_t *seed)
{
    *seed += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = *seed;

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static void random_key(uint64_t *seed, char *key, char *meta)
{
    snprintf(key, 16, "user%u", (unsigned)(draw(seed) % 6));
    snprintf(meta, 32, "{\"n\":%u}", (unsigned)(draw(seed) % 4));
}

static void release_all(assembly_t *assembly)
{
    for (int i = 0; i < ASSEMBLY_NODES; i++) {
        assembly_freeze(assembly, i, false);
        assembly_refuse(assembly, i, false);
        assembly_cut(assembly, i, false);
    }
}

static void random_step(assembly_t *assembly, uint64_t *seed)
{
    unsigned dice = (unsigned)(draw(seed) % 1000);
    int node = (int)(draw(seed) % ASSEMBLY_NODES);
    attendee_t *attendee = assembly_anybody(assembly, draw(seed));
    char key[16], meta[32];

    random_key(seed, key, meta);
    if (dice < 80) {
        (void)assembly_come(assembly, node, (int)(draw(seed) % ASSEMBLY_TOPICS), dice < 60);
    } else if (dice < 130 && attendee != NULL) {
        assembly_go(assembly, attendee, dice % 2 == 0);
    } else if (dice < 230 && attendee != NULL) {
        (void)track(attendee, key, meta);
    } else if (dice < 290 && attendee != NULL) {
        (void)hub__attendance_untrack(&attendee->attendance, hub_str(key));
    } else if (dice < 350 && attendee != NULL) {
        (void)update(attendee, key, meta);
    } else if (dice < 600) {
        (void)assembly_deliver(assembly, draw(seed), dice < 360);
    } else if (dice < 900) {
        assembly_turn(assembly, node);
    } else if (dice < 980) {
        assembly_pass(assembly, draw(seed) % 40);
    } else if (dice < 984) {
        assembly_freeze(assembly, node, true);
    } else if (dice < 990) {
        release_all(assembly);
    } else if (dice < 991) {
        assembly_refuse(assembly, node, true);
    } else if (dice == 991) {
        assembly_cut(assembly, node, !assembly_is_cut(assembly, node));
    } else if (dice < 993) {
        assembly_pass(assembly, draw(seed) % (6 * ASSEMBLY_BEAT_MS));
    } else if (dice < 995) {
        assembly_kill(assembly, node);
    } else if (dice < 997) {
        assembly_stop(assembly, node);
    } else if (!assembly_is_alive(assembly, node)) {
        assembly_revive(assembly, node);
    }
}

static void random_run(uint64_t run_seed)
{
    hub_presence_options_t options = {0};
    uint64_t seed = run_seed;
    assembly_t *assembly;

    options.diff_ms = draw(&seed) % 2 == 0 ? HUB_PRESENCE_AT_ONCE : 50;
    options.grace_ms = draw(&seed) % 2 == 0 ? 0 : 300;
    options.keys_max = draw(&seed) % 3 == 0 ? 1 + (uint32_t)(draw(&seed) % 5) : 0;
    options.state_bytes = draw(&seed) % 3 == 0 ? 400 + (uint32_t)(draw(&seed) % 400) : 0;
    assembly = assembly_create(ASSEMBLY_NODES, 1 + (int)(draw(&seed) % 3), &options);
    assembly_hurry(assembly, draw(&seed) % 4 == 0);
    for (int i = 0; i < ASSEMBLY_NODES && draw(&seed) % 2 == 0; i++)
        assembly_tracker(assembly, i)->asking_max = 1;
    for (int step = 0; step < 400; step++)
        random_step(assembly, &seed);
    release_all(assembly);
    assembly_settle(assembly, 2 * SILENCE_MS);
    if (options.keys_max == 0 && options.state_bytes == 0)
        assembly_check(assembly);
    else
        assembly_check_views(assembly);
    assembly_destroy(assembly);
}

static uint64_t number_of(const char *name, uint64_t value)
{
    const char *text = getenv(name);

    return text == NULL ? value : strtoull(text, NULL, 0);
}

static void after_any_steps_everybody_sees_what_the_living_hold(void **state)
{
    uint64_t first = number_of("MODEL_SEED", 1), runs = number_of("MODEL_RUNS", 60);

    (void)state;
    for (uint64_t i = 0; i < runs; i++) {
        if (getenv("MODEL_RUNS") != NULL)
            print_message("MODEL_SEED=%llu\n", (unsigned long long)(first + i));
        random_run(first + i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_one_tracks_all_others_see),
        cmocka_unit_test(who_comes_later_gets_the_whole_list),
        cmocka_unit_test(a_worker_that_is_busy_holds_up_nobody_for_long),
        cmocka_unit_test(metas_of_one_key_are_the_oldest_first_everywhere),
        cmocka_unit_test(clocks_that_differ_by_hours_do_no_harm),
        cmocka_unit_test(a_node_that_is_killed_is_cleared_in_time),
        cmocka_unit_test(a_node_that_stops_says_so),
        cmocka_unit_test(a_node_that_stops_owes_no_answer),
        cmocka_unit_test(a_node_that_was_away_comes_back),
        cmocka_unit_test(who_is_heard_again_is_asked_about_as_many_topics_as_a_turn_has_room_for),
        cmocka_unit_test(an_outage_of_the_broker_is_no_news),
        cmocka_unit_test(who_is_back_late_has_time_to_answer),
        cmocka_unit_test(who_came_and_went_during_an_outage_is_told_behind_it),
        cmocka_unit_test(a_node_that_died_during_an_outage_is_cleared_in_time_behind_it),
        cmocka_unit_test(an_outage_that_lasts_clears_the_others_after_all),
        cmocka_unit_test(what_can_be_heard_only_now_is_asked_for_at_once),
        cmocka_unit_test(an_answer_that_was_lost_unseen_is_asked_for_again),
        cmocka_unit_test(who_holds_nothing_says_so_where_it_is_believed_to),
        cmocka_unit_test(who_moves_to_another_node_is_there_in_the_end),
        cmocka_unit_test(who_answered_is_not_asked_again),
        cmocka_unit_test(what_was_lost_is_asked_for),
        cmocka_unit_test(a_question_that_was_lost_is_answered_all_the_same),
        cmocka_unit_test(many_gaps_are_one_question),
        cmocka_unit_test(a_gap_leads_to_an_exchange_within_a_moment),
        cmocka_unit_test(questions_about_a_loss_go_as_fast_as_they_are_answered),
        cmocka_unit_test(who_does_not_answer_holds_up_the_others_for_a_second),
        cmocka_unit_test(who_waits_to_ask_answers_at_once),
        cmocka_unit_test(while_nothing_gets_out_one_question_is_tried),
        cmocka_unit_test(a_gap_ends_the_wait_for_the_bus),
        cmocka_unit_test(a_hole_between_deltas_is_noticed),
        cmocka_unit_test(who_answers_to_no_question_is_not_there),
        cmocka_unit_test(a_question_that_could_not_be_put_is_put_later),
        cmocka_unit_test(who_was_alone_at_first_is_seen_later),
        cmocka_unit_test(a_last_leave_that_could_not_be_told_is_told_later),
        cmocka_unit_test(who_is_not_there_goes_however_much_is_lost),
        cmocka_unit_test(changes_within_the_batch_are_one_diff),
        cmocka_unit_test(a_turn_of_many_topics_goes_on_in_the_next),
        cmocka_unit_test(an_update_names_the_meta_that_was_told),
        cmocka_unit_test(who_returns_within_the_grace_has_never_been_away),
        cmocka_unit_test(who_returns_on_another_worker_keeps_the_key),
        cmocka_unit_test(a_state_told_again_ends_no_grace),
        cmocka_unit_test(limits_are_kept),
        cmocka_unit_test(a_meta_is_no_larger_than_a_message_to_the_others),
        cmocka_unit_test(a_meta_is_no_deeper_than_the_others_can_read),
        cmocka_unit_test(junk_is_counted_and_does_no_harm),
        cmocka_unit_test(owners_that_nobody_is_are_forgotten_before_there_are_too_many),
        cmocka_unit_test(a_row_that_can_not_be_read_makes_it_ask),
        cmocka_unit_test(a_state_of_many_parts_arrives_whole),
        cmocka_unit_test(a_part_of_a_state_that_is_lost_is_made_good),
        cmocka_unit_test(after_any_steps_everybody_sees_what_the_living_hold),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
