/* test/listener.h - a subscription that writes down what it hears: payloads, gaps and its end, one
 * after the other with a space between, as in "1 2 gap(mailbox,3) 6 closed(ELIMIT)". */
#pragma once

#include "bus/buffer.h"
#include "bus/bus.h"

typedef struct listener listener_t;

struct listener {
    hub_bus_t *bus;
    hub_bus_sub_t *sub;
    hub__buffer_t heard; /* NUL-terminated; "" before the first */
    size_t messages;
    bool closed;
    hub_status_t answer; /* of on_message */
    void (*then)(listener_t *self,
                 const hub_message_t *msg); /* after it was written; may be NULL */
    listener_t *other;                      /* for `then` */
    bool keep_last;
    hub_message_t *last;         /* retained, with keep_last */
    hub_publish_counts_t counts; /* added to each ack */
};

/* `executor` may be NULL. */
void listener_start(listener_t *listener, hub_bus_t *bus, const char *topic,
                    hub_executor_t *executor);
/* Writes down "ready" as well. */
void listener_start_ready(listener_t *listener, hub_bus_t *bus, const char *topic,
                          hub_executor_t *executor);
/* Unsubscribes, unless it was closed, and frees. */
void listener_stop(listener_t *listener);
const char *listener_heard(const listener_t *listener);
void listener_clear(listener_t *listener);

/* A counted message with the event "said"; `json` is its payload. */
hub_message_t *message_make(const char *topic, const char *json);
/* Publishes or emits it, and checks the status. */
void say(hub_bus_t *bus, const char *topic, const char *json);
void say_later(hub_bus_t *bus, const char *topic, const char *json);
hub_status_t try_say(hub_bus_t *bus, const char *topic, const char *json,
                     const hub_bus_publish_options_t *options);
