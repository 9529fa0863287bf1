/* SPDX-License-Identifier: MIT */
/* load - puts any websocket server under load, checks every delivery, and says what it cost. See
 * README.md. */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/load/crew.h"
#include "bench/load/load.h"
#include "bench/load/output.h"
#include "bench/options.h"

#define DESCRIPTORS_BESIDE 32u /* epoll, files of /proc, the standard ones */

/* Whether so many connections may be open at all. */
static void check_descriptors(const load_t *load)
{
    const settings_t *settings = load->settings;
    unsigned long limit = bench_raise_nofile();
    unsigned long needed = settings->conns + DESCRIPTORS_BESIDE;

    if (settings->workload != WORKLOAD_ECHO && settings->workload != WORKLOAD_IDLE &&
        settings->workload != WORKLOAD_CONNECT)
        needed += settings->publishers *
                  (speaker_publishes_by_path(&load->speaker) ? settings->topics : 1);
    if (settings->workload == WORKLOAD_CHURN)
        needed += settings->churn_conns;
    if (needed > limit)
        bench_fail("--conns %lu: %lu descriptors are needed, and no more than %lu may be open here "
                   "(the hard limit of RLIMIT_NOFILE, `ulimit -Hn`)",
                   settings->conns, needed, limit);
}

/* What a speaker cannot say, a workload cannot ask for. */
static void check_speaker(const load_t *load)
{
    const settings_t *settings = load->settings;
    const template_t *template = &load->speaker.template;

    if (settings->workload == WORKLOAD_ECHO && !text_is_set(&template->echo))
        options_fail("--workload echo: %s answers nobody alone", load->speaker.name);
    if (settings->workload == WORKLOAD_CHURN &&
        (!speaker_joins(&load->speaker) || !text_is_set(&template->leave)))
        options_fail("--workload churn: %s has no join and leave of its own", load->speaker.name);
    if (strcmp(settings->url.path, "/") != 0 &&
        (text_has(&template->path, PART_TOPIC) || text_has(&template->publish_path, PART_TOPIC)))
        options_fail("--url %s: the paths of %s have the topic in them, leave it out",
                     settings->url_text, load->speaker.name);
}

/* A query is part of the format; a path alone is only another place for it. */
static const char *path_of(const load_t *load)
{
    static char path[1024];
    const char *given = load->settings->url.path;
    const text_t *own = &load->speaker.template.path;
    const char *query = text_is_set(own) ? strchr(own->bytes, '?') : NULL;

    if (strcmp(given, "/") == 0)
        return NULL;
    snprintf(path, sizeof(path), "%s%s", given,
             strchr(given, '?') == NULL && query != NULL ? query : "");
    return path;
}

static void open_ledger(load_t *load)
{
    const settings_t *settings = load->settings;
    bool echo = settings->workload == WORKLOAD_ECHO;

    ledger_open(&load->ledger, &load->speaker, echo ? SAY_ECHO : SAY_PUBLISH,
                settings->topic_prefix, (uint32_t)settings->topics,
                settings->publishers != 0 ? (uint32_t)settings->publishers : 1, echo);
}

static void open_load(load_t *load)
{
    const settings_t *settings = load->settings;
    const char *source;
    pid_t missing;

    speaker_open(&load->speaker, settings->speak, settings->template_path, settings->payload);
    check_speaker(load);
    check_descriptors(load);
    if (settings->pin != UNPINNED)
        options_pin(settings->pin);
    open_ledger(load);
    crowd_open(&load->crowd, &load->speaker, &load->ledger, settings->url.host, settings->url.port,
               path_of(load));
    loop_set_other(&load->crowd.loop, settings->publish_url.host, settings->publish_url.port);
    load->server = settings->server;
    load->report = report_create(WORKLOADS[settings->workload]);
    if ((missing = processes_find(&load->server)) != 0)
        bench_fail("--pid %d: there is no such process", (int)missing);
    load->rss_base = settings->rss_base != 0 ? settings->rss_base : processes_rss(&load->server);
    load->kernel_base = kernel_bytes(&source);
}

static void close_load(load_t *load)
{
    crew_dispose(load);
    crowd_close(&load->crowd);
    ledger_close(&load->ledger);
    speaker_close(&load->speaker);
    report_close(load->report);
}

int main(int argc, char **argv)
{
    static void (*const workloads[])(load_t *) = {
        [WORKLOAD_FANOUT] = workload_fanout,   [WORKLOAD_ROOMS] = workload_fanout,
        [WORKLOAD_ECHO] = workload_echo,       [WORKLOAD_IDLE] = workload_idle,
        [WORKLOAD_CONNECT] = workload_connect, [WORKLOAD_CHURN] = workload_churn,
        [WORKLOAD_SLOW] = workload_slow};
    static load_t load;
    bool clean;

    signal(SIGPIPE, SIG_IGN);
    load.settings = settings_read(argc, argv);
    open_load(&load);
    workloads[load.settings->workload](&load);
    output_print(&load);
    clean = ledger_is_clean(&load.ledger);
    close_load(&load);
    return clean ? EXIT_SUCCESS : EXIT_FAILURE;
}
