/* hub/relay.h - private: what is to be done to connections on another node, as bytes between nodes.
 * Pure.
 *
 * Version 1, numbers with the highest byte first: version, kind, kind of the payload, 0 (a byte
 * each); close code, 0 (two bytes each); the connection's part of its id (8), 0 for an identity;
 * the lengths of identity, topic, event, reason and payload (4 each); then these, one after the
 * other, to the end. */
#pragma once

#include "hub/conn.h"

typedef enum hub__relay_kind {
    HUB__RELAY_CLOSE = 1, /* code, reason */
    HUB__RELAY_PUSH = 2,  /* topic, event, payload */
} hub__relay_kind_t;

typedef struct hub__relay {
    hub__relay_kind_t kind;
    uint64_t local;     /* of one connection; 0: all of `identity` */
    hub_str_t identity; /* empty where it is one connection */
    unsigned code;
    hub_str_t reason, topic, event;
    hub_payload_t payload;
} hub__relay_t;

/* SIZE_MAX: it can't be written. */
size_t hub__relay_size(const hub__relay_t *relay);
void hub__relay_write(const hub__relay_t *relay, char *bytes);
/* Borrows from `bytes`. HUB_ENOTFOUND: of a later version, not for us. HUB_ESYNTAX: junk. What it
 * returns is as valid as what a program of this node may ask for. */
hub_status_t hub__relay_read(hub_str_t bytes, hub__relay_t *ret_relay);
