/* channels/envelope.h - private: {topic, event, payload, ref, join_ref} and what goes out.
 *
 * Refs are raw JSON tokens in canonical form: a string's escapes are resolved and only the
 * necessary ones written again, so that two tokens are equal exactly when the JSON values are; null
 * is the absent token. Topic and event are decoded text. Everything is borrowed: from the frame, or
 * from the scratch where a string had escapes. */
#pragma once

#include "bus/buffer.h"
#include "bus/message.h"

typedef struct hub__envelope {
    hub_str_t topic;
    hub_str_t
        topic_token; /* of a frame that is refused: its topic where that is no text, as JSON */
    hub_str_t event;
    hub_str_t ref;
    hub_str_t join_ref;
    hub_payload_t payload;
} hub__envelope_t;

typedef struct hub__envelope_limits {
    size_t topic_bytes;    /* 255 */
    size_t event_bytes;    /* 64 */
    size_t ref_bytes;      /* 32, a string's quotes not counted */
    size_t envelope_depth; /* 8 */
    size_t payload_depth;  /* 64 */
} hub__envelope_limits_t;

/* Where decoded strings go; one per worker. */
typedef struct hub__envelope_scratch {
    char bytes[4096];
    size_t used;
} hub__envelope_scratch_t;

/* What the hub sends, before a dialect gives it its form. */
typedef enum hub__out_kind {
    HUB__OUT_REPLY, /* answers `ref`; `status` is "ok", "error" or a word of the program's; payload
                       is the response */
    HUB__OUT_PUSH,  /* an event to one member */
    HUB__OUT_BROADCAST, /* an event to all members: no ref, no join_ref, one encoding serves all */
    HUB__OUT_CLOSE,     /* the member ended normally */
    HUB__OUT_ERROR,     /* the member crashed */
} hub__out_kind_t;

typedef struct hub__outgoing {
    hub__out_kind_t kind;
    hub_str_t topic; /* absent: null, for an answer to an envelope whose topic could not be read */
    hub_str_t topic_token; /* JSON that stands in place of the topic; mostly absent */
    hub_str_t event;       /* of a push or broadcast */
    hub_str_t status;      /* of a reply */
    hub_str_t ref;
    hub_str_t join_ref;
    hub_payload_t payload;
} hub__outgoing_t;

/* The refusals that the protocol knows: native code and message. The list is the documentation of
 * both. */
#define HUB__CODE_MAP(X)                                                                           \
    X(TOPIC_NOT_FOUND, "topic_not_found", "Topic not found")                                       \
    X(EVENT_NOT_FOUND, "event_not_found", "Event not found")                                       \
    X(NOT_JOINED, "not_joined", "Topic not joined")                                                \
    X(JOIN_REJECTED, "join_rejected", "Join rejected")                                             \
    X(INVALID_PAYLOAD, "invalid_payload", "Invalid payload")                                       \
    X(BAD_TOPIC, "bad_topic", "Bad topic")                                                         \
    X(INTERNAL_ERROR, "internal_error", "Internal error")                                          \
    X(LIMIT, "limit", "Limit reached")                                                             \
    X(RATE, "rate", "Too many requests")                                                           \
    X(BUSY, "busy", "Busy")                                                                        \
    X(TIMEOUT, "timeout", "Timed out")                                                             \
    X(BUS_DOWN, "bus_down", "The bus is down")

typedef enum hub__code {
#define HUB__CODE_ENUM(name, code, message) HUB__CODE_##name,
    HUB__CODE_MAP(HUB__CODE_ENUM)
#undef HUB__CODE_ENUM
} hub__code_t;

const char *hub__code_name(hub__code_t code);
const char *hub__code_message(hub__code_t code);
/* The code under which a handler's or join's status reaches the client: EREJECTED join_rejected,
 * EPAYLOAD invalid_payload, EEVENT event_not_found, ENOTJOINED not_joined, ETOPIC bad_topic, ELIMIT
 * and ETOOLARGE limit, ERATE rate, EBUSY busy, ETIMEOUT timeout, EBUSDOWN bus_down, all else
 * internal_error. */
hub__code_t hub__code_of_status(hub_status_t status);
