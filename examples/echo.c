/* SPDX-License-Identifier: MIT */

/* A raw websocket that sends back what it gets: text as text, binary as binary, on `/`.
 *
 * Shows: a route with callbacks of its own and no channels, and limits set by name. It is meant for
 * protocol test suites, which send what no honest client does: fragments by the thousand, messages
 * of 16 MiB, floods, and which may take long to read what they get back. So rates, fragments and
 * ages are unlimited here, nobody is pinged, and the outbox holds four of the largest messages; and
 * with --deflate everything that a client may offer of it is agreed on, and messages of any length
 * are compressed. */

#include "options.h"

static hub_status_t on_message(hub_conn_t *conn, hub_str_t bytes, bool binary, void *user)
{
    hub_status_t err = hub_conn_send(conn, bytes, binary);

    (void)user;
    /* one that reads too slowly, or is closing, is the hub's to end, with the right code */
    return err == HUB_ESLOW || err == HUB_ECLOSED ? HUB_OK : err;
}

static hub_limits_t limits_for(size_t max_message)
{
    const size_t outbox_default = 1048576;

    return (hub_limits_t){
        .message_bytes = max_message,
        .outbox_bytes = max_message > outbox_default / 4 ? 4 * max_message : outbox_default,
        .outbox_messages = HUB_OFF,
        .outbox_age_ms = HUB_OFF,
        .ping_ms = HUB_OFF,
        .idle_ms = HUB_OFF,
        .fragments = HUB_OFF,
        .unfinished_ms = HUB_OFF,
        .messages_per_s = HUB_OFF,
        .messages_burst = HUB_OFF,
        .bytes_per_s = HUB_OFF,
        .bytes_burst = HUB_OFF,
        .controls_per_s = HUB_OFF,
        .controls_burst = HUB_OFF,
    };
}

int main(int argc, char **argv)
{
    const char *host = "127.0.0.1";
    bool deflate = false;
    unsigned long port = 4000, max_message = 16777216;
    const struct choice choices[] = {
        {"host", "the address to listen on", .text = &host},
        {"port", "0 lets the kernel pick one", .number = &port, .max = 65535},
        {"max-message", "bytes", .number = &max_message, .min = 1, .max = 67108864},
        {"deflate", "compresses messages", .given = &deflate},
        {.name = NULL}};
    hub_error_t error = {HUB_OK, 0, ""};
    hub_server_t *server = NULL;
    hub_status_t err;

    read_options(argc, argv, choices);
    err = hub_server_create(&(hub_server_options_t){.ret_error = &error}, &server);
    if (err == HUB_OK)
        err = hub_server_websocket(
            server, "/",
            &(hub_raw_options_t){
                .on_message = on_message,
                .endpoint = {
                    .limits = limits_for(max_message),
                    .deflate = {.enabled = deflate, .min_bytes = 1, .client_context = true}}});
    if (err == HUB_OK)
        err = serve(server, argv[0], host, port, NULL, &error);
    hub_server_destroy(server);
    return err == HUB_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
