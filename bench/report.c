/* SPDX-License-Identifier: MIT */
/* Figures are worth little without the machine, the commit and the options that they come from, so
 * one place prints them together, for every benchmark in the same way. */
#define _GNU_SOURCE
#include "bench/report.h"

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <time.h>

#include "bench/options.h"

#define FIGURES_MAX 64
#define NOTES_MAX 16

typedef struct figure {
    const char *name;
    double values[REPORT_RUNS_MAX];
    size_t count;
} figure_t;

struct report {
    const char *workload;
    const report_option_t *options;
    bool json;
    report_machine_t machine;
    size_t figure_count, note_count;
    figure_t figures[FIGURES_MAX];
    char notes[NOTES_MAX][300];
};

_Noreturn void bench_fail(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    options_end(EXIT_FAILURE, format, args);
}

/* ---- the process ---- */

double bench_now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

double bench_cpu_s(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

void bench_pin(unsigned role)
{
    static cpu_set_t allowed; /* before anybody was tied; a child that is forked later knows it */
    cpu_set_t one;

    if (CPU_COUNT(&allowed) == 0 && sched_getaffinity(0, sizeof(allowed), &allowed) != 0)
        bench_fail("the cores of this machine are unknown: %s", strerror(errno));
    if (CPU_COUNT(&allowed) < 2)
        return;
    CPU_ZERO(&one);
    for (unsigned core = 0; core != CPU_SETSIZE; ++core) {
        if (!CPU_ISSET(core, &allowed))
            continue;
        if (role-- == 0) {
            CPU_SET(core, &one);
            break;
        }
    }
    if (sched_setaffinity(0, sizeof(one), &one) != 0)
        bench_fail("cannot stay on one core: %s", strerror(errno));
}

unsigned long bench_raise_nofile(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        bench_fail("the limit of open files is unknown: %s", strerror(errno));
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        bench_fail("the limit of open files cannot be raised to %lu: %s",
                   (unsigned long)limit.rlim_max, strerror(errno));
    return (unsigned long)limit.rlim_cur;
}

/* ---- where it was measured ---- */

static void first_line(FILE *stream, char *line, size_t size)
{
    if (stream == NULL || fgets(line, (int)size, stream) == NULL)
        snprintf(line, size, "unknown");
    line[strcspn(line, "\n")] = '\0';
}

/* The checkout that this file was compiled from, as it is now: git alone knows whether it is
 * dirty. */
static void find_commit(char *commit, size_t size)
{
    const char *slash = strrchr(__FILE__, '/');
    char command[1024];
    FILE *git;

    snprintf(command, sizeof(command),
             "git -C '%.*s' describe --always --dirty --abbrev=12 --exclude='*' 2>/dev/null",
             slash != NULL ? (int)(slash - __FILE__) : 1, slash != NULL ? __FILE__ : ".");
    git = popen(command, "r");
    first_line(git, commit, size);
    if (git != NULL)
        pclose(git);
}

static void find_cpu(char *cpu, size_t size)
{
    FILE *info = fopen("/proc/cpuinfo", "r");
    char line[256];

    snprintf(cpu, size, "unknown");
    while (info != NULL && fgets(line, sizeof(line), info) != NULL) {
        const char *colon = strchr(line, ':');

        if (strncmp(line, "model name", 10) != 0 || colon == NULL)
            continue;
        line[strcspn(line, "\n")] = '\0';
        snprintf(cpu, size, "%s", colon + 2);
        break;
    }
    if (info != NULL)
        fclose(info);
}

static void find_machine(report_machine_t *machine)
{
    struct utsname name;

    find_commit(machine->commit, sizeof(machine->commit));
    find_cpu(machine->cpu, sizeof(machine->cpu));
    if (uname(&name) == 0)
        snprintf(machine->kernel, sizeof(machine->kernel), "%s %s %s", name.sysname, name.release,
                 name.machine);
}

const report_machine_t *report_machine(const report_t *report)
{
    return &report->machine;
}

/* ---- the command line ---- */

/* Its value as it was, or would have been, given. Valid until the next call. */
static const char *value_of(const report_option_t *option)
{
    static char number[24];

    if (option->text != NULL)
        return *option->text;
    if (option->words != NULL)
        return option->words[*option->number];
    snprintf(number, sizeof(number), "%lu", *option->number);
    return number;
}

static void read_options(report_t *report, int argc, char **argv)
{
    option_row_t rows[OPTIONS_MAX + 1] = {{.name = NULL}};
    size_t count = 0;

    for (const report_option_t *option = report->options; option->name != NULL; ++option) {
        if (count == OPTIONS_MAX - 1)
            bench_fail("more than %d options", OPTIONS_MAX - 1);
        rows[count++] = (option_row_t){.name = option->name,
                                       .help = option->help,
                                       .text = option->text,
                                       .number = option->number,
                                       .min = option->min,
                                       .max = option->max,
                                       .words = option->words};
    }
    rows[count] = (option_row_t){
        .name = "json", .help = "one JSON object instead of a table", .given = &report->json};
    options_read(argc, argv, rows);
}

report_t *report_create(const char *workload)
{
    report_t *report = calloc(1, sizeof(*report));

    if (report == NULL)
        bench_fail("out of memory");
    report->workload = workload;
    find_machine(&report->machine);
    return report;
}

report_t *report_open(const char *workload, int argc, char **argv, const report_option_t *options)
{
    report_t *report = report_create(workload);

    report->options = options;
    read_options(report, argc, argv);
    return report;
}

/* ---- figures ---- */

static figure_t *find_figure(const report_t *report, const char *name)
{
    for (size_t i = 0; i != report->figure_count; ++i)
        if (strcmp(report->figures[i].name, name) == 0)
            return (figure_t *)(uintptr_t)&report->figures[i];
    return NULL;
}

void report_add(report_t *report, const char *name, double value)
{
    figure_t *figure = find_figure(report, name);

    if (figure == NULL) {
        if (report->figure_count == FIGURES_MAX)
            bench_fail("more than %d figures", FIGURES_MAX);
        figure = &report->figures[report->figure_count++];
        figure->name = name;
    }
    if (figure->count == REPORT_RUNS_MAX)
        bench_fail("more than %d values of %s", REPORT_RUNS_MAX, name);
    figure->values[figure->count++] = value;
}

void report_note(report_t *report, const char *format, ...)
{
    va_list args;

    if (report->note_count == NOTES_MAX)
        bench_fail("more than %d notes", NOTES_MAX);
    va_start(args, format);
    vsnprintf(report->notes[report->note_count++], sizeof(report->notes[0]), format, args);
    va_end(args);
}

static int by_size(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;

    return (left > right) - (left < right);
}

typedef struct spread {
    double median, min, max;
} spread_t;

static spread_t spread_of(const figure_t *figure)
{
    double sorted[REPORT_RUNS_MAX];
    size_t count = figure->count, middle = count / 2;

    memcpy(sorted, figure->values, count * sizeof(*sorted));
    qsort(sorted, count, sizeof(*sorted), by_size);
    return (spread_t){.median = count % 2 != 0 ? sorted[middle]
                                               : (sorted[middle - 1] + sorted[middle]) / 2,
                      .min = sorted[0],
                      .max = sorted[count - 1]};
}

double report_median(const report_t *report, const char *name)
{
    const figure_t *figure = find_figure(report, name);

    if (figure == NULL)
        bench_fail("no figure %s", name);
    return spread_of(figure).median;
}

/* ---- printing ---- */

/* Four digits that mean something, and no exponent that has to be decoded. */
static int decimals_of(double value)
{
    return value >= 1000 ? 0 : value >= 10 ? 2 : value >= 0.1 ? 3 : 5;
}

void report_print_figures(const report_t *report)
{
    printf("  %-32s %14s %14s %14s  runs\n", "", "median", "min", "max");
    for (size_t i = 0; i != report->figure_count; ++i) {
        const figure_t *figure = &report->figures[i];
        spread_t spread = spread_of(figure);
        int decimals = decimals_of(spread.median);

        printf("  %-32s %14.*f %14.*f %14.*f  %4zu\n", figure->name, decimals, spread.median,
               decimals, spread.min, decimals, spread.max, figure->count);
    }
    printf("\n");
    for (size_t i = 0; i != report->note_count; ++i)
        printf("  %s\n", report->notes[i]);
}

static void print_table(const report_t *report)
{
    const report_machine_t *machine = &report->machine;

    printf("%s  commit %s, %s, %s\n ", report->workload, machine->commit, machine->kernel,
           machine->cpu);
    for (const report_option_t *option = report->options; option->name != NULL; ++option)
        printf(" --%s %s", option->name, value_of(option));
    printf("\n\n");
    report_print_figures(report);
}

void report_print_text(const char *text)
{
    putchar('"');
    for (; *text != '\0'; ++text) {
        if (*text == '"' || *text == '\\')
            printf("\\%c", *text);
        else if ((unsigned char)*text >= 0x20)
            putchar(*text);
    }
    putchar('"');
}

static void print_figure_json(const figure_t *figure)
{
    spread_t spread = spread_of(figure);

    printf("\"%s\":{\"median\":%.9g,\"min\":%.9g,\"max\":%.9g,\"runs\":%zu,\"values\":[",
           figure->name, spread.median, spread.min, spread.max, figure->count);
    for (size_t i = 0; i != figure->count; ++i)
        printf("%s%.9g", i == 0 ? "" : ",", figure->values[i]);
    printf("]}");
}

void report_print_members(const report_t *report)
{
    printf("\"figures\":{");
    for (size_t i = 0; i != report->figure_count; ++i) {
        if (i != 0)
            putchar(',');
        print_figure_json(&report->figures[i]);
    }
    printf("},\"notes\":[");
    for (size_t i = 0; i != report->note_count; ++i) {
        if (i != 0)
            putchar(',');
        report_print_text(report->notes[i]);
    }
    printf("]");
}

static void print_json(const report_t *report)
{
    const struct {
        const char *name, *text;
    } facts[] = {{"workload", report->workload},
                 {"commit", report->machine.commit},
                 {"kernel", report->machine.kernel},
                 {"cpu", report->machine.cpu}};

    printf("{\"server\":\"hub\"");
    for (size_t i = 0; i != sizeof(facts) / sizeof(*facts); ++i) {
        printf(",\"%s\":", facts[i].name);
        report_print_text(facts[i].text);
    }
    printf(",\"options\":{");
    for (const report_option_t *option = report->options; option->name != NULL; ++option)
        printf(option->words == NULL && option->text == NULL ? "%s\"%s\":%s" : "%s\"%s\":\"%s\"",
               option == report->options ? "" : ",", option->name, value_of(option));
    printf("},");
    report_print_members(report);
    printf("}\n");
}

void report_print(const report_t *report)
{
    if (report->json)
        print_json(report);
    else
        print_table(report);
    fflush(stdout);
}

void report_close(report_t *report)
{
    free(report);
}
