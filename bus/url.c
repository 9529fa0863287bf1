/* SPDX-License-Identifier: MIT */
#include "bus/url.h"

#include <stdlib.h>

#define PORT_MAX 65535

static int hex(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    digit = (char)(digit | 0x20);
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* In place. Returns the first character that is wrong, NULL if none is. */
static const char *decode(char *text)
{
    char *to = text;

    for (const char *from = text; *from != '\0'; ++from) {
        int high, low;

        if (*from != '%') {
            *to++ = *from;
            continue;
        }
        if ((high = hex(from[1])) < 0 || (low = hex(from[2])) < 0 || high + low == 0)
            return from;
        *to++ = (char)(high * 16 + low);
        from += 2;
    }
    *to = '\0';
    return NULL;
}

static hub_status_t wrong(const hub__url_t *url, const char *at, const char *what,
                          hub_error_t *error)
{
    return hub_error_set(error, HUB_EINVAL, (size_t)(at - url->text), "bus URL, offset %zu: %s",
                         (size_t)(at - url->text), what);
}

static hub_status_t decode_part(hub__url_t *url, char *part, hub_error_t *error)
{
    const char *at = part == NULL ? NULL : decode(part);

    return at == NULL ? HUB_OK : wrong(url, at, "'%' wants two hexadecimal digits, not 00", error);
}

/* Cuts `text` at the first of `separators`, which becomes a NUL. NULL: there is none. */
static char *cut(char *text, const char *separators)
{
    char *at = strpbrk(text, separators);

    if (at == NULL)
        return NULL;
    *at = '\0';
    return at + 1;
}

static bool has_param(const hub__url_t *url, const char *name)
{
    for (size_t i = 0; i < url->parts.param_count; i++) {
        if (strcmp(url->params[i].name, name) == 0)
            return true;
    }
    return false;
}

static hub_status_t parse_params(hub__url_t *url, char *query, hub_error_t *error)
{
    while (query != NULL && *query != '\0') {
        char *next = cut(query, "&"), *value = cut(query, "=");
        hub_status_t err;

        if (*query == '\0' || value == NULL)
            return wrong(url, query, "a parameter is name=value", error);
        if (url->parts.param_count == HUB__URL_PARAMS_MAX)
            return wrong(url, query, "more than 32 parameters", error);
        if ((err = decode_part(url, query, error)) != HUB_OK ||
            (err = decode_part(url, value, error)) != HUB_OK)
            return err;
        if (has_param(url, query))
            return wrong(url, query, "this parameter is there twice", error);
        url->params[url->parts.param_count++] = (hub_bus_param_t){query, value};
        query = next;
    }
    return HUB_OK;
}

bool hub__url_size(const char *text, size_t least, size_t most, size_t *ret_size)
{
    char *end;
    unsigned long long number = strtoull(text, &end, 10); /* the largest if it does not fit */

    if (*text < '0' || *text > '9' || *end != '\0' || number < least || number > most)
        return false;
    *ret_size = (size_t)number;
    return true;
}

bool hub__url_number(const char *text, unsigned least, unsigned most, unsigned *ret_number)
{
    size_t number;

    if (!hub__url_size(text, least, most, &number))
        return false;
    *ret_number = (unsigned)number;
    return true;
}

static hub_status_t parse_port(hub__url_t *url, const char *text, hub_error_t *error)
{
    if (!hub__url_number(text, 1, PORT_MAX, &url->parts.port))
        return wrong(url, text, "a port is a number from 1 to 65535", error);
    return HUB_OK;
}

static hub_status_t parse_host(hub__url_t *url, char *host, hub_error_t *error)
{
    char *port;
    hub_status_t err;

    if (*host == '[') { /* RFC 3986, section 3.2.2 */
        char *end = strchr(++host, ']');

        if (end == NULL || (end[1] != ':' && end[1] != '\0'))
            return wrong(url, host, "an IPv6 address ends with ']'", error);
        port = end[1] == ':' ? end + 2 : NULL;
        *end = '\0';
    } else {
        port = cut(host, ":");
    }
    url->parts.host = *host == '\0' ? NULL : host;
    err = decode_part(url, host, error);
    return err != HUB_OK || port == NULL ? err : parse_port(url, port, error);
}

static hub_status_t parse_authority(hub__url_t *url, char *authority, hub_error_t *error)
{
    char *host = strrchr(authority, '@'), *password;
    hub_status_t err;

    if (host == NULL)
        return parse_host(url, authority, error);
    *host++ = '\0';
    password = cut(authority, ":");
    url->parts.user = *authority == '\0' ? NULL : authority;
    url->parts.password = password;
    if ((err = decode_part(url, authority, error)) != HUB_OK ||
        (err = decode_part(url, password, error)) != HUB_OK)
        return err;
    return parse_host(url, host, error);
}

/* A password that was not escaped would be taken for a host, a path and parameters, which errors
 * and logs name. */
static const char *find_astray(const char *rest)
{
    size_t authority = strncmp(rest, "//", 2) == 0 ? 2 + strcspn(rest + 2, "/?") : 0;

    return authority == 0 || memchr(rest, '@', authority) != NULL ? NULL
                                                                  : strchr(rest + authority, '@');
}

/* Behind "scheme:". */
static hub_status_t parse_rest(hub__url_t *url, char *rest, hub_error_t *error)
{
    const char *astray = find_astray(rest);
    char *query = cut(rest, "?");
    hub_status_t err;

    if (astray != NULL)
        return wrong(url, astray,
                     "'@' behind the host; in a password '/' is %2F, '?' is %3F, '@' is %40",
                     error);
    if ((err = parse_params(url, query, error)) != HUB_OK)
        return err;
    if (rest[0] == '/' && rest[1] == '/') {
        char *path = cut(rest + 2, "/");

        if ((err = parse_authority(url, rest + 2, error)) != HUB_OK)
            return err;
        rest = path;
    }
    url->parts.path = rest == NULL || *rest == '\0' ? NULL : rest;
    return decode_part(url, rest, error);
}

hub_status_t hub__url_parse(const char *text, hub__url_t *ret_url, hub_error_t *error)
{
    static const char scheme_characters[] = "abcdefghijklmnopqrstuvwxyz0123456789+-.";
    size_t len = strlen(text), scheme = strspn(text, scheme_characters);

    if (len > HUB__URL_BYTES_MAX)
        return hub_error_set(error, HUB_EINVAL, HUB__URL_BYTES_MAX, "bus URL: longer than %d bytes",
                             HUB__URL_BYTES_MAX);
    memcpy(ret_url->text, text, len + 1);
    ret_url->parts = (hub_bus_url_t){.scheme = ret_url->text, .params = ret_url->params};
    if (scheme == 0 || text[scheme] != ':')
        return wrong(ret_url, ret_url->text + scheme, "no scheme, as in redis://127.0.0.1:6379",
                     error);
    ret_url->text[scheme] = '\0';
    return parse_rest(ret_url, ret_url->text + scheme + 1, error);
}

const char *hub__url_take(hub__url_t *url, const char *name)
{
    for (size_t i = 0; i < url->parts.param_count; i++) {
        hub_bus_param_t param = url->params[i];

        if (strcmp(param.name, name) != 0)
            continue;
        memmove(&url->params[i], &url->params[i + 1],
                (--url->parts.param_count - i) * sizeof(param));
        return param.value;
    }
    return NULL;
}
