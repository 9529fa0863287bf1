/* SPDX-License-Identifier: MIT */
/* The hub as a server to measure: the channel of channel.h at /socket, /socket/websocket and
 * /socket/longpoll, /metrics and /health, until SIGTERM.
 *
 * It runs with the hub's defaults but for what would end a benchmark, and says on stderr what
 * differs from them, so that results can say so, too; --defaults leaves everything as it is. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "bench/channel.h"
#include "bench/options.h"

typedef struct settings {
    const char *host, *bus, *pin; /* pin NULL: any core */
    hub_tls_options_t tls;        /* without a file: plain */
    unsigned long port, threads, channels, filter;
    unsigned long message_bytes, outbox_bytes, outbox_messages, topics,
        pre_upgrade; /* 0: not set */
    bool deflate, defaults, high_rates;
} settings_t;

static void read_command_line(int argc, char **argv, settings_t *settings)
{
    static const char *const filters[] = {"none", "others", "all"};
    const option_row_t rows[] = {
        {"host", "the address to listen on", .text = &settings->host},
        {"port", "0 lets the kernel pick one", .number = &settings->port, .max = 65535},
        {"threads", "workers, each a thread", .number = &settings->threads, .min = 1, .max = 256},
        {"channels", "patterns, all but one of which nobody joins", .number = &settings->channels,
         .min = 1, .max = 1000000},
        {"bus",
         "memory: is this process; redis://, nats://, postgres://…, or @FILE with such a line",
         .text = &settings->bus},
        {"deflate", "compresses messages for clients that offer it", .given = &settings->deflate},
        {"defaults", "keeps rate limits and connections as a hub has them",
         .given = &settings->defaults},
        {"high-rates", "keeps rate limits, each at its ceiling", .given = &settings->high_rates},
        {"pin", "the core for all threads", .text = &settings->pin},
        {"tls-cert", "PEM: speaks TLS with this certificate",
         .text = &settings->tls.certificate_file},
        {"tls-key", "PEM: its private key", .text = &settings->tls.key_file},
        {"filter", "events that pass on_update: none, others (than msg) or all",
         .number = &settings->filter, .max = CHANNEL_FILTERS_ALL, .words = filters},
        {"message-bytes", "limit of a message; 0: the default", .number = &settings->message_bytes,
         .max = SIZE_MAX - 1},
        {"outbox-bytes", "limit of what waits for a client; 0: the default",
         .number = &settings->outbox_bytes, .max = SIZE_MAX - 1},
        {"outbox-messages", "likewise", .number = &settings->outbox_messages, .max = SIZE_MAX - 1},
        {"topics", "limit of topics per client; 0: the default", .number = &settings->topics,
         .max = SIZE_MAX - 1},
        {"pre-upgrade", "limit of clients without a handshake; 0: the default",
         .number = &settings->pre_upgrade, .max = SIZE_MAX - 1},
        {.name = NULL}};

    options_read(argc, argv, rows);
}

static void pin(const char *core)
{
    if (core != NULL)
        options_pin(options_number("pin", core, 0, CPU_SETSIZE - 1));
}

/* A signal that comes before the server runs waits for it, and no thread of the server's takes it.
 */
static void hold_signals(void)
{
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);
}

/* ---- what differs from the defaults ---- */

/* They cost what they cost by default, and let a benchmark through. */
static void raise_rates(hub_limits_t *limits)
{
    limits->messages_per_s = limits->messages_burst = 1000000;
    limits->bytes_per_s = limits->bytes_burst = 1073741824;
    limits->joins_per_s = limits->joins_burst = 1000000;
    limits->controls_per_s = limits->controls_burst = 1000000;
}

static hub_limits_t limits_of(const settings_t *settings)
{
    hub_limits_t limits = settings->defaults ? (hub_limits_t){0} : channel_limits();

    if (settings->high_rates)
        raise_rates(&limits);
    limits.message_bytes = settings->message_bytes;
    limits.outbox_bytes = settings->outbox_bytes;
    limits.outbox_messages = settings->outbox_messages;
    limits.topics = settings->topics;
    return limits;
}

static hub_server_limits_t server_limits_of(const settings_t *settings)
{
    return (hub_server_limits_t){.connections = settings->defaults ? 0 : HUB_OFF,
                                 .pre_upgrade = settings->pre_upgrade};
}

/* Whether it differs. */
static bool print_limit(const char *name, size_t value, size_t standard)
{
    if (value == 0 || value == standard)
        return false;
    if (value == HUB_OFF)
        fprintf(stderr, " %s=off", name);
    else
        fprintf(stderr, " %s=%zu", name, value);
    return true;
}

/* One line. A limit of connections that is off leaves the one of the process, less the reserve
 * that a server keeps. */
static void print_differences(const hub_limits_t *limits, const hub_server_limits_t *server)
{
    struct rlimit nofile;
    bool differ = false;

    fprintf(stderr, "limits other than the defaults:");
#define PRINT_LIMIT(name, standard, ceiling, off, at_limit)                                        \
    differ |= print_limit(#name, limits->name, standard);
    HUB_LIMIT_MAP(PRINT_LIMIT)
#undef PRINT_LIMIT
#define PRINT_LIMIT(name, standard, ceiling, off, at_limit)                                        \
    differ |= print_limit(#name, server->name, standard);
    HUB_SERVER_LIMIT_MAP(PRINT_LIMIT)
#undef PRINT_LIMIT
    if (server->connections == HUB_OFF && getrlimit(RLIMIT_NOFILE, &nofile) == 0)
        fprintf(stderr, " (nofile - 64: %llu)", (unsigned long long)nofile.rlim_max - 64);
    fprintf(stderr, differ ? "\n" : " none\n");
}

/* ---- serving ---- */

static hub_status_t add_routes(hub_server_t *server)
{
    hub_status_t err = hub_server_route(server, "GET", "/metrics", hub_metrics_on_http, server);

    return err != HUB_OK ? err
                         : hub_server_route(server, "GET", "/health", hub_health_on_http, server);
}

static hub_status_t open_server(const settings_t *settings, hub_t *hub, hub_error_t *error,
                                hub_server_t **ret_server)
{
    const hub_limits_t limits = limits_of(settings);
    const hub_server_limits_t server_limits = server_limits_of(settings);
    hub_status_t err = channel_add_others(hub, settings->channels - 1, error);

    if (err == HUB_OK)
        err = hub_server_create(&(hub_server_options_t){.threads = (unsigned)settings->threads,
                                                        .limits = server_limits,
                                                        .ret_error = error},
                                ret_server);
    if (err == HUB_OK)
        err = hub_server_mount(*ret_server, hub,
                               &(hub_endpoint_options_t){.limits = limits,
                                                         .longpoll = true,
                                                         .deflate.enabled = settings->deflate});
    if (err == HUB_OK)
        err = add_routes(*ret_server);
    if (err == HUB_OK)
        print_differences(&limits, &server_limits);
    return err;
}

static hub_status_t listen_at(const settings_t *settings, hub_server_t *server)
{
    const bool is_ipv6 = strchr(settings->host, ':') != NULL;
    char address[300];
    int len = snprintf(address, sizeof(address), "%s%s%s:%lu", is_ipv6 ? "[" : "", settings->host,
                       is_ipv6 ? "]" : "", settings->port);

    if (len >= (int)sizeof(address))
        return HUB_EINVAL;
    return settings->tls.certificate_file != NULL
               ? hub_server_listen_tls(server, address, &settings->tls)
               : hub_server_listen(server, address);
}

static hub_status_t serve(const settings_t *settings, hub_t *hub, hub_error_t *error)
{
    hub_server_t *server = NULL;
    hub_status_t err = open_server(settings, hub, error, &server);

    if (err == HUB_OK)
        err = listen_at(settings, server);
    if (err == HUB_OK) {
        /* connections succeed from here on, and wait in the kernel for the workers to start */
        printf("listening on %s://%s\n", settings->tls.certificate_file != NULL ? "https" : "http",
               hub_server_address(server, 0));
        fflush(stdout);
        err = hub_server_run(server);
    }
    hub_server_destroy(server);
    return err;
}

int main(int argc, char **argv)
{
    settings_t settings = {.host = "127.0.0.1", .bus = "memory:", .threads = 1, .channels = 1};
    hub_error_t error = {HUB_OK, 0, ""};
    channel_options_t channel = {.ret_error = &error};
    hub_bus_t *bus = NULL;
    hub_t *hub = NULL;
    hub_status_t err;

    read_command_line(argc, argv, &settings);
    settings.bus = options_secret("bus", settings.bus);
    hold_signals();
    pin(settings.pin);
    hub_log_set_level(HUB_LOG_WARN);
    channel.filter = (channel_filter_t)settings.filter;
    /* in memory the hub has one of its own, as programs do that ask for none */
    if (strcmp(settings.bus, "memory:") != 0 &&
        hub_bus_open(settings.bus, NULL, &bus, &error) != HUB_OK)
        options_fail("--bus: %s", error.text);
    err = hub_create(&(hub_options_t){.bus = bus, .ret_error = &error}, &hub);
    if (err == HUB_OK)
        err = channel_add(hub, &channel);
    if (err == HUB_OK)
        err = serve(&settings, hub, &error);
    if (err != HUB_OK)
        fprintf(stderr, "%s: %s\n", program_invocation_short_name,
                error.status == err ? error.text : hub_status_text(err));
    hub_destroy(hub);
    hub_bus_destroy(bus);
    return err == HUB_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
