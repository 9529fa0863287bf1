/* SPDX-License-Identifier: MIT */
/* What is mounted at a path: options copied and checked at once, what they make of a request's
 * origin, subprotocols and version, and the seat that each worker has of it. What becomes of a
 * request there is in request.c. */
#include "hub/endpoint.h"

#include <stdlib.h>

#include "hub/extension.h"
#include "hub/internal.h"

/* ---- declaring ---- */

static char *copy_path(const char *path, const char *suffix)
{
    hub__buffer_t buffer = {0};

    hub__buffer_append(&buffer, hub_str(path));
    hub__buffer_append(&buffer, hub_str(suffix));
    hub__buffer_append(&buffer, hub_str_n("", 1));
    return buffer.base;
}

static hub_status_t check_host(const char *host, hub_error_t *error)
{
    if (*host == '\0' || strpbrk(host, "/*") != NULL)
        return hub_error_set(error, HUB_EINVAL, 0,
                             "endpoint: origin \"%s\": HUB_ORIGIN_HOST takes host names alone",
                             host);
    return HUB_OK;
}

static hub_status_t check_origins(const hub_endpoint_options_t *options, hub_error_t *error)
{
    bool has_list =
        options->origin_rule == HUB_ORIGIN_LIST || options->origin_rule == HUB_ORIGIN_HOST;

    if (options->origin_rule == HUB_ORIGIN_ASK && options->on_origin == NULL)
        return hub_error_set(error, HUB_EINVAL, 0, "endpoint: HUB_ORIGIN_ASK needs on_origin");
    if (has_list && options->origins == NULL)
        return hub_error_set(error, HUB_EINVAL, 0, "endpoint: the origin rule needs origins");
    if (!has_list && options->origins != NULL)
        return hub_error_set(error, HUB_EINVAL, 0,
                             "endpoint: origins are for HUB_ORIGIN_LIST and HUB_ORIGIN_HOST");
    for (size_t i = 0; has_list && options->origins[i] != NULL; ++i) {
        hub_status_t err = options->origin_rule == HUB_ORIGIN_LIST
                               ? hub__origin_entry_check(hub_str(options->origins[i]), error)
                               : check_host(options->origins[i], error);

        if (err != HUB_OK)
            return err;
    }
    return HUB_OK;
}

static hub_status_t check_protocols(const char *const *protocols, hub_error_t *error)
{
    for (size_t i = 0; protocols != NULL && protocols[i] != NULL; ++i) {
        hub_str_t name = hub_str(protocols[i]);

        if (name.len == 0 || strpbrk(protocols[i], " \t,;:\"/[]?={}()<>@\\") != NULL)
            return hub_error_set(error, HUB_EINVAL, 0, "endpoint: protocols: \"%s\" is no token",
                                 protocols[i]);
    }
    return HUB_OK;
}

hub_status_t hub__endpoint_create(hub_t *hub, const hub_endpoint_options_t *options,
                                  const hub_raw_options_t *raw, const char *path,
                                  hub__endpoint_t **ret_endpoint, hub_error_t *error)
{
    hub_endpoint_options_t resolved = options != NULL ? *options : (hub_endpoint_options_t){0};
    hub__endpoint_t *endpoint;
    hub_status_t err;

    if ((err = hub_limits_resolve(&resolved.limits, error)) != HUB_OK ||
        (err = check_origins(&resolved, error)) != HUB_OK ||
        (err = check_protocols(resolved.protocols, error)) != HUB_OK ||
        (err = hub__deflate_options_resolve(&resolved.deflate, error)) != HUB_OK)
        return err;
    if (path != NULL && path[0] != '/')
        return hub_error_set(error, HUB_EINVAL, 0, "endpoint: path \"%s\" must begin with /", path);
    if (raw != NULL && resolved.longpoll)
        return hub_error_set(error, HUB_EINVAL, 0, "endpoint: longpoll needs a hub");
    endpoint = hub__alloc_zeroed(sizeof(*endpoint));
    endpoint->hub = hub;
    endpoint->options = resolved;
    endpoint->options.path = NULL;
    endpoint->options.origins = hub__strings_copy(resolved.origins);
    endpoint->options.protocols = hub__strings_copy(resolved.protocols);
    if (raw != NULL)
        endpoint->raw = *raw;
    if (path != NULL && resolved.path_form != HUB_ENDPOINT_SUFFIX)
        endpoint->path = copy_path(path, "");
    if (path != NULL && raw == NULL && resolved.path_form != HUB_ENDPOINT_PATH)
        endpoint->path_suffix = copy_path(path, "/websocket");
    if (path != NULL && resolved.longpoll)
        endpoint->path_longpoll = copy_path(path, "/longpoll");
    if (hub != NULL)
        memcpy(endpoint->ticket_key,
               resolved.longpoll_key != NULL ? resolved.longpoll_key : hub->ticket_key,
               sizeof(endpoint->ticket_key));
    endpoint->options.longpoll_key = NULL;
    endpoint->frame_limits = (hub__frame_limits_t){
        .message_bytes = resolved.limits.message_bytes,
        .fragments = resolved.limits.fragments,
        .fragments_unlimited = resolved.limits.fragments == HUB_OFF,
    };
    endpoint->deflate_limits = endpoint->frame_limits;
    endpoint->deflate_limits.allow_rsv1 = true;
    hub__kin_table_init(&endpoint->kin, hub, resolved.limits.conns_per_identity);
    *ret_endpoint = endpoint;
    return HUB_OK;
}

void hub__endpoint_destroy(hub__endpoint_t *endpoint)
{
    if (endpoint == NULL)
        return;
    hub__kin_table_dispose(&endpoint->kin);
    hub__strings_free(endpoint->options.origins);
    hub__strings_free(endpoint->options.protocols);
    free(endpoint->path);
    free(endpoint->path_suffix);
    free(endpoint->path_longpoll);
    free(endpoint);
}

static bool path_is(const char *own, hub_str_t path)
{
    hub_str_t name = hub_str(own);

    if (own == NULL)
        return false;
    if (path.len == name.len + 1 && path.base[path.len - 1] == '/' && name.len > 1)
        --path.len;
    return hub_str_equals(name, path);
}

bool hub__endpoint_has_path(const hub__endpoint_t *endpoint, hub_str_t path)
{
    return path_is(endpoint->path, path) || path_is(endpoint->path_suffix, path) ||
           path_is(endpoint->path_longpoll, path);
}

/* Under a path of the program's own, the end of it tells. */
bool hub__endpoint_polls_at(const hub__endpoint_t *endpoint, hub_str_t path)
{
    hub_str_t end = HUB_STR("/longpoll");

    if (endpoint->path_longpoll != NULL || !endpoint->options.longpoll)
        return path_is(endpoint->path_longpoll, path);
    if (path.len != 0 && path.base[path.len - 1] == '/')
        --path.len;
    return path.len >= end.len &&
           hub_str_equals(hub_str_n(path.base + path.len - end.len, end.len), end);
}

/* ---- what a request may have ---- */

static bool origin_passes(const hub_endpoint_options_t *options, hub_str_t origin, hub_str_t host)
{
    if (options->origin_rule == HUB_ORIGIN_SAME)
        return hub__origin_is_same(origin, host);
    if (options->origin_rule == HUB_ORIGIN_ASK)
        return options->on_origin(origin, host, options->user) == HUB_OK;
    for (size_t i = 0; options->origins[i] != NULL; ++i) {
        hub_str_t entry = hub_str(options->origins[i]);

        if (options->origin_rule == HUB_ORIGIN_HOST ? hub__origin_host_is(origin, entry)
                                                    : hub__origin_matches(origin, entry))
            return true;
    }
    return false;
}

bool hub__endpoint_origin_passes(const hub__endpoint_t *endpoint, const hub__request_head_t *head)
{
    size_t count;
    hub_str_t origin = hub__request_head_field(head, "origin", &count);
    hub_str_t host = hub__request_head_field(head, "host", NULL);
    char origin_text[HUB_LOG_FIELD], host_text[HUB_LOG_FIELD];

    if (endpoint->options.origin_rule == HUB_ORIGIN_ANY || count == 0)
        return true;
    if (count == 1 && origin_passes(&endpoint->options, origin, host))
        return true;
    hub_log_peer(HUB_LOG_WARN, "endpoint.refused", "why=origin origin=%s host=%s",
                 hub_log_escape(origin, origin_text), hub_log_escape(host, host_text));
    return false;
}

static bool is_listed(const hub_endpoint_options_t *options, hub_str_t offer)
{
    if (options->auth_token && hub_str_equals(offer, HUB_STR("phoenix")))
        return true;
    for (size_t i = 0; options->protocols != NULL && options->protocols[i] != NULL; ++i)
        if (hub_str_equals(offer, hub_str(options->protocols[i])))
            return true;
    return false;
}

bool hub__endpoint_choose_protocol(const hub__endpoint_t *endpoint, const hub__request_head_t *head,
                                   hub_str_t *ret_protocol)
{
    const hub_endpoint_options_t *options = &endpoint->options;
    bool bad = false, offered = false;
    size_t cursor = 0;
    hub_str_t offer;

    if (options->protocols == NULL && !options->auth_token)
        return true;
    while (hub__handshake_protocol_next(head, &cursor, &offer, &bad)) {
        if (options->auth_token && hub_str_starts_with(offer, HUB_STR(HUB__AUTH_TOKEN_OFFER)))
            continue;
        offered = true;
        if (is_listed(options, offer)) {
            *ret_protocol = offer;
            return true;
        }
    }
    return !offered && !bad;
}

const hub__dialect_t *hub__endpoint_choose_dialect(const hub__endpoint_t *endpoint, hub_str_t query)
{
    char buffer[32];
    hub_str_t vsn;
    hub_status_t err;

    if (endpoint->hub == NULL)
        return hub__dialect(HUB__DIALECT_NATIVE);
    err = hub__query_param(query, HUB_STR("vsn"), buffer, sizeof(buffer), &vsn);
    if (err == HUB_OK)
        return hub__dialect_by_vsn(vsn);
    if (err != HUB_ENOTFOUND || endpoint->options.format_without_vsn == HUB_FORMAT_REFUSE)
        return NULL;
    return hub__dialect(endpoint->options.format_without_vsn == HUB_FORMAT_PHOENIX1
                            ? HUB__DIALECT_PHOENIX1
                            : HUB__DIALECT_NATIVE);
}

/* ---- on a worker ---- */

/* Each worker's share of a limit that nobody counts for all of them. */
static size_t share_of(size_t limit, const hub__worker_t *worker)
{
    unsigned threads = worker->server != NULL ? hub__server_threads(worker->server) : 1;

    return limit / threads != 0 ? limit / threads : 1;
}

static hub__rates_t rates_of(const hub_limits_t *limits)
{
    return (hub__rates_t){
        .messages = hub__rate_of(limits->messages_per_s, limits->messages_burst),
        .bytes = hub__rate_of(limits->bytes_per_s, limits->bytes_burst),
        .joins = hub__rate_of(limits->joins_per_s, limits->joins_burst),
        .controls = hub__rate_of(limits->controls_per_s, limits->controls_burst),
    };
}

hub__seat_t *hub__seat_create(hub__worker_t *worker, hub__endpoint_t *endpoint)
{
    hub__seat_t *seat = hub__alloc_zeroed(sizeof(*seat));

    seat->worker = worker;
    seat->endpoint = endpoint;
    seat->idle_last = &seat->idle_first;
    seat->idle_limit = share_of(endpoint->options.limits.longpoll_idle_clients, worker);
    seat->host = (hub__session_host_t){
        .io = &hub__conn_session_io,
        .router = endpoint->hub != NULL ? endpoint->hub->router : NULL,
        .match_scratch = worker->match_scratch,
        .limits = &endpoint->options.limits,
        .rates = rates_of(&endpoint->options.limits),
        .stats = &worker->stats,
        .now_ms = &worker->now_ms,
        .next_serial = &worker->next_serial,
        .joining = &worker->joining,
        .answer = {.fallible = true},
        .detail = {.fallible = true},
    };
    return seat;
}

void hub__seat_destroy(hub__seat_t *seat)
{
    hub__buffer_dispose(&seat->host.answer);
    hub__buffer_dispose(&seat->host.detail);
    free(seat);
}
