/* hub/ticket.h - private: the token of a long-poll client. It names a connection and carries the
 * server's seal, so that nobody can make one or turn one into another's. Pure: no sockets, no hub.
 */
#pragma once

#include "bus/message.h"

#define HUB__TICKET_KEY 32
#define HUB__TICKET_TEXT 64 /* characters of base64url: the id and its HMAC-SHA-256 */

/* Writes HUB__TICKET_TEXT characters and a NUL. */
void hub__ticket_seal(const unsigned char key[HUB__TICKET_KEY], hub_conn_id_t id,
                      char ret_text[HUB__TICKET_TEXT + 1]);
/* False for anything that was not sealed with this key. Takes the same time whatever is wrong with
 * the seal. */
bool hub__ticket_open(const unsigned char key[HUB__TICKET_KEY], hub_str_t text,
                      hub_conn_id_t *ret_id);
