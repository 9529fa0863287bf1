/* SPDX-License-Identifier: MIT */
/* What does a delivery cost? One publisher, many members, a fixed number of publishes outstanding.
 *
 * The hub is a process on one core, this client on another. `--members` connections are spread over
 * `--topics` topics; the publisher is one connection more, joined to all of them, and hears itself:
 * a publish is members / topics + 1 deliveries. A publish is over when each of these has come, and
 * only then leaves its place in the window. Every delivery is counted; one too few or too many, by
 * our count or by the hub's, ends the program with status 1. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "bench/client.h"
#include "bench/report.h"
#include "bench/subject.h"

#define EVENTS 1024
#define IOVECS 64
#define LOST_MS 10000
#define WARM_UP_S 0.3
#define RING 65536u /* of publishes; --window stays below */
#define BUSY 0.95   /* of a core: who works that much has nothing left */

typedef struct fanout {
    unsigned long members, topics, window, payload, format, intercept, seconds, threads, runs;
    subject_t subject;
    client_conn_t *conns; /* the publisher is the last one */
    char *frames;         /* one for each topic, equally long */
    size_t frame_len;
    int epoll;
    bool blocked;           /* the publisher's socket is full */
    uint64_t sent;          /* publishes that may leave */
    uint64_t written_bytes; /* of their frames */
    uint64_t oldest;        /* publish that is not over */
    uint64_t deliveries;
    uint32_t missing[RING]; /* deliveries, by number of the publish */
} fanout_t;

/* Of publish `number`, the publisher's own included. */
static uint32_t fan_of(const fanout_t *fanout, uint64_t number)
{
    uint64_t topic = number % fanout->topics;

    return (uint32_t)(fanout->members / fanout->topics +
                      (topic < fanout->members % fanout->topics) + 1);
}

/* ---- publishing ---- */

static void want_writable(fanout_t *fanout, bool wanted)
{
    struct epoll_event event = {.events = EPOLLIN | (wanted ? EPOLLOUT : 0),
                                .data.u32 = (uint32_t)fanout->members};

    if (fanout->blocked == wanted)
        return;
    fanout->blocked = wanted;
    if (epoll_ctl(fanout->epoll, EPOLL_CTL_MOD, fanout->conns[fanout->members].fd, &event) != 0)
        bench_fail("epoll: %s", strerror(errno));
}

/* At most IOVECS frames, from where the last write ended. */
static size_t frames_to_write(const fanout_t *fanout, struct iovec *iovecs)
{
    uint64_t number = fanout->written_bytes / fanout->frame_len;
    size_t offset = fanout->written_bytes % fanout->frame_len, count = 0;

    for (; number != fanout->sent && count != IOVECS; ++number) {
        char *frame = fanout->frames + number % fanout->topics * fanout->frame_len;

        iovecs[count++] =
            (struct iovec){.iov_base = frame + offset, .iov_len = fanout->frame_len - offset};
        offset = 0;
    }
    return count;
}

static void write_publishes(fanout_t *fanout)
{
    struct iovec iovecs[IOVECS];
    struct msghdr msg = {.msg_iov = iovecs};

    while ((msg.msg_iovlen = frames_to_write(fanout, iovecs)) != 0) {
        ssize_t wrote =
            sendmsg(fanout->conns[fanout->members].fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (wrote == -1 && errno == EINTR)
            continue;
        if (wrote == -1 && errno == EAGAIN)
            break;
        if (wrote == -1)
            bench_fail("publishing failed: %s", strerror(errno));
        fanout->written_bytes += (uint64_t)wrote;
    }
    want_writable(fanout, msg.msg_iovlen != 0);
}

static void fill_window(fanout_t *fanout)
{
    for (; fanout->sent - fanout->oldest < fanout->window; ++fanout->sent)
        fanout->missing[fanout->sent % RING] = fan_of(fanout, fanout->sent);
}

/* ---- counting ---- */

/* Which publish the `n`th message of a connection belongs to: topics take turns. */
static uint64_t publish_of(const fanout_t *fanout, size_t index, uint64_t n)
{
    return index == fanout->members ? n : n * fanout->topics + index % fanout->topics;
}

static void take(fanout_t *fanout, size_t index)
{
    client_conn_t *conn = &fanout->conns[index];
    uint64_t n = conn->received;

    for (size_t more = client_read(conn); more != 0; --more, ++n) {
        uint64_t number = publish_of(fanout, index, n);

        if (number >= fanout->sent || fanout->missing[number % RING] == 0)
            bench_fail("connection %zu received more than was sent", index);
        --fanout->missing[number % RING];
        ++fanout->deliveries;
    }
    while (fanout->oldest != fanout->sent && fanout->missing[fanout->oldest % RING] == 0)
        ++fanout->oldest;
}

/* Publishes for so long, then waits until everything has come. */
static void publish_for(fanout_t *fanout, double seconds)
{
    double until = bench_now_s() + seconds;
    struct epoll_event events[EVENTS];

    do {
        int count;

        if (bench_now_s() < until)
            fill_window(fanout);
        write_publishes(fanout);
        if (fanout->oldest == fanout->sent)
            return;
        count = epoll_wait(fanout->epoll, events, EVENTS, LOST_MS);
        if (count == 0)
            bench_fail("lost: publish %llu of %llu still misses %u deliveries",
                       (unsigned long long)fanout->oldest, (unsigned long long)fanout->sent,
                       fanout->missing[fanout->oldest % RING]);
        for (int i = 0; i < count; ++i)
            if (events[i].events & ~(uint32_t)EPOLLOUT)
                take(fanout, events[i].data.u32);
    } while (true);
}

/* ---- a run ---- */

static void check_counts(const subject_figures_t *before, const subject_figures_t *after,
                         uint64_t publishes, uint64_t deliveries)
{
    uint64_t in = after->stats.messages_in_total - before->stats.messages_in_total;
    uint64_t out = after->stats.messages_out_total - before->stats.messages_out_total;

    if (in != publishes || out != deliveries || deliveries == 0)
        bench_fail("%llu publishes were sent and %llu deliveries received, the hub counts %llu "
                   "and %llu",
                   (unsigned long long)publishes, (unsigned long long)deliveries,
                   (unsigned long long)in, (unsigned long long)out);
}

static void report_run(report_t *report, const subject_figures_t *before,
                       const subject_figures_t *after, uint64_t publishes, double deliveries,
                       double elapsed_s, double own_s)
{
    double user_s = after->user_s - before->user_s, system_s = after->system_s - before->system_s;
    const hub_stats_t *from = &before->stats, *to = &after->stats;

    report_add(report, "deliveries_per_s", deliveries / elapsed_s);
    report_add(report, "publishes_per_s", (double)publishes / elapsed_s);
    report_add(report, "server_us_per_delivery", (user_s + system_s) * 1e6 / deliveries);
    report_add(report, "server_user_us_per_delivery", user_s * 1e6 / deliveries);
    report_add(report, "server_system_us_per_delivery", system_s * 1e6 / deliveries);
    report_add(report, "writes_per_delivery",
               (double)(to->writes_total - from->writes_total) / deliveries);
    report_add(report, "reads_per_delivery",
               (double)(to->reads_total - from->reads_total) / deliveries);
    report_add(report, "turns_per_delivery",
               (double)(to->turns_total - from->turns_total) / deliveries);
    report_add(report, "server_busy", (user_s + system_s) / elapsed_s);
    report_add(report, "generator_busy", own_s / elapsed_s);
}

/* Nothing is under way when a run begins, and nothing when it ends: what lies between belongs to
 * its deliveries. */
static void run_once(fanout_t *fanout, report_t *report)
{
    subject_figures_t before = subject_ask(&fanout->subject), after;
    uint64_t sent = fanout->sent, deliveries = fanout->deliveries;
    double began_s = bench_now_s(), own_s = bench_cpu_s(), elapsed_s;

    publish_for(fanout, (double)fanout->seconds);
    elapsed_s = bench_now_s() - began_s;
    own_s = bench_cpu_s() - own_s;
    after = subject_ask(&fanout->subject);
    sent = fanout->sent - sent;
    deliveries = fanout->deliveries - deliveries;
    check_counts(&before, &after, sent, deliveries);
    report_run(report, &before, &after, sent, (double)deliveries, elapsed_s, own_s);
}

static void note_bottleneck(report_t *report)
{
    double server = report_median(report, "server_busy");
    double generator = report_median(report, "generator_busy");

    if (generator >= BUSY && server < BUSY)
        report_note(report,
                    "the generator was the bottleneck (busy %.0f %%, the server %.0f %%): rates "
                    "are its own, costs per delivery still the server's",
                    generator * 100, server * 100);
    else if (generator < BUSY && server < BUSY)
        report_note(report,
                    "neither side was busy (server %.0f %%, generator %.0f %%): they waited for "
                    "each other, or other processes were on their cores",
                    server * 100, generator * 100);
}

/* ---- setting up ---- */

static void set_up(fanout_t *fanout)
{
    const subject_options_t options = {.threads = (unsigned)fanout->threads,
                                       .topics_per_conn = fanout->topics > 128 ? fanout->topics : 0,
                                       .payload_bytes = fanout->payload,
                                       .window = fanout->window,
                                       .channel.filter = (channel_filter_t)fanout->intercept};

    if (fanout->members + 100 > bench_raise_nofile())
        bench_fail("--members %lu: as many files may not be open here", fanout->members);
    if (fanout->topics > fanout->members)
        bench_fail("--topics %lu: more than --members %lu", fanout->topics, fanout->members);
    client_speak(fanout->format);
    subject_start(&options, &fanout->subject);
    bench_pin(1);
    fanout->conns = calloc(fanout->members + 1, sizeof(*fanout->conns));
    fanout->frame_len = client_frame(NULL, 0, "msg", fanout->payload);
    fanout->frames = malloc(fanout->topics * fanout->frame_len);
    if (fanout->conns == NULL || fanout->frames == NULL)
        bench_fail("out of memory");
    for (size_t topic = 0; topic != fanout->topics; ++topic)
        client_frame(fanout->frames + topic * fanout->frame_len, topic, "msg", fanout->payload);
    client_enter(fanout->conns, fanout->members, fanout->subject.port, fanout->topics);
    client_enter_all(&fanout->conns[fanout->members], fanout->subject.port, fanout->topics);
    fanout->epoll = client_watch(fanout->conns, fanout->members + 1);
}

static void tear_down(fanout_t *fanout)
{
    close(fanout->epoll);
    client_close(fanout->conns, fanout->members + 1);
    subject_stop(&fanout->subject);
    free(fanout->frames);
    free(fanout->conns);
}

int main(int argc, char **argv)
{
    static fanout_t fanout = {.members = 1000,
                              .topics = 1,
                              .window = 1,
                              .payload = 128,
                              .seconds = 3,
                              .threads = 1,
                              .runs = 5};
    static const char *const formats[] = CLIENT_FORMATS, *const filters[] = {"none", "other",
                                                                             "msg"};
    const report_option_t options[] = {
        {"members", "connections, one topic each", &fanout.members, 1, 1000000, NULL},
        {"topics", "topics that they are spread over", &fanout.topics, 1, 4096, NULL},
        {"window", "publishes outstanding", &fanout.window, 1, RING / 2, NULL},
        {"payload", "bytes of JSON", &fanout.payload, CLIENT_PAYLOAD_MIN, 16777216, NULL},
        {"format", "of the wire: native, 1.0.0 or 2.0.0", &fanout.format, 0, CLIENT_FORMAT_MAX,
         formats},
        {"intercept", "by on_update: none, other (than what is sent) or msg", &fanout.intercept, 0,
         CHANNEL_FILTERS_ALL, filters},
        {"seconds", "of each run", &fanout.seconds, 1, 3600, NULL},
        {"threads", "of the server, all on its core", &fanout.threads, 1, 256, NULL},
        {"runs", "measured one after another", &fanout.runs, 1, REPORT_RUNS_MAX, NULL},
        {NULL, NULL, NULL, 0, 0, NULL}};
    report_t *report;

    subject_main(argc, argv);
    report = report_open("fanout", argc, argv, options);
    set_up(&fanout);
    publish_for(&fanout, WARM_UP_S);
    for (unsigned long run = 0; run != fanout.runs; ++run)
        run_once(&fanout, report);
    tear_down(&fanout);
    note_bottleneck(report);
    report_print(report);
    report_close(report);
    return EXIT_SUCCESS;
}
