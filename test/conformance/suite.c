/* SPDX-License-Identifier: MIT */

/* One case is one connection. A case that fails does not end its group: all are played, and the
 * report names each. */

#define _GNU_SOURCE /* memmem */
#include "test/conformance/suite.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static hub_str_t repeat(hub_str_t bytes, size_t size)
{
    char *all = malloc(size);

    if (all == NULL || bytes.len == 0)
        abort();
    for (size_t i = 0; i < size; i++)
        all[i] = bytes.base[i % bytes.len];
    return hub_str_n(all, size);
}

static void play_step(play_t *play, const step_t *step, hub_str_t bytes)
{
    switch (step->kind) {
    case STEP_FRAME:
        play_frame(play, step->first, bytes);
        break;
    case STEP_LONG_FRAME:
        play_frame_long(play, step->first, bytes, step->length_bytes);
        break;
    case STEP_BARE_FRAME:
        play->no_mask = true;
        play_frame(play, step->first, bytes);
        play->no_mask = false;
        break;
    case STEP_BYE:
        play_bye(play, step->first, bytes);
        break;
    case STEP_BYTES:
        play_bytes(play, bytes);
        break;
    case STEP_SEND:
        play_send(play);
        break;
    case STEP_SILENCE:
        play_expect_silence(play);
        break;
    case STEP_GET:
        play_expect(play, step->said, bytes);
        break;
    case STEP_LAST:
        break;
    }
}

void case_play(play_t *play, const test_case_t *test)
{
    unsigned code = 1000;

    play->piece = test->piece;
    for (const step_t *step = test->steps; step->kind != STEP_LAST; step++) {
        hub_str_t bytes = step->size == 0 ? step->bytes : repeat(step->bytes, step->size);

        if (step->kind == STEP_BYE && !play->said_bye)
            code = step->first;
        play_step(play, step, bytes);
        if (step->size != 0)
            free((char *)(uintptr_t)bytes.base);
    }
    if (test->refused == 0 && !play->said_bye)
        play_bye(play, code, HUB_STR(""));
    play_expect_end(play, test->refused == 0 ? code : test->refused);
}

/* ---- the suite ---- */

/* A number of the public suite is one case of ours, and no other's. */
static void note_number(suite_t *suite, const char *number)
{
    char word[40];
    int group;

    if (!isdigit((unsigned char)number[0]))
        return;
    group = atoi(number);
    snprintf(word, sizeof(word), " %s ", number);
    if (suite->seen.len != 0 &&
        memmem(suite->seen.base, suite->seen.len, word, strlen(word)) != NULL)
        hub__buffer_printf(&suite->report, "  two cases are %s\n", number);
    hub__buffer_append(&suite->seen, hub_str(word));
    suite->numbers[group]++;
}

bool suite_begin(suite_t *suite, const char *number, const char *extensions, const char *format,
                 ...)
{
    char name[160];
    va_list args;

    va_start(args, format);
    vsnprintf(name, sizeof(name), format, args);
    va_end(args);
    suite->cases++;
    note_number(suite, number);
    if (suite->address == NULL)
        return false;
    printf("%-10s %s\n", number, name);
    snprintf(suite->title, sizeof(suite->title), "%s %s", number, name);
    play_open(&suite->play, suite->address, extensions);
    return true;
}

void suite_end(suite_t *suite)
{
    if (suite->play.fault[0] != '\0') {
        suite->failed++;
        hub__buffer_printf(&suite->report, "  %s: %s\n", suite->title, suite->play.fault);
    }
    play_dispose(&suite->play);
}

void suite_goodbye(suite_t *suite)
{
    play_bye(&suite->play, 1000, HUB_STR(""));
    play_expect_end(&suite->play, 1000);
}

void suite_play(suite_t *suite, const test_case_t *test)
{
    if (!suite_begin(suite, test->number, NULL, "%s", test->name))
        return;
    case_play(&suite->play, test);
    suite_end(suite);
}

void suite_play_all(suite_t *suite, const test_case_t *tests, size_t count)
{
    for (size_t i = 0; i < count; i++)
        suite_play(suite, &tests[i]);
}

void suite_dispose(suite_t *suite)
{
    hub__buffer_dispose(&suite->seen);
    hub__buffer_dispose(&suite->report);
}
