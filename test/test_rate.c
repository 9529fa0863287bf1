/* SPDX-License-Identifier: MIT */
/* Token buckets: their arithmetic with time as a number, and what a conversation meets at its rates
 * of messages and joins, in each wire format. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "hub/limits.h"
#include "test/program.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- one bucket ---- */

static size_t take_all(uint32_t *debt, const hub__rate_t *rate)
{
    size_t count = 0;

    while (count <= 2000000 && hub__rate_take(debt, rate))
        ++count;
    return count;
}

/* As time pays it. */
static void pass(uint32_t *debt, const hub__rate_t *rate, uint32_t ms)
{
    hub__debts_t debts = {.joins = *debt};

    hub__debts_pay(&debts, &(hub__rates_t){.joins = *rate}, ms);
    *debt = debts.joins;
}

static void a_burst_is_taken_whole_and_no_more(void **state)
{
    static const size_t bursts[] = {1, 2, 19, 20, 128, 200, 1000000};

    (void)state;
    for (size_t i = 0; i != COUNT(bursts); ++i) {
        hub__rate_t rate = hub__rate_of(7, bursts[i]);
        uint32_t debt = 0;

        assert_int_equal(take_all(&debt, &rate), bursts[i]);
        assert_false(hub__rate_take(&debt, &rate));
    }
}

static void time_gives_back_what_the_rate_says(void **state)
{
    hub__rate_t rate = hub__rate_of(100, 200);
    uint32_t debt = 0;

    (void)state;
    assert_int_equal(take_all(&debt, &rate), 200);
    pass(&debt, &rate, 9);
    assert_int_equal(take_all(&debt, &rate), 0);
    pass(&debt, &rate, 1);
    assert_int_equal(take_all(&debt, &rate), 1);
    pass(&debt, &rate, 1000);
    assert_int_equal(take_all(&debt, &rate), 100);
    pass(&debt, &rate, 60000);
    assert_int_equal(take_all(&debt, &rate), 200);
}

/* However short the intervals are in which it is paid. */
static void the_rate_holds_in_the_long_run(void **state)
{
    static const size_t rates[] = {1, 3, 10, 99, 1000, 333333, 1000000};

    (void)state;
    for (size_t i = 0; i != COUNT(rates); ++i) {
        hub__rate_t rate = hub__rate_of(rates[i], 1000000);
        uint32_t debt = 0;
        size_t taken = 0;

        (void)take_all(&debt, &rate);
        for (size_t ms = 0; ms != 3000; ++ms) {
            pass(&debt, &rate, 1);
            taken += take_all(&debt, &rate);
        }
        assert_int_equal(taken, 3 * rates[i]);
    }
}

static void a_debt_of_any_age_is_paid_once_whatever_the_clock_does(void **state)
{
    hub__rate_t rate = hub__rate_of(1, 20);
    uint32_t debt = 0, last = UINT32_MAX - 2999, now = 2000; /* a clock that wraps in between */

    (void)state;
    (void)take_all(&debt, &rate);
    pass(&debt, &rate, now - last);
    assert_int_equal(take_all(&debt, &rate), 5);
    pass(&debt, &rate, UINT32_MAX); /* 49 days */
    assert_int_equal(debt, 0);
    assert_int_equal(take_all(&debt, &rate), 20);
}

static void the_wait_that_is_told_is_enough_and_not_too_long(void **state)
{
    static const size_t rates[] = {1, 3, 100, 999, 1000, 7777, 1000000};

    (void)state;
    for (size_t i = 0; i != COUNT(rates); ++i) {
        hub__rate_t rate = hub__rate_of(rates[i], 50);
        uint32_t debt = 0, wait;

        (void)take_all(&debt, &rate);
        wait = hub__rate_wait_ms(debt, &rate, 1);
        assert_in_range(wait, 1, (1000 + rates[i] - 1) / rates[i]);
        pass(&debt, &rate, wait - 1);
        assert_false(hub__rate_take(&debt, &rate));
        pass(&debt, &rate, 1);
        assert_int_equal(hub__rate_wait_ms(debt, &rate, 1), 0);
        assert_true(hub__rate_take(&debt, &rate));
    }
}

static void a_charge_may_be_larger_than_the_burst_and_is_waited_for(void **state)
{
    hub__rate_t rate = hub__rate_of(262144, 1048576);
    uint32_t debt = 0;

    (void)state;
    hub__rate_charge(&debt, &rate, 1048576);
    assert_int_equal(hub__rate_wait_ms(debt, &rate, 0), 0);
    hub__rate_charge(&debt, &rate, 1);
    assert_int_equal(hub__rate_wait_ms(debt, &rate, 0), 1);
    hub__rate_charge(&debt, &rate, 65535);
    assert_int_equal(hub__rate_wait_ms(debt, &rate, 0), 250);
    pass(&debt, &rate, 250);
    assert_int_equal(hub__rate_wait_ms(debt, &rate, 0), 0);
    hub__rate_charge(&debt, &rate, SIZE_MAX);
    assert_int_equal(debt, UINT32_MAX);
    hub__rate_charge(&debt, &rate, 1);
    assert_int_equal(debt, UINT32_MAX);
}

static void the_largest_bursts_keep_their_rate_within_a_thousandth(void **state)
{
    static const size_t bursts[] = {4000000, 4000001, 67108864, 1073741824};

    (void)state;
    for (size_t i = 0; i != COUNT(bursts); ++i) {
        hub__rate_t rate = hub__rate_of(262144, bursts[i]);
        uint32_t debt = 0;

        hub__rate_charge(&debt, &rate, bursts[i]);
        assert_int_equal(hub__rate_wait_ms(debt, &rate, 0), 0);
        assert_in_range(hub__rate_wait_ms(debt, &rate, 262144), 1000, 1001);
        assert_true(UINT32_MAX - debt >= (uint64_t)rate.cost * 65536); /* a read always fits */
    }
}

static void what_is_given_back_is_one_and_never_more_than_there_was(void **state)
{
    hub__rate_t rate = hub__rate_of(10, 2);
    uint32_t debt = 0;

    (void)state;
    hub__rate_credit(&debt, &rate);
    assert_int_equal(debt, 0);
    (void)take_all(&debt, &rate);
    hub__rate_credit(&debt, &rate);
    assert_int_equal(take_all(&debt, &rate), 1);
}

static void a_rate_or_a_burst_that_is_off_is_no_limit(void **state)
{
    static const size_t values[][2] = {{HUB_OFF, 1}, {1, HUB_OFF}, {HUB_OFF, HUB_OFF}};

    (void)state;
    for (size_t i = 0; i != COUNT(values); ++i) {
        hub__rate_t rate = hub__rate_of(values[i][0], values[i][1]);
        uint32_t debt = 0;

        assert_true(take_all(&debt, &rate) > 1000000);
        hub__rate_charge(&debt, &rate, SIZE_MAX);
        assert_int_equal(hub__rate_wait_ms(debt, &rate, SIZE_MAX), 0);
        assert_int_equal(debt, 0);
    }
}

/* ---- who goes on ---- */

static void refusals_for_five_seconds_are_too_long(void **state)
{
    hub__over_t over = {0};

    (void)state;
    assert_int_equal(hub__over_add(&over, 1000), HUB__OVER_BEGINS);
    for (uint64_t ms = 1000; ms <= 5000; ms += 1000)
        assert_int_equal(hub__over_add(&over, ms), HUB__OVER_GOES_ON);
    assert_int_equal(hub__over_add(&over, 5999), HUB__OVER_GOES_ON);
    assert_int_equal(hub__over_add(&over, 6000), HUB__OVER_TOO_LONG);
}

static void a_second_without_one_makes_the_next_the_first(void **state)
{
    hub__over_t over = {0};

    (void)state;
    (void)hub__over_add(&over, 1000);
    assert_int_equal(hub__over_add(&over, 2000), HUB__OVER_GOES_ON);
    assert_int_equal(hub__over_add(&over, 3001), HUB__OVER_BEGINS);
    assert_int_equal(hub__over_add(&over, 4000), HUB__OVER_GOES_ON);
    assert_int_equal(hub__over_add(&over, 100000), HUB__OVER_BEGINS);
}

/* ---- conversations ---- */

#define RATE(ms) REFUSAL_WITH("rate", "Too many requests", "{'retry_ms':" ms "}")

static program_t *begin_at(void **state, int dialect, hub__rates_t rates)
{
    program_t *program = begin(state, dialect);

    program->talk.host.rates = rates;
    return program;
}

static void a_message_past_the_rate_is_refused_and_reaches_nobody(void **state)
{
    program_t *program = begin_at(state, NATIVE, (hub__rates_t){.messages = hub__rate_of(10, 3)});

    joined(program, "room:1");
    ask(program, "2", "room:1", "echo");
    ask(program, "3", "room:1", "echo");
    ask(program, "4", "room:1", "push");
    assert_heard(&program->talk, "reply room:1 2/1 ok {}\n"
                                 "reply room:1 3/1 ok {}\n"
                                 "reply room:1 4/1 error " RATE("100") "\n");
    assert_int_equal(program->talk.over[0], 1);
    talk_pass(&program->talk, 99);
    ask(program, "5", "room:1", "push");
    assert_heard(&program->talk, "reply room:1 5/1 error " RATE("1") "\n");
    talk_pass(&program->talk, 1);
    ask(program, "6", "room:1", "echo");
    assert_heard(&program->talk, "reply room:1 6/1 ok {}\n");
    assert_int_equal(program->talk.over[0], 2);
}

static void a_phoenix_client_reads_reason_and_time(void **state)
{
    program_t *program = begin_at(state, V2, (hub__rates_t){.messages = hub__rate_of(10, 1)});

    joined(program, "room:1");
    phx(program, "1", "2", "room:1", "echo");
    phx(program, NULL, "3", "phoenix", "heartbeat");
    assert_heard(&program->talk, "reply room:1 2/1 error {'reason':'rate','retry_ms':100}\n"
                                 "reply phoenix 3/- error {'reason':'rate','retry_ms':100}\n");
}

static void a_leave_is_let_through_where_there_is_something_to_leave(void **state)
{
    program_t *program = begin_at(state, NATIVE, (hub__rates_t){.messages = hub__rate_of(10, 1)});

    joined(program, "room:1");
    ask(program, "2", "room:1", "leave");
    ask(program, "3", "room:1", "leave");
    assert_heard(&program->talk, "exit room:1 leave\n"
                                 "reply room:1 2/1 ok {'topic':'room:1'}\n"
                                 "reply room:1 3/- error " RATE("100") "\n");
}

static void what_is_no_envelope_counts_as_a_message_and_past_the_rate_as_nothing_else(void **state)
{
    program_t *program = begin_at(state, NATIVE, (hub__rates_t){.messages = hub__rate_of(10, 2)});

    for (int i = 0; i != 30; ++i)
        talk_say_raw(&program->talk, HUB_STR("no"), false);
    assert_int_equal(program->talk.stats.bad_envelopes_total, 2);
    assert_int_equal(program->talk.over[0], 28);
}

static void a_join_past_the_rate_is_refused_and_may_be_tried_again(void **state)
{
    program_t *program = begin_at(state, NATIVE, (hub__rates_t){.joins = hub__rate_of(20, 2)});

    joined(program, "room:1");
    joined(program, "room:2");
    ask(program, "3", "room:3", "join");
    ask(program, "4", "room:1", "echo");
    assert_heard(&program->talk, "reply room:3 3/- error " RATE("50") "\n"
                                                                      "reply room:1 4/1 ok {}\n");
    assert_int_equal(program->talk.over[1], 1);
    assert_int_equal(program->talk.stats.joins_refused_total, 1);
    talk_pass(&program->talk, 50);
    ask(program, "5", "room:3", "join");
    assert_heard(&program->talk, "reply room:3 5/5 ok " JOINED("room:3") "\n");
    assert_int_equal(program->joins, 3);
}

static void a_second_join_past_the_rate_leaves_the_member_as_it_is(void **state)
{
    program_t *program = begin_at(state, V2, (hub__rates_t){.joins = hub__rate_of(20, 1)});

    joined(program, "room:1");
    phx(program, "2", "2", "room:1", "phx_join");
    phx(program, "1", "3", "room:1", "echo");
    assert_heard(&program->talk, "reply room:1 2/2 error {'reason':'rate','retry_ms':50}\n"
                                 "reply room:1 3/1 ok {}\n");
}

static void a_whole_rejoin_fits_into_the_default_burst(void **state)
{
    hub_limits_t limits = {0};
    program_t *program;

    assert_int_equal(hub_limits_resolve(&limits, NULL), HUB_OK);
    program = begin_at(state, NATIVE,
                       (hub__rates_t){
                           .messages = hub__rate_of(limits.messages_per_s, limits.messages_burst),
                           .joins = hub__rate_of(limits.joins_per_s, limits.joins_burst),
                       });
    for (size_t i = 0; i != limits.topics; ++i)
        ask(program, "1", "nothing", "join");
    talk_forget(&program->talk);
    assert_int_equal(program->talk.over[1], 0);
    ask(program, "1", "nothing", "join");
    assert_heard(&program->talk, "reply nothing 1/- error " RATE("50") "\n");
}

int main(void)
{
#define CASE(name) cmocka_unit_test(name)
    const struct CMUnitTest tests[] = {
        CASE(a_burst_is_taken_whole_and_no_more),
        CASE(time_gives_back_what_the_rate_says),
        CASE(the_rate_holds_in_the_long_run),
        CASE(a_debt_of_any_age_is_paid_once_whatever_the_clock_does),
        CASE(the_wait_that_is_told_is_enough_and_not_too_long),
        CASE(a_charge_may_be_larger_than_the_burst_and_is_waited_for),
        CASE(the_largest_bursts_keep_their_rate_within_a_thousandth),
        CASE(what_is_given_back_is_one_and_never_more_than_there_was),
        CASE(a_rate_or_a_burst_that_is_off_is_no_limit),
        CASE(refusals_for_five_seconds_are_too_long),
        CASE(a_second_without_one_makes_the_next_the_first),
        PROGRAM_CASE(a_message_past_the_rate_is_refused_and_reaches_nobody),
        PROGRAM_CASE(a_phoenix_client_reads_reason_and_time),
        PROGRAM_CASE(a_leave_is_let_through_where_there_is_something_to_leave),
        PROGRAM_CASE(what_is_no_envelope_counts_as_a_message_and_past_the_rate_as_nothing_else),
        PROGRAM_CASE(a_join_past_the_rate_is_refused_and_may_be_tried_again),
        PROGRAM_CASE(a_second_join_past_the_rate_leaves_the_member_as_it_is),
        PROGRAM_CASE(a_whole_rejoin_fits_into_the_default_burst),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
