/* SPDX-License-Identifier: MIT */
/* Memory is counted by the sanitizer's hooks, work by the compiler: with the preset fuzz each basic
 * block of the library calls a function, which the linker turns into the one here. */
#include "test/fuzz/fuzz.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void fuzz_fail(const char *file, int line, const char *condition, const char *format, ...)
{
    va_list args;

    fprintf(stderr, "%s:%d: does not hold: %s: ", file, line, condition);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    abort();
}

/* ---- input ---- */

uint8_t fuzz_byte(fuzz_input_t *input)
{
    if (input->len == 0)
        return 0;
    --input->len;
    return *input->at++;
}

size_t fuzz_below(fuzz_input_t *input, size_t bound)
{
    size_t number = fuzz_byte(input);

    if (bound > 256)
        number = number << 8 | fuzz_byte(input);
    return number % bound;
}

hub_str_t fuzz_take(fuzz_input_t *input, size_t len)
{
    hub_str_t taken = hub_str_n((const char *)input->at, len < input->len ? len : input->len);

    input->at += taken.len;
    input->len -= taken.len;
    return taken;
}

hub_str_t fuzz_until(fuzz_input_t *input, char end)
{
    const uint8_t *found = input->len == 0 ? NULL : memchr(input->at, end, input->len);
    hub_str_t taken;

    if (found == NULL)
        return fuzz_rest(input);
    taken = fuzz_take(input, (size_t)(found - input->at));
    (void)fuzz_byte(input);
    return taken;
}

hub_str_t fuzz_rest(fuzz_input_t *input)
{
    return fuzz_take(input, input->len);
}

char *fuzz_copy(hub_str_t bytes)
{
    char *copy = hub__alloc(bytes.len);

    if (bytes.len != 0)
        memcpy(copy, bytes.base, bytes.len);
    return copy;
}

/* ---- UTF-8 ---- */

/* RFC 3629 by the number that the bytes make. 0: no character. `*ret_unfinished` as below. */
static size_t character(const uint8_t *at, size_t left, bool *ret_unfinished)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = at[0] < 0x80 ? 1 : at[0] < 0xc0 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
    uint32_t lowest, highest;

    if (len < 2 || at[0] >= 0xf8)
        return at[0] >= 0xf8 ? 0 : len;
    lowest = highest = at[0] & (0x7fu >> len);
    for (size_t i = 1; i != len; ++i) {
        if (i < left && (at[i] & 0xc0) != 0x80)
            return 0;
        lowest = lowest << 6 | (i < left ? at[i] & 0x3fu : 0);
        highest = highest << 6 | (i < left ? at[i] & 0x3fu : 0x3f);
    }
    /* of what it may become, is there anything that is a character? */
    if (highest < smallest[len] || lowest > 0x10ffff || (lowest >= 0xd800 && highest <= 0xdfff))
        return 0;
    *ret_unfinished = len > left;
    return len > left ? 0 : len;
}

size_t fuzz_utf8_prefix(hub_str_t bytes, bool *ret_unfinished)
{
    bool unfinished = false;
    size_t at = 0, len;

    while (at != bytes.len &&
           (len = character((const uint8_t *)bytes.base + at, bytes.len - at, &unfinished)) != 0)
        at += len;
    if (ret_unfinished != NULL)
        *ret_unfinished = unfinished;
    return at;
}

bool fuzz_is_utf8(hub_str_t bytes)
{
    return fuzz_utf8_prefix(bytes, NULL) == bytes.len;
}

/* ---- jansson ---- */

/* The four digits of an escape that stands for NUL or for half of a pair. */
static bool is_odd(const char *digits)
{
    for (size_t i = 0; i != 4; ++i)
        if (digits[i] == '\0' || strchr("0123456789abcdefABCDEF", digits[i]) == NULL)
            return false;
    return memcmp(digits, "0000", 4) == 0 ||
           ((digits[0] == 'd' || digits[0] == 'D') && strchr("89abcdefABCDEF", digits[1]) != NULL);
}

json_t *fuzz_jansson(hub_str_t text, bool *ret_unsure)
{
    char *copy = fuzz_copy(text);
    json_error_t error = {0};
    json_t *value = NULL;

    *ret_unsure = false;
    for (size_t i = 0; i + 6 <= text.len; i += copy[i] == '\\' ? 2 : 1)
        if (copy[i] == '\\' && copy[i + 1] == 'u' && is_odd(copy + i + 2))
            memcpy(copy + i + 2, "0040", 4);
    if (text.len != 0 && memchr(text.base, '\0', text.len) == NULL) {
        value = json_loadb(copy, text.len, JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, &error);
        *ret_unsure = value == NULL && (json_error_code(&error) == json_error_numeric_overflow ||
                                        json_error_code(&error) == json_error_stack_overflow);
    }
    free(copy);
    return value;
}

size_t fuzz_depth(const json_t *value)
{
    json_t *container = (json_t *)(uintptr_t)value, *child;
    size_t deepest = 0, i;
    const char *key;

    if (!json_is_array(value) && !json_is_object(value))
        return 0;
    json_array_foreach(container, i, child)
    {
        size_t depth = fuzz_depth(child);

        deepest = depth > deepest ? depth : deepest;
    }
    json_object_foreach(container, key, child)
    {
        size_t depth = fuzz_depth(child);

        deepest = depth > deepest ? depth : deepest;
    }
    return deepest + 1;
}

bool fuzz_json_equals(hub_str_t text, const json_t *value)
{
    bool unsure, equal;
    json_t *other;

    if (text.base == NULL)
        return value == NULL || json_is_null(value);
    other = fuzz_jansson(text, &unsure);
    equal = unsure || (other != NULL && json_equal(other, value));
    json_decref(other);
    return equal;
}

/* ---- patterns ---- */

/* Where a token may end that begins at `from`; within a character only if there are none. */
static void mark_ends(const hub__token_t *token, hub_str_t topic, size_t from, bool characters,
                      bool *ends)
{
    hub_str_t rest = hub_str_n(topic.base + from, topic.len - from);

    if (token->kind == HUB__TOKEN_LITERAL) {
        if (hub_str_starts_with(rest, token->text))
            ends[from + token->text.len] = true;
        return;
    }
    if (token->kind == HUB__TOKEN_CATCH_ALL)
        ends[from] = true;
    for (size_t i = 0; i != rest.len; ++i) {
        if (token->kind == HUB__TOKEN_PLAIN && hub__pattern_is_stop(rest.base[i]))
            return;
        if (!characters || i + 1 == rest.len || ((uint8_t)rest.base[i + 1] & 0xC0) != 0x80)
            ends[from + i + 1] = true;
    }
}

bool fuzz_may_match(const hub__pattern_t *pattern, hub_str_t topic, bool *ret_sure)
{
    bool reached[HUB__TOPIC_BYTES_MAX + 1] = {true}, ends[HUB__TOPIC_BYTES_MAX + 1];
    bool characters = fuzz_is_utf8(topic);
    size_t count;
    const hub__token_t *tokens = hub__pattern_tokens(pattern, &count);

    *ret_sure = true;
    if (topic.len > HUB__TOPIC_BYTES_MAX)
        return false;
    for (size_t i = 0; i != count; ++i) {
        memset(ends, 0, sizeof(ends));
        for (size_t from = 0; from <= topic.len; ++from)
            if (reached[from])
                mark_ends(&tokens[i], topic, from, characters, ends);
        memcpy(reached, ends, sizeof(reached));
        *ret_sure = *ret_sure && tokens[i].kind != HUB__TOKEN_CONSTRAINED;
    }
    return reached[topic.len];
}

/* ---- the meter ---- */

static _Thread_local bool runs; /* libFuzzer has a thread of its own, which allocates, too */
static struct {
    bool installed;
    int64_t held; /* below zero: something older was freed */
    int64_t peak;
    size_t total;
    uint64_t steps;
} meter;

/* Of the sanitizers' runtime, where there is one. */
__attribute__((weak)) int
__sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void *, size_t),
                                          void (*on_free)(const volatile void *));
__attribute__((weak)) size_t __sanitizer_get_allocated_size(const volatile void *block);

static void on_malloc(const volatile void *block, size_t size)
{
    (void)block;
    if (!runs)
        return;
    meter.total += size;
    meter.held += (int64_t)size;
    meter.peak = meter.held > meter.peak ? meter.held : meter.peak;
}

static void on_free(const volatile void *block)
{
    if (runs && block != NULL)
        meter.held -= (int64_t)__sanitizer_get_allocated_size(block);
}

void __wrap___sanitizer_cov_trace_pc(void);
void __wrap___sanitizer_cov_trace_pc(void)
{
    ++meter.steps;
}

void fuzz_meter_begin(void)
{
    if (!meter.installed && __sanitizer_install_malloc_and_free_hooks != NULL &&
        __sanitizer_get_allocated_size != NULL)
        __sanitizer_install_malloc_and_free_hooks(on_malloc, on_free);
    meter.installed = runs = true;
    meter.held = meter.peak = 0;
    meter.total = 0;
    meter.steps = 0;
}

fuzz_meter_t fuzz_meter_end(void)
{
    runs = false;
    return (fuzz_meter_t){.peak = (size_t)meter.peak,
                          .held = meter.held > 0 ? (size_t)meter.held : 0,
                          .change = meter.held,
                          .total = meter.total,
                          .steps = meter.steps};
}
