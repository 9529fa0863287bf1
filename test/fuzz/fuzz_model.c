/* SPDX-License-Identifier: MIT */
/* A conversation of a few topics, and what the program does in between: test_model.c's, whose steps
 * are drawn from the input instead of a seed.
 *
 * Oracles: after each step the session has said exactly what the reference of the protocol says
 * (test/model.h); at the end each member was freed once, and no subscription, timer or byte is left
 * (exactly once).
 *
 * Input: a byte for the format, then a byte for each choice. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "test/fuzz/fuzz.h"

/* its cases are not needed, its world is */
#undef cmocka_run_group_tests
#define cmocka_run_group_tests(tests, set_up, tear_down) ((void)(tests), 0)
#define main model_cases
int model_cases(void);
#include "test/test_model.c"

static fuzz_input_t choices;

static uint32_t choose(uint32_t bound)
{
    return (uint32_t)fuzz_below(&choices, bound);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    setenv("CMOCKA_TEST_ABORT", "1", 1);
    hub_log_set_level(HUB_LOG_OFF);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static world_t worlds[HUB__DIALECT_COUNT]; /* a router takes long to make */
    static bool begun[HUB__DIALECT_COUNT];
    world_t *world;
    size_t chosen[STEPS], wrong;
    int dialect;

    choices = (fuzz_input_t){data, size};
    draw_from = choose;
    dialect = fuzz_byte(&choices) % HUB__DIALECT_COUNT;
    world = &worlds[dialect];
    if (!begun[dialect])
        begin(world, dialect);
    begun[dialect] = true;
    draw_steps(world, 0);
    for (size_t i = 0; i != world->step_count; ++i)
        chosen[i] = i;
    wrong = converse(world, chosen, world->step_count, false);
    if (wrong <= world->step_count)
        fail_with(world, chosen, wrong);
    return 0;
}
