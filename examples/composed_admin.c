/* SPDX-License-Identifier: MIT */

/* A hub for those who know the key: every join is checked against the query parameter `key` of the
 * websocket's address. It acts on another hub without knowing where that one is included, either:
 * hub_publish() adds the prefix. */

#include "composed.h"

/* Takes as long for a nearly right key as for a wrong one. */
static bool is_key(hub_str_t given, hub_str_t key)
{
    unsigned different = given.len != key.len;

    for (size_t i = 0; i < given.len && i < key.len; i++)
        different |= (unsigned char)given.base[i] ^ (unsigned char)key.base[i];
    return different == 0;
}

static hub_status_t on_join(hub_member_t *me, const hub_message_t *msg)
{
    const struct composed_admin *admin = hub_user(hub_member_hub(me));
    hub_str_t given = hub_conn_query(hub_member_conn(me), "key");

    (void)msg;
    if (!is_key(given, hub_str(admin->key)))
        return hub_member_reject(me, HUB_JSON("{\"reason\":\"wrong key\"}"));
    return HUB_OK;
}

/* Both hubs call the room `room:1`; on the wire it is admin:room:1 here and chat:room:1 there. */
static hub_status_t on_announce(hub_member_t *me, const hub_message_t *msg)
{
    const struct composed_admin *admin = hub_user(hub_member_hub(me));

    return hub_publish(admin->chat, hub_member_local_topic(me), msg->event, msg->payload);
}

hub_status_t composed_admin_create(struct composed_admin *admin, hub_t **ret_hub)
{
    static const hub_event_handler_t events[] = {{"announce", on_announce}, {NULL, NULL}};
    hub_t *hub = NULL;
    hub_status_t err = hub_create(&(hub_options_t){.name = "admin", .user = admin}, &hub);

    if (err == HUB_OK)
        err = hub_channel_add(hub, &(hub_channel_options_t){.pattern = "room:{id}",
                                                            .on_join = on_join,
                                                            .events = events,
                                                            .auto_ack = true});
    if (err != HUB_OK) {
        hub_destroy(hub);
        return err;
    }
    *ret_hub = hub;
    return HUB_OK;
}
