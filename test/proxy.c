/* SPDX-License-Identifier: MIT */
/* One lock over everything: the thread holds it but for its poll(), so a command acts on the
 * connections itself. After each wake-up every connection is tried, whatever it was that woke it:
 * there are few of them. */
#define _GNU_SOURCE /* accept4 */
#include "test/proxy.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "test/port.h"

#define LINKS_MAX 64
#define CHUNK (64 * 1024)
#define WAITING_MAX (1024 * 1024) /* of one way; past it nothing is read, as TCP would have it */

/* Bytes on their way. */
struct chunk {
    struct chunk *next;
    uint64_t due_ms;
    size_t size;
    size_t sent;
    char bytes[];
};

/* One way of a connection. */
struct lane {
    int from;
    int to;
    struct chunk *first;
    struct chunk **last;
    size_t waiting;
    bool ended; /* nothing more comes from there */
    bool deaf;  /* all is thrown away */
};

struct link {
    int client;
    int broker;
    struct lane lanes[2]; /* to the client, to the broker */
};

struct proxy {
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t turned;
    uint64_t turns;
    int listener; /* -1: refuses */
    bool hold;
    bool stop;
    unsigned delay_ms;
    size_t accepted;
    struct link *links[LINKS_MAX];
    size_t link_count;

    unsigned port;
    unsigned broker_port;
    int port_fd;
    int wake_fd;
    pthread_t thread;
};

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static struct sockaddr_in address_of(unsigned port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int listen_at(unsigned port)
{
    struct sockaddr_in address = address_of(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, LINKS_MAX) == 0)
        return fd;
    close(fd);
    return -1;
}

static void wake(proxy_t *proxy)
{
    uint64_t one = 1;

    if (write(proxy->wake_fd, &one, sizeof(one)) != sizeof(one))
        abort();
}

/* The end of a command: a descriptor closed in it ends no sooner than the poll() that looks at
 * it. */
static void finish(proxy_t *proxy)
{
    uint64_t turns = proxy->turns;

    wake(proxy);
    while (proxy->turns == turns)
        pthread_cond_wait(&proxy->turned, &proxy->lock);
    pthread_mutex_unlock(&proxy->lock);
}

/* ---- links; all under the lock ---- */

static void append(struct lane *lane, const void *bytes, size_t size, uint64_t due_ms)
{
    struct chunk *chunk = malloc(sizeof(*chunk) + size);

    if (chunk == NULL)
        abort();
    *chunk = (struct chunk){.size = size, .due_ms = due_ms};
    memcpy(chunk->bytes, bytes, size);
    *lane->last = chunk;
    lane->last = &chunk->next;
    lane->waiting += size;
}

static void drop_first(struct lane *lane)
{
    struct chunk *chunk = lane->first;

    lane->first = chunk->next;
    if (lane->first == NULL)
        lane->last = &lane->first;
    lane->waiting -= chunk->size;
    free(chunk);
}

static void drop_all(struct lane *lane)
{
    while (lane->first != NULL)
        drop_first(lane);
}

/* An RST where `reset`, and where the peer has sent what nobody read. */
static void close_link(struct link *link, bool reset)
{
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};

    if (reset) {
        setsockopt(link->client, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
        setsockopt(link->broker, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    }
    close(link->client);
    close(link->broker);
    drop_all(&link->lanes[0]);
    drop_all(&link->lanes[1]);
    free(link);
}

static void remove_link(proxy_t *proxy, size_t at, bool reset)
{
    close_link(proxy->links[at], reset);
    proxy->links[at] = proxy->links[--proxy->link_count];
}

static void add_link(proxy_t *proxy, int client)
{
    struct sockaddr_in address = address_of(proxy->broker_port);
    struct link *link = calloc(1, sizeof(*link));
    int on = 1;

    if (link == NULL)
        abort();
    link->client = client;
    link->broker = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    setsockopt(link->client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(link->broker, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    link->lanes[0] = (struct lane){.from = link->broker, .to = link->client};
    link->lanes[1] = (struct lane){.from = link->client, .to = link->broker};
    link->lanes[0].last = &link->lanes[0].first;
    link->lanes[1].last = &link->lanes[1].first;
    proxy->accepted++;
    if (proxy->link_count == LINKS_MAX ||
        (connect(link->broker, (struct sockaddr *)&address, sizeof(address)) == -1 &&
         errno != EINPROGRESS)) {
        close_link(link, true);
        return;
    }
    proxy->links[proxy->link_count++] = link;
}

static void accept_all(proxy_t *proxy)
{
    int client;

    while (proxy->listener != -1 &&
           (client = accept4(proxy->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) != -1)
        add_link(proxy, client);
}

/* False: the connection is broken. */
static bool read_some(const proxy_t *proxy, struct lane *lane)
{
    static _Thread_local char bytes[CHUNK];
    ssize_t got = 1;

    while (!lane->ended && lane->waiting < WAITING_MAX && got > 0) {
        got = recv(lane->from, bytes, sizeof(bytes), 0);
        if (got > 0 && !lane->deaf)
            append(lane, bytes, (size_t)got, now_ms() + proxy->delay_ms);
        if (got == -1 && (errno == EAGAIN || errno == ENOTCONN))
            return true;
        lane->ended |= got <= 0;
    }
    return got >= 0;
}

/* False: the connection is broken, or over. */
static bool write_some(struct lane *lane)
{
    uint64_t now = now_ms();

    while (lane->first != NULL && lane->first->due_ms <= now) {
        struct chunk *chunk = lane->first;
        ssize_t sent =
            send(lane->to, chunk->bytes + chunk->sent, chunk->size - chunk->sent, MSG_NOSIGNAL);

        if (sent == -1)
            return errno == EAGAIN || errno == ENOTCONN;
        chunk->sent += (size_t)sent;
        if (chunk->sent == chunk->size)
            drop_first(lane);
    }
    return !lane->ended || lane->first != NULL || lane->deaf;
}

static bool proceed(const proxy_t *proxy, struct link *link)
{
    bool broken = false;

    for (int i = 0; i < 2; i++)
        broken |= !read_some(proxy, &link->lanes[i]) || !write_some(&link->lanes[i]);
    /* of who is deaf nobody hears that it is broken either */
    return !broken || (link->lanes[0].deaf && link->lanes[1].deaf);
}

static void proceed_all(proxy_t *proxy)
{
    for (size_t i = proxy->link_count; i-- > 0 && !proxy->hold;) {
        if (!proceed(proxy, proxy->links[i]))
            remove_link(proxy, i, false);
    }
}

/* ---- the thread ---- */

/* Until when to wait for `link`, and for what. */
static uint64_t watch(const struct link *link, struct pollfd *ret_polls, uint64_t until_ms)
{
    ret_polls[0] = (struct pollfd){.fd = link->client};
    ret_polls[1] = (struct pollfd){.fd = link->broker};
    for (int i = 0; i < 2; i++) {
        const struct lane *lane = &link->lanes[i];
        struct pollfd *to = &ret_polls[i], *from = &ret_polls[1 - i];

        if (!lane->ended && lane->waiting < WAITING_MAX)
            from->events |= POLLIN;
        if (lane->first != NULL && lane->first->due_ms <= now_ms())
            to->events |= POLLOUT;
        else if (lane->first != NULL && lane->first->due_ms < until_ms)
            until_ms = lane->first->due_ms;
    }
    for (int i = 0; i < 2; i++) {
        if (ret_polls[i].events == 0)
            ret_polls[i].fd = -1; /* poll() would tell of its end again and again */
    }
    return until_ms;
}

/* Under the lock, which it lets go of meanwhile. */
static void wait_for_something(proxy_t *proxy)
{
    struct pollfd polls[2 + 2 * LINKS_MAX];
    nfds_t count = 0;
    uint64_t until_ms = UINT64_MAX, now, woken;
    int timeout_ms = -1;

    polls[count++] = (struct pollfd){.fd = proxy->wake_fd, .events = POLLIN};
    polls[count++] = (struct pollfd){.fd = proxy->listener, .events = POLLIN};
    for (size_t i = 0; i < proxy->link_count && !proxy->hold; i++, count += 2)
        until_ms = watch(proxy->links[i], polls + count, until_ms);
    now = now_ms();
    if (until_ms != UINT64_MAX)
        timeout_ms = until_ms <= now ? 0 : (int)(until_ms - now);
    pthread_mutex_unlock(&proxy->lock);
    poll(polls, count, timeout_ms);
    if (read(proxy->wake_fd, &woken, sizeof(woken)) == -1 && errno != EAGAIN)
        abort();
    pthread_mutex_lock(&proxy->lock);
    proxy->turns++;
    pthread_cond_broadcast(&proxy->turned);
}

static void *run(void *arg)
{
    proxy_t *proxy = arg;

    pthread_mutex_lock(&proxy->lock);
    while (!proxy->stop) {
        accept_all(proxy);
        proceed_all(proxy);
        wait_for_something(proxy);
    }
    pthread_mutex_unlock(&proxy->lock);
    return NULL;
}

/* ---- life ---- */

static void proxy_free(proxy_t *proxy)
{
    while (proxy->link_count > 0)
        remove_link(proxy, 0, false);
    if (proxy->listener != -1)
        close(proxy->listener);
    if (proxy->port_fd != -1)
        close(proxy->port_fd);
    close(proxy->wake_fd);
    pthread_cond_destroy(&proxy->turned);
    pthread_mutex_destroy(&proxy->lock);
    free(proxy);
}

proxy_t *proxy_start(unsigned broker_port)
{
    proxy_t *proxy = calloc(1, sizeof(*proxy));

    if (proxy == NULL)
        abort();
    pthread_mutex_init(&proxy->lock, NULL);
    pthread_cond_init(&proxy->turned, NULL);
    proxy->broker_port = broker_port;
    proxy->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    proxy->port_fd = port_claim(&proxy->port);
    proxy->listener = listen_at(proxy->port);
    if (proxy->port_fd != -1 && proxy->listener != -1 &&
        pthread_create(&proxy->thread, NULL, run, proxy) == 0)
        return proxy;
    proxy_free(proxy);
    return NULL;
}

void proxy_stop(proxy_t *proxy)
{
    if (proxy == NULL)
        return;
    pthread_mutex_lock(&proxy->lock);
    proxy->stop = true;
    wake(proxy);
    pthread_mutex_unlock(&proxy->lock);
    pthread_join(proxy->thread, NULL);
    proxy_free(proxy);
}

unsigned proxy_port(const proxy_t *proxy)
{
    return proxy->port;
}

/* ---- commands ---- */

void proxy_reset(proxy_t *proxy)
{
    pthread_mutex_lock(&proxy->lock);
    accept_all(proxy); /* those that the kernel has accepted already */
    while (proxy->link_count > 0)
        remove_link(proxy, 0, true);
    finish(proxy);
}

void proxy_refuse(proxy_t *proxy, bool refuse)
{
    pthread_mutex_lock(&proxy->lock);
    if (refuse && proxy->listener != -1) {
        accept_all(proxy);
        close(proxy->listener);
        proxy->listener = -1;
    } else if (!refuse && proxy->listener == -1) {
        proxy->listener = listen_at(proxy->port);
        if (proxy->listener == -1)
            abort();
    }
    finish(proxy);
}

void proxy_deafen(proxy_t *proxy, proxy_way_t way)
{
    pthread_mutex_lock(&proxy->lock);
    accept_all(proxy);
    for (size_t i = 0; i < proxy->link_count; i++) {
        for (int k = 0; k < 2; k++) {
            struct lane *lane = &proxy->links[i]->lanes[k];

            if (((unsigned)way & (k == 0 ? PROXY_TO_CLIENT : PROXY_TO_BROKER)) == 0)
                continue;
            lane->deaf = true;
            drop_all(lane);
        }
    }
    finish(proxy);
}

void proxy_hold(proxy_t *proxy, bool hold)
{
    pthread_mutex_lock(&proxy->lock);
    proxy->hold = hold;
    finish(proxy);
}

void proxy_inject(proxy_t *proxy, const void *bytes, size_t size)
{
    pthread_mutex_lock(&proxy->lock);
    for (size_t i = 0; i < proxy->link_count; i++)
        append(&proxy->links[i]->lanes[0], bytes, size, 0);
    finish(proxy);
}

void proxy_delay(proxy_t *proxy, unsigned delay_ms)
{
    pthread_mutex_lock(&proxy->lock);
    proxy->delay_ms = delay_ms;
    finish(proxy);
}

size_t proxy_accepted(proxy_t *proxy)
{
    size_t accepted;

    pthread_mutex_lock(&proxy->lock);
    accepted = proxy->accepted;
    pthread_mutex_unlock(&proxy->lock);
    return accepted;
}

size_t proxy_open(proxy_t *proxy)
{
    size_t count;

    pthread_mutex_lock(&proxy->lock);
    count = proxy->link_count;
    pthread_mutex_unlock(&proxy->lock);
    return count;
}
