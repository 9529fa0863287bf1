/* SPDX-License-Identifier: MIT */

/* examples/echo as a websocket server that a stranger wrote: it is started as a program, and each
 * group of cases is a test. `build/dev/test/conformance framing` plays one and prints its cases.
 *
 * The first part of the numbers is that of the best-known public suite, so that a report of the one
 * can be laid beside one of the other. The cases are our own. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>

#include "test/conformance/suite.h"
#include "test/launch.h"

#define OPTIONS(...)                                                                               \
    (const char *const[])                                                                          \
    {                                                                                              \
        "--port", "0", __VA_ARGS__                                                                 \
    }

static const suite_group_t groups[] = {
    {"framing", OPTIONS(NULL), play_framing},
    {"control", OPTIONS(NULL), play_control},
    {"reserved", OPTIONS(NULL), play_reserved},
    {"fragments", OPTIONS(NULL), play_fragments},
    {"utf8", OPTIONS(NULL), play_utf8},
    {"close", OPTIONS(NULL), play_close},
    {"large", OPTIONS(NULL), play_large},
    {"many", OPTIONS(NULL), play_many},
    {"cuts", OPTIONS(NULL), play_cuts},
    {"limits", OPTIONS("--max-message", "1000", NULL), play_limits},
    {"deflate_kinds", OPTIONS("--deflate", NULL), play_deflate_kinds},
    {"deflate_offers", OPTIONS("--deflate", NULL), play_deflate_offers},
    {"deflate_messages", OPTIONS("--deflate", NULL), play_deflate_messages},
};

/* How many cases the public suite has in each of its groups. */
static const size_t public_cases[] = {
    [1] = 16, [2] = 11, [3] = 7,  [4] = 10,  [5] = 20,   [6] = 145,
    [7] = 37, [9] = 54, [10] = 1, [12] = 90, [13] = 126,
};

/* A sanitizer that has something to say ends the server with another status. */
static void a_group(void **state)
{
    const suite_group_t *group = *state;
    suite_t suite = {0};
    launched_t server;
    size_t cases, failed;

    launch(&server, "examples/echo", group->options, 0);
    suite.address = server.address;
    group->play(&suite);
    cases = suite.cases;
    failed = suite.failed;
    printf("conformance %s: %zu cases, %zu failed\n%.*s", group->name, cases, failed,
           (int)suite.report.len, suite.report.len == 0 ? "" : suite.report.base);
    suite_dispose(&suite);
    assert_int_equal(launched_stop(&server, SIGTERM), 0);
    assert_int_equal(failed, 0);
}

static void every_number_of_the_public_suite_is_here_once(void **state)
{
    suite_t suite = {0};

    (void)state;
    for (size_t i = 0; i < COUNT(groups); i++)
        groups[i].play(&suite);
    if (suite.report.len != 0)
        fail_msg("%.*s", (int)suite.report.len, suite.report.base);
    printf("conformance: %zu cases in all\n", suite.cases);
    for (size_t i = 0; i < COUNT(public_cases); i++)
        assert_int_equal(suite.numbers[i], public_cases[i]);
    suite_dispose(&suite);
}

int main(void)
{
    struct CMUnitTest tests[COUNT(groups) + 1] = {
        cmocka_unit_test(every_number_of_the_public_suite_is_here_once)};

    for (size_t i = 0; i < COUNT(groups); i++)
        tests[i + 1] = (struct CMUnitTest){.name = groups[i].name,
                                           .test_func = a_group,
                                           .initial_state = (void *)(uintptr_t)&groups[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
