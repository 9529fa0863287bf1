/* SPDX-License-Identifier: MIT */
/* One of several nodes, in a process of its own that a test may kill: rooms with presence, whose
 * members say who they are, and a hub on the bus that it is told of. */
#include "examples/options.h"

#include <jansson.h>
#include <string.h>

/* Keys "alice0" to "alice9", where it is ten of them. */
static hub_status_t track_many(hub_member_t *me, const char *key, int count)
{
    hub_status_t err = HUB_OK;

    for (int i = 0; err == HUB_OK && i < count; i++) {
        char name[64];

        snprintf(name, sizeof(name), "%s%d", key, i);
        err = hub_presence_track(me, hub_str(name), HUB_JSON("{\"at\":1}"));
    }
    return err;
}

/* The payload of a join names the key: {"key":"alice"}, or many of them: {"key":"alice","count":9}.
 */
static hub_status_t on_join(hub_member_t *me, const hub_message_t *msg)
{
    json_t *payload = json_loadb(msg->payload.bytes.base, msg->payload.bytes.len, 0, NULL);
    const char *key = json_string_value(json_object_get(payload, "key"));
    int count = (int)json_integer_value(json_object_get(payload, "count"));
    hub_status_t err = HUB_OK;

    if (key != NULL && count > 0)
        err = track_many(me, key, count);
    else if (key != NULL)
        err = hub_presence_track(me, hub_str(key), HUB_JSON("{\"at\":1}"));
    json_decref(payload);
    return err != HUB_OK ? err : hub_presence_push(me);
}

static hub_status_t on_who(hub_member_t *me, const hub_message_t *msg)
{
    char id[HUB_CONN_ID_TEXT], response[HUB_CONN_ID_TEXT + 8];

    (void)hub_conn_id_format(hub_conn_id(hub_member_conn(me)), id);
    snprintf(response, sizeof(response), "\"%s\"", id);
    return hub_member_reply(me, msg, hub_json(hub_str(response)));
}

static hub_status_t on_authorize(hub_request_t *request, void *user)
{
    (void)user;
    hub_request_grant(request, &(hub_grant_t){.identity = hub_request_query(request, "user")});
    return HUB_OK;
}

static hub_status_t add_channels(hub_t *hub)
{
    static const hub_presence_options_t presence = {.diff_ms = 5, .keys_per_member = 100000};
    static const hub_event_handler_t events[] = {{"who", on_who}, {NULL, NULL}};

    return hub_channel_add(hub, &(hub_channel_options_t){.pattern = "room:{id}",
                                                         .on_join = on_join,
                                                         .events = events,
                                                         .presence = &presence});
}

int main(int argc, char **argv)
{
    const char *host = "127.0.0.1", *bus_url = "memory:";
    unsigned long port = 0, threads = 1, beat_ms = 10000;
    const struct choice choices[] = {
        {"host", "the address to listen on", .text = &host},
        {"port", "0 lets the kernel pick one", .number = &port, .max = 65535},
        {"threads", "workers", .number = &threads, .min = 1, .max = 64},
        {"bus", "what joins several nodes", .text = &bus_url},
        {"beat", "of presence, in milliseconds", .number = &beat_ms, .min = 1, .max = 600000},
        {.name = NULL}};
    hub_error_t error = {HUB_OK, 0, ""};
    hub_server_t *server = NULL;
    hub_bus_t *bus = NULL;
    hub_t *hub = NULL;
    hub_status_t err;

    read_options(argc, argv, choices);
    err = hub_bus_open(bus_url, NULL, &bus, &error);
    if (err == HUB_OK)
        err = hub_create(
            &(hub_options_t){.name = "app", .bus = bus, .presence_beat_ms = (uint32_t)beat_ms},
            &hub);
    if (err == HUB_OK)
        err = add_channels(hub);
    if (err == HUB_OK)
        err = hub_server_create(&(hub_server_options_t){.threads = (unsigned)threads}, &server);
    if (err == HUB_OK)
        err =
            hub_server_mount(server, hub, &(hub_endpoint_options_t){.on_authorize = on_authorize});
    if (err == HUB_OK)
        err = hub_server_route(server, "GET", "/metrics", hub_metrics_on_http, server);
    if (err == HUB_OK)
        err = serve(server, argv[0], host, port, NULL, &error);
    else
        fprintf(stderr, "%s: %s\n", argv[0], error.text);
    hub_server_destroy(server);
    hub_destroy(hub);
    hub_bus_destroy(bus);
    return err == HUB_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
