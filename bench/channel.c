/* SPDX-License-Identifier: MIT */
/* Does as little as a program can: what is measured is the hub. */
#include "bench/channel.h"

#include <stdio.h>

#define TIMER_FIRST_MS 3600000u
#define TIMER_STEP_MS 997u

static hub_status_t on_msg(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_broadcast(me, msg->event, msg->payload);
}

static hub_status_t on_echo(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_reply(me, msg, msg->payload);
}

static hub_status_t on_none(hub_member_t *me, const hub_message_t *msg)
{
    (void)me;
    (void)msg;
    return HUB_OK;
}

static hub_status_t on_track(hub_member_t *me, const hub_message_t *msg)
{
    char key[HUB_CONN_ID_TEXT];
    hub_status_t err;

    (void)msg;
    hub_conn_id_format(hub_conn_id(hub_member_conn(me)), key);
    err = hub_presence_track(me, hub_str(key), HUB_JSON("{\"online_at\":1700000000}"));
    return err != HUB_OK ? err : hub_presence_push(me);
}

static const hub_event_handler_t EVENTS[] = {
    {"msg", on_msg}, {"echo", on_echo}, {"none", on_none}, {"track", on_track}, {NULL, NULL},
};

/* These are only there to be armed. */
static void on_timer(hub_member_t *me, const char *name, void *user)
{
    (void)user;
    hub_log(HUB_LOG_ERROR, "bench.timer_fired", "timer=%s", name);
    hub_member_stop(me, HUB_EINTERNAL);
}

static hub_status_t on_join(hub_member_t *me, const hub_message_t *msg)
{
    const channel_options_t *options = hub_member_channel_user(me);
    hub_status_t err = HUB_OK;

    (void)msg;
    for (unsigned i = 0; err == HUB_OK && i != options->timers_per_member; ++i) {
        char name[16];

        snprintf(name, sizeof(name), "t%u", i);
        err =
            hub_member_timer_start(me, name, TIMER_FIRST_MS + i * TIMER_STEP_MS, 0, on_timer, NULL);
    }
    return err;
}

static hub_update_t on_update(hub_member_t *me, const hub_message_t *msg,
                              hub_payload_t *ret_payload)
{
    (void)me;
    (void)msg;
    (void)ret_payload;
    return HUB_UPDATE_KEEP;
}

hub_status_t channel_add(hub_t *hub, const channel_options_t *options)
{
    static const char *const others[] = {"shout", NULL};
    const hub_presence_options_t presence = {.keys_max = options->presence_keys_max};

    return hub_channel_add(
        hub, &(hub_channel_options_t){
                 .pattern = "bench:{id}",
                 .on_join = on_join,
                 .on_update = options->filter != CHANNEL_UNFILTERED ? on_update : NULL,
                 .intercept = options->filter == CHANNEL_FILTERS_OTHERS ? others : NULL,
                 .events = EVENTS,
                 .presence = options->presence_keys_max != 0 ? &presence : NULL,
                 .user = (void *)(uintptr_t)options,
                 .ret_error = options->ret_error});
}

hub_status_t channel_add_others(hub_t *hub, unsigned long count, hub_error_t *error)
{
    static const struct {
        const char *before, *after;
    } shapes[] = {{"other", ":{id}"},
                  {"other", ":{app}:{id}"},
                  {"other", ":lobby"},
                  {"bench:other", ":{id}"}};
    hub_status_t err = HUB_OK;

    for (unsigned long i = 0; err == HUB_OK && i != count; ++i) {
        const size_t shape = i % (sizeof(shapes) / sizeof(*shapes));
        char pattern[64];

        snprintf(pattern, sizeof(pattern), "%s%lu%s", shapes[shape].before, i, shapes[shape].after);
        err =
            hub_channel_add(hub, &(hub_channel_options_t){.pattern = pattern, .ret_error = error});
    }
    return err;
}

hub_limits_t channel_limits(void)
{
    return (hub_limits_t){.messages_per_s = HUB_OFF,
                          .messages_burst = HUB_OFF,
                          .bytes_per_s = HUB_OFF,
                          .bytes_burst = HUB_OFF,
                          .joins_per_s = HUB_OFF,
                          .joins_burst = HUB_OFF,
                          .controls_per_s = HUB_OFF,
                          .controls_burst = HUB_OFF,
                          .conns_per_identity = HUB_OFF,
                          .longpoll_idle_clients = HUB_OFF};
}
