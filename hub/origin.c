/* SPDX-License-Identifier: MIT */

/* The same-origin policy does not cover websockets, so the server itself must tell whose page is
 * calling. Everything is parsed in full before it is compared: tricks with prefixes, suffixes and
 * userinfo live where only a part is looked at. */

#include "hub/handshake.h"

#define PORT_MAX 65535

/* A host with an optional port; for entries of a list also with a wildcard ahead. */
struct authority {
    hub_str_t host; /* in lists without its "*." */
    unsigned port;  /* 0: none given */
};

struct origin {
    hub_str_t scheme; /* empty in entries for any scheme */
    struct authority authority;
    bool wildcard;
};

static bool is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_name_char(char c)
{
    return is_alpha(c) || is_digit(c) || c == '-' || c == '_';
}

static bool is_ipv6_char(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') || c == ':' || c == '.';
}

static hub_str_t skip(hub_str_t text, size_t len)
{
    return hub_str_n(text.base + len, text.len - len);
}

/* How long the host at the start of `text` is: labels with single dots between them and perhaps
 * one at the end, or an IPv6 literal with its brackets. 0: none. */
static size_t host_len(hub_str_t text)
{
    size_t len = 0;

    if (text.len > 0 && text.base[0] == '[') {
        for (len = 1; len < text.len && is_ipv6_char(text.base[len]); len++)
            ;
        return len > 1 && len < text.len && text.base[len] == ']' ? len + 1 : 0;
    }
    while (len < text.len && (is_name_char(text.base[len]) ||
                              (text.base[len] == '.' && len > 0 && text.base[len - 1] != '.')))
        len++;
    return len;
}

/* 1-65535 without leading zeros; 0: anything else. */
static unsigned parse_port(hub_str_t digits)
{
    unsigned port = 0;

    if (digits.len == 0 || digits.len > 5 || digits.base[0] == '0')
        return 0;
    for (size_t i = 0; i < digits.len; i++) {
        if (!is_digit(digits.base[i]))
            return 0;
        port = port * 10 + (unsigned)(digits.base[i] - '0');
    }
    return port <= PORT_MAX ? port : 0;
}

/* `offset` is of the first byte that does not fit. */
static bool parse_authority(hub_str_t text, struct authority *authority, size_t *offset)
{
    size_t len = host_len(text);

    *offset = len;
    *authority = (struct authority){.host = hub_str_n(text.base, len)};
    if (len == 0 || len == text.len)
        return len > 0;
    if (text.base[len] != ':')
        return false;
    authority->port = parse_port(skip(text, len + 1));
    return authority->port != 0;
}

/* RFC 3986 3.1, with the "://" behind it; 0: none. */
static size_t scheme_len(hub_str_t text)
{
    size_t len = 0;

    while (len < text.len &&
           (is_alpha(text.base[len]) ||
            (len > 0 && (is_digit(text.base[len]) || memchr("+-.", text.base[len], 3) != NULL))))
        len++;
    return len > 0 && hub_str_starts_with(skip(text, len), HUB_STR("://")) ? len : 0;
}

static bool parse_origin(hub_str_t text, struct origin *origin)
{
    size_t offset;

    *origin = (struct origin){.scheme = hub_str_n(text.base, scheme_len(text))};
    return origin->scheme.len > 0 &&
           parse_authority(skip(text, origin->scheme.len + 3), &origin->authority, &offset);
}

/* As parse_origin(), with the liberties of a list's entry. */
static bool parse_entry(hub_str_t text, struct origin *entry, size_t *offset)
{
    hub_str_t rest;
    size_t begin;
    bool ok;

    *offset = 0;
    if (text.len == 0)
        return false;
    *entry = (struct origin){.scheme = hub_str_n(text.base, scheme_len(text))};
    begin = entry->scheme.len == 0 ? 0 : entry->scheme.len + 1;
    if (!hub_str_starts_with(skip(text, begin), HUB_STR("//")))
        return false;
    begin += 2;
    entry->wildcard = hub_str_starts_with(skip(text, begin), HUB_STR("*."));
    begin += entry->wildcard ? 2 : 0;
    rest = skip(text, begin);
    ok = parse_authority(rest, &entry->authority, offset);
    *offset += begin;
    return ok && !(entry->wildcard && rest.base[0] == '[');
}

/* 0: a scheme that has none. */
static unsigned default_port(hub_str_t scheme)
{
    if (hub__str_equals_nocase(scheme, HUB_STR("http")))
        return 80;
    return hub__str_equals_nocase(scheme, HUB_STR("https")) ? 443 : 0;
}

static unsigned effective_port(const struct authority *authority, hub_str_t scheme)
{
    return authority->port != 0 ? authority->port : default_port(scheme);
}

/* Whether `host` is `domain` with one or more labels ahead. */
static bool is_below(hub_str_t host, hub_str_t domain)
{
    size_t ahead;

    if (host.len < domain.len + 2)
        return false;
    ahead = host.len - domain.len;
    return host.base[ahead - 1] == '.' && hub__str_equals_nocase(skip(host, ahead), domain);
}

bool hub__host_valid(hub_str_t host)
{
    struct authority authority;
    size_t offset;

    return parse_authority(host, &authority, &offset);
}

bool hub__origin_is_same(hub_str_t origin, hub_str_t host)
{
    struct authority server;
    struct origin page;
    size_t offset;

    if (!parse_origin(origin, &page) || !parse_authority(host, &server, &offset))
        return false;
    return default_port(page.scheme) != 0 &&
           effective_port(&page.authority, page.scheme) == effective_port(&server, page.scheme) &&
           hub__str_equals_nocase(page.authority.host, server.host);
}

bool hub__origin_host_is(hub_str_t origin, hub_str_t host_name)
{
    struct origin page;

    return parse_origin(origin, &page) && hub__str_equals_nocase(page.authority.host, host_name);
}

bool hub__origin_matches(hub_str_t origin, hub_str_t entry)
{
    struct origin page, allowed;
    size_t offset;

    if (!parse_origin(origin, &page) || !parse_entry(entry, &allowed, &offset))
        return false;
    if (allowed.scheme.len > 0 && !hub__str_equals_nocase(page.scheme, allowed.scheme))
        return false;
    if ((allowed.scheme.len > 0 || allowed.authority.port != 0) &&
        effective_port(&page.authority, page.scheme) !=
            effective_port(&allowed.authority, page.scheme))
        return false;
    return allowed.wildcard ? is_below(page.authority.host, allowed.authority.host)
                            : hub__str_equals_nocase(page.authority.host, allowed.authority.host);
}

hub_status_t hub__origin_entry_check(hub_str_t entry, hub_error_t *error)
{
    struct origin parsed;
    size_t offset;

    if (parse_entry(entry, &parsed, &offset))
        return HUB_OK;
    if (offset == 0)
        return hub_error_set(error, HUB_EINVAL, 0,
                             "origin \"%.*s\": must begin with a scheme and :// or with //",
                             HUB_STR_ARG(entry));
    return hub_error_set(
        error, HUB_EINVAL, offset,
        "origin \"%.*s\": from byte %zu on it is not a host (ASCII; *. only at its "
        "start) with an optional port and nothing behind it",
        HUB_STR_ARG(entry), offset);
}
