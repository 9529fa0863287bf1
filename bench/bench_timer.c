/* SPDX-License-Identifier: MIT */
/* Do many armed timers make a turn of the loop dearer? At most by 5 %, is the promise for 100,000.
 *
 * Asked twice. `wheel`: a turn as a worker takes it (a wake-up by epoll, a look at the clock, what
 * is due, when is next) around a bare wheel, in elapsed time. `hub`: an echo through two real hubs,
 * whose members hold no timers there and `--timers` here, in the server's own time. Rounds with and
 * without take turns, so that a machine that changes its speed changes both; a run's ratio is that
 * of the medians of its rounds. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "bench/client.h"
#include "bench/report.h"
#include "bench/subject.h"
#include "hub/timer.h"

#define MEMBERS 1000u /* of each hub, with --timers / MEMBERS each */
#define ROUNDS_MIN 5u
#define ROUNDS_MAX 500u
#define WHEEL_TURNS 10000u /* in a round */
#define HUB_ROUND_S 0.1
#define WAIT_MS 10000
#define FIRST_DUE_MS 3600000u
#define DUE_SPREAD_MS 600000u

/* ---- rounds that take turns ---- */

typedef double (*round_cb)(void *side);

static int by_size(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;

    return (left > right) - (left < right);
}

static double median_of(double *values, size_t count)
{
    qsort(values, count, sizeof(*values), by_size);
    return values[count / 2];
}

/* The figures' names must last as long as the report. */
static void compare(report_t *report, double seconds, round_cb round, void *empty, void *full,
                    const char *const names[3])
{
    static double empties[ROUNDS_MAX], fulls[ROUNDS_MAX];
    double until = bench_now_s() + seconds, without, with;
    size_t count = 0;

    while (count < ROUNDS_MIN || (count < ROUNDS_MAX && bench_now_s() < until)) {
        bool full_first = count % 2 != 0;

        if (full_first)
            fulls[count] = round(full);
        empties[count] = round(empty);
        if (!full_first)
            fulls[count] = round(full);
        ++count;
    }
    without = median_of(empties, count);
    with = median_of(fulls, count);
    report_add(report, names[0], without);
    report_add(report, names[1], with);
    report_add(report, names[2], with / without);
}

/* ---- the wheel alone ---- */

typedef struct turning {
    int event, epoll;
    hub__wheel_t *wheel;
    hub__timer_t *timers;
    size_t count;
} turning_t;

static size_t fired;

static void on_due(hub__timer_t *timer, uint64_t now_ms)
{
    (void)timer;
    (void)now_ms;
    ++fired;
}

static uint64_t now_ms(void)
{
    return (uint64_t)(bench_now_s() * 1000);
}

static void turning_init(turning_t *turning, size_t count)
{
    struct epoll_event event = {.events = EPOLLIN};
    uint64_t now = now_ms();

    *turning = (turning_t){.event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
                           .epoll = epoll_create1(EPOLL_CLOEXEC),
                           .wheel = hub__wheel_create(now),
                           .timers = calloc(count + 1, sizeof(hub__timer_t)),
                           .count = count};
    if (turning->event == -1 || turning->epoll == -1 || turning->timers == NULL ||
        epoll_ctl(turning->epoll, EPOLL_CTL_ADD, turning->event, &event) != 0)
        bench_fail("the loop could not be made: %s", strerror(errno));
    for (size_t i = 0; i != count; ++i) {
        turning->timers[i].on_due = on_due;
        hub__timer_arm(turning->wheel, &turning->timers[i],
                       now + FIRST_DUE_MS + i * 7919 % DUE_SPREAD_MS);
    }
}

/* Nanoseconds for a turn. */
static double turn_round(void *side)
{
    turning_t *turning = side;
    double began_s = bench_now_s();
    uint64_t next = 0;
    size_t early = 0;

    for (unsigned i = 0; i != WHEEL_TURNS; ++i) {
        struct epoll_event event;
        uint64_t value = 1;

        if (write(turning->event, &value, sizeof(value)) != (ssize_t)sizeof(value) ||
            epoll_wait(turning->epoll, &event, 1, WAIT_MS) != 1 ||
            read(turning->event, &value, sizeof(value)) != (ssize_t)sizeof(value))
            bench_fail("a turn without its event: %s", strerror(errno));
        early += hub__wheel_run(turning->wheel, now_ms());
        next |= hub__wheel_next(turning->wheel);
    }
    if (next == 0 || early != 0 || hub__wheel_count(turning->wheel) != turning->count)
        bench_fail("timers were due that should not be: %zu of %zu", early, turning->count);
    return (bench_now_s() - began_s) * 1e9 / WHEEL_TURNS;
}

/* Nanoseconds for putting one of the deadlines off, as a worker does when a client has answered. */
static double move_round(void *side)
{
    turning_t *turning = side;
    uint64_t now = now_ms();
    double began_s = bench_now_s();

    turning->timers[turning->count].on_due = on_due;
    for (unsigned i = 0; i != WHEEL_TURNS; ++i)
        hub__timer_arm(turning->wheel, &turning->timers[turning->count],
                       now + FIRST_DUE_MS + i * 7919 % DUE_SPREAD_MS);
    hub__timer_disarm(turning->wheel, &turning->timers[turning->count]);
    return (bench_now_s() - began_s) * 1e9 / WHEEL_TURNS;
}

/* They were armed all the time: each fires now. */
static void turning_dispose(turning_t *turning)
{
    size_t before = fired;

    hub__wheel_run(turning->wheel, now_ms() + FIRST_DUE_MS + DUE_SPREAD_MS);
    if (fired - before != turning->count)
        bench_fail("%zu timers were armed and %zu fired", turning->count, fired - before);
    hub__wheel_destroy(turning->wheel);
    free(turning->timers);
    close(turning->epoll);
    close(turning->event);
}

/* ---- through a hub ---- */

typedef struct served {
    subject_t subject;
    client_conn_t conns[MEMBERS];
    int epoll;
    char frame[256];
    size_t frame_len;
} served_t;

static void served_init(served_t *served, unsigned timers_per_member)
{
    subject_start(&(subject_options_t){.channel.timers_per_member = timers_per_member},
                  &served->subject);
    client_enter(served->conns, MEMBERS, served->subject.port, MEMBERS);
    served->epoll = client_watch(served->conns, MEMBERS);
    served->frame_len = client_frame(served->frame, 0, "echo", 128);
}

/* The server's microseconds for an echo by the first connection: one turn each. */
static double echo_round(void *side)
{
    served_t *served = side;
    subject_figures_t before = subject_ask(&served->subject), after;
    double until = bench_now_s() + HUB_ROUND_S;
    uint64_t sent = 0, answered = 0, counted;

    while (bench_now_s() < until) {
        client_send(&served->conns[0], served->frame, served->frame_len);
        for (++sent; answered != sent;) {
            struct epoll_event event;

            if (epoll_wait(served->epoll, &event, 1, WAIT_MS) != 1)
                bench_fail("lost: %llu of %llu echoes", (unsigned long long)(sent - answered),
                           (unsigned long long)sent);
            answered += client_read(&served->conns[event.data.u32]);
        }
    }
    after = subject_ask(&served->subject);
    counted = after.stats.messages_out_total - before.stats.messages_out_total;
    if (counted != sent || after.stats.members != MEMBERS)
        bench_fail("%llu echoes, the hub counts %llu, and %llu members of %u",
                   (unsigned long long)sent, (unsigned long long)counted,
                   (unsigned long long)after.stats.members, MEMBERS);
    return (after.user_s + after.system_s - before.user_s - before.system_s) * 1e6 / (double)sent;
}

static void served_dispose(served_t *served)
{
    close(served->epoll);
    client_close(served->conns, MEMBERS);
    subject_stop(&served->subject);
}

/* ---- all of it ---- */

int main(int argc, char **argv)
{
    static const char *const turn_names[] = {"wheel_turn_ns_empty", "wheel_turn_ns_full",
                                             "wheel_turn_ratio"};
    static const char *const move_names[] = {"wheel_move_ns_empty", "wheel_move_ns_full",
                                             "wheel_move_ratio"};
    static const char *const hub_names[] = {"hub_echo_us_empty", "hub_echo_us_full",
                                            "hub_echo_ratio"};
    static served_t hub_empty, hub_full;
    turning_t empty, full;
    unsigned long timers = 100000, seconds = 3, runs = 5;
    const report_option_t options[] = {
        {"timers", "armed, a multiple of 1000", &timers, MEMBERS, 10000000, NULL, NULL},
        {"seconds", "of each run", &seconds, 1, 3600, NULL, NULL},
        {"runs", "measured one after another", &runs, 1, REPORT_RUNS_MAX, NULL, NULL},
        {NULL, NULL, NULL, 0, 0, NULL, NULL}};
    report_t *report;

    subject_main(argc, argv);
    report = report_open("timer", argc, argv, options);
    if (timers % MEMBERS != 0)
        bench_fail("--timers %lu: not a multiple of %u", timers, MEMBERS);
    bench_raise_nofile();
    bench_pin(1);
    served_init(&hub_empty, 0);
    served_init(&hub_full, (unsigned)(timers / MEMBERS));
    turning_init(&empty, 0);
    turning_init(&full, timers);
    for (unsigned long run = 0; run != runs; ++run) {
        compare(report, (double)seconds / 4, turn_round, &empty, &full, turn_names);
        compare(report, (double)seconds / 4, move_round, &empty, &full, move_names);
        compare(report, (double)seconds / 2, echo_round, &hub_empty, &hub_full, hub_names);
    }
    turning_dispose(&full);
    turning_dispose(&empty);
    served_dispose(&hub_full);
    served_dispose(&hub_empty);
    report_print(report);
    report_close(report);
    return EXIT_SUCCESS;
}
