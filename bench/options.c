/* SPDX-License-Identifier: MIT */
/* A benchmark that runs with another value than the one that was asked for is worse than none, so
 * nothing is rounded, clipped or ignored here. */
#define _GNU_SOURCE
#include "bench/options.h"

#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Noreturn void options_end(int status, const char *format, va_list args)
{
    fprintf(stderr, "%s: ", program_invocation_short_name);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    exit(status);
}

_Noreturn void options_fail(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    options_end(OPTIONS_WRONG, format, args);
}

const char *options_secret(const char *name, const char *value)
{
    static char line[2048];
    FILE *file;

    if (value[0] != '@')
        return value;
    errno = 0;
    file = fopen(value + 1, "re");
    if (file == NULL || fgets(line, sizeof(line), file) == NULL)
        options_fail("--%s '%s': %s", name, value,
                     errno != 0 ? strerror(errno) : "the file is empty");
    fclose(file);
    line[strcspn(line, "\r\n")] = '\0';
    return line;
}

void options_pin(unsigned long core)
{
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET(core, &one);
    if (sched_setaffinity(0, sizeof(one), &one) != 0)
        options_fail("--pin '%lu': not a core that may be used here: %s", core, strerror(errno));
}

unsigned long options_number(const char *name, const char *value, unsigned long min,
                             unsigned long max)
{
    char *end = NULL;
    unsigned long number;

    errno = 0;
    number = strtoul(value, &end, 10);
    if (errno != 0 || *value < '0' || *value > '9' || *end != '\0' || number < min || number > max)
        options_fail("--%s '%s': not a whole number from %lu to %lu", name, value, min, max);
    return number;
}

static void read_word(const option_row_t *row, const char *value)
{
    for (unsigned long i = 0; i <= row->max; ++i) {
        if (strcmp(row->words[i], value) == 0) {
            *row->number = i;
            return;
        }
    }
    options_fail("--%s '%s': not one of its words: %s", row->name, value, row->help);
}

static void print_help(const option_row_t *rows)
{
    printf("usage: %s [options]\n", program_invocation_short_name);
    for (; rows->name != NULL; ++rows) {
        printf("  --%-16s %s", rows->name, rows->help);
        if (rows->words != NULL)
            printf(" (%s)\n", rows->words[*rows->number]);
        else if (rows->number != NULL)
            printf(" (%lu)\n", *rows->number);
        else if (rows->text != NULL)
            printf(" (%s)\n", *rows->text != NULL ? *rows->text : "none");
        else
            printf("\n");
    }
    printf("  --%-16s this text\n%s", "help", rows->help != NULL ? rows->help : "");
}

static void take(const option_row_t *row, const char *value)
{
    if (row->given != NULL)
        *row->given = true;
    else if (row->each != NULL)
        row->each(row->name, value);
    else if (row->text != NULL)
        *row->text = value;
    else if (row->words != NULL)
        read_word(row, value);
    else
        *row->number = options_number(row->name, value, row->min, row->max);
}

void options_read(int argc, char **argv, const option_row_t *rows)
{
    struct option names[OPTIONS_MAX + 2] = {{.name = "help"}};
    int found, index = 0;

    for (size_t i = 0; i != OPTIONS_MAX && rows[i].name != NULL; ++i)
        names[i + 1] =
            (struct option){.name = rows[i].name,
                            .has_arg = rows[i].given != NULL ? no_argument : required_argument};
    while ((found = getopt_long(argc, argv, "", names, &index)) == 0) {
        if (index == 0) {
            print_help(rows);
            exit(EXIT_SUCCESS);
        }
        take(&rows[index - 1], optarg);
    }
    if (found != -1)
        exit(OPTIONS_WRONG); /* getopt_long() has said what is wrong */
    if (optind < argc)
        options_fail("unexpected argument '%s'", argv[optind]);
}
