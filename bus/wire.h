/* bus/wire.h - private: how a message looks between nodes.
 *
 * There are two formats. What other programs publish is a JSON object, {"event":…,"payload":…}: it
 * has no numbers, so a lost one is not missed. What nodes publish is binary. Its numbers are
 * big-endian. The topic is the broker's own (subject, channel, column).
 *
 *      0  version, 1. Another first byte is another format, '{' the one in JSON.
 *      1  kind: 1 a message, 2 a probe, 3 a position. Nodes ignore kinds that they do not know.
 *      2  kind of payload: 0 JSON, 1 binary
 *      3  zero
 *      4  flags, 4 bytes: 1 not to the origin, 2 in one order, 4 what the node numbered before it
 *         may have got nowhere. Unknown ones are ignored.
 *      8  node that published, 8 bytes
 *     16  incarnation of that node's numbering of this topic, 8 bytes, growing
 *     24  sequence number within it, 8 bytes, from 1, each one more than the last
 *     32  origin, the publishing connection: node and local, 16 bytes, zero: none
 *     48  position: epoch and offset, 16 bytes, zero: none
 *     64  length of the event, 4 bytes
 *     68  length of the payload, 4 bytes
 *     72  event, payload, and nothing behind them
 *
 * What a node hears of its own only when it comes back is numbered apart from what it hears at
 * once, as if by another node: the one whose number has all bits the other way round.
 *
 * A probe and a position are marks: the first 32 bytes alone, 2 and 3 zero, and in a probe the
 * flags as well. A probe, on a topic of its node's own, has the number of the connection as
 * incarnation and that of the probe, never used twice, as sequence; it is for its node alone. A
 * position has the incarnation and the sequence number of the last message before it. */
#pragma once

#include "bus/message.h"

#define HUB__WIRE_HEADER_BYTES 72
#define HUB__WIRE_EVENT_BYTES_MAX 1024
#define HUB__WIRE_MARK_BYTES 32

typedef enum hub__wire_kind {
    HUB__WIRE_MESSAGE = 1,
    HUB__WIRE_PROBE = 2,
    HUB__WIRE_POSITION = 3,
} hub__wire_kind_t;

typedef struct hub__wire {
    hub__wire_kind_t kind;
    uint64_t node; /* 0: another program, without numbers */
    uint64_t incarnation;
    uint64_t seq;
    bool doubtful; /* what its node numbered before, or a position speaks for, may be lost */
    hub_message_options_t options; /* this and the rest of a message alone */
    hub_str_t event;
    hub_payload_t payload;
} hub__wire_t;

/* SIZE_MAX where the lengths do not fit into the header. */
size_t hub__wire_size(const hub_message_t *msg);
/* Writes hub__wire_size() bytes, the sequence still missing. */
void hub__wire_write(char *bytes, const hub_message_t *msg, uint64_t node);
void hub__wire_number(char *bytes, uint64_t incarnation, uint64_t seq);
/* A message or a position. */
void hub__wire_doubt(char *bytes);
/* A probe or a position. */
void hub__wire_write_mark(char bytes[HUB__WIRE_MARK_BYTES], hub__wire_kind_t kind, uint64_t node,
                          uint64_t incarnation, uint64_t seq);

/* HUB_OK; HUB_ENOTFOUND: a kind that came later than this code; HUB_ESYNTAX: junk. Borrows the
 * bytes; event and payload are not checked, which is hub_message_create()'s. */
hub_status_t hub__wire_read(hub_str_t bytes, hub__wire_t *ret_wire);

/* A program's message: white space, then '{'. */
bool hub__wire_is_plain(hub_str_t bytes);
/* An object with a string `event` and, if it is not to be {}, a `payload`; other members are
 * ignored, of repeated ones the last counts. `event` is where an event with escapes is written. As
 * hub__wire_read(), with what is wrong and its offset in `error`. */
hub_status_t hub__wire_read_plain(hub_str_t bytes, char event[HUB__WIRE_EVENT_BYTES_MAX],
                                  hub__wire_t *ret_wire, hub_error_t *error);
