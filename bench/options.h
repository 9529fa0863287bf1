/* bench/options.h - the command line of programs here: texts, numbers, words and switches, each
 * with its default, and what is wrong named on stderr.
 *
 * No hub code. What is wrong ends the program with OPTIONS_WRONG, --help with 0. */
#pragma once

#include <stdarg.h>
#include <stdbool.h>

#define OPTIONS_WRONG 2
#define OPTIONS_MAX 48

/* One option, by the pointer that is set: a text; a whole number from min to max; where there are
 * words, the place of one of them, from 0 to max; a switch without a value; or a function that is
 * called with each value, for what may be given several times. What it points to is the default
 * until options_read() replaces it. A table ends with a NULL name; what is `help` there ends
 * --help. */
typedef struct option_row {
    const char *name, *help;
    const char **text;
    unsigned long *number, min, max;
    const char *const *words; /* max + 1 of them */
    bool *given;
    void (*each)(const char *name, const char *value);
} option_row_t;

/* At most OPTIONS_MAX rows. */
void options_read(int argc, char **argv, const option_row_t *rows);
/* `value` of the option `name`; ends the program unless it is a whole number from min to max. */
unsigned long options_number(const char *name, const char *value, unsigned long min,
                             unsigned long max);
/* `value` of the option `name`, or the first line of FILE where it is "@FILE": who lists processes
 * reads command lines, and results name the options. Valid until the next call. */
const char *options_secret(const char *name, const char *value);
/* Says what is wrong with the command line and ends the program. */
_Noreturn void options_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Says so much on stderr, and ends the program. */
_Noreturn void options_end(int status, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));
/* What --pin asks for: all of this process to one core, which is below CPU_SETSIZE. */
void options_pin(unsigned long core);
