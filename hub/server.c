/* SPDX-License-Identifier: MIT */
/* Listeners, workers, endpoints and the life of them all: declared, started, stopped in order,
 * freed. */
#include "hub/server.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "hub/drain.h"
#include "hub/handshake.h"
#include "hub/internal.h"
#include "hub/listener.h"
#include "hub/reception.h"

#define TURN_US 1000
#define IDLE_WAIT_MS 60000
#define SHED_AT_ONCE 16
#define SHED_EVERY_MS 20
#define SHED_NOTHING_MS 500 /* where no queue is left, members and the like are what it is */
#define STOPPING_WAIT_MS 10 /* h2o tells nobody that a connection of its own has ended */
#define NOFILE_RESERVE 64
#define WIDEST_TABLE 65536u /* of descriptors, made at once: 8 bytes and more each */
#define SPARE_MS                                                                                   \
    7200000 /* between a deadline of ours and the one of h2o, which goes by the wall clock: a jump \
               of an hour must not bring it nearer than ours */
#define RETRY_MS 10000 /* after a program's own h2o server */

/* A worker of a server, with h2o's side of it. */
typedef struct hub__station {
    hub__worker_t *worker;
    h2o_context_t context;
    hub__reception_t *reception;
    hub__seat_t *seats;
    hub__timer_t drain; /* its end */
    hub__timer_t batch;
    bool batch_due;
    bool presence_stopped;
    uint32_t told; /* slots below have been told of the stop */
    h2o_socket_t *stop_socket;
    pthread_t thread;
    bool joinable;
    bool closed;
} hub__station_t;

struct hub_server {
    hub_server_options_t options;
    h2o_globalconf_t config;
    h2o_pathconf_t *pathconf;
    hub__endpoint_t *endpoints;
    hub__route_row_t *routes;
    hub__listener_t *listeners;
    hub__station_t *stations;
    pthread_mutex_t reloading; /* one after the other */
    size_t conn_limit;
    atomic_size_t conns;
    hub__budget_t budget;
    _Atomic bool stopping, cut;
    hub__drain_t drain;
    hub__census_t *census; /* NULL: nothing is limited per address */
    hub__proxies_t proxies;
    bool started, configured;
    int stop_fd; /* readable once the server stops: wakes every worker */
    int done_fd; /* counts workers that have ended */
};

typedef struct hub__entrance {
    h2o_handler_t super;
    hub_server_t *server;
} hub__entrance_t;

static hub_status_t fail(const hub_server_t *server, const char *what, hub_status_t err,
                         const hub_error_t *error)
{
    hub__log_failure(what, err, error);
    if (server->options.ret_error != NULL)
        *server->options.ret_error = *error;
    return err;
}

/* ---- declaring ---- */

static void create_census(hub_server_t *server)
{
    const hub_server_limits_t *limits = &server->options.limits;

    if (limits->conns_per_ip != HUB_OFF || limits->connects_per_ip_per_s != HUB_OFF)
        server->census = hub__census_create(limits->conns_per_ip, limits->connects_per_ip_per_s,
                                            limits->connects_per_ip_burst);
}

hub_status_t hub_server_create(const hub_server_options_t *options, hub_server_t **ret_server)
{
    hub_server_t *server = hub__alloc_zeroed(sizeof(*server));
    hub_error_t error = {0};
    hub_status_t err;

    if (options != NULL)
        server->options = *options;
    if (server->options.threads == 0)
        server->options.threads = 1;
    if (server->options.turn_us == 0)
        server->options.turn_us = TURN_US;
    err = hub_server_limits_resolve(&server->options.limits, &error);
    if (err == HUB_OK && server->options.threads > HUB__WORKERS_MAX)
        err = hub_error_set(&error, HUB_EINVAL, 0, "threads = %u: at most %u are allowed",
                            server->options.threads, HUB__WORKERS_MAX);
    if (err == HUB_OK)
        err = hub__proxies_parse(server->options.trusted_proxies, &server->proxies, &error);
    server->stop_fd = server->done_fd = -1;
    if (err == HUB_OK && ((server->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) == -1 ||
                          (server->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) == -1))
        err = hub_error_set(&error, HUB_ESYSTEM, 0, "eventfd: %s", strerror(errno));
    if (err != HUB_OK) {
        fail(server, "server.create", err, &error);
        if (server->stop_fd != -1)
            close(server->stop_fd);
        hub__proxies_dispose(&server->proxies);
        free(server);
        return err;
    }
    pthread_mutex_init(&server->reloading, NULL);
    create_census(server);
    hub__drain_init(&server->drain, server->options.limits.drain_batch,
                    server->options.limits.drain_batch_ms);
    *ret_server = server;
    return HUB_OK;
}

hub_status_t hub__server_check_open(hub_server_t *server, const char *what)
{
    hub_error_t error;

    if (!server->started)
        return HUB_OK;
    return fail(
        server, what,
        hub_error_set(&error, HUB_EBUSY, 0, "the server has started, %s comes before", what),
        &error);
}

hub_status_t hub__server_add_endpoint(hub_server_t *server, hub__endpoint_t *endpoint,
                                      hub_error_t *error)
{
    hub__endpoint_t **last = &server->endpoints;

    for (; *last != NULL; last = &(*last)->next)
        if ((endpoint->path != NULL && hub__endpoint_has_path(*last, hub_str(endpoint->path))) ||
            (endpoint->path_suffix != NULL &&
             hub__endpoint_has_path(*last, hub_str(endpoint->path_suffix))) ||
            (endpoint->path_longpoll != NULL &&
             hub__endpoint_has_path(*last, hub_str(endpoint->path_longpoll))))
            return hub_error_set(error, HUB_EEXIST, 0, "endpoint: path \"%s\" is taken",
                                 endpoint->path != NULL ? endpoint->path : endpoint->path_suffix);
    *last = endpoint;
    return HUB_OK;
}

hub_status_t hub_server_mount(hub_server_t *server, hub_t *hub,
                              const hub_endpoint_options_t *options)
{
    const char *path = options != NULL && options->path != NULL ? options->path : "/socket";
    hub__endpoint_t *endpoint;
    hub_error_t error = {0};
    hub_status_t err;

    if ((err = hub__server_check_open(server, "hub_server_mount")) != HUB_OK)
        return err;
    if (hub->parent != NULL || (hub->server != NULL && hub->server != server) ||
        (hub->server == NULL && atomic_load(&hub->serving)))
        return fail(server, "server.mount",
                    hub_error_set(&error, HUB_EBUSY, 0, "hub \"%s\" is %s", hub->name,
                                  hub->parent != NULL   ? "included: mount its root"
                                  : hub->server != NULL ? "mounted on another server"
                                                        : "attached to a loop of the program's"),
                    &error);
    if ((err = hub__endpoint_create(hub, options, NULL, path, &endpoint, &error)) != HUB_OK)
        return fail(server, "server.mount", err, &error);
    if ((err = hub__server_add_endpoint(server, endpoint, &error)) != HUB_OK) {
        hub__endpoint_destroy(endpoint);
        return fail(server, "server.mount", err, &error);
    }
    hub__set_server(hub, server);
    return HUB_OK;
}

/* `tls` is taken. */
static hub_status_t listen_on(hub_server_t *server, const char *address, hub__tls_t *tls)
{
    hub__listener_t *listener, **last = &server->listeners;
    hub_error_t error = {0};
    hub_status_t err;

    if ((err = hub__listener_open(address, server->options.threads, &listener, &error)) != HUB_OK) {
        hub__tls_destroy(tls);
        return fail(server, "server.listen", err, &error);
    }
    if (tls != NULL)
        hub__listener_secure(listener, tls);
    while (*last != NULL)
        last = &(*last)->next;
    *last = listener;
    return HUB_OK;
}

hub_status_t hub_server_listen(hub_server_t *server, const char *address)
{
    hub_status_t err = hub__server_check_open(server, "hub_server_listen");

    return err != HUB_OK ? err : listen_on(server, address, NULL);
}

hub_status_t hub_server_listen_tls(hub_server_t *server, const char *address,
                                   const hub_tls_options_t *options)
{
    hub__tls_t *tls;
    hub_error_t error = {0};
    hub_status_t err;

    if ((err = hub__server_check_open(server, "hub_server_listen_tls")) != HUB_OK)
        return err;
    if ((err = hub__tls_create(options, &tls, &error)) != HUB_OK)
        return fail(server, "server.listen", err, &error);
    return listen_on(server, address, tls);
}

static const hub__listener_t *next_tls(const hub__listener_t *listener)
{
    while (listener != NULL && listener->tls == NULL)
        listener = listener->next;
    return listener;
}

/* First everything is read, then everything is set. */
static hub_status_t reload(const hub__listener_t *listener, hub_error_t *error)
{
    SSL_CTX *context;
    hub_status_t err;

    if ((listener = next_tls(listener)) == NULL)
        return HUB_OK;
    if ((err = hub__tls_load(listener->tls, &context, error)) != HUB_OK)
        return err;
    if ((err = reload(listener->next, error)) != HUB_OK) {
        SSL_CTX_free(context);
        return err;
    }
    hub__tls_set(listener->tls, context);
    hub_log(HUB_LOG_INFO, "tls.reloaded", "address=%s certificate_file=\"%s\"", listener->address,
            hub__tls_certificate_file(listener->tls));
    return HUB_OK;
}

hub_status_t hub_server_tls_reload(hub_server_t *server, hub_error_t *error)
{
    hub_error_t failed = {0};
    hub_status_t err;

    pthread_mutex_lock(&server->reloading);
    err = next_tls(server->listeners) == NULL
              ? hub_error_set(&failed, HUB_EINVAL, 0, "tls: the server has no TLS listener")
              : reload(server->listeners, &failed);
    pthread_mutex_unlock(&server->reloading);
    if (err == HUB_OK)
        return HUB_OK;
    hub__log_failure("tls.reload", err, &failed);
    if (error != NULL)
        *error = failed;
    return err;
}

const char *hub_server_address(const hub_server_t *server, size_t index)
{
    const hub__listener_t *listener = server->listeners;

    while (listener != NULL && index-- != 0)
        listener = listener->next;
    return listener != NULL ? listener->address : NULL;
}

hub__route_row_t **hub__server_routes(hub_server_t *server)
{
    return &server->routes;
}

const hub_server_limits_t *hub__server_limits(const hub_server_t *server)
{
    return &server->options.limits;
}

const hub__proxies_t *hub__server_proxies(const hub_server_t *server)
{
    return &server->proxies;
}

size_t hub__worker_retry_ms(const hub__worker_t *worker)
{
    return worker->server != NULL ? worker->server->options.limits.drain_retry_ms : RETRY_MS;
}

unsigned hub__server_threads(const hub_server_t *server)
{
    return server->options.threads;
}

bool hub__server_is_stopping(const hub_server_t *server)
{
    return atomic_load_explicit(&server->stopping, memory_order_acquire);
}

static bool brings_a_bus(const hub_server_t *server, const hub__endpoint_t *endpoint)
{
    if (endpoint->hub == NULL || endpoint->hub->bus == NULL)
        return false;
    for (const hub__endpoint_t *at = server->endpoints; at != endpoint; at = at->next)
        if (at->hub != NULL && at->hub->bus == endpoint->hub->bus)
            return false;
    return true;
}

hub_t *hub__server_next_bus(const hub_server_t *server, const hub__endpoint_t **at)
{
    *at = *at == NULL ? server->endpoints : (*at)->next;
    while (*at != NULL && !brings_a_bus(server, *at))
        *at = (*at)->next;
    return *at != NULL ? (*at)->hub : NULL;
}

/* ---- counting connections ---- */

bool hub__server_conn_opened(hub_server_t *server)
{
    if (atomic_fetch_add_explicit(&server->conns, 1, memory_order_relaxed) < server->conn_limit)
        return true;
    atomic_fetch_sub_explicit(&server->conns, 1, memory_order_relaxed);
    return false;
}

void hub__server_conn_closed(hub_server_t *server)
{
    atomic_fetch_sub_explicit(&server->conns, 1, memory_order_relaxed);
}

static hub__station_t *station_of(hub__worker_t *worker)
{
    return worker->listening;
}

/* ---- memory ---- */

bool hub__server_has_memory(hub__worker_t *worker)
{
    if (worker->server == NULL || atomic_load_explicit(&worker->server->budget.level,
                                                       memory_order_relaxed) == HUB__MEMORY_EASY)
        return true;
    HUB__STAT(&worker->stats, memory_refused_total);
    return false;
}

/* Of what would free memory if this connection went. */
static size_t queue_of(const hub_conn_t *conn)
{
    return hub__conn_is_open(conn) ? hub__outbox_bytes(&conn->outbox) + hub__slow_bytes(conn) +
                                         hub__frame_reader_held(&conn->reader)
                                   : 0;
}

static hub_conn_t *largest_queue(hub__worker_t *worker)
{
    hub_conn_t *largest = NULL;
    size_t most = 0;

    for (uint32_t i = 0; i != worker->slot_count; ++i) {
        size_t bytes = worker->slots[i].conn != NULL ? queue_of(worker->slots[i].conn) : 0;

        if (bytes > most) {
            most = bytes;
            largest = worker->slots[i].conn;
        }
    }
    return largest;
}

/* The end of the turn does it. */
static void on_shed_again(hub__timer_t *timer, uint64_t now_ms)
{
    (void)timer, (void)now_ms;
}

/* Frames are shared, so what it frees shows only afterwards: a few at a time. */
static void shed(hub__worker_t *worker)
{
    uint64_t excess = hub__budget_excess(&worker->server->budget, hub__messages_held());
    unsigned count = 0;

    for (; count != SHED_AT_ONCE && excess != 0; ++count) {
        hub_conn_t *conn = largest_queue(worker);
        size_t bytes = conn != NULL ? queue_of(conn) : 0;

        if (conn == NULL)
            break;
        excess = bytes < excess ? excess - bytes : 0;
        HUB__STAT(&worker->stats, memory_shed_total);
        hub__conn_want_close(conn, HUB_DISCONNECT_SLOW, 4008, HUB_STR("server is short of memory"));
    }
    if (count != 0)
        hub_log_peer(HUB_LOG_WARN, "server.memory_shed", "worker=%u closed=%u", worker->index,
                     count);
    worker->shedding.on_due = on_shed_again;
    hub__timer_arm(worker->wheel, &worker->shedding,
                   worker->now_ms + (count != 0 ? SHED_EVERY_MS : SHED_NOTHING_MS));
}

static void on_memory_level(hub_server_t *server, hub__memory_level_t level)
{
    static const char *const names[] = {"easy", "tight", "short"};

    hub_log(level == HUB__MEMORY_EASY ? HUB_LOG_INFO : HUB_LOG_WARN, "server.memory",
            "level=%s bytes=%lld queued=%lld budget=%llu queued_budget=%llu", names[level],
            (long long)atomic_load(&server->budget.used_bytes),
            (long long)atomic_load(&server->budget.used_queued),
            (unsigned long long)server->budget.bytes, (unsigned long long)server->budget.queued);
    if (level == HUB__MEMORY_SHORT)
        for (unsigned i = 0; i != server->options.threads; ++i) /* the largest may be anywhere */
            hub__worker_wake(server->stations[i].worker);
}

static void gauge(uint64_t *value, int64_t bytes)
{
    __atomic_store_n(value, bytes > 0 ? (uint64_t)bytes : 0, __ATOMIC_RELAXED);
}

void hub__worker_watch_memory(hub__worker_t *worker)
{
    hub_server_t *server = worker->server;
    int64_t bytes = hub__account.bytes - worker->told.bytes;
    int64_t queued = hub__account.queued - worker->told.queued, grain;
    hub__memory_level_t level;
    bool changed;

    if (server == NULL || worker->stopping)
        return;
    gauge(&worker->stats.timers, (int64_t)hub__wheel_count(worker->wheel));
    gauge(&worker->stats.memory_bytes, hub__account.bytes - worker->others.bytes);
    gauge(&worker->stats.memory_queued_bytes, hub__account.queued - worker->others.queued);
    grain = hub__budget_grain(&server->budget);
    level = (hub__memory_level_t)atomic_load_explicit(&server->budget.level, memory_order_relaxed);
    /* what is held outside all accounts goes without a word: who is not at ease looks each time */
    if (level != HUB__MEMORY_EASY || bytes >= grain || -bytes >= grain || queued >= grain ||
        -queued >= grain) {
        worker->told = hub__account;
        level = hub__budget_add(&server->budget, bytes, queued, hub__messages_held(), &changed);
        if (changed)
            on_memory_level(server, level);
    }
    if (level == HUB__MEMORY_SHORT && !hub__timer_is_armed(&worker->shedding))
        shed(worker);
}

hub__seat_t *hub__server_seats(hub__worker_t *worker)
{
    return station_of(worker)->seats;
}

void hub__server_upgraded(hub__worker_t *worker, h2o_socket_t *socket)
{
    (void)worker;
    hub__reception_release(socket);
}

/* ---- the start ---- */

static int on_request(h2o_handler_t *handler, h2o_req_t *req)
{
    hub_server_t *server = ((hub__entrance_t *)handler)->server;
    hub__station_t *station = HUB__CONTAINER(req->conn->ctx, hub__station_t, context);
    h2o_socket_t *socket = req->conn->callbacks->get_socket(req->conn);

    hub__worker_enter(station->worker);
    if (hub__reception_has_ended(socket))
        req->http1_is_persistent = 0;
    if (hub__reception_busy(socket))
        hub__route_request(server, station->worker, req);
    else
        hub__http_refuse(req, 408, NULL, (hub_str_t){0});
    hub__worker_leave(station->worker);
    return 0;
}

/* OpenSSL loads what it needs at its first use: better now than under the first client. */
static void warm_up(void)
{
    char accept[29];

    hub__handshake_accept(HUB_STR("dGhlIHNhbXBsZSBub25jZQ=="), accept);
}

/* The kernel doubles its table of descriptors as they come, and stops a thread of several for ten
 * milliseconds and more each time: better now, and once. */
static void widen_descriptors(size_t count)
{
    int fd = eventfd(0, EFD_CLOEXEC), high;

    if (fd == -1)
        return;
    if (count > WIDEST_TABLE)
        count = WIDEST_TABLE;
    if ((high = fcntl(fd, F_DUPFD_CLOEXEC, (int)count)) != -1)
        close(high);
    close(fd);
}

static void configure(hub_server_t *server)
{
    h2o_hostconf_t *host;
    hub__entrance_t *entrance;

    h2o_config_init(&server->config);
    server->configured = true;
    server->config.http1.upgrade_to_http2 = 0;
    server->config.http1.req_timeout = server->options.limits.request_ms + SPARE_MS;
    server->config.handshake_timeout = server->options.limits.request_ms + SPARE_MS;
    server->config.max_request_entity_size = server->options.limits.body_bytes;
    server->config.server_name = h2o_iovec_init(H2O_STRLIT("sockethub"));
    host = h2o_config_register_host(&server->config, h2o_iovec_init(H2O_STRLIT("default")), 65535);
    server->pathconf = h2o_config_register_path(host, "/", 0);
    entrance = (hub__entrance_t *)h2o_create_handler(server->pathconf, sizeof(*entrance));
    entrance->super.on_req = on_request;
    entrance->server = server;
}

static void *worker_main(void *arg);

/* The end of the turn does the rest. */
static void on_stop(h2o_socket_t *socket, const char *err)
{
    (void)err;
    h2o_socket_read_stop(socket);
}

static hub_status_t open_station(hub_server_t *server, hub__station_t *station, unsigned index,
                                 hub_error_t *error)
{
    const hub_server_limits_t *limits = &server->options.limits;
    unsigned visitors = (unsigned)(limits->pre_upgrade / server->options.threads);
    h2o_loop_t *loop = h2o_evloop_create();
    hub_status_t err;
    int stop_fd;

    station->worker =
        hub__worker_create(index, loop, limits->mailbox_messages, server->options.turn_us);
    if (station->worker == NULL) {
        h2o_evloop_destroy(loop);
        return hub_error_set(error, HUB_ESYSTEM, 0, "worker %u could not be made", index);
    }
    station->worker->server = server;
    station->worker->warn_ms = limits->callback_warn_ms;
    station->worker->listening = station;
    h2o_context_init(&station->context, loop, &server->config);
    station->worker->context = &station->context;
    if ((stop_fd = fcntl(server->stop_fd, F_DUPFD_CLOEXEC, 0)) == -1)
        return hub_error_set(error, HUB_ESYSTEM, 0, "worker %u: %s", index, strerror(errno));
    station->stop_socket = h2o_evloop_socket_create(loop, stop_fd, H2O_SOCKET_FLAG_DONT_READ);
    h2o_socket_read_start(station->stop_socket, on_stop);
    station->reception =
        hub__reception_create(station->worker, &server->config, limits,
                              visitors != 0 ? visitors : 1, server->census, &server->proxies);
    for (hub__endpoint_t *endpoint = server->endpoints; endpoint != NULL;
         endpoint = endpoint->next) {
        hub__seat_t *seat;

        if (endpoint->hub != NULL &&
            (err = hub__worker_attach(station->worker, endpoint->hub)) != HUB_OK)
            return hub_error_set(error, err, 0, "hub \"%s\" could not be attached: %s",
                                 endpoint->hub->name, hub_status_text(err));
        seat = hub__seat_create(station->worker, endpoint);
        seat->next = station->seats;
        station->seats = seat;
    }
    for (hub__listener_t *listener = server->listeners; listener != NULL;
         listener = listener->next) {
        hub__reception_add(station->reception, listener->fds[index], listener->tls);
        listener->fds[index] = -1;
    }
    return HUB_OK;
}

/* After the loop, or where it never ran. */
static void close_station(hub_server_t *server, hub__station_t *station)
{
    hub__worker_t *worker = station->worker;
    h2o_multithread_queue_t *queue;
    h2o_loop_t *loop;

    if (worker == NULL || station->closed)
        return;
    station->closed = true;
    loop = worker->loop;
    hub__worker_settle_here(worker);
    for (hub__endpoint_t *endpoint = server->endpoints; endpoint != NULL; endpoint = endpoint->next)
        if (endpoint->hub != NULL && worker->hubs != NULL)
            hub__worker_detach(worker, endpoint->hub);
    if (station->reception != NULL) {
        hub__reception_close(station->reception);
        hub__reception_destroy(station->reception);
    }
    while (station->seats != NULL) {
        hub__seat_t *seat = station->seats;

        station->seats = seat->next;
        hub__seat_destroy(seat);
    }
    hub__timer_disarm(worker->wheel, &station->drain);
    hub__timer_disarm(worker->wheel, &worker->shedding);
    hub__timer_disarm(worker->wheel, &station->batch);
    if (station->stop_socket != NULL)
        h2o_socket_close(station->stop_socket);
    hub__worker_close(worker);
    h2o_evloop_run(loop, 0); /* lets closed sockets go */
    queue = station->context.queue;
    h2o_context_dispose(&station->context);
    free(queue); /* h2o 2.2.5 closes it and forgets the block */
    h2o_evloop_destroy(loop);
}

static size_t nofile_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return SIZE_MAX;
    return limit.rlim_cur > NOFILE_RESERVE ? (size_t)limit.rlim_cur - NOFILE_RESERVE : 1;
}

static hub_status_t start_hubs(hub_server_t *server, hub_error_t *error)
{
    if (server->listeners == NULL)
        return hub_error_set(error, HUB_EINVAL, 0, "the server listens nowhere");
    for (hub__endpoint_t *endpoint = server->endpoints; endpoint != NULL;
         endpoint = endpoint->next) {
        hub_status_t err = endpoint->hub != NULL ? hub__start(endpoint->hub, error) : HUB_OK;

        if (err != HUB_OK)
            return err;
    }
    return HUB_OK;
}

/* Signals are for the program's own threads: also SIGPIPE, which h2o's writes would raise. What a
 * fault in the code itself raises stays open. */
void hub__block_signals(sigset_t *ret_before)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
    sigset_t signals;

    sigfillset(&signals);
    for (size_t i = 0; i != sizeof(faults) / sizeof(*faults); ++i)
        sigdelset(&signals, faults[i]);
    pthread_sigmask(SIG_BLOCK, &signals, ret_before);
}

/* Of all workers from `first` on. */
static hub_status_t start_threads(hub_server_t *server, unsigned first, hub_error_t *error)
{
    hub_status_t err = HUB_OK;
    sigset_t before;

    hub__block_signals(&before); /* the threads inherit it */
    for (unsigned i = first; i != server->options.threads && err == HUB_OK; ++i) {
        hub__station_t *station = &server->stations[i];
        int failed = pthread_create(&station->thread, NULL, worker_main, station);

        station->joinable = failed == 0;
        if (failed != 0)
            err = hub_error_set(error, HUB_ESYSTEM, 0, "thread %u: %s", i, strerror(failed));
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return err;
}

/* `first`: the first worker that gets a thread. */
static hub_status_t start(hub_server_t *server, unsigned first)
{
    unsigned threads = server->options.threads;
    size_t nofile = nofile_limit();
    hub_error_t error = {0};
    hub_status_t err;

    if ((err = hub__server_check_open(server, "hub_server_start")) != HUB_OK)
        return err;
    if ((err = start_hubs(server, &error)) != HUB_OK)
        return fail(server, "server.start", err, &error);
    server->conn_limit = server->options.limits.connections;
    if (nofile < server->conn_limit)
        server->conn_limit = nofile;
    hub__budget_init(&server->budget, server->options.limits.memory_budget_bytes,
                     server->options.limits.queued_bytes);
    warm_up();
    widen_descriptors(server->conn_limit);
    configure(server);
    server->started = true;
    server->stations = hub__alloc_zeroed(threads * sizeof(*server->stations));
    for (unsigned i = 0; i != threads && err == HUB_OK; ++i)
        err = open_station(server, &server->stations[i], i, &error);
    /* they were made here, and live elsewhere: this thread may publish before they begin */
    for (unsigned i = 0; i != threads && err == HUB_OK; ++i)
        hub__worker_settle_nowhere(server->stations[i].worker);
    if (err == HUB_OK)
        err = start_threads(server, first, &error);
    if (err != HUB_OK) {
        hub_server_stop(server);
        hub_server_wait(server);
        return fail(server, "server.start", err, &error);
    }
    for (const hub__listener_t *listener = server->listeners; listener != NULL;
         listener = listener->next)
        hub_log(HUB_LOG_INFO, "server.listening", "address=%s%s threads=%u connections=%zu",
                listener->address, listener->tls != NULL ? " tls=1" : "", threads,
                server->conn_limit);
    return HUB_OK;
}

hub_status_t hub_server_start(hub_server_t *server)
{
    return start(server, 0);
}

/* ---- a worker's thread ---- */

static bool is_untold(const hub__worker_t *worker, uint32_t slot)
{
    return worker->slots[slot].conn != NULL && hub__conn_is_open(worker->slots[slot].conn);
}

static size_t count_untold(const hub__station_t *station)
{
    const hub__worker_t *worker = station->worker;
    size_t count = 0;

    for (uint32_t i = station->told; i != worker->slot_count; ++i)
        count += is_untold(worker, i);
    return count;
}

/* Where many go at once nobody is told of each; other nodes hear a goodbye in its place. */
static void stop_presence(hub__station_t *station)
{
    if (!station->presence_stopped)
        hub__presence_stop(station->worker);
    station->presence_stopped = true;
}

static void log_draining(const hub_server_t *server)
{
    hub_log(HUB_LOG_INFO, "server.draining", "connections_left=%zu",
            atomic_load_explicit(&server->conns, memory_order_relaxed));
}

/* Whose turn it is not yet is served as before. */
static void tell_batch(hub__station_t *station)
{
    hub__worker_t *worker = station->worker;
    hub__drain_t *drain = &worker->server->drain;
    size_t untold, batch;

    station->batch_due = false;
    /* what was published before goes out before the close frames */
    hub__worker_run_all_mail(worker);
    hub__worker_flush_emits(worker);
    hub__fanout_settle(worker);
    untold = count_untold(station);
    batch = hub__drain_take(drain, untold, worker->now_ms);
    if (batch == untold)
        stop_presence(station);
    else
        hub__timer_arm(worker->wheel, &station->batch, hub__drain_next(drain, worker->now_ms));
    for (; batch != 0; ++station->told)
        if (is_untold(worker, station->told)) {
            hub__conn_want_close(worker->slots[station->told].conn, HUB_DISCONNECT_SHUTDOWN, 1012,
                                 (hub_str_t){0});
            HUB__STAT(&worker->stats, drain_told_total);
            --batch;
        }
    if (hub__drain_may_log(drain, worker->now_ms))
        log_draining(worker->server);
}

/* The end of the turn does the rest. */
static void on_batch_due(hub__timer_t *timer, uint64_t now_ms)
{
    (void)now_ms;
    HUB__CONTAINER(timer, hub__station_t, batch)->batch_due = true;
}

static void cut_conns(hub__worker_t *worker)
{
    stop_presence(station_of(worker));
    for (uint32_t i = 0; i != worker->slot_count; ++i)
        if (worker->slots[i].conn != NULL)
            hub__conn_lost(worker->slots[i].conn, HUB_DISCONNECT_SHUTDOWN);
}

static void on_drain_deadline(hub__timer_t *timer, uint64_t now_ms)
{
    hub__station_t *station = HUB__CONTAINER(timer, hub__station_t, drain);

    (void)now_ms;
    if (station->worker->conn_count != 0)
        hub_log(HUB_LOG_WARN, "server.drain_cut", "worker=%u connections=%u",
                station->worker->index, station->worker->conn_count);
    cut_conns(station->worker);
    hub__exchange_forget(station->worker);
}

static void begin_stop(hub__worker_t *worker)
{
    hub__station_t *station = station_of(worker);

    worker->stopping = true;
    if (hub__drain_begin(&worker->server->drain, worker->now_ms))
        log_draining(worker->server);
    hub__endpoint_forget_requests(worker);
    hub__reception_close(station->reception);
    station->batch.on_due = on_batch_due;
    station->drain.on_due = on_drain_deadline;
    hub__timer_arm(worker->wheel, &station->drain,
                   worker->now_ms + worker->server->options.limits.drain_ms);
    tell_batch(station);
}

/* At the end of each turn. */
void hub__worker_check_stopped(hub__worker_t *worker)
{
    hub_server_t *server = worker->server;

    if (server == NULL || !hub__server_is_stopping(server))
        return;
    if (!worker->stopping)
        begin_stop(worker);
    else if (station_of(worker)->batch_due)
        tell_batch(station_of(worker));
    if (atomic_load_explicit(&server->cut, memory_order_relaxed)) {
        cut_conns(worker);
        hub__exchange_forget(worker);
    }
    worker->stopped = worker->conn_count == 0 && station_of(worker)->reception->present == 0 &&
                      worker->jobs_out == 0 && worker->upgrades_out == 0 &&
                      !hub__worker_has_more(worker);
}

static void *worker_main(void *arg)
{
    hub__station_t *station = arg;
    hub__worker_t *worker = station->worker;
    uint64_t one = 1;

    hub__worker_settle_here(worker);
    worker->others = worker->told = hub__account;
    hub__worker_end_turn(worker); /* a stop may have come before the start */
    while (!worker->stopped) {
        int32_t wait_ms = worker->stopping ? STOPPING_WAIT_MS : IDLE_WAIT_MS;

        if (hub__worker_has_more(worker) || worker->answered)
            wait_ms = 0;
        worker->answered = false;
        h2o_evloop_run(worker->loop, wait_ms);
        hub__worker_end_turn(worker);
    }
    hub__worker_end_mail(worker); /* or others would wait for answers that nobody gives */
    hub__worker_settle_nowhere(worker);
    if (write(worker->server->done_fd, &one, sizeof(one)) == -1)
        hub_log(HUB_LOG_ERROR, "worker.done", "error=\"%s\"", strerror(errno));
    return NULL;
}

/* ---- the stop ---- */

void hub_server_stop(hub_server_t *server)
{
    uint64_t one = 1;

    if (atomic_exchange(&server->stopping, true))
        return;
    /* write() alone: this may be a signal handler, and the workers may end meanwhile */
    if (write(server->stop_fd, &one, sizeof(one)) == -1)
        return; /* an eventfd that is full has woken them already */
}

void hub_server_wait(hub_server_t *server)
{
    for (unsigned i = 0; server->stations != NULL && i != server->options.threads; ++i)
        if (server->stations[i].joinable) {
            pthread_join(server->stations[i].thread, NULL);
            server->stations[i].joinable = false;
        }
    /* all threads are gone before the first worker is: they post to one another */
    for (unsigned i = 0; server->stations != NULL && i != server->options.threads; ++i)
        close_station(server, &server->stations[i]);
}

void hub_server_destroy(hub_server_t *server)
{
    if (server == NULL)
        return;
    if (server->started) {
        hub_server_stop(server);
        hub_server_wait(server);
    }
    if (server->configured)
        h2o_config_dispose(&server->config);
    while (server->listeners != NULL) {
        hub__listener_t *listener = server->listeners;

        server->listeners = listener->next;
        hub__listener_destroy(listener);
    }
    while (server->endpoints != NULL) {
        hub__endpoint_t *endpoint = server->endpoints;

        server->endpoints = endpoint->next;
        if (endpoint->hub != NULL)
            hub__set_server(endpoint->hub, NULL);
        hub__endpoint_destroy(endpoint);
    }
    hub__routes_destroy(server->routes);
    for (unsigned i = 0; server->stations != NULL && i != server->options.threads; ++i)
        hub__worker_release(server->stations[i].worker);
    hub__census_destroy(server->census);
    hub__proxies_dispose(&server->proxies);
    close(server->stop_fd);
    close(server->done_fd);
    free(server->stations);
    pthread_mutex_destroy(&server->reloading);
    free(server);
}

/* ---- run ---- */

static void raise_nofile(void)
{
    struct rlimit limit;
    rlim_t soft;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    soft = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        limit.rlim_cur = soft;
    hub_log(HUB_LOG_INFO, "server.nofile", "soft_before=%llu soft=%llu hard=%llu",
            (unsigned long long)soft, (unsigned long long)limit.rlim_cur,
            (unsigned long long)limit.rlim_max);
}

/* The first signal stops, the second cuts; a SIGHUP does neither. */
static void on_signal(hub_server_t *server, int fd)
{
    struct signalfd_siginfo info;

    if (read(fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
        return;
    if (info.ssi_signo == SIGHUP) {
        (void)hub_server_tls_reload(server, NULL);
        return;
    }
    if (hub__server_is_stopping(server)) {
        hub_log(HUB_LOG_WARN, "server.cut", "signal=%u", info.ssi_signo);
        atomic_store(&server->cut, true); /* workers that stop look at it every few milliseconds */
        return;
    }
    hub_log(HUB_LOG_INFO, "server.stopping", "signal=%u", info.ssi_signo);
    hub_server_stop(server);
}

static void on_signal_ready(h2o_socket_t *socket, const char *err)
{
    const hub__worker_t *worker = socket->data;

    (void)err;
    on_signal(worker->server, h2o_socket_get_fd(socket));
}

/* The first worker's loop, on the calling thread: a process with one worker has no other thread,
 * and does not pay for what two would share (locks in malloc, counts of open files). */
static void run_first_worker(hub_server_t *server, int signal_fd)
{
    hub__station_t *station = &server->stations[0];
    hub__worker_t *worker = station->worker;
    int fd = fcntl(signal_fd, F_DUPFD_CLOEXEC, 0);
    h2o_socket_t *socket = NULL;

    if (fd != -1) {
        socket = h2o_evloop_socket_create(worker->loop, fd, H2O_SOCKET_FLAG_DONT_READ);
        socket->data = worker;
        h2o_socket_read_start(socket, on_signal_ready);
    } else {
        hub_log(HUB_LOG_ERROR, "server.signals", "error=\"%s\"", strerror(errno));
        hub_server_stop(server);
    }
    (void)worker_main(station);
    if (socket != NULL)
        h2o_socket_close(socket);
}

/* Until the other workers have stopped as well. */
static void watch_signals(hub_server_t *server, int signal_fd)
{
    unsigned done = 0;

    while (done != server->options.threads) {
        struct pollfd fds[] = {{.fd = signal_fd, .events = POLLIN},
                               {.fd = server->done_fd, .events = POLLIN}};
        uint64_t count;

        if (poll(fds, 2, -1) == -1 && errno != EINTR)
            break;
        if (fds[0].revents & POLLIN)
            on_signal(server, signal_fd);
        if ((fds[1].revents & POLLIN) &&
            read(server->done_fd, &count, sizeof(count)) == (ssize_t)sizeof(count))
            done += (unsigned)count;
    }
}

hub_status_t hub_server_run(hub_server_t *server)
{
    sigset_t signals, before;
    hub_status_t err;
    int fd;

    signal(SIGPIPE, SIG_IGN);
    raise_nofile();
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    if (next_tls(server->listeners) != NULL)
        sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, &before);
    if ((fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK)) == -1) {
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        return HUB_ESYSTEM;
    }
    if ((err = start(server, 1)) == HUB_OK) {
        run_first_worker(server, fd);
        watch_signals(server, fd);
        hub_server_wait(server);
        hub_log(HUB_LOG_INFO, "server.stopped", "connections=0");
    }
    close(fd);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return err;
}

/* ---- figures ---- */

void hub_server_stats(const hub_server_t *server, hub_stats_t *ret_stats)
{
    *ret_stats = (hub_stats_t){0};
    for (unsigned i = 0; server->stations != NULL && i != server->options.threads; ++i) {
        const hub__worker_t *worker = server->stations[i].worker;

        if (worker != NULL) /* else its start failed */
            hub__stats_merge(ret_stats, &worker->stats);
    }
}
