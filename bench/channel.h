/* bench/channel.h - the channel that benchmarks talk to, whichever server it is on.
 *
 * `bench:{id}`: event `msg` is broadcast to the topic with its payload and not answered, `echo` is
 * answered to its sender with its payload, `none` does nothing, `track` tracks a key that is the
 * connection's own and asks for the state. */
#pragma once

#include <hub/hub.h>

/* What stands between a message and its members. */
typedef enum channel_filter {
    CHANNEL_UNFILTERED,
    CHANNEL_FILTERS_OTHERS, /* on_update, for an event that never comes */
    CHANNEL_FILTERS_ALL,    /* on_update, which keeps everything as it is */
} channel_filter_t;

/* All zero is the plain channel. */
typedef struct channel_options {
    channel_filter_t filter;
    unsigned timers_per_member; /* armed at join, due long after the benchmark */
    unsigned presence_keys_max; /* 0: it has no presence */
    hub_error_t *ret_error;     /* filled on failure; may be NULL */
} channel_options_t;

/* Adds the channel. `options` must outlive the hub. */
hub_status_t channel_add(hub_t *hub, const channel_options_t *options);
/* Adds `count` further channels that no benchmark joins, of four shapes around the one above: a
 * prefix and a parameter, a prefix and two, no parameter, and what begins as the channel does. */
hub_status_t channel_add_others(hub_t *hub, unsigned long count, hub_error_t *error);
/* The defaults but for what would end a benchmark: no rates, and as many clients without a poll as
 * there are. */
hub_limits_t channel_limits(void);
