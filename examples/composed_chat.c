/* SPDX-License-Identifier: MIT */

/* A hub that knows nothing of where it will be included: it declares `room:{id}`, and its callbacks
 * see `room:1` whatever stands before it on the wire. */

#include "composed.h"

static hub_status_t on_shout(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_broadcast(me, msg->event, msg->payload); /* auto_ack answers the sender */
}

hub_status_t composed_chat_create(hub_t **ret_hub)
{
    static const hub_event_handler_t events[] = {{"shout", on_shout}, {NULL, NULL}};
    hub_t *hub = NULL;
    hub_status_t err = hub_create(&(hub_options_t){.name = "chat"}, &hub);

    if (err == HUB_OK)
        err = hub_channel_add(hub, &(hub_channel_options_t){
                                       .pattern = "room:{id}", .events = events, .auto_ack = true});
    if (err != HUB_OK) {
        hub_destroy(hub);
        return err;
    }
    *ret_hub = hub;
    return HUB_OK;
}
