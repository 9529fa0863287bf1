/* bench/load/settings.h - the command line, with every default resolved. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "bench/load/process.h"
#include "bench/load/url.h"

#define LABELS_MAX 32u
#define UNPINNED 1024ul

typedef enum workload {
    WORKLOAD_FANOUT,
    WORKLOAD_ROOMS,
    WORKLOAD_ECHO,
    WORKLOAD_IDLE,
    WORKLOAD_CONNECT,
    WORKLOAD_CHURN,
    WORKLOAD_SLOW
} workload_t;

typedef struct settings {
    const char *url_text, *publish_url_text, *template_path, *metrics, *topic_prefix;
    url_t url, publish_url; /* the second is where publishers connect */
    unsigned long speak, workload;
    unsigned long conns, topics, publishers, window, rate, payload;
    unsigned long warmup_ms, duration_ms, publishes, runs, lost_ms;
    unsigned long churn_rate, churn_conns, slow, settle_ms, rss_base, pin;
    bool json, progress, storm, publishers_join;
    processes_t server;             /* those that --pid names */
    const char *labels[LABELS_MAX]; /* KEY=VALUE */
    size_t label_count;
} settings_t;

extern const char *const WORKLOADS[];

/* Ends the program where anything is wrong. The settings are valid until the program ends. */
const settings_t *settings_read(int argc, char **argv);
/* As the members of an object. */
void settings_print_members(const settings_t *settings);
/* As they could have been given. */
void settings_print_line(const settings_t *settings);
