/* SPDX-License-Identifier: MIT */
/* How many reads and writes a delivery takes, only the server can count without being slowed down.
 */
#define _GNU_SOURCE
#include "bench/load/metrics.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "bench/load/buffer.h"
#include "bench/load/url.h"
#include "bench/report.h"

#define TIMEOUT_S 5

static int connect_to(const url_t *url, const char *text)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    const struct timeval timeout = {.tv_sec = TIMEOUT_S};
    struct addrinfo *found = NULL;
    int fd, err = getaddrinfo(url->host, url->port, &hints, &found);

    if (err != 0)
        bench_fail("--metrics %s: %s", text, gai_strerror(err));
    fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd == -1)
        bench_fail("--metrics %s: %s", text, strerror(errno));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
    if (connect(fd, found->ai_addr, found->ai_addrlen) != 0)
        bench_fail("--metrics %s: %s", text, strerror(errno));
    freeaddrinfo(found);
    return fd;
}

/* Until the server closes: HTTP/1.0 asks for that. */
static void read_all(int fd, const char *url, char *text)
{
    size_t len = 0;
    ssize_t got = 0;

    while (len != METRICS_BYTES - 1 && (got = recv(fd, text + len, METRICS_BYTES - 1 - len, 0)) > 0)
        len += (size_t)got;
    if (got != 0)
        bench_fail("--metrics %s: %s", url, got > 0 ? "the answer is too long" : strerror(errno));
    text[len] = '\0';
    if (strstr(text, "\r\n\r\n") == NULL || strncmp(text, "HTTP/1.", 7) != 0 ||
        strncmp(text + 8, " 200 ", 5) != 0)
        bench_fail("--metrics %s: answered %.*s", url, (int)strcspn(text, "\r\n"), text);
}

metrics_t metrics_fetch(const char *text)
{
    metrics_t metrics = {.text = load_calloc(METRICS_BYTES, 1)};
    url_t url;
    char request[1024];
    int len, fd;

    url_parse(&url, "metrics", "http", text);
    len = snprintf(request, sizeof(request),
                   "GET %s HTTP/1.0\r\nHost: %s:%s\r\nConnection: close\r\n\r\n", url.path,
                   url.host, url.port);
    fd = connect_to(&url, text);
    if (send(fd, request, (size_t)len, MSG_NOSIGNAL) != len)
        bench_fail("--metrics %s: %s", text, strerror(errno));
    read_all(fd, text, metrics.text);
    close(fd);
    return metrics;
}

void metrics_dispose(metrics_t *metrics)
{
    free(metrics->text);
    metrics->text = NULL;
}

bool metrics_value(const metrics_t *metrics, const char *name, double *ret_value)
{
    size_t len = strlen(name);
    bool found = false;

    *ret_value = 0;
    if (metrics->text == NULL)
        return false;
    for (const char *line = metrics->text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, len) != 0 || (line[len] != ' ' && line[len] != '{'))
            continue;
        found = true;
        *ret_value +=
            strtod(line + len + (line[len] == '{' ? strcspn(line + len, "}\n") + 1 : 0), NULL);
    }
    return found;
}
