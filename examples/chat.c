/* SPDX-License-Identifier: MIT */

/* Rooms with a web page: the page, its websocket, metrics and health on one port.
 *
 * Shows: a channel with a table of events, a join that is refused with a reason, broadcast and
 * reply, presence (who is in a room is told on a topic of its own), files from memory and HTTP
 * routes beside the hub, several workers, TLS, and at /phoenix the same rooms for phoenix.js, which
 * speaks the other wire format and may come by long poll. Try it by hand at
 * ws://127.0.0.1:4000/socket:
 *
 *     {"topic":"room:1","event":"join","payload":{},"ref":"1"}
 *     {"topic":"room:1","event":"shout","payload":{"text":"hello"},"ref":"2"} */

#include "chat_page.h"
#include "options.h"

/* Rooms come and go by name. The pattern and the hub's rules for topics see to it that a name has
 * no spaces, control characters, colons or slashes, and an end. */
static hub_status_t on_join(hub_member_t *me, const hub_message_t *msg)
{
    (void)msg;
    if (hub_str_equals(hub_member_param(me, "id"), HUB_STR("private")))
        return hub_member_reject(me, HUB_JSON("{\"reason\":\"private\"}"));
    return HUB_OK;
}

/* The payload goes to the room as it came; what is in it is the clients' business. */
static hub_status_t on_shout(hub_member_t *me, const hub_message_t *msg)
{
    hub_status_t err = hub_member_broadcast(me, msg->event, msg->payload);

    return err != HUB_OK ? err : hub_member_reply(me, msg, HUB_JSON("{}"));
}

/* Names are not unique: a connection is known by its id. */
static hub_str_t id_of(const hub_member_t *me, char buffer[HUB_CONN_ID_TEXT])
{
    return hub_str(hub_conn_id_format(hub_conn_id(hub_member_conn(me)), buffer));
}

static hub_status_t on_whoami(hub_member_t *me, const hub_message_t *msg)
{
    char id[HUB_CONN_ID_TEXT];
    char response[HUB_CONN_ID_TEXT + 16];

    snprintf(response, sizeof(response), "{\"id\":\"%.*s\"}", HUB_STR_ARG(id_of(me, id)));
    return hub_member_reply(me, msg, hub_json(hub_str(response)));
}

/* Who is in room:{id} joins who:{id} as well, with {"name":…}, and is told who else is there. */
static hub_status_t on_who_join(hub_member_t *me, const hub_message_t *msg)
{
    char id[HUB_CONN_ID_TEXT];
    hub_status_t err = on_join(me, msg);

    if (err == HUB_OK)
        err = hub_presence_track(me, id_of(me, id), msg->payload);
    return err != HUB_OK ? err : hub_presence_push(me);
}

static hub_status_t on_rename(hub_member_t *me, const hub_message_t *msg)
{
    char id[HUB_CONN_ID_TEXT];
    hub_status_t err = hub_presence_update(me, id_of(me, id), msg->payload);

    return err != HUB_OK ? err : hub_member_reply(me, msg, HUB_JSON("{}"));
}

static const hub_event_handler_t room_events[] = {
    {"shout", on_shout},
    {"whoami", on_whoami},
    {NULL, NULL},
};

static const hub_event_handler_t who_events[] = {
    {"rename", on_rename},
    {NULL, NULL},
};

static hub_status_t add_channels(hub_t *hub)
{
    static const hub_presence_options_t presence = {.meta_bytes = 256};
    hub_status_t err = hub_channel_add(hub, &(hub_channel_options_t){.pattern = "room:{id}",
                                                                     .on_join = on_join,
                                                                     .events = room_events});

    if (err == HUB_OK)
        err = hub_channel_add(hub, &(hub_channel_options_t){.pattern = "who:{id}",
                                                            .on_join = on_who_join,
                                                            .events = who_events,
                                                            .presence = &presence});
    return err;
}

static hub_status_t add_routes(hub_server_t *server, const char *program, const char *phoenix)
{
    hub_status_t err = hub_server_route(server, "GET", "/metrics", hub_metrics_on_http, server);

    if (err == HUB_OK)
        err = hub_server_route(server, "GET", "/health", hub_health_on_http, server);
    if (err == HUB_OK)
        err = hub_server_route(server, "GET", "/alive", hub_alive_on_http, server);
    return err != HUB_OK ? err : chat_page_serve(server, program, phoenix);
}

int main(int argc, char **argv)
{
    const char *host = "127.0.0.1", *phoenix = NULL, *bus_url = "memory:";
    hub_tls_options_t tls = {0};
    unsigned long port = 4000, threads = 1;
    bool deflate = false, log_json = false;
    char secret[2048];
    const struct choice choices[] = {
        {"host", "the address to listen on", .text = &host},
        {"port", "0 lets the kernel pick one", .number = &port, .max = 65535},
        {"threads", "workers, each a thread", .number = &threads, .min = 1, .max = 256},
        {"phoenix", "phoenix.mjs of npm's phoenix, for /phoenix", .text = &phoenix},
        {"bus", "joins several chats: redis://, nats://, postgres://…, or @FILE with such a line",
         .text = &bus_url},
        {"deflate", "compresses messages of 256 bytes or more", .given = &deflate},
        {"tls-cert", "PEM, a certificate and its chain: serves https and wss",
         .text = &tls.certificate_file},
        {"log-json", "lines on stderr are JSON", .given = &log_json},
        {"tls-key", "PEM, its private key; read again, as it is, on SIGHUP", .text = &tls.key_file},
        {.name = NULL}};
    hub_error_t error = {HUB_OK, 0, ""};
    hub_server_t *server = NULL;
    hub_bus_t *bus = NULL;
    hub_t *hub = NULL;
    hub_status_t err;

    read_options(argc, argv, choices);
    hub_log_set_format(log_json ? HUB_LOG_JSON : HUB_LOG_TEXT);
    bus_url = read_secret(argv[0], "bus", bus_url, secret, sizeof(secret));
    err = hub_bus_open(bus_url, NULL, &bus, &error);
    if (err != HUB_OK)
        fprintf(stderr, "%s: --bus: %s\n", argv[0], error.text);
    else
        err = hub_create(&(hub_options_t){.name = "chat", .bus = bus}, &hub);
    if (err == HUB_OK)
        err = add_channels(hub);
    if (err == HUB_OK)
        err = hub_server_create(
            &(hub_server_options_t){.threads = (unsigned)threads, .ret_error = &error}, &server);
    if (err == HUB_OK)
        err = hub_server_mount(
            server, hub, /* at /socket, /socket/websocket, /socket/longpoll */
            &(hub_endpoint_options_t){.longpoll = true, .deflate.enabled = deflate});
    if (err == HUB_OK)
        err = add_routes(server, argv[0], phoenix);
    if (err == HUB_OK)
        err =
            serve(server, argv[0], host, port, tls.certificate_file != NULL ? &tls : NULL, &error);
    hub_server_destroy(server);
    hub_destroy(hub);
    hub_bus_destroy(bus);
    return err == HUB_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
