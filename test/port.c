/* SPDX-License-Identifier: MIT */
/* Two tests that pick at the same time would find the same port free, so each claims a name for it
 * first, which the kernel gives to one process only and takes back at its end. */
#include "test/port.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define PORT_FIRST 20000
#define PORT_COUNT 12000 /* Linux gives its own from 32768 on */
#define TRIES 20

static struct sockaddr_in address_of(unsigned port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static bool port_is_free(unsigned port)
{
    struct sockaddr_in address = address_of(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    bool is_free;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    is_free = bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
    close(fd);
    return is_free;
}

/* A name that only one process can have, and that is gone with it: -1 where another has it. */
static int claim(unsigned port)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int len =
        snprintf(name.sun_path + 1, sizeof(name.sun_path) - 1, "sockethub-test-port-%u", port);

    if (bind(fd, (struct sockaddr *)&name,
             (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len)) == 0)
        return fd;
    close(fd);
    return -1;
}

int port_claim(unsigned *ret_port)
{
    for (int i = 0; i < TRIES; i++) {
        unsigned random;
        int fd;

        if (getrandom(&random, sizeof(random), 0) != sizeof(random))
            return -1;
        *ret_port = PORT_FIRST + random % PORT_COUNT;
        fd = claim(*ret_port);
        if (fd != -1 && port_is_free(*ret_port))
            return fd;
        if (fd != -1)
            close(fd);
    }
    return -1;
}

int port_dial(unsigned port, int limit_seconds)
{
    struct sockaddr_in address = address_of(port);
    struct timeval limit = {.tv_sec = limit_seconds};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    close(fd);
    return -1;
}
