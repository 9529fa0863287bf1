/* SPDX-License-Identifier: MIT */
#include "test/fake_redis.h"

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNS_MAX 16
#define LISTENER 0
#define STOP 1
#define FIXED 2

struct fake_redis {
    const fake_redis_lines_t *lines;
    unsigned port;
    int stop[2];
    atomic_size_t accepted;
    pthread_t thread;
    struct pollfd polled[FIXED + CONNS_MAX]; /* of the thread, as what follows */
    int heard[FIXED + CONNS_MAX];
    size_t number[FIXED + CONNS_MAX]; /* of the connection */
};

static void end_conn(fake_redis_t *fake, size_t at)
{
    close(fake->polled[at].fd);
    fake->polled[at].fd = -1;
}

static void say(fake_redis_t *fake, size_t at, const char *text, bool last)
{
    size_t len = text == NULL ? 0 : strlen(text);

    if (len > 0 && send(fake->polled[at].fd, text, len, MSG_NOSIGNAL) != (ssize_t)len)
        last = true;
    if (last)
        end_conn(fake, at);
}

static void on_bytes(fake_redis_t *fake, size_t at)
{
    const fake_redis_lines_t *lines = fake->lines;
    char bytes[4096];

    if (recv(fake->polled[at].fd, bytes, sizeof(bytes), 0) <= 0)
        end_conn(fake, at);
    else if (lines->in_turn && fake->number[at] % 2 != fake->number[at] / 2 % 2)
        return;
    else if (fake->heard[at]++ == 0)
        say(fake, at, lines->first, lines->hang_up && lines->second == NULL);
    else if (fake->heard[at] == 2)
        say(fake, at, lines->second, lines->hang_up);
}

static void on_conn(fake_redis_t *fake)
{
    int fd = accept(fake->polled[LISTENER].fd, NULL, NULL);

    for (size_t i = FIXED; i < FIXED + CONNS_MAX && fd != -1; i++) {
        if (fake->polled[i].fd != -1)
            continue;
        fake->polled[i] = (struct pollfd){.fd = fd, .events = POLLIN};
        fake->heard[i] = 0;
        fake->number[i] = atomic_fetch_add(&fake->accepted, 1);
        return;
    }
    close(fd);
}

static void *run(void *arg)
{
    fake_redis_t *fake = arg;

    while (poll(fake->polled, FIXED + CONNS_MAX, -1) >= 0 && fake->polled[STOP].revents == 0) {
        for (size_t i = FIXED; i < FIXED + CONNS_MAX; i++) {
            if (fake->polled[i].fd != -1 && fake->polled[i].revents != 0)
                on_bytes(fake, i);
        }
        if (fake->polled[LISTENER].revents != 0)
            on_conn(fake);
    }
    return NULL;
}

fake_redis_t *fake_redis_start(const fake_redis_lines_t *lines)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    fake_redis_t *fake = calloc(1, sizeof(*fake));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (bind(fd, (struct sockaddr *)&address, size) != 0 || listen(fd, CONNS_MAX) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &size) != 0 || pipe(fake->stop) != 0)
        abort();
    fake->lines = lines;
    fake->port = ntohs(address.sin_port);
    for (size_t i = 0; i < FIXED + CONNS_MAX; i++)
        fake->polled[i].fd = -1;
    fake->polled[LISTENER] = (struct pollfd){.fd = fd, .events = POLLIN};
    fake->polled[STOP] = (struct pollfd){.fd = fake->stop[0], .events = POLLIN};
    if (pthread_create(&fake->thread, NULL, run, fake) != 0)
        abort();
    return fake;
}

void fake_redis_stop(fake_redis_t *fake)
{
    if (fake == NULL)
        return;
    close(fake->stop[1]);
    pthread_join(fake->thread, NULL);
    for (size_t i = 0; i < FIXED + CONNS_MAX; i++) {
        if (fake->polled[i].fd != -1)
            close(fake->polled[i].fd);
    }
    free(fake);
}

unsigned fake_redis_port(const fake_redis_t *fake)
{
    return fake->port;
}

size_t fake_redis_accepted(fake_redis_t *fake)
{
    return atomic_load(&fake->accepted);
}
