/* SPDX-License-Identifier: MIT */
/* The same from C++, whose compiler takes less than C's does: every public header is included. */
#include <bus/base.h>
#include <bus/bus.h>
#include <bus/json.h>
#include <bus/log.h>
#include <bus/message.h>
#include <channels/channel.h>
#include <hub/conn.h>
#include <hub/endpoint.h>
#include <hub/h2o.h>
#include <hub/hub.h>
#include <hub/limits.h>
#include <hub/member.h>
#include <hub/metrics.h>
#include <hub/route.h>
#include <hub/server.h>

#include <cstdio>

static hub_status_t on_join(hub_member_t *me, const hub_message_t *)
{
    return hub_str_equals(hub_member_topic(me), HUB_STR("room:private")) ? HUB_EREJECTED : HUB_OK;
}

int main()
{
    hub_channel_options_t channel = {};
    hub_t *hub = nullptr;
    hub_status_t err = hub_create(nullptr, &hub);

    channel.pattern = "room:{id}";
    channel.on_join = on_join;
    if (err == HUB_OK)
        err = hub_channel_add(hub, &channel);
    hub_destroy(hub);
    std::printf("from C++: %s\n", hub_status_text(err));
    return err != HUB_OK;
}
