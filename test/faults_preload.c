/* SPDX-License-Identifier: MIT */
/* A kernel that is allowed all it may do, for programs started with this as LD_PRELOAD: calls on
 * sockets are interrupted, take or bring less than asked for, have to be tried again, and
 * connections are reset. What it does it could have done by itself: a socket that does not block is
 * interrupted here as well, an eventfd never.
 *
 *     FAULTS="seed 1 eintr 100 short 100 again 100 reset 1" LD_PRELOAD=…/faults_preload.so program
 *
 * Rates are per thousand calls; those that are not named are 0. "main 0": not in the first thread.
 * Each thread draws from the seed and its number, so what a thread's calls meet repeats as far as
 * its calls do. FAULTS_REPORT names a file for what was done, written at the end. */
#define _GNU_SOURCE 1
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

static struct {
    unsigned seed, eintr, shorter, again, reset, main;
} rates = {.main = 1};
static atomic_uint interrupted, shortened, tried_again, resets;
static atomic_uint threads;
static _Thread_local uint64_t drawn;

static void read_rates(void)
{
    struct {
        const char *name;
        unsigned *value;
    } const names[] = {{"seed", &rates.seed},   {"eintr", &rates.eintr}, {"short", &rates.shorter},
                       {"again", &rates.again}, {"reset", &rates.reset}, {"main", &rates.main}};
    const char *text = getenv("FAULTS");

    for (size_t i = 0; text != NULL && i != sizeof(names) / sizeof(names[0]); i++) {
        const char *at = strstr(text, names[i].name);

        if (at != NULL)
            *names[i].value = (unsigned)strtoul(at + strlen(names[i].name), NULL, 10);
    }
}

__attribute__((constructor)) static void begin(void)
{
    read_rates();
}

__attribute__((destructor)) static void end(void)
{
    const char *path = getenv("FAULTS_REPORT");
    FILE *file = path != NULL ? fopen(path, "we") : NULL;

    if (file == NULL)
        return;
    fprintf(file, "%u %u %u %u\n", atomic_load(&interrupted), atomic_load(&shortened),
            atomic_load(&tried_again), atomic_load(&resets));
    fclose(file);
}

/* splitmix64 */
static uint64_t draw(void)
{
    uint64_t mixed;

    if (drawn == 0)
        drawn = rates.seed * UINT64_C(1000003) + atomic_fetch_add(&threads, 1) + 1;
    mixed = drawn += UINT64_C(0x9e3779b97f4a7c15);
    mixed = (mixed ^ mixed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ mixed >> 27) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ mixed >> 31;
}

static bool happens(unsigned per_mille)
{
    return per_mille != 0 && draw() % 1000 < per_mille;
}

static bool is_spared(void)
{
    return rates.main == 0 && gettid() == getpid();
}

static bool is_socket(int fd)
{
    int saved = errno, type;
    socklen_t len = sizeof(type);
    bool is = getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0;

    errno = saved;
    return is;
}

static bool fails_with(unsigned per_mille, int error, atomic_uint *count)
{
    if (!happens(per_mille))
        return false;
    atomic_fetch_add(count, 1);
    errno = error;
    return true;
}

/* Whether a call on a connected socket fails. */
static bool fails(int fd)
{
    if (is_spared() || !is_socket(fd))
        return false;
    return fails_with(rates.eintr, EINTR, &interrupted) ||
           fails_with(rates.again, EAGAIN, &tried_again) ||
           fails_with(rates.reset, ECONNRESET, &resets);
}

static size_t shorten(int fd, size_t len)
{
    if (len < 2 || is_spared() || !is_socket(fd) || !happens(rates.shorter))
        return len;
    atomic_fetch_add(&shortened, 1);
    return 1 + (size_t)(draw() % (len - 1));
}

/* The whole of it, or less. */
static int shorten_vector(int fd, const struct iovec *from, int count, struct iovec *one)
{
    size_t len;

    if (count < 1)
        return count;
    len = shorten(fd, from[0].iov_len);
    if (len == from[0].iov_len)
        return count;
    *one = (struct iovec){from[0].iov_base, len};
    return 0;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

EXPORT ssize_t read(int fd, void *bytes, size_t len)
{
    static __typeof__(&read) next;

    if (next == NULL)
        next = NEXT(read);
    return fails(fd) ? -1 : next(fd, bytes, shorten(fd, len));
}

EXPORT ssize_t recv(int fd, void *bytes, size_t len, int flags)
{
    static __typeof__(&recv) next;

    if (next == NULL)
        next = NEXT(recv);
    return fails(fd) ? -1 : next(fd, bytes, shorten(fd, len), flags);
}

EXPORT ssize_t write(int fd, const void *bytes, size_t len)
{
    static __typeof__(&write) next;

    if (next == NULL)
        next = NEXT(write);
    return fails(fd) ? -1 : next(fd, bytes, shorten(fd, len));
}

EXPORT ssize_t send(int fd, const void *bytes, size_t len, int flags)
{
    static __typeof__(&send) next;

    if (next == NULL)
        next = NEXT(send);
    return fails(fd) ? -1 : next(fd, bytes, shorten(fd, len), flags);
}

EXPORT ssize_t writev(int fd, const struct iovec *iovecs, int count)
{
    static __typeof__(&writev) next;
    struct iovec one;

    if (next == NULL)
        next = NEXT(writev);
    if (fails(fd))
        return -1;
    return shorten_vector(fd, iovecs, count, &one) == 0 && count > 0 ? next(fd, &one, 1)
                                                                     : next(fd, iovecs, count);
}

EXPORT ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
    static __typeof__(&sendmsg) next;
    struct msghdr less = *msg;
    struct iovec one;

    if (next == NULL)
        next = NEXT(sendmsg);
    if (fails(fd))
        return -1;
    if (msg->msg_iovlen > 0 && shorten_vector(fd, msg->msg_iov, (int)msg->msg_iovlen, &one) == 0) {
        less.msg_iov = &one;
        less.msg_iovlen = 1;
    }
    return next(fd, &less, flags);
}

EXPORT int accept4(int fd, struct sockaddr *address, socklen_t *len, int flags)
{
    static __typeof__(&accept4) next;

    if (next == NULL)
        next = NEXT(accept4);
    if (!is_spared() && (fails_with(rates.eintr, EINTR, &interrupted) ||
                         fails_with(rates.again, ECONNABORTED, &tried_again)))
        return -1;
    return next(fd, address, len, flags);
}

EXPORT int epoll_wait(int fd, struct epoll_event *events, int max, int timeout_ms)
{
    static __typeof__(&epoll_wait) next;

    if (next == NULL)
        next = NEXT(epoll_wait);
    if (!is_spared() && fails_with(rates.eintr, EINTR, &interrupted))
        return -1;
    return next(fd, events, max, timeout_ms);
}
