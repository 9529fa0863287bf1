/* SPDX-License-Identifier: MIT */
/* What every test of the bus does over and over: listen, speak, and compare one string. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "test/listener.h"

static void write_down(listener_t *self, const char *text, int len)
{
    hub__buffer_printf(&self->heard, "%s%.*s", self->heard.len > 0 ? " " : "", len, text);
}

static hub_status_t on_message(hub_bus_sub_t *sub, const hub_message_t *msg, hub_bus_ack_t *ack,
                               void *user)
{
    listener_t *self = user;

    (void)sub;
    write_down(self, msg->payload.bytes.base, (int)msg->payload.bytes.len);
    self->messages++;
    if (self->keep_last) {
        hub_message_release(self->last);
        self->last = hub_message_retain(msg);
    }
    if (ack != NULL)
        hub_bus_ack_add(ack, &self->counts);
    if (self->then != NULL)
        self->then(self, msg);
    return self->answer;
}

static void on_gap(hub_bus_sub_t *sub, hub_gap_reason_t reason, uint64_t missed, void *user)
{
    char text[64];
    int len =
        snprintf(text, sizeof(text), "gap(%s,%u)", hub_gap_reason_name(reason), (unsigned)missed);

    (void)sub;
    write_down(user, text, len);
}

static void on_ready(hub_bus_sub_t *sub, void *user)
{
    (void)sub;
    write_down(user, "ready", 5);
}

static void on_close(hub_bus_sub_t *sub, hub_status_t why, void *user)
{
    listener_t *self = user;
    char text[64];
    int len = snprintf(text, sizeof(text), "closed(%s)", hub_status_name(why));

    (void)sub;
    self->closed = true;
    write_down(self, text, len);
}

static void start(listener_t *listener, hub_bus_t *bus, const char *topic, hub_executor_t *executor,
                  hub_bus_on_ready_cb ready)
{
    listener->bus = bus;
    assert_int_equal(hub_bus_subscribe(bus, hub_str(topic),
                                       &(hub_bus_sub_options_t){
                                           .on_message = on_message,
                                           .on_gap = on_gap,
                                           .on_close = on_close,
                                           .executor = executor,
                                           .user = listener,
                                           .on_ready = ready,
                                       },
                                       &listener->sub),
                     HUB_OK);
}

void listener_start(listener_t *listener, hub_bus_t *bus, const char *topic,
                    hub_executor_t *executor)
{
    start(listener, bus, topic, executor, NULL);
}

void listener_start_ready(listener_t *listener, hub_bus_t *bus, const char *topic,
                          hub_executor_t *executor)
{
    start(listener, bus, topic, executor, on_ready);
}

void listener_stop(listener_t *listener)
{
    if (!listener->closed)
        hub_bus_unsubscribe(listener->sub);
    hub_message_release(listener->last);
    hub__buffer_dispose(&listener->heard);
    *listener = (listener_t){0};
}

const char *listener_heard(const listener_t *listener)
{
    return listener->heard.len == 0 ? "" : listener->heard.base;
}

void listener_clear(listener_t *listener)
{
    hub__buffer_dispose(&listener->heard);
    listener->messages = 0;
}

hub_message_t *message_make(const char *topic, const char *json)
{
    hub_message_t *msg = NULL;

    assert_int_equal(hub_message_create(hub_str(topic), HUB_STR("said"), hub_json(hub_str(json)),
                                        NULL, &msg, NULL),
                     HUB_OK);
    return msg;
}

hub_status_t try_say(hub_bus_t *bus, const char *topic, const char *json,
                     const hub_bus_publish_options_t *options)
{
    hub_message_t *msg = message_make(topic, json);
    hub_status_t err = hub_bus_publish(bus, msg, options);

    hub_message_release(msg);
    return err;
}

void say(hub_bus_t *bus, const char *topic, const char *json)
{
    assert_int_equal(try_say(bus, topic, json, NULL), HUB_OK);
}

void say_later(hub_bus_t *bus, const char *topic, const char *json)
{
    hub_message_t *msg = message_make(topic, json);
    hub_status_t err = hub_bus_emit(bus, msg, NULL);

    hub_message_release(msg);
    assert_int_equal(err, HUB_OK);
}
