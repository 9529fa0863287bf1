/* SPDX-License-Identifier: MIT */
/* What a first program does with the installed library: it proves that headers, library and what
 * the library needs are found. */
#include <hub/hub.h>

#include <stdio.h>

static hub_status_t on_join(hub_member_t *me, const hub_message_t *msg)
{
    (void)me;
    (void)msg;
    return HUB_OK;
}

int main(void)
{
    hub_t *hub = NULL;
    hub_status_t err = hub_create(NULL, &hub);

    if (err == HUB_OK)
        err = hub_channel_add(hub,
                              &(hub_channel_options_t){.pattern = "room:{id}", .on_join = on_join});
    hub_destroy(hub);
    printf("from C: %s\n", hub_status_text(err));
    return err != HUB_OK;
}
