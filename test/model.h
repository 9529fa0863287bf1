/* test/model.h - what one client must hear, by the letter of the protocol: joins, leaves, events,
 * what waits, what ends, in each wire format.
 *
 * It is written from the description of the protocol and shares nothing with the session: a topic
 * is a name, a state and a line of frames, a ref is a piece of text. What it expects are the lines
 * of talk.h, so that a test compares two texts. */
#pragma once

#include "bus/buffer.h"

#define MODEL_TOPICS_LIMIT 3
#define MODEL_PENDING_LIMIT 3
#define MODEL_JOIN_MS 101 /* odd, while steps are even: few deadlines fall together */
#define MODEL_SUSPEND_MS 303

#define MODEL_TOPICS 7
#define MODEL_TOKENS 256

/* Whose member the program stops where a script says so. */
#define MODEL_OTHER "room:b"

/* What a callback does, a letter for each thing, in order:
 *
 *     p  pushes its payload                  s  suspends the member
 *     c  broadcasts its payload              x  stops it, X with an error
 *     o  broadcasts to others                y  stops the member of MODEL_OTHER
 *     r  replies with its payload            t  keeps a token for a later reply
 *     e  replies with an error               n  returns HUB_PENDING
 *     w  replies with a word of its own      f  returns HUB_EPAYLOAD, k HUB_EINTERNAL, b HUB_EBUSY
 *
 * and a join as its last thing: a accepts with a response, j rejects with a detail, J without, d
 * defers. A call that fails ends it, its status is returned. */
typedef struct model_frame {
    const char *topic; /* NULL: no text */
    const char *event;
    const char *ref, *join_ref; /* as they are heard; NULL: null */
    const char *payload;        /* as it is heard */
    const char *script;
    bool is_object; /* or bytes: may be pushed and broadcast in 2.0.0 */
} model_frame_t;

typedef enum model_token_kind { MODEL_REPLY, MODEL_JOIN, MODEL_RESUME } model_token_kind_t;

/* Each is one thing that the protocol promises. A test wants to have met them all. */
#define MODEL_RULES(X)                                                                             \
    X(HEARTBEAT)                                                                                   \
    X(NO_TOPIC)                                                                                    \
    X(JOIN_ACCEPTED)                                                                               \
    X(JOIN_REJECTED)                                                                               \
    X(JOIN_CRASHED)                                                                                \
    X(JOIN_UNMATCHED)                                                                              \
    X(JOIN_LIMIT)                                                                                  \
    X(JOIN_SENDS)                                                                                  \
    X(JOIN_REFUSED_SENDS)                                                                          \
    X(JOIN_AGAIN)                                                                                  \
    X(JOIN_AGAIN_PENDING)                                                                          \
    X(JOIN_AGAIN_REFUSED)                                                                          \
    X(JOIN_AGAIN_WAITS)                                                                            \
    X(LATER_ACCEPTED)                                                                              \
    X(LATER_REJECTED)                                                                              \
    X(LATER_TIMEOUT)                                                                               \
    X(LATER_REPLY)                                                                                 \
    X(LATER_NOBODY)                                                                                \
    X(LEAVE)                                                                                       \
    X(LEAVE_UNJOINED)                                                                              \
    X(LEAVE_PENDING)                                                                               \
    X(UNJOINED)                                                                                    \
    X(STALE)                                                                                       \
    X(WAITED)                                                                                      \
    X(WAITED_TOO_MANY)                                                                             \
    X(WAITED_IN_VAIN)                                                                              \
    X(WAITED_BEHIND_LEAVE)                                                                         \
    X(RESUMED)                                                                                     \
    X(RESUMED_BY_TIME)                                                                             \
    X(RESERVED)                                                                                    \
    X(UNKNOWN)                                                                                     \
    X(FAILED)                                                                                      \
    X(FAILED_AFTER_REPLY)                                                                          \
    X(STOPPED)                                                                                     \
    X(STOPPED_WITH_ERROR)                                                                          \
    X(STOPPED_BY_ANOTHER)                                                                          \
    X(STOPPED_PENDING)                                                                             \
    X(ACKED)                                                                                       \
    X(BYTES)                                                                                       \
    X(NOT_AN_OBJECT)

typedef enum model_rule {
#define MODEL_RULE_ENUM(name) MODEL_##name,
    MODEL_RULES(MODEL_RULE_ENUM)
#undef MODEL_RULE_ENUM
        MODEL_RULE_COUNT
} model_rule_t;

const char *model_rule_name(model_rule_t rule);

typedef struct model_member {
    const char *topic;
    enum { MODEL_ABSENT, MODEL_JOINING, MODEL_PENDING, MODEL_JOINED } state;
    const char *join_ref;
    model_frame_t join;
    model_frame_t line[MODEL_PENDING_LIMIT];
    size_t waiting;
    bool suspended, stopping, stopping_by_error;
    uint64_t due_ms; /* of the pending join, or of the suspension */
    unsigned serial;
    hub__buffer_t held; /* what waits for the join's reply */
} model_member_t;

typedef struct model_token {
    model_token_kind_t kind;
    unsigned serial;
    const char *ref;
} model_token_t;

typedef struct model {
    int dialect; /* of talk.h */
    uint64_t now_ms;
    model_member_t members[MODEL_TOPICS];
    model_token_t tokens[MODEL_TOKENS];
    size_t token_count;
    unsigned serial;
    unsigned joins;      /* that were asked for, but for those of who is there already */
    hub__buffer_t lines; /* what must have been heard */
    bool undefined;      /* two things at once, in an order that nobody promised */
    unsigned met[MODEL_RULE_COUNT];
} model_t;

/* Rules that were met stay. */
void model_begin(model_t *model, int dialect, uint64_t now_ms);
void model_dispose(model_t *model);

void model_hear(model_t *model, const model_frame_t *frame);
void model_turn(model_t *model);
/* Ends turns as well. */
void model_pass(model_t *model, uint64_t ms);
/* What the token stands for is done: a join or a reply is accepted or refused, a member goes on. */
void model_complete(model_t *model, size_t token, bool accepts);
/* The connection ends: exits in any order. */
void model_end(model_t *model);
