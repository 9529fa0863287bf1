/* bus/message.h - what a message is: topic, event, payload, where it came from.
 *
 * A hub_message_t in a callback is borrowed: it lives in the read buffer of its client and ends
 * with the callback. hub_message_retain() makes it last. One made by hub_message_create() is a
 * single immutable counted block whose payload was proven valid: this is the only door through
 * which the payload of a program or a broker enters. */
#pragma once

#include "bus/base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum hub_payload_kind {
    HUB_PAYLOAD_JSON,   /* exactly one JSON value, UTF-8 */
    HUB_PAYLOAD_BINARY, /* any bytes; reaches only members whose wire format can carry them */
} hub_payload_kind_t;

typedef struct hub_payload {
    hub_str_t bytes;
    hub_payload_kind_t kind;
} hub_payload_t;

static inline hub_payload_t hub_json(hub_str_t text)
{
    hub_payload_t payload;

    payload.bytes = text;
    payload.kind = HUB_PAYLOAD_JSON;
    return payload;
}

static inline hub_payload_t hub_binary(const void *data, size_t size)
{
    hub_payload_t payload;

    payload.bytes = hub_str_n((const char *)data, size);
    payload.kind = HUB_PAYLOAD_BINARY;
    return payload;
}

/* A payload from a literal: HUB_JSON("{\"reason\":\"private\"}"). */
#define HUB_JSON(literal) hub_json(HUB_STR(literal))

/* Names one connection, for ever and on every node. All zero: none. */
typedef struct hub_conn_id {
    uint64_t node;  /* random per hub instance */
    uint64_t local; /* worker, slot and generation on that node */
} hub_conn_id_t;

static inline bool hub_conn_id_equals(hub_conn_id_t left, hub_conn_id_t right)
{
    return left.node == right.node && left.local == right.local;
}

static inline bool hub_conn_id_is_none(hub_conn_id_t id)
{
    return id.node == 0 && id.local == 0;
}

#define HUB_CONN_ID_TEXT 33 /* 32 hexadecimal digits and a NUL */

/* Writes the id as 32 hexadecimal digits. Returns `buffer`. Any thread. */
HUB_API const char *hub_conn_id_format(hub_conn_id_t id, char buffer[HUB_CONN_ID_TEXT]);

/* Reads what hub_conn_id_format() wrote. HUB_ESYNTAX for anything else. Any thread. */
HUB_API HUB_MUST_USE hub_status_t hub_conn_id_parse(hub_str_t text, hub_conn_id_t *ret_id);

/* A place in the history of a topic. All zero: none is kept. */
typedef struct hub_position {
    uint64_t epoch; /* random, another one whenever history may have been lost */
    uint64_t offset;
} hub_position_t;

enum {
    HUB_MESSAGE_SKIP_ORIGIN = 1, /* not delivered to `origin` (broadcast_from) */
    HUB_MESSAGE_BUS_ORDER = 2,   /* all subscribers on all nodes get the messages of its topic that
                                    have this flag in one order; bus/bus.h */
};

typedef struct hub_message {
    hub_str_t topic; /* the full one; in a callback of an included hub, as that hub declared it */
    hub_str_t event;
    hub_payload_t payload;
    hub_str_t ref; /* the client's number for this message as its raw JSON token; absent: none */
    hub_str_t join_ref;   /* the same for the join it belongs to */
    hub_conn_id_t origin; /* the connection that sent it; none for a program's own */
    hub_position_t position;
    unsigned flags; /* HUB_MESSAGE_* */
    uint32_t _counted;
} hub_message_t;

typedef struct hub_message_options {
    hub_conn_id_t origin;
    hub_position_t position;
    unsigned flags;
    size_t max_depth;      /* of a JSON payload; 0 means HUB_JSON_DEPTH_DEFAULT */
    bool payload_is_valid; /* it was scanned before, e.g. a client's that is relayed */
} hub_message_options_t;

/* Copies everything into one counted block, owned by the caller, its count one. `options` may be
 * NULL. HUB_EPAYLOAD when the JSON is not valid (`error` has the offset within the payload),
 * HUB_ETOPIC or HUB_EINVAL for a topic or event that is empty, longer than 1,024 bytes or not
 * UTF-8, HUB_ENOMEM. Any thread. */
HUB_API HUB_MUST_USE hub_status_t hub_message_create(hub_str_t topic, hub_str_t event,
                                                     hub_payload_t payload,
                                                     const hub_message_options_t *options,
                                                     hub_message_t **ret_message,
                                                     hub_error_t *error);

/* A reference to the same message, or a counted copy where `message` is only borrowed; NULL when
 * there is no memory for that copy. Release it with hub_message_release(). Any thread. */
HUB_API hub_message_t *hub_message_retain(const hub_message_t *message);

/* NULL is allowed. Any thread. */
HUB_API void hub_message_release(hub_message_t *message);

/* Whether the bytes are what the kind says: a valid JSON document, or anything for binary. Errors
 * as hub_json_scan(), as HUB_EPAYLOAD. Any thread. */
HUB_API HUB_MUST_USE hub_status_t hub_payload_check(hub_payload_t payload, size_t max_depth,
                                                    hub_error_t *error);

#ifdef __cplusplus
}
#endif
