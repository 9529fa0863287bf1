/* SPDX-License-Identifier: MIT */

/* The smallest whole chat server: one pattern of rooms, one of them private, and every event sent
 * on to the room it came from. It is the first snippet of the README; chat.c is its grown-up
 * sister. */

#include <hub/hub.h>

static hub_status_t on_join(hub_member_t *me, const hub_message_t *msg)
{
    (void)msg;
    if (hub_str_equals(hub_member_param(me, "id"), HUB_STR("private")))
        return hub_member_reject(me, HUB_JSON("{\"reason\":\"private\"}"));
    return HUB_OK; /* joined; the ok reply follows */
}

static hub_status_t on_receive(hub_member_t *me, const hub_message_t *msg)
{
    hub_status_t err = hub_member_broadcast(me, msg->event, msg->payload);

    return err != HUB_OK ? err : hub_member_reply(me, msg, HUB_JSON("{}"));
}

int main(void)
{
    hub_t *hub = NULL;
    hub_status_t err = hub_create(NULL, &hub);

    if (err == HUB_OK)
        err = hub_channel_add(hub, &(hub_channel_options_t){.pattern = "room:{id}",
                                                            .on_join = on_join,
                                                            .on_receive = on_receive});
    if (err == HUB_OK)
        err = hub_run(hub, "127.0.0.1:4000"); /* until SIGTERM, then drains */
    hub_destroy(hub);                         /* NULL is allowed */
    return err != HUB_OK;                     /* the log said what and where */
}
