/* bench/subject.h - the hub under test, in a process of its own, so that its time and memory can be
 * told from those of the benchmark.
 *
 * It serves ws://127.0.0.1:PORT/socket/websocket, and /socket/longpoll beside it, with the channel
 * `bench:{id}`: event `msg` is broadcast to the topic with its payload and not answered, `echo` is
 * answered to its sender with its payload, `none` does nothing, `track` tracks a key that is the
 * connection's own and asks for the state. A pipe answers questions about it. */
#pragma once

#include <sys/types.h>

#include <hub/hub.h>

/* What stands between a message and its members. */
typedef enum subject_filter {
    SUBJECT_UNFILTERED,
    SUBJECT_FILTERS_OTHERS, /* on_update, for an event that never comes */
    SUBJECT_FILTERS_ALL,    /* on_update, which keeps everything as it is */
} subject_filter_t;

typedef struct subject_options {
    unsigned threads;       /* 0 means 1 */
    size_t topics_per_conn; /* 0 means the hub's default */
    size_t payload_bytes;   /* the largest; raises the message limit where it must */
    size_t window;          /* publishes outstanding; raises the outbox's bounds likewise */
    subject_filter_t filter;
    unsigned timers_per_member; /* armed at join, due long after the benchmark */
    unsigned presence_keys_max; /* of the channel; 0: it has no presence */
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
