/* SPDX-License-Identifier: MIT */
/* What a server says of its own cost may be wrong, and sampling is; the kernel keeps books on every
 * process. */
#define _GNU_SOURCE
#include "bench/load/process.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench/report.h"

/* What is of use here in /proc/PID/stat. */
typedef struct stat_line {
    pid_t parent;
    uint64_t user_ticks, system_ticks;
} stat_line_t;

/* False: there is no such process (any more). */
static bool read_stat(pid_t pid, stat_line_t *ret_line)
{
    char path[64], text[1024], *end;
    FILE *file;
    size_t len;
    unsigned long user, system;
    int parent;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    file = fopen(path, "r");
    if (file == NULL)
        return false;
    len = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[len] = '\0';
    end = strrchr(text, ')'); /* a name may have anything in it */
    if (end == NULL || sscanf(end + 1, " %*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
                              &parent, &user, &system) != 3)
        return false;
    *ret_line = (stat_line_t){.parent = parent, .user_ticks = user, .system_ticks = system};
    return true;
}

static bool is_among(const processes_t *processes, pid_t pid)
{
    for (size_t i = 0; i != processes->count; ++i)
        if (processes->all[i] == pid)
            return true;
    return false;
}

/* Goes over all processes once; true: found one that belongs to them. */
static bool find_more(processes_t *processes)
{
    DIR *folder = opendir("/proc");
    struct dirent *entry;
    stat_line_t line;
    bool found = false;

    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);

        if (!isdigit((unsigned char)*entry->d_name) || processes->count == PROCESSES_MAX ||
            is_among(processes, pid) || !read_stat(pid, &line) || !is_among(processes, line.parent))
            continue;
        processes->all[processes->count++] = pid;
        found = true;
    }
    if (folder != NULL)
        closedir(folder);
    return found;
}

pid_t processes_find(processes_t *processes)
{
    stat_line_t line;
    pid_t missing = 0;

    processes->count = 0;
    for (size_t i = 0; i != processes->named_count; ++i) {
        if (read_stat(processes->named[i], &line))
            processes->all[processes->count++] = processes->named[i];
        else
            missing = processes->named[i];
    }
    while (processes->count != 0 && find_more(processes))
        continue;
    return missing;
}

static uint64_t clock_of(clockid_t clock)
{
    struct timespec used;

    if (clock_gettime(clock, &used) != 0)
        return 0;
    return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

process_cpu_t processes_cpu(const processes_t *processes)
{
    process_cpu_t cpu = {.ns = 0};

    for (size_t i = 0; i != processes->count; ++i) {
        clockid_t clock;
        stat_line_t line;

        if (clock_getcpuclockid(processes->all[i], &clock) == 0)
            cpu.ns += clock_of(clock);
        if (!read_stat(processes->all[i], &line))
            continue;
        cpu.user_ticks += line.user_ticks;
        cpu.system_ticks += line.system_ticks;
    }
    return cpu;
}

uint64_t own_cpu_ns(void)
{
    return clock_of(CLOCK_PROCESS_CPUTIME_ID);
}

/* ---- memory ---- */

/* The first line of `path` that begins with `name` and has a number behind it; false: none. */
static bool read_line(const char *path, const char *name, uint64_t *ret_number)
{
    FILE *file = fopen(path, "r");
    char line[512];
    bool found = false;

    while (file != NULL && !found && fgets(line, sizeof(line), file) != NULL)
        found = strncmp(line, name, strlen(name)) == 0 &&
                sscanf(line + strlen(name), " %lu", ret_number) == 1;
    if (file != NULL)
        fclose(file);
    return found;
}

/* The sum over all mappings is exact; VmRSS may lag behind by some pages for each thread. */
uint64_t processes_rss(const processes_t *processes)
{
    uint64_t sum = 0, kib;
    char path[64];

    for (size_t i = 0; i != processes->count; ++i) {
        snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)processes->all[i]);
        if (read_line(path, "Rss:", &kib)) {
            sum += kib * 1024;
            continue;
        }
        snprintf(path, sizeof(path), "/proc/%d/status", (int)processes->all[i]);
        if (read_line(path, "VmRSS:", &kib))
            sum += kib * 1024;
    }
    return sum;
}

bool processes_forget_peak(const processes_t *processes)
{
    bool forgotten = processes->count != 0;
    char path[64];

    for (size_t i = 0; i != processes->count; ++i) {
        FILE *file;

        snprintf(path, sizeof(path), "/proc/%d/clear_refs", (int)processes->all[i]);
        file = fopen(path, "w");
        if (file == NULL || fputs("5", file) < 0)
            forgotten = false;
        if (file != NULL && fclose(file) != 0)
            forgotten = false;
    }
    return forgotten;
}

uint64_t processes_peak(const processes_t *processes)
{
    uint64_t sum = 0, kib;
    char path[64];

    for (size_t i = 0; i != processes->count; ++i) {
        snprintf(path, sizeof(path), "/proc/%d/status", (int)processes->all[i]);
        if (read_line(path, "VmHWM:", &kib))
            sum += kib * 1024;
    }
    return sum;
}

/* Pages of TCP's buffers stand at the end of a line of counts. */
static uint64_t tcp_pages(void)
{
    FILE *file = fopen("/proc/net/sockstat", "r");
    char line[256];
    unsigned long pages = 0;

    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        const char *mem = strstr(line, " mem ");

        if (strncmp(line, "TCP:", 4) == 0 && mem != NULL)
            pages = strtoul(mem + 5, NULL, 10);
    }
    if (file != NULL)
        fclose(file);
    return pages;
}

uint64_t kernel_bytes(const char **ret_source)
{
    uint64_t kib = 0;

    if (!read_line("/proc/meminfo", "Slab:", &kib)) {
        *ret_source = NULL;
        return 0;
    }
    *ret_source = "Slab of /proc/meminfo and TCP's pages of /proc/net/sockstat";
    return kib * 1024 + tcp_pages() * (uint64_t)sysconf(_SC_PAGESIZE);
}
