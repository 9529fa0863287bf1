/* hub/address.h - private: whose connection it is, for limits per address.
 *
 * A client is known by the address of its socket. What it says of itself in X-Forwarded-For counts
 * only as far as proxies that the program has named have passed it on. Pure, but for
 * hub__address_of_peer(). */
#pragma once

#include "hub/handshake.h"

/* IPv6; IPv4 as ::ffff:a.b.c.d. */
typedef struct hub__address {
    unsigned char bytes[16];
} hub__address_t;

struct sockaddr;

/* False: it has none, as that of a unix socket. */
bool hub__address_of(const struct sockaddr *peer, hub__address_t *ret_address);
/* Of who is connected to this socket. False: it has none, or is gone. */
bool hub__address_of_peer(int fd, hub__address_t *ret_address);
/* "10.1.2.3" or "2001:db8::1", also with a port behind it: "10.1.2.3:80", "[::1]:80". */
bool hub__address_parse(hub_str_t text, hub__address_t *ret_address);
#define HUB__ADDRESS_TEXT 48
/* Without a port. Returns `buffer`. */
const char *hub__address_format(const hub__address_t *address, char buffer[HUB__ADDRESS_TEXT]);
/* What one client is taken to have: of IPv6 a /64. */
hub__address_t hub__address_block(const hub__address_t *address);

/* Proxies whose X-Forwarded-For is believed. Zeroed storage: none. */
typedef struct hub__proxies {
    struct hub__network *networks;
    size_t count;
    bool unix_sockets; /* whoever comes by one is such a proxy */
} hub__proxies_t;

/* `texts` ends with NULL, and may be NULL: "10.0.0.0/8", "::1", "unix". HUB_EINVAL names the one
 * that is none of these. */
hub_status_t hub__proxies_parse(const char *const *texts, hub__proxies_t *ret_proxies,
                                hub_error_t *error);
void hub__proxies_dispose(hub__proxies_t *proxies);
/* `peer` NULL: it came by a unix socket. */
bool hub__proxies_trust(const hub__proxies_t *proxies, const hub__address_t *peer);
/* The client of a request that came from `peer`: the rightmost address in its X-Forwarded-For that
 * is no proxy of ours, as the last of those that are wrote it down. What can't be read ends the
 * search, and the proxy next to it is taken for the client. False: it has no address. */
bool hub__proxies_client(const hub__proxies_t *proxies, const hub__address_t *peer,
                         const hub__request_head_t *head, hub__address_t *ret_client);
