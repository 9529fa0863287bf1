/* hub/endpoint.h - one path of a server onto one hub: who may connect, from where, in which wire
 * format, within which limits. */
#pragma once

#include "channels/channel.h"
#include "hub/conn.h"
#include "hub/limits.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A request to connect, valid during on_authorize. */
typedef struct hub_request hub_request_t;

HUB_API hub_str_t
hub_request_path(const hub_request_t *request); /* without its query. Loop thread. */
HUB_API hub_str_t
hub_request_query_string(const hub_request_t *request); /* as received. Loop thread. */
/* Decoded; absent where there is none, or it is malformed. Borrowed until on_authorize returns.
 * Loop thread. */
HUB_API hub_str_t hub_request_query(hub_request_t *request, const char *name);
HUB_API hub_str_t hub_request_header(const hub_request_t *request,
                                     const char *name); /* the first of this name. Loop thread. */
HUB_API hub_str_t
hub_request_peer(const hub_request_t *request); /* "127.0.0.1:40312". Loop thread. */
/* Who the limits per address take it for: the peer without its port, or, where that is one of the
 * server's trusted_proxies, the client that it names in X-Forwarded-For; "unix" where neither has
 * an address. Borrowed until on_authorize returns. Loop thread. */
HUB_API hub_str_t hub_request_client(hub_request_t *request);
/* What the client gave as its token where the endpoint's auth_token is on: whatever bytes it likes,
 * at most HUB_AUTH_TOKEN_MAX; absent: none. Keep it out of logs. Borrowed until on_authorize
 * returns. Loop thread. */
HUB_API hub_str_t hub_request_auth_token(const hub_request_t *request);
#define HUB_AUTH_TOKEN_MAX 4096

typedef struct hub_attribute {
    const char *name;
    hub_str_t value;
} hub_attribute_t;

/* What authorize gives a connection. Copied. */
typedef struct hub_grant {
    hub_str_t identity;                /* the connections of one user share it; absent: none */
    const hub_attribute_t *attributes; /* may be NULL */
    size_t attribute_count;
    uint64_t expires_in_ms; /* the connection is closed with 4003 then; 0: never */
    void *user;             /* hub_conn_user() */
    void (*on_free)(void *user);
} hub_grant_t;

/* Fills the grant. Copied; a second call replaces the first. Loop thread. */
HUB_API void hub_request_grant(hub_request_t *request, const hub_grant_t *grant);

/* Refuses with this HTTP status (400-599) and body, both copied; under the endpoint's
 * refuse_by_close the client gets 101 and then a close with `close_code` (0: 4403) and the body as
 * reason. Returns HUB_EREJECTED: `return hub_request_refuse(…)`. Loop thread. */
HUB_API hub_status_t hub_request_refuse(hub_request_t *request, int http_status,
                                        unsigned close_code, const char *content_type,
                                        hub_str_t body);

/* The answer comes later, by one of the two below; a client that waits longer than the server's
 * request_ms is gone. `return hub_request_defer(…)` (HUB_PENDING). Loop thread. */
typedef struct hub_request_token {
    uint64_t _worker, _serial;
} hub_request_token_t;
HUB_API hub_status_t hub_request_defer(hub_request_t *request, hub_request_token_t *ret_token);
/* HUB_OK means handed to the loop. Whatever is returned, the grant's user is taken. Any thread. */
HUB_API HUB_MUST_USE hub_status_t hub_authorize_accept(hub_t *hub, hub_request_token_t token,
                                                       const hub_grant_t *grant);
HUB_API HUB_MUST_USE hub_status_t hub_authorize_refuse(hub_t *hub, hub_request_token_t token,
                                                       int http_status, unsigned close_code,
                                                       hub_str_t body);

/* Runs once the handshake is proven valid (but see authorize_early), before the 101. HUB_OK: let
 * in. hub_request_refuse(); HUB_EREJECTED: 403; HUB_PENDING after hub_request_defer(); anything
 * else: 500. */
typedef hub_status_t (*hub_on_authorize_cb)(hub_request_t *request, void *user);
/* HUB_OK lets the origin pass; anything else is 403. */
typedef hub_status_t (*hub_on_origin_cb)(hub_str_t origin, hub_str_t host, void *user);

typedef enum hub_origin_rule {
    HUB_ORIGIN_SAME, /* none, or the server's own: scheme http(s), host and port equal to the Host
                        header's */
    HUB_ORIGIN_LIST, /* none, or one of `origins` */
    HUB_ORIGIN_HOST, /* none, or one whose host is in `origins`, whatever scheme and port (Phoenix)
                      */
    HUB_ORIGIN_ASK,  /* none, or one that on_origin lets pass */
    HUB_ORIGIN_ANY,  /* the check is off */
} hub_origin_rule_t;

typedef enum hub_format {
    HUB_FORMAT_NATIVE,
    HUB_FORMAT_PHOENIX1, /* as a Phoenix server: no vsn means 1.0.0 */
    HUB_FORMAT_REFUSE,   /* a vsn must be given */
} hub_format_t;

/* permessage-deflate (RFC 7692) for clients that offer it; zeroed: off. It costs CPU for traffic,
 * so it is worth having where messages are long and clients far away.
 *
 * A message to many is compressed once for each wire format and window that is in use (512 bytes, 4
 * or 32 KiB), by the options of one of those who get it, and never refers back to earlier ones:
 * server_no_context_takeover is always answered, and connections keep nothing of what is sent.
 * Limits are for what messages become: message_bytes, and bytes_per_s as well. Who is over
 * messages_per_s with a message that becomes more than 4 KiB is closed at once, with 1008.
 *
 * Who lets secrets and what strangers wrote into one message tells a listener by its length how
 * much they have in common. */
typedef struct hub_deflate_options {
    bool enabled;
    size_t min_bytes;     /* shorter messages go out as they are; 0: 256 */
    unsigned level;       /* 1 (quick) to 9 (small); 0: 6 */
    unsigned window_bits; /* of what is sent, 9 to 15; clients may ask for less; 0: 15 */
    bool client_context;  /* clients may refer back to their earlier messages, which saves traffic
                             where they send much alike; each such connection then keeps 8 KiB and
                             its window from its first compressed message on. false:
                             client_no_context_takeover is answered, and it keeps nothing */
    unsigned client_window_bits; /* 9 to 15, asked of those clients that let themselves be asked; 0:
                                    15 */
} hub_deflate_options_t;

typedef struct hub_endpoint_options {
    const char *path; /* NULL: "/socket" */
    enum {
        HUB_ENDPOINT_BOTH,   /* path and path/websocket */
        HUB_ENDPOINT_PATH,   /* path alone */
        HUB_ENDPOINT_SUFFIX, /* path/websocket alone, as Phoenix */
    } path_form;
    hub_on_authorize_cb on_authorize; /* NULL: everybody may connect, without identity */
    bool refuse_by_close; /* refusals are 101 and a close code that a browser can see, not an HTTP
                             status */
    hub_origin_rule_t origin_rule;
    const char *const *origins; /* NULL-terminated. HUB_ORIGIN_LIST: "https://a.example",
                                   "//a.example" (any scheme and port), or either with "*." before
                                   the host (what is below it); HUB_ORIGIN_HOST: "a.example" */
    hub_on_origin_cb on_origin;
    const char *const
        *protocols; /* NULL-terminated: the first offered one that is listed is chosen, an offer
                       without one is 403; NULL: offers are ignored */
    hub_format_t format_without_vsn;
    bool keep_query; /* hub_conn_query() works for the life of the connection, at the cost of the
                        memory */
    hub_limits_t limits;
    void *user;           /* of on_authorize and on_origin */
    bool authorize_early; /* a refusal goes before what is wrong with the upgrade, as with Phoenix:
                             on_authorize is asked about requests that are no handshake, too */
    /* A client may bring a token as phoenix.js does: among its subprotocols, as the offer
     * "base64url.bearer.phx." and the token in base64url without padding, beside the offer
     * "phoenix", which is then chosen. The offer with the token is never chosen and does not count
     * as one; "phoenix" counts as listed in `protocols`. 403 for a token that is not base64url,
     * comes twice or is too long. hub_request_auth_token() */
    bool auth_token;
    /* Clients without websockets may come to path/longpoll, as phoenix.js does: a GET opens a
     * connection or waits for its messages, a POST brings some. To callbacks it is a connection
     * like any other. Origins are checked with each request; with auth_token the token comes in the
     * header X-Phoenix-AuthToken; refusals are {"status":403} whatever status they were given,
     * failures
     * {"status":500}; subprotocols, pings and idle_ms do not apply, longpoll_window_ms and the
     * limits behind it do. Bytes reach such a client as a string of as many characters.
     * HTTP/1.1 alone. */
    bool longpoll;
    const unsigned char *longpoll_key; /* 32 secret bytes that seal the clients' tokens, copied;
                                          NULL: random ones of the hub's */
    hub_deflate_options_t deflate;     /* for websockets; long poll is HTTP's to compress */
} hub_endpoint_options_t;

#ifdef __cplusplus
}
#endif
