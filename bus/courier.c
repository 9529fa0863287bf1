/* SPDX-License-Identifier: MIT */
#include "bus/courier.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#define PAUSE_MS_FIRST 100u
#define PAUSE_MS_MAX 2000u

static void free_orders(hub__order_t *order)
{
    hub__order_t *next;

    for (; order != NULL; order = next) {
        next = order->next;
        free(order);
    }
}

void hub__orders_init(hub__orders_t *orders)
{
    orders->first = NULL;
    orders->last = &orders->first;
}

void hub__orders_append(hub__orders_t *orders, hub__order_t *order)
{
    order->next = NULL;
    *orders->last = order;
    orders->last = &order->next;
}

hub__order_t *hub__orders_take(hub__orders_t *orders)
{
    hub__order_t *order = orders->first;

    if (order != NULL && (orders->first = order->next) == NULL)
        orders->last = &orders->first;
    return order;
}

void hub__orders_clear(hub__orders_t *orders)
{
    free_orders(orders->first);
    hub__orders_init(orders);
}

/* Under the lock. */
static void wake(hub__courier_t *courier)
{
    static const uint64_t one = 1;

    if (courier->woken)
        return;
    courier->woken = true;
    while (write(courier->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

/* Signals are for the program's threads, and a client library that writes to a broker that is gone
 * raises SIGPIPE. */
int hub__courier_thread(pthread_t *ret_thread, void *(*run)(void *arg), void *arg)
{
    sigset_t signals, before;
    int failed;

    sigfillset(&signals);
    sigdelset(&signals, SIGSEGV);
    sigdelset(&signals, SIGBUS);
    sigdelset(&signals, SIGFPE);
    sigdelset(&signals, SIGILL);
    sigdelset(&signals, SIGABRT);
    pthread_sigmask(SIG_BLOCK, &signals, &before); /* the thread inherits it */
    failed = pthread_create(ret_thread, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

hub_status_t hub__courier_start(hub__courier_t *courier, void *(*run)(void *arg), void *arg,
                                hub_error_t *error)
{
    *courier = (hub__courier_t){.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    courier->last = &courier->first;
    if (courier->wake_fd < 0)
        return hub_error_set(error, HUB_ESYSTEM, 0, "eventfd: no descriptor for the bus");
    pthread_mutex_init(&courier->lock, NULL);
    if (hub__courier_thread(&courier->thread, run, arg) == 0)
        return HUB_OK;
    pthread_mutex_destroy(&courier->lock);
    close(courier->wake_fd);
    return hub_error_set(error, HUB_ESYSTEM, 0, "pthread_create: no thread for the bus");
}

void hub__courier_ask_stop(hub__courier_t *courier)
{
    pthread_mutex_lock(&courier->lock);
    courier->stop = true;
    wake(courier);
    pthread_mutex_unlock(&courier->lock);
}

void hub__courier_stop(hub__courier_t *courier)
{
    hub__courier_ask_stop(courier);
    pthread_join(courier->thread, NULL);
    free_orders(courier->first);
    pthread_mutex_destroy(&courier->lock);
    close(courier->wake_fd);
}

static hub__order_t *order_create(hub__order_kind_t kind, hub_str_t topic, hub_str_t bytes,
                                  uint64_t token)
{
    hub__order_t *order = malloc(sizeof(*order) + topic.len + bytes.len + 2);
    char *at;

    if (order == NULL)
        return NULL;
    at = order->data;
    *order = (hub__order_t){.kind = kind, .token = token};
    order->topic = hub_str_n(at, topic.len);
    memcpy(at, topic.base, topic.len);
    at[topic.len] = '\0';
    at += topic.len + 1;
    order->bytes = hub_str_n(at, bytes.len);
    if (bytes.len > 0)
        memcpy(at, bytes.base, bytes.len);
    at[bytes.len] = '\0';
    return order;
}

hub_status_t hub__courier_put(hub__courier_t *courier, hub__order_kind_t kind, hub_str_t topic,
                              hub_str_t bytes, uint64_t token)
{
    hub__order_t *order = order_create(kind, topic, bytes, token);
    bool open;

    if (order == NULL)
        return HUB_ENOMEM;
    pthread_mutex_lock(&courier->lock);
    open = courier->open;
    if (open) {
        *courier->last = order;
        courier->last = &order->next;
        wake(courier);
    }
    pthread_mutex_unlock(&courier->lock);
    if (open)
        return HUB_OK;
    free(order);
    return HUB_EBUSDOWN;
}

void hub__courier_ask_reconnect(hub__courier_t *courier)
{
    pthread_mutex_lock(&courier->lock);
    courier->reconnect = true;
    wake(courier);
    pthread_mutex_unlock(&courier->lock);
}

void hub__courier_wake(hub__courier_t *courier)
{
    pthread_mutex_lock(&courier->lock);
    wake(courier);
    pthread_mutex_unlock(&courier->lock);
}

void hub__courier_condition_init(pthread_cond_t *condition)
{
    pthread_condattr_t monotonic;

    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

uint64_t hub__courier_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

struct timespec hub__courier_deadline(unsigned ms)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    return until;
}

static hub__order_t *take_orders(hub__courier_t *courier)
{
    hub__order_t *orders = courier->first;

    courier->first = NULL;
    courier->last = &courier->first;
    return orders;
}

hub__courier_due_t hub__courier_take(hub__courier_t *courier)
{
    hub__courier_due_t due;
    uint64_t count;

    pthread_mutex_lock(&courier->lock);
    if (courier->woken) {
        while (read(courier->wake_fd, &count, sizeof(count)) < 0 && errno == EINTR)
            ;
        courier->woken = false;
    }
    due.orders = take_orders(courier);
    due.reconnect = courier->reconnect;
    due.stop = courier->stop;
    courier->reconnect = false;
    pthread_mutex_unlock(&courier->lock);
    return due;
}

void hub__courier_set_open(hub__courier_t *courier, bool open)
{
    hub__order_t *dropped = NULL;

    pthread_mutex_lock(&courier->lock);
    courier->open = open;
    if (!open)
        dropped = take_orders(courier);
    pthread_mutex_unlock(&courier->lock);
    free_orders(dropped);
}

int hub__courier_wait(hub__courier_t *courier, int fd, short events, int timeout_ms)
{
    struct pollfd polled[2] = {
        {.fd = courier->wake_fd, .events = POLLIN},
        {.fd = fd, .events = events},
    };

    if (poll(polled, 2, timeout_ms) <= 0)
        return 0;
    return polled[1].revents;
}

bool hub__courier_rest(hub__courier_t *courier, int ms)
{
    uint64_t end_ms = hub__courier_now_ms() + (uint64_t)ms, now_ms;

    while (!hub__courier_take(courier).stop) {
        now_ms = hub__courier_now_ms();
        if (now_ms >= end_ms)
            return false;
        hub__courier_wait(courier, -1, 0, (int)(end_ms - now_ms));
    }
    return true;
}

int hub__courier_pause_ms(unsigned attempt)
{
    unsigned longest = attempt > 4 ? PAUSE_MS_MAX : PAUSE_MS_FIRST << attempt;
    uint32_t random;

    if (getrandom(&random, sizeof(random), 0) != sizeof(random))
        return (int)longest;
    return (int)(random % ((longest < PAUSE_MS_MAX ? longest : PAUSE_MS_MAX) + 1));
}
