/* test/pusher.h - a publisher that is a client: it pushes on a websocket of its own
 * (Phoenix 2.0.0) and takes the replies for its answers. It must be a member of all topics for
 * that, so what it hears is written down as well, for a member of the history each: `member` and
 * the following. */
#pragma once

#include "test/history.h"

typedef struct pusher pusher_t;

typedef struct pusher_options {
    history_t *history;  /* borrowed */
    const char *address; /* of its node */
    uint32_t publisher;
    uint32_t member;
    uint32_t topics; /* the first ones, so many */
} pusher_options_t;

/* Returns when it has joined its topics. */
pusher_t *pusher_start(const pusher_options_t *options);
/* Sends it; the answer goes into the history when it comes. One thread at a time. */
void pusher_say(pusher_t *pusher, uint32_t topic);
/* Until all that it said is answered, or so long. */
bool pusher_await_answers(pusher_t *pusher, unsigned timeout_ms);
/* As audience_await_end(). */
bool pusher_await_end(pusher_t *pusher, uint64_t since_us, unsigned timeout_ms);
/* Nothing more is written down. */
void pusher_end(pusher_t *pusher);
void pusher_stop(pusher_t *pusher); /* NULL is allowed. */
