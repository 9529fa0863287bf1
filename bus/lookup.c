/* SPDX-License-Identifier: MIT */
#include "bus/lookup.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "bus/log.h"

#define ADDRESSES_MAX 8
#define ADDRESS_BYTES 63 /* an IPv6 address and its zone */

typedef int (*hub__resolve_t)(const char *host, const char *service, const struct addrinfo *hints,
                              struct addrinfo **ret_found);

/* Tests have a name server that is silent. */
extern hub__resolve_t hub__lookup_resolve;
hub__resolve_t hub__lookup_resolve = getaddrinfo;

struct hub__lookup {
    atomic_uint refs; /* who asks, and the thread */
    hub__resolve_t resolve;
    int fd;
    atomic_bool answered; /* before the descriptor is readable */
    int failure;          /* what follows is the thread's until then */
    int error;            /* errno, where that is EAI_SYSTEM */
    unsigned count;
    char addresses[ADDRESSES_MAX][ADDRESS_BYTES + 1];
    char host[];
};

static void keep_addresses(hub__lookup_t *lookup, const struct addrinfo *found)
{
    for (; found != NULL && lookup->count < ADDRESSES_MAX; found = found->ai_next) {
        if (getnameinfo(found->ai_addr, found->ai_addrlen, lookup->addresses[lookup->count],
                        ADDRESS_BYTES + 1, NULL, 0, NI_NUMERICHOST) == 0)
            lookup->count++;
    }
}

static void *run(void *arg)
{
    hub__lookup_t *lookup = arg;
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;

    lookup->failure = lookup->resolve(lookup->host, NULL, &hints, &found);
    lookup->error = errno;
    if (lookup->failure == 0) {
        keep_addresses(lookup, found);
        freeaddrinfo(found);
    }
    atomic_store(&lookup->answered, true);
    eventfd_write(lookup->fd, 1);
    hub__lookup_release(lookup);
    return NULL;
}

hub__lookup_t *hub__lookup_start(const char *host)
{
    size_t size = strlen(host) + 1;
    hub__lookup_t *lookup = calloc(1, sizeof(*lookup) + size);
    pthread_attr_t detached;
    pthread_t thread;
    int failed;

    if (lookup == NULL)
        return NULL;
    memcpy(lookup->host, host, size);
    atomic_init(&lookup->refs, 2);
    lookup->resolve = hub__lookup_resolve;
    atomic_init(&lookup->answered, false);
    lookup->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    failed = lookup->fd < 0 ? errno : pthread_create(&thread, &detached, run, lookup);
    pthread_attr_destroy(&detached);
    if (failed == 0)
        return lookup;
    hub__lookup_release(lookup);
    hub__lookup_release(lookup);
    errno = failed;
    return NULL;
}

void hub__lookup_release(hub__lookup_t *lookup)
{
    if (lookup == NULL || atomic_fetch_sub(&lookup->refs, 1) != 1)
        return;
    if (lookup->fd >= 0)
        close(lookup->fd);
    free(lookup);
}

bool hub__lookup_is_done(const hub__lookup_t *lookup)
{
    return atomic_load(&lookup->answered);
}

int hub__lookup_fd(const hub__lookup_t *lookup)
{
    return lookup->fd;
}

static const char *reason(const hub__lookup_t *lookup)
{
    if (lookup->failure == EAI_SYSTEM)
        return strerror(lookup->error);
    return lookup->failure == 0 ? "no address" : gai_strerror(lookup->failure);
}

const char *hub__lookup_addresses(const hub__lookup_t *lookup, unsigned first,
                                  char buffer[HUB__LOOKUP_BYTES], hub_error_t *error)
{
    char field[HUB_LOG_FIELD];

    if (!atomic_load(&lookup->answered) || lookup->count == 0) {
        hub_error_set(error, HUB_ENOTFOUND, 0, "host %s: %s",
                      hub_log_escape(hub_str(lookup->host), field), reason(lookup));
        return NULL;
    }
    buffer[0] = '\0';
    for (unsigned i = 0; i < lookup->count; i++) {
        strcat(buffer, i == 0 ? "" : ",");
        strcat(buffer, lookup->addresses[(first + i) % lookup->count]);
    }
    return buffer;
}
