/* SPDX-License-Identifier: MIT */
#include "bus/nats_settings.h"

#include <stdlib.h>
#include <unistd.h>

#include "bus/buffer.h"
#include "bus/log.h"
#include "bus/url.h"

#define PORT_DEFAULT 4222
#define CONNECT_TIMEOUT_MS_DEFAULT 2000
#define CONNECT_TIMEOUT_MS_MAX 60000

static hub_status_t wrong(hub_error_t *error, const char *what, const char *why)
{
    return hub_error_set(error, HUB_EINVAL, 0, "bus URL, %s: %s", what, why);
}

/* The library writes them between quotes as they are. */
static char *escape(const char *text)
{
    hub__buffer_t buffer = {0};

    if (text == NULL)
        return NULL;
    for (; *text != '\0'; text++) {
        unsigned char byte = (unsigned char)*text;

        if (byte < ' ' || byte == '"' || byte == '\\')
            hub__buffer_printf(&buffer, "\\u%04x", byte);
        else
            hub__buffer_append(&buffer, hub_str_n(text, 1));
    }
    hub__buffer_append(&buffer, hub_str_n("", 1));
    return buffer.base;
}

static void forget(char **secret)
{
    if (*secret != NULL)
        explicit_bzero(*secret, strlen(*secret));
    free(*secret);
    *secret = NULL;
}

static char *copy(const char *text)
{
    return text == NULL ? NULL : hub__str_copy(hub_str(text));
}

static hub_status_t take_file(char **field, const hub_bus_param_t *param, hub_error_t *error)
{
    char text[HUB_LOG_FIELD];

    if (access(param->value, R_OK) != 0)
        return hub_error_set(error, HUB_EINVAL, 0, "bus URL, %s: %s cannot be read", param->name,
                             hub_log_escape(hub_str(param->value), text));
    free(*field);
    *field = copy(param->value);
    return HUB_OK;
}

static hub_status_t take_verify(hub__nats_settings_t *settings, const hub_bus_param_t *param,
                                hub_error_t *error)
{
    settings->tls_verify = strcmp(param->value, "yes") == 0;
    if (!settings->tls_verify && strcmp(param->value, "no") != 0)
        return wrong(error, "tls_verify", "it is yes or no");
    return HUB_OK;
}

static hub_status_t take_timeout(hub__nats_settings_t *settings, const hub_bus_param_t *param,
                                 hub_error_t *error)
{
    if (!hub__url_number(param->value, 1, CONNECT_TIMEOUT_MS_MAX, &settings->connect_timeout_ms))
        return wrong(error, "connect_timeout_ms", "it is a number from 1 to 60000");
    return HUB_OK;
}

static hub_status_t take_param(hub__nats_settings_t *settings, const hub_bus_param_t *param,
                               hub_error_t *error)
{
    const struct {
        const char *name;
        char **field;
    } files[] = {
        {"tls_ca", &settings->tls_ca},       {"tls_cert", &settings->tls_cert},
        {"tls_key", &settings->tls_key},     {"creds", &settings->creds},
        {"nkey_seed", &settings->nkey_seed},
    };
    char text[HUB_LOG_FIELD];

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        if (strcmp(param->name, files[i].name) == 0)
            return take_file(files[i].field, param, error);
    }
    if (strcmp(param->name, "tls_verify") == 0)
        return take_verify(settings, param, error);
    if (strcmp(param->name, "connect_timeout_ms") == 0)
        return take_timeout(settings, param, error);
    if (strcmp(param->name, "nkey") != 0)
        return wrong(error, hub_log_escape(hub_str(param->name), text), "nats has no such option");
    free(settings->nkey);
    settings->nkey = escape(param->value);
    return HUB_OK;
}

static hub_status_t take_params(hub__nats_settings_t *settings, const hub_bus_url_t *url,
                                hub_error_t *error)
{
    hub_status_t err = HUB_OK;

    for (size_t i = 0; i < url->param_count && err == HUB_OK; i++) {
        if (strncmp(url->params[i].name, "tls_", 4) == 0 && !settings->tls)
            return wrong(error, url->params[i].name, "only with nats+tls://");
        err = take_param(settings, &url->params[i], error);
    }
    return err;
}

static hub_status_t check_pairs(const hub__nats_settings_t *settings, hub_error_t *error)
{
    bool user = settings->user != NULL || settings->token != NULL;

    if ((settings->tls_cert == NULL) != (settings->tls_key == NULL))
        return wrong(error, "tls_cert and tls_key", "both or none");
    if ((settings->nkey == NULL) != (settings->nkey_seed == NULL))
        return wrong(error, "nkey and nkey_seed", "both or none");
    if (user + (settings->creds != NULL) + (settings->nkey != NULL) > 1)
        return wrong(error, "user, creds, nkey", "only one of them");
    return HUB_OK;
}

/* A user without a password is a token. */
static void take_user(hub__nats_settings_t *settings, const hub_bus_url_t *url)
{
    if (url->user != NULL && url->password == NULL) {
        settings->token = escape(url->user);
        return;
    }
    settings->user = escape(url->user);
    settings->password = escape(url->password);
}

static hub_status_t take_server(hub__nats_settings_t *settings, const hub_bus_url_t *url,
                                hub_error_t *error)
{
    hub__buffer_t server = {0};
    bool ipv6;

    if (url->host == NULL || *url->host == '\0')
        return wrong(error, "host", "nats wants one");
    if (strpbrk(url->host, "@/?#[], \t\r\n") != NULL)
        return wrong(error, "host", "it is a name or an address");
    if (url->user == NULL && url->password != NULL)
        return wrong(error, "user", "nats wants one with a password");
    if (url->path != NULL && *url->path != '\0')
        return wrong(error, "path", "nats has none");
    ipv6 = strchr(url->host, ':') != NULL;
    hub__buffer_printf(&server, "nats://%s%s%s:%u", ipv6 ? "[" : "", url->host, ipv6 ? "]" : "",
                       url->port == 0 ? PORT_DEFAULT : url->port);
    settings->host = copy(url->host);
    settings->server = server.base;
    return HUB_OK;
}

static hub_status_t read_url(hub__nats_settings_t *settings, const hub_bus_target_t *target,
                             hub_error_t *error)
{
    const hub_bus_url_t *url = target->url;
    hub_status_t err;

    *settings = (hub__nats_settings_t){.tls_verify = true,
                                       .connect_timeout_ms = CONNECT_TIMEOUT_MS_DEFAULT};
    if (url == NULL)
        return hub_error_set(error, HUB_EINVAL, 0, "backend nats: opened by URL alone");
    settings->tls = strcmp(url->scheme, "nats+tls") == 0;
    settings->name = escape(target->bus_name);
    take_user(settings, url);
    err = take_server(settings, url, error);
    if (err == HUB_OK)
        err = take_params(settings, url, error);
    return err == HUB_OK ? check_pairs(settings, error) : err;
}

hub_status_t hub__nats_settings_init(hub__nats_settings_t *settings, const hub_bus_target_t *target,
                                     hub_error_t *error)
{
    natsOptions *options;
    hub_status_t err = read_url(settings, target, error);

    if (err == HUB_OK)
        err = hub__nats_settings_options(settings, &options, error);
    if (err == HUB_OK)
        natsOptions_Destroy(options);
    else
        hub__nats_settings_dispose(settings);
    return err;
}

void hub__nats_settings_dispose(hub__nats_settings_t *settings)
{
    forget(&settings->user);
    forget(&settings->password);
    forget(&settings->token);
    free(settings->server);
    free(settings->host);
    free(settings->name);
    free(settings->tls_ca);
    free(settings->tls_cert);
    free(settings->tls_key);
    free(settings->creds);
    free(settings->nkey);
    free(settings->nkey_seed);
    *settings = (hub__nats_settings_t){0};
}

static natsStatus set_who(const hub__nats_settings_t *settings, natsOptions *options)
{
    if (settings->token != NULL)
        return natsOptions_SetToken(options, settings->token);
    if (settings->user != NULL)
        return natsOptions_SetUserInfo(options, settings->user, settings->password);
    if (settings->creds != NULL)
        return natsOptions_SetUserCredentialsFromFiles(options, settings->creds, NULL);
    if (settings->nkey != NULL)
        return natsOptions_SetNKeyFromSeed(options, settings->nkey, settings->nkey_seed);
    return NATS_OK;
}

/* The name is asked for expressly: whether the library does so by itself depends on its build. */
static natsStatus set_tls(const hub__nats_settings_t *settings, natsOptions *options,
                          const char **ret_what)
{
    natsStatus s = natsOptions_SetSecure(options, true);

    *ret_what = "tls_ca";
    if (s == NATS_OK && settings->tls_ca != NULL)
        s = natsOptions_LoadCATrustedCertificates(options, settings->tls_ca);
    if (s != NATS_OK)
        return s;
    *ret_what = "tls_cert and tls_key";
    if (settings->tls_cert != NULL)
        s = natsOptions_LoadCertificatesChain(options, settings->tls_cert, settings->tls_key);
    if (s != NATS_OK)
        return s;
    *ret_what = "tls_verify";
    return settings->tls_verify ? natsOptions_SetExpectedHostname(options, settings->host)
                                : natsOptions_SkipServerVerification(options, true);
}

static natsStatus set_all(const hub__nats_settings_t *settings, natsOptions *options,
                          const char **ret_what)
{
    natsStatus s = natsOptions_SetURL(options, settings->server);

    *ret_what = "host";
    if (s != NATS_OK)
        return s;
    *ret_what = "user";
    s = set_who(settings, options);
    if (s == NATS_OK && settings->tls)
        s = set_tls(settings, options, ret_what);
    if (s != NATS_OK)
        return s;
    *ret_what = "options";
    s = natsOptions_SetName(options, settings->name);
    if (s == NATS_OK)
        s = natsOptions_SetTimeout(options, settings->connect_timeout_ms);
    /* the core probes, and says when to make another connection */
    if (s == NATS_OK)
        s = natsOptions_SetAllowReconnect(options, false);
    if (s == NATS_OK)
        s = natsOptions_SetPingInterval(options, 0);
    /* the server may be another one behind the same name, but never one that it names itself */
    if (s == NATS_OK)
        s = natsOptions_SetIgnoreDiscoveredServers(options, true);
    /* neither a thread that sends nor one for each subscription */
    if (s == NATS_OK)
        s = natsOptions_SetSendAsap(options, true);
    if (s == NATS_OK)
        s = natsOptions_UseGlobalMessageDelivery(options, true);
    return s;
}

hub_status_t hub__nats_settings_options(const hub__nats_settings_t *settings,
                                        natsOptions **ret_options, hub_error_t *error)
{
    natsOptions *options = NULL;
    const char *what = "library", *why;
    char text[HUB_LOG_FIELD];
    natsStatus s = natsOptions_Create(&options);

    if (s == NATS_OK)
        s = set_all(settings, options, &what);
    if (s == NATS_OK) {
        *ret_options = options;
        return HUB_OK;
    }
    why = nats_GetLastError(NULL);
    hub_error_set(error, HUB_EINVAL, 0, "bus URL, %s: libnats says %s (%s)", what,
                  natsStatus_GetText(s), hub_log_escape(hub_str(why == NULL ? "" : why), text));
    natsOptions_Destroy(options);
    return HUB_EINVAL;
}
