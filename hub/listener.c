/* SPDX-License-Identifier: MIT */
/* Addresses and their sockets: bound, shared out among the workers, tuned. */
#include "hub/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 4096
#define SEND_BUFFER (128 * 1024)
#define TLS_RECEIVE_BUFFER (128 * 1024) /* the kernel doubles it, for what it needs itself */
#define NOTSENT_LOWAT (64 * 1024)
#define UNACKED_MS 20000 /* what a peer that is cut off leaves the kernel with is given up then */

static hub_status_t fail(hub_error_t *error, const char *address, const char *why)
{
    return hub_error_set(error, HUB_ESYSTEM, 0, "listen: address \"%s\": %s", address, why);
}

static hub_status_t bad_address(hub_error_t *error, const char *address)
{
    return hub_error_set(
        error, HUB_ESYNTAX, 0,
        "listen: address \"%s\" is none of host:port, [ipv6]:port, unix:/path, fd:number", address);
}

static hub_status_t split_address(const char *address, char *host, size_t size, char *port,
                                  size_t port_size, hub_error_t *error)
{
    const char *colon = strrchr(address, ':'), *start = address;
    size_t len = colon != NULL ? (size_t)(colon - address) : 0;
    bool bracketed = len >= 2 && address[0] == '[' && address[len - 1] == ']';
    unsigned long number;
    char *end;

    if (bracketed) {
        ++start;
        len -= 2;
    }
    if (colon == NULL || len >= size || colon[1] == '\0' || memchr(start, '[', len) != NULL ||
        memchr(start, ']', len) != NULL || (!bracketed && memchr(start, ':', len) != NULL))
        return bad_address(error, address);
    number = strtoul(colon + 1, &end, 10);
    if (*end != '\0' || number > 65535 || colon[1] < '0' || colon[1] > '9' ||
        strlen(colon + 1) >= port_size)
        return hub_error_set(error, HUB_ESYNTAX, 0,
                             "listen: address \"%s\": \"%s\" is no port (0 to 65535)", address,
                             colon + 1);
    memcpy(host, start, len);
    host[len] = '\0';
    strcpy(port, colon + 1);
    return HUB_OK;
}

static char *describe(int fd)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof(address);
    char host[NI_MAXHOST], port[NI_MAXSERV];
    hub__buffer_t text = {0};

    if (getsockname(fd, (struct sockaddr *)&address, &len) != 0 ||
        getnameinfo((struct sockaddr *)&address, len, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return NULL;
    hub__buffer_printf(&text, address.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
    hub__buffer_append(&text, hub_str_n("", 1));
    return text.base;
}

static void tune(int fd)
{
    int on = 1, send_buffer = SEND_BUFFER, lowat = NOTSENT_LOWAT, unacked_ms = UNACKED_MS;

    /* accepted sockets inherit them; where the kernel does not know one it does without */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof(send_buffer));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof(lowat));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacked_ms, sizeof(unacked_ms));
}

static int open_tcp(const struct addrinfo *info, const struct sockaddr *address, bool share)
{
    int on = 1;
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd == -1)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        (share && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0) ||
        (info->ai_family == AF_INET6 &&
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) != 0) ||
        bind(fd, address, info->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        int saved = errno;

        close(fd);
        errno = saved;
        return -1;
    }
    tune(fd);
    return fd;
}

/* The first socket is bound alone, so that a port in use is an error, also against ourselves; then
 * it makes way for those that share. */
static int open_shared(hub__listener_t *listener, const struct addrinfo *info)
{
    struct sockaddr_storage bound;
    socklen_t len = sizeof(bound);
    int alone = open_tcp(info, info->ai_addr, false);

    if (alone == -1 || listener->count == 1) {
        listener->fds[0] = alone;
        return alone;
    }
    if (getsockname(alone, (struct sockaddr *)&bound, &len) != 0) {
        close(alone);
        return -1;
    }
    close(alone);
    for (unsigned i = 0; i != listener->count; ++i)
        if ((listener->fds[i] = open_tcp(info, (struct sockaddr *)&bound, true)) == -1)
            return -1;
    return listener->fds[0];
}

static hub_status_t listen_tcp(hub__listener_t *listener, const char *address, hub_error_t *error)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *info;
    char host[256], port[8];
    hub_status_t err = split_address(address, host, sizeof(host), port, sizeof(port), error);
    int failed;

    if (err != HUB_OK)
        return err;
    if ((failed = getaddrinfo(host[0] != '\0' ? host : NULL, port, &hints, &info)) != 0)
        return fail(error, address, gai_strerror(failed));
    if (open_shared(listener, info) == -1)
        err = fail(error, address, strerror(errno));
    else
        listener->address = describe(listener->fds[0]);
    freeaddrinfo(info);
    return err;
}

/* Every worker from `first` on accepts from the same socket. */
static hub_status_t share(hub__listener_t *listener, const char *address, int fd, unsigned first,
                          hub_error_t *error)
{
    for (unsigned i = first; i != listener->count; ++i)
        if ((listener->fds[i] = fcntl(fd, F_DUPFD_CLOEXEC, 0)) == -1)
            return fail(error, address, strerror(errno));
    return HUB_OK;
}

static hub_status_t listen_unix(hub__listener_t *listener, const char *address, hub_error_t *error)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    const char *path = address + strlen("unix:");
    int fd;

    if (path[0] == '\0' || strlen(path) >= sizeof(name.sun_path))
        return hub_error_set(error, HUB_ESYNTAX, 0,
                             "listen: address \"%s\": a path of 1 to %zu bytes", address,
                             sizeof(name.sun_path) - 1);
    strcpy(name.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd == -1)
        return fail(error, address, strerror(errno));
    if (bind(fd, (struct sockaddr *)&name, sizeof(name)) != 0 || listen(fd, BACKLOG) != 0) {
        int saved = errno;

        close(fd);
        return fail(error, address, strerror(saved));
    }
    listener->unix_path = hub__str_copy(hub_str(path));
    listener->address = hub__str_copy(hub_str(address));
    listener->fds[0] = fd;
    return share(listener, address, fd, 1, error);
}

static hub_status_t listen_inherited(hub__listener_t *listener, const char *address,
                                     hub_error_t *error)
{
    char *end;
    unsigned long number = strtoul(address + strlen("fd:"), &end, 10);
    int listening = 0;
    socklen_t len = sizeof(listening);

    if (end == address + strlen("fd:") || *end != '\0' || number > INT32_MAX)
        return hub_error_set(error, HUB_ESYNTAX, 0, "listen: address \"%s\": no descriptor number",
                             address);
    if (getsockopt((int)number, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) != 0)
        return fail(error, address, strerror(errno));
    if (listening == 0)
        return fail(error, address, "the descriptor is no listening socket");
    if ((listener->address = describe((int)number)) == NULL)
        listener->address = hub__str_copy(hub_str(address));
    return share(listener, address, (int)number, 0, error);
}

hub_status_t hub__listener_open(const char *address, unsigned workers,
                                hub__listener_t **ret_listener, hub_error_t *error)
{
    hub__listener_t *listener = hub__alloc_zeroed(sizeof(*listener));
    hub_status_t err;

    listener->count = workers;
    listener->fds = hub__alloc(workers * sizeof(*listener->fds));
    for (unsigned i = 0; i != workers; ++i)
        listener->fds[i] = -1;
    if (strncmp(address, "unix:", 5) == 0)
        err = listen_unix(listener, address, error);
    else if (strncmp(address, "fd:", 3) == 0)
        err = listen_inherited(listener, address, error);
    else
        err = listen_tcp(listener, address, error);
    if (err != HUB_OK) {
        hub__listener_destroy(listener);
        return err;
    }
    *ret_listener = listener;
    return HUB_OK;
}

/* h2o reads until a read comes back short, and over TLS it keeps all of that twice: what the kernel
 * takes is the bound. */
void hub__listener_secure(hub__listener_t *listener, hub__tls_t *tls)
{
    int receive_buffer = TLS_RECEIVE_BUFFER;

    listener->tls = tls;
    for (unsigned i = 0; i != listener->count; ++i)
        (void)setsockopt(listener->fds[i], SOL_SOCKET, SO_RCVBUF, &receive_buffer,
                         sizeof(receive_buffer));
}

void hub__listener_destroy(hub__listener_t *listener)
{
    for (unsigned i = 0; i != listener->count; ++i)
        if (listener->fds[i] != -1)
            close(listener->fds[i]);
    if (listener->unix_path != NULL)
        unlink(listener->unix_path);
    hub__tls_destroy(listener->tls);
    free(listener->unix_path);
    free(listener->address);
    free(listener->fds);
    free(listener);
}
