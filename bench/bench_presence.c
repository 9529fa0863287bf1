/* SPDX-License-Identifier: MIT */
/* Does presence hold up the loop, and what does it take? `--members` connections join one topic,
 * then all of them track a key of their own and ask for the state as fast as they can; then they
 * leave, all at once.
 *
 * Every run has a hub of its own. The longest turn of its loop is the hub's own measurement, over
 * everything from the first connection to the last leave. The program ends with status 1 if the
 * hub does not count every tracking once, there and gone. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "bench/client.h"
#include "bench/report.h"
#include "bench/subject.h"

#define EVENTS 1024
#define NOFILE_RESERVE 100
#define MEMBERS_DEFAULT 10000
#define WAIT_S 60
#define BATCH 200 /* tracked between two looks at what comes back */

/* Takes what comes, for at most so long or until nothing does. Returns how many messages. */
static size_t listen_for(client_conn_t *conns, int epoll, int wait_ms)
{
    struct epoll_event events[EVENTS];
    int ready = epoll_wait(epoll, events, EVENTS, wait_ms);
    size_t messages = 0;

    for (int i = 0; i < ready; ++i)
        messages += client_read(&conns[events[i].data.u32]);
    return messages;
}

/* Until the hub counts this many. */
static subject_figures_t await(const subject_t *subject, client_conn_t *conns, int epoll,
                               uint64_t presences)
{
    double until = bench_now_s() + WAIT_S;
    subject_figures_t figures;

    while ((figures = subject_ask(subject)).stats.presences != presences) {
        if (bench_now_s() > until)
            bench_fail("the hub counts %llu presences instead of %llu",
                       (unsigned long long)figures.stats.presences, (unsigned long long)presences);
        if (epoll != -1)
            (void)listen_for(conns, epoll, 10);
        else
            usleep(1000);
    }
    return figures;
}

static void run_once(report_t *report, client_conn_t *conns, size_t count, unsigned long keys_max)
{
    size_t len = client_frame(NULL, 0, "track", CLIENT_PAYLOAD_MIN), heard = 0;
    char frame[512];
    subject_figures_t before, during, after;
    subject_t subject;
    double began_s;
    int epoll;

    client_frame(frame, 0, "track", CLIENT_PAYLOAD_MIN);
    subject_start(&(subject_options_t){.channel.presence_keys_max = (unsigned)keys_max}, &subject);
    client_enter(conns, count, subject.port, 1);
    before = subject_ask(&subject);
    epoll = client_watch(conns, count);
    began_s = bench_now_s();
    for (size_t i = 0; i != count; ++i) {
        client_send(&conns[i], frame, len);
        if (i % BATCH == BATCH - 1)
            heard += listen_for(conns, epoll, 0);
    }
    (void)await(&subject, conns, epoll, count);
    report_add(report, "track_s", bench_now_s() - began_s);
    while (listen_for(conns, epoll, 200) != 0)
        continue;
    during = subject_ask(&subject);
    close(epoll);
    began_s = bench_now_s();
    client_close(conns, count);
    after = await(&subject, conns, -1, 0);
    report_add(report, "leave_s", bench_now_s() - began_s);
    subject_stop(&subject);
    report_add(report, "turn_us_max_joined", (double)before.stats.turn_max_us);
    report_add(report, "turn_us_max_tracked", (double)during.stats.turn_max_us);
    report_add(report, "turn_us_max", (double)after.stats.turn_max_us);
    report_add(report, "diffs", (double)after.stats.presence_diffs_total);
    report_add(report, "rss_bytes_per_presence",
               (during.rss_bytes - before.rss_bytes) / (double)count);
    report_add(report, "server_cpu_s", after.user_s + after.system_s);
    if (during.stats.closed_slow_total != 0)
        report_note(report, "%llu members read too slowly and were closed",
                    (unsigned long long)during.stats.closed_slow_total);
    (void)heard;
}

int main(int argc, char **argv)
{
    unsigned long most = bench_raise_nofile() - NOFILE_RESERVE;
    unsigned long members = most < MEMBERS_DEFAULT ? most : MEMBERS_DEFAULT, runs = 5;
    unsigned long keys_max = 1000, own_refs = 0;
    const report_option_t options[] = {
        {"members", "connections, all on one topic", &members, 1, most, NULL, NULL},
        {"keys-max", "beyond which members are told a sample", &keys_max, 1, 1000000, NULL, NULL},
        {"own-refs", "1: each joins with a ref of its own, as clients do that come back", &own_refs,
         0, 1, NULL, NULL},
        {"runs", "each with a hub of its own", &runs, 1, REPORT_RUNS_MAX, NULL, NULL},
        {NULL, NULL, NULL, 0, 0, NULL, NULL}};
    client_conn_t *conns;
    report_t *report;

    subject_main(argc, argv);
    report = report_open("presence", argc, argv, options);
    if ((conns = calloc(members, sizeof(*conns))) == NULL)
        bench_fail("out of memory");
    bench_pin(1);
    if (own_refs != 0)
        client_use_own_refs();
    for (unsigned long run = 0; run != runs; ++run)
        run_once(report, conns, members, keys_max);
    free(conns);
    report_print(report);
    report_close(report);
    return EXIT_SUCCESS;
}
