/* SPDX-License-Identifier: MIT */
/* PostgreSQL behind the bus: a table carries the messages, NOTIFY says that there is one. Two
 * connections, since the answer to a publish must not wait for what others said: the mouth, which
 * publishes, and the ear, which listens and fetches.
 *
 * The thread goes round one circle: open both, serve until something is wrong, close both, pause.
 * Whatever is wrong ends in the one place that says so in the log, once for each thing said. */
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "bus/buffer.h"
#include "bus/internal.h"
#include "bus/log.h"
#include "bus/lookup.h"
#include "bus/postgres_ear.h"
#include "bus/postgres_mouth.h"
#include "bus/url.h"

#define LARGEST_DEFAULT (8u * 1024 * 1024)
#define LARGEST_LEAST 1024
#define LARGEST_MOST (256u * 1024 * 1024)
#define KEEP_SECONDS_DEFAULT 60
#define KEEP_SECONDS_MOST (24 * 3600)
#define CONNECT_SECONDS_DEFAULT 3
#define CONNECT_SECONDS_MOST 60
#define SILENCE_MS 10000 /* a server that owes an answer is given up */
#define LOCK_MS_MOST 2000
#define STEADY_MS 2000 /* a connection that stood so long was a good one */
#define NAMES_MAX 40
#define NAMES_OWN 12 /* of these: what is not an option of the URL, and the end */
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

typedef struct postgres {
    hub__courier_t courier;
    hub_bus_t *bus;
    /* as of PQconnectStartParams(); owned */
    const char *names[NAMES_MAX];
    const char *values[NAMES_MAX];
    size_t count;
    const char *host;      /* to be looked up; NULL: libpq needs no name server for it */
    hub__lookup_t *lookup; /* the last one, perhaps not answered yet */
    unsigned largest;
    unsigned keep_seconds;
    unsigned connect_seconds;
    hub__postgres_ear_t ear;
    hub__postgres_mouth_t mouth;
    hub_error_t said; /* the last failure in the log */
} postgres_t;

/* ---- the thread ---- */

/* HUB_OK: there is nothing to say. */
static hub_status_t take_orders(postgres_t *self, bool *ret_stop, hub_error_t *error)
{
    hub__courier_due_t due = hub__courier_take(&self->courier);
    hub_status_t err = HUB_OK;
    hub__order_t *next;

    *ret_stop = due.stop;
    if (due.reconnect && !due.stop)
        err = hub_error_set(error, HUB_EUNKNOWN, 0, "the bus wants another connection");
    for (hub__order_t *order = due.orders; order != NULL; order = next) {
        next = order->next;
        if (err != HUB_OK)
            free(order);
        else if (order->kind == HUB__ORDER_PUBLISH)
            hub__postgres_mouth_take(&self->mouth, order);
        else if (!hub__postgres_ear_take(&self->ear, order, error))
            err = HUB_ENOMEM;
    }
    return err;
}

static int ms_until(uint64_t due_ms)
{
    uint64_t now = hub__courier_now_ms();

    return due_ms <= now ? 0 : (int)(due_ms - now);
}

static bool check_silence(const hub__postgres_link_t *link, hub_error_t *error)
{
    if (!link->busy || ms_until(link->moved_ms + SILENCE_MS) > 0)
        return true;
    hub_error_set(error, HUB_ETIMEOUT, 0, "%s: no answer for %d s", link->use, SILENCE_MS / 1000);
    return false;
}

static int next_timeout(const postgres_t *self)
{
    const hub__postgres_mouth_t *mouth = &self->mouth;
    int timeout = SILENCE_MS;

    if (mouth->clears && !mouth->link.busy && ms_until(mouth->clear_ms) < timeout)
        timeout = ms_until(mouth->clear_ms);
    if (mouth->link.busy && ms_until(mouth->link.moved_ms + SILENCE_MS) < timeout)
        timeout = ms_until(mouth->link.moved_ms + SILENCE_MS);
    if (self->ear.link.busy && ms_until(self->ear.link.moved_ms + SILENCE_MS) < timeout)
        timeout = ms_until(self->ear.link.moved_ms + SILENCE_MS);
    return timeout;
}

static bool wait_and_move(postgres_t *self, hub_error_t *error)
{
    hub__postgres_link_t *ear = &self->ear.link, *mouth = &self->mouth.link;
    struct pollfd polled[] = {
        {.fd = self->courier.wake_fd, .events = POLLIN},
        {.fd = PQsocket(ear->conn), .events = hub__postgres_link_events(ear)},
        {.fd = PQsocket(mouth->conn), .events = hub__postgres_link_events(mouth)},
    };

    if (poll(polled, 3, next_timeout(self)) < 0)
        return true; /* interrupted */
    return (polled[1].revents == 0 || hub__postgres_link_move(ear, polled[1].revents, error)) &&
           (polled[2].revents == 0 || hub__postgres_link_move(mouth, polled[2].revents, error)) &&
           check_silence(ear, error) && check_silence(mouth, error);
}

/* Until something is wrong, with `error`, or the bus is closed. */
static void serve(postgres_t *self, bool *ret_stop, hub_error_t *error)
{
    while (take_orders(self, ret_stop, error) == HUB_OK && !*ret_stop) {
        if (!hub__postgres_mouth_proceed(&self->mouth, error) ||
            !hub__postgres_ear_proceed(&self->ear, error) || !wait_and_move(self, error))
            return;
    }
}

struct found {
    char addresses[HUB__LOOKUP_BYTES];
    hub__buffer_t hosts; /* libpq wants the name again for each of them */
};

/* The later of two values counts. */
static void use_found(postgres_t *self, struct found *found)
{
    hub__buffer_printf(&found->hosts, "%s", self->host);
    for (const char *at = strchr(found->addresses, ','); at != NULL; at = strchr(at + 1, ','))
        hub__buffer_printf(&found->hosts, ",%s", self->host);
    self->names[self->count] = "host";
    self->values[self->count] = found->hosts.base;
    self->names[self->count + 1] = "hostaddr";
    self->values[self->count + 1] = found->addresses;
}

static void forget_found(postgres_t *self, struct found *found)
{
    for (size_t i = 0; i < 2; i++)
        self->names[self->count + i] = self->values[self->count + i] = NULL;
    hub__buffer_dispose(&found->hosts);
}

/* libpq would wait for a name server itself, where nobody could stop it. */
static bool look_up(postgres_t *self, unsigned attempt, uint64_t deadline_ms, struct found *found,
                    hub_error_t *error)
{
    short revents;
    bool good;

    if (self->host == NULL)
        return true;
    if (self->lookup == NULL)
        self->lookup = hub__lookup_start(self->host);
    if (self->lookup == NULL) {
        hub_error_set(error, HUB_ENOMEM, 0, "host: no memory or thread to look it up");
        return false;
    }
    if (!hub__postgres_await("host", &self->courier, hub__lookup_fd(self->lookup), POLLIN,
                             deadline_ms, &revents, error))
        return false;
    good = hub__lookup_addresses(self->lookup, attempt, found->addresses, error) != NULL;
    hub__lookup_release(self->lookup); /* the next attempt may find others */
    self->lookup = NULL;
    if (good)
        use_found(self, found);
    return good;
}

static bool open_both(postgres_t *self, unsigned attempt, hub_error_t *error)
{
    uint64_t deadline_ms = hub__courier_now_ms() + (uint64_t)self->connect_seconds * 1000;
    unsigned lock_ms = self->connect_seconds * 500; /* so what happened is known, and said */
    struct found found = {0};
    bool good;

    if (lock_ms > LOCK_MS_MOST)
        lock_ms = LOCK_MS_MOST;
    good = look_up(self, attempt, deadline_ms, &found, error) &&
           hub__postgres_link_open(&self->mouth.link, &self->courier, self->names, self->values,
                                   lock_ms, deadline_ms, error) &&
           hub__postgres_mouth_prepare(&self->mouth, &self->courier, deadline_ms, error) &&
           hub__postgres_link_open(&self->ear.link, &self->courier, self->names, self->values,
                                   lock_ms, deadline_ms, error) &&
           hub__postgres_ear_prepare(&self->ear, &self->courier, deadline_ms, error);
    forget_found(self, &found);
    return good;
}

static void close_both(postgres_t *self)
{
    hub__postgres_ear_close(&self->ear);
    hub__postgres_mouth_close(&self->mouth);
}

/* The same failure again and again is one line. */
static void report(postgres_t *self, bool was_up, const hub_error_t *error)
{
    char what[HUB_LOG_FIELD];

    if (strcmp(self->said.text, error->text) == 0)
        return;
    self->said = *error;
    hub_log(HUB_LOG_WARN, was_up ? "bus.broken" : "bus.failed", "backend=postgres what=%s",
            hub_log_escape(hub_str(error->text), what));
}

/* Whether it stood for a while; false as well where the bus is closed. */
static bool go_round(postgres_t *self, unsigned attempt, bool *ret_stop)
{
    hub_error_t error = {0};
    bool opened = open_both(self, attempt, &error);
    uint64_t began_ms = hub__courier_now_ms();

    if (opened) {
        hub__courier_take(&self->courier); /* who asked for this connection has it */
        self->said = (hub_error_t){0};
        hub__courier_set_open(&self->courier, true);
        hub_bus_remote_up(self->bus);
        serve(self, ret_stop, &error);
        hub__courier_set_open(&self->courier, false);
        if (!*ret_stop)
            hub_bus_remote_down(self->bus);
    }
    *ret_stop |= error.status == HUB_ECANCELLED;
    close_both(self);
    if (!*ret_stop)
        report(self, opened, &error);
    return opened && ms_until(began_ms + STEADY_MS) == 0;
}

static void *run(void *arg)
{
    postgres_t *self = arg;
    unsigned attempt = 0;
    bool stop = false;

    while (!stop) {
        attempt = go_round(self, attempt, &stop) ? 0 : attempt + 1;
        if (!stop)
            stop = hub__courier_rest(&self->courier, hub__courier_pause_ms(attempt));
    }
    return NULL;
}

/* ---- options ---- */

/* Those of libpq that a URL may hold, handed on as they are. */
static const char *const passed[] = {
    "application_name",
    "channel_binding",
    "hostaddr",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "passfile",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcert",
    "sslcrl",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "sslsni",
    "target_session_attrs",
    "tcp_user_timeout",
};

static const char *const ssl_modes[] = {
    "disable", "allow", "prefer", "require", "verify-ca", "verify-full",
};

static bool is_among(const char *name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0)
            return true;
    }
    return false;
}

/* Absent ones are left to libpq. The last of a name counts. */
static void set(postgres_t *self, const char *name, const char *value)
{
    if (value == NULL)
        return;
    self->names[self->count] = hub__str_copy(hub_str(name));
    self->values[self->count++] = hub__str_copy(hub_str(value));
}

static hub_status_t read_number(const hub_bus_param_t *param, unsigned least, unsigned most,
                                unsigned *ret_number, hub_error_t *error)
{
    if (!hub__url_number(param->value, least, most, ret_number))
        return hub_error_set(error, HUB_EINVAL, 0, "bus URL, %s: a number from %u to %u is allowed",
                             param->name, least, most);
    return HUB_OK;
}

static hub_status_t read_param(postgres_t *self, const hub_bus_param_t *param, hub_error_t *error)
{
    char field[HUB_LOG_FIELD];

    if (strcmp(param->name, "max_message_bytes") == 0)
        return read_number(param, LARGEST_LEAST, LARGEST_MOST, &self->largest, error);
    if (strcmp(param->name, "keep_seconds") == 0)
        return read_number(param, 1, KEEP_SECONDS_MOST, &self->keep_seconds, error);
    if (strcmp(param->name, "connect_timeout") == 0)
        return read_number(param, 1, CONNECT_SECONDS_MOST, &self->connect_seconds, error);
    if (!is_among(param->name, passed, COUNT(passed)))
        return hub_error_set(error, HUB_EINVAL, 0, "bus URL, %s: postgres has no such option",
                             hub_log_escape(hub_str(param->name), field));
    if (strcmp(param->name, "sslmode") == 0 && !is_among(param->value, ssl_modes, COUNT(ssl_modes)))
        return hub_error_set(error, HUB_EINVAL, 0,
                             "bus URL, sslmode: disable, allow, prefer, require, verify-ca or "
                             "verify-full is allowed");
    if (self->count + NAMES_OWN > NAMES_MAX)
        return hub_error_set(error, HUB_EINVAL, 0, "bus URL, %s: one of too many options",
                             param->name);
    set(self, param->name, param->value);
    return HUB_OK;
}

/* NULL: it is absent. */
static const char *value_of(const postgres_t *self, const char *name)
{
    for (size_t i = 0; i < self->count; i++) {
        if (strcmp(self->names[i], name) == 0)
            return self->values[i];
    }
    return NULL;
}

/* ---- who is looked up ---- */

/* What libpq can use without a name server: an address or the folder of a socket. */
static bool is_address(const char *host, size_t len)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr address;
    const char *scope = memchr(host, '%', len);

    if (len == 0 || *host == '/' || *host == '@')
        return true;
    if (scope != NULL && memchr(host, ':', len) != NULL)
        len = (size_t)(scope - host);
    if (len >= sizeof(text))
        return false;
    memcpy(text, host, len);
    text[len] = '\0';
    return inet_pton(AF_INET, text, &address) == 1 || inet_pton(AF_INET6, text, &address) == 1;
}

/* Of what is separated by commas, the first that libpq would ask a name server for, or that is
 * empty, which it takes for a host without an address. NULL: there is none. */
static const char *find_name(const char *hosts, bool allow_empty, size_t *ret_len)
{
    for (;; hosts++) {
        size_t len = strcspn(hosts, ",");

        *ret_len = len;
        if (len == 0 ? !allow_empty : !is_address(hosts, len))
            return hosts;
        hosts += len;
        if (*hosts == '\0')
            return NULL;
    }
}

/* NULL: nobody says. */
static const char *default_of(const PQconninfoOption *options, const char *name)
{
    for (; options->keyword != NULL; options++) {
        if (strcmp(options->keyword, name) == 0 && options->val != NULL && *options->val != '\0')
            return options->val;
    }
    return NULL;
}

static hub_status_t refuse_host(const char *what, const char *host, size_t len, hub_error_t *error)
{
    char field[HUB_LOG_FIELD];

    return hub_error_set(error, HUB_EINVAL, 0, "%s, %s: of several each is an address", what,
                         hub_log_escape(hub_str_n(host, len), field));
}

/* `hosts` and `addresses` may be NULL: libpq's default needs no name server. */
static hub_status_t set_hosts(postgres_t *self, const char *hosts, const char *addresses,
                              hub_error_t *error)
{
    const char *name;
    size_t len;

    set(self, "host", hosts);
    if (addresses != NULL && (name = find_name(addresses, false, &len)) != NULL)
        return refuse_host("hostaddr", addresses, strlen(addresses), error);
    if (addresses != NULL || hosts == NULL || (name = find_name(hosts, true, &len)) == NULL)
        return HUB_OK;
    if (strchr(hosts, ',') != NULL)
        return refuse_host("host", name, len, error);
    self->host = value_of(self, "host");
    return HUB_OK;
}

/* What the URL leaves to the environment, or to the service file that this names, is looked up as
 * well: libpq would do it itself. */
static hub_status_t read_hosts(postgres_t *self, const hub_bus_url_t *url, hub_error_t *error)
{
    PQconninfoOption *defaults = PQconndefaults();
    const char *addresses = value_of(self, "hostaddr");
    hub_status_t err;

    if (defaults == NULL)
        return hub_error_set(error, HUB_ENOMEM, 0, "no memory for a bus");
    if (addresses != NULL && *addresses == '\0') /* as libpq has it */
        addresses = NULL;
    if (addresses == NULL && url->host == NULL)
        addresses = default_of(defaults, "hostaddr");
    err = set_hosts(self, url->host != NULL ? url->host : default_of(defaults, "host"), addresses,
                    error);
    PQconninfoFree(defaults);
    return err;
}

static hub_status_t read_url(postgres_t *self, const hub_bus_url_t *url, hub_error_t *error)
{
    char port[8];

    if (url == NULL)
        return hub_error_set(error, HUB_EINVAL, 0, "backend postgres: is opened by URL");
    set(self, "application_name", "sockethub");
    set(self, "gssencmode", "disable"); /* who asks a server of keys waits for it */
    for (size_t i = 0; i < url->param_count; i++) {
        hub_status_t err = read_param(self, &url->params[i], error);

        if (err != HUB_OK)
            return err;
    }
    snprintf(port, sizeof(port), "%u", url->port);
    set(self, "port", url->port == 0 ? NULL : port);
    set(self, "user", url->user);
    set(self, "password", url->password);
    set(self, "dbname", url->path);
    set(self, "client_encoding", "UTF8");
    return read_hosts(self, url, error);
}

static void free_self(postgres_t *self)
{
    for (size_t i = 0; i < self->count; i++) {
        char *value;

        memcpy(&value, &self->values[i], sizeof(value)); /* they are ours, and const for libpq */
        explicit_bzero(value, strlen(value));
        free(value);
        memcpy(&value, &self->names[i], sizeof(value));
        free(value);
    }
    free(self);
}

/* ---- as the core sees it ---- */

static hub_status_t postgres_open(hub_bus_t *bus, const hub_bus_target_t *target, void **ret_self,
                                  hub_error_t *error)
{
    postgres_t *self = calloc(1, sizeof(*self));
    hub_status_t err;

    if (self == NULL)
        return hub_error_set(error, HUB_ENOMEM, 0, "no memory for a bus");
    self->bus = bus;
    self->largest = LARGEST_DEFAULT;
    self->keep_seconds = KEEP_SECONDS_DEFAULT;
    self->connect_seconds = CONNECT_SECONDS_DEFAULT;
    err = read_url(self, target->url, error);
    self->ear = (hub__postgres_ear_t){.link.use = "listen", .bus = bus, .largest = self->largest};
    self->mouth = (hub__postgres_mouth_t){
        .link.use = "publish", .bus = bus, .keep_seconds = self->keep_seconds};
    *ret_self = self;
    if (err == HUB_OK)
        err = hub__courier_start(&self->courier, run, self, error);
    if (err != HUB_OK)
        free_self(self);
    return err;
}

static void postgres_subscribe(void *self, hub_str_t topic, uint64_t token)
{
    hub_status_t err = hub__courier_put(&((postgres_t *)self)->courier, HUB__ORDER_SUBSCRIBE, topic,
                                        (hub_str_t){0}, token);

    if (err == HUB_ENOMEM) /* a subscription must not be lost */
        hub__courier_ask_reconnect(&((postgres_t *)self)->courier);
}

static void postgres_unsubscribe(void *self, hub_str_t topic)
{
    hub_status_t err = hub__courier_put(&((postgres_t *)self)->courier, HUB__ORDER_UNSUBSCRIBE,
                                        topic, (hub_str_t){0}, 0);

    if (err == HUB_ENOMEM)
        hub__courier_ask_reconnect(&((postgres_t *)self)->courier);
}

static hub_status_t postgres_publish(void *self, hub_str_t topic, hub_str_t bytes, uint64_t token)
{
    return hub__courier_put(&((postgres_t *)self)->courier, HUB__ORDER_PUBLISH, topic, bytes,
                            token);
}

static void postgres_reconnect(void *self)
{
    hub__courier_ask_reconnect(&((postgres_t *)self)->courier);
}

static void postgres_close(void *self)
{
    hub__courier_stop(&((postgres_t *)self)->courier);
    hub__lookup_release(((postgres_t *)self)->lookup);
    free_self(self);
}

static size_t postgres_largest_message(void *self)
{
    return ((postgres_t *)self)->largest;
}

const hub_bus_backend_t hub__postgres_backend = {
    .api = HUB_BUS_BACKEND_API,
    .name = "postgres",
    .open = postgres_open,
    .subscribe = postgres_subscribe,
    .unsubscribe = postgres_unsubscribe,
    .publish = postgres_publish,
    .reconnect = postgres_reconnect,
    .close = postgres_close,
    .largest_message = postgres_largest_message,
    .one_order = true,
};
