/* SPDX-License-Identifier: MIT */
/* PCRE2 without its compiler, for valgrind (test/valgrind.sh): machine code that is made at run
 * time reads whole words at the end of what it looks at, and has no name that could be suppressed.
 */
#include <stdint.h>

int pcre2_jit_compile_8(void *code, uint32_t options);

int pcre2_jit_compile_8(void *code, uint32_t options)
{
    (void)code, (void)options;
    return -45; /* PCRE2_ERROR_JIT_BADOPTION: it interprets */
}
