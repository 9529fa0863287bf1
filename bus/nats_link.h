/* bus/nats_link.h - private: one connection to a NATS server, from its making to its end.
 *
 * The library's sockets are ours (natsOptions_SetEventLoop): nothing is read or written but on the
 * courier's thread, so nothing waits there for a broker that is silent. What does wait stands
 * aside: connecting runs on a thread of its own, which is left behind when it takes too long. The
 * library hands out messages on its delivery thread; they wait here for the courier's. */
#pragma once

#include <nats/nats.h>

#include "bus/courier.h"
#include "bus/nats_settings.h"

typedef struct hub__nats_link hub__nats_link_t;

typedef enum hub__nats_state {
    HUB__NATS_CONNECTING,
    HUB__NATS_CONNECTED,
    HUB__NATS_FAILED, /* or broken; hub__nats_link_reason() */
} hub__nats_state_t;

/* A message from the server, in a list. */
typedef struct hub__nats_arrival {
    struct hub__nats_arrival *next;
    natsMsg *msg;
    bool own; /* it is for the link's owner, not for the bus */
} hub__nats_arrival_t;

/* Begins to connect; wakes `courier`, borrowed until hub__nats_link_drop(), when the state changes
 * and when messages come. NULL: too many that were left behind still hang, or no thread. */
hub__nats_link_t *hub__nats_link_start(const hub__nats_settings_t *settings,
                                       hub__courier_t *courier, hub_error_t *error);
hub__nats_state_t hub__nats_link_state(hub__nats_link_t *link);
/* Why it failed, as the library and the server say it; not escaped. On the courier's thread. */
const char *hub__nats_link_reason(hub__nats_link_t *link);
/* Makes everything that the library does with the socket end. Any thread. */
void hub__nats_link_break(hub__nats_link_t *link);
/* Ends and frees it: no callback of it touches the courier after this. At once, or after a moment
 * in which its threads may end before the process does. */
void hub__nats_link_drop(hub__nats_link_t *link, bool wait);

/* ---- while connected, on the courier's thread ---- */

natsConnection *hub__nats_link_connection(hub__nats_link_t *link);
/* What to poll for; -1 and 0: nothing. */
int hub__nats_link_poll(hub__nats_link_t *link, short *ret_events);
/* Reads and writes as far as `revents` says. */
void hub__nats_link_io(hub__nats_link_t *link, int revents);
/* Whether bytes wait for the socket. */
bool hub__nats_link_writes(const hub__nats_link_t *link);
natsStatus hub__nats_link_subscribe(hub__nats_link_t *link, const char *subject, bool own,
                                    natsSubscription **ret_sub);
/* The next message, or NULL; hub__nats_arrival_free(). */
hub__nats_arrival_t *hub__nats_link_take(hub__nats_link_t *link);
void hub__nats_arrival_free(hub__nats_arrival_t *arrival);
/* Whether the server has refused something, and no fence was put since: that is an error, too. What
 * exactly, the library tells on a thread of its own. */
bool hub__nats_link_is_suspect(hub__nats_link_t *link);
/* Puts a fence behind what the library has to tell; the courier is woken when it is through. */
natsStatus hub__nats_link_fence(hub__nats_link_t *link, const char *subject);
bool hub__nats_link_take_fence(hub__nats_link_t *link); /* Whether it is, once. */
/* Whether the server's permissions forbade to publish, or to subscribe, this subject; said once for
 * each time. */
bool hub__nats_link_take_refusal(hub__nats_link_t *link, const char *subject, bool publish);
void hub__nats_link_clear_refusals(hub__nats_link_t *link); /* Nobody waits for any. */
