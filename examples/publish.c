/* SPDX-License-Identifier: MIT */

/* A program with work of its own: a thread that publishes ten times a second into three topics.
 *
 * Shows: hub_publish() and deferred replies from a thread that is not the hub's, and work too long
 * for a callback done on the hub's pool of threads. Join ticker:1 and hear its ticks; then send
 * `next`, answered by the thread with its next tick, or `primes`, answered when they are counted.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "options.h"

#define TICK_NS 100000000
#define WAITING_MAX 64
#define PRIMES_BELOW 500000

struct ticker {
    hub_t *hub;
    atomic_bool stopping;
    pthread_mutex_t lock; /* guards what follows */
    size_t waiting_count;
    hub_token_t waiting[WAITING_MAX]; /* who asked for `next` */
};

static void answer_waiting(struct ticker *ticker, hub_payload_t response)
{
    pthread_mutex_lock(&ticker->lock);
    for (size_t i = 0; i < ticker->waiting_count; i++)
        if (hub_reply(ticker->hub, &ticker->waiting[i], response) != HUB_OK)
            fprintf(stderr, "publish: a reply was lost\n");
    ticker->waiting_count = 0;
    pthread_mutex_unlock(&ticker->lock);
}

static void *tick(void *user)
{
    static const char *const topics[] = {"ticker:1", "ticker:2", "ticker:3"};
    struct ticker *ticker = user;
    struct timespec next;
    char text[40];

    clock_gettime(CLOCK_MONOTONIC, &next);
    for (unsigned long count = 1; !atomic_load(&ticker->stopping); count++) {
        snprintf(text, sizeof(text), "{\"tick\":%lu}", count);
        for (size_t i = 0; i < sizeof(topics) / sizeof(topics[0]); i++) {
            hub_status_t err = hub_publish(ticker->hub, hub_str(topics[i]), HUB_STR("tick"),
                                           hub_json(hub_str(text)));

            if (err != HUB_OK && err != HUB_ECLOSED) /* closed: not yet started, or stopped */
                fprintf(stderr, "publish: %s: %s\n", topics[i], hub_status_text(err));
        }
        answer_waiting(ticker, hub_json(hub_str(text)));
        next.tv_nsec += TICK_NS;
        next.tv_sec += next.tv_nsec / 1000000000;
        next.tv_nsec %= 1000000000;
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
    }
    return NULL;
}

static hub_status_t on_next(hub_member_t *me, const hub_message_t *msg)
{
    struct ticker *ticker = hub_member_channel_user(me);
    bool taken;

    pthread_mutex_lock(&ticker->lock);
    taken = ticker->waiting_count < WAITING_MAX;
    if (taken)
        ticker->waiting[ticker->waiting_count++] = hub_member_token(me, msg);
    pthread_mutex_unlock(&ticker->lock);
    return taken ? HUB_PENDING : HUB_EBUSY;
}

struct count {
    hub_t *hub;
    hub_token_t token; /* whom to answer */
    unsigned primes;
};

/* On a thread of the pool, where nothing of the hub may be touched but what `user` holds. */
static void count_primes(void *user)
{
    struct count *count = user;

    for (unsigned n = 2; n < PRIMES_BELOW; n++) {
        unsigned divisor = 2;

        while (divisor * divisor <= n && n % divisor != 0)
            divisor++;
        count->primes += divisor * divisor > n;
    }
}

/* Back on the loop; cancelled when the member ended first. */
static void on_counted(hub_member_t *me, hub_status_t status, void *user)
{
    struct count *count = user;
    char text[40];

    (void)me;
    snprintf(text, sizeof(text), "{\"primes\":%u}", count->primes);
    if (status == HUB_OK && hub_reply(count->hub, &count->token, hub_json(hub_str(text))) != HUB_OK)
        fprintf(stderr, "publish: a reply was lost\n");
    free(count);
}

static hub_status_t on_primes(hub_member_t *me, const hub_message_t *msg)
{
    struct count *count = calloc(1, sizeof(*count));
    hub_status_t err = HUB_ENOMEM;

    if (count != NULL)
        err = hub_member_offload(me, "primes", count_primes, on_counted, count);
    if (err != HUB_OK) {
        free(count);
        return err == HUB_EEXIST ? HUB_EBUSY : err; /* one count at a time for each member */
    }
    count->hub = hub_member_hub(me); /* in time: on_counted() runs on this loop, so after us */
    count->token = hub_member_token(me, msg);
    return HUB_PENDING;
}

int main(int argc, char **argv)
{
    static const hub_event_handler_t events[] = {
        {"next", on_next}, {"primes", on_primes}, {NULL, NULL}};
    static struct ticker ticker = {.lock = PTHREAD_MUTEX_INITIALIZER};
    const char *host = "127.0.0.1";
    unsigned long port = 4000;
    const struct choice choices[] = {
        {"host", "the address to listen on", .text = &host},
        {"port", "0 lets the kernel pick one", .number = &port, .max = 65535},
        {.name = NULL}};
    hub_error_t error = {HUB_OK, 0, ""};
    hub_server_t *server = NULL;
    pthread_t thread;
    hub_status_t err;

    read_options(argc, argv, choices);
    hold_signals(); /* before the thread starts: it must not take what is meant for the server */
    err = hub_create(NULL, &ticker.hub);
    if (err == HUB_OK)
        err = hub_channel_add(ticker.hub, &(hub_channel_options_t){.pattern = "ticker:{number}",
                                                                   .events = events,
                                                                   .user = &ticker});
    if (err == HUB_OK)
        err = hub_server_create(&(hub_server_options_t){.ret_error = &error}, &server);
    if (err == HUB_OK)
        err = hub_server_mount(server, ticker.hub, NULL);
    if (err == HUB_OK && pthread_create(&thread, NULL, tick, &ticker) != 0)
        err = HUB_ESYSTEM;
    if (err == HUB_OK) {
        err = serve(server, argv[0], host, port, NULL, &error);
        atomic_store(&ticker.stopping, true);
        pthread_join(thread, NULL);
    }
    hub_server_destroy(server);
    hub_destroy(ticker.hub);
    return err == HUB_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
