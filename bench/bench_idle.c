/* SPDX-License-Identifier: MIT */
/* How much memory does an idle connection take? The resident memory of a hub with `--conns`
 * connections, each joined to one topic, ten to a topic, after `--seconds` of silence, less that of
 * the same hub before the first of them, divided by their number.
 *
 * Each run has a hub of its own. That difference is what is promised. It holds the code that the
 * first connection brings in once and for all; the figure after a first visitor has come and gone
 * leaves that out, and the anonymous part of RSS leaves out all code. None counts the kernel's
 * buffers. */
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "bench/client.h"
#include "bench/report.h"
#include "bench/subject.h"

#define EVENTS 256
#define CONNS_PER_TOPIC 10
#define NOFILE_RESERVE 100
#define CONNS_DEFAULT 10000

/* Silent but for what the server asks: pings are answered. */
static void stay(client_conn_t *conns, size_t count, double seconds)
{
    double until = bench_now_s() + seconds, left_s;
    int epoll = client_watch(conns, count);
    struct epoll_event events[EVENTS];

    while ((left_s = until - bench_now_s()) > 0) {
        int ready = epoll_wait(epoll, events, EVENTS, (int)(left_s * 1000) + 1);

        for (int i = 0; i < ready; ++i)
            if (client_read(&conns[events[i].data.u32]) != 0)
                bench_fail("a message came, and nobody has sent one");
    }
    close(epoll);
}

static void run_once(report_t *report, client_conn_t *conns, size_t count, double seconds)
{
    size_t topics = (count + CONNS_PER_TOPIC - 1) / CONNS_PER_TOPIC;
    subject_figures_t empty, visited, full;
    subject_t subject;

    subject_start(&(subject_options_t){0}, &subject);
    empty = subject_ask(&subject);
    client_enter(conns, 1, subject.port, 1);
    client_close(conns, 1);
    while ((visited = subject_ask(&subject)).stats.conns != 0)
        usleep(1000);
    client_enter(conns, count, subject.port, topics);
    stay(conns, count, seconds);
    full = subject_ask(&subject);
    if (full.stats.conns != count || full.stats.members != count || full.stats.topics != topics)
        bench_fail("%zu connections joined %zu topics, the hub counts %llu, %llu members, %llu "
                   "topics",
                   count, topics, (unsigned long long)full.stats.conns,
                   (unsigned long long)full.stats.members, (unsigned long long)full.stats.topics);
    client_close(conns, count);
    subject_stop(&subject);
    report_add(report, "rss_bytes_per_conn", (full.rss_bytes - empty.rss_bytes) / (double)count);
    report_add(report, "rss_bytes_per_conn_after_first",
               (full.rss_bytes - visited.rss_bytes) / (double)count);
    report_add(report, "anon_bytes_per_conn", (full.anon_bytes - empty.anon_bytes) / (double)count);
    report_add(report, "rss_bytes_empty", empty.rss_bytes);
}

int main(int argc, char **argv)
{
    unsigned long most = bench_raise_nofile() - NOFILE_RESERVE;
    unsigned long conns = most < CONNS_DEFAULT ? most : CONNS_DEFAULT, seconds = 5, runs = 5;
    unsigned long format = 0;
    static const char *const formats[] = CLIENT_FORMATS;
    const report_option_t options[] = {
        {"conns", "connections, ten to a topic", &conns, 1, most, NULL},
        {"format", "of the wire: native, 1.0.0 or 2.0.0", &format, 0, CLIENT_FORMAT_MAX, formats},
        {"seconds", "of silence before the look", &seconds, 1, 3600, NULL},
        {"runs", "each with a hub of its own", &runs, 1, REPORT_RUNS_MAX, NULL},
        {NULL, NULL, NULL, 0, 0, NULL}};
    client_conn_t *clients;
    report_t *report;

    subject_main(argc, argv);
    report = report_open("idle", argc, argv, options);
    if ((clients = calloc(conns, sizeof(*clients))) == NULL)
        bench_fail("out of memory");
    bench_pin(1);
    client_speak(format);
    for (unsigned long run = 0; run != runs; ++run)
        run_once(report, clients, conns, (double)seconds);
    free(clients);
    report_print(report);
    report_close(report);
    return EXIT_SUCCESS;
}
