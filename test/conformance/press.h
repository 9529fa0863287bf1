/* test/conformance/press.h - the client's side of permessage-deflate (RFC 7692): checks what the
 * server agreed to against what was offered, and then holds it to that. Where it said that its
 * messages don't refer back, or how far they do, no more is kept than that to inflate them with. */
#pragma once

#include "test/conformance/play.h"

#include <zlib.h>

/* What the server's answer says. */
typedef struct press_terms {
    bool server_no_context, client_no_context;
    unsigned server_bits, client_bits; /* 15 where the answer names none */
    bool names_server_bits, names_client_bits;
} press_terms_t;

typedef struct press {
    press_terms_t terms;
    z_stream deflater, inflater;
    bool ready; /* the streams are */
    hub__buffer_t packed, unpacked;
} press_t;

/* Reads an answer. Returns NULL or which rule of 7.1 it breaks, alone or as an answer to `offers`,
 * in each of which `accepts_client_bits` etc. tell what it says. */
const char *press_read(const char *answer, press_terms_t *ret_terms);

/* What one offer said. */
typedef struct press_offer {
    const char *text;         /* the header's value */
    bool server_no_context;   /* was demanded */
    unsigned server_bits;     /* the most that is demanded; 0: nothing is */
    bool client_bits_allowed; /* "client_max_window_bits", with or without a value */
} press_offer_t;

/* NULL, or how the answer goes beyond the offer. */
const char *press_compare(const press_offer_t *offer, const press_terms_t *terms);

/* Begins on a conversation whose handshake is done: a fault of it where the server did not accept
 * the offer, or not as it must. From then on the judge inflates. */
void press_begin(press_t *press, play_t *play, const press_offer_t *offer);
void press_dispose(press_t *press);

/* The payload of a compressed message. Valid until the next call. */
hub_str_t press_pack(press_t *press, hub_str_t message);
/* Says a message compressed, in fragments of so many bytes (0: in one frame). */
void press_say(press_t *press, play_t *play, bool binary, hub_str_t message, size_t fragment);
