/* SPDX-License-Identifier: MIT */
/* The server of the soak (test/soak.c): channels of all kinds for clients that are judged, an
 * endpoint with narrow limits for those that are hostile, and under /ctl/ what is wanted beside the
 * wire. */
#include "examples/options.h"

#include <malloc.h>

#define SMALL_OUTBOX 65536

/* Who is closed for reading too slowly needs no answer. */
static void answer(hub_member_t *me, const hub_message_t *msg)
{
    (void)!hub_member_reply(me, msg, HUB_JSON("{}"));
}

/* What `crowd_events` name. */
static hub_status_t on_say(hub_member_t *me, const hub_message_t *msg)
{
    hub_t *hub = hub_member_channel_user(me);
    hub_status_t err;

    if (hub_str_equals(msg->event, HUB_STR("shout")))
        err = hub_member_broadcast(me, msg->event, msg->payload);
    else if (hub_str_equals(msg->event, HUB_STR("others")))
        err = hub_member_broadcast_from(me, msg->event, msg->payload);
    else if (hub_str_equals(msg->event, HUB_STR("publish")))
        err = hub_publish(hub, msg->topic, msg->event, msg->payload);
    else
        err = hub_emit(hub, msg->topic, msg->event, msg->payload);
    if (err == HUB_OK)
        answer(me, msg);
    return err;
}

static hub_status_t on_later(hub_member_t *me, const hub_message_t *msg)
{
    answer(me, msg);
    return HUB_OK;
}

static hub_status_t on_quit(hub_member_t *me, const hub_message_t *msg)
{
    hub_member_stop(me, HUB_OK);
    answer(me, msg);
    return HUB_OK;
}

static hub_status_t on_join_shut(hub_member_t *me, const hub_message_t *msg)
{
    (void)msg;
    return hub_member_reject(me, HUB_JSON("{\"reason\":\"shut\"}"));
}

/* Few keys for many members. */
static hub_status_t on_join_present(hub_member_t *me, const hub_message_t *msg)
{
    hub_str_t identity = hub_conn_identity(hub_member_conn(me));
    hub_status_t err = hub_presence_track(me, identity, HUB_JSON("{\"at\":1}"));

    (void)msg;
    if (err == HUB_OK)
        err = hub_presence_update(me, identity, HUB_JSON("{\"at\":2}"));
    return err != HUB_OK ? err : hub_presence_push(me);
}

static hub_update_t on_update(hub_member_t *me, const hub_message_t *msg,
                              hub_payload_t *ret_payload)
{
    (void)me;
    *ret_payload = msg->payload;
    return msg->payload.bytes.len % 2 == 0 ? HUB_UPDATE_KEEP : HUB_UPDATE_REPLACE;
}

static hub_status_t add_channels(hub_t *hub)
{
    static const hub_event_handler_t events[] = {{"later", on_later}, {"quit", on_quit}, {0}};
    static const hub_presence_options_t presence = {.grace_ms = 50, .diff_ms = 10};
    const hub_channel_options_t rows[] = {
        {.pattern = "room:{id}"},
        {.pattern = "mob:{id}"},
        {.pattern = "flood:{id}"},
        {.pattern = "drop:{id}",
         .slow_policy = HUB_SLOW_DROP_NEW,
         .slow_bytes = 32768,
         .slow_age_ms = 5000},
        {.pattern = "seen:{id}", .on_update = on_update},
        {.pattern = "who:{id}", .on_join = on_join_present, .presence = &presence},
        {.pattern = "shut:{id}", .on_join = on_join_shut},
    };
    hub_status_t err = HUB_OK;

    for (size_t i = 0; err == HUB_OK && i < sizeof(rows) / sizeof(rows[0]); i++) {
        hub_channel_options_t options = rows[i];

        options.events = events;
        options.on_receive = on_say;
        options.user = hub;
        err = hub_channel_add(hub, &options);
    }
    return err;
}

/* ---- endpoints ---- */

static hub_status_t on_authorize(hub_request_t *request, void *user)
{
    unsigned long *identities = user;
    char text[16], identity[16];
    hub_str_t client = hub_request_query(request, "client");
    int len;

    if (client.len == 0)
        return HUB_OK; /* nobody in particular, and so never kicked */
    snprintf(text, sizeof(text), "%.*s", HUB_STR_ARG(client));
    len = snprintf(identity, sizeof(identity), "u%lu", strtoul(text, NULL, 10) % *identities);
    hub_request_grant(request, &(hub_grant_t){.identity = hub_str_n(identity, (size_t)len)});
    return HUB_OK;
}

/* Who is judged says much; the limits of rates are for those that are hostile. */
static hub_limits_t wide_limits(size_t outbox_bytes)
{
    return (hub_limits_t){.outbox_bytes = outbox_bytes,
                          .longpoll_window_ms = 2000, /* who has left is forgotten soon */
                          .messages_per_s = HUB_OFF,
                          .messages_burst = HUB_OFF,
                          .bytes_per_s = HUB_OFF,
                          .bytes_burst = HUB_OFF,
                          .joins_per_s = HUB_OFF,
                          .joins_burst = HUB_OFF,
                          .controls_per_s = HUB_OFF,
                          .controls_burst = HUB_OFF,
                          .conns_per_identity = HUB_OFF};
}

static hub_status_t add_endpoints(hub_server_t *server, hub_t *hub, unsigned long *identities)
{
    const hub_endpoint_options_t rows[] = {
        {.path = "/socket", .longpoll = true, .limits = wide_limits(0)},
        {.path = "/slow", .limits = wide_limits(SMALL_OUTBOX)},
        {.path = "/open",
         .longpoll = true,
         .deflate.enabled = true,
         .limits = {.idle_ms = 3000,
                    .ping_ms = 1000,
                    .pong_ms = 1000,
                    .unfinished_ms = 1000,
                    .topics = 16,
                    .outbox_bytes = SMALL_OUTBOX,
                    .outbox_age_ms = 1000,
                    .close_ms = 500,
                    .longpoll_window_ms = 500}},
    };
    hub_status_t err = HUB_OK;

    for (size_t i = 0; err == HUB_OK && i < sizeof(rows) / sizeof(rows[0]); i++) {
        hub_endpoint_options_t options = rows[i];

        options.on_authorize = on_authorize;
        options.user = identities;
        err = hub_server_mount(server, hub, &options);
    }
    return err;
}

/* ---- what the soak wants done ---- */

static unsigned long number_of(hub_http_t *http, const char *name)
{
    char text[24];

    snprintf(text, sizeof(text), "%.*s", HUB_STR_ARG(hub_http_query(http, name)));
    return strtoul(text, NULL, 10);
}

static void respond(hub_http_t *http, hub_status_t err)
{
    hub_http_respond(http, err == HUB_OK ? 200 : 400, "text/plain", hub_str(hub_status_text(err)));
}

/* Publishes messages as crowd_payload() has them: ?topic=&on=&by=&first=&count=&bytes= A GET, since
 * a connection ends with the answer to a POST, and order is one connection's. */
static void on_ctl_say(hub_http_t *http, void *hub)
{
    unsigned long first = number_of(http, "first"), count = number_of(http, "count");
    unsigned long by = number_of(http, "by"), on = number_of(http, "on");
    size_t bytes = number_of(http, "bytes");
    hub_status_t err = HUB_OK;
    char text[8192];

    for (unsigned long i = first; err == HUB_OK && i != first + count; i++) {
        int len = snprintf(text, sizeof(text), "{\"by\":%lu,\"on\":%lu,\"number\":%lu,\"pad\":\"",
                           by, on, i);

        while ((size_t)len + 2 < bytes && (size_t)len + 3 < sizeof(text))
            text[len++] = 'x';
        memcpy(text + len, "\"}", 2);
        err = hub_publish(hub, hub_http_query(http, "topic"), HUB_STR("news"),
                          hub_json(hub_str_n(text, (size_t)len + 2)));
    }
    respond(http, err);
}

static void on_ctl_kick(hub_http_t *http, void *hub)
{
    respond(http, hub_disconnect(hub, hub_http_query(http, "identity")));
}

/* What is allocated, once what can be given back to the system has been. */
static void on_ctl_heap(hub_http_t *http, void *unused)
{
    struct mallinfo2 info;
    char text[32];
    int len;

    (void)unused;
    malloc_trim(0);
    info = mallinfo2();
    len = snprintf(text, sizeof(text), "%zu", info.uordblks + info.hblkhd);
    hub_http_respond(http, 200, "text/plain", hub_str_n(text, (size_t)len));
}

static hub_status_t add_routes(hub_server_t *server, hub_t *hub)
{
    hub_status_t err = hub_server_route(server, "GET", "/metrics", hub_metrics_on_http, server);

    if (err == HUB_OK)
        err = hub_server_route(server, "GET", "/ctl/heap", on_ctl_heap, NULL);
    if (err == HUB_OK)
        err = hub_server_route(server, "GET", "/ctl/say", on_ctl_say, hub);
    if (err == HUB_OK)
        err = hub_server_route(server, "POST", "/ctl/kick", on_ctl_kick, hub);
    return err;
}

int main(int argc, char **argv)
{
    const char *host = "127.0.0.1";
    unsigned long port = 4200, threads = 2, identities = 40;
    const struct choice choices[] = {
        {"host", "the address to listen on", .text = &host},
        {"port", "0 lets the kernel pick one", .number = &port, .max = 65535},
        {"threads", "workers", .number = &threads, .min = 1, .max = 64},
        {"identities", "client i is one of so many", .number = &identities, .min = 1, .max = 10000},
        {.name = NULL}};
    hub_error_t error = {HUB_OK, 0, ""};
    hub_server_t *server = NULL;
    hub_t *hub = NULL;
    hub_status_t err;

    read_options(argc, argv, choices);
    hub_log_set_level(HUB_LOG_ERROR);
    err = hub_create(&(hub_options_t){.ret_error = &error}, &hub);
    if (err == HUB_OK)
        err = hub_server_create(&(hub_server_options_t){.threads = (unsigned)threads,
                                                        .limits = {.request_ms = 2000},
                                                        .ret_error = &error},
                                &server);
    if (err == HUB_OK)
        err = add_channels(hub);
    if (err == HUB_OK)
        err = add_endpoints(server, hub, &identities);
    if (err == HUB_OK)
        err = add_routes(server, hub);
    if (err == HUB_OK)
        err = serve(server, argv[0], host, port, NULL, &error);
    hub_server_destroy(server);
    hub_destroy(hub);
    return err == HUB_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
