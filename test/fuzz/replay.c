/* SPDX-License-Identifier: MIT */
/* Runs a fuzz target over stored inputs, where there is no libFuzzer to do it:
 *
 *     fuzz_json test/fuzz/corpus/json.txt     every input of a packed file (pack.h)
 *     fuzz_json --file crash-1234...          the bytes of each file as one input
 *
 * Ends with an error where an oracle does not hold, and says at which input. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test/fuzz/fuzz.h"
#include "test/fuzz/pack.h"

/* Not every target has one. */
__attribute__((weak)) int LLVMFuzzerInitialize(int *argc, char ***argv);
/* Of the sanitizers' runtime, where there is one. */
__attribute__((weak)) void __sanitizer_set_death_callback(void (*on_death)(void));

static const char *path;
static size_t line; /* of a packed file; 0: between two inputs */

static void tell_of_crash(void)
{
    if (path != NULL && line != 0)
        fprintf(stderr, "replay: %s:%zu\n", path, line);
}

static void on_abort(int number)
{
    tell_of_crash();
    signal(number, SIG_DFL);
    raise(number);
}

static void run(hub_str_t input)
{
    char *copy = fuzz_copy(input);

    (void)LLVMFuzzerTestOneInput((const uint8_t *)copy, input.len);
    free(copy);
}

static size_t run_packed(hub_str_t text)
{
    char *buffer = hub__alloc(text.len + 1);
    size_t count = 0;
    hub_str_t input;

    line = 0;
    while (pack_next(&text, &line, buffer, &input)) {
        run(input);
        ++count;
    }
    line = 0;
    free(buffer);
    return count;
}

int main(int argc, char **argv)
{
    bool whole = argc > 1 && strcmp(argv[1], "--file") == 0;
    size_t count = 0;

    signal(SIGABRT, on_abort);
    if (__sanitizer_set_death_callback != NULL)
        __sanitizer_set_death_callback(tell_of_crash);
    if (LLVMFuzzerInitialize != NULL)
        LLVMFuzzerInitialize(&argc, &argv);
    for (int i = whole ? 2 : 1; i < argc; ++i) {
        hub_str_t text = pack_read(argv[i]);

        path = argv[i];
        if (whole)
            run(text);
        count += whole ? 1 : run_packed(text);
        free((char *)(uintptr_t)text.base);
    }
    printf("%zu inputs\n", count);
    return count != 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
