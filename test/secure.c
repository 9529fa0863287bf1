/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE 1
#include "test/secure.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <openssl/ssl.h>

static secure_t fixture;

static hub_status_t on_say(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_broadcast(me, msg->event, msg->payload);
}

static hub_status_t on_ask(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_reply(me, msg, msg->payload);
}

static hub_status_t on_burst(hub_member_t *me, const hub_message_t *msg)
{
    static char json[65536];
    char text[32]; /* a payload has no NUL behind it */
    int count = 0, size = 0;

    snprintf(text, sizeof(text), "%.*s", HUB_STR_ARG(msg->payload.bytes));
    if (sscanf(text, "[%d,%d]", &count, &size) != 2 || size + 2 > 65536)
        return HUB_EPAYLOAD;
    memset(json, 'x', (size_t)size + 2);
    json[0] = json[size + 1] = '"';
    for (int i = 0; i < count; i++)
        if (hub_member_push(me, HUB_STR("b"), hub_json(hub_str_n(json, (size_t)size + 2))) !=
            HUB_OK)
            break; /* the close frame says why */
    return HUB_OK;
}

static const hub_event_handler_t events[] = {{"say", on_say},
                                             {"ask", on_ask},
                                             {"burst", on_burst},
                                             {"thread", server_reply_thread},
                                             {NULL, NULL}};

static hub_status_t note_disconnect(const hub_hook_event_t *event, void *user)
{
    (void)user;
    server_note("closed %s", hub_disconnect_reason_name(event->reason));
    return HUB_OK;
}

secure_t *secure_create(const hub_server_options_t *options, const hub_tls_options_t *tls)
{
    hub_tls_options_t copy = tls != NULL ? *tls : (hub_tls_options_t){0};

    fixture.server = server_create_with(options, NULL);
    fixture.files = certificate_make("first", 30, NULL);
    fixture.context = certificate_client();
    copy.certificate_file = fixture.files.certificate_file;
    copy.key_file = fixture.files.key_file;
    assert_int_equal(hub_server_listen_tls(fixture.server->server, "127.0.0.1:0", &copy), HUB_OK);
    return &fixture;
}

void secure_start(secure_t *secure, const hub_endpoint_options_t *endpoint)
{
    server_channel(secure->server, &(hub_channel_options_t){.pattern = "t{n}", .events = events});
    server_channel(secure->server, &(hub_channel_options_t){.pattern = "old{n}",
                                                            .slow_policy = HUB_SLOW_DROP_OLD,
                                                            .slow_messages = 3});
    server_hook(secure->server, HUB_HOOK_DISCONNECT, note_disconnect);
    server_mount(secure->server, endpoint);
    server_start(secure->server);
}

secure_t *secure_chat(const hub_server_options_t *options, const hub_limits_t *limits)
{
    secure_t *secure = secure_create(options, NULL);
    hub_endpoint_options_t endpoint = {.longpoll = true};

    if (limits != NULL)
        endpoint.limits = *limits;
    secure_start(secure, &endpoint);
    return secure;
}

client_t *secure_connect(secure_t *secure)
{
    return server_connect(secure->server);
}

client_t *secure_client(secure_t *secure)
{
    return client_tls(secure_connect(secure), secure->context);
}

client_t *secure_websocket(secure_t *secure)
{
    client_t *client = secure_client(secure);

    client_send_text(client, client_upgrade_text("/socket", ""));
    client_expect_upgraded(client);
    return client;
}

client_t *secure_member(secure_t *secure)
{
    client_t *client = secure_websocket(secure);

    client_join(client, "t1", "'j'");
    return client;
}

void secure_expect_refused(secure_t *secure, SSL_CTX *context, const char *why)
{
    const char *got = client_try_tls(secure_connect(secure), context);

    if (got == NULL || strcmp(got, why) != 0)
        fail_msg("expected \"%s\", got %s", why, got == NULL ? "a handshake" : got);
}

void secure_expect_end(client_t *client)
{
    client_expect_eof(client);
    assert_true(SSL_get_shutdown(client_ssl(client)) & SSL_RECEIVED_SHUTDOWN);
}

int secure_teardown(void **state)
{
    int result = server_teardown(state);

    SSL_CTX_free(fixture.context);
    fixture.context = NULL;
    certificate_forget();
    return result;
}
