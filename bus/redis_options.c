/* SPDX-License-Identifier: MIT */
#include "bus/redis_options.h"

#include <limits.h>
#include <stdlib.h>
#include <sys/un.h>

#include "bus/buffer.h"
#include "bus/log.h"
#include "bus/url.h"

#define PORT_DEFAULT 6379
#define CONNECT_TIMEOUT_MS_DEFAULT 2000
#define CONNECT_TIMEOUT_MS_MAX 60000
/* Redis ends a subscriber that has more waiting than client-output-buffer-limit says, which is 32
 * MiB at once or 8 MiB for a minute unless it was changed: a message of 8 MiB fits several times.
 * What is longer than 512 MiB no Redis takes (proto-max-bulk-len). */
#define MESSAGE_BYTES_DEFAULT (8u << 20)
#define MESSAGE_BYTES_MIN 1024u
#define MESSAGE_BYTES_MAX (512u << 20)
#define PATH_BYTES_MAX (sizeof(((struct sockaddr_un *)NULL)->sun_path) - 2) /* hiredis cuts it */

static hub_status_t read_number(const char *name, const char *value, uint32_t min, uint32_t max,
                                uint32_t *ret_number, hub_error_t *error)
{
    if (!hub__url_number(value, min, max, ret_number))
        return hub_error_set(error, HUB_EINVAL, 0, "bus URL, %s: a number from %u to %u", name, min,
                             max);
    return HUB_OK;
}

static hub_status_t read_param(hub__redis_options_t *options, hub_bus_param_t param,
                               hub_error_t *error)
{
    char field[HUB_LOG_FIELD];

    if (strcmp(param.name, "connect_timeout_ms") == 0)
        return read_number(param.name, param.value, 1, CONNECT_TIMEOUT_MS_MAX,
                           &options->connect_timeout_ms, error);
    if (strcmp(param.name, "max_message_bytes") == 0)
        return read_number(param.name, param.value, MESSAGE_BYTES_MIN, MESSAGE_BYTES_MAX,
                           &options->max_message_bytes, error);
    if (strcmp(param.name, "db") == 0 && options->path != NULL)
        return read_number(param.name, param.value, 0, INT_MAX, &options->db, error);
    return hub_error_set(error, HUB_EINVAL, 0, "bus URL, %s: redis has no such option",
                         hub_log_escape(hub_str(param.name), field));
}

static hub_status_t read_host(hub__redis_options_t *options, const hub_bus_url_t *url,
                              hub_error_t *error)
{
    hub__buffer_t address = {0};

    if (url->host == NULL)
        return hub_error_set(error, HUB_EINVAL, 0, "bus URL: no host, as in redis://127.0.0.1");
    options->host = hub__str_copy(hub_str(url->host));
    options->port = url->port == 0 ? PORT_DEFAULT : (uint16_t)url->port;
    hub__buffer_printf(&address, strchr(url->host, ':') == NULL ? "%s:%u" : "[%s]:%u", url->host,
                       options->port);
    options->address = address.base;
    return url->path == NULL ? HUB_OK
                             : read_number("the database behind the host", url->path, 0, INT_MAX,
                                           &options->db, error);
}

static hub_status_t read_path(hub__redis_options_t *options, const hub_bus_url_t *url,
                              hub_error_t *error)
{
    hub__buffer_t path = {0};

    if (url->host != NULL || url->port != 0 || url->path == NULL)
        return hub_error_set(error, HUB_EINVAL, 0,
                             "bus URL: redis+unix has a path and no host, as in "
                             "redis+unix:/run/redis/redis.sock");
    /* behind "//user:password@" it has lost its '/' */
    hub__buffer_printf(&path, "%s%s", *url->path == '/' ? "" : "/", url->path);
    options->path = path.base;
    options->address = hub__str_copy(hub_str(path.base));
    if (path.len > PATH_BYTES_MAX)
        return hub_error_set(error, HUB_EINVAL, 0,
                             "bus URL: the path of a socket has at most %zu bytes", PATH_BYTES_MAX);
    return HUB_OK;
}

static char *copy(const char *text)
{
    return text == NULL ? NULL : hub__str_copy(hub_str(text));
}

hub_status_t hub__redis_options_read(const hub_bus_target_t *target,
                                     hub__redis_options_t *ret_options, hub_error_t *error)
{
    const hub_bus_url_t *url = target->url;
    hub_status_t err;

    *ret_options = (hub__redis_options_t){
        .connect_timeout_ms = CONNECT_TIMEOUT_MS_DEFAULT,
        .max_message_bytes = MESSAGE_BYTES_DEFAULT,
    };
    if (url == NULL)
        return hub_error_set(error, HUB_EINVAL, 0, "redis: is opened by its URL");
    ret_options->name = copy(target->bus_name);
    ret_options->user = copy(url->user);
    ret_options->password = copy(url->password);
    if (url->user != NULL && url->password == NULL)
        return hub_error_set(error, HUB_EINVAL, 0, "bus URL: redis wants a password for a user");
    err = strcmp(url->scheme, "redis+unix") == 0 ? read_path(ret_options, url, error)
                                                 : read_host(ret_options, url, error);
    for (size_t i = 0; i < url->param_count && err == HUB_OK; i++)
        err = read_param(ret_options, url->params[i], error);
    return err;
}

void hub__redis_options_dispose(hub__redis_options_t *options)
{
    if (options->password != NULL)
        explicit_bzero(options->password, strlen(options->password));
    free(options->user);
    free(options->password);
    free(options->host);
    free(options->path);
    free(options->address);
    free(options->name);
}
