/* hub/extension.h - private: what clients offer in Sec-WebSocket-Extensions (RFC 6455 9.1), and
 * what is agreed on for permessage-deflate (RFC 7692 7.1). Pure: a request head in, terms and the
 * text of the answer out; linear, without allocation. */
#pragma once

#include "hub/endpoint.h"
#include "hub/handshake.h"

/* Whether all such fields together are a list of offers as 9.1 has it, or there is none. What does
 * not conform fails the handshake, whatever it is about. */
bool hub__extensions_valid(const hub__request_head_t *head);

/* What holds for one connection. */
typedef struct hub__deflate_terms {
    unsigned server_bits; /* of the window that our messages may use, 8 to 15; 0: no agreement, and
                             nothing else counts */
    unsigned client_bits; /* and the client's */
    bool client_context;  /* its messages may refer back to earlier ones; ours never do */
    bool name_server_bits, name_client_bits; /* in the answer */
} hub__deflate_terms_t;

/* The first offer of permessage-deflate that can be accepted. One with a parameter that is unknown,
 * doubled or has a value that it can't have is passed over (7.1), as other extensions are. The
 * options are checked and resolved. */
hub__deflate_terms_t hub__deflate_negotiate(const hub__request_head_t *head,
                                            const hub_deflate_options_t *options);

#define HUB__EXTENSION_ANSWER 160
/* The value of the answer's field, for terms agreed on. Returns its length. */
size_t hub__deflate_answer(const hub__deflate_terms_t *terms, char ret_text[HUB__EXTENSION_ANSWER]);

/* Replaces zeros by defaults. HUB_EINVAL with a text that names the option. */
HUB_MUST_USE hub_status_t hub__deflate_options_resolve(hub_deflate_options_t *options,
                                                       hub_error_t *error);
