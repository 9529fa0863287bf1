/* test/launch.h - programs, as a user starts them: what they print, how they end.
 *
 * A program is named by its path within the build, such as "examples/chat". Servers say
 * "listening on http://ADDRESS" on their one line of stdout. */
#pragma once

#include <stdio.h>
#include <sys/resource.h>
#include <sys/types.h>

typedef struct launched {
    pid_t pid; /* 0: none */
    FILE *out;
    char address[64];
} launched_t;

/* Starts a server and reads its line; `args` ends with NULL, `nofile` 0 leaves the limit of open
 * files as it is. */
void launch(launched_t *launched, const char *name, const char *const *args, rlim_t nofile);
/* Sends `sig` (0: none), waits for the end and returns its status, as waitpid() has it. The server
 * must have printed nothing more. */
int launched_stop(launched_t *launched, int sig);
/* Runs a program to its end; everything it says goes to `ret_text`. Returns its exit status, -1
 * where a signal ended it. */
int launch_and_wait(const char *name, const char *const *args, char *ret_text, size_t size);
