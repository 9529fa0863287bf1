/* test/audience.h - the members of a run with several nodes: hundreds of websockets on one thread,
 * which write down in a history what they ask for and what they hear, and judge nothing.
 *
 * Member m is a connection to node m modulo the nodes. Most join one topic and stay; some, the
 * wanderers, come and go at random, also to topics where they may be alone. Messages are those of
 * audience_payload(). What no server of ours says ends the process. */
#pragma once

#include "test/client.h"
#include "test/history.h"

typedef struct audience audience_t;

typedef struct audience_options {
    history_t *history; /* borrowed; its first members are these */
    uint32_t members;
    const char *const *addresses; /* one for each node */
    uint32_t crowded;             /* who stays is in one of the first topics, so many */
    uint32_t wanderers;           /* the last members */
    uint64_t seed;
} audience_options_t;

/* ---- for whoever else writes down what he hears ---- */

/* The frame of a server at the beginning of `bytes`; its size, 0: it is not whole. */
size_t audience_frame(hub_str_t bytes, client_frame_t *ret_frame);
/* Of a gap push. */
hub_gap_reason_t audience_gap_reason(hub_str_t text);
/* The clock of the history. */
uint64_t audience_now_us(void);
/* The topic's name, and a message's payload, which tells when it was sent. */
#define AUDIENCE_TEXT 96
void audience_topic(char ret_text[AUDIENCE_TEXT], uint32_t topic);
void audience_payload(char ret_text[AUDIENCE_TEXT], uint32_t publisher, uint32_t number,
                      uint64_t sent_us);
#define AUDIENCE_EVENT "said"

/* ---- the audience ---- */

/* Returns when all are connected and all who stay have joined, or have been refused. */
audience_t *audience_start(const audience_options_t *options);
/* Until a message that was sent at `since_us` or later has crossed from each node to each other
 * one, or so long. */
bool audience_await_crossing(audience_t *audience, uint64_t since_us, unsigned timeout_ms);
/* No more coming and going: until every join and leave is answered, or so long. */
bool audience_rest(audience_t *audience, unsigned timeout_ms);
/* Nobody publishes any more: until everybody has heard the newest of all publishers, as far as that
 * was sent at `since_us` or later, or so long. */
bool audience_await_end(audience_t *audience, uint64_t since_us, unsigned timeout_ms);
/* Nothing more is written down. */
void audience_end(audience_t *audience);
/* The same, and ends the connections. */
void audience_stop(audience_t *audience);
