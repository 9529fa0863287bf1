/* examples/composed.h - the two hubs that composed.c puts together. */
#pragma once

#include <hub/hub.h>

/* Rooms, `room:{id}`: `shout` goes to the room. Owned by the caller (hub_destroy). */
hub_status_t composed_chat_create(hub_t **ret_hub);

struct composed_admin {
    hub_t *chat;     /* whose rooms are administered */
    const char *key; /* what ?key= must be in the address of the websocket */
};

/* `room:{id}`: `announce` goes to the chat's room of that id. `admin` is borrowed and must outlive
 * the hub. Owned by the caller (hub_destroy). */
hub_status_t composed_admin_create(struct composed_admin *admin, hub_t **ret_hub);
