/* SPDX-License-Identifier: MIT */
/* A bus by URL: which backend has the scheme, and what of the URL is the core's. */
#include <stdlib.h>

#include "bus/internal.h"
#include "bus/log.h"
#include "bus/pulse.h"
#include "bus/url.h"

#define REGISTERED_MAX 32
#define SCHEME_BYTES_MAX 31
#define BYTES_MAX ((size_t)1 << 50) /* more is a slip of the hand */

typedef struct hub__scheme {
    const char *name;
    const hub_bus_backend_t *backend; /* NULL: not in this build */
    const char *why;                  /* in no build; NULL: it depends */
} hub__scheme_t;

/* A backend that the build left out still has its name here, for the error. */
#ifdef SOCKETHUB_REDIS
#define REDIS &hub__redis_backend
#else
#define REDIS NULL
#endif
#ifdef SOCKETHUB_NATS
#define NATS &hub__nats_backend
#else
#define NATS NULL
#endif
#ifdef SOCKETHUB_POSTGRES
#define POSTGRES &hub__postgres_backend
#else
#define POSTGRES NULL
#endif

static const hub__scheme_t builtin[] = {
    {"redis", REDIS, NULL},
    {"redis+unix", REDIS, NULL},
    {"rediss", NULL, "Debian's hiredis has no TLS; redis, through a tunnel"},
    {"nats", NATS, NULL},
    {"nats+tls", NATS, NULL},
    {"postgres", POSTGRES, NULL},
    {"postgresql", POSTGRES, NULL},
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    char name[SCHEME_BYTES_MAX + 1];
    const hub_bus_backend_t *backend;
} registered[REGISTERED_MAX];
static size_t registered_count;

static const hub__scheme_t *find_builtin(const char *scheme)
{
    for (size_t i = 0; i < sizeof(builtin) / sizeof(builtin[0]); i++) {
        if (strcmp(builtin[i].name, scheme) == 0)
            return &builtin[i];
    }
    return NULL;
}

/* Under the lock. */
static const hub_bus_backend_t *find_registered(const char *scheme)
{
    for (size_t i = 0; i < registered_count; i++) {
        if (strcmp(registered[i].name, scheme) == 0)
            return registered[i].backend;
    }
    return NULL;
}

static hub_status_t register_locked(const char *scheme, const hub_bus_backend_t *backend,
                                    hub_error_t *error)
{
    if (find_registered(scheme) != NULL || find_builtin(scheme) != NULL ||
        strcmp(scheme, "memory") == 0)
        return hub_error_set(error, HUB_EEXIST, 0, "bus scheme %s: is taken", scheme);
    if (registered_count == REGISTERED_MAX)
        return hub_error_set(error, HUB_ELIMIT, 0, "bus scheme %s: %d are registered already",
                             scheme, REGISTERED_MAX);
    strcpy(registered[registered_count].name, scheme);
    registered[registered_count++].backend = backend;
    return HUB_OK;
}

hub_status_t hub_bus_register(const char *scheme, const hub_bus_backend_t *backend,
                              hub_error_t *error)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789+-.";
    size_t len = strlen(scheme), good = strspn(scheme, allowed);
    char field[HUB_LOG_FIELD];
    hub_status_t err;

    if (len == 0 || len > SCHEME_BYTES_MAX || good != len)
        return hub_error_set(error, HUB_EINVAL, good,
                             "bus scheme %s: 1 to %d small letters, digits, '+', '-' and '.'",
                             hub_log_escape(hub_str(scheme), field), SCHEME_BYTES_MAX);
    if ((err = hub__backend_check(backend, error)) != HUB_OK)
        return err;
    pthread_mutex_lock(&lock);
    err = register_locked(scheme, backend, error);
    pthread_mutex_unlock(&lock);
    return err;
}

/* A number of milliseconds, or "off" where it may be. */
static hub_status_t take_ms(hub__url_t *url, const char *name, bool may_be_off, size_t *ms,
                            hub_error_t *error)
{
    const char *text = hub__url_take(url, name);

    if (text == NULL || hub__url_size(text, HUB__PULSE_MS_MIN, HUB__PULSE_MS_MAX, ms))
        return HUB_OK;
    if (!may_be_off || strcmp(text, "off") != 0)
        return hub_error_set(error, HUB_EINVAL, 0, "bus URL, %s: it is a number from %d to %d%s",
                             name, HUB__PULSE_MS_MIN, HUB__PULSE_MS_MAX,
                             may_be_off ? " or off" : "");
    *ms = HUB_OFF;
    return HUB_OK;
}

/* A number of bytes. */
static hub_status_t take_bytes(hub__url_t *url, const char *name, size_t *bytes, hub_error_t *error)
{
    const char *text = hub__url_take(url, name);

    if (text == NULL || hub__url_size(text, 0, BYTES_MAX, bytes))
        return HUB_OK;
    return hub_error_set(error, HUB_EINVAL, 0, "bus URL, %s: it is a number of bytes", name);
}

/* What the URL says of the core goes over what the program said. */
static hub_status_t take_options(hub__url_t *url, hub_bus_options_t *options, hub_error_t *error)
{
    const char *name = hub__url_take(url, "name"), *degraded = hub__url_take(url, "degraded");
    size_t answer_timeout = options->answer_timeout_ms;
    hub_status_t err;

    if (name != NULL)
        options->name = name;
    if ((err = take_ms(url, "probe_ms", true, &options->probe_interval_ms, error)) != HUB_OK ||
        (err = take_ms(url, "probe_timeout_ms", false, &options->probe_timeout_ms, error)) !=
            HUB_OK ||
        (err = take_ms(url, "position_ms", true, &options->position_interval_ms, error)) !=
            HUB_OK ||
        (err = take_bytes(url, "buffer", &options->buffer_bytes, error)) != HUB_OK ||
        (err = take_ms(url, "answer_timeout_ms", false, &answer_timeout, error)) != HUB_OK ||
        (err = take_bytes(url, "in_flight", &options->in_flight_bytes, error)) != HUB_OK)
        return err;
    options->answer_timeout_ms = (uint32_t)answer_timeout;
    if (degraded == NULL)
        return HUB_OK;
    if (strcmp(degraded, "local") != 0 && strcmp(degraded, "no") != 0)
        return hub_error_set(error, HUB_EINVAL, 0, "bus URL, degraded: it is local or no");
    options->degraded_local = *degraded == 'l';
    return HUB_OK;
}

static hub_status_t find_backend(const char *scheme, const hub_bus_backend_t **ret_backend,
                                 hub_error_t *error)
{
    const hub__scheme_t *known = find_builtin(scheme);
    char field[HUB_LOG_FIELD];

    pthread_mutex_lock(&lock);
    *ret_backend = known != NULL ? known->backend : find_registered(scheme);
    pthread_mutex_unlock(&lock);
    if (*ret_backend != NULL)
        return HUB_OK;
    hub_log_escape(hub_str(scheme), field);
    if (known != NULL)
        return hub_error_set(error, HUB_EINVAL, 0, "bus scheme %s: %s", field,
                             known->why != NULL ? known->why : "this build has no such backend");
    return hub_error_set(error, HUB_EINVAL, 0,
                         "bus scheme %s: unknown; there are memory, redis, redis+unix, nats, "
                         "nats+tls and postgres",
                         field);
}

static hub_status_t open_url(hub__url_t *url, hub_bus_options_t *options, hub_bus_t **ret_bus,
                             hub_error_t *error)
{
    bool memory = strcmp(url->parts.scheme, "memory") == 0;
    hub_status_t err = take_options(url, options, error);
    char field[HUB_LOG_FIELD];

    if (err != HUB_OK)
        return err;
    if (!memory && (err = find_backend(url->parts.scheme, &options->backend, error)) != HUB_OK)
        return err;
    if (memory && url->parts.param_count > 0)
        return hub_error_set(error, HUB_EINVAL, 0, "bus URL, %s: memory has no such option",
                             hub_log_escape(hub_str(url->params[0].name), field));
    return hub__bus_create(options, memory ? NULL : &url->parts, ret_bus, error);
}

hub_status_t hub_bus_open(const char *text, const hub_bus_options_t *options, hub_bus_t **ret_bus,
                          hub_error_t *error)
{
    hub_bus_options_t own = {0};
    hub__url_t *url;
    hub_status_t err;

    if (options != NULL)
        own = *options;
    if (own.backend != NULL)
        return hub_error_set(error, HUB_EINVAL, 0,
                             "bus options, backend: the URL says which one it is");
    url = malloc(sizeof(*url));
    if (url == NULL)
        return hub_error_set(error, HUB_ENOMEM, 0, "no memory for a bus");
    err = hub__url_parse(text, url, error);
    if (err == HUB_OK)
        err = open_url(url, &own, ret_bus, error);
    explicit_bzero(url, sizeof(*url)); /* the password */
    free(url);
    return err;
}
