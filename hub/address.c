/* SPDX-License-Identifier: MIT */
/* Addresses as sixteen bytes whatever their kind, so that one comparison serves all. A header is
 * read from its right end, where the last proxy wrote; to the left of what somebody else wrote
 * anything may stand. */
#include "hub/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "bus/buffer.h"

#define FORWARDED "x-forwarded-for"
#define V4_BITS 96 /* before an IPv4 address */

static const unsigned char V4_PREFIX[12] = {[10] = 0xff, [11] = 0xff};

typedef struct hub__network {
    hub__address_t address;
    unsigned bits;
} hub__network_t;

static bool is_v4(const hub__address_t *address)
{
    return memcmp(address->bytes, V4_PREFIX, sizeof(V4_PREFIX)) == 0;
}

static void set_v4(hub__address_t *address, const void *bytes)
{
    memcpy(address->bytes, V4_PREFIX, sizeof(V4_PREFIX));
    memcpy(address->bytes + sizeof(V4_PREFIX), bytes, 4);
}

bool hub__address_of(const struct sockaddr *peer, hub__address_t *ret_address)
{
    const void *any = peer;

    if (peer->sa_family == AF_INET)
        set_v4(ret_address, &((const struct sockaddr_in *)any)->sin_addr);
    else if (peer->sa_family == AF_INET6)
        memcpy(ret_address->bytes, &((const struct sockaddr_in6 *)any)->sin6_addr,
               sizeof(ret_address->bytes));
    else
        return false;
    return true;
}

bool hub__address_of_peer(int fd, hub__address_t *ret_address)
{
    struct sockaddr_storage peer;
    socklen_t len = sizeof(peer);

    return getpeername(fd, (struct sockaddr *)&peer, &len) == 0 &&
           hub__address_of((struct sockaddr *)&peer, ret_address);
}

/* Cuts the port off: behind brackets, or behind the only colon. */
static hub_str_t without_port(hub_str_t text)
{
    const char *colon = memchr(text.base, ':', text.len), *end;

    if (text.len != 0 && text.base[0] == '[') {
        end = memchr(text.base, ']', text.len);
        return end != NULL ? hub_str_n(text.base + 1, (size_t)(end - text.base) - 1) : text;
    }
    if (colon != NULL && memchr(colon + 1, ':', text.len - (size_t)(colon - text.base) - 1) == NULL)
        return hub_str_n(text.base, (size_t)(colon - text.base));
    return text;
}

bool hub__address_parse(hub_str_t text, hub__address_t *ret_address)
{
    char host[INET6_ADDRSTRLEN];
    struct in_addr v4;
    struct in6_addr v6;

    if (text.len == 0)
        return false;
    text = without_port(text);
    if (text.len >= sizeof(host) || memchr(text.base, '\0', text.len) != NULL)
        return false;
    memcpy(host, text.base, text.len);
    host[text.len] = '\0';
    if (inet_pton(AF_INET, host, &v4) == 1)
        set_v4(ret_address, &v4);
    else if (inet_pton(AF_INET6, host, &v6) == 1)
        memcpy(ret_address->bytes, &v6, sizeof(ret_address->bytes));
    else
        return false;
    return true;
}

const char *hub__address_format(const hub__address_t *address, char buffer[HUB__ADDRESS_TEXT])
{
    if (is_v4(address))
        (void)inet_ntop(AF_INET, address->bytes + sizeof(V4_PREFIX), buffer, HUB__ADDRESS_TEXT);
    else
        (void)inet_ntop(AF_INET6, address->bytes, buffer, HUB__ADDRESS_TEXT);
    return buffer;
}

hub__address_t hub__address_block(const hub__address_t *address)
{
    hub__address_t block = *address;

    if (!is_v4(address))
        memset(block.bytes + 8, 0, 8);
    return block;
}

/* ---- proxies ---- */

static bool parse_bits(const char *text, unsigned max, unsigned *ret_bits)
{
    char *end;
    unsigned long bits = strtoul(text, &end, 10);

    if (text[0] < '0' || text[0] > '9' || *end != '\0' || bits > max)
        return false;
    *ret_bits = (unsigned)bits;
    return true;
}

static bool parse_network(const char *text, hub__network_t *ret_network)
{
    const char *slash = strchr(text, '/');
    hub_str_t host = hub_str_n(text, slash != NULL ? (size_t)(slash - text) : strlen(text));
    unsigned before, bits;

    if (without_port(host).len != host.len || !hub__address_parse(host, &ret_network->address))
        return false;
    before = is_v4(&ret_network->address) && memchr(host.base, ':', host.len) == NULL ? V4_BITS : 0;
    bits = 128 - before;
    if (slash != NULL && !parse_bits(slash + 1, 128 - before, &bits))
        return false;
    ret_network->bits = before + bits;
    return true;
}

hub_status_t hub__proxies_parse(const char *const *texts, hub__proxies_t *ret_proxies,
                                hub_error_t *error)
{
    hub__proxies_t proxies = {0};

    for (; texts != NULL && *texts != NULL; ++texts) {
        if (strcmp(*texts, "unix") == 0) {
            proxies.unix_sockets = true;
            continue;
        }
        proxies.networks =
            hub__realloc(proxies.networks, (proxies.count + 1) * sizeof(*proxies.networks));
        if (!parse_network(*texts, &proxies.networks[proxies.count++])) {
            hub__proxies_dispose(&proxies);
            return hub_error_set(error, HUB_EINVAL, 0,
                                 "trusted_proxies: \"%s\" is none of address, address/bits, unix",
                                 *texts);
        }
    }
    *ret_proxies = proxies;
    return HUB_OK;
}

void hub__proxies_dispose(hub__proxies_t *proxies)
{
    free(proxies->networks);
    *proxies = (hub__proxies_t){0};
}

static bool is_within(const hub__address_t *address, const hub__network_t *network)
{
    unsigned bytes = network->bits / 8, rest = network->bits % 8;
    unsigned char mask = (unsigned char)(0xff00 >> rest);

    return memcmp(address->bytes, network->address.bytes, bytes) == 0 &&
           (rest == 0 || ((address->bytes[bytes] ^ network->address.bytes[bytes]) & mask) == 0);
}

bool hub__proxies_trust(const hub__proxies_t *proxies, const hub__address_t *peer)
{
    if (peer == NULL)
        return proxies->unix_sockets;
    for (size_t i = 0; i != proxies->count; ++i)
        if (is_within(peer, &proxies->networks[i]))
            return true;
    return false;
}

/* Takes the last element off a list; blanks around it are no part of it. */
static hub_str_t take_last(hub_str_t *list)
{
    size_t start = list->len;
    hub_str_t last;

    while (start != 0 && list->base[start - 1] != ',')
        --start;
    last = hub_str_n(list->base + start, list->len - start);
    list->len = start != 0 ? start - 1 : 0;
    while (last.len != 0 && (*last.base == ' ' || *last.base == '\t')) {
        ++last.base;
        --last.len;
    }
    while (last.len != 0 && (last.base[last.len - 1] == ' ' || last.base[last.len - 1] == '\t'))
        --last.len;
    return last;
}

/* Goes left through one field. True: the search is over, `*client` is who was found last. */
static bool search_field(const hub__proxies_t *proxies, hub_str_t list, hub__address_t *client,
                         bool *known)
{
    while (list.len != 0) {
        hub__address_t next;

        if (!hub__address_parse(take_last(&list), &next))
            return true;
        *client = next;
        *known = true;
        if (!hub__proxies_trust(proxies, &next))
            return true;
    }
    return false;
}

bool hub__proxies_client(const hub__proxies_t *proxies, const hub__address_t *peer,
                         const hub__request_head_t *head, hub__address_t *ret_client)
{
    hub__address_t client = {{0}};
    bool known = peer != NULL;

    if (known)
        client = *peer;
    if (hub__proxies_trust(proxies, peer))
        for (size_t i = head->field_count; i != 0; --i)
            if (hub__str_equals_nocase(head->fields[i - 1].name, HUB_STR(FORWARDED)) &&
                search_field(proxies, head->fields[i - 1].value, &client, &known))
                break;
    if (known)
        *ret_client = client;
    return known;
}
