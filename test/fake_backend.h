/* test/fake_backend.h - a broker within the process, for up to four buses, that fails on command.
 *
 * Pass `&fake_backend` and the broker as backend and backend_options. What buses hand over waits
 * until fake_broker_run() carries it on the calling thread, or goes by a thread of the broker's own
 * after fake_broker_start(). A bus is connected by the first of these. */
#pragma once

#include "bus/backend.h"

typedef struct fake_broker fake_broker_t;

typedef enum fake_answers {
    FAKE_ANSWERS_NOW,
    FAKE_ANSWERS_LATE, /* kept until fake_broker_answer_late() */
    FAKE_ANSWERS_NEVER,
    FAKE_ANSWERS_TWICE,
} fake_answers_t;

typedef struct fake_faults {
    unsigned lose; /* this many of the next messages, acknowledged all the same */
    bool twice;    /* each message is delivered two times */
    bool swap;     /* each message is delivered behind the next one */
    bool slow;     /* nothing is carried until this is taken back */
    bool deaf;     /* nothing is delivered to anybody, though all is taken and acknowledged */
    bool silent;   /* no subscription is confirmed */
    unsigned unconfirmed; /* this many of the next subscriptions are taken, and never confirmed */
    bool late;            /* none is taken until this is taken back, while all else goes on */
    bool stuck;           /* nobody connects anew, whoever asks for it */
    fake_answers_t answers;
    hub_status_t verdict;       /* the broker's answer, HUB_OK to accept */
    hub_status_t refuse;        /* what publish() returns, HUB_OK to take it */
    hub_status_t refuse_topics; /* subscriptions are refused with it, HUB_OK to take them */
    size_t largest;             /* of the bytes; 0: SIZE_MAX */
    const hub_bus_t *mute;      /* what this one publishes is lost, acknowledged all the same */
} fake_faults_t;

extern const hub_bus_backend_t fake_backend;

fake_broker_t *fake_broker_create(void);
/* After its buses. */
void fake_broker_destroy(fake_broker_t *broker);
void fake_broker_start(fake_broker_t *broker);
void fake_broker_run(fake_broker_t *broker);
/* Carries one thing. */
void fake_broker_step(fake_broker_t *broker);
/* Until everything handed over so far was carried by the thread. */
void fake_broker_settle(fake_broker_t *broker);
void fake_broker_set(fake_broker_t *broker, fake_faults_t faults);
void fake_broker_answer_late(fake_broker_t *broker);
/* Forgets the subscriptions of the bus. Its messages on the way still arrive, and so do their
 * answers, too late. */
void fake_broker_disconnect(fake_broker_t *broker, hub_bus_t *bus);
void fake_broker_connect(fake_broker_t *broker, hub_bus_t *bus);
/* Bytes as if they had come for `topic`, whatever it is. */
void fake_broker_inject(fake_broker_t *broker, hub_bus_t *bus, hub_str_t topic, hub_str_t bytes);
/* How often the bus asked for a new connection. */
unsigned fake_broker_reconnects(fake_broker_t *broker, const hub_bus_t *bus);
/* The bytes of the last message that a bus published, but for probes; borrowed until the next one.
 */
hub_str_t fake_broker_last_bytes(const fake_broker_t *broker);
/* How many messages and positions were published. */
unsigned fake_broker_published(fake_broker_t *broker);
/* The topics that `bus` has subscribed, but for its probe's; a topic subscribed twice counts as a
 * thousand. */
size_t fake_broker_subscriptions(fake_broker_t *broker, const hub_bus_t *bus);
