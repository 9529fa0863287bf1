/* SPDX-License-Identifier: MIT */

/* One hub made of two: composed_chat.c under `chat:`, composed_admin.c under `admin:`.
 *
 * Shows: hub_include(), a hub that publishes into another one, and a join that depends on the
 * address of the websocket. Anybody may join chat:room:1; admin:room:1 takes a connection to
 * /socket?key=… with the key of --key, and `announce` there is heard in chat:room:1. */

#include <sys/random.h>

#include "composed.h"
#include "options.h"

/* An example must not come with a password that everybody knows: without --key it makes one. */
static const char *make_key(char text[33])
{
    unsigned char bytes[16];

    if (getentropy(bytes, sizeof(bytes)) != 0)
        abort();
    for (size_t i = 0; i < sizeof(bytes); i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    fprintf(stderr, "the admin key is %s\n", text);
    return text;
}

int main(int argc, char **argv)
{
    const char *host = "127.0.0.1", *key = NULL;
    unsigned long port = 4000;
    const struct choice choices[] = {
        {"host", "the address to listen on", .text = &host},
        {"port", "0 lets the kernel pick one", .number = &port, .max = 65535},
        {"key", "what ?key= must be for admin: topics; none: a random one", .text = &key},
        {.name = NULL}};
    char random_key[33];
    struct composed_admin administered = {NULL, NULL};
    hub_error_t error = {HUB_OK, 0, ""};
    hub_server_t *server = NULL;
    hub_t *parent = NULL, *chat = NULL, *admin = NULL;
    hub_status_t err;

    read_options(argc, argv, choices);
    err = composed_chat_create(&chat);
    administered.chat = chat;
    administered.key = key != NULL && *key != '\0' ? key : make_key(random_key);
    if (err == HUB_OK)
        err = composed_admin_create(&administered, &admin);
    if (err == HUB_OK)
        err = hub_create(NULL, &parent);
    if (err == HUB_OK)
        err = hub_include(parent, chat, "chat:");
    if (err == HUB_OK)
        err = hub_include(parent, admin, "admin:");
    if (err == HUB_OK)
        err = hub_server_create(&(hub_server_options_t){.ret_error = &error}, &server);
    if (err == HUB_OK)
        err = hub_server_mount(server, parent, &(hub_endpoint_options_t){.keep_query = true});
    if (err == HUB_OK)
        err = serve(server, argv[0], host, port, NULL, &error);
    hub_server_destroy(server);
    hub_destroy(parent); /* before the hubs it includes */
    hub_destroy(admin);
    hub_destroy(chat);
    return err == HUB_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
