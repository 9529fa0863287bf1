/* bench/subject.h - the hub under test, in a process of its own, so that its time and memory can be
 * told from those of the benchmark.
 *
 * It serves ws://127.0.0.1:PORT/socket/websocket, and /socket/longpoll beside it, with the channel
 * of channel.h. A pipe answers questions about it. */
#pragma once

#include <sys/types.h>

#include "bench/channel.h"

typedef struct subject_options {
    unsigned threads;     /* 0 means 1 */
    size_t payload_bytes; /* the largest; raises the message limit where it must */
    channel_options_t channel;
} subject_options_t;

typedef struct subject {
    pid_t pid;
    int control;
    uint16_t port;
} subject_t;

typedef struct subject_figures {
    hub_stats_t stats;
    double user_s, system_s; /* of its process since its start */
    double rss_bytes, anon_bytes;
} subject_figures_t;

/* The first call of a benchmark's main(): where this process was started by subject_start() to be
 * the hub, it is that, and this does not return. */
void subject_main(int argc, char **argv);
/* Starts this program once more as the hub, on core 0. Ends the program where it cannot be served.
 */
void subject_start(const subject_options_t *options, subject_t *ret_subject);
subject_figures_t subject_ask(const subject_t *subject);
/* The hub drains and frees everything. Ends the program where that was not in order. */
void subject_stop(subject_t *subject);
