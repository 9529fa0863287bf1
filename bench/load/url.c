/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "bench/load/url.h"

#include <stdio.h>
#include <string.h>

#include "bench/options.h"

void url_parse(url_t *ret_url, const char *option, const char *scheme, const char *text)
{
    size_t scheme_len = strlen(scheme), host_len;
    const char *host = text + scheme_len + 3, *end, *port;

    if (strncmp(text, scheme, scheme_len) != 0 || strncmp(text + scheme_len, "://", 3) != 0)
        options_fail("--%s '%s': not %s://HOST:PORT/PATH", option, text, scheme);
    end = host + strcspn(host, "/?");
    port = *host == '[' ? memchr(host, ']', (size_t)(end - host)) : host;
    port = port != NULL ? memchr(port, ':', (size_t)(end - port)) : NULL;
    if (port == NULL || end - port < 2 || end - port > 6 ||
        strspn(port + 1, "0123456789") != (size_t)(end - port - 1))
        options_fail("--%s '%s': has no port", option, text);
    host_len = (size_t)(port - host);
    if (*host == '[') {
        ++host;
        host_len -= 2;
    }
    if (host_len == 0 || host_len >= sizeof(ret_url->host) || strlen(end) >= sizeof(ret_url->path))
        options_fail("--%s '%s': its host is missing, or it is too long", option, text);
    snprintf(ret_url->host, sizeof(ret_url->host), "%.*s", (int)host_len, host);
    snprintf(ret_url->port, sizeof(ret_url->port), "%.*s", (int)(end - port - 1), port + 1);
    snprintf(ret_url->path, sizeof(ret_url->path), "%s%s", *end == '/' ? "" : "/", end);
}
