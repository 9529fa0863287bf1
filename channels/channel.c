/* SPDX-License-Identifier: MIT */
/* A declared channel: what the program handed over, copied and checked at once, so that a mistake
 * shows where it was made and nothing of the program's is borrowed for the life of the hub. */
#include "channels/internal.h"

#include <stdlib.h>

#include "bus/buffer.h"
#include "channels/dialect.h"
#include "channels/pattern.h"
#include "channels/roster.h"

#define EVENT_BYTES_MAX 255
#define JOIN_TIMEOUT_MS 10000
#define SUSPEND_TIMEOUT_MS 60000
#define PENDING_LIMIT 64

static size_t count_strings(const char *const *list)
{
    size_t count = 0;

    while (list != NULL && list[count] != NULL)
        ++count;
    return count;
}

const char *const *hub__strings_copy(const char *const *list)
{
    size_t count = count_strings(list);
    char **copy;

    if (list == NULL)
        return NULL;
    copy = hub__alloc_zeroed((count + 1) * sizeof(*copy));
    for (size_t i = 0; i != count; ++i)
        copy[i] = hub__str_copy(hub_str(list[i]));
    return (const char *const *)copy;
}

void hub__strings_free(const char *const *list)
{
    for (size_t i = 0; list != NULL && list[i] != NULL; ++i)
        free((void *)(uintptr_t)list[i]);
    free((void *)(uintptr_t)list);
}

static hub_status_t check_event(const hub_channel_options_t *options, const char *event,
                                hub_error_t *error)
{
    hub_str_t name = hub_str(event);

    if (name.len == 0 || name.len > EVENT_BYTES_MAX)
        return hub_error_set(error, HUB_EINVAL, 0,
                             "channel \"%s\": the event \"%.40s\" must have 1 to %d bytes",
                             options->pattern, event, EVENT_BYTES_MAX);
    if (hub__event_is_reserved(name))
        return hub_error_set(error, HUB_EINVAL, 0,
                             "channel \"%s\": \"%s\" is an event of the protocol", options->pattern,
                             event);
    return HUB_OK;
}

static hub_status_t check_events(const hub_channel_options_t *options, size_t *ret_count,
                                 hub_error_t *error)
{
    size_t count = 0;

    for (const hub_event_handler_t *row = options->events; row != NULL && row->event != NULL;
         ++row, ++count) {
        hub_status_t err = check_event(options, row->event, error);

        if (err != HUB_OK)
            return err;
        if (row->on_receive == NULL)
            return hub_error_set(error, HUB_EINVAL, 0,
                                 "channel \"%s\": the event \"%s\" has no handler",
                                 options->pattern, row->event);
        for (const hub_event_handler_t *other = options->events; other != row; ++other)
            if (strcmp(other->event, row->event) == 0)
                return hub_error_set(error, HUB_EEXIST, 0,
                                     "channel \"%s\": the event \"%s\" has two handlers",
                                     options->pattern, row->event);
    }
    *ret_count = count;
    return HUB_OK;
}

static hub_status_t check_int_params(const hub_channel_options_t *options, hub_error_t *error)
{
    for (const hub_int_param_t *row = options->int_params; row != NULL && row->name != NULL; ++row)
        if (row->min > row->max)
            return hub_error_set(error, HUB_EINVAL, 0,
                                 "channel \"%s\": int_params: \"%s\" has min %lld above max %lld",
                                 options->pattern, row->name, (long long)row->min,
                                 (long long)row->max);
    return HUB_OK;
}

static void copy_tables(hub__channel_t *channel, const hub_channel_options_t *options)
{
    size_t ints = 0;

    if (options->events != NULL) {
        hub_event_handler_t *rows = hub__alloc_zeroed((channel->event_count + 1) * sizeof(*rows));

        for (size_t i = 0; i != channel->event_count; ++i) {
            rows[i] = options->events[i];
            rows[i].event = hub__str_copy(hub_str(options->events[i].event));
        }
        channel->options.events = rows;
    }
    while (options->int_params != NULL && options->int_params[ints].name != NULL)
        ++ints;
    if (options->int_params != NULL) {
        hub_int_param_t *rows = hub__alloc_zeroed((ints + 1) * sizeof(*rows));

        for (size_t i = 0; i != ints; ++i) {
            rows[i] = options->int_params[i];
            rows[i].name = hub__str_copy(hub_str(options->int_params[i].name));
        }
        channel->options.int_params = rows;
    }
    channel->options.intercept = hub__strings_copy(options->intercept);
    channel->options.params = hub__strings_copy(options->params);
}

hub_status_t hub__channel_create(hub_t *hub, const hub_channel_options_t *options,
                                 hub__channel_t **ret_channel, hub_error_t *error)
{
    hub_presence_options_t presence = {0};
    hub__channel_t *channel;
    size_t event_count = 0;
    hub_status_t err;

    if (options == NULL || options->pattern == NULL)
        return hub_error_set(error, HUB_EINVAL, 0, "a channel needs a pattern");
    if (options->intercept != NULL && options->on_update == NULL)
        return hub_error_set(error, HUB_EINVAL, 0, "channel \"%s\": intercept needs on_update",
                             options->pattern);
    if ((unsigned)options->slow_policy > HUB_SLOW_LATEST)
        return hub_error_set(error, HUB_EINVAL, 0, "channel \"%s\": slow_policy %d is none",
                             options->pattern, (int)options->slow_policy);
    if ((unsigned)options->order > HUB_ORDER_BUS)
        return hub_error_set(error, HUB_EINVAL, 0, "channel \"%s\": order %d is none",
                             options->pattern, (int)options->order);
    if (options->on_key != NULL && options->slow_policy != HUB_SLOW_LATEST)
        return hub_error_set(error, HUB_EINVAL, 0, "channel \"%s\": on_key needs HUB_SLOW_LATEST",
                             options->pattern);
    if (options->presence != NULL)
        presence = *options->presence;
    if ((err = check_events(options, &event_count, error)) != HUB_OK ||
        (err = check_int_params(options, error)) != HUB_OK ||
        (err = hub__presence_options_resolve(&presence, error)) != HUB_OK)
        return err;
    channel = hub__alloc_zeroed(sizeof(*channel));
    channel->hub = hub;
    channel->options = *options;
    channel->event_count = event_count;
    channel->options.pattern = hub__str_copy(hub_str(options->pattern));
    channel->options.ret_error = NULL;
    channel->presence = presence;
    if (options->presence != NULL)
        channel->options.presence = &channel->presence;
    copy_tables(channel, options);
    if (channel->options.join_timeout_ms == 0)
        channel->options.join_timeout_ms = JOIN_TIMEOUT_MS;
    if (channel->options.suspend_timeout_ms == 0)
        channel->options.suspend_timeout_ms = SUSPEND_TIMEOUT_MS;
    if (channel->options.pending_limit == 0)
        channel->options.pending_limit = PENDING_LIMIT;
    *ret_channel = channel;
    return HUB_OK;
}

void hub__channel_destroy(hub__channel_t *channel)
{
    if (channel == NULL)
        return;
    for (size_t i = 0; i != channel->event_count; ++i)
        free((void *)(uintptr_t)channel->options.events[i].event);
    free((void *)(uintptr_t)channel->options.events);
    for (const hub_int_param_t *row = channel->options.int_params; row != NULL && row->name != NULL;
         ++row)
        free((void *)(uintptr_t)row->name);
    free((void *)(uintptr_t)channel->options.int_params);
    hub__strings_free(channel->options.intercept);
    hub__strings_free(channel->options.params);
    free((void *)(uintptr_t)channel->options.pattern);
    free(channel);
}

hub_on_receive_cb hub__channel_handler(const hub__channel_t *channel, hub_str_t event)
{
    for (size_t i = 0; i != channel->event_count; ++i)
        if (hub__str_is(event, channel->options.events[i].event))
            return channel->options.events[i].on_receive;
    /* who relays what comes must not be made to close the channels of others */
    if (hub__event_is_obeyed(event))
        return NULL;
    return channel->options.on_receive;
}

bool hub__channel_intercepts(const hub__channel_t *channel, hub_str_t event)
{
    const char *const *name = channel->options.intercept;

    if (channel->options.on_update == NULL)
        return false;
    if (name == NULL)
        return true;
    for (; *name != NULL; ++name)
        if (hub__str_is(event, *name))
            return true;
    return false;
}
