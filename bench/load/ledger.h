/* bench/load/ledger.h - what was published, what everybody must still get, and what went wrong.
 *
 * A lane is one publisher in one topic; its messages are numbered from zero. A reader is one
 * connection in one topic, and knows which number it must see next in each lane. A publish is over
 * when each reader that counts has it, or is known to have missed it: a reader that gets a later
 * number first has skipped what lies between. What was skipped and comes after all was reordered;
 * at the end of a run what has not come is lost. Every delivery is looked at whole. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/load/histogram.h"
#include "bench/load/speaker.h"

#define LEDGER_NAME_MAX 64u
#define LEDGER_TOPIC_DIGITS 5

typedef struct faults {
    uint64_t lost, duplicate, misrouted, reordered, corrupted, protocol, closed;
    char first[240]; /* what the first one was; empty: none */
} faults_t;

typedef struct topic {
    char name[LEDGER_NAME_MAX];
    size_t name_len;
    buffer_t prefix, suffix; /* of a delivery, around its data */
    bool known;              /* those two */
    uint32_t first_publisher, publishers;
    uint32_t first_lane;
    uint32_t members; /* readers that count */
} topic_t;

/* A publish that is not over. */
typedef struct publish {
    uint64_t stamped_ns;
    uint32_t missing; /* readers */
} publish_t;

typedef struct lane {
    topic_t *topic;
    uint32_t topic_number, publisher;
    uint32_t sent, oldest; /* all below `oldest` are over */
    uint32_t settled;      /* what was missing below is lost for good */
    publish_t *ring;       /* by number modulo size */
    uint32_t size;         /* a power of two */
} lane_t;

typedef struct reader {
    topic_t *topic;    /* NULL: none */
    uint32_t *next;    /* by publisher of the topic */
    uint64_t *skipped; /* likewise, a bit for each of the last 64 numbers; NULL: nothing was */
    uint32_t *since;   /* likewise, what must have come at the latest; NULL: everything must */
    uint32_t conn;     /* its number, for messages */
    bool open;         /* deliveries may come */
    bool counts;       /* publishes wait for it */
    bool lossy;        /* what it skips is no fault: it does not read. Set before it joins */
    uint64_t missed;   /* messages that it skipped, if lossy */
} reader_t;

typedef struct ledger {
    const speaker_t *speaker;
    size_t data_bytes, data_offset, least_bytes; /* of a delivery; SIZE_MAX: not known yet */
    topic_t *topics;
    lane_t *lanes;
    uint32_t topic_count, lane_count;
    uint64_t publishes, deliveries;
    uint64_t outstanding; /* publishes that are not over */
    uint64_t suspects;    /* deliveries that were skipped */
    uint32_t
        *finished; /* lanes, one entry for each publish that is over; the workload takes them */
    size_t finished_count, finished_size;
    histogram_t latency; /* ns */
    faults_t faults;
} ledger_t;

typedef enum fault {
    FAULT_LOST,
    FAULT_DUPLICATE,
    FAULT_MISROUTED,
    FAULT_REORDERED,
    FAULT_CORRUPTED,
    FAULT_PROTOCOL,
    FAULT_CLOSED
} fault_t;

/* Topics named `prefix` and a number. `own`: topic i has publisher i alone; else each of
 * `publishers` publishes in each. Deliveries look like those of `say`. Owned by the caller
 * (ledger_close). */
void ledger_open(ledger_t *ret_ledger, const speaker_t *speaker, say_t say, const char *prefix,
                 uint32_t topics, uint32_t publishers, bool own);
void ledger_close(ledger_t *ledger);

lane_t *ledger_lane(const ledger_t *ledger, uint32_t topic, uint32_t publisher);
/* Counts one more publish in a lane and fills in what it carries. */
void ledger_publish(ledger_t *ledger, lane_t *lane, uint64_t stamped_ns, payload_t *ret_payload);

/* A reader expects what is published from now on; one that does not count may get earlier ones,
 * too. Its `open` is the caller's. */
void ledger_join(ledger_t *ledger, reader_t *reader, uint32_t topic, bool counts);
/* Its answer has come: from here on nothing may be missing. Of readers that do not count. */
void ledger_joined(const ledger_t *ledger, reader_t *reader);
/* Nobody waits for it any more; what it should have got is lost, unless it is lossy. */
void ledger_leave(ledger_t *ledger, reader_t *reader);
/* Messages that a lossy one has not got, whether it is still there or not. */
uint64_t ledger_missed(const ledger_t *ledger, const reader_t *reader);
void reader_dispose(reader_t *reader);

/* A message for one of `count` readers, those of the topics from `first_topic` on. False: it is no
 * delivery for any of them as it should be. */
bool ledger_take(ledger_t *ledger, reader_t *readers, uint32_t count, uint32_t first_topic,
                 const char *message, size_t len, uint64_t now_ns);
/* Whether it carries what a publisher has sent. */
bool ledger_knows(const char *message, size_t len);
/* Says what is wrong with a message that ledger_take() refused; or learns from it how deliveries
 * look, and takes it. */
void ledger_examine(ledger_t *ledger, uint32_t conn, reader_t *readers, uint32_t count,
                    uint32_t first_topic, const char *message, size_t len, uint64_t now_ns);

/* What is skipped or missing is lost. */
void ledger_settle(ledger_t *ledger);
void ledger_fault(ledger_t *ledger, fault_t fault, uint64_t count, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
bool ledger_is_clean(const ledger_t *ledger);
