/* SPDX-License-Identifier: MIT */
/* Makes every case of every test program a test of its own for ctest, without a line about it in
 * any of them: the linker's --wrap puts this file between their main() and cmocka. "--list" as the
 * first argument prints the names of the cases, anything else there is a pattern for the cases to
 * run, no argument runs them all. A pattern that fits no case is a failure. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int __real__cmocka_run_group_tests(const char *name, const struct CMUnitTest *tests, size_t count,
                                   CMFixtureFunction setup, CMFixtureFunction teardown);
int __wrap__cmocka_run_group_tests(const char *name, const struct CMUnitTest *tests, size_t count,
                                   CMFixtureFunction setup, CMFixtureFunction teardown);

static const char *pattern;
static size_t matched;

/* glibc hands main's arguments to constructors too */
__attribute__((constructor)) static void read_arguments(int argc, char **argv)
{
    pattern = argc > 1 ? argv[1] : NULL;
}

__attribute__((destructor)) static void check_matched(void)
{
    if (pattern != NULL && strcmp(pattern, "--list") != 0 && matched == 0) {
        fprintf(stderr, "no case is named %s\n", pattern);
        _exit(EXIT_FAILURE);
    }
}

static int list(const struct CMUnitTest *tests, size_t count)
{
    for (size_t i = 0; i < count; i++)
        printf("%s\n", tests[i].name);
    return 0;
}

int __wrap__cmocka_run_group_tests(const char *name, const struct CMUnitTest *tests, size_t count,
                                   CMFixtureFunction setup, CMFixtureFunction teardown)
{
    struct CMUnitTest *chosen;
    size_t chosen_count = 0;
    int failed = 0;

    if (pattern == NULL)
        return __real__cmocka_run_group_tests(name, tests, count, setup, teardown);
    if (strcmp(pattern, "--list") == 0)
        return list(tests, count);
    chosen = calloc(count, sizeof(*chosen));
    if (chosen == NULL)
        abort();
    for (size_t i = 0; i < count; i++)
        if (fnmatch(pattern, tests[i].name, 0) == 0)
            chosen[chosen_count++] = tests[i];
    matched += chosen_count;
    if (chosen_count > 0)
        failed = __real__cmocka_run_group_tests(name, chosen, chosen_count, setup, teardown);
    free(chosen);
    return failed;
}
