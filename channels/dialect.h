/* channels/dialect.h - private: what differs between the wire formats, one const struct each.
 *
 * The session asks a dialect for names, shapes and rules; it never asks which one it is. Encoding
 * appends the body of one frame; framing is the transport's. */
#pragma once

#include "channels/envelope.h"

typedef enum hub__dialect_index {
    HUB__DIALECT_NATIVE,
    HUB__DIALECT_PHOENIX1,
    HUB__DIALECT_PHOENIX2,
    HUB__DIALECT_COUNT,
} hub__dialect_index_t;

/* What a second join of a joined topic does. */
typedef enum hub__on_duplicate_join {
    HUB__DUPLICATE_IS_OK,    /* ok with already_joined, the member stays as it is */
    HUB__DUPLICATE_REPLACES, /* the old member is ended, the new join runs; on the wire: its reply,
                                then the old one's close */
} hub__on_duplicate_join_t;

/* What becomes of a member whose handler failed, or that got an event which nobody handles. */
typedef enum hub__on_handler_error {
    HUB__FAILURE_REPLIES,     /* an error reply, the member lives */
    HUB__FAILURE_ENDS_MEMBER, /* an error event (phx_error), the member is gone */
} hub__on_handler_error_t;

typedef struct hub__dialect {
    hub__dialect_index_t index;
    const char *name; /* "native", "1.0.0", "2.0.0" */

    /* Names of protocol events. `leave_alias` may be absent. */
    hub_str_t join, leave, leave_alias, reply, error, close;
    hub_str_t heartbeat_topic, heartbeat_event;

    hub__on_duplicate_join_t on_duplicate_join;
    hub__on_handler_error_t on_handler_error;
    hub__on_handler_error_t on_unknown_event;
    bool leave_unjoined_is_ok; /* a leave of what is not joined: ok, or not_joined */
    bool check_join_ref;       /* a frame whose join_ref is not the member's is dropped */
    bool close_after_leave;    /* the leave reply is followed by a close */
    bool join_ref_from_ref; /* a join without join_ref takes its ref as join_ref, also in its reply
                               (native) */
    bool ref_stands_in; /* a member whose join had none is sent its ref as join_ref, which is not
                           its own for all that (Phoenix) */
    bool refusal_echoes_join_ref;  /* the reply to a frame whose topic is unmatched or not joined
                                      carries its join_ref; every other refusal does */
    bool reserved_events_refused;  /* a client's reply, error, close, gap, presence_state,
                                      presence_diff reach no handler */
    bool bad_frame_ends_conn;      /* one that is no envelope and does not tell its topic and ref
                                      ends the connection; else it is answered */
    bool broadcast_must_be_object; /* a broadcast or push of any other JSON value is an error to the
                                      caller */

    /* Decodes one text (`binary` false) or binary frame. On failure `ret_envelope` holds what could
     * be read (ref, topic, so that the refusal can be matched), and `error` names field and offset.
     * HUB_ESYNTAX/HUB_EUTF8: not one JSON value, nothing is kept of it; HUB_EDEPTH: nested too
     * deeply; HUB_EPROTOCOL: JSON of the wrong shape (missing, duplicated or mistyped field), or a
     * binary frame that is none; HUB_ETOPIC: topic too long, empty or with forbidden characters
     * (control, space; no UTF-8); HUB_EEVENT: event too long, empty or no UTF-8; HUB_ELIMIT: ref
     * too long; HUB_EPAYLOAD: a native ref that is no string, integer or null. */
    hub_status_t (*decode)(hub_str_t frame, bool binary, const hub__envelope_limits_t *limits,
                           hub__envelope_scratch_t *scratch, hub__envelope_t *ret_envelope,
                           hub_error_t *error);

    /* Whether a payload of this kind can be carried at all. */
    bool (*carries)(hub_payload_kind_t kind);

    /* An upper bound of what encode() appends; cheap. */
    size_t (*encode_bound)(const hub__outgoing_t *out);

    /* Writes the body of one frame to `bytes`, which has room for encode_bound(); returns its
     * length. `*ret_binary` says which opcode it wants. The payload must be carried. Refs that are
     * not strings are written in decimal in a binary frame; names past 255 bytes make it return 0
     * (only binary frames have that limit). */
    size_t (*encode)(const hub__outgoing_t *out, char *bytes, bool *ret_binary);

    /* Appends the response of an error reply: native {"code","message","detail"} where detail is
     * the program's payload or {} (a JSON payload only; explicit null, false, 0 are kept); with a
     * vsn the program's payload alone, or {"reason":…} with Phoenix's own words where it has some
     * ("unmatched topic", "too many channels joined", "join crashed" for internal_error of a join)
     * and the code elsewhere. `detail` may be NULL; a binary one counts as none. */
    void (*error_response)(hub__buffer_t *out, hub__code_t code, const hub_payload_t *detail,
                           bool of_join);

    /* Appends the response of a refusal for its rate, which is code and when to try again: native
     * {"code","message","detail":{"retry_ms"}}, else {"reason","retry_ms"}. */
    void (*rate_response)(hub__buffer_t *out, uint32_t retry_ms);

    /* Appends the response of an accepted join. Native:
     * {"topic":…,"already_joined":…,"replay_supported":false} and, where the program gave one,
     * "response":…; with a vsn the program's payload or {}. `response` may be NULL; a binary one
     * counts as none. */
    void (*join_response)(hub__buffer_t *out, hub_str_t topic, bool already_joined,
                          const hub_payload_t *response);

    /* Appends the response of a leave: native {"topic":…}, else {}. */
    void (*leave_response)(hub__buffer_t *out, hub_str_t topic);
} hub__dialect_t;

/* By index. Never NULL. */
const hub__dialect_t *hub__dialect(hub__dialect_index_t index);

extern const hub__dialect_t hub__dialect_native;
extern const hub__dialect_t hub__dialect_phoenix1;
extern const hub__dialect_t hub__dialect_phoenix2;

/* By the `vsn` of the query: 1.0.x and 2.0.x (x decimal digits) as Phoenix reads them; NULL for
 * anything else, also for an empty one. */
const hub__dialect_t *hub__dialect_by_vsn(hub_str_t vsn);

/* Whether any dialect uses this name for a protocol event, so that no handler can be registered for
 * it: join leave exit reply error close heartbeat gap presence_state presence_diff and phx_*. */
bool hub__event_is_reserved(hub_str_t event);

/* Whether a client's native event is one that only the server may send: reply error close gap
 * presence_state presence_diff. */
bool hub__event_is_servers(hub_str_t event);

/* Whether a client of some format takes an event of this name as the server's own word: those above
 * and phx_reply, phx_close and phx_error. */
bool hub__event_is_obeyed(hub_str_t event);

/* Topic rules for a program: as for clients (valid UTF-8, no control characters, no space, 1..max
 * bytes). */
HUB_MUST_USE hub_status_t hub__topic_check(hub_str_t topic, size_t max_bytes, hub_error_t *error);

/* The offset of the first control character, or space unless those are allowed; the length where
 * there is none. `text` is valid UTF-8. */
size_t hub__topic_forbidden(hub_str_t text, bool allow_space);
