/* hub/presence.h - what a member does with the presence of its channel (channels/presence.h).
 *
 *     static hub_status_t on_join(hub_member_t *me, const hub_message_t *msg)
 *     {
 *         hub_status_t err = hub_presence_track(me, hub_conn_identity(hub_member_conn(me)),
 *                                               HUB_JSON("{\"status\":\"here\"}"));
 *
 *         return err != HUB_OK ? err : hub_presence_push(me);
 *     }
 *
 * What a member tracks ends with the member. Everything here returns HUB_EINVAL for a channel that
 * has no presence, and HUB_ECLOSED for a member that has ended. */
#pragma once

#include "channels/channel.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The member is there under `key` (at most 255 bytes of UTF-8, not "*"; mostly a user's identity),
 * with a meta, which must be a JSON object; phx_ref and phx_ref_prev in it are left out. Both
 * copied. Every member of the topic is told, itself too, with the next diff. HUB_EEXIST: it tracks
 * that key already. HUB_EPAYLOAD, HUB_ETOOLARGE (meta_bytes, or about two thirds of the largest
 * message of the bus), HUB_ELIMIT (keys_per_member), HUB_EINVAL (the key), HUB_ENOMEM. Loop thread.
 */
HUB_API HUB_MUST_USE hub_status_t hub_presence_track(hub_member_t *member, hub_str_t key,
                                                     hub_payload_t meta);

/* Another meta in place of the one that this member tracks. HUB_ENOTFOUND: it does not. Else as
 * hub_presence_track(). Loop thread. */
HUB_API HUB_MUST_USE hub_status_t hub_presence_update(hub_member_t *member, hub_str_t key,
                                                      hub_payload_t meta);

/* The leave is told with the next diff, to this member as well. HUB_ENOTFOUND. Loop thread. */
HUB_API HUB_MUST_USE hub_status_t hub_presence_untrack(hub_member_t *member, hub_str_t key);

/* Pushes presence_state to this member, behind its join reply and the diff at hand, once all
 * workers of this process have been heard (or one was too busy for a second); the state includes
 * what the member tracks itself. Made once for all who wait for it. Loop thread. */
HUB_API HUB_MUST_USE hub_status_t hub_presence_push(hub_member_t *member);

/* The list as this worker knows it now, in the shape of presence_state and within its budget.
 * Borrowed until the next call here on the same thread. Loop thread. */
HUB_API HUB_MUST_USE hub_status_t hub_presence_list(hub_member_t *member, hub_payload_t *ret_list);

#ifdef __cplusplus
}
#endif
