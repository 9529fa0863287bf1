/* bus/nats_taken.h - private: what the stream that orders said to each message. It answers in the
 * order in which it was sent them, but not all: what permissions forbid never came to it, and what
 * its server had not stored when it ended is gone. So a message is numbered, and is taken when its
 * own answer says so. Answers wait here until the barrier behind them is back. */
#pragma once

#include "bus/base.h"

typedef enum hub__nats_word {
    HUB__NATS_SILENT, /* nothing was said, or nothing that makes sense */
    HUB__NATS_TAKEN,
    HUB__NATS_REFUSED,
} hub__nats_word_t;

typedef struct hub__nats_taken {
    uint64_t *words; /* twice the number, and 1 where it was refused; in order */
    size_t first;
    size_t end;
    size_t capacity;
    uint64_t asked; /* the number of the last message; counts from 1 */
    uint64_t noted; /* of the last answer */
} hub__nats_taken_t;

uint64_t hub__nats_taken_number(hub__nats_taken_t *taken); /* of the next message */
/* Answers to what was not asked, once more, or out of order are ignored. */
void hub__nats_taken_note(hub__nats_taken_t *taken, uint64_t number, hub__nats_word_t word);
/* What was said; numbers only ever rise. */
hub__nats_word_t hub__nats_taken_word(hub__nats_taken_t *taken, uint64_t number);
void hub__nats_taken_dispose(hub__nats_taken_t *taken);
