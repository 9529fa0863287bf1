/* SPDX-License-Identifier: MIT */
/* A benchmark's own time and memory must not count as the hub's, so the hub is a child process: a
 * fresh one by exec, since a fork begins with memory of ours and without the code that a server
 * has brought in when it starts. It gets its options over a socket pair, tells its port, then its
 * figures each time it is asked. The pair's end is its end. */
#define _GNU_SOURCE
#include "bench/subject.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/report.h"

#define SUBJECT "--subject" /* and the descriptor of the socket pair */
#define ENVELOPE_BYTES 256u /* what surrounds a payload, at most */

static hub_limits_t limits_for(const subject_options_t *options)
{
    size_t message = options->payload_bytes + ENVELOPE_BYTES;
    hub_limits_t limits = channel_limits();

    if (message > 65536)
        limits.message_bytes = message;
    return limits;
}

static hub_status_t open_server(const subject_options_t *options, hub_t *hub,
                                hub_server_t **ret_server)
{
    hub_status_t err = channel_add(hub, &options->channel);

    if (err == HUB_OK)
        err = hub_server_create(
            &(hub_server_options_t){.threads = options->threads, .limits.connections = HUB_OFF},
            ret_server);
    if (err == HUB_OK)
        err = hub_server_mount(
            *ret_server, hub,
            &(hub_endpoint_options_t){.limits = limits_for(options), .longpoll = true});
    if (err == HUB_OK)
        err = hub_server_listen(*ret_server, "127.0.0.1:0");
    if (err == HUB_OK)
        err = hub_server_start(*ret_server);
    return err;
}

/* ---- in the child ---- */

static void read_memory(subject_figures_t *figures)
{
    FILE *status = fopen("/proc/self/status", "r");
    char line[256];
    unsigned long kib;

    while (status != NULL && fgets(line, sizeof(line), status) != NULL) {
        if (sscanf(line, "VmRSS: %lu", &kib) == 1)
            figures->rss_bytes = (double)kib * 1024;
        if (sscanf(line, "RssAnon: %lu", &kib) == 1)
            figures->anon_bytes = (double)kib * 1024;
    }
    if (status != NULL)
        fclose(status);
}

static double seconds(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

static void answer_questions(const hub_server_t *server, int control)
{
    char question;

    while (recv(control, &question, 1, 0) == 1) {
        subject_figures_t figures = {0};
        struct rusage usage;

        getrusage(RUSAGE_SELF, &usage);
        figures.user_s = seconds(usage.ru_utime);
        figures.system_s = seconds(usage.ru_stime);
        hub_server_stats(server, &figures.stats);
        read_memory(&figures);
        if (send(control, &figures, sizeof(figures), MSG_NOSIGNAL) != (ssize_t)sizeof(figures))
            return;
    }
}

static hub_status_t serve(int control)
{
    subject_options_t options;
    hub_server_t *server = NULL;
    hub_t *hub = NULL;
    hub_status_t err;

    if (recv(control, &options, sizeof(options), 0) != (ssize_t)sizeof(options))
        return HUB_ESYSTEM;
    if ((err = hub_create(NULL, &hub)) == HUB_OK)
        err = open_server(&options, hub, &server);
    if (err == HUB_OK) {
        const char *address = hub_server_address(server, 0);

        if (send(control, address, strlen(address), MSG_NOSIGNAL) > 0)
            answer_questions(server, control);
    }
    hub_server_destroy(server);
    hub_destroy(hub);
    return err;
}

void subject_main(int argc, char **argv)
{
    if (argc != 3 || strcmp(argv[1], SUBJECT) != 0)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN); /* as hub_run() does */
    hub_log_set_level(HUB_LOG_WARN);
    exit(serve(atoi(argv[2])) == HUB_OK ? EXIT_SUCCESS : EXIT_FAILURE);
}

/* ---- in the benchmark ---- */

static _Noreturn void become_subject(int control)
{
    char fd[16];

    bench_pin(0);
    snprintf(fd, sizeof(fd), "%d", control);
    fcntl(control, F_SETFD, 0);
    execlp(program_invocation_name, program_invocation_name, SUBJECT, fd, (char *)NULL);
    _exit(EXIT_FAILURE);
}

void subject_start(const subject_options_t *options, subject_t *ret_subject)
{
    char address[128] = "";
    const char *colon;
    int pair[2];
    pid_t pid;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        bench_fail("socketpair: %s", strerror(errno));
    if ((pid = fork()) == -1)
        bench_fail("fork: %s", strerror(errno));
    if (pid == 0)
        become_subject(pair[1]);
    close(pair[1]);
    if (send(pair[0], options, sizeof(*options), MSG_NOSIGNAL) == -1 ||
        recv(pair[0], address, sizeof(address) - 1, 0) <= 0 ||
        (colon = strrchr(address, ':')) == NULL)
        bench_fail("the hub could not be served");
    *ret_subject =
        (subject_t){.pid = pid, .control = pair[0], .port = (uint16_t)strtoul(colon + 1, NULL, 10)};
}

subject_figures_t subject_ask(const subject_t *subject)
{
    subject_figures_t figures;

    if (send(subject->control, "?", 1, MSG_NOSIGNAL) != 1 ||
        recv(subject->control, &figures, sizeof(figures), 0) != (ssize_t)sizeof(figures))
        bench_fail("the hub does not answer any more");
    return figures;
}

void subject_stop(subject_t *subject)
{
    int status;

    close(subject->control);
    if (waitpid(subject->pid, &status, 0) != subject->pid || !WIFEXITED(status) ||
        WEXITSTATUS(status) != EXIT_SUCCESS)
        bench_fail("the hub did not end as it should");
    *subject = (subject_t){0};
}
