/* bench/report.h - what every benchmark would otherwise repeat: its command line, and its figures
 * as a table for people or one JSON object for machines, both with what they were measured on.
 *
 * No hub code: it can report on any server. Everything here ends the program where it fails: with
 * OPTIONS_WRONG for its command line, else with status 1. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* One option with a whole number from min to max, `*number` being its default until report_open()
 * replaces it; or, where there are words, with one of them, `*number` being its place among them;
 * or with a text. A table ends with a NULL name. */
typedef struct report_option {
    const char *name, *help;
    unsigned long *number, min, max;
    const char *const *words; /* max + 1 of them; NULL: a number */
    const char **text;        /* in place of a number */
} report_option_t;

#define REPORT_RUNS_MAX 100

typedef struct report report_t;

/* Where it was measured. */
typedef struct report_machine {
    char commit[64], kernel[200], cpu[100];
} report_machine_t;

/* Reads the command line: the table's options, --json and --help. `options` is borrowed. Owned by
 * the caller (report_close). */
report_t *report_open(const char *workload, int argc, char **argv, const report_option_t *options);
/* The same without a command line, for a program that prints its own heading. */
report_t *report_create(const char *workload);
/* One run's value of a figure, at most REPORT_RUNS_MAX of each; units stand in its name, which is
 * borrowed. */
void report_add(report_t *report, const char *name, double value);
/* Borrowed. */
const report_machine_t *report_machine(const report_t *report);
/* Of the values so far. */
double report_median(const report_t *report, const char *name);
/* A sentence that belongs to the figures. */
void report_note(report_t *report, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Median and spread of every figure, on stdout. */
void report_print(const report_t *report);
/* Its parts, for programs with a heading of their own: the figures and notes as a table, or as the
 * members "figures" and "notes" of an object. */
void report_print_figures(const report_t *report);
void report_print_members(const report_t *report);
/* A text in quotes, escaped. */
void report_print_text(const char *text);
/* NULL is allowed. */
void report_close(report_t *report);

/* Says what went wrong on stderr and ends the program with status 1. */
_Noreturn void bench_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

double bench_now_s(void); /* monotonic */
/* User and system time of this process. */
double bench_cpu_s(void);
/* Ties the calling process, and what it starts, to one core: the first that it may use for `role`
 * 0, the second for 1. A machine with one core is left as it is. */
void bench_pin(unsigned role);
/* Raises the soft limit of open files to the hard one, which is returned. */
unsigned long bench_raise_nofile(void);
