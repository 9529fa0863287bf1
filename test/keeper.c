/* SPDX-License-Identifier: MIT */
/* keeper start|stop KIND - keeps one broker for all cases of a run of ctest, whose fixture this is:
 * to start one for each case would take longer than the cases do. "start" returns when the broker
 * accepts, and leaves a process behind that ends it at "stop", or when the process that asked for
 * it (ctest) is gone. Its address is found with kept_broker_url(). */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "test/broker.h"
#include "test/kept.h"

#define DEADLINE_MS 20000

/* Locked as long as we live, so that whoever finds it knows whether it still holds. */
static bool write_address(broker_kind_t kind, const char *url)
{
    char path[512], fresh[540];
    FILE *file;

    kept_broker_path(kind, path, sizeof(path));
    snprintf(fresh, sizeof(fresh), "%s.new", path);
    file = fopen(fresh, "we");
    return file != NULL && flock(fileno(file), LOCK_EX) == 0 &&
           fprintf(file, "%d %s\n", (int)getpid(), url) > 0 && fflush(file) == 0 &&
           rename(fresh, path) == 0;
}

/* Until somebody wants us to end. */
static void wait_for_end(int owner)
{
    struct pollfd polls[2] = {{.fd = owner, .events = POLLIN}, {.events = POLLIN}};
    sigset_t ends;

    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    polls[1].fd = signalfd(-1, &ends, SFD_CLOEXEC);
    poll(polls, 2, -1);
    close(polls[1].fd);
}

/* In the process that stays. What it holds of ctest's output it lets go of: ctest waits for that.
 */
static int keep(broker_kind_t kind, int owner, int told)
{
    broker_t *broker = broker_start(kind, NULL);
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    char path[512];

    if (broker == NULL || !write_address(kind, broker_url(broker)) || write(told, "+", 1) != 1) {
        broker_stop(broker);
        return EXIT_FAILURE;
    }
    close(told);
    dup2(nothing, STDIN_FILENO);
    dup2(nothing, STDOUT_FILENO);
    dup2(nothing, STDERR_FILENO);
    wait_for_end(owner);
    kept_broker_path(kind, path, sizeof(path));
    unlink(path);
    broker_stop(broker);
    return EXIT_SUCCESS;
}

static int start(broker_kind_t kind)
{
    int owner = pidfd_open(getppid(), 0), told[2];
    char answer;
    pid_t pid;

    if (broker_missing(kind) != NULL) { /* the cases say so themselves */
        printf("not here: %s\n", broker_missing(kind));
        return EXIT_SUCCESS;
    }
    if (owner == -1 || pipe2(told, O_CLOEXEC) != 0)
        return EXIT_FAILURE;
    pid = fork();
    if (pid == 0) {
        close(told[0]);
        setsid();
        return keep(kind, owner, told[1]);
    }
    close(told[1]);
    return read(told[0], &answer, 1) == 1 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int stop(broker_kind_t kind)
{
    char *url = kept_broker_url(kind);
    struct pollfd gone = {.events = POLLIN};

    if (url == NULL)
        return EXIT_SUCCESS;
    free(url);
    gone.fd = pidfd_open(kept_broker_keeper(kind), 0);
    if (gone.fd == -1 || pidfd_send_signal(gone.fd, SIGTERM, NULL, 0) != 0)
        return EXIT_FAILURE;
    return poll(&gone, 1, DEADLINE_MS) == 1 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    for (int kind = 0; argc == 3 && kind < BROKER_KINDS; kind++) {
        if (strcmp(argv[2], broker_name((broker_kind_t)kind)) != 0)
            continue;
        if (strcmp(argv[1], "start") == 0)
            return start((broker_kind_t)kind);
        if (strcmp(argv[1], "stop") == 0)
            return stop((broker_kind_t)kind);
    }
    fprintf(stderr, "usage: keeper start|stop redis|nats|postgres\n");
    return 2;
}
