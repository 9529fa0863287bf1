/* hub/handshake.h - private: the opening handshake of RFC 6455 4.2 as pure functions over a request
 * head.
 *
 * h2o's own check is too loose and some headers never reach its request (Host, Connection and
 * Upgrade, doubled ones), so the raw head is read here, once, linearly, without allocation. The
 * head is borrowed. */
#pragma once

#include "bus/base.h"

#define HUB__HANDSHAKE_FIELDS_MAX 64
#define HUB__HANDSHAKE_HEAD_MAX (16 * 1024)

typedef struct hub__header {
    hub_str_t name;  /* as received, any case */
    hub_str_t value; /* without white space around it */
} hub__header_t;

typedef struct hub__request_head {
    hub_str_t method;
    hub_str_t target;    /* as received */
    hub_str_t authority; /* of an absolute target (http://host/path); else absent */
    hub_str_t path;      /* without its query; "/" where an absolute target has none */
    hub_str_t query;     /* without '?'; absent when there is none */
    int minor_version;
    hub__header_t fields[HUB__HANDSHAKE_FIELDS_MAX];
    size_t field_count;
} hub__request_head_t;

/* Parses a head of HTTP/1.x from the request line to the empty line. HUB_ESYNTAX with the offset;
 * HUB_ETOOLARGE for too many bytes or fields. Line folding, a space before the colon, control bytes
 * in a value, and bare CR or LF are syntax errors (RFC 9112 2.2, 5). `ret_len` is the length of the
 * head with its empty line. HUB_PENDING when it ends too early. */
HUB_MUST_USE hub_status_t hub__request_head_parse(hub_str_t bytes, hub__request_head_t *ret_head,
                                                  size_t *ret_len, hub_error_t *error);

/* The value of the only field of this name; absent when there is none or more than one (`ret_count`
 * tells, may be NULL). */
hub_str_t hub__request_head_field(const hub__request_head_t *head, const char *name,
                                  size_t *ret_count);

/* Whether a comma-separated list in any field of this name has the token, compared without case
 * (RFC 9110 5.6.1). */
bool hub__request_head_has_token(const hub__request_head_t *head, const char *name,
                                 const char *token);

typedef struct hub__handshake {
    hub_str_t host;
    hub_str_t origin; /* absent: none was sent */
    hub_str_t key;
    hub_str_t protocols; /* of the first such field; use hub__handshake_protocol_next() */
} hub__handshake_t;

/* Checks 4.2.1 strictly. Returns 0 when it is a valid upgrade, else the HTTP status to answer: 400
 * (HTTP/1.0, no or two Hosts or one that differs from an absolute target's, a key that is not
 * exactly one canonical base64 of 16 bytes, a body, a doubled Origin or Sec-WebSocket-Version, a
 * malformed list of subprotocols or of extensions), 405 (not GET), 426 (no upgrade asked for, or no
 * version or another one; the answer then carries `Upgrade: websocket`, `Connection: Upgrade`,
 * `Sec-WebSocket-Version: 13`). `ret_reason` is one plain sentence that names the header. */
int hub__handshake_check(const hub__request_head_t *head, hub__handshake_t *ret_handshake,
                         const char **ret_reason);

/* Sec-WebSocket-Accept (4.2.2 5.4): base64 of SHA-1 of the key and the fixed GUID; 28 characters
 * and a NUL. */
void hub__handshake_accept(hub_str_t key, char ret_accept[29]);

/* Walks the offered subprotocols over all such fields, in order. `*cursor` starts at 0. False at
 * the end; a malformed list ends the walk and sets `*ret_bad`, which is else untouched. Tokens
 * only, none of them empty (RFC 6455 4.1). */
bool hub__handshake_protocol_next(const hub__request_head_t *head, size_t *cursor,
                                  hub_str_t *ret_protocol, bool *ret_bad);

/* What an offer begins with that is no subprotocol but carries a token (Phoenix 1.8: a browser has
 * no other header to put it into). */
#define HUB__AUTH_TOKEN_OFFER "base64url.bearer.phx."
/* That token, decoded into `buffer`: base64url without padding; '+' stands for '-' as well, since
 * phoenix.js encodes with btoa(). Any bytes. HUB_ENOTFOUND: not offered; HUB_ESYNTAX: not
 * base64url, or offered twice; HUB_ETOOLARGE. */
HUB_MUST_USE hub_status_t hub__handshake_auth_token(const hub__request_head_t *head, char *buffer,
                                                    size_t size, hub_str_t *ret_token);

/* Of what tokens are made (RFC 9110 5.6.2). */
bool hub__is_token_char(char c);

/* Compares without the case of ASCII letters, whatever the locale. */
bool hub__str_equals_nocase(hub_str_t left, hub_str_t right);

/* Whether no byte is past ASCII. libsodium's decoder of base64 takes those for its last digit. */
bool hub__str_is_ascii(hub_str_t text);

/* Whether this is a host and an optional port as a Host header or an origin carries them: a name of
 * ASCII letters, digits, hyphens, underscores and single dots or an IPv6 literal in brackets, then
 * nothing or a port of 1-65535 in plain digits. */
bool hub__host_valid(hub_str_t host);

/* Whether `origin` is that of the server itself: exactly scheme "://" host [":" port], scheme http
 * or https (any case), nothing behind it, host and port equal to `host` (the Host header's value)
 * without case, a missing port being 80 or 443 by the origin's scheme on both sides. No userinfo,
 * no path, not "null"; a trailing dot makes another host, and no name has bytes beyond ASCII:
 * browsers send punycode. */
bool hub__origin_is_same(hub_str_t origin, hub_str_t host);

/* Whether only the host names are equal, as Phoenix compares: scheme and port do not matter. The
 * origin must be well-formed. */
bool hub__origin_host_is(hub_str_t origin, hub_str_t host_name);

/* Whether `origin` matches one entry of a list: "https://a.example" (that scheme's own port),
 * "https://a.example:8443", "//a.example" (any scheme, any port), "//a.example:8443" (any scheme).
 * A host that begins with
 * "*." stands for one or more labels more, never for the bare domain. Other schemes than http and
 * https are compared too ("capacitor://localhost"). Entries are checked by
 * hub__origin_entry_check(). */
bool hub__origin_matches(hub_str_t origin, hub_str_t entry);

/* At registration: HUB_EINVAL and why for an entry that could never match. */
HUB_MUST_USE hub_status_t hub__origin_entry_check(hub_str_t entry, hub_error_t *error);

/* One query parameter, percent- and plus-decoded into `buffer` (no NUL behind it; %00 is a byte
 * like any other). `name` is compared with the decoded name. HUB_ENOTFOUND; HUB_ETOOLARGE;
 * HUB_ESYNTAX for bad escapes, HUB_EUTF8 when the decoded text is not UTF-8. The last one of that
 * name counts, as with Phoenix; without '=' its value is empty. */
HUB_MUST_USE hub_status_t hub__query_param(hub_str_t query, hub_str_t name, char *buffer,
                                           size_t size, hub_str_t *ret_value);
