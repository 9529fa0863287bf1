/* SPDX-License-Identifier: MIT */
/* A connection's id with an HMAC over it: what a long-poll client shows with each request instead
 * of a socket of its own. Whoever has it is the client, so it must be beyond guessing, which an id
 * is not. */
#include "hub/ticket.h"

#include <sodium.h>

#include "hub/handshake.h"

#define ID_BYTES 16
#define LABEL "sockethub longpoll 1" /* the key may be used for other things as well */

struct ticket {
    unsigned char id[ID_BYTES];
    unsigned char seal[crypto_auth_hmacsha256_BYTES];
};

_Static_assert(sizeof(struct ticket) / 3 * 4 == HUB__TICKET_TEXT, "no padding is needed");
_Static_assert(HUB__TICKET_KEY == crypto_auth_hmacsha256_KEYBYTES, "the key has this size");

static void write_number(unsigned char *bytes, uint64_t number)
{
    for (size_t i = 0; i != 8; ++i)
        bytes[i] = (unsigned char)(number >> (56 - 8 * i));
}

static uint64_t read_number(const unsigned char *bytes)
{
    uint64_t number = 0;

    for (size_t i = 0; i != 8; ++i)
        number = number << 8 | bytes[i];
    return number;
}

static void seal(const unsigned char key[HUB__TICKET_KEY], struct ticket *ticket)
{
    unsigned char sealed[sizeof(LABEL) + ID_BYTES] = LABEL;

    memcpy(sealed + sizeof(LABEL), ticket->id, ID_BYTES);
    crypto_auth_hmacsha256(ticket->seal, sealed, sizeof(sealed), key);
}

void hub__ticket_seal(const unsigned char key[HUB__TICKET_KEY], hub_conn_id_t id,
                      char ret_text[HUB__TICKET_TEXT + 1])
{
    struct ticket ticket;

    write_number(ticket.id, id.node);
    write_number(ticket.id + 8, id.local);
    seal(key, &ticket);
    sodium_bin2base64(ret_text, HUB__TICKET_TEXT + 1, (const unsigned char *)&ticket,
                      sizeof(ticket), sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

bool hub__ticket_open(const unsigned char key[HUB__TICKET_KEY], hub_str_t text,
                      hub_conn_id_t *ret_id)
{
    struct ticket shown, own;
    size_t len;

    if (text.len != HUB__TICKET_TEXT || !hub__str_is_ascii(text) ||
        sodium_base642bin((unsigned char *)&shown, sizeof(shown), text.base, text.len, NULL, &len,
                          NULL, sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0 ||
        len != sizeof(shown))
        return false;
    memcpy(own.id, shown.id, ID_BYTES);
    seal(key, &own);
    if (sodium_memcmp(own.seal, shown.seal, sizeof(own.seal)) != 0)
        return false;
    *ret_id = (hub_conn_id_t){.node = read_number(shown.id), .local = read_number(shown.id + 8)};
    return true;
}
