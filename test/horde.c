/* SPDX-License-Identifier: MIT */
/* The sockets are not the clients of client.c, because those gather what comes in buffers, in the
 * same heap as the server's. */
#define _GNU_SOURCE 1
#include "test/horde.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "test/client.h"

#define SOURCES 10

size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

size_t horde_heap(void)
{
    return __sanitizer_get_current_allocated_bytes != NULL
               ? __sanitizer_get_current_allocated_bytes()
               : mallinfo2().uordblks + mallinfo2().hblkhd;
}

size_t horde_heap_kept(void)
{
    return __sanitizer_get_current_allocated_bytes != NULL ? 0 : 512 * 1024;
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int connect_from(unsigned source, const struct sockaddr_in *to)
{
    struct sockaddr_in from = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK + source)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof(from)), 0);
    if (connect(fd, (const struct sockaddr *)to, sizeof(*to)) != 0)
        fail_msg("cannot connect from 127.0.0.%u: %s", 1 + source, strerror(errno));
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

/* A process of ctest's may have a lower limit than it is allowed. */
static void allow_files(size_t count)
{
    struct rlimit limit;

    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < count && limit.rlim_max >= count) {
        limit.rlim_cur = count;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

void horde_connect(horde_t *horde, const char *address, size_t count)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    allow_files(2 * count + 200);
    to.sin_port = htons((uint16_t)strtoul(strrchr(address, ':') + 1, NULL, 10));
    horde->fds = malloc(count * sizeof(*horde->fds));
    assert_non_null(horde->fds);
    for (horde->count = 0; horde->count != count; horde->count++)
        horde->fds[horde->count] = connect_from((unsigned)(horde->count % SOURCES), &to);
}

/* The answer is read to the end of its head, and not further. */
static void expect_101(int fd)
{
    char head[1024];
    size_t len = 0;

    do {
        struct pollfd wait = {.fd = fd, .events = POLLIN};

        assert_int_equal(poll(&wait, 1, CLIENT_DEADLINE_MS), 1);
        assert_int_equal(recv(fd, head + len, 1, 0), 1);
        len++;
    } while (len < sizeof(head) && (len < 4 || memcmp(head + len - 4, "\r\n\r\n", 4) != 0));
    assert_memory_equal(head, "HTTP/1.1 101", 12);
}

void horde_open(horde_t *horde, const char *address, const char *target, size_t count)
{
    horde_connect(horde, address, count);
    horde_send(horde, hub_str(client_upgrade_text(target, "")));
    for (size_t i = 0; i != count; i++)
        expect_101(horde->fds[i]);
}

void horde_destroy(horde_t *horde)
{
    for (size_t i = 0; i != horde->count; i++)
        if (horde->fds[i] != -1)
            close(horde->fds[i]);
    free(horde->fds);
    *horde = (horde_t){0};
}

void horde_send(const horde_t *horde, hub_str_t bytes)
{
    for (size_t i = 0; i != horde->count; i++)
        if (horde->fds[i] != -1)
            (void)!send(horde->fds[i], bytes.base, bytes.len, MSG_NOSIGNAL);
}

static void drain_one(int *fd)
{
    static char bytes[65536];
    ssize_t got;

    while ((got = recv(*fd, bytes, sizeof(bytes), 0)) > 0)
        ;
    if (got == -1 && (errno == EAGAIN || errno == EINTR))
        return;
    close(*fd);
    *fd = -1;
}

size_t horde_drain(horde_t *horde)
{
    size_t connected = 0;

    for (size_t i = 0; i != horde->count; i++) {
        if (horde->fds[i] != -1)
            drain_one(&horde->fds[i]);
        connected += horde->fds[i] != -1;
    }
    return connected;
}

void horde_await_end(horde_t *horde, hub_str_t drip)
{
    int64_t deadline_ms = now_ms() + CLIENT_DEADLINE_MS;
    size_t at = 0, left;

    while ((left = horde_drain(horde)) != 0) {
        if (now_ms() > deadline_ms)
            fail_msg("%zu of %zu are still connected", left, horde->count);
        if (drip.len != 0)
            horde_send(horde, hub_str_n(drip.base + at++ % drip.len, 1));
        poll(NULL, 0, 1);
    }
}
