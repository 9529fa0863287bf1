/* SPDX-License-Identifier: MIT */
/* What does a round trip by long poll cost? `--conns` clients without websockets, each with one
 * HTTP connection, post an echo and, when that was taken, poll for its reply, over and over.
 *
 * The hub is a process on one core, this client on another. A round trip is two requests. Each must
 * bring exactly what was asked for: one answer that says 200, and one reply. By our count and by
 * the hub's there must be as many posts as polls and replies; where they differ, the program ends
 * with status 1. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/report.h"
#include "bench/subject.h"

#define EVENTS 256
#define LOST_MS 10000
#define WARM_UP_S 0.3
#define ANSWER_BYTES 4096 /* of head and body, but for the payload */
#define TOKEN_BYTES 128
#define PAYLOAD_MIN 11u /* {"data":""} */
#define NOFILE_RESERVE 100

typedef struct poller {
    int fd;
    bool polls; /* what it waits for is the answer to a poll */
    char token[TOKEN_BYTES];
    char *answer;
    size_t len;
} poller_t;

typedef struct longpoll {
    unsigned long conns, payload, seconds, threads, runs;
    subject_t subject;
    poller_t *pollers;
    char *frame, *request; /* the envelope of an echo; where requests are written */
    size_t answer_size, busy;
    int epoll;
    bool stopping; /* who has its reply is done */
    uint64_t posts, replies;
} longpoll_t;

/* ---- requests ---- */

static void send_all(const poller_t *poller, const char *bytes, size_t len)
{
    while (len != 0) {
        ssize_t sent = send(poller->fd, bytes, len, MSG_NOSIGNAL);

        if (sent == -1 && errno == EINTR)
            continue;
        if (sent == -1)
            bench_fail("sending failed: %s", strerror(errno));
        bytes += sent;
        len -= (size_t)sent;
    }
}

static void send_poll(longpoll_t *bench, poller_t *poller)
{
    int len =
        sprintf(bench->request, "GET /socket/longpoll?token=%s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
                poller->token);

    poller->polls = true;
    send_all(poller, bench->request, (size_t)len);
}

static void send_post(longpoll_t *bench, poller_t *poller, const char *frame)
{
    int len = sprintf(bench->request,
                      "POST /socket/longpoll?token=%s HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                      "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                      poller->token, strlen(frame), frame);

    poller->polls = false;
    send_all(poller, bench->request, (size_t)len);
}

/* ---- answers ---- */

/* The body of an answer that is complete; NULL: more has to come. */
static char *body_of(poller_t *poller)
{
    char *end, *length;

    poller->answer[poller->len] = '\0';
    if ((end = strstr(poller->answer, "\r\n\r\n")) == NULL)
        return NULL;
    if (strncmp(poller->answer, "HTTP/1.1 200 ", 13) != 0 ||
        (length = strcasestr(poller->answer, "\r\nContent-Length: ")) == NULL || length > end)
        bench_fail("an answer is something else: %.*s", (int)strcspn(poller->answer, "\r"),
                   poller->answer);
    end += 4;
    if ((size_t)(end - poller->answer) + strtoul(length + 18, NULL, 10) != poller->len)
        return NULL;
    return end;
}

/* NULL: not complete. */
static char *read_answer(longpoll_t *bench, poller_t *poller, int flags)
{
    ssize_t got;
    char *body;

    do
        got = recv(poller->fd, poller->answer + poller->len, bench->answer_size - 1 - poller->len,
                   flags);
    while (got == -1 && errno == EINTR);
    if (got == -1 && errno == EAGAIN && (flags & MSG_DONTWAIT))
        return NULL;
    if (got <= 0)
        bench_fail("a connection was lost: %s", got == 0 ? "end of stream" : strerror(errno));
    poller->len += (size_t)got;
    if ((body = body_of(poller)) != NULL)
        poller->len = 0;
    else if (poller->len == bench->answer_size - 1)
        bench_fail("an answer is too long");
    return body;
}

static char *await_answer(longpoll_t *bench, poller_t *poller)
{
    char *body;

    while ((body = read_answer(bench, poller, 0)) == NULL)
        ;
    return body;
}

static size_t count_replies(const char *body)
{
    size_t count = 0;

    for (; (body = strstr(body, "\\\"reply\\\"")) != NULL; ++body)
        ++count;
    return count;
}

/* One reply, no more. */
static void check_reply(const char *body)
{
    if (strstr(body, "],\"status\":200,") == NULL || count_replies(body) != 1)
        bench_fail("a poll brought something else: %.200s", body);
}

static void check_taken(const char *body)
{
    if (strcmp(body, "{\"status\":200}") != 0)
        bench_fail("a post was answered: %.200s", body);
}

static void take_answer(longpoll_t *bench, poller_t *poller)
{
    char *body = read_answer(bench, poller, MSG_DONTWAIT);

    if (body == NULL)
        return;
    if (!poller->polls) {
        check_taken(body);
        send_poll(bench, poller);
        return;
    }
    check_reply(body);
    ++bench->replies;
    if (bench->stopping) {
        --bench->busy;
    } else {
        ++bench->posts;
        send_post(bench, poller, bench->frame);
    }
}

/* Round trips for so long; then everybody gets what it waits for. */
static void run_for(longpoll_t *bench, double seconds)
{
    double until = bench_now_s() + seconds;
    struct epoll_event events[EVENTS];

    bench->stopping = false;
    for (bench->busy = 0; bench->busy != bench->conns; ++bench->busy) {
        ++bench->posts;
        send_post(bench, &bench->pollers[bench->busy], bench->frame);
    }
    while (bench->busy != 0) {
        int count = epoll_wait(bench->epoll, events, EVENTS, LOST_MS);

        if (count == 0)
            bench_fail("lost: %zu clients wait for an answer", bench->busy);
        bench->stopping = bench_now_s() >= until;
        for (int i = 0; i < count; ++i)
            take_answer(bench, &bench->pollers[events[i].data.u32]);
    }
}

/* ---- a run ---- */

static void check_counts(const hub_stats_t *before, const hub_stats_t *after, uint64_t posts,
                         uint64_t replies)
{
    uint64_t hub_posts = after->longpoll_posts_total - before->longpoll_posts_total;
    uint64_t hub_polls = after->longpoll_polls_total - before->longpoll_polls_total;
    uint64_t in = after->messages_in_total - before->messages_in_total;
    uint64_t out = after->messages_out_total - before->messages_out_total;

    if (replies == 0 || posts != replies || hub_posts != posts || hub_polls != posts ||
        in != posts || out != replies)
        bench_fail("%llu posts and %llu replies, the hub counts %llu posts, %llu polls, %llu "
                   "messages in and %llu out",
                   (unsigned long long)posts, (unsigned long long)replies,
                   (unsigned long long)hub_posts, (unsigned long long)hub_polls,
                   (unsigned long long)in, (unsigned long long)out);
}

static void run_once(longpoll_t *bench, report_t *report)
{
    subject_figures_t before = subject_ask(&bench->subject), after;
    uint64_t posts = bench->posts, replies = bench->replies;
    double began_s = bench_now_s(), own_s = bench_cpu_s(), elapsed_s, requests, server_s;

    run_for(bench, (double)bench->seconds);
    elapsed_s = bench_now_s() - began_s;
    own_s = bench_cpu_s() - own_s;
    after = subject_ask(&bench->subject);
    check_counts(&before.stats, &after.stats, bench->posts - posts, bench->replies - replies);
    requests = 2 * (double)(bench->replies - replies);
    server_s = after.user_s + after.system_s - before.user_s - before.system_s;
    report_add(report, "requests_per_s", requests / elapsed_s);
    report_add(report, "round_trips_per_s", requests / 2 / elapsed_s);
    report_add(report, "server_us_per_request", server_s * 1e6 / requests);
    report_add(report, "turns_per_request",
               (double)(after.stats.turns_total - before.stats.turns_total) / requests);
    report_add(report, "server_busy", server_s / elapsed_s);
    report_add(report, "generator_busy", own_s / elapsed_s);
}

/* ---- setting up ---- */

static void connect_one(poller_t *poller, uint16_t port)
{
    struct sockaddr_in to = {.sin_family = AF_INET};
    struct timeval wait = {.tv_sec = LOST_MS / 1000};
    int on = 1;

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons(port);
    if ((poller->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) == -1)
        bench_fail("socket: %s", strerror(errno));
    setsockopt(poller->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(poller->fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    if (connect(poller->fd, (struct sockaddr *)&to, sizeof(to)) != 0)
        bench_fail("connect: %s", strerror(errno));
}

static void enter(longpoll_t *bench, poller_t *poller)
{
    static const char join[] =
        "{\"topic\":\"bench:00000\",\"event\":\"join\",\"payload\":{},\"ref\":\"1\"}";
    const char *token;

    if ((poller->answer = malloc(bench->answer_size)) == NULL)
        bench_fail("out of memory");
    connect_one(poller, bench->subject.port);
    send_poll(bench, poller);
    if ((token = strstr(await_answer(bench, poller), "\"token\":\"")) == NULL)
        bench_fail("no token was given");
    token += 9;
    snprintf(poller->token, sizeof(poller->token), "%.*s", (int)strcspn(token, "\""), token);
    send_post(bench, poller, join);
    check_taken(await_answer(bench, poller));
    send_poll(bench, poller);
    check_reply(await_answer(bench, poller));
}

static void make_frame(longpoll_t *bench)
{
    size_t data = bench->payload - PAYLOAD_MIN;
    char *at;

    bench->answer_size = ANSWER_BYTES + 2 * bench->payload;
    bench->frame = malloc(256 + bench->payload);
    bench->request = malloc(1024 + bench->payload);
    if (bench->frame == NULL || bench->request == NULL)
        bench_fail("out of memory");
    at = bench->frame + sprintf(bench->frame, "{\"topic\":\"bench:00000\",\"event\":\"echo\","
                                              "\"ref\":\"2\",\"payload\":{\"data\":\"");
    memset(at, 'x', data);
    strcpy(at + data, "\"}}");
}

static void set_up(longpoll_t *bench)
{
    const subject_options_t options = {.threads = (unsigned)bench->threads,
                                       .payload_bytes = bench->payload};

    if (bench->conns + NOFILE_RESERVE > bench_raise_nofile())
        bench_fail("--conns %lu: as many files may not be open here", bench->conns);
    subject_start(&options, &bench->subject);
    bench_pin(1);
    make_frame(bench);
    if ((bench->pollers = calloc(bench->conns, sizeof(*bench->pollers))) == NULL)
        bench_fail("out of memory");
    if ((bench->epoll = epoll_create1(EPOLL_CLOEXEC)) == -1)
        bench_fail("epoll: %s", strerror(errno));
    for (size_t i = 0; i != bench->conns; ++i) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)i};

        enter(bench, &bench->pollers[i]);
        if (epoll_ctl(bench->epoll, EPOLL_CTL_ADD, bench->pollers[i].fd, &event) != 0)
            bench_fail("epoll: %s", strerror(errno));
    }
}

static void tear_down(longpoll_t *bench)
{
    close(bench->epoll);
    for (size_t i = 0; i != bench->conns; ++i) {
        close(bench->pollers[i].fd);
        free(bench->pollers[i].answer);
    }
    subject_stop(&bench->subject);
    free(bench->pollers);
    free(bench->frame);
    free(bench->request);
}

int main(int argc, char **argv)
{
    static longpoll_t bench = {.conns = 100, .payload = 128, .seconds = 3, .threads = 1, .runs = 5};
    const report_option_t options[] = {
        {"conns", "clients, an HTTP connection each", &bench.conns, 1, 100000, NULL, NULL},
        {"payload", "bytes of JSON", &bench.payload, PAYLOAD_MIN, 262144, NULL, NULL},
        {"seconds", "of each run", &bench.seconds, 1, 3600, NULL, NULL},
        {"threads", "of the server, all on its core", &bench.threads, 1, 256, NULL, NULL},
        {"runs", "measured one after another", &bench.runs, 1, REPORT_RUNS_MAX, NULL, NULL},
        {NULL, NULL, NULL, 0, 0, NULL, NULL}};
    report_t *report;

    subject_main(argc, argv);
    report = report_open("longpoll", argc, argv, options);
    set_up(&bench);
    run_for(&bench, WARM_UP_S);
    for (unsigned long run = 0; run != bench.runs; ++run)
        run_once(&bench, report);
    tear_down(&bench);
    report_print(report);
    report_close(report);
    return EXIT_SUCCESS;
}
