/* SPDX-License-Identifier: MIT */
/* A server of its own process under everything at once, for as long as one likes: clients that
 * join, speak and die at random and are judged by a ledger, slow readers, long poll, hostile ones.
 * In cycles, after each of which everybody is gone: then its tables and descriptors must be as
 * before and its memory as after the first.
 *
 *     soak [--minutes N] [--cycle SECONDS] [--seed N] [--csv FILE] [--server PROGRAM] [--calm]
 *
 * test/soak.sh builds and runs it. What a promise forbids ends it at once with status 1, and so
 * does what is left over; its table says how steep what it watched was. */
#define _GNU_SOURCE 1
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "test/crowd.h"
#include "test/ledger.h"
#include "test/rabble.h"

#define CLIENTS 160
#define SLOW_CLIENTS 12
#define IDENTITIES 40
#define SOURCES 24
#define STEPS_PER_S 1500
#define HOSTILE 6
#define POLLERS 4
#define PAUSE_MS 20
#define ROUND_MS 2000
#define SAMPLE_MS 2000
#define QUIET_MS 20000
#define CYCLES_MIN 3 /* to warm up, to measure, to compare */
#define ANSWER_BYTES 131072
#define NAMES_MAX 256
#define WORKERS_TIMERS 4
#define KEPT_BYTES 1048576 /* by all workers */
#define GROWTH_PERCENT 2
/* KiB */
#define PEERS_SLACK 128 /* blocks that workers keep, each as large as it had to be */
#define OWN_SLACK 64    /* what libraries keep for the next time */
#define RSS_SLACK 512   /* holes between what is allocated */

static const crowd_topic_t topics[] = {
    {.name = "room:0"},
    {.name = "room:1"},
    {.name = "room:2"},
    {.name = "seen:0"},
    {.name = "who:0"},
    {.name = "who:1"},
    {.name = "shut:0", .door = CROWD_CLOSED},
    {.name = "flood:0", .flooded = true},
    {.name = "drop:0", .flooded = true, .lossy = true},
};
#define TOPICS (sizeof(topics) / sizeof(topics[0]))

/* What is read of the server at one moment. */
typedef struct sample {
    double seconds;
    unsigned cycle;
    bool quiet;
    uint64_t rss_kib, heap, fds; /* heap: quiet ones alone */
    uint64_t values[NAMES_MAX];  /* of its gauges and counters, as named below */
} sample_t;

typedef struct errand {
    struct errand *next;
    uint32_t topic, count;
    size_t bytes;
} errand_t;

static struct {
    double minutes;
    unsigned cycle_s;
    uint64_t seed;
    const char *server, *csv;
    bool calm; /* memory is not judged: a sanitizer's allocator keeps what was freed */

    pid_t pid;
    char address[64];
    struct sockaddr_in where;
    double began;
    atomic_uint cycle;

    pthread_mutex_t lock; /* of what follows */
    FILE *out;
    char names[NAMES_MAX][48];
    bool gauges[NAMES_MAX];
    unsigned name_count;
    sample_t *samples;
    size_t sample_count;
    bool over;

    ledger_t *ledger;
    pthread_mutex_t errands_lock;
    pthread_cond_t changed;
    errand_t *first, **last;
    bool done;
    atomic_uint undone;
    uint64_t slow_before, slow_asked_ms;

    uint64_t connects, joins, heard, said, gaps, slow, kicked, attacks, sessions, polled;
} the = {.minutes = 2,
         .cycle_s = 20,
         .lock = PTHREAD_MUTEX_INITIALIZER,
         .errands_lock = PTHREAD_MUTEX_INITIALIZER,
         .changed = PTHREAD_COND_INITIALIZER};

static void *must(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

static double now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void nap(unsigned ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000},
              NULL);
}

_Noreturn static void fail(const char *text)
{
    fprintf(stderr, "soak: %s\nsoak: --seed %" PRIu64 "\n", text, the.seed);
    fflush(NULL);
    _exit(EXIT_FAILURE); /* the server goes with us */
}

/* ---- the server ---- */

static void start_server(void)
{
    const char *colon;
    int ends[2];
    char line[128] = "", identities[16];
    FILE *out;

    snprintf(identities, sizeof(identities), "%d", IDENTITIES);
    if (pipe(ends) != 0 || (the.pid = fork()) == -1)
        fail("no process for the server");
    if (the.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        /* without the chunks that each thread sets aside, which count as allocated */
        setenv("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0", 1);
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        execl(the.server, the.server, "--port", "0", "--identities", identities, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    out = must(fdopen(ends[0], "r"));
    if (fgets(line, sizeof(line), out) == NULL ||
        sscanf(line, "listening on http://%63s", the.address) != 1 ||
        (colon = strrchr(the.address, ':')) == NULL)
        fail("the server did not start");
    fclose(out);
    the.where = (struct sockaddr_in){.sin_family = AF_INET,
                                     .sin_port = htons((uint16_t)atoi(colon + 1)),
                                     .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

/* It drains and ends with status 0, which is also what LeakSanitizer has to say. */
static void stop_server(void)
{
    char text[80];
    int status;

    kill(the.pid, SIGTERM);
    if (waitpid(the.pid, &status, 0) != the.pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        snprintf(text, sizeof(text), "the server ended with %#x", (unsigned)status);
        fail(text);
    }
}

/* One request on a connection that stands or is made; the body of its answer, in `answer`. NULL:
 * the connection has ended. */
static char *request(int *fd, const char *method, const char *target, char *answer)
{
    size_t len = 0, wanted = SIZE_MAX;
    char head[400], *body = NULL;
    ssize_t got;

    if (*fd == -1) {
        struct timeval wait = {.tv_sec = QUIET_MS / 1000};

        *fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        setsockopt(*fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
        if (connect(*fd, (struct sockaddr *)&the.where, sizeof(the.where)) != 0)
            return NULL;
    }
    snprintf(head, sizeof(head), "%s %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n", method, target,
             strcmp(method, "POST") == 0 ? "Content-Length: 0\r\n" : "");
    if (send(*fd, head, strlen(head), MSG_NOSIGNAL) != (ssize_t)strlen(head))
        return NULL;
    while (len < wanted && len < ANSWER_BYTES - 1 &&
           (got = recv(*fd, answer + len, ANSWER_BYTES - 1 - len, 0)) > 0) {
        len += (size_t)got;
        answer[len] = '\0';
        if (body == NULL && (body = strstr(answer, "\r\n\r\n")) != NULL) {
            const char *field = strcasestr(answer, "\r\ncontent-length:");

            body += 4;
            wanted = (size_t)(body - answer) +
                     (field != NULL && field < body ? strtoul(field + 17, NULL, 10) : 0);
        }
    }
    return len >= wanted && strncmp(answer, "HTTP/1.1 200", 12) == 0 ? body : NULL;
}

/* The same on a connection of its own. To be freed. */
static char *ask(const char *method, const char *target)
{
    char *answer = must(malloc(ANSWER_BYTES)), *body = NULL;
    int fd = -1;

    /* the server may be short of something for a moment, as clients are told */
    for (int i = 0; i < 20 && (body = request(&fd, method, target, answer)) == NULL; i++) {
        close(fd);
        fd = -1;
        nap(100);
    }
    if (body == NULL)
        fail("the server does not answer requests of ours");
    close(fd);
    memmove(answer, body, strlen(body) + 1);
    return answer;
}

/* ---- samples ---- */

static uint64_t read_rss(void)
{
    char path[64], line[256];
    uint64_t kib = 0;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/status", the.pid);
    file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL)
        (void)sscanf(line, "VmRSS: %" SCNu64, &kib);
    if (file != NULL)
        fclose(file);
    return kib;
}

static uint64_t count_fds(void)
{
    uint64_t count = 0;
    char path[64];
    DIR *folder;

    snprintf(path, sizeof(path), "/proc/%d/fd", the.pid);
    folder = opendir(path);
    while (folder != NULL && readdir(folder) != NULL)
        count++;
    if (folder != NULL)
        closedir(folder);
    return count - 2; /* . and .. */
}

/* Prometheus' text; names are learned from the first one, before there are other threads. */
static void read_metrics(sample_t *sample)
{
    char *text = ask("GET", "/metrics"), *line, *rest = text, name[48], kind[16] = "";
    unsigned at = 0;

    while ((line = strsep(&rest, "\n")) != NULL) {
        if (sscanf(line, "# TYPE sockethub_%*s %15s", kind) == 1 || line[0] == '#' ||
            sscanf(line, "sockethub_%47[^ {]", name) != 1)
            continue;
        /* with labels: of the one bus */
        sample->values[at] = strtoull(strrchr(line, ' '), NULL, 10);
        if (at >= the.name_count) {
            snprintf(the.names[at], sizeof(the.names[at]), "%s", name);
            /* peaks are called gauges there, too */
            the.gauges[at] = strcmp(kind, "gauge") == 0 && strstr(name, "_max") == NULL;
        }
        if (++at == NAMES_MAX)
            fail("the server has more metrics than this has room for");
    }
    if (the.name_count == 0)
        the.name_count = at;
    free(text);
}

static uint64_t value_of(const sample_t *sample, const char *name)
{
    for (unsigned i = 0; i < the.name_count; i++)
        if (strcmp(the.names[i], name) == 0)
            return sample->values[i];
    return 0;
}

static void copy_value(sample_t *to, const sample_t *from, const char *name)
{
    for (unsigned i = 0; i < the.name_count; i++)
        if (strcmp(the.names[i], name) == 0)
            to->values[i] = from->values[i];
}

static sample_t take_sample(void)
{
    sample_t sample = {.seconds = now_s() - the.began, .cycle = the.cycle};

    pthread_mutex_lock(&the.lock);
    read_metrics(&sample);
    pthread_mutex_unlock(&the.lock);
    sample.rss_kib = read_rss();
    sample.fds = count_fds();
    return sample;
}

static void keep(const sample_t *sample)
{
    static const char *const shown[] = {"conns",
                                        "members",
                                        "topics",
                                        "presences",
                                        "pre_upgrade",
                                        "outbox_bytes",
                                        "memory_bytes",
                                        "longpoll_conns",
                                        "conns_total",
                                        "messages_in_total",
                                        "messages_out_total",
                                        "closed_slow_total"};

    pthread_mutex_lock(&the.lock);
    the.samples = must(realloc(the.samples, (the.sample_count + 1) * sizeof(*the.samples)));
    the.samples[the.sample_count++] = *sample;
    if (the.sample_count == 1) {
        fprintf(the.out, "seconds,cycle,quiet,rss_kib,heap,fds");
        for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++)
            fprintf(the.out, ",%s", shown[i]);
        fprintf(the.out, "\n");
    }
    fprintf(the.out, "%.1f,%u,%d,%" PRIu64 ",%" PRIu64 ",%" PRIu64, sample->seconds, sample->cycle,
            sample->quiet, sample->rss_kib, sample->heap, sample->fds);
    for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++)
        fprintf(the.out, ",%" PRIu64, value_of(sample, shown[i]));
    fprintf(the.out, "\n");
    fflush(the.out);
    pthread_mutex_unlock(&the.lock);
}

static void *sampler_main(void *unused)
{
    for (unsigned ms = 0;; ms += 50) {
        bool over;

        nap(50);
        pthread_mutex_lock(&the.lock);
        over = the.over;
        pthread_mutex_unlock(&the.lock);
        if (over)
            return unused;
        if (ms % SAMPLE_MS == 0) {
            sample_t sample = take_sample();

            keep(&sample);
        }
    }
}

/* Once the server knows that the connection of a sample has ended. */
static uint64_t count_fds_without_us(uint64_t with)
{
    double until = now_s() + QUIET_MS / 1000.0;
    uint64_t count = count_fds();

    while (count >= with && now_s() < until) {
        nap(5);
        count = count_fds();
    }
    return count;
}

/* The first gauge that is not as it was, or the descriptors; NULL: all are. */
static const char *first_difference(const sample_t *before, const sample_t *now)
{
    for (unsigned i = 0; i < the.name_count; i++) {
        /* a worker keeps the block that its next frames go to, and begins to look after presences
         * with the first one */
        const char *name = the.names[i];
        bool first =
            the.cycle == 0 && (strcmp(name, "timers") == 0 || strcmp(name, "bus_topics") == 0 ||
                               strcmp(name, "bus_subscriptions") == 0);
        uint64_t more = strncmp(name, "memory_", 7) == 0 ? KEPT_BYTES : first ? WORKERS_TIMERS : 0;

        if (the.gauges[i] &&
            (now->values[i] > before->values[i] + more || now->values[i] < before->values[i]))
            return the.names[i];
    }
    return now->fds != before->fds ? "descriptors" : NULL;
}

/* Everybody is gone: waits until the server's tables know it. */
static sample_t await_quiet(const sample_t *before)
{
    double until = now_s() + QUIET_MS / 1000.0;
    const char *differs;
    sample_t sample;
    char text[200];
    char *heap;

    do {
        nap(50);
        sample = take_sample();
        sample.fds = count_fds_without_us(before->fds + 1);
        differs = first_difference(before, &sample);
    } while (differs != NULL && now_s() < until);
    if (differs != NULL) {
        snprintf(text, sizeof(text),
                 "cycle %u: nobody is left, but %s is %" PRIu64 " and was %" PRIu64, the.cycle,
                 differs,
                 strcmp(differs, "descriptors") == 0 ? sample.fds : value_of(&sample, differs),
                 strcmp(differs, "descriptors") == 0 ? before->fds : value_of(before, differs));
        fail(text);
    }
    heap = ask("GET", "/ctl/heap");
    sample.heap = strtoull(heap, NULL, 10);
    free(heap);
    sample.rss_kib = read_rss();
    sample.quiet = true;
    return sample;
}

/* ---- what the crowd wants of the program ---- */

static void publish(int *fd, char *answer, uint32_t publisher, const errand_t *errand)
{
    uint32_t first = 0;
    char target[200];

    for (uint32_t i = 0; i != errand->count; i++) {
        uint32_t number = ledger_intend(the.ledger, publisher, errand->topic, LEDGER_PUBLISH);

        first = i == 0 ? number : first;
        ledger_accept(the.ledger, publisher, errand->topic, number);
    }
    snprintf(target, sizeof(target), "/ctl/say?topic=%s&on=%u&by=%u&first=%u&count=%u&bytes=%zu",
             topics[errand->topic].name, errand->topic, publisher, first, errand->count,
             errand->bytes);
    if (request(fd, "GET", target, answer) == NULL)
        ledger_fail(the.ledger, "the server does not publish: %s: %.300s", target, answer);
}

/* One connection, so one worker: what it publishes has an order. */
static void *speaker_main(void *unused)
{
    uint32_t publisher = ledger_publisher(the.ledger);
    char *answer = must(malloc(ANSWER_BYTES));
    int fd = -1;

    for (;;) {
        struct timespec soon;
        errand_t *errand;
        bool done;

        clock_gettime(CLOCK_REALTIME, &soon);
        soon.tv_sec++;
        pthread_mutex_lock(&the.errands_lock);
        if (the.first == NULL && !the.done)
            pthread_cond_timedwait(&the.changed, &the.errands_lock, &soon);
        errand = the.first;
        done = the.done;
        if (errand != NULL && (the.first = errand->next) == NULL)
            the.last = &the.first;
        pthread_mutex_unlock(&the.errands_lock);
        if (errand == NULL && fd != -1) { /* before the server closes it in the midst of one */
            close(fd);
            fd = -1;
        }
        if (errand == NULL && done)
            break;
        if (errand != NULL) {
            publish(&fd, answer, publisher, errand);
            free(errand);
            atomic_fetch_sub(&the.undone, 1);
        }
    }
    free(answer);
    return unused;
}

static void order(uint32_t topic, uint32_t count, size_t bytes, void *user)
{
    errand_t *errand = must(malloc(sizeof(*errand)));

    (void)user;
    *errand = (errand_t){.topic = topic, .count = count, .bytes = bytes};
    atomic_fetch_add(&the.undone, 1);
    pthread_mutex_lock(&the.errands_lock);
    *the.last = errand;
    the.last = &errand->next;
    pthread_cond_signal(&the.changed);
    pthread_mutex_unlock(&the.errands_lock);
}

static bool orders_done(void *user)
{
    (void)user;
    return atomic_load(&the.undone) == 0;
}

static void kick(const char *identity, void *user)
{
    char target[64];

    (void)user;
    snprintf(target, sizeof(target), "/ctl/kick?identity=%s", identity);
    free(ask("POST", target));
}

static bool is_one_too_slow(void *user)
{
    uint64_t now_ms = (uint64_t)(now_s() * 1000);
    sample_t sample;

    (void)user;
    if (now_ms < the.slow_asked_ms + 50)
        return false;
    the.slow_asked_ms = now_ms;
    sample = take_sample();
    return value_of(&sample, "closed_slow_total") > the.slow_before;
}

/* ---- cycles ---- */

static void add_counts(const crowd_t *crowd, const rabble_counts_t *rabble)
{
    crowd_counts_t counts = crowd_counts(crowd);

    the.connects += counts.connects;
    the.joins += counts.joins;
    the.heard += counts.heard;
    the.said += ledger_accepted(the.ledger);
    the.gaps += counts.gap_notices;
    the.slow += counts.slow_closes;
    the.kicked += counts.kicked;
    the.attacks += rabble->attacks;
    the.sessions += rabble->sessions;
    the.polled += rabble->heard;
}

static void run_crowd(crowd_t *crowd)
{
    sample_t sample;

    for (unsigned left = the.cycle_s * 1000; left != 0;) {
        unsigned round = left < ROUND_MS ? left : ROUND_MS;

        crowd_run(crowd, round);
        crowd_settle(crowd);
        left -= round;
    }
    sample = take_sample();
    the.slow_before = value_of(&sample, "closed_slow_total");
    crowd_stall(crowd, is_one_too_slow);
    crowd_disperse(crowd);
}

static void run_cycle(void)
{
    uint64_t seed = the.seed + the.cycle;
    rabble_counts_t counts;
    pthread_t speaker;
    rabble_t *rabble;
    crowd_t *crowd;

    the.ledger = ledger_create_remote(seed, TOPICS);
    the.last = &the.first;
    the.done = false;
    if (pthread_create(&speaker, NULL, speaker_main, NULL) != 0)
        abort();
    rabble = rabble_start(&(rabble_options_t){.address = the.where,
                                              .seed = seed,
                                              .hostile = HOSTILE,
                                              .pollers = POLLERS,
                                              .pause_ms = PAUSE_MS,
                                              .fail = fail});
    crowd = crowd_create(&(crowd_options_t){.address = the.address,
                                            .ledger = the.ledger,
                                            .seed = seed,
                                            .topics = topics,
                                            .topic_count = TOPICS,
                                            .clients = CLIENTS,
                                            .slow_clients = SLOW_CLIENTS,
                                            .identities = IDENTITIES,
                                            .remote = true,
                                            .sources = SOURCES,
                                            .steps_per_s = STEPS_PER_S,
                                            .order = order,
                                            .orders_done = orders_done,
                                            .kick = kick});
    run_crowd(crowd);
    counts = rabble_stop(rabble);
    pthread_mutex_lock(&the.errands_lock);
    the.done = true;
    pthread_cond_signal(&the.changed);
    pthread_mutex_unlock(&the.errands_lock);
    pthread_join(speaker, NULL);
    add_counts(crowd, &counts);
    crowd_destroy(crowd);
    ledger_destroy(the.ledger);
}

/* ---- the verdict ---- */

static double rss_of(const sample_t *sample)
{
    return (double)sample->rss_kib;
}

static double heap_of(const sample_t *sample)
{
    return (double)sample->heap / 1024;
}

static double peers_of(const sample_t *sample)
{
    return (double)value_of(sample, "memory_bytes") / 1024;
}

static double own_of(const sample_t *sample)
{
    return heap_of(sample) - peers_of(sample);
}

static double fds_of(const sample_t *sample)
{
    return (double)sample->fds;
}

static double conns_of(const sample_t *sample)
{
    return (double)value_of(sample, "conns");
}

/* What libraries keep for the next time grows for some cycles and then no more, so what is compared
 * begins with this one. A leak goes on. */
static unsigned warm_cycle(void)
{
    return the.cycle / 3 > 1 ? the.cycle / 3 : 1;
}

/* Least squares over the samples of one kind behind the warm-up, an hour. */
static double slope(double (*of)(const sample_t *), bool quiet)
{
    double n = 0, x = 0, y = 0, xx = 0, xy = 0, below;

    for (size_t i = 0; i < the.sample_count; i++) {
        const sample_t *sample = &the.samples[i];
        double hours = sample->seconds / 3600, value = of(sample);

        if (sample->quiet != quiet || sample->cycle < warm_cycle())
            continue;
        n++;
        x += hours;
        y += value;
        xx += hours * hours;
        xy += hours * value;
    }
    below = n * xx - x * x;
    return n < 2 || below == 0 ? 0 : (n * xy - x * y) / below;
}

/* Of the quiet samples: that behind the warm-up, or the last. */
static const sample_t *quiet_sample(bool last)
{
    const sample_t *found = NULL;

    for (size_t i = 0; i < the.sample_count; i++)
        if (the.samples[i].quiet && the.samples[i].cycle >= warm_cycle() && (found == NULL || last))
            found = &the.samples[i];
    return found;
}

static bool has_grown(const char *what, double before, double after, double slack)
{
    bool grown = after > before * (100 + GROWTH_PERCENT) / 100 + slack;

    printf("%-12s %10.0f KiB behind cycle %u, %10.0f at the end: %s\n", what, before, warm_cycle(),
           after, grown ? "IT GROWS" : "ok");
    return grown;
}

/* Else it has shown nothing. */
static bool happened(void)
{
    bool all =
        the.joins != 0 && the.heard != 0 && the.attacks != 0 && the.sessions != 0 && the.slow != 0;

    if (!all)
        printf("something never happened\n");
    return all;
}

static bool judge(void)
{
    const sample_t *first = quiet_sample(false), *last = quiet_sample(true);
    bool bad;

    printf("%u cycles in %.0f s: %" PRIu64 " connections and %" PRIu64 " hostile ones, %" PRIu64
           " joins, %" PRIu64 " published, %" PRIu64 " heard, %" PRIu64 " kicked, %" PRIu64
           " too slow, %" PRIu64 " gaps told, %" PRIu64 " poll sessions with %" PRIu64
           " messages\n",
           the.cycle, now_s() - the.began, the.connects, the.attacks, the.joins, the.said,
           the.heard, the.kicked, the.slow, the.gaps, the.sessions, the.polled);
    printf("slopes an hour, while quiet: RSS %+.0f KiB, heap %+.0f KiB, descriptors %+.2f; "
           "under load: RSS %+.0f KiB, descriptors %+.1f, connections %+.1f\n",
           slope(rss_of, true), slope(heap_of, true), slope(fds_of, true), slope(rss_of, false),
           slope(fds_of, false), slope(conns_of, false));
    printf("%-12s back to the baseline, exactly, behind each cycle\n", "tables, fds");
    if (the.calm)
        return happened();
    bad = has_grown("for peers", peers_of(first), peers_of(last), PEERS_SLACK);
    bad = has_grown("other heap", own_of(first), own_of(last), OWN_SLACK) || bad;
    bad = has_grown("resident", rss_of(first), rss_of(last), RSS_SLACK) || bad;
    return happened() && !bad;
}

static void read_arguments(int argc, char **argv)
{
    if (getrandom(&the.seed, sizeof(the.seed), 0) != sizeof(the.seed))
        abort();
    the.seed %= 1000000;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";

        if (strcmp(argv[i], "--calm") == 0) {
            the.calm = true;
            continue;
        }
        if (strcmp(argv[i], "--minutes") == 0)
            the.minutes = strtod(value, NULL);
        else if (strcmp(argv[i], "--cycle") == 0)
            the.cycle_s = (unsigned)strtoul(value, NULL, 10);
        else if (strcmp(argv[i], "--seed") == 0)
            the.seed = strtoull(value, NULL, 10);
        else if (strcmp(argv[i], "--csv") == 0)
            the.csv = value;
        else if (strcmp(argv[i], "--server") == 0)
            the.server = value;
        else
            fail("usage: soak --server PROGRAM [--minutes N] [--cycle SECONDS] [--seed N] "
                 "[--csv FILE] [--calm]");
        i++;
    }
    if (the.server == NULL || the.minutes <= 0 || the.cycle_s == 0)
        fail("--server, --minutes and --cycle must be given as they can be");
}

int main(int argc, char **argv)
{
    pthread_t sampler;
    sample_t before;
    bool good;

    read_arguments(argc, argv);
    printf("--seed %" PRIu64 "\n", the.seed);
    fflush(stdout);
    the.out = the.csv != NULL ? fopen(the.csv, "w") : fopen("/dev/null", "w");
    if (the.out == NULL)
        fail("--csv: the file cannot be written");
    start_server();
    the.began = now_s();
    before = take_sample(); /* whose connection is in it, as in all others */
    nap(200);
    before.fds = count_fds();
    before = await_quiet(&before);
    keep(&before);
    if (pthread_create(&sampler, NULL, sampler_main, NULL) != 0)
        abort();
    do {
        sample_t sample;

        run_cycle();
        sample = await_quiet(&before);
        keep(&sample);
        if (the.cycle == 0) {
            copy_value(&before, &sample, "timers");
            copy_value(&before, &sample, "bus_topics");
            copy_value(&before, &sample, "bus_subscriptions");
        }
        printf("cycle %2u: RSS %" PRIu64 " KiB, heap %" PRIu64 " KiB, %" PRIu64
               " of it for peers, %" PRIu64 " descriptors\n",
               the.cycle, sample.rss_kib, sample.heap / 1024,
               value_of(&sample, "memory_bytes") / 1024, sample.fds);
        fflush(stdout);
        the.cycle++;
    } while ((the.cycle < CYCLES_MIN && !the.calm) || now_s() - the.began < the.minutes * 60);
    pthread_mutex_lock(&the.lock);
    the.over = true;
    pthread_mutex_unlock(&the.lock);
    pthread_join(sampler, NULL);
    stop_server();
    good = judge();
    fclose(the.out);
    free(the.samples);
    printf("%s\n", good ? "it withstands" : "it does NOT withstand");
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
