/* SPDX-License-Identifier: MIT */
/* Figures are compared by what they were measured with, so that nothing may depend on a default
 * that nobody sees: what was not given is filled in here, and printed with the rest. */
#define _GNU_SOURCE
#include "bench/load/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/load/ledger.h"
#include "bench/load/payload.h"
#include "bench/load/speaker.h"
#include "bench/options.h"
#include "bench/report.h"

#define CONNS_MAX 1000000ul
#define TIME_MAX_MS 86400000ul
#define PUBLISHES_MAX 4000000000ul

const char *const WORKLOADS[] = {"fanout", "rooms", "echo", "idle", "connect", "churn", "slow"};
static const char *const SPEAKER_NAMES[] = SPEAKERS;

static settings_t settings = {.topic_prefix = "bench:",
                              .publishers = 1,
                              .payload = 128,
                              .warmup_ms = 300,
                              .duration_ms = 1000,
                              .lost_ms = 5000,
                              .churn_rate = 1000,
                              .churn_conns = 100,
                              .settle_ms = 5000,
                              .pin = UNPINNED};

/* What a workload is without being told. */
static const struct {
    unsigned long conns, members_per_topic, topics, window, runs;
} DEFAULTS[] = {[WORKLOAD_FANOUT] = {1000, 0, 1, 1, 5},    [WORKLOAD_ROOMS] = {0, 10, 1000, 1, 5},
                [WORKLOAD_ECHO] = {100, 1, 0, 0, 5},       [WORKLOAD_IDLE] = {10000, 10, 0, 64, 1},
                [WORKLOAD_CONNECT] = {5000, 10, 0, 64, 5}, [WORKLOAD_CHURN] = {1000, 0, 10, 16, 5},
                [WORKLOAD_SLOW] = {1000, 0, 1, 1, 5}};

static const char HELP[] =
    "\n"
    "Every delivery is checked. Exit status: 0 when nothing was lost, doubled, misrouted, "
    "reordered,\n"
    "corrupted, closed or out of protocol; 1 otherwise, or when it could not be measured; 2 for a\n"
    "wrong command line.\n"
    "\n"
    "Workloads:\n"
    "  fanout   --publishers publish to --topics, which --conns members are spread over\n"
    "  rooms    the same with many small topics: ten members each\n"
    "  echo     each of --conns sends and gets its own reply; a delivery is a reply\n"
    "  idle     memory per connection: all join topics of ten, nothing is said for --settle-ms\n"
    "  connect  connects, upgrades and joins --conns, --window at a time; --storm: all at once, "
    "after\n"
    "           all were there and have closed\n"
    "  churn    a fan-out while --churn-conns others join and leave, --churn-rate joins a second\n"
    "  slow     a fan-out with --slow members that do not read; the others are measured\n"
    "\n"
    "Publishers are connections of their own, which are members of all topics, and hear "
    "themselves,\n"
    "only where a server takes messages from members alone (native, 1.0.0, 2.0.0); with nchan "
    "each\n"
    "has one connection for each topic. Publishes walk over topics and publishers. What is due in "
    "one\n"
    "turn of the loop leaves in one write for each publisher: with --window 64 and one publisher, "
    "the\n"
    "publishes that take the place of all that were over. With --rate a message is stamped with "
    "the\n"
    "time at which it was due, so that a stall is a latency, whoever stalled.\n"
    "\n"
    "Built-in formats of --speak: native (default), 1.0.0 and 2.0.0 (Phoenix), text (as "
    "bench/floor.c\n"
    "says), socket.io, nchan, nats, mqtt. --template FILE is for others: lines `key = value`, "
    "with\n"
    "\\r \\n \\t \\s (a space) \\\\ and \\xHH, and in what is sent {topic} {payload} "
    "{payload_bytes} {ref}\n"
    "{conn}. `load --speak text --print-template` prints a built-in one. Its keys, and what they "
    "are\n"
    "where they are missing:\n";

static void take_pid(const char *name, const char *value)
{
    if (settings.server.named_count == PROCESSES_NAMED)
        options_fail("--%s %s: more than %u", name, value, PROCESSES_NAMED);
    settings.server.named[settings.server.named_count++] =
        (pid_t)options_number(name, value, 1, INT32_MAX);
}

static void take_label(const char *name, const char *value)
{
    if (strchr(value, '=') == NULL || *value == '=')
        options_fail("--%s '%s': not KEY=VALUE", name, value);
    if (settings.label_count == LABELS_MAX)
        options_fail("--%s %s: more than %u", name, value, LABELS_MAX);
    settings.labels[settings.label_count++] = value;
}

static void fill_in(unsigned long *option, unsigned long value)
{
    if (*option == 0)
        *option = value;
}

static void resolve(void)
{
    unsigned long workload = settings.workload, each = DEFAULTS[workload].members_per_topic;

    if (settings.conns == 0 && settings.topics != 0 && each != 0)
        settings.conns = settings.topics * each;
    if (settings.conns == 0)
        settings.conns = DEFAULTS[workload].conns != 0 ? DEFAULTS[workload].conns
                                                       : DEFAULTS[workload].topics * each;
    fill_in(&settings.topics,
            each != 0 ? (settings.conns + each - 1) / each : DEFAULTS[workload].topics);
    fill_in(&settings.window,
            workload == WORKLOAD_ECHO ? settings.conns : DEFAULTS[workload].window);
    fill_in(&settings.runs, DEFAULTS[workload].runs);
    if (workload == WORKLOAD_SLOW)
        fill_in(&settings.slow, (settings.conns + 9) / 10);
    if (workload == WORKLOAD_ECHO)
        settings.publishers = settings.conns;
    if (workload != WORKLOAD_CHURN)
        settings.churn_rate = settings.churn_conns = 0;
    if (workload != WORKLOAD_IDLE)
        settings.settle_ms = 0;
    if (workload == WORKLOAD_IDLE || workload == WORKLOAD_CONNECT)
        settings.publishers = settings.duration_ms = 0;
    settings.progress |= isatty(STDERR_FILENO) == 1 && !settings.json;
}

static void check(void)
{
    unsigned long workload = settings.workload;

    if (settings.url_text == NULL)
        options_fail("--url is missing: ws://HOST:PORT/PATH");
    url_parse(&settings.url, "url", "ws", settings.url_text);
    settings.publish_url = settings.url;
    if (settings.publish_url_text != NULL)
        url_parse(&settings.publish_url, "publish-url", "ws", settings.publish_url_text);
    if (strcmp(settings.url.path, settings.publish_url.path) != 0)
        options_fail("--publish-url '%s': another path than --url", settings.publish_url_text);
    if (settings.topics > settings.conns)
        options_fail("--topics %lu: more than --conns %lu", settings.topics, settings.conns);
    if (settings.topics > PAYLOAD_TOPICS_MAX)
        options_fail("--topics %lu: more than %u", settings.topics, PAYLOAD_TOPICS_MAX);
    if (workload == WORKLOAD_ECHO && settings.topics != settings.conns)
        options_fail("--topics %lu: each connection of echo has one of its own", settings.topics);
    if (workload == WORKLOAD_SLOW && settings.slow > settings.conns - settings.topics)
        options_fail("--slow %lu: no reader is left for some of --topics %lu", settings.slow,
                     settings.topics);
    if (workload == WORKLOAD_IDLE && settings.runs != 1)
        options_fail("--runs %lu: memory that was used once is not given back, idle has one run",
                     settings.runs);
    if (settings.storm && workload != WORKLOAD_CONNECT)
        options_fail("--storm is for the workload connect");
    if (strlen(settings.topic_prefix) + LEDGER_TOPIC_DIGITS >= LEDGER_NAME_MAX)
        options_fail("--topic-prefix '%s': too long", settings.topic_prefix);
}

static const char *help_text(void)
{
    static char *text;
    size_t size;
    FILE *to = open_memstream(&text, &size);

    if (to == NULL)
        bench_fail("out of memory");
    fputs(HELP, to);
    template_print_keys(to);
    fclose(to);
    return text;
}

const settings_t *settings_read(int argc, char **argv)
{
    bool print_template = false;
    settings_t *s = &settings;
    const option_row_t rows[] = {
        {"url", "ws://HOST:PORT/PATH; the path may be missing", .text = &s->url_text},
        {"publish-url", "where publishers connect: another node; the same path as --url",
         .text = &s->publish_url_text},
        {"speak", "the format: native, 1.0.0, 2.0.0, text, socket.io, nchan, nats or mqtt",
         .number = &s->speak, .max = SPEAKER_LAST, .words = SPEAKER_NAMES},
        {"template", "a file with another format", .text = &s->template_path},
        {"print-template", "prints that of --speak, and ends", .given = &print_template},
        {"workload", "fanout, rooms, echo, idle, connect, churn or slow", .number = &s->workload,
         .max = WORKLOAD_SLOW, .words = WORKLOADS},
        {"conns",
         "members; 0: 1000, 10 a topic in rooms, 100 in echo, 10000 in idle, 5000 in connect",
         .number = &s->conns, .max = CONNS_MAX},
        {"topics",
         "that they are spread over; 0: 1, 1000 in rooms, 10 in churn, else a tenth of --conns",
         .number = &s->topics, .max = CONNS_MAX},
        {"topic-prefix", "of their names, which a number follows", .text = &s->topic_prefix},
        {"publishers", "beside the members", .number = &s->publishers, .min = 1,
         .max = PAYLOAD_PUBLISHERS_MAX},
        {"window", "publishes under way; 0: 1, 16 in churn, --conns in echo", .number = &s->window,
         .max = 1000000},
        {"rate", "publishes a second, whatever is under way; 0: --window", .number = &s->rate,
         .max = 10000000},
        {"payload", "bytes of a message", .number = &s->payload, .min = 1,
         .max = PAYLOAD_BYTES_MAX},
        {"warmup-ms", "before the first run", .number = &s->warmup_ms, .max = TIME_MAX_MS},
        {"duration-ms", "of each run", .number = &s->duration_ms, .min = 1, .max = TIME_MAX_MS},
        {"publishes", "of each run, in place of --duration-ms; 0: as many as fit",
         .number = &s->publishes, .max = PUBLISHES_MAX},
        {"runs", "one after another; 0: 5, and 1 in idle", .number = &s->runs,
         .max = REPORT_RUNS_MAX},
        {"lost-ms", "without any delivery, then what is missing is lost", .number = &s->lost_ms,
         .min = 1, .max = TIME_MAX_MS},
        {"churn-rate", "joins a second", .number = &s->churn_rate, .min = 1, .max = 1000000},
        {"churn-conns", "connections that join and leave", .number = &s->churn_conns, .min = 1,
         .max = CONNS_MAX},
        {"slow", "members that do not read; 0: a tenth", .number = &s->slow, .max = CONNS_MAX},
        {"settle-ms", "of silence before memory is read", .number = &s->settle_ms,
         .max = TIME_MAX_MS},
        {"rss-base", "bytes of the server without connections; 0: read before the first",
         .number = &s->rss_base, .max = ~0ul},
        {"storm", "connect: all at once", .given = &s->storm},
        {"publishers-join", "publishers are members of all topics, whatever the format asks for",
         .given = &s->publishers_join},
        {"pid", "a process of the server; may be given several times", .each = take_pid},
        {"metrics", "http://HOST:PORT/PATH of the server's counters", .text = &s->metrics},
        {"pin", "the core for this program; 1024: any", .number = &s->pin, .max = UNPINNED},
        {"label", "KEY=VALUE, to be printed; may be given several times", .each = take_label},
        {"json", "one JSON object on stdout instead of a table", .given = &s->json},
        {"progress", "a line on stderr, also where that is no terminal", .given = &s->progress},
        {.name = NULL, .help = help_text()}};

    options_read(argc, argv, rows);
    if (print_template) {
        fputs(speaker_text(s->speak), stdout);
        exit(EXIT_SUCCESS);
    }
    resolve();
    check();
    return s;
}

/* ---- printing ---- */

typedef struct entry {
    const char *name;
    const char *text; /* NULL: a number */
    unsigned long number;
} entry_t;

#define ENTRIES 27u

static size_t list(const settings_t *s, entry_t *entries)
{
    const entry_t all[] = {
        {"url", s->url_text, 0},
        {"publish-url", s->publish_url_text != NULL ? s->publish_url_text : "", 0},
        {"speak", s->template_path == NULL ? SPEAKER_NAMES[s->speak] : "", 0},
        {"template", s->template_path != NULL ? s->template_path : "", 0},
        {"workload", WORKLOADS[s->workload], 0},
        {"conns", NULL, s->conns},
        {"topics", NULL, s->topics},
        {"topic-prefix", s->topic_prefix, 0},
        {"publishers", NULL, s->publishers},
        {"window", NULL, s->window},
        {"rate", NULL, s->rate},
        {"payload", NULL, s->payload},
        {"warmup-ms", NULL, s->warmup_ms},
        {"duration-ms", NULL, s->duration_ms},
        {"publishes", NULL, s->publishes},
        {"runs", NULL, s->runs},
        {"lost-ms", NULL, s->lost_ms},
        {"churn-rate", NULL, s->churn_rate},
        {"churn-conns", NULL, s->churn_conns},
        {"slow", NULL, s->slow},
        {"settle-ms", NULL, s->settle_ms},
        {"rss-base", NULL, s->rss_base},
        {"storm", NULL, s->storm},
        {"publishers-join", NULL, s->publishers_join},
        {"metrics", s->metrics != NULL ? s->metrics : "", 0}};

    memcpy(entries, all, sizeof(all));
    return sizeof(all) / sizeof(*all);
}

void settings_print_members(const settings_t *s)
{
    entry_t entries[ENTRIES];
    size_t count = list(s, entries);

    for (size_t i = 0; i != count; ++i) {
        printf("%s\"%s\":", i == 0 ? "" : ",", entries[i].name);
        if (entries[i].text != NULL)
            report_print_text(entries[i].text);
        else
            printf("%lu", entries[i].number);
    }
}

void settings_print_line(const settings_t *s)
{
    entry_t entries[ENTRIES];
    size_t count = list(s, entries);

    for (size_t i = 0; i != count; ++i) {
        if (entries[i].text == NULL && entries[i].number != 0)
            printf(" --%s %lu", entries[i].name, entries[i].number);
        else if (entries[i].text != NULL && *entries[i].text != '\0')
            printf(" --%s %s", entries[i].name, entries[i].text);
    }
}
