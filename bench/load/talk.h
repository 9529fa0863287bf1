/* bench/load/talk.h - a connection's conversation: greeting, hello, joins, answers; everything that
 * is not a delivery. Deliveries go to the ledger, and what is neither is a fault.
 *
 * A crowd is all connections of a run with what they share. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/load/conn.h"
#include "bench/load/ledger.h"
#include "bench/load/speaker.h"

typedef enum talk_stage {
    TALK_AWAY,
    TALK_GREETING, /* connecting, too */
    TALK_HELLO,
    TALK_ENTERING, /* joins its topics for the first time */
    TALK_READY,
    TALK_JOINING,
    TALK_LEAVING
} talk_stage_t;

/* What it is there for; members and joining publishers join their topics when they enter. */
typedef struct talk {
    conn_t conn; /* the first member, for handlers */
    talk_stage_t stage;
    bool publishes;     /* uses the path of publishers */
    bool joins;         /* its topics, when it enters */
    bool counts;        /* as a reader does */
    bool lossy;         /* likewise */
    bool may_end;       /* an end that the server makes is no fault */
    int receive_buffer; /* of the kernel; 0: as it is */
    uint32_t first_topic, topic_count;
    reader_t *readers;        /* of its topics */
    uint32_t asked;           /* of them, to join when it enters */
    uint32_t greetings;       /* that have to come */
    uint32_t answers;         /* likewise, to hello, join or leave */
    uint64_t publish_answers; /* likewise */
    uint64_t asked_ns;        /* when it wanted to join */
    struct talk *next_refused;
} talk_t;

typedef struct crowd {
    loop_t loop;
    const speaker_t *speaker;
    ledger_t *ledger;
    const char *path;       /* of --url, in place of the template's; NULL: none */
    uint64_t entered, left; /* connections, ever */
    uint64_t joins, leaves; /* that were answered, of those that had entered */
    uint64_t ended;         /* by the server, where that may be */
    uint64_t refused;       /* likewise, before they had entered */
    talk_t *refused_ones;   /* that are to try again */
    histogram_t join_latency;
    uint32_t refs;
} crowd_t;

/* `path`: as in crowd_t, borrowed. Owned by the caller (crowd_close). */
void crowd_open(crowd_t *ret_crowd, const speaker_t *speaker, ledger_t *ledger, const char *host,
                const char *port, const char *path);
void crowd_close(crowd_t *crowd);

/* Prepares a connection for `topic_count` topics from `first_topic` on. It connects when it is told
 * to. */
void talk_prepare(talk_t *talk, uint32_t number, uint32_t first_topic, uint32_t topic_count);
void talk_dispose(talk_t *talk);

/* Begins to connect; the rest follows from what the server says. */
void talk_enter(crowd_t *crowd, talk_t *talk);
/* Lets all enter, at most `under_way` at a time, and waits for them. One that can't ends the
 * program. */
void crowd_enter(crowd_t *crowd, talk_t *talks, size_t count, size_t under_way);
/* Closes all and waits until they are; those that take too long are dropped. What the server has
 * sent before its answer is read and checked: a message too many may be the last one. */
void crowd_leave(crowd_t *crowd, talk_t *talks, size_t count);

/* Of one that has entered, with one topic. */
void talk_join(crowd_t *crowd, talk_t *talk, uint32_t topic);
void talk_leave(crowd_t *crowd, talk_t *talk);
/* `say` is SAY_PUBLISH or SAY_ECHO. */
void talk_publish(crowd_t *crowd, talk_t *talk, say_t say, lane_t *lane, uint64_t stamped_ns);
