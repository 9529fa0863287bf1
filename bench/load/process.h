/* bench/load/process.h - what the server's processes have used: CPU and memory, theirs and that of
 * the kernel.
 *
 * A server is the processes that were named and all that they have started. CPU is read from each
 * process's own clock, in nanoseconds; how much of it was spent in the kernel is only counted in
 * ticks, and gives the share. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PROCESSES_NAMED 16u
#define PROCESSES_MAX 256u

/* Those named, and their descendants when they were last looked for. */
typedef struct processes {
    pid_t named[PROCESSES_NAMED], all[PROCESSES_MAX];
    size_t named_count, count;
} processes_t;

typedef struct process_cpu {
    uint64_t ns;
    uint64_t user_ticks, system_ticks;
} process_cpu_t;

/* Looks for descendants. Returns a named process that is not there; 0: all are. */
pid_t processes_find(processes_t *processes);
process_cpu_t processes_cpu(const processes_t *processes);
/* Resident bytes; pages that processes share count for each. */
uint64_t processes_rss(const processes_t *processes);
/* Begins anew to look for the most that is resident. False: the kernel does not let us. */
bool processes_forget_peak(const processes_t *processes);
/* That most, of each process; their sum. */
uint64_t processes_peak(const processes_t *processes);

/* Bytes that the kernel holds for sockets, whoever they belong to. `ret_source` says where that was
 * read. */
uint64_t kernel_bytes(const char **ret_source);

/* CPU of this process. */
uint64_t own_cpu_ns(void);
