/* SPDX-License-Identifier: MIT */
/* A program's line is read before anything else is done with it, so nobody waits for a server by
 * trying. */
#define _GNU_SOURCE /* pipe2 */
#include "test/launch.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARGS_MAX 16

static void become(const char *name, const char *const *args, rlim_t nofile, int out, int err)
{
    const char *folder = getenv("SOCKETHUB_BUILD");
    char path[1024], *argv[ARGS_MAX + 2] = {path};
    struct rlimit limit = {nofile, nofile};

    snprintf(path, sizeof(path), "%s/%s", folder != NULL ? folder : "build/dev", name);
    for (size_t i = 0; i < ARGS_MAX && args[i] != NULL; i++)
        argv[i + 1] = (char *)(uintptr_t)args[i];
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    if (nofile != 0 && setrlimit(RLIMIT_NOFILE, &limit) != 0)
        _exit(126);
    execv(path, argv);
    _exit(127);
}

static pid_t spawn(const char *name, const char *const *args, rlim_t nofile, int err, int *ret_out)
{
    int ends[2];
    pid_t pid;

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    if ((pid = fork()) == 0)
        become(name, args, nofile, ends[1], err);
    assert_true(pid > 0);
    close(ends[1]);
    *ret_out = ends[0];
    return pid;
}

void launch(launched_t *launched, const char *name, const char *const *args, rlim_t nofile)
{
    int quiet = open("/dev/null", O_WRONLY | O_CLOEXEC), out;
    char line[128] = "";

    launched->pid = spawn(name, args, nofile, quiet, &out);
    close(quiet);
    launched->out = fdopen(out, "r");
    assert_non_null(fgets(line, sizeof(line), launched->out));
    assert_int_equal(sscanf(line, "listening on %*[htps]://%63s", launched->address), 1);
}

int launched_stop(launched_t *launched, int sig)
{
    char rest[64];
    int status = 0;

    kill(launched->pid, sig);
    while (waitpid(launched->pid, &status, 0) == -1 && errno == EINTR)
        ;
    launched->pid = 0;
    assert_null(fgets(rest, sizeof(rest), launched->out)); /* exactly one line */
    fclose(launched->out);
    return status;
}

int launch_and_wait(const char *name, const char *const *args, char *ret_text, size_t size)
{
    int err[2], out, status;
    size_t len = 0;
    ssize_t got;
    pid_t pid;

    assert_int_equal(pipe2(err, O_CLOEXEC), 0);
    pid = spawn(name, args, 0, err[1], &out);
    close(err[1]);
    while ((got = read(out, ret_text + len, size - 1 - len)) > 0)
        len += (size_t)got;
    while ((got = read(err[0], ret_text + len, size - 1 - len)) > 0)
        len += (size_t)got;
    ret_text[len] = '\0';
    close(out);
    close(err[0]);
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
